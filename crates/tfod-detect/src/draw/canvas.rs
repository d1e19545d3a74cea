//! Pixels, and shapes put on them.

/// Red, green, blue.
pub(crate) type Colour = [u8; 3];

/// A picture that is drawn on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Canvas {
    width: u32,
    height: u32,
    /// Rows from top to bottom, three bytes a pixel.
    pixels: Vec<u8>,
}

/// A rectangle of whole pixels; right and bottom are those after the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) left: i64,
    pub(crate) top: i64,
    pub(crate) right: i64,
    pub(crate) bottom: i64,
}

impl Area {
    /// The rectangle with so much more on each side.
    pub(crate) fn grown(self, by: i64) -> Self {
        Self {
            left: self.left - by,
            top: self.top - by,
            right: self.right + by,
            bottom: self.bottom + by,
        }
    }
}

impl Canvas {
    /// A canvas of pixels that are there; `None` if there are not as many.
    pub(crate) fn new(width: u32, height: u32, pixels: Vec<u8>) -> Option<Self> {
        let count = 3 * u64::from(width) * u64::from(height);
        (pixels.len() as u64 == count).then_some(Self {
            width,
            height,
            pixels,
        })
    }

    pub(crate) fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    pub(crate) fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Mixes a colour into a pixel: 0 leaves it as it is, 255 covers it. Pixels outside are nothing.
    pub(crate) fn mix(&mut self, x: i64, y: i64, colour: Colour, opacity: u8) {
        let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else {
            return;
        };
        if x >= self.width || y >= self.height {
            return;
        }
        let place = 3 * (y as usize * self.width as usize + x as usize);
        if let Some(pixel) = self.pixels.get_mut(place..place + 3) {
            for (byte, colour) in pixel.iter_mut().zip(colour) {
                *byte = mixed(*byte, colour, opacity);
            }
        }
    }

    /// The part of a rectangle that is on the canvas.
    fn visible(&self, area: Area) -> Area {
        let (width, height) = (i64::from(self.width), i64::from(self.height));
        Area {
            left: area.left.clamp(0, width),
            top: area.top.clamp(0, height),
            right: area.right.clamp(0, width),
            bottom: area.bottom.clamp(0, height),
        }
    }

    pub(crate) fn fill(&mut self, area: Area, colour: Colour, opacity: u8) {
        let area = self.visible(area);
        for y in area.top..area.bottom {
            for x in area.left..area.right {
                self.mix(x, y, colour, opacity);
            }
        }
    }

    /// The border of a rectangle, so wide inwards.
    pub(crate) fn border(&mut self, area: Area, width: i64, colour: Colour, opacity: u8) {
        let Area {
            left,
            top,
            right,
            bottom,
        } = area;
        let below = (top + width).min(bottom);
        let above = (bottom - width).max(below);
        let sides = [
            Area {
                bottom: below,
                ..area
            },
            Area { top: above, ..area },
            Area {
                top: below,
                bottom: above,
                right: (left + width).min(right),
                ..area
            },
            Area {
                top: below,
                bottom: above,
                left: (right - width).max(left + width),
                ..area
            },
        ];
        for side in sides {
            self.fill(side, colour, opacity);
        }
    }

    /// A line with round ends between two points, the pixel's centre at its number and a half.
    pub(crate) fn line(&mut self, from: [f32; 2], to: [f32; 2], radius: f32, colour: Colour) {
        let [from, to] = [from, to].map(|point| point.map(|at| at.clamp(-FARTHEST, FARTHEST)));
        let (across, down) = (to[0] - from[0], to[1] - from[1]);
        let length = across * across + down * down;
        let around = |at: [f32; 2]| {
            let (least, most) = (at[0].min(at[1]), at[0].max(at[1]));
            (
                whole((least - radius - 1.0).floor()),
                whole((most + radius + 2.0).ceil()),
            )
        };
        let ((left, right), (top, bottom)) = (around([from[0], to[0]]), around([from[1], to[1]]));
        let area = self.visible(Area {
            left,
            top,
            right,
            bottom,
        });
        for y in area.top..area.bottom {
            for x in area.left..area.right {
                let (from_x, from_y) = (float(x) + 0.5 - from[0], float(y) + 0.5 - from[1]);
                let along = if length > 0.0 {
                    ((from_x * across + from_y * down) / length).clamp(0.0, 1.0)
                } else {
                    0.0
                };
                let away = (from_x - along * across).hypot(from_y - along * down);
                self.mix(x, y, colour, opacity(radius + 0.5 - away));
            }
        }
    }

