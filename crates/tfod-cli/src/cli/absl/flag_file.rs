//! Files of flags.
//!
//! They are read as <https://abseil.io/docs/python/guides/flags> describes: an argument a line, without quotes; lines that are blank or begin with `#` or `//` are
//! comments; a `--flagfile` in them is read in its place. A line may also be a flag and its value, with a space between.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use tfod_text::Shown;

/// Larger flag files are something else.
const LARGEST: u64 = 1 << 20;

/// Gives the arguments, with flag files in place of the flags that name them, and these files.
pub(in super::super) fn read_flag_files(
    arguments: impl Iterator<Item = OsString>,
) -> Result<(Vec<OsString>, BTreeSet<PathBuf>), String> {
    let mut all = Vec::new();
    let mut files = BTreeSet::new();
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            all.push(argument);
            all.extend(arguments);
            break;
        }
        let Some(file) = flag_file(&argument, &mut arguments)? else {
            all.push(argument);
            continue;
        };
        let mut read = BTreeSet::new();
        read_flag_file(&file, &mut read, &mut all)?;
        files.extend(read);
    }
    Ok((all, files))
}

/// The file that an argument, or else the one after it, names if it is `--flagfile`.
fn flag_file(
    argument: &OsString,
    rest: &mut impl Iterator<Item = OsString>,
) -> Result<Option<PathBuf>, String> {
    let Some(text) = argument.to_str() else {
        return Ok(None);
    };
    let Some(flag) = text.strip_prefix("--").or_else(|| text.strip_prefix('-')) else {
        return Ok(None);
    };
    if let Some(path) = flag.strip_prefix("flagfile=") {
        return Ok(Some(with_home(path)));
    }
    if flag != "flagfile" {
        return Ok(None);
    }
    match rest.next() {
        Some(path) => Ok(Some(
            path.to_str().map_or_else(|| path.clone().into(), with_home),
        )),
        None => Err("--flagfile: expected a file of flags after it".to_owned()),
    }
}

/// A path in which `~` stands for the user's folder, which shells leave to programs behind `=`.
fn with_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => path.into(),
    }
}

/// Adds the arguments in a file; of files that include each other, each is read once.
fn read_flag_file(
    path: &Path,
    read: &mut BTreeSet<PathBuf>,
    all: &mut Vec<OsString>,
) -> Result<(), String> {
    let failed =
        |problem: &dyn std::fmt::Display| format!("--flagfile: {}: {problem}", path.shown());
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST + 1).read_to_string(&mut text))
        .map_err(|error| failed(&format_args!("cannot read: {error}")))?;
    if text.len() as u64 > LARGEST {
        return Err(failed(&"is larger than 1 MB; expected flags, one a line"));
    }
    if !read.insert(fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())) {
        return Ok(());
    }
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|l| !(l.is_empty() || l.starts_with('#') || l.starts_with("//")));
    let mut arguments = lines.flat_map(flag_and_value).map(OsString::from);
    while let Some(argument) = arguments.next() {
        match flag_file(&argument, &mut arguments)? {
            Some(file) => read_flag_file(&file, read, all)?,
            None => all.push(argument),
        }
    }
    Ok(())
}

/// A line of a flag file as one or two arguments.
fn flag_and_value(line: &str) -> Vec<&str> {
    match line.split_once(char::is_whitespace) {
        Some((flag, value)) if flag.starts_with('-') && !flag.contains('=') => {
            vec![flag, value.trim_start()]
        }
        _ => vec![line],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Vec<String>, String> {
        let (read, _) = read_flag_files(arguments.iter().map(OsString::from))?;
        Ok(read
            .into_iter()
            .map(|argument| argument.into_string().expect("text"))
            .collect())
    }

    #[test]
    fn flag_files_are_read_in_their_place() -> std::io::Result<()> {
        let root = tempfile::tempdir()?;
        let path = |name: &str| root.path().join(name).display().to_string();
        let (outer, inner) = (path("outer"), path("inner"));
        fs::write(
            &outer,
            format!(
                "# A comment.\n// Another.\n\n  --batch=2  \n--config_override=model {{ ssd {{ }} }}\r\n--flagfile={inner}\n--no_nms\n"
            ),
        )?;
        fs::write(
            &inner,
            format!("--outputs a, b\n--format\nonnx\n--flagfile={outer}\n"),
        )?;
        let expected = [
            "tfod",
            "--batch=2",
            "--config_override=model { ssd { } }",
            "--outputs",
            "a, b",
            "--format",
            "onnx",
            "--no_nms",
            "--json",
        ];
        for flag in [
            vec![format!("--flagfile={outer}")],
            vec![format!("-flagfile={outer}")],
            vec!["--flagfile".to_owned(), outer.clone()],
        ] {
            let flag: Vec<&str> = flag.iter().map(String::as_str).collect();
            let arguments = [&["tfod"], &flag[..], &["--json"]].concat();
            assert_eq!(
                read(&arguments).as_deref(),
                Ok(&expected.map(str::to_owned)[..])
            );
        }
        let names = ["tfod", "--", "--flagfile=x"];
        assert_eq!(read(&names), Ok(names.map(str::to_owned).to_vec()));
        Ok(())
    }

    #[test]
    fn flag_files_that_cannot_be_read_are_named() -> std::io::Result<()> {
        let root = tempfile::tempdir()?;
        let large = root.path().join("large");
        File::create(&large)?.set_len(1 << 30)?;
        let binary = root.path().join("binary");
        fs::write(&binary, [0xff, 0xfe])?;
        for (path, words) in [
            (root.path().join("absent"), "cannot read"),
            (root.path().to_owned(), "cannot read"),
            (large, "larger than 1 MB"),
            (binary, "UTF-8"),
        ] {
            let given = format!("--flagfile={}", path.display());
            let error = read(&["tfod", &given]).expect_err("unreadable");
            assert!(
                error.contains(words) && error.contains(&path.display().to_string()),
                "{error}"
            );
        }
        let error = read(&["tfod", "--flagfile"]).expect_err("incomplete");
        assert!(error.contains("expected a file"), "{error}");
        Ok(())
    }
}
