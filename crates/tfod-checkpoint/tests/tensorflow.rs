//! Checkpoints that TensorFlow wrote (`fixtures/make.py`): every tensor reads as TensorFlow reads it, graphs resolve, and
//! what is written again is what TensorFlow would have written.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::Path;

use common::{fixture, rewrite, rows, rows_by_tensorflow};
use tfod_checkpoint::table::{Table, TableWriter};
use tfod_checkpoint::{
    Bundle, BundleKind, BundleWriter, DType, Error, Found, OBJECT_GRAPH_KEY, ObjectGraph,
    SAVE_COUNTER, index_path, locate,
};

const ALL: [&str; 5] = [
    "training/ckpt-1",
    "bare/ckpt-1",
    "two_shards/vars",
    "partitioned/vars",
    "types/vars",
];

#[test]
fn every_tensor_reads_as_in_tensorflow() {
    for name in ALL {
        let bundle = Bundle::open(fixture(name)).unwrap();
        let expected = rows_by_tensorflow(name);
        assert!(expected.len() >= 4, "{name}");
        assert_eq!(rows(&bundle), expected, "{name}");
    }
}

#[test]
fn every_tensor_survives_being_written_again() {
    let folder = tempfile::tempdir().unwrap();
    for name in ALL {
        let prefix = folder.path().join("again");
        rewrite(&Bundle::open(fixture(name)).unwrap(), &prefix);
        assert_eq!(
            rows(&Bundle::open(prefix).unwrap()),
            rows_by_tensorflow(name),
            "{name}"
        );
    }
}

/// The same pairs give the same bytes as TensorFlow's table writer.
#[test]
fn tables_are_written_as_tensorflow_writes_them() {
    for name in ALL {
        let path = index_path(&fixture(name));
        let original = fs::read(&path).unwrap();
        let mut writer = TableWriter::new(Vec::new());
        Table::open(&path, &original)
            .unwrap()
            .for_each(|key, value| writer.add(key, value))
            .unwrap();
        assert_eq!(writer.finish().unwrap(), original, "{name}");
    }
}

#[test]
fn kinds_are_told_apart() {
    let bundle = Bundle::open(fixture("training/ckpt-1")).unwrap();
    assert_eq!(bundle.kind(), BundleKind::ObjectBased);
    let bundle = Bundle::open(fixture("types/vars")).unwrap();
    assert_eq!(bundle.kind(), BundleKind::NameBased);
    assert!(matches!(
        bundle.object_graph(),
        Err(Error::NameBased { .. })
    ));
}

#[test]
fn partitioned_tensors_are_put_together_and_others_borrowed() {
    use std::borrow::Cow;
    let bundle = Bundle::open(fixture("partitioned/vars")).unwrap();
    assert!(bundle.entries().all(tfod_checkpoint::Entry::is_partitioned));
    assert!(matches!(
        bundle.tensor("rows").unwrap().bytes,
        Cow::Owned(_)
    ));
    let bundle = Bundle::open(fixture("two_shards/vars")).unwrap();
    assert!(matches!(
        bundle.tensor("a").unwrap().bytes,
        Cow::Borrowed(_)
    ));
}

#[test]
fn paths_resolve_to_the_keys_that_hold_the_values() {
    let bundle = Bundle::open(fixture("training/ckpt-1")).unwrap();
    let graph = bundle.object_graph().unwrap();
    let key = |path: &[&str]| {
        graph
            .variable(graph.resolve(path).unwrap())
            .unwrap()
            .checkpoint_key
            .to_owned()
    };
    // The shortest path decides where a variable lies, whichever way it is reached.
    assert_eq!(
        key(&["model", "short_cut"]),
        "model/short_cut/.ATTRIBUTES/VARIABLE_VALUE"
    );
    assert_eq!(
        key(&["model", "layers", "0", "bias"]),
        "model/short_cut/.ATTRIBUTES/VARIABLE_VALUE"
    );
    assert_eq!(
        key(&["model", "layers", "0", "parent", "label"]),
        "model/label/.ATTRIBUTES/VARIABLE_VALUE"
    );
    assert_eq!(
        key(&["model", "by_name", "a.b/c"]),
        "model/by_name/a..b.Sc/.ATTRIBUTES/VARIABLE_VALUE"
    );
    assert_eq!(
        graph
            .variable(graph.resolve(&["step"]).unwrap())
            .unwrap()
            .full_name,
        "step"
    );
    let error = graph
        .resolve(&["model", "layers", "2"])
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "the object graph has no `model/layers/2`; it has 0, 1"
    );
}

