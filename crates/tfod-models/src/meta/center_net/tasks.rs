//! What is predicted of objects besides classes and boxes: one [`Task`] for each task of the configuration.

use tfod_config::protos;
use tfod_config::protos::center_net::KeypointEstimation;
use tfod_graph::{Builder, ValueId};

use super::deepmac::DeepMac;
use super::frame::Frame;
use super::heads::{Head, Maps};
use super::keypoints::Tasks;
use super::masks::Masks;
use super::objects::Objects;
use super::tracking::{TemporalOffset, Tracking};
use crate::error::ModelError;
use crate::fields::{Message, refuse_flag};
use crate::options::GraphOptions;

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
pub(super) struct Detected<'a> {
    /// What heads predict.
    pub maps: &'a Maps,
    /// The image in the network's input.
    pub frame: &'a Frame,
    /// The objects.
    pub objects: &'a Objects,
    /// `f32[batch, N, 4]`, in locations of the feature map, clipped to it; where boxes are predicted.
    pub strided_boxes: Option<ValueId>,
    /// `f32[batch, boxes, 4]`, in fractions of the image: boxes that masks are made for, where they are given.
    pub given_boxes: Option<ValueId>,
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

    /// Paths of variables that a trained model has for it, and that exports have no use for.
    fn idle(&self) -> Vec<Vec<String>> {
        Vec::new()
    }

    /// What the keypoints that it finds are called, in the order of outputs.
    fn keypoints(&self) -> Vec<String> {
        Vec::new()
    }

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

/// A name that begins with one from the configuration, as a part of the names of outputs and nodes: letters, digits and `_`, not beginning with `_`. The reference takes
/// any text for the name of a task.
pub(super) fn output_key(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let key: String = name.chars().map(letter).collect();
    key.trim_start_matches('_').to_owned()
}

/// The classes that have keypoint tasks.
pub(super) fn keypoint_classes(config: &protos::CenterNet) -> impl Iterator<Item = &str> {
    let tasks = config.keypoint_estimation_task.iter();
    tasks.map(KeypointEstimation::keypoint_class_name)
}

/// The tasks of a configuration in words.
pub(super) fn described(config: &protos::CenterNet) -> Vec<String> {
    if let Some(deep_mac) = &config.deepmac_mask_estimation {
        let size = if deep_mac.predict_full_resolution_masks() {
            deep_mac.postprocess_crop_size()
        } else {
            deep_mac.mask_size()
        };
        let network = deep_mac.network_type();
        return vec![format!("masks of {size} x {size} (DeepMAC, {network})")];
    }
    let mut tasks = Vec::new();
    let classes: Vec<String> = keypoint_classes(config)
        .map(|name| format!("{name:?}"))
        .collect();
    if !classes.is_empty() {
        tasks.push(format!("keypoints of {}", classes.join(", ")));
    }
    if let Some(masks) = &config.mask_estimation_task {
        let (height, width) = (masks.mask_height(), masks.mask_width());
        tasks.push(format!("masks of {height} x {width}"));
    }
    if let Some(pose) = &config.densepose_estimation_task {
        tasks.push(format!(
            "{} parts of surfaces (DensePose)",
            pose.num_parts()
        ));
    }
    if let Some(track) = &config.track_estimation_task {
        tasks.push(format!("embeddings of {} numbers", track.reid_embed_size()));
    }
    if config.temporal_offset_task.is_some() {
        tasks.push("movements since the image before".to_owned());
    }
    tasks
}

/// Whether objects have boxes: their own, or those around their keypoints.
pub(super) fn has_boxes(config: &protos::CenterNet) -> bool {
    config.object_detection_task.is_some() || !config.keypoint_estimation_task.is_empty()
}

/// The tasks of a configuration, in the order in which the reference does them.
///
/// # Errors
/// For tasks that contradict each other, the label map or the rest of the configuration.
pub(super) fn from_config(
    config: Message<'_, protos::CenterNet>,
    options: &GraphOptions,
) -> Result<Vec<Box<dyn Task>>, ModelError> {
    refuse_flag(
        config.field("output_prediction_dict"),
        config.output_prediction_dict(),
    )?;
    if let Some(deep_mac) = &config.deepmac_mask_estimation {
        let deep_mac = config.at("deepmac_mask_estimation", deep_mac);
        let has_boxes = config.object_detection_task.is_some();
        let deep_mac = DeepMac::from_config(deep_mac, has_boxes)?;
        return Ok(vec![Box::new(deep_mac)]);
    }
    let mut tasks: Vec<Box<dyn Task>> = Vec::new();
    if let Some(keypoints) = Tasks::from_config(config, options.keypoint_labels.as_ref())? {
        tasks.push(Box::new(keypoints));
    }
    if let Some(masks) = Masks::from_config(config)? {
        tasks.push(Box::new(masks));
    }
    if let Some(tracking) = Tracking::from_config(config)? {
        tasks.push(Box::new(tracking));
    }
    if config.temporal_offset_task.is_some() {
        tasks.push(Box::new(TemporalOffset {
            depthwise: config.use_depthwise(),
        }));
    }
    Ok(tasks)
}
