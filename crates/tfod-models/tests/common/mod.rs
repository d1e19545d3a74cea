//! Configurations for the tests, with the parts that they vary.

#[allow(dead_code, reason = "not every test compares")]
pub(crate) mod trained;

use tfod_config::{LabelMap, PipelineConfig, protos};
use tfod_models::KeypointLabels;

/// What a test may change of [`detector`]; each is text put into the message it is named after.
#[derive(Clone, Copy, Default)]
pub(crate) struct Vary<'a> {
    pub(crate) ssd: &'a str,
    pub(crate) extractor: &'a str,
    pub(crate) predictor: &'a str,
    pub(crate) nms: &'a str,
    pub(crate) post: &'a str,
    /// Whether to start from [`CLASSIC`].
    pub(crate) classic: bool,
}

/// The parts that make a detector what it is.
struct Parts {
    extractor: &'static str,
    anchors: &'static str,
    predictor: &'static str,
    predictor_fields: &'static str,
}

/// MobileNetV2 with a feature pyramid, and the predictor of RetinaNet.
const PYRAMID: Parts = Parts {
    extractor: "type: 'ssd_mobilenet_v2_fpn_keras' use_depthwise: true fpn { min_level: 3 max_level: 6 additional_layer_depth: 64 }",
    anchors: "multiscale_anchor_generator {
        min_level: 3 max_level: 6 anchor_scale: 4 aspect_ratios: [1.0, 2.0, 0.5] scales_per_octave: 2 }",
    predictor: "weight_shared_convolutional_box_predictor",
    predictor_fields: "depth: 16 num_layers_before_predictor: 1 share_prediction_tower: true use_depthwise: true",
};
/// MobileNetV2 with further feature maps, and the predictor of SSD.
const CLASSIC: Parts = Parts {
    extractor: "type: 'ssd_mobilenet_v2_keras' num_layers: 4",
    anchors: "ssd_anchor_generator { num_layers: 4 aspect_ratios: [1.0, 2.0, 0.5] }",
    predictor: "convolutional_box_predictor",
    predictor_fields: "use_dropout: false kernel_size: 3 max_depth: 32 num_layers_before_predictor: 1",
};

/// A small MobileNetV2 detector of 2 classes over images of 64x96. Later values of a field replace earlier ones, as in the format.
pub(crate) fn detector(vary: Vary<'_>) -> protos::DetectionModel {
    let Vary {
        ssd,
        extractor,
        predictor,
        nms,
        post,
        classic,
    } = vary;
    let parts = if classic { CLASSIC } else { PYRAMID };
    let base_extractor = parts.extractor;
    let base_predictor = parts.predictor_fields;
    let predictor_kind = parts.predictor;
    let anchors = parts.anchors;
    let norm = "batch_norm { scale: true epsilon: 0.001 }";
    let text = format!(
        "model {{ ssd {{
          num_classes: 2
          image_resizer {{ fixed_shape_resizer {{ height: 64 width: 96 }} }}
          feature_extractor {{
            {base_extractor} depth_multiplier: 0.25 min_depth: 8
            conv_hyperparams {{ activation: RELU_6 {norm} }}
            {extractor}
          }}
          box_coder {{ faster_rcnn_box_coder {{ y_scale: 10 x_scale: 10 height_scale: 5 width_scale: 5 }} }}
          anchor_generator {{ {anchors} }}
          box_predictor {{ {predictor_kind} {{
            {base_predictor}
            conv_hyperparams {{ activation: RELU_6 {norm} }}
            {predictor}
          }} }}
          post_processing {{
            batch_non_max_suppression {{
              score_threshold: 1e-8 iou_threshold: 0.6 max_detections_per_class: 10 max_total_detections: 12 {nms} }}
            score_converter: SIGMOID
            {post}
          }}
          {ssd}
        }} }}"
    );
    let config = PipelineConfig::parse("test", text.as_bytes())
        .unwrap()
        .config;
    config.message().model.clone().unwrap()
}

/// A small RetinaNet over a ResNet of this depth, for images of 160x160, with parts that the test changes besides.
#[allow(dead_code, reason = "not every test has one")]
pub(crate) fn retinanet(depth: u64, ssd: &str, extractor: &str) -> protos::DetectionModel {
    let size = "image_resizer { fixed_shape_resizer { height: 160 width: 160 } }";
    let levels = "anchor_generator { multiscale_anchor_generator { max_level: 7 } }";
    detector(Vary {
        ssd: &format!("{size} {levels} {ssd}"),
        extractor: &format!("type: 'ssd_resnet{depth}_v1_fpn_keras' {extractor}"),
        ..Vary::default()
    })
}

/// A small CenterNet of 2 classes over images of 64x64, with parts that the test changes besides.
#[allow(dead_code, reason = "not every test has one")]
pub(crate) fn center_net(more: &str) -> protos::DetectionModel {
    let text = format!(
        "model {{ center_net {{
          num_classes: 2
          feature_extractor {{ type: 'hourglass_10' }}
          image_resizer {{ keep_aspect_ratio_resizer {{ min_dimension: 64 max_dimension: 64 pad_to_max_dimension: true }} }}
          object_detection_task {{ }}
          object_center_params {{ max_box_predictions: 10 }}
          {more}
        }} }}"
    );
    let config = PipelineConfig::parse("test", text.as_bytes()).unwrap();
    config.config.message().model.clone().unwrap()
}

/// A label map with classes that have keypoints: those of the first two can be used alone, those of the third with the first.
#[allow(dead_code, reason = "not every test has keypoints")]
pub(crate) fn keypoint_labels() -> KeypointLabels {
    let text = "item { id: 1 name: 'person' keypoints { id: 0 label: 'nose' } keypoints { id: 2 label: 'eye' } keypoints { id: 1 label: 'ear' } }
        item { id: 2 name: 'dog' keypoints { id: 1 label: 'tail' } keypoints { id: 0 label: 'snout' } }
        item { id: 3 name: 'cat' keypoints { id: 4 label: 'whisker' } keypoints { id: 3 label: 'paw' } }";
    KeypointLabels::of("map", &LabelMap::parse("map", text.as_bytes()).unwrap())
}

/// A small Faster R-CNN of 2 classes over images of 64x96, with parts that the test changes besides.
#[allow(dead_code, reason = "not every test has one")]
pub(crate) fn faster_rcnn(more: &str) -> protos::DetectionModel {
    let text = format!(
        "model {{ faster_rcnn {{
          num_classes: 2
          image_resizer {{ fixed_shape_resizer {{ height: 64 width: 96 }} }}
          feature_extractor {{ type: 'faster_rcnn_resnet50_keras' }}
          first_stage_anchor_generator {{ grid_anchor_generator {{ scales: [0.25, 0.5] aspect_ratios: [0.5, 1.0] }} }}
          first_stage_max_proposals: 20 initial_crop_size: 8 maxpool_kernel_size: 2 maxpool_stride: 2
          second_stage_box_predictor {{ mask_rcnn_box_predictor {{ fc_hyperparams {{ }} }} }}
          second_stage_post_processing {{
            batch_non_max_suppression {{ iou_threshold: 0.6 max_detections_per_class: 10 max_total_detections: 12 }}
            score_converter: SOFTMAX
          }}
          {more}
        }} }}"
    );
    let config = PipelineConfig::parse("test", text.as_bytes()).unwrap();
    config.config.message().model.clone().unwrap()
}
