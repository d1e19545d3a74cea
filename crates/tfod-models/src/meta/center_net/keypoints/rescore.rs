//! Scores of objects that go by those of their keypoints.

use std::collections::HashSet;

use tfod_graph::{Binary, Builder, Compare, DType, Reduce, Tensor, ValueId};

use super::super::maps::{column, constant};
use super::config::Tasks;
use crate::error::ModelError;

impl Tasks {
    /// The scores of objects, where tasks say that keypoints count: the object's score times the mean score of its visible keypoints, which are those with a
    /// score above the task's threshold. `classes`, from 0, and `scores` are `[batch, n]`, `keypoint_scores` are
    /// `f32[batch, n, k]`.
    pub(super) fn rescored(
        &self,
        b: &mut Builder,
        classes: ValueId,
        scores: ValueId,
        keypoint_scores: ValueId,
    ) -> Result<ValueId, ModelError> {
        let count = self.num_keypoints();
        let mut scores = scores;
        let mut keypoint_scores = keypoint_scores;
        for task in &self.tasks {
            let Some(threshold) = task.rescoring_threshold else {
                continue;
            };
            let ids: HashSet<i32> = task.keypoints.iter().map(|keypoint| keypoint.id).collect();
            let own = (0..).zip(0..count).map(|(id, _)| ids.contains(&id));
            let own: Vec<f32> = own.map(|own| f32::from(u8::from(own))).collect();
            let own = constant(b, "own_keypoints", &[count], &own)?;
            let class = b.constant("class", Tensor::scalar_i32(task.class_id))?;
            let classes = b.cast("whole_classes", classes, DType::I32)?;
            let is_class = b.compare("is_class", Compare::Equal, classes, class)?;
            let threshold = b.constant("threshold", Tensor::scalar_f32(threshold))?;
            let visible = b.compare("is_visible", Compare::Greater, keypoint_scores, threshold)?;
            let none = b.constant("none", Tensor::scalar_f32(0.0))?;
            // Those that one task takes for invisible are so for the next ones too.
            keypoint_scores = b.select("visible_scores", visible, keypoint_scores, none)?;
            let visible = b.cast("visible", visible, DType::F32)?;
            let visible = b.binary("own_visible", Binary::Mul, visible, own)?;
            let number = b.reduce("num_visible", Reduce::Sum, visible, &[2])?;
            let number = b.binary_scalar("at_least_one", Binary::Maximum, number, 1.0)?;
            let each = column(b, "score_of_each", scores)?;
            let weighted = b.binary("weighted", Binary::Mul, own, each)?;
            let weighted = b.binary("keypoint_weighted", Binary::Mul, weighted, keypoint_scores)?;
            let sum = b.reduce("sum", Reduce::Sum, weighted, &[2])?;
            let one = b.constant("one", Tensor::scalar_f32(1.0))?;
            let part = b.binary("part", Binary::Div, one, number)?;
            let mean = b.binary("mean", Binary::Mul, part, sum)?;
            scores = b.select("rescored", is_class, mean, scores)?;
        }
        Ok(scores)
    }
}
