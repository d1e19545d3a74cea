//! Does a checkpoint fit a configuration, and if not, why?
//!
//! [`Fit`] compares the variables that a graph needs with those that a checkpoint has. [`explain`] finds the cause in the user's terms by trying:
//! it changes one field of the configuration after another (to what the checkpoint's shapes suggest, or to the usual values), builds the
//! network again, and keeps the changes that make more of the checkpoint fit. Which fields these are is part of a meta-architecture's description.

mod closest;

pub use closest::{Closest, closest};

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;

use tfod_config::protos::detection_model::Model as Proto;
use tfod_config::{PipelineConfig, protos};
use tfod_graph::{ParamId, passes};

use crate::fields::FieldPath;
use crate::meta::{MetaArchitecture, Support};
use crate::{GraphOptions, KeypointLabels, Model, Stage, written};

/// A variable of a checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Tells variables apart: several paths may lead to one.
    pub id: usize,
    /// Its sizes.
    pub shape: &'a [u64],
}

/// The variables of a trained model, by their path from the model object.
pub trait Variables {
    /// The variable at a path.
    fn find(&self, path: &[String]) -> Option<Found<'_>>;
    /// The names of what is directly below a path.
    fn children(&self, path: &[&str]) -> BTreeSet<String>;
    /// How many there are.
    fn count(&self) -> usize;
}

/// How a graph's parameters and a checkpoint's variables go together.
#[derive(Clone, Debug, Default)]
pub struct Fit {
    /// Parameters whose variable is there in the right shape.
    pub matched: usize,
    /// Parameters whose variable is not there.
    pub missing: Vec<ParamId>,
    /// Parameters whose variable has another shape, with that shape.
    pub mismatched: Vec<(ParamId, Vec<u64>)>,
    /// Variables that the graph uses and those known to be idle, by [`Found::id`].
    pub used: HashSet<usize>,
    /// How many variables of the checkpoint's model are beyond them.
    pub unused: usize,
}

impl Fit {
    /// Compares a graph's parameters with the variables of a checkpoint.
    pub fn new(model: &Model, variables: &dyn Variables) -> Self {
        Self::of(model, |_| true, variables)
    }

    /// As [`Self::new`], of a network from which nothing has been dropped yet. That takes longer than all the rest, and the search for causes compares many networks.
    fn of_written(model: &Model, variables: &dyn Variables) -> Self {
        let needed = passes::needed_parameters(&model.graph);
        Self::of(model, |id| needed[id.index()], variables)
    }

    /// Compares those of a graph's parameters that are needed; others are idle.
    fn of(model: &Model, is_needed: impl Fn(ParamId) -> bool, variables: &dyn Variables) -> Self {
        let mut fit = Self::default();
        for (id, parameter) in model.graph.parameters() {
            if !is_needed(id) {
                let found = variables.find(&parameter.path);
                fit.used.extend(found.map(|found| found.id));
                continue;
            }
            match variables.find(&parameter.path) {
                None => fit.missing.push(id),
                Some(found) => {
                    fit.used.insert(found.id);
                    if found.shape == parameter.shape {
                        fit.matched += 1;
                    } else {
                        fit.mismatched.push((id, found.shape.to_vec()));
                    }
                }
            }
        }
        let idle = model.idle.iter().filter_map(|path| variables.find(path));
        fit.used.extend(idle.map(|found| found.id));
        fit.unused = variables.count().saturating_sub(fit.used.len());
        fit
    }

    /// Whether every parameter has its variable.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.mismatched.is_empty()
    }

    /// How many parameters the graph has.
    pub fn total(&self) -> usize {
        self.matched + self.missing.len() + self.mismatched.len()
    }

    /// How far this is from a perfect fit. A layer of another width is nearer than none.
    fn distance(&self) -> usize {
        2 * (self.missing.len() + self.unused) + self.mismatched.len()
    }
}

/// A change of the configuration after which more of the checkpoint fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The field, by its path in the configuration.
    pub field: Cow<'static, str>,
    /// What says so, where that is not the configuration alone: `the config` unless the caller knows better.
    pub configured_by: &'static str,
    /// What the configuration says.
    pub configured: String,
    /// What the checkpoint was trained with.
    pub trained: String,
    /// Other changes of which each does the same; the checkpoint does not tell which it is.
    pub alternatives: Vec<Cause>,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            field,
            configured_by,
            configured,
            trained,
            ..
        } = self;
        write!(
            f,
            "{field}: {configured_by} has {configured}, the checkpoint was trained with {trained}"
        )?;
        self.alternatives
            .iter()
            .try_for_each(|other| write!(f, "; or else {other}"))
    }
}

/// What changes of the configuration would make a checkpoint fit, found by trying them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// The changes, most effective first.
    pub causes: Vec<Cause>,
    /// Whether everything fits after them.
    pub complete: bool,
}

