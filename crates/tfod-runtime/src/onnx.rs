//! ONNX models, read where they are in memory, as far as it takes to cut a graph and to refuse what would be computed wrongly.
//!
//! Specified by <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>.

use std::collections::BTreeMap;

use tfod_proto::wire::{Field, Fields, Malformed};

/// How deeply graphs may be nested in attributes of others.
const MAX_DEPTH: usize = 16;

/// A type of elements, by ONNX's number.
pub(crate) mod dtype {
    pub(crate) const FLOAT: u64 = 1;
    pub(crate) const UINT8: u64 = 2;
    pub(crate) const INT8: u64 = 3;
    pub(crate) const INT32: u64 = 6;
    pub(crate) const INT64: u64 = 7;
    pub(crate) const BOOL: u64 = 9;
    pub(crate) const FLOAT16: u64 = 10;
}

/// What is wrong with a model, in words that come after its path.
pub(crate) type Problem = String;

/// A model.
#[derive(Debug, Default)]
pub(crate) struct ModelProto<'a> {
    pub(crate) ir_version: u64,
    /// The messages that say which operator sets are used.
    pub(crate) imports: Vec<&'a [u8]>,
    /// The version of the standard operator set; 0 where none is named.
    pub(crate) opset: u64,
    /// What the model says of itself, by key.
    pub(crate) metadata: BTreeMap<&'a str, &'a str>,
    pub(crate) graph: GraphProto<'a>,
}

/// A graph.
#[derive(Debug, Default)]
pub(crate) struct GraphProto<'a> {
    pub(crate) nodes: Vec<NodeProto<'a>>,
    pub(crate) initialisers: Vec<TensorProto<'a>>,
    pub(crate) inputs: Vec<Port<'a>>,
    pub(crate) outputs: Vec<Port<'a>>,
}

/// A node.
#[derive(Debug, Default)]
pub(crate) struct NodeProto<'a> {
    /// The whole message.
    pub(crate) bytes: &'a [u8],
    pub(crate) name: &'a str,
    pub(crate) op: &'a str,
    pub(crate) domain: &'a str,
    pub(crate) inputs: Vec<&'a str>,
    pub(crate) outputs: Vec<&'a str>,
    pub(crate) attributes: Vec<AttributeProto<'a>>,
}

/// An attribute of a node.
#[derive(Debug, Default)]
pub(crate) struct AttributeProto<'a> {
    /// The whole message.
    pub(crate) bytes: &'a [u8],
    pub(crate) name: &'a str,
    pub(crate) float: f32,
    pub(crate) int: i64,
    pub(crate) ints: Vec<i64>,
    pub(crate) text: &'a [u8],
    pub(crate) tensors: Vec<TensorProto<'a>>,
    pub(crate) graphs: Vec<GraphProto<'a>>,
}

/// A tensor.
#[derive(Clone, Debug, Default)]
pub(crate) struct TensorProto<'a> {
    /// The whole message.
    pub(crate) bytes: &'a [u8],
    pub(crate) name: &'a str,
    pub(crate) dims: Vec<u64>,
    pub(crate) dtype: u64,
    pub(crate) raw: Option<&'a [u8]>,
    /// 64-bit integers, where they are not in `raw`.
    pub(crate) ints: Vec<i64>,
    /// Where the elements are, if in another file.
    pub(crate) external: Option<External<'a>>,
}

/// The place of a tensor's elements in another file.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct External<'a> {
    pub(crate) location: &'a str,
    pub(crate) offset: u64,
    pub(crate) length: Option<u64>,
}

/// An input or output of a graph.
#[derive(Debug, Default)]
pub(crate) struct Port<'a> {
    pub(crate) name: &'a str,
    /// The type of the elements; 0 where it is not said, or the value is no tensor.
    pub(crate) dtype: u64,
    /// The sizes, `None` of those that are open.
    pub(crate) shape: Option<Vec<Option<u64>>>,
}

