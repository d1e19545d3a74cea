//! Surviving a file that another process cuts short while it is mapped. The second place of this crate with `unsafe` in it.
//!
//! Touching a page that the file no longer has raises SIGBUS. Once [`guard_maps`] has been called, the pages of this crate's maps that are gone
//! are replaced by zeros then, and the program goes on; [`crate::Bundle::check_lengths`] says at the end whether that can have happened. Other
//! bus errors go where they went before. (Wayland's servers handle the memory that clients lend them in this way.)

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// More maps at a time than this are not guarded.
const MOST: usize = 256;

/// Where a map is; 0 is nowhere. A signal handler can take no lock, hence atomic numbers in a fixed place.
struct MapSlot {
    start: AtomicUsize,
    end: AtomicUsize,
}

static SLOTS: [MapSlot; MOST] = [const {
    MapSlot {
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
    }
}; MOST];

static PAGE_SIZE: AtomicUsize = AtomicUsize::new(0);
static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());

/// A map in the list; leaves it when dropped.
#[derive(Debug)]
pub(crate) struct Guarded(Option<usize>);

impl Guarded {
    /// Enters a map. The bytes must stay mapped until this is dropped.
    pub(crate) fn new(map: &[u8]) -> Self {
        let start = map.as_ptr() as usize;
        let claim = |place: &MapSlot| {
            let claimed =
                place
                    .start
                    .compare_exchange(0, start, Ordering::AcqRel, Ordering::Relaxed);
            claimed.is_ok()
        };
        // A place that is free has no end, so that it holds no address before both numbers are there.
        let slot = (!map.is_empty())
            .then(|| SLOTS.iter().position(claim))
            .flatten();
        if let Some(place) = slot.and_then(|slot| SLOTS.get(slot)) {
            place.end.store(start + map.len(), Ordering::Release);
        }
        Self(slot)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(place) = self.0.and_then(|slot| SLOTS.get(slot)) {
            place.end.store(0, Ordering::Release);
            place.start.store(0, Ordering::Release);
        }
    }
}

/// Installs a SIGBUS handler, so that a mapped file that is cut short reads as zeros where its bytes were; the next check of the file's length
/// fails. Meant for programs: it replaces the process's SIGBUS handler (and calls on the one before for what is not its own), which
/// a library must not do unasked. Calling it again does nothing.
pub fn guard_maps() {
    static ONCE: Once = Once::new();
    ONCE.call_once(install);
}

#[expect(
    unsafe_code,
    reason = "handlers of signals are installed by a system call"
)]
fn install() {
    // SAFETY: plain system calls. `action` is filled in before it is used, `previous` by the call that is given it, and it is never freed, since the
    // handler may need it at any time. The handler has the signature that SA_SIGINFO demands, and does only what a handler may.
    unsafe {
        let page_size = libc::sysconf(libc::_SC_PAGESIZE);
        PAGE_SIZE.store(
            usize::try_from(page_size).unwrap_or_default(),
            Ordering::Release,
        );
        let mut action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_bus_error;
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigemptyset(&raw mut action.sa_mask);
        let previous = Box::into_raw(Box::new(
            MaybeUninit::<libc::sigaction>::zeroed().assume_init(),
        ));
        if libc::sigaction(libc::SIGBUS, &raw const action, previous) == 0 {
            PREVIOUS.store(previous, Ordering::Release);
        } else {
            drop(Box::from_raw(previous));
        }
    }
}

#[expect(
    unsafe_code,
    reason = "the system tells a handler by pointers what happened"
)]
extern "C" fn on_bus_error(_signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: the system gives a valid `info` to a handler with SA_SIGINFO. New pages are only mapped over pages of a file that this crate has
    // mapped and not yet unmapped (its place would be gone from the list), for reading only, as they were. `PREVIOUS` is null or points to what the
    // system filled in. Nothing here locks, allocates or unwinds.
    unsafe {
        let address = (*info).si_addr() as usize;
        let page_size = PAGE_SIZE.load(Ordering::Acquire);
        for place in &SLOTS {
            let end = place.end.load(Ordering::Acquire);
            let start = place.start.load(Ordering::Acquire);
            if start == 0 || !(start..end).contains(&address) || page_size == 0 {
                continue;
            }
            let page = address - address % page_size;
            let zeros = libc::mmap(
                page as *mut c_void,
                end - page,
                libc::PROT_READ,
                libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_FIXED,
                -1,
                0,
            );
            if zeros != libc::MAP_FAILED {
                return;
            }
        }
        // Not ours: the same access happens again and meets who was in charge before.
        let previous = PREVIOUS.load(Ordering::Acquire);
        if previous.is_null() {
            libc::signal(libc::SIGBUS, libc::SIG_DFL);
        } else {
            libc::sigaction(libc::SIGBUS, previous, ptr::null_mut());
        }
    }
}
