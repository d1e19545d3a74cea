//! The shapes that TensorFlow's operations give, as far as image models need them.

use tfod_checkpoint::DType;

use crate::constants::{Array, Data, Operation, place};
use crate::messages::attr;

/// The dimensions of a shape, `None` for those that are not known.
pub(super) type Dims = Vec<Option<u64>>;

/// What is known of the inputs of a node.
struct Inputs<'n> {
    operation: Operation<'n>,
    shapes: &'n [Option<&'n Dims>],
    values: &'n [Option<&'n Array>],
}

/// The shapes of a node's outputs, as many as are known.
pub(super) fn infer(
    operation: Operation<'_>,
    shapes: &[Option<&Dims>],
    values: &[Option<&Array>],
) -> Vec<Option<Dims>> {
    let inputs = Inputs {
        operation,
        shapes,
        values,
    };
    match operation.op {
        "Unpack" | "Split" | "SplitV" | "TopKV2" => inputs.several().unwrap_or_default(),
        "FusedBatchNorm" | "FusedBatchNormV2" | "FusedBatchNormV3" => {
            let channels = inputs.shape(1).cloned();
            let mut outputs = vec![inputs.shape(0).cloned()];
            outputs.resize(5, channels);
            outputs
        }
        _ => vec![inputs.one()],
    }
}

/// Integers in the type that an operation gives sizes in.
pub(super) fn integers(operation: Operation<'_>, shape: Vec<usize>, of: &[u64]) -> Option<Array> {
    let inputs = Inputs {
        operation,
        shapes: &[],
        values: &[],
    };
    let data_type = inputs.attr("out_type").and_then(attr::data_type);
    let dtype = data_type.and_then(DType::from_proto);
    let numbers: Option<Vec<i64>> = of.iter().map(|&n| i64::try_from(n).ok()).collect();
    let data = Data::integers(dtype.unwrap_or(DType::Int32), numbers?.into_iter())?;
    Array::new(shape, data)
}

