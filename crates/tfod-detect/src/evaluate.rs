//! What was found, beside annotations, and beside what another model finds.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tfod_evaluate::{
    At, COCO_SIGMAS, Comparing, Comparison, Dataset, Evaluation, Found as Where, ImageNames, Kind,
    Labels, ReadError, Segmentation, coco, compare, evaluate, example, voc,
};
use tfod_text::Shown;

use crate::results::Found;
use crate::{ClassNames, DetectError, Listing, PictureFile};

/// How many names are told where something does not fit.
const SHOWN: usize = 3;
/// A difference that would be shown as none.
const NOTHING: f64 = 5e-4;
/// How many differences are told in words.
const DIFFERENCES: usize = 10;

/// Annotations of the pictures that are looked at.
#[derive(Debug)]
pub struct Truth {
    path: PathBuf,
    form: Form,
    dataset: Dataset,
    /// What the user should know of how they were read.
    pub notes: Vec<String>,
}

fn refused(path: &Path, problem: String) -> DetectError {
    DetectError::Annotations(ReadError {
        path: path.to_owned(),
        place: String::new(),
        problem,
    })
}

/// How annotations are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Coco,
    Voc,
    Records,
}

impl Form {
    /// A folder is Pascal VOC's; a file is JSON if it begins like that.
    fn of(path: &Path) -> Result<Self, DetectError> {
        if path.is_dir() {
            return Ok(Self::Voc);
        }
        let unreadable =
            |error: &dyn std::fmt::Display| refused(path, format!("cannot be read: {error}"));
        let metadata = path.metadata().map_err(|error| unreadable(&error))?;
        if !metadata.is_file() {
            return Err(unreadable(&"expected a file or a folder"));
        }
        let is_json = path.extension().is_some_and(|ending| ending == "json");
        let mut start = [0; 64];
        let length = File::open(path)
            .and_then(|mut file| file.read(&mut start))
            .map_err(|error| unreadable(&error))?;
        let text = String::from_utf8_lossy(start.get(..length).unwrap_or_default());
        let begins_so = text
            .trim_start_matches('\u{feff}')
            .trim_start()
            .starts_with(['{', '[']);
        Ok(if is_json || begins_so {
            Self::Coco
        } else {
            Self::Records
        })
    }
}

impl Truth {
    /// Reads annotations: a folder of Pascal VOC's, a file of COCO's JSON, or a TFRecord. Classes are those of the model of the same name; without names, those of the
    /// same number.
    ///
    /// # Errors
    ///
    /// If they cannot be read, or their classes are not the model's.
    pub fn read(path: &Path, classes: &ClassNames) -> Result<Self, DetectError> {
        let labels: Labels = classes
            .iter()
            .map(|(id, name)| (name.to_owned(), i64::from(id)))
            .collect();
        let named = (!labels.is_empty()).then_some(&labels);
        let form = Form::of(path)?;
        let mut dataset = match form {
            Form::Voc if labels.is_empty() => {
                let problem = "annotations of Pascal VOC have names of classes, but the model has none; give a label map";
                return Err(refused(path, problem.to_owned()));
            }
            Form::Voc => voc::read_folder(path, named)?,
            Form::Coco => coco::read_dataset(path)?,
            Form::Records => example::read_dataset(&[path], named)?,
        };
        let mut notes = std::mem::take(&mut dataset.notes);
        if !labels.is_empty() && form == Form::Coco {
            let unknown: Vec<String> = dataset
                .categories
                .iter()
                .filter(|category| !labels.contains_key(&category.name))
                .map(|category| format!("`{}`", category.name.shown()))
                .collect();
            if unknown.is_empty() {
                let renumbered = dataset.renumber(&labels);
                renumbered.map_err(|error| refused(path, error.to_string()))?;
            } else if unknown.len() == dataset.categories.len() {
                let (shown, more) = some(&unknown);
                notes.push(format!(
                    "no class of the annotations has a name of the model's ({shown}{more}): they are taken by their numbers"
                ));
            } else {
                let (shown, more) = some(&unknown);
                let problem = format!(
                    "the annotations have classes that the model does not have: {shown}{more}; give the label map of the model, or leave these classes out"
                );
                return Err(refused(path, problem));
            }
        } else if labels.is_empty() {
            notes.push(
                "the model does not say what its classes are called: those of the annotations are taken by their numbers"
                    .to_owned(),
            );
        }
        Ok(Self {
            path: path.to_owned(),
            form,
            dataset,
            notes,
        })
    }

