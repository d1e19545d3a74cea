//! Are two models the same? Their interfaces, what they are made of, and their weights, whatever format each is in.
//!
//! Weights have other names and other layouts in other formats, so they are matched in three steps, and each pair says which step found it: by name;
//! by content (the same numbers in the same order, or in one that a format is known to use); and what is left by shape and nearest values. That two graphs of
//! different operations compute the same, this cannot tell, and does not say; but given images, it runs ONNX models, and compares what they give.

mod computed;
mod folded;
mod interface;
mod layout;
mod matching;
mod names;
mod outputs;
mod weights;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tfod_config::{ConfigError, PipelineConfig};

use tfod_image::ImageError;
use tfod_inspect::{Constants, Facts, InspectError, Inspection, inspect};

use tfod_runnable::{Given, RunnableError};
use tfod_text::Shown;

pub use interface::InterfaceResult;
pub use matching::{Matched, Pair};
pub use outputs::{Distance, Farthest, Launch, OutputOptions, OutputPair, OutputsResult};
pub use weights::{Unmatched, WeightsResult};

/// What is compared.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Aspects {
    /// Signature keys, types and shapes.
    pub interface: bool,
    /// Operations; for checkpoints, the config.
    pub structure: bool,
    /// Values.
    pub weights: bool,
    /// What they give for images, if there are any.
    pub outputs: Option<OutputOptions>,
}

impl Aspects {
    /// Nothing.
    pub const NONE: Self = Self {
        interface: false,
        structure: false,
        weights: false,
        outputs: None,
    };
}

impl Default for Aspects {
    /// All that needs nothing but the models.
    fn default() -> Self {
        Self {
            interface: true,
            structure: true,
            weights: true,
            outputs: None,
        }
    }
}

/// Why two models cannot be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// One of them cannot be looked into.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The config beside a checkpoint cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It is no model.
    #[error("{}: {what}", path.shown())]
    NoModel {
        /// The path.
        path: PathBuf,
        /// What it is, and what to give instead.
        what: &'static str,
    },
    /// One of them cannot be made ready to be run.
    #[error(transparent)]
    Runnable(#[from] RunnableError),
    /// An image cannot be read, or not be given to a model.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// The result of comparing one aspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The same, as far as it was compared.
    Same,
    /// Different.
    Different,
    /// It could not be decided.
    Undecided,
    /// Not compared.
    NotCompared,
}

impl Outcome {
    /// Its name in JSON and for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Different => "different",
            Self::Undecided => "undecided",
            Self::NotCompared => "not compared",
        }
    }
}

/// The result of comparing structures.
#[derive(Clone, Debug)]
pub struct StructureResult {
    /// In short.
    pub outcome: Outcome,
    /// Why they were not compared; else empty.
    pub reason: &'static str,
    /// What differs: an operation and its counts, a field of the config and its values.
    pub differences: Vec<String>,
}

/// The result of comparing two models.
#[derive(Clone, Debug)]
pub struct Verification {
    /// Kinds of the two.
    pub kinds: [&'static str; 2],
    /// Of interfaces; `None` if not asked for.
    pub interface: Option<InterfaceResult>,
    /// Of structures; `None` if not asked for.
    pub structure: Option<StructureResult>,
    /// Of weights; `None` if not asked for.
    pub weights: Option<WeightsResult>,
    /// Of outputs; `None` without images.
    pub outputs: Option<OutputsResult>,
}

/// One of the two models.
struct Side {
    found: Inspection,
    /// The config beside a checkpoint, and its file.
    config: Option<(PathBuf, PipelineConfig)>,
    /// What the constants of a graph of TensorFlow become, if they were followed.
    constants: Option<Constants>,
}

impl Side {
    fn open(path: &Path) -> Result<Self, VerifyError> {
        let found = inspect(path)?;
        let refused = |what| VerifyError::NoModel {
            path: path.to_owned(),
            what,
        };
        let config = match &found.facts {
            Facts::Config(_) => {
                return Err(refused("a config without weights; a diff compares configs"));
            }
            Facts::Export(_) => {
                return Err(refused(
                    "an export with several models; give one: its saved_model, frozen.pb, model.onnx or checkpoint",
                ));
            }
            Facts::Checkpoint(facts) => config_beside(&facts.prefix)?,
            // It only helps to name variables.
            Facts::SavedModel(_) => found
                .folder()
                .and_then(|folder| config_beside(&folder.join("saved_model.pb")).ok())
                .flatten(),
            _ => None,
        };
        Ok(Self {
            found,
            config,
            constants: None,
        })
    }

    fn facts(&self) -> &Facts {
        &self.found.facts
    }

