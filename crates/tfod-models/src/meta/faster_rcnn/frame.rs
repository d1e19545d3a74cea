//! Coordinates: a two-stage detector works in pixels of the network's input, and tells boxes as parts of it or of the image. After the reference's `box_list_ops`.

use tfod_graph::{Binary, Builder, ValueId};

use crate::error::ModelError;
use crate::postprocess::window::{ClipWindow, Extent, clip};
use crate::scalar::{Float, Int, float_vector};

/// The sizes that coordinates are relative to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// Height and width of the network's input.
    pub(super) network: [Int; 2],
    /// The same as floats.
    sides: [Float; 2],
    /// The part of it that is image, in pixels.
    pub(super) window: ClipWindow,
}

impl Frame {
    /// Of the network's input and its extent in pixels; `None` where all of it is image.
    pub(super) fn new(
        b: &mut Builder,
        network: [Int; 2],
        extent: Option<Extent>,
    ) -> Result<Self, ModelError> {
        let sides = [
            network[0].to_float(b, "height")?,
            network[1].to_float(b, "width")?,
        ];
        let window = ClipWindow::new(b, extent.unwrap_or(Extent::Common(sides)))?;
        Ok(Self {
            network,
            sides,
            window,
        })
    }

    /// Boxes in pixels `[..., 4]`, cut off at the border of the network's input.
    pub(super) fn clipped_to_network(
        self,
        b: &mut Builder,
        boxes: ValueId,
    ) -> Result<ValueId, ModelError> {
        let whole = ClipWindow::new(b, Extent::Common(self.sides))?;
        clip(b, boxes, Some(whole))
    }

    /// Boxes in pixels `[..., 4]` as parts of the network's input.
    pub(super) fn normalized(self, b: &mut Builder, boxes: ValueId) -> Result<ValueId, ModelError> {
        let one = Float::Known(1.0);
        let height = one.binary(b, "per_height", Binary::Div, self.sides[0])?;
        let width = one.binary(b, "per_width", Binary::Div, self.sides[1])?;
        let scale = float_vector(b, "per_pixel", &[height, width, height, width])?;
        Ok(b.binary("normalized", Binary::Mul, boxes, scale)?)
    }

    /// Boxes in parts of the network's input `[..., 4]` in pixels.
    pub(super) fn absolute(self, b: &mut Builder, boxes: ValueId) -> Result<ValueId, ModelError> {
        let [height, width] = self.sides;
        let sides = float_vector(b, "sides", &[height, width, height, width])?;
        Ok(b.binary("absolute", Binary::Mul, boxes, sides)?)
    }
}
