//! What label maps say that a network depends on: the keypoints of a class. A configuration names the file; who asks for a network reads it and hands
//! over what it says, because architectures read no files.

use std::collections::HashMap;

use tfod_config::{LabelMap, protos};

/// The keypoints of one class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeypointClass {
    /// Its name, by which a configuration refers to it.
    pub name: String,
    /// Its id, from 1.
    pub id: i32,
    /// Its keypoints, in the order of the label map, which is that of the network's outputs.
    pub keypoints: Vec<Keypoint>,
}

/// A keypoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keypoint {
    /// Its id, from 0 over all classes together.
    pub id: i32,
    /// Its name.
    pub label: String,
}

/// The classes of a label map that have keypoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeypointLabels {
    /// The label map, for errors.
    pub origin: String,
    /// In the order of the label map.
    pub classes: Vec<KeypointClass>,
}

impl KeypointLabels {
    /// The classes of a label map that have keypoints; errors call the label map `origin`.
    pub fn of(origin: impl Into<String>, labels: &LabelMap) -> Self {
        let classes = labels.items().iter().filter(|i| !i.keypoints.is_empty());
        let classes = classes.map(|item| KeypointClass {
            name: item.name().to_owned(),
            id: item.id(),
            keypoints: keypoints(item),
        });
        Self {
            origin: origin.into(),
            classes: classes.collect(),
        }
    }

    /// Classes of these names that have so many keypoints, with numbers for names; ids are consecutive over all of them.
    pub fn counted<'a>(
        origin: impl Into<String>,
        classes: impl IntoIterator<Item = (&'a str, usize)>,
    ) -> Self {
        let mut ids = 0..;
        let mut keypoints = |count| {
            let ids = ids.by_ref().take(count);
            let keypoints = ids.map(|id: i32| Keypoint {
                id,
                label: id.to_string(),
            });
            keypoints.collect()
        };
        let classes = (1..).zip(classes);
        let classes = classes.map(|(id, (name, count))| KeypointClass {
            name: name.to_owned(),
            id,
            keypoints: keypoints(count),
        });
        Self {
            origin: origin.into(),
            classes: classes.collect(),
        }
    }

    /// The classes by their names; of several with one name, the last, as in the reference.
    pub(crate) fn by_name(&self) -> HashMap<&str, &KeypointClass> {
        let classes = self.classes.iter();
        classes.map(|class| (class.name.as_str(), class)).collect()
    }

    /// The names of the first classes, for errors.
    pub(crate) fn names(&self) -> String {
        const MOST: usize = 20;
        if self.classes.is_empty() {
            return String::from("there is none");
        }
        let names = self.classes.iter().map(|class| format!("{:?}", class.name));
        let names = names.take(MOST).collect::<Vec<_>>().join(", ");
        match self.classes.len().saturating_sub(MOST) {
            0 => names,
            more => format!("{names} and {more} more"),
        }
    }
}

fn keypoints(item: &protos::StringIntLabelMapItem) -> Vec<Keypoint> {
    let keypoints = item.keypoints.iter().map(|keypoint| Keypoint {
        id: keypoint.id(),
        label: keypoint.label().to_owned(),
    });
    keypoints.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn classes_with_keypoints_are_taken_in_order() {
        let text = "item { id: 1 name: 'a' } \
            item { id: 3 name: 'b' keypoints { id: 2 label: 'tail' } keypoints { id: 0 label: 'nose' } } \
            item { id: 2 name: 'b' display_name: 'c' keypoints { id: 5 label: 'ear' } }";
        let labels = LabelMap::parse("map", text.as_bytes()).unwrap();
        let labels = KeypointLabels::of("map", &labels);
        let ids: Vec<i32> = labels.classes.iter().map(|class| class.id).collect();
        assert_eq!(ids, [3, 2]);
        let first: Vec<&str> = labels.classes[0]
            .keypoints
            .iter()
            .map(|keypoint| keypoint.label.as_str())
            .collect();
        assert_eq!(first, ["tail", "nose"]);
        let by_name = labels.by_name();
        assert_eq!(by_name.get("b").map(|class| class.id), Some(2));
        assert_eq!(by_name.get("a"), None);
        assert_eq!(labels.names(), "\"b\", \"b\"");
    }

    #[test]
    fn only_the_first_of_many_classes_are_named() {
        let named = |count: i32| {
            let items = (1..=count)
                .map(|id| format!("item {{ id: {id} name: '{id}' keypoints {{ label: 'a' }} }} "));
            let labels = LabelMap::parse("map", items.collect::<String>().as_bytes()).unwrap();
            KeypointLabels::of("map", &labels).names()
        };
        assert_eq!(named(0), "there is none");
        assert!(named(20).ends_with("\"20\""));
        assert!(named(23).ends_with("\"20\" and 3 more"));
    }
}
