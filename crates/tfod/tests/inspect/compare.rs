//! `diff` and `verify`: what was changed is found, and nothing else.

use std::path::Path;

use tfod::diff::{Diff, diff};
use tfod::verify::{Aspects, Matched, Outcome, verify};

use crate::make::{self, Folder, Message, onnx, tensorflow as tf};

/// Numbers that are all different.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from_bits(0x3f80_0000 | state >> 9) - 1.5
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// A kernel's elements in ONNX's order.
fn to_onnx(values: &[f32], [h, w, i, o]: [usize; 4]) -> Vec<f32> {
    let mut out = Vec::new();
    for o_ in 0..o {
        for i_ in 0..i {
            for h_ in 0..h {
                for w_ in 0..w {
                    out.push(values[((h_ * w + w_) * i + i_) * o + o_]);
                }
            }
        }
    }
    out
}

#[test]
fn checkpoints_differ_where_they_were_changed() {
    let folder = Folder::new();
    let first = folder.checkpoint(
        "a/ckpt-1",
        &[
            ("gone", &[1], &[1.0]),
            ("moved", &[2], &[1.0, 2.0]),
            ("same", &[2], &[1.0, 2.0]),
            ("wide", &[2], &[1.0, 2.0]),
        ],
    );
    let second = folder.checkpoint(
        "b/ckpt-1",
        &[
            ("moved", &[2], &[1.0, 2.5]),
            ("new", &[1], &[1.0]),
            ("same", &[2], &[1.0, 2.0]),
            ("wide", &[1, 2], &[1.0, 2.0]),
        ],
    );
    let Diff::Checkpoints(found) = diff(&first, &second).unwrap() else {
        panic!("they are checkpoints");
    };
    assert!(!found.is_same());
    assert_eq!(found.only_in_first[0].name, "gone");
    assert_eq!(found.only_in_second[0].name, "new");
    assert_eq!(found.reshaped[0].1.shape, [1, 2]);
    assert_eq!(found.equal, 1);
    let changed = &found.changed[0];
    let by = changed.by.unwrap();
    assert_eq!((changed.name.as_str(), by.differing), ("moved", 1));
    assert!((by.max - 0.5).abs() < 1e-9 && (by.mean - 0.25).abs() < 1e-9);
    assert_eq!(found.parts["moved"].changed, 1);
    assert!(diff(&first, &first).unwrap().is_same());
}

#[test]
fn without_data_checksums_decide() {
    let folder = Folder::new();
    let first = folder.checkpoint("a", &[("x", &[1], &[1.0]), ("y", &[1], &[1.0])]);
    let second = folder.checkpoint("b", &[("x", &[1], &[1.0]), ("y", &[1], &[2.0])]);
    std::fs::remove_file(folder.path("b.data-00000-of-00001")).unwrap();
    let Diff::Checkpoints(found) = diff(&first, &second).unwrap() else {
        panic!("they are checkpoints");
    };
    assert_eq!((found.equal, found.equal_by_checksum), (1, 1));
    assert_eq!(found.changed[0].by, None);
}

#[test]
fn damage_is_not_a_difference() {
    let folder = Folder::new();
    let first = folder.checkpoint("a", &[("x", &[1], &[1.0])]);
    let second = folder.checkpoint("b", &[("x", &[1], &[1.0])]);
    folder.write("b.data-00000-of-00001", &[1, 2, 3, 4]);
    let found = diff(&first, &second).unwrap();
    assert_eq!(found.unread().len(), 1);
    assert!(
        found.unread()[0].1.contains("checksum"),
        "{:?}",
        found.unread()
    );
}

#[test]
fn configs_are_compared_by_meaning() {
    let folder = Folder::new();
    let config = std::fs::read_to_string(make::example("pipeline.config")).unwrap();
    let changed = config.replacen("num_classes: 3", "# other\n num_classes: 4", 1);
    let (a, b) = (
        make::example("pipeline.config"),
        folder.write("pipeline.config", changed.as_bytes()),
    );
    let Diff::Configs(found) = diff(&a, &b).unwrap() else {
        panic!("they are configs");
    };
    assert!(found.unread.is_empty());
    let paths: Vec<&str> = found.changes.iter().map(|change| &*change.path).collect();
    assert_eq!(paths, ["model.ssd.num_classes"]);
    // The folder of a config is the config.
    assert!(diff(&b, &folder.path("")).unwrap().is_same());
    // A block that is left out was not compared.
    let damaged = config.replacen("batch_size: 16", "batch_size: 16 no_such_field: 1", 1);
    let damaged = diff(&a, &folder.write("other.config", damaged.as_bytes())).unwrap();
    assert!(
        damaged.is_same() && damaged.unread()[0].1.contains("no_such_field"),
        "{damaged:?}"
    );
    let error = diff(&a, &make::example("checkpoint"))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("a pipeline_config and a checkpoint"),
        "{error}"
    );
}

