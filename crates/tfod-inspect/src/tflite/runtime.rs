//! The oldest runtime that takes a model, as far as the versions of its operators tell.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// Which release has each version of an operator.
const SINCE: &str = include_str!("since.tsv");
/// How many reasons are kept.
const REASONS: usize = 5;

/// A lower bound on the release of TensorFlow Lite.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TfliteRuntime {
    /// What the file says itself.
    pub declared: Option<String>,
    /// The first release that has all operators that are known here, in their versions; `None` where none is.
    pub needed: Option<String>,
    /// Operators that older ones do not have, a few of them.
    pub because: Vec<String>,
    /// Operators of which nothing is known here: those that a program has to bring along, and newer ones.
    pub unknown: Vec<String>,
}

/// A release as numbers, to be compared.
fn numbers(release: &str) -> Vec<u32> {
    release
        .split('.')
        .filter_map(|part| part.parse().ok())
        .collect()
}

/// The first release that has a version of an operator.
fn since(operator: &str, version: i64) -> Option<&'static str> {
    let mut rows = SINCE.lines().filter_map(|line| line.split_once('\t'));
    let (_, releases) = rows.find(|(name, _)| *name == operator)?;
    let place = usize::try_from(version.checked_sub(1)?).ok()?;
    releases.split(' ').nth(place)
}

impl TfliteRuntime {
    pub(super) fn new(
        versions: &BTreeMap<String, BTreeSet<i64>>,
        declared: Option<String>,
    ) -> Self {
        let mut found = Self {
            declared,
            ..Self::default()
        };
        let mut newest: Vec<u32> = Vec::new();
        for (name, versions) in versions {
            for version in versions {
                let what = format!("{name} {version}");
                let Some(release) = since(name, *version) else {
                    found.unknown.push(what);
                    continue;
                };
                let numbers = numbers(release);
                if numbers > newest {
                    newest = numbers;
                    found.needed = Some(release.to_owned());
                    found.because = vec![what];
                } else if numbers == newest && found.because.len() < REASONS {
                    found.because.push(what);
                }
            }
        }
        found
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "declared": self.declared,
            "needed": self.needed,
            "because": self.because,
            "unknown": self.unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_operator_decides() {
        let versions = [
            ("ADD", 1),
            ("CONV_2D", 5),
            ("CUMSUM", 1),
            ("Mine", 1),
            ("RELU", 9),
        ];
        let versions = versions
            .into_iter()
            .map(|(name, version)| (name.to_owned(), BTreeSet::from([version])));
        let found = TfliteRuntime::new(&versions.collect(), None);
        assert_eq!(found.needed.as_deref(), Some("2.4.0"));
        assert_eq!(found.because, ["CONV_2D 5", "CUMSUM 1"]);
        assert_eq!(found.unknown, ["Mine 1", "RELU 9"]);
    }

    #[test]
    fn releases_are_numbers_that_grow() {
        for line in SINCE.lines().filter(|line| !line.starts_with('#')) {
            let (name, releases) = line.split_once('\t').expect("a name and releases");
            let releases: Vec<Vec<u32>> = releases.split(' ').map(numbers).collect();
            assert!(releases.is_sorted(), "{name}");
            assert!(releases.iter().all(|release| release.len() == 3), "{name}");
        }
        // Ten is more than nine.
        assert!(numbers("1.14.0") > numbers("1.9.0"));
    }
}
