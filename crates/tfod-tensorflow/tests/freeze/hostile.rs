//! Files that nobody should have written: one error each, in bounded time, and never a panic.

use proptest::prelude::*;
use tfod_proto::prost::Message;
use tfod_proto::{FunctionDef, NodeDef};
use tfod_tensorflow::{FreezeError, FreezeOptions};

use super::build::{
    BOOL, FLOAT, INT32, Model, call, data_type, freeze, freeze_message, func, function, int, node,
    shape, types,
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

#[test]
fn more_dimensions_than_tensors_have() {
    let model = calling(vec![first(Vec::new(), "v")]);
    for count in [254, 255] {
        let mut message = model.message();
        let signature = message.meta_graphs[0]
            .signature_def
            .get_mut("serving_default");
        let inputs = signature.unwrap().inputs.values_mut();
        inputs.for_each(|info| info.tensor_shape = Some(shape(&vec![1; count])));
        let frozen = freeze_message(&message, &FreezeOptions::default());
        if count == 254 {
            frozen.unwrap();
        } else {
            let error = frozen.unwrap_err().to_string();
            assert!(
                error.contains("input `x`: it has 255 dimensions"),
                "{error}"
            );
        }
    }
}

/// An empty string has two bytes in the file, and sixteen and more in memory.
#[test]
fn more_parts_than_a_model_has() {
    const MANY: usize = 1 << 23;
    let many = || NodeDef {
        input: vec![String::new(); MANY],
        ..NodeDef::default()
    };
    let model = |functions| Model::new(functions).message();
    let mut in_main = model(Vec::new());
    let graph = in_main.meta_graphs[0].graph_def.as_mut().unwrap();
    graph.node.push(many());
    let in_function = calling(vec![first(vec![many()], "v")]).message();
    for message in [in_main, in_function] {
        let error = freeze_message(&message, &FreezeOptions::default()).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("more than 8388608 nodes"), "{error}");
    }
}

