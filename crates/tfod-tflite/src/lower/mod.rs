//! Lowering: a graph's nodes as TFLite's operators.
//!
//! [`lower`] walks the graph once, in which every value gets its tensor. `ops` has the counterparts of most operations, `convolution` those of feature maps,
//! `elementwise` arithmetic, `nms` non-max suppression, `ending` the operator for decoding and suppression, and `background` what that does not look at.

mod background;
mod convolution;
mod elementwise;
mod ending;
mod nms;
mod ops;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use tfod_graph::{
    DType, Ending, Graph, Node, NodeId, Op, Output, TensorView, ValidateError, ValueId, Weights,
    passes, validate, validate_weights,
};

use crate::Error;
use crate::emit::{Emitter, Finished, TensorId};
use crate::operator::Operator;
use crate::stored::Stored;
use crate::writer::{Options, Suppression, WeightType};
use convolution::Convolution;

/// Maps over more slices are refused: TFLite's models have one body for each.
const MOST_SLICES: u64 = 1024;

/// Writes a graph as a TFLite graph.
///
/// # Errors
/// When the graph or its weights are not valid, or TFLite has no counterpart for what a node asks for.
pub(crate) fn lower<'a>(
    graph: &Graph,
    weights: &'a Weights<'a>,
    options: &Options,
) -> Result<Finished<'a>, Error> {
    validate(graph)?;
    validate_weights(graph, weights)?;
    if graph.outputs().is_empty() {
        return Err(Error::NoOutputs {
            graph: graph.name().to_owned(),
        });
    }
    check_nodes(graph)?;
    let graph = passes::unroll(graph, MOST_SLICES)?;
    check_sizes(&graph)?;
    // All are known, so that nothing has to be told any at run time.
    let graph = passes::with_sizes(&graph, &|_| None)?;
    let views = weights.0.iter().map(|view| TensorView {
        dtype: view.dtype,
        shape: view.shape.clone(),
        data: Cow::Borrowed(view.data.as_ref()),
    });
    let (graph, weights) = passes::fold(&graph, Weights(views.collect()))?;
    let ending = match options.suppression {
        Suppression::Builtin => None,
        Suppression::Regular | Suppression::Fast => Some(graph.ending().ok_or(Error::NoEnding)?),
    };
    let needed = needed(&graph, ending);
    let mut lowering = Lowering {
        uses: uses(&graph, &needed, ending),
        graph: &graph,
        weights: &weights,
        kernel_type: options.weights,
        suppression: options.suppression,
        emitter: Emitter::default(),
        bound: HashMap::new(),
        aliased: HashSet::new(),
        kernels: BTreeMap::new(),
        shared_scales: HashMap::new(),
        suppressible: HashMap::new(),
    };
    for &input in graph.inputs() {
        let (dtype, sizes) = lowering.typed(input)?;
        let id = lowering.emitter.input(graph.name_of(input), dtype, &sizes);
        lowering.bound.insert(input, id);
    }
    let mut not_written = ending;
    if let Some(ending) = ending {
        lowering.check_outputs(ending)?;
    }
    for (id, node) in graph.nodes() {
        if gives(ending, node) {
            // What the ending gives is not computed by the graph's nodes.
            if let Some(ending) = not_written.take() {
                lowering.ending(ending)?;
            }
            continue;
        }
        if !needed.contains(&id) {
            continue;
        }
        let results = lowering.operation(node)?;
        let results = node.outputs.iter().copied().zip(results);
        lowering.bound.extend(results);
    }
    lowering.leave_out_background(ending)?;
    lowering.write_kernels();
    let mut outputs: Vec<&Output> = graph.outputs().iter().collect();
    outputs.sort_by(|a, b| a.key.cmp(&b.key));
    for output in outputs {
        let id = lowering.find(output.value)?;
        let id = if lowering.emitter.can_be_output(id) {
            id
        } else {
            // An input or a constant, or a result under two keys: a copy.
            let sizes = lowering.emitter.shape(id).to_vec();
            lowering.reshape(&output.key, id, &sizes)?
        };
        lowering.emitter.output(&output.key, id);
    }
    let mut finished = lowering.emitter.finish();
    finished.copy_what_is_overwritten();
    Ok(finished)
}