/// A frozen graph of a kernel, a depthwise kernel and a vector.
fn frozen(
    folder: &Folder,
    name: &str,
    kernel: &[f32],
    depthwise: &[f32],
    vector: &[f32],
) -> std::path::PathBuf {
    let graph = tf::graph(vec![
        tf::placeholder("image", tf::FLOAT, &[-1, 8]),
        tf::float_constant("k", &[3, 2, 4, 5], kernel),
        tf::float_constant("d", &[3, 3, 6, 1], depthwise),
        tf::float_constant("v", &[16], vector),
        tf::identity("Identity", "image"),
    ]);
    folder.write(name, &graph.0)
}

fn onnx_model(
    folder: &Folder,
    name: &str,
    kernel: &[f32],
    depthwise: &[f32],
    vector: &[f32],
) -> std::path::PathBuf {
    let graph = Message::new()
        .message(
            5,
            onnx::initializer("a", &[5, 4, 3, 2], &to_onnx(kernel, [3, 2, 4, 5])),
        )
        .message(
            5,
            onnx::initializer("b", &[6, 1, 3, 3], &to_onnx(depthwise, [3, 3, 6, 1])),
        )
        .message(5, onnx::initializer("c", &[16], vector))
        .message(11, onnx::value("image", onnx::FLOAT, &[8]))
        .message(12, onnx::value("boxes", onnx::FLOAT, &[8]));
    folder.write(name, &onnx::model(graph).0)
}

fn compare(first: &Path, second: &Path) -> tfod::verify::Verification {
    verify(first, second, &Aspects::default()).unwrap()
}

#[test]
fn weights_are_found_in_the_layouts_of_other_formats() {
    let folder = Folder::new();
    let (kernel, depthwise, vector) = (numbers(120, 1), numbers(54, 2), numbers(16, 3));
    let graph = frozen(&folder, "frozen.pb", &kernel, &depthwise, &vector);
    let model = onnx_model(&folder, "model.onnx", &kernel, &depthwise, &vector);
    for (first, second) in [(&graph, &model), (&model, &graph)] {
        let found = compare(first, second);
        assert_eq!(found.outcome(), Outcome::Same, "{found:?}");
        let weights = found.weights.as_ref().unwrap();
        assert_eq!(
            (weights.matched(Matched::Content), weights.bit_equal()),
            (3, 3),
            "{weights:?}"
        );
    }
}

#[test]
fn the_largest_difference_is_told_with_both_names() {
    let folder = Folder::new();
    let (kernel, depthwise, mut vector) = (numbers(120, 1), numbers(54, 2), numbers(16, 3));
    let graph = frozen(&folder, "frozen.pb", &kernel, &depthwise, &vector);
    vector[3] += 0.25;
    let mut other = kernel.clone();
    other[77] += 0.5;
    let model = onnx_model(&folder, "model.onnx", &other, &depthwise, &vector);
    let found = compare(&graph, &model);
    assert_eq!(found.outcome(), Outcome::Different);
    let weights = found.weights.unwrap();
    assert_eq!(
        (
            weights.matched(Matched::Content),
            weights.matched(Matched::Nearest)
        ),
        (1, 2)
    );
    let largest = weights.largest().unwrap();
    assert_eq!(
        (&*largest.first, &*largest.second, largest.by.differing),
        ("k", "a", 1)
    );
    assert!((largest.by.max - 0.5).abs() < 1e-6, "{largest:?}");
}

#[test]
fn numbers_in_no_known_order_decide_nothing() {
    let folder = Folder::new();
    let (kernel, depthwise, vector) = (numbers(120, 1), numbers(54, 2), numbers(16, 3));
    let graph = frozen(&folder, "frozen.pb", &kernel, &depthwise, &vector);
    let mut turned = vector.clone();
    turned.reverse();
    let model = onnx_model(&folder, "model.onnx", &kernel, &depthwise, &turned);
    let found = compare(&graph, &model);
    assert_eq!(found.outcome(), Outcome::Undecided, "{found:?}");
    assert_eq!(found.weights.unwrap().matched(Matched::Numbers), 1);
}

