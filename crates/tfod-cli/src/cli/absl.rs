//! What command lines for the official exporter have because its flags are those of absl: `--flagfile`, `--flag=true`, `--noflag`, and flags of logging.
//!
//! Flag files are read as <https://abseil.io/docs/python/guides/flags> describes: an argument a line, without quotes; lines that are blank or begin with `#` or `//` are
//! comments; a `--flagfile` in them is read in its place. A line may also be a flag and its value, with a space between.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Command};

use tfod_text::Shown;

use super::spelling::is_negative_number;

/// Larger flag files are something else.
const LARGEST: u64 = 1 << 20;

/// Flags of logging that are true or false.
const SWITCHES: [&str; 3] = ["alsologtostderr", "logtostderr", "showprefixforinfo"];
/// Flags of logging that have a value.
const SETTINGS: [&str; 5] = [
    "verbosity",
    "v",
    "stderrthreshold",
    "log_dir",
    "logger_levels",
];
/// The command that takes the place of a program with these flags.
const EXPORTER: &str = "export";

/// Gives the arguments, with flag files in place of the flags that name them, and these files.
pub(super) fn read_flag_files(
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

/// Leaves out the flags of logging, and writes switches as the parser knows them: there, or not; and joins a negative number to the flag before it, which the parser
/// would take for a flag. Names are in the one spelling that the parser knows.
pub(super) fn resolve(arguments: Vec<OsString>, cli: &Command) -> Vec<OsString> {
    let name = arguments.iter().skip(1).find_map(|a| a.to_str());
    let Some(command) = name.and_then(|name| cli.find_subcommand(name)) else {
        return arguments;
    };
    let switches: BTreeSet<&str> = command
        .get_arguments()
        .filter(|arg| matches!(arg.get_action(), ArgAction::SetTrue))
        .filter_map(|arg| arg.get_long())
        .collect();
    let with_value: BTreeSet<&str> = command
        .get_arguments()
        .filter(|arg| arg.get_action().takes_values())
        .filter_map(|arg| arg.get_long())
        .collect();
    let is_exporter = command.get_name() == EXPORTER;
    let mut resolved: Vec<OsString> = Vec::new();
    let mut arguments = arguments.into_iter().peekable();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            resolved.push(argument);
            resolved.extend(arguments);
            break;
        }
        let Some((name, value)) = argument.to_str().and_then(name_and_value) else {
            resolved.push(argument);
            continue;
        };
        if is_exporter && SETTINGS.contains(&name) {
            let next = arguments.peek().and_then(|next| next.to_str());
            let is_setting = match (name, value) {
                (_, Some(_)) => true,
                // By itself it is the short form of --verbose.
                ("v", None) => next.is_some_and(|next| next.parse::<i64>().is_ok()),
                (_, None) => next.is_some(),
            };
            if is_setting {
                if value.is_none() {
                    arguments.next();
                }
                continue;
            }
        }
        if value.is_none() && with_value.contains(name) {
            let is_number = |next: &OsString| next.to_str().is_some_and(is_negative_number);
            if let Some(number) = arguments.next_if(is_number) {
                let mut joined = argument;
                joined.push("=");
                joined.push(number);
                resolved.push(joined);
                continue;
            }
        }
        match switch(name, value) {
            Some((name, _)) if is_exporter && SWITCHES.contains(&name) => {}
            Some((name, is_on)) if switches.contains(name) => {
                let flag = format!("--{name}");
                resolved.retain(|argument| *argument != *flag);
                if is_on {
                    resolved.push(flag.into());
                }
            }
            _ => resolved.push(argument),
        }
    }
    resolved
}

/// A flag's name and the value that it has behind `=`.
fn name_and_value(argument: &str) -> Option<(&str, Option<&str>)> {
    let flag = argument.strip_prefix("--").or_else(|| {
        // Of the short flags, the one that absl has too.
        let rest = argument.strip_prefix('-')?;
        (rest == "v" || rest.starts_with("v=")).then_some(rest)
    })?;
    Some(match flag.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (flag, None),
    })
}

