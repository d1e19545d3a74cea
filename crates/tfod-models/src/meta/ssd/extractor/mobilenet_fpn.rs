//! `ssd_mobilenet_v1_fpn_keras` and `ssd_mobilenet_v2_fpn_keras`: a MobileNet and a feature pyramid, whose levels beyond 5 are further
//! convolutions.

use std::ops::RangeInclusive;

use tfod_config::protos;
use tfod_graph::{Builder, ValueId};

use super::mobilenet::Backbone;
use super::pyramid::Pyramid;
use super::{Common, FeatureExtractor, PYRAMID, fpn_config, rare_fields};
use crate::error::ModelError;
use crate::facts::Normalization;
use crate::fields::Message;
use crate::layers::Path;
use crate::meta::extractor_type::refuse_fields;

/// The levels that MobileNets themselves have: strides 4 to 32.
const BACKBONE_LEVELS: RangeInclusive<u64> = 2..=5;

struct MobilenetFpn {
    common: Common,
    backbone: Backbone,
    pyramid: Pyramid,
}

pub(super) fn v1(
    common: &Common,
    config: Message<'_, protos::SsdFeatureExtractor>,
) -> Result<Box<dyn FeatureExtractor>, ModelError> {
    from_config(common, config, Backbone::v1(common, common.use_depthwise))
}

pub(super) fn v2(
    common: &Common,
    config: Message<'_, protos::SsdFeatureExtractor>,
) -> Result<Box<dyn FeatureExtractor>, ModelError> {
    from_config(common, config, Backbone::v2(common))
}

fn from_config(
    common: &Common,
    config: Message<'_, protos::SsdFeatureExtractor>,
    backbone: Backbone,
) -> Result<Box<dyn FeatureExtractor>, ModelError> {
    refuse_fields(&config, config.r#type(), &rare_fields(&config))?;
    let fpn = fpn_config(&config)?;
    Ok(Box::new(MobilenetFpn {
        common: *common,
        backbone,
        pyramid: Pyramid::from_config(common, config.at(PYRAMID, &fpn), BACKBONE_LEVELS)?,
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
        let features = self.backbone.build(b, &self.common, path, images)?.levels;
        // Coarse layers are numbered on from the classifier's own, 13 and 19.
        let first_coarse = match &self.backbone {
            Backbone::V1(_) => 14,
            Backbone::V2(_) => 20,
        };
        // The reference takes the last maps of the backbone, whatever the levels are called: with a top level below 5 these are coarser
        // than the levels' names say.
        let levels = self.pyramid.backbone_levels().count();
        let used = &features[features.len().saturating_sub(levels)..];
        self.pyramid
            .build(b, path, used, ("bottom_up_Conv2d_", first_coarse))
    }
}
