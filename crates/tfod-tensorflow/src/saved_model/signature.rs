//! A signature: the two functions behind it, and what they take and give.
//!
//! `call` is the flat network with positional inputs in the graph's order; the loaded object's `__call__` is this function. `wrapper` calls
//! it; its inputs are given by keyword, so they are in the order of their names, as TensorFlow flattens keywords. Two functions are
//! needed because no single form of arguments suits both uses in all releases. Outputs are in the bytewise order of their keys in both.

use tfod_graph::Value;
use tfod_proto::{DataType, SignatureDef, TensorInfo, TensorShapeProto};

use super::{NamedGraph, check_identifier};
use crate::Error;
use crate::lower::attrs::{Attrs, data_type, shape_proto};
use crate::lower::names::{Names, numbered};
use crate::lower::{
    Argument, Dialect, Function, Library, NodeList, Placement, Port, lower, sorted_outputs,
};

/// The operation that calls a function, and so the name under which the main graph's outputs are found.
pub(crate) const CALL: &str = "StatefulPartitionedCall";

/// A tensor that a function takes or gives.
#[derive(Clone, Debug)]
pub(crate) struct TensorSpec {
    pub(crate) name: String,
    pub(crate) dtype: DataType,
    pub(crate) shape: TensorShapeProto,
}

impl TensorSpec {
    fn new(name: &str, value: &Value) -> Self {
        Self {
            name: name.to_owned(),
            dtype: data_type(value.dtype),
            shape: shape_proto(&value.shape),
        }
    }

    fn info(&self, tensor: String) -> TensorInfo {
        TensorInfo {
            name: tensor,
            dtype: self.dtype.into(),
            tensor_shape: Some(self.shape.clone()),
        }
    }
}

/// A signature and its functions.
#[derive(Debug)]
pub(crate) struct Signature {
    pub(crate) name: String,
    /// In the graph's order.
    pub(crate) positional: Vec<TensorSpec>,
    /// The same by name.
    pub(crate) keyword: Vec<TensorSpec>,
    pub(crate) outputs: Vec<TensorSpec>,
    /// The flat function.
    pub(crate) call: String,
    /// The function that calls it.
    pub(crate) wrapper: String,
    /// The main graph's node that calls that.
    pub(crate) call_node: String,
    /// The main graph's placeholders for the inputs by name.
    pub(crate) placeholders: Vec<String>,
    /// The slots of the variables whose handles the functions take.
    pub(crate) slots: Vec<usize>,
}

impl Signature {
    /// Puts the graph and its wrapper into the library, and takes names of the main graph.
    pub(crate) fn new<'a>(
        named: NamedGraph<'a>,
        placement: &Placement<'a>,
        library: &mut Library,
        names: &mut Names,
    ) -> Result<Self, Error> {
        let NamedGraph {
            name,
            graph,
            weights,
        } = named;
        check_identifier("signature", name)?;
        let mut positional = Vec::new();
        for &input in graph.inputs() {
            check_identifier("input", graph.name_of(input))?;
            positional.push(TensorSpec::new(graph.name_of(input), graph.value(input)));
        }
        let mut keyword = positional.clone();
        keyword.sort_by(|a, b| a.name.cmp(&b.name));
        let outputs: Vec<_> = sorted_outputs(graph)
            .into_iter()
            .map(|output| TensorSpec::new(&output.key, graph.value(output.value)))
            .collect();
        if outputs.is_empty() {
            return Err(Error::NoOutputs {
                graph: graph.name().to_owned(),
            });
        }
        let lowered = lower(graph, weights, placement, Dialect::Function, library)?;
        let signature = Self {
            name: name.to_owned(),
            positional,
            outputs,
            call: library.fresh("call"),
            wrapper: library.fresh("signature_wrapper"),
            call_node: names.fresh(CALL),
            placeholders: keyword
                .iter()
                .map(|input| names.fresh(&format!("{name}_{}", input.name)))
                .collect(),
            slots: placement.variables.iter().map(|v| v.slot).collect(),
            keyword,
        };
        let arguments = lowered.arguments;
        library.add(Function {
            name: signature.call.clone(),
            arguments: &arguments,
            nodes: lowered.nodes,
            results: lowered.results,
            is_stateful: true,
        });
        signature.add_wrapper(&arguments, library);
        Ok(signature)
    }

    fn add_wrapper(&self, call_arguments: &[Argument], library: &mut Library) {
        let mut arguments = call_arguments.to_vec();
        let (inputs, _handles) = arguments.split_at_mut(self.keyword.len());
        inputs.sort_by(|a, b| a.name.cmp(&b.name));

        let mut list = NodeList::new(Dialect::Function, Names::default(), "");
        let operands: Vec<Port> = call_arguments.iter().map(Argument::port).collect();
        let shapes = self.outputs.iter().map(|o| o.shape.clone()).collect();
        let attrs =
            call_attrs(&self.call, call_arguments, &self.outputs).shapes("_output_shapes", shapes);
        let call = list.add(CALL, CALL, &operands, attrs);
        let mut results = Vec::new();
        for (index, output) in self.outputs.iter().enumerate() {
            let attrs = Attrs::new()
                .dtype("T", output.dtype)
                .shapes("_output_shapes", vec![output.shape.clone()]);
            let result = call.element("output", index);
            let identity = list.add(&numbered("Identity", index), "Identity", &[result], attrs);
            results.push((identity.output("output", 0), output.dtype));
        }
        library.add(Function {
            name: self.wrapper.clone(),
            arguments: &arguments,
            nodes: list.into_nodes(),
            results,
            is_stateful: true,
        });
    }

    /// For the V1 loader: which tensors of the main graph are the inputs and outputs.
    pub(crate) fn definition(&self) -> SignatureDef {
        let inputs = self.keyword.iter().zip(&self.placeholders);
        let outputs = self.outputs.iter().enumerate();
        SignatureDef {
            inputs: inputs
                .map(|(i, placeholder)| (i.name.clone(), i.info(format!("{placeholder}:0"))))
                .collect(),
            outputs: outputs
                .map(|(k, o)| (o.name.clone(), o.info(format!("{}:{k}", self.call_node))))
                .collect(),
            method_name: "tensorflow/serving/predict".to_owned(),
        }
    }

    /// The attributes of the main graph's call, which passes the keyword inputs and then the handles.
    pub(crate) fn main_call(&self) -> Attrs {
        let handles = std::iter::repeat_n(DataType::DtResource, self.slots.len());
        let inputs = self.keyword.iter().map(|i| i.dtype).chain(handles);
        call_types(&self.wrapper, inputs, &self.outputs)
    }
}

fn call_attrs(function: &str, arguments: &[Argument], outputs: &[TensorSpec]) -> Attrs {
    call_types(function, arguments.iter().map(|a| a.dtype), outputs)
}

fn call_types(
    function: &str,
    inputs: impl Iterator<Item = DataType>,
    outputs: &[TensorSpec],
) -> Attrs {
    Attrs::new()
        .dtypes("Tin", inputs)
        .dtypes("Tout", outputs.iter().map(|o| o.dtype))
        .function("f", function)
}
