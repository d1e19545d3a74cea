//! Does a checkpoint fit a config? Answered before an export, from the config and the checkpoint's index; the weights are not read, and need
//! not be there.
//!
//! What is found out, in this order: whether the checkpoint is a detector's at all; whether the config describes a model that can be exported;
//! whether every variable of that model is in the checkpoint in its shape, and none is left over. If not, the fields of the config that differ
//! from what the checkpoint was trained with, and the supported architecture that the checkpoint is nearest to.

mod advice;
mod index;
mod kind;

use std::path::PathBuf;

use tfod_checkpoint::{Bundle, Error, Found as HowFound, locate};
use tfod_config::{ConfigError, PipelineConfig};
use tfod_models::build;
use tfod_models::fit::{Closest, Explanation, Variables, closest};

use crate::ExportError;
use crate::judgement::{Configured, Judgement, VariableSource};
use crate::trained::TrainedModel;
use index::Index;
pub use kind::{CheckpointKind, ConfigKind};
pub use tfod_models::meta::Family;

/// A check whether a checkpoint fits a config.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Check {
    /// The `pipeline.config`.
    pub pipeline_config: PathBuf,
    /// Text merged into the config.
    pub config_override: String,
    /// The folder that training wrote to, or the prefix of a checkpoint.
    pub checkpoint_dir: PathBuf,
    /// Which of the folder's checkpoints: a number, a name or a prefix.
    pub checkpoint: Option<String>,
}

/// The result of checking a checkpoint against a config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every variable of the model is in the checkpoint in its shape, and none is left over.
    Fits,
    /// Every variable of the model is in the checkpoint in its shape, but some of the trained model's are left over. It can be exported, with a warning.
    LeftOver,
    /// Everything fits once the named fields of the config are changed.
    Differs,
    /// The checkpoint is of another architecture, or differs in more than can be named.
    OtherArchitecture,
    /// The config describes no model that can be exported.
    Unsupported,
    /// The checkpoint is not that of a detector.
    NotADetector,
}

impl Verdict {
    /// Its name in JSON, one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fits => "fits",
            Self::LeftOver => "left_over",
            Self::Differs => "differs",
            Self::OtherArchitecture => "other_architecture",
            Self::Unsupported => "unsupported",
            Self::NotADetector => "not_a_detector",
        }
    }
}

/// What a check found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CheckReport {
    /// The outcome.
    pub verdict: Verdict,
    /// What the config describes; `None` if it describes no model.
    pub config: Option<ConfigKind>,
    /// What the checkpoint is of.
    pub checkpoint: CheckpointKind,
    /// The checkpoint's files without their endings.
    pub prefix: PathBuf,
    /// How that checkpoint was chosen.
    pub found: HowFound,
    /// Whether the object graph could not be read, so that only the index was seen.
    pub index_alone: bool,
    /// What is the matter with the data files, if they are not whole: a fit is judged without them, and an export needs them.
    pub data_problem: Option<String>,
    /// Whether an override was merged into the config.
    pub has_override: bool,
    /// Whether everything would fit without it.
    pub is_overrides_fault: bool,
    /// Why the config's model cannot be exported.
    pub refused: Option<String>,
    /// The variables, if there is a model to compare.
    pub counts: Option<Counts>,
    /// Which fields differ.
    pub explanation: Explanation,
    /// The supported architecture that the checkpoint is nearest to, where it is not the config's.
    pub closest: Option<Suggestion>,
    /// Parts of the config that were left out because they are damaged and not needed, and what an export warns of.
    pub warnings: Vec<String>,
}

/// How many variables fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Variables of the configured model.
    pub total: usize,
    /// Those that are in the checkpoint in their shape.
    pub matched: usize,
    /// Those that are not in the checkpoint.
    pub missing: usize,
    /// Those that have another shape there.
    pub mismatched: usize,
    /// Variables of the checkpoint's model beyond them.
    pub unused: usize,
}

/// A supported architecture that a checkpoint is of, or nearly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// The feature extractor, as configs call it.
    pub extractor: String,
    /// Classes without background.
    pub num_classes: Option<i32>,
    /// Whether the background is a class besides: a checkpoint tells only the sum. `None` where configs have no say in that.
    pub has_background: Option<bool>,
    /// How many of the checkpoint's variables are its.
    pub matched: usize,
    /// How many variables it has.
    pub total: usize,
    /// Whether all fit and none is left over.
    pub complete: bool,
}

impl From<&Closest> for Suggestion {
    fn from(closest: &Closest) -> Self {
        Self {
            extractor: closest.extractor.clone(),
            num_classes: closest.num_classes(),
            has_background: closest.has_background(),
            matched: closest.fit.matched,
            total: closest.fit.total(),
            complete: closest.is_complete(),
        }
    }
}

/// Why a checkpoint and a config cannot be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The config cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The checkpoint cannot be found or read.
    #[error(transparent)]
    Checkpoint(#[from] Error),
}

impl Check {
    /// A check of a folder's checkpoint as it is used without a choice, against a config as it is.
    pub fn new(pipeline_config: impl Into<PathBuf>, checkpoint_dir: impl Into<PathBuf>) -> Self {
        Self {
            pipeline_config: pipeline_config.into(),
            config_override: String::new(),
            checkpoint_dir: checkpoint_dir.into(),
            checkpoint: None,
        }
    }

