//! `NonMaxSuppression`.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use rten::Value;
use rten_tensor::Tensor;

use super::{Inputs, unknown};
use crate::onnx::{AttributeProto, Problem};

/// Non-max suppression as <https://onnx.ai/onnx/operators/onnx__NonMaxSuppression.html> has it: of each image, class by class, the boxes of the highest scores
/// that overlap no box selected before by more than a threshold.
///
/// The standard leaves open in which order boxes of one class come, which of equal scores goes first, and what boxes without an area overlap. As in ONNX
/// Runtime, that is the order of selection, the lower index, and nothing.
#[derive(Debug)]
pub(super) struct Suppression {
    /// Whether boxes are centres and sizes; otherwise they are two opposite corners.
    centres: bool,
}

/// A box that may be selected. The largest is the next.
#[derive(PartialEq)]
struct Candidate {
    score: f32,
    index: usize,
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_index = || other.index.cmp(&self.index);
        // Zeros are equal, whatever their sign; what is no number comes last.
        let by_score = self.score.partial_cmp(&other.score);
        let is_number = |score: f32| !score.is_nan();
        let by_score =
            by_score.unwrap_or_else(|| is_number(self.score).cmp(&is_number(other.score)));
        by_score.then_with(by_index)
    }
}

/// A box: the lower ends along both axes, and the upper ones.
#[derive(Clone, Copy)]
struct Extent {
    low: [f32; 2],
    high: [f32; 2],
}

impl Extent {
    fn area(self) -> f32 {
        (self.high[0] - self.low[0]) * (self.high[1] - self.low[1])
    }

    /// The area that two boxes share, as a part of what they cover together; 0 where that is nothing.
    fn overlap(self, other: Self) -> f32 {
        let sides = [0, 1].map(|axis| {
            f32::min(self.high[axis], other.high[axis]) - f32::max(self.low[axis], other.low[axis])
        });
        let (shared, own, others) = (sides[0] * sides[1], self.area(), other.area());
        let all = own + others - shared;
        let is_none = |size: f32| size <= 0.0;
        if sides
            .into_iter()
            .chain([shared, own, others, all])
            .any(is_none)
        {
            return 0.0;
        }
        shared / all
    }
}

