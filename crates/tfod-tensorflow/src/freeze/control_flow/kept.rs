//! Conditionals, loops and calls that stay, with functions that take the values of variables instead of their handles.

use crate::op_defs;

use super::super::data_type::RESOURCE;
use super::super::error::FreezeError;
use super::super::expand::{Done, Expander, Value, Visit};
use super::super::graph::{Node, Tensor};
use super::super::model::FunctionRef;
use super::super::wire::value;

type Result<T> = std::result::Result<T, FreezeError>;

impl<'a> Expander<'a, '_> {
    pub(super) fn kept_conditional(
        &mut self,
        visit: &Visit<'a, '_>,
        functions: &[FunctionRef<'a>],
        branches: &[&'static str],
        out_types: Vec<i32>,
    ) -> Result<Done> {
        let mut names = Vec::with_capacity(functions.len());
        for function in functions {
            names.push(self.kept_function(&visit.place, function, Some(&visit.inputs[1..]))?);
        }
        let types = value::types(&out_types);
        let mut node = self.with_values(visit, out_types)?.with("Tout", types);
        let types = self.types_of(&node.inputs[1..]);
        node = node.with("Tin", value::types(&types));
        if branches.is_empty() {
            node = node.with("branches", value::funcs(names.iter().map(String::as_str)));
        } else {
            let decides = self.graph.data_type(node.inputs[0]);
            node = node.with("Tcond", value::data_type(decides));
            for (attr, name) in branches.iter().zip(&names) {
                node = node.with(attr, value::func(name));
            }
        }
        Ok(self.single(visit.scope, node))
    }

    pub(super) fn kept_loop(
        &mut self,
        visit: &Visit<'a, '_>,
        condition: &FunctionRef<'a>,
        body: &FunctionRef<'a>,
    ) -> Result<Done> {
        let condition = self.kept_function(&visit.place, condition, Some(&visit.inputs))?;
        let body = self.kept_function(&visit.place, body, Some(&visit.inputs))?;
        let node = self.with_values(visit, Vec::new())?;
        let types = self.types_of(&node.inputs);
        let mut node = node
            .with("T", value::types(&types))
            .with("cond", value::func(&condition))
            .with("body", value::func(&body));
        let default =
            op_defs::find(visit.def.op).and_then(|def| def.default("parallel_iterations"));
        if let Some(parallel) = visit
            .attr("parallel_iterations")
            .filter(|&found| Some(found) != default)
        {
            node = node.with("parallel_iterations", parallel);
        }
        node.outputs = Some(types);
        let mut done = self.single(visit.scope, node);
        for (operand, result) in visit.inputs.iter().zip(&mut done.values) {
            if let Value::Variable { .. } = operand {
                result.clone_from(operand);
            }
        }
        Ok(done)
    }

    /// A call of a function that must not be inlined.
    pub(crate) fn kept_call(
        &mut self,
        visit: &Visit<'a, '_>,
        function: &FunctionRef<'a>,
    ) -> Result<Done> {
        let name = self.kept_function(&visit.place, function, Some(&visit.inputs))?;
        let outputs = &self.function(&visit.place, function.name)?.outputs;
        let out_types: Vec<i32> = outputs.iter().map(|output| output.data_type).collect();
        let to = value::types(&out_types);
        let mut node = self.with_values(visit, out_types)?;
        if visit.def.op != "PartitionedCall" {
            node.op = "StatefulPartitionedCall".into();
        }
        let from = value::types(&self.types_of(&node.inputs));
        let node = node
            .with("Tin", from)
            .with("Tout", to)
            .with("f", value::func(&name));
        Ok(self.single(visit.scope, node))
    }

    /// A node like the visited one, with the values of variables in place of their handles, and without attributes.
    fn with_values(&mut self, visit: &Visit<'a, '_>, outputs: Vec<i32>) -> Result<Node<'a>> {
        if outputs.contains(&RESOURCE) {
            return Err(self.refuse(&visit.place, "it gives the handle of a resource"));
        }
        let mut inputs = Vec::with_capacity(visit.inputs.len());
        for input in &visit.inputs {
            let mut input = input.clone();
            self.forward(
                &visit.place,
                &visit.written,
                std::slice::from_mut(&mut input),
            )?;
            inputs.push(match input {
                Value::Variable { .. } => self.read(&visit.place, input, visit.scope)?,
                other => self.tensor(visit, &other)?,
            });
        }
        let mut node =
            Node::new(visit.name.clone(), visit.def.op, inputs, outputs).after(&visit.controls);
        node.is_effect = op_defs::find(visit.def.op).is_none_or(|def| def.is_stateful);
        Ok(node)
    }

    fn types_of(&self, inputs: &[Tensor]) -> Vec<i32> {
        inputs
            .iter()
            .map(|&input| self.graph.data_type(input))
            .collect()
    }
}
