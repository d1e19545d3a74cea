//! Attributes of nodes in protobuf's wire format, read and written without copies: freezing copies most of them as they are. Reading messages in
//! general is [`tfod_proto::wire`].

use std::borrow::Cow;

pub(crate) use tfod_proto::wire::{Field, Fields, Malformed, map_entry};

pub(crate) fn varint_len(value: u64) -> u64 {
    u64::from((value | 1).ilog2() / 7 + 1)
}

/// The length of a field that holds `len` bytes, for field numbers up to 15.
pub(crate) fn bytes_field_len(len: u64) -> u64 {
    1 + varint_len(len) + len
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// The key and length of a field whose `len` bytes follow.
pub(crate) fn put_bytes_header(out: &mut Vec<u8>, number: u8, len: u64) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, len);
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    put_bytes_header(out, number, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(crate) fn put_varint_field(out: &mut Vec<u8>, number: u8, value: u64) {
    put_varint(out, u64::from(number) << 3);
    put_varint(out, value);
}

/// Encoded `AttrValue`s, read. Each gives `None` where the attribute is of another kind; the last of repeated fields counts.
pub(crate) mod attr {
    use super::{Field, Fields};

    /// Field numbers of `AttrValue`.
    const LIST: u32 = 1;
    const BYTES: u32 = 2;
    const INT: u32 = 3;
    const FLOAT: u32 = 4;
    const BOOL: u32 = 5;
    const TYPE: u32 = 6;
    const TENSOR: u32 = 8;
    const PLACEHOLDER: u32 = 9;
    const FUNC: u32 = 10;

    fn last(value: &[u8], number: u32) -> Option<Field<'_>> {
        let fields = Fields::of(value).map_while(Result::ok);
        fields
            .filter(|(found, _)| *found == number)
            .last()
            .map(|(_, field)| field)
    }

    fn number(value: &[u8], field: u32) -> Option<i64> {
        last(value, field)?.varint().map(u64::cast_signed)
    }

    pub(crate) fn text(value: &[u8]) -> Option<&str> {
        last(value, BYTES)?.text()
    }

    pub(crate) fn int(value: &[u8]) -> Option<i64> {
        number(value, INT)
    }

    pub(crate) fn float(value: &[u8]) -> Option<f32> {
        match last(value, FLOAT)? {
            Field::Fixed32(bits) => Some(f32::from_bits(bits)),
            _ => None,
        }
    }

    pub(crate) fn bool(value: &[u8]) -> Option<bool> {
        number(value, BOOL).map(|value| value != 0)
    }

    pub(crate) fn data_type(value: &[u8]) -> Option<i32> {
        number(value, TYPE).and_then(|value| i32::try_from(value).ok())
    }

    pub(crate) fn tensor(value: &[u8]) -> Option<&[u8]> {
        last(value, TENSOR)?.bytes()
    }

    pub(crate) fn placeholder(value: &[u8]) -> Option<&str> {
        last(value, PLACEHOLDER)?.text()
    }

    /// The `NameAttrList` of a function.
    pub(crate) fn func(value: &[u8]) -> Option<&[u8]> {
        last(value, FUNC)?.bytes()
    }

    /// The message of a list.
    pub(crate) fn list(value: &[u8]) -> Option<&[u8]> {
        last(value, LIST)?.bytes()
    }

    /// A list of element types, which may be packed. At most as long as its bytes.
    pub(crate) fn types(value: &[u8]) -> Option<Vec<i32>> {
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

    /// The functions of a list, each a `NameAttrList`.
    pub(crate) fn funcs(value: &[u8]) -> Option<Vec<&[u8]>> {
        const FUNCS: u32 = 9;
        let fields = Fields::of(list(value)?).map_while(Result::ok);
        Some(
            fields
                .filter(|(number, _)| *number == FUNCS)
                .filter_map(|(_, field)| field.bytes())
                .collect(),
        )
    }
}

/// Encoded `AttrValue`s, written.
pub(crate) mod value {
    use std::borrow::Cow;

    use super::{put_bytes, put_varint, put_varint_field};

    pub(crate) type Encoded = Cow<'static, [u8]>;

    fn field(number: u8, value: u64) -> Encoded {
        let mut out = Vec::new();
        put_varint_field(&mut out, number, value);
        out.into()
    }

    pub(crate) fn data_type(number: i32) -> Encoded {
        field(6, i64::from(number).cast_unsigned())
    }

    pub(crate) fn int(value: i64) -> Encoded {
        field(3, value.cast_unsigned())
    }

    pub(crate) fn bool(value: bool) -> Encoded {
        field(5, value.into())
    }

    pub(crate) fn text(text: &str) -> Encoded {
        let mut out = Vec::new();
        put_bytes(&mut out, 2, text.as_bytes());
        out.into()
    }

    pub(crate) fn shape(shape: &[u8]) -> Encoded {
        let mut out = Vec::new();
        put_bytes(&mut out, 7, shape);
        out.into()
    }

    fn name_attr_list(name: &str) -> Vec<u8> {
        let mut list = Vec::new();
        put_bytes(&mut list, 1, name.as_bytes());
        list
    }

    pub(crate) fn func(name: &str) -> Encoded {
        let mut out = Vec::new();
        put_bytes(&mut out, 10, &name_attr_list(name));
        out.into()
    }

    fn list(number: u8, list: &[u8]) -> Encoded {
        let mut out = Vec::new();
        put_bytes(&mut out, number, list);
        out.into()
    }

    pub(crate) fn types(types: &[i32]) -> Encoded {
        let mut packed = Vec::new();
        for &number in types {
            put_varint(&mut packed, i64::from(number).cast_unsigned());
        }
        let mut of = Vec::new();
        if !types.is_empty() {
            put_bytes(&mut of, 6, &packed);
        }
        list(1, &of)
    }

    pub(crate) fn funcs<'n>(names: impl IntoIterator<Item = &'n str>) -> Encoded {
        let mut of = Vec::new();
        for name in names {
            put_bytes(&mut of, 9, &name_attr_list(name));
        }
        list(1, &of)
    }
}

/// An attribute of a node: its name and its encoded `AttrValue`.
pub(crate) type Attr<'a> = (Cow<'a, str>, Cow<'a, [u8]>);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_are_read_packed_and_not() {
        assert_eq!(attr::types(&value::types(&[1, 20])), Some(vec![1, 20]));
        assert_eq!(
            attr::types(&[0x0a, 4, 0x30, 1, 0x30, 20]),
            Some(vec![1, 20])
        );
    }

    proptest! {
        #[test]
        fn lengths_are_those_written(number: u64) {
            let mut out = Vec::new();
            put_varint(&mut out, number);
            prop_assert_eq!(out.len() as u64, varint_len(number));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            for field in Fields::of(&bytes) {
                if let Ok((_, Field::Bytes(inner))) = field {
                    let _ = (attr::types(inner), attr::func(inner), map_entry(inner).ok());
                }
            }
        }
    }
}
