//! Gives sizes known only at run time numbers: for formats that have none that is unknown.

use crate::dim::Dim;
use crate::graph::{Graph, Node};
use crate::op::Op;
use crate::passes::rewriter::Rewriter;
use crate::tensor::{Shape, Tensor};
use crate::validate::ValidateError;

/// The graph in which the named symbols are these numbers, in sub-graphs too. The sizes of values whose sizes are all known are constants, and operations that
/// were told a size at run time are so no longer where it is known.
///
/// # Errors
/// When the numbers do not go together, or the graph breaks an invariant of the crate.
pub fn with_sizes(
    graph: &Graph,
    size_of: &dyn Fn(&str) -> Option<u64>,
) -> Result<Graph, ValidateError> {
    let mut rewriter = Rewriter::new(graph);
    for (_, node) in graph.nodes() {
        let one = |dim: &Dim| -> Result<Dim, ValidateError> {
            let too_large = || ValidateError::Sizes {
                node: node.name.clone(),
            };
            dim.with_sizes(size_of).ok_or_else(too_large)
        };
        let fixed = |dims: &[Dim]| dims.iter().map(one).collect::<Result<Vec<Dim>, _>>();
        let op = match &node.op {
            Op::Input => {
                let value = graph.value(node.output()?);
                let shape = Shape(fixed(value.shape.dims())?);
                let input = rewriter.new.input(&node.name, value.dtype, shape);
                rewriter.define(node, &[input]);
                continue;
            }
            Op::ShapeOf => {
                let x = rewriter.get_all(&node.inputs)?;
                let sizes = x.first().and_then(|x| rewriter.new.shape(*x).sizes());
                let known = sizes.and_then(|sizes| {
                    let numbers = sizes.iter().map(|n| i32::try_from(*n).ok());
                    let numbers = numbers.collect::<Option<Vec<i32>>>()?;
                    Tensor::i32(&[numbers.len() as u64], &numbers)
                });
                if let Some(tensor) = known {
                    let constant = rewriter.new.constant(&node.name, tensor)?;
                    rewriter.define(node, &[constant]);
                    continue;
                }
                Op::ShapeOf
            }
            Op::Resize { method, size, grid } => {
                let [height, width] = size;
                let size = [one(height)?, one(width)?];
                let is_known = size.iter().all(|dim| dim.known().is_some());
                let op = Op::Resize {
                    method: *method,
                    size,
                    grid: *grid,
                };
                if is_known {
                    with_first_input(&mut rewriter, node, op)?;
                    continue;
                }
                op
            }
            Op::TopK { k } => {
                let k = one(k)?;
                let is_known = k.known().is_some();
                let op = Op::TopK { k };
                if is_known {
                    with_first_input(&mut rewriter, node, op)?;
                    continue;
                }
                op
            }
            Op::Range(dim) => Op::Range(one(dim)?),
            Op::PadEnd(dims) => Op::PadEnd(fixed(dims)?),
            Op::Reshape(dims) => Op::Reshape(fixed(dims)?),
            Op::Map { body, inputs } => Op::Map {
                body: Box::new(with_sizes(body, size_of)?),
                inputs: inputs.clone(),
            },
            // No attribute is a size, or is one that files decide.
            Op::Conv2d(_)
            | Op::DepthwiseConv2d(_)
            | Op::ConvTranspose2d { .. }
            | Op::MaxPool(_)
            | Op::AveragePool(_)
            | Op::GlobalAveragePool
            | Op::BatchNorm { .. }
            | Op::BiasAdd
            | Op::Softmax
            | Op::CropAndResize { .. }
            | Op::MatMul
            | Op::Transpose(_)
            | Op::Pad(_)
            | Op::Compare(_)
            | Op::And
            | Op::Select
            | Op::Cast(_)
            | Op::Concat { .. }
            | Op::Slice(_)
            | Op::Stack { .. }
            | Op::Gather { .. }
            | Op::ArgMax { .. }
            | Op::NonMaxSuppression(_)
            | Op::SoftNonMaxSuppression(_)
            | Op::DecodeImage { .. }
            | Op::ExampleFeature { .. }
            | Op::Constant(_)
            | Op::Parameter(_)
            | Op::Unary(_)
            | Op::Binary(_)
            | Op::Reduce { .. }
            | Op::Unstack { .. } => node.op.clone(),
        };
        rewriter.copy(node, op)?;
    }
    rewriter.finish()
}

/// Writes a node that is no longer told a size at run time.
fn with_first_input(rewriter: &mut Rewriter<'_>, node: &Node, op: Op) -> Result<(), ValidateError> {
    let mut inputs = rewriter.get_all(&node.inputs)?;
    inputs.truncate(1);
    let results = rewriter.new.add(&node.name, op, &inputs)?;
    rewriter.define(node, &results);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::Builder;
    use crate::op::{PixelGrid, ResizeMethod};
    use crate::tensor::DType;
    use crate::validate;

    #[test]
    fn sizes_become_numbers_wherever_they_are() {
        let mut b = Builder::new("g");
        let [batch, side, twice] = ["batch", "side", "twice"].map(Dim::symbol);
        let dims = vec![batch.clone(), side.clone(), side.clone(), 3.into()];
        let x = b.input("x", DType::F32, Shape(dims));
        let shape = b.shape_of("shape", x).unwrap();
        let parts = b.unstack("parts", shape, 0).unwrap();
        let sides = b.stack("sides", 0, &[parts[1], parts[2]]).unwrap();
        let method = ResizeMethod::Nearest;
        let to = [twice.clone(), twice.clone()];
        let grid = PixelGrid::Corners;
        let large = b
            .resize_on("large", x, method, grid, to, Some(sides))
            .unwrap();
        let flat = [batch, twice.times(&twice).unwrap(), 3.into()];
        let flat = b.reshape("flat", large, &flat).unwrap();
        b.output("flat", flat);
        b.output("sides", sides);
        let graph = b.finish();
        let size_of = |name: &str| match name {
            "batch" => Some(2),
            "side" => Some(5),
            "twice" => Some(10),
            _ => None,
        };
        let fixed = with_sizes(&graph, &size_of).unwrap();
        validate(&fixed).unwrap();
        insta::assert_snapshot!(fixed);
        // Other sizes stay.
        let some = with_sizes(&graph, &|name| (name == "batch").then_some(2)).unwrap();
        validate(&some).unwrap();
        let value = some.outputs()[0].value;
        assert_eq!(some.value(value).shape.to_string(), "[2, twice*twice, 3]");
    }
}
