//! Where two models detect the same and where they do not.

use std::collections::BTreeMap;

use crate::dataset::Detection;
use crate::numbers::real;

/// When two detections are of the same object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparing {
    /// The least overlap of their boxes.
    pub overlap: f64,
    /// Detections below this score are no differences; but one above it can be matched with one below.
    pub score_threshold: f64,
}

impl Default for Comparing {
    fn default() -> Self {
        Self {
            overlap: 0.5,
            score_threshold: 0.5,
        }
    }
}

/// What differs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Found {
    /// Only the first model detects it.
    OnlyFirst(usize),
    /// Only the second model detects it.
    OnlySecond(usize),
    /// Both detect it.
    Both {
        /// The detection of the first model.
        first: usize,
        /// The detection of the second.
        second: usize,
        /// How much their boxes overlap.
        overlap: f64,
    },
}

/// A difference, or a match. Detections are told by their places in the lists that were given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// The image.
    pub image: i64,
    /// The class.
    pub category: i64,
    /// What was found.
    pub found: Found,
    /// How bad it is, between 0 and 1: the score of what only one detects; else the difference of scores, or what boxes lack of lying on each other,
    /// whichever is larger.
    pub weight: f64,
}

/// What came out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Every detection that counts, the worst difference first.
    pub differences: Vec<Difference>,
    /// How many both have.
    pub both: usize,
    /// How many the first alone has.
    pub only_first: usize,
    /// How many the second alone has.
    pub only_second: usize,
    /// How many of those that both have are above the threshold of scores in one of them only.
    pub across_threshold: usize,
    /// The largest difference of scores of those that both have.
    pub largest_score_difference: f64,
    /// The mean difference of scores of those that both have; 0 of none.
    pub mean_score_difference: f64,
    /// The smallest overlap of those that both have; 1 of none.
    pub smallest_overlap: f64,
}

/// Intersection over union; 0 where there are no boxes.
fn overlap(first: &Detection, second: &Detection) -> f64 {
    let (Some(a), Some(b)) = (first.bbox, second.bbox) else {
        return 0.0;
    };
    // The same box has all in common, even if it has no area.
    if a.iter().zip(&b).all(|(a, b)| a.total_cmp(b).is_eq()) {
        return 1.0;
    }
    let common = |axis: usize| {
        let end = f64::min(a[axis] + a[axis + 2], b[axis] + b[axis + 2]);
        f64::max(0.0, end - f64::max(a[axis], b[axis]))
    };
    let both = common(0) * common(1);
    let whole = a[2] * a[3] + b[2] * b[3] - both;
    if both > 0.0 && whole > 0.0 {
        f64::min(1.0, both / whole)
    } else {
        0.0
    }
}

/// Matches the detections of two models on the same images. Of an image and class, those pairs are matched first that overlap most, of equals those whose
/// scores are nearest; so the result is the same whichever model comes first.
pub fn compare(first: &[Detection], second: &[Detection], comparing: Comparing) -> Comparison {
    let mut groups: BTreeMap<(i64, i64), [Vec<usize>; 2]> = BTreeMap::new();
    for (model, detections) in [first, second].into_iter().enumerate() {
        for (index, detection) in detections.iter().enumerate() {
            let group = groups.entry((detection.image, detection.category));
            group.or_default()[model].push(index);
        }
    }
    let mut comparison = Comparison {
        smallest_overlap: 1.0,
        ..Comparison::default()
    };
    let mut sum = 0.0;
    for ((image, category), [of_first, of_second]) in groups {
        let mut pairs = Vec::new();
        for (a, &index_a) in of_first.iter().enumerate() {
            for (b, &index_b) in of_second.iter().enumerate() {
                let overlap = overlap(&first[index_a], &second[index_b]);
                if overlap >= comparing.overlap {
                    let apart = (first[index_a].score - second[index_b].score).abs();
                    pairs.push((overlap, apart, a, b));
                }
            }
        }
        pairs.sort_by(|x, y| y.0.total_cmp(&x.0).then(x.1.total_cmp(&y.1)));
        let (mut free_a, mut free_b) = (vec![true; of_first.len()], vec![true; of_second.len()]);
        let mut add = |found, weight| {
            comparison.differences.push(Difference {
                image,
                category,
                found,
                weight,
            });
        };
        let counts = |score: f64| score >= comparing.score_threshold;
        for (overlap, apart, a, b) in pairs {
            if !free_a[a] || !free_b[b] {
                continue;
            }
            (free_a[a], free_b[b]) = (false, false);
            let (first_index, second_index) = (of_first[a], of_second[b]);
            let above = [first[first_index].score, second[second_index].score].map(counts);
            if above == [false, false] {
                continue;
            }
            comparison.both += 1;
            comparison.across_threshold += usize::from(above[0] != above[1]);
            sum += apart;
            let largest = &mut comparison.largest_score_difference;
            *largest = largest.max(apart);
            let smallest = &mut comparison.smallest_overlap;
            *smallest = smallest.min(overlap);
            add(
                Found::Both {
                    first: first_index,
                    second: second_index,
                    overlap,
                },
                f64::max(apart, 1.0 - overlap),
            );
        }
        for (&index, _) in of_first.iter().zip(free_a).filter(|(_, free)| *free) {
            if counts(first[index].score) {
                comparison.only_first += 1;
                add(Found::OnlyFirst(index), first[index].score);
            }
        }
        for (&index, _) in of_second.iter().zip(free_b).filter(|(_, free)| *free) {
            if counts(second[index].score) {
                comparison.only_second += 1;
                add(Found::OnlySecond(index), second[index].score);
            }
        }
    }
    if comparison.both > 0 {
        comparison.mean_score_difference = sum / real(comparison.both);
    }
    // Stable: equals stay in order of images.
    let differences = &mut comparison.differences;
    differences.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    comparison
}
