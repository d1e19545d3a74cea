//! `verify` on images: models are run, and what they give is compared.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tfod::{Batch, Export, Format, GraphOptions, InputLayout, InputType, Stage};
use tfod_runtime::Runtime;
use tfod_verify::{Aspects, Launch, Outcome, OutputOptions, OutputsResult, VerifyError, verify};

use crate::make::{Folder, Message, example, onnx, tensorflow as tf};

fn export(
    folder: &Folder,
    name: &str,
    graph: GraphOptions,
    layout: InputLayout,
    merged: &str,
) -> PathBuf {
    let config = example("pipeline.config");
    let mut export = Export::new(config, example("checkpoint"), folder.path(name));
    export.graph = graph;
    merged.clone_into(&mut export.config_override);
    export.formats = vec![Format::Onnx];
    export.onnx.input_layout = layout;
    export.run().unwrap();
    folder.path(name).join("model.onnx")
}

fn run(first: &Path, second: &Path, images: Vec<PathBuf>) -> Result<OutputsResult, VerifyError> {
    run_in(None, first, second, images)
}

fn run_in(
    apart: Option<Launch>,
    first: &Path,
    second: &Path,
    images: Vec<PathBuf>,
) -> Result<OutputsResult, VerifyError> {
    let mut options = OutputOptions::new(images);
    options.apart = apart;
    let mut aspects = Aspects::NONE;
    aspects.outputs = Some(options);
    let found = verify(first, second, &aspects)?;
    assert_eq!(
        found.outcome() == Outcome::Same,
        found
            .outputs
            .as_ref()
            .is_some_and(|of| of.outcome == Outcome::Same)
    );
    Ok(found.outputs.unwrap())
}

fn images() -> Vec<PathBuf> {
    ["images/test_1.png", "images/test_2.jpg"]
        .map(example)
        .to_vec()
}

#[test]
fn a_checkpoint_gives_what_its_export_gives() {
    let folder = Folder::new();
    let model = export(&folder, "a", GraphOptions::default(), InputLayout::Nhwc, "");
    let found = run(&example("checkpoint"), &model, images()).unwrap();
    assert_eq!(
        (found.outcome, found.images),
        (Outcome::Same, 2),
        "{found:?}"
    );
    let mut names: Vec<&str> = found.pairs.iter().map(|pair| &*pair.first).collect();
    names.sort_unstable();
    let expected = [
        "detection_anchor_indices",
        "detection_boxes",
        "detection_classes",
        "detection_multiclass_scores",
        "detection_scores",
        "num_detections",
        "raw_detection_boxes",
        "raw_detection_scores",
    ];
    assert_eq!(names, expected);
    assert!(found.pairs.iter().all(|pair| pair.by.elements > 0));
}

#[test]
fn models_of_one_training_agree_whatever_their_inputs() {
    let folder = Folder::new();
    let whole = export(
        &folder,
        "whole",
        GraphOptions::default(),
        InputLayout::Nhwc,
        "",
    );
    let mut batch = GraphOptions::new(InputType::FloatImageTensor);
    batch.batch = Some(Batch::Fixed(2));
    batch.input_size = Some([120, 200]);
    let batch = export(&folder, "batch", batch, InputLayout::Nchw, "");
    let mut network = GraphOptions::new(InputType::FloatImageTensor);
    network.stage = Stage::Encodings;
    network.no_preprocess = true;
    let network = export(&folder, "network", network, InputLayout::Nchw, "");
    let mut boxes = GraphOptions::default();
    boxes.stage = Stage::Boxes;
    let boxes = export(&folder, "boxes", boxes, InputLayout::Nhwc, "");
    let checkpoint = example("checkpoint");
    for (first, second, outputs) in [
        (&whole, &batch, 8),
        (&checkpoint, &batch, 8),
        (&network, &checkpoint, 2),
        (&boxes, &checkpoint, 2),
        (&whole, &boxes, 2),
    ] {
        let found = run(first, second, images()).unwrap();
        let what = format!("{} and {}: {found:?}", first.display(), second.display());
        assert_eq!(
            (found.outcome, found.pairs.len()),
            (Outcome::Same, outputs),
            "{what}"
        );
    }
    let notes = run(&whole, &batch, images()).unwrap().notes;
    assert!(
        notes[0].contains("resized to 120x200") && notes[1].contains("batch"),
        "{notes:?}"
    );
    // What the caller has to do is no difference to be found by doing it another way.
    let found = run(&whole, &network, images()).unwrap();
    assert_eq!(found.outcome, Outcome::Undecided);
    assert!(
        found.reason.contains("the first takes the image as it is"),
        "{}",
        found.reason
    );
}

