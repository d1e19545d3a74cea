//! Masks of instances, as lengths of runs.
//!
//! COCO's form: the pixels column by column from top to bottom, as lengths of runs that are in turn outside and inside the mask, the first outside. As a
//! string, a length is written in groups of five bits, each a character from `0` on, the fourth and later ones as the difference to the length two before.

use std::fmt;

/// The largest width and height of a mask.
const LARGEST_SIDE: u32 = 100_000;
/// The most pixels of a mask: areas are counted with 32 bits.
const MOST_PIXELS: u64 = 1 << 31;
/// The most places where the boundary of a polygon passes from one column of pixels to the next.
const MOST_CROSSINGS: usize = 1 << 24;
/// Boundaries are followed in steps of a fifth of a pixel.
const STEPS: f64 = 5.0;

/// Why a mask cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MaskError(String);

impl MaskError {
    pub(crate) fn without_size() -> Self {
        Self(
            "a polygon needs the width and height of its image, which the annotations do not tell"
                .to_owned(),
        )
    }
}

fn refused<T>(problem: String) -> Result<T, MaskError> {
    Err(MaskError(problem))
}

/// A mask: for each pixel of an image whether it is inside.
#[derive(Clone, PartialEq, Eq)]
pub struct Rle {
    height: u32,
    width: u32,
    /// Outside, inside, outside…; none but the first is 0, and they add up to the number of pixels.
    counts: Vec<u32>,
}

impl fmt::Debug for Rle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (width, height) = (self.width, self.height);
        write!(f, "Rle({width}x{height}, {})", self.to_compressed())
    }
}

/// The number of pixels of a mask that is not too large.
fn pixels(width: u32, height: u32) -> Result<u32, MaskError> {
    let pixels = u64::from(width) * u64::from(height);
    match u32::try_from(pixels) {
        Ok(small) if pixels <= MOST_PIXELS && width.max(height) <= LARGEST_SIDE => Ok(small),
        _ => refused(format!(
            "a mask of {width}x{height} pixels is too large: the limit is {LARGEST_SIDE} a side and {MOST_PIXELS} in all"
        )),
    }
}

/// Collects runs, joining those of the same side.
struct Collector {
    counts: Vec<u32>,
    inside: bool,
}

impl Collector {
    fn new() -> Self {
        Self {
            counts: vec![0],
            inside: false,
        }
    }

    fn push(&mut self, length: u32, inside: bool) {
        if length == 0 {
            return;
        }
        if self.inside == inside {
            // There always is a run.
            if let Some(last) = self.counts.last_mut() {
                *last += length;
            }
        } else {
            self.counts.push(length);
            self.inside = inside;
        }
    }
}

impl Rle {
    /// A mask of runs: outside, inside, outside…
    ///
    /// # Errors
    /// When they do not add up to the number of pixels, or the mask is too large.
    pub fn new(width: u32, height: u32, counts: &[u32]) -> Result<Self, MaskError> {
        let sides = [false, true].into_iter().cycle();
        Self::from_runs(width, height, counts.iter().copied().zip(sides))
    }

