//! Changes of protocol buffers that keep them protocol buffers: fields dropped, doubled, swapped, renumbered, given values of other
//! fields. Works on the wire format alone, so it serves every message.

use crate::Random;

/// A field as it is on the wire.
#[derive(Clone)]
struct Field {
    number: u64,
    value: Value,
}

#[derive(Clone)]
enum Value {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(Vec<u8>),
    Fixed32([u8; 4]),
}

/// Numbers at which code goes wrong.
const NUMBERS: [u64; 14] = [
    0,
    1,
    2,
    3,
    7,
    127,
    128,
    255,
    1 << 16,
    i32::MAX as u64,
    u32::MAX as u64,
    i64::MAX as u64,
    i64::MIN as u64,
    u64::MAX,
];

/// Nesting beyond this is left alone.
const DEEPEST: usize = 24;

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

fn parse(mut bytes: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut bytes)?),
            1 => Value::Fixed64(take(&mut bytes, 8)?.try_into().ok()?),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                Value::Bytes(take(&mut bytes, length)?.to_vec())
            }
            5 => Value::Fixed32(take(&mut bytes, 4)?.try_into().ok()?),
            _ => return None,
        };
        if key >> 3 == 0 {
            return None;
        }
        fields.push(Field {
            number: key >> 3,
            value,
        });
    }
    Some(fields)
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn encode(fields: &[Field]) -> Vec<u8> {
    let mut out = Vec::new();
    for field in fields {
        let kind = match &field.value {
            Value::Varint(_) => 0,
            Value::Fixed64(_) => 1,
            Value::Bytes(_) => 2,
            Value::Fixed32(_) => 5,
        };
        put_varint(&mut out, field.number << 3 | kind);
        match &field.value {
            Value::Varint(value) => put_varint(&mut out, *value),
            Value::Fixed64(bytes) => out.extend(bytes),
            Value::Bytes(bytes) => {
                put_varint(&mut out, bytes.len() as u64);
                out.extend(bytes);
            }
            Value::Fixed32(bytes) => out.extend(bytes),
        }
    }
    out
}

/// Everything with a length, at any depth: names, and messages that can be planted elsewhere.
fn pieces(fields: &[Field], depth: usize, found: &mut Vec<Vec<u8>>) {
    for field in fields {
        if let Value::Bytes(bytes) = &field.value {
            found.push(bytes.clone());
            if depth < DEEPEST && !bytes.is_empty() {
                pieces(&parse(bytes).unwrap_or_default(), depth + 1, found);
            }
        }
    }
}

/// Changes one to three places of an encoded message. `None` if the bytes are no message.
pub fn mutate(bytes: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut fields = parse(bytes)?;
    let mut found = Vec::new();
    pieces(&fields, 0, &mut found);
    for _ in 0..=random.below(3) {
        change(&mut fields, &found, random, 0);
    }
    Some(encode(&fields))
}

fn change(fields: &mut Vec<Field>, pieces: &[Vec<u8>], random: &mut Random, depth: usize) {
    if fields.is_empty() {
        let number = 1 + random.below(12) as u64;
        let value = Value::Varint(NUMBERS[random.below(NUMBERS.len())]);
        fields.push(Field { number, value });
        return;
    }
    let at = random.below(fields.len());
    // Mostly go inwards: most of a message is in its deep parts.
    if depth < DEEPEST
        && random.below(8) != 0
        && let Value::Bytes(bytes) = &fields[at].value
        && !bytes.is_empty()
        && let Some(mut inner) = parse(bytes)
    {
        change(&mut inner, pieces, random, depth + 1);
        fields[at].value = Value::Bytes(encode(&inner));
        return;
    }
    match random.below(10) {
        0 => {
            fields.remove(at);
        }
        1 => {
            let copy = fields[at].clone();
            fields.insert(random.below(fields.len() + 1), copy);
        }
        2 => {
            let other = random.below(fields.len());
            fields.swap(at, other);
        }
        3 => fields[at].number = 1 + random.below(16) as u64,
        4 if !pieces.is_empty() => {
            let number = 1 + random.below(12) as u64;
            let value = Value::Bytes(pieces[random.below(pieces.len())].clone());
            fields.insert(at, Field { number, value });
        }
        _ => change_value(&mut fields[at].value, pieces, random),
    }
}

fn change_value(value: &mut Value, pieces: &[Vec<u8>], random: &mut Random) {
    match value {
        Value::Varint(number) => {
            *number = match random.below(4) {
                0 => number.wrapping_add(1),
                1 => number.wrapping_sub(1),
                2 => *number ^ 1 << random.below(64),
                _ => NUMBERS[random.below(NUMBERS.len())],
            }
        }
        Value::Fixed64(bytes) => *bytes = random.bits().to_le_bytes(),
        Value::Fixed32(bytes) => {
            *bytes = match random.below(3) {
                // Floats: a change of the exponent, a special one, any.
                0 => (u32::from_le_bytes(*bytes) ^ 1 << (23 + random.below(9))).to_le_bytes(),
                1 => [0.0, -1.0, f32::NAN, f32::INFINITY, f32::MAX, 1e-45][random.below(6)]
                    .to_le_bytes(),
                _ => (random.bits() as u32).to_le_bytes(),
            }
        }
        Value::Bytes(bytes) => match random.below(5) {
            0 => bytes.clear(),
            1 if !bytes.is_empty() => {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
            2 if !bytes.is_empty() => bytes.truncate(random.below(bytes.len())),
            3 => bytes.insert(random.below(bytes.len() + 1), random.bits() as u8),
            _ if !pieces.is_empty() => bytes.clone_from(&pieces[random.below(pieces.len())]),
            _ => {}
        },
    }
}
