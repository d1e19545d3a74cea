//! Feature maps: convolutions with what follows them, pooling, normalisation.
//!
//! A convolution's kernel and bias stay open until the end of the lowering: biases and batch normalisation that follow become parts of them, as they do in
//! TensorFlow's converter. Where several convolutions share a kernel and are followed by normalisations of their own (the heads of detectors on several levels),
//! it would have to be there once for each; a large one stays shared. It has the scale of the first normalisation in it, which is that of the largest feature maps;
//! the others are depthwise convolutions of one pixel, which runtimes compute in one pass, with scales relative to that one.

use std::num::NonZeroUsize;

use tfod_graph::{ConvAttrs, Node, Padding, PoolAttrs, ValueId};

use super::{Lowering, size, sizes, unsupported};
use crate::Error;
use crate::emit::TensorId;
use crate::operator::{Activation, Arithmetic, Operator, Plain, Reduction, WindowOptions};
use crate::stored::Stored;
use crate::writer::WeightType;

/// From this many elements for each output channel on, a shared kernel stays shared: the convolution takes far longer than the operation on its result that
/// this costs.
const SHARED_FROM: u64 = 1024;

/// Of the largest scale of a channel: smaller ones divide others with a loss.
const LEAST_DIVISOR: f64 = 1e-6;

/// A convolution whose kernel and bias can still change.
#[derive(Debug)]
pub(super) struct Convolution<'a> {
    name: String,
    x: TensorId,
    /// As in the graph.
    kernel: Stored<'a>,
    is_depthwise: bool,
    /// The kernel's value in the graph, where another convolution has it too and it is large.
    shared: Option<ValueId>,
    /// Of each output channel.
    scale: Option<Vec<f64>>,
    /// Of each output channel.
    bias: Vec<f64>,
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the element type has 32 bits"
)]
fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|value| *value as f32).collect()
}

/// Whether other scales can be told relative to this one: no channel is next to nothing beside the others.
fn divides(scale: &[f64]) -> bool {
    let sizes = scale.iter().map(|scale| scale.abs());
    let (least, most) = sizes.fold((f64::INFINITY, 0.0), |(least, most), size| {
        (size.min(least), size.max(most))
    });
    most.is_finite() && least > most * LEAST_DIVISOR
}

impl Convolution<'_> {
    /// Multiplies what it computes so far, by a factor of each channel.
    fn multiply(&mut self, factors: &[f64]) {
        let multiply = |values: &mut [f64]| {
            for (value, factor) in values.iter_mut().zip(factors) {
                *value *= factor;
            }
        };
        multiply(&mut self.bias);
        match &mut self.scale {
            Some(scale) => multiply(scale),
            None => self.scale = Some(factors.to_vec()),
        }
    }

    pub(super) fn is_depthwise(&self) -> bool {
        self.is_depthwise
    }

    /// Leaves out the first of each `run` output channels.
    pub(super) fn leave_out(&mut self, run: NonZeroUsize) {
        let leave_out = |values: &mut Vec<f64>| {
            let mut place = 0..;
            values.retain(|_| place.next().is_some_and(|place| place % run != 0));
        };
        self.kernel = self.kernel.clone().without_first(run);
        leave_out(&mut self.bias);
        self.scale.as_mut().map(leave_out);
    }

    /// Adds to what it computes so far.
    fn add(&mut self, terms: &[f64]) {
        for (sum, term) in self.bias.iter_mut().zip(terms) {
            *sum += term;
        }
    }
}

