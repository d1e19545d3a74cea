//! What can prevent an output.

use std::io;
use std::path::{Path, PathBuf};

use tfod_text::Shown;

/// An output that cannot be written, or must not be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The system refuses.
    #[error("{}: cannot {action}: {source}", path.shown())]
    System {
        /// The file or folder.
        path: PathBuf,
        /// What was being done, as a verb.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// Something stands where the output should go.
    #[error("{}: expected {expected}, found {found}; choose another output, or move it away", path.shown())]
    InTheWay {
        /// The path.
        path: PathBuf,
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// The output would overwrite what is read to make it, or another output.
    #[error("{}: would be overwritten, but it is {what}; choose another output", path.shown())]
    Overwrites {
        /// The path of the output.
        path: PathBuf,
        /// What it is.
        what: String,
    },
}

/// Makes the error of something that the system refused.
pub(crate) fn failed<'a>(
    path: &'a Path,
    action: &'static str,
) -> impl FnOnce(io::Error) -> OutputError + 'a {
    move |source| OutputError::System {
        path: path.to_owned(),
        action,
        source,
    }
}
