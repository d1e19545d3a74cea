//! Why a checkpoint may not fit the mask branch of a configuration: how many convolutions it has, how wide they are, whether they come before the maps are enlarged, and
//! whether there is a mask for each class.

use tfod_config::protos;
use tfod_config::protos::box_predictor::BoxPredictorOneof;

use super::fit::Candidates;
use super::mask_head::{LAYERS_EACH, MOST_CONVOLUTIONS, PATH};
use crate::fit::{Variables, last_size};

const LAYERS: &str = "model.faster_rcnn.second_stage_box_predictor.mask_rcnn_box_predictor.mask_prediction_num_conv_layers";
const UPSAMPLE: &str = "model.faster_rcnn.second_stage_box_predictor.mask_rcnn_box_predictor.convolve_then_upsample_masks";
const LAYERS_AND_UPSAMPLE: &str = "model.faster_rcnn.second_stage_box_predictor.mask_rcnn_box_predictor.mask_prediction_num_conv_layers (and convolve_then_upsample_masks)";
const DEPTH: &str = "model.faster_rcnn.second_stage_box_predictor.mask_rcnn_box_predictor.mask_prediction_conv_depth";
const AGNOSTIC: &str =
    "model.faster_rcnn.second_stage_box_predictor.mask_rcnn_box_predictor.masks_are_class_agnostic";

/// A trained mask branch.
struct Trained {
    convolutions: i32,
    convolves_first: bool,
    /// Channels of the convolutions before the last, where there are any.
    depth: Option<i32>,
    /// Masks of a box.
    masks: i32,
}

impl Trained {
    /// That of a checkpoint; `None` where it has none.
    fn of(variables: &dyn Variables) -> Option<Self> {
        let width = |layer: u64| last_size(variables, &[format!("{PATH}/{layer}/kernel")]);
        // Enlarging is a layer among the others, which moves the last one.
        let layers = 0..=LAYERS_EACH * MOST_CONVOLUTIONS + 1;
        let widths: Vec<(u64, i32)> = layers
            .filter_map(|layer| Some((layer, width(layer)?)))
            .collect();
        let ((last, masks), before) = widths.split_last()?;
        let convolves_first = last % LAYERS_EACH == 1;
        let before_last = last / LAYERS_EACH;
        let convolutions = if convolves_first {
            before_last
        } else {
            before_last + 1
        };
        Some(Self {
            convolutions: i32::try_from(convolutions).ok()?,
            convolves_first,
            depth: before.first().map(|(_, depth)| *depth),
            masks: *masks,
        })
    }
}

/// Whether a checkpoint has a mask branch.
pub(super) fn is_trained(variables: &dyn Variables) -> bool {
    Trained::of(variables).is_some()
}

/// Changes of one field each, but where the number of layers and their order can only be changed together.
pub(super) fn candidates(
    all: &mut Candidates<'_>,
    config: &protos::MaskRcnnBoxPredictor,
    variables: &dyn Variables,
) {
    let Some(trained) = Trained::of(variables).filter(|_| all.base.number_of_stages() == 3) else {
        return;
    };
    let Trained {
        convolutions,
        convolves_first,
        ..
    } = trained;
    let (layers, upsample) = (
        config.mask_prediction_num_conv_layers(),
        config.convolve_then_upsample_masks(),
    );
    let mut push = |field,
                    configured: String,
                    trained: String,
                    change: &dyn Fn(&mut protos::MaskRcnnBoxPredictor)| {
        all.push(field, configured, trained, |config| {
            let predictor = config.second_stage_box_predictor.as_mut();
            if let Some(BoxPredictorOneof::MaskRcnnBoxPredictor(predictor)) =
                predictor.and_then(|p| p.box_predictor_oneof.as_mut())
            {
                change(predictor);
            }
        });
    };
    let set_layers = |p: &mut protos::MaskRcnnBoxPredictor| {
        p.mask_prediction_num_conv_layers = Some(convolutions);
    };
    let set_upsample = |p: &mut protos::MaskRcnnBoxPredictor| {
        p.convolve_then_upsample_masks = Some(convolves_first);
    };
    if layers != convolutions && upsample != convolves_first {
        let told = |layers: i32, upsample: bool| format!("{layers} ({upsample})");
        push(
            LAYERS_AND_UPSAMPLE,
            told(layers, upsample),
            told(convolutions, convolves_first),
            &|p| {
                set_layers(p);
                set_upsample(p);
            },
        );
    } else {
        push(
            LAYERS,
            layers.to_string(),
            convolutions.to_string(),
            &set_layers,
        );
        push(
            UPSAMPLE,
            upsample.to_string(),
            convolves_first.to_string(),
            &set_upsample,
        );
    }
    if let Some(depth) = trained.depth {
        let configured = config.mask_prediction_conv_depth();
        push(DEPTH, configured.to_string(), depth.to_string(), &|p| {
            p.mask_prediction_conv_depth = Some(depth);
        });
    }
    let (configured, agnostic) = (config.masks_are_class_agnostic(), trained.masks == 1);
    push(
        AGNOSTIC,
        configured.to_string(),
        agnostic.to_string(),
        &|p| {
            p.masks_are_class_agnostic = Some(agnostic);
        },
    );
}
