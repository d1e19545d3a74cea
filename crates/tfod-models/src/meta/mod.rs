//! Meta-architectures: how backbone, neck, head, anchors and post-processing make a detector.
//!
//! What there is to know of one stands in one place, its [`MetaArchitecture`]: where it stands in a configuration, what a configuration of it says, how its network is
//! built, which fields may be why a checkpoint does not fit, and how its checkpoints are recognised. Those that cannot be built yet have one too, so
//! they are called by their name. Nobody else tells meta-architectures apart.

mod center_net;
mod experimental;
mod extractor_type;
mod faster_rcnn;
pub mod ssd;

use std::fmt;

use tfod_config::protos;
use tfod_config::protos::detection_model::Model as Proto;

use crate::error::ModelError;
use crate::fields::FieldPath;
use crate::fit::{Candidate, Variables};
use crate::{GraphOptions, KeypointLabels, Model, SideInput};

/// All of them, in the order in which a checkpoint is held against their [`Marks`]: those of an SSD are the least particular.
pub static ALL: [&MetaArchitecture; 4] = [
    &faster_rcnn::FASTER_RCNN,
    &center_net::CENTER_NET,
    &ssd::SSD,
    &experimental::EXPERIMENTAL,
];

/// A meta-architecture.
#[derive(Debug)]
pub struct MetaArchitecture {
    /// The field of `model` in a configuration: `ssd`.
    pub field: &'static str,
    /// What a configuration of it says. A configuration of another one says nothing.
    pub describe: for<'a> fn(&'a protos::DetectionModel) -> Option<Description<'a>>,
    /// How checkpoints of it are recognised.
    pub marks: Marks,
    /// How it is built; `None` where it cannot be yet.
    pub support: Option<Support>,
}

/// What it takes to export models of a meta-architecture.
#[derive(Debug)]
pub struct Support {
    /// Writes the network; the graph is not shared or pruned yet.
    pub(crate) build: fn(&protos::DetectionModel, &GraphOptions) -> Result<Model, ModelError>,
    /// What makes a network take boxes, of which it makes masks.
    pub(crate) boxes: Option<Taken>,
    /// What makes a network take side inputs.
    pub(crate) side_inputs: Option<Taken>,
    /// A configuration with what descriptions of side inputs say in its place, and the field that they say.
    pub(crate) described: Described,
    /// Whether a network has layers after its predictions, as those that make masks of detections.
    pub(crate) has_layers_after: fn(&protos::DetectionModel) -> bool,
    /// Changes of single fields that may make a checkpoint fit.
    pub(crate) candidates:
        fn(&protos::DetectionModel, Option<&KeypointLabels>, &dyn Variables) -> Vec<Candidate>,
    /// Pairs of fields that a checkpoint cannot tell apart.
    pub(crate) alike: &'static [[&'static str; 2]],
    /// Usual configurations, to find out which network a checkpoint is of.
    pub(crate) templates: fn() -> Vec<protos::DetectionModel>,
}

type Described =
    fn(&protos::DetectionModel, &[SideInput]) -> Option<(protos::DetectionModel, &'static str)>;

/// What only some networks of a meta-architecture take.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The field of the meta-architecture's message that makes a network take it.
    pub(crate) field: &'static str,
    /// Whether a configuration has it.
    pub(crate) is_configured: fn(&protos::DetectionModel) -> bool,
}

impl Support {
    /// Whether the network of a configuration takes boxes.
    pub(crate) fn takes_boxes(&self, config: &protos::DetectionModel) -> bool {
        let boxes = self.boxes.as_ref();
        boxes.is_some_and(|taken| (taken.is_configured)(config))
    }

    /// Whether the network of a configuration takes side inputs.
    pub(crate) fn takes_side_inputs(&self, config: &protos::DetectionModel) -> bool {
        let side_inputs = self.side_inputs.as_ref();
        side_inputs.is_some_and(|taken| (taken.is_configured)(config))
    }
}

/// The fields that make networks take something, for an error of a network that does not.
pub(crate) fn fields_of(taken: fn(&Support) -> Option<&Taken>) -> String {
    let fields = ALL.iter().filter_map(|meta| {
        let taken = meta.support.as_ref().and_then(taken)?;
        Some(format!("`{}`", meta.path().child(taken.field)))
    });
    fields.collect::<Vec<_>>().join(" or ")
}

