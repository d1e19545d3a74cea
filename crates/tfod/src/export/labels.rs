//! Class names beside the graph, as assets of the SavedModel, in two forms: `labels.txt` for programs that read lines, and the label map for those of the
//! Object Detection API. `tf.saved_model.load(…)` has their paths as `labels` and `label_map`.

use tfod_config::LabelMap;
use tfod_tensorflow::Asset;

/// What stands for a class without a name, as in the label files of TensorFlow's mobile examples.
const NO_NAME: &str = "???";

/// The assets that hold the names of this many classes.
pub(super) fn assets(labels: &LabelMap, num_classes: u64) -> Vec<Asset> {
    let asset = |name: &str, file_name: &str, text: String| Asset {
        name: name.to_owned(),
        file_name: file_name.to_owned(),
        contents: text.into_bytes(),
    };
    vec![
        asset("labels", "labels.txt", lines(labels, num_classes)),
        asset("label_map", "label_map.pbtxt", labels.to_text()),
    ]
}

/// What the first line of a file of names is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// The name of class 1.
    Class,
    /// Nothing, because lines count from 0.
    Nothing,
    /// The background.
    Background,
}

/// The names of a model's classes.
#[derive(Clone, Copy)]
pub(super) struct ClassNames<'a> {
    pub(super) labels: &'a LabelMap,
    /// The classes of the model.
    pub(super) count: u64,
}

impl ClassNames<'_> {
    /// One name a line for every class of the model.
    pub(super) fn lines(&self, first: First) -> String {
        let head = match first {
            First::Class => String::new(),
            First::Nothing => format!("{NO_NAME}\n"),
            First::Background => "background\n".to_owned(),
        };
        head + &lines(self.labels, self.count)
    }
}

/// One name a line for every class of the model; the number of the line, from 1, is the class id.
fn lines(labels: &LabelMap, num_classes: u64) -> String {
    let names = labels.class_names();
    let mut text = String::new();
    for id in 1..=i32::try_from(num_classes).unwrap_or(i32::MAX) {
        let name = names.get(&id).copied().unwrap_or_default();
        // A line break within a name would shift those after it.
        let words: Vec<&str> = name.split_whitespace().collect();
        let line = words.join(" ");
        text.push_str(if line.is_empty() { NO_NAME } else { &line });
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_line_is_the_class_id() {
        let text = "item { id: 4 name: 'd' display_name: 'two\\nlines' } item { id: 1 name: 'a' } item { id: 5 name: ' ' } item { id: 2000000 name: 'z' }";
        let labels = LabelMap::parse("labels", text.as_bytes()).expect("a label map");
        assert_eq!(lines(&labels, 5), "a\n???\n???\ntwo lines\n???\n");
        let names = ClassNames {
            labels: &labels,
            count: 1,
        };
        assert_eq!(names.lines(First::Class), "a\n");
        assert_eq!(names.lines(First::Nothing), "???\na\n");
        assert_eq!(names.lines(First::Background), "background\na\n");
        let [lines, map] = assets(&labels, 5).try_into().expect("two assets");
        assert_eq!(lines.file_name, "labels.txt");
        let again = LabelMap::parse("again", &map.contents).expect("a label map");
        assert_eq!(again.class_names(), labels.class_names());
    }
}
