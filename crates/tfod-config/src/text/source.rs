//! A text with the name of where it came from: decoding it, and describing places in it.
//!
//! Tokens carry byte offsets only; lines, columns and excerpts are worked out here, for the few places that errors name.

use std::ops::Range;

use crate::{Diagnostic, Excerpt, Problem};

/// Characters of a line that an excerpt shows.
const EXCERPT_WIDTH: usize = 100;
/// What a Git LFS pointer begins with.
const GIT_LFS_POINTER: &str = "version https://git-lfs.github.com/spec/";
/// What some editors put before a text in UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';
/// What errors call the place behind the last token.
pub(super) const END_OF_TEXT: &str = "the end of the text";
/// What a checkpoint's index ends with.
const TABLE_MAGIC: [u8; 8] = 0xdb47_7524_8b80_fb57_u64.to_le_bytes();
/// What files that are no text begin with. The messages of TensorFlow and ONNX have no magic number: their first fields are told.
const OTHER_FILES: [(&[u8], &str); 8] = [
    (b"\x08\x01\x12", "a SavedModel"),
    (b"\x89HDF\r\n", "a Keras or HDF5 file"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x0a", "a binary message, such as a frozen graph"),
    (b"\x08", "a binary message, such as an ONNX model"),
];
/// What TFLite models have behind their first four bytes.
const TFLITE: &[u8] = b"TFL3";
/// Characters shown before the caret where the line has to be cut.
const EXCERPT_CONTEXT: usize = 40;

/// A text and its origin (a path, or what else it came from).
#[derive(Debug, Clone, Copy)]
pub(crate) struct SourceText<'a> {
    pub(crate) origin: &'a str,
    pub(crate) text: &'a str,
}

impl<'a> SourceText<'a> {
    /// Takes the bytes of a file, which have to be UTF-8; a byte-order mark before it is passed over. Bytes that are not UTF-8 and evidently another kind
    /// of file are refused for what they are.
    pub(crate) fn decode(origin: &'a str, bytes: &'a [u8]) -> Result<Self, Box<Diagnostic>> {
        let (problem, span) = match std::str::from_utf8(bytes) {
            Ok(text) if text.starts_with(GIT_LFS_POINTER) => {
                (Problem::GitLfsPointer, 0..GIT_LFS_POINTER.len())
            }
            Ok(text) => {
                let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
                return Ok(SourceText { origin, text });
            }
            Err(error) => {
                let offset = error.valid_up_to();
                let byte = bytes.get(offset).copied().unwrap_or_default();
                match not_a_text(bytes) {
                    Some(problem) => (problem, 0..1),
                    None => (Problem::NotUtf8 { byte, offset }, offset..offset + 1),
                }
            }
        };
        // Up to the problem, the text with replacements equals the file, so the place is right.
        let text = String::from_utf8_lossy(bytes);
        let source = SourceText {
            origin,
            text: &text,
        };
        Err(source.diagnostic(span, problem))
    }

    /// What is wrong with a whole file in which parsing found a problem: that it is no text of fields, or that it ends inside a message. Only a file that
    /// cannot be parsed is judged so, because strings and comments may have any character.
    pub(crate) fn problem_of_file(&self, mut diagnostic: Box<Diagnostic>) -> Box<Diagnostic> {
        if let Some(problem) = not_a_text(self.text.as_bytes()) {
            return self.diagnostic(0..1, problem);
        }
        let rest = self.text.get(diagnostic.span.end..).unwrap_or_default();
        let before = self.text.get(..diagnostic.span.start).unwrap_or_default();
        // Brackets in strings and comments hardly matter: what is open is open by one at least.
        let is_open = before.matches(['{', '<']).count() > before.matches(['}', '>']).count();
        let can_be_cut = match &diagnostic.problem {
            Problem::UnknownField { .. }
            | Problem::UnclosedString { .. }
            | Problem::UnknownEnumValue { .. } => true,
            Problem::Unexpected { found, .. } => found == END_OF_TEXT,
            _ => false,
        };
        if rest.trim().is_empty() && is_open && can_be_cut {
            let problem = Box::new(diagnostic.problem);
            diagnostic.problem = Problem::CutShort { problem };
        }
        diagnostic
    }

