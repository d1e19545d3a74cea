//! A checkpoint, from its index: what it holds, part by part, and whether the data is there.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};
use tfod_checkpoint::{Bundle, BundleKind, DType, OBJECT_GRAPH_KEY, Shard, ShardState};

use crate::InspectError;
use crate::tensors::{Elements, ElementsPlace, StoredTensor, num_bytes};

/// What precedes the name of an attribute in a key.
const ATTRIBUTES: &str = "/.ATTRIBUTES/";
/// What precedes an optimizer's variable for the variable whose key is before it.
const SLOT: &str = "/.OPTIMIZER_SLOT/";

/// Tensors and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many tensors.
    pub tensors: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Amount {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.tensors += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn json(self) -> Value {
        json!({ "tensors": self.tensors, "bytes": self.bytes })
    }
}

/// Amounts by name, as JSON.
pub(crate) fn amounts(amounts: &BTreeMap<String, Amount>) -> Value {
    let members = amounts.iter();
    members
        .map(|(name, amount)| (name.clone(), amount.json()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// What a checkpoint is made of.
#[derive(Clone, Debug)]
pub struct CheckpointFacts {
    /// The files' common beginning.
    pub prefix: PathBuf,
    /// Why this checkpoint of a folder; empty if it was given itself.
    pub found: String,
    /// How it names its tensors.
    pub kind: BundleKind,
    /// How often training had saved, and the step at which it was, by the key that holds it.
    pub counters: BTreeMap<String, i64>,
    /// Everything.
    pub total: Amount,
    /// By part of the model.
    pub parts: BTreeMap<String, Amount>,
    /// By element type.
    pub dtypes: BTreeMap<String, Amount>,
    /// What optimizers keep for each variable, by the name of the slot.
    pub slots: BTreeMap<String, Amount>,
    /// The files that hold something.
    pub shards: Vec<Shard>,
}

impl CheckpointFacts {
    pub(crate) fn of(bundle: &Bundle, found: String) -> Self {
        let mut facts = Self {
            prefix: bundle.prefix().to_owned(),
            found,
            kind: bundle.kind(),
            counters: counters(bundle),
            total: Amount::default(),
            parts: BTreeMap::new(),
            dtypes: BTreeMap::new(),
            slots: BTreeMap::new(),
            shards: bundle.shards(),
        };
        for entry in bundle.entries() {
            let bytes = tensor_bytes(entry);
            facts.total.add(bytes);
            let dtype = entry.dtype().name().to_owned();
            facts.dtypes.entry(dtype).or_default().add(bytes);
            facts.parts.entry(part(entry.key())).or_default().add(bytes);
            if let Some(slot) = slot(entry.key()) {
                facts.slots.entry(slot.to_owned()).or_default().add(bytes);
            }
        }
        facts
    }

    pub(crate) fn json(&self) -> Value {
        let shards = self.shards.iter().map(|shard| {
            json!({
                "path": shard.path.display().to_string(),
                "present": shard.state.bytes().is_some(),
                "state": state_name(&shard.state),
                "bytes": shard.state.bytes(),
                "needed": shard.needed,
            })
        });
        json!({
            "prefix": self.prefix.display().to_string(),
            "found": self.found,
            "format": format_name(self.kind),
            "counters": self.counters,
            "total": self.total.json(),
            "parts": amounts(&self.parts),
            "dtypes": amounts(&self.dtypes),
            "optimizer_slots": amounts(&self.slots),
            "shards": shards.collect::<Vec<_>>(),
        })
    }
}

/// One word for what stands in the place of a data file.
fn state_name(state: &ShardState) -> &'static str {
    match state {
        ShardState::Whole(_) => "whole",
        ShardState::CutShort(_) => "cut_short",
        ShardState::LfsPointer(_) => "git_lfs_pointer",
        ShardState::Absent => "absent",
        _ => "unusable",
    }
}

/// The format's name in JSON.
pub(crate) fn format_name(kind: BundleKind) -> &'static str {
    match kind {
        BundleKind::ObjectBased => "object-based",
        BundleKind::NameBased => "name-based",
    }
}

/// The bundle's tensors, in the order of their keys.
pub(crate) fn tensors(bundle: &Bundle) -> Vec<StoredTensor> {
    let info = |entry: &tfod_checkpoint::Entry| StoredTensor {
        name: entry.key().to_owned(),
        dtype: Some(entry.dtype()),
        shape: entry.shape().iter().map(|size| *size as u64).collect(),
        bytes: tensor_bytes(entry),
        place: ElementsPlace::Bundle,
    };
    bundle.entries().map(info).collect()
}

/// The elements of a tensor of the bundle.
pub(crate) fn elements<'a>(bundle: &'a Bundle, key: &str) -> Result<Elements<'a>, InspectError> {
    let entry = bundle.entry(key)?;
    let count = entry.num_elements() as u64;
    if entry.dtype() == DType::String {
        let stored = bundle.strings(key)?.into_iter().map(Cow::Borrowed);
        return Ok(Elements::Strings {
            count,
            stored: stored.collect(),
        });
    }
    let tensor = bundle.tensor(key)?;
    Elements::numbers(tensor.dtype, count, tensor.bytes).map_err(|problem| InspectError::Tensor {
        path: bundle.prefix().to_owned(),
        name: key.to_owned(),
        problem: problem.to_owned(),
    })
}

