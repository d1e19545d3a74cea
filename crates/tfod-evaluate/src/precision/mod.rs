//! Average precision as COCO defines it.
//!
//! Of each image and class, the detections of the highest scores are matched with the annotated objects, once for each threshold of overlap and each range of
//! areas. Over all images, in order of score, that gives precision at each recall; its mean over 101 recalls, ten thresholds and all classes is the
//! average precision. Described on <https://cocodataset.org/#detection-eval>.
//!
//! The measure has been defined by a program, `pycocotools`, whose details are kept:
//!
//! - Of equal scores, the detection that stands first comes first; over images, that of the image with the lowest number.
//! - A detection takes the object that it overlaps most, of equals the last; objects that do not count only if no other is left.
//! - Objects that do not count are crowds, those outside of the range of areas, and those without a labelled keypoint. A crowd takes any number of
//!   detections, and of each the part that is within it counts. Detections that match what does not count, or match nothing and are outside of the range of
//!   areas, count neither as right nor as wrong.
//! - A detection that matches an annotation of number 0 counts as wrong.
//! - A class without an object that counts has no precision, and no part in the mean. Where there is none at all, figures are -1.

mod matching;
mod overlap;

use std::collections::{HashMap, HashSet};

use crate::dataset::{Annotation, Dataset, Detection};
use crate::mask::{MaskError, Rle};
use crate::numbers::real;

use matching::{Counted, Hit, match_image};
pub use overlap::COCO_SIGMAS;
use overlap::{Shapes, box_overlaps, keypoint_overlaps, mask_overlaps};

/// How many thresholds of overlap there are.
pub const THRESHOLDS: usize = 10;
/// At how many recalls precision is taken.
const RECALLS: usize = 101;

/// The thresholds of overlap: 0.5, 0.55… 0.95.
pub fn thresholds() -> [f64; THRESHOLDS] {
    const STEP: f64 = (0.95 - 0.5) / 9.0;
    let mut thresholds: [f64; THRESHOLDS] = std::array::from_fn(|i| real(i) * STEP + 0.5);
    thresholds[THRESHOLDS - 1] = 0.95;
    thresholds
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind<'a> {
    /// Boxes, by intersection over union.
    Boxes,
    /// Masks, by intersection over union.
    Masks,
    /// Keypoints, by their distances as parts of the object's size.
    Keypoints {
        /// How far off the keypoints are that people annotate, one number for each keypoint; for a person's 17 of COCO, [`COCO_SIGMAS`].
        sigmas: &'a [f64],
    },
}

/// Objects of a range of areas, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AreaRange {
    /// What it is called.
    pub name: &'static str,
    low: f64,
    high: f64,
}

const fn range(name: &'static str, low: f64, high: f64) -> AreaRange {
    AreaRange { name, low, high }
}

const ALL: AreaRange = range("all", 0.0, 1e10);
const SMALL: AreaRange = range("small", 0.0, 1024.0);
const MEDIUM: AreaRange = range("medium", 1024.0, 9216.0);
const LARGE: AreaRange = range("large", 9216.0, 1e10);

impl AreaRange {
    fn excludes(&self, area: f64) -> bool {
        area < self.low || area > self.high
    }
}

impl Kind<'_> {
    fn areas(self) -> &'static [AreaRange] {
        match self {
            Self::Keypoints { .. } => &[ALL, MEDIUM, LARGE],
            _ => &[ALL, SMALL, MEDIUM, LARGE],
        }
    }

    /// How many detections of an image and class count.
    fn limits(self) -> &'static [usize] {
        match self {
            Self::Keypoints { .. } => &[20],
            _ => &[1, 10, 100],
        }
    }

    fn limit(self) -> usize {
        self.limits().iter().copied().max().unwrap_or(0)
    }
}

