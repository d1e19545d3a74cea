//! The search for the vectors of a normalisation, by what they give: the factors of a layer's channels, and its bias.

use std::collections::HashSet;

use super::Budget;
use super::kernel::{Fit, ROUNDING, Rounding};
use super::model::Vector;

/// What usual configurations add to variances.
pub(super) const EPSILONS: [f64; 6] = [1e-3, 1e-5, 1e-4, 1.001e-5, 1e-6, 1e-2];
/// What is added to variances is less than this.
pub(super) const MAX_EPSILON: f64 = 0.2;
/// How many biases before a normalisation are tried, the likeliest by their names.
pub(super) const MAX_BIASES: usize = 8;
/// Among how many means and betas, then.
pub(super) const MAX_BESIDE_BIASES: usize = 32;
/// How many combinations of vectors are compared number by number for a layer, at most.
pub(super) const MAX_COMPARED: usize = 1 << 12;

/// Which vectors give a layer's factors or bias.
pub(super) struct Found<'v> {
    /// What they give.
    pub(super) values: Vec<f64>,
    pub(super) vectors: Vec<&'v Vector>,
    /// How many channels it fits.
    pub(super) hits: usize,
}

/// The vectors of the other model that have as many elements as a layer has channels.
pub(super) struct Vectors<'v> {
    pub(super) all: &'v [Vector],
    /// The tensors that other layers have.
    pub(super) used: &'v HashSet<usize>,
    pub(super) budget: &'v Budget,
}

impl<'v> Vectors<'v> {
    /// All of them, those first whose names begin like another; none when there has been too much to do.
    pub(super) fn ordered(&self, name: &str) -> Vec<&'v Vector> {
        if !Budget::take(&self.budget.attempts, self.all.len()) {
            return Vec::new();
        }
        let common = |vector: &&Vector| {
            let pairs = vector.name.bytes().zip(name.bytes());
            std::cmp::Reverse(pairs.take_while(|(x, y)| x == y).count())
        };
        let mut all: Vec<&Vector> = self.all.iter().collect();
        all.sort_by_cached_key(common);
        all
    }

    pub(super) fn is_new(&self, vector: &Vector) -> bool {
        !self.used.contains(&vector.tensor)
    }
}

/// Three of some channels, which rule out most vectors.
pub(super) fn probes(channels: &[usize]) -> Vec<usize> {
    let last = channels.len().saturating_sub(1);
    let mut probes: Vec<usize> = [0, last / 2, last]
        .iter()
        .filter_map(|at| channels.get(*at).copied())
        .collect();
    probes.dedup();
    probes
}

/// Whether so many of some probes are enough: one may be in a channel that differs.
pub(super) fn is_enough(hits: usize, probes: &[usize]) -> bool {
    hits > 0 && hits + 1 >= probes.len()
}

/// Which gamma and variance give the factors; all are 1 where nothing fits better.
pub(super) fn find_scale<'v>(
    fit: &Fit,
    channels: usize,
    vectors: &Vectors<'v>,
    name: &str,
) -> Found<'v> {
    let hits = |values: &[f64]| {
        let judged = fit.judged.iter();
        judged
            .filter(|at| fit.is_at(**at, values.get(**at).copied().unwrap_or(f64::NAN)))
            .count()
    };
    let ones = vec![1.0; channels];
    let mut best = Found {
        hits: hits(&ones),
        values: ones,
        vectors: Vec::new(),
    };
    if best.hits == fit.judged.len() {
        return best;
    }
    let probes = probes(&fit.judged);
    let of = |list: &[f64], at: usize| list.get(at).copied().unwrap_or(f64::NAN);
    let mut compared = 0;
    for variance in vectors.ordered(name) {
        if variance.values.iter().any(|value| *value < 0.0) {
            continue;
        }
        let gammas = vectors.ordered(&variance.name).into_iter().map(Some);
        for gamma in gammas.chain([None]) {
            let gamma_at = |at| gamma.map_or(1.0, |gamma| of(&gamma.values, at));
            // What would have to be added to the variance.
            let added = probes.iter().map(|at| {
                let ratio = gamma_at(*at) / of(&fit.scale, *at);
                ratio * ratio - of(&variance.values, *at)
            });
            let is_possible = |added: &f64| *added > -MAX_EPSILON && *added < 2.0 * MAX_EPSILON;
            let mut added: Vec<f64> = added.filter(is_possible).collect();
            if !is_enough(added.len(), &probes) {
                continue;
            }
            added.sort_by(f64::total_cmp);
            let middle = added.get(added.len() / 2).copied();
            let middle = middle.filter(|added| *added > 0.0 && *added < MAX_EPSILON);
            for epsilon in EPSILONS.into_iter().chain(middle) {
                let value = |at| gamma_at(at) / (of(&variance.values, at) + epsilon).sqrt();
                let hit = probes.iter().filter(|at| fit.is_at(**at, value(**at)));
                if !is_enough(hit.count(), &probes) || compared == MAX_COMPARED {
                    continue;
                }
                compared += 1;
                let values: Vec<f64> = (0..channels).map(value).collect();
                let hits = hits(&values);
                let is_new = |vector: &Vector| vectors.is_new(vector);
                let is_new = is_new(variance) && gamma.is_none_or(is_new);
                if hits > best.hits || is_new && hits == fit.judged.len() {
                    best = Found {
                        values,
                        vectors: gamma.into_iter().chain([variance]).collect(),
                        hits,
                    };
                }
                if is_new && best.hits == fit.judged.len() {
                    return best;
                }
            }
        }
    }
    best
}

