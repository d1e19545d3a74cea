//! The default boxes of SSD (Liu et al. 2016, section 2.2, <https://arxiv.org/abs/1512.02325>): scales grow linearly from the finest feature map to the
//! coarsest; each position has a box of the map's scale for every aspect ratio, and one between this scale and the next. After the reference's
//! `create_ssd_anchors` and `MultipleGridAnchorGenerator`, in the same arithmetic.

use tfod_config::protos;
use tfod_graph::{Binary, Builder};

use crate::anchors::tiling::{Cells, Tiling, shaped};
use crate::anchors::{Image, positive};
use crate::error::ModelError;
use crate::fields::{FieldPath, Message, invalid, size};
use crate::scalar::{Float, Int};

/// More feature maps than any extractor gives.
const MOST_LAYERS: u64 = 64;
/// Scale and aspect ratio of the extra box of a lowest layer with few boxes.
const SMALL_BOX: (f32, f32) = (0.1, 1.0);
/// Aspect ratios of its other boxes.
const FEW_RATIOS: [f32; 2] = [2.0, 0.5];

/// The configuration of the generator.
#[derive(Clone, Debug, PartialEq)]
pub struct Ssd {
    /// For each feature map, scale and aspect ratio of the boxes around one centre. A scale of 1 is the shorter side of the image.
    boxes: Vec<Vec<(f32, f32)>>,
    /// What scales are multiplied by, for heights and widths.
    base: [f32; 2],
    /// For each feature map, pixels between centres, down and to the right; without them, the positions of a map divide the image evenly.
    strides: Option<Vec<[i32; 2]>>,
    /// For each feature map, the first centre, y and x in pixels; without them, half a stride.
    offsets: Option<Vec<[i32; 2]>>,
}

impl Ssd {
    /// Reads the message.
    ///
    /// # Errors
    /// For layers, scales or ratios that make no anchors, and for lists of another length than there are layers.
    pub fn from_config(
        config: Message<'_, protos::SsdAnchorGenerator>,
    ) -> Result<Self, ModelError> {
        let ratios = config.field("aspect_ratios");
        let scales = scales(config)?;
        let base = [config.base_anchor_height(), config.base_anchor_width()];
        positive(config.field("base_anchor_height"), &base)?;
        positive(ratios, &config.aspect_ratios)?;
        let reduce = config.reduce_boxes_in_lowest_layer();
        let boxes = scales
            .windows(2)
            .enumerate()
            .map(|(layer, pair)| match pair {
                [scale, _] if layer == 0 && reduce => few_boxes(*scale),
                [scale, next] => all_boxes(&config, *scale, *next),
                _ => Vec::new(),
            });
        let boxes: Vec<Vec<(f32, f32)>> = boxes.collect();
        if boxes.iter().any(Vec::is_empty) {
            return Err(invalid(
                ratios,
                "an empty list",
                "at least one number where interpolated_scale_aspect_ratio is not above 0",
            ));
        }
        let layers = boxes.len();
        Ok(Self {
            boxes,
            base,
            strides: pairs(
                config.field("height_stride"),
                layers,
                &config.height_stride,
                &config.width_stride,
            )?,
            offsets: pairs(
                config.field("height_offset"),
                layers,
                &config.height_offset,
                &config.width_offset,
            )?,
        })
    }

    /// Boxes at each position, for each feature map.
    pub fn per_location(&self) -> Vec<u64> {
        self.boxes.iter().map(|boxes| boxes.len() as u64).collect()
    }

