//! What is read of a model: the kernels of its layers with what follows them, or tensors that may be kernels and vectors.

use std::collections::{HashMap, HashSet};

use tfod_inspect::{Facts, InspectError, Layer, LayerKind, Quantity, StoredTensor, StoredType};

use super::Budget;
use super::kernel::{Kernel, Rounding, View, narrow, sizes};
use crate::Side;
use crate::matching::{Weights, is_float};
use crate::names::bare;

/// Longer vectors belong to no channels.
pub(super) const MAX_CHANNELS: u64 = 1 << 16;
/// Tensors that claim more elements than this are read only where they have them in as many bytes.
pub(super) const MAX_WRITTEN_OUT: u64 = 1 << 24;

/// A vector of the other model that may be a part of a normalisation.
pub(super) struct Vector {
    pub(super) tensor: usize,
    pub(super) name: String,
    pub(super) values: Vec<f64>,
}

/// One of the models, as far as it is read here.
pub(super) struct Model<'a> {
    pub(super) side: &'a Side,
    pub(super) layers: Vec<Layer>,
    /// What tensors may be called, by their places.
    pub(super) names: HashMap<usize, Vec<String>>,
    /// The places of tensors that take part.
    pub(super) places: Vec<usize>,
    /// Their places among the weights that are compared.
    pub(super) chosen: HashMap<usize, usize>,
    /// Those that have been found.
    pub(super) used: HashSet<usize>,
}

impl<'a> Model<'a> {
    pub(super) fn new(side: &'a Side, weights: &Weights<'a>) -> Result<Self, InspectError> {
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

    pub(super) fn tensor(&self, place: usize) -> Option<&'a StoredTensor> {
        self.side.found.tensors.get(place)
    }

    pub(super) fn values(&self, of: &Quantity) -> Result<Option<Vec<f32>>, InspectError> {
        let Some(tensor) = self.tensor(of.tensor) else {
            return Ok(None);
        };
        let elements = self.side.found.elements(tensor)?;
        let is_written_out = elements.count() <= MAX_WRITTEN_OUT.max(elements.num_stored());
        Ok(is_written_out
            .then(|| of.values(tensor, &elements))
            .flatten())
    }

    pub(super) fn vector(&self, of: Option<&Quantity>) -> Result<Option<Vec<f64>>, InspectError> {
        let values = of.map(|of| self.values(of)).transpose()?.flatten();
        Ok(values.map(|values| values.into_iter().map(f64::from).collect()))
    }

    pub(super) fn rounding(&self, of: &Quantity, factor: Option<&[f64]>) -> Rounding {
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
    pub(super) fn kernel(&self, layer: &Layer) -> Result<Option<Kernel>, InspectError> {
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
    pub(super) fn kernels(
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
    pub(super) fn sizes(&self, layer: &Layer) -> Option<[usize; 4]> {
        let Some(kernel) = &layer.kernel else {
            let shape = &self.tensor(layer.factor.as_ref()?.tensor)?.shape;
            return Some([sizes(shape)?.iter().product(), 1, 1, 1]);
        };
        let shape = &self.tensor(kernel.tensor)?.shape;
        Some(View::of_layer(layer.kind, shape)?.sizes)
    }

    /// The vectors of so many elements.
    pub(super) fn vectors(&self, channels: usize) -> Result<Vec<Vector>, InspectError> {
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
pub(super) fn plain(place: usize) -> Quantity {
    Quantity {
        tensor: place,
        scales: Vec::new(),
        zero_points: Vec::new(),
        axis: 0,
    }
}
