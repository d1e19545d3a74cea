//! What can go wrong. Every message is complete by itself: the file, the place in it, what was expected, what was found,
//! and what to do about it. Nothing of use is left to `source()`.

use std::fmt;
use std::io;
use std::path::PathBuf;

use tfod_text::Shown;

use crate::DType;

/// Any failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{}: cannot {action}: {problem}", path.shown())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done, as a verb.
        action: &'static str,
        /// The system's answer.
        problem: io::Error,
    },

    /// A sink given to a writer refused.
    #[error("cannot write {what}: {problem}")]
    Write {
        /// What was being written.
        what: String,
        /// The sink's answer.
        problem: io::Error,
    },

    /// There is no index at the prefix.
    #[error("{}: no such file; a checkpoint PREFIX is stored as PREFIX.index and PREFIX.data-*", path.shown())]
    MissingIndex {
        /// Where the index would be.
        path: PathBuf,
    },

    /// A tensor lies in a data shard that is not there.
    #[error("{}: no such file; tensor `{key}` is stored in it: copy it next to the index", path.shown(), key = key.shown())]
    MissingShard {
        /// Where the shard would be.
        path: PathBuf,
        /// The tensor that was asked for.
        key: String,
    },

    /// The text that Git leaves in place of a large file.
    #[error("{}: this is a Git LFS pointer, not the file itself; run `git lfs pull` in its repository", path.shown())]
    LfsPointer {
        /// The pointer file.
        path: PathBuf,
    },

    /// A mapped file lost bytes while in use.
    #[error("{}: cut short while in use: it had {mapped} bytes, now {now}; is something still writing it?", path.shown())]
    Shrunk {
        /// The file.
        path: PathBuf,
        /// Its length when it was opened.
        mapped: u64,
        /// Its length now.
        now: u64,
    },

    /// A sorted table is damaged, or is no table.
    #[error("{}: at byte {offset}: {problem}; copy or download the file again", path.shown())]
    Table {
        /// The table's file.
        path: PathBuf,
        /// Where in the file the damaged part starts.
        offset: u64,
        /// What is wrong.
        problem: TableProblem,
    },

    /// Keys were given to a table or bundle writer out of order.
    #[error(
        "key `{key}` was added after `{previous}`: keys must be added in strictly increasing bytewise order", key = key.shown(), previous = previous.shown())]
    KeyOrder {
        /// The key that came too late.
        key: String,
        /// The key before it.
        previous: String,
    },

    /// The index has no usable header.
    #[error("{}: header entry (the empty key): {problem}", path.shown())]
    Header {
        /// The index.
        path: PathBuf,
        /// What is wrong.
        problem: HeaderProblem,
    },

    /// An entry of the index contradicts itself.
    #[error("{}: tensor `{key}`: {problem}; the index is damaged or of an unknown kind", path.shown(), key = key.shown())]
    Entry {
        /// The index.
        path: PathBuf,
        /// The tensor.
        key: String,
        /// What is wrong.
        problem: EntryProblem,
    },

    /// No tensor has that key.
    #[error("{}: has no tensor `{key}`", path.shown(), key = key.shown())]
    NoSuchTensor {
        /// The index.
        path: PathBuf,
        /// What was asked for.
        key: String,
    },

    /// A tensor was asked for as something else than it is.
    #[error("{}: tensor `{key}` holds {found}, where {expected} was expected", path.shown(), key = key.shown())]
    WrongType {
        /// The index.
        path: PathBuf,
        /// The tensor.
        key: String,
        /// What was asked for, in words.
        expected: &'static str,
        /// What the tensor holds.
        found: DType,
    },

    /// The bytes of a tensor are not what the index says of them.
    #[error("{}: tensor `{key}` (bytes {offset} to {end}): {problem}", path.shown(), end = offset.saturating_add(*size), key = key.shown())]
    Tensor {
        /// The data shard.
        path: PathBuf,
        /// The tensor.
        key: String,
        /// First byte of the tensor in the shard.
        offset: u64,
        /// Bytes of the tensor.
        size: u64,
        /// What is wrong.
        problem: TensorProblem,
    },

    /// A tensor given to a writer has another size than its shape and type ask for.
    #[error(
        "tensor `{key}`: {dtype} {} takes {expected}, but was given {found}",
        Shape(shape), key = key.shown())]
    WrongSize {
        /// The tensor.
        key: String,
        /// Its type.
        dtype: DType,
        /// Its shape.
        shape: Vec<usize>,
        /// What shape and type ask for, in words.
        expected: String,
        /// What was given, in words.
        found: String,
    },

    /// A checkpoint without an object graph: keys are names of TensorFlow 1 variables.
    #[error(
        "{}: a name-based checkpoint as TensorFlow 1 writes them (no `_CHECKPOINTABLE_OBJECT_GRAPH`); \
         only object-based checkpoints of TensorFlow 2 can be used here",
        path.shown()
    )]
    NameBased {
        /// The index.
        path: PathBuf,
    },

    /// The object graph in a checkpoint is damaged.
    #[error("{}: object graph: {}", place.shown(), problem.shown())]
    ObjectGraph {
        /// Where the graph came from.
        place: String,
        /// What is wrong, in words.
        problem: String,
    },

    /// An object was asked for that the object graph does not have.
    #[error("the object graph has no `{}/{missing}`; {}", parent.join("/").shown(), has(children), missing = missing.shown())]
    NoSuchObject {
        /// Local names from the root to the last object that exists.
        parent: Vec<String>,
        /// The first local name that leads nowhere.
        missing: String,
        /// The local names that object does have.
        children: Vec<String>,
    },

    /// A `checkpoint` state file cannot be parsed.
    #[error("{}:{line}:{column}: {problem}", path.shown())]
    StateFile {
        /// The state file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, in bytes, from 1.
        column: usize,
        /// What is wrong, in words.
        problem: String,
    },

    /// Nothing that was looked for exists.
    #[error("{}: {}{}{}", given.shown(), reason.shown(), listing("; looked for ", looked_for), holds_text(holds.as_deref()))]
    NoCheckpoint {
        /// The folder or prefix that was given.
        given: PathBuf,
        /// Why none was found.
        reason: String,
        /// Files that would have done, in the order they were looked for.
        looked_for: Vec<PathBuf>,
        /// What the folder holds, sorted; `None` where there is no folder.
        holds: Option<Vec<String>>,
        /// Checkpoints of the folder that could be chosen by name, those with the highest numbers first.
        choices: Vec<String>,
    },
}

