//! Errors: what is wrong, where, and what to do about it.
//!
//! A [`Problem`] says what is wrong in terms of the text format and of the schema; a [`Diagnostic`] adds the place and the
//! line it stands on, and prints in the form compilers use.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use thiserror::Error;

use tfod_text::Shown;

use crate::files::MAX_SIZE;

/// Why a config or a label map was refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be opened or read.
    #[error("{}: the {what} cannot be read: {source}; check the path and its permissions", path.shown())]
    Unreadable {
        /// What the file was expected to hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is far larger than any config.
    #[error(
        "{}: expected a {what}, found more than {MAX_SIZE} bytes; check that the path names the right file",
        path.shown()
    )]
    TooLarge {
        /// What the file was expected to hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The text is wrong at some place.
    #[error(transparent)]
    Text(#[from] Box<Diagnostic>),
    /// The structs and the descriptors of the schema disagree: a defect of this crate, not of the file.
    #[error(
        "{origin}: the message read does not fit the schema's structs: {source}; please report this"
    )]
    Schema {
        /// The file.
        origin: String,
        /// What prost found.
        source: prost::DecodeError,
    },
}

impl ConfigError {
    /// The origin of a text that is merged into a config and in no file.
    pub const OVERRIDE: &'static str = "config_override";
}

/// A problem at a place in a text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Diagnostic {
    /// The file, or whatever else the text came from.
    pub origin: String,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// The bytes of the text concerned.
    pub span: Range<usize>,
    /// The line concerned.
    pub excerpt: Excerpt,
    /// What is wrong.
    pub problem: Problem,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            origin,
            line,
            column,
            excerpt,
            problem,
            ..
        } = self;
        let margin = " ".repeat(line.to_string().len());
        writeln!(f, "{origin}:{line}:{column}: {problem}")?;
        writeln!(f, "{margin} |")?;
        writeln!(f, "{line} | {}", excerpt.text)?;
        let indent = " ".repeat(excerpt.caret_start);
        write!(f, "{margin} | {indent}{}", "^".repeat(excerpt.caret_width))?;
        if let Some(help) = problem.help() {
            write!(f, "\n{margin} = {help}")?;
        }
        Ok(())
    }
}

/// A line of a text, made printable, and the part of it that a caret points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// The line, or the part around the caret where the line is long. Control characters are replaced.
    pub text: String,
    /// Characters of `text` before the caret.
    pub caret_start: usize,
    /// Characters under the caret, at least 1.
    pub caret_width: usize,
}

/// What can be wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file is what Git keeps in place of a file that Git LFS stores.
    #[error("expected a text of fields, found a Git LFS pointer")]
    GitLfsPointer,
    /// The text has another encoding.
    #[error("expected text in UTF-8, found {encoding}")]
    OtherEncoding {
        /// Its name.
        encoding: &'static str,
    },
    /// The file is no text at all, and known for what it is.
    #[error("expected a text of fields, found {what}")]
    OtherFile {
        /// What it is.
        what: &'static str,
    },
    /// The file ends with the problem, inside a message: what is wrong is what is not there any more.
    #[error("{problem}, where the file ends")]
    CutShort {
        /// What the end looks like.
        problem: Box<Problem>,
    },
    /// A byte that no UTF-8 text has here.
    #[error("expected text in UTF-8, found the byte 0x{byte:02x} at offset {offset}")]
    NotUtf8 {
        /// The byte.
        byte: u8,
        /// Its offset in the file.
        offset: usize,
    },
    /// Another token was needed.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What the format or the schema asks for.
        expected: String,
        /// The token found.
        found: String,
    },
    /// `[name]` at the place of a field: an extension, or an expanded `Any`.
    #[error("expected a field name of `{message}`, found an extension")]
    Extension {
        /// The message around it.
        message: String,
    },
    /// The text ends inside a message.
    #[error(
        "expected `{close}`, found the end of the text: `{field}`, opened on line {line}, is not closed"
    )]
    Unclosed {
        /// The message's field.
        field: String,
        /// The bracket that is missing.
        close: char,
        /// Where it was opened.
        line: usize,
    },
    /// A string without its closing quote.
    #[error("expected {quote} at the end of the string, found the end of the line")]
    UnclosedString {
        /// The quote that is missing.
        quote: char,
    },
    /// An escape that is no escape.
    #[error("expected {expected}, found `{found}`")]
    Escape {
        /// What the escape needs.
        expected: &'static str,
        /// The escape.
        found: String,
    },
    /// A string whose bytes, after unescaping, are not UTF-8.
    #[error("expected UTF-8 in the string field `{field}`, found other bytes after unescaping")]
    StringNotUtf8 {
        /// The field.
        field: String,
    },
    /// A field that the message does not have.
    #[error("message `{message}` has no field `{name}`", name = name.shown())]
    UnknownField {
        /// The message, without its package.
        message: String,
        /// The name found.
        name: String,
        /// The message's fields with similar names, nearest first.
        nearest: Vec<String>,
        /// Other messages that do have a field of this name.
        elsewhere: Vec<String>,
    },
    /// A top-level block inside another block.
    #[error("message `{message}` has no field `{name}`, which is a top-level block", name = name.shown())]
    MisplacedBlock {
        /// The message around it.
        message: String,
        /// The block.
        name: String,
    },
    /// A value that does not fit its field.
    #[error("field `{field}`: expected {expected}, found {found}")]
    Value {
        /// The field.
        field: String,
        /// The type, with its range.
        expected: String,
        /// The token found.
        found: String,
    },
    /// An enum value that is not one of the enum's.
    #[error("field `{field}`: enum `{enumeration}` has no value `{found}`")]
    UnknownEnumValue {
        /// The field.
        field: String,
        /// The enum, without its package.
        enumeration: String,
        /// The value found.
        found: String,
        /// The enum's value names, nearest first.
        known: Vec<String>,
    },
    /// A field whose type the reader does not handle: the schema has none such.
    #[error("field `{field}` has the type {kind}, which the reader does not handle")]
    Unsupported {
        /// The field.
        field: String,
        /// Its type.
        kind: String,
    },
    /// A label map's item with an id below 0.
    #[error("expected an item id of 1 or more, found {id}")]
    NegativeId {
        /// The id.
        id: i32,
    },
    /// A label map's item with id 0 that is not the background.
    #[error("expected an item id of 1 or more, found {}", if *.given { "0" } else { "no id" })]
    ReservedId {
        /// Whether the item sets the id (to 0).
        given: bool,
    },
    /// A label map's item with the id of an earlier one.
    #[error("expected item ids to differ, found {id} twice: of `{first}`, and of `{second}`")]
    DuplicateId {
        /// The id.
        id: i32,
        /// The name of the first item that has it.
        first: String,
        /// The name of this one.
        second: String,
    },
    /// A keypoint label that an earlier item of the label map has already.
    #[error("expected keypoint labels to differ, found `{label}` twice", label = label.shown())]
    DuplicateKeypointLabel {
        /// The label.
        label: String,
    },
    /// A keypoint id that an earlier keypoint of the label map has already.
    #[error("expected keypoint ids to differ, found {id} twice (the second is `{label}`)", label = label.shown())]
    DuplicateKeypointId {
        /// The second keypoint's label.
        label: String,
        /// The id.
        id: i32,
    },
}

