//! TensorFlow's nodes as a graph of ours, so that what is in a file can be run: the way back from [`lower`](crate::lower).
//!
//! Every operation that the back end writes is read, and a few more that mean the same (`Squeeze`, `ExpandDims`, `Identity`). Where one operation of the
//! graph is several nodes there, the nodes are recognised: sizes of shapes that are worked out at run time ([`sizes`]), padding by a computed number of rows
//! ([`ops`]), and loops over slices ([`loops`]). Anything else is refused with the node's name. All tensors, weights included, are constants of the result.
//!
//! ```text
//! SavedModel ─ freeze ─▶ nodes without calls and variables ┐
//! GraphDef ──────────────────────────────────────────────┴─ read ─▶ Graph
//! ```

mod loops;
mod node;
mod ops;
mod sizes;

use std::collections::HashMap;

use tfod_graph::{
    Builder, DType, Dim, Graph, Shape, Tensor, ValidateError, ValueId, passes, validate,
};
use tfod_proto::wire::Malformed;
use tfod_text::Shown;

use crate::constants::{Decoded, FlatGraph, FlatNode, FlatTensor, Stored, num_elements};
use crate::freeze::Frozen;
use crate::messages::{attr, tensor};
use loops::Loops;
use sizes::Sizes;

/// Why TensorFlow's nodes cannot be read as a [`Graph`](tfod_graph::Graph).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The message is no `GraphDef`.
    #[error("it cannot be read as a GraphDef: {0}")]
    Damaged(&'static str),
    /// A node has no counterpart.
    #[error("node `{}` ({}) {}", node.shown(), op.shown(), problem.shown())]
    Node {
        /// The node's name.
        node: String,
        /// Its operation.
        op: String,
        /// What about it has no counterpart.
        problem: String,
    },
    /// The nodes do not go together, or are too many.
    #[error("{0}")]
    Graph(#[from] ValidateError),
}

impl From<Malformed> for ReadError {
    fn from(malformed: Malformed) -> Self {
        Self::Damaged(malformed.problem())
    }
}

impl Frozen<'_> {
    /// The graph of these nodes. Inputs and outputs are called by their keys.
    ///
    /// # Errors
    /// Where a node has no counterpart.
    pub fn to_graph(&self) -> Result<Graph, ReadError> {
        let flat = FlatGraph::of_frozen(self);
        let inputs = self.inputs.iter().map(|input| {
            let node = flat.places.get(&input.tensor.node).copied();
            (node.unwrap_or(usize::MAX), input.key.clone())
        });
        let outputs = self.outputs.iter().map(|output| output.key.clone());
        let (inputs, outputs) = (inputs.collect(), outputs.collect());
        read(&flat.graph, inputs, outputs)
    }
}

/// The graph of a `GraphDef` without functions. Placeholders are its inputs; what no other node reads are its outputs, called like their nodes, in the order
/// of their names and numbers.
///
/// # Errors
/// Where it is no `GraphDef`, or a node has no counterpart.
pub fn graph_of_graph_def(graph_def: &[u8]) -> Result<Graph, ReadError> {
    let mut flat = FlatGraph::of_graph_def(graph_def)?;
    let name = |at: usize| flat.nodes.get(at).map_or("", |node| &*node.name);
    let mut outputs = std::mem::take(&mut flat.outputs);
    outputs.sort_by_key(|output| numbered(name(output.node)));
    let keys = outputs.iter().map(|of| name(of.node).to_owned()).collect();
    let inputs = flat.nodes.iter().enumerate();
    let inputs = inputs.filter(|(_, node)| node.op == PLACEHOLDER);
    let inputs = inputs.map(|(at, node)| (at, node.name.to_string()));
    let inputs = inputs.collect();
    flat.outputs = outputs;
    read(&flat, inputs, keys)
}

/// What names in a SavedModel's function begin with when it is frozen.
const CALL: &str = "StatefulPartitionedCall/";
const PLACEHOLDER: &str = "Placeholder";

/// A name in the order in which TensorFlow numbers names: `Identity`, `Identity_2`, `Identity_10`.
fn numbered(name: &str) -> (String, u64) {
    let parts = name.rsplit_once('_');
    let parts = parts.and_then(|(stem, number)| Some((stem, number.parse().ok()?)));
    let (stem, number) = parts.unwrap_or((name, 0));
    (stem.to_owned(), number)
}