#[test]
fn walking_gives_each_variable_the_path_that_its_key_was_made_of() {
    for name in ["training/ckpt-1", "bare/ckpt-1"] {
        let bundle = Bundle::open(fixture(name)).unwrap();
        let graph = bundle.object_graph().unwrap();
        let walk = graph.breadth_first();
        assert!(walk.variables().count() >= 8);
        for (path, variable) in walk.variables() {
            assert_eq!(
                tfod_checkpoint::variable_key(&path),
                variable.checkpoint_key
            );
            assert!(bundle.get(variable.checkpoint_key).is_some());
        }
    }
}

#[test]
fn slots_name_their_variables() {
    let graph = Bundle::open(fixture("training/ckpt-1"))
        .unwrap()
        .object_graph()
        .unwrap();
    let optimizer = graph.resolve(&["optimizer"]).unwrap();
    let mut keys: Vec<_> = graph
        .slots(optimizer)
        .map(|slot| graph.variable(slot.slot).unwrap().checkpoint_key)
        .collect();
    keys.sort_unstable();
    let expected = ["model/layers/0/kernel", "model/short_cut"].map(|variable| {
        format!("{variable}/.OPTIMIZER_SLOT/optimizer/momentum/.ATTRIBUTES/VARIABLE_VALUE")
    });
    assert_eq!(keys, expected);
    let slot = graph.slots(optimizer).next().unwrap();
    assert_eq!(slot.name, "momentum");
    assert!(graph.variable(slot.original).is_some());
    assert_eq!(graph.breadth_first().path(slot.slot), None);
}

/// TensorFlow saved the bare model, too: its graph is the one that the subset must have, byte for byte.
#[test]
fn the_subset_of_a_training_job_is_the_checkpoint_of_its_model() {
    let training = Bundle::open(fixture("training/ckpt-1")).unwrap();
    let bare = Bundle::open(fixture("bare/ckpt-1")).unwrap();
    let subset = training
        .object_graph()
        .unwrap()
        .subset(&["model", SAVE_COUNTER]);
    assert_eq!(subset.encode(), bare.strings(OBJECT_GRAPH_KEY).unwrap()[0]);
    let keys: Vec<_> = bare
        .entries()
        .map(tfod_checkpoint::Entry::key)
        .filter(|key| *key != OBJECT_GRAPH_KEY)
        .collect();
    assert_eq!(
        subset.checkpoint_keys().into_iter().collect::<Vec<_>>(),
        keys
    );

    // Without the counter, adding it restores the same graph.
    let mut without = training.object_graph().unwrap().subset(&["model"]);
    without.add_save_counter();
    assert_eq!(without, subset);
}

#[test]
fn a_written_subset_reads_as_the_bare_model() {
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().join("ckpt-0");
    write_subset(&prefix);
    assert_eq!(
        rows(&Bundle::open(prefix).unwrap()),
        rows_by_tensorflow("bare/ckpt-1")
    );
}

fn write_subset(prefix: &Path) {
    let training = Bundle::open(fixture("training/ckpt-1")).unwrap();
    let mut graph: ObjectGraph = training.object_graph().unwrap().subset(&["model"]);
    let counter = graph.add_save_counter();
    let mut writer = BundleWriter::create(prefix).unwrap();
    writer.add_object_graph(&graph).unwrap();
    for key in graph.checkpoint_keys() {
        if key == counter {
            writer
                .add(key, DType::Int64, &[], &1i64.to_le_bytes())
                .unwrap();
        } else {
            writer.copy(&training, key).unwrap();
        }
    }
    writer.finish_files().unwrap();
}

#[test]
fn the_state_file_of_tensorflow_is_followed() {
    let located = locate(fixture("training/ckpt-1").parent().unwrap(), None).unwrap();
    assert_eq!(
        (located.prefix, located.found),
        (fixture("training/ckpt-1"), Found::StateFile)
    );
}
