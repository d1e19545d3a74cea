//! Matching the detections of an image and class with its objects.

use super::THRESHOLDS;

/// An object, as far as matching is concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    /// It does not count.
    pub(super) ignored: bool,
    /// It takes any number of detections.
    pub(super) crowd: bool,
    /// A detection that takes it counts as matched.
    pub(super) counts_as_match: bool,
}

/// A detection, and what became of it at each threshold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    pub(super) score: f64,
    /// Its place among the detections of its image and class, from 0.
    pub(super) rank: usize,
    matched: u16,
    ignored: u16,
}

impl Hit {
    pub(super) fn is_matched(&self, threshold: usize) -> bool {
        self.matched >> threshold & 1 == 1
    }

    pub(super) fn is_ignored(&self, threshold: usize) -> bool {
        self.ignored >> threshold & 1 == 1
    }
}

/// Matches detections, which are in order of their scores, and adds a hit for each. `found` has their scores and whether they count only if they match;
/// `overlaps` a row for each, or nothing if either is missing.
pub(super) fn match_image(
    thresholds: &[f64; THRESHOLDS],
    objects: &[Counted],
    found: &[(f64, bool)],
    overlaps: &[f64],
    hits: &mut Vec<Hit>,
) {
    // Those that count come first.
    let (first, last): (Vec<usize>, Vec<usize>) =
        (0..objects.len()).partition(|&index| !objects[index].ignored);
    let counting = first.len();
    let order: Vec<usize> = first.into_iter().chain(last).collect();

    let start = hits.len();
    hits.extend(
        found
            .iter()
            .enumerate()
            .map(|(rank, &(score, outside))| Hit {
                score,
                rank,
                matched: 0,
                ignored: if outside { u16::MAX } else { 0 },
            }),
    );
    if objects.is_empty() || found.is_empty() {
        return;
    }
    let mut taken = vec![false; objects.len()];
    for (bit, &threshold) in thresholds.iter().enumerate() {
        taken.fill(false);
        for (hit, row) in hits[start..]
            .iter_mut()
            .zip(overlaps.chunks_exact(objects.len()))
        {
            let mut best = threshold.min(1.0 - 1e-10);
            let mut chosen = None;
            for (place, &index) in order.iter().enumerate() {
                if taken[index] && !objects[index].crowd {
                    continue;
                }
                // One that counts is not given up for one that does not.
                if place >= counting && chosen.is_some_and(|chosen: usize| !objects[chosen].ignored)
                {
                    break;
                }
                if row[index] >= best {
                    best = row[index];
                    chosen = Some(index);
                }
            }
            let Some(index) = chosen else { continue };
            taken[index] = true;
            if !objects[index].counts_as_match {
                // Counts as unmatched, also for whether it is ignored.
                if objects[index].ignored {
                    hit.ignored |= 1 << bit;
                }
                continue;
            }
            hit.matched |= 1 << bit;
            if objects[index].ignored {
                hit.ignored |= 1 << bit;
            } else {
                hit.ignored &= !(1 << bit);
            }
        }
    }
}
