//! Real users' checkpoints, when a folder of them is named by `TFOD_CORPUS`: each subfolder has a `pipeline.config` and the index of a checkpoint (the data may be
//! missing). Configs of supported architectures are compared with the variables that the index lists.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tfod_checkpoint::{Bundle, variable_key};
use tfod_config::PipelineConfig;
use tfod_models::fit::{Explanation, Fit, Found, Variables, explain};
use tfod_models::{GraphOptions, build};

/// The variables of an index, found by the key that a path from the model has. TensorFlow stores a variable under its shortest path; those are
/// the paths that architectures give.
struct Index(BTreeMap<String, (usize, Vec<u64>)>);

impl Index {
    fn open(prefix: &Path) -> Self {
        let bundle = Bundle::open(prefix).unwrap();
        let entries = bundle.entries().filter(|entry| {
            entry.key().starts_with("model/") && !entry.key().contains("/.OPTIMIZER_SLOT/")
        });
        let variables = entries.enumerate().map(|(id, entry)| {
            let shape = entry.shape().iter().map(|n| *n as u64).collect();
            (entry.key().to_owned(), (id, shape))
        });
        Self(variables.collect())
    }
}

impl Variables for Index {
    fn find(&self, path: &[String]) -> Option<Found<'_>> {
        let full: Vec<&str> = std::iter::once("model")
            .chain(path.iter().map(String::as_str))
            .collect();
        let (id, shape) = self.0.get(&variable_key(&full))?;
        Some(Found { id: *id, shape })
    }

    fn count(&self) -> usize {
        self.0.len()
    }
}

fn file_with_ending(folder: &Path, ending: &str) -> Option<PathBuf> {
    let files = fs::read_dir(folder).ok()?.filter_map(Result::ok);
    let mut paths: Vec<PathBuf> = files.map(|f| f.path()).collect();
    paths.sort();
    paths
        .into_iter()
        .find(|p| p.extension().is_some_and(|e| e == ending))
}

/// `None` for a folder without a config of a supported architecture, or without an index.
fn compare(folder: &Path) -> Option<(Fit, Explanation)> {
    let index = file_with_ending(folder, "index")?.with_extension("");
    let config = PipelineConfig::read(&file_with_ending(folder, "config")?)
        .ok()?
        .config;
    let model = config.message().model.as_ref()?;
    let built = build(model, &GraphOptions::default()).ok()?;
    let variables = Index::open(&index);
    Some((Fit::new(&built, &variables), explain(model, &variables)))
}

#[test]
fn real_checkpoints_fit_their_configs_and_misfits_are_explained() {
    let Some(corpus) = std::env::var_os("TFOD_CORPUS") else {
        println!("skipped: TFOD_CORPUS is not set");
        return;
    };
    // What is known of the cases that do not fit: the field, and the value that the checkpoint was trained with.
    let misfits = BTreeMap::from([
        (
            "effdet_d0_512_zoo_handwritten_config",
            ("num_classes", "90"),
        ),
        (
            "fpnlite_640_zoo_config_edited_classes",
            ("num_classes", "90"),
        ),
        (
            "ssd_mnv2_300_zoo_config_edited_classes",
            ("num_classes", "90"),
        ),
    ]);
    // A classifier's checkpoint under a detector's config: nothing fits, and no field is to blame.
    let foreign = "backbone_mnv2_imagenet_two_shards";
    let mut compared = Vec::new();
    for entry in fs::read_dir(corpus).unwrap() {
        let folder = entry.unwrap().path();
        let Some((fit, explanation)) = compare(&folder) else {
            continue;
        };
        let case = folder.file_name().unwrap().to_str().unwrap().to_owned();
        match misfits.get(case.as_str()) {
            None if case == foreign => {
                assert_eq!(fit.missing.len(), fit.total(), "{case}");
                assert!(explanation.causes.is_empty(), "{case}: {explanation:?}");
            }
            None => {
                assert!(
                    fit.is_complete() && fit.unused == 0,
                    "{case}: {} missing, {} of another shape, {} unused: {explanation:?}",
                    fit.missing.len(),
                    fit.mismatched.len(),
                    fit.unused
                );
            }
            Some((field, trained)) => {
                assert!(explanation.complete, "{case}: {explanation:?}");
                let [cause] = explanation.causes.as_slice() else {
                    panic!("{case}: {explanation:?}");
                };
                assert!(cause.field.ends_with(field), "{case}: {explanation:?}");
                assert_eq!(cause.trained, *trained, "{case}");
            }
        }
        compared.push(case);
    }
    for case in misfits.keys().copied().chain([foreign]) {
        assert!(
            compared.iter().any(|c| c == case),
            "{case} was not compared"
        );
    }
    assert!(compared.len() >= 18, "{compared:?}");
}