/// SavedModels and frozen graphs of every kind of input that is run.
#[test]
fn graphs_of_tensorflow_give_what_the_checkpoint_gives() {
    let folder = Folder::new();
    let mut network = GraphOptions::new(InputType::FloatImageTensor);
    network.stage = Stage::Encodings;
    network.no_preprocess = true;
    let mut sized = GraphOptions::default();
    sized.batch = Some(Batch::Fixed(2));
    sized.input_size = Some([120, 200]);
    let batches = GraphOptions::new(InputType::FloatImageTensor);
    for (name, options, outputs) in [
        ("whole", GraphOptions::default(), 8),
        ("batches", batches, 8),
        ("sized", sized, 8),
        ("network", network, 2),
    ] {
        let mut export = Export::new(
            example("pipeline.config"),
            example("checkpoint"),
            folder.path(name),
        );
        export.graph = options;
        export.formats = vec![Format::SavedModel, Format::Frozen, Format::Onnx];
        export.run().unwrap();
        let [saved_model, frozen, onnx] =
            ["saved_model", "frozen.pb", "model.onnx"].map(|file| folder.path(name).join(file));
        let checkpoint = example("checkpoint");
        for (first, second) in [
            (&saved_model, &checkpoint),
            (&checkpoint, &frozen),
            (&saved_model, &frozen),
            (&onnx, &saved_model),
        ] {
            let found = run(first, second, images()).unwrap();
            let what = format!("{} and {}: {found:?}", first.display(), second.display());
            assert_eq!(found.outcome, Outcome::Same, "{what}");
            assert_eq!(found.pairs.len(), outputs, "{what}");
        }
    }
    let scaled = "model { ssd { post_processing { logit_scale: 2 } } }";
    let scaled = export(
        &folder,
        "scaled",
        GraphOptions::default(),
        InputLayout::Nhwc,
        scaled,
    );
    let frozen = folder.path("whole").join("frozen.pb");
    let found = run(&frozen, &scaled, images()).unwrap();
    assert_eq!(found.outcome, Outcome::Different);
}

#[test]
fn a_difference_is_named_with_its_place() {
    let folder = Folder::new();
    let scaled = "model { ssd { post_processing { logit_scale: 2 } } }";
    let model = export(
        &folder,
        "a",
        GraphOptions::default(),
        InputLayout::Nhwc,
        scaled,
    );
    let found = run(&example("checkpoint"), &model, images()).unwrap();
    assert_eq!(found.outcome, Outcome::Different);
    for pair in &found.pairs {
        let is_of_scores = pair.first.contains("scores");
        if is_of_scores || pair.first == "raw_detection_boxes" {
            assert_eq!(
                pair.by.is_within(found.tolerance),
                !is_of_scores,
                "{pair:?}"
            );
        }
    }
    let scores = found
        .pairs
        .iter()
        .find(|pair| pair.first == "raw_detection_scores");
    let farthest = scores.unwrap().by.farthest.clone().unwrap();
    assert_eq!(farthest.index.len(), 3);
    assert!(images().contains(&farthest.image));
}

/// A model of the field's operators: its nodes, its outputs, and an image of a fixed batch for input.
fn model(
    folder: &Folder,
    name: &str,
    batch: u64,
    nodes: &[Message],
    outputs: &[(&str, u64)],
) -> PathBuf {
    let mut graph =
        Message::new().message(11, onnx::fixed("image", onnx::FLOAT, &[batch, 2, 2, 3]));
    for node in nodes {
        graph = graph.message(1, node.clone());
    }
    for (output, kind) in outputs {
        graph = graph.message(12, onnx::fixed(output, *kind, &[]));
    }
    folder.write(name, &onnx::model(graph).0)
}

fn node(op: &str, inputs: &[&str], output: &str) -> Message {
    let node = Message::new().bytes(2, output).bytes(4, op);
    inputs.iter().fold(node, |node, input| node.bytes(1, input))
}

