//! What command lines for the official exporter have because its flags are those of absl: `--flagfile`, `--undefok`, `--flag=true`, `--noflag`, and flags of absl's own.

mod flag_file;
mod help_xml;
mod table;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::iter::Peekable;
use std::vec::IntoIter;

use clap::{ArgAction, Command};

use super::spelling::is_negative_number;
pub(super) use flag_file::read_flag_files;
use table::{Form, Meaning, Request};

/// The command that takes the place of a program with these flags.
const EXPORTER: &str = "export";
/// Names flags that need not be known.
const UNDEFOK: &str = "undefok";
/// Of the flags of one letter, those that absl has too.
const SHORT: [&str; 2] = ["v", "?"];

/// A command line in terms of the parser.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// What is left for the parser.
    pub(super) arguments: Vec<OsString>,
    /// Flags that are for programs in Python, which have no effect.
    pub(super) ignored: BTreeSet<String>,
    /// What is asked for in place of an export.
    pub(super) request: Option<Request>,
}

impl Resolved {
    /// What to say of flags that have no effect.
    pub(super) fn note(&self) -> Option<String> {
        let what = match self.ignored.len() {
            0 => return None,
            1 => "has no effect; it is a flag",
            _ => "have no effect; they are flags",
        };
        let flags: Vec<&str> = self.ignored.iter().map(String::as_str).collect();
        let flags = flags.join(", ");
        Some(format!("{flags} {what} for programs in Python"))
    }
}

impl Request {
    /// What answers it.
    pub(in super::super) fn answer(self, cli: &mut Command) -> String {
        match self {
            Self::HelpXml => help_xml::of(cli, EXPORTER),
            Self::CheckDefinitions => {
                cli.build();
                "The definitions of all flags go together.\n".to_owned()
            }
        }
    }
}

/// The flags of one command.
struct Known<'a> {
    /// Those that are there or not.
    switches: BTreeSet<&'a str>,
    with_value: BTreeSet<&'a str>,
    /// Whether absl's flags are known too.
    is_exporter: bool,
}

impl<'a> Known<'a> {
    fn of(command: &'a Command) -> Self {
        let longs = |is_wanted: fn(&ArgAction) -> bool| {
            let arguments = command.get_arguments();
            let wanted = arguments.filter(move |arg| is_wanted(arg.get_action()));
            wanted.filter_map(clap::Arg::get_long).collect()
        };
        Self {
            switches: longs(|action| matches!(action, ArgAction::SetTrue)),
            with_value: longs(ArgAction::takes_values),
            is_exporter: command.get_name() == EXPORTER,
        }
    }

    /// Absl's flag of a name and form.
    fn absl(&self, name: &str, form: Form) -> Option<Meaning> {
        let flag = table::find(name, form).filter(|_| self.is_exporter)?;
        Some(flag.meaning)
    }

    /// Whether there is a flag of this name, or a switch that this turns off.
    fn has(&self, name: &str) -> bool {
        let is_switch =
            |name: &str| self.switches.contains(name) || self.absl(name, Form::Switch).is_some();
        is_switch(name)
            || name.strip_prefix("no").is_some_and(is_switch)
            || self.with_value.contains(name)
            || self.absl(name, Form::Setting).is_some()
    }
}

/// Leaves out flags that have a meaning for programs in Python only, and unknown ones that `--undefok` names; writes switches as the parser knows them: there, or not;
/// and joins a negative number to the flag before it, which the parser would take for a flag. Names are in the one spelling that the parser knows.
pub(super) fn resolve(arguments: Vec<OsString>, cli: &Command) -> Result<Resolved, String> {
    let mut resolved = Resolved::default();
    let name = arguments.iter().skip(1).find_map(|a| a.to_str());
    let Some(command) = name.and_then(|name| cli.find_subcommand(name)) else {
        resolved.arguments = arguments;
        return Ok(resolved);
    };
    let known = Known::of(command);
    let arguments = if known.is_exporter {
        without_undefined(arguments, &known)?
    } else {
        arguments
    };
    let mut arguments = arguments.into_iter().peekable();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            resolved.arguments.push(argument);
            resolved.arguments.extend(arguments);
            break;
        }
        resolved.add(argument, &mut arguments, &known);
    }
    Ok(resolved)
}

