//! Freezing of SavedModels that are written here message by message: what comes out, node for node, and what is refused.
//!
//! Whether the results run as they should is for the suite that has TensorFlow, in `tests/backend`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail with a panic"
)]

mod build;
mod hostile;
mod passes;
mod updates;

use build::{
    BOOL, FLOAT, INT32, Model, RESOURCE, call, data_type, func, function, int, lines, node, text,
    types, values,
};
use tfod_graph::{Builder, DType, Dim, Shape, Unary, Weights};
use tfod_proto::NodeDef;
use tfod_proto::attr_value::Value;
use tfod_proto::prost::{self, Message as _};
use tfod_tensorflow::{FreezeOptions, NamedGraph, SavedModelReader, SavedModelWriter};

fn typed(name: &str, op: &str, inputs: &[&str]) -> NodeDef {
    node(name, op, inputs, &[("T", data_type(FLOAT))])
}

/// A loop of TensorFlow 1 up to its body, which sees `inside` and gives `next`; `first` is what enters it, and what leaves it is `switch:output_false:0`.
fn loop_head(first: &str) -> Vec<NodeDef> {
    let merge = [("T", data_type(FLOAT)), ("N", Value::I(2))];
    vec![
        node("merge", "Merge", &[first, "next:output:0"], &merge),
        typed("finite", "IsFinite", &["merge:output:0"]),
        NodeDef {
            input: vec!["^merge".to_owned()],
            ..int("axis", 0)
        },
        node("all", "All", &["finite:y:0", "axis:output:0"], &[]),
        node("condition", "LoopCond", &["all:output:0"], &[]),
        typed(
            "switch",
            "Switch",
            &["merge:output:0", "condition:output:0"],
        ),
        typed("inside", "Identity", &["switch:output_true:0"]),
    ]
}

fn read(name: &str, handle: &str) -> NodeDef {
    node(
        name,
        "ReadVariableOp",
        &[handle],
        &[("dtype", data_type(FLOAT))],
    )
}

/// `main` calls `scale`, which multiplies by a variable; between them are the nodes that TensorFlow leaves at the edges of calls.
fn nested() -> Model {
    let scale = function(
        "scale",
        &[("v", FLOAT), ("handle", RESOURCE)],
        &[("result", FLOAT, "Identity:output:0")],
        vec![
            read("ReadVariableOp", "handle"),
            typed("mul", "Mul", &["v", "ReadVariableOp:value:0"]),
            node("NoOp", "NoOp", &["^ReadVariableOp"], &[]),
            typed("Identity", "Identity", &["mul:z:0", "^NoOp"]),
        ],
    );
    let main = function(
        "main",
        &[("x", FLOAT), ("unknown", RESOURCE)],
        &[("identity", FLOAT, "Identity:output:0")],
        vec![
            call(
                "inner",
                "scale",
                &["x", "unknown"],
                &[FLOAT, RESOURCE],
                &[FLOAT],
            ),
            typed("unused", "Neg", &["x"]),
            typed("Identity", "Identity", &["inner:output:0"]),
        ],
    );
    Model {
        variables: vec![("layer/kernel", vec![1.0, 2.0, 3.0])],
        ..Model::new(vec![scale, main])
    }
}

#[test]
fn calls_are_inlined_and_variables_become_constants() {
    let graph = nested().frozen();
    let expected = [
        "x = Placeholder()",
        "layer/kernel = Const()",
        "inner/mul = Mul(x, layer/kernel)",
        "Identity = Identity(inner/mul)",
    ];
    assert_eq!(lines(&graph.node), expected);
    assert_eq!(values(&graph, "layer/kernel"), [1.0, 2.0, 3.0]);
    assert!(graph.library.is_none());
}

#[test]
fn friendly_names_are_the_keys() {
    let mut options = FreezeOptions::default();
    options.friendly_names = true;
    let graph = nested().freeze(&options).unwrap();
    assert_eq!(
        lines(&graph.node).last().map(String::as_str),
        Some("y0 = Identity(inner/mul)")
    );
}

