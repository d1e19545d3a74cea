//! Samples of components: brought to the picture's size, and made colours.
//!
//! A component of half the size is interpolated: each new sample is three quarters the nearer and one quarter the farther of its neighbours, rounded up and
//! down in turn, as libjpeg does unless told otherwise. Components of a third or a quarter are repeated. Colours are computed with 16 bits behind the point.

use super::scan::Layout;

/// The samples of a component.
pub(super) struct Plane {
    pub(super) samples: Vec<u8>,
    /// How many there are in a row.
    pub(super) stride: usize,
    pub(super) layout: Layout,
}

impl Plane {
    /// A plane of grey: what blocks without data are.
    pub(super) fn new(layout: Layout) -> Self {
        let stride = layout.padded.0 * 8;
        Self {
            samples: vec![128; stride * layout.padded.1 * 8],
            stride,
            layout,
        }
    }

    pub(super) fn put(&mut self, column: usize, row: usize, block: &super::transform::Samples) {
        let start = row * 8 * self.stride + column * 8;
        let rows = self.samples[start..].chunks_mut(self.stride);
        for (to, from) in rows.zip(block) {
            to[..8].copy_from_slice(from);
        }
    }

    fn row(&self, row: usize) -> &[u8] {
        &self.samples[row * self.stride..][..self.stride]
    }

    /// The part of a row that holds the picture.
    fn content(&self, row: usize) -> &[u8] {
        let row = row.min(self.layout.size.1 - 1);
        &self.row(row)[..self.layout.size.0]
    }
}

/// How a component comes to the picture's size.
#[derive(Clone, Copy)]
enum Growth {
    None,
    Across,
    Down,
    Both,
    /// Each sample so often, across and down.
    Repeated(usize, usize),
}

/// A component that is brought to the picture's size, row by row.
pub(super) struct Grown<'a> {
    plane: &'a Plane,
    growth: Growth,
    row: Vec<u8>,
    sums: Vec<u16>,
}

impl<'a> Grown<'a> {
    /// `factors` tells how much smaller the component is, across and down.
    pub(super) fn new(plane: &'a Plane, factors: (usize, usize)) -> Self {
        let wide = plane.layout.size.0 > 2;
        let growth = match factors {
            (1, 1) => Growth::None,
            (2, 1) if wide => Growth::Across,
            (1, 2) => Growth::Down,
            (2, 2) if wide => Growth::Both,
            (across, down) => Growth::Repeated(across, down),
        };
        Self {
            plane,
            growth,
            row: vec![0; plane.stride * factors.0],
            sums: vec![0; plane.layout.size.0 + 2],
        }
    }

    /// A row of the picture; behind it may be more.
    pub(super) fn row(&mut self, row: usize) -> &[u8] {
        let plane = self.plane;
        // The row above is the farther one for even rows, the one below for odd ones.
        let (near, far) = (
            row / 2,
            if row.is_multiple_of(2) {
                (row / 2).saturating_sub(1)
            } else {
                row / 2 + 1
            },
        );
        match self.growth {
            Growth::None => return plane.row(row),
            Growth::Across => {
                spread(
                    &mut self.sums,
                    plane.content(row).iter().map(|&sample| sample.into()),
                );
                widen::<1, 2, 2>(&self.sums, &mut self.row);
            }
            Growth::Both => {
                let rows = plane.content(near).iter().zip(plane.content(far));
                spread(
                    &mut self.sums,
                    rows.map(|(&near, &far)| weighted(near.into(), far.into())),
                );
                widen::<8, 7, 4>(&self.sums, &mut self.row);
            }
            Growth::Down => {
                let bias = if row.is_multiple_of(2) { 1 } else { 2 };
                let rows = plane.content(near).iter().zip(plane.content(far));
                for (to, (&near, &far)) in self.row.iter_mut().zip(rows) {
                    *to = (weighted(near.into(), far.into()).wrapping_add(bias) >> 2) as u8;
                }
            }
            Growth::Repeated(across, down) => {
                let from = plane.content(row / down);
                for (to, &from) in self.row.chunks_exact_mut(across).zip(from) {
                    to.fill(from);
                }
            }
        }
        &self.row
    }
}

