//! Which tensors of a model are its weights, and what came of comparing them.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use crate::matching::{Matched, Pair, Shapes, Weights, by_content, by_name, by_shape, is_float};
use crate::{Outcome, Side, VerifyError, computed, folded, interface, names};
use tfod_inspect::{Facts, StoredTensor, StoredType, num_elements, path_of};

/// In graphs of different formats, smaller constants may be anything: sizes, axes, factors.
const LEAST: u64 = 2;

/// A tensor that has no counterpart in the other model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmatched {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<u64>,
    /// Whether it is certainly a weight: a variable, not a constant of a graph.
    pub is_variable: bool,
}

/// The result of comparing weights.
#[derive(Clone, Debug)]
pub struct WeightsResult {
    /// In short.
    pub outcome: Outcome,
    /// What was compared, in words.
    pub scope: &'static str,
    /// What keeps it from being decided.
    pub notes: Vec<String>,
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

    /// The pair that is farthest apart; of those that rounding does not explain, if there are any.
    pub fn largest(&self) -> Option<&Pair> {
        let pairs = self.pairs.iter().filter(|pair| !pair.by.is_none());
        let key = |pair: &Pair| ((pair.differs(), pair.by.not_finite > 0), pair.by.max);
        pairs.max_by(|x, y| {
            let (x, y) = (key(x), key(y));
            x.0.cmp(&y.0).then(x.1.total_cmp(&y.1))
        })
    }

