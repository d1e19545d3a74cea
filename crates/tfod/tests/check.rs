//! `Check` over what can be made of the shipped example: without its data, as another kind of checkpoint, of no detector.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../tfod-cli/tests/common/mod.rs"]
mod common;

use std::fs;
use std::path::Path;

use common::copy_example;
use tfod::{Check, CheckReport, CheckpointKind, Export, Family, Verdict};
use tfod_checkpoint::{Bundle, BundleWriter, DType, OBJECT_GRAPH_KEY};

fn example() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    copy_example(root.path());
    root
}

fn check(root: &Path, checkpoint: &str) -> CheckReport {
    let check = Check::new(root.join("pipeline.config"), root.join(checkpoint));
    check.run().unwrap()
}

#[test]
fn the_index_is_enough() {
    let root = example();
    let whole = check(root.path(), "checkpoint");
    assert_eq!((whole.verdict, whole.index_alone), (Verdict::Fits, false));
    fs::remove_file(root.path().join("checkpoint/ckpt-3000.data-00000-of-00001")).unwrap();
    let index = check(root.path(), "checkpoint");
    assert_eq!((index.verdict, index.index_alone), (Verdict::Fits, true));
    assert_eq!(index.counts, whole.counts);
    assert_eq!(index.checkpoint, whole.checkpoint);
}

#[test]
fn what_stands_in_the_place_of_the_data_is_told() {
    let root = example();
    let data = root.path().join("checkpoint/ckpt-3000.data-00000-of-00001");
    let whole = check(root.path(), "checkpoint");
    assert_eq!(whole.data_problem, None);
    let bytes = fs::read(&data).unwrap();
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    let cut_short = "cut short: ";
    // The object graph is the last tensor in the file.
    for (content, problem) in [
        (&pointer[..], "a Git LFS pointer"),
        (&bytes[..1000], cut_short),
        (&bytes[..bytes.len() - 1], cut_short),
        (&[], cut_short),
    ] {
        fs::write(&data, content).unwrap();
        let report = check(root.path(), "checkpoint");
        assert_eq!((report.verdict, report.index_alone), (Verdict::Fits, true));
        assert_eq!(report.counts, whole.counts);
        let found = report.data_problem.unwrap();
        assert!(
            found.contains(problem) && found.contains("ckpt-3000.data"),
            "{found}"
        );
    }
}

/// A field may keep the model from being built though every layer is as it was trained.
#[test]
fn a_field_that_shapes_no_layer_is_what_to_change() {
    let root = example();
    let text = fs::read_to_string(root.path().join("pipeline.config")).unwrap();
    let field = "score_threshold: ";
    let (before, rest) = text.split_once(field).unwrap();
    let (_, after) = rest.split_once('\n').unwrap();
    let infinite = format!("{before}{field}inf\n{after}");
    fs::write(root.path().join("pipeline.config"), infinite).unwrap();
    let report = check(root.path(), "checkpoint");
    assert_eq!(report.verdict, Verdict::Unsupported);
    let reason = report.refused.as_deref().unwrap();
    assert!(reason.contains("score_threshold"), "{reason}");
    let advice = report.advice().unwrap();
    assert!(advice.contains("; change that field, or use"), "{advice}");
    assert!(!advice.contains("shapes layers"), "{advice}");
}

/// An export that is refused says as much as the check that would have been made before it.
#[test]
fn an_export_of_what_cannot_be_built_has_the_advice_of_a_check() {
    let root = example();
    let path = root.path().join("pipeline.config");
    let text = fs::read_to_string(&path).unwrap();
    let trained = "ssd_mobilenet_v2_fpn_keras";
    assert!(text.contains(trained));
    fs::write(&path, text.replace(trained, "ssd_mobilenet_v2_fpn")).unwrap();
    let advice = check(root.path(), "checkpoint").advice().unwrap();
    assert!(advice.contains(trained), "{advice}");
    let export = |checkpoint: &str| {
        let output = root.path().join("out");
        let export = Export::new(&path, root.path().join(checkpoint), output);
        export.run().unwrap_err().to_string()
    };
    let error = export("checkpoint");
    assert!(error.contains("pipeline.config: `model.ssd"), "{error}");
    assert!(error.ends_with(&format!("; {advice}")), "{error}");
    // What is wrong with the config comes first, whether there is a checkpoint or not.
    let without = export("absent");
    assert!(error.starts_with(&without), "{without}");
}

/// What training hangs on the model is none of its weights: a step counter, lists with names.
#[test]
fn counters_of_the_model_are_not_left_over() {
    let root = example();
    fs::remove_file(root.path().join("checkpoint/ckpt-3000.data-00000-of-00001")).unwrap();
    let fits = check(root.path(), "checkpoint");
    let index = Bundle::open(root.path().join("checkpoint/ckpt-3000")).unwrap();
    let key = "model/_training_step/.ATTRIBUTES/VARIABLE_VALUE";
    let mut keys: Vec<_> = index
        .entries()
        .map(|entry| (entry.key(), entry.dtype(), entry.shape()))
        .chain([(key, DType::Int64, &[][..])])
        .collect();
    keys.sort_unstable();
    let mut writer = BundleWriter::create(&root.path().join("trained-1")).unwrap();
    for (key, dtype, shape) in keys {
        match dtype.size() {
            Some(size) => {
                let bytes = vec![0; shape.iter().product::<usize>() * size];
                writer.add(key, dtype, shape, &bytes).unwrap();
            }
            None => writer.add_strings(key, &[], &["?"]).unwrap(),
        }
    }
    writer.finish_files().unwrap();
    let report = check(root.path(), "trained-1");
    assert_eq!(
        (report.verdict, report.counts),
        (Verdict::Fits, fits.counts)
    );
    assert!(report.data_problem.is_some(), "the object graph is none");
}