/// Three times the nearer one and the farther one.
#[inline]
fn weighted(near: u16, far: u16) -> u16 {
    near.wrapping_mul(3).wrapping_add(far)
}

/// Writes numbers with the first and the last one twice, for having neighbours everywhere.
fn spread(sums: &mut [u16], numbers: impl Iterator<Item = u16>) {
    for (to, from) in sums[1..].iter_mut().zip(numbers) {
        *to = from;
    }
    let last = sums.len() - 1;
    sums[0] = sums[1];
    sums[last] = sums[last - 1];
}

/// Makes two samples of each number and its neighbours.
fn widen<const LEFT: u16, const RIGHT: u16, const SHIFT: u16>(sums: &[u16], row: &mut [u8]) {
    for (to, sums) in row.chunks_exact_mut(2).zip(sums.windows(3)) {
        to[0] = (weighted(sums[1], sums[0]).wrapping_add(LEFT) >> SHIFT) as u8;
        to[1] = (weighted(sums[1], sums[2]).wrapping_add(RIGHT) >> SHIFT) as u8;
    }
}

/// How many pixels are computed at once.
const AT_ONCE: usize = 16;

/// Makes colours of brightness and two differences of colours.
pub(super) fn colours(luma: &[u8], blue: &[u8], red: &[u8], rgb: &mut [u8]) {
    let (whole, rest) = rgb.as_chunks_mut::<{ 3 * AT_ONCE }>();
    let lumas = luma.as_chunks::<AT_ONCE>().0.iter();
    let blues = blue.as_chunks::<AT_ONCE>().0.iter();
    let reds = red.as_chunks::<AT_ONCE>().0.iter();
    let start = whole.len() * AT_ONCE;
    for ((to, luma), (blue, red)) in whole.iter_mut().zip(lumas).zip(blues.zip(reds)) {
        *to = sixteen(luma, blue, red);
    }
    let filled = |part: &[u8]| {
        let mut filled = [0; AT_ONCE];
        for (to, &from) in filled.iter_mut().zip(part.iter().skip(start)) {
            *to = from;
        }
        filled
    };
    let last = sixteen(&filled(luma), &filled(blue), &filled(red));
    for (to, from) in rest.iter_mut().zip(last) {
        *to = from;
    }
}

