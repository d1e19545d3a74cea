//! What is refused, and how the refusal reads.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Vary, detector, retinanet};
use tfod_config::protos::DetectionModel;
use tfod_models::{GraphOptions, build};

/// A small EfficientDet, but for these fields of its feature extractor.
fn efficientdet_refusal(fields: &str) -> String {
    let defaults =
        "type: 'ssd_efficientnet-b0_bifpn_keras' use_depthwise: false depth_multiplier: 1
                    bifpn { max_level: 6 num_iterations: 1 num_filters: 16 }";
    refusal(&detector(Vary {
        ssd: "image_resizer { fixed_shape_resizer { height: 192 width: 192 } }",
        extractor: &format!("{defaults} {fields}"),
        ..Vary::default()
    }))
}

fn refusal(config: &DetectionModel) -> String {
    match build(config, &GraphOptions::default()) {
        Ok(_) => String::from("accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn refusals_name_the_field_the_value_and_what_would_do() {
    let ssd = |ssd| Vary {
        ssd,
        ..Vary::default()
    };
    let extractor = |extractor| Vary {
        extractor,
        ..Vary::default()
    };
    let predictor = |predictor| Vary {
        predictor,
        ..Vary::default()
    };
    let nms = |nms| Vary {
        nms,
        ..Vary::default()
    };
    let post = |post| Vary {
        post,
        ..Vary::default()
    };
    let cases = [
        ssd("num_classes: 0"),
        ssd("num_classes: 2000000000"),
        ssd("image_resizer { keep_aspect_ratio_resizer { min_dimension: 2000 } }"),
        ssd("image_resizer { keep_aspect_ratio_resizer { per_channel_pad_value: 1 } }"),
        ssd("image_resizer { conditional_shape_resizer { condition: INVALID } }"),
        ssd("image_resizer { pad_to_multiple_resizer { multiple: 0 } }"),
        ssd("image_resizer { fixed_shape_resizer { height: 32 } }"),
        ssd("image_resizer { fixed_shape_resizer { height: 80 } }"),
        ssd("image_resizer { fixed_shape_resizer { height: 1000000 width: 1000000 } }"),
        ssd("anchor_generator { grid_anchor_generator {} }"),
        ssd("anchor_generator { ssd_anchor_generator { num_layers: 4 } }"),
        ssd("anchor_generator { multiscale_anchor_generator { max_level: 7 } }"),
        ssd("box_predictor { mask_rcnn_box_predictor {} }"),
        ssd("box_predictor { convolutional_box_predictor { min_depth: 8 } }"),
        ssd("box_predictor { convolutional_box_predictor { use_depthwise: true } }"),
        ssd("box_predictor { convolutional_box_predictor { box_code_size: 14 } }"),
        ssd("box_coder { square_box_coder {} }"),
        extractor("type: 'ssd_mobilenet_v2_fpn'"),
        extractor("depth_multiplier: -1"),
        extractor("num_layers: 6"),
        extractor("type: 'ssd_mobilenet_v1_keras'"),
        extractor("type: 'ssd_mobilenet_v1_fpn_keras' depth_multiplier: 0.1 min_depth: 0"),
        extractor("bifpn {}"),
        extractor("fpn { min_level: 6 }"),
        extractor(
            "type: 'ssd_efficientnet-b0_bifpn_keras' use_depthwise: false depth_multiplier: 1 bifpn { num_iterations: 1 }",
        ),
        predictor("kernel_size: 1"),
        predictor("depth: -3"),
        nms("iou_threshold: 1.5"),
        nms("max_detections_per_class: 100"),
        nms("use_class_agnostic_nms: true max_classes_per_detection: 2"),
        nms("use_combined_nms: true"),
        nms("use_combined_nms: true change_coordinate_frame: false use_class_agnostic_nms: true"),
        nms("use_combined_nms: true change_coordinate_frame: false soft_nms_sigma: 0.5"),
        nms("use_combined_nms: true change_coordinate_frame: false score_threshold: -2"),
        nms("use_static_shapes: true iou_threshold: 0"),
        nms("use_static_shapes: true soft_nms_sigma: 0.5"),
        nms(
            "use_static_shapes: true use_partitioned_nms: true max_detections_per_class: 1025 max_total_detections: 1025",
        ),
        nms("use_hard_nms: true soft_nms_sigma: 0.5"),
        nms("soft_nms_sigma: -1"),
        nms("score_threshold: nan"),
        post("logit_scale: 0"),
        post("calibration_config {}"),
        post("calibration_config { sigmoid_calibration {} }"),
        post("calibration_config { function_approximation {} }"),
        post("calibration_config { function_approximation { x_y_pairs { x_y_pair { x: inf } } } }"),
        post("calibration_config { temperature_scaling_calibration { scaler: -1 } }"),
        ssd("box_coder { keypoint_box_coder {} }"),
        ssd("box_coder { keypoint_box_coder { num_keypoints: 2 } }"),
        ssd("box_coder { faster_rcnn_box_coder { y_scale: 0 } }"),
        ssd("box_coder { mean_stddev_box_coder { stddev: nan } }"),
        Vary {
            ssd: "box_coder { mean_stddev_box_coder {} }",
            nms: "use_static_shapes: true",
            ..Vary::default()
        },
        ssd("explicit_background_class: true"),
        ssd("explicit_background_class: true add_background_class: false num_classes: 1"),
    ];
    let retinanets = [
        retinanet(
            50,
            "image_resizer { fixed_shape_resizer { height: 128 } }",
            "",
        ),
        retinanet(
            50,
            "anchor_generator { multiscale_anchor_generator { max_level: 6 } }",
            "",
        ),
        retinanet(101, "", "bifpn {}"),
        retinanet(152, "", "depth_multiplier: 0.01 min_depth: 0"),
    ];
    let configs = cases.into_iter().map(detector).chain(retinanets);
    let report: Vec<String> = configs.map(|config| refusal(&config)).collect();
    insta::assert_snapshot!(report.join("\n"));
}

#[test]
fn networks_have_an_end() {
    let layers = Vary {
        predictor: "num_layers_before_predictor: 1000000",
        ..Vary::default()
    };
    let error = refusal(&detector(layers));
    assert!(
        error.ends_with("beyond the limit of 262144 nodes in a graph"),
        "{error}"
    );
    let classes = |nms| Vary {
        ssd: "num_classes: 32769",
        nms,
        ..Vary::default()
    };
    let error = refusal(&detector(classes("")));
    assert!(
        error.starts_with("`model.ssd.num_classes` is 32769; expected at most 32768 where"),
        "{error}"
    );
    // They are not suppressed one by one.
    assert_eq!(
        refusal(&detector(classes("use_class_agnostic_nms: true"))),
        "accepted"
    );
}

#[test]
fn efficientdet_refuses_what_the_reference_does() {
    let cases = [
        "use_depthwise: true",
        "use_explicit_padding: true",
        "depth_multiplier: 0.5",
        "num_layers: 6",
        "fpn {}",
        "bifpn { min_level: 6 }",
        "bifpn { max_level: 5 }",
        "bifpn { max_level: 7 }",
        "bifpn { num_iterations: 0 }",
        "bifpn { num_iterations: 1000000 }",
        "bifpn { num_filters: 0 } min_depth: 0",
        "bifpn { combine_method: 'max' }",
    ];
    let report: Vec<String> = cases.into_iter().map(efficientdet_refusal).collect();
    insta::assert_snapshot!(report.join("\n"));
}

#[test]
fn anchors_have_a_size() {
    for scale in ["nan", "inf", "0", "-4"] {
        let ssd = format!(
            "anchor_generator {{ multiscale_anchor_generator {{ anchor_scale: {scale} }} }}"
        );
        let said = refusal(&detector(Vary {
            ssd: &ssd,
            ..Vary::default()
        }));
        assert!(
            said.contains("multiscale_anchor_generator.anchor_scale") && said.contains("above 0"),
            "{said}"
        );
    }
}

#[test]
fn anchors_have_numbers_for_sides_whether_or_not_the_size_of_images_is_known() {
    for resizer in ["", "image_resizer { identity_resizer {} }"] {
        let said = refusal(&detector(Vary {
            ssd: &format!(
                "{resizer} anchor_generator {{ multiscale_anchor_generator {{ anchor_scale: 3e38 }} }}"
            ),
            ..Vary::default()
        }));
        let text = "`model.ssd.anchor_generator` is one whose boxes are too large for 32-bit floats; expected";
        assert!(said.starts_with(text), "{said}");
    }
}
