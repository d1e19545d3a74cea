//! Writing a bundle of one shard, tensor by tensor, with nothing but the index kept in memory.
//!
//! Tensors come in the bytewise order of their keys and lie in the shard in that order, without gaps. The object graph's
//! key, `_CHECKPOINTABLE_OBJECT_GRAPH`, sorts before all that start with a lower-case letter.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tfod_proto::prost::Message;
use tfod_proto::tensor_shape_proto::Dim;
use tfod_proto::{BundleEntryProto, BundleHeaderProto, TensorShapeProto, VersionDef};

use tfod_text::Shown;

use super::entry::num_elements;
use super::{Bundle, FORMAT_VERSION, OBJECT_GRAPH_KEY, index_path, shard_path, strings};
use crate::DType;
use crate::error::Error;
use crate::object_graph::ObjectGraph;
use crate::pages::steps;
use crate::table::TableWriter;
use crate::wire::mask;

/// Writes a bundle to two sinks: `D` takes the only data shard, `I` the index.
#[derive(Debug)]
pub struct BundleWriter<D: Write, I: Write> {
    data: D,
    /// Bytes written to `data`.
    offset: u64,
    index: TableWriter<I>,
}

impl BundleWriter<NamedFile, NamedFile> {
    /// Creates `PREFIX.index` and `PREFIX.data-00000-of-00001`, or empties them if they exist. The folder must exist.
    ///
    /// To replace a bundle safely, write to another folder and rename that.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if a file cannot be created.
    pub fn create(prefix: &Path) -> Result<Self, Error> {
        let data = NamedFile::create(shard_path(prefix, 0, 1))?;
        Self::new(data, NamedFile::create(index_path(prefix))?)
    }

    /// Completes both files. Whoever lets them replace others has to wait until they are on the disk.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] or [`Error::Io`] if a file cannot be written.
    pub fn finish_files(self) -> Result<(), Error> {
        let (data, index) = self.finish()?;
        data.close()?;
        index.close()
    }
}

impl<D: Write, I: Write> BundleWriter<D, I> {
    /// A bundle without tensors yet.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] if a sink fails.
    pub fn new(data: D, index: I) -> Result<Self, Error> {
        let header = BundleHeaderProto {
            num_shards: 1,
            endianness: 0,
            version: Some(VersionDef {
                producer: FORMAT_VERSION,
                ..VersionDef::default()
            }),
        };
        let mut index = TableWriter::new(index);
        index.add(b"", &header.encode_to_vec())?;
        Ok(Self {
            data,
            offset: 0,
            index,
        })
    }

    /// Adds a numeric tensor: `bytes` are its elements in row-major order, little-endian.
    ///
    /// # Errors
    ///
    /// [`Error::WrongSize`] if `bytes` do not have the length that type and shape ask for, or the type has no fixed
    /// size; [`Error::KeyOrder`] if `key` does not sort after the one before; [`Error::Write`] if a sink fails. The
    /// bundle is of no use after an error.
    pub fn add(
        &mut self,
        key: &str,
        dtype: DType,
        shape: &[usize],
        bytes: &[u8],
    ) -> Result<(), Error> {
        let expected = dtype
            .size()
            .and_then(|each| num_elements(shape)?.checked_mul(each));
        if expected != Some(bytes.len()) {
            return Err(Error::WrongSize {
                key: key.to_owned(),
                dtype,
                shape: shape.to_owned(),
                expected: expected
                    .map_or("no fixed size".to_owned(), |size| format!("{size} bytes")),
                found: format!("{} bytes", bytes.len()),
            });
        }
        let mut crc = 0;
        steps(bytes, |step| {
            crc = crc32c::crc32c_append(crc, step);
            self.write(key, step)
        })?;
        self.add_entry(key, dtype, shape, bytes.len() as u64, mask(crc))
    }

