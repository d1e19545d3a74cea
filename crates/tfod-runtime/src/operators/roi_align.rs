//! `RoiAlign`.

use rten::Value;
use rten_tensor::Tensor;

use super::{Inputs, unknown};
use crate::onnx::{AttributeProto, Problem};

/// The operator set from which on the centre of a pixel is at its half unless it is said otherwise.
const HALF_PIXEL: u64 = 16;

/// Crops of maps, as <https://onnx.ai/onnx/operators/onnx__RoiAlign.html> has them: averages of samples between pixels, of the mode `avg`.
#[derive(Debug)]
pub(super) struct RoiAlign {
    height: usize,
    width: usize,
    /// How many samples a bin has along each side; 0 for as many as it has pixels.
    samples: usize,
    scale: f32,
    half_pixel: bool,
}

/// The most samples of a bin along one side.
const MOST_SAMPLES: usize = 1 << 16;

/// Where a sample along one side lies: between which pixels, and how near to the second. `None` where it is outside.
type Place = Option<(usize, usize, f32)>;

impl RoiAlign {
    pub(super) fn read(attributes: &[AttributeProto<'_>], opset: u64) -> Result<Self, Problem> {
        let mut found = Self {
            height: 1,
            width: 1,
            samples: 0,
            scale: 1.0,
            half_pixel: opset >= HALF_PIXEL,
        };
        for attribute in attributes {
            let size = || {
                let int = attribute.int;
                let size = usize::try_from(int).ok();
                size.ok_or_else(|| format!("expected a size for {}, found {int}", attribute.name))
            };
            match (attribute.name, attribute.text) {
                ("output_height", _) => found.height = size()?,
                ("output_width", _) => found.width = size()?,
                ("sampling_ratio", _) => found.samples = size()?,
                ("spatial_scale", _) => found.scale = attribute.float,
                ("mode", b"avg") => {}
                ("coordinate_transformation_mode", b"half_pixel") => found.half_pixel = true,
                ("coordinate_transformation_mode", b"output_half_pixel") => {
                    found.half_pixel = false;
                }
                ("mode" | "coordinate_transformation_mode", other) => {
                    let other = String::from_utf8_lossy(other);
                    return Err(format!(
                        "its {} is `{other}`, which is not computed",
                        attribute.name
                    ));
                }
                _ => return unknown(attribute),
            }
        }
        Ok(found)
    }

    pub(super) fn run(&self, inputs: Inputs<'_>) -> Result<Value, Problem> {
        let (maps, [images, channels, rows, columns]) = inputs.tensor::<f32, 4>(0, "X")?;
        let (boxes, [count, four]) = inputs.tensor::<f32, 2>(1, "rois")?;
        let (of, [others]) = inputs.tensor::<i32, 1>(2, "batch_indices")?;
        if four != 4 || count != others {
            return Err(format!(
                "rois [{count}, {four}] and batch_indices [{others}] do not belong together"
            ));
        }
        if rows == 0 || columns == 0 {
            return Err(format!("maps of {rows}x{columns} pixels"));
        }
        let (maps, boxes, of) = (maps.to_slice(), boxes.to_slice(), of.to_slice());
        let shape = [count, channels, self.height, self.width];
        let elements = shape
            .iter()
            .try_fold(1usize, |all, &size| all.checked_mul(size));
        let mut crops: Vec<f32> = Vec::new();
        let reserved = elements.map(|elements| crops.try_reserve_exact(elements));
        if !matches!(reserved, Some(Ok(()))) {
            return Err(format!("failed to allocate crops of the shape {shape:?}"));
        }
        let pixels = rows * columns;
        for (corners, &image) in boxes.as_chunks::<4>().0.iter().zip(&*of) {
            let image = usize::try_from(image).ok().filter(|image| *image < images);
            let Some(image) = image else {
                return Err(format!(
                    "a box is of an image that is not among the {images}"
                ));
            };
            let [left, top, right, bottom] = *corners;
            let down = self.places([top, bottom], self.height, rows)?;
            let across = self.places([left, right], self.width, columns)?;
            let planes = maps[image * channels * pixels..][..channels * pixels].chunks(pixels);
            for plane in planes {
                for down in &down {
                    for across in &across {
                        crops.push(average(plane, columns, down, across));
                    }
                }
            }
        }
        Ok(Tensor::from_data(&shape, crops).into())
    }

    /// The samples of each bin along one side of a box.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sizes of maps are far below 2^24, and positions are within one"
    )]
    fn places(
        &self,
        ends: [f32; 2],
        bins: usize,
        pixels: usize,
    ) -> Result<Vec<Vec<Place>>, Problem> {
        let offset = if self.half_pixel { 0.5 } else { 0.0 };
        let [begin, end] = ends.map(|end| end * self.scale - offset);
        let mut size = end - begin;
        if !self.half_pixel {
            size = size.max(1.0);
        }
        let bin = size / bins as f32;
        let samples = match self.samples {
            0 => bin.ceil() as usize,
            samples => samples,
        };
        if samples > MOST_SAMPLES {
            return Err(format!(
                "{samples} samples along a side of a bin; {MOST_SAMPLES} are the most"
            ));
        }
        let place = |position: f32| {
            if !(-1.0..=pixels as f32).contains(&position) {
                return None;
            }
            let position = position.max(0.0);
            let low = position as usize;
            if low + 1 >= pixels {
                return Some((pixels - 1, pixels - 1, 0.0));
            }
            Some((low, low + 1, position - low as f32))
        };
        let of_bin = |number: usize| {
            let begin = begin + number as f32 * bin;
            let at = |sample: usize| begin + (sample as f32 + 0.5) * bin / samples as f32;
            (0..samples).map(|sample| place(at(sample))).collect()
        };
        Ok((0..bins).map(of_bin).collect())
    }
}

