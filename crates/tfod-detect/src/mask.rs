//! Masks: which pixels of a picture an object covers.
//!
//! A model gives a mask as a small map over the detection's box. In the picture it is what the reference's evaluation makes of it
//! (`ops.reframe_box_masks_to_image_masks`, which is TensorFlow's `CropAndResize`, and a threshold of 0.5): the corners of the map are the corners of the box, and
//! the centre of a pixel is at its index divided by the number of pixels less one.

use tfod_evaluate::{MaskError, Rle};

use crate::COVERED;

/// What the reference takes for the side of a box that is shorter, or reversed, to divide by it; in parts of the picture.
const LEAST_SIDE: f32 = 1e-4;

/// A map over a detection's box, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Mask {
    height: usize,
    width: usize,
    cells: Cells,
}

/// What the cells of a mask say.
#[derive(Clone, Debug, PartialEq)]
pub enum Cells {
    /// How likely a cell is the object's, 0 to 1; in between, it is interpolated.
    Likely(Vec<f32>),
    /// Whether a cell is the object's.
    Certain(Vec<bool>),
}

impl Mask {
    /// A mask of so many rows and columns; `None` if there are not as many cells, or none.
    pub fn new(height: usize, width: usize, cells: Cells) -> Option<Self> {
        let count = match &cells {
            Cells::Likely(cells) => cells.len(),
            Cells::Certain(cells) => cells.len(),
        };
        let is_whole = height.checked_mul(width) == Some(count) && count > 0;
        is_whole.then_some(Self {
            height,
            width,
            cells,
        })
    }

    /// Height and width of the map.
    pub fn size(&self) -> (usize, usize) {
        (self.height, self.width)
    }

    /// The mask in a picture, where the detection's box is.
    pub fn placed(&self, bounds: [f32; 4], width: u32, height: u32) -> Placed<'_> {
        let [ymin, xmin, ymax, xmax] = bounds;
        Placed {
            mask: self,
            rows: positions(self.height, [ymin, ymax], height),
            columns: positions(self.width, [xmin, xmax], width),
        }
    }

    fn covers(&self, y: f32, x: f32) -> bool {
        match &self.cells {
            Cells::Certain(cells) => {
                let (row, column) = (index(y.round()), index(x.round()));
                cells
                    .get(row * self.width + column)
                    .copied()
                    .unwrap_or(false)
            }
            Cells::Likely(cells) => {
                let at = |y: f32, x: f32| {
                    let place = index(y) * self.width + index(x);
                    cells.get(place).copied().unwrap_or(0.0)
                };
                let [(top, bottom), (left, right)] = [y, x].map(|at| (at.floor(), at.ceil()));
                let (down, across) = (y - top, x - left);
                let row = |y| {
                    let (first, last) = (at(y, left), at(y, right));
                    first + (last - first) * across
                };
                let (first, last) = (row(top), row(bottom));
                first + (last - first) * down > COVERED
            }
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "within the map, which positions() sees to"
)]
fn index(position: f32) -> usize {
    position as usize
}

/// For each pixel of a side of the picture, where it is on the same side of the map; `None` outside of the box.
///
/// In the order in which the reference computes it, in 32 bits.
#[expect(clippy::cast_precision_loss, reason = "sides have less than 2^24")]
fn positions(cells: usize, [from, to]: [f32; 2], pixels: u32) -> Vec<Option<f32>> {
    let size = (to - from).max(LEAST_SIDE);
    let (first, last) = ((0.0 - from) / size, (1.0 - from) / size);
    let end = cells.saturating_sub(1) as f32;
    let at = |pixel: u32| {
        if pixels > 1 {
            let step = (last - first) * end / (pixels - 1) as f32;
            first * end + pixel as f32 * step
        } else {
            0.5 * (first + last) * end
        }
    };
    let inside = |position: f32| (position >= 0.0 && position <= end).then_some(position);
    (0..pixels).map(|pixel| inside(at(pixel))).collect()
}

/// A mask in a picture.
#[derive(Clone, Debug)]
pub struct Placed<'a> {
    mask: &'a Mask,
    rows: Vec<Option<f32>>,
    columns: Vec<Option<f32>>,
}

