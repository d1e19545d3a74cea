//! Whether a checkpoint fits a config: one judgement, which `check` reports and `export` acts on.

use std::collections::{BTreeMap, BTreeSet};

use tfod_checkpoint::{Entry, escape, unescape};
use tfod_config::PipelineConfig;
use tfod_models::fit::{Cause, Explanation, Fit, Found, Variables, explain};
use tfod_models::{GraphOptions, Model, build};

use tfod_text::Shown;

use crate::keypoint_labels::{KeypointLabelsError, keypoint_labels};

/// A config as it was read, and with an override merged into it.
pub(crate) struct Configured {
    /// What counts.
    pub(crate) config: PipelineConfig,
    /// What the file says, where an override was merged into it.
    file: Option<PipelineConfig>,
}

impl Configured {
    /// Merges an override, which may be empty.
    pub(crate) fn new(
        mut config: PipelineConfig,
        config_override: &str,
    ) -> Result<Self, tfod_config::ConfigError> {
        let mut file = None;
        if !config_override.is_empty() {
            file = Some(config.clone());
            config.merge_override(config_override)?;
        }
        Ok(Self { config, file })
    }

    /// The options with which its whole network is built: the defaults, and what its label map says.
    pub(crate) fn options(&self) -> Result<GraphOptions, Box<KeypointLabelsError>> {
        let mut options = GraphOptions::default();
        options.keypoint_labels = keypoint_labels(&self.config)?;
        Ok(options)
    }

    /// Whether an override was merged into it.
    pub(crate) fn has_override(&self) -> bool {
        self.file.is_some()
    }

    /// Says of a cause whether the override has brought it in.
    fn attribute(&self, cause: &mut Cause) {
        let changes = self.file.as_ref().map(|file| file.changes(&self.config));
        let mut changes = changes.into_iter().flatten();
        if changes.any(|change| change.path == cause.field) {
            cause.configured_by = "the override";
        }
    }
}

/// What misfits say behind the name of a config's file.
pub(crate) fn with_override(has_override: bool) -> &'static str {
    if has_override {
        " with the override merged into it"
    } else {
        ""
    }
}

/// The variables of a trained model, by their key, with a number and their sizes. Only what a network could read is among them: training also hangs
/// counters on the model, and its lists have names.
#[derive(Clone, Debug, Default)]
pub(crate) struct ModelVariables(BTreeMap<String, (usize, Vec<u64>)>);

impl ModelVariables {
    pub(crate) fn of<'a>(entries: impl Iterator<Item = &'a Entry>) -> Self {
        let weights = entries.filter(|entry| entry.dtype().is_floating());
        let numbered = weights.enumerate().map(|(number, entry)| {
            let shape = entry.shape().iter().map(|n| *n as u64).collect();
            (entry.key().to_owned(), (number, shape))
        });
        Self(numbered.collect())
    }

    pub(crate) fn find(&self, key: &str) -> Option<Found<'_>> {
        let (id, shape) = self.0.get(key)?;
        Some(Found { id: *id, shape })
    }

    /// The names of what is directly below a path, which begins with the model's.
    pub(crate) fn children(&self, path: &[&str]) -> BTreeSet<String> {
        let start: String = path.iter().map(|name| escape(name) + "/").collect();
        let keys = self.0.range(start.clone()..);
        let names = keys.map_while(|(key, _)| key.strip_prefix(&start));
        let names = names.filter_map(|rest| unescape(rest.split('/').next()?));
        names.collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The keys of those that a network does not use, whether for inference or otherwise.
    fn beyond(&self, fit: &Fit) -> Vec<String> {
        let beyond = self.0.iter().filter(|(_, (id, _))| !fit.used.contains(id));
        beyond.map(|(key, _)| key.clone()).collect()
    }
}

/// Where a model's variables come from: the object graph, or the index alone.
pub(crate) trait VariableSource: Variables {
    fn variables(&self) -> &ModelVariables;
}

/// How a config's model and a checkpoint go together.
pub(crate) struct Judgement {
    pub(crate) fit: Fit,
    /// Why they do not go together, as far as it was found.
    pub(crate) explanation: Explanation,
    /// The keys of the trained model's variables that the configured one does not use.
    pub(crate) left_over: Vec<String>,
    /// Whether all would fit without the override.
    pub(crate) is_overrides_fault: bool,
}

impl Judgement {
    /// Compares the model built of a config with a checkpoint. The options are those of [`Configured::options`].
    pub(crate) fn new(
        configured: &Configured,
        options: &GraphOptions,
        model: &Model,
        source: &dyn VariableSource,
    ) -> Self {
        let fit = Fit::new(model, source);
        let mut judgement = Self {
            left_over: source.variables().beyond(&fit),
            fit,
            explanation: Explanation::default(),
            is_overrides_fault: false,
        };
        if judgement.fits() {
            return judgement;
        }
        let fits = |config: &PipelineConfig| {
            let message = config.message().model.as_ref()?;
            let model = build(message, options).ok()?;
            let fit = Fit::new(&model, source);
            Some(fit.is_complete() && fit.unused == 0)
        };
        let file = configured.file.as_ref();
        judgement.is_overrides_fault = file.and_then(fits).unwrap_or(false);
        if let Some(message) = &configured.config.message().model {
            judgement.explanation = explain(message, options, source);
        }
        for cause in &mut judgement.explanation.causes {
            configured.attribute(cause);
            for other in &mut cause.alternatives {
                configured.attribute(other);
            }
        }
        judgement
    }

    /// Whether every variable is there in its shape, and none is left over.
    pub(crate) fn fits(&self) -> bool {
        self.fit.is_complete() && self.left_over.is_empty()
    }

    /// What to say of a checkpoint that has all that the model needs, and more: the reference exports it without a word, and the result detects badly.
    pub(crate) fn warning(&self) -> Option<String> {
        let first = self.left_over.first()?;
        if !self.fit.is_complete() {
            return None;
        }
        let count = self.left_over.len();
        let are = if count == 1 {
            "variable of the trained model is"
        } else {
            "variables of the trained model are"
        };
        let mut text = format!(
            "{count} {are} not used by the configured one, first `{}`; ",
            first.shown()
        );
        text.push_str(if self.is_overrides_fault {
            "this comes of the override"
        } else {
            "the config may not be the one that the checkpoint was trained with"
        });
        if let Some(causes) = causes(&self.explanation, self.is_overrides_fault) {
            text.push_str(": ");
            text.push_str(&causes);
        }
        Some(text)
    }
}

/// Why a checkpoint and a config do not go together, in words; `None` when no cause was found.
pub(crate) fn causes(explanation: &Explanation, is_overrides_fault: bool) -> Option<String> {
    let without = "without the override, everything fits";
    // What explains a part only may be a coincidence.
    if explanation.causes.is_empty() || !explanation.complete {
        return is_overrides_fault.then(|| without.to_owned());
    }
    let causes = explanation.causes.iter().map(|cause| {
        let of = |cause: &Cause| {
            format!(
                "{} has `{}: {}`, the checkpoint was trained with {}",
                cause.configured_by, cause.field, cause.configured, cause.trained
            )
        };
        let all: Vec<String> = std::iter::once(cause)
            .chain(&cause.alternatives)
            .map(of)
            .collect();
        all.join(", or else ")
    });
    let causes: Vec<String> = causes.collect();
    let remedy = if is_overrides_fault {
        without
    } else {
        "with that, everything fits"
    };
    Some(format!("{}; {remedy}", causes.join("; and ")))
}
