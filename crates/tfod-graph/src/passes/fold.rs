//! Computes what depends on constants and weights alone, so that no program that runs the model has to. Some cannot: OpenCV's importers compute nothing from
//! constants.
//!
//! Arithmetic is in 32 bits, as it would be in the model; what has no exact result (the exponential) is computed in 64 bits and rounded. Sums are added in the
//! order of the elements.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};

use crate::graph::{Graph, Node, ParamId, ValueId, Weights};
use crate::op::{Binary, Op, Reduce, Unary};
use crate::passes::rewriter::Rewriter;
use crate::passes::{prune, share};
use crate::tensor::{DType, Tensor, TensorView};
use crate::validate::{ValidateError, validate_weights};

/// Results of more elements stay computed by the model: they would take more space than what they are computed from.
const MOST_ELEMENTS: u64 = 1 << 20;

/// The graph in which what depends on constants and weights alone is a constant, and its weights. Sub-graphs stay as they are: what they see is given
/// to them. Operations on whole feature maps, and selections, are not computed.
///
/// # Errors
/// When the graph breaks an invariant of the crate, or the weights are not its own.
pub fn fold<'a>(
    graph: &Graph,
    weights: Weights<'a>,
) -> Result<(Graph, Weights<'a>), ValidateError> {
    validate_weights(graph, &weights)?;
    let computed = computed(graph, &weights);
    if computed.is_empty() {
        return Ok((graph.clone(), weights));
    }
    let mut rewriter = Rewriter::new(graph);
    for (_, node) in graph.nodes() {
        let results = node.outputs.iter().map(|value| computed.get(value));
        let Some(results) = results.collect::<Option<Vec<&Tensor>>>() else {
            rewriter.copy(node, node.op.clone())?;
            continue;
        };
        let is_single = results.len() == 1;
        let values = results.into_iter().enumerate().map(|(position, tensor)| {
            let name = if is_single {
                node.name.clone()
            } else {
                format!("{}/{position}", node.name)
            };
            rewriter.new.constant(&name, tensor.clone())
        });
        let values = values.collect::<Result<Vec<ValueId>, _>>()?;
        rewriter.define(node, &values);
    }
    let folded = prune(&share(&rewriter.finish()?)?)?;
    let names = graph.parameters().map(|(_, parameter)| &parameter.name);
    let mut views: HashMap<&String, TensorView<'a>> = names.zip(weights.0).collect();
    let kept = folded.parameters().map(|(_, parameter)| {
        let missing = || ValidateError::Order {
            node: parameter.name.clone(),
        };
        views.remove(&parameter.name).ok_or_else(missing)
    });
    let kept = kept.collect::<Result<Vec<_>, _>>()?;
    Ok((folded, Weights(kept)))
}

/// What a node computes from weights, and something else than such a node reads.
#[derive(Clone, Debug)]
pub struct Decided {
    /// The node's name.
    pub name: String,
    /// Its results.
    pub results: Vec<Tensor>,
    /// The parameters that it is computed from.
    pub from: BTreeSet<ParamId>,
}

/// What [`fold`] puts in place of parameters, before equal values are made one.
///
/// # Errors
/// When the weights are not those of the graph.
pub fn decided(graph: &Graph, weights: &Weights<'_>) -> Result<Vec<Decided>, ValidateError> {
    validate_weights(graph, weights)?;
    let computed = computed(graph, weights);
    let mut from: HashMap<ValueId, BTreeSet<ParamId>> = HashMap::new();
    let mut read: HashSet<ValueId> = graph.outputs().iter().map(|of| of.value).collect();
    for (_, node) in graph.nodes() {
        let origins = match &node.op {
            Op::Parameter(id) => BTreeSet::from([*id]),
            _ if node
                .outputs
                .iter()
                .all(|value| computed.contains_key(value)) =>
            {
                let inputs = node.inputs.iter().filter_map(|input| from.get(input));
                inputs.flatten().copied().collect()
            }
            _ => {
                read.extend(&node.inputs);
                continue;
            }
        };
        from.extend(node.outputs.iter().map(|value| (*value, origins.clone())));
    }
    let nodes = graph.nodes().filter_map(|(_, node)| {
        let results = node
            .outputs
            .iter()
            .map(|value| computed.get(value).cloned());
        let results: Vec<Tensor> = results.collect::<Option<_>>()?;
        let from = from
            .get(node.outputs.first()?)
            .filter(|from| !from.is_empty())?;
        let is_read = node.outputs.iter().any(|value| read.contains(value));
        is_read.then(|| Decided {
            name: node.name.clone(),
            results,
            from: from.clone(),
        })
    });
    Ok(nodes.collect())
}

