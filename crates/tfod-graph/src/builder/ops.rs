//! A method for each operation.

use super::{Builder, Built};
use crate::dim::Dim;
use crate::graph::ValueId;
use crate::op::{
    Binary, Compare, ConvAttrs, MapInput, NmsAttrs, Op, PixelGrid, PoolAttrs, Reduce, ResizeMethod,
    SoftNmsAttrs, Unary,
};
use crate::tensor::{DType, Tensor};
use crate::validate::ValidateError;

/// One method an operation; each names its node and fails when the operation does not accept the inputs.
#[allow(
    clippy::missing_errors_doc,
    reason = "the sentence above is the documentation of all of them"
)]
impl Builder {
    /// [`Op::Conv2d`]
    pub fn conv2d(&mut self, name: &str, x: ValueId, kernel: ValueId, attrs: ConvAttrs) -> Built {
        self.one(name, Op::Conv2d(attrs), &[x, kernel])
    }

    /// [`Op::DepthwiseConv2d`]
    pub fn depthwise_conv2d(
        &mut self,
        name: &str,
        x: ValueId,
        kernel: ValueId,
        attrs: ConvAttrs,
    ) -> Built {
        self.one(name, Op::DepthwiseConv2d(attrs), &[x, kernel])
    }

    /// [`Op::ConvTranspose2d`]
    pub fn conv_transpose2d(
        &mut self,
        name: &str,
        x: ValueId,
        kernel: ValueId,
        stride: u64,
    ) -> Built {
        self.one(name, Op::ConvTranspose2d { stride }, &[x, kernel])
    }

    /// [`Op::MaxPool`]
    pub fn max_pool(&mut self, name: &str, x: ValueId, attrs: PoolAttrs) -> Built {
        self.one(name, Op::MaxPool(attrs), &[x])
    }

    /// [`Op::AveragePool`]
    pub fn average_pool(&mut self, name: &str, x: ValueId, attrs: PoolAttrs) -> Built {
        self.one(name, Op::AveragePool(attrs), &[x])
    }

    /// [`Op::GlobalAveragePool`]
    pub fn global_average_pool(&mut self, name: &str, x: ValueId) -> Built {
        self.one(name, Op::GlobalAveragePool, &[x])
    }

    /// [`Op::BiasAdd`]
    pub fn bias_add(&mut self, name: &str, x: ValueId, bias: ValueId) -> Built {
        self.one(name, Op::BiasAdd, &[x, bias])
    }

    /// [`Op::BatchNorm`]; `vectors` are gamma, beta, mean and variance.
    pub fn batch_norm(
        &mut self,
        name: &str,
        x: ValueId,
        vectors: [ValueId; 4],
        epsilon: f32,
    ) -> Built {
        let [gamma, beta, mean, variance] = vectors;
        self.one(
            name,
            Op::BatchNorm { epsilon },
            &[x, gamma, beta, mean, variance],
        )
    }

    /// [`Op::MatMul`]
    pub fn mat_mul(&mut self, name: &str, a: ValueId, b: ValueId) -> Built {
        self.one(name, Op::MatMul, &[a, b])
    }

    /// [`Op::Unary`]
    pub fn unary(&mut self, name: &str, unary: Unary, x: ValueId) -> Built {
        self.one(name, Op::Unary(unary), &[x])
    }

    /// [`Op::Binary`]
    pub fn binary(&mut self, name: &str, binary: Binary, a: ValueId, b: ValueId) -> Built {
        self.one(name, Op::Binary(binary), &[a, b])
    }

    /// [`Op::Binary`] with a scalar constant on the right.
    pub fn binary_scalar(&mut self, name: &str, binary: Binary, a: ValueId, b: f32) -> Built {
        let b = self.constant(&format!("{name}/by"), Tensor::scalar_f32(b))?;
        self.binary(name, binary, a, b)
    }

    /// [`Op::Compare`]
    pub fn compare(&mut self, name: &str, compare: Compare, a: ValueId, b: ValueId) -> Built {
        self.one(name, Op::Compare(compare), &[a, b])
    }

    /// [`Op::And`]
    pub fn and(&mut self, name: &str, a: ValueId, b: ValueId) -> Built {
        self.one(name, Op::And, &[a, b])
    }

    /// [`Op::Select`]
    pub fn select(&mut self, name: &str, condition: ValueId, a: ValueId, b: ValueId) -> Built {
        self.one(name, Op::Select, &[condition, a, b])
    }