impl<'a> Lowering<'a, '_> {
    pub(super) fn conv2d(
        &mut self,
        node: &Node,
        attrs: ConvAttrs,
        is_depthwise: bool,
    ) -> Result<TensorId, Error> {
        let (x, kernel_id) = (self.operand(node, 0)?, self.operand(node, 1)?);
        let kernel_value = node.input(1)?;
        let kernel_sizes = self.emitter.shape(kernel_id).to_vec();
        let &[height, width, channels, last] = kernel_sizes.as_slice() else {
            return Err(unsupported(&node.name, "this kernel", "four dimensions"));
        };
        let window = WindowOptions {
            padding: attrs.padding,
            strides: sizes(&node.name, attrs.strides)?,
            dilations: sizes(&node.name, attrs.dilations)?,
            activation: Activation::None,
            is_hybrid: false,
        };
        let (operator, outputs) = if is_depthwise {
            let operator = Operator::DepthwiseConv2d(window, size(&node.name, last)?);
            (operator, channels * last)
        } else {
            (Operator::Conv2d(window), last)
        };
        let outputs_known = usize::try_from(outputs).map_err(|_| Error::TooLarge {
            node: node.name.clone(),
            value: outputs,
        })?;
        if let Some(kernel) = self.emitter.stored(kernel_id).cloned() {
            // The inputs follow in `write_kernels`.
            let id = self.result(node, operator, &[x])?;
            let is_used_again = self.uses.get(&kernel_value).is_some_and(|uses| *uses > 1);
            let is_shared = is_used_again
                && !is_depthwise
                // With 8 bits all of them have the same bytes.
                && self.kernel_type != WeightType::DynamicInt8
                && height * width * channels >= SHARED_FROM;
            self.kernels.insert(
                id,
                Convolution {
                    name: node.name.clone(),
                    x,
                    kernel,
                    is_depthwise,
                    shared: is_shared.then_some(kernel_value),
                    scale: None,
                    bias: vec![0.0; outputs_known],
                },
            );
            return Ok(id);
        }
        let name = format!("{}/kernel", node.name);
        let dtype = self.emitter.dtype(kernel_id);
        let kernel = if is_depthwise {
            self.reshape(&name, kernel_id, &[1, height, width, outputs])?
        } else {
            let order = self.integers(&[3, 0, 1, 2]);
            let to = [last, height, width, channels];
            let operator = Operator::Plain(Plain::Transpose);
            self.emitter
                .add(&name, operator, &[kernel_id, order], dtype, &to)
        };
        let bias = self.vector("bias/none", &vec![0.0; outputs_known]);
        self.result(node, operator, &[x, kernel, bias])
    }

    /// Gives convolutions the kernels and biases that they have come to have.
    pub(super) fn write_kernels(&mut self) {
        for (id, kernel) in std::mem::take(&mut self.kernels) {
            let mut stored = kernel.kernel;
            if let Some(scale) = &kernel.scale {
                stored = stored.scaled(narrow(scale));
            }
            if kernel.is_depthwise {
                let mut sizes = vec![1];
                sizes.extend(stored.shape().iter().take(2));
                sizes.push(kernel.bias.len() as u64);
                stored = stored.reshaped(&sizes);
            } else {
                stored = stored.with_front(3);
            }
            let name = format!("{}/kernel", kernel.name);
            let quantized = self.quantized(&stored);
            let weights = match quantized {
                Some(quantized) => {
                    self.emitter.make_hybrid(id);
                    self.emitter.constant(&name, quantized)
                }
                None => self.kernel(&name, stored),
            };
            let name = format!("{}/bias", kernel.name);
            let bias = self.vector(&name, &kernel.bias);
            self.emitter.set_inputs(id, vec![kernel.x, weights, bias]);
        }
    }

    /// A kernel with 8 bits, where that was asked for and it is large enough.
    fn quantized(&self, stored: &Stored<'a>) -> Option<Stored<'a>> {
        let elements = stored.shape().iter().product::<u64>();
        let is_wanted =
            self.kernel_type == WeightType::DynamicInt8 && elements >= WeightType::LEAST_QUANTIZED;
        is_wanted.then(|| stored.clone().quantized()).flatten()
    }

    /// A kernel in its final form, with as many bits as was asked for.
    fn kernel(&mut self, name: &str, stored: Stored<'a>) -> TensorId {
        let half = match self.kernel_type {
            WeightType::Float16 => stored.clone().halved(),
            WeightType::Float32 | WeightType::DynamicInt8 => None,
        };
        match half {
            Some(half) => self.emitter.half_constant(name, half),
            None => self.emitter.constant(name, stored),
        }
    }

    /// A constant for each channel.
    fn vector(&mut self, name: &str, values: &[f64]) -> TensorId {
        let stored = Stored::floats(&[values.len() as u64], &narrow(values));
        self.emitter.constant(name, stored)
    }

    /// The convolution that computes a value, if a node that alone uses this may change it.
    fn open_kernel(&self, value: ValueId, id: TensorId) -> bool {
        self.is_free(value, id) && self.emitter.is_linear(id) && self.kernels.contains_key(&id)
    }

    /// The elements of a vector that is known.
    fn known(&self, node: &Node, position: usize) -> Result<Option<Vec<f64>>, Error> {
        let id = self.operand(node, position)?;
        let values = self.emitter.stored(id).and_then(Stored::to_f32);
        Ok(values.map(|values| values.into_iter().map(f64::from).collect()))
    }

    pub(super) fn bias_add(&mut self, node: &Node) -> Result<TensorId, Error> {
        let value = node.input(0)?;
        let id = self.find(value)?;
        if let Some(bias) = self.known(node, 1)?
            && self.open_kernel(value, id)
            && let Some(kernel) = self.kernels.get_mut(&id)
        {
            kernel.add(&bias);
            self.emitter.rename(id, &node.name);
            return Ok(id);
        }
        self.elementwise(
            node,
            Operator::Arithmetic(Arithmetic::Add, Activation::None),
        )
    }

    pub(super) fn batch_norm(&mut self, node: &Node, epsilon: f32) -> Result<TensorId, Error> {
        let value = node.input(0)?;
        let id = self.find(value)?;
        let mut vectors = [const { Vec::new() }; 4];
        for (position, vector) in vectors.iter_mut().enumerate() {
            *vector = self.known(node, position + 1)?.ok_or_else(|| {
                unsupported(
                    &node.name,
                    "batch normalisation with computed parameters",
                    "parameters that are known",
                )
            })?;
        }
        let [gamma, beta, mean, variance] = vectors;
        let scale = gamma.iter().zip(&variance);
        let scale: Vec<f64> = scale
            .map(|(gamma, variance)| gamma / (variance + f64::from(epsilon)).sqrt())
            .collect();
        let shift = beta.iter().zip(&mean).zip(&scale);
        let shift: Vec<f64> = shift
            .map(|((beta, mean), scale)| beta - mean * scale)
            .collect();
        let mut scale = scale;
        if self.open_kernel(value, id)
            && let Some(kernel) = self.kernels.get_mut(&id)
        {
            let Some(shared) = kernel.shared else {
                kernel.multiply(&scale);
                kernel.add(&shift);
                self.emitter.rename(id, &node.name);
                return Ok(id);
            };
            let is_first = !self.shared_scales.contains_key(&shared);
            let first = self.shared_scales.entry(shared).or_insert_with(|| {
                let suits = self.kernel_type == WeightType::Float32 && divides(&scale);
                suits.then(|| scale.clone())
            });
            if let (Some(first), None) = (first, &kernel.scale) {
                kernel.multiply(first);
                if is_first {
                    kernel.add(&shift);
                    self.emitter.rename(id, &node.name);
                    return Ok(id);
                }
                for (scale, first) in scale.iter_mut().zip(first.iter()) {
                    *scale /= first;
                }
            }
        }
        self.scaled(node, [&scale, &shift])
    }

    /// What a node takes, times a factor of each channel, and with a term added.
    fn scaled(&mut self, node: &Node, [scale, shift]: [&[f64]; 2]) -> Result<TensorId, Error> {
        let value = node.input(0)?;
        let id = self.find(value)?;
        let shift = self.vector(&format!("{}/shift", node.name), shift);
        let name = format!("{}/scale", node.name);
        let (dtype, sizes) = self.typed(value)?;
        if sizes.len() == 4 {
            // A convolution of one pixel for each channel does both in one pass.
            let channels = scale.len() as u64;
            let scale = Stored::floats(&[1, 1, 1, channels], &narrow(scale));
            let scale = self.emitter.constant(&name, scale);
            let window = WindowOptions {
                padding: Padding::Valid,
                strides: [1, 1],
                dilations: [1, 1],
                activation: Activation::None,
                is_hybrid: false,
            };
            let operator = Operator::DepthwiseConv2d(window, 1);
            return self.result(node, operator, &[id, scale, shift]);
        }
        let scale = self.vector(&name, scale);
        let name = format!("{}/scaled", node.name);
        let operator = Operator::Arithmetic(Arithmetic::Mul, Activation::None);
        let scaled = self
            .emitter
            .add(&name, operator, &[id, scale], dtype, &sizes);
        let operator = Operator::Arithmetic(Arithmetic::Add, Activation::None);
        self.result(node, operator, &[scaled, shift])
    }

    /// The kernel is `[h, w, out, in]`, TFLite's `[out, h, w, in]`.
    pub(super) fn conv_transpose2d(&mut self, node: &Node, stride: u64) -> Result<TensorId, Error> {
        let (x, kernel) = (self.operand(node, 0)?, self.operand(node, 1)?);
        let name = format!("{}/kernel", node.name);
        let Some(stored) = self.emitter.stored(kernel).cloned() else {
            return Err(unsupported(
                &node.name,
                "a transposed convolution with a computed kernel",
                "a kernel that is known",
            ));
        };
        let kernel = self.kernel(&name, stored.with_front(2));
        let to = self.typed(node.output()?)?.1;
        let to = to.iter().map(|n| size(&node.name, *n));
        let to = to.collect::<Result<Vec<i32>, _>>()?;
        let to = self.integers(&to);
        let window = WindowOptions {
            padding: Padding::Same,
            strides: sizes(&node.name, [stride; 2])?,
            dilations: [1, 1],
            activation: Activation::None,
            is_hybrid: false,
        };
        self.result(node, Operator::TransposeConv(window), &[to, kernel, x])
    }

    pub(super) fn pool(
        &mut self,
        node: &Node,
        attrs: PoolAttrs,
        operator: fn(WindowOptions, [i32; 2]) -> Operator,
    ) -> Result<TensorId, Error> {
        let x = self.operand(node, 0)?;
        let window = WindowOptions {
            padding: attrs.padding,
            strides: sizes(&node.name, attrs.strides)?,
            dilations: [1, 1],
            activation: Activation::None,
            is_hybrid: false,
        };
        let operator = operator(window, sizes(&node.name, attrs.window)?);
        self.result(node, operator, &[x])
    }

    pub(super) fn global_average_pool(&mut self, node: &Node) -> Result<TensorId, Error> {
        let x = self.operand(node, 0)?;
        let axes = self.integers(&[1, 2]);
        let operator = Operator::Reduction {
            kind: Reduction::Mean,
            keep_dims: true,
        };
        self.result(node, operator, &[x, axes])
    }
}