/// The results of all nodes that have only known inputs, and at least one.
fn computed(graph: &Graph, weights: &Weights<'_>) -> HashMap<ValueId, Tensor> {
    let mut known: HashMap<ValueId, Elements<'_>> = HashMap::new();
    let mut computed = HashMap::new();
    for (_, node) in graph.nodes() {
        let held = match &node.op {
            Op::Constant(tensor) => Some(Elements {
                dtype: tensor.dtype(),
                shape: tensor.shape().to_vec(),
                data: Cow::Borrowed(tensor.data()),
            }),
            Op::Parameter(id) => weights.get(*id).map(|view| Elements {
                dtype: view.dtype,
                shape: view.shape.clone(),
                data: Cow::Borrowed(view.data.as_ref()),
            }),
            _ => None,
        };
        if let (Some(held), Some(output)) = (held, node.outputs.first()) {
            known.insert(*output, held);
            continue;
        }
        let inputs = node.inputs.iter().map(|input| known.get(input));
        let Some(inputs) = inputs.collect::<Option<Vec<_>>>() else {
            continue;
        };
        if inputs.is_empty() {
            continue;
        }
        for (value, result) in node
            .outputs
            .iter()
            .zip(results(graph, node, &inputs).unwrap_or_default())
        {
            let tensor = Tensor::from_bytes(result.dtype, &result.shape, result.data.to_vec());
            computed.extend(tensor.map(|tensor| (*value, tensor)));
            known.insert(*value, result);
        }
    }
    computed
}

/// A tensor whose elements are known.
type Elements<'a> = TensorView<'a>;

