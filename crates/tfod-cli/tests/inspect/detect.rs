//! `detect`: models are run on pictures, and what they find is printed, drawn and written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tfod::{Batch, Export, Format, GraphOptions, InputType, Stage};

use crate::make::{Folder, Message, example, onnx};

pub(crate) fn detect(arguments: &[&Path], flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tfod"));
    let command = command.arg("detect").args(arguments).args(flags);
    command.output().unwrap()
}

/// The lines of JSON that it prints, and its exit status; the last line is what was done.
fn found(arguments: &[&Path], flags: &[&str]) -> (Vec<Value>, i32) {
    let output = detect(arguments, &[&["--json"], flags].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!lines.is_empty(), "{errors}");
    (lines, output.status.code().unwrap())
}

fn refused(arguments: &[&Path], flags: &[&str]) -> (String, i32) {
    let output = detect(arguments, flags);
    let errors = String::from_utf8(output.stderr).unwrap();
    (errors, output.status.code().unwrap())
}

fn export(folder: &Folder, name: &str, graph: GraphOptions, formats: &[Format]) -> PathBuf {
    let config = example("pipeline.config");
    let mut export = Export::new(config, example("checkpoint"), folder.path(name));
    export.graph = graph;
    export.label_map = Some(example("label_map.pbtxt"));
    export.formats = formats.to_vec();
    export.run().unwrap();
    folder.path(name)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

/// How far the boxes and scores of two lines are apart; they have the same classes.
fn distance(one: &Value, other: &Value) -> f64 {
    let [one, other] = [one, other].map(|line| line["detections"].as_array().unwrap());
    assert_eq!(one.len(), other.len());
    let pairs = one.iter().zip(other);
    let apart = pairs.map(|(one, other)| {
        assert_eq!(one["class_id"], other["class_id"]);
        let sides = ["xmin", "ymin", "xmax", "ymax"].into_iter();
        let sides = sides.map(|side| number(&one["box"][side]) - number(&other["box"][side]));
        let score = number(&one["score"]) - number(&other["score"]);
        sides.chain([score]).map(f64::abs).fold(0.0, f64::max)
    });
    apart.fold(0.0, f64::max)
}

/// The part that two boxes have in common, of what either covers.
fn overlap(found: &Value, truth: &Value, [height, width]: [f64; 2]) -> f64 {
    let sides = [
        ("ymin", height),
        ("xmin", width),
        ("ymax", height),
        ("xmax", width),
    ];
    let found = sides.map(|(side, size)| number(&found["box"][side]) / size);
    let truth: Vec<f64> = truth["box"]
        .as_array()
        .unwrap()
        .iter()
        .map(number)
        .collect();
    let common = |least: usize| {
        let (from, to) = (
            found[least].max(truth[least]),
            found[least + 2].min(truth[least + 2]),
        );
        (to - from).max(0.0)
    };
    let area = |of: &[f64]| (of[2] - of[0]) * (of[3] - of[1]);
    let both = common(0) * common(1);
    both / (area(&found) + area(&truth) - both)
}

#[test]
fn a_trained_model_finds_what_is_there() {
    let truth = fs::read(example("images/test_boxes.json")).unwrap();
    let truth: Value = serde_json::from_slice(&truth).unwrap();
    let labels = example("label_map.pbtxt");
    let flags = ["--label_map", labels.to_str().unwrap()];
    let (lines, status) = found(&[&example("checkpoint"), &example("images")], &flags);
    assert_eq!((lines.len(), status), (3, 0));
    let mut count = 0;
    for line in &lines[..2] {
        let name = Path::new(line["image"].as_str().unwrap());
        let truth = &truth[name.file_name().unwrap().to_str().unwrap()]["objects"];
        let (truth, found) = (
            truth.as_array().unwrap(),
            line["detections"].as_array().unwrap(),
        );
        assert_eq!(truth.len(), found.len(), "{line}");
        let size = [number(&line["height"]), number(&line["width"])];
        for object in truth {
            let is_it =
                |one: &&Value| one["class"] == object["class"] && overlap(one, object, size) > 0.7;
            assert_eq!(found.iter().filter(is_it).count(), 1, "{object} {line}");
        }
        count += found.len();
    }
    let summary = &lines[2]["summary"];
    assert_eq!(
        (&summary["pictures"], &summary["detections"]),
        (&json!(2), &json!(count))
    );
}

#[test]
fn every_form_of_a_model_finds_the_same() {
    let folder = Folder::new();
    let formats = [Format::SavedModel, Format::Frozen, Format::Onnx];
    let whole = export(&folder, "whole", GraphOptions::default(), &formats);
    let (expected, _) = found(&[&example("checkpoint"), &example("images")], &[]);
    let models = formats.map(|format| whole.join(format.file()));
    for model in models.iter().chain([&whole]) {
        let (lines, status) = found(&[model, &example("images")], &[]);
        assert_eq!((lines.len(), status), (3, 0), "{}", model.display());
        for (line, expected) in lines.iter().zip(&expected).take(2) {
            assert!(distance(line, expected) < 1e-3, "{line} {expected}");
            let detections = line["detections"].as_array().unwrap();
            assert!(
                !detections.is_empty() && detections.iter().all(|one| one["class"].is_string())
            );
        }
    }
    // Several at once: as many as the model takes, or as there are.
    let mut three = GraphOptions::new(InputType::FloatImageTensor);
    three.batch = Some(Batch::Fixed(3));
    let three = export(&folder, "three", three, &[Format::Onnx]);
    let any = GraphOptions::new(InputType::FloatImageTensor);
    let any = export(&folder, "any", any, &[Format::Onnx]);
    for (model, flags) in [
        (three, &[][..]),
        (any.clone(), &["--batch", "2"]),
        (any, &["--threads", "1"]),
        (example("checkpoint"), &["--batch", "5"]),
    ] {
        let (lines, _) = found(&[&model, &example("images")], flags);
        for (line, expected) in lines.iter().zip(&expected).take(2) {
            assert!(
                distance(line, expected) < 1e-3,
                "{flags:?} {line} {expected}"
            );
        }
    }
}

#[test]
fn only_what_is_wanted_is_found() {
    let folder = Folder::new();
    let model = export(&folder, "a", GraphOptions::default(), &[Format::Onnx]);
    let classes = |flags: &[&str]| -> Vec<String> {
        let (lines, _) = found(&[&model, &example("images")], flags);
        let found = lines[..2]
            .iter()
            .flat_map(|line| line["detections"].as_array().unwrap());
        let names = found.map(|one| one["class"].as_str().unwrap().to_owned());
        names.collect()
    };
    let all = classes(&[]);
    let circles = all.iter().filter(|name| *name == "circle").count();
    assert!(circles > 0 && circles < all.len());
    assert_eq!(classes(&["--classes", "circle"]), vec!["circle"; circles]);
    assert_eq!(classes(&["--classes", "1"]), vec!["circle"; circles]);
    assert!(classes(&["--score_threshold", "0"]).len() > all.len());
    assert_eq!(classes(&["--score_threshold", "1"]), Vec::<String>::new());
    let (errors, status) = refused(&[&model, &example("images")], &["--classes", "dog"]);
    assert_eq!(status, 2);
    assert_eq!(
        errors,
        "error: --classes `dog`: no class has this name; there are circle, square, triangle\n"
    );
}

#[test]
fn broken_pictures_are_named_and_passed_over() {
    let folder = Folder::new();
    let pictures = folder.path("pictures");
    fs::create_dir(&pictures).unwrap();
    let good = fs::read(example("images/test_2.jpg")).unwrap();
    folder.write("pictures/b.jpg", &good);
    folder.write("pictures/c.jpg", &good[..good.len() / 3]);
    folder.write("pictures/a.png", b"\x89PNG\r\n\x1a\nno more");
    folder.write("pictures/d.gif", b"");
    folder.write("pictures/e.bmp", b"line\nbreak");
    folder.write("pictures/notes.txt", b"");
    fs::create_dir(pictures.join("f.jpg")).unwrap();
    let output = folder.path("out");
    let written = detect(
        &[&example("checkpoint"), &pictures],
        &["--output", output.to_str().unwrap()],
    );
    let errors = String::from_utf8(written.stderr).unwrap();
    assert_eq!(written.status.code(), Some(3), "{errors}");
    let lines = fs::read_to_string(output.join("detections.jsonl")).unwrap();
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let names = lines.iter().map(|line| line["image"].as_str().unwrap());
    let names: Vec<&str> = names.map(|name| &name[name.len() - 5..]).collect();
    assert_eq!(names, ["a.png", "b.jpg", "c.jpg", "d.gif", "e.bmp"]);
    for (name, line) in names.iter().zip(&lines) {
        let is_good = *name == "b.jpg" || line["error"].is_null();
        assert_eq!(line["detections"].is_array(), is_good, "{line}");
        let is_named = errors.contains(&format!("{name}: not an image that can be read"));
        assert_eq!(is_named, !is_good, "{errors}");
    }
    assert!(output.join("drawn/b.jpg").is_file() && !output.join("drawn/a.png").exists());
    // Not a part of it is left by a run that fails.
    let nothing = folder.path("nothing");
    let flags = ["--output", nothing.to_str().unwrap()];
    let (errors, status) = refused(&[&folder.path("missing"), &pictures], &flags);
    assert_eq!(status, 1, "{errors}");
    let (_, status) = refused(&[&example("checkpoint"), &folder.path("missing")], &flags);
    assert_eq!(status, 1);
    assert!(!nothing.exists());
}

#[test]
fn models_that_end_elsewhere_are_refused() {
    let folder = Folder::new();
    let refuses = |model: &Path, expected: &str| {
        let (errors, status) = refused(&[model, &example("images")], &[]);
        assert_eq!(status, 1);
        assert!(errors.contains(expected), "{errors}");
    };
    let mut boxes = GraphOptions::default();
    boxes.stage = Stage::Boxes;
    let boxes = export(&folder, "boxes", boxes, &[Format::Onnx]);
    refuses(&boxes, "model.onnx: gives no `detection_boxes`");
    let mut network = GraphOptions::new(InputType::FloatImageTensor);
    network.no_preprocess = true;
    let network = export(&folder, "network", network, &[Format::Onnx]);
    refuses(&network, "leaves preprocessing to its caller");
    refuses(&example("pipeline.config"), "is a config without weights");
    refuses(&example("images/test_1.png"), "a PNG image");
    let bare = folder.checkpoint("bare/ckpt-1", &[("x", &[1], &[1.0])]);
    refuses(&bare, "is a checkpoint without a pipeline.config");
}

fn node(op: &str, inputs: &[&str], output: &str) -> Message {
    let node = Message::new().bytes(2, output).bytes(4, op);
    inputs.iter().fold(node, |node, input| node.bytes(1, input))
}

/// A model that finds the same two objects in every picture: with masks and keypoints, and names for all.
pub(crate) fn fixed_model(folder: &Folder, name: &str, boxes: &[f32; 8]) -> PathBuf {
    let outputs: [(&str, &[u64], Vec<f32>); 7] = [
        ("detection_boxes", &[1, 2, 4], boxes.to_vec()),
        ("detection_classes", &[1, 2], vec![2.0, 1.0]),
        ("detection_scores", &[1, 2], vec![0.9, 0.75]),
        ("num_detections", &[1], vec![2.0]),
        (
            "detection_masks",
            &[1, 2, 2, 2],
            vec![1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        ),
        (
            "detection_keypoints",
            &[1, 2, 2, 2],
            vec![0.25, 0.25, 0.75, 0.75, 0.0, 0.0, 0.5, 0.5],
        ),
        (
            "detection_keypoint_scores",
            &[1, 2, 2],
            vec![0.9, 0.8, 0.0, 0.7],
        ),
    ];
    let image = onnx::fixed("image", onnx::FLOAT, &[1, 64, 64, 3]);
    let mut graph = Message::new().message(11, image);
    for (key, sizes, values) in outputs {
        let constant = format!("{key}/value");
        let shape: Vec<u64> = sizes.to_vec();
        graph = graph
            .message(5, onnx::initializer(&constant, sizes, &values))
            .message(1, node("Identity", &[&constant], key))
            .message(12, onnx::fixed(key, onnx::FLOAT, &shape));
    }
    let metadata = [
        (
            "labels",
            r#"[{"id": 1, "name": "dog"}, {"id": 2, "name": "a \"cat\", or so"}]"#,
        ),
        ("keypoints", r#"["nose", "tail"]"#),
        ("keypoint_edges", "[[0, 1]]"),
    ];
    let metadata = metadata.map(|(key, value)| Message::new().bytes(1, key).bytes(2, value));
    folder.write(name, &onnx::model(graph).messages(14, metadata).0)
}

#[test]
fn masks_and_keypoints_are_written() {
    let folder = Folder::new();
    let boxes = [0.25, 0.25, 0.75, 0.75, 0.0, 0.0, 1.0, 1.0];
    let model = fixed_model(&folder, "fixed.onnx", &boxes);
    let output = folder.path("out");
    let flags = ["--output", output.to_str().unwrap()];
    let picture = example("images/test_1.png");
    let done = detect(&[&model, &picture], &flags);
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(
        text.contains("1 picture, 2 detections with scores from 0.5 on: 1 dog, 1 a \"cat\", or so"),
        "{text}"
    );
    let line = fs::read_to_string(output.join("detections.jsonl")).unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    let first = &line["detections"][0];
    assert_eq!(first["class"], "a \"cat\", or so");
    assert_eq!(
        first["box"],
        json!({ "xmin": 45.0, "ymin": 60.0, "xmax": 135.0, "ymax": 180.0 })
    );
    assert_eq!(first["mask"]["size"], json!([240, 180]));
    let keypoint = |name, x, y, score| json!({ "name": name, "x": x, "y": y, "score": score });
    let keypoints = json!([
        keypoint("nose", 45.0, 60.0, 0.9),
        keypoint("tail", 135.0, 180.0, 0.8)
    ]);
    assert_eq!(first["keypoints"], keypoints);
    let coco = fs::read(output.join("coco_results.json")).unwrap();
    let coco: Value = serde_json::from_slice(&coco).unwrap();
    assert_eq!(coco[0]["bbox"], json!([45.0, 60.0, 90.0, 120.0]));
    assert_eq!(coco[0]["segmentation"], first["mask"]);
    // The number in the picture's name.
    assert_eq!(coco[0]["image_id"], 1);
    assert_eq!(coco[1]["keypoints"], json!([0.0, 0.0, 0, 90.0, 120.0, 1]));
    // Nothing of the second mask is covered.
    assert_eq!(coco[1]["segmentation"]["counts"], "PVZ1");
    let table = fs::read_to_string(output.join("detections.csv")).unwrap();
    let row = format!(
        "{},1,180,240,2,\"a \"\"cat\"\", or so\",0.9,45,60,135,180",
        picture.display()
    );
    assert!(table.contains(&row), "{table}");
    let drawn = tfod_image::Picture::open(&output.join("drawn/test_1.png")).unwrap();
    assert_eq!(drawn.size(), (360, 480));

    let problem = fixed_model(&folder, "nan.onnx", &[f32::NAN; 8]);
    let (errors, status) = refused(&[&problem, &picture], &[]);
    assert!(
        errors.contains("test_1.png: ") && errors.contains("NaN in `detection_boxes`"),
        "{errors}"
    );
    assert_eq!(status, 3);
}

/// A record of an example with these features of bytes, and a box of the class 1 in its left half.
fn record(features: &[(&str, &[u8])], size: [u64; 2]) -> Vec<u8> {
    let entry = |name: &str, feature: Message| Message::new().bytes(1, name).message(2, feature);
    let texts = features.iter().map(|(name, bytes)| {
        entry(
            name,
            Message::new().message(1, Message::new().bytes(1, bytes)),
        )
    });
    let number = |number: u64| Message::new().message(3, Message::new().varint(1, number));
    let sides = [("ymin", 0.0), ("xmin", 0.0), ("ymax", 1.0), ("xmax", 0.5)];
    let sides = sides.map(|(side, value)| {
        let value = Message::new().bytes(1, crate::make::floats(&[value]));
        entry(
            &format!("image/object/bbox/{side}"),
            Message::new().message(2, value),
        )
    });
    let features = Message::new()
        .messages(1, texts)
        .messages(1, sides)
        .message(1, entry("image/object/class/label", number(1)))
        .message(1, entry("image/width", number(size[0])))
        .message(1, entry("image/height", number(size[1])));
    let content = Message::new().message(1, features).0;
    let length = (content.len() as u64).to_le_bytes();
    let crc = |bytes: &[u8]| tfod_checkpoint::masked_crc(bytes).to_le_bytes();
    [&length[..], &crc(&length), &content, &crc(&content)].concat()
}

#[test]
fn pictures_are_taken_out_of_tfrecords() {
    let folder = Folder::new();
    let [png, jpeg] =
        ["images/test_1.png", "images/test_2.jpg"].map(|name| fs::read(example(name)).unwrap());
    let size = [180, 240];
    let records = [
        record(
            &[("image/filename", b"../../b.png"), ("image/encoded", &png)],
            size,
        ),
        record(
            &[("image/source_id", b"42"), ("image/encoded", &jpeg)],
            size,
        ),
        record(
            &[("image/filename", b"c.jpg"), ("image/encoded", b"no image")],
            size,
        ),
        record(&[("image/filename", b"d.jpg")], size),
        record(&[("image/encoded", &png)], size),
    ];
    let all = folder.write("val.record-00000-of-00001", &records.concat());
    let output = folder.path("out");
    let done = detect(
        &[&example("checkpoint"), &all],
        &["--output", output.to_str().unwrap()],
    );
    let errors = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(3), "{errors}");
    let place = all.display();
    let expected = format!("warning: {place}: record 2 (c.jpg): not an image that can be read: ");
    assert!(errors.contains(&expected), "{errors}");
    let expected = format!(
        "warning: {place}: record 3 (d.jpg): `image/encoded` is missing: there is no image in the record; passed over\n"
    );
    assert!(errors.contains(&expected), "{errors}");
    let lines = fs::read_to_string(output.join("detections.jsonl")).unwrap();
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (files, _) = found(&[&example("checkpoint"), &example("images")], &[]);
    for (line, file, name, number, drawn) in [
        (&lines[0], &files[0], "../../b.png", 0, "drawn/b.png"),
        (&lines[1], &files[1], "42", 1, "drawn/42.png"),
        (&lines[4], &files[0], "record 4", 4, "drawn/record 4.png"),
    ] {
        assert_eq!(line["image"], name);
        let record = json!({ "file": all.to_str().unwrap(), "number": number });
        assert_eq!(line["record"], record);
        assert_eq!(line["detections"], file["detections"]);
        assert_eq!(line["drawn"], drawn);
        assert!(output.join(drawn).is_file());
    }
    assert!(!folder.path("b.png").exists());

    // The annotations that are in it are of its own pictures, whatever these are called; those of another file are found by name.
    let same = record(
        &[("image/filename", b"a.png"), ("image/encoded", &png)],
        size,
    );
    let twice = folder.write("twice.record", &[&same[..], &same].concat());
    let annotations = |given: &Path, truth: &Path| {
        let model = fixed_model(
            &folder,
            "fixed.onnx",
            &[0.0, 0.5, 1.0, 1.0, 0.0, 0.0, 1.0, 0.5],
        );
        found(
            &[&model, given],
            &["--annotations", truth.to_str().unwrap()],
        )
    };
    let (lines, status) = annotations(&twice, &twice);
    assert_eq!((lines.len(), status), (3, 0));
    assert_eq!(
        (&lines[0]["image_id"], &lines[1]["image_id"]),
        (&json!(1), &json!(2))
    );
    let evaluation = &lines[2]["summary"]["evaluation"];
    assert_eq!(
        (&evaluation["images"], &evaluation["boxes"]["AP"]),
        (&json!(2), &json!(1.0))
    );
    let once = folder.write("once.record", &same);
    let (lines, _) = annotations(&once, &folder.write("other.record", &same));
    assert_eq!(lines[1]["summary"]["evaluation"]["images"], 1);

    // What comes before damage is looked at.
    let cut = folder.write("cut.record", &twice_without_end(&same));
    let (lines, status) = found(&[&example("checkpoint"), &cut], &[]);
    assert_eq!((lines.len(), status), (2, 3));
    let problem = &lines[1]["summary"]["passed_over"][0]["problem"];
    assert!(
        problem
            .as_str()
            .unwrap()
            .contains("cut.record: cannot be read: record 1, from byte "),
        "{problem}"
    );
}

fn twice_without_end(record: &[u8]) -> Vec<u8> {
    [record, &record[..record.len() - 9]].concat()
}

#[test]
fn pictures_are_turned_when_asked_for() {
    let folder = Folder::new();
    let boxes = [0.0, 0.0, 1.0, 0.5, 0.0, 0.0, 1.0, 1.0];
    let model = fixed_model(&folder, "fixed.onnx", &boxes);
    let picture = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tfod-image/tests/fixtures/orientation_6.jpg");
    let note = "not turned as Exif data say: 1 picture; with --exif_orientation they are";
    let output = folder.path("out");
    let output_flags = ["--output", output.to_str().unwrap()];
    for (flags, [width, height], unturned) in [
        (&[][..], [27, 13], 1),
        (&["--exif_orientation"], [13, 27], 0),
    ] {
        let done = detect(&[&model, &picture], &[&output_flags, flags].concat());
        let text = String::from_utf8(done.stdout).unwrap();
        assert_eq!(text.contains(note), unturned == 1, "{text}");
        let line = fs::read_to_string(output.join("detections.jsonl")).unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&line["width"], &line["height"]),
            (&json!(width), &json!(height))
        );
        let sides = &line["detections"][0]["box"];
        let right = f64::from(width) / 2.0;
        assert_eq!(
            (&sides["xmax"], &sides["ymax"]),
            (&json!(right), &json!(f64::from(height)))
        );
        let drawn = output.join("drawn/orientation_6.jpg");
        let (wide, high) = tfod_image::Picture::open(&drawn).unwrap().size();
        assert_eq!(wide > high, width > height, "{wide}x{high}");
        let record: Value =
            serde_json::from_slice(&fs::read(output.join("detect.json")).unwrap()).unwrap();
        assert_eq!(record["orientation_ignored"], unturned);
    }
}

