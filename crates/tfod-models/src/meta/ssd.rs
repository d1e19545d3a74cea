//! Single-shot detectors (SSD, Liu et al. 2016, <https://arxiv.org/abs/1512.02325>; RetinaNet): one pass over the image predicts, for every anchor, class
//! scores and a box.
//!
//! Outputs, all `f32`, as the reference's (`N` anchors, `M` = `max_total_detections`, `C` classes, `C + 1` with background):
//!
//! | key | shape | |
//! | --- | --- | --- |
//! | `detection_boxes` | `[batch, M, 4]` | ymin, xmin, ymax, xmax in 0..1 of the image |
//! | `detection_scores` | `[batch, M]` | descending |
//! | `detection_classes` | `[batch, M]` | counted from 1; 1 in rows after the last detection |
//! | `detection_multiclass_scores` | `[batch, M, C + 1]` | |
//! | `detection_anchor_indices` | `[batch, M]` | which of the `N` |
//! | `num_detections` | `[batch]` | |
//! | `raw_detection_boxes` | `[batch, N, 4]` | before suppression |
//! | `raw_detection_scores` | `[batch, N, C + 1]` | before suppression |

use tfod_config::protos;
use tfod_config::protos::anchor_generator::AnchorGeneratorOneof;
use tfod_config::protos::box_predictor::BoxPredictorOneof;
use tfod_config::protos::ssd_feature_extractor::FeaturePyramidOneof;
use tfod_graph::{Binary, Builder, Dim, ValueId};

use crate::Model;
use crate::anchors::multiscale::Multiscale;
use crate::backbone::mobilenet_v2::MobilenetV2;
use crate::error::ModelError;
use crate::fields::{invalid, message, multiplier, scaled, size, unsupported};
use crate::head::weight_shared::WeightShared;
use crate::hyperparams::Hyperparams;
use crate::input::{FixedShape, InputType};
use crate::layers::Path;
use crate::neck::fpn::Fpn;
use crate::postprocess::box_coder::FasterRcnnBoxCoder;
use crate::postprocess::nms::NonMaxSuppression;
use crate::postprocess::score::ScoreConverter;

const TYPE: &str = "model.ssd.feature_extractor.type";
/// The smallest image that the reference's MobileNet extractors accept.
const SMALLEST_IMAGE: u64 = 33;

/// Feature extractors, by their name in the configuration.
pub const FEATURE_EXTRACTORS: [&str; 1] = ["ssd_mobilenet_v2_fpn_keras"];

