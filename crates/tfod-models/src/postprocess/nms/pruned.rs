//! The rules of all suppression that neither `use_static_shapes` nor `use_combined_nms` changes: boxes are clipped, those without area and those with scores below
//! 0 dropped. Both are given the score -1, like empty places of the table; what remains are detections.

use tfod_graph::{Builder, Compare, DType, Reduce, Tensor, ValueId};

use super::select::{Selection, Table};
use super::{Detections, Image, NonMaxSuppression, Origins, area, zero_padded};
use crate::error::ModelError;
use crate::postprocess::window::clip;

/// Selections, and what is left of them.
struct Left {
    selection: Selection,
    /// `[rows, per_row, 4]`, clipped.
    boxes: ValueId,
    /// `[rows, per_row]`, -1 for what is no detection.
    scores: ValueId,
}

impl NonMaxSuppression {
    /// Selects by `scores`, clips, and drops.
    fn left(
        self,
        b: &mut Builder,
        image: Image<'_>,
        scores: ValueId,
        candidates: Table,
    ) -> Result<Left, ModelError> {
        let per_row = candidates.at_most(self.limit());
        let selection = self.select(b, candidates, scores, per_row)?;
        let selection = self.without_decayed(b, image, candidates, selection)?;
        let boxes = candidates.boxes_at(b, "selected_boxes", selection.anchors)?;
        let boxes = clip(b, boxes, image.window)?;
        let area = area(b, boxes)?;
        let zero = b.constant("zero", Tensor::scalar_f32(0.0))?;
        let has_area = b.compare("has_area", Compare::Greater, area, zero)?;
        let kept = b.and("kept", selection.filled, has_area)?;
        let none = b.constant("no_score", Tensor::scalar_f32(-1.0))?;
        let scores = b.select("ranked_scores", kept, selection.scores, none)?;
        Ok(Left {
            selection,
            boxes,
            scores,
        })
    }

    pub(super) fn pruned(
        self,
        b: &mut Builder,
        image: Image<'_>,
    ) -> Result<Detections, ModelError> {
        let candidates = self.candidates(b, image)?;
        let scores = self.worthwhile_scores(b, candidates, |b, scores| {
            let left = self.left(b, image, scores, candidates)?;
            let zero = b.constant("zero", Tensor::scalar_f32(0.0))?;
            Ok(b.compare("found", Compare::GreaterEqual, left.scores, zero)?)
        })?;
        let Left {
            selection,
            boxes,
            scores,
        } = self.left(b, image, scores, candidates)?;

        let zero = b.constant("zero", Tensor::scalar_f32(0.0))?;
        let anchors = selection.flat(b, "flat_anchors", selection.anchors)?;
        let scores = selection.flat(b, "flat_scores", scores)?;
        let boxes = selection.flat(b, "flat_boxes", boxes)?;
        let kept = self.max_total.min(selection.places());
        let [scores, places] = b.top_k("best", scores, kept)?;
        let valid = b.compare("valid", Compare::GreaterEqual, scores, zero)?;
        let anchors = b.gather("anchors", anchors, places)?;
        let boxes = b.gather("boxes", boxes, places)?;
        let boxes = self.framed(b, boxes, image.window)?;
        let classes = candidates.classes(b, selection, places, anchors)?;
        let anchor_indices = b.cast("anchors_float", anchors, DType::F32)?;
        let mut fields = Vec::with_capacity(image.fields.len());
        for (name, field) in image.fields {
            let field = b.gather(name, *field, anchors)?;
            let field = self.framed_field(b, name, field, image.window)?;
            fields.push(zero_padded(b, name, field, valid, self.max_total)?);
        }
        let ones = b.cast("valid_float", valid, DType::F32)?;
        let mut padded = |key, value| zero_padded(b, key, value, valid, self.max_total);
        Ok(Detections {
            boxes: padded("boxes", boxes)?,
            scores: padded("scores", scores)?,
            classes: padded("classes", classes)?,
            origins: Some(Origins {
                anchor_indices: padded("anchor_indices", anchor_indices)?,
                fields,
            }),
            num_detections: b.reduce("num_detections", Reduce::Sum, ones, &[0])?,
        })
    }
}
