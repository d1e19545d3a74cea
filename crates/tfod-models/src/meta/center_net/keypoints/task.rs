//! Keypoint tasks among the tasks of a model.

use tfod_graph::{Builder, ValueId};

use super::super::heads::Head;
use super::super::tasks::{self, Detected};
use super::TaskMaps;
use super::config::{Task, Tasks};
use crate::error::ModelError;

/// Where keypoints are.
const KEYPOINTS: &str = "detection_keypoints";
/// Their scores.
const KEYPOINT_SCORES: &str = "detection_keypoint_scores";
/// How far away they are.
const KEYPOINT_DEPTHS: &str = "detection_keypoint_depths";

/// The heads of a task, by their names behind the task's.
pub(in super::super) const HEATMAP: &str = "keypoint/heatmap";
pub(in super::super) const REGRESSION: &str = "keypoint/regression";
pub(in super::super) const OFFSET: &str = "keypoint/offset";
pub(in super::super) const DEPTH: &str = "keypoint/depth";

impl Task {
    /// The name of one of its heads.
    fn head_name(&self, head: &str) -> String {
        format!("{}/{head}", self.name)
    }

    /// Its name as a part of the names of nodes.
    pub(super) fn scope(&self) -> String {
        let name = tasks::output_key(&self.name);
        if name.is_empty() {
            "task".to_owned()
        } else {
            name
        }
    }

    fn heads(&self) -> Vec<Head> {
        let [heatmap, offset, regression] = &self.heads;
        let keypoints = self.num_keypoints();
        let offsets = if self.per_keypoint_offset {
            keypoints
        } else {
            1
        };
        let depths = self.depth_channels.map(|n| (DEPTH, n, &self.depth_head));
        let heads = [
            (HEATMAP, keypoints, heatmap),
            (REGRESSION, 2 * keypoints, regression),
            (OFFSET, 2 * offsets, offset),
        ];
        let heads = heads.into_iter().chain(depths);
        let heads = heads.map(|(head, channels, layers)| {
            let name = self.head_name(head);
            Head {
                key: tasks::output_key(&name),
                name,
                channels,
                layers: layers.clone(),
            }
        });
        heads.collect()
    }
}

impl tasks::Task for Tasks {
    fn name(&self) -> &'static str {
        "keypoints"
    }

    fn heads(&self) -> Vec<Head> {
        self.tasks.iter().flat_map(Task::heads).collect()
    }

    fn keypoints(&self) -> Vec<String> {
        let keypoints = self.in_order().into_iter();
        keypoints.map(|keypoint| keypoint.label.clone()).collect()
    }

    fn detect(&self, b: &mut Builder, detected: &mut Detected<'_>) -> Result<(), ModelError> {
        let mut maps = Vec::with_capacity(self.tasks.len());
        for task in &self.tasks {
            let map = |head: &str| detected.maps.get(&task.head_name(head));
            let has_depth = task.depth_channels.is_some();
            maps.push(TaskMaps {
                heatmap: map(HEATMAP)?,
                offset: map(OFFSET)?,
                regression: map(REGRESSION)?,
                depth: has_depth.then(|| map(DEPTH)).transpose()?,
            });
        }
        let scale = detected.frame.location(b)?;
        let boxes = detected.strided_boxes;
        let found = self.find(b, &maps, (detected.objects, boxes), scale)?;
        detected.outputs.push((KEYPOINTS, found.keypoints));
        detected.outputs.push((KEYPOINT_SCORES, found.scores));
        let depths = found.depths.map(|depths| (KEYPOINT_DEPTHS, depths));
        detected.outputs.extend(depths);
        if boxes.is_none() {
            detected.outputs.push((tasks::BOXES, found.boxes));
        }
        Ok(())
    }

    fn rescore(
        &self,
        b: &mut Builder,
        outputs: &mut Vec<(&'static str, ValueId)>,
    ) -> Result<(), ModelError> {
        let get = |key: &str| {
            let found = outputs.iter().find(|(known, _)| *known == key);
            let found = found.map(|(_, value)| *value);
            found.ok_or_else(|| ModelError::Inconsistent(format!("there is no {key}")))
        };
        let (classes, keypoints) = (get(tasks::CLASSES)?, get(KEYPOINT_SCORES)?);
        let scores = self.rescored(b, classes, get(tasks::SCORES)?, keypoints)?;
        for (key, value) in outputs {
            if *key == tasks::SCORES {
                *value = scores;
            }
        }
        Ok(())
    }
}
