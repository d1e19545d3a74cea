//! The `tfod` command.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(unix)]
    tfod_checkpoint::guard_maps();
    cli::run(std::env::args_os())
}
