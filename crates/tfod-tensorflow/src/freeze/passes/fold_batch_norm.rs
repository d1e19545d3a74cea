//! Batch normalisation folded into the convolution before it.
//!
//! With fixed statistics, normalisation multiplies and shifts each channel, and a convolution is linear: multiplying its kernel does the first, a
//! `BiasAdd` after it the second. From each convolution, the chain of what follows is read as long as it is such an affine map of channels: the
//! `FusedBatchNorm` family, and additions, subtractions, multiplications and divisions by constants, which is how unfused normalisation looks.
//! See Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", section 3.2.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::constants::Content;
use super::super::data_type::FLOAT;
use super::super::error::FreezeError;
use super::super::frozen::Frozen;
use super::super::graph::{Node, NodeId, ScopeId, Tensor};
use super::super::wire::{attr, value};
use super::arithmetic::Constants;

/// The inference default of `epsilon` in every version.
const EPSILON: f32 = 0.0001;

/// What happens to each channel: `y = scale * x + shift`.
#[derive(Clone, Debug)]
struct Affine {
    scale: Vec<f64>,
    shift: Vec<f64>,
    /// Whether anything was multiplied: a chain of additions is not worth folding.
    scales: bool,
}

impl Affine {
    fn identity(channels: usize) -> Self {
        Self {
            scale: vec![1.0; channels],
            shift: vec![0.0; channels],
            scales: false,
        }
    }

    /// Followed by `factors * x`.
    fn multiply(&mut self, factors: &[f64]) {
        self.scales = true;
        for ((scale, shift), factor) in self.scale.iter_mut().zip(&mut self.shift).zip(factors) {
            *scale *= factor;
            *shift *= factor;
        }
    }

    /// Followed by `x + terms`.
    fn add(&mut self, terms: &[f64]) {
        for (shift, term) in self.shift.iter_mut().zip(terms) {
            *shift += term;
        }
    }
}

/// A convolution and the chain after it.
struct Chain {
    convolution: NodeId,
    affine: Affine,
    /// The last node of the chain, which gets the result.
    last: NodeId,
    /// What reaches the last node: the convolution, or something after it that keeps channels apart.
    tail: Tensor,
    /// Inputs to be changed, so that nodes of the chain that are gone are passed by.
    passed: Vec<(NodeId, Tensor)>,
}