/// What a node computes; `None` where that is left to the model.
fn results<'a>(graph: &Graph, node: &Node, inputs: &[&Elements<'_>]) -> Option<Vec<Elements<'a>>> {
    let value = graph.value(*node.outputs.first()?);
    let shape = value.shape.sizes()?;
    let elements = shape
        .iter()
        .try_fold(1u64, |n, size| n.checked_mul(*size))?;
    if elements.checked_mul(node.outputs.len() as u64)? > MOST_ELEMENTS {
        return None;
    }
    let first = *inputs.first()?;
    let one = |data: Vec<u8>| {
        Some(vec![Elements {
            dtype: value.dtype,
            shape: shape.clone(),
            data: data.into(),
        }])
    };
    match &node.op {
        Op::Unary(unary) => {
            let values = floats(first)?.into_iter().map(|x| apply(*unary, x));
            one(bytes(values))
        }
        Op::Binary(binary) => {
            let [a, b] = <[&Elements<'_>; 2]>::try_from(inputs.to_vec()).ok()?;
            let places = |x: &Elements<'_>| broadcast(&shape, &x.shape);
            let pairs = places(a)?.into_iter().zip(places(b)?);
            let (a, b) = (floats(a)?, floats(b)?);
            let pairs = pairs.map(|(i, j)| Some((*a.get(i)?, *b.get(j)?)));
            let pairs = pairs.collect::<Option<Vec<_>>>()?;
            one(bytes(
                pairs.into_iter().map(|(a, b)| combine(*binary, a, b)),
            ))
        }
        Op::Reduce { kind, axes } => {
            let mut kept = first.shape.clone();
            for axis in axes {
                *kept.get_mut(*axis)? = 1;
            }
            let places = broadcast(&first.shape, &kept)?;
            let start = match kind {
                Reduce::Sum => 0.0,
                Reduce::Max => f32::NEG_INFINITY,
                Reduce::Min => f32::INFINITY,
            };
            let mut results = vec![start; usize::try_from(elements).ok()?];
            for (x, place) in floats(first)?.into_iter().zip(places) {
                let result = results.get_mut(place)?;
                *result = match kind {
                    Reduce::Sum => *result + x,
                    Reduce::Max => larger(*result, x),
                    Reduce::Min => smaller(*result, x),
                };
            }
            one(bytes(results))
        }
        Op::Reshape(_) => one(first.data.to_vec()),
        Op::Unstack { axis } => unstack(first, *axis, &shape, node.outputs.len()),
        // What all images have in common, once maps over them are unrolled.
        Op::Stack { axis } => one(stacked(inputs, *axis)?),
        // Of feature maps, of images and of boxes: nothing that weights alone decide.
        Op::Conv2d(_)
        | Op::DepthwiseConv2d(_)
        | Op::ConvTranspose2d { .. }
        | Op::MaxPool(_)
        | Op::AveragePool(_)
        | Op::GlobalAveragePool
        | Op::BatchNorm { .. }
        | Op::BiasAdd
        | Op::Softmax
        | Op::Resize { .. }
        | Op::CropAndResize { .. }
        | Op::MatMul
        | Op::Transpose(_)
        | Op::Pad(_)
        | Op::PadEnd(_)
        | Op::ShapeOf
        | Op::Range(_)
        | Op::Compare(_)
        | Op::And
        | Op::Select
        | Op::Cast(_)
        | Op::Concat { .. }
        | Op::Slice(_)
        | Op::Gather { .. }
        | Op::ArgMax { .. }
        | Op::TopK { .. }
        | Op::NonMaxSuppression(_)
        | Op::SoftNonMaxSuppression(_)
        | Op::DecodeImage { .. }
        | Op::ExampleFeature { .. }
        | Op::Map { .. }
        | Op::Input
        | Op::Constant(_)
        | Op::Parameter(_) => None,
    }
}

fn apply(unary: Unary, x: f32) -> f32 {
    match unary {
        Unary::Relu => larger(x, 0.0),
        Unary::Relu6 => smaller(larger(x, 0.0), 6.0),
        Unary::Sigmoid => rounded(1.0 / (1.0 + (-f64::from(x)).exp())),
        Unary::Exp => rounded(f64::from(x).exp()),
        Unary::Log => rounded(f64::from(x).ln()),
        Unary::Round => x.round_ties_even(),
        Unary::Sqrt => x.sqrt(),
        Unary::Abs => x.abs(),
    }
}

fn combine(binary: Binary, a: f32, b: f32) -> f32 {
    match binary {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::FloorDiv => (a / b).floor(),
        Binary::Maximum => larger(a, b),
        Binary::Minimum => smaller(a, b),
    }
}

/// The larger of two; what is not a number stays so.
fn larger(a: f32, b: f32) -> f32 {
    if a.is_nan() || a > b { a } else { b }
}

/// The smaller of two; what is not a number stays so.
fn smaller(a: f32, b: f32) -> f32 {
    if a.is_nan() || a < b { a } else { b }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the element type has 32 bits"
)]
fn rounded(x: f64) -> f32 {
    x as f32
}

fn floats(tensor: &Elements<'_>) -> Option<Vec<f32>> {
    let chunks = tensor.data.as_chunks::<4>().0.iter();
    (tensor.dtype == DType::F32).then(|| chunks.map(|b| f32::from_le_bytes(*b)).collect())
}

