//! Which tensors are variables of the SavedModel, and which are `Const` nodes.
//!
//! Loading costs TensorFlow time for each variable (about 2 ms), and almost nothing for a constant. But all constants together must
//! fit one protobuf message, and only variables can be fine-tuned, and are shared between functions. So variables are what holds the
//! weight of a network, and constants are what merely accompanies it.
//!
//! The graphs of one file share variables: parameters of one path with the same elements are one, and so are equal constants.

use std::collections::HashMap;
use std::ptr;
use std::sync::Arc;

use tfod_graph::{DType, Graph, Op, Tensor, ValidateError, ValueId, Weights};

use super::names::{Names, flat};

/// The largest tensor that becomes a `Const`, in bytes.
const CONST_LIMIT: usize = 64 * 1024;

/// Attributes of the object that `tf.saved_model.load` returns; variables become its attributes too.
pub(crate) const RESERVED: [&str; 9] = [
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
    /// The position among all variables of the file.
    pub(crate) slot: usize,
    /// The readable name, with scopes.
    pub(crate) name: String,
    /// The attribute's name in the loaded object; free of `/` and `.`, unique.
    pub(crate) local_name: String,
    pub(crate) dtype: DType,
    pub(crate) shape: &'a [u64],
    pub(crate) trainable: bool,
    pub(crate) data: &'a [u8],
}

/// The variables of one graph, in the order of its nodes.
#[derive(Debug, Default)]
pub(crate) struct Placement<'a> {
    pub(crate) variables: Vec<Arc<Variable<'a>>>,
    index: HashMap<ValueId, usize>,
}

impl Placement<'_> {
    /// Which variable holds a value, if one does.
    pub(crate) fn variable(&self, value: ValueId) -> Option<usize> {
        self.index.get(&value).copied()
    }
}

/// What graphs share.
#[derive(Debug, PartialEq, Eq, Hash)]
enum SharedValue<'a> {
    /// A parameter, by its path.
    Parameter(&'a [String]),
    /// A constant, by its contents.
    Constant(&'a Tensor),
}

/// The variables of a file.
#[derive(Debug)]
pub(crate) struct Variables<'a> {
    /// Each in its slot.
    pub(crate) all: Vec<Arc<Variable<'a>>>,
    local_names: Names,
    sources: HashMap<SharedValue<'a>, Arc<Variable<'a>>>,
}

impl<'a> Variables<'a> {
    /// None yet; attributes of the loaded object with these names are taken.
    pub(crate) fn new<'n>(taken: impl IntoIterator<Item = &'n str>) -> Self {
        Self {
            all: Vec::new(),
            local_names: Names::reserving(RESERVED.into_iter().chain(taken)),
            sources: HashMap::new(),
        }
    }

    /// Decides for each parameter and constant of `graph`.
    pub(crate) fn place(
        &mut self,
        graph: &'a Graph,
        weights: &'a Weights<'a>,
    ) -> Result<Placement<'a>, ValidateError> {
        let mut placement = Placement::default();
        for (_, node) in graph.nodes() {
            let (source, trainable, dtype, shape, data) = match &node.op {
                Op::Parameter(id) => {
                    let parameter = graph.parameter(*id);
                    let view = view(&node.name, weights.get(*id))?;
                    (
                        SharedValue::Parameter(&parameter.path),
                        parameter.trainable,
                        view.dtype,
                        view.shape.as_slice(),
                        view.data.as_ref(),
                    )
                }
                Op::Constant(tensor) => (
                    SharedValue::Constant(tensor),
                    false,
                    tensor.dtype(),
                    tensor.shape(),
                    tensor.data(),
                ),
                _ => continue,
            };
            if is_const(&node.op, shape, data.len()) {
                continue;
            }
            for value in &node.outputs {
                placement.index.insert(*value, placement.variables.len());
            }
            let known = self.sources.get(&source);
            let shared = known.filter(|known| {
                (known.dtype, known.shape) == (dtype, shape) && is_same(known.data, data)
            });
            let variable = shared.cloned().unwrap_or_else(|| {
                let variable = Arc::new(Variable {
                    slot: self.all.len(),
                    name: node.name.clone(),
                    local_name: self.local_names.fresh(&flat(&node.name)),
                    dtype,
                    shape,
                    trainable,
                    data,
                });
                self.all.push(Arc::clone(&variable));
                self.sources.insert(source, Arc::clone(&variable));
                variable
            });
            placement.variables.push(variable);
        }
        Ok(placement)
    }
}

/// Whether two tensors are equal; most often they are in one place, and need not be looked at.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    ptr::eq(a, b) || a == b
}

/// The policy: what is small is a `Const`, except for trained tensors that extend in two and more dimensions (kernels), which are variables at
/// any size. A column of weights is a vector.
fn is_const(op: &Op, shape: &[u64], bytes: usize) -> bool {
    let extents = shape.iter().filter(|size| **size > 1).count();
    let is_kernel = matches!(op, Op::Parameter(_)) && extents > 1;
    bytes <= CONST_LIMIT && !is_kernel
}

/// The bytes of a parameter; an error when the weights are not the graph's.
pub(crate) fn view<T>(node: &str, found: Option<T>) -> Result<T, ValidateError> {
    found.ok_or_else(|| ValidateError::Weights {
        name: node.to_owned(),
        expected: "a tensor".into(),
        found: "nothing".into(),
    })
}