    /// The place of a picture that is in the annotated TFRecord itself, whatever it is called.
    fn record_of(&self, picture: &PictureFile) -> Option<usize> {
        let place = picture.record().filter(|_| self.form == Form::Records)?;
        let is_same = place.path == self.path
            || place.path.canonicalize().ok() == self.path.canonicalize().ok();
        let index = usize::try_from(place.number).ok().filter(|_| is_same)?;
        (index < self.dataset.images.len()).then_some(index)
    }

    /// Leaves pictures that have annotations, with the numbers of these, and annotations that have pictures.
    ///
    /// # Errors
    ///
    /// If there are none, or it cannot be told which is which.
    pub fn select(&mut self, listing: &mut Listing) -> Result<(), DetectError> {
        let names = ImageNames::of(&self.dataset);
        let mut taken: HashMap<usize, PathBuf> = HashMap::new();
        let mut without = Vec::new();
        let mut kept = Vec::new();
        for mut picture in std::mem::take(&mut listing.pictures) {
            let found = match self.record_of(&picture) {
                Some(index) => Ok(Some(index)),
                None => names.find(&picture.path),
            };
            let index = match found {
                Ok(Some(index)) => index,
                Ok(None) => {
                    without.push(picture.path.shown().to_string());
                    continue;
                }
                Err(candidates) => {
                    let candidates: Vec<String> = candidates
                        .iter()
                        .map(|name| name.shown().to_string())
                        .collect();
                    let (shown, more) = some(&candidates);
                    let problem = format!(
                        "it cannot be told which image {} is: {shown}{more}",
                        picture.path.shown()
                    );
                    return Err(refused(&self.path, problem));
                }
            };
            let image = &self.dataset.images[index];
            if let Some(other) = taken.insert(index, picture.path.clone()) {
                let problem = format!(
                    "two pictures are the image `{}`: {} and {}",
                    image.file_name.shown(),
                    other.shown(),
                    picture.path.shown()
                );
                return Err(refused(&self.path, problem));
            }
            picture.image_id = u64::try_from(image.id).map_err(|_| {
                let problem = format!("the number of an image is {}, expected 0 or more", image.id);
                refused(&self.path, problem)
            })?;
            kept.push(picture);
        }
        if kept.is_empty() {
            let images = self.dataset.images.iter();
            let images: Vec<String> = images
                .map(|image| image.file_name.shown().to_string())
                .collect();
            let (shown, more) = some(&images);
            let problem = format!(
                "none of the pictures is annotated: the annotations are of {shown}{more}, the pictures are {}",
                some(&without).0
            );
            return Err(refused(&self.path, problem));
        }
        if !without.is_empty() {
            let (shown, more) = some(&without);
            self.notes.push(format!(
                "{} pictures have no annotations and are left out: {shown}{more}",
                without.len()
            ));
        }
        let missing = self.dataset.images.len() - kept.len();
        if missing > 0 {
            self.notes.push(format!(
                "{missing} annotated images are not among the pictures: they count for nothing"
            ));
        }
        listing.pictures = kept;
        Ok(())
    }
}

/// Some of many, and whether there are more.
fn some(all: &[String]) -> (String, &'static str) {
    let shown: Vec<&str> = all.iter().take(SHOWN).map(|one| &**one).collect();
    let more = if all.len() > SHOWN { ", …" } else { "" };
    (shown.join(", "), more)
}

/// The shortest decimal that is the same 32-bit float, which is what files of results have.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::NAN)
}

