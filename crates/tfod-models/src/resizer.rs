//! How an image becomes as large as the network wants it. After the reference's `image_resizer_builder` and the resizing functions of its
//! `preprocessor`, with sizes computed in the same 32-bit arithmetic.
//!
//! For an SSD the reference resizes and pads *normalised* pixels, so pad values are in the network's scale; for two-stage detectors it normalises what is padded.
//! Resizing commutes with normalisation, padding does not: [`Resizer::resize`] comes before it, [`Resizer::finish`] after it or before it.

use tfod_config::protos;
use tfod_config::protos::ResizeType;
use tfod_config::protos::conditional_shape_resizer::ResizeCondition;
use tfod_config::protos::image_resizer::ImageResizerOneof;
use tfod_graph::{
    Binary, Builder, Compare, ConvAttrs, DType, Dim, Padding, PixelGrid, ResizeMethod, Tensor,
    ValueId,
};

use crate::error::ModelError;
use crate::facts::{ImagePadding, Normalization, Resizing};
use crate::fields::{FieldPath, Message, invalid, invalid_option, missing, size, unsupported};
use crate::options::GraphOption;
use crate::scalar::{Float, Int, spatial, vector};

/// Red, green, blue.
const COLOURS: u64 = 3;
/// The weights of red, green and blue in luma (ITU-R BT.601).
pub const LUMA: [f32; 3] = [0.2989, 0.587, 0.114];

/// A configured resizer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resizer {
    /// What decides the size.
    pub kind: Kind,
    /// Whether the network sees one channel, the luma.
    pub grayscale: bool,
    /// Where it stands in the configuration.
    pub path: FieldPath,
}

/// What decides the size of an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `fixed_shape_resizer`: one size for all, without keeping the aspect ratio.
    FixedShape {
        /// Height and width.
        size: [u64; 2],
        /// Interpolation.
        method: ResizeMethod,
    },
    /// `keep_aspect_ratio_resizer`: as large as fits into `min` by `max` pixels, whichever way the image lies.
    KeepAspectRatio {
        /// The longest that the shorter side may become.
        min: u64,
        /// The longest that the longer side may become.
        max: u64,
        /// Interpolation.
        method: ResizeMethod,
        /// What is put below and on the right of the image to make it `max` by `max`, a normalised value for each channel; `None` leaves it as it is.
        padding: Option<[f32; 3]>,
    },
    /// `identity_resizer`: no change.
    Identity,
    /// `conditional_shape_resizer`: images whose longer side is longer than `threshold` ([`Condition::Greater`]), or whose shorter side is shorter
    /// ([`Condition::Smaller`]), get just that side. The aspect ratio is kept; the corner pixels stay in the corners.
    ConditionalShape {
        /// Which images are resized.
        condition: Condition,
        /// Pixels.
        threshold: u64,
        /// Interpolation.
        method: ResizeMethod,
    },
    /// `pad_to_multiple_resizer`: zeros below and on the right, to the next multiple.
    PadToMultiple {
        /// Pixels.
        multiple: u64,
    },
}

/// Which images [`Kind::ConditionalShape`] resizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Those larger than the threshold.
    Greater,
    /// Those smaller than the threshold.
    Smaller,
}

/// Images after [`Resizer::resize`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resized {
    /// `[batch, height, width, 3]`
    pub images: ValueId,
    /// Height and width, without what padding will be added.
    size: [Int; 2],
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

fn method(config: ResizeType) -> ResizeMethod {
    match config {
        ResizeType::Bilinear => ResizeMethod::Bilinear,
        ResizeType::NearestNeighbor => ResizeMethod::Nearest,
        ResizeType::Bicubic => ResizeMethod::Bicubic,
        ResizeType::Area => ResizeMethod::Area,
    }
}

fn config_name(method: ResizeMethod) -> ResizeType {
    match method {
        ResizeMethod::Bilinear => ResizeType::Bilinear,
        ResizeMethod::Nearest => ResizeType::NearestNeighbor,
        ResizeMethod::Bicubic => ResizeType::Bicubic,
        ResizeMethod::Area => ResizeType::Area,
    }
}