    /// Line and column (in characters) of a byte offset, both counted from 1.
    pub(crate) fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (line, before[line_start..].chars().count() + 1)
    }

    /// Puts a problem at its place.
    pub(crate) fn diagnostic(&self, span: Range<usize>, problem: Problem) -> Box<Diagnostic> {
        let (line, column) = self.position(span.start);
        Box::new(Diagnostic {
            origin: self.origin.to_owned(),
            line,
            column,
            excerpt: self.excerpt(&span, column),
            span,
            problem,
        })
    }

    fn excerpt(&self, span: &Range<usize>, column: usize) -> Excerpt {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.text[line_start..]
            .split('\n')
            .next()
            .unwrap_or_default();
        let caret_start = column - 1;
        let skipped = if caret_start > EXCERPT_WIDTH - EXCERPT_CONTEXT {
            caret_start - EXCERPT_CONTEXT
        } else {
            0
        };
        let marked = self.text.get(span.clone()).unwrap_or_default();
        let marked_width = marked
            .split('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count();
        let caret_start = caret_start - skipped;
        Excerpt {
            text: line
                .chars()
                .skip(skipped)
                .take(EXCERPT_WIDTH)
                .map(printable)
                .collect::<String>()
                .trim_end()
                .to_owned(),
            caret_start,
            caret_width: marked_width.clamp(1, EXCERPT_WIDTH - caret_start),
        }
    }
}

/// The encoding of a text that is not in UTF-8, by its byte-order mark or by the zeros around its first letter.
fn other_encoding(bytes: &[u8]) -> Option<&'static str> {
    let is_letter = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    Some(match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => "UTF-32",
        [a, 0, 0, 0, ..] | [0, 0, 0, a, ..] if is_letter(a) => "UTF-32",
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "UTF-16",
        [a, 0, b, 0, ..] | [0, a, 0, b, ..] if is_letter(a) && is_letter(b) => "UTF-16",
        _ => return None,
    })
}

/// What a file is instead of a text in UTF-8.
fn not_a_text(bytes: &[u8]) -> Option<Problem> {
    other_encoding(bytes)
        .map(|encoding| Problem::OtherEncoding { encoding })
        .or_else(|| other_file(bytes).map(|what| Problem::OtherFile { what }))
}

/// What a file is that is no text.
fn other_file(bytes: &[u8]) -> Option<&'static str> {
    if bytes.ends_with(&TABLE_MAGIC) {
        return Some("the index of a checkpoint");
    }
    // The separators from 0x1c to 0x1f are white space to the reference.
    let is_text = |byte: &u8| matches!(byte, b'\t'..=b'\r' | 0x1c..=b'~');
    // A text has no control characters; one in another encoding has other bytes beyond ASCII.
    let control = |byte: &u8| !is_text(byte) && *byte < 0x80;
    if !bytes.iter().any(control) {
        return None;
    }
    let found = OTHER_FILES
        .iter()
        .find(|(start, _)| bytes.starts_with(start));
    // One control character in a text is told by its place. There is none that is zero, and none beside bytes that are not UTF-8.
    let is_binary = || bytes.contains(&0) || std::str::from_utf8(bytes).is_err();
    match found {
        Some((_, what)) => Some(*what),
        None if bytes.get(4..).is_some_and(|rest| rest.starts_with(TFLITE)) => {
            Some("a TFLite model")
        }
        None => is_binary().then_some("a binary file"),
    }
}