    pub(crate) fn disc(&mut self, centre: [f32; 2], radius: f32, colour: Colour) {
        self.line(centre, centre, radius, colour);
    }
}

/// Points farther away than this are as far: pictures have 2^14 pixels a side.
const FARTHEST: f32 = 1e6;

fn mixed(below: u8, above: u8, opacity: u8) -> u8 {
    let (below, above, opacity) = (u32::from(below), u32::from(above), u32::from(opacity));
    // At most 255.
    u8::try_from((below * (255 - opacity) + above * opacity + 127) / 255).unwrap_or(u8::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "0 to 255"
)]
fn opacity(covered: f32) -> u8 {
    (255.0 * covered.clamp(0.0, 1.0)).round() as u8
}

#[expect(clippy::cast_precision_loss, reason = "less than 2^24")]
fn float(pixel: i64) -> f32 {
    pixel as f32
}

/// A number of pixels that a float says; none is 0.
#[expect(clippy::cast_possible_truncation, reason = "it saturates")]
pub(crate) fn whole(pixels: f32) -> i64 {
    pixels.clamp(-FARTHEST, FARTHEST) as i64
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A picture in letters: one for each colour, by its red.
    pub(crate) fn letters(canvas: &Canvas) -> String {
        let (width, _) = canvas.size();
        let letter = |pixel: &[u8]| match pixel[0] {
            0 => '.',
            255 => '#',
            1..=84 => '-',
            85..=169 => '+',
            170..=254 => '*',
        };
        let rows = canvas.pixels().chunks(3 * width as usize);
        let row = |row: &[u8]| row.chunks(3).map(letter).collect::<String>();
        rows.map(row).collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn black(width: u32, height: u32) -> Canvas {
        let count = 3 * width * height;
        Canvas::new(width, height, vec![0; count as usize]).unwrap()
    }

    const WHITE: Colour = [255; 3];

    #[test]
    fn shapes_stay_on_the_canvas() {
        let mut canvas = black(6, 4);
        let area = |left, top, right, bottom| Area {
            left,
            top,
            right,
            bottom,
        };
        canvas.fill(area(-9, -9, 2, 1), WHITE, 255);
        canvas.fill(area(4, 3, 1 << 40, 1 << 40), WHITE, 128);
        canvas.fill(area(3, 3, 2, 2), WHITE, 255);
        assert_eq!(letters(&canvas), "##....\n......\n......\n....++");
        let mut canvas = black(6, 4);
        canvas.border(area(1, 0, 6, 4), 1, WHITE, 255);
        assert_eq!(letters(&canvas), ".#####\n.#...#\n.#...#\n.#####");
        // Nothing is painted twice, however thin the rectangle.
        let mut canvas = black(6, 4);
        canvas.border(area(1, 1, 4, 2), 2, WHITE, 128);
        canvas.border(area(4, 2, 6, 4), 1, WHITE, 128);
        assert_eq!(letters(&canvas), "......\n.+++..\n....++\n....++");
    }

    #[test]
    fn lines_are_round() {
        let mut canvas = black(9, 5);
        canvas.line([2.5, 2.5], [6.5, 2.5], 1.0, WHITE);
        let drawn = letters(&canvas);
        assert_eq!(drawn.lines().nth(2).unwrap(), ".+#####+.");
        assert_eq!(drawn.lines().next().unwrap(), ".........");
        let mut canvas = black(3, 3);
        canvas.line([f32::INFINITY, f32::NAN], [-1e30, 1e30], 1e9, WHITE);
        canvas.disc([1.5, 1.5], 0.2, WHITE);
        assert!(Canvas::new(2, 2, vec![0; 11]).is_none());
    }
}
