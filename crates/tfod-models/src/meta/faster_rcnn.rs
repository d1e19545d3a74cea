//! Two-stage detectors (Faster R-CNN, Ren et al. 2015, <https://arxiv.org/abs/1506.01497>): a first network proposes boxes, a second looks at what is in them. They
//! are recognised, and cannot be built yet.

use tfod_config::protos;
use tfod_config::protos::box_predictor::BoxPredictorOneof;
use tfod_config::protos::detection_model::Model as Proto;

use super::{
    AnchorSource, BackboneMark, Description, Family, Limit, Marks, MetaArchitecture,
    SuppressionFields,
};
use crate::fields::FieldPath;

const PATH: FieldPath = FieldPath::MODEL.child("faster_rcnn");

pub(super) static FASTER_RCNN: MetaArchitecture = MetaArchitecture {
    field: "faster_rcnn",
    describe,
    marks: Marks {
        trained: &[
            (
                "_mask_rcnn_box_predictor/_third_stage_heads/",
                Family::MaskRcnn,
            ),
            ("_context_feature_extract_fn/", Family::ContextRcnn),
            ("_rfcn_box_predictor/", Family::Rfcn),
            ("_first_stage_box_predictor/", Family::FasterRcnn),
        ],
        exported: &[("_first_stage_box_predictor/", Family::FasterRcnn)],
        tensorflow_1: &[
            ("SecondStageBoxPredictor/", Family::FasterRcnn),
            ("FirstStageFeatureExtractor/", Family::FasterRcnn),
        ],
        backbones: &[
            backbone(265, "ResNet-50"),
            backbone(520, "ResNet-101"),
            backbone(775, "ResNet-152"),
            backbone(896, "Inception-ResNet-v2"),
        ],
        class_head: Some(("_mask_rcnn_box_predictor/_class_prediction_head/", 1)),
    },
    support: None,
};

const fn backbone(count: usize, name: &'static str) -> BackboneMark {
    BackboneMark {
        start: "_feature_extractor_for_",
        count: Some(count),
        name,
    }
}

fn describe(config: &protos::DetectionModel) -> Option<Description<'_>> {
    let Some(Proto::FasterRcnn(rcnn)) = &config.model else {
        return None;
    };
    let extractor = rcnn.feature_extractor.as_ref();
    let max_proposals = rcnn.first_stage_max_proposals();
    let proposals = SuppressionFields {
        stage: "first_stage",
        message: PATH,
        score_threshold: Limit {
            field: "first_stage_nms_score_threshold",
            value: rcnn.first_stage_nms_score_threshold(),
        },
        iou_threshold: Limit {
            field: "first_stage_nms_iou_threshold",
            value: rcnn.first_stage_nms_iou_threshold(),
        },
        max_total: Limit {
            field: "first_stage_max_proposals",
            value: max_proposals,
        },
        max_per_class: None,
        post_processing: None,
    };
    let second = rcnn.second_stage_post_processing.as_ref().map(|post| {
        const STAGE: &str = "second_stage_post_processing";
        SuppressionFields::of(PATH.child(STAGE), STAGE, post)
    });
    Some(Description {
        family: family(rcnn),
        extractor: extractor.map_or("", |extractor| extractor.r#type()),
        num_classes: Some(rcnn.num_classes()),
        has_background: true,
        image_resizer: rcnn.image_resizer.as_ref(),
        anchors: AnchorSource::Generator(rcnn.first_stage_anchor_generator.as_ref()),
        suppressions: std::iter::once(proposals).chain(second).collect(),
    })
}

fn family(rcnn: &protos::FasterRcnn) -> Family {
    let predictor = rcnn.second_stage_box_predictor.as_ref();
    match predictor.and_then(|p| p.box_predictor_oneof.as_ref()) {
        _ if rcnn.context_config.is_some() => Family::ContextRcnn,
        Some(BoxPredictorOneof::RfcnBoxPredictor(_)) => Family::Rfcn,
        Some(BoxPredictorOneof::MaskRcnnBoxPredictor(predictor))
            if predictor.predict_instance_masks() =>
        {
            Family::MaskRcnn
        }
        _ => Family::FasterRcnn,
    }
}
