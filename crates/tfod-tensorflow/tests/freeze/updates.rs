//! Assignments to variables that are dropped, and those that are not.

use tfod_proto::NodeDef;
use tfod_proto::attr_value::Value;
use tfod_tensorflow::FreezeOptions;

use super::build::{
    self, FLOAT, INT32, Model, RESOURCE, call, data_type, func, function, int, lines, node, text,
    types,
};
use super::{loop_head, read, typed};

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
    let mut nodes = vec![
        on_handle("assign", "AssignVariableOp", &["w", "x"]),
        enter("first", &["x"], FLOAT, false),
        enter("handle", &["w", "^assign"], RESOURCE, true),
        read("read", "handle:output:0"),
        typed("sum", "AddV2", &["inside:output:0", "read:value:0"]),
        typed("next", "NextIteration", &["sum:z:0"]),
        typed("y", "Exit", &["switch:output_false:0"]),
    ];
    nodes.extend(loop_head("first:output:0"));
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

/// Operations that assign what is not computed, with their further inputs and whether they give a value.
const NOT_COMPUTED: [(&str, &[&str], bool); 3] = [
    ("ResourceApplyGradientDescent", &["x", "x"], false),
    ("RngSkip", &["long", "long"], false),
    // Of a variable that is no state of a generator.
    ("RngReadAndSkip", &["at", "long"], true),
];

fn not_computed(op: &str, further: &[&str], end: Vec<NodeDef>) -> Model {
    let inputs: Vec<&str> = std::iter::once("w")
        .chain(further.iter().map(|&input| match input {
            "at" => "at:output:0",
            "long" => "long:y:0",
            input => input,
        }))
        .collect();
    let attrs = [
        ("T", data_type(FLOAT)),
        ("dtype", data_type(FLOAT)),
        ("Index", data_type(INT32)),
        ("Tindices", data_type(INT32)),
    ];
    let cast = [
        ("SrcT", data_type(INT32)),
        ("DstT", data_type(tfod_proto::DataType::DtInt64)),
    ];
    let mut nodes = vec![
        int("at", 0),
        node("long", "Cast", &["at:output:0"], &cast),
        node("update", op, &inputs, &attrs),
    ];
    nodes.extend(end);
    model(nodes)
}

#[test]
fn assignments_of_what_is_not_computed_are_dropped_where_nothing_reads_it() {
    for (op, further, gives) in NOT_COMPUTED {
        let given = if gives { "update:value:0" } else { "x" };
        let unread = not_computed(
            op,
            further,
            vec![
                typed("negative", "Neg", &[given, "^update"]),
                typed("y", "Identity", &["negative:y:0"]),
            ],
        );
        let error = refused(&unread, &FreezeOptions::default());
        assert!(error.contains("freeze with updates dropped"), "{error}");
        let graph = unread.freeze(&dropping()).unwrap();
        let expected = if gives {
            "negative = Neg(weight)"
        } else {
            "negative = Neg(x)"
        };
        assert_lines(&lines(&graph.node), &[expected]);

        let end = vec![
            NodeDef {
                input: vec!["w".to_owned(), "^update".to_owned()],
                ..read("read", "")
            },
            typed("y", "Identity", &["read:value:0"]),
        ];
        let error = refused(&not_computed(op, further, end), &dropping());
        let expected = format!("what `{op}` assigns is not computed");
        assert!(error.contains(&expected), "{error}");
        let assigned = format!("in function `main`, node `update` ({op})");
        assert!(
            error.contains("node `read` (ReadVariableOp)") && error.contains(&assigned),
            "{error}"
        );
    }
}

#[test]
fn random_numbers_from_a_variable_are_refused() {
    let attrs = [
        ("dtype", data_type(FLOAT)),
        ("shape_dtype", data_type(INT32)),
    ];
    let nodes = vec![
        int("shape", 0),
        node(
            "draw",
            "StatefulUniform",
            &["w", "shape:output:0", "shape:output:0"],
            &attrs,
        ),
        typed("sum", "AddV2", &["x", "draw:output:0"]),
        typed("y", "Identity", &["sum:z:0"]),
    ];
    let model = model(nodes);
    for options in [FreezeOptions::default(), dropping()] {
        let error = refused(&model, &options);
        assert!(
            error.contains("takes random numbers from the variable `weight`"),
            "{error}"
        );
    }
}

