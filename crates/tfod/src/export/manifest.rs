//! `manifest.json`: what programs and people need to know of an exported model to use it, in one file beside it. The same facts are the metadata of
//! the ONNX model.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tfod_config::LabelMap;
use tfod_models::facts::{BoxDecoding, Facts, Meaning, ScoreConversion, StageFacts, Suppression};
use tfod_models::resizer;
use tfod_models::{GraphOptions, InputType, Model, Stage};

use super::signatures::Signature;
use super::{Interface, InterfaceTensor};
use crate::report::shape;

/// Grows when a member changes its meaning or goes; new members do not count.
const FORMAT_VERSION: u32 = 1;

/// Bytes that are hashed at a time.
const BLOCK: usize = 1 << 16;

/// A file that the model was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SourceFile {
    /// Its name, without folders.
    pub(super) name: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub(super) sha256: String,
}

impl SourceFile {
    /// Of bytes that have been read.
    pub(super) fn of_bytes(name: String, bytes: &[u8]) -> Self {
        let sha256 = hexadecimal(&Sha256::digest(bytes));
        Self { name, sha256 }
    }

    /// Reads the content to its end, in pieces.
    pub(super) fn new(name: String, content: &mut impl Read) -> io::Result<Self> {
        let mut hasher = Sha256::new();
        let mut block = vec![0; BLOCK];
        loop {
            let size = content.read(&mut block)?;
            if size == 0 {
                break;
            }
            hasher.update(&block[..size]);
        }
        let sha256 = hexadecimal(&hasher.finalize());
        Ok(Self { name, sha256 })
    }

    fn json(&self) -> Value {
        json!({ "name": self.name, "sha256": self.sha256 })
    }
}

fn hexadecimal(digest: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for byte in digest {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// What the manifest is made of.
pub(super) struct About<'a> {
    pub(super) model: &'a Model,
    /// What the formats written have in common.
    pub(super) interface: &'a Interface,
    pub(super) options: &'a GraphOptions,
    pub(super) labels: Option<&'a LabelMap>,
    pub(super) config: &'a SourceFile,
    /// Pairs of keypoints between which lines are drawn, by their place.
    pub(super) keypoint_edges: &'a [[i32; 2]],
    /// The index of the checkpoint, which holds a checksum of every tensor; all that the model uses were verified.
    pub(super) checkpoint_index: &'a SourceFile,
}

/// The facts that hold for every format, by name.
pub(super) fn facts(about: &About<'_>) -> Map<String, Value> {
    let model = about.model;
    let preprocessing = preprocessing(&model.facts, about.options.no_preprocess);
    let mut facts = Map::new();
    let mut add = |name: &str, value: Value| {
        facts.insert(name.to_owned(), value);
    };
    add("manifest_version", json!(FORMAT_VERSION));
    add(
        "producer",
        json!(concat!("tfod ", env!("CARGO_PKG_VERSION"))),
    );
    add("architecture", json!(model.architecture));
    add("num_classes", json!(model.num_classes));
    add("class_id_base", json!(1));
    if let Some(labels) = about.labels {
        let labels = labels.class_names().into_iter();
        let labels: Vec<Value> = labels
            .map(|(id, name)| json!({ "id": id, "name": name }))
            .collect();
        add("labels", json!(labels));
    }
    for (name, value) in ends(about.interface, about.options, &model.facts) {
        add(&name, value);
    }
    if !model.facts.keypoints.is_empty() {
        add("keypoints", json!(model.facts.keypoints));
        if !about.keypoint_edges.is_empty() {
            add("keypoint_edges", json!(about.keypoint_edges));
        }
    }
    add("preprocessing", preprocessing);
    // The members of a detector of one stage are those of the last stage of others.
    if let Some((last, earlier)) = model.facts.stages.split_last() {
        for (name, value) in stage(last, about.options.stage) {
            add(name, value);
        }
        if !earlier.is_empty() {
            // Whatever the graph ends at, it runs through these.
            let earlier = earlier.iter().map(|facts| {
                let boxes = facts.boxes.as_ref().map(box_decoding);
                let name = [("name", json!(facts.name))].into_iter();
                let members = name.chain(stage(facts, Stage::Detections));
                let members = members.chain(boxes.map(|boxes| ("box_decoding", boxes)));
                let members = members.map(|(name, value)| (name.to_owned(), value));
                Value::Object(members.collect())
            });
            add("earlier_stages", earlier.collect());
        }
    }
    add("pipeline_config", about.config.json());
    add("checkpoint_index", about.checkpoint_index.json());
    facts
}

/// What a stage does, as far as the graph goes.
fn stage(facts: &StageFacts, end: Stage) -> Vec<(&'static str, Value)> {
    let scores = facts.scores.as_ref().map(score_conversion);
    let scores = scores.map(|value| ("score_conversion", value));
    let last = match end {
        Stage::Detections => {
            let suppression = facts.suppression.as_ref().map(suppression);
            suppression.map(|value| ("non_max_suppression", value))
        }
        Stage::Boxes => None,
        Stage::Encodings => {
            let boxes = facts.boxes.as_ref().map(box_decoding);
            boxes.map(|value| ("box_decoding", value))
        }
    };
    scores.into_iter().chain(last).collect()
}

/// The facts as metadata of a file: texts as they are, other values as JSON.
pub(super) fn metadata(facts: &Map<String, Value>) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    facts
        .iter()
        .map(|(name, value)| (name.clone(), text(value)))
        .collect()
}

