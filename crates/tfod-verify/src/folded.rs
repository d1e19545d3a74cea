//! Weights of TFLite models, in which batch normalisation is a part of kernels and biases, and kernels may have fewer bits.
//!
//! A kernel that was multiplied by a factor for each output channel keeps its directions: a layer's kernel is found by them, whatever was folded into it. What the factors are
//! then tells the normalisation: those gammas and variances that give them, and the betas, means and biases that give the layer's bias. Names only decide which are tried
//! first, but for kernels whose names are known on both sides. What was rounded to fewer bits may be away by as much as that rounding makes it.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};

use tfod_inspect::{Facts, InspectError, Layer, LayerKind, Quantity, StoredTensor, StoredType};

use crate::Side;
use crate::computed::apart;
use crate::matching::{Matched, Pair, Weights, is_float};
use crate::names::bare;

/// How far computed numbers may be apart, as a part of their magnitude: a few roundings of single precision.
const ROUNDING: f64 = 4e-6;
/// What usual configurations add to variances.
const EPSILONS: [f64; 6] = [1e-3, 1e-5, 1e-4, 1.001e-5, 1e-6, 1e-2];
/// What is added to variances is less than this.
const MAX_EPSILON: f64 = 0.2;
/// How many channels of a kernel, and elements of each, tell whether it is another's.
const SAMPLED: [usize; 2] = [8, 64];
/// Below this mean of squared cosines kernels have nothing to do with each other.
const LEAST_ALIKE: f64 = 0.5;
/// How many biases before a normalisation are tried, the likeliest by their names.
const MAX_BIASES: usize = 8;
/// Among how many means and betas, then.
const MAX_BESIDE_BIASES: usize = 32;
/// Longer vectors belong to no channels.
const MAX_CHANNELS: u64 = 1 << 16;
/// How many combinations of vectors are compared number by number for a layer, at most.
const MAX_COMPARED: usize = 1 << 12;
/// Tensors that claim more elements than this are read only where they have them in as many bytes.
const MAX_WRITTEN_OUT: u64 = 1 << 24;
/// How many kernels are sampled for each other, at most.
const MAX_SAMPLES: u64 = 1 << 20;
/// How many combinations of vectors are looked at, at most.
const MAX_ATTEMPTS: u64 = 1 << 27;
/// How many elements are computed with, for each byte of a model's tensors: layers may share them.
const MAX_SHARED: u64 = 16;

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

/// How numbers were rounded when they were stored.
#[derive(Clone, Debug)]
enum Rounding {
    /// As they were computed.
    Single,
    /// To 16 bits, and then multiplied by these.
    Half(Vec<f64>),
    /// To multiples of a step, for each output channel.
    Steps(Vec<f64>),
}

impl Rounding {
    /// How far a number of a channel may be from what it was before.
    fn allowed(&self, channel: usize, value: f64) -> f64 {
        let of = |list: &[f64]| list.get(channel).or(list.first()).copied();
        let stored = match self {
            Self::Single => 0.0,
            Self::Half(factors) => {
                let factor = of(factors).unwrap_or(1.0).abs();
                // Half of the last place; the smallest numbers have fewer places.
                value.abs() * 2f64.powi(-11) + factor * 2f64.powi(-25)
            }
            Self::Steps(steps) => of(steps).unwrap_or(0.0).abs() * 0.5,
        };
        stored + ROUNDING * value.abs()
    }
}

/// Where a kernel's elements are: its sizes and the distances of neighbours, of the output channels, height, width and input channels.
#[derive(Clone, Copy, Debug)]
struct View {
    sizes: [usize; 4],
    steps: [usize; 4],
}

impl View {
    fn new(sizes: [usize; 4], steps: [usize; 4]) -> Self {
        Self { sizes, steps }
    }

