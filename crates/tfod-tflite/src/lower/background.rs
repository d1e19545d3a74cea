//! Leaves the background out of the scores that the operator for decoding and suppression takes: it does not look at them.
//!
//! Each anchor has a score of the background before those of its classes. The last convolutions' kernels go without the channels that compute them, and all between these
//! and the operator goes without the column, where nothing else uses it and every element is computed from one element alone.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use tfod_graph::Ending;

use super::{Lowering, size};
use crate::Error;
use crate::emit::TensorId;
use crate::operator::{Operator, Plain};

/// What changes on the way from convolutions to the operator.
#[derive(Default)]
struct Way {
    convolutions: Vec<TensorId>,
    /// What they compute, and what is computed from that.
    tensors: Vec<TensorId>,
}

impl Lowering<'_, '_> {
    /// Has the scores that the operator takes computed without the background, if that can be left out of the kernels on all levels.
    pub(super) fn leave_out_background(&mut self, ending: Option<&Ending>) -> Result<(), Error> {
        let Some(ending) = ending.filter(|ending| ending.has_background) else {
            return Ok(());
        };
        let scores = self.find(ending.scores)?;
        let columns = self.emitter.shape(scores).last().copied();
        let columns = columns.and_then(|columns| usize::try_from(columns).ok());
        let Some(columns) = columns
            .filter(|columns| *columns > 1)
            .and_then(NonZeroUsize::new)
        else {
            return Ok(());
        };
        let mut uses = self.emitter.uses();
        for output in self.graph.outputs() {
            *uses.entry(self.find(output.value)?).or_default() += 1;
        }
        let mut way = Way::default();
        if self.follow(scores, columns.get() as u64, &uses, &mut way) {
            for id in way.tensors {
                self.narrow(id, columns)?;
            }
            for id in way.convolutions {
                if let Some(kernel) = self.kernels.get_mut(&id) {
                    kernel.leave_out(columns);
                }
            }
        }
        Ok(())
    }

    /// Follows a tensor back to convolutions; `false` where the background cannot be left out.
    fn follow(
        &self,
        id: TensorId,
        columns: u64,
        uses: &HashMap<TensorId, usize>,
        way: &mut Way,
    ) -> bool {
        let last = self.emitter.shape(id).last();
        let is_whole = last.is_some_and(|last| last.is_multiple_of(columns));
        if !is_whole || uses.get(&id) != Some(&1) {
            return false;
        }
        way.tensors.push(id);
        if let Some(kernel) = self.kernels.get(&id) {
            way.convolutions.push(id);
            return !kernel.is_depthwise();
        }
        let Some(step) = self.emitter.maker(id) else {
            return false;
        };
        let inputs = match &step.operator {
            Operator::Plain(Plain::Logistic) => &step.inputs[..],
            // The other input of a reshape is the shape.
            Operator::Reshape(_) => step.inputs.get(..1).unwrap_or_default(),
            Operator::Concatenation { axis } => {
                let dimensions = self.emitter.shape(id).len();
                let is_last = usize::try_from(*axis).is_ok_and(|axis| axis + 1 == dimensions);
                if is_last {
                    return false;
                }
                &step.inputs
            }
            _ => return false,
        };
        let mut inputs = inputs.iter();
        inputs.all(|input| self.follow(*input, columns, uses, way))
    }

    /// Gives a tensor the sizes that it has without the background.
    fn narrow(&mut self, id: TensorId, columns: NonZeroUsize) -> Result<(), Error> {
        let mut sizes = self.emitter.shape(id).to_vec();
        if let Some(last) = sizes.last_mut() {
            *last -= *last / columns.get() as u64;
        }
        let Some(step) = self.emitter.maker(id) else {
            return Ok(());
        };
        let mut operator = step.operator.clone();
        let from = step.inputs.first().copied();
        if let Operator::Reshape(to) = &mut operator {
            let name = self.graph.name();
            *to = sizes
                .iter()
                .map(|n| size(name, *n))
                .collect::<Result<_, _>>()?;
            let to = to.clone();
            let to = self.integers(&to);
            self.emitter
                .set_inputs(id, from.into_iter().chain([to]).collect());
        }
        self.emitter.resize(id, &sizes, operator);
        Ok(())
    }
}
