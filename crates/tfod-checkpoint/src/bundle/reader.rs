//! Reading a bundle: the index at once, shards when a tensor in them is first asked for.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use tfod_proto::BundleHeaderProto;
use tfod_proto::bundle_header_proto::Endianness;
use tfod_proto::prost::Message;

use tfod_text::Shown;

use super::entry::Entry;
use super::parts::Part;
use super::{FORMAT_VERSION, OBJECT_GRAPH_KEY, index_path, shard_path, strings};
use crate::DType;
use crate::error::{EntryProblem, Error, HeaderProblem, TensorProblem};
use crate::map::MappedFile;
use crate::object_graph::ObjectGraph;
use crate::pages::steps;
use crate::table::Table;
use crate::wire::{mask, masked_crc_of_map};

/// Prefix compression lets a small index expand to endless keys, and short keys let it have endless entries. A model with a million variables
/// stays below this.
const MAX_KEY_BYTES: usize = 256 << 20;
/// What an entry counts besides its key. In memory it takes some 350 bytes.
const ENTRY_BYTES: usize = 64;

/// How a checkpoint names its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleKind {
    /// TensorFlow 2: keys are paths through Python objects, and the bundle holds their graph.
    ObjectBased,
    /// TensorFlow 1: keys are the variables' names.
    NameBased,
}

/// An open bundle. Cheap to open: only the index is read.
#[derive(Debug)]
pub struct Bundle {
    prefix: PathBuf,
    index_path: PathBuf,
    num_shards: u32,
    entries: BTreeMap<String, Entry>,
    /// Entries of the parts of partitioned tensors, by their encoded keys.
    parts: BTreeMap<Vec<u8>, Entry>,
    /// The shards that entries mention, mapped when first needed.
    shards: BTreeMap<u32, OnceLock<MappedFile>>,
}

/// A numeric tensor whose checksum matched.
#[derive(Clone, Debug)]
pub struct TensorRef<'a> {
    /// The type of its elements.
    pub dtype: DType,
    /// Its dimensions, outermost first; empty for a scalar.
    pub shape: &'a [usize],
    /// Its elements in row-major order, little-endian, at no particular alignment. Borrowed from the mapped file, except
    /// for partitioned tensors.
    pub bytes: Cow<'a, [u8]>,
}

impl Bundle {
    /// Opens the bundle at `prefix` (`folder/ckpt-12`, not `folder/ckpt-12.index`). Data shards may be absent as long
    /// as no tensor in them is read.
    ///
    /// # Errors
    ///
    /// [`Error::MissingIndex`], [`Error::LfsPointer`], [`Error::Table`], [`Error::Header`] or [`Error::Entry`] where
    /// the index is absent, is not the file itself, or is damaged.
    pub fn open(prefix: impl Into<PathBuf>) -> Result<Self, Error> {
        let prefix = prefix.into();
        let index_path = index_path(&prefix);
        let file = MappedFile::open(&index_path, || Error::MissingIndex {
            path: index_path.clone(),
        })?;
        let mut bundle = Self {
            prefix,
            index_path,
            num_shards: 0,
            entries: BTreeMap::new(),
            parts: BTreeMap::new(),
            shards: BTreeMap::new(),
        };
        let mut key_bytes = 0;
        Table::open(file.path(), file.bytes())?.for_each(|key, value| {
            key_bytes += key.len() + ENTRY_BYTES;
            if key_bytes > MAX_KEY_BYTES {
                return Err(bundle.bad_header(HeaderProblem::TooManyKeys(MAX_KEY_BYTES)));
            }
            // The empty key sorts first, so the number of shards is known when the first entry comes.
            if key.is_empty() {
                bundle.read_header(value)
            } else {
                bundle.read_entry(key, value)
            }
        })?;
        // What was parsed may not be what was verified, if the file lost bytes in between.
        file.check_length()?;
        if bundle.num_shards == 0 {
            return Err(bundle.bad_header(HeaderProblem::Missing));
        }
        Ok(bundle)
    }

    fn bad_header(&self, problem: HeaderProblem) -> Error {
        Error::Header {
            path: self.index_path.clone(),
            problem,
        }
    }

