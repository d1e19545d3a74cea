//! Assignments to variables, which a graph of constants cannot have: they are dropped when that is asked for, so that every call starts from the
//! saved values.
//!
//! A call may read a variable after it has assigned to it. What was assigned before a node is known from the order that the graph itself declares:
//! data and control inputs, by which TensorFlow orders a function's reads and assignments. Along them goes a [`Written`]: the latest assignment to each
//! variable. A node that reads gets the value assigned instead of the saved one. Where that value is not known (of two assignments neither comes
//! first, one is in a branch or in a loop), only reading it is an error.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::super::data_type::type_name;
use super::super::error::{Changed, FreezeError, NodePlace, Update};
use super::super::graph::{Node, Tensor};
use super::super::wire::value;
use super::{Done, Expander, Result, Routed, Value, Visit};

/// The latest assignment to each variable before some node, as places in [`Updates::writes`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Written(Option<Rc<BTreeMap<usize, usize>>>);

impl Written {
    /// What is said of a variable's handle that is sent somewhere now.
    pub(super) fn routed(&self, variable: usize) -> Routed {
        Routed {
            written: self.of(variable),
        }
    }

    /// The latest assignment to a variable.
    fn of(&self, variable: usize) -> Option<usize> {
        self.0.as_deref()?.get(&variable).copied()
    }
}

/// Stands for assignments of which the latest is not known.
const UNORDERED: usize = usize::MAX;

/// An assignment.
#[derive(Debug)]
struct Write {
    /// The assignment to the same variable before it.
    previous: Option<usize>,
    /// The variable's value from then on.
    value: New,
}

/// The value that an assignment gives to a variable, if it is known.
type New = std::result::Result<Tensor, Unknown>;

/// Why it is not known which value an assignment gives.
#[derive(Clone, Debug)]
enum Unknown {
    /// That is decided while the graph runs.
    Decided,
    /// This operation assigns what is not computed here.
    Operation(String),
}

/// The assignments of an expansion.
#[derive(Debug, Default)]
pub(crate) struct Updates {
    /// Whether they are dropped; if not, they are errors.
    pub(crate) are_dropped: bool,
    writes: Vec<Write>,
    /// The variable of each of `writes`.
    variables: Vec<usize>,
    /// The variables read so far, in the order of reading.
    reads: Vec<usize>,
    /// What was dropped, for people.
    pub(crate) dropped: Vec<Update>,
}

/// Where an expansion has come to, for telling what a loop assigns and reads.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    writes: usize,
    reads: usize,
}

impl Updates {
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            writes: self.writes.len(),
            reads: self.reads.len(),
        }
    }

    /// The value that an assignment gives.
    fn value(&self, write: usize) -> New {
        let write = self.writes.get(write);
        write.map_or(Err(Unknown::Decided), |write| write.value.clone())
    }

    pub(super) fn note_read(&mut self, variable: usize) {
        if self.are_dropped {
            self.reads.push(variable);
        }
    }
}

