//! Where elements stand: padding, reshaping, joining, cutting and gathering.

use super::{Rule, ShapeError, Typed};
use crate::dim::Dim;
use crate::graph::Value;
use crate::tensor::{DType, Shape};

impl Rule<'_> {
    pub(super) fn pad(&self, paddings: &[(u64, u64)]) -> Result<Vec<Typed>, ShapeError> {
        self.arity(1)?;
        let expected = format!("{} dimensions", paddings.len());
        self.require(self.shape(0).rank() == paddings.len(), &expected)?;
        let dims = self.shape(0).0.iter().zip(paddings);
        let dims = dims
            .map(|(dim, &(before, after))| dim.grown(before.checked_add(after)?))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| self.inputs_error(expected))?;
        Ok(vec![(self.dtype(0), Shape(dims))])
    }

    pub(super) fn pad_end(&self, dims: &[Dim]) -> Result<Vec<Typed>, ShapeError> {
        self.arity(2)?;
        let rank = self.shape(0).rank();
        let numbers = Shape::known(&[rank as u64]);
        let shrinks = |(from, to): (&Dim, &Dim)| from.known() > to.known().or(Some(u64::MAX));
        let fits = dims.len() == rank
            && (self.dtype(1), self.shape(1)) == (DType::I32, &numbers)
            && !self.shape(0).0.iter().zip(dims).any(shrinks);
        let expected = format!("{} dimensions and as many i32", Shape(dims.to_vec()));
        self.require(fits, &expected)?;
        Ok(vec![(self.dtype(0), Shape(dims.to_vec()))])
    }

    pub(super) fn reshape(&self, dims: &[Dim]) -> Result<Vec<Typed>, ShapeError> {
        self.arity(1)?;
        let target = Shape(dims.to_vec());
        let from = Dim::product(&self.shape(0).0);
        let is_even = from.is_some() && from == Dim::product(dims);
        // A symbol that the input's sizes do not mention may stand for what is left over, whatever that is.
        let (free, fixed): (Vec<&Dim>, Vec<&Dim>) = dims
            .iter()
            .partition(|dim| dim.is_symbol() && !self.shape(0).0.iter().any(|d| d.mentions(dim)));
        let leaves_whole = match (from, Dim::product(fixed)) {
            (Some(Dim::Known(from)), Some(Dim::Known(to))) => to > 0 && from % to == 0,
            _ => true,
        };
        let fits = is_even || (free.len() == 1 && leaves_whole);
        self.require(fits, &format!("a shape of as many elements as {target}"))?;
        Ok(vec![(self.dtype(0), target)])
    }

    pub(super) fn transpose(&self, order: &[usize]) -> Result<Vec<Typed>, ShapeError> {
        self.arity(1)?;
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        let is_order = sorted.into_iter().eq(0..self.shape(0).rank());
        self.require(is_order, &format!("as many dimensions as in {order:?}"))?;
        let dims = order.iter().map(|&axis| self.shape(0).0[axis].clone());
        Ok(vec![(self.dtype(0), Shape(dims.collect()))])
    }

    pub(super) fn concat(&self, axis: usize) -> Result<Vec<Typed>, ShapeError> {
        let expected = "one or more of one type, of equal shapes but for the axis";
        let first = self
            .inputs
            .first()
            .ok_or_else(|| self.inputs_error(expected))?;
        self.axis(axis, first.shape.rank())?;
        let mut total = Some(Dim::Known(0));
        for input in self.inputs {
            let same = input.dtype == first.dtype
                && input.shape.rank() == first.shape.rank()
                && (0..first.shape.rank())
                    .all(|i| i == axis || input.shape.0[i] == first.shape.0[i]);
            self.require(same, expected)?;
            total = total.and_then(|sum| sum.plus(&input.shape.0[axis]));
        }
        let mut shape = first.shape.clone();
        shape.0[axis] = total.ok_or_else(|| self.inputs_error("fewer in all"))?;
        Ok(vec![(first.dtype, shape)])
    }

    pub(super) fn slice(&self, ranges: &[Option<(u64, u64)>]) -> Result<Vec<Typed>, ShapeError> {
        self.arity(1)?;
        let expected = format!("{} dimensions that hold {ranges:?}", ranges.len());
        self.require(self.shape(0).rank() == ranges.len(), &expected)?;
        let dims = self.shape(0).0.iter().zip(ranges);
        let dims = dims
            .map(|(dim, range)| match (dim, range) {
                (dim, None) => Some(dim.clone()),
                (Dim::Known(n), Some((begin, size))) => {
                    (begin.checked_add(*size)? <= *n).then_some(Dim::Known(*size))
                }
                (Dim::Unknown(_), Some(_)) => None,
            })
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| self.inputs_error(expected))?;
        Ok(vec![(self.dtype(0), Shape(dims))])
    }

    pub(super) fn unstack(&self, axis: usize) -> Result<Vec<Typed>, ShapeError> {
        self.arity(1)?;
        self.axis(axis, self.shape(0).rank())?;
        let mut shape = self.shape(0).clone();
        let count = shape
            .0
            .remove(axis)
            .known()
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| *n <= 1 << 20)
            .ok_or_else(|| self.inputs_error("a known, sensible size along the axis"))?;
        Ok(vec![(self.dtype(0), shape); count])
    }

    pub(super) fn stack(&self, axis: usize) -> Result<Vec<Typed>, ShapeError> {
        let expected = "one or more of one type and shape";
        let first = self
            .inputs
            .first()
            .ok_or_else(|| self.inputs_error(expected))?;
        let same = |v: &&&Value| v.dtype == first.dtype && v.shape == first.shape;
        self.require(self.inputs.iter().all(|v| same(&v)), expected)?;
        self.axis(axis, first.shape.rank() + 1)?;
        let mut shape = first.shape.clone();
        shape.0.insert(axis, Dim::Known(self.inputs.len() as u64));
        Ok(vec![(first.dtype, shape)])
    }

    pub(super) fn gather(&self, batch_dims: usize) -> Result<Vec<Typed>, ShapeError> {
        self.arity(2)?;
        let leading = |shape: &Shape| shape.0.get(..batch_dims).map(<[Dim]>::to_vec);
        let shared = leading(self.shape(0));
        self.require(
            self.shape(0).rank() > batch_dims
                && shared.is_some()
                && shared == leading(self.shape(1))
                && self.dtype(1) == DType::I32,
            &format!(
                "data of more than {batch_dims} dimensions and i32 indices, which share the first {batch_dims}"
            ),
        )?;
        let rest = self.shape(0).0.iter().skip(batch_dims + 1);
        let dims = self.shape(1).0.iter().chain(rest).cloned().collect();
        Ok(vec![(self.dtype(0), Shape(dims))])
    }
}
