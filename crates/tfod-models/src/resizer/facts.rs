//! What the manifest says of resizing.

use tfod_graph::ResizeMethod;

use super::{Condition, Resizer, ResizerKind, config_name};
use crate::facts::{ImagePadding, Normalization, Resizing};

pub(super) fn words(method: ResizeMethod) -> &'static str {
    match method {
        ResizeMethod::Bilinear => "bilinear interpolation",
        ResizeMethod::Nearest => "the nearest pixel",
        ResizeMethod::Bicubic => "bicubic interpolation",
        ResizeMethod::Area => "the mean over each pixel's area",
    }
}

impl Resizer {
    /// What the manifest says of resizing, for users who do it themselves.
    pub fn facts(self) -> Resizing {
        let corners = "pixel (i, j) of the result is sampled at (i * height_in / height, j * width_in / width), without half-pixel centres";
        let (resizer, method, description) = match self.kind {
            ResizerKind::FixedShape {
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
            ResizerKind::KeepAspectRatio {
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
            ResizerKind::Identity => (
                "identity_resizer",
                None,
                "images keep their size".to_owned(),
            ),
            ResizerKind::ConditionalShape {
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
            ResizerKind::PadToMultiple { .. } => (
                "pad_to_multiple_resizer",
                None,
                "images keep their size, but are padded".to_owned(),
            ),
        };
        Resizing {
            resizer,
            size: self.network_size(),
            keeps_size: self.keeps_network_size(),
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

    pub(super) fn padding_facts(self) -> Option<ImagePadding> {
        match self.kind {
            ResizerKind::KeepAspectRatio {
                max,
                padding: Some(values),
                ..
            } => Some(ImagePadding {
                values,
                description: format!("to {max}x{max}, below and on the right"),
            }),
            ResizerKind::PadToMultiple { multiple } => Some(ImagePadding {
                values: [0.0; 3],
                description: format!("to the next multiples of {multiple}, below and on the right"),
            }),
            _ => None,
        }
    }
}
