//! Where outputs go: what stands there, what must not be overwritten, devices, pipes, standard output; and what signals leave.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::copy_example;

const TFOD: &str = env!("CARGO_BIN_EXE_tfod");

/// A folder with the example and an export of it, `out`.
fn exported() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    copy_example(root.path());
    let output = export(root.path(), "out", &[]);
    assert!(output.status.success(), "{output:?}");
    root
}

fn export(root: &Path, output: &str, more: &[&str]) -> Output {
    let mut command = Command::new(TFOD);
    command.current_dir(root).args([
        "export",
        "--pipeline_config_path",
        "pipeline.config",
        "--trained_checkpoint_dir",
        "checkpoint",
        "--output_directory",
        output,
    ]);
    command.args(more).output().unwrap()
}

fn freeze_command(root: &Path) -> Command {
    let mut command = Command::new(TFOD);
    let arguments = ["freeze", "--saved_model_dir", "out/saved_model"];
    command.current_dir(root).args(arguments);
    command
}

fn freeze(root: &Path, arguments: &[&str]) -> Output {
    freeze_command(root).args(arguments).output().unwrap()
}

/// The frozen graph as a file.
fn frozen(root: &Path) -> Vec<u8> {
    let output = freeze(root, &["--output", "expected.pb"]);
    assert!(output.status.success(), "{output:?}");
    fs::read(root.join("expected.pb")).unwrap()
}

#[track_caller]
fn assert_refused(output: &Output, code: i32, words: &[&str]) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let message = String::from_utf8_lossy(&output.stderr);
    for word in words {
        assert!(message.contains(word), "no {word:?} in {message}");
    }
}

/// Every file below a folder with what it holds.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap();
                all.push((name.display().to_string(), fs::read(&path).unwrap()));
            }
        }
    }
    all.sort();
    all
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn make_fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