    /// The model, to be made ready to be run.
    fn given(&self) -> Given<'_> {
        Given {
            found: &self.found,
            config: self.config.as_ref().map(|(file, _)| file.as_path()),
        }
    }

    /// Puts what is computed from constants, or from variables when an export is made, in place of what it is computed from.
    fn follow(&mut self) {
        self.constants = self.found.follow_constants();
        let Some(replaced) = names::replaced(self) else {
            return;
        };
        let mut constants = Constants {
            variables: replaced.kept,
            ..Constants::default()
        };
        for computed in replaced.tensors {
            constants.from.insert(computed.name.clone(), computed.from);
            let shape = &computed.shape;
            self.found.hold_floats(computed.name, shape, computed.bytes);
        }
        self.constants = Some(constants);
    }
}

/// The config beside a checkpoint, if there is one.
fn config_beside(prefix: &Path) -> Result<Option<(PathBuf, PipelineConfig)>, ConfigError> {
    let Some(file) = tfod_runnable::config_beside(prefix) else {
        return Ok(None);
    };
    let config = PipelineConfig::read(&file)?.config;
    Ok(Some((file, config)))
}

/// Compares two models.
///
/// # Errors
///
/// If either cannot be read, or is no model; if an image cannot be read. A model that cannot be run leaves outputs undecided.
pub fn verify(first: &Path, second: &Path, aspects: &Aspects) -> Result<Verification, VerifyError> {
    verify_with_progress(first, second, aspects, &|_| {})
}

/// Compares two models; `tell` hears what is being done.
///
/// # Errors
///
/// As [`verify`].
pub fn verify_with_progress(
    first: &Path,
    second: &Path,
    aspects: &Aspects,
    tell: &dyn Fn(&str),
) -> Result<Verification, VerifyError> {
    tell("comparing");
    let (mut a, mut b) = (Side::open(first)?, Side::open(second)?);
    if let Some(options) = &aspects.outputs {
        outputs::check_images(options)?;
    }
    let interface = aspects
        .interface
        .then(|| interface::compare(a.facts(), b.facts()));
    let is_alike = weights::is_alike(&a, &b);
    if !is_alike && (aspects.structure || aspects.weights) {
        // Models that different programs wrote store what others compute.
        for side in [&mut a, &mut b] {
            side.follow();
        }
    }
    let structure = aspects.structure.then(|| structure(&a, &b));
    let weights = aspects.weights.then(|| weights::compare(&a, &b, is_alike));
    let outputs = aspects.outputs.as_ref();
    let outputs = outputs.map(|options| outputs::compare(&a, &b, options, tell));
    a.found.check_lengths()?;
    b.found.check_lengths()?;
    Ok(Verification {
        kinds: [a.facts().kind(), b.facts().kind()],
        interface,
        structure,
        weights: weights.transpose()?,
        outputs: outputs.transpose()?,
    })
}

/// Operations of which there are as many in every graph of a model, however it is written. An average over a whole map is `AvgPool` or `Mean`, so neither is one.
const LAYERS: [&str; 13] = [
    "BiasAdd",
    "Conv2D",
    "Conv2DBackpropInput",
    "DepthwiseConv2dNative",
    "Elu",
    "LeakyRelu",
    "MaxPool",
    "MatMul",
    "Relu",
    "Relu6",
    "Selu",
    "Sigmoid",
    "Softmax",
];
/// Batch normalisation as one operation, of any version.
const NORM: &str = "FusedBatchNorm";

/// How many layers of each kind two graphs have. Batch normalisations that are synchronised between devices in training are written in elementary operations, so they
/// are counted only where both have some.
fn layers(of: [&BTreeMap<String, u64>; 2]) -> [BTreeMap<String, u64>; 2] {
    let norms = of.map(|running| {
        let norms = running.iter().filter(|(op, _)| op.starts_with(NORM));
        norms.map(|(_, count)| *count).sum::<u64>()
    });
    let [first, second] = of;
    [(first, norms[0]), (second, norms[1])].map(|(running, count)| {
        let is_layer = |(op, _): &(&String, &u64)| LAYERS.contains(&op.as_str());
        let layers = running.iter().filter(is_layer);
        let layers = layers.map(|(op, count)| (op.clone(), *count));
        let norm = (!norms.contains(&0)).then(|| (NORM.to_owned(), count));
        layers.chain(norm).collect()
    })
}

/// The versions of the graph format that the graphs of a model were written for.
fn producers(facts: &Facts) -> Vec<u64> {
    match facts {
        Facts::SavedModel(model) => {
            let graphs = model.graphs.iter();
            graphs.map(|meta| meta.graph.producer).collect()
        }
        Facts::Graph(graph) => vec![graph.producer],
        _ => Vec::new(),
    }
}

