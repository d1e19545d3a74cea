//! What a config, or a checkpoint, is of: told by the config's messages, and by the keys of the checkpoint's variables. Architectures that
//! cannot be exported yet are recognised too, and so is what is no detector of TensorFlow 2 at all.

use std::collections::BTreeSet;
use std::fmt;

use tfod_checkpoint::{Bundle, Entry, Kind, unescape};
use tfod_config::protos;
use tfod_config::protos::box_predictor::BoxPredictorOneof;
use tfod_config::protos::detection_model::Model;
use tfod_config::protos::ssd_feature_extractor::FeaturePyramidOneof;

/// A family of detectors.
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
    /// Whether its models can be exported.
    pub fn is_supported(self) -> bool {
        matches!(self, Self::Ssd | Self::SsdFpn | Self::EfficientDet)
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

/// What a config describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigKind {
    /// The family.
    pub family: Family,
    /// The feature extractor, as the config calls it.
    pub extractor: String,
    /// Classes without background.
    pub num_classes: Option<i32>,
}

impl ConfigKind {
    /// Recognises what a config describes; `None` if it describes no model.
    pub fn of(model: &protos::DetectionModel) -> Option<Self> {
        Some(match model.model.as_ref()? {
            Model::Ssd(ssd) => {
                let extractor = ssd.feature_extractor.as_ref();
                let name = extractor.map_or("", |e| e.r#type());
                let pyramid = extractor.and_then(|e| e.feature_pyramid_oneof.as_ref());
                let family = match pyramid {
                    Some(FeaturePyramidOneof::Bifpn(_)) => Family::EfficientDet,
                    _ if name.contains("bifpn") => Family::EfficientDet,
                    _ if name.contains("_fpn") => Family::SsdFpn,
                    _ => Family::Ssd,
                };
                Self::new(family, name, Some(ssd.num_classes()))
            }
            Model::FasterRcnn(rcnn) => {
                let extractor = rcnn.feature_extractor.as_ref();
                let name = extractor.map_or("", |e| e.r#type());
                Self::new(rcnn_family(rcnn), name, Some(rcnn.num_classes()))
            }
            Model::CenterNet(net) => {
                let extractor = net.feature_extractor.as_ref();
                let name = extractor.map_or("", |e| e.r#type());
                Self::new(Family::CenterNet, name, Some(net.num_classes()))
            }
            Model::ExperimentalModel(model) => Self::new(Family::Experimental, model.name(), None),
        })
    }

    fn new(family: Family, extractor: &str, num_classes: Option<i32>) -> Self {
        Self {
            family,
            extractor: extractor.to_owned(),
            num_classes,
        }
    }
}

fn rcnn_family(rcnn: &protos::FasterRcnn) -> Family {
    let predictor = rcnn.second_stage_box_predictor.as_ref();
    match predictor.and_then(|p| p.box_predictor_oneof.as_ref()) {
        _ if rcnn.context_config.is_some() => Family::ContextRcnn,
        Some(BoxPredictorOneof::RfcnBoxPredictor(_)) => Family::Rfcn,
        Some(BoxPredictorOneof::MaskRcnnBoxPredictor(predictor))
            if predictor.predict_instance_masks() =>
        {
            Family::MaskRcnn
        }
        _ => Family::FasterRcnn,
    }
}

impl fmt::Display for ConfigKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_kind(f, self.family, &self.extractor, self.num_classes)
    }
}

fn write_kind(
    f: &mut fmt::Formatter<'_>,
    family: Family,
    extractor: &str,
    num_classes: Option<i32>,
) -> fmt::Result {
    f.write_str(family.name())?;
    if !extractor.is_empty() {
        write!(f, ", {extractor}")?;
    }
    match num_classes {
        Some(1) => f.write_str(", 1 class"),
        Some(n) => write!(f, ", {n} classes"),
        None => Ok(()),
    }
}

/// What a checkpoint is of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckpointKind {
    /// A detector of the TensorFlow 2 Object Detection API.
    Detector {
        /// The family.
        family: Family,
        /// The feature extractor or backbone, where it is known; else empty.
        extractor: String,
        /// Classes without background, where they are known.
        num_classes: Option<i32>,
    },
    /// The variables of a SavedModel that was exported from one, whose names have lost their layers.
    SavedModelVariables(Family),
    /// A backbone alone, to start training from.
    Backbone,
    /// A detector of the TensorFlow 1 Object Detection API.
    TensorFlow1(Family),
    /// What training saves before its first step, when the model has no variables yet.
    BeforeFirstStep,
    /// Another checkpoint of TensorFlow 1.
    NameBased,
    /// Another checkpoint of TensorFlow 2; with the names at its root.
    Other(Vec<String>),
}

