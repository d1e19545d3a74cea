//! What is predicted of objects besides classes and boxes: one [`Task`] for each task of the configuration.

use tfod_config::protos;
use tfod_graph::{Builder, ValueId};

use super::frame::Frame;
use super::heads::{Head, Maps};
use super::objects::Objects;
use crate::error::ModelError;
use crate::fields::{Message, refuse_flag, unsupported};

/// Boxes in fractions of the image.
pub(super) const BOXES: &str = "detection_boxes";
/// Boxes in locations of the feature map.
pub(super) const STRIDED_BOXES: &str = "detection_boxes_strided";
/// Scores.
pub(super) const SCORES: &str = "detection_scores";
/// Classes, counted from 0 until they are given out.
pub(super) const CLASSES: &str = "detection_classes";
/// Scores of all classes.
pub(super) const MULTICLASS_SCORES: &str = "detection_multiclass_scores";
/// How many objects there are.
pub(super) const COUNT: &str = "num_detections";

/// What tasks are given, and what they add to.
#[allow(dead_code, reason = "tasks take what they need")]
pub(super) struct Detected<'a> {
    /// What heads predict.
    pub maps: &'a Maps,
    /// The image in the network's input.
    pub frame: &'a Frame,
    /// The objects.
    pub objects: &'a Objects,
    /// `f32[batch, N, 4]`, in locations of the feature map, clipped to it; where boxes are predicted.
    pub strided_boxes: Option<ValueId>,
    /// What is known of the objects, by output key, `f32[batch, N, ...]`, but for [`COUNT`], `f32[batch]`.
    pub outputs: Vec<(&'static str, ValueId)>,
}

impl Detected<'_> {
    /// What is known by a key.
    pub(super) fn get(&self, key: &str) -> Option<ValueId> {
        let mut outputs = self.outputs.iter();
        outputs.find(|(known, _)| *known == key).map(|(_, v)| *v)
    }
}

/// A task.
pub(super) trait Task {
    /// What it is called in the graph.
    fn name(&self) -> &str;

    /// The heads that it needs.
    fn heads(&self) -> Vec<Head>;

    /// Adds what it finds out to the outputs.
    fn detect(&self, b: &mut Builder, detected: &mut Detected<'_>) -> Result<(), ModelError>;

    /// Changes outputs after suppression.
    fn rescore(
        &self,
        _b: &mut Builder,
        _outputs: &mut Vec<(&'static str, ValueId)>,
    ) -> Result<(), ModelError> {
        Ok(())
    }
}

/// The tasks of a configuration, in the order in which the reference does them.
///
/// # Errors
/// For tasks that are not supported.
pub(super) fn from_config(
    config: Message<'_, protos::CenterNet>,
    _num_classes: u64,
) -> Result<Vec<Box<dyn Task>>, ModelError> {
    refuse_flag(
        config.field("output_prediction_dict"),
        config.output_prediction_dict(),
    )?;
    for (field, is_set) in [
        (
            "keypoint_estimation_task",
            !config.keypoint_estimation_task.is_empty(),
        ),
        (
            "mask_estimation_task",
            config.mask_estimation_task.is_some(),
        ),
        (
            "densepose_estimation_task",
            config.densepose_estimation_task.is_some(),
        ),
        (
            "track_estimation_task",
            config.track_estimation_task.is_some(),
        ),
        (
            "temporal_offset_task",
            config.temporal_offset_task.is_some(),
        ),
        (
            "deepmac_mask_estimation",
            config.deepmac_mask_estimation.is_some(),
        ),
    ] {
        if is_set {
            let supported = "leaving it out: boxes alone can be exported";
            return Err(unsupported(config.field(field), "a task", supported));
        }
    }
    Ok(Vec::new())
}
