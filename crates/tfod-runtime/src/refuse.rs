//! What rten would compute otherwise than ONNX defines it, refused by name.

use std::collections::HashSet;

use crate::onnx::{AttributeProto, GraphProto, ModelProto, NodeProto, Problem, TensorProto, dtype};
use crate::{operators, rewrite};

/// The operator set from which on element-wise operators broadcast as they do today.
const OLDEST: u64 = 7;

/// The operator set from which on these normalise one axis and not all from one on.
const ONE_AXIS: (u64, [&str; 2]) = (13, ["Softmax", "LogSoftmax"]);

/// Operators that depend on how many bits a number has, or on a type that rten has not.
const OF_BITS: [&str; 2] = ["BitCast", "CastLike"];

/// Types whose values rten has, or has others for that hold them.
const TYPES: [u64; 7] = [
    dtype::FLOAT,
    dtype::UINT8,
    dtype::INT8,
    dtype::INT32,
    dtype::INT64,
    dtype::BOOL,
    dtype::FLOAT16,
];

/// Says what of a model would be computed otherwise.
pub(crate) fn refuse(model: &ModelProto<'_>) -> Result<(), Problem> {
    if model.opset < OLDEST {
        let found = match model.opset {
            0 => "it names none".to_owned(),
            version => format!("found {version}"),
        };
        return Err(format!("expected operator set {OLDEST} or newer, {found}"));
    }
    let ports = model.graph.inputs.iter().chain(&model.graph.outputs);
    for port in ports.filter(|port| port.dtype != 0) {
        if !TYPES.contains(&port.dtype) {
            return Err(format!("`{}` is of {}", port.name, not_had(port.dtype)));
        }
    }
    refuse_in(&model.graph, model.opset, false, &mut HashSet::new())
}

/// Goes through a graph; `read` are the names that are read as more than the ends of a slice, which are cut down to a size that there is.
fn refuse_in<'a>(
    graph: &GraphProto<'a>,
    opset: u64,
    is_inner: bool,
    read: &mut HashSet<&'a str>,
) -> Result<(), Problem> {
    // Names of whole numbers that 32 bits do not hold.
    let mut wide: Vec<&str> = Vec::new();
    for node in &graph.nodes {
        refuse_node(node, opset, is_inner)?;
        for inner in node.attributes.iter().flat_map(|found| &found.graphs) {
            refuse_in(inner, opset, true, read)?;
        }
        let is_slice = node.op == "Slice";
        let inputs = node.inputs.iter().enumerate();
        let counting = inputs.filter(|(index, _)| !(is_slice && matches!(index, 1 | 2)));
        read.extend(counting.map(|(_, name)| *name));
        if node.op == "Constant" && node.attributes.iter().any(is_wide) {
            wide.extend(&node.outputs);
        }
    }
    read.extend(graph.outputs.iter().map(|port| port.name));
    for tensor in &graph.initialisers {
        let what = || format!("initialiser `{}`", tensor.name);
        refuse_type(tensor.dtype, what)?;
        if is_wide_tensor(tensor) {
            wide.push(tensor.name);
        }
    }
    match wide.into_iter().find(|name| read.contains(name)) {
        None => Ok(()),
        Some(name) => Err(format!(
            "`{name}` has whole numbers beyond 32 bits, which are not computed with here"
        )),
    }
}

fn refuse_node(node: &NodeProto<'_>, opset: u64, is_inner: bool) -> Result<(), Problem> {
    let NodeProto {
        name, op, domain, ..
    } = node;
    if !matches!(*domain, "" | "ai.onnx") {
        return Err(format!(
            "node `{name}` has the operator `{op}` of the domain `{domain}`; only operators of ONNX itself are run"
        ));
    }
    if OF_BITS.contains(op) {
        return Err(format!(
            "node `{name}` ({op}) is of an operator that is not run here"
        ));
    }
    let (since, changed) = ONE_AXIS;
    if opset < since && changed.contains(op) {
        return Err(format!(
            "node `{name}` ({op}) is of operator set {opset}; expected {since} or newer, in which the operator is about one axis"
        ));
    }
    if is_inner && (operators::is_own(op) || rewrite::is_rewritten(node)) {
        return Err(format!(
            "node `{name}` ({op}) is in a graph that is an attribute of a node, where it cannot be run"
        ));
    }
    for attribute in &node.attributes {
        let what = || format!("node `{name}` ({op})");
        let is_cubic = || op == &"Resize" && attribute.text == b"cubic";
        if attribute.name == "mode" && is_cubic() {
            return Err(format!(
                "{} is of the mode `cubic`, which is not run",
                what()
            ));
        }
        if matches!(attribute.name, "to" | "dtype" | "output_dtype") {
            refuse_type(attribute.int.cast_unsigned(), what)?;
        }
        for tensor in &attribute.tensors {
            refuse_type(tensor.dtype, what)?;
        }
        if !matches!(*op, "Constant" | "Slice") && is_wide(attribute) {
            return Err(format!(
                "{} has whole numbers beyond 32 bits, which are not computed with here",
                what()
            ));
        }
    }
    Ok(())
}

fn refuse_type(found: u64, what: impl Fn() -> String) -> Result<(), Problem> {
    if found == 0 || TYPES.contains(&found) {
        return Ok(());
    }
    Err(format!("{} is of {}", what(), not_had(found)))
}

fn not_had(found: u64) -> String {
    let name = match found {
        4 => "uint16",
        5 => "int16",
        8 => "string",
        11 => "float64",
        12 => "uint32",
        13 => "uint64",
        16 => "bfloat16",
        _ => return format!("the type of ONNX's number {found}, which is not computed with here"),
    };
    format!("the type {name}, which is not computed with here")
}

/// Whether an attribute has a whole number that 32 bits do not hold.
fn is_wide(attribute: &AttributeProto<'_>) -> bool {
    let own = [attribute.int];
    let numbers = own.iter().chain(&attribute.ints);
    numbers.copied().any(is_beyond) || attribute.tensors.iter().any(is_wide_tensor)
}

fn is_wide_tensor(tensor: &TensorProto<'_>) -> bool {
    if tensor.dtype != dtype::INT64 {
        return false;
    }
    let (raw, _) = tensor.raw.unwrap_or_default().as_chunks();
    let raw = raw.iter().copied().map(i64::from_le_bytes);
    raw.chain(tensor.ints.iter().copied()).any(is_beyond)
}

pub(crate) fn is_beyond(number: i64) -> bool {
    i32::try_from(number).is_err()
}
