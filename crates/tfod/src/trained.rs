//! A trained detector: a checkpoint, seen as the variables of the model object in it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;

use tfod_checkpoint::{
    Attribute, Bundle, DType as StoredType, Error, Found as HowFound, NodeId, ObjectGraph, locate,
};
use tfod_graph::{DType, Graph, TensorView, Weights};
use tfod_models::fit::{Found, Variables};

use crate::ExportError;
use crate::check::CheckpointKind;
use crate::judgement::{ModelVariables, VariableSource};

/// The child of the checkpoint's root that is the detector.
pub(crate) const MODEL: &str = "model";
/// What training hangs on the detector, by its name there: the training loop makes its step counter an attribute of the model. The official exporter
/// builds the model anew, so what it saves does not have it.
const OF_TRAINING: [&str; 1] = ["_training_step"];

/// The child of the root of the official exporter's SavedModels that is the detector.
const MODEL_OF_SAVED_MODEL: &str = "_model";

/// An opened checkpoint that holds a detector.
#[derive(Debug)]
pub struct TrainedModel {
    bundle: Bundle,
    /// Without slots, and without what training hangs on the model.
    objects: ObjectGraph,
    model: NodeId,
    found: HowFound,
    variables: ModelVariables,
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

    /// Opens the variables of a SavedModel of the official exporter, which keeps the detector in another child of the root than a checkpoint.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn of_saved_model(variables: &Path) -> Result<Self, ExportError> {
        let bundle = Bundle::open(variables.to_owned())?;
        let objects = bundle.object_graph()?;
        Self::child(bundle, &objects, HowFound::Prefix, MODEL_OF_SAVED_MODEL)
    }

    /// Takes an open checkpoint; `found` says how it was chosen.
    pub(crate) fn of(bundle: Bundle, found: HowFound) -> Result<Self, ExportError> {
        match bundle.object_graph() {
            Ok(objects) => Self::with(bundle, &objects, found),
            // What is of something else need not be made complete first.
            Err(error) => {
                let kind = CheckpointKind::of(&bundle);
                let is_told = kind.is_detector() || matches!(error, Error::NameBased { .. });
                Err(if is_told {
                    error.into()
                } else {
                    not_a_detector(&bundle, kind)
                })
            }
        }
    }

    /// Takes an open checkpoint whose object graph has been read.
    pub(crate) fn with(
        bundle: Bundle,
        objects: &ObjectGraph,
        found: HowFound,
    ) -> Result<Self, ExportError> {
        Self::child(bundle, objects, found, MODEL)
    }

    fn child(
        bundle: Bundle,
        objects: &ObjectGraph,
        found: HowFound,
        child: &str,
    ) -> Result<Self, ExportError> {
        let Some(model) = objects.child(NodeId::ROOT, child) else {
            return Err(not_a_detector(&bundle, CheckpointKind::of(&bundle)));
        };
        let objects = objects.without(model, &OF_TRAINING);
        let subset = objects.subset(&[child]);
        let keys = subset.checkpoint_keys().into_iter();
        let variables = ModelVariables::of(keys.filter_map(|key| bundle.get(key)));
        let Some(model) = objects
            .child(NodeId::ROOT, child)
            .filter(|_| variables.len() > 0)
        else {
            return Err(not_a_detector(&bundle, CheckpointKind::of(&bundle)));
        };
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

    /// The weights of a graph that this checkpoint fits, straight from the mapped files; every checksum is verified. Whether it fits,
    /// [`tfod_models::fit::Fit`] says, of which this is the [`Variables`].
    ///
    /// # Errors
    /// When a variable of the graph is not in the checkpoint, or damaged.
    pub fn weights(&self, graph: &Graph) -> Result<Weights<'_>, ExportError> {
        self.verify(graph)?;
        self.unverified_weights(graph)
    }

    /// Verifies the checksums of a graph's variables.
    pub(crate) fn verify(&self, graph: &Graph) -> Result<(), ExportError> {
        let mut parameters = graph.parameters();
        parameters
            .try_for_each(|(_, parameter)| Ok(self.bundle.verify(&self.key(&parameter.path))?))
    }

    /// As [`Self::weights`], for those who see to it that all checksums are verified before they trust what comes of it.
    pub(crate) fn unverified_weights(&self, graph: &Graph) -> Result<Weights<'_>, ExportError> {
        let views = graph.parameters().map(|(_, parameter)| {
            let key = self.key(&parameter.path);
            let tensor = self.bundle.unverified_tensor(&key)?;
            if tensor.dtype != StoredType::Float32 {
                let error = Error::WrongType {
                    path: self.prefix().to_owned(),
                    key,
                    expected: "float",
                    found: tensor.dtype,
                };
                return Err(error.into());
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
        self.variables.find(self.attribute(path)?.checkpoint_key)
    }

    fn children(&self, path: &[&str]) -> BTreeSet<String> {
        let mut names = path.iter();
        let node = names.try_fold(self.model, |node, name| self.objects.child(node, name));
        let children = node
            .into_iter()
            .flat_map(|node| self.objects.children(node));
        children.map(|(name, _)| name.to_owned()).collect()
    }

    fn count(&self) -> usize {
        self.variables.len()
    }
}

impl VariableSource for TrainedModel {
    fn variables(&self) -> &ModelVariables {
        &self.variables
    }
}

/// Says what a checkpoint is that is no detector's.
fn not_a_detector(bundle: &Bundle, kind: CheckpointKind) -> ExportError {
    ExportError::NotADetector {
        prefix: bundle.prefix().to_owned(),
        kind: Box::new(kind),
    }
}