/// What a configuration says of a detector, as far as all meta-architectures have it.
#[derive(Clone, Debug)]
pub struct Description<'a> {
    /// The family.
    pub family: Family,
    /// The feature extractor, as the configuration calls it; empty without one.
    pub extractor: &'a str,
    /// Classes without background.
    pub num_classes: Option<i32>,
    /// Whether the background is a class besides; `None` where configurations have no say in that.
    pub has_background: Option<bool>,
    /// How images are resized.
    pub image_resizer: Option<&'a protos::ImageResizer>,
    /// The boxes that predictions are relative to.
    pub anchors: AnchorSource<'a>,
    /// What it finds besides boxes and classes, in words; not in graphs that end before detections.
    pub further: Vec<String>,
    /// The field that limits how many objects there are, where no suppression does.
    pub limit: Option<FieldPath>,
    /// The label map that the network depends on, where it depends on one.
    pub keypoint_labels: Option<LabelMapField<'a>>,
    /// Its suppressions, in the order in which boxes go through them: none, one, or one a stage. The last gives the detections.
    pub suppressions: Vec<SuppressionFields<'a>>,
}

/// A label map that a configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelMapField<'a> {
    /// The message that has the field.
    pub message: FieldPath,
    /// The field.
    pub field: &'static str,
    /// The file, as it stands there; empty where the field is not set.
    pub file: &'a str,
    /// The classes whose keypoints the network finds.
    pub classes: Vec<&'a str>,
}

impl LabelMapField<'_> {
    /// What the label map could say, for those who ask whether a network can be built and have no label map.
    pub fn stand_in(&self) -> KeypointLabels {
        KeypointLabels::counted(self.file, self.classes.iter().map(|name| (*name, 1)))
    }
}

/// Where anchors come from.
#[derive(Clone, Copy, Debug)]
pub enum AnchorSource<'a> {
    /// From this message, which may be missing.
    Generator(Option<&'a protos::AnchorGenerator>),
    /// There are none: objects are peaks of heat maps.
    Peaks,
    /// That is not known.
    Unknown,
}

/// A non-max suppression, as a configuration describes it.
#[derive(Clone, Debug)]
pub struct SuppressionFields<'a> {
    /// What the stage is called: the message that it is configured by, or the beginning of its fields.
    pub stage: &'static str,
    /// The message that holds its limits.
    pub message: FieldPath,
    /// Detections with lower scores are dropped.
    pub score_threshold: Limit<f32>,
    /// Of two boxes that overlap by more, the one with the lower score is dropped.
    pub iou_threshold: Limit<f32>,
    /// At most so many detections.
    pub max_total: Limit<i32>,
    /// At most so many of a class, where classes have limits.
    pub max_per_class: Option<Limit<i32>>,
    /// What makes scores of the network's numbers, as configurations call it.
    pub score_converter: &'static str,
    /// What else is done with boxes and scores, where that is configured.
    pub post_processing: Option<&'a protos::PostProcessing>,
}

/// A limit of a suppression: its field in [`SuppressionFields::message`], and its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit<T> {
    /// The field.
    pub field: &'static str,
    /// The configuration's value, or the default.
    pub value: T,
}

impl<'a> SuppressionFields<'a> {
    /// Of a stage that is configured by a `post_processing` message, which stands at this path.
    pub(crate) fn of(
        path: FieldPath,
        stage: &'static str,
        post: &'a protos::PostProcessing,
    ) -> Self {
        let nms = post.batch_non_max_suppression.unwrap_or_default();
        Self {
            stage,
            message: path.child("batch_non_max_suppression"),
            score_threshold: Limit {
                field: "score_threshold",
                value: nms.score_threshold(),
            },
            iou_threshold: Limit {
                field: "iou_threshold",
                value: nms.iou_threshold(),
            },
            max_total: Limit {
                field: "max_total_detections",
                value: nms.max_total_detections(),
            },
            max_per_class: Some(Limit {
                field: "max_detections_per_class",
                value: nms.max_detections_per_class(),
            }),
            score_converter: post.score_converter().as_str_name(),
            post_processing: Some(post),
        }
    }
}

/// How checkpoints of a meta-architecture are recognised, by how the names of their variables begin. The first that fits counts.
#[derive(Debug)]
pub struct Marks {
    /// Behind `model/`, in what training writes.
    pub trained: &'static [(&'static str, Family)],
    /// In an exported SavedModel, which lists variables by number below `_model`, or at the root where a user has saved the model again.
    pub exported: &'static [(&'static str, Family)],
    /// In checkpoints of the TensorFlow 1 Object Detection API.
    pub tensorflow_1: &'static [(&'static str, Family)],
    /// Backbones.
    pub backbones: &'static [BackboneMark],
    /// Where the last bias of the class head is, behind `model/`, and how many of its values are no class of an object: the background's.
    pub class_head: Option<(&'static str, i32)>,
}