/// Keeps an excerpt on its line, the caret under its place, and the terminal from obeying the file.
pub(super) fn printable(character: char) -> char {
    match character {
        '\t' | '\r' => ' ',
        '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => '\u{fffd}',
        other if other.is_control() => '\u{fffd}',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> SourceText<'_> {
        SourceText {
            origin: "test",
            text,
        }
    }

    #[test]
    fn columns_count_characters() {
        let text = source("a\n\u{e9}\u{4e16}x");
        assert_eq!(text.position(0), (1, 1));
        assert_eq!(text.position(2), (2, 1));
        assert_eq!(text.position(7), (2, 3));
        assert_eq!(text.position(8), (2, 4));
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let line = format!("{}bad{}", "x".repeat(500), "y".repeat(500));
        let excerpt = source(&line)
            .diagnostic(500..503, Problem::GitLfsPointer)
            .excerpt;
        assert_eq!(excerpt.text.len(), EXCERPT_WIDTH);
        assert_eq!(
            &excerpt.text[excerpt.caret_start..][..excerpt.caret_width],
            "bad"
        );
    }

    #[test]
    fn an_excerpt_does_nothing_to_a_terminal() {
        let excerpt = source("a\t\x1b[31m\u{202e}b\u{feff}\r\nc")
            .diagnostic(0..1, Problem::GitLfsPointer)
            .excerpt;
        assert_eq!(excerpt.text, "a \u{fffd}[31m\u{fffd}b\u{fffd}");
    }

    /// The problem of a file none of which is a field.
    fn problem_of(bytes: &[u8]) -> Problem {
        let error = SourceText::decode("test", bytes).and_then(|source| {
            Err(source
                .problem_of_file(source.diagnostic(0..1, Problem::UnclosedString { quote: '"' })))
        });
        let error: Result<(), _> = error;
        error.expect_err("no field").problem
    }

    #[test]
    fn bytes_that_are_not_utf8_are_placed() {
        let error = SourceText::decode("test", b"ok\n # caf\xe9\n").expect_err("Latin-1");
        assert_eq!((error.line, error.column, error.span), (2, 7, 9..10));
        assert_eq!(
            error.problem,
            Problem::NotUtf8 {
                byte: 0xe9,
                offset: 9
            }
        );
    }

    #[test]
    fn other_encodings_are_named() {
        for (bytes, encoding) in [
            (&b"\xff\xfem\0"[..], "UTF-16"),
            (b"\xfe\xff\0m", "UTF-16"),
            (b"m\0o\0d\0", "UTF-16"),
            (b"\0m\0o\0d", "UTF-16"),
            (b"\xff\xfe\0\0m\0\0\0", "UTF-32"),
            (b"\0\0\xfe\xff\0\0\0m", "UTF-32"),
            (b"m\0\0\0o\0\0\0", "UTF-32"),
            (b"\0\0\0m\0\0\0o", "UTF-32"),
        ] {
            assert_eq!(problem_of(bytes), Problem::OtherEncoding { encoding });
        }
        let marked = SourceText::decode("test", b"\xef\xbb\xbfmodel {}").expect("UTF-8");
        assert_eq!(marked.text, "model {}");
    }

    #[test]
    fn files_that_are_no_text_are_named() {
        let mut index = b"\0\x0b\x03key".to_vec();
        index.extend(TABLE_MAGIC);
        for (bytes, what) in [
            (&index[..], "the index of a checkpoint"),
            (b"\x08\x01\x12\x80\x01", "a SavedModel"),
            (
                b"\x08\x08\x12\x04tfod",
                "a binary message, such as an ONNX model",
            ),
            (
                b"\x0a\x10\x0a\x05input\x12\x0bPlaceholder",
                "a binary message, such as a frozen graph",
            ),
            (b"\x1c\0\0\0TFL3\x14\0\x20\0", "a TFLite model"),
            // Weights, which have no magic number.
            (b"\xcd\xcc\x4c\x3d\x0a\xd7\x23\xbc\x02", "a binary file"),
            (b"\0\0\x80?\0\0\0@", "a binary file"),
        ] {
            assert_eq!(problem_of(bytes), Problem::OtherFile { what });
        }
        for text in [
            // A line feed first is no message.
            &b"\nmodel {}\n\x1f"[..],
            // A control character in a text is found where it stands.
            b"model { \x01 }",
        ] {
            assert!(matches!(problem_of(text), Problem::UnclosedString { .. }));
        }
        // Strings and comments may have any character.
        assert!(SourceText::decode("test", b"# \0\nmodel {}").is_ok());
    }
}
