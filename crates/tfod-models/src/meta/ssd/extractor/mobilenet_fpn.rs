//! `ssd_mobilenet_v1_fpn_keras` and `ssd_mobilenet_v2_fpn_keras`: a MobileNet and a feature pyramid, whose levels beyond 5 are further
//! convolutions.

use std::ops::RangeInclusive;

use tfod_config::protos;
use tfod_graph::{Builder, ValueId};

use super::mobilenet::{SMALLEST_IMAGE, mobilenet_v1, mobilenet_v2};
use super::pyramid::Pyramid;
use super::{Common, FeatureExtractor, check_image, fpn_config, rare_fields, refuse_fields};
use crate::backbone::mobilenet_v1::MobilenetV1;
use crate::backbone::mobilenet_v2::MobilenetV2;
use crate::error::ModelError;
use crate::facts::Normalization;
use crate::layers::Path;

/// The levels that MobileNets themselves have: strides 4 to 32.
const BACKBONE_LEVELS: RangeInclusive<u64> = 2..=5;

enum Backbone {
    V1(MobilenetV1),
    V2(MobilenetV2),
}

struct MobilenetFpn {
    common: Common,
    backbone: Backbone,
    pyramid: Pyramid,
}

pub(super) fn v1(
    common: &Common,
    config: &protos::SsdFeatureExtractor,
) -> Result<Box<dyn FeatureExtractor>, ModelError> {
    let backbone = mobilenet_v1(common, common.use_depthwise);
    from_config(common, config, Backbone::V1(backbone))
}

pub(super) fn v2(
    common: &Common,
    config: &protos::SsdFeatureExtractor,
) -> Result<Box<dyn FeatureExtractor>, ModelError> {
    from_config(common, config, Backbone::V2(mobilenet_v2(common)))
}

fn from_config(
    common: &Common,
    config: &protos::SsdFeatureExtractor,
    backbone: Backbone,
) -> Result<Box<dyn FeatureExtractor>, ModelError> {
    refuse_fields(config, &rare_fields(config))?;
    Ok(Box::new(MobilenetFpn {
        common: *common,
        backbone,
        pyramid: Pyramid::from_config(common, &fpn_config(config)?, BACKBONE_LEVELS)?,
    }))
}

impl FeatureExtractor for MobilenetFpn {
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
        let place = path.child("classification_backbone");
        // Coarse layers are numbered on from the classifier's own, 13 and 19.
        let (features, first_coarse) = match &self.backbone {
            Backbone::V1(net) => {
                let features = b.scope("MobilenetV1", |b| net.build(b, &place, images))?;
                (features, 14)
            }
            Backbone::V2(net) => {
                let features = b.scope("MobilenetV2", |b| net.build(b, &place, images))?;
                (features.levels, 20)
            }
        };
        // The reference takes the last maps of the backbone, whatever the levels are called: with a top level below 5 these are coarser
        // than the levels' names say.
        let levels = self.pyramid.backbone_levels().count();
        let used = &features[features.len().saturating_sub(levels)..];
        self.pyramid
            .build(b, path, used, ("bottom_up_Conv2d_", first_coarse))
    }
}
