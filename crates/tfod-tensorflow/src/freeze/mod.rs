//! Freezing: one signature of any SavedModel as one `GraphDef`, in which variables are constants and calls are inlined.
//!
//! ```text
//! saved_model.pb ─ model ──▶ nodes and functions, as slices of the file
//!                ─ expand ─▶ one flat graph; control_flow and functions help; variables finds their values
//!                ─ prune ──▶ what the outputs need, in order
//!                ─ write ──▶ GraphDef; the weights go from the bundle's files to the output
//! ```
//!
//! The interface and the results are those of TensorFlow's `convert_variables_to_constants_v2`. Unlike there, nothing is left over from calls:
//! no `Identity` for arguments and results, no unused placeholders, no control inputs from what has no effect, no attributes at their defaults.

mod arity;
mod budget;
mod constants;
mod control_flow;
mod data_type;
mod error;
mod expand;
mod frozen;
mod functions;
mod graph;
mod model;
mod names;
mod passes;
mod prune;
mod signature;
mod text;
mod variables;
mod wire;
mod write;

use std::collections::HashSet;
use std::path::Path;

pub use error::{FreezeError, Place};
pub use frozen::{Endpoint, Frozen};

pub(crate) use constants::{Content, Store};
pub(crate) use graph::Tensor as GraphTensor;

use expand::Expander;
use frozen::{Interface, list, list_function};
use graph::Graph;
use model::File;

type Result<T> = std::result::Result<T, FreezeError>;

/// What is frozen, and how.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FreezeOptions {
    /// The key of the signature.
    pub signature: String,
    /// The tags of the graph.
    pub tags: Vec<String>,
    /// Leave conditionals and loops as they are, with functions, instead of lowering them to TensorFlow 1's.
    pub keep_control_flow: bool,
    /// Name inputs and outputs by their keys in the signature.
    pub friendly_names: bool,
}

impl Default for FreezeOptions {
    /// The signature `serving_default` of the graph tagged `serve`, as TensorFlow's converter would name and lower things.
    fn default() -> Self {
        Self {
            signature: "serving_default".to_owned(),
            tags: vec!["serve".to_owned()],
            keep_control_flow: false,
            friendly_names: false,
        }
    }
}

/// A SavedModel on disk.
#[derive(Debug)]
pub struct SavedModelReader {
    file: File,
}

impl SavedModelReader {
    /// Reads `saved_model.pb` in a folder. Variables are not read yet.
    ///
    /// # Errors
    ///
    /// [`FreezeError::NoSavedModel`] or [`FreezeError::Read`].
    pub fn open(folder: &Path) -> Result<Self> {
        Ok(Self {
            file: File::read(folder)?,
        })
    }

    /// Freezes a signature.
    ///
    /// # Errors
    ///
    /// Where the file is damaged, has no such graph or signature, contradicts itself, or does what constants cannot; see [`FreezeError`].
    pub fn freeze(&self, options: &FreezeOptions) -> Result<Frozen<'_>> {
        let file = &self.file;
        let model = file.meta_graph(&options.tags)?;
        let def =
            model
                .signatures
                .get(&options.signature)
                .ok_or_else(|| FreezeError::Signature {
                    path: file.path.clone(),
                    wanted: options.signature.clone(),
                    available: model
                        .signatures
                        .keys()
                        .filter(|key| *key != INIT_SIGNATURE)
                        .cloned()
                        .collect(),
                })?;
        if let Some(name) = model.duplicate {
            let place = Box::new(Place {
                function: Some(name.to_owned()),
                ..Place::default()
            });
            return Err(FreezeError::Graph {
                path: file.path.clone(),
                place,
                problem: "the file has two functions of this name".to_owned(),
            });
        }
        let mut expander = Expander::new(file, &model, options.keep_control_flow);
        let (inputs, outputs) = signature::expand(&mut expander, &options.signature, def)?;
        finish(expander, inputs, outputs, options)
    }
}

/// The signature in which TensorFlow keeps what has to run before all others.
const INIT_SIGNATURE: &str = "__saved_model_init_op";

/// Prunes and names what was expanded.
fn finish<'a>(
    expander: Expander<'a, '_>,
    inputs: Vec<Interface>,
    mut outputs: Vec<Interface>,
    options: &FreezeOptions,
) -> Result<Frozen<'a>> {
    let Expander {
        file,
        model,
        mut graph,
        variables,
        library,
        ..
    } = expander;
    if options.friendly_names {
        for input in &inputs {
            graph
                .node_mut(input.tensor.node)
                .name
                .clone_from(&input.key);
        }
        name_by_keys(&mut graph, &mut outputs);
    }
    let listing = list(file, &mut graph, &inputs, &outputs)?;
    let mut functions = Vec::with_capacity(library.functions.len());
    for mut function in library.functions {
        let listing = list_function(file, &mut function)?;
        functions.push((function, listing));
    }
    let (variables, bundle) = variables.into_parts();
    let store = Store { variables, bundle };
    for &node in &listing.order {
        if let Some(content) = &graph.node(node).content {
            store.check(content)?;
        }
    }
    Ok(Frozen {
        file,
        graph,
        listing,
        functions,
        store,
        producer: model.producer,
        inputs,
        outputs,
    })
}

/// Gives the outputs' nodes the names of their keys. A node that more than one output is, or that is no copy, gets copies.
fn name_by_keys(graph: &mut Graph<'_>, outputs: &mut [Interface]) {
    let mut renamed = HashSet::new();
    for output in outputs {
        if graph.node(output.tensor.node).op == "Identity" && renamed.insert(output.tensor.node) {
            graph
                .node_mut(output.tensor.node)
                .name
                .clone_from(&output.key);
        } else {
            output.tensor = graph.copy(output.tensor, &output.key);
        }
    }
}
