//! `ssd_mobilenet_v2_fpn_keras`: MobileNetV2 and a feature pyramid, whose levels beyond 5 are further convolutions.

use std::ops::RangeInclusive;

use tfod_config::protos;
use tfod_graph::{Builder, ValueId};

use super::pyramid::Pyramid;
use super::{Common, FeatureExtractor, check_image, fpn_config, rare_fields, refuse_fields};
use crate::backbone::mobilenet_v2::MobilenetV2;
use crate::error::ModelError;
use crate::facts::Normalization;
use crate::hyperparams::Hyperparams;
use crate::layers::Path;

/// The smallest image that the reference's MobileNet extractors accept.
const SMALLEST_IMAGE: u64 = 33;
/// The levels that MobileNetV2 itself has: strides 4 to 32.
const BACKBONE_LEVELS: RangeInclusive<u64> = 2..=5;

struct MobilenetV2Fpn {
    common: Common,
    backbone: MobilenetV2,
    pyramid: Pyramid,
}

pub(super) fn from_config(
    common: &Common,
    config: &protos::SsdFeatureExtractor,
) -> Result<Box<dyn FeatureExtractor>, ModelError> {
    refuse_fields(config, &rare_fields(config))?;
    let backbone = MobilenetV2 {
        depth_multiplier: common.depth_multiplier,
        min_depth: common.min_depth,
        explicit_padding: common.explicit_padding,
        hyperparams: if common.override_base {
            common.hyperparams
        } else {
            Hyperparams::MOBILENET
        },
    };
    Ok(Box::new(MobilenetV2Fpn {
        common: *common,
        backbone,
        pyramid: Pyramid::from_config(common, &fpn_config(config)?, BACKBONE_LEVELS)?,
    }))
}

impl FeatureExtractor for MobilenetV2Fpn {
    fn normalization(&self) -> Normalization {
        Normalization::SIGNED
    }

    fn build(
        &self,
        b: &mut Builder,
        path: &Path,
        images: ValueId,
    ) -> Result<Vec<ValueId>, ModelError> {
        check_image(b, images, SMALLEST_IMAGE)?;
        let images = self.common.pad_to_multiple(b, images)?;
        let features = b.scope("MobilenetV2", |b| {
            let path = path.child("classification_backbone");
            self.backbone.build(b, &path, images)
        })?;
        // The reference takes the last maps of the backbone, whatever the levels are called: with a top level below 5 these are coarser
        // than the levels' names say.
        let levels = self.pyramid.backbone_levels().count();
        let used = &features[features.len().saturating_sub(levels)..];
        // Named after the classifier's 19 layers.
        self.pyramid.build(b, path, used, ("bottom_up_Conv2d_", 20))
    }
}
