//! A graph without calls, as a reader meets it: nodes in one list, inputs as indices.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use tfod_proto::wire::{Fields, Malformed};

use super::ops::Operation;
use crate::freeze::{Content, Frozen, NodeId, Store};
use crate::messages::{Node, Parts, attr};

/// An output of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tensor {
    pub(crate) node: usize,
    pub(crate) port: usize,
}

/// A node.
#[derive(Debug)]
pub(crate) struct FlatNode<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) op: Cow<'a, str>,
    /// Without control inputs.
    pub(crate) inputs: Vec<Tensor>,
    pub(crate) attrs: Vec<(Cow<'a, str>, Cow<'a, [u8]>)>,
    /// The value of a constant.
    pub(crate) value: Option<Stored<'a>>,
}

/// Where a constant's value is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stored<'a> {
    /// An encoded `TensorProto` of the graph's own file.
    Message(&'a [u8]),
    /// What freezing has found, a variable's value or a constant of the SavedModel.
    Frozen(&'a Content<'a>, &'a Store),
}

impl<'a> Stored<'a> {
    /// The encoded `TensorProto`; `None` if the variable cannot be read.
    pub(crate) fn message(self) -> Option<Cow<'a, [u8]>> {
        match self {
            Self::Message(message) => Some(message.into()),
            Self::Frozen(Content::Encoded(message), _) => Some(Cow::Borrowed(message)),
            Self::Frozen(content, store) => {
                let mut message = Vec::new();
                store.write_tensor(content, &mut message).ok()?;
                Some(message.into())
            }
        }
    }

    /// The key of the variable whose value it is.
    pub(crate) fn variable(self) -> Option<&'a str> {
        match self {
            Self::Frozen(Content::Variable { index, .. }, store) => store.key(*index),
            _ => None,
        }
    }
}

/// The nodes, and which of their outputs are the graph's.
#[derive(Debug, Default)]
pub(crate) struct FlatGraph<'a> {
    pub(crate) nodes: Vec<FlatNode<'a>>,
    pub(crate) outputs: Vec<Tensor>,
}

/// What freezing has made of a SavedModel.
#[derive(Debug)]
pub(crate) struct FrozenFlat<'a> {
    pub(crate) graph: FlatGraph<'a>,
    /// Where each of freezing's nodes is.
    pub(crate) places: HashMap<NodeId, usize>,
}

impl FlatNode<'_> {
    pub(super) fn operation(&self) -> Operation<'_> {
        Operation {
            op: &self.op,
            attrs: &self.attrs,
        }
    }

    /// An attribute's encoded value.
    pub(crate) fn attr(&self, name: &str) -> Option<&[u8]> {
        attr::find(&self.attrs, name).map(|value| &**value)
    }
}

impl<'a> FlatGraph<'a> {
    /// What freezing has made of a SavedModel.
    pub(crate) fn of_frozen(frozen: &'a Frozen<'a>) -> FrozenFlat<'a> {
        let order = &frozen.listing.order;
        let places: HashMap<NodeId, usize> = order.iter().copied().zip(0usize..).collect();
        let tensor = |tensor: &crate::freeze::GraphTensor| {
            let node = places.get(&tensor.node).copied().unwrap_or(usize::MAX);
            let port = tensor.port as usize;
            Tensor { node, port }
        };
        let nodes = order.iter().map(|&id| {
            let node = frozen.graph.node(id);
            let attrs = node.attrs.iter();
            FlatNode {
                name: frozen.listing.name(id).into(),
                op: Cow::Borrowed(&*node.op),
                inputs: node.inputs.iter().map(tensor).collect(),
                attrs: attrs
                    .map(|(name, value)| (Cow::Borrowed(&**name), Cow::Borrowed(&**value)))
                    .collect(),
                value: node
                    .content
                    .as_ref()
                    .map(|content| Stored::Frozen(content, &frozen.store)),
            }
        });
        let graph = Self {
            nodes: nodes.collect(),
            outputs: frozen.outputs.iter().map(|of| tensor(&of.tensor)).collect(),
        };
        FrozenFlat { graph, places }
    }

    /// Reads an encoded `GraphDef`. What no other node reads is taken for its outputs, as far as it is no constant.
    pub(crate) fn of_graph_def(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut defs: Vec<Node<'a, String>> = Vec::new();
        let parts = Parts::default();
        for field in Fields::of(message) {
            if let (1, field) = field? {
                let node = field.bytes().ok_or_else(|| Malformed::at(message))?;
                parts.count(node)?;
                defs.push(Node::parse(node)?);
            }
        }
        let places: HashMap<&str, usize> = defs
            .iter()
            .zip(0usize..)
            .map(|(def, at)| (&*def.name, at))
            .collect();
        let tensor = |input: &String| {
            let (name, port) = input.rsplit_once(':').unwrap_or((&**input, "0"));
            Some(Tensor {
                node: places.get(name).copied().unwrap_or(usize::MAX),
                port: port.parse().unwrap_or(0),
            })
            .filter(|_| !input.starts_with('^'))
        };
        let node = |def: &Node<'a, String>| FlatNode {
            name: def.name.clone().into(),
            op: def.op.clone().into(),
            inputs: def.inputs.iter().filter_map(tensor).collect(),
            attrs: def
                .attrs
                .iter()
                .map(|(name, value)| (name.clone().into(), (*value).into()))
                .collect(),
            value: (def.op == "Const")
                .then(|| def.attr("value").and_then(attr::tensor))
                .flatten()
                .map(Stored::Message),
        };
        let nodes: Vec<FlatNode<'a>> = defs.iter().map(node).collect();
        // What only decides whether others run is no output either.
        let controls = defs.iter().flat_map(|def| &def.inputs);
        let controls = controls.filter_map(|input| places.get(input.strip_prefix('^')?).copied());
        let read: HashSet<usize> = nodes
            .iter()
            .flat_map(|node| node.inputs.iter().map(|input| input.node))
            .chain(controls)
            .collect();
        let ends = (0..nodes.len()).filter(|at| !read.contains(at));
        let ends = ends.filter(|at| {
            let node = nodes.get(*at);
            node.is_some_and(|node| {
                !matches!(&*node.op, "Const" | "Placeholder" | "NoOp" | "Assert")
            })
        });
        let outputs = ends.map(|node| Tensor { node, port: 0 }).collect();
        Ok(Self { nodes, outputs })
    }
}
