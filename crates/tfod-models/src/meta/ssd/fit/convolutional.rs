//! Changes to try on an SSD with the convolutional predictor. Every feature map has heads of its own, whose biases tell how many anchors and classes
//! a checkpoint was trained with.

use tfod_config::protos;
use tfod_config::protos::anchor_generator::AnchorGeneratorOneof::SsdAnchorGenerator;
use tfod_config::protos::box_predictor::BoxPredictorOneof::ConvolutionalBoxPredictor;

use super::{Candidates, MOST_LAYERS, MOST_RATIOS, class_candidates};
use crate::fit::{Variables, last_size};

const DROPOUT: &str = "model.ssd.box_predictor.convolutional_box_predictor.use_dropout";
const LAYERS: &str =
    "model.ssd.box_predictor.convolutional_box_predictor.num_layers_before_predictor";
const DEPTHWISE: &str = "model.ssd.box_predictor.convolutional_box_predictor.use_depthwise";
const KERNEL: &str = "model.ssd.box_predictor.convolutional_box_predictor.kernel_size";
const MIN_DEPTH: &str = "model.ssd.box_predictor.convolutional_box_predictor.min_depth";
const MAX_DEPTH: &str = "model.ssd.box_predictor.convolutional_box_predictor.max_depth";
const MAPS: &str = "model.ssd.feature_extractor.num_layers (and the anchor generator's)";
const LOWEST: &str = "model.ssd.anchor_generator.ssd_anchor_generator.reduce_boxes_in_lowest_layer";
const RATIOS: &str = "model.ssd.anchor_generator.ssd_anchor_generator.aspect_ratios";
const INTERPOLATED: &str =
    "model.ssd.anchor_generator.ssd_anchor_generator.interpolated_scale_aspect_ratio";

/// The most feature maps that an extractor has.
const MOST_MAPS: i32 = 6;
/// Kernel sizes that people use.
const KERNELS: [i32; 3] = [1, 3, 5];

/// Where the last convolution of a head can be in its list of layers, from the end: after dropout and three layers of a depthwise convolution.
const CLASS_PLACES: [usize; 4] = [4, 3, 1, 0];
const BOX_PLACES: [usize; 2] = [3, 0];

/// What a checkpoint's heads over one feature map predict.
struct Heads {
    /// Class scores at each position.
    classes: i32,
    /// Anchors at each position.
    anchors: i32,
}

fn heads(variables: &dyn Variables, map: usize) -> Option<Heads> {
    let heads = "_box_predictor/_prediction_heads";
    let classes = CLASS_PLACES.map(|i| {
        format!("{heads}/class_predictions_with_background/{map}/_class_predictor_layers/{i}/bias")
    });
    let boxes =
        BOX_PLACES.map(|i| format!("{heads}/box_encodings/{map}/_box_encoder_layers/{i}/bias"));
    Some(Heads {
        classes: last_size(variables, &classes)?,
        anchors: last_size(variables, &boxes)? / 4,
    })
}

/// Changes of one field of the predictor, its anchors or the number of feature maps.
pub(super) fn candidates(
    all: &mut Candidates<'_>,
    predictor: &protos::ConvolutionalBoxPredictor,
    variables: &dyn Variables,
) {
    if let Some(heads) = heads(variables, 0) {
        class_candidates(all, heads.classes, heads.anchors);
    }
    let flag = predictor.use_dropout();
    push(all, DROPOUT, flag, !flag, |p| p.use_dropout = Some(!flag));
    let flag = predictor.use_depthwise();
    push(all, DEPTHWISE, flag, !flag, |p| {
        p.use_depthwise = Some(!flag);
    });
    for layers in 0..=MOST_LAYERS {
        let configured = predictor.num_layers_before_predictor();
        push(all, LAYERS, configured, layers, |p| {
            p.num_layers_before_predictor = Some(layers);
        });
    }
    for kernel in KERNELS {
        push(all, KERNEL, predictor.kernel_size(), kernel, |p| {
            p.kernel_size = Some(kernel);
        });
    }
    depth_candidates(all, predictor, variables);
    for maps in 1..=MOST_MAPS {
        let configured = all.base.feature_extractor.as_ref();
        let configured = configured.map_or(MOST_MAPS, protos::SsdFeatureExtractor::num_layers);
        all.push(MAPS, configured, maps, |config| {
            if let Some(extractor) = config.feature_extractor.as_mut() {
                extractor.num_layers = Some(maps);
            }
            if let Some(generator) = anchors_mut(config) {
                generator.num_layers = Some(maps);
            }
        });
    }
    anchor_candidates(all, variables);
}

