//! Parts that several meta-architectures have know none of them: what is wrong with a message is told with the path that the part was handed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::{fs, io};

use tfod_config::protos::{self, FILE_DESCRIPTOR_SET};
use tfod_models::anchors::AnchorGenerator;
use tfod_models::head::convolutional::Convolutional;
use tfod_models::hyperparams::Hyperparams;
use tfod_models::postprocess::box_coder::BoxCoder;
use tfod_models::postprocess::nms::NonMaxSuppression;
use tfod_models::postprocess::score::ScoreConverter;
use tfod_models::resizer::Resizer;
use tfod_models::{FieldPath, Message, ModelError};

/// A message of the configuration from text format, put into a two-stage detector so that it can be parsed.
macro_rules! parsed {
    ($text:literal, $($field:ident).+) => {{
        let text = concat!("model { faster_rcnn { ", $text, " } }");
        let config = tfod_config::PipelineConfig::parse("test", text.as_bytes()).unwrap();
        let model = config.config.message().model.clone().unwrap().model;
        let Some(protos::detection_model::Model::FasterRcnn(rcnn)) = model else {
            unreachable!("the text has it")
        };
        rcnn.$($field.clone().unwrap()).+
    }};
}

fn refusal<T>(result: Result<T, ModelError>) -> String {
    match result {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn parts_report_the_path_that_they_are_handed() {
    let rcnn = FieldPath::MODEL.child("faster_rcnn");
    let mut refusals = Vec::new();
    let mut refused = |path: FieldPath, text: String| refusals.push((path, text));

    let path = rcnn.child("image_resizer");
    let config = parsed!(
        "image_resizer { fixed_shape_resizer { height: 0 width: 8 } }",
        image_resizer
    );
    let resizer = Resizer::from_config(Message::new(path, &config));
    refused(
        path.child("fixed_shape_resizer").child("height"),
        refusal(resizer),
    );

    let path = rcnn.child("first_stage_anchor_generator");
    let config = parsed!(
        "first_stage_anchor_generator { multiscale_anchor_generator { min_level: 3 max_level: 2 } }",
        first_stage_anchor_generator
    );
    let anchors = AnchorGenerator::from_config(Message::new(path, &config));
    let field = path.child("multiscale_anchor_generator").child("max_level");
    refused(field, refusal(anchors));

    let config = parsed!(
        "first_stage_anchor_generator { flexible_grid_anchor_generator { anchor_grid { base_sizes: 1 aspect_ratios: 1 } anchor_grid { base_sizes: -1 } } }",
        first_stage_anchor_generator
    );
    let anchors = AnchorGenerator::from_config(Message::new(path, &config));
    let grids = path.child("flexible_grid_anchor_generator");
    let field = grids.item("anchor_grid", 1).child("base_sizes");
    refused(field, refusal(anchors));

    let path = rcnn.child("second_stage_post_processing");
    let config = parsed!(
        "second_stage_post_processing { logit_scale: 0 batch_non_max_suppression { iou_threshold: 7 } }",
        second_stage_post_processing
    );
    let post = Message::new(path, &config);
    refused(
        path.child("logit_scale"),
        refusal(ScoreConverter::from_config(post)),
    );
    let nms = post.batch_non_max_suppression.unwrap();
    let nms = post.at("batch_non_max_suppression", &nms);
    let suppression = NonMaxSuppression::from_config(nms);
    refused(nms.path().child("iou_threshold"), refusal(suppression));

    let path = rcnn.child("first_stage_box_predictor_conv_hyperparams");
    let config = parsed!(
        "first_stage_box_predictor_conv_hyperparams { batch_norm { epsilon: -1 } }",
        first_stage_box_predictor_conv_hyperparams
    );
    refused(path, refusal(Hyperparams::from_config(path, Some(&config))));

    let path = rcnn.child("second_stage_box_predictor");
    let path = path.child("convolutional_box_predictor");
    let config = protos::ConvolutionalBoxPredictor {
        min_depth: Some(-1),
        ..Default::default()
    };
    let predictor = Convolutional::from_config(Message::new(path, &config), 2, &[3]);
    refused(path.child("min_depth"), refusal(predictor));

    let path = rcnn.child("box_coder");
    let config = protos::BoxCoder::default();
    refused(
        path,
        refusal(BoxCoder::from_config(Message::new(path, &config))),
    );

    for (path, text) in refusals {
        assert!(text.contains(&format!("`{path}`")), "{path}: {text}");
        assert!(path.to_string().starts_with("model.faster_rcnn."), "{path}");
    }
}

/// All lines of the source files below a folder, with the file's path.
fn source_lines(folder: &Path, lines: &mut Vec<(String, String)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            source_lines(&path, lines)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.to_string_lossy().replace('\\', "/");
            let text = fs::read_to_string(&path)?;
            lines.extend(text.lines().map(|line| (name.clone(), line.to_owned())));
        }
    }
    Ok(())
}

fn all_source_lines() -> Vec<(String, String)> {
    let mut lines = Vec::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    source_lines(&source, &mut lines).unwrap();
    assert!(lines.len() > 5000, "the sources are found");
    lines
}

#[test]
fn only_the_folder_of_ssd_names_its_fields() {
    let elsewhere: Vec<(String, String)> = all_source_lines()
        .into_iter()
        .filter(|(file, line)| !file.contains("/src/meta/ssd/") && line.contains("model.ssd"))
        .collect();
    assert!(elsewhere.is_empty(), "{elsewhere:#?}");
}

/// Names of fields are written by hand where they are read, so a wrong one would not show before somebody's configuration is refused.
#[test]
fn fields_that_are_named_exist() {
    let pool = prost_reflect::DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let exists = |name: &str| {
        pool.all_messages()
            .any(|message| message.get_field_by_name(name).is_some())
    };
    let mut count = 0;
    for (file, line) in all_source_lines() {
        for call in [
            ".field(\"",
            ".child(\"",
            ".at(\"",
            ".item(\"",
            ".required(\"",
        ] {
            // Paths of the object tree have children too: they begin with an underscore, or stand in files of networks alone.
            for rest in line.split(call).skip(1) {
                let name = rest.split('"').next().unwrap();
                let is_network = !file.contains("/meta/") || file.ends_with("/network.rs");
                let is_tree = call == ".child(\"" && is_network;
                assert!(
                    is_tree || name.starts_with('_') || exists(name) || TREE.contains(&name),
                    "{file}: no message has a field `{name}`"
                );
                count += 1;
            }
        }
    }
    assert!(count > 60, "calls are found: {count}");
}

/// Objects of the tree that the meta-architectures' own files name, and that no field is called after.
const TREE: [&str; 7] = [
    "classification_backbone",
    "coarse_feature_layers",
    "fpn_features_generator",
    "convolutions",
    "class_predictions_with_background",
    "layer_with_weights-0",
    "projection",
];
