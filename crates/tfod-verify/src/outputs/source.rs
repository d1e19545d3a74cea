//! What is run of each model: an ONNX model, the one that is there or one that is made of what is there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tfod::{Export, Format, Scratch};
use tfod_graph::{Graph, Weights};
use tfod_inspect::{Facts, OnnxFacts, inspect, manifest};
use tfod_models::facts::stage_of;
use tfod_models::{GraphOptions, InputType, Stage};
use tfod_onnx::{OnnxWriter, Options};
use tfod_runtime::Session;
use tfod_tensorflow::{FreezeOptions, SavedModelReader, graph_of_graph_def};
use tfod_text::Shown;

use super::feed::Feed;
use super::{OutputOptions, Stop};
use crate::{Side, VerifyError};

/// An ONNX model on one side, or made of what is there.
pub(super) struct RunnableModel {
    path: PathBuf,
    facts: OnnxFacts,
    /// What was given, if the model was made of it; how, in words; and the folder in which the model is then.
    made: Option<(PathBuf, &'static str, Scratch)>,
}

/// How a checkpoint is exported to be compared: as the model on the other side was, if tfod wrote it.
#[derive(Clone, Copy, Default)]
struct Settings {
    stage: Stage,
    no_preprocess: bool,
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
    /// Both models; else why one of them cannot be run here.
    pub(super) fn of_both(sides: [&Side; 2]) -> Result<Result<[Self; 2], String>, VerifyError> {
        let [a, b] = sides.map(Self::of_model);
        let is_open = |found: &Result<Result<Option<Self>, String>, VerifyError>| {
            matches!(found, Ok(Ok(None)))
        };
        let settings = [&a, &b].into_iter().find_map(|found| match found {
            Ok(Ok(Some(source))) => Settings::of(&source.facts),
            _ => None,
        });
        let settings = settings.unwrap_or_default();
        let mut sources = Vec::with_capacity(2);
        for (which, side, found) in [("first", sides[0], a), ("second", sides[1], b)] {
            let found = if is_open(&found) {
                Self::export(side, settings)?
            } else {
                found?.and_then(|found| found.ok_or_else(String::new))
            };
            match found {
                Ok(source) => sources.push(source),
                Err(reason) => return Ok(Err(format!("the {which} {reason}"))),
            }
        }
        let sources = <[Self; 2]>::try_from(sources);
        Ok(sources.map_err(|_| "they are not two".to_owned()))
    }

    /// A model that is there, or can be made without knowing the other; `None` of a checkpoint. The inner error says why it cannot be run.
    fn of_model(side: &Side) -> Result<Result<Option<Self>, String>, VerifyError> {
        let graph = match side.facts() {
            Facts::Onnx(facts) => {
                return Ok(Ok(Some(Self {
                    path: side.found.file.clone(),
                    facts: OnnxFacts::clone(facts),
                    made: None,
                })));
            }
            Facts::Tflite(_) => {
                return Ok(Err("is a TFLite model, which is not run here; export the checkpoint as ONNX, and give that".to_owned()));
            }
            Facts::Checkpoint(_) => return Ok(Ok(None)),
            Facts::SavedModel(_) => of_saved_model(side),
            Facts::Graph(_) => {
                let bytes = side.found.graph_def().unwrap_or_default();
                graph_of_graph_def(bytes).map_err(|error| error.to_string())
            }
            _ => Err("it is no graph by itself".to_owned()),
        };
        match graph.map(|graph| Self::written(side, graph)) {
            Ok(Ok(source)) => Ok(Ok(Some(source))),
            Ok(Err(Stop::Error(error))) => Err(error),
            Err(reason) | Ok(Err(Stop::Undecided(reason))) => Ok(Err(format!(
                "is TensorFlow's, and cannot be run here: {reason}; export the checkpoint as ONNX, and give that"
            ))),
        }
    }

    /// A graph, written as an ONNX model.
    fn written(side: &Side, mut graph: Graph) -> Result<Self, Stop> {
        let given = &side.found.path;
        let told = ManifestMetadata::of(&side.found.file);
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
        let folder = Scratch::new_in(&std::env::temp_dir()).map_err(VerifyError::Folder)?;
        let path = folder.content().join(Format::Onnx.file());
        let weights = Weights::default();
        let refused = |error: tfod_onnx::Error| Stop::Undecided(error.to_string());
        let writer = OnnxWriter::new(&graph, &weights, &options).map_err(refused)?;
        writer.write(&path).map_err(refused)?;
        Ok(Self {
            facts: facts(&path)?,
            path,
            made: Some((given.clone(), "read and written as an ONNX model", folder)),
        })
    }