impl Frozen<'_> {
    /// Folds batch normalisations into the convolutions before them, and gives the number of convolutions changed. What is in loops and
    /// functions stays.
    ///
    /// # Errors
    ///
    /// Where a constant's value cannot be read.
    pub fn fold_batch_norm(&mut self) -> Result<usize, FreezeError> {
        let consumers = self.consumers();
        let mut constants = Constants::default();
        let mut folded = 0;
        for id in self.listing.order.clone() {
            if let Some(chain) = self.chain(id, &consumers, &mut constants)?
                && self.fold(&chain, &mut constants)?
            {
                folded += 1;
            }
        }
        self.list_again()?;
        Ok(folded)
    }

    /// For each node, its only consumer; none if there are more, or if it is an output, and none that cannot be changed: in a loop, a constant of the whole
    /// graph cannot be used, and of a normalisation whose statistics are used, more than the first output is left.
    fn consumers(&self) -> Vec<Option<NodeId>> {
        let outside = self.outside_of_loops();
        let nodes = self.listing.order.iter();
        let tensors = nodes.flat_map(|&id| self.graph.node(id).inputs.iter().copied());
        let outputs = self.outputs.iter().map(|output| output.tensor);
        let further = tensors.chain(outputs).filter(|tensor| tensor.port != 0);
        let further: HashSet<NodeId> = further.map(|tensor| tensor.node).collect();
        let can_change = |id: &NodeId| outside.contains(id) && !further.contains(id);
        let mut found: Vec<(usize, Option<NodeId>)> = vec![(0, None); self.graph.nodes.len()];
        for &id in &self.listing.order {
            let node = self.graph.node(id);
            let before = node
                .inputs
                .iter()
                .map(|input| input.node)
                .chain(node.controls.iter().copied())
                .chain(node.pivot);
            for before in before {
                let (count, consumer) = &mut found[before.index()];
                *count += 1;
                *consumer = Some(id);
            }
        }
        for output in &self.outputs {
            found[output.tensor.node.index()].0 += 2;
        }
        found
            .into_iter()
            .map(|(count, consumer)| consumer.filter(|id| count == 1 && can_change(id)))
            .collect()
    }

    fn chain(
        &self,
        id: NodeId,
        consumers: &[Option<NodeId>],
        constants: &mut Constants,
    ) -> Result<Option<Chain>, FreezeError> {
        let node = self.graph.node(id);
        let is_convolution = matches!(&*node.op, "Conv2D" | "DepthwiseConv2dNative")
            && node.data_type_attr("T") == Some(FLOAT);
        let (true, [_, kernel]) = (is_convolution, node.inputs.as_slice()) else {
            return Ok(None);
        };
        let channels = match self.kernel_shape(*kernel, constants)?.as_deref() {
            Some(&[_, _, inputs, multiplier]) if node.op == "DepthwiseConv2dNative" => {
                inputs * multiplier
            }
            Some(&[_, _, _, outputs]) => outputs,
            _ => return Ok(None),
        };
        let format = data_format(node);
        let mut affine = Affine::identity(channels);
        let mut tail = Tensor::of(id);
        let mut passed = Vec::new();
        let mut chain = None;
        let mut at = id;
        while let Some(next) = consumers[at.index()] {
            let node = self.graph.node(next);
            let of = Tensor::of(at);
            if node.op == "BatchToSpaceND" && node.inputs.first() == Some(&of) {
                passed.push((next, tail));
                tail = Tensor::of(next);
            } else if self.follow(node, of, format, &mut affine, constants)? {
                if affine.scales {
                    chain = Some(Chain {
                        convolution: id,
                        affine: affine.clone(),
                        last: next,
                        tail,
                        passed: passed.clone(),
                    });
                }
            } else {
                break;
            }
            at = next;
        }
        Ok(chain)
    }

    /// The shape of a kernel that is a constant, or computed from constants.
    fn kernel_shape(
        &self,
        kernel: Tensor,
        constants: &mut Constants,
    ) -> Result<Option<Vec<usize>>, FreezeError> {
        if let Some(content) = &self.graph.node(kernel.node).content {
            return Ok(Some(self.store.shape(content)).filter(|_| content.data_type() == FLOAT));
        }
        Ok(constants
            .floats(&self.graph, &self.store, kernel)?
            .map(|array| array.shape.clone()))
    }

    /// Takes a node into the affine map, if it is one.
    fn follow(
        &self,
        node: &Node<'_>,
        of: Tensor,
        format: &str,
        affine: &mut Affine,
        constants: &mut Constants,
    ) -> Result<bool, FreezeError> {
        let channels = affine.scale.len();
        let mut vector = |tensor: Option<&Tensor>| -> Result<Option<Vec<f64>>, FreezeError> {
            let Some(&tensor) = tensor else {
                return Ok(None);
            };
            Ok(constants
                .floats(&self.graph, &self.store, tensor)?
                .and_then(|array| per_channel(&array.shape, array.floats()?, channels)))
        };
        let is_first = node.inputs.first() == Some(&of);
        let is_norm = matches!(
            &*node.op,
            "FusedBatchNorm" | "FusedBatchNormV2" | "FusedBatchNormV3"
        );
        if is_norm {
            let is_training = node.attr("is_training").and_then(attr::bool) != Some(false);
            let is_float = node.data_type_attr("T") == Some(FLOAT);
            if !is_first || is_training || !is_float || data_format(node) != format {
                return Ok(false);
            }
            let [_, scale, offset, mean, variance] = node.inputs.as_slice() else {
                return Ok(false);
            };
            let values = (
                vector(Some(scale))?,
                vector(Some(offset))?,
                vector(Some(mean))?,
                vector(Some(variance))?,
            );
            let (Some(scale), Some(offset), Some(mean), Some(variance)) = values else {
                return Ok(false);
            };
            let epsilon = f64::from(
                node.attr("epsilon")
                    .and_then(attr::float)
                    .unwrap_or(EPSILON),
            );
            let factors: Vec<f64> = scale
                .iter()
                .zip(&variance)
                .map(|(scale, variance)| scale / (variance + epsilon).sqrt())
                .collect();
            affine.add(&negated(&mean));
            affine.multiply(&factors);
            affine.add(&offset);
            return Ok(true);
        }
        if node.op == "BiasAdd" {
            let terms = if is_first && data_format(node) == format {
                vector(node.inputs.get(1))?
            } else {
                None
            };
            if let Some(terms) = &terms {
                affine.add(terms);
            }
            return Ok(terms.is_some());
        }
        // Elsewhere, channels are the last dimension.
        if format != "NHWC" || node.inputs.len() != 2 || node.inputs[0] == node.inputs[1] {
            return Ok(false);
        }
        let Some(other) = vector(node.inputs.get(usize::from(is_first)))? else {
            return Ok(false);
        };
        match (&*node.op, is_first) {
            ("Add" | "AddV2", _) => affine.add(&other),
            ("Sub", true) => affine.add(&negated(&other)),
            ("Sub", false) => {
                affine.multiply(&vec![-1.0; channels]);
                affine.add(&other);
            }
            ("Mul", _) => affine.multiply(&other),
            ("RealDiv" | "Div", true) => {
                affine.multiply(&other.iter().map(|number| 1.0 / number).collect::<Vec<_>>());
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Changes the kernel, and makes the last node of the chain the addition of what is left.
    fn fold(&mut self, chain: &Chain, constants: &mut Constants) -> Result<bool, FreezeError> {
        let Chain {
            convolution,
            affine,
            last,
            tail,
            passed,
        } = chain;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "constants are 32-bit floats"
        )]
        let single = |numbers: &[f64]| {
            numbers
                .iter()
                .map(|&number| number as f32)
                .collect::<Vec<f32>>()
        };
        let (factors, shift) = (single(&affine.scale), single(&affine.shift));
        if factors
            .iter()
            .chain(&shift)
            .any(|number| !number.is_finite())
        {
            return Ok(false);
        }
        let kernel = self.graph.node(*convolution).inputs[1];
        let name = self.graph.node(kernel.node).name.clone();
        let content =
            if let Some(Content::Variable { index, .. }) = &self.graph.node(kernel.node).content {
                Content::Scaled {
                    index: *index,
                    factors: Arc::from(factors),
                }
            } else {
                let Some(array) = constants.floats(&self.graph, &self.store, kernel)? else {
                    return Ok(false);
                };
                let scaled = array
                    .floats()
                    .unwrap_or_default()
                    .iter()
                    .zip(factors.iter().cycle())
                    .map(|(number, factor)| number * factor);
                let bytes: Vec<u8> = scaled.flat_map(f32::to_le_bytes).collect();
                Content::numeric(FLOAT, &array.shape, &bytes)
            };
        let kernel = self.graph.add(ScopeId::ROOT, Node::constant(name, content));
        self.graph.node_mut(*convolution).inputs[1] = Tensor::of(kernel);
        for (node, input) in passed {
            self.graph.node_mut(*node).inputs[0] = *input;
        }
        let format = data_format(self.graph.node(*convolution)).to_owned();
        let has_shift = shift.iter().any(|&number| number != 0.0);
        let bytes: Vec<u8> = shift
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect();
        let mut inputs = vec![*tail];
        if has_shift {
            let name = format!("{}/bias", self.graph.node(*last).name);
            let bias = Node::constant(name, Content::numeric(FLOAT, &[shift.len()], &bytes));
            inputs.push(Tensor::of(self.graph.add(ScopeId::ROOT, bias)));
        }
        let node = self.graph.node_mut(*last);
        node.op = if has_shift { "BiasAdd" } else { "Identity" }.into();
        node.inputs = inputs;
        node.outputs = Some(vec![FLOAT]);
        node.attrs = vec![("T".into(), value::data_type(FLOAT))];
        if has_shift && format != "NHWC" {
            node.attrs
                .push(("data_format".into(), value::text(&format)));
        }
        Ok(true)
    }
}

fn negated(numbers: &[f64]) -> Vec<f64> {
    numbers.iter().map(|number| -number).collect()
}

fn data_format<'n>(node: &'n Node<'_>) -> &'n str {
    node.attr("data_format")
        .and_then(attr::text)
        .unwrap_or("NHWC")
}

/// A constant as one number for each channel, if it is the same for all places of an image.
fn per_channel(shape: &[usize], numbers: &[f32], channels: usize) -> Option<Vec<f64>> {
    const MAX_RANK: usize = 4;
    if shape.len() > MAX_RANK {
        return None;
    }
    match numbers {
        [one] => Some(vec![f64::from(*one); channels]),
        several if several.len() == channels && shape.last() == Some(&channels) => {
            Some(several.iter().map(|&number| f64::from(number)).collect())
        }
        _ => None,
    }
}
