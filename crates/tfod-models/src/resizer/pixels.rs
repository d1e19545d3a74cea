//! What becomes of the pixels: resized, padded and made grey.

use tfod_graph::{
    Binary, Builder, Compare, ConvAttrs, DType, Dim, Padding, PixelGrid, Tensor, ValueId,
};

use super::size::known;
use super::{COLOURS, LUMA, Resizer, ResizerKind};
use crate::error::ModelError;
use crate::fields::invalid_option;
use crate::options::GraphOption;
use crate::scalar::{Float, Int, spatial, vector};

/// Images after [`Resizer::resize`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resized {
    /// `[batch, height, width, 3]`
    pub images: ValueId,
    /// Height and width, without what padding will be added.
    pub(super) size: [Int; 2],
}

/// What an extent is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Parts of what is padded.
    Part,
    /// Pixels.
    Pixel,
}

/// Images as the network sees them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finished {
    /// `[batch, height, width, channels]`
    pub images: ValueId,
    /// How much of height and width is image; the rest is padding. `None` where all is image.
    pub extent: Option<[Float; 2]>,
}

impl Resizer {
    /// Resizes `f32[batch, height, width, 3]`, whose values may be in any scale.
    pub(crate) fn resize(self, b: &mut Builder, images: ValueId) -> Result<Resized, ModelError> {
        let from = spatial(b, "given", images)?;
        // Everywhere but here the reference samples pixels at their upper left corners.
        let (method, grid) = match self.kind {
            ResizerKind::FixedShape { method, .. }
            | ResizerKind::KeepAspectRatio { method, .. } => (method, PixelGrid::Corners),
            ResizerKind::ConditionalShape { method, .. } => (method, PixelGrid::AlignedCorners),
            ResizerKind::Identity | ResizerKind::PadToMultiple { .. } => {
                return Ok(Resized { images, size: from });
            }
        };
        let size = b.scope("size", |b| self.target(b, from))?;
        if from == size && matches!(size, [Int::Known(_), Int::Known(_)]) {
            return Ok(Resized { images, size });
        }
        let dims = [size[0].dim("resized_height"), size[1].dim("resized_width")];
        if dims.iter().any(|dim| dim.is(0)) {
            return Err(invalid_option(
                GraphOption::InputSize,
                format!("{}x{}", from[0].dim("height"), from[1].dim("width")),
                format!(
                    "a size of which `{}` leaves at least one pixel in both directions",
                    self.path
                ),
            ));
        }
        let computed = if dims.iter().all(|dim| dim.known().is_some()) {
            None
        } else {
            Some(vector(b, "size", &size)?)
        };
        let images = b.resize_on("resize", images, method, grid, dims, computed)?;
        Ok(Resized { images, size })
    }

    /// Pads images, and makes them grayscale.
    pub(crate) fn finish(
        self,
        b: &mut Builder,
        Resized { images, size }: Resized,
        unit: Unit,
    ) -> Result<Finished, ModelError> {
        let padded = match self.kind {
            ResizerKind::KeepAspectRatio {
                max,
                padding: Some(_),
                ..
            } => Some(Target::square(max)),
            ResizerKind::PadToMultiple { multiple } => {
                Some(Target::next_multiples(b, images, size, multiple)?)
            }
            _ => None,
        };
        let mut images = match &padded {
            Some(to) => pad(b, images, size, to)?,
            None => images,
        };
        if let ResizerKind::KeepAspectRatio {
            max,
            padding: Some(values),
            ..
        } = self.kind
            && values.iter().any(|value| *value != 0.0)
        {
            images = fill(b, images, size, max, values)?;
        }
        if self.grayscale {
            images = luma(b, images)?;
        }
        let extent = match padded {
            Some(to) => extent(b, size, to.size, unit)?,
            None => None,
        };
        Ok(Finished { images, extent })
    }
}

/// A size and what it is called.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Target {
    pub(super) size: [Int; 2],
    pub(super) dims: [Dim; 2],
}

impl Target {
    pub(super) fn square(side: u64) -> Self {
        Self {
            size: [known(side); 2],
            dims: [Dim::Known(side), Dim::Known(side)],
        }
    }

    /// Both sides of an image rounded up to a multiple.
    pub(super) fn next_multiples(
        b: &mut Builder,
        images: ValueId,
        size: [Int; 2],
        multiple: u64,
    ) -> Result<Self, ModelError> {
        let step = known(multiple);
        let mut round = |name: &str, side: Int| {
            let more = known(multiple.saturating_sub(1));
            let high = side.binary(b, &format!("{name}_and_more"), Binary::Add, more)?;
            let steps = high.binary(b, &format!("{name}_steps"), Binary::FloorDiv, step)?;
            steps.binary(b, &format!("padded_{name}"), Binary::Mul, step)
        };
        let padded = [round("height", size[0])?, round("width", size[1])?];
        let name = |axis: usize| {
            let from = b.shape(images).dims().get(axis).map(Dim::to_string);
            format!("ceil({}/{multiple})*{multiple}", from.unwrap_or_default())
        };
        let dims = [padded[0].dim(&name(1)), padded[1].dim(&name(2))];
        Ok(Self { size: padded, dims })
    }
}

