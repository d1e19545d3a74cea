//! Which tensors of a model are its weights, and what came of comparing them.

use std::collections::HashSet;

use serde_json::{Value, json};
use tfod_models::GraphOptions;

use super::matching::{Matched, Pair, Weights, by_content, by_name, by_shape};
use super::{Outcome, Side, VerifyError, interface};
use crate::inspect::{Facts, TensorInfo, num_elements, path_of};
use crate::trained::TrainedModel;
use crate::{StoredType, ValueDifference};

/// In graphs of different formats, smaller constants may be anything: sizes, axes, factors.
const LEAST: u64 = 2;

/// What has no pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmatched {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<u64>,
    /// Whether it is certainly a weight: a variable, not a constant of a graph.
    pub is_variable: bool,
}

/// What came of comparing weights.
#[derive(Clone, Debug)]
pub struct WeightsResult {
    /// In short.
    pub outcome: Outcome,
    /// What was compared, in words.
    pub scope: &'static str,
    /// Those that are each other's, in the order of the first model's names.
    pub pairs: Vec<Pair>,
    /// Those of the first without a pair.
    pub only_in_first: Vec<Unmatched>,
    /// Those of the second without a pair.
    pub only_in_second: Vec<Unmatched>,
    /// How many tensors of the first and of the second were left out: small or integer constants, counters, what an optimizer keeps.
    pub left_out: [usize; 2],
}

impl WeightsResult {
    /// How many pairs are the same, bit for bit.
    pub fn bit_equal(&self) -> usize {
        self.pairs.iter().filter(|pair| pair.by.is_none()).count()
    }

    /// How many pairs were matched in a way.
    pub fn matched(&self, how: Matched) -> usize {
        self.pairs.iter().filter(|pair| pair.how == how).count()
    }

    /// The pair that is farthest apart.
    pub fn largest(&self) -> Option<&Pair> {
        let pairs = self.pairs.iter().filter(|pair| !pair.by.is_none());
        let key = |by: &ValueDifference| (by.not_finite > 0, by.max);
        pairs.max_by(|x, y| {
            let (x, y) = (key(&x.by), key(&y.by));
            x.0.cmp(&y.0).then(x.1.total_cmp(&y.1))
        })
    }

    pub(super) fn json(&self) -> Value {
        let pair = |pair: &Pair| {
            json!({
                "first": pair.first,
                "second": pair.second,
                "matched_by": pair.how.name(),
                "layout": pair.layout,
                "difference": pair.by.json(),
            })
        };
        let unmatched = |all: &[Unmatched]| {
            let of = |one: &Unmatched| json!({ "name": one.name, "shape": one.shape, "is_variable": one.is_variable });
            all.iter().map(of).collect::<Vec<_>>()
        };
        json!({
            "outcome": self.outcome.name(),
            "scope": self.scope,
            "bit_equal": self.bit_equal(),
            "differing": self.pairs.len() - self.bit_equal(),
            "largest": self.largest().map(pair),
            "pairs": self.pairs.iter().map(pair).collect::<Vec<_>>(),
            "only_in_first": unmatched(&self.only_in_first),
            "only_in_second": unmatched(&self.only_in_second),
            "left_out": self.left_out,
        })
    }
}

/// Whether each tensor of one must be in the other: in checkpoints, and in graphs of the same operations.
fn is_alike(a: &Facts, b: &Facts) -> bool {
    let is_checkpoint = matches!(a, Facts::Checkpoint(_));
    a.kind() == b.kind() && (is_checkpoint || interface::ops(a) == interface::ops(b))
}

/// Compares the weights of two models.
pub(super) fn compare(a: &Side, b: &Side) -> Result<WeightsResult, VerifyError> {
    let is_alike = is_alike(a.facts(), b.facts());
    let mut sides = [a, b].map(|side| {
        let tensors = side.found.tensors.iter();
        let needed = needed(side);
        let tensors = tensors.filter(|tensor| {
            is_weight(tensor, side.facts(), is_alike)
                && needed
                    .as_ref()
                    .is_none_or(|needed| needed.contains(&tensor.name))
        });
        Weights::new(&side.found, tensors.collect())
    });
    let left_out = [0, 1].map(|index| {
        let of: Option<&Weights<'_>> = sides.get(index);
        of.map_or(0, |of| of.found.tensors.len() - of.tensors.len())
    });
    // What no checkpoint has, anchors and such, is no difference to one.
    let has_checkpoint = [a, b]
        .iter()
        .any(|side| matches!(side.facts(), Facts::Checkpoint(_)));
    let mut pairs = Vec::new();
    let [first, second] = &mut sides;
    by_name(first, second, &mut pairs)?;
    by_content(first, second, &mut pairs)?;
    by_shape(first, second, if is_alike { 0 } else { LARGE }, &mut pairs)?;
    pairs.sort_by(|x, y| x.first.cmp(&y.first));
    let (only_in_first, only_in_second) =
        (unmatched(first, a.facts()), unmatched(second, b.facts()));
    Ok(WeightsResult {
        outcome: outcome(
            &pairs,
            &only_in_first,
            &only_in_second,
            is_alike,
            has_checkpoint,
        ),
        scope: if is_alike {
            "all tensors but counters, the object graph and what an optimizer keeps"
        } else {
            "variables, and constants of floats that have more than one element"
        },
        pairs,
        only_in_first,
        only_in_second,
        left_out,
    })
}