impl Inputs<'_> {
    fn attr(&self, name: &str) -> Option<&[u8]> {
        self.operation.attr(name)
    }

    fn ints(&self, name: &str) -> Option<Vec<i64>> {
        attr::ints(self.attr(name)?)
    }

    fn int(&self, name: &str) -> i64 {
        self.attr(name).and_then(attr::int).unwrap_or(0)
    }

    fn flag(&self, name: &str) -> bool {
        self.attr(name).and_then(attr::bool) == Some(true)
    }

    fn text(&self, name: &str) -> Option<&str> {
        attr::text(self.attr(name)?)
    }

    fn shape(&self, input: usize) -> Option<&Dims> {
        self.shapes.get(input).copied().flatten()
    }

    /// The elements of an input of integers.
    fn value(&self, input: usize) -> Option<Vec<i64>> {
        self.values.get(input).copied().flatten()?.integers()
    }

    fn scalar(&self, input: usize) -> Option<i64> {
        self.values.get(input).copied().flatten()?.integer()
    }

    /// The shape of an operation of one output.
    fn one(&self) -> Option<Dims> {
        let op = self.operation.op;
        if is_same_shape(op) {
            return self.shape(0).cloned();
        }
        if is_broadcast(op) {
            let mut shape = self.shape(0)?.clone();
            for input in 1..self.shapes.len() {
                shape = broadcast(&shape, self.shape(input)?)?;
            }
            return Some(shape);
        }
        match op {
            "Enter" => self.flag("is_constant").then(|| self.shape(0).cloned())?,
            "Conv2D" | "DepthwiseConv2dNative" => self.convolution(),
            "MaxPool" | "AvgPool" => {
                let window = self.ints("ksize")?;
                let window: Option<Vec<u64>> =
                    window.iter().map(|&n| u64::try_from(n).ok()).collect();
                self.windows(&window?, None)
            }
            "ResizeBilinear" | "ResizeNearestNeighbor" | "ResizeBicubic" | "ResizeArea" => {
                let [batch, _, _, channels] = self.shape(0)?[..] else {
                    return None;
                };
                let size = self.value(1);
                let size = |at: usize| u64::try_from(*size.as_ref()?.get(at)?).ok();
                Some(vec![batch, size(0), size(1), channels])
            }
            "MatMul" => self.product("transpose_a", "transpose_b"),
            "BatchMatMul" | "BatchMatMulV2" => self.product("adj_x", "adj_y"),
            "Mean" | "Sum" | "Max" | "Min" | "Prod" | "All" | "Any" => {
                self.reduced(&self.value(1)?, self.flag("keep_dims"))
            }
            "ArgMax" | "ArgMin" => self.reduced(&self.value(1)?, false),
            "Reshape" => self.reshaped(),
            "Fill" | "BroadcastTo" | "RandomUniform" => {
                let dims = self.value(usize::from(op == "BroadcastTo"))?;
                Some(dims.iter().map(|&n| u64::try_from(n).ok()).collect())
            }
            "ExpandDims" => {
                let mut shape = self.shape(0)?.clone();
                let axis = place(self.scalar(1)?, shape.len() + 1)?;
                shape.insert(axis, Some(1));
                Some(shape)
            }
            "Squeeze" => self.squeezed(),
            "Transpose" => {
                let (shape, order) = (self.shape(0)?, self.value(1)?);
                let dim = |&n: &i64| shape.get(usize::try_from(n).ok()?).copied();
                order.iter().map(dim).collect()
            }
            "ConcatV2" => self.joined(),
            "Pack" => {
                let mut shape = self.shape(0)?.clone();
                let axis = place(self.int("axis"), shape.len() + 1)?;
                shape.insert(axis, Some(self.shapes.len() as u64));
                Some(shape)
            }
            "Pad" | "PadV2" | "MirrorPad" => {
                let (shape, by) = (self.shape(0)?, self.value(1)?);
                let padded = |(size, by): (&Option<u64>, &[i64])| {
                    let by = by
                        .iter()
                        .try_fold(0u64, |sum, &n| sum.checked_add(u64::try_from(n).ok()?));
                    (*size)?.checked_add(by?)
                };
                (by.len() == 2 * shape.len())
                    .then(|| shape.iter().zip(by.chunks(2)).map(padded).collect())
            }
            "Tile" => {
                let (shape, by) = (self.shape(0)?, self.value(1)?);
                let pairs = shape.iter().zip(&by);
                let tiled = pairs.map(|(size, &by)| (*size)?.checked_mul(u64::try_from(by).ok()?));
                (by.len() == shape.len()).then(|| tiled.collect())
            }
            "Slice" => self.sliced(),
            "StridedSlice" => self.strided_slice(),
            "GatherV2" => self.gathered(),
            "TensorListStack" | "TensorListGetItem" => {
                let last = self.shapes.len().checked_sub(1)?;
                // A scalar says that not even the number of dimensions is known.
                let is_vector = self.shape(last).is_some_and(|shape| shape.len() == 1);
                let element = self.value(last).filter(|_| is_vector)?;
                let mut shape: Dims = element.iter().map(|&n| u64::try_from(n).ok()).collect();
                if op == "TensorListStack" {
                    shape.insert(
                        0,
                        u64::try_from(self.int("num_elements"))
                            .ok()
                            .filter(|&n| n > 0),
                    );
                }
                Some(shape)
            }
            "Range" | "NonMaxSuppressionV2" | "NonMaxSuppressionV3" => Some(vec![None]),
            "Shape" => Some(vec![Some(self.shape(0)?.len() as u64)]),
            "Size" | "Rank" => Some(Vec::new()),
            _ => None,
        }
    }

    /// The shapes of an operation of several outputs.
    fn several(&self) -> Option<Vec<Option<Dims>>> {
        let all = |shape: Dims, count: i64| {
            const MOST: i64 = 1 << 12;
            let count = usize::try_from(count.min(MOST)).ok()?;
            Some(vec![Some(shape); count])
        };
        match self.operation.op {
            "Unpack" => {
                let mut shape = self.shape(0)?.clone();
                shape.remove(place(self.int("axis"), shape.len())?);
                all(shape, self.int("num"))
            }
            "Split" => {
                let mut shape = self.shape(1)?.clone();
                let (axis, count) = (place(self.scalar(0)?, shape.len())?, self.int("num_split"));
                let parts = u64::try_from(count).ok().filter(|&parts| parts > 0)?;
                shape[axis] = shape[axis].map(|size| size / parts);
                all(shape, count)
            }
            "SplitV" => {
                let shape = self.shape(0)?;
                let (sizes, axis) = (self.value(1)?, place(self.scalar(2)?, shape.len())?);
                let part = |&size: &i64| {
                    let mut shape = shape.clone();
                    shape[axis] = u64::try_from(size).ok();
                    Some(shape)
                };
                Some(sizes.iter().map(part).collect())
            }
            _ => {
                let mut shape = self.shape(0)?.clone();
                let k = self.scalar(1).and_then(|k| u64::try_from(k).ok());
                *shape.last_mut()? = k;
                all(shape, 2)
            }
        }
    }

    /// The places of height, width and channels of a feature map.
    fn layout(&self) -> Option<([usize; 2], usize)> {
        match self.text("data_format").unwrap_or("NHWC") {
            "NHWC" => Some(([1, 2], 3)),
            "NCHW" => Some(([2, 3], 1)),
            _ => None,
        }
    }

    fn convolution(&self) -> Option<Dims> {
        let &[height, width, inputs, outputs] = &self.shape(1)?[..] else {
            return None;
        };
        let channels = match self.operation.op {
            "Conv2D" => outputs,
            _ => inputs.zip(outputs).and_then(|(a, b)| a.checked_mul(b)),
        };
        let ([y, x], channel) = self.layout()?;
        let mut window = vec![1; 4];
        (window[y], window[x]) = (height?, width?);
        if let Some(dilations) = self.ints("dilations") {
            for (size, dilation) in window.iter_mut().zip(dilations) {
                let by = u64::try_from(dilation).ok()?;
                *size = size.checked_sub(1)?.checked_mul(by)?.checked_add(1)?;
            }
        }
        self.windows(&window, Some((channel, channels)))
    }

    /// Positions of a window that moves over a feature map.
    fn windows(&self, window: &[u64], channels: Option<(usize, Option<u64>)>) -> Option<Dims> {
        let mut shape = self.shape(0)?.clone();
        let strides = self.ints("strides")?;
        let (places, _) = self.layout()?;
        if shape.len() != 4 || window.len() != 4 || strides.len() != 4 {
            return None;
        }
        // Over images or channels, nothing but pooling in TensorFlow moves.
        let stays = |place: usize| window[place] == 1 && strides[place] == 1;
        if !(0..4).all(|place| places.contains(&place) || stays(place)) {
            return None;
        }
        for place in places {
            let stride = u64::try_from(strides[place]).ok().filter(|&n| n > 0)?;
            shape[place] = match (shape[place], self.text("padding")?) {
                (Some(size), "SAME") => Some(size.div_ceil(stride)),
                (Some(size), "VALID") => {
                    let last = size.checked_sub(window[place]);
                    last.map_or(Some(0), |last| (last / stride).checked_add(1))
                }
                _ => None,
            };
        }
        if let Some((place, size)) = channels {
            shape[place] = size;
        }
        Some(shape)
    }

    fn product(&self, first: &str, second: &str) -> Option<Dims> {
        let (left, right) = (self.shape(0)?, self.shape(1)?);
        let (&[ref outer @ .., a, b], &[ref other @ .., c, d]) = (&left[..], &right[..]) else {
            return None;
        };
        let mut shape = broadcast(outer, other)?;
        shape.push(if self.flag(first) { b } else { a });
        shape.push(if self.flag(second) { c } else { d });
        Some(shape)
    }

    fn reduced(&self, axes: &[i64], keeps: bool) -> Option<Dims> {
        let shape = self.shape(0)?;
        let axes: Option<Vec<usize>> = axes.iter().map(|&axis| place(axis, shape.len())).collect();
        let axes = axes?;
        let kept = shape.iter().enumerate().filter_map(|(dim, &size)| {
            match (axes.contains(&dim), keeps) {
                (true, true) => Some(Some(1)),
                (true, false) => None,
                (false, _) => Some(size),
            }
        });
        Some(kept.collect())
    }

    fn reshaped(&self) -> Option<Dims> {
        let dims = self.value(1)?;
        let sizes = dims.iter().filter(|&&n| n != -1);
        let known = product(sizes.map(|&n| u64::try_from(n).ok()));
        let all = self
            .shape(0)
            .and_then(|shape| product(shape.iter().copied()));
        let rest = all
            .zip(known)
            .and_then(|(all, known)| all.checked_div(known));
        let dim = |&n: &i64| if n == -1 { rest } else { u64::try_from(n).ok() };
        Some(dims.iter().map(dim).collect())
    }

    fn squeezed(&self) -> Option<Dims> {
        let shape = self.shape(0)?;
        let dims = self.ints("squeeze_dims").unwrap_or_default();
        if dims.is_empty() {
            // Which dimensions go is decided by all of them.
            let sizes: Vec<u64> = shape.iter().copied().collect::<Option<_>>()?;
            return Some(
                sizes
                    .into_iter()
                    .filter(|&size| size != 1)
                    .map(Some)
                    .collect(),
            );
        }
        self.reduced(&dims, false)
    }

    fn joined(&self) -> Option<Dims> {
        let count = self.shapes.len().checked_sub(1)?;
        let mut shape = self.shape(0)?.clone();
        let axis = place(self.scalar(count)?, shape.len())?;
        for input in 1..count {
            let other = self.shape(input)?;
            if other.len() != shape.len() {
                return None;
            }
            for (dim, (size, &more)) in shape.iter_mut().zip(other).enumerate() {
                *size = if dim == axis {
                    size.zip(more)
                        .and_then(|(one, other)| one.checked_add(other))
                } else {
                    size.or(more)
                };
            }
        }
        Some(shape)
    }

    fn sliced(&self) -> Option<Dims> {
        let (shape, sizes) = (self.shape(0)?, self.value(2)?);
        if sizes.len() != shape.len() {
            return None;
        }
        let begin = self.value(1).filter(|begin| begin.len() == shape.len());
        let dim = |(at, &size): (usize, &i64)| match size {
            -1 => shape[at]?.checked_sub(u64::try_from(begin.as_ref()?[at]).ok()?),
            size => u64::try_from(size).ok(),
        };
        Some(sizes.iter().enumerate().map(dim).collect())
    }

    fn strided_slice(&self) -> Option<Dims> {
        let shape = self.shape(0)?;
        let (begin, end, strides) = (self.value(1)?, self.value(2)?, self.value(3)?);
        let has = |mask: &str, at: usize| at < 63 && self.int(mask) >> at & 1 == 1;
        let count = begin.len();
        let ellipsis = (0..count).find(|&at| has("ellipsis_mask", at));
        let new = |at: &usize| has("new_axis_mask", *at) && Some(*at) != ellipsis;
        let named = (0..count)
            .filter(|at| !new(at) && Some(*at) != ellipsis)
            .count();
        let rest = shape.len().checked_sub(named)?;
        let (mut out, mut dim) = (Vec::new(), 0);
        for (at, &first) in begin.iter().enumerate() {
            if Some(at) == ellipsis {
                out.extend_from_slice(shape.get(dim..dim + rest)?);
                dim += rest;
            } else if new(&at) {
                out.push(Some(1));
            } else {
                let size = *shape.get(dim)?;
                dim += 1;
                if has("shrink_axis_mask", at) {
                    continue;
                }
                let masks = [has("begin_mask", at), has("end_mask", at)];
                let stride = *strides.get(at)?;
                out.push(size.and_then(|size| span(size, [first, *end.get(at)?], stride, masks)));
            }
        }
        out.extend_from_slice(shape.get(dim..)?);
        Some(out)
    }

    fn gathered(&self) -> Option<Dims> {
        let (shape, indices) = (self.shape(0)?, self.shape(1)?);
        let axis = place(self.scalar(2)?, shape.len())?;
        let batch = usize::try_from(self.int("batch_dims")).ok()?;
        let mut out = shape.get(..axis)?.to_vec();
        out.extend_from_slice(indices.get(batch..)?);
        out.extend_from_slice(shape.get(axis + 1..)?);
        Some(out)
    }
}

