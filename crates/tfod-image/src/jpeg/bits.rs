//! The bytes of a file: markers among them, and the bits of entropy-coded data between.
//!
//! In entropy-coded data a byte of ones is followed by a zero, or else it begins a marker, and the data end there. Bits that are wanted beyond are zeros, as
//! libjpeg has it: a damaged picture gets the same pixels as with TensorFlow and Pillow.

use super::Problem;

/// A place in a file, and the marker that was read before it and not dealt with yet.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    bytes: &'a [u8],
    at: usize,
    pub(super) marker: Option<u8>,
}

impl<'a> Source<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            marker: None,
        }
    }

    /// A problem at this place.
    pub(super) fn problem(&self, problem: impl Into<String>) -> Problem {
        Problem {
            at: self.at,
            problem: problem.into(),
        }
    }

    pub(super) fn truncated(&self) -> Problem {
        self.problem("the file ends before its end marker; it is truncated")
    }

    pub(super) fn byte(&mut self) -> Result<u8, Problem> {
        let byte = self.bytes.get(self.at).ok_or_else(|| self.truncated())?;
        self.at += 1;
        Ok(*byte)
    }

    pub(super) fn word(&mut self) -> Result<u16, Problem> {
        Ok(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Problem> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..count).ok_or_else(|| self.truncated())?;
        self.at += count;
        Ok(taken)
    }

    /// The content of a segment: what its two bytes of length count, which they are part of.
    pub(super) fn segment(&mut self) -> Result<&'a [u8], Problem> {
        let length = usize::from(self.word()?);
        let Some(length) = length.checked_sub(2) else {
            return Err(self.problem(format!(
                "a segment has the length {length}; its length itself has 2 bytes"
            )));
        };
        self.take(length)
    }

    /// The content of a segment that is not needed: for libjpeg, it may claim to be shorter than its length itself.
    pub(super) fn optional_segment(&mut self) -> Result<&'a [u8], Problem> {
        let length = usize::from(self.word()?);
        self.take(length.saturating_sub(2))
    }

    /// The marker that is to be dealt with: the pending one, or the next one in the file. Other bytes before it are passed over.
    pub(super) fn next_marker(&mut self) -> Result<u8, Problem> {
        if let Some(marker) = self.marker.take() {
            return Ok(marker);
        }
        loop {
            while self.byte()? != 0xff {}
            let mut byte = 0xff;
            while byte == 0xff {
                byte = self.byte()?;
            }
            if byte != 0 {
                return Ok(byte);
            }
        }
    }

    /// Passes the marker of a restart, of which there are eight in turn. At another one, what was lost is guessed, by the rule that libjpeg has.
    pub(super) fn restart(&mut self, expected: u8) -> Result<(), Problem> {
        let after = |steps: u8| Some(0xd0 + ((expected + steps) & 7));
        loop {
            let marker = self.next_marker()?;
            let found = Some(marker);
            if found == after(0) {
                return Ok(());
            }
            if marker < 0xc0 || found == after(7) || found == after(6) {
                // Not a marker of JPEG, or a restart that should have come before.
                continue;
            }
            if !(0xd0..=0xd7).contains(&marker) || found == after(1) || found == after(2) {
                // The data in between are missing.
                self.marker = found;
            }
            return Ok(());
        }
    }
}

/// Reads bits of entropy-coded data.
pub(super) struct Bits<'a> {
    source: Source<'a>,
    /// The next bits, from the highest on; zeros after them.
    buffer: u64,
    /// How many of them came from the file.
    left: u32,
    /// Whether more bits were taken than there were before a marker.
    pub(super) starved: bool,
    /// Whether the file ended within the data.
    pub(super) ended: bool,
}

impl<'a> Bits<'a> {
    pub(super) fn new(source: Source<'a>) -> Self {
        Self {
            source,
            buffer: 0,
            left: 0,
            starved: false,
            ended: false,
        }
    }

    /// The place after the data. Bits that were not used are dropped.
    pub(super) fn source(&self) -> Source<'a> {
        self.source
    }

    /// Goes on after the marker of a restart.
    pub(super) fn restart(&mut self, expected: u8) -> Result<(), Problem> {
        self.buffer = 0;
        self.left = 0;
        self.source.restart(expected)?;
        if self.source.marker.is_none() {
            self.starved = false;
        }
        Ok(())
    }

    /// Takes bytes from the file while there is room for them and no marker comes.
    #[inline]
    fn refill(&mut self) {
        let source = &mut self.source;
        if source.marker.is_none()
            && let Some((eight, _)) = source
                .bytes
                .get(source.at..)
                .and_then(<[u8]>::split_first_chunk::<8>)
        {
            let word = u64::from_be_bytes(*eight);
            // Whether no byte of it is 0xff: none is zero once all bits are turned.
            let turned = !word;
            let zeros = turned.wrapping_sub(0x0101_0101_0101_0101) & word & 0x8080_8080_8080_8080;
            if zeros == 0 {
                let count = (63 - self.left) >> 3;
                let taken = word & !(u64::MAX >> (count * 8));
                self.buffer |= taken >> self.left;
                self.left += count * 8;
                source.at += count as usize;
                return;
            }
        }
        self.refill_by_bytes();
    }

    #[inline(never)]
    fn refill_by_bytes(&mut self) {
        let source = &mut self.source;
        if source.marker.is_some() {
            return;
        }
        while self.left <= 56 {
            let Some(&byte) = source.bytes.get(source.at) else {
                self.ended = true;
                return;
            };
            source.at += 1;
            if byte == 0xff {
                let mut next = 0xff;
                while next == 0xff {
                    let Some(&byte) = source.bytes.get(source.at) else {
                        self.ended = true;
                        return;
                    };
                    source.at += 1;
                    next = byte;
                }
                if next != 0 {
                    source.marker = Some(next);
                    return;
                }
            }
            self.buffer |= u64::from(byte) << (56 - self.left);
            self.left += 8;
        }
    }

    /// Has the file's bits in the buffer, as many as a code and a value need, if there are so many.
    #[inline]
    pub(super) fn prefetch(&mut self) {
        if self.left < 32 {
            self.refill();
        }
    }

    /// The next bits, at most 16, without taking them.
    #[inline]
    pub(super) fn peek(&self, count: u32) -> u32 {
        // At most 16 bits are left after the shift.
        #[expect(clippy::cast_possible_truncation)]
        let bits = (self.buffer >> 1 >> (63 - count)) as u32;
        bits
    }

    /// Passes bits, at most 32.
    #[inline]
    pub(super) fn pass(&mut self, count: u32) {
        if self.left < count {
            self.refill();
            if self.left < count {
                self.starved = true;
                self.left = 64;
            }
        }
        self.buffer <<= count;
        self.left -= count;
    }

    /// Takes bits, at most 16.
    #[inline]
    pub(super) fn take(&mut self, count: u32) -> u32 {
        if self.left < count {
            self.refill();
        }
        let bits = self.peek(count);
        self.pass(count);
        bits
    }

    /// The problem that the file ended.
    pub(super) fn truncated(&self) -> Problem {
        self.source.truncated()
    }

    pub(super) fn problem(&self, problem: impl Into<String>) -> Problem {
        self.source.problem(problem)
    }
}
