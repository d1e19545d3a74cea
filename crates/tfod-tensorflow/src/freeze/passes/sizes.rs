//! Sizes of inputs fixed, and what follows from them.
//!
//! A graph says the shapes of its inputs only; whatever reads it infers the others. Here they are inferred as far as [`shape_functions`] knows the operations, to
//! tell the shapes of outputs, and to put constants in place of what the graph computes from sizes, which many readers do not.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use tfod_proto::prost::Message as _;
use tfod_proto::{TensorShapeProto, tensor_shape_proto};

use crate::constants::{Array, Operation, compute};
use crate::messages::tensor::{MAX_RANK, check_rank};

use super::super::constants::Content;
use super::super::data_type::INT32;
use super::super::error::FreezeError;
use super::super::frozen::{Frozen, Interface};
use super::super::graph::{Graph, Node, NodeId, ScopeId, Tensor};
use super::super::wire::value;
use super::arithmetic;
use super::shape_functions::{self, Dims};

/// Values of more elements are no sizes.
const MAX_ELEMENTS: usize = 1 << 10;

/// How many dimensions and elements are kept in all. What would be more stays unknown.
const MAX_KEPT: usize = 1 << 24;

/// The shape that an input shall have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputShape {
    /// The input's key, or the name of its tensor or node.
    pub input: String,
    /// Its dimensions; `None` leaves one as it is.
    pub shape: Vec<Option<u64>>,
}

/// What is known of the tensors of a graph.
#[derive(Default)]
struct Known {
    shapes: HashMap<Tensor, Dims>,
    values: HashMap<Tensor, Rc<Array>>,
    /// Values that sizes decide.
    sizes: HashSet<Tensor>,
    /// The shapes of what is in lists.
    elements: HashMap<Tensor, Dims>,
    /// How many dimensions and elements are kept.
    kept: usize,
}

impl Known {
    /// Whether so much more may be kept.
    fn has_room(&mut self, more: usize) -> bool {
        let kept = self.kept.saturating_add(1).saturating_add(more);
        let has_room = kept <= MAX_KEPT;
        if has_room {
            self.kept = kept;
        }
        has_room
    }

    fn note_shape(&mut self, tensor: Tensor, shape: Dims) {
        if shape.len() <= MAX_RANK && self.has_room(shape.len()) {
            self.shapes.insert(tensor, shape);
        }
    }

    fn note_value(&mut self, tensor: Tensor, array: Array) -> bool {
        let has_room = self.has_room(array.data.len());
        if has_room {
            self.values.insert(tensor, Rc::new(array));
        }
        has_room
    }
}

