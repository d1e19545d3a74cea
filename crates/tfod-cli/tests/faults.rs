//! What can go wrong around an export while it runs: it is killed, the disk is full, the folder cannot be written, a file is cut short while it is
//! read, another export goes to the same place, paths are links, long, or no UTF-8; and checkpoints of enormous size.
//!
//! Whatever happens, an output is either as it was or whole, nothing outside of it is touched, and the command ends by itself with a message. Tests
//! that need a program (`strace`) or a right (to mount) that is not there say so and do nothing.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Instant;

use common::copy_example;
use tfod_checkpoint::table::{Table, TableWriter};
use tfod_checkpoint::{Bundle, BundleWriter, DType, OBJECT_GRAPH_KEY, shard_path};
use tfod_config::PipelineConfig;
use tfod_proto::BundleEntryProto;
use tfod_proto::prost::Message;
use tfod_tensorflow::{FreezeOptions, SavedModelReader};

const TFOD: &str = env!("CARGO_BIN_EXE_tfod");
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// A folder with the example in it.
fn example() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    copy_example(root.path());
    root
}

/// The arguments of an export of the example. `detections` is put into the config, so that exports can be told apart.
fn export_arguments(root: &Path, output: &Path, detections: u32) -> Vec<PathBuf> {
    let text = format!(
        "model {{ ssd {{ post_processing {{ batch_non_max_suppression {{
           max_detections_per_class: {detections} max_total_detections: {detections} }} }} }} }}"
    );
    vec![
        "export".into(),
        "--pipeline_config_path".into(),
        root.join("pipeline.config"),
        "--trained_checkpoint_dir".into(),
        root.join("checkpoint"),
        "--config_override".into(),
        text.into(),
        "--output_directory".into(),
        output.into(),
    ]
}

fn export(root: &Path, output: &Path, detections: u32) -> Output {
    Command::new(TFOD)
        .args(export_arguments(root, output, detections))
        .output()
        .unwrap()
}

#[track_caller]
fn assert_exported(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

/// Exit code 1, no signal, and a message with these words.
#[track_caller]
fn assert_refused(output: &Output, words: &[&str]) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.starts_with("error: "), "{message}");
    for word in words {
        assert!(message.contains(word), "no {word:?} in {message}");
    }
}

