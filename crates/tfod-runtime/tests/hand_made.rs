//! Models put together field by field: what is computed here and not by rten, and what is refused.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use tfod_proto::wire::put_varint;
use tfod_runtime::{Model, Tensor, Values};

const FLOAT: u64 = 1;
const INT64: u64 = 7;
const BOOL: u64 = 9;
const DOUBLE: u64 = 11;

/// A message of protobuf.
#[derive(Clone, Default)]
struct Message(Vec<u8>);

impl Message {
    fn number(mut self, field: u64, number: u64) -> Self {
        put_varint(&mut self.0, field << 3);
        put_varint(&mut self.0, number);
        self
    }

    fn bytes(mut self, field: u64, bytes: impl AsRef<[u8]>) -> Self {
        put_varint(&mut self.0, field << 3 | 2);
        put_varint(&mut self.0, bytes.as_ref().len() as u64);
        self.0.extend_from_slice(bytes.as_ref());
        self
    }

    fn messages(self, field: u64, all: &[Message]) -> Self {
        let add = |message: Self, inner: &Message| message.bytes(field, &inner.0);
        all.iter().fold(self, add)
    }
}

fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> Message {
    let add = |field| move |node: Message, name: &&str| node.bytes(field, name);
    let node = inputs.iter().fold(Message::default(), add(1));
    outputs.iter().fold(node, add(2)).bytes(4, op)
}

/// With an attribute that is a whole number.
fn with(node: Message, name: &str, number: i64) -> Message {
    let attribute = Message::default().bytes(1, name);
    let attribute = attribute.number(3, number.cast_unsigned()).number(20, 2);
    node.bytes(5, attribute.0)
}

fn tensor(name: &str, kind: u64, dims: &[u64], elements: impl AsRef<[u8]>) -> Message {
    let tensor = dims
        .iter()
        .fold(Message::default(), |tensor, size| tensor.number(1, *size));
    tensor.number(2, kind).bytes(8, name).bytes(9, elements)
}

fn floats(name: &str, dims: &[u64], values: &[f32]) -> Message {
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    tensor(name, FLOAT, dims, bytes)
}

fn integers(name: &str, dims: &[u64], values: &[i64]) -> Message {
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    tensor(name, INT64, dims, bytes)
}

/// An input or output of no certain shape.
fn port(name: &str, kind: u64) -> Message {
    let of_tensor = Message::default().number(1, kind);
    let kind = Message::default().bytes(1, of_tensor.0);
    Message::default().bytes(1, name).bytes(2, kind.0)
}

fn model(opset: u64, graph: Message) -> Vec<u8> {
    let import = Message::default().bytes(1, "").number(2, opset);
    let model = Message::default().number(1, 8).bytes(7, graph.0);
    model.bytes(8, import.0).0
}

/// Runs a model with one input, `x`.
fn run(graph: Message, opset: u64, x: &Tensor) -> Result<Vec<(String, Tensor)>, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    fs::write(&path, model(opset, graph)).unwrap();
    run_file(&path, x)
}

fn run_file(path: &Path, x: &Tensor) -> Result<Vec<(String, Tensor)>, String> {
    let model = Model::open(path).map_err(|error| error.problem())?;
    let found = model.run(&[("x", x)]);
    let found = found.map_err(|error| error.problem())?;
    // The same model, run again, gives the same bits.
    assert_eq!(model.run(&[("x", x)]).unwrap(), found);
    Ok(found)
}

fn graph(
    inputs: &[Message],
    nodes: &[Message],
    constants: &[Message],
    outputs: &[Message],
) -> Message {
    let graph = Message::default().messages(11, inputs).messages(1, nodes);
    graph.messages(5, constants).messages(12, outputs)
}

fn values(found: &[(String, Tensor)]) -> Vec<&Values> {
    found.iter().map(|(_, tensor)| tensor.values()).collect()
}

