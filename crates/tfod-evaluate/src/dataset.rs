//! Annotated images, and what a model detects on them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::mask::{MaskError, Rle};

/// A class of objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Category {
    /// Its number, as detections have it.
    pub id: i64,
    /// Its name.
    pub name: String,
}

/// The numbers of classes by their names.
pub type Labels = BTreeMap<String, i64>;

/// An image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its number, as annotations and detections have it.
    pub id: i64,
    /// The file, as the annotations call it: a name, or a path below a folder of images.
    pub file_name: String,
    /// Width and height, where the annotations say them. Only polygons need them.
    pub size: Option<(u32, u32)>,
}

/// The outline of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Segmentation {
    /// What one of these covers: x, y, x, y… in pixels.
    Polygons(Vec<Vec<f64>>),
    /// Pixels.
    Runs(Rle),
}

impl Segmentation {
    /// The pixels, in an image of this width and height.
    ///
    /// # Errors
    /// When a polygon is none, or the size of the image is not known.
    pub fn mask(&self, size: Option<(u32, u32)>) -> Result<Rle, MaskError> {
        match (self, size) {
            (Self::Runs(mask), _) => Ok(mask.clone()),
            (Self::Polygons(polygons), Some((width, height))) => {
                Rle::from_polygons(width, height, polygons)
            }
            (Self::Polygons(_), None) => Err(MaskError::without_size()),
        }
    }
}

/// The keypoints of an annotated object.
#[derive(Clone, Debug, PartialEq)]
pub struct Keypoints {
    /// Of each x, y in pixels, and 0 if it is not labelled, 1 if it is hidden, 2 if it is visible.
    pub points: Vec<[f64; 3]>,
    /// How many are labelled. An object without any does not count.
    pub labelled: u64,
}

/// An annotated object.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotation {
    /// Its number. By a quirk of `pycocotools`, a detection that matches number 0 counts as one that matches nothing; so it does here.
    pub id: i64,
    /// The number of its image.
    pub image: i64,
    /// The number of its class.
    pub category: i64,
    /// x and y of the upper left corner, width, height; in pixels.
    pub bbox: [f64; 4],
    /// In pixels; COCO's annotations have that of the outline.
    pub area: f64,
    /// It stands for several objects: detections within it count neither as right nor as wrong.
    pub crowd: bool,
    /// Pascal VOC's flag. Average precision as COCO defines it makes no difference of it.
    pub difficult: bool,
    /// The outline.
    pub segmentation: Option<Segmentation>,
    /// The keypoints.
    pub keypoints: Option<Keypoints>,
}

/// A detected object. It has a box, an outline or keypoints, or several of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// The number of the image.
    pub image: i64,
    /// The number of the class.
    pub category: i64,
    /// How sure the model is.
    pub score: f64,
    /// x and y of the upper left corner, width, height; in pixels.
    pub bbox: Option<[f64; 4]>,
    /// The outline.
    pub segmentation: Option<Segmentation>,
    /// Of each keypoint x, y in pixels, and a number that does not matter here.
    pub keypoints: Option<Vec<[f64; 3]>>,
}

/// Annotated images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dataset {
    /// The images.
    pub images: Vec<Image>,
    /// The classes.
    pub categories: Vec<Category>,
    /// The objects.
    pub annotations: Vec<Annotation>,
    /// What was read otherwise than it stands in the files, for the user to know.
    pub notes: Vec<String>,
}

impl Dataset {
    /// Leaves out all images but these, and what is in them.
    pub fn retain_images(&mut self, kept: &HashSet<i64>) {
        self.images.retain(|image| kept.contains(&image.id));
        self.annotations
            .retain(|annotation| kept.contains(&annotation.image));
    }

    /// Gives the classes the numbers that a model has for their names, so that its detections can be compared.
    ///
    /// # Errors
    /// A name that the model does not have, or a number that two classes would have.
    pub fn renumber(&mut self, numbers: &Labels) -> Result<(), UnknownClass> {
        let mut new = HashMap::new();
        let mut taken = HashSet::new();
        for category in &self.categories {
            let number = numbers.get(&category.name);
            let number = number.filter(|&&number| taken.insert(number));
            let number = number.ok_or_else(|| UnknownClass(category.name.clone()))?;
            new.insert(category.id, *number);
        }
        for category in &mut self.categories {
            if let Some(&number) = new.get(&category.id) {
                category.id = number;
            }
        }
        // An object of a class that is not listed counts for nothing, and must not become one of a class that is.
        self.annotations.retain_mut(|annotation| {
            let number = new.get(&annotation.category);
            if let Some(&number) = number {
                annotation.category = number;
            }
            number.is_some()
        });
        Ok(())
    }

    /// Lists the classes: those of a model, or those of the objects, whose names are their numbers then.
    pub fn set_categories(&mut self, labels: Option<&Labels>) {
        let named = |(name, &id): (&String, &i64)| Category {
            id,
            name: name.clone(),
        };
        let numbered = |id: i64| Category {
            id,
            name: id.to_string(),
        };
        self.categories = if let Some(labels) = labels {
            labels.iter().map(named).collect()
        } else {
            let found = self.annotations.iter().map(|object| object.category);
            let found: BTreeSet<i64> = found.collect();
            found.into_iter().map(numbered).collect()
        };
        self.categories.sort_by_key(|category| category.id);
    }

    /// Whether any object has an outline.
    pub fn has_masks(&self) -> bool {
        let mut annotations = self.annotations.iter();
        annotations.any(|annotation| annotation.segmentation.is_some())
    }

    /// How many keypoints objects have; `None` if none has any.
    pub fn keypoints(&self) -> Option<usize> {
        let mut annotations = self.annotations.iter();
        annotations.find_map(|annotation| Some(annotation.keypoints.as_ref()?.points.len()))
    }
}

/// A class of the annotations that the model does not have, or has for another class, too.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the annotations have the class `{}`, which is not among the classes of the model, or is there twice", tfod_text::Shown::shown(&*self.0))]
pub struct UnknownClass(pub String);
