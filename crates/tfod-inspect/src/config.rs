//! A `pipeline.config` in words: what detector it describes, and whether it can be exported.

use std::path::Path;

use serde_json::{Value, json};
use tfod_config::protos;
use tfod_config::protos::anchor_generator::AnchorGeneratorOneof as Anchors;
use tfod_config::protos::conditional_shape_resizer::ResizeCondition;
use tfod_config::protos::image_resizer::ImageResizerOneof as Resizer;
use tfod_config::protos::optimizer::Optimizer;
use tfod_config::{Parsed, PipelineConfig};
use tfod_models::meta::{AnchorSource, Description, SuppressionFields, describe};
use tfod_models::{GraphOptions, MetaArchitecture};

use crate::InspectError;
use crate::words::counted;

/// What a config says.
#[derive(Clone, Debug)]
pub struct ConfigFacts {
    /// `ssd`, `faster_rcnn`, `center_net`; empty without a model.
    pub meta_architecture: &'static str,
    /// The feature extractor's name.
    pub feature_extractor: Option<String>,
    /// How many classes it tells apart.
    pub num_classes: Option<i32>,
    /// What it finds besides boxes and classes, in words.
    pub further: Vec<String>,
    /// The label map that the network depends on, as the config names it.
    pub label_map: Option<String>,
    /// How images are resized, in words.
    pub resizer: Option<String>,
    /// The anchors, in words.
    pub anchors: Option<String>,
    /// Suppression and scores of each stage, in words.
    pub post_processing: Vec<PostProcessing>,
    /// How it is trained, in words.
    pub training: Option<String>,
    /// Why `tfod export` cannot build it; `None` if it can, with the label map where it depends on one.
    pub refused: Option<String>,
    /// How many anchors there are, where the size of images is fixed and the model can be built.
    pub num_anchors: Option<usize>,
    /// What may be wrong.
    pub warnings: Vec<String>,
}

/// How a stage's boxes become detections.
#[derive(Clone, Debug, PartialEq)]
pub struct PostProcessing {
    /// The field of the config.
    pub stage: &'static str,
    /// In words.
    pub text: String,
    /// Detections with lower scores are dropped.
    pub score_threshold: f32,
    /// Boxes that overlap by more suppress each other.
    pub iou_threshold: f32,
    /// At most so many of one class.
    pub max_detections_per_class: i32,
    /// At most so many.
    pub max_total_detections: i32,
    /// What makes scores of the network's numbers.
    pub score_converter: String,
}

impl ConfigFacts {
    pub(crate) fn read(path: &Path) -> Result<Self, InspectError> {
        Ok(Self::of(&PipelineConfig::read(path)?))
    }

    /// The facts of a config that was read.
    pub fn of(parsed: &Parsed) -> Self {
        let message = parsed.config.message();
        let model = message.model.clone().unwrap_or_default();
        let mut facts = match (MetaArchitecture::of(&model), describe(&model)) {
            (Some(meta), Some(description)) => Self::described(meta.field, &description),
            _ => Self::empty(""),
        };
        facts.training = message.train_config.as_ref().map(training);
        let mut options = GraphOptions::default();
        let labels = describe(&model).and_then(|description| description.keypoint_labels);
        // Other files than the config are not read.
        if let Some(labels) = labels.filter(|labels| !labels.file.is_empty()) {
            options.keypoint_labels = Some(labels.stand_in());
            facts.label_map = Some(labels.file.to_owned());
        }
        match tfod_models::build(&model, &options) {
            Ok(built) => facts.num_anchors = built.facts.num_anchors(),
            Err(error) => facts.refused = Some(error.to_string()),
        }
        facts.warnings = parsed.warnings.iter().map(ToString::to_string).collect();
        facts.warnings.extend(unset_paths(&parsed.config));
        facts
    }

    fn empty(meta_architecture: &'static str) -> Self {
        Self {
            meta_architecture,
            feature_extractor: None,
            num_classes: None,
            further: Vec::new(),
            label_map: None,
            resizer: None,
            anchors: None,
            post_processing: Vec::new(),
            training: None,
            refused: None,
            num_anchors: None,
            warnings: Vec::new(),
        }
    }

    fn described(meta_architecture: &'static str, description: &Description<'_>) -> Self {
        let extractor = description.extractor;
        Self {
            feature_extractor: (!extractor.is_empty()).then(|| extractor.to_owned()),
            num_classes: description.num_classes,
            further: description.further.clone(),
            resizer: resizer(description.image_resizer),
            anchors: match description.anchors {
                AnchorSource::Generator(generator) => anchors(generator),
                AnchorSource::Peaks => Some("none: objects are peaks of heat maps".to_owned()),
                AnchorSource::Unknown => None,
            },
            post_processing: description
                .suppressions
                .iter()
                .map(post_processing)
                .collect(),
            ..Self::empty(meta_architecture)
        }
    }

