//! TFRecords: files of records, each with its length and checksums.
//!
//! A record is its length (8 bytes, little-endian), the masked CRC-32C of these 8 bytes, the bytes, and their masked CRC-32C.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use tfod_checkpoint::{masked_crc, open_regular};

use crate::error::ReadError;

/// The largest record that is read.
pub const LARGEST_RECORD: u64 = 1 << 30;
/// A record's length and its checksum.
const HEADER: u64 = 12;
/// What begins files that TensorFlow compressed.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The records of a file, each with the byte at which it begins.
#[derive(Debug)]
pub struct Records {
    path: PathBuf,
    file: BufReader<File>,
    size: u64,
    offset: u64,
    number: u64,
}

/// Where a record stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordPlace {
    /// The file.
    pub path: PathBuf,
    /// The number of the record in its file, from 0.
    pub number: u64,
    /// The byte at which its content begins.
    pub offset: u64,
}

impl RecordPlace {
    /// An error about the record.
    pub(crate) fn error(&self, problem: impl Into<String>) -> ReadError {
        let place = format!("record {}, from byte {}", self.number, self.offset);
        ReadError::new(&self.path, place, problem)
    }
}

impl Records {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let file = open_regular(path).map_err(|error| ReadError::io(path, &error))?;
        let metadata = file.metadata();
        let metadata = metadata.map_err(|error| ReadError::io(path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            file: BufReader::with_capacity(1 << 16, file),
            size: metadata.len(),
            offset: 0,
            number: 0,
        })
    }

    /// Goes to a record, which is then the next.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn seek(&mut self, place: &RecordPlace) -> Result<(), ReadError> {
        let start = place.offset.saturating_sub(HEADER);
        let moved = self.file.seek(SeekFrom::Start(start));
        moved.map_err(|error| ReadError::io(&self.path, &error))?;
        (self.offset, self.number) = (start, place.number);
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ReadError> {
        let read = self.file.read_exact(bytes);
        read.map_err(|error| {
            let cut = error.kind() == std::io::ErrorKind::UnexpectedEof;
            let problem = if cut {
                "the file ends within a record: it is cut short".to_owned()
            } else {
                format!("cannot be read: {error}")
            };
            self.here().error(problem)
        })?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn here(&self) -> RecordPlace {
        RecordPlace {
            path: self.path.clone(),
            number: self.number,
            offset: self.offset,
        }
    }

    fn record(&mut self) -> Result<(RecordPlace, Vec<u8>), ReadError> {
        let start = self.here();
        let length: [u8; 8] = self.take()?;
        let expected = u32::from_le_bytes(self.take()?);
        if masked_crc(&length) != expected {
            let problem = if length[..2] == GZIP && start.offset == 0 {
                "the file is compressed: uncompress it with gunzip"
            } else if start.offset == 0 {
                "no TFRecord: the checksum of the first record's length is wrong"
            } else {
                "the checksum of the record's length is wrong: the file is damaged"
            };
            return Err(start.error(problem));
        }
        let length = u64::from_le_bytes(length);
        let left = self.size.saturating_sub(self.offset);
        if length > left {
            let problem = format!(
                "the record has {length} bytes, but only {left} follow: the file is cut short"
            );
            return Err(start.error(problem));
        }
        if length > LARGEST_RECORD {
            let limit = LARGEST_RECORD >> 20;
            let problem = format!("the record has {length} bytes; the limit is {limit} MB");
            return Err(start.error(problem));
        }
        let place = self.here();
        // No longer than the file.
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        self.fill(&mut bytes)?;
        let expected = u32::from_le_bytes(self.take()?);
        let found = masked_crc(&bytes);
        if found != expected {
            let problem = format!(
                "the checksum of the record is {found:#010x}, expected {expected:#010x}: the file is damaged"
            );
            return Err(place.error(problem));
        }
        self.number += 1;
        Ok((place, bytes))
    }
}

/// Whether a file begins as TFRecords do: with a length and its checksum.
pub fn is_tfrecord(path: &Path) -> bool {
    let read = || {
        let mut header = [0; 12];
        open_regular(path)?.read_exact(&mut header)?;
        let (length, checksum) = header.split_at(8);
        Ok::<_, std::io::Error>(checksum == masked_crc(length).to_le_bytes())
    };
    read().unwrap_or(false)
}

impl Iterator for Records {
    type Item = Result<(RecordPlace, Vec<u8>), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.size {
            return None;
        }
        let record = self.record();
        if record.is_err() {
            // Without its length, nothing after a record can be found.
            self.offset = self.size;
        }
        Some(record)
    }
}
