//! Giving back the memory of mapped files. The third place of this crate with `unsafe` in it.
//!
//! The pages of a map that have been read count as a process's memory until the system needs them for something else. Whoever reads a large file once from its
//! beginning to its end would have all of it there; [`release_pages`] is for what has been read.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// The system brings pages of a file in by blocks of this size, around the one that is touched: a thousand small tensors bring in a thousand blocks.
const BLOCK: usize = 1 << 16;

/// The addresses of this crate's maps.
static MAPS: Mutex<Vec<Range<usize>>> = Mutex::new(Vec::new());

fn addresses(bytes: &[u8]) -> Range<usize> {
    let start = bytes.as_ptr() as usize;
    start..start + bytes.len()
}

/// A map in the list; leaves it when dropped.
#[derive(Debug)]
pub(crate) struct Listed(Range<usize>);

impl Listed {
    /// Enters a map. The bytes must stay mapped until this is dropped.
    pub(crate) fn new(map: &[u8]) -> Self {
        let range = addresses(map);
        let mut maps = MAPS.lock().unwrap_or_else(PoisonError::into_inner);
        maps.push(range.clone());
        Self(range)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut maps = MAPS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = maps.iter().position(|range| *range == self.0) {
            maps.swap_remove(place);
        }
    }
}

/// Tells the system that `bytes` of a mapped file have been used and are not needed soon, so that their pages no longer count as this process's memory; what else is in
/// the same 64 KiB goes with them. All can still be read, which brings the pages back from the system's cache of files, or from the file. Does nothing for bytes
/// that are not of a [`MappedFile`](crate::MappedFile), and on systems other than Unix.
pub fn release_pages(bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let used = addresses(bytes);
    // Held to the end, so that the map stays in its place.
    let maps = MAPS.lock().unwrap_or_else(PoisonError::into_inner);
    let is_around = |map: &&Range<usize>| map.start <= used.start && used.end <= map.end;
    if let Some(map) = maps.iter().find(is_around) {
        release(map, used);
    }
}

#[cfg(unix)]
#[expect(
    unsafe_code,
    reason = "pages are given back by a system call that takes an address"
)]
fn release(map: &Range<usize>, used: Range<usize>) {
    // SAFETY: a system call that reads a constant.
    let page_size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let Some(page_size) = usize::try_from(page_size).ok().filter(|size| *size > 0) else {
        return;
    };
    // A map begins with a page, and its last page is whole, though the file may end within it.
    let block = BLOCK.next_multiple_of(page_size);
    let start = (used.start - used.start % block).max(map.start);
    let end = used.end.next_multiple_of(block);
    let end = end.min(map.end.next_multiple_of(page_size));
    // SAFETY: whole pages of a map of this crate, which is listed and so not unmapped while the list is locked. Such maps are of files, shared and read-only, so the
    // system reads these pages again when they are touched: the bytes are as before. Pages of zeros that the guard may have put there stay zeros.
    unsafe {
        libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED);
    }
}

#[cfg(not(unix))]
fn release(_map: &Range<usize>, _used: Range<usize>) {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, MappedFile};

    fn missing() -> Error {
        unreachable!("the file is there")
    }

    /// How many bytes of a map are in the memory of this process.
    #[cfg(target_os = "linux")]
    fn resident(bytes: &[u8]) -> u64 {
        let start = format!("{:x}-", bytes.as_ptr() as usize);
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = maps.lines().skip_while(|line| !line.starts_with(&start));
        let line = lines.find(|line| line.starts_with("Rss:")).unwrap();
        let kilobytes = line.split_whitespace().nth(1).unwrap();
        kilobytes.parse::<u64>().unwrap() * 1024
    }

    #[test]
    fn released_bytes_are_as_before_and_take_no_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let content: Vec<u8> = (0..1_000_003u32).map(|i| (i % 253) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let file = MappedFile::open(&path, missing).unwrap();
        assert_eq!(file.bytes(), content);
        #[cfg(target_os = "linux")]
        let before = resident(file.bytes());
        release_pages(file.bytes());
        #[cfg(target_os = "linux")]
        assert_eq!((before, resident(file.bytes())), (1_003_520, 0));
        let part = &file.bytes()[70_001..900_001];
        assert_eq!(part, &content[70_001..900_001]);
        release_pages(part);
        assert_eq!(file.bytes(), content);
    }

    #[test]
    fn bytes_that_are_not_of_a_map_stay() {
        let bytes = vec![7; 1 << 20];
        release_pages(&bytes);
        assert!(bytes.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn a_map_leaves_the_list_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, vec![1; 100_000]).unwrap();
        let file = MappedFile::open(&path, missing).unwrap();
        let range = addresses(file.bytes());
        let is_listed = || MAPS.lock().unwrap().contains(&range);
        assert!(is_listed());
        drop(file);
        // Another test's file may be mapped in the same place by now, but not one of the same length.
        assert!(!is_listed());
    }
}
