//! Why a checkpoint may not fit an SSD's configuration: the fields that decide its variables, and what the checkpoint's shapes suggest for them. The search is
//! [`crate::fit`]'s.

mod convolutional;
mod templates;

pub(super) use templates::templates;

use tfod_config::protos;
use tfod_config::protos::box_predictor::BoxPredictorOneof;
use tfod_config::protos::detection_model::Model as Proto;
use tfod_config::protos::image_resizer::ImageResizerOneof as Resizer;
use tfod_config::protos::ssd_feature_extractor::FeaturePyramidOneof;

use super::extractor;
use crate::KeypointLabels;
use crate::fit::{Candidate, Variables, last_size};

const GRAYSCALE: [&str; 4] = [
    "model.ssd.image_resizer.fixed_shape_resizer.convert_to_grayscale",
    "model.ssd.image_resizer.keep_aspect_ratio_resizer.convert_to_grayscale",
    "model.ssd.image_resizer.conditional_shape_resizer.convert_to_grayscale",
    "model.ssd.image_resizer.pad_to_multiple_resizer.convert_to_grayscale",
];
const CLASSES: &str = "model.ssd.num_classes";
const EXTRACTOR: &str = "model.ssd.feature_extractor.type";
const BACKGROUND: &str = "model.ssd.add_background_class";
const DROPOUT: &str =
    "model.ssd.box_predictor.weight_shared_convolutional_box_predictor.use_dropout";
const LAYERS: &str =
    "model.ssd.box_predictor.weight_shared_convolutional_box_predictor.num_layers_before_predictor";
const SHARE: &str =
    "model.ssd.box_predictor.weight_shared_convolutional_box_predictor.share_prediction_tower";
const DEPTH: &str = "model.ssd.box_predictor.weight_shared_convolutional_box_predictor.depth";
const HEAD_DEPTHWISE: &str =
    "model.ssd.box_predictor.weight_shared_convolutional_box_predictor.use_depthwise";
const DEPTHWISE: &str = "model.ssd.feature_extractor.use_depthwise";
const PADDING: &str = "model.ssd.feature_extractor.use_explicit_padding";
const MULTIPLIER: &str = "model.ssd.feature_extractor.depth_multiplier";
const MIN_DEPTH: &str = "model.ssd.feature_extractor.min_depth";
const PYRAMID_DEPTH: &str = "model.ssd.feature_extractor.fpn.additional_layer_depth";
const PYRAMID_LEVELS: &str =
    "model.ssd.feature_extractor.fpn.max_level (and the anchor generator's)";
const BIFPN_ITERATIONS: &str = "model.ssd.feature_extractor.bifpn.num_iterations";
const BIFPN_FILTERS: &str = "model.ssd.feature_extractor.bifpn.num_filters";
const BIFPN_COMBINE: &str = "model.ssd.feature_extractor.bifpn.combine_method";
const BIFPN_LEVELS: &str =
    "model.ssd.feature_extractor.bifpn.max_level (and the anchor generator's)";
const SCALES: &str = "model.ssd.anchor_generator.multiscale_anchor_generator.scales_per_octave";
const RATIOS: &str = "model.ssd.anchor_generator.multiscale_anchor_generator.aspect_ratios";
const KERNEL: &str =
    "model.ssd.box_predictor.weight_shared_convolutional_box_predictor.kernel_size";

/// Fields that a checkpoint cannot tell apart.
pub(super) const ALIKE: [[&str; 2]; 2] = [[CLASSES, BACKGROUND], [SCALES, RATIOS]];
/// More aspect ratios than anybody uses.
const MOST_RATIOS: u8 = 32;

/// Depth multipliers of published checkpoints.
const MULTIPLIERS: [f32; 9] = [0.25, 0.35, 0.5, 0.75, 1.0, 1.25, 1.3, 1.4, 2.0];
/// More tower layers than anybody uses.
const MOST_LAYERS: i32 = 8;
/// More rounds of a weighted pyramid than any published model has.
const MOST_ITERATIONS: i32 = 9;
/// Collects candidates that differ from the configuration in one field.
type Candidates<'a> = crate::fit::Candidates<'a, protos::Ssd>;