    pub(crate) fn json(&self) -> Value {
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
            "notes": self.notes,
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

/// Whether each tensor of one must be in the other: in checkpoints, and in graphs of the same operations. TFLite's operators are the same for kernels of different types.
pub(super) fn is_alike(a: &Side, b: &Side) -> bool {
    let (first, second) = (a.facts(), b.facts());
    if first.kind() != second.kind() {
        return false;
    }
    let types = |side: &Side| {
        let mut types = HashMap::new();
        for tensor in &side.found.tensors {
            *types.entry(tensor.dtype).or_insert(0) += 1;
        }
        types
    };
    match first {
        Facts::Checkpoint(_) => true,
        Facts::Tflite(_) if types(a) != types(b) => false,
        _ => interface::ops(first) == interface::ops(second),
    }
}

/// Compares the weights of two models.
pub(crate) fn compare(a: &Side, b: &Side, is_alike: bool) -> Result<WeightsResult, VerifyError> {
    let mut networks = [a, b].map(names::network);
    if is_alike && networks.iter().any(Option::is_none) {
        // What one checkpoint's network leaves out is in both.
        networks = [None, None];
    }
    let [mut first, mut second] = chosen([a, b], &networks, is_alike);
    let left_out = [&first, &second].map(|of| {
        let of_model = of.found.tensors.len();
        of_model - of.is_required.iter().filter(|is| **is).count()
    });
    let shapes = if is_alike {
        Shapes::Equal
    } else {
        Shapes::OfFormats
    };
    let mut pairs = Vec::new();
    let mut notes = Vec::new();
    if !is_alike && !folded::by_layer([a, b], &mut first, &mut second, &mut pairs)? {
        notes.push("layers have too much in common for all of them to be compared".to_owned());
    }
    by_name(&mut first, &mut second, shapes, &mut pairs)?;
    let by_chance = by_content(&mut first, &mut second, shapes, &mut pairs)?;
    if !is_alike {
        computed::by_value(&mut first, &mut second, &mut pairs)?;
        computed::by_corners(&mut first, &mut second, &mut pairs)?;
        computed::by_numbers([a, b], [&mut first, &mut second], &mut pairs)?;
        computed::spare(a, &mut first);
        computed::spare(b, &mut second);
    }
    let least = if is_alike { 0 } else { LARGE };
    by_shape(&mut first, &mut second, shapes, least, &mut pairs)?;
    if !is_alike {
        computed::by_column(&mut first, &mut second, &mut pairs)?;
    }
    pairs.sort_by(|x, y| x.first.cmp(&y.first));
    let [only_in_first, only_in_second] =
        [unmatched(&first, a.facts()), unmatched(&second, b.facts())];
    let [of_first, of_second] = networks.each_ref().map(Option::is_some);
    let left = [
        Left::of(a, of_first, &first, &only_in_first),
        Left::of(b, of_second, &second, &only_in_second),
    ];
    if by_chance > 0 {
        notes.push(format!(
            "{by_chance} single numbers or integers have no names in common, and are equal to constants that may be others"
        ));
    }
    let outcome = outcome(&pairs, &left, is_alike, &mut notes);
    Ok(WeightsResult {
        outcome,
        scope: if is_alike && networks.iter().all(Option::is_some) {
            "the variables that the networks of both configs need"
        } else if is_alike {
            "all tensors but counters, the object graph and what an optimizer keeps"
        } else {
            "variables, and constants of floats that have more than one element"
        },
        notes,
        pairs,
        only_in_first,
        only_in_second,
        left_out,
    })
}

/// The tensors of each model that take part.
fn chosen<'a>(
    sides: [&'a Side; 2],
    networks: &[Option<HashMap<String, String>>; 2],
    is_alike: bool,
) -> [Weights<'a>; 2] {
    let roles = |side: &'a Side, network: &Option<HashMap<String, String>>| {
        let is_needed = |tensor: &&StoredTensor| {
            let network = network.as_ref();
            network.is_none_or(|network| {
                network.contains_key(&tensor.name) || computed::is_of_variables(side, tensor)
            })
        };
        let tensors = side.found.tensors.iter().filter(is_needed);
        let roles = tensors.map(|tensor| {
            let role = role(tensor, side.facts(), is_alike);
            let is_factor =
                || computed::is_filler(side, tensor) || computed::is_origin(side, tensor);
            match role {
                Role::Weight if !is_alike && !is_variable(tensor, side.facts()) && is_factor() => {
                    (tensor, Role::SmallConstant)
                }
                role => (tensor, role),
            }
        });
        roles
            .filter(|(_, role)| *role != Role::None)
            .collect::<Vec<_>>()
    };
    let [first, second] = sides;
    let [of_first, of_second] = networks;
    let roles = [roles(first, of_first), roles(second, of_second)];
    // Of the many small constants, those are of interest which a small variable of the other model may have become.
    let small =
        |side: &Side, of: &[(&StoredTensor, Role)]| -> HashSet<(Option<StoredType>, Option<u64>)> {
            let small = of.iter().filter(|(tensor, role)| {
                *role == Role::SmallVariable
                    || *role == Role::Weight
                        && (is_variable(tensor, side.facts())
                            || computed::is_of_variables(side, tensor))
            });
            small
                .map(|(tensor, _)| (tensor.dtype, num_elements(&tensor.shape)))
                .collect()
        };
    let [a, b] = roles;
    let (small_a, small_b) = (small(first, &a), small(second, &b));
    [
        (first, of_first, a, small_b),
        (second, of_second, b, small_a),
    ]
    .map(|(side, network, roles, wanted)| {
        let is_wanted = |(tensor, role): &(&StoredTensor, Role)| {
            *role != Role::SmallConstant
                || wanted.contains(&(tensor.dtype, num_elements(&tensor.shape)))
        };
        let roles: Vec<_> = roles.into_iter().filter(is_wanted).collect();
        let tensors: Vec<&StoredTensor> = roles.iter().map(|(tensor, _)| *tensor).collect();
        let is_required = roles.iter().map(|(_, role)| *role != Role::SmallConstant);
        Weights {
            found: &side.found,
            names: names::of(side, network.as_ref(), &tensors),
            is_required: is_required.collect(),
            is_matched: vec![false; tensors.len()],
            tensors,
        }
    })
}

/// What was not matched in one model.
struct Left<'a> {
    unmatched: &'a [Unmatched],
    is_checkpoint: bool,
    /// Whether only what a network needs was looked at.
    is_of_network: bool,
    lacks_variables: bool,
    /// What the unmatched ones may be called.
    names: HashSet<String>,
}

impl<'a> Left<'a> {
    fn of(
        side: &Side,
        is_of_network: bool,
        weights: &Weights<'_>,
        unmatched: &'a [Unmatched],
    ) -> Self {
        let names = weights.names.iter().zip(&weights.is_matched);
        let names = names.filter(|(_, is_matched)| !**is_matched);
        Self {
            unmatched,
            is_checkpoint: matches!(side.facts(), Facts::Checkpoint(_)),
            is_of_network,
            lacks_variables: lacks_variables(side),
            names: names.flat_map(|(names, _)| names.iter().cloned()).collect(),
        }
    }

    fn has_variable(&self) -> bool {
        self.unmatched.iter().any(|one| one.is_variable)
    }

    fn is_large(one: &Unmatched) -> bool {
        num_elements(&one.shape) >= Some(LARGE)
    }

    /// Whether the other model, if it is of a network, has in this one all that it needs.
    fn is_more_than(&self, other: &Self) -> bool {
        other.is_of_network && other.unmatched.is_empty() && !self.is_of_network
    }

