//! What there is of ONNX Runtime in a build without it.

use std::convert::Infallible;
use std::path::Path;

use crate::{Error, Tensor};

/// A model that was read: there is none.
#[derive(Debug)]
pub(crate) struct OnnxRuntime(Infallible);

impl OnnxRuntime {
    /// Says that nothing can be loaded.
    pub(crate) fn open(
        _library: &Path,
        path: &Path,
        _outputs: &[String],
        _threads: Option<usize>,
    ) -> Result<Self, Error> {
        Err(Error::Model {
            path: path.to_owned(),
            what: "cannot be read",
            problem: "this build loads no ONNX Runtime (feature `onnxruntime`)".to_owned(),
        })
    }

    pub(crate) fn inputs(&self) -> &[String] {
        match self.0 {}
    }

    pub(crate) fn outputs(&self) -> &[String] {
        match self.0 {}
    }

    pub(crate) fn run(
        &mut self,
        _inputs: &[(&str, &Tensor)],
    ) -> Result<Vec<(String, Tensor)>, Error> {
        match self.0 {}
    }
}
