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

mod checkpoint;
mod error;
mod format;
mod interface;
mod labels;
mod layout;
mod manifest;
mod networks;
mod signatures;
mod spare;
mod staging;
mod thresholds;
mod write;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tfod_config::{LabelMap, PipelineConfig};
use tfod_formats::Format;
use tfod_models::meta::describe;
use tfod_models::{GraphOptions, Model, ModelError, Stage};
use tfod_text::Shown;

use crate::check::{Check, Verdict};
use crate::judgement::{Configured, Judgement};
use crate::output::{OutputError, failed};
use crate::progress::Step;
use crate::trained::TrainedModel;
use checkpoint::unused;
pub use error::{ExportError, Misfit, MisfitVariable};
pub use format::{FormatOption, FormatReport, OnnxOptions, OptionValue, TfliteOptions};
pub use interface::{Interface, InterfaceTensor};
pub use layout::Layout;
use manifest::About;
use networks::{Fitted, interfaces};
use signatures::Signature;
pub use signatures::SignatureOptions;
use staging::{Item, Replaced, Staging};
pub use thresholds::Thresholds;
use write::Parts;

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
    /// Files that options were read from; the export does not take their places.
    pub option_files: Vec<PathBuf>,
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

/// The configuration of an export.
struct Configuration {
    /// With what is merged into it.
    configured: Configured,
    /// The file as it was read.
    original: Vec<u8>,
    /// What to say of it.
    warnings: Vec<String>,
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
            option_files: Vec::new(),
        }
    }

    /// Makes the export.
    ///
    /// # Errors
    /// For anything that prevents it; then an earlier export in the output folder is as it was.
    pub fn run(&self) -> Result<ExportReport, ExportError> {
        self.run_with_progress(&|_| {})
    }

    /// Checks the options by themselves, as far as that is possible before anything is read.
    ///
    /// # Errors
    /// When an option has a value that it cannot have, or does not go with another one.
    pub fn check_options(&self) -> Result<(), ExportError> {
        self.layout.check(&self.formats)?;
        let (main, others) = signatures::main_and_others(&self.signatures, &self.graph);
        let mut all = std::iter::once(&main).chain(&others);
        all.try_for_each(|signature| signature.graph(&self.graph).check())
            .map_err(ExportError::Options)
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
        let advised = |error| self.advised(error, &configured);
        let signatures = self.signatures(config, labels.as_ref(), &whole);
        let (main, others) = signatures.map_err(advised)?;
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
        let assets = labels.as_ref();
        let assets = assets.map_or_else(Vec::new, |l| labels::assets(l, model.num_classes));
        let interface = self.common_interface(&main, &fitted);
        let (keypoint_edges, warning) = keypoint_edges(config, model.facts.keypoints.len());
        warnings.extend(warning);
        self.spare_checkpoint(&target, &trained)?;
        self.spare_label_map(&target, &assets)?;
        self.spare_files(&target)?;
        let listed = |target: &Path| manifest::listed(&target.join(places.manifest));
        let staging = self.staging(&target, &listed(&target))?;
        let facts = || {
            Ok(manifest::facts(&About {
                model,
                interface: &interface,
                options: &main.options,
                labels: labels.as_ref(),
                config: &manifest::SourceFile::of_bytes(
                    file_name(&self.pipeline_config),
                    &original,
                ),
                keypoint_edges: &keypoint_edges,
                checkpoint_index: &source(&with_ending(trained.prefix(), ".index"))?,
            }))
        };
        let parts = Parts {
            config,
            trained: &trained,
            main: &main,
            signatures: &signatures,
            fitted: &fitted,
            assets: &assets,
            labels: labels.as_ref(),
            interface: &interface,
            facts: &facts,
        };
        let written = self.write(&staging, &parts, tell);
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
        let replaced = staging.commit(&items, listed)?;
        warnings.extend(self.warnings_of(&replaced));
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

    /// The folder in which everything is written. What stands in the way of what is written, or in the place of what an earlier export is known to have written, is refused.
    fn staging(&self, target: &Path, earlier: &[String]) -> Result<Staging, OutputError> {
        let written = self.layout.items(&self.formats);
        let is_gone = |item: &Item| earlier.iter().any(|name| name == item.name);
        Staging::new(target, self.layout.replaceable(), |item| {
            written.contains(item) || is_gone(item)
        })
    }

    /// What to say of what was in the output folder before.
    fn warnings_of(&self, replaced: &Replaced) -> impl Iterator<Item = String> {
        let mut left = replaced.left.clone();
        left.extend(self.layout.of_others(&self.output));
        let warnings = [emptied_warning(&replaced.emptied), left_warning(&left)];
        warnings.into_iter().flatten()
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
        let model = configured.config.message().model.as_ref();
        let further = model.and_then(describe).map(|d| d.further);
        let further = further.unwrap_or_default().join("; ");
        if self.graph.stage == Stage::Boxes && !further.is_empty() {
            warnings.push(format!(
                "a graph that ends before non-max suppression gives boxes and scores alone; left out: {further}"
            ));
        }
        Ok(Configuration {
            configured,
            original,
            warnings,
        })
    }

    /// Adds to the error of a configuration of which no model can be built what the checkpoint tells to do about it, as a check does.
    fn advised(&self, mut error: ExportError, configured: &Configured) -> ExportError {
        if let ExportError::Model { source, advice, .. } = &mut error
            // What to do about it is an option.
            && !matches!(**source, ModelError::SizeUnknown { .. })
        {
            let mut check = Check::new(&self.pipeline_config, &self.checkpoint_dir);
            check.checkpoint.clone_from(&self.checkpoint);
            let report = check.compare(configured, Vec::new()).ok();
            let report = report.filter(|report| report.verdict == Verdict::Unsupported);
            *advice = report.and_then(|report| report.advice());
        }
        error
    }

    /// The options with which the whole network is built.
    fn whole_options(&self, configured: &Configured) -> Result<GraphOptions, ExportError> {
        let options = configured.options();
        let mut options = options.map_err(|source| ExportError::KeypointLabels {
            config: self.pipeline_config.clone(),
            source,
        })?;
        // Side inputs decide on the sizes of layers, and they are of a batch.
        options.side_inputs.clone_from(&self.graph.side_inputs);
        options.batch = self.graph.batch;
        Ok(options)
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
}

/// Pairs of keypoints, by their place, between which the evaluation draws lines; of a model that has so many keypoints. And what to say of pairs that it cannot have.
fn keypoint_edges(
    config: &PipelineConfig,
    num_keypoints: usize,
) -> (Vec<[i32; 2]>, Option<String>) {
    if num_keypoints == 0 {
        return (Vec::new(), None);
    }
    let evaluation = config.message().eval_config.iter();
    let edges = evaluation.flat_map(|evaluation| &evaluation.keypoint_edge);
    let edges = edges.map(|edge| [edge.start(), edge.end()]);
    let is_place = |place: &i32| usize::try_from(*place).is_ok_and(|place| place < num_keypoints);
    let numbered: Vec<(usize, [i32; 2])> = edges.enumerate().collect();
    let mut wrong = numbered
        .iter()
        .filter(|(_, edge)| !edge.iter().all(is_place));
    let warning = wrong.next().map(|(number, [start, end])| {
        let others = match wrong.count() {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        format!(
            "`eval_config.keypoint_edge[{number}]` is from {start} to {end}{others}; expected places of keypoints, 0 to {}: left out of the manifest",
            num_keypoints - 1
        )
    });
    let right = numbered.into_iter().map(|(_, edge)| edge);
    (
        right.filter(|edge| edge.iter().all(is_place)).collect(),
        warning,
    )
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
    let (was, stays, it) = match left {
        [] => return None,
        [_] => ("was", "stays", "it"),
        _ => ("were", "stay", "they"),
    };
    Some(format!(
        "{} {was} in the output folder before and {stays} there; {it} may be of another model than the files of this export",
        left.join(", ")
    ))
}

/// What to say of folders whose part of an earlier export was removed, and that hold something else.
fn emptied_warning(emptied: &[String]) -> Option<String> {
    (!emptied.is_empty()).then(|| {
        format!(
            "what the earlier export wrote in {} is removed; what no export wrote there stays",
            emptied.join(", ")
        )
    })
}

/// The name of a file without its folders.
fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// A file that the export is made from, for the manifest.
fn source(path: &Path) -> Result<manifest::SourceFile, ExportError> {
    let source =
        File::open(path).and_then(|mut file| manifest::SourceFile::new(file_name(path), &mut file));
    Ok(source.map_err(failed(path, "read"))?)
}

/// A path with more text at its end, a dot in its name or not.
fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(ending);
    text.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn edges_join_keypoints_that_there_are() {
        let edges = |text: &str, count| {
            let text = format!("eval_config {{ {text} }}");
            let parsed = PipelineConfig::parse("test", text.as_bytes()).unwrap();
            keypoint_edges(&parsed.config, count)
        };
        let right = "keypoint_edge { start: 0 end: 2 } keypoint_edge { start: 2 end: 1 }";
        assert_eq!(edges(right, 3), (vec![[0, 2], [2, 1]], None));
        assert_eq!(edges(right, 0), (vec![], None));
        let wrong = format!(
            "{right} keypoint_edge {{ start: -1 end: 0 }} keypoint_edge {{ start: 0 end: 3 }}"
        );
        let (left, warning) = edges(&wrong, 3);
        assert_eq!(left, [[0, 2], [2, 1]]);
        let text = "`eval_config.keypoint_edge[2]` is from -1 to 0, and 1 more; expected places of keypoints, 0 to 2";
        assert!(warning.unwrap().starts_with(text));
    }

    #[test]
    fn what_is_found_of_objects_alone_is_said_to_be_left_out_before_there_are_objects() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipeline.config");
        let text = "model { center_net { mask_estimation_task { } temporal_offset_task { } } }";
        std::fs::write(&path, text).unwrap();
        let mut export = Export::new(&path, folder.path(), folder.path().join("out"));
        let warnings = |export: &Export| export.configuration().unwrap().warnings;
        assert!(warnings(&export).is_empty());
        export.graph.stage = Stage::Boxes;
        let text = "a graph that ends before non-max suppression gives boxes and scores alone; left out: masks of 256 x 256; movements since the image before";
        assert_eq!(warnings(&export), [text]);
    }
}
