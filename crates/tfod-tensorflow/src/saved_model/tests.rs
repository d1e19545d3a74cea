//! The whole of a small SavedModel, seen as text; what is refused; and what is promised of every file.

use std::collections::BTreeSet;

use tfod_checkpoint::{Bundle, OBJECT_GRAPH_KEY};
use tfod_graph::{
    Binary, Builder, ConvAttrs, DType, Dim, Graph, MapInput, Padding, ParameterSpec, Reduce, Shape,
    Tensor, TensorView, Unary, ValidateError, ValueId, Weights,
};
use tfod_proto::prost::Message;
use tfod_proto::{MetaGraphDef, SavedModel};

use super::{Asset, NamedGraph, SavedModelWriter, dump};
use crate::Error;

fn parameter(b: &mut Builder, name: &str, shape: &[u64], trainable: bool) -> ValueId {
    let path = name.split('/').map(str::to_owned).collect();
    b.parameter(ParameterSpec {
        name,
        path,
        shape,
        trainable,
    })
    .unwrap()
}

/// A convolution with batch normalisation, resizing before it; two results, the second key sorting first.
fn network() -> Graph {
    let mut b = Builder::new("network");
    let shape = Shape(vec![
        1.into(),
        Dim::symbol("height"),
        Dim::symbol("width"),
        3.into(),
    ]);
    let image = b.input("input_tensor", DType::U8, shape);
    let kernel = parameter(&mut b, "conv/kernel", &[3, 3, 3, 8], true);
    let vectors = [
        ("gamma", true),
        ("beta", true),
        ("moving_mean", false),
        ("moving_variance", false),
    ]
    .map(|(name, trainable)| parameter(&mut b, &format!("bn/{name}"), &[8], trainable));
    let resized = b
        .resize(
            "resize",
            image,
            tfod_graph::ResizeMethod::Bilinear,
            [32, 32],
            true,
        )
        .unwrap();
    let conv = b
        .conv2d("conv", resized, kernel, ConvAttrs::new(2, Padding::Same))
        .unwrap();
    let norm = b.batch_norm("bn", conv, vectors, 0.001).unwrap();
    let relu = b.unary("relu", Unary::Relu6, norm).unwrap();
    let scores = b.reduce("scores", Reduce::Max, relu, &[1, 2]).unwrap();
    let boxes = b
        .reshape("boxes", relu, &[1.into(), 512.into(), 4.into()])
        .unwrap();
    b.output("detection_scores", scores);
    b.output("detection_boxes", boxes);
    b.finish()
}

/// A map over an unknown number of rows.
fn mapped() -> Graph {
    let mut b = Builder::new("mapped");
    let rows = b.input(
        "rows",
        DType::F32,
        Shape(vec![Dim::symbol("batch"), 3.into()]),
    );
    let scale = b.input("a_scale", DType::F32, Shape::scalar());
    let inputs = [(rows, MapInput::Sliced), (scale, MapInput::Whole)];
    let sums = b
        .map::<ValidateError>("each_row", &inputs, |b, args| {
            let scaled = b.binary("scaled", Binary::Mul, args[0], args[1])?;
            let sum = b.reduce("sum", Reduce::Sum, scaled, &[0])?;
            b.output("sum", sum);
            Ok(())
        })
        .unwrap();
    b.output("sums", sums[0]);
    b.finish()
}

fn weights(graph: &Graph) -> Weights<'static> {
    let views = graph.parameters().map(|(_, parameter)| {
        let elements: u64 = parameter.shape.iter().product();
        let values = (0u8..=255)
            .cycle()
            .take(usize::try_from(elements).unwrap())
            .map(f32::from);
        let data: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        TensorView {
            dtype: parameter.dtype,
            shape: parameter.shape.clone(),
            data: data.into(),
        }
    });
    Weights(views.collect())
}

fn write(graph: &Graph) -> (tempfile::TempDir, MetaGraphDef) {
    let folder = tempfile::tempdir().unwrap();
    let weights = weights(graph);
    let writer = SavedModelWriter::new(&[NamedGraph::serving(graph, &weights)], &[]).unwrap();
    let summary = writer.write(folder.path()).unwrap();
    let pb = std::fs::read(folder.path().join("saved_model.pb")).unwrap();
    assert_eq!(summary.pb_bytes, pb.len() as u64);
    let model = SavedModel::decode(pb.as_slice()).unwrap();
    let [meta] = <[MetaGraphDef; 1]>::try_from(model.meta_graphs).unwrap();
    (folder, meta)
}

