//! How much detections and objects are the same.

use crate::dataset::Annotation;
use crate::mask::Rle;
use crate::numbers::real;

/// For a person's keypoints of COCO, from the nose to the right ankle: how far off annotations are, as parts of the root of the area.
pub const COCO_SIGMAS: [f64; 17] = {
    let mut sigmas = [
        0.26, 0.25, 0.25, 0.35, 0.35, 0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87,
        0.89, 0.89,
    ];
    let mut index = 0;
    while index < sigmas.len() {
        sigmas[index] /= 10.0;
        index += 1;
    }
    sigmas
};

/// Shapes of an image and class.
pub(super) struct Shapes<'a, T> {
    pub(super) objects: &'a [T],
    pub(super) found: &'a [T],
    /// Of each object whether it is a crowd.
    pub(super) crowds: &'a [bool],
}

impl<T> Shapes<'_, T> {
    fn overlaps(&self, overlap: impl Fn(&T, &T, bool) -> f64) -> Vec<f64> {
        let mut overlaps = Vec::with_capacity(self.objects.len() * self.found.len());
        for found in self.found {
            let objects = self.objects.iter().zip(self.crowds);
            overlaps.extend(objects.map(|(object, &crowd)| overlap(found, object, crowd)));
        }
        overlaps
    }
}

pub(super) fn box_overlaps(shapes: &Shapes<[f64; 4]>) -> Vec<f64> {
    shapes.overlaps(|found, object, crowd| {
        let area = |sides: &[f64; 4]| sides[2] * sides[3];
        let common = |axis: usize| {
            let end = f64::min(
                found[axis + 2] + found[axis],
                object[axis + 2] + object[axis],
            );
            end - f64::max(found[axis], object[axis])
        };
        let (width, height) = (common(0), common(1));
        if width <= 0.0 || height <= 0.0 {
            return 0.0;
        }
        let both = width * height;
        let whole = if crowd {
            area(found)
        } else {
            area(found) + area(object) - both
        };
        both / whole
    })
}

pub(super) fn mask_overlaps(shapes: &Shapes<Rle>) -> Vec<f64> {
    // Most pairs are apart, which boxes around them show quickly.
    let bounds = |masks: &[Rle]| masks.iter().map(Rle::bounds).collect::<Vec<_>>();
    let objects: Vec<_> = shapes.objects.iter().zip(bounds(shapes.objects)).collect();
    let found: Vec<_> = shapes.found.iter().zip(bounds(shapes.found)).collect();
    let shapes = Shapes {
        objects: &objects,
        found: &found,
        crowds: shapes.crowds,
    };
    shapes.overlaps(|(found, around), (object, around_object), crowd| {
        let apart = |axis: usize| {
            around[axis] >= around_object[axis] + around_object[axis + 2]
                || around_object[axis] >= around[axis] + around[axis + 2]
        };
        if apart(0) || apart(1) {
            return 0.0;
        }
        match found.overlap(object) {
            // Masks of different sizes match nothing.
            None => -1.0,
            Some((0, _)) => 0.0,
            Some((both, _)) if crowd => f64::from(both) / f64::from(found.area()),
            Some((both, either)) => f64::from(both) / f64::from(either),
        }
    })
}

/// The mean over the labelled keypoints of how near they are. Of an object without any, how near the detection's are to the box of three times its size.
pub(super) fn keypoint_overlaps(
    objects: &[(&Annotation, &[[f64; 3]])],
    found: &[&[[f64; 3]]],
    sigmas: &[f64],
) -> Vec<f64> {
    let mut overlaps = Vec::with_capacity(objects.len() * found.len());
    let mut near = Vec::with_capacity(sigmas.len());
    for detected in found {
        for (object, points) in objects {
            let labelled = points.iter().any(|point| point[2] > 0.0);
            near.clear();
            for ((point, target), sigma) in detected.iter().zip(*points).zip(sigmas) {
                if labelled && target[2] <= 0.0 {
                    continue;
                }
                let distance = |axis: usize| {
                    if labelled {
                        return point[axis] - target[axis];
                    }
                    let (start, side) = (object.bbox[axis], object.bbox[axis + 2]);
                    let (low, high) = (start - side, start + side * 2.0);
                    f64::max(0.0, low - point[axis]) + f64::max(0.0, point[axis] - high)
                };
                let (dx, dy) = (distance(0), distance(1));
                let variance = (sigma * 2.0) * (sigma * 2.0);
                let error = (dx * dx + dy * dy) / variance / (object.area + f64::EPSILON) / 2.0;
                near.push((-error).exp());
            }
            overlaps.push(if near.is_empty() {
                0.0
            } else {
                sum(&near) / real(near.len())
            });
        }
    }
    overlaps
}

/// The sum as NumPy adds: eight by eight where there are so many, so that results that are just a threshold fall on the same side of it.
fn sum(values: &[f64]) -> f64 {
    let (eights, rest) = values.as_chunks::<8>();
    // NumPy divides lists of more than 128 in halves; there are no so many keypoints.
    let mut sums = [0.0; 8];
    for (index, eight) in eights.iter().enumerate() {
        for (sum, value) in sums.iter_mut().zip(eight) {
            *sum = if index == 0 { *value } else { *sum + value };
        }
    }
    let [a, b, c, d, e, f, g, h] = sums;
    let start = ((a + b) + (c + d)) + ((e + f) + (g + h));
    rest.iter().fold(start, |sum, value| sum + value)
}
