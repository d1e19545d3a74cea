//! The TensorFlow back end: writes a [`tfod_graph::Graph`] and its [`Weights`](tfod_graph::Weights) as a SavedModel.
//!
//! # How a graph becomes a SavedModel
//!
//! ```text
//! Graph + Weights ─ placement ─▶ which tensors are variables, which are Consts
//!                 ─ lower ─────▶ NodeDefs (and functions for loops)
//!                 ─ saved_model ▶ saved_model.pb + variables/
//! ```
//!
//! * `lower` turns operations into TensorFlow's. It knows the two ways in which TensorFlow writes the inputs of a node (in a
//!   function and in a graph), so it serves any kind of file that holds nodes.
//! * `saved_model` wraps the lowered nodes for the two readers that SavedModels have. The V1 loader (TensorFlow Serving, C, C++, Java,
//!   Go, Rust) reads the main graph, the saver and the signature; the V2 loader (`tf.saved_model.load` and most converters) reads the
//!   function library, the object graph, and the variables by their object-based keys. Each ignores the other's half.
//!
//! # What can be relied on
//!
//! * The file loads in TensorFlow 1.15 (V1 loader) and 2.2 to 2.21: every operation exists in all of them, and no attribute is written
//!   at its default value. (Old releases refuse attributes that they do not know, whatever their value.) From 2.2 on the results are the
//!   same too; 1.15 selects boxes of equal score in another order. Graphs that decode images need 2.4, in which the operation came.
//! * Names are those of TensorFlow's own exports: `serving_default_<input>:0`, `StatefulPartitionedCall:<k>` for the k-th output in the
//!   bytewise order of the keys (`StatefulPartitionedCall_1:<k>` for the second signature), and `Identity`, `Identity_1`, … after freezing.
//! * All static shapes are known to a reader, as far as the graph knows them.
//! * The same graph and weights give the same bytes.
//! * Variables are streamed from where they are; no large tensor is copied.
//!
//! # Example
//!
//! ```
//! use tfod_graph::{Builder, DType, Dim, Shape, Unary, Weights};
//! use tfod_tensorflow::{NamedGraph, SavedModelWriter};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut builder = Builder::new("toy");
//! let x = builder.input("x", DType::F32, Shape(vec![Dim::symbol("batch"), 3.into()]));
//! let y = builder.unary("relu", Unary::Relu, x)?;
//! builder.output("y", y);
//! let graph = builder.finish();
//!
//! let folder = tempfile::tempdir()?;
//! let weights = Weights::default();
//! let summary = SavedModelWriter::new(&[NamedGraph::serving(&graph, &weights)], &[])?.write(folder.path())?;
//! assert_eq!(summary.num_variables, 0);
//! assert!(folder.path().join("saved_model.pb").exists());
//! # Ok(())
//! # }
//! ```

mod constants;
mod error;
mod freeze;
mod lower;
pub mod messages;
pub mod op_defs;
mod read;
mod saved_model;
mod serving;

pub use constants::{
    ComputedConstant, Decoded, GraphConstants, StoredConstant, constants_of_graph,
};
pub use error::Error;
pub use freeze::{
    Changed, Endpoint, FreezeError, FreezeOptions, Frozen, FrozenTable, InputShape, NodePlace,
    SavedModelReader, Update,
};
pub use read::{ReadError, graph_of_graph_def};
pub use saved_model::{Asset, NamedGraph, SERVING_DEFAULT, SavedModelWriter, Summary};
pub use serving::{Filled, WarmupInput, WarmupRequest, example, warmup_requests};
