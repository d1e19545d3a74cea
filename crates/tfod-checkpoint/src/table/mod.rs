//! LevelDB's sorted table: the file format of a checkpoint's index.
//!
//! A table maps byte strings to byte strings. Pairs sit in *blocks*, ordered bytewise; within a block a key is stored as
//! the length it shares with the key before and the rest. An *index block* maps, for each data block, a key not below its
//! last one to the block's place, and the *footer* says where the index block is. Each block is followed by its
//! compression and a masked CRC-32C. Specified by LevelDB's `doc/table_format.md`; TensorFlow writes the same format.
//!
//! ```text
//! data block… │ metaindex block (empty) │ index block │ footer
//! block  = contents, compression (1 byte), masked CRC-32C of both (4 bytes)
//! contents = entry…, restart offsets (4 bytes each), their number (4 bytes)
//! entry  = shared (varint), unshared (varint), value length (varint), rest of key, value
//! footer = metaindex handle, index handle (two varints each), zeros up to 40 bytes, magic (8 bytes)
//! ```

mod reader;
mod writer;

pub use reader::Table;
pub use writer::TableWriter;

use crate::wire::{Cursor, put_varint};

/// The last eight bytes of every table.
const MAGIC: u64 = 0xdb47_7524_8b80_fb57;

/// Footer: two handles, padding, magic.
const FOOTER_SIZE: usize = 48;

/// What follows each block: compression and checksum.
const TRAILER_SIZE: usize = 5;

/// Values of the compression byte.
const PLAIN: u8 = 0;
const SNAPPY: u8 = 1;

/// Where a block lies in the file, without its trailer.
#[derive(Clone, Copy, Debug)]
struct Handle {
    offset: u64,
    size: u64,
}

impl Handle {
    fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        Some(Self {
            offset: cursor.varint()?,
            size: cursor.varint()?,
        })
    }

    fn write(self, out: &mut Vec<u8>) {
        put_varint(out, self.offset);
        put_varint(out, self.size);
    }
}