/// A layer's bias, of which the vectors are looked for.
pub(super) struct Target<'t> {
    pub(super) bias: &'t [f64],
    pub(super) rounding: &'t Rounding,
    pub(super) scale: &'t [f64],
    /// How far factors may be away, as a part of their magnitude.
    pub(super) slack: &'t [f64],
}

impl Target<'_> {
    /// Whether a sum is the bias, but for rounding of it and of what it is made of.
    pub(super) fn is_near(&self, channel: usize, sum: f64, parts: f64) -> bool {
        let bias = self.bias.get(channel).copied().unwrap_or(f64::NAN);
        let slack = self.slack.get(channel).copied().unwrap_or(0.0);
        (bias - sum).abs() <= self.rounding.allowed(channel, bias) + (ROUNDING + slack) * parts
    }

    pub(super) fn is_at(&self, channel: usize, sum: Option<f64>, of: &Found<'_>) -> bool {
        let scale = self.scale.get(channel).copied().unwrap_or(1.0).abs();
        let parts = of.vectors.iter().map(|vector| {
            let value = vector.values.get(channel).copied().unwrap_or(0.0);
            value.abs() * scale.max(1.0)
        });
        self.is_near(channel, sum.unwrap_or(f64::NAN), parts.sum())
    }
}

/// Which bias, mean and beta give a layer's bias; nothing where zeros fit best.
pub(super) fn find_shift<'v>(
    target: &Target<'_>,
    scale: &Found<'_>,
    vectors: &Vectors<'v>,
    name: &str,
) -> Found<'v> {
    let channels = target.bias.len();
    let all: Vec<usize> = (0..channels).collect();
    let probes = probes(&all);
    let of = |vector: Option<&Vector>, at: usize| {
        vector.map_or(0.0, |vector| {
            vector.values.get(at).copied().unwrap_or(f64::NAN)
        })
    };
    let scale_at = |at: usize| target.scale.get(at).copied().unwrap_or(1.0);
    let optional = |name: &str, most: usize| {
        let near = vectors.ordered(name).into_iter().take(most).map(Some);
        near.chain([None]).collect::<Vec<_>>()
    };
    let zeros = Found {
        hits: (0..channels)
            .filter(|at| target.is_near(*at, 0.0, 0.0))
            .count(),
        values: vec![0.0; channels],
        vectors: Vec::new(),
    };
    let mut best = zeros;
    let mut compared = 0;
    let mut attempt = |bias: Option<&'v Vector>,
                       mean: Option<&'v Vector>,
                       beta: Option<&'v Vector>,
                       best: &mut Found<'v>| {
        let sum = |at: usize| of(beta, at) + (of(bias, at) - of(mean, at)) * scale_at(at);
        let parts = |at: usize| {
            of(beta, at).abs() + (of(bias, at).abs() + of(mean, at).abs()) * scale_at(at).abs()
        };
        let is_at = |at: &usize| target.is_near(*at, sum(*at), parts(*at));
        let is_left = Budget::take(&vectors.budget.attempts, 1);
        let hit = probes.iter().filter(|at| is_at(at)).count();
        if !is_left || !is_enough(hit, &probes) || compared == MAX_COMPARED {
            return false;
        }
        compared += 1;
        let hits = all.iter().filter(|at| is_at(at)).count();
        let is_new = |vector: &Vector| vectors.is_new(vector);
        let is_new = mean.is_none_or(is_new) && beta.is_none_or(is_new);
        if hits > best.hits || hits == channels && (is_new || best.vectors.is_empty()) {
            let vectors = [bias, mean, beta].into_iter().flatten();
            *best = Found {
                values: all.iter().map(|at| sum(*at)).collect(),
                vectors: vectors.collect(),
                hits,
            };
        }
        is_new && hits == channels
    };
    let Some(normalized) = scale.vectors.last() else {
        for bias in optional(name, vectors.all.len()) {
            if attempt(None, None, bias, &mut best) {
                break;
            }
        }
        return best;
    };
    let (means, betas) = (
        optional(&normalized.name, vectors.all.len()),
        optional(&normalized.name, vectors.all.len()),
    );
    let biases = optional(name, MAX_BIASES);
    for (at, mean) in means.iter().enumerate() {
        for (beside, beta) in betas.iter().enumerate() {
            let is_near = at < MAX_BESIDE_BIASES && beside < MAX_BESIDE_BIASES;
            let biases = if is_near { &biases[..] } else { &[None] };
            for bias in biases {
                if attempt(*bias, *mean, *beta, &mut best) {
                    return best;
                }
            }
        }
    }
    best
}
