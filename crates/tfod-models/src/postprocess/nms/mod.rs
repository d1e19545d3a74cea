//! Non-max suppression, exactly as the reference's `batch_multiclass_non_max_suppression` computes it: for each class by itself or for all together
//! ([`select`]), and with one of three sets of rules for what becomes of the selected boxes.
//!
//! | rules | in the configuration | boxes that clipping leaves without area | rows after the last detection |
//! | --- | --- | --- | --- |
//! | [`pruned`] | none of the following | dropped | zeros |
//! | [`padded`] | `use_static_shapes` | ranked last | whatever was ranked there, with the score -1 |
//! | [`combined`] | `use_combined_nms` | kept | zeros |
//!
//! The reference handles each class by a dozen operations, then joins and sorts. The same result needs one suppression a class: all classes' selections are
//! laid side by side in one table `[classes, per_class]`, and the best of the table are the detections. Ties keep the order of the table (class, then
//! selection), as in the reference, whose sorts are stable.

mod combined;
mod padded;
mod pruned;
mod rounds;
mod select;

use tfod_config::protos;
use tfod_graph::{Binary, Builder, Compare, Dim, MapInput, Tensor, ValidateError, ValueId};

use crate::error::ModelError;
use crate::facts::Suppression;
use crate::fields::{FieldPath, Message, invalid, invalid_option, size};
use crate::options::{ClassThreshold, GraphOption};
use crate::postprocess::NoEnding;
use crate::postprocess::window::ClipWindow;

/// The field of points, `[batch, num_anchors, num_keypoints, 2]`, which move with the boxes.
pub const KEYPOINTS: &str = "keypoints";

/// Suppression by class takes some nodes a class, and the graph has a limit of them: for more classes than this, it is refused. ImageNet has 21,841.
const MAX_SUPPRESSED_CLASSES: u64 = 1 << 15;

/// The most places of a table of boxes and classes.
const MOST_PLACES: u64 = i32::MAX as u64;

/// What happens to selected boxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rules {
    Pruned,
    Padded {
        /// `use_partitioned_nms`
        partitioned: bool,
    },
    Combined {
        /// No more rows than the classes can fill (`use_static_shapes`).
        pad_per_class: bool,
    },
}

/// The configuration of the suppression.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NonMaxSuppression {
    iou_threshold: f32,
    score_threshold: f32,
    soft_nms_sigma: f32,
    /// At most this many of one class; `None` where boxes of different classes suppress each other.
    max_per_class: Option<u64>,
    max_total: u64,
    /// Whether detections are relative to the window, not to the network's input.
    change_coordinate_frame: bool,
    rules: Rules,
    /// Where it stands in the configuration.
    path: FieldPath,
}

/// Detections, best first: of a batch, or of one image, without the leading dimension. There are `rows` of them: `max_total_detections`, or no more
/// than all classes can fill where the configuration has `use_static_shapes`.
#[derive(Clone, Debug)]
pub struct Detections {
    /// `[batch, rows, 4]`, clipped to the image.
    pub boxes: ValueId,
    /// `[batch, rows]`
    pub scores: ValueId,
    /// `[batch, rows]`, floats, counted from 0.
    pub classes: ValueId,
    /// `[batch]`, floats: how many detections there are.
    pub num_detections: ValueId,
    /// Where detections come from; combined suppression does not say.
    pub origins: Option<Origins>,
}

/// Where detections come from.
#[derive(Clone, Debug)]
pub struct Origins {
    /// `[batch, rows]`, floats: the anchor of each detection.
    pub anchor_indices: ValueId,
    /// `[batch, rows, ...]`: each of the fields given, at these anchors.
    pub fields: Vec<ValueId>,
}

/// What is suppressed, of a batch of images. Boxes and window are in the same units.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    /// `[batch, num_anchors, 4]`, or `[batch, num_anchors, classes, 4]` where each class has a box of its own.
    pub boxes: ValueId,
    /// `[batch, num_anchors, classes]`, without the background.
    pub scores: ValueId,
    /// What belongs to the boxes, `[batch, num_anchors, ...]` each, by names for the graph's nodes.
    pub fields: &'a [(&'static str, ValueId)],
    /// The part of the network's input that is not padding; by default the unit square.
    pub window: Option<ClipWindow>,
    /// How many of the boxes of each image are any, `[batch]` (`i32`); the others come last. By default all.
    pub count: Option<ValueId>,
}