/// The average of samples; those outside count as 0.
#[expect(clippy::cast_precision_loss, reason = "a number of samples")]
fn average(plane: &[f32], columns: usize, down: &[Place], across: &[Place]) -> f32 {
    let mut sum = 0.0;
    for &(top, bottom, below) in down.iter().flatten() {
        let row = |row: usize| &plane[row * columns..][..columns];
        let (top, bottom) = (row(top), row(bottom));
        for &(left, right, after) in across.iter().flatten() {
            let (above, before) = (1.0 - below, 1.0 - after);
            sum += above * before * top[left]
                + above * after * top[right]
                + below * before * bottom[left]
                + below * after * bottom[right];
        }
    }
    sum / (down.len() * across.len()).max(1) as f32
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use rten_tensor::prelude::*;

    use super::*;

    fn floats(shape: &[usize], values: &[f32]) -> Value {
        Tensor::from_data(shape, values.to_vec()).into()
    }

    /// Crops of two maps of 2x3 pixels, the second ten times the first.
    fn run(operator: &RoiAlign, boxes: &[[f32; 4]], of: &[i32]) -> Result<Vec<f32>, Problem> {
        let first = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        let maps = [first, first.map(|value| value * 10.0)];
        let maps = floats(&[2, 1, 2, 3], maps.as_flattened());
        let boxes = floats(&[boxes.len(), 4], boxes.as_flattened());
        let of = Value::from(Tensor::from_data(&[of.len()], of.to_vec()));
        let found = operator.run(Inputs(&[Some(&maps), Some(&boxes), Some(&of)]))?;
        Ok(Tensor::<f32>::try_from(found).unwrap().to_vec())
    }

    fn operator(height: usize, width: usize, samples: usize, half_pixel: bool) -> RoiAlign {
        RoiAlign {
            height,
            width,
            samples,
            scale: 1.0,
            half_pixel,
        }
    }

    #[test]
    fn samples_are_between_pixels() {
        // The whole map, each bin a pixel.
        let whole = [[0.0, 0.0, 3.0, 2.0]];
        let found = run(&operator(2, 3, 1, true), &whole, &[1]).unwrap();
        assert_eq!(found, [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
        // One bin, with a sample for each pixel that it has.
        for samples in [0, 3] {
            let found = run(&operator(1, 1, samples, true), &whole, &[0]).unwrap();
            assert!((found[0] - 2.5).abs() < 1e-6, "{found:?}");
        }
        // Half a pixel to the right, halved.
        let halved = RoiAlign {
            scale: 0.5,
            ..operator(1, 1, 1, true)
        };
        let found = run(&halved, &[[1.0, 0.0, 3.0, 2.0]], &[0]).unwrap();
        assert_eq!(found, [0.5]);
    }

    #[test]
    fn the_outer_pixels_are_repeated_for_one_pixel_and_then_there_is_nothing() {
        // Centres at columns -1, -0.5 and at 3, 3.5 of the first row.
        let boxes = [-1.0f32, -0.5, -1.5, 3.0, 3.5].map(|at| [at, 0.5, at + 1.0, 1.5]);
        let found = run(&operator(1, 1, 1, true), &boxes, &[0; 5]).unwrap();
        let at = |row: f32, column: f32| row * 3.0 + column;
        let middle = 0.5;
        assert_eq!(
            found,
            [at(middle, 0.0), at(middle, 0.0), 0.0, at(middle, 2.0), 0.0]
        );
    }

    #[test]
    fn before_half_pixels_boxes_had_a_size_of_one_at_least() {
        // From column 1 on, a pixel wide: the sample is at 1.5.
        let found = run(&operator(1, 1, 1, false), &[[1.0, 0.0, 1.0, 0.0]], &[0]).unwrap();
        assert_eq!(found, [1.5 + 3.0 * 0.5]);
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let small = operator(1, 1, 1, true);
        let problem = run(&small, &[[0.0; 4]], &[2]).unwrap_err();
        assert_eq!(problem, "a box is of an image that is not among the 2");
        let problem = run(&small, &[[0.0; 4]], &[0, 0]).unwrap_err();
        assert_eq!(
            problem,
            "rois [1, 4] and batch_indices [2] do not belong together"
        );
        let huge = operator(1 << 40, 1 << 40, 1, true);
        let problem = run(&huge, &[[0.0; 4]], &[0]).unwrap_err();
        assert!(problem.starts_with("failed to allocate"), "{problem}");
        let endless = run(&operator(1, 1, 0, true), &[[0.0, 0.0, 1e30, 1.0]], &[0]);
        assert!(endless.unwrap_err().contains("samples along a side"));
        let mode = AttributeProto {
            name: "mode",
            text: b"max",
            ..AttributeProto::default()
        };
        let problem = RoiAlign::read(&[mode], 16).unwrap_err();
        assert_eq!(problem, "its mode is `max`, which is not computed");
        let none = run(&small, &[], &[]).unwrap();
        assert!(none.is_empty());
    }
}