    pub(crate) fn json(&self) -> Value {
        let post = self.post_processing.iter().map(|post| {
            json!({
                "stage": post.stage,
                "description": post.text,
                "score_threshold": short(post.score_threshold),
                "iou_threshold": short(post.iou_threshold),
                "max_detections_per_class": post.max_detections_per_class,
                "max_total_detections": post.max_total_detections,
                "score_converter": post.score_converter,
            })
        });
        json!({
            "meta_architecture": self.meta_architecture,
            "feature_extractor": self.feature_extractor,
            "num_classes": self.num_classes,
            "further_outputs": self.further,
            "keypoint_label_map": self.label_map,
            "image_resizer": self.resizer,
            "anchors": self.anchors,
            "num_anchors": self.num_anchors,
            "post_processing": post.collect::<Vec<_>>(),
            "training": self.training,
            "export": { "supported": self.refused.is_none(), "reason": self.refused },
            "warnings": self.warnings,
        })
    }
}

/// The shortest decimal that is the same 32-bit float.
fn short(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}

fn list<T: ToString>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}

fn resizer(config: Option<&protos::ImageResizer>) -> Option<String> {
    let (text, gray, method) = match config?.image_resizer_oneof.as_ref()? {
        Resizer::FixedShapeResizer(fixed) => (
            format!(
                "to {} x {} (height x width), whatever the aspect ratio",
                fixed.height(),
                fixed.width()
            ),
            fixed.convert_to_grayscale(),
            Some(fixed.resize_method()),
        ),
        Resizer::KeepAspectRatioResizer(keep) => (
            format!(
                "the shorter side to {}, the longer to at most {}, keeping the aspect ratio{}",
                keep.min_dimension(),
                keep.max_dimension(),
                if keep.pad_to_max_dimension() {
                    format!("; padded to {0} x {0}", keep.max_dimension())
                } else {
                    String::new()
                }
            ),
            keep.convert_to_grayscale(),
            Some(keep.resize_method()),
        ),
        Resizer::IdentityResizer(_) => ("not at all".to_owned(), false, None),
        Resizer::ConditionalShapeResizer(conditional) => (
            conditional_shape(conditional),
            conditional.convert_to_grayscale(),
            Some(conditional.resize_method()),
        ),
        Resizer::PadToMultipleResizer(pad) => (
            format!("padded to multiples of {}", pad.multiple()),
            pad.convert_to_grayscale(),
            None,
        ),
    };
    let method = method.map_or_else(String::new, |method| {
        format!(", {}", method.as_str_name().to_lowercase())
    });
    let gray = if gray { ", to grayscale" } else { "" };
    Some(text + &method + gray)
}

/// The longer side decides whether an image is too large, the shorter whether it is too small.
fn conditional_shape(config: &protos::ConditionalShapeResizer) -> String {
    let threshold = config.size_threshold();
    match config.condition() {
        ResizeCondition::Greater => format!(
            "where the longer side is greater than {threshold}, that side to {threshold}, keeping the aspect ratio"
        ),
        ResizeCondition::Smaller => format!(
            "where the shorter side is smaller than {threshold}, that side to {threshold}, keeping the aspect ratio"
        ),
        ResizeCondition::Invalid => {
            format!("on no condition that there is, with threshold {threshold}")
        }
    }
}

