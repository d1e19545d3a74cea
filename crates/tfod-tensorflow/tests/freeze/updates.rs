//! Assignments to variables that are dropped, and those that are not.

use tfod_proto::NodeDef;
use tfod_proto::attr_value::Value;
use tfod_tensorflow::FreezeOptions;

use super::build::{FLOAT, Model, RESOURCE, data_type, function, int, lines, node, text};
use super::{read, typed};

fn dropping() -> FreezeOptions {
    let mut options = FreezeOptions::default();
    options.drop_updates = true;
    options
}

/// A function of `x` and the variable `w`.
fn model(nodes: Vec<NodeDef>) -> Model {
    let main = function(
        "main",
        &[("x", FLOAT), ("w", RESOURCE)],
        &[("y", FLOAT, "y:output:0")],
        nodes,
    );
    Model {
        variables: vec![("weight", vec![2.0])],
        ..Model::new(vec![main])
    }
}

fn dropped(nodes: Vec<NodeDef>) -> Vec<String> {
    lines(&model(nodes).freeze(&dropping()).unwrap().node)
}

fn refused(model: &Model, options: &FreezeOptions) -> String {
    let error = model.freeze(options).expect_err("it must not freeze");
    error.to_string()
}

fn assert_lines(found: &[String], expected: &[&str]) {
    for expected in expected {
        assert!(
            found.iter().any(|line| line == expected),
            "no {expected:?} in {found:#?}"
        );
    }
}

fn on_handle(name: &str, op: &str, inputs: &[&str]) -> NodeDef {
    node(name, op, inputs, &[("dtype", data_type(FLOAT))])
}

/// Whether `x` is finite, as `ok`, and a switch of the handle by that.
fn switched(handle: NodeDef) -> Vec<NodeDef> {
    vec![
        typed("finite", "IsFinite", &["x"]),
        int("axis", 0),
        node("ok", "All", &["finite:y:0", "axis:output:0"], &[]),
        handle,
    ]
}

fn switch(inputs: &[&str]) -> NodeDef {
    node("switch", "Switch", inputs, &[("T", data_type(RESOURCE))])
}

fn merged(inputs: &[&str]) -> [NodeDef; 2] {
    let attrs = [("T", data_type(FLOAT)), ("N", Value::I(2))];
    [
        node("merge", "Merge", inputs, &attrs),
        typed("y", "Identity", &["merge:output:0"]),
    ]
}

#[test]
fn a_handle_keeps_the_value_that_a_switch_sends() {
    let mut nodes = switched(switch(&["w", "ok:output:0", "^assign"]));
    nodes.extend([
        on_handle("assign", "AssignVariableOp", &["w", "x"]),
        read("yes", "switch:output_true:0"),
        read("no", "switch:output_false:0"),
        typed("negative", "Neg", &["no:value:0"]),
    ]);
    nodes.extend(merged(&["negative:y:0", "yes:value:0"]));
    let expected = [
        "switch = Switch(x, ok)",
        "negative = Neg(switch)",
        "merge = Merge(negative, switch:1)",
    ];
    assert_lines(&dropped(nodes), &expected);
}

#[test]
fn a_handle_keeps_the_value_that_enters_a_loop() {
    let enter = |name: &str, inputs: &[&str], dtype, is_constant| {
        let attrs = [
            ("T", data_type(dtype)),
            ("frame_name", text("frame")),
            ("is_constant", Value::B(is_constant)),
        ];
        node(name, "Enter", inputs, &attrs)
    };
    let merge = [("T", data_type(FLOAT)), ("N", Value::I(2))];
    let nodes = vec![
        on_handle("assign", "AssignVariableOp", &["w", "x"]),
        enter("first", &["x"], FLOAT, false),
        enter("handle", &["w", "^assign"], RESOURCE, true),
        node(
            "merge",
            "Merge",
            &["first:output:0", "next:output:0"],
            &merge,
        ),
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
        read("read", "handle:output:0"),
        typed("sum", "AddV2", &["inside:output:0", "read:value:0"]),
        typed("next", "NextIteration", &["sum:z:0"]),
        typed("y", "Exit", &["switch:output_false:0"]),
    ];
    let expected = ["handle = Enter(x)", "sum = AddV2(switch:1, handle)"];
    assert_lines(&dropped(nodes), &expected);
}

#[test]
fn assignments_to_a_handle_that_was_sent_somewhere_are_refused() {
    // In a branch.
    let mut nodes = switched(switch(&["w", "ok:output:0"]));
    nodes.extend([
        typed("sent", "Switch", &["x", "ok:output:0"]),
        on_handle(
            "assign",
            "AssignVariableOp",
            &["switch:output_true:0", "sent:output_true:0"],
        ),
        typed("yes", "Identity", &["sent:output_true:0", "^assign"]),
    ]);
    nodes.extend(merged(&["sent:output_false:0", "yes:output:0"]));
    let error = refused(&model(nodes), &dropping());
    let expected = "assigns to the variable `weight` in a conditional or loop of TensorFlow 1";
    assert!(error.contains(expected), "{error}");

    // Outside, after the handle was sent.
    let mut nodes = switched(switch(&["w", "ok:output:0"]));
    nodes.extend([
        on_handle("assign", "AssignVariableOp", &["w", "x"]),
        NodeDef {
            input: vec!["switch:output_true:0".to_owned(), "^assign".to_owned()],
            ..read("yes", "")
        },
        typed("sent", "Switch", &["x", "ok:output:0"]),
    ]);
    nodes.extend(merged(&["sent:output_false:0", "yes:value:0"]));
    let error = refused(&model(nodes), &dropping());
    assert!(
        error.contains("`yes` (ReadVariableOp)") && error.contains("since its handle was"),
        "{error}"
    );
}
