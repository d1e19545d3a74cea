//! Predictors: from feature maps to box encodings and class scores for every anchor.

pub mod weight_shared;

use tfod_config::protos;
use tfod_config::protos::box_predictor::BoxPredictorOneof;
use tfod_graph::{Builder, ValueId};

use crate::error::ModelError;
use crate::fields::{message, unsupported};
use crate::layers::Path;
use weight_shared::WeightShared;

/// Raw predictions for all anchors, in the anchors' order.
#[derive(Clone, Copy, Debug)]
pub struct Predictions {
    /// `[batch, num_anchors, code_size]`
    pub box_encodings: ValueId,
    /// `[batch, num_anchors, class_slots]`: the background, where it has a slot, first.
    pub class_scores: ValueId,
}

/// A configured predictor.
#[derive(Clone, Debug)]
pub enum BoxPredictor {
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
        config: Option<&protos::BoxPredictor>,
        class_slots: u64,
        anchors_per_location: &[u64],
    ) -> Result<Self, ModelError> {
        const FIELD: &str = "model.ssd.box_predictor";
        let given = match &message(FIELD, config)?.box_predictor_oneof {
            Some(BoxPredictorOneof::WeightSharedConvolutionalBoxPredictor(config)) => {
                let predictor =
                    WeightShared::from_config(config, class_slots, anchors_per_location)?;
                return Ok(Self::WeightShared(predictor));
            }
            Some(BoxPredictorOneof::ConvolutionalBoxPredictor(_)) => "convolutional_box_predictor",
            Some(BoxPredictorOneof::MaskRcnnBoxPredictor(_)) => "mask_rcnn_box_predictor",
            Some(BoxPredictorOneof::RfcnBoxPredictor(_)) => "rfcn_box_predictor",
            None => return Err(ModelError::Missing { field: FIELD }),
        };
        Err(unsupported(
            FIELD,
            given,
            "weight_shared_convolutional_box_predictor",
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
            Self::WeightShared(predictor) => predictor.build(b, path, features),
        }
    }
}
