//! Multi-scale anchors (RetinaNet, Lin et al. 2017, <https://arxiv.org/abs/1708.02002>): on every level of a pyramid a grid of
//! centres, one stride apart, each with boxes of several octave scales and aspect ratios. After the reference's
//! `MultiscaleGridAnchorGenerator`, in the same 32-bit arithmetic.

use tfod_config::protos;

use crate::anchors::Corners;
use crate::error::ModelError;
use crate::fields::{invalid, size};

/// More anchors than this would need gigabytes; the largest published model has about 350,000.
const MOST_ANCHORS: u64 = 1 << 24;

/// The configuration of the generator.
#[derive(Clone, Debug, PartialEq)]
pub struct Multiscale {
    min_level: u32,
    levels: u32,
    anchor_scale: f32,
    aspect_ratios: Vec<f32>,
    scales_per_octave: u32,
    normalize: bool,
}

impl Multiscale {
    /// Reads the message.
    ///
    /// # Errors
    /// For levels, scales or ratios that make no anchors.
    pub fn from_config(config: &protos::MultiscaleAnchorGenerator) -> Result<Self, ModelError> {
        const LEVELS: &str = "model.ssd.anchor_generator.multiscale_anchor_generator.max_level";
        const SCALES: &str =
            "model.ssd.anchor_generator.multiscale_anchor_generator.scales_per_octave";
        const RATIOS: &str = "model.ssd.anchor_generator.multiscale_anchor_generator.aspect_ratios";
        let (min, max) = (config.min_level(), config.max_level());
        if !(0..=max).contains(&min) || max > 24 {
            return Err(invalid(
                LEVELS,
                max,
                format!("a level of at least min_level ({min}), at most 24"),
            ));
        }
        if let Some(ratio) = config
            .aspect_ratios
            .iter()
            .find(|r| !(r.is_finite() && **r > 0.0))
        {
            return Err(invalid(RATIOS, ratio, "numbers above 0"));
        }
        if config.aspect_ratios.is_empty() || config.aspect_ratios.len() > 1000 {
            return Err(invalid(
                RATIOS,
                format!("a list of {}", config.aspect_ratios.len()),
                "1 to 1000 numbers",
            ));
        }
        let scales = size(SCALES, config.scales_per_octave(), 1)?;
        Ok(Self {
            min_level: min.unsigned_abs(),
            levels: (max - min + 1).unsigned_abs(),
            anchor_scale: config.anchor_scale(),
            aspect_ratios: config.aspect_ratios.clone(),
            scales_per_octave: u32::try_from(scales.min(1000)).unwrap_or(1),
            normalize: config.normalize_coordinates(),
        })
    }

    /// How many levels of feature maps there must be.
    pub fn levels(&self) -> usize {
        self.levels as usize
    }

    /// Boxes at each position of a feature map.
    pub fn per_location(&self) -> u64 {
        self.aspect_ratios.len() as u64 * u64::from(self.scales_per_octave)
    }

    /// Height and width of the boxes around one centre, for a base size: for each aspect ratio all scales.
    fn boxes(&self, base: f32) -> Vec<[f32; 2]> {
        let octave = f64::from(self.scales_per_octave);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the reference keeps scales as 32-bit floats"
        )]
        let scale = |i: u32| (f64::from(i) / octave).exp2() as f32;
        let scales: Vec<f32> = (0..self.scales_per_octave).map(scale).collect();
        let ratios = self.aspect_ratios.iter();
        ratios
            .flat_map(|ratio| {
                let root = ratio.sqrt();
                scales
                    .iter()
                    .map(move |scale| [scale / root * base, scale * root * base])
            })
            .collect()
    }

    /// The anchors over feature maps of these heights and widths, for an image of this size: level by level, row by row, with the boxes of
    /// one centre together. Normalised by the image's size unless the configuration says otherwise.
    ///
    /// # Errors
    /// When there are not as many feature maps as levels, or far too many anchors.
    pub fn generate(
        &self,
        feature_maps: &[[u64; 2]],
        image: [u64; 2],
    ) -> Result<Vec<Corners>, ModelError> {
        if feature_maps.len() != self.levels() {
            return Err(ModelError::Inconsistent(format!(
                "`anchor_generator` has {} levels, the feature extractor gives {} feature maps; \
                 set min_level and max_level of both alike (ResNet extractors always have levels 3 to 7)",
                self.levels(),
                feature_maps.len()
            )));
        }
        let count = feature_maps.iter().try_fold(0u64, |sum, [h, w]| {
            sum.checked_add(h.checked_mul(*w)?.checked_mul(self.per_location())?)
        });
        if count.is_none_or(|n| n > MOST_ANCHORS) {
            return Err(ModelError::Inconsistent(format!(
                "an image of {}x{} has more than {MOST_ANCHORS} anchors",
                image[0], image[1]
            )));
        }
        let mut anchors = Vec::new();
        for (level, map) in (self.min_level..).zip(feature_maps) {
            self.level(level, *map, image, &mut anchors);
        }
        Ok(anchors)
    }

    #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^24")]
    fn level(
        &self,
        level: u32,
        [rows, columns]: [u64; 2],
        image: [u64; 2],
        anchors: &mut Vec<Corners>,
    ) {
        let stride = 1u64 << level;
        // Where strides divide the image, centres lie in the middle of their cells.
        let offset = |size: u64| {
            if size.is_multiple_of(stride) || size == 1 {
                stride as f32 / 2.0
            } else {
                0.0
            }
        };
        let offsets = image.map(offset);
        let boxes = self.boxes(stride as f32 * self.anchor_scale);
        let scale = if self.normalize {
            image.map(|size| 1.0 / size as f32)
        } else {
            [1.0; 2]
        };
        for row in 0..rows {
            let y = row as f32 * stride as f32 + offsets[0];
            for column in 0..columns {
                let x = column as f32 * stride as f32 + offsets[1];
                anchors.extend(boxes.iter().map(|[h, w]| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn generator(min: i32, max: i32, scales: i32, ratios: &[f32]) -> Multiscale {
        Multiscale::from_config(&protos::MultiscaleAnchorGenerator {
            min_level: Some(min),
            max_level: Some(max),
            anchor_scale: Some(4.0),
            aspect_ratios: ratios.to_vec(),
            scales_per_octave: Some(scales),
            normalize_coordinates: None,
        })
        .unwrap()
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
