//! What is chosen or summed up of many: reductions, the largest, and non-max suppression.

use super::{Rule, ShapeError, Typed};
use crate::dim::Dim;
use crate::graph::Value;
use crate::op::Reduce;
use crate::tensor::{DType, Shape};

impl Rule<'_> {
    pub(super) fn reduce(&self, _kind: Reduce, axes: &[usize]) -> Result<Vec<Typed>, ShapeError> {
        self.arity(1)?;
        self.require(self.dtype(0).is_number(), "numbers")?;
        for &axis in axes {
            self.axis(axis, self.shape(0).rank())?;
        }
        let kept = self.shape(0).0.iter().enumerate();
        let kept = kept.filter(|(i, _)| !axes.contains(i));
        let dims = kept.map(|(_, dim)| dim.clone()).collect();
        Ok(vec![(self.dtype(0), Shape(dims))])
    }

    pub(super) fn arg_max(&self, axis: usize) -> Result<Vec<Typed>, ShapeError> {
        let typed = self.reduce(Reduce::Max, &[axis])?;
        Ok(typed.into_iter().map(|(_, s)| (DType::I32, s)).collect())
    }

    pub(super) fn top_k(&self, k: &Dim) -> Result<Vec<Typed>, ShapeError> {
        let known = k.known();
        self.arity(if known.is_some() { 1 } else { 2 })?;
        let last = self.shape(0).0.last();
        let has = match (known, last.and_then(Dim::known)) {
            (Some(k), Some(n)) => k <= n,
            // The number that is computed is at most the size.
            (None, _) => last.is_some(),
            (Some(_), None) => false,
        };
        let is_count = |v: &Value| v.dtype == DType::I32 && v.shape.rank() == 0;
        self.require(
            self.dtype(0).is_number() && has && self.inputs.iter().skip(1).all(|v| is_count(v)),
            &format!(
                "numbers [..., n] with n at least {k} and, for a number known only at run time, an i32 scalar"
            ),
        )?;
        let mut shape = self.shape(0).clone();
        if let Some(last) = shape.0.last_mut() {
            *last = k.clone();
        }
        Ok(vec![(self.dtype(0), shape.clone()), (DType::I32, shape)])
    }

    /// Of boxes: columns of `size` selections each, and their number.
    pub(super) fn selection(&self, size: u64, columns: &[DType]) -> Result<Vec<Typed>, ShapeError> {
        self.arity(2)?;
        let boxes = self.shape(0);
        self.require(
            self.all_dtype(DType::F32)
                && boxes.rank() == 2
                && boxes.0[1].is(4)
                && self.shape(1).0.as_slice() == boxes.0.get(..1).unwrap_or_default(),
            "f32[n, 4] and f32[n]",
        )?;
        let columns = columns.iter().map(|dtype| (*dtype, Shape::known(&[size])));
        Ok(columns.chain([(DType::I32, Shape::scalar())]).collect())
    }
}