    /// The boxes of each feature map, for feature maps of these heights and widths and an image of this size, in 0..1 of the image.
    pub(super) fn tilings(
        &self,
        b: &mut Builder,
        feature_maps: &[Cells],
        image: Image,
    ) -> Result<Vec<Tiling>, ModelError> {
        let [height, width] = image.size;
        let sides = [
            height.to_float(b, "height_float")?,
            width.to_float(b, "width_float")?,
        ];
        let shorter = sides[0].binary(b, "shorter_side", Binary::Minimum, sides[1])?;
        let mut base = sides;
        for (axis, name) in ["height", "width"].into_iter().enumerate() {
            let part = shorter.binary(b, &format!("{name}_part"), Binary::Div, sides[axis])?;
            let own = Float::Known(self.base[axis]);
            base[axis] = part.binary(b, &format!("base_{name}"), Binary::Mul, own)?;
        }
        let maps = self.boxes.iter().zip(feature_maps).enumerate();
        maps.map(|(map, (boxes, cells))| {
            let listed = |list: &Option<Vec<[i32; 2]>>| {
                list.as_ref().and_then(|list| list.get(map).copied())
            };
            let (strides, offsets) = (listed(&self.strides), listed(&self.offsets));
            let mut stride = sides;
            let mut offset = sides;
            for axis in 0..2 {
                let one = Float::Known(1.0);
                stride[axis] = if let Some(pixels) = strides {
                    fraction(b, pixels[axis], sides[axis])?
                } else {
                    let cells = cells.size[axis].to_float(b, "cells_float")?;
                    one.binary(b, "stride", Binary::Div, cells)?
                };
                offset[axis] = if let Some(pixels) = offsets {
                    fraction(b, pixels[axis], sides[axis])?
                } else {
                    Float::Known(0.5).binary(b, "offset", Binary::Mul, stride[axis])?
                };
            }
            let shapes = boxes.iter().map(|(scale, ratio)| shaped(*scale, *ratio));
            Ok(Tiling {
                shapes: shapes.collect(),
                base,
                stride,
                offset,
                scale: [Float::Known(1.0); 2],
            })
        })
        .collect()
    }
}

/// Pixels as a part of a side.
fn fraction(b: &mut Builder, pixels: i32, side: Float) -> Result<Float, ModelError> {
    let pixels = Int::Known(pixels).to_float(b, "pixels_float")?;
    pixels.binary(b, "fraction", Binary::Div, side)
}

/// The scale of each feature map, and one more that the last is interpolated with.
fn scales(config: Message<'_, protos::SsdAnchorGenerator>) -> Result<Vec<f64>, ModelError> {
    let layers_field = config.field("num_layers");
    let layers = size(layers_field, config.num_layers(), 1)?;
    if layers > MOST_LAYERS {
        return Err(invalid(
            layers_field,
            layers,
            format!("at most {MOST_LAYERS}"),
        ));
    }
    // One scale more than there are layers, where the list has it; where it has not, 1.
    let count = usize::try_from(layers).unwrap_or_default() + 1;
    if !config.scales.is_empty() {
        positive(config.field("scales"), &config.scales)?;
        let scales = config.scales.iter().copied().map(f64::from);
        return Ok(scales.chain([1.0]).take(count).collect());
    }
    let (min, max) = (config.min_scale(), config.max_scale());
    positive(config.field("min_scale"), &[min, max])?;
    if layers == 1 {
        let expected = "at least 2, or a list of scales: one layer has no scale between min_scale and max_scale";
        return Err(invalid(layers_field, layers, expected));
    }
    let (min, max) = (f64::from(min), f64::from(max));
    #[expect(clippy::cast_precision_loss, reason = "there are few layers")]
    let scale = |i: u64| min + (max - min) * i as f64 / (layers - 1) as f64;
    Ok((0..layers).map(scale).chain([1.0]).collect())
}

/// The boxes of a lowest layer that is to have few.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the reference's anchors are 32-bit floats"
)]
fn few_boxes(scale: f64) -> Vec<(f32, f32)> {
    let others = FEW_RATIOS.map(|ratio| (scale as f32, ratio));
    [SMALL_BOX].into_iter().chain(others).collect()
}

/// A box for every aspect ratio, and one between this scale and the next.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the reference's anchors are 32-bit floats"
)]
fn all_boxes(config: &protos::SsdAnchorGenerator, scale: f64, next: f64) -> Vec<(f32, f32)> {
    let ratios = config.aspect_ratios.iter();
    let mut boxes: Vec<(f32, f32)> = ratios.map(|ratio| (scale as f32, *ratio)).collect();
    let ratio = config.interpolated_scale_aspect_ratio();
    if ratio > 0.0 {
        boxes.push(((scale * next).sqrt() as f32, ratio));
    }
    boxes
}

