//! CenterNet (Zhou et al. 2019, <https://arxiv.org/abs/1904.07850>): objects are peaks of heat maps, so there are no anchors, and a non-max suppression only where one is
//! configured. It is recognised, and cannot be built yet.

use tfod_config::protos;
use tfod_config::protos::detection_model::Model as Proto;

use super::{
    AnchorSource, BackboneMark, Description, Family, Marks, MetaArchitecture, SuppressionFields,
};
use crate::fields::FieldPath;

pub(super) static CENTER_NET: MetaArchitecture = MetaArchitecture {
    field: "center_net",
    describe,
    marks: Marks {
        trained: &[("_prediction_head_dict/", Family::CenterNet)],
        exported: &[("_prediction_head_dict/", Family::CenterNet)],
        tensorflow_1: &[],
        backbones: &[
            BackboneMark {
                start: "_feature_extractor/_network/",
                count: None,
                name: "Hourglass",
            },
            backbone(318, "ResNet-50"),
            backbone(624, "ResNet-101"),
            backbone(260, "MobileNetV2"),
        ],
        class_head: Some(("_prediction_head_dict/object_center/", 0)),
    },
    support: None,
};

const fn backbone(count: usize, name: &'static str) -> BackboneMark {
    BackboneMark {
        start: "_feature_extractor/_base_model/",
        count: Some(count),
        name,
    }
}

fn describe(config: &protos::DetectionModel) -> Option<Description<'_>> {
    let Some(Proto::CenterNet(net)) = &config.model else {
        return None;
    };
    let extractor = net.feature_extractor.as_ref();
    let post = net.post_processing.as_ref().map(|post| {
        const STAGE: &str = "post_processing";
        let path = FieldPath::MODEL.child(CENTER_NET.field).child(STAGE);
        SuppressionFields::of(path, STAGE, post)
    });
    Some(Description {
        family: Family::CenterNet,
        extractor: extractor.map_or("", |extractor| extractor.r#type()),
        num_classes: Some(net.num_classes()),
        has_background: false,
        image_resizer: net.image_resizer.as_ref(),
        anchors: AnchorSource::Peaks,
        suppressions: post.into_iter().collect(),
    })
}
