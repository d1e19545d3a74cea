//! Every field of the message of a meta-architecture and of all that it contains is classified in `src/meta/NAME/fields.tsv`, and is what the table says:
//!
//! - `honoured`: setting it, and nothing else, changes the graph; or is an error that names it; or makes a configuration possible that was none, where it must agree
//!   with others. What is in a message is looked at field by field: one is honoured where a field of it is, and tried itself where none is;
//! - `irrelevant`: setting it changes nothing, because it concerns training only or is not read by the reference; so are all fields below it;
//! - `refused`: setting it is an error that names it.
//!
//! `given` is what else the message has to have for the field to mean something, on top of a small FPNLite or, after the word CLASSIC, of an SSD without a pyramid, of a small CenterNet or of a small Faster R-CNN; `set`
//! is what is set, where that is not derived from the field's type; `a => b` are the message without and with it, where it needs company.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::collections::{HashMap, HashSet, VecDeque};

use common::{Vary, center_net, detector, faster_rcnn, keypoint_labels};
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, Value};
use tfod_config::protos::{self, FILE_DESCRIPTOR_SET};
use tfod_models::meta::describe;
use tfod_models::{GraphOptions, KeypointLabels, ModelError, build};

/// The fields of one meta-architecture.
struct Table {
    text: &'static str,
    /// Its message.
    message: &'static str,
    /// The graph of a detector whose message has this text besides.
    graph: fn(&str) -> Result<String, ModelError>,
}

const CENTER_NET: Table = Table {
    text: include_str!("../src/meta/center_net/fields.tsv"),
    message: "CenterNet",
    graph: |text| graph(&center_net(text)),
};

const TABLES: [Table; 3] = [
    Table {
        text: include_str!("../src/meta/ssd/fields.tsv"),
        message: "Ssd",
        graph: ssd,
    },
    CENTER_NET,
    Table {
        text: include_str!("../src/meta/faster_rcnn/fields.tsv"),
        message: "FasterRcnn",
        graph: |text| graph(&faster_rcnn(text)),
    },
];

const PACKAGE: &str = "object_detection.protos.";

struct Row {
    class: &'static str,
    given: &'static str,
    set: &'static str,
}

/// The table, by the field's full name in the package.
fn rows(table: &Table) -> HashMap<String, Row> {
    let mut rows = HashMap::new();
    for line in table.text.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let &[message, field, class, given, set, _] = columns.as_slice() else {
            panic!("not six columns: {line}");
        };
        let row = Row { class, given, set };
        let name = format!("{message}.{field}");
        assert!(rows.insert(name, row).is_none(), "twice: {line}");
    }
    rows
}

/// A field, and the names of the fields that lead to its message from that of the meta-architecture.
struct Reached {
    name: String,
    field: FieldDescriptor,
    path: Vec<String>,
}

impl Reached {
    /// What its message has before the field is set, and after.
    fn set(&self, row: &Row) -> (String, String) {
        match row.set.split_once("=>") {
            Some((before, after)) => (before.to_owned(), after.to_owned()),
            None if row.set.is_empty() => (String::new(), other_value(&self.field)),
            None => (String::new(), row.set.to_owned()),
        }
    }

    /// The text of a message in which the field's message is there, with this in it.
    fn text(&self, row: &Row, set: String) -> String {
        let outer = self.path.iter().rev();
        let text = outer.fold(set, |inner, name| format!("{name} {{ {inner} }}"));
        format!("{} {text}", row.given)
    }
}

/// The field with a value that is not its default.
fn other_value(field: &FieldDescriptor) -> String {
    let name = field.name();
    let value = match (field.kind(), field.default_value()) {
        (Kind::Message(_), _) => return format!("{name} {{}}"),
        (_, Value::Bool(default)) => (!default).to_string(),
        (_, Value::I32(default)) => (default + 1).to_string(),
        (_, Value::U32(default)) => (default + 1).to_string(),
        (_, Value::F32(default)) => (default * 1.5 + 0.25).to_string(),
        (_, Value::String(default)) => format!("'{default}x'"),
        (Kind::Enum(kind), Value::EnumNumber(default)) => {
            let mut others = kind.values().filter(|value| value.number() != default);
            others.next().unwrap().name().to_owned()
        }
        (Kind::Float, Value::List(_)) => String::from("0.75"),
        (Kind::Int32 | Kind::Uint32, Value::List(_)) => String::from("3"),
        (kind, default) => panic!("no other value for {name}: {kind:?}, {default:?}"),
    };
    format!("{name}: {value}")
}

/// All fields below the message of a meta-architecture but those of what is not honoured.
fn reached(table: &Table) -> Vec<Reached> {
    let rows = rows(table);
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let root = format!("{PACKAGE}{}", table.message);
    let root = pool.get_message_by_name(&root).unwrap();
    let mut seen = HashSet::from([root.full_name().to_owned()]);
    let mut messages = VecDeque::from([(root, Vec::new())]);
    let mut reached = Vec::new();
    while let Some((message, path)) = messages.pop_front() {
        for field in message.fields() {
            let name = field.full_name().trim_start_matches(PACKAGE).to_owned();
            let class = rows.get(&name).map(|row| row.class);
            let inner = match field.kind() {
                Kind::Message(entry) if field.is_map() => {
                    match entry.map_entry_value_field().kind() {
                        Kind::Message(value) => {
                            Some((value, vec![field.name().to_owned(), "value".into()]))
                        }
                        _ => None,
                    }
                }
                Kind::Message(inner) => Some((inner, vec![field.name().to_owned()])),
                _ => None,
            };
            if let (Some((inner, steps)), Some("honoured")) = (inner, class)
                && seen.insert(inner.full_name().to_owned())
            {
                messages.push_back((inner, path.iter().cloned().chain(steps).collect()));
            }
            reached.push(Reached {
                name,
                field,
                path: path.clone(),
            });
        }
    }
    reached
}

