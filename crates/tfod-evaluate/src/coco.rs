//! COCO's JSON: annotations of instances and keypoints, and results.
//!
//! The form is described on <https://cocodataset.org/#format-data> and <https://cocodataset.org/#format-results>.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::dataset::{Annotation, Category, Dataset, Detection, Image, Keypoints, Segmentation};
use crate::error::{ReadError, read_file};
use crate::mask::{MaskError, Rle};

/// The largest file of JSON that is read.
const LARGEST_FILE: u64 = 1 << 31;

#[derive(Deserialize)]
struct File {
    images: Vec<FileImage>,
    categories: Vec<FileCategory>,
    annotations: Vec<FileAnnotation>,
}

#[derive(Deserialize)]
struct FileImage {
    id: i64,
    #[serde(default)]
    file_name: String,
    width: Option<u32>,
    height: Option<u32>,
}

#[derive(Deserialize)]
struct FileCategory {
    id: i64,
    name: String,
}

#[derive(Deserialize)]
struct FileAnnotation {
    id: i64,
    image_id: i64,
    category_id: i64,
    bbox: [f64; 4],
    area: Option<f64>,
    #[serde(default)]
    iscrowd: Flag,
    segmentation: Option<FileSegmentation>,
    keypoints: Option<Vec<f64>>,
    num_keypoints: Option<u64>,
}

/// 0 or 1, or a truth value.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(try_from = "serde_json::Value")]
struct Flag(bool);

impl TryFrom<serde_json::Value> for Flag {
    type Error = String;

    fn try_from(value: serde_json::Value) -> Result<Self, String> {
        match (value.as_bool(), value.as_u64()) {
            (Some(flag), _) => Ok(Self(flag)),
            (_, Some(number @ 0..=1)) => Ok(Self(number == 1)),
            _ => Err(format!("`iscrowd` is {value}, expected 0 or 1")),
        }
    }
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected a list of polygons, each a list of numbers, or `size` and `counts` of runs"
)]
enum FileSegmentation {
    Polygons(Vec<Vec<f64>>),
    Runs(FileRuns),
}

#[derive(Deserialize)]
struct FileRuns {
    /// Height and width.
    size: [u32; 2],
    counts: Counts,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a string or a list of lengths")]
enum Counts {
    Compressed(String),
    Lengths(Vec<u32>),
}

impl FileSegmentation {
    /// `None` for an empty list, by which files of boxes say that there is no outline.
    fn into_segmentation(self) -> Result<Option<Segmentation>, MaskError> {
        let runs = match self {
            Self::Polygons(polygons) if polygons.is_empty() => return Ok(None),
            Self::Polygons(polygons) => return Ok(Some(Segmentation::Polygons(polygons))),
            Self::Runs(runs) => runs,
        };
        let [height, width] = runs.size;
        let mask = match runs.counts {
            Counts::Compressed(text) => Rle::from_compressed(width, height, &text)?,
            Counts::Lengths(lengths) => Rle::new(width, height, &lengths)?,
        };
        Ok(Some(Segmentation::Runs(mask)))
    }
}

fn parse<T: DeserializeOwned>(path: &Path, what: &str) -> Result<T, ReadError> {
    let bytes = read_file(path, LARGEST_FILE)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        let text = error.to_string();
        // The place stands before the problem already.
        let text = text
            .rsplit_once(" at line ")
            .map_or(&*text, |(text, _)| text);
        ReadError::new(path, place, format!("not {what}: {text}"))
    })
}

/// Points of x, y and a third number.
fn triples(numbers: &[f64]) -> Option<Vec<[f64; 3]>> {
    let (triples, rest) = numbers.as_chunks();
    rest.is_empty().then(|| triples.to_vec())
}

const TRIPLES: &str = "expected three for each keypoint: x, y, visibility";

