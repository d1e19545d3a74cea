//! Where outputs go, and how they get there whole: written beside their place ([`Scratch`]) and renamed, or, where that is a device or a pipe, written into it. Nothing that a command reads
//! is overwritten by it ([`identity`]).

use std::fs;
use std::path::Path;

mod destination;
mod error;
mod exchange;
pub(crate) mod identity;
mod scratch;

pub use destination::Destination;
pub(crate) use destination::write_into;
pub use error::OutputError;
pub(crate) use error::failed;
pub(crate) use exchange::{exchange_all, exists, sync};
pub use scratch::{Scratch, discard_unfinished};
pub(crate) use scratch::{Turn, hold};

/// Whether a regular file holds just this. Nothing else that may stand there is opened: a FIFO would wait for a writer.
pub(crate) fn holds(path: &Path, contents: &[u8]) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == contents.len() as u64)
        && fs::read(path).is_ok_and(|found| found == contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_of_just_these_bytes_holds_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert!(!holds(&path, b""));
        assert!(!holds(folder.path(), b""));
        fs::write(&path, "text").unwrap();
        assert!(holds(&path, b"text"));
        assert!(!holds(&path, b"texts") && !holds(&path, b"tent"));
    }

    /// The test would wait for ever if it was opened.
    #[cfg(unix)]
    #[test]
    fn a_fifo_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        assert!(!holds(&path, b""));
    }
}
