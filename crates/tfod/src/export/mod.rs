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
//!   model.tflite     a TFLite model, when that format is asked for
//! ```
//!
//! Nothing is written before the configuration is understood and every variable has been found; then all is written beside, and put in place by
//! renaming.

mod error;
mod format;
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
use tfod_formats::Format;
use tfod_graph::{DType, Graph, Shape, ValueId, Weights, passes};
use tfod_models::{GraphOption, GraphOptions, Model, ModelError, Stage, build};
use tfod_onnx::InputLayout;
use tfod_tensorflow::{Asset, NamedGraph};

use tfod_text::Shown;

use crate::check::ConfigKind;
use crate::judgement::{Configured, Judgement};
use crate::output::failed;
use crate::output::identity::is_same;
use crate::progress::Step;
use crate::trained::{MODEL, TrainedModel};
pub use error::{ExportError, Misfit, MisfitVariable};
pub use format::{FormatOption, FormatReport, OnnxOptions, OptionValue, TfliteOptions};
use format::{Source, Writer, exporter};
pub use layout::Layout;
use manifest::About;
use signatures::Signature;
pub use signatures::SignatureOptions;
use staging::Staging;
pub use thresholds::Thresholds;

/// The prefix of the checkpoint in an export.
const CHECKPOINT: &str = "ckpt-0";

/// An export to be made.
#[derive(Clone, Debug)]
#[non_exhaustive]
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
    /// Options of the ONNX model.
    pub onnx: OnnxOptions,
    /// Options of the TFLite model.
    pub tflite: TfliteOptions,
    /// How the files are laid out.
    pub layout: Layout,
    /// Where the export goes. Files there that are not of an export stay.
    pub output: PathBuf,
}

/// What an export did.
#[derive(Clone, Debug)]
#[non_exhaustive]
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
    /// Of the main signature, as all formats have it; as the SavedModel has it where they differ.
    pub interface: Interface,
    /// All signatures by name, the main one first.
    pub signatures: Vec<(String, Interface)>,
    /// The formats written.
    pub formats: Vec<FormatReport>,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// What the model is given.
    pub inputs: Vec<TensorInfo>,
    /// What it returns, by key in ascending order.
    pub outputs: Vec<TensorInfo>,
}

/// One input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its key.
    pub key: String,
    /// Its element type.
    pub dtype: DType,
    /// Its shape; names stand for sizes known only at run time.
    pub shape: Shape,
    /// Of an input of images, the order of its dimensions.
    pub layout: Option<InputLayout>,
}

