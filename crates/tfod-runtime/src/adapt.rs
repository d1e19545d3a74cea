//! What ONNX allows and tract does not, and what tract takes for something else.

use std::mem;

use tract_onnx::pb::{GraphProto, NodeProto, TensorProto, tensor_proto::DataType};

/// The shape of a list of one number, as an initialiser.
const ONE: &str = "tfod_runtime/one";

/// Operators of others have names of ONNX's, too, and tract goes by names alone.
const DOMAINS: [&str; 3] = ["", "ai.onnx", "ai.onnx.ml"];

/// Changes a graph, and those in it, to one that computes the same and that tract reads; else says what is in it that would be computed wrongly.
///
/// The limits and thresholds of `NonMaxSuppression` may be numbers or lists of one number; tract wants lists. Without a limit, or with 0, nothing is
/// selected; tract selects everything.
pub(crate) fn adapt(graph: &mut GraphProto) -> Result<(), String> {
    let mut nodes = Vec::with_capacity(graph.node.len());
    let mut is_needed = false;
    for mut node in mem::take(&mut graph.node) {
        if !DOMAINS.contains(&&*node.domain) {
            return Err(format!(
                "node `{}` has the operator `{}` of the domain `{}`; only operators of ONNX itself are run",
                node.name, node.op_type, node.domain
            ));
        }
        let inner = node.attribute.iter_mut();
        for graph in inner.flat_map(|attribute| attribute.g.iter_mut().chain(&mut attribute.graphs))
        {
            adapt(graph)?;
        }
        if node.op_type == "NonMaxSuppression" {
            if !has_limit(&node, graph) {
                return Err(format!(
                    "node `{}` (NonMaxSuppression) has no max_output_boxes_per_class, or 0: it selects nothing",
                    node.name
                ));
            }
            let (index, numbers) = (nodes.len(), node.input.iter_mut().enumerate().skip(2));
            for (which, input) in numbers.filter(|(_, input)| !input.is_empty()) {
                is_needed = true;
                let list = format!("tfod_runtime/{index}/{which}");
                nodes.push(NodeProto {
                    input: vec![mem::replace(input, list.clone()), ONE.to_owned()],
                    output: vec![list.clone()],
                    name: list,
                    op_type: "Reshape".to_owned(),
                    ..NodeProto::default()
                });
            }
        }
        nodes.push(node);
    }
    graph.node = nodes;
    if is_needed {
        graph.initializer.push(TensorProto {
            name: ONE.to_owned(),
            dims: vec![1],
            data_type: DataType::Int64.into(),
            int64_data: vec![1],
            ..TensorProto::default()
        });
    }
    Ok(())
}

/// Whether a suppression has a limit that is not known to be 0.
fn has_limit(node: &NodeProto, graph: &GraphProto) -> bool {
    let limit = node.input.get(2).filter(|name| !name.is_empty());
    let is_zero = |tensor: &TensorProto| {
        let number = tensor.int64_data.first().copied();
        let raw = tensor
            .raw_data
            .first_chunk()
            .copied()
            .map(i64::from_le_bytes);
        number.or(raw) == Some(0)
    };
    limit.is_some_and(|name| {
        let mut initialisers = graph.initializer.iter();
        !initialisers.any(|tensor| tensor.name == *name && is_zero(tensor))
    })
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::AttributeProto;

    use super::*;

    fn node(op: &str, inputs: &[&str]) -> NodeProto {
        NodeProto {
            op_type: op.to_owned(),
            name: "n".to_owned(),
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            ..NodeProto::default()
        }
    }

    fn graph(nodes: Vec<NodeProto>, limit: i64) -> GraphProto {
        GraphProto {
            node: nodes,
            initializer: vec![TensorProto {
                name: "limit".to_owned(),
                data_type: DataType::Int64.into(),
                raw_data: limit.to_le_bytes().to_vec(),
                ..TensorProto::default()
            }],
            ..GraphProto::default()
        }
    }

    #[test]
    fn limits_and_thresholds_become_lists() {
        let suppression = node(
            "NonMaxSuppression",
            &["boxes", "scores", "limit", "", "score"],
        );
        let mut graph = graph(vec![suppression], 20);
        adapt(&mut graph).unwrap();
        let ops: Vec<&str> = graph.node.iter().map(|node| &*node.op_type).collect();
        assert_eq!(ops, ["Reshape", "Reshape", "NonMaxSuppression"]);
        assert_eq!(graph.node[0].input, ["limit", ONE]);
        let inputs = &graph.node[2].input;
        assert_eq!(
            (&*inputs[1], &inputs[2], &*inputs[3]),
            ("scores", &graph.node[0].output[0], "")
        );
        assert_eq!(graph.initializer[1].name, ONE);
    }

    #[test]
    fn what_would_be_computed_wrongly_is_refused() {
        let without = node("NonMaxSuppression", &["boxes", "scores"]);
        let with = node("NonMaxSuppression", &["boxes", "scores", "limit"]);
        for (suppression, limit) in [(without, 20), (with, 0)] {
            let problem = adapt(&mut graph(vec![suppression], limit)).unwrap_err();
            assert!(
                problem.contains("`n`") && problem.contains("selects nothing"),
                "{problem}"
            );
        }
        let theirs = NodeProto {
            domain: "com.example".to_owned(),
            ..node("Relu", &["x"])
        };
        let conditional = NodeProto {
            attribute: vec![AttributeProto {
                g: Some(graph(vec![theirs], 1)),
                ..AttributeProto::default()
            }],
            ..node("If", &["x"])
        };
        let problem = adapt(&mut graph(vec![conditional], 1)).unwrap_err();
        assert!(problem.contains("the domain `com.example`"), "{problem}");
    }
}
