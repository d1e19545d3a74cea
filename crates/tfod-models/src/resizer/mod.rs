//! How an image becomes as large as the network wants it. After the reference's `image_resizer_builder` and the resizing functions of its
//! `preprocessor`, with sizes computed in the same 32-bit arithmetic.
//!
//! For an SSD the reference resizes and pads *normalised* pixels, so pad values are in the network's scale; for two-stage detectors it normalises what is padded.
//! Resizing commutes with normalisation, padding does not: [`Resizer::resize`] comes before it, [`Resizer::finish`] after it or before it.

mod facts;
mod pixels;
mod size;
#[cfg(test)]
mod tests;

use tfod_config::protos;
use tfod_config::protos::ResizeType;
use tfod_config::protos::conditional_shape_resizer::ResizeCondition;
use tfod_config::protos::image_resizer::ImageResizerOneof;
use tfod_graph::ResizeMethod;

use crate::error::ModelError;
use crate::fields::{FieldPath, Message, invalid, missing, size, unsupported};
pub(crate) use pixels::{Finished, Unit, pad_to_multiple};

/// Red, green, blue.
const COLOURS: u64 = 3;
/// The weights of red, green and blue in luma (ITU-R BT.601).
pub const LUMA: [f32; 3] = [0.2989, 0.587, 0.114];

/// A configured resizer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resizer {
    /// What decides the size.
    pub kind: ResizerKind,
    /// Whether the network sees one channel, the luma.
    pub grayscale: bool,
    /// Where it stands in the configuration.
    pub path: FieldPath,
}

/// What decides the size of an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ResizerKind {
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

/// Which images [`ResizerKind::ConditionalShape`] resizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Those larger than the threshold.
    Greater,
    /// Those smaller than the threshold.
    Smaller,
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

impl ResizerKind {
    /// The interpolation, of those that have one.
    pub(crate) fn method(self) -> Option<ResizeMethod> {
        match self {
            Self::FixedShape { method, .. }
            | Self::KeepAspectRatio { method, .. }
            | Self::ConditionalShape { method, .. } => Some(method),
            Self::Identity | Self::PadToMultiple { .. } => None,
        }
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
                let kind = ResizerKind::FixedShape {
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
            Some(ImageResizerOneof::IdentityResizer(_)) => (ResizerKind::Identity, false),
            Some(ImageResizerOneof::ConditionalShapeResizer(conditional)) => {
                let conditional = config.at("conditional_shape_resizer", conditional);
                let grayscale = conditional.convert_to_grayscale();
                (conditional_shape(conditional)?, grayscale)
            }
            Some(ImageResizerOneof::PadToMultipleResizer(pad)) => {
                let pad = config.at("pad_to_multiple_resizer", pad);
                let multiple = size(pad.field("multiple"), pad.multiple(), 1)?;
                (
                    ResizerKind::PadToMultiple { multiple },
                    pad.convert_to_grayscale(),
                )
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
            ResizerKind::FixedShape { size, .. } => Some(size),
            ResizerKind::KeepAspectRatio {
                max,
                padding: Some(_),
                ..
            } => Some([max; 2]),
            _ => None,
        }
    }

    /// Whether images of [`Self::network_size`] stay as they are.
    pub fn keeps_network_size(self) -> bool {
        match self.kind {
            ResizerKind::FixedShape { .. } => true,
            ResizerKind::KeepAspectRatio {
                min,
                max,
                padding: Some(_),
                ..
            } => min == max,
            _ => false,
        }
    }

    /// The same for images that somebody else has resized and padded.
    pub(crate) fn without_resizing(self) -> Self {
        Self {
            kind: ResizerKind::Identity,
            ..self
        }
    }

    /// The channels of what the network sees.
    pub fn channels(self) -> u64 {
        if self.grayscale { 1 } else { COLOURS }
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
}

fn keep_aspect_ratio(
    keep: Message<'_, protos::KeepAspectRatioResizer>,
) -> Result<ResizerKind, ModelError> {
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
    Ok(ResizerKind::KeepAspectRatio {
        min,
        max,
        method: method(keep.resize_method()),
        padding: keep.pad_to_max_dimension().then_some(values),
    })
}

fn conditional_shape(
    config: Message<'_, protos::ConditionalShapeResizer>,
) -> Result<ResizerKind, ModelError> {
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
    Ok(ResizerKind::ConditionalShape {
        condition,
        threshold: size(config.field("size_threshold"), config.size_threshold(), 1)?,
        method: method(config.resize_method()),
    })
}
