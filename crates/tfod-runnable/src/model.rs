//! What is run of a model: an ONNX model, the one that is there or one that is made of what is there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tfod::{Export, Format, Scratch};
use tfod_graph::{Graph, Weights};
use tfod_inspect::{Facts, Inspection, OnnxFacts, inspect, manifest};
use tfod_models::facts::stage_of;
use tfod_models::{GraphOptions, InputType};
use tfod_onnx::{OnnxWriter, Options};
use tfod_runtime::{Launch, Session};
use tfod_tensorflow::{FreezeOptions, SavedModelReader, graph_of_graph_def};

use crate::{Feed, RunnableError, config_beside};

/// A model as it was found.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// What it is.
    pub found: &'a Inspection,
    /// The config of a checkpoint; see [`config_beside`](crate::config_beside).
    pub config: Option<&'a Path>,
}

/// A model that was looked into, to be made ready.
#[derive(Debug)]
pub struct FoundModel {
    found: Inspection,
    config: Option<PathBuf>,
}

impl FoundModel {
    /// Looks into a path. Of the models in the folder of an export, that which is made ready the fastest is taken.
    ///
    /// # Errors
    ///
    /// If it is no model.
    pub fn open(path: &Path) -> Result<Self, RunnableError> {
        let mut found = inspect(path)?;
        if let Facts::Export(export) = &found.facts {
            let order = |facts: &Facts| match facts {
                Facts::Onnx(_) => Some(0),
                Facts::SavedModel(_) => Some(1),
                Facts::Graph(_) => Some(2),
                Facts::Checkpoint(_) => Some(3),
                _ => None,
            };
            let models = export.pieces.iter().filter_map(|piece| {
                let (facts, _) = piece.found.as_ref().ok()?;
                Some((order(facts)?, &piece.path))
            });
            let Some((_, best)) = models.min_by_key(|(order, _)| *order) else {
                return Err(RunnableError::Unsupported {
                    path: path.to_owned(),
                    reason: "is the folder of an export without a model that is run here; expected a checkpoint, a SavedModel, a frozen graph or an ONNX model".to_owned(),
                });
            };
            found = inspect(best)?;
        }
        let config = match &found.facts {
            Facts::Checkpoint(facts) => config_beside(&facts.prefix),
            _ => None,
        };
        Ok(Self { found, config })
    }

    /// Takes another config than that beside the checkpoint.
    #[must_use]
    pub fn with_config(mut self, config: Option<PathBuf>) -> Self {
        self.config = config.or(self.config);
        self
    }

    /// What was found.
    pub fn given(&self) -> Given<'_> {
        Given {
            found: &self.found,
            config: self.config.as_deref(),
        }
    }

    /// Whether it is a checkpoint, which is exported to be run.
    pub fn is_checkpoint(&self) -> bool {
        matches!(self.found.facts, Facts::Checkpoint(_))
    }
}

/// An ONNX model, or one that was made of another.
#[derive(Debug)]
pub struct RunnableModel {
    path: PathBuf,
    facts: OnnxFacts,
    /// What was given, if the model was made of it; how, in words; and the folder in which the model is then.
    made: Option<(PathBuf, &'static str, Scratch)>,
}

/// What the manifest of an export says of one of its files.
#[derive(Default)]
struct ManifestMetadata {
    /// What stands in the metadata of an ONNX model.
    metadata: Vec<(&'static str, String)>,
    /// The key of each output, by its tensor.
    keys: HashMap<String, String>,
}

impl RunnableModel {
    /// Makes a model ready. A checkpoint is exported with these options.
    ///
    /// # Errors
    ///
    /// [`RunnableError::Unsupported`] if it is a model that cannot be run here; else what is wrong with it, or with the folder for temporary files.
    pub fn of(given: Given<'_>, options: &GraphOptions) -> Result<Self, RunnableError> {
        let unsupported = |reason| unsupported(given, reason);
        let graph = match &given.found.facts {
            Facts::Onnx(facts) => {
                return Ok(Self {
                    path: given.found.file.clone(),
                    facts: OnnxFacts::clone(facts),
                    made: None,
                });
            }
            Facts::Checkpoint(facts) => return Self::export(given, &facts.prefix, options),
            Facts::Tflite(_) => {
                let reason = "is a TFLite model, which is not run here; export the checkpoint as ONNX, and give that";
                return Err(unsupported(reason.to_owned()));
            }
            Facts::SavedModel(_) => of_saved_model(given.found),
            Facts::Graph(_) => {
                let bytes = given.found.graph_def().unwrap_or_default();
                graph_of_graph_def(bytes).map_err(|error| error.to_string())
            }
            Facts::Config(_) => {
                let reason = "is a config without weights; give the checkpoint, in whose folder it is or in that below";
                return Err(unsupported(reason.to_owned()));
            }
            _ => Err("it is no graph by itself".to_owned()),
        };
        let refused = |reason: String| {
            unsupported(format!(
                "is TensorFlow's, and cannot be run here: {reason}; export the checkpoint as ONNX, and give that"
            ))
        };
        let folder = Scratch::new_in(&std::env::temp_dir()).map_err(RunnableError::Folder)?;
        let path = folder.content().join(Format::Onnx.file());
        let written = graph.and_then(|graph| write(graph, given.found, &path));
        written.map_err(refused)?;
        Ok(Self {
            facts: facts(&path)?,
            path,
            made: Some((
                given.found.path.clone(),
                "read and written as an ONNX model",
                folder,
            )),
        })
    }

