//! The command line: one file a subcommand, whose documentation is the help text.
//!
//! Exit codes: 0 when all was done, 1 when something prevented it, 2 when the command line itself is wrong. Comparisons have those of `diff`: 0 the same, 1
//! different, 2 something prevented it.

mod check;
mod diff;
mod export;
mod flags;
mod freeze;
mod inspect;
mod output;
mod pages;
mod progress;
mod signals;
mod spelling;
mod trained;
mod verify;

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
    Export(Box<export::Args>),
    Freeze(freeze::Args),
    Inspect(inspect::Args),
    Diff(diff::Args),
    Verify(verify::Args),
    Completions(pages::Completions),
    Man(pages::Man),
}

const EXAMPLES: &str = "\
Examples:
  tfod check --pipeline_config_path train/pipeline.config --trained_checkpoint_dir train
  tfod export --pipeline_config_path train/pipeline.config --trained_checkpoint_dir train \\
      --output_directory exported
  tfod freeze --saved_model_dir exported/saved_model --output frozen.pb
  tfod inspect exported/saved_model

Exit status:
  0  done
  1  something prevented it; the message says what, where, and what to do
  2  the command line is wrong
  Comparisons (diff, verify): 0 the same, 1 different, 2 something prevented it

Environment:
  TFOD_PROGRESS=lines  print each step of long work on a line of standard error, for programs that
                       show it; TFOD_PROGRESS=none shows no steps on a terminal either";

/// Runs a command line, the program's name first.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.peekable();
    let program = arguments.next();
    if arguments
        .next_if(|argument| argument == verify::RUN_MODEL)
        .is_some()
    {
        return verify::run_model(arguments);
    }
    let arguments = program.into_iter().chain(arguments);
    let cli = match Cli::try_parse_from(spelling::normalise(arguments)) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come here too, and go to standard output.
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    signals::handle();
    match cli.command {
        Command::Check(args) => args.run(),
        Command::Export(args) => args.run(),
        Command::Freeze(args) => args.run(),
        Command::Inspect(args) => args.run(),
        Command::Diff(args) => args.run(),
        Command::Verify(args) => args.run(),
        Command::Completions(args) => args.run(),
        Command::Man(args) => args.run(),
    }
}
