//! Detections, drawn on their picture: masks, boxes, keypoints, and on a filled ground what each is and its score.
//!
//! Lines and text grow with the picture. A picture that is smaller than [`SMALLEST`] is enlarged by a whole number, because text that can be read would hide it.

mod canvas;
mod text;

use tfod_image::Picture;

use crate::{ClassNames, Detection, KeypointNames};

use canvas::{Area, Canvas, Colour, whole};
use text::Size;

/// What the longer side of a drawn picture has at least, in pixels.
const SMALLEST: u32 = 320;
/// The width of lines, as a part of the mean of the sides.
const LINE: f32 = 0.003;
/// The height of text, as a part of the mean of the sides.
const TEXT: f32 = 0.028;
/// How much of a picture a mask hides.
const MASK: u8 = 110;
/// How dark the edges of lines are, which set them off from a ground of the same colour.
const EDGE: u8 = 120;
/// Keypoints with a lower score are not drawn.
const KEYPOINT_SCORE: f32 = 0.2;

/// Colours of classes, one after another and from the beginning again: neighbours differ in hue and in brightness.
const COLOURS: [Colour; 20] = [
    [230, 25, 75],
    [60, 180, 75],
    [255, 225, 25],
    [0, 130, 200],
    [245, 130, 48],
    [145, 30, 180],
    [70, 240, 240],
    [240, 50, 230],
    [210, 245, 60],
    [250, 190, 212],
    [0, 128, 128],
    [220, 190, 255],
    [170, 110, 40],
    [255, 250, 200],
    [128, 0, 0],
    [170, 255, 195],
    [128, 128, 0],
    [255, 215, 180],
    [0, 0, 128],
    [128, 128, 128],
];
const BLACK: Colour = [0; 3];
const WHITE: Colour = [255; 3];

/// A picture with what was found in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawing(Canvas);

impl Drawing {
    /// Width and height.
    pub fn size(&self) -> (u32, u32) {
        self.0.size()
    }

    /// Rows from top to bottom, three bytes a pixel.
    pub fn rgb(&self) -> &[u8] {
        self.0.pixels()
    }
}

/// The colour of a class.
fn colour(class_id: u32) -> Colour {
    let place = class_id.saturating_sub(1) as usize % COLOURS.len();
    COLOURS.get(place).copied().unwrap_or(WHITE)
}

/// The colour of text on a ground: that which is farther from its brightness.
fn readable_on([red, green, blue]: Colour) -> Colour {
    let luma = 299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue);
    if luma > 128_000 { BLACK } else { WHITE }
}

/// What stands at a detection.
fn label(detection: &Detection, classes: &ClassNames) -> String {
    let name = classes.get(detection.class_id).unwrap_or_default();
    let is_shown = !name.trim().is_empty() && text::can_show(name);
    let name = if is_shown {
        name.to_owned()
    } else {
        format!("class {}", detection.class_id)
    };
    format!("{name} {:.2}", detection.score)
}

/// Draws detections on their picture.
pub fn draw(
    picture: &Picture,
    detections: &[Detection],
    classes: &ClassNames,
    keypoints: &KeypointNames,
) -> Drawing {
    let (width, height) = picture.size();
    let factor = SMALLEST.div_ceil(width.max(height).max(1));
    let (width, height) = (width * factor, height * factor);
    let pixels = picture.rgb(width, height).into_owned();
    let Some(canvas) = Canvas::new(width, height, pixels) else {
        // A picture has the pixels of its size.
        return Drawing(Canvas::default());
    };
    let mut pen = Pen::new(canvas);
    // The best last, over the others.
    for detection in detections.iter().rev() {
        pen.mask(detection);
    }
    for detection in detections.iter().rev() {
        pen.outline(detection);
        pen.keypoints(detection, keypoints);
    }
    for detection in detections.iter().rev() {
        pen.label(detection, &label(detection, classes));
    }
    Drawing(pen.canvas)
}

struct Pen {
    canvas: Canvas,
    line: i64,
    size: Size,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "pictures have at most 2^14 pixels a side"
)]
fn float(pixels: u32) -> f32 {
    pixels as f32
}

impl Pen {
    fn new(canvas: Canvas) -> Self {
        let (width, height) = canvas.size();
        let mean = f32::midpoint(float(width), float(height));
        let height = whole((mean * TEXT).round());
        Self {
            canvas,
            line: whole((mean * LINE).round()).max(1),
            size: Size::of_height(u32::try_from(height).unwrap_or(0)),
        }
    }