    /// A checkpoint, exported.
    fn export(
        given: Given<'_>,
        prefix: &Path,
        options: &GraphOptions,
    ) -> Result<Self, RunnableError> {
        let Some(config) = given.config else {
            let reason = "is a checkpoint without a pipeline.config in its folder or the one above";
            return Err(unsupported(given, reason.to_owned()));
        };
        let folder = Scratch::new_in(&std::env::temp_dir()).map_err(RunnableError::Folder)?;
        let output = folder.content().join("export");
        let mut export = Export::new(config, prefix, &output);
        export.graph = options.clone();
        export.formats = vec![Format::Onnx];
        let given = &given.found.path;
        export.run().map_err(|problem| RunnableError::Export {
            path: given.clone(),
            problem: Box::new(problem),
        })?;
        let path = output.join(Format::Onnx.file());
        Ok(Self {
            facts: facts(&path)?,
            path,
            made: Some((given.clone(), "exported as an ONNX model", folder)),
        })
    }

    /// What is in the ONNX model.
    pub fn facts(&self) -> &OnnxFacts {
        &self.facts
    }

    /// The options with which a checkpoint is exported to be run beside this; `None` unless tfod wrote it.
    pub fn options(&self) -> Option<GraphOptions> {
        let is_of_tfod = self.facts.metadata.contains_key(MANIFEST_VERSION);
        let keys = self.facts.outputs.iter().map(|port| port.key.as_str());
        is_of_tfod.then(|| {
            let mut options = GraphOptions::new(InputType::FloatImageTensor);
            options.stage = stage_of(keys).unwrap_or_default();
            options.no_preprocess = left_to_caller(&self.facts).is_some();
            options
        })
    }

    /// Reads it: in a process of its own, if it is said how to start one.
    ///
    /// # Errors
    ///
    /// If the runtime cannot run it.
    pub fn open(&self, launch: Option<&Launch>) -> Result<Session, RunnableError> {
        self.open_for(launch, &[])
    }

    /// Reads it as [`Self::open`] does, to compute these of its outputs alone.
    ///
    /// # Errors
    ///
    /// If the runtime cannot run it.
    pub fn open_for(
        &self,
        launch: Option<&Launch>,
        outputs: &[String],
    ) -> Result<Session, RunnableError> {
        let session = Session::open_for(&self.path, launch, outputs);
        session.map_err(|error| self.failed(&error))
    }

    /// How images become this model's input.
    ///
    /// # Errors
    ///
    /// If it takes no images, or others beside them.
    pub fn feed(&self) -> Result<Feed, RunnableError> {
        let feed = match &self.facts.inputs[..] {
            [input] => Feed::of(input),
            inputs => Err(format!(
                "has {} inputs; only models of images are run",
                inputs.len()
            )),
        };
        let feed = feed.and_then(|feed| match left_to_caller(&self.facts) {
            Some(preprocessing) => feed.normalised(&preprocessing),
            None => Ok(feed),
        });
        feed.map_err(|reason| RunnableError::Unsupported {
            path: self.given().to_owned(),
            reason,
        })
    }

    /// Whether images have to be preprocessed before the model is given them.
    pub fn leaves_preprocessing_to_caller(&self) -> bool {
        left_to_caller(&self.facts).is_some()
    }

