//! Models, by rten and by the operators that are computed here.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use rten::{ModelOptions, NodeId, Value, ValueOrView};
use tfod_checkpoint::open_regular;
use tfod_proto::wire::MESSAGE_LIMIT;

use crate::cut::{Cut, Given, Stage, WEIGHTS, cut};
use crate::onnx::{self, Problem};
use crate::operators::OwnNode;
use crate::refuse::refuse;
use crate::{Error, Tensor, guard, in_order};

const CANNOT_BE_READ: &str = "cannot be read";

/// What a model says of itself, by key.
type Metadata = BTreeMap<String, String>;

/// A model that was read and made ready.
#[derive(Debug)]
pub struct Model {
    path: PathBuf,
    steps: Vec<Step>,
    inputs: Vec<Given>,
    outputs: Vec<Given>,
    input_names: Vec<String>,
    output_names: Vec<String>,
    metadata: Metadata,
}

/// A stage of a model.
#[derive(Debug)]
struct Step {
    /// What rten computes.
    run: Option<Part>,
    /// What is computed here, one after another.
    nodes: Vec<OwnNode>,
    /// Names of values that nothing reads later.
    done: HashSet<String>,
}

/// A model of rten's, and the names by which its inputs and outputs are known.
#[derive(Debug)]
struct Part {
    model: rten::Model,
    inputs: Vec<(String, NodeId)>,
    outputs: Vec<(String, NodeId)>,
}

impl Model {
    /// Reads a model and makes it ready.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is no ONNX model, or has an operator that cannot be run.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_for(path, &[])
    }

    /// Reads a model to compute these of its outputs alone; all, if none are named. What it does not give is left out.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn open_for(path: &Path, outputs: &[String]) -> Result<Self, Error> {
        let read = guard::run(path, CANNOT_BE_READ, || {
            let folder = path.parent().unwrap_or(Path::new(""));
            read(&bytes_of(path)?, Some(folder), outputs)
        })?;
        Self::of(path, read)
    }

    /// Makes a model ready whose file is in memory. `path` is what messages call it; no file is read, so all weights have to be in the model.
    ///
    /// # Errors
    ///
    /// If it is no ONNX model, has weights in another file, or an operator that cannot be run.
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        let read = guard::run(path, CANNOT_BE_READ, || read(bytes, None, &[]))?;
        Self::of(path, read)
    }

    fn of(path: &Path, (cut, metadata): (Cut, Metadata)) -> Result<Self, Error> {
        let Cut {
            weights,
            stages,
            inputs,
            outputs,
        } = cut;
        let steps = guard::run(path, "cannot be run", || {
            let mut options = ModelOptions::with_all_ops();
            options.external_data(WEIGHTS, weights);
            let done = last_reads(&stages, &outputs);
            let stages = stages.into_iter().zip(done);
            let steps = stages.map(|(stage, done)| Step::load(stage, done, &options));
            steps.collect::<Result<Vec<_>, Problem>>()
        })?;
        let names = |given: &[Given]| given.iter().map(|given| given.name.clone()).collect();
        Ok(Self {
            path: path.to_owned(),
            steps,
            input_names: names(&inputs),
            output_names: names(&outputs),
            inputs,
            outputs,
            metadata,
        })
    }

    /// Names of what has to be given.
    pub fn inputs(&self) -> &[String] {
        &self.input_names
    }

    /// Names of what comes out.
    pub fn outputs(&self) -> &[String] {
        &self.output_names
    }

    /// What the model says of itself, by key (`metadata_props`).
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Runs the model; the outputs are in the model's order.
    ///
    /// # Errors
    ///
    /// If these are not the model's inputs, by name, type or size, or an operator fails.
    pub fn run(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, Error> {
        let inputs = in_order(&self.path, &self.input_names, inputs)?;
        guard::run(&self.path, "failed when it was run", || {
            let mut values: HashMap<String, Value> = HashMap::new();
            for (given, tensor) in self.inputs.iter().zip(inputs) {
                given.check(tensor)?;
                values.insert(given.name.clone(), tensor.to_rten()?);
            }
            for step in &self.steps {
                step.run(&mut values)?;
            }
            let outputs = self.outputs.iter().map(|output| {
                let value = values.get(&output.name);
                let value = value.ok_or_else(|| format!("nothing gave `{}`", output.name))?;
                Ok((output.name.clone(), Tensor::from_rten(value, output)?))
            });
            outputs.collect::<Result<_, Problem>>()
        })
    }
}