    /// [`Op::Softmax`]
    pub fn softmax(&mut self, name: &str, x: ValueId) -> Built {
        self.one(name, Op::Softmax, &[x])
    }

    /// [`Op::Cast`]; nothing is added when the value already has the type.
    pub fn cast(&mut self, name: &str, x: ValueId, to: DType) -> Built {
        if self.graph.value(x).dtype == to {
            return Ok(x);
        }
        self.one(name, Op::Cast(to), &[x])
    }

    /// [`Op::Pad`]
    pub fn pad(&mut self, name: &str, x: ValueId, paddings: &[(u64, u64)]) -> Built {
        self.one(name, Op::Pad(paddings.to_vec()), &[x])
    }

    /// [`Op::PadEnd`] by numbers that make `to`.
    pub fn pad_end(&mut self, name: &str, x: ValueId, by: ValueId, to: Vec<Dim>) -> Built {
        self.one(name, Op::PadEnd(to), &[x, by])
    }

    /// [`Op::Resize`] to a known size.
    pub fn resize(
        &mut self,
        name: &str,
        x: ValueId,
        method: ResizeMethod,
        size: [u64; 2],
        half_pixel_centers: bool,
    ) -> Built {
        let grid = if half_pixel_centers {
            PixelGrid::Centers
        } else {
            PixelGrid::Corners
        };
        self.resize_on(name, x, method, grid, size.map(Dim::Known), None)
    }

    /// [`Op::Resize`] to a size that is known, or else is `computed` at run time.
    pub fn resize_on(
        &mut self,
        name: &str,
        x: ValueId,
        method: ResizeMethod,
        grid: PixelGrid,
        size: [Dim; 2],
        computed: Option<ValueId>,
    ) -> Built {
        let inputs: Vec<ValueId> = std::iter::once(x).chain(computed).collect();
        let op = Op::Resize { method, size, grid };
        self.one(name, op, &inputs)
    }

    /// [`Op::CropAndResize`] to `[height, width]`; `images` says for each box which image it is of.
    pub fn crop_and_resize(
        &mut self,
        name: &str,
        x: ValueId,
        boxes: ValueId,
        images: ValueId,
        [height, width]: [u64; 2],
    ) -> Built {
        let op = Op::CropAndResize { height, width };
        self.one(name, op, &[x, boxes, images])
    }

    /// [`Op::ShapeOf`]
    pub fn shape_of(&mut self, name: &str, x: ValueId) -> Built {
        self.one(name, Op::ShapeOf, &[x])
    }

    /// [`Op::Range`] of `count` numbers, a vector of the size `dim`.
    pub fn range(&mut self, name: &str, count: ValueId, dim: Dim) -> Built {
        self.one(name, Op::Range(dim), &[count])
    }

    /// [`Op::Reshape`]; nothing is added when the value already has the shape.
    pub fn reshape(&mut self, name: &str, x: ValueId, shape: &[Dim]) -> Built {
        if self.shape(x).dims() == shape {
            return Ok(x);
        }
        self.one(name, Op::Reshape(shape.to_vec()), &[x])
    }

    /// [`Op::Transpose`]
    pub fn transpose(&mut self, name: &str, x: ValueId, order: &[usize]) -> Built {
        self.one(name, Op::Transpose(order.to_vec()), &[x])
    }

    /// [`Op::Concat`]
    pub fn concat(&mut self, name: &str, axis: usize, values: &[ValueId]) -> Built {
        self.one(name, Op::Concat { axis }, values)
    }

    /// [`Op::Slice`] of the last dimension.
    pub fn slice_last(&mut self, name: &str, x: ValueId, begin: u64, size: u64) -> Built {
        let mut ranges = vec![None; self.shape(x).rank()];
        if let Some(last) = ranges.last_mut() {
            *last = Some((begin, size));
        }
        self.one(name, Op::Slice(ranges), &[x])
    }

    /// [`Op::Unstack`]
    pub fn unstack(&mut self, name: &str, x: ValueId, axis: usize) -> Built<Vec<ValueId>> {
        self.add(name, Op::Unstack { axis }, &[x])
    }

    /// [`Op::Stack`]
    pub fn stack(&mut self, name: &str, axis: usize, values: &[ValueId]) -> Built {
        self.one(name, Op::Stack { axis }, values)
    }

    /// [`Op::Gather`] along the first dimension.
    pub fn gather(&mut self, name: &str, data: ValueId, indices: ValueId) -> Built {
        self.gather_batched(name, data, indices, 0)
    }

