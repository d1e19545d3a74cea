//! The graph itself: nodes, values, parameters, and the handles that name them.

use crate::ending::Ending;
use crate::op::Op;
use crate::tensor::{DType, Shape, TensorView};
use crate::validate::ValidateError;

macro_rules! handle {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub(crate) u32);

        impl $name {
            /// The position in the graph's list.
            pub fn index(self) -> usize {
                self.0 as usize
            }

            // A graph of more than 2^32 nodes is not a network; it would have filled the memory long before.
            pub(crate) fn at(index: usize) -> Self {
                Self(u32::try_from(index).unwrap_or(u32::MAX))
            }
        }
    };
}

handle!(
    /// Names a [`Node`].
    NodeId
);
handle!(
    /// Names a [`Value`].
    ValueId
);
handle!(
    /// Names a [`Parameter`].
    ParamId
);

/// A tensor that some node defines.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// The element type.
    pub dtype: DType,
    /// The shape.
    pub shape: Shape,
    /// The node that defines it.
    pub node: NodeId,
    /// Which of the node's outputs it is.
    pub output: usize,
}

/// One operation applied to values.
#[derive(Clone, Debug)]
pub struct Node {
    /// Unique in the graph; scopes are separated by `/`.
    pub name: String,
    /// What is computed.
    pub op: Op,
    /// What it is computed from.
    pub inputs: Vec<ValueId>,
    /// What is defined.
    pub outputs: Vec<ValueId>,
}

impl Node {
    /// What is used in a place.
    ///
    /// # Errors
    /// Where nothing is, which validation refuses.
    pub fn input(&self, position: usize) -> Result<ValueId, ValidateError> {
        self.place(&self.inputs, position)
    }

    /// The first of what is defined, and the only one of most operations.
    ///
    /// # Errors
    /// Where nothing is, which validation refuses.
    pub fn output(&self) -> Result<ValueId, ValidateError> {
        self.place(&self.outputs, 0)
    }

    fn place(&self, values: &[ValueId], position: usize) -> Result<ValueId, ValidateError> {
        let missing = || ValidateError::Order {
            node: self.name.clone(),
        };
        values.get(position).copied().ok_or_else(missing)
    }
}

/// A trained tensor: what it is called, where the trained model keeps it, and the shape that the graph needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Unique in the graph; made like a node's name.
    pub name: String,
    /// The path of attribute names from the trained model object to the variable.
    pub path: Vec<String>,
    /// The element type.
    pub dtype: DType,
    /// The sizes, outermost first.
    pub shape: Vec<u64>,
    /// Whether training changes it by gradients (batch-norm statistics are not).
    pub trainable: bool,
}

/// A result of the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The key under which callers find it.
    pub key: String,
    /// What it is.
    pub value: ValueId,
}

/// A network. See the [crate documentation](crate) for what it means and which invariants hold.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub(crate) name: String,
    pub(crate) nodes: Vec<Node>,
    pub(crate) values: Vec<Value>,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) ending: Option<Ending>,
}

impl Graph {
    /// What the graph is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The nodes, each after those it depends on.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> + ExactSizeIterator {
        self.nodes
            .iter()
            .enumerate()
            .map(|(i, node)| (NodeId::at(i), node))
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// A value.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// A parameter's description.
    pub fn parameter(&self, id: ParamId) -> &Parameter {
        &self.parameters[id.index()]
    }

    /// All parameters. [`Weights`] has their bytes in the same order.
    pub fn parameters(&self) -> impl ExactSizeIterator<Item = (ParamId, &Parameter)> {
        self.parameters
            .iter()
            .enumerate()
            .map(|(i, parameter)| (ParamId::at(i), parameter))
    }

    /// The values supplied at run time, in order.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// The results, in the order in which they were declared.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// What of it some formats have as one operator.
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// Keeps only the results that `keep` says; [`crate::passes`] then remove what they do not need.
    pub fn retain_outputs(&mut self, keep: impl FnMut(&Output) -> bool) {
        self.outputs.retain(keep);
    }

    /// Renames outputs: each gets the key that `rename` returns for its own, or keeps its own for `None`.
    pub fn rename_outputs(&mut self, rename: impl Fn(&str) -> Option<String>) {
        for output in &mut self.outputs {
            if let Some(other) = rename(&output.key) {
                output.key = other;
            }
        }
    }

    /// The name of the node that defines a value.
    pub fn name_of(&self, value: ValueId) -> &str {
        &self.node(self.value(value).node).name
    }

    /// The number of nodes, those of sub-graphs included.
    pub fn total_nodes(&self) -> usize {
        let inner = |node: &Node| match &node.op {
            Op::Map { body, .. } => body.total_nodes(),
            _ => 0,
        };
        self.nodes.iter().map(|node| 1 + inner(node)).sum()
    }
}

/// The bytes of a graph's parameters, in the order of [`Graph::parameters`].
#[derive(Clone, Debug, Default)]
pub struct Weights<'a>(pub Vec<TensorView<'a>>);

impl<'a> Weights<'a> {
    /// The bytes of one parameter; `None` when the weights are not those of the parameter's graph.
    pub fn get(&self, id: ParamId) -> Option<&TensorView<'a>> {
        self.0.get(id.index())
    }
}
