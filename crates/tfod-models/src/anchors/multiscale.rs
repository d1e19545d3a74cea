//! Multi-scale anchors (RetinaNet, Lin et al. 2017, <https://arxiv.org/abs/1708.02002>): on every level of a pyramid a grid of
//! centres, one stride apart, each with boxes of several octave scales and aspect ratios. After the reference's
//! `MultiscaleGridAnchorGenerator`, in the same 32-bit arithmetic.

use tfod_config::protos;
use tfod_graph::{Binary, Builder};

use crate::anchors::Image;
use crate::anchors::positive;
use crate::anchors::tiling::{Tiling, per_pixel, shaped};
use crate::error::ModelError;
use crate::fields::{FieldPath, Message, invalid, size, unsupported};
use crate::scalar::{Float, Int};

/// The configuration of the generator.
#[derive(Clone, Debug, PartialEq)]
pub struct Multiscale {
    min_level: u32,
    levels: u32,
    anchor_scale: f32,
    aspect_ratios: Vec<f32>,
    scales_per_octave: u32,
    normalize: bool,
    /// Where the configuration says so.
    normalize_field: FieldPath,
}

impl Multiscale {
    /// Reads the message.
    ///
    /// # Errors
    /// For levels, scales or ratios that make no anchors.
    pub fn from_config(
        config: Message<'_, protos::MultiscaleAnchorGenerator>,
    ) -> Result<Self, ModelError> {
        let ratios = config.field("aspect_ratios");
        let (min, max) = (config.min_level(), config.max_level());
        if !(0..=max).contains(&min) || max > 24 {
            return Err(invalid(
                config.field("max_level"),
                max,
                format!("a level of at least min_level ({min}), at most 24"),
            ));
        }
        positive(config.field("anchor_scale"), &[config.anchor_scale()])?;
        positive(ratios, &config.aspect_ratios)?;
        if config.aspect_ratios.is_empty() {
            return Err(invalid(ratios, "an empty list", "at least one number"));
        }
        let scales = size(
            config.field("scales_per_octave"),
            config.scales_per_octave(),
            1,
        )?;
        Ok(Self {
            min_level: min.unsigned_abs(),
            levels: (max - min + 1).unsigned_abs(),
            anchor_scale: config.anchor_scale(),
            aspect_ratios: config.aspect_ratios.clone(),
            scales_per_octave: u32::try_from(scales.min(1000)).unwrap_or(1),
            normalize: config.normalize_coordinates(),
            normalize_field: config.field("normalize_coordinates"),
        })
    }

    /// The field that says so, where boxes are parts of the image.
    pub(super) fn normalized_by(&self) -> Option<FieldPath> {
        self.normalize.then_some(self.normalize_field)
    }

    /// Boxes at each position, for each level.
    pub fn per_location(&self) -> Vec<u64> {
        let boxes = self.aspect_ratios.len() as u64 * u64::from(self.scales_per_octave);
        vec![boxes; self.levels as usize]
    }

