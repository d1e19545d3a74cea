//! SSD feature extractors: from the normalised image to the feature maps that boxes are predicted from.
//!
//! A feature extractor is chosen by its name in the configuration. Each is a file here, listed in [`EXTRACTORS`], and put together from a
//! [`crate::backbone`] and a [`crate::neck`].

mod efficientnet_bifpn;
mod mobilenet;
mod mobilenet_fpn;
mod pyramid;
mod resnet_v1_fpn;

use tfod_config::protos;
use tfod_config::protos::ssd_feature_extractor::FeaturePyramidOneof;
use tfod_graph::{Builder, Dim, ValueId};

use crate::backbone::resnet_v1::{RESNET_50, RESNET_101, RESNET_152};
use crate::error::ModelError;
use crate::facts::Normalization;
use crate::fields::{FieldPath, Message, invalid, multiplier, size, unsupported};
use crate::hyperparams::Hyperparams;
use crate::layers::Path;
use crate::meta::extractor_type::ExtractorTypes;
use crate::resizer;

/// The field by which a pyramid is called in errors, of whichever kind it is.
const PYRAMID: &str = "fpn";

/// A configured feature extractor.
pub(crate) trait FeatureExtractor {
    /// How it wants pixels.
    fn normalization(&self) -> Normalization;

    /// Writes the network from normalised images `[batch, height, width, 3]` to feature maps `[batch, h, w, channels]`, from fine to coarse. `path` is its
    /// place in the reference's object tree.
    fn build(
        &self,
        b: &mut Builder,
        path: &Path,
        images: ValueId,
    ) -> Result<Vec<ValueId>, ModelError>;
}

type FromConfig = fn(
    &Common,
    Message<'_, protos::SsdFeatureExtractor>,
) -> Result<Box<dyn FeatureExtractor>, ModelError>;

/// Feature extractors, by their name in the configuration.
const EXTRACTORS: [(&str, FromConfig); 15] = [
    ("ssd_mobilenet_v1_keras", mobilenet::v1),
    ("ssd_mobilenet_v1_fpn_keras", mobilenet_fpn::v1),
    ("ssd_mobilenet_v2_keras", mobilenet::v2),
    ("ssd_mobilenet_v2_fpn_keras", mobilenet_fpn::v2),
    ("ssd_resnet50_v1_fpn_keras", |c, f| {
        resnet_v1_fpn::from_config(c, f, RESNET_50)
    }),
    ("ssd_resnet101_v1_fpn_keras", |c, f| {
        resnet_v1_fpn::from_config(c, f, RESNET_101)
    }),
    ("ssd_resnet152_v1_fpn_keras", |c, f| {
        resnet_v1_fpn::from_config(c, f, RESNET_152)
    }),
    ("ssd_efficientnet-b0_bifpn_keras", |c, f| {
        efficientnet_bifpn::from_config(c, f, 0)
    }),
    ("ssd_efficientnet-b1_bifpn_keras", |c, f| {
        efficientnet_bifpn::from_config(c, f, 1)
    }),
    ("ssd_efficientnet-b2_bifpn_keras", |c, f| {
        efficientnet_bifpn::from_config(c, f, 2)
    }),
    ("ssd_efficientnet-b3_bifpn_keras", |c, f| {
        efficientnet_bifpn::from_config(c, f, 3)
    }),
    ("ssd_efficientnet-b4_bifpn_keras", |c, f| {
        efficientnet_bifpn::from_config(c, f, 4)
    }),
    ("ssd_efficientnet-b5_bifpn_keras", |c, f| {
        efficientnet_bifpn::from_config(c, f, 5)
    }),
    ("ssd_efficientnet-b6_bifpn_keras", |c, f| {
        efficientnet_bifpn::from_config(c, f, 6)
    }),
    ("ssd_efficientnet-b7_bifpn_keras", |c, f| {
        efficientnet_bifpn::from_config(c, f, 7)
    }),
];

/// Types that only TensorFlow 1's Object Detection API has.
const TENSORFLOW_1: [&str; 24] = [
    "embedded_ssd_mobilenet_v1",
    "ssd_inception_v2",
    "ssd_inception_v3",
    "ssd_mobiledet_cpu",
    "ssd_mobiledet_dsp",
    "ssd_mobiledet_edgetpu",
    "ssd_mobiledet_gpu",
    "ssd_mobilenet_edgetpu",
    "ssd_mobilenet_v1",
    "ssd_mobilenet_v1_fpn",
    "ssd_mobilenet_v1_ppn",
    "ssd_mobilenet_v2",
    "ssd_mobilenet_v2_fpn",
    "ssd_mobilenet_v2_mnasfpn",
    "ssd_mobilenet_v3_large",
    "ssd_mobilenet_v3_small",
    "ssd_pnasnet",
    "ssd_resnet50_v1_fpn",
    "ssd_resnet50_v1_ppn",
    "ssd_resnet101_v1_fpn",
    "ssd_resnet101_v1_ppn",
    "ssd_resnet152_v1_fpn",
    "ssd_resnet152_v1_ppn",
    "ssd_spaghettinet",
];

const TYPES: ExtractorTypes<FromConfig> = ExtractorTypes {
    supported: &EXTRACTORS,
    tensorflow_1: &TENSORFLOW_1,
};

/// The names of all that are supported.
pub fn names() -> impl Iterator<Item = &'static str> {
    TYPES.names()
}

