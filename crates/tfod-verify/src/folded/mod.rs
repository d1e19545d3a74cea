//! Weights of TFLite models, in which batch normalisation is a part of kernels and biases, and kernels may have fewer bits.
//!
//! A kernel that was multiplied by a factor for each output channel keeps its directions: a layer's kernel is found by them, whatever was folded into it. What the factors are
//! then tells the normalisation: those gammas and variances that give them, and the betas, means and biases that give the layer's bias. Names only decide which are tried
//! first, but for kernels whose names are known on both sides. What was rounded to fewer bits may be away by as much as that rounding makes it.

mod background;
mod kernel;
mod model;
mod search;

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};

use tfod_inspect::{InspectError, Layer, LayerKind};

use crate::Side;
use crate::computed::apart;
use crate::matching::{Matched, Pair, Weights, is_float};
use background::Narrower;
use kernel::{Fit, Kernel, Rounding, View, alike, narrow};
use model::{Model, Vector};
use search::{Found, Target, Vectors, find_scale, find_shift};

/// Below this mean of squared cosines kernels have nothing to do with each other.
const LEAST_ALIKE: f64 = 0.5;
/// How many kernels are sampled for each other, at most.
const MAX_SAMPLES: u64 = 1 << 20;
/// How many combinations of vectors are looked at, at most.
const MAX_ATTEMPTS: u64 = 1 << 27;
/// How many elements are computed with, for each byte of a model's tensors: layers may share them.
const MAX_SHARED: u64 = 16;

/// How a layer's kernel is that of another model.
const FACTORS: &str = "a factor for each output channel";
const NARROWED: &str = "a factor for each output channel, without those of the background";

/// What may still be done. No model that is in use comes near the end, but a small file may say that its layers share everything.
struct Budget {
    elements: Cell<u64>,
    samples: Cell<u64>,
    attempts: Cell<u64>,
}

impl Budget {
    fn new(sides: [&Side; 2]) -> Self {
        let bytes = |side: &Side| {
            let tensors = side.found.tensors.iter();
            tensors.fold(0u64, |sum, tensor| sum.saturating_add(tensor.bytes))
        };
        let bytes = sides
            .map(bytes)
            .iter()
            .fold(0u64, |a, b| a.saturating_add(*b));
        Self {
            elements: Cell::new(bytes.saturating_mul(MAX_SHARED)),
            samples: Cell::new(MAX_SAMPLES),
            attempts: Cell::new(MAX_ATTEMPTS),
        }
    }

    /// Takes some of a part; `false` where there is not as much left, and then there is nothing left.
    fn take(of: &Cell<u64>, count: usize) -> bool {
        let left = of.get().checked_sub(count as u64);
        of.set(left.unwrap_or(0));
        left.is_some()
    }

    fn is_spent(&self) -> bool {
        [&self.elements, &self.samples, &self.attempts]
            .iter()
            .any(|left| left.get() == 0)
    }
}

/// Matches the layers of a TFLite model with the weights of another model. What is matched is out of the way of what looks for equal numbers.
/// Gives whether all layers were looked at.
pub(super) fn by_layer<'a>(
    sides: [&'a Side; 2],
    a: &mut Weights<'a>,
    b: &mut Weights<'a>,
    pairs: &mut Vec<Pair>,
) -> Result<bool, InspectError> {
    let [first, second] = sides;
    let budget = Budget::new(sides);
    let (first, second) = (Model::new(first, a)?, Model::new(second, b)?);
    let is_turned = first.layers.is_empty();
    if is_turned && second.layers.is_empty() {
        return Ok(true);
    }
    let (mut of, mut other) = if is_turned {
        (second, first)
    } else {
        (first, second)
    };
    let found = match_layers(&mut of, &mut other, &budget)?;
    pairs.extend(found.into_iter().map(|pair| {
        if is_turned {
            Pair {
                first: pair.second,
                second: pair.first,
                ..pair
            }
        } else {
            pair
        }
    }));
    let (first, second) = if is_turned { (other, of) } else { (of, other) };
    for (weights, model, is_folded) in [
        (&mut *a, &first, second.layers.is_empty()),
        (&mut *b, &second, first.layers.is_empty()),
    ] {
        for place in &model.used {
            if let Some(index) = model.chosen.get(place) {
                weights.matched(*index);
            }
        }
        // What adds nothing has left no trace.
        if model.layers.is_empty() && !is_folded {
            for index in 0..weights.tensors.len() {
                if let Some(tensor) = weights.tensors.get(index).copied()
                    && is_float(tensor)
                    && let elements = model.side.found.elements(tensor)?
                    && let Some((mut numbers, _)) = elements.reals()
                    && numbers.all(|number| number == 0.0)
                    && let Some(is_required) = weights.is_required.get_mut(index)
                {
                    *is_required = false;
                }
            }
        }
    }
    Ok(!budget.is_spent())
}

