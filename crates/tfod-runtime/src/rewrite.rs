//! Nodes that rten computes once they are written otherwise.

use std::collections::HashSet;

use tfod_proto::wire::put_varint;

use crate::onnx::{GraphProto, NodeProto, dtype};

/// What names begin with that are added here.
pub(crate) const OWN: &str = "tfod_runtime/";

/// Operators that give elements of their input, whose place among the inputs is the first or as said, and change none.
const MOVING: [(&str, usize); 11] = [
    ("Concat", 0),
    ("Expand", 0),
    ("Gather", 0),
    ("GatherND", 0),
    ("Identity", 0),
    ("Pad", 0),
    ("Reshape", 0),
    ("Slice", 0),
    ("Transpose", 0),
    ("Unsqueeze", 0),
    ("Where", 1),
];

/// Writes nodes for rten.
pub(crate) struct Rewriter<'a> {
    /// Names of values that are known to be bytes.
    bytes: HashSet<&'a str>,
}

impl<'a> Rewriter<'a> {
    /// Finds out what there is to know of a graph.
    pub(crate) fn of(graph: &GraphProto<'a>) -> Self {
        let is_byte = |number: u64| number == dtype::UINT8;
        let inputs = graph.inputs.iter().filter(|port| is_byte(port.dtype));
        let mut bytes: HashSet<&str> = inputs.map(|port| port.name).collect();
        let initialisers = graph.initialisers.iter();
        let initialisers = initialisers.filter(|tensor| is_byte(tensor.dtype));
        bytes.extend(initialisers.map(|tensor| tensor.name));
        for node in &graph.nodes {
            let moved = MOVING.iter().find(|(op, _)| *op == node.op);
            let from = moved.and_then(|(_, index)| node.inputs.get(*index));
            let of_constant = node.attributes.iter().flat_map(|found| &found.tensors);
            let is_given = match node.op {
                "Cast" => casts_to(node, dtype::UINT8),
                "Constant" => of_constant.map(|tensor| tensor.dtype).any(is_byte),
                _ => from.is_some_and(|from| bytes.contains(from)),
            };
            if is_given {
                bytes.extend(&node.outputs);
            }
        }
        Self { bytes }
    }

    /// Appends a node to a graph.
    pub(crate) fn write(&self, node: &NodeProto<'_>, graph: &mut Vec<u8>) {
        match (node.op, &node.outputs[..]) {
            ("Cast", [output]) if casts_to(node, dtype::BOOL) => write_truth(node, output, graph),
            (op @ ("Concat" | "Where"), [output]) if self.bytes.contains(output) => {
                write_widened(node, output, usize::from(op == "Where"), graph);
            }
            ("ArgMax" | "ArgMin", [output]) if attribute(node, "select_last_index", 0) == 0 => {
                write_extreme(node, output, graph);
            }
            ("Div", [output]) if node.inputs.len() == 2 => write_division(node, output, graph),
            ("Resize", [output]) => match last_axes(node) {
                Some(first) => write_resize(node, output, first, graph),
                None => write_named(node, graph),
            },
            _ => write_named(node, graph),
        }
    }
}

/// Whether rten would compute a node otherwise than ONNX defines it, were it not written otherwise.
pub(crate) fn is_rewritten(node: &NodeProto<'_>) -> bool {
    match node.op {
        "Cast" => casts_to(node, dtype::BOOL),
        op => matches!(op, "ArgMax" | "ArgMin"),
    }
}

fn casts_to(node: &NodeProto<'_>, number: u64) -> bool {
    attribute(node, "to", 0).cast_unsigned() == number
}

/// A whole number among a node's attributes.
fn attribute(node: &NodeProto<'_>, name: &str, default: i64) -> i64 {
    let found = node.attributes.iter().find(|found| found.name == name);
    found.map_or(default, |found| found.int)
}