/// Why detections cannot be evaluated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EvaluateError {
    /// A detection is of an image that is not among the annotated ones.
    #[error("detection {index} is of image {image}, which the annotations do not list")]
    UnknownImage {
        /// Which detection.
        index: usize,
        /// The image.
        image: i64,
    },
    /// A number is not finite.
    #[error("{whose} has a number that is not finite in its {part}")]
    NotFinite {
        /// Which detection or annotation.
        whose: String,
        /// Of what.
        part: &'static str,
    },
    /// There is no box, outline or list of keypoints.
    #[error("{whose} has no {part}")]
    Missing {
        /// Which detection or annotation.
        whose: String,
        /// What it would need.
        part: &'static str,
    },
    /// A mask cannot be used.
    #[error("{whose}: {problem}")]
    Mask {
        /// Which detection or annotation.
        whose: String,
        /// What is wrong.
        problem: MaskError,
    },
    /// There are more or fewer keypoints than numbers for their accuracy.
    #[error("{whose} has {found} keypoints, expected {expected}: as many as there are sigmas")]
    Keypoints {
        /// Which detection or annotation.
        whose: String,
        /// How many it has.
        found: usize,
        /// How many sigmas there are.
        expected: usize,
    },
}

/// What was found for a class.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassResult {
    /// The number of the class.
    pub category: i64,
    /// How many objects of it count.
    pub objects: usize,
    /// How many detections of it were given.
    pub detections: usize,
    /// For each range of areas.
    ranges: Vec<RangeResult>,
}

/// Precision and recall of a class for each threshold; `None` where no object counts.
#[derive(Clone, Debug, PartialEq)]
struct RangeResult {
    /// The mean over recalls, with the highest limit of detections.
    precision: Option<[f64; THRESHOLDS]>,
    /// For each limit.
    recall: Option<Vec<[f64; THRESHOLDS]>>,
}

/// A mean over the thresholds of overlap, or the value at one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The mean over all ten.
    Mean,
    /// An overlap of 0.5.
    Half,
    /// An overlap of 0.75.
    ThreeQuarters,
}

impl At {
    fn of(self, values: &[f64; THRESHOLDS]) -> &[f64] {
        match self {
            Self::Mean => values,
            Self::Half => &values[..1],
            Self::ThreeQuarters => &values[5..6],
        }
    }

    /// The thresholds, as COCO writes them.
    pub fn text(self) -> &'static str {
        match self {
            Self::Mean => "0.50:0.95",
            Self::Half => "0.50",
            Self::ThreeQuarters => "0.75",
        }
    }
}

/// Precision or recall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Average precision.
    Precision,
    /// Average recall.
    Recall,
}

/// One of the figures by which COCO summarises detections.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Average precision or average recall.
    pub measure: Measure,
    /// At which overlap.
    pub at: At,
    /// Of objects of which areas.
    pub area: &'static str,
    /// How many detections of an image and class count.
    pub limit: usize,
    /// Between 0 and 1; -1 where no object counts.
    pub value: f64,
}

impl Figure {
    /// A short name: `AP`, `AP50`, `AP_small`, `AR_10`.
    pub fn name(&self) -> String {
        let measure = match self.measure {
            Measure::Precision => "AP",
            Measure::Recall => "AR",
        };
        let at = match self.at {
            At::Mean => "",
            At::Half => "50",
            At::ThreeQuarters => "75",
        };
        if self.area != ALL.name {
            return format!("{measure}{at}_{}", self.area);
        }
        if self.limit < 20 {
            return format!("{measure}{at}_{}", self.limit);
        }
        format!("{measure}{at}")
    }
}

/// What was found in all.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    areas: &'static [AreaRange],
    limits: &'static [usize],
    /// For each class, in order of their numbers.
    pub classes: Vec<ClassResult>,
    /// How many detections are of classes that the annotations do not have. They count for nothing.
    pub unknown_classes: usize,
}

/// The mean, -1 of nothing.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut number) = (0.0, 0usize);
    for value in values {
        sum += value;
        number += 1;
    }
    if number == 0 {
        -1.0
    } else {
        sum / real(number)
    }
}

impl ClassResult {
    fn values(&self, measure: Measure, area: usize, limit: usize) -> Option<&[f64; THRESHOLDS]> {
        let range = self.ranges.get(area)?;
        match measure {
            Measure::Precision => range.precision.as_ref(),
            Measure::Recall => range.recall.as_ref()?.get(limit),
        }
    }

