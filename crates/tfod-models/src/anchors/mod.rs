//! Anchors: the boxes that predictions are relative to. They depend on the configuration and on the sizes of the feature maps
//! only, so for images of a known size they are constants of the graph.
//!
//! Generators differ in the boxes that they place around a centre and in where centres are: each gives a [`tiling::Tiling`] for each feature map.

pub mod flexible;
pub mod multiscale;
pub mod ssd;
pub mod tiling;

use tfod_config::protos;
use tfod_config::protos::anchor_generator::AnchorGeneratorOneof;

use crate::error::ModelError;
use crate::fields::{invalid, message, unsupported};
use flexible::Flexible;
use multiscale::Multiscale;
use ssd::Ssd;
use tiling::Tiling;

/// One anchor: ymin, xmin, ymax, xmax.
pub type Corners = [f32; 4];

/// More anchors than this would need gigabytes; the largest published model has about 350,000.
const MOST_ANCHORS: u64 = 1 << 24;
/// More boxes of one kind around a centre than anybody uses.
const MOST_PER_LOCATION: usize = 1000;

/// A configured anchor generator.
#[derive(Clone, Debug, PartialEq)]
pub enum AnchorGenerator {
    /// `multiscale_anchor_generator`
    Multiscale(Multiscale),
    /// `ssd_anchor_generator`
    Ssd(Ssd),
    /// `flexible_grid_anchor_generator`
    Flexible(Flexible),
}

impl AnchorGenerator {
    /// Reads the message.
    ///
    /// # Errors
    /// For a generator that is not supported, and for numbers that make no anchors.
    pub fn from_config(config: Option<&protos::AnchorGenerator>) -> Result<Self, ModelError> {
        const FIELD: &str = "model.ssd.anchor_generator";
        match &message(FIELD, config)?.anchor_generator_oneof {
            Some(AnchorGeneratorOneof::MultiscaleAnchorGenerator(config)) => {
                Ok(Self::Multiscale(Multiscale::from_config(config)?))
            }
            Some(AnchorGeneratorOneof::SsdAnchorGenerator(config)) => {
                Ok(Self::Ssd(Ssd::from_config(config)?))
            }
            Some(AnchorGeneratorOneof::FlexibleGridAnchorGenerator(config)) => {
                Ok(Self::Flexible(Flexible::from_config(config)?))
            }
            Some(AnchorGeneratorOneof::GridAnchorGenerator(_)) => Err(unsupported(
                FIELD,
                "grid_anchor_generator in an SSD (the reference cannot run it either: this generator takes no image size)",
                "ssd_anchor_generator, multiscale_anchor_generator, flexible_grid_anchor_generator",
            )),
            None => Err(ModelError::Missing { field: FIELD }),
        }
    }

    /// Boxes at each position, for each feature map.
    pub fn per_location(&self) -> Vec<u64> {
        match self {
            Self::Multiscale(generator) => generator.per_location(),
            Self::Ssd(generator) => generator.per_location(),
            Self::Flexible(generator) => generator.per_location(),
        }
    }

    /// The boxes of each feature map, for feature maps of these heights and widths and an image of this size.
    fn tilings(&self, feature_maps: &[[u64; 2]], image: [u64; 2]) -> Vec<Tiling> {
        match self {
            Self::Multiscale(generator) => generator.tilings(image),
            Self::Ssd(generator) => generator.tilings(feature_maps, image),
            Self::Flexible(generator) => generator.tilings(image),
        }
    }

    /// The fields that say for how many feature maps there are anchors.
    fn levels_fields(&self) -> &'static str {
        match self {
            Self::Multiscale(_) => {
                "set min_level and max_level of both alike (ResNet extractors always have levels 3 to 7)"
            }
            Self::Ssd(_) => "set num_layers (and scales) alike",
            Self::Flexible(_) => "there must be one anchor_grid for each",
        }
    }

    /// The anchors over feature maps of these heights and widths, for an image of this size: map by map, row by row, with the boxes of one
    /// centre together.
    ///
    /// # Errors
    /// When there are not as many feature maps as the configuration says, or far too many anchors.
    pub fn generate(
        &self,
        feature_maps: &[[u64; 2]],
        image: [u64; 2],
    ) -> Result<Vec<Corners>, ModelError> {
        let per_location = self.per_location();
        if feature_maps.len() != per_location.len() {
            return Err(ModelError::Inconsistent(format!(
                "`anchor_generator` has {} levels, the feature extractor gives {} feature maps; {}",
                per_location.len(),
                feature_maps.len(),
                self.levels_fields()
            )));
        }
        let maps = feature_maps.iter().zip(per_location);
        let count = maps.into_iter().try_fold(0u64, |sum, ([h, w], boxes)| {
            sum.checked_add(h.checked_mul(*w)?.checked_mul(boxes)?)
        });
        if count.is_none_or(|n| n > MOST_ANCHORS) {
            return Err(ModelError::Inconsistent(format!(
                "an image of {}x{} has more than {MOST_ANCHORS} anchors",
                image[0], image[1]
            )));
        }
        let mut anchors = Vec::new();
        let tilings = self.tilings(feature_maps, image);
        for (map, tiling) in feature_maps.iter().zip(tilings) {
            tiling.tile(*map, &mut anchors);
        }
        Ok(anchors)
    }
}

/// Scales or aspect ratios of the boxes around a centre, checked: not too many, and all above 0.
fn positive(field: &'static str, numbers: &[f32]) -> Result<(), ModelError> {
    if numbers.len() > MOST_PER_LOCATION {
        let given = format!("a list of {}", numbers.len());
        return Err(invalid(
            field,
            given,
            format!("at most {MOST_PER_LOCATION}"),
        ));
    }
    match numbers.iter().find(|n| !(n.is_finite() && **n > 0.0)) {
        Some(number) => Err(invalid(field, number, "numbers above 0")),
        None => Ok(()),
    }
}
