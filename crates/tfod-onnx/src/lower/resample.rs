//! Resizing: which of ONNX's means compute exactly what the graph asks for.
//!
//! * To the same size: nothing.
//! * Bilinear: `Resize`. Runtimes round positions in the source otherwise than TensorFlow (they divide by the factor, it multiplies by the inverse),
//!   which changes a pixel by up to 0.002 of 255. Taking and weighting the neighbours at TensorFlow's positions is twenty times slower.
//! * Nearest neighbour: `Resize` where rows and columns are repeated equally often, so that no rounding can choose another neighbour, and where the
//!   size is not known; else the neighbours' indices are computed here.
//! * Bicubic and area: TensorFlow takes the cubic kernel from a table of 1024 steps, which no operator does, and ONNX has no averaging over areas.
//!   Both are linear and separable, so the weights are computed here, and resizing is two matrix products. That needs known sizes.

// Sizes of images are far below the limits of `f32` and `i64`, and TensorFlow computes with `f32` too.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss
)]

use tfod_graph::{DType, ResizeMethod};

use crate::stored::Stored;

/// How to resize.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Resampling {
    /// The image is of the right size.
    Nothing,
    /// By ONNX's operator, with these attributes.
    Operator {
        mode: &'static str,
        coordinates: &'static str,
        rounding: Option<&'static str>,
    },
    /// By taking rows, then columns, of an image of this size.
    Indices([u64; 2]),
    /// By weighted sums of rows, and of columns, of an image of this size.
    Weights([u64; 2]),
    /// Not at all, for want of a known size.
    SizeUnknown,
    /// Not at all, because the indices or weights would be too many.
    TooLarge,
}

/// The longest side for which indices and weights are computed: a matrix has at most 256 MiB.
const LONGEST: u64 = 1 << 13;

/// Chooses for an image of the size `from`, where that is known.
pub(super) fn choose(
    method: ResizeMethod,
    from: [Option<u64>; 2],
    to: [u64; 2],
    half_pixel_centers: bool,
) -> Resampling {
    let operator = |mode, rounding| Resampling::Operator {
        mode,
        coordinates: if half_pixel_centers {
            "half_pixel"
        } else {
            "asymmetric"
        },
        rounding,
    };
    let known = match from {
        [Some(height), Some(width)] => Some([height, width]),
        _ => None,
    };
    let is_too_long = |sides: &[u64]| sides.iter().any(|n| *n > LONGEST);
    match (method, known) {
        (_, Some(from)) if from == to => Resampling::Nothing,
        (ResizeMethod::Bilinear, _) => operator("linear", None),
        (_, Some(from)) if is_too_long(&from) || is_too_long(&to) => Resampling::TooLarge,
        (ResizeMethod::Nearest, Some(from)) if !repeats(from, to, half_pixel_centers) => {
            Resampling::Indices(from)
        }
        // floor(x + 0.5), of a position that is half a pixel lower.
        (ResizeMethod::Nearest, _) if half_pixel_centers => {
            operator("nearest", Some("round_prefer_ceil"))
        }
        (ResizeMethod::Nearest, _) => operator("nearest", Some("floor")),
        (ResizeMethod::Bicubic | ResizeMethod::Area, Some(from)) => Resampling::Weights(from),
        (ResizeMethod::Bicubic | ResizeMethod::Area, None) => Resampling::SizeUnknown,
    }
}

/// Whether each row and column is repeated equally often.
fn repeats(from: [u64; 2], to: [u64; 2], half_pixel_centers: bool) -> bool {
    (0..2).all(|axis| {
        let factor = to[axis].checked_div(from[axis]).unwrap_or(0);
        let repeated = (0..from[axis]).flat_map(|i| (0..factor).map(move |_| i as i64));
        nearest(from[axis], to[axis], half_pixel_centers)
            .into_iter()
            .eq(repeated)
    })
}

/// Where a position of the result is in the source, in TensorFlow's precision.
fn source(position: u64, scale: f32, half_pixel_centers: bool) -> f32 {
    if half_pixel_centers {
        (position as f32 + 0.5) * scale - 0.5
    } else {
        position as f32 * scale
    }
}

fn scale(from: u64, to: u64) -> f32 {
    from as f32 / to as f32
}

/// For each position of the result, the source's.
pub(super) fn nearest(from: u64, to: u64, half_pixel_centers: bool) -> Vec<i64> {
    let scale = scale(from, to);
    let half = if half_pixel_centers { 0.5 } else { 0.0 };
    let last = from.saturating_sub(1) as i64;
    (0..to)
        .map(|position| (((position as f32 + half) * scale).floor() as i64).min(last))
        .collect()
}

/// For each position of the result, the weights of the source's positions.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Weights {
    from: u64,
    to: u64,
    /// `[to, from]`
    values: Vec<f32>,
}

impl Weights {
    fn zero(from: u64, to: u64) -> Self {
        let values = vec![0.0; (from * to) as usize];
        Self { from, to, values }
    }

    /// Adds to the weight of the nearest position that there is.
    fn add(&mut self, to: u64, from: i64, weight: f32) {
        let from = from.clamp(0, self.from.saturating_sub(1) as i64) as u64;
        if let Some(value) = self.values.get_mut((to * self.from + from) as usize) {
            *value += weight;
        }
    }

