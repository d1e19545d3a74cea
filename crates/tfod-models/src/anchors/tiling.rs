//! The same few boxes around every position of a feature map, in the reference's 32-bit arithmetic (`tile_anchors`).

use crate::anchors::Corners;

/// The boxes of one feature map, in the generator's units.
#[derive(Clone, Debug, PartialEq)]
pub struct Tiling {
    /// Height and width of the boxes around one centre.
    pub boxes: Vec<[f32; 2]>,
    /// From one centre to the next, down and to the right.
    pub stride: [f32; 2],
    /// The first centre: y, x.
    pub offset: [f32; 2],
    /// What y and x are multiplied by in the end.
    pub scale: [f32; 2],
}

/// Height and width of a box of this scale (the square root of its area) and ratio of width to height, in units of a base height and width.
pub(super) fn shaped(scale: f32, ratio: f32, base: [f32; 2]) -> [f32; 2] {
    let root = ratio.sqrt();
    [scale / root * base[0], scale * root * base[1]]
}

/// Factors that bring pixels of an image of this height and width to 0..1.
#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^24")]
pub(super) fn per_pixel(image: [u64; 2]) -> [f32; 2] {
    image.map(|size| 1.0 / size as f32)
}

impl Tiling {
    /// Adds the boxes over a feature map of this height and width: row by row, with the boxes of one centre together.
    #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^24")]
    pub(super) fn tile(&self, [rows, columns]: [u64; 2], anchors: &mut Vec<Corners>) {
        let scale = self.scale;
        for row in 0..rows {
            let y = row as f32 * self.stride[0] + self.offset[0];
            for column in 0..columns {
                let x = column as f32 * self.stride[1] + self.offset[1];
                anchors.extend(self.boxes.iter().map(|[h, w]| {
                    [
                        (y - 0.5 * h) * scale[0],
                        (x - 0.5 * w) * scale[1],
                        (y + 0.5 * h) * scale[0],
                        (x + 0.5 * w) * scale[1],
                    ]
                }));
            }
        }
    }
}