/// Red is brightness and 1.402 of the red difference; blue is 1.772 of the blue one; of green, 0.34414 and 0.71414 of them are taken away. Factors are split
/// so that 16 bits hold what is computed.
#[inline]
fn sixteen(luma: &[u8; AT_ONCE], blue: &[u8; AT_ONCE], red: &[u8; AT_ONCE]) -> [u8; 3 * AT_ONCE] {
    let mut colours = [[0; AT_ONCE]; 3];
    let times = |value: i16, factor: i32| {
        let product = (i32::from(value << 1).wrapping_mul(factor) >> 16) as i16;
        product.wrapping_add(1) >> 1
    };
    let limited = |value: i16| value.clamp(0, 255) as u8;
    for at in 0..AT_ONCE {
        let luma = i16::from(luma[at]);
        let blue = i16::from(blue[at]).wrapping_sub(128);
        let red = i16::from(red[at]).wrapping_sub(128);
        let reddish = times(red, 26_345).wrapping_add(red);
        let bluish = times(blue, -14_942).wrapping_add(blue << 1);
        let both = i32::from(blue).wrapping_mul(-22_554);
        let both = both.wrapping_add(i32::from(red).wrapping_mul(18_734));
        let green = (both.wrapping_add(32_768) >> 16) as i16;
        colours[0][at] = limited(luma.wrapping_add(reddish));
        colours[1][at] = limited(luma.wrapping_add(green).wrapping_sub(red));
        colours[2][at] = limited(luma.wrapping_add(bluish));
    }
    let mut pixels = [0; 3 * AT_ONCE];
    for (at, pixel) in pixels.as_chunks_mut::<3>().0.iter_mut().enumerate() {
        *pixel = [colours[0][at], colours[1][at], colours[2][at]];
    }
    pixels
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The conversion as JFIF has it, in integers with 16 bits behind the point, of which green is rounded once.
    fn reference(luma: i32, blue: i32, red: i32) -> [u8; 3] {
        let (blue, red) = (blue - 128, red - 128);
        [
            luma + ((91_881 * red + 32_768) >> 16),
            luma + ((-22_554 * blue - 46_802 * red + 32_768) >> 16),
            luma + ((116_130 * blue + 32_768) >> 16),
        ]
        .map(|colour| colour.clamp(0, 255) as u8)
    }

    #[test]
    fn colours_of_all_differences_are_those_of_the_formula() {
        for luma in [0_u8, 1, 77, 128, 254, 255] {
            for blue in 0..=255 {
                let reds: Vec<u8> = (0..=255).collect();
                let mut rgb = vec![0; 3 * 256];
                colours(&[luma; 256], &[blue; 256], &reds, &mut rgb);
                for (pixel, &red) in rgb.chunks_exact(3).zip(&reds) {
                    let expected = reference(luma.into(), blue.into(), red.into());
                    assert_eq!(*pixel, expected, "{luma}, {blue}, {red}");
                }
            }
        }
    }

    #[test]
    fn rows_of_any_length_are_converted_whole() {
        let planes: [Vec<u8>; 3] = [3, 5, 7].map(|step: u8| {
            let numbers = (0..48).map(|at: u8| at.wrapping_mul(step).wrapping_mul(11));
            numbers.collect()
        });
        let [luma, blue, red] = &planes;
        for width in 1..=40 {
            let mut rgb = vec![0; width * 3];
            colours(luma, blue, red, &mut rgb);
            for (at, pixel) in rgb.chunks_exact(3).enumerate() {
                let expected = reference(luma[at].into(), blue[at].into(), red[at].into());
                assert_eq!(*pixel, expected, "{at} of {width}");
            }
        }
    }

    fn grown(size: (usize, usize), samples: &[u8], factors: (usize, usize)) -> Vec<Vec<u8>> {
        let mut plane = Plane::new(Layout {
            size,
            blocks: (1, 1),
            padded: (1, 1),
        });
        for (row, samples) in samples.chunks(size.0).enumerate() {
            plane.samples[row * 8..][..samples.len()].copy_from_slice(samples);
        }
        let mut grown = Grown::new(&plane, factors);
        let width = size.0 * factors.0;
        let rows = 0..size.1 * factors.1;
        rows.map(|row| grown.row(row)[..width].to_vec()).collect()
    }

    #[test]
    fn half_sized_components_are_interpolated_and_others_repeated() {
        let row = &[0, 100, 200];
        assert_eq!(grown((3, 1), row, (2, 1)), [[0, 25, 75, 125, 175, 200]]);
        assert_eq!(
            grown((1, 3), row, (1, 2)),
            [[0], [25], [75], [125], [175], [200]]
        );
        // 3/4 and 1/4 of sums, rounded by 8 and by 7 sixteenths.
        let square = &[0, 0, 0, 100, 100, 100];
        let rows = grown((3, 2), square, (2, 2));
        assert_eq!(rows, [[0; 6], [25; 6], [75; 6], [100; 6]]);
        // Too narrow for interpolation across.
        assert_eq!(grown((2, 1), row, (2, 1)), [[0, 0, 100, 100]]);
        assert_eq!(
            grown((3, 1), row, (4, 1)),
            [[0, 0, 0, 0, 100, 100, 100, 100, 200, 200, 200, 200]]
        );
    }
}
