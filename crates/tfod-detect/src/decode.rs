//! What a model gives, as detections.
//!
//! The outputs are those of the Object Detection API, by their keys. Their shapes are held against each other, because a file can claim anything.

use tfod_runtime::{Tensor, Values};

use crate::mask::{Cells, Mask};
use crate::{Detection, Keypoint};

const BOXES: &str = "detection_boxes";
const CLASSES: &str = "detection_classes";
const SCORES: &str = "detection_scores";
const COUNT: &str = "num_detections";
const MASKS: &str = "detection_masks";
const KEYPOINTS: &str = "detection_keypoints";
const KEYPOINT_SCORES: &str = "detection_keypoint_scores";

/// What a model has to give.
pub(crate) const NEEDED: [&str; 4] = [BOXES, CLASSES, SCORES, COUNT];
/// All that is read.
pub(crate) const READ: [&str; 7] = [
    BOXES,
    CLASSES,
    SCORES,
    COUNT,
    MASKS,
    KEYPOINTS,
    KEYPOINT_SCORES,
];

/// The outputs for a batch of pictures.
pub(crate) struct Outputs<'a> {
    boxes: &'a Tensor,
    classes: &'a Tensor,
    scores: &'a Tensor,
    counts: &'a Tensor,
    masks: Option<&'a Tensor>,
    keypoints: Option<&'a Tensor>,
    keypoint_scores: Option<&'a Tensor>,
    /// How many pictures, and how many rows each has.
    size: [usize; 2],
}

impl<'a> Outputs<'a> {
    /// Finds them by their keys.
    ///
    /// # Errors
    ///
    /// If one is missing, or has not the shape that it should have beside the others.
    pub(crate) fn of(all: &'a [(String, Tensor)]) -> Result<Self, String> {
        let find = |key: &str| {
            let found = all.iter().find(|(name, _)| name == key);
            found.map(|(_, tensor)| tensor)
        };
        let needed = |key: &str| find(key).ok_or_else(|| format!("gives no `{key}`"));
        let boxes = needed(BOXES)?;
        let size = match *boxes.shape() {
            [batch, rows, 4] => [batch, rows],
            ref shape => {
                return Err(format!(
                    "gives `{BOXES}` of shape {shape:?}; expected [batch, rows, 4]"
                ));
            }
        };
        let [batch, rows] = size;
        let checked = |key: &str, tensor: &'a Tensor, expected: &[usize], more: usize| {
            let shape = tensor.shape();
            let is_it = shape.len() == expected.len() + more && shape.starts_with(expected);
            let problem = || {
                let more = if more > 0 {
                    format!(" and {more} dimensions more")
                } else {
                    String::new()
                };
                format!(
                    "gives `{key}` of shape {shape:?}; expected {expected:?}{more}, as `{BOXES}` has {:?}",
                    boxes.shape()
                )
            };
            is_it.then_some(tensor).ok_or_else(problem)
        };
        let each = [batch, rows];
        let further = |key: &str, more: usize| {
            let found = find(key);
            found
                .map(|tensor| checked(key, tensor, &each, more))
                .transpose()
        };
        let keypoints = further(KEYPOINTS, 2)?;
        if let Some([.., 2]) | None = keypoints.map(Tensor::shape) {
        } else {
            return Err(format!("gives `{KEYPOINTS}` that are no pairs of y and x"));
        }
        let keypoint_scores = further(KEYPOINT_SCORES, 1)?;
        if let (Some(keypoints), Some(scores)) = (keypoints, keypoint_scores)
            && keypoints.shape().get(2) != scores.shape().get(2)
        {
            return Err(format!(
                "gives not as many `{KEYPOINT_SCORES}` as `{KEYPOINTS}`"
            ));
        }
        Ok(Self {
            boxes,
            classes: checked(CLASSES, needed(CLASSES)?, &each, 0)?,
            scores: checked(SCORES, needed(SCORES)?, &each, 0)?,
            counts: checked(COUNT, needed(COUNT)?, &[batch], 0)?,
            masks: further(MASKS, 2)?,
            keypoints,
            keypoint_scores,
            size,
        })
    }

    /// The detections in one of the pictures for which `is_wanted` holds, given class and score; best first, as the model gives them.
    ///
    /// # Errors
    ///
    /// If there is no such picture, or something that should be a number is none.
    pub(crate) fn detections(
        &self,
        picture: usize,
        is_wanted: impl Fn(u32, f32) -> bool,
    ) -> Result<Vec<Detection>, String> {
        let [batch, rows] = self.size;
        if picture >= batch {
            return Err(format!("gives results for {batch} pictures, not for more"));
        }
        let count = number(self.counts, picture, COUNT)?;
        // What is no count, or too many, is as many as there are rows.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "cut off at both ends"
        )]
        let count = (count.max(0.0) as usize).min(rows);
        let mut detections = Vec::new();
        for row in picture * rows..picture * rows + count {
            let score = number(self.scores, row, SCORES)?;
            let class_id = class_id(number(self.classes, row, CLASSES)?)?;
            if !is_wanted(class_id, score) {
                continue;
            }
            let mut bounds = [0.0; 4];
            for (side, value) in bounds.iter_mut().enumerate() {
                *value = number(self.boxes, 4 * row + side, BOXES)?;
            }
            detections.push(Detection {
                class_id,
                score,
                bounds,
                mask: self.masks.map(|masks| mask(masks, row)).transpose()?,
                keypoints: self.keypoints_of(row)?,
            });
        }
        Ok(detections)
    }

    fn keypoints_of(&self, row: usize) -> Result<Vec<Keypoint>, String> {
        let Some(keypoints) = self.keypoints else {
            return Ok(Vec::new());
        };
        let count = keypoints.shape().get(2).copied().unwrap_or(0);
        let keypoint = |place: usize| {
            let place = row * count + place;
            let scores = self.keypoint_scores;
            let score = scores.map(|scores| number(scores, place, KEYPOINT_SCORES));
            Ok(Keypoint {
                y: number(keypoints, 2 * place, KEYPOINTS)?,
                x: number(keypoints, 2 * place + 1, KEYPOINTS)?,
                score: score.transpose()?,
            })
        };
        (0..count).map(keypoint).collect()
    }
}

