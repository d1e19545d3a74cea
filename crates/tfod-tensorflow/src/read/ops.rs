//! The counterpart of each of TensorFlow's operations. Attributes that are inputs there have to be constants, unless the graph has them as inputs, too.

use tfod_graph::{
    Binary, Builder, Compare, DType, Dim, Op, Padding, PixelGrid, Reduce, ResizeMethod, Unary,
    ValueId,
};

use super::node::{Result, Writing};
use super::sizes::{Size, reshaped};
use super::{Reader, element_type};
use crate::constants::FlatNode;
use crate::messages::attr;

/// The operation that takes a feature out of an example; all of its inputs but the first are defaults.
pub(super) const EXAMPLE: &str = "ParseSingleExample";

impl<'g, 'a> Reader<'g, 'a> {
    /// Writes a node; gives its outputs.
    pub(super) fn operation(
        &mut self,
        b: &mut Builder,
        node: &'g FlatNode<'a>,
        name: &str,
        inputs: &[ValueId],
    ) -> Result<Vec<ValueId>> {
        let mut w = Writing {
            b,
            node,
            name,
            inputs,
        };
        let values = self.written(&mut w)?;
        for value in &values {
            self.sizes.note(w.b, *value);
        }
        Ok(values)
    }

    #[expect(clippy::too_many_lines, reason = "a table: one arm for each operation")]
    fn written(&mut self, w: &mut Writing<'_, '_, '_>) -> Result<Vec<ValueId>> {
        if let Some(op) = elementwise(&w.node.op) {
            return w.all(op);
        }
        Ok(match &*w.node.op {
            "Identity" | "StopGradient" => vec![w.input(0)?],
            "Conv2D" => {
                let attrs = w.convolution()?;
                w.of(Op::Conv2d(attrs), 2)?
            }
            "DepthwiseConv2dNative" => {
                let attrs = w.convolution()?;
                w.of(Op::DepthwiseConv2d(attrs), 2)?
            }
            "Conv2DBackpropInput" => self.transposed_convolution(w)?,
            "Transpose" => {
                let x = w.input(0)?;
                let order = w.integers_of(w.input(1)?)?;
                let order = order.iter().map(|axis| usize::try_from(*axis).ok());
                let order: Option<Vec<usize>> = order.collect();
                let order = order.ok_or_else(|| w.refuse("has an order below 0"))?;
                w.with(Op::Transpose(order), &[x])?
            }
            "MaxPool" => {
                let attrs = w.pooling()?;
                w.of(Op::MaxPool(attrs), 1)?
            }
            "AvgPool" => {
                let attrs = w.pooling()?;
                w.of(Op::AveragePool(attrs), 1)?
            }
            "MatMul" | "BatchMatMulV2" => {
                let turned = ["transpose_a", "transpose_b", "adj_x", "adj_y"];
                if turned.iter().any(|name| w.flag(name, false)) {
                    return Err(w.refuse("transposes its inputs"));
                }
                w.of(Op::MatMul, 2)?
            }
            "CropAndResize" => Self::crop(w)?,
            "Mean" => Self::mean(w)?,
            "BiasAdd" => {
                w.channels_last()?;
                w.of(Op::BiasAdd, 2)?
            }
            "FusedBatchNorm" | "FusedBatchNormV2" | "FusedBatchNormV3" => {
                w.channels_last()?;
                if w.flag("is_training", true) {
                    return Err(w.refuse("is in training, so it gives another result each time"));
                }
                let epsilon = w.node.attr("epsilon").and_then(attr::float);
                let epsilon = epsilon.unwrap_or(0.0001);
                w.of(Op::BatchNorm { epsilon }, 5)?
            }
            "Cast" => {
                let to = w.node.attr("DstT").and_then(attr::data_type);
                let to = to.and_then(element_type);
                let to =
                    to.ok_or_else(|| w.refuse("is to an element type that is not supported"))?;
                w.of(Op::Cast(to), 1)?
            }
            "Pad" => self.pad(w)?,
            "ResizeBilinear" => self.resize(w, ResizeMethod::Bilinear)?,
            "ResizeNearestNeighbor" => self.resize(w, ResizeMethod::Nearest)?,
            "ResizeBicubic" => self.resize(w, ResizeMethod::Bicubic)?,
            "ResizeArea" => self.resize(w, ResizeMethod::Area)?,
            "Shape" => {
                let out = w.node.attr("out_type").and_then(attr::data_type);
                if out.is_some_and(|out| element_type(out) != Some(DType::I32)) {
                    return Err(w.refuse("gives sizes of 64 bits"));
                }
                w.of(Op::ShapeOf, 1)?
            }
            "Range" => {
                if (w.integer(0)?, w.integer(2)?) != (0, 1) {
                    return Err(w.refuse("does not count from 0 in steps of 1"));
                }
                let limit = w.input(1)?;
                let dim = self.sizes.dims(w.b, limit);
                let dim = dim.and_then(|dims| dims.into_iter().next());
                let dim = dim.ok_or_else(|| w.refuse("counts to what is no scalar of 32 bits"))?;
                w.with(Op::Range(dim), &[limit])?
            }
            "Reshape" => self.reshape(w)?,
            "ExpandDims" | "Squeeze" => Self::with_other_rank(w)?,
            "ConcatV2" => {
                let (axis, parts) = w
                    .inputs
                    .split_last()
                    .ok_or_else(|| w.refuse("has no inputs"))?;
                let axis = w.axis_of(w.integers_of(*axis)?.first(), parts.first(), 0)?;
                w.with(Op::Concat { axis }, parts)?
            }
            "Slice" => Self::slice(w)?,
            "StridedSlice" => self.strided_slice(w)?,
            "Unpack" => {
                let axis = w.axis_attr(0)?;
                w.of(Op::Unstack { axis }, 1)?
            }
            "Pack" => {
                let axis = w.axis_attr(1)?;
                w.all(Op::Stack { axis })?
            }
            "GatherV2" => Self::gather(w)?,
            "Select" => Self::select_rows(w)?,
            "Sum" => Self::reduce(w, Reduce::Sum)?,
            "Max" => Self::reduce(w, Reduce::Max)?,
            "Min" => Self::reduce(w, Reduce::Min)?,
            "TopKV2" => self.top_k(w)?,
            "ArgMax" => {
                let out = w.node.attr("output_type").and_then(attr::data_type);
                if out.and_then(element_type) != Some(DType::I32) {
                    return Err(w.refuse("gives places of 64 bits"));
                }
                let x = w.input(0)?;
                let axis = w.axis_of(w.integers_of(w.input(1)?)?.first(), Some(&x), 0)?;
                w.with(Op::ArgMax { axis }, &[x])?
            }
            "NonMaxSuppressionV4" => w.suppression()?,
            "NonMaxSuppressionV5" => w.soft_suppression()?,
            "DecodeImage" => {
                let is_plain = w.node.attr("channels").and_then(attr::int) == Some(3)
                    && !w.flag("expand_animations", true);
                if !is_plain {
                    return Err(w.refuse("decodes to another form than red, green and blue"));
                }
                let size = [self.sizes.fresh(), self.sizes.fresh()];
                w.of(Op::DecodeImage { size }, 1)?
            }
            EXAMPLE => w.example()?,
            _ => return Err(w.refuse("is no operation that graphs have here")),
        })
    }

