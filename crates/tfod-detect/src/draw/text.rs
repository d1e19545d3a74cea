//! Text on pictures, in Noto Sans Mono, which the crate `noto-sans-mono-bitmap` has as bitmaps of a few heights. Larger text is enlarged from the largest.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, RasterizedChar, get_raster};

use super::canvas::{Canvas, Colour};

/// The heights that there are bitmaps of.
const RASTERS: [(u32, RasterHeight); 4] = [
    (16, RasterHeight::Size16),
    (20, RasterHeight::Size20),
    (24, RasterHeight::Size24),
    (32, RasterHeight::Size32),
];
/// What is drawn instead of a character that the font lacks.
const REPLACEMENT: char = '\u{fffd}';

/// A height that text can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    raster: RasterHeight,
    /// Of a line.
    height: u32,
}

impl Size {
    pub(crate) const SMALLEST: Self = Self {
        raster: RasterHeight::Size16,
        height: 16,
    };

    /// The size of this height, or the next smaller one of which there are bitmaps.
    pub(crate) fn of_height(height: u32) -> Self {
        let largest = RASTERS.iter().rev().find(|(has, _)| *has <= height);
        let (has, raster) = *largest.unwrap_or(&(16, RasterHeight::Size16));
        let height = if has == 32 { height } else { has };
        Self { raster, height }
    }

    pub(crate) fn height(self) -> u32 {
        self.height
    }

    /// How wide a text is; all characters are as wide as another.
    pub(crate) fn width(self, text: &str) -> u32 {
        let count = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        count.saturating_mul(self.advance())
    }

    fn advance(self) -> u32 {
        let has = RASTERS.iter().find(|(_, raster)| *raster == self.raster);
        let has = has.map_or(16, |(height, _)| *height);
        let width = glyph(' ', self.raster).map_or(0, |glyph| glyph.width());
        let width = u32::try_from(width).unwrap_or(0);
        (width * self.height).div_ceil(has)
    }
}

fn glyph(c: char, raster: RasterHeight) -> Option<RasterizedChar> {
    get_raster(c, FontWeight::Bold, raster)
}

/// Whether the font has all characters of a text.
pub(crate) fn can_show(text: &str) -> bool {
    text.chars()
        .all(|c| glyph(c, RasterHeight::Size16).is_some())
}

impl Canvas {
    /// Writes a line of text; `left` and `top` are the corner of the line.
    pub(crate) fn text(&mut self, left: i64, top: i64, text: &str, size: Size, colour: Colour) {
        let advance = i64::from(size.advance());
        let mut x = left;
        for c in text.chars() {
            let found = glyph(c, size.raster);
            let found = found.or_else(|| glyph(REPLACEMENT, size.raster));
            if let Some(found) = found {
                self.glyph(x, top, &found, size, colour);
            }
            x += advance;
        }
    }

    fn glyph(&mut self, left: i64, top: i64, glyph: &RasterizedChar, size: Size, colour: Colour) {
        let (width, height) = (size.advance(), size.height);
        for y in 0..height {
            for x in 0..width {
                let opacity = intensity(glyph, [x, y], [width, height]);
                self.mix(left + i64::from(x), top + i64::from(y), colour, opacity);
            }
        }
    }
}

/// How much of a pixel a character covers, where it is drawn in this size.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sizes are small, and what is interpolated between bytes is one"
)]
fn intensity(glyph: &RasterizedChar, pixel: [u32; 2], size: [u32; 2]) -> u8 {
    let own = [glyph.width(), glyph.height()];
    // Bitmaps that are as high have the same pixels.
    if size[1] as usize == own[1] {
        return glyph
            .pixel(pixel[0] as usize, pixel[1] as usize)
            .unwrap_or(0);
    }
    // Centres of pixels lie over each other as far as the whole does.
    let scale = size[1] as f32 / own[1] as f32;
    let at = pixel.map(|pixel| (pixel as f32 + 0.5) / scale - 0.5);
    let read = |x: f32, y: f32| {
        let is_inside = x >= 0.0 && y >= 0.0;
        let found = is_inside
            .then(|| glyph.pixel(x as usize, y as usize))
            .flatten();
        f32::from(found.unwrap_or(0))
    };
    let [x, y] = at.map(f32::floor);
    let (across, down) = (at[0] - x, at[1] - y);
    let row = |y: f32| {
        let (first, last) = (read(x, y), read(x + 1.0, y));
        first + (last - first) * across
    };
    let (first, last) = (row(y), row(y + 1.0));
    (first + (last - first) * down).round() as u8
}

#[cfg(test)]
mod tests {
    use super::super::canvas::tests::{black, letters};
    use super::*;

    fn written(text: &str, height: u32) -> String {
        let size = Size::of_height(height);
        let mut canvas = black(size.width(text), size.height());
        canvas.text(0, 0, text, size, [255; 3]);
        letters(&canvas)
    }

    #[test]
    fn text_is_legible() {
        insta::assert_snapshot!(written("dog 0.97", 16));
    }

    #[test]
    fn large_text_is_enlarged_evenly() {
        insta::assert_snapshot!(written("a\u{e9}", 48));
    }

    #[test]
    fn sizes_are_those_that_there_are_bitmaps_of() {
        let heights = [0, 16, 19, 22, 31, 32, 33, 500].map(|h| Size::of_height(h).height());
        assert_eq!(heights, [16, 16, 16, 20, 24, 32, 33, 500]);
        let size = Size::of_height(64);
        assert_eq!(size.width("abcd"), 4 * size.width("x"));
        assert!(can_show("Stra\u{df}e \u{141}\u{f3}d\u{17a}") && !can_show("\u{72ac}"));
        // Beyond the canvas, and without a bitmap.
        let mut canvas = black(4, 4);
        canvas.text(-3, -5, "\u{72ac}x", size, [255; 3]);
        canvas.text(i64::from(u32::MAX), 0, "x", size, [255; 3]);
    }
}
