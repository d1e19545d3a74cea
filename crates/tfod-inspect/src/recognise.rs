//! What a path is, by content: names of files mean something only where the format itself gives them meaning (a checkpoint's prefix),
//! and where nothing else tells what a file is (`*.config`). How a model is recognised is said by its format's [`Descriptor`](tfod_formats::Descriptor).

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use tfod_checkpoint::{Located, MappedFile, STATE_FILE, locate};
use tfod_formats::{Format, is_meta_graph};
use tfod_proto::wire::{Field, Fields};
use tfod_tensorflow::messages::text;

use crate::InspectError;

/// What a path is.
#[derive(Debug)]
pub(crate) enum Recognised {
    Checkpoint(Located),
    Config(PathBuf),
    /// A model, and the folder that its file is in.
    Model(Format, MappedFile, PathBuf),
    /// A graph as text.
    GraphText(MappedFile),
    /// A `MetaGraphDef`, which TensorFlow 1 writes beside checkpoints.
    MetaGraph(MappedFile),
    /// A folder with several of these.
    Export(Vec<PathBuf>),
}

/// The pieces of an export, and what training calls its config.
fn pieces() -> impl Iterator<Item = &'static str> {
    std::iter::once("checkpoint")
        .chain(Format::ALL.map(Format::file))
        .chain(["pipeline.config", "manifest.json"])
}

/// The last eight bytes of a sorted table, which a checkpoint's index is.
const TABLE_MAGIC: [u8; 8] = 0xdb47_7524_8b80_fb57_u64.to_le_bytes();

/// How files of other formats begin.
const OTHER_FORMATS: [(usize, &[u8], &str); 6] = [
    (
        0,
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file, such as Keras weights; load it in Keras and save a SavedModel",
    ),
    (
        0,
        b"PK\x03\x04",
        "a ZIP archive, such as a .keras model or a PyTorch checkpoint",
    ),
    (0, b"\x1f\x8b", "a gzip archive; unpack it first"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"\x89PNG", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
];

/// Finds out what a path is.
pub(crate) fn recognise(path: &Path) -> Result<Recognised, InspectError> {
    if path.is_dir() {
        return folder(path);
    }
    match MappedFile::open(path, || tfod_checkpoint::Error::MissingIndex {
        path: path.to_owned(),
    }) {
        Ok(mapped) => file(path, mapped),
        // A prefix is no file.
        Err(tfod_checkpoint::Error::MissingIndex { .. }) => match locate(path, None) {
            Ok(located) => Ok(Recognised::Checkpoint(located)),
            Err(_) => Err(unknown(
                path,
                "there is no such file or folder, and no checkpoint with this prefix",
            )),
        },
        Err(error) => Err(error.into()),
    }
}

fn unknown(path: &Path, found: impl Into<String>) -> InspectError {
    InspectError::Unknown {
        path: path.to_owned(),
        found: found.into(),
    }
}

fn folder(path: &Path) -> Result<Recognised, InspectError> {
    let is_file = |name: &str| path.join(name).is_file();
    for format in Format::ALL {
        if let Some(file) = format.descriptor().folder_has.filter(|name| is_file(name)) {
            let mapped = map(&path.join(file))?;
            return Ok(Recognised::Model(format, mapped, path.to_owned()));
        }
    }
    if is_file("saved_model.pbtxt") {
        return Err(unknown(path, as_text(Format::SavedModel)));
    }
    let pieces: Vec<PathBuf> = pieces()
        .map(|name| path.join(name))
        .filter(|piece| piece.exists())
        .collect();
    let has_checkpoint = is_file(STATE_FILE) || has_index(path)?;
    if has_checkpoint {
        return Ok(Recognised::Checkpoint(locate(path, None)?));
    }
    match pieces.as_slice() {
        // What is left of a SavedModel whose graph was not copied.
        [] if path.join("variables/variables.index").is_file() => Ok(Recognised::Checkpoint(
            locate(&path.join("variables/variables"), None)?,
        )),
        [] => match entries(path)?.as_slice() {
            // A folder of one file is that file.
            [only] if path.join(only).is_file() => {
                let inner = path.join(only);
                file(&inner, map(&inner)?)
            }
            _ => Err(unknown(path, holds(path)?)),
        },
        [config] if config.ends_with("pipeline.config") => Ok(Recognised::Config(config.clone())),
        [model] if model.is_file() && !model.ends_with("manifest.json") => file(model, map(model)?),
        _ => Ok(Recognised::Export(pieces)),
    }
}

/// The folder that a file is in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        folder => folder.unwrap_or(path),
    }
}

fn map(path: &Path) -> Result<MappedFile, InspectError> {
    let missing = || tfod_checkpoint::Error::MissingIndex {
        path: path.to_owned(),
    };
    Ok(MappedFile::open(path, missing)?)
}

fn entries(path: &Path) -> Result<Vec<OsString>, InspectError> {
    let failed = |problem| InspectError::Read {
        path: path.to_owned(),
        problem,
    };
    let entries = fs::read_dir(path).map_err(failed)?;
    let names = entries.map(|entry| Ok(entry?.file_name()));
    names.collect::<Result<_, _>>().map_err(failed)
}

