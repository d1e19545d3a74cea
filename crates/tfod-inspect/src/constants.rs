//! The constants of TensorFlow's graphs as what runs reads them: without those that nothing needs, and with what is computed from constants alone
//! in place of what it is computed from.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tfod_tensorflow::{
    ComputedConstant, Decoded, FreezeOptions, GraphConstants, SavedModelReader, constants_of_graph,
};

use super::saved_model::SavedModelFacts;
use super::tensors::{Elements, ElementsPlace, StoredTensor, num_bytes};
use super::{Facts, Inspection};

/// The constants of a graph, and what is computed from them.
#[derive(Clone, Debug, Default)]
pub struct Constants {
    /// What each computed tensor is computed from: constants' names and variables' keys.
    pub from: BTreeMap<String, BTreeSet<String>>,
    /// The keys of variables that are read as they are.
    pub variables: BTreeSet<String>,
    /// The names of constants that are not read as they are, but only computed from.
    pub origins: BTreeSet<String>,
    /// How many nodes of each operation run.
    pub running: BTreeMap<String, u64>,
}

impl Inspection {
    /// The encoded `GraphDef` of a graph of TensorFlow, what a text stands for included; `None` for what is none. A file stays mapped, so no memory is taken for it.
    pub fn graph_def(&self) -> Option<&[u8]> {
        match &self.facts {
            Facts::Graph(_) => Some(self.source.content.as_ref()?.bytes()),
            _ => None,
        }
    }

    /// Follows the constants of a graph, of a SavedModel those of its default signature: [`tensors`](Self::tensors) then has those that something
    /// needs, and what is computed from constants, as far as it may be weights. `None` for what is no graph of TensorFlow, or one that cannot be followed, such as
    /// a SavedModel without the data of its variables; then nothing changes.
    pub fn follow_constants(&mut self) -> Option<Constants> {
        let (found, is_of_file) = match &self.facts {
            Facts::SavedModel(model) => (of_saved_model(self.folder()?, model)?, false),
            Facts::Graph(_) => (constants_of_graph(self.graph_def()?).ok()?, true),
            _ => return None,
        };
        // Where nothing runs, nothing tells which constants are needed.
        if found.running.is_empty() {
            return None;
        }
        if is_of_file {
            let names: BTreeSet<&str> = found.stored.iter().map(|one| &*one.name).collect();
            self.tensors.retain(|tensor| names.contains(&*tensor.name));
        } else {
            self.tensors.retain(StoredTensor::is_stored_in_bundle);
        }
        let GraphConstants {
            stored,
            computed,
            variables,
            running,
        } = found;
        let mut origins = BTreeSet::new();
        for one in stored {
            if !one.is_read {
                origins.insert(one.name.clone());
            }
            if let Some(value) = one.value {
                self.hold(one.name, value);
            }
        }
        let mut constants = Constants {
            from: BTreeMap::new(),
            variables,
            origins,
            running,
        };
        for one in computed.into_iter().filter(is_of_weights) {
            let ComputedConstant {
                name, value, from, ..
            } = one;
            constants.from.insert(name.clone(), from);
            self.hold(name, value);
        }
        Some(constants)
    }

    /// The folder of the file that was read, such as a SavedModel's.
    pub fn folder(&self) -> Option<&Path> {
        match self.source.content.as_ref()? {
            super::Content::Mapped(file) => file.path().parent(),
            super::Content::Encoded(_) => None,
        }
    }

    /// Adds a tensor of 32-bit floats to [`tensors`](Self::tensors) that was computed from others.
    pub fn hold_floats(&mut self, name: String, shape: &[u64], bytes: Vec<u8>) {
        let sizes = shape.iter().map(|size| usize::try_from(*size).ok());
        if let Some(shape) = sizes.collect() {
            let dtype = tfod_checkpoint::DType::Float32;
            self.hold(
                name,
                Decoded {
                    dtype,
                    shape,
                    bytes,
                },
            );
        }
    }

    /// Adds a tensor whose elements are kept here.
    fn hold(&mut self, name: String, value: Decoded) {
        let shape: Vec<u64> = value.shape.iter().map(|size| *size as u64).collect();
        let Some(bytes) = num_bytes(Some(value.dtype), &shape) else {
            return;
        };
        self.tensors.push(StoredTensor {
            name,
            dtype: Some(value.dtype),
            shape,
            bytes,
            place: ElementsPlace::Held(self.held.len()),
        });
        self.held.push(value);
    }

    /// The elements of a tensor that is kept here.
    pub(super) fn held(&self, index: usize) -> Option<Elements<'_>> {
        let value = self.held.get(index)?;
        let count = value.shape.iter().map(|size| *size as u64).product();
        Elements::numbers(value.dtype, count, Cow::Borrowed(&value.bytes)).ok()
    }
}

/// Whether a computed tensor may be of what a model has learned, or of its anchors; else it is a size, a place, a number of a class, or what lists are filled
/// up with.
fn is_of_weights(one: &ComputedConstant) -> bool {
    let is_integral = || {
        let numbers = one.value.bytes.chunks_exact(4);
        one.value.dtype == tfod_checkpoint::DType::Float32
            && numbers
                .filter_map(|bytes| bytes.try_into().ok().map(f32::from_le_bytes))
                .all(|number| number.fract() == 0.0)
    };
    one.is_from_floats && (one.is_from_varied || !is_integral())
}

/// The signature that is meant where none is named.
const DEFAULT: &str = "serving_default";

fn of_saved_model(folder: &Path, model: &SavedModelFacts) -> Option<GraphConstants> {
    let graph = model.graphs.first()?;
    let mut keys = graph
        .signatures
        .keys()
        .filter(|key| !key.starts_with("__saved_model"));
    let key = if graph.signatures.contains_key(DEFAULT) {
        DEFAULT.to_owned()
    } else {
        keys.next().filter(|_| keys.next().is_none())?.clone()
    };
    let reader = SavedModelReader::open(folder).ok()?;
    let mut options = FreezeOptions::default();
    options.signature = key;
    options.tags = Some(graph.tags.clone());
    let frozen = reader.freeze(&options).ok()?;
    Some(frozen.constant_values())
}