#[test]
fn freeze_writes_to_standard_output() {
    let root = exported();
    let expected = frozen(root.path());
    for name in ["-", "/dev/stdout", "/proc/self/fd/1"] {
        let output = freeze(root.path(), &["--output", name]);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(output.stdout, expected, "{name}");
        let summary = String::from_utf8(output.stderr).unwrap();
        assert!(summary.starts_with("Froze "), "{summary}");
        assert!(summary.contains("standard output"), "{summary}");
    }
    // A file that standard output is sent to is not replaced by another.
    let file = File::create(root.path().join("redirected")).unwrap();
    let mut command = freeze_command(root.path());
    let status = command.args(["--output", "/dev/stdout"]).stdout(file);
    assert!(status.stderr(Stdio::null()).status().unwrap().success());
    assert_eq!(fs::read(root.path().join("redirected")).unwrap(), expected);

    let text = freeze(root.path(), &["--output", "-", "--as_text"]);
    assert!(text.stdout.starts_with(b"node {"), "{text:?}");
    let json = freeze(root.path(), &["--output", "x.pb", "--json", "-"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["output"], "x.pb");
    let both = freeze(root.path(), &["--output", "-", "--json", "-"]);
    assert_refused(&both, 2, &["--output", "--json", "standard output"]);
}

#[test]
fn freeze_writes_into_pipes_and_devices() {
    let root = exported();
    let expected = frozen(root.path());
    let pipe = root.path().join("pipe");
    make_fifo(&pipe);
    let child = freeze_command(root.path())
        .args(["--output", "pipe"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(fs::read(&pipe).unwrap(), expected);
    assert!(child.wait_with_output().unwrap().status.success());
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());

    // A reader that has seen enough is an error with a reason.
    let child = freeze_command(root.path())
        .args(["--output", "pipe"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(File::open(&pipe).unwrap());
    let ended = child.wait_with_output().unwrap();
    assert_refused(&ended, 1, &["pipe", "Broken pipe"]);

    // A device of its own: the machine's is not risked.
    let device = root.path().join("null");
    let made = Command::new("mknod")
        .arg(&device)
        .args(["c", "1", "3"])
        .status();
    if !made.is_ok_and(|made| made.success()) || fs::write(&device, "").is_err() {
        println!("skipped: no right to make a device");
        return;
    }
    let output = freeze(root.path(), &["--output", "null", "--json", "null"]);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.starts_with(b"Froze "), "{output:?}");
    assert!(fs::metadata(&device).unwrap().file_type().is_char_device());

    let block = root.path().join("block");
    let made = Command::new("mknod")
        .arg(&block)
        .args(["b", "240", "0"])
        .status();
    if made.is_ok_and(|made| made.success()) {
        let output = freeze(root.path(), &["--output", "block"]);
        assert_refused(&output, 1, &["block: expected", "a block device"]);
    }
}

#[test]
fn freeze_follows_links_and_names_what_is_in_the_way() {
    let root = exported();
    let expected = frozen(root.path());
    fs::create_dir(root.path().join("folder")).unwrap();
    fs::write(root.path().join("folder/real"), "old").unwrap();
    symlink("folder/real", root.path().join("link")).unwrap();
    let output = freeze(root.path(), &["--output", "link"]);
    assert!(output.status.success(), "{output:?}");
    assert!(root.path().join("link").is_symlink());
    assert_eq!(fs::read(root.path().join("folder/real")).unwrap(), expected);
    assert_eq!(names(&root.path().join("folder")), ["real"]);

    symlink("nowhere", root.path().join("broken")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(root.path().join("socket")).unwrap();
    for (name, found) in [
        ("folder", "a folder"),
        ("broken", "a link that leads nowhere"),
        ("socket", "a socket"),
    ] {
        let output = freeze(root.path(), &["--output", name]);
        assert_refused(&output, 1, &[name, "expected a file", found]);
    }
    drop(socket);
    assert!(!root.path().join("nowhere").exists());
}

/// Freezing a large model takes long, and leaves the graph behind where only the summary cannot be written.
#[test]
fn freeze_refuses_its_outputs_before_it_begins() {
    let root = exported();
    fs::create_dir(root.path().join("folder")).unwrap();
    symlink("a.pb", root.path().join("b.json")).unwrap();
    let before = names(root.path());
    let leads_nowhere = "b.json: expected a file, a pipe or a character device, or nothing, found a link that leads nowhere";
    let of_folder =
        |name: &str| format!("{name}: expected the name of a file, found that of a folder");
    let cases: &[(&[&str], &str)] = &[
        (&["--output", "new/"], &of_folder("new/")),
        (&["--output", "folder/"], &of_folder("folder/")),
        (&["--output", "a.pb", "--json", "new/"], &of_folder("new/")),
        (&["--output", "a.pb", "--json", "folder"], "found a folder"),
        (&["--output", "a.pb", "--json", "b.json"], leads_nowhere),
        (&["--output", "c.pb", "--json", "b.json"], leads_nowhere),
    ];
    for (arguments, words) in cases {
        let mut command = freeze_command(root.path());
        let command = command.args(*arguments).env("TFOD_PROGRESS", "lines");
        let output = command.output().unwrap();
        assert_refused(&output, 1, &[words, arguments[arguments.len() - 2]]);
        // No step was begun.
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.starts_with("error: "), "{said}");
        assert_eq!(names(root.path()), before);
    }
}

#[test]
fn freeze_does_not_overwrite_its_input_or_its_other_output() {
    let root = exported();
    let model = root.path().join("out/saved_model");
    symlink("out/saved_model", root.path().join("linked")).unwrap();
    fs::hard_link(model.join("saved_model.pb"), root.path().join("hard.pb")).unwrap();
    let before = contents(&model);
    let data = "out/saved_model/variables/variables.data-00000-of-00001";
    let inputs: &[&[&str]] = &[
        &["--output", "out/saved_model/saved_model.pb"],
        &["--output", "linked/saved_model.pb"],
        &["--output", "out/../out/saved_model/./saved_model.pb"],
        &["--output", "hard.pb"],
        &["--output", data],
        &["--output", "linked/variables/variables.index"],
        &["--logdir", "linked", "--name", "saved_model.pb"],
        &["--output", "x.pb", "--json", "linked/saved_model.pb"],
        &["--output", "x.pb", "--json", data],
    ];
    for arguments in inputs {
        let output = freeze(root.path(), arguments);
        assert_refused(&output, 1, &["would be overwritten", "an input"]);
        assert!(!root.path().join("x.pb").exists());
    }
    symlink("a", root.path().join("b")).unwrap();
    let both: &[&[&str]] = &[
        &["--output", "new.pb", "--json", "new.pb"],
        &["--output", "new.pb", "--json", "out/../new.pb"],
        &["--output", "d/new.pb", "--json", "./d/new.pb"],
        &[
            "--logdir",
            "out",
            "--name",
            "new.pb",
            "--json",
            "out/new.pb",
        ],
    ];
    for arguments in both {
        let output = freeze(root.path(), arguments);
        // The flag as it was typed.
        assert_refused(&output, 2, &[arguments[0], "--json"]);
    }
    assert!(!root.path().join("new.pb").exists());
    assert!(contents(&model) == before);
}

#[test]
fn a_config_that_an_export_is_made_from_is_kept() {
    let root = exported();
    let config = root.path().join("pipeline.config");
    let original = format!("# Mine.\n{}", fs::read_to_string(&config).unwrap());
    fs::write(&config, &original).unwrap();
    let kept = root.path().join("pipeline.config.original");
    let more = ["--config_override", "model { ssd { num_classes: 3 } }"];
    // Into its own folder, by several spellings; the checkpoint there would be replaced too, so it is moved.
    fs::rename(root.path().join("checkpoint"), root.path().join("train")).unwrap();
    let export = |output: &str, more: &[&str]| {
        let mut command = Command::new(TFOD);
        command.current_dir(root.path()).args([
            "export",
            "--pipeline_config_path",
            "pipeline.config",
            "--trained_checkpoint_dir",
            "train",
            "--output_directory",
            output,
        ]);
        command.args(more).output().unwrap()
    };
    let output = export("out/..", &more);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read_to_string(&kept).unwrap(), original);
    let warning = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(warning.contains("pipeline.config.original"), "{warning}");
    assert_ne!(fs::read_to_string(&config).unwrap(), original);

    // A block that does not fit the schema is not exported, but kept.
    let damaged = original.replace("batch_size: 16", "batch_size: 16 no_such_field: 1");
    assert_ne!(damaged, original);
    fs::write(&config, &damaged).unwrap();
    assert!(export(".", &[]).status.success());
    let second = root.path().join("pipeline.config.original.2");
    assert_eq!(fs::read_to_string(&second).unwrap(), damaged);
    assert_eq!(fs::read_to_string(&kept).unwrap(), original);

    // What an export wrote is what the next one writes: nothing is lost, nothing is kept. The same original again needs no third.
    let output = export(".", &[]);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    fs::write(&config, &original).unwrap();
    assert!(export(".", &[]).status.success());
    assert!(!root.path().join("pipeline.config.original.3").exists());
}

#[test]
fn a_config_from_a_pipe_has_its_digest_in_the_manifest() {
    let root = exported();
    make_fifo(&root.path().join("pipe"));
    let mut command = Command::new(TFOD);
    let child = command
        .current_dir(root.path())
        .args(["export", "--pipeline_config_path", "pipe"])
        .args(["--trained_checkpoint_dir", "checkpoint"])
        .args(["--output_directory", "piped"])
        .spawn()
        .unwrap();
    let config = fs::read(root.path().join("pipeline.config")).unwrap();
    fs::write(root.path().join("pipe"), config).unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    let manifest = |folder: &str| -> serde_json::Value {
        let path = root.path().join(folder).join("manifest.json");
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    };
    assert_eq!(
        manifest("piped")["pipeline_config"]["sha256"],
        manifest("out")["pipeline_config"]["sha256"]
    );
}

#[test]
fn a_label_map_that_an_export_is_made_from_is_not_lost() {
    let root = exported();
    let labels = "# Mine.\nitem { id: 1 name: 'circle' }\n";
    fs::write(root.path().join("labels.pbtxt"), labels).unwrap();
    let output = export(root.path(), "out", &["--label_map", "labels.pbtxt"]);
    assert!(output.status.success(), "{output:?}");
    let asset = "out/saved_model/assets/label_map.pbtxt";
    // Written anew as it was.
    let output = export(root.path(), "out", &["--label_map", asset]);
    assert!(output.status.success(), "{output:?}");
    // It would go with the SavedModel, or lose its comment.
    let output = export(
        root.path(),
        "out",
        &["--label_map", asset, "--format", "onnx"],
    );
    assert_refused(&output, 1, &[asset]);
    fs::write(root.path().join(asset), labels).unwrap();
    let output = export(root.path(), "out", &["--label_map", asset]);
    assert_refused(&output, 1, &[asset]);
    assert_eq!(fs::read_to_string(root.path().join(asset)).unwrap(), labels);
}

#[test]
fn what_an_export_is_made_from_is_not_replaced_by_another_part_of_it() {
    let root = exported();
    let config = fs::read_to_string(root.path().join("pipeline.config")).unwrap();
    let scores = "1=0.5\n";
    let flags = "--float_input\n";
    let nested = "--flagfile=own/manifest.json\n";
    fs::write(root.path().join("flags"), nested).unwrap();
    // The flags that name it come last, and replace the earlier ones.
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "manifest.json",
            &config,
            &["--pipeline_config_path", "own/manifest.json"],
        ),
        (
            "model.onnx",
            &config,
            &[
                "--pipeline_config_path",
                "./own/model.onnx",
                "--format=onnx",
            ],
        ),
        (
            "manifest.json",
            scores,
            &["--score_threshold", "@own/manifest.json"],
        ),
        (
            "pipeline.config",
            scores,
            &["--score_threshold", "@own/pipeline.config"],
        ),
        ("manifest.json", flags, &["--flagfile", "own/manifest.json"]),
        ("manifest.json", flags, &["--flagfile=flags"]),
    ];
    for (name, text, arguments) in cases {
        let own = root.path().join("own");
        fs::create_dir(&own).unwrap();
        fs::write(own.join(name), text).unwrap();
        let output = export(root.path(), "own", arguments);
        let words = ["--output_directory: ", name, "choose another output folder"];
        assert_refused(&output, 1, &words);
        assert_eq!(names(&own), [*name]);
        assert_eq!(fs::read_to_string(own.join(name)).unwrap(), *text);
        // Elsewhere, the same export is made.
        let output = export(root.path(), "elsewhere", arguments);
        assert!(output.status.success(), "{output:?}");
        fs::remove_dir_all(own).unwrap();
    }
}

