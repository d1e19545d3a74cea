//! Functions that stay functions: of loops and conditionals that are not lowered, of calls that must not be inlined, of operations that take a
//! function. Each is expanded into a graph of its own, with the values of variables as arguments in place of their handles.

use std::collections::{HashMap, HashSet};

use super::data_type::RESOURCE;
use super::error::{FreezeError, NodePlace};
use super::expand::{Expander, Instance, Value};
use super::graph::{Graph, Node, NodeId, ScopeId, Tensor};
use super::model::FunctionRef;

/// A function of the frozen graph.
#[derive(Debug)]
pub(crate) struct KeptFunction<'a> {
    pub(crate) name: String,
    pub(crate) graph: Graph<'a>,
    /// Name and node of each argument.
    pub(crate) inputs: Vec<(&'a str, NodeId)>,
    /// Name, element type and tensor of each result.
    pub(crate) outputs: Vec<(&'a str, i32, Tensor)>,
    /// Nodes that run whenever the function is called.
    pub(crate) controls: Vec<NodeId>,
}

/// The operation of an argument's node, which is never written.
pub(crate) const ARGUMENT: &str = "_Arg";

/// What the calls of one function may differ in: the types of the variables among the arguments, and attributes.
type Key<'a> = (&'a str, Vec<Option<i32>>, Vec<(&'a str, &'a [u8])>);

/// The functions kept so far.
#[derive(Debug, Default)]
pub(crate) struct Library<'a> {
    pub(crate) functions: Vec<KeptFunction<'a>>,
    names: HashMap<Key<'a>, String>,
    taken: HashSet<String>,
}

impl Library<'_> {
    fn unique(&mut self, base: &str, is_converted: bool) -> String {
        let mut name = if is_converted {
            format!("{base}_frozen_0")
        } else {
            base.to_owned()
        };
        let mut count = 0;
        while !self.taken.insert(name.clone()) {
            count += 1;
            name = format!("{base}_frozen_{count}");
        }
        name
    }
}

impl<'a> Expander<'a, '_> {
    /// Keeps a function for a call with these arguments (`None`: whatever it takes), and gives its name in the new library.
    pub(crate) fn kept_function(
        &mut self,
        at: &NodePlace,
        function: &FunctionRef<'a>,
        inputs: Option<&[Value]>,
    ) -> Result<String, FreezeError> {
        let (name, body) = (function.name, self.function(at, function.name)?);
        if let Some(values) = inputs {
            self.check_arguments(at, name, body, values)?;
        }
        let inputs = inputs.unwrap_or_default();
        let variable = |index: usize| match inputs.get(index) {
            Some(Value::Variable { index, .. }) => Some(*index),
            _ => None,
        };
        let variables: Vec<Option<usize>> = (0..body.inputs.len()).map(variable).collect();
        let types: Vec<Option<i32>> = variables
            .iter()
            .map(|variable| variable.map(|index| self.variables.get(index).data_type()))
            .collect();
        let key = (name, types.clone(), function.attrs.clone());
        if let Some(kept) = self.library.names.get(&key) {
            return Ok(kept.clone());
        }
        self.pay(at, 8 + body.inputs.len() + body.outputs.len())?;
        self.enter(at, name)?;
        let outer = std::mem::replace(&mut self.graph, Graph::new());

        let (mut arguments, mut values) = (
            Vec::with_capacity(types.len()),
            Vec::with_capacity(types.len()),
        );
        for (index, argument) in body.inputs.iter().enumerate() {
            if argument.is_list || (argument.data_type == 0 && argument.type_attr.is_empty()) {
                return Err(self.refuse(at, format!("function `{name}` takes lists of tensors")));
            }
            let data_type = types[index].unwrap_or(argument.data_type);
            let node = self.graph.add(
                ScopeId::ROOT,
                Node::new(
                    argument.name.to_owned(),
                    ARGUMENT,
                    Vec::new(),
                    vec![data_type],
                ),
            );
            let tensor = Tensor::of(node);
            arguments.push((argument.name, node));
            values.push(match variables[index] {
                Some(index) => Value::Variable {
                    index,
                    read: Some(tensor),
                    routed: None,
                },
                None => Value::Tensor(tensor),
            });
        }
        let mut instance = Instance::new(
            &body.body,
            Some((name, body)),
            String::new(),
            ScopeId::ROOT,
            values,
        );
        instance.attrs.clone_from(&function.attrs);
        let keeper = self.keeper.replace(at.clone());
        let done = self.results(at, &mut instance, body)?;
        self.keeper = keeper;
        let mut outputs = Vec::with_capacity(done.values.len());
        for (output, value) in body.outputs.iter().zip(done.values) {
            let end = NodePlace {
                function: Some(name.to_owned()),
                node: output.name.to_owned(),
                op: String::new(),
            };
            let tensor = match value {
                // A loop hands the handle of a table on as it came.
                Value::Tensor(tensor) if self.graph.node(tensor.node).op == ARGUMENT => tensor,
                value => self.read_or_tensor(&end, value)?,
            };
            outputs.push((output.name, self.graph.data_type(tensor), tensor));
        }

        let graph = std::mem::replace(&mut self.graph, outer);
        self.active.pop();
        let is_converted = types.iter().any(Option::is_some) || !function.attrs.is_empty();
        let kept = self.library.unique(name, is_converted);
        self.library.names.insert(key, kept.clone());
        let controls = if body.control_returns.is_empty() {
            Vec::new()
        } else {
            done.controls
        };
        self.library.functions.push(KeptFunction {
            name: kept.clone(),
            graph,
            inputs: arguments,
            outputs,
            controls,
        });
        Ok(kept)
    }

    /// A value as a tensor of the top level.
    pub(crate) fn read_or_tensor(
        &mut self,
        at: &NodePlace,
        value: Value,
    ) -> Result<Tensor, FreezeError> {
        match value {
            Value::Tensor(tensor) if self.graph.data_type(tensor) == RESOURCE => {
                Err(self.refuse(at, "it gives the handle of a resource"))
            }
            Value::Tensor(tensor) => Ok(tensor),
            other => self.read(at, other, ScopeId::ROOT),
        }
    }
}
