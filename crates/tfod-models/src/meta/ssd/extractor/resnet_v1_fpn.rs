//! `ssd_resnet50_v1_fpn_keras` and its siblings: RetinaNet (Lin et al. 2017, <https://arxiv.org/abs/1708.02002>), a ResNet and a feature pyramid, whose levels
//! beyond 5 are further convolutions.

use std::ops::RangeInclusive;

use tfod_config::protos;
use tfod_graph::{Builder, ValueId};

use super::pyramid::Pyramid;
use super::{Common, FeatureExtractor, PYRAMID, check_image, fpn_config, rare_fields};
use crate::backbone::resnet_v1::ResnetV1;
use crate::error::ModelError;
use crate::facts::Normalization;
use crate::fields::Message;
use crate::hyperparams::Hyperparams;
use crate::layers::Path;
use crate::meta::extractor_type::refuse_fields;

/// The smallest image that the reference's ResNet extractors accept.
const SMALLEST_IMAGE: u64 = 129;
/// The levels that ResNet itself has: strides 4 to 32.
const BACKBONE_LEVELS: RangeInclusive<u64> = 2..=5;

struct ResnetV1Fpn {
    common: Common,
    backbone: ResnetV1,
    pyramid: Pyramid,
}

/// `blocks` are those of the ResNet's stages.
pub(super) fn from_config(
    common: &Common,
    config: Message<'_, protos::SsdFeatureExtractor>,
    blocks: [u64; 4],
) -> Result<Box<dyn FeatureExtractor>, ModelError> {
    refuse_fields(&config, config.r#type(), &rare_fields(&config))?;
    // The reference's classes take these two, and the numbers of the pyramid, and do nothing with them: levels are 3 to 7, as is the schema's default.
    let common = Common {
        explicit_padding: false,
        use_depthwise: false,
        ..*common
    };
    fpn_config(&config)?;
    let fpn = protos::FeaturePyramidNetworks::default();
    let backbone = ResnetV1 {
        blocks,
        depth_multiplier: common.depth_multiplier,
        min_depth: common.min_depth,
        hyperparams: if common.override_base {
            common.hyperparams
        } else {
            Hyperparams::RESNET
        },
        is_application: false,
    };
    Ok(Box::new(ResnetV1Fpn {
        common,
        backbone,
        pyramid: Pyramid::from_config(&common, config.at(PYRAMID, &fpn), BACKBONE_LEVELS)?,
    }))
}

impl FeatureExtractor for ResnetV1Fpn {
    fn normalization(&self) -> Normalization {
        Normalization::CHANNEL_MEANS
    }

    fn build(
        &self,
        b: &mut Builder,
        path: &Path,
        images: ValueId,
    ) -> Result<Vec<ValueId>, ModelError> {
        check_image(b, images, SMALLEST_IMAGE)?;
        let images = self.common.pad_to_multiple(b, images)?;
        let features = b.scope("ResnetV1", |b| {
            let path = path.child("classification_backbone");
            self.backbone.build(b, &path, images)
        })?;
        let wanted = self.pyramid.backbone_levels();
        let used: Vec<ValueId> = BACKBONE_LEVELS
            .zip(features)
            .filter(|(level, _)| wanted.contains(level))
            .map(|(_, feature)| feature)
            .collect();
        let coarse = ("bottom_up_block", *wanted.end());
        self.pyramid.build(b, path, &used, coarse)
    }
}
