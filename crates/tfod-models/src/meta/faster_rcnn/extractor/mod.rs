//! Feature extractors of two-stage detectors: from the normalised image to the feature maps that boxes are proposed from and cropped out of, and from crops to the
//! features that a second stage classifies.
//!
//! A feature extractor is chosen by its name in the configuration. Each is a file here, listed in [`EXTRACTORS`].

mod inception_resnet_v2;
mod resnet_v1;
mod resnet_v1_fpn;

use tfod_config::protos;
use tfod_graph::{Builder, ValueId};

use crate::backbone::resnet_v1::{RESNET_50, RESNET_101, RESNET_152};
use crate::error::ModelError;
use crate::facts::Normalization;
use crate::fields::{Message, unsupported};
use crate::layers::Path;
use crate::meta::extractor_type::ExtractorTypes;

/// A configured feature extractor.
pub(in crate::meta::faster_rcnn) trait FeatureExtractor {
    /// How it wants pixels.
    fn normalization(&self) -> Normalization;

    /// Writes the network from normalised images `[batch, height, width, 3]` to feature maps `[batch, h, w, channels]`, from fine to coarse. `path` is the place
    /// of the reference's model for proposals.
    fn maps(
        &self,
        b: &mut Builder,
        path: &Path,
        images: ValueId,
    ) -> Result<Vec<ValueId>, ModelError>;

    /// Writes the network from crops of these maps, `[crops, h, w, channels]` with known sizes, to their features `[crops, h', w', channels']`. `path` is the place of the
    /// reference's model for box classification. Where it is written again over other crops, it has the same parameters.
    fn features(&self, b: &mut Builder, path: &Path, crops: ValueId)
    -> Result<ValueId, ModelError>;
}

type FromConfig = fn(
    Message<'_, protos::FasterRcnnFeatureExtractor>,
) -> Result<Box<dyn FeatureExtractor>, ModelError>;

/// Feature extractors, by their name in the configuration.
const EXTRACTORS: [(&str, FromConfig); 7] = [
    (
        "faster_rcnn_inception_resnet_v2_keras",
        inception_resnet_v2::from_config,
    ),
    ("faster_rcnn_resnet50_keras", |config| {
        resnet_v1::from_config(config, RESNET_50)
    }),
    ("faster_rcnn_resnet101_keras", |config| {
        resnet_v1::from_config(config, RESNET_101)
    }),
    ("faster_rcnn_resnet152_keras", |config| {
        resnet_v1::from_config(config, RESNET_152)
    }),
    ("faster_rcnn_resnet50_fpn_keras", |config| {
        resnet_v1_fpn::from_config(config, RESNET_50)
    }),
    ("faster_rcnn_resnet101_fpn_keras", |config| {
        resnet_v1_fpn::from_config(config, RESNET_101)
    }),
    ("faster_rcnn_resnet152_fpn_keras", |config| {
        resnet_v1_fpn::from_config(config, RESNET_152)
    }),
];

/// Types that only TensorFlow 1's Object Detection API has.
const TENSORFLOW_1: [&str; 10] = [
    "faster_rcnn_inception_resnet_v2",
    "faster_rcnn_inception_v2",
    "faster_rcnn_mobilenet_v1",
    "faster_rcnn_nas",
    "faster_rcnn_pnas",
    "faster_rcnn_resnet50",
    "faster_rcnn_resnet101",
    "faster_rcnn_resnet152",
    "faster_rcnn_resnet_v1_50",
    "faster_rcnn_resnet_v1_101",
];

const TYPES: ExtractorTypes<FromConfig> = ExtractorTypes {
    supported: &EXTRACTORS,
    tensorflow_1: &TENSORFLOW_1,
};

/// The names of all that are supported.
pub(in crate::meta::faster_rcnn) fn names() -> impl Iterator<Item = &'static str> {
    TYPES.names()
}

/// The pyramid of a configuration, as a message even where it has none; `None` for types without one.
pub(in crate::meta::faster_rcnn) fn pyramid(
    config: &protos::FasterRcnnFeatureExtractor,
) -> Option<protos::FeaturePyramidNetworks> {
    let has_pyramid = config.r#type().contains("_fpn_");
    has_pyramid.then(|| config.fpn.unwrap_or_else(resnet_v1_fpn::usual_pyramid))
}

/// Reads the message.
///
/// # Errors
/// For an extractor that is not supported, and for fields that it does not take.
pub(in crate::meta::faster_rcnn) fn from_config(
    config: Message<'_, protos::FasterRcnnFeatureExtractor>,
) -> Result<Box<dyn FeatureExtractor>, ModelError> {
    TYPES.find(config.field("type"), config.r#type())?(config)
}

/// Refuses strides of the first stage that the type's class in the reference refuses.
fn check_stride(
    config: Message<'_, protos::FasterRcnnFeatureExtractor>,
    strides: &[i32],
) -> Result<(), ModelError> {
    let stride = config.first_stage_features_stride();
    if strides.contains(&stride) {
        return Ok(());
    }
    let strides: Vec<String> = strides.iter().map(ToString::to_string).collect();
    Err(unsupported(
        config.field("first_stage_features_stride"),
        stride,
        format!("{} for type {}", strides.join(" or "), config.r#type()),
    ))
}
