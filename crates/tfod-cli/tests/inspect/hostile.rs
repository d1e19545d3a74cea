//! Files that were damaged, and files made to do harm. Whatever they are, the answer is a result or an error, soon.

use std::time::{Duration, Instant};

use tfod_inspect::{Inspection, Statistics, inspect};

use crate::make::{Folder, Message, onnx, tensorflow as tf};
use crate::{small_graph, small_onnx};

/// Looks at everything that there is.
fn look(found: &Inspection) {
    let _ = found.json();
    for tensor in &found.tensors {
        if let Ok(elements) = found.elements(tensor) {
            let _ = Statistics::of(&elements);
            let _ = tfod_inspect::listing(&elements, &tensor.shape, 10);
        }
    }
}

fn samples() -> [(&'static str, Vec<u8>); 3] {
    let external = onnx::external(onnx::tensor("e", &[2]), "model.data", "0", "8");
    [
        ("graph", small_graph().0),
        (
            "saved_model.pb",
            tf::saved_model(small_graph(), &[("x", "image:0", 4, &[1])], &[]).0,
        ),
        ("onnx", small_onnx(external).0),
    ]
}

#[test]
fn files_cut_short_anywhere_are_survived() {
    let folder = Folder::new();
    for (name, bytes) in samples() {
        let mut read = 0;
        for length in 0..bytes.len() {
            let path = folder.write(&format!("{name}/{name}"), &bytes[..length]);
            if let Ok(found) = inspect(&path) {
                look(&found);
                read += 1;
            }
        }
        // Only a cut between two fields goes unnoticed.
        assert!(read < bytes.len() / 10, "{name}: {read} of {}", bytes.len());
    }
}

#[test]
fn bytes_changed_anywhere_are_survived() {
    let folder = Folder::new();
    for (name, bytes) in samples() {
        for index in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[index] ^= [0x01, 0x80, 0xff][index % 3];
            let path = folder.write(&format!("{name}/{name}"), &bytes);
            if let Ok(found) = inspect(&path) {
                look(&found);
            }
        }
    }
}

/// What is wrong with a graph's constant.
fn constant_error(tensor: Message) -> String {
    let folder = Folder::new();
    let path = folder.write("graph.pb", &tf::graph(vec![tf::constant("c", tensor)]).0);
    let error = match inspect(&path) {
        Ok(found) => found.elements(&found.tensors[0]).map(|_| ()).unwrap_err(),
        Err(error) => error,
    };
    error.to_string()
}

#[test]
fn absurd_sizes_ask_for_no_memory() {
    let start = Instant::now();
    let huge = [i64::MAX, i64::MAX];
    assert!(
        constant_error(tf::tensor(tf::FLOAT, &huge))
            .contains("a constant has a shape that none can have")
    );
    assert!(constant_error(tf::tensor(tf::FLOAT, &[-2])).contains("dimensions that are not known"));
    assert!(constant_error(tf::tensor(tf::FLOAT, &[1; 300])).contains("too many dimensions"));
    let short = tf::tensor(tf::FLOAT, &[1 << 40]).bytes(4, [0; 8]);
    assert!(constant_error(short).contains("not as many bytes as its shape needs"));
    let long = tf::tensor(tf::FLOAT, &[1]).bytes(5, [0; 8]);
    assert!(constant_error(long).contains("more bytes than elements"));
    assert!(constant_error(tf::tensor(99, &[1])).contains("its type is unknown"));

    // Nothing stored, 2^60 bytes claimed: all zeros.
    let folder = Folder::new();
    let zeros = tf::constant("c", tf::tensor(tf::FLOAT, &[1 << 29, 1 << 29]));
    let found = inspect(&folder.write("graph.pb", &tf::graph(vec![zeros]).0)).unwrap();
    let elements = found.elements(&found.tensors[0]).unwrap();
    assert_eq!(Statistics::of(&elements).unwrap().zeros, 1 << 58);

    let shape = [u64::MAX, 2];
    let graph = Message::new().message(5, onnx::tensor("e", &shape));
    let error = inspect(&folder.write("onnx", &onnx::model(graph).0)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no shape that a tensor can have"),
        "{error}"
    );
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn names_are_not_multiplied() {
    // A function's name is part of the names of its constants.
    let function = Message::new()
        .message(1, Message::new().bytes(1, "f".repeat(1 << 20)))
        .messages(3, (0..1000).map(|_| tf::float_constant("c", &[1], &[1.0])));
    let graph =
        tf::graph(vec![tf::node("a", "NoOp", &[])]).message(2, Message::new().message(1, function));
    let folder = Folder::new();
    let error = inspect(&folder.write("graph.pb", &graph.0)).unwrap_err();
    assert!(
        error.to_string().contains("a function's name is too long"),
        "{error}"
    );
}

#[test]
fn parts_without_end_are_refused() {
    let nothing = [0x2a, 0x00].repeat((1 << 20) + 1);
    let folder = Folder::new();
    let error = inspect(&folder.write("onnx", &onnx::model(Message(nothing)).0)).unwrap_err();
    assert!(
        error.to_string().contains("more than a million parts"),
        "{error}"
    );
}

#[test]
fn graphs_inside_of_graphs_have_an_end() {
    let mut graph = Message::new();
    for _ in 0..1000 {
        let attribute = Message::new().message(6, graph);
        graph = Message::new().message(1, onnx::node("If", &["x"], &["y"]).message(5, attribute));
    }
    let folder = Folder::new();
    let error = inspect(&folder.write("onnx", &onnx::model(graph).0)).unwrap_err();
    assert!(error.to_string().contains("nested too deeply"), "{error}");
}

#[test]
fn data_outside_stays_in_the_models_folder() {
    let folder = Folder::new();
    folder.write("secret", &[0; 8]);
    folder.write("m/short", &[0; 7]);
    let absolute = folder.path("secret");
    let cases = [
        ("../secret", "0", "8", "no file below the model's folder"),
        (
            absolute.to_str().unwrap(),
            "0",
            "8",
            "no file below the model's folder",
        ),
        ("", "0", "8", "no file below the model's folder"),
        ("absent", "0", "8", "cannot read"),
        ("short", "0", "8", "which has 7 bytes"),
        ("short", "18446744073709551615", "8", "which has 7 bytes"),
        ("short", "0", "7", "are said to take 7 bytes"),
    ];
    for (location, offset, length, expected) in cases {
        let external = onnx::external(onnx::tensor("e", &[2]), location, offset, length);
        let found = inspect(&folder.write("m/onnx", &small_onnx(external).0)).unwrap();
        let error = found
            .elements(found.tensor("e").unwrap())
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{location}: {error}");
    }
}

/// Bytes of a map that are gone are read as zeros by a process that survives their loss, so the lengths are asked for afterwards.
#[test]
fn a_file_cut_short_after_it_was_opened_is_an_error() {
    let folder = Folder::new();
    let numbers = vec![1.0; 1 << 16];
    let graph = tf::graph(vec![tf::float_constant("k", &[1 << 16], &numbers)]);
    let path = folder.write("frozen.pb", &graph.0);
    let found = inspect(&path).unwrap();
    found.check_lengths().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(16).unwrap();
    let error = found.check_lengths().unwrap_err().to_string();
    assert!(error.contains("frozen.pb"), "{error}");
    assert!(error.contains("now 16"), "{error}");
}