/// Refuses what no TFLite model can do, before anything else is said of it.
fn check_nodes(graph: &Graph) -> Result<(), Error> {
    for (_, node) in graph.nodes() {
        match &node.op {
            Op::DecodeImage { .. } | Op::ExampleFeature { .. } => {
                return Err(decoding(node));
            }
            Op::Map { body, .. } => check_nodes(body)?,
            _ => {}
        }
    }
    Ok(())
}

fn decoding(node: &Node) -> Error {
    unsupported(
        &node.name,
        "the decoding of files",
        "an input of pixels: TFLite has no operator that decodes images",
    )
}

/// Refuses sizes known only at run time; those of inputs come first.
fn check_sizes(graph: &Graph) -> Result<(), Error> {
    let values = graph.nodes().flat_map(|(_, node)| &node.outputs);
    for &value in graph.inputs().iter().chain(values) {
        let dims = graph.value(value).shape.dims();
        if let Some(dim) = dims.iter().find(|dim| dim.known().is_none()) {
            return Err(Error::UnknownSize {
                node: graph.name_of(value).to_owned(),
                size: dim.to_string(),
            });
        }
    }
    Ok(())
}

/// Whether the ending gives what a node gives.
fn gives(ending: Option<&Ending>, node: &Node) -> bool {
    let given = ending.map_or([None; 4], |ending| ending.results.all());
    let mut outputs = node.outputs.iter();
    outputs.any(|value| given.contains(&Some(*value)))
}

/// What an ending takes.
fn taken(ending: Option<&Ending>) -> impl Iterator<Item = ValueId> {
    let taken = ending.map(|ending| [ending.encodings, ending.scores]);
    taken.into_iter().flatten()
}

/// The nodes that are written: all, but those that lead to nothing else than what the ending gives.
fn needed(graph: &Graph, ending: Option<&Ending>) -> HashSet<NodeId> {
    let outputs = graph.outputs().iter().map(|output| output.value);
    let mut values: HashSet<ValueId> = outputs.chain(taken(ending)).collect();
    let mut needed = HashSet::new();
    for (id, node) in graph.nodes().rev() {
        let is_needed = node.outputs.iter().any(|value| values.contains(value));
        if is_needed && !gives(ending, node) {
            values.extend(&node.inputs);
            needed.insert(id);
        }
    }
    needed
}

/// How often each value is used by the nodes that are written, as an output of the graph, and by the ending.
fn uses(
    graph: &Graph,
    needed: &HashSet<NodeId>,
    ending: Option<&Ending>,
) -> HashMap<ValueId, usize> {
    let mut uses = HashMap::new();
    let nodes = graph.nodes().filter(|(id, _)| needed.contains(id));
    let inputs = nodes.flat_map(|(_, node)| &node.inputs).copied();
    let outputs = graph.outputs().iter().map(|output| output.value);
    for value in inputs.chain(outputs).chain(taken(ending)) {
        *uses.entry(value).or_default() += 1;
    }
    uses
}

/// A graph being lowered, in which all sizes are known.
struct Lowering<'a, 'g> {
    graph: &'g Graph,
    weights: &'g Weights<'a>,
    /// How kernels are stored.
    kernel_type: WeightType,
    suppression: Suppression,
    emitter: Emitter<'a>,
    bound: HashMap<ValueId, TensorId>,
    uses: HashMap<ValueId, usize>,
    /// Tensors that several values have, which therefore nothing may change.
    aliased: HashSet<TensorId>,
    /// By their results, convolutions whose kernels and biases can still change.
    kernels: BTreeMap<TensorId, Convolution<'a>>,
    /// By shared kernels, the scale that they have got from the first normalisation; `None` where that does not suit the others.
    shared_scales: HashMap<ValueId, Option<Vec<f64>>>,
    /// Boxes in the form that TFLite's non-max suppression needs.
    suppressible: HashMap<TensorId, TensorId>,
}

impl Lowering<'_, '_> {
    /// The tensor of a value. Validation makes sure that there is one.
    fn find(&self, value: ValueId) -> Result<TensorId, Error> {
        let missing = || ValidateError::Order {
            node: self.graph.name_of(value).to_owned(),
        };
        Ok(self.bound.get(&value).copied().ok_or_else(missing)?)
    }

    /// The tensor of an input of a node.
    fn operand(&self, node: &Node, position: usize) -> Result<TensorId, Error> {
        self.find(node.input(position)?)
    }

    fn operands(&self, node: &Node) -> Result<Vec<TensorId>, Error> {
        node.inputs.iter().map(|value| self.find(*value)).collect()
    }

