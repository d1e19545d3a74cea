//! A text with the name of where it came from: decoding it, and describing places in it.
//!
//! Tokens carry byte offsets only; lines, columns and excerpts are worked out here, for the few places that errors name.

use std::ops::Range;

use crate::{Diagnostic, Excerpt, Problem};

/// Characters of a line that an excerpt shows.
const EXCERPT_WIDTH: usize = 100;
/// What a Git LFS pointer begins with.
const GIT_LFS_POINTER: &str = "version https://git-lfs.github.com/spec/";
/// Characters shown before the caret where the line has to be cut.
const EXCERPT_CONTEXT: usize = 40;

/// A text and its origin (a path, or the name of a flag).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) origin: &'a str,
    pub(crate) text: &'a str,
}

impl<'a> Source<'a> {
    /// Takes the bytes of a file, which have to be UTF-8 without a byte-order mark. What is evidently another kind of
    /// file is refused for what it is.
    pub(crate) fn decode(origin: &'a str, bytes: &'a [u8]) -> Result<Self, Box<Diagnostic>> {
        let (problem, span) = match std::str::from_utf8(bytes) {
            Ok(text) if text.starts_with('\u{feff}') => {
                (Problem::ByteOrderMark, 0..'\u{feff}'.len_utf8())
            }
            Ok(text) if text.starts_with(GIT_LFS_POINTER) => {
                (Problem::GitLfsPointer, 0..GIT_LFS_POINTER.len())
            }
            Ok(text) => return Ok(Source { origin, text }),
            Err(_) if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") => {
                (Problem::Utf16, 0..2)
            }
            Err(error) => {
                let offset = error.valid_up_to();
                let byte = bytes.get(offset).copied().unwrap_or_default();
                (Problem::NotUtf8 { byte, offset }, offset..offset + 1)
            }
        };
        // Up to the problem, the text with replacements equals the file, so the place is right.
        let text = String::from_utf8_lossy(bytes);
        let source = Source {
            origin,
            text: &text,
        };
        Err(source.diagnostic(span, problem))
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

    fn source(text: &str) -> Source<'_> {
        Source {
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
            .diagnostic(500..503, Problem::ByteOrderMark)
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
            .diagnostic(0..1, Problem::Utf16)
            .excerpt;
        assert_eq!(excerpt.text, "a \u{fffd}[31m\u{fffd}b\u{fffd}");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_placed() {
        let error = Source::decode("test", b"ok\n # caf\xe9\n").expect_err("Latin-1");
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
    fn utf16_and_byte_order_marks_are_named() {
        let utf16 = Source::decode("test", b"\xff\xfem\0").expect_err("UTF-16");
        assert_eq!(utf16.problem, Problem::Utf16);
        let mark = Source::decode("test", b"\xef\xbb\xbfmodel {}").expect_err("byte-order mark");
        assert_eq!((mark.problem, mark.span), (Problem::ByteOrderMark, 0..3));
    }
}
