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
        found.reason.contains("what its caller makes of them"),
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

#[test]
fn what_cannot_be_run_is_said() {
    let folder = Folder::new();
    let model = export(&folder, "a", GraphOptions::default(), InputLayout::Nhwc, "");
    let graph = folder.write(
        "graph.pb",
        &tf::graph(vec![tf::placeholder("image", tf::UINT8, &[1, -1, -1, 3])]).0,
    );
    let bare = folder.checkpoint("bare/ckpt-1", &[("x", &[1], &[1.0])]);
    for (other, reason) in [
        (&graph, "the second is TensorFlow's"),
        (
            &bare,
            "the second is a checkpoint without a pipeline.config",
        ),
    ] {
        let found = run(&model, other, images()).unwrap();
        assert_eq!(found.outcome, Outcome::NotCompared);
        assert!(found.reason.starts_with(reason), "{}", found.reason);
    }
    let input = onnx::value("x", onnx::FLOAT, &[8]);
    let no_images = Message::new()
        .message(11, input)
        .message(12, onnx::value("x", onnx::FLOAT, &[8]));
    let no_images = folder.write("vector.onnx", &onnx::model(no_images).0);
    let found = run(&no_images, &model, images()).unwrap();
    assert_eq!(found.outcome, Outcome::Undecided);
    assert!(
        found
            .reason
            .starts_with("the first has an input `x`, float32 [batch, 8]; expected images"),
        "{}",
        found.reason
    );
    // An operator that nobody has.
    let node = Message::new()
        .bytes(1, "image")
        .bytes(2, "y")
        .bytes(4, "NoSuchOperator");
    let unknown = Message::new()
        .message(1, node)
        .message(11, onnx::value("image", onnx::FLOAT, &[4, 4, 3]))
        .message(12, onnx::value("y", onnx::FLOAT, &[1]));
    let unknown = folder.write("unknown.onnx", &onnx::model(unknown).0);
    let error = run(&unknown, &unknown, images()).unwrap_err().to_string();
    assert!(
        error.contains("unknown.onnx: cannot be run") && error.contains("NoSuchOperator"),
        "{error}"
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
    assert!(run(&model, &model, vec![folder.path("missing.png")]).is_err());
}