    /// Height and width of the boxes around one centre, in units of a base size: for each aspect ratio all scales.
    fn shapes(&self) -> Vec<[f32; 2]> {
        let octave = f64::from(self.scales_per_octave);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the reference keeps scales as 32-bit floats"
        )]
        let scale = |i: u32| (f64::from(i) / octave).exp2() as f32;
        let scales: Vec<f32> = (0..self.scales_per_octave).map(scale).collect();
        let ratios = self.aspect_ratios.iter();
        ratios
            .flat_map(|ratio| scales.iter().map(|scale| shaped(*scale, *ratio)))
            .collect()
    }

    /// The boxes of each level, for an image of this size. Normalised by the image's size unless the configuration says otherwise.
    pub(super) fn tilings(&self, b: &mut Builder, image: Image) -> Result<Vec<Tiling>, ModelError> {
        let scale = if self.normalize {
            per_pixel(b, image.size)?
        } else if image.is_fixed {
            [Float::Known(1.0); 2]
        } else {
            // It cannot export normalised ones at all, so there it is what the model itself computes that counts.
            return Err(unsupported(
                self.normalize_field,
                "false for an `image_resizer` that leaves the size to the image (for many sizes the reference's exports have other anchors \
                 than the model that was trained)",
                "true, or a resizer that gives one size",
            ));
        };
        let levels = (self.min_level..).take(self.levels as usize);
        levels
            .map(|level| {
                b.scope(&format!("level_{level}"), |b| {
                    self.tiling(b, level, image.size, scale)
                })
            })
            .collect()
    }

    #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^24")]
    fn tiling(
        &self,
        b: &mut Builder,
        level: u32,
        [height, width]: [Int; 2],
        scale: [Float; 2],
    ) -> Result<Tiling, ModelError> {
        let stride = 1i32 << level;
        // Where strides divide the image, centres lie in the middle of their cells.
        let mut offset = |name: &str, size: Int| {
            let middle = Float::Known(stride as f32 / 2.0);
            if size == Int::Known(1) {
                return Ok(middle);
            }
            let step = Int::Known(stride);
            let cells = size.binary(b, &format!("{name}_cells"), Binary::FloorDiv, step)?;
            let whole = cells.binary(b, &format!("{name}_whole"), Binary::Mul, step)?;
            let is_off = whole.less(b, &format!("{name}_is_off"), size)?;
            is_off.select(b, &format!("{name}_offset"), Float::Known(0.0), middle)
        };
        Ok(Tiling {
            shapes: self.shapes(),
            base: [Float::Known(stride as f32 * self.anchor_scale); 2],
            stride: [Float::Known(stride as f32); 2],
            offset: [offset("height", height)?, offset("width", width)?],
            scale,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anchors::AnchorGenerator;
    use proptest::prelude::*;

    fn generator(min: i32, max: i32, scales: i32, ratios: &[f32]) -> AnchorGenerator {
        let config = protos::MultiscaleAnchorGenerator {
            min_level: Some(min),
            max_level: Some(max),
            anchor_scale: Some(4.0),
            aspect_ratios: ratios.to_vec(),
            scales_per_octave: Some(scales),
            normalize_coordinates: None,
        };
        let generator = Multiscale::from_config(Message::anywhere(&config));
        AnchorGenerator::Multiscale(generator.unwrap())
    }

    #[test]
    fn the_published_320_model_has_12804_anchors() {
        let maps = [40, 20, 10, 5, 3].map(|n| [n, n]);
        let anchors = generator(3, 7, 2, &[1.0, 2.0, 0.5])
            .generate(&maps, [320, 320])
            .unwrap();
        assert_eq!(anchors.len(), 12804);
    }

    #[test]
    fn levels_must_match() {
        let error = generator(3, 7, 2, &[1.0])
            .generate(&[[4, 4]], [32, 32])
            .unwrap_err();
        assert!(error.to_string().contains("5 levels"), "{error}");
    }

    #[test]
    fn boxes_have_numbers_for_sides() {
        let config = protos::MultiscaleAnchorGenerator {
            min_level: Some(3),
            max_level: Some(3),
            anchor_scale: Some(3e38),
            aspect_ratios: vec![1.0],
            ..Default::default()
        };
        let generator = Multiscale::from_config(Message::anywhere(&config)).unwrap();
        let generator = AnchorGenerator::Multiscale(generator);
        let error = generator.generate(&[[4, 4]], [32, 32]).unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains("anchor_generator` is one whose boxes are too large"),
            "{said}"
        );
    }

    proptest! {
        /// Independent formulas: area is the base's times 2^(2 scale), height / width is 1 / ratio, centres are a stride apart.
        #[test]
        fn geometry(level in 2i32..6, scales in 1i32..4, ratio in 0.2f32..5.0, cells in 1u64..6) {
            let stride = f64::from(1 << level);
            let side = cells << level;
            let anchors = generator(level, level, scales, &[ratio])
                .generate(&[[cells, cells]], [side, side])
                .unwrap();
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let side = side as f64;
            for (i, [y0, x0, y1, x1]) in anchors.iter().map(|a| a.map(f64::from)).enumerate() {
                let (h, w) = ((y1 - y0) * side, (x1 - x0) * side);
                let scale = i % usize::try_from(scales).unwrap();
                #[expect(clippy::cast_precision_loss, reason = "small")]
                let octave = 2f64.powf(2.0 * scale as f64 / f64::from(scales));
                let area = (4.0 * stride).powi(2) * octave;
                prop_assert!((h * w / area - 1.0).abs() < 1e-4);
                prop_assert!((w / h / f64::from(ratio) - 1.0).abs() < 1e-4);
                let cell = i as u64 / u64::from(scales.unsigned_abs());
                #[expect(clippy::cast_precision_loss, reason = "small")]
                let (row, column) = ((cell / cells) as f64, (cell % cells) as f64);
                prop_assert!((f64::midpoint(y0, y1) * side - (row + 0.5) * stride).abs() < 1e-2);
                prop_assert!((f64::midpoint(x0, x1) * side - (column + 0.5) * stride).abs() < 1e-2);
            }
        }
    }
}