fn has_index(path: &Path) -> Result<bool, InspectError> {
    let is_index = |name: &OsString| Path::new(name).extension().is_some_and(|e| e == "index");
    Ok(entries(path)?.iter().any(is_index))
}

fn holds(path: &Path) -> Result<String, InspectError> {
    const SHOWN: usize = 8;
    let mut names = entries(path)?;
    names.sort();
    if names.is_empty() {
        return Ok("the folder is empty".to_owned());
    }
    let more = if names.len() > SHOWN { ", …" } else { "" };
    names.truncate(SHOWN);
    let names: Vec<_> = names.iter().map(|name| name.to_string_lossy()).collect();
    Ok(format!("the folder holds {}{more}", names.join(", ")))
}

fn file(path: &Path, mapped: MappedFile) -> Result<Recognised, InspectError> {
    // Data of a checkpoint has no format of its own, so it may look like anything.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.contains(".data-")
        && let Ok(located) = locate(path, None)
    {
        return Ok(Recognised::Checkpoint(located));
    }
    let bytes = mapped.bytes();
    if bytes.is_empty() {
        return Err(unknown(path, "the file is empty"));
    }
    if bytes.ends_with(&TABLE_MAGIC) {
        return match locate(path, None) {
            Ok(located) if path.extension().is_some_and(|e| e == "index") => {
                Ok(Recognised::Checkpoint(located))
            }
            _ => Err(unknown(
                path,
                "a checkpoint's index by its content, but its name does not end in .index, so its data cannot be found",
            )),
        };
    }
    if let Some(format) = Format::of_identifier(bytes) {
        return Ok(model(format, mapped, path));
    }
    let other = OTHER_FORMATS
        .iter()
        .find(|(at, magic, _)| bytes.get(*at..).is_some_and(|rest| rest.starts_with(magic)));
    if let Some((_, _, what)) = other {
        return Err(unknown(path, *what));
    }
    // What is called a config and does not look like one is for the reader of configs, which says what is wrong with it.
    let is_config = path.extension().is_some_and(|e| e == "config");
    let kind = match text(path, bytes) {
        Err(_) if is_config => Some(Text::Config),
        kind => kind?,
    };
    if let Some(kind) = kind {
        return Ok(match kind {
            Text::Config => Recognised::Config(path.to_owned()),
            Text::Graph => Recognised::GraphText(mapped),
            Text::State => Recognised::Checkpoint(locate(folder_of(path), None)?),
        });
    }
    match Format::of_message(bytes) {
        Some(format) => Ok(model(format, mapped, path)),
        None if is_meta_graph(bytes) => Ok(Recognised::MetaGraph(mapped)),
        None if is_config => Ok(Recognised::Config(path.to_owned())),
        None => {
            let known = cut_short(bytes);
            Err(unknown(
                path,
                known.unwrap_or_else(|| "no format that is known".to_owned()),
            ))
        }
    }
}

fn model(format: Format, mapped: MappedFile, path: &Path) -> Recognised {
    Recognised::Model(format, mapped, folder_of(path).to_owned())
}

enum Text {
    Config,
    Graph,
    State,
}

/// A model in a form that is not read.
fn as_text(format: Format) -> String {
    format!(
        "{} as text, which is not read",
        format.descriptor().described
    )
}

/// What a text is, by the first field in it; `None` for what is no text.
fn text(path: &Path, bytes: &[u8]) -> Result<Option<Text>, InspectError> {
    const LOOKED_AT: usize = 4096;
    let bytes = text::after_comments(text::without_mark(bytes));
    let start = bytes.get(..LOOKED_AT.min(bytes.len())).unwrap_or_default();
    if !text::is_text(start) {
        return Ok(None);
    }
    let field = text::first_field(start).unwrap_or_default();
    match Format::of_text_field(field) {
        Some(Format::Frozen) => return Ok(Some(Text::Graph)),
        Some(format) => return Err(unknown(path, as_text(format))),
        None => {}
    }
    Ok(Some(match field {
        "model" | "train_config" | "train_input_reader" | "train_input_config" | "eval_config"
        | "eval_input_reader" | "eval_input_config" | "graph_rewriter" => Text::Config,
        "model_checkpoint_path" | "all_model_checkpoint_paths" => Text::State,
        "item" => return Err(unknown(path, "a label map")),
        _ if start.trim_ascii_start().starts_with(b"{") => {
            return Err(unknown(path, "JSON; of an export, give the folder"));
        }
        _ => return Err(unknown(path, "a text of no kind that is known")),
    }))
}

/// Where a message ends to be one whose first fields are well.
fn cut_short(bytes: &[u8]) -> Option<String> {
    let mut fields = Fields::of(bytes);
    let first = fields.next()?.ok()?;
    // As ONNX models, SavedModels and graphs begin.
    let (1, Field::Varint(_) | Field::Bytes(_)) = first else {
        return None;
    };
    let malformed = fields.find_map(Result::err)?;
    let (at, size) = (malformed.offset_in(bytes), bytes.len());
    Some(format!(
        "a file that begins like a model, and is damaged or cut short at byte {at} of {size}; fetch it again"
    ))
}
