//! Calls of functions, expanded in place.

use super::super::budget::MAX_DEPTH;
use super::super::data_type::{RESOURCE, type_name};
use super::super::error::NodePlace;
use super::super::graph::{Node, NodeId, ScopeId};
use super::super::model::{FunctionBody, FunctionRef};
use super::instance::Slot;
use super::{Done, Entry, Expander, Instance, NodeInput, Result, Value, Visit};

impl<'a, 'm> Expander<'a, 'm> {
    /// A call of a function.
    pub(super) fn call(
        &mut self,
        visit: Visit<'a, '_>,
        function: &FunctionRef<'a>,
    ) -> Result<Done> {
        let body = self.function(&visit.place, function.name)?;
        if body.is_noinline() && !self.drops_updates_of(&visit.place, function.name)? {
            return self.kept_call(&visit, function);
        }
        let entry = Entry {
            control: self.hub(&visit, &visit.controls, "input_control_node"),
            written: visit.written.clone(),
        };
        let prefix = format!("{}/", visit.name);
        let done = self.expand(
            &visit.place,
            function,
            prefix,
            visit.scope,
            visit.inputs.clone(),
            entry,
        )?;
        let controls = self
            .hub(&visit, &done.controls, "output_control_node")
            .into_iter()
            .collect();
        Ok(Done {
            values: done.values,
            controls,
            written: done.written,
        })
    }

    /// One node that stands for several in control inputs.
    fn hub(&mut self, visit: &Visit<'a, '_>, controls: &[NodeId], part: &str) -> Option<NodeId> {
        match controls {
            [] => None,
            [one] => Some(*one),
            several => {
                let node =
                    Node::new(visit.part(part), "NoOp", Vec::new(), Vec::new()).after(several);
                Some(self.graph.add(visit.scope, node))
            }
        }
    }

    pub(crate) fn function(&self, at: &NodePlace, name: &str) -> Result<&'m FunctionBody<'a>> {
        let function = self
            .model
            .functions
            .get(name)
            .ok_or_else(|| self.error(at, format!("function `{name}` is not in the file")))?;
        function
            .body()
            .map_err(|malformed| self.file.damaged(malformed, "reading a function"))
    }

    /// Enters a function: checks that it is not being expanded already.
    pub(crate) fn enter(&mut self, at: &NodePlace, name: &'a str) -> Result<()> {
        if self.active.contains(&name) {
            let path: Vec<&str> = self
                .active
                .iter()
                .copied()
                .skip_while(|&active| active != name)
                .chain([name])
                .collect();
            return Err(self.limit(
                at,
                format!("function `{name}` calls itself: {}", path.join(" -> ")),
            ));
        }
        if self.active.len() >= MAX_DEPTH {
            return Err(self.limit(at, format!("calls are nested deeper than {MAX_DEPTH}")));
        }
        self.active.push(name);
        Ok(())
    }

    /// Expands a function in place.
    pub(crate) fn expand(
        &mut self,
        at: &NodePlace,
        function: &FunctionRef<'a>,
        prefix: String,
        scope: ScopeId,
        values: Vec<Value>,
        entry: Entry,
    ) -> Result<Done> {
        let (name, body) = (function.name, self.function(at, function.name)?);
        self.check_arguments(at, name, body, &values)?;
        self.pay(
            at,
            body.inputs.len() + body.outputs.len() + body.body.nodes.len() / 4,
        )?;
        self.enter(at, name)?;
        let mut instance = Instance::new(&body.body, Some((name, body)), prefix, scope, values);
        instance.attrs.clone_from(&function.attrs);
        instance.entry = entry;
        let done = self.results(at, &mut instance, body)?;
        self.active.pop();
        Ok(done)
    }

    pub(crate) fn check_arguments(
        &self,
        at: &NodePlace,
        name: &str,
        body: &FunctionBody<'a>,
        values: &[Value],
    ) -> Result<()> {
        if body
            .inputs
            .iter()
            .chain(&body.outputs)
            .any(|argument| argument.is_list)
        {
            return Err(self.refuse(
                at,
                format!("function `{name}` takes or gives lists of tensors"),
            ));
        }
        if values.len() != body.inputs.len() {
            return Err(self.error(
                at,
                format!(
                    "it passes {} arguments to function `{name}`, which has {}",
                    values.len(),
                    body.inputs.len()
                ),
            ));
        }
        for (argument, value) in body.inputs.iter().zip(values) {
            let found = match value {
                Value::Tensor(tensor) => self.graph.data_type(*tensor),
                Value::Variable { .. } => RESOURCE,
                Value::Reference(_) | Value::Refused(_) => 0,
            };
            if found != 0 && argument.data_type != 0 && found != argument.data_type {
                let (found, expected) = (type_name(found), type_name(argument.data_type));
                return Err(self.error(
                    at,
                    format!(
                        "argument `{}` of function `{name}` is {expected}, and gets {found}",
                        argument.name
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Visits what a function returns.
    pub(crate) fn results(
        &mut self,
        at: &NodePlace,
        instance: &mut Instance<'a, 'm>,
        body: &'m FunctionBody<'a>,
    ) -> Result<Done> {
        let mut sources = Vec::with_capacity(body.outputs.len());
        let function = instance.function.map(|(name, _)| name.to_owned());
        let end = |node: &str| NodePlace {
            function: function.clone(),
            node: node.to_owned(),
            op: String::new(),
        };
        for output in &body.outputs {
            let tensor = body.returns.get(output.name);
            let tensor = tensor.ok_or_else(|| {
                self.error(
                    at,
                    format!(
                        "the called function does not say what its output `{}` is",
                        output.name
                    ),
                )
            })?;
            sources.push((
                end(output.name),
                self.source(instance, &end(output.name), tensor)?,
            ));
        }
        let node = |(_, source): &(NodePlace, NodeInput)| match source {
            NodeInput::Output(node, _) => Some(*node),
            _ => None,
        };
        let roots: Vec<usize> = sources.iter().filter_map(node).collect();
        self.visit(instance, &roots)?;
        let values = sources
            .iter()
            .map(|(place, source)| self.value(instance, place, *source))
            .collect::<Result<Vec<_>>>()?;
        for (output, value) in body.outputs.iter().zip(&values) {
            if let Value::Tensor(tensor) = value {
                let found = self.graph.data_type(*tensor);
                if found != 0 && output.data_type != 0 && found != output.data_type {
                    let (found, expected) = (type_name(found), type_name(output.data_type));
                    return Err(self.error(
                        &end(output.name),
                        format!("the output is declared {expected}, and is {found}"),
                    ));
                }
            }
        }
        // Functions of TensorFlow 1 do not declare what has to run; there, all that the results need counts.
        let control_roots: Vec<usize> = match body.control_returns.as_slice() {
            [] => roots,
            declared => declared
                .iter()
                .filter_map(|name| instance.body.by_name.get(name).copied())
                .collect(),
        };
        self.visit(instance, &control_roots)?;
        let (mut controls, mut written) = (Vec::new(), instance.entry.written.clone());
        for node in sources
            .iter()
            .filter_map(node)
            .chain(control_roots.iter().copied())
        {
            if let Slot::Done(done) = &instance.slots[node] {
                written = self.joined(at, written, &done.written)?;
            }
        }
        for node in control_roots {
            let before = Self::controls(instance, node);
            self.pay(at, before.len())?;
            controls.extend_from_slice(before);
        }
        Ok(Done {
            values,
            controls,
            written,
        })
    }
}