/// Checks that every part of an export is whole, and gives the number of detections in its config and its SavedModel's shape.
fn whole(output: &Path) -> u32 {
    let config = PipelineConfig::read(&output.join("pipeline.config")).unwrap();
    assert!(config.warnings.is_empty());
    let manifest = fs::read_to_string(output.join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    assert!(manifest.is_object());
    let bundle = Bundle::open(output.join("checkpoint/ckpt-0")).unwrap();
    for entry in bundle.entries() {
        if entry.dtype() == DType::String {
            bundle.strings(entry.key()).unwrap();
        } else {
            bundle.tensor(entry.key()).unwrap();
        }
    }
    let reader = SavedModelReader::open(&output.join("saved_model")).unwrap();
    let frozen = reader.freeze(&FreezeOptions::default()).unwrap();
    frozen.write_binary(&mut std::io::sink()).unwrap();
    let text = config.config.to_text();
    let (_, rest) = text.split_once("max_total_detections: ").unwrap();
    rest.split('\n').next().unwrap().parse().unwrap()
}

/// What is in a folder, by name.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The output after a process was killed: not there, or whole.
fn check_after_kill(output: &Path, was: Option<u32>, becomes: u32) {
    match was {
        None if !output.exists() => {}
        None => assert_eq!(whole(output), becomes),
        Some(was) => {
            let is = whole(output);
            assert!(is == was || is == becomes, "{is}");
        }
    }
}

/// Every system call that changes a file, a folder, or what is on the disk. Most are not used, which costs one export each.
const CHANGES: [&str; 24] = [
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "copy_file_range",
    "sendfile",
    "ftruncate",
    "fallocate",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "renameat2",
    "mkdir",
    "mkdirat",
    "unlink",
    "unlinkat",
    "rmdir",
    "link",
    "linkat",
    "chmod",
    "fchmod",
    "fchmodat",
    "flock",
];

/// Exports while `strace` sends a signal at one system call after the other: the first of its kind, the one `step` behind it, and so on until one export ends by itself.
/// Each time the output is as it `was` before, and `check` is called afterwards. Gives how often the signal ended an export; `None`, with a note, where there is no
/// `strace`, or none that may trace.
fn at_each(
    call: &str,
    step: usize,
    (signal, number): (&str, i32),
    (root, was): (&Path, Option<u32>),
    check: impl Fn(),
) -> Option<u32> {
    let output = root.join("out");
    let mut ends = 0;
    for when in (1..).step_by(step) {
        if output.exists() {
            fs::remove_dir_all(&output).unwrap();
        }
        if let Some(detections) = was {
            assert_exported(&export(root, &output, detections));
        }
        let ended = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-e"])
            .arg(format!("trace=?{call}"))
            .arg("-e")
            .arg(format!("inject=?{call}:signal={signal}:when={when}"))
            .arg(TFOD)
            .args(export_arguments(root, &output, 22))
            .output();
        let Ok(ended) = ended else {
            println!("skipped: there is no strace");
            return None;
        };
        if ended.status.success() {
            break;
        }
        if ended.status.signal() != Some(number) {
            println!("skipped: strace cannot trace here: {ended:?}");
            return None;
        }
        ends += 1;
        check_after_kill(&output, was, 22);
        check();
    }
    Some(ends)
}

#[test]
fn an_export_killed_at_any_write_leaves_the_old_output_or_the_whole_new_one() {
    let root = example();
    let output = root.path().join("out");
    for was in [None, Some(11)] {
        let mut kills = 0;
        for call in CHANGES {
            // Weights are written in many pieces; one in ten of them has to do for the second round.
            let step = if call == "write" && was.is_some() {
                10
            } else {
                1
            };
            let killed = at_each(call, step, ("KILL", SIGKILL), (root.path(), was), || {});
            let Some(killed) = killed else { return };
            kills += killed;
        }
        assert!(kills > 20, "{kills}");
        println!("{kills} kills, old output: {was:?}");
        // The last one was not killed: it has removed what the others left.
        assert_eq!(whole(&output), 22);
        assert_eq!(names(root.path()), ["checkpoint", "out", "pipeline.config"]);
        assert!(names(&output).iter().all(|name| !name.starts_with('.')));
    }
}

/// Runs the command under `strace`; gives its calls that wait for the disk and that rename, in order. `None`, with a note, where nothing can be traced.
fn syncs_and_renames(root: &Path, arguments: &[PathBuf]) -> Option<Vec<String>> {
    let log = root.join("calls");
    let traced = Command::new("strace")
        .args(["-f", "-y", "-qq", "-e", "signal=none", "-e"])
        .arg("trace=fsync,fdatasync,sync_file_range,?rename,?renameat,?renameat2")
        .arg("-o")
        .arg(&log)
        .arg(TFOD)
        .args(arguments)
        .output();
    let Ok(traced) = traced else {
        println!("skipped: there is no strace");
        return None;
    };
    if !traced.status.success() {
        println!("skipped: strace cannot trace here: {traced:?}");
        return None;
    }
    let calls = fs::read_to_string(&log).unwrap();
    fs::remove_file(&log).unwrap();
    // Each line begins with the number of a process.
    let calls = calls.lines().filter_map(|line| line.split_once(' '));
    Some(calls.map(|(_, call)| call.trim().to_owned()).collect())
}

/// What is replaced is gone for ever if the power fails before the new files are on the disk; what is new need not wait.
#[test]
fn what_is_replaced_stays_until_the_new_files_are_on_the_disk() {
    let root = example();
    let root = root.path();
    assert_exported(&export(root, &root.join("exported"), 11));
    let freeze = |output: &Path| {
        let arguments = ["freeze", "--saved_model_dir", "exported/saved_model"];
        let mut arguments = arguments.map(PathBuf::from).to_vec();
        arguments[2] = root.join(&arguments[2]);
        arguments.extend(["--output".into(), output.into()]);
        arguments
    };
    let mut commands = vec![
        ("out", export_arguments(root, &root.join("out"), 22)),
        ("frozen.pb", freeze(&root.join("frozen.pb"))),
    ];
    if cfg!(feature = "run") {
        let mut detect = vec![PathBuf::from("detect"), root.join("exported")];
        let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shapes/images");
        detect.extend([pictures, "--output".into(), root.join("found")]);
        commands.push(("found", detect));
    }
    for (name, arguments) in commands {
        let target = root.join(name);
        let Some(first) = syncs_and_renames(root, &arguments) else {
            return;
        };
        assert!(!first.iter().any(|call| call.contains("sync")), "{first:?}");
        let Some(second) = syncs_and_renames(root, &arguments) else {
            return;
        };
        let in_target = |call: &String| {
            call.starts_with("rename") && call.contains(&format!("\"{}", target.display()))
        };
        let renamed = second.iter().position(in_target).unwrap();
        let (before, after) = second.split_at(renamed);
        assert!(
            !after.iter().any(|call| call.contains("sync")),
            "{second:#?}"
        );
        for file in regular_files(&target) {
            // Below `new` of the folder beside: a single file has a name of its own there.
            let inside = file.strip_prefix(&target).unwrap();
            let written = if inside == Path::new("") {
                Path::new("file")
            } else {
                inside
            };
            let end = format!("/new/{}>", written.display());
            assert!(
                before
                    .iter()
                    .any(|call| call.starts_with("fsync") && call.contains(&end)),
                "{name}: nobody waits for {}: {second:#?}",
                file.display()
            );
        }
    }
}

/// The regular files below a path, or that path.
fn regular_files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).unwrap();
    entries
        .flat_map(|entry| regular_files(&entry.unwrap().path()))
        .collect()
}