    /// The pixels of a box.
    fn area(&self, detection: &Detection) -> Area {
        let (width, height) = self.canvas.size();
        let sides = detection.in_pixels(width, height);
        let (left, top) = (whole(sides.xmin.round()), whole(sides.ymin.round()));
        Area {
            left,
            top,
            right: whole(sides.xmax.round()).max(left + 1),
            bottom: whole(sides.ymax.round()).max(top + 1),
        }
    }

    fn mask(&mut self, detection: &Detection) {
        let Some(mask) = &detection.mask else {
            return;
        };
        let (width, height) = self.canvas.size();
        let placed = mask.placed(detection.bounds, width, height);
        let [(left, right), (top, bottom)] = placed.extent();
        let colour = colour(detection.class_id);
        for y in top..bottom {
            for x in left..right {
                if placed.covers(x, y) {
                    self.canvas.mix(i64::from(x), i64::from(y), colour, MASK);
                }
            }
        }
    }

    fn outline(&mut self, detection: &Detection) {
        let area = self.area(detection);
        let edge = (self.line / 3).max(1);
        self.canvas.border(area.grown(edge), edge, BLACK, EDGE);
        self.canvas
            .border(area.grown(-self.line), edge, BLACK, EDGE);
        let colour = colour(detection.class_id);
        self.canvas.border(area, self.line, colour, u8::MAX);
    }

    #[expect(clippy::cast_precision_loss, reason = "lines are thin")]
    fn keypoints(&mut self, detection: &Detection, names: &KeypointNames) {
        let (width, height) = self.canvas.size();
        let is_drawn = |score: Option<f32>| score.is_none_or(|score| score >= KEYPOINT_SCORE);
        let point = |place: usize| {
            let keypoint = detection.keypoints.get(place)?;
            is_drawn(keypoint.score).then(|| keypoint.in_pixels(width, height))
        };
        let (line, colour) = (self.line as f32, colour(detection.class_id));
        for [from, to] in &names.edges {
            if let (Some(from), Some(to)) = (point(*from), point(*to)) {
                self.canvas.line(from, to, 0.6 * line, colour);
            }
        }
        for place in 0..detection.keypoints.len() {
            if let Some(point) = point(place) {
                self.canvas.disc(point, 1.6 * line + 1.0, BLACK);
                self.canvas.disc(point, 1.6 * line, colour);
            }
        }
    }

    /// The text above a box, or in it where there is no room; it is moved to be seen whole.
    fn label(&mut self, detection: &Detection, text: &str) {
        let area = self.area(detection);
        let (width, height) = self.canvas.size();
        let size = if self.size.width(text) > width {
            Size::SMALLEST
        } else {
            self.size
        };
        let (width, height) = (i64::from(width), i64::from(height));
        let (wide, high) = (i64::from(size.width(text)), i64::from(size.height()));
        let margin = (high / 8).max(1);
        let (wide, above) = (wide + 2 * margin, area.top - high);
        let top = if above >= 0 { above } else { area.top };
        let top = top.min(height - high).max(0);
        let left = area.left.min(width - wide).max(0);
        let ground = Area {
            left,
            top,
            right: left + wide,
            bottom: top + high,
        };
        let colour = colour(detection.class_id);
        self.canvas.fill(ground, colour, u8::MAX);
        let ink = readable_on(colour);
        self.canvas.text(left + margin, top, text, size, ink);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Keypoint, Mask, mask::Cells};

    fn picture(width: u32, height: u32) -> Picture {
        let grey = vec![96; 3 * (width * height) as usize];
        Picture::from_rgb("picture".as_ref(), width, height, grey).unwrap()
    }

    fn found(class_id: u32, bounds: [f32; 4]) -> Detection {
        Detection {
            class_id,
            score: 0.875,
            bounds,
            mask: None,
            keypoints: Vec::new(),
        }
    }

    fn names() -> ClassNames {
        let labels = "item { id: 1 name: 'circle' } item { id: 2 name: 'square' } item { id: 3 name: '\u{72ac}' }";
        let labels = tfod_config::LabelMap::parse("labels", labels.as_bytes()).unwrap();
        ClassNames::of_labels(&labels)
    }

