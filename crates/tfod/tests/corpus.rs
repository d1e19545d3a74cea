//! Real users' configs and checkpoints, when a folder of them is named by `TFOD_CORPUS`: each subfolder has a `pipeline.config`, the index of a
//! checkpoint (the data may be missing), or both. What `tfod check` says of each is compared with `corpus_verdicts.tsv`, which has been gone
//! through by hand. With `TFOD_BLESS` set, the file is written anew.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tfod::{Check, CheckReport, CheckpointKind, ConfigKind, Suggestion};
use tfod_checkpoint::{Bundle, locate};
use tfod_config::PipelineConfig;
use tfod_models::{GraphOptions, build};

const HEAD: &str = "case\tconfig\tcheckpoint\tverdict\tdetails";

/// What is known of one case, as a line of the file without its name.
fn verdict(folder: &Path) -> String {
    let config = Some(folder.join("pipeline.config")).filter(|path| path.exists());
    let variables = folder.join("variables");
    let checkpoint = if variables.is_dir() {
        variables
    } else {
        // A state file may name a checkpoint that was not collected.
        let alone = index(folder).filter(|_| locate(folder, None).is_err());
        alone.unwrap_or_else(|| folder.to_owned())
    };
    let [config, checkpoint, verdict, details] = match (config, locate(&checkpoint, None)) {
        (Some(config), Ok(_)) => both(config, checkpoint, folder),
        (None, Ok(located)) => match Bundle::open(located.prefix) {
            Ok(bundle) => {
                let kind = CheckpointKind::of(&bundle);
                [
                    "-".to_owned(),
                    kind.to_string(),
                    kind.word().to_owned(),
                    String::new(),
                ]
            }
            Err(error) => problem(&error, folder),
        },
        (Some(config), Err(_)) => config_alone(&config, folder),
        (None, Err(error)) => problem(&error, folder),
    };
    format!("{config}\t{checkpoint}\t{verdict}\t{details}")
}

/// The only index in a folder.
fn index(folder: &Path) -> Option<PathBuf> {
    let paths = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    paths
        .into_iter()
        .find(|path| path.extension().is_some_and(|ending| ending == "index"))
}

fn problem(error: &dyn std::error::Error, folder: &Path) -> [String; 4] {
    let text = error.to_string();
    let text = text.replace(&format!("{}/", folder.display()), "");
    let text = text.replace(&folder.display().to_string(), ".");
    let text = text.lines().next().unwrap_or_default().to_owned();
    ["-".to_owned(), "-".to_owned(), "error".to_owned(), text]
}

/// A config without a checkpoint.
fn config_alone(path: &Path, folder: &Path) -> [String; 4] {
    let config = match PipelineConfig::read(path) {
        Ok(parsed) => parsed.config,
        Err(error) => return problem(&error, folder),
    };
    let model = config.message().model.as_ref().unwrap();
    let (verdict, details) = match build(model, &GraphOptions::default()) {
        Ok(_) => ("supported", String::new()),
        Err(error) => ("unsupported", error.to_string()),
    };
    let kind = ConfigKind::of(model).unwrap();
    [
        kind.to_string(),
        "-".to_owned(),
        verdict.to_owned(),
        details,
    ]
}

fn both(pipeline_config: PathBuf, checkpoint_dir: PathBuf, folder: &Path) -> [String; 4] {
    let check = Check::new(pipeline_config, checkpoint_dir);
    match check.run() {
        Ok(report) => [
            report
                .config
                .as_ref()
                .map_or_else(|| "no model".to_owned(), ToString::to_string),
            report.checkpoint.to_string(),
            report.verdict.word().to_owned(),
            details(&report),
        ],
        Err(error) => problem(&error, folder),
    }
}

fn details(report: &CheckReport) -> String {
    let counts = report.counts.map(|counts| {
        let (matched, total) = (counts.matched, counts.total);
        let unused = match counts.unused {
            0 => String::new(),
            unused => format!(", {unused} left over"),
        };
        format!("{matched} of {total}{unused}")
    });
    let causes = report.explanation.causes.iter().map(|cause| {
        let field = cause.field.rsplit('.').next().unwrap_or_default();
        format!("{field}: {} instead of {}", cause.configured, cause.trained)
    });
    let closest = report.closest.as_ref().map(|closest| {
        let Suggestion {
            extractor,
            num_classes,
            matched,
            total,
            complete,
            ..
        } = closest;
        let classes = num_classes.unwrap_or_default();
        format!(
            "nearest {extractor}, {classes} classes: {matched} of {total}, complete: {complete}"
        )
    });
    let parts = counts
        .into_iter()
        .chain(report.refused.clone())
        .chain(causes)
        .chain(closest);
    parts.collect::<Vec<_>>().join("; ")
}

#[test]
fn real_cases_get_the_verdicts_that_are_written_down() {
    let Some(corpus) = std::env::var_os("TFOD_CORPUS") else {
        println!("skipped: TFOD_CORPUS is not set");
        return;
    };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus_verdicts.tsv");
    let folders = fs::read_dir(corpus)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let found: BTreeMap<String, String> = folders
        .filter(|path| path.is_dir())
        .map(|path| {
            let case = path.file_name().unwrap().to_str().unwrap().to_owned();
            (case, verdict(&path))
        })
        .collect();
    if std::env::var_os("TFOD_BLESS").is_some() {
        let lines = found.iter().map(|(case, line)| format!("{case}\t{line}\n"));
        fs::write(&file, format!("{HEAD}\n{}", lines.collect::<String>())).unwrap();
        return;
    }
    let text = fs::read_to_string(&file).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some(HEAD));
    let expected: BTreeMap<String, String> = lines
        .map(|line| line.split_once('\t').unwrap())
        .map(|(case, line)| (case.to_owned(), line.to_owned()))
        .collect();
    let wrong: Vec<String> = found
        .keys()
        .chain(expected.keys().filter(|case| !found.contains_key(*case)))
        .filter(|case| found.get(*case) != expected.get(*case))
        .map(|case| {
            format!(
                "{case}\n  found    {:?}\n  expected {:?}\n",
                found.get(case),
                expected.get(case)
            )
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.concat());
}
