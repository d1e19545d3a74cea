//! Runs ONNX models, so that what they compute can be compared.
//!
//! The work is [rten](https://github.com/robertknight/rten)'s, but for two operators: it has another `NonMaxSuppression` than ONNX defines, and no
//! `RoiAlign`. These are computed here; a graph is cut at such nodes into stages, each a model of rten's. This crate also puts around it what untrusted
//! files need (an error instead of a panic, none of the shapes that a file claims), and it knows neither images nor detections.
//!
//! ```text
//! model.onnx ─ Model::open ─▶ Model ─ run ─▶ outputs
//!            ─ Session::open ─▶ Session, here or in a process of its own ─ run ─▶ outputs
//! ```
//!
//! # What can be relied on
//!
//! * Operators of ONNX's standard domain are evaluated as rten does, and those of other domains refused. The parity tests compare the networks that
//!   this project writes, and every operator in them, with the reference and with other runtimes. What rten is known to compute otherwise than ONNX
//!   defines it is computed here, or refused with the operator's name: types that it has not (64-bit floats, 16-bit integers), whole numbers
//!   in a model that need more than 32 bits, cubic resizing, and operators of sets that are too old.
//! * 64-bit integers are computed in 32 bits, 16-bit floats in 32. A whole number that *becomes* larger than 32 bits hold, while a model runs, is not noticed.
//! * rten sums floats in its own order, so results differ from other runtimes' by rounding; the same model, run again, gives the same bits.
//! * Sizes that a model leaves open (`batch`, `height`) are those of its inputs.
//! * Several threads compute. How many says the environment variable `RTEN_NUM_THREADS`; otherwise they are as many as there are cores.
//! * A panic is an [`Error`]. What is done with a model is done in threads for which [`is_of_runtime`] holds, so that the message that Rust prints of
//!   a panic can be kept from the terminal by a hook.
//! * In WebAssembly there are no threads and no files: models come from memory ([`Model::from_bytes`]), and a panic ends the module's instance.
//! * Without the feature `rten` every model is refused.
//! * With the feature `onnxruntime`, a [`Launch`] can say that an ONNX Runtime computes ([`Runtime`]), whose shared library is found by [`find_onnx_runtime`]. What is said above
//!   of operators and panics is said of rten alone: a library of C++ may end the process, which is an [`Error`] here.
//! * Time is *not* bounded: a model is a program, and this runs it. Nor is memory, but in a [`Session`] with a process of its own, which has
//!   as much as its [`Launch`] says: what asks for more is an [`Error`] here, and so is every end of that process.
//!
//! # Example
//!
//! ```no_run
//! use tfod_runtime::{Model, Tensor, Values};
//!
//! # fn main() -> Result<(), tfod_runtime::Error> {
//! let model = Model::open("model.onnx".as_ref())?;
//! let image = Tensor::new(vec![1, 320, 320, 3], Values::U8(vec![0; 320 * 320 * 3]))?;
//! let inputs = [("input_tensor", &image)];
//! for (name, tensor) in model.run(&inputs)? {
//!     println!("{name}: {:?}", tensor.shape());
//! }
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "rten")]
mod convert;
#[cfg(feature = "rten")]
mod cut;
#[cfg(feature = "rten")]
mod guard;
mod library;
#[cfg(feature = "rten")]
mod model;
#[cfg(not(feature = "rten"))]
#[path = "without.rs"]
mod model;
#[cfg(feature = "rten")]
mod onnx;
#[cfg(feature = "onnxruntime")]
mod onnxruntime;
#[cfg(not(feature = "onnxruntime"))]
#[path = "onnxruntime_without.rs"]
mod onnxruntime;
#[cfg(feature = "rten")]
mod operators;
#[cfg(feature = "rten")]
mod refuse;
#[cfg(feature = "rten")]
mod rewrite;
mod session;
mod tensor;
mod wire;

use std::path::{Path, PathBuf};

use tfod_text::Shown;

pub use library::find_onnx_runtime;
pub use model::Model;
pub use session::{Launch, Runtime, Session, serve};
pub use tensor::{Tensor, Values};

/// The name of the threads in which models are read, and in which what is not rten's is computed.
#[cfg(all(feature = "rten", not(target_family = "wasm")))]
const THREAD: &str = "tfod-runtime";

/// Whether a thread is one of those in which models are read and run, by its name.
pub fn is_of_runtime(thread: &str) -> bool {
    // rten's threads have numbers.
    thread == "tfod-runtime" || thread.starts_with("rten-")
}

/// Whether there is a runtime in this build.
pub const IS_THERE: bool = cfg!(feature = "rten");

/// Why a model cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be read or run.
    #[error("{}: {what}: {problem}", path.shown())]
    Model {
        /// The model's file.
        path: PathBuf,
        /// What was being done.
        what: &'static str,
        /// What is wrong, with the node in question.
        problem: String,
    },
    /// The inputs given are not those of the model.
    #[error("{}: {}", path.shown(), other_inputs(expected, found))]
    Inputs {
        /// The model's file.
        path: PathBuf,
        /// Names of the model's inputs.
        expected: Vec<String>,
        /// Names of the inputs given.
        found: Vec<String>,
    },
    /// There is no runtime in this build.
    #[error("{}: no model can be run, because this was built without the runtime (feature `run`)", path.shown())]
    Absent {
        /// The model's file.
        path: PathBuf,
    },
    /// A tensor has not as many elements as its shape says.
    #[error("a tensor of shape {shape:?} was given {elements} elements")]
    Shape {
        /// The shape.
        shape: Vec<usize>,
        /// How many elements there are.
        elements: usize,
    },
}

fn other_inputs(expected: &[String], found: &[String]) -> String {
    let (expected, found) = (expected.join(", "), found.join(", "));
    format!("its inputs are {expected}; given were {found}")
}

impl Error {
    /// What is wrong, without the file and what was being done to it.
    pub fn problem(&self) -> String {
        match self {
            Self::Model { problem, .. } => problem.clone(),
            Self::Inputs {
                expected, found, ..
            } => other_inputs(expected, found),
            Self::Absent { .. } => "there is no runtime in this build".to_owned(),
            Self::Shape { .. } => self.to_string(),
        }
    }
}

/// Tensors in the order of `names`.
fn in_order<'a>(
    path: &Path,
    names: &[String],
    given: &[(&str, &'a Tensor)],
) -> Result<Vec<&'a Tensor>, Error> {
    let find = |name: &String| given.iter().find(|(found, _)| found == name);
    let found: Option<Vec<&Tensor>> = names.iter().map(|name| Some(find(name)?.1)).collect();
    match found {
        Some(found) if found.len() == given.len() => Ok(found),
        _ => Err(Error::Inputs {
            path: path.to_owned(),
            expected: names.to_vec(),
            found: given.iter().map(|(name, _)| (*name).to_owned()).collect(),
        }),
    }
}
