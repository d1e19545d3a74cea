//! The feature pyramid of an extractor: some levels of its backbone, top-down, and coarser ones made from the top.

use std::ops::RangeInclusive;

use tfod_config::protos;
use tfod_graph::{Builder, ValueId};

use super::{Common, fpn_levels};
use crate::error::ModelError;
use crate::fields::{Message, invalid, scaled, size};
use crate::layers::Path;
use crate::neck::fpn::Fpn;

/// A configured pyramid.
pub(super) struct Pyramid {
    fpn: Fpn,
    min_level: u64,
    /// The coarsest level that comes from the backbone.
    top_level: u64,
    max_level: u64,
}

impl Pyramid {
    /// Reads the message. `backbone` are the levels that the backbone has.
    pub(super) fn from_config(
        common: &Common,
        config: Message<'_, protos::FeaturePyramidNetworks>,
        backbone: RangeInclusive<u64>,
    ) -> Result<Self, ModelError> {
        let top_level = *backbone.end();
        let [min_level, max_level] = fpn_levels(config, backbone)?;
        let field = config.field("additional_layer_depth");
        let depth = size(field, config.additional_layer_depth(), 0)?;
        let depth = scaled(depth, common.depth_multiplier).max(common.min_depth);
        if depth == 0 {
            return Err(invalid(field, 0, "at least 1 after the depth multiplier"));
        }
        Ok(Self {
            fpn: Fpn {
                depth,
                use_depthwise: common.use_depthwise,
                explicit_padding: common.explicit_padding,
                padding_field: common.padding_field,
                hyperparams: common.hyperparams,
            },
            min_level,
            top_level: top_level.min(max_level),
            max_level,
        })
    }

    /// The levels that come from the backbone.
    pub(super) fn backbone_levels(&self) -> RangeInclusive<u64> {
        self.min_level..=self.top_level
    }

    /// Writes the pyramid over feature maps of the backbone, from fine to coarse. `path` is the feature extractor's place; `coarse` are the name and the
    /// first number of the layers that make coarser levels.
    pub(super) fn build(
        &self,
        b: &mut Builder,
        path: &Path,
        features: &[ValueId],
        coarse: (&str, u64),
    ) -> Result<Vec<ValueId>, ModelError> {
        b.scope("FeatureMaps", |b| {
            let generator = path.child("_fpn_features_generator");
            let mut maps = self.fpn.top_down(b, &generator, features)?;
            if let Some(coarsest) = maps.last().copied() {
                let count = self.max_level - self.top_level;
                let layers = path.child("_coarse_feature_layers");
                maps.extend(self.fpn.coarse(b, &layers, coarsest, count, coarse)?);
            }
            Ok(maps)
        })
    }
}
