//! `mobilenet_v2`: MobileNetV2 and transposed convolutions; `mobilenet_v2_fpn`: with a pyramid, which `mobilenet_v2_fpn_sep_conv` may have separable.

use tfod_graph::{Builder, ResizeMethod, ValueId};

use super::upsampling::{TopDown, transposed};
use super::{Config, FeatureExtractor, Further, Pixels};
use crate::backbone::mobilenet_v2::MobilenetV2;
use crate::error::ModelError;
use crate::facts::Normalization;
use crate::fields::{multiplier, unsupported};
use crate::hyperparams::Hyperparams;
use crate::layers::Path;

struct Mobilenet {
    pixels: Pixels,
    network: MobilenetV2,
    /// Without one, transposed convolutions.
    pyramid: Option<TopDown>,
}

fn network(config: &Config<'_>) -> Result<MobilenetV2, ModelError> {
    let field = config.field("depth_multiplier");
    Ok(MobilenetV2 {
        depth_multiplier: multiplier(field, config.depth_multiplier())?,
        min_depth: 0,
        explicit_padding: false,
        hyperparams: Hyperparams::MOBILENET,
    })
}

pub(super) fn plain(
    pixels: &Pixels,
    config: Config<'_>,
) -> Result<Box<dyn FeatureExtractor>, ModelError> {
    Ok(Box::new(Mobilenet {
        pixels: *pixels,
        network: network(&config)?,
        pyramid: None,
    }))
}

/// `by_name` tells whether the type's name asks for separable convolutions. The reference goes by that only where the configuration has the field
/// `use_separable_conv`, whatever its value.
pub(super) fn fpn(
    pixels: &Pixels,
    config: Config<'_>,
    by_name: bool,
) -> Result<Box<dyn FeatureExtractor>, ModelError> {
    let given = config.use_separable_conv;
    let method = match config.upsampling_interpolation() {
        "nearest" => ResizeMethod::Nearest,
        "bilinear" => ResizeMethod::Bilinear,
        other => {
            let field = config.field("upsampling_interpolation");
            return Err(unsupported(field, other, "nearest, bilinear"));
        }
    };
    Ok(Box::new(Mobilenet {
        pixels: *pixels,
        network: network(&config)?,
        pyramid: Some(TopDown {
            added: [64, 32, 24],
            top: 64,
            last: 24,
            separable: given.is_some_and(|given| given || by_name),
            method,
        }),
    }))
}

impl FeatureExtractor for Mobilenet {
    fn normalization(&self) -> Normalization {
        self.pixels.normalization(Further::Signed)
    }

    fn build(
        &self,
        b: &mut Builder,
        path: &Path,
        images: ValueId,
    ) -> Result<Vec<ValueId>, ModelError> {
        let base = match self.pyramid {
            Some(_) => path.child("_base_model"),
            None => path.child("_network").child("layer_with_weights-0"),
        };
        let features = b.scope("MobilenetV2", |b| self.network.build(b, &base, images))?;
        let [fine, middle, _, coarse] = features.levels;
        let map = match &self.pyramid {
            Some(pyramid) => {
                let path = path.child("_feature_extractor_model");
                let features = [fine, middle, features.narrow, coarse];
                pyramid.build(b, &path, features)?
            }
            None => transposed(b, &path.child("_network"), coarse, 1)?,
        };
        Ok(vec![map])
    }
}