    fn read_header(&mut self, value: &[u8]) -> Result<(), Error> {
        let header = BundleHeaderProto::decode(value)
            .map_err(|error| self.bad_header(HeaderProblem::Undecodable(error.to_string())))?;
        if header.endianness() == Endianness::Big {
            return Err(self.bad_header(HeaderProblem::BigEndian));
        }
        let needed = header.version.unwrap_or_default().min_consumer;
        if needed > FORMAT_VERSION {
            return Err(self.bad_header(HeaderProblem::TooNew(needed)));
        }
        self.num_shards = u32::try_from(header.num_shards)
            .ok()
            .filter(|&count| count > 0)
            .ok_or_else(|| self.bad_header(HeaderProblem::BadShardCount(header.num_shards)))?;
        Ok(())
    }

    fn read_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        if self.num_shards == 0 {
            return Err(self.bad_header(HeaderProblem::Missing));
        }
        let is_part = key.first() == Some(&0);
        let name = match std::str::from_utf8(key) {
            Ok(name) if !is_part => name.to_owned(),
            _ => String::from_utf8_lossy(key).into_owned(),
        };
        let entry = Entry::decode(&self.index_path, name, value, self.num_shards)?;
        if !entry.is_partitioned() {
            self.shards.entry(entry.shard).or_default();
        }
        if is_part {
            self.parts.insert(key.to_vec(), entry);
        } else if entry.key.as_bytes() == key {
            self.entries.insert(entry.key.clone(), entry);
        } else {
            return Err(self.bad_entry(&entry, EntryProblem::KeyNotUtf8));
        }
        Ok(())
    }

    /// The prefix it was opened with.
    pub fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// The number of data shards, which need not all hold something.
    pub fn num_shards(&self) -> u32 {
        self.num_shards
    }

    /// All tensors, in the bytewise order of their keys.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.values()
    }

    /// All tensors, and the parts of partitioned ones.
    pub(super) fn all_entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().chain(self.parts.values())
    }

    /// What the index says of a tensor.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Like [`Self::get`], for a tensor that must be there.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchTensor`]
    pub fn entry(&self, key: &str) -> Result<&Entry, Error> {
        self.get(key).ok_or_else(|| Error::NoSuchTensor {
            path: self.index_path.clone(),
            key: key.to_owned(),
        })
    }

    /// Whether this is an object-based checkpoint.
    pub fn kind(&self) -> BundleKind {
        if self.entries.contains_key(OBJECT_GRAPH_KEY) {
            BundleKind::ObjectBased
        } else {
            BundleKind::NameBased
        }
    }

    /// A numeric tensor. Its checksum is verified the first time it is read from this `Bundle`, and not again.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchTensor`]; [`Error::WrongType`] for strings, resources and variants; [`Error::MissingShard`],
    /// [`Error::LfsPointer`] or [`Error::Shrunk`] of the data shard; [`Error::Tensor`] if the shard is too short or the
    /// checksum does not match; [`Error::Entry`] if the parts of a partitioned tensor do not make it up.
    pub fn tensor(&self, key: &str) -> Result<TensorRef<'_>, Error> {
        self.read(key, |entry| self.verified(entry))
    }

    /// As [`Self::tensor`], without verifying the checksum of a tensor that is not partitioned: for those who verify it later, by [`Self::verify`] or
    /// [`Self::stream`], before they trust what came of it.
    ///
    /// # Errors
    ///
    /// As [`Self::tensor`].
    pub fn unverified_tensor(&self, key: &str) -> Result<TensorRef<'_>, Error> {
        self.read(key, |entry| Ok(self.raw(entry)?.1))
    }

    /// Verifies the checksum of a numeric tensor, unless it has been.
    ///
    /// # Errors
    ///
    /// As [`Self::tensor`].
    pub fn verify(&self, key: &str) -> Result<(), Error> {
        self.tensor(key).map(drop)
    }

    fn read<'a>(
        &'a self,
        key: &str,
        bytes: impl FnOnce(&'a Entry) -> Result<&'a [u8], Error>,
    ) -> Result<TensorRef<'a>, Error> {
        let entry = self.entry(key)?;
        let Some(element_size) = entry.dtype.size() else {
            return Err(self.wrong_type(entry, "a numeric type"));
        };
        let bytes = if entry.is_partitioned() {
            Cow::Owned(self.assemble(entry, element_size)?)
        } else {
            Cow::Borrowed(bytes(entry)?)
        };
        Ok(TensorRef {
            dtype: entry.dtype,
            shape: &entry.shape,
            bytes,
        })
    }

    /// Hands the elements of a numeric tensor to `sink`, in pieces of whole elements and at most 256 KiB, and verifies the checksum on the way: where that is the error, `sink` has had bytes
    /// that are not right. Unlike after [`Self::tensor`], the pages of the map do not stay in memory. A partitioned tensor comes as one piece.
    ///
    /// # Errors
    ///
    /// As [`Self::tensor`], and those of `sink`.
    pub fn stream<E: From<Error>>(
        &self,
        key: &str,
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let entry = self.entry(key)?;
        if entry.is_partitioned() || entry.dtype.size().is_none() {
            return sink(&self.tensor(key)?.bytes);
        }
        let (file, bytes) = self.raw(entry)?;
        let mut crc = 0;
        steps(bytes, |step| {
            crc = crc32c::crc32c_append(crc, step);
            sink(step)
        })?;
        Ok(check_checksum(file, entry, mask(crc))?)
    }

    /// The elements of a string tensor in row-major order. Its checksums are verified each time.
    ///
    /// # Errors
    ///
    /// As [`Self::tensor`]; [`Error::WrongType`] for anything but strings.
    pub fn strings(&self, key: &str) -> Result<Vec<&[u8]>, Error> {
        let entry = self.entry(key)?;
        if entry.dtype != DType::String || entry.is_partitioned() {
            return Err(self.wrong_type(entry, "string (not partitioned)"));
        }
        let (file, bytes) = self.raw(entry)?;
        strings::decode(bytes, entry.num_elements(), entry.checksum)
            .map_err(|problem| cut_short(file, tensor_error(file, entry, problem)))
    }

    /// The object graph.
    ///
    /// # Errors
    ///
    /// [`Error::NameBased`] if there is none; as [`Self::strings`]; [`Error::ObjectGraph`] if it is damaged.
    pub fn object_graph(&self) -> Result<ObjectGraph, Error> {
        if self.kind() == BundleKind::NameBased {
            return Err(Error::NameBased {
                path: self.index_path.clone(),
            });
        }
        let strings = self.strings(OBJECT_GRAPH_KEY)?;
        let place = self.index_path.shown().to_string();
        let decoded = match strings.as_slice() {
            [graph] => ObjectGraph::decode(graph, &place),
            _ => Err(Error::ObjectGraph {
                place,
                problem: format!("{} strings instead of one", strings.len()),
            }),
        };
        // It was whole when its checksum was computed, and may have been cut short since.
        decoded.map_err(|error| self.check_lengths().err().unwrap_or(error))
    }

    /// Checks that no data shard that was read has lost bytes since it was opened. A program that has called [`guard_maps`](crate::guard_maps)
    /// has to ask this after its last use of any tensor, before it trusts what came of it.
    ///
    /// # Errors
    ///
    /// [`Error::Shrunk`] for the first that has.
    pub fn check_lengths(&self) -> Result<(), Error> {
        let mut open = self.shards.values().filter_map(OnceLock::get);
        open.try_for_each(MappedFile::check_length)
    }

    fn bad_entry(&self, entry: &Entry, problem: EntryProblem) -> Error {
        Error::Entry {
            path: self.index_path.clone(),
            key: entry.key.clone(),
            problem,
        }
    }

    fn wrong_type(&self, entry: &Entry, expected: &'static str) -> Error {
        Error::WrongType {
            path: self.index_path.clone(),
            key: entry.key.clone(),
            expected,
            found: entry.dtype,
        }
    }

    /// The mapped shard of an entry.
    fn shard(&self, entry: &Entry) -> Result<&MappedFile, Error> {
        let path = shard_path(&self.prefix, entry.shard, self.num_shards);
        let missing = || Error::MissingShard {
            path: path.clone(),
            key: entry.key.clone(),
        };
        let shard = self.shards.get(&entry.shard).ok_or_else(missing)?;
        if let Some(file) = shard.get() {
            return Ok(file);
        }
        let file = MappedFile::open(&path, missing)?;
        Ok(shard.get_or_init(|| file))
    }

    /// The bytes of an entry as they are, and the shard they are in.
    fn raw(&self, entry: &Entry) -> Result<(&MappedFile, &[u8]), Error> {
        let file = self.shard(entry)?;
        file.check_length()?;
        match file.bytes().get(entry.range()) {
            Some(bytes) => Ok((file, bytes)),
            None => Err(tensor_error(
                file,
                entry,
                TensorProblem::Outside(file.bytes().len()),
            )),
        }
    }

    /// The bytes of an entry, which match their checksum.
    fn verified(&self, entry: &Entry) -> Result<&[u8], Error> {
        let (file, bytes) = self.raw(entry)?;
        if !entry.verified.load(Ordering::Relaxed) {
            check_checksum(file, entry, masked_crc_of_map(bytes))?;
            entry.verified.store(true, Ordering::Relaxed);
        }
        Ok(bytes)
    }

    /// A partitioned tensor, put together from its parts.
    fn assemble(&self, entry: &Entry, element_size: usize) -> Result<Vec<u8>, Error> {
        let fail = |problem| self.bad_entry(entry, problem);
        for (i, part) in entry.parts.iter().enumerate() {
            if let Some(j) = entry.parts[..i]
                .iter()
                .position(|earlier| earlier.overlaps(part))
            {
                return Err(fail(EntryProblem::PartsOverlap(j, i)));
            }
        }
        // Parts do not overlap, so this sum is at most the tensor's own number of elements.
        let found = entry.parts.iter().map(Part::num_elements).sum();
        let expected = entry.num_elements();
        if found != expected {
            return Err(fail(EntryProblem::PartsDoNotCover { expected, found }));
        }
        let mut sources = Vec::with_capacity(entry.parts.len());
        for (i, part) in entry.parts.iter().enumerate() {
            let source = self
                .parts
                .get(&part.key(&entry.key))
                .ok_or_else(|| fail(EntryProblem::MissingPart(i)))?;
            if source.dtype != entry.dtype
                || source.shape != part.shape()
                || source.is_partitioned()
            {
                return Err(fail(EntryProblem::PartMismatch(i)));
            }
            sources.push((part, self.verified(source)?));
        }
        // Different parts could claim the same bytes of a file; then a small file would ask for endless memory.
        let in_files = self
            .shards
            .values()
            .filter_map(OnceLock::get)
            .map(|file| file.bytes().len())
            .sum();
        let size = expected
            .checked_mul(element_size)
            .filter(|&size| size <= in_files)
            .ok_or_else(|| fail(EntryProblem::LargerThanFiles))?;
        let mut tensor = vec![0; size];
        for (part, bytes) in sources {
            part.copy(bytes, &mut tensor, &entry.shape, element_size);
        }
        Ok(tensor)
    }
}

/// Checks the checksum of an entry's bytes.
fn check_checksum(file: &MappedFile, entry: &Entry, computed: u32) -> Result<(), Error> {
    if computed == entry.checksum {
        return Ok(());
    }
    let problem = TensorProblem::Checksum {
        stored: entry.checksum,
        computed,
    };
    Err(cut_short(file, tensor_error(file, entry, problem)))
}

/// The error to report of bytes that are not what they should be: that their file was cut short while they were read, if it was.
fn cut_short(file: &MappedFile, error: Error) -> Error {
    file.check_length().err().unwrap_or(error)
}

fn tensor_error(file: &MappedFile, entry: &Entry, problem: TensorProblem) -> Error {
    Error::Tensor {
        path: file.path().to_owned(),
        key: entry.key.clone(),
        offset: entry.offset as u64,
        size: entry.size as u64,
        problem,
    }
}
