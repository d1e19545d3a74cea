//! Options that a single format has, told as data, so that a command line need not know them one by one.

use std::ops::RangeInclusive;

use tfod_formats::Format;

use super::exporter;
use crate::export::Export;

/// An option that only one format has.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FormatOption {
    /// What users call it.
    pub name: &'static str,
    /// The heading under which help has it, which is one for all options of a format.
    pub heading: &'static str,
    /// What it does, in a line, for help.
    pub about: &'static str,
    /// What else there is to say of it, for longer help.
    pub details: Option<&'static str>,
    /// What its value is called in help; empty where it has none.
    pub value_name: &'static str,
    /// What its value can be.
    pub value: OptionValue,
    /// Gives an export this option; `None` where the value cannot be what it is.
    pub(super) set: fn(&mut Export, &str) -> Option<()>,
}

/// What the value of an option can be.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum OptionValue {
    /// It has none: it is on or off.
    None,
    /// A whole number.
    Number(RangeInclusive<u32>),
    /// One of these names.
    Name(fn() -> Vec<&'static str>),
}

impl FormatOption {
    /// The options of a format.
    pub fn of(format: Format) -> &'static [Self] {
        exporter(format).options()
    }

    /// Gives an export this option; the value of one that is on or off does not matter. `None`, and nothing done, where the value is not among those that it can have.
    #[must_use]
    pub fn set(&self, export: &mut Export, value: &str) -> Option<()> {
        (self.set)(export, value)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// What can be chosen is taken, changes the export, and nothing else is taken.
    #[test]
    fn values_are_taken_as_they_are_told() {
        let text = |export: &Export| format!("{export:?}");
        for option in Format::ALL.into_iter().flat_map(FormatOption::of) {
            let (good, bad) = match &option.value {
                OptionValue::None => (vec![String::new()], Vec::new()),
                OptionValue::Number(range) => (
                    [*range.start(), *range.end()]
                        .map(|n| n.to_string())
                        .to_vec(),
                    vec![(range.end() + 1).to_string(), "many".to_owned()],
                ),
                OptionValue::Name(names) => {
                    let names = names().into_iter().map(str::to_owned);
                    (names.collect(), vec!["another".to_owned()])
                }
            };
            let unset = text(&Export::new("c", "c", "o"));
            let set = |value: &String| {
                let mut export = Export::new("c", "c", "o");
                let taken = option.set(&mut export, value);
                (taken, text(&export))
            };
            let results: Vec<String> = good
                .iter()
                .map(|value| {
                    let (taken, export) = set(value);
                    taken.unwrap();
                    export
                })
                .collect();
            assert!(
                results.iter().any(|export| *export != unset),
                "{}",
                option.name
            );
            for value in &bad {
                assert_eq!(set(value), (None, unset.clone()), "{} {value}", option.name);
            }
        }
    }
}
