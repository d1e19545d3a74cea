//! Formats and where they go: what is written in one go is what is written step by step.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "common/binary.rs"]
mod binary;
#[path = "common/constants.rs"]
mod constants;

use std::fs;
use std::path::Path;
use std::process::Command;

use prost::Message as _;
use tfod_proto::{GraphDef, SavedModel};

use binary::binary;

fn tfod(arguments: &[&str]) {
    let output = Command::new(binary()).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
}

fn export(output: &Path, options: &[&str]) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shapes");
    let config = example.join("pipeline.config");
    let checkpoint = example.join("checkpoint");
    let mut arguments = vec![
        "export",
        "--pipeline_config_path",
        config.to_str().unwrap(),
        "--trained_checkpoint_dir",
        checkpoint.to_str().unwrap(),
        "--output_directory",
        output.to_str().unwrap(),
    ];
    arguments.extend(options);
    tfod(&arguments);
}

#[test]
fn a_frozen_export_is_the_frozen_saved_model() {
    let root = tempfile::tempdir().unwrap();
    let both = root.path().join("both");
    export(&both, &["--format", "saved_model,frozen"]);
    let in_one_go = fs::read(both.join("frozen.pb")).unwrap();
    let saved_model = both.join("saved_model");
    let saved_model = saved_model.to_str().unwrap();
    let step_by_step = root.path().join("frozen.pb");
    tfod(&[
        "freeze",
        "--saved_model_dir",
        saved_model,
        "--output",
        step_by_step.to_str().unwrap(),
    ]);
    assert!(!in_one_go.is_empty());
    assert_eq!(in_one_go, fs::read(step_by_step).unwrap());

    let alone = root.path().join("alone");
    export(&alone, &["--format", "frozen"]);
    assert_eq!(in_one_go, fs::read(alone.join("frozen.pb")).unwrap());
    assert!(!alone.join("saved_model").exists());
    assert!(alone.join("checkpoint").is_dir());
}

/// Labels of an earlier export are not taken for somebody's own files.
#[test]
fn class_names_come_and_go_with_their_export() {
    let root = tempfile::tempdir().unwrap();
    let labels =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shapes/label_map.pbtxt");
    let output = root.path().join("exported");
    export(&output, &["--label_map", labels.to_str().unwrap()]);
    let assets = output.join("saved_model/assets");
    let lines = fs::read_to_string(assets.join("labels.txt")).unwrap();
    assert_eq!(lines, "circle\nsquare\ntriangle\n");
    fs::write(assets.join("mine.txt"), "mine").unwrap();
    export(&output, &[]);
    let left: Vec<_> = fs::read_dir(&assets).unwrap().flatten().collect();
    let left: Vec<_> = left.iter().map(fs::DirEntry::file_name).collect();
    assert_eq!(left, ["mine.txt"]);
}

#[test]
fn other_formats_have_the_main_signature() {
    let root = tempfile::tempdir().unwrap();
    let signatures = "b=encoded_image_string_tensor:image_bytes,serving_default=image_tensor";
    let several = root.path().join("several");
    let all = "saved_model,frozen,onnx";
    export(&several, &["--signatures", signatures, "--format", all]);
    let one = root.path().join("one");
    export(&one, &["--format", all]);
    for file in ["frozen.pb", "model.onnx"] {
        let [several, one] = [&several, &one].map(|folder| fs::read(folder.join(file)).unwrap());
        assert_eq!(several, one, "{file}");
    }
}

/// As `tf.io.write_graph(graph, logdir, name)`: the folder is made.
#[test]
fn logdir_and_name_are_the_parts_of_an_output() {
    let root = tempfile::tempdir().unwrap();
    let exported = root.path().join("exported");
    export(&exported, &["--format", "saved_model,frozen"]);
    let saved_model = exported.join("saved_model");
    let logdir = root.path().join("logs/graphs");
    for (name, is_text) in [("frozen.pb", false), ("frozen.pbtxt", true)] {
        tfod(&[
            "freeze",
            "--saved_model_dir",
            saved_model.to_str().unwrap(),
            "--logdir",
            logdir.to_str().unwrap(),
            "--name",
            name,
        ]);
        let written = fs::read(logdir.join(name)).unwrap();
        if is_text {
            assert!(written.starts_with(b"node {"));
        } else {
            assert_eq!(written, fs::read(exported.join("frozen.pb")).unwrap());
        }
    }
}

/// The member of a manifest that lists inputs or outputs: name, shape and layout of the first.
fn first_input(of: &serde_json::Value) -> (String, String) {
    let input = &of["inputs"][0];
    (input["shape"].to_string(), input["layout"].to_string())
}

fn json(text: impl AsRef<[u8]>) -> serde_json::Value {
    serde_json::from_slice(text.as_ref()).unwrap()
}

/// The input that an ONNX model has, by `tfod inspect`, and its metadata.
fn onnx_input(model: &Path) -> (String, serde_json::Value) {
    let found = tfod_inspect::inspect(model).unwrap();
    let tfod_inspect::Facts::Onnx(facts) = &found.facts else {
        panic!("not an ONNX model");
    };
    let metadata = json(&facts.metadata["inputs"]);
    (facts.inputs[0].shape_text(), metadata)
}