    /// Average precision over objects of all areas; -1 where no object counts.
    pub fn precision(&self, at: At) -> f64 {
        let values = self.values(Measure::Precision, 0, 0);
        mean(values.into_iter().flat_map(|values| at.of(values)).copied())
    }

    /// Average recall over objects of all areas with the highest limit of detections; -1 where no object counts.
    pub fn recall(&self) -> f64 {
        let last = self.ranges.first().and_then(|range| {
            let limits = range.recall.as_ref()?;
            limits.last()
        });
        mean(last.into_iter().flatten().copied())
    }
}

impl Evaluation {
    fn figure(&self, measure: Measure, at: At, area: usize, limit: usize) -> Figure {
        let classes = self.classes.iter();
        let values = classes.filter_map(|class| class.values(measure, area, limit));
        Figure {
            measure,
            at,
            area: self.areas[area].name,
            limit: self.limits[limit],
            value: mean(values.flat_map(|values| at.of(values)).copied()),
        }
    }

    /// The figures by which COCO summarises detections, in its order: twelve, or ten of keypoints.
    pub fn figures(&self) -> Vec<Figure> {
        use At::{Half, Mean, ThreeQuarters};
        use Measure::{Precision, Recall};
        let last = self.limits.len() - 1;
        let mut wanted = Vec::new();
        let overlaps = [Mean, Half, ThreeQuarters];
        let parts = 1..self.areas.len();
        wanted.extend(overlaps.map(|at| (Precision, at, 0, last)));
        wanted.extend(parts.clone().map(|area| (Precision, Mean, area, last)));
        if self.limits.len() > 1 {
            wanted.extend((0..=last).map(|limit| (Recall, Mean, 0, limit)));
        } else {
            wanted.extend(overlaps.map(|at| (Recall, at, 0, last)));
        }
        wanted.extend(parts.map(|area| (Recall, Mean, area, last)));
        let figures = wanted.into_iter();
        figures
            .map(|(measure, at, area, limit)| self.figure(measure, at, area, limit))
            .collect()
    }
}

/// Evaluates detections.
///
/// # Errors
/// When a detection is of an image that is not annotated, or one of the two has not what is compared.
pub fn evaluate(
    dataset: &Dataset,
    detections: &[Detection],
    kind: Kind,
) -> Result<Evaluation, EvaluateError> {
    let sizes: HashMap<i64, _> = dataset
        .images
        .iter()
        .map(|image| (image.id, image.size))
        .collect();
    for (index, detection) in detections.iter().enumerate() {
        if !sizes.contains_key(&detection.image) {
            let image = detection.image;
            return Err(EvaluateError::UnknownImage { index, image });
        }
        if !detection.score.is_finite() {
            return Err(EvaluateError::NotFinite {
                whose: format!("detection {index}"),
                part: "score",
            });
        }
    }
    let objects = sorted(dataset.annotations.iter(), |annotation| {
        (annotation.category, annotation.image)
    });
    let found = sorted(detections.iter(), |detection| {
        (detection.category, detection.image)
    });
    let categories: HashSet<i64> = dataset.categories.iter().map(|class| class.id).collect();
    let mut categories: Vec<i64> = categories.into_iter().collect();
    categories.sort_unstable();
    let evaluator = Evaluator {
        kind,
        thresholds: thresholds(),
        sizes,
        objects,
        found,
    };
    let mut known = 0;
    let mut classes = Vec::with_capacity(categories.len());
    for category in categories {
        let class = evaluator.class(category)?;
        known += class.detections;
        classes.push(class);
    }
    Ok(Evaluation {
        areas: kind.areas(),
        limits: kind.limits(),
        classes,
        unknown_classes: detections.len() - known,
    })
}

/// An item with its class, its image and its place in the list that was given.
struct Placed<'a, T> {
    category: i64,
    image: i64,
    index: usize,
    item: &'a T,
}

fn sorted<'a, T>(
    items: impl Iterator<Item = &'a T>,
    key: impl Fn(&T) -> (i64, i64),
) -> Vec<Placed<'a, T>> {
    let mut sorted: Vec<Placed<T>> = items
        .enumerate()
        .map(|(index, item)| {
            let (category, image) = key(item);
            Placed {
                category,
                image,
                index,
                item,
            }
        })
        .collect();
    sorted.sort_unstable_by_key(|placed| (placed.category, placed.image, placed.index));
    sorted
}