#[test]
fn a_folder_holds_one_model() {
    let root = exported();
    let out = root.path().join("out");
    fs::write(out.join("notes.txt"), "mine").unwrap();
    let formats = "saved_model,frozen,onnx";
    let output = export(
        root.path(),
        "out",
        &["--format", formats, "--external_data"],
    );
    assert!(output.status.success(), "{output:?}");
    let all = [
        "checkpoint",
        "frozen.pb",
        "manifest.json",
        "model.onnx",
        "model.onnx.data",
        "notes.txt",
        "pipeline.config",
        "saved_model",
    ];
    assert_eq!(names(&out), all);
    let output = export(root.path(), "out", &["--format", "onnx"]);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    let summary = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = "removed      saved_model/, frozen.pb, model.onnx.data, of the earlier export";
    assert!(summary.contains(line), "{summary}");
    let left = [
        "checkpoint",
        "manifest.json",
        "model.onnx",
        "notes.txt",
        "pipeline.config",
    ];
    assert_eq!(names(&out), left);

    // What no manifest lists is not removed, but told of.
    fs::write(out.join("frozen.pb"), "mine").unwrap();
    let output = export(root.path(), "out", &["--json"]);
    assert_eq!(fs::read(out.join("frozen.pb")).unwrap(), b"mine");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["removed"], serde_json::json!(["model.onnx"]));
    let warning = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        warning.contains("frozen.pb was in the output folder before and stays there; it may"),
        "{warning}"
    );

    // Of several; and of a folder that holds more than an export.
    fs::write(out.join("model.tflite"), "mine").unwrap();
    fs::write(out.join("saved_model/notes.txt"), "mine").unwrap();
    let output = export(root.path(), "out", &["--format", "onnx"]);
    let summary = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!summary.contains("removed"), "{summary}");
    assert_eq!(names(&out.join("saved_model")), ["notes.txt"]);
    let warning = String::from_utf8_lossy(&output.stderr).into_owned();
    for told in [
        "wrote in saved_model/ is removed; what no export wrote there stays",
        "frozen.pb, model.tflite were in the output folder before and stay there; they may",
    ] {
        assert!(warning.contains(told), "{warning}");
    }
}

