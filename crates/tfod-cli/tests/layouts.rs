//! Layouts for servers: a version appears at once, and what is there stays.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/binary.rs"]
mod binary;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use binary::binary;

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shapes")
}

fn export(output: &Path, options: &[&str]) -> Output {
    export_of(&example().join("checkpoint"), output, options)
}

fn export_of(checkpoint: &Path, output: &Path, options: &[&str]) -> Output {
    Command::new(binary())
        .arg("export")
        .arg("--pipeline_config_path")
        .arg(example().join("pipeline.config"))
        .arg("--trained_checkpoint_dir")
        .arg(checkpoint)
        .arg("--output_directory")
        .arg(output)
        .args(options)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn output() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let output = root.path().join("detector");
    (root, output)
}

#[test]
fn a_version_for_tensorflow_serving_is_a_saved_model_and_is_never_changed() {
    let (_root, served) = output();
    let first = export(&served, &["--layout", "tfserving"]);
    assert!(first.status.success(), "{}", said(&first));
    assert_eq!(names(&served), ["1"]);
    let version = served.join("1");
    assert_eq!(
        names(&version),
        ["assets", "assets.extra", "saved_model.pb", "variables"]
    );
    let extra = [
        "manifest.json",
        "pipeline.config",
        "tf_serving_warmup_requests",
    ];
    assert_eq!(names(&version.join("assets.extra")), extra);

    let before = fs::metadata(version.join("saved_model.pb")).unwrap();
    let again = export(&served, &["--layout", "tfserving"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        said(&again).contains("version 1 is there already"),
        "{}",
        said(&again)
    );
    let after = fs::metadata(version.join("saved_model.pb")).unwrap();
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());

    let next = export(
        &served,
        &["--layout", "tfserving", "--model_version", "20261125"],
    );
    assert!(next.status.success(), "{}", said(&next));
    assert_eq!(names(&served), ["1", "20261125"]);
}

#[test]
fn a_configuration_for_triton_that_is_there_stays() {
    let (_root, model) = output();
    let first = export(&model, &["--layout", "triton", "--format", "onnx"]);
    assert!(first.status.success(), "{}", said(&first));
    assert_eq!(said(&first), "");
    assert_eq!(names(&model), ["1", "config.pbtxt"]);
    assert_eq!(
        names(&model.join("1")),
        ["manifest.json", "model.onnx", "pipeline.config"]
    );

    let same = [
        "--layout",
        "triton",
        "--format",
        "onnx",
        "--model_version",
        "2",
    ];
    assert_eq!(said(&export(&model, &same)), "");
    fs::write(model.join("config.pbtxt"), "# edited\n").unwrap();
    let third = [
        "--layout",
        "triton",
        "--format",
        "onnx",
        "--model_version",
        "3",
    ];
    let third = export(&model, &third);
    assert!(third.status.success());
    assert!(
        said(&third).contains("config.pbtxt is there and stays"),
        "{}",
        said(&third)
    );
    assert_eq!(fs::read(model.join("config.pbtxt")).unwrap(), b"# edited\n");
    assert_eq!(names(&model), ["1", "2", "3", "config.pbtxt"]);
}

#[test]
fn a_model_of_another_layout_in_the_folder_is_told_of() {
    let (_root, model) = output();
    let official = ["--format", "onnx"];
    let triton = ["--layout", "triton", "--format", "onnx"];
    assert_eq!(said(&export(&model, &official)), "");
    let before = names(&model);

    // Of another layout beside it, in either order; and both stay.
    let beside = said(&export(&model, &triton));
    let parts = "checkpoint/, model.onnx, pipeline.config, manifest.json were in the output folder before and stay there";
    assert!(beside.contains(parts), "{beside}");
    let mut all = before.clone();
    all.extend(["1".to_owned(), "config.pbtxt".to_owned()]);
    all.sort();
    assert_eq!(names(&model), all);
    let reverse = said(&export(&model, &official));
    let parts = "1/, config.pbtxt were in the output folder before and stay there";
    assert!(reverse.contains(parts), "{reverse}");
    assert_eq!(names(&model), all);

    // A single version of TensorFlow Serving's, a config without a model, and folders that are no versions.
    let (_root, served) = output();
    fs::create_dir_all(served.join("7")).unwrap();
    fs::write(served.join("pipeline.config"), "mine").unwrap();
    assert_eq!(said(&export(&served, &["--layout", "tfserving"])), "");
    let reverse = said(&export(&served, &[]));
    assert!(
        reverse.contains(" 1/ was in the output folder before and stays there"),
        "{reverse}"
    );
}

#[test]
fn formats_that_a_server_does_not_read_are_refused() {
    for (layout, formats) in [
        ("tfserving", "onnx"),
        ("tfserving", "saved_model,frozen"),
        ("triton", "frozen"),
        ("triton", "saved_model,onnx"),
    ] {
        let (root, served) = output();
        let refused = export(&served, &["--layout", layout, "--format", formats]);
        assert_eq!(refused.status.code(), Some(2), "{layout} {formats}");
        assert!(said(&refused).contains("--format"), "{}", said(&refused));
        assert!(names(root.path()).is_empty());
    }
    let (_root, plain) = output();
    let usage = export(&plain, &["--model_version", "3"]);
    assert_eq!(usage.status.code(), Some(2));
    assert!(said(&usage).contains("--layout"), "{}", said(&usage));
}

/// These layouts write no checkpoint, whose copying verifies the weights elsewhere.
#[test]
fn a_damaged_weight_is_refused_where_no_checkpoint_is_written() {
    let (root, served) = output();
    let damaged = root.path().join("checkpoint");
    fs::create_dir(&damaged).unwrap();
    for entry in fs::read_dir(example().join("checkpoint")).unwrap() {
        let entry = entry.unwrap();
        let mut bytes = fs::read(entry.path()).unwrap();
        if entry.file_name().to_str().unwrap().contains(".data-") {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        fs::write(damaged.join(entry.file_name()), bytes).unwrap();
    }
    for options in [
        &["--layout", "tfserving"][..],
        &["--layout", "triton", "--format", "onnx"],
    ] {
        let refused = export_of(&damaged, &served, options);
        assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
        assert!(said(&refused).contains("checksum is"), "{}", said(&refused));
        assert!(!served.exists() || names(&served).is_empty());
    }
}
