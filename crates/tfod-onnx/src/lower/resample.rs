//! Resizing: which of ONNX's means compute exactly what the graph asks for.
//!
//! * To the same size: nothing.
//! * Bilinear: `Resize`. Runtimes round positions in the source otherwise than TensorFlow (they divide by the factor, it multiplies by the inverse),
//!   which changes a pixel by up to 0.002 of 255. Taking and weighting the neighbours at TensorFlow's positions is twenty times slower.
//! * Nearest neighbour: `Resize` where rows and columns are repeated equally often, so that no rounding can choose another neighbour; else the
//!   neighbours' indices are computed, here or, where a size is not known, by the model.
//! * Bicubic and area: TensorFlow takes the cubic kernel from a table of 1024 steps, which no operator does, and ONNX has no averaging over areas.
//!   Both are linear and separable, so the weights are computed here, and resizing is two matrix products. That needs known sizes.

// Sizes of images are far below the limits of `f32` and `i64`, and TensorFlow computes with `f32` too.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss
)]

use tfod_graph::{DType, PixelGrid, ResizeMethod};

use crate::stored::Stored;

/// Which pixels of the source a pixel of the result is a weighted sum of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Filter {
    Bicubic,
    Area,
}

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
    /// By taking rows, then columns.
    Indices(Sizes),
    /// By taking rows, then columns, at positions that are worked out at run time.
    ComputedIndices,
    /// By weighted sums of rows, and of columns.
    Weights(Filter, Sizes),
    /// Not at all, for want of a known size.
    SizeUnknown,
    /// Not at all, because the indices or weights would be too many.
    TooLarge,
}

/// Heights and widths.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sizes {
    pub from: [u64; 2],
    pub to: [u64; 2],
}

/// The longest side for which indices and weights are computed: a matrix has at most 256 MiB.
const LONGEST: u64 = 1 << 13;

/// Chooses for the sizes of the image and the result, where these are known.
pub(super) fn choose(
    method: ResizeMethod,
    from: [Option<u64>; 2],
    to: [Option<u64>; 2],
    grid: PixelGrid,
) -> Resampling {
    let operator = |mode, rounding| Resampling::Operator {
        mode,
        coordinates: match grid {
            PixelGrid::Corners => "asymmetric",
            PixelGrid::Centers => "half_pixel",
            PixelGrid::AlignedCorners => "align_corners",
        },
        rounding,
    };
    let known = match (from, to) {
        ([Some(a), Some(b)], [Some(c), Some(d)]) => Some(Sizes {
            from: [a, b],
            to: [c, d],
        }),
        _ => None,
    };
    let is_too_long = from.iter().chain(&to).flatten().any(|n| *n > LONGEST);
    match (method, known) {
        (_, Some(Sizes { from, to })) if from == to => Resampling::Nothing,
        (ResizeMethod::Bilinear, _) => operator("linear", None),
        _ if is_too_long => Resampling::TooLarge,
        (ResizeMethod::Nearest, Some(sizes)) if !repeats(sizes, grid) => Resampling::Indices(sizes),
        (ResizeMethod::Nearest, Some(_)) => {
            // With half-pixel centres floor(x + 0.5), of a position that is half a pixel lower.
            let rounding = match grid {
                PixelGrid::Corners => "floor",
                PixelGrid::Centers | PixelGrid::AlignedCorners => "round_prefer_ceil",
            };
            operator("nearest", Some(rounding))
        }
        (ResizeMethod::Nearest, None) => Resampling::ComputedIndices,
        (ResizeMethod::Bicubic, Some(sizes)) => Resampling::Weights(Filter::Bicubic, sizes),
        (ResizeMethod::Area, Some(sizes)) => Resampling::Weights(Filter::Area, sizes),
        (ResizeMethod::Bicubic | ResizeMethod::Area, None) => Resampling::SizeUnknown,
    }
}

/// Whether each row and column is repeated equally often.
fn repeats(Sizes { from, to }: Sizes, grid: PixelGrid) -> bool {
    (0..2).all(|axis| {
        let factor = to[axis].checked_div(from[axis]).unwrap_or(0);
        let repeated = (0..from[axis]).flat_map(|i| (0..factor).map(move |_| i as i64));
        nearest(from[axis], to[axis], grid).into_iter().eq(repeated)
    })
}

/// Where a position of the result is in the source, in TensorFlow's precision.
fn source(position: u64, scale: f32, grid: PixelGrid) -> f32 {
    match grid {
        PixelGrid::Centers => (position as f32 + 0.5) * scale - 0.5,
        PixelGrid::Corners | PixelGrid::AlignedCorners => position as f32 * scale,
    }
}