#[test]
fn what_keeps_a_function_that_assigns_is_named() {
    let arguments = [("v", FLOAT), ("handle", RESOURCE)];
    let result = [("result", FLOAT, "result:output:0")];
    let mut assigns = function(
        "assigns",
        &arguments,
        &result,
        vec![
            on_handle("assign", "AssignAddVariableOp", &["handle", "v"]),
            typed("result", "Identity", &["v", "^assign"]),
        ],
    );
    let other = function(
        "other",
        &arguments,
        &result,
        vec![typed("result", "Neg", &["v"])],
    );
    let with = |assigns: &tfod_proto::FunctionDef, nodes| {
        let mut model = model(nodes);
        model.functions.extend([assigns.clone(), other.clone()]);
        model
    };
    let attrs = |is_lowered| {
        [
            ("Tcond", data_type(build::BOOL)),
            ("Tin", types(&[FLOAT, RESOURCE])),
            ("Tout", types(&[FLOAT])),
            ("then_branch", func("assigns")),
            ("else_branch", func("other")),
            ("_lower_using_switch_merge", Value::B(is_lowered)),
        ]
    };
    let conditional = |is_lowered| {
        let choice = node(
            "choice",
            "If",
            &["ok:output:0", "x", "w"],
            &attrs(is_lowered),
        );
        let mut nodes = switched(choice);
        nodes.push(typed("y", "Identity", &["choice:output:0"]));
        with(&assigns, nodes)
    };
    let mut keeping = dropping();
    keeping.keep_control_flow = true;
    let error = refused(&conditional(true), &keeping);
    assert!(error.contains("let control flow be lowered"), "{error}");
    let error = refused(&conditional(false), &dropping());
    assert!(
        error.contains("`choice` (If)") && error.contains("is not lowered"),
        "{error}"
    );

    assigns
        .attr
        .insert("_noinline".to_owned(), build::attr(Value::B(true)));
    let nodes = vec![
        call(
            "inner",
            "assigns",
            &["x", "w"],
            &[FLOAT, RESOURCE],
            &[FLOAT],
        ),
        typed("y", "Identity", &["inner:output:0"]),
    ];
    // A call stays one only where nothing in the function is dropped.
    let frozen = with(&assigns, nodes).freeze(&dropping()).unwrap();
    assert!(frozen.library.is_none(), "{:?}", lines(&frozen.node));
    let nodes = vec![
        call(
            "inner",
            "assigns",
            &["x", "w"],
            &[FLOAT, RESOURCE],
            &[FLOAT],
        ),
        read_after("read", "inner"),
        typed("y", "Identity", &["read:value:0"]),
    ];
    assigns
        .control_ret
        .insert("assign".to_owned(), "assign".to_owned());
    let frozen = with(&assigns, nodes).freeze(&dropping()).unwrap();
    assert_lines(&lines(&frozen.node), &["inner/assign = AddV2(weight, x)"]);
}

/// Reads the variable after a node.
fn read_after(name: &str, after: &str) -> NodeDef {
    NodeDef {
        input: vec!["w".to_owned(), format!("^{after}")],
        ..read(name, "")
    }
}

#[test]
fn assignments_in_no_order_are_named() {
    let nodes = vec![
        on_handle("one", "AssignVariableOp", &["w", "x"]),
        on_handle("other", "AssignAddVariableOp", &["w", "x"]),
        NodeDef {
            input: vec!["w".to_owned(), "^one".to_owned(), "^other".to_owned()],
            ..read("read", "")
        },
        typed("y", "Identity", &["read:value:0"]),
    ];
    let error = refused(&model(nodes), &dropping());
    for expected in [
        "`read`",
        "`weight`",
        "node `one`",
        "node `other`",
        "in no order",
    ] {
        assert!(error.contains(expected), "no {expected} in {error}");
    }
}

