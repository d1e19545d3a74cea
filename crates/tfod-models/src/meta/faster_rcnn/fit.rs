//! Why a checkpoint may not fit the configuration of a two-stage detector: the fields that decide its variables, and what the checkpoint's shapes suggest for them. The search
//! is [`crate::fit`]'s.

use tfod_config::protos;
use tfod_config::protos::anchor_generator::AnchorGeneratorOneof;
use tfod_config::protos::box_predictor::BoxPredictorOneof;
use tfod_config::protos::detection_model::Model as Proto;

use super::{extractor, fit_context, fit_masks};
use crate::KeypointLabels;
use crate::fit::{self, Candidate, Variables, last_size};

const CLASSES: &str = "model.faster_rcnn.num_classes";
const EXTRACTOR: &str = "model.faster_rcnn.feature_extractor.type";
const STAGES: &str = "model.faster_rcnn.number_of_stages";
const SHARE: &str =
    "model.faster_rcnn.second_stage_box_predictor.mask_rcnn_box_predictor.share_box_across_classes";
const DROPOUT: &str =
    "model.faster_rcnn.second_stage_box_predictor.mask_rcnn_box_predictor.use_dropout";
const DEPTH: &str = "model.faster_rcnn.first_stage_box_predictor_depth";
const KERNEL: &str = "model.faster_rcnn.first_stage_box_predictor_kernel_size";
const SCALES: &str = "model.faster_rcnn.first_stage_anchor_generator.grid_anchor_generator.scales";
const RATIOS: &str =
    "model.faster_rcnn.first_stage_anchor_generator.grid_anchor_generator.aspect_ratios";
const OCTAVE: &str =
    "model.faster_rcnn.first_stage_anchor_generator.multiscale_anchor_generator.scales_per_octave";
const PYRAMID_RATIOS: &str =
    "model.faster_rcnn.first_stage_anchor_generator.multiscale_anchor_generator.aspect_ratios";
const PYRAMID_DEPTH: &str = "model.faster_rcnn.feature_extractor.fpn.additional_layer_depth";
const PYRAMID_LEVELS: &str =
    "model.faster_rcnn.feature_extractor.fpn.max_level (and the anchor generator's)";
const INITIAL_SIZE: &str = "model.faster_rcnn.initial_crop_size";

/// Fields that a checkpoint cannot tell apart.
pub(super) const ALIKE: [[&str; 2]; 2] = [[SCALES, RATIOS], [OCTAVE, PYRAMID_RATIOS]];
/// More than anybody uses.
const MOST_BOXES: u8 = 64;
/// Levels of pyramids that people use.
const LEVELS: std::ops::RangeInclusive<i32> = 4..=8;
/// Larger crops than anybody uses.
const LARGEST_CROP: i32 = 64;

/// Collects candidates that differ from the configuration in one field.
pub(super) type Candidates<'a> = crate::fit::Candidates<'a, protos::FasterRcnn>;

/// Changes of one field each.
pub(super) fn candidates(
    config: &protos::DetectionModel,
    _labels: Option<&KeypointLabels>,
    variables: &dyn Variables,
) -> Vec<Candidate> {
    let Some(Proto::FasterRcnn(config)) = &config.model else {
        return Vec::new();
    };
    let mut all = Candidates::new(config, Proto::FasterRcnn);
    stage_candidates(&mut all, variables);
    head_candidates(&mut all, variables);
    first_stage_candidates(&mut all, variables);
    fit_context::candidates(&mut all, variables);
    anchor_candidates(&mut all, variables);
    extractor_candidates(&mut all, variables);
    all.into_list()
}

/// A variable's last size, where it is there.
fn size_of(variables: &dyn Variables, path: &str) -> Option<i32> {
    last_size(variables, &[path.to_owned()])
}

/// A path of one of the second stage's dense layers; `dropout` moves it.
fn dense(head: &str, layers: &str, dropout: bool) -> String {
    let place = 1 + u8::from(dropout);
    format!("_mask_rcnn_box_predictor/{head}/{layers}/{place}/bias")
}

fn class_bias(dropout: bool) -> String {
    dense("_class_prediction_head", "_class_predictor_layers", dropout)
}

fn box_bias(dropout: bool) -> String {
    dense("_box_prediction_head", "_box_encoder_layers", dropout)
}

