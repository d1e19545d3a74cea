//! The ONNX back end: writes a [`tfod_graph::Graph`] and its [`Weights`](tfod_graph::Weights) as an ONNX model.
//!
//! # How a graph becomes a model
//!
//! ```text
//! Graph ─ layout ─▶ which feature maps are channels-first
//!       ─ lower ──▶ nodes and initialisers, each with its type (emit)
//!       ─ writer ─▶ model.onnx, and model.onnx.data where weights have a file of their own
//! ```
//!
//! * `layout` decides, for every feature map, between the graph's order of dimensions and that of ONNX's convolutions, so that few have to be
//!   transposed; kernels are reordered while they are written (`stored`).
//! * `lower` turns operations into ONNX's. There are no loops: a map over the images of a batch becomes operations on the whole batch, whatever
//!   its size, and non-max suppression of all images and classes one operator.
//! * `emit` holds the graph being written, with the type and shape of every tensor, and drops what nothing needs.
//! * `writer` streams the weights.
//!
//! # What can be relied on
//!
//! * Results are those of the graph, TensorFlow's numerical semantics included, but for rounding (of which there is most in bilinear resizing, where
//!   runtimes round positions in the image their own way). What ONNX cannot compute is an error that names the node: soft non-max suppression; bicubic
//!   and area resizing of images whose size is not known. Of equal scores, the graph and ONNX take the lower index first; OpenVINO, as of 2026.4, does not
//!   always.
//! * Inputs are called as in the graph, outputs by their keys, in whose order they are. Tensors are called like the graph's nodes.
//! * The shape of every tensor is recorded; sizes known only at run time have the names that the graph gives them.
//! * Only operators of the standard domain are used, as they are in the operator set that is asked for.
//! * The same graph, weights and options give the same bytes.
//!
//! # Example
//!
//! ```
//! use tfod_graph::{Builder, DType, Dim, Shape, Unary, Weights};
//! use tfod_onnx::{OnnxWriter, Options};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut builder = Builder::new("toy");
//! let x = builder.input("x", DType::F32, Shape(vec![Dim::symbol("batch"), 3.into()]));
//! let y = builder.unary("relu", Unary::Relu, x)?;
//! builder.output("y", y);
//! let graph = builder.finish();
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("model.onnx");
//! let summary = OnnxWriter::new(&graph, &Weights::default(), &Options::default())?.write(&path)?;
//! assert_eq!(summary.num_nodes, 1);
//! assert_eq!(std::fs::metadata(&path)?.len(), summary.onnx_bytes);
//! # Ok(())
//! # }
//! ```

#[cfg(test)]
mod dump;
mod emit;
mod error;
mod layout;
mod lower;
mod proto;
mod stored;
#[cfg(test)]
mod tests;
mod writer;

pub use error::Error;
pub use writer::{ExternalData, InputLayout, OPSETS, OnnxWriter, Options, Summary};
