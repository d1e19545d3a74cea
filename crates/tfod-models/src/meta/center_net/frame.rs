//! The image within the network's input: boxes are told relative to it, and heat maps have no peaks beyond it.

use tfod_graph::{Binary, Builder, Compare, DType, Dim, Tensor, ValueId};

use super::STRIDE;
use crate::error::ModelError;
use crate::postprocess::window::Extent;
use crate::scalar::{Int, spatial};

/// Size of the image, without padding, in pixels of the network's input.
pub(super) struct Frame {
    /// `f32[2]`, or `f32[batch, 1, 2]` where images had sizes of their own: height and width.
    size: ValueId,
    /// Height and width of the network's input, `f32[2]`.
    input: ValueId,
    /// Whether there is padding.
    is_padded: bool,
}

impl Frame {
    /// Of what the network sees, `[batch, height, width, 3]`, and of how much of it is image.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub(super) fn new(
        b: &mut Builder,
        images: ValueId,
        extent: Option<Extent>,
    ) -> Result<Self, ModelError> {
        let sides = spatial(b, "input", images)?;
        let names = ["height", "width"];
        let mut floats = Vec::with_capacity(2);
        for (side, name) in sides.into_iter().zip(names) {
            floats.push(side.to_float(b, &format!("{name}_float"))?);
        }
        let mut values = Vec::with_capacity(2);
        for (side, name) in floats.iter().zip(names) {
            values.push(side.value(b, name)?);
        }
        let input = b.stack("input_size", 0, &values)?;
        let size = match extent {
            None => input,
            Some(Extent::Common(parts)) => {
                let mut sides = Vec::with_capacity(2);
                for ((part, side), name) in parts.into_iter().zip(floats).zip(names) {
                    let pixels = part.binary(b, &format!("image_{name}"), Binary::Mul, side)?;
                    let pixels = pixels.rounded(b, &format!("image_{name}_pixels"))?;
                    let pixels = pixels.to_float(b, &format!("image_{name}_exactly"))?;
                    sides.push(pixels.value(b, &format!("image_{name}_value"))?);
                }
                b.stack("image_size", 0, &sides)?
            }
            Some(Extent::PerImage(parts)) => {
                let pixels = b.binary("image_pixels", Binary::Mul, parts, input)?;
                let pixels = b.unary("image_exactly", tfod_graph::Unary::Round, pixels)?;
                let batch = b.shape(pixels).dims().first().cloned();
                let batch = batch.unwrap_or(Dim::Known(1));
                b.reshape("image_size", pixels, &[batch, 1.into(), 2.into()])?
            }
        };
        Ok(Self {
            size,
            input,
            is_padded: extent.is_some(),
        })
    }

    /// Height and width of the image, `f32[2]`, or `f32[batch, 1, 2]`, which goes with points `[batch, N, 2]`.
    #[allow(dead_code, reason = "tasks take it")]
    pub(super) fn size(&self) -> ValueId {
        self.size
    }

    /// Which part of the network's input is image, in both directions: `f32[2]`, or `f32[batch, 1, 2]`.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub(super) fn part(&self, b: &mut Builder) -> Result<ValueId, ModelError> {
        Ok(b.binary("image_part", Binary::Div, self.size, self.input)?)
    }

    /// Boxes `[batch, N, 4]`, in locations of the feature map, as fractions of the image, cut off at its border.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub(super) fn normalized_boxes(
        &self,
        b: &mut Builder,
        boxes: ValueId,
    ) -> Result<ValueId, ModelError> {
        let boxes = self.relative(b, "boxes", boxes, self.size)?;
        let boxes = b.binary_scalar("boxes_clip_low", Binary::Maximum, boxes, 0.0)?;
        Ok(b.binary_scalar("boxes_clip_high", Binary::Minimum, boxes, 1.0)?)
    }

    /// Boxes `[batch, N, 4]`, in locations of the feature map, as fractions of the network's input.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub(super) fn of_input(&self, b: &mut Builder, boxes: ValueId) -> Result<ValueId, ModelError> {
        self.relative(b, "boxes", boxes, self.input)
    }

    fn relative(
        &self,
        b: &mut Builder,
        name: &str,
        boxes: ValueId,
        size: ValueId,
    ) -> Result<ValueId, ModelError> {
        let axis = b.shape(size).rank().saturating_sub(1);
        let pixels = b.binary_scalar(&format!("{name}_pixels"), Binary::Mul, boxes, STRIDE)?;
        let sides = b.concat(&format!("{name}_sides"), axis, &[size, size])?;
        Ok(b.binary(&format!("{name}_relative"), Binary::Div, pixels, sides)?)
    }

    /// A map `[batch, h, w, c]` with zeros where row or column are not below the height or width of the image. The reference compares numbers of
    /// locations with numbers of pixels, so only what is far beyond the image is left out.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub(super) fn masked(&self, b: &mut Builder, map: ValueId) -> Result<ValueId, ModelError> {
        if !self.is_padded {
            return Ok(map);
        }
        b.scope("mask", |b| {
            let map_sides = spatial(b, "map", map)?;
            let dims = b.shape(map).dims().to_vec();
            let per_image = b.shape(self.size).rank() == 3;
            let batch = if per_image {
                dims.first().cloned().unwrap_or(Dim::Known(1))
            } else {
                Dim::Known(1)
            };
            let sides = b.unstack("image_sides", self.size, b.shape(self.size).rank() - 1)?;
            let mut masks = Vec::with_capacity(2);
            for (axis, name) in ["rows", "columns"].into_iter().enumerate() {
                let (count, dim) = (map_sides[axis], dims.get(axis + 1).cloned());
                let dim = dim.unwrap_or(Dim::Known(1));
                let numbers = numbers(b, name, count, dim.clone())?;
                let mut shape = [Dim::Known(1), 1.into(), 1.into(), 1.into()];
                shape[axis + 1] = dim;
                let numbers = b.reshape(&format!("{name}_of_map"), numbers, &shape)?;
                let side = [batch.clone(), 1.into(), 1.into(), 1.into()];
                let side = b.reshape(&format!("{name}_of_image"), sides[axis], &side)?;
                let within = b.compare(&format!("{name}_within"), Compare::Less, numbers, side)?;
                masks.push(b.cast(&format!("{name}_mask"), within, DType::F32)?);
            }
            let mask = b.binary("mask", Binary::Mul, masks[0], masks[1])?;
            Ok(b.binary("masked", Binary::Mul, map, mask)?)
        })
    }
}

/// The numbers from 0 on as floats, `f32[count]`.
fn numbers(b: &mut Builder, name: &str, count: Int, dim: Dim) -> Result<ValueId, ModelError> {
    match count {
        Int::Known(count) => {
            #[expect(
                clippy::cast_precision_loss,
                reason = "sizes of maps are far below the limit"
            )]
            let values: Vec<f32> = (0..count).map(|n| n as f32).collect();
            let tensor = Tensor::f32(&[values.len() as u64], &values);
            let tensor =
                tensor.ok_or_else(|| ModelError::Inconsistent("numbers without a count".into()))?;
            Ok(b.constant(name, tensor)?)
        }
        Int::Computed(count) => {
            let range = b.range(&format!("{name}_range"), count, dim)?;
            Ok(b.cast(name, range, DType::F32)?)
        }
    }
}
