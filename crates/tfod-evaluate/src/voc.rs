//! Pascal VOC's annotations: a file of XML for each image.
//!
//! Boxes are taken as they are written, without the pixel by which VOC's own program widens them, as the Object Detection API's conversion to TFRecords
//! does. Objects marked as difficult are objects like others: that conversion keeps them, and average precision as COCO defines it knows no such mark.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use roxmltree::{Document, Node, ParsingOptions};
use tfod_text::Shown;

use crate::dataset::{Annotation, Dataset, Image, Labels};
use crate::error::{ReadError, read_file};

/// The largest file of XML that is read: outlines of crowded images take a few hundred kilobytes.
const LARGEST_FILE: u64 = 16 << 20;
/// The most elements, attributes and texts of a file.
const MOST_NODES: u32 = 1 << 20;
/// Where VOC's own folders have them.
const ANNOTATIONS: &str = "Annotations";

/// Whether a folder has annotations of this form: files of XML in it, or in its `Annotations`.
pub fn is_folder(folder: &Path) -> bool {
    files(folder).is_ok_and(|files| !files.is_empty())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let inner = folder.join(ANNOTATIONS);
    let folder = if inner.is_dir() { &inner } else { folder };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| ReadError::io(folder, &error))? {
        let path = entry.map_err(|error| ReadError::io(folder, &error))?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if extension.is_some_and(|extension| extension.eq_ignore_ascii_case("xml")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads the annotations of a folder. Images have numbers from 1 in order of the files' names.
///
/// Classes have the numbers that `labels` gives their names, and without that numbers from 1 in order of their names.
///
/// # Errors
/// When there is no file of XML, when one cannot be read or is not of this form, and when a class is not among `labels`.
pub fn read_folder(folder: &Path, labels: Option<&Labels>) -> Result<Dataset, ReadError> {
    let files = files(folder)?;
    if files.is_empty() {
        let problem = format!(
            "no annotations of Pascal VOC: expected files `*.xml` here or in `{ANNOTATIONS}`"
        );
        return Err(ReadError::new(folder, "", problem));
    }
    let mut dataset = Dataset::default();
    // Names first, since numbers depend on all of them.
    let mut objects: Vec<(Object, i64)> = Vec::new();
    let mut names = BTreeSet::new();
    for (number, path) in (1..).zip(&files) {
        let (image, found) = read(path, number)?;
        dataset.images.push(image);
        for object in found {
            if let Some(labels) = labels
                && !labels.contains_key(&object.name)
            {
                let problem = format!(
                    "the class `{}` is not among those of the label map",
                    object.name.shown()
                );
                return Err(ReadError::new(
                    path,
                    format!("line {}", object.line),
                    problem,
                ));
            }
            names.insert(object.name.clone());
            objects.push((object, number));
        }
    }
    let numbered: Labels = names.into_iter().zip(1..).collect();
    let numbers = labels.unwrap_or(&numbered);
    dataset.set_categories(Some(numbers));
    for (id, (object, image)) in (1..).zip(objects) {
        let [_, _, width, height] = object.bbox;
        let category = numbers.get(&object.name).copied();
        dataset.annotations.push(Annotation {
            id,
            image,
            // Each name was found above.
            category: category.unwrap_or_default(),
            bbox: object.bbox,
            area: width * height,
            crowd: false,
            difficult: object.difficult,
            segmentation: None,
            keypoints: None,
        });
    }
    let difficult = dataset.annotations.iter();
    let difficult = difficult.filter(|annotation| annotation.difficult).count();
    if difficult > 0 {
        dataset.notes.push(format!(
            "{difficult} objects are marked as difficult: they count as others, as in the Object Detection API's evaluation"
        ));
    }
    Ok(dataset)
}

struct Object {
    name: String,
    line: u32,
    bbox: [f64; 4],
    difficult: bool,
}

/// A file, for errors that say a line.
struct File<'a> {
    path: &'a Path,
    document: &'a Document<'a>,
}

impl File<'_> {
    fn line(&self, node: Node) -> u32 {
        self.document.text_pos_at(node.range().start).row
    }

    fn problem<T>(&self, node: Node, problem: impl Into<String>) -> Result<T, ReadError> {
        let place = format!("line {}", self.line(node));
        Err(ReadError::new(self.path, place, problem))
    }

    fn child<'b>(&self, node: Node<'b, 'b>, name: &str) -> Result<Node<'b, 'b>, ReadError> {
        if let Some(child) = child(node, name) {
            return Ok(child);
        }
        let parent = node.tag_name().name().shown();
        self.problem(node, format!("`{parent}` has no `{name}`"))
    }

    fn number<T: std::str::FromStr>(&self, node: Node) -> Result<T, ReadError> {
        let (name, text) = (node.tag_name().name(), text(node));
        text.parse().or_else(|_| {
            let (name, text) = (name.shown(), text.shown());
            self.problem(node, format!("`{name}` is `{text}`, expected a number"))
        })
    }
}