impl Found {
    /// The detections as `coco_results.json` has them.
    ///
    /// # Errors
    ///
    /// If a mask is too large.
    pub fn to_evaluate(&self) -> Result<Vec<tfod_evaluate::Detection>, DetectError> {
        let detections = self.detections.iter().map(|one| {
            let sides = one.in_pixels(self.width, self.height);
            let (width, height) = (sides.xmax - sides.xmin, sides.ymax - sides.ymin);
            let mask = one.mask.as_ref().map(|mask| {
                let placed = mask.placed(one.bounds, self.width, self.height);
                placed.rle()
            });
            let mask = mask.transpose().map_err(|error| {
                let problem = error.to_string();
                DetectError::Annotations(ReadError {
                    path: self.file.path.clone(),
                    place: String::new(),
                    problem,
                })
            })?;
            let points = one.keypoints.iter().map(|point| {
                let [x, y] = point.in_pixels(self.width, self.height).map(decimal);
                [x, y, f64::from(u8::from(point.was_found()))]
            });
            let points: Vec<[f64; 3]> = points.collect();
            Ok(tfod_evaluate::Detection {
                image: self.file.image_id.cast_signed(),
                category: i64::from(one.class_id),
                score: decimal(one.score),
                bbox: Some([sides.xmin, sides.ymin, width, height].map(decimal)),
                segmentation: mask.map(Segmentation::Runs),
                keypoints: (!points.is_empty()).then_some(points),
            })
        });
        detections.collect()
    }
}

/// Average precision of a model on pictures.
#[derive(Debug)]
pub struct Scores {
    /// What was compared: `boxes`, `masks`, `keypoints`.
    parts: Vec<(&'static str, Evaluation)>,
    /// What was not evaluated, and why.
    pub notes: Vec<String>,
    images: usize,
    names: HashMap<i64, String>,
}

impl Truth {
    /// Evaluates what was found in pictures, of which the images have these numbers.
    ///
    /// # Errors
    ///
    /// If detections cannot be compared with the annotations.
    pub fn scores(
        &self,
        images: &HashSet<i64>,
        detections: &[tfod_evaluate::Detection],
    ) -> Result<Scores, DetectError> {
        let mut dataset = self.dataset.clone();
        dataset.retain_images(images);
        let mut parts = vec![("boxes", evaluate(&dataset, detections, Kind::Boxes)?)];
        let mut notes = Vec::new();
        let has_masks = detections.iter().any(|one| one.segmentation.is_some());
        if has_masks && dataset.has_masks() {
            let objects = dataset.annotations.iter();
            let without = objects.filter(|one| one.segmentation.is_none()).count();
            if without == 0 {
                parts.push(("masks", evaluate(&dataset, detections, Kind::Masks)?));
            } else {
                notes.push(format!(
                    "masks are not evaluated: {without} objects have no segmentation"
                ));
            }
        }
        let found = detections.iter().find_map(|one| one.keypoints.as_ref());
        if let (Some(found), Some(annotated)) = (found, dataset.keypoints()) {
            let expected = COCO_SIGMAS.len();
            if found.len() == expected && annotated == expected {
                let kind = Kind::Keypoints {
                    sigmas: &COCO_SIGMAS,
                };
                parts.push(("keypoints", evaluate(&dataset, detections, kind)?));
            } else {
                notes.push(format!(
                    "keypoints are not evaluated: the model has {}, the annotations {annotated}; COCO defines their precision for {expected}",
                    found.len()
                ));
            }
        }
        let unknown = parts.first().map_or(0, |(_, found)| found.unknown_classes);
        if unknown > 0 {
            notes.push(format!(
                "{unknown} detections are of classes that are not annotated: they count for nothing"
            ));
        }
        let names = dataset.categories.into_iter();
        Ok(Scores {
            parts,
            notes,
            images: dataset.images.len(),
            names: names.map(|category| (category.id, category.name)).collect(),
        })
    }
}

/// A figure as COCO prints it; a dash where nothing is annotated.
fn figure(value: f64) -> String {
    if value < 0.0 {
        "-".to_owned()
    } else {
        format!("{value:.3}")
    }
}

impl Scores {
    /// Figures and classes of each kind, with the keys that `docs/detect.md` explains.
    pub fn json(&self) -> Value {
        let mut all = Map::new();
        all.insert("images".to_owned(), json!(self.images));
        for (kind, evaluation) in &self.parts {
            let figures = evaluation.figures();
            let figures = figures
                .iter()
                .map(|figure| (figure.name(), json!(figure.value)));
            let classes = evaluation.classes.iter().map(|class| {
                json!({
                    "class_id": class.category,
                    "class": self.names.get(&class.category),
                    "objects": class.objects,
                    "detections": class.detections,
                    "AP": class.precision(At::Mean),
                    "AP50": class.precision(At::Half),
                    "AP75": class.precision(At::ThreeQuarters),
                    "AR": class.recall(),
                })
            });
            let mut part: Map<String, Value> = figures.collect();
            part.insert("classes".to_owned(), classes.collect());
            all.insert((*kind).to_owned(), Value::Object(part));
        }
        all.insert("notes".to_owned(), json!(self.notes));
        Value::Object(all)
    }

