//! The signatures of an export: one network, given its images in several ways, over one set of variables. Formats without signatures have the main one.

use tfod_models::{GraphOptions, InputType, Model};
use tfod_tensorflow::SERVING_DEFAULT;

/// What is asked of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignatureOptions {
    /// Its key: an identifier.
    pub name: String,
    /// The kind of input.
    pub input: InputType,
    /// What the input is called; by default `input_tensor`.
    pub input_name: Option<String>,
}

impl SignatureOptions {
    /// A signature whose input has the usual name.
    pub fn new(name: impl Into<String>, input: InputType) -> Self {
        Self {
            name: name.into(),
            input,
            input_name: None,
        }
    }

    /// `serving_default`, as the graph's options have it.
    fn serving(options: &GraphOptions) -> Self {
        Self {
            name: SERVING_DEFAULT.to_owned(),
            input: options.input,
            input_name: options.input_name.clone(),
        }
    }

    /// The options of this signature's graph, which has everything else in common with the others.
    pub(super) fn graph(&self, common: &GraphOptions) -> GraphOptions {
        let mut options = common.clone();
        options.input = self.input;
        options.input_name.clone_from(&self.input_name);
        options
    }
}

/// The signatures asked for, one of them `serving_default` where there are none; the main one, which is `serving_default` or else the first, apart.
pub(super) fn main_and_others(
    asked: &[SignatureOptions],
    common: &GraphOptions,
) -> (SignatureOptions, Vec<SignatureOptions>) {
    let mut others = asked.to_vec();
    let main = others.iter().position(|s| s.name == SERVING_DEFAULT);
    if others.is_empty() {
        return (SignatureOptions::serving(common), others);
    }
    let main = others.remove(main.unwrap_or(0));
    (main, others)
}

/// A signature whose network is written.
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) name: String,
    pub(super) options: GraphOptions,
    pub(super) model: Model,
}