    /// Compares.
    ///
    /// # Errors
    /// When the config or the checkpoint's index cannot be read. That they do not fit is no error, but a [`Verdict`].
    pub fn run(&self) -> Result<CheckReport, CheckError> {
        let parsed = PipelineConfig::read(&self.pipeline_config)?;
        let warnings = parsed.warnings.iter().map(ToString::to_string).collect();
        let configured = Configured::new(parsed.config, &self.config_override)?;
        self.compare(&configured, warnings)
    }

    /// Compares the checkpoint with a config that has been read.
    pub(crate) fn compare(
        &self,
        configured: &Configured,
        warnings: Vec<String>,
    ) -> Result<CheckReport, CheckError> {
        let model = configured.config.message().model.as_ref();
        let located = locate(&self.checkpoint_dir, self.checkpoint.as_deref())?;
        let bundle = Bundle::open(&located.prefix)?;
        let mut report = CheckReport {
            verdict: Verdict::NotADetector,
            config: model.and_then(ConfigKind::of),
            checkpoint: CheckpointKind::of(&bundle),
            prefix: located.prefix,
            found: located.found.clone(),
            index_alone: false,
            data_problem: data_problem(&bundle),
            has_override: configured.has_override(),
            is_overrides_fault: false,
            refused: None,
            counts: None,
            explanation: Explanation::default(),
            closest: None,
            warnings,
        };
        if report.checkpoint.is_detector() {
            match bundle.object_graph() {
                Err(error) => {
                    report.index_alone = true;
                    report.data_problem.get_or_insert(error.to_string());
                    report.compare(configured, &Index::of(&bundle));
                }
                Ok(objects) => match TrainedModel::with(bundle, &objects, located.found) {
                    Ok(trained) => report.compare(configured, &trained),
                    Err(ExportError::Checkpoint(error)) => return Err((*error).into()),
                    // Keys below `model`, but no such object: not what a detector's training writes.
                    Err(_) => report.checkpoint = CheckpointKind::Other(vec!["model".to_owned()]),
                },
            }
        }
        Ok(report)
    }
}

/// What is the matter with the first data file that is not whole.
fn data_problem(bundle: &Bundle) -> Option<String> {
    let shards = bundle.shards();
    let shard = shards.iter().find(|shard| !shard.state.is_whole())?;
    Some(shard.to_string())
}

impl CheckReport {
    /// Fills in what the variables tell.
    fn compare(&mut self, configured: &Configured, variables: &dyn VariableSource) {
        let built = || {
            let model = configured.config.message().model.as_ref();
            let model = model.ok_or("there is no `model` in it")?;
            let options = configured.options().map_err(|e| e.to_string())?;
            let built = build(model, &options).map_err(|e| e.to_string())?;
            Ok::<_, String>((options, built))
        };
        match built() {
            Ok((options, built)) => {
                let judgement = Judgement::new(configured, &options, &built, variables);
                let fit = &judgement.fit;
                self.counts = Some(Counts {
                    total: fit.total(),
                    matched: fit.matched,
                    missing: fit.missing.len(),
                    mismatched: fit.mismatched.len(),
                    unused: fit.unused,
                });
                self.verdict = if judgement.fits() {
                    Verdict::Fits
                } else if fit.is_complete() {
                    Verdict::LeftOver
                } else if judgement.explanation.complete {
                    Verdict::Differs
                } else {
                    Verdict::OtherArchitecture
                };
                self.warnings.extend(judgement.warning());
                self.is_overrides_fault = judgement.is_overrides_fault;
                self.explanation = judgement.explanation;
            }
            Err(reason) => {
                self.refused = Some(reason);
                self.verdict = Verdict::Unsupported;
            }
        }
        self.name_detector(variables);
    }

    /// Says of a supported detector which it is, and suggests it where it is not the configured one.
    fn name_detector(&mut self, variables: &dyn Variables) {
        let CheckpointKind::Detector {
            family,
            extractor,
            num_classes,
        } = &mut self.checkpoint
        else {
            return;
        };
        if !family.is_supported() {
            return;
        }
        let is_known = self.verdict == Verdict::Fits || self.explanation.complete;
        if let (true, Some(config)) = (is_known, &self.config) {
            let meta = config.family.meta();
            let classes = self.explanation.cause(meta.classes_field());
            let trained_extractor = self.explanation.cause(meta.extractor_field());
            // The class more or less that may be the background's.
            let is_open = classes.is_some_and(|cause| !cause.alternatives.is_empty());
            *extractor =
                trained_extractor.map_or_else(|| config.extractor.clone(), |c| c.trained.clone());
            *num_classes = match classes {
                Some(cause) => cause.trained.parse().ok().filter(|_| !is_open),
                None => config.num_classes,
            };
            return;
        }
        let Some(closest) = closest(family.meta(), variables) else {
            return;
        };
        if closest.is_complete() {
            extractor.clone_from(&closest.extractor);
            *num_classes = closest.num_classes();
        }
        self.closest = Some(Suggestion::from(&closest));
    }
}