    /// What the gradient of a convolution is; the size that it is given has to be what the strides make.
    fn transposed_convolution(&mut self, w: &mut Writing<'_, '_, '_>) -> Result<Vec<ValueId>> {
        let attrs = w.convolution()?;
        let [stride, other] = attrs.strides;
        if stride != other || attrs.dilations != [1; 2] || attrs.padding != Padding::Same {
            return Err(w.refuse("has uneven strides, dilations or padding other than SAME"));
        }
        let (size, kernel, x) = (w.input(0)?, w.input(1)?, w.input(2)?);
        let size = self.sizes.dims(w.b, size);
        let size = size.ok_or_else(|| w.refuse("is given what is no size"))?;
        let values = w.with(Op::ConvTranspose2d { stride }, &[x, kernel])?;
        let made = values.iter().map(|value| w.b.shape(*value).dims());
        match made.into_iter().next() {
            Some(made) if made == size => Ok(values),
            _ => Err(w.refuse("gives another size than its strides make")),
        }
    }

    fn crop(w: &mut Writing<'_, '_, '_>) -> Result<Vec<ValueId>> {
        let method = w.node.attr("method").and_then(attr::text);
        let beyond = w.node.attr("extrapolation_value").and_then(attr::float);
        if method.is_some_and(|method| method != "bilinear") || beyond.is_some_and(|x| x != 0.0) {
            return Err(w.refuse("is not bilinear, with zeros beyond the image"));
        }
        let to = w.integers_of(w.input(3)?)?;
        let to: Option<Vec<u64>> = to.iter().map(|n| u64::try_from(*n).ok()).collect();
        match to.as_deref() {
            Some(&[height, width]) => w.of(Op::CropAndResize { height, width }, 3),
            _ => Err(w.refuse("has a size that is not height and width")),
        }
    }

