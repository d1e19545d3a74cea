//! A file written by a thread of its own, while the caller makes the next bytes: reading and verifying weights then costs no time beyond
//! what writing them takes.

use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Bytes that go from thread to thread at once; small enough to stay in the processor's cache.
const BLOCK: usize = 1 << 18;
/// Blocks under way at most.
const BLOCKS: usize = 4;

/// Gathers bytes in blocks for the thread that writes them.
pub(crate) struct WriteBehind {
    block: Vec<u8>,
    full: SyncSender<Vec<u8>>,
    /// Blocks that have been written, to be filled again.
    written: Receiver<Vec<u8>>,
}

/// What went wrong.
#[derive(Debug)]
pub(crate) enum Failed<W, E> {
    /// The file could not be written.
    Writing(W),
    /// There was nothing more to write.
    Producing(E),
}

/// Lets `produce` write to `file`; all has been handed to the system when this returns without an error. Gives the number of bytes.
pub(crate) fn write_behind<E>(
    file: &File,
    produce: impl FnOnce(&mut WriteBehind) -> Result<(), E>,
) -> Result<u64, Failed<io::Error, E>> {
    let (full, to_write) = sync_channel(BLOCKS);
    let (free, written) = sync_channel(BLOCKS + 2);
    thread::scope(|scope| {
        let writer = scope.spawn(move || write_blocks(file, &to_write, &free));
        let mut behind = WriteBehind {
            block: Vec::with_capacity(BLOCK),
            full,
            written,
        };
        let produced = produce(&mut behind);
        let flushed = behind.flush();
        drop(behind);
        let wrote = writer
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread that writes failed")));
        // What the system says of the file comes first: the producer only saw that the writer had gone.
        let bytes = wrote.map_err(Failed::Writing)?;
        produced.map_err(Failed::Producing)?;
        flushed.map_err(Failed::Writing)?;
        Ok(bytes)
    })
}

fn write_blocks(
    mut file: &File,
    full: &Receiver<Vec<u8>>,
    free: &SyncSender<Vec<u8>>,
) -> io::Result<u64> {
    let mut bytes = 0;
    for mut block in full {
        file.write_all(&block)?;
        bytes += block.len() as u64;
        block.clear();
        // The producer may be done, and want no more blocks.
        let _ = free.try_send(block);
    }
    Ok(bytes)
}

impl Write for WriteBehind {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = BLOCK - self.block.len();
        let taken = &bytes[..bytes.len().min(room)];
        self.block.extend_from_slice(taken);
        if self.block.len() == BLOCK {
            self.flush()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let next = self.written.try_recv();
        let next = next.unwrap_or_else(|_| Vec::with_capacity(BLOCK));
        let block = std::mem::replace(&mut self.block, next);
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.full.send(block).map_err(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_arrive_in_order() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..3_000_017u32).map(|i| (i % 251) as u8).collect();
        let count = write_behind(file.as_file(), |out| {
            bytes
                .chunks(70_001)
                .try_for_each(|chunk| out.write_all(chunk))
        });
        assert_eq!(count.unwrap(), bytes.len() as u64);
        assert_eq!(std::fs::read(file.path()).unwrap(), bytes);
    }

    #[test]
    fn an_error_of_the_file_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read_only = File::open(file.path()).unwrap();
        let result = write_behind(&read_only, |out| {
            (0..100).try_for_each(|_| out.write_all(&vec![0; BLOCK]))
        });
        assert!(
            matches!(&result, Err(Failed::Writing(e)) if e.kind() != io::ErrorKind::BrokenPipe),
            "{result:?}"
        );
    }

    #[test]
    fn an_error_of_the_producer_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let result = write_behind(file.as_file(), |_| Err("no more"));
        assert!(matches!(result, Err(Failed::Producing("no more"))));
    }
}
