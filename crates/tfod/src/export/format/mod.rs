//! The formats. Each is one [`Descriptor`] in a file of its own; [`Format::descriptor`] is the table of them, and nothing else in this crate knows one
//! format from another.

mod frozen;
mod onnx;
mod saved_model;
mod tflite;

use std::path::PathBuf;

use serde_json::{Map, Value};
use tfod_models::{GraphOptions, Model, ModelError};
use tfod_tensorflow::{Asset, NamedGraph};

use super::signatures::Signature;
use super::{Export, ExportError, Interface};
use crate::progress::Step;
pub use onnx::OnnxOptions;
pub use tflite::TfliteOptions;

/// What a model can be exported as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// A SavedModel: the folder `saved_model`.
    SavedModel,
    /// A `GraphDef` with the weights inside: the file `frozen.pb`.
    Frozen,
    /// An ONNX model: the file `model.onnx`.
    Onnx,
    /// A TFLite model: the file `model.tflite`.
    Tflite,
}

impl Format {
    /// All that are supported, in the order in which they are written: a format that is made from another comes after it.
    pub const ALL: [Self; 4] = [Self::SavedModel, Self::Frozen, Self::Onnx, Self::Tflite];

    /// The table of formats.
    pub(super) fn descriptor(self) -> &'static dyn Descriptor {
        match self {
            Self::SavedModel => &saved_model::SavedModel,
            Self::Frozen => &frozen::Frozen,
            Self::Onnx => &onnx::Onnx,
            Self::Tflite => &tflite::Tflite,
        }
    }

    /// What users call it.
    pub fn name(self) -> &'static str {
        self.descriptor().name()
    }

    /// The format of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// What it is, in a line.
    pub fn about(self) -> &'static str {
        self.descriptor().about()
    }

    /// Its file or folder in an export.
    pub fn file(self) -> &'static str {
        self.descriptor().item()
    }
}

/// All that an export has to know of a format.
pub(super) trait Descriptor {
    /// What users call it.
    fn name(&self) -> &'static str;

    /// What it is, in a line, for help.
    fn about(&self) -> &'static str;

    /// Its file or folder where the layout is the official exporter's.
    fn item(&self) -> &'static str;

    /// Files that may be beside that, and belong to it.
    fn beside(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether that is a folder; it is made before anything is written into it.
    fn is_folder(&self) -> bool {
        false
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

    /// What users call it in a sentence, if no program that runs it decodes files of images.
    fn without_decoding(&self) -> Option<&'static str> {
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
    ) -> Result<Option<GraphOptions>, ModelError> {
        Ok(None)
    }

    /// What a graph takes and gives, in this format.
    fn interface(&self, graph: Interface, _export: &Export) -> Interface {
        graph
    }

    /// Works out all that can be without writing; what the format cannot express is found here.
    fn prepare<'a>(&self, model: &Source<'_, 'a>) -> Result<Box<dyn Writer + 'a>, ExportError>;
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
pub(super) struct Source<'s, 'a> {
    pub(super) export: &'s Export,
    /// The graphs of all signatures, the main one first.
    pub(super) graphs: &'s [NamedGraph<'a>],
    /// The same, as they were asked for.
    pub(super) signatures: &'s [&'s Signature],
    pub(super) assets: &'a [Asset],
    /// The main network as this format has it.
    pub(super) network: &'s Signature,
    /// The facts of the manifest, with the interface that this format has.
    pub(super) facts: &'s Map<String, Value>,
}

impl<'a> Source<'_, 'a> {
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
