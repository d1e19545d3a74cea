//! Crops of maps, resized bilinearly, after the reference's `matmul_crop_and_resize`: each sample is made of the four cells around it. Unlike
//! `tf.image.crop_and_resize`, of those cells only the ones beyond the border are 0, so a sample that a rounding error has put beyond it is nearly what it
//! would be on it.

use tfod_graph::{Binary, Builder, Compare, DType, Dim, Tensor, ValueId};

use super::super::maps::{column, constant, count, flattened, map_dims};
use crate::error::ModelError;
use crate::scalar::{Float, Int, spatial};

/// The cells around samples in one direction: the nearer one to the beginning, and the other.
struct Side {
    /// `i32[batch, n, samples]`, within the map.
    cells: ValueId,
    /// `f32[batch, n, samples]`: how much of the sample is made of it; 0 for those beyond the map.
    weights: ValueId,
}

/// From 0 to 1 in even steps.
pub(super) fn steps(count: u64) -> Vec<f32> {
    let last = count.saturating_sub(1).max(1);
    #[expect(clippy::cast_precision_loss, reason = "sizes are small")]
    let steps = (0..count).map(|i| i as f32 / last as f32);
    steps.collect()
}

/// The cells around `samples` between the borders of boxes, `f32[batch, n]` each, in a direction in which the map has `cells`.
fn sides(
    b: &mut Builder,
    [low, high]: [ValueId; 2],
    cells: Int,
    samples: u64,
) -> Result<[Side; 2], ModelError> {
    let last = cells.binary(b, "last", Binary::Sub, Int::Known(1))?;
    let last_float = last.to_float(b, "last_float")?.value(b, "last_float")?;
    let begin = b.binary("begin", Binary::Mul, low, last_float)?;
    let end = b.binary("end", Binary::Mul, high, last_float)?;
    let length = b.binary("length", Binary::Sub, end, begin)?;
    let begin = if samples == 1 {
        let half = b.binary_scalar("half", Binary::Mul, length, 0.5)?;
        b.binary("middle", Binary::Add, begin, half)?
    } else {
        begin
    };
    let begin = column(b, "begins", begin)?;
    let length = column(b, "lengths", length)?;
    let steps = constant(b, "steps", &[samples], &steps(samples))?;
    let way = b.binary("way", Binary::Mul, steps, length)?;
    let places = b.binary("places", Binary::Add, begin, way)?;
    let before = b.binary_scalar("before", Binary::FloorDiv, places, 1.0)?;
    let next = b.binary_scalar("next", Binary::Add, places, 1.0)?;
    let behind = b.binary_scalar("behind", Binary::FloorDiv, next, 1.0)?;
    let near = b.binary("near", Binary::Sub, places, before)?;
    let one = b.constant("one", Tensor::scalar_f32(1.0))?;
    let far = b.binary("far", Binary::Sub, one, near)?;
    Ok([
        side(b, before, far, last_float)?,
        side(b, behind, near, last_float)?,
    ])
}

fn side(
    b: &mut Builder,
    cells: ValueId,
    weights: ValueId,
    last: ValueId,
) -> Result<Side, ModelError> {
    let zero = b.constant("zero", Tensor::scalar_f32(0.0))?;
    let not_before = b.compare("not_before", Compare::GreaterEqual, cells, zero)?;
    let not_behind = b.compare("not_behind", Compare::GreaterEqual, last, cells)?;
    let inside = b.and("inside", not_before, not_behind)?;
    let weights = b.select("weights", inside, weights, zero)?;
    let cells = b.select("cells_inside", inside, cells, zero)?;
    Ok(Side {
        cells: b.cast("cells", cells, DType::I32)?,
        weights,
    })
}

/// Crops of a map `f32[batch, h, w, c]`, `n` of each image: `f32[batch * n, size, size, c]`. In boxes `f32[batch, n, 4]`, 0 is the centre of the first row or column
/// of cells and 1 that of the last.
pub(super) fn crops(
    b: &mut Builder,
    map: ValueId,
    boxes: ValueId,
    size: u64,
) -> Result<ValueId, ModelError> {
    let [batch, _, _, channels] = map_dims(b, map)?;
    let number = b.shape(boxes).dims().get(1).cloned();
    let number = number.unwrap_or(Dim::Known(1));
    let &[ymin, xmin, ymax, xmax] = b.unstack("corners", boxes, 2)?.as_slice() else {
        return Err(ModelError::Inconsistent("a box has four corners".into()));
    };
    let [height, width] = spatial(b, "map", map)?;
    let rows = b.scope("rows", |b| sides(b, [ymin, ymax], height, size))?;
    let columns = b.scope("columns", |b| sides(b, [xmin, xmax], width, size))?;
    let width = width.value(b, "width")?;
    let flat = flattened(b, "flat", map, 1)?;
    let samples = count(&[&number, &size.into(), &size.into()])?;
    let row_dims = [batch.clone(), number.clone(), size.into(), 1.into()];
    let column_dims = [batch.clone(), number.clone(), 1.into(), size.into()];
    let all = [batch.clone(), samples.clone()];
    let mut sum: Option<ValueId> = None;
    for row in &rows {
        let begin = b.binary("row_begin", Binary::Mul, row.cells, width)?;
        let begin = b.reshape("row_begins", begin, &row_dims)?;
        let row_weights = b.reshape("row_weights", row.weights, &row_dims)?;
        for column in &columns {
            let cells = b.reshape("columns", column.cells, &column_dims)?;
            let cells = b.binary("cells", Binary::Add, begin, cells)?;
            let cells = b.reshape("all_cells", cells, &all)?;
            let values = b.gather_batched("values", flat, cells, 1)?;
            let weights = b.reshape("column_weights", column.weights, &column_dims)?;
            let weights = b.binary("weight", Binary::Mul, row_weights, weights)?;
            let [batch, samples] = all.clone();
            let weights = b.reshape("weights", weights, &[batch, samples, 1.into()])?;
            let part = b.binary("part", Binary::Mul, values, weights)?;
            sum = Some(match sum {
                Some(others) => b.binary("sum", Binary::Add, others, part)?,
                None => part,
            });
        }
    }
    let sum = sum.ok_or_else(|| ModelError::Inconsistent("four cells make a sample".into()))?;
    let crops = count(&[&batch, &number])?;
    Ok(b.reshape("crops", sum, &[crops, size.into(), size.into(), channels])?)
}

/// A size as a float.
pub(super) fn float(b: &mut Builder, name: &str, size: Int) -> Result<ValueId, ModelError> {
    let size: Float = size.to_float(b, name)?;
    size.value(b, name)
}