    /// A mask of runs, each of so many pixels and inside or not, column by column from the left. Neighbours on the same side become one.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn from_runs(
        width: u32,
        height: u32,
        runs: impl IntoIterator<Item = (u32, bool)>,
    ) -> Result<Self, MaskError> {
        let expected = pixels(width, height)?;
        let mut collector = Collector::new();
        let mut sum = 0;
        for (count, inside) in runs {
            sum += u64::from(count);
            // What is beyond is only counted.
            if sum <= u64::from(expected) {
                collector.push(count, inside);
            }
        }
        if sum != u64::from(expected) {
            return refused(format!(
                "the runs of a mask add up to {sum}, expected {expected} for {width}x{height} pixels"
            ));
        }
        Ok(Self {
            height,
            width,
            counts: collector.counts,
        })
    }

    /// A mask from the string of COCO's compressed form.
    ///
    /// # Errors
    /// When it is damaged, or the mask is too large.
    pub fn from_compressed(width: u32, height: u32, text: &str) -> Result<Self, MaskError> {
        pixels(width, height)?;
        let mut counts: Vec<u32> = Vec::new();
        let (mut value, mut shift) = (0i64, 0u32);
        for (place, byte) in text.bytes().enumerate() {
            let group = byte.wrapping_sub(b'0');
            if group > 0x3f || shift > 30 {
                return refused(format!(
                    "the runs of a mask are damaged at character {place} of {}: expected characters from `0` to `o`, at most seven for a run",
                    text.len()
                ));
            }
            value |= i64::from(group & 0x1f) << shift;
            shift += 5;
            if group & 0x20 != 0 {
                continue;
            }
            if group & 0x10 != 0 {
                value -= 1 << shift;
            }
            if let [.., before, _] = counts[..]
                && counts.len() > 2
            {
                value += i64::from(before);
            }
            let Ok(count) = u32::try_from(value) else {
                return refused(format!(
                    "the runs of a mask are damaged at character {place} of {}: a run has {value} pixels",
                    text.len()
                ));
            };
            counts.push(count);
            (value, shift) = (0, 0);
        }
        if shift != 0 {
            return refused("the runs of a mask are cut short".to_owned());
        }
        Self::new(width, height, &counts)
    }

    /// The string of COCO's compressed form.
    pub fn to_compressed(&self) -> String {
        let mut text = String::new();
        for (index, &count) in self.counts.iter().enumerate() {
            let mut value = i64::from(count);
            if index > 2 {
                value -= i64::from(self.counts[index - 2]);
            }
            loop {
                // Five bits.
                let group = u8::try_from(value & 0x1f).unwrap_or(0);
                value >>= 5;
                let last = value == if group & 0x10 == 0 { 0 } else { -1 };
                text.push(char::from(b'0' + group + if last { 0 } else { 0x20 }));
                if last {
                    break;
                }
            }
        }
        text
    }

    /// A mask from pixels, row by row from the top: inside where a byte is not 0.
    ///
    /// # Errors
    /// When there are not as many bytes as pixels, or too many.
    pub fn from_rows(width: u32, height: u32, rows: &[u8]) -> Result<Self, MaskError> {
        let expected = pixels(width, height)?;
        if rows.len() != expected as usize {
            let found = rows.len();
            return refused(format!(
                "a mask has {found} pixels, expected {expected} for {width}x{height}"
            ));
        }
        let mut collector = Collector::new();
        for x in 0..width as usize {
            let column = rows.iter().skip(x).step_by(width.max(1) as usize);
            for &pixel in column {
                collector.push(1, pixel != 0);
            }
        }
        Ok(Self {
            height,
            width,
            counts: collector.counts,
        })
    }

    /// What polygons cover, each of which is a list of x, y, x, y…
    ///
    /// # Errors
    /// When a polygon has less than three points, or points farther from the image than its size, and when the mask is too large.
    pub fn from_polygons(
        width: u32,
        height: u32,
        polygons: &[Vec<f64>],
    ) -> Result<Self, MaskError> {
        let mut whole: Option<Self> = None;
        for polygon in polygons {
            let mask = Self::from_polygon(width, height, polygon)?;
            whole = Some(match whole {
                Some(others) => others.union(&mask),
                None => mask,
            });
        }
        match whole {
            Some(mask) => Ok(mask),
            None => Self::new(width, height, &[pixels(width, height)?]),
        }
    }

    fn from_polygon(width: u32, height: u32, polygon: &[f64]) -> Result<Self, MaskError> {
        let area = pixels(width, height)?;
        if polygon.len() < 6 || !polygon.len().is_multiple_of(2) {
            return refused(format!(
                "a polygon has {} numbers, expected x and y of at least three points",
                polygon.len()
            ));
        }
        let mut points = Vec::with_capacity(polygon.len() / 2 + 1);
        for pair in polygon.chunks_exact(2) {
            let (x, y) = (pair[0], pair[1]);
            for (place, side) in [(x, width), (y, height)] {
                let side = f64::from(side);
                if !(place >= -side && place <= 2.0 * side) {
                    return refused(format!(
                        "a point of a polygon, {x}, {y}, is far outside of its image of {width}x{height} pixels"
                    ));
                }
            }
            points.push((to_step(STEPS * x + 0.5), to_step(STEPS * y + 0.5)));
        }
        points.extend(points.first().copied());

        // Where the boundary passes from one column to the next, everything below changes sides.
        let mut crossings: Vec<u32> = Vec::new();
        let mut before: Option<(i32, i32)> = None;
        let (last_column, bottom) = (f64::from(width) - 1.0, f64::from(height));
        for edge in points.windows(2) {
            follow(edge[0], edge[1], |u, v| {
                let Some((u_before, v_before)) = before.replace((u, v)) else {
                    return;
                };
                if u == u_before || crossings.len() > MOST_CROSSINGS {
                    return;
                }
                let left = if u < u_before { u } else { u - 1 };
                let x = (f64::from(left) + 0.5) / STEPS - 0.5;
                if x.fract().abs() > 0.0 || x < 0.0 || x > last_column {
                    return;
                }
                let y = (f64::from(v.min(v_before)) + 0.5) / STEPS - 0.5;
                let y = y.clamp(0.0, bottom).ceil();
                crossings.push(whole(x) * height + whole(y));
            });
        }
        if crossings.len() > MOST_CROSSINGS {
            return refused(format!(
                "a polygon crosses more than {MOST_CROSSINGS} columns of pixels"
            ));
        }
        crossings.sort_unstable();
        let mut collector = Collector::new();
        let (mut place, mut inside) = (0, false);
        for crossing in crossings {
            collector.push(crossing - place, inside);
            (place, inside) = (crossing, !inside);
        }
        collector.push(area - place, inside);
        Ok(Self {
            height,
            width,
            counts: collector.counts,
        })
    }

    /// What is inside of either. Both are of the same size.
    fn union(&self, other: &Self) -> Self {
        let mut collector = Collector::new();
        together(self, other, |length, a, b| collector.push(length, a || b));
        Self {
            height: self.height,
            width: self.width,
            counts: collector.counts,
        }
    }

    /// Width and height.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// How many pixels are inside.
    pub fn area(&self) -> u32 {
        self.counts.iter().skip(1).step_by(2).sum()
    }

    /// How many pixels are inside of both, and of either; `None` for masks of different sizes.
    pub fn overlap(&self, other: &Self) -> Option<(u32, u32)> {
        if self.size() != other.size() {
            return None;
        }
        let (mut both, mut either) = (0, 0);
        together(self, other, |length, a, b| {
            if a && b {
                both += length;
            }
            if a || b {
                either += length;
            }
        });
        Some((both, either))
    }

    /// The box around what is inside: x, y, width, height, all 0 for an empty mask.
    pub fn bounds(&self) -> [f64; 4] {
        let (mut left, mut right, mut top, mut bottom) = (u32::MAX, 0, u32::MAX, 0);
        let mut place = 0;
        for (index, &count) in self.counts.iter().enumerate() {
            if index % 2 == 1 {
                let (first, last) = (place, place + count - 1);
                let (from, to) = (first / self.height, last / self.height);
                left = left.min(from);
                right = right.max(to);
                if from == to {
                    top = top.min(first % self.height);
                    bottom = bottom.max(last % self.height);
                } else {
                    (top, bottom) = (0, self.height - 1);
                }
            }
            place += count;
        }
        if left == u32::MAX {
            return [0.0; 4];
        }
        let sides = [left, top, right - left + 1, bottom - top + 1];
        sides.map(f64::from)
    }
}