    /// A letter for each colour of a cell of so many pixels, so that a drawing can be read as text.
    fn seen(drawing: &Drawing, cell: usize) -> String {
        let (width, height) = drawing.size();
        let (width, height) = (width as usize, height as usize);
        let pixel = |x: usize, y: usize| {
            let place = 3 * (y * width + x);
            [0, 1, 2].map(|channel| drawing.rgb()[place + channel])
        };
        let letter = |pixel: [u8; 3]| match pixel {
            [96, 96, 96] => '.',
            BLACK => 'x',
            WHITE => 'o',
            pixel if COLOURS.contains(&pixel) => {
                let place = COLOURS.iter().position(|colour| *colour == pixel).unwrap();
                char::from(b'A' + u8::try_from(place).unwrap())
            }
            [red, green, blue] if red == green && green == blue => '-',
            _ => '~',
        };
        let row = |y| {
            (0..width)
                .step_by(cell)
                .map(|x| letter(pixel(x, y)))
                .collect::<String>()
        };
        let rows: Vec<String> = (0..height).step_by(cell).map(row).collect();
        rows.join("\n")
    }

    fn drawn(picture: &Picture, detections: &[Detection], keypoints: &KeypointNames) -> Drawing {
        draw(picture, detections, &names(), keypoints)
    }

    #[test]
    fn boxes_have_names_and_scores() {
        let detections = [
            found(1, [0.4, 0.1, 0.9, 0.6]),
            // Its label has no room above, nor on the right.
            found(2, [0.02, 0.7, 0.5, 0.99]),
        ];
        let drawing = drawn(&picture(320, 160), &detections, &KeypointNames::default());
        insta::assert_snapshot!(seen(&drawing, 2));
    }

    #[test]
    fn masks_shine_through_and_keypoints_are_connected() {
        let mut detection = found(4, [0.3, 0.1, 0.9, 0.9]);
        let cells = vec![true, true, true, true, false, true, true, true, true];
        detection.mask = Mask::new(3, 3, Cells::Certain(cells));
        let keypoint = |y, x, score| Keypoint {
            y,
            x,
            score: Some(score),
        };
        detection.keypoints = vec![
            keypoint(0.4, 0.2, 0.9),
            keypoint(0.8, 0.5, 0.5),
            keypoint(0.4, 0.8, 0.0),
        ];
        let keypoints = KeypointNames {
            names: Vec::new(),
            edges: vec![[0, 1], [1, 2], [0, 9]],
        };
        let drawing = drawn(&picture(320, 320), &[detection], &keypoints);
        insta::assert_snapshot!(seen(&drawing, 4));
    }

    /// Text and lines are for the picture's size.
    #[test]
    fn what_is_drawn_grows_with_the_picture() {
        let sizes = |width, height| {
            let canvas = Canvas::new(width, height, vec![0; 3 * (width * height) as usize]);
            let pen = Pen::new(canvas.unwrap());
            (pen.line, pen.size.height())
        };
        assert_eq!(sizes(320, 320), (1, 16));
        assert_eq!(sizes(800, 600), (2, 20));
        assert_eq!(sizes(1920, 1080), (5, 42));
        assert_eq!(sizes(4000, 3000), (11, 98));
        let small = drawn(&picture(20, 31), &[], &KeypointNames::default());
        assert_eq!(small.size(), (220, 341));
        let large = drawn(&picture(320, 31), &[], &KeypointNames::default());
        assert_eq!(large.size(), (320, 31));
    }

    #[test]
    fn anything_can_be_drawn() {
        let mut detections = Vec::new();
        for bounds in [
            [-1.0, -1.0, 2.0, 2.0],
            [0.9, 0.9, 0.1, 0.1],
            [0.5, 0.5, 0.5, 0.5],
            [-3e38, -3e38, 3e38, 3e38],
            [5.0, 5.0, 6.0, 6.0],
        ] {
            for class_id in [0, 3, u32::MAX] {
                let mut detection = found(class_id, bounds);
                detection.mask = Mask::new(1, 2, Cells::Likely(vec![1.0, 0.0]));
                let keypoint = |y, x| Keypoint { y, x, score: None };
                detection.keypoints = vec![keypoint(3e38, -3e38), keypoint(0.5, 0.5)];
                detections.push(detection);
            }
        }
        let keypoints = KeypointNames {
            names: Vec::new(),
            edges: vec![[0, 1]],
        };
        for (width, height) in [(1, 1), (1, 400), (400, 3)] {
            let drawing = drawn(&picture(width, height), &detections, &keypoints);
            assert!(drawing.size().0 >= width && drawing.size().1 >= height);
        }
    }

    #[test]
    fn a_class_without_a_name_that_can_be_drawn_has_its_number() {
        let classes = names();
        let labels = [1, 3, 9].map(|id| label(&found(id, [0.0; 4]), &classes));
        assert_eq!(labels, ["circle 0.88", "class 3 0.88", "class 9 0.88"]);
    }
}