impl Explanation {
    /// The cause that is this field, if it is one.
    pub fn cause(&self, field: FieldPath) -> Option<&Cause> {
        let field = field.to_string();
        self.causes.iter().find(|cause| cause.field == field)
    }
}

/// A misfit of more than this many fields is another model. Two sizes of EfficientDet differ in five, and then there are the classes.
const MOST_CAUSES: usize = 6;

/// One change to try.
pub(crate) struct Candidate {
    /// What it would explain.
    pub(crate) cause: Cause,
    /// The configuration after it.
    pub(crate) config: protos::DetectionModel,
    /// What label maps say after it, where they say something else.
    pub(crate) labels: Option<KeypointLabels>,
}

/// Collects changes of single fields of a meta-architecture's message `C`.
pub(crate) struct Candidates<'a, C> {
    /// The message as it is.
    pub base: &'a C,
    /// Makes a model of a message.
    model: fn(C) -> Proto,
    list: Vec<Candidate>,
}

impl<'a, C: Clone> Candidates<'a, C> {
    /// None yet.
    pub(crate) fn new(base: &'a C, model: fn(C) -> Proto) -> Self {
        Self {
            base,
            model,
            list: Vec::new(),
        }
    }

    /// Adds the configuration with one field changed, unless the value is the configured one.
    pub(crate) fn push<T: ToString>(
        &mut self,
        field: impl Into<Cow<'static, str>>,
        configured: T,
        trained: T,
        change: impl FnOnce(&mut C),
    ) {
        self.push_with(field, "the config", configured, trained, change, None);
    }

    /// As [`Self::push`], with label maps that say something else, which a network of it needs; and with what it is that says what is configured.
    pub(crate) fn push_with<T: ToString>(
        &mut self,
        field: impl Into<Cow<'static, str>>,
        configured_by: &'static str,
        configured: T,
        trained: T,
        change: impl FnOnce(&mut C),
        labels: Option<KeypointLabels>,
    ) {
        let (configured, trained) = (configured.to_string(), trained.to_string());
        if configured == trained {
            return;
        }
        let mut config = self.base.clone();
        change(&mut config);
        self.list.push(Candidate {
            cause: Cause {
                field: field.into(),
                configured_by,
                configured,
                trained,
                alternatives: Vec::new(),
            },
            config: protos::DetectionModel {
                model: Some((self.model)(config)),
            },
            labels,
        });
    }

    /// What was collected.
    pub(crate) fn into_list(self) -> Vec<Candidate> {
        self.list
    }
}

/// The last dimension of a variable that may be at one of several paths.
pub(crate) fn last_size(variables: &dyn Variables, paths: &[String]) -> Option<i32> {
    paths
        .iter()
        .map(|path| path.split('/').map(str::to_owned).collect::<Vec<_>>())
        .find_map(|path| variables.find(&path)?.shape.last().copied())
        .and_then(|size| i32::try_from(size).ok())
}

/// A usual configuration: the model that a text of `pipeline.config` describes.
pub(crate) fn template(text: &str) -> Option<protos::DetectionModel> {
    let parsed = PipelineConfig::parse("template", text.as_bytes()).ok()?;
    parsed.config.message().model.clone()
}

/// Finds the fields in which the configuration differs from the one that the checkpoint was trained with. Of the options, the labels and side inputs are needed.
pub fn explain(
    config: &protos::DetectionModel,
    options: &GraphOptions,
    variables: &dyn Variables,
) -> Explanation {
    let support = MetaArchitecture::of(config).and_then(|meta| meta.support.as_ref());
    let Some(support) = support else {
        return Explanation::default();
    };
    let inputs = options.side_inputs.as_deref();
    let described = inputs.and_then(|inputs| (support.described)(config, inputs));
    let (config, field) = match &described {
        Some((config, field)) => (config, Some(*field)),
        None => (config, None),
    };
    let labels = options.keypoint_labels.as_ref();
    // Where no variable is where the network looks for it, the checkpoint is of another kind of model.
    let fit = fit_of(config, labels, variables).filter(|fit| fit.missing.len() < fit.total());
    let Some(fit) = fit else {
        return Explanation::default();
    };
    let Refined {
        mut explanation, ..
    } = refine(support, (config.clone(), fit), labels, variables);
    for cause in &mut explanation.causes {
        if field == Some(cause.field.as_ref()) {
            cause.configured_by = "the description of side inputs";
        }
    }
    explanation
}

/// A configuration changed until as much of a checkpoint fits as can be made to.
struct Refined {
    config: protos::DetectionModel,
    fit: Fit,
    explanation: Explanation,
}

/// Compares a network, as far as it has layers, with a checkpoint. `None` where there is no such network. `labels` are those of the options, or others.
fn fit_of(
    config: &protos::DetectionModel,
    labels: Option<&KeypointLabels>,
    variables: &dyn Variables,
) -> Option<Fit> {
    let support = MetaArchitecture::of(config)?.support.as_ref()?;
    let options = GraphOptions {
        stage: if (support.has_layers_after)(config) {
            Stage::Detections
        } else {
            Stage::Encodings
        },
        keypoint_labels: labels.cloned(),
        without_anchors: true,
        ..GraphOptions::default()
    };
    let model = written(config, &options).ok()?;
    Some(Fit::of_written(&model, variables))
}

