//! What readers of TensorFlow's nodes refuse, and that they stay within limits. That every operation comes back, `tfod-cases` tests.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use prost::Message as _;
use tfod_proto::{
    AttrValue, DataType, GraphDef, NodeDef, TensorProto, TensorShapeProto, attr_value,
    tensor_shape_proto,
};
use tfod_tensorflow::graph_of_graph_def;

/// An encoded `GraphDef` of nodes: name, operation, inputs.
fn graph_def(nodes: &[(&str, &str, &[&str])]) -> Vec<u8> {
    let node = |(name, op, inputs): &(&str, &str, &[&str])| NodeDef {
        name: (*name).to_owned(),
        op: (*op).to_owned(),
        input: inputs.iter().map(|input| (*input).to_owned()).collect(),
        ..NodeDef::default()
    };
    let graph = GraphDef {
        node: nodes.iter().map(node).collect(),
        ..GraphDef::default()
    };
    graph.encode_to_vec()
}

#[test]
fn what_has_no_counterpart_is_refused_by_name() {
    let refusals = [
        graph_def(&[("x", "Placeholder", &[])]),
        graph_def(&[
            ("a", "Relu", &["b"]),
            ("b", "Relu", &["a"]),
            ("c", "Relu", &["b"]),
        ]),
        graph_def(&[("a", "Relu", &["nowhere"])]),
        graph_def(&[("a", "Einsum", &[])]),
        graph_def(&[("a\nb", "Where", &[])]),
        graph_def(&[("a", "Conv2D", &[])]),
        graph_def(&[("a", "TensorListStack", &["b", "b"]), ("b", "Exit", &["b"])]),
        b"\x0a\x05ab".to_vec(),
    ];
    let refusals = refusals.map(|graph| graph_of_graph_def(&graph).unwrap_err().to_string());
    insta::assert_snapshot!(refusals.join("\n"));
}

/// A few bytes may say that a number is repeated.
#[test]
fn constants_of_any_size_are_not_written_out() {
    let tensor = |size: i64| TensorProto {
        dtype: DataType::DtFloat.into(),
        tensor_shape: Some(TensorShapeProto {
            dim: vec![tensor_shape_proto::Dim {
                size,
                name: String::new(),
            }],
            unknown_rank: false,
        }),
        float_val: vec![1.5],
        ..TensorProto::default()
    };
    let graph = |size| {
        let value = AttrValue {
            value: Some(attr_value::Value::Tensor(tensor(size))),
        };
        let constant = NodeDef {
            name: "c".to_owned(),
            op: "Const".to_owned(),
            attr: [("value".to_owned(), value)].into(),
            ..NodeDef::default()
        };
        let relu = NodeDef {
            name: "y".to_owned(),
            op: "Relu".to_owned(),
            input: vec!["c".to_owned()],
            ..NodeDef::default()
        };
        let graph = GraphDef {
            node: vec![constant, relu],
            ..GraphDef::default()
        };
        graph_of_graph_def(&graph.encode_to_vec())
    };
    let few = graph(3).unwrap();
    assert!(few.to_string().contains("[1.5, 1.5, 1.5]"), "{few}");
    for size in [1 << 40, i64::MAX, -2] {
        let refused = graph(size).unwrap_err().to_string();
        assert!(refused.starts_with("node `c` (Const)"), "{refused}");
    }
}