impl Interface {
    fn of(graph: &Graph) -> Self {
        let info = |key: &str, value: ValueId| {
            let value = graph.value(value);
            TensorInfo {
                key: key.to_owned(),
                dtype: value.dtype,
                shape: value.shape.clone(),
                layout: None,
            }
        };
        let input = |value: &ValueId| {
            let info = info(graph.name_of(*value), *value);
            let is_images = info.shape.dims().len() == 4;
            TensorInfo {
                layout: is_images.then_some(InputLayout::Nhwc),
                ..info
            }
        };
        let inputs = graph.inputs().iter();
        let outputs = graph.outputs().iter();
        let mut outputs: Vec<TensorInfo> = outputs.map(|o| info(&o.key, o.value)).collect();
        outputs.sort_by(|a, b| a.key.cmp(&b.key));
        Self {
            inputs: inputs.map(input).collect(),
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
    /// The networks of formats that need other ones.
    fitted: &'a Fitted,
    /// What the formats have in common.
    interface: &'a Interface,
    facts: Map<String, Value>,
}

/// The networks of formats that need other ones than the main signature's.
type Fitted = Vec<(Format, Signature)>;

/// The network of a format.
fn of_format<'s>(format: Format, main: &'s Signature, fitted: &'s Fitted) -> &'s Signature {
    let mut own = fitted.iter().filter(|(other, _)| *other == format);
    own.next().map_or(main, |(_, signature)| signature)
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

/// A format to be written.
struct Prepared<'a> {
    format: Format,
    writer: Box<dyn Writer + 'a>,
    /// Whether it was asked for, and is not there for another's sake alone.
    is_wanted: bool,
}

impl Export {
    /// An export as the official exporter makes it without flags: a SavedModel of one image at a time.
    pub fn new(
        pipeline_config: impl Into<PathBuf>,
        checkpoint_dir: impl Into<PathBuf>,
        output: impl Into<PathBuf>,
    ) -> Self {
        Self {
            graph: GraphOptions::default(),
            signatures: Vec::new(),
            pipeline_config: pipeline_config.into(),
            checkpoint_dir: checkpoint_dir.into(),
            checkpoint: None,
            config_override: String::new(),
            thresholds: Thresholds::default(),
            label_map: None,
            formats: vec![Format::SavedModel],
            onnx: OnnxOptions::default(),
            tflite: TfliteOptions::default(),
            layout: Layout::default(),
            output: output.into(),
        }
    }

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
        let whole = self.whole_options(&configured)?;
        let (main, others) = self.signatures(config, labels.as_ref(), &whole)?;
        let (main, fitted) = self.fitted(config, main)?;
        let model = &main.model;
        if let Some(labels) = &labels {
            warnings.extend(label_warnings(labels, model.num_classes));
        }
        tell(Step::Fit);
        let trained = TrainedModel::open(&self.checkpoint_dir, self.checkpoint.as_deref())?;
        let (variables, unused, warning) = self.check_fit(&configured, &whole, &trained, model)?;
        warnings.extend(warning);
        let signatures: Vec<&Signature> = std::iter::once(&main).chain(&others).collect();
        let computed = self.all_with_weights(signatures.iter().copied(), &trained)?;
        let own = fitted.iter().map(|(_, signature)| signature);
        let own_computed = self.all_with_weights(own, &trained)?;
        let assets = labels.as_ref();
        let assets = assets.map_or_else(Vec::new, |l| labels::assets(l, model.num_classes));
        let interface = self.common_interface(&main, &fitted);
        let facts = manifest::facts(&About {
            model,
            interface: &interface,
            options: &main.options,
            labels: labels.as_ref(),
            config: &manifest::Source::of_bytes(file_name(&self.pipeline_config), &original),
            keypoint_edges: keypoint_edges(config),
            checkpoint_index: &source(&with_ending(trained.prefix(), ".index"))?,
        });
        let graphs = signatures.iter().copied().zip(&computed).map(named);
        let own = fitted.iter().zip(&own_computed);
        let own =
            own.map(|((format, signature), computed)| (*format, named((signature, computed))));
        let networks = Networks {
            main: &main,
            fitted: &fitted,
            graphs: graphs.collect(),
            own: own.collect(),
        };
        let prepared = self.prepare(&networks, &signatures, &assets, &facts)?;

        self.spare_checkpoint(&target, &trained)?;
        self.spare_label_map(&target, &assets)?;
        let staging = Staging::new(&target, self.layout.replaceable())?;
        let parts = Parts {
            config,
            trained: &trained,
            signatures: &signatures,
            fitted: &fitted,
            interface: &interface,
            facts,
        };
        let written = self.write(&staging, parts, prepared, tell);
        // Where a file of the checkpoint lost bytes under way, zeros may have been read, or an error may blame the output.
        trained.bundle().check_lengths()?;
        let written = written?;
        let mut items = vec![places.config, places.manifest];
        items.extend(places.checkpoint);
        for report in &written {
            items.push(self.layout.item(report.format));
            items.extend(&report.beside);
        }
        let kept = self.keep_config(&target, &staging, config, &original)?;
        items.extend(kept.as_deref());
        warnings.extend(kept.as_deref().map(|name| self.kept_warning(name)));
        tell(Step::Commit);
        let replaced = staging.commit(&items, |target| {
            manifest::listed(&target.join(places.manifest))
        })?;
        warnings.extend(left_warning(&replaced.left));
        warnings.extend(self.finish(&main, &fitted)?);

        Ok(ExportReport {
            signatures: interfaces(&main, &interface, &others),
            interface,
            architecture: model.architecture.clone(),
            num_classes: model.num_classes,
            image_size: model.image_size,
            checkpoint: trained.prefix().to_owned(),
            checkpoint_found: trained.found().to_string(),
            variables,
            unused,
            warnings,
            formats: written,
            removed: replaced.removed,
            output: target,
            elapsed: start.elapsed(),
        })
    }

    /// A graph and its weights, where what depends on weights alone is computed, so that programs that run the model need not, or cannot.
    fn with_weights<'a>(
        &self,
        graph: &Graph,
        trained: &'a TrainedModel,
    ) -> Result<(Graph, Weights<'a>), ExportError> {
        let computed = passes::fold(graph, trained.weights(graph)?);
        computed.map_err(|error| ExportError::Model {
            config: self.pipeline_config.clone(),
            source: Box::new(error.into()),
            family: None,
        })
    }

