//! What tasks need of maps and objects.

use tfod_graph::{Binary, Builder, DType, Dim, Tensor, ValueId};

use crate::error::ModelError;
use crate::scalar::{Int, float_vector, spatial};

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

/// A constant of floats.
pub(super) fn constant(
    b: &mut Builder,
    name: &str,
    shape: &[u64],
    values: &[f32],
) -> Result<ValueId, ModelError> {
    let tensor = Tensor::f32(shape, values).ok_or_else(not_all)?;
    Ok(b.constant(name, tensor)?)
}

fn not_all() -> ModelError {
    ModelError::Inconsistent("as many numbers as a shape has elements".into())
}

/// A value with a new dimension of 1, which becomes number `axis`.
pub(super) fn inserted(
    b: &mut Builder,
    name: &str,
    x: ValueId,
    axis: usize,
) -> Result<ValueId, ModelError> {
    let mut dims = b.shape(x).dims().to_vec();
    if axis > dims.len() {
        return Err(ModelError::Inconsistent(format!(
            "a value of {} dimensions has no place for number {axis}",
            dims.len()
        )));
    }
    dims.insert(axis, Dim::Known(1));
    Ok(b.reshape(name, x, &dims)?)
}

/// A value with a new last dimension of 1.
pub(super) fn column(b: &mut Builder, name: &str, x: ValueId) -> Result<ValueId, ModelError> {
    let rank = b.shape(x).rank();
    inserted(b, name, x, rank)
}

/// How large a dimension of a value is, as a number and as a dimension.
pub(super) fn size_of(
    b: &mut Builder,
    name: &str,
    x: ValueId,
    axis: usize,
) -> Result<(Int, Dim), ModelError> {
    let missing = || ModelError::Inconsistent(format!("`{name}` of a value without it"));
    let dim = b.shape(x).dims().get(axis).cloned().ok_or_else(missing)?;
    if let Some(size) = dim.known().and_then(|n| i32::try_from(n).ok()) {
        return Ok((Int::Known(size), dim));
    }
    let shape = b.shape_of(&format!("{name}/shape"), x)?;
    let sizes = b.unstack(&format!("{name}/sizes"), shape, 0)?;
    let size = sizes.get(axis).copied().ok_or_else(missing)?;
    Ok((Int::Computed(size), dim))
}

/// Numbers from 0 on along one of several dimensions; the others are 1.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    /// How many, as a number and as a dimension.
    count: (Int, Dim),
    axis: usize,
    rank: usize,
}

impl Numbers {
    /// Along one of `rank` dimensions; `count` as of [`size_of`].
    pub(super) fn along(count: (Int, Dim), axis: usize, rank: usize) -> Self {
        Self { count, axis, rank }
    }

    /// Where the sizes are known.
    fn known(&self) -> Option<(i32, Vec<u64>)> {
        let Int::Known(count) = self.count.0 else {
            return None;
        };
        let dims = self.dims();
        let shape = dims.iter().map(Dim::known);
        Some((count, shape.collect::<Option<_>>()?))
    }

    fn dims(&self) -> Vec<Dim> {
        let mut dims = vec![Dim::Known(1); self.rank];
        if let Some(dim) = dims.get_mut(self.axis) {
            *dim = self.count.1.clone();
        }
        dims
    }

    /// As integers, times a factor.
    pub(super) fn integers(
        self,
        b: &mut Builder,
        name: &str,
        factor: i32,
    ) -> Result<ValueId, ModelError> {
        if let Some((count, shape)) = self.known() {
            let numbers: Vec<i32> = (0..count).map(|n| n.saturating_mul(factor)).collect();
            let tensor = Tensor::i32(&shape, &numbers).ok_or_else(not_all)?;
            return Ok(b.constant(name, tensor)?);
        }
        let mut numbers = self.range(b, name)?;
        if factor != 1 {
            let factor = b.constant(&format!("{name}/factor"), Tensor::scalar_i32(factor))?;
            numbers = b.binary(&format!("{name}/times"), Binary::Mul, numbers, factor)?;
        }
        self.shaped(b, name, numbers)
    }