#[test]
fn what_stands_for_a_part_of_an_export_is_named() {
    let root = exported();
    let out = root.path().join("out");
    let all = ["--format", "saved_model,frozen,onnx"];
    for name in [
        "manifest.json",
        "frozen.pb",
        "model.onnx.data",
        "pipeline.config",
    ] {
        let path = out.join(name);
        let _ = fs::remove_file(&path);
        for is_empty in [true, false] {
            fs::create_dir(&path).unwrap();
            if !is_empty {
                fs::write(path.join("mine"), "mine").unwrap();
            }
            let output = export(root.path(), "out", &all);
            assert_refused(&output, 1, &[name, "expected a file", "found a folder"]);
            fs::remove_dir_all(&path).unwrap();
        }
        make_fifo(&path);
        let output = export(root.path(), "out", &all);
        assert_refused(&output, 1, &[name, "expected a file", "pipe"]);
        fs::remove_file(&path).unwrap();
    }
    // What another export would write is in the way of that one alone.
    fs::create_dir(out.join("frozen.pb")).unwrap();
    let output = export(root.path(), "out", &[]);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    assert!(out.join("frozen.pb").is_dir());
    assert!(names(&out).iter().all(|name| !name.starts_with('.')));
}

fn send(child: &Child, signal: &str) {
    let pid = child.id().to_string();
    let _ = Command::new("kill").args(["-s", signal, &pid]).status();
}