/// A signal that can be handled, at many calls: the old output or the whole new one, and nothing beside it, at once.
#[test]
fn an_export_ended_at_any_call_leaves_nothing_beside_its_output() {
    let root = example();
    let output = root.path().join("out");
    let nothing_beside = || {
        let inside = if output.exists() {
            names(&output)
        } else {
            Vec::new()
        };
        assert!(
            inside.iter().all(|name| !name.starts_with('.')),
            "{inside:?}"
        );
        let mut beside = names(root.path());
        beside.retain(|name| name != "out");
        assert_eq!(beside, ["checkpoint", "pipeline.config"]);
    };
    let calls = [
        ("write", 40),
        ("mkdir", 1),
        ("rename", 1),
        ("renameat2", 1),
        ("unlinkat", 1),
        ("flock", 1),
        ("openat", 3),
    ];
    let mut ends = 0;
    for was in [None, Some(11)] {
        for (call, step) in calls {
            let signal = ("TERM", SIGTERM);
            let ended = at_each(call, step, signal, (root.path(), was), nothing_beside);
            let Some(ended) = ended else { return };
            ends += ended;
        }
    }
    println!("{ends} ends");
    assert!(ends > 20, "{ends}");
}

#[test]
fn an_export_killed_at_any_time_leaves_the_old_output_or_the_whole_new_one() {
    let root = example();
    let output = root.path().join("out");
    let start = Instant::now();
    assert_exported(&export(root.path(), &output, 11));
    let duration = start.elapsed();
    for part in 0..40 {
        let mut child = Command::new(TFOD)
            .args(export_arguments(root.path(), &output, 22))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        sleep(duration * part / 40);
        let _ = child.kill();
        child.wait().unwrap();
        check_after_kill(&output, Some(11), 22);
    }
    assert_exported(&export(root.path(), &output, 33));
    assert_eq!(whole(&output), 33);
    assert!(names(&output).iter().all(|name| !name.starts_with('.')));
}

/// A file system in memory, unmounted when dropped.
struct Mount(tempfile::TempDir);

impl Mount {
    /// `None`, with a note, where this process may not mount.
    fn new(options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mount = Self(folder);
        if mount.mount(options) {
            return Some(mount);
        }
        println!("skipped: no right to mount a file system");
        None
    }

    fn mount(&self, options: &str) -> bool {
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(self.0.path())
            .output();
        done.is_ok_and(|output| output.status.success())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).output();
    }
}

#[test]
fn a_full_disk_is_an_error_and_leaves_no_trace() {
    let root = example();
    // From room for nothing, through the checkpoint and the SavedModel, to just too little for both.
    for kilobytes in [16, 64, 400, 1200, 1600, 2400, 3000] {
        let Some(disk) = Mount::new(&format!("size={kilobytes}k")) else {
            return;
        };
        let output = disk.0.path().join("out");
        let ended = export(root.path(), &output, 5);
        assert_refused(
            &ended,
            &["No space left on device", disk.0.path().to_str().unwrap()],
        );
        assert_eq!(names(disk.0.path()), [] as [String; 0], "{kilobytes}");
    }
}