impl Placed<'_> {
    /// Whether a pixel is the object's.
    pub fn covers(&self, x: u32, y: u32) -> bool {
        let at = |of: &[Option<f32>], pixel: u32| of.get(pixel as usize).copied().flatten();
        match (at(&self.rows, y), at(&self.columns, x)) {
            (Some(y), Some(x)) => self.mask.covers(y, x),
            _ => false,
        }
    }

    /// Columns from the first to the one after the last that the box covers, and rows.
    pub fn extent(&self) -> [(u32, u32); 2] {
        [&self.columns, &self.rows].map(|of| {
            let first = of.iter().position(Option::is_some).unwrap_or(0);
            let last = of.iter().rposition(Option::is_some);
            let end = last.map_or(first, |last| last + 1);
            [first, end]
                .map(|pixel| u32::try_from(pixel).unwrap_or(u32::MAX))
                .into()
        })
    }

    /// The mask as COCO's run lengths.
    ///
    /// # Errors
    ///
    /// If the picture is larger than masks may be, which none that was decoded is.
    pub fn rle(&self) -> Result<Rle, MaskError> {
        let [height, width] =
            [&self.rows, &self.columns].map(|of| u32::try_from(of.len()).unwrap_or(u32::MAX));
        let [(left, right), (top, bottom)] = self.extent();
        let beside = |columns: u32| (0..columns).map(move |_| (height, false));
        let columns = (left..right).flat_map(|x| {
            let inside = (top..bottom).map(move |y| (1, self.covers(x, y)));
            let [above, below] = [top, height - bottom].map(|count| [(count, false)]);
            above.into_iter().chain(inside).chain(below)
        });
        let runs = beside(left).chain(columns).chain(beside(width - right));
        Rle::from_runs(width, height, runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(placed: &Placed<'_>) -> Vec<String> {
        let (width, height) = (placed.columns.len(), placed.rows.len());
        let (width, height) = (
            u32::try_from(width).unwrap(),
            u32::try_from(height).unwrap(),
        );
        let cell = |x, y| if placed.covers(x, y) { '#' } else { '.' };
        let row = |y| (0..width).map(|x| cell(x, y)).collect();
        (0..height).map(row).collect()
    }

    /// The numbers behind a compressed text: the way back, written from the format's description.
    /// The runs of a mask, in COCO's compressed form.
    fn compressed(width: u32, height: u32, runs: &[u32]) -> String {
        Rle::new(width, height, runs).unwrap().to_compressed()
    }

    fn runs(placed: &Placed<'_>) -> String {
        placed.rle().unwrap().to_compressed()
    }

    #[test]
    fn a_mask_covers_its_box() {
        let mask = Mask::new(2, 2, Cells::Certain(vec![true, false, true, true])).unwrap();
        let placed = mask.placed([0.25, 0.25, 0.75, 0.75], 9, 9);
        let expected = [
            ".........",
            ".........",
            "..##.....",
            "..##.....",
            "..#####..",
            "..#####..",
            "..#####..",
            ".........",
            ".........",
        ];
        assert_eq!(grid(&placed), expected);
        assert_eq!(placed.extent(), [(2, 7), (2, 7)]);
        let expected = [20, 5, 4, 5, 6, 3, 6, 3, 6, 3, 20];
        assert_eq!(runs(&placed), compressed(9, 9, &expected));
    }

    #[test]
    fn likelihoods_are_interpolated() {
        let mask = Mask::new(1, 2, Cells::Likely(vec![1.0, 0.0])).unwrap();
        let placed = mask.placed([0.0, 0.0, 1.0, 1.0], 11, 1);
        assert_eq!(grid(&placed), ["#####......"]);
    }

    #[test]
    fn what_covers_nothing_or_everything_has_its_runs() {
        let all = Mask::new(1, 1, Cells::Certain(vec![true])).unwrap();
        let placed = all.placed([-1.0, -1.0, 2.0, 2.0], 3, 2);
        assert_eq!(runs(&placed), compressed(3, 2, &[0, 6]));
        let none = Mask::new(1, 1, Cells::Certain(vec![false])).unwrap();
        assert_eq!(
            runs(&none.placed([0.0, 0.0, 1.0, 1.0], 3, 2)),
            compressed(3, 2, &[6])
        );
        // A box without area covers a pixel that it begins on, if anything.
        let all = Mask::new(2, 2, Cells::Certain(vec![true; 4])).unwrap();
        assert_eq!(
            runs(&all.placed([0.5, 0.5, 0.5, 0.5], 3, 2)),
            compressed(3, 2, &[6])
        );
        let placed = all.placed([0.0, 0.5, 0.0, 0.5], 3, 2);
        assert_eq!(runs(&placed), compressed(3, 2, &[2, 1, 3]));
        assert_eq!(Mask::new(2, 2, Cells::Certain(vec![true])), None);
        assert_eq!(Mask::new(0, 2, Cells::Likely(Vec::new())), None);
    }
}
