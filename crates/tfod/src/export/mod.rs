//! From a training checkpoint to an export folder, as the official exporter lays it out:
//!
//! ```text
//! output/
//!   checkpoint/      the model alone: checkpoint, ckpt-0.index, ckpt-0.data-00000-of-00001
//!   saved_model/     saved_model.pb, variables/, assets/
//!   pipeline.config  the merged configuration
//!   manifest.json    how the model is to be used
//!   frozen.pb        one GraphDef with the weights inside, when that format is asked for
//!   model.onnx       an ONNX model, when that format is asked for; beyond 2 GB its weights are in model.onnx.data
//! ```
//!
//! Nothing is written before the configuration is understood and every variable has been found; then all is written beside, and put in place by
//! renaming.

mod error;
mod labels;
mod layout;
mod manifest;
mod signatures;
mod staging;
mod thresholds;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tfod_checkpoint::{
    Bundle, BundleWriter, CheckpointState, DType as StoredType, OBJECT_GRAPH_KEY, SAVE_COUNTER,
    STATE_FILE,
};
use tfod_config::{LabelMap, PipelineConfig};
use tfod_graph::{DType, Graph, Shape, ValueId, Weights};
use tfod_models::{GraphOption, GraphOptions, Model, ModelError, Stage, build};
use tfod_onnx::{
    ExternalData, InputLayout, OnnxWriter, Options as OnnxOptions, Summary as OnnxSummary,
};
use tfod_tensorflow::{Asset, FreezeOptions, NamedGraph, SavedModelWriter, Summary};

use crate::freeze::{Freeze, FreezeReport};
use crate::judgement::{Configured, Judgement};
use crate::output::identity::is_same;
use crate::output::{Destination, failed};
use crate::progress::Step;
use crate::trained::{MODEL, TrainedModel};
pub use error::{ExportError, Misfit, MisfitVariable};
pub use layout::Layout;
use layout::Places;
use manifest::{About, Source};
use signatures::Signature;
pub use signatures::SignatureOptions;
use staging::Staging;
pub use thresholds::Thresholds;

/// Where the weights of an ONNX model of more than 2 GB are.
const ONNX_DATA: &str = "model.onnx.data";
/// The prefix of the checkpoint in an export.
const CHECKPOINT: &str = "ckpt-0";

/// What a model can be exported as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A SavedModel: the folder `saved_model`.
    SavedModel,
    /// A `GraphDef` with the weights inside: the file `frozen.pb`.
    Frozen,
    /// An ONNX model: the file `model.onnx`.
    Onnx,
}

impl Format {
    /// All that are supported.
    pub const ALL: [Self; 3] = [Self::SavedModel, Self::Frozen, Self::Onnx];

    /// What users call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::SavedModel => "saved_model",
            Self::Frozen => "frozen",
            Self::Onnx => "onnx",
        }
    }
}

/// Choices that only ONNX has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnnxChoices {
    /// The operator set.
    pub opset: u32,
    /// The order of the dimensions of images.
    pub input_layout: InputLayout,
    /// Where weights are written.
    pub external_data: ExternalData,
}

impl Default for OnnxChoices {
    fn default() -> Self {
        let OnnxOptions {
            opset,
            input_layout,
            external_data,
            ..
        } = OnnxOptions::default();
        Self {
            opset,
            input_layout,
            external_data,
        }
    }
}

/// An export to be made.
#[derive(Clone, Debug)]
pub struct Export {
    /// What the exported model is given and what it returns.
    pub graph: GraphOptions,
    /// The signatures of the SavedModel, which differ in what they are given and have one set of variables; without any, `serving_default` is
    /// given what the graph's options say. The main one, `serving_default` or else the first, is what other formats have.
    pub signatures: Vec<SignatureOptions>,
    /// The `pipeline.config` that the model was trained with.
    pub pipeline_config: PathBuf,
    /// The folder that training wrote to, or the prefix of a checkpoint.
    pub checkpoint_dir: PathBuf,
    /// Which of the folder's checkpoints: a number, a name or a prefix. Without it, the one that the folder's state file names.
    pub checkpoint: Option<String>,
    /// Text merged into the configuration.
    pub config_override: String,
    /// Numbers that take the place of the configuration's.
    pub thresholds: Thresholds,
    /// The label map that names the classes.
    pub label_map: Option<PathBuf>,
    /// The formats to write.
    pub formats: Vec<Format>,
    /// Choices of the ONNX model.
    pub onnx: OnnxChoices,
    /// How the files are laid out.
    pub layout: Layout,
    /// Where the export goes. Files there that are not of an export stay.
    pub output: PathBuf,
}

