//! ONNX models, read field by field; initialisers stay where they are.
//!
//! Specified by <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto> and `docs/ExternalData.md` beside it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Component, Path};

use serde_json::{Value, json};
use tfod_checkpoint::{DType, open_regular};
use tfod_proto::wire::{Field, Fields, last};

use tfod_text::Shown;

use crate::error::{Damage, push};
use crate::graph::{Dim, Port};
use crate::tensors::{Elements, ElementsPlace, MAX_RANK, StoredTensor, num_bytes, num_elements};

/// How deeply graphs may be nested in attributes of others.
const MAX_DEPTH: usize = 16;

/// What an ONNX model is made of.
#[derive(Clone, Debug, Default)]
pub struct OnnxFacts {
    /// The version of the file format.
    pub ir_version: u64,
    /// The version of each set of operators, by its domain; the standard one's is empty.
    pub opsets: BTreeMap<String, u64>,
    /// What wrote it, and its version.
    pub producer: (String, String),
    /// The name of the graph.
    pub graph: String,
    /// Nodes of the main graph.
    pub nodes: u64,
    /// Nodes of graphs inside of nodes, and of the model's functions.
    pub inner_nodes: u64,
    /// How many nodes there are of each operator, inner ones included; those of other domains as `domain::Operator`.
    pub ops: BTreeMap<String, u64>,
    /// What has to be given: inputs without an initialiser.
    pub inputs: Vec<Port>,
    /// What comes out.
    pub outputs: Vec<Port>,
    /// How many initialisers there are.
    pub initializers: u64,
    /// Bytes of all initialisers' elements.
    pub initializer_bytes: u64,
    /// Files that hold initialisers, with the bytes in each.
    pub external: BTreeMap<String, u64>,
    /// The model's metadata.
    pub metadata: BTreeMap<String, String>,
}

impl OnnxFacts {
    pub(crate) fn json(&self) -> Value {
        let ports = |ports: &[Port]| ports.iter().map(Port::json).collect::<Vec<_>>();
        json!({
            "ir_version": self.ir_version,
            "opsets": self.opsets,
            "producer": { "name": self.producer.0, "version": self.producer.1 },
            "graph": self.graph,
            "nodes": self.nodes,
            "inner_nodes": self.inner_nodes,
            "ops": self.ops,
            "inputs": ports(&self.inputs),
            "outputs": ports(&self.outputs),
            "initializers": self.initializers,
            "initializer_bytes": self.initializer_bytes,
            "external_data": self.external,
            "metadata": self.metadata,
        })
    }
}

