//! Lowering: a graph's nodes as TensorFlow's.
//!
//! [`lower`] writes one graph as one flat list of nodes; `ops` has the counterpart of each operation, and `map` turns a map into a loop,
//! whose functions go to a [`Library`]. What comes out does not depend on the kind of file: inputs are arguments (placeholders in a
//! graph), and tensors that [`Placement`] makes variables are arguments too, read once. An empty placement makes everything a constant.

pub(crate) mod attrs;
pub(crate) mod constants;
mod functions;
mod map;
pub(crate) mod names;
mod nodes;
mod ops;
mod placement;

use std::collections::HashMap;
use std::slice;

use tfod_checkpoint::release_pages;
use tfod_graph::{DType, Graph, Node, Op, Shape, Tensor, ValidateError, ValueId, Weights};
use tfod_proto::{DataType, NodeDef};

pub(crate) use functions::{Argument, Function, Library};
pub(crate) use nodes::{Dialect, NodeList, Port};
pub(crate) use placement::{Placement, RESERVED, Variable, Variables};

use crate::Error;
use attrs::{Attrs, data_type, scalar_shape, shape_proto};
use names::Names;

/// A graph as TensorFlow's nodes.
#[derive(Debug)]
pub(crate) struct Lowered {
    /// The graph's inputs in their order, then one handle for each variable of the placement.
    pub(crate) arguments: Vec<Argument>,
    /// Each after those it depends on.
    pub(crate) nodes: Vec<NodeDef>,
    /// The graph's outputs in the bytewise order of their keys, an `Identity` each.
    pub(crate) results: Vec<(Port, DataType)>,
}

/// Writes a validated graph as nodes.
///
/// # Errors
/// When TensorFlow has no counterpart for what a node asks for.
pub(crate) fn lower<'a>(
    graph: &'a Graph,
    weights: &'a Weights<'a>,
    placement: &Placement<'a>,
    dialect: Dialect,
    library: &mut Library,
) -> Result<Lowered, Error> {
    let mut lowering = Lowering::new(graph, weights, placement, dialect, library, String::new());
    let mut arguments = Vec::new();
    for &input in graph.inputs() {
        let name = graph.name_of(input).to_owned();
        lowering.bind(input, Port::Argument(name.clone()));
        let value = graph.value(input);
        arguments.push(Argument {
            name,
            dtype: data_type(value.dtype),
            shape: shape_proto(&value.shape),
        });
    }
    for variable in &placement.variables {
        let name = lowering.list.fresh(&names::argument(&variable.name));
        lowering.handles.push(Port::Argument(name.clone()));
        arguments.push(Argument {
            name,
            dtype: DataType::DtResource,
            shape: scalar_shape(),
        });
    }
    lowering.run()?;
    let mut results = Vec::new();
    for output in sorted_outputs(graph) {
        let value = graph.value(output.value);
        let from = lowering.port(output.value)?;
        let name = lowering.list.fresh("Identity");
        let attrs = with_shape(Attrs::typed(value.dtype), &value.shape);
        let identity = lowering.list.add(&name, "Identity", &[from], attrs);
        results.push((identity.output("output", 0), data_type(value.dtype)));
    }
    Ok(Lowered {
        arguments,
        nodes: lowering.list.into_nodes(),
        results,
    })
}

/// A graph's outputs in the order in which TensorFlow flattens a dictionary: by the bytes of the keys.
pub(crate) fn sorted_outputs(graph: &Graph) -> Vec<&tfod_graph::Output> {
    let mut outputs: Vec<_> = graph.outputs().iter().collect();
    outputs.sort_by(|a, b| a.key.cmp(&b.key));
    outputs
}

/// Tells a reader the shape of a node's only output where TensorFlow cannot infer it.
fn with_shape(attrs: Attrs, shape: &Shape) -> Attrs {
    attrs.shapes("_output_shapes", vec![shape_proto(shape)])
}

/// One graph being lowered.
struct Lowering<'a, 'l> {
    graph: &'a Graph,
    weights: &'a Weights<'a>,
    placement: &'l Placement<'a>,
    library: &'l mut Library,
    /// Put in front of all names.
    scope: String,
    list: NodeList,
    /// The handles of the placement's variables.
    handles: Vec<Port>,
    ports: HashMap<ValueId, Port>,
}

impl<'a, 'l> Lowering<'a, 'l> {
    fn new(
        graph: &'a Graph,
        weights: &'a Weights<'a>,
        placement: &'l Placement<'a>,
        dialect: Dialect,
        library: &'l mut Library,
        scope: String,
    ) -> Self {
        // The graph's own names are unique; helper nodes get others.
        let names = Names::reserving(graph.nodes().map(|(_, node)| node.name.as_str()));
        Self {
            graph,
            weights,
            placement,
            library,
            list: NodeList::new(dialect, names, &scope),
            scope,
            handles: Vec::new(),
            ports: HashMap::new(),
        }
    }