fn bytes(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

/// For each element of a tensor of the shape `to`, in order, the place of the element of `from` that is repeated there.
fn broadcast(to: &[u64], from: &[u64]) -> Option<Vec<usize>> {
    let mut places = vec![0usize];
    let new = to.len().checked_sub(from.len())?;
    for (axis, size) in to.iter().enumerate() {
        let own = axis.checked_sub(new).and_then(|axis| from.get(axis));
        let own = usize::try_from(own.copied().unwrap_or(1)).ok()?;
        let size = usize::try_from(*size).ok()?;
        places = places
            .iter()
            .flat_map(|place| (0..size).map(move |i| place * own + if own == 1 { 0 } else { i }))
            .collect();
    }
    Some(places)
}

fn unstack<'a>(
    tensor: &Elements<'_>,
    axis: usize,
    shape: &[u64],
    count: usize,
) -> Option<Vec<Elements<'a>>> {
    let inner = tensor.shape.get(axis + 1..)?.iter().product::<u64>();
    let row = usize::try_from(inner)
        .ok()?
        .checked_mul(tensor.dtype.size()?)?;
    if row == 0 || count == 0 {
        return None;
    }
    let rows: Vec<&[u8]> = tensor.data.chunks_exact(row).collect();
    let parts = (0..count).map(|part| Elements {
        dtype: tensor.dtype,
        shape: shape.to_vec(),
        data: rows
            .iter()
            .skip(part)
            .step_by(count)
            .copied()
            .flatten()
            .copied()
            .collect::<Vec<u8>>()
            .into(),
    });
    Some(parts.collect())
}