/// The product of sizes, if all are known.
fn product(mut sizes: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    sizes.try_fold(1u64, |product, size| product.checked_mul(size?))
}

/// How many elements a slice takes of a dimension.
fn span(
    size: u64,
    [begin, end]: [i64; 2],
    stride: i64,
    [from_start, to_end]: [bool; 2],
) -> Option<u64> {
    let size = i64::try_from(size).ok()?;
    let (low, high) = if stride > 0 {
        (0, size)
    } else {
        (-1, size - 1)
    };
    let bound = |at: i64| {
        let at = if at < 0 { at.saturating_add(size) } else { at };
        at.clamp(low, high)
    };
    let (start, stop) = if stride > 0 {
        (0, size)
    } else {
        (size - 1, -1)
    };
    let start = if from_start { start } else { bound(begin) };
    let stop = if to_end { stop } else { bound(end) };
    let (distance, step) = if stride > 0 {
        (stop - start, stride)
    } else {
        (start - stop, stride.checked_neg()?)
    };
    if step == 0 {
        return None;
    }
    u64::try_from(distance.max(0))
        .ok()
        .map(|n| n.div_ceil(step.unsigned_abs()))
}

/// The shape of two that are broadcast to each other.
fn broadcast(one: &[Option<u64>], other: &[Option<u64>]) -> Option<Dims> {
    let rank = one.len().max(other.len());
    let dim = |shape: &[Option<u64>], at: usize| {
        let missing = rank - shape.len();
        at.checked_sub(missing).map_or(Some(1), |at| shape[at])
    };
    let both = (0..rank).map(|at| match (dim(one, at), dim(other, at)) {
        (Some(1), size) | (size, Some(1)) => Some(size),
        (Some(one), Some(other)) => (one == other).then_some(Some(one)),
        // One that is not known is the other's, or 1.
        (Some(size), None) | (None, Some(size)) => Some(Some(size)),
        (None, None) => Some(None),
    });
    both.collect()
}