/// What is wrong with a sorted table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableProblem {
    /// Shorter than its footer.
    #[error("only {0} bytes, too short for a checkpoint index (its footer alone has 48)")]
    TooShort(usize),
    /// The last eight bytes are not a table's.
    #[error("not a checkpoint index, or cut short: it ends in {0:#018x}, not 0xdb4775248b80fb57")]
    BadMagic(u64),
    /// The footer's padding is not zero.
    #[error("the footer's padding is not zero")]
    BadPadding,
    /// A block handle is not two varints.
    #[error("unreadable block handle")]
    BadHandle,
    /// A data block does not start behind the one before.
    #[error("data blocks overlap, or are out of order")]
    BlocksOverlap,
    /// A block handle points out of the file.
    #[error("a block of {size} bytes does not fit before the footer")]
    BlockOutside {
        /// Size of the block in its handle.
        size: u64,
    },
    /// The block's checksum does not match.
    #[error("block checksum is {computed:#010x}, stored is {stored:#010x}")]
    Checksum {
        /// In the file.
        stored: u32,
        /// Of the bytes in the file.
        computed: u32,
    },
    /// The block's type byte is neither plain nor Snappy.
    #[error("block compression {0} is unknown (0 is none, 1 is Snappy)")]
    UnknownCompression(u8),
    /// The block says it is larger than Snappy can make it.
    #[error("compressed block claims {0} bytes, more than Snappy can pack into its size")]
    SnappySize(usize),
    /// The block is not Snappy's.
    #[error("compressed block does not unpack: {0}")]
    Snappy(String),
    /// The restart array does not fit in the block.
    #[error("the block's restart array does not fit in it")]
    BadRestarts,
    /// An entry does not fit in the block or its key's prefix is longer than the key before.
    #[error("the entry at byte {0} of the block's contents does not fit")]
    BadEntry(usize),
    /// A key does not follow the one before it.
    #[error("the key of the entry at byte {0} of the block's contents is out of order")]
    KeyOrder(usize),
}

/// What is wrong with the header of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderProblem {
    /// The table does not start with the empty key.
    #[error("missing; this is a sorted table, but not a checkpoint index")]
    Missing,
    /// The message does not decode.
    #[error("undecodable: {0}")]
    Undecodable(String),
    /// Written on a big-endian machine.
    #[error(
        "the checkpoint is big-endian, which is not supported; save it again on a little-endian machine"
    )]
    BigEndian,
    /// The number of shards makes no sense.
    #[error("says there are {0} data shards")]
    BadShardCount(i32),
    /// The format is newer than this crate.
    #[error("needs a reader of format version {0}, and this one reads version 1")]
    TooNew(i32),
    /// All the keys together are implausibly long, or implausibly many.
    #[error("the entries take more than {0} bytes in all: not an index that a real model has")]
    TooManyKeys(usize),
}

