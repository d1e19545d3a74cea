//! For every operation: what it accepts, and the element types and shapes of its results.
//!
//! The rules read only types and shapes, never data, so they hold for any weights. A rule that is not met is a [`ShapeError`] that
//! says what was expected and found; the builder and the validator add the node's name.

mod arrange;
mod convolution;
mod elementwise;
mod image;
mod select;
#[cfg(test)]
mod tests;

use crate::dim::Dim;
use crate::graph::{Graph, Parameter, Value};
use crate::op::{MapInput, Op};
use crate::tensor::{DType, Shape, Tensor};

/// An operation applied to values that it does not accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{op}: expected {expected}, found {found}")]
pub struct ShapeError {
    /// The operation, by its mnemonic.
    pub op: &'static str,
    /// What the operation accepts.
    pub expected: String,
    /// What it was given.
    pub found: String,
}

/// The element type and shape of one result.
pub type Typed = (DType, Shape);

struct Rule<'a> {
    op: &'a Op,
    inputs: &'a [&'a Value],
}

/// The element types and shapes of the results of `op` on `inputs`. For a parameter, `parameter` is its description; an input has no rule, its
/// type is declared.
///
/// # Errors
/// When the operation does not accept the inputs, or a result would have more than [`MAX_RANK`] dimensions.
pub fn infer(
    op: &Op,
    inputs: &[&Value],
    parameter: Option<&Parameter>,
) -> Result<Vec<Typed>, ShapeError> {
    let rule = Rule { op, inputs };
    let results = by_rule(&rule, parameter)?;
    match results.iter().find(|(_, shape)| shape.rank() > MAX_RANK) {
        Some((_, shape)) => Err(rule.error(
            format!("a result of at most {MAX_RANK} dimensions"),
            format!("one of {}", shape.rank()),
        )),
        None => Ok(results),
    }
}

/// No runtime has tensors of more dimensions. Without a limit, a chain of operations that each add one would take memory by the square of its length.
pub const MAX_RANK: usize = 254;

fn by_rule(rule: &Rule<'_>, parameter: Option<&Parameter>) -> Result<Vec<Typed>, ShapeError> {
    match rule.op {
        Op::Input => Err(rule.error("a declared input", "an undeclared one")),
        Op::Constant(tensor) => rule.arity(0).map(|()| vec![constant(tensor)]),
        Op::Parameter(_) => {
            rule.arity(0)?;
            let parameter = parameter.ok_or_else(|| rule.error("a described parameter", "none"))?;
            Ok(vec![(parameter.dtype, Shape::known(&parameter.shape))])
        }
        Op::Conv2d(attrs) => rule.conv2d(*attrs),
        Op::DepthwiseConv2d(attrs) => rule.depthwise_conv2d(*attrs),
        Op::ConvTranspose2d { stride } => rule.conv_transpose2d(*stride),
        Op::MaxPool(attrs) | Op::AveragePool(attrs) => rule.pool(*attrs),
        Op::GlobalAveragePool => rule.global_average_pool(),
        Op::BiasAdd => rule.bias_add(),
        Op::MatMul => rule.mat_mul(),
        Op::BatchNorm { .. } => rule.batch_norm(),
        Op::Unary(_) | Op::Softmax => rule.float_map(),
        Op::Binary(binary) => rule.binary(*binary),
        Op::Compare(_) => rule.compare(),
        Op::And => rule.and(),
        Op::Select => rule.select(),
        Op::Cast(to) => {
            rule.arity(1)?;
            let has_values = |dtype| dtype != DType::String;
            rule.require(
                has_values(*to) && has_values(rule.dtype(0)),
                "anything but strings, from and to",
            )?;
            Ok(vec![(*to, rule.shape(0).clone())])
        }
        Op::Pad(paddings) => rule.pad(paddings),
        Op::PadEnd(dims) => rule.pad_end(dims),
        Op::Resize { method, size, .. } => rule.resize(*method, size),
        Op::CropAndResize { height, width } => rule.crop_and_resize(*height, *width),
        Op::ShapeOf => {
            rule.arity(1)?;
            let rank = rule.shape(0).rank() as u64;
            Ok(vec![(DType::I32, Shape::known(&[rank]))])
        }
        Op::Range(dim) => {
            rule.arity(1)?;
            let is_count = rule.dtype(0) == DType::I32 && rule.shape(0).rank() == 0;
            rule.require(is_count, "an i32 scalar")?;
            Ok(vec![(DType::I32, Shape(vec![dim.clone()]))])
        }
        Op::Reshape(dims) => rule.reshape(dims),
        Op::Transpose(order) => rule.transpose(order),
        Op::Concat { axis } => rule.concat(*axis),
        Op::Slice(ranges) => rule.slice(ranges),
        Op::Unstack { axis } => rule.unstack(*axis),
        Op::Stack { axis } => rule.stack(*axis),
        Op::Gather { batch_dims } => rule.gather(*batch_dims),
        Op::Reduce { kind, axes } => rule.reduce(*kind, axes),
        Op::ArgMax { axis } => rule.arg_max(*axis),
        Op::TopK { k } => rule.top_k(k),
        Op::NonMaxSuppression(attrs) => rule.selection(attrs.max_output_size, &[DType::I32]),
        Op::SoftNonMaxSuppression(attrs) => {
            rule.selection(attrs.max_output_size, &[DType::I32, DType::F32])
        }
        Op::DecodeImage { size } => rule.decode_image(size),
        Op::ExampleFeature { .. } => {
            rule.scalar_string()?;
            Ok(vec![(DType::String, Shape::scalar())])
        }
        Op::Map { body, inputs } => rule.map(body, inputs),
    }
}

