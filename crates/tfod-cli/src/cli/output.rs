//! What every subcommand prints alike: errors, sizes, and text to a standard output that may go away.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::io::{self, Write as _};
use std::process::ExitCode;

/// A text that a terminal shows as it is, whatever names of files or of a model's parts are in it: control characters, which could move the cursor or send commands to the
/// terminal, and marks that turn the direction of writing are escaped as in JSON, which stays valid that way. Line breaks stay.
fn safe(text: &str) -> Cow<'_, str> {
    let is_unsafe = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_unsafe(c) {
            // None of them has more than four digits. Writing into a string does not fail.
            let _ = write!(safe, "\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// Writes a line to standard error. One that cannot be written is no failure.
fn say(kind: &str, text: &dyn Display) {
    let text = format!("{kind}: {text}\n");
    let _ = io::stderr().write_all(safe(&text).as_bytes());
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
    match safe(&text) {
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

/// Says what the user should know, though the work was done.
pub(super) fn warn(warning: &dyn Display) {
    say("warning", warning);
}

/// Prints a summary to standard error, where standard output has something else.
pub(super) fn print_aside(text: &str) -> ExitCode {
    let _ = io::stderr().write_all(safe(text).as_bytes());
    ExitCode::SUCCESS
}

/// Prints a summary. A reader that has seen enough of it is no failure.
pub(super) fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(safe(text).as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => failure(&format!(
            "all was done, but the summary cannot be written: {error}"
        )),
        _ => ExitCode::SUCCESS,
    }
}

/// Says what prevented a comparison, whose exit status 1 means something else.
pub(super) fn error(error: &dyn Display) -> ExitCode {
    say("error", error);
    ExitCode::from(2)
}

/// Prints the result of a comparison: exit status 0 for the same (or a fit), 1 for different.
pub(super) fn verdict(text: &str, same: bool) -> ExitCode {
    match io::stdout().write_all(safe(text).as_bytes()) {
        Err(problem) if problem.kind() != io::ErrorKind::BrokenPipe => {
            error(&format!("the result cannot be written: {problem}"))
        }
        _ if same => ExitCode::SUCCESS,
        _ => ExitCode::from(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_sent_no_commands() {
        assert_eq!(
            safe("a\u{1b}[31mred\u{1b}[0m\r\u{7}\u{7f}\u{9b}2J\tb\nc"),
            "a\\u001b[31mred\\u001b[0m\\u000d\\u0007\\u007f\\u009b2J\\u0009b\nc"
        );
        assert_eq!(safe("exe\u{202e}gpj.x"), "exe\\u202egpj.x");
        for plain in [
            "caf\u{e9} \u{4e16}\u{754c} \u{1f468}\u{200d}\u{1f4bb}\n",
            "\\x \"quoted\"",
        ] {
            assert!(matches!(safe(plain), Cow::Borrowed(text) if text == plain));
        }
    }
}