/// What is wrong with an entry of the index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryProblem {
    /// The message does not decode.
    #[error("undecodable: {0}")]
    Undecodable(String),
    /// The key is not text.
    #[error("the key is not UTF-8")]
    KeyNotUtf8,
    /// The type's number is unknown.
    #[error("unknown data type number {0}")]
    UnknownDType(i32),
    /// The shape is not fully known, or a dimension is negative.
    #[error("the shape is unknown or has a negative dimension")]
    BadShape,
    /// The tensor would not fit in memory's address space.
    #[error("the tensor's size overflows")]
    TooLarge,
    /// The shard number is out of range.
    #[error("shard {found} of {count}")]
    BadShard {
        /// In the entry.
        found: i32,
        /// In the header.
        count: u32,
    },
    /// Offset or size is negative, or their sum overflows.
    #[error("impossible byte range: offset {offset}, size {size}")]
    BadRange {
        /// In the entry.
        offset: i64,
        /// In the entry.
        size: i64,
    },
    /// The size is not what shape and type give.
    #[error(
        "{dtype} {} takes {expected}, but the entry has {found} bytes",
        Shape(shape)
    )]
    WrongSize {
        /// In the entry.
        dtype: DType,
        /// In the entry.
        shape: Vec<usize>,
        /// What shape and type ask for, in words.
        expected: String,
        /// In the entry.
        found: usize,
    },
    /// A part of a partitioned tensor does not lie within it.
    #[error("part {0} does not lie within the tensor")]
    BadPart(usize),
    /// A part of a partitioned tensor has no entry.
    #[error("part {0} has no entry of its own")]
    MissingPart(usize),
    /// A part of a partitioned tensor differs in type or shape from what its place says.
    #[error("part {0} has another type or shape than its place in the tensor")]
    PartMismatch(usize),
    /// The parts do not cover the tensor exactly.
    #[error("the parts cover {found} of {expected} elements")]
    PartsDoNotCover {
        /// Elements of the tensor.
        expected: usize,
        /// Elements of all the parts.
        found: usize,
    },
    /// Two parts overlap.
    #[error("parts {0} and {1} overlap")]
    PartsOverlap(usize, usize),
    /// Parts would add up to more than the files hold.
    #[error("the tensor would be larger than the data files it lies in")]
    LargerThanFiles,
}

/// What is wrong with the bytes of a tensor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorProblem {
    /// The shard ends too early.
    #[error("the file has only {0} bytes; it is cut short or belongs to another index")]
    Outside(usize),
    /// The checksum does not match.
    #[error(
        "checksum is {computed:#010x}, stored is {stored:#010x}; copy or download the file again"
    )]
    Checksum {
        /// In the index.
        stored: u32,
        /// Of the bytes in the shard.
        computed: u32,
    },
    /// The lengths of strings do not decode or do not match their own checksum.
    #[error("the strings' lengths are damaged; copy or download the file again")]
    BadLengths,
    /// The strings do not take exactly the tensor's bytes.
    #[error(
        "the strings' lengths do not add up to the tensor's size; copy or download the file again"
    )]
    LengthsDoNotAddUp,
}

/// Displays a shape as TensorFlow does: `[3,3,32]`.
struct Shape<'a>(&'a [usize]);

impl fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, dimension) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{dimension}")?;
        }
        f.write_str("]")
    }
}

/// Names shown before a list is cut.
const SHOWN: usize = 12;

/// The first names of a list, and how many more there are.
pub(crate) fn some_of(names: &[impl AsRef<str>]) -> String {
    let shown = names
        .iter()
        .take(SHOWN)
        .map(|name| name.as_ref().shown().to_string())
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn has(children: &[String]) -> String {
    if children.is_empty() {
        "that object has no children".to_owned()
    } else {
        format!("it has {}", some_of(children))
    }
}

fn listing(lead: &str, paths: &[PathBuf]) -> String {
    if paths.is_empty() {
        return String::new();
    }
    let names: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    format!("{lead}{}", some_of(&names))
}

fn holds_text(holds: Option<&[String]>) -> String {
    match holds {
        None => String::new(),
        Some([]) => "; the folder is empty".to_owned(),
        Some(names) => format!("; the folder holds {}", some_of(names)),
    }
}