impl Problem {
    /// Whether the text is well formed around the problem, so that the end of the block is still known.
    pub(crate) fn leaves_structure_intact(&self) -> bool {
        matches!(
            self,
            Self::UnknownField { .. }
                | Self::Unexpected { .. }
                | Self::Value { .. }
                | Self::UnknownEnumValue { .. }
                | Self::Escape { .. }
                | Self::StringNotUtf8 { .. }
                | Self::Extension { .. }
        )
    }

    /// What to do about it, where there is something to say.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::GitLfsPointer => Some("fetch the file itself with `git lfs pull`".to_owned()),
            Self::OtherEncoding { .. } | Self::NotUtf8 { .. } => {
                Some("save the file as UTF-8".to_owned())
            }
            Self::OtherFile { .. } => Some("give the path of the text file instead".to_owned()),
            Self::CutShort { .. } => {
                Some("the file seems to be cut short: copy or download it again".to_owned())
            }
            Self::DuplicateId { .. } => {
                Some("every class has one item: give each an id of its own".to_owned())
            }
            Self::Extension { .. } => Some("no extensions are known: remove the field".to_owned()),
            Self::Unclosed { close, .. } => Some(format!(
                "add the missing `{close}`; if the file is cut short, copy or download it again"
            )),
            Self::UnclosedString { quote } => Some(format!(
                "add the missing {quote}; a string cannot go on in the next line, but strings in a row are joined"
            )),
            Self::UnknownField {
                message,
                nearest,
                elsewhere,
                ..
            } => Some(unknown_field_help(message, nearest, elsewhere)),
            Self::MisplacedBlock { name, .. } => Some(format!(
                "a closing bracket is probably missing before `{name}`"
            )),
            Self::UnknownEnumValue { known, .. } => {
                Some(format!("the values are {}", list(known, "and")))
            }
            Self::NegativeId { .. } | Self::ReservedId { .. } => Some(
                "class ids begin with 1; id 0 is reserved for an item named `background`"
                    .to_owned(),
            ),
            Self::DuplicateKeypointLabel { .. } | Self::DuplicateKeypointId { .. } => Some(
                "keypoints of all items form one list: each label and each id may appear once"
                    .to_owned(),
            ),
            Self::Unsupported { .. } => Some("please report this".to_owned()),
            Self::Unexpected { .. }
            | Self::Escape { .. }
            | Self::StringNotUtf8 { .. }
            | Self::Value { .. } => None,
        }
    }
}

fn unknown_field_help(message: &str, nearest: &[String], elsewhere: &[String]) -> String {
    if !nearest.is_empty() {
        format!("did you mean {}?", list(nearest, "or"))
    } else if !elsewhere.is_empty() {
        format!(
            "a field of this name belongs to {}: is it in the wrong block?",
            list(elsewhere, "and")
        )
    } else {
        format!("remove the field; `{message}` has nothing of a similar name")
    }
}

/// `` `a`, `b` and `c` ``; what is beyond six names is counted.
fn list(names: &[String], conjunction: &str) -> String {
    const SHOWN: usize = 6;
    let mut quoted: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{name}`"))
        .collect();
    if names.len() > SHOWN {
        quoted.push(format!("{} more", names.len() - SHOWN));
    }
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => {
            format!("{} {conjunction} {last}", rest.join(", "))
        }
        _ => quoted.concat(),
    }
}