    /// What was given.
    pub fn given(&self) -> &Path {
        self.made.as_ref().map_or(&self.path, |(given, ..)| given)
    }

    /// An error of the runtime, which knows nothing of where the model is from.
    pub fn failed(&self, error: &tfod_runtime::Error) -> RunnableError {
        RunnableError::Run {
            path: self.given().to_owned(),
            made: self.made.as_ref().map_or("", |(_, how, _)| how),
            problem: error.problem(),
        }
    }
}

fn unsupported(given: Given<'_>, reason: String) -> RunnableError {
    RunnableError::Unsupported {
        path: given.found.path.clone(),
        reason,
    }
}

/// A graph that was read of a model, written as an ONNX model with what the manifest beside it says.
fn write(mut graph: Graph, found: &Inspection, path: &Path) -> Result<(), String> {
    let told = ManifestMetadata::of(&found.file);
    graph.rename_outputs(|key| {
        let tensor = if key.contains(':') {
            key.to_owned()
        } else {
            format!("{key}:0")
        };
        told.keys.get(&tensor).cloned()
    });
    let mut options = Options::default();
    let metadata = told.metadata.into_iter();
    options.metadata = metadata
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    let weights = Weights::default();
    let writer = OnnxWriter::new(&graph, &weights, &options).map_err(|error| error.to_string())?;
    writer.write(path).map_err(|error| error.to_string())?;
    Ok(())
}

/// The graph of a SavedModel's only or main signature.
fn of_saved_model(found: &Inspection) -> Result<Graph, String> {
    let folder = found.folder().unwrap_or(Path::new(""));
    let reader = SavedModelReader::open(folder).map_err(|error| error.to_string())?;
    let frozen = reader.freeze(&FreezeOptions::default());
    let frozen = frozen.map_err(|error| error.to_string())?;
    frozen.to_graph().map_err(|error| error.to_string())
}

fn facts(path: &Path) -> Result<OnnxFacts, RunnableError> {
    match inspect(path)?.facts {
        Facts::Onnx(facts) => Ok(*facts),
        _ => Err(RunnableError::Unsupported {
            path: path.to_owned(),
            reason: "is not an ONNX model".to_owned(),
        }),
    }
}

const MANIFEST_VERSION: &str = "manifest_version";
const PREPROCESSING: &str = "preprocessing";
/// The members of a manifest that are taken over into the metadata of a model that is made of a graph.
const TAKEN: [&str; 5] = [
    MANIFEST_VERSION,
    PREPROCESSING,
    "labels",
    "keypoints",
    "keypoint_edges",
];

impl ManifestMetadata {
    /// What the manifest beside a file, or beside the folder of `saved_model.pb`, says of it; nothing where there is none, or it is another's.
    fn of(file: &Path) -> Self {
        let Some(folder) = file.parent() else {
            return Self::default();
        };
        let of_folder = (folder.parent(), folder.file_name());
        let beside = [(Some(folder), file.file_name()), of_folder];
        let found = beside.into_iter().find_map(|(folder, name)| {
            let manifest = manifest(&folder?.join("manifest.json"))?;
            let of_file = manifest.get("files")?.get(name?.to_str()?)?.clone();
            Some((manifest, of_file))
        });
        let Some((manifest, of_file)) = found else {
            return Self::default();
        };
        let members = TAKEN.into_iter();
        let metadata = members.filter_map(|key| Some((key, manifest.get(key)?.to_string())));
        let tensors = of_file.get("outputs").and_then(Value::as_object);
        let keys = tensors.into_iter().flatten().filter_map(|(key, tensor)| {
            let tensor = tensor.as_str()?;
            Some((tensor.to_owned(), key.clone()))
        });
        Self {
            metadata: metadata.collect(),
            keys: keys.collect(),
        }
    }
}

/// The preprocessing in the metadata of a model that leaves it to its caller.
fn left_to_caller(facts: &OnnxFacts) -> Option<Value> {
    let preprocessing = facts.metadata.get(PREPROCESSING)?;
    let preprocessing: Value = serde_json::from_str(preprocessing).ok()?;
    (preprocessing.get("done_by")? == "caller").then_some(preprocessing)
}

#[cfg(test)]
mod tests {
    use tfod_models::Stage;

    use super::*;

    /// The formats that are run.
    const RUN: [Format; 3] = [Format::SavedModel, Format::Frozen, Format::Onnx];