/// How many stages were trained.
fn stage_candidates(all: &mut Candidates<'_>, variables: &dyn Variables) {
    let places = [class_bias(false), class_bias(true)];
    let has_second = last_size(variables, &places).is_some();
    let trained = match (has_second, fit_masks::is_trained(variables)) {
        (true, true) => 3,
        (true, false) => 2,
        (false, _) => 1,
    };
    all.push(STAGES, all.base.number_of_stages(), trained, |config| {
        config.number_of_stages = Some(trained);
        if trained > 1 {
            add_second_stage(config);
        }
        if trained > 2 {
            add_masks(config);
        }
    });
}

/// Adds what a second stage needs and a configuration of one stage may lack.
fn add_second_stage(config: &mut protos::FasterRcnn) {
    let usual = extractor::names().next().and_then(template);
    let Some(Proto::FasterRcnn(usual)) = usual.and_then(|usual| usual.model) else {
        return;
    };
    let predictor = &mut config.second_stage_box_predictor;
    *predictor = predictor.take().or(usual.second_stage_box_predictor);
    let post = &mut config.second_stage_post_processing;
    *post = post.take().or(usual.second_stage_post_processing);
    config.initial_crop_size = config.initial_crop_size.or(usual.initial_crop_size);
    config.maxpool_kernel_size = config.maxpool_kernel_size.or(usual.maxpool_kernel_size);
    config.maxpool_stride = config.maxpool_stride.or(usual.maxpool_stride);
}

/// Adds what a third stage needs and a configuration of two may lack.
fn add_masks(config: &mut protos::FasterRcnn) {
    let predictor = config.second_stage_box_predictor.as_mut();
    if let Some(BoxPredictorOneof::MaskRcnnBoxPredictor(predictor)) =
        predictor.and_then(|p| p.box_predictor_oneof.as_mut())
    {
        predictor.predict_instance_masks = Some(true);
        predictor.conv_hyperparams.get_or_insert_default();
    }
}

/// The second stage's predictor.
fn head_candidates(all: &mut Candidates<'_>, variables: &dyn Variables) {
    let base = all.base;
    let predictor = base.second_stage_box_predictor.as_ref();
    let Some(BoxPredictorOneof::MaskRcnnBoxPredictor(predictor)) =
        predictor.and_then(|p| p.box_predictor_oneof.as_ref())
    else {
        return;
    };
    fit_masks::candidates(all, predictor, variables);
    if let Some(slots) = last_size(variables, &[class_bias(false), class_bias(true)])
        && slots > 1
    {
        all.push(CLASSES, base.num_classes(), slots - 1, |config| {
            config.num_classes = Some(slots - 1);
        });
    }
    let change = |all: &mut Candidates<'_>,
                  field: &'static str,
                  flag: bool,
                  change: fn(&mut protos::MaskRcnnBoxPredictor, bool)| {
        all.push(field, flag, !flag, |config| {
            let predictor = config.second_stage_box_predictor.as_mut();
            if let Some(BoxPredictorOneof::MaskRcnnBoxPredictor(predictor)) =
                predictor.and_then(|p| p.box_predictor_oneof.as_mut())
            {
                change(predictor, !flag);
            }
        });
    };
    if last_size(variables, &[box_bias(false), box_bias(true)]).is_some() {
        change(
            all,
            SHARE,
            predictor.share_box_across_classes(),
            |p, flag| {
                p.share_box_across_classes = Some(flag);
            },
        );
        change(all, DROPOUT, predictor.use_dropout(), |p, flag| {
            p.use_dropout = Some(flag);
        });
    }
}

/// The first stage's convolution.
fn first_stage_candidates(all: &mut Candidates<'_>, variables: &dyn Variables) {
    let base = all.base;
    let kernel = "_first_stage_box_predictor_first_conv/layer_with_weights-0/kernel";
    if let Some(depth) = size_of(variables, kernel) {
        let configured = base.first_stage_box_predictor_depth();
        all.push(DEPTH, configured, depth, |config| {
            config.first_stage_box_predictor_depth = Some(depth);
        });
    }
    let path: Vec<String> = kernel.split('/').map(str::to_owned).collect();
    let found = variables.find(&path);
    let height = found.and_then(|found| found.shape.first().copied());
    if let Some(size) = height.and_then(|size| i32::try_from(size).ok()) {
        let configured = base.first_stage_box_predictor_kernel_size();
        all.push(KERNEL, configured, size, |config| {
            config.first_stage_box_predictor_kernel_size = Some(size);
        });
    }
}

