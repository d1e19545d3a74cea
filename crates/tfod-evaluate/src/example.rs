//! Records of the Object Detection API: images with their annotations, each a `tf.train.Example`.
//!
//! What is read is what the API's decoder reads for evaluation. Numbers are 32-bit floats there, and places parts of the image's size; in pixels, they are what
//! the API's own evaluation computes of them.

use std::collections::BTreeMap;
use std::path::Path;

use tfod_proto::wire::{Field, Fields, map_entry};
use tfod_text::Shown;

use crate::dataset::{Annotation, Dataset, Image, Keypoints, Labels, Segmentation};
use crate::error::ReadError;
use crate::mask::Rle;
use crate::numbers::next_id;
use crate::tfrecord::{RecordPlace, Records};

const AREA: &str = "image/object/area";
const ENCODED: &str = "image/encoded";
/// The most pixels of a mask that is stored as an image.
const MOST_PIXELS: u64 = 1 << 26;

/// x, y and whether it is labelled.
type Point = (f32, f32, bool);

/// An annotated object, in parts of the image's width and height.
#[derive(Clone, Debug, PartialEq)]
struct Object {
    /// ymin, xmin, ymax, xmax.
    corners: [f32; 4],
    category: i64,
    area: Option<f32>,
    crowd: bool,
    difficult: bool,
    mask: Option<Rle>,
    keypoints: Option<Vec<Point>>,
}

/// An image with its annotations.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// Where it stands.
    pub place: RecordPlace,
    /// `image/source_id`.
    pub source_id: String,
    /// `image/filename`.
    pub file_name: String,
    /// `image/encoded`: the bytes of a JPEG, PNG…
    pub encoded: Vec<u8>,
    /// `image/width` and `image/height`.
    pub size: Option<(u32, u32)>,
    objects: Vec<Object>,
}

/// What is in a feature.
enum Feature<'a> {
    Bytes(Vec<&'a [u8]>),
    Floats(Vec<f32>),
    Integers(Vec<i64>),
}

impl Feature<'_> {
    fn kind(&self) -> &'static str {
        match self {
            Self::Bytes(_) => "bytes",
            Self::Floats(_) => "floats",
            Self::Integers(_) => "integers",
        }
    }
}

/// The features of a record, for errors that name them.
struct Features<'a> {
    place: &'a RecordPlace,
    found: BTreeMap<&'a str, Feature<'a>>,
}

fn list(kind: u32, message: &[u8]) -> Option<Feature<'_>> {
    let (mut bytes, mut floats, mut integers) = (Vec::new(), Vec::new(), Vec::new());
    for field in Fields::of(message) {
        let (number, field) = field.ok()?;
        if number != 1 {
            continue;
        }
        match (kind, field) {
            (1, Field::Bytes(value)) => bytes.push(value),
            // Lists of numbers are packed, but need not be.
            (2, Field::Bytes(packed)) => {
                let (values, rest) = packed.as_chunks();
                if !rest.is_empty() {
                    return None;
                }
                floats.extend(values.iter().map(|&value| f32::from_le_bytes(value)));
            }
            (2, Field::Fixed32(bits)) => floats.push(f32::from_bits(bits)),
            (3, Field::Bytes(packed)) => {
                for value in Fields::packed_varints(packed) {
                    integers.push(value?.cast_signed());
                }
            }
            (3, Field::Varint(value)) => integers.push(value.cast_signed()),
            _ => return None,
        }
    }
    match kind {
        1 => Some(Feature::Bytes(bytes)),
        2 => Some(Feature::Floats(floats)),
        _ => Some(Feature::Integers(integers)),
    }
}

impl<'a> Features<'a> {
    fn read(place: &'a RecordPlace, record: &'a [u8]) -> Result<Self, ReadError> {
        let malformed = |problem: &str| place.error(format!("no `tf.train.Example`: {problem}"));
        let mut found = BTreeMap::new();
        for field in Fields::of(record) {
            let field = field.map_err(|error| {
                let offset = place.offset + error.offset_in(record) as u64;
                malformed(&format!("{} at byte {offset}", error.problem()))
            })?;
            let (1, field) = field else { continue };
            let features = field.bytes().ok_or_else(|| malformed("no features"))?;
            for entry in Fields::of(features) {
                let (number, entry) = entry.map_err(|error| malformed(error.problem()))?;
                let (1, Some(entry)) = (number, entry.bytes()) else {
                    continue;
                };
                let entry = map_entry::<&str>(entry).map_err(|error| malformed(error.problem()))?;
                let (name, feature) = entry;
                let damaged = || malformed(&format!("the feature `{}` is damaged", name.shown()));
                // The last of its kinds counts; one without any is as one that is not there.
                let mut value = None;
                for field in Fields::of(feature) {
                    let (kind, field) = field.map_err(|_| damaged())?;
                    if let 1..=3 = kind {
                        value = Some(field.bytes().and_then(|field| list(kind, field)));
                    }
                }
                if let Some(value) = value {
                    found.insert(name, value.ok_or_else(damaged)?);
                } else {
                    found.remove(name);
                }
            }
        }
        Ok(Self { place, found })
    }