fn anchors(config: Option<&protos::AnchorGenerator>) -> Option<String> {
    Some(match config?.anchor_generator_oneof.as_ref()? {
        Anchors::SsdAnchorGenerator(ssd) => {
            let scales = if ssd.scales.is_empty() {
                format!(
                    "scales from {} to {} of the image",
                    ssd.min_scale(),
                    ssd.max_scale()
                )
            } else {
                format!("scales {} of the image", list(&ssd.scales))
            };
            format!(
                "on {} feature maps, {scales}, aspect ratios {}{}",
                ssd.num_layers(),
                list(&ssd.aspect_ratios),
                if ssd.reduce_boxes_in_lowest_layer() {
                    "; three a place on the first"
                } else {
                    ""
                }
            )
        }
        Anchors::MultiscaleAnchorGenerator(multi) => format!(
            "on pyramid levels {} to {} (strides {} to {}), {} times the stride, {} scales an octave, aspect ratios {}",
            multi.min_level(),
            multi.max_level(),
            stride(multi.min_level()),
            stride(multi.max_level()),
            multi.anchor_scale(),
            multi.scales_per_octave(),
            list(&multi.aspect_ratios)
        ),
        Anchors::FlexibleGridAnchorGenerator(flexible) => {
            let grids = flexible.anchor_grid.iter().map(|grid| {
                format!(
                    "sizes {} with aspect ratios {} at stride {} x {}",
                    list(&grid.base_sizes),
                    list(&grid.aspect_ratios),
                    grid.height_stride(),
                    grid.width_stride()
                )
            });
            grids.collect::<Vec<_>>().join("; ")
        }
        Anchors::GridAnchorGenerator(grid) => format!(
            "{} x {} pixels (height x width) at scales {}, aspect ratios {}, stride {} x {}",
            grid.height(),
            grid.width(),
            list(&grid.scales),
            list(&grid.aspect_ratios),
            grid.height_stride(),
            grid.width_stride()
        ),
    })
}

/// The stride of a pyramid's level, as far as there is one.
fn stride(level: i32) -> String {
    u32::try_from(level)
        .ok()
        .and_then(|level| 1u64.checked_shl(level))
        .map_or_else(|| "?".to_owned(), |stride| stride.to_string())
}

fn post_processing(of: &SuppressionFields<'_>) -> PostProcessing {
    let (score_threshold, iou_threshold) = (of.score_threshold.value, of.iou_threshold.value);
    let max_total = of.max_total.value;
    let max_per_class = of.max_per_class.map_or(max_total, |limit| limit.value);
    let suppress = format!(
        "boxes that overlap by more than {iou_threshold} (IoU) suppress each other, scores below {score_threshold:?} are dropped; at most"
    );
    let text = match of.post_processing {
        None => format!("proposals: {suppress} {max_total}"),
        Some(post) => {
            let nms = post.batch_non_max_suppression.unwrap_or_default();
            let softly = match nms.soft_nms_sigma() {
                sigma if sigma > 0.0 => format!("; softly, sigma {sigma}"),
                _ => String::new(),
            };
            let agnostic = if nms.use_class_agnostic_nms() {
                "; whatever the class"
            } else {
                ""
            };
            format!(
                "scores by {}; {suppress} {max_per_class} a class, {max_total} in all{agnostic}{softly}",
                of.score_converter.to_lowercase()
            )
        }
    };
    PostProcessing {
        stage: of.stage,
        text,
        score_threshold,
        iou_threshold,
        max_detections_per_class: max_per_class,
        max_total_detections: max_total,
        score_converter: of.score_converter.to_owned(),
    }
}

/// What to say of paths that nobody has filled in.
fn unset_paths(config: &PipelineConfig) -> Vec<String> {
    const UNSET: &str = "PATH_TO_BE_CONFIGURED";
    let mut warnings = Vec::new();
    let mut of_training = config.to_text().matches(UNSET).count();
    let model = config.message().model.as_ref();
    let labels = model.and_then(describe).and_then(|d| d.keypoint_labels);
    if let Some(labels) = labels.filter(|labels| labels.file.contains(UNSET)) {
        of_training = of_training.saturating_sub(labels.file.matches(UNSET).count());
        warnings.push(format!(
            "`{}` still says {UNSET}; an export needs that label map",
            labels.message.child(labels.field)
        ));
    }
    match of_training {
        0 => {}
        1 => warnings.push(format!(
            "1 path still says {UNSET}; training needs it, an export does not"
        )),
        more => warnings.push(format!(
            "{more} paths still say {UNSET}; training needs them, an export does not"
        )),
    }
    warnings
}

