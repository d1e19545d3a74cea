//! Keypoint tasks: the keypoints of the objects of a class, such as the joints of persons. A task has a heat map for each keypoint, offsets within cells, a
//! regression from the centre of an object to its keypoints, and perhaps depths.
//!
//! Values are `[batch, k, n]` here, of `k` keypoints and `n` objects, and become `[batch, n, k]` in the end: what follows the choice of a candidate is then along the
//! last dimension everywhere.

mod arg_max;
mod candidates;
mod config;
mod refine;
mod rescore;
mod task;

use tfod_graph::{Binary, Builder, Compare, Reduce, Tensor, ValueId};

use super::maps::{Numbers, column, inserted, size_of};
use super::objects::Objects;
use crate::error::ModelError;
use config::Task;
pub(super) use config::{MOST_KEYPOINTS, MOST_TASKS, Tasks};
pub(super) use task::{DEPTH, HEATMAP, OFFSET, REGRESSION};

/// The maps of one task.
#[derive(Clone, Copy, Debug)]
struct TaskMaps {
    /// `f32[batch, height, width, k]`, unconverted.
    heatmap: ValueId,
    /// `f32[batch, height, width, 2]`, or `2 k` where each keypoint has its own.
    offset: ValueId,
    /// `f32[batch, height, width, 2 k]`
    regression: ValueId,
    /// `f32[batch, height, width, 1]`, or `k` where each keypoint has its own.
    depth: Option<ValueId>,
}

/// Keypoints of all objects.
#[derive(Clone, Copy, Debug)]
struct Keypoints {
    /// `f32[batch, k, n]`, in cells.
    y: ValueId,
    /// As `y`.
    x: ValueId,
    /// `f32[batch, k, n]`
    scores: ValueId,
    /// `f32[batch, k, n]`, where they are predicted.
    depths: Option<ValueId>,
}

/// What is detected.
#[derive(Clone, Copy, Debug)]
struct Found {
    /// `f32[batch, n, k, 2]`: y and x, in parts of the image.
    keypoints: ValueId,
    /// `f32[batch, n, k]`
    scores: ValueId,
    /// `f32[batch, n, k]`, where they are predicted.
    depths: Option<ValueId>,
    /// `f32[batch, n, 4]`: the boxes around all keypoints, in parts of the image.
    boxes: ValueId,
}

impl Tasks {
    /// The keypoints of all objects, which may have boxes in cells. `maps` has one item for each task; `scale` is what rows and columns of cells are in parts of the image: scalars or
    /// `[batch, 1, 1]`.
    fn find(
        &self,
        b: &mut Builder,
        maps: &[TaskMaps],
        objects: (&Objects, Option<ValueId>),
        scale: [ValueId; 2],
    ) -> Result<Found, ModelError> {
        let are_objects = if self.is_single {
            None
        } else {
            Some(are_objects(b, objects.0)?)
        };
        let mut found: Vec<Keypoints> = Vec::with_capacity(self.tasks.len());
        for (task, maps) in self.tasks.iter().zip(maps) {
            let keypoints = b.scope(&task.scope(), |b| {
                let keypoints = keypoints_of_all(b, task, maps, objects)?;
                match are_objects {
                    Some(are_objects) => own(b, task, objects.0, are_objects, keypoints),
                    None => Ok(keypoints),
                }
            });
            found.push(keypoints?);
        }
        let column = |b: &mut Builder, part: &str, of: &dyn Fn(&Keypoints) -> ValueId| {
            let parts: Vec<ValueId> = found.iter().map(of).collect();
            self.joined(b, part, &parts)
        };
        let y = column(b, "y", &|keypoints| keypoints.y)?;
        let x = column(b, "x", &|keypoints| keypoints.x)?;
        let scores = column(b, "scores", &|keypoints| keypoints.scores)?;
        let depths: Option<Vec<ValueId>> = found.iter().map(|found| found.depths).collect();
        let depths = depths.map(|depths| self.joined(b, "depths", &depths));
        let y = b.binary("y_in_image", Binary::Mul, y, scale[0])?;
        let x = b.binary("x_in_image", Binary::Mul, x, scale[1])?;
        let [y, x, scores] = if self.clips() {
            b.scope("clip", |b| clipped(b, [y, x, scores]))?
        } else {
            [y, x, scores]
        };
        let last = b.shape(y).rank();
        let keypoints = b.stack("keypoints", last, &[y, x])?;
        let mut corners = Vec::with_capacity(4);
        for kind in [Reduce::Min, Reduce::Max] {
            for part in [y, x] {
                corners.push(b.reduce("corner", kind, part, &[2])?);
            }
        }
        Ok(Found {
            keypoints,
            scores,
            depths: depths.transpose()?,
            boxes: b.stack("boxes_of_keypoints", 2, &corners)?,
        })
    }

