//! A model as text for snapshots: one line a node, as in the graph's own text form.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::proto::attribute_proto::AttributeType;
use crate::proto::tensor_proto::DataType;
use crate::proto::tensor_shape_proto::dimension::Value as Size;
use crate::proto::type_proto::Value as Type;
use crate::proto::{AttributeProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};

pub(crate) fn model(model: &ModelProto) -> String {
    let mut out = String::new();
    let graph = model.graph.as_ref().unwrap();
    let opset = model.opset_import[0].version();
    writeln!(out, "model ir={} opset={opset}", model.ir_version()).unwrap();
    for entry in &model.metadata_props {
        writeln!(out, "  {} = {}", entry.key(), entry.value()).unwrap();
    }
    writeln!(out, "graph {}", graph.name()).unwrap();
    for input in &graph.input {
        writeln!(out, "  in {}: {}", input.name(), info(input)).unwrap();
    }
    for tensor in &graph.initializer {
        writeln!(out, "  {}: {}", tensor.name(), initializer(tensor)).unwrap();
    }
    let types: HashMap<&str, String> = graph
        .value_info
        .iter()
        .chain(&graph.output)
        .map(|value| (value.name(), info(value)))
        .collect();
    for node in &graph.node {
        writeln!(out, "  {}", self::node(node, &types)).unwrap();
    }
    for output in &graph.output {
        writeln!(out, "  out {}", output.name()).unwrap();
    }
    out
}

fn node(node: &NodeProto, types: &HashMap<&str, String>) -> String {
    let results: Vec<String> = node
        .output
        .iter()
        .map(|name| match types.get(name.as_str()) {
            Some(typed) => format!("{name}: {typed}"),
            None => "_".to_owned(),
        })
        .collect();
    let mut attrs = String::new();
    for attr in &node.attribute {
        write!(attrs, " {}={}", attr.name(), attribute(attr)).unwrap();
    }
    let (results, inputs) = (results.join(", "), node.input.join(", "));
    format!("{results} = {}({inputs}){attrs}", node.op_type())
}

fn attribute(attr: &AttributeProto) -> String {
    match attr.r#type() {
        AttributeType::Float => attr.f().to_string(),
        AttributeType::Int => attr.i().to_string(),
        AttributeType::Ints => format!("{:?}", attr.ints),
        AttributeType::String => String::from_utf8_lossy(attr.s()).into_owned(),
        AttributeType::Undefined => "?".to_owned(),
    }
}

fn dtype(number: i32) -> &'static str {
    match DataType::try_from(number).unwrap() {
        DataType::Float => "f32",
        DataType::Uint8 => "u8",
        DataType::Int32 => "i32",
        DataType::Int64 => "i64",
        DataType::Bool => "bool",
        DataType::String => "string",
        DataType::Undefined => "?",
    }
}

fn info(value: &ValueInfoProto) -> String {
    let Some(Type::TensorType(tensor)) = value.r#type.as_ref().and_then(|t| t.value.as_ref())
    else {
        return "?".to_owned();
    };
    let dims = &tensor.shape.as_ref().unwrap().dim;
    let dims: Vec<String> = dims
        .iter()
        .map(|dim| match dim.value.as_ref().unwrap() {
            Size::DimValue(n) => n.to_string(),
            Size::DimParam(name) => name.clone(),
        })
        .collect();
    format!("{}[{}]", dtype(tensor.elem_type()), dims.join(", "))
}

fn initializer(tensor: &TensorProto) -> String {
    const SHOWN: usize = 8;
    let typed = format!("{}{:?}", dtype(tensor.data_type()), tensor.dims);
    let bytes = tensor.raw_data();
    let contents = match tensor.data_type() {
        _ if !tensor.external_data.is_empty() => {
            let entries = tensor.external_data.iter();
            let entries = entries.map(|e| format!("{}={}", e.key(), e.value()));
            entries.collect::<Vec<_>>().join(" ")
        }
        7 if bytes.len() <= SHOWN * 8 => {
            let values = bytes.as_chunks::<8>().0.iter();
            format!(
                "{:?}",
                values.map(|b| i64::from_le_bytes(*b)).collect::<Vec<_>>()
            )
        }
        1 if bytes.len() <= SHOWN * 4 => {
            let values = bytes.as_chunks::<4>().0.iter();
            format!(
                "{:?}",
                values.map(|b| f32::from_le_bytes(*b)).collect::<Vec<_>>()
            )
        }
        _ => format!("{} bytes", bytes.len()),
    };
    format!("{typed} {contents}")
}