/// The export takes some time; the signal comes at any part of it.
#[test]
fn signals_leave_nothing_and_end_the_process() {
    const PARTS: u32 = 20;
    let root = exported();
    let before = names(root.path());
    let export = || {
        Command::new(TFOD)
            .current_dir(root.path())
            .args(["export", "--pipeline_config_path", "pipeline.config"])
            .args(["--trained_checkpoint_dir", "checkpoint"])
            .args(["--format", "saved_model,frozen,onnx"])
            .args(["--output_directory", "new"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let output = root.path().join("new");
    let start = Instant::now();
    assert!(export().wait().unwrap().success());
    let whole = start.elapsed();
    fs::remove_dir_all(&output).unwrap();
    let mut killed = 0;
    for (signal, number) in [("INT", 2), ("TERM", 15), ("HUP", 1)] {
        for part in 0..PARTS {
            let child = export();
            sleep(whole * part / PARTS);
            send(&child, signal);
            let ended = child.wait_with_output().unwrap();
            if ended.status.success() {
                fs::remove_dir_all(&output).unwrap();
            } else {
                assert_eq!(ended.status.signal(), Some(number), "{ended:?}");
                assert!(ended.stderr.is_empty(), "{ended:?}");
                killed += 1;
                let _ = fs::remove_dir_all(&output);
            }
            assert_eq!(names(root.path()), before, "{signal} {part}");
        }
    }
    assert!(killed > 10, "{killed}");
}

/// Whatever a command waits for, a signal ends it.
/// What a command says that must not wait for anything.
#[track_caller]
fn without_waiting(command: &mut Command) -> Output {
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.stdin(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > Duration::from_secs(30) {
            child.kill().unwrap();
            panic!("it waits: {:?}", child.wait_with_output());
        }
        sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

#[test]
fn nothing_waits_for_a_fifo_in_a_folder() {
    let root = exported();
    let trained = [
        "--pipeline_config_path",
        "pipeline.config",
        "--trained_checkpoint_dir",
        "checkpoint",
    ];
    let check = [&["check"], &trained[..]].concat();
    let export = [&["export"], &trained[..], &["--output_directory", "new"]].concat();
    let inspect: &[&str] = &["inspect", "checkpoint"];
    let freeze: &[&str] = &[
        "freeze",
        "--saved_model_dir",
        "out/saved_model",
        "--output",
        "new",
    ];
    let data = "checkpoint/ckpt-3000.data-00000-of-00001";
    let index = "checkpoint/ckpt-3000.index";
    let frozen = "out/saved_model/saved_model.pb";
    let variables = "out/saved_model/variables/variables";
    let (variables_data, variables_index) = (
        format!("{variables}.data-00000-of-00001"),
        format!("{variables}.index"),
    );
    for (file, commands) in [
        (data, &[&check[..], &export, inspect][..]),
        (index, &[&check, &export, inspect]),
        ("checkpoint/checkpoint", &[&check, &export, inspect]),
        (frozen, &[freeze]),
        (&variables_data, &[freeze]),
        (&variables_index, &[freeze]),
    ] {
        let path = root.path().join(file);
        let aside = root.path().join("aside");
        fs::rename(&path, &aside).unwrap();
        make_fifo(&path);
        for arguments in commands {
            let mut command = Command::new(TFOD);
            let output = without_waiting(command.current_dir(root.path()).args(*arguments));
            let said = [&output.stdout[..], &output.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            let expected = "expected a regular file, found a FIFO";
            let names_it = |line: &str| line.contains(file) && line.contains(expected);
            assert!(said.lines().any(names_it), "{arguments:?}: {said}");
            assert!(!root.path().join("new").exists());
        }
        fs::remove_file(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
    }
}

#[test]
fn a_signal_ends_a_command_that_waits() {
    let root = exported();
    make_fifo(&root.path().join("pipe"));
    let before = names(root.path());
    let child = freeze_command(root.path())
        .args(["--output", "pipe"])
        .spawn()
        .unwrap();
    sleep(Duration::from_millis(500));
    send(&child, "TERM");
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.signal(), Some(15));
    assert_eq!(names(root.path()), before);
}

#[test]
fn an_ignored_signal_stays_ignored() {
    let root = exported();
    let script = "trap '' HUP INT; : > ready; exec \"$@\"";
    let mut command = Command::new("sh");
    let child = command
        .current_dir(root.path())
        .args(["-c", script, "sh", TFOD, "export"])
        .args(["--pipeline_config_path", "pipeline.config"])
        .args(["--trained_checkpoint_dir", "checkpoint"])
        .args(["--output_directory", "new"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // Signals before the shell ignores them would end it.
    while !root.path().join("ready").exists() {
        sleep(Duration::from_millis(1));
    }
    for _ in 0..20 {
        send(&child, "HUP");
        send(&child, "INT");
        sleep(Duration::from_millis(10));
    }
    assert!(child.wait_with_output().unwrap().status.success());
}

/// What SIGKILL leaves, the next command that writes in the same folder removes; and nothing that is in use.
#[test]
fn what_a_killed_freeze_left_is_swept() {
    let root = exported();
    let before = names(root.path());
    let mut leftovers = 0;
    for part in 0..30 {
        let mut child = freeze_command(root.path())
            .args(["--output", "killed.pb"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        sleep(Duration::from_millis(10 * part));
        let _ = child.kill();
        child.wait().unwrap();
        leftovers += names(root.path())
            .iter()
            .filter(|name| name.starts_with(".tfod-"))
            .count();
    }
    println!("{leftovers} left");
    let _ = frozen(root.path());
    let _ = fs::remove_file(root.path().join("killed.pb"));
    fs::remove_file(root.path().join("expected.pb")).unwrap();
    assert_eq!(names(root.path()), before);
}

#[test]
fn a_path_that_is_no_utf8_is_no_obstacle() {
    use std::os::unix::ffi::OsStrExt as _;
    let root = exported();
    let name = OsStr::from_bytes(b"not\xffutf8.pb");
    let output = freeze_command(root.path())
        .arg("--output")
        .arg(name)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(root.path().join(name).is_file());
}

/// Names of files and of what is in them reach no terminal as commands to it, and begin no lines of a message.
#[test]
fn control_characters_are_escaped_wherever_they_come_from() {
    let root = exported();
    let hostile = "\u{1b}]0;title\u{7}\u{9b}2J\u{202e}\nforged";
    let quoted = hostile.replace('\u{1b}', "\\033").replace('\n', "\\n");
    let labels = format!("item {{ id: 1 name: 'a{quoted}' }}");
    fs::write(root.path().join("labels.pbtxt"), &labels).unwrap();
    let labels = labels.replace("id: 1", "id: 9");
    fs::write(root.path().join("others.pbtxt"), &labels).unwrap();
    let folder = format!("dir{hostile}");
    fs::create_dir(root.path().join(&folder)).unwrap();
    let state = format!("model_checkpoint_path: \"{quoted}\"");
    fs::write(root.path().join(&folder).join("checkpoint"), state).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(TFOD);
        let command = command.current_dir(root.path()).args(arguments);
        command.output().unwrap()
    };
    let export = |checkpoint: &str, output: &str, labels: &str, more: &[&str]| {
        let arguments = [
            "export",
            "--pipeline_config_path",
            "pipeline.config",
            "--trained_checkpoint_dir",
            checkpoint,
            "--output_directory",
            output,
            "--label_map",
            labels,
        ];
        run(&[&arguments[..], more].concat())
    };
    let new = format!("new{hostile}");
    let pb = format!("{hostile}.pb");
    let all = [
        // Paths and label names in summaries, warnings, errors of the command and of its parser.
        export("checkpoint", &new, "labels.pbtxt", &[]),
        export("checkpoint", &new, "others.pbtxt", &["--json"]),
        export(&folder, "x", "labels.pbtxt", &[]),
        export(&new, "x", &pb, &[]),
        freeze(root.path(), &["--output", &pb]),
        freeze(root.path(), &["--output", &folder]),
        run(&["export", &new]),
        run(&[&format!("--{hostile}")]),
        run(&["inspect", &new]),
        run(&["inspect", &pb]),
        run(&["inspect", &folder]),
        run(&["inspect", "labels.pbtxt"]),
        run(&[
            "check",
            "--pipeline_config_path",
            &pb,
            "--trained_checkpoint_dir",
            &new,
        ]),
        run(&["verify", &new, &pb]),
        run(&["diff", &new, &folder]),
    ];
    let mut escaped = 0;
    for output in all {
        for text in [&output.stdout, &output.stderr] {
            let text = String::from_utf8(text.clone()).unwrap();
            let is_raw = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!text.contains(is_raw), "{text:?}");
            assert!(
                !text.lines().any(|line| line.starts_with("forged")),
                "{text}"
            );
            escaped += usize::from(text.contains("\\u001b"));
        }
    }
    assert!(escaped >= 12, "{escaped}");
}

/// What stands in tutorials and scripts for the official exporter.
#[test]
fn a_command_line_for_the_official_exporter_is_understood() {
    let root = exported();
    let flags = "# Where all is.\n--pipeline_config_path=pipeline.config\n--trained_checkpoint_dir checkpoint\n--verbosity=1\n";
    fs::write(root.path().join("flags"), flags).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(TFOD);
        let command = command.current_dir(root.path()).arg("export");
        command.args(arguments).output().unwrap()
    };
    let output = run(&[
        "--alsologtostderr",
        "-v",
        "1",
        "--flagfile=flags",
        "-input_type=image_tensor",
        "--nouse_side_inputs",
        "--side_input_names=context_features",
        "--output_directory",
        "new",
    ]);
    assert!(output.status.success(), "{output:?}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("Not needed,"));
    let warning = "--side_input_names is not looked at without --use_side_inputs";
    assert!(String::from_utf8_lossy(&output.stderr).contains(warning));
    let same = |name: &str| {
        let read = |folder: &str| fs::read(root.path().join(folder).join(name)).unwrap();
        read("new") == read("out")
    };
    assert!(same("saved_model/saved_model.pb") && same("pipeline.config"));

    let output = run(&[
        "--flagfile",
        "flags",
        "--output_directory=new",
        "--format",
        "onnx, frozen",
        "--outputs",
        "detection_boxes, detection_scores ",
        "--input_size=320X320",
        "--float_input=true",
        "--nofloat_input",
        "-v",
    ]);
    assert!(output.status.success(), "{output:?}");
    let summary = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        summary.contains("input_tensor      uint8 [1, 320, 320, 3]"),
        "{summary}"
    );
    assert!(summary.contains("Not needed,"), "{summary}");
    assert!(root.path().join("new/frozen.pb").is_file());

    let output = run(&["--flagfile=absent", "--output_directory=x"]);
    assert_refused(&output, 2, &["--flagfile: absent: cannot read"]);
    for (flag, value, expected) in [
        ("--batch", "65536", "expected 1 to 1024, or dynamic"),
        ("--batch", "0", "expected 1 to 1024, or dynamic"),
        ("--input_size", "320", "expected height and width in pixels"),
        ("--input_size", "0x5", "1 to 65536"),
        ("--input_size", "100000x5", "1 to 65536"),
        ("--score_threshold", "2", "expected a number from 0 to 1"),
        ("--score_threshold", "inf", "expected a number from 0 to 1"),
        ("--iou_threshold", "nan", "expected a number from 0 to 1"),
        (
            "--format",
            "onnx, coreml",
            "[possible values: saved_model, frozen, onnx, tflite]",
        ),
    ] {
        let output = run(&["--flagfile=flags", "--output_directory=x", flag, value]);
        assert_refused(&output, 2, &[flag, expected]);
    }
}

#[test]
fn flags_of_absl_have_their_meaning() {
    let root = exported();
    let flags = "--pipeline_config_path=pipeline.config\n--trained_checkpoint_dir=checkpoint\n--output_directory=new\n--only_check_args\n";
    fs::write(root.path().join("flags"), flags).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(TFOD);
        let command = command.current_dir(root.path()).arg("export");
        command.args(arguments).output().unwrap()
    };
    let checked = ["--flagfile=flags", "--undefok=of-later", "--of_later=1"];
    let output = run(&[&checked[..], &["--run_with_pdb", "--log_dir=logs"]].concat());
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let note = "warning: --run_with_pdb has no effect; it is a flag for programs in Python\n";
    assert_eq!(String::from_utf8_lossy(&output.stderr), note);
    let files = [
        "--input_type=encoded_image_string_tensor",
        "--input_size=9x9",
    ];
    let output = run(&[&checked[..], &files].concat());
    assert_refused(&output, 2, &["--input_size 9x9: expected none"]);
    let output = run(&["--only_check_args"]);
    assert_refused(&output, 2, &["--pipeline_config_path"]);
    let output = run(&["--flagfile=flags", "--of_later=1"]);
    assert_refused(&output, 2, &["--of_later"]);
    assert!(!root.path().join("new").exists());

    for (flag, same) in [
        ("--helpshort", "-h"),
        ("--helpfull", "--help"),
        ("-?", "-h"),
    ] {
        let output = run(&[flag]);
        assert!(output.status.success(), "{flag}: {output:?}");
        assert_eq!(output.stdout, run(&[same]).stdout, "{flag}");
    }
    let output = run(&["--helpxml"]);
    assert!(output.status.success(), "{output:?}");
    let xml = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(xml.starts_with("<?xml version=\"1.0\""), "{xml}");
    assert!(xml.contains("<name>config_override</name>"), "{xml}");
    assert_eq!(
        xml.matches("<flag>").count(),
        xml.matches("</flag>").count()
    );
    assert!(run(&["--only_check_flags"]).status.success());
}

#[test]
fn a_negative_value_is_answered_with_what_is_expected() {
    let root = tempfile::tempdir().unwrap();
    for (flag, value, expected) in [
        ("--iou_threshold", "-inf", "expected a number from 0 to 1"),
        ("--iou-threshold", "-0.5", "expected a number from 0 to 1"),
        ("--score_threshold", "-inf", "expected a number from 0 to 1"),
        ("--max_detections", "-1", "expected"),
        ("--batch", "-1", "expected 1 to"),
    ] {
        let output = export(root.path(), "new", &[flag, value]);
        let flag = flag.replace("u-t", "u_t");
        assert_refused(&output, 2, &[&flag, &format!("'{value}'"), expected]);
    }
}

/// A SavedModel in the place of a checkpoint: what is proposed instead is not refused in turn.
#[test]
fn what_is_proposed_for_a_saved_model_works() {
    let root = exported();
    let export = |checkpoint: &str| {
        let mut command = Command::new(TFOD);
        command.current_dir(root.path()).args([
            "export",
            "--pipeline_config_path",
            "pipeline.config",
            "--trained_checkpoint_dir",
            checkpoint,
            "--output_directory",
            "new",
        ]);
        command.output().unwrap()
    };
    let output = export("out/saved_model");
    let words = ["it is a SavedModel; did you mean out/checkpoint?"];
    assert_refused(&output, 1, &words);
    assert!(export("out/checkpoint").status.success());
    fs::remove_dir_all(root.path().join("out/checkpoint")).unwrap();
    let output = export("out/saved_model");
    assert_refused(&output, 1, &["give the folder that training wrote to"]);
}