/// Reads a flat graph whose inputs are these nodes, by their keys.
fn read(
    flat: &FlatGraph<'_>,
    inputs: Vec<(usize, String)>,
    outputs: Vec<String>,
) -> Result<Graph, ReadError> {
    let mut reader = Reader {
        flat,
        loops: Loops::of(flat),
        sizes: Sizes::default(),
        left: MAX_REPEATED,
    };
    let mut b = Builder::new("read");
    let mut scope = Scope::default();
    for (at, key) in inputs {
        let node = reader.node(at)?;
        let (dtype, shape) = Reader::declared(node, &key)?;
        let value = b.input(&legal(&key), dtype, shape);
        scope.values.insert(FlatTensor { node: at, port: 0 }, value);
    }
    reader.read_into(&mut b, &mut scope, &flat.outputs)?;
    for (key, tensor) in outputs.iter().zip(&flat.outputs) {
        let value = reader.value(&scope, tensor)?;
        b.output(&legal(key), value);
    }
    let graph = passes::standard(&b.finish())?;
    validate(&graph)?;
    Ok(graph)
}

/// How many bytes of constants may be made of fewer bytes in the file.
const MAX_REPEATED: usize = 1 << 28;

/// The values of one graph or body.
#[derive(Debug, Default)]
struct Scope {
    values: HashMap<FlatTensor, ValueId>,
    /// What names of nodes begin with here, and values need not.
    prefix: String,
    depth: usize,
}

struct Reader<'g, 'a> {
    flat: &'g FlatGraph<'a>,
    loops: Loops,
    sizes: Sizes,
    /// How many bytes may still be made of fewer.
    left: usize,
}

/// What has been done of a node on the way.
enum Visit {
    /// Its inputs are to be read first.
    Enter(usize),
    /// Its inputs have been read.
    Leave(usize),
}

impl<'g, 'a> Reader<'g, 'a> {
    fn node(&self, at: usize) -> Result<&'g FlatNode<'a>, ReadError> {
        self.flat.nodes.get(at).ok_or_else(|| ReadError::Node {
            node: String::new(),
            op: String::new(),
            problem: "is read, and is not in the graph".to_owned(),
        })
    }

    /// Where a tensor's value is.
    fn value(&self, scope: &Scope, tensor: &FlatTensor) -> Result<ValueId, ReadError> {
        let node = self.node(tensor.node)?;
        let value = scope.values.get(tensor).copied();
        value.ok_or_else(|| refused(node, format!("has no output {}", tensor.port)))
    }

    /// Writes what the wanted tensors need, each node after those that it reads. Chains may be long, so this does not recurse.
    fn read_into(
        &mut self,
        b: &mut Builder,
        scope: &mut Scope,
        wanted: &[FlatTensor],
    ) -> Result<(), ReadError> {
        let mut open = vec![false; self.flat.nodes.len()];
        let mut stack: Vec<Visit> = wanted.iter().rev().map(|t| Visit::Enter(t.node)).collect();
        while let Some(visit) = stack.pop() {
            match visit {
                Visit::Enter(at) => {
                    let first = FlatTensor { node: at, port: 0 };
                    if scope.values.contains_key(&first) {
                        continue;
                    }
                    let node = self.node(at)?;
                    if let Some(is_open @ false) = open.get_mut(at) {
                        *is_open = true;
                    } else {
                        return Err(refused(node, "depends on itself".to_owned()));
                    }
                    stack.push(Visit::Leave(at));
                    for read in self.needs(at, node)?.into_iter().rev() {
                        if read.node >= self.flat.nodes.len() {
                            let problem = "reads a node that is not in the graph";
                            return Err(refused(node, problem.to_owned()));
                        }
                        if !scope.values.contains_key(&read) {
                            stack.push(Visit::Enter(read.node));
                        }
                    }
                }
                Visit::Leave(at) => {
                    let node = self.node(at)?;
                    let values = self.node_values(b, scope, at, node)?;
                    for (port, value) in values.into_iter().enumerate() {
                        scope.values.insert(FlatTensor { node: at, port }, value);
                    }
                    if let Some(is_open) = open.get_mut(at) {
                        *is_open = false;
                    }
                }
            }
        }
        Ok(())
    }

    /// What has to be there before a node is written.
    fn needs(&self, at: usize, node: &FlatNode<'_>) -> Result<Vec<FlatTensor>, ReadError> {
        Ok(match &*node.op {
            loops::STACK => self.loops.reads(self.flat, at)?,
            ops::EXAMPLE => node.inputs.first().copied().into_iter().collect(),
            _ => node.inputs.clone(),
        })
    }

    fn node_values(
        &mut self,
        b: &mut Builder,
        scope: &mut Scope,
        at: usize,
        node: &'g FlatNode<'a>,
    ) -> Result<Vec<ValueId>, ReadError> {
        if &*node.op == loops::STACK {
            return self.map(b, scope, at, node).map(|value| vec![value]);
        }
        let name = scope.name(node);
        if let Some(stored) = node.value {
            let tensor = self.constant(node, stored)?;
            let value = b.constant(&name, tensor)?;
            self.sizes.note(b, value);
            return Ok(vec![value]);
        }
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for tensor in self.needs(at, node)? {
            inputs.push(self.value(scope, &tensor)?);
        }
        self.operation(b, node, &name, &inputs)
    }

