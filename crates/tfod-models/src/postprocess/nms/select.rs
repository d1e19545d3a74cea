//! Greedy selection, for each class by itself or for all together: the selections in one table, a row for each class. Class-agnostic suppression is the same
//! with a single row: each box counts with its best class.

use tfod_graph::{Binary, Builder, Compare, DType, Dim, NmsAttrs, SoftNmsAttrs, Tensor, ValueId};

use super::{Image, NonMaxSuppression, as_i32};
use crate::error::ModelError;

/// What is selected from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    /// `[num_anchors, 4]`, or `[num_anchors, rows, 4]` where each row has boxes of its own.
    pub(super) boxes: ValueId,
    /// `[num_anchors, rows]`: the scores by which each row of the table selects.
    pub(super) scores: ValueId,
    /// Where it is known.
    pub(super) num_anchors: Option<u64>,
    pub(super) rows: u64,
    /// `[num_anchors]`, `i32`: each box's class, where it counts with its best one only.
    best_class: Option<ValueId>,
}

/// The table of selections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Selection {
    rows: u64,
    pub(super) per_row: u64,
    /// `[rows, per_row]`: indices of anchors, 0 in empty places.
    pub(super) anchors: ValueId,
    /// `[rows, per_row]`: scores, in soft suppression as they have become; anything in empty places.
    pub(super) scores: ValueId,
    /// `[rows, per_row]`, booleans: whether there is a selection in this place.
    pub(super) filled: ValueId,
}

impl Selection {
    /// How many places the table has.
    pub(super) fn places(self) -> u64 {
        self.rows * self.per_row
    }

    /// A value `[rows, per_row, ...]` with all places in one dimension, row by row.
    pub(super) fn flat(
        self,
        b: &mut Builder,
        name: &str,
        value: ValueId,
    ) -> Result<ValueId, ModelError> {
        let rest = b.shape(value).dims().iter().skip(2).cloned();
        let dims: Vec<Dim> = [self.places().into()].into_iter().chain(rest).collect();
        Ok(b.reshape(name, value, &dims)?)
    }
}

impl Table {
    /// Whether each row has boxes of its own.
    fn has_boxes_by_row(self, b: &Builder) -> bool {
        b.shape(self.boxes).rank() == 3
    }

    /// The boxes that each row selects among, `[num_anchors, 4]`.
    fn boxes_of_rows(self, b: &mut Builder) -> Result<Vec<ValueId>, ModelError> {
        if self.has_boxes_by_row(b) {
            return Ok(b.unstack("boxes_by_class", self.boxes, 1)?);
        }
        let rows = usize::try_from(self.rows).unwrap_or(usize::MAX);
        Ok(std::iter::repeat_n(self.boxes, rows).collect())
    }

    /// The boxes at anchors `[rows, per_row]`, `[rows, per_row, 4]`.
    pub(super) fn boxes_at(
        self,
        b: &mut Builder,
        name: &str,
        anchors: ValueId,
    ) -> Result<ValueId, ModelError> {
        if !self.has_boxes_by_row(b) {
            return Ok(b.gather(name, self.boxes, anchors)?);
        }
        b.scope(&format!("{name}_by_class"), |b| {
            self.at(b, name, self.boxes, anchors)
        })
    }

    /// The boxes of all places of the table, in another order: `sorted` are the anchors and the places in it, and `anchors` the anchors of the table
    /// itself, `[rows, per_row]`.
    pub(super) fn sorted_boxes(
        self,
        b: &mut Builder,
        selection: Selection,
        anchors: ValueId,
        [sorted_anchors, sorted_places]: [ValueId; 2],
    ) -> Result<ValueId, ModelError> {
        if !self.has_boxes_by_row(b) {
            return Ok(b.gather("sorted_boxes", self.boxes, sorted_anchors)?);
        }
        let boxes = self.boxes_at(b, "boxes", anchors)?;
        let boxes = selection.flat(b, "flat_boxes", boxes)?;
        Ok(b.gather("sorted_boxes", boxes, sorted_places)?)
    }

