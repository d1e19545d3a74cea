//! What readers of TensorFlow's nodes refuse, and that they stay within limits. That every operation comes back, `tfod-cases` tests.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use prost::Message as _;
use tfod_graph::Graph;
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

fn node(name: &str, op: &str, inputs: &[&str], attrs: &[(&str, attr_value::Value)]) -> NodeDef {
    let attr = |(name, value): &(&str, attr_value::Value)| {
        let value = AttrValue {
            value: Some(value.clone()),
        };
        ((*name).to_owned(), value)
    };
    NodeDef {
        name: name.to_owned(),
        op: op.to_owned(),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        attr: attrs.iter().map(attr).collect(),
        ..NodeDef::default()
    }
}

fn shape(sizes: &[i64]) -> TensorShapeProto {
    let dim = |&size: &i64| tensor_shape_proto::Dim {
        size,
        name: String::new(),
    };
    TensorShapeProto {
        dim: sizes.iter().map(dim).collect(),
        unknown_rank: false,
    }
}

fn input(name: &str, of: DataType, sizes: &[i64]) -> NodeDef {
    let attrs = [
        ("dtype", attr_value::Value::Type(of.into())),
        ("shape", attr_value::Value::Shape(shape(sizes))),
    ];
    node(name, "Placeholder", &[], &attrs)
}

/// A constant of integers: a vector, or a scalar without sizes.
fn integers(name: &str, sizes: &[i64], values: &[i32]) -> NodeDef {
    let tensor = TensorProto {
        dtype: DataType::DtInt32.into(),
        tensor_shape: Some(shape(sizes)),
        int_val: values.to_vec(),
        ..TensorProto::default()
    };
    let attrs = [("value", attr_value::Value::Tensor(tensor))];
    node(name, "Const", &[], &attrs)
}

fn graph_of(nodes: Vec<NodeDef>) -> Graph {
    let graph = GraphDef {
        node: nodes,
        ..GraphDef::default()
    };
    graph_of_graph_def(&graph.encode_to_vec()).unwrap()
}

#[track_caller]
fn assert_has(graph: &Graph, expected: &[&str]) {
    let text = graph.to_string();
    for expected in expected {
        assert!(text.contains(expected), "no {expected:?} in {text}");
    }
}

/// The part of a tensor `f32[4, 5]` from `begin` to `end` along its first dimension.
fn part(begin: i32, end: i32, masks: &[(&str, i64)]) -> Graph {
    let masks: Vec<(&str, attr_value::Value)> = masks
        .iter()
        .map(|&(name, mask)| (name, attr_value::Value::I(mask)))
        .collect();
    graph_of(vec![
        input("x", DataType::DtFloat, &[4, 5]),
        integers("begin", &[1], &[begin]),
        integers("end", &[1], &[end]),
        integers("steps", &[1], &[1]),
        node(
            "part",
            "StridedSlice",
            &["x", "begin", "end", "steps"],
            &masks,
        ),
        node("y", "Relu", &["part"], &[]),
    ])
}

#[test]
fn a_part_that_ends_before_it_begins_is_empty() {
    assert_has(&part(1, 3, &[]), &["y: f32[2, 5]"]);
    assert_has(&part(3, 1, &[]), &["y: f32[0, 5]"]);
    assert_has(&part(-1, -3, &[]), &["y: f32[0, 5]"]);
    assert_has(&part(2, 2, &[]), &["y: f32[0, 5]"]);
    // A position that is taken out is not what a mask says.
    let masks = [("begin_mask", 1), ("shrink_axis_mask", 1)];
    assert_has(&part(3, 0, &masks), &["[3..4, ..]", "y: f32[5]"]);
}

#[test]
fn a_vector_of_conditions_chooses_rows_in_tensorflow_1_only() {
    let chosen = |op: &str| {
        graph_of(vec![
            input("which", DataType::DtBool, &[2]),
            input("a", DataType::DtFloat, &[2, 2]),
            input("b", DataType::DtFloat, &[2, 2]),
            node("y", op, &["which", "a", "b"], &[]),
        ])
    };
    assert_has(&chosen("Select"), &["bool[2, 1]", "y: f32[2, 2]"]);
    let along_columns = chosen("SelectV2").to_string();
    assert!(!along_columns.contains("bool[2, 1]"), "{along_columns}");
}

#[test]
fn a_reshape_of_what_was_padded_stays_one() {
    let reshaped = |to: [i32; 2]| {
        let axis = [("axis", attr_value::Value::I(1))];
        let shrink = [("shrink_axis_mask", attr_value::Value::I(1))];
        graph_of(vec![
            input("x", DataType::DtFloat, &[-1, 4]),
            node("shape", "Shape", &["x"], &[]),
            integers("0", &[1], &[0]),
            integers("1", &[1], &[1]),
            node("rows", "StridedSlice", &["shape", "0", "1", "1"], &shrink),
            integers("most", &[], &[100]),
            node("missing", "Sub", &["most", "rows"], &[]),
            integers("none", &[], &[0]),
            node("after", "Pack", &["missing", "none"], &[]),
            integers("before", &[2], &[0, 0]),
            node("paddings", "Pack", &["before", "after"], &axis),
            node("padded", "Pad", &["x", "paddings"], &[]),
            integers("to", &[2], &to),
            node("y", "Reshape", &["padded", "to"], &[]),
        ])
    };
    assert_has(
        &reshaped([4, 100]),
        &["padded: f32[100, 4]", "y: f32[4, 100] = reshape(padded)"],
    );
    let told = reshaped([100, 4]).to_string();
    assert!(!told.contains("reshape(padded)"), "{told}");
}

/// Each would take memory for all dimensions before it.
#[test]
fn dimensions_are_not_added_without_end() {
    let expanded = |count: usize| {
        let name = |index: usize| format!("x{index}");
        let mut nodes = vec![
            input("x0", DataType::DtFloat, &[2]),
            integers("axis", &[], &[0]),
        ];
        nodes.extend((1..=count).map(|index| {
            let before = name(index - 1);
            node(&name(index), "ExpandDims", &[&before, "axis"], &[])
        }));
        let graph = GraphDef {
            node: nodes,
            ..GraphDef::default()
        };
        graph_of_graph_def(&graph.encode_to_vec())
    };
    expanded(253).unwrap();
    let error = expanded(254).unwrap_err().to_string();
    assert!(
        error.contains("x254") && error.contains("at most 254 dimensions"),
        "{error}"
    );
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
