//! Tensor bundles: an index that names tensors and says where their bytes are, and the data shards that hold them.
//!
//! A bundle is known by its *prefix*: `PREFIX.index` is a sorted [table](crate::table), `PREFIX.data-0000i-of-0000n` are
//! the shards. Under the empty key the index holds a header, under any other a tensor's entry. Specified by TensorFlow's
//! `tensor_bundle.proto` and `tensor_bundle.h`.

mod entry;
mod parts;
mod reader;
mod shards;
mod strings;
mod writer;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use entry::Entry;
pub use reader::{Bundle, BundleKind, TensorRef};
pub use shards::{Shard, ShardState};
pub use writer::{BundleWriter, NamedFile};

/// The key of the object graph, a scalar string.
pub const OBJECT_GRAPH_KEY: &str = "_CHECKPOINTABLE_OBJECT_GRAPH";

/// The version of the bundle format that is written, and the newest that is read.
const FORMAT_VERSION: i32 = 1;

/// `PREFIX.index`
pub fn index_path(prefix: &Path) -> PathBuf {
    with_suffix(prefix, ".index")
}

/// `PREFIX.data-SHARD-of-COUNT`
pub fn shard_path(prefix: &Path, shard: u32, count: u32) -> PathBuf {
    with_suffix(prefix, &format!(".data-{shard:05}-of-{count:05}"))
}

fn with_suffix(prefix: &Path, suffix: &str) -> PathBuf {
    let mut path = OsString::from(prefix);
    path.push(suffix);
    path.into()
}
