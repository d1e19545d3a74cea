//! `verify` on images: models are run, and what they give is compared.

use std::path::{Path, PathBuf};

use tfod::verify::{Aspects, Outcome, OutputOptions, OutputsResult, VerifyError, verify};
use tfod::{
    Batch, Export, Format, GraphOptions, InputLayout, InputType, Layout, OnnxChoices, Stage,
    Thresholds,
};

use crate::make::{Folder, Message, example, onnx, tensorflow as tf};

fn export(
    folder: &Folder,
    name: &str,
    graph: GraphOptions,
    layout: InputLayout,
    merged: &str,
) -> PathBuf {
    Export {
        graph,
        signatures: Vec::new(),
        pipeline_config: example("pipeline.config"),
        checkpoint_dir: example("checkpoint"),
        checkpoint: None,
        config_override: merged.to_owned(),
        thresholds: Thresholds::default(),
        label_map: None,
        formats: vec![Format::Onnx],
        onnx: OnnxChoices {
            input_layout: layout,
            ..OnnxChoices::default()
        },
        layout: Layout::Official,
        output: folder.path(name),
    }
    .run()
    .unwrap();
    folder.path(name).join("model.onnx")
}

fn run(first: &Path, second: &Path, images: Vec<PathBuf>) -> Result<OutputsResult, VerifyError> {
    let aspects = Aspects {
        interface: false,
        structure: false,
        weights: false,
        outputs: Some(OutputOptions {
            images,
            tolerance: OutputOptions::TOLERANCE,
        }),
    };
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
    let batch = GraphOptions {
        batch: Some(Batch::Fixed(2)),
        input_size: Some([120, 200]),
        ..GraphOptions::new(InputType::FloatImageTensor)
    };
    let batch = export(&folder, "batch", batch, InputLayout::Nchw, "");
    let network = GraphOptions {
        stage: Stage::Encodings,
        no_preprocess: true,
        ..GraphOptions::new(InputType::FloatImageTensor)
    };
    let network = export(&folder, "network", network, InputLayout::Nchw, "");
    let boxes = GraphOptions {
        stage: Stage::Boxes,
        ..GraphOptions::default()
    };
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
fn model(folder: &Folder, name: &str, batch: u64, nodes: &[Message], outputs: &[&str]) -> PathBuf {
    let mut graph =
        Message::new().message(11, onnx::fixed("image", onnx::FLOAT, &[batch, 2, 2, 3]));
    for node in nodes {
        graph = graph.message(1, node.clone());
    }
    for output in outputs {
        graph = graph.message(12, onnx::fixed(output, onnx::FLOAT, &[]));
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
    let graph = tf::graph(vec![tf::placeholder("image", tf::UINT8, &[1, -1, -1, 3])]);
    let graph = folder.write("graph.pb", &graph.0);
    let bare = folder.checkpoint("bare/ckpt-1", &[("x", &[1], &[1.0])]);
    for (other, reason) in [
        (&graph, "the second is TensorFlow's"),
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
    let unknown = reason(&model(&folder, "unknown.onnx", 1, &unknown, &["y"]));
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
    let theirs = reason(&model(&folder, "theirs.onnx", 1, &theirs, &["y"]));
    assert!(
        theirs.contains("node `theirs` has the operator `Relu` of the domain `com.example`"),
        "{theirs}"
    );
    // No node gives this one, at which the runtime panics.
    let nothing = reason(&model(&folder, "nothing.onnx", 1, &[], &["y"]));
    assert!(
        nothing.contains("nothing.onnx: the runtime panicked"),
        "{nothing}"
    );
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
        model(&folder, name, batch, &nodes, &["rows", "images", "size"])
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
    let nothing = model(&folder, "places.onnx", 1, &nothing, &["places"]);
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
    let different =
        ["Relu", "Neg"].map(|op| model(&folder, op, 1, &[node(op, &["image"], "y")], &["y"]));
    let aspects = Aspects {
        outputs: Some(OutputOptions {
            images: vec![image],
            tolerance: 0.0,
        }),
        ..Aspects::default()
    };
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
}
