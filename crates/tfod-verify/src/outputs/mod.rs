//! What two models give for the same images.

mod distance;

use std::borrow::Cow;
use std::path::PathBuf;

use serde_json::{Value, json};
use tfod_image::Picture;
use tfod_inspect::Facts;
use tfod_models::{GraphOptions, InputType};
use tfod_runnable::{Feed, RunnableError, RunnableModel};
use tfod_runtime::{Session, Tensor};

pub use distance::{Distance, Farthest};
pub use tfod_runtime::Launch;

use tfod_text::Shown;

use crate::{Outcome, Side, VerifyError};
/// The images to run two models on, and how far apart their results may be.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OutputOptions {
    /// Files: JPEG, PNG, GIF (the first frame) or BMP.
    pub images: Vec<PathBuf>,
    /// The largest `|a - b| / (1 + max(|a|, |b|))` that counts as the same.
    pub tolerance: f64,
    /// How to start a process of its own for each model, with a limit of memory; `None` runs them in this one, without.
    pub apart: Option<Launch>,
}

impl OutputOptions {
    /// What the project's own tests of exports hold results to.
    pub const TOLERANCE: f64 = 1e-4;

    /// Runs the models on these images in this process, and holds results to [`Self::TOLERANCE`].
    pub fn new(images: Vec<PathBuf>) -> Self {
        Self {
            images,
            tolerance: Self::TOLERANCE,
            apart: None,
        }
    }
}

/// The result of comparing outputs.
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

/// Asks whether all images are there and are images, before anything that takes long.
pub(super) fn check_images(options: &OutputOptions) -> Result<(), VerifyError> {
    for path in &options.images {
        Picture::check(path)?;
    }
    Ok(())
}

/// Runs both models and compares what they give. `tell` hears what is being done.
pub(super) fn compare(
    a: &Side,
    b: &Side,
    options: &OutputOptions,
    tell: &dyn Fn(&str),
) -> Result<OutputsResult, VerifyError> {
    let stop = |outcome, reason| OutputsResult::not_compared(outcome, reason, options.tolerance);
    if !tfod_runtime::IS_THERE {
        let reason = "this build has no runtime (feature `run`)".to_owned();
        return Ok(stop(Outcome::NotCompared, reason));
    }
    tell("making the models ready to run");
    let sources = match both(models([a, b]), |model| model) {
        Ok(sources) => sources,
        Err(Stop::Undecided(reason)) => return Ok(stop(Outcome::NotCompared, reason)),
        Err(Stop::Error(error)) => return Err(*error),
    };
    match run(&sources, options, tell) {
        Ok(result) => Ok(result),
        Err(Stop::Undecided(reason)) => Ok(stop(Outcome::Undecided, reason)),
        Err(Stop::Error(error)) => Err(*error),
    }
}

/// Why two models were not compared to the end.
enum Stop {
    Undecided(String),
    Error(Box<VerifyError>),
}

impl<E: Into<VerifyError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Error(Box::new(error.into()))
    }
}

/// Both models, ready to be run. A checkpoint is exported as the model on the other side was, if tfod wrote that.
fn models(sides: [&Side; 2]) -> [Result<RunnableModel, RunnableError>; 2] {
    let defaults = GraphOptions::new(InputType::FloatImageTensor);
    let made = sides.map(|side| {
        let is_checkpoint = matches!(side.facts(), Facts::Checkpoint(_));
        (!is_checkpoint).then(|| RunnableModel::of(side.given(), &defaults))
    });
    let mut others = made.iter().flatten().flatten();
    let options = others.find_map(RunnableModel::options).unwrap_or(defaults);
    let [first, second] = made;
    [(sides[0], first), (sides[1], second)]
        .map(|(side, made)| made.unwrap_or_else(|| RunnableModel::of(side.given(), &options)))
}