    /// The tensor of a constant, written out.
    fn constant(&mut self, node: &FlatNode<'_>, stored: Stored<'_>) -> Result<Tensor, ReadError> {
        let message = stored.message();
        let message =
            message.ok_or_else(|| refused(node, "is a variable that cannot be read".to_owned()))?;
        let number = tensor::data_type(&message).unwrap_or(0);
        let dtype = element_type(number).ok_or_else(|| refused_type(node, number))?;
        let damaged = || refused(node, "has a value that is damaged".to_owned());
        let Decoded {
            shape, mut bytes, ..
        } = Decoded::of(&message).ok_or_else(|| refused_type(node, number))?;
        let size = dtype.size().ok_or_else(damaged)?;
        let whole = num_elements(&shape).and_then(|count| count.checked_mul(size));
        let whole = whole.ok_or_else(damaged)?;
        if let Some(missing) = whole.checked_sub(bytes.len()).filter(|n| *n > 0) {
            self.left = self.left.checked_sub(missing).ok_or_else(|| {
                let problem = format!("repeats a number too often: more than {MAX_REPEATED} bytes");
                refused(node, problem)
            })?;
            let last = bytes.len().checked_sub(size).and_then(|at| bytes.get(at..));
            let last = last.ok_or_else(damaged)?.to_vec();
            bytes.reserve_exact(missing);
            while bytes.len() < whole {
                bytes.extend_from_slice(&last);
            }
        }
        let shape: Vec<u64> = shape.into_iter().map(|size| size as u64).collect();
        Tensor::from_bytes(dtype, &shape, bytes).ok_or_else(damaged)
    }

    /// The element type and shape of a placeholder. Of unknown sizes, all leading ones are the batch; those of images are called so.
    fn declared(node: &FlatNode<'_>, key: &str) -> Result<(DType, Shape), ReadError> {
        if node.op != PLACEHOLDER {
            return Err(refused(node, "is an input, and no placeholder".to_owned()));
        }
        let number = node.attr("dtype").and_then(attr::data_type).unwrap_or(0);
        let dtype = element_type(number).ok_or_else(|| refused_type(node, number))?;
        let shape = node.attr("shape").and_then(attr::shape);
        let dims = shape.map_or(Ok(None), tensor::dims)?;
        let dims =
            dims.ok_or_else(|| refused(node, "has an unknown number of dimensions".to_owned()))?;
        let is_image = dims.len() == 4;
        let dims = dims.iter().enumerate().map(|(axis, size)| {
            let unknown = || match axis {
                0 => Dim::symbol("batch"),
                1 if is_image => Dim::symbol(&format!("{key}_height")),
                2 if is_image => Dim::symbol(&format!("{key}_width")),
                _ => Dim::symbol(&format!("{key}_{axis}")),
            };
            u64::try_from(*size).map_or_else(|_| unknown(), Dim::Known)
        });
        Ok((dtype, Shape(dims.collect())))
    }
}

impl Scope {
    /// The name of a node's value.
    fn name(&self, node: &FlatNode<'_>) -> String {
        legal(self.own(&node.name))
    }

    /// A name without that of the body around it.
    fn own<'n>(&self, name: &'n str) -> &'n str {
        let own = name.rsplit_once(&*self.prefix);
        let own = own.filter(|_| !self.prefix.is_empty());
        own.map_or(name.strip_prefix(CALL).unwrap_or(name), |(_, own)| own)
    }
}

/// A name as graphs have them. Those of TensorFlow may have other characters.
fn legal(name: &str) -> String {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/');
    let mut legal: String = name
        .chars()
        .map(|c| if is_legal(c) { c } else { '_' })
        .collect();
    if !legal.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '.') {
        legal.insert(0, 'n');
    }
    legal
}

/// An element type by TensorFlow's number.
fn element_type(number: i32) -> Option<DType> {
    Some(match number {
        1 => DType::F32,
        3 => DType::I32,
        4 => DType::U8,
        7 => DType::String,
        9 => DType::I64,
        10 => DType::Bool,
        _ => return None,
    })
}

fn refused(node: &FlatNode<'_>, problem: String) -> ReadError {
    ReadError::Node {
        node: node.name.to_string(),
        op: node.op.to_string(),
        problem,
    }
}

fn refused_type(node: &FlatNode<'_>, number: i32) -> ReadError {
    let name = tfod_checkpoint::DType::from_proto(number);
    let name = name.map_or_else(|| format!("number {number}"), |name| name.to_string());
    refused(
        node,
        format!("is of the element type {name}; expected float, int32, int64, uint8 or bool"),
    )
}