/// Reads the model that `file` is; its initialisers are added to `tensors`.
pub(crate) fn scan(file: &[u8], tensors: &mut Vec<StoredTensor>) -> Result<OnnxFacts, Damage> {
    let mut facts = OnnxFacts::default();
    for field in Fields::of(file) {
        match field? {
            (1, Field::Varint(version)) => facts.ir_version = version,
            (2, field) => facts.producer.0 = owned(field, file)?,
            (3, field) => facts.producer.1 = owned(field, file)?,
            (7, Field::Bytes(graph)) => facts.scan_graph(file, graph, tensors)?,
            (8, Field::Bytes(import)) => {
                let version = number(import, 2).unwrap_or(0);
                facts.opsets.insert(text(import, 1)?, version);
            }
            (14, Field::Bytes(entry)) => {
                let (key, value) = (text(entry, 1)?, text(entry, 2)?);
                facts.metadata.insert(key, value);
            }
            (25, Field::Bytes(function)) => {
                for field in Fields::of(function) {
                    if let (7, Field::Bytes(node)) = field? {
                        facts.count(file, node, 1, tensors)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(facts)
}

impl OnnxFacts {
    fn scan_graph(
        &mut self,
        file: &[u8],
        graph: &[u8],
        tensors: &mut Vec<StoredTensor>,
    ) -> Result<(), Damage> {
        let (mut inputs, mut initialized) = (Vec::new(), Vec::new());
        for field in Fields::of(graph) {
            match field? {
                (1, Field::Bytes(node)) => self.count(file, node, 0, tensors)?,
                (2, field) => self.graph = owned(field, file)?,
                (5, Field::Bytes(tensor)) => {
                    initialized.push(tensors.len());
                    self.initialize(file, tensor, tensors)?;
                }
                // Values and places of a sparse one.
                (15, Field::Bytes(sparse)) => {
                    for field in Fields::of(sparse) {
                        if let (1 | 2, Field::Bytes(tensor)) = field? {
                            self.initialize(file, tensor, tensors)?;
                        }
                    }
                }
                (11, Field::Bytes(input)) => push(&mut inputs, port(input)?, input)?,
                (12, Field::Bytes(output)) => push(&mut self.outputs, port(output)?, output)?,
                _ => {}
            }
        }
        let given = initialized
            .into_iter()
            .filter_map(|index| tensors.get(index));
        let given: std::collections::HashSet<&str> = given.map(|info| &*info.name).collect();
        inputs.retain(|input| !given.contains(&*input.key));
        self.inputs = inputs;
        Ok(())
    }

    /// Adds an initialiser.
    fn initialize(
        &mut self,
        file: &[u8],
        tensor: &[u8],
        tensors: &mut Vec<StoredTensor>,
    ) -> Result<(), Damage> {
        self.initializers += 1;
        let bytes = self.add(file, tensor, None, tensors)?;
        self.initializer_bytes = self.initializer_bytes.saturating_add(bytes);
        Ok(())
    }

    /// Adds a tensor, by another name than its own if there is one; gives its bytes.
    fn add(
        &mut self,
        file: &[u8],
        tensor: &[u8],
        name: Option<String>,
        tensors: &mut Vec<StoredTensor>,
    ) -> Result<u64, Damage> {
        let (mut info, external) = initializer(file, tensor)?;
        if let Some(location) = external {
            let bytes = self.external.entry(location).or_default();
            *bytes = bytes.saturating_add(info.bytes);
        }
        if let Some(name) = name {
            info.name = name;
        }
        let bytes = info.bytes;
        push(tensors, info, tensor)?;
        Ok(bytes)
    }

    /// Counts a node, and those of the graphs in its attributes. Tensors in attributes are added, the first, such as the value of `Constant`, by the
    /// name of the node's first output.
    fn count(
        &mut self,
        file: &[u8],
        node: &[u8],
        depth: usize,
        tensors: &mut Vec<StoredTensor>,
    ) -> Result<(), Damage> {
        if depth > MAX_DEPTH {
            return Err(Damage::new(node, "graphs are nested too deeply"));
        }
        if depth == 0 {
            self.nodes += 1;
        } else {
            self.inner_nodes += 1;
        }
        let (op, domain) = (text(node, 4)?, text(node, 7)?);
        let name = match domain.as_str() {
            "" | "ai.onnx" => op,
            domain => format!("{domain}::{op}"),
        };
        match self.ops.get_mut(&name) {
            Some(count) => *count += 1,
            None => {
                self.ops.insert(name, 1);
            }
        }
        let mut outputs = Fields::of(node).map_while(Result::ok);
        let mut output = outputs
            .find(|(number, _)| *number == 2)
            .and_then(|(_, field)| field.text());
        for field in Fields::of(node) {
            let (5, Field::Bytes(attribute)) = field? else {
                continue;
            };
            for field in Fields::of(attribute) {
                match field? {
                    // `t` and `tensors`.
                    (5 | 10, Field::Bytes(tensor)) => {
                        self.add(file, tensor, output.take(), tensors)?;
                    }
                    // `g` and `graphs`.
                    (6 | 11, Field::Bytes(graph)) => {
                        for field in Fields::of(graph) {
                            match field? {
                                (1, Field::Bytes(node)) => {
                                    self.count(file, node, depth + 1, tensors)?;
                                }
                                (5, Field::Bytes(tensor)) => {
                                    self.initialize(file, tensor, tensors)?;
                                }
                                _ => {}
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

fn number(message: &[u8], wanted: u32) -> Option<u64> {
    last(message, wanted)?.varint()
}

fn text(message: &[u8], wanted: u32) -> Result<String, Damage> {
    last(message, wanted).map_or_else(|| Ok(String::new()), |field| owned(field, message))
}

fn owned(field: Field<'_>, message: &[u8]) -> Result<String, Damage> {
    let text = field.text();
    text.ok_or_else(|| Damage::new(message, "a name is no text"))
}

/// A `ValueInfoProto`.
fn port(message: &[u8]) -> Result<Port, Damage> {
    let name = text(message, 1)?;
    let mut port = Port {
        key: name.clone(),
        tensor: name,
        dtype: None,
        shape: None,
    };
    // The type, and of its kinds that of a tensor.
    let tensor = last(message, 2)
        .and_then(Field::bytes)
        .and_then(|of| last(of, 1)?.bytes());
    let Some(tensor) = tensor else {
        return Ok(port);
    };
    port.dtype = number(tensor, 1).and_then(dtype);
    if let Some(shape) = last(tensor, 2).and_then(Field::bytes) {
        let mut dims = Vec::new();
        for field in Fields::of(shape) {
            if let (1, Field::Bytes(dim)) = field? {
                dims.push(match number(dim, 1) {
                    Some(size) => super::graph::dim(size.cast_signed()),
                    None => Dim::Unknown(text(dim, 2)?),
                });
            }
            if dims.len() > MAX_RANK {
                return Err(Damage::new(shape, "a shape has too many dimensions"));
            }
        }
        port.shape = Some(dims);
    }
    Ok(port)
}

/// ONNX's number of an element type as TensorFlow's type.
fn dtype(number: u64) -> Option<DType> {
    Some(match number {
        1 => DType::Float32,
        2 => DType::UInt8,
        3 => DType::Int8,
        4 => DType::UInt16,
        5 => DType::Int16,
        6 => DType::Int32,
        7 => DType::Int64,
        8 => DType::String,
        9 => DType::Bool,
        10 => DType::Float16,
        11 => DType::Float64,
        12 => DType::UInt32,
        13 => DType::UInt64,
        14 => DType::Complex64,
        15 => DType::Complex128,
        16 => DType::BFloat16,
        17 => DType::Float8E4M3Fn,
        19 => DType::Float8E5M2,
        _ => return None,
    })
}

/// The dimensions of a `TensorProto`, packed or not.
fn dims(message: &[u8]) -> Result<Vec<u64>, Damage> {
    let damaged = || {
        Damage::new(
            message,
            "an initialiser has no shape that a tensor can have",
        )
    };
    let mut dims = Vec::new();
    for field in Fields::of(message) {
        match field? {
            (1, Field::Varint(size)) => dims.push(size),
            (1, Field::Bytes(packed)) => {
                for size in Fields::packed_varints(packed).take(MAX_RANK + 1) {
                    dims.push(size.ok_or_else(damaged)?);
                }
            }
            _ => {}
        }
        if dims.len() > MAX_RANK {
            return Err(damaged());
        }
    }
    Ok(dims)
}

/// An initialiser, and the file that holds its elements if another does.
fn initializer(file: &[u8], message: &[u8]) -> Result<(StoredTensor, Option<String>), Damage> {
    let problem = "an initialiser has no shape that a tensor can have";
    let shape = dims(message)?;
    let dtype = number(message, 2).and_then(dtype);
    let begin = message.as_ptr() as usize - file.as_ptr() as usize;
    let info = StoredTensor {
        name: text(message, 8)?,
        dtype,
        bytes: match dtype {
            Some(DType::String) => message.len() as u64,
            _ => num_bytes(dtype, &shape).ok_or_else(|| Damage::new(message, problem))?,
        },
        shape,
        place: ElementsPlace::Onnx(begin..begin + message.len()),
    };
    let location = External::of(message).map(|external| external.location);
    Ok((info, location))
}

/// Where elements outside of the model are.
struct External {
    location: String,
    offset: u64,
    length: Option<u64>,
}

impl External {
    fn of(message: &[u8]) -> Option<Self> {
        if number(message, 14) != Some(1) {
            return None;
        }
        let mut external = Self {
            location: String::new(),
            offset: 0,
            length: None,
        };
        for (number, field) in Fields::of(message).map_while(Result::ok) {
            let (13, Field::Bytes(entry)) = (number, field) else {
                continue;
            };
            let value = text(entry, 2).unwrap_or_default();
            match text(entry, 1).unwrap_or_default().as_str() {
                "location" => external.location = value,
                "offset" => external.offset = value.parse().ok()?,
                "length" => external.length = Some(value.parse().ok()?),
                _ => {}
            }
        }
        Some(external)
    }

    /// Reads elements of `bytes` bytes from the file, which must be in `folder` or below it.
    fn read(&self, folder: &Path, bytes: u64) -> Result<Vec<u8>, String> {
        let location = Path::new(&self.location);
        let mut components = location.components();
        if self.location.is_empty()
            || !components.all(|c| matches!(c, Component::Normal(_) | Component::CurDir))
        {
            return Err(format!(
                "its elements are said to be in `{}`, which is no file below the model's folder",
                self.location
            ));
        }
        if self.length.is_some_and(|length| length != bytes) {
            return Err(format!(
                "its elements are said to take {} bytes, and its shape needs {bytes}",
                self.length.unwrap_or(0)
            ));
        }
        let path = folder.join(location);
        let failed = |problem| format!("{}: cannot read: {problem}", path.shown());
        let mut file = open_regular(&path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?.len();
        if self.offset.checked_add(bytes).is_none_or(|end| end > found) {
            return Err(format!(
                "its elements are said to be at byte {} of {}, which has {found} bytes",
                self.offset,
                path.shown()
            ));
        }
        file.seek(SeekFrom::Start(self.offset)).map_err(failed)?;
        let mut elements = Vec::new();
        file.take(bytes)
            .read_to_end(&mut elements)
            .map_err(failed)?;
        Ok(elements)
    }
}

/// The elements of an initialiser of a model in `folder`.
pub(crate) fn elements<'a>(message: &'a [u8], folder: &Path) -> Result<Elements<'a>, String> {
    const DAMAGED: &str = "its message is damaged";
    let shape = dims(message).map_err(|_| DAMAGED)?;
    let dtype = number(message, 2).and_then(dtype);
    let dtype = dtype.ok_or("its type is none that TensorFlow has")?;
    let count = num_elements(&shape).ok_or("no tensor has that shape")?;
    if dtype == DType::String {
        let fields = Fields::of(message).map_while(Result::ok);
        let strings = fields.filter(|(number, _)| *number == 6);
        let stored: Vec<_> = strings
            .filter_map(|(_, field)| field.bytes().map(Cow::Borrowed))
            .collect();
        if stored.len() as u64 != count {
            return Err("it has not as many strings as its shape has elements".to_owned());
        }
        return Ok(Elements::Strings { count, stored });
    }
    let bytes = num_bytes(Some(dtype), &shape).ok_or("no tensor has that shape")?;
    let stored = if let Some(external) = External::of(message) {
        Cow::Owned(external.read(folder, bytes)?)
    } else if let Some(raw) = last(message, 9).and_then(Field::bytes) {
        Cow::Borrowed(raw)
    } else {
        Cow::Owned(listed(dtype, message).ok_or(DAMAGED)?)
    };
    if stored.len() as u64 != bytes {
        return Err(format!(
            "it has {} bytes, and its shape needs {bytes}",
            stored.len()
        ));
    }
    Ok(Elements::numbers(dtype, count, stored)?)
}

/// The numbers of the lists, which have a field for each class of types.
fn listed(dtype: DType, message: &[u8]) -> Option<Vec<u8>> {
    let (list, size) = match dtype {
        DType::Float32 | DType::Complex64 => (4, 4),
        DType::Int64 => (7, 8),
        DType::Float64 | DType::Complex128 => (10, 8),
        DType::UInt32 => (11, 4),
        DType::UInt64 => (11, 8),
        other => (5, other.size()?),
    };
    let mut out = Vec::new();
    for field in Fields::of(message) {
        let (number, field) = field.ok()?;
        if number != list {
            continue;
        }
        match field {
            Field::Fixed32(bits) => out.extend(bits.to_le_bytes()),
            Field::Fixed64(bits) => out.extend(bits.to_le_bytes()),
            Field::Varint(value) => out.extend(value.to_le_bytes().get(..size)?),
            Field::Bytes(packed) if list == 4 || list == 10 => out.extend_from_slice(packed),
            Field::Bytes(packed) => {
                for value in Fields::packed_varints(packed) {
                    out.extend(value?.to_le_bytes().get(..size)?);
                }
            }
        }
    }
    Some(out)
}
