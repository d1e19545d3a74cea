//! Usual configurations of SSDs, one or more for each feature extractor.

use tfod_config::protos;

use crate::fit;
use crate::meta::ssd::extractor;

/// What the templates have in common. The image is large enough for every extractor.
const COMMON: &str = "
    num_classes: 90
    image_resizer { fixed_shape_resizer { height: 256 width: 256 } }
    box_coder { faster_rcnn_box_coder { } }
    post_processing { batch_non_max_suppression { } score_converter: SIGMOID }";

/// Whether a template is one for the extractor of this name, and what makes it differ from others, in text format.
type Template = (fn(&str) -> bool, &'static str);

/// Usual configurations.
const TEMPLATES: [Template; 5] = [
    // SSD
    (
        |name| !name.contains("fpn"),
        "feature_extractor { conv_hyperparams { activation: RELU_6 batch_norm { scale: true } } override_base_feature_extractor_hyperparams: true }
         anchor_generator { ssd_anchor_generator { num_layers: 6 aspect_ratios: [1, 2, 0.5, 3, 0.3333] } }
         box_predictor { convolutional_box_predictor { use_dropout: false kernel_size: 1 conv_hyperparams { } } }",
    ),
    // RetinaNet
    (
        |name| name.contains("_fpn_"),
        "feature_extractor { conv_hyperparams { activation: RELU_6 batch_norm { scale: true } } override_base_feature_extractor_hyperparams: true }
         anchor_generator { multiscale_anchor_generator { aspect_ratios: [1, 2, 0.5] } }
         box_predictor { weight_shared_convolutional_box_predictor {
           depth: 256 num_layers_before_predictor: 4 conv_hyperparams { activation: RELU_6 batch_norm { scale: true } } } }",
    ),
    // FPNLite
    (
        |name| name.contains("_fpn_") && name.contains("mobilenet"),
        "feature_extractor { use_depthwise: true fpn { additional_layer_depth: 128 }
           conv_hyperparams { activation: RELU_6 batch_norm { scale: true } } override_base_feature_extractor_hyperparams: true }
         anchor_generator { multiscale_anchor_generator { aspect_ratios: [1, 2, 0.5] } }
         box_predictor { weight_shared_convolutional_box_predictor {
           depth: 128 num_layers_before_predictor: 4 share_prediction_tower: true use_depthwise: true
           conv_hyperparams { activation: RELU_6 batch_norm { scale: true } } } }",
    ),
    // EfficientDet as published: with biases before normalisation, without a class for the background
    (
        |name| name.contains("_bifpn_"),
        "add_background_class: false
         feature_extractor { conv_hyperparams { force_use_bias: true activation: SWISH batch_norm { scale: true } } }
         anchor_generator { multiscale_anchor_generator { aspect_ratios: [1, 2, 0.5] scales_per_octave: 3 } }
         box_predictor { weight_shared_convolutional_box_predictor {
           depth: 64 num_layers_before_predictor: 3 use_depthwise: true
           conv_hyperparams { force_use_bias: true activation: SWISH batch_norm { scale: true } } } }",
    ),
    // EfficientDet without them
    (
        |name| name.contains("_bifpn_"),
        "feature_extractor { conv_hyperparams { activation: SWISH batch_norm { scale: true } } }
         anchor_generator { multiscale_anchor_generator { aspect_ratios: [1, 2, 0.5] scales_per_octave: 3 } }
         box_predictor { weight_shared_convolutional_box_predictor {
           depth: 64 num_layers_before_predictor: 3 use_depthwise: true
           conv_hyperparams { activation: SWISH batch_norm { scale: true } } } }",
    ),
];

/// All of them.
pub(in crate::meta::ssd) fn templates() -> Vec<protos::DetectionModel> {
    let all = TEMPLATES.iter().flat_map(|(is_for, text)| {
        let names = extractor::names().filter(|name| is_for(name));
        names.filter_map(|name| template(name, text))
    });
    all.collect()
}

fn template(extractor: &str, text: &str) -> Option<protos::DetectionModel> {
    fit::template(&format!(
        "model {{ ssd {{ {COMMON} {text} feature_extractor {{ type: '{extractor}' }} }} }}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GraphOptions, build};

    #[test]
    fn every_extractor_has_a_template_that_can_be_built() {
        for name in extractor::names() {
            let texts = TEMPLATES.iter().filter(|(is_for, _)| is_for(name));
            let mut count = 0;
            for (_, text) in texts {
                let config = template(name, text).expect(name);
                let built = build(&config, &GraphOptions::default());
                assert!(built.is_ok(), "{name}: {}", built.unwrap_err());
                count += 1;
            }
            assert!(count > 0, "{name}");
        }
    }
}