/// One image as the rules see it.
#[derive(Clone, Copy, Debug)]
struct Image<'a> {
    /// `[num_anchors, 4]`, or `[num_anchors, classes, 4]`.
    boxes: ValueId,
    /// `[num_anchors, classes]`
    scores: ValueId,
    /// `[num_anchors, ...]` each, by name.
    fields: &'a [(&'static str, ValueId)],
    /// The part of the network's input that is not padding; by default all of it.
    window: Option<ClipWindow>,
    /// The score threshold of each class, where classes have their own; the suppression's is then the lowest of them.
    thresholds: Option<&'a [f32]>,
}

/// What suppression has to know of classes.
#[derive(Clone, Copy, Debug)]
pub struct Classes<'a> {
    /// The field that says how many there are.
    pub field: FieldPath,
    /// Those that have score thresholds of their own.
    pub thresholds: &'a [ClassThreshold],
}

impl NonMaxSuppression {
    /// Reads the message. `use_cpu_nms` says where the reference computes, not what.
    ///
    /// # Errors
    /// For thresholds, limits and combinations that the reference refuses, or in which it does not suppress sensibly.
    pub fn from_config(
        config: Message<'_, protos::BatchNonMaxSuppression>,
    ) -> Result<Self, ModelError> {
        let rules = rules(config)?;
        let iou_threshold = config.iou_threshold();
        let score_threshold = config.score_threshold();
        check_thresholds(
            rules,
            (config.field("iou_threshold"), iou_threshold),
            (config.field("score_threshold"), score_threshold),
        )?;
        let field = config.field("max_total_detections");
        let max_total = size(field, config.max_total_detections(), 1)?;
        let field = config.field("max_detections_per_class");
        let max_per_class = size(field, config.max_detections_per_class(), 1)?;
        if max_per_class > max_total {
            let expected = format!("at most max_total_detections ({max_total})");
            return Err(invalid(field, max_per_class, expected));
        }
        let is_agnostic = config.use_class_agnostic_nms();
        if is_agnostic && config.max_classes_per_detection() > 1 {
            let given = config.max_classes_per_detection();
            let expected =
                "1 where use_class_agnostic_nms is true: the reference has no more either";
            let field = config.field("max_classes_per_detection");
            return Err(invalid(field, given, expected));
        }
        Ok(Self {
            iou_threshold,
            score_threshold,
            soft_nms_sigma: soft_nms_sigma(config, rules)?,
            max_per_class: (!is_agnostic).then_some(max_per_class),
            max_total,
            change_coordinate_frame: config.change_coordinate_frame(),
            rules,
            path: config.path(),
        })
    }

    /// The same suppression, but with detections relative to the window whatever the configuration says.
    ///
    /// # Errors
    /// With `use_combined_nms`, which does not do that.
    pub(crate) fn relative_to_window(self) -> Result<Self, ModelError> {
        if let Rules::Combined { .. } = self.rules {
            let expected = "false in a second stage: the reference refuses it too";
            return Err(invalid(self.path.child("use_combined_nms"), true, expected));
        }
        Ok(Self {
            change_coordinate_frame: true,
            ..self
        })
    }

    /// A suppression of one class, whose boxes stay in their units.
    ///
    /// # Errors
    /// For thresholds and limits that the reference refuses.
    pub(crate) fn of_one_class(limits: &OneClass) -> Result<Self, ModelError> {
        let OneClass {
            iou_threshold: (iou_field, iou_threshold),
            score_threshold: (score_field, score_threshold),
            max_total: (max_field, max_total),
            is_static,
            combined,
            partitioned,
            path,
        } = *limits;
        let max_total = size(max_field, max_total, 1)?;
        let rules = match (combined, is_static) {
            (true, pad_per_class) => Rules::Combined { pad_per_class },
            (false, true) => Rules::Padded { partitioned },
            (false, false) => Rules::Pruned,
        };
        check_thresholds(
            rules,
            (iou_field, iou_threshold),
            (score_field, score_threshold),
        )?;
        Ok(Self {
            iou_threshold,
            score_threshold,
            soft_nms_sigma: 0.0,
            max_per_class: Some(max_total),
            max_total,
            change_coordinate_frame: false,
            rules,
            path,
        })
    }

    /// At most so many detections, and the message that says so.
    pub(crate) fn max_total(self) -> (FieldPath, u64) {
        (self.path, self.max_total)
    }

    /// Refuses tables of boxes and classes whose places cannot be counted in 32 bits.
    fn check_places(
        self,
        field: FieldPath,
        classes: u64,
        boxes: Option<u64>,
    ) -> Result<(), ModelError> {
        let limit = self.max_per_class.unwrap_or(self.max_total);
        let rows = self.max_per_class.map_or(1, |_| classes);
        let candidates = boxes.map(|boxes| (boxes, classes));
        let selected = (boxes.map_or(limit, |boxes| limit.min(boxes)), rows);
        for (boxes, classes) in candidates.into_iter().chain([selected]) {
            let most = MOST_PLACES / boxes.max(1);
            if classes > most {
                let expected = format!("at most {most} with {boxes} boxes of each class");
                return Err(invalid(field, classes, expected));
            }
        }
        Ok(())
    }

