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
mod file;
mod frozen;
mod functions;
mod graph;
mod model;
mod names;
mod objects;
mod passes;
mod prune;
mod signature;
mod table_ops;
mod text;
mod text_table;
mod variables;
mod wire;
mod write;

use std::collections::HashSet;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread;

pub use error::{Changed, FreezeError, NodePlace, Update};
pub use frozen::{Endpoint, Frozen, FrozenTable};
pub use passes::InputShape;

pub(crate) use constants::{Content, Store};
pub(crate) use graph::{NodeId, Tensor as GraphTensor};
pub(crate) use wire::Attr;

use expand::Expander;
use file::File;
use frozen::{Interface, list, list_function};
use graph::Graph;

type Result<T> = std::result::Result<T, FreezeError>;

/// What is frozen, and how.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FreezeOptions {
    /// The key of the signature.
    pub signature: String,
    /// A function of the object graph instead of a signature: its path, such as `__call__`, or that with the specs of its arguments.
    pub function: Option<String>,
    /// The names of tensors that are the inputs, instead of a signature's; then `outputs` are names of tensors, too.
    pub inputs: Vec<String>,
    /// The keys of the outputs that are wanted, and only what they need; empty for all.
    pub outputs: Vec<String>,
    /// The tags of the graph. `None` stands for `serve` or, where the file has one graph only, for that one.
    pub tags: Option<Vec<String>>,
    /// Leave conditionals and loops as they are, with functions, instead of lowering them to TensorFlow 1's.
    pub keep_control_flow: bool,
    /// Name inputs and outputs by their keys in the signature.
    pub friendly_names: bool,
    /// Drop assignments to variables, so that every call starts from the saved values.
    pub drop_updates: bool,
}

impl Default for FreezeOptions {
    /// The signature `serving_default` of the graph tagged `serve`, as TensorFlow's converter would name and lower things.
    fn default() -> Self {
        Self {
            signature: "serving_default".to_owned(),
            function: None,
            inputs: Vec::new(),
            outputs: Vec::new(),
            tags: None,
            keep_control_flow: false,
            friendly_names: false,
            drop_updates: false,
        }
    }
}

/// A SavedModel on disk.
#[derive(Debug)]
pub struct SavedModelReader {
    file: File,
}

impl SavedModelReader {
    /// Reads `saved_model.pb` in a folder, or `saved_model.pbtxt`, its text form. Variables are not read yet.
    ///
    /// # Errors
    ///
    /// [`FreezeError::NoSavedModel`], [`FreezeError::NotSavedModel`], [`FreezeError::Read`] or [`FreezeError::Text`].
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
        // Calls in calls are expanded by recursion, as deep as the budget allows, whatever stack the caller has.
        thread::scope(|scope| {
            let work = || self.freeze_here(options);
            let builder = thread::Builder::new().stack_size(budget::STACK);
            match builder.spawn_scoped(scope, work) {
                Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
                Err(problem) => Err(FreezeError::Read {
                    path: self.file.path.clone(),
                    problem,
                }),
            }
        })
    }

    fn freeze_here(&self, options: &FreezeOptions) -> Result<Frozen<'_>> {
        let file = &self.file;
        let model = file.meta_graph(options.tags.as_deref())?;
        if let Some(name) = model.duplicate {
            let place = Box::new(NodePlace {
                function: Some(name.to_owned()),
                ..NodePlace::default()
            });
            return Err(FreezeError::Graph {
                path: file.path.clone(),
                place,
                problem: "the file has two functions of this name".to_owned(),
            });
        }
        let mut expander = Expander::new(file, &model, options.keep_control_flow);
        expander.updates.are_dropped = options.drop_updates;
        let (inputs, outputs) = self.select(&mut expander, options)?;
        finish(expander, inputs, outputs, options)
    }

    /// Expands what is asked for: a function, tensors by name, or a signature.
    fn select(
        &self,
        expander: &mut Expander<'_, '_>,
        options: &FreezeOptions,
    ) -> Result<(Vec<Interface>, Vec<Interface>)> {
        let (file, model) = (&self.file, expander.model);
        if let Some(name) = &options.function {
            let saved = expander.variables.saved()?;
            let found = objects::named(&saved, name);
            return match found.as_slice() {
                [concrete] => {
                    signature::expand_function(expander, &saved, concrete, &options.outputs)
                }
                several => Err(FreezeError::Function {
                    path: file.path.clone(),
                    wanted: name.clone(),
                    is_ambiguous: !several.is_empty(),
                    available: match several {
                        [] => objects::listed(&saved),
                        several => several.iter().map(objects::Concrete::label).collect(),
                    },
                }),
            };
        }
        if !options.inputs.is_empty() {
            let def = signature::of_tensors(model, &options.inputs, &options.outputs);
            return signature::expand(expander, "", &def, &[]);
        }
        let Some(def) = model.signatures.get(&options.signature) else {
            if file.is_hub_module() {
                return Err(FreezeError::NotSavedModel {
                    path: file.path.clone(),
                    line: None,
                    found: HUB_MODULE,
                });
            }
            let keys = model.signatures.keys();
            let available: Vec<String> =
                keys.filter(|key| *key != INIT_SIGNATURE).cloned().collect();
            let functions = if available.is_empty() {
                objects::listed(&expander.variables.saved()?)
            } else {
                Vec::new()
            };
            return Err(FreezeError::Signature {
                path: file.path.clone(),
                wanted: options.signature.clone(),
                available,
                functions,
            });
        };
        signature::expand(expander, &options.signature, def, &options.outputs)
    }
}

/// What a module of TensorFlow Hub is.
const HUB_MODULE: &str = "a TensorFlow Hub module for TensorFlow 1, whose signatures are not where SavedModels have them; load it with `hub.Module` in \
                          TensorFlow 1 and write it with `tf.compat.v1.saved_model.simple_save`";

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
        updates,
        tables,
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
    let initialiser = tables.initialiser;
    let listing = list(file, &mut graph, &inputs, &outputs, initialiser)?;
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
        dropped_updates: updates.dropped,
        initialiser,
        tables: tables.into_nodes(),
        other_tags: model.other_tags.clone(),
        is_halved: false,
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