    fn wrong<T>(&self, name: &str, problem: &str) -> Result<T, ReadError> {
        Err(self.place.error(format!("`{name}` {problem}")))
    }

    fn bytes(&self, name: &str) -> Result<&[&'a [u8]], ReadError> {
        match self.found.get(name) {
            None => Ok(&[]),
            Some(Feature::Bytes(values)) => Ok(values),
            Some(other) => self.wrong(name, &format!("has {}, expected bytes", other.kind())),
        }
    }

    fn floats(&self, name: &str) -> Result<&[f32], ReadError> {
        match self.found.get(name) {
            None => Ok(&[]),
            Some(Feature::Floats(values)) => Ok(values),
            Some(other) => self.wrong(name, &format!("has {}, expected floats", other.kind())),
        }
    }

    fn integers(&self, name: &str) -> Result<&[i64], ReadError> {
        match self.found.get(name) {
            None => Ok(&[]),
            Some(Feature::Integers(values)) => Ok(values),
            Some(other) => self.wrong(name, &format!("has {}, expected integers", other.kind())),
        }
    }

    fn text(&self, name: &str) -> Result<String, ReadError> {
        let text = self.bytes(name)?.first().copied().unwrap_or_default();
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    /// A list with a value for each object, or none at all.
    fn checked<'b, T>(
        &self,
        name: &str,
        values: &'b [T],
        objects: usize,
    ) -> Result<Option<&'b [T]>, ReadError> {
        let found = values.len();
        if found == objects || found == 0 {
            return Ok((found > 0).then_some(values));
        }
        let problem = format!("has {found} values, expected {objects}: one for each box");
        self.wrong(name, &problem)
    }

    fn size(&self) -> Result<Option<(u32, u32)>, ReadError> {
        let side = |name| -> Result<Option<u32>, ReadError> {
            let side = self.integers(name)?.first();
            Ok(side.and_then(|&side| u32::try_from(side).ok()))
        };
        Ok(side("image/width")?.zip(side("image/height")?))
    }

    fn categories(&self, objects: usize, labels: Option<&Labels>) -> Result<Vec<i64>, ReadError> {
        const TEXT: &str = "image/object/class/text";
        const LABEL: &str = "image/object/class/label";
        let texts = self.checked(TEXT, self.bytes(TEXT)?, objects)?;
        if let (Some(labels), Some(texts)) = (labels, texts) {
            let known = texts.iter().map(|text| {
                let text = String::from_utf8_lossy(text);
                let known = labels.get(&*text).copied();
                known.ok_or_else(|| {
                    self.place.error(format!(
                        "the class `{}` in `{TEXT}` is not among those of the label map",
                        text.shown()
                    ))
                })
            });
            return known.collect();
        }
        match self.checked(LABEL, self.integers(LABEL)?, objects)? {
            Some(numbers) => Ok(numbers.to_vec()),
            None if objects == 0 => Ok(Vec::new()),
            None if texts.is_some() => self.wrong(
                LABEL,
                &format!("is missing, and for the names in `{TEXT}` a label map is needed"),
            ),
            None => self.wrong(
                LABEL,
                "is missing: which classes the objects are of is not known",
            ),
        }
    }

    fn keypoints(&self, objects: usize) -> Result<Vec<Vec<Point>>, ReadError> {
        const X: &str = "image/object/keypoint/x";
        const Y: &str = "image/object/keypoint/y";
        let (xs, ys) = (self.floats(X)?, self.floats(Y)?);
        let visible = self.integers("image/object/keypoint/visibility")?;
        if xs.is_empty() || objects == 0 {
            return Ok(Vec::new());
        }
        if xs.len() != ys.len() || xs.len() % objects != 0 {
            let (found, other) = (xs.len(), ys.len());
            return self.wrong(
                X,
                &format!("has {found} values, and {Y} {other}: expected the same number for each of {objects} boxes"),
            );
        }
        let points = xs.iter().zip(ys).enumerate();
        let points: Vec<_> = points
            .map(|(index, (&x, &y))| {
                let labelled = if visible.len() == xs.len() {
                    matches!(visible[index], 1 | 2)
                } else {
                    !x.is_nan()
                };
                (x, y, labelled)
            })
            .collect();
        let each = points.len() / objects;
        Ok(points.chunks(each).map(<[_]>::to_vec).collect())
    }

    fn masks(&self, objects: usize) -> Result<Option<Vec<Rle>>, ReadError> {
        const MASK: &str = "image/object/mask";
        match self.found.get(MASK) {
            // Masks of numbers, which the API reads when asked to, and none of its programs writes.
            Some(Feature::Floats(values)) if !values.is_empty() => {
                return self.wrong(MASK, "has numbers, expected images of PNG");
            }
            Some(Feature::Floats(_)) => return Ok(None),
            _ => {}
        }
        let Some(files) = self.checked(MASK, self.bytes(MASK)?, objects)? else {
            return Ok(None);
        };
        let masks = files.iter().enumerate().map(|(index, file)| {
            decode_mask(file).or_else(|problem| {
                self.wrong(MASK, &format!("of object {index} is no mask: {problem}"))
            })
        });
        masks.collect::<Result<_, _>>().map(Some)
    }
}

