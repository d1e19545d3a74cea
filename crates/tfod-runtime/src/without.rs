//! What there is of models in a build without a runtime.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;

use crate::{Error, Tensor};

/// A model that was read: there is none.
#[derive(Debug)]
pub struct Model(Infallible);

impl Model {
    /// Says that there is no runtime.
    ///
    /// # Errors
    ///
    /// Always [`Error::Absent`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        Err(Error::Absent {
            path: path.to_owned(),
        })
    }

    /// Says that there is no runtime.
    ///
    /// # Errors
    ///
    /// Always [`Error::Absent`].
    pub fn from_bytes(path: &Path, _bytes: &[u8]) -> Result<Self, Error> {
        Self::open(path)
    }

    /// Says that there is no runtime.
    ///
    /// # Errors
    ///
    /// Always [`Error::Absent`].
    pub fn open_for(path: &Path, _outputs: &[String]) -> Result<Self, Error> {
        Self::open(path)
    }

    /// Names of what has to be given.
    pub fn inputs(&self) -> &[String] {
        match self.0 {}
    }

    /// Names of what comes out.
    pub fn outputs(&self) -> &[String] {
        match self.0 {}
    }

    /// What the model says of itself, by key.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        match self.0 {}
    }

    /// Runs the model.
    ///
    /// # Errors
    ///
    /// None: there is no model.
    pub fn run(&self, _inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, Error> {
        match self.0 {}
    }
}
