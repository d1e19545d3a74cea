//! `ssd_mobilenet_v1_fpn_keras` and `ssd_mobilenet_v2_fpn_keras`: a MobileNet and a feature pyramid, whose levels beyond 5 are further
//! convolutions.

use std::ops::RangeInclusive;

use tfod_config::protos;
use tfod_graph::{Builder, ValueId};

use super::mobilenet::{SMALLEST_IMAGE, mobilenet_v1, mobilenet_v2};
use super::{
    Common, FeatureExtractor, check_image, fpn_config, fpn_levels, rare_fields, refuse_fields,
};
use crate::backbone::mobilenet_v1::MobilenetV1;
use crate::backbone::mobilenet_v2::MobilenetV2;
use crate::error::ModelError;
use crate::facts::Normalization;
use crate::fields::{invalid, scaled, size};
use crate::layers::Path;
use crate::neck::fpn::Fpn;

/// The levels that MobileNets themselves have: strides 4 to 32.
const BACKBONE_LEVELS: RangeInclusive<u64> = 2..=5;

enum Backbone {
    V1(MobilenetV1),
    V2(MobilenetV2),
}

struct MobilenetFpn {
    common: Common,
    backbone: Backbone,
    pyramid: Fpn,
    min_level: u64,
    max_level: u64,
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
    const DEPTH: &str = "model.ssd.feature_extractor.fpn.additional_layer_depth";
    refuse_fields(config, &rare_fields(config))?;
    let fpn = fpn_config(config)?;
    let [min_level, max_level] = fpn_levels(&fpn, BACKBONE_LEVELS)?;
    let depth = size(DEPTH, fpn.additional_layer_depth(), 0)?;
    let depth = scaled(depth, common.depth_multiplier).max(common.min_depth);
    if depth == 0 {
        return Err(invalid(DEPTH, 0, "at least 1 after the depth multiplier"));
    }
    let pyramid = Fpn {
        depth,
        use_depthwise: common.use_depthwise,
        explicit_padding: common.explicit_padding,
        hyperparams: common.hyperparams,
    };
    Ok(Box::new(MobilenetFpn {
        common: *common,
        backbone,
        pyramid,
        min_level,
        max_level,
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
        let top_level = self.max_level.min(*BACKBONE_LEVELS.end());
        let levels = usize::try_from(top_level - self.min_level + 1).unwrap_or(features.len());
        let used = &features[features.len().saturating_sub(levels)..];
        b.scope("FeatureMaps", |b| {
            let generator = path.child("_fpn_features_generator");
            let mut maps = self.pyramid.top_down(b, &generator, used)?;
            if let Some(coarsest) = maps.last().copied() {
                let coarse = usize::try_from(self.max_level - top_level).unwrap_or_default();
                let layers = path.child("_coarse_feature_layers");
                maps.extend(
                    self.pyramid
                        .coarse(b, &layers, coarsest, coarse, first_coarse)?,
                );
            }
            Ok(maps)
        })
    }
}
