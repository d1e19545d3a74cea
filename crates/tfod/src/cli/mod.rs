//! The command line: one file a subcommand, whose documentation is the help text.
//!
//! Exit codes: 0 when all was done, 1 when something prevented it, 2 when the command line itself is wrong.

mod check;
mod export;
mod freeze;
mod output;
mod spelling;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Export TensorFlow 2 Object Detection API checkpoints and freeze SavedModels, without Python and without TensorFlow
#[derive(Debug, Parser)]
#[command(name = "tfod", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Args),
    Export(export::Args),
    Freeze(freeze::Args),
}

const EXAMPLES: &str = "\
Examples:
  tfod check --pipeline_config_path train/pipeline.config --trained_checkpoint_dir train
  tfod export --pipeline_config_path train/pipeline.config --trained_checkpoint_dir train \\
      --output_directory exported
  tfod freeze --saved_model_dir exported/saved_model --output frozen.pb

Exit status:
  0  done
  1  something prevented it; the message says what, where, and what to do
  2  the command line is wrong";

/// Runs a command line, the program's name first.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(spelling::normalise(arguments)) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come here too, and go to standard output.
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match cli.command {
        Command::Check(args) => args.run(),
        Command::Export(args) => args.run(),
        Command::Freeze(args) => args.run(),
    }
}
