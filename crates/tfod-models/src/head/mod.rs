//! Predictors that several meta-architectures have: from feature maps to box encodings and class scores for every anchor.

pub mod convolutional;

use tfod_graph::{Binary, Builder, ValueId};

use crate::anchors::anchors_dim;
use crate::error::ModelError;
use crate::fields::{FieldPath, invalid, size};

/// Raw predictions for all anchors, in the anchors' order.
#[derive(Clone, Copy, Debug)]
pub struct Predictions {
    /// `[batch, num_anchors, code_size]`
    pub box_encodings: ValueId,
    /// `[batch, num_anchors, class_slots]`: the background, where it has a slot, first.
    pub class_scores: ValueId,
}

/// The kernel size of a last convolution.
pub(crate) fn kernel_size(
    field: FieldPath,
    kernel: i32,
    use_depthwise: bool,
) -> Result<u64, ModelError> {
    let kernel = size(field, kernel, 1)?;
    if use_depthwise && kernel == 1 {
        let expected = "more than 1 where use_depthwise is true";
        return Err(invalid(field, kernel, expected));
    }
    Ok(kernel)
}

/// From `[batch, height, width, anchors_per_location * values]` to `[batch, height * width * anchors_per_location, values]`.
pub(crate) fn per_anchor(
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
pub(crate) fn all_encodings(
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
