//! Prints a message the way the reference's `text_format.MessageToString` does: fields by number, two spaces a level,
//! strings in ASCII with escapes, floats with as few digits as tell them from other 32-bit floats.

use std::fmt::Write;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, Value};

/// Prints all fields that are set.
pub(crate) fn print(message: &DynamicMessage) -> String {
    let mut printer = Printer {
        out: String::new(),
        indent: 0,
    };
    printer.message(message);
    printer.out
}

/// A scalar as it is printed behind its field's name.
pub(crate) fn scalar_text(field: &FieldDescriptor, value: &Value) -> String {
    let mut printer = Printer {
        out: String::new(),
        indent: 0,
    };
    printer.scalar(field, value);
    printer.out
}

struct Printer {
    out: String,
    indent: usize,
}

impl Printer {
    fn message(&mut self, message: &DynamicMessage) {
        for (field, value) in message.fields() {
            match value {
                Value::List(values) => values.iter().for_each(|value| self.field(&field, value)),
                Value::Map(entries) => {
                    let mut entries: Vec<(&MapKey, &Value)> = entries.iter().collect();
                    entries.sort_by_key(|&(key, _)| key);
                    for (key, value) in entries {
                        self.entry(&field, key, value);
                    }
                }
                value => self.field(&field, value),
            }
        }
    }

    fn field(&mut self, field: &FieldDescriptor, value: &Value) {
        self.line_start(field.name());
        if let Value::Message(message) = value {
            self.block(|printer| printer.message(message));
        } else {
            self.out.push_str(": ");
            self.scalar(field, value);
            self.out.push('\n');
        }
    }

    /// A map's entry is a message with a key and a value.
    fn entry(&mut self, field: &FieldDescriptor, key: &MapKey, value: &Value) {
        let Kind::Message(entry) = field.kind() else {
            return;
        };
        self.line_start(field.name());
        self.block(|printer| {
            printer.field(&entry.map_entry_key_field(), &key.clone().into());
            printer.field(&entry.map_entry_value_field(), value);
        });
    }

    fn line_start(&mut self, name: &str) {
        self.out.extend(std::iter::repeat_n(' ', self.indent));
        self.out.push_str(name);
    }

    fn block(&mut self, content: impl FnOnce(&mut Self)) {
        self.out.push_str(" {\n");
        self.indent += 2;
        content(self);
        self.indent -= 2;
        self.line_start("}\n");
    }

    fn scalar(&mut self, field: &FieldDescriptor, value: &Value) {
        match value {
            Value::F32(float) => self.out.push_str(&shortest_float(*float)),
            Value::String(string) => self.string(string),
            Value::EnumNumber(number) => {
                let kind = field.kind();
                match kind.as_enum().and_then(|kind| kind.get_value(*number)) {
                    Some(value) => self.out.push_str(value.name()),
                    None => self.display(number),
                }
            }
            Value::Bool(value) => self.display(value),
            Value::I32(value) => self.display(value),
            Value::U32(value) => self.display(value),
            // The schema has no other scalars, and the reader lets none in.
            _ => {}
        }
    }

    fn display(&mut self, value: &impl ToString) {
        self.out.push_str(&value.to_string());
    }

    fn string(&mut self, string: &str) {
        self.out.push('"');
        for byte in string.bytes() {
            match byte {
                b'\t' => self.out.push_str("\\t"),
                b'\n' => self.out.push_str("\\n"),
                b'\r' => self.out.push_str("\\r"),
                b'"' => self.out.push_str("\\\""),
                b'\'' => self.out.push_str("\\'"),
                b'\\' => self.out.push_str("\\\\"),
                b' '..=b'~' => self.out.push(char::from(byte)),
                // Writing to a string cannot fail.
                _ => drop(write!(self.out, "\\{byte:03o}")),
            }
        }
        self.out.push('"');
    }
}

/// The decimal with the fewest digits, but with six to begin with, that rounds to the float, in Python's notation.
#[expect(
    clippy::cast_possible_truncation,
    clippy::float_cmp,
    reason = "a decimal is right when it rounds to the very float"
)]
fn shortest_float(float: f32) -> String {
    let exact = f64::from(float);
    // Nine significant digits tell any two 32-bit floats apart.
    let decimal = (6..=9usize)
        .filter_map(|digits| format!("{exact:.*e}", digits - 1).parse::<f64>().ok())
        .find(|&decimal| decimal as f32 == float)
        .unwrap_or(exact);
    python_float(decimal)
}

/// Python's `repr` of a float: the shortest digits that give it back, plain from 1e-4 up to 1e16, else with an exponent.
fn python_float(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() || (1e-4..1e16).contains(&value.abs()) || value == 0.0 {
        return format!("{value:?}");
    }
    let scientific = format!("{value:e}");
    match scientific.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, magnitude) = match exponent.strip_prefix('-') {
                Some(magnitude) => ('-', magnitude),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{magnitude:0>2}")
        }
        None => scientific,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_printed_as_python_prints_them() {
        let cases = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.9, "0.9"),
            (-2.19, "-2.19"),
            (16_777_216.0, "16777216.0"),
            (123_456.79, "123456.79"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1e20, "1e+20"),
            (f32::MAX, "3.4028235e+38"),
            (f32::MIN_POSITIVE, "1.1754944e-38"),
            (f32::from_bits(1), "1.4013e-45"),
            (f32::INFINITY, "inf"),
            (f32::NEG_INFINITY, "-inf"),
            (f32::NAN, "nan"),
            (-f32::NAN, "nan"),
        ];
        for (float, text) in cases {
            assert_eq!(shortest_float(float), text);
        }
    }
}