impl Candidates<'_> {
    fn predictor<T: ToString>(
        &mut self,
        field: &'static str,
        configured: T,
        trained: T,
        change: impl FnOnce(&mut protos::WeightSharedConvolutionalBoxPredictor),
    ) {
        self.push(field, configured, trained, |config| {
            if let Some(BoxPredictorOneof::WeightSharedConvolutionalBoxPredictor(predictor)) =
                config
                    .box_predictor
                    .as_mut()
                    .and_then(|p| p.box_predictor_oneof.as_mut())
            {
                change(predictor);
            }
        });
    }

    fn extractor<T: ToString>(
        &mut self,
        field: &'static str,
        configured: T,
        trained: T,
        change: impl FnOnce(&mut protos::SsdFeatureExtractor),
    ) {
        self.push(field, configured, trained, |config| {
            if let Some(extractor) = config.feature_extractor.as_mut() {
                change(extractor);
            }
        });
    }
}

/// Changes of one field each.
pub(super) fn candidates(
    config: &protos::DetectionModel,
    _labels: Option<&KeypointLabels>,
    variables: &dyn Variables,
) -> Vec<Candidate> {
    let Some(Proto::Ssd(config)) = &config.model else {
        return Vec::new();
    };
    let mut all = Candidates::new(config, Proto::Ssd);
    grayscale_candidate(&mut all);
    predictor_candidates(&mut all, variables);
    extractor_candidates(&mut all, variables);
    all.into_list()
}

/// Whether the network sees colours, which its first kernel shows.
fn grayscale_candidate(all: &mut Candidates<'_>) {
    let resizer = all.base.image_resizer.as_ref();
    let Some(resizer) = resizer.and_then(|resizer| resizer.image_resizer_oneof.as_ref()) else {
        return;
    };
    let (field, flag) = match resizer {
        Resizer::FixedShapeResizer(fixed) => (GRAYSCALE[0], fixed.convert_to_grayscale()),
        Resizer::KeepAspectRatioResizer(keep) => (GRAYSCALE[1], keep.convert_to_grayscale()),
        Resizer::ConditionalShapeResizer(conditional) => {
            (GRAYSCALE[2], conditional.convert_to_grayscale())
        }
        Resizer::PadToMultipleResizer(pad) => (GRAYSCALE[3], pad.convert_to_grayscale()),
        Resizer::IdentityResizer(_) => return,
    };
    all.push(field, flag, !flag, |config| {
        let resizer = config.image_resizer.as_mut();
        let to = Some(!flag);
        match resizer.and_then(|resizer| resizer.image_resizer_oneof.as_mut()) {
            Some(Resizer::FixedShapeResizer(fixed)) => fixed.convert_to_grayscale = to,
            Some(Resizer::KeepAspectRatioResizer(keep)) => keep.convert_to_grayscale = to,
            Some(Resizer::ConditionalShapeResizer(conditional)) => {
                conditional.convert_to_grayscale = to;
            }
            Some(Resizer::PadToMultipleResizer(pad)) => pad.convert_to_grayscale = to,
            Some(Resizer::IdentityResizer(_)) | None => {}
        }
    });
}

