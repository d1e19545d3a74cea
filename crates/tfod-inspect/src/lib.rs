//! What is this file? Checkpoints, configs, SavedModels, graphs, ONNX models, TFLite models and exports, looked into.
//!
//! [`inspect`] recognises a path by its content and reads what there is to know without loading anything: files are mapped, messages are read field by
//! field, and tensors stay where they are until [`Inspection::elements`] asks for one. Whatever a file claims, time and memory stay in proportion to its size.
//!
//! ```no_run
//! let found = tfod_inspect::inspect("frozen.pb".as_ref())?;
//! for tensor in &found.tensors {
//!     println!("{} {:?} {} bytes", tensor.name, tensor.shape, tensor.bytes);
//! }
//! println!("{:#}", found.json());
//! # Ok::<(), tfod_inspect::InspectError>(())
//! ```

mod checkpoint;
mod config;
mod constants;
pub mod diff;
mod error;
mod export;
mod graph;
mod hurdles;
mod oldest;
mod onnx;
mod recognise;
mod saved_model;
mod tensors;
mod tflite;
mod values;
mod words;

use std::path::{Path, PathBuf};
use tfod_tensorflow::messages::text;

use serde_json::{Value, json};
use tfod_checkpoint::{Bundle, MappedFile};
use tfod_formats::Format;

pub use checkpoint::{Amount, CheckpointFacts, part, path_of};
pub use config::{ConfigFacts, PostProcessing};
pub use constants::Constants;
pub use error::InspectError;
pub use export::{ExportFacts, Piece, manifest};
pub use graph::{Dim, GraphFacts, Port};
pub use hurdles::Hurdle;
pub use oldest::Oldest;
pub use onnx::OnnxFacts;
pub use saved_model::{MetaGraph, SavedModelFacts, Signature};
pub use tensors::{Element, Elements, Statistics, StoredTensor, listing, num_elements};
pub use tflite::{
    AttachedFile, Layer, LayerKind, Quantity, TensorNotes, TfliteFacts, TfliteMetadata,
    TfliteRuntime,
};
pub use tfod_checkpoint::{BundleKind, DType as StoredType};
pub use tfod_config::{Change, Setting};
pub use values::{ValueDifference, difference, in_order};
pub use words::counted;

use error::Damage;
use recognise::{Recognised, recognise};
use tensors::ElementsPlace;

/// Grows when a member of the JSON changes its meaning or goes; new members do not count.
const JSON_VERSION: u32 = 1;

/// A path that was looked into.
#[derive(Debug)]
pub struct Inspection {
    /// The path given.
    pub path: PathBuf,
    /// Of a config, an ONNX or a TFLite model, the file, also where the path is a folder with that alone; of others, the path.
    pub file: PathBuf,
    /// What it is, and what there is to say of it.
    pub facts: Facts,
    /// All tensors that it holds: a checkpoint's, a SavedModel's variables and constants, a graph's constants, ONNX's initialisers, TFLite's buffers.
    pub tensors: Vec<StoredTensor>,
    source: TensorSource,
    /// Elements of tensors that were computed.
    held: Vec<tfod_tensorflow::Decoded>,
}

/// What a path is.
#[derive(Clone, Debug)]
pub enum Facts {
    /// A checkpoint, or the variables of a SavedModel.
    Checkpoint(CheckpointFacts),
    /// A `pipeline.config`.
    Config(Box<ConfigFacts>),
    /// A SavedModel.
    SavedModel(SavedModelFacts),
    /// A `GraphDef`.
    Graph(GraphFacts),
    /// A `MetaGraphDef`, which TensorFlow 1 writes beside checkpoints.
    MetaGraph(Box<MetaGraph>),
    /// An ONNX model.
    Onnx(Box<OnnxFacts>),
    /// A TFLite model.
    Tflite(Box<TfliteFacts>),
    /// The folder of an export.
    Export(ExportFacts),
}