/// How an operation changes the variable that its first input is the handle of.
enum Change {
    /// The second input is the new value.
    Assign,
    /// The new value is what this operation gives for the old one and the second input.
    Combine(&'static str),
    /// The new value is what this operation gives for the old one, indices and updates.
    Scatter(&'static str),
    /// It gives the old value, and the new one is not known.
    Give,
    /// The new value is not known.
    Unknown,
}

fn change(op: &str) -> Option<Change> {
    Some(match op {
        "AssignVariableOp" => Change::Assign,
        "AssignAddVariableOp" => Change::Combine("AddV2"),
        "AssignSubVariableOp" => Change::Combine("Sub"),
        "ResourceScatterNdUpdate" => Change::Scatter("TensorScatterUpdate"),
        "ResourceScatterNdAdd" => Change::Scatter("TensorScatterAdd"),
        "ResourceScatterNdSub" => Change::Scatter("TensorScatterSub"),
        "RngReadAndSkip" | "ResourceCountUpTo" => Change::Give,
        "ResourceStridedSliceAssign" | "RngSkip" | "AssignVariableXlaConcatND" => Change::Unknown,
        _ if op.starts_with("ResourceScatter") || op.starts_with("ResourceApply") => {
            Change::Unknown
        }
        _ => return None,
    })
}

/// Whether an operation takes random numbers from the variable that its first input is the handle of. Without assigning to it, all would be the same.
pub(super) fn is_random(op: &str) -> bool {
    matches!(
        op,
        "StatefulRandomBinomial"
            | "StatefulStandardNormal"
            | "StatefulStandardNormalV2"
            | "StatefulTruncatedNormal"
            | "StatefulUniform"
            | "StatefulUniformFullInt"
            | "StatefulUniformInt"
    )
}

/// Whether an operation assigns to the variable that its first input is the handle of.
pub(super) fn is_update(op: &str) -> bool {
    change(op).is_some()
}

impl<'a> Expander<'a, '_> {
    /// The later of two assignments to one variable.
    fn later(&mut self, place: &NodePlace, one: usize, other: usize) -> Result<usize> {
        let (earlier, later) = (one.min(other), one.max(other));
        let mut write = Some(later);
        while let Some(found) = write {
            if found == earlier {
                return Ok(later);
            }
            self.pay(place, 1)?;
            write = match self.updates.writes.get(found) {
                // Numbers fall along a chain, but for those that are not in order.
                Some(write) if found > earlier || write.previous == Some(UNORDERED) => {
                    write.previous
                }
                _ => None,
            };
        }
        // One that knows of the disorder comes after it.
        if later == UNORDERED && self.knows_of_disorder(place, earlier)? {
            return Ok(earlier);
        }
        Ok(UNORDERED)
    }

    fn knows_of_disorder(&mut self, place: &NodePlace, write: usize) -> Result<bool> {
        let mut write = Some(write);
        while let Some(found) = write {
            if found == UNORDERED {
                return Ok(true);
            }
            self.pay(place, 1)?;
            write = self
                .updates
                .writes
                .get(found)
                .and_then(|write| write.previous);
        }
        Ok(false)
    }

    /// What was assigned before a node that comes after two others.
    pub(crate) fn joined(
        &mut self,
        place: &NodePlace,
        one: Written,
        other: &Written,
    ) -> Result<Written> {
        let Some(more) = &other.0 else { return Ok(one) };
        let Some(found) = &one.0 else {
            return Ok(other.clone());
        };
        if Rc::ptr_eq(found, more) {
            return Ok(one);
        }
        self.pay(place, found.len() + more.len())?;
        let mut joined = (**found).clone();
        for (&variable, &write) in &**more {
            let latest = match joined.get(&variable) {
                Some(&known) => self.later(place, known, write)?,
                None => write,
            };
            joined.insert(variable, latest);
        }
        Ok(Written(Some(Rc::new(joined))))
    }

    /// What was assigned before a node, with one more assignment.
    fn write(
        &mut self,
        place: &NodePlace,
        before: &Written,
        variable: usize,
        value: New,
    ) -> Result<Written> {
        let mut written = before.0.as_deref().cloned().unwrap_or_default();
        self.pay(place, 1 + written.len())?;
        let write = self.updates.writes.len();
        let previous = written.insert(variable, write);
        self.updates.writes.push(Write { previous, value });
        self.updates.variables.push(variable);
        Ok(Written(Some(Rc::new(written))))
    }

    /// The handles among the inputs of a node, with the values that were assigned before it. An operation that only hands them on may get
    /// those whose values are not known: what is behind it knows that, too.
    pub(super) fn forward_to(
        &self,
        op: &str,
        place: &NodePlace,
        written: &Written,
        inputs: &mut [Value],
    ) -> Result<()> {
        let hands_on = matches!(
            op,
            "Identity"
                | "IdentityN"
                | "PartitionedCall"
                | "StatefulPartitionedCall"
                | "If"
                | "StatelessIf"
                | "Case"
                | "StatelessCase"
        ) || self.model.functions.contains_key(op);
        for input in inputs {
            let forwarded = self.forward(place, written, std::slice::from_mut(input));
            if !hands_on {
                forwarded?;
            }
        }
        Ok(())
    }

    /// Handles with the values that were assigned before a node that reads them. One that control flow of the original graph has sent somewhere has
    /// the value that was sent with it.
    pub(crate) fn forward(
        &self,
        place: &NodePlace,
        written: &Written,
        inputs: &mut [Value],
    ) -> Result<()> {
        let Some(written) = written.0.as_deref() else {
            return Ok(());
        };
        for input in inputs {
            let Value::Variable {
                index,
                read,
                routed,
            } = input
            else {
                continue;
            };
            let Some(&write) = written.get(index) else {
                continue;
            };
            match routed {
                None => *read = Some(self.assigned(place, *index, write)?),
                Some(routed) if routed.written == Some(write) => {}
                Some(_) => {
                    let name = &self.variables.get(*index).name;
                    let reason = format!(
                        "it reads the variable `{name}` in a conditional or loop of TensorFlow 1, and the same call has assigned to it since its handle was \
                         brought there"
                    );
                    return Err(self.refuse(place, reason));
                }
            }
        }
        Ok(())
    }

    fn assigned(&self, place: &NodePlace, variable: usize, write: usize) -> Result<Tensor> {
        self.updates.value(write).map_err(|unknown| {
            let name = &self.variables.get(variable).name;
            let why = match unknown {
                Unknown::Decided => {
                    "which value that is, is decided while the graph runs".to_owned()
                }
                Unknown::Operation(op) => format!("what `{op}` assigns is not computed"),
            };
            let reason = format!(
                "it reads the variable `{name}` after the same call has assigned to it, and {why}"
            );
            self.refuse(place, reason)
        })
    }

    /// An operation that takes random numbers from a variable.
    pub(super) fn random(&self, visit: &Visit<'a, '_>) -> FreezeError {
        let name = match visit.inputs.first() {
            Some(Value::Variable { index, .. }) => &self.variables.get(*index).name,
            _ => "",
        };
        let reason = format!(
            "it takes random numbers from the variable `{name}` and changes it, without which all calls would give the same ones; choose outputs that do not \
             need them"
        );
        self.refuse(&visit.place, reason)
    }

    /// An operation that assigns to a variable.
    pub(super) fn update(&mut self, visit: Visit<'a, '_>) -> Result<Done> {
        let (handle, index, routed) = match visit.inputs.first() {
            Some(handle @ Value::Variable { index, routed, .. }) => {
                (handle.clone(), *index, *routed)
            }
            // Loaders say so where an asset is.
            Some(Value::Refused(refusal)) if refusal.asset.is_some() => {
                return Ok(Done {
                    controls: visit.controls,
                    ..Done::default()
                });
            }
            _ => return self.plain(visit),
        };
        let variable = self.variables.get(index).name.clone();
        if !self.updates.are_dropped {
            return Err(FreezeError::Updates {
                path: self.file.path.clone(),
                place: Box::new(visit.place.clone()),
                what: Changed::Variable,
                name: variable,
            });
        }
        if let Some(keeper) = &self.keeper {
            let is_conditional_or_loop = keeper.op.ends_with("If")
                || keeper.op.ends_with("Case")
                || keeper.op.ends_with("While");
            let why = match is_conditional_or_loop {
                true if self.keep_control_flow => "is kept; let control flow be lowered",
                true => "is not lowered",
                false => "needs it",
            };
            let reason = format!(
                "it assigns to the variable `{variable}` in a function that stays a function, because {keeper} {why}"
            );
            return Err(self.refuse(&visit.place, reason));
        }
        if routed.is_some() {
            let reason = format!(
                "it assigns to the variable `{variable}` in a conditional or loop of TensorFlow 1"
            );
            return Err(self.refuse(&visit.place, reason));
        }
        let update = Update {
            what: Changed::Variable,
            name: variable.clone(),
            place: visit.place.clone(),
        };
        if !self.updates.dropped.contains(&update) {
            self.pay(&visit.place, 1 + self.updates.dropped.len() / 64)?;
            self.updates.dropped.push(update);
        }
        let (value, values) = self.new_value(&visit, index, handle)?;
        let written = self.write(&visit.place, &visit.written, index, value)?;
        Ok(Done {
            values,
            controls: visit.controls,
            written,
        })
    }

    /// The value of a variable after an assignment, as far as it is known, and what the assignment itself gives.
    fn new_value(
        &mut self,
        visit: &Visit<'a, '_>,
        index: usize,
        handle: Value,
    ) -> Result<(New, Vec<Value>)> {
        let data_type = self.variables.get(index).data_type();
        let mut old = vec![handle];
        let change = change(visit.def.op).unwrap_or(Change::Unknown);
        let not_computed = || Err(Unknown::Operation(visit.def.op.to_owned()));
        if let Change::Give = change {
            self.forward(&visit.place, &visit.written, &mut old)?;
            let old = self.read(&visit.place, old.remove(0), visit.scope)?;
            return Ok((not_computed(), vec![Value::Tensor(old)]));
        }
        let inputs = visit.inputs.get(1..).unwrap_or_default();
        let inputs: Vec<Tensor> = inputs
            .iter()
            .map(|input| self.tensor(visit, input))
            .collect::<Result<_>>()?;
        let given = |at: usize| {
            let missing = || self.error(&visit.place, "it has too few inputs");
            inputs.get(at).copied().ok_or_else(missing)
        };
        let number = if let Change::Scatter(_) = change {
            1
        } else {
            0
        };
        let new = given(number)?;
        let found = self.graph.data_type(new);
        if found != 0 && found != data_type && !matches!(change, Change::Unknown) {
            let (found, expected) = (type_name(found), type_name(data_type));
            let problem = format!("it assigns {found} to a variable of {expected}");
            return Err(self.error(&visit.place, problem));
        }
        let (op, rest) = match change {
            Change::Assign => return Ok((Ok(new), Vec::new())),
            Change::Combine(op) => (op, vec![new]),
            Change::Scatter(op) => (op, vec![given(0)?, new]),
            Change::Give | Change::Unknown => return Ok((not_computed(), Vec::new())),
        };
        // The old value is not known where an assignment before it is not; then neither is the new one.
        if let Some(write) = visit.written.of(index)
            && let Err(unknown) = self.updates.value(write)
        {
            return Ok((Err(unknown), Vec::new()));
        }
        self.forward(&visit.place, &visit.written, &mut old)?;
        let mark = self.updates.reads.len();
        let old = self.read(&visit.place, old.remove(0), visit.scope)?;
        self.updates.reads.truncate(mark);
        let indices = rest
            .first()
            .map_or(0, |&indices| self.graph.data_type(indices));
        let inputs = std::iter::once(old).chain(rest).collect();
        let node = Node::new(visit.name.clone(), op, inputs, vec![data_type]);
        let node = match change {
            Change::Scatter(_) => node
                .with("T", value::data_type(data_type))
                .with("Tindices", value::data_type(indices)),
            _ => node.typed(data_type),
        };
        let node = self.graph.add(visit.scope, node.after(&visit.controls));
        Ok((Ok(Tensor::of(node)), Vec::new()))
    }

    /// What was assigned after a conditional or loop: the values assigned in it since `mark` are not known outside.
    pub(crate) fn written_inside(
        &mut self,
        place: &NodePlace,
        before: &Written,
        mark: Mark,
    ) -> Result<Written> {
        let mut written = before.clone();
        let mut variables = self
            .updates
            .variables
            .get(mark.writes..)
            .unwrap_or_default()
            .to_vec();
        variables.sort_unstable();
        variables.dedup();
        for variable in variables {
            written = self.write(place, &written, variable, Err(Unknown::Decided))?;
        }
        Ok(written)
    }

    /// Checks that no iteration of a loop reads what an earlier one has assigned.
    pub(crate) fn check_loop(&self, place: &NodePlace, mark: Mark) -> Result<()> {
        let written = self
            .updates
            .variables
            .get(mark.writes..)
            .unwrap_or_default();
        let reads = self.updates.reads.get(mark.reads..).unwrap_or_default();
        let reads: std::collections::HashSet<usize> = reads.iter().copied().collect();
        match written.iter().find(|variable| reads.contains(variable)) {
            Some(&variable) => {
                let name = &self.variables.get(variable).name;
                let reason =
                    format!("its iterations read the variable `{name}`, which they assign to");
                Err(self.refuse(place, reason))
            }
            None => Ok(()),
        }
    }
}
