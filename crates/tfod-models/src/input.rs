//! What the model is given, and how it becomes the image that the network sees.

use std::fmt;
use std::str::FromStr;

use tfod_config::protos;
use tfod_config::protos::ResizeType;
use tfod_config::protos::image_resizer::ImageResizerOneof;
use tfod_graph::{Builder, DType, Dim, ResizeMethod, Shape, ValueId};

use crate::error::ModelError;
use crate::fields::{message, refuse_flag, size, unsupported};

/// The name of the input, as in official exports.
pub const INPUT_NAME: &str = "input_tensor";

/// The kinds of input, named as the official exporter's `--input_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputType {
    /// One image: `u8[1, height, width, 3]`, RGB, 0 to 255.
    ImageTensor,
    /// Images of one size: `f32[batch, height, width, 3]`, RGB, 0 to 255.
    FloatImageTensor,
}

impl InputType {
    /// All that are supported.
    pub const ALL: [Self; 2] = [Self::ImageTensor, Self::FloatImageTensor];

    /// The exporter's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ImageTensor => "image_tensor",
            Self::FloatImageTensor => "float_image_tensor",
        }
    }

    /// Declares the input, and gives it as floats `[batch, height, width, 3]`.
    pub(crate) fn declare(self, b: &mut Builder) -> Result<ValueId, ModelError> {
        let (dtype, batch) = match self {
            Self::ImageTensor => (DType::U8, Dim::Known(1)),
            Self::FloatImageTensor => (DType::F32, Dim::symbol("batch")),
        };
        let shape = vec![batch, Dim::symbol("height"), Dim::symbol("width"), 3.into()];
        let input = b.input(INPUT_NAME, dtype, Shape(shape));
        Ok(b.cast("to_float", input, DType::F32)?)
    }
}

impl fmt::Display for InputType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for InputType {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| {
                let names = Self::ALL.map(Self::name);
                unsupported("--input_type", text, names.join(", "))
            })
    }
}

/// Brings every image to one size, without keeping its aspect ratio (`fixed_shape_resizer`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedShape {
    /// Height and width of the result.
    pub size: [u64; 2],
    /// Interpolation.
    pub method: ResizeMethod,
}

impl FixedShape {
    /// Reads the message.
    ///
    /// # Errors
    /// For another resizer, grayscale, or a size below 1.
    pub fn from_config(config: Option<&protos::ImageResizer>) -> Result<Self, ModelError> {
        const FIELD: &str = "model.ssd.image_resizer";
        let config = message(FIELD, config)?;
        let other = |given: &str| unsupported(FIELD, given, "fixed_shape_resizer");
        let fixed = match &config.image_resizer_oneof {
            Some(ImageResizerOneof::FixedShapeResizer(fixed)) => fixed,
            Some(ImageResizerOneof::KeepAspectRatioResizer(_)) => {
                return Err(other("keep_aspect_ratio_resizer"));
            }
            Some(ImageResizerOneof::IdentityResizer(_)) => return Err(other("identity_resizer")),
            Some(ImageResizerOneof::ConditionalShapeResizer(_)) => {
                return Err(other("conditional_shape_resizer"));
            }
            Some(ImageResizerOneof::PadToMultipleResizer(_)) => {
                return Err(other("pad_to_multiple_resizer"));
            }
            None => return Err(ModelError::Missing { field: FIELD }),
        };
        refuse_flag(
            "model.ssd.image_resizer.fixed_shape_resizer.convert_to_grayscale",
            fixed.convert_to_grayscale(),
        )?;
        let method = match fixed.resize_method() {
            ResizeType::Bilinear => ResizeMethod::Bilinear,
            ResizeType::NearestNeighbor => ResizeMethod::Nearest,
            ResizeType::Bicubic => ResizeMethod::Bicubic,
            ResizeType::Area => ResizeMethod::Area,
        };
        let height = "model.ssd.image_resizer.fixed_shape_resizer.height";
        let width = "model.ssd.image_resizer.fixed_shape_resizer.width";
        Ok(Self {
            size: [
                size(height, fixed.height(), 1)?,
                size(width, fixed.width(), 1)?,
            ],
            method,
        })
    }

    /// Resizes `[batch, height, width, 3]`. The reference samples pixels at their corners (not half-pixel centres).
    pub(crate) fn apply(self, b: &mut Builder, images: ValueId) -> Result<ValueId, ModelError> {
        Ok(b.resize("resize", images, self.method, self.size, false)?)
    }
}