    /// Writes what the layout has beside the export; gives what the user should know.
    fn finish(&self, main: &Signature, fitted: &Fitted) -> Result<Option<String>, ExportError> {
        let Some(format) = self.formats.first() else {
            return Ok(None);
        };
        let interface = self.interface(*format, main, fitted);
        self.layout
            .finish(&self.output, *format, &main.name, &interface)
    }

    /// The graph of each signature, with its weights.
    fn all_with_weights<'s, 'a>(
        &self,
        signatures: impl Iterator<Item = &'s Signature>,
        trained: &'a TrainedModel,
    ) -> Result<Vec<(Graph, Weights<'a>)>, ExportError> {
        signatures
            .map(|signature| self.with_weights(&signature.model.graph, trained))
            .collect()
    }

    /// Works out every format. What one cannot express is found here.
    fn prepare<'a>(
        &self,
        networks: &Networks<'_, 'a>,
        signatures: &[&Signature],
        assets: &'a [Asset],
        facts: &Map<String, Value>,
    ) -> Result<Vec<Prepared<'a>>, ExportError> {
        let Networks {
            main,
            fitted,
            graphs,
            own,
        } = networks;
        let prepare = |(format, is_wanted): (Format, bool)| {
            let interface = self.interface(format, main, fitted);
            let mut facts = facts.clone();
            let network = of_format(format, main, fitted);
            let (options, of_model) = (&network.options, &network.model.facts);
            facts.extend(manifest::ends(&interface, options, of_model));
            let own = own.iter().find(|(other, _)| *other == format);
            let own = own.map(|(_, graph)| std::slice::from_ref(graph));
            let writer = exporter(format).prepare(&Source {
                export: self,
                graphs: own.unwrap_or(graphs),
                signatures,
                assets,
                network,
                facts: &facts,
            })?;
            Ok(Prepared {
                format,
                writer,
                is_wanted,
            })
        };
        self.formats_to_write().map(prepare).collect()
    }

    /// The formats in the order in which they are written, those that others are made from included, and whether each was asked for.
    fn formats_to_write(&self) -> impl Iterator<Item = (Format, bool)> + '_ {
        let is_wanted = |format| self.formats.contains(&format);
        let sources: Vec<Format> = self
            .formats
            .iter()
            .filter_map(|format| exporter(*format).made_from())
            .collect();
        let all = Format::ALL.into_iter();
        all.map(move |format| (format, is_wanted(format)))
            .filter(move |(format, is_wanted)| *is_wanted || sources.contains(format))
    }

    /// What a graph takes and gives as all formats have it; where they differ, as the graph does.
    fn common_interface(&self, main: &Signature, fitted: &Fitted) -> Interface {
        let formats = self.formats.iter();
        let mut all = formats.map(|format| self.interface(*format, main, fitted));
        let first = all.next();
        match first {
            Some(first) if all.all(|other| other == first) => first,
            _ => Interface::of(&main.model.graph),
        }
    }

    /// What a format takes and gives.
    fn interface(&self, format: Format, main: &Signature, fitted: &Fitted) -> Interface {
        let graph = &of_format(format, main, fitted).model.graph;
        exporter(format).interface(Interface::of(graph), self)
    }

    /// The main network, and those of formats that need other ones. Where all formats need another one, that is the main one.
    fn fitted(
        &self,
        config: &PipelineConfig,
        main: Signature,
    ) -> Result<(Signature, Fitted), ExportError> {
        let mut fitted = Vec::new();
        for (format, _) in self.formats_to_write() {
            let options = exporter(format).fitted(&main.options, &main.model);
            if let Some(options) = options.map_err(ExportError::Options)? {
                let signature = Signature {
                    name: main.name.clone(),
                    model: self.build(config, &options)?,
                    options,
                };
                fitted.push((format, signature));
            }
        }
        match fitted.pop() {
            Some((_, signature)) if self.formats_to_write().count() == 1 => Ok((signature, fitted)),
            last => {
                fitted.extend(last);
                Ok((main, fitted))
            }
        }
    }

    /// Writes everything beside its place.
    fn write(
        &self,
        staging: &Staging,
        parts: Parts<'_>,
        prepared: Vec<Prepared<'_>>,
        tell: &dyn Fn(Step),
    ) -> Result<Vec<FormatReport>, ExportError> {
        let places = self.layout.places();
        if let Some(folder) = places.checkpoint {
            tell(Step::Write("the checkpoint"));
            write_checkpoint(&staging.folder(folder)?, parts.trained)?;
        }
        let written = self.write_formats(prepared, staging, tell)?;
        staging.file(places.config, parts.config.to_text().as_bytes())?;
        let mut files = Map::new();
        for report in &written {
            let mut file = report.particulars.clone();
            file.insert("format".to_owned(), report.format.name().into());
            if let Some(main) = parts.signatures.first() {
                let interface = self.interface(report.format, main, parts.fitted);
                if interface != *parts.interface {
                    let network = of_format(report.format, main, parts.fitted);
                    let (options, facts) = (&network.options, &network.model.facts);
                    file.extend(manifest::ends(&interface, options, facts));
                }
            }
            // The folder that the manifest is about may be the SavedModel.
            let name = match self.layout.item(report.format) {
                "" => ".",
                name => name,
            };
            files.insert(name.to_owned(), file.into());
        }
        let manifest = manifest::text(parts.facts, files);
        staging.file(places.manifest, manifest.as_bytes())?;
        self.layout.stage(staging, parts.signatures)?;
        Ok(written)
    }

    /// Writes the formats, and gives the reports of those asked for.
    fn write_formats(
        &self,
        prepared: Vec<Prepared<'_>>,
        staging: &Staging,
        tell: &dyn Fn(Step),
    ) -> Result<Vec<FormatReport>, ExportError> {
        let place = |format| staging.path(self.layout.item(format));
        let mut written = Vec::new();
        let mut unwanted = Vec::new();
        for Prepared {
            format,
            writer,
            is_wanted,
        } in prepared
        {
            if format.is_folder() {
                staging.folder(self.layout.item(format))?;
            }
            let report = writer.write(&place, tell)?;
            if is_wanted {
                written.push(report);
            } else {
                unwanted.push(format);
            }
        }
        for format in unwanted {
            staging.discard(self.layout.item(format))?;
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

    /// The options with which the whole network is built.
    fn whole_options(&self, configured: &Configured) -> Result<GraphOptions, ExportError> {
        let options = configured.options();
        options.map_err(|source| ExportError::KeypointLabels {
            config: self.pipeline_config.clone(),
            source,
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
            self.pipeline_config.shown()
        )
    }

    /// Refuses to remove, or to write anew in another form, the label map that this export is made from.
    fn spare_label_map(&self, target: &Path, assets: &[Asset]) -> Result<(), ExportError> {
        let Some(label_map) = &self.label_map else {
            return Ok(());
        };
        let writes_assets = self.formats.contains(&Format::SavedModel);
        for asset in assets {
            let item = format!(
                "{}/assets/{}",
                self.layout.item(Format::SavedModel),
                asset.file_name
            );
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
        options: &GraphOptions,
        trained: &TrainedModel,
        model: &Model,
    ) -> Result<(usize, Unused, Option<String>), ExportError> {
        // Of the whole model, whatever part of it is asked for.
        let whole = match (self.graph.stage, &self.graph.outputs) {
            (Stage::Detections, None) => None,
            _ => Some(self.build(&configured.config, options)?),
        };
        let whole = whole.as_ref().unwrap_or(model);
        let mut judgement = Judgement::new(configured, options, whole, trained);
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
                let what = format!(
                    "{count} tensors that are not the model's, first `{}`",
                    first.shown()
                );
                Err(would_lose(trained.prefix(), what))
            }
            None => Ok(()),
        }
    }

    /// The networks of all signatures, the main one first.
    fn signatures(
        &self,
        config: &PipelineConfig,
        labels: Option<&LabelMap>,
        whole: &GraphOptions,
    ) -> Result<(Signature, Vec<Signature>), ExportError> {
        let mut common = self.graph.clone();
        common.keypoint_labels.clone_from(&whole.keypoint_labels);
        common
            .class_thresholds
            .extend(self.thresholds.classes(labels)?);
        let build = |asked: SignatureOptions| {
            let options = asked.graph(&common);
            Ok::<_, ExportError>(Signature {
                model: self.build(config, &options)?,
                name: asked.name,
                options,
            })
        };
        let (main, others) = signatures::main_and_others(&self.signatures, &self.graph);
        let mut formats = self.formats.iter().map(|format| format.descriptor());
        let without = formats.find(|format| !format.decodes_images);
        if let Some(format) = without.filter(|_| main.input.is_encoded()) {
            return Err(ExportError::Options(ModelError::Option {
                option: GraphOption::InputType,
                given: main.input.to_string(),
                expected: format!(
                    "image_tensor or float_image_tensor for {}, whose runtimes have no operator that decodes image files",
                    format.described
                ),
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
            let kind = config.message().model.as_ref().and_then(ConfigKind::of);
            ExportError::Model {
                config: self.pipeline_config.clone(),
                source: Box::new(source),
                family: kind.map(|kind| kind.family),
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

/// The networks of an export, with their weights.
struct Networks<'s, 'a> {
    main: &'s Signature,
    fitted: &'s Fitted,
    /// Of all signatures, the main one first.
    graphs: Vec<NamedGraph<'a>>,
    /// Of the formats in `fitted`.
    own: Vec<(Format, NamedGraph<'a>)>,
}

/// A signature's network with its weights.
fn named<'a>(
    (signature, (graph, weights)): (&'a Signature, &'a (Graph, Weights<'a>)),
) -> NamedGraph<'a> {
    NamedGraph {
        name: &signature.name,
        graph,
        weights,
    }
}

/// What each signature takes and gives, by name; the main one has the interface that is common to all formats.
fn interfaces(
    main: &Signature,
    interface: &Interface,
    others: &[Signature],
) -> Vec<(String, Interface)> {
    let others = others.iter().map(|signature| {
        (
            signature.name.clone(),
            Interface::of(&signature.model.graph),
        )
    });
    std::iter::once((main.name.clone(), interface.clone()))
        .chain(others)
        .collect()
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

/// Pairs of keypoints, by their place, between which the evaluation draws lines.
fn keypoint_edges(config: &PipelineConfig) -> Vec<[i32; 2]> {
    let evaluation = config.message().eval_config.iter();
    let edges = evaluation.flat_map(|evaluation| &evaluation.keypoint_edge);
    edges.map(|edge| [edge.start(), edge.end()]).collect()
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
            "the label map has class {id} ({}), but the model has only {num_classes}; it may belong to another model",
            name.shown()
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
fn source(path: &Path) -> Result<manifest::Source, ExportError> {
    let source =
        File::open(path).and_then(|mut file| manifest::Source::new(file_name(path), &mut file));
    Ok(source.map_err(failed(path, "read"))?)
}

/// A path with more text at its end, a dot in its name or not.
fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(ending);
    text.into()
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
