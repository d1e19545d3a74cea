//! TFLite Metadata: what programs that know a model by its task have to know of its tensors, and the files that it refers to, which are in an archive behind the model.
//!
//! Specified by `metadata_schema.fbs` of TFLite Support, and for the archive by PKWARE's APPNOTE.TXT.

use std::ops::Range;

use serde_json::{Value, json};

use super::flatbuffer::{File, Table};
use super::text;
use crate::error::{Damage, push};

/// What begins the buffer.
const IDENTIFIER: &[u8] = b"M001";
/// How many lines of a file are kept.
const FIRST_LINES: usize = 5;
/// How many bytes of a line are kept.
const MAX_LINE: usize = 200;

/// What a model's metadata says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TfliteMetadata {
    /// What the model is called.
    pub name: String,
    /// What it does.
    pub description: String,
    /// The version of the format that a reader has to know.
    pub min_parser_version: String,
    /// Of inputs, in their order.
    pub inputs: Vec<TensorNotes>,
    /// Of outputs, in their order.
    pub outputs: Vec<TensorNotes>,
    /// The names of parts in formats of their own, such as `DETECTOR_METADATA`.
    pub custom: Vec<String>,
    /// The files behind the model.
    pub files: Vec<AttachedFile>,
}

/// What is said of a tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TensorNotes {
    /// By what programs find it.
    pub name: String,
    /// What it is, for people.
    pub description: String,
    /// What its numbers are.
    pub content: &'static str,
    /// A pixel's number becomes `(number - mean) / std`: the means and the standard deviations, one for all channels or one for each.
    pub normalization: Option<(Vec<f32>, Vec<f32>)>,
    /// The files that belong to it, and for what.
    pub files: Vec<(String, &'static str)>,
}

/// A file behind the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachedFile {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// How many lines it has; `None` for what is compressed or no text.
    pub lines: Option<u64>,
    /// The first of them.
    pub first: Vec<String>,
}

impl TfliteMetadata {
    /// Reads the buffer; what begins otherwise than a known version says nothing.
    pub(super) fn read(file: File<'_>) -> Result<Option<Self>, Damage> {
        if file.bytes.get(4..8) != Some(IDENTIFIER) {
            return Ok(None);
        }
        let root = file.table(file.follow(0)?)?;
        let mut found = Self {
            name: root.text(0)?,
            description: root.text(1)?,
            min_parser_version: root.text(7)?,
            ..Self::default()
        };
        if let Some(graph) = root.table(3, 0)? {
            for (slot, notes) in [(2, &mut found.inputs), (3, &mut found.outputs)] {
                for tensor in graph.tables(slot)? {
                    push(notes, TensorNotes::read(&tensor?)?, file.bytes)?;
                }
            }
            for custom in graph.tables(9)? {
                push(&mut found.custom, custom?.text(0)?, file.bytes)?;
            }
        }
        Ok(Some(found))
    }

    pub(super) fn json(&self) -> Value {
        let notes = |all: &[TensorNotes]| all.iter().map(TensorNotes::json).collect::<Vec<_>>();
        let files = self.files.iter().map(|file| {
            json!({
                "name": file.name,
                "bytes": file.bytes,
                "lines": file.lines,
                "first": file.first,
            })
        });
        json!({
            "name": self.name,
            "description": self.description,
            "min_parser_version": self.min_parser_version,
            "inputs": notes(&self.inputs),
            "outputs": notes(&self.outputs),
            "custom": self.custom,
            "files": files.collect::<Vec<_>>(),
        })
    }
}