/// Reads the message.
///
/// # Errors
/// For an extractor that is not supported, and for fields that it does not take.
pub(crate) fn from_config(
    config: Message<'_, protos::SsdFeatureExtractor>,
) -> Result<Box<dyn FeatureExtractor>, ModelError> {
    let make = TYPES.find(config.field("type"), config.r#type())?;
    make(&Common::from_config(&config)?, config)
}

/// What all feature extractors are configured with.
#[derive(Clone, Copy, Debug)]
struct Common {
    depth_multiplier: f32,
    /// Where the configuration has it.
    multiplier_field: FieldPath,
    min_depth: u64,
    pad_to_multiple: u64,
    explicit_padding: bool,
    /// Where the configuration has it.
    padding_field: FieldPath,
    use_depthwise: bool,
    /// Of the layers that the extractor adds to its backbone.
    hyperparams: Hyperparams,
    /// Whether the backbone's layers have these too.
    override_base: bool,
}

impl Common {
    fn from_config(config: &Message<'_, protos::SsdFeatureExtractor>) -> Result<Self, ModelError> {
        let multiplier_field = config.field("depth_multiplier");
        let hyperparams = config.conv_hyperparams.as_ref();
        Ok(Self {
            depth_multiplier: multiplier(multiplier_field, config.depth_multiplier())?,
            multiplier_field,
            min_depth: size(config.field("min_depth"), config.min_depth(), 0)?,
            pad_to_multiple: size(config.field("pad_to_multiple"), config.pad_to_multiple(), 1)?,
            explicit_padding: config.use_explicit_padding(),
            padding_field: config.field("use_explicit_padding"),
            use_depthwise: config.use_depthwise(),
            hyperparams: Hyperparams::from_config(config.field("conv_hyperparams"), hyperparams)?,
            override_base: config.override_base_feature_extractor_hyperparams(),
        })
    }

    /// Pads images with zeros at the bottom and on the right to the multiple that the configuration asks for.
    fn pad_to_multiple(&self, b: &mut Builder, images: ValueId) -> Result<ValueId, ModelError> {
        if self.pad_to_multiple == 1 {
            return Ok(images);
        }
        b.scope("pad_to_multiple", |b| {
            resizer::pad_to_multiple(b, images, self.pad_to_multiple)
        })
    }
}

/// Height and width of a feature map, where they are known.
pub(super) fn spatial_size(b: &Builder, map: ValueId) -> Option<[u64; 2]> {
    match b.shape(map).dims() {
        [_, Dim::Known(h), Dim::Known(w), _] => Some([*h, *w]),
        _ => None,
    }
}

/// Refuses images smaller than a backbone of the reference accepts, where the size is known.
fn check_image(b: &Builder, images: ValueId, smallest: u64) -> Result<(), ModelError> {
    if let Some([height, width]) = spatial_size(b, images)
        && height.min(width) < smallest
    {
        return Err(invalid(
            super::PATH.child("image_resizer"),
            format!("{height}x{width}"),
            format!("at least {smallest}x{smallest}"),
        ));
    }
    Ok(())
}

/// The configuration of a feature pyramid network; the schema's defaults where there is none.
fn fpn_config(
    config: &Message<'_, protos::SsdFeatureExtractor>,
) -> Result<protos::FeaturePyramidNetworks, ModelError> {
    match &config.feature_pyramid_oneof {
        Some(FeaturePyramidOneof::Fpn(fpn)) => Ok(*fpn),
        Some(FeaturePyramidOneof::Bifpn(_)) => Err(unsupported(
            config.field(PYRAMID),
            "bifpn",
            format!("fpn for type {}", config.r#type()),
        )),
        None => Ok(protos::FeaturePyramidNetworks::default()),
    }
}

/// Refuses levels whose stride, beyond 2^16, is longer than any image.
fn check_highest(field: FieldPath, level: u64) -> Result<(), ModelError> {
    const HIGHEST: u64 = 16;
    if level > HIGHEST {
        return Err(invalid(field, level, format!("at most {HIGHEST}")));
    }
    Ok(())
}

/// The levels that a pyramid over a backbone has. `backbone` are the levels of the backbone itself.
fn fpn_levels(
    fpn: Message<'_, protos::FeaturePyramidNetworks>,
    backbone: std::ops::RangeInclusive<u64>,
) -> Result<[u64; 2], ModelError> {
    let (min_field, max_field) = (fpn.field("min_level"), fpn.field("max_level"));
    let min_level = size(min_field, fpn.min_level(), *backbone.start())?;
    let max_level = size(max_field, fpn.max_level(), min_level)?;
    if !backbone.contains(&min_level) {
        let expected = format!("{} to {}", backbone.start(), backbone.end());
        return Err(invalid(min_field, min_level, expected));
    }
    check_highest(max_field, max_level)?;
    Ok([min_level, max_level])
}

/// Fields that hardly any extractor takes.
fn rare_fields(config: &protos::SsdFeatureExtractor) -> [(&'static str, bool); 3] {
    [
        (
            "replace_preprocessor_with_placeholder",
            config.replace_preprocessor_with_placeholder.is_some(),
        ),
        ("num_layers", config.num_layers.is_some()),
        (
            "spaghettinet_arch_name",
            config.spaghettinet_arch_name.is_some(),
        ),
    ]
}
