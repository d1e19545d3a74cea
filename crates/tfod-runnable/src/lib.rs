//! Models of any format, made ready to be run on images.
//!
//! The runtime runs ONNX models. An ONNX model is taken as it is, a checkpoint is exported as one, and a graph of TensorFlow is read and written as one, into
//! a folder for temporary files which goes when the model is dropped ([`RunnableModel`]). How images become the model's input, its metadata and the shape of its
//! input say ([`Feed`]).
//!
//! What the outputs mean, this crate does not know.

mod feed;
mod model;

use std::io;
use std::path::{Path, PathBuf};

use tfod::ExportError;
use tfod_inspect::InspectError;
use tfod_text::Shown;

pub use feed::Feed;
pub use model::{FoundModel, Given, RunnableModel};
pub use tfod_runtime::{IS_THERE, Launch, Session};

/// Why a model cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunnableError {
    /// It cannot be looked into.
    #[error(transparent)]
    Inspect(Box<InspectError>),
    /// It is of a kind that is not run here, or takes no images.
    #[error("{}: {reason}", path.shown())]
    Unsupported {
        /// The model.
        path: PathBuf,
        /// A sentence that begins with a verb, whose subject is the model.
        reason: String,
    },
    /// A checkpoint cannot be exported.
    #[error("{}: cannot be exported, to be run as an ONNX model: {problem}", path.shown())]
    Export {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong.
        problem: Box<ExportError>,
    },
    /// There is no place for what is made of a model.
    #[error("no temporary folder: {0}")]
    Folder(#[source] io::Error),
    /// The runtime cannot run it.
    #[error("{}{}: cannot be run: {problem}", path.shown(), after_comma(made))]
    Run {
        /// The model that was given.
        path: PathBuf,
        /// How the ONNX model was made of it; empty if it is one.
        made: &'static str,
        /// What is wrong.
        problem: String,
    },
}

impl From<InspectError> for RunnableError {
    fn from(error: InspectError) -> Self {
        Self::Inspect(Box::new(error))
    }
}

/// A part of a sentence, if there is one.
fn after_comma(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(", {text}")
    }
}

/// The config in a checkpoint's folder, or in that above, where exports keep it.
pub fn config_beside(prefix: &Path) -> Option<PathBuf> {
    let folder = prefix.parent().unwrap_or(Path::new(""));
    // Of `.`, the one above is not in the path.
    let above = match (folder.parent(), folder.file_name()) {
        (Some(above), Some(_)) => above.to_owned(),
        _ => folder.join(".."),
    };
    [folder, &above]
        .map(|folder| folder.join("pipeline.config"))
        .into_iter()
        .find(|file| file.is_file())
}
