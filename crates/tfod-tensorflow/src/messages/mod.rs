//! TensorFlow's graph messages, read in place: a node, an attribute or a tensor is found in the file's bytes, and only what matters is decoded.
//!
//! This is what freezing and looking into files read graphs with. Decoded messages of a large graph take fifty times the memory of their bytes; where
//! that does not matter, [`tfod_proto`] has them decoded. Specified by TensorFlow's `graph.proto`, `node_def.proto`, `attr_value.proto` and
//! `tensor.proto`.

pub mod attr;
mod node;
mod parts;
pub mod tensor;
pub mod text;
mod text_schema;

pub use node::Node;
pub(crate) use parts::{Parts, TOO_MANY};