fn constant(tensor: &Tensor) -> Typed {
    (tensor.dtype(), Shape::known(tensor.shape()))
}

/// Two dimensions under NumPy broadcasting; `None` when they do not go together.
fn broadcast_dim(a: &Dim, b: &Dim) -> Option<Dim> {
    match (a, b) {
        (a, b) if a == b => Some(a.clone()),
        (a, b) if a.is(1) => Some(b.clone()),
        (a, b) if b.is(1) => Some(a.clone()),
        _ => None,
    }
}

fn broadcast(a: &Shape, b: &Shape) -> Option<Shape> {
    let rank = a.rank().max(b.rank());
    let one = Dim::Known(1);
    let dim = |shape: &Shape, i: usize| {
        (i + shape.rank())
            .checked_sub(rank)
            .and_then(|i| shape.0.get(i).cloned())
            .unwrap_or_else(|| one.clone())
    };
    (0..rank)
        .map(|i| broadcast_dim(&dim(a, i), &dim(b, i)))
        .collect::<Option<Vec<_>>>()
        .map(Shape)
}

impl Rule<'_> {
    fn error(&self, expected: impl Into<String>, found: impl Into<String>) -> ShapeError {
        ShapeError {
            op: self.op.mnemonic(),
            expected: expected.into(),
            found: found.into(),
        }
    }

    /// An error about the inputs as a whole.
    fn inputs_error(&self, expected: impl Into<String>) -> ShapeError {
        let found: Vec<String> = self
            .inputs
            .iter()
            .map(|v| format!("{}{}", v.dtype, v.shape))
            .collect();
        self.error(expected, found.join(", "))
    }

    fn arity(&self, n: usize) -> Result<(), ShapeError> {
        if self.inputs.len() == n {
            Ok(())
        } else {
            Err(self.error(
                format!("{n} inputs"),
                format!("{} inputs", self.inputs.len()),
            ))
        }
    }

    fn require(&self, holds: bool, expected: &str) -> Result<(), ShapeError> {
        if holds {
            Ok(())
        } else {
            Err(self.inputs_error(expected))
        }
    }

    // Called only after `arity` has checked the number of inputs.
    fn shape(&self, i: usize) -> &Shape {
        &self.inputs[i].shape
    }

    fn dtype(&self, i: usize) -> DType {
        self.inputs[i].dtype
    }

    fn all_dtype(&self, dtype: DType) -> bool {
        self.inputs.iter().all(|v| v.dtype == dtype)
    }

    fn axis(&self, axis: usize, rank: usize) -> Result<(), ShapeError> {
        if axis < rank {
            Ok(())
        } else {
            Err(self.error(format!("an axis below {rank}"), axis.to_string()))
        }
    }

    fn map(&self, body: &Graph, kinds: &[MapInput]) -> Result<Vec<Typed>, ShapeError> {
        self.arity(kinds.len())?;
        let mut leading: Option<&Dim> = None;
        if body.inputs().len() != kinds.len() {
            return Err(self.error(
                format!("a body with {} inputs", kinds.len()),
                body.inputs().len().to_string(),
            ));
        }
        for ((input, kind), inner) in self.inputs.iter().zip(kinds).zip(body.inputs()) {
            let inner = body.value(*inner);
            let seen = match kind {
                MapInput::Whole => input.shape.clone(),
                MapInput::Sliced => {
                    let dim = input.shape.0.first();
                    self.require(
                        dim.is_some() && leading.is_none_or(|l| Some(l) == dim),
                        "sliced inputs of one leading dimension",
                    )?;
                    leading = dim;
                    input.shape.without_leading()
                }
            };
            if (input.dtype, &seen) != (inner.dtype, &inner.shape) {
                return Err(self.error(
                    format!("{}{} for the body", inner.dtype, inner.shape),
                    format!("{}{seen}", input.dtype),
                ));
            }
        }
        let leading = leading.ok_or_else(|| self.inputs_error("at least one sliced input"))?;
        let results = body.outputs().iter().map(|output| body.value(output.value));
        Ok(results
            .map(|value| (value.dtype, value.shape.with_leading(leading.clone())))
            .collect())
    }
}
