//! A body being expanded.

use std::collections::HashMap;

use super::super::error::NodePlace;
use super::super::graph::{NodeId, ScopeId};
use super::super::model::{Body, FunctionBody, NodeDef};
use super::super::wire::attr;
use super::{Done, Value, Written};

#[derive(Debug)]
pub(super) enum Slot {
    New,
    Open,
    Done(Done),
}

/// What comes before all of a body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    /// What runs before the call, and so before nodes that need nothing of the body.
    pub(crate) control: Option<NodeId>,
    /// What was assigned before the call.
    pub(crate) written: Written,
}

/// A body being expanded: the main graph, or one call of a function.
pub(crate) struct Instance<'a, 'm> {
    pub(crate) body: &'m Body<'a>,
    /// The function and its name, unless this is the main graph.
    pub(crate) function: Option<(&'a str, &'m FunctionBody<'a>)>,
    /// What the names of its nodes begin with.
    pub(crate) prefix: String,
    pub(crate) scope: ScopeId,
    pub(super) arguments: HashMap<&'a str, usize>,
    pub(crate) values: Vec<Value>,
    /// The attributes of the call, which stand for placeholders in the body's.
    pub(crate) attrs: Vec<(&'a str, &'a [u8])>,
    pub(super) entry: Entry,
    pub(super) slots: Vec<Slot>,
    /// Merge nodes waiting for the value of the next iteration: merge, input, node.
    pub(super) waiting: Vec<(usize, usize, usize)>,
}

impl<'a, 'm> Instance<'a, 'm> {
    pub(crate) fn main(body: &'m Body<'a>) -> Self {
        Self::new(body, None, String::new(), ScopeId::ROOT, Vec::new())
    }

    pub(crate) fn new(
        body: &'m Body<'a>,
        function: Option<(&'a str, &'m FunctionBody<'a>)>,
        prefix: String,
        scope: ScopeId,
        values: Vec<Value>,
    ) -> Self {
        let inputs = function
            .iter()
            .flat_map(|(_, function)| function.inputs.iter().map(|input| input.name));
        Self {
            body,
            function,
            prefix,
            scope,
            arguments: inputs
                .enumerate()
                .map(|(index, name)| (name, index))
                .collect(),
            values,
            attrs: Vec::new(),
            entry: Entry::default(),
            slots: body.nodes.iter().map(|_| Slot::New).collect(),
            waiting: Vec::new(),
        }
    }

    /// Says what a node gives instead of visiting it.
    pub(crate) fn replace(&mut self, node: usize, values: Vec<Value>) {
        self.slots[node] = Slot::Done(Done {
            values,
            ..Done::default()
        });
    }

    pub(crate) fn place(&self, node: &NodeDef<'_>) -> NodePlace {
        NodePlace {
            function: self.function.map(|(name, _)| name.to_owned()),
            node: node.name.to_owned(),
            op: node.op.to_owned(),
        }
    }

    pub(crate) fn name(&self, node: &NodeDef<'_>) -> String {
        format!("{}{}", self.prefix, node.name)
    }

    /// The attributes of a node, with those of the call in place of placeholders.
    pub(crate) fn attrs_of(&self, node: &NodeDef<'a>) -> Vec<(&'a str, &'a [u8])> {
        let resolve = |&(name, value): &(&'a str, &'a [u8])| {
            let given = attr::placeholder(value).and_then(|given| attr::find(&self.attrs, given));
            (name, given.copied().unwrap_or(value))
        };
        node.attrs.iter().map(resolve).collect()
    }
}
