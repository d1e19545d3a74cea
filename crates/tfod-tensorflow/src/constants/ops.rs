//! TensorFlow's operations on arrays, as far as graphs compute constants by them.
//!
//! Single precision throughout, one rounding for each operation, as TensorFlow's kernels do it. What an operation refuses gives nothing.

use tfod_checkpoint::DType;
use tfod_proto::prost::Message as _;
use tfod_proto::{AttrValue, attr_value::Value};

use super::array::{Array, Data, num_elements};
use crate::freeze::Attr;
use crate::messages::attr;

/// An operation with its attributes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation<'n> {
    pub(crate) op: &'n str,
    pub(crate) attrs: &'n [Attr<'n>],
}

/// Whether an operation is computed here.
pub(super) fn is_known(op: &str) -> bool {
    unary(op).is_some() || binary(op).is_some() || reduction(op).is_some() || is_structural(op)
}

fn is_structural(op: &str) -> bool {
    matches!(
        op,
        "Identity"
            | "StopGradient"
            | "PreventGradient"
            | "Cast"
            | "Range"
            | "Fill"
            | "ZerosLike"
            | "OnesLike"
            | "Reshape"
            | "ExpandDims"
            | "Squeeze"
            | "Pack"
            | "Unpack"
            | "ConcatV2"
            | "Split"
            | "SplitV"
            | "Slice"
            | "StridedSlice"
            | "Tile"
            | "Transpose"
            | "GatherV2"
            | "Shape"
            | "Size"
            | "Rank"
            | "BroadcastTo"
            | "Select"
            | "SelectV2"
            | "AddN"
            | "Softmax"
    )
}

impl<'n> Operation<'n> {
    /// An encoded attribute.
    pub(crate) fn attr(self, name: &str) -> Option<&'n [u8]> {
        attr::find(self.attrs, name).map(|value| &**value)
    }
}

fn int_attr(node: Operation<'_>, name: &str) -> i64 {
    node.attr(name).and_then(attr::int).unwrap_or(0)
}

fn type_attr(node: Operation<'_>, name: &str) -> Option<DType> {
    DType::from_proto(node.attr(name).and_then(attr::data_type)?)
}

/// The outputs of a node; `None` if it cannot be computed, or has more than `most` elements.
#[expect(clippy::too_many_lines, reason = "a table: one arm for each operation")]
pub(crate) fn compute(node: Operation<'_>, inputs: &[&Array], most: usize) -> Option<Vec<Array>> {
    let op = node.op;
    if matches!(op, "Unpack" | "Split" | "SplitV") {
        return parts(node, inputs, most);
    }
    let one = match (op, inputs) {
        ("Identity" | "StopGradient" | "PreventGradient", [x]) => copied(x, most)?,
        ("Cast", [x]) => cast(x, type_attr(node, "DstT")?, most)?,
        ("Range", [start, limit, delta]) => range(start, limit, delta, most)?,
        ("Fill", [dims, value]) => repeated(value, dims.sizes()?, most)?,
        ("BroadcastTo", [x, dims]) => broadcast_to(x, dims.sizes()?, most)?,
        ("ZerosLike", [x]) => map(&copied(x, most)?, |_| 0.0, |_| Some(0))?,
        ("OnesLike", [x]) => map(&copied(x, most)?, |_| 1.0, |_| Some(1))?,
        ("Reshape", [x, dims]) => reshape(x, &dims.integers()?, most)?,
        ("ExpandDims", [x, axis]) => {
            let mut shape = x.shape.clone();
            let axis = place(axis.integer()?, shape.len() + 1)?;
            shape.insert(axis, 1);
            reshaped(x, shape, most)?
        }
        ("Squeeze", [x]) => squeeze(node, x, most)?,
        ("Pack", [first, ..]) => {
            let axis = place(int_attr(node, "axis"), first.shape.len() + 1)?;
            let expand = |x: &&Array| {
                let mut shape = x.shape.clone();
                shape.insert(axis, 1);
                reshaped(x, shape, most)
            };
            let expanded: Vec<Array> = inputs.iter().map(expand).collect::<Option<_>>()?;
            concat(&expanded.iter().collect::<Vec<_>>(), axis, most)?
        }
        ("ConcatV2", [all @ .., axis]) => {
            let rank = all.first()?.shape.len();
            concat(all, place(axis.integer()?, rank)?, most)?
        }
        ("Slice", [x, begin, size]) => {
            let (begin, size) = (begin.sizes()?, size.integers()?);
            let rank = x.shape.len();
            if begin.len() != rank || size.len() != rank {
                return None;
            }
            let dims = x.shape.iter().zip(begin.iter().zip(&size));
            let sizes = dims.map(|(dim, (begin, size))| match size {
                -1 => dim.checked_sub(*begin),
                size => usize::try_from(*size).ok(),
            });
            slice(
                x,
                &begin,
                &vec![1; rank],
                sizes.collect::<Option<_>>()?,
                most,
            )?
        }
        ("StridedSlice", [x, begin, end, strides]) => {
            strided_slice(node, x, [begin, end, strides], most)?
        }
        ("Tile", [x, multiples]) => tile(x, &multiples.sizes()?, most)?,
        ("Transpose", [x, order]) => {
            let order = order.sizes()?;
            let mut sorted = order.clone();
            sorted.sort_unstable();
            if !sorted.into_iter().eq(0..x.shape.len()) {
                return None;
            }
            let steps = steps(&x.shape);
            let shape: Vec<usize> = order.iter().map(|dim| x.shape[*dim]).collect();
            let moved: Vec<usize> = order.iter().map(|dim| steps[*dim]).collect();
            strided(x, 0, &moved, shape, most)?
        }
        ("GatherV2", _) if int_attr(node, "batch_dims") != 0 => return None,
        ("GatherV2", [x, indices, axis]) => gather(x, indices, axis.integer()?, most)?,
        ("Shape", [x]) => {
            let out_type = type_attr(node, "out_type").unwrap_or(DType::Int32);
            let sizes = x
                .shape
                .iter()
                .map(|size| i64::try_from(*size).unwrap_or(-1));
            Array::new(vec![x.shape.len()], Data::integers(out_type, sizes)?)?
        }
        ("Size", [x]) => scalar(type_attr(node, "out_type"), x.data.len())?,
        ("Rank", [x]) => scalar(None, x.shape.len())?,
        // In TensorFlow 1, a vector of conditions chooses rows.
        ("Select", [which, x, y]) if which.shape.len() == 1 && x.shape.len() > 1 => {
            let mut shape = which.shape.clone();
            shape.resize(x.shape.len(), 1);
            select(&reshaped(which, shape, most)?, x, y, most)?
        }
        ("Select" | "SelectV2", [which, x, y]) => select(which, x, y, most)?,
        ("AddN", [first, others @ ..]) => {
            let mut sum = copied(first, most)?;
            for other in others {
                sum = broadcast(&sum, other, binary("AddV2")?, most)?;
            }
            sum
        }
        ("Softmax", [x]) => softmax(x, most)?,
        (op, [x]) => {
            let function = unary(op)?;
            copied(x, most).and_then(|x| match &x.data {
                Data::Float(_) => map(&x, function, |_| None),
                _ => None,
            })?
        }
        (op, [x, axes]) if reduction(op).is_some() => {
            let keeps = node.attr("keep_dims").and_then(attr::bool) == Some(true);
            reduce(x, &axes.integers()?, keeps, reduction(op)?, most)?
        }
        (op, [x, y]) => broadcast(x, y, binary(op)?, most)?,
        _ => return None,
    };
    Some(vec![one])
}

