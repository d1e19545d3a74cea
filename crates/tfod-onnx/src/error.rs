//! What can go wrong when a graph is written as ONNX.

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

    /// ONNX has no operators that compute exactly this.
    #[error("node `{node}`: {what} cannot be written as ONNX; expected {expected}")]
    Unsupported {
        /// The node's name.
        node: String,
        /// What the graph asks for.
        what: String,
        /// What ONNX has, or what to do instead.
        expected: &'static str,
    },

    /// A size that does not fit the signed 64-bit integers of ONNX.
    #[error("node `{node}`: {value} does not fit the signed 64-bit integers of ONNX")]
    TooLarge {
        /// The node's name.
        node: String,
        /// The size.
        value: u64,
    },

    /// An operator set that this writer does not know.
    #[error("operator set {given} is not supported; choose one from {oldest} to {newest}")]
    Opset {
        /// What was asked for.
        given: u32,
        /// The lowest supported.
        oldest: u32,
        /// The highest supported.
        newest: u32,
    },

    /// ONNX keeps inputs and outputs in one name space.
    #[error("`{name}` is both an input and an output of the graph; ONNX needs two names")]
    SharedName {
        /// The name.
        name: String,
    },

    /// A model without results.
    #[error("graph `{graph}` has no outputs; declare at least one")]
    NoOutputs {
        /// The graph's name.
        graph: String,
    },

    /// The model's message is beyond what protobuf can hold.
    #[error(
        "the model would have {bytes} bytes in one file, and protobuf's limit is {limit}; allow its weights a file of their own"
    )]
    ModelTooLarge {
        /// The encoded size.
        bytes: u64,
        /// The largest allowed size.
        limit: u64,
    },

    /// The path of a model must end in a name that Unicode can hold, because the model refers to the file of its weights by name.
    #[error("{}: not a usable file name for a model; give a path that ends in a name such as `model.onnx`", path.shown())]
    FileName {
        /// The path.
        path: PathBuf,
    },

    /// A writer that was given does not take the bytes.
    #[error("the model cannot be written: {0}")]
    Writer(#[source] io::Error),

    /// The weights have a file of their own, and there is no writer for it.
    #[error(
        "the model keeps {bytes} bytes of weights in a file of their own; give a second writer and that file's name, or keep them in the model"
    )]
    NoDataWriter {
        /// How many bytes.
        bytes: u64,
    },

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
