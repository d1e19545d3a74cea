//! Reading a text file whole, with a bound on its size.
//!
//! Configs are a few kilobytes and label maps at most a few hundred, so a large file is something else (a checkpoint, an
//! archive) given by mistake, and is refused before memory is spent on it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::ConfigError;

/// The largest file that is read, in bytes.
pub(crate) const MAX_SIZE: u64 = 16 << 20;

/// Reads the file at `path`, which holds a `what` ("pipeline config", "label map").
pub(crate) fn read(path: &Path, what: &'static str) -> Result<Vec<u8>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        what,
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(unreadable)?
        .take(MAX_SIZE + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(ConfigError::TooLarge {
            what,
            path: path.to_owned(),
        });
    }
    Ok(bytes)
}
