//! What differs between two checkpoints, or two configs, by meaning.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use tfod_config::{Change, PipelineConfig, Setting};

use tfod_text::Shown;

use crate::values::{ValueDifference, in_order};
use crate::{Facts, InspectError, Inspection, StoredTensor, inspect, part};

/// What differs between two paths.
#[derive(Debug)]
pub enum Diff {
    /// Between two configs.
    Configs(ConfigDiff),
    /// Between two checkpoints.
    Checkpoints(CheckpointDiff),
}

/// What differs between two configs.
#[derive(Debug, Default)]
pub struct ConfigDiff {
    /// The fields that differ.
    pub changes: Vec<Change>,
    /// The file of each block that does not fit the schema and was left out, and what is wrong with it.
    pub unread: Vec<(String, String)>,
}

/// Why two paths cannot be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiffError {
    /// One of them cannot be looked into.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// A config cannot be read.
    #[error(transparent)]
    Config(#[from] tfod_config::ConfigError),
    /// They are of different kinds, or of kinds that have no such comparison.
    #[error(
        "{0} and {1}: a diff is of two checkpoints or two configs; models of any format can be verified against each other"
    )]
    Kinds(&'static str, &'static str),
}

/// What differs between two checkpoints.
#[derive(Debug, Default)]
pub struct CheckpointDiff {
    /// Tensors that only the first has.
    pub only_in_first: Vec<StoredTensor>,
    /// Tensors that only the second has.
    pub only_in_second: Vec<StoredTensor>,
    /// Tensors of another type or shape, as in the first and as in the second.
    pub reshaped: Vec<(StoredTensor, StoredTensor)>,
    /// Tensors of other values.
    pub changed: Vec<Changed>,
    /// Tensors that cannot be read, and why.
    pub unread: Vec<(String, String)>,
    /// How many tensors are the same.
    pub equal: u64,
    /// How many of these are so by the checksums of the indexes, their data being absent.
    pub equal_by_checksum: u64,
    /// By part of the model.
    pub parts: BTreeMap<String, PartDiff>,
}

/// A tensor of other values.
#[derive(Clone, Debug)]
pub struct Changed {
    /// Its key.
    pub name: String,
    /// How far they are apart; `None` where only the checksums of the indexes could be compared.
    pub by: Option<ValueDifference>,
}

/// What differs in a part of the model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PartDiff {
    /// Tensors that are the same.
    pub equal: u64,
    /// Tensors of other values.
    pub changed: u64,
    /// Tensors of another type or shape.
    pub reshaped: u64,
    /// Tensors that only the first has.
    pub only_in_first: u64,
    /// Tensors that only the second has.
    pub only_in_second: u64,
    /// Tensors that cannot be read.
    pub unread: u64,
    /// The largest distance of two values.
    pub max: f64,
}

/// Compares two paths.
///
/// # Errors
///
/// If either cannot be read, or they are not two checkpoints or two configs.
pub fn diff(first: &Path, second: &Path) -> Result<Diff, DiffError> {
    let (a, b) = (inspect(first)?, inspect(second)?);
    match (&a.facts, &b.facts) {
        (Facts::Config(_), Facts::Config(_)) => {
            Ok(Diff::Configs(ConfigDiff::between(&a.file, &b.file)?))
        }
        (Facts::Checkpoint(_), Facts::Checkpoint(_)) => {
            let found = CheckpointDiff::between(&a, &b);
            a.check_lengths()?;
            b.check_lengths()?;
            Ok(Diff::Checkpoints(found))
        }
        (a, b) => Err(DiffError::Kinds(a.described(), b.described())),
    }
}

impl ConfigDiff {
    fn between(first: &Path, second: &Path) -> Result<Self, DiffError> {
        let mut found = Self::default();
        let mut left_out = Vec::new();
        let mut read = |file: &Path| -> Result<PipelineConfig, DiffError> {
            let parsed = PipelineConfig::read(file)?;
            let unread = parsed.warnings.iter();
            let unread = unread.map(|warning| (file.shown().to_string(), warning.to_string()));
            found.unread.extend(unread);
            left_out.extend(parsed.warnings.iter().map(|warning| warning.block.clone()));
            Ok(parsed.config)
        };
        let (first, second) = (read(first)?, read(second)?);
        found.changes = first.changes(&second);
        // What one file's block says cannot be told from what the other's left out.
        let block = |change: &Change| change.path.split(['.', '[']).next().map(str::to_owned);
        found
            .changes
            .retain(|change| block(change).is_none_or(|block| !left_out.contains(&block)));
        Ok(found)
    }
}

