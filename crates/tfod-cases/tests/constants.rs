//! No node that a back end writes has only constants as inputs, but for those that TensorFlow's loops need, and those that widen TFLite's kernels of 16 bits.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[path = "../../tfod-cli/tests/common/constants.rs"]
mod constants;

use std::fs;

use prost::Message as _;
use tfod_cases::{
    Case, REFUSED_BY_ONNX, REFUSED_BY_TFLITE, SOME_OF_ONNX, cases, files, fixed, toy, weights,
};
use tfod_graph::{Dim, Graph, passes};
use tfod_onnx::{InputLayout, OPSETS, OnnxWriter, Options};
use tfod_proto::{GraphDef, SavedModel};
use tfod_tensorflow::{FreezeOptions, NamedGraph, SavedModelReader, SavedModelWriter};
use tfod_tflite::{TfliteWriter, WeightType};

/// Sizes of batches for which back ends write other nodes.
fn batches() -> [Dim; 3] {
    [Dim::symbol("batch"), 3.into(), 1.into()]
}

fn built(cases: &[Case], batch: Dim) -> Graph {
    passes::standard(&toy(cases, batch).unwrap()).unwrap()
}

#[test]
fn onnx_models_compute_nothing_from_constants() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let cases = cases().into_iter();
    for case in cases.filter(|case| !REFUSED_BY_ONNX.contains(&case.name)) {
        for batch in batches() {
            // As exports do it.
            let graph = built(&[case], batch.clone());
            let (graph, weights) = passes::fold(&graph, weights(&graph)).unwrap();
            for input_layout in [InputLayout::Nhwc, InputLayout::Nchw] {
                for opset in [*OPSETS.start(), Options::default().opset, *OPSETS.end()] {
                    let mut options = Options::default();
                    options.input_layout = input_layout;
                    options.opset = opset;
                    let Ok(writer) = OnnxWriter::new(&graph, &weights, &options) else {
                        assert!(SOME_OF_ONNX.contains(&case.name), "{}", case.name);
                        continue;
                    };
                    writer.write(&path).unwrap();
                    let found = constants::of_onnx(&fs::read(&path).unwrap());
                    assert!(found.is_empty(), "{}, batch {batch}: {found:#?}", case.name);
                }
            }
        }
    }
}

#[test]
fn tflite_models_compute_nothing_from_constants() {
    let cases = cases().into_iter();
    for case in cases.filter(|case| !REFUSED_BY_TFLITE.contains(&case.name)) {
        for batch in batches() {
            let graph = fixed(&built(&[case], batch.clone())).unwrap();
            let weights = weights(&graph);
            for kind in WeightType::ALL {
                let mut options = tfod_tflite::Options::default();
                options.weights = kind;
                let mut model = Vec::new();
                let writer = TfliteWriter::new(&graph, &weights, &options).unwrap();
                writer.write_to(&mut model).unwrap();
                let found = constants::of_tflite(&model);
                assert!(found.is_empty(), "{}, batch {batch}: {found:#?}", case.name);
            }
        }
    }
}

/// Of a graph as a SavedModel, and frozen, with loops lowered or not.
fn check_tensorflow(graph: &Graph, what: &str) {
    let (graph, weights) = passes::fold(graph, weights(graph)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    SavedModelWriter::new(&[NamedGraph::serving(&graph, &weights)], &[])
        .unwrap()
        .write(folder.path())
        .unwrap();
    let saved = fs::read(folder.path().join("saved_model.pb")).unwrap();
    let saved = SavedModel::decode(saved.as_slice()).unwrap();
    for meta in &saved.meta_graphs {
        let found = constants::of_graph(meta.graph_def.as_ref().unwrap());
        assert!(found.is_empty(), "{what}, SavedModel: {found:#?}");
    }
    let reader = SavedModelReader::open(folder.path()).unwrap();
    for keep_control_flow in [false, true] {
        let mut options = FreezeOptions::default();
        options.keep_control_flow = keep_control_flow;
        let mut bytes = Vec::new();
        let frozen = reader.freeze(&options).unwrap();
        frozen.write_binary(&mut bytes).unwrap();
        let found = constants::of_graph(&GraphDef::decode(bytes.as_slice()).unwrap());
        assert!(found.is_empty(), "{what}, frozen: {found:#?}");
    }
}

#[test]
fn graphs_of_tensorflow_compute_nothing_from_constants() {
    for case in cases() {
        for batch in batches() {
            let what = format!("{}, batch {batch}", case.name);
            check_tensorflow(&built(&[case], batch), &what);
        }
    }
    for graph in [files::files(), files::examples()] {
        check_tensorflow(&passes::standard(&graph.unwrap()).unwrap(), "files");
    }
}