#[test]
fn pixels_are_those_of_the_program_that_is_named() {
    let line = |flags: &[&str]| {
        let (lines, _) = found(
            &[&example("checkpoint"), &example("images/test_2.jpg")],
            flags,
        );
        lines[0].clone()
    };
    let tensorflow = line(&[]);
    assert_eq!(line(&["--pixels", "tensorflow"]), tensorflow);
    let pillow = line(&["--pixels", "pillow"]);
    let apart = distance(&pillow, &tensorflow);
    assert!(apart > 0.0 && apart < 1.0, "{apart}");
    let (errors, status) = refused(
        &[&example("checkpoint"), &example("images")],
        &["--pixels", "opencv"],
    );
    assert_eq!(status, 2);
    assert!(
        errors.contains("[possible values: tensorflow, pillow]"),
        "{errors}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_model_that_asks_for_all_memory_is_ended() {
    let folder = Folder::new();
    let sizes = [1 << 30, 64u64, 64, 3].into_iter();
    let sizes: Vec<u8> = sizes.flat_map(u64::to_le_bytes).collect();
    let sizes = Message::new()
        .varint(1, 4)
        .varint(2, onnx::INT64)
        .bytes(8, "sizes")
        .bytes(9, sizes);
    let image = onnx::fixed("image", onnx::FLOAT, &[1, 64, 64, 3]);
    let mut graph = Message::new()
        .message(11, image)
        .message(5, sizes)
        .message(1, node("Expand", &["image", "sizes"], "all"));
    for key in [
        "detection_boxes",
        "detection_classes",
        "detection_scores",
        "num_detections",
    ] {
        graph = graph
            .message(1, node("Relu", &["all"], key))
            .message(12, onnx::fixed(key, onnx::FLOAT, &[]));
    }
    let model = folder.write("large.onnx", &onnx::model(graph).0);
    let picture = example("images/test_1.png");
    let (errors, status) = refused(&[&model, &picture], &["--max_memory", "0.5"]);
    let expected = "it asks for more than the 500000000 bytes of memory that it may have";
    assert!(errors.contains(expected), "{errors}");
    assert_eq!(status, 3, "{errors}");
    // It is not tried for ever.
    let many = vec![&*picture; 5];
    let all = [&[&*model][..], &many].concat();
    let (errors, status) = refused(&all, &["--max_memory", "0.5"]);
    assert_eq!(
        (errors.matches(expected).count(), status),
        (3, 1),
        "{errors}"
    );
}

#[test]
fn what_is_there_is_not_overwritten() {
    let folder = Folder::new();
    let boxes = [0.25, 0.25, 0.75, 0.75, 0.0, 0.0, 1.0, 1.0];
    let model = fixed_model(&folder, "fixed.onnx", &boxes);
    let output = folder.path("out");
    let picture = example("images/test_1.png");
    let run = |flags: &[&str]| {
        let flags = [&["--output", output.to_str().unwrap()], flags].concat();
        refused(&[&model, &picture], &flags)
    };
    let mine = folder.write("out/detections.csv", b"mine");
    let (errors, status) = run(&[]);
    assert_eq!(status, 1);
    let start = format!(
        "error: {}: expected nothing, found something",
        mine.display()
    );
    assert!(errors.starts_with(&start), "{errors}");
    assert_eq!(fs::read(&mine).unwrap(), b"mine");
    fs::remove_file(&mine).unwrap();
    folder.write("out/notes.txt", b"mine");
    for flags in [&[][..], &["--write", "coco,csv"], &[]] {
        assert_eq!(run(flags), (String::new(), 0));
        assert!(mine.is_file());
        assert_eq!(output.join("drawn").exists(), flags.is_empty());
    }
    assert_eq!(fs::read(folder.path("out/notes.txt")).unwrap(), b"mine");
    let entries = fs::read_dir(&output).unwrap().count();
    assert_eq!(entries, 6, "nothing unfinished is left");
}
