//! Operators that are computed here: rten has another `NonMaxSuppression` than ONNX defines, and no `RoiAlign`.

mod roi_align;
mod suppression;

use rten::Value;
use rten_tensor::TensorView;
use rten_tensor::prelude::*;

use crate::onnx::{AttributeProto, NodeProto, Problem};

use roi_align::RoiAlign;
use suppression::Suppression;

/// A node that is computed here.
#[derive(Debug)]
pub(crate) struct OwnNode {
    /// The node, in words.
    what: String,
    operator: Operator,
    /// Names of what it takes; `None` of what is left out.
    pub(crate) inputs: Vec<Option<String>>,
    /// The name of what it gives.
    pub(crate) output: String,
}

#[derive(Debug)]
enum Operator {
    Suppression(Suppression),
    RoiAlign(RoiAlign),
}

/// Whether nodes of an operator are computed here.
pub(crate) fn is_own(op: &str) -> bool {
    matches!(op, "NonMaxSuppression" | "RoiAlign")
}

impl OwnNode {
    /// Reads a node, of a certain operator set, for which [`is_own`] holds.
    pub(crate) fn read(node: &NodeProto<'_>, opset: u64) -> Result<Self, Problem> {
        let what = format!("node `{}` ({})", node.name, node.op);
        let said = |problem| format!("{what}: {problem}");
        let operator = if node.op == "RoiAlign" {
            RoiAlign::read(&node.attributes, opset).map(Operator::RoiAlign)
        } else {
            Suppression::read(&node.attributes).map(Operator::Suppression)
        };
        let operator = operator.map_err(said)?;
        let output = match node.outputs[..] {
            [output] if !output.is_empty() => output.to_owned(),
            _ => {
                let count = node.outputs.len();
                return Err(said(format!("expected one output, found {count}")));
            }
        };
        let inputs = node.inputs.iter();
        let inputs = inputs.map(|name| (!name.is_empty()).then(|| (*name).to_owned()));
        Ok(Self {
            operator,
            inputs: inputs.collect(),
            output,
            what,
        })
    }

    /// Computes it.
    pub(crate) fn run(&self, inputs: &[Option<&Value>]) -> Result<Value, Problem> {
        let inputs = Inputs(inputs);
        let found = match &self.operator {
            Operator::Suppression(operator) => operator.run(inputs),
            Operator::RoiAlign(operator) => operator.run(inputs),
        };
        found.map_err(|problem| format!("{}: {problem}", self.what))
    }
}

/// An attribute that there is not.
fn unknown<T>(attribute: &AttributeProto<'_>) -> Result<T, Problem> {
    let name = attribute.name;
    Err(format!("it has an attribute `{name}`, which is not known"))
}

/// The values that a node takes.
#[derive(Clone, Copy)]
struct Inputs<'a>(&'a [Option<&'a Value>]);

impl<'a> Inputs<'a> {
    fn get(self, index: usize) -> Option<&'a Value> {
        self.0.get(index).copied().flatten()
    }

    /// A tensor of a certain type and rank.
    fn tensor<T: 'a, const N: usize>(
        self,
        index: usize,
        name: &str,
    ) -> Result<(TensorView<'a, T>, [usize; N]), Problem>
    where
        TensorView<'a, T>: TryFrom<&'a Value>,
    {
        let missing = || format!("its input {index} ({name}) is missing");
        let value = self.get(index).ok_or_else(missing)?;
        let found = TensorView::try_from(value);
        let found = found.map_err(|_| {
            let kind = value.dtype();
            format!("its input {index} ({name}) is of the type {kind}")
        })?;
        let sizes = value.shape().to_vec();
        let sizes = <[usize; N]>::try_from(sizes).map_err(|sizes| {
            format!("its input {index} ({name}) has the shape {sizes:?}; expected {N} dimensions")
        })?;
        Ok((found, sizes))
    }

    /// A number, by itself or as a list of one; `None` where it is left out.
    fn number<T: Copy + 'a>(self, index: usize, name: &str) -> Result<Option<T>, Problem>
    where
        TensorView<'a, T>: TryFrom<&'a Value>,
    {
        let Some(value) = self.get(index) else {
            return Ok(None);
        };
        let found: Option<TensorView<'a, T>> = TensorView::try_from(value).ok();
        match found.map(|found| found.to_vec()).as_deref() {
            Some([number]) => Ok(Some(*number)),
            _ => Err(format!(
                "its input {index} ({name}) is of the type {} and the shape {:?}; expected one number",
                value.dtype(),
                value.shape()
            )),
        }
    }
}