fn match_layers(
    of: &mut Model<'_>,
    other: &mut Model<'_>,
    budget: &Budget,
) -> Result<Vec<Pair>, InspectError> {
    // Layers of one size at a time, so that memory is that of these.
    let mut groups: BTreeMap<(u8, [usize; 4]), Vec<Layer>> = BTreeMap::new();
    for layer in &of.layers {
        if let Some(sizes) = of.sizes(layer) {
            let kind = match layer.kind {
                LayerKind::Conv2d => 0,
                LayerKind::DepthwiseConv2d => 1,
                LayerKind::TransposeConv => 2,
                LayerKind::FullyConnected => 3,
                LayerKind::Scaling => 4,
            };
            groups.entry((kind, sizes)).or_default().push(layer.clone());
        }
    }
    let mut pairs = Vec::new();
    let mut vectors: HashMap<usize, Vec<Vector>> = HashMap::new();
    for ((_, sizes), layers) in groups {
        let Some(kind) = layers.first().map(|layer| layer.kind) else {
            continue;
        };
        let candidates = other.kernels(kind, sizes, budget)?;
        if let std::collections::hash_map::Entry::Vacant(entry) = vectors.entry(sizes[0]) {
            entry.insert(if other.layers.is_empty() {
                other.vectors(sizes[0])?
            } else {
                Vec::new()
            });
        }
        let vectors = vectors.get(&sizes[0]).map_or(&[][..], Vec::as_slice);
        let mut partners = Partners::new(&candidates);
        let mut narrower = None;
        for layer in &layers {
            let elements = sizes.iter().fold(1usize, |n, size| n.saturating_mul(*size));
            if budget.is_spent() || !Budget::take(&budget.elements, elements) {
                return Ok(pairs);
            }
            let Some(kernel) = of.kernel(layer)? else {
                continue;
            };
            let judged =
                |kernel: &Kernel, candidate: &Kernel, fit: &Fit, all: &[Vector], layout| {
                    let vectors = Vectors {
                        all,
                        used: &other.used,
                        budget,
                    };
                    judge((kernel, candidate), fit, &vectors, layout)
                };
            let found = if let Some((candidate, view)) = partners.find(&kernel, budget) {
                candidates.get(candidate).map(|candidate| {
                    let fit = Fit::new(&kernel, candidate, view);
                    judged(&kernel, candidate, &fit, vectors, FACTORS)
                })
            } else if kind == LayerKind::Scaling {
                if !other.layers.is_empty() {
                    continue;
                }
                // Of no kernel, the factors alone have to be found, and all of them.
                let fit = Fit::of_factors(&kernel);
                let alone = Kernel {
                    name: layer.name.clone(),
                    tensors: Vec::new(),
                    values: vec![1.0; kernel.values.len()],
                    rounding: Rounding::Single,
                    views: kernel.views.clone(),
                    bias: None,
                    names: Vec::new(),
                };
                let found = judged(&kernel, &alone, &fit, vectors, FACTORS);
                let is_whole = found.pairs.iter().all(|pair| pair.how == Matched::Folded);
                let is_told = !found.used.is_empty();
                (is_whole && is_told).then_some(found)
            } else {
                let all = match &mut narrower {
                    Some(all) => all,
                    none => none.insert(Narrower::all(other, kind, sizes, budget)?),
                };
                Narrower::find(all, &kernel, budget).map(|partner| {
                    let own = partner.own.as_ref().unwrap_or(&kernel);
                    let fit = Fit::new(own, partner.candidate, partner.view);
                    judged(own, partner.candidate, &fit, partner.vectors, NARROWED)
                })
            };
            if let Some(found) = found {
                of.used.extend(&kernel.tensors);
                other.used.extend(found.used);
                pairs.extend(found.pairs);
            }
        }
    }
    Ok(pairs)
}

