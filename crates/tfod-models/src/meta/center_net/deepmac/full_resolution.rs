//! Masks of the whole image, which are cut to their boxes in the end.

use tfod_graph::{Binary, Builder, Dim, PixelGrid, ResizeMethod, ValueId};

use super::super::STRIDE;
use super::super::maps::{Numbers, constant, count, map_dims, size_of};
use super::config::DeepMac;
use super::crops::{self, float};
use super::zeros;
use crate::error::ModelError;
use crate::scalar::{Int, spatial, vector};

/// What the network sees of each box: all of the image, `f32[batch * n, height, width, channels]`.
pub(super) fn input(
    b: &mut Builder,
    config: &DeepMac,
    pixels: ValueId,
    boxes: ValueId,
) -> Result<ValueId, ModelError> {
    let [batch, height, width, channels] = map_dims(b, pixels)?;
    let number = b.shape(boxes).dims().get(1).cloned();
    let number = number.unwrap_or(Dim::Known(1));
    let all = count(&[&batch, &number])?;
    let corners = b.unstack("corners", boxes, 2)?;
    let &[ymin, xmin, ymax, xmax] = corners.as_slice() else {
        return Err(ModelError::Inconsistent("a box has four corners".into()));
    };
    let each = [batch.clone(), number, 1.into(), 1.into(), 1.into()];
    let one = [
        batch,
        1.into(),
        height.clone(),
        width.clone(),
        channels.clone(),
    ];
    let none = zeros(b, ymin)?;
    let none = b.reshape("each_none", none, &each)?;
    let pixels = b.reshape("pixels", pixels, &one)?;
    let pixels = b.binary("pixels_of_each", Binary::Add, pixels, none)?;
    let map = [all, height, width];
    let shape = |channels: Dim| map.iter().cloned().chain([channels]).collect::<Vec<_>>();
    let pixels_of_each = b.reshape("pixels_of_all", pixels, &shape(channels))?;
    if !config.uses_xy {
        return Ok(pixels_of_each);
    }
    let mut grids = Vec::with_capacity(2);
    for (axis, (low, high)) in [(ymin, ymax), (xmin, xmax)].into_iter().enumerate() {
        let sum = b.binary("sum", Binary::Add, low, high)?;
        let center = b.binary_scalar("center", Binary::Div, sum, 2.0)?;
        let center = b.reshape("centers", center, &each)?;
        let count = size_of(b, "map", pixels_of_each, axis + 1)?;
        let steps = steps(b, count, axis + 2)?;
        let away = b.binary("away", Binary::Sub, steps, center)?;
        // The same in the other direction.
        let count = size_of(b, "map", pixels_of_each, 2 - axis)?;
        let line = line_of_zeros(b, count, 3 - axis)?;
        let away = b.binary("away_everywhere", Binary::Add, away, line)?;
        grids.push(b.reshape("grid", away, &shape(1.into()))?);
    }
    Ok(b.concat("input", 3, &[grids[0], grids[1], pixels_of_each])?)
}

/// From 0 to 1 in even steps along one of five dimensions.
fn steps(b: &mut Builder, count: (Int, Dim), axis: usize) -> Result<ValueId, ModelError> {
    if let Some(count) = count.1.known() {
        let mut shape = [1; 5];
        shape[axis] = count;
        return constant(b, "steps", &shape, &crops::steps(count));
    }
    let last = count.0.binary(b, "last", Binary::Sub, Int::Known(1))?;
    let last = last.binary(b, "last_or_1", Binary::Maximum, Int::Known(1))?;
    let last = float(b, "last_float", last)?;
    let numbers = Numbers::along(count, axis, 5).floats(b, "numbers")?;
    Ok(b.binary("steps", Binary::Div, numbers, last)?)
}

/// Zeros along one of five dimensions.
fn line_of_zeros(b: &mut Builder, count: (Int, Dim), axis: usize) -> Result<ValueId, ModelError> {
    if let Some(count) = count.1.known() {
        let mut shape = [1; 5];
        shape[axis] = count;
        let zeros = vec![0.0; usize::try_from(count).unwrap_or_default()];
        return constant(b, "line_of_zeros", &shape, &zeros);
    }
    let numbers = Numbers::along(count, axis, 5).floats(b, "numbers")?;
    zeros(b, numbers)
}

/// Masks of the image, `f32[batch * n, height, width]`, cut to their boxes: `f32[batch * n, size, size, 1]`. They are resized before, and, as the reference has it, to as many
/// rows as there are boxes and as many columns as the map has rows, times the stride.
pub(super) fn crops(
    b: &mut Builder,
    logits: ValueId,
    boxes: ValueId,
    size: u64,
) -> Result<ValueId, ModelError> {
    let [all, height, _, _] = map_dims(b, logits)?;
    let (count, number) = size_of(b, "boxes", boxes, 1)?;
    let [rows, _] = spatial(b, "masks", logits)?;
    let stride = Int::Known(STRIDE.into());
    let to = [
        count.binary(b, "to_height", Binary::Mul, stride)?,
        rows.binary(b, "to_width", Binary::Mul, stride)?,
    ];
    let by = Dim::Known(STRIDE.into());
    let [Some(to_height), Some(to_width)] = [number.times(&by), height.times(&by)] else {
        return Err(ModelError::Inconsistent("the masks are too large".into()));
    };
    let dims = [to_height, to_width];
    let is_known = dims.iter().all(|dim| dim.known().is_some());
    let computed = if is_known {
        None
    } else {
        Some(vector(b, "to", &to)?)
    };
    let method = ResizeMethod::Bilinear;
    let resized = b.resize_on(
        "resized",
        logits,
        method,
        PixelGrid::Centers,
        dims,
        computed,
    )?;
    let own = b.reshape("own_boxes", boxes, &[all, 1.into(), 4.into()])?;
    crops::crops(b, resized, own, size)
}