    /// The average over the area that a position of the result covers in the source.
    pub(super) fn area(from: u64, to: u64) -> Self {
        let mut weights = Self::zero(from, to);
        let scale = scale(from, to);
        for position in 0..to {
            let (begin, end) = (position as f32 * scale, (position + 1) as f32 * scale);
            for index in begin.floor() as i64..end.ceil() as i64 {
                let (low, high) = (index as f32, (index + 1) as f32);
                let covered = match (low < begin, high > end) {
                    (true, true) => scale,
                    (true, false) => high - begin,
                    (false, true) => end - low,
                    (false, false) => 1.0,
                };
                weights.add(position, index, covered / scale);
            }
        }
        weights
    }

    /// Keys' cubic convolution over four neighbours, at offsets rounded to 1/1024. With half-pixel centres, a = -0.5 and neighbours beyond the
    /// border do not count; without, a = -0.75 and the border is repeated.
    pub(super) fn bicubic(from: u64, to: u64, half_pixel_centers: bool) -> Self {
        const STEPS: f32 = 1024.0;
        let a: f64 = if half_pixel_centers { -0.5 } else { -0.75 };
        // Of a distance up to 1, and of one from 1 to 2.
        let near = |x: f64| (((a + 2.0) * x - (a + 3.0)) * x * x + 1.0) as f32;
        let far = |x: f64| (((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a) as f32;
        let mut weights = Self::zero(from, to);
        let scale = scale(from, to);
        for position in 0..to {
            let at = source(position, scale, half_pixel_centers);
            let base = at.floor();
            let offset = f64::from(((at - base) * STEPS).round_ties_even() / STEPS);
            let base = base as i64;
            let taps = [
                (base - 1, far(offset + 1.0)),
                (base, near(offset)),
                (base + 1, near(1.0 - offset)),
                (base + 2, far(2.0 - offset)),
            ];
            let counts = |index: i64| !half_pixel_centers || (0..from as i64).contains(&index);
            let sum: f32 = taps
                .iter()
                .filter(|(i, _)| counts(*i))
                .map(|(_, w)| w)
                .sum();
            let norm = if half_pixel_centers { sum } else { 1.0 };
            for (index, weight) in taps {
                if counts(index) {
                    weights.add(position, index, weight / norm);
                }
            }
        }
        weights
    }

    /// As a matrix, `[to, from]`, or transposed.
    pub(super) fn stored<'a>(&self, transposed: bool) -> Stored<'a> {
        let bytes: Vec<u8> = self.values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let stored = Stored::new(DType::F32, &[self.to, self.from], bytes.into());
        if transposed {
            stored.permuted(&[1, 0])
        } else {
            stored
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_factors_are_left_to_the_operator() {
        let way = |method, from: [u64; 2], to| choose(method, from.map(Some), to, false);
        let nearest_way = |from, to| way(ResizeMethod::Nearest, from, to);
        assert!(matches!(
            nearest_way([10, 7], [30, 14]),
            Resampling::Operator { .. }
        ));
        assert_eq!(nearest_way([5, 4], [3, 4]), Resampling::Indices([5, 4]));
        assert_eq!(way(ResizeMethod::Area, [5, 4], [5, 4]), Resampling::Nothing);
        assert_eq!(nearest(5, 3, false), [0, 1, 3]);
        assert_eq!(nearest(5, 3, true), [0, 2, 4]);
    }

    #[test]
    fn unknown_sizes_are_not_enough_for_weights() {
        let way = |method| choose(method, [None, Some(4)], [3, 3], true);
        assert_eq!(way(ResizeMethod::Area), Resampling::SizeUnknown);
        assert_eq!(way(ResizeMethod::Bicubic), Resampling::SizeUnknown);
        assert!(matches!(
            way(ResizeMethod::Bilinear),
            Resampling::Operator { .. }
        ));
    }

    #[test]
    fn weights_are_not_computed_without_bound() {
        for method in [
            ResizeMethod::Area,
            ResizeMethod::Bicubic,
            ResizeMethod::Nearest,
        ] {
            let way = choose(method, [Some(4); 2], [u64::MAX, 3], false);
            assert_eq!(way, Resampling::TooLarge);
        }
    }

    #[test]
    fn weights_of_each_position_add_up_to_one() {
        for (from, to) in [(7, 4), (4, 9), (5, 5), (1, 3)] {
            let all = [
                Weights::area(from, to),
                Weights::bicubic(from, to, false),
                Weights::bicubic(from, to, true),
            ];
            for weights in all {
                for row in weights.values.chunks(usize::try_from(from).unwrap()) {
                    let sum: f32 = row.iter().sum();
                    assert!((sum - 1.0).abs() < 1e-5, "{from} to {to}: {row:?}");
                }
            }
        }
    }

    #[test]
    fn the_area_of_half_a_pixel_counts_half() {
        assert_eq!(
            Weights::area(3, 2).values,
            [2.0 / 3.0, 1.0 / 3.0, 0.0, 0.0, 1.0 / 3.0, 2.0 / 3.0]
        );
    }
}
