//! The detector on the example's pictures, by other programs' truth of them; the page itself is tested in a browser, by `tests/page.py`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tfod::{Batch, Export, Format, Stage};
use tfod_image::Picture;
use tfod_onnx::InputLayout;
use tfod_page::detector::{Detection, Detector};

fn shapes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shapes")
}

/// The bytes of an exported model.
fn export(change: impl FnOnce(&mut Export)) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("export");
    let (config, checkpoint) = (
        shapes().join("pipeline.config"),
        shapes().join("checkpoint"),
    );
    let mut export = Export::new(config, checkpoint, &output);
    export.formats = vec![Format::Onnx];
    export.label_map = Some(shapes().join("label_map.pbtxt"));
    change(&mut export);
    export.run().unwrap();
    fs::read(output.join("model.onnx")).unwrap()
}

/// A picture's height, width and pixels, as a canvas gives them.
fn pixels(name: &str) -> (usize, usize, Vec<u8>) {
    let picture = Picture::open(&shapes().join("images").join(name)).unwrap();
    let (width, height) = picture.size();
    let rgb = picture.rgb(width, height);
    let (rgb, _) = rgb.as_chunks::<3>();
    let rgba = rgb
        .iter()
        .flat_map(|[red, green, blue]| [*red, *green, *blue, 255]);
    (height as usize, width as usize, rgba.collect())
}

fn detect(detector: &Detector, name: &str) -> Vec<Detection> {
    let (height, width, rgba) = pixels(name);
    detector.detect(height, width, &rgba).unwrap()
}

#[test]
fn finds_what_is_in_the_pictures() {
    let truth = fs::read(shapes().join("images/test_boxes.json")).unwrap();
    let truth: Value = serde_json::from_slice(&truth).unwrap();
    let detector = Detector::open(&export(|_| {})).unwrap();
    assert_eq!(
        detector.describe()["labels"],
        serde_json::json!(["circle", "square", "triangle"])
    );
    for (name, picture) in truth.as_object().unwrap() {
        let mut found = detect(&detector, name);
        assert!(found.is_sorted_by(|one, other| one.score >= other.score));
        found.retain(|detection| detection.score >= 0.5);
        let objects = picture["objects"].as_array().unwrap();
        assert_eq!(found.len(), objects.len(), "{name}: {found:?}");
        for object in objects {
            let edges = object["box"].as_array().unwrap();
            let is_it = |detection: &Detection| {
                let pairs = detection.edges.iter().zip(edges);
                let mut gaps =
                    pairs.map(|(one, other)| (f64::from(*one) - other.as_f64().unwrap()).abs());
                object["class"] == *detection.name
                    && object["id"] == detection.class
                    && gaps.all(|gap| gap < 0.03)
            };
            assert!(found.iter().any(is_it), "{name}: {object}: {found:?}");
        }
    }
}

#[test]
fn every_form_of_the_input_gives_the_same() {
    let name = "test_1.png";
    let expected = detect(&Detector::open(&export(|_| {})).unwrap(), name);
    let channels_first = export(|export| {
        export.graph.float_input = true;
        export.onnx.input_layout = InputLayout::Nchw;
    });
    let one_size = export(|export| {
        export.graph.batch = Some(Batch::Fixed(1));
        export.graph.input_size = Some([240, 180]);
    });
    for model in [channels_first, one_size] {
        let found = detect(&Detector::open(&model).unwrap(), name);
        assert_eq!(found.len(), expected.len());
        for (one, other) in found.iter().zip(&expected) {
            assert_eq!(one.class, other.class);
            let one = one.edges.iter().chain([&one.score]);
            let other = other.edges.iter().chain([&other.score]);
            assert!(
                one.zip(other)
                    .all(|(one, other)| (one - other).abs() < 1e-5)
            );
        }
    }
}

#[test]
fn classes_without_names_have_numbers() {
    let detector = Detector::open(&export(|export| export.label_map = None)).unwrap();
    let found = detect(&detector, "test_1.png");
    assert_eq!(found[0].name, "class 1", "{found:?}");
}

#[test]
fn other_models_and_pictures_are_refused() {
    let refused = |file: &[u8], expected: &str| {
        let problem = Detector::open(file).unwrap_err();
        assert!(problem.starts_with(expected), "{problem}");
    };
    refused(b"", "cannot be run: it has no graph");
    refused(
        b"\x89PNG\r\n\x1a\n",
        "cannot be run: it is damaged at byte ",
    );
    let heads = export(|export| export.graph.stage = Stage::Encodings);
    refused(
        &heads,
        "has no output detection_boxes, detection_classes, detection_scores, num_detections; expected a model",
    );
    let batch = export(|export| {
        export.graph.batch = Some(Batch::Fixed(2));
        export.graph.input_size = Some([160, 160]);
    });
    refused(&batch, "takes 2 pictures at once; expected");
    let network = export(|export| export.graph.no_preprocess = true);
    refused(
        &network,
        "takes pictures that were resized and normalised before; expected",
    );

    let one_size = export(|export| {
        export.graph.batch = Some(Batch::Fixed(1));
        export.graph.input_size = Some([160, 200]);
    });
    let detector = Detector::open(&one_size).unwrap();
    for (height, width, bytes, expected) in [
        (
            160,
            160,
            160 * 160 * 4,
            "the picture is 160x160; the model takes 200x160",
        ),
        (
            160,
            200,
            160 * 200 * 3,
            "a picture of 200x160 cannot have 96000 bytes",
        ),
    ] {
        let problem = detector.detect(height, width, &vec![0; bytes]).unwrap_err();
        assert_eq!(problem, expected);
    }
    let detector = Detector::open(&export(|_| {})).unwrap();
    for size in [0, usize::MAX] {
        let problem = detector.detect(size, size, &[]).unwrap_err();
        assert!(problem.ends_with("cannot have 0 bytes"), "{problem}");
    }
}
