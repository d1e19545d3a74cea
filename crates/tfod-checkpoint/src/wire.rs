//! The small encodings that tables, string tensors and slice keys share: varints, fixed-width integers, masked checksums.

use std::convert::Infallible;

use tfod_proto::wire::varint;

pub(crate) use tfod_proto::wire::put_varint;

use crate::pages::steps;

/// Added when a checksum is masked.
const MASK_DELTA: u32 = 0xa282_ead8;

/// Makes a CRC-32C fit to be stored next to the data it covers.
///
/// The CRC of bytes that contain their own CRC is degenerate, hence LevelDB's masking: rotate right by 15 bits and add
/// a constant.
pub(crate) fn mask(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(MASK_DELTA)
}

/// The masked CRC-32C of `bytes`, as tables, bundle entries and TensorFlow's record files store it.
pub fn masked_crc(bytes: &[u8]) -> u32 {
    mask(crc32c::crc32c(bytes))
}

/// As [`masked_crc`], of bytes in a map, of which few are in memory at a time.
pub(crate) fn masked_crc_of_map(bytes: &[u8]) -> u32 {
    let mut crc = 0;
    let Ok(()) = steps(bytes, |step| {
        crc = crc32c::crc32c_append(crc, step);
        Ok::<(), Infallible>(())
    });
    mask(crc)
}

/// A position in untrusted bytes; every read is checked and gives `None` where the bytes end or make no sense.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    pub(crate) fn at(bytes: &'a [u8], position: usize) -> Self {
        Self { bytes, position }
    }

    pub(crate) fn position(&self) -> usize {
        self.position
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.position >= self.bytes.len()
    }

    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.position.checked_add(length)?;
        let taken = self.bytes.get(self.position..end)?;
        self.position = end;
        Some(taken)
    }

    pub(crate) fn fixed32(&mut self) -> Option<u32> {
        let bytes = self.take(4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    pub(crate) fn fixed64(&mut self) -> Option<u64> {
        let bytes = self.take(8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    /// A varint of at most 64 bits.
    pub(crate) fn varint(&mut self) -> Option<u64> {
        let (value, rest) = varint(self.bytes.get(self.position..)?)?;
        self.position = self.bytes.len() - rest.len();
        Some(value)
    }

    /// A varint that counts bytes in memory.
    pub(crate) fn length(&mut self) -> Option<usize> {
        usize::try_from(self.varint()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn mask_agrees_with_a_checksum_that_tensorflow_wrote() {
        // The entry of an int64 scalar 1 in a checkpoint written by TensorFlow stores 0x41de7501.
        assert_eq!(masked_crc(&1i64.to_le_bytes()), 0x41de_7501);
    }

    #[test]
    fn varints_that_end_early_or_overflow_are_refused() {
        assert_eq!(Cursor::new(&[0x80]).varint(), None);
        assert_eq!(Cursor::new(&[0xff; 10]).varint(), None);
        assert_eq!(Cursor::new(&[0x80; 11]).varint(), None);
    }

    proptest! {
        #[test]
        fn varints_round_trip(value: u64) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            let mut cursor = Cursor::new(&bytes);
            prop_assert_eq!(cursor.varint(), Some(value));
            prop_assert!(cursor.is_at_end());
        }
    }
}
