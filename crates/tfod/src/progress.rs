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
    /// A SavedModel is read, and its functions expanded.
    Expand,
    /// This is written: a format, or the model's own checkpoint.
    Write(&'static str),
    /// What was written is put in place.
    Commit,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "reading the configuration",
            Self::Fit => "finding the variables in the checkpoint",
            Self::Expand => "expanding the functions of the SavedModel",
            Self::Write(what) => return write!(f, "writing {what}"),
            Self::Commit => "putting the files in place",
        })
    }
}
