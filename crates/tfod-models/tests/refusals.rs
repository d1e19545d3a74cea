//! What is refused, and how the refusal reads.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Vary, detector};
use tfod_models::{GraphOptions, build};

fn refusal(vary: Vary<'_>) -> String {
    match build(&detector(vary), &GraphOptions::default()) {
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
        predictor("kernel_size: 1"),
        predictor("depth: -3"),
        nms("iou_threshold: 1.5"),
        nms("max_detections_per_class: 100"),
        nms("use_class_agnostic_nms: true max_classes_per_detection: 2"),
        nms("use_combined_nms: true"),
        post("calibration_config {}"),
    ];
    let report: Vec<String> = cases.into_iter().map(refusal).collect();
    insta::assert_snapshot!(report.join("\n"));
}