#[test]
fn branches_leave_variables_with_what_they_assign() {
    let arguments = [("v", FLOAT), ("handle", RESOURCE)];
    let result = [("result", FLOAT, "result:output:0")];
    let mut assigns = function(
        "assigns",
        &arguments,
        &result,
        vec![
            on_handle("assign", "AssignSubVariableOp", &["handle", "v"]),
            typed("result", "Identity", &["v", "^assign"]),
        ],
    );
    assigns
        .control_ret
        .insert("assign".to_owned(), "assign".to_owned());
    let other = function(
        "other",
        &arguments,
        &[("result", FLOAT, "result:y:0")],
        vec![typed("result", "Neg", &["v"])],
    );
    let attrs = [
        ("Tcond", data_type(build::BOOL)),
        ("Tin", types(&[FLOAT, RESOURCE])),
        ("Tout", types(&[FLOAT])),
        ("then_branch", func("assigns")),
        ("else_branch", func("other")),
        ("_lower_using_switch_merge", Value::B(true)),
    ];
    let before = on_handle("before", "AssignAddVariableOp", &["w", "x"]);
    for (earlier, expected) in [(None, "weight"), (Some(before), "before")] {
        let mut choice = node("choice", "If", &["ok:output:0", "x", "w"], &attrs);
        choice
            .input
            .extend(earlier.iter().map(|_| "^before".to_owned()));
        let mut nodes = switched(choice);
        nodes.extend(earlier);
        nodes.extend([
            read_after("read", "choice"),
            typed("y", "Identity", &["read:value:0"]),
        ]);
        let mut model = model(nodes);
        model.functions.extend([assigns.clone(), other.clone()]);
        let found = lines(&model.freeze(&dropping()).unwrap().node);
        let [assigned, left] = [
            format!("choice/then/assign = Sub({expected}, choice/switch_0:1)"),
            format!("choice/else/variable_0 = Identity({expected}, ^choice/pivot_else)"),
        ];
        let merged = "choice/variable_0 = Merge(choice/then/assign, choice/else/variable_0)";
        assert_lines(
            &found,
            &[&assigned, &left, merged, "y = Identity(choice/variable_0)"],
        );
    }
}

#[test]
fn loops_that_read_what_they_assign_name_both_nodes() {
    let arguments = [("v", FLOAT), ("handle", RESOURCE)];
    let again = function(
        "again",
        &arguments,
        &[("result", build::BOOL, "result:output:0")],
        vec![
            typed("finite", "IsFinite", &["v"]),
            int("axis", 0),
            node("result", "All", &["finite:y:0", "axis:output:0"], &[]),
        ],
    );
    let body = function(
        "body",
        &arguments,
        &[("v_1", FLOAT, "sum:z:0"), ("handle_1", RESOURCE, "handle")],
        vec![
            read("value", "handle"),
            typed("sum", "AddV2", &["v", "value:value:0", "^change"]),
            on_handle("change", "AssignAddVariableOp", &["handle", "v"]),
        ],
    );
    let attrs = [
        ("T", types(&[FLOAT, RESOURCE])),
        ("cond", func("again")),
        ("body", func("body")),
        ("_lower_using_switch_merge", Value::B(true)),
    ];
    let nodes = vec![
        node("loop", "While", &["x", "w"], &attrs),
        typed("y", "Identity", &["loop:output:0"]),
    ];
    let mut model = model(nodes);
    model.functions.extend([again, body]);
    let error = refused(&model, &dropping());
    for expected in [
        "`loop` (While)",
        "`weight`",
        "node `value` (ReadVariableOp)",
        "node `change` (AssignAddVariableOp)",
    ] {
        assert!(error.contains(expected), "no {expected} in {error}");
    }
}