    fn gather(w: &mut Writing<'_, '_, '_>) -> Result<Vec<ValueId>> {
        let shared = w.node.attr("batch_dims").and_then(attr::int).unwrap_or(0);
        let batch_dims = usize::try_from(shared).ok();
        let batch_dims = batch_dims.filter(|_| w.integer(2).is_ok_and(|axis| axis == shared));
        let batch_dims = batch_dims.ok_or_else(|| {
            w.refuse("takes slices along another axis than the first that is not shared")
        })?;
        let (data, mut indices) = (w.input(0)?, w.input(1)?);
        if w.b.graph().value(indices).dtype == DType::I64 {
            let name = format!("{}/indices", w.name);
            indices = w.b.cast(&name, indices, DType::I32)?;
        }
        w.with(Op::Gather { batch_dims }, &[data, indices])
    }

    /// `Select` of TensorFlow 1: a vector of conditions chooses rows, where `SelectV2` would choose along the last dimension.
    fn select_rows(w: &mut Writing<'_, '_, '_>) -> Result<Vec<ValueId>> {
        let (mut which, x, y) = (w.input(0)?, w.input(1)?, w.input(2)?);
        let rank = w.b.shape(x).rank();
        if let ([rows], 2..) = (w.b.shape(which).dims(), rank) {
            let mut dims = vec![rows.clone()];
            dims.resize(rank, Dim::Known(1));
            which = w.b.reshape(&format!("{}/rows", w.name), which, &dims)?;
        }
        w.with(Op::Select, &[which, x, y])
    }

    fn top_k(&mut self, w: &mut Writing<'_, '_, '_>) -> Result<Vec<ValueId>> {
        let (x, count) = (w.input(0)?, w.input(1)?);
        let k = self.sizes.dims(w.b, count);
        let k = k.and_then(|sizes| sizes.into_iter().next());
        let k = k.ok_or_else(|| w.refuse("takes what is no number"))?;
        let inputs = [x, count];
        let is_known = k.known().is_some();
        w.with(
            Op::TopK { k },
            if is_known { &inputs[..1] } else { &inputs },
        )
    }