impl TensorNotes {
    fn read(tensor: &Table<'_>) -> Result<Self, Damage> {
        let byte = |table: &Table<'_>, slot| -> Result<u8, Damage> {
            let field = table.field(slot)?;
            field.map_or(Ok(0), |at| table.file.byte(at))
        };
        let mut found = Self {
            name: tensor.text(0)?,
            description: tensor.text(1)?,
            ..Self::default()
        };
        if let Some(content) = tensor.inner(3)? {
            let properties = content.inner(1)?;
            let color = properties.map_or(Ok(0), |of| byte(&of, 0));
            found.content = match byte(&content, 0)? {
                1 => "numbers",
                2 => match color? {
                    1 => "pixels: red, green, blue",
                    2 => "pixels: grey",
                    _ => "pixels",
                },
                3 => "boxes",
                4 => "sound",
                _ => "",
            };
        }
        for unit in tensor.tables(4)? {
            let unit = unit?;
            if byte(&unit, 0)? == 1
                && let Some(options) = unit.inner(1)?
            {
                found.normalization = Some((options.floats(0)?, options.floats(1)?));
            }
        }
        for file in tensor.tables(6)? {
            let file = file?;
            let what = match byte(&file, 2)? {
                1 => "descriptions",
                2 => "labels of places",
                3 => "labels of values",
                4 => "calibration of scores",
                5 => "vocabulary",
                _ => "",
            };
            push(&mut found.files, (file.text(0)?, what), file.file.bytes)?;
        }
        Ok(found)
    }

    fn json(&self) -> Value {
        let normalization = self.normalization.as_ref();
        let normalization = normalization.map(|(mean, std)| json!({ "mean": mean, "std": std }));
        let files = self.files.iter();
        let files = files.map(|(name, what)| json!({ "name": name, "what": what }));
        json!({
            "name": self.name,
            "description": self.description,
            "content": self.content,
            "normalization": normalization,
            "files": files.collect::<Vec<_>>(),
        })
    }
}

/// The signatures of an archive's parts.
const END: &[u8] = b"PK\x05\x06";
const ENTRY: &[u8] = b"PK\x01\x02";
const CONTENT: &[u8] = b"PK\x03\x04";
/// How long the last part is, and how long a comment behind it may be.
const END_LENGTH: usize = 22;
const MAX_COMMENT: usize = 0xffff;

/// The files of the archive that a file ends in; none where there is no archive, or it is damaged.
pub(super) fn attached(file: File<'_>) -> Vec<AttachedFile> {
    let mut found = Vec::new();
    let Some(mut at) = directory(file.bytes) else {
        return found;
    };
    while let Some((next, entry)) = entry(file, at) {
        found.push(entry);
        at = next;
    }
    found
}

/// Where the directory begins.
fn directory(bytes: &[u8]) -> Option<usize> {
    let begin = bytes.len().saturating_sub(END_LENGTH + MAX_COMMENT);
    let last = bytes.get(begin..)?;
    let end = last.windows(END.len()).rposition(|part| part == END)? + begin;
    word(bytes, end + 16)
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..)?.first_chunk()?;
    usize::try_from(u32::from_le_bytes(*word)).ok()
}

fn short(bytes: &[u8], at: usize) -> Option<usize> {
    let short = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_le_bytes(*short).into())
}

fn part(bytes: &[u8], at: usize, length: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(length)?)
}

/// An entry of the directory, and where the next one is.
fn entry(file: File<'_>, at: usize) -> Option<(usize, AttachedFile)> {
    let bytes = file.bytes;
    if part(bytes, at, 4)? != ENTRY {
        return None;
    }
    let [name, extra, comment] = [28, 30, 32].map(|of| short(bytes, at + of));
    let (name, rest) = (name?, extra? + comment?);
    let called = part(bytes, at + 46, name)?;
    file.spend(size_of::<AttachedFile>() + name, at).ok()?;
    let size = word(bytes, at + 24)?;
    let mut found = AttachedFile {
        name: text(called),
        bytes: size as u64,
        ..AttachedFile::default()
    };
    let is_stored = short(bytes, at + 10)? == 0;
    if let Some(range) = content(bytes, word(bytes, at + 42)?, size)
        && is_stored
        && let Some(content) = bytes.get(range)
        && file.spend(content.len(), at).is_ok()
        && let Ok(content) = std::str::from_utf8(content)
    {
        found.lines = Some(content.lines().count() as u64);
        let first = content.lines().take(FIRST_LINES);
        found.first = first
            .map(|line| line.chars().take(MAX_LINE).collect())
            .collect();
    }
    Some((at + 46 + name + rest, found))
}

/// Where the bytes of a file are that is stored as it is.
fn content(bytes: &[u8], at: usize, size: usize) -> Option<Range<usize>> {
    if part(bytes, at, 4)? != CONTENT {
        return None;
    }
    let begin = at + 30 + short(bytes, at + 26)? + short(bytes, at + 28)?;
    Some(begin..begin.checked_add(size)?)
}