    /// Of a layer's kernel.
    fn of_layer(kind: LayerKind, shape: &[u64]) -> Option<Self> {
        Some(match (kind, sizes(shape)?.as_slice()) {
            (LayerKind::Conv2d | LayerKind::TransposeConv, &[o, h, w, i]) => {
                Self::new([o, h, w, i], [h * w * i, w * i, i, 1])
            }
            (LayerKind::DepthwiseConv2d, &[1, h, w, o]) => {
                Self::new([o, h, w, 1], [1, w * o, o, 1])
            }
            (LayerKind::FullyConnected, &[o, i]) => Self::new([o, 1, 1, i], [i, i, i, 1]),
            _ => return None,
        })
    }

    /// Those that a tensor of another format may have, if it is of these sizes.
    fn candidates(kind: LayerKind, shape: &[u64], wanted: [usize; 4]) -> Vec<Self> {
        let Some(shape) = sizes(shape) else {
            return Vec::new();
        };
        let all = match (kind, shape.as_slice()) {
            (LayerKind::Conv2d, &[a, b, c, d]) => vec![
                Self::new([d, a, b, c], [1, b * c * d, c * d, d]),
                Self::new([a, c, d, b], [b * c * d, d, 1, c * d]),
            ],
            (LayerKind::DepthwiseConv2d, &[a, b, c, d]) => vec![
                Self::new([c * d, a, b, 1], [1, b * c * d, c * d, 1]),
                Self::new([a * b, c, d, 1], [c * d, d, 1, 1]),
            ],
            (LayerKind::TransposeConv, &[a, b, c, d]) => vec![
                Self::new([c, a, b, d], [d, b * c * d, c * d, 1]),
                Self::new([b, c, d, a], [c * d, d, 1, b * c * d]),
            ],
            (LayerKind::FullyConnected, &[a, b]) => vec![
                Self::new([b, 1, 1, a], [1, b, b, b]),
                Self::new([a, 1, 1, b], [b, b, b, 1]),
            ],
            _ => Vec::new(),
        };
        all.into_iter()
            .filter(|view| view.sizes == wanted)
            .collect()
    }

    /// How many elements each output channel has.
    fn per_channel(&self) -> usize {
        self.sizes.iter().skip(1).product()
    }

    /// Where the elements of the first output channel are.
    fn places(&self) -> Vec<usize> {
        let [_, h, w, i] = self.sizes;
        let [_, of_row, of_column, of_input] = self.steps;
        let mut places = Vec::with_capacity(self.per_channel());
        for row in 0..h {
            for column in 0..w {
                let begin = row * of_row + column * of_column;
                places.extend((0..i).map(|input| begin + input * of_input));
            }
        }
        places
    }

    /// How far it is to the next output channel.
    fn step(&self) -> usize {
        self.steps[0]
    }
}

/// Sizes whose products are in the range of numbers, whatever part of them is left out.
fn sizes(shape: &[u64]) -> Option<Vec<usize>> {
    let sizes = shape.iter().map(|size| usize::try_from(*size).ok());
    let sizes: Vec<usize> = sizes.collect::<Option<_>>()?;
    let mut all = sizes.iter().map(|size| size.max(&1));
    let product = all.try_fold(1usize, |product, size| product.checked_mul(*size))?;
    (product <= usize::MAX >> 1).then_some(sizes)
}

/// A kernel as it is computed with, factors behind it included.
struct Kernel {
    name: String,
    /// Its tensors, by their places in the model.
    tensors: Vec<usize>,
    values: Vec<f32>,
    rounding: Rounding,
    /// Where its elements may be.
    views: Vec<View>,
    /// The bias that is known to be its own, and how that was rounded.
    bias: Option<(Vec<f64>, Rounding)>,
    /// What it may be called.
    names: Vec<String>,
}

impl Kernel {
    fn value(&self, at: usize) -> f64 {
        self.values.get(at).copied().map_or(f64::NAN, f64::from)
    }
}

/// A vector of the other model that may be a part of a normalisation.
struct Vector {
    tensor: usize,
    name: String,
    values: Vec<f64>,
}

/// One of the models, as far as it is read here.
struct Model<'a> {
    side: &'a Side,
    layers: Vec<Layer>,
    /// What tensors may be called, by their places.
    names: HashMap<usize, Vec<String>>,
    /// The places of tensors that take part.
    places: Vec<usize>,
    /// Their places among the weights that are compared.
    chosen: HashMap<usize, usize>,
    /// Those that have been found.
    used: HashSet<usize>,
}

