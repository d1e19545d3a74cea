//! What every subcommand prints alike: errors, sizes, and text to a standard output that may go away. Control characters are escaped whatever they are in; line
//! breaks in names are, where messages are composed.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;

use serde_json::Value;
use tfod_text::Shown;

/// Writes a line to standard error. One that cannot be written is no failure.
fn say(kind: &str, text: &dyn Display) {
    let text = format!("{kind}: {text}\n");
    let _ = io::stderr().write_all(tfod_text::lines(&text).as_bytes());
}

/// Says what prevented the work.
pub(super) fn failure(error: &dyn Display) -> ExitCode {
    say("error", error);
    ExitCode::FAILURE
}

/// Says what is wrong with the command line.
pub(super) fn usage(problem: &dyn Display) -> ExitCode {
    error(problem)
}

/// Says what the parser of the command line has to say: what is wrong with it, or else help and version, which go to standard output.
pub(super) fn of_parser(said: &clap::Error) -> ExitCode {
    let text = said.render().to_string();
    let text = with_arguments_shown(text, std::env::args_os());
    match tfod_text::lines(&text) {
        // With colours, where the terminal has them.
        Cow::Borrowed(_) => {
            let _ = said.print();
        }
        Cow::Owned(text) => {
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }
    ExitCode::from(u8::try_from(said.exit_code()).unwrap_or(2))
}

/// A message in which no line is a part of an argument. The parser, which composes it, escapes nothing, and leaves some control characters out.
fn with_arguments_shown(text: String, arguments: impl Iterator<Item = OsString>) -> String {
    arguments.fold(text, |text, argument| {
        let argument = argument.to_string_lossy();
        let parts = argument.split('\n').skip(1).filter(|part| !part.is_empty());
        parts.fold(text, |text, part| {
            let part = format!("\n{part}");
            text.replace(&part, &part.shown().to_string())
        })
    })
}

/// Says what the user should know, though the work was done.
pub(super) fn warn(warning: &dyn Display) {
    say("warning", warning);
}

/// Prints a summary to standard error, where standard output has something else.
pub(super) fn print_aside(text: &str) -> ExitCode {
    let _ = io::stderr().write_all(tfod_text::lines(text).as_bytes());
    ExitCode::SUCCESS
}

/// Prints a summary. A reader that has seen enough of it is no failure.
pub(super) fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(tfod_text::lines(text).as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => failure(&format!(
            "all was done, but the summary cannot be written: {error}"
        )),
        _ => ExitCode::SUCCESS,
    }
}

/// What is printed: JSON for scripts, or text for people.
pub(super) fn document(
    is_json: bool,
    json: impl FnOnce() -> Value,
    text: impl FnOnce() -> String,
) -> String {
    if is_json {
        format!("{:#}\n", json())
    } else {
        text()
    }
}

/// Says what prevented a comparison, whose exit status 1 means something else.
pub(super) fn error(error: &dyn Display) -> ExitCode {
    say("error", error);
    ExitCode::from(2)
}

/// Prints the result of a comparison: exit status 0 for the same (or a fit), 1 for different.
pub(super) fn verdict(text: &str, same: bool) -> ExitCode {
    match io::stdout().write_all(tfod_text::lines(text).as_bytes()) {
        Err(problem) if problem.kind() != io::ErrorKind::BrokenPipe => {
            error(&format!("the result cannot be written: {problem}"))
        }
        _ if same => ExitCode::SUCCESS,
        _ => ExitCode::from(1),
    }
}
