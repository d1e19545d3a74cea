//! The command line: one file a subcommand, whose documentation is the help text.
//!
//! Exit codes: 0 when all was done, 1 when something prevented it, 2 when the command line itself is wrong. Comparisons have those of `diff`: 0 the same, 1
//! different, 2 something prevented it.

mod absl;
mod apart;
mod check;
mod detect;
mod diff;
mod export;
mod flags;
mod format_flags;
mod freeze;
mod inspect;
mod output;
mod pages;
mod progress;
mod signals;
mod spelling;
mod trained;
mod values;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

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
    Detect(Box<detect::Args>),
    Completions(pages::Completions),
    Man(pages::Man),
}

const EXAMPLES: &str = "\
Examples:
  tfod check --pipeline_config_path train/pipeline.config \\
      --trained_checkpoint_dir train
  tfod export --pipeline_config_path train/pipeline.config \\
      --trained_checkpoint_dir train --output_directory exported
  tfod freeze --saved_model_dir exported/saved_model --output frozen.pb
  tfod inspect exported/saved_model
  tfod detect exported street.jpg --output found

Exit status:
  0  done
  1  something prevented it; the message says what, where, and what to do
  2  the command line is wrong
  Comparisons (diff, verify): 0 the same, 1 different, 2 something
  prevented it

Environment:
  TFOD_PROGRESS=lines  print each step of long work on a line of standard error,
                       for programs that show it
  TFOD_PROGRESS=none   show no steps on a terminal either";

/// Runs a command line, the program's name first.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.peekable();
    let program = arguments.next();
    if arguments
        .next_if(|argument| argument == apart::RUN_MODEL)
        .is_some()
    {
        return apart::run_model(arguments);
    }
    let (arguments, flag_files) = match absl::read_flag_files(program.into_iter().chain(arguments))
    {
        Ok((arguments, files)) => (spelling::normalise(arguments.into_iter()).collect(), files),
        Err(problem) => return output::usage(&problem),
    };
    let resolved = match absl::resolve(arguments, &Cli::command()) {
        Ok(resolved) => resolved,
        Err(problem) => return output::usage(&problem),
    };
    if let Some(request) = resolved.request {
        return output::print(&request.answer(&mut Cli::command()));
    }
    let note = resolved.note();
    let cli = match Cli::try_parse_from(resolved.arguments) {
        Ok(cli) => cli,
        Err(error) => return output::of_parser(&error),
    };
    if let Some(note) = note {
        output::warn(&note);
    }
    signals::handle();
    match cli.command {
        Command::Check(args) => args.run(),
        Command::Export(args) => args.run(flag_files),
        Command::Freeze(args) => args.run(),
        Command::Inspect(args) => args.run(),
        Command::Diff(args) => args.run(),
        Command::Verify(args) => args.run(),
        Command::Detect(args) => args.run(),
        Command::Completions(args) => args.run(),
        Command::Man(args) => args.run(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns that a terminal of 80 leaves to the help of an argument, and to a section.
    const ARGUMENT: usize = 70;
    const SECTION: usize = 80;

    /// Tables and examples begin with spaces. In lines that are too long, words would move out of their columns, and commands could not be copied.
    #[test]
    fn tables_and_examples_fit_where_they_are_shown() {
        let mut long = Vec::new();
        let mut check = |place: &str, text: Option<&clap::builder::StyledStr>, most: usize| {
            let text = text.map(ToString::to_string).unwrap_or_default();
            let lines = text.lines().filter(|line| line.starts_with("  "));
            let lines = lines.filter(|line| line.chars().count() > most);
            long.extend(lines.map(|line| format!("{place}: {line}")));
        };
        let cli = Cli::command();
        check("tfod", cli.get_after_help(), SECTION);
        for command in cli.get_subcommands() {
            let name = command.get_name();
            check(name, command.get_long_about(), SECTION);
            check(name, command.get_after_help(), SECTION);
            for argument in command.get_arguments() {
                check(name, argument.get_long_help(), ARGUMENT);
            }
        }
        assert!(long.is_empty(), "{}", long.join("\n"));
    }
}
