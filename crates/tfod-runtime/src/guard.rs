//! An error instead of a panic.

use std::any::Any;
use std::fmt::Display;
use std::path::Path;
use std::thread;

use crate::{Error, THREAD};

/// Address space for a stack: graphs nested in graphs are read by recursion.
const STACK_BYTES: usize = 64 << 20;

/// Does something with tract's code in a thread of its own.
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
            .name(THREAD.to_owned())
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

/// What a panic said.
fn message(payload: &Box<dyn Any + Send>) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or(payload.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}
