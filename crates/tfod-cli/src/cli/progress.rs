//! What is being done, on a terminal, once it has taken a second. Elsewhere nothing is said, unless [`VARIABLE`] asks for lines, which programs read.

use std::fmt::Display;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The environment variable that chooses how steps are shown: `lines` prints each on a line of standard error, `none` shows none.
const VARIABLE: &str = "TFOD_PROGRESS";
/// What a line of a step begins with.
const PREFIX: &str = "progress: ";

/// What takes less is not worth a line.
const QUIET: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(100);

/// A line on the terminal, which goes when this is dropped.
pub(super) struct Progress {
    bar: ProgressBar,
    lines: bool,
    /// Dropping it ends the wait of the thread that shows the line.
    done: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Does work that says what it is doing.
    pub(super) fn during<T>(work: impl FnOnce(&Self) -> T) -> T {
        work(&Self::start())
    }

    fn start() -> Self {
        let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden())
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        let wish = std::env::var_os(VARIABLE).unwrap_or_default();
        if wish == "lines" || wish == "none" {
            return Self {
                bar,
                lines: wish == "lines",
                done: None,
                thread: None,
            };
        }
        let (done, wait) = channel::<()>();
        let shown = bar.clone();
        let thread = thread::spawn(move || {
            if wait.recv_timeout(QUIET) == Err(RecvTimeoutError::Timeout) {
                // Hidden still, unless it is a terminal.
                shown.set_draw_target(ProgressDrawTarget::stderr());
                shown.enable_steady_tick(TICK);
            }
        });
        Self {
            bar,
            lines: false,
            done: Some(done),
            thread: Some(thread),
        }
    }

    /// Says what is done now.
    pub(super) fn tell(&self, step: impl Display) {
        if self.lines {
            eprintln!("{PREFIX}{step}");
        }
        self.bar.set_message(step.to_string());
    }
}

impl Progress {
    /// Writes to the terminal while the line is away.
    pub(super) fn aside(&self, write: impl FnOnce()) {
        self.bar.suspend(write);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.done.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.bar.finish_and_clear();
    }
}
