//! The rules of `use_combined_nms`, TensorFlow's `combined_non_max_suppression`: the best of all classes' selections, nothing more. Their boxes are clipped towards the image
//! only afterwards, each side at its own border, so a box beside the image comes out turned inside out. Of equal scores the reference takes any; here the lower class
//! comes first, then the selection.

use tfod_graph::{Binary, Builder, Compare, DType, Reduce, Tensor};

use super::{Detections, Image, NonMaxSuppression, zero_padded};
use crate::error::ModelError;
use crate::postprocess::window::clip_high;

/// The score of empty places, below that of any selection.
pub(super) const NO_SCORE: f32 = -1.0;

impl NonMaxSuppression {
    pub(super) fn combined(
        self,
        b: &mut Builder,
        image: Image<'_>,
        pad_per_class: bool,
    ) -> Result<Detections, ModelError> {
        let candidates = self.candidates(b, image)?;
        let per_row = candidates.at_most(self.limit());
        let scores = self.worthwhile_scores(b, candidates, |b, scores| {
            Ok(self.select(b, candidates, scores, per_row)?.filled)
        })?;
        let selection = self.select(b, candidates, scores, per_row)?;

        let none = b.constant("no_score", Tensor::scalar_f32(NO_SCORE))?;
        let scores = b.select("ranked_scores", selection.filled, selection.scores, none)?;
        let anchors = selection.flat(b, "flat_anchors", selection.anchors)?;
        let scores = selection.flat(b, "flat_scores", scores)?;
        let kept = self.max_total.min(selection.places());
        let [scores, places] = b.top_k("best", scores, kept)?;
        let valid = b.compare("valid", Compare::Greater, scores, none)?;
        let anchors = b.gather("anchors", anchors, places)?;
        let boxes = b.gather("boxes", image.boxes, anchors)?;
        let low = b.slice_last("low_corners", boxes, 0, 2)?;
        let low = b.binary_scalar("clip_low", Binary::Maximum, low, 0.0)?;
        let high = b.slice_last("high_corners", boxes, 2, 2)?;
        let high = clip_high(b, high, image.window)?;
        let boxes = b.concat("clipped_boxes", 1, &[low, high])?;
        let classes = candidates.classes(b, selection, places, anchors)?;
        let ones = b.cast("valid_float", valid, DType::F32)?;

        let rows = if pad_per_class {
            self.max_total.min(candidates.rows * self.limit())
        } else {
            self.max_total
        };
        let mut padded = |key, value| zero_padded(b, key, value, valid, rows);
        Ok(Detections {
            boxes: padded("boxes", boxes)?,
            scores: padded("scores", scores)?,
            classes: padded("classes", classes)?,
            origins: None,
            num_detections: b.reduce("num_detections", Reduce::Sum, ones, &[0])?,
        })
    }
}