/// The switch that a flag turns on or off.
fn switch<'a>(name: &'a str, value: Option<&str>) -> Option<(&'a str, bool)> {
    let is_on = match value.map(str::to_ascii_lowercase).as_deref() {
        None => {
            return Some(
                name.strip_prefix("no")
                    .map_or((name, true), |name| (name, false)),
            );
        }
        Some("true" | "t" | "1" | "yes" | "y") => true,
        Some("false" | "f" | "0" | "no" | "n") => false,
        Some(_) => return None,
    };
    Some((name, is_on))
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    fn cli() -> Command {
        let switch = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
        let export = Command::new("export")
            .arg(switch("float_input"))
            .arg(switch("no_nms"))
            .arg(switch("verbose").short('v'))
            .arg(Arg::new("batch").long("batch"));
        let inspect = Command::new("inspect").arg(switch("verbose").short('v'));
        Command::new("tfod").subcommand(export).subcommand(inspect)
    }

    fn resolved(arguments: &[&str]) -> Vec<String> {
        let arguments = std::iter::once("tfod").chain(arguments.iter().copied());
        let resolved = resolve(arguments.map(OsString::from).collect(), &cli());
        let resolved = resolved.into_iter().skip(1);
        resolved.map(|a| a.into_string().expect("text")).collect()
    }

    #[test]
    fn flags_of_logging_are_left_out() {
        for flags in [
            &["--alsologtostderr"][..],
            &["--noalsologtostderr"],
            &["--logtostderr=false"],
            &["--verbosity=-1"],
            &["--verbosity", "1"],
            &["-v", "1"],
            &["-v=1"],
            &["--v=2"],
            &["-v", "-1"],
            &["--stderrthreshold", "info"],
            &["--log_dir=logs", "--logger_levels", "a:INFO"],
        ] {
            let arguments = [&["export"], flags, &["--batch", "2"]].concat();
            assert_eq!(
                resolved(&arguments),
                ["export", "--batch", "2"],
                "{flags:?}"
            );
        }
        // The command's own short flag.
        for rest in [&["-v"][..], &["-v", "--batch", "2"]] {
            let arguments = [&["export"], rest].concat();
            assert_eq!(resolved(&arguments), arguments);
        }
        // Other commands have no such flags.
        let other = ["inspect", "-v", "1", "--alsologtostderr"];
        assert_eq!(resolved(&other), other);
    }

    #[test]
    fn switches_have_values() {
        for on in ["--float_input", "--float_input=true", "--float_input=1"] {
            assert_eq!(resolved(&["export", on]), ["export", "--float_input"]);
        }
        for off in ["--nofloat_input", "--float_input=false", "--float_input=No"] {
            assert_eq!(resolved(&["export", off]), ["export"]);
            assert_eq!(resolved(&["export", "--float_input", off]), ["export"]);
            assert_eq!(
                resolved(&["export", off, "--float_input"]),
                ["export", "--float_input"]
            );
        }
        // A switch whose name begins like that.
        assert_eq!(resolved(&["export", "--no_nms"]), ["export", "--no_nms"]);
        assert_eq!(resolved(&["export", "--no_nms=false"]), ["export"]);
        // What is no truth value, and what has a value, is left to the parser.
        for argument in [
            "--float_input=perhaps",
            "--batch=1",
            "--nobatch",
            "--nothing",
        ] {
            assert_eq!(resolved(&["export", argument]), ["export", argument]);
        }
        let names = ["export", "--", "--float_input=true"];
        assert_eq!(resolved(&names), names);
    }

    #[test]
    fn a_negative_number_belongs_to_the_flag_before_it() {
        for number in ["-1", "-0.5", "-inf", "-1e3"] {
            let joined = format!("--batch={number}");
            assert_eq!(
                resolved(&["export", "--batch", number, "--no_nms"]),
                ["export", &joined, "--no_nms"]
            );
        }
        for others in [
            ["export", "--batch", "2"],
            ["export", "--batch", "-x"],
            ["export", "--batch", "--no_nms"],
            ["export", "--no_nms", "-1"],
            ["export", "--batch=1", "-1"],
        ] {
            assert_eq!(resolved(&others), others);
        }
    }

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
