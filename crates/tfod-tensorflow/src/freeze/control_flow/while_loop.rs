//! `While`. For each operand that changes,
//!
//! ```text
//! operand ─▶ Enter ─▶ Merge ─▶ Switch ─▶ Exit ─▶ result
//!                       ▲         └▶ body ─▶ NextIteration
//!                       └────────────────────────┘
//! ```
//!
//! and one `Enter` with `is_constant` for each value that does not. Variables are read outside and do not change.

use super::super::data_type::{BOOL, type_name};
use super::super::error::FreezeError;
use super::super::expand::{Done, Entry, Expander, Value, Visit};
use super::super::graph::{Node, NodeId, ScopeId, Tensor};
use super::super::model::{FunctionBody, FunctionRef};
use super::super::wire::attr;
use super::{Selector, merge};

type Result<T> = std::result::Result<T, FreezeError>;

/// The default of `parallel_iterations`, which is not written.
const PARALLEL_ITERATIONS: i64 = 10;

/// The scopes of a loop.
#[derive(Clone, Copy)]
struct Scopes {
    frame: ScopeId,
    condition: ScopeId,
    body: ScopeId,
}

impl<'a> Expander<'a, '_> {
    /// `While`.
    pub(crate) fn while_loop(&mut self, visit: &Visit<'a, '_>) -> Result<Done> {
        let functions = (visit.func("cond"), visit.func("body"));
        let (Some(condition), Some(body)) = functions else {
            return Err(self.error(
                &visit.place,
                "attributes `cond` and `body` must name functions",
            ));
        };
        let results = &self.function(&visit.place, condition.name)?.outputs;
        let [again] = results.as_slice() else {
            return Err(self.error(
                &visit.place,
                format!(
                    "its condition has {} results, and must have one",
                    results.len()
                ),
            ));
        };
        let definition = self.function(&visit.place, body.name)?;
        let (found, expected) = (definition.outputs.len(), visit.inputs.len());
        if found != expected {
            return Err(self.error(
                &visit.place,
                format!("its body has {found} results, and the loop {expected} operands"),
            ));
        }
        let changes = |(index, operand): (usize, &Value)| {
            matches!(operand, Value::Tensor(_)) && !is_passed_through(definition, index)
        };
        let changes: Vec<bool> = visit.inputs.iter().enumerate().map(changes).collect();
        // `LoopCond` takes no number as condition; and without anything that changes there is nothing to loop over.
        if !self.is_lowered(visit) || again.data_type != BOOL || !changes.contains(&true) {
            return self.kept_loop(visit, &condition, &body);
        }
        self.pay(&visit.place, 32 * changes.len())?;
        self.lowered_loop(visit, &condition, &body, &changes)
    }

    fn lowered_loop(
        &mut self,
        visit: &Visit<'a, '_>,
        condition: &FunctionRef<'a>,
        body: &FunctionRef<'a>,
        changes: &[bool],
    ) -> Result<Done> {
        let parallel = visit
            .attr("parallel_iterations")
            .and_then(attr::int)
            .filter(|&count| count != PARALLEL_ITERATIONS);
        let frame = self.graph.frame(visit.scope, visit.name.clone(), parallel);
        let scopes = Scopes {
            frame,
            condition: self.graph.part(frame),
            body: self.graph.part(frame),
        };

        let (merges, mut values) = self.entries(visit, scopes, changes);
        let mark = self.updates.mark();
        let again = self.again(visit, condition, scopes.condition, values.clone())?;
        let switches = self.switches(visit, scopes, &merges, again);
        for (value, switch) in values.iter_mut().zip(&switches) {
            if let Some(node) = *switch {
                *value = Value::Tensor(Tensor { node, port: 1 });
            }
        }
        let done = self.expand(
            &visit.place,
            body,
            visit.part("body/"),
            scopes.body,
            values,
            Entry::default(),
        )?;
        self.check_loop(&visit.place, mark)?;

        let (mut results, mut controls) = (Vec::with_capacity(merges.len()), Vec::new());
        for (index, (operand, next)) in visit.inputs.iter().zip(done.values).enumerate() {
            let (Some(merge), Some(switch)) = (merges[index], switches[index]) else {
                results.push(self.unchanged(visit, index, operand, &next)?);
                continue;
            };
            self.next_iteration(visit, index, merge, &next, scopes.body)?;
            let leaving = Tensor::of(switch);
            let exit = Node::unary(
                visit.part(&format!("exit_{index}")),
                "Exit",
                leaving,
                self.graph.data_type(leaving),
            );
            let exit = self.graph.add_between(scopes.body, visit.scope, exit);
            // That one value has left says that the loop has ended.
            if controls.is_empty() {
                controls.push(exit);
            }
            results.push(Value::Tensor(Tensor::of(exit)));
        }
        Ok(Done {
            values: results,
            controls,
            written: self.written_inside(&visit.place, &visit.written, mark)?,
        })
    }

    /// Brings the operands into the loop: the merges of those that change, and all values as the condition sees them.
    fn entries(
        &mut self,
        visit: &Visit<'a, '_>,
        scopes: Scopes,
        changes: &[bool],
    ) -> (Vec<Option<NodeId>>, Vec<Value>) {
        let (mut merges, mut values) = (
            Vec::with_capacity(changes.len()),
            Vec::with_capacity(changes.len()),
        );
        for (index, (operand, &changes)) in visit.inputs.iter().zip(changes).enumerate() {
            let mut entered = None;
            values.push(match operand {
                Value::Tensor(tensor) if changes => {
                    let enter = self.graph.enter(
                        scopes.frame,
                        visit.part(&format!("enter_{index}")),
                        *tensor,
                    );
                    let enter = Tensor::of(self.graph.add_between(
                        visit.scope,
                        scopes.frame,
                        enter.after(&visit.controls),
                    ));
                    // The second input comes when the body is there.
                    let merge = merge(
                        visit.part(&format!("merge_{index}")),
                        vec![enter, enter],
                        self.graph.data_type(enter),
                    );
                    let merge = self
                        .graph
                        .add_between(scopes.frame, scopes.condition, merge);
                    if merges.iter().all(Option::is_none) {
                        self.graph.set_pivot(scopes.condition, merge);
                    }
                    entered = Some(merge);
                    Value::Tensor(Tensor::of(merge))
                }
                Value::Tensor(tensor) => {
                    Value::Tensor(self.graph.loop_constant(scopes.frame, *tensor))
                }
                Value::Variable {
                    index,
                    read: Some(tensor),
                    routed,
                } => Value::Variable {
                    index: *index,
                    read: Some(self.graph.loop_constant(scopes.frame, *tensor)),
                    routed: *routed,
                },
                other => other.clone(),
            });
            merges.push(entered);
        }
        (merges, values)
    }

    /// Whether the loop goes on.
    fn again(
        &mut self,
        visit: &Visit<'a, '_>,
        condition: &FunctionRef<'a>,
        scope: ScopeId,
        values: Vec<Value>,
    ) -> Result<Tensor> {
        let done = self.expand(
            &visit.place,
            condition,
            visit.part("cond/"),
            scope,
            values,
            Entry::default(),
        )?;
        let [Value::Tensor(again)] = done.values.as_slice() else {
            return Err(self.error(&visit.place, "its condition must give one tensor"));
        };
        let again = self.graph.bind(*again, scope, &visit.part("cond/result"));
        let node = Node::new(visit.part("LoopCond"), "LoopCond", vec![again], vec![BOOL]);
        Ok(Tensor::of(self.graph.add(scope, node)))
    }

    /// Sends what changes into the body or out of the loop.
    fn switches(
        &mut self,
        visit: &Visit<'a, '_>,
        scopes: Scopes,
        merges: &[Option<NodeId>],
        again: Tensor,
    ) -> Vec<Option<NodeId>> {
        let mut switches = Vec::with_capacity(merges.len());
        for (index, merge) in merges.iter().enumerate() {
            switches.push(merge.map(|merge| {
                let data_type = self.graph.data_type(Tensor::of(merge));
                let name = visit.part(&format!("switch_{index}"));
                let switch = Selector::predicate(again).switch(name, Tensor::of(merge), data_type);
                self.graph
                    .add_between(scopes.condition, scopes.body, switch)
            }));
        }
        if let Some(&node) = switches.iter().flatten().next() {
            let inside = Tensor { node, port: 1 };
            let pivot = Node::unary(
                visit.part("body_pivot"),
                "Identity",
                inside,
                self.graph.data_type(inside),
            );
            let pivot = self.graph.add(scopes.body, pivot);
            self.graph.set_pivot(scopes.body, pivot);
        }
        switches
    }

    /// Gives a result of the body to the next iteration.
    fn next_iteration(
        &mut self,
        visit: &Visit<'a, '_>,
        index: usize,
        merge: NodeId,
        next: &Value,
        body: ScopeId,
    ) -> Result<()> {
        let next = self.tensor(visit, next)?;
        let expected = self.graph.data_type(Tensor::of(merge));
        let found = self.graph.data_type(next);
        if found != 0 && found != expected {
            let (found, expected) = (type_name(found), type_name(expected));
            return Err(self.error(
                &visit.place,
                format!("result {index} of its body must be {expected}, and is {found}"),
            ));
        }
        let next = self
            .graph
            .bind(next, body, &visit.part(&format!("body/result_{index}")));
        let node = Node::unary(
            visit.part(&format!("next_iteration_{index}")),
            "NextIteration",
            next,
            expected,
        );
        let node = self.graph.add(body, node);
        self.graph.node_mut(merge).inputs[1] = Tensor::of(node);
        Ok(())
    }

    /// The result for an operand that the loop does not change.
    fn unchanged(
        &self,
        visit: &Visit<'a, '_>,
        index: usize,
        operand: &Value,
        next: &Value,
    ) -> Result<Value> {
        match (operand, next) {
            (Value::Variable { index: before, .. }, Value::Variable { index: after, .. })
                if before != after =>
            {
                Err(self.refuse(
                    &visit.place,
                    format!("operand {index} is another variable in each iteration"),
                ))
            }
            (Value::Variable { .. }, Value::Tensor(_)) => Err(self.error(
                &visit.place,
                format!("operand {index} is a variable, and a tensor after the first iteration"),
            )),
            _ => Ok(operand.clone()),
        }
    }
}

/// Whether result `index` of a loop's body is its argument `index`, as it came.
fn is_passed_through(body: &FunctionBody<'_>, index: usize) -> bool {
    /// Longer chains of identities are not followed; then the loop passes the value from one iteration to the next.
    const MAX_CHAIN: usize = 8;
    let (Some(output), Some(input)) = (body.outputs.get(index), body.inputs.get(index)) else {
        return false;
    };
    let mut tensor = body.returns.get(output.name).copied();
    for _ in 0..MAX_CHAIN {
        let Some(found) = tensor else { return false };
        let name = found.split(':').next().unwrap_or(found);
        let Some(node) = body
            .body
            .by_name
            .get(name)
            .and_then(|&node| body.body.nodes.get(node))
        else {
            return name == input.name;
        };
        tensor = match node.inputs.as_slice() {
            [of] if node.op == "Identity" => Some(of),
            _ => return false,
        };
    }
    false
}
