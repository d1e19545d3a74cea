//! The image within the network's input: boxes are told relative to it, and heat maps have no peaks beyond it.

use tfod_graph::{Binary, Builder, Compare, DType, Dim, Tensor, Unary, ValueId};

use super::STRIDE;
use super::maps::{Numbers, constant, map_dims, size_of};
use crate::error::ModelError;
use crate::postprocess::window::Extent;
use crate::scalar::{Float, Int, float_vector, spatial};

/// Size of the image, without padding, in pixels of the network's input.
pub(super) struct Frame {
    image: ImageSize,
    /// Height and width of the network's input.
    input: [Float; 2],
}

/// How large the image is.
enum ImageSize {
    /// As large as the network's input.
    All,
    /// The same size in all images: height and width.
    Common([Float; 2]),
    /// `f32[batch, 1, 2]`: images had sizes of their own.
    PerImage(ValueId),
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
        let [height, width] = spatial(b, "input", images)?;
        let input = [height.to_float(b, "height")?, width.to_float(b, "width")?];
        let image = match extent {
            None => ImageSize::All,
            Some(Extent::Common(parts)) => {
                let mut pixels = |axis: usize, name: &str| {
                    let part = parts[axis].binary(b, name, Binary::Mul, input[axis])?;
                    let pixels = part.rounded(b, &format!("{name}_pixels"))?;
                    pixels.to_float(b, &format!("{name}_exactly"))
                };
                ImageSize::Common([pixels(0, "image_height")?, pixels(1, "image_width")?])
            }
            Some(Extent::PerImage(parts)) => {
                let input = float_vector(b, "input_size", &input)?;
                let pixels = b.binary("image_pixels", Binary::Mul, parts, input)?;
                let pixels = b.unary("image_exactly", Unary::Round, pixels)?;
                let batch = b.shape(pixels).dims().first().cloned();
                let dims = [batch.unwrap_or(Dim::Known(1)), 1.into(), 2.into()];
                ImageSize::PerImage(b.reshape("image_size", pixels, &dims)?)
            }
        };
        Ok(Self { image, input })
    }

    /// Height and width of the image, as often as that: `f32[2 * times]`, or `f32[batch, 1, 2 * times]`, which goes with points `[batch, N, 2 * times]`.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub(super) fn size(
        &self,
        b: &mut Builder,
        name: &str,
        times: usize,
    ) -> Result<ValueId, ModelError> {
        match &self.image {
            ImageSize::All => float_vector(b, name, &self.input.repeat(times)),
            ImageSize::Common(sides) => float_vector(b, name, &sides.repeat(times)),
            ImageSize::PerImage(size) => Ok(b.concat(name, 2, &vec![*size; times])?),
        }
    }

    /// Which part of the network's input is image, in both directions: `f32[2]`, or `f32[batch, 1, 2]`.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub(super) fn part(&self, b: &mut Builder) -> Result<ValueId, ModelError> {
        let sides = match &self.image {
            ImageSize::All => self.input,
            ImageSize::Common(sides) => *sides,
            ImageSize::PerImage(size) => {
                let input = float_vector(b, "input_size", &self.input)?;
                return Ok(b.binary("image_part", Binary::Div, *size, input)?);
            }
        };
        let mut part = |axis: usize| {
            let name = format!("image_part_{axis}");
            sides[axis].binary(b, &name, Binary::Div, self.input[axis])
        };
        let parts = [part(0)?, part(1)?];
        float_vector(b, "image_part", &parts)
    }

    /// What a row and a column of the feature map are in fractions of the image, for values `[batch, N, k]`: scalars, or `f32[batch, 1, 1]`.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub(super) fn location(&self, b: &mut Builder) -> Result<[ValueId; 2], ModelError> {
        let names = ["row", "column"];
        let sides = match &self.image {
            ImageSize::All => self.input,
            ImageSize::Common(sides) => *sides,
            ImageSize::PerImage(size) => {
                let stride = b.constant("stride", Tensor::scalar_f32(STRIDE.into()))?;
                let parts = b.binary("locations", Binary::Div, stride, *size)?;
                let parts = b.unstack("location", parts, 2)?;
                let batch = b.shape(parts[0]).dims().first().cloned();
                let dims = [batch.unwrap_or(Dim::Known(1)), 1.into(), 1.into()];
                let row = b.reshape(names[0], parts[0], &dims)?;
                return Ok([row, b.reshape(names[1], parts[1], &dims)?]);
            }
        };
        let mut part = |axis: usize| {
            let part =
                Float::Known(STRIDE.into()).binary(b, names[axis], Binary::Div, sides[axis])?;
            part.value(b, names[axis])
        };
        Ok([part(0)?, part(1)?])
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
        let sides = self.size(b, "boxes_sides", 2)?;
        let boxes = Self::relative(b, boxes, sides)?;
        let boxes = b.binary_scalar("boxes_clip_low", Binary::Maximum, boxes, 0.0)?;
        Ok(b.binary_scalar("boxes_clip_high", Binary::Minimum, boxes, 1.0)?)
    }

    /// Boxes `[batch, N, 4]`, in locations of the feature map, as fractions of the network's input.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub(super) fn of_input(&self, b: &mut Builder, boxes: ValueId) -> Result<ValueId, ModelError> {
        let sides = float_vector(b, "boxes_sides", &self.input.repeat(2))?;
        Self::relative(b, boxes, sides)
    }

    fn relative(b: &mut Builder, boxes: ValueId, sides: ValueId) -> Result<ValueId, ModelError> {
        let pixels = b.binary_scalar("boxes_pixels", Binary::Mul, boxes, STRIDE.into())?;
        Ok(b.binary("boxes_relative", Binary::Div, pixels, sides)?)
    }

    /// A map `[batch, h, w, c]` with zeros where row or column are not below the height or width of the image. The reference compares numbers of
    /// locations with numbers of pixels, so only what is far beyond the image is left out.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub(super) fn masked(&self, b: &mut Builder, map: ValueId) -> Result<ValueId, ModelError> {
        let sides = match &self.image {
            ImageSize::All => return Ok(map),
            ImageSize::Common(sides) => *sides,
            ImageSize::PerImage(size) => {
                let sides = b.unstack("image_sides", *size, 2)?;
                [Float::Computed(sides[0]), Float::Computed(sides[1])]
            }
        };
        b.scope("mask", |b| {
            let mut masked = map;
            for (axis, name) in ["rows", "columns"].into_iter().enumerate() {
                let Some(mask) = self.mask(b, name, map, axis, sides[axis])? else {
                    continue;
                };
                masked = b.binary(&format!("masked_{name}"), Binary::Mul, masked, mask)?;
            }
            Ok(masked)
        })
    }

    /// Ones for rows or columns of a map `[batch, h, w, c]` below a side of the image, zeros for others; `None` where there are no others.
    fn mask(
        &self,
        b: &mut Builder,
        name: &str,
        map: ValueId,
        axis: usize,
        side: Float,
    ) -> Result<Option<ValueId>, ModelError> {
        let [batch, ..] = map_dims(b, map)?;
        let count = size_of(b, name, map, axis + 1)?;
        if let ((Int::Known(count), _), Float::Known(side)) = (&count, side) {
            let values: Vec<f32> = (0..*count).map(|n| within(n, side)).collect();
            if values.iter().all(|value| *value > 0.0) {
                return Ok(None);
            }
            let mut shape = [1; 4];
            shape[axis + 1] = values.len() as u64;
            return Ok(Some(constant(b, name, &shape, &values)?));
        }
        let numbers = Numbers::along(count, axis + 1, 4).floats(b, name)?;
        let is_own = matches!(self.image, ImageSize::PerImage(_));
        let one = || Dim::Known(1);
        let side = side.value(b, &format!("{name}_side"))?;
        let dims = [if is_own { batch } else { one() }, one(), one(), one()];
        let side = b.reshape(&format!("{name}_of_image"), side, &dims)?;
        let is_within = b.compare(&format!("{name}_within"), Compare::Less, numbers, side)?;
        Ok(Some(b.cast(
            &format!("{name}_mask"),
            is_within,
            DType::F32,
        )?))
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "sizes of maps are far below the limit"
)]
fn within(number: i32, side: f32) -> f32 {
    f32::from(u8::from((number as f32) < side))
}
