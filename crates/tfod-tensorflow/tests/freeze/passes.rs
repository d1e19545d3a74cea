//! Folding of batch normalisation, and constants in half precision.

#![allow(
    clippy::redundant_closure_for_method_calls,
    reason = "the methods' paths have a fixed lifetime"
)]

use tfod_proto::attr_value::Value;
use tfod_proto::prost::Message;
use tfod_proto::{GraphDef, NodeDef};
use tfod_tensorflow::{FreezeError, FreezeOptions, Frozen, SavedModelReader};

use super::build::{FLOAT, Model, data_type, floats, function, ints, lines, node, text, values};

fn frozen(
    nodes: Vec<NodeDef>,
    pass: impl FnOnce(&mut Frozen<'_>) -> Result<usize, FreezeError>,
) -> (usize, GraphDef) {
    let main = function(
        "main",
        &[("x", FLOAT)],
        &[("y", FLOAT, "y:output:0")],
        nodes,
    );
    let folder = tempfile::tempdir().unwrap();
    Model::new(vec![main]).write(folder.path());
    let reader = SavedModelReader::open(folder.path()).unwrap();
    let mut frozen = reader.freeze(&FreezeOptions::default()).unwrap();
    let changed = pass(&mut frozen).unwrap();
    let mut bytes = Vec::new();
    frozen.write_binary(&mut bytes).unwrap();
    (changed, GraphDef::decode(bytes.as_slice()).unwrap())
}

/// A 1x1 convolution of one channel to two.
fn convolution() -> Vec<NodeDef> {
    let attrs = [
        ("T", data_type(FLOAT)),
        ("strides", ints(&[1, 1, 1, 1])),
        ("padding", text("SAME")),
    ];
    vec![
        floats("kernel", &[1, 1, 1, 2], &[3.0, 5.0]),
        node("conv", "Conv2D", &["x", "kernel:output:0"], &attrs),
    ]
}

fn typed(name: &str, op: &str, inputs: &[&str]) -> NodeDef {
    node(name, op, inputs, &[("T", data_type(FLOAT))])
}

fn normalisation(is_training: bool) -> Vec<NodeDef> {
    let attrs = [
        ("T", data_type(FLOAT)),
        ("U", data_type(FLOAT)),
        ("epsilon", Value::F(0.0)),
        ("is_training", Value::B(is_training)),
    ];
    let inputs = [
        "conv:output:0",
        "gamma:output:0",
        "beta:output:0",
        "mean:output:0",
        "variance:output:0",
    ];
    vec![
        floats("gamma", &[2], &[2.0, 1.0]),
        floats("beta", &[2], &[0.5, 0.0]),
        floats("mean", &[2], &[1.0, 2.0]),
        floats("variance", &[2], &[4.0, 0.25]),
        node("norm", "FusedBatchNormV3", &inputs, &attrs),
        typed("y", "Identity", &["norm:y:0"]),
    ]
}

#[test]
fn a_fused_normalisation_goes_into_kernel_and_bias() {
    let nodes = convolution()
        .into_iter()
        .chain(normalisation(false))
        .collect();
    let (folded, graph) = frozen(nodes, |frozen| frozen.fold_batch_norm());
    assert_eq!(folded, 1);
    let expected = [
        "x = Placeholder()",
        "kernel = Const()",
        "conv = Conv2D(x, kernel)",
        "norm/bias = Const()",
        "norm = BiasAdd(conv, norm/bias)",
        "y = Identity(norm)",
    ];
    assert_eq!(lines(&graph.node), expected);
    // gamma / sqrt(variance) is 1 and 2.
    assert_eq!(values(&graph, "kernel"), [3.0, 10.0]);
    assert_eq!(values(&graph, "norm/bias"), [-0.5, -4.0]);
}

#[test]
fn a_chain_of_arithmetic_is_a_normalisation_too() {
    let mut nodes = convolution();
    nodes.extend([
        floats("gamma", &[2], &[2.0, 4.0]),
        floats("variance", &[2], &[0.25, 1.0]),
        floats("shift", &[1, 1, 1, 2], &[7.0, 8.0]),
        typed("rsqrt", "Rsqrt", &["variance:output:0"]),
        typed("factor", "Mul", &["rsqrt:y:0", "gamma:output:0"]),
        typed("scaled", "Mul", &["factor:z:0", "conv:output:0"]),
        typed("shifted", "Sub", &["shift:output:0", "scaled:z:0"]),
        typed("y", "Identity", &["shifted:z:0"]),
    ]);
    let (folded, graph) = frozen(nodes, |frozen| frozen.fold_batch_norm());
    assert_eq!((folded, graph.node.len()), (1, 6));
    assert_eq!(values(&graph, "kernel"), [-12.0, -20.0]);
    assert_eq!(values(&graph, "shifted/bias"), [7.0, 8.0]);
}

#[test]
fn statistics_of_the_batch_and_shared_convolutions_are_left_alone() {
    let training = convolution()
        .into_iter()
        .chain(normalisation(true))
        .collect();
    assert_eq!(frozen(training, |frozen| frozen.fold_batch_norm()).0, 0);
    let mut shared: Vec<NodeDef> = convolution()
        .into_iter()
        .chain(normalisation(false))
        .collect();
    shared.pop();
    shared.extend([
        typed("sum", "AddV2", &["norm:y:0", "conv:output:0"]),
        typed("y", "Identity", &["sum:z:0"]),
    ]);
    assert_eq!(frozen(shared, |frozen| frozen.fold_batch_norm()).0, 0);
}

#[test]
fn large_constants_are_halved_and_cast() {
    let numbers: Vec<f32> = (0..2000u16).map(f32::from).collect();
    let mut too_large = numbers.clone();
    too_large[3] = 1e6;
    let nodes = vec![
        floats("large", &[2000], &numbers),
        floats("beyond", &[2000], &too_large),
        floats("small", &[1], &[0.1]),
        typed("one", "AddV2", &["x", "large:output:0"]),
        typed("two", "AddV2", &["one:z:0", "beyond:output:0"]),
        typed("three", "AddV2", &["two:z:0", "small:output:0"]),
        typed("y", "Identity", &["three:z:0"]),
    ];
    let (halved, graph) = frozen(nodes, |frozen| frozen.halve_constants());
    assert_eq!(halved, 1);
    let lines = lines(&graph.node);
    assert!(
        lines.contains(&"large/Cast = Cast(large)".to_owned()),
        "{lines:#?}"
    );
    assert!(
        lines.contains(&"one = AddV2(x, large/Cast)".to_owned()),
        "{lines:#?}"
    );
    let large = graph.node.iter().find(|node| node.name == "large").unwrap();
    let Some(Value::Tensor(tensor)) = &large.attr["value"].value else {
        panic!("it is no constant")
    };
    // 1024 is 0x6400 in half precision.
    assert_eq!(tensor.tensor_content[2048..2050], [0x00, 0x64]);
    assert_eq!(tensor.tensor_content.len(), 4000);
}
