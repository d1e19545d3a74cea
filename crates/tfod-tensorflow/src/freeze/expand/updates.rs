//! Assignments to variables, which a graph of constants cannot have: they are dropped when that is asked for, so that every call starts from the
//! saved values.
//!
//! A call may read a variable after it has assigned to it. What was assigned before a node is known from the order that the graph itself declares:
//! data and control inputs, by which TensorFlow orders a function's reads and assignments. Along them goes a [`Written`]: the latest assignment to each
//! variable. A node that reads gets the value assigned, which `new_values` computes, instead of the saved one. Where that value is not known (of two
//! assignments neither comes first, one is in a loop), only reading it is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::super::error::{Changed, FreezeError, NodePlace, Update};
use super::super::graph::Tensor;
use super::super::model::FunctionRef;
use super::super::table_ops::changes_table;
use super::super::wire::attr;
use super::new_values;
use super::{Done, Expander, Reference, Result, Routed, Value, Visit};

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
    pub(crate) fn of(&self, variable: usize) -> Option<usize> {
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
    /// Which variable.
    variable: usize,
    /// The variable's value from then on.
    value: New,
    /// The node that assigns.
    place: NodePlace,
}

/// The value that an assignment gives to a variable, if it is known.
pub(crate) type New = std::result::Result<Tensor, Unknown>;

/// Why it is not known which value an assignment gives.
#[derive(Clone, Debug)]
pub(crate) enum Unknown {
    /// That is decided while the graph runs.
    Decided,
    /// What the node's operation assigns is not computed here.
    Operation,
}

/// The assignments of an expansion.
#[derive(Debug, Default)]
pub(crate) struct Updates {
    /// Whether they are dropped; if not, they are errors.
    pub(crate) are_dropped: bool,
    writes: Vec<Write>,
    /// The variables read so far and the nodes that read them, in the order of reading.
    reads: Vec<(usize, NodePlace)>,
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
    pub(crate) fn value(&self, write: usize) -> New {
        let write = self.writes.get(write);
        write.map_or(Err(Unknown::Decided), |write| write.value.clone())
    }

    pub(super) fn note_read(&mut self, variable: usize, place: &NodePlace) {
        if self.are_dropped {
            self.reads.push((variable, place.clone()));
        }
    }

    /// Forgets reads that do not show in the graph's order, such as that of the old value by an assignment.
    pub(crate) fn forget_reads(&mut self, since: Mark) {
        self.reads.truncate(since.reads);
    }

    fn writes_since(&self, mark: Mark) -> &[Write] {
        self.writes.get(mark.writes..).unwrap_or_default()
    }

    /// The variables assigned to since then, each once.
    pub(crate) fn written_since(&self, mark: Mark) -> BTreeSet<usize> {
        let writes = self.writes_since(mark).iter();
        writes.map(|write| write.variable).collect()
    }
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

