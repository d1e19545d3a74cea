//! Flags that only one format has: made from the formats' own options, so that a new option needs nothing here.

use clap::builder::{PossibleValuesParser, StringValueParser, TypedValueParser as _};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};
use tfod::{Export, Format, FormatOption, OptionValue};

use super::values;

/// The flags that were given: the format, its option, and the value.
#[derive(Debug, Default)]
pub(super) struct FormatFlags(Vec<(Format, &'static FormatOption, String)>);

impl FormatFlags {
    /// Refuses flags of formats that are not written.
    pub(super) fn check(&self, formats: &[Format]) -> Result<(), String> {
        let mut all = self.0.iter();
        let stray = all.find(|(format, ..)| !formats.contains(format));
        stray.map_or(Ok(()), |(format, option, _)| {
            Err(format!(
                "--{} is an option of the {}: add {} to --format, or leave the flag out",
                option.name,
                format.descriptor().title(),
                format.name()
            ))
        })
    }

    /// Gives an export these options.
    pub(super) fn apply(&self, export: &mut Export) -> Result<(), String> {
        for (_, option, value) in &self.0 {
            let wrong = || format!("--{} {value}: this is not among its values", option.name);
            option.set(export, value).ok_or_else(wrong)?;
        }
        Ok(())
    }
}

fn all() -> impl Iterator<Item = (Format, &'static FormatOption)> {
    let formats = Format::ALL.into_iter();
    formats.flat_map(|format| FormatOption::of(format).iter().map(move |o| (format, o)))
}

fn argument(option: &'static FormatOption) -> Arg {
    let mut argument = Arg::new(option.name)
        .long(option.name)
        .help(option.about)
        .help_heading(option.heading);
    if let Some(details) = option.details {
        argument = argument.long_help(format!("{}\n\n{details}", option.about));
    }
    match &option.value {
        OptionValue::None => return argument.action(ArgAction::SetTrue),
        OptionValue::Number(range) => {
            let number = values::from_to(*range.start(), *range.end());
            let text = StringValueParser::new();
            argument =
                argument.value_parser(text.try_map(move |s| number(&s).map(|n| n.to_string())));
        }
        OptionValue::Name(names) => {
            argument = argument.value_parser(PossibleValuesParser::new(names()));
        }
        // Of another kind: the option itself says whether a value will do.
        _ => {}
    }
    argument.value_name(option.value_name)
}

impl Args for FormatFlags {
    fn augment_args(command: Command) -> Command {
        command.args(all().map(|(_, option)| argument(option)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for FormatFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given = all().filter_map(|(format, option)| {
            let value = match option.value {
                OptionValue::None => matches.get_flag(option.name).then(String::new),
                _ => matches.get_one::<String>(option.name).cloned(),
            };
            Some((format, option, value?))
        });
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