/// The boxes that the first suppression selects are moved, and go through a second one beside a third that depends on the input alone.
#[test]
fn suppressions_may_depend_on_each_other() {
    let boxes = [
        [0.0, 0.0, 1.0, 1.0],
        [0.0, 0.1, 1.0, 1.1],
        [0.0, 0.9, 1.0, 1.9],
        [5.0, 5.0, 6.0, 6.0],
    ];
    let limits = [
        integers("limit", &[], &[10]),
        floats("most", &[], &[0.5]),
        floats("none", &[], &[0.01]),
        integers("two", &[], &[2]),
        floats("scores", &[1, 1, 4], &[0.9, 0.8, 0.7, 0.6]),
        floats("later", &[1, 1, 3], &[0.1, 0.3, 0.2]),
    ];
    let nodes = [
        node(
            "NonMaxSuppression",
            &["x", "scores", "limit", "most"],
            &["first"],
        ),
        with(node("Gather", &["first", "two"], &["places"]), "axis", 1),
        with(node("Gather", &["x", "places"], &["kept"]), "axis", 1),
        node("Add", &["kept", "most"], &["moved"]),
        node(
            "NonMaxSuppression",
            &["moved", "later", "limit", "none"],
            &["second"],
        ),
        node(
            "NonMaxSuppression",
            &["x", "scores", "limit", "none"],
            &["third"],
        ),
        node("Shape", &["second"], &["size"]),
    ];
    let outputs = ["first", "second", "third", "size"].map(|name| port(name, INT64));
    let x = Tensor::new(vec![1, 4, 4], Values::F32(boxes.as_flattened().to_vec())).unwrap();
    let found = run(
        graph(&[port("x", FLOAT)], &nodes, &limits, &outputs),
        13,
        &x,
    )
    .unwrap();
    let expected = [
        // The second overlaps the first by 0.9 / 1.1.
        vec![0, 0, 0, 0, 0, 2, 0, 0, 3],
        // Of the three that are left, the second overlaps the first by 0.1 / 1.9.
        vec![0, 0, 1, 0, 0, 2],
        vec![0, 0, 0, 0, 0, 3],
        vec![2, 3],
    ]
    .map(Values::I64);
    assert_eq!(values(&found), expected.iter().collect::<Vec<_>>());
}

#[test]
fn of_equals_the_first_is_found() {
    let rows = Tensor::new(vec![2, 3], Values::F32(vec![1.0, 3.0, 3.0, 2.0, 2.0, 2.0])).unwrap();
    let nodes = [
        with(node("ArgMax", &["x"], &["columns"]), "axis", 1),
        with(node("ArgMax", &["x"], &["rows"]), "keepdims", 0),
        with(
            with(node("ArgMin", &["x"], &["least"]), "axis", -1),
            "keepdims",
            0,
        ),
    ];
    let outputs = ["columns", "rows", "least"].map(|name| port(name, INT64));
    let found = run(graph(&[port("x", FLOAT)], &nodes, &[], &outputs), 13, &rows).unwrap();
    let shapes: Vec<&[usize]> = found.iter().map(|(_, tensor)| tensor.shape()).collect();
    assert_eq!(shapes, [&[2, 1][..], &[3], &[2]]);
    let expected = [vec![1, 0], vec![1, 0, 0], vec![0, 0]].map(Values::I64);
    assert_eq!(values(&found), expected.iter().collect::<Vec<_>>());
}

#[test]
fn what_is_not_zero_is_true() {
    let x = Tensor::new(vec![4], Values::F32(vec![0.0, 0.5, -7.0, -0.0])).unwrap();
    let nodes = [
        with(node("Cast", &["x"], &["truth"]), "to", BOOL.cast_signed()),
        with(
            node("Cast", &["truth"], &["number"]),
            "to",
            FLOAT.cast_signed(),
        ),
    ];
    let outputs = [port("truth", BOOL), port("number", FLOAT)];
    let found = run(graph(&[port("x", FLOAT)], &nodes, &[], &outputs), 13, &x).unwrap();
    let truth = Values::Bool(vec![false, true, true, false]);
    let number = Values::F32(vec![0.0, 1.0, 1.0, 0.0]);
    assert_eq!(values(&found), [&truth, &number]);
}

