//! The rules of `use_static_shapes`, made for accelerators: every class fills all its places, and what is no detection is ranked last, with the score -1, but otherwise left as it
//! is. So rows after the last detection show where the reference's algorithm points to in empty places:
//!
//! - `tf.image.non_max_suppression_padded`: to anchor 0;
//! - partitioned suppression (`use_partitioned_nms`), which sorts boxes and scores before it selects: to the last one in this order. It leaves the other fields unsorted,
//!   and takes them at the places of the sorted boxes: anchor indices are ranks.
//!
//! Both suppress a box whose intersection over union *is* the threshold, and select no box of which no coordinate is above 0. They add 1e-8 to the union, which matters
//! only where an overlap is this close to the threshold; that is not reproduced.

use tfod_graph::{Binary, Builder, Compare, DType, Dim, Reduce, Tensor, ValueId};

use super::select::{Selection, Table};
use super::{Detections, Image, NonMaxSuppression, Origins, area, as_i32};
use crate::error::ModelError;
use crate::fields::size_unknown;
use crate::postprocess::window::clip;

/// Partitioned suppression works through boxes in tiles of this many, and has no more places than these.
const TILE: u64 = 512;
/// Of more places than this the empty ones are not told apart.
const MOST_COUNTED: u64 = 1 << 20;

/// What the places of a table point to.
struct Sources {
    /// `[rows, per_row]`: anchors whose boxes and classes are shown.
    boxes: ValueId,
    /// `[rows, per_row]`: anchors whose fields are shown, which is also what they are called.
    fields: ValueId,
    /// `[rows, per_row]`, booleans: whether there is a box at all; the reference has blotted out those of low scores. `None` where all are shown.
    shown: Option<ValueId>,
}

impl NonMaxSuppression {
    pub(super) fn padded(
        self,
        b: &mut Builder,
        image: Image<'_>,
        partitioned: bool,
    ) -> Result<Detections, ModelError> {
        let candidates = self.candidates(b, image)?;
        let scores = self.selectable(b, candidates)?;
        let selection = self.select(b, candidates, scores, self.limit())?;
        let sources = if partitioned {
            b.scope("partitioned", |b| self.by_rank(b, candidates, selection))?
        } else {
            Sources {
                boxes: selection.anchors,
                fields: selection.anchors,
                shown: None,
            }
        };

        // Sorted twice, as in the reference, because ties of the second order are in that of the first.
        let none = b.constant("no_score", Tensor::scalar_f32(-1.0))?;
        let zero = b.constant("zero", Tensor::scalar_f32(0.0))?;
        let [last_of_rows, last] = self.last_places(b, candidates.rows, selection)?;
        let scores = b.select("scores", selection.filled, selection.scores, last_of_rows)?;
        let scores = selection.flat(b, "flat_scores", scores)?;
        let [scores, sorted] = b.top_k("sorted", scores, selection.places())?;
        let box_anchors = selection.flat(b, "flat_anchors", sources.boxes)?;
        let box_anchors = b.gather("sorted_anchors", box_anchors, sorted)?;
        let mut boxes =
            candidates.sorted_boxes(b, selection, sources.boxes, [box_anchors, sorted])?;
        if let Some(shown) = sources.shown {
            let shown = selection.flat(b, "flat_shown", shown)?;
            let shown = b.gather("sorted_shown", shown, sorted)?;
            let column = [selection.places().into(), Dim::Known(1)];
            let shown = b.reshape("shown_column", shown, &column)?;
            boxes = b.select("shown_boxes", shown, boxes, none)?;
        }
        let boxes = clip(b, boxes, image.window)?;
        let area = area(b, boxes)?;
        let mut is_any = b.cast("has_area", area, DType::Bool)?;
        if self.tells_empty_apart(selection) {
            // Empty places, which count by where they were before, are ranked among the others that are no detections.
            let is_selected = b.compare("is_selected", Compare::Greater, scores, none)?;
            is_any = b.and("is_any", is_any, is_selected)?;
        }
        let scores = b.select("ranked_scores", is_any, scores, last)?;
        let valid = b.compare("valid", Compare::GreaterEqual, scores, zero)?;
        let valid = b.cast("valid_float", valid, DType::F32)?;
        let count = b.reduce("valid_count", Reduce::Sum, valid, &[0])?;

        let kept = self.max_total.min(selection.places());
        #[expect(clippy::cast_precision_loss, reason = "sizes are at most 2^20")]
        let num_detections =
            b.binary_scalar("num_detections", Binary::Minimum, count, kept as f32)?;
        let [mut scores, best] = b.top_k("best", scores, kept)?;
        if self.tells_empty_apart(selection) {
            scores = b.binary("best_scores", Binary::Maximum, scores, none)?;
        }
        let places = b.gather("places", sorted, best)?;
        let box_anchors = b.gather("box_anchors", box_anchors, best)?;
        let field_anchors = selection.flat(b, "flat_field_anchors", sources.fields)?;
        let field_anchors = b.gather("field_anchors", field_anchors, places)?;
        let mut fields = Vec::with_capacity(image.fields.len());
        for (name, field) in image.fields {
            let field = b.gather(name, *field, field_anchors)?;
            fields.push(self.framed_field(b, name, field, image.window)?);
        }
        let boxes = b.gather("boxes", boxes, best)?;
        Ok(Detections {
            boxes: self.framed(b, boxes, image.window)?,
            scores,
            classes: candidates.classes(b, selection, places, box_anchors)?,
            num_detections,
            origins: Some(Origins {
                anchor_indices: b.cast("anchors_float", field_anchors, DType::F32)?,
                fields,
            }),
        })
    }

