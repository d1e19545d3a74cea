//! The `checkpoint` state file, which says which checkpoint of a folder is the latest.
//!
//! A protobuf text-format message (TensorFlow's `checkpoint_state.proto`). Only paths are of interest, so the parser takes
//! any scalar field and skips those it does not know. It is tolerant where people edit such files by hand: a backslash
//! that starts no escape sequence stands for itself, as in a Windows path.

use std::fmt;
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

use crate::Error;
use crate::map::is_lfs_pointer;
use crate::regular::open_regular;

/// The name of the state file in its folder.
pub const STATE_FILE: &str = "checkpoint";

/// Larger than any state file: room for tens of thousands of checkpoints with long names.
const MAX_SIZE: u64 = 16 << 20;

/// What a state file says. Its [`Display`](fmt::Display) form is the file's text, as TensorFlow writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointState {
    /// The prefix of the latest checkpoint: absolute, or relative to the folder.
    pub model_checkpoint_path: String,
    /// The prefixes of all checkpoints that were kept, the oldest first.
    pub all_model_checkpoint_paths: Vec<String>,
}

impl CheckpointState {
    /// The state of a folder with a single checkpoint.
    pub fn single(path: impl Into<String>) -> Self {
        let path = path.into();
        Self {
            model_checkpoint_path: path.clone(),
            all_model_checkpoint_paths: vec![path],
        }
    }

    /// Reads a state file; `None` if there is no such file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], also if it is no regular file; [`Error::LfsPointer`], or [`Error::StateFile`] with line and column.
    pub fn read(path: &Path) -> Result<Option<Self>, Error> {
        match read_start(path) {
            Ok(bytes) if is_lfs_pointer(&bytes) => Err(Error::LfsPointer {
                path: path.to_owned(),
            }),
            Ok(bytes) => Self::parse(&bytes, path).map(Some),
            Err(problem) if problem.kind() == ErrorKind::NotFound => Ok(None),
            Err(problem) => Err(Error::Io {
                path: path.to_owned(),
                action: "read",
                problem,
            }),
        }
    }

    /// Parses the text of a state file. `path` is what errors call it.
    ///
    /// # Errors
    ///
    /// [`Error::StateFile`]
    pub fn parse(text: &[u8], path: &Path) -> Result<Self, Error> {
        let mut parser = Parser { text, position: 0 };
        parser.state().map_err(|Problem { position, problem }| {
            let before = &text[..position.min(text.len())];
            let line_start = before
                .iter()
                .rposition(|&byte| byte == b'\n')
                .map_or(0, |at| at + 1);
            let line = before.split(|&byte| byte == b'\n').count();
            Error::StateFile {
                path: path.to_owned(),
                line,
                column: before.len() - line_start + 1,
                problem,
            }
        })
    }
}

impl fmt::Display for CheckpointState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "model_checkpoint_path: {}",
            Quoted(&self.model_checkpoint_path)
        )?;
        for path in &self.all_model_checkpoint_paths {
            writeln!(f, "all_model_checkpoint_paths: {}", Quoted(path))?;
        }
        Ok(())
    }
}

/// A string literal of the text format.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for byte in self.0.bytes() {
            match byte {
                b'"' | b'\'' | b'\\' => write!(f, "\\{}", char::from(byte))?,
                b'\n' => f.write_str("\\n")?,
                b'\r' => f.write_str("\\r")?,
                b'\t' => f.write_str("\\t")?,
                b' '..=b'~' => write!(f, "{}", char::from(byte))?,
                _ => write!(f, "\\{byte:03o}")?,
            }
        }
        f.write_str("\"")
    }
}

/// Reads a file whole, unless it is larger than any state file is.
fn read_start(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(MAX_SIZE).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == MAX_SIZE {
        return Err(io::Error::new(
            ErrorKind::FileTooLarge,
            "it is too large for a state file",
        ));
    }
    Ok(bytes)
}

struct Problem {
    position: usize,
    problem: String,
}

struct Parser<'a> {
    text: &'a [u8],
    position: usize,
}