/// The quotients of many numbers by one, of one by one, and of one by many; a product with the reciprocal has another last bit for some of them.
#[test]
fn division_by_a_single_number_rounds_once() {
    let numbers: Vec<f32> = (1..=64u8).map(f32::from).collect();
    let x = Tensor::new(vec![2, 32], Values::F32(numbers.clone())).unwrap();
    let nodes = [
        node("Div", &["x", "82"], &["of_many"]),
        node("Div", &["90", "82"], &["of_one"]),
        node("Div", &["90", "x"], &["by_many"]),
    ];
    let constants = [floats("82", &[1], &[82.0]), floats("90", &[], &[90.0])];
    let outputs = ["of_many", "of_one", "by_many"].map(|name| port(name, FLOAT));
    let graph = graph(&[port("x", FLOAT)], &nodes, &constants, &outputs);
    let found = run(graph, 13, &x).unwrap();
    let by = |f: fn(f32) -> f32| Values::F32(numbers.iter().copied().map(f).collect());
    let (of_many, by_many) = (by(|x| x / 82.0), by(|x| 90.0 / x));
    let of_one = Values::F32(vec![90.0 / 82.0]);
    assert_eq!(values(&found), [&of_many, &of_one, &by_many]);
    let shapes: Vec<&[usize]> = found.iter().map(|(_, tensor)| tensor.shape()).collect();
    assert_eq!(shapes, [&[2, 32][..], &[1], &[2, 32]]);
    // Which is no test where both ways give the same.
    assert_ne!(of_many, by(|x| x * (1.0 / 82.0)));
}

#[test]
fn sizes_of_the_last_axes_are_enough_for_resizing() {
    let x = Tensor::new(vec![1, 1, 1, 2], Values::F32(vec![1.0, 2.0])).unwrap();
    let text = |node: Message, name: &str, text: &str| {
        let attribute = Message::default().bytes(1, name).bytes(4, text);
        node.bytes(5, attribute.number(20, 3).0)
    };
    let resize = |inputs: &[&str], output: &str| {
        let axes = Message::default()
            .bytes(1, "axes")
            .number(8, 2)
            .number(8, 3);
        let resize = node("Resize", inputs, &[output]).bytes(5, axes.number(20, 7).0);
        let resize = text(resize, "mode", "nearest");
        text(resize, "coordinate_transformation_mode", "asymmetric")
    };
    let nodes = [
        resize(&["x", "", "", "sizes"], "sized"),
        resize(&["x", "", "scales"], "scaled"),
    ];
    let constants = [
        integers("sizes", &[2], &[1, 4]),
        floats("scales", &[2], &[1.0, 2.0]),
    ];
    let outputs = ["sized", "scaled"].map(|name| port(name, FLOAT));
    let found = run(
        graph(&[port("x", FLOAT)], &nodes, &constants, &outputs),
        18,
        &x,
    )
    .unwrap();
    let expected = Values::F32(vec![1.0, 1.0, 2.0, 2.0]);
    assert_eq!(values(&found), [&expected, &expected]);
}

#[test]
fn inputs_and_constants_may_be_outputs() {
    let x = Tensor::new(vec![1], Values::F32(vec![4.0])).unwrap();
    let value = Message::default()
        .bytes(1, "value")
        .bytes(5, floats("", &[1], &[2.0]).0);
    let nodes = [
        node("Constant", &[], &["two"]).bytes(5, value.number(20, 4).0),
        node("Add", &["x", "two"], &["sum"]),
    ];
    let outputs = ["x", "one", "two", "sum"].map(|name| port(name, FLOAT));
    let constants = [floats("one", &[1], &[1.0])];
    let found = run(
        graph(&[port("x", FLOAT)], &nodes, &constants, &outputs),
        13,
        &x,
    )
    .unwrap();
    let expected = [4.0, 1.0, 2.0, 6.0].map(|number| Values::F32(vec![number]));
    assert_eq!(values(&found), expected.iter().collect::<Vec<_>>());
}

/// The ends of slices are cut down to the size that there is.
#[test]
fn the_largest_integer_means_the_end_of_a_slice() {
    let x = Tensor::new(vec![3], Values::F32(vec![1.0, 2.0, 3.0])).unwrap();
    let nodes = [node("Slice", &["x", "one", "end"], &["y"])];
    let constants = [
        integers("one", &[1], &[1]),
        integers("end", &[1], &[i64::MAX]),
    ];
    let found = run(
        graph(&[port("x", FLOAT)], &nodes, &constants, &[port("y", FLOAT)]),
        13,
        &x,
    );
    assert_eq!(values(&found.unwrap()), [&Values::F32(vec![2.0, 3.0])]);
}

