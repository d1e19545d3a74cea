//! Nodes that compute from nothing but constants. OpenCV's importers cannot run them, and no other program should have to.

use std::collections::HashSet;

use tfod_proto::wire::{Field, Fields, all, last};
use tfod_proto::{GraphDef, NodeDef};

/// Operations of TensorFlow that have only constants as inputs in some graphs, because they have no other counterpart: how a value comes into a loop, an empty list, which no
/// constant can be, and a result that is a constant itself.
const NEEDED: [&str; 3] = ["Enter", "TensorListReserve", "Identity"];

fn of_nodes(nodes: &[NodeDef]) -> impl Iterator<Item = String> + '_ {
    let constants = nodes.iter().filter(|node| node.op == "Const");
    let constants: HashSet<&str> = constants.map(|node| node.name.as_str()).collect();
    let is_constant = move |input: &String| {
        let name = input.split(':').next().unwrap_or_default();
        constants.contains(name)
    };
    let found = nodes.iter().filter(move |node| {
        let mut inputs = node
            .input
            .iter()
            .filter(|input| !input.starts_with('^'))
            .peekable();
        inputs.peek().is_some() && inputs.all(&is_constant) && !NEEDED.contains(&node.op.as_str())
    });
    found.map(|node| format!("{} {}({})", node.name, node.op, node.input.join(", ")))
}

/// Of a graph and its functions.
pub(crate) fn of_graph(graph: &GraphDef) -> Vec<String> {
    let functions = graph.library.iter().flat_map(|library| &library.function);
    let functions = functions.flat_map(|function| of_nodes(&function.node_def));
    of_nodes(&graph.node).chain(functions).collect()
}

/// Of an ONNX model. A result that is a constant itself has to be copied: names inside and outside differ.
pub(crate) fn of_onnx(model: &[u8]) -> Vec<String> {
    const GRAPH: u32 = 7;
    let graph = last(model, GRAPH).and_then(Field::bytes).expect("a graph");
    let text = |field: Field<'_>| field.text().expect("text");
    let initializers = all(graph, 5).filter_map(Field::bytes);
    let initializers = initializers.filter_map(|tensor| last(tensor, 8)).map(text);
    let mut constants: HashSet<String> = initializers.collect();
    let mut found = Vec::new();
    for field in Fields::of(graph) {
        let Ok((1, Field::Bytes(node))) = field else {
            continue;
        };
        let inputs: Vec<String> = all(node, 1)
            .map(text)
            .filter(|name| !name.is_empty())
            .collect();
        let op = last(node, 4).map(text).unwrap_or_default();
        if inputs.is_empty() {
            constants.extend(all(node, 2).map(text));
        } else if op != "Identity" && inputs.iter().all(|input| constants.contains(input)) {
            let name = last(node, 3).map(text).unwrap_or_default();
            found.push(format!("{name} {op}({})", inputs.join(", ")));
        }
    }
    found
}
