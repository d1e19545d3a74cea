//! `diff` and `verify`: what was changed is found, and nothing else.

use std::path::{Path, PathBuf};

use tfod::{Export, Format};
use tfod_inspect::diff::{Diff, diff};
use tfod_inspect::inspect;
use tfod_verify::{Aspects, Matched, Outcome, verify};

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
        error.starts_with("a pipeline config and a checkpoint"),
        "{error}"
    );
    let folder = Folder::new();
    let model = folder.write("model.onnx", &onnx::model(Message::new()).0);
    let error = diff(&model, &model).unwrap_err().to_string();
    assert!(
        error.starts_with("an ONNX model and an ONNX model"),
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
        tf::node("layers", "Conv2D", &["image", "k", "d", "v"]),
        tf::identity("Identity", "layers"),
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

fn compare(first: &Path, second: &Path) -> tfod_verify::Verification {
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

/// A graph that reads a table of anchors and a kernel, and has a constant that nothing reads. The table is stored, or computed as official exports compute it: columns
/// from others, joined.
fn with_anchors(folder: &Folder, name: &str, anchors: &[f32], is_stored: bool) -> PathBuf {
    let rows = anchors.len() / 2;
    let count = i64::try_from(rows).unwrap();
    let column = |at: usize| -> Vec<f32> { anchors.iter().skip(at).step_by(2).copied().collect() };
    let mut nodes = vec![
        tf::placeholder("image", tf::FLOAT, &[-1, 8]),
        tf::float_constant("k", &[3, 2, 4, 5], &numbers(120, 1)),
        tf::float_constant("left_over", &[9], &numbers(9, u32::try_from(rows).unwrap())),
    ];
    if is_stored {
        nodes.push(tf::float_constant("anchors", &[count, 2], anchors));
        nodes.push(tf::node("decode", "Sub", &["image", "anchors"]));
    } else {
        let halves: Vec<f32> = column(0).iter().map(|x| x / 2.0).collect();
        nodes.extend([
            tf::float_constant("halves", &[count, 1], &halves),
            tf::float_constant("x", &[count], &column(1)),
            tf::node("y", "AddV2", &["halves", "halves"]),
            tf::node("decode_y", "Sub", &["image", "y"]),
            tf::node("decode_x", "Sub", &["image", "x"]),
            tf::node("decode", "Sub", &["decode_y", "decode_x"]),
        ]);
    }
    nodes.push(tf::node("layers", "Conv2D", &["decode", "k"]));
    nodes.push(tf::identity("Identity", "layers"));
    folder.write(name, &tf::graph(nodes).0)
}

#[test]
fn what_one_stores_and_the_other_computes_is_compared() {
    let folder = Folder::new();
    let mut anchors = numbers(40, 7);
    let stored = with_anchors(&folder, "stored.pb", &anchors, true);
    let computed = with_anchors(&folder, "computed.pb", &anchors, false);
    let kernel = numbers(120, 1);
    let onnx = Message::new()
        .message(
            5,
            onnx::initializer("a", &[5, 4, 3, 2], &to_onnx(&kernel, [3, 2, 4, 5])),
        )
        .message(5, onnx::initializer("b", &[20, 2], &anchors));
    let onnx = folder.write("model.onnx", &onnx::model(onnx).0);
    for (first, second) in [
        (&stored, &computed),
        (&computed, &stored),
        (&computed, &onnx),
    ] {
        let weights = compare(first, second).weights.unwrap();
        assert_eq!(weights.outcome, Outcome::Same, "{weights:?}");
        assert_eq!(weights.matched(Matched::Value), 2, "{weights:?}");
        assert!(weights.only_in_first.is_empty() && weights.only_in_second.is_empty());
    }
    // Other anchors are found, be it one number of one column.
    anchors[17] += 0.01;
    let moved = with_anchors(&folder, "moved.pb", &anchors, false);
    let weights = compare(&stored, &moved).weights.unwrap();
    assert_eq!(weights.outcome, Outcome::Different, "{weights:?}");
    assert_eq!(weights.matched(Matched::Nearest), 1, "{weights:?}");
    assert!(weights.only_in_first.is_empty() && weights.only_in_second.is_empty());
    let largest = weights.largest().unwrap();
    assert_eq!((&*largest.first, &*largest.second), ("anchors[:, 1]", "x"));
    assert!((largest.by.max - 0.01).abs() < 1e-6, "{largest:?}");
}

#[test]
fn boxes_are_found_by_corners_or_by_sizes_and_centers() {
    let folder = Folder::new();
    let corners = numbers(4 * 10, 7);
    // Row by row: two numbers of four.
    let half = |of: fn(f32, f32) -> f32| -> Vec<f32> {
        let boxes = corners.chunks_exact(4);
        boxes
            .flat_map(|c| [of(c[0], c[2]), of(c[1], c[3])])
            .collect()
    };
    let graph = |name: &str, tables: &[(&str, i64, &[f32])], extra: &str| {
        let mut nodes = vec![
            tf::placeholder("image", tf::FLOAT, &[-1, 8]),
            tf::float_constant("k", &[3, 2, 4, 5], &numbers(120, 1)),
            tf::node("layers", "Conv2D", &["image", "k"]),
        ];
        let mut last = "layers".to_owned();
        for (name, columns, values) in tables {
            let rows = i64::try_from(values.len()).unwrap() / columns;
            nodes.push(tf::float_constant(name, &[rows, *columns], values));
            let sum = format!("{name}_{extra}");
            nodes.push(tf::node(&sum, extra, &[&last, name]));
            last = sum;
        }
        nodes.push(tf::identity("Identity", &last));
        folder.write(name, &tf::graph(nodes).0)
    };
    let whole = graph("corners.pb", &[("corners", 4, &corners)], "AddV2");
    let (mut sizes, centers) = (half(|low, high| high - low), half(f32::midpoint));
    let positions: Vec<f32> = (0..9u8).map(f32::from).collect();
    let tables = |sizes: &[f32], name| {
        let tables: [(&str, i64, &[f32]); 3] = [
            ("sizes", 2, sizes),
            ("centers", 2, &centers),
            ("columns", 9, &positions),
        ];
        graph(name, &tables, "Sub")
    };
    let parts = tables(&sizes, "parts.pb");
    for (first, second) in [(&whole, &parts), (&parts, &whole)] {
        let weights = compare(first, second).weights.unwrap();
        assert_eq!(weights.outcome, Outcome::Same, "{weights:?}");
        assert_eq!(weights.matched(Matched::Value), 2, "{weights:?}");
        assert!(weights.only_in_first.is_empty() && weights.only_in_second.is_empty());
    }
    sizes[3] += 0.01;
    let other = tables(&sizes, "other.pb");
    let weights = compare(&whole, &other).weights.unwrap();
    assert_ne!(weights.outcome, Outcome::Same, "{weights:?}");
}

#[test]
fn layers_are_what_graphs_of_different_releases_have_in_common() {
    let folder = Folder::new();
    let graph = |name: &str, producer: u64, activation: &str, extra: &[&str]| {
        let mut nodes = vec![
            tf::placeholder("image", tf::FLOAT, &[-1, 8]),
            tf::float_constant("k", &[3, 2, 4, 5], &numbers(120, 1)),
            tf::node("layers", "Conv2D", &["image", "k"]),
            tf::node("active", activation, &["layers"]),
        ];
        let mut last = "active".to_owned();
        for (number, op) in extra.iter().enumerate() {
            let name = format!("extra_{number}");
            nodes.push(tf::node(&name, op, &[&last]));
            last = name;
        }
        nodes.push(tf::identity("Identity", &last));
        let versions = Message::new().varint(1, producer);
        let graph = Message::new().messages(1, nodes).message(4, versions);
        folder.write(name, &graph.0)
    };
    let ours = graph("ours.pb", 440, "Relu6", &[]);
    let of = |other: &Path| compare(&ours, other).structure.unwrap();
    let found = of(&graph("official.pb", 1645, "Relu6", &["Squeeze", "Shape"]));
    assert_eq!(found.outcome, Outcome::Same, "{found:?}");
    assert!(found.reason.starts_with("of layers"), "{found:?}");
    let found = of(&graph("other.pb", 1645, "Relu", &["Squeeze"]));
    assert_eq!(found.differences, ["Relu: 0 -> 1", "Relu6: 1 -> 0"]);
    // One writes batch normalisation as one operation, the other in elementary ones, and an average in another way.
    let norms = graph("norms.pb", 440, "Relu6", &["FusedBatchNormV3", "Mean"]);
    let bare = graph("bare.pb", 1645, "Relu6", &["Mul", "AddV2", "AvgPool"]);
    let found = compare(&norms, &bare).structure.unwrap();
    assert_eq!(found.outcome, Outcome::Same, "{found:?}");
    let more = ["FusedBatchNormV3", "FusedBatchNormV3"];
    let found = compare(&norms, &graph("more.pb", 1645, "Relu6", &more));
    let found = found.structure.unwrap();
    assert_eq!(found.differences, ["FusedBatchNorm: 1 -> 2"]);
    // One release writes one graph.
    let found = of(&graph("same_release.pb", 440, "Relu6", &["Squeeze"]));
    assert_eq!(found.differences, ["Squeeze: 0 -> 1"]);
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
    let mut aspects = Aspects::NONE;
    aspects.interface = true;
    let first = saved("a", &[("boxes", "Identity:0", tf::FLOAT, &[-1, 8])]);
    let cases: [(&[tf::Port<'_>], &[&str]); 5] = [
        (&[("boxes", "y:0", tf::FLOAT, &[-1, 8])], &[]),
        // A size that only one of them says.
        (&[("boxes", "y:0", tf::FLOAT, &[1, 8])], &[]),
        (
            &[("boxes", "y:0", tf::UINT8, &[-1, 8])],
            &["output `boxes`: float32 -> uint8"],
        ),
        (
            &[("boxes", "y:0", tf::FLOAT, &[1, 9])],
            &["output `boxes`: [?, 8] -> [1, 9]"],
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
        let interface = found.interface.unwrap();
        assert_eq!(interface.differences, expected);
        let says_more = outputs[0].3 == [1, 8];
        let note = "output `boxes`: [?, 8] and [1, 8] agree as far as both are known";
        assert_eq!(interface.notes == [note], says_more, "{interface:?}");
        assert!(found.weights.is_none());
    }
    // An input that takes one size does not take any.
    let fixed = |size| {
        let graph = tf::graph(vec![
            tf::placeholder("image", tf::FLOAT, &[size, 8]),
            tf::identity("Identity", "image"),
        ]);
        let ports: &[tf::Port<'_>] = &[("image", "image:0", tf::FLOAT, &[size, 8])];
        let model = tf::saved_model(graph, ports, &[("boxes", "y:0", tf::FLOAT, &[-1, 8])]);
        folder.write("c/saved_model.pb", &model.0);
        folder.path("c")
    };
    let found = verify(&first, &fixed(1), &aspects).unwrap();
    assert_eq!(
        found.interface.unwrap().differences,
        ["input `image`: [?, 8] -> [1, 8]"]
    );
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
            .contains("a diff compares configs")
    );
    // A checkpoint is the same as itself; its config beside it says which variables count.
    let found = compare(
        &make::example("checkpoint"),
        &make::example("checkpoint/ckpt-3000"),
    );
    assert_eq!(found.outcome(), Outcome::Same);
    assert_eq!(found.weights.unwrap().pairs.len(), 326);
}

/// An ONNX model of some initialisers and nodes.
fn onnx_of(
    folder: &Folder,
    name: &str,
    initializers: &[(&str, &[f32])],
    nodes: Vec<Message>,
) -> PathBuf {
    let initializers = initializers
        .iter()
        .map(|(name, values)| onnx::initializer(name, &[values.len() as u64], values));
    let graph = Message::new()
        .messages(1, nodes)
        .messages(5, initializers)
        .message(11, onnx::value("image", onnx::FLOAT, &[8]))
        .message(12, onnx::value("boxes", onnx::FLOAT, &[8]));
    folder.write(name, &onnx::model(graph).0)
}

#[test]
fn weights_belong_to_the_layers_of_their_names() {
    let folder = Folder::new();
    let (one, two) = (numbers(8, 1), numbers(8, 2));
    let graph = tf::graph(vec![
        tf::float_constant("StatefulPartitionedCall/a/kernel", &[8], &one),
        tf::float_constant("StatefulPartitionedCall/b/kernel", &[8], &two),
    ]);
    let graph = folder.write("graph.pb", &graph.0);
    let onnx = |name: &str, a: &[f32], b: &[f32]| {
        let initializers = [("a/kernel", a), ("b/kernel", b)];
        onnx_of(&folder, name, &initializers, Vec::new())
    };
    let right = compare(&graph, &onnx("right.onnx", &one, &two));
    let right = right.weights.unwrap();
    assert_eq!(
        (right.outcome, right.matched(Matched::Name)),
        (Outcome::Same, 2)
    );
    // The same numbers, each in the other's place.
    let swapped = compare(&graph, &onnx("swapped.onnx", &two, &one));
    assert_eq!(swapped.outcome(), Outcome::Different, "{swapped:?}");
    assert_eq!(swapped.weights.unwrap().bit_equal(), 0);
    // Other names leave only the numbers to go by.
    let initializers = [("x", &*two), ("y", &*one)];
    let renamed = onnx_of(&folder, "renamed.onnx", &initializers, Vec::new());
    let renamed = compare(&graph, &renamed);
    assert_eq!(renamed.weights.unwrap().matched(Matched::Content), 2);
}

#[test]
fn every_export_is_matched_by_the_names_of_the_network() {
    let folder = Folder::new();
    let config = make::example("pipeline.config");
    let mut export = Export::new(config, make::example("checkpoint"), folder.path("e"));
    export.formats = Format::ALL.to_vec();
    export.run().unwrap();
    let exported = ["checkpoint", "saved_model", "frozen.pb", "model.onnx"]
        .map(|piece| folder.path("e").join(piece));
    for (index, first) in [make::example("checkpoint")]
        .iter()
        .chain(&exported)
        .enumerate()
    {
        for second in exported.iter().skip(index) {
            let weights = compare(first, second).weights.unwrap();
            let what = format!("{} and {}: {weights:?}", first.display(), second.display());
            assert_eq!(weights.outcome, Outcome::Same, "{what}");
            assert!(weights.matched(Matched::Name) >= 326, "{what}");
        }
    }
}

#[test]
fn tensors_inside_of_nodes_are_weights_too() {
    let folder = Folder::new();
    let tensor = |values: &[f32]| onnx::initializer("", &[values.len() as u64], values);
    let constant = |values: &[f32]| {
        let value = Message::new().bytes(1, "value").message(5, tensor(values));
        onnx::node("Constant", &[], &["c"]).message(5, value)
    };
    let inner = |values: &[f32]| {
        let graph = Message::new().message(5, onnx::initializer("i", &[2], values));
        let branch = Message::new().bytes(1, "then_branch").message(6, graph);
        onnx::node("If", &["image"], &["d"]).message(5, branch)
    };
    let model = |name: &str, c: f32, i: f32| {
        onnx_of(&folder, name, &[], vec![constant(&[c; 4]), inner(&[i; 2])])
    };
    let first = model("a.onnx", 1.0, 2.0);
    let found = compare(&first, &first);
    assert_eq!(found.weights.unwrap().pairs.len(), 2);
    for (name, c, i) in [("b.onnx", 1.5, 2.0), ("c.onnx", 1.0, 2.5)] {
        let found = compare(&first, &model(name, c, i));
        assert_eq!(found.outcome(), Outcome::Different, "{found:?}");
    }
}

#[test]
fn variables_without_values_are_not_the_same() {
    let folder = Folder::new();
    let variable = Message::new().bytes(1, "v").bytes(2, "VarHandleOp");
    let graph = tf::graph(vec![
        tf::placeholder("image", tf::FLOAT, &[-1, 8]),
        variable,
        tf::float_constant("k", &[8], &[1.0; 8]),
    ]);
    let port = [("image", "image:0", tf::FLOAT, &[-1, 8][..])];
    let model = tf::saved_model(graph, &port, &port);
    folder.write("a/saved_model.pb", &model.0);
    let weights = compare(&folder.path("a"), &folder.path("a"))
        .weights
        .unwrap();
    assert_eq!(weights.outcome, Outcome::Undecided);
    assert!(weights.notes[0].contains("not beside it"), "{weights:?}");
}

#[test]
fn shapes_count_within_a_format_and_single_numbers_across() {
    let folder = Folder::new();
    let flat = folder.checkpoint("flat/a", &[("x", &[4], &[1.0, 2.0, 3.0, 4.0])]);
    let square = folder.checkpoint("square/a", &[("x", &[2, 2], &[1.0, 2.0, 3.0, 4.0])]);
    assert_eq!(compare(&flat, &square).outcome(), Outcome::Different);
    let single = folder.checkpoint("single/a", &[("dense/bias", &[1], &[0.5])]);
    let graph = |name: &str, bias: f32| {
        let graph = tf::graph(vec![
            tf::float_constant("dense/bias", &[1], &[bias]),
            tf::float_constant("other", &[1], &[7.0]),
        ]);
        folder.write(name, &graph.0)
    };
    let same = compare(&single, &graph("same.pb", 0.5));
    assert_eq!(same.outcome(), Outcome::Same, "{same:?}");
    let other = compare(&single, &graph("other.pb", 0.25));
    assert_eq!(other.outcome(), Outcome::Different, "{other:?}");
}

#[test]
fn what_only_one_interface_says_is_a_difference() {
    let folder = Folder::new();
    let model = |name: &str, dtype: u64, sizes: &[u64]| {
        let graph = Message::new().message(11, onnx::value("x", dtype, sizes));
        folder.write(name, &onnx::model(graph).0)
    };
    // 21 is a type that TensorFlow has not.
    let (float, other) = (model("a.onnx", 1, &[2]), model("b.onnx", 21, &[2]));
    let found = compare(&float, &other).interface.unwrap();
    assert_eq!(
        found.differences,
        ["input `x`: float32 -> a type that is not known"]
    );
}

#[test]
fn damage_is_told_beside_data_that_is_absent() {
    let folder = Folder::new();
    let absent = folder.checkpoint("a", &[("x", &[1], &[1.0])]);
    let damaged = folder.checkpoint("b", &[("x", &[1], &[1.0])]);
    std::fs::remove_file(folder.path("a.data-00000-of-00001")).unwrap();
    folder.write("b.data-00000-of-00001", &[1, 2, 3, 4]);
    for (first, second) in [(&absent, &damaged), (&damaged, &absent)] {
        let found = diff(first, second).unwrap();
        assert!(found.unread()[0].1.contains("checksum"), "{found:?}");
    }
}

#[test]
fn a_folder_of_one_file_is_that_file() {
    let folder = Folder::new();
    let first = numbers(8, 1);
    onnx_of(&folder, "one/any.onnx", &[("k", &first)], Vec::new());
    onnx_of(&folder, "piece/model.onnx", &[("k", &first)], Vec::new());
    let (one, piece) = (folder.path("one"), folder.path("piece"));
    assert_eq!(inspect(&one).unwrap().file, one.join("any.onnx"));
    assert_eq!(compare(&one, &piece).outcome(), Outcome::Same);
    let config = std::fs::read(make::example("pipeline.config")).unwrap();
    // Comments may be longer than what is looked at.
    let config = [b"# a long comment\n".repeat(1000), config].concat();
    folder.write("config/my.config", &config);
    let found = diff(&folder.path("config"), &make::example("pipeline.config")).unwrap();
    assert!(found.is_same());
}

#[test]
fn a_message_that_is_cut_short_is_said_to_be() {
    let folder = Folder::new();
    let model = onnx_of(&folder, "a.onnx", &[("k", &[1.0; 64])], Vec::new());
    let bytes = std::fs::read(model).unwrap();
    let cut = folder.write("cut.onnx", &bytes[..bytes.len() / 2]);
    let error = inspect(&cut).unwrap_err().to_string();
    assert!(
        error.contains("cut short at byte ") && error.contains("fetch it again"),
        "{error}"
    );
}

#[cfg(unix)]
#[test]
fn names_of_files_may_be_any() {
    use std::os::unix::ffi::OsStrExt as _;

    let folder = Folder::new();
    let name = std::ffi::OsStr::from_bytes(b"\xff");
    let path = folder.path("").join(name);
    std::fs::rename(
        onnx_of(&folder, "a.onnx", &[("k", &[1.0])], Vec::new()),
        &path,
    )
    .unwrap();
    assert!(inspect(&path).unwrap().json()["path"].is_string());
    let checkpoint = folder.checkpoint("b/ckpt-1", &[("x", &[1], &[1.0])]);
    let inner = folder.path("c");
    std::fs::create_dir(&inner).unwrap();
    let inner = inner.join(name);
    std::fs::rename(checkpoint.parent().unwrap(), &inner).unwrap();
    let found = inspect(&inner.join("ckpt-1")).unwrap();
    assert!(found.json()["checkpoint"]["prefix"].is_string());
}

#[test]
fn what_is_called_a_config_is_read_as_one() {
    let folder = Folder::new();
    for (name, text, expected) in [
        ("a.config", &b"modle { }"[..], "a.config:1:1"),
        ("b.config", b"\xff\xfem\0o\0d\0e\0l\0", "b.config:"),
        ("c.config", b"# caf\xe9\nmodel { }", "c.config:1:6"),
    ] {
        let error = inspect(&folder.write(name, text)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn constants_of_functions_are_each_their_own() {
    let folder = Folder::new();
    let graph = |name: &str, values: [f32; 2]| {
        let constant = |name: &str, value| tf::float_constant(name, &[8], &[value; 8]);
        let [a, b] = values;
        let graph = tf::graph(vec![
            constant("__inference_a_1/k", a),
            constant("__inference_b_2/k", b),
        ]);
        folder.write(name, &graph.0)
    };
    let (first, swapped) = (graph("a.pb", [1.0, 2.0]), graph("b.pb", [2.0, 1.0]));
    let of = |second: &Path| compare(&first, second).weights.unwrap();
    assert_eq!(of(&first).matched(Matched::Name), 2);
    assert_eq!(of(&swapped).outcome, Outcome::Different);
}

#[test]
fn types_count_and_chance_decides_nothing() {
    let folder = Folder::new();
    let constant = |name: &str, dtype: u64, bytes: &[u8]| {
        let tensor = tf::tensor(dtype, &[8]).bytes(4, bytes);
        tf::constant(name, tensor)
    };
    let zeros = |name: &str, dtype: u64| {
        let graph = tf::graph(vec![constant("k", dtype, &[0; 32])]);
        folder.write(name, &graph.0)
    };
    // Floats and 32-bit integers, all zero.
    let (floats, integers) = (zeros("a.pb", tf::FLOAT), zeros("b.pb", 3));
    let found = compare(&floats, &integers).weights.unwrap();
    assert_eq!(found.outcome, Outcome::Different, "{found:?}");
    let single = folder.checkpoint("single/a", &[("dense/bias", &[1], &[0.5])]);
    let other = tf::graph(vec![
        tf::float_constant("renamed", &[1], &[0.25]),
        tf::float_constant("unrelated", &[1], &[0.5]),
    ]);
    let other = folder.write("other.pb", &other.0);
    let found = compare(&single, &other).weights.unwrap();
    assert_eq!(found.outcome, Outcome::Undecided, "{found:?}");
    assert!(found.notes[0].contains("may be others"), "{found:?}");
}

#[test]
fn a_config_counts_only_if_it_fits() {
    let folder = Folder::new();
    let trained = make::example("checkpoint");
    for (name, with_config) in [("a", true), ("b", false)] {
        for file in std::fs::read_dir(&trained).unwrap() {
            let file = file.unwrap().path();
            let bytes = std::fs::read(&file).unwrap();
            let inner = file.file_name().unwrap().to_str().unwrap();
            folder.write(&format!("{name}/{inner}"), &bytes);
        }
        if with_config {
            let config = std::fs::read(make::example("pipeline.config")).unwrap();
            folder.write(&format!("{name}/pipeline.config"), &config);
        }
    }
    let (a, b) = (folder.path("a"), folder.path("b"));
    assert_eq!(compare(&a, &b).outcome(), Outcome::Same);
    // One tower layer less: the network needs less than there is.
    let config = std::fs::read_to_string(make::example("pipeline.config")).unwrap();
    let config = config.replacen(
        "num_layers_before_predictor: 2",
        "num_layers_before_predictor: 1",
        1,
    );
    folder.write("a/pipeline.config", config.as_bytes());
    let weights = compare(&a, &a).weights.unwrap();
    assert!(weights.scope.starts_with("all tensors"), "{weights:?}");
}

#[test]
fn a_node_of_a_million_tensors_has_one_name() {
    let folder = Folder::new();
    let mut node = onnx::node("Constant", &[], &[&"x".repeat(1 << 16)]);
    for _ in 0..100_000 {
        node = node.bytes(5, [0x2a, 0]);
    }
    let path = onnx_of(&folder, "a.onnx", &[], vec![node]);
    let names: usize = inspect(&path)
        .unwrap()
        .tensors
        .iter()
        .map(|t| t.name.len())
        .sum();
    assert_eq!(names, 1 << 16);
}