fn refusal(graph: &Graph, weights: &Weights<'_>) -> Error {
    SavedModelWriter::new(&[NamedGraph::serving(graph, weights)], &[]).unwrap_err()
}

#[test]
fn a_network() {
    let (_folder, meta) = write(&network());
    insta::assert_snapshot!(dump::meta_graph(&meta));
}

#[test]
fn a_map_over_an_unknown_number() {
    let (_folder, meta) = write(&mapped());
    insta::assert_snapshot!(dump::meta_graph(&meta));
}

/// Images from examples, one by one, of sizes known only at run time.
fn files() -> Graph {
    let mut b = Builder::new("files");
    let shape = Shape(vec![Dim::symbol("batch")]);
    let examples = b.input("examples", DType::String, shape);
    let inputs = [(examples, MapInput::Sliced)];
    let images = b
        .map::<ValidateError>("each", &inputs, |b, args| {
            let file = b.example_feature("file", args[0], "image/encoded")?;
            let image = b.decode_image("image", file, ["height", "width"])?;
            b.output("image", image);
            Ok(())
        })
        .unwrap();
    b.output("images", images[0]);
    b.finish()
}

#[test]
fn files_are_decoded_in_a_loop() {
    let (_folder, meta) = write(&files());
    insta::assert_snapshot!(dump::meta_graph(&meta));
}

/// A graph that halves, and one that doubles what the variable says, with one constant in common that is a variable too.
fn two_graphs() -> [Graph; 2] {
    [Binary::Div, Binary::Mul].map(|op| {
        let mut b = Builder::new("g");
        let x = b.input("x", DType::F32, Shape::known(&[2, 2]));
        let kernel = parameter(&mut b, "kernel", &[2, 2], true);
        let table = Tensor::from_bytes(DType::F32, &[1 << 15, 2], vec![0; 1 << 18]).unwrap();
        let table = b.constant("table", table).unwrap();
        let indices = b
            .constant("indices", Tensor::i32(&[2], &[0, 1]).unwrap())
            .unwrap();
        let rows = b.gather("rows", table, indices).unwrap();
        let y = b.binary("y", op, x, kernel).unwrap();
        let sum = b.binary("sum", Binary::Add, y, rows).unwrap();
        b.output("sum", sum);
        b.finish()
    })
}

fn named<'a>(
    names: [&'a str; 2],
    graphs: &'a [Graph; 2],
    weights: [&'a Weights<'a>; 2],
) -> [NamedGraph<'a>; 2] {
    let part = |i: usize| NamedGraph {
        name: names[i],
        graph: &graphs[i],
        weights: weights[i],
    };
    [part(0), part(1)]
}

#[test]
fn graphs_share_variables_and_constants() {
    let graphs = two_graphs();
    let weights = weights(&graphs[0]);
    let own = weights.clone();
    let named = named(["serving_default", "other"], &graphs, [&weights, &own]);
    let assets = [Asset {
        name: "labels".into(),
        file_name: "labels.txt".into(),
        contents: b"a\nb\n".into(),
    }];
    let writer = SavedModelWriter::new(&named, &assets).unwrap();
    assert_eq!(writer.summary().num_variables, 2);
    let folder = tempfile::tempdir().unwrap();
    writer.write(folder.path()).unwrap();
    let label = std::fs::read(folder.path().join("assets/labels.txt")).unwrap();
    assert_eq!(label, b"a\nb\n");
    let pb = std::fs::read(folder.path().join("saved_model.pb")).unwrap();
    let model = SavedModel::decode(pb.as_slice()).unwrap();
    insta::assert_snapshot!(dump::meta_graph(&model.meta_graphs[0]));
    let [asset] = model.meta_graphs[0].asset_file_def.as_slice() else {
        panic!("one asset");
    };
    assert_eq!(asset.filename, "labels.txt");
    assert_eq!(asset.tensor_info.as_ref().unwrap().name, "asset/labels:0");
}

#[test]
fn weights_that_differ_are_not_shared() {
    let graphs = two_graphs();
    let one = weights(&graphs[0]);
    let mut other = one.clone();
    other.0[0].data = vec![7; 16].into();
    let named = named(["serving_default", "other"], &graphs, [&one, &other]);
    let writer = SavedModelWriter::new(&named, &[]).unwrap();
    assert_eq!(writer.summary().num_variables, 3);
}

