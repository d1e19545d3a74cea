//! Reading a table: a single checked pass over its blocks in order.
//!
//! The indexes of checkpoints are small and wanted whole, so there is no seeking: restart offsets are only skipped. All
//! lengths are checked before they are used, and no allocation is larger than the bytes in the file justify.

use std::borrow::Cow;
use std::path::Path;

use super::{FOOTER_SIZE, Handle, MAGIC, PLAIN, SNAPPY, TRAILER_SIZE};
use crate::error::{Error, TableProblem};
use crate::wire::{Cursor, mask};

/// A table in memory, usually in a mapped file.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    /// For errors.
    path: &'a Path,
    bytes: &'a [u8],
    index: Handle,
}

impl<'a> Table<'a> {
    /// Reads the footer of the table in `bytes`, and checks the (unused) metaindex block's checksum. `path` is what
    /// errors call the file.
    ///
    /// # Errors
    ///
    /// [`Error::Table`] if the bytes do not end in a table's footer, or a block it names is damaged.
    pub fn open(path: &'a Path, bytes: &'a [u8]) -> Result<Self, Error> {
        let fail = |offset: usize, problem| Error::Table {
            path: path.to_owned(),
            offset: offset as u64,
            problem,
        };
        let Some(start) = bytes.len().checked_sub(FOOTER_SIZE) else {
            return Err(fail(0, TableProblem::TooShort(bytes.len())));
        };
        let (handles, magic) = bytes[start..].split_at(FOOTER_SIZE - 8);
        let magic = Cursor::new(magic).fixed64().unwrap_or_default();
        if magic != MAGIC {
            return Err(fail(start + FOOTER_SIZE - 8, TableProblem::BadMagic(magic)));
        }
        let mut cursor = Cursor::new(handles);
        let (Some(metaindex), Some(index)) = (Handle::read(&mut cursor), Handle::read(&mut cursor))
        else {
            return Err(fail(start, TableProblem::BadHandle));
        };
        // A number of more bytes than it needs is a changed byte: nothing writes it, and no checksum covers the footer.
        let mut shortest = Vec::new();
        metaindex.write(&mut shortest);
        index.write(&mut shortest);
        if shortest.len() != cursor.position() {
            return Err(fail(start, TableProblem::BadHandle));
        }
        if handles[cursor.position()..].iter().any(|&byte| byte != 0) {
            return Err(fail(start + cursor.position(), TableProblem::BadPadding));
        }
        let table = Self { path, bytes, index };
        table.block(metaindex)?;
        Ok(table)
    }

    /// Calls `visit` with every key and value, in the order of the keys, until it fails.
    ///
    /// # Errors
    ///
    /// [`Error::Table`] where the table is damaged (a checksum does not match, an entry does not fit, keys do not
    /// increase), or what `visit` returned. Pairs before the damaged place have been visited by then.
    pub fn for_each(
        &self,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let index = self.block(self.index)?;
        let mut last_key: Option<Vec<u8>> = None;
        let mut handles = index.entries();
        // Blocks lie one behind the other. Were they free to overlap, a small file could have its bytes read over and over.
        let mut free_from = 0;
        while let Some(place) = handles.advance()? {
            let Some(handle) = Handle::read(&mut Cursor::new(handles.value)) else {
                return Err(index.fail(TableProblem::BadHandle));
            };
            if handle.offset < free_from {
                return Err(index.fail(TableProblem::BlocksOverlap));
            }
            let block = self.block(handle)?;
            free_from = handle.offset.saturating_add(handle.size);
            let mut entries = block.entries();
            while let Some(place) = entries.advance()? {
                if last_key.as_ref().is_some_and(|last| *last >= entries.key) {
                    return Err(block.fail(TableProblem::KeyOrder(place)));
                }
                visit(&entries.key, entries.value)?;
                last_key.get_or_insert_default().clone_from(&entries.key);
            }
            // What the index says of a block must be true, or a block was put in another's place.
            if last_key.as_ref().is_some_and(|last| *last > handles.key) {
                return Err(index.fail(TableProblem::KeyOrder(place)));
            }
        }
        Ok(())
    }

