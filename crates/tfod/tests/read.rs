//! Exports of the example are read as the networks that they were made from, from SavedModels and from frozen graphs, and can be written as ONNX models again.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../../tfod-cases/tests/common/form.rs"]
mod form;

use std::fs;
use std::path::Path;

use form::form;
use tfod::{Export, Format, TrainedModel};
use tfod_config::PipelineConfig;
use tfod_graph::{Weights, passes};
use tfod_models::{Batch, GraphOptions, InputType, Stage, build};
use tfod_onnx::{OnnxWriter, Options};
use tfod_tensorflow::{FreezeOptions, SavedModelReader, graph_of_graph_def};

fn comes_back(options: GraphOptions, config_override: &str, is_for_onnx: bool) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shapes");
    let file = example.join("pipeline.config");
    let mut config = PipelineConfig::read(&file).unwrap().config;
    config.merge_override(config_override).unwrap();
    let model = build(config.message().model.as_ref().unwrap(), &options).unwrap();
    let trained = TrainedModel::open(&example.join("checkpoint"), None).unwrap();
    let weights = trained.weights(&model.graph).unwrap();
    let (graph, weights) = passes::fold(&model.graph, weights).unwrap();
    let expected = form(&graph, &weights);

    let root = tempfile::tempdir().unwrap();
    let output = root.path().join("out");
    let mut export = Export::new(&file, example.join("checkpoint"), &output);
    export.graph = options;
    config_override.clone_into(&mut export.config_override);
    export.formats = vec![Format::SavedModel, Format::Frozen];
    if is_for_onnx {
        export.formats.push(Format::Onnx);
    }
    export.run().unwrap();
    let reader = SavedModelReader::open(&output.join("saved_model")).unwrap();
    let frozen = reader.freeze(&FreezeOptions::default()).unwrap();
    let of_saved_model = frozen.to_graph().unwrap_or_else(|error| panic!("{error}"));
    let bytes = fs::read(output.join("frozen.pb")).unwrap();
    let of_graph_def = graph_of_graph_def(&bytes).unwrap_or_else(|error| panic!("{error}"));
    let none = Weights::default();
    for read in [&of_saved_model, &of_graph_def] {
        let found = form(read, &none);
        if let Some((expected, found)) = expected.lines().zip(found.lines()).find(|(x, y)| x != y) {
            panic!("expected {expected}\nfound    {found}");
        }
        assert_eq!(expected, found);
    }
    if is_for_onnx {
        let writer = OnnxWriter::new(&of_saved_model, &none, &Options::default()).unwrap();
        let path = root.path().join("again.onnx");
        let again = writer.write(&path).unwrap();
        let first = OnnxWriter::new(&graph, &weights, &Options::default()).unwrap();
        assert_eq!(again.num_nodes, first.summary().num_nodes);
    }
}

#[test]
fn one_image_of_any_size() {
    comes_back(GraphOptions::default(), "", true);
}

#[test]
fn batches() {
    comes_back(GraphOptions::new(InputType::FloatImageTensor), "", true);
    let mut options = GraphOptions::default();
    options.batch = Some(Batch::Fixed(3));
    options.input_size = Some([64, 96]);
    comes_back(options, "", true);
}

#[test]
fn files() {
    for input in [InputType::EncodedImageStringTensor, InputType::TfExample] {
        comes_back(GraphOptions::new(input), "", false);
    }
}

#[test]
fn resizers_that_compute_sizes() {
    for resizer in [
        "keep_aspect_ratio_resizer { min_dimension: 160 max_dimension: 160 pad_to_max_dimension: true }",
        "fixed_shape_resizer { height: 160 width: 160 resize_method: NEAREST_NEIGHBOR convert_to_grayscale: false }",
    ] {
        let config = format!("model {{ ssd {{ image_resizer {{ {resizer} }} }} }}");
        comes_back(GraphOptions::default(), &config, true);
        comes_back(
            GraphOptions::new(InputType::FloatImageTensor),
            &config,
            true,
        );
    }
}

#[test]
fn parts_of_the_network() {
    for stage in [Stage::Boxes, Stage::Encodings] {
        let mut options = GraphOptions::default();
        options.stage = stage;
        options.no_preprocess = stage == Stage::Encodings;
        comes_back(options, "", true);
    }
}
