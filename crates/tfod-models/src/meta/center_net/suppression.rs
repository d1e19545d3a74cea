//! The non-max suppression that a configuration may have besides the search for peaks. It is given the objects' boxes, with the score of each object's own class only.

use tfod_config::protos;
use tfod_graph::{Binary, Builder, Compare, DType, Tensor, ValueId};

use super::PATH;
use super::maps::{Numbers, column, size_of};
use super::tasks::{BOXES, CLASSES, COUNT, Detected, SCORES, has_boxes};
use crate::error::ModelError;
use crate::fields::{Message, invalid, invalid_option};
use crate::options::{GraphOption, GraphOptions};
use crate::postprocess::nms::{Candidates, Classes, NonMaxSuppression};

/// Reads the message, where there is one.
///
/// # Errors
/// For what the reference refuses; for options of a suppression where there is none.
pub(super) fn from_config(
    config: Message<'_, protos::CenterNet>,
    options: &GraphOptions,
) -> Result<Option<NonMaxSuppression>, ModelError> {
    let Some(post) = &config.post_processing else {
        if let Some(threshold) = options.class_thresholds.first() {
            let expected = format!(
                "none where the config has no `{}`: there is no suppression that could have thresholds",
                config.field("post_processing")
            );
            let option = GraphOption::ClassThresholds;
            return Err(invalid_option(option, threshold.id, expected));
        }
        return Ok(None);
    };
    let post = config.at("post_processing", post);
    let nms = post.batch_non_max_suppression.as_ref();
    let nms = post.required("batch_non_max_suppression", nms)?;
    if !has_boxes(&config) {
        let expected = "left out where no boxes are predicted";
        return Err(invalid(post.path(), "a suppression", expected));
    }
    for (name, is_set) in [
        ("change_coordinate_frame", nms.change_coordinate_frame()),
        ("use_combined_nms", nms.use_combined_nms()),
    ] {
        if is_set {
            let expected = "false in a CenterNet (the reference cannot run it either)";
            return Err(invalid(nms.field(name), true, expected));
        }
    }
    NonMaxSuppression::from_config(nms).map(Some)
}

/// Suppresses objects; gives all outputs of those that are left.
///
/// # Errors
/// When the graph refuses a node.
pub(super) fn suppress(
    b: &mut Builder,
    nms: NonMaxSuppression,
    detected: Detected<'_>,
    options: &GraphOptions,
) -> Result<Vec<(&'static str, ValueId)>, ModelError> {
    let boxes = detected.get(BOXES);
    let boxes = boxes.ok_or_else(|| ModelError::Inconsistent("objects without boxes".into()))?;
    let scores = b.scope("scores_of_own_class", |b| own_scores(b, &detected))?;
    let fields: Vec<(&'static str, ValueId)> = detected
        .outputs
        .into_iter()
        .filter(|(key, _)| ![BOXES, SCORES, CLASSES, COUNT].contains(key))
        .collect();
    let classes = Classes {
        field: PATH.child("num_classes"),
        thresholds: &options.class_thresholds,
    };
    let candidates = Candidates {
        boxes,
        scores,
        fields: &fields,
        window: None,
        count: None,
    };
    let kept = b.scope("nms", |b| nms.build(b, candidates, classes))?;
    let mut outputs = vec![
        (BOXES, kept.boxes),
        (SCORES, kept.scores),
        (CLASSES, kept.classes),
        (COUNT, kept.num_detections),
    ];
    let values = kept.origins.map(|origins| origins.fields);
    let keys = fields.iter().map(|(key, _)| *key);
    outputs.extend(keys.zip(values.unwrap_or_default()));
    Ok(outputs)
}

/// `f32[batch, N, classes]`: of each object the score of its class, and zeros; the lowest number there is where there is no object.
fn own_scores(b: &mut Builder, detected: &Detected<'_>) -> Result<ValueId, ModelError> {
    let objects = detected.objects;
    let scores = objects.multiclass_scores;
    let count = size_of(b, "classes", scores, 2)?;
    let numbers = Numbers::along(count, 0, 1).integers(b, "numbers", 1)?;
    let own = column(b, "own_column", objects.classes)?;
    let is_own = b.compare("is_own", Compare::Equal, numbers, own)?;
    let is_own = b.cast("is_own_number", is_own, DType::F32)?;
    let scores = b.binary("own", Binary::Mul, scores, is_own)?;
    let zero = b.constant("zero", Tensor::scalar_f32(0.0))?;
    let is_object = b.compare("is_object", Compare::Greater, objects.scores, zero)?;
    let is_object = column(b, "is_object_column", is_object)?;
    let none = b.constant("no_score", Tensor::scalar_f32(f32::MIN))?;
    Ok(b.select("scores", is_object, scores, none)?)
}