/// Of equals, ONNX has the first and rten the last. Among the `k` largest, rten has them in the right order.
fn write_extreme(node: &NodeProto<'_>, output: &str, graph: &mut Vec<u8>) {
    let [values, places, axes] =
        ["values", "places", "axes"].map(|part| format!("{OWN}{part}/{output}"));
    let axis = attribute(node, "axis", 0);
    let is_kept = attribute(node, "keepdims", 1) != 0;
    let places = if is_kept { output } else { &places };
    let mut inputs = node.inputs.clone();
    inputs.push(ONE);
    let mut best = written("TopK", &inputs, &values);
    put_bytes(&mut best, 2, places.as_bytes());
    let is_largest = i64::from(node.op == "ArgMax");
    for (name, number) in [("axis", axis), ("largest", is_largest)] {
        put_bytes(&mut best, 5, &integer(name, number));
    }
    put_bytes(graph, 1, &best);
    if !is_kept {
        put_bytes(
            graph,
            5,
            &constant(&axes, dtype::INT64, &[1], &axis.to_le_bytes()),
        );
        put_bytes(graph, 1, &written("Squeeze", &[places, &axes], output));
    }
}

/// What is not 0 is true in ONNX; rten has whole numbers for truth values, and would keep others than 0 and 1.
fn write_truth(node: &NodeProto<'_>, output: &str, graph: &mut Vec<u8>) {
    let [number, is_zero] = ["number", "is_zero"].map(|part| format!("{OWN}{part}/{output}"));
    put_bytes(graph, 1, &cast(&number, &node.inputs, dtype::FLOAT));
    put_bytes(graph, 1, &written("Equal", &[&number, ZERO], &is_zero));
    put_bytes(graph, 1, &written("Not", &[&is_zero], output));
}

/// rten multiplies by the reciprocal of a divisor that is a single number, which rounds twice; where sizes and positions are computed, that moves whole rows of
/// pixels. With two columns of divisors, it divides.
fn write_division(node: &NodeProto<'_>, output: &str, graph: &mut Vec<u8>) {
    let [dividend, divisor, divisors, quotients] = ["dividend", "divisor", "divisors", "quotients"]
        .map(|part| format!("{OWN}{part}/{output}"));
    for (input, column) in node.inputs.iter().zip([&dividend, &divisor]) {
        put_bytes(graph, 1, &written("Unsqueeze", &[input, LAST], column));
    }
    let mut joined = written("Concat", &[&divisor, &divisor], &divisors);
    put_bytes(&mut joined, 5, &integer("axis", -1));
    put_bytes(graph, 1, &joined);
    put_bytes(
        graph,
        1,
        &written("Div", &[&dividend, &divisors], &quotients),
    );
    let mut first = written("Gather", &[&quotients, FIRST], output);
    put_bytes(&mut first, 5, &integer("axis", -1));
    put_bytes(graph, 1, &first);
}

