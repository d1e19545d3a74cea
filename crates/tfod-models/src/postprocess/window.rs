//! The part of the network's input that is image, where the rest is padding: boxes are cut off at its border, and detections are relative to it. After the
//! reference's `clip_to_window` and `change_coordinate_frame`.

use tfod_graph::{Binary, Builder, Tensor, ValueId};

use crate::error::ModelError;
use crate::scalar::Float;

/// A window that begins in the upper left corner: its height, width, height and width (`f32[4]`) in parts of the network's input.
#[derive(Clone, Copy, Debug)]
pub struct Window(pub ValueId);

impl Window {
    /// From height and width.
    pub(crate) fn new(b: &mut Builder, extent: [Float; 2]) -> Result<Self, ModelError> {
        let height = extent[0].value(b, "window/height")?;
        let width = extent[1].value(b, "window/width")?;
        let corners = [height, width, height, width];
        Ok(Self(b.stack("window", 0, &corners)?))
    }

    /// Boxes `[..., 4]` in coordinates of which the window is the unit square.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub fn relative(self, b: &mut Builder, boxes: ValueId) -> Result<ValueId, ModelError> {
        let scale = Self::scale(b, self.0)?;
        Ok(b.binary("relative_to_window", Binary::Mul, boxes, scale)?)
    }

    /// Points `[..., 2]`, y and x, in coordinates of which the window is the unit square.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub fn relative_points(self, b: &mut Builder, points: ValueId) -> Result<ValueId, ModelError> {
        let sides = self.high_corner(b)?;
        let scale = Self::scale(b, sides)?;
        Ok(b.binary("points_relative_to_window", Binary::Mul, points, scale)?)
    }

    /// Height and width: `f32[2]`.
    fn high_corner(self, b: &mut Builder) -> Result<ValueId, ModelError> {
        Ok(b.slice_last("window_sides", self.0, 0, 2)?)
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
    window: Option<Window>,
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
    window: Option<Window>,
) -> Result<ValueId, ModelError> {
    let boxes = b.binary_scalar("clip_low", Binary::Maximum, boxes, 0.0)?;
    match window {
        Some(Window(corners)) => Ok(b.binary("clip_high", Binary::Minimum, boxes, corners)?),
        None => Ok(b.binary_scalar("clip_high", Binary::Minimum, boxes, 1.0)?),
    }
}
