//! Cuts a graph at the nodes that are computed here.
//!
//! A node of rten's operators is of the stage after the last node of ours that it depends on, so that what depends on none is of the first:
//!
//! ```text
//! inputs ─▶ stage 0 ─▶ nodes of ours that need no other ─▶ stage 1 ─▶ … ─▶ outputs
//! ```
//!
//! Each stage becomes a model for rten. Nodes are copied as they are; what the file says of types and shapes between them is left out, since it may be
//! wrong. Weights of all stages are in one buffer, to which the models refer as to a file.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Component, Path};

use tfod_checkpoint::open_regular;
use tfod_text::Shown;

use crate::onnx::{External, GraphProto, ModelProto, NodeProto, Port, Problem, TensorProto, dtype};
use crate::operators::{self, OwnNode};
use crate::refuse::is_beyond;
use crate::rewrite::{self, OWN, Rewriter, put_bytes, put_number};

/// The name by which models refer to the weights.
pub(crate) const WEIGHTS: &str = "weights.data";

/// Smaller tensors stay in the models.
const SMALL: usize = 256;

/// Where a tensor's elements begin in the weights: at a multiple of this.
const ALIGNMENT: usize = 64;

/// A graph in stages.
#[derive(Debug, Default)]
pub(crate) struct Cut {
    /// The elements of large tensors.
    pub(crate) weights: Vec<u8>,
    pub(crate) stages: Vec<Stage>,
    pub(crate) inputs: Vec<Given>,
    pub(crate) outputs: Vec<Given>,
}

/// What goes into a model or comes out: its name, and what the model declares of it.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) name: String,
    pub(crate) dtype: u64,
    pub(crate) shape: Option<Vec<Option<u64>>>,
}

/// What rten computes at once, and what is computed here thereafter.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    /// The model, as a file; empty where there is none.
    pub(crate) model: Vec<u8>,
    pub(crate) inputs: Vec<String>,
    pub(crate) outputs: Vec<String>,
    pub(crate) nodes: Vec<OwnNode>,
}

/// What gives a value.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// The caller.
    Input(u64),
    /// The model: there in every stage.
    Initialiser(&'a TensorProto<'a>),
    Constant(&'a NodeProto<'a>),
    /// The stage, or the nodes after it.
    Stage(usize),
    Own(usize),
}

impl Source<'_> {
    /// The first stage in which the value is there.
    fn stage(self) -> usize {
        match self {
            Self::Input(_) | Self::Initialiser(_) | Self::Constant(_) => 0,
            Self::Stage(stage) => stage,
            Self::Own(stage) => stage + 1,
        }
    }
}

/// Cuts the graph of a model whose other files, if it can have any, are in a folder.
pub(crate) fn cut(model: &ModelProto<'_>, folder: Option<&Path>) -> Result<Cut, Problem> {
    let graph = &model.graph;
    let sources = sources(graph)?;
    let mut found = Cut::default();
    let mut members: BTreeMap<usize, Vec<&NodeProto<'_>>> = BTreeMap::new();
    for node in &graph.nodes {
        let name = node.outputs.iter().find(|name| !name.is_empty());
        match name.and_then(|name| sources.get(name)) {
            Some(Source::Stage(stage)) => members.entry(*stage).or_default().push(node),
            Some(Source::Own(stage)) => {
                found
                    .stage(*stage)
                    .nodes
                    .push(OwnNode::read(node, model.opset)?);
            }
            _ => {}
        }
    }
    for name in read_after(graph, &sources)? {
        match sources.get(name) {
            Some(Source::Stage(stage)) => found.stage(*stage).outputs.push(name.to_owned()),
            Some(Source::Initialiser(_) | Source::Constant(_)) => {
                found.stage(0).outputs.push(name.to_owned());
            }
            _ => {}
        }
    }
    let rewriter = Rewriter::of(graph);
    let mut weights = Weights::new(folder);
    for (index, stage) in found.stages.iter_mut().enumerate() {
        if !stage.outputs.is_empty() {
            let nodes = members.remove(&index).unwrap_or_default();
            stage.write(model, &nodes, &sources, &rewriter, &mut weights)?;
        }
    }
    found.weights = weights.bytes;
    let inputs = graph.inputs.iter();
    let inputs = inputs.filter(|port| matches!(sources.get(port.name), Some(Source::Input(_))));
    found.inputs = inputs.map(Given::of).collect();
    found.outputs = graph.outputs.iter().map(Given::of).collect();
    Ok(found)
}

