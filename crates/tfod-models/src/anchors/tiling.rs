//! The same few boxes around every position of a feature map, in the reference's 32-bit arithmetic (`tile_anchors`).

use tfod_graph::{Binary, Builder, DType, Dim, Tensor, ValueId};

use crate::anchors::{Corners, anchors_dim};
use crate::error::ModelError;
use crate::scalar::{Float, Int, spatial};

/// The boxes of one feature map, in the generator's units. What depends on the size of the image may be known only at run time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tiling {
    /// Height and width of the boxes around one centre, in units of `base`.
    pub shapes: Vec<[f32; 2]>,
    /// Height and width.
    pub base: [Float; 2],
    /// From one centre to the next, down and to the right.
    pub stride: [Float; 2],
    /// The first centre: y, x.
    pub offset: [Float; 2],
    /// What y and x are multiplied by in the end.
    pub scale: [Float; 2],
}

/// Height and width of a box of this scale (the square root of its area) and ratio of width to height.
pub(super) fn shaped(scale: f32, ratio: f32) -> [f32; 2] {
    let root = ratio.sqrt();
    [scale / root, scale * root]
}

/// Factors that bring pixels of an image of this height and width to 0..1.
pub(super) fn per_pixel(b: &mut Builder, image: [Int; 2]) -> Result<[Float; 2], ModelError> {
    let one = Float::Known(1.0);
    let mut inverse = |name: &str, side: Int| {
        let side = side.to_float(b, &format!("{name}_float"))?;
        one.binary(b, &format!("per_{name}"), Binary::Div, side)
    };
    Ok([inverse("height", image[0])?, inverse("width", image[1])?])
}

/// A feature map: its height and width as numbers and as dimensions.
#[derive(Clone, Debug)]
pub struct Cells {
    pub(crate) size: [Int; 2],
    pub(crate) dims: [Dim; 2],
}

impl Cells {
    /// Of the feature maps of a detector, from fine to coarse.
    pub(crate) fn of_each(b: &mut Builder, maps: &[ValueId]) -> Result<Vec<Self>, ModelError> {
        let maps = maps.iter().enumerate();
        maps.map(|(level, map)| Self::of(b, &format!("map_{level}"), *map))
            .collect()
    }

    /// Of a value `[batch, height, width, channels]`.
    fn of(b: &mut Builder, name: &str, map: ValueId) -> Result<Self, ModelError> {
        let size = spatial(b, name, map)?;
        match b.shape(map).dims() {
            [_, height, width, _] => Ok(Self {
                size,
                dims: [height.clone(), width.clone()],
            }),
            _ => Err(ModelError::Inconsistent(
                "a feature map has four dimensions".into(),
            )),
        }
    }
}

/// Numbers, where all are known.
fn known(values: [Float; 2]) -> Option<[f32; 2]> {
    match values {
        [Float::Known(a), Float::Known(b)] => Some([a, b]),
        _ => None,
    }
}

impl Tiling {
    /// Adds the boxes over a feature map of this height and width: row by row, with the boxes of one centre together. Says whether all numbers are
    /// known; if not, nothing is added.
    #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^24")]
    pub(super) fn tile(&self, cells: &Cells, anchors: &mut Vec<Corners>) -> bool {
        let ([Int::Known(rows), Int::Known(columns)], Some(base), Some(stride)) =
            (cells.size, known(self.base), known(self.stride))
        else {
            return false;
        };
        let (Some(offset), Some(scale)) = (known(self.offset), known(self.scale)) else {
            return false;
        };
        for row in 0..rows {
            let y = row as f32 * stride[0] + offset[0];
            for column in 0..columns {
                let x = column as f32 * stride[1] + offset[1];
                anchors.extend(self.shapes.iter().map(|[h, w]| {
                    let (h, w) = (h * base[0], w * base[1]);
                    [
                        (y - 0.5 * h) * scale[0],
                        (x - 0.5 * w) * scale[1],
                        (y + 0.5 * h) * scale[0],
                        (x + 0.5 * w) * scale[1],
                    ]
                }));
            }
        }
        true
    }

    /// Whether the sides of boxes are numbers, as far as they are known.
    pub(super) fn is_finite(&self) -> bool {
        let base = self.base.map(|base| match base {
            Float::Known(base) => base,
            Float::Computed(_) => 1.0,
        });
        let mut sides = self
            .shapes
            .iter()
            .flat_map(|[h, w]| [h * base[0], w * base[1]]);
        sides.all(f32::is_finite)
    }

    /// The same boxes in the same order, computed by the graph: `[anchors, 4]`.
    pub(super) fn tile_in_graph(
        &self,
        b: &mut Builder,
        cells: &Cells,
    ) -> Result<ValueId, ModelError> {
        let [rows, columns] = cells.size;
        let count = rows.binary(b, "num_positions", Binary::Mul, columns)?;
        let count = count.value(b, "num_positions")?;
        let positions = anchors_dim(&cells.dims, 1)?;
        let position = b.range("positions", count, positions.clone())?;
        let columns = columns.value(b, "columns")?;
        let row = b.binary("rows", Binary::FloorDiv, position, columns)?;
        let before = b.binary("positions_before", Binary::Mul, row, columns)?;
        let column = b.binary("columns_in_row", Binary::Sub, position, before)?;
        let [y0, y1] = b.scope("y", |b| self.sides(b, 0, row, &positions))?;
        let [x0, x1] = b.scope("x", |b| self.sides(b, 1, column, &positions))?;
        let corners = b.stack("corners", 2, &[y0, x0, y1, x1])?;
        let boxes = anchors_dim(&cells.dims, self.shapes.len() as u64)?;
        Ok(b.reshape("anchors", corners, &[boxes, 4.into()])?)
    }

    /// Lower and upper sides of all boxes along one axis, `[positions, boxes]`.
    fn sides(
        &self,
        b: &mut Builder,
        axis: usize,
        index: ValueId,
        positions: &Dim,
    ) -> Result<[ValueId; 2], ModelError> {
        let index = b.cast("index", index, DType::F32)?;
        let stride = self.stride[axis].value(b, "stride")?;
        let offset = self.offset[axis].value(b, "offset")?;
        let scale = self.scale[axis].value(b, "scale")?;
        let base = self.base[axis].value(b, "base")?;
        let center = b.binary("steps", Binary::Mul, index, stride)?;
        let center = b.binary("centers", Binary::Add, center, offset)?;
        let center = b.reshape("centers_column", center, &[positions.clone(), 1.into()])?;
        let sizes: Vec<f32> = self.shapes.iter().map(|shape| shape[axis]).collect();
        let sizes = Tensor::f32(&[sizes.len() as u64], &sizes)
            .ok_or_else(|| ModelError::Inconsistent("boxes without a size".into()))?;
        let sizes = b.constant("shapes", sizes)?;
        let sizes = b.binary("sizes", Binary::Mul, sizes, base)?;
        let half = b.binary_scalar("half_sizes", Binary::Mul, sizes, 0.5)?;
        let low = b.binary("low", Binary::Sub, center, half)?;
        let high = b.binary("high", Binary::Add, center, half)?;
        Ok([
            b.binary("low_scaled", Binary::Mul, low, scale)?,
            b.binary("high_scaled", Binary::Mul, high, scale)?,
        ])
    }
}
