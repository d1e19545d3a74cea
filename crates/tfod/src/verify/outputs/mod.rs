//! What two models give for the same images.
//!
//! ONNX models are run; a checkpoint is exported as one first. Graphs of TensorFlow are not run.

mod distance;
mod picture;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use tfod_models::{GraphOptions, InputType, Stage};
use tfod_runtime::{Model, Plan, Tensor};

pub use distance::{Distance, Farthest};

use super::{Outcome, Side, VerifyError};
use crate::export::{Export, Format, Layout, OnnxChoices, Thresholds};
use crate::inspect::{Facts, OnnxFacts, inspect};
use picture::{Feed, Picture};

/// The images to run two models on, and how far apart their results may be.
#[derive(Clone, Debug)]
pub struct OutputOptions {
    /// Files: JPEG, PNG, GIF (the first frame) or BMP.
    pub images: Vec<PathBuf>,
    /// The largest `|a - b| / (1 + max(|a|, |b|))` that counts as the same.
    pub tolerance: f64,
}

impl OutputOptions {
    /// What the project's own tests of exports hold results to.
    pub const TOLERANCE: f64 = 1e-4;
}

/// What came of comparing outputs.
#[derive(Clone, Debug)]
pub struct OutputsResult {
    /// In short.
    pub outcome: Outcome,
    /// Why they were not compared; else empty.
    pub reason: String,
    /// What the models were given, if not just the images.
    pub notes: Vec<String>,
    /// The options' tolerance.
    pub tolerance: f64,
    /// How many images both models were run on.
    pub images: usize,
    /// The outputs that both models have, in the order of the first's.
    pub pairs: Vec<OutputPair>,
    /// Those that only the first has.
    pub only_in_first: Vec<String>,
    /// Those that only the second has.
    pub only_in_second: Vec<String>,
}

/// An output of both models.
#[derive(Clone, Debug)]
pub struct OutputPair {
    /// Its name in the first.
    pub first: String,
    /// Its name in the second.
    pub second: String,
    /// How far they are apart, over all images.
    pub by: Distance,
}

impl OutputsResult {
    fn not_compared(outcome: Outcome, reason: String, tolerance: f64) -> Self {
        Self {
            outcome,
            reason,
            notes: Vec::new(),
            tolerance,
            images: 0,
            pairs: Vec::new(),
            only_in_first: Vec::new(),
            only_in_second: Vec::new(),
        }
    }

    pub(super) fn json(&self) -> Value {
        let pair = |pair: &OutputPair| {
            json!({
                "first": pair.first,
                "second": pair.second,
                "difference": pair.by.json(),
            })
        };
        json!({
            "outcome": self.outcome.name(),
            "reason": self.reason,
            "notes": self.notes,
            "tolerance": self.tolerance,
            "images": self.images,
            "outputs": self.pairs.iter().map(pair).collect::<Vec<_>>(),
            "only_in_first": self.only_in_first,
            "only_in_second": self.only_in_second,
        })
    }
}

