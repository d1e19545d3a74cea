//! FlexBuffers, in which TFLite keeps the options of operators that are not in its schema: one map of numbers.
//!
//! Specified by <https://flatbuffers.dev/flatbuffers_internals/#flexbuffers>. Everything refers backwards, so it is written in one go:
//!
//! ```text
//! keys, each with a 0 behind it; their number; how far back each is
//! how far back these are; the bytes of each of them; the number of values; the values; the type of each
//! how far back the values are, that they are a map, the bytes of the first of these three
//! ```

/// A number of a map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Int(i32),
    Float(f32),
}

/// The number of bytes of everything but types.
const WIDTH: usize = 4;
/// Types, with the width in the lower two bits.
const INT: u8 = 1 << 2 | 2;
const FLOAT: u8 = 3 << 2 | 2;
const MAP: u8 = 9 << 2 | 2;

/// A map. Keys have no zeros.
pub(crate) fn map(mut numbers: Vec<(&str, Number)>) -> Vec<u8> {
    // Readers look keys up by halving.
    numbers.sort_unstable_by_key(|(key, _)| *key);
    let mut bytes = Vec::new();
    let mut keys = Vec::new();
    for (key, _) in &numbers {
        keys.push(bytes.len());
        bytes.extend(key.as_bytes());
        bytes.push(0);
    }
    bytes.resize(bytes.len().next_multiple_of(WIDTH), 0);
    word(&mut bytes, numbers.len());
    let key_vector = bytes.len();
    for key in keys {
        let back = bytes.len() - key;
        word(&mut bytes, back);
    }
    let back = bytes.len() - key_vector;
    word(&mut bytes, back);
    word(&mut bytes, WIDTH);
    word(&mut bytes, numbers.len());
    let values = bytes.len();
    for (_, number) in &numbers {
        bytes.extend(match number {
            Number::Int(value) => value.to_le_bytes(),
            Number::Float(value) => value.to_le_bytes(),
        });
    }
    bytes.extend(numbers.iter().map(|(_, number)| match number {
        Number::Int(_) => INT,
        Number::Float(_) => FLOAT,
    }));
    // Of up to 51 numbers, that is one byte.
    let back = bytes.len() - values;
    let back = u8::try_from(back);
    debug_assert!(back.is_ok(), "a map of too many numbers");
    bytes.extend([back.unwrap_or(u8::MAX), MAP, 1]);
    bytes
}

/// Maps are small.
fn word(bytes: &mut Vec<u8>, value: usize) {
    bytes.extend(u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_order_and_found_backwards() {
        let bytes = map(vec![("b", Number::Float(0.5)), ("a", Number::Int(-2))]);
        let expected = [
            b"a\0b\0".as_slice(),
            &[2, 0, 0, 0, 8, 0, 0, 0, 10, 0, 0, 0],
            &[8, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0],
            &(-2i32).to_le_bytes(),
            &0.5f32.to_le_bytes(),
            &[0x06, 0x0e],
            &[10, 0x26, 1],
        ];
        assert_eq!(bytes, expected.concat());
    }
}