/// A backbone by its variables.
#[derive(Clone, Copy, Debug)]
pub struct BackboneMark {
    /// How their names begin behind `model/`.
    pub start: &'static str,
    /// How many there are; `None` where the names tell enough.
    pub count: Option<usize>,
    /// What people call it.
    pub name: &'static str,
}

/// A family of detectors, as people tell them apart. One meta-architecture may have several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Family {
    /// SSD over feature maps of its backbone and coarser ones.
    Ssd,
    /// SSD over a feature pyramid network; with focal loss called `RetinaNet`.
    SsdFpn,
    /// SSD over a weighted bidirectional feature pyramid.
    EfficientDet,
    /// Two stages.
    FasterRcnn,
    /// Two stages and masks.
    MaskRcnn,
    /// Two stages that attend to a memory bank.
    ContextRcnn,
    /// Two stages, the second without layers of its own.
    Rfcn,
    /// Objects as points.
    CenterNet,
    /// Registered by a program of the user's own.
    Experimental,
}

impl Family {
    /// The meta-architecture that it is a family of.
    pub fn meta(self) -> &'static MetaArchitecture {
        match self {
            Self::Ssd | Self::SsdFpn | Self::EfficientDet => &ssd::SSD,
            Self::FasterRcnn | Self::MaskRcnn | Self::ContextRcnn | Self::Rfcn => {
                &faster_rcnn::FASTER_RCNN
            }
            Self::CenterNet => &center_net::CENTER_NET,
            Self::Experimental => &experimental::EXPERIMENTAL,
        }
    }

    /// Whether its models can be exported.
    pub fn is_supported(self) -> bool {
        self.meta().support.is_some() && self != Self::Rfcn
    }

    /// What to do with models of it as long as they cannot be exported; `None` where they can.
    pub fn workaround(self) -> Option<String> {
        (!self.is_supported()).then(|| {
            format!(
                "{self} cannot be exported yet; export with the official exporter, and freeze the SavedModel that it writes"
            )
        })
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ssd => "SSD",
            Self::SsdFpn => "SSD with a feature pyramid",
            Self::EfficientDet => "EfficientDet",
            Self::FasterRcnn => "Faster R-CNN",
            Self::MaskRcnn => "Mask R-CNN",
            Self::ContextRcnn => "Context R-CNN",
            Self::Rfcn => "R-FCN",
            Self::CenterNet => "CenterNet",
            Self::Experimental => "experimental model",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl MetaArchitecture {
    /// The meta-architecture of a configuration; `None` where it has no model.
    pub fn of(config: &protos::DetectionModel) -> Option<&'static Self> {
        Some(match config.model.as_ref()? {
            Proto::Ssd(_) => &ssd::SSD,
            Proto::FasterRcnn(_) => &faster_rcnn::FASTER_RCNN,
            Proto::CenterNet(_) => &center_net::CENTER_NET,
            Proto::ExperimentalModel(_) => &experimental::EXPERIMENTAL,
        })
    }

    /// Where its message stands in a configuration.
    pub fn path(&self) -> FieldPath {
        FieldPath::MODEL.child(self.field)
    }

    /// The field that says how many classes there are.
    pub fn classes_field(&self) -> FieldPath {
        self.path().child("num_classes")
    }

    /// The field that names the feature extractor.
    pub fn extractor_field(&self) -> FieldPath {
        self.path().child("feature_extractor").child("type")
    }

    /// What is needed to build it.
    ///
    /// # Errors
    /// Where it cannot be yet.
    pub fn supported(&self) -> Result<&Support, ModelError> {
        self.support.as_ref().ok_or_else(|| {
            let supported = ALL.iter().filter(|meta| meta.support.is_some());
            let supported: Vec<&str> = supported.map(|meta| meta.field).collect();
            crate::fields::unsupported(FieldPath::MODEL, self.field, supported.join(", "))
        })
    }
}

/// What a configuration describes; `None` if it describes no model.
pub fn describe(config: &protos::DetectionModel) -> Option<Description<'_>> {
    (MetaArchitecture::of(config)?.describe)(config)
}
