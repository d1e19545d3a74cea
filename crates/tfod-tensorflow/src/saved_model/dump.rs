//! A meta graph as text for snapshots: one line a node, attributes in braces.

use std::fmt::Write as _;

use tfod_proto::attr_value::{ListValue, Value};
use tfod_proto::saved_object::Kind;
use tfod_proto::{
    AttrValue, DataType, FunctionDef, MetaGraphDef, NodeDef, TensorProto, TensorShapeProto,
};

pub(super) fn meta_graph(meta: &MetaGraphDef) -> String {
    let mut out = String::new();
    let graph = meta.graph_def.as_ref().unwrap();
    writeln!(out, "main graph").unwrap();
    nodes(&mut out, &graph.node);
    for function in &graph.library.as_ref().unwrap().function {
        self::function(&mut out, function);
    }
    for (name, signature) in &meta.signature_def {
        writeln!(out, "signature {name} {}", signature.method_name).unwrap();
        for (side, tensors) in [("in", &signature.inputs), ("out", &signature.outputs)] {
            for (key, info) in tensors {
                let shape = shape(info.tensor_shape.as_ref().unwrap());
                writeln!(
                    out,
                    "  {side} {key} = {} {}{shape}",
                    info.name,
                    dtype(info.dtype)
                )
                .unwrap();
            }
        }
    }
    objects(&mut out, meta);
    let saver = meta.saver_def.as_ref().unwrap();
    writeln!(
        out,
        "saver {} {} {}",
        saver.filename_tensor_name, saver.save_tensor_name, saver.restore_op_name
    )
    .unwrap();
    writeln!(out, "meta {:?}", meta.meta_info_def.as_ref().unwrap()).unwrap();
    writeln!(out, "versions {:?}", graph.versions.as_ref().unwrap()).unwrap();
    out
}

fn nodes(out: &mut String, nodes: &[NodeDef]) {
    for node in nodes {
        let attrs: Vec<String> = node
            .attr
            .iter()
            .map(|(name, value)| format!("{name}={}", attr(value)))
            .collect();
        writeln!(
            out,
            "  {} = {}({}) {{{}}}",
            node.name,
            node.op,
            node.input.join(", "),
            attrs.join(" ")
        )
        .unwrap();
    }
}

fn function(out: &mut String, function: &FunctionDef) {
    let signature = function.signature.as_ref().unwrap();
    let args = |args: &[tfod_proto::op_def::ArgDef]| {
        let text: Vec<String> = args
            .iter()
            .map(|a| format!("{}: {}", a.name, dtype(a.r#type)))
            .collect();
        text.join(", ")
    };
    let (inputs, outputs) = (args(&signature.input_arg), args(&signature.output_arg));
    let stateful = if signature.is_stateful {
        " stateful"
    } else {
        ""
    };
    writeln!(
        out,
        "function {}({inputs}) -> {outputs}{stateful}",
        signature.name
    )
    .unwrap();
    nodes(out, &function.node_def);
    writeln!(out, "  return {:?}", function.ret).unwrap();
    for (name, value) in &function.attr {
        writeln!(out, "  {name} = {}", attr(value)).unwrap();
    }
}

fn objects(out: &mut String, meta: &MetaGraphDef) {
    let objects = meta.object_graph_def.as_ref().unwrap();
    for (id, node) in objects.nodes.iter().enumerate() {
        let kind = match node.kind.as_ref().unwrap() {
            Kind::UserObject(object) => format!("object {}", object.identifier),
            Kind::Variable(v) => format!(
                "variable {} {}{} trainable={}",
                v.name,
                dtype(v.dtype),
                shape(v.shape.as_ref().unwrap()),
                v.trainable
            ),
            Kind::Function(f) => format!("function {:?}", f.concrete_functions),
            Kind::BareConcreteFunction(f) => format!(
                "bare function {} {:?} positional={}",
                f.concrete_function_name, f.argument_keywords, f.allowed_positional_arguments
            ),
            other => format!("{other:?}"),
        };
        let children: Vec<String> = node
            .children
            .iter()
            .map(|c| format!("{}={}", c.local_name, c.node_id))
            .collect();
        writeln!(out, "object {id}: {kind} [{}]", children.join(" ")).unwrap();
    }
    for (name, function) in &objects.concrete_functions {
        writeln!(out, "concrete {name} bound={:?}", function.bound_inputs).unwrap();
    }
}

fn attr(value: &AttrValue) -> String {
    match value.value.as_ref().unwrap() {
        Value::List(list) => self::list(list),
        Value::S(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
        Value::I(i) => i.to_string(),
        Value::F(f) => f.to_string(),
        Value::B(b) => b.to_string(),
        Value::Type(t) => dtype(*t),
        Value::Shape(s) => shape(s),
        Value::Tensor(t) => tensor(t),
        Value::Func(f) => format!("@{}", f.name),
        Value::Placeholder(p) => format!("placeholder {p}"),
    }
}

fn list(list: &ListValue) -> String {
    let ints = list.i.iter().map(i64::to_string);
    let types = list.r#type.iter().map(|t| dtype(*t));
    let shapes = list.shape.iter().map(shape);
    let parts: Vec<String> = ints.chain(types).chain(shapes).collect();
    format!("[{}]", parts.join(", "))
}

fn tensor(tensor: &TensorProto) -> String {
    let bytes = &tensor.tensor_content;
    let words = || bytes.as_chunks::<4>().0.iter();
    let content = match tensor.dtype() {
        DataType::DtString => {
            let strings = tensor.string_val.iter();
            // The serialised object graph is shown above; here is how long it is.
            let text = |s: &Vec<u8>| {
                String::from_utf8(s.clone())
                    .ok()
                    .filter(|s| !s.contains(char::is_control))
            };
            format!(
                "{:?}",
                strings
                    .map(|s| text(s).unwrap_or_else(|| format!("{} bytes", s.len())))
                    .collect::<Vec<_>>()
            )
        }
        _ if bytes.len() > 64 => format!("{} bytes", bytes.len()),
        DataType::DtFloat => format!(
            "{:?}",
            words().map(|b| f32::from_le_bytes(*b)).collect::<Vec<_>>()
        ),
        DataType::DtInt32 => format!(
            "{:?}",
            words().map(|b| i32::from_le_bytes(*b)).collect::<Vec<_>>()
        ),
        _ => format!("{bytes:?}"),
    };
    format!(
        "{}{} {content}",
        dtype(tensor.dtype),
        shape(tensor.tensor_shape.as_ref().unwrap())
    )
}

fn dtype(number: i32) -> String {
    let name = DataType::try_from(number).unwrap().as_str_name();
    name.trim_start_matches("DT_").to_lowercase()
}

fn shape(shape: &TensorShapeProto) -> String {
    if shape.unknown_rank {
        return "[*]".to_owned();
    }
    let dims: Vec<String> = shape
        .dim
        .iter()
        .map(|d| {
            if d.size < 0 {
                "?".to_owned()
            } else {
                d.size.to_string()
            }
        })
        .collect();
    format!("[{}]", dims.join(","))
}
