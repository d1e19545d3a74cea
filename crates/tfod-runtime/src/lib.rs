//! Runs ONNX models, so that what they compute can be compared.
//!
//! The work is [tract](https://github.com/sonos/tract)'s. This crate puts around it what untrusted files need (an error instead of a panic, none of
//! the shapes that a file claims), and it knows neither images nor detections.
//!
//! ```text
//! model.onnx ─ Model::open ─▶ Model ─ plan, for inputs of certain types and shapes ─▶ Plan ─ run ─▶ outputs
//!            ─ Session::open ─▶ Session, which plans by itself, here or in a process of its own ─ run ─▶ outputs
//! ```
//!
//! # What can be relied on
//!
//! * Operators of ONNX's standard domains are evaluated as tract does, and those of other domains refused. The parity tests compare the
//!   networks that this project writes, and every operator in them, with the reference and with other runtimes; tract does not check every size that a wrong
//!   model may ask for. It sums floats in its own order, so results differ from other runtimes' by rounding; the same plan, run again, gives the
//!   same bits, unless the model has random numbers.
//! * Sizes that the model leaves open (`batch`, `height`) are those of the inputs that a plan is made for.
//! * A panic of tract is an [`Error`]. It runs in a thread of its own, named [`THREAD`], for a panic there to be
//!   caught; the message that Rust prints of one can be kept from the terminal by a hook that knows that name.
//! * Without the feature `tract`, which is on by default, every model is refused.
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
//! for (name, tensor) in model.plan(&inputs)?.run(&inputs)? {
//!     println!("{name}: {:?}", tensor.shape());
//! }
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "tract")]
mod adapt;
#[cfg(feature = "tract")]
mod convert;
#[cfg(feature = "tract")]
mod guard;
#[cfg(feature = "tract")]
mod model;
#[cfg(not(feature = "tract"))]
#[path = "without.rs"]
mod model;
mod session;
mod tensor;
mod wire;

use std::path::{Path, PathBuf};

use tfod_text::Shown;

pub use model::{Model, Plan};
pub use session::{Launch, Session, serve};
pub use tensor::{Tensor, Values};

/// The name of the threads in which models are read and run.
pub const THREAD: &str = "tfod-runtime";

/// Whether there is a runtime in this build.
pub const IS_THERE: bool = cfg!(feature = "tract");

/// Why a model cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// tract cannot read, plan or run it.
    #[error("{}: {what}: {problem}", path.shown())]
    Model {
        /// The model's file.
        path: PathBuf,
        /// What was being done.
        what: &'static str,
        /// What tract says, with the node in question.
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
    #[error("{}: no model can be run, because this was built without the runtime (feature `tract`)", path.shown())]
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