impl<'a> Model<'a> {
    fn new(side: &'a Side, weights: &Weights<'a>) -> Result<Self, InspectError> {
        let chosen = weights.tensors.iter().zip(0..);
        let chosen: HashMap<*const StoredTensor, usize> = chosen
            .map(|(tensor, index)| (std::ptr::from_ref(*tensor), index))
            .collect();
        let all = side.found.tensors.iter().enumerate();
        let chosen = all.filter_map(|(place, tensor)| {
            let index = chosen.get(&std::ptr::from_ref(tensor))?;
            Some((place, *index))
        });
        let chosen: HashMap<usize, usize> = chosen.collect();
        let names = chosen.iter().filter_map(|(place, index)| {
            let names = weights.names.get(*index)?;
            Some((*place, names.clone()))
        });
        // A checkpoint has more than its network.
        let is_checkpoint = matches!(side.facts(), Facts::Checkpoint(_));
        let all = 0..side.found.tensors.len();
        let places = all.filter(|place| !is_checkpoint || chosen.contains_key(place));
        Ok(Self {
            side,
            layers: side.found.layers()?,
            names: names.collect(),
            places: places.collect(),
            chosen,
            used: HashSet::new(),
        })
    }

    fn tensor(&self, place: usize) -> Option<&'a StoredTensor> {
        self.side.found.tensors.get(place)
    }

    fn values(&self, of: &Quantity) -> Result<Option<Vec<f32>>, InspectError> {
        let Some(tensor) = self.tensor(of.tensor) else {
            return Ok(None);
        };
        let elements = self.side.found.elements(tensor)?;
        let is_written_out = elements.count() <= MAX_WRITTEN_OUT.max(elements.num_stored());
        Ok(is_written_out
            .then(|| of.values(tensor, &elements))
            .flatten())
    }

    fn vector(&self, of: Option<&Quantity>) -> Result<Option<Vec<f64>>, InspectError> {
        let values = of.map(|of| self.values(of)).transpose()?.flatten();
        Ok(values.map(|values| values.into_iter().map(f64::from).collect()))
    }

    fn rounding(&self, of: &Quantity, factor: Option<&[f64]>) -> Rounding {
        if !of.scales.is_empty() {
            let factors = factor.unwrap_or(&[1.0]);
            let count = of.scales.len().max(factors.len());
            let at = |at: usize| {
                let scale = of.scales.get(at).or(of.scales.first()).copied();
                let factor = factors.get(at).or(factors.first()).copied();
                f64::from(scale.unwrap_or(0.0)) * factor.unwrap_or(1.0)
            };
            return Rounding::Steps((0..count).map(at).collect());
        }
        let dtype = self.tensor(of.tensor).and_then(|tensor| tensor.dtype);
        match dtype {
            Some(StoredType::Float16 | StoredType::BFloat16) => {
                Rounding::Half(factor.unwrap_or(&[1.0]).to_vec())
            }
            _ => Rounding::Single,
        }
    }

    /// The kernel of a layer, with what follows it.
    fn kernel(&self, layer: &Layer) -> Result<Option<Kernel>, InspectError> {
        let factor = self.vector(layer.factor.as_ref())?;
        let (bias, term) = (
            self.vector(layer.bias.as_ref())?,
            self.vector(layer.term.as_ref())?,
        );
        let (mut values, view, rounding, main) = match (&layer.kernel, &factor) {
            (Some(kernel), _) => {
                let shape = self.tensor(kernel.tensor).map(|tensor| &*tensor.shape);
                let view = shape.and_then(|shape| View::of_layer(layer.kind, shape));
                let (Some(values), Some(view)) = (self.values(kernel)?, view) else {
                    return Ok(None);
                };
                let rounding = self.rounding(kernel, factor.as_deref());
                (values, view, rounding, kernel)
            }
            (None, Some(factor)) => {
                let ones = vec![1.0; factor.len()];
                let view = View::new([factor.len(), 1, 1, 1], [1, 1, 1, 1]);
                let Some(main) = &layer.factor else {
                    return Ok(None);
                };
                (ones, view, self.rounding(main, None), main)
            }
            (None, None) => return Ok(None),
        };
        let channels = view.sizes[0];
        let fits = |vector: &Option<Vec<f64>>| {
            vector
                .as_ref()
                .is_none_or(|vector| vector.len() == channels)
        };
        let count = channels.checked_mul(view.per_channel());
        if count != Some(values.len()) || ![&factor, &bias, &term].into_iter().all(fits) {
            return Ok(None);
        }
        if let Some(factor) = &factor {
            for (channel, factor) in factor.iter().enumerate() {
                for place in view.places() {
                    if let Some(value) = values.get_mut(channel * view.step() + place) {
                        *value = narrow(f64::from(*value) * factor);
                    }
                }
            }
        }
        let sum = |channel: usize| {
            let of = |vector: &Option<Vec<f64>>, without: f64| {
                let vector = vector.as_ref();
                vector.map_or(without, |vector| {
                    vector.get(channel).copied().unwrap_or(f64::NAN)
                })
            };
            of(&bias, 0.0) * of(&factor, 1.0) + of(&term, 0.0)
        };
        let sums = (0..channels).map(sum).collect();
        let of_bias = match &layer.bias {
            Some(bias) => self.rounding(bias, factor.as_deref()),
            None => Rounding::Single,
        };
        let name = self
            .tensor(main.tensor)
            .map_or("", |tensor| &*tensor.name)
            .to_owned();
        Ok(Some(Kernel {
            names: vec![bare(&name)],
            name,
            tensors: layer.quantities().map(|of| of.tensor).collect(),
            values,
            rounding,
            views: vec![view],
            bias: Some((sums, of_bias)),
        }))
    }

    /// The kernels of layers, or tensors that may be, of these sizes.
    fn kernels(
        &self,
        kind: LayerKind,
        wanted: [usize; 4],
        budget: &Budget,
    ) -> Result<Vec<Kernel>, InspectError> {
        let mut found = Vec::new();
        let elements = wanted
            .iter()
            .fold(1usize, |n, size| n.saturating_mul(*size));
        if !self.layers.is_empty() {
            for layer in self.layers.iter().filter(|layer| layer.kind == kind) {
                if self.sizes(layer) == Some(wanted)
                    && Budget::take(&budget.elements, elements)
                    && let Some(kernel) = self.kernel(layer)?
                {
                    found.push(kernel);
                }
            }
            return Ok(found);
        }
        for &place in &self.places {
            let Some(tensor) = self.tensor(place).filter(|tensor| is_float(tensor)) else {
                continue;
            };
            let views = View::candidates(kind, &tensor.shape, wanted);
            if views.is_empty() {
                continue;
            }
            let of = plain(place);
            let Some(values) = self.values(&of)? else {
                continue;
            };
            let names = self.names.get(&place).cloned();
            found.push(Kernel {
                name: tensor.name.clone(),
                tensors: vec![place],
                values,
                rounding: self.rounding(&of, None),
                views,
                bias: None,
                names: names.unwrap_or_else(|| vec![bare(&tensor.name)]),
            });
        }
        Ok(found)
    }

    /// The sizes of a layer's kernel: output channels, height, width, input channels.
    fn sizes(&self, layer: &Layer) -> Option<[usize; 4]> {
        let Some(kernel) = &layer.kernel else {
            let shape = &self.tensor(layer.factor.as_ref()?.tensor)?.shape;
            return Some([sizes(shape)?.iter().product(), 1, 1, 1]);
        };
        let shape = &self.tensor(kernel.tensor)?.shape;
        Some(View::of_layer(layer.kind, shape)?.sizes)
    }

    /// The vectors of so many elements.
    fn vectors(&self, channels: usize) -> Result<Vec<Vector>, InspectError> {
        let mut found = Vec::new();
        for &place in &self.places {
            let Some(tensor) = self.tensor(place).filter(|tensor| is_float(tensor)) else {
                continue;
            };
            let is_long = |size: &&u64| **size != 1;
            let is_vector = tensor.shape.iter().filter(is_long).count() <= 1
                && tensor
                    .shape
                    .iter()
                    .try_fold(1u64, |n, size| n.checked_mul(*size))
                    == Some(channels as u64);
            if !is_vector || channels as u64 > MAX_CHANNELS {
                continue;
            }
            if let Some(values) = self.vector(Some(&plain(place)))? {
                found.push(Vector {
                    tensor: place,
                    name: tensor.name.clone(),
                    values,
                });
            }
        }
        Ok(found)
    }
}

