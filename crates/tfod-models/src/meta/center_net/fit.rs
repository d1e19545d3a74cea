//! Why a checkpoint may not fit a CenterNet's configuration: the fields that decide its variables, and what the checkpoint's shapes suggest for them. The search is
//! [`crate::fit`]'s. Usual configurations, by which a checkpoint is recognised.

use tfod_config::protos;
use tfod_config::protos::center_net::{ObjectCenterParams, ObjectDetection, PredictionHeadParams};
use tfod_config::protos::detection_model::Model as Proto;

use super::boxes::{OFFSET, SCALE};
use super::heads::HEADS;
use super::{OBJECT_CENTER, extractor, fit_tasks};
use crate::KeypointLabels;
use crate::fit::{self, Candidate, Variables};

const CLASSES: &str = "model.center_net.num_classes";
const DEPTHWISE: &str = "model.center_net.use_depthwise";
const EXTRACTOR: &str = "model.center_net.feature_extractor.type";
const MULTIPLIER: &str = "model.center_net.feature_extractor.depth_multiplier";
const SEPARABLE: &str = "model.center_net.feature_extractor.use_separable_conv";
const DETECTION: &str = "model.center_net.object_detection_task";
const CENTER_HEAD: &str = "model.center_net.object_center_params.center_head_params";
const SCALE_HEAD: &str = "model.center_net.object_detection_task.scale_head_params";
const OFFSET_HEAD: &str = "model.center_net.object_detection_task.offset_head_params";

/// Fields that a checkpoint cannot tell apart.
pub(super) const ALIKE: [[&str; 2]; 0] = [];

/// Depth multipliers of published checkpoints of `MobileNetV2`.
const MULTIPLIERS: [f32; 7] = [0.35, 0.5, 0.75, 1.0, 1.3, 1.4, 2.0];
/// More convolutions in a head than anybody uses.
const MOST_LAYERS: usize = 16;

/// Collects candidates that differ from the configuration in one field.
pub(super) type Candidates<'a> = crate::fit::Candidates<'a, protos::CenterNet>;

impl Candidates<'_> {
    fn extractor<T: ToString>(
        &mut self,
        field: &'static str,
        configured: T,
        trained: T,
        change: impl FnOnce(&mut protos::CenterNetFeatureExtractor),
    ) {
        self.push(field, configured, trained, |config| {
            change(config.feature_extractor.get_or_insert_default());
        });
    }
}

/// The convolutions of a trained head: those before the last by channels and kernel size, and the channels of the last.
pub(super) fn trained_head(
    variables: &dyn Variables,
    head: &str,
) -> Option<(PredictionHeadParams, i32)> {
    let shape = |layer: usize, name: &str| {
        let path = [
            HEADS,
            head,
            "0",
            &format!("layer_with_weights-{layer}"),
            name,
        ]
        .map(str::to_owned);
        let found = variables.find(&path)?;
        let sizes = found.shape.iter().map(|n| i32::try_from(*n).ok());
        sizes.collect::<Option<Vec<i32>>>()
    };
    let layers = (0..MOST_LAYERS).map_while(|layer| shape(layer, "bias"));
    let channels: Vec<i32> = layers.map_while(|bias| bias.first().copied()).collect();
    let (last, before) = channels.split_last()?;
    let kernels = (0..before.len()).map(|layer| {
        let kernel = shape(layer, "kernel").or_else(|| shape(layer, "depthwise_kernel"))?;
        kernel.first().copied()
    });
    let params = PredictionHeadParams {
        num_filters: before.to_vec(),
        kernel_sizes: kernels.collect::<Option<_>>()?,
    };
    Some((params, *last))
}

/// Whether there is a message, in words.
pub(super) fn said(is_there: bool) -> &'static str {
    if is_there { "one" } else { "none" }
}

/// The parameters of a head in words.
pub(super) fn told(params: Option<&PredictionHeadParams>) -> String {
    let standard = PredictionHeadParams {
        num_filters: vec![256],
        kernel_sizes: vec![3],
    };
    let params = params.unwrap_or(&standard);
    format!(
        "num_filters: {:?} kernel_sizes: {:?}",
        params.num_filters, params.kernel_sizes
    )
}