    /// Whether its variables may be such that nothing uses, or that the other computes: they are fewer than those that both have, and the other has
    /// none of their names.
    fn may_be_left_out(&self, other: &Self, pairs: usize) -> bool {
        let variables = self.unmatched.iter().filter(|one| one.is_variable);
        let has_namesake = || self.names.iter().any(|name| other.names.contains(name));
        !self.is_of_network && variables.count() <= pairs && !has_namesake()
    }
}

fn outcome(
    pairs: &[Pair],
    [first, second]: &[Left<'_>; 2],
    is_alike: bool,
    notes: &mut Vec<String>,
) -> Outcome {
    let differs = |pair: &&Pair| pair.differs();
    let is_apart = |pair: &Pair| differs(&pair) && pair.how != Matched::Numbers;
    let mut is_different = pairs.iter().any(is_apart);
    let mut is_open =
        !notes.is_empty() || pairs.is_empty() || pairs.iter().any(|pair| differs(&pair));
    for (which, of, other) in [("first", first, second), ("second", second, first)] {
        is_different |= is_alike && !of.unmatched.is_empty();
        if of.has_variable() && !of.is_more_than(other) {
            if of.may_be_left_out(other, pairs.len()) {
                notes.push(format!(
                    "the {which} has variables that the other has not; they may be unused, or computed there"
                ));
                is_open = true;
            } else {
                is_different = true;
            }
        }
        if of.lacks_variables {
            notes.push(format!(
                "the {which} has variables whose values are not beside it, and were not compared"
            ));
            is_open = true;
        }
    }
    // What no checkpoint has, anchors and such, is no difference to one; else one may compute what the other stores.
    let has_checkpoint = first.is_checkpoint || second.is_checkpoint;
    let mut all = first.unmatched.iter().chain(second.unmatched);
    is_open |= !has_checkpoint
        && (all.any(Left::is_large) || have_like(first.unmatched, second.unmatched));
    if is_different {
        Outcome::Different
    } else if is_open {
        Outcome::Undecided
    } else {
        Outcome::Same
    }
}

/// Whether there are variables, and no file that has them.
fn lacks_variables(side: &Side) -> bool {
    let ops = interface::ops(side.facts());
    let has_variables = ["VarHandleOp", "VariableV2", "Variable"]
        .iter()
        .any(|op| ops.contains_key(*op));
    has_variables && side.found.bundle().is_none()
}

/// Whether there is one of the same shape on both sides, which may be the same one with other values.
fn have_like(first: &[Unmatched], second: &[Unmatched]) -> bool {
    let shapes: HashSet<&[u64]> = first.iter().map(|one| &*one.shape).collect();
    second.iter().any(|one| shapes.contains(&*one.shape))
}

/// Constants from this size on are hardly anything but weights, or tables that decide results. Smaller ones may be sizes and factors.
pub(super) const LARGE: u64 = 8;

fn unmatched(of: &Weights<'_>, facts: &Facts) -> Vec<Unmatched> {
    let left = of
        .tensors
        .iter()
        .zip(of.is_matched.iter().zip(&of.is_required))
        .filter(|(_, (is_matched, is_required))| !**is_matched && **is_required);
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
fn is_variable(tensor: &StoredTensor, facts: &Facts) -> bool {
    match facts {
        Facts::Checkpoint(_) | Facts::SavedModel(_) => tensor.is_stored_in_bundle(),
        _ => false,
    }
}

/// What a tensor is in a comparison.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Nothing.
    None,
    /// A weight.
    Weight,
    /// A weight that looks like any constant where it is one: a number, or integers.
    SmallVariable,
    /// A constant that may be anything.
    SmallConstant,
}

fn role(tensor: &StoredTensor, facts: &Facts, is_alike: bool) -> Role {
    let of_training = tensor.name.contains("/.OPTIMIZER_SLOT/")
        || tensor.name == tfod_checkpoint::OBJECT_GRAPH_KEY
        || matches!(
            path_of(&tensor.name).split('/').next(),
            Some("save_counter" | "step" | "global_step" | "optimizer")
        );
    let is_variable = is_variable(tensor, facts);
    if of_training && is_variable {
        return Role::None;
    }
    let is_large = num_elements(&tensor.shape).is_some_and(|count| count >= LEAST);
    let is_text = tensor.dtype == Some(StoredType::String);
    match (is_variable, is_float(tensor) && is_large) {
        _ if is_alike => Role::Weight,
        // What variables of text become, tables and such, has no numbers to be found by.
        _ if is_text => Role::None,
        (_, true) => Role::Weight,
        (true, false) => Role::SmallVariable,
        (false, false) => Role::SmallConstant,
    }
}
