//! Messages in protobuf's wire format, written without copies: freezing copies most attributes of nodes as they are. Reading is [`crate::messages`].

use std::borrow::Cow;

pub(crate) use tfod_proto::wire::{Fields, MESSAGE_LIMIT, Malformed, map_entry, put_varint};

pub(crate) use crate::messages::attr;

/// The oldest readers of graphs that have a library of functions.
pub(crate) const MIN_CONSUMER: u64 = 12;

pub(crate) fn varint_len(value: u64) -> u64 {
    u64::from((value | 1).ilog2() / 7 + 1)
}

/// The length of a field that holds `len` bytes, for field numbers up to 15.
pub(crate) fn bytes_field_len(len: u64) -> u64 {
    1 + varint_len(len) + len
}

/// The key and length of a field whose `len` bytes follow.
pub(crate) fn put_bytes_header(out: &mut Vec<u8>, number: u32, len: u64) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, len);
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_bytes_header(out, number, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(crate) fn put_varint_field(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, u64::from(number) << 3);
    put_varint(out, value);
}

/// Encoded `AttrValue`s, written.
pub(crate) mod value {
    use std::borrow::Cow;

    use super::{put_bytes, put_varint, put_varint_field};

    pub(crate) type Encoded = Cow<'static, [u8]>;

    fn field(number: u32, value: u64) -> Encoded {
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

    fn list(number: u32, list: &[u8]) -> Encoded {
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

    use tfod_proto::wire::Field;

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
                    let _ = (attr::types(inner), attr::func(inner), map_entry::<&str>(inner).ok());
                }
            }
        }
    }
}
