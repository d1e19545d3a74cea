//! `ssd_mobilenet_v1_keras` and `ssd_mobilenet_v2_keras`: two feature maps of the backbone, of strides 16 and 32, and further coarse ones.

use tfod_config::protos;
use tfod_graph::{Builder, ValueId};

use super::{Common, FeatureExtractor, PYRAMID, check_image, rare_fields};
use crate::backbone::mobilenet_v1::MobilenetV1;
use crate::backbone::mobilenet_v2::MobilenetV2;
use crate::error::ModelError;
use crate::facts::Normalization;
use crate::fields::{Message, size};
use crate::hyperparams::Hyperparams;
use crate::layers::Path;
use crate::meta::extractor_type::refuse_fields;
use crate::neck::multi_resolution::MultiResolution;

/// The smallest image that the reference's MobileNet extractors accept.
const SMALLEST_IMAGE: u64 = 33;
/// Feature maps of the backbone.
const OWN_MAPS: usize = 2;
/// Channels of the further feature maps.
const DEPTHS: [u64; 4] = [512, 256, 256, 128];

/// What the backbone is configured with.
fn backbone_hyperparams(common: &Common) -> Hyperparams {
    if common.override_base {
        common.hyperparams
    } else {
        Hyperparams::MOBILENET
    }
}

/// One of the two networks.
pub(super) enum Backbone {
    V1(MobilenetV1),
    V2(MobilenetV2),
}

/// The feature maps of a network.
pub(super) struct Features {
    /// Of strides 4, 8, 16 and 32.
    pub(super) levels: [ValueId; 4],
    /// Of stride 16, as the SSD without a pyramid uses it.
    pub(super) stride_16: ValueId,
}

impl Backbone {
    /// MobileNetV1 as configured; for `thin_top` see there.
    pub(super) fn v1(common: &Common, thin_top: bool) -> Self {
        Self::V1(MobilenetV1 {
            depth_multiplier: common.depth_multiplier,
            multiplier_field: common.multiplier_field,
            min_depth: common.min_depth,
            explicit_padding: common.explicit_padding,
            thin_top,
            hyperparams: backbone_hyperparams(common),
        })
    }

    /// MobileNetV2 as configured.
    pub(super) fn v2(common: &Common) -> Self {
        Self::V2(MobilenetV2 {
            depth_multiplier: common.depth_multiplier,
            min_depth: common.min_depth,
            explicit_padding: common.explicit_padding,
            hyperparams: backbone_hyperparams(common),
        })
    }

    /// Writes the network over normalised images. `path` is the feature extractor's place.
    pub(super) fn build(
        &self,
        b: &mut Builder,
        common: &Common,
        path: &Path,
        images: ValueId,
    ) -> Result<Features, ModelError> {
        check_image(b, images, SMALLEST_IMAGE)?;
        let images = common.pad_to_multiple(b, images)?;
        let place = path.child("classification_backbone");
        match self {
            Self::V1(net) => {
                let levels = b.scope("MobilenetV1", |b| net.build(b, &place, images))?;
                let stride_16 = levels[2];
                Ok(Features { levels, stride_16 })
            }
            Self::V2(net) => {
                let features = b.scope("MobilenetV2", |b| net.build(b, &place, images))?;
                Ok(Features {
                    levels: features.levels,
                    stride_16: features.expanded,
                })
            }
        }
    }
}

struct Mobilenet {
    common: Common,
    backbone: Backbone,
    /// How many of the backbone's maps are used: fewer where there are fewer layers.
    own_maps: usize,
    further: MultiResolution,
}

pub(super) fn v1(
    common: &Common,
    config: Message<'_, protos::SsdFeatureExtractor>,
) -> Result<Box<dyn FeatureExtractor>, ModelError> {
    from_config(common, config, Backbone::v1(common, false))
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
    const LAYERS: &str = "num_layers";
    let mut refused = vec![(PYRAMID, config.feature_pyramid_oneof.is_some())];
    refused.extend(rare_fields(&config).into_iter().filter(|f| f.0 != LAYERS));
    refuse_fields(&config, config.r#type(), &refused)?;
    let layers = size(config.field(LAYERS), config.num_layers(), 1)?;
    // The reference's layouts end after six layers, whatever the configuration says.
    let layers = usize::try_from(layers).unwrap_or(usize::MAX);
    let own_maps = layers.min(OWN_MAPS);
    let further = (layers - own_maps).min(DEPTHS.len());
    Ok(Box::new(Mobilenet {
        common: *common,
        backbone,
        own_maps,
        further: MultiResolution {
            depths: DEPTHS.get(..further).unwrap_or(&DEPTHS),
            depth_multiplier: common.depth_multiplier,
            multiplier_field: common.multiplier_field,
            min_depth: common.min_depth,
            use_depthwise: common.use_depthwise,
            explicit_padding: common.explicit_padding,
            hyperparams: common.hyperparams,
        },
    }))
}

impl FeatureExtractor for Mobilenet {
    fn normalization(&self) -> Normalization {
        Normalization::SIGNED
    }

    fn build(
        &self,
        b: &mut Builder,
        path: &Path,
        images: ValueId,
    ) -> Result<Vec<ValueId>, ModelError> {
        let features = self.backbone.build(b, &self.common, path, images)?;
        // The reference's two classes call their generator differently.
        let generator = match &self.backbone {
            Backbone::V1(_) => "_feature_map_generator",
            Backbone::V2(_) => "feature_map_generator",
        };
        let own = [features.stride_16, features.levels[3]];
        let mut maps: Vec<ValueId> = own.into_iter().take(self.own_maps).collect();
        let layers = path.child(generator).child("convolutions");
        b.scope("FeatureMaps", |b| {
            maps.extend(self.further.build(b, &layers, own[1], OWN_MAPS)?);
            Ok(maps)
        })
    }
}