impl Resolved {
    /// Adds one argument, with its value from those after it.
    fn add(&mut self, argument: OsString, rest: &mut Peekable<IntoIter<OsString>>, known: &Known) {
        let Some((name, value)) = argument.to_str().and_then(name_and_value) else {
            self.arguments.push(argument);
            return;
        };
        if let Some(meaning) = known.absl(name, Form::Setting) {
            let next = rest.peek().and_then(|next| next.to_str());
            let is_setting = match (name, value) {
                (_, Some(_)) => true,
                // By itself it is the short form of --verbose.
                ("v", None) => next.is_some_and(|next| next.parse::<i64>().is_ok()),
                (_, None) => next.is_some(),
            };
            if is_setting {
                if value.is_none() {
                    rest.next();
                }
                self.take(name, meaning);
                return;
            }
        }
        if value.is_none() && known.with_value.contains(name) {
            let is_number = |next: &OsString| next.to_str().is_some_and(is_negative_number);
            if let Some(number) = rest.next_if(is_number) {
                let mut joined = argument;
                joined.push("=");
                joined.push(number);
                self.arguments.push(joined);
                return;
            }
        }
        let Some((name, is_on)) = switch(name, value) else {
            self.arguments.push(argument);
            return;
        };
        if let Some(meaning) = known.absl(name, Form::Switch) {
            if is_on {
                self.take(name, meaning);
            }
        } else if known.switches.contains(name) {
            let flag = format!("--{name}");
            self.arguments.retain(|argument| *argument != *flag);
            if is_on {
                self.arguments.push(flag.into());
            }
        } else {
            self.arguments.push(argument);
        }
    }

    /// Does what one of absl's flags asks for.
    fn take(&mut self, name: &str, meaning: Meaning) {
        match meaning {
            Meaning::Logging => {}
            Meaning::Python => {
                self.ignored.insert(format!("--{name}"));
            }
            Meaning::Same(flag) => self.arguments.push(flag.into()),
            Meaning::Asks(request) => self.request = self.request.or(Some(request)),
        }
    }
}

/// Leaves out flags that are not known and that `--undefok` names, with the values that they have behind `=`, and `--undefok` itself. A value that stands by itself
/// stays, as absl leaves it.
fn without_undefined(arguments: Vec<OsString>, known: &Known) -> Result<Vec<OsString>, String> {
    let end = arguments.iter().position(|argument| argument == "--");
    let mut flags = arguments;
    let names = end.map_or_else(Vec::new, |end| flags.split_off(end));
    let mut kept = Vec::new();
    let mut undefined: BTreeSet<String> = BTreeSet::new();
    let mut rest = flags.into_iter();
    while let Some(argument) = rest.next() {
        let list = match argument.to_str().and_then(name_and_value) {
            Some((UNDEFOK, Some(list))) => list.to_owned(),
            Some((UNDEFOK, None)) => rest
                .next()
                .and_then(|list| list.into_string().ok())
                .ok_or("--undefok: expected names of flags after it, separated by commas")?,
            _ => {
                kept.push(argument);
                continue;
            }
        };
        let list = list.split(',').map(|name| name.trim().replace('-', "_"));
        undefined.extend(list.flat_map(|name| [format!("no{name}"), name]));
    }
    kept.retain(|argument| {
        let flag = argument.to_str().and_then(name_and_value);
        flag.is_none_or(|(name, _)| known.has(name) || !undefined.contains(name))
    });
    kept.extend(names);
    Ok(kept)
}

