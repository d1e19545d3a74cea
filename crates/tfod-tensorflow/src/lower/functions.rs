//! The function library: bodies of loops, and the functions that a signature calls.

use std::collections::BTreeMap;

use tfod_proto::op_def::ArgDef;
use tfod_proto::{DataType, FunctionDef, NodeDef, OpDef, TensorShapeProto};

use super::attrs::Attrs;
use super::names::{flat, numbered};
use super::nodes::{Dialect, Port};
use crate::op_defs;

/// An argument of a function.
#[derive(Clone, Debug)]
pub(crate) struct Argument {
    pub(crate) name: String,
    pub(crate) dtype: DataType,
    pub(crate) shape: TensorShapeProto,
}

impl Argument {
    /// The argument inside the function.
    pub(crate) fn port(&self) -> Port {
        Port::Argument(self.name.clone())
    }
}

/// What a function consists of.
#[derive(Debug)]
pub(crate) struct Function<'a> {
    pub(crate) name: String,
    pub(crate) arguments: &'a [Argument],
    pub(crate) nodes: Vec<NodeDef>,
    pub(crate) results: Vec<(Port, DataType)>,
    /// Whether running it may read or change a variable.
    pub(crate) is_stateful: bool,
}

/// The functions of one file.
#[derive(Debug, Default)]
pub(crate) struct Library {
    functions: Vec<FunctionDef>,
    named: usize,
}

impl Library {
    /// A name for a function, of the form that TensorFlow's loader shortens to `stem` in messages.
    pub(crate) fn fresh(&mut self, stem: &str) -> String {
        self.named += 1;
        format!("__inference_{}_{}", flat(stem), self.named)
    }

    pub(crate) fn add(&mut self, function: Function<'_>) {
        let mut ret = BTreeMap::new();
        let mut outputs = Vec::with_capacity(function.results.len());
        for (index, (port, dtype)) in function.results.iter().enumerate() {
            let name = numbered("identity", index);
            outputs.push(argument(&name, *dtype));
            ret.insert(name, port.reference(Dialect::Function));
        }
        // TensorFlow's optimiser inlines a function only if it is told of all that may have effects; reading a variable is one of those.
        let nodes = function.nodes.iter();
        let effects = nodes.filter(|node| op_defs::find(&node.op).is_some_and(|op| op.is_stateful));
        let control_output: Vec<String> = effects.map(|node| node.name.clone()).collect();
        let control_ret = control_output
            .iter()
            .map(|name| (name.clone(), name.clone()));
        let control_ret = control_ret.collect();
        let inputs = function.arguments.iter();
        // Without these, converters do not know the shapes of the arguments.
        let shapes = inputs.clone().map(|a| a.shape.clone()).collect();
        self.functions.push(FunctionDef {
            signature: Some(OpDef {
                name: function.name,
                input_arg: inputs.map(|a| argument(&a.name, a.dtype)).collect(),
                output_arg: outputs,
                is_stateful: function.is_stateful,
                control_output,
                ..OpDef::default()
            }),
            node_def: function.nodes,
            ret,
            control_ret,
            attr: Attrs::new().shapes("_input_shapes", shapes).into_map(),
            ..FunctionDef::default()
        });
    }

    pub(crate) fn into_functions(self) -> Vec<FunctionDef> {
        self.functions
    }
}

fn argument(name: &str, dtype: DataType) -> ArgDef {
    ArgDef {
        name: name.to_owned(),
        r#type: dtype.into(),
        ..ArgDef::default()
    }
}