/// Widths of the convolutions before the heads, as the checkpoint has them.
fn depth_candidates(
    all: &mut Candidates<'_>,
    predictor: &protos::ConvolutionalBoxPredictor,
    variables: &dyn Variables,
) {
    let depths = (0..MOST_MAPS).filter_map(|map| {
        let kernel = format!("_box_predictor/_shared_nets/{map}/0/kernel");
        last_size(variables, &[kernel])
    });
    let depths: Vec<i32> = depths.collect();
    if let (Some(least), Some(most)) = (depths.iter().min(), depths.iter().max()) {
        push(all, MIN_DEPTH, predictor.min_depth(), *least, |p| {
            p.min_depth = Some(*least);
        });
        push(all, MAX_DEPTH, predictor.max_depth(), *most, |p| {
            p.max_depth = Some(*most);
        });
    }
}

fn anchor_candidates(all: &mut Candidates<'_>, variables: &dyn Variables) {
    let generator = all.base.anchor_generator.as_ref();
    let generator = generator.and_then(|g| g.anchor_generator_oneof.as_ref());
    let Some(SsdAnchorGenerator(generator)) = generator else {
        return;
    };
    let flag = generator.reduce_boxes_in_lowest_layer();
    push_anchors(all, LOWEST, flag, !flag, |g| {
        g.reduce_boxes_in_lowest_layer = Some(!flag);
    });
    let interpolated = generator.interpolated_scale_aspect_ratio();
    for ratio in [0.0, 1.0] {
        push_anchors(all, INTERPOLATED, interpolated, ratio, |g| {
            g.interpolated_scale_aspect_ratio = Some(ratio);
        });
    }
    // The second map has a box for each ratio, whatever the lowest has. Which ratios they are leaves no trace in a checkpoint.
    let Some(heads) = heads(variables, 1) else {
        return;
    };
    let ratios = heads.anchors - i32::from(interpolated > 0.0);
    let count = usize::try_from(ratios).ok();
    let Some(count) = count.filter(|count| *count <= usize::from(MOST_RATIOS)) else {
        return;
    };
    let text = |count: usize| format!("{count} numbers");
    let configured = text(generator.aspect_ratios.len());
    push_anchors(all, RATIOS, configured, text(count), |g| {
        g.aspect_ratios.resize(count, 1.0);
    });
}

fn push<T: ToString>(
    all: &mut Candidates<'_>,
    field: &'static str,
    configured: T,
    trained: T,
    change: impl FnOnce(&mut protos::ConvolutionalBoxPredictor),
) {
    all.push(field, configured, trained, |config| {
        let predictor = config.box_predictor.as_mut();
        if let Some(ConvolutionalBoxPredictor(predictor)) =
            predictor.and_then(|p| p.box_predictor_oneof.as_mut())
        {
            change(predictor);
        }
    });
}

fn push_anchors<T: ToString>(
    all: &mut Candidates<'_>,
    field: &'static str,
    configured: T,
    trained: T,
    change: impl FnOnce(&mut protos::SsdAnchorGenerator),
) {
    all.push(field, configured, trained, |config| {
        if let Some(generator) = anchors_mut(config) {
            change(generator);
        }
    });
}

fn anchors_mut(config: &mut protos::Ssd) -> Option<&mut protos::SsdAnchorGenerator> {
    let generator = config.anchor_generator.as_mut();
    match generator.and_then(|g| g.anchor_generator_oneof.as_mut()) {
        Some(SsdAnchorGenerator(generator)) => Some(generator),
        _ => None,
    }
}