fn training(config: &protos::TrainConfig) -> String {
    let optimizer = config.optimizer.as_ref();
    let optimizer = match optimizer.and_then(|optimizer| optimizer.optimizer.as_ref()) {
        Some(Optimizer::RmsPropOptimizer(_)) => "RMSProp",
        Some(Optimizer::MomentumOptimizer(_)) => "momentum",
        Some(Optimizer::AdamOptimizer(_)) => "Adam",
        None => "no optimizer",
    };
    let start = match config.fine_tune_checkpoint() {
        "" => String::new(),
        _ => format!(
            ", starting from a {} checkpoint",
            config.fine_tune_checkpoint_type()
        ),
    };
    format!(
        "{} with batches of {}, {optimizer}, {}{start}",
        counted(config.num_steps(), "step"),
        config.batch_size(),
        counted(config.data_augmentation_options.len(), "augmentation")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resizing(condition: &str) -> Option<String> {
        let text = format!(
            "model {{ ssd {{ image_resizer {{ conditional_shape_resizer {{ condition: {condition} size_threshold: 640 }} }} }} }}"
        );
        let parsed = PipelineConfig::parse("test", text.as_bytes()).ok()?;
        ConfigFacts::of(&parsed).resizer
    }

    #[test]
    fn the_longer_side_decides_what_is_too_large_and_the_shorter_what_is_too_small() {
        assert_eq!(
            resizing("GREATER").as_deref(),
            Some(
                "where the longer side is greater than 640, that side to 640, keeping the aspect ratio, bilinear"
            )
        );
        assert_eq!(
            resizing("SMALLER").as_deref(),
            Some(
                "where the shorter side is smaller than 640, that side to 640, keeping the aspect ratio, bilinear"
            )
        );
    }

    fn center_net(fields: &str) -> ConfigFacts {
        let text = format!(
            "model {{ center_net {{ num_classes: 2 feature_extractor {{ type: 'hourglass_10' }} object_detection_task {{ }}
               image_resizer {{ fixed_shape_resizer {{ height: 64 width: 64 }} }} {fields} }} }}"
        );
        let parsed = PipelineConfig::parse("test", text.as_bytes());
        ConfigFacts::of(&parsed.expect("a config"))
    }

    #[test]
    fn a_path_that_an_export_needs_is_told_apart_from_those_of_training() {
        let warnings = |task: &str, more: &str| {
            let text = format!(
                "model {{ center_net {{ num_classes: 2 {task}
                   keypoint_label_map_path: 'PATH_TO_BE_CONFIGURED/map.pbtxt' }} }}
                 train_config {{ fine_tune_checkpoint: 'PATH_TO_BE_CONFIGURED/ckpt-0' }} {more}"
            );
            let parsed = PipelineConfig::parse("test", text.as_bytes());
            ConfigFacts::of(&parsed.expect("a config")).warnings
        };
        let task = "keypoint_estimation_task { keypoint_class_name: 'person' }";
        let needed = "`model.center_net.keypoint_label_map_path` still says PATH_TO_BE_CONFIGURED; an export needs that label map";
        let one = "1 path still says PATH_TO_BE_CONFIGURED; training needs it, an export does not";
        let two =
            "2 paths still say PATH_TO_BE_CONFIGURED; training needs them, an export does not";
        assert_eq!(warnings(task, ""), [needed, one]);
        let more = "train_input_reader { label_map_path: 'PATH_TO_BE_CONFIGURED' }";
        assert_eq!(warnings(task, more), [needed, two]);
        // Without such a task, nothing reads it.
        assert_eq!(warnings("", ""), [two]);
    }

    #[test]
    fn tasks_of_a_center_net_are_told_and_its_label_map_is_not_read() {
        let task = "keypoint_estimation_task { task_name: 'a' keypoint_class_name: 'person' } ";
        let named = "keypoint_label_map_path: 'absent/map.pbtxt' ";
        let facts = center_net(&format!(
            "{named} {task} mask_estimation_task {{ mask_height: 6 }}"
        ));
        assert_eq!(facts.refused, None);
        assert_eq!(facts.label_map.as_deref(), Some("absent/map.pbtxt"));
        assert_eq!(
            facts.further,
            ["keypoints of \"person\"", "masks of 6 x 256"]
        );
        let unnamed = center_net(task);
        let missing = "the config has no `model.center_net.keypoint_label_map_path`";
        assert_eq!(unnamed.refused.as_deref(), Some(missing));
        assert_eq!(unnamed.label_map, None);
        // What is wrong with a task is told as ever.
        let twice = center_net(&format!("{named} {task} {task}"));
        assert!(
            twice
                .refused
                .is_some_and(|reason| reason.contains("task_name"))
        );
        let deep_mac = center_net(&format!(
            "{named} {task} deepmac_mask_estimation {{ network_type: 'resnet4' }}"
        ));
        assert_eq!(deep_mac.further, ["masks of 32 x 32 (DeepMAC, resnet4)"]);
        assert_eq!(deep_mac.label_map, None);
    }

    #[test]
    fn scores_of_a_center_net_are_sigmoids_whatever_its_suppression_says() {
        let facts = center_net(
            "post_processing { batch_non_max_suppression { change_coordinate_frame: false } }",
        );
        assert_eq!(facts.post_processing[0].score_converter, "SIGMOID");
        assert!(
            facts.post_processing[0]
                .text
                .starts_with("scores by sigmoid;")
        );
    }
}
