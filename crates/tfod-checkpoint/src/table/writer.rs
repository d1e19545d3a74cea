//! Writing a table the way TensorFlow does: plain blocks of about 256 KiB, a full key every 16 entries, and separators
//! in the index block that are as short as the order allows. The same pairs give the same bytes as TensorFlow's writer.

use std::io::Write;

use super::{FOOTER_SIZE, Handle, MAGIC, PLAIN};
use crate::error::Error;
use crate::wire::{mask, put_varint};

/// A data block is closed once it has this many bytes.
const BLOCK_SIZE: usize = 256 * 1024;

/// Entries from one full key to the next in data blocks.
const RESTART_INTERVAL: usize = 16;

/// Writes a table to a sink, block by block.
#[derive(Debug)]
pub struct TableWriter<W> {
    sink: W,
    /// Bytes written so far.
    offset: u64,
    block: BlockBuilder,
    index: BlockBuilder,
    /// A finished block that waits for the next key, so that the separator between the two can be short.
    finished: Option<Handle>,
    /// `None` before the first pair.
    last_key: Option<Vec<u8>>,
}

impl<W: Write> TableWriter<W> {
    /// A table without pairs yet.
    pub fn new(sink: W) -> Self {
        Self {
            sink,
            offset: 0,
            block: BlockBuilder::new(RESTART_INTERVAL),
            index: BlockBuilder::new(1),
            finished: None,
            last_key: None,
        }
    }

