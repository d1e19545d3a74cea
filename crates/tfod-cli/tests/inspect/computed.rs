//! What exports compute from variables and store in their place: EfficientDet's fusion weights.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tfod::{Export, Format};
use tfod_checkpoint::{BundleWriter, DType, ObjectGraph, variable_key};
use tfod_config::PipelineConfig;
use tfod_models::{GraphOptions, build};
use tfod_verify::{Aspects, Outcome, verify};

use crate::make::{Folder, Message, floats};

const NORM: &str =
    "force_use_bias: true activation: SWISH batch_norm { scale: true epsilon: 0.001 }";

pub(crate) fn config() -> String {
    format!(
        "model {{ ssd {{
          num_classes: 2
          image_resizer {{ fixed_shape_resizer {{ height: 192 width: 192 }} }}
          feature_extractor {{
            type: 'ssd_efficientnet-b0_bifpn_keras'
            bifpn {{ min_level: 3 max_level: 6 num_iterations: 1 num_filters: 8 }}
            conv_hyperparams {{ {NORM} }}
          }}
          box_coder {{ faster_rcnn_box_coder {{ y_scale: 10 x_scale: 10 height_scale: 5 width_scale: 5 }} }}
          anchor_generator {{ multiscale_anchor_generator {{ min_level: 3 max_level: 6 anchor_scale: 4 aspect_ratios: [1.0, 2.0] scales_per_octave: 1 }} }}
          box_predictor {{ weight_shared_convolutional_box_predictor {{
            depth: 8 num_layers_before_predictor: 1 kernel_size: 3 use_depthwise: true
            conv_hyperparams {{ {NORM} }}
          }} }}
          post_processing {{
            batch_non_max_suppression {{ score_threshold: 0.1 iou_threshold: 0.5 max_detections_per_class: 10 max_total_detections: 10 }}
            score_converter: SIGMOID
          }}
        }} }}"
    )
}

/// An object of a checkpoint: its children by name, or a variable.
#[derive(Default)]
struct Object {
    children: BTreeMap<String, usize>,
    key: Option<String>,
}

/// The object graph in which these keys are found by their paths.
fn object_graph<'a>(paths: impl Iterator<Item = &'a [String]>) -> ObjectGraph {
    let mut objects = vec![Object::default()];
    for path in paths {
        let mut at = 0;
        for name in path {
            let next = objects.len();
            at = *objects[at].children.entry(name.clone()).or_insert(next);
            if at == next {
                objects.push(Object::default());
            }
        }
        objects[at].key = Some(variable_key(path));
    }
    let nodes = objects.iter().map(|object| {
        let children = object.children.iter().map(|(name, at)| {
            let child = Message::new().varint(1, *at as u64);
            child.bytes(2, name)
        });
        let variable = object.key.iter().map(|key| {
            let variable = Message::new().bytes(1, "VARIABLE_VALUE");
            variable.bytes(3, key)
        });
        Message::new().messages(1, children).messages(2, variable)
    });
    let graph = Message::new().messages(1, nodes);
    ObjectGraph::decode(&graph.0, "a test").unwrap()
}

/// The names of the network's variables, and their keys in the checkpoint.
pub(crate) fn variables(folder: &Path) -> Vec<(String, String)> {
    let config = PipelineConfig::read(&folder.join("pipeline.config"))
        .unwrap()
        .config;
    let model = config.message().model.as_ref().unwrap();
    let model = build(model, &GraphOptions::default()).unwrap();
    let parameters = model.graph.parameters().map(|(_, parameter)| {
        let path = [&["model".to_owned()], &parameter.path[..]].concat();
        (parameter.name.clone(), variable_key(&path))
    });
    parameters.collect()
}

/// A checkpoint with numbers of which no two are the same, but for the fusion weights of a node, to which something is added; its config beside it.
fn checkpoint(folder: &Path, added: f32) -> PathBuf {
    checkpoint_with(folder, &config(), added, |_, _| {})
}

/// Likewise, with what is made of the numbers of each variable, by its name in the network.
pub(crate) fn checkpoint_with(
    folder: &Path,
    config: &str,
    added: f32,
    change: impl Fn(&str, &mut [f32]),
) -> PathBuf {
    fs::create_dir(folder).unwrap();
    fs::write(folder.join("pipeline.config"), config).unwrap();
    let config = PipelineConfig::read(&folder.join("pipeline.config"))
        .unwrap()
        .config;
    let model = build(
        config.message().model.as_ref().unwrap(),
        &GraphOptions::default(),
    )
    .unwrap();
    let mut state = 1u32;
    let mut variables = BTreeMap::new();
    let mut paths = Vec::new();
    for (_, parameter) in model.graph.parameters() {
        let count: u64 = parameter.shape.iter().product();
        let is_fusion = parameter.name.contains("combine_weights");
        let values = (0..count).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = f32::from_bits(0x3f80_0000 | state >> 9);
            // As they are before training: all the same, but for one node's.
            if is_fusion { 1.0 } else { value }
        });
        let mut values: Vec<f32> = values.collect();
        if is_fusion && parameter.path.iter().any(|name| name == "1") {
            values[0] += added;
        }
        change(&parameter.name, &mut values);
        let path = [&["model".to_owned()], &parameter.path[..]].concat();
        let shape = parameter
            .shape
            .iter()
            .map(|size| usize::try_from(*size).unwrap());
        variables.insert(variable_key(&path), (shape.collect::<Vec<_>>(), values));
        paths.push(path);
    }
    let mut writer = BundleWriter::create(&folder.join("ckpt-1")).unwrap();
    let graph = object_graph(paths.iter().map(Vec::as_slice));
    writer.add_object_graph(&graph).unwrap();
    for (key, (shape, values)) in &variables {
        writer
            .add(key, DType::Float32, shape, &floats(values))
            .unwrap();
    }
    writer.finish_files().unwrap();
    folder.join("ckpt-1")
}

#[test]
fn weights_that_an_export_computes_are_those_of_its_checkpoint() {
    let folder = Folder::new();
    let first = checkpoint(&folder.path("first"), 0.5);
    let other = checkpoint(&folder.path("other"), 0.75);
    let config = folder.path("first").join("pipeline.config");
    let mut export = Export::new(config, &first, folder.path("exported"));
    export.formats = vec![Format::SavedModel, Format::Frozen, Format::Onnx];
    export.run().unwrap();
    let mut weights = Aspects::NONE;
    weights.weights = true;
    for file in ["saved_model", "frozen.pb", "model.onnx"] {
        let exported = folder.path("exported").join(file);
        let found = verify(&first, &exported, &weights).unwrap();
        assert_eq!(found.outcome(), Outcome::Same, "{file}: {:#}", found.json());
        let found = verify(&exported, &other, &weights).unwrap();
        assert_eq!(found.outcome(), Outcome::Different, "{file}");
    }
}
