//! Feature maps: convolutions, pooling, and what works by channel.

use super::{Rule, ShapeError, Typed};
use crate::dim::Dim;
use crate::op::{ConvAttrs, Padding, PoolAttrs};
use crate::tensor::{DType, Shape};

impl Rule<'_> {
    /// The output size of a window that moves over a dimension.
    pub(super) fn window(
        &self,
        size: &Dim,
        kernel: u64,
        stride: u64,
        dilation: u64,
        padding: Padding,
    ) -> Result<Dim, ShapeError> {
        let effective = kernel
            .checked_sub(1)
            .and_then(|k| k.checked_mul(dilation))
            .and_then(|k| k.checked_add(1))
            .filter(|_| stride > 0 && dilation > 0)
            .ok_or_else(|| self.error("a kernel, stride and dilation of at least 1", "0"))?;
        // One position for each stride begun, of all places where the window fits.
        let places = match padding {
            Padding::Same => Some(size.clone()),
            Padding::Valid => size.shrunk(effective - 1),
        };
        places
            .and_then(|places| places.div_ceil(stride))
            .ok_or_else(|| {
                self.error(
                    format!("at least {effective} rows and columns without padding"),
                    size.to_string(),
                )
            })
    }

    pub(super) fn spatial(
        &self,
        x: &Shape,
        kernel: [u64; 2],
        attrs: ConvAttrs,
        channels: u64,
    ) -> Result<Shape, ShapeError> {
        let size = |i: usize| {
            self.window(
                &x.0[i + 1],
                kernel[i],
                attrs.strides[i],
                attrs.dilations[i],
                attrs.padding,
            )
        };
        Ok(Shape(vec![
            x.0[0].clone(),
            size(0)?,
            size(1)?,
            Dim::Known(channels),
        ]))
    }

    /// The kernel's sizes, when the inputs are a feature map and a kernel that fits its channels.
    pub(super) fn kernel(&self) -> Result<[u64; 4], ShapeError> {
        self.arity(2)?;
        let expected = "f32[n, h, w, c] and a kernel f32[kh, kw, c, d]";
        let kernel = self
            .shape(1)
            .sizes()
            .and_then(|sizes| <[u64; 4]>::try_from(sizes).ok())
            .ok_or_else(|| self.inputs_error(expected))?;
        let fits = self.all_dtype(DType::F32)
            && self.shape(0).rank() == 4
            && self.shape(0).0[3].is(kernel[2]);
        self.require(fits, expected)?;
        Ok(kernel)
    }

    pub(super) fn conv2d(&self, attrs: ConvAttrs) -> Result<Vec<Typed>, ShapeError> {
        let [kh, kw, _, d] = self.kernel()?;
        let shape = self.spatial(self.shape(0), [kh, kw], attrs, d)?;
        Ok(vec![(DType::F32, shape)])
    }

    pub(super) fn depthwise_conv2d(&self, attrs: ConvAttrs) -> Result<Vec<Typed>, ShapeError> {
        let [kh, kw, c, m] = self.kernel()?;
        if attrs.strides[0] != attrs.strides[1] {
            return Err(self.error("equal strides", format!("{:?}", attrs.strides)));
        }
        let channels = c
            .checked_mul(m)
            .ok_or_else(|| self.inputs_error("fewer channels"))?;
        let shape = self.spatial(self.shape(0), [kh, kw], attrs, channels)?;
        Ok(vec![(DType::F32, shape)])
    }

    pub(super) fn conv_transpose2d(&self, stride: u64) -> Result<Vec<Typed>, ShapeError> {
        self.arity(2)?;
        let expected = "f32[n, h, w, d] and a kernel f32[kh, kw, c, d], and a stride";
        let kernel = self.shape(1).sizes();
        let (Some([_, _, channels, own]), [n, height, width, last]) =
            (kernel.as_deref(), self.shape(0).dims())
        else {
            return Err(self.inputs_error(expected));
        };
        let fits = self.all_dtype(DType::F32) && last.is(*own) && stride > 0;
        self.require(fits, expected)?;
        let larger = |dim: &Dim| {
            let size = dim.times(&Dim::Known(stride));
            size.ok_or_else(|| self.inputs_error("a smaller map"))
        };
        let dims = vec![
            n.clone(),
            larger(height)?,
            larger(width)?,
            Dim::Known(*channels),
        ];
        Ok(vec![(DType::F32, Shape(dims))])
    }

    pub(super) fn pool(&self, attrs: PoolAttrs) -> Result<Vec<Typed>, ShapeError> {
        self.arity(1)?;
        let channels = match self.shape(0).dims() {
            [_, _, _, Dim::Known(channels)] if self.dtype(0) == DType::F32 => *channels,
            _ => return Err(self.inputs_error("f32[n, h, w, c]")),
        };
        let moved = ConvAttrs {
            strides: attrs.strides,
            padding: attrs.padding,
            dilations: [1; 2],
        };
        let shape = self.spatial(self.shape(0), attrs.window, moved, channels)?;
        Ok(vec![(DType::F32, shape)])
    }

    pub(super) fn global_average_pool(&self) -> Result<Vec<Typed>, ShapeError> {
        self.arity(1)?;
        match self.shape(0).dims() {
            [n, _, _, c] if self.dtype(0) == DType::F32 => {
                let dims = vec![n.clone(), 1.into(), 1.into(), c.clone()];
                Ok(vec![(DType::F32, Shape(dims))])
            }
            _ => Err(self.inputs_error("f32[n, h, w, c]")),
        }
    }

    /// Whether inputs `from..` are vectors over the last dimension of input 0.
    pub(super) fn channel_vectors(&self, from: usize) -> bool {
        let channels = self.shape(0).0.last();
        self.inputs
            .iter()
            .skip(from)
            .all(|v| v.shape.rank() == 1 && v.shape.0.first() == channels)
    }

    pub(super) fn bias_add(&self) -> Result<Vec<Typed>, ShapeError> {
        self.arity(2)?;
        self.require(
            self.all_dtype(DType::F32) && self.channel_vectors(1),
            "f32[..., c] and f32[c]",
        )?;
        Ok(vec![(DType::F32, self.shape(0).clone())])
    }

    pub(super) fn batch_norm(&self) -> Result<Vec<Typed>, ShapeError> {
        self.arity(5)?;
        self.require(
            self.all_dtype(DType::F32) && self.shape(0).rank() == 4 && self.channel_vectors(1),
            "f32[n, h, w, c] and four of f32[c]",
        )?;
        Ok(vec![(DType::F32, self.shape(0).clone())])
    }
}