/// Kernels of the other model, of which each is that of a layer, or of several that share it.
struct Partners<'c> {
    candidates: &'c [Kernel],
    /// Which is the only one of a name.
    named: HashMap<&'c str, Option<usize>>,
    is_taken: Vec<bool>,
}

impl<'c> Partners<'c> {
    fn new(candidates: &'c [Kernel]) -> Self {
        let mut named: HashMap<&str, Option<usize>> = HashMap::new();
        for (index, candidate) in candidates.iter().enumerate() {
            for name in &candidate.names {
                let only = named.entry(name).or_insert(Some(index));
                if *only != Some(index) {
                    *only = None;
                }
            }
        }
        Self {
            candidates,
            named,
            is_taken: vec![false; candidates.len()],
        }
    }

    /// The candidate that a kernel is, and how that has its elements: by name where that tells, else by the directions of its channels.
    fn find(&mut self, kernel: &Kernel, budget: &Budget) -> Option<(usize, View)> {
        let mut names = kernel.names.iter();
        let by_name = names.find_map(|name| self.named.get(&**name).copied().flatten());
        let mut best: Option<(f64, bool, usize, View)> = None;
        for (index, candidate) in self.candidates.iter().enumerate() {
            if by_name.is_some_and(|named| named != index) {
                continue;
            }
            let is_free = self.is_taken.get(index) == Some(&false);
            for view in &candidate.views {
                if !Budget::take(&budget.samples, 1) {
                    return None;
                }
                let alike = alike(kernel, candidate, *view);
                let is_better = best.is_none_or(|(found, was_free, ..)| {
                    alike > found + 1e-9 || alike > found - 1e-9 && is_free && !was_free
                });
                if is_better {
                    best = Some((alike, is_free, index, *view));
                }
            }
        }
        let found = best.filter(|(alike, ..)| by_name.is_some() || *alike >= LEAST_ALIKE);
        let (_, _, index, view) = found?;
        if let Some(is_taken) = self.is_taken.get_mut(index) {
            *is_taken = true;
        }
        Some((index, view))
    }
}

/// What was found of a layer.
struct Judged {
    layout: &'static str,
    pairs: Vec<Pair>,
    /// The tensors of the other model.
    used: Vec<usize>,
}

fn judge(
    (kernel, other): (&Kernel, &Kernel),
    fit: &Fit,
    vectors: &Vectors<'_>,
    layout: &'static str,
) -> Judged {
    let mut judged = Judged {
        layout,
        pairs: Vec::new(),
        used: other.tensors.clone(),
    };
    let (Some(own), Some(view)) = (kernel.views.first(), fit.view) else {
        return judged;
    };
    let channels = own.sizes[0];
    let scale = find_scale(fit, channels, vectors, &other.name);
    let is_known = scale.hits * 2 > fit.judged.len() || fit.judged.is_empty();
    let ones = vec![1.0; channels];
    let scales = if is_known { &scale.values } else { &ones };
    // The kernel, with the factors that were found.
    let (mut wanted, mut stored, mut near) = (Vec::new(), Vec::new(), Vec::new());
    let places: Vec<(usize, usize)> = own.places().into_iter().zip(view.places()).collect();
    for channel in 0..channels {
        let of = |list: &[f64]| list.get(channel).copied().unwrap_or(f64::NAN);
        // Where the factors alone are others, the vectors are to blame.
        let is_bent = fit.judged.binary_search(&channel).is_err();
        let factor = if is_known && !is_bent && !fit.is_at(channel, of(scales)) {
            of(&fit.scale)
        } else {
            of(scales)
        };
        for (place, other_place) in &places {
            let x = kernel.value(channel * own.step() + place);
            let y = other.value(channel * view.step() + other_place);
            let z = f64::from(narrow(y * factor));
            let allowed = kernel.rounding.allowed(channel, z)
                + factor.abs() * other.rounding.allowed(channel, y);
            wanted.push(z);
            stored.push(x);
            near.push((x - z).abs() <= allowed * (1.0 + 1e-3));
        }
    }
    judged.add(&other.name, kernel, &wanted, &stored, &near);
    if !is_known {
        return judged;
    }
    if !scale.vectors.is_empty() {
        let of_judged = |list: &[f64]| -> Vec<f64> {
            let channels = fit.judged.iter();
            channels.filter_map(|at| list.get(*at).copied()).collect()
        };
        let near = fit.judged.iter().map(|channel| {
            let value = scale.values.get(*channel).copied();
            fit.is_at(*channel, value.unwrap_or(f64::NAN))
        });
        let near: Vec<bool> = near.collect();
        let (wanted, stored) = (of_judged(&scale.values), of_judged(&fit.scale));
        for vector in &scale.vectors {
            judged.add(&vector.name, kernel, &wanted, &stored, &near);
            judged.used.push(vector.tensor);
        }
    }
    judged.shift(kernel, other, &scale, fit, vectors);
    judged
}