impl Frozen<'_> {
    /// Fixes sizes of inputs. Shapes of outputs are then told as far as they follow, and what is computed from known sizes becomes constant; gives how many
    /// such constants there are.
    ///
    /// # Errors
    ///
    /// [`FreezeError::InputShape`] where there is no such input, or it has another shape; those of reading constants.
    pub fn fix_input_shapes(&mut self, shapes: &[InputShape]) -> Result<usize, FreezeError> {
        for shape in shapes {
            self.fix_input_shape(shape)?;
        }
        let known = self.known()?;
        for output in &mut self.outputs {
            let found = known.shapes.get(&output.tensor);
            output.shape = merged(output.shape.take(), found.cloned());
        }
        let mut constants: HashMap<Tensor, Tensor> = HashMap::new();
        let always_run = self.always_run();
        for id in self.listing.order.clone() {
            let node = self.graph.node(id);
            let is_folded = |port| known.sizes.contains(&Tensor { node: id, port });
            let outputs = u32::try_from(node.outputs.as_ref().map_or(0, Vec::len)).unwrap_or(0);
            if !always_run.contains(&id) || (outputs > 0 && (0..outputs).all(is_folded)) {
                continue;
            }
            for place in 0..node.inputs.len() {
                let tensor = self.graph.node(id).inputs[place];
                let Some(array) = known
                    .values
                    .get(&tensor)
                    .filter(|_| known.sizes.contains(&tensor))
                else {
                    continue;
                };
                let constant = *constants.entry(tensor).or_insert_with(|| {
                    let name = self.graph.node(tensor.node).name.clone();
                    self.graph.constant_of(array, name)
                });
                self.graph.node_mut(id).inputs[place] = constant;
            }
        }
        for output in &self.outputs {
            let Tensor { node: id, port } = output.tensor;
            let is_size = known.sizes.contains(&output.tensor) && always_run.contains(&id);
            let node = self.graph.node(id);
            let is_only = port == 0 && node.outputs.as_ref().is_some_and(|all| all.len() == 1);
            let array = known.values.get(&output.tensor);
            let Some(array) = array.filter(|_| is_size && is_only) else {
                continue;
            };
            let name = format!("{}/value", node.name);
            let constant = *constants
                .entry(output.tensor)
                .or_insert_with(|| self.graph.constant_of(array, name));
            // The node stays what the output is called.
            let data_type = self.graph.data_type(constant);
            let node = self.graph.node_mut(id);
            node.op = "Identity".into();
            node.inputs = vec![constant];
            node.attrs = vec![("T".into(), value::data_type(data_type))];
        }
        self.tell_elements(&known);
        self.list_again()?;
        Ok(constants.len())
    }

    /// Tells the shapes of elements that loops take from lists. Inside of a loop, TensorFlow knows no more of them than is told there.
    fn tell_elements(&mut self, known: &Known) {
        for id in self.listing.order.clone() {
            let node = self.graph.node(id);
            let (scope, name) = (node.scope, format!("{}/element_shape", node.name));
            let ("TensorListGetItem", &[list, _, told]) = (&*node.op, node.inputs.as_slice())
            else {
                continue;
            };
            let elements = known.elements.get(&list).map(|dims| {
                let size = |size: &Option<u64>| i32::try_from((*size)?).ok();
                dims.iter().map(size).collect::<Option<Vec<i32>>>()
            });
            // In a loop of TensorFlow 1, a constant would not be in the loop.
            let is_in_scope = self.graph.node(told.node).scope == scope && scope != ScopeId::ROOT;
            if let (Some(Some(dims)), true, INT32) =
                (elements, is_in_scope, self.graph.data_type(told))
            {
                let bytes: Vec<u8> = dims.iter().flat_map(|n| n.to_le_bytes()).collect();
                let constant = Content::numeric(INT32, &[dims.len()], &bytes);
                let constant = self.graph.add(scope, Node::constant(name, constant));
                self.graph.node_mut(id).inputs[2] = Tensor::of(constant);
            }
        }
    }

    /// The nodes whose inputs all are there exactly once in a call. One in a loop or a branch, which TensorFlow 1 writes without scopes, would leave it if it
    /// got a constant of the whole graph; and one that joins branches would not know any more which was taken.
    fn always_run(&self) -> HashSet<NodeId> {
        let mut found = self.outside(&["Switch", "_SwitchN"]);
        found.retain(|id| {
            let node = self.graph.node(*id);
            // What begins a loop or a branch belongs to it by its outputs only.
            node.scope == ScopeId::ROOT || matches!(&*node.op, "Enter" | "Switch" | "_SwitchN")
        });
        found
    }

    /// The nodes that are in no loop.
    pub(super) fn outside_of_loops(&self) -> HashSet<NodeId> {
        self.outside(&[])
    }

    /// The nodes that are in no loop, and in no branch that one of these operations begins.
    fn outside(&self, switches: &[&str]) -> HashSet<NodeId> {
        // In how many loops and branches the outputs of a node are.
        let mut depths: HashMap<NodeId, usize> = HashMap::with_capacity(self.listing.order.len());
        let mut found = HashSet::new();
        for &id in &self.listing.order {
            let node = self.graph.node(id);
            let before = node.inputs.iter().map(|input| input.node);
            let before = before
                .chain(node.controls.iter().copied())
                .chain(node.pivot);
            // What comes back from the iteration before has no depth yet.
            let depth = before
                .filter_map(|before| depths.get(&before))
                .copied()
                .max();
            let depth = depth.unwrap_or(0);
            if depth == 0 {
                found.insert(id);
            }
            let is_of = |input: &Tensor, op: &str| self.graph.node(input.node).op == op;
            let is_loop = node
                .inputs
                .iter()
                .any(|input| is_of(input, "LoopCond") || is_of(input, "NextIteration"));
            let inside = match &*node.op {
                "Enter" => depth + 1,
                "Exit" => depth.saturating_sub(1),
                op if !is_loop && switches.contains(&op) => depth + 1,
                "Merge" if !is_loop && !switches.is_empty() => depth.saturating_sub(1),
                _ => depth,
            };
            depths.insert(id, inside);
        }
        found
    }

    fn fix_input_shape(&mut self, wanted: &InputShape) -> Result<(), FreezeError> {
        let path = self.file.path.clone();
        let error = |input: &str, problem: String| FreezeError::InputShape {
            path: path.clone(),
            input: input.to_owned(),
            problem,
        };
        let name = wanted.input.strip_suffix(":0").unwrap_or(&wanted.input);
        // An input may have the key that is the name of another's node.
        let by_key = self
            .inputs
            .iter()
            .position(|input| input.key == wanted.input);
        let found = by_key.or_else(|| {
            let named = |input: &Interface| self.listing.name(input.tensor.node) == name;
            self.inputs.iter().position(named)
        });
        let keys: Vec<String> = self
            .inputs
            .iter()
            .map(|input| format!("`{}`", input.key))
            .collect();
        let Some(input) = found.and_then(|found| self.inputs.get_mut(found)) else {
            let problem = format!("there is no such input; there are {}", keys.join(", "));
            return Err(error(&wanted.input, problem));
        };
        check_rank(wanted.shape.len()).map_err(|problem| error(&input.key, problem))?;
        let shape = match &input.shape {
            None => wanted.shape.clone(),
            Some(declared) if declared.len() != wanted.shape.len() => {
                let problem = format!(
                    "it has {} dimensions, not {}",
                    declared.len(),
                    wanted.shape.len()
                );
                return Err(error(&input.key, problem));
            }
            Some(declared) => {
                let mut shape = Vec::with_capacity(declared.len());
                for (place, pair) in declared.iter().zip(&wanted.shape).enumerate() {
                    shape.push(match pair {
                        (Some(size), Some(other)) if size != other => {
                            let problem = format!("its dimension {place} is {size}, not {other}");
                            return Err(error(&input.key, problem));
                        }
                        (declared, wanted) => declared.or(*wanted),
                    });
                }
                shape
            }
        };
        let size = |size: &Option<u64>| tensor_shape_proto::Dim {
            size: size.map_or(-1, |size| i64::try_from(size).unwrap_or(i64::MAX)),
            name: String::new(),
        };
        let message = TensorShapeProto {
            dim: shape.iter().map(size).collect(),
            unknown_rank: false,
        };
        let node = self.graph.node_mut(input.tensor.node);
        node.attrs.retain(|(name, _)| name != "shape");
        let encoded = value::shape(&message.encode_to_vec());
        node.attrs.push(("shape".into(), encoded));
        input.shape = Some(shape);
        Ok(())
    }

    /// Infers what follows from the shapes of inputs and from constants.
    fn known(&self) -> Result<Known, FreezeError> {
        let mut known = Known::default();
        for input in &self.inputs {
            if let Some(shape) = &input.shape {
                known.note_shape(input.tensor, shape.clone());
            }
        }
        for &id in &self.listing.order {
            let node = self.graph.node(id);
            if let Some(content) = &node.content {
                let shape = self.store.shape(content);
                let count = shape
                    .iter()
                    .try_fold(1usize, |n, &size| n.checked_mul(size));
                if count.is_some_and(|count| count <= MAX_ELEMENTS)
                    && let Some(array) = arithmetic::stored(&self.store, content)?
                {
                    known.note_value(Tensor::of(id), array);
                }
                let shape = shape.into_iter().map(|size| Some(size as u64)).collect();
                known.note_shape(Tensor::of(id), shape);
                continue;
            }
            let shapes: Vec<Option<&Dims>> = node
                .inputs
                .iter()
                .map(|input| known.shapes.get(input))
                .collect();
            let values: Vec<Option<&Array>> = node
                .inputs
                .iter()
                .map(|input| known.values.get(input).map(|value| &**value))
                .collect();
            let operation = Operation {
                op: &node.op,
                attrs: &node.attrs,
            };
            let elements = match (&*node.op, node.inputs.first()) {
                ("TensorListFromTensor", _) => {
                    shapes.first().copied().flatten().and_then(|shape| {
                        let (_, element) = shape.split_first()?;
                        Some(element.to_vec())
                    })
                }
                ("Enter" | "Identity", Some(list)) => known.elements.get(list).cloned(),
                _ => None,
            };
            let computed = sizes_of(operation, &shapes)
                .or_else(|| compute(operation, &all(&values)?, MAX_ELEMENTS));
            let inferred = shape_functions::infer(operation, &shapes, &values);
            let is_size = matches!(&*node.op, "Shape" | "Size" | "Rank")
                || node.inputs.iter().any(|input| known.sizes.contains(input));
            if let Some(elements) = elements.filter(|dims| known.has_room(dims.len())) {
                known.elements.insert(Tensor::of(id), elements);
            }
            let ports = |index: usize| Tensor {
                node: id,
                port: u32::try_from(index).unwrap_or(u32::MAX),
            };
            for (index, shape) in inferred.into_iter().enumerate() {
                let tensor = ports(index);
                if let Some(shape) = shape.filter(|_| !known.shapes.contains_key(&tensor)) {
                    known.note_shape(tensor, shape);
                }
            }
            for (index, array) in computed.into_iter().flatten().enumerate() {
                let tensor = ports(index);
                let shape = array.shape.iter().map(|&size| Some(size as u64)).collect();
                known.note_shape(tensor, shape);
                if known.note_value(tensor, array) && is_size {
                    known.sizes.insert(tensor);
                }
            }
        }
        Ok(known)
    }
}