/// A place within a mask that is whole.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole, not negative, and at most the size of a mask"
)]
fn whole(place: f64) -> u32 {
    place as u32
}

/// Towards zero, as C converts.
#[expect(clippy::cast_possible_truncation, reason = "what is wanted")]
fn to_step(value: f64) -> i32 {
    value as i32
}

/// The points of a straight edge, in steps along its longer side.
fn follow((x, y): (i32, i32), (to_x, to_y): (i32, i32), mut visit: impl FnMut(i32, i32)) {
    let (wide, high) = ((to_x - x).abs(), (to_y - y).abs());
    let steps = wide.max(high);
    let along_x = wide >= high;
    // An edge gives the same points in either direction.
    let backwards = if along_x { x > to_x } else { y > to_y };
    let (start, end) = if backwards {
        ((to_x, to_y), (x, y))
    } else {
        ((x, y), (to_x, to_y))
    };
    let slope = if steps == 0 {
        0.0
    } else if along_x {
        f64::from(end.1 - start.1) / f64::from(wide)
    } else {
        f64::from(end.0 - start.0) / f64::from(high)
    };
    for step in 0..=steps {
        let t = if backwards { steps - step } else { step };
        let across = |from: i32| to_step(f64::from(from) + slope * f64::from(t) + 0.5);
        if along_x {
            visit(start.0 + t, across(start.1));
        } else {
            visit(across(start.0), start.1 + t);
        }
    }
}

