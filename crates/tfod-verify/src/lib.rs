//! Are two models the same? Their interfaces, what they are made of, and their weights, whatever format each is in.
//!
//! Weights have other names and other layouts in other formats, so they are matched in three steps, and each pair says which step found it: by name;
//! by content (the same numbers in the same order, or in one that a format is known to use); and what is left by shape and nearest values. That two graphs of
//! different operations compute the same, this cannot tell, and does not say; but given images, it runs ONNX models, and compares what they give.

mod interface;
mod layout;
mod matching;
mod names;
mod outputs;
mod weights;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tfod_config::{ConfigError, PipelineConfig};

use tfod::ExportError;
use tfod_image::ImageError;
use tfod_inspect::{Facts, InspectError, Inspection, inspect};

pub use interface::InterfaceResult;
pub use matching::{Matched, Pair};
pub use outputs::{Distance, Farthest, Launch, OutputOptions, OutputPair, OutputsResult};
pub use weights::{Unmatched, WeightsResult};

/// What is compared.
#[derive(Clone, Debug)]
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
pub enum VerifyError {
    /// One of them cannot be looked into.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The config beside a checkpoint cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It is no model.
    #[error("{}: {what}", path.display())]
    NoModel {
        /// The path.
        path: PathBuf,
        /// What it is, and what to give instead.
        what: &'static str,
    },
    /// A checkpoint cannot be exported to be run.
    #[error("{}: cannot be exported, to be run as an ONNX model: {problem}", path.display())]
    Export {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong.
        problem: Box<ExportError>,
    },
    /// There is no place for such an export.
    #[error("no temporary folder: {0}")]
    Folder(#[source] std::io::Error),
    /// An image cannot be read, or not be given to a model.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// What came of one aspect.
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

/// What came of comparing structures.
#[derive(Clone, Debug)]
pub struct StructureResult {
    /// In short.
    pub outcome: Outcome,
    /// Why they were not compared; else empty.
    pub reason: &'static str,
    /// What differs: an operation and its counts, a field of the config and its values.
    pub differences: Vec<String>,
}

/// What came of comparing two models.
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
                return Err(refused(
                    "a config without weights; `tfod diff` compares configs",
                ));
            }
            Facts::Export(_) => {
                return Err(refused(
                    "an export with several models; give one: its saved_model, frozen.pb, model.onnx or checkpoint",
                ));
            }
            Facts::Checkpoint(facts) => config_beside(&facts.prefix)?,
            _ => None,
        };
        Ok(Self { found, config })
    }

    fn facts(&self) -> &Facts {
        &self.found.facts
    }
}

/// The config in a checkpoint's folder, or in that above, where exports keep it.
fn config_beside(prefix: &Path) -> Result<Option<(PathBuf, PipelineConfig)>, ConfigError> {
    let folder = prefix.parent().unwrap_or(Path::new(""));
    // Of `.`, the one above is not in the path.
    let above = match (folder.parent(), folder.file_name()) {
        (Some(above), Some(_)) => above.to_owned(),
        _ => folder.join(".."),
    };
    let file = [folder, &above]
        .map(|folder| folder.join("pipeline.config"))
        .into_iter()
        .find(|file| file.is_file());
    let Some(file) = file else {
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
    verify_telling(first, second, aspects, &|_| {})
}

/// Compares two models; `tell` hears what is being done.
///
/// # Errors
///
/// As [`verify`].
pub fn verify_telling(
    first: &Path,
    second: &Path,
    aspects: &Aspects,
    tell: &dyn Fn(&str),
) -> Result<Verification, VerifyError> {
    tell("comparing");
    let (a, b) = (Side::open(first)?, Side::open(second)?);
    if let Some(options) = &aspects.outputs {
        outputs::check_images(options)?;
    }
    let interface = aspects
        .interface
        .then(|| interface::compare(a.facts(), b.facts()));
    let structure = aspects.structure.then(|| structure(&a, &b));
    let weights = aspects.weights.then(|| weights::compare(&a, &b));
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
        (a, b) if a.kind() == b.kind() => {
            let (a, b) = (interface::ops(a), interface::ops(b));
            let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
            names.sort();
            names.dedup();
            let count = |ops: &std::collections::BTreeMap<String, u64>, name: &String| {
                ops.get(name).copied().unwrap_or(0)
            };
            names
                .into_iter()
                .map(|name| (name, count(&a, name), count(&b, name)))
                .filter(|(_, x, y)| x != y)
                .map(|(name, x, y)| format!("{name}: {x} -> {y}"))
                .collect()
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