/// An element that has to be a finite number.
#[expect(clippy::cast_possible_truncation, reason = "outputs have 32 bits")]
fn number(of: &Tensor, index: usize, key: &str) -> Result<f32, String> {
    match of.values().get(index) {
        Some(value) if value.is_finite() => Ok(value as f32),
        Some(value) => Err(format!("gives {value} in `{key}`, which is no number")),
        None => Err(format!("gives too few elements in `{key}`")),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be within"
)]
fn class_id(number: f32) -> Result<u32, String> {
    let rounded = number.round();
    if (0.0..=16_777_216.0).contains(&rounded) {
        return Ok(rounded as u32);
    }
    Err(format!("gives {number} in `{CLASSES}`, which is no class"))
}

/// The mask of a row.
fn mask(masks: &Tensor, row: usize) -> Result<Mask, String> {
    let (Some(&height), Some(&width)) = (masks.shape().get(2), masks.shape().get(3)) else {
        return Err(format!("gives `{MASKS}` without height and width"));
    };
    let cells = row * height * width..(row + 1) * height * width;
    let missing = || format!("gives too few elements in `{MASKS}`");
    let cells = match masks.values() {
        Values::F32(values) => Cells::Likely(values.get(cells).ok_or_else(missing)?.to_vec()),
        values => {
            let is_covered = |index| values.get(index).map(|value| value != 0.0);
            let covered = cells.map(is_covered).collect::<Option<Vec<bool>>>();
            Cells::Certain(covered.ok_or_else(missing)?)
        }
    };
    Mask::new(height, width, cells).ok_or_else(|| format!("gives `{MASKS}` without cells"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::new(shape.to_vec(), Values::F32(values.to_vec())).unwrap()
    }

    /// Two pictures of three rows; the second has one detection.
    fn outputs() -> Vec<(String, Tensor)> {
        let boxes: Vec<f32> = (0u8..24).map(|n| f32::from(n) / 32.0).collect();
        let classes = Tensor::new(vec![2, 3], Values::I64(vec![1, 2, 1, 3, 1, 1])).unwrap();
        let mut all = vec![
            (BOXES, floats(&[2, 3, 4], &boxes)),
            (CLASSES, classes),
            (SCORES, floats(&[2, 3], &[0.9, 0.8, 0.1, 0.7, 0.0, 0.0])),
            (COUNT, floats(&[2], &[3.0, 1.0])),
            ("raw_detection_boxes", floats(&[1], &[f32::NAN])),
        ];
        let masks: Vec<u8> = (0..24).map(|n| n % 2).collect();
        let masks = Tensor::new(vec![2, 3, 2, 2], Values::U8(masks)).unwrap();
        all.push((MASKS, masks));
        let keypoints: Vec<f32> = (0u8..24).map(f32::from).collect();
        all.push((KEYPOINTS, floats(&[2, 3, 2, 2], &keypoints)));
        all.push((KEYPOINT_SCORES, floats(&[2, 3, 2], &[0.25; 12])));
        let named = |(key, tensor): (&str, Tensor)| (key.to_owned(), tensor);
        all.into_iter().map(named).collect()
    }

    #[test]
    fn every_picture_has_its_own_detections() {
        let all = outputs();
        let read = Outputs::of(&all).unwrap();
        let first = read.detections(0, |class, score| class < 2 && score > 0.5);
        let first = first.unwrap();
        assert_eq!(first.len(), 1);
        assert_eq!((first[0].class_id, first[0].score), (1, 0.9));
        let expected = [0.0, 1.0 / 32.0, 2.0 / 32.0, 3.0 / 32.0];
        assert_eq!(
            first[0].bounds.map(f32::to_bits),
            expected.map(f32::to_bits)
        );
        assert_eq!(read.detections(0, |_, _| true).unwrap().len(), 3);
        let second = read.detections(1, |_, _| true).unwrap();
        assert_eq!(second.len(), 1);
        assert_eq!(second[0].class_id, 3);
        assert_eq!(second[0].bounds[0].to_bits(), 0.375f32.to_bits());
        let keypoint = |y, x| Keypoint {
            y,
            x,
            score: Some(0.25),
        };
        assert_eq!(
            second[0].keypoints,
            [keypoint(12.0, 13.0), keypoint(14.0, 15.0)]
        );
        let cells = Cells::Certain(vec![false, true, false, true]);
        assert_eq!(second[0].mask, Mask::new(2, 2, cells));
        assert!(read.detections(2, |_, _| true).is_err());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let with = |key: &str, tensor: Option<Tensor>| {
            let mut all = outputs();
            all.retain(|(name, _)| name != key);
            all.extend(tensor.map(|tensor| (key.to_owned(), tensor)));
            let read = Outputs::of(&all)?;
            read.detections(0, |_, _| true).map(|found| found.len())
        };
        for (key, tensor, expected) in [
            (BOXES, None, "gives no `detection_boxes`"),
            (
                BOXES,
                Some(floats(&[2, 3], &[0.0; 6])),
                "expected [batch, rows, 4]",
            ),
            (
                SCORES,
                Some(floats(&[2, 2], &[0.0; 4])),
                "expected [2, 3], as",
            ),
            (
                SCORES,
                Some(floats(&[2, 3], &[f32::NAN; 6])),
                "NaN in `detection_scores`",
            ),
            (CLASSES, Some(floats(&[2, 3], &[-2.0; 6])), "no class"),
            (
                KEYPOINTS,
                Some(floats(&[2, 3, 1, 3], &[0.0; 18])),
                "no pairs",
            ),
            (
                KEYPOINTS,
                Some(floats(&[2, 3, 1, 2], &[0.0; 12])),
                "not as many",
            ),
            (MASKS, Some(floats(&[2, 3, 0, 2], &[])), "without cells"),
            (MASKS, Some(floats(&[2, 3], &[0.0; 6])), "2 dimensions more"),
        ] {
            let problem = with(key, tensor).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
        // More than there are rows, and less than none.
        assert_eq!(with(COUNT, Some(floats(&[2], &[9.0, 0.0]))), Ok(3));
        assert_eq!(with(COUNT, Some(floats(&[2], &[-1.0, 0.0]))), Ok(0));
    }
}