#[test]
fn a_disk_that_is_full_the_second_time_keeps_the_first_export() {
    let Some(disk) = Mount::new("size=5000k") else {
        return;
    };
    let root = example();
    let output = disk.0.path().join("out");
    assert_exported(&export(root.path(), &output, 5));
    assert_refused(
        &export(root.path(), &output, 6),
        &["No space left on device"],
    );
    assert_eq!(whole(&output), 5);
    assert!(names(&output).iter().all(|name| !name.starts_with('.')));
}

/// A limit on the size of files, whether the caller ignores the signal that it raises or not.
#[test]
fn a_limit_on_file_sizes_is_an_error_that_leaves_no_trace() {
    let root = example();
    for (blocks, trap) in [(1, true), (20, true), (600, true), (1, false), (600, false)] {
        let output = root.path().join("out");
        let script = format!(
            "{} ulimit -f {blocks}; exec \"$@\"",
            if trap { "trap '' XFSZ;" } else { "" }
        );
        let ended = Command::new("sh")
            .args(["-c", &script, "sh", TFOD])
            .args(export_arguments(root.path(), &output, 5))
            .output()
            .unwrap();
        assert_refused(&ended, &["File too large"]);
        assert_eq!(names(root.path()), ["checkpoint", "pipeline.config"]);
    }
    assert_exported(&export(root.path(), &root.path().join("out"), 5));
    assert_eq!(names(root.path()), ["checkpoint", "out", "pipeline.config"]);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let Some(disk) = Mount::new("size=5000k") else {
        return;
    };
    let root = example();
    let output = disk.0.path().join("out");
    assert_exported(&export(root.path(), &output, 5));
    assert!(disk.mount("remount,ro"));
    for output in [&output, &disk.0.path().join("new")] {
        let ended = export(root.path(), output, 6);
        let folder = disk.0.path().to_str().unwrap();
        assert_refused(&ended, &["Read-only file system", folder]);
    }
    assert_eq!(whole(&output), 5);
}

#[test]
fn a_checkpoint_cut_short_while_it_is_read_is_an_error_and_no_signal() {
    let root = example();
    // Large tensors beyond the model's, so that there is something to read for a while.
    let data = root.path().join("checkpoint/ckpt-3000.data-00000-of-00001");
    let bytes = fs::read(&data).unwrap();
    let (mut errors, mut exports) = (0, 0);
    let start = Instant::now();
    assert_exported(&export(root.path(), &root.path().join("first"), 5));
    let duration = start.elapsed();
    for round in 0..30 {
        fs::write(&data, &bytes).unwrap();
        let output = root.path().join(format!("out{round}"));
        let child = Command::new(TFOD)
            .args(export_arguments(root.path(), &output, 5))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        sleep(duration * round / 30);
        let file = OpenOptions::new().write(true).open(&data).unwrap();
        file.set_len(u64::from(round % 3) * bytes.len() as u64 / 3)
            .unwrap();
        let ended = child.wait_with_output().unwrap();
        if ended.status.success() {
            assert_eq!(whole(&output), 5);
            exports += 1;
        } else {
            let reason = String::from_utf8_lossy(&ended.stderr).into_owned();
            assert_refused(&ended, &["ckpt-3000.data-00000-of-00001"]);
            assert!(reason.contains("cut short"), "{reason}");
            assert!(!output.exists());
            errors += 1;
        }
    }
    println!("{errors} errors, {exports} exports");
    assert!(errors > 0);
}

