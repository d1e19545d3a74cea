//! Reference variables of TensorFlow 1: what a node gives is the variable itself, and who reads it later finds what was assigned meanwhile.
//!
//! That holds behind `Identity`, too, which copies nothing there.

use super::super::error::NodePlace;
use super::super::graph::Tensor;
use super::updates::Written;
use super::{Done, Expander, Result, Value, new_values, strip_ref};

/// A reference to a variable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reference {
    pub(crate) index: usize,
    /// The variable's value as the node that gave the reference read it; `None` if it did not read.
    pub(crate) read: Option<Tensor>,
    /// The latest assignment to the variable before that.
    pub(crate) written: Option<usize>,
    /// Whether control flow has sent it somewhere.
    pub(crate) is_routed: bool,
}

impl Expander<'_, '_> {
    /// Reads the references among the inputs of a node, but for one that it assigns to. Gives the variable whose reference an operation hands on.
    pub(super) fn read_references(
        &mut self,
        op: &str,
        place: &NodePlace,
        written: &Written,
        inputs: &mut [Value],
    ) -> Result<Option<usize>> {
        let handed_on = match (strip_ref(op), &*inputs) {
            ("Identity" | "Switch" | "Enter", [Value::Reference(reference), ..]) => {
                Some(reference.index)
            }
            _ => None,
        };
        let first = usize::from(new_values::is_update(op)).min(inputs.len());
        self.settle(place, written, &mut inputs[first..])?;
        Ok(handed_on)
    }

    /// Puts the values of variables in place of references to them, as they are for a node after these assignments.
    pub(super) fn settle(
        &mut self,
        place: &NodePlace,
        written: &Written,
        values: &mut [Value],
    ) -> Result<()> {
        for value in values {
            let Value::Reference(reference) = *value else {
                continue;
            };
            self.updates.note_read(reference.index, place);
            let latest = written.of(reference.index).or(reference.written);
            let tensor = match (reference.read, latest) {
                (Some(tensor), latest) if latest == reference.written => tensor,
                (_, Some(_)) if reference.is_routed => {
                    return Err(self.changed_since(place, reference.index));
                }
                (_, Some(write)) => self.assigned(place, reference.index, write)?,
                (_, None) => {
                    return Err(self.error(place, "its input refers to a variable without a value"));
                }
            };
            *value = Value::Tensor(tensor);
        }
        Ok(())
    }

    /// What a node gives that hands the reference to a variable on: a reference, with the value as the node read it.
    pub(super) fn with_reference(op: &str, index: usize, mut done: Done) -> Done {
        // Both outputs of a switch are the reference.
        for value in &mut done.values {
            if let Value::Tensor(tensor) = *value {
                *value = Value::Reference(Reference {
                    index,
                    read: Some(tensor),
                    written: done.written.of(index),
                    is_routed: strip_ref(op) != "Identity",
                });
            }
        }
        done
    }
}
