//! Encoded `TensorProto`s and `TensorShapeProto`s.
//!
//! The elements of a tensor are in one of two places: as they are in memory in the field [`CONTENT`], or as numbers in a list that each element type
//! has ([`list_of`]). A list that is shorter than the tensor is continued by its last number.

use tfod_checkpoint::DType;
use tfod_proto::wire::{Field, Fields, Malformed, last};

/// The field with the elements as they are in memory.
pub const CONTENT: u32 = 4;
/// The field with the elements as strings.
pub const STRINGS: u32 = 8;

const DATA_TYPE: u32 = 1;
const SHAPE: u32 = 2;

/// The largest number of dimensions of a tensor in TensorFlow.
pub const MAX_RANK: usize = 254;

/// That a shape has no more dimensions than tensors have.
///
/// # Errors
/// How many it has.
pub(crate) fn check_rank(rank: usize) -> Result<(), String> {
    if rank > MAX_RANK {
        return Err(format!(
            "it has {rank} dimensions, and tensors have at most {MAX_RANK}"
        ));
    }
    Ok(())
}

/// The number of the element type.
pub fn data_type(tensor: &[u8]) -> Option<i32> {
    i32::try_from(last(tensor, DATA_TYPE)?.varint()?).ok()
}

/// The dimensions of a tensor; `None` if not even their number is known.
///
/// # Errors
/// As [`dims`].
pub fn shape(tensor: &[u8]) -> Result<Option<Vec<i64>>, Malformed> {
    let shape = last(tensor, SHAPE).and_then(Field::bytes);
    shape.map_or_else(|| Ok(Some(Vec::new())), dims)
}

/// The dimensions of a `TensorShapeProto`, -1 where unknown; `None` if not even their number is known.
///
/// # Errors
/// Where it is no such message, or has more dimensions than tensors have.
pub fn dims(shape: &[u8]) -> Result<Option<Vec<i64>>, Malformed> {
    let mut dims = Vec::new();
    for field in Fields::of(shape) {
        match field? {
            (2, Field::Bytes(dim)) => {
                let size = last(dim, 1).and_then(Field::varint).unwrap_or(0);
                dims.push(size.cast_signed());
            }
            (3, Field::Varint(unknown)) if unknown != 0 => return Ok(None),
            _ => {}
        }
        if dims.len() > MAX_RANK {
            let problem = "a shape has too many dimensions";
            return Err(Malformed::because(shape, problem));
        }
    }
    Ok(Some(dims))
}

/// The elements as they are in memory; empty where they are in a list.
pub fn content(tensor: &[u8]) -> &[u8] {
    last(tensor, CONTENT)
        .and_then(Field::bytes)
        .unwrap_or_default()
}

/// The field that lists the numbers of a type.
pub fn list_of(dtype: DType) -> Option<u32> {
    Some(match dtype {
        DType::Float32 => 5,
        DType::Float64 => 6,
        DType::Int32
        | DType::Int16
        | DType::Int8
        | DType::UInt8
        | DType::UInt16
        | DType::QInt8
        | DType::QUInt8
        | DType::QInt16
        | DType::QUInt16
        | DType::QInt32
        | DType::Int4
        | DType::UInt4 => 7,
        DType::Complex64 => 9,
        DType::Int64 => 10,
        DType::Bool => 11,
        DType::Complex128 => 12,
        DType::Float16 | DType::BFloat16 => 13,
        DType::UInt32 => 16,
        DType::UInt64 => 17,
        _ => return None,
    })
}

/// The bytes of a number in a list of fixed width.
fn fixed_width(list: u32) -> Option<usize> {
    match list {
        5 | 9 => Some(4),
        6 | 12 => Some(8),
        _ => None,
    }
}

fn is_list_of_varints(field: u32) -> bool {
    matches!(field, 7 | 10 | 11 | 13 | 16 | 17)
}

