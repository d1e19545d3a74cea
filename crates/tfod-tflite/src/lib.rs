//! The TFLite back end: writes a [`tfod_graph::Graph`] and its [`Weights`](tfod_graph::Weights) as a TFLite model.
//!
//! # How a graph becomes a model
//!
//! ```text
//! Graph ─ passes ─▶ without maps, constants computed
//!       ─ lower ──▶ operators and tensors (emit); batch normalisation, biases and activations are parts of convolutions
//!       ─ writer ─▶ model.tflite: tables (flatbuffer), then weights in the order of elements that TFLite has (stored)
//! ```
//!
//! # What can be relied on
//!
//! * Results are those of the graph, but for rounding. What TFLite cannot compute is an error that names the node: sizes known only at run time, soft
//!   non-max suppression, bicubic and area resizing, the decoding of files. TFLite's non-max suppression takes boxes of equal scores in no
//!   particular order.
//! * Inputs are called as in the graph, outputs by their keys, in whose order they are; the signature `serving_default` has the same names.
//! * Operators have the lowest version that computes what is asked for, and none is beyond TFLite's own (no Flex operators), but for `TFLite_Detection_PostProcess`, where
//!   [`Suppression`] asks for it, which TensorFlow's and Google's runtimes have. Its results are the graph's as far as `docs/tflite.md` says.
//! * The file is valid for FlatBuffers' verifier; weights begin at multiples of 16 bytes.
//! * The same graph, weights and options give the same bytes.
//!
//! # Example
//!
//! ```
//! use tfod_graph::{Builder, DType, Shape, Unary, Weights};
//! use tfod_tflite::{Options, TfliteWriter};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut builder = Builder::new("toy");
//! let x = builder.input("x", DType::F32, Shape::known(&[1, 3]));
//! let y = builder.unary("relu", Unary::Relu, x)?;
//! builder.output("y", y);
//! let graph = builder.finish();
//!
//! let weights = Weights::default();
//! let mut file = Vec::new();
//! let writer = TfliteWriter::new(&graph, &weights, &Options::default())?;
//! let summary = writer.write_to(&mut file)?;
//! assert_eq!(summary.operators["RELU"], 1);
//! assert_eq!(summary.bytes, file.len() as u64);
//! assert_eq!(&file[4..8], b"TFL3");
//! # Ok(())
//! # }
//! ```

mod archive;
mod emit;
mod error;
mod flatbuffer;
mod flexbuffer;
mod in_place;
mod lower;
mod metadata;
mod operator;
mod stored;
#[cfg(test)]
mod tests;
mod writer;

pub use error::Error;
pub use metadata::{Content, Decoding, Labels, Metadata, PixelNormalization, TensorNotes};
pub use writer::{Options, Summary, Suppression, TfliteWriter, WeightType};
