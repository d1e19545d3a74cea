//! Properties of reader and printer over messages that are built from the schema, and what both assume of the schema.

use proptest::collection::vec;
use proptest::prelude::*;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value,
};

use super::{SourceText, merge, print};
use crate::{LabelMap, PipelineConfig, protos};

fn root() -> MessageDescriptor {
    protos::descriptor("TrainEvalPipelineConfig")
}

fn read(text: &str) -> DynamicMessage {
    let mut message = DynamicMessage::new(root());
    let source = SourceText {
        origin: "test",
        text,
    };
    merge(source, &mut message, &[]).unwrap_or_else(|error| panic!("{error}\n\n{text}"));
    message
}

/// Choices that proptest can shrink: bytes are taken one after the other, zeros when they run out.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or_default()
    }

    fn word(&mut self) -> u32 {
        u32::from_le_bytes([(); 4].map(|()| self.byte()))
    }

    /// Sets fields while there are choices.
    fn fill(&mut self, message: &mut DynamicMessage) {
        let fields: Vec<FieldDescriptor> = message.descriptor().fields().collect();
        if fields.is_empty() {
            return;
        }
        for _ in 0..self.byte() % 8 {
            let field = &fields[usize::from(self.byte()) % fields.len()];
            if field.is_map() {
                let kind = field.kind();
                let entry = kind.as_message().expect("a map field's kind is its entry");
                let key = self
                    .value(&entry.map_entry_key_field())
                    .into_map_key()
                    .expect("a key");
                let value = self.value(&entry.map_entry_value_field());
                message
                    .get_field_mut(field)
                    .as_map_mut()
                    .expect("a map")
                    .insert(key, value);
            } else if field.is_list() {
                let value = self.value(field);
                message
                    .get_field_mut(field)
                    .as_list_mut()
                    .expect("a list")
                    .push(value);
            } else {
                let value = self.value(field);
                message.set_field(field, value);
            }
        }
    }

    fn value(&mut self, field: &FieldDescriptor) -> Value {
        match field.kind() {
            Kind::Int32 => Value::I32(self.word().cast_signed()),
            Kind::Uint32 => Value::U32(self.word()),
            Kind::Bool => Value::Bool(self.byte() % 2 == 1),
            Kind::Float => {
                let float = f32::from_bits(self.word());
                Value::F32(if float.is_nan() { 0.5 } else { float })
            }
            Kind::String => {
                let length = self.byte() % 8;
                let characters =
                    (0..length).map(|_| char::from_u32(self.word() % 0x3000).unwrap_or('"'));
                Value::String(characters.collect())
            }
            Kind::Enum(kind) => {
                let values: Vec<i32> = kind.values().map(|value| value.number()).collect();
                Value::EnumNumber(values[usize::from(self.byte()) % values.len()])
            }
            Kind::Message(kind) => {
                let mut message = DynamicMessage::new(kind);
                self.fill(&mut message);
                Value::Message(message)
            }
            other => panic!("the schema has a field of type {other:?}"),
        }
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(bytes in vec(any::<u8>(), 0..2000)) {
        let mut message = DynamicMessage::new(root());
        Choices(bytes.iter()).fill(&mut message);
        prop_assert_eq!(read(&print(&message)), message);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        let _ = PipelineConfig::parse("test", &bytes);
        let _ = LabelMap::parse("test", &bytes);
    }

    #[test]
    fn any_tokens_are_read_or_refused(tokens in vec(proptest::sample::select(TOKENS), 0..60)) {
        let text = tokens.join(" ");
        if let Err(error) = PipelineConfig::parse("test", text.as_bytes()) {
            prop_assert!(error.to_string().starts_with("test:1:"), "{}", error);
        }
        let _ = LabelMap::parse("test", text.as_bytes());
    }

    #[test]
    fn a_cut_config_is_read_or_refused_at_a_place_inside(bytes in vec(any::<u8>(), 0..500), part in 0..1000usize) {
        let mut message = DynamicMessage::new(root());
        Choices(bytes.iter()).fill(&mut message);
        let text = print(&message);
        let cut = text.len() * part / 1000;
        if let Err(crate::ConfigError::Text(error)) = PipelineConfig::parse("test", &text.as_bytes()[..cut]) {
            prop_assert!(error.span.end <= cut);
            prop_assert!(error.line <= text.lines().count() + 1);
        }
    }
}