/// Writes an SSD.
///
/// # Errors
/// See [`crate::build`].
pub fn build(config: &protos::Ssd, input: InputType) -> Result<Model, ModelError> {
    let num_classes = size("model.ssd.num_classes", config.num_classes(), 1)?;
    let extractor = message(
        "model.ssd.feature_extractor",
        config.feature_extractor.as_ref(),
    )?;
    let resizer = FixedShape::from_config(config.image_resizer.as_ref())?;
    let anchor_generator = anchor_generator(config)?;
    let class_slots = num_classes + u64::from(config.add_background_class());
    let predictor = predictor(config, class_slots, anchor_generator.per_location())?;
    let box_coder = FasterRcnnBoxCoder::from_config(config.box_coder.as_ref())?;
    let post = message("model.ssd.post_processing", config.post_processing.as_ref())?;
    let score_converter = ScoreConverter::from_config(post)?;
    let nms = NonMaxSuppression::from_config(post.batch_non_max_suppression.as_ref())?;

    let mut builder = Builder::new(extractor.r#type());
    let b = &mut builder;
    let images = b.scope("Preprocessor", |b| {
        let images = input.declare(b)?;
        let resized = resizer.apply(b, images)?;
        // The reference maps 0..255 to -1..1 before it resizes, which gives the same values at the price of touching every pixel of the
        // original.
        let halved = b.binary_scalar("scale", Binary::Mul, resized, 2.0 / 255.0)?;
        Ok::<_, ModelError>(b.binary_scalar("shift", Binary::Sub, halved, 1.0)?)
    })?;
    let features = b.scope("FeatureExtractor", |b| {
        mobilenet_v2_fpn(b, extractor, images, resizer.size)
    })?;
    let spatial = features
        .iter()
        .map(|f| spatial_size(b, *f))
        .collect::<Result<Vec<_>, _>>()?;
    let anchors = anchor_generator.generate(&spatial, resizer.size)?;
    let predictor_path = Path::new("_box_predictor");
    let predictions = b.scope("BoxPredictor", |b| {
        predictor.build(b, &predictor_path, &features)
    })?;

    b.scope::<_, ModelError>("Postprocessor", |b| {
        let boxes = b.scope("decode", |b| {
            box_coder.decode(b, predictions.box_encodings, &anchors)
        })?;
        let all_scores = score_converter.apply(b, predictions.class_scores)?;
        let has_background = config.add_background_class() || config.explicit_background_class();
        let scores = if has_background {
            b.slice_last(
                "foreground_scores",
                all_scores,
                1,
                class_slots.saturating_sub(1),
            )?
        } else {
            all_scores
        };
        let detections = b.scope("nms", |b| nms.build(b, boxes, scores, all_scores))?;
        let classes = b.binary_scalar("classes_from_1", Binary::Add, detections.classes, 1.0)?;
        b.output("detection_anchor_indices", detections.anchor_indices);
        b.output("detection_boxes", detections.boxes);
        b.output("detection_classes", classes);
        b.output("detection_multiclass_scores", detections.multiclass_scores);
        b.output("detection_scores", detections.scores);
        b.output("num_detections", detections.num_detections);
        b.output("raw_detection_boxes", boxes);
        b.output("raw_detection_scores", all_scores);
        Ok(())
    })?;
    Ok(Model {
        graph: builder.finish(),
        architecture: extractor.r#type().to_owned(),
        num_classes,
        image_size: resizer.size,
    })
}

fn anchor_generator(config: &protos::Ssd) -> Result<Multiscale, ModelError> {
    const FIELD: &str = "model.ssd.anchor_generator";
    let other = |given: &str| unsupported(FIELD, given, "multiscale_anchor_generator");
    let generator = message(FIELD, config.anchor_generator.as_ref())?;
    match &generator.anchor_generator_oneof {
        Some(AnchorGeneratorOneof::MultiscaleAnchorGenerator(config)) => {
            Multiscale::from_config(config)
        }
        Some(AnchorGeneratorOneof::SsdAnchorGenerator(_)) => Err(other("ssd_anchor_generator")),
        Some(AnchorGeneratorOneof::GridAnchorGenerator(_)) => Err(other("grid_anchor_generator")),
        Some(AnchorGeneratorOneof::FlexibleGridAnchorGenerator(_)) => {
            Err(other("flexible_grid_anchor_generator"))
        }
        None => Err(ModelError::Missing { field: FIELD }),
    }
}

fn predictor(
    config: &protos::Ssd,
    class_slots: u64,
    anchors_per_location: u64,
) -> Result<WeightShared, ModelError> {
    const FIELD: &str = "model.ssd.box_predictor";
    let predictor = message(FIELD, config.box_predictor.as_ref())?;
    let given = match &predictor.box_predictor_oneof {
        Some(BoxPredictorOneof::WeightSharedConvolutionalBoxPredictor(config)) => {
            return WeightShared::from_config(config, class_slots, anchors_per_location);
        }
        Some(BoxPredictorOneof::ConvolutionalBoxPredictor(_)) => "convolutional_box_predictor",
        Some(BoxPredictorOneof::MaskRcnnBoxPredictor(_)) => "mask_rcnn_box_predictor",
        Some(BoxPredictorOneof::RfcnBoxPredictor(_)) => "rfcn_box_predictor",
        None => return Err(ModelError::Missing { field: FIELD }),
    };
    Err(unsupported(
        FIELD,
        given,
        "weight_shared_convolutional_box_predictor",
    ))
}

fn spatial_size(b: &Builder, feature: ValueId) -> Result<[u64; 2], ModelError> {
    match b.shape(feature).dims() {
        [_, Dim::Known(h), Dim::Known(w), _] => Ok([*h, *w]),
        _ => Err(ModelError::Inconsistent(
            "anchors over feature maps of unknown size".into(),
        )),
    }
}

/// `ssd_mobilenet_v2_fpn_keras`: MobileNetV2 and a feature pyramid, whose levels beyond 5 are further convolutions.
fn mobilenet_v2_fpn(
    b: &mut Builder,
    config: &protos::SsdFeatureExtractor,
    images: ValueId,
    image_size: [u64; 2],
) -> Result<Vec<ValueId>, ModelError> {
    const MIN_LEVEL: &str = "model.ssd.feature_extractor.fpn.min_level";
    const MAX_LEVEL: &str = "model.ssd.feature_extractor.fpn.max_level";
    const DEPTH: &str = "model.ssd.feature_extractor.fpn.additional_layer_depth";
    const MIN_DEPTH: &str = "model.ssd.feature_extractor.min_depth";
    const MULTIPLIER: &str = "model.ssd.feature_extractor.depth_multiplier";
    const MULTIPLE: &str = "model.ssd.feature_extractor.pad_to_multiple";
    const HYPERPARAMS: &str = "model.ssd.feature_extractor.conv_hyperparams";
    /// The levels that MobileNetV2 itself has: strides 4 to 32.
    const BACKBONE_LEVELS: std::ops::RangeInclusive<u64> = 2..=5;
    check_extractor(config)?;
    if image_size.iter().any(|size| *size < SMALLEST_IMAGE) {
        let given = format!("{}x{}", image_size[0], image_size[1]);
        let field = "model.ssd.image_resizer.fixed_shape_resizer";
        return Err(invalid(
            field,
            given,
            format!("at least {SMALLEST_IMAGE}x{SMALLEST_IMAGE}"),
        ));
    }
    let defaults = protos::FeaturePyramidNetworks::default();
    let fpn = match &config.feature_pyramid_oneof {
        Some(FeaturePyramidOneof::Fpn(fpn)) => fpn,
        Some(FeaturePyramidOneof::Bifpn(_)) => {
            return Err(unsupported(
                "model.ssd.feature_extractor",
                "bifpn",
                "fpn for this type",
            ));
        }
        None => &defaults,
    };
    let min_level = size(MIN_LEVEL, fpn.min_level(), 2)?;
    let max_level = size(MAX_LEVEL, fpn.max_level(), min_level)?;
    if !BACKBONE_LEVELS.contains(&min_level) {
        return Err(invalid(MIN_LEVEL, min_level, "2 to 5"));
    }
    if max_level > 16 {
        return Err(invalid(MAX_LEVEL, max_level, "at most 16"));
    }
    let top_level = max_level.min(*BACKBONE_LEVELS.end());
    let depth_multiplier = multiplier(MULTIPLIER, config.depth_multiplier())?;
    let min_depth = size(MIN_DEPTH, config.min_depth(), 0)?;
    let hyperparams = Hyperparams::from_config(HYPERPARAMS, config.conv_hyperparams.as_ref())?;
    let backbone = MobilenetV2 {
        depth_multiplier,
        min_depth,
        explicit_padding: config.use_explicit_padding(),
        hyperparams: if config.override_base_feature_extractor_hyperparams() {
            hyperparams
        } else {
            Hyperparams::MOBILENET
        },
    };
    let depth = scaled(
        size(DEPTH, fpn.additional_layer_depth(), 0)?,
        depth_multiplier,
    )
    .max(min_depth);
    if depth == 0 {
        return Err(invalid(DEPTH, 0, "at least 1 after the depth multiplier"));
    }
    let pyramid = Fpn {
        depth,
        use_depthwise: config.use_depthwise(),
        explicit_padding: config.use_explicit_padding(),
        hyperparams,
    };

    let path = Path::new("_feature_extractor");
    let multiple = size(MULTIPLE, config.pad_to_multiple(), 1)?;
    let padding = image_size.map(|size| (0, size.next_multiple_of(multiple) - size));
    let images = if padding == [(0, 0); 2] {
        images
    } else {
        b.pad(
            "pad_to_multiple",
            images,
            &[(0, 0), padding[0], padding[1], (0, 0)],
        )?
    };
    let features = b.scope("MobilenetV2", |b| {
        backbone.build(b, &path.child("classification_backbone"), images)
    })?;
    // The reference takes the last maps of the backbone, whatever the levels are called: with a top level below 5 these are coarser
    // than the levels' names say.
    let levels = usize::try_from(top_level - min_level + 1).unwrap_or(features.len());
    let used = &features[features.len().saturating_sub(levels)..];
    b.scope("FeatureMaps", |b| {
        let generator = path.child("_fpn_features_generator");
        let mut maps = pyramid.top_down(b, &generator, used)?;
        if let Some(coarsest) = maps.last().copied() {
            let coarse = usize::try_from(max_level - top_level).unwrap_or_default();
            let layers = path.child("_coarse_feature_layers");
            // Named after the classifier's 19 layers.
            maps.extend(pyramid.coarse(b, &layers, coarsest, coarse, 20)?);
        }
        Ok(maps)
    })
}

/// Refuses other types, and fields that the type's class in the reference does not take.
fn check_extractor(config: &protos::SsdFeatureExtractor) -> Result<(), ModelError> {
    let name = config.r#type();
    if !FEATURE_EXTRACTORS.contains(&name) {
        let given = if name.is_empty() { "none" } else { name };
        return Err(unsupported(TYPE, given, FEATURE_EXTRACTORS.join(", ")));
    }
    for (field, set) in [
        (
            "model.ssd.feature_extractor.replace_preprocessor_with_placeholder",
            config.replace_preprocessor_with_placeholder.is_some(),
        ),
        (
            "model.ssd.feature_extractor.num_layers",
            config.num_layers.is_some(),
        ),
        (
            "model.ssd.feature_extractor.spaghettinet_arch_name",
            config.spaghettinet_arch_name.is_some(),
        ),
    ] {
        if set {
            return Err(unsupported(
                field,
                "a value",
                format!("leaving it out for type {name}"),
            ));
        }
    }
    Ok(())
}
