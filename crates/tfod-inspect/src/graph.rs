//! TensorFlow's graphs, read field by field: what operations there are, what goes in and out, which constants are stored.
//!
//! No decoded node is kept. What is kept of a graph is its counts, the places of its constants and the names that nodes read from, so memory stays a
//! small multiple of the file, whatever the file says. Specified by TensorFlow's `graph.proto`, `node_def.proto` and `function.proto`.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value, json};
use tfod_checkpoint::DType;
use tfod_proto::wire::{Field, Fields, all, last};
use tfod_tensorflow::messages::{self, attr, tensor};
use tfod_tensorflow::op_defs::{self, ArgDef, ArgKind, ArgType};

use crate::error::{self, Damage};
use crate::oldest::Oldest;
use crate::tensors::{Elements, ElementsPlace, StoredTensor, num_bytes, num_elements};

/// Names of functions are part of their constants' names, so long ones could ask for endless memory.
const MAX_FUNCTION_NAME: usize = 4096;
/// No graph that somebody uses has more inputs, or outputs.
const MAX_PORTS: usize = 4096;

/// A tensor that goes into a model or comes out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its key in the signature; the tensor's node where there is no signature.
    pub key: String,
    /// The tensor: `serving_default_image:0`.
    pub tensor: String,
    /// The type of its elements, as far as the file says.
    pub dtype: Option<DType>,
    /// Its dimensions, as far as the file says; sizes that are known only at run time are names or `?`.
    pub shape: Option<Vec<Dim>>,
}

/// A dimension of a tensor that goes in or comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    /// Its size.
    Known(u64),
    /// Known only at run time; the name is empty in TensorFlow's files.
    Unknown(String),
}

impl std::fmt::Display for Dim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Known(size) => write!(f, "{size}"),
            Self::Unknown(name) if name.is_empty() => f.write_str("?"),
            Self::Unknown(name) => f.write_str(name),
        }
    }
}

impl Port {
    /// The name of its type; `unknown` where the file does not say.
    pub fn type_name(&self) -> &'static str {
        self.dtype.map_or("unknown", DType::name)
    }

    /// Its shape for people: `[1, ?, ?, 3]`.
    pub fn shape_text(&self) -> String {
        match &self.shape {
            None => "[...]".to_owned(),
            Some(dims) => {
                let dims: Vec<String> = dims.iter().map(Dim::to_string).collect();
                format!("[{}]", dims.join(", "))
            }
        }
    }

    pub(crate) fn json(&self) -> Value {
        let dim = |dim: &Dim| match dim {
            Dim::Known(size) => json!(size),
            Dim::Unknown(name) if name.is_empty() => json!(-1),
            Dim::Unknown(name) => json!(name),
        };
        json!({
            "key": self.key,
            "tensor": self.tensor,
            "dtype": self.type_name(),
            "shape": self.shape.as_ref().map(|dims| dims.iter().map(dim).collect::<Vec<_>>()),
        })
    }
}

/// What a graph is made of.
#[derive(Clone, Debug, Default)]
pub struct GraphFacts {
    /// The version of the graph format that the nodes were written for.
    pub producer: u64,
    /// The oldest version of the graph format that may read them.
    pub min_consumer: u64,
    /// How many nodes the main graph has.
    pub nodes: u64,
    /// How many functions the library has.
    pub functions: u64,
    /// How many nodes these have.
    pub function_nodes: u64,
    /// How many nodes there are of each operation, functions included.
    pub ops: BTreeMap<String, u64>,
    /// The placeholders of the main graph, in the order of the file.
    pub inputs: Vec<Port>,
    /// The results of nodes of the main graph that no other node reads, in the order of the file.
    pub outputs: Vec<Port>,
    /// How many more of either there are than are listed.
    pub ports_left_out: u64,
    /// Which release of TensorFlow it needs.
    pub oldest: Oldest,
}

impl GraphFacts {
    pub(crate) fn json(&self) -> Map<String, Value> {
        let ports = |ports: &[Port]| ports.iter().map(Port::json).collect::<Vec<_>>();
        let facts = json!({
            "producer": self.producer,
            "min_consumer": self.min_consumer,
            "nodes": self.nodes,
            "functions": self.functions,
            "function_nodes": self.function_nodes,
            "ops": self.ops,
            "inputs": ports(&self.inputs),
            "outputs": ports(&self.outputs),
            "ports_left_out": self.ports_left_out,
            "oldest_tensorflow": self.oldest.json(),
        });
        match facts {
            Value::Object(facts) => facts,
            _ => Map::new(),
        }
    }
}

