//! Conditionals and loops, lowered to TensorFlow's dataflow control or kept as they are.
//!
//! Lowering is what `convert_variables_to_constants_v2` does by default, where the node asks for it; it follows the paper "Dynamic Control Flow
//! in Large-Scale Machine Learning" (Yu et al., 2018), figures 3 and 5. A conditional becomes a switch for each operand and a merge for each
//! result. A loop becomes, for each operand that changes,
//!
//! ```text
//! operand ─▶ Enter ─▶ Merge ─▶ Switch ─▶ Exit ─▶ result
//!                       ▲         └▶ body ─▶ NextIteration
//!                       └────────────────────────┘
//! ```
//!
//! and one `Enter` with `is_constant` for each value that does not change. Variables are read outside and do not change.

use crate::op_defs;

use super::error::FreezeError;
use super::expand::{BOOL, Done, Expander, FunctionRef, INT32, RESOURCE, Value, Visit, type_name};
use super::graph::{Node, NodeId, ScopeId, Tensor};
use super::model::FunctionBody;
use super::wire::{attr, value};

type Result<T> = std::result::Result<T, FreezeError>;

/// The mark that asks for lowering.
const LOWER: &str = "_lower_using_switch_merge";

/// A branch of a conditional: its function, its name, and the output of the switches that goes there.
struct Branch<'a> {
    function: FunctionRef<'a>,
    name: String,
    port: u32,
}

/// What decides: a predicate, or the number of a branch.
#[derive(Clone, Copy)]
struct Selector {
    tensor: Tensor,
    num_branches: u32,
    is_predicate: bool,
}

impl Selector {
    fn switch<'a>(self, name: String, data: Tensor, data_type: i32) -> Node<'a> {
        let outputs = vec![data_type; self.num_branches as usize];
        let node = |op: &'static str| Node::new(name, op, vec![data, self.tensor], outputs).typed(data_type);
        if self.is_predicate {
            node("Switch")
        } else {
            node("_SwitchN").with("num_outs", value::int(self.num_branches.into()))
        }
    }
}

impl<'a, 'm> Expander<'a, 'm> {
    fn is_lowered(&self, visit: &Visit<'a, '_>) -> bool {
        !self.keep_control_flow && visit.attr(LOWER).and_then(attr::bool) == Some(true)
    }