    /// What the manifest says of it.
    pub fn facts(self, class_thresholds: &[ClassThreshold]) -> Suppression {
        Suppression {
            score_threshold: self.score_threshold,
            class_thresholds: class_thresholds.to_vec(),
            iou_threshold: self.iou_threshold,
            max_detections_per_class: self.max_per_class,
            max_total_detections: self.max_total,
            soft_nms_sigma: self.soft_nms_sigma,
        }
    }

    /// Whether detections are the best of what hard suppression selects, and nothing else: by one threshold, in the unit square, with zeros behind them.
    ///
    /// # Errors
    /// Why they are not.
    pub fn check_plain(
        self,
        window: Option<ClipWindow>,
        Classes { thresholds, .. }: Classes<'_>,
    ) -> Result<(), NoEnding> {
        match self.rules {
            Rules::Padded { .. } => Err(NoEnding::StaticShapes),
            Rules::Combined { .. } => Err(NoEnding::Combined),
            Rules::Pruned if self.soft_nms_sigma != 0.0 => Err(NoEnding::Soft),
            Rules::Pruned if window.is_some() => Err(NoEnding::Padding),
            Rules::Pruned if !thresholds.is_empty() => Err(NoEnding::ClassThresholds),
            Rules::Pruned => Ok(()),
        }
    }

    /// Whether it is exact only for boxes whose low corners are not beyond their high ones.
    pub fn needs_ordered_corners(self) -> bool {
        matches!(self.rules, Rules::Padded { .. })
    }

    /// Suppresses the candidates.
    ///
    /// # Errors
    /// For more classes than can be suppressed one by one; when the graph refuses a node.
    pub fn build(
        self,
        b: &mut Builder,
        candidates: Candidates<'_>,
        Classes { field, thresholds }: Classes<'_>,
    ) -> Result<Detections, ModelError> {
        let Candidates {
            boxes,
            scores,
            fields,
            window,
            count,
        } = candidates;
        let classes = b.shape(scores).dims().last().and_then(Dim::known);
        if let Some(classes) = classes
            && self.max_per_class.is_some()
            && classes > MAX_SUPPRESSED_CLASSES
        {
            let expected = format!(
                "at most {MAX_SUPPRESSED_CLASSES} where boxes are suppressed class by class; set use_class_agnostic_nms, or leave suppression out"
            );
            return Err(invalid(field, classes, expected));
        }
        let boxes_known = b.shape(scores).dims().get(1).and_then(Dim::known);
        self.check_places(field, classes.unwrap_or(1), boxes_known)?;
        let thresholds = self.class_thresholds(thresholds, classes.unwrap_or_default())?;
        let lowest = thresholds.iter().flatten().copied().reduce(f32::min);
        let nms = Self {
            score_threshold: lowest.unwrap_or(self.score_threshold),
            ..self
        };
        let sliced = [boxes, scores]
            .into_iter()
            .chain(fields.iter().map(|(_, value)| *value))
            .map(|value| (value, MapInput::Sliced));
        let outside = window;
        let window = window.map(|window| window.map_input(b));
        let count = count.map(|count| (count, MapInput::Sliced));
        let inputs: Vec<(ValueId, MapInput)> = sliced.chain(window).chain(count).collect();
        let results = b.map::<ModelError>("per_image", &inputs, |b, args| {
            let [boxes, scores, values @ ..] = args else {
                return Err(ModelError::Inconsistent(
                    "boxes and scores are passed".into(),
                ));
            };
            let names = fields.iter().map(|(name, _)| *name);
            let sliced: Vec<(&str, ValueId)> = names.clone().zip(values.iter().copied()).collect();
            // After as many values as there are fields.
            let mut rest = values.iter().skip(sliced.len()).copied();
            let window = outside.and_then(|window| Some(window.in_body(rest.next()?)));
            let scores = match rest.next() {
                Some(count) => scores_of_first(b, *scores, count)?,
                None => *scores,
            };
            let image = Image {
                boxes: *boxes,
                scores,
                fields: &sliced,
                window,
                thresholds: thresholds.as_deref(),
            };
            let detections = nms.one_image(b, image)?;
            b.output("boxes", detections.boxes);
            b.output("scores", detections.scores);
            b.output("classes", detections.classes);
            b.output("num_detections", detections.num_detections);
            if let Some(origins) = detections.origins {
                b.output("anchor_indices", origins.anchor_indices);
                for (name, field) in names.zip(origins.fields) {
                    b.output(name, field);
                }
            }
            Ok(())
        })?;
        let [boxes, scores, classes, num_detections, origins @ ..] = results.as_slice() else {
            return Err(ModelError::Inconsistent("four results are declared".into()));
        };
        Ok(Detections {
            boxes: *boxes,
            scores: *scores,
            classes: *classes,
            num_detections: *num_detections,
            origins: origins
                .split_first()
                .map(|(anchor_indices, fields)| Origins {
                    anchor_indices: *anchor_indices,
                    fields: fields.to_vec(),
                }),
        })
    }