/// Reads annotations of instances or keypoints.
///
/// # Errors
/// When the file cannot be read, is not of this form, or has two images, classes or annotations of the same number.
pub fn read_dataset(path: &Path) -> Result<Dataset, ReadError> {
    let file: File = parse(path, "annotations of COCO")?;
    let mut dataset = Dataset::default();
    let mut images = HashMap::new();
    for (index, image) in file.images.into_iter().enumerate() {
        let place = || format!("images[{index}]");
        let size = image.width.zip(image.height);
        if images.insert(image.id, size).is_some() {
            let problem = format!("a second image of id {}", image.id);
            return Err(ReadError::new(path, place(), problem));
        }
        dataset.images.push(Image {
            id: image.id,
            file_name: image.file_name,
            size,
        });
    }
    let mut categories = HashSet::new();
    for (index, FileCategory { id, name }) in file.categories.into_iter().enumerate() {
        if !categories.insert(id) {
            let place = format!("categories[{index}]");
            return Err(ReadError::new(
                path,
                place,
                format!("a second class of id {id}"),
            ));
        }
        dataset.categories.push(Category { id, name });
    }
    let mut seen = HashSet::new();
    let mut notes = Notes::default();
    for (index, annotation) in file.annotations.into_iter().enumerate() {
        let id = annotation.id;
        let problem = |problem: String| {
            let place = format!("annotations[{index}] (id {id})");
            Err(ReadError::new(path, place, problem))
        };
        if !seen.insert(id) {
            return problem("a second annotation of this id".to_owned());
        }
        notes.stray += usize::from(
            !images.contains_key(&annotation.image_id)
                || !categories.contains(&annotation.category_id),
        );
        notes.zero |= id == 0;
        let [_, _, width, height] = annotation.bbox;
        if width < 0.0 || height < 0.0 {
            return problem(format!(
                "`bbox` is {width} wide and {height} high, expected x, y, width, height"
            ));
        }
        notes.without_area += usize::from(annotation.area.is_none());
        let keypoints = match annotation.keypoints.as_deref().map(triples) {
            None => None,
            Some(None) => return problem(format!("`keypoints` has numbers left over; {TRIPLES}")),
            Some(Some(points)) => {
                let labelled = points.iter().filter(|point| point[2] > 0.0).count();
                let labelled = annotation.num_keypoints.unwrap_or(labelled as u64);
                Some(Keypoints { points, labelled })
            }
        };
        let segmentation = annotation
            .segmentation
            .map_or(Ok(None), FileSegmentation::into_segmentation);
        let segmentation = match segmentation {
            Ok(segmentation) => segmentation,
            Err(error) => return problem(format!("`segmentation`: {error}")),
        };
        dataset.annotations.push(Annotation {
            id,
            image: annotation.image_id,
            category: annotation.category_id,
            bbox: annotation.bbox,
            area: annotation.area.unwrap_or(width * height),
            crowd: annotation.iscrowd.0,
            difficult: false,
            segmentation,
            keypoints,
        });
    }
    dataset.notes = notes.told();
    Ok(dataset)
}

#[derive(Default)]
struct Notes {
    stray: usize,
    without_area: usize,
    zero: bool,
}

impl Notes {
    fn told(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.stray > 0 {
            let stray = self.stray;
            notes.push(format!(
                "{stray} annotations are of images or classes that the file does not list: they count for nothing"
            ));
        }
        if self.without_area > 0 {
            let number = self.without_area;
            notes.push(format!(
                "{number} annotations have no `area`: that of their boxes is taken"
            ));
        }
        if self.zero {
            let text = "an annotation has the id 0: as in pycocotools, a detection that matches it counts as wrong; number annotations from 1";
            notes.push(text.to_owned());
        }
        notes
    }
}

#[derive(Deserialize)]
struct FileResult {
    image_id: i64,
    category_id: i64,
    score: f64,
    bbox: Option<Vec<f64>>,
    segmentation: Option<FileSegmentation>,
    keypoints: Option<Vec<f64>>,
}

/// Reads results: a list of detections.
///
/// As in `pycocotools`, the first one decides what counts as the area of all: if it has a `bbox`, that of the box.
///
/// # Errors
/// When the file cannot be read or is not of this form, and when some detections have boxes and others do not.
pub fn read_results(path: &Path) -> Result<Vec<Detection>, ReadError> {
    let results: Vec<FileResult> = parse(path, "results of COCO")?;
    let mut detections: Vec<Detection> = Vec::with_capacity(results.len());
    for (index, result) in results.into_iter().enumerate() {
        let problem = |problem: String| {
            let place = format!("entry {index}");
            Err(ReadError::new(path, place, problem))
        };
        let bbox = match result.bbox.as_deref() {
            None | Some([]) => None,
            Some(&[x, y, width, height]) => Some([x, y, width, height]),
            Some(other) => {
                let found = other.len();
                return problem(format!(
                    "`bbox` has {found} numbers, expected x, y, width, height"
                ));
            }
        };
        if let Some(first) = detections.first()
            && first.bbox.is_some() != bbox.is_some()
        {
            return problem(
                "some detections have a `bbox` and others have none: write it for all or for none"
                    .to_owned(),
            );
        }
        let segmentation = result
            .segmentation
            .map_or(Ok(None), FileSegmentation::into_segmentation);
        let segmentation = match segmentation {
            Ok(segmentation) => segmentation,
            Err(error) => return problem(format!("`segmentation`: {error}")),
        };
        let keypoints = match result.keypoints.as_deref().map(triples) {
            None => None,
            Some(None) => return problem(format!("`keypoints` has numbers left over; {TRIPLES}")),
            Some(points) => points,
        };
        detections.push(Detection {
            image: result.image_id,
            category: result.category_id,
            score: result.score,
            bbox,
            segmentation,
            keypoints,
        });
    }
    Ok(detections)
}