/// What gives each value, in a graph in which every node comes after those whose results it reads.
fn sources<'a>(graph: &'a GraphProto<'a>) -> Result<HashMap<&'a str, Source<'a>>, Problem> {
    let mut sources = HashMap::new();
    let add = |sources: &mut HashMap<&'a str, Source<'a>>, name: &'a str, source| {
        if name.starts_with(OWN) {
            return Err(format!(
                "`{name}` has a name that is for what is added here"
            ));
        }
        match sources.insert(name, source) {
            None => Ok(()),
            Some(_) => Err(format!("`{name}` is given twice")),
        }
    };
    for tensor in &graph.initialisers {
        add(&mut sources, tensor.name, Source::Initialiser(tensor))?;
    }
    for port in &graph.inputs {
        // An initialiser may be declared as an input.
        if !sources.contains_key(port.name) {
            add(&mut sources, port.name, Source::Input(port.dtype))?;
        }
    }
    for node in &graph.nodes {
        let mut stage = 0;
        for name in node.inputs.iter().filter(|name| !name.is_empty()) {
            let source = sources.get(name).ok_or_else(|| {
                format!(
                    "node `{}` ({}) reads `{name}`, which nothing before it gives",
                    node.name, node.op
                )
            })?;
            stage = stage.max(source.stage());
        }
        let captured = captured(node);
        let captured = captured.iter().filter_map(|name| sources.get(name));
        stage = captured
            .map(|source| source.stage())
            .fold(stage, usize::max);
        let source = match node.op {
            "Constant" => Source::Constant(node),
            op if operators::is_own(op) => Source::Own(stage),
            _ => Source::Stage(stage),
        };
        for name in node.outputs.iter().filter(|name| !name.is_empty()) {
            add(&mut sources, name, source)?;
        }
    }
    Ok(sources)
}

/// Names that the graphs in a node's attributes read. Some may be their own.
fn captured<'a>(node: &NodeProto<'a>) -> HashSet<&'a str> {
    let mut names = HashSet::new();
    for graph in node.attributes.iter().flat_map(|found| &found.graphs) {
        names.extend(graph.outputs.iter().map(|port| port.name));
        for node in &graph.nodes {
            names.extend(&node.inputs);
            names.extend(captured(node));
        }
    }
    names
}

/// Values that are read when the stage that gives them is over.
fn read_after<'a>(
    graph: &GraphProto<'a>,
    sources: &HashMap<&str, Source<'_>>,
) -> Result<BTreeSet<&'a str>, Problem> {
    let mut names = BTreeSet::new();
    for port in &graph.outputs {
        if !sources.contains_key(port.name) {
            return Err(format!("nothing gives the output `{}`", port.name));
        }
        names.insert(port.name);
    }
    for node in &graph.nodes {
        let first = node.outputs.iter().find(|name| !name.is_empty());
        let Some(own) = first.and_then(|name| sources.get(name)) else {
            continue;
        };
        let captured = captured(node);
        for name in node.inputs.iter().chain(&captured) {
            match (own, sources.get(name)) {
                (Source::Own(_), Some(_)) => {}
                (Source::Stage(stage), Some(Source::Stage(other))) if other != stage => {}
                _ => continue,
            }
            names.insert(*name);
        }
    }
    Ok(names)
}

impl Cut {
    /// A stage, which is made if it is not there.
    fn stage(&mut self, index: usize) -> &mut Stage {
        if self.stages.len() <= index {
            self.stages.resize_with(index + 1, Stage::default);
        }
        &mut self.stages[index]
    }
}

impl Given {
    fn of(port: &Port<'_>) -> Self {
        Self {
            name: port.name.to_owned(),
            dtype: port.dtype,
            shape: port.shape.clone(),
        }
    }
}

impl Stage {
    /// Writes the model.
    fn write<'a>(
        &mut self,
        model: &ModelProto<'_>,
        nodes: &[&NodeProto<'a>],
        sources: &HashMap<&'a str, Source<'a>>,
        rewriter: &Rewriter<'_>,
        weights: &mut Weights<'a>,
    ) -> Result<(), Problem> {
        let mut graph = Vec::new();
        let mut seen = HashSet::new();
        let own = self
            .outputs
            .iter()
            .filter_map(|name| sources.get_key_value(&**name));
        let mut read: Vec<&str> = own.map(|(name, _)| *name).collect();
        let given: HashSet<&str> = nodes
            .iter()
            .flat_map(|node| node.outputs.iter().copied())
            .collect();
        let mut of_nodes = Vec::new();
        for node in nodes {
            read.extend(&node.inputs);
            read.extend(captured(node));
            rewriter.write(node, &mut of_nodes);
        }
        read.retain(|name| !given.contains(name) && seen.insert(*name));
        for name in read {
            match sources.get(name) {
                Some(Source::Initialiser(tensor)) => {
                    put_bytes(&mut graph, 5, &weights.placed(tensor)?);
                }
                Some(Source::Constant(node)) => put_bytes(&mut graph, 1, node.bytes),
                Some(source) => {
                    self.inputs.push(name.to_owned());
                    put_bytes(&mut graph, 11, &value(name, source));
                }
                // A name of a graph in a node.
                None => {}
            }
        }
        rewrite::write_numbers(&mut graph);
        graph.extend(of_nodes);
        for name in &self.outputs {
            put_bytes(&mut graph, 12, &value(name, &Source::Stage(0)));
        }
        put_number(&mut self.model, 1, model.ir_version);
        for import in &model.imports {
            put_bytes(&mut self.model, 8, import);
        }
        put_bytes(&mut self.model, 7, &graph);
        Ok(())
    }
}

