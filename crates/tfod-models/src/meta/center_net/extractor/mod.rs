//! CenterNet feature extractors: from the normalised image to feature maps of stride 4.
//!
//! A feature extractor is chosen by its name in the configuration; [`EXTRACTORS`] lists them.

mod hourglass;
mod mobilenet_v2;
mod resnet;
mod upsampling;

use tfod_config::protos;
use tfod_graph::{Builder, ValueId};

use crate::backbone::hourglass::{
    HOURGLASS_10, HOURGLASS_20, HOURGLASS_32, HOURGLASS_52, HOURGLASS_104,
};
use crate::backbone::resnet_preact::{RESNET_18, RESNET_34, RESNET_50_V2, RESNET_101_V2};
use crate::backbone::resnet_v1::{RESNET_50, RESNET_101};
use crate::error::ModelError;
use crate::facts::Normalization;
use crate::fields::{Message, invalid};
use crate::layers::Path;
use crate::meta::extractor_type::ExtractorTypes;

/// A configured feature extractor.
pub(crate) trait FeatureExtractor {
    /// How it wants pixels.
    fn normalization(&self) -> Normalization;

    /// Writes the network from normalised images `[batch, height, width, 3]` to feature maps `[batch, height / 4, width / 4, channels]`, of which objects are
    /// predicted from the last. `path` is its place in the reference's object tree.
    fn build(
        &self,
        b: &mut Builder,
        path: &Path,
        images: ValueId,
    ) -> Result<Vec<ValueId>, ModelError>;
}

type Config<'a> = Message<'a, protos::CenterNetFeatureExtractor>;
type FromConfig = fn(&Pixels, Config<'_>) -> Result<Box<dyn FeatureExtractor>, ModelError>;

/// Feature extractors, by their name in the configuration.
const EXTRACTORS: [(&str, FromConfig); 14] = [
    ("resnet_v2_50", |p, _| Ok(resnet::v2(p, RESNET_50_V2))),
    ("resnet_v2_101", |p, _| Ok(resnet::v2(p, RESNET_101_V2))),
    ("resnet_v1_18_fpn", |p, _| Ok(resnet::basic(p, RESNET_18))),
    ("resnet_v1_34_fpn", |p, _| Ok(resnet::basic(p, RESNET_34))),
    ("resnet_v1_50_fpn", |p, _| Ok(resnet::v1(p, RESNET_50))),
    ("resnet_v1_101_fpn", |p, _| Ok(resnet::v1(p, RESNET_101))),
    ("hourglass_10", |p, _| Ok(hourglass::of(p, HOURGLASS_10))),
    ("hourglass_20", |p, _| Ok(hourglass::of(p, HOURGLASS_20))),
    ("hourglass_32", |p, _| Ok(hourglass::of(p, HOURGLASS_32))),
    ("hourglass_52", |p, _| Ok(hourglass::of(p, HOURGLASS_52))),
    ("hourglass_104", |p, _| Ok(hourglass::of(p, HOURGLASS_104))),
    ("mobilenet_v2", mobilenet_v2::plain),
    ("mobilenet_v2_fpn", |p, c| mobilenet_v2::fpn(p, c, false)),
    ("mobilenet_v2_fpn_sep_conv", |p, c| {
        mobilenet_v2::fpn(p, c, true)
    }),
];

/// TensorFlow 1's Object Detection API has no CenterNet.
const TYPES: ExtractorTypes<FromConfig> = ExtractorTypes {
    supported: &EXTRACTORS,
    tensorflow_1: &[],
};

/// The names of all that are supported.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TYPES.names()
}

/// Reads the message.
///
/// # Errors
/// For an extractor that is not supported, and for fields out of range.
pub(super) fn from_config(config: Config<'_>) -> Result<Box<dyn FeatureExtractor>, ModelError> {
    let make = TYPES.find(config.field("type"), config.r#type())?;
    make(&Pixels::from_config(&config)?, config)
}

/// How the configuration prepares pixels: `(value - mean) / std` for each channel, after their order has been reversed where it asks for that.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pixels {
    means: [f32; 3],
    stds: [f32; 3],
    bgr: bool,
}

/// What an extractor does after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Further {
    /// Nothing.
    Nothing,
    /// -1 to 1.
    Signed,
    /// The order is reversed, once more perhaps, and the mean colour of `ImageNet` taken away: blue, green, red.
    Caffe,
}

/// Blue, green, red (Simonyan and Zisserman 2014, <https://arxiv.org/abs/1409.1556>).
const IMAGENET_MEANS: [f32; 3] = [103.939, 116.779, 123.68];

impl Pixels {
    fn from_config(config: &Config<'_>) -> Result<Self, ModelError> {
        let list = |name: &'static str, values: &[f32], default: f32| {
            let wrong = || {
                let given = format!("{values:?}");
                invalid(config.field(name), given, "one number, three, or none")
            };
            let all = match *values {
                [] => [default; 3],
                [one] => [one; 3],
                [first, second, third] => [first, second, third],
                _ => return Err(wrong()),
            };
            if all.iter().any(|value| !value.is_finite()) {
                return Err(wrong());
            }
            Ok(all)
        };
        let stds = list("channel_stds", &config.channel_stds, 1.0)?;
        if stds.contains(&0.0) {
            let given = format!("{stds:?}");
            return Err(invalid(
                config.field("channel_stds"),
                given,
                "numbers other than 0",
            ));
        }
        Ok(Self {
            means: list("channel_means", &config.channel_means, 0.0)?,
            stds,
            bgr: config.bgr_ordering(),
        })
    }

    /// The normalisation that these and what follows make together.
    fn normalization(&self, further: Further) -> Normalization {
        let (mut scale, mut shift) = ([0.0; 3], [0.0; 3]);
        for colour in 0..3 {
            let place = if self.bgr { 2 - colour } else { colour };
            let (mean, std) = (f64::from(self.means[place]), f64::from(self.stds[place]));
            let (by, plus) = (1.0 / std, -mean / std);
            let (by, plus) = match further {
                Further::Nothing => (by, plus),
                Further::Signed => (by / 127.5, plus / 127.5 - 1.0),
                Further::Caffe => (by, plus - f64::from(IMAGENET_MEANS[2 - place])),
            };
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the network's numbers have 32 bits"
            )]
            let values = (by as f32, plus as f32);
            (scale[colour], shift[colour]) = values;
        }
        Normalization {
            scale,
            shift,
            reversed: self.bgr != (further == Further::Caffe),
            padding_too: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_of_channels_are_followed() {
        let pixels = Pixels {
            means: [1.0, 2.0, 3.0],
            stds: [2.0, 4.0, 8.0],
            bgr: true,
        };
        let plain = pixels.normalization(Further::Nothing);
        assert!(plain.reversed);
        assert_eq!(
            plain.scale.map(f32::to_bits),
            [0.125, 0.25, 0.5].map(f32::to_bits)
        );
        assert_eq!(
            plain.shift.map(f32::to_bits),
            [-0.375, -0.5, -0.5].map(f32::to_bits)
        );
        // Blue comes first, then last: its mean is that of blue.
        let caffe = Pixels {
            stds: [1.0; 3],
            means: [0.0; 3],
            ..pixels
        };
        let caffe = caffe.normalization(Further::Caffe);
        assert!(!caffe.reversed);
        assert_eq!(
            caffe.shift.map(f32::to_bits),
            [-103.939, -116.779, -123.68].map(f32::to_bits)
        );
    }
}
