//! Files that nobody should have written: one error each, in bounded time, and never a panic.

use proptest::prelude::*;
use tfod_proto::prost::Message;
use tfod_proto::{FunctionDef, NodeDef};
use tfod_tensorflow::{FreezeError, FreezeOptions};

use super::build::{
    BOOL, FLOAT, INT32, Model, call, data_type, freeze, func, function, int, node, types,
};

/// A model whose only function besides `main` are those given; `main` calls `first`.
fn calling(functions: Vec<FunctionDef>) -> Model {
    let mut all = functions;
    let nodes = vec![
        call("inner", "first", &["x"], &[FLOAT], &[FLOAT]),
        node(
            "y",
            "Identity",
            &["inner:output:0"],
            &[("T", data_type(FLOAT))],
        ),
    ];
    all.push(function(
        "main",
        &[("x", FLOAT)],
        &[("y", FLOAT, "y:output:0")],
        nodes,
    ));
    Model::new(all)
}

fn first(nodes: Vec<NodeDef>, result: &str) -> FunctionDef {
    function(
        "first",
        &[("v", FLOAT)],
        &[("result", FLOAT, result)],
        nodes,
    )
}

fn typed(name: &str, op: &str, inputs: &[&str]) -> NodeDef {
    node(name, op, inputs, &[("T", data_type(FLOAT))])
}

#[track_caller]
fn assert_refused(model: &Model, words: &[&str]) {
    let error = model.refused();
    for word in words {
        assert!(error.contains(word), "no {word:?} in {error}");
    }
}

#[test]
fn recursion() {
    let again = first(
        vec![call("again", "second", &["v"], &[FLOAT], &[FLOAT])],
        "again:output:0",
    );
    let second = function(
        "second",
        &[("v", FLOAT)],
        &[("result", FLOAT, "back:output:0")],
        vec![call("back", "first", &["v"], &[FLOAT], &[FLOAT])],
    );
    assert_refused(
        &calling(vec![again, second]),
        &["node `back`", "first -> second -> first"],
    );
}

#[test]
fn calls_nested_too_deep() {
    let level = |index: usize| {
        let name = if index == 0 {
            "first".to_owned()
        } else {
            format!("level_{index}")
        };
        let next = format!("level_{}", index + 1);
        let nodes = vec![call("next", &next, &["v"], &[FLOAT], &[FLOAT])];
        function(
            &name,
            &[("v", FLOAT)],
            &[("result", FLOAT, "next:output:0")],
            nodes,
        )
    };
    assert_refused(
        &calling((0..500).map(level).collect()),
        &["nested deeper than 100"],
    );
}

#[test]
fn exponential_inlining() {
    let level = |index: usize| {
        let name = if index == 0 {
            "first".to_owned()
        } else {
            format!("level_{index}")
        };
        let next = format!("level_{}", index + 1);
        let nodes = vec![
            call("one", &next, &["v"], &[FLOAT], &[FLOAT]),
            call("two", &next, &["one:output:0"], &[FLOAT], &[FLOAT]),
        ];
        function(
            &name,
            &[("v", FLOAT)],
            &[("result", FLOAT, "two:output:0")],
            nodes,
        )
    };
    let mut functions: Vec<FunctionDef> = (0..40).map(level).collect();
    functions.push(function(
        "level_40",
        &[("v", FLOAT)],
        &[("result", FLOAT, "v")],
        Vec::new(),
    ));
    assert_refused(&calling(functions), &["too many"]);
}

#[test]
fn missing_function() {
    assert_refused(
        &calling(Vec::new()),
        &["node `inner`", "function `first` is not in the file"],
    );
}

#[test]
fn missing_input() {
    let body = first(vec![typed("y", "Neg", &["nobody:y:0"])], "y:y:0");
    assert_refused(
        &calling(vec![body]),
        &["function `first`", "node `y` (Neg)", "`nobody`"],
    );
}

#[test]
fn missing_output() {
    let body = first(vec![typed("y", "Neg", &["v"])], "y:z:0");
    assert_refused(&calling(vec![body]), &["node `y` (Neg)", "no output `z`"]);
}

#[test]
fn cycle() {
    let body = first(
        vec![typed("a", "Neg", &["b:y:0"]), typed("b", "Neg", &["a:y:0"])],
        "a:y:0",
    );
    assert_refused(&calling(vec![body]), &["depends on the node itself"]);
}

#[test]
fn wrong_arity() {
    let body = first(vec![typed("y", "AddV2", &["v"])], "y:z:0");
    assert_refused(
        &calling(vec![body]),
        &["node `y` (AddV2)", "has 1 inputs, and needs 2"],
    );
    let body = function("first", &[], &[], Vec::new());
    assert_refused(
        &calling(vec![body]),
        &["passes 1 arguments to function `first`, which has 0"],
    );
}