fn words(method: ResizeMethod) -> &'static str {
    match method {
        ResizeMethod::Bilinear => "bilinear interpolation",
        ResizeMethod::Nearest => "the nearest pixel",
        ResizeMethod::Bicubic => "bicubic interpolation",
        ResizeMethod::Area => "the mean over each pixel's area",
    }
}

impl Resizer {
    /// Reads the message.
    ///
    /// # Errors
    /// For sizes that no image can have, and for fields that contradict each other.
    pub fn from_config(config: Message<'_, protos::ImageResizer>) -> Result<Self, ModelError> {
        let (kind, grayscale) = match &config.image_resizer_oneof {
            Some(ImageResizerOneof::FixedShapeResizer(fixed)) => {
                let fixed = config.at("fixed_shape_resizer", fixed);
                let kind = Kind::FixedShape {
                    size: [
                        size(fixed.field("height"), fixed.height(), 1)?,
                        size(fixed.field("width"), fixed.width(), 1)?,
                    ],
                    method: method(fixed.resize_method()),
                };
                (kind, fixed.convert_to_grayscale())
            }
            Some(ImageResizerOneof::KeepAspectRatioResizer(keep)) => {
                let keep = config.at("keep_aspect_ratio_resizer", keep);
                (keep_aspect_ratio(keep)?, keep.convert_to_grayscale())
            }
            Some(ImageResizerOneof::IdentityResizer(_)) => (Kind::Identity, false),
            Some(ImageResizerOneof::ConditionalShapeResizer(conditional)) => {
                let conditional = config.at("conditional_shape_resizer", conditional);
                let grayscale = conditional.convert_to_grayscale();
                (conditional_shape(conditional)?, grayscale)
            }
            Some(ImageResizerOneof::PadToMultipleResizer(pad)) => {
                let pad = config.at("pad_to_multiple_resizer", pad);
                let multiple = size(pad.field("multiple"), pad.multiple(), 1)?;
                (Kind::PadToMultiple { multiple }, pad.convert_to_grayscale())
            }
            None => return Err(missing(config.path())),
        };
        Ok(Self {
            kind,
            grayscale,
            path: config.path(),
        })
    }

    /// Height and width of what the network sees, where these are the same for all images.
    pub fn network_size(self) -> Option<[u64; 2]> {
        match self.kind {
            Kind::FixedShape { size, .. } => Some(size),
            Kind::KeepAspectRatio {
                max,
                padding: Some(_),
                ..
            } => Some([max; 2]),
            _ => None,
        }
    }

    /// The channels of what the network sees.
    pub fn channels(self) -> u64 {
        if self.grayscale { 1 } else { COLOURS }
    }

    /// What users who resize themselves need to know.
    pub fn facts(self) -> Resizing {
        let corners = "pixel (i, j) of the result is sampled at (i * height_in / height, j * width_in / width), without half-pixel centres";
        let (resizer, method, description) = match self.kind {
            Kind::FixedShape {
                size: [height, width],
                method,
            } => (
                "fixed_shape_resizer",
                Some(method),
                format!(
                    "to height {height} and width {width}, whatever the aspect ratio, by {}; {corners}",
                    words(method)
                ),
            ),
            Kind::KeepAspectRatio {
                min, max, method, ..
            } => (
                "keep_aspect_ratio_resizer",
                Some(method),
                format!(
                    "by {}, to round(scale * height_in) and round(scale * width_in), where scale is the smaller of {min} / the shorter side and \
                     {max} / the longer side; halves are rounded to even numbers; {corners}",
                    words(method)
                ),
            ),
            Kind::Identity => (
                "identity_resizer",
                None,
                "images keep their size".to_owned(),
            ),
            Kind::ConditionalShape {
                condition,
                threshold,
                method,
            } => {
                let when = match condition {
                    Condition::Greater => "longer side is longer",
                    Condition::Smaller => "shorter side is shorter",
                };
                (
                    "conditional_shape_resizer",
                    Some(method),
                    format!(
                        "images whose {when} than {threshold}, so that it has that length, by {}; the aspect ratio is kept, fractions of pixels are \
                         cut off; pixel (i, j) of the result is sampled at (i * (height_in - 1) / (height - 1), j * (width_in - 1) / (width - 1))",
                        words(method)
                    ),
                )
            }
            Kind::PadToMultiple { .. } => (
                "pad_to_multiple_resizer",
                None,
                "images keep their size, but are padded".to_owned(),
            ),
        };
        Resizing {
            resizer,
            size: self.network_size(),
            method: method.map(|method| config_name(method).as_str_name()),
            description,
            padding: self.padding_facts(),
            grayscale: self.grayscale,
        }
    }

