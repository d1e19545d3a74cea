//! Two-stage detectors: what they give, what is refused, and why a checkpoint does not fit.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::faster_rcnn;
use common::trained::Trained;
use tfod_graph::validate;
use tfod_models::fit::{closest, explain};
use tfod_models::{
    Batch, GraphOptions, InputType, MetaArchitecture, Model, SideInput, Stage, build,
};

/// The outputs of a network with their shapes, in the order of keys.
fn outputs(model: &Model) -> Vec<String> {
    let graph = &model.graph;
    validate(graph).unwrap();
    let outputs = graph.outputs().iter();
    let mut outputs: Vec<String> = outputs
        .map(|output| format!("{} {}", output.key, graph.value(output.value).shape))
        .collect();
    outputs.sort();
    outputs
}

fn of(config: &str, stage: Stage) -> Vec<String> {
    let mut options = GraphOptions::new(InputType::FloatImageTensor);
    options.batch = Some(Batch::Fixed(2));
    options.stage = stage;
    outputs(&build(&faster_rcnn(config), &options).unwrap())
}

#[test]
fn each_stage_has_outputs_of_its_own() {
    assert_eq!(
        of("", Stage::Detections),
        [
            "detection_anchor_indices [2, 12]",
            "detection_boxes [2, 12, 4]",
            "detection_classes [2, 12]",
            "detection_multiclass_scores [2, 12, 3]",
            "detection_scores [2, 12]",
            "num_detections [2]",
            "raw_detection_boxes [2, 20, 4]",
            "raw_detection_scores [2, 20, 3]",
        ]
    );
    assert_eq!(
        of("", Stage::Boxes),
        [
            "num_proposals [2]",
            "raw_detection_boxes [2, 20, 4]",
            "raw_detection_boxes_by_class [2, 20, 2, 4]",
            "raw_detection_scores [2, 20, 3]",
        ]
    );
    assert_eq!(
        of("", Stage::Encodings),
        [
            "class_predictions_with_background [40, 3]",
            "num_proposals [2]",
            "proposal_boxes [2, 20, 4]",
            "refined_box_encodings [40, 2, 4]",
        ]
    );
    let features = "output_final_box_features: true output_final_box_rpn_features: true";
    let given = of(features, Stage::Detections);
    for expected in [
        "cropped_rpn_box_features [2, 12, 4, 4, 1024]",
        "detection_features [2, 12, 2, 2, 2048]",
    ] {
        assert!(given.contains(&expected.to_owned()), "{given:?}");
    }
    let shared =
        "second_stage_box_predictor { mask_rcnn_box_predictor { share_box_across_classes: true } }";
    let given = of(shared, Stage::Boxes);
    assert!(
        !given.iter().any(|output| output.contains("by_class")),
        "{given:?}"
    );
}

#[test]
fn one_stage_gives_proposals() {
    assert_eq!(
        of("number_of_stages: 1", Stage::Detections),
        [
            "detection_boxes [2, 20, 4]",
            "detection_multiclass_scores [2, 20, 2]",
            "detection_scores [2, 20]",
            "num_detections [2]",
            "raw_detection_boxes [2, 96, 4]",
            "raw_detection_scores [2, 96, 2]",
        ]
    );
    assert_eq!(
        of("number_of_stages: 1", Stage::Encodings),
        [
            "rpn_box_encodings [2, 96, 4]",
            "rpn_objectness_predictions_with_background [2, 96, 2]",
        ]
    );
}

#[test]
fn anchors_of_images_of_any_size_are_counted_at_run_time() {
    let resizer =
        "image_resizer { keep_aspect_ratio_resizer { min_dimension: 64 max_dimension: 96 } }";
    let options = GraphOptions::new(InputType::FloatImageTensor);
    let model = build(&faster_rcnn(resizer), &options).unwrap();
    validate(&model.graph).unwrap();
    assert_eq!((model.image_size, model.facts.num_anchors()), (None, None));
    let mut options = options;
    options.input_size = Some([80, 120]);
    let model = build(&faster_rcnn(resizer), &options).unwrap();
    assert_eq!(model.image_size, Some([64, 96]));
    assert_eq!(model.facts.num_anchors(), Some(4 * 6 * 4));
}