#[test]
fn exports_into_one_folder_at_once_give_one_of_them() {
    let root = example();
    let output = root.path().join("out");
    for _already_there in [false, true] {
        let children: Vec<_> = (1..=6)
            .map(|detections| {
                Command::new(TFOD)
                    .args(export_arguments(root.path(), &output, detections))
                    .stdout(Stdio::null())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        let ended: Vec<Output> = children
            .into_iter()
            .map(|child| child.wait_with_output().unwrap())
            .collect();
        // The one that comes second takes the place of the first, in a new place as in an old one.
        for ended in &ended {
            assert_exported(ended);
        }
        assert!((1..=6).contains(&whole(&output)));
        assert!(names(&output).iter().all(|name| !name.starts_with('.')));
        assert_eq!(names(root.path()), ["checkpoint", "out", "pipeline.config"]);
    }
}

#[test]
fn links_are_followed_to_the_output_and_nothing_outside_is_touched() {
    let root = example();
    let outside = root.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("saved_model.pb"), "mine").unwrap();
    fs::write(outside.join("ckpt-0.index"), "mine").unwrap();
    fs::write(outside.join("file"), "mine").unwrap();

    // The output is a link to a folder: the export goes there, and the link stays.
    let real = root.path().join("real");
    fs::create_dir(&real).unwrap();
    let output = root.path().join("out");
    symlink(&real, &output).unwrap();
    // In it, links out of it stand where parts of an export go.
    symlink(&outside, real.join("saved_model")).unwrap();
    symlink(&outside, real.join("checkpoint")).unwrap();
    symlink(outside.join("file"), real.join("pipeline.config")).unwrap();
    symlink(outside.join("nowhere"), real.join("manifest.json")).unwrap();
    let ended = export(root.path(), &output, 5);
    for name in ["saved_model.pb", "ckpt-0.index", "file"] {
        assert_eq!(fs::read(outside.join(name)).unwrap(), b"mine", "{name}");
    }
    assert_eq!(names(&outside), ["ckpt-0.index", "file", "saved_model.pb"]);
    assert_exported(&ended);
    assert!(output.is_symlink());
    assert_eq!(whole(&output), 5);

    // A link that leads nowhere, or to itself, is an error.
    for (link, target) in [("broken", "nowhere"), ("circle", "circle")] {
        symlink(root.path().join(target), root.path().join(link)).unwrap();
        assert_refused(&export(root.path(), &root.path().join(link), 5), &[link]);
    }
    assert!(!root.path().join("nowhere").exists());

    // A checkpoint may be given by links.
    let linked = root.path().join("linked");
    fs::create_dir(&linked).unwrap();
    for name in names(&root.path().join("checkpoint")) {
        symlink(
            root.path().join("checkpoint").join(&name),
            linked.join(&name),
        )
        .unwrap();
    }
    let mut arguments = export_arguments(root.path(), &root.path().join("from_links"), 7);
    arguments[4] = linked;
    assert_exported(&Command::new(TFOD).args(arguments).output().unwrap());
    assert_eq!(whole(&root.path().join("from_links")), 7);
}

#[test]
fn long_and_foreign_paths_work_or_are_an_error() {
    let root = example();
    let longest = "\u{e9}".repeat(127) + "x";
    assert_eq!(longest.len(), 255);
    let names: [&OsStr; 5] = [
        OsStr::new("mit Leerzeichen, \u{e9}\u{4e16}\u{754c} \u{1f600}"),
        OsStr::new(&longest),
        OsStr::from_bytes(b"not\xffutf8"),
        OsStr::new("-starts-with-a-hyphen"),
        OsStr::new("line\nbreak"),
    ];
    for name in names {
        let folder = root.path().join(name);
        fs::create_dir(&folder).unwrap();
        copy_example(&folder);
        let output = folder.join(name);
        assert_exported(&export(&folder, &output, 5));
        assert_eq!(whole(&output), 5, "{}", name.display());
    }
    // As deep as the system allows, and deeper.
    let mut deep = root.path().to_owned();
    while deep.as_os_str().len() < 3600 {
        deep.push("d".repeat(200));
    }
    assert_exported(&export(root.path(), &deep, 5));
    while deep.as_os_str().len() < 5000 {
        deep.push("d".repeat(200));
    }
    assert_refused(&export(root.path(), &deep, 5), &["File name too long"]);
    let too_long = root.path().join("x".repeat(256));
    assert_refused(&export(root.path(), &too_long, 5), &["File name too long"]);
}

/// Writes the example's checkpoint anew, with other tensors beyond it; keys in ascending order.
fn with_more_tensors(root: &Path, more: impl Iterator<Item = String>) {
    let prefix = root.join("checkpoint/ckpt-3000");
    let bundle = Bundle::open(&prefix).unwrap();
    let large = root.join("large-1");
    let mut writer = BundleWriter::create(&large).unwrap();
    let mut own: Vec<&str> = bundle.entries().map(tfod_checkpoint::Entry::key).collect();
    own.reverse();
    let mut copy_below = |writer: &mut BundleWriter<_, _>, limit: Option<&str>| {
        while let Some(key) = own.pop_if(|key| limit.is_none_or(|limit| *key < limit)) {
            if key == OBJECT_GRAPH_KEY {
                writer
                    .add_object_graph(&bundle.object_graph().unwrap())
                    .unwrap();
            } else {
                writer.copy(&bundle, key).unwrap();
            }
        }
    };
    for key in more {
        copy_below(&mut writer, Some(&key));
        writer
            .add(&key, DType::Float32, &[2], &[0, 0, 128, 63, 0, 0, 0, 64])
            .unwrap();
    }
    copy_below(&mut writer, None);
    writer.finish_files().unwrap();
}

/// Runs with this many kilobytes of memory of its own at most; mapped files do not count.
fn with_memory(kilobytes: u32, arguments: Vec<PathBuf>) -> Output {
    let script = format!("ulimit -d {kilobytes}; exec \"$@\"");
    Command::new("sh")
        .args(["-c", &script, "sh", TFOD])
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn a_checkpoint_of_a_hundred_thousand_tensors_is_exported() {
    const COUNT: usize = 100_000;
    let root = example();
    with_more_tensors(
        root.path(),
        (0..COUNT).map(|number| format!("model/zzz/{number:06}/.ATTRIBUTES/VARIABLE_VALUE")),
    );
    let output = root.path().join("out");
    let mut arguments = export_arguments(root.path(), &output, 5);
    arguments[4] = root.path().join("large-1");
    assert_exported(&with_memory(200_000, arguments));
    assert_eq!(whole(&output), 5);
}

/// Bytes before those of the model.
const GAP: u64 = 10 << 30;

#[test]
fn a_checkpoint_of_ten_gigabytes_is_exported() {
    let root = example();
    let prefix = root.path().join("checkpoint/ckpt-3000");
    let data_path = shard_path(&prefix, 0, 1);
    let data = fs::read(&data_path).unwrap();
    let mut file = File::create(&data_path).unwrap();
    file.seek(SeekFrom::Start(GAP)).unwrap();
    file.write_all(&data).unwrap();

    let index_path = tfod_checkpoint::index_path(&prefix);
    let index = fs::read(&index_path).unwrap();
    let mut writer = TableWriter::new(Vec::new());
    Table::open(&index_path, &index)
        .unwrap()
        .for_each(|key, value| {
            if key.is_empty() {
                return writer.add(key, value);
            }
            let mut entry = BundleEntryProto::decode(value).unwrap();
            entry.offset += i64::try_from(GAP).unwrap();
            writer.add(key, &entry.encode_to_vec())
        })
        .unwrap();
    fs::write(&index_path, writer.finish().unwrap()).unwrap();

    let output = root.path().join("out");
    assert_exported(&with_memory(
        200_000,
        export_arguments(root.path(), &output, 5),
    ));
    assert_eq!(whole(&output), 5);
}

/// Files of ten gigabytes of nothing where small ones belong are refused, in little memory.
#[test]
fn enormous_files_in_the_place_of_small_ones_are_refused() {
    for name in [
        "pipeline.config",
        "checkpoint/checkpoint",
        "checkpoint/ckpt-3000.index",
    ] {
        let root = example();
        File::create(root.path().join(name))
            .unwrap()
            .set_len(GAP)
            .unwrap();
        let output = root.path().join("out");
        let ended = with_memory(200_000, export_arguments(root.path(), &output, 5));
        assert_refused(&ended, &[name]);
        assert!(!output.exists());
    }
    let root = example();
    let model = root.path().join("model");
    fs::create_dir(&model).unwrap();
    let pb = File::create(model.join("saved_model.pb")).unwrap();
    pb.set_len(GAP).unwrap();
    let arguments = [
        "freeze".into(),
        "--saved_model_dir".into(),
        model,
        "--output".into(),
        root.path().join("frozen.pb"),
    ];
    let ended = with_memory(200_000, arguments.into());
    assert_refused(&ended, &["saved_model.pb", "protobuf"]);
}
