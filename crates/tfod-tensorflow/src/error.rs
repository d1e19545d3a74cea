//! What can go wrong when a graph is written for TensorFlow.

use std::io;
use std::path::PathBuf;

use tfod_graph::ValidateError;

use tfod_text::Shown;

/// Any failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The graph breaks one of its invariants, or the weights are not the graph's.
    #[error(transparent)]
    Graph(#[from] ValidateError),

    /// TensorFlow has no operation that computes this.
    #[error("node `{node}`: {what} cannot be written for TensorFlow; expected {expected}")]
    Unsupported {
        /// The node's name.
        node: String,
        /// What the graph asks for.
        what: String,
        /// What TensorFlow has.
        expected: &'static str,
    },

    /// A size that TensorFlow keeps in 32 bits does not fit.
    #[error(
        "node `{node}`: {value} does not fit the 32-bit integers in which TensorFlow keeps sizes"
    )]
    TooLarge {
        /// The node's name.
        node: String,
        /// The size.
        value: u64,
    },

    /// The name of an input or a signature becomes an identifier, and cannot.
    #[error(
        "{what} `{name}` must be an identifier: a letter, then letters, digits and `_`; give it another name", name = name.shown())]
    Identifier {
        /// What is named.
        what: &'static str,
        /// Its name.
        name: String,
    },

    /// Two signatures, assets or files of one name.
    #[error("two {what}s are called `{name}`; give one of them another name", name = name.shown())]
    Duplicate {
        /// What they are.
        what: &'static str,
        /// Their name.
        name: String,
    },

    /// A SavedModel without anything to call.
    #[error("no signatures; name at least one graph")]
    NoSignatures,

    /// A SavedModel's signature needs results.
    #[error("graph `{graph}` has no outputs; declare at least one")]
    NoOutputs {
        /// The graph's name.
        graph: String,
    },

    /// The graph's message is beyond what protobuf can hold.
    #[error(
        "saved_model.pb would have {bytes} bytes, and protobuf's limit is {limit}; make the constants inside of loops smaller"
    )]
    MessageTooLarge {
        /// The encoded size.
        bytes: u64,
        /// The largest allowed size.
        limit: u64,
    },

    /// The operating system refused.
    #[error("{}: cannot {action}: {problem}", path.shown())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done, as a verb.
        action: &'static str,
        /// The system's answer.
        problem: io::Error,
    },

    /// The variables could not be written.
    #[error(transparent)]
    Variables(#[from] tfod_checkpoint::Error),
}