/// What an export did.
#[derive(Clone, Debug)]
pub struct ExportReport {
    /// The architecture, as the configuration calls it.
    pub architecture: String,
    /// Classes without background.
    pub num_classes: u64,
    /// Height and width of the image that the network sees; `None` where they are known only at run time.
    pub image_size: Option<[u64; 2]>,
    /// The checkpoint's files without their endings.
    pub checkpoint: PathBuf,
    /// How that checkpoint was chosen.
    pub checkpoint_found: String,
    /// How many variables the model has; all were found.
    pub variables: usize,
    /// What the checkpoint has beyond them.
    pub unused: Unused,
    /// What the user should know, though the export was made.
    pub warnings: Vec<String>,
    /// Of the main signature.
    pub interface: Interface,
    /// All signatures by name, the main one first.
    pub signatures: Vec<(String, Interface)>,
    /// The SavedModel's size, if there is one.
    pub saved_model: Option<Summary>,
    /// The frozen graph, if there is one.
    pub frozen: Option<FreezeReport>,
    /// The ONNX model's size, if there is one.
    pub onnx: Option<OnnxSummary>,
    /// What an earlier export in the same folder wrote and this one does not, and was removed.
    pub removed: Vec<String>,
    /// Where it is.
    pub output: PathBuf,
    /// Time from the start to the last rename.
    pub elapsed: Duration,
}

/// What a checkpoint holds that the exported model does not use, by key.
#[derive(Clone, Debug, Default)]
pub struct Unused {
    /// Of the model itself: a sign that the configuration is not the one it was trained with.
    pub model: Vec<String>,
    /// Of the optimizer: momenta and the like.
    pub optimizer: Vec<String>,
    /// The rest: step, counters, a backbone's classifier.
    pub other: Vec<String>,
}

impl Unused {
    /// How many there are.
    pub fn total(&self) -> usize {
        self.model.len() + self.optimizer.len() + self.other.len()
    }
}

/// What a signature takes and gives.
#[derive(Clone, Debug)]
pub struct Interface {
    /// What the model is given.
    pub inputs: Vec<TensorInfo>,
    /// What it returns, by key in ascending order.
    pub outputs: Vec<TensorInfo>,
}

/// One input or output.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    /// Its key.
    pub key: String,
    /// Its element type.
    pub dtype: DType,
    /// Its shape; names stand for sizes known only at run time.
    pub shape: Shape,
}

impl Interface {
    fn of(graph: &Graph) -> Self {
        let info = |key: &str, value: ValueId| {
            let value = graph.value(value);
            TensorInfo {
                key: key.to_owned(),
                dtype: value.dtype,
                shape: value.shape.clone(),
            }
        };
        let inputs = graph.inputs().iter();
        let outputs = graph.outputs().iter();
        let mut outputs: Vec<TensorInfo> = outputs.map(|o| info(&o.key, o.value)).collect();
        outputs.sort_by(|a, b| a.key.cmp(&b.key));
        Self {
            inputs: inputs.map(|v| info(graph.name_of(*v), *v)).collect(),
            outputs,
        }
    }
}

/// What is written besides the formats, or told of them.
struct Parts<'a> {
    config: &'a PipelineConfig,
    trained: &'a TrainedModel,
    /// The main one first.
    signatures: &'a [&'a Signature],
    assets: &'a [Asset],
    facts: Map<String, Value>,
}