/// A tensor whose elements are what they are.
fn plain(place: usize) -> Quantity {
    Quantity {
        tensor: place,
        scales: Vec::new(),
        zero_points: Vec::new(),
        axis: 0,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "what is stored has 32 bits"
)]
fn narrow(value: f64) -> f32 {
    value as f32
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
        for layer in &layers {
            let elements = sizes.iter().fold(1usize, |n, size| n.saturating_mul(*size));
            if budget.is_spent() || !Budget::take(&budget.elements, elements) {
                return Ok(pairs);
            }
            let Some(kernel) = of.kernel(layer)? else {
                continue;
            };
            let kernel = &kernel;
            let found = match partners.find(kernel, budget) {
                Some((candidate, view)) => candidates.get(candidate).map(|candidate| {
                    let fit = Fit::new(kernel, candidate, view);
                    judge(
                        kernel,
                        candidate,
                        &fit,
                        &Vectors {
                            all: vectors,
                            used: &other.used,
                            budget,
                        },
                    )
                }),
                None if kind == LayerKind::Scaling && other.layers.is_empty() => {
                    // Of no kernel, the factors alone have to be found, and all of them.
                    let fit = Fit::of_factors(kernel);
                    let alone = Kernel {
                        name: layer.name.clone(),
                        tensors: Vec::new(),
                        values: vec![1.0; kernel.values.len()],
                        rounding: Rounding::Single,
                        views: kernel.views.clone(),
                        bias: None,
                        names: Vec::new(),
                    };
                    let found = judge(
                        kernel,
                        &alone,
                        &fit,
                        &Vectors {
                            all: vectors,
                            used: &other.used,
                            budget,
                        },
                    );
                    let is_whole = found.pairs.iter().all(|pair| pair.how == Matched::Folded);
                    let is_told = !found.used.is_empty();
                    (is_whole && is_told).then_some(found)
                }
                None => None,
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

/// Some numbers below a limit, evenly spread.
fn spread(limit: usize, count: usize) -> impl Iterator<Item = usize> + Clone {
    let step = limit.div_ceil(count.max(1)).max(1);
    (0..limit).step_by(step)
}

/// The mean of the squared cosines of some channels of two kernels; of channels of one number, of which all have one direction, how near these are.
fn alike(kernel: &Kernel, other: &Kernel, view: View) -> f64 {
    let Some(own) = kernel.views.first() else {
        return 0.0;
    };
    let [channels, elements] = SAMPLED;
    let per_channel = own.per_channel();
    let (places, other_places) = (own.places(), view.places());
    let sampled: Vec<(usize, usize)> = spread(per_channel, elements)
        .filter_map(|at| Some((*places.get(at)?, *other_places.get(at)?)))
        .collect();
    let (mut sum, mut count) = (0.0, 0.0);
    for channel in spread(own.sizes[0], channels) {
        let (mut of_both, mut of_own, mut of_other) = (0.0, 0.0, 0.0);
        for (place, other_place) in &sampled {
            let x = kernel.value(channel * own.step() + place);
            let y = other.value(channel * view.step() + other_place);
            if per_channel == 1 {
                of_both -= (x - y) * (x - y) / 2.0;
            }
            of_both += x * y;
            of_own += x * x;
            of_other += y * y;
        }
        if of_own > 0.0 && of_other > 0.0 {
            sum += of_both.abs() * of_both.abs() / (of_own * of_other);
            count += 1.0;
        }
    }
    if count > 0.0 { sum / count } else { 1.0 }
}

/// By what each channel of a kernel was multiplied.
struct Fit {
    /// The factors that fit best.
    scale: Vec<f64>,
    /// How far from these factors are that fit.
    error: Vec<f64>,
    /// Channels of which the factor is known: all elements have the same.
    judged: Vec<usize>,
    /// How the elements of the other are found.
    view: Option<View>,
}

impl Fit {
    fn new(kernel: &Kernel, other: &Kernel, view: View) -> Self {
        let mut fit = Self {
            scale: Vec::new(),
            error: Vec::new(),
            judged: Vec::new(),
            view: Some(view),
        };
        let Some(own) = kernel.views.first() else {
            return fit;
        };
        let places: Vec<(usize, usize)> = own.places().into_iter().zip(view.places()).collect();
        let mut pairs = Vec::with_capacity(places.len());
        for channel in 0..own.sizes[0] {
            let (mut of_both, mut squares, mut sum) = (0.0, 0.0, 0.0);
            pairs.clear();
            for (place, other_place) in &places {
                let x = kernel.value(channel * own.step() + place);
                let y = other.value(channel * view.step() + other_place);
                of_both += x * y;
                squares += y * y;
                sum += y.abs();
                pairs.push((x, y));
            }
            let is_known = squares > 0.0;
            let scale = if is_known { of_both / squares } else { 0.0 };
            let apart = |x: f64, y: f64| {
                kernel.rounding.allowed(channel, x)
                    + scale.abs() * other.rounding.allowed(channel, y)
            };
            let allowed = pairs.iter().map(|(x, y)| apart(*x, *y));
            let allowed = allowed.fold(0.0, f64::max);
            let error = if is_known {
                allowed * sum / squares + ROUNDING * scale.abs()
            } else {
                0.0
            };
            let is_straight = || {
                let mut pairs = pairs.iter();
                pairs.all(|(x, y)| (x - scale * y).abs() <= apart(*x, *y) + error * y.abs())
            };
            if is_known && is_straight() {
                fit.judged.push(channel);
            }
            fit.scale.push(scale);
            fit.error.push(error);
        }
        fit
    }

    /// Of what has no kernel.
    fn of_factors(kernel: &Kernel) -> Self {
        let scale: Vec<f64> = kernel
            .values
            .iter()
            .map(|value| f64::from(*value))
            .collect();
        let error = scale.iter().enumerate();
        let error = error.map(|(at, scale)| kernel.rounding.allowed(at, *scale));
        Self {
            error: error.collect(),
            judged: (0..scale.len()).collect(),
            scale,
            view: kernel.views.first().copied(),
        }
    }

    fn is_at(&self, channel: usize, scale: f64) -> bool {
        let of = |list: &[f64]| list.get(channel).copied().unwrap_or(f64::NAN);
        (of(&self.scale) - scale).abs() <= of(&self.error)
    }
}

/// What was found of a layer.
struct Judged {
    pairs: Vec<Pair>,
    /// The tensors of the other model.
    used: Vec<usize>,
}

/// Which vectors give a layer's factors or bias.
struct Found<'v> {
    /// What they give.
    values: Vec<f64>,
    vectors: Vec<&'v Vector>,
    /// How many channels it fits.
    hits: usize,
}

fn judge(kernel: &Kernel, other: &Kernel, fit: &Fit, vectors: &Vectors<'_>) -> Judged {
    let mut judged = Judged {
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
            layout: "a factor for each output channel",
            by,
        });
    }
}

