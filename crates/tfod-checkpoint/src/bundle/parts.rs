//! Partitioned tensors: TensorFlow 1 splits a large variable into parts, each saved as a tensor of its own.
//!
//! The entry under the tensor's key lists the parts' regions and has no bytes. Each part's entry has a key made of the
//! tensor's key and the region, in an encoding that sorts like what it encodes (TensorFlow's `ordered_code`), and that
//! starts with a zero byte, as no tensor's key does.

use tfod_proto::TensorSliceProto;

use super::entry::num_elements;
use crate::error::EntryProblem;

/// The region of a tensor that one part holds: start and length in each dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    extents: Vec<Extent>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Extent {
    start: usize,
    length: usize,
    /// Stored as "all of the dimension", which is encoded differently from a length that happens to be all of it.
    whole: bool,
}

impl Part {
    /// Decodes the region of the part `number` of a tensor with `shape`, within which it must lie.
    pub(super) fn decode(
        number: usize,
        slice: &TensorSliceProto,
        shape: &[usize],
    ) -> Result<Self, EntryProblem> {
        let bad = || EntryProblem::BadPart(number);
        if slice.extent.len() != shape.len() {
            return Err(bad());
        }
        let extent = |(extent, &dimension): (&tfod_proto::tensor_slice_proto::Extent, &usize)| {
            let Some(tfod_proto::tensor_slice_proto::extent::HasLength::Length(length)) =
                extent.has_length
            else {
                return Some(Extent {
                    start: 0,
                    length: dimension,
                    whole: true,
                });
            };
            let (start, length) = (
                usize::try_from(extent.start).ok()?,
                usize::try_from(length).ok()?,
            );
            let fits = start
                .checked_add(length)
                .is_some_and(|end| end <= dimension);
            fits.then_some(Extent {
                start,
                length,
                whole: false,
            })
        };
        let extents = slice
            .extent
            .iter()
            .zip(shape)
            .map(extent)
            .collect::<Option<_>>()
            .ok_or_else(bad)?;
        Ok(Self { extents })
    }

    /// The dimensions of the part.
    pub(super) fn shape(&self) -> Vec<usize> {
        self.extents.iter().map(|extent| extent.length).collect()
    }

    /// The number of its elements; cannot overflow, since the tensor's own does not.
    pub(super) fn num_elements(&self) -> usize {
        num_elements(&self.shape()).unwrap_or_default()
    }

    /// Whether two parts of the same tensor share an element.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.extents
            .iter()
            .zip(&other.extents)
            .all(|(a, b)| a.start.max(b.start) < (a.start + a.length).min(b.start + b.length))
    }

    /// The key of the part's entry, for the tensor `key`.
    pub(super) fn key(&self, key: &str) -> Vec<u8> {
        let mut out = Vec::new();
        put_number(&mut out, 0);
        put_string(&mut out, key.as_bytes());
        put_number(&mut out, self.extents.len() as u64);
        for extent in &self.extents {
            // Lengths fit: they came from signed integers.
            let length = if extent.whole {
                -1
            } else {
                i64::try_from(extent.length).unwrap_or(i64::MAX)
            };
            put_signed(&mut out, i64::try_from(extent.start).unwrap_or(i64::MAX));
            put_signed(&mut out, length);
        }
        out
    }

    /// Copies the part's elements to their places in the tensor, both in row-major order. `from` has the size that
    /// [`Self::shape`] gives and `to` that of `shape`.
    pub(super) fn copy(&self, from: &[u8], to: &mut [u8], shape: &[usize], element_size: usize) {
        // Trailing dimensions that the part holds whole are contiguous in both, and so is the one before them.
        let inner = self
            .extents
            .iter()
            .zip(shape)
            .rposition(|(extent, &dimension)| extent.length != dimension);
        let Some(inner) = inner else {
            to.copy_from_slice(from);
            return;
        };
        let block = shape[inner + 1..].iter().product::<usize>() * element_size;
        let run = self.extents[inner].length * block;
        if run == 0 {
            return;
        }
        for (number, elements) in from.chunks_exact(run).enumerate() {
            // The run's number, written in the mixed base of the part's outer dimensions, gives its row in the tensor.
            let (mut number, mut row, mut stride) = (number, 0, 1);
            for (extent, dimension) in self.extents[..inner].iter().zip(shape).rev() {
                row += (extent.start + number % extent.length) * stride;
                number /= extent.length;
                stride *= dimension;
            }
            let start = (row * shape[inner] + self.extents[inner].start) * block;
            to[start..start + run].copy_from_slice(elements);
        }
    }
}

