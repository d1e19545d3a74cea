//! Why a file cannot be looked into.

use std::io;
use std::path::PathBuf;

use tfod_proto::wire::Malformed;

use tfod_text::Shown;

/// Any failure of looking into a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// Nothing that is known.
    #[error("{}: {found}; looked for: {LOOKED_FOR}", path.shown())]
    Unknown {
        /// The path given.
        path: PathBuf,
        /// What it seems to be.
        found: String,
    },
    /// A file that says what it is, and then does not keep to it.
    #[error("{}: byte {offset}: {problem}; the file is damaged", path.shown())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: usize,
        /// What is wrong.
        problem: String,
    },
    /// The text form of a graph that is not one.
    #[error("{}:{line}:{column}: {problem}, found {found}", path.shown())]
    Text {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// In bytes, from 1.
        column: usize,
        /// What was expected.
        problem: &'static str,
        /// What is there.
        found: String,
    },
    /// A tensor that is not there.
    #[error("{}: there is no tensor `{name}`{}", path.shown(), near.as_deref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default(), name = name.shown())]
    NoTensor {
        /// The file.
        path: PathBuf,
        /// Its name.
        name: String,
        /// The tensor whose name contains it, or is like it.
        near: Option<String>,
    },
    /// A tensor whose elements cannot be read.
    #[error("{}: tensor `{name}`: {problem}", path.shown(), name = name.shown())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// Its name.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// The operating system refused.
    #[error("{}: cannot read: {problem}", path.shown())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        problem: io::Error,
    },
    /// Of a checkpoint, or of mapping a file.
    #[error(transparent)]
    Checkpoint(#[from] tfod_checkpoint::Error),
    /// Of a `pipeline.config`.
    #[error(transparent)]
    Config(#[from] tfod_config::ConfigError),
}

const LOOKED_FOR: &str = "a checkpoint (folder, prefix or .index), a pipeline.config, a SavedModel (folder or saved_model.pb), a GraphDef \
                          (.pb or .pbtxt), an ONNX model, a TFLite model, the folder of an export";

/// What is wrong with a message, before the file is known.
#[derive(Debug)]
pub(crate) struct Damage {
    pub(crate) at: Malformed,
    pub(crate) problem: &'static str,
}

impl From<Malformed> for Damage {
    fn from(at: Malformed) -> Self {
        Self {
            at,
            problem: at.problem(),
        }
    }
}

/// Files of a few bytes a part could ask for much more memory than they have; no model that somebody uses has so many parts.
const MAX_PARTS: usize = 1 << 20;

/// Adds a part that `message` describes.
pub(crate) fn push<T>(parts: &mut Vec<T>, part: T, message: &[u8]) -> Result<(), Damage> {
    if parts.len() == MAX_PARTS {
        return Err(Damage::new(
            message,
            "there are more than a million parts of this kind",
        ));
    }
    parts.push(part);
    Ok(())
}

impl Damage {
    pub(crate) fn new(at: &[u8], problem: &'static str) -> Self {
        Self {
            at: Malformed::at(at),
            problem,
        }
    }
}
