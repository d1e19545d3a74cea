//! Models that a program of the user's own registers under a name. A configuration tells nothing of them but that name.

use tfod_config::protos;
use tfod_config::protos::detection_model::Model as Proto;

use super::{AnchorSource, Description, Family, Marks, MetaArchitecture};

pub(super) static EXPERIMENTAL: MetaArchitecture = MetaArchitecture {
    field: "experimental_model",
    describe,
    marks: Marks {
        trained: &[],
        exported: &[],
        tensorflow_1: &[],
        backbones: &[],
        class_head: None,
    },
    support: None,
};

fn describe(config: &protos::DetectionModel) -> Option<Description<'_>> {
    let Some(Proto::ExperimentalModel(model)) = &config.model else {
        return None;
    };
    Some(Description {
        family: Family::Experimental,
        extractor: model.name(),
        num_classes: None,
        has_background: None,
        image_resizer: None,
        anchors: AnchorSource::Unknown,
        further: Vec::new(),
        limit: None,
        keypoint_labels: None,
        suppressions: Vec::new(),
    })
}
