//! Predictors: from feature maps to box encodings and class scores for every anchor.

pub mod convolutional;
pub mod weight_shared;

use tfod_config::protos;
use tfod_config::protos::box_predictor::BoxPredictorOneof;
use tfod_graph::{Binary, Builder, ValueId};

use crate::anchors::anchors_dim;
use crate::error::ModelError;
use crate::fields::{invalid, message, size, unsupported};
use crate::layers::Path;
use convolutional::Convolutional;
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
            Some(BoxPredictorOneof::ConvolutionalBoxPredictor(config)) => {
                let predictor =
                    Convolutional::from_config(config, class_slots, anchors_per_location)?;
                return Ok(Self::Convolutional(predictor));
            }
            Some(BoxPredictorOneof::MaskRcnnBoxPredictor(_)) => "mask_rcnn_box_predictor",
            Some(BoxPredictorOneof::RfcnBoxPredictor(_)) => "rfcn_box_predictor",
            None => return Err(ModelError::Missing { field: FIELD }),
        };
        Err(unsupported(
            FIELD,
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

/// The kernel size of a last convolution.
fn kernel_size(field: &'static str, kernel: i32, use_depthwise: bool) -> Result<u64, ModelError> {
    let kernel = size(field, kernel, 1)?;
    if use_depthwise && kernel == 1 {
        let expected = "more than 1 where use_depthwise is true";
        return Err(invalid(field, kernel, expected));
    }
    Ok(kernel)
}

/// From `[batch, height, width, anchors_per_location * values]` to `[batch, height * width * anchors_per_location, values]`.
fn per_anchor(
    b: &mut Builder,
    map: ValueId,
    anchors_per_location: u64,
    values: u64,
) -> Result<ValueId, ModelError> {
    let dims = b.shape(map).dims().to_vec();
    let [batch, height, width, _] = dims.as_slice() else {
        let text = "a feature map has four dimensions".to_owned();
        return Err(ModelError::Inconsistent(text));
    };
    let anchors = anchors_dim(&[height.clone(), width.clone()], anchors_per_location)?;
    Ok(b.reshape("flat", map, &[batch.clone(), anchors, values.into()])?)
}

/// The box encodings of all feature maps, one after another, limited to a range where there is one.
fn all_encodings(
    b: &mut Builder,
    maps: &[ValueId],
    clip: Option<[f32; 2]>,
) -> Result<ValueId, ModelError> {
    let mut encodings = b.concat("box_encodings", 1, maps)?;
    if let Some([min, max]) = clip {
        encodings = b.binary_scalar("clip_max", Binary::Minimum, encodings, max)?;
        encodings = b.binary_scalar("clip_min", Binary::Maximum, encodings, min)?;
    }
    Ok(encodings)
}
