//! What long work is doing now, for those who wait for it.

use std::fmt;

/// A step of an export or of freezing, as it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// The configuration is read.
    Config,
    /// The checkpoint is opened, and its variables found.
    Fit,
    /// The model's own checkpoint is written.
    Checkpoint,
    /// A SavedModel is written.
    SavedModel,
    /// A SavedModel is read, and its functions expanded.
    Expand,
    /// A frozen graph is written.
    Frozen,
    /// An ONNX model is written.
    Onnx,
    /// What was written is put in place.
    Commit,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "reading the configuration",
            Self::Fit => "finding the variables in the checkpoint",
            Self::Checkpoint => "writing the checkpoint",
            Self::SavedModel => "writing the SavedModel",
            Self::Expand => "expanding the functions of the SavedModel",
            Self::Frozen => "writing the frozen graph",
            Self::Onnx => "writing the ONNX model",
            Self::Commit => "putting the files in place",
        })
    }
}