fn predictor_candidates(all: &mut Candidates<'_>, variables: &dyn Variables) {
    let config = all.base;
    let predictor = config.box_predictor.as_ref();
    let predictor = predictor.and_then(|p| p.box_predictor_oneof.as_ref());
    let predictor = match predictor {
        Some(BoxPredictorOneof::WeightSharedConvolutionalBoxPredictor(predictor)) => predictor,
        Some(BoxPredictorOneof::ConvolutionalBoxPredictor(predictor)) => {
            return convolutional::candidates(all, predictor, variables);
        }
        _ => return,
    };
    let class_bias = [0, 1].map(|i| {
        format!("_box_predictor/_prediction_heads/class_predictions_with_background/_class_predictor_layers/{i}/bias")
    });
    let box_bias = ["_box_predictor/_box_prediction_head/_box_encoder_layers/0/bias".to_owned()];
    let classes = last_size(variables, &class_bias);
    let boxes = last_size(variables, &box_bias);
    if let (Some(classes), Some(boxes)) = (classes, boxes) {
        // Box encodings have four values an anchor, so the checkpoint itself says how many anchors it was trained with.
        class_candidates(all, classes, boxes / 4);
        scales_candidate(all, boxes / 4);
    }
    let flag = predictor.use_dropout();
    all.predictor(DROPOUT, flag, !flag, |p| p.use_dropout = Some(!flag));
    let flag = predictor.share_prediction_tower();
    all.predictor(SHARE, flag, !flag, |p| {
        p.share_prediction_tower = Some(!flag);
    });
    let flag = predictor.use_depthwise();
    all.predictor(HEAD_DEPTHWISE, flag, !flag, |p| {
        p.use_depthwise = Some(!flag);
    });
    for layers in 0..=MOST_LAYERS {
        all.predictor(
            LAYERS,
            predictor.num_layers_before_predictor(),
            layers,
            |p| {
                p.num_layers_before_predictor = Some(layers);
            },
        );
    }
    for size in [1, 3, 5, 7] {
        all.predictor(KERNEL, predictor.kernel_size(), size, |p| {
            p.kernel_size = Some(size);
        });
    }
    let kernels: Vec<String> = ["PredictionTower", "BoxPredictionTower"]
        .iter()
        .flat_map(|scope| ["kernel", "pointwise_kernel"].map(|kernel| (scope, kernel)))
        .map(|(scope, kernel)| format!("_box_predictor/_head_scope_conv_layers/{scope}/0/{kernel}"))
        .collect();
    if let Some(depth) = last_size(variables, &kernels) {
        all.predictor(DEPTH, predictor.depth(), depth, |p| p.depth = Some(depth));
    }
}

/// The numbers of classes that fit heads of so many class scores and anchors at a position.
fn class_candidates(all: &mut Candidates<'_>, scores: i32, anchors: i32) {
    let config = all.base;
    let per_anchor = scores.checked_div(anchors).unwrap_or_default();
    let background = i32::from(config.add_background_class());
    let classes = per_anchor - background;
    all.push(CLASSES, config.num_classes(), classes, |c| {
        c.num_classes = Some(classes);
    });
    // A class more or less may be the background's.
    if per_anchor == config.num_classes() + 1 - background {
        let flipped = !config.add_background_class();
        all.push(BACKGROUND, !flipped, flipped, |c| {
            c.add_background_class = Some(flipped);
        });
    }
}

fn scales_candidate(all: &mut Candidates<'_>, anchors: i32) {
    use protos::anchor_generator::AnchorGeneratorOneof::MultiscaleAnchorGenerator;
    let generator = all.base.anchor_generator.as_ref();
    let generator = generator.and_then(|g| g.anchor_generator_oneof.as_ref());
    let Some(MultiscaleAnchorGenerator(generator)) = generator else {
        return;
    };
    let ratios = i32::try_from(generator.aspect_ratios.len()).unwrap_or(i32::MAX);
    let scales = generator.scales_per_octave();
    if let Some(count) = anchors
        .checked_div(scales)
        .filter(|count| (1..=i32::from(MOST_RATIOS)).contains(count) && count * scales == anchors)
    {
        let (configured, trained) = (
            format!("{ratios} of them"),
            format!("{count} of them ({anchors} anchors at each position in all)"),
        );
        all.push(RATIOS, configured, trained, |config| {
            if let Some(generator) = multiscale(config) {
                let count = usize::try_from(count).unwrap_or_default();
                generator.aspect_ratios.resize(count, 1.0);
            }
        });
    }
    let Some(scales) = anchors
        .checked_div(ratios)
        .filter(|s| *s > 0 && s * ratios == anchors)
    else {
        return;
    };
    all.push(SCALES, generator.scales_per_octave(), scales, |config| {
        if let Some(generator) = multiscale(config) {
            generator.scales_per_octave = Some(scales);
        }
    });
}