    /// The unpacked contents of a block whose checksum matches.
    fn block(&self, handle: Handle) -> Result<Block<'a>, Error> {
        let fail = |problem| Error::Table {
            path: self.path.to_owned(),
            offset: handle.offset,
            problem,
        };
        let outside = || fail(TableProblem::BlockOutside { size: handle.size });
        let stored_size = usize::try_from(handle.size).map_err(|_| outside())?;
        let size = stored_size.checked_add(TRAILER_SIZE).ok_or_else(outside)?;
        let start = usize::try_from(handle.offset).map_err(|_| outside())?;
        let end = start.checked_add(size).ok_or_else(outside)?;
        if end > self.bytes.len() - FOOTER_SIZE {
            return Err(outside());
        }
        let (checked, checksum) = self.bytes[start..end].split_at(size - 4);
        let stored = Cursor::new(checksum).fixed32().unwrap_or_default();
        let computed = mask(crc32c::crc32c(checked));
        if stored != computed {
            return Err(fail(TableProblem::Checksum { stored, computed }));
        }
        let (stored_contents, compression) = checked.split_at(stored_size);
        let contents = match compression {
            [PLAIN] => Cow::Borrowed(stored_contents),
            [SNAPPY] => Cow::Owned(unpack(stored_contents).map_err(fail)?),
            other => {
                return Err(fail(TableProblem::UnknownCompression(
                    other.first().copied().unwrap_or_default(),
                )));
            }
        };
        // The last number is that of the restart offsets before it.
        let restarts = contents
            .len()
            .checked_sub(4)
            .and_then(|at| {
                Some((
                    at,
                    usize::try_from(Cursor::at(&contents, at).fixed32()?).ok()?,
                ))
            })
            .and_then(|(at, count)| at.checked_sub(count.checked_mul(4)?));
        let Some(entries_end) = restarts else {
            return Err(fail(TableProblem::BadRestarts));
        };
        Ok(Block {
            path: self.path,
            offset: handle.offset,
            contents,
            entries_end,
        })
    }
}

/// Unpacks Snappy, whose densest element makes 64 bytes of 3: a claim beyond that is refused before memory is taken.
fn unpack(packed: &[u8]) -> Result<Vec<u8>, TableProblem> {
    let snappy = |error: snap::Error| TableProblem::Snappy(error.to_string());
    let claimed = snap::raw::decompress_len(packed).map_err(snappy)?;
    if claimed / 64 > packed.len() / 3 {
        return Err(TableProblem::SnappySize(claimed));
    }
    snap::raw::Decoder::new()
        .decompress_vec(packed)
        .map_err(snappy)
}

/// A block's contents.
struct Block<'a> {
    path: &'a Path,
    offset: u64,
    contents: Cow<'a, [u8]>,
    /// Where the restart offsets start.
    entries_end: usize,
}

impl Block<'_> {
    fn entries(&self) -> Entries<'_> {
        let cursor = Cursor::new(&self.contents[..self.entries_end]);
        Entries {
            block: self,
            cursor,
            key: Vec::new(),
            value: &[],
        }
    }

    fn fail(&self, problem: TableProblem) -> Error {
        Error::Table {
            path: self.path.to_owned(),
            offset: self.offset,
            problem,
        }
    }
}

/// A position among a block's entries: the current key is rebuilt in place from what it shares with the one before.
struct Entries<'a> {
    block: &'a Block<'a>,
    cursor: Cursor<'a>,
    key: Vec<u8>,
    value: &'a [u8],
}

impl Entries<'_> {
    /// Moves to the next entry; returns where it starts in the block, or `None` after the last.
    fn advance(&mut self) -> Result<Option<usize>, Error> {
        let start = self.cursor.position();
        if self.cursor.is_at_end() {
            return Ok(None);
        }
        match self.decode() {
            Some(()) => Ok(Some(start)),
            None => Err(self.block.fail(TableProblem::BadEntry(start))),
        }
    }

    fn decode(&mut self) -> Option<()> {
        let shared = self.cursor.length()?;
        let unshared = self.cursor.length()?;
        let value_length = self.cursor.length()?;
        if shared > self.key.len() {
            return None;
        }
        self.key.truncate(shared);
        self.key.extend_from_slice(self.cursor.take(unshared)?);
        self.value = self.cursor.take(value_length)?;
        Some(())
    }
}
