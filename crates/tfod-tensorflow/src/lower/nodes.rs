//! A list of nodes being written: names, inputs, and constants that are shared.

use std::collections::HashMap;
use std::sync::Arc;

use tfod_graph::Tensor;
use tfod_proto::{DataType, NodeDef, TensorProto};

use super::attrs::{Attrs, data_type};
use super::constants;
use super::names::Names;

/// Where nodes are written to. It decides how they refer to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// The body of a function: `node:output_argument:index`.
    Function,
    /// A graph: `node`, or `node:index` for a later output.
    Graph,
}

/// A tensor in a list of nodes.
#[derive(Clone, Debug)]
pub(crate) enum Port {
    /// An argument of the function; in a graph, a placeholder.
    Argument(String),
    /// An output of a node.
    Output {
        node: Arc<str>,
        /// The output's argument in the operation's definition.
        argument: &'static str,
        /// The position within that argument, which may be a list.
        element: usize,
        /// The position among all outputs.
        index: usize,
    },
    /// No tensor, but that a node has run.
    Control(Arc<str>),
}

impl Port {
    /// How `dialect` writes it as an input.
    pub(crate) fn reference(&self, dialect: Dialect) -> String {
        match (self, dialect) {
            (Self::Argument(name), _) => name.clone(),
            (Self::Control(node), _) => format!("^{node}"),
            (
                Self::Output {
                    node,
                    argument,
                    element,
                    ..
                },
                Dialect::Function,
            ) => format!("{node}:{argument}:{element}"),
            (Self::Output { node, index: 0, .. }, Dialect::Graph) => node.to_string(),
            (Self::Output { node, index, .. }, Dialect::Graph) => format!("{node}:{index}"),
        }
    }
}

/// A node that was written.
#[derive(Clone, Debug)]
pub(crate) struct Written(Arc<str>);

impl Written {
    /// The `index`-th output, the only element of its argument.
    pub(crate) fn output(&self, argument: &'static str, index: usize) -> Port {
        Port::Output {
            node: Arc::clone(&self.0),
            argument,
            element: 0,
            index,
        }
    }

    /// That the node has run.
    pub(crate) fn control(&self) -> Port {
        Port::Control(Arc::clone(&self.0))
    }

    /// One element of an output that is a list, and is the only output.
    pub(crate) fn element(&self, argument: &'static str, element: usize) -> Port {
        Port::Output {
            node: Arc::clone(&self.0),
            argument,
            element,
            index: element,
        }
    }
}

/// Nodes being written.
#[derive(Debug)]
pub(crate) struct NodeList {
    dialect: Dialect,
    scope: String,
    names: Names,
    nodes: Vec<NodeDef>,
    constants: HashMap<Tensor, Port>,
}

impl NodeList {
    /// An empty list, where the names in `names` are taken. All names are written with `scope` in front.
    pub(crate) fn new(dialect: Dialect, names: Names, scope: &str) -> Self {
        Self {
            dialect,
            scope: scope.to_owned(),
            names,
            nodes: Vec::new(),
            constants: HashMap::new(),
        }
    }

    pub(crate) fn fresh(&mut self, stem: &str) -> String {
        self.names.fresh(stem)
    }

    pub(crate) fn into_nodes(self) -> Vec<NodeDef> {
        self.nodes
    }

    /// Writes a node. Its name must have been taken by the caller.
    pub(crate) fn add(&mut self, name: &str, op: &str, inputs: &[Port], attrs: Attrs) -> Written {
        let name = format!("{}{name}", self.scope);
        self.nodes.push(NodeDef {
            name: name.clone(),
            op: op.to_owned(),
            input: inputs
                .iter()
                .map(|port| port.reference(self.dialect))
                .collect(),
            attr: attrs.into_map(),
            ..NodeDef::default()
        });
        Written(Arc::from(name))
    }

    /// The `Const` of a tensor: the one that there is already, or a new one called `name`, which must have been taken by the caller.
    pub(crate) fn constant(&mut self, name: &str, tensor: &Tensor) -> Port {
        if let Some(port) = self.constants.get(tensor) {
            return port.clone();
        }
        let attrs = Attrs::new()
            .dtype("dtype", data_type(tensor.dtype()))
            .tensor("value", constants::tensor(tensor));
        let port = self.add(name, "Const", &[], attrs).output("output", 0);
        self.constants.insert(tensor.clone(), port.clone());
        port
    }

    /// A `Const` of strings, called after `stem`.
    pub(crate) fn strings(&mut self, stem: &str, value: TensorProto) -> Port {
        let name = self.fresh(stem);
        let attrs = Attrs::new()
            .dtype("dtype", DataType::DtString)
            .tensor("value", value);
        self.add(&name, "Const", &[], attrs).output("output", 0)
    }

    /// The `Const` of a tensor that the graph does not name; a new one is called after `stem`.
    pub(crate) fn literal(&mut self, stem: &str, tensor: &Tensor) -> Port {
        if let Some(port) = self.constants.get(tensor) {
            return port.clone();
        }
        let name = self.fresh(stem);
        self.constant(&name, tensor)
    }
}
