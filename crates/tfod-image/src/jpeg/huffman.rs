//! Huffman codes: how tables are given, and how codes are read.

use super::Problem;
use super::bits::{Bits, Source};

/// Codes of up to this many bits are looked up at once, and with the bits of their values if these are within.
const LOOKUP: u32 = 10;

/// A table as a file gives it: how many codes there are of each length from 1 to 16, and what they stand for, from the shortest on.
#[derive(Clone)]
pub(super) struct Codes {
    counts: [u8; 16],
    values: Vec<u8>,
}

impl Codes {
    pub(super) fn new(counts: [u8; 16], values: &[u8]) -> Self {
        Self {
            counts,
            values: values.to_vec(),
        }
    }

    /// The tables that motion JPEG leaves out: K.3 to K.6 of the standard.
    pub(super) fn standard(direct: bool, chroma: bool) -> Self {
        match (direct, chroma) {
            (true, false) => Self::new(
                [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
                &DIRECT_VALUES,
            ),
            (true, true) => Self::new(
                [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0],
                &DIRECT_VALUES,
            ),
            (false, false) => Self::new(
                [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125],
                &LUMA_VALUES,
            ),
            (false, true) => Self::new(
                [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 119],
                &CHROMA_VALUES,
            ),
        }
    }
}

/// A coefficient that differs from zero, or none at all.
#[derive(Clone, Copy)]
pub(super) struct Coded {
    pub(super) value: i16,
    /// How many zeros precede it.
    pub(super) zeros: u8,
    /// How many bits it has; zero where the code or the value is longer than what is looked up.
    bits: u8,
}

/// A table for reading codes.
pub(super) struct Table {
    /// For the next bits: the length of their code in the high byte, its value in the low one; zero if the code is longer.
    lookup: [u16; 1 << LOOKUP],
    /// For the next bits, where they are a code of alternating (AC) coefficients with its value.
    whole: [Coded; 1 << LOOKUP],
    /// Of each length, the code after the last one, or zero where there are none.
    ends: [u32; 17],
    /// Of each length, what is to be subtracted from a code for its place among the values.
    offsets: [u32; 17],
    values: [u8; 256],
}

impl Table {
    /// # Errors
    /// When there are more codes of a length than it has room for, and when values of direct (DC) coefficients are not their lengths.
    pub(super) fn new(codes: &Codes, direct: bool, source: &Source<'_>) -> Result<Self, Problem> {
        let mut table = Self {
            lookup: [0; 1 << LOOKUP],
            whole: [Coded {
                value: 0,
                zeros: 0,
                bits: 0,
            }; 1 << LOOKUP],
            ends: [0; 17],
            offsets: [0; 17],
            values: [0; 256],
        };
        if direct && codes.values.iter().any(|&value| value > 15) {
            return Err(source.problem(
                "a Huffman table of direct coefficients has a value above 15, which is no length of theirs",
            ));
        }
        let (mut code, mut place) = (0_u32, 0_u32);
        for (&count, length) in codes.counts.iter().zip(1_u32..) {
            let end = code + u32::from(count);
            // No code is all ones.
            if count > 0 && end >= 1 << length {
                return Err(source.problem(format!(
                    "a Huffman table has {count} codes of {length} bits, for which there is no room"
                )));
            }
            let slot = length as usize;
            table.offsets[slot] = code.wrapping_sub(place);
            if count > 0 {
                table.ends[slot] = end;
            }
            while code < end {
                let value = codes.values.get(place as usize).copied().unwrap_or(0);
                if let Some(held) = table.values.get_mut(place as usize) {
                    *held = value;
                }
                if length <= LOOKUP {
                    let first = (code << (LOOKUP - length)) as usize;
                    let entry = (u16::from(slot as u8) << 8) | u16::from(value);
                    table.lookup[first..first + (1 << (LOOKUP - length))].fill(entry);
                }
                code += 1;
                place += 1;
            }
            code <<= 1;
        }
        for ((next, entry), whole) in (0_u32..).zip(table.lookup).zip(&mut table.whole) {
            let (length, code) = (u32::from(entry >> 8), entry as u8);
            let size = u32::from(code & 15);
            if entry != 0 && length + size <= LOOKUP {
                let value = next >> (LOOKUP - length - size) & ((1 << size) - 1);
                *whole = Coded {
                    value: extend(value, size) as i16,
                    zeros: code >> 4,
                    bits: (length + size) as u8,
                };
            }
        }
        Ok(table)
    }

    /// Takes a code of alternating coefficients and its value.
    #[inline]
    pub(super) fn coefficient(&self, bits: &mut Bits<'_>) -> Coded {
        bits.prefetch();
        let whole = self.whole[bits.peek(LOOKUP) as usize];
        if whole.bits != 0 {
            bits.pass(u32::from(whole.bits));
            return whole;
        }
        let code = self.read(bits);
        let size = u32::from(code & 15);
        Coded {
            value: extend(bits.take(size), size) as i16,
            zeros: code >> 4,
            bits: 0,
        }
    }

    /// Takes a code and gives its value: zero for bits that are no code. Afterwards the bits of a value are there without another look at the file.
    #[inline]
    pub(super) fn read(&self, bits: &mut Bits<'_>) -> u8 {
        bits.prefetch();
        let entry = self.lookup[bits.peek(LOOKUP) as usize];
        if entry != 0 {
            bits.pass(u32::from(entry >> 8));
            return entry as u8;
        }
        self.read_long(bits)
    }

    #[cold]
    fn read_long(&self, bits: &mut Bits<'_>) -> u8 {
        for length in LOOKUP + 1..=16 {
            let code = bits.peek(length);
            if code < self.ends[length as usize] {
                bits.pass(length);
                let place = code.wrapping_sub(self.offsets[length as usize]);
                return self.values[(place & 0xff) as usize];
            }
        }
        bits.pass(17);
        0
    }
}

/// The number that bits behind a length stand for: the lower half of what they can say are negative numbers.
#[inline]
pub(super) fn extend(bits: u32, length: u32) -> i32 {
    // At most 16 bits.
    #[expect(clippy::cast_possible_wrap)]
    let bits = bits as i32;
    if length == 0 || bits >= 1 << (length - 1) {
        bits
    } else {
        bits - (1 << length) + 1
    }
}

const DIRECT_VALUES: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

#[rustfmt::skip]
const LUMA_VALUES: [u8; 162] = [
    0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07, 0x22, 0x71,
    0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0, 0x24, 0x33, 0x62, 0x72,
    0x82, 0x09, 0x0a, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x34, 0x35, 0x36, 0x37,
    0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59,
    0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x83,
    0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3,
    0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3,
    0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe1, 0xe2,
    0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa,
];

#[rustfmt::skip]
const CHROMA_VALUES: [u8; 162] = [
    0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71, 0x13, 0x22,
    0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33, 0x52, 0xf0, 0x15, 0x62, 0x72, 0xd1,
    0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25, 0xf1, 0x17, 0x18, 0x19, 0x1a, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x35, 0x36,
    0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58,
    0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a,
    0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a,
    0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba,
    0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda,
    0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa,
];