/// A number as people wrote it: the shortest that is the same 32-bit float.
fn number(value: f32) -> Value {
    const DIGITS: f32 = 1e6;
    // The digits of whole numbers are the same whatever the type.
    if value.fract() == 0.0 && value.abs() < DIGITS {
        return f64::from(value).into();
    }
    value
        .to_string()
        .parse::<f64>()
        .map_or(Value::Null, |n| json!(n))
}

/// Numbers as people wrote them.
pub(super) fn numbers(values: impl IntoIterator<Item = f32>) -> Value {
    values.into_iter().map(number).collect()
}

/// What a model takes and gives: the members `inputs` and `outputs`.
pub(super) fn ends(
    interface: &Interface,
    options: &GraphOptions,
    facts: &Facts,
) -> Map<String, Value> {
    let inputs = interface.inputs.iter();
    let inputs: Value = inputs.map(|info| input(info, options, facts)).collect();
    let outputs = interface.outputs.iter();
    let outputs: Value = outputs.map(|info| output(info, facts)).collect();
    Map::from_iter([
        ("inputs".to_owned(), inputs),
        ("outputs".to_owned(), outputs),
    ])
}

fn input(info: &InterfaceTensor, options: &GraphOptions, facts: &Facts) -> Value {
    let further = facts.further_input(&info.key);
    let Meaning {
        text: meaning,
        unit,
    } = further.unwrap_or_else(|| images(options));
    let mut input = json!({
        "name": info.key,
        "dtype": info.dtype.name(),
        "shape": shape(&info.shape),
        "meaning": meaning,
        "unit": unit,
    });
    if let (Some(layout), Some(members)) = (info.layout, input.as_object_mut()) {
        members.insert("layout".to_owned(), json!(layout.name()));
    }
    input
}

/// What the input of images means.
fn images(options: &GraphOptions) -> Meaning {
    let (text, unit) = match options.input {
        InputType::EncodedImageStringTensor => (
            "files of images of any size: JPEG, PNG, GIF (the first frame) or BMP",
            "",
        ),
        InputType::TfExample => (
            "serialised tf.train.Example messages; the feature image/encoded is the file of an image: JPEG, PNG, GIF (the first frame) or BMP",
            "",
        ),
        _ if options.no_preprocess => (
            "the network's own input: images prepared as `preprocessing` says; boxes are relative to all of it, padding included",
            "",
        ),
        _ if options.no_resizing => (
            "images: red, green, blue; brought to this size as `resizing_by_caller` of the file says; boxes are relative to all of it, padding included",
            "intensity, 0 to 255",
        ),
        InputType::ImageTensor | InputType::FloatImageTensor | InputType::ImageAndBoxesTensor => {
            ("images: red, green, blue", "intensity, 0 to 255")
        }
    };
    Meaning { text, unit }
}

fn output(info: &InterfaceTensor, facts: &Facts) -> Value {
    let mut output = json!({
        "name": info.key,
        "dtype": info.dtype.name(),
        "shape": shape(&info.shape),
    });
    if let (Some(meaning), Some(members)) = (facts.meaning(&info.key), output.as_object_mut()) {
        members.insert("meaning".to_owned(), json!(meaning.text));
        members.insert("unit".to_owned(), json!(meaning.unit));
    }
    output
}