/// Reads a model.
pub(crate) fn read(file: &[u8]) -> Result<ModelProto<'_>, Problem> {
    let at = |damage: Malformed| {
        let offset = damage.offset_in(file);
        format!("it is damaged at byte {offset}: {}", damage.problem())
    };
    model(file)
        .map_err(at)?
        .ok_or_else(|| "it has no graph".to_owned())
}

const NO_TEXT: &str = "expected text";

fn text<'a>(field: Field<'a>, within: &[u8]) -> Result<&'a str, Malformed> {
    field
        .borrowed_text()
        .ok_or_else(|| Malformed::because(within, NO_TEXT))
}

fn model(file: &[u8]) -> Result<Option<ModelProto<'_>>, Malformed> {
    let mut model = ModelProto::default();
    let mut found = false;
    for field in Fields::of(file) {
        match field? {
            (1, Field::Varint(version)) => model.ir_version = version,
            (7, Field::Bytes(bytes)) => {
                model.graph = graph(bytes, 0)?;
                found = true;
            }
            (8, Field::Bytes(import)) => {
                let (mut domain, mut version) = ("", 0);
                for field in Fields::of(import) {
                    match field? {
                        (1, field) => domain = text(field, import)?,
                        (2, Field::Varint(number)) => version = number,
                        _ => {}
                    }
                }
                if matches!(domain, "" | "ai.onnx") {
                    model.opset = version;
                }
                model.imports.push(import);
            }
            (14, Field::Bytes(entry)) => {
                let (key, value) = entry_of(entry)?;
                model.metadata.insert(key, value);
            }
            _ => {}
        }
    }
    Ok(found.then_some(model))
}

fn graph(bytes: &[u8], depth: usize) -> Result<GraphProto<'_>, Malformed> {
    if depth > MAX_DEPTH {
        return Err(Malformed::because(bytes, "graphs are nested too deeply"));
    }
    let mut graph = GraphProto::default();
    for field in Fields::of(bytes) {
        match field? {
            (1, Field::Bytes(bytes)) => graph.nodes.push(node(bytes, depth)?),
            (5, Field::Bytes(bytes)) => graph.initialisers.push(tensor(bytes)?),
            (11, Field::Bytes(bytes)) => graph.inputs.push(port(bytes)?),
            (12, Field::Bytes(bytes)) => graph.outputs.push(port(bytes)?),
            _ => {}
        }
    }
    Ok(graph)
}

fn node(bytes: &[u8], depth: usize) -> Result<NodeProto<'_>, Malformed> {
    let mut node = NodeProto {
        bytes,
        ..NodeProto::default()
    };
    for field in Fields::of(bytes) {
        match field? {
            (1, field) => node.inputs.push(text(field, bytes)?),
            (2, field) => node.outputs.push(text(field, bytes)?),
            (3, field) => node.name = text(field, bytes)?,
            (4, field) => node.op = text(field, bytes)?,
            (5, Field::Bytes(bytes)) => node.attributes.push(attribute(bytes, depth)?),
            (7, field) => node.domain = text(field, bytes)?,
            _ => {}
        }
    }
    Ok(node)
}

fn attribute(bytes: &[u8], depth: usize) -> Result<AttributeProto<'_>, Malformed> {
    let mut attribute = AttributeProto {
        bytes,
        ..AttributeProto::default()
    };
    for field in Fields::of(bytes) {
        match field? {
            (1, field) => attribute.name = text(field, bytes)?,
            (2, Field::Fixed32(bits)) => attribute.float = f32::from_bits(bits),
            (3, Field::Varint(int)) => attribute.int = int.cast_signed(),
            (4, Field::Bytes(text)) => attribute.text = text,
            (5 | 10, Field::Bytes(bytes)) => attribute.tensors.push(tensor(bytes)?),
            (6 | 11, Field::Bytes(bytes)) => attribute.graphs.push(graph(bytes, depth + 1)?),
            (8, field) => numbers(field, bytes, &mut attribute.ints)?,
            _ => {}
        }
    }
    Ok(attribute)
}

