//! An entry of the index, decoded and checked against itself once, so that later code may rely on it.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use tfod_proto::prost::Message;
use tfod_proto::{BundleEntryProto, TensorShapeProto};

use super::parts::Part;
use crate::DType;
use crate::error::{EntryProblem, Error};

/// What the index says of one tensor.
#[derive(Debug)]
pub struct Entry {
    pub(super) key: String,
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    pub(super) shard: u32,
    pub(super) offset: usize,
    pub(super) size: usize,
    pub(super) checksum: u32,
    /// The regions of a partitioned tensor, which has no bytes of its own; empty otherwise.
    pub(super) parts: Vec<Part>,
    /// Whether the bytes have been found to match the checksum.
    pub(super) verified: AtomicBool,
}

impl Entry {
    /// The tensor's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The type of its elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Its dimensions, outermost first; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The data shard that holds its bytes.
    pub fn shard(&self) -> u32 {
        self.shard
    }

    /// Where in the shard its bytes are; empty for a partitioned tensor.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.size
    }

    /// The masked CRC-32C of its bytes.
    pub fn checksum(&self) -> u32 {
        self.checksum
    }

    /// Whether the tensor was saved in parts, each with an entry of its own (TensorFlow 1's partitioned variables).
    pub fn is_partitioned(&self) -> bool {
        !self.parts.is_empty()
    }

    /// The number of its elements.
    pub fn num_elements(&self) -> usize {
        // Cannot overflow: checked when the entry was decoded.
        num_elements(&self.shape).unwrap_or_default()
    }

    /// Decodes the entry that `index` holds for `key`, of a bundle with `num_shards` shards.
    pub(super) fn decode(
        index: &Path,
        key: String,
        value: &[u8],
        num_shards: u32,
    ) -> Result<Self, Error> {
        match Self::checked(value, num_shards) {
            Ok(entry) => Ok(Self { key, ..entry }),
            Err(problem) => Err(Error::Entry {
                path: index.to_owned(),
                key,
                problem,
            }),
        }
    }

    fn checked(value: &[u8], num_shards: u32) -> Result<Self, EntryProblem> {
        let proto = BundleEntryProto::decode(value)
            .map_err(|error| EntryProblem::Undecodable(error.to_string()))?;
        let dtype =
            DType::from_proto(proto.dtype).ok_or(EntryProblem::UnknownDType(proto.dtype))?;
        let shape = dimensions(&proto.shape.unwrap_or_default())?;
        let elements = num_elements(&shape).ok_or(EntryProblem::TooLarge)?;
        let shard = u32::try_from(proto.shard_id)
            .ok()
            .filter(|&shard| shard < num_shards)
            .ok_or(EntryProblem::BadShard {
                found: proto.shard_id,
                count: num_shards,
            })?;
        let bad_range = EntryProblem::BadRange {
            offset: proto.offset,
            size: proto.size,
        };
        let (Ok(offset), Ok(size)) = (usize::try_from(proto.offset), usize::try_from(proto.size))
        else {
            return Err(bad_range);
        };
        if offset.checked_add(size).is_none() {
            return Err(bad_range);
        }
        let parts = proto
            .slices
            .iter()
            .enumerate()
            .map(|(i, slice)| Part::decode(i, slice, &shape))
            .collect::<Result<_, _>>()?;
        let entry = Self {
            key: String::new(),
            dtype,
            shape,
            shard,
            offset,
            size,
            checksum: proto.crc32c,
            parts,
            verified: AtomicBool::new(false),
        };
        entry.check_size(elements)?;
        Ok(entry)
    }

    fn check_size(&self, elements: usize) -> Result<(), EntryProblem> {
        let expected = match self.dtype {
            _ if self.is_partitioned() => return Ok(()),
            // Each string has a length of at least one byte; their checksum takes four.
            DType::String => match elements.checked_add(4).ok_or(EntryProblem::TooLarge)? {
                least if self.size >= least => return Ok(()),
                least => format!("at least {least} bytes"),
            },
            dtype => match dtype.size() {
                None => return Ok(()),
                Some(each) => match elements.checked_mul(each).ok_or(EntryProblem::TooLarge)? {
                    exact if self.size == exact => return Ok(()),
                    exact => format!("{exact} bytes"),
                },
            },
        };
        Err(EntryProblem::WrongSize {
            dtype: self.dtype,
            shape: self.shape.clone(),
            expected,
            found: self.size,
        })
    }
}

fn dimensions(shape: &TensorShapeProto) -> Result<Vec<usize>, EntryProblem> {
    if shape.unknown_rank {
        return Err(EntryProblem::BadShape);
    }
    shape
        .dim
        .iter()
        .map(|dim| usize::try_from(dim.size).map_err(|_| EntryProblem::BadShape))
        .collect()
}

/// The product of the dimensions, if it does not overflow.
pub(super) fn num_elements(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape
        .iter()
        .try_fold(1usize, |product, &dimension| product.checked_mul(dimension))
}