fn preprocessing(facts: &Facts, is_left_to_the_caller: bool) -> Value {
    let resizing = &facts.resizing;
    let normalization = facts.normalization;
    let mut steps = vec![
        json!({
            "step": "resize",
            "resizer": resizing.resizer,
            "size": resizing.size,
            "method": resizing.method,
            "description": resizing.description,
        }),
        json!({
            "step": "normalize",
            "scale": numbers(normalization.scale),
            "shift": numbers(normalization.shift),
            "description": "value * scale + shift, for each channel",
        }),
    ];
    if normalization.reversed {
        steps.push(json!({
            "step": "reverse_channels",
            "description": "blue, green, red",
        }));
    }
    if let Some(padding) = &resizing.padding {
        steps.push(json!({
            "step": "pad",
            "values": numbers(padding.values),
            "description": padding.description,
        }));
    }
    if resizing.grayscale {
        steps.push(json!({
            "step": "grayscale",
            "weights": numbers(resizer::LUMA),
            "description": "the weighted sum of the channels, as one channel",
        }));
    }
    json!({
        "done_by": if is_left_to_the_caller { "caller" } else { "model" },
        "channels": "RGB",
        "steps": steps,
    })
}

fn suppression(nms: &Suppression) -> Value {
    let mut members = json!({
        "score_threshold": number(nms.score_threshold),
        "iou_threshold": number(nms.iou_threshold),
        "max_detections_per_class": nms.max_detections_per_class,
        "max_total_detections": nms.max_total_detections,
        "class_agnostic": nms.max_detections_per_class.is_none(),
        "soft_nms_sigma": number(nms.soft_nms_sigma),
    });
    if let (false, Some(members)) = (nms.class_thresholds.is_empty(), members.as_object_mut()) {
        let classes = nms.class_thresholds.iter();
        let classes =
            classes.map(|class| json!({ "id": class.id, "score_threshold": number(class.score) }));
        members.insert("class_score_thresholds".to_owned(), classes.collect());
    }
    members
}

fn score_conversion(scores: &ScoreConversion) -> Value {
    json!({
        "converter": scores.converter,
        "logit_scale": number(scores.logit_scale),
        "calibration": scores.calibration,
        "has_background": scores.has_background,
        "description": "converter(raw / logit_scale), calibrated where there is a calibration; where there is a background, it is class 0 of the scores",
    })
}

fn box_decoding(boxes: &BoxDecoding) -> Value {
    let scales: Map<String, Value> = boxes
        .scales
        .iter()
        .map(|(name, value)| ((*name).to_owned(), number(*value)))
        .collect();
    let anchors = boxes
        .anchors
        .iter()
        .map(|anchor| numbers(*anchor))
        .collect();
    // Not by `json!`, which copies values that are in one: there are thousands of anchors.
    let members = [
        ("coder", boxes.coder.into()),
        ("scales", scales.into()),
        ("description", json!(boxes.description)),
        ("anchors", anchors),
        ("anchors_description", json!(boxes.anchors_description)),
    ];
    let members = members.map(|(name, value)| (name.to_owned(), value));
    Map::from_iter(members).into()
}

/// What each signature takes and gives, by name.
pub(super) fn signatures(signatures: &[&Signature]) -> Value {
    let about = |signature: &&Signature| {
        let interface = Interface::of(&signature.model.graph);
        let mut about = ends(&interface, &signature.options, &signature.model.facts);
        let input_type = json!(signature.options.input.name());
        about.insert("input_type".to_owned(), input_type);
        (signature.name.clone(), Value::Object(about))
    };
    let signatures: Map<String, Value> = signatures.iter().map(about).collect();
    signatures.into()
}

/// Larger manifests are not read.
const LARGEST: u64 = 1 << 26;

/// The files and folders that the manifest of an earlier export lists, in its folder; none where it cannot be read.
pub(super) fn listed(path: &Path) -> Vec<String> {
    let is_file = fs::symlink_metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.len() <= LARGEST);
    let text = is_file.then(|| fs::read(path).ok()).flatten();
    let manifest: Option<Value> = text.and_then(|text| serde_json::from_slice(&text).ok());
    let files = manifest.as_ref().and_then(|m| m.get("files")?.as_object());
    let mut names = Vec::new();
    for (name, about) in files.into_iter().flatten() {
        names.push(name.clone());
        let data = about.get("external_data").and_then(Value::as_str);
        names.extend(data.map(str::to_owned));
    }
    names
}

/// The manifest's text.
pub(super) fn text(mut facts: Map<String, Value>, files: Map<String, Value>) -> String {
    facts.insert("files".to_owned(), files.into());
    let mut text = String::new();
    write_value(&Value::Object(facts), 0, &mut text);
    text.push('\n');
    text
}