/// The configuration of an export.
struct Configuration {
    /// With what is merged into it.
    configured: Configured,
    /// The file as it was read.
    original: Vec<u8>,
    /// What to say of it.
    warnings: Vec<String>,
}

/// What writes the formats.
struct Writers<'a> {
    saved_model: Option<SavedModelWriter<'a>>,
    onnx: Option<OnnxWriter<'a>>,
}

/// What there is to say of the formats written.
#[derive(Default)]
struct Written {
    saved_model: Option<Summary>,
    frozen: Option<FreezeReport>,
    onnx: Option<OnnxSummary>,
}

impl Export {
    /// Makes the export.
    ///
    /// # Errors
    /// For anything that prevents it; then an earlier export in the output folder is as it was.
    pub fn run(&self) -> Result<ExportReport, ExportError> {
        self.run_with_progress(&|_| {})
    }

    /// Makes the export, and calls `tell` at the beginning of each step.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_with_progress(&self, tell: &dyn Fn(Step)) -> Result<ExportReport, ExportError> {
        let start = Instant::now();
        tell(Step::Config);
        self.layout.check(&self.formats)?;
        let target = self.layout.target(&self.output)?;
        let places = self.layout.places();
        let Configuration {
            configured,
            original,
            mut warnings,
        } = self.configuration()?;
        let config = &configured.config;
        let labels = self.label_map.as_deref().map(LabelMap::read).transpose()?;
        let (main, others) = self.signatures(config)?;
        let model = &main.model;
        if let Some(labels) = &labels {
            warnings.extend(label_warnings(labels, model.num_classes));
        }
        tell(Step::Fit);
        let trained = TrainedModel::open(&self.checkpoint_dir, self.checkpoint.as_deref())?;
        let (variables, unused, warning) = self.check_fit(&configured, &trained, model)?;
        warnings.extend(warning);
        let signatures: Vec<&Signature> = std::iter::once(&main).chain(&others).collect();
        let weights = signatures
            .iter()
            .map(|signature| trained.weights(&signature.model.graph))
            .collect::<Result<Vec<Weights<'_>>, _>>()?;
        let assets = labels.as_ref();
        let assets = assets.map_or_else(Vec::new, |l| labels::assets(l, model.num_classes));
        let facts = manifest::facts(&About {
            model,
            options: &main.options,
            labels: labels.as_ref(),
            config: &Source::of_bytes(file_name(&self.pipeline_config), &original),
            checkpoint_index: &source(&with_ending(trained.prefix(), ".index"))?,
        });
        let graphs = signatures.iter().zip(&weights);
        let graphs: Vec<_> = graphs.map(|(s, weights)| s.with_weights(weights)).collect();
        let writers = self.writers(&graphs, &assets, &facts)?;

        self.spare_checkpoint(&target, &trained)?;
        self.spare_label_map(&target, &assets)?;
        let staging = Staging::new(&target, self.layout.replaceable())?;
        let parts = Parts {
            config,
            trained: &trained,
            signatures: &signatures,
            assets: &assets,
            facts,
        };
        let written = self.write(&staging, parts, writers, tell);
        // Where a file of the checkpoint lost bytes under way, zeros may have been read, or an error may blame the output.
        trained.bundle().check_lengths()?;
        let Written {
            saved_model,
            frozen,
            onnx,
        } = written?;
        let mut items = vec![places.config, places.manifest];
        items.extend(places.checkpoint);
        items.extend(self.formats.iter().map(|format| places.item(*format)));
        if onnx.is_some_and(|summary| summary.data_bytes.is_some()) {
            items.push(ONNX_DATA);
        }
        let kept = self.keep_config(&target, &staging, config, &original)?;
        items.extend(kept.as_deref());
        warnings.extend(kept.as_deref().map(|name| self.kept_warning(name)));
        tell(Step::Commit);
        let replaced = staging.commit(&items, |target| {
            manifest::listed(&target.join(places.manifest))
        })?;
        warnings.extend(left_warning(&replaced.left));
        let interface = Interface::of(&model.graph);
        if let Some(format) = self.formats.first() {
            let told = self
                .layout
                .finish(&self.output, *format, &main.name, &interface)?;
            warnings.extend(told);
        }

