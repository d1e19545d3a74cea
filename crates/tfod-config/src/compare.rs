//! What differs between two configs, by meaning: field by field, with absent fields at their defaults, and lists aligned.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage, Value};

use crate::PipelineConfig;
use crate::text::{print, scalar_text};

/// Lists longer than this are compared item by item, not aligned, which takes time with the square of their length.
const MAX_ALIGNED: usize = 512;

/// A difference between two configs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The field: `model.ssd.num_classes`, `train_config.data_augmentation_options[2].random_crop_image`. Where an item's place in the list
    /// differs, both: `[2->3]`.
    pub path: String,
    /// What the first config says; `None` where it says nothing and there is no default.
    pub from: Option<Setting>,
    /// What the second config says.
    pub to: Option<Setting>,
}

/// What a config says of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// In the text format, on one line.
    pub text: String,
    /// Whether it is the schema's default, the config saying nothing.
    pub is_default: bool,
}

impl PipelineConfig {
    /// What differs in `other`. A field that is absent in one and set to its default in the other does not.
    pub fn changes(&self, other: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        messages("", self.fields(), other.fields(), &mut changes);
        changes
    }
}

fn messages(path: &str, from: &DynamicMessage, to: &DynamicMessage, out: &mut Vec<Change>) {
    for field in from.descriptor().fields() {
        if !from.has_field(&field) && !to.has_field(&field) {
            continue;
        }
        let path = if path.is_empty() {
            field.name().to_owned()
        } else {
            format!("{path}.{}", field.name())
        };
        let (a, b) = (from.get_field(&field), to.get_field(&field));
        match (a.as_ref(), b.as_ref()) {
            (Value::List(a), Value::List(b)) => lists(&path, &field, a, b, out),
            (Value::Map(a), Value::Map(b)) => {
                let mut keys: Vec<&MapKey> = a.keys().chain(b.keys()).collect();
                keys.sort();
                keys.dedup();
                let Kind::Message(entry) = field.kind() else {
                    continue;
                };
                let of = entry.map_entry_value_field();
                for key in keys {
                    let name = scalar_text(&entry.map_entry_key_field(), &key.clone().into());
                    let path = format!("{path}[{name}]");
                    items(&path, &of, a.get(key), b.get(key), out);
                }
            }
            (a, b) if is_message(&field) => {
                let set =
                    |value, message: &DynamicMessage| message.has_field(&field).then_some(value);
                items(&path, &field, set(a, from), set(b, to), out);
            }
            (a, b) => {
                let setting = |value, message: &DynamicMessage| Setting {
                    text: scalar_text(&field, value),
                    is_default: !message.has_field(&field),
                };
                let (a, b) = (setting(a, from), setting(b, to));
                if a.text != b.text {
                    out.push(Change {
                        path,
                        from: Some(a),
                        to: Some(b),
                    });
                }
            }
        }
    }
}

fn is_message(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), Kind::Message(_))
}

/// A value on one line.
fn text(field: &FieldDescriptor, value: &Value) -> String {
    match value {
        Value::Message(message) => {
            let text = print(message);
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            format!("{{ {} }}", lines.join(" "))
        }
        scalar => scalar_text(field, scalar),
    }
}

/// One message or item, which either side may lack.
fn items(
    path: &str,
    field: &FieldDescriptor,
    from: Option<&Value>,
    to: Option<&Value>,
    out: &mut Vec<Change>,
) {
    if let (Some(Value::Message(from)), Some(Value::Message(to))) = (from, to) {
        return messages(path, from, to, out);
    }
    let setting = |value: &Value| Setting {
        text: text(field, value),
        is_default: false,
    };
    let (from, to) = (from.map(setting), to.map(setting));
    if from != to {
        out.push(Change {
            path: path.to_owned(),
            from,
            to,
        });
    }
}

/// Lists of numbers and strings are one value; those of messages are aligned, so that an item put in between is one difference.
fn lists(path: &str, field: &FieldDescriptor, from: &[Value], to: &[Value], out: &mut Vec<Change>) {
    let texts = |values: &[Value]| -> Vec<String> {
        values.iter().map(|value| text(field, value)).collect()
    };
    let (a, b) = (texts(from), texts(to));
    if a == b {
        return;
    }
    if !is_message(field) {
        let setting = |texts: Vec<String>| Setting {
            text: format!("[{}]", texts.join(", ")),
            is_default: false,
        };
        out.push(Change {
            path: path.to_owned(),
            from: Some(setting(a)),
            to: Some(setting(b)),
        });
        return;
    }
    let mut ends = equal_items(&a, &b);
    ends.push((a.len(), b.len()));
    let (mut i, mut j) = (0, 0);
    for (next_i, next_j) in ends {
        // What is between two equal items differs; the first of it here is compared with the first of it there, and so on.
        while i < next_i || j < next_j {
            let x = from.get(i).filter(|_| i < next_i);
            let y = to.get(j).filter(|_| j < next_j);
            let at = match (x, y) {
                (Some(_), Some(_)) if i != j => format!("{path}[{i}->{j}]"),
                (Some(_), _) => format!("{path}[{i}]"),
                _ => format!("{path}[{j}]"),
            };
            items(&at, field, x, y, out);
            i += usize::from(x.is_some());
            j += usize::from(y.is_some());
        }
        i = next_i + 1;
        j = next_j + 1;
    }
}