/// Adds a number, or the numbers of a packed list.
fn numbers(field: Field<'_>, within: &[u8], to: &mut Vec<i64>) -> Result<(), Malformed> {
    match field {
        Field::Varint(number) => to.push(number.cast_signed()),
        Field::Bytes(list) => {
            for number in Fields::packed_varints(list) {
                to.push(number.ok_or_else(|| Malformed::at(list))?.cast_signed());
            }
        }
        _ => return Err(Malformed::because(within, "expected whole numbers")),
    }
    Ok(())
}

fn tensor(bytes: &[u8]) -> Result<TensorProto<'_>, Malformed> {
    let mut tensor = TensorProto {
        bytes,
        ..TensorProto::default()
    };
    let (mut dims, mut external, mut is_external) = (Vec::new(), External::default(), false);
    for field in Fields::of(bytes) {
        match field? {
            (1, field) => numbers(field, bytes, &mut dims)?,
            (2, Field::Varint(number)) => tensor.dtype = number,
            (7, field) => numbers(field, bytes, &mut tensor.ints)?,
            (8, field) => tensor.name = text(field, bytes)?,
            (9, Field::Bytes(raw)) => tensor.raw = Some(raw),
            (13, Field::Bytes(entry)) => external.add(entry)?,
            (14, Field::Varint(number)) => is_external = number == 1,
            _ => {}
        }
    }
    let no_size = |_| Malformed::because(bytes, "a size is below 0");
    let sizes = dims.into_iter().map(u64::try_from);
    tensor.dims = sizes.collect::<Result<_, _>>().map_err(no_size)?;
    tensor.external = is_external.then_some(external);
    Ok(tensor)
}

impl<'a> External<'a> {
    /// Adds what an entry says.
    fn add(&mut self, entry: &'a [u8]) -> Result<(), Malformed> {
        let (key, value) = entry_of(entry)?;
        let number = || {
            let damage = |_| Malformed::because(entry, "expected a number of bytes");
            value.parse().map_err(damage)
        };
        match key {
            "location" => self.location = value,
            "offset" => self.offset = number()?,
            "length" => self.length = Some(number()?),
            _ => {}
        }
        Ok(())
    }
}

/// The key and the value of an entry.
fn entry_of(entry: &[u8]) -> Result<(&str, &str), Malformed> {
    let (mut key, mut value) = ("", "");
    for field in Fields::of(entry) {
        match field? {
            (1, field) => key = text(field, entry)?,
            (2, field) => value = text(field, entry)?,
            _ => {}
        }
    }
    Ok((key, value))
}

fn port(bytes: &[u8]) -> Result<Port<'_>, Malformed> {
    let mut port = Port::default();
    for field in Fields::of(bytes) {
        match field? {
            (1, field) => port.name = text(field, bytes)?,
            (2, Field::Bytes(kind)) => {
                for field in Fields::of(kind) {
                    if let (1, Field::Bytes(of_tensor)) = field? {
                        port.add(of_tensor)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(port)
}

impl Port<'_> {
    /// Adds what a type of tensors says.
    fn add(&mut self, of_tensor: &[u8]) -> Result<(), Malformed> {
        for field in Fields::of(of_tensor) {
            match field? {
                (1, Field::Varint(number)) => self.dtype = number,
                (2, Field::Bytes(dims)) => {
                    let mut shape = Vec::new();
                    for field in Fields::of(dims) {
                        if let (1, Field::Bytes(dim)) = field? {
                            let mut size = None;
                            for field in Fields::of(dim) {
                                if let (1, Field::Varint(number)) = field? {
                                    size = Some(number);
                                }
                            }
                            shape.push(size);
                        }
                    }
                    self.shape = Some(shape);
                }
                _ => {}
            }
        }
        Ok(())
    }
}
