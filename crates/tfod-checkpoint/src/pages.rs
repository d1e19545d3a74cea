//! Pages of mapped files: populated before they are read (`MADV_POPULATE_READ`), released afterwards (`MADV_DONTNEED`). The third place of this crate with `unsafe` in it.
//!
//! The first access to a page of a map is a page fault, which takes longer than copying the page; [`steps`] populates 4 MiB at a time.
//! Pages that have been read count as a process's memory until the system needs them for something else. Whoever reads a large file once from its
//! beginning to its end would have all of it there; [`release_pages`] is for what has been read.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// The system brings pages of a file in by blocks of this size, around the one that is touched: a thousand small tensors bring in a thousand blocks.
const BLOCK: usize = 1 << 16;

/// Bytes that are populated at a time.
const WINDOW: usize = 1 << 22;

/// Large tensors are checksummed and written in steps of this many bytes, so that each byte is in the processor's cache when it is touched the second time.
const STEP: usize = 1 << 18;

/// Bytes that are gathered before they are released: each release interrupts all threads of the process (TLB shootdown).
const GATHERED: usize = 1 << 24;
/// The size of a huge page.
const HUGE: usize = 1 << 21;

thread_local! {
    /// What this thread has used of a map and not released yet.
    static USED: RefCell<Range<usize>> = const { RefCell::new(0..0) };
}

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

/// Tells that `bytes` of a mapped file have been used and are not needed soon, so that their pages no longer count as this process's memory; what else is in
/// the same 64 KiB goes with them. All can still be read, which brings the pages back from the system's cache of files, or from the file. Does nothing for bytes
/// that are not of a [`MappedFile`](crate::MappedFile), and on systems other than Unix.
///
/// Each release interrupts all threads of the process (TLB shootdown), so bytes that lie beside those that this thread has released before are gathered until they are 16 MiB.
pub fn release_pages(bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    if let Some(used) = USED.with_borrow_mut(|gathered| gather(gathered, addresses(bytes))) {
        release_addresses(&used);
    }
}

/// Adds addresses to those gathered; gives what is to be released.
fn gather(gathered: &mut Range<usize>, used: Range<usize>) -> Option<Range<usize>> {
    let is_beside = used.start <= gathered.end.saturating_add(BLOCK)
        && gathered.start <= used.end.saturating_add(BLOCK);
    if Range::is_empty(gathered) {
        *gathered = used;
    } else if is_beside {
        *gathered = gathered.start.min(used.start)..gathered.end.max(used.end);
    } else {
        return Some(std::mem::replace(gathered, used));
    }
    if gathered.len() < GATHERED {
        return None;
    }
    // Releasing a part of a huge page would split it.
    let end = gathered.end - gathered.end % HUGE;
    let start = gathered.start - gathered.start % HUGE;
    gathered.start = end;
    Some(start..end)
}

/// Releases addresses, if they are of a map.
fn release_addresses(used: &Range<usize>) {
    // Held to the end, so that the map stays in its place.
    let maps = MAPS.lock().unwrap_or_else(PoisonError::into_inner);
    let is_in = |map: &&Range<usize>| map.start < used.end && used.start < map.end;
    if let Some(map) = maps.iter().find(is_in) {
        release(map, used.start.max(map.start)..used.end.min(map.end));
    }
}

/// Hands bytes, in a map or elsewhere, to `each` in steps of 256 KiB; those of a map are released when it has taken them.
pub(crate) fn steps<E>(
    bytes: &[u8],
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    for window in bytes.chunks(WINDOW) {
        // Fewer come by one fault.
        if window.len() > BLOCK {
            populate(window);
        }
        window.chunks(STEP).try_for_each(&mut each)?;
        release_pages(window);
    }
    Ok(())
}

/// The size of a page, in bytes.
#[cfg(unix)]
#[expect(unsafe_code, reason = "the system tells the size by a call of C")]
fn page_size() -> Option<usize> {
    // SAFETY: a system call that reads a constant.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).ok().filter(|size| *size > 0)
}

/// Populates the pages of some bytes. Where the system refuses, or the file has lost them, they are read by page faults as everywhere else.
#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "pages are brought in by a system call that takes an address"
)]
fn populate(bytes: &[u8]) {
    let Some(page_size) = page_size() else {
        return;
    };
    let used = addresses(bytes);
    let start = used.start - used.start % page_size;
    // SAFETY: the call reads pages that hold the bytes of a slice, as whoever has the slice may do, and changes nothing of what they hold.
    unsafe {
        libc::madvise(
            start as *mut libc::c_void,
            used.end - start,
            libc::MADV_POPULATE_READ,
        );
    }
}

#[cfg(not(target_os = "linux"))]
fn populate(_bytes: &[u8]) {}

#[cfg(unix)]
#[expect(
    unsafe_code,
    reason = "pages are given back by a system call that takes an address"
)]
fn release(map: &Range<usize>, used: Range<usize>) {
    let Some(page_size) = page_size() else {
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
        let content: Vec<u8> = (0..20_000_003u32).map(|i| (i % 253) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let file = MappedFile::open(&path, missing).unwrap();
        assert!(file.bytes() == content);
        #[cfg(target_os = "linux")]
        let before = resident(file.bytes());
        // Nothing before them has been released, so these are not enough yet.
        let (first, rest) = file.bytes().split_at(GATHERED - 1);
        release_pages(first);
        #[cfg(target_os = "linux")]
        assert_eq!((before, resident(file.bytes())), (20_000_768, 20_000_768));
        release_pages(rest);
        #[cfg(target_os = "linux")]
        assert!(resident(file.bytes()) < HUGE as u64);
        let part = &file.bytes()[70_001..18_900_001];
        assert!(part == &content[70_001..18_900_001]);
        release_pages(part);
        assert!(file.bytes() == content);
    }

    #[test]
    fn what_lies_apart_is_released_by_itself() {
        let mut gathered = 0..0;
        assert_eq!(gather(&mut gathered, 1000..2000), None);
        assert_eq!(gather(&mut gathered, 2000..3000), None);
        assert_eq!(gather(&mut gathered, 0..500), None);
        assert_eq!(gathered, 0..3000);
        assert_eq!(gather(&mut gathered, 9_000_000..9_000_001), Some(0..3000));
        // Whole large pages around what was used, but for the last, which may be used further.
        let enough = 9_000_000 + GATHERED;
        let released = gather(&mut gathered, 9_000_001..enough);
        assert_eq!(released, Some(4 * HUGE..12 * HUGE));
        assert_eq!(gathered, 12 * HUGE..enough);
    }

    #[test]
    fn steps_are_all_bytes_in_order_and_leave_none_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let content: Vec<u8> = (0..50_000_003u32).map(|i| (i % 253) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let file = MappedFile::open(&path, missing).unwrap();
        for (bytes, expected) in [
            (&file.bytes()[7..], &content[7..]),
            (&content[..], &content[..]),
            (&[], &[]),
        ] {
            let mut found = Vec::new();
            let done: Result<(), ()> = steps(bytes, |step| {
                assert!(step.len() <= STEP);
                found.extend_from_slice(step);
                Ok(())
            });
            done.unwrap();
            assert!(found == expected);
        }
        #[cfg(target_os = "linux")]
        assert!(resident(file.bytes()) <= (GATHERED + WINDOW) as u64);
    }

    #[test]
    fn steps_end_with_the_first_error() {
        let mut count = 0;
        let done = steps(&vec![0; 3 * STEP], |_| {
            count += 1;
            if count == 2 { Err("enough") } else { Ok(()) }
        });
        assert_eq!((done, count), (Err("enough"), 2));
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
