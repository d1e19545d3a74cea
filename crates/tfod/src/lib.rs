//! tfod as a library: what the `tfod` command does, callable.
//!
//! The pieces are crates of their own: `tfod-checkpoint` (tensor bundles), `tfod-config` (pipeline configs), `tfod-models`
//! (architectures), `tfod-graph` (the graph between), `tfod-tensorflow` (SavedModels). This crate joins them: [`Export`] goes from a
//! training checkpoint to an export folder.
//!
//! ```no_run
//! use tfod::{Export, InputType};
//!
//! let report = Export {
//!     input_type: InputType::ImageTensor,
//!     pipeline_config: "train/pipeline.config".into(),
//!     checkpoint_dir: "train".into(),
//!     checkpoint: None,
//!     config_override: String::new(),
//!     output: "exported".into(),
//! }
//! .run()?;
//! println!("{} variables in {} bytes", report.saved_model.num_variables, report.saved_model.variables_bytes);
//! # Ok::<(), tfod::ExportError>(())
//! ```

mod export;
mod trained;

pub use export::{
    Export, ExportError, ExportReport, Interface, Misfit, MisfitVariable, TensorInfo, Unused,
};
pub use tfod_models::InputType;
pub use trained::TrainedModel;