/// What goes into a graph or comes out of it, with its type if that is known.
fn value(name: &str, source: &Source<'_>) -> Vec<u8> {
    let mut value = Vec::new();
    put_bytes(&mut value, 1, name.as_bytes());
    if let Source::Input(number @ 1..) = source {
        let (mut of_tensor, mut kind) = (Vec::new(), Vec::new());
        put_number(&mut of_tensor, 1, *number);
        put_bytes(&mut kind, 1, &of_tensor);
        put_bytes(&mut value, 2, &kind);
    }
    value
}

/// Elements of tensors, one after another.
struct Weights<'a> {
    folder: Option<&'a Path>,
    bytes: Vec<u8>,
    /// The messages of the tensors that are there, by their names.
    placed: HashMap<&'a str, Vec<u8>>,
}

impl<'a> Weights<'a> {
    fn new(folder: Option<&'a Path>) -> Self {
        Self {
            folder,
            bytes: Vec::new(),
            placed: HashMap::new(),
        }
    }

    /// The message of a tensor whose elements, if they are many or in another file, are among the weights.
    fn placed(&mut self, tensor: &TensorProto<'a>) -> Result<Vec<u8>, Problem> {
        if let Some(message) = self.placed.get(tensor.name) {
            return Ok(message.clone());
        }
        let begin = self.bytes.len().next_multiple_of(ALIGNMENT);
        match (tensor.external, tensor.raw) {
            (Some(external), _) => {
                self.bytes.resize(begin, 0);
                self.read(tensor, external)?;
                let read = &self.bytes[begin..];
                let (numbers, _) = read.as_chunks();
                let mut numbers = numbers.iter().copied().map(i64::from_le_bytes);
                if tensor.dtype == dtype::INT64 && numbers.any(is_beyond) {
                    return Err(format!(
                        "initialiser `{}` has whole numbers beyond 32 bits, which are not computed with here",
                        tensor.name
                    ));
                }
            }
            (None, Some(raw)) if raw.len() >= SMALL => {
                self.bytes.resize(begin, 0);
                self.bytes.extend_from_slice(raw);
            }
            _ => return Ok(tensor.bytes.to_vec()),
        }
        let mut message = Vec::new();
        for size in &tensor.dims {
            put_number(&mut message, 1, *size);
        }
        put_number(&mut message, 2, tensor.dtype);
        put_bytes(&mut message, 8, tensor.name.as_bytes());
        let (offset, length) = (begin.to_string(), (self.bytes.len() - begin).to_string());
        for (key, value) in [
            ("location", WEIGHTS),
            ("offset", &offset),
            ("length", &length),
        ] {
            let mut entry = Vec::new();
            put_bytes(&mut entry, 1, key.as_bytes());
            put_bytes(&mut entry, 2, value.as_bytes());
            put_bytes(&mut message, 13, &entry);
        }
        put_number(&mut message, 14, 1);
        self.placed.insert(tensor.name, message.clone());
        Ok(message)
    }

    /// Appends a part of another file in the model's folder.
    fn read(&mut self, tensor: &TensorProto<'_>, external: External<'_>) -> Result<(), Problem> {
        let External {
            location,
            offset,
            length,
        } = external;
        let said = |problem: String| {
            let (name, location) = (tensor.name, location.shown());
            format!("initialiser `{name}` is in the file `{location}`: {problem}")
        };
        let relative = Path::new(location);
        let is_plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if location.is_empty() || !relative.components().all(is_plain) {
            return Err(said("expected a path below the model's folder".to_owned()));
        }
        let folder = self.folder.ok_or_else(|| {
            said("expected a model with its weights inside, which was not made with `--external_data`".to_owned())
        })?;
        let mut file =
            open_regular(&folder.join(relative)).map_err(|error| said(error.to_string()))?;
        let all = file.metadata().map_err(|error| said(error.to_string()))?;
        let rest = all.len().checked_sub(offset);
        let length = length.or(rest).unwrap_or(0);
        if rest.is_none_or(|rest| length > rest) {
            return Err(said(format!(
                "expected {length} bytes from byte {offset} on, found a file of {} bytes",
                all.len()
            )));
        }
        let before = self.bytes.len();
        let read = file
            .seek(SeekFrom::Start(offset))
            .and_then(|_| file.take(length).read_to_end(&mut self.bytes));
        read.map_err(|error| said(error.to_string()))?;
        if (self.bytes.len() - before) as u64 != length {
            return Err(said("it became shorter while it was read".to_owned()));
        }
        Ok(())
    }
}