/// Runs both models and compares what they give. `tell` hears what is being done.
pub(super) fn compare(
    a: &Side,
    b: &Side,
    options: &OutputOptions,
    tell: &dyn Fn(&str),
) -> Result<OutputsResult, VerifyError> {
    let stop = |outcome, reason| OutputsResult::not_compared(outcome, reason, options.tolerance);
    for (which, side) in [("first", a), ("second", b)] {
        if let Some(reason) = cannot_run(side) {
            let reason = format!("the {which} {reason}");
            return Ok(stop(Outcome::NotCompared, reason));
        }
    }
    let pictures = options.images.iter().map(|path| Picture::open(path));
    let pictures = pictures.collect::<Result<Vec<_>, _>>()?;
    let settings = Settings::of(&[a, b]);
    tell("making the models ready to run");
    let sides = [Runnable::open(a, &settings)?, Runnable::open(b, &settings)?];
    let feeds = match both(&sides, Runnable::feed) {
        Ok(feeds) => Feed::agree(feeds),
        Err(reason) => return Ok(stop(Outcome::Undecided, reason)),
    };
    let [first, second] = &sides;
    if first.preprocessing() != second.preprocessing() {
        let reason = "one takes images, the other what its caller makes of them".to_owned();
        return Ok(stop(Outcome::Undecided, reason));
    }
    let names = names(first.model.outputs(), second.model.outputs());
    let mut result = stop(Outcome::Undecided, String::new());
    result.only_in_first = names.only_in_first;
    result.only_in_second = names.only_in_second;
    result.pairs = names.pairs;
    result.notes = Feed::notes(&feeds);
    if names.is_by_position {
        result
            .notes
            .push("they have no names in common, so outputs are matched by position".to_owned());
    }
    if result.pairs.is_empty() {
        "they have no outputs in common".clone_into(&mut result.reason);
        return Ok(result);
    }
    let mut plans = sides.each_ref().map(Planned::new);
    for picture in &pictures {
        tell(&format!("running both on {}", picture.path().display()));
        let [x, y] = &mut plans;
        let [feed_x, feed_y] = &feeds;
        let x = x.run(&feed_x.tensor(picture)?)?;
        let y = y.run(&feed_y.tensor(picture)?)?;
        for pair in &mut result.pairs {
            let (Some(x), Some(y)) = (named(&x, &pair.first), named(&y, &pair.second)) else {
                continue;
            };
            if Feed::have_one_batch(&feeds) {
                pair.by.add(x, y, picture.path());
            } else if let (Some(x), Some(y)) = (x.first(), y.first()) {
                pair.by.add(&x, &y, picture.path());
            }
        }
        result.images += 1;
    }
    let is_same = |pair: &OutputPair| pair.by.is_within(options.tolerance);
    result.outcome = if result.pairs.iter().all(is_same) {
        Outcome::Same
    } else {
        Outcome::Different
    };
    Ok(result)
}

fn named<'a>(outputs: &'a [(String, Tensor)], name: &str) -> Option<&'a Tensor> {
    let found = outputs.iter().find(|(found, _)| found == name);
    found.map(|(_, tensor)| tensor)
}

/// Applies something to both that gives a reason where it fails.
fn both<T, U>(sides: &[T; 2], of: impl Fn(&T) -> Result<U, String>) -> Result<[U; 2], String> {
    let [a, b] = sides;
    let named = |which: &str, side| of(side).map_err(|reason| format!("the {which} {reason}"));
    Ok([named("first", a)?, named("second", b)?])
}

/// Why a model cannot be run here.
fn cannot_run(side: &Side) -> Option<&'static str> {
    match side.facts() {
        Facts::Onnx(_) => None,
        Facts::Checkpoint(_) if side.config.is_some() => None,
        Facts::Checkpoint(_) => {
            Some("is a checkpoint without a pipeline.config in its folder or the one above")
        }
        _ => Some(
            "is TensorFlow's, which is not run; export the checkpoint with --format onnx, and give that",
        ),
    }
}

/// How a checkpoint is exported to be compared: as an ONNX model on the other side was, if tfod wrote it.
struct Settings {
    stage: Stage,
    no_preprocess: bool,
}

impl Settings {
    fn of(sides: &[&Side]) -> Self {
        let of_tfod = sides.iter().find_map(|side| match side.facts() {
            Facts::Onnx(facts) if facts.metadata.contains_key("manifest_version") => Some(facts),
            _ => None,
        });
        let has = |key| of_tfod.is_none_or(|facts| facts.metadata.contains_key(key));
        Self {
            stage: if has("non_max_suppression") {
                Stage::Detections
            } else if has("box_decoding") {
                Stage::Encodings
            } else {
                Stage::Boxes
            },
            no_preprocess: of_tfod.is_some_and(|facts| left_to_caller(facts).is_some()),
        }
    }
}

/// The preprocessing in the metadata of a model that leaves it to its caller.
fn left_to_caller(facts: &OnnxFacts) -> Option<Value> {
    let preprocessing = facts.metadata.get("preprocessing")?;
    let preprocessing: Value = serde_json::from_str(preprocessing).ok()?;
    (preprocessing.get("done_by")? == "caller").then_some(preprocessing)
}

/// A model that can be run.
struct Runnable {
    facts: OnnxFacts,
    model: Model,
    /// Where a checkpoint was exported to.
    _folder: Option<TempDir>,
}

impl Runnable {
    fn open(side: &Side, settings: &Settings) -> Result<Self, VerifyError> {
        match side.facts() {
            Facts::Onnx(facts) => Ok(Self {
                facts: OnnxFacts::clone(facts),
                model: Model::open(&side.found.path)?,
                _folder: None,
            }),
            _ => Self::export(side, settings),
        }
    }