        Ok(ExportReport {
            interface,
            signatures: signatures
                .iter()
                .map(|s| (s.name.clone(), Interface::of(&s.model.graph)))
                .collect(),
            architecture: model.architecture.clone(),
            num_classes: model.num_classes,
            image_size: model.image_size,
            checkpoint: trained.prefix().to_owned(),
            checkpoint_found: trained.found().to_string(),
            variables,
            unused,
            warnings,
            saved_model,
            frozen,
            onnx,
            removed: replaced.removed,
            output: target,
            elapsed: start.elapsed(),
        })
    }

    /// What writes the formats asked for, the graphs of all signatures given, the main one first. Everything that a format cannot express is found here.
    fn writers<'a>(
        &self,
        graphs: &[NamedGraph<'a>],
        assets: &'a [Asset],
        facts: &Map<String, Value>,
    ) -> Result<Writers<'a>, ExportError> {
        let has = |format| self.formats.contains(&format);
        let saved_model = if has(Format::SavedModel) || has(Format::Frozen) {
            Some(SavedModelWriter::new(graphs, assets)?)
        } else {
            None
        };
        let onnx = if let (true, Some(main)) = (has(Format::Onnx), graphs.first()) {
            let options = OnnxOptions {
                opset: self.onnx.opset,
                input_layout: self.onnx.input_layout,
                external_data: self.onnx.external_data,
                metadata: manifest::metadata(facts),
                ..OnnxOptions::default()
            };
            Some(OnnxWriter::new(main.graph, main.weights, &options)?)
        } else {
            None
        };
        Ok(Writers { saved_model, onnx })
    }

    /// Writes everything beside its place.
    fn write(
        &self,
        staging: &Staging,
        parts: Parts<'_>,
        writers: Writers<'_>,
        tell: &dyn Fn(Step),
    ) -> Result<Written, ExportError> {
        let places = self.layout.places();
        if let Some(folder) = places.checkpoint {
            tell(Step::Checkpoint);
            write_checkpoint(&staging.folder(folder)?, parts.trained)?;
        }
        let main = parts.signatures.first().map_or("", |main| &main.name);
        let written = self.write_formats(writers, staging, main, tell)?;
        staging.file(places.config, parts.config.to_text().as_bytes())?;
        let files = manifest::files(&manifest::Files {
            export: self,
            places,
            signatures: parts.signatures,
            assets: parts.assets,
            frozen: written.frozen.as_ref(),
            onnx: written.onnx.as_ref(),
        });
        let manifest = manifest::text(parts.facts, files);
        staging.file(places.manifest, manifest.as_bytes())?;
        self.layout.stage(staging, parts.signatures)?;
        Ok(written)
    }

    fn write_formats(
        &self,
        writers: Writers<'_>,
        staging: &Staging,
        signature: &str,
        tell: &dyn Fn(Step),
    ) -> Result<Written, ExportError> {
        let has = |format| self.formats.contains(&format);
        let places = self.layout.places();
        let mut written = Written::default();
        if let Some(writer) = writers.saved_model {
            tell(Step::SavedModel);
            let summary = writer.write(&staging.folder(places.saved_model)?)?;
            if has(Format::Frozen) {
                written.frozen = Some(freeze(staging, places, signature, tell)?);
            }
            if has(Format::SavedModel) {
                written.saved_model = Some(summary);
            } else {
                staging.discard(places.saved_model)?;
            }
        }
        if let Some(writer) = writers.onnx {
            tell(Step::Onnx);
            written.onnx = Some(writer.write(&staging.path(places.item(Format::Onnx)))?);
        }
        Ok(written)
    }

    /// The configuration with what is merged into it, and what to say of it.
    fn configuration(&self) -> Result<Configuration, ExportError> {
        let original = PipelineConfig::content(&self.pipeline_config)?;
        let origin = self.pipeline_config.display().to_string();
        let parsed = PipelineConfig::parse(&origin, &original)?;
        let mut warnings: Vec<String> = parsed.warnings.iter().map(ToString::to_string).collect();
        let mut configured = Configured::new(parsed.config, &self.config_override)?;
        self.thresholds.apply(&mut configured.config)?;
        if self.thresholds != Thresholds::default() && self.graph.stage != Stage::Detections {
            warnings.push(
                "thresholds have no effect on a graph that ends before non-max suppression; they only stand in its pipeline.config".to_owned(),
            );
        }
        Ok(Configuration {
            configured,
            original,
            warnings,
        })
    }

    /// Where the exported configuration takes the place of the one that the export is made from, keeps that beside it, with its comments, its order, and without what is merged in.
    /// Gives the name that it gets; `None` where nothing is lost.
    fn keep_config(
        &self,
        target: &Path,
        staging: &Staging,
        config: &PipelineConfig,
        original: &[u8],
    ) -> Result<Option<String>, ExportError> {
        let item = self.layout.places().config;
        if !is_replaced(target, item, &self.pipeline_config)
            || config.to_text().as_bytes() == original
        {
            return Ok(None);
        }
        let first = format!("{item}.original");
        let others = (2..).map(|number| format!("{first}.{number}"));
        // An earlier export may have kept the same one.
        let name = std::iter::once(first.clone()).chain(others).find(|name| {
            let path = target.join(name);
            let is_free = fs::symlink_metadata(&path).is_err();
            is_free || fs::read(&path).is_ok_and(|kept| kept == original)
        });
        let name = name.unwrap_or(first);
        staging.file(&name, original)?;
        Ok(Some(name))
    }

    fn kept_warning(&self, name: &str) -> String {
        format!(
            "{} is what this export was made from, and now holds the exported configuration; the original is kept beside it as {name}",
            self.pipeline_config.display()
        )
    }

    /// Refuses to remove, or to write anew in another form, the label map that this export is made from.
    fn spare_label_map(&self, target: &Path, assets: &[Asset]) -> Result<(), ExportError> {
        let Some(label_map) = &self.label_map else {
            return Ok(());
        };
        let places = self.layout.places();
        let writes_assets = self.formats.contains(&Format::SavedModel);
        for asset in assets {
            let item = format!("{}/assets/{}", places.saved_model, asset.file_name);
            let is_kept =
                || writes_assets && fs::read(label_map).is_ok_and(|found| found == asset.contents);
            if is_replaced(target, &item, label_map) && !is_kept() {
                return Err(would_lose(label_map, "its text as it is".to_owned()));
            }
        }
        let files = self.layout.replaceable().unwrap_or_default();
        for item in files.iter().filter(|item| !item.is_folder) {
            if is_replaced(target, item.name, label_map) {
                return Err(would_lose(label_map, "the label map".to_owned()));
            }
        }
        Ok(())
    }

    /// Holds a model against the checkpoint. Gives the number of its variables, which were all found, what the checkpoint has beyond them, and what to say
    /// of that.
    fn check_fit(
        &self,
        configured: &Configured,
        trained: &TrainedModel,
        model: &Model,
    ) -> Result<(usize, Unused, Option<String>), ExportError> {
        // Of the whole model, whatever part of it is asked for.
        let whole = match (self.graph.stage, &self.graph.outputs) {
            (Stage::Detections, None) => None,
            _ => Some(self.build(&configured.config, &GraphOptions::default())?),
        };
        let whole = whole.as_ref().unwrap_or(model);
        let mut judgement = Judgement::new(configured, whole, trained);
        if !judgement.fit.is_complete() {
            let misfit = Misfit::new(&self.pipeline_config, trained, whole, configured, judgement);
            return Err(ExportError::Misfit(Box::new(misfit)));
        }
        let warning = judgement.warning();
        let left_over = std::mem::take(&mut judgement.left_over);
        let unused = unused(trained, whole, left_over);
        Ok((judgement.fit.total(), unused, warning))
    }

    /// Refuses to replace the checkpoint that this export is made from by the model in it, if it has more.
    fn spare_checkpoint(&self, target: &Path, trained: &TrainedModel) -> Result<(), ExportError> {
        let folder = trained.prefix().parent().unwrap_or(Path::new(""));
        let places = self.layout.places();
        let (Some(checkpoint), Some(name)) = (places.checkpoint, trained.prefix().file_name())
        else {
            return Ok(());
        };
        if !is_replaced(target, checkpoint, folder) {
            return Ok(());
        }
        if name != CHECKPOINT {
            let state = folder.join(STATE_FILE);
            let what = "the names of the checkpoints beside it";
            return if state.exists() {
                Err(would_lose(&state, what.to_owned()))
            } else {
                Ok(())
            };
        }
        let kept = trained.objects().subset(&[MODEL, SAVE_COUNTER]);
        let kept = kept.checkpoint_keys();
        let keys = trained.bundle().entries().map(tfod_checkpoint::Entry::key);
        let lost: Vec<&str> = keys
            .filter(|key| *key != OBJECT_GRAPH_KEY && !kept.contains(key))
            .collect();
        match lost.first() {
            Some(first) => {
                let count = lost.len();
                let what = format!("{count} tensors that are not the model's, first `{first}`");
                Err(would_lose(trained.prefix(), what))
            }
            None => Ok(()),
        }
    }

    /// The networks of all signatures, the main one first.
    fn signatures(
        &self,
        config: &PipelineConfig,
    ) -> Result<(Signature, Vec<Signature>), ExportError> {
        let build = |asked: SignatureOptions| {
            let options = asked.graph(&self.graph);
            Ok::<_, ExportError>(Signature {
                model: self.build(config, &options)?,
                name: asked.name,
                options,
            })
        };
        let (main, others) = signatures::main_and_others(&self.signatures, &self.graph);
        if main.input.is_encoded() && self.formats.contains(&Format::Onnx) {
            return Err(ExportError::Options(ModelError::Option {
                option: GraphOption::InputType,
                given: main.input.to_string(),
                expected: "image_tensor or float_image_tensor for ONNX, whose runtimes have no operator that decodes image files".to_owned(),
            }));
        }
        let others = others.into_iter().map(build).collect::<Result<_, _>>()?;
        Ok((build(main)?, others))
    }

    fn build(&self, config: &PipelineConfig, options: &GraphOptions) -> Result<Model, ExportError> {
        let in_config = |source: ModelError| {
            if matches!(source, ModelError::Option { .. }) {
                return ExportError::Options(source);
            }
            ExportError::Model {
                config: self.pipeline_config.clone(),
                source,
            }
        };
        let message = config.message().model.as_ref();
        let missing = || {
            in_config(ModelError::Missing {
                field: "model".to_owned(),
            })
        };
        build(message.ok_or_else(missing)?, options).map_err(in_config)
    }
}

