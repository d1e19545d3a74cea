//! What is done to frozen graphs: batch normalisation is folded, constants take half the space, sizes of inputs are fixed.

#![expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the methods' paths have a fixed lifetime"
)]

use tfod_proto::attr_value::Value;
use tfod_proto::prost::Message;
use tfod_proto::{GraphDef, NodeDef};
use tfod_tensorflow::{FreezeError, FreezeOptions, Frozen, InputShape, SavedModelReader};

use super::build::{
    BOOL, FLOAT, INT32, Model, data_type, floats, func, function, int, ints, lines, node, shape,
    text, types, values,
};
use super::{loop_head, typed};

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
    frozen_of(&Model::new(vec![main]), pass)
}

fn frozen_of(
    model: &Model,
    pass: impl FnOnce(&mut Frozen<'_>) -> Result<usize, FreezeError>,
) -> (usize, GraphDef) {
    let folder = tempfile::tempdir().unwrap();
    model.write(folder.path());
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

/// Nodes in a branch or loop, in which constants are because of what they come after.
fn after(pivot: &str, nodes: impl IntoIterator<Item = NodeDef>) -> Vec<NodeDef> {
    let mut nodes: Vec<NodeDef> = nodes.into_iter().collect();
    for node in nodes.iter_mut().filter(|node| node.op == "Const") {
        node.input.push(format!("^{pivot}"));
    }
    nodes
}

/// A normalised convolution of what `inside` gives, between nodes of TensorFlow 1.
fn routed(inside: &str, around: Vec<NodeDef>) -> Vec<NodeDef> {
    let mut nodes = convolution();
    inside.clone_into(&mut nodes[1].input[0]);
    nodes.extend(normalisation(false));
    nodes.pop();
    let mut nodes = after("inside", nodes);
    nodes.extend(around);
    nodes
}

#[test]
fn what_is_in_loops_of_tensorflow_1_is_not_folded() {
    let mut looped = vec![
        node(
            "enter",
            "Enter",
            &["x"],
            &[("T", data_type(FLOAT)), ("frame_name", text("frame"))],
        ),
        typed("next", "NextIteration", &["norm:y:0"]),
        typed("y", "Exit", &["switch:output_false:0"]),
    ];
    looped.extend(loop_head("enter:output:0"));
    let nodes = routed("inside:output:0", looped);
    let (folded, graph) = frozen(nodes, |frozen| frozen.fold_batch_norm());
    assert_eq!(folded, 0);
    let lines = lines(&graph.node);
    let expected = "norm = FusedBatchNormV3(conv, gamma, beta, mean, variance)";
    assert!(lines.iter().any(|line| line == expected), "{lines:#?}");
}

#[test]
fn what_is_in_branches_of_tensorflow_1_is_folded() {
    let branch = vec![
        typed("finite", "IsFinite", &["x"]),
        int("axis", 0),
        node("all", "All", &["finite:y:0", "axis:output:0"], &[]),
        typed("switch", "Switch", &["x", "all:output:0"]),
        typed("inside", "Identity", &["switch:output_true:0"]),
        node(
            "merge",
            "Merge",
            &["norm:y:0", "switch:output_false:0"],
            &[("T", data_type(FLOAT)), ("N", Value::I(2))],
        ),
        typed("y", "Identity", &["merge:output:0"]),
    ];
    let nodes = routed("inside:output:0", branch);
    let (folded, graph) = frozen(nodes, |frozen| frozen.fold_batch_norm());
    assert_eq!(folded, 1);
    assert_eq!(values(&graph, "kernel"), [3.0, 10.0]);
}

#[test]
fn a_normalisation_whose_statistics_are_read_is_left_alone() {
    let statistics = |end: Vec<NodeDef>| {
        let mut nodes = convolution();
        nodes.extend(normalisation(false));
        nodes.pop();
        nodes.extend(end);
        frozen(nodes, |frozen| frozen.fold_batch_norm()).0
    };
    let only = vec![typed("y", "Identity", &["norm:batch_mean:0"])];
    let both = vec![
        typed("sum", "AddV2", &["norm:y:0", "norm:batch_mean:0"]),
        typed("y", "Identity", &["sum:z:0"]),
    ];
    assert_eq!((statistics(only), statistics(both)), (0, 0));
}

#[test]
fn keys_of_inputs_come_before_names_of_nodes() {
    let mut message = Model::new(Vec::new()).message();
    let meta_graph = &mut message.meta_graphs[0];
    let attrs = [("dtype", data_type(FLOAT))];
    meta_graph.graph_def.as_mut().unwrap().node = vec![
        node("a", "Placeholder", &[], &attrs),
        node("b", "Placeholder", &[], &attrs),
        node("c", "Placeholder", &[], &attrs),
        typed("ab", "AddV2", &["a", "b"]),
        typed("y", "AddV2", &["ab", "c"]),
    ];
    let signature = meta_graph.signature_def.get_mut("serving_default").unwrap();
    let named = |info: &mut tfod_proto::TensorInfo, name: &str| {
        let info = info.clone();
        tfod_proto::TensorInfo {
            name: format!("{name}:0"),
            tensor_shape: None,
            ..info
        }
    };
    let input = signature.inputs.get_mut("x").unwrap();
    let inputs = [("a", "b"), ("b", "a"), ("z", "c")];
    signature.inputs = inputs
        .map(|(key, name)| (key.to_owned(), named(input, name)))
        .into();
    let output = signature.outputs.get_mut("y0").unwrap();
    *output = named(output, "y");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("saved_model.pb");
    std::fs::write(file, message.encode_to_vec()).unwrap();
    let reader = SavedModelReader::open(folder.path()).unwrap();
    for (wanted, expected) in [("a", "b"), ("b", "a"), ("z", "c"), ("c", "c"), ("a:0", "a")] {
        let mut frozen = reader.freeze(&FreezeOptions::default()).unwrap();
        let wanted = InputShape {
            input: wanted.to_owned(),
            shape: vec![Some(7)],
        };
        frozen.fix_input_shapes(&[wanted]).unwrap();
        let shaped = frozen
            .inputs()
            .into_iter()
            .find(|input| input.shape.is_some());
        assert_eq!(shaped.unwrap().tensor, format!("{expected}:0"));
    }
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

/// A main graph as TensorFlow 1 writes it, whose input `image` of `[?, 4]` gets a shape; its outputs are these tensors.
fn fixed(
    nodes: Vec<NodeDef>,
    outputs: &[&str],
    wanted: InputShape,
) -> Result<GraphDef, FreezeError> {
    let mut message = Model::new(Vec::new()).message();
    let graph = message.meta_graphs[0].graph_def.as_mut().unwrap();
    let attrs = [
        ("dtype", data_type(FLOAT)),
        ("shape", Value::Shape(shape(&[-1, 4]))),
    ];
    graph.node = vec![
        node("image", "Placeholder", &[], &attrs),
        node("choice", "Placeholder", &[], &[("dtype", data_type(BOOL))]),
    ];
    graph.node.extend(nodes);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("saved_model.pb");
    std::fs::write(file, message.encode_to_vec()).unwrap();
    let reader = SavedModelReader::open(folder.path()).unwrap();
    let mut options = FreezeOptions::default();
    options.inputs = vec!["image".to_owned(), "choice".to_owned()];
    options.outputs = outputs.iter().map(|&output| output.to_owned()).collect();
    let mut frozen = reader.freeze(&options).unwrap();
    frozen.fix_input_shapes(&[wanted])?;
    let mut bytes = Vec::new();
    frozen.write_binary(&mut bytes).unwrap();
    Ok(GraphDef::decode(bytes.as_slice()).unwrap())
}

fn image_of(sizes: &[u64]) -> InputShape {
    InputShape {
        input: "image".to_owned(),
        shape: sizes.iter().copied().map(Some).collect(),
    }
}

fn of_ints(name: &str, op: &str, inputs: &[&str]) -> NodeDef {
    node(name, op, inputs, &[("T", data_type(INT32))])
}

fn merge(inputs: &[&str]) -> NodeDef {
    let attrs = [("T", data_type(INT32)), ("N", Value::I(2))];
    node("merge", "Merge", inputs, &attrs)
}

fn sizes_of(name: &str, inputs: &[&str]) -> NodeDef {
    node(name, "Shape", inputs, &[("T", data_type(FLOAT))])
}

#[test]
fn sizes_in_loops_of_tensorflow_1_stay_in_the_loop() {
    let enter = |name: &str, of: &str, is_constant: bool, dtype| {
        let attrs = [
            ("T", data_type(dtype)),
            ("frame_name", text("frame")),
            ("is_constant", Value::B(is_constant)),
        ];
        node(name, "Enter", &[of], &attrs)
    };
    let nodes = vec![
        sizes_of("sizes", &["image"]),
        enter("first", "sizes", false, INT32),
        enter("inside", "image", true, FLOAT),
        merge(&["first", "next"]),
        node(
            "sizes_inside",
            "Shape",
            &["inside"],
            &[("T", data_type(FLOAT))],
        ),
        of_ints("again", "Less", &["merge", "sizes_inside"]),
        NodeDef {
            input: vec!["^merge".to_owned()],
            ..int("axis", 0)
        },
        node("all", "All", &["again", "axis"], &[]),
        node("condition", "LoopCond", &["all"], &[]),
        of_ints("switch", "Switch", &["merge", "condition"]),
        of_ints("sum", "AddV2", &["switch:1", "sizes_inside"]),
        of_ints("next", "NextIteration", &["sum"]),
        of_ints("exit", "Exit", &["switch"]),
        of_ints("y", "AddV2", &["exit", "sizes"]),
    ];
    let graph = fixed(nodes, &["y"], image_of(&[3, 4])).unwrap();
    let lines = lines(&graph.node);
    for expected in [
        // Outside, before and behind the loop, a constant.
        "sizes = Const()",
        "first = Enter(sizes)",
        "y = AddV2(exit, sizes)",
        // Inside, computed in each iteration.
        "sizes_inside = Shape(inside)",
        "again = Less(merge, sizes_inside)",
        "sum = AddV2(switch:1, sizes_inside)",
    ] {
        assert!(
            lines.iter().any(|line| line == expected),
            "no {expected:?} in {lines:#?}"
        );
    }
}

#[test]
fn sizes_that_enter_a_loop_are_constants() {
    let again = function(
        "again",
        &[("v", INT32)],
        &[("result", BOOL, "result:output:0")],
        vec![
            int("limit", 100),
            int("axis", 0),
            of_ints("less", "Less", &["v", "limit:output:0"]),
            node("result", "All", &["less:z:0", "axis:output:0"], &[]),
        ],
    );
    let body = function(
        "body",
        &[("v", INT32)],
        &[("next", INT32, "next:z:0")],
        vec![of_ints("next", "AddV2", &["v", "v"])],
    );
    let attrs = [
        ("T", types(&[INT32])),
        ("cond", func("again")),
        ("body", func("body")),
        ("_lower_using_switch_merge", Value::B(true)),
    ];
    let cast = [("SrcT", data_type(INT32)), ("DstT", data_type(FLOAT))];
    let nodes = vec![
        sizes_of("sizes", &["x"]),
        node("loop", "While", &["sizes:output:0"], &attrs),
        node("cast", "Cast", &["loop:output:0"], &cast),
        typed("y", "Identity", &["cast:y:0"]),
    ];
    let main = function(
        "main",
        &[("x", FLOAT)],
        &[("y", FLOAT, "y:output:0")],
        nodes,
    );
    let three = InputShape {
        input: "x".to_owned(),
        shape: vec![Some(3)],
    };
    let pass = |frozen: &mut Frozen<'_>| frozen.fix_input_shapes(&[three]);
    let (changed, graph) = frozen_of(&Model::new(vec![main, again, body]), pass);
    let lines = lines(&graph.node);
    assert_eq!(changed, 1, "{lines:#?}");
    for expected in ["sizes = Const()", "loop/enter_0 = Enter(sizes)"] {
        assert!(lines.iter().any(|line| line == expected), "{lines:#?}");
    }
}

#[test]
fn outputs_that_sizes_decide_are_constants() {
    let nodes = vec![
        sizes_of("sizes", &["image"]),
        int("two", 2),
        of_ints("copy", "Identity", &["sizes"]),
        of_ints("twice", "Mul", &["sizes", "two"]),
        node(
            "rows",
            "Unpack",
            &["sizes"],
            &[("T", data_type(INT32)), ("num", Value::I(2))],
        ),
        of_ints("more", "AddV2", &["twice", "sizes"]),
    ];
    let outputs = ["copy", "twice", "rows:1", "more"];
    let graph = fixed(nodes, &outputs, image_of(&[3, 4])).unwrap();
    let lines = lines(&graph.node);
    for expected in [
        "copy = Identity(copy/value)",
        "twice = Identity(twice/value)",
        "more = Identity(more/value)",
        "twice/value = Const()",
    ] {
        assert!(
            lines.iter().any(|line| line == expected),
            "no {expected:?} in {lines:#?}"
        );
    }
    assert!(!lines.iter().any(|line| line.contains("Mul")), "{lines:#?}");
    let number = |name: &str| {
        let node = graph.node.iter().find(|node| node.name == name).unwrap();
        match &node.attr["value"].value {
            Some(Value::Tensor(tensor)) => tensor.tensor_content.clone(),
            _ => panic!("{name} is no constant"),
        }
    };
    assert_eq!(number("twice/value"), [6, 0, 0, 0, 8, 0, 0, 0]);
    assert_eq!(number("more/value"), [9, 0, 0, 0, 12, 0, 0, 0]);
}

#[test]
fn sizes_in_branches_of_tensorflow_1_stay_in_the_branch() {
    let nodes = vec![
        node(
            "pivot",
            "Switch",
            &["choice", "choice"],
            &[("T", data_type(BOOL))],
        ),
        node("no", "Identity", &["pivot"], &[("T", data_type(BOOL))]),
        node("yes", "Identity", &["pivot:1"], &[("T", data_type(BOOL))]),
        sizes_of("of_yes", &["image", "^yes"]),
        sizes_of("of_no", &["image", "^no"]),
        of_ints("negative", "Neg", &["of_no"]),
        merge(&["negative", "of_yes"]),
        sizes_of("sizes", &["image"]),
        of_ints("y", "AddV2", &["merge", "sizes"]),
    ];
    let graph = fixed(nodes, &["y"], image_of(&[3, 4])).unwrap();
    let lines = lines(&graph.node);
    for expected in [
        "of_yes = Shape(image, ^yes)",
        "negative = Neg(of_no)",
        "merge = Merge(negative, of_yes)",
        "sizes = Const()",
        "y = AddV2(merge, sizes)",
    ] {
        assert!(
            lines.iter().any(|line| line == expected),
            "no {expected:?} in {lines:#?}"
        );
    }
}

#[test]
fn shapes_that_inputs_cannot_have_are_told_on_one_line() {
    let nodes = || vec![typed("y", "Neg", &["image"])];
    let error = fixed(nodes(), &["y"], image_of(&[1; 300])).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("300 dimensions") && error.contains("at most 254"),
        "{error}"
    );
    let wanted = InputShape {
        input: "a\u{1b}[2J\nb".to_owned(),
        shape: Vec::new(),
    };
    let error = fixed(nodes(), &["y"], wanted).unwrap_err().to_string();
    assert!(!error.contains(char::is_control), "{error:?}");
    assert!(error.contains("there is no such input"), "{error:?}");
}
