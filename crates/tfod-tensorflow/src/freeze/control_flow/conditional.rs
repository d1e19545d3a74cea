//! `If` and `Case`: a switch for each operand, the branches one beside the other, and a merge for each result.

use super::super::data_type::{BOOL, INT32, type_name};
use super::super::error::FreezeError;
use super::super::expand::{Done, Entry, Expander, Mark, New, Unknown, Value, Visit, Written};
use super::super::graph::{Node, NodeId, ScopeId, Tensor};
use super::super::model::FunctionRef;
use super::super::wire::attr;
use super::{Selector, merge};

type Result<T> = std::result::Result<T, FreezeError>;

/// A branch: its function, its name, and the output of the switches that goes there.
struct Branch<'a> {
    function: FunctionRef<'a>,
    name: String,
    port: u32,
}

/// A branch after its expansion.
struct Taken {
    scope: ScopeId,
    /// The output of the decision's switch that is alive in this branch.
    decision: Tensor,
    done: Done,
}

impl<'a> Expander<'a, '_> {
    /// `If` and `Case`. The functions are in the attributes named, or in the list `branches`.
    pub(crate) fn conditional(
        &mut self,
        visit: &Visit<'a, '_>,
        branches: &[&'static str],
    ) -> Result<Done> {
        let functions: Option<Vec<_>> = if branches.is_empty() {
            let lists = visit.attr("branches").and_then(attr::funcs);
            lists.and_then(|lists| lists.into_iter().map(FunctionRef::parse).collect())
        } else {
            branches.iter().map(|branch| visit.func(branch)).collect()
        };
        let functions = functions.filter(|functions| !functions.is_empty());
        let functions = functions.ok_or_else(|| {
            self.error(
                &visit.place,
                "its attributes must name the functions of its branches",
            )
        })?;
        let out_types = visit.attr("Tout").and_then(attr::types);
        let out_types = out_types.ok_or_else(|| {
            self.error(
                &visit.place,
                "attribute `Tout` must be a list of element types",
            )
        })?;
        for function in &functions {
            let found = self.function(&visit.place, function.name)?.outputs.len();
            if found != out_types.len() {
                let (name, expected) = (function.name, out_types.len());
                return Err(self.error(
                    &visit.place,
                    format!("its branch `{name}` has {found} results, and `Tout` {expected}"),
                ));
            }
        }
        let Some((selector, operands)) = visit.inputs.split_first() else {
            return Err(self.error(
                &visit.place,
                "it has no inputs, and needs what decides between its branches",
            ));
        };
        let selector = self.tensor(visit, selector)?;
        let decides = if branches.is_empty() { INT32 } else { BOOL };
        // A predicate may be a number, which a switch does not take.
        if !self.is_lowered(visit) || self.graph.data_type(selector) != decides {
            return self.kept_conditional(visit, &functions, branches, out_types);
        }
        let selector = Selector {
            tensor: selector,
            num_branches: u32::try_from(functions.len()).unwrap_or(u32::MAX),
            is_predicate: !branches.is_empty(),
        };
        let named = |(index, function): (usize, FunctionRef<'a>)| match branches.get(index) {
            Some(attr) => Branch {
                function,
                name: attr.trim_end_matches("_branch").to_owned(),
                port: u32::from(index == 0),
            },
            None => Branch {
                function,
                name: format!("branch_{index}"),
                port: u32::try_from(index).unwrap_or(u32::MAX),
            },
        };
        let branches: Vec<Branch<'a>> = functions.into_iter().enumerate().map(named).collect();
        self.pay(
            &visit.place,
            branches
                .len()
                .saturating_mul(8 + operands.len() + out_types.len()),
        )?;
        self.lowered_conditional(visit, selector, &branches, operands, &out_types)
    }

    fn lowered_conditional(
        &mut self,
        visit: &Visit<'a, '_>,
        selector: Selector,
        branches: &[Branch<'a>],
        operands: &[Value],
        out_types: &[i32],
    ) -> Result<Done> {
        let conditional = self.graph.conditional(visit.scope);
        let data_type = self.graph.data_type(selector.tensor);
        let decision = selector
            .switch(visit.part("switch_pred"), selector.tensor, data_type)
            .after(&visit.controls);
        let decision = self.graph.add_between(visit.scope, conditional, decision);

        let mut switched = Vec::with_capacity(operands.len());
        for (index, operand) in operands.iter().enumerate() {
            switched.push(match operand {
                // Constants are the same in every branch.
                Value::Tensor(tensor) if self.graph.node(tensor.node).op != "Const" => {
                    let data_type = self.graph.data_type(*tensor);
                    let switch =
                        selector.switch(visit.part(&format!("switch_{index}")), *tensor, data_type);
                    Some(self.graph.add_between(visit.scope, conditional, switch))
                }
                _ => None,
            });
        }

        let mark = self.updates.mark();
        let mut taken = Vec::with_capacity(branches.len());
        for branch in branches {
            let values = operands
                .iter()
                .zip(&switched)
                .map(|(operand, switch)| match switch {
                    Some(node) => Value::Tensor(Tensor {
                        node: *node,
                        port: branch.port,
                    }),
                    None => operand.clone(),
                });
            taken.push(self.branch(visit, conditional, branch, decision, values.collect())?);
        }
        let mut values = Vec::with_capacity(out_types.len());
        for (index, &data_type) in out_types.iter().enumerate() {
            values.push(self.merged(visit, conditional, branches, &taken, index, data_type)?);
        }
        let controls = self.executed(visit, conditional, branches, &taken, data_type);
        Ok(Done {
            values,
            controls: controls.into_iter().collect(),
            written: self.updated(visit, conditional, branches, &taken, mark)?,
        })
    }

    fn branch(
        &mut self,
        visit: &Visit<'a, '_>,
        conditional: ScopeId,
        branch: &Branch<'a>,
        decision: NodeId,
        values: Vec<Value>,
    ) -> Result<Taken> {
        let decision = Tensor {
            node: decision,
            port: branch.port,
        };
        let data_type = self.graph.data_type(decision);
        let pivot = Node::unary(
            visit.part(&format!("pivot_{}", branch.name)),
            "Identity",
            decision,
            data_type,
        );
        let pivot = self.graph.add(conditional, pivot);
        let scope = self.graph.branch(conditional, pivot);
        let prefix = visit.part(&format!("{}/", branch.name));
        let entry = Entry {
            control: None,
            written: visit.written.clone(),
        };
        let done = self.expand(&visit.place, &branch.function, prefix, scope, values, entry)?;
        Ok(Taken {
            scope,
            decision,
            done,
        })
    }

    /// Result `index`: what the branch that ran gives.
    fn merged(
        &mut self,
        visit: &Visit<'a, '_>,
        conditional: ScopeId,
        branches: &[Branch<'a>],
        taken: &[Taken],
        index: usize,
        data_type: i32,
    ) -> Result<Value> {
        let (mut inputs, mut variables) = (Vec::with_capacity(taken.len()), Vec::new());
        for (Taken { scope, done, .. }, Branch { name, .. }) in taken.iter().zip(branches) {
            match &done.values[index] {
                Value::Tensor(tensor) => {
                    let found = self.graph.data_type(*tensor);
                    if found != 0 && found != data_type {
                        let (found, expected) = (type_name(found), type_name(data_type));
                        let problem = format!(
                            "result {index} of its branch `{name}` must be {expected}, and is {found}"
                        );
                        return Err(self.error(&visit.place, problem));
                    }
                    let name = visit.part(&format!("{name}/result_{index}"));
                    inputs.push(self.graph.bind(*tensor, *scope, &name));
                }
                Value::Variable { index, .. } => variables.push(*index),
                Value::Reference(_) => {
                    return Err(self.refuse(&visit.place, "it gives a reference to a variable"));
                }
                refused @ Value::Refused(_) => return Ok(refused.clone()),
            }
        }
        if let (Some(&first), Some(Taken { done, .. })) = (variables.first(), taken.first()) {
            if !inputs.is_empty() || variables.iter().any(|&variable| variable != first) {
                return Err(self.refuse(
                    &visit.place,
                    "which variable it gives is decided while the graph runs",
                ));
            }
            return Ok(done.values[index].clone());
        }
        let name = if index == 0 {
            visit.part("output")
        } else {
            visit.part(&format!("output_{index}"))
        };
        let merge = merge(name, inputs, data_type);
        Ok(Value::Tensor(Tensor::of(self.graph.add_between(
            conditional,
            visit.scope,
            merge,
        ))))
    }

    /// What was assigned after it: each variable that a branch has assigned to has the value that the branch that ran has left.
    fn updated(
        &mut self,
        visit: &Visit<'a, '_>,
        conditional: ScopeId,
        branches: &[Branch<'a>],
        taken: &[Taken],
        mark: Mark,
    ) -> Result<Written> {
        let mut written = visit.written.clone();
        for (number, variable) in self.updates.written_since(mark).into_iter().enumerate() {
            let read = self.updates.mark();
            let value = self.left(visit, conditional, branches, taken, (number, variable))?;
            self.updates.forget_reads(read);
            written = self.write(&visit.place, &written, variable, value)?;
        }
        Ok(written)
    }

    /// The value that the branch that ran has left a variable with.
    fn left(
        &mut self,
        visit: &Visit<'a, '_>,
        conditional: ScopeId,
        branches: &[Branch<'a>],
        taken: &[Taken],
        (number, variable): (usize, usize),
    ) -> Result<New> {
        let handle = visit
            .inputs
            .iter()
            .find(|input| matches!(input, Value::Variable { index, .. } if *index == variable));
        self.pay(&visit.place, 4 * taken.len())?;
        let mut inputs = Vec::with_capacity(taken.len());
        for (Taken { scope, done, .. }, Branch { name, .. }) in taken.iter().zip(branches) {
            let value = match (done.written.of(variable), handle) {
                (Some(write), _) => match self.updates.value(write) {
                    Ok(value) => value,
                    Err(unknown) => return Ok(Err(unknown)),
                },
                (None, Some(handle)) => self.read(&visit.place, handle.clone(), visit.scope)?,
                (None, None) => return Ok(Err(Unknown::Decided)),
            };
            let name = visit.part(&format!("{name}/variable_{number}"));
            inputs.push(self.graph.bind(value, *scope, &name));
        }
        let name = visit.part(&format!("variable_{number}"));
        let merge = merge(name, inputs, self.variables.get(variable).data_type());
        let merge = self.graph.add_between(conditional, visit.scope, merge);
        Ok(Ok(Tensor::of(merge)))
    }

    /// A node that runs after what the branch taken has to run; none if no branch has to run anything.
    fn executed(
        &mut self,
        visit: &Visit<'a, '_>,
        conditional: ScopeId,
        branches: &[Branch<'a>],
        taken: &[Taken],
        data_type: i32,
    ) -> Option<NodeId> {
        if taken.iter().all(|taken| taken.done.controls.is_empty()) {
            return None;
        }
        let mut inputs = Vec::with_capacity(taken.len());
        for (
            Taken {
                scope,
                decision,
                done,
            },
            branch,
        ) in taken.iter().zip(branches)
        {
            let name = visit.part(&format!("{}_executed", branch.name));
            let node = Node::unary(name, "Identity", *decision, data_type).after(&done.controls);
            inputs.push(Tensor::of(self.graph.add(*scope, node)));
        }
        let merge = merge(visit.part("branch_executed"), inputs, data_type);
        Some(self.graph.add_between(conditional, visit.scope, merge))
    }
}