impl Facts {
    /// The kind's name in JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Checkpoint(_) => "checkpoint",
            Self::Config(_) => "pipeline_config",
            Self::SavedModel(_) => Format::SavedModel.descriptor().kind,
            Self::Graph(_) => Format::Frozen.descriptor().kind,
            Self::MetaGraph(_) => "meta_graph",
            Self::Onnx(_) => Format::Onnx.descriptor().kind,
            Self::Tflite(_) => Format::Tflite.descriptor().kind,
            Self::Export(_) => "export",
        }
    }

    /// What it is, for people, with its article.
    pub fn described(&self) -> &'static str {
        match self {
            Self::Checkpoint(_) => "a checkpoint",
            Self::Config(_) => "a pipeline config",
            Self::SavedModel(_) => Format::SavedModel.descriptor().described,
            Self::Graph(_) => Format::Frozen.descriptor().described,
            Self::MetaGraph(_) => "a TensorFlow 1 meta graph",
            Self::Onnx(_) => Format::Onnx.descriptor().described,
            Self::Tflite(_) => Format::Tflite.descriptor().described,
            Self::Export(_) => "an export",
        }
    }
}

/// Where tensors are read from.
#[derive(Debug, Default)]
struct TensorSource {
    content: Option<Content>,
    bundle: Option<Bundle>,
}

/// A file's message.
#[derive(Debug)]
enum Content {
    Mapped(MappedFile),
    /// What a text says.
    Encoded(Vec<u8>),
}

impl Content {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(file) => file.bytes(),
            Self::Encoded(bytes) => bytes,
        }
    }
}

/// Looks into a path.
///
/// # Errors
///
/// [`InspectError::Unknown`] if it is nothing that is known; else what is wrong with the file.
pub fn inspect(path: &Path) -> Result<Inspection, InspectError> {
    let (mut tensors, mut resolved) = (Vec::new(), path.to_owned());
    let (facts, source) = match recognise(path)? {
        Recognised::Checkpoint(located) => {
            let bundle = Bundle::open(located.prefix)?;
            let facts = CheckpointFacts::of(&bundle, located.found.to_string());
            tensors = checkpoint::tensors(&bundle);
            let source = TensorSource {
                bundle: Some(bundle),
                ..TensorSource::default()
            };
            (Facts::Checkpoint(facts), source)
        }
        Recognised::Config(file) => {
            let facts = ConfigFacts::read(&file)?;
            resolved = file;
            (Facts::Config(Box::new(facts)), TensorSource::default())
        }
        Recognised::Model(format, file, folder) => match format {
            Format::SavedModel => open_saved_model(file, &folder, &mut tensors)?,
            Format::Frozen => open_graph(Content::Mapped(file), path, &mut tensors)?,
            Format::Onnx => {
                file.path().clone_into(&mut resolved);
                let bytes = file.bytes();
                let facts = onnx::scan(bytes, &mut tensors)
                    .map_err(|damage| damaged(damage, path, bytes))?;
                (Facts::Onnx(Box::new(facts)), TensorSource::of(file))
            }
            Format::Tflite => {
                file.path().clone_into(&mut resolved);
                let bytes = file.bytes();
                let facts = tflite::scan(bytes, &mut tensors)
                    .map_err(|damage| damaged(damage, path, bytes))?;
                (Facts::Tflite(Box::new(facts)), TensorSource::of(file))
            }
        },
        Recognised::GraphText(file) => {
            let encoded = text::graph(file.bytes()).map_err(|error| InspectError::Text {
                path: path.to_owned(),
                line: error.line,
                column: error.column,
                problem: error.problem,
                found: error.found,
            })?;
            file.check_length()?;
            open_graph(Content::Encoded(encoded), path, &mut tensors)?
        }
        Recognised::MetaGraph(file) => {
            let bytes = file.bytes();
            let facts = saved_model::meta_graph(bytes, bytes, &mut tensors)
                .map_err(|damage| damaged(damage, path, bytes))?;
            (Facts::MetaGraph(Box::new(facts)), TensorSource::of(file))
        }
        Recognised::Export(pieces) => (
            Facts::Export(ExportFacts::of(&pieces)),
            TensorSource::default(),
        ),
    };
    let found = Inspection {
        path: path.to_owned(),
        file: resolved,
        facts,
        tensors,
        source,
        held: Vec::new(),
    };
    found.check_lengths()?;
    Ok(found)
}

