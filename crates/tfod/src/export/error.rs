//! What can prevent an export. Every message names the file, the place and the remedy.

use std::fmt;
use std::path::{Path, PathBuf};

use tfod_models::fit::Explanation;
use tfod_models::{FieldPath, Model, ModelError, NoEnding};

use tfod_text::Shown;

use crate::check::{CheckpointKind, Family};
use crate::judgement::{Configured, Judgement, causes, with_override};
use crate::keypoint_labels::KeypointLabelsError;
use crate::output::OutputError;
use crate::trained::TrainedModel;

/// How many missing or mismatched variables are shown.
const SHOWN: usize = 4;

/// Any failure of an export.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The configuration cannot be read.
    #[error(transparent)]
    Config(#[from] tfod_config::ConfigError),
    /// The configuration describes no model that can be built.
    #[error("{}: {source}{}", config.shown(), instead(advice.as_deref(), *family))]
    Model {
        /// The configuration's file.
        config: PathBuf,
        /// What is wrong.
        source: Box<ModelError>,
        /// What it describes, as far as that is known.
        family: Option<Family>,
        /// What to do, where the checkpoint tells.
        advice: Option<String>,
    },
    /// The label map that the configuration names cannot be read.
    #[error("{}: {source}", config.shown())]
    KeypointLabels {
        /// The configuration's file.
        config: PathBuf,
        /// What is wrong.
        source: Box<KeypointLabelsError>,
    },
    /// The options of the graph are impossible, or contradict the configuration.
    #[error("{0}")]
    Options(ModelError),
    /// Thresholds for a model without non-max suppression.
    #[error(
        "the config describes no non-max suppression in `model.{model}`, so there are no thresholds to set{}",
        limit.as_ref().map_or_else(String::new, |field| format!("; how many objects there are, `{field}` says"))
    )]
    NoSuppression {
        /// The meta-architecture's field.
        model: &'static str,
        /// The field that limits how many objects there are.
        limit: Option<Box<FieldPath>>,
    },
    /// Thresholds of proposals for a model that makes none, or whose proposals are all it gives.
    #[error(
        "the config describes no detector of two stages in `model.{model}`, so there are no thresholds of proposals to set, only those of detections"
    )]
    NoProposals {
        /// The meta-architecture's field.
        model: &'static str,
    },
    /// A score threshold of a class that there is not.
    #[error("a class with a score threshold is `{given}`; expected {expected}", given = given.shown())]
    UnknownClass {
        /// What it is called.
        given: String,
        /// What would do.
        expected: String,
    },
    /// A way of suppression for a graph that ends before it.
    #[error(
        "TFLite's {suppression} suppression has no effect on a graph that ends before non-max suppression; expected none"
    )]
    NothingToSuppress {
        /// Its name.
        suppression: &'static str,
    },
    /// A way of suppression that does not do what the model does.
    #[error("TFLite's {suppression} suppression is not for {reason}; expected builtin suppression")]
    OtherSuppression {
        /// Its name.
        suppression: &'static str,
        /// What it does not do.
        reason: NoEnding,
    },
    /// Formats that the layout has no place for.
    #[error("the formats are {given}; expected {expected}")]
    Formats {
        /// Their names, separated by commas.
        given: String,
        /// What would do.
        expected: String,
    },
    /// The checkpoint cannot be found or read.
    #[error(transparent)]
    Checkpoint(Box<tfod_checkpoint::Error>),
    /// The checkpoint is of something else.
    #[error("{}: not the checkpoint of a trained detector: {kind}{}", prefix.shown(), remedy(kind, prefix))]
    NotADetector {
        /// The checkpoint.
        prefix: PathBuf,
        /// What it is.
        kind: Box<CheckpointKind>,
    },
    /// The checkpoint is of a detector of another configuration.
    #[error(transparent)]
    Misfit(Box<Misfit>),
    /// The SavedModel cannot be made.
    #[error(transparent)]
    SavedModel(Box<tfod_tensorflow::Error>),
    /// The frozen graph cannot be made.
    #[error(transparent)]
    Frozen(Box<crate::FreezeFileError>),
    /// The ONNX model cannot be made.
    #[error(transparent)]
    Onnx(#[from] tfod_onnx::Error),
    /// The TFLite model cannot be made.
    #[error(transparent)]
    Tflite(#[from] tfod_tflite::Error),
    /// A file that goes into the export cannot be read, or the output folder not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The version of a served model is there already, and a server may be using it.
    #[error("{}: version {version} is there already, and is not changed; choose another version", path.shown())]
    VersionExists {
        /// Its folder.
        path: PathBuf,
        /// Its number.
        version: u32,
    },
    /// The export would take the place of what it is made from, and have less.
    #[error("{}: the export would be put in its place, without {what}; choose another output folder", path.shown())]
    WouldLose {
        /// The input.
        path: PathBuf,
        /// What it has and the export has not.
        what: String,
    },
}

impl From<tfod_checkpoint::Error> for ExportError {
    fn from(error: tfod_checkpoint::Error) -> Self {
        Self::Checkpoint(Box::new(error))
    }
}

impl From<tfod_tensorflow::Error> for ExportError {
    fn from(error: tfod_tensorflow::Error) -> Self {
        Self::SavedModel(Box::new(error))
    }
}

impl From<crate::FreezeFileError> for ExportError {
    fn from(error: crate::FreezeFileError) -> Self {
        Self::Frozen(Box::new(error))
    }
}

fn remedy(kind: &CheckpointKind, prefix: &Path) -> String {
    kind.remedy(prefix)
        .map_or_else(String::new, |remedy| format!("; {remedy}"))
}

/// A checkpoint that does not fit the configuration.
#[derive(Clone, Debug)]
pub struct Misfit {
    /// The configuration's file.
    pub config: PathBuf,
    /// The checkpoint's prefix.
    pub checkpoint: PathBuf,
    /// How many variables the configured model has.
    pub total: usize,
    /// How many of them are in the checkpoint in the right shape.
    pub matched: usize,
    /// Variables that the checkpoint does not have.
    pub missing: Vec<MisfitVariable>,
    /// Variables that the checkpoint has in another shape.
    pub mismatched: Vec<MisfitVariable>,
    /// Whether an override was merged into the configuration.
    pub has_override: bool,
    /// Whether everything would fit without it.
    pub is_overrides_fault: bool,
    /// Which fields of the configuration differ from what the checkpoint was trained with.
    pub explanation: Explanation,
    /// What the checkpoint is of.
    pub kind: CheckpointKind,
}

/// A variable that does not fit.
#[derive(Clone, Debug)]
pub struct MisfitVariable {
    /// The layer in the exported graph.
    pub layer: String,
    /// The key in the checkpoint.
    pub key: String,
    /// The shape that the configuration needs.
    pub needed: Vec<u64>,
    /// The shape in the checkpoint, if it is there.
    pub found: Option<Vec<u64>>,
}

impl Misfit {
    pub(super) fn new(
        config: &Path,
        trained: &TrainedModel,
        model: &Model,
        configured: &Configured,
        judgement: Judgement,
    ) -> Self {
        let fit = &judgement.fit;
        let variable = |id, found: Option<&Vec<u64>>| {
            let parameter = model.graph.parameter(id);
            MisfitVariable {
                layer: parameter.name.clone(),
                key: trained.key(&parameter.path),
                needed: parameter.shape.clone(),
                found: found.cloned(),
            }
        };
        Self {
            config: config.to_owned(),
            checkpoint: trained.prefix().to_owned(),
            total: fit.total(),
            matched: fit.matched,
            missing: fit.missing.iter().map(|id| variable(*id, None)).collect(),
            mismatched: fit
                .mismatched
                .iter()
                .map(|(id, found)| variable(*id, Some(found)))
                .collect(),
            has_override: configured.has_override(),
            is_overrides_fault: judgement.is_overrides_fault,
            explanation: judgement.explanation,
            kind: CheckpointKind::of(trained.bundle()),
        }
    }
}

/// What to do instead where models of a family cannot be exported yet.
fn instead(advice: Option<&str>, family: Option<Family>) -> String {
    let workaround = || family.and_then(Family::workaround);
    let advice = advice.map(str::to_owned).or_else(workaround);
    advice.map_or_else(String::new, |advice| format!("; {advice}"))
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (checkpoint, config) = (self.checkpoint.shown(), self.config.shown());
        let workaround = self.kind.workaround();
        if let Some(workaround) = &workaround {
            writeln!(f, "{checkpoint}: is of {}: {workaround}", self.kind)?;
        }
        writeln!(
            f,
            "{checkpoint}: does not fit {config}{}: {} of {} variables match",
            with_override(self.has_override),
            self.matched,
            self.total
        )?;
        write_list(f, "of another shape", &self.mismatched)?;
        write_list(f, "missing", &self.missing)?;
        if workaround.is_some() {
            return f.write_str("  likely cause: the checkpoint is of another meta-architecture");
        }
        match causes(&self.explanation, self.is_overrides_fault) {
            Some(causes) => write!(f, "  likely cause: {causes}"),
            None => write!(
                f,
                "  likely cause: none of the fields that usually differ; use the pipeline.config that the checkpoint was trained with. A check of the two says what comes nearest"
            ),
        }
    }
}

impl std::error::Error for Misfit {}

fn write_list(f: &mut fmt::Formatter<'_>, what: &str, variables: &[MisfitVariable]) -> fmt::Result {
    if variables.is_empty() {
        return Ok(());
    }
    writeln!(f, "  {} {what}:", variables.len())?;
    for variable in variables.iter().take(SHOWN) {
        writeln!(f, "    {}", variable.layer)?;
        writeln!(f, "      key {}", variable.key.shown())?;
        write!(f, "      the config needs {:?}", variable.needed)?;
        match &variable.found {
            Some(found) => writeln!(f, ", the checkpoint has {found:?}")?,
            None => writeln!(f)?,
        }
    }
    if variables.len() > SHOWN {
        writeln!(f, "    and {} more", variables.len() - SHOWN)?;
    }
    Ok(())
}