/// A size as the reference computes with it, in 32 bits.
#[expect(
    clippy::cast_precision_loss,
    reason = "sizes of images are far below 2^24"
)]
fn float(size: u32) -> f32 {
    size as f32
}

/// Inside is what is not black.
fn decode_mask(file: &[u8]) -> Result<Rle, String> {
    let limits = png::Limits { bytes: 1 << 28 };
    let mut decoder = png::Decoder::new_with_limits(std::io::Cursor::new(file), limits);
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    let mut reader = decoder.read_info().map_err(|error| error.to_string())?;
    let (width, height) = reader.info().size();
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(format!(
            "it has {width}x{height} pixels; the limit is {MOST_PIXELS} in all"
        ));
    }
    let size = reader.output_buffer_size().ok_or("it is too large")?;
    let mut pixels = vec![0; size];
    let frame = reader
        .next_frame(&mut pixels)
        .map_err(|error| error.to_string())?;
    let color = frame.color_type.samples();
    // The last of two or four samples says how opaque a pixel is.
    let shown = if color % 2 == 0 { color - 1 } else { color };
    let rows = pixels.get(..frame.buffer_size()).unwrap_or_default();
    let inside: Vec<u8> = rows
        .chunks_exact(color)
        .map(|pixel| {
            let samples = pixel.iter().take(shown);
            u8::from(samples.clone().any(|&sample| sample > 0))
        })
        .collect();
    Rle::from_rows(width, height, &inside).map_err(|error| error.to_string())
}

impl Example {
    /// Reads a record. The text of a class goes before its number, as in the API's evaluation, where `labels` has numbers for texts.
    ///
    /// # Errors
    /// When it is no `tf.train.Example`, its lists do not fit together, a mask cannot be decoded, or a class is not known.
    pub fn parse(
        place: RecordPlace,
        record: &[u8],
        labels: Option<&Labels>,
    ) -> Result<Self, ReadError> {
        let features = Features::read(&place, record)?;
        let side = |name| features.floats(name);
        let sides = [
            side("image/object/bbox/ymin")?,
            side("image/object/bbox/xmin")?,
            side("image/object/bbox/ymax")?,
            side("image/object/bbox/xmax")?,
        ];
        let count = sides[0].len();
        if sides.iter().any(|side| side.len() != count) {
            let counts = sides.map(<[f32]>::len);
            return Err(place.error(format!(
                "`image/object/bbox/` has {counts:?} values of ymin, xmin, ymax, xmax: expected as many of each"
            )));
        }
        let categories = features.categories(count, labels)?;
        let number = |name| features.checked(name, features.integers(name)?, count);
        let crowds = number("image/object/is_crowd")?;
        let difficult = number("image/object/difficult")?;
        let areas = features.checked(AREA, features.floats(AREA)?, count)?;
        let masks = features.masks(count)?;
        let keypoints = features.keypoints(count)?;
        let flag = |list: Option<&[i64]>, index| list.is_some_and(|list: &[i64]| list[index] != 0);
        let mut objects = Vec::with_capacity(count);
        for (index, category) in categories.into_iter().enumerate() {
            let corners = sides.map(|side| side[index]);
            if !corners.iter().all(|side| side.is_finite()) {
                return Err(place.error(format!("the box of object {index} is not finite")));
            }
            objects.push(Object {
                corners,
                category,
                area: areas.map(|areas| areas[index]),
                crowd: flag(crowds, index),
                difficult: flag(difficult, index),
                mask: masks.as_ref().map(|masks| masks[index].clone()),
                keypoints: keypoints.get(index).cloned(),
            });
        }
        let encoded = features.bytes(ENCODED)?.first();
        let encoded = encoded.map(|bytes| bytes.to_vec()).unwrap_or_default();
        Ok(Self {
            source_id: features.text("image/source_id")?,
            file_name: features.text("image/filename")?,
            encoded,
            size: features.size()?,
            objects,
            place,
        })
    }