/// Detectors by the start of keys behind `model/` that only they have; the first one counts.
const DETECTORS: [(&str, Family); 9] = [
    (
        "_mask_rcnn_box_predictor/_third_stage_heads/",
        Family::MaskRcnn,
    ),
    ("_context_feature_extract_fn/", Family::ContextRcnn),
    ("_rfcn_box_predictor/", Family::Rfcn),
    ("_first_stage_box_predictor/", Family::FasterRcnn),
    ("_prediction_head_dict/", Family::CenterNet),
    ("_feature_extractor/_bifpn_stage/", Family::EfficientDet),
    (
        "_feature_extractor/_fpn_features_generator/",
        Family::SsdFpn,
    ),
    ("_feature_extractor/classification_backbone/", Family::Ssd),
    ("_box_predictor/", Family::Ssd),
];

/// The same for SavedModels, which list variables by number below `_model`, or at the root where a user has saved the model again.
const SAVED_MODELS: [(&str, Family); 4] = [
    ("_first_stage_box_predictor/", Family::FasterRcnn),
    ("_prediction_head_dict/", Family::CenterNet),
    ("_box_predictor/variables/", Family::Ssd),
    ("_box_predictor/trainable_variables/", Family::Ssd),
];

/// The same for TensorFlow 1.
const TENSORFLOW_1: [(&str, Family); 4] = [
    ("SecondStageBoxPredictor/", Family::FasterRcnn),
    ("FirstStageFeatureExtractor/", Family::FasterRcnn),
    ("WeightSharedConvolutionalBoxPredictor/", Family::SsdFpn),
    ("BoxPredictor_0/", Family::Ssd),
];

/// Backbones that are no SSD's, by the place and number of their variables.
const BACKBONES: [(Family, &str, usize, &str); 7] = [
    (
        Family::FasterRcnn,
        "_feature_extractor_for_",
        265,
        "ResNet-50",
    ),
    (
        Family::FasterRcnn,
        "_feature_extractor_for_",
        520,
        "ResNet-101",
    ),
    (
        Family::FasterRcnn,
        "_feature_extractor_for_",
        775,
        "ResNet-152",
    ),
    (
        Family::FasterRcnn,
        "_feature_extractor_for_",
        896,
        "Inception-ResNet-v2",
    ),
    (
        Family::CenterNet,
        "_feature_extractor/_base_model/",
        318,
        "ResNet-50",
    ),
    (
        Family::CenterNet,
        "_feature_extractor/_base_model/",
        624,
        "ResNet-101",
    ),
    (
        Family::CenterNet,
        "_feature_extractor/_base_model/",
        260,
        "MobileNetV2",
    ),
];

impl CheckpointKind {
    /// Recognises a checkpoint by its keys. The feature extractor and the classes of an SSD are not looked for here.
    pub fn of(bundle: &Bundle) -> Self {
        let keys: Vec<&str> = bundle.entries().map(Entry::key).collect();
        let below = |root: &str, table: &[(&str, Family)]| {
            let found = table.iter().find(|(start, _)| {
                let has = |key: &&str| {
                    key.strip_prefix(root)
                        .is_some_and(|rest| rest.starts_with(start))
                };
                keys.iter().any(has)
            });
            found.map(|(_, family)| *family)
        };
        if bundle.kind() == Kind::NameBased {
            return below("", &TENSORFLOW_1).map_or(Self::NameBased, Self::TensorFlow1);
        }
        if let Some(family) = below("model/", &DETECTORS) {
            return Self::Detector {
                family,
                extractor: backbone(family, &keys).unwrap_or_default().to_owned(),
                num_classes: num_classes(family, bundle),
            };
        }
        let saved = below("_model/", &SAVED_MODELS).or_else(|| below("", &SAVED_MODELS));
        if let Some(family) = saved {
            return Self::SavedModelVariables(family);
        }
        let roots: BTreeSet<&str> = keys
            .iter()
            .filter_map(|key| key.split('/').next())
            .filter(|root| *root != tfod_checkpoint::OBJECT_GRAPH_KEY)
            .collect();
        if roots.contains("feature_extractor") || roots.contains("_feature_extractor") {
            return Self::Backbone;
        }
        if roots == BTreeSet::from(["save_counter", "step"]) {
            return Self::BeforeFirstStep;
        }
        let names = roots
            .into_iter()
            .map(|root| unescape(root).unwrap_or_else(|| root.to_owned()));
        Self::Other(names.collect())
    }

