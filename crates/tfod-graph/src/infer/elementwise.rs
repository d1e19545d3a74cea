//! Arithmetic and comparisons of elements, and products of matrices.

use super::{Rule, ShapeError, Typed, broadcast};
use crate::op::Binary;
use crate::tensor::{DType, Shape};

impl Rule<'_> {
    pub(super) fn mat_mul(&self) -> Result<Vec<Typed>, ShapeError> {
        self.arity(2)?;
        let expected = "f32[..., n, k] and f32[..., k, m] whose dimensions in front broadcast";
        let ([a @ .., n, k], [b @ .., l, m]) = (self.shape(0).dims(), self.shape(1).dims()) else {
            return Err(self.inputs_error(expected));
        };
        self.require(self.all_dtype(DType::F32) && k == l, expected)?;
        let mut shape = broadcast(&Shape(a.to_vec()), &Shape(b.to_vec()))
            .ok_or_else(|| self.inputs_error(expected))?;
        shape.0.extend([n.clone(), m.clone()]);
        Ok(vec![(DType::F32, shape)])
    }

    pub(super) fn float_map(&self) -> Result<Vec<Typed>, ShapeError> {
        self.arity(1)?;
        self.require(self.dtype(0).is_float(), "floats")?;
        Ok(vec![(self.dtype(0), self.shape(0).clone())])
    }

    pub(super) fn broadcast_two(&self, accepts: bool, what: &str) -> Result<Shape, ShapeError> {
        self.arity(2)?;
        let expected = format!("two of one type ({what}) whose shapes broadcast");
        self.require(accepts && self.dtype(0) == self.dtype(1), &expected)?;
        broadcast(self.shape(0), self.shape(1)).ok_or_else(|| self.inputs_error(expected))
    }

    pub(super) fn binary(&self, binary: Binary) -> Result<Vec<Typed>, ShapeError> {
        self.arity(2)?;
        let dtype = self.dtype(0);
        let shape = if binary == Binary::Div {
            self.broadcast_two(dtype.is_float(), "floats")?
        } else {
            self.broadcast_two(dtype.is_number(), "numbers")?
        };
        Ok(vec![(dtype, shape)])
    }

    pub(super) fn compare(&self) -> Result<Vec<Typed>, ShapeError> {
        self.arity(2)?;
        let shape = self.broadcast_two(self.dtype(0).is_number(), "numbers")?;
        Ok(vec![(DType::Bool, shape)])
    }

    pub(super) fn and(&self) -> Result<Vec<Typed>, ShapeError> {
        self.arity(2)?;
        let shape = self.broadcast_two(self.dtype(0) == DType::Bool, "bool")?;
        Ok(vec![(DType::Bool, shape)])
    }

    pub(super) fn select(&self) -> Result<Vec<Typed>, ShapeError> {
        self.arity(3)?;
        let expected = "bool and two of one type, whose shapes broadcast";
        self.require(
            self.dtype(0) == DType::Bool && self.dtype(1) == self.dtype(2),
            expected,
        )?;
        let shape = broadcast(self.shape(0), self.shape(1))
            .and_then(|shape| broadcast(&shape, self.shape(2)))
            .ok_or_else(|| self.inputs_error(expected))?;
        Ok(vec![(self.dtype(1), shape)])
    }
}