#[test]
fn an_object_graph_that_would_take_gigabytes() {
    const OBJECT_GRAPH: u8 = 7 << 3 | 2;
    const META_GRAPH: u8 = 2 << 3 | 2;
    let framed = |key: u8, bytes: &[u8]| {
        let mut out = vec![key];
        prost::encoding::encode_varint(bytes.len() as u64, &mut out);
        out.extend_from_slice(bytes);
        out
    };
    let message = Model::new(Vec::new()).message();
    let mut meta_graph = message.meta_graphs[0].encode_to_vec();
    meta_graph.extend(framed(OBJECT_GRAPH, &vec![0; (1 << 26) + 8]));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("saved_model.pb");
    std::fs::write(file, framed(META_GRAPH, &meta_graph)).unwrap();
    let mut options = FreezeOptions::default();
    options.function = Some("look".to_owned());
    let error = freeze(folder.path(), &options).unwrap_err().to_string();
    assert!(
        error.contains("too many (reading the object graph)"),
        "{error}"
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

/// What tables of the object graph are made of: functions of the library, and what they capture.
mod resources {
    use std::collections::BTreeMap;

    use tfod_proto::attr_value::Value;
    use tfod_proto::saved_object::{Kind, ObjectReference};
    use tfod_proto::{
        SavedConcreteFunction, SavedFunction, SavedObject, SavedObjectGraph, SavedResource,
    };

    use super::super::build::{RESOURCE, floats, lines, text};
    use super::*;

    /// An object: its children, and what it is.
    fn object(children: &[(&str, usize)], kind: Option<Kind>) -> SavedObject {
        let child = |&(name, id): &(&str, usize)| ObjectReference {
            node_id: i32::try_from(id).unwrap(),
            local_name: name.to_owned(),
        };
        SavedObject {
            children: children.iter().map(child).collect(),
            kind,
        }
    }

    fn function_object(name: &str) -> SavedObject {
        let function = SavedFunction {
            concrete_functions: vec![name.to_owned()],
            function_spec: None,
        };
        object(&[], Some(Kind::Function(function)))
    }

    /// A function `look` that captures the first of these resources. Each has the functions that make it and, if there is one, fill it, and captures the resources
    /// with these numbers for both.
    struct Resources {
        functions: Vec<FunctionDef>,
        /// For each resource, the resources that its functions capture.
        captured: Vec<Vec<usize>>,
    }

    impl Resources {
        fn freeze(&self) -> Result<tfod_proto::GraphDef, FreezeError> {
            let mut nodes = vec![object(&[("look", 1)], None), function_object("look")];
            let resource = |index: usize| 2 + 3 * index;
            let bound = |captured: &[usize]| SavedConcreteFunction {
                bound_inputs: captured
                    .iter()
                    .map(|index| i32::try_from(resource(*index)).unwrap())
                    .collect(),
                ..SavedConcreteFunction::default()
            };
            let mut concrete = BTreeMap::from([("look".to_owned(), bound(&[0]))]);
            for (index, captured) in self.captured.iter().enumerate() {
                let parts = [("_create_resource", "create"), ("_initialize", "fill")];
                let at = resource(index);
                let children = [(parts[0].0, at + 1), (parts[1].0, at + 2)];
                nodes.push(object(
                    &children,
                    Some(Kind::Resource(SavedResource::default())),
                ));
                for (part, captured) in [("create", captured.clone()), ("fill", vec![index])] {
                    let name = format!("{part}_{index}");
                    nodes.push(function_object(&name));
                    concrete.insert(name, bound(&captured));
                }
            }
            let model = Model::new(self.functions.clone());
            let mut message = model.message();
            message.meta_graphs[0].object_graph_def = Some(SavedObjectGraph {
                nodes,
                concrete_functions: concrete,
            });
            let mut options = FreezeOptions::default();
            options.function = Some("look".to_owned());
            freeze_message(&message, &options)
        }
    }

    fn table(name: &str) -> NodeDef {
        let attrs = [
            ("key_dtype", data_type(INT32)),
            ("value_dtype", data_type(FLOAT)),
            ("shared_name", text(name)),
        ];
        node(name, "HashTableV2", &[], &attrs)
    }

    fn types_of_table() -> [(&'static str, Value); 2] {
        [("Tin", data_type(INT32)), ("Tout", data_type(FLOAT))]
    }

    fn look() -> FunctionDef {
        let nodes = vec![
            int("key", 1),
            floats("other", &[], &[7.0]),
            node(
                "found",
                "LookupTableFindV2",
                &["table", "key:output:0", "other:output:0"],
                &types_of_table(),
            ),
        ];
        let result = [("y", FLOAT, "found:values:0")];
        function("look", &[("table", RESOURCE)], &result, nodes)
    }

    fn create(index: usize, inputs: &[(&str, tfod_proto::DataType)]) -> FunctionDef {
        let name = format!("table_{index}");
        let made = format!("{name}:table_handle:0");
        function(
            &format!("create_{index}"),
            inputs,
            &[("handle", RESOURCE, &made)],
            vec![table(&name)],
        )
    }

    fn fill(index: usize) -> FunctionDef {
        let nodes = vec![
            int("key", 1),
            floats("value", &[], &[5.0]),
            node(
                "import",
                "LookupTableImportV2",
                &["table", "key:output:0", "value:output:0"],
                &types_of_table(),
            ),
        ];
        let mut function = function(
            &format!("fill_{index}"),
            &[("table", RESOURCE)],
            &[("done", INT32, "key:output:0")],
            nodes,
        );
        function.control_ret = [("import".to_owned(), "import".to_owned())].into();
        function
    }

    #[test]
    fn a_resource_that_captures_itself() {
        for captured in [vec![vec![0]], vec![vec![1], vec![0]]] {
            let mut functions = vec![look()];
            functions.extend((0..captured.len()).map(|index| create(index, &[("own", RESOURCE)])));
            let resources = Resources {
                functions,
                captured,
            };
            let error = resources.freeze().unwrap_err().to_string();
            assert!(error.contains("needs this resource itself"), "{error}");
            assert!(error.contains("function `look`, node `table`"), "{error}");
        }
    }

    #[test]
    fn resources_that_need_each_other_too_deep() {
        const COUNT: usize = 2_000;
        let mut functions = vec![look()];
        functions.extend((0..COUNT).map(|index| create(index, &[("next", RESOURCE)])));
        let resources = Resources {
            functions,
            captured: (1..=COUNT).map(|next| vec![next]).collect(),
        };
        let error = resources.freeze().unwrap_err().to_string();
        assert!(error.contains("nested deeper than 100"), "{error}");
    }

    #[test]
    fn a_table_that_needs_another_to_be_made_is_made() {
        let functions = vec![
            look(),
            create(0, &[("inner", RESOURCE)]),
            create(1, &[]),
            fill(0),
            fill(1),
        ];
        let resources = Resources {
            functions,
            captured: vec![vec![1], Vec::new()],
        };
        let graph = resources.freeze().unwrap();
        let lines = lines(&graph.node);
        for expected in [
            "table_0 = HashTableV2()",
            "import = LookupTableImportV2(table_0, key_1, value)",
            "init_all_tables = NoOp(^import)",
        ] {
            assert!(
                lines.iter().any(|line| line == expected),
                "no {expected:?} in {lines:#?}"
            );
        }
    }
}
