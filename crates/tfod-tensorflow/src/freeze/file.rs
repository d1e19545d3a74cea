//! Reading the file of a SavedModel, and saying what another file is that was given instead.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use tfod_checkpoint::open_regular;
use tfod_text::Shown as _;

use crate::messages::{Parts, TOO_MANY, text};

use super::error::FreezeError;
use super::model::{MetaGraph, NodeDef, tags_of};
use super::wire::{Fields, MESSAGE_LIMIT, Malformed};

/// The file in memory, and where it came from.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) folder: PathBuf,
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

/// Larger texts are not read. What they stand for can take four times as much.
const MAX_TEXT: u64 = 1 << 28;

/// Reads a file whole, unless it is larger than a message of protobuf can be, or than a text may be.
fn read(path: &Path, is_text: bool) -> io::Result<Vec<u8>> {
    let (limit, problem) = if is_text {
        (
            MAX_TEXT,
            "are more than a SavedModel as text may have; load it in TensorFlow and save it again as saved_model.pb",
        )
    } else {
        (MESSAGE_LIMIT, "are more than a protobuf message can have")
    };
    let file = open_regular(path)?;
    let size = file.metadata()?.len();
    if size > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{size} bytes {problem}"),
        ));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl File {
    /// Reads a SavedModel, given as its folder or as the file in it.
    pub(crate) fn read(given: &Path) -> Result<Self, FreezeError> {
        let (folder, path) = if given.is_file() {
            (given.parent().unwrap_or(Path::new("")), given.to_owned())
        } else {
            let (binary, text) = (
                given.join("saved_model.pb"),
                given.join("saved_model.pbtxt"),
            );
            let is_text = !binary.exists() && text.exists();
            (given, if is_text { text } else { binary })
        };
        let start = start_of(&path).unwrap_or_default();
        let not_saved_model = |path, line, found| FreezeError::NotSavedModel { path, line, found };
        if let Some(found) = other_kind(&start) {
            return Err(not_saved_model(path, None, found));
        }
        let is_text = !start.is_empty() && text::is_text(&start);
        let bytes = match read(&path, is_text) {
            Ok(bytes) => bytes,
            Err(_) if !path.exists() => {
                return Err(FreezeError::NoSavedModel {
                    folder: folder.to_owned(),
                    hint: hint(folder),
                });
            }
            Err(problem) => return Err(FreezeError::Read { path, problem }),
        };
        if given.is_file() && bytes.is_empty() {
            let found = "an empty file; give the folder with saved_model.pb";
            return Err(not_saved_model(path, None, found));
        }
        let bytes = if is_text {
            let bytes = text::without_mark(&bytes);
            if let Some(found) = other_text(bytes) {
                let line = Some(text::first_line(bytes));
                return Err(not_saved_model(path, line, found));
            }
            text::saved_model(bytes).map_err(|problem| FreezeError::Text {
                path: path.clone(),
                problem,
            })?
        } else {
            bytes
        };
        if let Some(found) = other_message(&bytes) {
            return Err(not_saved_model(path, None, found));
        }
        Ok(Self {
            folder: folder.to_owned(),
            path,
            bytes,
        })
    }

    /// Whether the folder is a module of TensorFlow Hub for TensorFlow 1, whose signatures are where SavedModels have none.
    pub(crate) fn is_hub_module(&self) -> bool {
        self.folder.join("tfhub_module.pb").exists()
    }

    pub(crate) fn damaged(&self, malformed: Malformed, what: &str) -> FreezeError {
        let path = self.path.clone();
        let offset = malformed.offset_in(&self.bytes);
        let what = what.to_owned();
        if malformed.problem() == TOO_MANY {
            return FreezeError::TooMany { path, offset, what };
        }
        FreezeError::Damaged { path, offset, what }
    }

    /// The graph whose tags are exactly `tags`, in any order. Without tags, the one tagged `serve`, or else the only one.
    pub(crate) fn meta_graph(&self, tags: Option<&[String]>) -> Result<MetaGraph<'_>, FreezeError> {
        let damaged = |malformed| self.damaged(malformed, "looking for its graphs");
        let mut wanted = tags.map_or_else(|| vec!["serve".to_owned()], <[String]>::to_vec);
        wanted.sort_unstable();
        let mut graphs = Vec::new();
        let parts = Parts::default();
        for field in Fields::of(&self.bytes) {
            let (number, field) = field.map_err(damaged)?;
            if number != 2 {
                continue;
            }
            let message = field
                .bytes()
                .ok_or_else(|| damaged(Malformed::at(&self.bytes)))?;
            let mut found = tags_of(message, &parts).map_err(damaged)?;
            found.sort_unstable();
            graphs.push((found, message));
        }
        let parse = |message, is_only| {
            let mut graph = MetaGraph::parse(message)
                .map_err(|malformed| self.damaged(malformed, "reading the graph"))?;
            graph.other_tags = is_only;
            Ok(graph)
        };
        if let Some((_, message)) = graphs.iter().find(|(found, _)| *found == wanted) {
            return parse(message, None);
        }
        match graphs.as_slice() {
            [] => Err(damaged(Malformed::at(&self.bytes))),
            [(found, message)] if tags.is_none() => parse(message, Some(found.join(","))),
            _ => Err(FreezeError::Tags {
                path: self.path.clone(),
                wanted,
                available: graphs.iter().map(|(found, _)| found.join(",")).collect(),
            }),
        }
    }
}