impl TensorSource {
    fn of(file: MappedFile) -> Self {
        Self {
            content: Some(Content::Mapped(file)),
            bundle: None,
        }
    }
}

fn damaged(damage: Damage, path: &Path, bytes: &[u8]) -> InspectError {
    InspectError::Damaged {
        path: path.to_owned(),
        offset: damage.at.offset_in(bytes),
        problem: damage.problem.to_owned(),
    }
}

fn open_graph(
    content: Content,
    path: &Path,
    tensors: &mut Vec<StoredTensor>,
) -> Result<(Facts, TensorSource), InspectError> {
    let bytes = content.bytes();
    let facts =
        graph::scan(bytes, bytes, false, tensors).map_err(|damage| damaged(damage, path, bytes))?;
    let source = TensorSource {
        content: Some(content),
        bundle: None,
    };
    Ok((Facts::Graph(facts), source))
}

fn open_saved_model(
    file: MappedFile,
    folder: &Path,
    tensors: &mut Vec<StoredTensor>,
) -> Result<(Facts, TensorSource), InspectError> {
    let bytes = file.bytes();
    let mut facts =
        saved_model::scan(bytes, tensors).map_err(|damage| damaged(damage, file.path(), bytes))?;
    let prefix = folder.join("variables").join("variables");
    let bundle = if tfod_checkpoint::index_path(&prefix).exists() {
        Some(Bundle::open(prefix)?)
    } else {
        None
    };
    if let Some(bundle) = &bundle {
        let of = CheckpointFacts::of(bundle, String::new());
        facts.has_data = of.shards.iter().all(|shard| shard.state.is_whole());
        facts.variables = Some(of.total);
        tensors.extend(checkpoint::tensors(bundle));
    }
    let source = TensorSource {
        content: Some(Content::Mapped(file)),
        bundle,
    };
    Ok((Facts::SavedModel(facts), source))
}

impl Inspection {
    /// Asks whether the files still have the lengths they were mapped with. Where one was cut short, what was read of it may have been zeros (see
    /// [`tfod_checkpoint::guard_maps`]), so whoever has read [`elements`](Self::elements) asks before trusting them.
    ///
    /// # Errors
    ///
    /// If one is shorter.
    pub fn check_lengths(&self) -> Result<(), InspectError> {
        if let Some(Content::Mapped(file)) = &self.source.content {
            file.check_length()?;
        }
        if let Some(bundle) = &self.source.bundle {
            bundle.check_lengths()?;
        }
        Ok(())
    }

    /// What other tools may not support in this model; empty for files that no tool runs.
    pub fn hurdles(&self) -> Vec<Hurdle> {
        match &self.facts {
            Facts::SavedModel(model) => hurdles::of_tensorflow(&model.ops(), &model.inputs()),
            Facts::Graph(graph) => {
                hurdles::of_tensorflow(&graph.ops, &graph.inputs.iter().collect::<Vec<_>>())
            }
            Facts::MetaGraph(meta) => hurdles::of_tensorflow(&meta.graph.ops, &[]),
            Facts::Onnx(onnx) => {
                hurdles::of_onnx(&onnx.ops, &onnx.inputs, !onnx.external.is_empty())
            }
            Facts::Checkpoint(_) | Facts::Config(_) | Facts::Export(_) | Facts::Tflite(_) => {
                Vec::new()
            }
        }
    }

    /// A tensor by its name. For a variable, its path does as well as its whole key.
    ///
    /// # Errors
    ///
    /// [`InspectError::NoTensor`], which names one that is like it.
    pub fn tensor(&self, name: &str) -> Result<&StoredTensor, InspectError> {
        let is_it = |tensor: &&StoredTensor| tensor.name == name;
        let is_path = |tensor: &&StoredTensor| {
            path_of(&tensor.name) == name && !tensor.name.contains("/.OPTIMIZER_SLOT/")
        };
        let found = self.tensors.iter().find(is_it);
        let found = found.or_else(|| self.tensors.iter().find(is_path));
        found.ok_or_else(|| {
            let near = self
                .tensors
                .iter()
                .find(|tensor| tensor.name.contains(name));
            InspectError::NoTensor {
                path: self.path.clone(),
                name: name.to_owned(),
                near: near.map(|tensor| tensor.name.clone()),
            }
        })
    }

