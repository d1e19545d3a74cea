//! The candidates of each keypoint: the highest peaks of its heat map.

use tfod_graph::{Binary, Builder, Compare, Dim, Tensor, Unary, ValueId};

use super::super::maps::{count, flattened, map_dims, num_cells, rows_and_columns};
use super::super::objects::peaks;
use super::TaskMaps;
use super::config::Task;
use crate::error::ModelError;
use crate::scalar::{Int, vector};

/// Candidates of `k` keypoints, `c` of each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidates {
    /// `f32[batch, k, c]`: where they are, in cells.
    pub y: ValueId,
    /// As `y`.
    pub x: ValueId,
    /// `f32[batch, k, c]`
    pub scores: ValueId,
    /// `bool[batch, k, c]`: whether they count.
    pub are_valid: ValueId,
    /// `f32[batch, k, c]`, where depths are predicted.
    pub depths: Option<ValueId>,
}

/// A map `[batch, height, width, k]` as `[batch, k, height * width]`.
pub(super) fn by_keypoint(b: &mut Builder, map: ValueId) -> Result<ValueId, ModelError> {
    let flat = flattened(b, "flat", map, 1)?;
    Ok(b.transpose("by_keypoint", flat, &[0, 2, 1])?)
}

/// The `num_candidates` largest values along the last dimension, which has `cells`, and their places. Where there are fewer cells, zeros take the place
/// of what is missing.
fn largest(
    b: &mut Builder,
    task: &Task,
    map: ValueId,
    cells: Int,
) -> Result<[ValueId; 2], ModelError> {
    let count = task.num_candidates;
    let names = ["scores", "places"];
    if let Int::Known(cells) = cells {
        let cells = u64::try_from(cells).unwrap_or_default();
        let mut top = b.top_k("best", map, count.min(cells))?;
        if cells < count {
            for (value, name) in top.iter_mut().zip(names) {
                *value = b.pad(name, *value, &[(0, 0), (0, 0), (0, count - cells)])?;
            }
        }
        return Ok(top);
    }
    let wanted = Int::Known(i32::try_from(count).unwrap_or(i32::MAX));
    let there = cells.binary(b, "num_candidates", Binary::Minimum, wanted)?;
    let symbol = Dim::symbol(&format!("candidates_{}", task.class_id));
    let there_value = there.value(b, "num_candidates")?;
    let mut top = b.top_k_of("best", map, symbol, Some(there_value))?;
    let missing = wanted.binary(b, "missing_candidates", Binary::Sub, there)?;
    let by = vector(b, "fill", &[Int::Known(0), Int::Known(0), missing])?;
    let mut filled = b.shape(map).dims().to_vec();
    if let Some(last) = filled.last_mut() {
        *last = Dim::Known(count);
    }
    for (value, name) in top.iter_mut().zip(names) {
        *value = b.pad_end(name, *value, by, filled.clone())?;
    }
    Ok(top)
}

/// Finds the candidates of a task's keypoints.
pub(super) fn find(
    b: &mut Builder,
    task: &Task,
    maps: &TaskMaps,
) -> Result<Candidates, ModelError> {
    let heat = b.unary("heat", Unary::Sigmoid, maps.heatmap)?;
    let peaks = peaks(b, "peaks", heat, task.peak_window)?;
    let cells = num_cells(b, peaks)?;
    let by_keypoint = by_keypoint(b, peaks)?;
    let [scores, places] = largest(b, task, by_keypoint, cells)?;
    let [rows, columns] = rows_and_columns(b, places, heat)?;
    let picked = Picked::new(b, task, places)?;
    let offsets = picked.values(b, "offset", maps.offset, task.per_keypoint_offset)?;
    let offsets = b.unstack("offsets", offsets, 3)?;
    let &[dy, dx] = offsets.as_slice() else {
        return Err(ModelError::Inconsistent("an offset has two parts".into()));
    };
    let depths = match maps.depth {
        Some(depth) => {
            let [.., channels] = map_dims(b, depth)?;
            let depths = picked.values(b, "depth", depth, !channels.is(1))?;
            let shape = b.shape(places).dims().to_vec();
            Some(b.reshape("depths", depths, &shape)?)
        }
        None => None,
    };
    let threshold = b.constant("threshold", Tensor::scalar_f32(task.candidate_threshold))?;
    Ok(Candidates {
        y: b.binary("y", Binary::Add, rows, dy)?,
        x: b.binary("x", Binary::Add, columns, dx)?,
        scores,
        are_valid: b.compare("are_valid", Compare::GreaterEqual, scores, threshold)?,
        depths,
    })
}

/// Cells, some for each keypoint, at which other maps are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Picked {
    keypoints: u64,
    /// `i32[batch, k, c]`: cells.
    cells: ValueId,
    /// `i32[batch, k, c]`: the parts of a map that has one for each keypoint in every cell.
    own: ValueId,
}

impl Picked {
    /// For cells `i32[batch, k, c]`.
    pub(super) fn new(b: &mut Builder, task: &Task, cells: ValueId) -> Result<Self, ModelError> {
        let keypoints = task.num_keypoints();
        let count = i32::try_from(keypoints).unwrap_or(i32::MAX);
        let numbers: Vec<i32> = (0..count).collect();
        let numbers = Tensor::i32(&[keypoints, 1], &numbers)
            .ok_or_else(|| ModelError::Inconsistent("one number for each keypoint".into()))?;
        let numbers = b.constant("keypoint_numbers", numbers)?;
        let count = b.constant("num_keypoints", Tensor::scalar_i32(count))?;
        let first = b.binary("first_part", Binary::Mul, cells, count)?;
        let own = b.binary("own_part", Binary::Add, first, numbers)?;
        Ok(Self {
            keypoints,
            cells,
            own,
        })
    }

    /// The values of a map at the cells: `[batch, k, c, values]`. With `per_keypoint`, each keypoint has channels of its own.
    pub(super) fn values(
        &self,
        b: &mut Builder,
        name: &str,
        map: ValueId,
        per_keypoint: bool,
    ) -> Result<ValueId, ModelError> {
        let (parts, indices) = if per_keypoint {
            (self.keypoints, self.own)
        } else {
            (1, self.cells)
        };
        let flat = flattened(b, &format!("{name}/flat"), map, parts)?;
        let dims: Vec<Dim> = b.shape(indices).dims().to_vec();
        let [batch, keypoints, each] = <[Dim; 3]>::try_from(dims)
            .map_err(|_| ModelError::Inconsistent("candidates have three dimensions".into()))?;
        let all = count(&[&keypoints, &each])?;
        let row = b.reshape(&format!("{name}/indices"), indices, &[batch.clone(), all])?;
        let values = b.gather_batched(&format!("{name}/picked"), flat, row, 1)?;
        let size = b
            .shape(flat)
            .dims()
            .last()
            .cloned()
            .unwrap_or(Dim::Known(1));
        Ok(b.reshape(name, values, &[batch, keypoints, each, size])?)
    }
}