/// The bytes of tensors of one shape, joined along a new axis.
fn stacked(tensors: &[&Elements<'_>], axis: usize) -> Option<Vec<u8>> {
    let first = tensors.first()?;
    let inner = first.shape.get(axis..)?.iter().product::<u64>();
    let row = usize::try_from(inner).ok()?;
    let row = row.checked_mul(first.dtype.size()?)?;
    let count = first.data.len().checked_div(row)?;
    let mut bytes = Vec::with_capacity(first.data.len() * tensors.len());
    for place in 0..count {
        for tensor in tensors {
            bytes.extend(tensor.data.get(place * row..(place + 1) * row)?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::{Builder, ParameterSpec};
    use crate::tensor::Shape;

    fn view(shape: &[u64], values: &[f32]) -> TensorView<'static> {
        TensorView {
            dtype: DType::F32,
            shape: shape.to_vec(),
            data: bytes(values.iter().copied()).into(),
        }
    }

    fn parameter(b: &mut Builder, name: &str, shape: &[u64]) -> ValueId {
        b.parameter(ParameterSpec {
            name,
            path: vec![name.into()],
            shape,
            trainable: true,
        })
        .unwrap()
    }

    #[test]
    fn equal_parts_of_all_images_are_stacked() {
        let mut b = Builder::new("g");
        let x = b.input("x", DType::F32, Shape::known(&[2, 2, 2]));
        let first = parameter(&mut b, "first", &[2, 2]);
        let second = parameter(&mut b, "second", &[2, 2]);
        let both = b.stack("both", 1, &[first, second]).unwrap();
        let sum = b.binary("sum", Binary::Add, x, both).unwrap();
        b.output("y", sum);
        let graph = b.finish();
        let weights = Weights(vec![
            view(&[2, 2], &[1.0, 2.0, 3.0, 4.0]),
            view(&[2, 2], &[5.0, 6.0, 7.0, 8.0]),
        ]);
        let (folded, _) = fold(&graph, weights).unwrap();
        crate::validate(&folded).unwrap();
        let mut constants = folded.nodes().filter_map(|(_, node)| match &node.op {
            Op::Constant(tensor) => tensor.to_f32(),
            _ => None,
        });
        let both = constants.next().unwrap();
        assert_eq!(both, [1.0, 2.0, 5.0, 6.0, 3.0, 4.0, 7.0, 8.0]);
    }

    /// Fast attention, as EfficientDet has it: the weights of three maps, one negative.
    #[test]
    fn weights_of_sums_are_normalised_once() {
        let mut b = Builder::new("g");
        let x = b.input("x", DType::F32, Shape::known(&[4]));
        let unused = parameter(&mut b, "kept", &[4]);
        let weights = parameter(&mut b, "weights", &[3, 1]);
        let positive = b.unary("relu", Unary::Relu, weights).unwrap();
        let total = b.reduce("total", Reduce::Sum, positive, &[0, 1]).unwrap();
        let total = b
            .binary_scalar("not_zero", Binary::Add, total, 1e-4)
            .unwrap();
        let normal = b.binary("normal", Binary::Div, positive, total).unwrap();
        let parts = b.unstack("parts", normal, 0).unwrap();
        let mut sum = b.binary("kept_sum", Binary::Add, x, unused).unwrap();
        for part in parts {
            sum = b.binary("weighted", Binary::Mul, sum, part).unwrap();
        }
        b.output("y", sum);
        let graph = b.finish();
        let weights = Weights(vec![
            view(&[4], &[1.0; 4]),
            view(&[3, 1], &[0.5, -2.0, 1.5]),
        ]);
        let decided = decided(&graph, &weights).unwrap();
        let names: Vec<&str> = decided.iter().map(|of| of.name.as_str()).collect();
        assert_eq!(names, ["parts"]);
        assert_eq!(decided[0].results.len(), 3);
        assert_eq!(decided[0].from, BTreeSet::from([ParamId::at(1)]));
        let (folded, weights) = fold(&graph, weights).unwrap();
        crate::validate(&folded).unwrap();
        validate_weights(&folded, &weights).unwrap();
        assert_eq!(weights.0.len(), 1);
        let constants = folded.nodes().filter_map(|(_, node)| match &node.op {
            Op::Constant(tensor) => Some((node.name.as_str(), tensor.to_f32().unwrap()[0])),
            _ => None,
        });
        let total = 0.5f32 + 1.5 + 1e-4;
        assert_eq!(
            constants.collect::<Vec<_>>(),
            [
                ("parts/0", 0.5 / total),
                ("parts/1", 0.0),
                ("parts/2", 1.5 / total)
            ]
        );
        let is_held = |value: &ValueId| {
            matches!(
                folded.node(folded.value(*value).node).op,
                Op::Constant(_) | Op::Parameter(_)
            )
        };
        assert!(
            folded
                .nodes()
                .all(|(_, node)| node.inputs.is_empty() || !node.inputs.iter().all(is_held))
        );
    }

    #[test]
    fn parts_are_taken_along_any_axis_and_values_repeated() {
        let values: Vec<f32> = (0..12u8).map(f32::from).collect();
        let tensor = view(&[2, 3, 2], &values);
        let parts = unstack(&tensor, 1, &[2, 2], 3).unwrap();
        assert_eq!(floats(&parts[1]), Some(vec![2.0, 3.0, 8.0, 9.0]));
        assert_eq!(broadcast(&[2, 3], &[3]), Some(vec![0, 1, 2, 0, 1, 2]));
        assert_eq!(broadcast(&[2, 3], &[2, 1]), Some(vec![0, 0, 0, 1, 1, 1]));
        assert_eq!(broadcast(&[2], &[]), Some(vec![0, 0]));
    }

    #[test]
    fn functions_are_those_of_the_operations() {
        let all = |unary, xs: [f32; 4]| xs.map(|x| apply(unary, x).to_bits());
        assert_eq!(
            all(Unary::Relu6, [-1.0, 2.0, 6.5, 6.0]),
            [0.0f32, 2.0, 6.0, 6.0].map(f32::to_bits)
        );
        assert_eq!(
            all(Unary::Round, [0.5, 1.5, -0.5, 2.4]),
            [0.0f32, 2.0, -0.0, 2.0].map(f32::to_bits)
        );
        assert!(apply(Unary::Relu, f32::NAN).is_nan());
        let both = [Binary::FloorDiv, Binary::Maximum].map(|binary| combine(binary, -1.0, 2.0));
        assert_eq!(both.map(f32::to_bits), [-1.0f32, 2.0].map(f32::to_bits));
    }
}