/// Reads a `GraphDef` that is a part of `file`; its constants are added to `tensors`.
pub(crate) fn scan(
    file: &[u8],
    message: &[u8],
    may_strip_defaults: bool,
    tensors: &mut Vec<StoredTensor>,
) -> Result<GraphFacts, Damage> {
    let mut facts = GraphFacts {
        oldest: Oldest::new(may_strip_defaults),
        ..GraphFacts::default()
    };
    let mut read = HashSet::new();
    let mut ends = Vec::new();
    for field in Fields::of(message) {
        let (number, field) = field?;
        match (number, field) {
            (1, Field::Bytes(encoded)) => {
                let node = self::node(encoded)?;
                facts.nodes += 1;
                facts.count(&node);
                read.extend(node.inputs.iter().map(|input| source(input).to_owned()));
                if node.op.starts_with("Placeholder") {
                    let port = placeholder(&node)?;
                    push(&mut facts.inputs, port, &mut facts.ports_left_out);
                } else if let Some(constant) = constant(file, &node, None)? {
                    error::push(tensors, constant, encoded)?;
                } else if !matches!(node.op.as_str(), "NoOp" | "Assert") {
                    ends.push(encoded);
                }
            }
            (2, Field::Bytes(library)) => facts.scan_library(file, library, tensors)?,
            (4, Field::Bytes(versions)) => {
                for field in Fields::of(versions) {
                    match field? {
                        (1, Field::Varint(version)) => facts.producer = version,
                        (2, Field::Varint(version)) => facts.min_consumer = version,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    for encoded in ends {
        let node = self::node(encoded)?;
        if !read.contains(&node.name) {
            for port in results(&node) {
                push(&mut facts.outputs, port, &mut facts.ports_left_out);
            }
        }
    }
    Ok(facts)
}

fn push(ports: &mut Vec<Port>, port: Port, left_out: &mut u64) {
    if ports.len() < MAX_PORTS {
        ports.push(port);
    } else {
        *left_out += 1;
    }
}

impl GraphFacts {
    fn count(&mut self, node: &Node<'_>) {
        match self.ops.get_mut(&node.op) {
            Some(count) => *count += 1,
            None => {
                self.ops.insert(node.op.clone(), 1);
            }
        }
        self.oldest.add(node);
    }

    fn scan_library(
        &mut self,
        file: &[u8],
        library: &[u8],
        tensors: &mut Vec<StoredTensor>,
    ) -> Result<(), Damage> {
        for field in Fields::of(library) {
            let (1, Field::Bytes(function)) = field? else {
                continue;
            };
            self.functions += 1;
            // Its name may come behind its nodes.
            let mut name = String::new();
            for field in Fields::of(function) {
                if let (1, Field::Bytes(signature)) = field? {
                    name = text(signature, 1)?.unwrap_or_default();
                }
            }
            if name.len() > MAX_FUNCTION_NAME {
                return Err(Damage::new(function, "a function's name is too long"));
            }
            for field in Fields::of(function) {
                if let (3, Field::Bytes(node)) = field? {
                    let node = self::node(node)?;
                    self.function_nodes += 1;
                    self.count(&node);
                    if let Some(constant) = constant(file, &node, Some(&name))? {
                        error::push(tensors, constant, function)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// A node of a file that is mapped, so its names are copies.
pub(crate) type Node<'a> = messages::Node<'a, String>;

fn node(message: &[u8]) -> Result<Node<'_>, Damage> {
    let node = Node::parse(message)?;
    if node.op.is_empty() {
        return Err(Damage::new(message, "a node has no operation"));
    }
    Ok(node)
}

fn data_type(node: &Node<'_>, name: &str) -> Option<DType> {
    DType::from_proto(attr::data_type(node.attr(name)?)?)
}

fn text(message: &[u8], number: u32) -> Result<Option<String>, Damage> {
    let Some(field) = last(message, number) else {
        return Ok(None);
    };
    let problem = "a name is no text";
    let text = field.text();
    text.map(Some).ok_or_else(|| Damage::new(message, problem))
}

/// The node that an input of a graph's node comes from.
fn source(input: &str) -> &str {
    let input = input.strip_prefix('^').unwrap_or(input);
    input.split_once(':').map_or(input, |(node, _)| node)
}

fn placeholder(node: &Node<'_>) -> Result<Port, Damage> {
    let shape = node.attr("shape").and_then(attr::shape);
    Ok(Port {
        key: node.name.clone(),
        tensor: format!("{}:0", node.name),
        dtype: data_type(node, "dtype"),
        shape: shape.map_or(Ok(None), |shape| {
            tensor::dims(shape).map(|dims| dims.map(|dims| dims.into_iter().map(dim).collect()))
        })?,
    })
}

pub(crate) fn dim(size: i64) -> Dim {
    u64::try_from(size).map_or_else(|_| Dim::Unknown(String::new()), Dim::Known)
}

/// The outputs of a node that is nobody's input, as its operation's definition has them.
fn results<'n>(node: &'n Node<'_>) -> impl Iterator<Item = Port> + 'n {
    let outputs = op_defs::find(&node.op).map_or(&[][..], |def| &def.outputs);
    let unknown = outputs.is_empty() && op_defs::find(&node.op).is_none();
    let port = |index: usize, dtype| Port {
        key: node.name.clone(),
        tensor: format!("{}:{index}", node.name),
        dtype,
        shape: None,
    };
    let known = outputs.iter().enumerate();
    let known = known.map(move |(index, output)| port(index, result_type(node, output)));
    known.chain(unknown.then(|| port(0, None)))
}

fn result_type(node: &Node<'_>, output: &ArgDef) -> Option<DType> {
    match output.kind {
        ArgKind::One(ArgType::Fixed(number)) => DType::from_proto(number),
        ArgKind::One(ArgType::Attr(name)) => data_type(node, name).or_else(|| {
            let default = op_defs::find(&node.op)?.default(name)?;
            DType::from_proto(attr::data_type(default)?)
        }),
        ArgKind::Many(..) | ArgKind::Types(_) => None,
    }
}

/// The tensor that a node holds, if it is a constant.
fn constant(
    file: &[u8],
    node: &Node<'_>,
    function: Option<&str>,
) -> Result<Option<StoredTensor>, Damage> {
    if node.op != "Const" {
        return Ok(None);
    }
    let Some(message) = node.attr("value").and_then(attr::tensor) else {
        return Ok(None);
    };
    let header = Header::of(message)?;
    let shape = header.shape;
    let begin = message.as_ptr() as usize - file.as_ptr() as usize;
    Ok(Some(StoredTensor {
        name: match function {
            Some(function) => format!("{function}/{}", node.name),
            None => node.name.clone(),
        },
        dtype: header.dtype,
        bytes: match header.dtype {
            Some(DType::String) => message.len() as u64,
            _ => num_bytes(header.dtype, &shape)
                .ok_or_else(|| Damage::new(message, "a constant has a shape that none can have"))?,
        },
        shape,
        place: ElementsPlace::TensorFlow(begin..begin + message.len()),
    }))
}

/// The type and the shape of a `TensorProto`.
struct Header {
    dtype: Option<DType>,
    shape: Vec<u64>,
}

impl Header {
    fn of(message: &[u8]) -> Result<Self, Damage> {
        let shape = tensor::shape(message)?.unwrap_or_default();
        let problem = "a constant has dimensions that are not known";
        let shape = shape.into_iter().map(u64::try_from);
        Ok(Self {
            dtype: tensor::data_type(message).and_then(DType::from_proto),
            shape: shape
                .collect::<Result<_, _>>()
                .map_err(|_| Damage::new(message, problem))?,
        })
    }
}

/// The elements of a `TensorProto`.
pub(crate) fn elements(message: &[u8]) -> Result<Elements<'_>, &'static str> {
    const DAMAGED: &str = "its message is damaged";
    let header = Header::of(message).map_err(|_| DAMAGED)?;
    let dtype = header.dtype.ok_or("its type is unknown")?;
    let count = num_elements(&header.shape).ok_or("no tensor has that shape")?;
    let content = tensor::content(message);
    if !content.is_empty() {
        let size = dtype.size().ok_or("its type has no elements of one size")?;
        if content.len() as u64 != count.saturating_mul(size as u64) {
            return Err("it has not as many bytes as its shape needs");
        }
        return Elements::numbers(dtype, count, Cow::Borrowed(content));
    }
    if dtype == DType::String {
        let strings = all(message, tensor::STRINGS).filter_map(Field::bytes);
        let mut stored: Vec<_> = strings.map(Cow::Borrowed).collect();
        if stored.len() as u64 > count {
            return Err("it has more strings than elements of its shape");
        }
        if stored.is_empty() && count > 0 {
            stored.push(Cow::Borrowed(&[]));
        }
        return Ok(Elements::Strings { count, stored });
    }
    tensor::list_of(dtype).ok_or("its type has no numbers")?;
    let stored = tensor::listed(message, dtype).ok_or(DAMAGED)?;
    Elements::numbers(dtype, count, Cow::Owned(stored))
}