/// The values of all inputs, if they are known; a node without inputs is no computation.
fn all<'v>(values: &[Option<&'v Array>]) -> Option<Vec<&'v Array>> {
    if values.is_empty() {
        return None;
    }
    values.iter().copied().collect()
}

impl Graph<'_> {
    /// A constant of what was computed.
    fn constant_of(&mut self, array: &Array, name: String) -> Tensor {
        let value = array.decoded();
        let data_type = tfod_proto::DataType::from(value.dtype).into();
        let content = Content::numeric(data_type, &value.shape, &value.bytes);
        Tensor::of(self.add(ScopeId::ROOT, Node::constant(name, content)))
    }
}

/// What an operation tells of the sizes of its input, whose elements need not be known.
fn sizes_of(operation: Operation<'_>, shapes: &[Option<&Dims>]) -> Option<Vec<Array>> {
    let [Some(shape)] = shapes else { return None };
    let known: Option<Vec<u64>> = shape.iter().copied().collect();
    let numbers = match operation.op {
        "Shape" => known?,
        "Size" => vec![known?.into_iter().try_fold(1u64, u64::checked_mul)?],
        "Rank" => vec![shape.len() as u64],
        _ => return None,
    };
    let dims = if operation.op == "Shape" {
        vec![numbers.len()]
    } else {
        Vec::new()
    };
    let array = shape_functions::integers(operation, dims, &numbers)?;
    Some(vec![array])
}

/// Of two descriptions of one shape, what either knows.
fn merged(one: Option<Dims>, other: Option<Dims>) -> Option<Dims> {
    match (one, other) {
        (Some(one), Some(other)) if one.len() == other.len() => {
            let pairs = one.into_iter().zip(other);
            Some(pairs.map(|(one, other)| one.or(other)).collect())
        }
        (one, other) => one.or(other),
    }
}