    /// Adds a pair. Keys must come in strictly increasing bytewise order.
    ///
    /// # Errors
    ///
    /// [`Error::KeyOrder`], or [`Error::Write`] if the sink fails; the table is of no use after that.
    pub fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        if let Some(last) = self.last_key.as_deref().filter(|last| key <= *last) {
            return Err(Error::KeyOrder {
                key: String::from_utf8_lossy(key).into_owned(),
                previous: String::from_utf8_lossy(last).into_owned(),
            });
        }
        let last_key = self.last_key.get_or_insert_default();
        if let Some(handle) = self.finished.take() {
            add_handle(&mut self.index, &separator(last_key, key), handle);
        }
        self.block.add(key, value);
        last_key.clear();
        last_key.extend_from_slice(key);
        if self.block.size() >= BLOCK_SIZE {
            self.close_block()?;
        }
        Ok(())
    }

    /// Writes what is left and returns the sink, not flushed.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] if the sink fails.
    pub fn finish(mut self) -> Result<W, Error> {
        if !self.block.is_empty() {
            self.close_block()?;
        }
        let metaindex = self.write_block(BlockBuilder::new(1))?;
        if let Some(handle) = self.finished.take() {
            add_handle(
                &mut self.index,
                &successor(self.last_key.as_deref().unwrap_or_default()),
                handle,
            );
        }
        let index = std::mem::replace(&mut self.index, BlockBuilder::new(1));
        let index = self.write_block(index)?;
        let mut footer = Vec::with_capacity(FOOTER_SIZE);
        metaindex.write(&mut footer);
        index.write(&mut footer);
        footer.resize(FOOTER_SIZE - 8, 0);
        footer.extend_from_slice(&MAGIC.to_le_bytes());
        self.write(&footer)?;
        Ok(self.sink)
    }

    fn close_block(&mut self) -> Result<(), Error> {
        let block = std::mem::replace(&mut self.block, BlockBuilder::new(RESTART_INTERVAL));
        self.finished = Some(self.write_block(block)?);
        Ok(())
    }

    fn write_block(&mut self, block: BlockBuilder) -> Result<Handle, Error> {
        let mut contents = block.finish();
        let handle = Handle {
            offset: self.offset,
            size: contents.len() as u64,
        };
        contents.push(PLAIN);
        let checksum = mask(crc32c::crc32c(&contents));
        contents.extend_from_slice(&checksum.to_le_bytes());
        self.write(&contents)?;
        Ok(handle)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.sink.write_all(bytes).map_err(|problem| Error::Write {
            what: "the index".to_owned(),
            problem,
        })?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

fn add_handle(index: &mut BlockBuilder, key: &[u8], handle: Handle) {
    let mut value = Vec::new();
    handle.write(&mut value);
    index.add(key, &value);
}

/// A short key that is not below `key` and is below `next`.
fn separator(key: &[u8], next: &[u8]) -> Vec<u8> {
    let shared = shared_prefix(key, next);
    match (key.get(shared), next.get(shared)) {
        (Some(&byte), Some(&limit)) if byte < 0xff && byte + 1 < limit => incremented(key, shared),
        _ => key.to_vec(),
    }
}

/// A short key that is not below `key`.
fn successor(key: &[u8]) -> Vec<u8> {
    match key.iter().position(|&byte| byte != 0xff) {
        Some(at) => incremented(key, at),
        None => key.to_vec(),
    }
}

/// `key` up to and with the byte `at`, which is below 0xff and is raised by one.
fn incremented(key: &[u8], at: usize) -> Vec<u8> {
    let mut short = key[..=at].to_vec();
    short[at] += 1;
    short
}

fn shared_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Collects the entries of one block.
#[derive(Debug)]
struct BlockBuilder {
    contents: Vec<u8>,
    restarts: Vec<u32>,
    interval: usize,
    /// Entries since the last full key.
    since_restart: usize,
    last_key: Vec<u8>,
}

impl BlockBuilder {
    fn new(interval: usize) -> Self {
        Self {
            contents: Vec::new(),
            restarts: vec![0],
            interval,
            since_restart: 0,
            last_key: Vec::new(),
        }
    }

    fn add(&mut self, key: &[u8], value: &[u8]) {
        let shared = if self.since_restart < self.interval {
            shared_prefix(&self.last_key, key)
        } else {
            // A block is closed near 256 KiB; only a single value of 4 GiB could overflow this.
            self.restarts
                .push(u32::try_from(self.contents.len()).unwrap_or(u32::MAX));
            self.since_restart = 0;
            0
        };
        put_varint(&mut self.contents, shared as u64);
        put_varint(&mut self.contents, (key.len() - shared) as u64);
        put_varint(&mut self.contents, value.len() as u64);
        self.contents.extend_from_slice(&key[shared..]);
        self.contents.extend_from_slice(value);
        self.since_restart += 1;
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
    }

    fn is_empty(&self) -> bool {
        self.contents.is_empty()
    }

    /// Bytes of the block if it were finished now.
    fn size(&self) -> usize {
        self.contents.len() + 4 * (self.restarts.len() + 1)
    }

    fn finish(mut self) -> Vec<u8> {
        let count = u32::try_from(self.restarts.len()).unwrap_or(u32::MAX);
        for number in self.restarts.into_iter().chain([count]) {
            self.contents.extend_from_slice(&number.to_le_bytes());
        }
        self.contents
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;
    use crate::error::TableProblem;
    use crate::table::{SNAPPY, Table};
    use crate::wire::Cursor;

    type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

    fn written(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let mut writer = TableWriter::new(Vec::new());
        for (key, value) in pairs {
            writer.add(key, value).unwrap();
        }
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<Pairs, Error> {
        let mut pairs = Vec::new();
        Table::open(Path::new("test.index"), bytes)?.for_each(|key, value| {
            pairs.push((key.to_vec(), value.to_vec()));
            Ok(())
        })?;
        Ok(pairs)
    }

    /// The same table with its only data block compressed, as TensorFlow wrote them until 2020.
    fn packed(plain: &[u8], pack: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let mut footer = Cursor::at(plain, plain.len() - FOOTER_SIZE);
        // The metaindex follows the data block and its trailer of five bytes.
        let data_size = usize::try_from(Handle::read(&mut footer).unwrap().offset).unwrap() - 5;
        let mut contents = pack(&plain[..data_size]);
        let handle = Handle {
            offset: 0,
            size: contents.len() as u64,
        };
        contents.push(SNAPPY);
        contents.extend_from_slice(&mask(crc32c::crc32c(&contents)).to_le_bytes());
        let mut writer = TableWriter::new(contents);
        writer.offset = writer.sink.len() as u64;
        writer.finished = Some(handle);
        writer.last_key = Some(vec![0xff; 64]);
        writer.finish().unwrap()
    }

    /// No checksum covers the footer, so each of its bits is tried: the top one of a number's last byte makes it longer, and leaves its value.
    #[test]
    fn any_changed_bit_of_a_footer_is_noticed() {
        let plain = written(&[(b"key".to_vec(), vec![7; 300])]);
        for at in plain.len() - FOOTER_SIZE..plain.len() {
            for bit in 0..8 {
                let mut bytes = plain.clone();
                bytes[at] ^= 1 << bit;
                assert!(read(&bytes).is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    fn snappy(bytes: &[u8]) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(bytes).unwrap()
    }

    fn problem(result: Result<Pairs, Error>) -> TableProblem {
        match result {
            Err(Error::Table { problem, .. }) => problem,
            other => panic!("expected a damaged table, got {other:?}"),
        }
    }

    /// Keys over a small alphabet, so that long shared prefixes and keys that are prefixes of others are common.
    fn pairs() -> impl Strategy<Value = Pairs> {
        let key = vec(
            prop_oneof![Just(b'a'), Just(b'/'), Just(0), Just(0xff)],
            0..12,
        );
        btree_map(key, vec(any::<u8>(), 0..40), 0..80).prop_map(|map| map.into_iter().collect())
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(pairs in pairs()) {
            prop_assert_eq!(read(&written(&pairs)).unwrap(), pairs);
        }

        #[test]
        fn compressed_blocks_are_read(pairs in pairs().prop_filter("a block", |pairs| !pairs.is_empty())) {
            prop_assert_eq!(read(&packed(&written(&pairs), snappy)).unwrap(), pairs);
        }

        #[test]
        fn any_changed_byte_is_noticed(pairs in pairs(), at: prop::sample::Index, flip in 1u8..) {
            let mut bytes = written(&pairs);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert!(read(&bytes).is_err());
        }

        #[test]
        fn any_changed_byte_of_a_compressed_table_is_noticed(pairs in pairs(), at: prop::sample::Index, flip in 1u8..) {
            prop_assume!(!pairs.is_empty());
            let mut bytes = packed(&written(&pairs), snappy);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert!(read(&bytes).is_err());
        }

        #[test]
        fn any_truncation_is_noticed(pairs in pairs(), at: prop::sample::Index) {
            let bytes = written(&pairs);
            prop_assert!(read(&bytes[..at.index(bytes.len())]).is_err());
        }

        /// Checksums hide the parser from random bytes, so here they are made to match.
        #[test]
        fn arbitrary_block_contents_never_panic(contents in vec(any::<u8>(), 0..200)) {
            let plain = written(&[(b"k".to_vec(), b"v".to_vec())]);
            let _ = read(&packed(&plain, |_| contents.clone()));
            let _ = read(&packed(&plain, |_| snappy(&contents)));
        }

        #[test]
        fn separators_separate(a in vec(any::<u8>(), 0..5), b in vec(any::<u8>(), 0..5)) {
            prop_assume!(a < b);
            let between = separator(&a, &b);
            prop_assert!(a <= between && between < b && between.len() <= a.len());
            prop_assert!(a <= successor(&a));
        }
    }

    #[test]
    fn tables_of_several_blocks_are_read() {
        let pairs: Pairs = (0..40_000u32)
            .map(|i| {
                (
                    format!("layer/{i:06}/kernel").into_bytes(),
                    i.to_le_bytes().to_vec(),
                )
            })
            .collect();
        let bytes = written(&pairs);
        assert!(bytes.len() > 2 * BLOCK_SIZE);
        assert_eq!(read(&bytes).unwrap(), pairs);
    }

    #[test]
    fn keys_out_of_order_are_refused() {
        let mut writer = TableWriter::new(Vec::new());
        writer.add(b"b", b"").unwrap();
        assert!(matches!(writer.add(b"a", b""), Err(Error::KeyOrder { .. })));
        assert!(matches!(writer.add(b"b", b""), Err(Error::KeyOrder { .. })));
    }

    #[test]
    fn an_impossible_claim_of_snappy_is_refused_before_allocation() {
        let plain = written(&[(b"k".to_vec(), b"v".to_vec())]);
        let bytes = packed(&plain, |_| vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0]);
        assert_eq!(problem(read(&bytes)), TableProblem::SnappySize(0xffff_ffff));
    }

    #[test]
    fn what_is_no_table_is_said_to_be_none() {
        assert_eq!(problem(read(b"")), TableProblem::TooShort(0));
        assert_eq!(
            problem(read(&[7; 100])),
            TableProblem::BadMagic(0x0707_0707_0707_0707)
        );
    }
}