#[test]
fn small_constants_that_differ_leave_it_open() {
    let folder = Folder::new();
    let graph = |name: &str, kernel: f32, scale: f32| {
        let graph = tf::graph(vec![
            tf::float_constant("k", &[8], &[kernel; 8]),
            tf::float_constant("s", &[2], &[scale; 2]),
        ]);
        folder.write(name, &graph.0)
    };
    let onnx = |name: &str, scale: f32| {
        let graph = Message::new()
            .message(5, onnx::initializer("x", &[8], &[1.0; 8]))
            .message(5, onnx::initializer("y", &[2], &[scale; 2]));
        folder.write(name, &onnx::model(graph).0)
    };
    let of = |first: &Path, second: &Path| compare(first, second).weights.unwrap().outcome;
    let (a, same, other) = (
        graph("a.pb", 1.0, 2.0),
        onnx("b.onnx", 2.0),
        onnx("c.onnx", 3.0),
    );
    assert_eq!(of(&a, &same), Outcome::Same);
    assert_eq!(of(&a, &other), Outcome::Undecided);
    // In graphs of the same operations, every constant counts.
    assert_eq!(of(&a, &graph("d.pb", 1.0, 3.0)), Outcome::Different);
}

#[test]
fn interfaces_are_compared_by_key_type_and_shape() {
    let folder = Folder::new();
    let saved = |name: &str, outputs: &[tf::Port<'_>]| {
        let graph = tf::graph(vec![
            tf::placeholder("image", tf::FLOAT, &[-1, 8]),
            tf::identity("Identity", "image"),
        ]);
        let model = tf::saved_model(graph, &[("image", "image:0", tf::FLOAT, &[-1, 8])], outputs);
        folder.write(&format!("{name}/saved_model.pb"), &model.0);
        folder.path(name)
    };
    let aspects = Aspects {
        interface: true,
        structure: false,
        weights: false,
        outputs: None,
    };
    let first = saved("a", &[("boxes", "Identity:0", tf::FLOAT, &[-1, 8])]);
    let cases: [(&[tf::Port<'_>], &[&str]); 4] = [
        (&[("boxes", "y:0", tf::FLOAT, &[-1, 8])], &[]),
        (
            &[("boxes", "y:0", tf::UINT8, &[-1, 8])],
            &["output `boxes`: float32 -> uint8"],
        ),
        (
            &[("boxes", "y:0", tf::FLOAT, &[1, 8])],
            &["output `boxes`: [?, 8] -> [1, 8]"],
        ),
        (
            &[
                ("boxes", "y:0", tf::FLOAT, &[-1, 8]),
                ("scores", "z:0", tf::FLOAT, &[-1]),
            ],
            &["output `scores` is only in the second"],
        ),
    ];
    for (outputs, expected) in cases {
        let second = saved("b", outputs);
        let found = verify(&first, &second, &aspects).unwrap();
        assert_eq!(found.interface.unwrap().differences, expected);
        assert!(found.weights.is_none());
    }
    // A frozen graph has nodes for keys.
    let frozen = folder.write(
        "frozen.pb",
        &tf::graph(vec![
            tf::placeholder("image", tf::FLOAT, &[-1, 8]),
            tf::identity("Identity", "image"),
        ])
        .0,
    );
    let found = verify(&first, &frozen, &aspects)
        .unwrap()
        .interface
        .unwrap();
    assert_eq!(found.outcome, Outcome::Same, "{found:?}");
    assert!(found.how.contains("by position"));
}

#[test]
fn inputs_of_one_name_are_each_their_own() {
    let folder = Folder::new();
    let graph = |sizes: [i64; 2]| {
        tf::graph(
            sizes
                .map(|size| tf::placeholder("x", tf::FLOAT, &[size]))
                .to_vec(),
        )
    };
    let first = folder.write("a.pb", &graph([-1, 0]).0);
    assert_eq!(
        compare(&first, &first).interface.unwrap().differences,
        [""; 0]
    );
    let second = folder.write("b.pb", &graph([-1, 2]).0);
    let found = compare(&first, &second).interface.unwrap();
    assert_eq!(found.differences, ["input `x`: [0] -> [2]"]);
}

#[test]
fn what_is_no_model_is_refused() {
    let error = verify(
        &make::example("pipeline.config"),
        &make::example("checkpoint"),
        &Aspects::default(),
    );
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("`tfod diff` compares configs")
    );
    // A checkpoint is the same as itself; its config beside it says which variables count.
    let found = compare(
        &make::example("checkpoint"),
        &make::example("checkpoint/ckpt-3000"),
    );
    assert_eq!(found.outcome(), Outcome::Same);
    assert_eq!(found.weights.unwrap().pairs.len(), 326);
}
