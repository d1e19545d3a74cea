//! tfod as a library: what the `tfod` command does, callable.
//!
//! The pieces are crates of their own: `tfod-checkpoint` (tensor bundles), `tfod-config` (pipeline configs), `tfod-models`
//! (architectures), `tfod-graph` (the graph between), `tfod-tensorflow` (SavedModels). This crate joins them: [`Export`] goes from a
//! training checkpoint to an export folder, [`Freeze`] from a SavedModel to one file.
//!
//! ```no_run
//! use tfod::{Export, Format, InputType};
//!
//! let report = Export {
//!     input_type: InputType::ImageTensor,
//!     pipeline_config: "train/pipeline.config".into(),
//!     checkpoint_dir: "train".into(),
//!     checkpoint: None,
//!     config_override: String::new(),
//!     formats: vec![Format::SavedModel],
//!     output: "exported".into(),
//! }
//! .run()?;
//! println!("{} variables found", report.variables);
//! # Ok::<(), tfod::ExportError>(())
//! ```

mod export;
mod freeze;
mod trained;
mod write_behind;

pub use export::{
    Export, ExportError, ExportReport, Format, Interface, Misfit, MisfitVariable, TensorInfo,
    Unused,
};
pub use freeze::{Freeze, FreezeFileError, FreezeReport};
pub use tfod_checkpoint::DType as StoredType;
pub use tfod_models::InputType;
pub use tfod_tensorflow::{Endpoint, FreezeError, FreezeOptions};
pub use trained::TrainedModel;