/// The vectors of the other model that have as many elements as a layer has channels.
struct Vectors<'v> {
    all: &'v [Vector],
    /// The tensors that other layers have.
    used: &'v HashSet<usize>,
    budget: &'v Budget,
}

impl<'v> Vectors<'v> {
    /// All of them, those first whose names begin like another; none when there has been too much to do.
    fn ordered(&self, name: &str) -> Vec<&'v Vector> {
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

    fn is_new(&self, vector: &Vector) -> bool {
        !self.used.contains(&vector.tensor)
    }
}

/// Three of some channels, which rule out most vectors.
fn probes(channels: &[usize]) -> Vec<usize> {
    let last = channels.len().saturating_sub(1);
    let mut probes: Vec<usize> = [0, last / 2, last]
        .iter()
        .filter_map(|at| channels.get(*at).copied())
        .collect();
    probes.dedup();
    probes
}

/// Whether so many of some probes are enough: one may be in a channel that differs.
fn is_enough(hits: usize, probes: &[usize]) -> bool {
    hits > 0 && hits + 1 >= probes.len()
}

/// Which gamma and variance give the factors; all are 1 where nothing fits better.
fn find_scale<'v>(fit: &Fit, channels: usize, vectors: &Vectors<'v>, name: &str) -> Found<'v> {
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
struct Target<'t> {
    bias: &'t [f64],
    rounding: &'t Rounding,
    scale: &'t [f64],
    /// How far factors may be away, as a part of their magnitude.
    slack: &'t [f64],
}