#[test]
fn the_text_form_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    nested().write(folder.path());
    let reader = SavedModelReader::open(folder.path()).unwrap();
    let mut out = Vec::new();
    reader
        .freeze(&FreezeOptions::default())
        .unwrap()
        .write_text(&mut out)
        .unwrap();
    insta::assert_snapshot!(String::from_utf8(out).unwrap());
}

#[test]
fn attributes_at_their_defaults_and_private_ones_are_left_out() {
    let attrs = [
        ("T", data_type(FLOAT)),
        ("grad_a", Value::B(false)),
        ("transpose_a", Value::B(true)),
        ("transpose_b", Value::B(false)),
        ("_output_shapes", types(&[])),
    ];
    let main = function(
        "main",
        &[("x", FLOAT)],
        &[("y", FLOAT, "y:output:0")],
        vec![
            node("product", "MatMul", &["x", "x"], &attrs),
            typed("y", "Identity", &["product:product:0"]),
        ],
    );
    let graph = Model::new(vec![main]).frozen();
    let product = graph.node.iter().find(|node| node.op == "MatMul").unwrap();
    assert_eq!(
        product.attr.keys().collect::<Vec<_>>(),
        ["T", "transpose_a"]
    );
}

#[test]
fn control_inputs_stay_where_they_have_an_effect() {
    let assert = node("Assert", "Assert", &["ok", "x"], &[("T", types(&[FLOAT]))]);
    let main = function(
        "main",
        &[("x", FLOAT)],
        &[("y", FLOAT, "y:output:0")],
        vec![
            typed("finite", "IsFinite", &["x"]),
            int("all", 0),
            node("ok", "All", &["finite:y:0", "all:output:0"], &[]),
            NodeDef {
                input: vec!["ok:output:0".to_owned(), "x".to_owned()],
                ..assert
            },
            typed("pure", "Neg", &["x"]),
            typed("y", "Identity", &["x", "^Assert", "^pure"]),
        ],
    );
    let graph = Model::new(vec![main]).frozen();
    assert_eq!(
        lines(&graph.node).last().map(String::as_str),
        Some("y = Identity(x, ^Assert)")
    );
    assert!(!graph.node.iter().any(|node| node.name == "pure"));
}

/// `x` is multiplied by a variable, or is that variable, depending on a constant predicate.
fn conditional() -> Model {
    let arguments = [("v", FLOAT), ("handle", RESOURCE)];
    let then = function(
        "then",
        &arguments,
        &[("result", FLOAT, "mul:z:0")],
        vec![
            read("read", "handle"),
            typed("mul", "Mul", &["v", "read:value:0"]),
        ],
    );
    let other = function(
        "otherwise",
        &arguments,
        &[("result", FLOAT, "read:value:0")],
        vec![read("read", "handle")],
    );
    let attrs = [
        ("Tcond", data_type(BOOL)),
        ("Tin", types(&[FLOAT, RESOURCE])),
        ("Tout", types(&[FLOAT])),
        ("then_branch", func("then")),
        ("else_branch", func("otherwise")),
        ("_lower_using_switch_merge", Value::B(true)),
    ];
    let main = function(
        "main",
        &[("x", FLOAT), ("unknown", RESOURCE)],
        &[("y", FLOAT, "y:output:0")],
        vec![
            typed("finite", "IsFinite", &["x"]),
            int("axis", 0),
            node("ok", "All", &["finite:y:0", "axis:output:0"], &[]),
            node("cond", "If", &["ok:output:0", "x", "unknown"], &attrs),
            typed("y", "Identity", &["cond:output:0"]),
        ],
    );
    Model {
        variables: vec![("w", vec![2.0])],
        ..Model::new(vec![then, other, main])
    }
}