    /// A table, with another model's figures beside if there are any.
    pub fn table(&self, other: Option<&Self>) -> String {
        let mut text = String::new();
        for (kind, evaluation) in &self.parts {
            let beside = other.and_then(|other| {
                let mut parts = other.parts.iter();
                parts.find(|(other, _)| other == kind)
            });
            let beside = beside.map(|(_, evaluation)| evaluation);
            self.part(&mut text, kind, evaluation, beside);
        }
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        text
    }

    fn part(
        &self,
        text: &mut String,
        kind: &str,
        evaluation: &Evaluation,
        beside: Option<&Evaluation>,
    ) {
        let classes = &evaluation.classes;
        let objects: usize = classes.iter().map(|class| class.objects).sum();
        let heads = if beside.is_some() {
            "   first  second"
        } else {
            ""
        };
        let images = self.images;
        let title = format!("{kind}: {objects} objects in {images} pictures");
        let _ = writeln!(text, "{title:<56}{heads}");
        let others = beside.map(Evaluation::figures).unwrap_or_default();
        for (index, one) in evaluation.figures().iter().enumerate() {
            let what = format!(
                "IoU {}, {} areas, {} detections",
                one.at.text(),
                one.area,
                one.limit
            );
            let name = one.name();
            let _ = write!(text, "  {name:<11} {what:<44}{:>6}", figure(one.value));
            if let Some(other) = others.get(index) {
                let _ = write!(text, "  {:>6}", figure(other.value));
            }
            text.push('\n');
        }
        let width = classes
            .iter()
            .map(|class| self.name(class.category).chars().count());
        let width = width.max().unwrap_or(0).clamp(5, 24);
        let _ = write!(
            text,
            "  {:<width$}  objects      AP    AP50    AP75      AR",
            "class"
        );
        if beside.is_some() {
            let _ = write!(text, "  AP of the second");
        }
        text.push('\n');
        for class in classes.iter().filter(|class| class.objects > 0) {
            let name = self.name(class.category);
            let _ = write!(
                text,
                "  {name:<width$}  {:>7}  {:>6}  {:>6}  {:>6}  {:>6}",
                class.objects,
                figure(class.precision(At::Mean)),
                figure(class.precision(At::Half)),
                figure(class.precision(At::ThreeQuarters)),
                figure(class.recall())
            );
            let mut others = beside.into_iter().flat_map(|other| &other.classes);
            if let Some(other) = others.find(|other| other.category == class.category) {
                let _ = write!(text, "  {:>6}", figure(other.precision(At::Mean)));
            }
            text.push('\n');
        }
    }

    fn name(&self, category: i64) -> String {
        let name = self.names.get(&category);
        name.map_or_else(|| category.to_string(), |name| name.shown().to_string())
    }
}

/// What two models found in the same pictures, and where it differs.
#[derive(Debug)]
pub struct Compared {
    comparison: Comparison,
    first: Vec<tfod_evaluate::Detection>,
    second: Vec<tfod_evaluate::Detection>,
    pictures: HashMap<i64, PathBuf>,
    threshold: f64,
}

impl Compared {
    /// Compares detections in pictures, which stand here by their numbers. Those of lower scores than the threshold are no differences by themselves.
    pub fn of(
        first: Vec<tfod_evaluate::Detection>,
        second: Vec<tfod_evaluate::Detection>,
        pictures: HashMap<i64, PathBuf>,
        threshold: f64,
    ) -> Self {
        let comparing = Comparing {
            score_threshold: threshold,
            ..Comparing::default()
        };
        Self {
            comparison: compare(&first, &second, comparing),
            first,
            second,
            pictures,
            threshold,
        }
    }

