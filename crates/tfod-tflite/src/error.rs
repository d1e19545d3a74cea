//! What can go wrong when a graph is written as TFLite.

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

    /// TFLite has no operators that compute exactly this.
    #[error("node `{node}`: {what} cannot be written as TFLite; expected {expected}")]
    Unsupported {
        /// The node's name.
        node: String,
        /// What the graph asks for.
        what: String,
        /// What TFLite has, or what to do instead.
        expected: &'static str,
    },

    /// A size that is known only at run time.
    #[error(
        "node `{node}`: the size `{size}` is known only at run time; TFLite models are written for fixed sizes, so fix the batch and the size of the input"
    )]
    UnknownSize {
        /// The node's name.
        node: String,
        /// The size, as a formula.
        size: String,
    },

    /// A size that does not fit the signed 32-bit integers of TFLite.
    #[error("node `{node}`: {value} does not fit the signed 32-bit integers of TFLite")]
    TooLarge {
        /// The node's name.
        node: String,
        /// The size.
        value: u64,
    },

    /// A graph that does not say that it ends with decoding and suppression, or of which no output needs them.
    #[error(
        "the graph does not say that it ends with decoding and suppression, or none of its outputs needs them; use builtin suppression"
    )]
    NoEnding,

    /// A model without results.
    #[error("graph `{graph}` has no outputs; declare at least one")]
    NoOutputs {
        /// The graph's name.
        graph: String,
    },

    /// The file would be larger than offsets in it can say.
    #[error("the model would have {bytes} bytes, and the limit of a TFLite file is {limit}")]
    ModelTooLarge {
        /// The size of the file.
        bytes: u64,
        /// The largest allowed size.
        limit: u64,
    },

    /// A writer that was given does not take the bytes.
    #[error("the model cannot be written: {0}")]
    Writer(#[source] io::Error),

    /// The operating system refused.
    #[error("{}: cannot {action}: {problem}", path.shown())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done, as a verb.
        action: &'static str,
        /// The system's answer.
        problem: io::Error,
    },
}
