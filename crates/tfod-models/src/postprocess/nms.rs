//! Non-max suppression, for each class by itself or for all together, exactly as the reference's `batch_multiclass_non_max_suppression`
//! computes it.
//!
//! The reference handles each class by a dozen operations, then joins, sorts, clips, prunes and sorts again. The same result needs one suppression
//! a class and one sort: all classes' selections are laid side by side in one table `[classes, per_class]`; empty places,
//! boxes that clipping leaves without area and scores below 0 are given the score -1; the best of the table are the detections. Ties keep
//! the order of the table (class, then selection), as in the reference, whose sorts are stable. Class-agnostic suppression is the same with one row: each
//! box counts with its best class.

use tfod_config::protos;
use tfod_graph::{
    Binary, Builder, Compare, DType, Dim, MapInput, NmsAttrs, Reduce, Tensor, ValidateError,
    ValueId,
};

use crate::error::ModelError;
use crate::facts::Suppression;
use crate::fields::{invalid, message, refuse_flag, size};
use crate::postprocess::window::{self, Window};

/// The configuration of the suppression.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NonMaxSuppression {
    iou_threshold: f32,
    score_threshold: f32,
    soft_nms_sigma: f32,
    /// At most this many of one class; `None` where boxes of different classes suppress each other.
    max_per_class: Option<u64>,
    max_total: u64,
    change_coordinate_frame: bool,
}

/// Detections of a batch, best first. Rows after the last detection are zero, but for classes, which are as in `classes`.
#[derive(Clone, Copy, Debug)]
pub struct Detections {
    /// `[batch, max_total, 4]`, clipped to the image.
    pub boxes: ValueId,
    /// `[batch, max_total]`
    pub scores: ValueId,
    /// `[batch, max_total]`, floats, counted from 0.
    pub classes: ValueId,
    /// `[batch, max_total]`, floats: the anchor that each detection comes from.
    pub anchor_indices: ValueId,
    /// `[batch, max_total, class_slots]`: the scores of all classes.
    pub multiclass_scores: ValueId,
    /// `[batch]`, floats: how many detections there are.
    pub num_detections: ValueId,
}

impl NonMaxSuppression {
    /// Reads the message.
    ///
    /// # Errors
    /// For thresholds and limits that the reference refuses, and for kinds of suppression that are not supported.
    pub fn from_config(
        config: Option<&protos::BatchNonMaxSuppression>,
    ) -> Result<Self, ModelError> {
        const FIELD: &str = "model.ssd.post_processing.batch_non_max_suppression";
        const IOU: &str = "model.ssd.post_processing.batch_non_max_suppression.iou_threshold";
        const SIGMA: &str = "model.ssd.post_processing.batch_non_max_suppression.soft_nms_sigma";
        const PER_CLASS: &str =
            "model.ssd.post_processing.batch_non_max_suppression.max_detections_per_class";
        const TOTAL: &str =
            "model.ssd.post_processing.batch_non_max_suppression.max_total_detections";
        const STATIC: &str =
            "model.ssd.post_processing.batch_non_max_suppression.use_static_shapes";
        const CLASSES: &str =
            "model.ssd.post_processing.batch_non_max_suppression.max_classes_per_detection";
        const COMBINED: &str =
            "model.ssd.post_processing.batch_non_max_suppression.use_combined_nms";
        let config = message(FIELD, config)?;
        refuse_flag(STATIC, config.use_static_shapes())?;
        refuse_flag(COMBINED, config.use_combined_nms())?;
        let iou_threshold = config.iou_threshold();
        if !(0.0..=1.0).contains(&iou_threshold) {
            return Err(invalid(IOU, iou_threshold, "0 to 1"));
        }
        let soft_nms_sigma = config.soft_nms_sigma();
        if !(soft_nms_sigma.is_finite() && soft_nms_sigma >= 0.0) {
            return Err(invalid(SIGMA, soft_nms_sigma, "a number of at least 0"));
        }
        if soft_nms_sigma > 0.0 && config.use_hard_nms() {
            return Err(invalid(
                SIGMA,
                soft_nms_sigma,
                "0 where use_hard_nms is true",
            ));
        }
        let max_total = size(TOTAL, config.max_total_detections(), 1)?;
        let max_per_class = size(PER_CLASS, config.max_detections_per_class(), 1)?;
        if max_per_class > max_total {
            let expected = format!("at most max_total_detections ({max_total})");
            return Err(invalid(PER_CLASS, max_per_class, expected));
        }
        let is_agnostic = config.use_class_agnostic_nms();
        if is_agnostic && config.max_classes_per_detection() > 1 {
            let given = config.max_classes_per_detection();
            return Err(invalid(
                CLASSES,
                given,
                "1 where use_class_agnostic_nms is true",
            ));
        }
        Ok(Self {
            iou_threshold,
            score_threshold: config.score_threshold(),
            soft_nms_sigma,
            max_per_class: (!is_agnostic).then_some(max_per_class),
            max_total,
            change_coordinate_frame: config.change_coordinate_frame(),
        })
    }

