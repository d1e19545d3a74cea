//! What tasks need of maps and objects.

use tfod_graph::{Binary, Builder, DType, Dim, Tensor, ValueId};

use super::objects::Objects;
use crate::error::ModelError;
use crate::scalar::{Float, Int, spatial};

fn not_a_map() -> ModelError {
    ModelError::Inconsistent("a feature map has four dimensions".into())
}

/// The four dimensions of a map.
pub(super) fn map_dims(b: &Builder, map: ValueId) -> Result<[Dim; 4], ModelError> {
    let dims = b.shape(map).dims().to_vec();
    <[Dim; 4]>::try_from(dims).map_err(|_| not_a_map())
}

/// How many there are of all these together.
pub(super) fn count(dims: &[&Dim]) -> Result<Dim, ModelError> {
    Dim::product(dims.iter().copied())
        .ok_or_else(|| ModelError::Inconsistent("the feature maps are too large".into()))
}

/// A map `[batch, height, width, parts * values]` as `[batch, height * width * parts, values]`.
pub(super) fn flattened(
    b: &mut Builder,
    name: &str,
    map: ValueId,
    parts: u64,
) -> Result<ValueId, ModelError> {
    let [batch, height, width, channels] = map_dims(b, map)?;
    let values = channels.known().filter(|n| parts > 0 && n % parts == 0);
    let values = values.ok_or_else(not_a_map)? / parts.max(1);
    let rows = count(&[&height, &width, &parts.into()])?;
    Ok(b.reshape(name, map, &[batch, rows, values.into()])?)
}

/// Rows and columns, as floats, of cells that are counted row after row.
pub(super) fn rows_and_columns(
    b: &mut Builder,
    cells: ValueId,
    map: ValueId,
) -> Result<[ValueId; 2], ModelError> {
    let [_, width] = spatial(b, "map", map)?;
    let width = width.value(b, "width")?;
    let rows = b.binary("row", Binary::FloorDiv, cells, width)?;
    let begin = b.binary("row_begin", Binary::Mul, rows, width)?;
    let columns = b.binary("column", Binary::Sub, cells, begin)?;
    let float = DType::F32;
    Ok([
        b.cast("row_float", rows, float)?,
        b.cast("column_float", columns, float)?,
    ])
}

/// How many cells a map has.
pub(super) fn num_cells(b: &mut Builder, map: ValueId) -> Result<Int, ModelError> {
    let [height, width] = spatial(b, "map", map)?;
    height.binary(b, "cells", Binary::Mul, width)
}

/// The numbers of objects, from 0: `i32[n]`.
pub(super) fn object_numbers(b: &mut Builder, objects: &Objects) -> Result<ValueId, ModelError> {
    let dims = b.shape(objects.classes).dims().to_vec();
    let number = dims.get(1).cloned().unwrap_or(Dim::Known(1));
    if let Some(count) = number.known() {
        let numbers = 0..i32::try_from(count).unwrap_or(i32::MAX);
        let numbers: Vec<i32> = numbers.collect();
        let numbers = Tensor::i32(&[count], &numbers)
            .ok_or_else(|| ModelError::Inconsistent("one number for each object".into()))?;
        return Ok(b.constant("object_numbers", numbers)?);
    }
    let shape = b.shape_of("objects_shape", objects.classes)?;
    match *b.unstack("objects_size", shape, 0)?.as_slice() {
        [_, count] => Ok(b.range("object_numbers", count, number)?),
        _ => Err(ModelError::Inconsistent(
            "objects have two dimensions".into(),
        )),
    }
}

/// Sizes as floats, `f32[n]`; a constant where all are known.
pub(super) fn float_sizes(
    b: &mut Builder,
    name: &str,
    sizes: &[Int],
) -> Result<ValueId, ModelError> {
    let mut known = Vec::with_capacity(sizes.len());
    let mut floats = Vec::with_capacity(sizes.len());
    for size in sizes {
        let float = size.to_float(b, &format!("{name}/part_float"))?;
        floats.push(float);
        if let Float::Known(number) = float {
            known.push(number);
        }
    }
    if known.len() == sizes.len() {
        return constant(b, name, &known);
    }
    let mut values = Vec::with_capacity(sizes.len());
    for float in floats {
        values.push(float.value(b, &format!("{name}/part"))?);
    }
    Ok(b.stack(name, 0, &values)?)
}

/// A constant `f32[n]`.
fn constant(b: &mut Builder, name: &str, values: &[f32]) -> Result<ValueId, ModelError> {
    let tensor = Tensor::f32(&[values.len() as u64], values)
        .ok_or_else(|| ModelError::Inconsistent("as many numbers as there are".into()))?;
    Ok(b.constant(name, tensor)?)
}

/// Rows and columns of all cells of a map: `f32[cells]`; constants where the size is known.
pub(super) fn grid(b: &mut Builder, map: ValueId) -> Result<[ValueId; 2], ModelError> {
    let [_, height, width, _] = map_dims(b, map)?;
    let known = |dim: &Dim| dim.known().and_then(|n| u16::try_from(n).ok());
    if let (Some(height), Some(width)) = (known(&height), known(&width)) {
        let cells = (0..height).flat_map(|row| (0..width).map(move |column| (row, column)));
        let [rows, columns]: [Vec<f32>; 2] = [
            cells.clone().map(|(row, _)| f32::from(row)).collect(),
            cells.map(|(_, column)| f32::from(column)).collect(),
        ];
        return Ok([
            constant(b, "rows", &rows)?,
            constant(b, "columns", &columns)?,
        ]);
    }
    let cells = count(&[&height, &width])?;
    let number = num_cells(b, map)?.value(b, "num_cells")?;
    let cells = b.range("all_cells", number, cells)?;
    rows_and_columns(b, cells, map)
}
