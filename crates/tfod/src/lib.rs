//! tfod as a library: what the `tfod` command does, callable.
//!
//! The pieces are crates of their own: `tfod-checkpoint` (tensor bundles), `tfod-config` (pipeline configs), `tfod-models`
//! (architectures), `tfod-graph` (the graph between), `tfod-formats` (what formats are called), `tfod-tensorflow` (SavedModels and frozen graphs), `tfod-onnx` and
//! `tfod-tflite` (ONNX and TFLite models). This crate joins them: [`Export`] goes from a
//! training checkpoint to an export folder, [`Freeze`] from a SavedModel to one file; [`Check`] says beforehand whether a checkpoint fits a
//! config. The command `tfod` is `tfod-cli`; looking into files and comparing them is in `tfod-inspect` and `tfod-verify`.
//!
//! ```no_run
//! use tfod::{Batch, Export, Format};
//!
//! let mut export = Export::new("train/pipeline.config", "train", "exported");
//! export.formats = vec![Format::SavedModel, Format::Onnx];
//! export.graph.batch = Some(Batch::Dynamic);
//! let report = export.run()?;
//! println!("{} variables found", report.variables);
//! # Ok::<(), tfod::ExportError>(())
//! ```
//!
//! # The crates by hand
//!
//! An export is these steps, and what is said of them. A program that needs other ones, such as a model in memory, composes the crates itself:
//!
//! ```
//! use tfod::{GraphOptions, InputType, TrainedModel};
//! use tfod_config::PipelineConfig;
//! use tfod_onnx::{OnnxWriter, Options};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let train = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shapes");
//! let config = PipelineConfig::read(&train.join("pipeline.config"))?.config;
//! let network = config.message().model.as_ref().ok_or("the config has no model")?;
//! let model = tfod_models::build(network, &GraphOptions::new(InputType::FloatImageTensor))?;
//!
//! let trained = TrainedModel::open(&train.join("checkpoint"), None)?;
//! let weights = trained.weights(&model.graph)?;
//!
//! let mut onnx = Vec::new();
//! let writer = OnnxWriter::new(&model.graph, &weights, &Options::default())?;
//! let summary = writer.write_to(&mut onnx, None)?;
//! assert_eq!(onnx.len() as u64, summary.onnx_bytes);
//! # Ok(())
//! # }
//! ```

mod check;
mod export;
mod freeze;
mod judgement;
mod keypoint_labels;
mod output;
mod progress;
mod report;
mod trained;
mod write_behind;

pub use check::{
    Check, CheckError, CheckReport, CheckpointKind, ConfigKind, Counts, Family, Suggestion, Verdict,
};
pub use export::{
    Export, ExportError, ExportReport, FormatOption, FormatReport, Interface, InterfaceTensor,
    Layout, Misfit, MisfitVariable, OnnxOptions, OptionValue, SignatureOptions, TfliteOptions,
    Thresholds, Unused,
};
pub use freeze::{Freeze, FreezeFileError, FreezeReport};
pub use keypoint_labels::KeypointLabelsError;
pub use output::{Destination, OutputError, Scratch, discard_unfinished};
pub use progress::Step;
pub use report::{bytes, count};
pub use tfod_checkpoint::DType as StoredType;
pub use tfod_checkpoint::{Error as CheckpointError, Found as CheckpointFound};
pub use tfod_config::{ConfigError, Diagnostic};
pub use tfod_formats::Format;
pub use tfod_graph::{DType, Dim, Shape, ValidateError};
pub use tfod_models::fit::{Cause, Explanation};
pub use tfod_models::{
    Batch, ClassThreshold, FieldPath, GraphOption, GraphOptions, InputType, KeypointLabels,
    ModelError, NoEnding, SideInput, Stage,
};
pub use tfod_onnx::Error as OnnxError;
pub use tfod_onnx::{ExternalData, InputLayout, OPSETS};
pub use tfod_tensorflow::{
    Changed, Endpoint, Error as SavedModelError, FreezeError, FreezeOptions, FrozenTable,
    InputShape, NodePlace, Update,
};
pub use tfod_tflite::{Error as TfliteError, Suppression as TfliteSuppression, WeightType};
pub use trained::TrainedModel;