/// A dimension by its number, of which negative ones count from the end.
pub(crate) fn place(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let axis = if axis < 0 { axis + rank } else { axis };
    usize::try_from(axis).ok().filter(|_| axis < rank)
}

fn scalar(dtype: Option<DType>, number: usize) -> Option<Array> {
    let number = i64::try_from(number).ok()?;
    let data = Data::integers(dtype.unwrap_or(DType::Int32), std::iter::once(number))?;
    Array::new(Vec::new(), data)
}

fn copied(x: &Array, most: usize) -> Option<Array> {
    (x.data.len() <= most).then(|| x.clone())
}

fn reshaped(x: &Array, shape: Vec<usize>, most: usize) -> Option<Array> {
    let x = copied(x, most)?;
    Array::new(shape, x.data)
}

fn map(
    x: &Array,
    float: impl Fn(f32) -> f32,
    integer: impl Fn(i64) -> Option<i64>,
) -> Option<Array> {
    let data = match &x.data {
        Data::Float(all) => Data::Float(all.iter().map(|n| float(*n)).collect()),
        Data::Bool(_) => return None,
        Data::Int32(_) | Data::Int64(_) => {
            let numbers = x.integers()?.into_iter().map(integer);
            let numbers: Vec<i64> = numbers.collect::<Option<_>>()?;
            Data::integers(x.data.dtype(), numbers.into_iter())?
        }
    };
    Array::new(x.shape.clone(), data)
}

fn unary(op: &str) -> Option<fn(f32) -> f32> {
    Some(match op {
        "Neg" => |x| -x,
        "Abs" => f32::abs,
        "Rsqrt" => |x| 1.0 / x.sqrt(),
        "Sqrt" => f32::sqrt,
        "Square" => |x| x * x,
        "Reciprocal" | "Inv" => |x| 1.0 / x,
        "Exp" => f32::exp,
        "Log" => f32::ln,
        "Relu" => |x| x.max(0.0),
        "Relu6" => |x| x.clamp(0.0, 6.0),
        "Sigmoid" => |x| 1.0 / (1.0 + (-x).exp()),
        "Floor" => f32::floor,
        "Ceil" => f32::ceil,
        "Round" => f32::round_ties_even,
        _ => return None,
    })
}

/// What an operation does with two numbers; of integers, `None` where they do not fit.
#[derive(Clone, Copy)]
enum Function {
    Arithmetic(fn(f32, f32) -> f32, fn(i64, i64) -> Option<i64>),
    Comparison(fn(f64, f64) -> bool),
    Logic(fn(bool, bool) -> bool),
}

