//! String tensors: a varint length per element, a checksum of the lengths, then the strings one after another.
//!
//! Both checksums take each length as a fixed-width integer (four bytes, or eight for 4 GiB and more), not as the varint
//! that is stored: that of the lengths covers them alone, that of the entry also the stored checksum and the strings.

use crate::error::TensorProblem;
use crate::wire::{Cursor, mask, put_varint};

/// Splits the `bytes` of a tensor of `count` strings, and verifies both checksums.
///
/// `count` must not exceed the number of bytes.
pub(super) fn decode(bytes: &[u8], count: usize, stored: u32) -> Result<Vec<&[u8]>, TensorProblem> {
    let mut cursor = Cursor::new(bytes);
    let mut lengths = Vec::with_capacity(count);
    let mut crc = 0;
    for _ in 0..count {
        let length = cursor.length().ok_or(TensorProblem::BadLengths)?;
        crc = extend_by_length(crc, length);
        lengths.push(length);
    }
    let lengths_checksum = cursor.fixed32().ok_or(TensorProblem::BadLengths)?;
    if lengths_checksum != mask(crc) {
        return Err(TensorProblem::BadLengths);
    }
    crc = crc32c::crc32c_append(crc, &lengths_checksum.to_le_bytes());
    let mut strings = Vec::with_capacity(count);
    for length in lengths {
        let string = cursor
            .take(length)
            .ok_or(TensorProblem::LengthsDoNotAddUp)?;
        crc = crc32c::crc32c_append(crc, string);
        strings.push(string);
    }
    if !cursor.is_at_end() {
        return Err(TensorProblem::LengthsDoNotAddUp);
    }
    let computed = mask(crc);
    if computed != stored {
        return Err(TensorProblem::Checksum { stored, computed });
    }
    Ok(strings)
}

/// What precedes the strings in a tensor, and the checksum of the whole.
pub(super) fn encode_head(strings: &[impl AsRef<[u8]>]) -> (Vec<u8>, u32) {
    let mut head = Vec::new();
    let mut crc = 0;
    for string in strings {
        let length = string.as_ref().len();
        put_varint(&mut head, length as u64);
        crc = extend_by_length(crc, length);
    }
    let lengths_checksum = mask(crc).to_le_bytes();
    head.extend_from_slice(&lengths_checksum);
    crc = crc32c::crc32c_append(crc, &lengths_checksum);
    for string in strings {
        crc = crc32c::crc32c_append(crc, string.as_ref());
    }
    (head, mask(crc))
}

fn extend_by_length(crc: u32, length: usize) -> u32 {
    match u32::try_from(length) {
        Ok(short) => crc32c::crc32c_append(crc, &short.to_le_bytes()),
        Err(_) => crc32c::crc32c_append(crc, &(length as u64).to_le_bytes()),
    }
}