/// Writes a value with a line for each member and element, and lists of numbers, of which there are as many as anchors, on one line each.
fn write_value(value: &Value, depth: usize, text: &mut String) {
    let indent = |text: &mut String, depth| {
        text.push('\n');
        text.extend(std::iter::repeat_n("  ", depth));
    };
    let is_nested = |values: &[Value]| !values.iter().all(Value::is_number);
    match value {
        Value::Array(values) if is_nested(values) => {
            let mut before = '[';
            for value in values {
                text.push(before);
                indent(text, depth + 1);
                write_value(value, depth + 1, text);
                before = ',';
            }
            indent(text, depth);
            text.push(']');
        }
        Value::Array(values) => {
            text.push('[');
            for (place, value) in values.iter().enumerate() {
                text.push_str(if place > 0 { ", " } else { "" });
                write_value(value, depth, text);
            }
            text.push(']');
        }
        Value::Object(members) if !members.is_empty() => {
            let mut before = '{';
            for (name, value) in members {
                text.push(before);
                indent(text, depth + 1);
                let _ = write!(text, "{}: ", Value::from(name.as_str()));
                write_value(value, depth + 1, text);
                before = ',';
            }
            indent(text, depth);
            text.push('}');
        }
        other => {
            // A `String` takes all that is written.
            let _ = write!(text, "{other}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tfod_config::PipelineConfig;

    #[test]
    fn a_manifest_is_json_with_a_list_of_numbers_on_a_line() {
        let facts = json!({
            "anchors": [[0.5, 1.0], [-2.0, 3.25]],
            "list": ["a \"word\"", null, true, [], {}],
            "size": 7,
        });
        let Value::Object(facts) = facts else {
            unreachable!("written so above")
        };
        let text = text(facts.clone(), Map::new());
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["anchors"], facts["anchors"]);
        assert_eq!(read["list"], facts["list"]);
        let expected = [
            "{",
            "  \"anchors\": [",
            "    [0.5, 1.0],",
            "    [-2.0, 3.25]",
            "  ],",
            "  \"files\": {},",
            "  \"list\": [",
            "    \"a \\\"word\\\"\",",
            "    null,",
            "    true,",
            "    [],",
            "    {}",
            "  ],",
            "  \"size\": 7",
            "}",
            "",
        ];
        assert_eq!(text, expected.join("\n"));
    }

    #[test]
    fn side_inputs_are_not_called_images() {
        let text = "model { faster_rcnn {
            num_classes: 2
            image_resizer { fixed_shape_resizer { height: 64 width: 96 } }
            feature_extractor { type: 'faster_rcnn_resnet50_keras' }
            first_stage_anchor_generator { grid_anchor_generator { scales: 0.5 aspect_ratios: 1.0 } }
            first_stage_max_proposals: 4 initial_crop_size: 8 maxpool_kernel_size: 2 maxpool_stride: 2
            second_stage_box_predictor { mask_rcnn_box_predictor { fc_hyperparams { } } }
            second_stage_post_processing { batch_non_max_suppression { max_detections_per_class: 4 max_total_detections: 4 } }
            context_config { max_num_context_features: 9 context_feature_length: 20 }
        } }";
        let config = PipelineConfig::parse("test", text.as_bytes()).unwrap();
        let config = config.config.message().model.clone().unwrap();
        let mut options = GraphOptions::default();
        for (no_preprocess, images) in [(false, "images: "), (true, "the network's own input")] {
            options.no_preprocess = no_preprocess;
            let model = tfod_models::build(&config, &options).unwrap();
            let interface = Interface::of(&model.graph);
            let ends = ends(&interface, &options, &model.facts);
            let inputs = ends["inputs"].as_array().unwrap();
            let told: Vec<[&str; 3]> = inputs
                .iter()
                .map(|input| ["name", "dtype", "meaning"].map(|m| input[m].as_str().unwrap()))
                .collect();
            let [image, features, count] = told.as_slice() else {
                unreachable!("{told:?}")
            };
            assert!(image[2].starts_with(images), "{told:?}");
            assert_eq!(features[..2], ["context_features", "float32"]);
            assert!(features[2].starts_with("the memory bank of each image"));
            assert_eq!(count[..2], ["valid_context_size", "int32"]);
            assert!(count[2].starts_with("how many features"), "{told:?}");
            assert!(inputs[1].get("layout").is_none());
        }
    }
}
