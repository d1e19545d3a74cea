//! Bad input: each case damages a copy of the shipped example, runs the command, and keeps what it says. Whatever the input, there is one error, exit code
//! 1, and no output.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::copy_example;
use tfod_checkpoint::{Bundle, BundleWriter};

/// A copy of the example in a folder of its own.
struct Example {
    root: tempfile::TempDir,
    arguments: Vec<(&'static str, String)>,
}

impl Example {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        copy_example(root.path());
        Self {
            root,
            arguments: vec![
                ("--pipeline_config_path", "pipeline.config".into()),
                ("--trained_checkpoint_dir", "checkpoint".into()),
                ("--output_directory", "out".into()),
            ],
        }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.root.path().join(file)
    }

    fn index(&self) -> PathBuf {
        self.path("checkpoint/ckpt-3000.index")
    }

    fn data(&self) -> PathBuf {
        self.path("checkpoint/ckpt-3000.data-00000-of-00001")
    }

    fn set(&mut self, flag: &'static str, value: &str) {
        self.arguments.retain(|(f, _)| *f != flag);
        self.arguments.push((flag, value.into()));
    }

    fn edit_config(&self, from: &str, to: &str) {
        let path = self.path("pipeline.config");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "the example's config has no {from:?}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    fn edit_bytes(&self, path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
        assert!(path.starts_with(self.root.path()));
        let mut bytes = fs::read(path).unwrap();
        edit(&mut bytes);
        fs::write(path, bytes).unwrap();
    }

    /// Exit code, and standard error with the folder's name taken out.
    fn run(&self) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tfod"));
        command.current_dir(self.root.path()).arg("export");
        for (flag, value) in &self.arguments {
            command.arg(flag).arg(value);
        }
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let root = fs::canonicalize(self.root.path()).unwrap();
        let stderr = stderr.replace(root.to_str().unwrap(), "[DIR]");
        (output.status.code(), stderr)
    }
}

/// The bytes of one tensor in the data shard.
fn tensor_range(example: &Example, key: &str) -> std::ops::Range<usize> {
    let bundle = Bundle::open(example.path("checkpoint/ckpt-3000")).unwrap();
    bundle.entry(key).unwrap().range()
}

/// Writes the example's checkpoint anew, with the object graph left out: what TensorFlow 1 writes.
fn without_object_graph(example: &Example) {
    let bundle = Bundle::open(example.path("checkpoint/ckpt-3000")).unwrap();
    let mut writer = BundleWriter::create(&example.path("checkpoint/model.ckpt-9")).unwrap();
    for entry in bundle.entries() {
        if entry.key() != tfod_checkpoint::OBJECT_GRAPH_KEY {
            writer.copy(&bundle, entry.key()).unwrap();
        }
    }
    writer.finish_files().unwrap();
}

/// A checkpoint of something that is no detector.
fn other_model(example: &Example) {
    let bundle = Bundle::open(example.path("checkpoint/ckpt-3000")).unwrap();
    let graph = bundle.object_graph().unwrap().subset(&["step"]);
    let mut writer = BundleWriter::create(&example.path("checkpoint/other-1")).unwrap();
    writer.add_object_graph(&graph).unwrap();
    writer
        .copy(&bundle, "step/.ATTRIBUTES/VARIABLE_VALUE")
        .unwrap();
    writer.finish_files().unwrap();
}

const LFS_POINTER: &str =
    "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1521421\n";

