//! `tfod completions` and `tfod man`: what shells and readers of manuals want of the command line.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, output};

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = COMPLETIONS)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

const COMPLETIONS: &str = "\
Examples:
  tfod completions bash > ~/.local/share/bash-completion/completions/tfod
  tfod completions zsh > ~/.zfunc/_tfod
  tfod completions fish > ~/.config/fish/completions/tfod.fish";

/// Write the manual pages: tfod.1 and one for each command
#[derive(Debug, clap::Args)]
#[command(after_help = MAN)]
pub(super) struct Man {
    /// Where they go; made if it is not there
    #[arg(long = "output_directory", value_name = "DIR")]
    output_directory: PathBuf,
}

const MAN: &str = "\
Examples:
  tfod man --output_directory ~/.local/share/man/man1
  man tfod-export";

impl Completions {
    pub(super) fn run(self) -> ExitCode {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "tfod", &mut script);
        match io::stdout().write_all(&script) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => output::failure(&error),
            _ => ExitCode::SUCCESS,
        }
    }
}

impl Man {
    pub(super) fn run(self) -> ExitCode {
        let folder = &self.output_directory;
        let written = std::fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
        match written {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => output::failure(&format!(
                "{}: cannot write the pages: {error}",
                folder.display()
            )),
        }
    }
}