    /// The detections of a difference.
    fn sides(&self, found: Where) -> [Option<&tfod_evaluate::Detection>; 2] {
        match found {
            Where::OnlyFirst(first) => [self.first.get(first), None],
            Where::OnlySecond(second) => [None, self.second.get(second)],
            Where::Both { first, second, .. } => [self.first.get(first), self.second.get(second)],
        }
    }

    fn picture(&self, image: i64) -> String {
        let path = self.pictures.get(&image);
        path.map_or_else(String::new, |path| path.to_string_lossy().into_owned())
    }

    /// Everything, with the keys that `docs/detect.md` explains.
    pub fn json(&self, classes: &ClassNames) -> Value {
        let found = &self.comparison;
        let told = |one: Option<&tfod_evaluate::Detection>| {
            one.map(|one| json!({ "score": one.score, "bbox": one.bbox }))
        };
        let differences = found.differences.iter().map(|one| {
            let [first, second] = self.sides(one.found).map(told);
            let overlap = match one.found {
                Where::Both { overlap, .. } => Some(overlap),
                _ => None,
            };
            let class = u32::try_from(one.category).ok();
            json!({
                "image": self.picture(one.image),
                "image_id": one.image,
                "class_id": one.category,
                "class": class.and_then(|class| classes.get(class)),
                "first": first,
                "second": second,
                "overlap": overlap,
                "weight": one.weight,
            })
        });
        json!({
            "score_threshold": self.threshold,
            "both": found.both,
            "only_first": found.only_first,
            "only_second": found.only_second,
            "across_threshold": found.across_threshold,
            "largest_score_difference": found.largest_score_difference,
            "mean_score_difference": found.mean_score_difference,
            "smallest_overlap": found.smallest_overlap,
            "differences": differences.collect::<Vec<_>>(),
        })
    }

    /// The numbers, and the worst differences.
    pub fn text(&self, classes: &ClassNames) -> String {
        let found = &self.comparison;
        let mut text = format!(
            "with scores from {} on: {} detections by both, {} by the first alone, {} by the second alone\n",
            self.threshold, found.both, found.only_first, found.only_second
        );
        if found.both > 0 {
            let _ = writeln!(
                text,
                "of both: scores differ by {:.4} at most and {:.4} on average, {} are across the threshold; boxes overlap by {:.3} at least",
                found.largest_score_difference,
                found.mean_score_difference,
                found.across_threshold,
                found.smallest_overlap
            );
        }
        let shown = found.differences.iter().take(DIFFERENCES);
        let shown: Vec<_> = shown.filter(|one| one.weight >= NOTHING).collect();
        if !shown.is_empty() {
            text.push_str("the worst differences:\n");
        }
        for one in shown {
            let class = u32::try_from(one.category).unwrap_or(0);
            let name = classes.name(class);
            let [first, second] = self
                .sides(one.found)
                .map(|one| one.map_or_else(|| "-".to_owned(), |one| format!("{:.3}", one.score)));
            let place = self.sides(one.found).into_iter().flatten().next();
            let [x, y, width, height] = place.and_then(|one| one.bbox).unwrap_or_default();
            let overlap = match one.found {
                Where::Both { overlap, .. } => format!(", overlap {overlap:.3}"),
                _ => String::new(),
            };
            let _ = writeln!(
                text,
                "  {}: {} {first} / {second}{overlap}, x {x:.1} to {:.1}, y {y:.1} to {:.1}",
                self.picture(one.image).shown(),
                name.shown(),
                x + width,
                y + height
            );
        }
        text
    }
}
