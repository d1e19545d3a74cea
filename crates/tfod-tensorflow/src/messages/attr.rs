//! Encoded `AttrValue`s, read. Each function gives `None` where the attribute is of another kind; the last of repeated fields counts.

use tfod_proto::wire::{Field, Fields, last};

/// Field numbers of `AttrValue`.
const LIST: u32 = 1;
const BYTES: u32 = 2;
const INT: u32 = 3;
const FLOAT: u32 = 4;
const BOOL: u32 = 5;
const TYPE: u32 = 6;
const SHAPE: u32 = 7;
const TENSOR: u32 = 8;
const PLACEHOLDER: u32 = 9;
const FUNC: u32 = 10;

/// The value of the attribute that has this name, encoded or decoded.
pub fn find<'n, N: AsRef<str>, V>(attrs: &'n [(N, V)], name: &str) -> Option<&'n V> {
    let found = attrs.iter().find(|(found, _)| found.as_ref() == name);
    found.map(|(_, value)| value)
}

fn number(value: &[u8], field: u32) -> Option<i64> {
    last(value, field)?.varint().map(u64::cast_signed)
}

/// Text. Only for messages in this process's own memory (see [`Field::borrowed_text`]).
pub fn text(value: &[u8]) -> Option<&str> {
    last(value, BYTES)?.borrowed_text()
}

/// An integer.
pub fn int(value: &[u8]) -> Option<i64> {
    number(value, INT)
}

/// A number.
pub fn float(value: &[u8]) -> Option<f32> {
    match last(value, FLOAT)? {
        Field::Fixed32(bits) => Some(f32::from_bits(bits)),
        _ => None,
    }
}

/// A truth value.
pub fn bool(value: &[u8]) -> Option<bool> {
    number(value, BOOL).map(|value| value != 0)
}

/// An element type, a number of `DataType`.
pub fn data_type(value: &[u8]) -> Option<i32> {
    number(value, TYPE).and_then(|value| i32::try_from(value).ok())
}

/// An encoded `TensorShapeProto`.
pub fn shape(value: &[u8]) -> Option<&[u8]> {
    last(value, SHAPE)?.bytes()
}

/// An encoded `TensorProto`.
pub fn tensor(value: &[u8]) -> Option<&[u8]> {
    last(value, TENSOR)?.bytes()
}

/// The attribute of a call that stands for this one in a function. Only for messages in this process's own memory.
pub fn placeholder(value: &[u8]) -> Option<&str> {
    last(value, PLACEHOLDER)?.borrowed_text()
}

/// The `NameAttrList` of a function.
pub fn func(value: &[u8]) -> Option<&[u8]> {
    last(value, FUNC)?.bytes()
}

/// The message of a list.
pub fn list(value: &[u8]) -> Option<&[u8]> {
    last(value, LIST)?.bytes()
}

/// A list of element types, which may be packed. At most as long as its bytes.
pub fn types(value: &[u8]) -> Option<Vec<i32>> {
    let mut found = Vec::new();
    for field in Fields::of(list(value)?) {
        match field.ok()? {
            (TYPE, Field::Varint(value)) => found.push(i32::try_from(value).ok()?),
            (TYPE, Field::Bytes(packed)) => {
                for value in Fields::packed_varints(packed) {
                    found.push(i32::try_from(value?).ok()?);
                }
            }
            _ => {}
        }
    }
    Some(found)
}

/// A list of texts. Only for messages in this process's own memory.
pub fn texts(value: &[u8]) -> Option<Vec<&str>> {
    let mut found = Vec::new();
    for field in Fields::of(list(value)?) {
        if let (BYTES, field) = field.ok()? {
            found.push(field.borrowed_text()?);
        }
    }
    Some(found)
}

/// A list of integers, which may be packed. At most as long as its bytes.
pub fn ints(value: &[u8]) -> Option<Vec<i64>> {
    let mut found = Vec::new();
    for field in Fields::of(list(value)?) {
        match field.ok()? {
            (INT, Field::Varint(value)) => found.push(value.cast_signed()),
            (INT, Field::Bytes(packed)) => {
                for value in Fields::packed_varints(packed) {
                    found.push(value?.cast_signed());
                }
            }
            _ => {}
        }
    }
    Some(found)
}

/// The functions of a list, each a `NameAttrList`.
pub fn funcs(value: &[u8]) -> Option<Vec<&[u8]>> {
    const FUNCS: u32 = 9;
    let fields = Fields::of(list(value)?).map_while(Result::ok);
    Some(
        fields
            .filter(|(number, _)| *number == FUNCS)
            .filter_map(|(_, field)| field.bytes())
            .collect(),
    )
}