#[test]
fn channels_first_is_told_wherever_inputs_are() {
    let root = tempfile::tempdir().unwrap();
    let nchw = ["--input_layout", "nchw", "--input_size", "64x96"];
    let first = ("[1,3,64,96]".to_owned(), r#""NCHW""#.to_owned());
    let last = ("[1,64,96,3]".to_owned(), r#""NHWC""#.to_owned());

    let alone = root.path().join("alone");
    export(&alone, &[&nchw[..], &["--format", "onnx"]].concat());
    let manifest = json(fs::read(alone.join("manifest.json")).unwrap());
    assert_eq!(first_input(&manifest), first);
    assert!(manifest["files"]["model.onnx"].get("inputs").is_none());
    let (shape, metadata) = onnx_input(&alone.join("model.onnx"));
    assert_eq!(shape, "[1, 3, 64, 96]");
    assert_eq!(
        first_input(&serde_json::json!({ "inputs": metadata })),
        first
    );

    let both = root.path().join("both");
    export(
        &both,
        &[&nchw[..], &["--format", "onnx,saved_model"]].concat(),
    );
    let manifest = json(fs::read(both.join("manifest.json")).unwrap());
    assert_eq!(first_input(&manifest), last);
    assert_eq!(first_input(&manifest["files"]["model.onnx"]), first);
    let (_, metadata) = onnx_input(&both.join("model.onnx"));
    assert_eq!(
        first_input(&serde_json::json!({ "inputs": metadata })),
        first
    );

    let triton = root.path().join("triton");
    let options = ["--format", "onnx", "--layout", "triton"];
    export(&triton, &[&nchw[..], &options].concat());
    let config = fs::read_to_string(triton.join("config.pbtxt")).unwrap();
    assert!(config.contains("dims: [ 1, 3, 64, 96 ]"), "{config}");
}

/// Whatever is asked for, no node has only constants as inputs, but for those that widen TFLite's kernels of 16 bits.
#[test]
fn nothing_is_computed_from_constants() {
    let root = tempfile::tempdir().unwrap();
    let all = "saved_model,frozen,onnx,tflite";
    let options: [&[&str]; 9] = [
        &[],
        &["--batch", "dynamic"],
        &["--batch", "3"],
        &["--input_size", "64x96"],
        &["--float_input", "--input_layout", "nchw"],
        &["--no_preprocess"],
        &["--raw_encodings"],
        &["--max_detections", "200", "--batch", "2"],
        &["--weights", "float16"],
    ];
    for (number, options) in options.into_iter().enumerate() {
        let output = root.path().join(number.to_string());
        export(&output, &[&["--format", all], options].concat());
        let saved = fs::read(output.join("saved_model/saved_model.pb")).unwrap();
        let saved = SavedModel::decode(saved.as_slice()).unwrap();
        let graphs = saved.meta_graphs.into_iter();
        let mut found: Vec<String> = graphs
            .flat_map(|meta| constants::of_graph(&meta.graph_def.unwrap()))
            .collect();
        let frozen = fs::read(output.join("frozen.pb")).unwrap();
        let frozen = GraphDef::decode(frozen.as_slice()).unwrap();
        found.extend(constants::of_graph(&frozen));
        found.extend(constants::of_onnx(
            &fs::read(output.join("model.onnx")).unwrap(),
        ));
        found.extend(constants::of_tflite(
            &fs::read(output.join("model.tflite")).unwrap(),
        ));
        assert!(found.is_empty(), "{options:?}: {found:#?}");
    }
}

#[test]
fn inspect_recognises_every_format() {
    let root = tempfile::tempdir().unwrap();
    let all = tfod::Format::ALL.map(tfod::Format::name).join(",");
    export(&root.path().join("all"), &["--format", &all]);
    for format in tfod::Format::ALL {
        let path = root.path().join("all").join(format.file());
        let found = tfod_inspect::inspect(&path).unwrap();
        let kind = format.descriptor().kind;
        assert_eq!(found.facts.kind(), kind, "{}", path.display());
    }
}

/// Of a configuration whose shorter side may be below the size that it pads to.
#[test]
fn a_tflite_model_resizes_only_where_the_caller_does_not() {
    let root = tempfile::tempdir().unwrap();
    let resizer = "model { ssd { image_resizer { keep_aspect_ratio_resizer {
        min_dimension: 120 max_dimension: 160 pad_to_max_dimension: true } } } }";
    let file = |name: &str, more: &[&str]| {
        let output = root.path().join(name);
        let options = [&["--format", "tflite", "--config_override", resizer], more];
        export(&output, &options.concat());
        let manifest = fs::read(output.join("manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        manifest["files"]["model.tflite"].clone()
    };
    let left = file("left", &[]);
    assert!(left["operators"].get("RESIZE_BILINEAR").is_none());
    let by_caller = &left["resizing_by_caller"];
    assert_eq!(by_caller["size"], serde_json::json!([160, 160]));
    let words = by_caller["description"].as_str().unwrap();
    assert!(words.contains("120 / the shorter side"), "{words}");
    assert!(words.contains("then padded to 160x160"), "{words}");
    let done = file("done", &["--input_size", "160x160"]);
    assert_eq!(done["operators"]["RESIZE_BILINEAR"], 1);
    assert!(done["resizing_by_caller"].is_null());
}