    fn export(side: &Side, settings: &Settings) -> Result<Self, VerifyError> {
        let (Facts::Checkpoint(checkpoint), Some((config, _))) = (side.facts(), &side.config)
        else {
            return Err(VerifyError::NoModel {
                path: side.found.path.clone(),
                what: "a checkpoint without a pipeline.config",
            });
        };
        let folder = tempfile::tempdir().map_err(VerifyError::Folder)?;
        let graph = GraphOptions {
            stage: settings.stage,
            no_preprocess: settings.no_preprocess,
            ..GraphOptions::new(InputType::FloatImageTensor)
        };
        let output = folder.path().join("export");
        Export {
            graph,
            signatures: Vec::new(),
            pipeline_config: config.clone(),
            checkpoint_dir: checkpoint.prefix.clone(),
            checkpoint: None,
            config_override: String::new(),
            thresholds: Thresholds::default(),
            label_map: None,
            formats: vec![Format::Onnx],
            onnx: OnnxChoices::default(),
            layout: Layout::Official,
            output: output.clone(),
        }
        .run()
        .map_err(|error| VerifyError::Export(Box::new(error)))?;
        let path = output.join("model.onnx");
        let Facts::Onnx(facts) = inspect(&path)?.facts else {
            return Err(VerifyError::NoModel {
                path,
                what: "not an ONNX model",
            });
        };
        Ok(Self {
            facts: *facts,
            model: Model::open(&path)?,
            _folder: Some(folder),
        })
    }

    /// How images become this model's input.
    fn feed(&self) -> Result<Feed, String> {
        let [input] = &self.facts.inputs[..] else {
            let count = self.facts.inputs.len();
            return Err(format!("has {count} inputs; only models of images are run"));
        };
        let feed = Feed::of(input)?;
        Ok(match left_to_caller(&self.facts) {
            Some(preprocessing) => feed.normalised(&preprocessing)?,
            None => feed,
        })
    }

    /// What its caller has to do to images.
    fn preprocessing(&self) -> Option<Value> {
        let preprocessing = left_to_caller(&self.facts)?;
        preprocessing.get("steps").cloned()
    }
}

/// A model and its plan for the size of image that it was given last.
struct Planned<'a> {
    runnable: &'a Runnable,
    plan: Option<(Vec<usize>, Plan)>,
}

impl<'a> Planned<'a> {
    fn new(runnable: &'a Runnable) -> Self {
        Self {
            runnable,
            plan: None,
        }
    }

    fn run(&mut self, image: &Tensor) -> Result<Vec<(String, Tensor)>, VerifyError> {
        let model = &self.runnable.model;
        let names = model.inputs().iter();
        let inputs: Vec<(&str, &Tensor)> = names.map(|name| (name.as_str(), image)).collect();
        let (_, plan) = match self.plan.take() {
            Some(planned) if planned.0 == image.shape() => self.plan.insert(planned),
            _ => self
                .plan
                .insert((image.shape().to_vec(), model.plan(&inputs)?)),
        };
        Ok(plan.run(&inputs)?)
    }
}

/// Which output of one model is which of the other.
struct Names {
    pairs: Vec<OutputPair>,
    is_by_position: bool,
    only_in_first: Vec<String>,
    only_in_second: Vec<String>,
}

/// By name; where none is the same, and there are as many, by position.
fn names(first: &[String], second: &[String]) -> Names {
    let pair = |(x, y): (&String, &String)| OutputPair {
        first: x.clone(),
        second: y.clone(),
        by: Distance::default(),
    };
    let without = |all: &[String], others: &[String]| -> Vec<String> {
        let only = all.iter().filter(|name| !others.contains(name));
        only.cloned().collect()
    };
    let common: Vec<&String> = first.iter().filter(|name| second.contains(name)).collect();
    if common.is_empty() && first.len() == second.len() {
        return Names {
            pairs: first.iter().zip(second).map(pair).collect(),
            is_by_position: true,
            only_in_first: Vec::new(),
            only_in_second: Vec::new(),
        };
    }
    Names {
        pairs: common.into_iter().map(|name| pair((name, name))).collect(),
        is_by_position: false,
        only_in_first: without(first, second),
        only_in_second: without(second, first),
    }
}

/// The error of an image that cannot be read.
fn refused(path: &Path, problem: String) -> VerifyError {
    VerifyError::Image {
        path: path.to_owned(),
        problem,
    }
}