#[test]
fn what_cannot_be_run_is_said() {
    let folder = Folder::new();
    let whole = export(&folder, "a", GraphOptions::default(), InputLayout::Nhwc, "");
    let image = tf::placeholder("image", tf::UINT8, &[1, -1, -1, 3]);
    let graph = tf::graph(vec![image, tf::node("places", "Where", &["image"])]);
    let graph = folder.write("graph.pb", &graph.0);
    let bare = folder.checkpoint("bare/ckpt-1", &[("x", &[1], &[1.0])]);
    for (other, reason) in [
        (
            &graph,
            "the second is TensorFlow's, and cannot be run here: node `places` (Where) is no operation that graphs have here",
        ),
        (
            &bare,
            "the second is a checkpoint without a pipeline.config",
        ),
    ] {
        let found = run(&whole, other, images()).unwrap();
        assert_eq!(found.outcome, Outcome::NotCompared);
        assert!(found.reason.starts_with(reason), "{}", found.reason);
    }
    let reason = |path: &Path| {
        let found = run(path, path, images()).unwrap();
        assert_eq!(found.outcome, Outcome::Undecided);
        found.reason
    };
    let vector = Message::new()
        .message(11, onnx::value("x", onnx::FLOAT, &[8]))
        .message(12, onnx::value("x", onnx::FLOAT, &[8]));
    let vector = reason(&folder.write("vector.onnx", &onnx::model(vector).0));
    let expected = "the first has an input `x`, float32 [batch, 8]; expected images";
    assert!(vector.starts_with(expected), "{vector}");
    let unknown = [node("NoSuchOperator", &["image"], "y")];
    let unknown = reason(&model(
        &folder,
        "unknown.onnx",
        1,
        &unknown,
        &[("y", onnx::FLOAT)],
    ));
    assert!(
        unknown.contains("cannot be run: ")
            && unknown.contains("unknown.onnx: ")
            && unknown.contains("NoSuchOperator"),
        "{unknown}"
    );
    // Operators of others may be called like ONNX's.
    let theirs = [node("Relu", &["image"], "y")
        .bytes(3, "theirs")
        .bytes(7, "com.example")];
    let theirs = reason(&model(
        &folder,
        "theirs.onnx",
        1,
        &theirs,
        &[("y", onnx::FLOAT)],
    ));
    assert!(
        theirs.contains("node `theirs` has the operator `Relu` of the domain `com.example`"),
        "{theirs}"
    );
    let nothing = reason(&model(
        &folder,
        "nothing.onnx",
        1,
        &[],
        &[("y", onnx::FLOAT)],
    ));
    assert!(
        nothing.contains("nothing.onnx: nothing gives the output `y`"),
        "{nothing}"
    );
}

/// The command, which starts itself like this.
fn apart(memory: u64) -> Launch {
    Launch {
        program: env!("CARGO_BIN_EXE_tfod").into(),
        arguments: vec!["--run-model".into()],
        memory,
        threads: None,
        runtime: Runtime::default(),
    }
}

#[test]
fn a_process_of_its_own_gives_the_same() {
    let folder = Folder::new();
    let whole = export(&folder, "a", GraphOptions::default(), InputLayout::Nhwc, "");
    let scaled = "model { ssd { post_processing { logit_scale: 2 } } }";
    let scaled = export(
        &folder,
        "b",
        GraphOptions::default(),
        InputLayout::Nhwc,
        scaled,
    );
    let here = run(&whole, &scaled, images()).unwrap();
    let there = run_in(Some(apart(1_000_000_000)), &whole, &scaled, images()).unwrap();
    assert_eq!(here.outcome, Outcome::Different);
    assert_eq!(format!("{there:?}"), format!("{here:?}"));
    // What is wrong with a model is said alike.
    let unknown = [node("NoSuchOperator", &["image"], "y")];
    let unknown = model(&folder, "unknown.onnx", 1, &unknown, &[("y", onnx::FLOAT)]);
    let theirs = [node("Relu", &["image"], "y").bytes(7, "com.example")];
    let theirs = model(&folder, "theirs.onnx", 1, &theirs, &[("y", onnx::FLOAT)]);
    let nothing = model(&folder, "nothing.onnx", 1, &[], &[("y", onnx::FLOAT)]);
    for (other, expected) in [
        (&unknown, "NoSuchOperator"),
        (&theirs, "com.example"),
        (&nothing, "nothing gives the output `y`"),
    ] {
        let here = run(&unknown, other, images()).unwrap();
        let there = run_in(Some(apart(1_000_000_000)), &unknown, other, images()).unwrap();
        assert_eq!(there.outcome, Outcome::Undecided);
        assert_eq!(there.reason, here.reason);
        let alone = run_in(Some(apart(1_000_000_000)), other, other, images()).unwrap();
        assert!(alone.reason.contains(expected), "{}", alone.reason);
    }
}

