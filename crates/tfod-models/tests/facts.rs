//! What is told of inputs and outputs: nothing that a network of any family takes or gives is without words.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::HashSet;

use common::{Vary, center_net, detector, faster_rcnn, keypoint_labels};
use tfod_config::protos::DetectionModel;
use tfod_models::facts::stage_of;
use tfod_models::{Batch, GraphOptions, InputType, Model, Stage, build};

const MASKS: &str = "second_stage_box_predictor { mask_rcnn_box_predictor {
    predict_instance_masks: true mask_height: 8 mask_width: 8 conv_hyperparams {} } }";

/// Networks with everything that decides which outputs there are.
fn networks() -> Vec<DetectionModel> {
    let task = |task: &str| {
        format!(
            "num_classes: 1 keypoint_estimation_task {{ task_name: '{task}' keypoint_class_name: 'person' predict_depth: true per_keypoint_depth: true }}"
        )
    };
    let masks = "mask_estimation_task {} densepose_estimation_task { num_parts: 3 }";
    let features = "output_final_box_features: true output_final_box_rpn_features: true";
    let further_maps = "return_raw_detections_during_predict: true";
    vec![
        detector(Vary::default()),
        detector(Vary {
            classic: true,
            ..Vary::default()
        }),
        center_net(""),
        center_net(masks),
        center_net(&task("person")),
        center_net("track_estimation_task {} temporal_offset_task {}"),
        center_net("deepmac_mask_estimation {}"),
        faster_rcnn("number_of_stages: 1"),
        faster_rcnn(features),
        faster_rcnn(
            "second_stage_box_predictor { mask_rcnn_box_predictor { share_box_across_classes: true } }",
        ),
        faster_rcnn("context_config { max_num_context_features: 9 context_feature_length: 20 }"),
        faster_rcnn(&format!("number_of_stages: 3 {MASKS} {further_maps}")),
    ]
}

fn built(config: &DetectionModel, stage: Stage) -> Model {
    let mut options = GraphOptions::new(InputType::ImageTensor);
    options.batch = Some(Batch::Fixed(1));
    options.keypoint_labels = Some(keypoint_labels());
    options.stage = stage;
    build(config, &options).unwrap()
}

#[test]
fn every_output_has_a_meaning_and_tells_where_its_graph_ends() {
    let mut all = HashSet::new();
    for config in networks() {
        for stage in [Stage::Detections, Stage::Boxes, Stage::Encodings] {
            let model = built(&config, stage);
            let outputs = model.graph.outputs().iter();
            let keys: Vec<&str> = outputs.map(|output| output.key.as_str()).collect();
            for key in &keys {
                assert!(model.facts.meaning(key).is_some(), "{key} of {stage:?}");
            }
            // What proposals have at both ends is the same.
            let is_told = stage_of(keys.iter().copied());
            assert_eq!(is_told, Some(stage), "{keys:?}");
            all.extend(keys.into_iter().map(str::to_owned));
        }
    }
    assert!(all.len() > 45, "{}: {all:?}", all.len());
}

#[test]
fn what_is_given_beside_images_has_a_meaning_of_its_own() {
    let named = |model: &Model| {
        let inputs = model.graph.inputs().iter();
        let inputs = inputs.map(|input| model.graph.name_of(*input).to_owned());
        let beside = |name: &String| model.facts.further_input(name).is_some();
        inputs.map(|name| (beside(&name), name)).collect::<Vec<_>>()
    };
    let context =
        faster_rcnn("context_config { max_num_context_features: 9 context_feature_length: 20 }");
    let boxes = GraphOptions::new(InputType::ImageAndBoxesTensor);
    let boxes = build(&center_net("deepmac_mask_estimation {}"), &boxes).unwrap();
    let pairs = |names: &[(bool, &str)]| {
        let names = names.iter();
        names
            .map(|(beside, name)| (*beside, (*name).to_owned()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        named(&built(&context, Stage::Boxes)),
        pairs(&[
            (false, "input_tensor"),
            (true, "context_features"),
            (true, "valid_context_size")
        ])
    );
    assert_eq!(
        named(&boxes),
        pairs(&[(false, "input_tensor"), (true, "boxes")])
    );
    let plain = built(&faster_rcnn(""), Stage::Boxes);
    assert_eq!(named(&plain), pairs(&[(false, "input_tensor")]));
}

#[test]
fn images_are_not_called_as_what_is_given_beside_them() {
    let context =
        faster_rcnn("context_config { max_num_context_features: 9 context_feature_length: 20 }");
    let boxes = center_net("deepmac_mask_estimation {}");
    for (config, input, name) in [
        (context, InputType::ImageTensor, "context_features"),
        (boxes, InputType::ImageAndBoxesTensor, "boxes"),
    ] {
        let mut options = GraphOptions::new(input);
        options.input_name = Some(name.to_owned());
        let said =
            build(&config, &options).map_or_else(|error| error.to_string(), |_| String::new());
        let expected = format!("is {name}; expected another name");
        assert!(said.contains(&expected), "{said}");
    }
}
