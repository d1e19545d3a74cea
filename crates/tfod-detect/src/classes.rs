//! What classes and keypoints are called: by the manifest of an export or the metadata of an ONNX model, or by a label map.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tfod_config::LabelMap;
use tfod_inspect::OnnxFacts;
use tfod_text::Shown;

/// How many names are shown where one is unknown.
const SHOWN: usize = 10;

/// Names of classes by their numbers, the first of which is 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassNames(BTreeMap<u32, String>);

impl ClassNames {
    /// Those of a label map.
    pub(crate) fn of_labels(labels: &LabelMap) -> Self {
        let names = labels.class_names().into_iter();
        let names = names.filter_map(|(id, name)| Some((u32::try_from(id).ok()?, name.to_owned())));
        Self(names.collect())
    }

    /// Those in the metadata of a model.
    pub(crate) fn of_metadata(facts: &OnnxFacts) -> Self {
        let labels = member(facts, "labels");
        let labels = labels.as_ref().and_then(Value::as_array);
        let names = labels.into_iter().flatten().filter_map(|label| {
            let id = u32::try_from(label.get("id")?.as_u64()?).ok()?;
            Some((id, label.get("name")?.as_str()?.to_owned()))
        });
        Self(names.filter(|(_, name)| !name.is_empty()).collect())
    }

    /// Numbers and names.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.0.iter().map(|(id, name)| (*id, &**name))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name of a class, if it has one.
    pub fn get(&self, id: u32) -> Option<&str> {
        self.0.get(&id).map(String::as_str)
    }

    /// What a class is called: its name, or `class 7`.
    pub fn name(&self, id: u32) -> String {
        self.get(id)
            .map_or_else(|| format!("class {id}"), str::to_owned)
    }

    /// The classes that are meant by names or numbers.
    ///
    /// # Errors
    ///
    /// For what is neither.
    pub(crate) fn meant(&self, given: &[String]) -> Result<BTreeSet<u32>, String> {
        let mut meant = BTreeSet::new();
        for one in given {
            let named = self.0.iter().filter(|(_, name)| *name == one);
            let named: Vec<u32> = named.map(|(id, _)| *id).collect();
            match (named.is_empty(), one.parse()) {
                (false, _) => meant.extend(named),
                (true, Ok(id)) => {
                    meant.insert(id);
                }
                (true, Err(_)) => return Err(self.unknown(one)),
            }
        }
        Ok(meant)
    }

    fn unknown(&self, given: &str) -> String {
        let given = given.shown();
        if self.is_empty() {
            return format!(
                "`{given}`: the model does not say what its classes are called; give the numbers of classes, or a label map"
            );
        }
        let names = self
            .0
            .values()
            .take(SHOWN)
            .map(|name| name.shown().to_string());
        let names: Vec<String> = names.collect();
        let more = if self.0.len() > SHOWN { ", …" } else { "" };
        format!(
            "`{given}`: no class has this name; there are {}{more}",
            names.join(", ")
        )
    }
}

/// What is known of a model's keypoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeypointNames {
    /// In the order of outputs; empty where they have none.
    pub names: Vec<String>,
    /// Pairs of keypoints, by their places, between which lines are drawn.
    pub edges: Vec<[usize; 2]>,
}

impl KeypointNames {
    pub(crate) fn of_metadata(facts: &OnnxFacts) -> Self {
        let names = member(facts, "keypoints");
        let names = names
            .as_ref()
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let names = names.map(|name| name.as_str().unwrap_or_default().to_owned());
        let edges = member(facts, "keypoint_edges");
        let edges = edges
            .as_ref()
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let place = |edge: &Value, end| usize::try_from(edge.get(end)?.as_u64()?).ok();
        Self {
            names: names.collect(),
            edges: edges
                .filter_map(|edge| Some([place(edge, 0)?, place(edge, 1)?]))
                .collect(),
        }
    }
}

/// A member of the manifest, as JSON in a model's metadata.
fn member(facts: &OnnxFacts, name: &str) -> Option<Value> {
    serde_json::from_str(facts.metadata.get(name)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> ClassNames {
        let mut facts = OnnxFacts::default();
        let labels = r#"[{"id":1,"name":"circle"},{"id":2,"name":"a, b"},{"id":7,"name":"9"},{"id":8},{"id":9,"name":""}]"#;
        facts
            .metadata
            .insert("labels".to_owned(), labels.to_owned());
        ClassNames::of_metadata(&facts)
    }

    #[test]
    fn classes_are_meant_by_name_or_number() {
        let names = names();
        let meant = |given: &[&str]| {
            let given: Vec<String> = given.iter().map(|one| (*one).to_owned()).collect();
            names.meant(&given)
        };
        assert_eq!(
            meant(&["circle", "2", "30"]),
            Ok(BTreeSet::from([1, 2, 30]))
        );
        // A name that is a number is a name first.
        assert_eq!(meant(&["9", "a, b"]), Ok(BTreeSet::from([7, 2])));
        let problem = meant(&["square"]).unwrap_err();
        assert_eq!(
            problem,
            "`square`: no class has this name; there are circle, a, b, 9"
        );
        let nothing = ClassNames::default().meant(&["square".to_owned()]);
        assert!(nothing.unwrap_err().contains("label map"));
        assert_eq!(
            (names.name(1), names.name(8)),
            ("circle".to_owned(), "class 8".to_owned())
        );
    }

    #[test]
    fn keypoints_have_names_and_edges() {
        let mut facts = OnnxFacts::default();
        let mut add =
            |key: &str, text: &str| facts.metadata.insert(key.to_owned(), text.to_owned());
        add("keypoints", r#"["nose", "eye"]"#);
        add("keypoint_edges", "[[0, 1], [1], [-1, 0], \"x\"]");
        let found = KeypointNames::of_metadata(&facts);
        assert_eq!(found.names, ["nose", "eye"]);
        assert_eq!(found.edges, [[0, 1]]);
        facts
            .metadata
            .insert("keypoints".to_owned(), "{".to_owned());
        assert_eq!(
            KeypointNames::of_metadata(&facts).names,
            Vec::<String>::new()
        );
    }
}