fn unused(trained: &TrainedModel, model: &Model, left_over: Vec<String>) -> Unused {
    let mut unused = Unused {
        model: left_over,
        ..Unused::default()
    };
    for key in trained.keys_beyond(&model.graph) {
        if unused.model.iter().any(|other| other == key) {
            continue;
        }
        let list = if key.contains("/.OPTIMIZER_SLOT/") || key.starts_with("optimizer/") {
            &mut unused.optimizer
        } else {
            &mut unused.other
        };
        list.push(key.to_owned());
    }
    unused
}

/// What of a label map does not go with the model's classes, which are numbered from 1.
fn label_warnings(labels: &LabelMap, num_classes: u64) -> Vec<String> {
    let names = labels.class_names();
    let ids = 1..=i32::try_from(num_classes).unwrap_or(i32::MAX);
    let mut warnings = Vec::new();
    let unnamed: Vec<String> = ids
        .clone()
        .filter(|id| !names.contains_key(id))
        .map(|id| id.to_string())
        .collect();
    if let Some(first) = unnamed.first() {
        let count = unnamed.len();
        warnings.push(format!(
            "the label map has no name for {count} of the model's {num_classes} classes, first {first}"
        ));
    }
    if let Some((id, name)) = names.iter().find(|(id, _)| !ids.contains(id)) {
        warnings.push(format!(
            "the label map has class {id} ({name}), but the model has only {num_classes}; it may belong to another model"
        ));
    }
    warnings
}