/// `a` with the input `b_x` and `a_b` with `x` would have placeholders of one name, and `saver` with `filename` that of the saver.
#[test]
fn signatures_refer_to_their_own_placeholders() {
    let names = [("a", "b_x"), ("a_b", "x"), ("saver", "filename")];
    let graphs = names.map(|(_, input)| {
        let mut b = Builder::new("g");
        let x = b.input(input, DType::F32, Shape::scalar());
        let y = b.unary("relu", Unary::Relu, x).unwrap();
        b.output("y", y);
        b.finish()
    });
    let weights = Weights::default();
    let named: Vec<NamedGraph<'_>> = names
        .iter()
        .zip(&graphs)
        .map(|((name, _), graph)| NamedGraph {
            name,
            graph,
            weights: &weights,
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let writer = SavedModelWriter::new(&named, &[]).unwrap();
    writer.write(folder.path()).unwrap();
    let pb = std::fs::read(folder.path().join("saved_model.pb")).unwrap();
    let model = SavedModel::decode(pb.as_slice()).unwrap();
    let meta = &model.meta_graphs[0];
    let nodes = &meta.graph_def.as_ref().unwrap().node;
    let mut seen = BTreeSet::new();
    for (name, input) in names {
        let signature = &meta.signature_def[name];
        let placeholder = signature.inputs[input].name.strip_suffix(":0").unwrap();
        let (call, _) = signature.outputs["y"].name.split_once(':').unwrap();
        let call = nodes.iter().find(|node| node.name == call).unwrap();
        assert_eq!(call.input, [placeholder], "{name}");
        let node = nodes.iter().find(|node| node.name == placeholder).unwrap();
        assert_eq!(node.op, "Placeholder");
        assert!(seen.insert(placeholder.to_owned()), "{placeholder}");
    }
}

/// Otherwise TensorFlow's optimiser leaves functions as calls.
#[test]
fn functions_say_which_nodes_have_effects() {
    let (_folder, meta) = write(&network());
    let library = meta.graph_def.unwrap().library.unwrap();
    let said: Vec<Vec<String>> = library
        .function
        .iter()
        .map(|function| {
            let signature = function.signature.as_ref().unwrap();
            for name in &signature.control_output {
                assert_eq!(function.control_ret.get(name), Some(name));
                assert!(function.node_def.iter().any(|node| node.name == *name));
            }
            assert_eq!(function.control_ret.len(), signature.control_output.len());
            signature.control_output.clone()
        })
        .collect();
    // Small weights are constants, which have none.
    assert_eq!(said.first().unwrap(), &["conv/kernel"]);
    assert_eq!(said.get(1).unwrap(), &["StatefulPartitionedCall"]);
    assert_eq!(said.len(), 2);
}

#[test]
fn names_are_given_once() {
    let graphs = two_graphs();
    let weights = weights(&graphs[0]);
    let refusal = |names: [&str; 2], assets: &[(&str, &str)]| {
        let assets: Vec<Asset> = assets
            .iter()
            .map(|(name, file_name)| Asset {
                name: (*name).to_owned(),
                file_name: (*file_name).to_owned(),
                contents: Vec::new(),
            })
            .collect();
        let named = named(names, &graphs, [&weights, &weights]);
        SavedModelWriter::new(&named, &assets)
            .unwrap_err()
            .to_string()
    };
    let texts = [
        SavedModelWriter::new(&[], &[]).unwrap_err().to_string(),
        refusal(["a", "a"], &[]),
        refusal(["a", "b-c"], &[]),
        refusal(["a", "b"], &[("x", "x.txt"), ("x", "y.txt")]),
        refusal(["a", "b"], &[("x", "x.txt"), ("y", "x.txt")]),
        refusal(["a", "b"], &[("signatures", "x.txt")]),
        refusal(["a", "b"], &[("x y", "x.txt")]),
    ];
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn the_structured_signatures_are_complete() {
    let (_folder, meta) = write(&mapped());
    insta::assert_debug_snapshot!(meta.object_graph_def.unwrap());
}

#[test]
fn variables_are_in_the_bundle_and_found_by_name() {
    let graph = network();
    let (folder, meta) = write(&graph);
    let bundle = Bundle::open(folder.path().join("variables/variables")).unwrap();
    let objects = bundle.object_graph().unwrap();
    let kernel = objects.resolve(&["conv_kernel"]).unwrap();
    let attribute = objects.variable(kernel).unwrap();
    assert_eq!(attribute.full_name, "conv/kernel");
    let expected = &weights(&graph).0[0];
    assert_eq!(
        *bundle.tensor(attribute.checkpoint_key).unwrap().bytes,
        *expected.data
    );
    // Both loaders want the same keys.
    let nodes = meta.graph_def.unwrap().node;
    let saved = nodes
        .iter()
        .find(|n| n.name == "save/tensor_names")
        .unwrap();
    let Some(tfod_proto::attr_value::Value::Tensor(names)) = &saved.attr["value"].value else {
        panic!("{saved:?}");
    };
    let names: BTreeSet<&[u8]> = names.string_val.iter().map(Vec::as_slice).collect();
    let keys: BTreeSet<&[u8]> = bundle
        .entries()
        .map(|entry| entry.key().as_bytes())
        .collect();
    assert_eq!(names, keys);
    assert!(keys.contains(OBJECT_GRAPH_KEY.as_bytes()));
}

#[test]
fn large_constants_are_variables_and_small_ones_are_not() {
    let mut b = Builder::new("g");
    let x = b.input("x", DType::F32, Shape::scalar());
    for (name, rows) in [("small", 4096u64), ("large", 4097)] {
        let data = vec![0; usize::try_from(rows).unwrap() * 16];
        let tensor = Tensor::from_bytes(DType::F32, &[rows, 4], data).unwrap();
        let constant = b.constant(name, tensor).unwrap();
        let sum = b.binary("sum", Binary::Add, constant, x).unwrap();
        b.output(name, sum);
    }
    let graph = b.finish();
    let weights = Weights::default();
    let writer = SavedModelWriter::new(&[NamedGraph::serving(&graph, &weights)], &[]).unwrap();
    assert_eq!(writer.summary().num_variables, 1);
}

#[test]
fn the_same_graph_gives_the_same_bytes() {
    let read = || {
        let (folder, _meta) = write(&network());
        [
            "saved_model.pb",
            "variables/variables.index",
            "variables/variables.data-00000-of-00001",
        ]
        .map(|name| std::fs::read(folder.path().join(name)).unwrap())
    };
    assert_eq!(read(), read());
}

#[test]
fn weights_of_another_graph_are_refused() {
    let error = refusal(&network(), &Weights::default()).to_string();
    assert!(
        error.contains("conv/kernel") && error.contains("[3, 3, 3, 8]"),
        "{error}"
    );
}

#[test]
fn names_that_python_cannot_have_are_refused() {
    let mut b = Builder::new("g");
    let x = b.input("image/raw", DType::F32, Shape::scalar());
    b.output("x", x);
    let error = refusal(&b.finish(), &Weights::default());
    assert!(
        matches!(&error, Error::Identifier { name, .. } if name == "image/raw"),
        "{error}"
    );
}

#[test]
fn a_graph_without_outputs_is_refused() {
    let mut b = Builder::new("g");
    b.input("x", DType::F32, Shape::scalar());
    let error = refusal(&b.finish(), &Weights::default());
    assert!(matches!(error, Error::NoOutputs { .. }), "{error}");
}

#[test]
fn what_tensorflow_would_compute_wrongly_is_refused() {
    let mut b = Builder::new("g");
    let x = b.input("x", DType::F32, Shape::known(&[1, 8, 8, 3]));
    let kernel = parameter(&mut b, "kernel", &[3, 3, 3, 1], true);
    let attrs = ConvAttrs {
        dilations: [2, 2],
        ..ConvAttrs::new(1, Padding::Same)
    };
    let y = b.depthwise_conv2d("dilated", x, kernel, attrs).unwrap();
    b.output("y", y);
    let graph = b.finish();
    let error = refusal(&graph, &weights(&graph));
    assert!(
        matches!(&error, Error::Unsupported { node, .. } if node == "dilated"),
        "{error}"
    );
}

#[test]
fn sizes_beyond_32_bits_are_refused() {
    let mut b = Builder::new("g");
    let x = b.input("x", DType::F32, Shape::known(&[1]));
    let y = b.pad("huge", x, &[(0, 1 << 31)]).unwrap();
    b.output("y", y);
    let error = refusal(&b.finish(), &Weights::default());
    assert!(
        matches!(&error, Error::TooLarge { node, value } if node == "huge" && *value == 1 << 31),
        "{error}"
    );
}

#[test]
fn an_earlier_saved_model_is_not_overwritten() {
    let graph = network();
    let (folder, _meta) = write(&graph);
    let weights = weights(&graph);
    let writer = SavedModelWriter::new(&[NamedGraph::serving(&graph, &weights)], &[]).unwrap();
    let error = writer.write(folder.path()).unwrap_err();
    assert!(
        error.to_string().contains("variables: cannot create"),
        "{error}"
    );
}
