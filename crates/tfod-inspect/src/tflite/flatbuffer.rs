//! FlatBuffers: tables of fields, found by offsets.
//!
//! Specified by <https://flatbuffers.dev/internals/>.

use std::cell::Cell;
use std::ops::Range;

use super::text;
use crate::error::Damage;

/// How many bytes may be read as tables, texts and numbers, or kept of them, for each byte of a file: names may be shared.
pub(super) const MOST_SPENT: usize = 8;
/// What even the smallest file may spend.
pub(super) const LEAST_SPENT: usize = 1 << 16;
/// What a table costs beside its texts and vectors, in bytes.
const TABLE: usize = 16;

/// A buffer of tables.
#[derive(Clone, Copy)]
pub(super) struct File<'a> {
    pub(super) bytes: &'a [u8],
    /// How many more bytes may be read or kept.
    pub(super) left: &'a Cell<usize>,
}

impl<'a> File<'a> {
    pub(super) fn damage(self, at: usize, problem: &'static str) -> Damage {
        Damage::new(self.bytes.get(at..).unwrap_or_default(), problem)
    }

    pub(super) fn array<const N: usize>(self, at: usize) -> Result<[u8; N], Damage> {
        let rest = self.bytes.get(at..).and_then(|rest| rest.first_chunk());
        let outside = || {
            self.damage(
                self.bytes.len(),
                "an offset points behind the end of the file",
            )
        };
        rest.copied().ok_or_else(outside)
    }

    pub(super) fn byte(self, at: usize) -> Result<u8, Damage> {
        Ok(self.array::<1>(at)?[0])
    }

    pub(super) fn short(self, at: usize) -> Result<usize, Damage> {
        Ok(u16::from_le_bytes(self.array(at)?).into())
    }

    pub(super) fn word(self, at: usize) -> Result<usize, Damage> {
        let word = u32::from_le_bytes(self.array(at)?);
        usize::try_from(word).map_err(|_| self.damage(at, "an offset is too large"))
    }

    /// Where a reference points.
    pub(super) fn follow(self, at: usize) -> Result<usize, Damage> {
        let to = at.checked_add(self.word(at)?);
        to.filter(|to| *to < self.bytes.len())
            .ok_or_else(|| self.damage(at, "an offset points behind the end of the file"))
    }

    /// Counts bytes that are read or kept.
    pub(super) fn spend(self, bytes: usize, at: usize) -> Result<(), Damage> {
        let left = self.left.get().checked_sub(bytes);
        let left = left.ok_or_else(|| self.damage(at, "the same parts are used over and over"))?;
        self.left.set(left);
        Ok(())
    }

    /// The places of the elements of a vector, of `size` bytes each.
    pub(super) fn vector(self, at: usize, size: usize) -> Result<Range<usize>, Damage> {
        let begin = at.saturating_add(4);
        let bytes = self.word(at)?.checked_mul(size);
        let end = bytes.and_then(|bytes| begin.checked_add(bytes));
        let end = end.filter(|end| *end <= self.bytes.len());
        let end =
            end.ok_or_else(|| self.damage(at, "a vector reaches behind the end of the file"))?;
        Ok(begin..end)
    }

    pub(super) fn table(self, at: usize) -> Result<Table<'a>, Damage> {
        let back = i64::from(i32::from_le_bytes(self.array(at)?));
        let vtable = i64::try_from(at).ok().and_then(|at| at.checked_sub(back));
        let vtable = vtable.and_then(|vtable| usize::try_from(vtable).ok());
        let vtable = vtable
            .ok_or_else(|| self.damage(at, "a table says that its fields are before the file"))?;
        let length = self.short(vtable)?;
        Ok(Table {
            file: self,
            at,
            vtable,
            slots: (length / 2).saturating_sub(2),
        })
    }
}

/// A table: fields by slot.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    pub(super) file: File<'a>,
    pub(super) at: usize,
    vtable: usize,
    slots: usize,
}

impl<'a> Table<'a> {
    pub(super) fn damage(&self, problem: &'static str) -> Damage {
        self.file.damage(self.at, problem)
    }

    /// Where a field is, if it is not at its default.
    pub(super) fn field(&self, slot: usize) -> Result<Option<usize>, Damage> {
        if slot >= self.slots {
            return Ok(None);
        }
        let offset = self.file.short(self.vtable.saturating_add(4 + 2 * slot))?;
        Ok((offset > 0).then(|| self.at.saturating_add(offset)))
    }

    pub(super) fn int(&self, slot: usize) -> Result<Option<i32>, Damage> {
        let field = self.field(slot)?;
        field
            .map(|at| Ok(i32::from_le_bytes(self.file.array(at)?)))
            .transpose()
    }

    /// An unsigned number of 32 bits.
    pub(super) fn number(&self, slot: usize) -> Result<u64, Damage> {
        let field = self.field(slot)?;
        Ok(field.map_or(Ok(0), |at| self.file.word(at))? as u64)
    }

    /// The places of a vector's elements.
    pub(super) fn vector(&self, slot: usize, size: usize) -> Result<Option<Range<usize>>, Damage> {
        let field = self.field(slot)?;
        field
            .map(|at| self.file.vector(self.file.follow(at)?, size))
            .transpose()
    }

    pub(super) fn read(&self, slot: usize, size: usize) -> Result<&'a [u8], Damage> {
        let range = self.vector(slot, size)?.unwrap_or(0..0);
        self.file.spend(range.len(), self.at)?;
        Ok(self.file.bytes.get(range).unwrap_or_default())
    }

    pub(super) fn text(&self, slot: usize) -> Result<String, Damage> {
        self.read(slot, 1).map(text)
    }

    pub(super) fn ints(&self, slot: usize) -> Result<Vec<i32>, Damage> {
        let words = self.read(slot, 4)?.as_chunks::<4>().0.iter();
        Ok(words.map(|word| i32::from_le_bytes(*word)).collect())
    }

    pub(super) fn floats(&self, slot: usize) -> Result<Vec<f32>, Damage> {
        let words = self.read(slot, 4)?.as_chunks::<4>().0.iter();
        Ok(words.map(|word| f32::from_le_bytes(*word)).collect())
    }

    /// The tables of a vector.
    pub(super) fn tables(
        &self,
        slot: usize,
    ) -> Result<impl Iterator<Item = Result<Table<'a>, Damage>> + use<'a>, Damage> {
        let range = self.vector(slot, 4)?.unwrap_or(0..0);
        let bytes = (range.len() / 4).saturating_mul(TABLE);
        self.file.spend(bytes, self.at)?;
        let file = self.file;
        Ok(range.step_by(4).map(move |at| file.table(file.follow(at)?)))
    }

    /// The table that a field refers to.
    pub(super) fn inner(&self, slot: usize) -> Result<Option<Self>, Damage> {
        let field = self.field(slot)?;
        field
            .map(|at| self.file.table(self.file.follow(at)?))
            .transpose()
    }

    /// One table of a vector, if it is there.
    pub(super) fn table(&self, slot: usize, number: u64) -> Result<Option<Table<'a>>, Damage> {
        let range = self.vector(slot, 4)?.unwrap_or(0..0);
        let place = usize::try_from(number)
            .ok()
            .and_then(|number| range.start.checked_add(number.checked_mul(4)?));
        place
            .filter(|at| range.contains(at))
            .map(|at| self.file.table(self.file.follow(at)?))
            .transpose()
    }
}