#[test]
fn what_would_be_computed_wrongly_is_refused() {
    let x = Tensor::new(vec![1, 3], Values::F32(vec![1.0, 2.0, 3.0])).unwrap();
    let one = |node: Message| graph(&[port("x", FLOAT)], &[node], &[], &[port("y", FLOAT)]);
    let y = |op: &str| node(op, &["x"], &["y"]);
    let wide = [integers("n", &[1], &[1 << 31])];
    let of_wide = graph(
        &[port("x", FLOAT)],
        &[node("Mul", &["n", "n"], &["y"])],
        &wide,
        &[port("y", INT64)],
    );
    let suppression = node("NonMaxSuppression", &["x", "x"], &["y"]);
    let body = graph(&[], &[suppression], &[], &[port("y", INT64)]);
    let branch = |name| {
        Message::default()
            .bytes(1, name)
            .bytes(6, &body.0)
            .number(20, 5)
            .0
    };
    let conditional = node("If", &["x"], &["y"]).bytes(5, branch("then_branch"));
    let cubic = Message::default()
        .bytes(1, "mode")
        .bytes(4, "cubic")
        .number(20, 3);
    let cases = [
        (
            13,
            one(y("Relu").bytes(3, "theirs").bytes(7, "com.example")),
            "node `theirs` has the operator `Relu` of the domain `com.example`",
        ),
        (
            6,
            one(y("Relu")),
            "expected operator set 7 or newer, found 6",
        ),
        (
            11,
            one(y("Softmax").bytes(3, "s")),
            "node `s` (Softmax) is of operator set 11",
        ),
        (
            13,
            one(y("BitCast").bytes(3, "b")),
            "node `b` (BitCast) is of an operator",
        ),
        (
            13,
            one(y("Resize").bytes(5, cubic.0)),
            "is of the mode `cubic`",
        ),
        (
            13,
            one(with(y("Cast").bytes(3, "c"), "to", DOUBLE.cast_signed())),
            "node `c` (Cast) is of the type float64",
        ),
        (
            13,
            graph(
                &[port("x", DOUBLE)],
                &[y("Relu")],
                &[],
                &[port("y", DOUBLE)],
            ),
            "`x` is of the type float64",
        ),
        (13, of_wide, "`n` has whole numbers beyond 32 bits"),
        (
            13,
            one(conditional),
            "(NonMaxSuppression) is in a graph that is an attribute of a node",
        ),
        (
            13,
            one(node("Relu", &["z"], &["y"]).bytes(3, "r")),
            "node `r` (Relu) reads `z`, which nothing before it gives",
        ),
        (
            13,
            one(node("Relu", &["x"], &["z"])),
            "nothing gives the output `y`",
        ),
        (13, one(node("Relu", &["x"], &["x"])), "`x` is given twice"),
        (13, one(y("NoSuchOperator")), "NoSuchOperator"),
        (13, one(node("Concat", &["x"], &["y"])), "y (Concat)"),
        (13, Message::default(), ""),
    ];
    for (opset, graph, expected) in cases {
        let found = run(graph, opset, &x);
        let problem = found.unwrap_err();
        assert!(problem.contains(expected), "{problem}");
    }
}

#[test]
fn outputs_have_to_be_of_the_type_that_is_declared() {
    let x = Tensor::new(vec![1], Values::F32(vec![1.0])).unwrap();
    let nodes = [node("Relu", &["x"], &["y"])];
    let graph = graph(&[port("x", FLOAT)], &nodes, &[], &[port("y", INT64)]);
    let problem = run(graph, 13, &x).unwrap_err();
    assert!(
        problem.contains("`y` is declared to be of int64, and is of"),
        "{problem}"
    );
}

/// A tensor whose elements are in another file.
fn external(location: &str, offset: &str) -> Message {
    let entry = |key: &str, value: &str| Message::default().bytes(1, key).bytes(2, value);
    let tensor = Message::default()
        .number(1, 1)
        .number(2, FLOAT)
        .bytes(8, "w");
    let place = [
        entry("location", location),
        entry("offset", offset),
        entry("length", "4"),
    ];
    tensor.messages(13, &place).number(14, 1)
}