/// Writes a bundle with these keys, each a scalar; the object graph, if it is among them, is none.
fn write(root: &Path, keys: &[&str]) {
    let mut writer = BundleWriter::create(&root.join("other-1")).unwrap();
    for key in keys {
        if *key == OBJECT_GRAPH_KEY {
            writer.add_strings(key, &[], &["?"]).unwrap();
        } else {
            writer.add(key, DType::Int64, &[], &[0; 8]).unwrap();
        }
    }
    writer.finish_files().unwrap();
}

#[test]
fn what_is_no_detector_is_named() {
    let objects = OBJECT_GRAPH_KEY;
    let value = ".ATTRIBUTES/VARIABLE_VALUE";
    let backbone = format!("feature_extractor/layer_with_weights-0/kernel/{value}");
    let saved_model = format!("_model/_box_predictor/variables/0/{value}");
    let other = format!("net/dense/kernel/{value}");
    let step = format!("step/{value}");
    let save_counter = format!("save_counter/{value}");
    let cases: [(&[&str], CheckpointKind); 7] = [
        (
            &[objects, &save_counter, &step],
            CheckpointKind::BeforeFirstStep,
        ),
        (&[objects, &backbone], CheckpointKind::Backbone),
        (
            &[objects, &saved_model],
            CheckpointKind::SavedModelVariables(Some(Family::Ssd)),
        ),
        (
            &[objects, &other],
            CheckpointKind::Other(vec!["net".to_owned()]),
        ),
        (
            &["BoxPredictor_0/ClassPredictor/weights", "global_step"],
            CheckpointKind::TensorFlow1(Family::Ssd),
        ),
        (
            &["SecondStageBoxPredictor/ClassPredictor/weights"],
            CheckpointKind::TensorFlow1(Family::FasterRcnn),
        ),
        (&["dense/kernel", "global_step"], CheckpointKind::NameBased),
    ];
    for (keys, kind) in cases {
        let root = example();
        write(root.path(), keys);
        let report = check(root.path(), "other-1");
        assert_eq!(report.verdict, Verdict::NotADetector, "{keys:?}");
        assert_eq!(report.checkpoint, kind);
        assert!(report.counts.is_none() && report.closest.is_none());
    }
}

/// Its variables are an easy mistake for the checkpoint: they look like one.
#[test]
fn variables_of_a_saved_model_are_called_that_and_what_to_do_is_said() {
    let root = example();
    let checkpoint = root.path().join("checkpoint");
    let config = root.path().join("pipeline.config");
    let exported = root.path().join("exported");
    Export::new(&config, &checkpoint, &exported).run().unwrap();
    for given in ["variables", "variables/variables"] {
        let report = check(&exported, &format!("saved_model/{given}"));
        assert_eq!(report.verdict, Verdict::NotADetector);
        assert_eq!(report.checkpoint, CheckpointKind::SavedModelVariables(None));
        let advice = report.advice().unwrap();
        let beside = format!(
            "give the checkpoint beside it, {}",
            exported.join("checkpoint").display()
        );
        assert!(
            advice.contains("cannot be exported again") && advice.contains(&beside),
            "{advice}"
        );
        let again = Export::new(
            &config,
            exported.join("saved_model").join(given),
            root.path().join("again"),
        );
        let refused = again.run().unwrap_err().to_string();
        assert!(
            refused.contains("the variables of a SavedModel") && refused.contains(&advice),
            "{refused}"
        );
    }
    fs::remove_dir_all(exported.join("checkpoint")).unwrap();
    let advice = check(&exported, "saved_model/variables").advice().unwrap();
    let saved_model = exported.join("saved_model");
    assert!(
        advice.contains("give the checkpoint it was exported from, or"),
        "{advice}"
    );
    assert!(
        advice.ends_with(&format!(
            "or freeze the SavedModel: {}",
            saved_model.display()
        )),
        "{advice}"
    );
}

#[test]
fn detectors_of_another_family_are_named_and_put_off_only_if_they_cannot_be_exported() {
    let value = ".ATTRIBUTES/VARIABLE_VALUE";
    let cases = [
        (
            "model/_first_stage_box_predictor/_prediction_heads/0",
            Family::FasterRcnn,
        ),
        (
            "model/_mask_rcnn_box_predictor/_third_stage_heads/0",
            Family::MaskRcnn,
        ),
        (
            "model/_context_feature_extract_fn/_key_proj/projection/kernel",
            Family::ContextRcnn,
        ),
        (
            "model/_rfcn_box_predictor/_class_prediction_head/kernel",
            Family::Rfcn,
        ),
        (
            "model/_prediction_head_dict/object_center/0/0/kernel",
            Family::CenterNet,
        ),
    ];
    for (path, found) in cases {
        let root = example();
        // Without a shard there is no object graph to be read, as in an index that came alone.
        write(root.path(), &[OBJECT_GRAPH_KEY, &format!("{path}/{value}")]);
        fs::remove_file(root.path().join("other-1.data-00000-of-00001")).unwrap();
        let report = check(root.path(), "other-1");
        let CheckpointKind::Detector { family, .. } = report.checkpoint else {
            panic!("{report:?}");
        };
        assert_eq!(family, found);
        assert_eq!(report.verdict, Verdict::OtherArchitecture);
        let advice = report.advice().unwrap_or_default();
        let is_put_off = advice.contains("R-FCN cannot be exported yet");
        assert_eq!(is_put_off, found == Family::Rfcn, "{advice}");
        let counts = report.counts.unwrap();
        assert_eq!((counts.matched, counts.missing), (0, counts.total));
        assert!(report.closest.is_none() && report.explanation.causes.is_empty());
    }
}
