//! An error instead of a panic.

#[cfg(not(target_family = "wasm"))]
use std::any::Any;
use std::fmt::Display;
use std::path::Path;
#[cfg(not(target_family = "wasm"))]
use std::thread;

use crate::Error;

/// Address space for a stack: graphs nested in graphs are read by recursion.
#[cfg(not(target_family = "wasm"))]
const STACK_BYTES: usize = 64 << 20;

/// Does something with a model in a thread of its own.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn run<T: Send, E: Display>(
    path: &Path,
    what: &'static str,
    work: impl FnOnce() -> Result<T, E> + Send,
) -> Result<T, Error> {
    let failed = |problem| Error::Model {
        path: path.to_owned(),
        what,
        problem,
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name(crate::THREAD.to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || work().map_err(|error| format!("{error:#}")))
            .map_err(|error| failed(format!("no thread for it: {error}")))?;
        match thread.join() {
            Ok(done) => done.map_err(failed),
            Err(payload) => Err(failed(format!(
                "the runtime panicked: {}",
                message(&payload)
            ))),
        }
    })
}

/// Does something with a model. There are no threads, and a panic ends the instance of the module, as its host sees.
#[cfg(target_family = "wasm")]
pub(crate) fn run<T, E: Display>(
    path: &Path,
    what: &'static str,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, Error> {
    work().map_err(|error| Error::Model {
        path: path.to_owned(),
        what,
        problem: format!("{error:#}"),
    })
}

/// What a panic said.
#[cfg(not(target_family = "wasm"))]
fn message(payload: &Box<dyn Any + Send>) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or(payload.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_panic_is_an_error() {
        let path = Path::new("model.onnx");
        let sizes: Vec<usize> = Vec::new();
        let found = run(path, "cannot be run", || Ok::<usize, String>(sizes[3]));
        let error = found.unwrap_err().to_string();
        let start = "model.onnx: cannot be run: the runtime panicked: index out of bounds";
        assert!(error.starts_with(start), "{error}");
        let done = run(path, "cannot be run", || Ok::<_, String>(1)).unwrap();
        assert_eq!(done, 1);
    }
}