    fn export(folder: &Path, options: GraphOptions, formats: &[Format]) {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shapes");
        let (config, checkpoint) = (example.join("pipeline.config"), example.join("checkpoint"));
        let mut export = Export::new(config, checkpoint, folder);
        export.graph = options;
        export.formats = formats.to_vec();
        export.run().unwrap();
    }

    fn given(path: &Path, options: &GraphOptions) -> Result<RunnableModel, RunnableError> {
        RunnableModel::of(FoundModel::open(path).unwrap().given(), options)
    }

    fn model(path: &Path) -> RunnableModel {
        given(path, &GraphOptions::default()).unwrap()
    }

    /// The keys of a model's outputs, and what it takes.
    fn interface(source: &RunnableModel) -> (Vec<String>, Feed) {
        let outputs = source.facts.outputs.iter();
        let mut keys: Vec<String> = outputs.map(|port| port.key.clone()).collect();
        keys.sort_unstable();
        (keys, source.feed().unwrap())
    }

    #[test]
    fn graphs_of_tensorflow_become_the_models_that_are_exported() {
        let root = tempfile::tempdir().unwrap();
        let mut network = GraphOptions::new(InputType::FloatImageTensor);
        network.stage = Stage::Encodings;
        network.no_preprocess = true;
        for (name, options) in [("whole", GraphOptions::default()), ("network", network)] {
            let folder = root.path().join(name);
            export(&folder, options, &RUN);
            let [saved_model, frozen, onnx] = RUN.map(|format| folder.join(format.file()));
            let [saved_model, frozen, onnx] = [saved_model, frozen, onnx].map(|path| model(&path));
            assert_eq!(interface(&saved_model), interface(&onnx), "{name}");
            assert_eq!(interface(&frozen), interface(&saved_model), "{name}");
            assert_eq!(frozen.facts.ops, onnx.facts.ops, "{name}");
            // A checkpoint is exported to end where the graph does.
            let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shapes");
            let checkpoint = given(&example.join("checkpoint"), &frozen.options().unwrap());
            let checkpoint = interface(&checkpoint.unwrap()).0;
            assert_eq!(checkpoint, interface(&frozen).0, "{name}");
        }
    }

    /// A manifest without end, and one that is a folder, are none; a graph as text is run as the binary one is.
    #[test]
    fn what_stands_beside_a_graph_is_read_within_limits() {
        let root = tempfile::tempdir().unwrap();
        export(
            root.path(),
            GraphOptions::default(),
            &[Format::SavedModel, Format::Frozen],
        );
        let frozen = root.path().join(Format::Frozen.file());
        let manifest = root.path().join("manifest.json");
        assert!(!ManifestMetadata::of(&frozen).metadata.is_empty());
        let text = root.path().join("frozen.pbtxt");
        let reader = SavedModelReader::open(&root.path().join("saved_model")).unwrap();
        let graph = reader.freeze(&FreezeOptions::default()).unwrap();
        graph
            .write_text(&mut std::fs::File::create(&text).unwrap())
            .unwrap();
        assert_eq!(model(&frozen).facts.ops, model(&text).facts.ops);

        let said = std::fs::read(&manifest).unwrap();
        let file = std::fs::File::options()
            .write(true)
            .open(&manifest)
            .unwrap();
        file.set_len(1 << 40).unwrap();
        assert!(ManifestMetadata::of(&frozen).metadata.is_empty());
        let spaces = [said.as_slice(), &[b' '; 10]].concat();
        std::fs::write(&manifest, spaces).unwrap();
        assert!(!ManifestMetadata::of(&frozen).metadata.is_empty());
        std::fs::remove_file(&manifest).unwrap();
        std::fs::create_dir(&manifest).unwrap();
        assert!(ManifestMetadata::of(&frozen).metadata.is_empty());
    }

    #[test]
    fn what_has_no_counterpart_is_named() {
        let root = tempfile::tempdir().unwrap();
        export(
            root.path(),
            GraphOptions::new(InputType::TfExample),
            &[Format::SavedModel],
        );
        let refused = given(&root.path().join("saved_model"), &GraphOptions::default());
        let Err(RunnableError::Unsupported { reason, .. }) = refused else {
            panic!("files are decoded");
        };
        let start = "is TensorFlow's, and cannot be run here: ";
        assert!(
            reason.starts_with(start) && reason.contains("ONNX"),
            "{reason}"
        );
    }
}
