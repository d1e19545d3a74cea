//! Which tensors are variables of the SavedModel, and which are `Const` nodes.
//!
//! Loading costs TensorFlow time for each variable (about 2 ms), and almost nothing for a constant. But all constants together must
//! fit one protobuf message, and only variables can be fine-tuned, and are shared between functions. So variables are what holds the
//! weight of a network, and constants are what merely accompanies it.

use std::collections::HashMap;

use tfod_graph::{DType, Graph, Op, ValidateError, ValueId, Weights};

use super::names::{Names, flat};

/// The largest tensor that becomes a `Const`, in bytes.
const CONST_LIMIT: usize = 64 * 1024;

/// Attributes of the object that `tf.saved_model.load` returns; variables become its attributes too.
const RESERVED: [&str; 9] = [
    "__call__",
    "signatures",
    "variables",
    "trainable_variables",
    "graph",
    "prune",
    "graph_debug_info",
    "tensorflow_version",
    "tensorflow_git_version",
];

/// A tensor kept outside of the graph.
#[derive(Clone, Debug)]
pub(crate) struct Variable<'a> {
    /// The readable name, with scopes.
    pub(crate) name: String,
    /// The attribute's name in the loaded object; free of `/` and `.`, unique.
    pub(crate) local_name: String,
    pub(crate) dtype: DType,
    pub(crate) shape: &'a [u64],
    pub(crate) trainable: bool,
    pub(crate) data: &'a [u8],
}

/// The variables of a graph, in the order of its nodes.
#[derive(Debug, Default)]
pub(crate) struct Placement<'a> {
    pub(crate) variables: Vec<Variable<'a>>,
    index: HashMap<ValueId, usize>,
}

impl<'a> Placement<'a> {
    /// Decides for each parameter and constant of `graph`.
    pub(crate) fn new(graph: &'a Graph, weights: &'a Weights<'a>) -> Result<Self, ValidateError> {
        let mut placement = Self::default();
        let mut local_names = Names::reserving(RESERVED);
        for (_, node) in graph.nodes() {
            let (trainable, dtype, shape, data) = match &node.op {
                Op::Parameter(id) => {
                    let trainable = graph.parameter(*id).trainable;
                    let view = parameter(&node.name, weights.get(*id))?;
                    (
                        trainable,
                        view.dtype,
                        view.shape.as_slice(),
                        view.data.as_ref(),
                    )
                }
                Op::Constant(tensor) => (false, tensor.dtype(), tensor.shape(), tensor.data()),
                _ => continue,
            };
            if is_const(&node.op, shape, data.len()) {
                continue;
            }
            for value in &node.outputs {
                placement.index.insert(*value, placement.variables.len());
            }
            placement.variables.push(Variable {
                name: node.name.clone(),
                local_name: local_names.fresh(&flat(&node.name)),
                dtype,
                shape,
                trainable,
                data,
            });
        }
        Ok(placement)
    }

    /// Which variable holds a value, if one does.
    pub(crate) fn variable(&self, value: ValueId) -> Option<usize> {
        self.index.get(&value).copied()
    }
}

/// The policy: what is small is a `Const`, except for trained tensors that extend in two and more dimensions (kernels), which are variables at
/// any size. A column of weights is a vector.
fn is_const(op: &Op, shape: &[u64], bytes: usize) -> bool {
    let extents = shape.iter().filter(|size| **size > 1).count();
    let is_kernel = matches!(op, Op::Parameter(_)) && extents > 1;
    bytes <= CONST_LIMIT && !is_kernel
}

/// The bytes of a parameter; an error when the weights are not the graph's.
pub(crate) fn parameter<T>(node: &str, found: Option<T>) -> Result<T, ValidateError> {
    found.ok_or_else(|| ValidateError::Weights {
        name: node.to_owned(),
        expected: "a tensor".into(),
        found: "nothing".into(),
    })
}