fn is_same_shape(op: &str) -> bool {
    matches!(
        op,
        "Identity"
            | "Cast"
            | "Relu"
            | "Relu6"
            | "Elu"
            | "Selu"
            | "LeakyRelu"
            | "Softplus"
            | "Softsign"
            | "Sigmoid"
            | "Tanh"
            | "Exp"
            | "Expm1"
            | "Log"
            | "Log1p"
            | "Sqrt"
            | "Rsqrt"
            | "Square"
            | "Neg"
            | "Abs"
            | "Sign"
            | "Floor"
            | "Ceil"
            | "Round"
            | "Rint"
            | "Reciprocal"
            | "Inv"
            | "Erf"
            | "Sin"
            | "Cos"
            | "LogicalNot"
            | "IsNan"
            | "IsInf"
            | "IsFinite"
            | "Softmax"
            | "LogSoftmax"
            | "StopGradient"
            | "PreventGradient"
            | "CheckNumerics"
            | "Snapshot"
            | "ZerosLike"
            | "OnesLike"
            | "BiasAdd"
            | "ClipByValue"
            | "AddN"
            | "ReverseV2"
            | "Cumsum"
            | "LRN"
    )
}

fn is_broadcast(op: &str) -> bool {
    matches!(
        op,
        "Add"
            | "AddV2"
            | "Sub"
            | "Mul"
            | "RealDiv"
            | "Div"
            | "DivNoNan"
            | "FloorDiv"
            | "FloorMod"
            | "Mod"
            | "TruncateDiv"
            | "Maximum"
            | "Minimum"
            | "Pow"
            | "SquaredDifference"
            | "Less"
            | "LessEqual"
            | "Greater"
            | "GreaterEqual"
            | "Equal"
            | "NotEqual"
            | "LogicalAnd"
            | "LogicalOr"
            | "SelectV2"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_count_what_they_take() {
        let whole = [true, true];
        let given = [false, false];
        assert_eq!(span(7, [0, 0], 2, whole), Some(4));
        assert_eq!(span(7, [0, 0], -1, whole), Some(7));
        assert_eq!(span(7, [1, -1], 1, given), Some(5));
        assert_eq!(span(7, [-3, 100], 2, given), Some(2));
        assert_eq!(span(7, [5, 1], -2, given), Some(2));
        assert_eq!(span(7, [5, 1], 1, given), Some(0));
        assert_eq!(span(7, [0, 1], 0, given), None);
    }

    #[test]
    fn shapes_are_broadcast_from_their_ends() {
        assert_eq!(
            broadcast(&[Some(2), None, Some(1)], &[Some(3), Some(4)]),
            Some(vec![Some(2), Some(3), Some(4)])
        );
        assert_eq!(broadcast(&[Some(2)], &[Some(3)]), None);
        assert_eq!(broadcast(&[None], &[Some(1)]), Some(vec![None]));
    }

    #[test]
    fn pooling_over_images_or_channels_tells_no_shape() {
        use tfod_proto::attr_value::{ListValue, Value};
        use tfod_proto::prost::Message as _;
        let encoded = |value| {
            let value = Some(value);
            tfod_proto::AttrValue { value }.encode_to_vec().into()
        };
        let pooled = |window: [i64; 4], strides: [i64; 4]| {
            let list = |i: [i64; 4]| {
                let i = i.to_vec();
                encoded(Value::List(ListValue {
                    i,
                    ..ListValue::default()
                }))
            };
            let attrs = [
                ("ksize".into(), list(window)),
                ("strides".into(), list(strides)),
                ("padding".into(), encoded(Value::S("VALID".into()))),
            ];
            let operation = Operation {
                op: "MaxPool",
                attrs: &attrs,
            };
            let shape = vec![None, Some(4), Some(u64::MAX), Some(8)];
            infer(operation, &[Some(&shape)], &[None]).remove(0)
        };
        assert_eq!(
            pooled([1, 2, 2, 1], [1, 2, 2, 1]),
            Some(vec![None, Some(2), Some(u64::MAX / 2), Some(8)])
        );
        assert_eq!(pooled([1, 1, 1, 2], [1, 1, 1, 1]), None);
        assert_eq!(pooled([1, 1, 1, 1], [1, 1, 1, 2]), None);
        assert_eq!(pooled([2, 1, 1, 1], [1, 1, 1, 1]), None);
        // A window of nothing fits once more than there are places.
        assert_eq!(
            pooled([1, 2, 0, 1], [1, 2, 1, 1]),
            Some(vec![None, Some(2), None, Some(8)])
        );
    }

    #[test]
    fn a_scalar_tells_no_shape_of_elements() {
        let stacked = |shape: &[usize], numbers: Vec<i32>| {
            let dims: Dims = shape.iter().map(|&size| Some(size as u64)).collect();
            let sizes = Array::new(shape.to_vec(), Data::Int32(numbers)).expect("it is filled");
            let list: Dims = Vec::new();
            let found = |op| {
                let operation = Operation { op, attrs: &[] };
                infer(
                    operation,
                    &[Some(&list), Some(&dims)],
                    &[None, Some(&sizes)],
                )
            };
            assert_eq!(found("TensorListGetItem").len(), 1);
            found("TensorListStack").remove(0)
        };
        assert_eq!(stacked(&[], vec![-1]), None);
        assert_eq!(stacked(&[1], vec![-1]), Some(vec![None, None]));
        assert_eq!(
            stacked(&[2], vec![3, 4]),
            Some(vec![None, Some(3), Some(4)])
        );
    }
}