    /// `If` and `Case`. The functions are in the attributes named, or in the list `branches`.
    pub(crate) fn conditional(&mut self, visit: Visit<'a, '_>, branches: &[&'static str]) -> Result<Done> {
        let functions: Option<Vec<_>> = if branches.is_empty() {
            let lists = visit.attr("branches").and_then(attr::funcs);
            lists.and_then(|lists| lists.into_iter().map(FunctionRef::parse).collect())
        } else {
            branches.iter().map(|branch| visit.func(branch)).collect()
        };
        let functions = functions.filter(|functions| !functions.is_empty());
        let functions = functions.ok_or_else(|| self.error(&visit.place, "its attributes must name the functions of its branches"))?;
        let Some((selector, operands)) = visit.inputs.split_first() else {
            return Err(self.error(&visit.place, "it has no inputs, and needs what decides between its branches"));
        };
        let selector = self.tensor(&visit, selector)?;
        let decides = if branches.is_empty() { INT32 } else { BOOL };
        // A predicate may be a number, which a switch does not take.
        if !self.is_lowered(&visit) || self.graph.data_type(selector) != decides {
            return self.kept_conditional(visit, &functions, branches);
        }
        let selector = Selector {
            tensor: selector,
            num_branches: u32::try_from(functions.len()).unwrap_or(u32::MAX),
            is_predicate: !branches.is_empty(),
        };
        let named = |(index, function): (usize, FunctionRef<'a>)| match branches.get(index) {
            // The switch's first output is for false.
            Some(attr) => Branch { function, name: attr.trim_end_matches("_branch").to_owned(), port: u32::from(index == 0) },
            None => Branch { function, name: format!("branch_{index}"), port: u32::try_from(index).unwrap_or(u32::MAX) },
        };
        let branches: Vec<Branch<'a>> = functions.into_iter().enumerate().map(named).collect();
        let operands = operands.to_vec();
        self.lowered_conditional(&visit, selector, &branches, &operands)
    }

    fn lowered_conditional(
        &mut self,
        visit: &Visit<'a, '_>,
        selector: Selector,
        branches: &[Branch<'a>],
        operands: &[Value],
    ) -> Result<Done> {
        let out_types = visit.attr("Tout").and_then(attr::types);
        let out_types = out_types.ok_or_else(|| self.error(&visit.place, "attribute `Tout` must be a list of element types"))?;
        self.pay(&visit.place, branches.len().saturating_mul(8 + operands.len() + out_types.len()))?;
        let conditional = self.graph.conditional(visit.scope);
        let data_type = self.graph.data_type(selector.tensor);
        let decision = selector.switch(visit.part("switch_pred"), selector.tensor, data_type).after(&visit.controls);
        let decision = self.graph.add_between(visit.scope, conditional, decision);

        let mut switched = Vec::with_capacity(operands.len());
        for (index, operand) in operands.iter().enumerate() {
            switched.push(match operand {
                // Constants are the same in every branch.
                Value::Tensor(tensor) if self.graph.node(tensor.node).op != "Const" => {
                    let data_type = self.graph.data_type(*tensor);
                    let switch = selector.switch(visit.part(&format!("switch_{index}")), *tensor, data_type);
                    Some(self.graph.add_between(visit.scope, conditional, switch))
                }
                _ => None,
            });
        }

        let (mut results, mut has_run, mut any_effects) = (Vec::with_capacity(branches.len()), Vec::new(), false);
        for branch in branches {
            let pivot = self.graph.node(decision).scope;
            let of = Tensor { node: decision, port: branch.port };
            let pivot_node = Node::new(visit.part(&format!("pivot_{}", branch.name)), "Identity", vec![of], vec![data_type]).typed(data_type);
            let pivot_node = self.graph.add(pivot, pivot_node);
            let scope = self.graph.branch(conditional, pivot_node);
            let values = operands.iter().zip(&switched).map(|(operand, switch)| match switch {
                Some(node) => Value::Tensor(Tensor { node: *node, port: branch.port }),
                None => operand.clone(),
            });
            let prefix = format!("{}/{}/", visit.name, branch.name);
            let done = self.expand(&visit.place, &branch.function, prefix, scope, values.collect(), None)?;
            if done.values.len() != out_types.len() {
                let (found, expected) = (done.values.len(), out_types.len());
                return Err(self.error(&visit.place, format!("its branch `{}` has {found} results, and `Tout` {expected}", branch.name)));
            }
            any_effects |= !done.controls.is_empty();
            has_run.push((scope, of, done.controls));
            results.push((scope, branch, done.values));
        }

        let mut values = Vec::with_capacity(out_types.len());
        for (index, &data_type) in out_types.iter().enumerate() {
            values.push(self.merged(visit, conditional, &results, index, data_type)?);
        }
        let mut controls = Vec::new();
        if any_effects {
            let mut inputs = Vec::with_capacity(has_run.len());
            for ((scope, decision, before), branch) in has_run.into_iter().zip(branches) {
                let name = visit.part(&format!("{}_executed", branch.name));
                let node = Node::new(name, "Identity", vec![decision], vec![data_type]).typed(data_type).after(&before);
                inputs.push(Tensor { node: self.graph.add(scope, node), port: 0 });
            }
            let merge = merge(visit.part("branch_executed"), inputs, data_type);
            controls.push(self.graph.add_between(conditional, visit.scope, merge));
        }
        Ok(Done { values, controls })
    }

    /// Result `index` of a conditional: what the branch that ran gives.
    fn merged(
        &mut self,
        visit: &Visit<'a, '_>,
        conditional: ScopeId,
        results: &[(ScopeId, &Branch<'a>, Vec<Value>)],
        index: usize,
        data_type: i32,
    ) -> Result<Value> {
        let mut inputs = Vec::with_capacity(results.len());
        let mut variables = Vec::new();
        for (scope, branch, values) in results {
            match &values[index] {
                Value::Tensor(tensor) => {
                    let found = self.graph.data_type(*tensor);
                    if found != 0 && found != data_type {
                        let (found, expected) = (type_name(found), type_name(data_type));
                        let problem = format!("result {index} of its branch `{}` must be {expected}, and is {found}", branch.name);
                        return Err(self.error(&visit.place, problem));
                    }
                    let name = visit.part(&format!("{}/result_{index}", branch.name));
                    inputs.push(self.graph.bind(*tensor, *scope, &name));
                }
                Value::Variable { index, .. } => variables.push(*index),
                Value::Refused(_) => return Ok(values[index].clone()),
            }
        }
        if let Some(&first) = variables.first() {
            if !inputs.is_empty() || variables.iter().any(|&variable| variable != first) {
                return Err(self.refuse(&visit.place, "which variable it gives is decided while the graph runs"));
            }
            return Ok(results[0].2[index].clone());
        }
        let name = if index == 0 { visit.part("output") } else { visit.part(&format!("output_{index}")) };
        let node = self.graph.add_between(conditional, visit.scope, merge(name, inputs, data_type));
        Ok(Value::Tensor(Tensor { node, port: 0 }))
    }

    /// `While`.
    pub(crate) fn while_loop(&mut self, visit: Visit<'a, '_>) -> Result<Done> {
        let functions = (visit.func("cond"), visit.func("body"));
        let (Some(condition), Some(body)) = functions else {
            return Err(self.error(&visit.place, "attributes `cond` and `body` must name functions"));
        };
        let of = self.function(&visit.place, condition.name)?;
        let [again] = of.outputs.as_slice() else {
            return Err(self.error(&visit.place, format!("its condition has {} results, and must have one", of.outputs.len())));
        };
        let is_bool = again.data_type == BOOL;
        let of = self.function(&visit.place, body.name)?;
        if of.outputs.len() != visit.inputs.len() {
            let (found, expected) = (of.outputs.len(), visit.inputs.len());
            return Err(self.error(&visit.place, format!("its body has {found} results, and the loop {expected} operands")));
        }
        let changes: Vec<bool> = (0..visit.inputs.len())
            .map(|index| matches!(visit.inputs[index], Value::Tensor(_)) && !is_passed_through(of, index))
            .collect();
        // A number as condition is something that `LoopCond` does not take; without anything that changes there is nothing to loop over.
        if !self.is_lowered(&visit) || !is_bool || !changes.contains(&true) {
            return self.kept_loop(visit, &condition, &body);
        }
        self.lowered_loop(&visit, &condition, &body, &changes)
    }

    fn lowered_loop(
        &mut self,
        visit: &Visit<'a, '_>,
        condition: &FunctionRef<'a>,
        body: &FunctionRef<'a>,
        changes: &[bool],
    ) -> Result<Done> {
        self.pay(&visit.place, 32 * changes.len())?;
        let parallel = visit.attr("parallel_iterations").and_then(attr::int).filter(|&count| count != 10);
        let frame = self.graph.frame(visit.scope, visit.name.clone(), parallel);
        let in_condition = self.graph.part(frame);
        let in_body = self.graph.part(frame);

        let mut merges = Vec::with_capacity(changes.len());
        let mut values = Vec::with_capacity(changes.len());
        for (index, (operand, &changes)) in visit.inputs.iter().zip(changes).enumerate() {
            let (merge, value) = match operand {
                Value::Tensor(tensor) if changes => {
                    let data_type = self.graph.data_type(*tensor);
                    let enter = self.graph.enter(frame, visit.part(&format!("enter_{index}")), *tensor).after(&visit.controls);
                    let enter = Tensor { node: self.graph.add_between(visit.scope, frame, enter), port: 0 };
                    // The second input comes when the body is there.
                    let merge = merge(visit.part(&format!("merge_{index}")), vec![enter, enter], data_type);
                    let merge = self.graph.add_between(frame, in_condition, merge);
                    (Some(merge), Value::Tensor(Tensor { node: merge, port: 0 }))
                }
                Value::Tensor(tensor) => (None, Value::Tensor(self.graph.loop_constant(frame, *tensor))),
                Value::Variable { index, read: Some(tensor) } => {
                    let read = Some(self.graph.loop_constant(frame, *tensor));
                    (None, Value::Variable { index: *index, read })
                }
                other => (None, other.clone()),
            };
            if let (Some(merge), true) = (merge, merges.iter().all(Option::is_none)) {
                self.graph.set_pivot(in_condition, merge);
            }
            merges.push(merge);
            values.push(value);
        }

        let again = self.condition(visit, condition, in_condition, values.clone())?;
        let mut switches = Vec::with_capacity(merges.len());
        for (index, merge) in merges.iter().enumerate() {
            let Some(merge) = *merge else {
                switches.push(None);
                continue;
            };
            let tensor = Tensor { node: merge, port: 0 };
            let selector = Selector { tensor: again, num_branches: 2, is_predicate: true };
            let switch = selector.switch(visit.part(&format!("switch_{index}")), tensor, self.graph.data_type(tensor));
            let switch = self.graph.add_between(in_condition, in_body, switch);
            values[index] = Value::Tensor(Tensor { node: switch, port: 1 });
            switches.push(Some(switch));
        }
        if let Some(&switch) = switches.iter().flatten().next() {
            let tensor = Tensor { node: switch, port: 1 };
            let data_type = self.graph.data_type(tensor);
            let pivot = Node::new(visit.part("body_pivot"), "Identity", vec![tensor], vec![data_type]).typed(data_type);
            let pivot = self.graph.add(in_body, pivot);
            self.graph.set_pivot(in_body, pivot);
        }

        let done = self.expand(&visit.place, body, visit.part("body/"), in_body, values, None)?;
        let mut results = Vec::with_capacity(merges.len());
        let mut controls = Vec::new();
        for (index, (operand, next)) in visit.inputs.iter().zip(done.values).enumerate() {
            let (Some(merge), Some(switch)) = (merges[index], switches[index]) else {
                results.push(self.unchanged(visit, index, operand, next)?);
                continue;
            };
            let tensor = self.next_iteration(visit, index, merge, next, in_body)?;
            self.graph.node_mut(merge).inputs[1] = tensor;
            let of = Tensor { node: switch, port: 0 };
            let data_type = self.graph.data_type(of);
            let exit = Node::new(visit.part(&format!("exit_{index}")), "Exit", vec![of], vec![data_type]).typed(data_type);
            let exit = self.graph.add_between(in_body, visit.scope, exit);
            if controls.is_empty() {
                controls.push(exit);
            }
            results.push(Value::Tensor(Tensor { node: exit, port: 0 }));
        }
        Ok(Done { values: results, controls })
    }

    /// Whether the loop goes on, from the condition's function.
    fn condition(
        &mut self,
        visit: &Visit<'a, '_>,
        function: &FunctionRef<'a>,
        scope: ScopeId,
        values: Vec<Value>,
    ) -> Result<Tensor> {
        let done = self.expand(&visit.place, function, visit.part("cond/"), scope, values, None)?;
        let [Value::Tensor(again)] = done.values.as_slice() else {
            return Err(self.error(&visit.place, "its condition must give one tensor"));
        };
        let again = self.graph.bind(*again, scope, &visit.part("cond/result"));
        let node = Node::new(visit.part("LoopCond"), "LoopCond", vec![again], vec![BOOL]);
        Ok(Tensor { node: self.graph.add(scope, node), port: 0 })
    }

    fn next_iteration(&mut self, visit: &Visit<'a, '_>, index: usize, merge: NodeId, next: Value, in_body: ScopeId) -> Result<Tensor> {
        let next = self.tensor(visit, &next)?;
        let expected = self.graph.data_type(Tensor { node: merge, port: 0 });
        let found = self.graph.data_type(next);
        if found != 0 && found != expected {
            let (found, expected) = (type_name(found), type_name(expected));
            return Err(self.error(&visit.place, format!("result {index} of its body must be {expected}, and is {found}")));
        }
        let next = self.graph.bind(next, in_body, &visit.part(&format!("body/result_{index}")));
        let node = Node::new(visit.part(&format!("next_iteration_{index}")), "NextIteration", vec![next], vec![expected]).typed(expected);
        Ok(Tensor { node: self.graph.add(in_body, node), port: 0 })
    }

    /// The result for an operand that the loop does not change.
    fn unchanged(&self, visit: &Visit<'a, '_>, index: usize, operand: &Value, next: Value) -> Result<Value> {
        match (operand, next) {
            (Value::Variable { index: before, .. }, Value::Variable { index: after, .. }) if *before != after => {
                Err(self.refuse(&visit.place, format!("operand {index} is another variable in each iteration")))
            }
            (Value::Variable { .. }, Value::Tensor(_)) => {
                Err(self.error(&visit.place, format!("operand {index} is a variable, and a tensor after the first iteration")))
            }
            _ => Ok(operand.clone()),
        }
    }

    fn kept_conditional(&mut self, visit: Visit<'a, '_>, functions: &[FunctionRef<'a>], branches: &[&'static str]) -> Result<Done> {
        let mut names = Vec::with_capacity(functions.len());
        for function in functions {
            names.push(self.kept_function(&visit.place, function, &visit.inputs[1..])?);
        }
        let out_types = visit.attr("Tout").and_then(attr::types).unwrap_or_default();
        let mut node = self.with_values(&visit, out_types)?;
        let types = self.input_types(&node.inputs[1..]);
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

    fn kept_loop(&mut self, visit: Visit<'a, '_>, condition: &FunctionRef<'a>, body: &FunctionRef<'a>) -> Result<Done> {
        let condition = self.kept_function(&visit.place, condition, &visit.inputs)?;
        let body = self.kept_function(&visit.place, body, &visit.inputs)?;
        let node = self.with_values(&visit, Vec::new())?;
        let types = self.input_types(&node.inputs);
        let mut node = node.with("T", value::types(&types)).with("cond", value::func(&condition)).with("body", value::func(&body));
        node.outputs = Some(types);
        let mut done = self.single(visit.scope, node);
        for (operand, result) in visit.inputs.iter().zip(&mut done.values) {
            if let Value::Variable { .. } = operand {
                result.clone_from(operand);
            }
        }
        Ok(done)
    }

    pub(crate) fn kept_call(&mut self, visit: Visit<'a, '_>, function: &FunctionRef<'a>) -> Result<Done> {
        let name = self.kept_function(&visit.place, function, &visit.inputs)?;
        let body = self.function(&visit.place, function.name)?;
        let out_types: Vec<i32> = body.outputs.iter().map(|output| output.data_type).collect();
        let mut node = self.with_values(&visit, out_types.clone())?;
        let types = self.input_types(&node.inputs);
        if !matches!(visit.def.op, "PartitionedCall" | "StatefulPartitionedCall") {
            node.op = "StatefulPartitionedCall".into();
        }
        node.attrs.retain(|(name, _)| name != "Tout");
        let node = node.with("Tin", value::types(&types)).with("Tout", value::types(&out_types)).with("f", value::func(&name));
        Ok(self.single(visit.scope, node))
    }

    /// A node like the visited one, with the values of variables in place of their handles, and only the attributes that do not depend on the
    /// types of inputs or on functions.
    fn with_values(&mut self, visit: &Visit<'a, '_>, outputs: Vec<i32>) -> Result<Node<'a>> {
        let mut inputs = Vec::with_capacity(visit.inputs.len());
        for input in &visit.inputs {
            inputs.push(match input {
                Value::Variable { .. } => self.read(&visit.place, input.clone(), visit.scope)?,
                other => self.tensor(visit, other)?,
            });
        }
        let mut node = Node::new(visit.name.clone(), visit.def.op, inputs, outputs).after(&visit.controls);
        let def = op_defs::find(visit.def.op);
        for name in ["Tout", "parallel_iterations"] {
            if let Some(value) = visit.attr(name).filter(|&value| def.and_then(|def| def.default(name)) != Some(value)) {
                node = node.with(name, value);
            }
        }
        if node.outputs.as_ref().is_some_and(|outputs| outputs.contains(&RESOURCE)) {
            return Err(self.refuse(&visit.place, "it gives the handle of a resource"));
        }
        node.is_effect = def.is_none_or(|def| def.is_stateful);
        Ok(node)
    }

    fn input_types(&self, inputs: &[Tensor]) -> Vec<i32> {
        inputs.iter().map(|&input| self.graph.data_type(input)).collect()
    }
}

fn merge<'a>(name: String, inputs: Vec<Tensor>, data_type: i32) -> Node<'a> {
    let count = i64::try_from(inputs.len()).unwrap_or(i64::MAX);
    Node::new(name, "Merge", inputs, vec![data_type, INT32]).typed(data_type).with("N", value::int(count))
}

/// Whether result `index` of a loop's body is its argument `index`, as it came.
fn is_passed_through(body: &FunctionBody<'_>, index: usize) -> bool {
    let (Some(output), Some(input)) = (body.outputs.get(index), body.inputs.get(index)) else { return false };
    let mut tensor = body.returns.get(output.name).copied();
    // A chain of identities is not longer than the body.
    for _ in 0..=body.body.nodes.len() {
        let Some(found) = tensor else { return false };
        let name = found.split(':').next().unwrap_or(found);
        match body.body.by_name.get(name).and_then(|&node| body.body.nodes.get(node)) {
            None => return name == input.name,
            Some(node) if node.op == "Identity" => match node.inputs.as_slice() {
                [of] => tensor = Some(of),
                _ => return false,
            },
            Some(_) => return false,
        }
    }
    false
}

