//! How an image becomes as large as the network wants it.

use tfod_config::protos;
use tfod_config::protos::ResizeType;
use tfod_config::protos::image_resizer::ImageResizerOneof;
use tfod_graph::{Builder, Dim, ResizeMethod, ValueId};

use crate::error::ModelError;
use crate::facts::Resizing;
use crate::fields::{message, refuse_flag, size, unsupported};

/// Brings every image to one size, without keeping its aspect ratio (`fixed_shape_resizer`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resizer {
    /// Height and width of the result.
    pub size: [u64; 2],
    /// Interpolation.
    pub method: ResizeMethod,
}

impl Resizer {
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

    /// Height and width of what the network sees.
    pub fn network_size(self) -> [u64; 2] {
        self.size
    }

    /// What users who resize themselves need to know.
    pub fn facts(self) -> Resizing {
        let (method, how) = match self.method {
            ResizeMethod::Bilinear => (ResizeType::Bilinear, "bilinear interpolation"),
            ResizeMethod::Nearest => (ResizeType::NearestNeighbor, "the nearest pixel"),
            ResizeMethod::Bicubic => (ResizeType::Bicubic, "bicubic interpolation"),
            ResizeMethod::Area => (ResizeType::Area, "the mean over each pixel's area"),
        };
        let [height, width] = self.size;
        Resizing {
            resizer: "fixed_shape_resizer",
            size: Some(self.size),
            method: method.as_str_name(),
            description: format!(
                "to height {height} and width {width}, whatever the aspect ratio, by {how}; pixel (i, j) of the result is sampled at \
                 (i * height_in / {height}, j * width_in / {width}), without half-pixel centres"
            ),
        }
    }

    /// Resizes `[batch, height, width, 3]`. The reference samples pixels at their corners (not half-pixel centres).
    pub(crate) fn apply(self, b: &mut Builder, images: ValueId) -> Result<ValueId, ModelError> {
        if let [_, Dim::Known(height), Dim::Known(width), _] = *b.shape(images).dims()
            && [height, width] == self.size
        {
            return Ok(images);
        }
        Ok(b.resize("resize", images, self.method, self.size, false)?)
    }
}