    /// As [`Self::facts`], where pad values are pixels, which are normalised as the image is.
    pub fn facts_of_pixels(self, normalization: Normalization) -> Resizing {
        let mut facts = self.facts();
        if let Some(padding) = &mut facts.padding {
            padding.values = normalization.seen(padding.values);
        }
        facts
    }

    /// Refuses to make images grey, for those who want three channels.
    ///
    /// # Errors
    /// Where the configuration asks for that.
    pub(crate) fn refuse_grayscale(self) -> Result<(), ModelError> {
        if !self.grayscale {
            return Ok(());
        }
        let field = self.path.child(self.facts().resizer);
        Err(unsupported(
            field.child("convert_to_grayscale"),
            "true",
            "false: this network sees three channels",
        ))
    }

    fn padding_facts(self) -> Option<ImagePadding> {
        match self.kind {
            Kind::KeepAspectRatio {
                max,
                padding: Some(values),
                ..
            } => Some(ImagePadding {
                values,
                description: format!("to {max}x{max}, below and on the right"),
            }),
            Kind::PadToMultiple { multiple } => Some(ImagePadding {
                values: [0.0; 3],
                description: format!("to the next multiples of {multiple}, below and on the right"),
            }),
            _ => None,
        }
    }

    /// Resizes `f32[batch, height, width, 3]`, whose values may be in any scale.
    pub(crate) fn resize(self, b: &mut Builder, images: ValueId) -> Result<Resized, ModelError> {
        let from = spatial(b, "given", images)?;
        // Everywhere but here the reference samples pixels at their upper left corners.
        let (method, grid) = match self.kind {
            Kind::FixedShape { method, .. } | Kind::KeepAspectRatio { method, .. } => {
                (method, PixelGrid::Corners)
            }
            Kind::ConditionalShape { method, .. } => (method, PixelGrid::AlignedCorners),
            Kind::Identity | Kind::PadToMultiple { .. } => {
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

    /// The size that an image of the size `from` is resized to.
    fn target(self, b: &mut Builder, from: [Int; 2]) -> Result<[Int; 2], ModelError> {
        match self.kind {
            Kind::FixedShape { size, .. } => Ok(size.map(known)),
            Kind::KeepAspectRatio { min, max, .. } => {
                let [height, width] = from;
                let is_wide = height.less(b, "is_wide", width)?;
                let limits = [
                    is_wide.select(b, "height_limit", known(min), known(max))?,
                    is_wide.select(b, "width_limit", known(max), known(min))?,
                ];
                fit(b, from, limits)
            }
            Kind::ConditionalShape {
                condition,
                threshold,
                ..
            } => scale_side(b, from, condition, threshold),
            Kind::Identity | Kind::PadToMultiple { .. } => Ok(from),
        }
    }

    /// Pads images, and makes them grayscale.
    pub(crate) fn finish(
        self,
        b: &mut Builder,
        Resized { images, size }: Resized,
        unit: Unit,
    ) -> Result<Finished, ModelError> {
        let padded = match self.kind {
            Kind::KeepAspectRatio {
                max,
                padding: Some(_),
                ..
            } => Some(Target::square(max)),
            Kind::PadToMultiple { multiple } => {
                Some(Target::next_multiples(b, images, size, multiple)?)
            }
            _ => None,
        };
        let mut images = match &padded {
            Some(to) => pad(b, images, size, to)?,
            None => images,
        };
        if let Kind::KeepAspectRatio {
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

fn keep_aspect_ratio(
    keep: Message<'_, protos::KeepAspectRatioResizer>,
) -> Result<Kind, ModelError> {
    let field = keep.field("min_dimension");
    let min = size(field, keep.min_dimension(), 1)?;
    let max = size(keep.field("max_dimension"), keep.max_dimension(), 1)?;
    if min > max {
        return Err(invalid(
            field,
            min,
            format!("at most max_dimension ({max})"),
        ));
    }
    let values = match keep.per_channel_pad_value.as_slice() {
        [] => [0.0; 3],
        values => <[f32; 3]>::try_from(values)
            .ok()
            .filter(|values| values.iter().all(|value| value.is_finite()))
            .ok_or_else(|| {
                let field = keep.field("per_channel_pad_value");
                invalid(field, format!("{values:?}"), "three numbers, or none")
            })?,
    };
    Ok(Kind::KeepAspectRatio {
        min,
        max,
        method: method(keep.resize_method()),
        padding: keep.pad_to_max_dimension().then_some(values),
    })
}

fn conditional_shape(
    config: Message<'_, protos::ConditionalShapeResizer>,
) -> Result<Kind, ModelError> {
    let condition = match config.condition() {
        ResizeCondition::Greater => Condition::Greater,
        ResizeCondition::Smaller => Condition::Smaller,
        ResizeCondition::Invalid => {
            return Err(invalid(
                config.field("condition"),
                "INVALID",
                "GREATER or SMALLER",
            ));
        }
    };
    Ok(Kind::ConditionalShape {
        condition,
        threshold: size(config.field("size_threshold"), config.size_threshold(), 1)?,
        method: method(config.resize_method()),
    })
}

/// Sizes of the configuration are checked to be far below the limit.
fn known(size: u64) -> Int {
    Int::Known(i32::try_from(size).unwrap_or(i32::MAX))
}

/// The largest size of the same aspect ratio within limits: `round(scale * side)`, where the scale is the smaller quotient of limit and side.
fn fit(b: &mut Builder, from: [Int; 2], limits: [Int; 2]) -> Result<[Int; 2], ModelError> {
    let mut sides = [Float::Known(0.0); 2];
    let mut scales = [Float::Known(0.0); 2];
    for (axis, name) in ["height", "width"].into_iter().enumerate() {
        sides[axis] = from[axis].to_float(b, &format!("{name}_float"))?;
        let limit = limits[axis].to_float(b, &format!("{name}_limit_float"))?;
        scales[axis] = limit.binary(b, &format!("{name}_scale"), Binary::Div, sides[axis])?;
    }
    let scale = scales[0].binary(b, "scale", Binary::Minimum, scales[1])?;
    let height = scale.binary(b, "scaled_height", Binary::Mul, sides[0])?;
    let width = scale.binary(b, "scaled_width", Binary::Mul, sides[1])?;
    Ok([
        height.rounded(b, "new_height")?,
        width.rounded(b, "new_width")?,
    ])
}

/// The size of the same aspect ratio whose longer side is at most, or whose shorter side is at least, the threshold: `int(side * scale)`.
fn scale_side(
    b: &mut Builder,
    [height, width]: [Int; 2],
    condition: Condition,
    threshold: u64,
) -> Result<[Int; 2], ModelError> {
    let (deciding, limiting) = match condition {
        Condition::Greater => (Binary::Maximum, Binary::Minimum),
        Condition::Smaller => (Binary::Minimum, Binary::Maximum),
    };
    let side = height.binary(b, "deciding_side", deciding, width)?;
    let target = side.binary(b, "target_side", limiting, known(threshold))?;
    let side = side.to_float(b, "deciding_side_float")?;
    let target = target.to_float(b, "target_side_float")?;
    let scale = target.binary(b, "scale", Binary::Div, side)?;
    let mut scaled = |name: &str, side: Int| {
        let side = side.to_float(b, &format!("{name}_float"))?;
        let side = side.binary(b, &format!("scaled_{name}"), Binary::Mul, scale)?;
        side.truncated(b, &format!("new_{name}"))
    };
    Ok([scaled("height", height)?, scaled("width", width)?])
}

/// A size and what it is called.
#[derive(Clone, Debug, PartialEq)]
struct Target {
    size: [Int; 2],
    dims: [Dim; 2],
}

impl Target {
    fn square(side: u64) -> Self {
        Self {
            size: [known(side); 2],
            dims: [Dim::Known(side), Dim::Known(side)],
        }
    }

    /// Both sides of an image rounded up to a multiple.
    fn next_multiples(
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
fn pad(
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
fn fill(
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
fn luma(b: &mut Builder, images: ValueId) -> Result<ValueId, ModelError> {
    let kernel = Tensor::f32(&[1, 1, COLOURS, 1], &LUMA)
        .ok_or_else(|| ModelError::Inconsistent("a weight for each channel".into()))?;
    let kernel = b.constant("luma", kernel)?;
    let attrs = ConvAttrs::new(1, Padding::Same);
    Ok(b.conv2d("grayscale", images, kernel, attrs)?)
}

/// Which part of the padded size is image.
fn extent(
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tfod_graph::{DType, Shape};

    fn keep(min: u64, max: u64, padding: Option<[f32; 3]>) -> Resizer {
        Resizer {
            kind: Kind::KeepAspectRatio {
                min,
                max,
                method: ResizeMethod::Bilinear,
                padding,
            },
            grayscale: false,
            path: FieldPath::MODEL,
        }
    }

    fn conditional(condition: Condition, threshold: u64) -> Resizer {
        Resizer {
            kind: Kind::ConditionalShape {
                condition,
                threshold,
                method: ResizeMethod::Nearest,
            },
            grayscale: false,
            path: FieldPath::MODEL,
        }
    }

    /// Sizes after resizing and after padding.
    fn sizes(resizer: Resizer, from: [u64; 2]) -> Option<[[u64; 2]; 2]> {
        let mut b = Builder::new("g");
        let shape = Shape::known(&[1, from[0], from[1], 3]);
        let images = b.input("images", DType::F32, shape);
        let resized = resizer.resize(&mut b, images).ok()?;
        let finished = resizer.finish(&mut b, resized, Unit::Part).ok()?;
        let size = |value| match b.shape(value).sizes()?.as_slice() {
            [_, height, width, _] => Some([*height, *width]),
            _ => None,
        };
        Some([size(resized.images)?, size(finished.images)?])
    }

    /// `a * b / c` and what is left.
    fn quotient(a: u64, b: u64, c: u64) -> (u64, u64) {
        (a * b / c, a * b % c)
    }

    proptest! {
        /// In whole numbers: the side that decides becomes its limit, the other the nearest number to limit * other / side; where that is nearly a half, 32 bits
        /// may decide either way.
        #[test]
        fn the_aspect_ratio_is_kept(from in [1u64..2000, 1u64..2000], min in 1u64..1200, more in 0u64..800) {
            let max = min + more;
            let [short, long] = if from[0] < from[1] { from } else { [from[1], from[0]] };
            // The smaller scale of min / short and max / long.
            let (limit, side) = if min * long <= max * short { (min, short) } else { (max, long) };
            let Some([found, _]) = sizes(keep(min, max, None), from) else {
                // A side that vanishes.
                prop_assert!(2 * short * limit <= side + 1);
                return Ok(());
            };
            for axis in 0..2 {
                let (whole, rest) = quotient(from[axis], limit, side);
                let nearly_half = (2 * rest).abs_diff(side) * 4096 <= side;
                let exact = whole + u64::from(2 * rest > side);
                prop_assert!(
                    found[axis] == exact || nearly_half && found[axis].abs_diff(exact) <= 1,
                    "{from:?} within {min}, {max}: {found:?}, expected {exact}"
                );
                prop_assert!(found[axis] <= max);
            }
        }

        #[test]
        fn padding_makes_a_square(from in [1u64..2000, 1u64..2000], max in 64u64..800) {
            if let Some([found, padded]) = sizes(keep(64, max, Some([0.0; 3])), from) {
                prop_assert_eq!(padded, [max; 2]);
                prop_assert!(found[0] <= max && found[1] <= max);
            }
        }

        /// The deciding side becomes the threshold or stays; the other is cut off to a whole number, or to one less where 32 bits fall short of it.
        #[test]
        fn the_deciding_side_becomes_the_threshold(
            from in [8u64..2000, 8u64..2000], threshold in 300u64..1200, greater in any::<bool>(),
        ) {
            let [short, long] = if from[0] < from[1] { from } else { [from[1], from[0]] };
            let (condition, side, target) = if greater {
                (Condition::Greater, long, long.min(threshold))
            } else {
                (Condition::Smaller, short, short.max(threshold))
            };
            let [found, padded] = sizes(conditional(condition, threshold), from).unwrap();
            prop_assert_eq!(found, padded);
            for axis in 0..2 {
                let (whole, rest) = quotient(from[axis], target, side);
                let fits = found[axis] == whole
                    || rest == 0 && found[axis] + 1 == whole
                    || (side - rest) * 1024 < side && found[axis] == whole + 1;
                prop_assert!(fits, "{from:?} by {threshold}: {found:?}, expected {whole}");
                prop_assert!(target != side || found == from);
            }
        }

        #[test]
        fn multiples_are_the_next(from in [1u64..2000, 1u64..2000], multiple in 1u64..300) {
            let kind = Kind::PadToMultiple { multiple };
            let [found, padded] = sizes(Resizer { kind, grayscale: true, path: FieldPath::MODEL }, from).unwrap();
            prop_assert_eq!(found, from);
            prop_assert_eq!(padded, from.map(|side| side.next_multiple_of(multiple)));
        }
    }

    /// Sizes that 32-bit arithmetic makes: the reference's, which exact arithmetic would not give.
    #[test]
    fn rounding_is_that_of_32_bits() {
        // 291 * (300 / 291) is 299.99997 in 32 bits.
        let exact = |side: f32, target: f32| side * (target / side);
        let cut: Vec<u64> = (8u16..300)
            .filter(|side| exact(f32::from(*side), 300.0) < 300.0)
            .map(u64::from)
            .collect();
        assert!(!cut.is_empty(), "the case must show something");
        for side in cut {
            let found = sizes(conditional(Condition::Smaller, 300), [side, side]);
            assert_eq!(found, Some([[299, 299]; 2]), "{side}");
        }
        // 3 * (5 / 2) is a half: rounded to the even 8, where 2.5 goes to 2.
        assert_eq!(sizes(keep(5, 8, None), [2, 3]), Some([[5, 8]; 2]));
        assert_eq!(sizes(keep(2, 9, None), [4, 5]), Some([[2, 2]; 2]));
    }

    #[test]
    fn without_a_known_size_the_network_input_is_as_large_as_the_image_makes_it() {
        let mut b = Builder::new("g");
        let shape = Shape(vec![1.into(), Dim::symbol("h"), Dim::symbol("w"), 3.into()]);
        let images = b.input("images", DType::F32, shape);
        for (resizer, expected) in [
            (keep(64, 96, Some([1.0; 3])), "[1, 96, 96, 3]"),
            (keep(64, 96, None), "[1, resized_height, resized_width, 3]"),
            (
                Resizer {
                    kind: Kind::PadToMultiple { multiple: 8 },
                    grayscale: true,
                    path: FieldPath::MODEL,
                },
                "[1, ceil(h/8)*8, ceil(w/8)*8, 1]",
            ),
            (
                Resizer {
                    kind: Kind::Identity,
                    grayscale: false,
                    path: FieldPath::MODEL,
                },
                "[1, h, w, 3]",
            ),
        ] {
            let resized = resizer.resize(&mut b, images).unwrap();
            let finished = resizer.finish(&mut b, resized, Unit::Part).unwrap();
            assert_eq!(b.shape(finished.images).to_string(), expected);
        }
        tfod_graph::validate(b.graph()).unwrap();
    }
}