impl Parser<'_> {
    fn state(&mut self) -> Result<CheckpointState, Problem> {
        let mut latest = None;
        let mut all = Vec::new();
        loop {
            self.skip_blanks();
            if self.peek().is_none() {
                break;
            }
            let start = self.position;
            let name = self.word();
            if name.is_empty() {
                return Err(self.expected("the name of a field"));
            }
            self.skip_blanks();
            if !self.skip(b':') {
                return Err(self.expected("`:` after the name of a field"));
            }
            self.skip_blanks();
            let value = match self.peek() {
                Some(b'"' | b'\'') => Some(self.string()?),
                _ if self.word().is_empty() => return Err(self.expected("a value")),
                _ => None,
            };
            match (name.as_str(), value) {
                ("model_checkpoint_path", Some(path)) => latest = Some(path),
                ("all_model_checkpoint_paths", Some(path)) => all.push(path),
                ("model_checkpoint_path" | "all_model_checkpoint_paths", None) => {
                    return Err(Problem {
                        position: start,
                        problem: format!("the value of `{name}` must be a string"),
                    });
                }
                _ => {}
            }
            self.skip_blanks();
            let _separator = self.skip(b',') || self.skip(b';');
        }
        match latest.filter(|path| !path.is_empty()) {
            Some(model_checkpoint_path) => Ok(CheckpointState {
                model_checkpoint_path,
                all_model_checkpoint_paths: all,
            }),
            None => Err(self.expected("`model_checkpoint_path: \"...\"`")),
        }
    }

    /// One or more string literals, which are joined.
    fn string(&mut self) -> Result<String, Problem> {
        let start = self.position;
        let mut bytes = Vec::new();
        while let Some(quote @ (b'"' | b'\'')) = self.peek() {
            self.position += 1;
            loop {
                match self.peek() {
                    Some(byte) if byte == quote => break,
                    None | Some(b'\n') => {
                        return Err(self.expected("the closing quote of a string"));
                    }
                    Some(b'\\') => self.escape(&mut bytes),
                    Some(byte) => {
                        self.position += 1;
                        bytes.push(byte);
                    }
                }
            }
            self.position += 1;
            self.skip_blanks();
        }
        String::from_utf8(bytes).map_err(|_| Problem {
            position: start,
            problem: "the string is not UTF-8".to_owned(),
        })
    }

    /// An escape sequence, the position being at its backslash.
    fn escape(&mut self, out: &mut Vec<u8>) {
        let after = &self.text[self.position + 1..];
        let digits = |from: usize, most: usize, radix: u32| {
            let length = after[from..]
                .iter()
                .take(most)
                .take_while(|&&byte| char::from(byte).is_digit(radix))
                .count();
            let digits = std::str::from_utf8(&after[from..from + length]).unwrap_or_default();
            // Three octal digits may exceed a byte; then this is no escape sequence.
            u8::from_str_radix(digits, radix)
                .ok()
                .map(|byte| (byte, from + length))
        };
        let simple = |byte| Some((byte, 1));
        let sequence = match after.first() {
            Some(b'n') => simple(b'\n'),
            Some(b'r') => simple(b'\r'),
            Some(b't') => simple(b'\t'),
            Some(&byte @ (b'\\' | b'"' | b'\'')) => simple(byte),
            Some(b'0'..=b'7') => digits(0, 3, 8),
            Some(b'x') => digits(1, 2, 16),
            _ => None,
        };
        let (byte, length) = sequence.unwrap_or((b'\\', 0));
        out.push(byte);
        self.position += 1 + length;
    }

    /// Letters, digits and what numbers are made of.
    fn word(&mut self) -> String {
        let is_part =
            |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'+' | b'-');
        let length = self.text[self.position..]
            .iter()
            .take_while(is_part)
            .count();
        let word = &self.text[self.position..self.position + length];
        self.position += length;
        String::from_utf8_lossy(word).into_owned()
    }

    /// Skips white space and comments.
    fn skip_blanks(&mut self) {
        while let Some(byte) = self.peek() {
            if byte == b'#' {
                self.position += self.text[self.position..]
                    .iter()
                    .take_while(|&&byte| byte != b'\n')
                    .count();
            } else if byte.is_ascii_whitespace() {
                self.position += 1;
            } else {
                break;
            }
        }
    }

    fn skip(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.position += usize::from(found);
        found
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.position).copied()
    }

    fn expected(&self, what: &str) -> Problem {
        let found = match self.peek() {
            None => "the file ends".to_owned(),
            Some(byte) => format!("found `{}`", char::from(byte).escape_default()),
        };
        Problem {
            position: self.position,
            problem: format!("expected {what}, but {found}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<CheckpointState, Error> {
        CheckpointState::parse(text.as_bytes(), Path::new("checkpoint"))
    }

    #[test]
    fn what_tensorflow_writes_is_read() {
        let text = "model_checkpoint_path: \"ckpt-2\"\nall_model_checkpoint_paths: \"ckpt-1\"\n\
                    all_model_checkpoint_paths: \"ckpt-2\"\nall_model_checkpoint_timestamps: 1668321023.81992\n\
                    last_preserved_timestamp: 1594350060.3811114\n";
        let state = parse(text).unwrap();
        assert_eq!(state.model_checkpoint_path, "ckpt-2");
        assert_eq!(state.all_model_checkpoint_paths, ["ckpt-1", "ckpt-2"]);
    }

    #[test]
    fn hand_written_forms_are_read() {
        let state =
            parse("# latest\r\nmodel_checkpoint_path : 'C:\\models\\my' \"_ssd\\\\ckpt-7\" ; x: 1")
                .unwrap();
        assert_eq!(state.model_checkpoint_path, "C:\\models\\my_ssd\\ckpt-7");
    }

    #[test]
    fn errors_say_where() {
        let message = |text| parse(text).unwrap_err().to_string();
        assert_eq!(
            message("model_checkpoint_path: \"a\"\n  !"),
            "checkpoint:2:3: expected the name of a field, but found `!`"
        );
        assert_eq!(
            message("model_checkpoint_path: \"a\nb"),
            "checkpoint:1:26: expected the closing quote of a string, but found `\\n`"
        );
        assert_eq!(
            message(""),
            "checkpoint:1:1: expected `model_checkpoint_path: \"...\"`, but the file ends"
        );
        assert_eq!(
            message("\nmodel_checkpoint_path: 3"),
            "checkpoint:2:1: the value of `model_checkpoint_path` must be a string"
        );
    }

    proptest! {
        #[test]
        fn any_path_round_trips(path in any::<String>().prop_filter("a path", |path| !path.is_empty())) {
            let state = CheckpointState::single(path);
            prop_assert_eq!(parse(&state.to_string()).unwrap(), state);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = CheckpointState::parse(&bytes, Path::new("checkpoint"));
            let _ = CheckpointState::parse(&[b"model_checkpoint_path: \"\\", bytes.as_slice()].concat(), Path::new("x"));
        }
    }
}
