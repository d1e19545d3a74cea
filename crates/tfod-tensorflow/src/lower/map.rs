//! A map as a `StatelessWhile` over the leading dimension.
//!
//! The operands of the loop are, in this order: `loop_counter` and `maximum_iterations` (converters know the pattern by them), a tensor list
//! for each result, and the map's inputs. The body takes its slices with the counter, and puts its results into the lists, which are stacked
//! after the loop. A loop's functions see nothing from outside (reading a variable inside makes TensorFlow 2.2 fail to freeze), which
//! suits the graph: a body sees its inputs only, and its constants are written inside it.

use tfod_graph::{DType, Dim, Graph, MapInput, Node, Shape, Tensor, Value, Weights};
use tfod_proto::DataType;

use super::attrs::{Attrs, data_type, scalar_shape, shape_proto};
use super::names::{self, Names, numbered};
use super::nodes::{Dialect, NodeList, Port};
use super::ops::gather;
use super::{Argument, Function, Library, Lowering, Placement, size};
use crate::Error;

/// The operands before the tensor lists.
const NUM_COUNTERS: usize = 2;

impl Lowering<'_, '_> {
    pub(super) fn map(
        &mut self,
        node: &Node,
        body: &Graph,
        kinds: &[MapInput],
        inputs: &[Port],
    ) -> Result<Vec<Port>, Error> {
        let functions = LoopFunctions {
            scope: format!("{}{}/", self.scope, node.name),
            body,
            kinds,
            inputs: node.inputs.iter().map(|v| self.graph.value(*v)).collect(),
        };
        let arguments = functions.arguments();
        let cond = self.library.fresh(&format!("{}_cond", node.name));
        functions.add_cond(self.library, cond.clone(), &arguments);
        let body_name = self.library.fresh(&format!("{}_body", node.name));
        functions.add_body(self.library, body_name.clone(), &arguments)?;

        let iterations = self.iterations(node, kinds, inputs)?;
        let mut operands = vec![self.scalar(node, "loop_counter", 0), iterations.clone()];
        let mut shapes = Vec::new();
        for output in body.outputs() {
            let value = body.value(output.value);
            let shape = self.element_shape(node, &value.shape)?;
            let attrs = Attrs::new()
                .dtype("element_dtype", data_type(value.dtype))
                .dtype("shape_type", DataType::DtInt32);
            let name = self.list.fresh(&format!("{}/results", node.name));
            let reserve = self.list.add(
                &name,
                "TensorListReserve",
                &[shape.clone(), iterations.clone()],
                attrs,
            );
            operands.push(reserve.output("handle", 0));
            shapes.push(shape);
        }
        operands.extend_from_slice(inputs);

        let attrs = Attrs::new()
            .dtypes("T", arguments.iter().map(|a| a.dtype))
            .function("cond", &cond)
            .function("body", &body_name)
            // Without it, freezing leaves the loop and its functions in the graph.
            .flag("_lower_using_switch_merge");
        let looped = self
            .list
            .add(&node.name, "StatelessWhile", &operands, attrs);

        let mut results = Vec::new();
        for (index, (output, shape)) in body.outputs().iter().zip(shapes).enumerate() {
            let leading = self
                .graph
                .value(node.outputs[index])
                .shape
                .dims()
                .first()
                .and_then(Dim::known);
            let count = leading.map_or(Ok(-1), |n| size(node, n))?;
            let attrs = Attrs::new()
                .dtype("element_dtype", data_type(body.value(output.value).dtype))
                .int_unless(-1, "num_elements", count.into());
            let name = self.list.fresh(&format!("{}/stacked", node.name));
            let list = looped.element("output", NUM_COUNTERS + index);
            results.push(
                self.list
                    .add(&name, "TensorListStack", &[list, shape], attrs)
                    .output("tensor", 0),
            );
        }
        Ok(results)
    }

    /// How often the body runs, a scalar.
    fn iterations(
        &mut self,
        node: &Node,
        kinds: &[MapInput],
        inputs: &[Port],
    ) -> Result<Port, Error> {
        // Validation makes sure that one is sliced.
        let sliced = kinds
            .iter()
            .position(|kind| *kind == MapInput::Sliced)
            .unwrap_or(0);
        let value = self.graph.value(node.inputs[sliced]);
        if let Some(count) = value.shape.dims().first().and_then(Dim::known) {
            return Ok(self.scalar(node, "maximum_iterations", size(node, count)?));
        }
        let shape = self.shape_of(node, &inputs[sliced], value.dtype);
        self.size_along(node, &shape, 0)
    }

