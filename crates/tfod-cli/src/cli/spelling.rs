//! Flags as people spell them: the official scripts take `--flag` and `-flag`, with underscores; other tools have hyphens. All are understood.

use std::ffi::OsString;

/// Rewrites the names of flags to the one spelling that the parser knows: two hyphens, then underscores.
pub(super) fn normalise(
    arguments: impl Iterator<Item = OsString>,
) -> impl Iterator<Item = OsString> {
    let mut are_flags = true;
    arguments.map(move |argument| {
        // Behind it are names, however they begin.
        are_flags &= argument != "--";
        match argument.to_str().filter(|_| are_flags).and_then(respell) {
            Some(flag) => flag.into(),
            None => argument,
        }
    })
}

/// Whether an argument is a value though it begins with a hyphen: `-1`, `-inf`.
pub(super) fn is_negative_number(argument: &str) -> bool {
    argument.starts_with('-') && argument.parse::<f64>().is_ok()
}

/// The one spelling of a flag; `None` for what is not a long flag.
fn respell(argument: &str) -> Option<String> {
    if is_negative_number(argument) {
        return None;
    }
    let (name, value) = match argument.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (argument, None),
    };
    let name = name.strip_prefix("--").or_else(|| {
        // One hyphen and one letter is a short flag.
        name.strip_prefix('-').filter(|rest| rest.len() > 1)
    })?;
    let is_flag = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if !is_flag {
        return None;
    }
    let name = name.replace('-', "_");
    Some(match value {
        Some(value) => format!("--{name}={value}"),
        None => format!("--{name}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_are_one() {
        let flags = [
            "--input_type=a-b",
            "--input-type=a-b",
            "-input_type=a-b",
            "-input-type=a-b",
        ];
        for flag in flags {
            assert_eq!(respell(flag).as_deref(), Some("--input_type=a-b"));
        }
        assert_eq!(
            respell("--output-directory").as_deref(),
            Some("--output_directory")
        );
    }

    #[test]
    fn behind_two_hyphens_are_names() {
        let given = ["tfod", "-a-b", "--", "-a-b", "--c-d"].map(OsString::from);
        let found: Vec<OsString> = normalise(given.into_iter()).collect();
        assert_eq!(found, ["tfod", "--a_b", "--", "-a-b", "--c-d"]);
    }

    #[test]
    fn what_is_no_flag_stays() {
        for text in [
            "out-dir",
            "-h",
            "-1,5",
            "-inf",
            "-Infinity",
            "-nan",
            "--",
            "model { ssd { } }",
            "--x y-z",
        ] {
            assert_eq!(respell(text), None, "{text}");
        }
    }
}
