//! What a tensor is called, whatever the format, so that the same weight is found by its name.
//!
//! A checkpoint calls a variable by the way to it from the model object, and keeps the name that it had in Python beside that; with its config, the
//! network says what it calls it, and tfod's exports have the network's names, behind what each format puts before them.

use std::collections::{BTreeSet, HashMap};

use tfod_config::PipelineConfig;
use tfod_graph::{Graph, passes};
use tfod_models::GraphOptions;
use tfod_models::fit::Fit;

use crate::Side;
use tfod::TrainedModel;
use tfod_inspect::{Facts, StoredTensor, path_of};

/// The names of what the network of a checkpoint with a config needs, by key; `None` for other models, and where the two do not fit each other.
pub(crate) fn network(side: &Side) -> Option<HashMap<String, String>> {
    let Facts::Checkpoint(facts) = side.facts() else {
        return None;
    };
    let (_, config) = side.config.as_ref()?;
    names_by_key(config, &TrainedModel::open(&facts.prefix, None).ok()?)
}

/// What an export computes from the variables of a checkpoint with a config, and stores in their place.
pub(crate) struct Replaced {
    /// What is computed.
    pub(crate) tensors: Vec<Computed>,
    /// The keys of the variables that stay as they are.
    pub(crate) kept: BTreeSet<String>,
}

/// A tensor of floats that is computed from variables.
pub(crate) struct Computed {
    /// Its name in the network.
    pub(crate) name: String,
    /// Its sizes.
    pub(crate) shape: Vec<u64>,
    /// Its elements, little-endian.
    pub(crate) bytes: Vec<u8>,
    /// The keys of the variables.
    pub(crate) from: BTreeSet<String>,
}

/// What exports of a checkpoint store in place of variables; `None` where there is no such thing.
pub(crate) fn replaced(side: &Side) -> Option<Replaced> {
    let Facts::Checkpoint(facts) = side.facts() else {
        return None;
    };
    let (_, config) = side.config.as_ref()?;
    let model = config.message().model.as_ref()?;
    let model = tfod_models::build(model, &GraphOptions::default()).ok()?;
    let trained = TrainedModel::open(&facts.prefix, None).ok()?;
    if !Fit::new(&model, &trained).is_complete() {
        return None;
    }
    let graph = &model.graph;
    let weights = trained.weights(graph).ok()?;
    let decided = passes::decided(graph, &weights).ok()?;
    let (folded, _) = passes::fold(graph, weights).ok()?;
    let keys = |graph: &Graph| -> BTreeSet<String> {
        let parameters = graph.parameters();
        parameters.map(|(_, of)| trained.key(&of.path)).collect()
    };
    let kept = keys(&folded);
    let variables: BTreeSet<String> = keys(graph).difference(&kept).cloned().collect();
    let tensors = decided.into_iter().map(|of| {
        let from = of.from.iter();
        let from = from.map(|id| trained.key(&graph.parameter(*id).path));
        // The numbers that an export has apart are one tensor here.
        let shape = match of.results.as_slice() {
            [one] => one.shape().to_vec(),
            several => vec![
                several
                    .iter()
                    .map(|part| part.shape().iter().product::<u64>())
                    .sum(),
            ],
        };
        let bytes = of
            .results
            .iter()
            .flat_map(|part| part.data().iter().copied());
        Computed {
            name: of.name,
            shape,
            bytes: bytes.collect(),
            from: from.collect(),
        }
    });
    let tensors = tensors.collect();
    (!variables.is_empty()).then_some(Replaced { tensors, kept })
}

/// The names of the variables of an official SavedModel, by key, with the config that such an export has beside it.
fn network_of_saved_model(side: &Side) -> Option<HashMap<String, String>> {
    let (Facts::SavedModel(_), Some((_, config))) = (side.facts(), &side.config) else {
        return None;
    };
    let prefix = side.found.bundle()?.prefix();
    names_by_key(config, &TrainedModel::of_saved_model(prefix).ok()?)
}

fn names_by_key(
    config: &PipelineConfig,
    trained: &TrainedModel,
) -> Option<HashMap<String, String>> {
    let model = config.message().model.as_ref()?;
    let model = tfod_models::build(model, &GraphOptions::default()).ok()?;
    // Another model's config says nothing of what this one needs.
    let fit = Fit::new(&model, trained);
    if !fit.is_complete() || fit.unused > 0 {
        return None;
    }
    let parameters = model.graph.parameters();
    let named = parameters.map(|(_, of)| (trained.key(&of.path), of.name.clone()));
    Some(named.collect())
}

/// What each of these tensors may be called, the surest first.
pub(crate) fn of(
    side: &Side,
    network: Option<&HashMap<String, String>>,
    tensors: &[&StoredTensor],
) -> Vec<Vec<String>> {
    let of_saved_model = network
        .is_none()
        .then(|| network_of_saved_model(side))
        .flatten();
    let network = network.or(of_saved_model.as_ref());
    let objects = side
        .found
        .bundle()
        .and_then(|bundle| bundle.object_graph().ok());
    let mut in_python: HashMap<&str, &str> = HashMap::new();
    if let Some(objects) = &objects {
        for (_, attribute) in objects.breadth_first().variables() {
            in_python.insert(attribute.checkpoint_key, attribute.full_name);
        }
    }
    let names = |tensor: &&StoredTensor| {
        let key = &*tensor.name;
        let of_network = network.and_then(|names| names.get(key)).map(String::as_str);
        let of_python = in_python.get(key).copied();
        let mut names: Vec<String> = [of_network, Some(path_of(key)), of_python]
            .into_iter()
            .flatten()
            .map(bare)
            .filter(|name| !name.is_empty())
            .collect();
        names.dedup();
        names
    };
    tensors.iter().map(names).collect()
}

/// A name without what only one format puts around it, in letters, digits and `_`, as keys of variables have them.
pub(crate) fn bare(name: &str) -> String {
    let name = name.strip_suffix("/ReadVariableOp").unwrap_or(name);
    let is_of_format = |part: &&str| {
        matches!(
            *part,
            "StatefulPartitionedCall" | "PartitionedCall" | "model" | "_model"
        ) || part.starts_with("__inference_")
    };
    let parts: Vec<&str> = name.split('/').skip_while(is_of_format).collect();
    let name = parts.join("_");
    name.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_agree_on_a_name() {
        for name in [
            "FeatureExtractor/Conv1/kernel",
            "FeatureExtractor_Conv1_kernel",
            "StatefulPartitionedCall/FeatureExtractor/Conv1/kernel/ReadVariableOp",
            "__inference_call_1/FeatureExtractor/Conv1/kernel",
            "model/FeatureExtractor/Conv1/kernel",
        ] {
            assert_eq!(bare(name), "FeatureExtractor_Conv1_kernel");
        }
        assert_eq!(bare("model"), "");
    }
}