    /// A checkpoint, exported; else why it cannot be.
    fn export(side: &Side, settings: Settings) -> Result<Result<Self, String>, VerifyError> {
        let given = &side.found.path;
        let (Facts::Checkpoint(checkpoint), Some((config, _))) = (side.facts(), &side.config)
        else {
            return Ok(Err(
                "is a checkpoint without a pipeline.config in its folder or the one above"
                    .to_owned(),
            ));
        };
        let folder = Scratch::new_in(&std::env::temp_dir()).map_err(VerifyError::Folder)?;
        let mut graph = GraphOptions::new(InputType::FloatImageTensor);
        graph.stage = settings.stage;
        graph.no_preprocess = settings.no_preprocess;
        let output = folder.content().join("export");
        let mut export = Export::new(config, &checkpoint.prefix, &output);
        export.graph = graph;
        export.formats = vec![Format::Onnx];
        export.run().map_err(|problem| VerifyError::Export {
            path: given.clone(),
            problem: Box::new(problem),
        })?;
        let path = output.join(Format::Onnx.file());
        Ok(Ok(Self {
            facts: facts(&path)?,
            path,
            made: Some((given.clone(), "exported as an ONNX model", folder)),
        }))
    }

    pub(super) fn open(&self, options: &OutputOptions) -> Result<Session, String> {
        let session = Session::open(&self.path, options.apart.as_ref());
        session.map_err(|error| self.told(&error))
    }

    /// How images become this model's input.
    pub(super) fn feed(&self) -> Result<Feed, String> {
        let [input] = &self.facts.inputs[..] else {
            let count = self.facts.inputs.len();
            return Err(format!("has {count} inputs; only models of images are run"));
        };
        let feed = Feed::of(input)?;
        match left_to_caller(&self.facts) {
            Some(preprocessing) => feed.normalised(&preprocessing),
            None => Ok(feed),
        }
    }

    /// An error of the runtime, which knows nothing of where the model is from.
    fn told(&self, error: &tfod_runtime::Error) -> String {
        let (file, made) = match &self.made {
            Some((given, how, _)) => (given, format!(", {how}")),
            None => (&self.path, String::new()),
        };
        let problem = error.problem();
        format!("cannot be run: {}{made}: {problem}", file.shown())
    }

    pub(super) fn failed(&self, which: &str, error: &tfod_runtime::Error) -> Stop {
        Stop::Undecided(format!("the {which} {}", self.told(error)))
    }
}

/// The graph of a SavedModel's only or main signature.
fn of_saved_model(side: &Side) -> Result<Graph, String> {
    let folder = side.found.folder().unwrap_or(Path::new(""));
    let reader = SavedModelReader::open(folder).map_err(|error| error.to_string())?;
    let frozen = reader.freeze(&FreezeOptions::default());
    let frozen = frozen.map_err(|error| error.to_string())?;
    frozen.to_graph().map_err(|error| error.to_string())
}

fn facts(path: &Path) -> Result<OnnxFacts, VerifyError> {
    match inspect(path)?.facts {
        Facts::Onnx(facts) => Ok(*facts),
        _ => Err(VerifyError::NoModel {
            path: path.to_owned(),
            what: "not an ONNX model",
        }),
    }
}

impl Settings {
    /// Those with which tfod wrote a model; `None` of another's.
    fn of(facts: &OnnxFacts) -> Option<Self> {
        let is_of_tfod = facts.metadata.contains_key(MANIFEST_VERSION);
        let keys = facts.outputs.iter().map(|port| port.key.as_str());
        is_of_tfod.then(|| Self {
            stage: stage_of(keys).unwrap_or_default(),
            no_preprocess: left_to_caller(facts).is_some(),
        })
    }
}

const MANIFEST_VERSION: &str = "manifest_version";
const PREPROCESSING: &str = "preprocessing";

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
        let members = [MANIFEST_VERSION, PREPROCESSING].into_iter();
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

    fn sources(first: &Path, second: &Path) -> [RunnableModel; 2] {
        let [first, second] = [first, second].map(|path| Side::open(path).unwrap());
        RunnableModel::of_both([&first, &second]).unwrap().unwrap()
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
            let [first, second] = sources(&saved_model, &onnx);
            assert_eq!(interface(&first), interface(&second), "{name}");
            let [first, third] = sources(&frozen, &saved_model);
            assert_eq!(interface(&first), interface(&third), "{name}");
            assert_eq!(first.facts.ops, second.facts.ops, "{name}");
            // A checkpoint is exported to end where the graph does.
            let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shapes");
            let [checkpoint, first] = sources(&example.join("checkpoint"), &frozen);
            assert_eq!(interface(&checkpoint).0, interface(&first).0, "{name}");
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
        let [first, second] = sources(&frozen, &text);
        assert_eq!(first.facts.ops, second.facts.ops);

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
        let side = Side::open(&root.path().join("saved_model")).unwrap();
        let Ok(Err(reason)) = RunnableModel::of_both([&side, &side]) else {
            panic!("files are decoded");
        };
        let start = "the first is TensorFlow's, and cannot be run here: ";
        assert!(
            reason.starts_with(start) && reason.contains("ONNX"),
            "{reason}"
        );
    }
}