    /// The threshold of each class; `None` where all have the suppression's.
    fn class_thresholds(
        self,
        given: &[ClassThreshold],
        classes: u64,
    ) -> Result<Option<Vec<f32>>, ModelError> {
        if given.is_empty() {
            return Ok(None);
        }
        let mut thresholds = vec![self.score_threshold; usize::try_from(classes).unwrap_or(0)];
        for ClassThreshold { id, score } in given {
            let index = id
                .checked_sub(1)
                .and_then(|index| usize::try_from(index).ok());
            let Some(threshold) = index.and_then(|index| thresholds.get_mut(index)) else {
                let expected = format!("1 to {classes}");
                return Err(invalid_option(GraphOption::ClassThresholds, id, expected));
            };
            *threshold = *score;
        }
        Ok(Some(thresholds))
    }

    /// Boxes are suppressed by a greater intersection over union.
    fn suppression_threshold(self) -> f32 {
        match self.rules {
            // By an equal one too.
            Rules::Padded { .. } => self.iou_threshold.next_down(),
            Rules::Pruned | Rules::Combined { .. } => self.iou_threshold,
        }
    }

    /// Boxes `[..., 4]` in the coordinates of detections.
    fn framed(
        self,
        b: &mut Builder,
        boxes: ValueId,
        window: Option<ClipWindow>,
    ) -> Result<ValueId, ModelError> {
        match window {
            Some(window) if self.change_coordinate_frame => window.relative(b, boxes),
            _ => Ok(boxes),
        }
    }

    /// A field of detections, in their coordinates where it is a place.
    fn framed_field(
        self,
        b: &mut Builder,
        name: &str,
        field: ValueId,
        window: Option<ClipWindow>,
    ) -> Result<ValueId, ModelError> {
        match window {
            Some(window) if self.change_coordinate_frame && name == KEYPOINTS => {
                window.relative_points(b, field)
            }
            _ => Ok(field),
        }
    }

    fn one_image(self, b: &mut Builder, image: Image<'_>) -> Result<Detections, ModelError> {
        match self.rules {
            Rules::Pruned => self.pruned(b, image),
            Rules::Padded { partitioned } => self.padded(b, image, partitioned),
            Rules::Combined { pad_per_class } => self.combined(b, image, pad_per_class),
        }
    }
}

/// The configuration of a suppression of one class: numbers with the fields that they come from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OneClass {
    pub iou_threshold: (FieldPath, f32),
    pub score_threshold: (FieldPath, f32),
    pub max_total: (FieldPath, i32),
    /// Whether all sizes are known when the graph is written, as on accelerators.
    pub is_static: bool,
    /// `use_combined_nms`
    pub combined: bool,
    /// `use_partitioned_nms`
    pub partitioned: bool,
    /// The message that the fields are in.
    pub path: FieldPath,
}

/// Refuses thresholds that suppress nothing sensibly.
fn check_thresholds(
    rules: Rules,
    (iou_field, iou_threshold): (FieldPath, f32),
    (score_field, score_threshold): (FieldPath, f32),
) -> Result<(), ModelError> {
    if !(0.0..=1.0).contains(&iou_threshold) {
        return Err(invalid(iou_field, iou_threshold, "0 to 1"));
    }
    if matches!(rules, Rules::Padded { .. }) && iou_threshold == 0.0 {
        let expected = "more than 0 where use_static_shapes is true";
        return Err(invalid(iou_field, iou_threshold, expected));
    }
    if !score_threshold.is_finite() {
        return Err(invalid(score_field, score_threshold, "a finite number"));
    }
    if matches!(rules, Rules::Combined { .. }) && score_threshold < combined::NO_SCORE {
        let expected = "at least -1, the score of empty rows, where use_combined_nms is true";
        return Err(invalid(score_field, score_threshold, expected));
    }
    Ok(())
}