/// rten neither joins bytes nor chooses between them: those from an input on are widened for that.
fn write_widened(node: &NodeProto<'_>, output: &str, first: usize, graph: &mut Vec<u8>) {
    let wide = format!("{OWN}wide/{output}");
    let mut inputs = Vec::new();
    for (index, input) in node.inputs.iter().enumerate() {
        if index < first {
            inputs.push((*input).to_owned());
            continue;
        }
        let part = format!("{OWN}wide{index}/{output}");
        put_bytes(graph, 1, &cast(&part, &[input], dtype::INT32));
        inputs.push(part);
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let mut widened = written(node.op, &inputs, &wide);
    for attribute in &node.attributes {
        put_bytes(&mut widened, 5, attribute.bytes);
    }
    put_bytes(graph, 1, &widened);
    put_bytes(graph, 1, &cast(output, &[&wide], dtype::UINT8));
}

/// The first of the axes of which a resizing says sizes, if they are all from that on, and not all there are.
fn last_axes(node: &NodeProto<'_>) -> Option<u8> {
    let axes = node.attributes.iter().find(|found| found.name == "axes")?;
    let first = axes.ints.first().copied()?;
    let is_next = |(axis, next): (i64, &i64)| axis == *next;
    let are_in_order = (first..).zip(&axes.ints).all(is_next);
    let first = u8::try_from(first).ok()?;
    (are_in_order && (1..=MOST_AXES).contains(&first)).then_some(first)
}

/// The most dimensions before those that are resized.
const MOST_AXES: u8 = 8;

/// A resizing of some axes, as one of all.
fn write_resize(node: &NodeProto<'_>, output: &str, first: u8, graph: &mut Vec<u8>) {
    let [before, all] = ["before", "all"].map(|part| format!("{OWN}{part}/{output}"));
    let mut inputs = node.inputs.clone();
    // Scales come before sizes, and are left out where these are not.
    let which = if inputs.len() > 3 { 3 } else { 2 };
    let (Some(x), Some(target)) = (node.inputs.first(), inputs.get_mut(which)) else {
        write_named(node, graph);
        return;
    };
    if which == 3 {
        let mut shape = written("Shape", &[x], &before);
        put_bytes(&mut shape, 5, &integer("end", first.into()));
        put_bytes(graph, 1, &shape);
    } else {
        let ones = 1f32.to_le_bytes().repeat(first.into());
        put_bytes(
            graph,
            5,
            &constant(&before, dtype::FLOAT, &[first.into()], &ones),
        );
    }
    let mut joined = written("Concat", &[&before, target], &all);
    put_bytes(&mut joined, 5, &integer("axis", 0));
    put_bytes(graph, 1, &joined);
    *target = &all;
    let mut resize = written(node.op, &inputs, output);
    for attribute in node.attributes.iter().filter(|found| found.name != "axes") {
        put_bytes(&mut resize, 5, attribute.bytes);
    }
    put_bytes(graph, 1, &resize);
}

/// A node as it is, but by a name that says its operator, for errors.
fn write_named(node: &NodeProto<'_>, graph: &mut Vec<u8>) {
    let NodeProto { name, op, .. } = node;
    let name = match (&**name, node.outputs.first()) {
        ("", Some(output)) => format!("{output} ({op})"),
        _ => format!("{name} ({op})"),
    };
    let mut named = node.bytes.to_vec();
    // Of fields that are there twice, the last counts.
    put_bytes(&mut named, 3, name.as_bytes());
    put_bytes(graph, 1, &named);
}

/// A node that gives numbers of another type.
fn cast(output: &str, inputs: &[&str], number: u64) -> Vec<u8> {
    let mut cast = written("Cast", inputs, output);
    put_bytes(&mut cast, 5, &integer("to", number.cast_signed()));
    cast
}

/// A whole number as an attribute.
fn integer(name: &str, number: i64) -> Vec<u8> {
    let mut attribute = Vec::new();
    put_bytes(&mut attribute, 1, name.as_bytes());
    put_number(&mut attribute, 3, number.cast_unsigned());
    put_number(&mut attribute, 20, 2);
    attribute
}

/// A node without attributes.
fn written(op: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let mut node = Vec::new();
    for input in inputs {
        put_bytes(&mut node, 1, input.as_bytes());
    }
    put_bytes(&mut node, 2, output.as_bytes());
    put_bytes(&mut node, 3, output.as_bytes());
    put_bytes(&mut node, 4, op.as_bytes());
    node
}

/// The name of a float that is 0.
const ZERO: &str = "tfod_runtime/zero";

/// The name of a list of one whole number, 1.
const ONE: &str = "tfod_runtime/one";

/// The name of a list of one axis, the last.
const LAST: &str = "tfod_runtime/last";

/// The name of a whole number that is 0.
const FIRST: &str = "tfod_runtime/first";

/// Appends the numbers that what is written here reads.
pub(crate) fn write_numbers(graph: &mut Vec<u8>) {
    put_bytes(graph, 5, &constant(ZERO, dtype::FLOAT, &[], &[0; 4]));
    for (name, dims, number) in [(ONE, &[1][..], 1i64), (LAST, &[1], -1), (FIRST, &[], 0)] {
        let number = number.to_le_bytes();
        put_bytes(graph, 5, &constant(name, dtype::INT64, dims, &number));
    }
}

/// A tensor.
fn constant(name: &str, number: u64, dims: &[u64], elements: &[u8]) -> Vec<u8> {
    let mut tensor = Vec::new();
    for size in dims {
        put_number(&mut tensor, 1, *size);
    }
    put_number(&mut tensor, 2, number);
    put_bytes(&mut tensor, 8, name.as_bytes());
    put_bytes(&mut tensor, 9, elements);
    tensor
}

/// Appends a number as a field.
pub(crate) fn put_number(out: &mut Vec<u8>, field: u64, number: u64) {
    put_varint(out, field << 3);
    put_varint(out, number);
}

/// Appends bytes, text or a message as a field.
pub(crate) fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(out, field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
