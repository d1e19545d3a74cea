//! The part of the network's input that is image, where the rest is padding: boxes are cut off at its border, and detections are relative to it. After the
//! reference's `clip_to_window` and `change_coordinate_frame`.

use tfod_graph::{Binary, Builder, MapInput, Tensor, ValueId};

use crate::error::ModelError;
use crate::scalar::{Float, float_vector};

/// How much of height and width is image, in the units of boxes: parts of the network's input, or pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Extent {
    /// The same in all images, which have one size.
    Common([Float; 2]),
    /// `f32[batch, 2]`: images had sizes of their own.
    PerImage(ValueId),
}

/// A window that begins in the upper left corner.
#[derive(Clone, Copy, Debug)]
pub struct ClipWindow {
    /// Its height, width, height and width in the units of boxes. `f32[4]` for one image or for all, or `f32[batch, 4]`.
    corners: ValueId,
    /// Height and width, where they are known: what is computed from them alone is a constant then.
    sides: Option<[f32; 2]>,
}

impl ClipWindow {
    /// From height and width.
    pub(crate) fn new(b: &mut Builder, extent: Extent) -> Result<Self, ModelError> {
        let corners = match extent {
            Extent::Common([height, width]) => {
                float_vector(b, "window", &[height, width, height, width])?
            }
            Extent::PerImage(extents) => b.concat("window", 1, &[extents, extents])?,
        };
        let sides = match extent {
            Extent::Common([Float::Known(height), Float::Known(width)]) => Some([height, width]),
            _ => None,
        };
        Ok(Self { corners, sides })
    }

    /// As the body of a map over images sees it, which is given these corners.
    pub(crate) fn in_body(self, corners: ValueId) -> Self {
        Self { corners, ..self }
    }

    /// The window of each image of a batch, in a form that broadcasts to boxes `[batch, ..., 4]` of `rank` dimensions.
    pub(crate) fn for_batch(self, b: &mut Builder, rank: usize) -> Result<Self, ModelError> {
        let dims = b.shape(self.corners).dims();
        let [batch, four] = dims else {
            return Ok(self);
        };
        let mut aligned = vec![batch.clone()];
        aligned.extend(std::iter::repeat_n(1.into(), rank.saturating_sub(2)));
        aligned.push(four.clone());
        let corners = b.reshape("window_of_each", self.corners, &aligned)?;
        Ok(Self { corners, ..self })
    }

    /// How it is passed to the body of a map over images, which sees `f32[4]`.
    pub(crate) fn map_input(self, b: &Builder) -> (ValueId, MapInput) {
        let kind = match b.shape(self.corners).rank() {
            1 => MapInput::Whole,
            _ => MapInput::Sliced,
        };
        (self.corners, kind)
    }

    /// Boxes `[..., 4]` in coordinates of which the window is the unit square.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub fn relative(self, b: &mut Builder, boxes: ValueId) -> Result<ValueId, ModelError> {
        let scale = match self.sides {
            Some([height, width]) => Self::known_scale(b, &[height, width, height, width])?,
            None => Self::scale(b, self.corners)?,
        };
        Ok(b.binary("relative_to_window", Binary::Mul, boxes, scale)?)
    }

    /// Points `[..., 2]`, y and x, in coordinates of which the window is the unit square.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub fn relative_points(self, b: &mut Builder, points: ValueId) -> Result<ValueId, ModelError> {
        let scale = if let Some(sides) = self.sides {
            Self::known_scale(b, &sides)?
        } else {
            let sides = self.high_corner(b)?;
            Self::scale(b, sides)?
        };
        Ok(b.binary("points_relative_to_window", Binary::Mul, points, scale)?)
    }

    /// Height and width: `f32[2]`.
    fn high_corner(self, b: &mut Builder) -> Result<ValueId, ModelError> {
        match self.sides {
            Some(sides) => float_vector(b, "window_sides", &sides.map(Float::Known)),
            None => Ok(b.slice_last("window_sides", self.corners, 0, 2)?),
        }
    }

    /// 1 / `sides`, computed as the graph would
    fn known_scale(b: &mut Builder, sides: &[f32]) -> Result<ValueId, ModelError> {
        let scale: Vec<Float> = sides.iter().map(|side| Float::Known(1.0 / side)).collect();
        float_vector(b, "window_scale", &scale)
    }

    /// 1 / `sides`
    fn scale(b: &mut Builder, sides: ValueId) -> Result<ValueId, ModelError> {
        let one = b.constant("one", Tensor::scalar_f32(1.0))?;
        Ok(b.binary("window_scale", Binary::Div, one, sides)?)
    }
}

/// Cuts high corners `[..., 2]` off at the border of the window; by default the unit square.
///
/// # Errors
/// When the graph refuses a node.
pub fn clip_high(
    b: &mut Builder,
    corners: ValueId,
    window: Option<ClipWindow>,
) -> Result<ValueId, ModelError> {
    match window {
        Some(window) => {
            let limit = window.high_corner(b)?;
            Ok(b.binary("clip_high", Binary::Minimum, corners, limit)?)
        }
        None => Ok(b.binary_scalar("clip_high", Binary::Minimum, corners, 1.0)?),
    }
}

/// Cuts boxes `[..., 4]` off at the border of the window; by default the unit square.
///
/// # Errors
/// When the graph refuses a node.
pub fn clip(
    b: &mut Builder,
    boxes: ValueId,
    window: Option<ClipWindow>,
) -> Result<ValueId, ModelError> {
    let boxes = b.binary_scalar("clip_low", Binary::Maximum, boxes, 0.0)?;
    match window {
        Some(window) => Ok(b.binary("clip_high", Binary::Minimum, boxes, window.corners)?),
        None => Ok(b.binary_scalar("clip_high", Binary::Minimum, boxes, 1.0)?),
    }
}