/// Two lists as one of pairs; `None` where either is empty, as in the reference.
fn pairs(
    field: FieldPath,
    layers: usize,
    heights: &[i32],
    widths: &[i32],
) -> Result<Option<Vec<[i32; 2]>>, ModelError> {
    let pairs: Vec<[i32; 2]> = heights.iter().zip(widths).map(|(h, w)| [*h, *w]).collect();
    if pairs.is_empty() {
        return Ok(None);
    }
    if pairs.len() != layers {
        let given = format!("a list of {} (with that of widths)", pairs.len());
        return Err(invalid(
            field,
            given,
            format!("one number for each of {layers} layers"),
        ));
    }
    Ok(Some(pairs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anchors::{AnchorGenerator, Corners};
    use proptest::prelude::*;

    fn anchors(
        config: &protos::SsdAnchorGenerator,
        maps: &[[u64; 2]],
        image: [u64; 2],
    ) -> Vec<Corners> {
        let generator = AnchorGenerator::Ssd(Ssd::from_config(Message::anywhere(config)).unwrap());
        generator.generate(maps, image).unwrap()
    }

    /// Height, width and centre in pixels.
    fn in_pixels([y0, x0, y1, x1]: Corners, [height, width]: [f64; 2]) -> [f64; 4] {
        let [y0, x0, y1, x1] = [y0, x0, y1, x1].map(f64::from);
        [
            (y1 - y0) * height,
            (x1 - x0) * width,
            f64::midpoint(y0, y1) * height,
            f64::midpoint(x0, x1) * width,
        ]
    }

    #[test]
    fn the_published_300_model_has_1917_anchors() {
        let config = protos::SsdAnchorGenerator {
            aspect_ratios: vec![1.0, 2.0, 0.5, 3.0, 0.3333],
            ..Default::default()
        };
        let maps = [19, 10, 5, 3, 2, 1].map(|n| [n, n]);
        assert_eq!(anchors(&config, &maps, [300, 300]).len(), 1917);
    }

    #[test]
    fn a_list_of_scales_replaces_the_line_and_ends_the_layers() {
        let config = protos::SsdAnchorGenerator {
            scales: vec![0.25, 0.64],
            reduce_boxes_in_lowest_layer: Some(false),
            ..Default::default()
        };
        let boxes = Ssd::from_config(Message::anywhere(&config)).unwrap().boxes;
        // Only interpolated boxes: sqrt(0.25 * 0.64) and sqrt(0.64 * 1).
        let scales: Vec<f32> = boxes.iter().flatten().map(|(scale, _)| *scale).collect();
        assert_eq!(boxes.len(), 2);
        assert!((scales[0] - 0.4).abs() < 1e-6 && (scales[1] - 0.8).abs() < 1e-6);
        // A scale beyond the layers is what the last one is interpolated with.
        let config = protos::SsdAnchorGenerator {
            num_layers: Some(1),
            ..config
        };
        let boxes = Ssd::from_config(Message::anywhere(&config)).unwrap().boxes;
        assert!(boxes.len() == 1 && (boxes[0][0].0 - 0.4).abs() < 1e-6);
    }

    #[test]
    fn impossible_numbers_are_refused() {
        let default = protos::SsdAnchorGenerator::default;
        let refused = [
            protos::SsdAnchorGenerator {
                num_layers: Some(1),
                aspect_ratios: vec![1.0],
                ..default()
            },
            protos::SsdAnchorGenerator {
                num_layers: Some(1_000_000),
                ..default()
            },
            protos::SsdAnchorGenerator {
                scales: vec![0.1, f32::NAN],
                ..default()
            },
            protos::SsdAnchorGenerator {
                min_scale: Some(-0.2),
                ..default()
            },
            protos::SsdAnchorGenerator {
                aspect_ratios: vec![0.0],
                ..default()
            },
            protos::SsdAnchorGenerator {
                interpolated_scale_aspect_ratio: Some(0.0),
                ..default()
            },
            protos::SsdAnchorGenerator {
                height_stride: vec![8, 16],
                width_stride: vec![8, 16],
                ..default()
            },
            protos::SsdAnchorGenerator {
                base_anchor_width: Some(f32::INFINITY),
                ..default()
            },
        ];
        for config in refused {
            assert!(
                Ssd::from_config(Message::anywhere(&config)).is_err(),
                "{config:?}"
            );
        }
    }

    proptest! {
        /// Independent formulas: a box covers (scale * shorter side)^2 pixels, ratios are width to height, the cells of a map divide the image.
        #[test]
        fn geometry_of_even_cells(
            layers in 2i32..7, min in 0.1f32..0.4, ratio in 0.2f32..5.0, rows in 1u64..6, columns in 1u64..6,
            height in 40u64..400, width in 40u64..400,
        ) {
            let config = protos::SsdAnchorGenerator {
                num_layers: Some(layers),
                min_scale: Some(min),
                aspect_ratios: vec![ratio],
                reduce_boxes_in_lowest_layer: Some(false),
                ..Default::default()
            };
            let maps = vec![[rows, columns]; usize::try_from(layers).unwrap()];
            let found = anchors(&config, &maps, [height, width]);
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let [height, width, rows_f, columns_f] = [height, width, rows, columns].map(|n| n as f64);
            let shorter = height.min(width);
            let line = |layer: f64| f64::from(min) + (0.95 - f64::from(min)) * layer / f64::from(layers - 1);
            let cells = rows * columns;
            prop_assert_eq!(found.len() as u64, u64::from(layers.unsigned_abs()) * cells * 2);
            for (i, anchor) in (0u64..).zip(&found) {
                #[expect(clippy::cast_precision_loss, reason = "small")]
                let (layer, row, column) =
                    ((i / 2 / cells) as f64, (i / 2 % cells / columns) as f64, (i / 2 % columns) as f64);
                let [h, w, y, x] = in_pixels(*anchor, [height, width]);
                let next = if layer + 1.0 < f64::from(layers) { line(layer + 1.0) } else { 1.0 };
                let (scale, ratio) = if i % 2 == 0 { (line(layer), f64::from(ratio)) } else { ((line(layer) * next).sqrt(), 1.0) };
                prop_assert!((h * w / (scale * shorter).powi(2) - 1.0).abs() < 1e-4);
                prop_assert!((w / h / ratio - 1.0).abs() < 1e-4);
                prop_assert!((y - (row + 0.5) * height / rows_f).abs() < 1e-2);
                prop_assert!((x - (column + 0.5) * width / columns_f).abs() < 1e-2);
            }
        }

        /// Strides and offsets are in pixels, and bases stretch the boxes.
        #[test]
        fn geometry_of_configured_centres(
            strides in [1i32..40, 1i32..40], offsets in [-20i32..40, -20i32..40], base in [0.5f32..2.0, 0.5f32..2.0],
            scale in 0.1f32..0.9, side in 40u64..400,
        ) {
            let config = protos::SsdAnchorGenerator {
                num_layers: Some(1),
                scales: vec![scale],
                aspect_ratios: vec![1.0],
                interpolated_scale_aspect_ratio: Some(0.0),
                reduce_boxes_in_lowest_layer: Some(false),
                base_anchor_height: Some(base[0]),
                base_anchor_width: Some(base[1]),
                height_stride: vec![strides[0]],
                width_stride: vec![strides[1]],
                height_offset: vec![offsets[0]],
                width_offset: vec![offsets[1]],
                ..Default::default()
            };
            let found = anchors(&config, &[[3, 4]], [side, side]);
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let side = side as f64;
            for (i, anchor) in (0i32..).zip(&found) {
                let [h, w, y, x] = in_pixels(*anchor, [side, side]);
                prop_assert!((h - f64::from(scale * base[0]) * side).abs() < 1e-2);
                prop_assert!((w - f64::from(scale * base[1]) * side).abs() < 1e-2);
                prop_assert!((y - f64::from(i / 4 * strides[0] + offsets[0])).abs() < 1e-2);
                prop_assert!((x - f64::from(i % 4 * strides[1] + offsets[1])).abs() < 1e-2);
            }
        }
    }
}
