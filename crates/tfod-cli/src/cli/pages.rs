//! `tfod completions` and `tfod man`: what shells and readers of manuals want of the command line.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;
use tfod::Destination;

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
        let pages = match pages() {
            Ok(pages) => pages,
            Err(error) => return output::failure(&error),
        };
        for (name, text) in pages {
            let written = Destination::File(folder.join(name)).write_text(&text);
            if let Err(error) = written {
                return output::failure(&error);
            }
        }
        ExitCode::SUCCESS
    }
}

/// All pages by the names of their files.
fn pages() -> io::Result<Vec<(String, String)>> {
    let mut cli = Cli::command().disable_help_subcommand(true);
    cli.build();
    let commands = cli
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    std::iter::once(cli.clone())
        .chain(commands.cloned())
        .map(|command| {
            let man = clap_mangen::Man::new(command);
            let mut page = Vec::new();
            man.render(&mut page)?;
            let page = String::from_utf8_lossy(&page);
            Ok((man.get_filename(), with_tables(&page)))
        })
        .collect()
}

/// A page in which lines that begin with spaces, of tables and examples, stand as they are.
fn with_tables(page: &str) -> String {
    let mut text = String::new();
    let mut in_table = false;
    for line in page.lines() {
        if line.starts_with("  ") != in_table {
            in_table = !in_table;
            text.push_str(if in_table { ".nf\n" } else { ".fi\n" });
        }
        text.push_str(line);
        text.push('\n');
    }
    if in_table {
        text.push_str(".fi\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_manual_pages_are_not_filled() {
        assert_eq!(
            with_tables("Text\n  a  b\n  c  d\n\nMore\n  e\n"),
            "Text\n.nf\n  a  b\n  c  d\n.fi\n\nMore\n.nf\n  e\n.fi\n"
        );
    }

    #[test]
    fn there_is_a_page_for_each_command() {
        let pages = pages().expect("text");
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names.first(), Some(&"tfod.1"));
        for name in ["tfod-export.1", "tfod-freeze.1", "tfod-man.1"] {
            assert!(names.contains(&name), "{names:?}");
        }
        let (_, export) = pages
            .iter()
            .find(|(name, _)| name == "tfod-export.1")
            .expect("listed above");
        assert!(
            export.contains(".nf\n  saved_model  saved_model/\n"),
            "{export}"
        );
        assert!(export.contains("\\fBtfod export\\fR"), "{export}");
    }
}