/// What to say of parts of an export that are in the folder, and are neither of this export nor known to be of an earlier one.
fn left_warning(left: &[String]) -> Option<String> {
    (!left.is_empty()).then(|| {
        format!(
            "{} was in the output folder before and stays there; it may be of another model than the files of this export",
            left.join(", ")
        )
    })
}

/// The name of a file without its folders.
fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// A file that the export is made from, for the manifest.
fn source(path: &Path) -> Result<Source, ExportError> {
    let source = File::open(path).and_then(|mut file| Source::new(file_name(path), &mut file));
    Ok(source.map_err(failed(path, "read"))?)
}

/// A path with more text at its end, a dot in its name or not.
fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(ending);
    text.into()
}

/// Freezes the SavedModel that has been written; the system still has it in memory.
fn freeze(
    staging: &Staging,
    places: Places,
    signature: &str,
    tell: &dyn Fn(Step),
) -> Result<FreezeReport, ExportError> {
    let freeze = Freeze {
        saved_model_dir: staging.path(places.item(Format::SavedModel)),
        output: Destination::StandardOutput,
        as_text: false,
        options: FreezeOptions {
            signature: signature.to_owned(),
            ..FreezeOptions::default()
        },
        fold_batch_norm: false,
        half: false,
    };
    Ok(freeze.run_into_new_file(&staging.path(places.item(Format::Frozen)), tell)?)
}

