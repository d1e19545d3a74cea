//! Reading is the way back: a graph that was written and frozen is read as the same graph.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "common/form.rs"]
mod form;
#[allow(dead_code, reason = "what the example does besides making graphs")]
#[path = "../examples/toy_saved_model.rs"]
mod toy;

use form::form;
use prost::Message as _;
use tfod_graph::{Builder, DType, Graph, Shape, Unary, Weights};
use tfod_proto::{
    AttrValue, DataType, GraphDef, NodeDef, TensorProto, TensorShapeProto, attr_value,
    tensor_shape_proto,
};
use tfod_tensorflow::{
    FreezeOptions, NamedGraph, ReadError, SavedModelReader, SavedModelWriter, graph_of_graph_def,
};

/// A graph as it is read from its SavedModel, and from that frozen.
fn read(graph: &Graph, weights: &Weights<'_>) -> [Result<Graph, ReadError>; 2] {
    let folder = tempfile::tempdir().unwrap();
    SavedModelWriter::new(&[NamedGraph::serving(graph, weights)], &[])
        .unwrap()
        .write(folder.path())
        .unwrap();
    let reader = SavedModelReader::open(folder.path()).unwrap();
    let frozen = reader.freeze(&FreezeOptions::default()).unwrap();
    let mut bytes = Vec::new();
    frozen.write_binary(&mut bytes).unwrap();
    [frozen.to_graph(), graph_of_graph_def(&bytes)]
}

fn comes_back(graph: &Graph, weights: &Weights<'_>) {
    let expected = form(graph, weights);
    let none = Weights::default();
    for found in read(graph, weights) {
        let found = found.unwrap_or_else(|error| panic!("{error}"));
        tfod_graph::validate(&found).unwrap();
        let found = form(&found, &none);
        if let Some((expected, found)) = expected.lines().zip(found.lines()).find(|(x, y)| x != y) {
            panic!("expected {expected}\nfound    {found}");
        }
        assert_eq!(expected, found);
    }
}

#[test]
fn every_operation_comes_back() {
    let graph = toy::operations().unwrap();
    comes_back(&graph, &toy::weights(&graph));
}

#[test]
fn files_and_examples_come_back() {
    for are_examples in [false, true] {
        let graph = toy::files(are_examples).unwrap();
        comes_back(&graph, &toy::weights(&graph));
    }
}

/// A chain of nodes may be as long as a graph may be.
#[test]
fn long_chains_come_back() {
    let mut b = Builder::new("chain");
    let mut x = b.input("x", DType::F32, Shape::known(&[2]));
    for _ in 0..10_000 {
        x = b.unary("relu", Unary::Relu, x).unwrap();
    }
    b.output("y", x);
    comes_back(&b.finish(), &Weights::default());
}

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
        graph_def(&[("a", "MatMul", &[])]),
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