    fn bind(&mut self, value: ValueId, port: Port) {
        self.ports.insert(value, port);
    }

    /// Where a value is. Validation makes sure that it is somewhere.
    fn port(&self, value: ValueId) -> Result<Port, Error> {
        let missing = || ValidateError::Order {
            node: self.graph.name_of(value).to_owned(),
        };
        Ok(self.ports.get(&value).cloned().ok_or_else(missing)?)
    }

    fn run(&mut self) -> Result<(), Error> {
        for (_, node) in self.graph.nodes() {
            let ports = self.operation(node)?;
            for (value, port) in node.outputs.iter().zip(ports) {
                self.bind(*value, port);
            }
        }
        Ok(())
    }

    /// A constant or parameter: read from its variable, or a `Const`.
    fn tensor(&mut self, node: &Node) -> Result<Port, Error> {
        let variable = node
            .outputs
            .first()
            .and_then(|v| self.placement.variable(*v));
        if let Some(index) = variable {
            let missing = || ValidateError::Order {
                node: node.name.clone(),
            };
            let variable = self.placement.variables.get(index).ok_or_else(missing)?;
            let handle = self.handles.get(index).cloned().ok_or_else(missing)?;
            // A handle that was passed through a call has no shape of its own.
            let attrs = Attrs::new().dtype("dtype", data_type(variable.dtype));
            let attrs = with_shape(attrs, &Shape::known(variable.shape));
            let read = self
                .list
                .add(&node.name, "ReadVariableOp", &[handle], attrs);
            return Ok(read.output("value", 0));
        }
        match &node.op {
            Op::Parameter(id) => {
                let view = placement::view(&node.name, self.weights.get(*id))?;
                let tensor = constants::numeric(view.dtype, &view.shape, &view.data);
                // It is a copy.
                release_pages(&view.data);
                let attrs = Attrs::new()
                    .dtype("dtype", data_type(view.dtype))
                    .tensor("value", tensor);
                Ok(self
                    .list
                    .add(&node.name, "Const", &[], attrs)
                    .output("output", 0))
            }
            Op::Constant(tensor) => Ok(self.list.constant(&node.name, tensor)),
            _ => Err(ValidateError::Order {
                node: node.name.clone(),
            }
            .into()),
        }
    }

    /// A `Const` of 32-bit integers for an attribute of the graph's node that is an input of TensorFlow's.
    fn integers(
        &mut self,
        node: &Node,
        what: &str,
        shape: &[u64],
        values: &[i32],
    ) -> Result<Port, Error> {
        let tensor = Tensor::i32(shape, values).ok_or_else(|| Error::Unsupported {
            node: node.name.clone(),
            what: format!("{what} of {} numbers", values.len()),
            expected: "as many as its shape says",
        })?;
        Ok(self.list.literal(&format!("{}/{what}", node.name), &tensor))
    }

    fn vector(&mut self, node: &Node, what: &str, values: &[i32]) -> Result<Port, Error> {
        self.integers(node, what, &[values.len() as u64], values)
    }

    fn scalar(&mut self, node: &Node, what: &str, value: i32) -> Port {
        self.list
            .literal(&format!("{}/{what}", node.name), &Tensor::scalar_i32(value))
    }

    fn scalar_f32(&mut self, node: &Node, what: &str, value: f32) -> Port {
        self.list
            .literal(&format!("{}/{what}", node.name), &Tensor::scalar_f32(value))
    }

    /// The sizes of a tensor at run time, a vector of 32-bit integers.
    fn shape_of(&mut self, node: &Node, port: &Port, dtype: DType) -> Port {
        let name = self.list.fresh(&format!("{}/shape_of", node.name));
        self.list
            .add(&name, "Shape", slice::from_ref(port), Attrs::typed(dtype))
            .output("output", 0)
    }

    /// One of the sizes that [`Self::shape_of`] gives, a scalar.
    fn size_along(&mut self, node: &Node, shape: &Port, axis: usize) -> Result<Port, Error> {
        let begin = size(node, axis as u64)?;
        let ends = self.vector(node, "axis_end", &[begin.saturating_add(1)])?;
        let strides = self.vector(node, "axis_stride", &[1])?;
        let begins = self.vector(node, "axis", &[begin])?;
        let attrs = Attrs::typed(DType::I32)
            .dtype("Index", DataType::DtInt32)
            .int("shrink_axis_mask", 1);
        let name = self.list.fresh(&format!("{}/size_of", node.name));
        let inputs = [shape.clone(), begins, ends, strides];
        Ok(self
            .list
            .add(&name, "StridedSlice", &inputs, attrs)
            .output("output", 0))
    }
}

/// A size as TensorFlow keeps it in constants.
fn size(node: &Node, value: u64) -> Result<i32, Error> {
    i32::try_from(value).map_err(|_| Error::TooLarge {
        node: node.name.clone(),
        value,
    })
}