/// Reads a model's file. It is read and not mapped, so that one that shrinks is an error.
fn bytes_of(path: &Path) -> Result<Vec<u8>, Problem> {
    let said = |error: std::io::Error| error.to_string();
    let file = open_regular(path).map_err(said)?;
    let size = file.metadata().map_err(said)?.len();
    if size > MESSAGE_LIMIT {
        return Err(format!(
            "it has {size} bytes; an ONNX model has 2 GB at most"
        ));
    }
    let mut bytes = Vec::new();
    file.take(MESSAGE_LIMIT)
        .read_to_end(&mut bytes)
        .map_err(said)?;
    Ok(bytes)
}

/// Reads a model and cuts its graph, to compute these outputs; all, if none are named.
fn read(
    bytes: &[u8],
    folder: Option<&Path>,
    outputs: &[String],
) -> Result<(Cut, Metadata), Problem> {
    let mut model = onnx::read(bytes)?;
    if !outputs.is_empty() {
        let ports = &mut model.graph.outputs;
        ports.retain(|port| outputs.iter().any(|name| name == port.name));
    }
    refuse(&model)?;
    let metadata = model.metadata.iter();
    let metadata = metadata.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Ok((cut(&model, folder)?, metadata.collect()))
}

/// For each stage, the names of the values that no later one reads, and that are no outputs.
fn last_reads(stages: &[Stage], outputs: &[Given]) -> Vec<HashSet<String>> {
    let mut later: HashSet<&str> = outputs.iter().map(|output| &*output.name).collect();
    let mut done = Vec::with_capacity(stages.len());
    for stage in stages.iter().rev() {
        let of_nodes = stage
            .nodes
            .iter()
            .flat_map(|node| node.inputs.iter().flatten());
        let read = stage.inputs.iter().chain(of_nodes).map(String::as_str);
        let last = read.filter(|name| later.insert(name));
        done.push(last.map(str::to_owned).collect());
    }
    done.reverse();
    done
}

impl Step {
    fn load(stage: Stage, done: HashSet<String>, options: &ModelOptions) -> Result<Self, Problem> {
        let mut run = None;
        if !stage.model.is_empty() {
            let model = options
                .load(stage.model)
                .map_err(|error| error.to_string())?;
            let ids = |names: Vec<String>| {
                let ids = names.into_iter().map(|name| {
                    let id = model.node_id(&name).map_err(|error| error.to_string())?;
                    Ok((name, id))
                });
                ids.collect::<Result<Vec<_>, Problem>>()
            };
            run = Some(Part {
                inputs: ids(stage.inputs)?,
                outputs: ids(stage.outputs)?,
                model,
            });
        }
        let nodes = stage.nodes;
        Ok(Self { run, nodes, done })
    }

    fn run(&self, values: &mut HashMap<String, Value>) -> Result<(), Problem> {
        if let Some(part) = &self.run {
            let found = part.run(values)?;
            values.extend(found);
        }
        for node in &self.nodes {
            let inputs = node.inputs.iter();
            let inputs: Vec<Option<&Value>> = inputs
                .map(|name| name.as_ref().and_then(|name| values.get(name)))
                .collect();
            let found = node.run(&inputs)?;
            values.insert(node.output.clone(), found);
        }
        values.retain(|name, _| !self.done.contains(name));
        Ok(())
    }
}

impl Part {
    fn run(&self, values: &HashMap<String, Value>) -> Result<Vec<(String, Value)>, Problem> {
        let inputs = self.inputs.iter().map(|(name, id)| {
            let value = values
                .get(name)
                .ok_or_else(|| format!("nothing gave `{name}`"))?;
            Ok((*id, ValueOrView::from(value)))
        });
        let inputs = inputs.collect::<Result<Vec<_>, Problem>>()?;
        let outputs: Vec<NodeId> = self.outputs.iter().map(|(_, id)| *id).collect();
        let found = self.model.run(inputs, &outputs, None);
        let found = found.map_err(|error| error.to_string())?;
        let names = self.outputs.iter().map(|(name, _)| name.clone());
        Ok(names.zip(found).collect())
    }
}