    /// As floats.
    pub(super) fn floats(self, b: &mut Builder, name: &str) -> Result<ValueId, ModelError> {
        if let Some((count, shape)) = self.known() {
            #[expect(
                clippy::cast_precision_loss,
                reason = "sizes of maps are far below the limit"
            )]
            let numbers: Vec<f32> = (0..count).map(|n| n as f32).collect();
            return constant(b, name, &shape, &numbers);
        }
        let numbers = self.range(b, name)?;
        let numbers = b.cast(&format!("{name}/float"), numbers, DType::F32)?;
        self.shaped(b, name, numbers)
    }

    fn range(&self, b: &mut Builder, name: &str) -> Result<ValueId, ModelError> {
        let (count, dim) = &self.count;
        let count = count.value(b, &format!("{name}/count"))?;
        Ok(b.range(&format!("{name}/range"), count, dim.clone())?)
    }

    fn shaped(self, b: &mut Builder, name: &str, numbers: ValueId) -> Result<ValueId, ModelError> {
        if self.rank == 1 {
            return Ok(numbers);
        }
        Ok(b.reshape(name, numbers, &self.dims())?)
    }
}

/// Quotient and remainder of numbers of at least 0.
pub(super) fn divided(
    b: &mut Builder,
    name: &str,
    numbers: ValueId,
    by: Int,
) -> Result<[ValueId; 2], ModelError> {
    let by = by.value(b, &format!("{name}_count"))?;
    let quotient = b.binary(&format!("{name}_quotient"), Binary::FloorDiv, numbers, by)?;
    let whole = b.binary(&format!("{name}_whole"), Binary::Mul, quotient, by)?;
    let remainder = b.binary(name, Binary::Sub, numbers, whole)?;
    Ok([quotient, remainder])
}

/// Rows and columns, as floats, of cells that are counted row after row.
pub(super) fn rows_and_columns(
    b: &mut Builder,
    cells: ValueId,
    map: ValueId,
) -> Result<[ValueId; 2], ModelError> {
    let [_, width] = spatial(b, "map", map)?;
    let [rows, columns] = divided(b, "column", cells, width)?;
    Ok([
        b.cast("row_float", rows, DType::F32)?,
        b.cast("column_float", columns, DType::F32)?,
    ])
}

/// How many cells a map has.
pub(super) fn num_cells(b: &mut Builder, map: ValueId) -> Result<Int, ModelError> {
    let [height, width] = spatial(b, "map", map)?;
    height.binary(b, "cells", Binary::Mul, width)
}

/// Rows and columns of all cells of a map, row after row. Of a map of known size there are few enough: see `MOST_LOCATIONS`.
pub(super) enum Grid {
    /// The size is known.
    Known(Vec<[f32; 2]>),
    /// `f32[cells]` each.
    Computed([ValueId; 2]),
}

impl Grid {
    /// Those of a map.
    pub(super) fn of(b: &mut Builder, map: ValueId) -> Result<Self, ModelError> {
        if let [Int::Known(height), Int::Known(width)] = spatial(b, "map", map)? {
            #[expect(
                clippy::cast_precision_loss,
                reason = "sizes of maps are far below the limit"
            )]
            let cells = (0..height)
                .flat_map(|row| (0..width).map(move |column| [row as f32, column as f32]));
            return Ok(Self::Known(cells.collect()));
        }
        let [_, height, width, _] = map_dims(b, map)?;
        let count = (num_cells(b, map)?, count(&[&height, &width])?);
        let cells = Numbers::along(count, 0, 1).integers(b, "all_cells", 1)?;
        Ok(Self::Computed(rows_and_columns(b, cells, map)?))
    }

    /// Rows, and columns: `f32[cells]` each.
    pub(super) fn apart(self, b: &mut Builder) -> Result<[ValueId; 2], ModelError> {
        match self {
            Self::Known(cells) => {
                let mut part = |axis: usize, name: &str| {
                    let values: Vec<f32> = cells.iter().map(|cell| cell[axis]).collect();
                    constant(b, name, &[values.len() as u64], &values)
                };
                Ok([part(0, "rows")?, part(1, "columns")?])
            }
            Self::Computed(parts) => Ok(parts),
        }
    }

    /// Row and column of each cell: `f32[cells, 2]`.
    pub(super) fn together(self, b: &mut Builder) -> Result<ValueId, ModelError> {
        match self {
            Self::Known(cells) => {
                let count = cells.len() as u64;
                constant(b, "places", &[count, 2], cells.as_flattened())
            }
            Self::Computed(parts) => Ok(b.stack("places", 1, &parts)?),
        }
    }
}

/// Sizes as floats, `f32[n]`; a constant where all are known.
pub(super) fn float_sizes(
    b: &mut Builder,
    name: &str,
    sizes: &[Int],
) -> Result<ValueId, ModelError> {
    let mut floats = Vec::with_capacity(sizes.len());
    for size in sizes {
        floats.push(size.to_float(b, &format!("{name}/part_float"))?);
    }
    float_vector(b, name, &floats)
}