fn of_category<'a, 'b, T>(items: &'b [Placed<'a, T>], category: i64) -> &'b [Placed<'a, T>] {
    let start = items.partition_point(|placed| placed.category < category);
    let end = items.partition_point(|placed| placed.category <= category);
    &items[start..end]
}

/// Those of the first image, and the others.
fn of_image<'a, 'b, T>(
    items: &'b [Placed<'a, T>],
    image: i64,
) -> (&'b [Placed<'a, T>], &'b [Placed<'a, T>]) {
    let end = items
        .iter()
        .position(|placed| placed.image != image)
        .unwrap_or(items.len());
    items.split_at(end)
}

struct Evaluator<'a> {
    kind: Kind<'a>,
    thresholds: [f64; THRESHOLDS],
    sizes: HashMap<i64, Option<(u32, u32)>>,
    objects: Vec<Placed<'a, Annotation>>,
    found: Vec<Placed<'a, Detection>>,
}

impl Evaluator<'_> {
    fn class(&self, category: i64) -> Result<ClassResult, EvaluateError> {
        let mut objects = of_category(&self.objects, category);
        let mut found = of_category(&self.found, category);
        let detections = found.len();
        let areas = self.kind.areas();
        let mut hits: Vec<Vec<Hit>> = areas.iter().map(|_| Vec::new()).collect();
        let mut counted = vec![0usize; areas.len()];
        loop {
            // The next image that has either.
            let images = [
                objects.first().map(|placed| placed.image),
                found.first().map(|placed| placed.image),
            ];
            let Some(image) = images.into_iter().flatten().min() else {
                break;
            };
            let (objects_here, objects_left) = of_image(objects, image);
            let (found_here, found_left) = of_image(found, image);
            (objects, found) = (objects_left, found_left);
            // Annotations of images that are not listed count for nothing.
            let Some(&size) = self.sizes.get(&image) else {
                continue;
            };
            let mut best: Vec<&Placed<Detection>> = found_here.iter().collect();
            best.sort_by(|a, b| b.item.score.total_cmp_zero(a.item.score));
            best.truncate(self.kind.limit());
            let overlaps = self.overlaps(objects_here, &best, size)?;
            let found_areas: Vec<f64> = best
                .iter()
                .map(|placed| area(placed, size))
                .collect::<Result<_, _>>()?;
            for (range, (hits, counted)) in areas.iter().zip(hits.iter_mut().zip(&mut counted)) {
                let objects: Vec<Counted> = objects_here
                    .iter()
                    .map(|placed| self.counted(placed.item, *range))
                    .collect();
                *counted += objects.iter().filter(|object| !object.ignored).count();
                let scores = best.iter().zip(&found_areas);
                let scores: Vec<(f64, bool)> = scores
                    .map(|(placed, &area)| (placed.item.score, range.excludes(area)))
                    .collect();
                match_image(&self.thresholds, &objects, &scores, &overlaps, hits);
            }
        }
        let objects = counted.first().copied().unwrap_or(0);
        let ranges = hits.into_iter().zip(counted);
        Ok(ClassResult {
            category,
            objects,
            detections,
            ranges: ranges
                .map(|(hits, counted)| summarise(hits, counted, self.kind.limits()))
                .collect(),
        })
    }

    fn counted(&self, annotation: &Annotation, range: AreaRange) -> Counted {
        let without_keypoints = matches!(self.kind, Kind::Keypoints { .. })
            && annotation
                .keypoints
                .as_ref()
                .is_none_or(|keypoints| keypoints.labelled == 0);
        Counted {
            ignored: annotation.crowd || without_keypoints || range.excludes(annotation.area),
            crowd: annotation.crowd,
            counts_as_match: annotation.id != 0,
        }
    }

    /// For each detection a row with its overlaps with the objects.
    fn overlaps(
        &self,
        objects: &[Placed<Annotation>],
        found: &[&Placed<Detection>],
        size: Option<(u32, u32)>,
    ) -> Result<Vec<f64>, EvaluateError> {
        for placed in objects {
            let (bbox, whose) = (placed.item.bbox, || whose_annotation(placed.item));
            all_finite(&bbox, whose, "box")?;
            all_finite(&[placed.item.area], whose, "area")?;
        }
        if objects.is_empty() || found.is_empty() {
            return Ok(Vec::new());
        }
        let crowds: Vec<bool> = objects.iter().map(|placed| placed.item.crowd).collect();
        match self.kind {
            Kind::Boxes => {
                let found = found.iter().map(|placed| {
                    let part = "box";
                    let missing = || EvaluateError::Missing {
                        whose: whose_detection(placed),
                        part,
                    };
                    let bbox = placed.item.bbox.ok_or_else(missing)?;
                    all_finite(&bbox, || whose_detection(placed), part)?;
                    Ok(bbox)
                });
                let found: Vec<[f64; 4]> = found.collect::<Result<_, _>>()?;
                let objects: Vec<[f64; 4]> =
                    objects.iter().map(|placed| placed.item.bbox).collect();
                Ok(box_overlaps(&Shapes {
                    objects: &objects,
                    found: &found,
                    crowds: &crowds,
                }))
            }
            Kind::Masks => {
                let objects = objects.iter().map(|placed| {
                    let whose = || whose_annotation(placed.item);
                    let segmentation = placed.item.segmentation.as_ref();
                    let segmentation = segmentation.ok_or_else(|| EvaluateError::Missing {
                        whose: whose(),
                        part: "segmentation",
                    })?;
                    let mask = segmentation.mask(size);
                    mask.map_err(|problem| EvaluateError::Mask {
                        whose: whose(),
                        problem,
                    })
                });
                let objects: Vec<Rle> = objects.collect::<Result<_, _>>()?;
                let found = found.iter().map(|placed| detected_mask(placed, size));
                let found: Vec<Rle> = found.collect::<Result<_, _>>()?;
                Ok(mask_overlaps(&Shapes {
                    objects: &objects,
                    found: &found,
                    crowds: &crowds,
                }))
            }
            Kind::Keypoints { sigmas } => {
                let nothing: Vec<[f64; 3]> = vec![[0.0; 3]; sigmas.len()];
                let expected = sigmas.len();
                let check = |points: &[[f64; 3]], whose: &dyn Fn() -> String| {
                    let found = points.len();
                    if found != expected {
                        let whose = whose();
                        return Err(EvaluateError::Keypoints {
                            whose,
                            found,
                            expected,
                        });
                    }
                    all_finite(points.as_flattened(), whose, "keypoints")
                };
                let mut annotated = Vec::with_capacity(objects.len());
                for placed in objects {
                    let points = placed.item.keypoints.as_ref();
                    let points = points.map_or(&*nothing, |keypoints| &*keypoints.points);
                    check(points, &|| whose_annotation(placed.item))?;
                    annotated.push((placed.item, points));
                }
                let mut detected = Vec::with_capacity(found.len());
                for placed in found {
                    let points = placed.item.keypoints.as_deref();
                    let points = points.ok_or_else(|| EvaluateError::Missing {
                        whose: whose_detection(placed),
                        part: "keypoints",
                    })?;
                    check(points, &|| whose_detection(placed))?;
                    detected.push(points);
                }
                Ok(keypoint_overlaps(&annotated, &detected, sigmas))
            }
        }
    }
}