/// What is known of candidates from rounds before. Building a network for each of them takes most of a search's time; changes mostly gain less after
/// another one than before it, and hardly ever more. So in a later round those that gained most are tried first, and the rest only if none of them
/// still gains as much.
#[derive(Default)]
struct Search {
    /// What each did when it was tried last, by its field and value.
    tried: HashMap<(Cow<'static, str>, String), Trial>,
}

/// What a candidate did when it was tried.
#[derive(Clone, Copy)]
struct Trial {
    /// How far the fit was before.
    from: usize,
    /// How far it was with the candidate; `None` where that is no network.
    to: Option<usize>,
}

impl Trial {
    /// By how much the candidate brought the fit nearer.
    fn gain(self) -> usize {
        self.to.map_or(0, |to| self.from.saturating_sub(to))
    }

    /// Whether the candidate can hardly gain anything where the fit is as far as this: it lost more than all changes since then have gained, so it would
    /// even if these gained as much again in its own network.
    fn is_hopeless(self, now: usize) -> bool {
        self.to
            .is_some_and(|to| to.saturating_sub(self.from) > self.from.saturating_sub(now))
    }
}

impl Search {
    /// Tries candidates, and gives those that bring the fit nearer, the best first; of equally good ones, in their order. All that are as good as
    /// the best are among them.
    fn round(
        &mut self,
        candidates: Vec<Candidate>,
        best: &Fit,
        labels: Option<&KeypointLabels>,
        variables: &dyn Variables,
    ) -> Vec<(Fit, Candidate)> {
        let key = |candidate: &Candidate| {
            let cause = &candidate.cause;
            (cause.field.clone(), cause.trained.clone())
        };
        let now = best.distance();
        // By how much each can be expected to bring the fit nearer, and its place among all.
        let mut expected: Vec<(usize, usize, Candidate)> = Vec::new();
        for (place, candidate) in candidates.into_iter().enumerate() {
            match self.tried.get(&key(&candidate)) {
                Some(trial) if trial.is_hopeless(now) => {}
                Some(trial) => expected.push((trial.gain(), place, candidate)),
                None => expected.push((usize::MAX, place, candidate)),
            }
        }
        let mut candidates = expected;
        candidates.sort_by_key(|(expected, place, _)| (Reverse(*expected), *place));
        let mut nearer: Vec<(usize, Fit, Candidate)> = Vec::new();
        let mut most = 0;
        for (expected, place, candidate) in candidates {
            if most > expected {
                break;
            }
            let labels = candidate.labels.as_ref().or(labels);
            let fit = fit_of(&candidate.config, labels, variables);
            let to = fit.as_ref().map(Fit::distance);
            let trial = Trial { from: now, to };
            self.tried.insert(key(&candidate), trial);
            let gain = trial.gain();
            most = most.max(gain);
            if let (Some(fit), true) = (fit, gain > 0) {
                nearer.push((place, fit, candidate));
            }
        }
        nearer.sort_by_key(|(place, fit, _)| (fit.distance(), *place));
        let nearer = nearer.into_iter();
        nearer.map(|(_, fit, candidate)| (fit, candidate)).collect()
    }
}

/// Changes one field after another of a configuration whose fit is known.
fn refine(
    support: &Support,
    (mut current, mut best): (protos::DetectionModel, Fit),
    labels: Option<&KeypointLabels>,
    variables: &dyn Variables,
) -> Refined {
    let mut explanation = Explanation::default();
    let mut labels = labels.cloned();
    let mut search = Search::default();
    while explanation.causes.len() < MOST_CAUSES && best.distance() > 0 {
        let is_new = |candidate: &Candidate| {
            let mut causes = explanation.causes.iter();
            causes.all(|cause| cause.field != candidate.cause.field)
        };
        let candidates = (support.candidates)(&current, labels.as_ref(), variables);
        let candidates = candidates.into_iter().filter(is_new).collect();
        let mut tried = search
            .round(candidates, &best, labels.as_ref(), variables)
            .into_iter();
        let Some((fit, mut candidate)) = tried.next() else {
            break;
        };
        let like = tried.take_while(|(other, _)| other.distance() == fit.distance());
        let like = like.map(|(_, other)| other.cause).filter(|other| {
            let pair = [&*candidate.cause.field, &*other.field];
            let mut alike = support.alike.iter();
            alike.any(|like| pair == *like || [pair[1], pair[0]] == *like)
        });
        candidate.cause.alternatives = like.collect();
        best = fit;
        current = candidate.config;
        labels = candidate.labels.or(labels);
        explanation.causes.push(candidate.cause);
    }
    explanation.complete = best.distance() == 0;
    Refined {
        config: current,
        fit: best,
        explanation,
    }
}