impl Judged {
    /// Finds what gives the layer's bias.
    fn shift(
        &mut self,
        kernel: &Kernel,
        other: &Kernel,
        scale: &Found<'_>,
        fit: &Fit,
        vectors: &Vectors<'_>,
    ) {
        let Some((bias, rounding)) = &kernel.bias else {
            return;
        };
        if let Some((wanted, of_other)) = &other.bias {
            let pairs = bias.iter().zip(wanted).enumerate();
            let near = pairs.map(|(channel, (x, y))| {
                let allowed = rounding.allowed(channel, *x) + of_other.allowed(channel, *y);
                (x - y).abs() <= allowed
            });
            let near: Vec<bool> = near.collect();
            self.add(&other.name, kernel, wanted, bias, &near);
            return;
        }
        // Where the factors are others, the bias is to be right with the ones that there are.
        let (mut factors, mut slack) = (scale.values.clone(), vec![0.0; bias.len()]);
        for &channel in &fit.judged {
            let of = |list: &[f64]| list.get(channel).copied().unwrap_or(f64::NAN);
            if !fit.is_at(channel, of(&factors))
                && let (Some(factor), Some(slack)) =
                    (factors.get_mut(channel), slack.get_mut(channel))
            {
                *factor = of(&fit.scale);
                *slack = of(&fit.error) / factor.abs().max(f64::MIN_POSITIVE);
            }
        }
        let target = Target {
            bias,
            rounding,
            scale: &factors,
            slack: &slack,
        };
        let found = find_shift(&target, scale, vectors, &other.name);
        let near: Vec<bool> = (0..bias.len())
            .map(|channel| target.is_at(channel, found.values.get(channel).copied(), &found))
            .collect();
        let stored = bias.clone();
        for vector in &found.vectors {
            self.add(&vector.name, kernel, &found.values, &stored, &near);
            self.used.push(vector.tensor);
        }
        if found.vectors.is_empty() && !near.iter().all(|is_near| *is_near) {
            // Nothing is like it.
            self.add(&other.name, kernel, &found.values, &stored, &near);
        }
    }

    /// Adds a pair: what was computed from the other model, and what is stored.
    fn add(&mut self, name: &str, kernel: &Kernel, wanted: &[f64], stored: &[f64], near: &[bool]) {
        let is_same = near.iter().all(|is_near| *is_near);
        let wanted: Vec<f64> = if is_same {
            wanted
                .iter()
                .map(|value| f64::from(narrow(*value)))
                .collect()
        } else {
            // What rounding explains is no difference.
            let both = wanted.iter().zip(stored).zip(near);
            both.map(|((wanted, stored), is_near)| if *is_near { *stored } else { *wanted })
                .collect()
        };
        let by = apart(&wanted, stored).unwrap_or_default();
        self.pairs.push(Pair {
            first: kernel.name.clone(),
            second: name.to_owned(),
            how: if is_same {
                Matched::Folded
            } else {
                Matched::Nearest
            },
            layout: self.layout,
            by,
        });
    }
}
