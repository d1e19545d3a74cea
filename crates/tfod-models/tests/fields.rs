//! Every field of the `ssd` message and of all that it contains is classified in `src/meta/ssd/fields.tsv`, and is what the table says:
//!
//! - `honoured`: setting it changes the graph, or is an error;
//! - `irrelevant`: setting it changes nothing, because it concerns training only or is not read by the reference; so are all fields below it;
//! - `refused`: setting it is an error that names it.
//!
//! `given` is what else the `ssd` message has to have for the field to mean something; `set` is what is set, where that is not derived from the field's type.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::collections::{HashMap, HashSet, VecDeque};

use common::{Vary, detector};
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, Value};
use tfod_config::protos::FILE_DESCRIPTOR_SET;
use tfod_models::{GraphOptions, ModelError, build};

const TABLE: &str = include_str!("../src/meta/ssd/fields.tsv");
const PACKAGE: &str = "object_detection.protos.";

struct Row {
    class: &'static str,
    given: &'static str,
    set: &'static str,
}

/// The table, by the field's full name in the package.
fn table() -> HashMap<String, Row> {
    let mut rows = HashMap::new();
    for line in TABLE.lines().skip(1) {
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

/// A field, and the names of the fields that lead to its message from the `ssd` message.
struct Reached {
    name: String,
    field: FieldDescriptor,
    path: Vec<String>,
}

impl Reached {
    /// The text of an `ssd` message in which the field is set.
    fn text(&self, row: &Row) -> String {
        let set = if row.set.is_empty() {
            other_value(&self.field)
        } else {
            row.set.to_owned()
        };
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

/// All fields below the `ssd` message but those of what is not honoured.
fn reached() -> Vec<Reached> {
    let table = table();
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let ssd = pool.get_message_by_name(&format!("{PACKAGE}Ssd")).unwrap();
    let mut seen = HashSet::from([ssd.full_name().to_owned()]);
    let mut messages = VecDeque::from([(ssd, Vec::new())]);
    let mut reached = Vec::new();
    while let Some((message, path)) = messages.pop_front() {
        for field in message.fields() {
            let name = field.full_name().trim_start_matches(PACKAGE).to_owned();
            let class = table.get(&name).map(|row| row.class);
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

fn graph(ssd: &str) -> Result<String, ModelError> {
    let vary = Vary {
        ssd,
        ..Vary::default()
    };
    build(&detector(vary), &GraphOptions::default()).map(|model| model.graph.to_string())
}

#[test]
fn every_field_is_classified_once_and_no_other() {
    let mut table = table();
    let unclassified: Vec<String> = reached()
        .into_iter()
        .map(|field| field.name)
        .filter(|name| table.remove(name).is_none())
        .collect();
    assert_eq!(unclassified, Vec::<String>::new(), "not in the table");
    let stale: Vec<_> = table.into_keys().collect();
    assert_eq!(
        stale,
        Vec::<String>::new(),
        "in the table, but no field of the message"
    );
}

#[test]
fn every_field_is_what_the_table_says() {
    let table = table();
    let mut wrong = Vec::new();
    for field in reached() {
        let row = &table[&field.name];
        let text = field.text(row);
        let (before, after) = (graph(row.given), graph(&text));
        let is_right = match (row.class, &before, &after) {
            ("refused", _, Err(error)) => error.to_string().contains(field.field.name()),
            ("irrelevant", before, after) => before == after,
            // What is in a message is looked at field by field.
            ("honoured", ..) if matches!(field.field.kind(), Kind::Message(_)) => true,
            ("honoured", before, Ok(after)) => before.as_ref() != Ok(after),
            ("honoured", _, Err(_)) => true,
            _ => false,
        };
        if !is_right {
            wrong.push(format!("{} `{text}`: {:?}", row.class, after.err()));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}