fn binary(op: &str) -> Option<Function> {
    use Function::{Arithmetic, Comparison, Logic};
    #[expect(clippy::float_cmp, reason = "TensorFlow's Equal is exact, too")]
    let equal: fn(f64, f64) -> bool = |x, y| x == y;
    #[expect(clippy::float_cmp, reason = "TensorFlow's NotEqual is exact, too")]
    let unequal: fn(f64, f64) -> bool = |x, y| x != y;
    Some(match op {
        "Add" | "AddV2" => Arithmetic(|x, y| x + y, i64::checked_add),
        "Sub" => Arithmetic(|x, y| x - y, i64::checked_sub),
        "Mul" => Arithmetic(|x, y| x * y, i64::checked_mul),
        "RealDiv" => Arithmetic(|x, y| x / y, |_, _| None),
        "Div" => Arithmetic(|x, y| x / y, i64::checked_div),
        "DivNoNan" => Arithmetic(|x, y| if y == 0.0 { 0.0 } else { x / y }, |_, _| None),
        "FloorDiv" => Arithmetic(|x, y| (x / y).floor(), floor_div),
        "FloorMod" => Arithmetic(
            |x, y| x - (x / y).floor() * y,
            |x, y| x.checked_sub(floor_div(x, y)?.checked_mul(y)?),
        ),
        "Maximum" => Arithmetic(f32::max, |x, y| Some(x.max(y))),
        "Minimum" => Arithmetic(f32::min, |x, y| Some(x.min(y))),
        "Pow" => Arithmetic(f32::powf, |x, y| x.checked_pow(u32::try_from(y).ok()?)),
        "Greater" => Comparison(|x, y| x > y),
        "GreaterEqual" => Comparison(|x, y| x >= y),
        "Less" => Comparison(|x, y| x < y),
        "LessEqual" => Comparison(|x, y| x <= y),
        "Equal" => Comparison(equal),
        "NotEqual" => Comparison(unequal),
        "LogicalAnd" => Logic(|x, y| x && y),
        "LogicalOr" => Logic(|x, y| x || y),
        _ => return None,
    })
}

fn floor_div(x: i64, y: i64) -> Option<i64> {
    let quotient = x.checked_div(y)?;
    let is_below = x % y != 0 && (x < 0) != (y < 0);
    Some(quotient - i64::from(is_below))
}

/// The distance of neighbours in each dimension.
fn steps(shape: &[usize]) -> Vec<usize> {
    let mut steps = vec![1usize; shape.len()];
    for dim in (1..shape.len()).rev() {
        steps[dim - 1] = steps[dim].saturating_mul(shape[dim]);
    }
    steps
}

/// The elements that are `steps` apart in each dimension of the result, from `start` on.
fn strided(
    x: &Array,
    start: usize,
    steps: &[usize],
    shape: Vec<usize>,
    most: usize,
) -> Option<Array> {
    let count = num_elements(&shape).filter(|count| *count <= most)?;
    let places = (0..count).map(|index| {
        let (mut rest, mut place) = (index, start);
        for (size, step) in shape.iter().zip(steps).rev() {
            let size = (*size).max(1);
            place = place.saturating_add((rest % size).saturating_mul(*step));
            rest /= size;
        }
        place
    });
    let data = x.data.take(places)?;
    Array::new(shape, data)
}

/// A number, repeated.
fn repeated(value: &Array, shape: Vec<usize>, most: usize) -> Option<Array> {
    let steps = vec![0; shape.len()];
    (value.data.len() == 1)
        .then(|| strided(value, 0, &steps, shape, most))
        .flatten()
}

/// An array with dimensions of one element repeated, and with new ones in front.
fn broadcast_to(x: &Array, shape: Vec<usize>, most: usize) -> Option<Array> {
    let new = shape.len().checked_sub(x.shape.len())?;
    let mut repeated = vec![0; new];
    for ((size, step), to) in x.shape.iter().zip(steps(&x.shape)).zip(&shape[new..]) {
        repeated.push(match size {
            size if size == to => step,
            1 => 0,
            _ => return None,
        });
    }
    strided(x, 0, &repeated, shape, most)
}

/// The shape that two arrays have together: aligned at their ends, dimensions of one element repeated.
fn common_shape(x: &[usize], y: &[usize]) -> Option<Vec<usize>> {
    let rank = x.len().max(y.len());
    let at = |shape: &[usize], dim: usize| {
        let missing = rank - shape.len();
        dim.checked_sub(missing).map_or(1, |dim| shape[dim])
    };
    let together = |dim| match (at(x, dim), at(y, dim)) {
        (one, other) if one == other => Some(one),
        (1, size) | (size, 1) => Some(size),
        _ => None,
    };
    (0..rank).map(together).collect()
}

