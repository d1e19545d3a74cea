//! Spellings of values: integers, floats, booleans and escapes in strings.
//!
//! The reference hands tokens to Python's `int(text, 0)`, `float(text)` and `unicode_escape` codec after a few adjustments
//! of its own, so their rules apply: prefixes `0x`, `0o` and `0b`, underscores between digits, a sign of either kind, C's
//! octal with a leading 0, a trailing `f` on floats.

use std::ops::Range;

/// Reads an integer; one beyond `i128` comes out as the nearest `i128`, which no field can hold either.
pub(super) fn integer(text: &str) -> Option<i128> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    match unsigned.strip_prefix('0') {
        Some(octal) if !octal.is_empty() && octal.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(signed(text, digits(octal, 8)?))
        }
        _ => python_integer(text),
    }
}

/// Reads an enum's number: as an integer, but without C's octal.
pub(super) fn python_integer(text: &str) -> Option<i128> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let radix = match unsigned.get(..2) {
        Some("0x" | "0X") => 16,
        Some("0o" | "0O") => 8,
        Some("0b" | "0B") => 2,
        _ => 10,
    };
    let magnitude = if radix == 10 {
        let value = digits(unsigned, 10)?;
        // A number other than zero does not begin with 0.
        if value != 0 && unsigned.starts_with('0') {
            return None;
        }
        value
    } else {
        let after_prefix = &unsigned[2..];
        digits(
            after_prefix.strip_prefix('_').unwrap_or(after_prefix),
            radix,
        )?
    };
    Some(signed(text, magnitude))
}

fn signed(text: &str, magnitude: i128) -> i128 {
    if text.starts_with('-') {
        -magnitude
    } else {
        magnitude
    }
}

/// Digits with single underscores between them.
fn digits(text: &str, radix: u32) -> Option<i128> {
    let mut value: i128 = 0;
    for group in text.split('_') {
        if group.is_empty() {
            return None;
        }
        for character in group.chars() {
            let digit = character.to_digit(radix)?;
            value = value
                .saturating_mul(radix.into())
                .saturating_add(digit.into());
        }
    }
    Some(value)
}

/// Reads a float.
pub(super) fn float(text: &str) -> Option<f64> {
    python_float(text)
        .or_else(|| infinity_or_nan(text))
        .or_else(|| python_float(text.trim_end_matches('f')))
}

/// Rust's syntax of floats is Python's but for underscores.
fn python_float(text: &str) -> Option<f64> {
    if !text.contains('_') {
        return text.parse().ok();
    }
    let groups: Vec<&str> = text.split('_').collect();
    let joined_by_digits = groups.windows(2).all(|pair| {
        pair[0].ends_with(|character: char| character.is_ascii_digit())
            && pair[1].starts_with(|character: char| character.is_ascii_digit())
    });
    if joined_by_digits {
        groups.concat().parse().ok()
    } else {
        None
    }
}

/// `inf` and `nan` with the suffix `f` that numbers may have.
fn infinity_or_nan(text: &str) -> Option<f64> {
    match text.to_ascii_lowercase().as_str() {
        "inff" | "infinityf" => Some(f64::INFINITY),
        "-inff" | "-infinityf" => Some(f64::NEG_INFINITY),
        "nanf" => Some(f64::NAN),
        _ => None,
    }
}

/// Rounds to the nearest 32-bit float as the reference does, which is to the largest finite one on the very boundary to
/// infinity, where IEEE 754 rounds to infinity.
#[expect(clippy::cast_possible_truncation, reason = "rounding is the purpose")]
pub(super) fn round_to_f32(value: f64) -> f32 {
    /// Half a unit in the last place above `f32::MAX`.
    const BOUNDARY: f64 = 3.402_823_567_797_336_6e38;
    if value.abs() == BOUNDARY {
        f32::MAX.copysign(value as f32)
    } else {
        value as f32
    }
}

/// Reads a boolean.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "t" | "1" | "True" => Some(true),
        "false" | "f" | "0" | "False" => Some(false),
        _ => None,
    }
}

/// An escape that cannot be read: where it is in the string, and what it needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadEscape {
    pub(super) span: Range<usize>,
    pub(super) expected: &'static str,
}

/// Appends the bytes that a string (without its quotes) stands for.
///
/// A character above U+00FF, which only `\u`, `\U` and an octal escape can name, stands for its own escape: `\u20ac` is
/// six characters. That is of no use to anybody, but it is what the reference makes of it.
pub(super) fn unescape(text: &str, out: &mut Vec<u8>) -> Result<(), BadEscape> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte != b'\\' {
            out.push(byte);
            at += 1;
            continue;
        }
        let bad = |length: usize, expected| BadEscape {
            span: at..(at + length).min(bytes.len()),
            expected,
        };
        let digits_from = |start: usize, most: usize, radix: u32| {
            let all = bytes.get(start..).unwrap_or_default();
            let count = all
                .iter()
                .take(most)
                .take_while(|&&byte| char::from(byte).is_digit(radix))
                .count();
            let value = all[..count].iter().fold(0u32, |value, &byte| {
                value * radix + char::from(byte).to_digit(radix).unwrap_or_default()
            });
            (value, count)
        };
        let simple = match bytes.get(at + 1) {
            None => return Err(bad(1, "a character after the backslash")),
            Some(b'0'..=b'7') => {
                let (value, count) = digits_from(at + 1, 3, 8);
                push_code_point(value, out);
                at += 1 + count;
                continue;
            }
            Some(b'x') => {
                let (value, count) = digits_from(at + 2, 2, 16);
                if count == 0 {
                    return Err(bad(2, "one or two hexadecimal digits after `\\x`"));
                }
                push_code_point(value, out);
                at += 2 + count;
                continue;
            }
            Some(&kind @ (b'u' | b'U')) => {
                let (length, expected) = if kind == b'u' {
                    (4, "four hexadecimal digits after `\\u`")
                } else {
                    (8, "eight hexadecimal digits up to 0010ffff after `\\U`")
                };
                let (value, count) = digits_from(at + 2, length, 16);
                if count < length || value > u32::from(char::MAX) {
                    return Err(bad(2 + count, expected));
                }
                push_code_point(value, out);
                at += 2 + count;
                continue;
            }
            Some(b'N') => return Err(bad(2, "an escape that is not a character's name")),
            Some(b'a') => 0x07,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'v') => 0x0b,
            Some(&quoted @ (b'\\' | b'\'' | b'"')) => quoted,
            // An unknown escape stands for itself, backslash included.
            Some(&other) => {
                out.push(b'\\');
                other
            }
        };
        out.push(simple);
        at += 2;
    }
    Ok(())
}