    /// The element type and sizes of a value.
    fn typed(&self, value: ValueId) -> Result<(DType, Vec<u64>), Error> {
        let of = self.graph.value(value);
        let sizes = of.shape.sizes().ok_or_else(|| Error::UnknownSize {
            node: self.graph.name_of(value).to_owned(),
            size: of.shape.to_string(),
        })?;
        Ok((of.dtype, sizes))
    }

    /// An operator whose only result is that of the node.
    fn result(
        &mut self,
        node: &Node,
        operator: Operator,
        inputs: &[TensorId],
    ) -> Result<TensorId, Error> {
        let (dtype, sizes) = self.typed(node.output()?)?;
        Ok(self
            .emitter
            .add(&node.name, operator, inputs, dtype, &sizes))
    }

    /// A node whose result is one of its inputs.
    fn alias(&mut self, id: TensorId) -> TensorId {
        self.aliased.insert(id);
        id
    }

    /// Whether the tensor of a value is nobody else's, so that a node that uses it may change it.
    fn is_free(&self, value: ValueId, id: TensorId) -> bool {
        self.uses.get(&value) == Some(&1) && !self.aliased.contains(&id)
    }

    // Attributes of the graph that are inputs of TFLite's operators. Equal ones are one tensor, called by its contents.

    fn integers(&mut self, values: &[i32]) -> TensorId {
        let words: Vec<String> = values.iter().map(i32::to_string).collect();
        let name = format!("ints/{}", words.join("_"));
        let sizes = [values.len() as u64];
        self.emitter
            .constant(&name, Stored::integers(&sizes, values))
    }

    fn integer(&mut self, value: i32) -> TensorId {
        let name = format!("int/{value}");
        self.emitter
            .constant(&name, Stored::integers(&[], &[value]))
    }

    fn float(&mut self, value: f32) -> TensorId {
        let name = format!("float/{value}");
        self.emitter.constant(&name, Stored::floats(&[], &[value]))
    }

    /// The same tensor with another element type.
    fn cast(&mut self, name: &str, id: TensorId, to: DType) -> TensorId {
        let from = self.emitter.dtype(id);
        if from == to {
            return id;
        }
        let sizes = self.emitter.shape(id).to_vec();
        // Nothing is computed from constants alone.
        let bytes = self.emitter.stored(id).and_then(Stored::to_bytes);
        if let (Some(bytes), DType::I32) = (bytes, to) {
            let numbers: Vec<i32> = bytes.into_iter().map(i32::from).collect();
            return self
                .emitter
                .constant(name, Stored::integers(&sizes, &numbers));
        }
        self.emitter
            .add(name, Operator::Cast(from, to), &[id], to, &sizes)
    }

    /// The same elements in another shape. Of several reshapes in turn the last does all.
    fn reshape(&mut self, name: &str, id: TensorId, sizes: &[u64]) -> Result<TensorId, Error> {
        let from = match self.emitter.maker(id) {
            Some(step) if matches!(step.operator, Operator::Reshape(_)) => {
                step.inputs.first().copied().unwrap_or(id)
            }
            _ => id,
        };
        let shape = sizes.iter().map(|n| self::size(name, *n));
        let shape = shape.collect::<Result<Vec<i32>, _>>()?;
        let to = self.integers(&shape);
        // What is reshaped is seen by two.
        self.aliased.insert(from);
        let dtype = self.emitter.dtype(id);
        let operator = Operator::Reshape(shape);
        Ok(self.emitter.add(name, operator, &[from, to], dtype, sizes))
    }
}

/// A size as TFLite keeps it.
fn size(node: &str, value: u64) -> Result<i32, Error> {
    i32::try_from(value).map_err(|_| Error::TooLarge {
        node: node.to_owned(),
        value,
    })
}

fn sizes<const N: usize>(node: &str, values: [u64; N]) -> Result<[i32; N], Error> {
    let mut sizes = [0; N];
    for (to, from) in sizes.iter_mut().zip(values) {
        *to = size(node, from)?;
    }
    Ok(sizes)
}

/// Axes are below the number of dimensions of a tensor, which is small.
fn axis_number(axis: usize) -> i32 {
    i32::try_from(axis).unwrap_or(i32::MAX)
}

fn unsupported(node: &str, what: impl Into<String>, expected: &'static str) -> Error {
    Error::Unsupported {
        node: node.to_owned(),
        what: what.into(),
        expected,
    }
}
