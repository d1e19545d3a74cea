//! Files mapped into memory: with `guard` and `pages`, the one place of this crate with `unsafe` in it.
//!
//! A map spares every copy of a weight between the file and its consumer. The price: the file must not change while it
//! is mapped. Bytes changed under a map are caught by checksums where they had not been verified yet; a file *cut short*
//! under a map raises a bus error when the lost pages are touched, which ends a process that has not asked for
//! [`crate::guard_maps`]. In one that has, zeros are read instead, so a length that is checked after the last use tells whether
//! all that was read had been there.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::Error;
#[cfg(unix)]
use crate::guard::Guarded;
use crate::pages::Listed;
use crate::regular::open_regular;

/// How every Git LFS pointer file starts.
pub(crate) const LFS_POINTER: &[u8] = b"version https://git-lfs";

/// Whether `bytes` are those of a Git LFS pointer: the text left in a clone in place of a large file.
pub(crate) fn is_lfs_pointer(bytes: &[u8]) -> bool {
    bytes.starts_with(LFS_POINTER)
}

/// A regular file, mapped read-only.
#[derive(Debug)]
pub struct MappedFile {
    path: PathBuf,
    file: File,
    /// Before the map, so that it is dropped first.
    #[cfg(unix)]
    _guarded: Guarded,
    /// Before the map, too.
    _listed: Listed,
    map: Mmap,
}

impl MappedFile {
    /// Maps the file at `path`, which must be a regular file and no Git LFS pointer. `missing` makes the error for a
    /// file that does not exist.
    ///
    /// # Errors
    ///
    /// What `missing` makes; [`Error::Io`] if the system refuses or it is no regular file; [`Error::LfsPointer`].
    pub fn open(path: &Path, missing: impl FnOnce() -> Error) -> Result<Self, Error> {
        let failed = |action| {
            move |problem| Error::Io {
                path: path.to_owned(),
                action,
                problem,
            }
        };
        let file = match open_regular(path) {
            Ok(file) => file,
            Err(problem) if problem.kind() == ErrorKind::NotFound => return Err(missing()),
            Err(problem) => return Err(failed("open")(problem)),
        };
        let map = map(&file).map_err(failed("map"))?;
        #[cfg(unix)]
        let guarded = Guarded::new(&map);
        let listed = Listed::new(&map);
        if is_lfs_pointer(&map) {
            return Err(Error::LfsPointer {
                path: path.to_owned(),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            #[cfg(unix)]
            _guarded: guarded,
            _listed: listed,
            map,
        })
    }

    /// The path it was opened with.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its content, as far as the map goes.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Asks the system whether the file still has the length it was mapped with.
    ///
    /// # Errors
    ///
    /// [`Error::Shrunk`] if it is shorter, [`Error::Io`] if the system does not say.
    pub fn check_length(&self) -> Result<(), Error> {
        let metadata = self.file.metadata().map_err(|problem| Error::Io {
            path: self.path.clone(),
            action: "inspect",
            problem,
        })?;
        let (mapped, now) = (self.map.len() as u64, metadata.len());
        if now < mapped {
            return Err(Error::Shrunk {
                path: self.path.clone(),
                mapped,
                now,
            });
        }
        Ok(())
    }
}

#[expect(
    unsafe_code,
    reason = "mapping a file is unsafe because others may change it meanwhile"
)]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is read-only and private to this module, which hands out plain bytes: no byte pattern is invalid
    // for them, so changed contents give wrong values (caught by checksums), not undefined types. Truncation of the file
    // by another process raises SIGBUS, as the head of this file says; no bound is ever taken from re-read bytes unchecked.
    unsafe { Mmap::map(file) }
}
