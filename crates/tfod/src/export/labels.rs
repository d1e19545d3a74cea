//! Class names beside the graph, as assets of the SavedModel, in two forms: `labels.txt` for programs that read lines, and the label map for those of the
//! Object Detection API. `tf.saved_model.load(…)` has their paths as `labels` and `label_map`.

use tfod_config::LabelMap;
use tfod_tensorflow::Asset;

/// What stands for a class without a name, as in the label files of TensorFlow's mobile examples.
const NO_NAME: &str = "???";

/// The largest id that has a line: `labels.txt` has as many.
const MOST_LINES: i32 = 1 << 20;

/// The assets that hold these class names.
pub(super) fn assets(labels: &LabelMap) -> Vec<Asset> {
    let asset = |name: &str, file_name: &str, text: String| Asset {
        name: name.to_owned(),
        file_name: file_name.to_owned(),
        contents: text.into_bytes(),
    };
    vec![
        asset("labels", "labels.txt", lines(labels)),
        asset("label_map", "label_map.pbtxt", labels.to_text()),
    ]
}

/// One name a line; the number of the line, from 1, is the class id.
fn lines(labels: &LabelMap) -> String {
    let names = labels.class_names();
    let most = names
        .range(..=MOST_LINES)
        .next_back()
        .map_or(0, |(id, _)| *id);
    let mut text = String::new();
    for id in 1..=most {
        let name = names.get(&id).copied().filter(|name| !name.is_empty());
        // A line break within a name would shift those after it.
        let words: Vec<&str> = name.unwrap_or(NO_NAME).split_whitespace().collect();
        text.push_str(&words.join(" "));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_line_is_the_class_id() {
        let text = "item { id: 4 name: 'd' display_name: 'two\\nlines' } item { id: 1 name: 'a' } item { id: 2000000 name: 'z' }";
        let labels = LabelMap::parse("labels", text.as_bytes()).expect("a label map");
        assert_eq!(lines(&labels), "a\n???\n???\ntwo lines\n");
        let [lines, map] = assets(&labels).try_into().expect("two assets");
        assert_eq!(lines.file_name, "labels.txt");
        let again = LabelMap::parse("again", &map.contents).expect("a label map");
        assert_eq!(again.class_names(), labels.class_names());
    }
}