fn broadcast(x: &Array, y: &Array, function: Function, most: usize) -> Option<Array> {
    let shape = common_shape(&x.shape, &y.shape)?;
    let x = broadcast_to(x, shape.clone(), most)?;
    let y = broadcast_to(y, shape.clone(), most)?;
    let data = match (function, &x.data, &y.data) {
        (Function::Arithmetic(of, _), Data::Float(x), Data::Float(y)) => {
            Data::Float(x.iter().zip(y).map(|(x, y)| of(*x, *y)).collect())
        }
        (Function::Arithmetic(_, of), Data::Int32(_) | Data::Int64(_), _)
            if x.data.dtype() == y.data.dtype() =>
        {
            let pairs = x.integers()?.into_iter().zip(y.integers()?);
            let numbers: Vec<i64> = pairs.map(|(x, y)| of(x, y)).collect::<Option<_>>()?;
            Data::integers(x.data.dtype(), numbers.into_iter())?
        }
        (Function::Comparison(of), _, _) if x.data.dtype() == y.data.dtype() => {
            let pairs = reals(&x.data)?.into_iter().zip(reals(&y.data)?);
            Data::Bool(pairs.map(|(x, y)| of(x, y)).collect())
        }
        (Function::Logic(of), Data::Bool(x), Data::Bool(y)) => {
            Data::Bool(x.iter().zip(y).map(|(x, y)| of(*x, *y)).collect())
        }
        _ => return None,
    };
    Array::new(shape, data)
}

/// Numbers that can be compared; integers only where none is rounded.
#[expect(clippy::cast_precision_loss, reason = "they are below 2^53")]
fn reals(data: &Data) -> Option<Vec<f64>> {
    match data {
        Data::Float(all) => Some(all.iter().map(|n| f64::from(*n)).collect()),
        Data::Int32(all) => Some(all.iter().map(|n| f64::from(*n)).collect()),
        Data::Int64(all) => {
            let exact = |n: &i64| (n.unsigned_abs() < 1 << 53).then_some(*n as f64);
            all.iter().map(exact).collect()
        }
        Data::Bool(_) => None,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "TensorFlow's Cast rounds toward zero, and integers to the nearest float"
)]
fn cast(x: &Array, to: DType, most: usize) -> Option<Array> {
    let x = copied(x, most)?;
    let data = match (x.data, to) {
        (data, to) if data.dtype() == to => data,
        (Data::Float(all), DType::Int32 | DType::Int64) => {
            Data::integers(to, all.iter().map(|n| *n as i64))?
        }
        (Data::Int32(all), DType::Float32) => Data::Float(all.iter().map(|n| *n as f32).collect()),
        (Data::Int64(all), DType::Float32) => Data::Float(all.iter().map(|n| *n as f32).collect()),
        (Data::Int32(all), DType::Int64) => Data::Int64(all.into_iter().map(i64::from).collect()),
        (Data::Int64(all), DType::Int32) => Data::integers(to, all.into_iter())?,
        (Data::Bool(all), DType::Float32) => {
            Data::Float(all.iter().map(|b| f32::from(u8::from(*b))).collect())
        }
        (Data::Bool(all), DType::Int32 | DType::Int64) => {
            Data::integers(to, all.into_iter().map(i64::from))?
        }
        _ => return None,
    };
    Array::new(x.shape, data)
}

#[expect(clippy::cast_precision_loss, reason = "a count that memory holds")]
fn range(start: &Array, limit: &Array, delta: &Array, most: usize) -> Option<Array> {
    if let (Data::Float(start), Data::Float(limit), Data::Float(delta)) =
        (&start.data, &limit.data, &delta.data)
    {
        let ([start], [limit], [delta]) = (&start[..], &limit[..], &delta[..]) else {
            return None;
        };
        let mut numbers = Vec::new();
        let count = ((f64::from(*limit) - f64::from(*start)) / f64::from(*delta)).ceil();
        let mut next = *start;
        while (numbers.len() as f64) < count {
            if numbers.len() == most {
                return None;
            }
            numbers.push(next);
            next += delta;
        }
        return Array::new(vec![numbers.len()], Data::Float(numbers));
    }
    let (from, to, by) = (start.integer()?, limit.integer()?, delta.integer()?);
    let span = to.checked_sub(from)?.checked_mul(by.signum())?.max(0);
    let count = span.checked_add(by.checked_abs()?.checked_sub(1)?)?;
    let count = count.checked_div(by.checked_abs()?)?;
    if usize::try_from(count).ok()? > most {
        return None;
    }
    let numbers: Option<Vec<i64>> = (0..count)
        .map(|n| from.checked_add(n.checked_mul(by)?))
        .collect();
    let data = Data::integers(start.data.dtype(), numbers?.into_iter())?;
    Array::new(vec![data.len()], data)
}

fn reshape(x: &Array, dims: &[i64], most: usize) -> Option<Array> {
    let known = dims.iter().filter(|dim| **dim != -1);
    let known: Vec<usize> = known
        .map(|dim| usize::try_from(*dim).ok())
        .collect::<Option<_>>()?;
    let rest = x.data.len().checked_div(num_elements(&known)?.max(1))?;
    if dims.len() - known.len() > 1 {
        return None;
    }
    let size = |dim: &i64| usize::try_from(*dim).unwrap_or(rest);
    reshaped(x, dims.iter().map(size).collect(), most)
}

fn squeeze(node: Operation<'_>, x: &Array, most: usize) -> Option<Array> {
    let dims = node
        .attr("squeeze_dims")
        .and_then(|value| AttrValue::decode(value).ok());
    let dims = match dims.and_then(|dims| dims.value) {
        Some(Value::List(list)) => list.i,
        _ => Vec::new(),
    };
    let rank = x.shape.len();
    let dims: Vec<usize> = dims
        .iter()
        .map(|dim| place(*dim, rank))
        .collect::<Option<_>>()?;
    let goes = |dim: usize, size: usize| size == 1 && (dims.is_empty() || dims.contains(&dim));
    let kept = x.shape.iter().enumerate();
    let kept = kept.filter(|(dim, size)| !goes(*dim, **size));
    let shape = kept.map(|(_, size)| *size).collect();
    reshaped(x, shape, most)
}