    /// What was assigned before a node, with one more assignment, by the node at `place`.
    pub(crate) fn write(
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
        self.updates.writes.push(Write {
            previous,
            variable,
            value,
            place: place.clone(),
        });
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
                Some(_) => return Err(self.changed_since(place, *index)),
            }
        }
        Ok(())
    }

    /// The error of reading a variable that control flow of the original graph has sent somewhere before it was assigned to.
    pub(super) fn changed_since(&self, place: &NodePlace, variable: usize) -> FreezeError {
        let name = &self.variables.get(variable).name;
        let reason = format!(
            "it reads the variable `{name}` in a conditional or loop of TensorFlow 1, and the same call has assigned to it{} since its handle was brought there",
            self.assigned_by(variable)
        );
        self.refuse(place, reason)
    }

    /// Where a variable was last assigned to, in words.
    fn assigned_by(&self, variable: usize) -> String {
        let mut writes = self.updates.writes.iter().rev();
        let found = writes.find(|write| write.variable == variable);
        found.map_or_else(String::new, |write| format!(" in {}", write.place))
    }

    /// The value that an assignment has given, for the node at `place`, which reads it.
    pub(super) fn assigned(
        &self,
        place: &NodePlace,
        variable: usize,
        write: usize,
    ) -> Result<Tensor> {
        self.updates.value(write).map_err(|unknown| {
            let name = &self.variables.get(variable).name;
            let by = match self.updates.writes.get(write) {
                Some(write) => format!(" in {}", write.place),
                None => self.unordered(variable),
            };
            let why = match (unknown, self.updates.writes.get(write)) {
                (Unknown::Operation, Some(write)) => {
                    format!("what `{}` assigns is not computed", write.place.op)
                }
                _ => "which value that is, is decided while the graph runs".to_owned(),
            };
            let reason = format!(
                "it reads the variable `{name}` after the same call has assigned to it{by}, and {why}"
            );
            self.refuse(place, reason)
        })
    }

    /// Two assignments to a variable of which neither comes first, in words.
    fn unordered(&self, variable: usize) -> String {
        let writes = self.updates.writes.iter();
        let mut places: Vec<String> = Vec::new();
        for write in writes.rev().filter(|write| write.variable == variable) {
            let place = write.place.to_string();
            if !places.contains(&place) {
                places.push(place);
            }
            if places.len() == 2 {
                break;
            }
        }
        match places.as_slice() {
            [] => String::new(),
            some => format!(" in {}, in no order", some.join(" and in ")),
        }
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
        let (handle, index, is_routed) = match visit.inputs.first() {
            Some(handle @ Value::Variable { index, routed, .. }) => {
                (handle.clone(), *index, routed.is_some())
            }
            Some(Value::Reference(reference)) => {
                let handle = Value::Reference(*reference);
                (handle, reference.index, reference.is_routed)
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
        if is_routed {
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
        let (value, mut values) = self.new_value(&visit, index, handle)?;
        let written = self.write(&visit.place, &visit.written, index, value)?;
        if new_values::gives_reference(visit.def.op) {
            values.push(Value::Reference(Reference {
                index,
                read: None,
                written: written.of(index),
                is_routed: false,
            }));
        }
        Ok(Done {
            values,
            controls: visit.controls,
            written,
        })
    }

    /// Whether a function, or one that it calls, has assignments that are dropped. Such a function is inlined even where that is forbidden: what it assigns
    /// could not be read after the call.
    pub(super) fn drops_updates_of(&mut self, at: &NodePlace, function: &'a str) -> Result<bool> {
        if !self.updates.are_dropped {
            return Ok(false);
        }
        let (mut seen, mut stack) = (BTreeSet::from([function]), vec![function]);
        while let Some(name) = stack.pop() {
            let body = self.function(at, name)?;
            for node in &body.body.nodes {
                self.pay(at, 1 + node.attrs.len() / 4)?;
                if new_values::is_update(node.op) || changes_table(node.op) {
                    return Ok(true);
                }
                let mut called: Vec<&'a str> = vec![node.op];
                for (_, value) in &node.attrs {
                    let lists = attr::func(value).into_iter();
                    let lists = lists.chain(attr::funcs(value).unwrap_or_default());
                    called.extend(lists.filter_map(|list| Some(FunctionRef::parse(list)?.name)));
                }
                self.pay(at, called.len())?;
                called.retain(|name| self.model.functions.contains_key(name) && seen.insert(name));
                stack.extend(called);
            }
        }
        Ok(false)
    }

    /// What was assigned after a loop, or after a conditional that stays one: the values assigned in it since `mark` are not known outside.
    pub(crate) fn written_inside(
        &mut self,
        place: &NodePlace,
        before: &Written,
        mark: Mark,
    ) -> Result<Written> {
        let mut written = before.clone();
        for variable in self.updates.written_since(mark) {
            let inside = self.last_write(variable, mark);
            let inside = inside.map_or_else(|| place.clone(), |write| write.place.clone());
            written = self.write(&inside, &written, variable, Err(Unknown::Decided))?;
        }
        Ok(written)
    }

    fn last_write(&self, variable: usize, since: Mark) -> Option<&Write> {
        let mut writes = self.updates.writes_since(since).iter().rev();
        writes.find(|write| write.variable == variable)
    }

    /// Checks that no iteration of a loop reads what an earlier one has assigned.
    pub(crate) fn check_loop(&self, place: &NodePlace, mark: Mark) -> Result<()> {
        let written = self.updates.written_since(mark);
        let mut reads = self
            .updates
            .reads
            .get(mark.reads..)
            .unwrap_or_default()
            .iter();
        let Some((variable, read)) = reads.find(|(variable, _)| written.contains(variable)) else {
            return Ok(());
        };
        let name = &self.variables.get(*variable).name;
        let assigned = match self.last_write(*variable, mark) {
            Some(write) => format!(", in {}", write.place),
            None => String::new(),
        };
        let reason = format!(
            "its iterations read the variable `{name}`, in {read}, and assign to it{assigned}"
        );
        Err(self.refuse(place, reason))
    }
}
