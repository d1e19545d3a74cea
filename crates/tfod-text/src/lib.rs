//! Names from files, as messages show them.
//!
//! The names of files, layers, labels and keys are untrusted input. A line break in one would let it write lines of its own into a message or a report, and
//! other control characters would move the cursor or send commands to a terminal. So messages are composed of names as [`Shown`] gives them, on one line;
//! files and JSON get names as they are.
//!
//! ```
//! use tfod_text::Shown;
//!
//! assert_eq!("conv\nerror: none".shown().to_string(), "conv\\u000aerror: none");
//! ```

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::path::Path;

/// A name that can be part of a message.
pub trait Shown {
    /// The name on one line: control characters and marks that turn the direction of writing are escaped as in JSON.
    fn shown(&self) -> OneLine<'_>;
}

impl Shown for str {
    fn shown(&self) -> OneLine<'_> {
        OneLine(self.into())
    }
}

/// What is no Unicode is replaced, as [`Path::display`] does.
impl Shown for Path {
    fn shown(&self) -> OneLine<'_> {
        OneLine(self.to_string_lossy())
    }
}

/// A text that is written on one line.
#[derive(Clone, Debug)]
pub struct OneLine<'a>(Cow<'a, str>);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Widths and alignments apply to what is seen.
        f.pad(&escaped(&self.0, is_unsafe))
    }
}

/// A text of several lines that a terminal shows as it is: as [`Shown::shown`], but line breaks stay.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && is_unsafe(c))
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escaped(text: &str, is_unsafe: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_unsafe) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_sent_no_commands() {
        assert_eq!(
            lines("a\u{1b}[31mred\u{1b}[0m\r\u{7}\u{7f}\u{9b}2J\tb\nc"),
            "a\\u001b[31mred\\u001b[0m\\u000d\\u0007\\u007f\\u009b2J\\u0009b\nc"
        );
        assert_eq!(lines("exe\u{202e}gpj.x"), "exe\\u202egpj.x");
        for plain in [
            "caf\u{e9} \u{4e16}\u{754c} \u{1f468}\u{200d}\u{1f4bb}\n",
            "\\x \"quoted\"",
        ] {
            assert!(matches!(lines(plain), Cow::Borrowed(text) if text == plain));
        }
    }

    #[test]
    fn a_name_stays_on_its_line() {
        let name = Path::new("a\nerror: b\u{85}c\u{2028}");
        assert_eq!(name.shown().to_string(), "a\\u000aerror: b\\u0085c\\u2028");
        assert_eq!(
            format!("{:>4}|{:<4}|", "x".shown(), "y".shown()),
            "   x|y   |"
        );
    }
}