fn concat(all: &[&Array], axis: usize, most: usize) -> Option<Array> {
    let first = all.first()?;
    let total: usize = all.iter().map(|x| x.data.len()).sum();
    if total > most {
        return None;
    }
    let mut shape = first.shape.clone();
    *shape.get_mut(axis)? = 0;
    for x in all {
        let mut other = x.shape.clone();
        shape[axis] = shape[axis].checked_add(*other.get(axis)?)?;
        other[axis] = shape[axis];
        if other != shape {
            return None;
        }
    }
    // Blocks of each in turn: what of it has one place in the dimensions before the axis.
    let (mut starts, mut begin) = (Vec::new(), 0usize);
    for x in all {
        starts.push((begin, num_elements(&x.shape[axis..])?));
        begin += x.data.len();
    }
    let joined = first.data.clone();
    let joined = joined.joined(all.iter().skip(1).map(|x| &x.data))?;
    let outer = num_elements(&first.shape[..axis])?;
    let places = (0..outer).flat_map(|block| {
        let of =
            move |(start, len): &(usize, usize)| (start + block * len)..(start + (block + 1) * len);
        starts.iter().flat_map(of)
    });
    Array::new(shape, joined.take(places)?)
}

/// A part of an array: where it begins in each dimension, and how many elements it has, how far apart.
fn slice(
    x: &Array,
    begin: &[usize],
    by: &[usize],
    sizes: Vec<usize>,
    most: usize,
) -> Option<Array> {
    let steps = steps(&x.shape);
    let dims = x.shape.iter().zip(begin).zip(by).zip(&sizes);
    for (((dim, begin), by), size) in dims {
        let last = begin.checked_add(by.checked_mul(size.saturating_sub(1))?)?;
        if *size > 0 && last >= *dim {
            return None;
        }
    }
    let by_steps = |places: &[usize]| {
        let pairs = places.iter().zip(&steps);
        let products = pairs.map(|(place, step)| place.checked_mul(*step));
        products.collect::<Option<Vec<usize>>>()
    };
    strided(x, sum(&by_steps(begin)?)?, &by_steps(by)?, sizes, most)
}

fn strided_slice(
    node: Operation<'_>,
    x: &Array,
    [begin, end, strides]: [&Array; 3],
    most: usize,
) -> Option<Array> {
    let mask = |name: &str, dim: usize| int_attr(node, name) >> dim & 1 == 1;
    if int_attr(node, "ellipsis_mask") != 0 || int_attr(node, "new_axis_mask") != 0 {
        return None;
    }
    let (begin, end, strides) = (begin.integers()?, end.integers()?, strides.integers()?);
    if begin.len() > x.shape.len().min(63) {
        return None;
    }
    let (mut starts, mut by, mut sizes, mut shape) = (vec![], vec![], vec![], vec![]);
    for (dim, &size) in x.shape.iter().enumerate() {
        let whole = i64::try_from(size).ok()?;
        let (Some(first), Some(last), Some(stride)) =
            (begin.get(dim), end.get(dim), strides.get(dim))
        else {
            starts.push(0);
            by.push(1);
            sizes.push(size);
            shape.push(size);
            continue;
        };
        // Backwards is not needed.
        let step = usize::try_from(*stride).ok().filter(|step| *step > 0)?;
        let within = |at: i64| if at < 0 { at + whole } else { at }.clamp(0, whole);
        if mask("shrink_axis_mask", dim) {
            // A single position, whatever the masks say.
            let at = if *first < 0 {
                first.checked_add(whole)?
            } else {
                *first
            };
            starts.push(usize::try_from(at).ok().filter(|at| *at < size)?);
            by.push(1);
            sizes.push(1);
            continue;
        }
        let from = if mask("begin_mask", dim) {
            0
        } else {
            within(*first)
        };
        let to = if mask("end_mask", dim) {
            whole
        } else {
            within(*last)
        };
        starts.push(usize::try_from(from).ok()?);
        by.push(step);
        let count = usize::try_from((to - from).max(0)).ok()?.div_ceil(step);
        sizes.push(count);
        shape.push(count);
    }
    let part = slice(x, &starts, &by, sizes, most)?;
    Array::new(shape, part.data)
}

fn tile(x: &Array, multiples: &[usize], most: usize) -> Option<Array> {
    if multiples.len() != x.shape.len() {
        return None;
    }
    let sizes = x.shape.iter().zip(multiples);
    let shape: Vec<usize> = sizes
        .map(|(size, times)| size.checked_mul(*times))
        .collect::<Option<_>>()?;
    let count = num_elements(&shape).filter(|count| *count <= most)?;
    let steps = steps(&x.shape);
    let places = (0..count).map(|index| {
        let (mut rest, mut place) = (index, 0);
        for dim in (0..shape.len()).rev() {
            place += rest % shape[dim] % x.shape[dim] * steps[dim];
            rest /= shape[dim];
        }
        place
    });
    let data = x.data.take(places)?;
    Array::new(shape, data)
}