    /// The elements at anchors `[rows, per_row]` of a value that each row has its own of: from `[num_anchors, rows, ...]`, row after row.
    fn at(
        self,
        b: &mut Builder,
        name: &str,
        value: ValueId,
        anchors: ValueId,
    ) -> Result<ValueId, ModelError> {
        let rows = self.rows;
        let dims = b.shape(value).dims();
        let size = Dim::product(dims.iter().take(2)).ok_or_else(|| {
            ModelError::Inconsistent("scores of fewer anchors and classes".to_owned())
        })?;
        let flat: Vec<Dim> = [size]
            .into_iter()
            .chain(dims.iter().skip(2).cloned())
            .collect();
        let flat = b.reshape("all_scores", value, &flat)?;
        let count = b.constant("num_rows", Tensor::scalar_i32(as_i32(rows)))?;
        let starts = b.binary("anchor_starts", Binary::Mul, anchors, count)?;
        let row: Vec<i32> = (0..as_i32(rows)).collect();
        let row = Tensor::i32(&[rows, 1], &row).unwrap_or_else(|| Tensor::scalar_i32(0));
        let row = b.constant("row", row)?;
        let places = b.binary("score_places", Binary::Add, starts, row)?;
        Ok(b.gather(name, flat, places)?)
    }

    /// How many of at most `limit` a row can have. Of an unknown number of anchors there may be fewer: rows are filled up.
    pub(super) fn at_most(self, limit: u64) -> u64 {
        self.num_anchors.map_or(limit, |n| limit.min(n))
    }

    /// The classes of selections, as floats, by their places in the table and their anchors.
    pub(super) fn classes(
        self,
        b: &mut Builder,
        selection: Selection,
        places: ValueId,
        anchors: ValueId,
    ) -> Result<ValueId, ModelError> {
        let class = if let Some(best_class) = self.best_class {
            b.gather("classes", best_class, anchors)?
        } else {
            let per_row = Tensor::scalar_i32(as_i32(selection.per_row));
            let per_row = b.constant("per_class", per_row)?;
            b.binary("classes", Binary::FloorDiv, places, per_row)?
        };
        Ok(b.cast("classes_float", class, DType::F32)?)
    }
}

impl NonMaxSuppression {
    /// What selection starts from.
    pub(super) fn candidates(self, b: &mut Builder, image: Image<'_>) -> Result<Table, ModelError> {
        let dims = b.shape(image.scores).dims();
        let [anchors, Dim::Known(classes)] = dims else {
            let text = "non-max suppression over an unknown number of classes";
            return Err(ModelError::Inconsistent(text.to_owned()));
        };
        let (flat, num_anchors, classes) = ([anchors.clone()], anchors.known(), *classes);
        if self.max_per_class.is_some() {
            return Ok(Table {
                boxes: image.boxes,
                scores: self.above_thresholds(b, image, image.scores, None)?,
                num_anchors,
                rows: classes,
                best_class: None,
            });
        }
        let [scores, class] = b.top_k("best_class", image.scores, 1)?;
        let scores = self.above_thresholds(b, image, scores, Some(class))?;
        let best_class = b.reshape("best_classes", class, &flat)?;
        let mut boxes = image.boxes;
        if b.shape(boxes).rank() == 3 {
            boxes = b.scope("boxes_of_best_classes", |b| {
                of_classes(b, boxes, best_class, classes)
            })?;
        }
        Ok(Table {
            boxes,
            scores,
            num_anchors,
            rows: 1,
            best_class: Some(best_class),
        })
    }

    /// Scores `[num_anchors, rows]`, with the suppression's threshold, which selects nothing, for those that do not pass the one of their class: the row, or the
    /// best class of each box.
    fn above_thresholds(
        self,
        b: &mut Builder,
        image: Image<'_>,
        scores: ValueId,
        best_class: Option<ValueId>,
    ) -> Result<ValueId, ModelError> {
        let Some(thresholds) = image.thresholds else {
            return Ok(scores);
        };
        b.scope("class_thresholds", |b| {
            let table = table(b, thresholds)?;
            let least = match best_class {
                Some(class) => b.gather("of_best_classes", table, class)?,
                None => table,
            };
            let passes = b.compare("passes", Compare::Greater, scores, least)?;
            let low = b.constant("low_score", Tensor::scalar_f32(self.score_threshold))?;
            Ok(b.select("scores", passes, scores, low)?)
        })
    }

    /// The table without selections whose scores soft suppression has brought to the threshold of their class or below; they come last in their rows, so nothing else
    /// changes.
    pub(super) fn without_decayed(
        self,
        b: &mut Builder,
        image: Image<'_>,
        candidates: Table,
        selection: Selection,
    ) -> Result<Selection, ModelError> {
        let Some(thresholds) = image.thresholds.filter(|_| self.soft_nms_sigma > 0.0) else {
            return Ok(selection);
        };
        let filled = b.scope::<_, ModelError>("decayed", |b| {
            let table = table(b, thresholds)?;
            let least = match candidates.best_class {
                Some(best_class) => {
                    let class = b.gather("selected_classes", best_class, selection.anchors)?;
                    b.gather("of_selected_classes", table, class)?
                }
                None => b.reshape("of_rows", table, &[selection.rows.into(), 1.into()])?,
            };
            let passes = b.compare("passes", Compare::Greater, selection.scores, least)?;
            Ok(b.and("filled", selection.filled, passes)?)
        })?;
        Ok(Selection {
            filled,
            ..selection
        })
    }