/// The pairs of a longest common subsequence.
fn equal_items(a: &[String], b: &[String]) -> Vec<(usize, usize)> {
    if a.len() > MAX_ALIGNED || b.len() > MAX_ALIGNED {
        let same = a.iter().zip(b).enumerate().filter(|(_, (a, b))| a == b);
        return same.map(|(index, _)| (index, index)).collect();
    }
    // lengths[i][j]: of the longest one of a[i..] and b[j..].
    let mut lengths = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            lengths[i][j] = if a[i] == b[j] {
                lengths[i + 1][j + 1] + 1
            } else {
                lengths[i + 1][j].max(lengths[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while i < a.len() && j < b.len() {
        if a[i] == b[j] {
            pairs.push((i, j));
            i += 1;
            j += 1;
        } else if lengths[i + 1][j] >= lengths[i][j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(from: &str, to: &str) -> Vec<String> {
        let parse = |text: &str| {
            let parsed = PipelineConfig::parse("pipeline.config", text.as_bytes());
            parsed.expect(text).config
        };
        let show = |setting: Option<Setting>| match setting {
            None => "-".to_owned(),
            Some(Setting { text, is_default }) if is_default => format!("{text} (default)"),
            Some(Setting { text, .. }) => text,
        };
        parse(from)
            .changes(&parse(to))
            .into_iter()
            .map(|c| format!("{}: {} -> {}", c.path, show(c.from), show(c.to)))
            .collect()
    }

    #[test]
    fn fields_that_differ_are_named_by_their_path() {
        assert_eq!(
            changes(
                "model { ssd { num_classes: 90 } }",
                "model { ssd { num_classes: 3 } }"
            ),
            ["model.ssd.num_classes: 90 -> 3"]
        );
    }

    #[test]
    fn a_default_is_what_it_stands_for() {
        let of = |text: &str| {
            format!(
                "model {{ ssd {{ post_processing {{ batch_non_max_suppression {{ {text} }} }} }} }}"
            )
        };
        assert!(changes(&of(""), &of("iou_threshold: 0.6")).is_empty());
        assert_eq!(
            changes(&of(""), &of("iou_threshold: 0.5")),
            [
                "model.ssd.post_processing.batch_non_max_suppression.iou_threshold: 0.6 (default) -> 0.5"
            ]
        );
    }

    #[test]
    fn messages_that_one_side_lacks_are_whole() {
        let of = |text: &str| format!("model {{ ssd {{ image_resizer {{ {text} }} }} }}");
        assert_eq!(
            changes(
                &of("identity_resizer { }"),
                &of("fixed_shape_resizer { height: 8 }")
            ),
            [
                "model.ssd.image_resizer.fixed_shape_resizer: - -> { height: 8 }",
                "model.ssd.image_resizer.identity_resizer: {  } -> -",
            ]
        );
    }

    #[test]
    fn lists_are_aligned() {
        let of = |steps: &[&str]| {
            let step = |step: &&str| format!("data_augmentation_options {{ {step} }}");
            let steps: Vec<String> = steps.iter().map(step).collect();
            let steps = steps.join(" ");
            format!("train_config {{ {steps} }}")
        };
        let (flip, crop) = (
            "random_horizontal_flip { }",
            "random_crop_image { min_area: 0.5 }",
        );
        let gray = "random_rgb_to_gray { }";
        assert_eq!(
            changes(&of(&[flip, crop]), &of(&[flip, gray, crop])),
            ["train_config.data_augmentation_options[1]: - -> { random_rgb_to_gray { } }"]
        );
        assert_eq!(
            changes(
                &of(&[gray, flip, crop]),
                &of(&[flip, "random_crop_image { min_area: 0.25 }"])
            ),
            [
                "train_config.data_augmentation_options[0]: { random_rgb_to_gray { } } -> -",
                "train_config.data_augmentation_options[2->1].random_crop_image.min_area: 0.5 -> 0.25",
            ]
        );
        let scales = |list: &str| {
            format!(
                "model {{ ssd {{ anchor_generator {{ ssd_anchor_generator {{ scales: [{list}] }} }} }} }}"
            )
        };
        assert_eq!(
            changes(&scales("0.1, 0.2"), &scales("0.1, 0.3")),
            ["model.ssd.anchor_generator.ssd_anchor_generator.scales: [0.1, 0.2] -> [0.1, 0.3]"]
        );
    }
}