    /// Whether it is of a detector that training wrote.
    pub fn is_detector(&self) -> bool {
        matches!(self, Self::Detector { .. })
    }

    /// One word for scripts.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Detector { .. } => "detector",
            Self::SavedModelVariables(_) => "saved_model_variables",
            Self::Backbone => "backbone",
            Self::BeforeFirstStep => "before_first_step",
            Self::TensorFlow1(_) => "tensorflow_1_detector",
            Self::NameBased => "tensorflow_1",
            Self::Other(_) => "other",
        }
    }

    /// What to do with a checkpoint that is no detector's.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Detector { .. } => None,
            Self::SavedModelVariables(_) => Some(
                "give the checkpoint it was exported from, which an official export keeps in the folder `checkpoint` beside `saved_model`; \
                 a SavedModel itself can be frozen with `tfod freeze`",
            ),
            Self::Backbone => Some("give the folder that training wrote to"),
            Self::BeforeFirstStep => Some("choose a later checkpoint"),
            Self::TensorFlow1(_) | Self::NameBased => Some(
                "TensorFlow 1 models are trained and exported by TensorFlow 1's Object Detection API; train again with TensorFlow 2",
            ),
            Self::Other(_) => Some(
                "a checkpoint of the TensorFlow 2 Object Detection API keeps its detector under `model`",
            ),
        }
    }
}

/// The keys of the model's variables behind `model/`, optimizer slots left out.
fn model_keys<'a>(keys: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    let keys = keys.iter().filter_map(|key| key.strip_prefix("model/"));
    keys.filter(|key| !key.contains("/.OPTIMIZER_SLOT/"))
}

fn backbone(family: Family, keys: &[&str]) -> Option<&'static str> {
    let family = match family {
        Family::MaskRcnn | Family::ContextRcnn | Family::Rfcn => Family::FasterRcnn,
        other => other,
    };
    if model_keys(keys).any(|key| key.starts_with("_feature_extractor/_network/")) {
        return Some("Hourglass");
    }
    let found = BACKBONES.iter().find(|(of, start, count, _)| {
        *of == family
            && model_keys(keys)
                .filter(|key| key.starts_with(start))
                .count()
                == *count
    });
    found.map(|(_, _, _, name)| *name)
}

/// The classes of detectors whose last bias of the class head has one value for each, with one more for background in two-stage ones.
fn num_classes(family: Family, bundle: &Bundle) -> Option<i32> {
    let (head, background) = match family {
        Family::FasterRcnn | Family::MaskRcnn | Family::ContextRcnn => {
            ("model/_mask_rcnn_box_predictor/_class_prediction_head/", 1)
        }
        Family::CenterNet => ("model/_prediction_head_dict/object_center/", 0),
        _ => return None,
    };
    let biases = bundle.entries().filter(|entry| {
        let key = entry.key();
        key.starts_with(head) && key.contains("/bias/") && !key.contains("/.OPTIMIZER_SLOT/")
    });
    let size = *biases.last()?.shape().last()?;
    i32::try_from(size).ok()?.checked_sub(background)
}

impl fmt::Display for CheckpointKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Detector {
                family,
                extractor,
                num_classes,
            } => write_kind(f, *family, extractor, *num_classes),
            Self::SavedModelVariables(family) => {
                write!(
                    f,
                    "the variables of an exported SavedModel ({})",
                    family.name()
                )
            }
            Self::Backbone => f.write_str("a backbone to start training from, not a detector"),
            Self::BeforeFirstStep => f.write_str(
                "what training saved before its first step, when the model had no variables yet",
            ),
            Self::TensorFlow1(family) => write!(
                f,
                "a detector of the TensorFlow 1 Object Detection API ({})",
                family.name()
            ),
            Self::NameBased => f.write_str("a checkpoint of TensorFlow 1"),
            Self::Other(names) => {
                /// How many names are shown.
                const SHOWN: usize = 8;
                let shown: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
                write!(
                    f,
                    "no checkpoint of the TensorFlow 2 Object Detection API; it holds {}",
                    shown.join(", ")
                )
            }
        }
    }
}
