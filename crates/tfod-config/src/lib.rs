//! The files that describe a detector: `pipeline.config` and label maps.
//!
//! Both are protocol buffers in text format. The schema under `schema/` restates the messages of the TensorFlow 2 Object
//! Detection API; everything else here is about reading such a file the way its users expect:
//!
//! - [`PipelineConfig`] reads a `pipeline.config`, merges overrides into it and prints it;
//! - [`LabelMap`] reads the names of classes and keypoints;
//! - [`protos`] holds the typed structs that both give access to.
//!
//! # Same dialect, better errors
//!
//! The text format has no single definition: its implementations differ in number spellings, escapes and separators.
//! This crate accepts exactly what `google.protobuf.text_format.Merge` of protobuf 3.20.3 for Python accepts (the one that
//! the official exporter runs), gives the same message, and prints what `text_format.MessageToString` prints, byte for byte.
//! Three spellings are refused here although the reference takes them: `\N{name}` escapes in strings, decimal digits
//! outside ASCII, and enum numbers beyond 32 bits (which the reference wraps around).
//!
//! A byte-order mark before a text in UTF-8 is passed over, and a label map whose items share an id is refused.
//!
//! Refusals differ. Every error is a [`Diagnostic`]: file, line, column, byte span, the line with a caret, what was
//! expected, what was found, and the nearest names for a misspelt one.
//!
//! # Damage that does not matter
//!
//! An export reads `model` and `graph_rewriter`. In the other blocks, users leave fields of forks, of newer releases and
//! of deleted features, so what does not fit the schema there is a warning ([`SkippedBlock`]): the whole block is left out
//! of the config and of the printed config, and reading goes on behind it. Broken syntax is an error anywhere, since
//! after it one cannot tell where the block ends.

mod compare;
mod error;
mod files;
mod label_map;
mod pipeline;
pub mod protos;
mod text;

pub use compare::{Change, Setting};
pub use error::{ConfigError, Diagnostic, Excerpt, Problem};
pub use label_map::LabelMap;
pub use pipeline::{Parsed, PipelineConfig};
pub use text::SkippedBlock;