impl Suppression {
    pub(super) fn read(attributes: &[AttributeProto<'_>]) -> Result<Self, Problem> {
        let mut centres = false;
        for attribute in attributes {
            match (attribute.name, attribute.int) {
                ("center_point_box", 0) => centres = false,
                ("center_point_box", 1) => centres = true,
                ("center_point_box", other) => {
                    return Err(format!(
                        "expected a center_point_box of 0 or 1, found {other}"
                    ));
                }
                _ => return unknown(attribute),
            }
        }
        Ok(Self { centres })
    }

    fn extent(&self, corners: [f32; 4]) -> Extent {
        let [a, b, c, d] = corners;
        if self.centres {
            // The centre comes with the horizontal axis first.
            let ([x, y], [width, height]) = ([a, b], [c / 2.0, d / 2.0]);
            return Extent {
                low: [y - height, x - width],
                high: [y + height, x + width],
            };
        }
        Extent {
            low: [a.min(c), b.min(d)],
            high: [a.max(c), b.max(d)],
        }
    }

    pub(super) fn run(&self, inputs: Inputs<'_>) -> Result<Value, Problem> {
        let (boxes, [images, count, four]) = inputs.tensor::<f32, 3>(0, "boxes")?;
        let (scores, [others, classes, columns]) = inputs.tensor::<f32, 3>(1, "scores")?;
        if four != 4 || (images, count) != (others, columns) {
            return Err(format!(
                "boxes [{images}, {count}, {four}] and scores [{others}, {classes}, {columns}] do not belong together"
            ));
        }
        let limit = inputs.number::<i32>(2, "max_output_boxes_per_class")?;
        let limit = limit
            .and_then(|limit| usize::try_from(limit).ok())
            .unwrap_or(0);
        let most = inputs.number::<f32>(3, "iou_threshold")?.unwrap_or(0.0);
        let least = inputs.number::<f32>(4, "score_threshold")?;
        if !(0.0..=1.0).contains(&most) {
            return Err(format!(
                "expected an iou_threshold from 0 to 1, found {most}"
            ));
        }
        let (boxes, scores) = (boxes.to_slice(), scores.to_slice());
        let mut selected: Vec<i32> = Vec::new();
        let (boxes, _) = boxes.as_chunks::<4>();
        // Where there are no boxes or no classes, there is nothing to go through.
        let (of_images, of_classes) = (count.max(1), count.saturating_mul(classes).max(1));
        let per_image = boxes.chunks(of_images).zip(scores.chunks(of_classes));
        for (image, (boxes, scores)) in per_image.enumerate() {
            let boxes: Vec<Extent> = boxes.iter().map(|corners| self.extent(*corners)).collect();
            for (class, scores) in scores.chunks(of_images).enumerate() {
                for index in select(&boxes, scores, limit, most, least) {
                    for number in [image, class, index] {
                        selected.push(i32::try_from(number).map_err(|_| "too many boxes")?);
                    }
                }
            }
        }
        Ok(Tensor::from_data(&[selected.len() / 3, 3], selected).into())
    }
}

/// The boxes of one class of one image that are selected, in the order of their scores.
fn select(
    boxes: &[Extent],
    scores: &[f32],
    limit: usize,
    most: f32,
    least: Option<f32>,
) -> Vec<usize> {
    let mut selected = Vec::new();
    if limit == 0 {
        return selected;
    }
    let scores = scores.iter().copied().enumerate();
    let candidates = scores.filter(|(_, score)| least.is_none_or(|least| *score > least));
    let mut candidates: BinaryHeap<Candidate> = candidates
        .map(|(index, score)| Candidate { score, index })
        .collect();
    while let Some(next) = candidates.pop() {
        let own = boxes[next.index];
        let is_free = |other: &usize| boxes[*other].overlap(own) <= most;
        if selected.iter().all(is_free) {
            selected.push(next.index);
            if selected.len() == limit {
                break;
            }
        }
    }
    selected
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use rten_tensor::prelude::*;

    use super::*;

    const CORNERS: Suppression = Suppression { centres: false };

    fn floats(shape: &[usize], values: &[f32]) -> Value {
        Tensor::from_data(shape, values.to_vec()).into()
    }

    /// What is selected of some boxes of one image.
    fn run(
        suppression: &Suppression,
        boxes: &[[f32; 4]],
        scores: &[&[f32]],
        limit: Option<i32>,
        thresholds: [Option<f32>; 2],
    ) -> Result<Vec<i32>, Problem> {
        let boxes = floats(&[1, boxes.len(), 4], boxes.as_flattened());
        let (classes, count) = (scores.len(), scores.first().map_or(0, |row| row.len()));
        let scores = floats(&[1, classes, count], &scores.concat());
        let limit = limit.map(|limit| Value::from(Tensor::from_data(&[1], vec![limit])));
        let [most, least] = thresholds.map(|number| number.map(|number| floats(&[], &[number])));
        let inputs = [
            Some(&boxes),
            Some(&scores),
            limit.as_ref(),
            most.as_ref(),
            least.as_ref(),
        ];
        let selected = suppression.run(Inputs(&inputs))?;
        assert_eq!(selected.shape().to_vec()[1], 3);
        Ok(Tensor::<i32>::try_from(selected).unwrap().to_vec())
    }

    /// Three boxes, of which the second overlaps the first by 0.6 and the third overlaps none.
    const BOXES: [[f32; 4]; 3] = [
        [0.0, 0.0, 1.0, 1.0],
        [1.0, 1.25, 0.0, 0.25],
        [5.0, 5.0, 6.0, 6.0],
    ];

    #[test]
    fn each_class_is_by_itself_and_every_box_is_of_each() {
        let scores: [&[f32]; 2] = [&[0.5, 0.9, 0.7], &[0.9, 0.1, 0.8]];
        let found = run(&CORNERS, &BOXES, &scores, Some(9), [Some(0.5), None]);
        let expected = [0, 0, 1, 0, 0, 2, 0, 1, 0, 0, 1, 2];
        assert_eq!(found.unwrap(), expected);
        let found = run(&CORNERS, &BOXES, &scores, Some(1), [Some(0.5), None]);
        assert_eq!(found.unwrap(), [0, 0, 1, 0, 1, 0]);
    }

    #[test]
    fn thresholds_are_strict() {
        let scores: [&[f32]; 1] = [&[0.5, 0.9, 0.7]];
        let all = [0, 0, 1, 0, 0, 2, 0, 0, 0];
        let found = run(&CORNERS, &BOXES, &scores, Some(9), [Some(0.6), None]);
        assert_eq!(found.unwrap(), all);
        let found = run(&CORNERS, &BOXES, &scores, Some(9), [Some(0.6), Some(0.5)]);
        assert_eq!(found.unwrap(), all[..6]);
    }

    #[test]
    fn without_a_limit_nothing_is_selected() {
        let scores: [&[f32]; 1] = [&[0.5, 0.9, 0.7]];
        for limit in [None, Some(0), Some(-1)] {
            let found = run(&CORNERS, &BOXES, &scores, limit, [Some(0.5), None]);
            assert_eq!(found.unwrap(), [0; 0]);
        }
    }

    #[test]
    fn of_equals_the_first_goes_first_and_what_is_no_number_last() {
        let apart = [0.0f32, 2.0, 4.0, 6.0].map(|at| [at, 0.0, at + 1.0, 1.0]);
        let scores: [&[f32]; 1] = [&[f32::NAN, 0.0, -0.0, 0.5]];
        let found = run(&CORNERS, &apart, &scores, Some(4), [Some(0.5), None]);
        assert_eq!(found.unwrap(), [0, 0, 3, 0, 0, 1, 0, 0, 2, 0, 0, 0]);
        let found = run(&CORNERS, &apart, &scores, Some(4), [Some(0.5), Some(-1.0)]);
        assert_eq!(found.unwrap(), [0, 0, 3, 0, 0, 1, 0, 0, 2]);
    }

    #[test]
    fn boxes_without_an_area_overlap_none() {
        let same = [[0.0, 0.0, 0.0, 1.0]; 2];
        let found = run(&CORNERS, &same, &[&[0.5, 0.5]], Some(4), [None; 2]);
        assert_eq!(found.unwrap().len(), 6);
    }

    #[test]
    fn centres_and_sizes_are_boxes_too() {
        // Around (0.5, 0.5) and (0.75, 0.5), each with sides of 1.
        let boxes = [[0.5, 0.5, 1.0, 1.0], [0.75, 0.5, 1.0, 1.0]];
        let centres = Suppression { centres: true };
        for (most, kept) in [(0.5, 3), (0.6, 6)] {
            let found = run(
                &centres,
                &boxes,
                &[&[0.9, 0.8]],
                Some(4),
                [Some(most), None],
            );
            assert_eq!(found.unwrap().len(), kept);
        }
    }

    #[test]
    fn images_have_their_own_boxes_and_there_may_be_none() {
        let boxes = floats(&[2, 1, 4], &[0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
        let scores = floats(&[2, 1, 1], &[0.1, 0.9]);
        let limit = Value::from(Tensor::from_data(&[], vec![3]));
        let (most, least) = (floats(&[], &[0.5]), floats(&[], &[0.5]));
        let inputs = [&boxes, &scores, &limit, &most, &least].map(Some);
        let found = CORNERS.run(Inputs(&inputs)).unwrap();
        assert_eq!(Tensor::<i32>::try_from(found).unwrap().to_vec(), [1, 0, 0]);
        for shape in [[0, 4, 2], [2, 0, 2], [2, 4, 0]] {
            let [images, count, classes] = shape;
            let boxes = floats(&[images, count, 4], &vec![0.0; images * count * 4]);
            let scores = floats(
                &[images, classes, count],
                &vec![0.0; images * classes * count],
            );
            let inputs = [&boxes, &scores, &limit, &most, &least].map(Some);
            let found = CORNERS.run(Inputs(&inputs)).unwrap();
            assert_eq!(found.shape().to_vec(), [0, 3]);
        }
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let scores: [&[f32]; 1] = [&[0.5, 0.9]];
        let problem = run(&CORNERS, &BOXES, &scores, Some(9), [None; 2]).unwrap_err();
        let expected = "boxes [1, 3, 4] and scores [1, 1, 2] do not belong together";
        assert_eq!(problem, expected);
        let scores: [&[f32]; 1] = [&[0.5, 0.9, 0.1]];
        let problem = run(&CORNERS, &BOXES, &scores, Some(9), [Some(2.0), None]).unwrap_err();
        assert_eq!(problem, "expected an iou_threshold from 0 to 1, found 2");
        let whole = Value::from(Tensor::from_data(&[1, 3, 4], vec![0i32; 12]));
        let problem = CORNERS.run(Inputs(&[Some(&whole)])).unwrap_err();
        assert!(
            problem.starts_with("its input 0 (boxes) is of the type"),
            "{problem}"
        );
        let attribute = AttributeProto {
            name: "plus_one",
            ..AttributeProto::default()
        };
        let problem = Suppression::read(&[attribute]).unwrap_err();
        assert_eq!(
            problem,
            "it has an attribute `plus_one`, which is not known"
        );
    }
}