    /// Adds a string tensor; `strings` are its elements in row-major order.
    ///
    /// # Errors
    ///
    /// As [`Self::add`].
    pub fn add_strings(
        &mut self,
        key: &str,
        shape: &[usize],
        strings: &[impl AsRef<[u8]>],
    ) -> Result<(), Error> {
        let expected = num_elements(shape);
        if expected != Some(strings.len()) {
            return Err(Error::WrongSize {
                key: key.to_owned(),
                dtype: DType::String,
                shape: shape.to_owned(),
                expected: expected.map_or("too many strings".to_owned(), |count| {
                    format!("{count} strings")
                }),
                found: format!("{} strings", strings.len()),
            });
        }
        let (head, checksum) = strings::encode_head(strings);
        self.write(key, &head)?;
        let mut size = head.len() as u64;
        for string in strings {
            self.write(key, string.as_ref())?;
            size += string.as_ref().len() as u64;
        }
        self.add_entry(key, DType::String, shape, size, checksum)
    }

    /// Adds the object graph, under its own key.
    ///
    /// # Errors
    ///
    /// As [`Self::add`].
    pub fn add_object_graph(&mut self, graph: &ObjectGraph) -> Result<(), Error> {
        self.add_strings(OBJECT_GRAPH_KEY, &[], &[graph.encode()])
    }

    /// Adds a tensor of another bundle, numeric or string, under the same key. Its checksum is verified on the way, and need not be computed again.
    ///
    /// # Errors
    ///
    /// As [`Bundle::tensor`] and [`Self::add`].
    pub fn copy(&mut self, from: &Bundle, key: &str) -> Result<(), Error> {
        let entry = from.entry(key)?;
        if entry.dtype() == DType::String {
            return self.add_strings(key, entry.shape(), &from.strings(key)?);
        }
        if entry.is_partitioned() {
            let tensor = from.tensor(key)?;
            return self.add(key, tensor.dtype, tensor.shape, &tensor.bytes);
        }
        let mut size = 0;
        from.stream(key, |step| {
            size += step.len() as u64;
            self.write(key, step)
        })?;
        self.add_entry(key, entry.dtype(), entry.shape(), size, entry.checksum())
    }

    /// Writes what is left of the index and returns both sinks, not flushed.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] if a sink fails.
    pub fn finish(self) -> Result<(D, I), Error> {
        Ok((self.data, self.index.finish()?))
    }

    fn add_entry(
        &mut self,
        key: &str,
        dtype: DType,
        shape: &[usize],
        size: u64,
        crc32c: u32,
    ) -> Result<(), Error> {
        // Sizes are those of slices in memory, which never exceed the signed range.
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let dim = |&size: &usize| Dim {
            size: signed(size as u64),
            name: String::new(),
        };
        let entry = BundleEntryProto {
            dtype: tfod_proto::DataType::from(dtype).into(),
            shape: Some(TensorShapeProto {
                dim: shape.iter().map(dim).collect(),
                unknown_rank: false,
            }),
            shard_id: 0,
            offset: signed(self.offset - size),
            size: signed(size),
            crc32c,
            slices: Vec::new(),
        };
        self.index.add(key.as_bytes(), &entry.encode_to_vec())
    }

    fn write(&mut self, key: &str, bytes: &[u8]) -> Result<(), Error> {
        self.data.write_all(bytes).map_err(|problem| Error::Write {
            what: format!("tensor `{key}`"),
            problem,
        })?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

/// A buffered file that knows its name for errors.
#[derive(Debug)]
pub struct NamedFile {
    path: PathBuf,
    file: BufWriter<File>,
}

impl NamedFile {
    fn create(path: PathBuf) -> Result<Self, Error> {
        match File::create(&path) {
            Ok(file) => Ok(Self {
                path,
                file: BufWriter::new(file),
            }),
            Err(problem) => Err(Error::Io {
                path,
                action: "create",
                problem,
            }),
        }
    }

    /// Writes what is buffered.
    fn close(mut self) -> Result<(), Error> {
        self.file.flush().map_err(|problem| Error::Io {
            path: self.path,
            action: "write",
            problem,
        })
    }

    fn named<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", self.path.shown()))
        })
    }
}

impl Write for NamedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes);
        self.named(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.file.flush();
        self.named(flushed)
    }
}