/// Orders finite scores, for which both zeros are the same.
trait TotalCmpZero {
    fn total_cmp_zero(self, other: Self) -> std::cmp::Ordering;
}

impl TotalCmpZero for f64 {
    fn total_cmp_zero(self, other: Self) -> std::cmp::Ordering {
        self.partial_cmp(&other)
            .unwrap_or(std::cmp::Ordering::Equal)
    }
}

fn whose_annotation(annotation: &Annotation) -> String {
    let Annotation { id, image, .. } = annotation;
    format!("annotation {id} of image {image}")
}

fn whose_detection(placed: &Placed<Detection>) -> String {
    format!("detection {} (image {})", placed.index, placed.image)
}

fn all_finite(
    numbers: &[f64],
    whose: impl Fn() -> String,
    part: &'static str,
) -> Result<(), EvaluateError> {
    if numbers.iter().all(|number| number.is_finite()) {
        return Ok(());
    }
    Err(EvaluateError::NotFinite {
        whose: whose(),
        part,
    })
}

/// The mask of a detection; that of its box where it has none.
fn detected_mask(
    placed: &Placed<Detection>,
    size: Option<(u32, u32)>,
) -> Result<Rle, EvaluateError> {
    use crate::dataset::Segmentation;
    let detection = placed.item;
    let mask = match (&detection.segmentation, detection.bbox) {
        (Some(segmentation), _) => segmentation.mask(size),
        (None, Some([x, y, width, height])) => {
            let (right, bottom) = (x + width, y + height);
            let corners = vec![x, y, x, bottom, right, bottom, right, y];
            Segmentation::Polygons(vec![corners]).mask(size)
        }
        (None, None) => {
            return Err(EvaluateError::Missing {
                whose: whose_detection(placed),
                part: "segmentation",
            });
        }
    };
    mask.map_err(|problem| EvaluateError::Mask {
        whose: whose_detection(placed),
        problem,
    })
}