#[test]
fn a_conditional_becomes_switches_and_merges() {
    let graph = conditional().frozen();
    let lines = lines(&graph.node);
    for expected in [
        "cond/switch_pred = Switch(ok, ok)",
        "cond/switch_0 = Switch(x, ok)",
        "cond/then/mul = Mul(cond/switch_0:1, w)",
        // A constant is alive in both branches; only its copy is dead where the branch is not taken.
        "cond/else/result_0 = Identity(w, ^cond/pivot_else)",
        "cond/output = Merge(cond/then/mul, cond/else/result_0)",
    ] {
        assert!(
            lines.iter().any(|line| line == expected),
            "no {expected:?} in {lines:#?}"
        );
    }
    assert!(graph.library.is_none());
}

#[test]
fn a_kept_conditional_gets_values_instead_of_handles() {
    let mut options = FreezeOptions::default();
    options.keep_control_flow = true;
    let graph = conditional().freeze(&options).unwrap();
    let kept = graph.node.iter().find(|node| node.op == "If").unwrap();
    assert_eq!(kept.input, ["ok", "x", "w"]);
    assert_eq!(kept.attr["Tin"].value, Some(types(&[FLOAT, FLOAT])));
    assert!(!kept.attr.contains_key("_lower_using_switch_merge"));
    let library = graph.library.unwrap();
    let then = &library.function[0];
    let signature = then.signature.as_ref().unwrap();
    assert_eq!(signature.name, "then_frozen_0");
    assert_eq!(signature.input_arg[1].r#type, i32::from(FLOAT));
    assert_eq!(lines(&then.node_def), ["mul = Mul(v, handle)"]);
    assert_eq!(then.ret["result"], "mul:z:0");
    assert_eq!(library.function[1].ret["result"], "handle");
}

/// Doubles and adds a variable, three times.
fn looped() -> Model {
    let arguments = [("i", INT32), ("v", FLOAT), ("handle", RESOURCE)];
    let condition = function(
        "condition",
        &arguments,
        &[("again", BOOL, "less:z:0")],
        vec![
            int("limit", 3),
            node(
                "less",
                "Less",
                &["i", "limit:output:0"],
                &[("T", data_type(INT32))],
            ),
        ],
    );
    let body = function(
        "body",
        &arguments,
        &[
            ("i_out", INT32, "next:z:0"),
            ("v_out", FLOAT, "sum:z:0"),
            ("handle_out", RESOURCE, "handle"),
        ],
        vec![
            int("one", 1),
            node(
                "next",
                "AddV2",
                &["i", "one:output:0"],
                &[("T", data_type(INT32))],
            ),
            read("read", "handle"),
            typed("twice", "AddV2", &["read:value:0", "read:value:0"]),
            typed("sum", "AddV2", &["v", "twice:z:0"]),
        ],
    );
    let attrs = [
        ("T", types(&[INT32, FLOAT, RESOURCE])),
        ("cond", func("condition")),
        ("body", func("body")),
        ("_lower_using_switch_merge", Value::B(true)),
        ("parallel_iterations", Value::I(10)),
    ];
    let main = function(
        "main",
        &[("x", FLOAT), ("unknown", RESOURCE)],
        &[("y", FLOAT, "y:output:0")],
        vec![
            int("zero", 0),
            node("while", "While", &["zero:output:0", "x", "unknown"], &attrs),
            typed("y", "Identity", &["while:output:1"]),
        ],
    );
    Model {
        variables: vec![("w", vec![2.0])],
        ..Model::new(vec![condition, body, main])
    }
}

#[test]
fn a_loop_becomes_a_frame() {
    let graph = looped().frozen();
    let lines = lines(&graph.node);
    for expected in [
        "while/enter_1 = Enter(x)",
        "while/merge_1 = Merge(while/enter_1, while/next_iteration_1)",
        "while/cond/limit = Const(^while/merge_0)",
        "while/LoopCond = LoopCond(while/cond/less)",
        "while/switch_1 = Switch(while/merge_1, while/LoopCond)",
        "while/w = Enter(w)",
        // Nothing else ties this to the iteration.
        "while/body/twice = AddV2(while/w, while/w, ^while/body_pivot)",
        "while/body/sum = AddV2(while/switch_1:1, while/body/twice)",
        "while/next_iteration_1 = NextIteration(while/body/sum)",
        "while/exit_1 = Exit(while/switch_1)",
        "y = Identity(while/exit_1)",
    ] {
        assert!(
            lines.iter().any(|line| line == expected),
            "no {expected:?} in {lines:#?}"
        );
    }
    let enter = graph
        .node
        .iter()
        .find(|node| node.name == "while/w")
        .unwrap();
    assert_eq!(enter.attr["is_constant"].value, Some(Value::B(true)));
    assert_eq!(enter.attr["frame_name"].value, Some(text("while")));
    assert!(!enter.attr.contains_key("parallel_iterations"));
}

#[test]
fn a_kept_loop_gets_values_instead_of_handles() {
    let mut options = FreezeOptions::default();
    options.keep_control_flow = true;
    let graph = looped().freeze(&options).unwrap();
    let kept = graph.node.iter().find(|node| node.op == "While").unwrap();
    assert_eq!(kept.input, ["zero", "x", "w"]);
    assert_eq!(kept.attr["T"].value, Some(types(&[INT32, FLOAT, FLOAT])));
    assert_eq!(kept.attr["body"].value, Some(func("body_frozen_0")));
}

#[test]
fn gathers_on_variables_become_gathers_on_constants() {
    let attrs = [("dtype", data_type(FLOAT)), ("Tindices", data_type(INT32))];
    let main = function(
        "main",
        &[("x", FLOAT), ("table", RESOURCE)],
        &[("y", FLOAT, "y:output:0")],
        vec![
            int("row", 1),
            node(
                "gather",
                "ResourceGather",
                &["table", "row:output:0"],
                &attrs,
            ),
            typed("sum", "AddV2", &["gather:output:0", "x"]),
            typed("y", "Identity", &["sum:z:0"]),
        ],
    );
    let graph = Model {
        variables: vec![("embedding", vec![1.0, 2.0])],
        ..Model::new(vec![main])
    }
    .frozen();
    assert!(
        lines(&graph.node).contains(&"gather = GatherV2(embedding, row, gather/axis)".to_owned())
    );
}

#[test]
fn operations_that_nobody_knows_are_kept() {
    let body = |second: &str| {
        let nodes = vec![
            node(
                "custom",
                "TheirOwnOperation",
                &["x"],
                &[("threshold", Value::F(0.5))],
            ),
            typed("sum", "AddV2", &["custom:result:0", second]),
            typed("y", "Identity", &["sum:z:0"]),
        ];
        Model::new(vec![function(
            "main",
            &[("x", FLOAT)],
            &[("y", FLOAT, "y:output:0")],
            nodes,
        )])
    };
    let graph = body("custom:result:1").frozen();
    let expected = [
        "x = Placeholder()",
        "custom = TheirOwnOperation(x)",
        "sum = AddV2(custom, custom:1)",
        "y = Identity(sum)",
    ];
    assert_eq!(lines(&graph.node), expected);
    assert_eq!(graph.node[1].attr["threshold"].value, Some(Value::F(0.5)));
    let error = body("custom:other:0").refused();
    assert!(
        error.contains("node `custom` (TheirOwnOperation)"),
        "{error}"
    );
}

#[test]
fn a_resource_that_a_library_fills_says_what_to_do() {
    let nodes = vec![
        node("answer", "TheirInference", &["x", "model"], &[]),
        typed("y", "Identity", &["answer:result:0"]),
    ];
    let main = function(
        "main",
        &[("x", FLOAT), ("model", RESOURCE)],
        &[("y", FLOAT, "y:output:0")],
        nodes,
    );
    let model = Model::new(vec![main]);
    let mut message = model.message();
    let graph = message.meta_graphs[0].graph_def.as_mut().unwrap();
    let forest = "BoostedTreesEnsembleResourceHandleOp";
    graph.node.push(node("forest", forest, &[], &[]));
    let call = graph
        .node
        .iter_mut()
        .find(|node| node.op == "StatefulPartitionedCall");
    let call = call.unwrap();
    call.input.push("forest".to_owned());
    call.attr
        .insert("Tin".to_owned(), build::attr(types(&[FLOAT, RESOURCE])));
    let error = refused_file("saved_model.pb", &message.encode_to_vec());
    for expected in [
        "node `answer` (TheirInference) cannot be frozen: it uses node `forest` (BoostedTreesEnsembleResourceHandleOp), a resource",
        "keep the model as a SavedModel, or choose outputs",
    ] {
        assert!(error.contains(expected), "no {expected:?} in {error}");
    }
}

#[test]
fn calls_of_functions_that_must_not_be_inlined_are_told() {
    let mut model = nested();
    let folder = tempfile::tempdir().unwrap();
    let called = |model: &Model| {
        model.write(folder.path());
        let reader = SavedModelReader::open(folder.path()).unwrap();
        let frozen = reader.freeze(&FreezeOptions::default()).unwrap();
        let called = frozen.called_functions();
        called.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(called(&model).is_empty());
    let scale = model.functions.iter_mut().find(|function| {
        function
            .signature
            .as_ref()
            .is_some_and(|signature| signature.name == "scale")
    });
    let attr = &mut scale.unwrap().attr;
    attr.insert("_noinline".to_owned(), build::attr(Value::B(true)));
    assert_eq!(called(&model), ["scale_frozen_0"]);
}

#[test]
fn assignments_are_refused() {
    let main = function(
        "main",
        &[("x", FLOAT), ("counter", RESOURCE)],
        &[("y", FLOAT, "y:output:0")],
        vec![
            node(
                "count",
                "AssignAddVariableOp",
                &["counter", "x"],
                &[("dtype", data_type(FLOAT))],
            ),
            typed("y", "Identity", &["x", "^count"]),
        ],
    );
    let error = Model {
        variables: vec![("steps", vec![0.0])],
        ..Model::new(vec![main])
    }
    .refused();
    for word in [
        "function `main`",
        "node `count` (AssignAddVariableOp)",
        "`steps`",
    ] {
        assert!(error.contains(word), "no {word} in {error}");
    }
}

#[test]
fn our_own_exports_freeze() {
    let mut builder = Builder::new("toy");
    let x = builder.input("x", DType::F32, Shape(vec![Dim::symbol("batch"), 3.into()]));
    let y = builder.unary("relu", Unary::Relu, x).unwrap();
    builder.output("y", y);
    let graph = builder.finish();
    let folder = tempfile::tempdir().unwrap();
    SavedModelWriter::new(&[NamedGraph::serving(&graph, &Weights::default())], &[])
        .unwrap()
        .write(folder.path())
        .unwrap();
    let reader = SavedModelReader::open(folder.path()).unwrap();
    let frozen = reader.freeze(&FreezeOptions::default()).unwrap();
    assert_eq!(frozen.num_nodes(), 3);
    let ends: Vec<String> = frozen
        .inputs()
        .into_iter()
        .chain(frozen.outputs())
        .map(|end| end.tensor)
        .collect();
    assert_eq!(ends, ["x:0", "Identity:0"]);
    assert_eq!(frozen.outputs()[0].shape, Some(vec![None, Some(3)]));
}

#[test]
fn constants_are_read_only_once_written() {
    let folder = tempfile::tempdir().unwrap();
    nested().write(folder.path());
    let shard = folder
        .path()
        .join("variables/variables.data-00000-of-00001");
    let mut bytes = std::fs::read(&shard).unwrap();
    bytes[1] ^= 1;
    std::fs::write(&shard, &bytes).unwrap();
    let reader = SavedModelReader::open(folder.path()).unwrap();
    let frozen = reader.freeze(&FreezeOptions::default()).unwrap();
    let error = frozen
        .write_binary(&mut Vec::new())
        .unwrap_err()
        .to_string();
    assert!(error.contains("layer/kernel"), "{error}");
    std::fs::write(&shard, &bytes[..5]).unwrap();
    let error = reader
        .freeze(&FreezeOptions::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("variables.data-00000-of-00001"), "{error}");
}

#[test]
fn wrong_keys_and_tags_list_the_right_ones() {
    let mut wrong = FreezeOptions::default();
    wrong.signature = "serving".to_owned();
    assert!(
        nested()
            .freeze(&wrong)
            .unwrap_err()
            .to_string()
            .contains("`serving_default`")
    );
    let mut wrong = FreezeOptions::default();
    wrong.tags = Some(vec!["gpu".to_owned()]);
    assert!(
        nested()
            .freeze(&wrong)
            .unwrap_err()
            .to_string()
            .contains("`serve`")
    );
}

/// The error of a file with this name and content, given by itself.
fn refused_file(name: &str, content: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    std::fs::write(&file, content).unwrap();
    let error = SavedModelReader::open(&file)
        .map(|reader| reader.freeze(&FreezeOptions::default()).map(|_| ()))
        .map_or_else(|error| error, |frozen| frozen.unwrap_err());
    let error = error.to_string();
    let place = format!("{}", file.display());
    assert!(error.starts_with(&place), "{error}");
    error[place.len()..].to_owned()
}

#[test]
fn data_that_git_left_out_is_called_that() {
    let folder = tempfile::tempdir().unwrap();
    nested().write(folder.path());
    let variables = folder.path().join("variables");
    let data = std::fs::read_dir(variables).unwrap();
    let data = data.map(|entry| entry.unwrap().path());
    let data = data.filter(|path| path.extension().is_some_and(|name| name != "index"));
    for path in data {
        std::fs::write(
            path,
            "version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
        )
        .unwrap();
    }
    let error = build::freeze(folder.path(), &FreezeOptions::default());
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("data-00000-of-00001: this is a Git LFS pointer"),
        "{error}"
    );
}

#[test]
fn texts_say_what_they_are_and_where_that_is_seen() {
    let of = |text: &str| refused_file("saved_model.pbtxt", text.as_bytes());
    for (text, expected) in [
        (
            "# frozen\n\nnode { name: \"x\" }",
            ":3: this is the text of a graph (GraphDef)",
        ),
        ("library { }", ":1: this is the text of a graph (GraphDef)"),
        (
            "\u{feff}meta_info_def { }",
            ":1: this is the text of a MetaGraphDef",
        ),
        (
            "\nmodel { ssd { } }",
            ":2: this is a pipeline.config, which an export takes, with a checkpoint",
        ),
        ("item { id: 1 }", ":1: this is a label map"),
        (
            "model_checkpoint_path: \"ckpt-0\"",
            ":1: this is the state file of a checkpoint, whose folder an export takes",
        ),
        ("{\"a\": 1}", ":1: this is JSON"),
        ("# nothing\n", ":2: this is a text without fields"),
        (
            "hello",
            ":1: this is a text that does not begin like a SavedModel",
        ),
        (
            "meta_graphs {\n  graph_def { node { name: 3 } }\n}",
            ":2:28: expected a string",
        ),
    ] {
        let error = of(text);
        assert!(error.starts_with(expected), "{error}");
        // What is in it counts, not what it is called.
        assert_eq!(refused_file("saved_model.pb", text.as_bytes()), error);
    }
}

#[test]
fn a_binary_file_with_the_name_of_a_text_is_read() {
    let folder = tempfile::tempdir().unwrap();
    nested().write(folder.path());
    let renamed = folder.path().join("saved_model.pbtxt");
    std::fs::rename(folder.path().join("saved_model.pb"), renamed).unwrap();
    build::freeze(folder.path(), &FreezeOptions::default()).unwrap();
}

#[test]
fn texts_without_end_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved_model.pbtxt");
    std::fs::write(&path, "meta_graphs {}\n".repeat(8)).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len((1 << 28) + 1).unwrap();
    let error = SavedModelReader::open(folder.path())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("268435457 bytes are more than a SavedModel as text may have"),
        "{error}"
    );
}

