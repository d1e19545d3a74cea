//! Keypoints without candidates: for each object, the cell of the heat map that is the largest once it is weighted by a Gaussian around where the object's own
//! regression puts the keypoint, within the object's box.

use tfod_graph::{Binary, Builder, Compare, DType, Reduce, Unary, ValueId};

use super::super::maps::{Grid, column, inserted, rows_and_columns};
use super::super::objects::Objects;
use super::candidates::{Picked, by_keypoint};
use super::config::Task;
use super::refine::regressed;
use super::{Keypoints, TaskMaps};
use crate::error::ModelError;
use crate::scalar::{Float, spatial};

/// For boxes `[batch, n, 4]`, whether cells are within, as `f32[batch, 1, n, cells]`: 0 or 1. The low borders are, the high ones are not.
fn within(
    b: &mut Builder,
    boxes: ValueId,
    [rows, columns]: [ValueId; 2],
) -> Result<ValueId, ModelError> {
    let corners = b.unstack("corners", boxes, 2)?;
    let mut all: Option<ValueId> = None;
    for (position, corner) in corners.into_iter().enumerate() {
        let corner = inserted(b, "corner_of_each", corner, 1)?;
        let corner = column(b, "corner", corner)?;
        let cells = if position % 2 == 0 { rows } else { columns };
        let compare = if position < 2 {
            Compare::GreaterEqual
        } else {
            Compare::Less
        };
        let holds = b.compare("is_within", compare, cells, corner)?;
        all = Some(match all {
            Some(others) => b.and("are_within", others, holds)?,
            None => holds,
        });
    }
    let all = all.ok_or_else(|| ModelError::Inconsistent("a box has corners".into()))?;
    Ok(b.cast("within", all, DType::F32)?)
}

/// The keypoints of all objects.
pub(super) fn find(
    b: &mut Builder,
    task: &Task,
    maps: &TaskMaps,
    (objects, boxes): (&Objects, Option<ValueId>),
) -> Result<Keypoints, ModelError> {
    let boxes = boxes.ok_or_else(|| ModelError::Inconsistent("boxes are predicted".into()))?;
    let own = regressed(b, task, maps, objects)?;
    let heat = b.unary("heat", Unary::Sigmoid, maps.heatmap)?;
    let grid = Grid::of(b, heat)?.apart(b)?;
    let mut squares = Vec::with_capacity(2);
    for (cells, points) in grid.into_iter().zip(own) {
        let points = column(b, "points", points)?;
        let difference = b.binary("difference", Binary::Sub, cells, points)?;
        squares.push(b.binary("square", Binary::Mul, difference, difference)?);
    }
    let square = b.binary("squares", Binary::Add, squares[0], squares[1])?;
    let negative = b.binary_scalar("negative", Binary::Mul, square, -1.0)?;
    let [height, width] = spatial(b, "map", heat)?;
    let side = height.binary(b, "shorter_side", Binary::Minimum, width)?;
    let side = side.to_float(b, "shorter_side_float")?;
    let ratio = Float::Known(task.gaussian_ratio);
    let denominator = side.binary(b, "denominator", Binary::Mul, ratio)?;
    let denominator = denominator.value(b, "denominator")?;
    let exponent = b.binary("exponent", Binary::Div, negative, denominator)?;
    let weights = b.unary("weights", Unary::Exp, exponent)?;
    let within = within(b, boxes, grid)?;
    let heat_of = by_keypoint(b, heat)?;
    let heat_of = inserted(b, "heat_of_all", heat_of, 2)?;
    let weighted = b.binary("weighted", Binary::Mul, heat_of, weights)?;
    let weighted = b.binary("weighted_within", Binary::Mul, weighted, within)?;
    let places = b.arg_max("places", weighted, 3)?;
    // The score of a place is the largest that any object gives it.
    let best = b.reduce("best", Reduce::Max, weighted, &[2])?;
    let scores = b.gather_batched("scores", best, places, 2)?;
    let [rows, columns] = rows_and_columns(b, places, heat)?;
    let picked = Picked::new(b, task, places)?;
    let offsets = picked.values(b, "offset", maps.offset, true)?;
    let &[dy, dx] = b.unstack("offsets", offsets, 3)?.as_slice() else {
        return Err(ModelError::Inconsistent("an offset has two parts".into()));
    };
    Ok(Keypoints {
        y: b.binary("y", Binary::Add, rows, dy)?,
        x: b.binary("x", Binary::Add, columns, dx)?,
        scores,
        depths: None,
    })
}
