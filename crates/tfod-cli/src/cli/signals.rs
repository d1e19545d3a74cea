//! Signals that end a program: what is unfinished is removed before, and the program still ends by the signal, as shells and supervisors expect.

/// Removes unfinished outputs when SIGINT, SIGTERM or SIGHUP end this process, unless it was started with the signal ignored (`nohup`). SIGXFSZ, which a
/// limit on the size of files raises, ends it no more: writing fails, and that is reported as other errors are.
#[cfg(unix)]
pub(super) fn handle() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};

    // A flag that nobody reads: a handler, whichever, is enough.
    let _ = signal_hook::flag::register(SIGXFSZ, std::sync::Arc::default());
    let ending: Vec<i32> = [SIGINT, SIGTERM, SIGHUP]
        .into_iter()
        .filter(|signal| !is_ignored(*signal))
        .collect();
    let Ok(mut signals) = signal_hook::iterator::Signals::new(ending) else {
        return;
    };
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            tfod::discard_unfinished();
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    });
}

/// Does nothing: there, what an interrupted command left is removed by the next one.
#[cfg(not(unix))]
pub(super) fn handle() {}

/// Whether the process was started with a signal ignored.
#[cfg(target_os = "linux")]
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let mask = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let bit = u32::try_from(signal - 1).ok();
    mask.zip(bit)
        .is_some_and(|(mask, bit)| mask.checked_shr(bit).unwrap_or(0) & 1 == 1)
}

/// Whether the process may have been started with a signal ignored. Without a safe way to ask, that is assumed of the one that `nohup` ignores.
#[cfg(all(unix, not(target_os = "linux")))]
fn is_ignored(signal: i32) -> bool {
    signal == signal_hook::consts::SIGHUP
}