/// What is in the label map that a configuration names.
fn labels(config: &protos::DetectionModel) -> Option<KeypointLabels> {
    let named = describe(config)?.keypoint_labels?;
    let mut labels = keypoint_labels();
    match named.file {
        "" => return None,
        "map" => {}
        "one_keypoint" => labels
            .classes
            .iter_mut()
            .for_each(|c| c.keypoints.truncate(1)),
        other => panic!("no label map {other}"),
    }
    Some(labels)
}

fn graph(config: &protos::DetectionModel) -> Result<String, ModelError> {
    let mut options = GraphOptions::default();
    options.keypoint_labels = labels(config);
    build(config, &options).map(|model| model.graph.to_string())
}

fn ssd(ssd: &str) -> Result<String, ModelError> {
    let classic = ssd.strip_prefix("CLASSIC");
    let vary = Vary {
        ssd: classic.unwrap_or(ssd),
        classic: classic.is_some(),
        ..Vary::default()
    };
    graph(&detector(vary))
}

fn assert_all_classified(table: &Table) {
    let mut rows = rows(table);
    let unclassified: Vec<String> = reached(table)
        .into_iter()
        .map(|field| field.name)
        .filter(|name| rows.remove(name).is_none())
        .collect();
    assert_eq!(unclassified, Vec::<String>::new(), "not in the table");
    let stale: Vec<_> = rows.into_keys().collect();
    assert_eq!(
        stale,
        Vec::<String>::new(),
        "in the table, but no field of the message"
    );
}

#[test]
fn every_field_is_classified_once_and_no_other() {
    TABLES.iter().for_each(assert_all_classified);
}

/// Whether a field is a message of which a field is honoured, or refused.
fn has_honoured_fields(field: &FieldDescriptor, rows: &HashMap<String, Row>) -> bool {
    let message = match field.kind() {
        Kind::Message(entry) if field.is_map() => entry.map_entry_value_field().kind(),
        kind => kind,
    };
    let Kind::Message(message) = message else {
        return false;
    };
    message.fields().any(|inner| {
        let name = inner.full_name().trim_start_matches(PACKAGE);
        rows.get(name).is_some_and(|row| row.class != "irrelevant")
    })
}

/// What is wrong with what a table says of a field; `None` where that is right.
fn wrong(table: &Table, rows: &HashMap<String, Row>, field: &Reached) -> Option<String> {
    let name = &field.name;
    let row = &rows[name];
    let (before, after) = field.set(row);
    let text = field.text(row, after);
    let before = (table.graph)(&field.text(row, before));
    let after = (table.graph)(&text);
    let is_right = match (row.class, &before, &after) {
        ("honoured", ..) if has_honoured_fields(&field.field, rows) => true,
        ("honoured", before, Ok(after)) => before.as_ref() != Ok(after),
        // Refused, or honoured in that only some values are taken.
        ("refused", _, Err(error)) | ("honoured", Ok(_), Err(error)) => {
            error.to_string().contains(field.field.name())
        }
        ("irrelevant", before, after) => before == after,
        _ => false,
    };
    (!is_right).then(|| {
        format!(
            "{} {name} `{text}`: before {:?}, after {:?}",
            row.class,
            before.err(),
            after.err()
        )
    })
}

fn all_wrong(table: &Table) -> Vec<String> {
    let rows = rows(table);
    let reached = reached(table);
    let wrong = reached.iter().map(|field| wrong(table, &rows, field));
    wrong.flatten().collect()
}

#[test]
fn every_field_is_what_the_table_says() {
    let wrong: Vec<String> = TABLES.iter().flat_map(all_wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Fields of all kinds that are called what they are not.
#[test]
fn what_a_table_says_wrongly_is_found() {
    let reached = reached(&CENTER_NET);
    for (name, right, wrongly) in [
        (
            "CenterNet.ObjectDetection.localization_loss",
            "irrelevant",
            "honoured",
        ),
        (
            "CenterNet.ObjectDetection.task_loss_weight",
            "irrelevant",
            "honoured",
        ),
        (
            "CenterNet.keypoint_label_map_path",
            "honoured",
            "irrelevant",
        ),
        ("CenterNet.temporal_offset_task", "honoured", "irrelevant"),
        ("CenterNet.output_prediction_dict", "refused", "irrelevant"),
    ] {
        let field = reached.iter().find(|field| field.name == name).unwrap();
        let mut rows = rows(&CENTER_NET);
        assert_eq!(wrong(&CENTER_NET, &rows, field), None, "{name}");
        let row = rows.get_mut(name).unwrap();
        assert_eq!(row.class, right, "{name}");
        row.class = wrongly;
        assert!(wrong(&CENTER_NET, &rows, field).is_some(), "{name}");
    }
}