fn tensor_bytes(entry: &tfod_checkpoint::Entry) -> u64 {
    let shape: Vec<u64> = entry.shape().iter().map(|size| *size as u64).collect();
    match entry.dtype().size() {
        Some(_) => num_bytes(Some(entry.dtype()), &shape).unwrap_or(u64::MAX),
        None => entry.range().len() as u64,
    }
}

/// The path of a variable without what only checkpoints have in their keys: `model/_feature_extractor/…/kernel`.
pub fn path_of(key: &str) -> &str {
    let key = key.split_once(SLOT).map_or(key, |(variable, _)| variable);
    key.split_once(ATTRIBUTES).map_or(key, |(path, _)| path)
}

/// The optimizer's name for what it keeps, if it keeps this: `optimizer/momentum` of `…/.OPTIMIZER_SLOT/optimizer/momentum/.ATTRIBUTES/…`.
fn slot(key: &str) -> Option<&str> {
    let (_, slot) = key.split_once(SLOT)?;
    Some(slot.split_once(ATTRIBUTES).map_or(slot, |(name, _)| name))
}

/// The part of the model that a key belongs to: the first components of its path that tell parts apart.
pub fn part(key: &str) -> String {
    if key == OBJECT_GRAPH_KEY {
        return "object graph".to_owned();
    }
    if let Some(slot) = slot(key) {
        return format!("optimizer slots: {slot}");
    }
    let path = path_of(key);
    let mut components = path.split('/');
    let depth = match (components.next(), components.next()) {
        (Some("model" | "_model"), Some("_feature_extractor" | "feature_extractor")) => 3,
        // A whole model is no part of itself.
        (Some("model" | "_model" | "FeatureExtractor"), _) => 2,
        _ => 1,
    };
    let components: Vec<&str> = path.split('/').take(depth).collect();
    components.join("/")
}

/// The scalars that count saves and steps, as far as their data is there.
fn counters(bundle: &Bundle) -> BTreeMap<String, i64> {
    const NAMES: [&str; 6] = [
        "save_counter",
        "step",
        "global_step",
        "optimizer/iter",
        "optimizer/_iterations",
        "optimizer/iterations",
    ];
    let counter = |entry: &tfod_checkpoint::Entry| {
        let name = path_of(entry.key());
        let is_scalar = entry.shape().is_empty() && slot(entry.key()).is_none();
        if !is_scalar || !NAMES.contains(&name) || entry.dtype() != DType::Int64 {
            return None;
        }
        let tensor = bundle.tensor(entry.key()).ok()?;
        let value = i64::from_le_bytes(tensor.bytes.as_ref().try_into().ok()?);
        Some((name.to_owned(), value))
    };
    bundle.entries().filter_map(counter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_parts() {
        let parts = [
            (
                "model/_feature_extractor/classification_backbone/layer_with_weights-0/kernel/.ATTRIBUTES/VARIABLE_VALUE",
                "model/_feature_extractor/classification_backbone",
            ),
            (
                "model/_box_predictor/_sorted_head_names/0/.ATTRIBUTES/VARIABLE_VALUE",
                "model/_box_predictor",
            ),
            (
                "model/a/b/.OPTIMIZER_SLOT/optimizer/momentum/.ATTRIBUTES/VARIABLE_VALUE",
                "optimizer slots: optimizer/momentum",
            ),
            ("save_counter/.ATTRIBUTES/VARIABLE_VALUE", "save_counter"),
            (OBJECT_GRAPH_KEY, "object graph"),
            (
                "FeatureExtractor/MobilenetV2/Conv/weights",
                "FeatureExtractor/MobilenetV2",
            ),
            ("BoxPredictor_0/ClassPredictor/biases", "BoxPredictor_0"),
        ];
        for (key, expected) in parts {
            assert_eq!(part(key), expected);
        }
    }
}
