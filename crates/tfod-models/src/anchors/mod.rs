//! Anchors: the boxes that predictions are relative to. They depend on the configuration and on the sizes of the feature maps
//! only, so for images of a known size they are constants of the graph.

pub mod multiscale;

use tfod_config::protos;
use tfod_config::protos::anchor_generator::AnchorGeneratorOneof;

use crate::error::ModelError;
use crate::fields::{message, unsupported};
use multiscale::Multiscale;

/// One anchor: ymin, xmin, ymax, xmax.
pub type Corners = [f32; 4];

/// A configured anchor generator.
#[derive(Clone, Debug, PartialEq)]
pub enum AnchorGenerator {
    /// `multiscale_anchor_generator`
    Multiscale(Multiscale),
}

impl AnchorGenerator {
    /// Reads the message.
    ///
    /// # Errors
    /// For a generator that is not supported, and for numbers that make no anchors.
    pub fn from_config(config: Option<&protos::AnchorGenerator>) -> Result<Self, ModelError> {
        const FIELD: &str = "model.ssd.anchor_generator";
        let other = |given: &str| unsupported(FIELD, given, "multiscale_anchor_generator");
        match &message(FIELD, config)?.anchor_generator_oneof {
            Some(AnchorGeneratorOneof::MultiscaleAnchorGenerator(config)) => {
                Ok(Self::Multiscale(Multiscale::from_config(config)?))
            }
            Some(AnchorGeneratorOneof::SsdAnchorGenerator(_)) => Err(other("ssd_anchor_generator")),
            Some(AnchorGeneratorOneof::GridAnchorGenerator(_)) => {
                Err(other("grid_anchor_generator"))
            }
            Some(AnchorGeneratorOneof::FlexibleGridAnchorGenerator(_)) => {
                Err(other("flexible_grid_anchor_generator"))
            }
            None => Err(ModelError::Missing { field: FIELD }),
        }
    }

    /// Boxes at each position, for each feature map.
    pub fn per_location(&self) -> Vec<u64> {
        match self {
            Self::Multiscale(generator) => vec![generator.per_location(); generator.levels()],
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
        match self {
            Self::Multiscale(generator) => generator.generate(feature_maps, image),
        }
    }
}
