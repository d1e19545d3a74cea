//! `faster_rcnn_resnet50_fpn_keras` and its siblings: a feature pyramid (Lin et al. 2017, <https://arxiv.org/abs/1612.03144>) over all stages of a ResNet, and two dense layers over
//! crops (section 4.2 there).

use std::ops::RangeInclusive;

use tfod_config::protos;
use tfod_graph::{Builder, Unary, ValueId};

use super::resnet_v1::MIN_DEPTH;
use super::{FeatureExtractor, check_stride};
use crate::backbone::resnet_v1::ResnetV1;
use crate::error::ModelError;
use crate::facts::Normalization;
use crate::fields::{Message, invalid, missing, size};
use crate::hyperparams::Hyperparams;
use crate::layers::{Path, batch_norm_of_rows, dense};
use crate::neck::fpn::Fpn;
use crate::resizer;

/// The levels that ResNet itself has: strides 4 to 32.
const BACKBONE_LEVELS: RangeInclusive<u64> = 2..=5;
/// The levels of a pyramid that the configuration says nothing of.
const LEVELS: [u64; 2] = [2, 6];
/// Its channels.
const DEPTH: u64 = 256;
/// Levels beyond this have strides longer than any image.
const HIGHEST_LEVEL: u64 = 16;
/// Height and width that images are padded to. The reference does not look at `pad_to_multiple`.
const MULTIPLE: u64 = 32;
/// The pyramid that the configuration says nothing of, as a message.
pub(super) fn usual_pyramid() -> protos::FeaturePyramidNetworks {
    let number = |n: u64| i32::try_from(n).ok();
    protos::FeaturePyramidNetworks {
        min_level: number(LEVELS[0]),
        max_level: number(LEVELS[1]),
        additional_layer_depth: number(DEPTH),
    }
}

/// Units of the dense layers.
const UNITS: u64 = 1024;

struct ResnetFpn {
    backbone: ResnetV1,
    fpn: Fpn,
    levels: [u64; 2],
    hyperparams: Hyperparams,
}

/// `blocks` are those of the ResNet's stages.
pub(super) fn from_config(
    config: Message<'_, protos::FasterRcnnFeatureExtractor>,
    blocks: [u64; 4],
) -> Result<Box<dyn FeatureExtractor>, ModelError> {
    check_stride(config, &[8, 16])?;
    let field = config.field("conv_hyperparams");
    let hyperparams = config.conv_hyperparams.as_ref();
    // The reference has no default for these.
    let hyperparams = hyperparams.ok_or_else(|| missing(field))?;
    let hyperparams = Hyperparams::from_config(field, Some(hyperparams))?;
    let (levels, depth) = match &config.fpn {
        Some(fpn) => pyramid(config.at("fpn", fpn))?,
        None => (LEVELS, DEPTH),
    };
    let backbone = ResnetV1 {
        blocks,
        depth_multiplier: 1.0,
        min_depth: MIN_DEPTH,
        is_application: false,
        hyperparams: if config.override_base_feature_extractor_hyperparams() {
            hyperparams
        } else {
            Hyperparams::RESNET
        },
    };
    Ok(Box::new(ResnetFpn {
        backbone,
        fpn: Fpn {
            depth,
            use_depthwise: false,
            explicit_padding: false,
            padding_field: config.field("fpn"),
            hyperparams,
        },
        levels,
        hyperparams,
    }))
}

/// First and last level, and channels.
fn pyramid(
    config: Message<'_, protos::FeaturePyramidNetworks>,
) -> Result<([u64; 2], u64), ModelError> {
    let (min_field, max_field) = (config.field("min_level"), config.field("max_level"));
    let min_level = size(min_field, config.min_level(), *BACKBONE_LEVELS.start())?;
    if !BACKBONE_LEVELS.contains(&min_level) {
        let expected = format!("{} to {}", BACKBONE_LEVELS.start(), BACKBONE_LEVELS.end());
        return Err(invalid(min_field, min_level, expected));
    }
    let max_level = size(max_field, config.max_level(), min_level)?;
    if max_level > HIGHEST_LEVEL {
        return Err(invalid(
            max_field,
            max_level,
            format!("at most {HIGHEST_LEVEL}"),
        ));
    }
    let field = config.field("additional_layer_depth");
    let depth = size(field, config.additional_layer_depth(), 1)?;
    Ok(([min_level, max_level], depth))
}

impl FeatureExtractor for ResnetFpn {
    fn normalization(&self) -> Normalization {
        Normalization::CHANNEL_MEANS
    }

    fn maps(
        &self,
        b: &mut Builder,
        path: &Path,
        images: ValueId,
    ) -> Result<Vec<ValueId>, ModelError> {
        let images = b.scope("pad_to_multiple", |b| {
            resizer::pad_to_multiple(b, images, MULTIPLE)
        })?;
        let features = b.scope("ResnetV1", |b| {
            let path = path.child("classification_backbone");
            self.backbone.build(b, &path, images)
        })?;
        let [min_level, max_level] = self.levels;
        let top_level = max_level.min(*BACKBONE_LEVELS.end());
        let levels = BACKBONE_LEVELS.zip(features);
        let used = levels.filter(|(level, _)| (min_level..=top_level).contains(level));
        let used: Vec<ValueId> = used.map(|(_, feature)| feature).collect();
        b.scope("FeatureMaps", |b| {
            let generator = path.child("fpn_features_generator");
            let mut maps = self.fpn.top_down(b, &generator, &used)?;
            if let Some(coarsest) = maps.last().copied() {
                let layers = path.child("coarse_feature_layers");
                let count = max_level - top_level;
                let first = ("bottom_up_block", top_level);
                maps.extend(self.fpn.coarse(b, &layers, coarsest, count, first)?);
            }
            Ok(maps)
        })
    }

    fn features(
        &self,
        b: &mut Builder,
        path: &Path,
        crops: ValueId,
    ) -> Result<ValueId, ModelError> {
        let dims = b.shape(crops).dims().to_vec();
        let (Some(count), Some(sizes)) = (
            dims.first().cloned(),
            dims.iter()
                .skip(1)
                .map(tfod_graph::Dim::known)
                .collect::<Option<Vec<u64>>>(),
        ) else {
            let text = "crops of a size known only at run time";
            return Err(ModelError::Inconsistent(text.to_owned()));
        };
        let values = sizes.iter().product::<u64>();
        let layer = |index: u64| path.child(format!("layer_with_weights-{index}"));
        let mut x = b.reshape("flat", crops, &[count.clone(), values.into()])?;
        x = dense(b, "dense", &layer(0), x, UNITS)?;
        x = b.unary("dense/relu", Unary::Relu, x)?;
        let mut last = 1;
        if let Some(norm) = self.hyperparams.batch_norm {
            x = batch_norm_of_rows(b, "batch_normalization", &layer(1), x, norm)?;
            last = 2;
        }
        x = dense(b, "dense_1", &layer(last), x, UNITS)?;
        x = b.unary("dense_1/relu", Unary::Relu, x)?;
        Ok(b.reshape("features", x, &[count, 1.into(), 1.into(), UNITS.into()])?)
    }
}
