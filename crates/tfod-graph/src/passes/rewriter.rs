//! The common part of all passes: a new graph, and where each value of the old one went.

use crate::builder::Builder;
use crate::graph::{Graph, Node, Output, Parameter, ValueId};
use crate::op::Op;
use crate::validate::ValidateError;

pub(super) struct Rewriter<'a> {
    old: &'a Graph,
    pub(super) new: Builder,
    map: Vec<Option<ValueId>>,
}

impl<'a> Rewriter<'a> {
    /// An empty new graph with the old one's name and parameters, whose handles stay valid.
    pub(super) fn new(old: &'a Graph) -> Self {
        let parameters: Vec<Parameter> = old.parameters().map(|(_, p)| p.clone()).collect();
        Self {
            old,
            new: Builder::with_parameters(old.name(), parameters),
            map: vec![None; old.values.len()],
        }
    }

    /// Where a value of the old graph is in the new one.
    pub(super) fn get(&self, old: ValueId) -> Result<ValueId, ValidateError> {
        self.map
            .get(old.index())
            .copied()
            .flatten()
            .ok_or_else(|| ValidateError::Order {
                node: self.old.name_of(old).to_owned(),
            })
    }

    pub(super) fn get_all(&self, old: &[ValueId]) -> Result<Vec<ValueId>, ValidateError> {
        old.iter().map(|v| self.get(*v)).collect()
    }

    /// Says that the results of an old node are these values of the new graph.
    pub(super) fn define(&mut self, node: &Node, values: &[ValueId]) {
        for (old, new) in node.outputs.iter().zip(values) {
            self.map[old.index()] = Some(*new);
        }
    }

    /// Writes an old node again, with another operation if one is given.
    pub(super) fn copy(&mut self, node: &Node, op: Op) -> Result<Vec<ValueId>, ValidateError> {
        let values = if matches!(op, Op::Input) {
            let value = self.old.value(node.outputs[0]);
            vec![self.new.input(&node.name, value.dtype, value.shape.clone())]
        } else {
            let inputs = self.get_all(&node.inputs)?;
            self.new.add(&node.name, op, &inputs)?
        };
        self.define(node, &values);
        Ok(values)
    }

    /// The new graph, with the old one's outputs.
    pub(super) fn finish(mut self) -> Result<Graph, ValidateError> {
        let outputs: Vec<Output> = self.old.outputs().to_vec();
        for output in outputs {
            let value = self.get(output.value)?;
            self.new.output(&output.key, value);
        }
        let place = |value: ValueId| self.map.get(value.index()).copied().flatten();
        if let Some(ending) = self.old.ending().and_then(|ending| ending.moved(place)) {
            self.new.end(ending);
        }
        Ok(self.new.finish())
    }
}
