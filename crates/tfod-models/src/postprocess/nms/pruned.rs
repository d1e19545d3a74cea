//! The rules of all suppression that neither `use_static_shapes` nor `use_combined_nms` changes: boxes are clipped, those without area and those with scores below
//! 0 dropped. Both are given the score -1, like empty places of the table; what remains are detections.

use tfod_graph::{Builder, Compare, DType, Reduce, Tensor, ValueId};

use super::select::{Candidates, Selection};
use super::{Detections, Image, NonMaxSuppression, Origins, area, zero_padded};
use crate::error::ModelError;
use crate::postprocess::window::clip;

/// Selections, and what is left of them.
struct Table {
    selection: Selection,
    /// `[rows, per_row, 4]`, clipped.
    boxes: ValueId,
    /// `[rows, per_row]`, -1 for what is no detection.
    scores: ValueId,
}

/// From so many scores on, most of the time goes into sorting those that are never selected.
const WORTH_TWO_ROUNDS: u64 = 1 << 15;
/// The first round is about this many times as many anchors as there can be detections.
const FIRST_ROUND: u64 = 10;

impl NonMaxSuppression {
    /// Whether leaving low scores out pays: not where the table cannot fill, and not in soft suppression, which changes scores.
    fn is_worth_two_rounds(self, candidates: Candidates) -> bool {
        let Some(num_anchors) = candidates.num_anchors else {
            return false;
        };
        let places = candidates.rows.saturating_mul(self.limit());
        self.soft_nms_sigma == 0.0
            && places >= self.max_total
            && num_anchors > FIRST_ROUND.saturating_mul(self.max_total)
            && num_anchors.saturating_mul(candidates.rows) >= WORTH_TWO_ROUNDS
    }

    /// The scores without those that cannot become detections, which get the threshold's, and so are not selected.
    ///
    /// A first round selects among high scores only. Where that gives as many detections as there can be, all others have lower scores, and the low
    /// ones need not be looked at. Where not, all scores remain.
    fn high_scores(
        self,
        b: &mut Builder,
        image: Image<'_>,
        candidates: Candidates,
    ) -> Result<ValueId, ModelError> {
        let threshold = b.constant("threshold", Tensor::scalar_f32(self.score_threshold))?;
        let best = b.reduce("best_of_anchors", Reduce::Max, candidates.scores, &[1])?;
        let count = FIRST_ROUND.saturating_mul(self.max_total);
        let [best, _] = b.top_k("best", best, count)?;
        let high = b.slice_last("high", best, count.saturating_sub(1), 1)?;
        let is_high = b.compare("is_high", Compare::Greater, candidates.scores, high)?;
        let scores = b.select("high_scores", is_high, candidates.scores, threshold)?;
        let table = self.table(b, image, scores, candidates)?;
        let zero = b.constant("zero", Tensor::scalar_f32(0.0))?;
        let found = b.compare("found", Compare::GreaterEqual, table.scores, zero)?;
        let found = b.cast("found_float", found, DType::F32)?;
        let found = b.reduce("num_found", Reduce::Sum, found, &[0, 1])?;
        #[expect(clippy::cast_precision_loss, reason = "sizes are at most 2^20")]
        let wanted = b.constant("num_wanted", Tensor::scalar_f32(self.max_total as f32))?;
        let is_enough = b.compare("is_enough", Compare::GreaterEqual, found, wanted)?;
        Ok(b.select("scores", is_enough, scores, candidates.scores)?)
    }

    /// Selects by `scores`, clips, and drops.
    fn table(
        self,
        b: &mut Builder,
        image: Image<'_>,
        scores: ValueId,
        candidates: Candidates,
    ) -> Result<Table, ModelError> {
        let per_row = candidates.at_most(self.limit());
        let selection = self.select(b, image.boxes, scores, per_row)?;
        let boxes = b.gather("selected_boxes", image.boxes, selection.anchors)?;
        let boxes = clip(b, boxes, image.window)?;
        let area = area(b, boxes)?;
        let zero = b.constant("zero", Tensor::scalar_f32(0.0))?;
        let has_area = b.compare("has_area", Compare::Greater, area, zero)?;
        let kept = b.and("kept", selection.filled, has_area)?;
        let none = b.constant("no_score", Tensor::scalar_f32(-1.0))?;
        let scores = b.select("ranked_scores", kept, selection.scores, none)?;
        Ok(Table {
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
        let mut scores = candidates.scores;
        if self.is_worth_two_rounds(candidates) {
            scores = b.scope("first_round", |b| self.high_scores(b, image, candidates))?;
        }
        let table = self.table(b, image, scores, candidates)?;
        let Table {
            selection,
            boxes,
            scores,
        } = table;

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