    fn pad(&mut self, w: &mut Writing<'_, '_, '_>) -> Result<Vec<ValueId>> {
        let (x, by) = (w.input(0)?, w.input(1)?);
        if w.constant(by).is_some() {
            let numbers = w.integers_of(by)?;
            let pairs = numbers.as_chunks::<2>().0.iter();
            let pairs = pairs.map(|[before, after]| {
                Some((u64::try_from(*before).ok()?, u64::try_from(*after).ok()?))
            });
            let pairs: Option<Vec<(u64, u64)>> = pairs.collect();
            let pairs = pairs.ok_or_else(|| w.refuse("adds less than nothing"))?;
            return w.with(Op::Pad(pairs), &[x]);
        }
        // Rows of nothing before, and a computed number after.
        let rows = w.b.graph().node(w.b.graph().value(by).node);
        let parts = match (&rows.op, rows.inputs.as_slice()) {
            (Op::Stack { axis: 1 }, [before, after]) => Some((*before, *after)),
            _ => None,
        };
        let after = match parts {
            Some((before, after)) if w.integers_of(before)?.iter().all(|n| *n == 0) => after,
            _ => return Err(w.refuse("adds a computed number of elements before others")),
        };
        let added = self.sizes.dims(w.b, after);
        let added = added.ok_or_else(|| w.refuse("adds what is no size"))?;
        let dims = w.b.shape(x).dims().to_vec();
        let dims = dims.iter().zip(added);
        let dims = dims.map(|(dim, more)| dim.plus(&more).unwrap_or_else(|| self.sizes.fresh()));
        let dims = dims.collect();
        w.with(Op::PadEnd(dims), &[x, after])
    }

    fn resize(
        &mut self,
        w: &mut Writing<'_, '_, '_>,
        method: ResizeMethod,
    ) -> Result<Vec<ValueId>> {
        let grid = match (
            w.flag("align_corners", false),
            w.flag("half_pixel_centers", false),
        ) {
            (false, false) => PixelGrid::Corners,
            (false, true) => PixelGrid::Centers,
            (true, false) => PixelGrid::AlignedCorners,
            (true, true) => return Err(w.refuse("has both aligned corners and half-pixel centres")),
        };
        let (x, to) = (w.input(0)?, w.input(1)?);
        let dims = self.sizes.dims(w.b, to);
        let size = dims.and_then(|dims| <[Dim; 2]>::try_from(dims).ok());
        let size = size.ok_or_else(|| w.refuse("has a size that is not height and width"))?;
        let is_known = size.iter().all(|dim| dim.known().is_some());
        let op = Op::Resize { method, size, grid };
        let inputs = [x, to];
        w.with(op, if is_known { &inputs[..1] } else { &inputs })
    }

    fn reshape(&mut self, w: &mut Writing<'_, '_, '_>) -> Result<Vec<ValueId>> {
        let (x, to) = (w.input(0)?, w.input(1)?);
        let to: Option<Vec<Size>> = self.sizes.of(w.b, to);
        let from = w.b.shape(x).dims().to_vec();
        let dims = to.and_then(|to| reshaped(&mut self.sizes, &from, &to));
        let dims = dims.ok_or_else(|| w.refuse("is to a shape that is no vector of sizes"))?;
        // What tells the shape of a computed padding. Where all dimensions but one are those of the padding, the last one is, too.
        let node = w.b.graph().node(w.b.graph().value(x).node);
        if matches!(node.op, Op::PadEnd(_)) && dims.len() == from.len() {
            let mut others = from.iter().zip(&dims).filter(|(from, to)| from != to);
            let told = others.next();
            let is_same = told.is_none_or(|(from, _)| from.known().is_none());
            if is_same && others.next().is_none() && !dims.iter().any(|dim| dim.is(0)) {
                let inputs = node.inputs.clone();
                return w.with(Op::PadEnd(dims), &inputs);
            }
        }
        w.with(Op::Reshape(dims), &[x])
    }