    /// What the image is called in messages: its file, else its source id, else its record.
    pub fn name(&self) -> String {
        name_of([&self.file_name, &self.source_id], &self.place)
    }

    /// Adds the image and its objects to a dataset, for an image whose decoded size is known. Objects have numbers that follow those that are there.
    pub fn add_to(&self, dataset: &mut Dataset, image: i64, (width, height): (u32, u32)) {
        dataset.images.push(Image {
            id: image,
            file_name: self.name(),
            size: Some((width, height)),
        });
        let (wide, high) = (float(width), float(height));
        for object in &self.objects {
            let [top, left, bottom, right] = object.corners;
            let (top, bottom) = (top * high, bottom * high);
            let (left, right) = (left * wide, right * wide);
            let box_area = (bottom - top) * (right - left);
            let area = object.area.filter(|&area| area > 0.0);
            let keypoints = object.keypoints.as_ref().map(|points| {
                let points = points.iter().map(|&(x, y, labelled)| {
                    if labelled {
                        [f64::from(x * wide), f64::from(y * high), 2.0]
                    } else {
                        [0.0; 3]
                    }
                });
                let points: Vec<[f64; 3]> = points.collect();
                Keypoints {
                    labelled: points.iter().filter(|point| point[2] > 0.0).count() as u64,
                    points,
                }
            });
            dataset.annotations.push(Annotation {
                id: next_id(dataset.annotations.len()),
                image,
                category: object.category,
                bbox: [left, top, right - left, bottom - top].map(f64::from),
                area: f64::from(area.unwrap_or(box_area)),
                crowd: object.crowd,
                difficult: object.difficult,
                segmentation: object.mask.clone().map(Segmentation::Runs),
                keypoints,
            });
        }
    }

    /// The classes of its objects.
    pub fn categories(&self) -> impl Iterator<Item = i64> {
        self.objects.iter().map(|object| object.category)
    }
}

fn name_of(names: [&str; 2], place: &RecordPlace) -> String {
    match names.into_iter().find(|name| !name.is_empty()) {
        Some(name) => name.to_owned(),
        None => format!("record {}", place.number),
    }
}

/// The names of the images of a file, as [`Example::name`] gives them, without looking at anything else in them.
///
/// # Errors
/// When the file cannot be opened. Each item is an error where a record is damaged or no example; after a damaged one there are no more.
pub fn read_names(
    path: &Path,
) -> Result<impl Iterator<Item = Result<(RecordPlace, String), ReadError>> + use<>, ReadError> {
    let records = Records::open(path)?;
    Ok(records.map(|record| {
        let (place, bytes) = record?;
        let features = Features::read(&place, &bytes)?;
        let file_name = features.text("image/filename")?;
        let source_id = features.text("image/source_id")?;
        let name = name_of([&file_name, &source_id], &place);
        Ok((place, name))
    }))
}

/// The file of the image in a record: `image/encoded`.
///
/// # Errors
/// When the record is no `tf.train.Example`, or has no image.
pub fn read_image(place: &RecordPlace, record: &[u8]) -> Result<Vec<u8>, ReadError> {
    let features = Features::read(place, record)?;
    match features.bytes(ENCODED)?.first() {
        Some(bytes) if !bytes.is_empty() => Ok(bytes.to_vec()),
        _ => features.wrong(ENCODED, "is missing: there is no image in the record"),
    }
}

/// The images of a file, one by one.
///
/// # Errors
/// When the file cannot be opened. Each item is an error where a record is damaged or no example; after a damaged one there are no more.
pub fn read_examples(
    path: &Path,
    labels: Option<Labels>,
) -> Result<impl Iterator<Item = Result<Example, ReadError>> + use<>, ReadError> {
    let records = Records::open(path)?;
    Ok(records.map(move |record| {
        let (place, bytes) = record?;
        Example::parse(place, &bytes, labels.as_ref())
    }))
}

/// Reads the annotations of files, without the images. Images have numbers from 1 in the order of the records.
///
/// # Errors
/// When a file cannot be read, and when a record does not say the size of its image.
pub fn read_dataset(paths: &[&Path], labels: Option<&Labels>) -> Result<Dataset, ReadError> {
    let mut dataset = Dataset::default();
    for path in paths {
        for example in read_examples(path, labels.cloned())? {
            let example = example?;
            let size = example.size.ok_or_else(|| {
                let problem = "`image/width` and `image/height` are missing";
                example.place.error(problem)
            })?;
            let number = next_id(dataset.images.len());
            example.add_to(&mut dataset, number, size);
        }
    }
    dataset.set_categories(labels);
    Ok(dataset)
}