    /// Values of the tasks' keypoints `[batch, k, n]` as `[batch, n, k]` of all keypoints, in the order of outputs.
    fn joined(
        &self,
        b: &mut Builder,
        name: &str,
        parts: &[ValueId],
    ) -> Result<ValueId, ModelError> {
        let all = match parts {
            [only] => *only,
            _ => b.concat(&format!("{name}_of_tasks"), 1, parts)?,
        };
        let ids = self.tasks.iter().flat_map(|task| &task.keypoints);
        let ids: Vec<i32> = ids.map(|keypoint| keypoint.id).collect();
        if self.is_single || ids.is_sorted() {
            return Ok(b.transpose(name, all, &[0, 2, 1])?);
        }
        let mut order: Vec<(i32, i32)> = ids.into_iter().zip(0..).collect();
        order.sort_unstable();
        let order: Vec<i32> = order.into_iter().map(|(_, place)| place).collect();
        let order = Tensor::i32(&[order.len() as u64], &order)
            .ok_or_else(|| ModelError::Inconsistent("one place for each keypoint".into()))?;
        let order = b.constant("keypoint_order", order)?;
        let first = b.transpose(&format!("{name}_by_keypoint"), all, &[1, 0, 2])?;
        let ordered = b.gather(&format!("{name}_in_order"), first, order)?;
        Ok(b.transpose(name, ordered, &[1, 2, 0])?)
    }
}

/// The keypoints of one task, of objects of all classes.
fn keypoints_of_all(
    b: &mut Builder,
    task: &Task,
    maps: &TaskMaps,
    (objects, boxes): (&Objects, Option<ValueId>),
) -> Result<Keypoints, ModelError> {
    if task.uses_arg_max {
        return arg_max::find(b, task, maps, (objects, boxes));
    }
    let candidates = b.scope("candidates", |b| candidates::find(b, task, maps))?;
    refine::refine(b, task, maps, &candidates, (objects, boxes))
}

/// Which of the best places are objects: `bool[batch, n]`.
fn are_objects(b: &mut Builder, objects: &Objects) -> Result<ValueId, ModelError> {
    let count = size_of(b, "objects", objects.classes, 1)?;
    let numbers = Numbers::along(count, 0, 1).integers(b, "object_numbers", 1)?;
    let count = column(b, "count", objects.num_detections)?;
    Ok(b.compare("are_objects", Compare::Less, numbers, count)?)
}

/// The keypoints of a task of several; those of objects of other classes are zeros.
fn own(
    b: &mut Builder,
    task: &Task,
    objects: &Objects,
    are_objects: ValueId,
    mut found: Keypoints,
) -> Result<Keypoints, ModelError> {
    let class = b.constant("class", Tensor::scalar_i32(task.class_id))?;
    let is_class = b.compare("is_class", Compare::Equal, objects.classes, class)?;
    let has = b.and("has_keypoints", is_class, are_objects)?;
    let has = inserted(b, "have_keypoints", has, 1)?;
    let none = b.constant("none", Tensor::scalar_f32(0.0))?;
    for (name, part) in [
        ("own_y", &mut found.y),
        ("own_x", &mut found.x),
        ("own_scores", &mut found.scores),
    ] {
        *part = b.select(name, has, *part, none)?;
    }
    Ok(found)
}

/// Moves what is beyond the image to its border, and takes its score away.
fn clipped(b: &mut Builder, [y, x, scores]: [ValueId; 3]) -> Result<[ValueId; 3], ModelError> {
    let zero = b.constant("zero", Tensor::scalar_f32(0.0))?;
    let one = b.constant("one", Tensor::scalar_f32(1.0))?;
    let mut inside: Option<ValueId> = None;
    let mut moved = [y, x];
    for part in &mut moved {
        for (larger, smaller) in [(*part, zero), (one, *part)] {
            let holds = b.compare("is_inside", Compare::GreaterEqual, larger, smaller)?;
            inside = Some(match inside {
                Some(others) => b.and("are_inside", others, holds)?,
                None => holds,
            });
        }
        let high = b.binary("high", Binary::Minimum, *part, one)?;
        *part = b.binary("low", Binary::Maximum, high, zero)?;
    }
    let scores = match inside {
        Some(inside) => b.select("scores", inside, scores, zero)?,
        None => scores,
    };
    Ok([moved[0], moved[1], scores])
}