fn push_code_point(value: u32, out: &mut Vec<u8>) {
    match u8::try_from(value) {
        Ok(byte) => out.push(byte),
        Err(_) if value <= 0xffff => out.extend(format!("\\u{value:04x}").bytes()),
        Err(_) => out.extend(format!("\\U{value:08x}").bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_spelt_as_in_python_and_c() {
        let good = [
            ("0", 0),
            ("00", 0),
            ("-0", 0),
            ("+7", 7),
            ("010", 8),
            ("-017", -15),
            ("0x1F", 31),
            ("0X_1f", 31),
            ("-0b101", -5),
            ("0o17", 15),
            ("1_000", 1000),
            ("0_0", 0),
            ("+00", 0),
        ];
        for (text, value) in good {
            assert_eq!(integer(text), Some(value), "{text}");
        }
        let bad = [
            "", "+", "-", "--1", "1.0", "1e3", "08", "+010", "0_7", "1__0", "1_", "_1", "0x",
            "0xg", "1f", "0b2", "0x__1",
        ];
        for text in bad {
            assert_eq!(integer(text), None, "{text}");
        }
        assert_eq!(integer(&"9".repeat(100)), Some(i128::MAX));
    }

    #[test]
    fn enum_numbers_have_no_c_octal() {
        assert_eq!(python_integer("0x2"), Some(2));
        assert_eq!(python_integer("02"), None);
        assert_eq!(python_integer("00"), Some(0));
    }

    #[test]
    fn floats_are_spelt_as_in_python_with_a_suffix() {
        let good = [
            ("1", 1.0),
            ("1.", 1.0),
            (".5", 0.5),
            ("+1.5e-3", 0.0015),
            ("1.f", 1.0),
            ("2ff", 2.0),
            ("1_0.2_5", 10.25),
            ("inf", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("INFF", f64::INFINITY),
            ("-infinityf", f64::NEG_INFINITY),
            ("infinityff", f64::INFINITY),
            ("010", 10.0),
        ];
        for (text, value) in good {
            assert_eq!(float(text), Some(value), "{text}");
        }
        for text in ["nan", "NaNf", "-nan", "-nanf"] {
            assert!(float(text).is_some_and(f64::is_nan), "{text}");
        }
        for text in [
            "", ".", "e5", "1e", "0x10", "1.0F", "+inff", "infff", "1_.0", "1__0", "_1", "1.0g",
        ] {
            assert_eq!(float(text), None, "{text}");
        }
    }

    #[test]
    fn floats_round_to_the_largest_on_the_boundary() {
        let boundary = 3.402_823_567_797_336_6e38;
        assert_eq!(round_to_f32(boundary).to_bits(), f32::MAX.to_bits());
        assert_eq!(round_to_f32(-boundary).to_bits(), f32::MIN.to_bits());
        assert!(round_to_f32(f64::MAX).is_infinite());
        assert_eq!(round_to_f32(0.1).to_bits(), 0.1f32.to_bits());
    }

    #[test]
    fn booleans_have_eight_spellings() {
        for text in ["true", "t", "1", "True"] {
            assert_eq!(boolean(text), Some(true));
        }
        for text in ["false", "f", "0", "False"] {
            assert_eq!(boolean(text), Some(false));
        }
        for text in ["TRUE", "yes", "T", "01", "2", ""] {
            assert_eq!(boolean(text), None);
        }
    }

    fn unescaped(text: &str) -> Result<Vec<u8>, BadEscape> {
        let mut out = Vec::new();
        unescape(text, &mut out).map(|()| out)
    }

    #[test]
    fn escapes_are_those_of_python() {
        let good: [(&str, &[u8]); 10] = [
            (r#"\a\b\f\n\r\t\v\\\'\""#, b"\x07\x08\x0c\n\r\t\x0b\\'\""),
            (r"\101\60\7z", b"A0\x07z"),
            (r"\x41\x4g\x414", b"A\x04gA4"),
            (r"\u0041\U00000042", b"AB"),
            (r"\u20ac", br"\u20ac"),
            (r"\U0001F600", br"\U0001f600"),
            (r"\777", br"\u01ff"),
            (r"C:\data\q\8", br"C:\data\q\8"),
            ("\u{e9}", "\u{e9}".as_bytes()),
            ("\\\u{e9}", "\\\u{e9}".as_bytes()),
        ];
        for (text, bytes) in good {
            assert_eq!(unescaped(text).as_deref(), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn escapes_that_python_refuses_are_placed() {
        for (text, span) in [
            (r"ab\", 2..3),
            (r"\xg", 0..2),
            (r"a\u12", 1..5),
            (r"\U00110000", 0..10),
            (r"\N{DASH}", 0..2),
        ] {
            assert_eq!(unescaped(text).expect_err(text).span, span, "{text}");
        }
    }
}
