//! Anchors of sizes and aspect ratios written out for each feature map, around centres whose distance and beginning are written out too: the reference's
//! `FlexibleGridAnchorGenerator`. All in pixels.

use tfod_config::protos;
use tfod_graph::Builder;

use crate::anchors::tiling::{Tiling, per_pixel, shaped};
use crate::anchors::{Image, positive};
use crate::error::ModelError;
use crate::fields::{FieldPath, Message, invalid};
use crate::scalar::Float;

/// The configuration of the generator.
#[derive(Clone, Debug, PartialEq)]
pub struct Flexible {
    /// For each feature map, in pixels.
    tilings: Vec<Tiling>,
    normalize: bool,
    /// Where the configuration says so.
    normalize_field: FieldPath,
}

impl Flexible {
    /// Reads the message.
    ///
    /// # Errors
    /// For sizes and ratios that make no anchors.
    pub fn from_config(
        config: Message<'_, protos::FlexibleGridAnchorGenerator>,
    ) -> Result<Self, ModelError> {
        let grids = config.anchor_grid.iter().enumerate();
        let grids = grids.map(|(i, grid)| Message::new(config.path().item("anchor_grid", i), grid));
        Ok(Self {
            tilings: grids.map(tiling).collect::<Result<_, _>>()?,
            normalize: config.normalize_coordinates(),
            normalize_field: config.field("normalize_coordinates"),
        })
    }

    /// The field that says so, where boxes are parts of the image.
    pub(super) fn normalized_by(&self) -> Option<FieldPath> {
        self.normalize.then_some(self.normalize_field)
    }

    /// Boxes at each position, for each feature map.
    pub fn per_location(&self) -> Vec<u64> {
        let tilings = self.tilings.iter();
        tilings.map(|tiling| tiling.shapes.len() as u64).collect()
    }

    /// The boxes of each feature map, for an image of this size. Normalised by the image's size unless the configuration says otherwise.
    pub(super) fn tilings(&self, b: &mut Builder, image: Image) -> Result<Vec<Tiling>, ModelError> {
        let mut tilings = self.tilings.clone();
        if self.normalize {
            let scale = per_pixel(b, image.size)?;
            for tiling in &mut tilings {
                tiling.scale = scale;
            }
        }
        Ok(tilings)
    }
}

/// One grid, in pixels. A single aspect ratio is that of all its boxes.
#[expect(clippy::cast_precision_loss, reason = "pixels are far below 2^24")]
fn tiling(grid: Message<'_, protos::AnchorGrid>) -> Result<Tiling, ModelError> {
    let (sizes, ratios) = (&grid.base_sizes, &grid.aspect_ratios);
    let (sizes_field, ratios_field) = (grid.field("base_sizes"), grid.field("aspect_ratios"));
    positive(sizes_field, sizes)?;
    positive(ratios_field, ratios)?;
    if sizes.is_empty() {
        return Err(invalid(sizes_field, "an empty list", "at least one number"));
    }
    let ratios = match ratios.as_slice() {
        [ratio] => vec![*ratio; sizes.len()],
        ratios if ratios.len() == sizes.len() => ratios.to_vec(),
        ratios => {
            let expected = format!("one number, or one for each of {} base_sizes", sizes.len());
            let given = format!("a list of {}", ratios.len());
            return Err(invalid(ratios_field, given, expected));
        }
    };
    let boxes = sizes.iter().zip(ratios);
    let pixels = |n: u32| Float::Known(n as f32);
    Ok(Tiling {
        shapes: boxes.map(|(size, ratio)| shaped(*size, ratio)).collect(),
        base: [Float::Known(1.0); 2],
        stride: [grid.height_stride(), grid.width_stride()].map(pixels),
        offset: [grid.height_offset(), grid.width_offset()].map(pixels),
        scale: [Float::Known(1.0); 2],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anchors::AnchorGenerator;
    use proptest::prelude::*;

    fn grid(sizes: &[f32], ratios: &[f32]) -> protos::AnchorGrid {
        protos::AnchorGrid {
            base_sizes: sizes.to_vec(),
            aspect_ratios: ratios.to_vec(),
            ..Default::default()
        }
    }

    #[test]
    fn ratios_are_one_or_as_many_as_sizes() {
        assert_eq!(
            tiling(Message::anywhere(&grid(&[8.0, 16.0], &[1.0])))
                .unwrap()
                .shapes
                .len(),
            2
        );
        assert_eq!(
            tiling(Message::anywhere(&grid(&[8.0, 16.0], &[1.0, 2.0])))
                .unwrap()
                .shapes
                .len(),
            2
        );
        for (sizes, ratios) in [
            (&[8.0][..], &[1.0, 2.0][..]),
            (&[8.0], &[]),
            (&[], &[]),
            (&[], &[1.0]),
            (&[-8.0], &[1.0]),
            (&[8.0], &[f32::NAN]),
        ] {
            assert!(
                tiling(Message::anywhere(&grid(sizes, ratios))).is_err(),
                "{sizes:?} {ratios:?}"
            );
        }
    }

    proptest! {
        /// Independent formulas: a box covers its base size squared, centres are strides apart; normalising divides by the image.
        #[test]
        fn geometry(
            size in 4f32..100.0, ratio in 0.2f32..5.0, strides in [0u32..40, 0u32..40], offsets in [0u32..40, 0u32..40],
            image in [40u64..400, 40u64..400], normalize in any::<bool>(),
        ) {
            let config = protos::FlexibleGridAnchorGenerator {
                anchor_grid: vec![protos::AnchorGrid {
                    height_stride: Some(strides[0]),
                    width_stride: Some(strides[1]),
                    height_offset: Some(offsets[0]),
                    width_offset: Some(offsets[1]),
                    ..grid(&[size, 2.0 * size], &[ratio])
                }],
                normalize_coordinates: Some(normalize),
            };
            let generator = Flexible::from_config(Message::anywhere(&config));
            let generator = AnchorGenerator::Flexible(generator.unwrap());
            let anchors = generator.generate(&[[3, 4]], image).unwrap();
            prop_assert_eq!(anchors.len(), 24);
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let [height, width] = if normalize { image.map(|n| n as f64) } else { [1.0; 2] };
            for (i, [y0, x0, y1, x1]) in (0u32..).zip(anchors.iter().map(|a| a.map(f64::from))) {
                let (h, w) = ((y1 - y0) * height, (x1 - x0) * width);
                let (row, column, base) = (i / 8, i / 2 % 4, f64::from(size) * f64::from(i % 2 + 1));
                prop_assert!((h * w / base.powi(2) - 1.0).abs() < 1e-3);
                prop_assert!((w / h / f64::from(ratio) - 1.0).abs() < 1e-3);
                prop_assert!((f64::midpoint(y0, y1) * height - f64::from(row * strides[0] + offsets[0])).abs() < 1e-2);
                prop_assert!((f64::midpoint(x0, x1) * width - f64::from(column * strides[1] + offsets[1])).abs() < 1e-2);
            }
        }
    }
}