    /// The elements of one of [`tensors`](Self::tensors).
    ///
    /// # Errors
    ///
    /// If the data is absent, damaged, or of a type that has no elements.
    pub fn elements(&self, tensor: &StoredTensor) -> Result<Elements<'_>, InspectError> {
        let failed = |problem: String| InspectError::Tensor {
            path: self.path.clone(),
            name: tensor.name.clone(),
            problem,
        };
        let message = |range: &std::ops::Range<usize>| {
            let content = self.source.content.as_ref();
            let bytes = content.and_then(|content| content.bytes().get(range.clone()));
            bytes.ok_or_else(|| failed("it is not in this file".to_owned()))
        };
        match &tensor.place {
            ElementsPlace::TensorFlow(range) => {
                graph::elements(message(range)?).map_err(|problem| failed(problem.to_owned()))
            }
            ElementsPlace::Onnx(range) => {
                let folder = self.file.parent().unwrap_or(Path::new(""));
                onnx::elements(message(range)?, folder).map_err(failed)
            }
            ElementsPlace::Tflite(range) => {
                tflite::elements(tensor, message(range)?).map_err(failed)
            }
            ElementsPlace::Held(index) => {
                let held = self.held(*index);
                held.ok_or_else(|| failed("it is not held here".to_owned()))
            }
            ElementsPlace::Bundle => {
                let bundle = self.source.bundle.as_ref();
                let bundle = bundle.ok_or_else(|| failed("it is not in this file".to_owned()))?;
                checkpoint::elements(bundle, &tensor.name)
            }
        }
    }

    /// The variables of a checkpoint or SavedModel.
    pub fn bundle(&self) -> Option<&Bundle> {
        self.source.bundle.as_ref()
    }

    /// The checksum that a checkpoint's index has of a tensor's bytes, which need not be there.
    pub fn checksum(&self, tensor: &StoredTensor) -> Option<u32> {
        let entry = self.source.bundle.as_ref()?.get(&tensor.name)?;
        (!entry.is_partitioned()).then(|| entry.checksum())
    }

    /// Everything but the tensors, with the keys that `docs/inspect.md` explains.
    pub fn json(&self) -> Value {
        let facts = match &self.facts {
            Facts::Checkpoint(facts) => facts.json(),
            Facts::Config(facts) => facts.json(),
            Facts::SavedModel(facts) => facts.json(),
            Facts::Graph(facts) => Value::Object(facts.json()),
            Facts::MetaGraph(facts) => facts.json(),
            Facts::Onnx(facts) => facts.json(),
            Facts::Tflite(facts) => facts.json(),
            Facts::Export(facts) => facts.json(),
        };
        json!({
            "json_version": JSON_VERSION,
            "path": self.path.display().to_string(),
            "kind": self.facts.kind(),
            self.facts.kind(): facts,
            "hurdles": self.hurdles().iter().map(Hurdle::json).collect::<Vec<_>>(),
            "tensors_in_all": self.tensors.len(),
            "tensor_bytes": self.tensors.iter().fold(0u64, |sum, t| sum.saturating_add(t.bytes)),
        })
    }
}

impl StoredTensor {
    /// The name of its type.
    pub fn type_name(&self) -> &'static str {
        self.dtype.map_or("unknown", tfod_checkpoint::DType::name)
    }

    /// Whether it is a variable of a checkpoint or SavedModel, and not a constant of a graph.
    pub fn is_stored_in_bundle(&self) -> bool {
        self.place == ElementsPlace::Bundle
    }

    /// Name, type, shape and size as JSON, without the elements.
    pub fn json(&self) -> Value {
        json!({
            "name": self.name,
            "dtype": self.type_name(),
            "shape": self.shape,
            "bytes": self.bytes,
        })
    }
}