/// An unsigned number: how many bytes, then the bytes, the highest first.
#[expect(
    clippy::cast_possible_truncation,
    reason = "there are at most eight bytes"
)]
fn put_number(out: &mut Vec<u8>, value: u64) {
    let bytes = value.to_be_bytes();
    let leading_zeros = value.leading_zeros() as usize / 8;
    out.push((bytes.len() - leading_zeros) as u8);
    out.extend_from_slice(&bytes[leading_zeros..]);
}

/// A string, with 00 and ff escaped so that 00 01 can end it.
fn put_string(out: &mut Vec<u8>, string: &[u8]) {
    for &byte in string {
        match byte {
            0x00 => out.extend_from_slice(&[0x00, 0xff]),
            0xff => out.extend_from_slice(&[0xff, 0x00]),
            _ => out.push(byte),
        }
    }
    out.extend_from_slice(&[0x00, 0x01]);
}

/// A signed number: its two's complement in the fewest of 1 to 10 bytes, its sign bit flipped, and after it as many bits
/// equal to it as there are more bytes.
fn put_signed(out: &mut Vec<u8>, value: i64) {
    let magnitude = if value < 0 { !value } else { value };
    let significant_bits = (64 - magnitude.leading_zeros()) as usize;
    let length = significant_bits / 7 + 1;
    let mut bytes = [if value < 0 { 0xff } else { 0x00 }; 10];
    bytes[2..].copy_from_slice(&value.to_be_bytes());
    let bytes = &mut bytes[10 - length..];
    // `length` leading one bits.
    let header = !(u16::MAX >> length);
    bytes[0] ^= (header >> 8) as u8;
    if let Some(second) = bytes.get_mut(1) {
        *second ^= (header & 0xff) as u8;
    }
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signed(value: i64) -> Vec<u8> {
        let mut out = Vec::new();
        put_signed(&mut out, value);
        out
    }

    #[test]
    fn signed_numbers_have_the_documented_forms() {
        assert_eq!(signed(0), [0x80]);
        assert_eq!(signed(-1), [0x7f]);
        assert_eq!(signed(63), [0xbf]);
        assert_eq!(signed(64), [0xc0, 0x40]);
        assert_eq!(signed(-65), [0x3f, 0xbf]);
        assert_eq!(
            signed(i64::MAX),
            [0xff, 0xc0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]
        );
    }

    #[test]
    fn a_part_in_the_middle_lands_in_the_middle() {
        let part = Part {
            extents: vec![
                Extent {
                    start: 0,
                    length: 2,
                    whole: true,
                },
                Extent {
                    start: 1,
                    length: 2,
                    whole: false,
                },
                Extent {
                    start: 0,
                    length: 2,
                    whole: true,
                },
            ],
        };
        let mut tensor = [0; 16];
        part.copy(&[1, 2, 3, 4, 5, 6, 7, 8], &mut tensor, &[2, 4, 2], 1);
        assert_eq!(tensor, [0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 5, 6, 7, 8, 0, 0]);
    }

    proptest! {
        #[test]
        fn signed_numbers_sort_like_their_encodings(a: i64, b: i64) {
            prop_assert_eq!(a.cmp(&b), signed(a).cmp(&signed(b)));
        }

        #[test]
        fn small_signed_numbers_sort_like_their_encodings(a in -20_000i64..20_000, b in -20_000i64..20_000) {
            prop_assert_eq!(a.cmp(&b), signed(a).cmp(&signed(b)));
        }
    }
}