/// A flag's name and the value that it has behind `=`.
fn name_and_value(argument: &str) -> Option<(&str, Option<&str>)> {
    let flag = argument.strip_prefix("--").or_else(|| {
        let rest = argument.strip_prefix('-')?;
        let (name, _) = rest.split_once('=').unwrap_or((rest, ""));
        SHORT.contains(&name).then_some(rest)
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
        let resolved = whole(arguments).expect("understood");
        let resolved = resolved.arguments.into_iter().skip(1);
        resolved.map(|a| a.into_string().expect("text")).collect()
    }

    fn whole(arguments: &[&str]) -> Result<Resolved, String> {
        let arguments = std::iter::once("tfod").chain(arguments.iter().copied());
        resolve(arguments.map(OsString::from).collect(), &cli())
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
    fn flags_for_python_are_left_out_and_told() {
        let flags = [
            "export",
            "--run_with_pdb",
            "--profile_file",
            "profile",
            "--pdb_post_mortem=true",
            "--norun_with_profiling",
            "--use_cprofile_for_profiling=false",
            "--test_random_seed=301",
            "--batch=2",
        ];
        let resolved = whole(&flags).expect("understood");
        assert_eq!(resolved.arguments, ["tfod", "export", "--batch=2"]);
        let note = "--pdb_post_mortem, --profile_file, --run_with_pdb, --test_random_seed have no effect; they are flags for programs in Python";
        assert_eq!(resolved.note().as_deref(), Some(note));
        let logging = whole(&["export", "--alsologtostderr", "--v=2"]).expect("understood");
        assert_eq!(logging.note(), None);
        let other = ["inspect", "--run_with_pdb"];
        assert_eq!(self::resolved(&other), other);
    }

    #[test]
    fn there_are_several_names_for_help() {
        for (flag, help) in [
            ("--help", "--help"),
            ("--help=true", "--help"),
            ("--helpfull", "--help"),
            ("--helpshort", "-h"),
            ("-?", "-h"),
        ] {
            assert_eq!(resolved(&["export", flag]), ["export", help], "{flag}");
        }
        for off in ["--nohelp", "--help=false", "--nohelpfull", "--helpxml=no"] {
            assert_eq!(resolved(&["export", off]), ["export"]);
        }
        let request = |flag| whole(&["export", flag]).expect("understood").request;
        assert_eq!(request("--helpxml"), Some(Request::HelpXml));
        assert_eq!(request("--nohelpxml"), None);
        let definitions = Some(Request::CheckDefinitions);
        assert_eq!(request("--only_check_flags"), definitions);
    }

    #[test]
    fn unknown_flags_that_are_named_are_left_out() {
        for flags in [
            &["--undefok=other,more-yet", "--other=1", "--nomore_yet"][..],
            &["--other", "--more_yet", "--undefok", " other, more_yet"],
            &["--undefok=other", "--noother", "--undefok=x"],
        ] {
            let arguments = [&["export"], flags, &["--batch", "2"]].concat();
            assert_eq!(
                resolved(&arguments),
                ["export", "--batch", "2"],
                "{flags:?}"
            );
        }
        // What is known keeps its meaning.
        let known = [
            "export",
            "--undefok=batch,float_input,alsologtostderr,run_with_pdb",
            "--batch=2",
            "--float_input",
            "--alsologtostderr",
            "--run_with_pdb",
        ];
        let resolved = whole(&known).expect("understood");
        let left = ["tfod", "export", "--batch=2", "--float_input"];
        assert_eq!(resolved.arguments, left);
        assert!(resolved.note().is_some());
        // What is neither known nor named is left to the parser, and so are names behind two hyphens, and other commands.
        for arguments in [
            &["export", "--another"][..],
            &["export", "--", "--undefok=other", "--other"],
            &["inspect", "--undefok=other", "--other"],
        ] {
            assert_eq!(self::resolved(arguments), arguments);
        }
        let error = whole(&["export", "--undefok"]).map(|_| ());
        assert!(error.is_err_and(|error| error.contains("expected names of flags")));
    }

    #[test]
    fn the_parser_knows_none_of_the_flags_by_itself() {
        let cli = <super::super::Cli as clap::CommandFactory>::command();
        let export = cli.find_subcommand(EXPORTER).expect("the command");
        let own: Vec<&str> = export.get_arguments().filter_map(Arg::get_long).collect();
        for flag in table::FLAGS {
            assert!(!own.contains(&flag.name), "{}", flag.name);
        }
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
}
