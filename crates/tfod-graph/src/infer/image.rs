//! Images: resizing, cropping and decoding.

use super::{Rule, ShapeError, Typed};
use crate::dim::Dim;
use crate::op::ResizeMethod;
use crate::tensor::{DType, Shape};

impl Rule<'_> {
    pub(super) fn resize(
        &self,
        method: ResizeMethod,
        size: &[Dim; 2],
    ) -> Result<Vec<Typed>, ShapeError> {
        let is_known = size.iter().all(|dim| dim.known().is_some());
        self.arity(if is_known { 1 } else { 2 })?;
        let sizes = Shape::known(&[2]);
        self.require(
            self.shape(0).rank() == 4
                && self.dtype(0).is_number()
                && (is_known || (self.dtype(1), self.shape(1)) == (DType::I32, &sizes)),
            "numbers [n, h, w, c] and, for a size known only at run time, i32[2]",
        )?;
        let x = &self.shape(0).0;
        let [height, width] = size.clone();
        let shape = Shape(vec![x[0].clone(), height, width, x[3].clone()]);
        let dtype = match method {
            ResizeMethod::Nearest => self.dtype(0),
            ResizeMethod::Bilinear | ResizeMethod::Bicubic | ResizeMethod::Area => DType::F32,
        };
        Ok(vec![(dtype, shape)])
    }

    pub(super) fn crop_and_resize(
        &self,
        height: u64,
        width: u64,
    ) -> Result<Vec<Typed>, ShapeError> {
        self.arity(3)?;
        let expected = "f32[batch, h, w, c], boxes f32[n, 4] and i32[n]";
        let ([_, _, _, channels], [n, four], [images]) = (
            self.shape(0).dims(),
            self.shape(1).dims(),
            self.shape(2).dims(),
        ) else {
            return Err(self.inputs_error(expected));
        };
        let dtypes = [0, 1, 2].map(|i| self.dtype(i));
        let fits = dtypes == [DType::F32, DType::F32, DType::I32] && four.is(4) && n == images;
        self.require(fits, expected)?;
        if height == 0 || width == 0 {
            return Err(self.error("crops of at least one pixel", format!("{height}x{width}")));
        }
        let dims = vec![n.clone(), height.into(), width.into(), channels.clone()];
        Ok(vec![(DType::F32, Shape(dims))])
    }

    pub(super) fn scalar_string(&self) -> Result<(), ShapeError> {
        self.arity(1)?;
        let is_one = self.dtype(0) == DType::String && self.shape(0).rank() == 0;
        self.require(is_one, "a scalar string")
    }

    pub(super) fn decode_image(&self, size: &[Dim; 2]) -> Result<Vec<Typed>, ShapeError> {
        self.scalar_string()?;
        if let Some(known) = size.iter().find(|dim| dim.known().is_some()) {
            return Err(self.error("a size that the file decides", known.to_string()));
        }
        let [height, width] = size.clone();
        Ok(vec![(DType::U8, Shape(vec![height, width, 3.into()]))])
    }
}