    /// How many boxes each row of the table may have.
    pub(super) fn limit(self) -> u64 {
        self.max_per_class.unwrap_or(self.max_total)
    }

    /// Selects among the boxes of a table by each column of `scores`, `[num_anchors, rows]`, `per_row` in a row.
    pub(super) fn select(
        self,
        b: &mut Builder,
        candidates: Table,
        scores: ValueId,
        per_row: u64,
    ) -> Result<Selection, ModelError> {
        let columns = b.unstack("scores_by_class", scores, 1)?;
        let rows = columns.len() as u64;
        let boxes = candidates.boxes_of_rows(b)?;
        let mut results = [const { Vec::new() }; 3];
        for (row, (scores, boxes)) in columns.into_iter().zip(boxes).enumerate() {
            let name = format!("class_{row}");
            let selected = self.select_one(b, &name, boxes, scores, per_row)?;
            for (list, result) in results.iter_mut().zip(selected) {
                list.extend(result);
            }
        }
        let [indices, decayed, counts] = results;
        let anchors = b.stack("selected", 0, &indices)?;
        let scores = if decayed.is_empty() {
            candidates.at(b, "selected_scores", scores, anchors)?
        } else {
            b.stack("selected_scores", 0, &decayed)?
        };
        let counts = b.stack("selected_counts", 0, &counts)?;

        let counts = b.reshape("counts_column", counts, &[rows.into(), 1.into()])?;
        let slots: Vec<i32> = (0..as_i32(per_row)).collect();
        let slots = Tensor::i32(&[per_row], &slots).unwrap_or_else(|| Tensor::scalar_i32(0));
        let slots = b.constant("slots", slots)?;
        let filled = b.compare("filled", Compare::Less, slots, counts)?;
        Ok(Selection {
            rows,
            per_row,
            anchors,
            scores,
            filled,
        })
    }

    /// Selects by one column: indices of anchors, their scores where these have changed, and how many there are.
    fn select_one(
        self,
        b: &mut Builder,
        name: &str,
        boxes: ValueId,
        scores: ValueId,
        max_output_size: u64,
    ) -> Result<[Option<ValueId>; 3], ModelError> {
        let score_threshold = self.score_threshold;
        if self.soft_nms_sigma > 0.0 {
            let attrs = SoftNmsAttrs {
                max_output_size,
                score_threshold,
                sigma: self.soft_nms_sigma,
            };
            let selected = b.soft_non_max_suppression(name, boxes, scores, attrs)?;
            return Ok(selected.map(Some));
        }
        let attrs = NmsAttrs {
            max_output_size,
            iou_threshold: self.suppression_threshold(),
            score_threshold,
        };
        let [indices, count] = b.non_max_suppression(name, boxes, scores, attrs)?;
        Ok([Some(indices), None, Some(count)])
    }
}

/// Boxes `[num_anchors, 4]`, of one class each: from `[num_anchors, classes, 4]`.
fn of_classes(
    b: &mut Builder,
    boxes: ValueId,
    class: ValueId,
    classes: u64,
) -> Result<ValueId, ModelError> {
    let dims = b.shape(boxes).dims();
    let Some(Dim::Known(num_anchors)) = dims.first().cloned() else {
        let text = "boxes for each class of an unknown number of anchors";
        return Err(ModelError::Inconsistent(text.to_owned()));
    };
    let flat = b.reshape("flat", boxes, &[(num_anchors * classes).into(), 4.into()])?;
    let starts: Vec<i32> = (0..as_i32(num_anchors))
        .map(|anchor| anchor.saturating_mul(as_i32(classes)))
        .collect();
    let starts = Tensor::i32(&[num_anchors], &starts)
        .ok_or_else(|| ModelError::Inconsistent("boxes without a number".into()))?;
    let starts = b.constant("starts", starts)?;
    let places = b.binary("places", Binary::Add, class, starts)?;
    Ok(b.gather("boxes", flat, places)?)
}

/// The threshold of each class.
fn table(b: &mut Builder, thresholds: &[f32]) -> Result<ValueId, ModelError> {
    let table = Tensor::f32(&[thresholds.len() as u64], thresholds)
        .ok_or_else(|| ModelError::Inconsistent("a threshold for each class".into()))?;
    Ok(b.constant("of_classes", table)?)
}