/// Which rules a configuration asks for.
fn rules(config: Message<'_, protos::BatchNonMaxSuppression>) -> Result<Rules, ModelError> {
    let combined = config.field("use_combined_nms");
    let partitioned = config.use_partitioned_nms();
    let is_static = config.use_static_shapes();
    if !config.use_combined_nms() {
        return Ok(if is_static {
            Rules::Padded { partitioned }
        } else {
            Rules::Pruned
        });
    }
    if config.change_coordinate_frame() {
        return Err(invalid(
            combined,
            true,
            "false where change_coordinate_frame is true, as it is by default",
        ));
    }
    if config.use_class_agnostic_nms() {
        let expected = "false where use_class_agnostic_nms is true";
        return Err(invalid(combined, true, expected));
    }
    Ok(Rules::Combined {
        pad_per_class: is_static,
    })
}

/// The sigma of soft suppression; 0 for hard suppression.
fn soft_nms_sigma(
    config: Message<'_, protos::BatchNonMaxSuppression>,
    rules: Rules,
) -> Result<f32, ModelError> {
    let sigma = config.soft_nms_sigma();
    let expected = match rules {
        _ if !(sigma.is_finite() && sigma >= 0.0) => "a number of at least 0",
        _ if sigma == 0.0 => return Ok(0.0),
        Rules::Padded { .. } => "0 where use_static_shapes is true",
        Rules::Combined { .. } => "0 where use_combined_nms is true",
        // The reference's class-agnostic suppression does not look at use_hard_nms.
        Rules::Pruned if config.use_hard_nms() && !config.use_class_agnostic_nms() => {
            "0 where use_hard_nms is true"
        }
        Rules::Pruned => return Ok(sigma),
    };
    Err(invalid(config.field("soft_nms_sigma"), sigma, expected))
}

/// Scores `[num_anchors, classes]` of which all but the first `count` rows are lower than any threshold.
fn scores_of_first(
    b: &mut Builder,
    scores: ValueId,
    count: ValueId,
) -> Result<ValueId, ModelError> {
    let Some(num_anchors) = b.shape(scores).dims().first().and_then(Dim::known) else {
        let text = "an unknown number of boxes of which only the first count";
        return Err(ModelError::Inconsistent(text.to_owned()));
    };
    b.scope("first", |b| {
        let places: Vec<i32> = (0..as_i32(num_anchors)).collect();
        let places = Tensor::i32(&[num_anchors, 1], &places)
            .ok_or_else(|| ModelError::Inconsistent("boxes without a number".into()))?;
        let places = b.constant("places", places)?;
        let is_any = b.compare("is_any", Compare::Less, places, count)?;
        let lowest = b.constant("lowest", Tensor::scalar_f32(f32::MIN))?;
        Ok(b.select("scores", is_any, scores, lowest)?)
    })
}

/// Rows `[kept, ...]` with zeros where they are not valid, and zero rows after them up to `rows`.
fn zero_padded(
    b: &mut Builder,
    key: &str,
    value: ValueId,
    valid: ValueId,
    rows: u64,
) -> Result<ValueId, ValidateError> {
    b.scope(&format!("padded_{key}"), |b| {
        let zero = b.constant("zero", Tensor::scalar_f32(0.0))?;
        let mut dims = vec![Dim::Known(1); b.shape(value).rank()];
        let mut paddings = vec![(0, 0); dims.len()];
        if let ([dim, ..], [padding, ..]) = (dims.as_mut_slice(), paddings.as_mut_slice())
            && let Some(kept) = b.shape(value).dims().first().and_then(Dim::known)
        {
            *dim = Dim::Known(kept);
            padding.1 = rows.saturating_sub(kept);
        }
        let mask = b.reshape("mask", valid, &dims)?;
        let masked = b.select("masked", mask, value, zero)?;
        if paddings.iter().all(|padding| *padding == (0, 0)) {
            return Ok(masked);
        }
        b.pad("pad", masked, &paddings)
    })
}

/// Height times width of boxes `[..., 4]`: below 0 for a box turned inside out in one direction.
fn area(b: &mut Builder, boxes: ValueId) -> Result<ValueId, ValidateError> {
    let axis = b.shape(boxes).rank().saturating_sub(1);
    let low = b.slice_last("low_corners", boxes, 0, 2)?;
    let high = b.slice_last("high_corners", boxes, 2, 2)?;
    let sides = b.binary("sides", Binary::Sub, high, low)?;
    let sides = b.unstack("sides_split", sides, axis)?;
    b.binary("area", Binary::Mul, sides[0], sides[1])
}

/// Sizes are checked to be far below the limit.
fn as_i32(n: u64) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}
