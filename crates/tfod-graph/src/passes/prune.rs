//! Drops nodes and parameters that no output needs. Inputs stay: they are the interface.

use crate::graph::{Graph, ParamId};
use crate::op::Op;
use crate::passes::rewriter::Rewriter;
use crate::validate::ValidateError;

/// The graph without what no output needs. Parameters are renumbered, so weights belong to the graph after pruning.
///
/// # Errors
/// When the graph breaks an invariant of the crate.
pub fn prune(graph: &Graph) -> Result<Graph, ValidateError> {
    let needed = needed(graph);
    let mut kept = Vec::new();
    let mut renumbered = vec![None; graph.parameters.len()];
    for (id, node) in graph.nodes() {
        if let (true, Op::Parameter(param)) = (needed[id.index()], &node.op) {
            renumbered[param.index()] = Some(ParamId::at(kept.len()));
            kept.push(graph.parameter(*param).clone());
        }
    }
    let mut rewriter = Rewriter::new(graph);
    rewriter.new.set_parameters(kept);
    for (id, node) in graph.nodes() {
        let op = match &node.op {
            Op::Input => Op::Input,
            _ if !needed[id.index()] => continue,
            Op::Parameter(param) => match renumbered[param.index()] {
                Some(param) => Op::Parameter(param),
                None => continue,
            },
            Op::Map { body, inputs } => Op::Map {
                body: Box::new(prune(body)?),
                inputs: inputs.clone(),
            },
            op => op.clone(),
        };
        rewriter.copy(node, op)?;
    }
    rewriter.finish()
}

/// Of each parameter, by its place, whether [`prune`] keeps it: for those who want to know that alone.
pub fn needed_parameters(graph: &Graph) -> Vec<bool> {
    let nodes = needed(graph);
    let mut parameters = vec![false; graph.parameters.len()];
    for (id, node) in graph.nodes() {
        if let (true, Op::Parameter(param)) = (nodes[id.index()], &node.op) {
            parameters[param.index()] = true;
        }
    }
    parameters
}

/// Of each node, whether an output needs it.
fn needed(graph: &Graph) -> Vec<bool> {
    let mut needed = vec![false; graph.nodes.len()];
    let mut stack: Vec<_> = graph.outputs().iter().map(|o| o.value).collect();
    while let Some(value) = stack.pop() {
        let node = graph.value(value).node;
        if !std::mem::replace(&mut needed[node.index()], true) {
            stack.extend(&graph.node(node).inputs);
        }
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::{Builder, ParameterSpec};
    use crate::op::Unary;
    use crate::tensor::{DType, Shape};

    #[test]
    fn what_no_output_needs_goes_and_inputs_stay() {
        let mut b = Builder::new("g");
        let x = b.input("x", DType::F32, Shape::known(&[3]));
        let _unused_input = b.input("y", DType::F32, Shape::known(&[3]));
        let parameter = |b: &mut Builder, name: &str| {
            b.parameter(ParameterSpec {
                name,
                path: vec![name.into()],
                shape: &[3],
                trainable: true,
            })
            .unwrap()
        };
        let _dropped = parameter(&mut b, "dropped");
        let kept = parameter(&mut b, "kept");
        b.unary("dead", Unary::Relu, x).unwrap();
        let sum = b.bias_add("sum", x, kept).unwrap();
        b.output("sum", sum);
        let pruned = prune(b.graph()).unwrap();
        crate::validate(&pruned).unwrap();
        let names: Vec<&str> = pruned.nodes().map(|(_, n)| n.name.as_str()).collect();
        assert_eq!(names, ["x", "y", "kept", "sum"]);
        let parameters: Vec<&str> = pruned.parameters().map(|(_, p)| p.name.as_str()).collect();
        assert_eq!(parameters, ["kept"]);
        assert_eq!(needed_parameters(b.graph()), [false, true]);
    }
}
