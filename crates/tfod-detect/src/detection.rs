//! What a detector finds in a picture.

use crate::mask::Mask;

/// An object that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// The class; the first is 1, as in label maps.
    pub class_id: u32,
    /// How sure the model is, mostly from 0 to 1.
    pub score: f32,
    /// ymin, xmin, ymax, xmax as fractions of the picture's height and width, 0 to 1.
    pub bounds: [f32; 4],
    /// Which part of the box the object covers, from models with masks.
    pub mask: Option<Mask>,
    /// In the order of the model's keypoints; empty from models without.
    pub keypoints: Vec<Keypoint>,
}

/// A point of an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Keypoint {
    /// As a fraction of the picture's height.
    pub y: f32,
    /// As a fraction of its width.
    pub x: f32,
    /// How sure the model is, where it says so; 0 of a keypoint that was not found.
    pub score: Option<f32>,
}

/// A rectangle in pixels of a picture; `xmin` and `ymin` are 0 at the left and upper border.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PixelBounds {
    /// The left side.
    pub xmin: f32,
    /// The upper side.
    pub ymin: f32,
    /// The right side.
    pub xmax: f32,
    /// The lower side.
    pub ymax: f32,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "pictures have at most 2^14 pixels a side"
)]
fn float(size: u32) -> f32 {
    size as f32
}

impl Detection {
    /// The box in pixels of a picture of this size.
    pub fn in_pixels(&self, width: u32, height: u32) -> PixelBounds {
        let [ymin, xmin, ymax, xmax] = self.bounds;
        let (width, height) = (float(width), float(height));
        PixelBounds {
            xmin: xmin * width,
            ymin: ymin * height,
            xmax: xmax * width,
            ymax: ymax * height,
        }
    }
}

impl Keypoint {
    /// x and y in pixels of a picture of this size.
    pub fn in_pixels(&self, width: u32, height: u32) -> [f32; 2] {
        [self.x * float(width), self.y * float(height)]
    }

    /// Whether it was found, as far as the model says.
    pub fn was_found(&self) -> bool {
        self.score.is_none_or(|score| score > 0.0)
    }
}