/// Zeros below and on the right of `[batch, height, width, channels]`, to the next multiples.
pub(crate) fn pad_to_multiple(
    b: &mut Builder,
    images: ValueId,
    multiple: u64,
) -> Result<ValueId, ModelError> {
    let size = spatial(b, "given", images)?;
    let to = Target::next_multiples(b, images, size, multiple)?;
    pad(b, images, size, &to)
}

/// Zeros below and on the right of `[batch, height, width, channels]`.
pub(super) fn pad(
    b: &mut Builder,
    images: ValueId,
    from: [Int; 2],
    to: &Target,
) -> Result<ValueId, ModelError> {
    let below = to.size[0].binary(b, "rows_below", Binary::Sub, from[0])?;
    let right = to.size[1].binary(b, "columns_right", Binary::Sub, from[1])?;
    if let (Int::Known(below), Int::Known(right)) = (below, right) {
        let count = |n: i32| {
            u64::try_from(n).map_err(|_| {
                ModelError::Inconsistent("an image larger than what it is padded to".into())
            })
        };
        let paddings = [(0, 0), (0, count(below)?), (0, count(right)?), (0, 0)];
        if paddings == [(0, 0); 4] {
            return Ok(images);
        }
        return Ok(b.pad("pad", images, &paddings)?);
    }
    let by = vector(b, "padding", &[Int::Known(0), below, right, Int::Known(0)])?;
    let mut dims = b.shape(images).dims().to_vec();
    if let [_, height, width, _] = dims.as_mut_slice() {
        [*height, *width] = to.dims.clone();
    }
    Ok(b.pad_end("pad", images, by, dims)?)
}

/// Gives the padding around an image of this size within `side` by `side` pixels other values than zero.
pub(super) fn fill(
    b: &mut Builder,
    padded: ValueId,
    size: [Int; 2],
    side: u64,
    values: [f32; 3],
) -> Result<ValueId, ModelError> {
    let positions: Vec<i32> = (0..)
        .take(usize::try_from(side).unwrap_or_default())
        .collect();
    let mut within = |name: &str, shape: [u64; 3], size: Int| {
        let unnumbered = || ModelError::Inconsistent("positions without a number".into());
        if let Int::Known(size) = size {
            let inside: Vec<u8> = positions.iter().map(|&at| u8::from(at < size)).collect();
            let inside = Tensor::from_bytes(DType::Bool, &shape, inside).ok_or_else(unnumbered)?;
            return Ok::<_, ModelError>(b.constant(&format!("{name}/in_image"), inside)?);
        }
        let positions = Tensor::i32(&shape, &positions).ok_or_else(unnumbered)?;
        let positions = b.constant(name, positions)?;
        let size = size.value(b, &format!("{name}/size"))?;
        Ok(b.compare(&format!("{name}/in_image"), Compare::Less, positions, size)?)
    };
    let rows = within("rows", [side, 1, 1], size[0])?;
    let columns = within("columns", [1, side, 1], size[1])?;
    let values = Tensor::f32(&[COLOURS], &values)
        .ok_or_else(|| ModelError::Inconsistent("a pad value for each channel".into()))?;
    if let [Int::Known(_), Int::Known(_)] = size {
        // Both together would be as large as the image, or computed from constants.
        let values = b.constant("pad_values", values)?;
        let right = b.select("filled_right", columns, padded, values)?;
        return Ok(b.select("filled", rows, right, values)?);
    }
    let in_image = b.and("in_image", rows, columns)?;
    let values = b.constant("pad_values", values)?;
    Ok(b.select("filled", in_image, padded, values)?)
}

/// `[batch, height, width, 3]` to `[batch, height, width, 1]`.
pub(super) fn luma(b: &mut Builder, images: ValueId) -> Result<ValueId, ModelError> {
    let kernel = Tensor::f32(&[1, 1, COLOURS, 1], &LUMA)
        .ok_or_else(|| ModelError::Inconsistent("a weight for each channel".into()))?;
    let kernel = b.constant("luma", kernel)?;
    let attrs = ConvAttrs::new(1, Padding::Same);
    Ok(b.conv2d("grayscale", images, kernel, attrs)?)
}

/// Which part of the padded size is image.
pub(super) fn extent(
    b: &mut Builder,
    size: [Int; 2],
    padded: [Int; 2],
    unit: Unit,
) -> Result<Option<[Float; 2]>, ModelError> {
    if unit == Unit::Pixel {
        let [height, width] = size;
        let pixels = [
            height.to_float(b, "height_float")?,
            width.to_float(b, "width_float")?,
        ];
        return Ok((size != padded).then_some(pixels));
    }
    let mut part = |name: &str, size: Int, padded: Int| {
        let size = size.to_float(b, &format!("{name}_float"))?;
        let padded = padded.to_float(b, &format!("padded_{name}_float"))?;
        size.binary(b, &format!("{name}_extent"), Binary::Div, padded)
    };
    let parts = [
        part("height", size[0], padded[0])?,
        part("width", size[1], padded[1])?,
    ];
    Ok((parts != [Float::Known(1.0); 2]).then_some(parts))
}