/// A list of 64-bit integers.
fn sizes(name: &str, sizes: &[u64]) -> Message {
    let bytes: Vec<u8> = sizes.iter().flat_map(|size| size.to_le_bytes()).collect();
    Message::new()
        .varint(1, sizes.len() as u64)
        .varint(2, 7)
        .bytes(8, name)
        .bytes(9, bytes)
}

#[cfg(target_os = "linux")]
#[test]
fn a_model_that_asks_for_all_memory_is_named() {
    let folder = Folder::new();
    let small = [node("Relu", &["image"], "y")];
    let small = model(&folder, "small.onnx", 1, &small, &[("y", onnx::FLOAT)]);
    let nodes = [
        node("Expand", &["image", "shape"], "all"),
        node("Relu", &["all"], "y"),
    ];
    let graph = Message::new()
        .message(11, onnx::fixed("image", onnx::FLOAT, &[1, 2, 2, 3]))
        .messages(1, nodes)
        .message(5, sizes("shape", &[1 << 30, 2, 2, 3]))
        .message(12, onnx::fixed("y", onnx::FLOAT, &[]));
    let large = folder.write("large.onnx", &onnx::model(graph).0);
    let found = run_in(Some(apart(500_000_000)), &small, &large, images()).unwrap();
    assert_eq!(found.outcome, Outcome::Undecided, "{found:?}");
    let expected =
        "large.onnx: it asks for more than the 500000000 bytes of memory that it may have (";
    assert!(
        found.reason.starts_with("the second cannot be run: ") && found.reason.contains(expected),
        "{}",
        found.reason
    );
}