    fn with_other_rank(w: &mut Writing<'_, '_, '_>) -> Result<Vec<ValueId>> {
        let x = w.input(0)?;
        let mut dims = w.b.shape(x).dims().to_vec();
        if w.node.op == "ExpandDims" {
            let axis = w.axis_of(w.integers_of(w.input(1)?)?.first(), Some(&x), 1)?;
            dims.insert(axis, Dim::Known(1));
        } else {
            let axes = w.node.attr("squeeze_dims").and_then(attr::ints);
            let axes = axes.unwrap_or_default();
            let mut gone = Vec::with_capacity(axes.len());
            for axis in &axes {
                gone.push(w.axis_number(*axis, dims.len())?);
            }
            let is_gone =
                |axis: usize, dim: &Dim| gone.contains(&axis) || gone.is_empty() && dim.is(1);
            let kept = dims.iter().enumerate();
            let kept = kept.filter(|(axis, dim)| !is_gone(*axis, dim));
            dims = kept.map(|(_, dim)| dim.clone()).collect();
        }
        w.with(Op::Reshape(dims), &[x])
    }

    /// A reduction, with its axes kept as dimensions of 1 where that is asked for.
    fn reduce(w: &mut Writing<'_, '_, '_>, kind: Reduce) -> Result<Vec<ValueId>> {
        let x = w.input(0)?;
        let axes = w.reduced_axes()?;
        let mut dims = w.b.shape(x).dims().to_vec();
        for axis in &axes {
            if let Some(dim) = dims.get_mut(*axis) {
                *dim = Dim::Known(1);
            }
        }
        if !w.flag("keep_dims", false) {
            return w.with(Op::Reduce { kind, axes }, &[x]);
        }
        let reduced = w.b.add(
            &format!("{}/reduced", w.name),
            Op::Reduce { kind, axes },
            &[x],
        )?;
        w.with(Op::Reshape(dims), &reduced)
    }

    fn mean(w: &mut Writing<'_, '_, '_>) -> Result<Vec<ValueId>> {
        let x = w.input(0)?;
        if w.reduced_axes()? != [1, 2] || w.b.shape(x).rank() != 4 {
            return Err(w.refuse("is not over height and width"));
        }
        if w.flag("keep_dims", false) {
            return w.with(Op::GlobalAveragePool, &[x]);
        }
        let name = format!("{}/averages", w.name);
        let averages = w.b.add(&name, Op::GlobalAveragePool, &[x])?;
        let dims = w.b.shape(x).dims().to_vec();
        let dims = [0, 3].map(|axis: usize| dims.get(axis).cloned());
        let dims = dims.into_iter().flatten().collect();
        w.with(Op::Reshape(dims), &averages)
    }

    fn slice(w: &mut Writing<'_, '_, '_>) -> Result<Vec<ValueId>> {
        let x = w.input(0)?;
        let (begins, lengths) = (w.integers_of(w.input(1)?)?, w.integers_of(w.input(2)?)?);
        let dims = w.b.shape(x).dims();
        let ranges = begins.iter().zip(&lengths).zip(dims);
        let ranges = ranges.map(|((begin, length), dim)| {
            let begin = u64::try_from(*begin).ok()?;
            match (u64::try_from(*length), dim.known()) {
                (Ok(length), Some(size)) if begin == 0 && length == size => Some(None),
                (Ok(length), _) => Some(Some((begin, length))),
                (Err(_), Some(size)) if begin > 0 => Some(Some((begin, size.checked_sub(begin)?))),
                (Err(_), _) if begin == 0 => Some(None),
                _ => None,
            }
        });
        let ranges: Option<Vec<Option<(u64, u64)>>> = ranges.collect();
        let ranges = ranges.filter(|ranges| ranges.len() == dims.len());
        let ranges = ranges.ok_or_else(|| w.refuse("takes a part that is not known"))?;
        w.with(Op::Slice(ranges), &[x])
    }

