//! Replaces a map over a small, known leading dimension by its body, once for each slice: no loop is left where the batch is one.

use crate::dim::Dim;
use crate::graph::{Graph, Node, ValueId};
use crate::op::{MapInput, Op};
use crate::passes::rewriter::Rewriter;
use crate::validate::ValidateError;

/// The graph without maps over at most `limit` slices.
///
/// # Errors
/// When the graph breaks an invariant of the crate.
pub fn unroll(graph: &Graph, limit: u64) -> Result<Graph, ValidateError> {
    let mut rewriter = Rewriter::new(graph);
    for (_, node) in graph.nodes() {
        match (&node.op, slices(graph, node).filter(|n| *n <= limit)) {
            (Op::Map { body, inputs }, Some(count)) => {
                let body = unroll(body, limit)?;
                let values = rewriter.get_all(&node.inputs)?;
                let results = inline(&mut rewriter, node, &body, inputs, &values, count)?;
                rewriter.define(node, &results);
            }
            (Op::Map { body, inputs }, None) => {
                let op = Op::Map {
                    body: Box::new(unroll(body, limit)?),
                    inputs: inputs.clone(),
                };
                rewriter.copy(node, op)?;
            }
            (op, _) => {
                rewriter.copy(node, op.clone())?;
            }
        }
    }
    rewriter.finish()
}

/// How often the body of a map runs, where that is known.
fn slices(graph: &Graph, node: &Node) -> Option<u64> {
    let Op::Map { inputs, .. } = &node.op else {
        return None;
    };
    let sliced = inputs.iter().position(|kind| *kind == MapInput::Sliced)?;
    let value = graph.value(*node.inputs.get(sliced)?);
    value.shape.dims().first()?.known()
}

fn inline(
    rewriter: &mut Rewriter<'_>,
    node: &Node,
    body: &Graph,
    kinds: &[MapInput],
    values: &[ValueId],
    count: u64,
) -> Result<Vec<ValueId>, ValidateError> {
    let mut per_slice: Vec<Vec<ValueId>> = Vec::new();
    let new = &mut rewriter.new;
    for slice in 0..count {
        let scope = if count == 1 {
            node.name.clone()
        } else {
            format!("{}/{slice}", node.name)
        };
        let results = new.scope(&scope, |new| {
            let mut arguments = Vec::with_capacity(values.len());
            for ((value, kind), inner) in values.iter().zip(kinds).zip(body.inputs()) {
                arguments.push(match kind {
                    MapInput::Whole => *value,
                    MapInput::Sliced => {
                        let dims = body.value(*inner).shape.dims().to_vec();
                        let mut ranges = vec![None; dims.len() + 1];
                        ranges[0] = Some((slice, 1));
                        let part = if count == 1 {
                            *value
                        } else {
                            new.add("slice", Op::Slice(ranges), &[*value])?[0]
                        };
                        new.reshape("squeeze", part, &dims)?
                    }
                });
            }
            new.inline(body, &arguments)
        })?;
        per_slice.push(results);
    }
    (0..body.outputs().len())
        .map(|output| {
            let parts: Vec<ValueId> = per_slice.iter().map(|results| results[output]).collect();
            let name = format!("{}/stacked", node.name);
            if let [only] = parts.as_slice() {
                let mut dims = vec![Dim::Known(1)];
                dims.extend(new.shape(*only).dims().iter().cloned());
                new.reshape(&name, *only, &dims)
            } else {
                new.stack(&name, 0, &parts)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::Builder;
    use crate::op::Reduce;
    use crate::tensor::{DType, Shape};
    use crate::validate;

    fn mapped(leading: Dim) -> Graph {
        let mut b = Builder::new("g");
        let x = b.input("x", DType::F32, Shape(vec![leading, 3.into()]));
        let w = b.input("w", DType::F32, Shape::known(&[3]));
        let inputs = [(x, MapInput::Sliced), (w, MapInput::Whole)];
        let sums = b
            .map::<ValidateError>("each", &inputs, |b, args| {
                let y = b.bias_add("y", args[0], args[1])?;
                let sum = b.reduce("sum", Reduce::Sum, y, &[0])?;
                b.output("sum", sum);
                Ok(())
            })
            .unwrap();
        b.output("sums", sums[0]);
        validate(b.graph()).unwrap();
        b.finish()
    }

    #[test]
    fn a_map_over_one_is_its_body() {
        let graph = unroll(&mapped(Dim::Known(1)), 1).unwrap();
        validate(&graph).unwrap();
        insta::assert_snapshot!(graph);
    }

    #[test]
    fn a_map_over_two_is_two_bodies() {
        let graph = unroll(&mapped(Dim::Known(2)), 4).unwrap();
        validate(&graph).unwrap();
        insta::assert_snapshot!(graph);
    }

    #[test]
    fn a_map_over_an_unknown_number_stays() {
        let graph = mapped(Dim::symbol("batch"));
        let unrolled = unroll(&graph, 8).unwrap();
        validate(&unrolled).unwrap();
        assert_eq!(unrolled.to_string(), graph.to_string());
    }
}