impl Target<'_> {
    /// Whether a sum is the bias, but for rounding of it and of what it is made of.
    fn is_near(&self, channel: usize, sum: f64, parts: f64) -> bool {
        let bias = self.bias.get(channel).copied().unwrap_or(f64::NAN);
        let slack = self.slack.get(channel).copied().unwrap_or(0.0);
        (bias - sum).abs() <= self.rounding.allowed(channel, bias) + (ROUNDING + slack) * parts
    }

    fn is_at(&self, channel: usize, sum: Option<f64>, of: &Found<'_>) -> bool {
        let scale = self.scale.get(channel).copied().unwrap_or(1.0).abs();
        let parts = of.vectors.iter().map(|vector| {
            let value = vector.values.get(channel).copied().unwrap_or(0.0);
            value.abs() * scale.max(1.0)
        });
        self.is_near(channel, sum.unwrap_or(f64::NAN), parts.sum())
    }
}

/// Which bias, mean and beta give a layer's bias; nothing where zeros fit best.
fn find_shift<'v>(
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_finds_elements_where_a_format_has_them() {
        let wanted = [5, 3, 2, 4];
        let [tensorflow, onnx] = [[3, 2, 4, 5], [5, 4, 3, 2]].map(|shape| {
            let views = View::candidates(LayerKind::Conv2d, &shape, wanted);
            *views.first().expect("one view")
        });
        // Element o=1, h=2, w=1, i=3.
        let element = (2 * 2 + 1) * 4 + 3;
        let place = |view: View| view.step() + view.places()[element];
        assert_eq!(place(tensorflow), ((2 * 2 + 1) * 4 + 3) * 5 + 1);
        assert_eq!(place(onnx), ((4 + 3) * 3 + 2) * 2 + 1);
        let lite = View::of_layer(LayerKind::Conv2d, &[5, 3, 2, 4]).expect("a kernel");
        assert_eq!(place(lite), 3 * 2 * 4 + element);
    }

    #[test]
    fn sizes_that_no_file_has_are_no_kernel() {
        let huge = i32::MAX.cast_unsigned().into();
        for shape in [[huge; 4], [0, huge, huge, huge]] {
            assert!(View::of_layer(LayerKind::Conv2d, &shape).is_none());
            assert!(View::candidates(LayerKind::Conv2d, &shape, [1; 4]).is_empty());
        }
    }

    #[test]
    fn rounding_explains_half_of_a_step() {
        let steps = Rounding::Steps(vec![0.5, 2.0]);
        assert!((steps.allowed(1, 0.0) - 1.0).abs() < 1e-12);
        let half = Rounding::Half(vec![1.0]);
        // The numbers next to 1 are 2^-10 above, and half of that below.
        assert!(half.allowed(0, 1.0) >= 2f64.powi(-11));
        assert!(half.allowed(0, 1.0) < 2f64.powi(-10));
        assert!(Rounding::Single.allowed(0, 1.0) < 1e-5);
    }
}
