//! Predictors: from feature maps to box encodings and class scores for every anchor.

pub mod weight_shared;

use tfod_graph::ValueId;

/// Raw predictions for all anchors, in the anchors' order.
#[derive(Clone, Copy, Debug)]
pub struct Predictions {
    /// `[batch, num_anchors, code_size]`
    pub box_encodings: ValueId,
    /// `[batch, num_anchors, class_slots]`: the background, where it has a slot, first.
    pub class_scores: ValueId,
}
