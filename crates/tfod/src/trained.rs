//! A trained detector: a checkpoint, seen as the variables of the model object in it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tfod_checkpoint::{
    Attribute, Bundle, DType as StoredType, Error, Found as HowFound, NodeId, ObjectGraph, locate,
};
use tfod_graph::{DType, Graph, TensorView, Weights};
use tfod_models::fit::{Found, Variables};

use crate::ExportError;

/// The child of the checkpoint's root that is the detector.
pub(crate) const MODEL: &str = "model";

/// An opened checkpoint that holds a detector.
#[derive(Debug)]
pub struct TrainedModel {
    bundle: Bundle,
    objects: ObjectGraph,
    model: NodeId,
    found: HowFound,
    /// The model's variables by their key, with a number and their sizes.
    variables: BTreeMap<String, (usize, Vec<u64>)>,
}

impl TrainedModel {
    /// Opens the checkpoint that a folder or prefix stands for; `choice` picks one of a folder's.
    ///
    /// # Errors
    /// When there is none, when it cannot be read, and when it is not that of a detector of the Object Detection API.
    pub fn open(given: &Path, choice: Option<&str>) -> Result<Self, ExportError> {
        let located = locate(given, choice)?;
        Self::of(Bundle::open(located.prefix)?, located.found)
    }

    /// Takes an open checkpoint; `found` says how it was chosen.
    pub(crate) fn of(bundle: Bundle, found: HowFound) -> Result<Self, ExportError> {
        let objects = bundle.object_graph()?;
        let Some(model) = objects.child(NodeId::ROOT, MODEL) else {
            return Err(stranger(&bundle, &objects));
        };
        let subset = objects.subset(&[MODEL]);
        let keys = subset.checkpoint_keys();
        let variables = keys
            .into_iter()
            .filter_map(|key| bundle.get(key))
            .filter(|entry| entry.dtype() != StoredType::String)
            .enumerate()
            .map(|(number, entry)| {
                let shape = entry.shape().iter().map(|n| *n as u64).collect();
                (entry.key().to_owned(), (number, shape))
            })
            .collect();
        Ok(Self {
            bundle,
            objects,
            model,
            found,
            variables,
        })
    }

    /// The checkpoint's files without their endings.
    pub fn prefix(&self) -> &Path {
        self.bundle.prefix()
    }

    /// How the checkpoint was chosen, for people.
    pub fn found(&self) -> &HowFound {
        &self.found
    }

    pub(crate) fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    pub(crate) fn objects(&self) -> &ObjectGraph {
        &self.objects
    }

    /// The variable that a path from the model leads to.
    fn attribute(&self, path: &[String]) -> Option<Attribute<'_>> {
        let node = path
            .iter()
            .try_fold(self.model, |node, name| self.objects.child(node, name))?;
        self.objects.variable(node)
    }

    /// The key under which the variable of a path is stored; for a path that leads nowhere, the one that it would have.
    pub fn key(&self, path: &[String]) -> String {
        self.attribute(path).map_or_else(
            || {
                let full: Vec<&str> = std::iter::once(MODEL)
                    .chain(path.iter().map(String::as_str))
                    .collect();
                tfod_checkpoint::variable_key(&full)
            },
            |attribute| attribute.checkpoint_key.to_owned(),
        )
    }

    /// The keys of everything that is stored, except what `graph` uses and the object graph itself.
    pub(crate) fn keys_beyond(&self, graph: &Graph) -> Vec<&str> {
        let used: BTreeSet<&str> = graph
            .parameters()
            .filter_map(|(_, parameter)| self.attribute(&parameter.path))
            .map(|attribute| attribute.checkpoint_key)
            .collect();
        let keys = self.bundle.entries().map(tfod_checkpoint::Entry::key);
        keys.filter(|key| !used.contains(key) && *key != tfod_checkpoint::OBJECT_GRAPH_KEY)
            .collect()
    }

    /// The weights of a graph that this checkpoint fits, straight from the mapped files; every checksum is verified.
    pub(crate) fn weights(&self, graph: &Graph) -> Result<Weights<'_>, ExportError> {
        let views = graph.parameters().map(|(_, parameter)| {
            let key = self.key(&parameter.path);
            let tensor = self.bundle.tensor(&key)?;
            if tensor.dtype != StoredType::Float32 {
                return Err(ExportError::Checkpoint(Error::WrongType {
                    path: self.prefix().to_owned(),
                    key,
                    expected: "float",
                    found: tensor.dtype,
                }));
            }
            Ok(TensorView {
                dtype: DType::F32,
                shape: tensor.shape.iter().map(|n| *n as u64).collect(),
                data: match tensor.bytes {
                    Cow::Borrowed(bytes) => Cow::Borrowed(bytes),
                    Cow::Owned(bytes) => Cow::Owned(bytes),
                },
            })
        });
        views.collect::<Result<_, _>>().map(Weights)
    }
}

impl Variables for TrainedModel {
    fn find(&self, path: &[String]) -> Option<Found<'_>> {
        let attribute = self.attribute(path)?;
        let (id, shape) = self.variables.get(attribute.checkpoint_key)?;
        Some(Found { id: *id, shape })
    }

    fn count(&self) -> usize {
        self.variables.len()
    }
}

/// Says what a checkpoint is that has no `model`.
fn stranger(bundle: &Bundle, objects: &ObjectGraph) -> ExportError {
    let mut holds: Vec<String> = objects
        .children(NodeId::ROOT)
        .map(|(name, _)| name.to_owned())
        .collect();
    holds.sort();
    let has = |name: &str| holds.iter().any(|h| h == name);
    let hint = if has("_model") {
        "these are the variables of an exported SavedModel; give the checkpoint it was exported from, which an official export keeps in \
         the folder `checkpoint` beside `saved_model`"
    } else if has("feature_extractor") || has("_feature_extractor") {
        "this is a backbone to start training from, not a trained detector; give the folder that training wrote to"
    } else {
        "this is not a checkpoint of the TensorFlow 2 Object Detection API, which keeps its detector under `model`"
    };
    holds.truncate(8);
    ExportError::NotADetector {
        prefix: bundle.prefix().to_owned(),
        holds: holds.join(", "),
        hint,
    }
}