/// Operations that are not as many in one as in the other.
fn counts_apart(a: &BTreeMap<String, u64>, b: &BTreeMap<String, u64>) -> Vec<String> {
    let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
    names.sort();
    names.dedup();
    let count = |ops: &BTreeMap<String, u64>, name: &String| ops.get(name).copied().unwrap_or(0);
    names
        .into_iter()
        .map(|name| (name, count(a, name), count(b, name)))
        .filter(|(_, x, y)| x != y)
        .map(|(name, x, y)| format!("{name}: {x} -> {y}"))
        .collect()
}

/// The operations of a model, without those that only widen constants with fewer bits.
fn computing(facts: &Facts) -> BTreeMap<String, u64> {
    let mut ops = interface::ops(facts);
    if let Facts::Tflite(model) = facts
        && let Some(count) = ops.get_mut(WIDENING)
    {
        *count = count.saturating_sub(model.widened);
        if *count == 0 {
            ops.remove(WIDENING);
        }
    }
    ops
}

/// TFLite's operator that makes floats of numbers with fewer bits.
const WIDENING: &str = "DEQUANTIZE";

fn structure(a: &Side, b: &Side) -> StructureResult {
    let not = |reason| StructureResult {
        outcome: Outcome::NotCompared,
        reason,
        differences: Vec::new(),
    };
    let differences: Vec<String> = match (a.facts(), b.facts()) {
        (Facts::Checkpoint(_), Facts::Checkpoint(_)) => match (&a.config, &b.config) {
            (Some((_, a)), Some((_, b))) => {
                let changes = a.changes(b).into_iter();
                let of_model = changes.filter(|change| change.path.starts_with("model"));
                let text = |setting: &Option<tfod_config::Setting>| {
                    setting
                        .as_ref()
                        .map_or_else(|| "-".to_owned(), |s| s.text.clone())
                };
                of_model
                    .map(|c| format!("{}: {} -> {}", c.path, text(&c.from), text(&c.to)))
                    .collect()
            }
            _ => return not("there is no pipeline.config beside one of the checkpoints"),
        },
        (first, second) if first.kind() == second.kind() => {
            let (x, y) = (computing(first), computing(second));
            let all = counts_apart(&x, &y);
            // Each release writes a graph in its own way; the layers are the same in all.
            let running = a.constants.as_ref().zip(b.constants.as_ref());
            match running.filter(|_| producers(first) != producers(second)) {
                Some((a, b)) if !all.is_empty() => {
                    let [of_first, of_second] = layers([&a.running, &b.running]);
                    let layers = counts_apart(&of_first, &of_second);
                    if layers.is_empty() {
                        return StructureResult {
                            outcome: Outcome::Same,
                            reason: "of layers: other operations differ, as programs write resizing, anchors and suppression differently; running both on images compares what comes out",
                            differences: Vec::new(),
                        };
                    }
                    layers
                }
                _ => all,
            }
        }
        _ => return not("the formats have different operations"),
    };
    StructureResult {
        outcome: if differences.is_empty() {
            Outcome::Same
        } else {
            Outcome::Different
        },
        reason: "",
        differences,
    }
}

impl Verification {
    /// The whole: different if anything is; undecided if anything is, if outputs were to be compared and were not, or if nothing was compared.
    pub fn outcome(&self) -> Outcome {
        let all = [
            self.interface.as_ref().map(|of| of.outcome),
            self.structure.as_ref().map(|of| of.outcome),
            self.weights.as_ref().map(|of| of.outcome),
            self.outputs.as_ref().map(|of| match of.outcome {
                Outcome::NotCompared => Outcome::Undecided,
                outcome => outcome,
            }),
        ];
        let any = |outcome| all.contains(&Some(outcome));
        if any(Outcome::Different) {
            Outcome::Different
        } else if any(Outcome::Undecided) || !any(Outcome::Same) {
            Outcome::Undecided
        } else {
            Outcome::Same
        }
    }

    /// Everything, with the keys that `docs/inspect.md` explains.
    pub fn json(&self) -> Value {
        let structure = self.structure.as_ref().map(|of| {
            json!({
                "outcome": of.outcome.name(),
                "reason": of.reason,
                "differences": of.differences,
            })
        });
        json!({
            "outcome": self.outcome().name(),
            "kinds": self.kinds,
            "interface": self.interface.as_ref().map(InterfaceResult::json),
            "structure": structure,
            "weights": self.weights.as_ref().map(WeightsResult::json),
            "outputs": self.outputs.as_ref().map(OutputsResult::json),
        })
    }
}