    /// A part in steps of 1, from which single positions are taken out.
    fn strided_slice(&mut self, w: &mut Writing<'_, '_, '_>) -> Result<Vec<ValueId>> {
        let x = w.input(0)?;
        let [begins, ends, strides] = [1, 2, 3].map(|input| {
            let value = w.input(input)?;
            w.integers_of(value)
        });
        let (begins, ends, strides) = (begins?, ends?, strides?);
        let mask = |name: &str| w.node.attr(name).and_then(attr::int).unwrap_or(0);
        let is_plain = mask("ellipsis_mask") == 0
            && mask("new_axis_mask") == 0
            && strides.iter().all(|step| *step == 1);
        let dims = w.b.shape(x).dims().to_vec();
        if !is_plain || begins.len() > dims.len() || begins.len() != ends.len() {
            return Err(w.refuse("takes a part in steps"));
        }
        let (mut ranges, mut kept) = (Vec::new(), Vec::new());
        for (axis, dim) in dims.iter().enumerate() {
            let is_in = |name: &str| {
                u32::try_from(axis).is_ok_and(|bit| mask(name) >> bit.min(63) & 1 == 1)
            };
            let (Some(begin), Some(end)) = (begins.get(axis), ends.get(axis)) else {
                ranges.push(None);
                kept.push(dim.clone());
                continue;
            };
            let from_end = |position: i64| match (u64::try_from(position), dim.known()) {
                (Ok(position), Some(size)) => Some(position.min(size)),
                (Ok(position), None) => Some(position),
                (Err(_), Some(size)) => Some(size.saturating_sub(position.unsigned_abs())),
                (Err(_), None) => None,
            };
            let is_one = is_in("shrink_axis_mask");
            // A single position is not what the masks say.
            let begin = if is_in("begin_mask") && !is_one {
                Some(0)
            } else {
                from_end(*begin)
            };
            let end = if is_in("end_mask") {
                dim.known()
            } else {
                from_end(*end)
            };
            let range = match (begin, end) {
                (Some(begin), _) if is_one => Some(Some((begin, 1))),
                (Some(0), None) if is_in("end_mask") => Some(None),
                (Some(0), Some(end)) if dim.is(end) => Some(None),
                // An end before the beginning leaves nothing.
                (Some(begin), Some(end)) => Some(Some((begin, end.saturating_sub(begin)))),
                _ => None,
            };
            let range = range.ok_or_else(|| w.refuse("takes a part that is not known"))?;
            ranges.push(range);
            match range {
                _ if is_one => {}
                Some((_, size)) => kept.push(Dim::Known(size)),
                None => kept.push(dim.clone()),
            }
        }
        if kept.len() == dims.len() {
            return w.with(Op::Slice(ranges), &[x]);
        }
        let part =
            w.b.add(&format!("{}/part", w.name), Op::Slice(ranges), &[x])?;
        for value in &part {
            self.sizes.note(w.b, *value);
        }
        w.with(Op::Reshape(kept), &part)
    }
}

/// Operations without attributes that matter, on all of their inputs.
fn elementwise(op: &str) -> Option<Op> {
    Some(match op {
        "Relu" => Op::Unary(Unary::Relu),
        "Relu6" => Op::Unary(Unary::Relu6),
        "Sigmoid" => Op::Unary(Unary::Sigmoid),
        "Exp" => Op::Unary(Unary::Exp),
        "Log" => Op::Unary(Unary::Log),
        "Round" => Op::Unary(Unary::Round),
        "Sqrt" => Op::Unary(Unary::Sqrt),
        "Abs" => Op::Unary(Unary::Abs),
        "Add" | "AddV2" => Op::Binary(Binary::Add),
        "Sub" => Op::Binary(Binary::Sub),
        "Mul" => Op::Binary(Binary::Mul),
        "RealDiv" => Op::Binary(Binary::Div),
        "FloorDiv" => Op::Binary(Binary::FloorDiv),
        "Maximum" => Op::Binary(Binary::Maximum),
        "Minimum" => Op::Binary(Binary::Minimum),
        "Less" => Op::Compare(Compare::Less),
        "Greater" => Op::Compare(Compare::Greater),
        "GreaterEqual" => Op::Compare(Compare::GreaterEqual),
        "Equal" => Op::Compare(Compare::Equal),
        "LogicalAnd" => Op::And,
        "SelectV2" => Op::Select,
        "Softmax" => Op::Softmax,
        _ => return None,
    })
}