    /// Whether no selection has a lower score than empty places, of which there are not too many to be counted.
    fn tells_empty_apart(self, selection: Selection) -> bool {
        self.score_threshold >= -1.0 && selection.places() <= MOST_COUNTED
    }

    /// What empty places of the table count, `[rows, per_row]`, and places of the sorted one that are no detections, `[places]`: not -1 all of them, but one less
    /// than those before, because not every runtime keeps equal scores in their order.
    fn last_places(
        self,
        b: &mut Builder,
        rows: u64,
        selection: Selection,
    ) -> Result<[ValueId; 2], ModelError> {
        if !self.tells_empty_apart(selection) {
            let none = b.constant("no_score", Tensor::scalar_f32(-1.0))?;
            return Ok([none; 2]);
        }
        let count = as_i32(selection.places());
        #[expect(clippy::cast_precision_loss, reason = "whole numbers below 2^24")]
        let scores: Vec<f32> = (0..count).map(|place| -1.0 - place as f32).collect();
        let mut table = |name: &str, sizes: &[u64]| {
            let table = Tensor::f32(sizes, &scores)
                .ok_or_else(|| ModelError::Inconsistent("a score for each place".into()))?;
            Ok::<_, ModelError>(b.constant(name, table)?)
        };
        Ok([
            table("scores_of_empty", &[rows, selection.per_row])?,
            table("scores_of_others", &[selection.places()])?,
        ])
    }

    /// Scores `[num_anchors, rows]` that do not pass the threshold where a box has no coordinate above 0.
    fn selectable(self, b: &mut Builder, candidates: Table) -> Result<ValueId, ModelError> {
        let Table { boxes, scores, .. } = candidates;
        let coordinates = b.shape(boxes).rank().saturating_sub(1);
        let mut largest = b.reduce("largest_coordinates", Reduce::Max, boxes, &[coordinates])?;
        if let [anchors] = b.shape(largest).dims() {
            let column = [anchors.clone(), 1.into()];
            largest = b.reshape("largest_column", largest, &column)?;
        }
        let zero = b.constant("zero", Tensor::scalar_f32(0.0))?;
        let selectable = b.compare("selectable", Compare::Greater, largest, zero)?;
        let low = b.constant("low_score", Tensor::scalar_f32(self.score_threshold))?;
        Ok(b.select("selectable_scores", selectable, scores, low)?)
    }

    /// What partitioned suppression points to.
    fn by_rank(
        self,
        b: &mut Builder,
        candidates: Table,
        selection: Selection,
    ) -> Result<Sources, ModelError> {
        let rows = candidates.rows;
        let Some(num_anchors) = candidates.num_anchors else {
            return Err(size_unknown(self.path.child("use_partitioned_nms"), "true"));
        };
        if self.limit() > num_anchors.next_multiple_of(TILE) {
            return Err(ModelError::Inconsistent(format!(
                "`use_partitioned_nms` cannot select {} of {num_anchors} boxes; \
                 lower max_detections_per_class, or max_total_detections where use_class_agnostic_nms is true",
                self.limit()
            )));
        }
        let by_anchor = b.unstack("columns", candidates.scores, 1)?;
        let by_anchor = b.stack("rows", 0, &by_anchor)?;
        let [sorted, order] = b.top_k("sorted", by_anchor, num_anchors)?;
        // The ranks are the inverse of the order: the positions of 0, 1, 2… in it.
        let ascending = b.cast("order_float", order, DType::F32)?;
        let ascending = b.binary_scalar("descending", Binary::Mul, ascending, -1.0)?;
        let [_, ranks] = b.top_k("ranks", ascending, num_anchors)?;

        let starts: Vec<i32> = (0..rows).map(|row| as_i32(row * num_anchors)).collect();
        let starts = Tensor::i32(&[rows, 1], &starts).unwrap_or_else(|| Tensor::scalar_i32(0));
        let starts = b.constant("row_starts", starts)?;
        let flat = b.reshape("flat_ranks", ranks, &[(rows * num_anchors).into()])?;
        let places = b.binary("places", Binary::Add, selection.anchors, starts)?;
        let ranks = b.gather("selected_ranks", flat, places)?;

        let last = num_anchors - 1;
        let last_anchor = b.slice_last("last_anchors", order, last, 1)?;
        let last_score = b.slice_last("last_scores", sorted, last, 1)?;
        let last_rank = b.constant("last_rank", Tensor::scalar_i32(as_i32(last)))?;
        let filled = selection.filled;
        let threshold = b.constant("low_score", Tensor::scalar_f32(self.score_threshold))?;
        let scores = b.select("scores", filled, selection.scores, last_score)?;
        Ok(Sources {
            boxes: b.select("anchors", filled, selection.anchors, last_anchor)?,
            fields: b.select("fields", filled, ranks, last_rank)?,
            shown: Some(b.compare("shown", Compare::Greater, scores, threshold)?),
        })
    }
}