/// The area of a detection: of its box, else of its mask, else of the box around its keypoints.
fn area(placed: &Placed<Detection>, size: Option<(u32, u32)>) -> Result<f64, EvaluateError> {
    let detection = placed.item;
    if let Some([_, _, width, height]) = detection.bbox {
        return Ok(width * height);
    }
    if detection.segmentation.is_some() {
        return Ok(f64::from(detected_mask(placed, size)?.area()));
    }
    let points = detection.keypoints.as_deref().unwrap_or_default();
    let extent = |axis: usize| {
        let places = points.iter().map(|point| point[axis]);
        let (low, high) = places.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), place| {
            (low.min(place), high.max(place))
        });
        high - low
    };
    if points.is_empty() {
        return Ok(0.0);
    }
    Ok(extent(0) * extent(1))
}

/// Precision and recall from what was matched in all images.
fn summarise(mut hits: Vec<Hit>, objects: usize, limits: &[usize]) -> RangeResult {
    if objects == 0 {
        return RangeResult {
            precision: None,
            recall: None,
        };
    }
    // Stable: hits of equal scores stay in order of images.
    hits.sort_by(|a, b| b.score.total_cmp_zero(a.score));
    let mut precision = [0.0; THRESHOLDS];
    let mut recall = vec![[0.0; THRESHOLDS]; limits.len()];
    let total = real(objects);
    let mut curve: Vec<(f64, f64)> = Vec::with_capacity(hits.len());
    for threshold in 0..THRESHOLDS {
        curve.clear();
        let (mut right, mut wrong) = (0.0, 0.0);
        for hit in &hits {
            // One that is ignored changes neither count.
            if hit.is_ignored(threshold) {
                continue;
            }
            if hit.is_matched(threshold) {
                right += 1.0;
            } else {
                wrong += 1.0;
            }
            curve.push((right / total, right / (wrong + right + f64::EPSILON)));
        }
        precision[threshold] = interpolated(&mut curve);
        for (recall, &limit) in recall.iter_mut().zip(limits) {
            let counted = hits.iter().filter(|hit| {
                hit.rank < limit && !hit.is_ignored(threshold) && hit.is_matched(threshold)
            });
            recall[threshold] = real(counted.count()) / total;
        }
    }
    RangeResult {
        precision: Some(precision),
        recall: Some(recall),
    }
}

/// The mean over recalls of the best precision at that recall or a higher one; `curve` has (recall, precision) in order of recall.
fn interpolated(curve: &mut [(f64, f64)]) -> f64 {
    let mut best = 0.0;
    for (_, precision) in curve.iter_mut().rev() {
        best = f64::max(best, *precision);
        *precision = best;
    }
    let (mut points, mut sum) = (curve.iter().peekable(), 0.0);
    for step in 0..RECALLS {
        let recall = if step == RECALLS - 1 {
            1.0
        } else {
            real(step) * 0.01
        };
        while points.next_if(|(reached, _)| *reached < recall).is_some() {}
        // Recalls that are not reached have no precision.
        let Some((_, precision)) = points.peek() else {
            break;
        };
        sum += precision;
    }
    sum / real(RECALLS)
}
