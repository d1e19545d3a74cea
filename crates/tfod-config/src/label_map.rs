//! Label maps: the message `StringIntLabelMap`, which names classes and their keypoints.
//!
//! Ids are checked as the reference's `label_map_util` checks them when it loads the file, keypoints when they are asked
//! for.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use prost_reflect::DynamicMessage;

use tfod_text::Shown;

use crate::text::{self, SourceText};
use crate::{ConfigError, Problem, files, protos};

/// The name that id 0 is reserved for.
const BACKGROUND: &str = "background";

/// A label map whose ids are valid.
#[derive(Debug, Clone)]
pub struct LabelMap {
    origin: String,
    text: String,
    /// The bytes of each item in `text`.
    spans: Vec<Range<usize>>,
    fields: DynamicMessage,
    message: protos::StringIntLabelMap,
}

impl LabelMap {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or is no label map's size; else as [`parse`](Self::parse).
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let bytes = files::read(path, "label map")?;
        Self::parse(&path.shown().to_string(), &bytes)
    }

    /// Reads a label map from the content of a file; errors name it `origin`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Text`] with the place, for a text that does not fit the schema, an item with a negative id or that of
    /// an earlier item, or one with id 0 (or none) of which neither name is `background`.
    pub fn parse(origin: &str, bytes: &[u8]) -> Result<Self, ConfigError> {
        let source = SourceText::decode(origin, bytes)?;
        let mut fields = DynamicMessage::new(protos::descriptor("StringIntLabelMap"));
        let merged = text::merge(source, &mut fields, &[])
            .map_err(|diagnostic| source.problem_of_file(diagnostic))?;
        let spans = merged.blocks;
        let message: protos::StringIntLabelMap =
            fields
                .transcode_to()
                .map_err(|source| ConfigError::Schema {
                    origin: origin.to_owned(),
                    source,
                })?;
        let mut named: BTreeMap<i32, &str> = BTreeMap::new();
        for (item, span) in message.item.iter().zip(&spans) {
            let earlier = named.insert(item.id(), name(item));
            let duplicate = earlier.map(|first| Problem::DuplicateId {
                id: item.id(),
                first: first.to_owned(),
                second: name(item).to_owned(),
            });
            if let Some(problem) = id_problem(item).or(duplicate) {
                return Err(source.diagnostic(span.clone(), problem).into());
            }
        }
        Ok(Self {
            origin: origin.to_owned(),
            text: source.text.to_owned(),
            spans,
            fields,
            message,
        })
    }

    /// The items in the order of the file.
    pub fn items(&self) -> &[protos::StringIntLabelMapItem] {
        &self.message.item
    }

    /// The id of a class that has this display name or name.
    ///
    /// # Errors
    /// Where there is none: the names that are spelled nearly so.
    pub fn class_id(&self, name: &str) -> Result<i32, Vec<String>> {
        let mut items = self.items().iter().filter(|item| item.id() > 0);
        let found =
            items.find(|item| item.display_name.as_deref() == Some(name) || item.name() == name);
        found.map(protos::StringIntLabelMapItem::id).ok_or_else(|| {
            let names = self.class_names();
            text::suggest::nearest(name, names.into_values().filter(|name| !name.is_empty()))
        })
    }

    /// The class names by id, from 1: an item's display name where it has one, else its name.
    pub fn class_names(&self) -> BTreeMap<i32, &str> {
        let mut names = BTreeMap::new();
        for item in self.items().iter().filter(|item| item.id() > 0) {
            names.insert(item.id(), name(item));
        }
        names
    }

    /// The keypoint ids by label, of all classes together.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Text`] with the item's place, where two keypoints share a label or an id.
    pub fn keypoint_ids(&self) -> Result<BTreeMap<&str, i32>, ConfigError> {
        let mut ids = BTreeMap::new();
        let mut taken = BTreeSet::new();
        for (item, span) in self.items().iter().zip(&self.spans) {
            for keypoint in &item.keypoints {
                let label = keypoint.label();
                let problem = if ids.insert(label, keypoint.id()).is_some() {
                    Problem::DuplicateKeypointLabel {
                        label: label.to_owned(),
                    }
                } else if !taken.insert(keypoint.id()) {
                    Problem::DuplicateKeypointId {
                        label: label.to_owned(),
                        id: keypoint.id(),
                    }
                } else {
                    continue;
                };
                let source = SourceText {
                    origin: &self.origin,
                    text: &self.text,
                };
                return Err(source.diagnostic(span.clone(), problem).into());
            }
        }
        Ok(ids)
    }

    /// Prints the label map as the reference prints messages.
    pub fn to_text(&self) -> String {
        text::print(&self.fields)
    }
}

fn name(item: &protos::StringIntLabelMapItem) -> &str {
    item.display_name.as_deref().unwrap_or_else(|| item.name())
}

fn id_problem(item: &protos::StringIntLabelMapItem) -> Option<Problem> {
    if item.id() < 0 {
        Some(Problem::NegativeId { id: item.id() })
    } else if item.id() == 0 && item.name() != BACKGROUND && item.display_name() != BACKGROUND {
        Some(Problem::ReservedId {
            given: item.id.is_some(),
        })
    } else {
        None
    }
}