/// Changes of one field each.
pub(super) fn candidates(
    config: &protos::DetectionModel,
    labels: Option<&KeypointLabels>,
    variables: &dyn Variables,
) -> Vec<Candidate> {
    let Some(Proto::CenterNet(config)) = &config.model else {
        return Vec::new();
    };
    let mut all = Candidates::new(config, Proto::CenterNet);
    head_candidates(&mut all, variables);
    extractor_candidates(&mut all);
    fit_tasks::candidates(&mut all, labels, variables);
    all.into_list()
}

fn head_candidates(all: &mut Candidates<'_>, variables: &dyn Variables) {
    let config = all.base;
    let center = config.object_center_params.as_ref();
    let configured = center.and_then(|center| center.center_head_params.as_ref());
    if let Some((params, classes)) = trained_head(variables, OBJECT_CENTER) {
        all.push(CLASSES, config.num_classes(), classes, |config| {
            config.num_classes = Some(classes);
        });
        all.push(
            CENTER_HEAD,
            told(configured),
            told(Some(&params)),
            |config| {
                let center: &mut ObjectCenterParams =
                    config.object_center_params.get_or_insert_default();
                center.center_head_params = Some(params);
            },
        );
    }
    let detection = config.object_detection_task.as_ref();
    let trained = trained_head(variables, SCALE);
    all.push(
        DETECTION,
        said(detection.is_some()),
        said(trained.is_some()),
        |config| {
            config.object_detection_task = trained.map(|(scale, _)| ObjectDetection {
                scale_head_params: Some(scale),
                offset_head_params: trained_head(variables, OFFSET).map(|(offset, _)| offset),
                ..ObjectDetection::default()
            });
        },
    );
    if let Some(detection) = detection {
        let mut head = |field, name, configured: &Option<PredictionHeadParams>, is_scale: bool| {
            if let Some((params, _)) = trained_head(variables, name) {
                let (configured, trained) = (told(configured.as_ref()), told(Some(&params)));
                all.push(field, configured, trained, |config| {
                    let task = config.object_detection_task.get_or_insert_default();
                    if is_scale {
                        task.scale_head_params = Some(params);
                    } else {
                        task.offset_head_params = Some(params);
                    }
                });
            }
        };
        head(SCALE_HEAD, SCALE, &detection.scale_head_params, true);
        head(OFFSET_HEAD, OFFSET, &detection.offset_head_params, false);
    }
    let flag = config.use_depthwise();
    all.push(DEPTHWISE, flag, !flag, |config| {
        config.use_depthwise = Some(!flag);
    });
}

fn extractor_candidates(all: &mut Candidates<'_>) {
    let Some(configured) = all.base.feature_extractor.as_ref() else {
        return;
    };
    for name in extractor::names() {
        all.extractor(EXTRACTOR, configured.r#type(), name, |e| {
            e.r#type = Some(name.to_owned());
        });
    }
    if !configured.r#type().starts_with("mobilenet") {
        return;
    }
    let flag = configured.use_separable_conv;
    let said = flag.map_or("left out".to_owned(), |flag| flag.to_string());
    for other in [true, false] {
        // Whether it is given decides as well.
        all.extractor(SEPARABLE, said.clone(), other.to_string(), |e| {
            e.use_separable_conv = Some(other);
        });
    }
    for multiplier in MULTIPLIERS {
        all.extractor(MULTIPLIER, configured.depth_multiplier(), multiplier, |e| {
            e.depth_multiplier = Some(multiplier);
        });
    }
}

/// A usual configuration for each feature extractor.
pub(super) fn templates() -> Vec<protos::DetectionModel> {
    extractor::names().filter_map(template).collect()
}

fn template(extractor: &str) -> Option<protos::DetectionModel> {
    fit::template(&format!(
        "model {{ center_net {{
           num_classes: 90
           image_resizer {{ keep_aspect_ratio_resizer {{ min_dimension: 512 max_dimension: 512 pad_to_max_dimension: true }} }}
           object_detection_task {{ }}
           object_center_params {{ }}
           feature_extractor {{ type: '{extractor}' }}
        }} }}"
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