/// What is done to the example, and its name.
type Case = (&'static str, fn(&mut Example));

const CASES: &[Case] = &[
    ("no config", |e| {
        fs::remove_file(e.path("pipeline.config")).unwrap();
    }),
    ("a folder for a config", |e| {
        e.set("--pipeline_config_path", "checkpoint");
    }),
    ("syntax error in the config", |e| {
        e.edit_config("num_classes: 3", "num_classes: = 3");
    }),
    ("unclosed message", |e| {
        e.edit_config("iou_similarity {\n      }", "iou_similarity {");
    }),
    ("unknown field", |e| {
        e.edit_config("num_classes: 3", "num_clases: 3");
    }),
    ("value of another type", |e| {
        e.edit_config("num_classes: 3", "num_classes: 'three'");
    }),
    ("empty config", |e| {
        fs::write(e.path("pipeline.config"), "").unwrap();
    }),
    ("bad override", |e| {
        e.set("--config_override", "model { sd { } }");
    }),
    ("unsupported architecture", |e| {
        e.edit_config("ssd_mobilenet_v2_fpn_keras", "ssd_inception_v2_keras");
    }),
    ("another meta-architecture", |e| {
        let other = "model { experimental_model { name: 'mine' } }";
        e.set("--config_override", other);
    }),
    ("no checkpoint folder", |e| {
        e.set("--trained_checkpoint_dir", "trained");
    }),
    ("no checkpoint in the folder", |e| {
        fs::create_dir(e.path("empty")).unwrap();
        e.set("--trained_checkpoint_dir", "empty");
    }),
    ("a checkpoint that is not in the folder", |e| {
        e.set("--checkpoint", "12");
    }),
    ("TensorFlow 1 checkpoint", |e| {
        without_object_graph(e);
        e.set("--checkpoint", "model.ckpt-9");
    }),
    ("checkpoint of something else", |e| {
        other_model(e);
        e.set("--checkpoint", "other-1");
    }),
    ("Git LFS pointer for an index", |e| {
        fs::write(e.index(), LFS_POINTER).unwrap();
    }),
    ("Git LFS pointer for data", |e| {
        fs::write(e.data(), LFS_POINTER).unwrap();
    }),
    ("truncated index", |e| {
        e.edit_bytes(&e.index(), |bytes| bytes.truncate(9000));
    }),
    ("empty index", |e| e.edit_bytes(&e.index(), Vec::clear)),
    ("flipped byte in the index", |e| {
        e.edit_bytes(&e.index(), |bytes| bytes[5000] ^= 1);
    }),
    ("flipped byte in a tensor", |e| {
        let key = "model/_feature_extractor/classification_backbone/layer_with_weights-0/kernel/.ATTRIBUTES/VARIABLE_VALUE";
        let at = tensor_range(e, key).start;
        e.edit_bytes(&e.data(), |bytes| bytes[at] ^= 1);
    }),
    ("truncated data", |e| {
        e.edit_bytes(&e.data(), |bytes| bytes.truncate(1_000_000));
    }),
    ("missing shard", |e| fs::remove_file(e.data()).unwrap()),
    ("other number of classes", |e| {
        e.edit_config("num_classes: 3", "num_classes: 1");
    }),
    ("other number of tower layers", |e| {
        e.edit_config(
            "num_layers_before_predictor: 2",
            "num_layers_before_predictor: 4",
        );
    }),
    ("other width and dropout", |e| {
        e.edit_config("depth_multiplier: 0.35", "depth_multiplier: 0.5");
        e.edit_config(
            "num_layers_before_predictor: 2",
            "num_layers_before_predictor: 2 use_dropout: true",
        );
    }),
    ("a file in the output's place", |e| {
        fs::write(e.path("out"), "mine").unwrap();
    }),
    ("a file in the place of saved_model", |e| {
        fs::create_dir(e.path("out")).unwrap();
        fs::write(e.path("out/saved_model"), "mine").unwrap();
    }),
    ("a file in the place of the output's parent", |e| {
        fs::write(e.path("file"), "mine").unwrap();
        e.set("--output_directory", "file/out");
    }),
    ("an output folder that cannot be made", |e| {
        e.set("--output_directory", "/proc/tfod/out");
    }),
];

fn listing(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn every_bad_input_has_its_error_and_leaves_no_output() {
    let mut report = String::new();
    for (name, damage) in CASES {
        let mut example = Example::new();
        damage(&mut example);
        let before = listing(example.root.path());
        let (code, stderr) = example.run();
        assert_eq!(code, Some(1), "{name}: {stderr}");
        assert_eq!(listing(example.root.path()), before, "{name}");
        assert_eq!(stderr.matches("error: ").count(), 1, "{name}: {stderr}");
        writeln!(report, "# {name}\n{stderr}").unwrap();
    }
    insta::assert_snapshot!(report);
}

#[test]
fn a_failed_export_leaves_an_earlier_one_as_it_was() {
    let mut example = Example::new();
    assert_eq!(example.run().0, Some(0));
    let before = listing(&example.path("out"));
    let model = fs::read(example.path("out/saved_model/saved_model.pb")).unwrap();
    example.edit_config("num_classes: 3", "num_classes: 1");
    assert_eq!(example.run().0, Some(1));
    example.set("--config_override", "model { ssd { num_classes: 3 } }");
    example.edit_bytes(&example.data(), |bytes| bytes.truncate(1_000_000));
    assert_eq!(example.run().0, Some(1));
    assert_eq!(listing(&example.path("out")), before);
    assert_eq!(
        fs::read(example.path("out/saved_model/saved_model.pb")).unwrap(),
        model
    );
}

/// A limit on the size of files stands in for a full disk: a write fails, whether the caller ignores the signal of that limit or not.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_an_earlier_export_as_it_was() {
    let mut example = Example::new();
    assert_eq!(example.run().0, Some(0));
    let out = example.path("out");
    let contents = |folder: &Path| -> Vec<(PathBuf, Option<Vec<u8>>)> {
        let paths = listing(folder).into_iter();
        paths.map(|p| (p.clone(), fs::read(&p).ok())).collect()
    };
    let before = contents(&out);
    example.set("--input_type", "float_image_tensor");
    // Blocks of 512 bytes: at each size another file is the first that does not fit.
    for blocks in [1, 4, 20, 100, 1000, 2000, 2900] {
        for trap in ["trap '' XFSZ", ":"] {
            let arguments = example.arguments.iter();
            let arguments: Vec<String> = arguments.map(|(f, v)| format!("{f} {v}")).collect();
            let binary = env!("CARGO_BIN_EXE_tfod");
            let script = format!(
                "{trap}; ulimit -f {blocks}; exec {binary} export {}",
                arguments.join(" ")
            );
            let output = Command::new("sh")
                .args(["-c", &script])
                .current_dir(example.root.path())
                .output()
                .unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{blocks}: {stderr}");
            assert_eq!(contents(&out), before, "{blocks}");
            assert!(stderr.contains("File too large"), "{stderr}");
        }
    }
    assert_eq!(example.run().0, Some(0));
    assert!(
        listing(&out)
            .iter()
            .all(|p| !p.to_str().unwrap().contains("/.tfod-"))
    );
    assert_ne!(contents(&out), before);
}

#[test]
fn an_export_can_be_exported_onto_itself() {
    let mut example = Example::new();
    assert_eq!(example.run().0, Some(0));
    let first = fs::read(example.path("out/saved_model/saved_model.pb")).unwrap();
    example.set("--trained_checkpoint_dir", "out/checkpoint");
    example.set("--pipeline_config_path", "out/pipeline.config");
    let (code, stderr) = example.run();
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert_eq!(
        fs::read(example.path("out/saved_model/saved_model.pb")).unwrap(),
        first
    );
}

#[test]
fn a_state_file_from_another_machine_is_followed_by_name() {
    let example = Example::new();
    for path in ["C:\\\\train\\\\ckpt-3000", "/home/somebody/train/ckpt-3000"] {
        let state = format!("model_checkpoint_path: \"{path}\"\n");
        fs::write(example.path("checkpoint/checkpoint"), state).unwrap();
        assert_eq!(example.run(), (Some(0), String::new()), "{path}");
    }
}

#[test]
fn damage_in_the_training_part_of_the_config_is_a_warning() {
    let example = Example::new();
    example.edit_config("train_config {", "train_config {\n  no_such_field: 1");
    let (code, stderr) = example.run();
    assert_eq!(code, Some(0), "{stderr}");
    insta::assert_snapshot!(stderr);
}

#[test]
fn tower_layers_that_the_config_leaves_out_are_a_warning() {
    let example = Example::new();
    example.edit_config(
        "num_layers_before_predictor: 2",
        "num_layers_before_predictor: 1",
    );
    let (code, stderr) = example.run();
    assert_eq!(code, Some(0), "{stderr}");
    insta::assert_snapshot!(stderr);
}

/// A folder with the layout of the zoo's, into which the export of what is in it goes.
fn in_place() -> Example {
    let mut example = Example::new();
    for file in ["index", "data-00000-of-00001"] {
        let of = |name: &str| example.path(&format!("checkpoint/{name}.{file}"));
        fs::rename(of("ckpt-3000"), of("ckpt-0")).unwrap();
    }
    fs::write(
        example.path("checkpoint/checkpoint"),
        "model_checkpoint_path: \"ckpt-0\"\n",
    )
    .unwrap();
    example.set("--output_directory", ".");
    example
}

#[test]
fn inputs_are_not_replaced_by_less() {
    let example = in_place();
    let files = ["pipeline.config", "checkpoint/ckpt-0.index"];
    let before = files.map(|file| fs::read(example.path(file)).unwrap());
    let (code, said) = example.run();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("ckpt-0: the export would be put in its place, without ")
            && said.contains("tensors that are not the model's"),
        "{said}"
    );
    assert_eq!(
        files.map(|file| fs::read(example.path(file)).unwrap()),
        before
    );
    assert!(!example.path("saved_model").exists());
    // The state file would name the export's checkpoint alone.
    let mut example = Example::new();
    example.set("--output_directory", ".");
    let (code, said) = example.run();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("checkpoint/checkpoint: the export would be put in its place"),
        "{said}"
    );
    // Elsewhere nothing is in the way.
    example.set("--output_directory", "out");
    assert_eq!(example.run().0, Some(0));
    // What is a whole export already may be exported in its place.
    let mut again = Example::new();
    again.set("--output_directory", "out");
    assert_eq!(again.run().0, Some(0));
    again.set("--trained_checkpoint_dir", "out/checkpoint");
    again.set("--pipeline_config_path", "out/pipeline.config");
    let (code, said) = again.run();
    assert_eq!(code, Some(0), "{said}");
}
