//! What ONNX allows and tract does not.

use tract_onnx::pb::{GraphProto, NodeProto, TensorProto, tensor_proto::DataType};

/// The shape of a tensor with one element, as an initialiser.
const ONE: &str = "tfod_runtime/one";

/// Changes a graph to one that computes the same and that tract reads.
///
/// The limits and thresholds of `NonMaxSuppression` may be numbers or lists of one number; tract wants lists.
pub(crate) fn adapt(graph: &mut GraphProto) {
    let mut nodes = Vec::with_capacity(graph.node.len());
    let mut is_needed = false;
    for mut node in graph.node.drain(..) {
        if node.op_type == "NonMaxSuppression" {
            let (index, numbers) = (nodes.len(), node.input.iter_mut().enumerate().skip(2));
            for (which, input) in numbers.filter(|(_, input)| !input.is_empty()) {
                is_needed = true;
                let list = format!("tfod_runtime/{index}/{which}");
                nodes.push(NodeProto {
                    input: vec![std::mem::replace(input, list.clone()), ONE.to_owned()],
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
}