fn scale(from: u64, to: u64, grid: PixelGrid) -> f32 {
    if grid == PixelGrid::AlignedCorners && to > 1 {
        from.saturating_sub(1) as f32 / (to - 1) as f32
    } else {
        from as f32 / to as f32
    }
}

/// For each position of the result, the source's.
pub(super) fn nearest(from: u64, to: u64, grid: PixelGrid) -> Vec<i64> {
    let scale = scale(from, to, grid);
    let last = from.saturating_sub(1) as i64;
    let at = |position: u64| match grid {
        PixelGrid::Corners => (position as f32 * scale).floor(),
        PixelGrid::Centers => ((position as f32 + 0.5) * scale).floor(),
        PixelGrid::AlignedCorners => (position as f32 * scale).round(),
    };
    (0..to)
        .map(|position| (at(position) as i64).min(last))
        .collect()
}

/// The positions along a side of `size` samples, before they are scaled to the source, and how many they are.
pub(super) fn positions(size: u64, grid: PixelGrid) -> (Vec<f32>, f32) {
    let first = if grid == PixelGrid::Centers { 0.5 } else { 0.0 };
    let positions = (0..size).map(|position| position as f32 + first);
    (positions.collect(), size as f32)
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
    pub(super) fn area(from: u64, to: u64, grid: PixelGrid) -> Self {
        let mut weights = Self::zero(from, to);
        let scale = scale(from, to, grid);
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
    pub(super) fn bicubic(from: u64, to: u64, grid: PixelGrid) -> Self {
        const STEPS: f32 = 1024.0;
        let has_centers = grid == PixelGrid::Centers;
        let a: f64 = if has_centers { -0.5 } else { -0.75 };
        // Of a distance up to 1, and of one from 1 to 2.
        let near = |x: f64| (((a + 2.0) * x - (a + 3.0)) * x * x + 1.0) as f32;
        let far = |x: f64| (((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a) as f32;
        let mut weights = Self::zero(from, to);
        let scale = scale(from, to, grid);
        for position in 0..to {
            let at = source(position, scale, grid);
            let base = at.floor();
            let offset = f64::from(((at - base) * STEPS).round_ties_even() / STEPS);
            let base = base as i64;
            let taps = [
                (base - 1, far(offset + 1.0)),
                (base, near(offset)),
                (base + 1, near(1.0 - offset)),
                (base + 2, far(2.0 - offset)),
            ];
            let counts = |index: i64| !has_centers || (0..from as i64).contains(&index);
            let sum: f32 = taps
                .iter()
                .filter(|(i, _)| counts(*i))
                .map(|(_, w)| w)
                .sum();
            let norm = if has_centers { sum } else { 1.0 };
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
        let way = |method, from: [u64; 2], to: [u64; 2]| {
            choose(method, from.map(Some), to.map(Some), PixelGrid::Corners)
        };
        let nearest_way = |from, to| way(ResizeMethod::Nearest, from, to);
        assert!(matches!(
            nearest_way([10, 7], [30, 14]),
            Resampling::Operator { .. }
        ));
        let sizes = Sizes {
            from: [5, 4],
            to: [3, 4],
        };
        assert_eq!(nearest_way([5, 4], [3, 4]), Resampling::Indices(sizes));
        assert_eq!(way(ResizeMethod::Area, [5, 4], [5, 4]), Resampling::Nothing);
        assert_eq!(nearest(5, 3, PixelGrid::Corners), [0, 1, 3]);
        assert_eq!(nearest(5, 3, PixelGrid::Centers), [0, 2, 4]);
        assert_eq!(nearest(4, 3, PixelGrid::AlignedCorners), [0, 2, 3]);
        assert_eq!(nearest(4, 1, PixelGrid::AlignedCorners), [0]);
    }

    #[test]
    fn unknown_sizes_are_not_enough_for_weights() {
        let way = |method| choose(method, [None, Some(4)], [Some(3); 2], PixelGrid::Centers);
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
            let to = [Some(u64::MAX), Some(3)];
            let way = choose(method, [Some(4); 2], to, PixelGrid::Corners);
            assert_eq!(way, Resampling::TooLarge);
        }
    }

    #[test]
    fn weights_of_each_position_add_up_to_one() {
        for (from, to) in [(7, 4), (4, 9), (5, 5), (1, 3)] {
            let grids = [PixelGrid::Corners, PixelGrid::Centers];
            let bicubic = grids.map(|grid| Weights::bicubic(from, to, grid));
            let area = Weights::area(from, to, PixelGrid::Corners);
            for weights in bicubic.into_iter().chain([area]) {
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
            Weights::area(3, 2, PixelGrid::Corners).values,
            [2.0 / 3.0, 1.0 / 3.0, 0.0, 0.0, 1.0 / 3.0, 2.0 / 3.0]
        );
    }
}