#[test]
fn wrong_type() {
    let body = first(
        vec![int("one", 1), typed("y", "AddV2", &["v", "one:output:0"])],
        "y:z:0",
    );
    assert_refused(
        &calling(vec![body]),
        &["node `y` (AddV2)", "input 1 must be float32, and is int32"],
    );
    let body = function(
        "first",
        &[("v", INT32)],
        &[("result", INT32, "v")],
        Vec::new(),
    );
    assert_refused(
        &calling(vec![body]),
        &["argument `v` of function `first` is int32, and gets float32"],
    );
}

#[test]
fn absurd_number_of_outputs() {
    let attrs = [
        ("T", data_type(FLOAT)),
        ("num", tfod_proto::attr_value::Value::I(1 << 40)),
    ];
    let body = first(vec![node("y", "Unpack", &["v"], &attrs)], "y:output:0");
    assert_refused(&calling(vec![body]), &["node `y` (Unpack)", "`num`"]);
}

#[test]
fn loop_whose_condition_is_no_tensor() {
    let condition = function("condition", &[("v", FLOAT)], &[], Vec::new());
    let body = function(
        "body",
        &[("v", FLOAT)],
        &[("v_out", FLOAT, "y:y:0")],
        vec![typed("y", "Neg", &["v"])],
    );
    let attrs = [
        ("T", types(&[FLOAT])),
        ("cond", func("condition")),
        ("body", func("body")),
    ];
    let outer = first(vec![node("loop", "While", &["v"], &attrs)], "loop:output:0");
    let model = calling(vec![condition, body, outer]);
    assert_refused(
        &model,
        &["node `loop` (While)", "its condition has 0 results"],
    );
}

/// A model with a call, a lowered loop, and a constant: what the mutations start from.
fn varied() -> Model {
    let condition = function(
        "condition",
        &[("v", FLOAT)],
        &[("again", BOOL, "all:output:0")],
        vec![
            typed("finite", "IsFinite", &["v"]),
            int("axis", 0),
            node("all", "All", &["finite:y:0", "axis:output:0"], &[]),
        ],
    );
    let body = function(
        "body",
        &[("v", FLOAT)],
        &[("v_out", FLOAT, "y:y:0")],
        vec![typed("y", "Neg", &["v"])],
    );
    let attrs = [
        ("T", types(&[FLOAT])),
        ("cond", func("condition")),
        ("body", func("body")),
        (
            "_lower_using_switch_merge",
            tfod_proto::attr_value::Value::B(true),
        ),
    ];
    let outer = first(vec![node("loop", "While", &["v"], &attrs)], "loop:output:0");
    Model {
        variables: vec![("w", vec![1.0])],
        ..calling(vec![condition, body, outer])
    }
}

#[test]
fn what_the_mutations_start_from_is_well_formed() {
    let mut model = varied();
    model.variables.clear();
    model.frozen();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn damaged_files_give_errors_and_no_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
        keep_control_flow: bool,
    ) {
        let model = Model { variables: Vec::new(), ..varied() };
        let mut bytes = model.message().encode_to_vec();
        for (index, byte) in changes {
            *index.get_mut(bytes.as_mut_slice()) = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("saved_model.pb"), &bytes).unwrap();
        let mut options = FreezeOptions::default();
        options.keep_control_flow = keep_control_flow;
        let _: Result<_, FreezeError> = freeze(folder.path(), &options);
    }
}

/// Conditionals and loops in each other take more of the stack than calls do.
#[test]
fn conditionals_and_loops_nested_too_deep() {
    let again = function(
        "again",
        &[("v", FLOAT)],
        &[("result", BOOL, "less:z:0")],
        vec![typed("less", "Less", &["v", "v"])],
    );
    let conditional = |next: &str| {
        let attrs = [
            ("then_branch", func(next)),
            ("else_branch", func(next)),
            ("Tcond", data_type(FLOAT)),
            ("Tin", types(&[FLOAT])),
            ("Tout", types(&[FLOAT])),
        ];
        node("next", "StatelessIf", &["v", "v"], &attrs)
    };
    let repeated = |next: &str| {
        let attrs = [
            ("cond", func("again")),
            ("body", func(next)),
            ("T", types(&[FLOAT])),
        ];
        node("next", "StatelessWhile", &["v"], &attrs)
    };
    let nested: [&dyn Fn(&str) -> NodeDef; 2] = [&conditional, &repeated];
    for inner in nested {
        let level = |index: usize| {
            let name = match index {
                0 => "first".to_owned(),
                index => format!("level_{index}"),
            };
            let next = format!("level_{}", index + 1);
            let result = [("result", FLOAT, "next:output:0")];
            function(&name, &[("v", FLOAT)], &result, vec![inner(&next)])
        };
        let mut functions: Vec<FunctionDef> = (0..500).map(level).collect();
        functions.push(again.clone());
        assert_refused(&calling(functions), &["nested deeper than 100"]);
    }
}