    /// What users need to know of it.
    pub fn facts(self) -> Suppression {
        Suppression {
            score_threshold: self.score_threshold,
            iou_threshold: self.iou_threshold,
            max_detections_per_class: self.max_per_class,
            max_total_detections: self.max_total,
            soft_nms_sigma: self.soft_nms_sigma,
        }
    }

    /// Suppresses boxes `[batch, num_anchors, 4]`, in coordinates of which the network's input is the unit square, by `scores`
    /// `[batch, num_anchors, classes]` (no background). `window` is the part of the input that is not padding; by default all of it.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub fn build(
        self,
        b: &mut Builder,
        boxes: ValueId,
        scores: ValueId,
        multiclass_scores: ValueId,
        window: Option<Window>,
    ) -> Result<Detections, ModelError> {
        let mut inputs = [boxes, scores, multiclass_scores]
            .map(|value| (value, MapInput::Sliced))
            .to_vec();
        inputs.extend(window.map(|Window(extents)| (extents, MapInput::Whole)));
        let results = b.map::<ModelError>("per_image", &inputs, |b, args| match *args {
            [boxes, scores, multiclass_scores, ref window @ ..] => {
                let window = window.first().copied().map(Window);
                self.one_image(b, boxes, scores, multiclass_scores, window)
            }
            _ => Err(ModelError::Inconsistent("three inputs are passed".into())),
        })?;
        match *results.as_slice() {
            [
                boxes,
                scores,
                classes,
                anchor_indices,
                multiclass_scores,
                num_detections,
            ] => Ok(Detections {
                boxes,
                scores,
                classes,
                anchor_indices,
                multiclass_scores,
                num_detections,
            }),
            _ => Err(ModelError::Inconsistent("six results are declared".into())),
        }
    }

    fn one_image(
        self,
        b: &mut Builder,
        boxes: ValueId,
        scores: ValueId,
        multiclass_scores: ValueId,
        window: Option<Window>,
    ) -> Result<(), ModelError> {
        let known =
            |b: &Builder, axis: usize| b.shape(scores).dims().get(axis).and_then(Dim::known);
        let Some(classes) = known(b, 1) else {
            let text = "non-max suppression over an unknown number of classes".to_owned();
            return Err(ModelError::Inconsistent(text));
        };
        // Of an unknown number of anchors more may be asked for than there are: rows are filled up.
        let anchors = known(b, 0).unwrap_or(u64::MAX);
        let (table, rows, best_class) = if let Some(limit) = self.max_per_class {
            let per_row = limit.min(anchors);
            let rows = b.unstack("scores_by_class", scores, 1)?;
            let table = Table {
                rows: classes,
                per_row,
            };
            (table, rows, None)
        } else {
            let per_row = self.max_total.min(anchors);
            let [best, class] = b.top_k("best_class", scores, 1)?;
            let flat: Vec<Dim> = b.shape(scores).dims().iter().take(1).cloned().collect();
            let best = b.reshape("best_class_scores", best, &flat)?;
            let class = b.reshape("best_classes", class, &flat)?;
            (Table { rows: 1, per_row }, vec![best], Some(class))
        };
        let selected = self.select(b, boxes, &rows, table, window)?;
        let kept = self.max_total.min(table.places());
        let [best, places] = b.top_k("best", selected.scores, kept)?;
        let zero = b.constant("zero", Tensor::scalar_f32(0.0))?;
        let valid = b.compare("valid", Compare::GreaterEqual, best, zero)?;
        let anchor = b.gather("anchors", selected.anchors, places)?;
        let mut box_rows = b.gather("boxes", selected.boxes, places)?;
        if let Some(window) = window.filter(|_| self.change_coordinate_frame) {
            box_rows = window.relative(b, box_rows)?;
        }
        let multiclass = b.gather("multiclass_scores", multiclass_scores, anchor)?;
        let class = if let Some(best_class) = best_class {
            b.gather("classes", best_class, anchor)?
        } else {
            let per_row = b.constant("per_class", Tensor::scalar_i32(as_i32(table.per_row)))?;
            b.binary("classes", Binary::FloorDiv, places, per_row)?
        };
        let class = b.cast("classes_float", class, DType::F32)?;
        let anchor = b.cast("anchors_float", anchor, DType::F32)?;

        for (key, value) in [
            ("boxes", box_rows),
            ("scores", best),
            ("classes", class),
            ("anchor_indices", anchor),
            ("multiclass_scores", multiclass),
        ] {
            let padded = b.scope::<_, ValidateError>(&format!("padded_{key}"), |b| {
                let mut dims = vec![Dim::Known(1); b.shape(value).rank()];
                dims[0] = kept.into();
                let mask = b.reshape("mask", valid, &dims)?;
                let masked = b.select("masked", mask, value, zero)?;
                let mut paddings = vec![(0, 0); dims.len()];
                paddings[0].1 = self.max_total - kept;
                if paddings[0].1 == 0 {
                    return Ok(masked);
                }
                b.pad("pad", masked, &paddings)
            })?;
            b.output(key, padded);
        }
        let ones = b.cast("valid_float", valid, DType::F32)?;
        let count = b.reduce("num_detections", Reduce::Sum, ones, &[0])?;
        b.output("num_detections", count);
        Ok(())
    }

    /// Suppression by each of the scores; the results in one table, flat.
    fn select(
        self,
        b: &mut Builder,
        boxes: ValueId,
        rows: &[ValueId],
        table: Table,
        window: Option<Window>,
    ) -> Result<Selected, ModelError> {
        let attrs = NmsAttrs {
            max_output_size: table.per_row,
            iou_threshold: self.iou_threshold,
            score_threshold: self.score_threshold,
            soft_nms_sigma: self.soft_nms_sigma,
        };
        let mut columns = [const { Vec::new() }; 3];
        for (row, scores) in rows.iter().enumerate() {
            let name = format!("class_{row}");
            let results = b.non_max_suppression(&name, boxes, *scores, attrs)?;
            for (column, result) in columns.iter_mut().zip(results) {
                column.push(result);
            }
        }
        let [indices, scores, counts] = columns;
        let anchors = b.stack("selected", 0, &indices)?;
        let scores = b.stack("selected_scores", 0, &scores)?;
        let counts = b.stack("selected_counts", 0, &counts)?;

        let counts = b.reshape("counts_column", counts, &[table.rows.into(), 1.into()])?;
        let slots: Vec<i32> = (0..as_i32(table.per_row)).collect();
        let slots = Tensor::i32(&[table.per_row], &slots).unwrap_or_else(|| Tensor::scalar_i32(0));
        let slots = b.constant("slots", slots)?;
        let filled = b.compare("filled", Compare::Less, slots, counts)?;

        let boxes = b.gather("selected_boxes", boxes, anchors)?;
        let boxes = window::clip(b, boxes, window)?;
        let low = b.slice_last("low_corners", boxes, 0, 2)?;
        let high = b.slice_last("high_corners", boxes, 2, 2)?;
        let sides = b.binary("sides", Binary::Sub, high, low)?;
        let sides = b.unstack("sides_split", sides, 2)?;
        let area = b.binary("area", Binary::Mul, sides[0], sides[1])?;
        let zero = b.constant("zero", Tensor::scalar_f32(0.0))?;
        let has_area = b.compare("has_area", Compare::Greater, area, zero)?;
        let kept = b.and("kept", filled, has_area)?;
        let none = b.constant("no_score", Tensor::scalar_f32(-1.0))?;
        let scores = b.select("ranked_scores", kept, scores, none)?;

        let places = Dim::Known(table.places());
        Ok(Selected {
            anchors: b.reshape("flat_anchors", anchors, std::slice::from_ref(&places))?,
            scores: b.reshape("flat_scores", scores, std::slice::from_ref(&places))?,
            boxes: b.reshape("flat_boxes", boxes, &[places, 4.into()])?,
        })
    }
}

/// The table of selections: one row a class, or a single one for all.
#[derive(Clone, Copy)]
struct Table {
    rows: u64,
    per_row: u64,
}

impl Table {
    fn places(self) -> u64 {
        self.rows * self.per_row
    }
}

/// The table's contents, row by row.
struct Selected {
    /// `[places]`: anchor indices.
    anchors: ValueId,
    /// `[places]`: scores, -1 where there is no detection.
    scores: ValueId,
    /// `[places, 4]`: clipped boxes.
    boxes: ValueId,
}

/// Sizes are checked to be far below the limit.
fn as_i32(n: u64) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}
