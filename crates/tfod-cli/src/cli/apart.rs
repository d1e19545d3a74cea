//! This program, started by itself to run a model in a process with a limit of memory.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use tfod_runtime::{Launch, Runtime, find_onnx_runtime};

use super::output;

/// The first argument with which this program starts itself to run a model. It is no subcommand: what comes in is no text, nor what goes out.
pub(super) const RUN_MODEL: &str = "--run-model";

/// How models are run.
#[derive(Debug, clap::Args)]
pub(super) struct Running {
    /// What computes
    ///
    ///   own          the runtime in this program; nothing else is needed
    ///   onnxruntime  an ONNX Runtime that is installed, 1.17 or newer, such
    ///                as that of pip install onnxruntime: mostly faster; its
    ///                results differ by rounding
    #[arg(
        long = "runtime",
        value_name = "RUNTIME",
        verbatim_doc_comment,
        default_value = "own",
        hide_possible_values = true
    )]
    pub(super) runtime: RuntimeOf,

    /// The shared library of --runtime onnxruntime, its folder, or an environment of Python with the package; without it, what the environment variable ORT_DYLIB_PATH names, then the active environment of Python, then the system's
    #[arg(long = "runtime_library", value_name = "PATH")]
    pub(super) library: Option<PathBuf>,

    /// The memory limit (RLIMIT_DATA) of the process that runs a model, in gigabytes; enforced on Linux only
    #[arg(long = "max_memory", value_name = "GB", default_value_t = MAX_MEMORY, value_parser = gigabytes)]
    pub(super) max_memory: f64,
}

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum RuntimeOf {
    Own,
    #[value(name = "onnxruntime")]
    OnnxRuntime,
}

const MAX_MEMORY: f64 = 8.0;

/// An amount of memory: more than 0.
fn gigabytes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && number <= 1e6 => Ok(number),
        _ => Err("expected a number of gigabytes, such as 8".to_owned()),
    }
}

impl Running {
    /// Whether nothing was asked for.
    pub(super) fn is_default(&self) -> bool {
        let is_usual = self.runtime == RuntimeOf::Own && self.library.is_none();
        is_usual && (self.max_memory - MAX_MEMORY).abs() < f64::EPSILON
    }

    /// How to start this program to run a model; with as many threads as there are cores, if it is not said how many.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 10^15, rounded down"
    )]
    pub(super) fn launch(&self, threads: Option<u32>) -> Result<Launch, String> {
        let program = std::env::current_exe()
            .map_err(|error| format!("this program does not find its own file: {error}"))?;
        let runtime = match self.runtime {
            RuntimeOf::OnnxRuntime => {
                Runtime::OnnxRuntime(find_onnx_runtime(self.library.as_deref())?)
            }
            RuntimeOf::Own if self.library.is_some() => {
                return Err(
                    "--runtime_library is that of --runtime onnxruntime; add that".to_owned(),
                );
            }
            RuntimeOf::Own => Runtime::Own,
        };
        Ok(Launch {
            program,
            arguments: vec![RUN_MODEL.into()],
            memory: (self.max_memory * 1e9) as u64,
            threads,
            runtime,
        })
    }
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