#[test]
fn weights_may_be_in_a_file_of_the_same_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let bytes: Vec<u8> = [1.0f32, 2.0]
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    fs::write(folder.path().join("model.bin"), bytes).unwrap();
    let x = Tensor::new(vec![1], Values::F32(vec![5.0])).unwrap();
    let open = |location: &str, offset: &str| {
        let nodes = [node("Mul", &["x", "w"], &["y"])];
        let constants = [external(location, offset)];
        let graph = graph(&[port("x", FLOAT)], &nodes, &constants, &[port("y", FLOAT)]);
        fs::write(&path, model(13, graph)).unwrap();
        run_file(&path, &x)
    };
    assert_eq!(
        values(&open("model.bin", "4").unwrap()),
        [&Values::F32(vec![10.0])]
    );
    for (location, offset, expected) in [
        (
            "model.bin",
            "5",
            "expected 4 bytes from byte 5 on, found a file of 8 bytes",
        ),
        (
            "model.bin",
            "18446744073709551615",
            "found a file of 8 bytes",
        ),
        (
            "../model.bin",
            "0",
            "expected a path below the model's folder",
        ),
        (
            "/etc/passwd",
            "0",
            "expected a path below the model's folder",
        ),
        ("none.bin", "0", "No such file"),
        ("model.bin", "-1", "expected a number of bytes"),
    ] {
        let problem = open(location, offset).unwrap_err();
        assert!(problem.contains(expected), "{problem}");
    }
}

#[test]
fn a_model_in_memory_tells_of_itself_and_reads_no_file() {
    let name = Path::new("in memory");
    let x = Tensor::new(vec![1], Values::F32(vec![-1.0])).unwrap();
    let nodes = [node("Abs", &["x"], &["y"])];
    let graph_of = |nodes: &[Message], constants: &[Message]| {
        graph(&[port("x", FLOAT)], nodes, constants, &[port("y", FLOAT)])
    };
    let mut file = model(13, graph_of(&nodes, &[]));
    let entry = Message::default().bytes(1, "labels").bytes(2, "[]");
    file.extend(Message::default().bytes(14, entry.0).0);
    let model_in_memory = Model::from_bytes(name, &file).unwrap();
    let told: Vec<(&str, &str)> = model_in_memory
        .metadata()
        .iter()
        .map(|(key, value)| (&**key, &**value))
        .collect();
    assert_eq!(told, [("labels", "[]")]);
    let found = model_in_memory.run(&[("x", &x)]).unwrap();
    assert_eq!(values(&found), [&Values::F32(vec![1.0])]);

    let nodes = [node("Mul", &["x", "w"], &["y"])];
    // A file that is there, from wherever tests are run.
    let file = model(13, graph_of(&nodes, &[external("Cargo.toml", "0")]));
    let error = Model::from_bytes(name, &file).unwrap_err().to_string();
    let expected = "in memory: cannot be read: initialiser `w` is in the file `Cargo.toml`: expected a model with its weights inside";
    assert!(error.starts_with(expected), "{error}");
}

/// Opening one would wait for a writer.
#[cfg(unix)]
#[test]
fn a_fifo_does_not_hold_anything_up() {
    let folder = tempfile::tempdir().unwrap();
    let [fifo, path] = ["fifo", "model.onnx"].map(|name| folder.path().join(name));
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let problem = Model::open(&fifo).unwrap_err().problem();
    assert!(
        problem.contains("expected a regular file, found a FIFO"),
        "{problem}"
    );
    let nodes = [node("Mul", &["x", "w"], &["y"])];
    let constants = [external("fifo", "0")];
    let graph = graph(&[port("x", FLOAT)], &nodes, &constants, &[port("y", FLOAT)]);
    fs::write(&path, model(13, graph)).unwrap();
    let problem = Model::open(&path).unwrap_err().problem();
    assert!(
        problem.contains(
            "initialiser `w` is in the file `fifo`: expected a regular file, found a FIFO"
        ),
        "{problem}"
    );
}
