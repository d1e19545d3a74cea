//! TensorFlow checkpoints, read and written without TensorFlow.
//!
//! A checkpoint is a *tensor bundle* of a few files that share a prefix, such as `train/ckpt-12`:
//!
//! | file | holds | module |
//! | --- | --- | --- |
//! | `train/checkpoint` | which checkpoint of the folder is the latest | [`CheckpointState`], [`locate()`] |
//! | `train/ckpt-12.index` | a sorted table: each tensor's key, type, shape, place and checksum | [`table`], [`Bundle`], [`Entry`] |
//! | `train/ckpt-12.data-00000-of-00001` | the tensors' bytes | [`Bundle`], [`BundleWriter`] |
//!
//! A SavedModel's `variables/variables` is such a prefix too. Checkpoints of TensorFlow 2 also hold an [`ObjectGraph`] that
//! says which Python object had which variable; those of TensorFlow 1 do not ([`BundleKind`]).
//!
//! # What can be relied on
//!
//! - **Nothing is copied that need not be.** Data shards are mapped into memory when first needed; a tensor is a slice of
//!   the map. Only partitioned tensors are put together in memory. The writer streams.
//! - **Nothing is believed.** All blocks of the index are verified when a bundle is opened, and each tensor once, when it is
//!   first read. Every length, offset, count and node id is checked before use, and no allocation exceeds what the
//!   size of the files justifies. A damaged or hostile file gives an [`Error`] that names file, place and tensor, and never a
//!   panic.
//! - **One exception** lies in the nature of maps: a data file that another process cuts short *while* it is read ends
//!   the process (SIGBUS), unless the program has called [`guard_maps`]; then [`Bundle::check_lengths`] is an error afterwards.
//!
//! # Example
//!
//! Writing a checkpoint, and finding and reading it again:
//!
//! ```
//! use tfod_checkpoint::{Bundle, BundleWriter, CheckpointState, DType, Found, STATE_FILE, locate};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let temporary = tempfile::tempdir()?;
//! # let folder = temporary.path();
//! let mut writer = BundleWriter::create(&folder.join("ckpt-3"))?;
//! // Keys in increasing order; bytes are little-endian.
//! writer.add("bias", DType::Float32, &[2], &[0, 0, 128, 63, 0, 0, 0, 64])?;
//! writer.add_strings("labels", &[2], &["cat", "dog"])?;
//! writer.finish_files()?;
//! std::fs::write(folder.join(STATE_FILE), CheckpointState::single("ckpt-3").to_string())?;
//!
//! let located = locate(folder, None)?;
//! assert_eq!(located.found, Found::StateFile);
//!
//! let bundle = Bundle::open(located.prefix)?;
//! for entry in bundle.entries() {
//!     println!("{} {} {:?}", entry.key(), entry.dtype(), entry.shape());
//! }
//! let bias = bundle.tensor("bias")?;
//! assert_eq!((bias.dtype, bias.shape), (DType::Float32, &[2][..]));
//! assert_eq!(bias.bytes[4..], 2f32.to_le_bytes());
//! assert_eq!(bundle.strings("labels")?, [b"cat", b"dog"]);
//! # Ok(())
//! # }
//! ```
//!
//! Reducing a training job's checkpoint to that of its model, as an object-based checkpoint that `tf.train.Checkpoint(model=…)`
//! restores:
//!
//! ```no_run
//! # use std::path::Path;
//! use tfod_checkpoint::{Bundle, BundleWriter, DType, OBJECT_GRAPH_KEY};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let training = Bundle::open("train/ckpt-12")?;
//! let mut graph = training.object_graph()?.subset(&["model", "save_counter"]);
//! let save_counter = graph.add_save_counter();
//!
//! let mut writer = BundleWriter::create(Path::new("export/ckpt-0"))?;
//! let mut keys = graph.checkpoint_keys();
//! keys.insert(OBJECT_GRAPH_KEY);
//! for key in keys {
//!     if key == OBJECT_GRAPH_KEY {
//!         writer.add_object_graph(&graph)?;
//!     } else if key == save_counter {
//!         writer.add(key, DType::Int64, &[], &1i64.to_le_bytes())?;
//!     } else {
//!         writer.copy(&training, key)?;
//!     }
//! }
//! writer.finish_files()?;
//! # Ok(())
//! # }
//! ```

mod bundle;
mod dtype;
mod error;
#[cfg(unix)]
mod guard;
mod locate;
mod map;
mod object_graph;
mod pages;
mod regular;
mod state;
pub mod table;
mod wire;

pub use bundle::{
    Bundle, BundleKind, BundleWriter, Entry, NamedFile, OBJECT_GRAPH_KEY, Shard, ShardState,
    TensorRef, index_path, shard_path,
};
pub use dtype::DType;
pub use error::{EntryProblem, Error, HeaderProblem, TableProblem, TensorProblem};
#[cfg(unix)]
pub use guard::guard_maps;
pub use locate::{Found, Located, locate};
pub use map::MappedFile;
pub use object_graph::{
    Attribute, BreadthFirst, NodeId, ObjectGraph, SAVE_COUNTER, Slot, VARIABLE_VALUE, escape,
    unescape, variable_key,
};
pub use pages::release_pages;
pub use regular::open_regular;
pub use state::{CheckpointState, STATE_FILE};
pub use wire::masked_crc;