fn gather(x: &Array, indices: &Array, axis: i64, most: usize) -> Option<Array> {
    let axis = place(axis, x.shape.len())?;
    let chosen = indices.sizes()?;
    if chosen.iter().any(|at| *at >= x.shape[axis]) {
        return None;
    }
    let (outer, inner) = (&x.shape[..axis], &x.shape[axis + 1..]);
    let (outer, inner) = (num_elements(outer)?, num_elements(inner)?);
    let mut shape: Vec<usize> = x.shape.iter().take(axis).copied().collect();
    shape.extend(&indices.shape);
    shape.extend(x.shape.iter().skip(axis + 1));
    num_elements(&shape).filter(|count| *count <= most)?;
    let size = x.shape[axis];
    let places = (0..outer).flat_map(|block| {
        let rows = chosen.iter().map(move |at| block * size + at);
        rows.flat_map(move |row| row * inner..(row + 1) * inner)
    });
    Array::new(shape, x.data.take(places)?)
}

fn select(which: &Array, x: &Array, y: &Array, most: usize) -> Option<Array> {
    let shape = common_shape(&common_shape(&x.shape, &y.shape)?, &which.shape)?;
    let [which, x, y] = [which, x, y].map(|of| broadcast_to(of, shape.clone(), most));
    let (which, x, y) = (which?, x?, y?);
    let Data::Bool(which) = which.data else {
        return None;
    };
    let count = x.data.len();
    let both = x.data.joined(std::iter::once(&y.data))?;
    let places = which.iter().enumerate();
    let places = places.map(|(at, is_first)| if *is_first { at } else { count + at });
    Array::new(shape, both.take(places)?)
}

/// How the elements of a group become one: of floats, and of integers.
type Reduction = (fn(&[f32]) -> f32, fn(&[i64]) -> Option<i64>);

fn reduction(op: &str) -> Option<Reduction> {
    let by: Reduction = match op {
        "Sum" => (
            |all| all.iter().sum(),
            |all| all.iter().try_fold(0i64, |sum, n| sum.checked_add(*n)),
        ),
        "Prod" => (
            |all| all.iter().product(),
            |all| {
                all.iter()
                    .try_fold(1i64, |product, n| product.checked_mul(*n))
            },
        ),
        #[expect(clippy::cast_precision_loss, reason = "a count of elements")]
        "Mean" => (|all| all.iter().sum::<f32>() / all.len() as f32, |_| None),
        "Max" => (
            |all| all.iter().copied().fold(f32::NEG_INFINITY, f32::max),
            |all| all.iter().copied().max(),
        ),
        "Min" => (
            |all| all.iter().copied().fold(f32::INFINITY, f32::min),
            |all| all.iter().copied().min(),
        ),
        _ => return None,
    };
    Some(by)
}

fn reduce(
    x: &Array,
    axes: &[i64],
    keeps: bool,
    (of_floats, of_integers): Reduction,
    most: usize,
) -> Option<Array> {
    let rank = x.shape.len();
    let axes: Vec<usize> = axes
        .iter()
        .map(|axis| place(*axis, rank))
        .collect::<Option<_>>()?;
    let (away, kept): (Vec<usize>, Vec<usize>) = (0..rank).partition(|dim| axes.contains(dim));
    // What is reduced goes to the end, so that a group is a row.
    let steps = steps(&x.shape);
    let order = || kept.iter().chain(&away);
    let sorted = strided(
        x,
        0,
        &order().map(|dim| steps[*dim]).collect::<Vec<_>>(),
        order().map(|dim| x.shape[*dim]).collect(),
        most,
    )?;
    let group: Vec<usize> = away.iter().map(|dim| x.shape[*dim]).collect();
    let group = num_elements(&group).filter(|group| *group > 0)?;
    let data = match &sorted.data {
        Data::Float(all) => Data::Float(all.chunks(group).map(of_floats).collect()),
        Data::Int32(_) | Data::Int64(_) => {
            let all = sorted.integers()?;
            let reduced: Vec<i64> = all.chunks(group).map(of_integers).collect::<Option<_>>()?;
            Data::integers(sorted.data.dtype(), reduced.into_iter())?
        }
        Data::Bool(_) => return None,
    };
    let dims = x.shape.iter().enumerate();
    let shape = dims.filter_map(|(dim, size)| {
        if axes.contains(&dim) {
            keeps.then_some(1)
        } else {
            Some(*size)
        }
    });
    Array::new(shape.collect(), data)
}

fn softmax(x: &Array, most: usize) -> Option<Array> {
    let last = x.shape.last().copied().filter(|last| *last > 0)?;
    let mut x = copied(x, most)?;
    let Data::Float(all) = &mut x.data else {
        return None;
    };
    for row in all.chunks_mut(last) {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for n in row.iter_mut() {
            *n = (*n - largest).exp();
        }
        let sum: f32 = row.iter().sum();
        for n in row.iter_mut() {
            *n /= sum;
        }
    }
    Some(x)
}

