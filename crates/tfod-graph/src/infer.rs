//! For every operation: what it accepts, and the element types and shapes of its results.
//!
//! The rules read only types and shapes, never data, so they hold for any weights. A rule that is not met is a [`ShapeError`] that
//! says what was expected and found; the builder and the validator add the node's name.

use crate::dim::Dim;
use crate::graph::{Graph, Parameter, Value};
use crate::op::{Binary, ConvAttrs, MapInput, Op, Padding, PoolAttrs, Reduce, ResizeMethod};
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

    /// The output size of a window that moves over a dimension.
    fn window(
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

    fn spatial(
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
    fn kernel(&self) -> Result<[u64; 4], ShapeError> {
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

    fn conv2d(&self, attrs: ConvAttrs) -> Result<Vec<Typed>, ShapeError> {
        let [kh, kw, _, d] = self.kernel()?;
        let shape = self.spatial(self.shape(0), [kh, kw], attrs, d)?;
        Ok(vec![(DType::F32, shape)])
    }

    fn depthwise_conv2d(&self, attrs: ConvAttrs) -> Result<Vec<Typed>, ShapeError> {
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

    fn conv_transpose2d(&self, stride: u64) -> Result<Vec<Typed>, ShapeError> {
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

    fn pool(&self, attrs: PoolAttrs) -> Result<Vec<Typed>, ShapeError> {
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

    fn global_average_pool(&self) -> Result<Vec<Typed>, ShapeError> {
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
    fn channel_vectors(&self, from: usize) -> bool {
        let channels = self.shape(0).0.last();
        self.inputs
            .iter()
            .skip(from)
            .all(|v| v.shape.rank() == 1 && v.shape.0.first() == channels)
    }

    fn bias_add(&self) -> Result<Vec<Typed>, ShapeError> {
        self.arity(2)?;
        self.require(
            self.all_dtype(DType::F32) && self.channel_vectors(1),
            "f32[..., c] and f32[c]",
        )?;
        Ok(vec![(DType::F32, self.shape(0).clone())])
    }

    fn batch_norm(&self) -> Result<Vec<Typed>, ShapeError> {
        self.arity(5)?;
        self.require(
            self.all_dtype(DType::F32) && self.shape(0).rank() == 4 && self.channel_vectors(1),
            "f32[n, h, w, c] and four of f32[c]",
        )?;
        Ok(vec![(DType::F32, self.shape(0).clone())])
    }

    fn mat_mul(&self) -> Result<Vec<Typed>, ShapeError> {
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

    fn float_map(&self) -> Result<Vec<Typed>, ShapeError> {
        self.arity(1)?;
        self.require(self.dtype(0).is_float(), "floats")?;
        Ok(vec![(self.dtype(0), self.shape(0).clone())])
    }

    fn broadcast_two(&self, accepts: bool, what: &str) -> Result<Shape, ShapeError> {
        self.arity(2)?;
        let expected = format!("two of one type ({what}) whose shapes broadcast");
        self.require(accepts && self.dtype(0) == self.dtype(1), &expected)?;
        broadcast(self.shape(0), self.shape(1)).ok_or_else(|| self.inputs_error(expected))
    }

    fn binary(&self, binary: Binary) -> Result<Vec<Typed>, ShapeError> {
        self.arity(2)?;
        let dtype = self.dtype(0);
        let shape = if binary == Binary::Div {
            self.broadcast_two(dtype.is_float(), "floats")?
        } else {
            self.broadcast_two(dtype.is_number(), "numbers")?
        };
        Ok(vec![(dtype, shape)])
    }

    fn compare(&self) -> Result<Vec<Typed>, ShapeError> {
        self.arity(2)?;
        let shape = self.broadcast_two(self.dtype(0).is_number(), "numbers")?;
        Ok(vec![(DType::Bool, shape)])
    }

    fn and(&self) -> Result<Vec<Typed>, ShapeError> {
        self.arity(2)?;
        let shape = self.broadcast_two(self.dtype(0) == DType::Bool, "bool")?;
        Ok(vec![(DType::Bool, shape)])
    }

    fn select(&self) -> Result<Vec<Typed>, ShapeError> {
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

    fn pad(&self, paddings: &[(u64, u64)]) -> Result<Vec<Typed>, ShapeError> {
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

    fn pad_end(&self, dims: &[Dim]) -> Result<Vec<Typed>, ShapeError> {
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

    fn resize(&self, method: ResizeMethod, size: &[Dim; 2]) -> Result<Vec<Typed>, ShapeError> {
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

    fn crop_and_resize(&self, height: u64, width: u64) -> Result<Vec<Typed>, ShapeError> {
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

    fn reshape(&self, dims: &[Dim]) -> Result<Vec<Typed>, ShapeError> {
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

    fn transpose(&self, order: &[usize]) -> Result<Vec<Typed>, ShapeError> {
        self.arity(1)?;
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        let is_order = sorted.into_iter().eq(0..self.shape(0).rank());
        self.require(is_order, &format!("as many dimensions as in {order:?}"))?;
        let dims = order.iter().map(|&axis| self.shape(0).0[axis].clone());
        Ok(vec![(self.dtype(0), Shape(dims.collect()))])
    }

    fn concat(&self, axis: usize) -> Result<Vec<Typed>, ShapeError> {
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

    fn slice(&self, ranges: &[Option<(u64, u64)>]) -> Result<Vec<Typed>, ShapeError> {
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

    fn unstack(&self, axis: usize) -> Result<Vec<Typed>, ShapeError> {
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

    fn stack(&self, axis: usize) -> Result<Vec<Typed>, ShapeError> {
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

    fn gather(&self, batch_dims: usize) -> Result<Vec<Typed>, ShapeError> {
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

    fn reduce(&self, _kind: Reduce, axes: &[usize]) -> Result<Vec<Typed>, ShapeError> {
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

    fn arg_max(&self, axis: usize) -> Result<Vec<Typed>, ShapeError> {
        let typed = self.reduce(Reduce::Max, &[axis])?;
        Ok(typed.into_iter().map(|(_, s)| (DType::I32, s)).collect())
    }

    fn top_k(&self, k: &Dim) -> Result<Vec<Typed>, ShapeError> {
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
    fn selection(&self, size: u64, columns: &[DType]) -> Result<Vec<Typed>, ShapeError> {
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

    fn scalar_string(&self) -> Result<(), ShapeError> {
        self.arity(1)?;
        let is_one = self.dtype(0) == DType::String && self.shape(0).rank() == 0;
        self.require(is_one, "a scalar string")
    }

    fn decode_image(&self, size: &[Dim; 2]) -> Result<Vec<Typed>, ShapeError> {
        self.scalar_string()?;
        if let Some(known) = size.iter().find(|dim| dim.known().is_some()) {
            return Err(self.error("a size that the file decides", known.to_string()));
        }
        let [height, width] = size.clone();
        Ok(vec![(DType::U8, Shape(vec![height, width, 3.into()]))])
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::NodeId;
    use crate::op::{NmsAttrs, SoftNmsAttrs};
    use proptest::prelude::*;

    fn value(dtype: DType, shape: Shape) -> Value {
        Value {
            dtype,
            shape,
            node: NodeId::at(0),
            output: 0,
        }
    }

    fn shapes(op: &Op, inputs: &[Value]) -> Result<Vec<String>, ShapeError> {
        let inputs: Vec<&Value> = inputs.iter().collect();
        let typed = infer(op, &inputs, None)?;
        Ok(typed.iter().map(|(d, s)| format!("{d}{s}")).collect())
    }

    fn f32s(dims: &[u64]) -> Value {
        value(DType::F32, Shape::known(dims))
    }

    fn batched(rest: &[u64]) -> Value {
        value(
            DType::F32,
            Shape::known(rest).with_leading(Dim::symbol("batch")),
        )
    }

    #[test]
    fn convolutions_follow_their_padding() {
        let same = Op::Conv2d(ConvAttrs::new(2, Padding::Same));
        let x = batched(&[5, 6, 3]);
        assert_eq!(
            shapes(&same, &[x.clone(), f32s(&[3, 3, 3, 8])]),
            Ok(vec!["f32[batch, 3, 3, 8]".into()])
        );
        let valid = Op::Conv2d(ConvAttrs::new(2, Padding::Valid));
        assert_eq!(
            shapes(&valid, &[x.clone(), f32s(&[3, 3, 3, 8])]),
            Ok(vec!["f32[batch, 2, 2, 8]".into()])
        );
        assert!(shapes(&valid, &[x.clone(), f32s(&[7, 7, 3, 8])]).is_err());
        let error = shapes(&same, &[x.clone(), f32s(&[3, 3, 4, 8])]).unwrap_err();
        assert!(error.to_string().contains("f32[3, 3, 4, 8]"), "{error}");
        let depthwise = Op::DepthwiseConv2d(ConvAttrs::new(1, Padding::Same));
        assert_eq!(
            shapes(&depthwise, &[x, f32s(&[3, 3, 3, 2])]),
            Ok(vec!["f32[batch, 5, 6, 6]".into()])
        );
    }

    #[test]
    fn pooling_windows_move_as_kernels_do() {
        let pool = |window, padding| Op::MaxPool(PoolAttrs::new(window, 2, padding));
        let x = batched(&[5, 6, 3]);
        assert_eq!(
            shapes(&pool(3, Padding::Same), std::slice::from_ref(&x)),
            Ok(vec!["f32[batch, 3, 3, 3]".into()])
        );
        assert_eq!(
            shapes(&pool(3, Padding::Valid), std::slice::from_ref(&x)),
            Ok(vec!["f32[batch, 2, 2, 3]".into()])
        );
        assert!(shapes(&pool(6, Padding::Valid), std::slice::from_ref(&x)).is_err());
        assert!(shapes(&pool(0, Padding::Same), std::slice::from_ref(&x)).is_err());
        assert!(shapes(&pool(2, Padding::Same), &[f32s(&[5, 6, 3])]).is_err());
        let bytes = value(DType::U8, x.shape);
        assert!(shapes(&pool(2, Padding::Same), &[bytes]).is_err());
    }

    #[test]
    fn crops_are_as_many_as_boxes() {
        let crop = |height, width| Op::CropAndResize { height, width };
        let images = batched(&[5, 6, 8]);
        let boxes = |n| f32s(&[n, 4]);
        let of = |n| value(DType::I32, Shape::known(&[n]));
        assert_eq!(
            shapes(&crop(7, 3), &[images.clone(), boxes(9), of(9)]),
            Ok(vec!["f32[9, 7, 3, 8]".into()])
        );
        for inputs in [
            [images.clone(), boxes(9), of(8)],
            [images.clone(), f32s(&[9, 5]), of(9)],
            [images.clone(), boxes(9), f32s(&[9])],
            [f32s(&[5, 6, 8]), boxes(9), of(9)],
        ] {
            assert!(shapes(&crop(7, 3), &inputs).is_err(), "{inputs:?}");
        }
        assert!(shapes(&crop(0, 3), &[images, boxes(9), of(9)]).is_err());
    }

    #[test]
    fn matrix_products_need_equal_inner_sizes() {
        let of = |a: &Value, b: &[u64]| shapes(&Op::MatMul, &[a.clone(), f32s(b)]);
        assert_eq!(
            of(&batched(&[5]), &[5, 2]),
            Ok(vec!["f32[batch, 2]".into()])
        );
        assert_eq!(
            of(&batched(&[4, 5]), &[1, 5, 2]),
            Ok(vec!["f32[batch, 4, 2]".into()])
        );
        assert!(of(&batched(&[4]), &[5, 2]).is_err());
        assert!(of(&f32s(&[5]), &[5, 2]).is_err());
        assert!(of(&f32s(&[3, 4, 5]), &[2, 5, 2]).is_err());
    }

    #[test]
    fn a_transpose_names_each_dimension_once() {
        let x = batched(&[5, 6]);
        let of = |order: &[usize]| shapes(&Op::Transpose(order.to_vec()), std::slice::from_ref(&x));
        assert_eq!(of(&[2, 0, 1]), Ok(vec!["f32[6, batch, 5]".into()]));
        for order in [[0, 1, 1].as_slice(), &[0, 1], &[1, 2, 3]] {
            assert!(of(order).is_err(), "{order:?}");
        }
    }

    #[test]
    fn global_pooling_leaves_one_position() {
        let x = batched(&[5, 6, 3]);
        assert_eq!(
            shapes(&Op::GlobalAveragePool, std::slice::from_ref(&x)),
            Ok(vec!["f32[batch, 1, 1, 3]".into()])
        );
        assert!(shapes(&Op::GlobalAveragePool, &[f32s(&[5, 6, 3])]).is_err());
        assert!(shapes(&Op::GlobalAveragePool, &[value(DType::U8, x.shape)]).is_err());
    }

    #[test]
    fn broadcasting_needs_equal_or_one() {
        let add = Op::Binary(Binary::Add);
        let a = batched(&[1, 4]);
        assert_eq!(
            shapes(&add, &[a.clone(), f32s(&[3, 1])]),
            Ok(vec!["f32[batch, 3, 4]".into()])
        );
        assert!(shapes(&add, &[f32s(&[3]), f32s(&[4])]).is_err());
        let other = value(
            DType::F32,
            Shape(vec![Dim::symbol("height"), 1.into(), 4.into()]),
        );
        assert!(shapes(&add, &[a, other]).is_err());
    }

    #[test]
    fn reshape_keeps_the_elements() {
        let x = batched(&[4, 6]);
        let to = |dims: Vec<Dim>| shapes(&Op::Reshape(dims), std::slice::from_ref(&x));
        assert!(to(vec![Dim::symbol("batch"), 24.into()]).is_ok());
        assert!(to(vec![Dim::symbol("rows"), 6.into()]).is_ok());
        assert!(to(vec![Dim::symbol("batch"), 25.into()]).is_err());
        assert!(to(vec![24.into()]).is_err());
    }

    /// What two-stage detectors do: the proposals of all images are one batch, and are those of each image again.
    #[test]
    fn reshape_joins_and_splits_sizes_known_only_at_run_time() {
        let [batch, proposals] = ["batch", "proposals"].map(Dim::symbol);
        let joined = batch.times(&proposals).unwrap();
        let reshaped = |from: &[&Dim], to: &[&Dim]| {
            let dims = |dims: &[&Dim]| dims.iter().copied().cloned().collect::<Vec<Dim>>();
            let from = value(DType::F32, Shape(dims(from)));
            shapes(&Op::Reshape(dims(to)), &[from])
        };
        let (seven, fourteen) = (Dim::Known(7), Dim::Known(14));
        assert_eq!(
            reshaped(&[&batch, &proposals, &seven], &[&joined, &seven]),
            Ok(vec!["f32[batch*proposals, 7]".into()])
        );
        assert!(reshaped(&[&joined, &seven], &[&batch, &proposals, &seven]).is_ok());
        assert!(reshaped(&[&joined, &seven], &[&proposals, &batch, &seven]).is_ok());
        assert!(reshaped(&[&joined, &fourteen], &[&batch, &proposals, &seven]).is_err());
        let more = joined.grown(1).unwrap();
        assert!(reshaped(&[&batch, &proposals, &seven], &[&more, &seven]).is_err());
        let three_hundred = Dim::Known(300);
        let joined = batch.times(&three_hundred).unwrap();
        assert!(reshaped(&[&batch, &three_hundred, &seven], &[&joined, &seven]).is_ok());
        assert!(reshaped(&[&joined, &seven], &[&batch, &three_hundred, &seven]).is_ok());
        assert!(reshaped(&[&joined, &seven], &[&batch, &seven]).is_err());
    }

    #[test]
    fn sizes_known_only_at_run_time_are_formulas() {
        let map = value(
            DType::F32,
            Shape(vec![1.into(), Dim::symbol("h"), Dim::symbol("w"), 3.into()]),
        );
        let of = |op: &Op, others: &[Value]| {
            shapes(op, &[std::slice::from_ref(&map), others].concat()).map(|s| s.join(", "))
        };
        let conv = |padding| Op::Conv2d(ConvAttrs::new(2, padding));
        let kernel = f32s(&[3, 3, 3, 8]);
        assert_eq!(
            of(&conv(Padding::Same), std::slice::from_ref(&kernel)),
            Ok("f32[1, ceil(h/2), ceil(w/2), 8]".into())
        );
        assert_eq!(
            of(&conv(Padding::Valid), &[kernel]),
            Ok("f32[1, ceil((h-2)/2), ceil((w-2)/2), 8]".into())
        );
        let pad = Op::Pad(vec![(0, 0), (1, 1), (0, 0), (0, 0)]);
        assert_eq!(of(&pad, &[]), Ok("f32[1, h+2, w, 3]".into()));
        let concat = Op::Concat { axis: 1 };
        assert_eq!(
            of(&concat, std::slice::from_ref(&map)),
            Ok("f32[1, h+h, w, 3]".into())
        );
        assert_eq!(of(&Op::ShapeOf, &[]), Ok("i32[4]".into()));
    }

    #[test]
    fn computed_sizes_are_inputs() {
        let sizes = |n| value(DType::I32, Shape::known(&[n]));
        let resize = |size| Op::Resize {
            method: ResizeMethod::Nearest,
            size,
            grid: crate::op::PixelGrid::Corners,
        };
        let free = resize([Dim::symbol("rows"), 4.into()]);
        let x = f32s(&[1, 2, 3, 3]);
        assert_eq!(
            shapes(&free, &[x.clone(), sizes(2)]),
            Ok(vec!["f32[1, rows, 4, 3]".into()])
        );
        assert!(shapes(&free, std::slice::from_ref(&x)).is_err());
        assert!(shapes(&free, &[x.clone(), sizes(3)]).is_err());
        assert!(shapes(&resize([5.into(), 4.into()]), &[x.clone(), sizes(2)]).is_err());
        let pad = |dims: [u64; 4]| Op::PadEnd(dims.map(Dim::Known).to_vec());
        assert_eq!(
            shapes(&pad([1, 8, 8, 3]), &[x.clone(), sizes(4)]),
            Ok(vec!["f32[1, 8, 8, 3]".into()])
        );
        assert!(shapes(&pad([1, 1, 8, 3]), &[x.clone(), sizes(4)]).is_err());
        assert!(shapes(&pad([1, 8, 8, 3]), &[x, sizes(3)]).is_err());
        let range = Op::Range(Dim::symbol("n"));
        let scalar = value(DType::I32, Shape::scalar());
        assert_eq!(shapes(&range, &[scalar]), Ok(vec!["i32[n]".into()]));
        assert!(shapes(&range, &[sizes(1)]).is_err());
    }

    #[test]
    fn selection_results_have_the_declared_length() {
        let attrs = NmsAttrs {
            max_output_size: 7,
            iou_threshold: 0.5,
            score_threshold: 0.0,
        };
        let soft = SoftNmsAttrs {
            max_output_size: 7,
            score_threshold: 0.0,
            sigma: 0.5,
        };
        let (nms, soft) = (
            Op::NonMaxSuppression(attrs),
            Op::SoftNonMaxSuppression(soft),
        );
        let boxes = [f32s(&[9, 4]), f32s(&[9])];
        assert_eq!(
            shapes(&nms, &boxes),
            Ok(vec!["i32[7]".into(), "i32[]".into()])
        );
        assert_eq!(
            shapes(&soft, &boxes),
            Ok(vec!["i32[7]".into(), "f32[7]".into(), "i32[]".into()])
        );
        for op in [&nms, &soft] {
            assert!(shapes(op, &[f32s(&[9, 4]), f32s(&[8])]).is_err());
        }
        assert!(shapes(&Op::TopK { k: 10.into() }, &[f32s(&[9])]).is_err());
    }

    #[test]
    fn strings_are_decoded_one_at_a_time_and_are_no_numbers() {
        let decode = |height| Op::DecodeImage {
            size: [height, Dim::symbol("w")],
        };
        let file = value(DType::String, Shape::scalar());
        let example = Op::ExampleFeature { key: "a/b".into() };
        let free = decode(Dim::symbol("h"));
        assert_eq!(
            shapes(&free, std::slice::from_ref(&file)),
            Ok(vec!["u8[h, w, 3]".into()])
        );
        assert_eq!(
            shapes(&example, std::slice::from_ref(&file)),
            Ok(vec!["string[]".into()])
        );
        let several = value(DType::String, Shape(vec![Dim::symbol("batch")]));
        let byte = value(DType::U8, Shape::scalar());
        for op in [&free, &example] {
            assert!(shapes(op, std::slice::from_ref(&several)).is_err());
            assert!(shapes(op, std::slice::from_ref(&byte)).is_err());
        }
        assert!(shapes(&decode(5.into()), std::slice::from_ref(&file)).is_err());
        let add = Op::Binary(Binary::Add);
        assert!(shapes(&add, &[file.clone(), file.clone()]).is_err());
        assert!(shapes(&Op::Cast(DType::F32), std::slice::from_ref(&file)).is_err());
        assert!(shapes(&Op::Cast(DType::String), &[byte]).is_err());
    }

    proptest! {
        /// A window with SAME padding has one position for each stride begun; checked against counting them.
        #[test]
        fn same_windows_are_counted(size in 1u64..200, kernel in 1u64..8, stride in 1u64..6) {
            let op = Op::Conv2d(ConvAttrs::new(stride, Padding::Same));
            let found = shapes(&op, &[f32s(&[1, size, size, 1]), f32s(&[kernel, kernel, 1, 1])]);
            let count = (0..size).step_by(usize::try_from(stride).unwrap()).count();
            prop_assert_eq!(found, Ok(vec![format!("f32[1, {count}, {count}, 1]")]));
        }

        #[test]
        fn valid_windows_are_counted(size in 1u64..100, kernel in 1u64..8, stride in 1u64..6, dilation in 1u64..4) {
            let attrs = ConvAttrs { dilations: [dilation; 2], ..ConvAttrs::new(stride, Padding::Valid) };
            let found = shapes(&Op::Conv2d(attrs), &[f32s(&[1, size, size, 1]), f32s(&[kernel, kernel, 1, 1])]);
            let reach = (kernel - 1) * dilation;
            let count = (0..size).step_by(usize::try_from(stride).unwrap()).filter(|at| at + reach < size).count();
            prop_assert_eq!(found.is_ok(), count > 0);
            if let Ok(found) = found {
                prop_assert_eq!(found, vec![format!("f32[1, {count}, {count}, 1]")]);
            }
        }
    }
}