fn run(
    sources: &[RunnableModel; 2],
    options: &OutputOptions,
    tell: &dyn Fn(&str),
) -> Result<OutputsResult, Stop> {
    let feeds =
        Feed::agree(both(sources.each_ref(), RunnableModel::feed)?).map_err(Stop::Undecided)?;
    let launch = options.apart.as_ref();
    let [mut first, mut second] = both(sources.each_ref(), |source| source.open(launch))?;
    let names = names(first.outputs(), second.outputs());
    let mut result =
        OutputsResult::not_compared(Outcome::Undecided, String::new(), options.tolerance);
    result.only_in_first = names.only_in_first;
    result.only_in_second = names.only_in_second;
    result.pairs = names.pairs;
    result.notes = Feed::notes(&feeds);
    if names.is_by_position {
        let note = "they have no names in common, so outputs are matched by position";
        result.notes.push(note.to_owned());
    }
    if result.pairs.is_empty() {
        "they have no outputs in common".clone_into(&mut result.reason);
        return Ok(result);
    }
    for path in &options.images {
        tell(&format!("running both on {}", path.shown()));
        let picture = Picture::open(path)?;
        let [feed_x, feed_y] = &feeds;
        let x = outputs(&mut first, &feed_x.tensor(&picture)?);
        let x = x.map_err(|error| undecided("first", sources[0].failed(&error)))?;
        let y = outputs(&mut second, &feed_y.tensor(&picture)?);
        let y = y.map_err(|error| undecided("second", sources[1].failed(&error)))?;
        let have_one_batch = feed_x.batch() == feed_y.batch();
        for pair in &mut result.pairs {
            let (Some(x), Some(y)) = (named(&x, &pair.first), named(&y, &pair.second)) else {
                continue;
            };
            if have_one_batch {
                pair.by.add(x, y, path);
            } else {
                let (x, y) = (of_one(x, feed_x.batch()), of_one(y, feed_y.batch()));
                pair.by.add(&x, &y, path);
            }
        }
        result.images += 1;
    }
    let is_apart = |pair: &OutputPair| !pair.by.is_within(options.tolerance);
    result.outcome = if result.pairs.iter().any(is_apart) {
        Outcome::Different
    } else if let Some(pair) = result.pairs.iter().find(|pair| pair.by.elements == 0) {
        result.reason = format!("there is nothing to compare in `{}`", pair.first);
        Outcome::Undecided
    } else {
        Outcome::Same
    };
    Ok(result)
}

/// What belongs to the first image of a batch; all of an output that has not the batch for its outermost dimension.
fn of_one(output: &Tensor, batch: usize) -> Cow<'_, Tensor> {
    let first = output
        .first()
        .filter(|_| output.shape().first() == Some(&batch));
    first.map_or(Cow::Borrowed(output), Cow::Owned)
}

/// Runs a model on an image.
fn outputs(
    model: &mut Session,
    image: &Tensor,
) -> Result<Vec<(String, Tensor)>, tfod_runtime::Error> {
    let names = model.inputs().to_vec();
    let inputs: Vec<(&str, &Tensor)> = names.iter().map(|name| (name.as_str(), image)).collect();
    model.run(&inputs)
}

/// Applies something to both that may leave the comparison undecided.
fn both<T, U>(sides: [T; 2], of: impl Fn(T) -> Result<U, RunnableError>) -> Result<[U; 2], Stop> {
    let [a, b] = sides;
    let named = |which, side| of(side).map_err(|error| undecided(which, error));
    Ok([named("first", a)?, named("second", b)?])
}

/// A model of which it is said that it cannot be run is no error, but leaves the comparison undecided.
fn undecided(which: &str, error: RunnableError) -> Stop {
    match error {
        RunnableError::Unsupported { reason, .. } => {
            Stop::Undecided(format!("the {which} {reason}"))
        }
        RunnableError::Run {
            path,
            made,
            problem,
        } => {
            let comma = if made.is_empty() { "" } else { ", " };
            let path = path.shown();
            let reason = format!("the {which} cannot be run: {path}{comma}{made}: {problem}");
            Stop::Undecided(reason)
        }
        error => Stop::from(error),
    }
}

fn named<'a>(outputs: &'a [(String, Tensor)], name: &str) -> Option<&'a Tensor> {
    let found = outputs.iter().find(|(found, _)| found == name);
    found.map(|(_, tensor)| tensor)
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