/// Whoever asked is gone, and nobody else would end it.
#[test]
fn a_process_ends_with_the_one_that_started_it() {
    let folder = Folder::new();
    let mut graph = Message::new()
        .message(11, onnx::fixed("image", onnx::FLOAT, &[1, 2, 2, 3]))
        .message(1, node("ReduceMean", &["image"], "mean"))
        .message(1, node("Expand", &["mean", "shape"], "y0"))
        .message(5, sizes("shape", &[1, 1, 2048, 2048]))
        .message(12, onnx::fixed("y999", onnx::FLOAT, &[]));
    for index in 1..1000 {
        let before = format!("y{}", index - 1);
        graph = graph.message(1, node("MatMul", &[&before, "y0"], &format!("y{index}")));
    }
    let path = folder.write("long.onnx", &onnx::model(graph).0);
    let launch = apart(1_000_000_000);
    let mut process = Command::new(launch.program)
        .args(launch.arguments)
        .arg(launch.memory.to_string())
        .arg("")
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut to = process.stdin.take().unwrap();
    let mut names = String::new();
    let mut from = BufReader::new(process.stdout.take().unwrap());
    from.read_line(&mut names).unwrap();
    assert_eq!(names, "{\"inputs\":[\"image\"],\"outputs\":[\"y999\"]}\n");
    writeln!(to, r#"{{"tensors": [["image", "float32", [1, 2, 2, 3]]]}}"#).unwrap();
    to.write_all(&[0; 48]).unwrap();
    to.flush().unwrap();
    assert!(process.try_wait().unwrap().is_none());
    drop(to);
    // It has more to compute than a minute is enough for.
    let end = Instant::now() + Duration::from_mins(1);
    while process.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            process.kill().unwrap();
            panic!("it goes on");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut answer = String::new();
    from.read_line(&mut answer).unwrap();
    assert_eq!(answer, "");
}

#[test]
fn a_process_that_ends_is_an_error() {
    let folder = Folder::new();
    let model = export(&folder, "a", GraphOptions::default(), InputLayout::Nhwc, "");
    let itself = PathBuf::from(env!("CARGO_BIN_EXE_tfod"));
    let mut cases = vec![
        (folder.path("missing"), vec!["x"], "no process of "),
        (
            itself,
            vec!["--run-model", "x"],
            "its process ended before it was done: exit status: 2 (error: expected a number",
        ),
    ];
    if cfg!(unix) {
        let aborted = "echo memory allocation of 5 bytes failed >&2; kill -ABRT $$";
        cases.extend([
            (
                "/bin/sh".into(),
                vec!["-c", "echo hello"],
                "its process cannot be understood: ",
            ),
            (
                "/bin/sh".into(),
                vec!["-c", "kill -KILL $$"],
                "its process ended before it was done: signal: 9 (SIGKILL), which the system sends where memory runs out",
            ),
            (
                "/bin/sh".into(),
                vec!["-c", aborted],
                "it asks for more than the 1000000000 bytes of memory that it may have (memory allocation of 5 bytes failed)",
            ),
        ]);
    }
    for (program, arguments, expected) in cases {
        let launch = Launch {
            program,
            arguments: arguments.into_iter().map(Into::into).collect(),
            memory: 1_000_000_000,
            threads: None,
            runtime: Runtime::default(),
        };
        let found = run_in(Some(launch), &model, &model, images()).unwrap();
        assert_eq!(found.outcome, Outcome::Undecided);
        assert!(found.reason.contains(expected), "{}", found.reason);
    }
}

#[test]
fn of_batches_what_is_of_one_image_is_compared() {
    let folder = Folder::new();
    let flat = |name: &str, batch| {
        let nodes = [
            node("Flatten", &["image"], "rows"),
            node("Relu", &["image"], "images"),
            node("Size", &["image"], "size"),
        ];
        let outputs = [
            ("rows", onnx::FLOAT),
            ("images", onnx::FLOAT),
            ("size", onnx::INT64),
        ];
        model(&folder, name, batch, &nodes, &outputs)
    };
    let (one, two) = (flat("one.onnx", 1), flat("two.onnx", 2));
    let found = run(&one, &two, images()).unwrap();
    let is_equal = |name: &str| {
        let pair = found.pairs.iter().find(|pair| pair.first == name).unwrap();
        assert!(pair.by.elements > 0, "{name}");
        pair.by.is_within(0.0)
    };
    // A number that is no result of an image is compared whole.
    assert!(
        is_equal("rows") && is_equal("images") && !is_equal("size"),
        "{found:?}"
    );
    assert_eq!(found.outcome, Outcome::Different);
    assert_eq!(run(&two, &two, images()).unwrap().outcome, Outcome::Same);
    // Where there are no numbers, none is the same.
    let nothing = [
        node("Sub", &["image", "image"], "zeros"),
        node("NonZero", &["zeros"], "places"),
    ];
    let nothing = model(
        &folder,
        "places.onnx",
        1,
        &nothing,
        &[("places", onnx::INT64)],
    );
    let found = run(&nothing, &nothing, images()).unwrap();
    assert_eq!(found.outcome, Outcome::Undecided);
    assert_eq!(found.reason, "there is nothing to compare in `places`");
}

#[cfg(unix)]
#[test]
fn names_of_images_may_be_any() {
    use std::os::unix::ffi::OsStrExt as _;

    let folder = Folder::new();
    let image = folder
        .path("")
        .join(std::ffi::OsStr::from_bytes(b"\xff.png"));
    std::fs::copy(example("images/test_1.png"), &image).unwrap();
    let different = ["Relu", "Neg"].map(|op| {
        model(
            &folder,
            op,
            1,
            &[node(op, &["image"], "y")],
            &[("y", onnx::FLOAT)],
        )
    });
    let mut options = OutputOptions::new(vec![image]);
    options.tolerance = 0.0;
    let mut aspects = Aspects::default();
    aspects.outputs = Some(options);
    let found = verify(&different[0], &different[1], &aspects).unwrap();
    assert!(
        found.json().to_string().contains("\u{fffd}.png"),
        "{}",
        found.json()
    );
}

#[test]
fn images_that_are_none_are_named() {
    let folder = Folder::new();
    let model = export(&folder, "a", GraphOptions::default(), InputLayout::Nhwc, "");
    let png = std::fs::read(example("images/test_1.png")).unwrap();
    // The header says 60000x60000.
    let mut large = png.clone();
    for at in [16, 20] {
        large[at..at + 4].copy_from_slice(&60_000u32.to_be_bytes());
    }
    for (name, bytes) in [
        ("empty.png", &[][..]),
        ("text.jpg", b"no image"),
        ("cut.png", &png[..png.len() / 2]),
        ("large.png", &large),
    ] {
        let image = folder.write(name, bytes);
        let error = run(&model, &model, vec![image]).unwrap_err().to_string();
        assert!(
            error.contains(name) && error.contains("not an image that can be read"),
            "{error}"
        );
    }
    let error = run(&model, &model, vec![folder.path("missing.png")]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("missing.png: cannot be read: No such file"),
        "{error}"
    );
    // Opening one would wait for a writer.
    #[cfg(unix)]
    {
        let fifo = folder.path("fifo.png");
        let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
        assert!(made.success());
        let error = run(&model, &model, vec![fifo]).unwrap_err().to_string();
        let expected = "fifo.png: cannot be read: expected a regular file, found a FIFO";
        assert!(error.contains(expected), "{error}");
    }
}