impl CheckpointDiff {
    fn between(a: &Inspection, b: &Inspection) -> Self {
        let mut found = Self::default();
        let of = |inspection: &'_ Inspection| -> BTreeMap<String, StoredTensor> {
            let tensors = inspection.tensors.iter();
            tensors.map(|t| (t.name.clone(), t.clone())).collect()
        };
        let (firsts, mut seconds) = (of(a), of(b));
        for (name, first) in firsts {
            let parts = found.parts.entry(part(&name)).or_default();
            let Some(second) = seconds.remove(&name) else {
                parts.only_in_first += 1;
                found.only_in_first.push(first);
                continue;
            };
            if (first.dtype, &first.shape) != (second.dtype, &second.shape) {
                parts.reshaped += 1;
                found.reshaped.push((first, second));
                continue;
            }
            match values(a, &first, b, &second) {
                Values::Equal { by_checksum } => {
                    parts.equal += 1;
                    found.equal += 1;
                    found.equal_by_checksum += u64::from(by_checksum);
                }
                Values::Changed(by) => {
                    parts.changed += 1;
                    parts.max = parts.max.max(by.map_or(0.0, |by| by.max));
                    found.changed.push(Changed { name, by });
                }
                Values::Unread(problem) => {
                    parts.unread += 1;
                    found.unread.push((name, problem));
                }
            }
        }
        for (name, second) in seconds {
            found.parts.entry(part(&name)).or_default().only_in_second += 1;
            found.only_in_second.push(second);
        }
        found
    }

    /// Whether they are the same, as far as they could be compared.
    pub fn is_same(&self) -> bool {
        self.only_in_first.is_empty()
            && self.only_in_second.is_empty()
            && self.reshaped.is_empty()
            && self.changed.is_empty()
    }
}

/// How the values of two tensors of the same key, type and shape compare.
enum Values {
    Equal { by_checksum: bool },
    Changed(Option<ValueDifference>),
    Unread(String),
}

fn values(a: &Inspection, first: &StoredTensor, b: &Inspection, second: &StoredTensor) -> Values {
    let (x, y) = match (a.elements(first), b.elements(second)) {
        (Ok(x), Ok(y)) => {
            return match in_order(&x, &y) {
                Some(by) if by.is_none() => Values::Equal { by_checksum: false },
                by => Values::Changed(by),
            };
        }
        (x, y) => (x.err(), y.err()),
    };
    // Only what is not there is replaced by its checksum; damage is none of the index's business.
    let is_absent = |error: &&InspectError| {
        let missing = |error: &tfod_checkpoint::Error| {
            matches!(error, tfod_checkpoint::Error::MissingShard { .. })
        };
        matches!(error, InspectError::Checkpoint(error) if missing(error))
    };
    let problems = [&x, &y].map(Option::as_ref);
    let damage = problems.into_iter().flatten().find(|e| !is_absent(e));
    let problem = damage.or(x.as_ref()).or(y.as_ref());
    match (a.checksum(first), b.checksum(second), problem) {
        (Some(x), Some(y), _) if damage.is_none() && x == y => Values::Equal { by_checksum: true },
        (Some(_), Some(_), _) if damage.is_none() => Values::Changed(None),
        (_, _, problem) => Values::Unread(problem.map(ToString::to_string).unwrap_or_default()),
    }
}

impl Diff {
    /// Whether they are the same, as far as they could be compared.
    pub fn is_same(&self) -> bool {
        match self {
            Self::Configs(diff) => diff.changes.is_empty(),
            Self::Checkpoints(diff) => diff.is_same(),
        }
    }

    /// Tensors, or blocks of configs, that could not be compared: which, and why.
    pub fn unread(&self) -> &[(String, String)] {
        match self {
            Self::Configs(diff) => &diff.unread,
            Self::Checkpoints(diff) => &diff.unread,
        }
    }

    /// Everything, with the keys that `docs/inspect.md` explains.
    pub fn json(&self) -> Value {
        match self {
            Self::Configs(diff) => {
                let setting = |setting: &Option<Setting>| {
                    let setting = setting.as_ref();
                    setting.map(|s| json!({ "text": s.text, "is_default": s.is_default }))
                };
                let changes = diff.changes.iter().map(|change| {
                    json!({
                        "path": change.path,
                        "first": setting(&change.from),
                        "second": setting(&change.to),
                    })
                });
                let changes: Vec<Value> = changes.collect();
                json!({
                    "kind": "pipeline_config",
                    "same": self.is_same(),
                    "changes": changes,
                    "unread": unread(&diff.unread),
                })
            }
            Self::Checkpoints(diff) => diff.json(),
        }
    }
}

impl CheckpointDiff {
    fn json(&self) -> Value {
        let infos =
            |infos: &[StoredTensor]| infos.iter().map(StoredTensor::json).collect::<Vec<_>>();
        let reshaped = self.reshaped.iter();
        let reshaped = reshaped.map(|(a, b)| json!({ "first": a.json(), "second": b.json() }));
        let changed = self.changed.iter().map(
            |changed| json!({ "name": changed.name, "difference": changed.by.map(|by| by.json()) }),
        );
        let parts = self.parts.iter().map(|(name, part)| {
            let part = json!({
                "equal": part.equal,
                "changed": part.changed,
                "reshaped": part.reshaped,
                "only_in_first": part.only_in_first,
                "only_in_second": part.only_in_second,
                "unread": part.unread,
                "max": part.max,
            });
            (name.clone(), part)
        });
        json!({
            "kind": "checkpoint",
            "same": self.is_same(),
            "equal": self.equal,
            "equal_by_checksum": self.equal_by_checksum,
            "only_in_first": infos(&self.only_in_first),
            "only_in_second": infos(&self.only_in_second),
            "reshaped": reshaped.collect::<Vec<_>>(),
            "changed": changed.collect::<Vec<_>>(),
            "unread": unread(&self.unread),
            "parts": parts.collect::<serde_json::Map<_, _>>(),
        })
    }
}

fn unread(all: &[(String, String)]) -> Vec<Value> {
    let one = |(name, problem): &(String, String)| json!({ "name": name, "problem": problem });
    all.iter().map(one).collect()
}
