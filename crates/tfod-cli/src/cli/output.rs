//! What every subcommand prints alike: errors, sizes, and text to a standard output that may go away.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// Says what prevented the work.
pub(super) fn failure(error: &dyn Display) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

/// Says what is wrong with the command line.
pub(super) fn usage(error: &dyn Display) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(2)
}

/// Prints a summary to standard error, where standard output has something else.
pub(super) fn print_aside(text: &str) -> ExitCode {
    let _ = io::stderr().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// Prints a summary. A reader that has seen enough of it is no failure.
pub(super) fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => failure(&format!(
            "all was done, but the summary cannot be written: {error}"
        )),
        _ => ExitCode::SUCCESS,
    }
}

/// Says what prevented a comparison, whose exit status 1 means something else.
pub(super) fn error(error: &dyn Display) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(2)
}

/// Prints the result of a comparison: exit status 0 for the same (or a fit), 1 for different.
pub(super) fn verdict(text: &str, same: bool) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Err(problem) if problem.kind() != io::ErrorKind::BrokenPipe => {
            error(&format!("the result cannot be written: {problem}"))
        }
        _ if same => ExitCode::SUCCESS,
        _ => ExitCode::from(1),
    }
}
