//! TensorFlow's messages, as far as tfod needs them.
//!
//! The schema under `proto/` restates field names, numbers and types; fields that neither a reader nor a writer of
//! this project uses are left out, and are skipped when a file has them. Maps are ordered ([`std::collections::BTreeMap`]),
//! so that writing the same message twice gives the same bytes.
//!
//! | file | messages |
//! | --- | --- |
//! | `types.proto` | [`DataType`], [`TensorShapeProto`], [`TensorProto`], [`VersionDef`] |
//! | `bundle.proto` | [`BundleHeaderProto`], [`BundleEntryProto`], [`TrackableObjectGraph`] |
//! | `graph.proto` | [`GraphDef`], [`NodeDef`], [`AttrValue`], [`FunctionDef`] |
//! | `saved_model.proto` | [`SavedModel`], [`MetaGraphDef`], [`SavedObjectGraph`], [`StructuredValue`] |
//! | `serving.proto` | [`PredictionLog`], [`Example`] |
//!
//! [`wire`] reads messages piece by piece, where decoding a whole one would take too much memory.

pub mod wire;

pub use prost;

pub use generated::*;

/// What is compiled from the schema. Only this is exempt from lints: how the compiler of messages writes is not decided here.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/tensorflow.rs"));
}