const TOKENS: &[&str] = &[
    "model",
    "train_config",
    "eval_input_reader",
    "item",
    "id",
    "ssd",
    "faster_rcnn",
    "num_classes",
    "optimizer",
    "keypoint_label_to_std",
    "center_net",
    "key",
    "value",
    "{",
    "{",
    "}",
    "}",
    "<",
    ">",
    "[",
    "]",
    ":",
    ":",
    ",",
    ";",
    "1",
    "-2",
    "0.5",
    "true",
    "'a'",
    "\"b\\x\"",
    "\"",
    "'\\",
    "# c",
    "\u{e9}",
    "\u{feff}",
    "SIGMOID",
    "name",
];

/// Every message that a pipeline.config or a label map can hold, each with how deep messages nest below it.
fn depth(message: &MessageDescriptor, above: &mut Vec<String>) -> usize {
    let name = message.full_name().to_owned();
    assert!(
        !above.contains(&name),
        "{name} can hold itself: a text could make the reader recurse without bound"
    );
    above.push(name);
    let below = message.fields().filter_map(|field| match field.kind() {
        Kind::Message(kind) => Some(kind),
        Kind::Int32 | Kind::Uint32 | Kind::Float | Kind::Bool | Kind::String | Kind::Enum(_) => {
            None
        }
        other => panic!(
            "{}: neither reader nor printer handles {other:?}",
            field.full_name()
        ),
    });
    let depth = 1 + below
        .map(|kind| depth(&kind, above))
        .max()
        .unwrap_or_default();
    above.pop();
    depth
}

#[test]
fn the_schema_bounds_recursion_and_has_only_types_that_are_handled() {
    assert_eq!(depth(&root(), &mut Vec::new()), 9);
    assert_eq!(
        depth(&protos::descriptor("StringIntLabelMap"), &mut Vec::new()),
        3
    );
}

#[test]
fn texts_of_one_message() {
    let plain = read("model { ssd { num_classes: 3 } }");
    for text in [
        "model{ssd{num_classes:3}}",
        "model: < ssd: { num_classes : +3, } > ;",
        "# a\r\nmodel {\r\n  ssd { num_classes: 0x3 } # b\r\n}",
        "model { ssd { num_classes: 7 num_classes: 3 } }",
        "model { ssd { } } model { ssd { num_classes: 3 } }",
        "model { faster_rcnn { num_classes: 9 } ssd { num_classes: 3 } }",
        "model { ssd { num_classes: 9 } faster_rcnn { } ssd { num_classes: 3 } }",
    ] {
        assert_eq!(read(text), plain, "{text}");
    }
}

#[test]
fn lists_and_maps() {
    let anchors = |text: &str| {
        read(&format!(
            "model {{ ssd {{ anchor_generator {{ ssd_anchor_generator {{ {text} }} }} }} }}"
        ))
    };
    assert_eq!(anchors("scales: [1, .5]"), anchors("scales: 1 scales: 0.5"));
    assert_eq!(anchors("scales: 1 scales: []"), anchors("scales: 1.f"));
    assert_eq!(
        read("eval_input_reader [{shuffle: f}, <>]"),
        read("eval_input_reader { shuffle: 0 } eval_input_reader { }")
    );
    assert_eq!(
        read("eval_config { super_categories [{key: 'a' value: 'b'}, {value: 'd' key: 'a'}] }"),
        read("eval_config { super_categories { key: 'a' value: 'd' } }")
    );
}

#[test]
fn maps_are_printed_in_the_order_of_their_keys() {
    let text = read(
        "eval_config { super_categories { key: 'b' } super_categories { key: 'B' value: '\\303\\251\\'' } }",
    );
    let expected = r#"eval_config {
  super_categories {
    key: "B"
    value: "\303\251\'"
  }
  super_categories {
    key: "b"
    value: ""
  }
}
"#;
    assert_eq!(print(&text), expected);
}
