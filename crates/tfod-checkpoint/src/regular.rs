//! Opening files that are found rather than named by the user, which a pipe must not stand in for.

use std::fs::{self, File, FileType};
use std::io;
use std::path::Path;

/// Opens a file that has to be a regular one. Of anything else the type is told without opening it: opening a FIFO waits for a writer,
/// and opening a device can have effects.
///
/// # Errors
///
/// What the system says; that it is no regular file, and what it is instead.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let kind = fs::metadata(path)?.file_type();
    if !kind.is_file() {
        return Err(io::Error::other(not_regular(kind)));
    }
    File::open(path)
}

/// Says that something of another type was found in the place of a regular file.
pub(crate) fn not_regular(kind: FileType) -> String {
    format!("expected a regular file, found {}", name(kind))
}

fn name(kind: FileType) -> &'static str {
    if kind.is_dir() {
        return "a folder";
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        if kind.is_fifo() {
            return "a FIFO";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
    }
    "something else"
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bundle, BundleWriter, CheckpointState, DType, Error, MappedFile, STATE_FILE};
    use crate::{index_path, locate, shard_path};

    /// Runs `read` on a thread of its own and gives what it returns; panics if it waits.
    fn without_waiting<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(read()));
        let limit = std::time::Duration::from_secs(20);
        receiver.recv_timeout(limit).unwrap()
    }

    fn make_fifo(path: &Path) {
        let made = std::process::Command::new("mkfifo").arg(path).status();
        assert!(made.unwrap().success());
    }

    #[test]
    fn what_is_no_regular_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        make_fifo(&fifo);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&fifo, &link).unwrap();
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for (path, found) in [
            (fifo.as_path(), "a FIFO"),
            (&link, "a FIFO"),
            (&socket, "a socket"),
            (folder.path(), "a folder"),
            (Path::new("/dev/null"), "a device"),
        ] {
            let path = path.to_owned();
            let problem = without_waiting(move || open_regular(&path)).unwrap_err();
            let expected = format!("expected a regular file, found {found}");
            assert_eq!(problem.to_string(), expected);
        }
        let missing = open_regular(&folder.path().join("missing")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn nothing_waits_for_a_fifo_among_the_files_of_a_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().join("ckpt-3");
        let mut writer = BundleWriter::create(&prefix).unwrap();
        writer.add("a", DType::UInt8, &[2], b"ab").unwrap();
        writer.finish_files().unwrap();
        let state = folder.path().join(STATE_FILE);
        let text = CheckpointState::single("ckpt-3").to_string();
        fs::write(&state, &text).unwrap();
        let expected = |path: &Path| {
            let path = path.display();
            format!("{path}: cannot open: expected a regular file, found a FIFO")
        };
        let in_its_place = |path: &Path| {
            fs::remove_file(path).unwrap();
            make_fifo(path);
        };
        let read = |given: &Path| {
            let given = given.to_owned();
            without_waiting(move || {
                let prefix = locate(&given, None)?.prefix;
                Bundle::open(prefix)?
                    .tensor("a")
                    .map(|tensor| tensor.bytes.to_vec())
            })
            .map_err(|error: Error| error.to_string())
        };
        assert_eq!(read(folder.path()).unwrap(), b"ab");

        let data = shard_path(&prefix, 0, 1);
        in_its_place(&data);
        assert_eq!(read(folder.path()), Err(expected(&data)));

        // The index is there, though it cannot be read: however the checkpoint is given.
        let index = index_path(&prefix);
        in_its_place(&index);
        for given in [folder.path(), prefix.as_path(), index.as_path()] {
            assert_eq!(read(given), Err(expected(&index)), "{}", given.display());
        }
        let mapped = without_waiting({
            let index = index.clone();
            move || MappedFile::open(&index, || unreachable!()).map(|_| ())
        });
        assert_eq!(mapped.unwrap_err().to_string(), expected(&index));
        fs::remove_file(&state).unwrap();
        assert_eq!(read(folder.path()), Err(expected(&index)));

        make_fifo(&state);
        let expected = expected(&state).replace("cannot open", "cannot read");
        assert_eq!(read(folder.path()), Err(expected));
    }
}