/// The first bytes of a file.
fn start_of(path: &Path) -> io::Result<Vec<u8>> {
    const LENGTH: u64 = 64;
    let mut start = Vec::new();
    open_regular(path)?.take(LENGTH).read_to_end(&mut start)?;
    Ok(start)
}

/// What a `GraphDef` is, and what to do.
const GRAPH: &str = "a graph (GraphDef), which is frozen already or has its variables elsewhere; give the folder of a SavedModel";

/// What a text is whose first field is none of a SavedModel's, and what to do with it.
fn other_text(text: &[u8]) -> Option<&'static str> {
    Some(match text::first_field(text).unwrap_or_default() {
        "saved_model_schema_version" | "meta_graphs" => return None,
        "node" | "versions" | "library" | "version" => {
            "the text of a graph (GraphDef), which is frozen already or has its variables elsewhere; give the folder of a SavedModel"
        }
        "meta_info_def" | "graph_def" | "saver_def" | "collection_def" | "signature_def" => {
            "the text of a MetaGraphDef, as TensorFlow 1 writes beside checkpoints; import it there, restore the checkpoint, and write a SavedModel with `tf.compat.v1.saved_model.simple_save`"
        }
        "model" | "train_config" | "train_input_reader" | "eval_config" | "eval_input_reader" => {
            "a pipeline.config, which an export takes, with a checkpoint"
        }
        "item" => "a label map; give the folder of a SavedModel",
        "model_checkpoint_path" | "all_model_checkpoint_paths" => {
            "the state file of a checkpoint, whose folder an export takes"
        }
        _ if text::after_comments(text).starts_with(b"{") => {
            "JSON; give the folder of a SavedModel"
        }
        "" if text::after_comments(text).is_empty() => {
            "a text without fields; give the folder of a SavedModel"
        }
        _ => "a text that does not begin like a SavedModel; give the folder with saved_model.pb",
    })
}

/// What a file of a format that begins with bytes of its own is, and what to do with it.
fn other_kind(start: &[u8]) -> Option<&'static str> {
    const KINDS: [(usize, &[u8], &str); 5] = [
        (
            0,
            b"version https://git-lfs",
            "a pointer of Git LFS, not the file itself; fetch it with `git lfs pull`",
        ),
        (
            0,
            b"\x89HDF\r\n\x1a\n",
            "an HDF5 file, as Keras writes models and weights; load it in Keras and call `model.export(FOLDER)` (Keras 2: `model.save(FOLDER)`), which writes a SavedModel",
        ),
        (
            0,
            b"PK\x03\x04",
            "a ZIP archive, as .keras models are; load it in Keras and call `model.export(FOLDER)`, which writes a SavedModel",
        ),
        (
            4,
            b"TFL3",
            "a TensorFlow Lite model, which has no variables to freeze",
        ),
        (0, b"\x1f\x8b", "a gzip archive; unpack it first"),
    ];
    let has = |&&(at, magic, _): &&(usize, &[u8], &'static str)| {
        start.get(at..).is_some_and(|rest| rest.starts_with(magic))
    };
    KINDS.iter().find(has).map(|&(_, _, found)| found)
}

/// What a message of another kind is, and what to do with it. A SavedModel has a number, and graphs in field 2.
fn other_message(bytes: &[u8]) -> Option<&'static str> {
    const LOOKED_AT: usize = 64;
    let fields = Fields::of(bytes).take(LOOKED_AT).map_while(Result::ok);
    let mut seen = Vec::new();
    for (number, field) in fields {
        if let (1, Some(node)) = (number, field.bytes()) {
            let is_node = NodeDef::parse(node).is_ok_and(|node| !node.op.is_empty());
            return is_node.then_some(GRAPH);
        }
        seen.push(number);
    }
    (seen.contains(&7) && seen.contains(&8)).then_some(
        "an ONNX model, which has no variables to freeze; `freeze` takes SavedModels and writes TensorFlow's graphs",
    )
}

/// What may have been meant by a folder without a SavedModel.
fn hint(folder: &Path) -> Option<String> {
    let inner = folder.join("saved_model");
    let is_there =
        inner.join("saved_model.pb").exists() || inner.join("saved_model.pbtxt").exists();
    is_there.then(|| format!("it is in {}", inner.shown()))
}