/// The numbers of the type's list, little-endian, as far as the list goes; `None` if the type has no list, or the message is damaged.
pub fn listed(tensor: &[u8], dtype: DType) -> Option<Vec<u8>> {
    let list = list_of(dtype)?;
    // Real and imaginary parts are numbers of their own.
    let size = match fixed_width(list) {
        Some(width) => width,
        None => dtype.size()?,
    };
    let mut numbers = Vec::new();
    for field in Fields::of(tensor) {
        let (number, field) = field.ok()?;
        if number != list {
            continue;
        }
        match field {
            Field::Fixed32(bits) => numbers.extend(bits.to_le_bytes()),
            Field::Fixed64(bits) => numbers.extend(bits.to_le_bytes()),
            Field::Varint(value) => numbers.extend(value.to_le_bytes().get(..size)?),
            Field::Bytes(packed) if fixed_width(list).is_some() => {
                numbers.extend_from_slice(packed);
            }
            Field::Bytes(packed) => {
                for value in Fields::packed_varints(packed) {
                    numbers.extend(value?.to_le_bytes().get(..size)?);
                }
            }
        }
    }
    Some(numbers)
}

/// How many numbers and strings all lists have together; `None` if the message is damaged.
pub fn num_listed(tensor: &[u8]) -> Option<u64> {
    let mut values = 0u64;
    for field in Fields::of(tensor) {
        values += match field.ok()? {
            (DATA_TYPE | 3, Field::Varint(_)) | (CONTENT, Field::Bytes(_)) => 0,
            (SHAPE, Field::Bytes(shape)) => {
                check_shape(shape)?;
                0
            }
            (list, Field::Fixed32(_)) if fixed_width(list) == Some(4) => 1,
            (list, Field::Fixed64(_)) if fixed_width(list) == Some(8) => 1,
            (STRINGS, Field::Bytes(_)) => 1,
            (list, Field::Varint(_)) if is_list_of_varints(list) => 1,
            (list, Field::Bytes(packed)) if is_list_of_varints(list) => {
                Fields::packed_varints(packed)
                    .try_fold(0, |count, value| value.map(|_| count + 1))?
            }
            (list, Field::Bytes(packed)) => {
                let width = fixed_width(list)?;
                packed.len().is_multiple_of(width).then_some(())?;
                (packed.len() / width) as u64
            }
            _ => return None,
        };
    }
    Some(values)
}

/// Checks every field of a `TensorShapeProto`.
fn check_shape(shape: &[u8]) -> Option<()> {
    for field in Fields::of(shape) {
        match field.ok()? {
            (2, Field::Bytes(dim)) => {
                Fields::of(dim).try_for_each(|field| field.ok().map(drop))?;
            }
            (3, Field::Varint(_)) => {}
            _ => return None,
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_listed_packed_and_not() {
        // Two int32 in a packed list, then one that is not packed.
        let tensor = [0x08, 3, 0x3a, 2, 5, 6, 0x38, 7];
        assert_eq!(num_listed(&tensor), Some(3));
        let numbers = [5i32, 6, 7].map(i32::to_le_bytes).concat();
        assert_eq!(listed(&tensor, DType::Int32), Some(numbers));
        assert_eq!(listed(&tensor, DType::Float32), Some(Vec::new()));
        assert_eq!(listed(&tensor, DType::String), None);
    }

    #[test]
    fn a_list_of_half_a_number_is_damage() {
        assert_eq!(num_listed(&[0x2a, 3, 0, 0, 0]), None);
        assert_eq!(num_listed(&[0x2a, 4, 0, 0, 0, 0]), Some(1));
    }

    #[test]
    fn dimensions_are_known_or_not() {
        assert_eq!(
            dims(&[0x12, 2, 0x08, 3, 0x12, 0]).ok(),
            Some(Some(vec![3, 0]))
        );
        assert_eq!(dims(&[0x18, 1]).ok(), Some(None));
        assert!(dims(&[0x12, 0].repeat(255)).is_err());
    }
}