fn extractor_candidates(all: &mut Candidates<'_>, variables: &dyn Variables) {
    let Some(configured) = all.base.feature_extractor.as_ref() else {
        return;
    };
    for name in extractor::names() {
        all.extractor(EXTRACTOR, configured.r#type(), name, |e| {
            e.r#type = Some(name.to_owned());
        });
    }
    let flag = configured.use_depthwise();
    all.extractor(DEPTHWISE, flag, !flag, |e| e.use_depthwise = Some(!flag));
    let flag = configured.use_explicit_padding();
    all.extractor(PADDING, flag, !flag, |e| {
        e.use_explicit_padding = Some(!flag);
    });
    for multiplier in MULTIPLIERS {
        all.extractor(MULTIPLIER, configured.depth_multiplier(), multiplier, |e| {
            e.depth_multiplier = Some(multiplier);
        });
    }
    for depth in [0, 8, 16, 32] {
        all.extractor(MIN_DEPTH, configured.min_depth(), depth, |e| {
            e.min_depth = Some(depth);
        });
    }
    let defaults = protos::FeaturePyramidNetworks::default();
    let fpn = match &configured.feature_pyramid_oneof {
        Some(FeaturePyramidOneof::Fpn(fpn)) => fpn,
        Some(FeaturePyramidOneof::Bifpn(bifpn)) => {
            bifpn_candidates(all, bifpn, variables);
            return;
        }
        None => &defaults,
    };
    let with_fpn = |extractor: &mut protos::SsdFeatureExtractor,
                    change: &dyn Fn(&mut protos::FeaturePyramidNetworks)| {
        let mut fpn = *fpn;
        change(&mut fpn);
        extractor.feature_pyramid_oneof = Some(FeaturePyramidOneof::Fpn(fpn));
    };
    for depth in [32, 48, 64, 96, 128, 256] {
        all.extractor(PYRAMID_DEPTH, fpn.additional_layer_depth(), depth, |e| {
            with_fpn(e, &|fpn| fpn.additional_layer_depth = Some(depth));
        });
    }
    for level in 5..=8 {
        all.push(PYRAMID_LEVELS, fpn.max_level(), level, |config| {
            if let Some(extractor) = config.feature_extractor.as_mut() {
                with_fpn(extractor, &|fpn| fpn.max_level = Some(level));
            }
            set_anchor_levels(config, level);
        });
    }
}

/// Gives the anchors another highest level, as a pyramid needs it.
fn set_anchor_levels(config: &mut protos::Ssd, max_level: i32) {
    if let Some(generator) = multiscale(config) {
        generator.max_level = Some(max_level);
    }
}

/// The anchors of a feature pyramid.
fn multiscale(config: &mut protos::Ssd) -> Option<&mut protos::MultiscaleAnchorGenerator> {
    use protos::anchor_generator::AnchorGeneratorOneof::MultiscaleAnchorGenerator;
    match config
        .anchor_generator
        .as_mut()?
        .anchor_generator_oneof
        .as_mut()?
    {
        MultiscaleAnchorGenerator(generator) => Some(generator),
        _ => None,
    }
}

fn bifpn_candidates(
    all: &mut Candidates<'_>,
    bifpn: &protos::BidirectionalFeaturePyramidNetworks,
    variables: &dyn Variables,
) {
    fn change(
        config: &mut protos::Ssd,
        change: impl FnOnce(&mut protos::BidirectionalFeaturePyramidNetworks),
    ) {
        let extractor = config.feature_extractor.as_mut();
        if let Some(FeaturePyramidOneof::Bifpn(bifpn)) =
            extractor.and_then(|e| e.feature_pyramid_oneof.as_mut())
        {
            change(bifpn);
        }
    }
    // The first map that the pyramid pools, from the backbone's coarsest.
    let kernel = ["_feature_extractor/_bifpn_stage/node_input_blocks/0/0/1/0/kernel".to_owned()];
    if let Some(filters) = last_size(variables, &kernel) {
        all.push(BIFPN_FILTERS, bifpn.num_filters(), filters, |config| {
            change(config, |bifpn| bifpn.num_filters = Some(filters));
        });
    }
    for rounds in 1..=MOST_ITERATIONS {
        all.push(BIFPN_ITERATIONS, bifpn.num_iterations(), rounds, |config| {
            change(config, |bifpn| bifpn.num_iterations = Some(rounds));
        });
    }
    // Whether nodes have weights can be seen in a checkpoint, not what is done with them.
    for method in ["fast_attention", "sum"] {
        all.push(BIFPN_COMBINE, bifpn.combine_method(), method, |config| {
            change(config, |bifpn| {
                bifpn.combine_method = Some(method.to_owned());
            });
        });
    }
    for level in 6..=8 {
        all.push(BIFPN_LEVELS, bifpn.max_level(), level, |config| {
            change(config, |bifpn| bifpn.max_level = Some(level));
            set_anchor_levels(config, level);
        });
    }
}
