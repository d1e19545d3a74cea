//! `ssd_efficientnet-b0_bifpn_keras` to `-b7_bifpn_keras`: EfficientNet and a weighted bidirectional pyramid, which make EfficientDet D0 to D7 (Tan et al.
//! 2020, <https://arxiv.org/abs/1911.09070>).

use std::ops::RangeInclusive;

use tfod_config::protos;
use tfod_config::protos::ssd_feature_extractor::FeaturePyramidOneof;
use tfod_graph::{Builder, ValueId};

use super::{Common, FeatureExtractor, PYRAMID, check_highest, check_image, rare_fields};
use crate::backbone::efficientnet::{EfficientNet, SCALED};
use crate::error::ModelError;
use crate::facts::Normalization;
use crate::fields::{Message, invalid, refuse_flag, size, unsupported};
use crate::layers::Path;
use crate::meta::extractor_type::refuse_fields;
use crate::neck::bifpn::{BiFpn, Combine};

/// The smallest image that the reference accepts.
const SMALLEST_IMAGE: u64 = 129;
/// The levels that EfficientNet itself has: strides 2 to 32.
const BACKBONE_LEVELS: RangeInclusive<u64> = 1..=5;

/// The pyramid of each variant where the configuration has none: rounds, channels, how nodes add (table 1 of the paper; the reference's
/// largest ones do without weights).
const PYRAMIDS: [(i32, i32, &str); SCALED.len()] = [
    (3, 64, "fast_attention"),
    (4, 88, "fast_attention"),
    (5, 112, "fast_attention"),
    (6, 160, "fast_attention"),
    (7, 224, "fast_attention"),
    (7, 288, "fast_attention"),
    (8, 384, "sum"),
    (8, 384, "sum"),
];

struct EfficientNetBiFpn {
    common: Common,
    backbone: EfficientNet,
    pyramid: BiFpn,
    min_level: u64,
    max_level: u64,
}

/// `variant` is that of EfficientNet: 0 to 7.
pub(super) fn from_config(
    common: &Common,
    config: Message<'_, protos::SsdFeatureExtractor>,
    variant: usize,
) -> Result<Box<dyn FeatureExtractor>, ModelError> {
    /// More rounds than any model has; each is a dozen nodes of the pyramid.
    const MOST_ITERATIONS: u64 = 64;
    let (backbone, (iterations, filters, combine)) = (SCALED[variant], PYRAMIDS[variant]);
    refuse_fields(&config, config.r#type(), &rare_fields(&config))?;
    // The reference raises an error for these too.
    refuse_flag(
        config.field("use_explicit_padding"),
        common.explicit_padding,
    )?;
    refuse_flag(config.field("use_depthwise"), common.use_depthwise)?;
    #[expect(clippy::float_cmp, reason = "the reference compares so")]
    if common.depth_multiplier != 1.0 {
        let given = common.depth_multiplier;
        return Err(unsupported(
            common.multiplier_field,
            given,
            "1 for EfficientNet",
        ));
    }
    let bifpn = match &config.feature_pyramid_oneof {
        Some(FeaturePyramidOneof::Bifpn(bifpn)) => bifpn.clone(),
        Some(FeaturePyramidOneof::Fpn(_)) => {
            let supported = format!("bifpn for type {}", config.r#type());
            return Err(unsupported(config.field(PYRAMID), "fpn", supported));
        }
        None => protos::BidirectionalFeaturePyramidNetworks {
            num_iterations: Some(iterations),
            num_filters: Some(filters),
            combine_method: Some(combine.to_owned()),
            ..Default::default()
        },
    };
    let field = |name| config.field("bifpn").child(name);
    let min_level = size(
        field("min_level"),
        bifpn.min_level(),
        *BACKBONE_LEVELS.start(),
    )?;
    if !BACKBONE_LEVELS.contains(&min_level) {
        return Err(invalid(field("min_level"), min_level, "1 to 5"));
    }
    // The reference starts from a level beyond the backbone's, and fails where there is none.
    let max_level = size(
        field("max_level"),
        bifpn.max_level(),
        *BACKBONE_LEVELS.end() + 1,
    )?;
    check_highest(field("max_level"), max_level)?;
    let iterations = size(field("num_iterations"), bifpn.num_iterations(), 1)?;
    if iterations > MOST_ITERATIONS {
        let expected = format!("at most {MOST_ITERATIONS}");
        return Err(invalid(field("num_iterations"), iterations, expected));
    }
    let filters = size(field("num_filters"), bifpn.num_filters(), 0)?.max(common.min_depth);
    if filters == 0 {
        return Err(invalid(field("num_filters"), 0, "at least 1"));
    }
    let method = bifpn.combine_method();
    let Some((_, combine)) = Combine::NAMED.iter().find(|(name, _)| *name == method) else {
        let names = Combine::NAMED.map(|(name, _)| name);
        return Err(unsupported(
            field("combine_method"),
            method,
            names.join(", "),
        ));
    };
    Ok(Box::new(EfficientNetBiFpn {
        common: *common,
        backbone,
        pyramid: BiFpn {
            iterations,
            filters,
            combine: *combine,
            hyperparams: common.hyperparams,
        },
        min_level,
        max_level,
    }))
}

impl FeatureExtractor for EfficientNetBiFpn {
    fn normalization(&self) -> Normalization {
        Normalization::STANDARD
    }

    fn build(
        &self,
        b: &mut Builder,
        path: &Path,
        images: ValueId,
    ) -> Result<Vec<ValueId>, ModelError> {
        check_image(b, images, SMALLEST_IMAGE)?;
        let images = self.common.pad_to_multiple(b, images)?;
        let features = b.scope("EfficientNet", |b| self.backbone.build(b, path, images))?;
        let used: Vec<ValueId> = BACKBONE_LEVELS
            .zip(features)
            .filter(|(level, _)| *level >= self.min_level)
            .map(|(_, feature)| feature)
            .collect();
        b.scope("bifpn", |b| {
            let path = path.child("_bifpn_stage");
            self.pyramid
                .build(b, &path, &used, self.min_level, self.max_level)
        })
    }
}
