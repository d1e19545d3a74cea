//! Makes equal computations one: constants of the same type, shape and bytes, and nodes of the same operation on the same values.

use std::collections::HashMap;

use crate::graph::{Graph, ValueId};
use crate::op::Op;
use crate::passes::rewriter::Rewriter;
use crate::tensor::Tensor;
use crate::validate::ValidateError;

/// The graph with equal computations made one. The first of the equals keeps its name.
///
/// # Errors
/// When the graph breaks an invariant of the crate.
pub fn share(graph: &Graph) -> Result<Graph, ValidateError> {
    let mut rewriter = Rewriter::new(graph);
    let mut constants: HashMap<&Tensor, Vec<ValueId>> = HashMap::new();
    let mut nodes: HashMap<(String, Vec<ValueId>), Vec<ValueId>> = HashMap::new();
    for (_, node) in graph.nodes() {
        match &node.op {
            Op::Input => {
                rewriter.copy(node, Op::Input)?;
            }
            Op::Constant(tensor) => {
                if let Some(values) = constants.get(tensor) {
                    rewriter.define(node, values);
                } else {
                    let values = rewriter.copy(node, node.op.clone())?;
                    constants.insert(tensor, values);
                }
            }
            Op::Map { body, inputs } => {
                let op = Op::Map {
                    body: Box::new(share(body)?),
                    inputs: inputs.clone(),
                };
                rewriter.copy(node, op)?;
            }
            op => {
                // The debug form of an operation holds all its attributes; constants and sub-graphs, whose form is
                // abridged, are dealt with above.
                let key = (format!("{op:?}"), rewriter.get_all(&node.inputs)?);
                if let Some(values) = nodes.get(&key) {
                    rewriter.define(node, values);
                } else {
                    let values = rewriter.copy(node, op.clone())?;
                    nodes.insert(key, values);
                }
            }
        }
    }
    rewriter.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::Builder;
    use crate::op::{Binary, Unary};
    use crate::tensor::{DType, Shape};

    #[test]
    fn equal_nodes_become_one_and_different_ones_do_not() {
        let mut b = Builder::new("g");
        let x = b.input("x", DType::F32, Shape::known(&[3]));
        let a = b.binary_scalar("a", Binary::Mul, x, 2.0).unwrap();
        let c = b.binary_scalar("b", Binary::Mul, x, 2.0).unwrap();
        let d = b.binary_scalar("c", Binary::Mul, x, 3.0).unwrap();
        let e = b.binary("e", Binary::Add, a, c).unwrap();
        let f = b.binary("f", Binary::Add, e, d).unwrap();
        let g = b.unary("g", Unary::Relu, f).unwrap();
        b.output("out", g);
        let shared = share(b.graph()).unwrap();
        crate::validate(&shared).unwrap();
        let names: Vec<&str> = shared.nodes().map(|(_, n)| n.name.as_str()).collect();
        assert_eq!(names, ["x", "a/by", "a", "c/by", "c", "e", "f", "g"]);
    }
}