/// The boxes around each position.
fn anchor_candidates(all: &mut Candidates<'_>, variables: &dyn Variables) {
    const BIAS: &str = "_first_stage_box_predictor/_prediction_heads/class_predictions_with_background/0/_class_predictor_layers/0/bias";
    let Some(boxes) = size_of(variables, BIAS).map(|slots| slots / 2) else {
        return;
    };
    let Some(boxes) = usize::try_from(boxes)
        .ok()
        .filter(|n| (1..=usize::from(MOST_BOXES)).contains(n))
    else {
        return;
    };
    let base = all.base;
    let generator = base.first_stage_anchor_generator.as_ref();
    let list = |count: usize| format!("{count} numbers");
    let change = |config: &mut protos::FasterRcnn, change: &dyn Fn(&mut AnchorGeneratorOneof)| {
        let generator = config.first_stage_anchor_generator.as_mut();
        if let Some(generator) = generator.and_then(|g| g.anchor_generator_oneof.as_mut()) {
            change(generator);
        }
    };
    match generator.and_then(|g| g.anchor_generator_oneof.as_ref()) {
        Some(AnchorGeneratorOneof::GridAnchorGenerator(grid)) => {
            let (scales, ratios) = (grid.scales.len(), grid.aspect_ratios.len());
            if ratios > 0 && boxes.is_multiple_of(ratios) {
                let count = boxes / ratios;
                all.push(SCALES, list(scales), list(count), |config| {
                    change(config, &|generator| {
                        if let AnchorGeneratorOneof::GridAnchorGenerator(grid) = generator {
                            grid.scales = vec![1.0; count];
                        }
                    });
                });
            }
            if scales > 0 && boxes.is_multiple_of(scales) {
                let count = boxes / scales;
                all.push(RATIOS, list(ratios), list(count), |config| {
                    change(config, &|generator| {
                        if let AnchorGeneratorOneof::GridAnchorGenerator(grid) = generator {
                            grid.aspect_ratios = vec![1.0; count];
                        }
                    });
                });
            }
        }
        Some(AnchorGeneratorOneof::MultiscaleAnchorGenerator(multiscale)) => {
            let ratios = multiscale.aspect_ratios.len();
            let scales = usize::try_from(multiscale.scales_per_octave()).unwrap_or(0);
            if ratios > 0 && boxes.is_multiple_of(ratios) {
                let count = i32::try_from(boxes / ratios).unwrap_or(1);
                let configured = multiscale.scales_per_octave();
                all.push(OCTAVE, configured, count, |config| {
                    change(config, &|generator| {
                        if let AnchorGeneratorOneof::MultiscaleAnchorGenerator(all) = generator {
                            all.scales_per_octave = Some(count);
                        }
                    });
                });
            }
            if scales > 0 && boxes.is_multiple_of(scales) {
                let count = boxes / scales;
                all.push(PYRAMID_RATIOS, list(ratios), list(count), |config| {
                    change(config, &|generator| {
                        if let AnchorGeneratorOneof::MultiscaleAnchorGenerator(all) = generator {
                            all.aspect_ratios = vec![1.0; count];
                        }
                    });
                });
            }
        }
        _ => {}
    }
}