    /// The shape of a result of the body, as far as it is known.
    fn element_shape(&mut self, node: &Node, shape: &Shape) -> Result<Port, Error> {
        let sizes = shape
            .dims()
            .iter()
            .map(|dim| dim.known().map_or(Ok(-1), |n| size(node, n)))
            .collect::<Result<Vec<_>, _>>()?;
        self.vector(node, "element_shape", &sizes)
    }
}

/// The functions of a loop. What is in them has names unlike any outside: converters put all functions into one name space.
struct LoopFunctions<'a> {
    /// The map's name, and that of the maps around it.
    scope: String,
    body: &'a Graph,
    kinds: &'a [MapInput],
    /// Of the map.
    inputs: Vec<&'a Value>,
}

impl LoopFunctions<'_> {
    /// What the loop carries. No node is called like one of these: nodes have a `/` where these have none.
    fn arguments(&self) -> Vec<Argument> {
        let argument = |name: &str, dtype, shape| Argument {
            name: names::argument(&format!("{}{name}", self.scope)),
            dtype,
            shape,
        };
        let counter = |name| argument(name, DataType::DtInt32, scalar_shape());
        let mut arguments = vec![counter("loop_counter"), counter("maximum_iterations")];
        for index in 0..self.body.outputs().len() {
            let name = numbered("results", index);
            arguments.push(argument(&name, DataType::DtVariant, scalar_shape()));
        }
        for (index, input) in self.inputs.iter().enumerate() {
            let name = numbered("operand", index);
            let shape = shape_proto(&input.shape);
            arguments.push(argument(&name, data_type(input.dtype), shape));
        }
        arguments
    }

    /// `loop_counter < maximum_iterations`
    fn add_cond(&self, library: &mut Library, name: String, arguments: &[Argument]) {
        let scope = format!("{}cond/", self.scope);
        let mut list = NodeList::new(Dialect::Function, Names::default(), &scope);
        let counters: Vec<Port> = arguments[..NUM_COUNTERS]
            .iter()
            .map(Argument::port)
            .collect();
        let less = list.add("Less", "Less", &counters, Attrs::typed(DType::I32));
        library.add(Function {
            name,
            arguments,
            nodes: list.into_nodes(),
            results: vec![(less.output("z", 0), DataType::DtBool)],
            is_stateful: false,
        });
    }

    /// One iteration: gives the operands of the next.
    fn add_body(
        &self,
        library: &mut Library,
        name: String,
        arguments: &[Argument],
    ) -> Result<(), Error> {
        let body = self.body;
        let (weights, placement) = (Weights::default(), Placement::default());
        let scope = format!("{}body/", self.scope);
        let mut lowering = Lowering::new(
            body,
            &weights,
            &placement,
            Dialect::Function,
            library,
            scope,
        );
        let ports: Vec<Port> = arguments.iter().map(Argument::port).collect();
        let counter = &ports[0];
        let (lists, inputs) = ports[NUM_COUNTERS..].split_at(body.outputs().len());

        let zero = Tensor::scalar_i32(0);
        for ((input, kind), port) in body.inputs().iter().zip(self.kinds).zip(inputs) {
            let port = match kind {
                MapInput::Whole => port.clone(),
                MapInput::Sliced => {
                    let axis = lowering.list.literal("axis", &zero);
                    let attrs = gather(body.value(*input).dtype);
                    let operands = [port.clone(), counter.clone(), axis];
                    let slice =
                        lowering
                            .list
                            .add(body.name_of(*input), "GatherV2", &operands, attrs);
                    slice.output("output", 0)
                }
            };
            lowering.bind(*input, port);
        }
        lowering.run()?;

        let one = lowering.list.literal("one", &Tensor::scalar_i32(1));
        let next = lowering.list.fresh("next");
        let next = lowering.list.add(
            &next,
            "AddV2",
            &[counter.clone(), one],
            Attrs::typed(DType::I32),
        );
        let mut results = vec![next.output("z", 0), ports[1].clone()];
        for (output, list) in body.outputs().iter().zip(lists) {
            let item = lowering.port(output.value)?;
            let attrs =
                Attrs::new().dtype("element_dtype", data_type(body.value(output.value).dtype));
            let name = lowering.list.fresh("with_result");
            let set = lowering.list.add(
                &name,
                "TensorListSetItem",
                &[list.clone(), counter.clone(), item],
                attrs,
            );
            results.push(set.output("output_handle", 0));
        }
        results.extend_from_slice(inputs);

        let nodes = lowering.list.into_nodes();
        let results = results
            .into_iter()
            .zip(arguments.iter().map(|a| a.dtype))
            .collect();
        library.add(Function {
            name,
            arguments,
            nodes,
            results,
            is_stateful: false,
        });
        Ok(())
    }
}