/// Walks two masks of the same size: the lengths over which neither changes, and whether they are inside of each.
fn together(a: &Rle, b: &Rle, mut visit: impl FnMut(u32, bool, bool)) {
    let (mut runs_a, mut runs_b) = (a.counts.iter(), b.counts.iter());
    let (mut left_a, mut left_b) = (0, 0);
    // The first run, outside, begins by a change.
    let (mut in_a, mut in_b) = (true, true);
    loop {
        while left_a == 0 {
            let Some(&count) = runs_a.next() else { return };
            (left_a, in_a) = (count, !in_a);
        }
        while left_b == 0 {
            let Some(&count) = runs_b.next() else { return };
            (left_b, in_b) = (count, !in_b);
        }
        let length = left_a.min(left_b);
        visit(length, in_a, in_b);
        left_a -= length;
        left_b -= length;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use proptest::prelude::*;

    fn rows() -> impl Strategy<Value = (u32, u32, Vec<u8>)> {
        (0u32..12, 0u32..12).prop_flat_map(|(width, height)| {
            let pixels = (width * height) as usize;
            let rows = proptest::collection::vec(0u8..2, pixels);
            rows.prop_map(move |rows| (width, height, rows))
        })
    }

    proptest! {
        #[test]
        fn what_is_counted_is_what_is_there((width, height, a) in rows(), seed in any::<u64>()) {
            let mask = Rle::from_rows(width, height, &a).unwrap();
            let inside = a.iter().filter(|&&pixel| pixel > 0).count();
            prop_assert_eq!(mask.area() as usize, inside);
            let text = mask.to_compressed();
            prop_assert_eq!(&Rle::from_compressed(width, height, &text).unwrap(), &mask);

            let b: Vec<u8> = (0..a.len()).map(|i| (seed >> (i % 64) & 1) as u8).collect();
            let other = Rle::from_rows(width, height, &b).unwrap();
            let pairs = || a.iter().zip(&b);
            let both = pairs().filter(|&(&a, &b)| a > 0 && b > 0).count();
            let either = pairs().filter(|&(&a, &b)| a > 0 || b > 0).count();
            let (found_both, found_either) = mask.overlap(&other).unwrap();
            prop_assert_eq!((found_both as usize, found_either as usize), (both, either));
            prop_assert_eq!(mask.union(&other).area() as usize, either);

            let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
            let places = pixels.zip(&a).filter(|(_, pixel)| **pixel > 0);
            let places: Vec<(u32, u32)> = places.map(|(place, _)| place).collect();
            let [x, y, wide, high] = mask.bounds();
            if let (Some(left), Some(right)) = (places.iter().map(|p| p.0).min(), places.iter().map(|p| p.0).max()) {
                let (top, bottom) = (places.iter().map(|p| p.1).min().unwrap(), places.iter().map(|p| p.1).max().unwrap());
                // A run that passes from one column to the next counts as high as the image.
                prop_assert_eq!(format!("{x} {wide}"), format!("{left} {}", right - left + 1));
                prop_assert!(y <= f64::from(top) && y + high > f64::from(bottom));
            }
        }

        #[test]
        fn any_text_is_a_mask_or_an_error(text in "[0-o]{0,30}", width in 0u32..9, height in 0u32..9) {
            if let Ok(mask) = Rle::from_compressed(width, height, &text) {
                prop_assert!(mask.area() <= width * height);
            }
        }

        #[test]
        fn any_polygon_is_a_mask_or_an_error(polygon in proptest::collection::vec(any::<f64>(), 0..20)) {
            let _ = Rle::from_polygons(7, 5, &[polygon]);
        }

        #[test]
        fn any_near_polygon_is_a_mask(points in proptest::collection::vec((-7.0..14.0, -5.0..10.0), 3..12)) {
            let polygon: Vec<f64> = points.into_iter().flat_map(|(x, y)| [x, y]).collect();
            let mask = Rle::from_polygons(7, 5, &[polygon]).unwrap();
            prop_assert_eq!(mask.counts.iter().sum::<u32>(), 35);
        }
    }

    #[test]
    fn masks_of_different_sizes_have_nothing_in_common() {
        let mask = |width, height| Rle::new(width, height, &[width * height]).unwrap();
        assert_eq!(mask(2, 3).overlap(&mask(3, 2)), None);
        assert_eq!(mask(0, 0).overlap(&mask(0, 0)), Some((0, 0)));
    }
}