fn outcome(
    pairs: &[Pair],
    first: &[Unmatched],
    second: &[Unmatched],
    is_alike: bool,
    has_checkpoint: bool,
) -> Outcome {
    let is_apart = |pair: &Pair| !pair.by.is_none() && pair.how != Matched::Numbers;
    let is_large = |one: &Unmatched| num_elements(&one.shape) >= Some(LARGE);
    let mut left = first.iter().chain(second);
    let has_variable = left.clone().any(|one| one.is_variable);
    if pairs.iter().any(is_apart) || has_variable || is_alike && left.clone().next().is_some() {
        Outcome::Different
    } else if pairs.is_empty()
        || pairs.iter().any(|pair| !pair.by.is_none())
        // One of the two may compute what the other stores.
        || !has_checkpoint && (left.any(is_large) || have_like(first, second))
    {
        Outcome::Undecided
    } else {
        Outcome::Same
    }
}

/// Whether there is one of the same shape on both sides, which may be the same one with other values.
fn have_like(first: &[Unmatched], second: &[Unmatched]) -> bool {
    let shapes: HashSet<&[u64]> = first.iter().map(|one| &*one.shape).collect();
    second.iter().any(|one| shapes.contains(&*one.shape))
}

/// Constants from this size on are hardly anything but weights, or tables that decide results. Smaller ones may be sizes and factors.
const LARGE: u64 = 8;

fn unmatched(of: &Weights<'_>, facts: &Facts) -> Vec<Unmatched> {
    let left = of
        .tensors
        .iter()
        .zip(&of.is_matched)
        .filter(|(_, is_matched)| !**is_matched);
    let mut left: Vec<Unmatched> = left
        .map(|(tensor, _)| Unmatched {
            name: tensor.name.clone(),
            shape: tensor.shape.clone(),
            is_variable: is_variable(tensor, facts),
        })
        .collect();
    // What matters most first.
    let weight = |one: &Unmatched| (one.is_variable, num_elements(&one.shape));
    left.sort_by(|x, y| weight(y).cmp(&weight(x)).then_with(|| x.name.cmp(&y.name)));
    left
}

/// Whether it is from a bundle.
fn is_variable(tensor: &TensorInfo, facts: &Facts) -> bool {
    match facts {
        Facts::Checkpoint(_) => true,
        Facts::SavedModel(_) => tensor.is_stored_in_bundle(),
        _ => false,
    }
}

fn is_weight(tensor: &TensorInfo, facts: &Facts, is_alike: bool) -> bool {
    let of_training = tensor.name.contains("/.OPTIMIZER_SLOT/")
        || tensor.name == tfod_checkpoint::OBJECT_GRAPH_KEY
        || matches!(
            path_of(&tensor.name).split('/').next(),
            Some("save_counter" | "step" | "global_step" | "optimizer")
        );
    if of_training && is_variable(tensor, facts) {
        return false;
    }
    let is_float = matches!(
        tensor.dtype,
        Some(
            StoredType::Float32 | StoredType::Float64 | StoredType::Float16 | StoredType::BFloat16
        )
    );
    let is_large = num_elements(&tensor.shape).is_some_and(|count| count >= LEAST);
    is_alike || is_variable(tensor, facts) && is_float || is_float && is_large
}

/// The variables of a checkpoint that its config's network needs; `None` where that is not known.
fn needed(side: &Side) -> Option<HashSet<String>> {
    let Facts::Checkpoint(facts) = side.facts() else {
        return None;
    };
    let (_, config) = side.config.as_ref()?;
    let model = config.message().model.as_ref()?;
    let model = tfod_models::build(model, &GraphOptions::default()).ok()?;
    let trained = TrainedModel::open(&facts.prefix, None).ok()?;
    let parameters = model.graph.parameters();
    Some(
        parameters
            .map(|(_, parameter)| trained.key(&parameter.path))
            .collect(),
    )
}