    /// [`Op::Gather`] where the leading `batch_dims` dimensions of data and indices are the same.
    pub fn gather_batched(
        &mut self,
        name: &str,
        data: ValueId,
        indices: ValueId,
        batch_dims: usize,
    ) -> Built {
        self.one(name, Op::Gather { batch_dims }, &[data, indices])
    }

    /// [`Op::Reduce`]
    pub fn reduce(&mut self, name: &str, kind: Reduce, x: ValueId, axes: &[usize]) -> Built {
        let axes = axes.to_vec();
        self.one(name, Op::Reduce { kind, axes }, &[x])
    }

    /// [`Op::ArgMax`]
    pub fn arg_max(&mut self, name: &str, x: ValueId, axis: usize) -> Built {
        self.one(name, Op::ArgMax { axis }, &[x])
    }

    /// [`Op::TopK`] of a known number: values and indices.
    pub fn top_k(&mut self, name: &str, x: ValueId, k: u64) -> Built<[ValueId; 2]> {
        self.top_k_of(name, x, Dim::Known(k), None)
    }

    /// [`Op::TopK`] of a number that is known, or else is `computed` at run time: values and indices.
    pub fn top_k_of(
        &mut self,
        name: &str,
        x: ValueId,
        k: Dim,
        computed: Option<ValueId>,
    ) -> Built<[ValueId; 2]> {
        let inputs: Vec<ValueId> = std::iter::once(x).chain(computed).collect();
        let outputs = self.add(name, Op::TopK { k }, &inputs)?;
        Ok([outputs[0], outputs[1]])
    }

    /// [`Op::NonMaxSuppression`]: indices, and how many are valid.
    pub fn non_max_suppression(
        &mut self,
        name: &str,
        boxes: ValueId,
        scores: ValueId,
        attrs: NmsAttrs,
    ) -> Built<[ValueId; 2]> {
        let outputs = self.add(name, Op::NonMaxSuppression(attrs), &[boxes, scores])?;
        Ok([outputs[0], outputs[1]])
    }

    /// [`Op::SoftNonMaxSuppression`]: indices, scores, and how many are valid.
    pub fn soft_non_max_suppression(
        &mut self,
        name: &str,
        boxes: ValueId,
        scores: ValueId,
        attrs: SoftNmsAttrs,
    ) -> Built<[ValueId; 3]> {
        let outputs = self.add(name, Op::SoftNonMaxSuppression(attrs), &[boxes, scores])?;
        Ok([outputs[0], outputs[1], outputs[2]])
    }

    /// [`Op::DecodeImage`]; `size` names height and width.
    pub fn decode_image(&mut self, name: &str, file: ValueId, size: [&str; 2]) -> Built {
        let size = size.map(Dim::symbol);
        self.one(name, Op::DecodeImage { size }, &[file])
    }

    /// [`Op::ExampleFeature`]
    pub fn example_feature(&mut self, name: &str, example: ValueId, key: &str) -> Built {
        let key = key.to_owned();
        self.one(name, Op::ExampleFeature { key }, &[example])
    }

    /// [`Op::Map`]. `write` writes the body: it is given the body's inputs (slices of the sliced ones) and declares its outputs.
    pub fn map<E: From<ValidateError>>(
        &mut self,
        name: &str,
        inputs: &[(ValueId, MapInput)],
        write: impl FnOnce(&mut Self, &[ValueId]) -> Result<(), E>,
    ) -> Result<Vec<ValueId>, E> {
        let mut body = Self::new(name);
        body.other_nodes = self.num_nodes();
        let inner: Vec<ValueId> = inputs
            .iter()
            .enumerate()
            .map(|(i, (value, kind))| {
                let value = self.graph.value(*value);
                let shape = match kind {
                    MapInput::Whole => value.shape.clone(),
                    MapInput::Sliced => value.shape.without_leading(),
                };
                body.input(&format!("arg_{i}"), value.dtype, shape)
            })
            .collect();
        write(&mut body, &inner)?;
        self.other_nodes = body.num_nodes() - self.graph.nodes.len();
        let op = Op::Map {
            body: Box::new(body.finish()),
            inputs: inputs.iter().map(|(_, kind)| *kind).collect(),
        };
        let values: Vec<ValueId> = inputs.iter().map(|(value, _)| *value).collect();
        Ok(self.add(name, op, &values)?)
    }
}