fn sum(sizes: &[usize]) -> Option<usize> {
    sizes
        .iter()
        .try_fold(0usize, |sum, size| sum.checked_add(*size))
}

/// The outputs of an operation that takes an array apart.
fn parts(node: Operation<'_>, inputs: &[&Array], most: usize) -> Option<Vec<Array>> {
    let (x, axis, sizes, is_dropped) = match (node.op, inputs) {
        ("Unpack", [x]) => {
            let axis = place(int_attr(node, "axis"), x.shape.len())?;
            (x, axis, vec![1; x.shape[axis].min(most)], true)
        }
        ("Split", [axis, x]) => {
            let axis = place(axis.integer()?, x.shape.len())?;
            let count = usize::try_from(int_attr(node, "num_split")).ok()?;
            let each = x.shape[axis].checked_div(count)?;
            let count = count.min(most.max(1));
            (x, axis, vec![each; count], false)
        }
        ("SplitV", [x, sizes, axis]) => {
            let axis = place(axis.integer()?, x.shape.len())?;
            (x, axis, sizes.sizes()?, false)
        }
        _ => return None,
    };
    if x.data.len() > most || sum(&sizes) != Some(x.shape[axis]) {
        return None;
    }
    let mut outputs = Vec::with_capacity(sizes.len());
    let mut begin = vec![0; x.shape.len()];
    let by = vec![1; x.shape.len()];
    for size in sizes {
        let mut shape = x.shape.clone();
        shape[axis] = size;
        let part = slice(x, &begin, &by, shape.clone(), most)?;
        if is_dropped {
            shape.remove(axis);
        }
        outputs.push(Array::new(shape, part.data)?);
        begin[axis] += size;
    }
    Some(outputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(shape: &[usize], numbers: &[f32]) -> Array {
        Array::new(shape.to_vec(), Data::Float(numbers.to_vec())).expect("they fit the shape")
    }

    fn ints(numbers: &[i32]) -> Array {
        Array::new(vec![numbers.len()], Data::Int32(numbers.to_vec())).expect("a vector")
    }

    fn int(number: i32) -> Array {
        Array::new(Vec::new(), Data::Int32(vec![number])).expect("a scalar")
    }

    fn try_run(op: &str, attrs: &[(&'static str, Value)], inputs: &[&Array]) -> Option<Vec<Array>> {
        let encoded = |(name, value): &(&'static str, Value)| {
            let value = AttrValue {
                value: Some(value.clone()),
            };
            ((*name).into(), value.encode_to_vec().into())
        };
        let attrs: Vec<Attr<'_>> = attrs.iter().map(encoded).collect();
        compute(Operation { op, attrs: &attrs }, inputs, 1000)
    }

    fn run(op: &str, attrs: &[(&'static str, Value)], inputs: &[&Array]) -> Vec<Array> {
        try_run(op, attrs, inputs).expect("it is computed")
    }

    #[test]
    fn a_vector_of_conditions_chooses_rows_in_tensorflow_1_only() {
        let which = Array::new(vec![2], Data::Bool(vec![true, false])).expect("a vector");
        let x = floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
        let y = floats(&[2, 2], &[-1.0, -2.0, -3.0, -4.0]);
        let rows = floats(&[2, 2], &[1.0, 2.0, -3.0, -4.0]);
        let columns = floats(&[2, 2], &[1.0, -2.0, 3.0, -4.0]);
        assert_eq!(run("Select", &[], &[&which, &x, &y]), [rows]);
        assert_eq!(run("SelectV2", &[], &[&which, &x, &y]), [columns]);
    }

    #[test]
    fn a_single_position_is_not_what_masks_say() {
        let x = floats(&[3], &[1.0, 2.0, 3.0]);
        let attrs = [
            ("begin_mask", Value::I(1)),
            ("shrink_axis_mask", Value::I(1)),
        ];
        let at = |n| {
            try_run(
                "StridedSlice",
                &attrs,
                &[&x, &ints(&[n]), &ints(&[0]), &ints(&[1])],
            )
        };
        assert_eq!(at(2), Some(vec![floats(&[], &[3.0])]));
        assert_eq!(at(-3), Some(vec![floats(&[], &[1.0])]));
        assert_eq!((at(3), at(-4)), (None, None));
    }

    #[test]
    fn arrays_are_cut_and_joined_as_tensorflow_does() {
        let x = floats(&[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let column = floats(&[2], &[1.0, 4.0]);
        let found = run("Unpack", &[("axis", Value::I(-1))], &[&x]);
        assert_eq!((found.len(), &found[1]), (3, &column));
        let attrs = [
            ("begin_mask", Value::I(1)),
            ("end_mask", Value::I(1)),
            ("shrink_axis_mask", Value::I(2)),
        ];
        let (begin, end, strides) = (ints(&[0, -2]), ints(&[0, 0]), ints(&[1, 1]));
        assert_eq!(
            run("StridedSlice", &attrs, &[&x, &begin, &end, &strides]),
            vec![column.clone()]
        );
        assert_eq!(
            run("Slice", &[], &[&x, &ints(&[0, 1]), &ints(&[-1, 1])]),
            [floats(&[2, 1], &[1.0, 4.0])]
        );
        assert_eq!(
            run("GatherV2", &[], &[&x, &ints(&[2, 0]), &int(1)]),
            [floats(&[2, 2], &[2.0, 0.0, 5.0, 3.0])]
        );
        assert_eq!(
            run("ConcatV2", &[], &[&x, &x, &int(1)]),
            [floats(
                &[2, 6],
                &[0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 3.0, 4.0, 5.0]
            )]
        );
        assert_eq!(
            run("Transpose", &[], &[&x, &ints(&[1, 0])]),
            [floats(&[3, 2], &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0])]
        );
        assert_eq!(
            run("Tile", &[], &[&column, &ints(&[2])]),
            [floats(&[4], &[1.0, 4.0, 1.0, 4.0])]
        );
        let halves = run("Split", &[("num_split", Value::I(3))], &[&int(1), &x]);
        assert_eq!(halves[2], floats(&[2, 1], &[2.0, 5.0]));
        assert_eq!(
            run("Pack", &[("axis", Value::I(1))], &[&column, &column]),
            [floats(&[2, 2], &[1.0, 1.0, 4.0, 4.0])]
        );
        assert_eq!(
            run("Reshape", &[], &[&x, &ints(&[3, -1])]),
            [floats(&[3, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])]
        );
    }

    #[test]
    fn shapes_are_aligned_at_their_ends() {
        let (tens, ones) = (
            floats(&[2, 1], &[10.0, 20.0]),
            floats(&[3], &[1.0, 2.0, 3.0]),
        );
        let sum = floats(&[2, 3], &[11.0, 12.0, 13.0, 21.0, 22.0, 23.0]);
        assert_eq!(run("AddV2", &[], &[&tens, &ones]), [sum]);
        let which = run("Greater", &[], &[&ones, &floats(&[], &[1.5])]);
        assert_eq!(
            run("SelectV2", &[], &[&which[0], &ones, &floats(&[], &[0.0])]),
            [floats(&[3], &[0.0, 2.0, 3.0])]
        );
        let two = floats(&[2], &[0.0, 0.0]);
        assert_eq!(try_run("AddV2", &[], &[&two, &ones]), None);
        let keeps = [("keep_dims", Value::B(true))];
        let x = floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(
            run("Sum", &keeps, &[&x, &ints(&[0])]),
            [floats(&[1, 2], &[4.0, 6.0])]
        );
    }

    #[test]
    fn gathers_of_batches_are_left_alone() {
        let x = floats(&[2, 2], &[0.0, 1.0, 2.0, 3.0]);
        let at = Array::new(vec![2, 1], Data::Int32(vec![1, 0])).expect("it is filled");
        let gathered = |batch_dims| {
            let attrs = [("batch_dims", Value::I(batch_dims))];
            try_run("GatherV2", &attrs, &[&x, &at, &int(1)])
        };
        let all = floats(&[2, 2, 1], &[1.0, 0.0, 3.0, 2.0]);
        assert_eq!((gathered(0), gathered(1)), (Some(vec![all]), None));
    }

    #[test]
    fn sizes_whose_sums_or_products_do_not_fit_are_left_alone() {
        let x = floats(&[2], &[1.0, 2.0]);
        let long = |numbers: &[i64]| {
            Array::new(vec![numbers.len()], Data::Int64(numbers.to_vec())).expect("a vector")
        };
        let sizes = long(&[i64::MAX, i64::MAX, 4]);
        assert_eq!(try_run("SplitV", &[], &[&x, &sizes, &int(0)]), None);
        // Without elements, its sizes are not checked against each other.
        let huge = usize::MAX / 2;
        let empty = floats(&[0, huge, huge], &[]);
        assert_eq!(
            try_run("GatherV2", &[], &[&empty, &ints(&[]), &int(0)]),
            None
        );
        assert_eq!(try_run("ConcatV2", &[], &[&empty, &empty, &int(1)]), None);
        assert_eq!(try_run("Sum", &[], &[&empty, &ints(&[1, 2])]), None);
        let begin = long(&[0, 7, 7]);
        let none = long(&[0, 0, 0]);
        assert_eq!(try_run("Slice", &[], &[&empty, &begin, &none]), None);
    }

    #[test]
    fn integers_that_do_not_fit_and_arrays_that_are_too_large_are_left_alone() {
        let big = ints(&[i32::MAX]);
        assert_eq!(try_run("Add", &[], &[&big, &big]), None);
        let (one, million) = (floats(&[], &[1.0]), ints(&[1000, 1000]));
        assert_eq!(try_run("Fill", &[], &[&million, &one]), None);
        let range = [&int(0), &int(i32::MAX), &int(1)];
        assert_eq!(try_run("Range", &[], &range), None);
        assert_eq!(
            run("Range", &[], &[&int(5), &int(0), &int(-2)]),
            [ints(&[5, 3, 1])]
        );
        assert_eq!(try_run("FloorDiv", &[], &[&int(-7), &int(0)]), None);
        assert_eq!(run("FloorDiv", &[], &[&int(-7), &int(2)]), [int(-4)]);
        let stuck = [
            &floats(&[], &[0.0]),
            &floats(&[], &[1.0]),
            &floats(&[], &[0.0]),
        ];
        assert_eq!(try_run("Range", &[], &stuck), None);
    }
}
