//! Which of the supported networks is a checkpoint of? Found by trying: a usual configuration of each feature extractor is compared with the
//! checkpoint, and the best ones are changed field by field until they fit.

use tfod_config::PipelineConfig;
use tfod_config::protos;
use tfod_config::protos::detection_model::Model as MetaArchitecture;

use super::{Fit, Refined, Variables, fit_of, refine};
use crate::meta::ssd::extractor;

/// How many configurations are changed to fit; the best of them is the answer.
const REFINED: usize = 2;

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

/// The supported network that a checkpoint is nearest to.
#[derive(Clone, Debug)]
pub struct Closest {
    /// The feature extractor, as configurations call it.
    pub extractor: String,
    /// A configuration of it. Only what leaves traces in a checkpoint is meant: classes, layers, widths; not sizes of images or thresholds.
    pub config: protos::DetectionModel,
    /// How the two go together.
    pub fit: Fit,
}

impl Closest {
    fn ssd(&self) -> Option<&protos::Ssd> {
        match &self.config.model {
            Some(MetaArchitecture::Ssd(ssd)) => Some(ssd),
            _ => None,
        }
    }

    /// The classes that it tells apart. A checkpoint only tells how many scores an anchor has, so this goes with
    /// [`Self::has_background`]: one class more without background would fit as well.
    pub fn num_classes(&self) -> Option<i32> {
        self.ssd().map(protos::Ssd::num_classes)
    }

    /// Whether the background is a class besides.
    pub fn has_background(&self) -> bool {
        self.ssd().is_some_and(protos::Ssd::add_background_class)
    }

    /// Whether everything in the checkpoint is of this network.
    pub fn is_complete(&self) -> bool {
        self.fit.is_complete() && self.fit.unused == 0
    }
}

/// Finds the supported network that a checkpoint is nearest to; `None` if it has no variable of any.
pub fn closest(variables: &dyn Variables) -> Option<Closest> {
    let mut tried: Vec<(usize, protos::Ssd)> = TEMPLATES
        .iter()
        .flat_map(|(is_for, text)| {
            let names = extractor::names().filter(|name| is_for(name));
            names.filter_map(|name| template(name, text))
        })
        .filter_map(|ssd| Some((fit_of(&ssd, variables)?, ssd)))
        .filter(|(fit, _)| fit.missing.len() < fit.total())
        .map(|(fit, ssd)| (fit.distance(), ssd))
        .collect();
    tried.sort_by_key(|(distance, _)| *distance);
    let refined = tried
        .iter()
        .take(REFINED)
        .filter_map(|(_, ssd)| refine(ssd, variables));
    let Refined { config, fit, .. } = refined.min_by_key(|refined| refined.fit.distance())?;
    let extractor = config.feature_extractor.as_ref();
    Some(Closest {
        extractor: extractor.map_or_else(String::new, |e| e.r#type().to_owned()),
        config: protos::DetectionModel {
            model: Some(MetaArchitecture::Ssd(config)),
        },
        fit,
    })
}

fn template(extractor: &str, text: &str) -> Option<protos::Ssd> {
    let text = format!(
        "model {{ ssd {{ {COMMON} {text} feature_extractor {{ type: '{extractor}' }} }} }}"
    );
    let config = PipelineConfig::parse("template", text.as_bytes())
        .ok()?
        .config;
    match config.message().model.clone()?.model? {
        MetaArchitecture::Ssd(ssd) => Some(ssd),
        _ => None,
    }
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
                let ssd = template(name, text).expect(name);
                let model = Some(MetaArchitecture::Ssd(ssd));
                let built = build(&protos::DetectionModel { model }, &GraphOptions::default());
                assert!(built.is_ok(), "{name}: {}", built.unwrap_err());
                count += 1;
            }
            assert!(count > 0, "{name}");
        }
    }
}