fn refusal(config: &str) -> String {
    match build(&faster_rcnn(config), &GraphOptions::default()) {
        Ok(_) => String::from("accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn refusals_name_the_field() {
    let pyramid = "feature_extractor { type: 'faster_rcnn_resnet50_fpn_keras' }";
    let grey = "image_resizer { fixed_shape_resizer { convert_to_grayscale: true } }";
    for (config, expected) in [
        ("num_classes: 0", "`model.faster_rcnn.num_classes` is 0"),
        (
            "number_of_stages: 4",
            "`model.faster_rcnn.number_of_stages`: 4",
        ),
        (
            "initial_crop_size: 0",
            "`model.faster_rcnn.initial_crop_size` is 0",
        ),
        (
            "maxpool_kernel_size: 9",
            "`model.faster_rcnn.maxpool_kernel_size` is 9; expected at most initial_crop_size (8)",
        ),
        (
            "maxpool_stride: 0",
            "`model.faster_rcnn.maxpool_stride` is 0",
        ),
        (
            "first_stage_max_proposals: 0",
            "`model.faster_rcnn.first_stage_max_proposals` is 0",
        ),
        (
            "first_stage_max_proposals: 2000000000",
            "`model.faster_rcnn.first_stage_max_proposals` is 2000000000",
        ),
        (
            "first_stage_nms_iou_threshold: 1.5",
            "`model.faster_rcnn.first_stage_nms_iou_threshold` is 1.5",
        ),
        (
            "first_stage_nms_score_threshold: nan",
            "`model.faster_rcnn.first_stage_nms_score_threshold` is NaN",
        ),
        (
            "feature_extractor { type: 'faster_rcnn_resnet50' }",
            "`model.faster_rcnn.feature_extractor.type`: faster_rcnn_resnet50, a type of the TensorFlow 1",
        ),
        (
            "feature_extractor { first_stage_features_stride: 8 }",
            "`model.faster_rcnn.feature_extractor.first_stage_features_stride`: 8",
        ),
        (
            "feature_extractor { conv_hyperparams {} }",
            "`model.faster_rcnn.feature_extractor.conv_hyperparams`: a value",
        ),
        (
            pyramid,
            "the config has no `model.faster_rcnn.feature_extractor.conv_hyperparams`",
        ),
        (
            grey,
            "`model.faster_rcnn.image_resizer.fixed_shape_resizer.convert_to_grayscale`: true",
        ),
        (
            "first_stage_anchor_generator { grid_anchor_generator { height_offset: 1000 } }",
            "`model.faster_rcnn.first_stage_anchor_generator` places an anchor",
        ),
        (
            "feature_extractor { type: 'faster_rcnn_resnet50_fpn_keras' conv_hyperparams {} }",
            "`model.faster_rcnn.first_stage_anchor_generator` has 1 levels, the feature extractor gives 5 feature maps; grid_anchor_generator is for one; for a feature pyramid, take multiscale_anchor_generator",
        ),
        (
            "feature_extractor { type: 'faster_rcnn_resnet50_fpn_keras' conv_hyperparams {} }
             first_stage_anchor_generator { multiscale_anchor_generator { min_level: 3 max_level: 6 aspect_ratios: 1 normalize_coordinates: false } }",
            "has 4 levels, the feature extractor gives 5 feature maps; set min_level and max_level of both alike|",
        ),
        (
            "image_resizer { fixed_shape_resizer { height: 60000 width: 60000 } }",
            "`model.faster_rcnn.first_stage_anchor_generator` places more than 16777216 anchors on feature maps of 3750x3750",
        ),
        (
            "first_stage_anchor_generator { grid_anchor_generator { scales: 0 } }",
            "`model.faster_rcnn.first_stage_anchor_generator.grid_anchor_generator.scales`",
        ),
        (
            "second_stage_box_predictor { rfcn_box_predictor {} }",
            "`model.faster_rcnn.second_stage_box_predictor`: rfcn_box_predictor",
        ),
        (
            "second_stage_box_predictor { mask_rcnn_box_predictor { box_code_size: 5 } }",
            "`model.faster_rcnn.second_stage_box_predictor.mask_rcnn_box_predictor.box_code_size` is 5",
        ),
        (
            "second_stage_post_processing { batch_non_max_suppression { use_combined_nms: true change_coordinate_frame: false } }",
            "`model.faster_rcnn.second_stage_post_processing.batch_non_max_suppression.use_combined_nms`",
        ),
        (
            "inplace_batchnorm_update: true",
            "`model.faster_rcnn.inplace_batchnorm_update`: true",
        ),
    ] {
        // `|` is the end.
        let said = refusal(config) + "|";
        assert!(said.contains(expected), "{config}: {said}");
    }
}

#[test]
fn sizes_that_cannot_be_counted_are_refused_by_field() {
    let masks = "second_stage_box_predictor { mask_rcnn_box_predictor { predict_instance_masks: true conv_hyperparams {} } }";
    let detections = "second_stage_post_processing { batch_non_max_suppression { max_total_detections: 100000 } }";
    let agnostic = "second_stage_post_processing { batch_non_max_suppression { use_class_agnostic_nms: true } }";
    let three = format!("number_of_stages: 3 {masks}");
    for (batch, config, expected) in [
        (
            1024,
            "first_stage_max_proposals: 1000000".to_owned(),
            "`model.faster_rcnn.first_stage_max_proposals` is 1000000; expected at most 1024 with a batch of 1024",
        ),
        (
            32,
            format!("{three} {detections}"),
            "`model.faster_rcnn.second_stage_post_processing.batch_non_max_suppression.max_total_detections` is 100000; expected at most 32768 with a batch of 32",
        ),
        (
            1,
            format!("{three} {detections} num_classes: 30000"),
            "`model.faster_rcnn.num_classes` is 30000; expected at most 21474 with masks of 100000 detections",
        ),
        (
            1,
            format!("{agnostic} num_classes: 1000000 first_stage_max_proposals: 10000"),
            "`model.faster_rcnn.num_classes` is 1000000; expected at most 214748 with 10000 boxes of each class",
        ),
    ] {
        let mut options = GraphOptions::new(InputType::FloatImageTensor);
        options.batch = Some(Batch::Fixed(batch));
        let said = match build(&faster_rcnn(&config), &options) {
            Ok(_) => String::from("accepted"),
            Err(error) => error.to_string(),
        };
        assert!(said.contains(expected), "{config}: {said}");
    }
}

/// What explains that a checkpoint of `base` and `trained` does not fit `base` and `configured`.
fn explained(base: &str, configured: &str, trained: &str, options: &GraphOptions) -> Vec<String> {
    let config = |more: &str| faster_rcnn(&format!("{base} {more}"));
    let variables = Trained::of(&config(trained));
    let explanation = explain(&config(configured), options, &variables);
    assert!(
        explanation.complete,
        "{base} {configured}, {trained}: {explanation:?}"
    );
    let causes = explanation.causes.iter();
    causes
        .map(|cause| {
            let field = cause.field.strip_prefix("model.faster_rcnn.").unwrap();
            format!("{field}: {}", cause.trained)
        })
        .collect()
}

fn predictor(text: &str) -> String {
    format!("second_stage_box_predictor {{ mask_rcnn_box_predictor {{ {text} }} }}")
}

const MASKS: &str =
    "predict_instance_masks: true conv_hyperparams {} mask_prediction_conv_depth: 24";
const CONTEXT: &str =
    "context_config { context_feature_length: 20 attention_bottleneck_dimension: 16 }";
const PYRAMID: &str = "feature_extractor { type: 'faster_rcnn_resnet50_fpn_keras' conv_hyperparams {} }
    first_stage_anchor_generator { multiscale_anchor_generator { min_level: 2 max_level: 6 aspect_ratios: 1 normalize_coordinates: false } }";

#[test]
#[expect(clippy::too_many_lines, reason = "a table of fields")]
fn each_field_is_found() {
    let head = "second_stage_box_predictor.mask_rcnn_box_predictor";
    let masks = |more: &str| {
        format!(
            "number_of_stages: 3 {}",
            predictor(&format!("{MASKS} {more}"))
        )
    };
    let (plain, three) = (String::new(), masks(""));
    let pyramid = PYRAMID.to_owned();
    for (base, trained, found) in [
        (
            &plain,
            "num_classes: 7".to_owned(),
            "num_classes: 7".to_owned(),
        ),
        (
            &plain,
            "number_of_stages: 1".to_owned(),
            "number_of_stages: 1".to_owned(),
        ),
        (
            &plain,
            "feature_extractor { type: 'faster_rcnn_resnet101_keras' }".to_owned(),
            "feature_extractor.type: faster_rcnn_resnet101_keras".to_owned(),
        ),
        (
            &plain,
            predictor("share_box_across_classes: true"),
            format!("{head}.share_box_across_classes: true"),
        ),
        (
            &plain,
            predictor("use_dropout: true"),
            format!("{head}.use_dropout: true"),
        ),
        (
            &plain,
            "first_stage_box_predictor_depth: 64".to_owned(),
            "first_stage_box_predictor_depth: 64".to_owned(),
        ),
        (
            &plain,
            "first_stage_box_predictor_kernel_size: 1".to_owned(),
            "first_stage_box_predictor_kernel_size: 1".to_owned(),
        ),
        (
            &plain,
            "first_stage_anchor_generator { grid_anchor_generator { scales: 1 } }".to_owned(),
            "first_stage_anchor_generator.grid_anchor_generator.scales: 3 numbers".to_owned(),
        ),
        (
            &three,
            predictor("mask_prediction_conv_depth: 32"),
            format!("{head}.mask_prediction_conv_depth: 32"),
        ),
        (
            &three,
            predictor("mask_prediction_num_conv_layers: 4"),
            format!("{head}.mask_prediction_num_conv_layers: 4"),
        ),
        (
            &three,
            predictor("mask_prediction_num_conv_layers: 1"),
            format!("{head}.mask_prediction_num_conv_layers: 1"),
        ),
        (
            &three,
            predictor("convolve_then_upsample_masks: true"),
            format!("{head}.convolve_then_upsample_masks: true"),
        ),
        (
            &three,
            predictor("convolve_then_upsample_masks: true mask_prediction_num_conv_layers: 3"),
            format!(
                "{head}.mask_prediction_num_conv_layers (and convolve_then_upsample_masks): 3 (true)"
            ),
        ),
        (
            &three,
            predictor("masks_are_class_agnostic: true"),
            format!("{head}.masks_are_class_agnostic: true"),
        ),
        (
            &three,
            "number_of_stages: 2".to_owned(),
            "number_of_stages: 2".to_owned(),
        ),
        (
            &plain,
            CONTEXT.to_owned(),
            "context_config: given".to_owned(),
        ),
        (
            &CONTEXT.to_owned(),
            "context_config { attention_bottleneck_dimension: 8 }".to_owned(),
            "context_config.attention_bottleneck_dimension: 8".to_owned(),
        ),
        (
            &CONTEXT.to_owned(),
            "context_config { context_feature_length: 30 }".to_owned(),
            "context_config.context_feature_length: 30".to_owned(),
        ),
        (
            &CONTEXT.to_owned(),
            "context_config { attention_position: POST_RPN }".to_owned(),
            "context_config.attention_position: POST_RPN".to_owned(),
        ),
        (
            &pyramid,
            "initial_crop_size: 14".to_owned(),
            "initial_crop_size: 15".to_owned(),
        ),
        (
            &pyramid,
            "feature_extractor { fpn { min_level: 2 max_level: 6 additional_layer_depth: 64 } }"
                .to_owned(),
            "feature_extractor.fpn.additional_layer_depth: 64".to_owned(),
        ),
    ] {
        let causes = explained(base, "", &trained, &GraphOptions::default());
        assert_eq!(causes, [found], "{base} {trained}");
    }
}

#[test]
fn a_third_stage_that_the_configuration_has_not_is_found() {
    let trained = format!("number_of_stages: 3 {}", predictor(MASKS));
    let causes = explained("", "", &trained, &GraphOptions::default());
    let depth = "second_stage_box_predictor.mask_rcnn_box_predictor.mask_prediction_conv_depth: 24";
    assert_eq!(causes, ["number_of_stages: 3", depth]);
    let causes = explained("", CONTEXT, "", &GraphOptions::default());
    assert_eq!(causes, ["context_config: left out"]);
}

#[test]
fn side_inputs_of_another_length_are_found() {
    let mut options = GraphOptions::default();
    let names = "context_features,valid_context_size";
    let inputs = SideInput::parse("1,9,30/1", "tf.float32,tf.int32", names).unwrap();
    options.side_inputs = Some(inputs);
    let config = faster_rcnn(CONTEXT);
    let explanation = explain(&config, &options, &Trained::of(&config));
    let causes: Vec<String> = explanation.causes.iter().map(ToString::to_string).collect();
    assert_eq!(
        causes,
        [
            "model.faster_rcnn.context_config.context_feature_length: the description of side inputs has 30, the checkpoint was trained with 20"
        ]
    );
}

#[test]
fn the_network_of_a_checkpoint_is_found() {
    let trained =
        faster_rcnn("num_classes: 5 feature_extractor { type: 'faster_rcnn_resnet152_keras' }");
    let meta = MetaArchitecture::of(&trained).unwrap();
    let closest = closest(meta, &Trained::of(&trained)).unwrap();
    assert!(closest.is_complete());
    assert_eq!(closest.extractor, "faster_rcnn_resnet152_keras");
    assert_eq!(
        (closest.num_classes(), closest.has_background()),
        (Some(5), None)
    );
}
