//! The trained model that a command is about: flags that several have.

use std::path::PathBuf;

use tfod::{CheckpointError, ConfigError};
use tfod_text::Shown;

#[derive(Debug, clap::Args)]
pub(super) struct Trained {
    /// The pipeline.config that the model was trained with
    #[arg(long = "pipeline_config_path", value_name = "FILE")]
    pub(super) pipeline_config: PathBuf,

    /// The folder that training wrote to; or the prefix of one checkpoint, such as train/ckpt-12
    #[arg(long = "trained_checkpoint_dir", value_name = "DIR")]
    pub(super) checkpoint_dir: PathBuf,

    /// Which checkpoint of the folder: a number (12), a name (ckpt-12) or a prefix
    ///
    /// Without it, the one that the folder's `checkpoint` file names; in a folder without that file, the highest-numbered one.
    #[arg(long = "checkpoint", value_name = "CHECKPOINT")]
    pub(super) checkpoint: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ConfigOverride {
    /// Text merged into the configuration: 'model { ssd { post_processing { … } } }'
    #[arg(
        long = "config_override",
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(super) config_override: String,
}

/// An error of the config, with the flag that gives an override where that is what it is about.
pub(super) fn of_config(error: &ConfigError) -> String {
    match error {
        ConfigError::Text(diagnostic) if diagnostic.origin == ConfigError::OVERRIDE => {
            let mut diagnostic = diagnostic.clone();
            "--config_override".clone_into(&mut diagnostic.origin);
            diagnostic.to_string()
        }
        error => error.to_string(),
    }
}

/// An error of the checkpoint, with the flag that chooses another one where there is another.
pub(super) fn with_flag(error: &CheckpointError) -> String {
    let choices = match error {
        CheckpointError::NoCheckpoint { choices, .. } => choices.as_slice(),
        _ => &[],
    };
    match choices.first() {
        Some(choice) => format!("{error}; try --checkpoint {}", choice.shown()),
        None => error.to_string(),
    }
}
