//! What stands where a bundle's data shards should be, without reading the tensors in them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tfod_text::Shown;

use super::{Bundle, shard_path};
use crate::map::{LFS_POINTER, is_lfs_pointer};
use crate::regular::not_regular;

/// The most bytes that a Git LFS pointer has, by its specification.
const LARGEST_POINTER: u64 = 1024;

/// A data shard that holds something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The file.
    pub path: PathBuf,
    /// The bytes that it has at least, by the index.
    pub needed: u64,
    /// What is there.
    pub state: ShardState,
}

/// Whether the file of a data shard is there, and whether it can be one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShardState {
    /// A file of this many bytes, as many as the index needs or more.
    Whole(u64),
    /// A file of this many bytes, fewer than the index needs.
    CutShort(u64),
    /// The text that Git leaves in place of a large file, of this many bytes.
    LfsPointer(u64),
    /// Nothing.
    Absent,
    /// A folder, device or pipe, or a file that cannot be looked at; with the reason.
    Unusable(String),
}

impl ShardState {
    /// The size of the file, if there is one.
    pub fn bytes(&self) -> Option<u64> {
        match self {
            Self::Whole(bytes) | Self::CutShort(bytes) | Self::LfsPointer(bytes) => Some(*bytes),
            Self::Absent | Self::Unusable(_) => None,
        }
    }

    /// Whether the file is there and long enough for its tensors.
    pub fn is_whole(&self) -> bool {
        matches!(self, Self::Whole(_))
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.shown())?;
        match &self.state {
            ShardState::Whole(bytes) => write!(f, "{bytes} bytes"),
            ShardState::CutShort(bytes) => {
                let needed = self.needed;
                write!(f, "cut short: {bytes} of at least {needed} bytes")
            }
            ShardState::LfsPointer(_) => f.write_str(
                "a Git LFS pointer, not the file itself; run `git lfs pull` in its repository",
            ),
            ShardState::Absent => f.write_str("no such file"),
            ShardState::Unusable(reason) => f.write_str(reason),
        }
    }
}

impl Bundle {
    /// The data shards that hold something, in order, and what stands in their places.
    pub fn shards(&self) -> Vec<Shard> {
        let mut needed: BTreeMap<u32, u64> = BTreeMap::new();
        for entry in self.all_entries().filter(|entry| !entry.is_partitioned()) {
            let end = needed.entry(entry.shard()).or_default();
            *end = (*end).max(entry.range().end as u64);
        }
        let shard = |(number, needed)| {
            let path = shard_path(self.prefix(), number, self.num_shards());
            Shard {
                state: state(&path, needed)
                    .unwrap_or_else(|problem| ShardState::Unusable(problem.to_string())),
                path,
                needed,
            }
        };
        needed.into_iter().map(shard).collect()
    }
}

fn state(path: &Path, needed: u64) -> io::Result<ShardState> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => return Ok(ShardState::Absent),
        Err(problem) => return Err(problem),
    };
    if !metadata.is_file() {
        return Ok(ShardState::Unusable(not_regular(metadata.file_type())));
    }
    let bytes = metadata.len();
    if bytes <= LARGEST_POINTER {
        let mut start = Vec::new();
        let mut file = File::open(path)?.take(LFS_POINTER.len() as u64);
        file.read_to_end(&mut start)?;
        if is_lfs_pointer(&start) {
            return Ok(ShardState::LfsPointer(bytes));
        }
    }
    Ok(if bytes < needed {
        ShardState::CutShort(bytes)
    } else {
        ShardState::Whole(bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BundleWriter, DType};

    #[test]
    fn what_is_in_the_place_of_a_shard_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().join("ckpt-1");
        let mut writer = BundleWriter::create(&prefix).unwrap();
        writer
            .add("a", DType::Float32, &[1000], &[0; 4000])
            .unwrap();
        writer.finish_files().unwrap();
        let path = shard_path(&prefix, 0, 1);
        let bundle = Bundle::open(&prefix).unwrap();
        let state = || {
            let shards = bundle.shards();
            assert_eq!((shards.len(), shards[0].needed), (1, 4000));
            shards[0].state.clone()
        };
        assert_eq!(state(), ShardState::Whole(4000));
        for (content, expected) in [
            (vec![0; 3999], ShardState::CutShort(3999)),
            (vec![], ShardState::CutShort(0)),
            (
                b"version https://git-lfs.github.com/spec/v1\noid".to_vec(),
                ShardState::LfsPointer(46),
            ),
        ] {
            fs::write(&path, content).unwrap();
            assert_eq!(state(), expected);
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(state(), ShardState::Absent);
        fs::create_dir(&path).unwrap();
        let reason = "expected a regular file, found a folder";
        assert_eq!(state(), ShardState::Unusable(reason.to_owned()));
    }
}
