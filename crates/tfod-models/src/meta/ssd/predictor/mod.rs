//! The predictors of an SSD: one that other meta-architectures have too ([`crate::head::convolutional`]), and one of its own.

pub mod weight_shared;

use tfod_config::protos;
use tfod_config::protos::box_predictor::BoxPredictorOneof;
use tfod_graph::{Builder, ValueId};

use crate::error::ModelError;
use crate::fields::{Message, missing, unsupported};
use crate::head::Predictions;
use crate::head::convolutional::Convolutional;
use crate::layers::Path;
use weight_shared::WeightShared;

/// A configured predictor.
#[derive(Clone, Debug)]
pub enum BoxPredictor {
    /// `convolutional_box_predictor`
    Convolutional(Convolutional),
    /// `weight_shared_convolutional_box_predictor`
    WeightShared(WeightShared),
}

impl BoxPredictor {
    /// Reads the message. `class_slots` counts the background where it has a slot; `anchors_per_location` are the boxes at each position, for each
    /// feature map.
    ///
    /// # Errors
    /// For a predictor that is not supported, and for fields that make no layers.
    pub fn from_config(
        config: Message<'_, protos::BoxPredictor>,
        class_slots: u64,
        anchors_per_location: &[u64],
    ) -> Result<Self, ModelError> {
        let given = match &config.box_predictor_oneof {
            Some(BoxPredictorOneof::WeightSharedConvolutionalBoxPredictor(predictor)) => {
                let config = config.at("weight_shared_convolutional_box_predictor", predictor);
                let predictor =
                    WeightShared::from_config(config, class_slots, anchors_per_location)?;
                return Ok(Self::WeightShared(predictor));
            }
            Some(BoxPredictorOneof::ConvolutionalBoxPredictor(predictor)) => {
                let config = config.at("convolutional_box_predictor", predictor);
                let predictor =
                    Convolutional::from_config(config, class_slots, anchors_per_location)?;
                return Ok(Self::Convolutional(predictor));
            }
            Some(BoxPredictorOneof::MaskRcnnBoxPredictor(_)) => "mask_rcnn_box_predictor",
            Some(BoxPredictorOneof::RfcnBoxPredictor(_)) => "rfcn_box_predictor",
            None => return Err(missing(config.path())),
        };
        Err(unsupported(
            config.path(),
            given,
            "convolutional_box_predictor, weight_shared_convolutional_box_predictor",
        ))
    }

    /// Writes the network from feature maps to predictions. `path` is the predictor's place in the reference's object tree.
    ///
    /// # Errors
    /// When the feature maps and the configuration do not go together.
    pub fn build(
        &self,
        b: &mut Builder,
        path: &Path,
        features: &[ValueId],
    ) -> Result<Predictions, ModelError> {
        match self {
            Self::Convolutional(predictor) => predictor.build(b, path, features),
            Self::WeightShared(predictor) => predictor.build(b, path, features),
        }
    }
}