/// The feature extractor and its pyramid.
fn extractor_candidates(all: &mut Candidates<'_>, variables: &dyn Variables) {
    let base = all.base;
    let Some(extractor) = base.feature_extractor.as_ref() else {
        return;
    };
    for name in extractor::names() {
        all.push(EXTRACTOR, extractor.r#type(), name, |config| {
            if let Some(extractor) = config.feature_extractor.as_mut() {
                extractor.r#type = Some(name.to_owned());
            }
        });
    }
    let Some(fpn) = extractor::pyramid(extractor) else {
        return;
    };
    let change = |config: &mut protos::FasterRcnn,
                  change: &dyn Fn(&mut protos::FeaturePyramidNetworks)| {
        if let Some(extractor) = config.feature_extractor.as_mut() {
            change(extractor.fpn.get_or_insert(fpn));
        }
    };
    let top = "_feature_extractor_for_proposal_features/fpn_features_generator/top_layers/0/bias";
    if let Some(depth) = size_of(variables, top) {
        all.push(
            PYRAMID_DEPTH,
            fpn.additional_layer_depth(),
            depth,
            |config| {
                change(config, &|fpn| fpn.additional_layer_depth = Some(depth));
            },
        );
    }
    for level in LEVELS {
        all.push(PYRAMID_LEVELS, fpn.max_level(), level, |config| {
            change(config, &|fpn| fpn.max_level = Some(level));
            let generator = config.first_stage_anchor_generator.as_mut();
            if let Some(AnchorGeneratorOneof::MultiscaleAnchorGenerator(all)) =
                generator.and_then(|g| g.anchor_generator_oneof.as_mut())
            {
                all.max_level = Some(level);
            }
        });
    }
    crop_candidates(all, variables, fpn.additional_layer_depth());
}

/// The size of crops, which the first dense layer over a pyramid shows.
fn crop_candidates(all: &mut Candidates<'_>, variables: &dyn Variables, depth: i32) {
    let base = all.base;
    let kernel = "_feature_extractor_for_box_classifier_features/layer_with_weights-0/kernel";
    let path: Vec<String> = kernel.split('/').map(str::to_owned).collect();
    let Some(found) = variables.find(&path) else {
        return;
    };
    let (Some(values), Ok(depth)) = (found.shape.first().copied(), u64::try_from(depth)) else {
        return;
    };
    let (kernel, stride) = (base.maxpool_kernel_size(), base.maxpool_stride());
    if stride < 1 || kernel < 1 {
        return;
    }
    let pooled = |size: i32| u64::try_from((size - kernel) / stride + 1).unwrap_or(0);
    let fits =
        |size: &i32| *size >= kernel && pooled(*size).pow(2).checked_mul(depth) == Some(values);
    let sizes = (1..=LARGEST_CROP).filter(fits);
    // Of several sizes that are pooled to the same, one that has nothing left over.
    if let Some(size) = sizes.max() {
        all.push(INITIAL_SIZE, base.initial_crop_size(), size, |config| {
            config.initial_crop_size = Some(size);
        });
    }
}

/// What all usual configurations have.
const COMMON: &str = "num_classes: 90
    image_resizer { keep_aspect_ratio_resizer { min_dimension: 640 max_dimension: 640 pad_to_max_dimension: true } }
    first_stage_max_proposals: 300 initial_crop_size: 14 maxpool_kernel_size: 2 maxpool_stride: 2
    second_stage_box_predictor { mask_rcnn_box_predictor { fc_hyperparams { } } }
    second_stage_post_processing { batch_non_max_suppression { max_detections_per_class: 100 max_total_detections: 300 } score_converter: SOFTMAX }";
const GRID: &str = "first_stage_anchor_generator { grid_anchor_generator {
    scales: [0.25, 0.5, 1.0, 2.0] aspect_ratios: [0.5, 1.0, 2.0] } }";
const PYRAMID: &str = "first_stage_anchor_generator { multiscale_anchor_generator {
    min_level: 2 max_level: 6 aspect_ratios: [1.0, 2.0, 0.5] scales_per_octave: 2 normalize_coordinates: false } }
    feature_extractor { fpn { min_level: 2 max_level: 6 } conv_hyperparams { activation: RELU_6 batch_norm { scale: true } }
      override_base_feature_extractor_hyperparams: true }";

/// Usual configurations.
pub(super) fn templates() -> Vec<protos::DetectionModel> {
    extractor::names().filter_map(template).collect()
}

fn template(extractor: &str) -> Option<protos::DetectionModel> {
    let rest = if extractor.contains("_fpn_") {
        PYRAMID
    } else {
        GRID
    };
    fit::template(&format!(
        "model {{ faster_rcnn {{ {COMMON} {rest} feature_extractor {{ type: '{extractor}' }} }} }}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GraphOptions, build};

    #[test]
    fn every_extractor_has_a_template_that_can_be_built() {
        for name in extractor::names() {
            let config = template(name).expect(name);
            let built = build(&config, &GraphOptions::default());
            assert!(built.is_ok(), "{name}: {}", built.unwrap_err());
        }
    }
}
