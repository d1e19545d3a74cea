//! What a path is, by content: names of files mean something only where the format itself gives them meaning (a checkpoint's prefix),
//! and where nothing else tells what a file is (`*.config`).

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use tfod_checkpoint::{Located, MappedFile, STATE_FILE, locate};
use tfod_proto::wire::{Field, Fields};

use crate::InspectError;
use tfod_tensorflow::messages::text;

/// What a path is.
#[derive(Debug)]
pub(crate) enum Kind {
    Checkpoint(Located),
    Config(PathBuf),
    /// `saved_model.pb`, and the folder it is in.
    SavedModel(MappedFile, PathBuf),
    Graph(MappedFile),
    /// A `MetaGraphDef`, which TensorFlow 1 writes beside checkpoints.
    MetaGraph(MappedFile),
    Onnx(MappedFile),
    Tflite(MappedFile),
    /// A graph as text.
    GraphText(MappedFile),
    /// A folder with several of these.
    Export(Vec<PathBuf>),
}

/// The pieces of an export, and what training calls its config.
pub(crate) const PIECES: [&str; 7] = [
    "checkpoint",
    "saved_model",
    "frozen.pb",
    "model.onnx",
    "model.tflite",
    "pipeline.config",
    "manifest.json",
];

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
pub(crate) fn recognise(path: &Path) -> Result<Kind, InspectError> {
    if path.is_dir() {
        return folder(path);
    }
    match MappedFile::open(path, || tfod_checkpoint::Error::MissingIndex {
        path: path.to_owned(),
    }) {
        Ok(mapped) => file(path, mapped),
        // A prefix is no file.
        Err(tfod_checkpoint::Error::MissingIndex { .. }) => match locate(path, None) {
            Ok(located) => Ok(Kind::Checkpoint(located)),
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

fn folder(path: &Path) -> Result<Kind, InspectError> {
    let is_file = |name: &str| path.join(name).is_file();
    if is_file("saved_model.pb") {
        let file = path.join("saved_model.pb");
        let mapped = map(&file)?;
        return Ok(Kind::SavedModel(mapped, path.to_owned()));
    }
    if is_file("saved_model.pbtxt") {
        return Err(unknown(path, "a SavedModel as text, which is not read"));
    }
    let pieces: Vec<PathBuf> = PIECES
        .iter()
        .map(|name| path.join(name))
        .filter(|piece| piece.exists())
        .collect();
    let has_checkpoint = is_file(STATE_FILE) || has_index(path)?;
    if has_checkpoint {
        return Ok(Kind::Checkpoint(locate(path, None)?));
    }
    match pieces.as_slice() {
        // What is left of a SavedModel whose graph was not copied.
        [] if path.join("variables/variables.index").is_file() => Ok(Kind::Checkpoint(locate(
            &path.join("variables/variables"),
            None,
        )?)),
        [] => match entries(path)?.as_slice() {
            // A folder of one file is that file.
            [only] if path.join(only).is_file() => {
                let inner = path.join(only);
                file(&inner, map(&inner)?)
            }
            _ => Err(unknown(path, holds(path)?)),
        },
        [config] if config.ends_with("pipeline.config") => Ok(Kind::Config(config.clone())),
        [model] if model.is_file() && !model.ends_with("manifest.json") => file(model, map(model)?),
        _ => Ok(Kind::Export(pieces)),
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

fn file(path: &Path, mapped: MappedFile) -> Result<Kind, InspectError> {
    // Data of a checkpoint has no format of its own, so it may look like anything.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.contains(".data-")
        && let Ok(located) = locate(path, None)
    {
        return Ok(Kind::Checkpoint(located));
    }
    let bytes = mapped.bytes();
    if bytes.is_empty() {
        return Err(unknown(path, "the file is empty"));
    }
    if bytes.ends_with(&TABLE_MAGIC) {
        return match locate(path, None) {
            Ok(located) if path.extension().is_some_and(|e| e == "index") => {
                Ok(Kind::Checkpoint(located))
            }
            _ => Err(unknown(
                path,
                "a checkpoint's index by its content, but its name does not end in .index, so its data cannot be found",
            )),
        };
    }
    if bytes.get(4..).is_some_and(|rest| rest.starts_with(b"TFL3")) {
        return Ok(Kind::Tflite(mapped));
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
            Text::Config => Kind::Config(path.to_owned()),
            Text::Graph => Kind::GraphText(mapped),
            Text::State => Kind::Checkpoint(locate(folder_of(path), None)?),
        });
    }
    match message(bytes) {
        Some(MessageKind::SavedModel) => Ok(Kind::SavedModel(mapped, folder_of(path).to_owned())),
        Some(MessageKind::Onnx) => Ok(Kind::Onnx(mapped)),
        Some(MessageKind::Graph) => Ok(Kind::Graph(mapped)),
        Some(MessageKind::MetaGraph) => Ok(Kind::MetaGraph(mapped)),
        None if is_config => Ok(Kind::Config(path.to_owned())),
        None => {
            let known = cut_short(bytes);
            Err(unknown(
                path,
                known.unwrap_or_else(|| "no format that is known".to_owned()),
            ))
        }
    }
}

enum Text {
    Config,
    Graph,
    State,
}

/// What a text is, by the first field in it; `None` for what is no text.
fn text(path: &Path, bytes: &[u8]) -> Result<Option<Text>, InspectError> {
    const LOOKED_AT: usize = 4096;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let bytes = text::after_comments(bytes);
    let start = bytes.get(..LOOKED_AT.min(bytes.len())).unwrap_or_default();
    let is_text = |byte: &u8| !matches!(byte, 0..=8 | 11 | 14..=31 | 127);
    // The last character may be cut.
    let is_utf8 = std::str::from_utf8(start).map_or_else(|e| e.error_len().is_none(), |_| true);
    if !is_utf8 || !start.iter().all(is_text) {
        return Ok(None);
    }
    let field = text::first_field(start);
    Ok(Some(match field.unwrap_or_default() {
        "node" | "library" | "versions" => Text::Graph,
        "model" | "train_config" | "train_input_reader" | "train_input_config" | "eval_config"
        | "eval_input_reader" | "eval_input_config" | "graph_rewriter" => Text::Config,
        "model_checkpoint_path" | "all_model_checkpoint_paths" => Text::State,
        "saved_model_schema_version" | "meta_graphs" => {
            return Err(unknown(path, "a SavedModel as text, which is not read"));
        }
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

enum MessageKind {
    SavedModel,
    Graph,
    MetaGraph,
    Onnx,
}

/// What a protobuf message is, by the fields it has.
fn message(bytes: &[u8]) -> Option<MessageKind> {
    /// Enough to meet a field that decides: graphs begin with nodes, and ONNX models have some metadata before the graph.
    const LOOKED_AT: usize = 1024;
    let mut first = None;
    for field in Fields::of(bytes).take(LOOKED_AT) {
        let (number, field) = field.ok()?;
        let first = *first.get_or_insert((number, field));
        match (number, field, first) {
            // Both begin with a number. In ONNX, the graph is field 7; in a SavedModel, graphs are field 2 and nothing else follows.
            (7, Field::Bytes(_), (1, Field::Varint(_))) => return Some(MessageKind::Onnx),
            (2, Field::Bytes(graph), (1, Field::Varint(_)) | (2, Field::Bytes(_)))
                if is_meta_graph(graph) =>
            {
                return Some(MessageKind::SavedModel);
            }
            (1, Field::Bytes(node), _) if is_node(node) => return Some(MessageKind::Graph),
            (4, Field::Bytes(_), (2 | 4, Field::Bytes(_))) => return Some(MessageKind::Graph),
            (1, Field::Bytes(_), _) if is_meta_graph(bytes) => return Some(MessageKind::MetaGraph),
            _ => {}
        }
    }
    // An ONNX model's fields may be in any order, and it has only a few.
    let numbers: Vec<u32> = Fields::of(bytes)
        .take(LOOKED_AT)
        .map_while(Result::ok)
        .map(|(number, _)| number)
        .collect();
    (numbers.contains(&7) && numbers.contains(&8)).then_some(MessageKind::Onnx)
}

/// Whether it looks like a `NodeDef`: a name and an operation, both text.
fn is_node(message: &[u8]) -> bool {
    let (mut name, mut op) = (false, false);
    for field in Fields::of(message) {
        match field {
            Ok((1, field)) => name = field.text().is_some_and(|text| !text.is_empty()),
            Ok((2, field)) => {
                let is_op = |text: String| {
                    let mut bytes = text.bytes();
                    bytes
                        .next()
                        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
                        && bytes.all(|b| b.is_ascii_alphanumeric() || b"_>:./-".contains(&b))
                };
                op = field.text().is_some_and(is_op);
            }
            Ok((3, Field::Bytes(_)) | (4..=7, _)) => {}
            _ => return false,
        }
    }
    name && op
}

/// Whether it looks like a `MetaGraphDef`: information with tags or a version, and a graph.
fn is_meta_graph(message: &[u8]) -> bool {
    let mut has_graph = false;
    for field in Fields::of(message) {
        match field {
            Ok((2, Field::Bytes(graph))) => {
                let first = Fields::of(graph).next();
                has_graph = match first {
                    Some(Ok((1, Field::Bytes(node)))) => is_node(node),
                    None | Some(Ok((2 | 4, Field::Bytes(_)) | (3, Field::Varint(_)))) => true,
                    _ => false,
                };
            }
            Ok((1 | 3..=7, Field::Bytes(_))) => {}
            _ => return false,
        }
    }
    has_graph
}