fn child<'a>(node: Node<'a, 'a>, name: &str) -> Option<Node<'a, 'a>> {
    node.children().find(|child| child.has_tag_name(name))
}

fn text<'a>(node: Node<'a, 'a>) -> &'a str {
    node.text().unwrap_or_default().trim()
}

fn read(path: &Path, number: i64) -> Result<(Image, Vec<Object>), ReadError> {
    let bytes = read_file(path, LARGEST_FILE)?;
    let source = std::str::from_utf8(&bytes).map_err(|error| {
        let place = format!("byte {}", error.valid_up_to());
        ReadError::new(path, place, "no UTF-8: write the file in that encoding")
    })?;
    let source = source.trim_start_matches('\u{feff}');
    let options = ParsingOptions {
        // Entities that are defined in a file can make it grow without limit.
        allow_dtd: false,
        nodes_limit: MOST_NODES,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(source, options).map_err(|error| {
        let place = format!("line {}", error.pos().row);
        let error = error.to_string();
        // The place stands before the problem already.
        let error = error
            .rsplit_once(" at ")
            .map_or(&*error, |(error, _)| error);
        ReadError::new(path, place, format!("no XML that can be read: {error}"))
    })?;
    let file = File {
        path,
        document: &document,
    };
    let root = document.root_element();
    if !root.has_tag_name("annotation") {
        let found = root.tag_name().name().shown();
        return file.problem(root, format!("expected an `annotation`, found `{found}`"));
    }
    let stem = || {
        path.file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
    };
    let file_name = child(root, "filename").map(text);
    let file_name = file_name.filter(|name| !name.is_empty()).map(str::to_owned);
    let size = match child(root, "size") {
        None => None,
        Some(size) => {
            let side = |name| file.number::<u32>(file.child(size, name)?);
            Some((side("width")?, side("height")?))
        }
    };
    let image = Image {
        id: number,
        file_name: file_name.or_else(stem).unwrap_or_default(),
        // Some programs write 0 for what they do not know.
        size: size.filter(|&(width, height)| width > 0 && height > 0),
    };
    let objects = root.children().filter(|node| node.has_tag_name("object"));
    let objects = objects.map(|node| object(&file, node));
    Ok((image, objects.collect::<Result<_, _>>()?))
}

fn object<'a>(file: &File<'a>, node: Node<'a, 'a>) -> Result<Object, ReadError> {
    let name = file.child(node, "name")?;
    let bounds = file.child(node, "bndbox")?;
    let side = |name: &str| -> Result<f64, ReadError> {
        let side = file.child(bounds, name)?;
        let value: f64 = file.number(side)?;
        if !value.is_finite() {
            return file.problem(side, format!("`{name}` is not finite"));
        }
        Ok(value)
    };
    let (left, top) = (side("xmin")?, side("ymin")?);
    let (right, bottom) = (side("xmax")?, side("ymax")?);
    if right < left || bottom < top {
        return file.problem(
            bounds,
            format!(
                "the box from {left}, {top} to {right}, {bottom} ends before it begins: correct it, or remove the object"
            ),
        );
    }
    let difficult = match child(node, "difficult") {
        None => 0,
        Some(difficult) => file.number::<i64>(difficult)?,
    };
    Ok(Object {
        name: text(name).to_owned(),
        line: file.line(node),
        bbox: [left, top, right - left, bottom - top],
        difficult: difficult != 0,
    })
}
