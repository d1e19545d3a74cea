//! Copies of tensors that runtimes would otherwise overwrite while they are still needed.
//!
//! Runtimes reshape without copying, and add, subtract, multiply and divide in the place of an operand that nobody else reads: TensorFlow Lite 2.15 does, 2.10 does not. Whether somebody reads it, such a runtime
//! sees at the operand and at the tensor whose place it was in the beginning, but not at those between: where a sum was written into the place of an operand, and is read twice, once through
//! a `RESHAPE`, arithmetic behind that overwrites the sum. There, what is reshaped is a copy, by a `TRANSPOSE` that keeps the order.

use std::collections::HashMap;

use tfod_graph::DType;

use crate::emit::{Finished, FinishedStep, ModelTensor};
use crate::operator::{Operator, Plain};
use crate::stored::Stored;

/// Smaller tensors, in bytes, are not overwritten.
const LEAST: u64 = 5;

/// Whether runtimes may write the result of an operator into the place of an operand.
fn overwrites(operator: &Operator) -> bool {
    matches!(operator, Operator::Arithmetic(..) | Operator::Softmax)
}

impl Finished<'_> {
    /// The size of a tensor in bytes.
    fn bytes(&self, tensor: usize) -> Option<u64> {
        let tensor = self.tensors.get(tensor)?;
        let elements = tensor.shape.iter().product::<u64>();
        Some(elements * tensor.dtype.size()? as u64)
    }

    /// Has those `RESHAPE`s read a copy behind which what they read would be overwritten too early.
    pub(crate) fn copy_what_is_overwritten(&mut self) {
        let mut readers: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut makers = HashMap::new();
        for (at, step) in self.steps.iter().enumerate() {
            for input in &step.inputs {
                readers.entry(*input).or_default().push(at);
            }
            for output in &step.outputs {
                makers.insert(*output, at);
            }
        }
        let is_output = |tensor: usize| self.outputs.iter().any(|(_, output)| *output == tensor);
        let is_in_danger = |step: &FinishedStep| {
            let (Operator::Reshape(_), Some(&from), &[to]) =
                (&step.operator, step.inputs.first(), &step.outputs[..])
            else {
                return false;
            };
            let Some(&[next]) = readers.get(&to).map(Vec::as_slice) else {
                return false;
            };
            // What has a place of its own, and is read by others, stays.
            let maker = makers.get(&from).and_then(|at| self.steps.get(*at));
            let may_share = maker.is_some_and(|maker| {
                overwrites(&maker.operator) || matches!(maker.operator, Operator::Reshape(_))
            });
            let is_read_later = readers
                .get(&from)
                .is_some_and(|readers| readers.iter().any(|reader| *reader > next));
            let Some(next) = self.steps.get(next) else {
                return false;
            };
            let is_in_place = next.outputs.first().is_some_and(|result| {
                let size = self.bytes(to);
                size == self.bytes(*result) && size >= Some(LEAST) && !is_output(*result)
            });
            may_share
                && is_read_later
                && !is_output(from)
                && !is_output(to)
                && overwrites(&next.operator)
                && is_in_place
        };
        let endangered: Vec<bool> = self.steps.iter().map(is_in_danger).collect();
        let steps = std::mem::take(&mut self.steps);
        let mut orders: HashMap<usize, usize> = HashMap::new();
        for (mut step, is_endangered) in steps.into_iter().zip(endangered) {
            if is_endangered
                && let Some(from) = step.inputs.first_mut()
                && let Some((name, dtype, shape)) = self.described(*from)
            {
                let rank = shape.len();
                let order = *orders
                    .entry(rank)
                    .or_insert_with(|| add_order(&mut self.tensors, rank));
                self.tensors.push(ModelTensor {
                    name: format!("{name}/copy"),
                    dtype,
                    shape,
                    stored: None,
                });
                let copy = self.tensors.len() - 1;
                self.steps.push(FinishedStep {
                    operator: Operator::Plain(Plain::Transpose),
                    inputs: vec![*from, order],
                    outputs: vec![copy],
                });
                *from = copy;
            }
            self.steps.push(step);
        }
    }

    fn described(&self, tensor: usize) -> Option<(String, DType, Vec<u64>)> {
        let tensor = self.tensors.get(tensor)?;
        Some((tensor.name.clone(), tensor.dtype, tensor.shape.clone()))
    }
}

/// Adds a constant of the axes in their order.
fn add_order(tensors: &mut Vec<ModelTensor<'_>>, rank: usize) -> usize {
    let axes: Vec<i32> = (0..).take(rank).collect();
    let sizes = [rank as u64];
    tensors.push(ModelTensor {
        name: format!("axes/{rank}"),
        dtype: DType::I32,
        shape: sizes.to_vec(),
        stored: Some(Stored::integers(&sizes, &axes)),
    });
    tensors.len() - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emit::Emitter;
    use crate::operator::{Activation, Arithmetic};

    /// A sum that is reshaped for a difference, and read once more, before or behind that; the operators that come of it.
    fn steps(is_read_later: bool, is_sum: bool) -> Vec<&'static str> {
        let mut emitter = Emitter::default();
        let sizes = [1, 2, 4];
        let [x, y] = ["x", "y"].map(|name| emitter.input(name, DType::F32, &sizes));
        let mut add = |name: &str, operator, inputs: &[_], sizes: &[u64]| {
            emitter.add(name, operator, inputs, DType::F32, sizes)
        };
        let arithmetic = |kind| Operator::Arithmetic(kind, Activation::None);
        let exp = add("exp", Operator::Plain(Plain::Exp), &[x], &sizes);
        let sum = if is_sum {
            add("sum", arithmetic(Arithmetic::Add), &[exp, y], &sizes)
        } else {
            add("sum", Operator::Plain(Plain::Maximum), &[exp, y], &sizes)
        };
        let root = |add: &mut dyn FnMut(&str, Operator, &[_], &[u64]) -> _| {
            add("root", Operator::Plain(Plain::Sqrt), &[sum], &sizes)
        };
        let early = (!is_read_later).then(|| root(&mut add));
        let flat = add("flat", Operator::Reshape(vec![2, 4]), &[sum], &[2, 4]);
        let less = add("less", arithmetic(Arithmetic::Sub), &[flat, y], &[2, 4]);
        let result = add("result", Operator::Plain(Plain::Exp), &[less], &[2, 4]);
        let root = early.unwrap_or_else(|| root(&mut add));
        emitter.output("result", result);
        emitter.output("root", root);
        let mut finished = emitter.finish();
        finished.copy_what_is_overwritten();
        let names = finished.steps.iter().map(|step| step.operator.name());
        names.collect()
    }

    #[test]
    fn a_sum_that_is_read_behind_arithmetic_on_its_other_shape_is_copied() {
        let expected = ["EXP", "ADD", "TRANSPOSE", "RESHAPE", "SUB", "EXP", "SQRT"];
        assert_eq!(steps(true, true), expected);
    }

    #[test]
    fn nothing_else_is_copied() {
        let before = ["EXP", "ADD", "SQRT", "RESHAPE", "SUB", "EXP"];
        assert_eq!(steps(false, true), before);
        let of_its_own = ["EXP", "MAXIMUM", "RESHAPE", "SUB", "EXP", "SQRT"];
        assert_eq!(steps(true, false), of_its_own);
    }
}