#[test]
fn single_updates_of_rows_are_spread_unless_they_are_constants_of_rows() {
    let attrs = [("dtype", data_type(FLOAT)), ("Tindices", data_type(INT32))];
    let with = |updates: NodeDef| {
        let given = format!("{}:output:0", updates.name);
        dropped(vec![
            int("at", 0),
            updates,
            node(
                "update",
                "ResourceScatterAdd",
                &["w", "at:output:0", &given],
                &attrs,
            ),
            read_after("read", "update"),
            typed("y", "Identity", &["read:value:0"]),
        ])
    };
    let spread = [
        "update/rows = GatherV2(weight, at, update/axis)",
        "update/updates = BroadcastTo(one, update/rows/shape)",
        "update = TensorScatterAdd(weight, update/indices, update/updates)",
    ];
    assert_lines(&with(build::floats("one", &[], &[5.0])), &spread);
    let rows = with(build::floats("rows", &[1], &[5.0]));
    assert_lines(
        &rows,
        &["update = TensorScatterAdd(weight, update/indices, rows)"],
    );
    assert!(
        !rows.iter().any(|line| line.contains("BroadcastTo")),
        "{rows:#?}"
    );
}

/// The lines of a graph of TensorFlow 1 with the variable `weight` and the input `serving_default_x`.
fn of_references(nodes: Vec<NodeDef>, options: &FreezeOptions) -> Result<Vec<String>, String> {
    let model = Model {
        variables: vec![("weight", vec![2.0])],
        ..Model::new(Vec::new())
    };
    let mut message = model.message();
    let graph = message.meta_graphs[0].graph_def.as_mut().unwrap();
    let attrs = [("dtype", data_type(FLOAT)), ("shared_name", text("weight"))];
    graph
        .node
        .extend([node("variable", "VariableV2", &[], &attrs)]);
    graph.node.extend(nodes);
    let folder = tempfile::tempdir().unwrap();
    let bytes = tfod_proto::prost::Message::encode_to_vec(&message);
    std::fs::write(folder.path().join("saved_model.pb"), bytes).unwrap();
    model.write_variables(folder.path());
    let mut options = options.clone();
    options.inputs = vec!["serving_default_x".to_owned()];
    options.outputs = vec!["y".to_owned()];
    let graph = build::freeze(folder.path(), &options);
    graph
        .map(|graph| lines(&graph.node))
        .map_err(|error| error.to_string())
}

#[test]
fn what_is_behind_an_assignment_reads_the_new_value_of_a_reference_variable() {
    let nodes = vec![
        typed("read", "Identity", &["variable"]),
        typed(
            "update",
            "AssignAdd",
            &["variable", "serving_default_x", "^read"],
        ),
        typed("sum", "AddV2", &["read", "update"]),
        typed("y", "Mul", &["sum", "variable"]),
    ];
    let error = of_references(nodes.clone(), &FreezeOptions::default()).unwrap_err();
    assert!(
        error.contains("node `update` (AssignAdd) changes the variable `weight`"),
        "{error}"
    );
    let found = of_references(nodes, &dropping()).unwrap();
    let expected = [
        "update = AddV2(weight, serving_default_x)",
        "sum = AddV2(update, update)",
        "y = Mul(sum, update)",
    ];
    assert_lines(&found, &expected);
}

#[test]
fn references_that_control_flow_sends_somewhere_are_not_assigned_to() {
    let predicate = [
        typed("finite", "IsFinite", &["serving_default_x"]),
        NodeDef {
            input: Vec::new(),
            ..int("axis", 0)
        },
        node("ok", "All", &["finite", "axis"], &[]),
    ];
    let with = |nodes: Vec<NodeDef>| {
        let all = predicate.iter().cloned().chain(nodes).collect();
        of_references(all, &dropping())
    };
    let sent = typed("switch", "RefSwitch", &["variable", "ok"]);
    let error = with(vec![
        sent.clone(),
        typed("y", "AssignAdd", &["switch:1", "serving_default_x"]),
    ])
    .unwrap_err();
    let expected = "assigns to the variable `weight` in a conditional or loop of TensorFlow 1";
    assert!(error.contains(expected), "{error}");
    let error = with(vec![
        sent,
        typed("update", "Assign", &["variable", "serving_default_x"]),
        typed("y", "Neg", &["switch:1", "^update"]),
    ])
    .unwrap_err();
    assert!(
        error.contains("`y` (Neg)") && error.contains("node `update` (Assign) since"),
        "{error}"
    );
}
