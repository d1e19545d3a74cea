//! How each format is exported: one [`Exporter`] in a file of its own. [`exporter`] finds it, and nothing else in this crate knows one format from another.

mod frozen;
mod onnx;
mod option;
mod saved_model;
mod tflite;

use std::path::PathBuf;

use serde_json::{Map, Value};
use tfod_config::LabelMap;
use tfod_formats::Format;
use tfod_models::{GraphOptions, Model};
use tfod_tensorflow::{Asset, NamedGraph};

use super::signatures::Signature;
use super::{Export, ExportError, Interface};
use crate::progress::Step;
pub use onnx::OnnxOptions;
pub use option::{FormatOption, OptionValue};
pub use tflite::TfliteOptions;

/// How a format is exported. What it is called and which files it has is said in its row of [`Format::descriptor`].
pub(super) fn exporter(format: Format) -> &'static dyn Exporter {
    match format {
        Format::SavedModel => &saved_model::SavedModel,
        Format::Frozen => &frozen::Frozen,
        Format::Onnx => &onnx::Onnx,
        Format::Tflite => &tflite::Tflite,
    }
}

/// All that an export has to know of a format beside its description.
pub(super) trait Exporter {
    /// The options that only this format has.
    fn options(&self) -> &'static [FormatOption] {
        &[]
    }

    /// Where TensorFlow Serving looks for it in a version's folder, which it may be; `None` if that does not read it.
    fn for_tf_serving(&self) -> Option<&'static str> {
        None
    }

    /// How Triton has it; `None` if that does not read it.
    fn for_triton(&self) -> Option<Triton> {
        None
    }

    /// The format that it is made from, which is written before.
    fn made_from(&self) -> Option<Format> {
        None
    }

    /// The options of the graph that this format is written from, where it needs other ones than were asked for: `model` is what those make.
    ///
    /// # Errors
    /// Where the format cannot do what was asked for, or needs to be told more.
    fn fitted(
        &self,
        _asked: &GraphOptions,
        _model: &Model,
        _export: &Export,
    ) -> Result<Option<GraphOptions>, ExportError> {
        Ok(None)
    }

    /// What a graph takes and gives, in this format.
    fn interface(&self, graph: Interface, _export: &Export) -> Interface {
        graph
    }

    /// Works out all that can be without writing; what the format cannot express is found here.
    fn prepare<'a>(&self, model: &FormatInput<'_, 'a>)
    -> Result<Box<dyn Writer + 'a>, ExportError>;
}

/// A format in a repository of Triton.
pub(super) struct Triton {
    /// Its file or folder in a version's folder.
    pub(super) item: &'static str,
    /// The line of the configuration that says what runs it.
    pub(super) runs_on: &'static str,
    /// The parameter that names its signature, if it has signatures.
    pub(super) signature_parameter: Option<&'static str>,
}

/// What a format is made of.
pub(super) struct FormatInput<'s, 'a> {
    pub(super) export: &'s Export,
    /// The graphs of all signatures, the main one first.
    pub(super) graphs: &'s [NamedGraph<'a>],
    /// The same, as they were asked for.
    pub(super) signatures: &'s [&'s Signature],
    pub(super) assets: &'a [Asset],
    /// The names of classes, where they were given.
    pub(super) labels: Option<&'s LabelMap>,
    /// The main network as this format has it.
    pub(super) network: &'s Signature,
    /// The facts of the manifest, with the interface that this format has.
    pub(super) facts: &'s dyn Fn() -> Map<String, Value>,
}

impl<'a> FormatInput<'_, 'a> {
    /// The graph of the main signature.
    fn main(&self) -> Result<&NamedGraph<'a>, ExportError> {
        let none = || tfod_tensorflow::Error::NoSignatures.into();
        self.graphs.first().ok_or_else(none)
    }
}

/// A model in the form of a format.
pub(super) trait Writer {
    /// Writes it to where it is put in place from; `place` says where that is for every format.
    fn write(
        self: Box<Self>,
        place: &dyn Fn(Format) -> PathBuf,
        tell: &dyn Fn(Step),
    ) -> Result<FormatReport, ExportError>;
}

/// What was written in a format.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FormatReport {
    /// The format.
    pub format: Format,
    /// Its size, in a line for people.
    pub summary: String,
    /// Its size, for scripts.
    pub figures: Value,
    /// Files beside that of the format, which belong to it.
    pub(super) beside: Vec<&'static str>,
    /// What is particular to it, for the manifest.
    pub(super) particulars: Map<String, Value>,
}

/// The members of an object that is written as one.
fn members(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