fn would_lose(path: &Path, what: String) -> ExportError {
    let path = path.to_owned();
    ExportError::WouldLose { path, what }
}

/// Whether an item of the target is this file or folder. Of a link, only the link is replaced.
fn is_replaced(target: &Path, item: &str, input: &Path) -> bool {
    let item = target.join(item);
    let input = if input.as_os_str().is_empty() {
        Path::new(".")
    } else {
        input
    };
    fs::symlink_metadata(&item).is_ok_and(|metadata| !metadata.is_symlink())
        && is_same(&item, input)
}

/// How often the training had saved; this is one more. A checkpoint need not say.
fn saves_so_far(bundle: &Bundle, save_counter: &str) -> Result<i64, ExportError> {
    if bundle.get(save_counter).is_none() {
        return Ok(0);
    }
    let counter = bundle.tensor(save_counter)?;
    let bytes = <[u8; 8]>::try_from(counter.bytes.as_ref());
    Ok(bytes.map_or(0, i64::from_le_bytes).max(0))
}

/// The checkpoint of the model alone, which training can start from.
fn write_checkpoint(folder: &Path, trained: &TrainedModel) -> Result<(), ExportError> {
    let mut objects = trained.objects().subset(&[MODEL, SAVE_COUNTER]);
    let save_counter = objects.add_save_counter();
    let mut keys = objects.checkpoint_keys();
    keys.insert(OBJECT_GRAPH_KEY);
    let bundle = trained.bundle();
    let saves = saves_so_far(bundle, &save_counter)?.saturating_add(1);
    let mut writer = BundleWriter::create(&folder.join(CHECKPOINT))?;
    for key in keys {
        if key == OBJECT_GRAPH_KEY {
            writer.add_object_graph(&objects)?;
        } else if key == save_counter {
            writer.add(key, StoredType::Int64, &[], &saves.to_le_bytes())?;
        } else {
            writer.copy(bundle, key)?;
        }
    }
    writer.finish_files()?;
    let state = CheckpointState::single(CHECKPOINT).to_string();
    let path = folder.join(STATE_FILE);
    Ok(fs::write(&path, state).map_err(failed(&path, "write"))?)
}