/// Only the file says what an operation is that TensorFlow does not have.
#[test]
fn an_input_where_an_unknown_operation_is_needs_a_type() {
    let mut message = Model::new(Vec::new()).message();
    let meta_graph = &mut message.meta_graphs[0];
    meta_graph.graph_def.as_mut().unwrap().node = vec![
        node("custom", "TheirOwnOperation", &[], &[]),
        typed("y", "Neg", &["custom"]),
    ];
    let mut options = FreezeOptions::default();
    options.inputs = vec!["custom".to_owned()];
    options.outputs = vec!["y".to_owned()];
    let error = build::freeze_message(&message, &options).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("TheirOwnOperation") && error.contains("element type"),
        "{error}"
    );

    let output = tfod_proto::op_def::ArgDef {
        name: "result".to_owned(),
        r#type: FLOAT.into(),
        ..Default::default()
    };
    let def = tfod_proto::OpDef {
        name: "TheirOwnOperation".to_owned(),
        output_arg: vec![output],
        ..Default::default()
    };
    // Nothing else needs the list of operations, so that our own messages do not have it.
    let nested = |number: u8, message: &[u8]| {
        let mut bytes = vec![number << 3 | 2];
        prost::encode_length_delimiter(message.len(), &mut bytes).unwrap();
        bytes.extend_from_slice(message);
        bytes
    };
    let mut meta_graph = message.meta_graphs.remove(0);
    let mut meta_info = meta_graph.meta_info_def.take().unwrap().encode_to_vec();
    meta_info.extend(nested(2, &nested(1, &def.encode_to_vec())));
    let mut bytes = nested(1, &meta_info);
    bytes.extend(meta_graph.encode_to_vec());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("saved_model.pb"), nested(2, &bytes)).unwrap();
    let graph = build::freeze(folder.path(), &options).unwrap();
    assert_eq!(
        lines(&graph.node),
        ["custom = Placeholder()", "y = Neg(custom)"]
    );
    assert_eq!(graph.node[0].attr["dtype"].value, Some(data_type(FLOAT)));
}

/// TensorFlow's first tables are references, which nothing has written for a decade.
#[test]
fn tables_that_are_references_are_refused_by_name() {
    let types = [("Tin", data_type(INT32)), ("Tout", data_type(FLOAT))];
    let attrs = [
        ("key_dtype", data_type(INT32)),
        ("value_dtype", data_type(FLOAT)),
    ];
    let mut message = Model::new(Vec::new()).message();
    let graph = message.meta_graphs[0].graph_def.as_mut().unwrap();
    graph.node = vec![
        node("key", "Placeholder", &[], &[("dtype", data_type(INT32))]),
        node("other", "Placeholder", &[], &[("dtype", data_type(FLOAT))]),
        node("table", "HashTable", &[], &attrs),
        node("y", "LookupTableFind", &["table", "key", "other"], &types),
    ];
    let mut options = FreezeOptions::default();
    options.inputs = vec!["key".to_owned(), "other".to_owned()];
    options.outputs = vec!["y".to_owned()];
    let error = build::freeze_message(&message, &options).unwrap_err();
    let error = error.to_string();
    for word in [
        "node `y` (LookupTableFind)",
        "node `table` (HashTable)",
        "a table",
    ] {
        assert!(error.contains(word), "no {word} in {error}");
    }
}
