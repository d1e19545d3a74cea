//! This program, started by itself to run a model in a process with a limit of memory.

use std::ffi::OsString;
use std::process::ExitCode;

use tfod_runtime::Launch;

use super::output;

/// The first argument with which this program starts itself to run a model. It is no subcommand: what comes in is no text, nor what goes out.
pub(super) const RUN_MODEL: &str = "--run-model";

/// An amount of memory: more than 0.
pub(super) fn gigabytes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && number <= 1e6 => Ok(number),
        _ => Err("expected a number of gigabytes, such as 8".to_owned()),
    }
}

/// How to start this program to run a model; with as many threads as there are cores, if it is not said how many.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and 10^15, rounded down"
)]
pub(super) fn launch(gigabytes: f64, threads: Option<u32>) -> Result<Launch, String> {
    let program = std::env::current_exe()
        .map_err(|error| format!("this program does not find its own file: {error}"))?;
    Ok(Launch {
        program,
        arguments: vec![RUN_MODEL.into()],
        memory: (gigabytes * 1e9) as u64,
        threads,
    })
}

/// Runs a model for another process of this program.
pub(super) fn run_model(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    // What Rust prints of a panic in the runtime goes nowhere: it is an answer.
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let thread = std::thread::current();
        if !thread.name().is_some_and(tfod_runtime::is_of_runtime) {
            print(info);
        }
    }));
    match tfod_runtime::serve(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::error(&error),
    }
}
