//! `pipeline.config`: the message `TrainEvalPipelineConfig`, read, overridden and printed.
//!
//! The config is kept both as a struct, for code that builds a model from it, and by field, for merging and printing.

use std::path::Path;

use prost_reflect::DynamicMessage;

use tfod_text::Shown;

use crate::text::{self, SkippedBlock, SourceText};
use crate::{ConfigError, files, protos};

/// The blocks that inference does not read, where damage is a warning.
const TRAINING_BLOCKS: [&str; 4] = [
    "train_config",
    "train_input_reader",
    "eval_config",
    "eval_input_reader",
];

/// A config that fits the schema.
#[derive(Debug, Clone)]
pub struct PipelineConfig {
    fields: DynamicMessage,
    message: protos::TrainEvalPipelineConfig,
}

/// What reading a `pipeline.config` gives.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The config, without the blocks left out.
    pub config: PipelineConfig,
    /// The blocks left out, in the order of the text. Empty for a file that the reference would read.
    pub warnings: Vec<SkippedBlock>,
}

impl PipelineConfig {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or is no config's size; else as [`parse`](Self::parse).
    pub fn read(path: &Path) -> Result<Parsed, ConfigError> {
        Self::parse(&path.shown().to_string(), &Self::content(path)?)
    }

    /// The bytes of the file at `path`, for [`parse`](Self::parse). A pipe gives them once only.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or is no config's size.
    pub fn content(path: &Path) -> Result<Vec<u8>, ConfigError> {
        files::read(path, "pipeline config")
    }

    /// Reads a config from the content of a file; errors name it `origin`.
    ///
    /// A field or value in `train_config`, `train_input_reader`, `eval_config` or an `eval_input_reader` that does not
    /// fit the schema becomes a warning, and that block is left out.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Text`] with the place and the problem, for everything else that the reference would refuse.
    pub fn parse(origin: &str, bytes: &[u8]) -> Result<Parsed, ConfigError> {
        let source = SourceText::decode(origin, bytes)?;
        let mut fields = DynamicMessage::new(protos::descriptor("TrainEvalPipelineConfig"));
        let merged = text::merge(source, &mut fields, &TRAINING_BLOCKS)
            .map_err(|diagnostic| source.problem_of_file(diagnostic))?;
        Ok(Parsed {
            config: Self::from_fields(origin, fields)?,
            warnings: merged.skipped,
        })
    }

    /// Merges a text into the config: scalars replace, messages merge, lists grow.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Text`] for a text that does not fit the schema in whatever block, with [`ConfigError::OVERRIDE`] as its origin; the config is unchanged then.
    pub fn merge_override(&mut self, text: &str) -> Result<(), ConfigError> {
        let origin = ConfigError::OVERRIDE;
        let source = SourceText::decode(origin, text.as_bytes())?;
        let mut fields = self.fields.clone();
        text::merge(source, &mut fields, &[])?;
        *self = Self::from_fields(origin, fields)?;
        Ok(())
    }

    fn from_fields(origin: &str, fields: DynamicMessage) -> Result<Self, ConfigError> {
        let message = fields
            .transcode_to()
            .map_err(|source| ConfigError::Schema {
                origin: origin.to_owned(),
                source,
            })?;
        Ok(Self { fields, message })
    }

    /// The config as a struct; see [`protos`] on reading its fields.
    pub fn message(&self) -> &protos::TrainEvalPipelineConfig {
        &self.message
    }

    /// The config by field.
    pub(crate) fn fields(&self) -> &DynamicMessage {
        &self.fields
    }

    /// Prints the config: byte for byte the `pipeline.config` that the official exporter writes for it.
    pub fn to_text(&self) -> String {
        text::print(&self.fields)
    }
}
