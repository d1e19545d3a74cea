//! Indexes of real users' checkpoints, when the environment variable `TFOD_CORPUS` names a folder of them: each folder in
//! it is one case, and `INDEX.tsv` has a row per case with the number of its tensors and its key prefixes. Most cases
//! have no data shards.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};

use tfod_checkpoint::{Bundle, BundleKind, CheckpointState, Error, STATE_FILE, locate};

/// All files below `folder` whose names end in `suffix`.
fn files(folder: &Path, suffix: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, suffix, found);
        } else if path.to_str().unwrap().ends_with(suffix) {
            found.push(path);
        }
    }
}

#[test]
fn every_index_is_read_or_refused_for_what_it_is() {
    let Some(corpus) = std::env::var_os("TFOD_CORPUS").map(PathBuf::from) else {
        eprintln!("TFOD_CORPUS is not set: nothing to do");
        return;
    };
    let (mut indexes, mut graphs, mut without_shard) = (0, 0, 0);
    let table = fs::read_to_string(corpus.join("INDEX.tsv")).unwrap();
    for row in table.lines().skip(1) {
        let columns: Vec<&str> = row.split('\t').collect();
        let (case, tensors, prefixes) = (columns[0], columns[7], columns[8]);
        let folder = corpus.join(case);
        let mut paths = Vec::new();
        files(&folder, ".index", &mut paths);
        for path in paths {
            indexes += 1;
            let bundle = match Bundle::open(path.with_extension("")) {
                Err(Error::LfsPointer { .. }) if case.contains("lfs_pointer") => continue,
                other => other.unwrap(),
            };
            assert_eq!(
                bundle.entries().len(),
                tensors.parse::<usize>().unwrap(),
                "{case}"
            );
            let is_object_based = prefixes.contains("_CHECKPOINTABLE_OBJECT_GRAPH");
            assert_eq!(
                bundle.kind() == BundleKind::ObjectBased,
                is_object_based,
                "{case}"
            );
            match bundle.object_graph() {
                Ok(graph) => {
                    graphs += 1;
                    for (names, variable) in graph.breadth_first().variables() {
                        assert!(
                            bundle.get(variable.checkpoint_key).is_some(),
                            "{case}: {names:?}"
                        );
                        let found = graph.variable(graph.resolve(&names).unwrap()).unwrap();
                        assert_eq!(found, variable, "{case}: {names:?}");
                    }
                    for key in graph.checkpoint_keys() {
                        assert!(bundle.get(key).is_some(), "{case}: {key}");
                    }
                }
                Err(Error::MissingShard { .. }) => without_shard += 1,
                Err(Error::NameBased { .. }) => assert!(!is_object_based, "{case}"),
                Err(error) => panic!("{case}: {error}"),
            }
        }
    }
    eprintln!("{indexes} indexes, {graphs} object graphs, {without_shard} without their shard");
    assert!(indexes > 0 && graphs > 0);
}

#[test]
fn every_state_file_is_read_or_refused_for_what_it_is() {
    let Some(corpus) = std::env::var_os("TFOD_CORPUS").map(PathBuf::from) else {
        eprintln!("TFOD_CORPUS is not set: nothing to do");
        return;
    };
    let mut states = Vec::new();
    files(&corpus, STATE_FILE, &mut states);
    assert!(!states.is_empty());
    for path in states {
        let folder = path.parent().unwrap();
        match CheckpointState::read(&path) {
            Err(Error::LfsPointer { .. }) => {
                assert!(folder.to_str().unwrap().contains("lfs_pointer"));
            }
            state => {
                let named = state.unwrap().unwrap().model_checkpoint_path;
                match locate(folder, None) {
                    Ok(located) => assert!(
                        named.ends_with(located.prefix.file_name().unwrap().to_str().unwrap())
                    ),
                    // The case has another checkpoint than the one its state file names.
                    Err(Error::NoCheckpoint { reason, .. }) => {
                        assert!(reason.contains(&named), "{reason}");
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
}
