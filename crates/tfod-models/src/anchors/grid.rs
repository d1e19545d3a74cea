//! One grid of anchors (Faster R-CNN, Ren et al. 2015, section 3.1.1, <https://arxiv.org/abs/1506.01497>): around every position of a single feature map, boxes of
//! several scales and aspect ratios of a base size. Sizes are in pixels. After the reference's `GridAnchorGenerator`.

use tfod_config::protos;

use crate::anchors::positive;
use crate::anchors::tiling::{Tiling, shaped};
use crate::error::ModelError;
use crate::fields::{FieldPath, Message, invalid, size};
use crate::scalar::Float;

/// The configuration of the generator.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    scales: Vec<f32>,
    aspect_ratios: Vec<f32>,
    /// Height and width of a box of scale 1 and aspect ratio 1.
    base: [f32; 2],
    /// From one centre to the next.
    stride: [f32; 2],
    /// The first centre.
    offset: [f32; 2],
}

/// A number of pixels of the configuration.
#[expect(clippy::cast_precision_loss, reason = "numbers are far below 2^24")]
fn pixels(field: FieldPath, value: i32, least: i32) -> Result<f32, ModelError> {
    const MOST: i32 = 1 << 20;
    if !(least..=MOST).contains(&value) {
        return Err(invalid(field, value, format!("{least} to {MOST}")));
    }
    Ok(value as f32)
}

impl Grid {
    /// Reads the message.
    ///
    /// # Errors
    /// For numbers that make no boxes.
    pub fn from_config(
        config: Message<'_, protos::GridAnchorGenerator>,
    ) -> Result<Self, ModelError> {
        const LEAST_OFFSET: i32 = -(1 << 20);
        for (name, numbers) in [
            ("scales", &config.scales),
            ("aspect_ratios", &config.aspect_ratios),
        ] {
            positive(config.field(name), numbers)?;
            if numbers.is_empty() {
                return Err(invalid(
                    config.field(name),
                    "an empty list",
                    "at least one number",
                ));
            }
        }
        let boxes = config.scales.len() as u64 * config.aspect_ratios.len() as u64;
        size(
            config.field("scales"),
            i32::try_from(boxes).unwrap_or(i32::MAX),
            1,
        )?;
        let number = |name, value, least| pixels(config.field(name), value, least);
        Ok(Self {
            scales: config.scales.clone(),
            aspect_ratios: config.aspect_ratios.clone(),
            base: [
                number("height", config.height(), 1)?,
                number("width", config.width(), 1)?,
            ],
            stride: [
                number("height_stride", config.height_stride(), 1)?,
                number("width_stride", config.width_stride(), 1)?,
            ],
            offset: [
                number("height_offset", config.height_offset(), LEAST_OFFSET)?,
                number("width_offset", config.width_offset(), LEAST_OFFSET)?,
            ],
        })
    }

    /// Boxes at each position of the only feature map.
    pub fn per_location(&self) -> Vec<u64> {
        vec![self.scales.len() as u64 * self.aspect_ratios.len() as u64]
    }

    /// The boxes of the only feature map: for each aspect ratio all scales.
    pub(super) fn tilings(&self) -> Vec<Tiling> {
        let ratios = self.aspect_ratios.iter();
        let shapes =
            ratios.flat_map(|ratio| self.scales.iter().map(|scale| shaped(*scale, *ratio)));
        vec![Tiling {
            shapes: shapes.collect(),
            base: self.base.map(Float::Known),
            stride: self.stride.map(Float::Known),
            offset: self.offset.map(Float::Known),
            scale: [Float::Known(1.0); 2],
        }]
    }
}
