//! CenterNet (Zhou et al. 2019, <https://arxiv.org/abs/1904.07850>): objects are peaks of heat maps, so there are no anchors, and a non-max suppression only where
//! one is configured.
//!
//! Outputs, all `f32`, as the reference's (`N` objects: `max_box_predictions`, or as many as there are values in the heat map; `C` classes; `h` by `w` locations of
//! the feature map, whose stride is 4):
//!
//! | key | shape | |
//! | --- | --- | --- |
//! | `detection_boxes` | `[batch, N, 4]` | ymin, xmin, ymax, xmax in 0..1 of the image, without padding |
//! | `detection_boxes_strided` | `[batch, N, 4]` | the same in locations of the feature map |
//! | `detection_scores` | `[batch, N]` | descending |
//! | `detection_classes` | `[batch, N]` | counted from 1 |
//! | `detection_multiclass_scores` | `[batch, N, C]` | of all classes at the peak |
//! | `num_detections` | `[batch]` | how many have a score above 0 |
//! | `raw_detection_boxes` | `[batch, h * w, 4]` | only at [`Stage::Boxes`]: of every location, in 0..1 of the network's input |
//! | `raw_detection_scores` | `[batch, h * w, C]` | only at [`Stage::Boxes`] |
//! | `object_center` | `[batch, h, w, C]` | only at [`Stage::Encodings`]: heat maps before the sigmoid |
//! | `box_scale` | `[batch, h, w, 2]` | only at [`Stage::Encodings`]: height and width in locations |
//! | `box_offset` | `[batch, h, w, 2]` | only at [`Stage::Encodings`]: from the location to the centre |
//!
//! Further tasks ([`tasks`]) have outputs of their own.

use tfod_config::protos;
use tfod_config::protos::detection_model::Model as Proto;
use tfod_graph::{Binary, Builder, DType, Dim, ValueId};

use super::{
    AnchorSource, BackboneMark, Description, Family, LabelMapField, Marks, MetaArchitecture,
    Support, SuppressionFields, Taken,
};
use crate::Model;
use crate::error::ModelError;
use crate::facts::{BoxDecoding, Facts, ScoreConversion, StageFacts};
use crate::fields::{FieldPath, Message, invalid, invalid_option, missing, size};
use crate::input::{given_boxes, given_boxes_facts, network_input};
use crate::layers::Path;
use crate::options::{GraphOption, GraphOptions, Stage};
use crate::postprocess::NoEnding;
use crate::postprocess::nms::NonMaxSuppression;
use crate::resizer::Resizer;

mod boxes;
mod deepmac;
mod extractor;
mod fit;
mod fit_tasks;
mod frame;
mod heads;
mod keypoints;
mod maps;
mod masks;
mod objects;
mod suppression;
mod tasks;
mod tracking;

use boxes::ObjectDetection;
use frame::Frame;
use heads::{Heads, Maps};
use objects::{ObjectCenter, Objects};
use tasks::{Detected, Task};

/// Where the message stands in the configuration.
const PATH: FieldPath = FieldPath::MODEL.child("center_net");

/// How many pixels of the network's input a location of the feature map stands for, in both directions.
const STRIDE: u8 = 4;

/// More locations than this would need gigabytes; the largest published model has 65,536.
const MOST_LOCATIONS: u64 = 1 << 24;

/// What makes scores of heat maps, whatever the configuration's suppression has.
const SCORE_CONVERTER: &str = "SIGMOID";

/// The head of heat maps.
const OBJECT_CENTER: &str = "object_center";

pub(super) static CENTER_NET: MetaArchitecture = MetaArchitecture {
    field: "center_net",
    describe,
    marks: Marks {
        trained: &[("_prediction_head_dict/", Family::CenterNet)],
        exported: &[("_prediction_head_dict/", Family::CenterNet)],
        tensorflow_1: &[],
        backbones: &[
            BackboneMark {
                start: "_feature_extractor/_network/downsample_input/",
                count: None,
                name: "Hourglass",
            },
            backbone(318, "ResNet-50"),
            backbone(624, "ResNet-101"),
            backbone(260, "MobileNetV2"),
        ],
        class_head: Some(("_prediction_head_dict/object_center/", 0)),
    },
    support: Some(Support {
        build,
        boxes: Some(Taken {
            field: "deepmac_mask_estimation",
            is_configured: deepmac::is_configured,
        }),
        side_inputs: None,
        described: |_, _| None,
        has_layers_after: deepmac::is_configured,
        candidates: fit::candidates,
        alike: &fit::ALIKE,
        templates: fit::templates,
    }),
};

const fn backbone(count: usize, name: &'static str) -> BackboneMark {
    BackboneMark {
        start: "_feature_extractor/_base_model/",
        count: Some(count),
        name,
    }
}

fn describe(config: &protos::DetectionModel) -> Option<Description<'_>> {
    let Some(Proto::CenterNet(net)) = &config.model else {
        return None;
    };
    let is_deep_mac = deepmac::is_configured(config);
    let extractor = net.feature_extractor.as_ref();
    let post = net.post_processing.as_ref().map(|post| {
        const STAGE: &str = "post_processing";
        SuppressionFields {
            score_converter: SCORE_CONVERTER,
            ..SuppressionFields::of(PATH.child(STAGE), STAGE, post)
        }
    });
    Some(Description {
        family: Family::CenterNet,
        extractor: extractor.map_or("", |extractor| extractor.r#type()),
        num_classes: Some(net.num_classes()),
        has_background: None,
        image_resizer: net.image_resizer.as_ref(),
        anchors: AnchorSource::Peaks,
        further: tasks::described(net),
        limit: Some(
            PATH.child("object_center_params")
                .child("max_box_predictions"),
        ),
        keypoint_labels: keypoint_labels(net),
        suppressions: post.into_iter().filter(|_| !is_deep_mac).collect(),
    })
}

/// The label map that says which keypoints each task has. `DeepMAC` leaves all tasks but its own aside.
fn keypoint_labels(net: &protos::CenterNet) -> Option<LabelMapField<'_>> {
    let is_read = !net.keypoint_estimation_task.is_empty() && net.deepmac_mask_estimation.is_none();
    is_read.then(|| LabelMapField {
        message: PATH,
        field: "keypoint_label_map_path",
        file: net.keypoint_label_map_path(),
        classes: tasks::keypoint_classes(net).collect(),
    })
}

/// Writes a CenterNet.
///
/// # Errors
/// See [`crate::build`].
fn build(config: &protos::DetectionModel, options: &GraphOptions) -> Result<Model, ModelError> {
    let Some(Proto::CenterNet(config)) = &config.model else {
        return Err(missing(PATH));
    };
    let config = &*deepmac::effective(config);
    let config = Message::new(PATH, config);
    let num_classes = size(config.field("num_classes"), config.num_classes(), 1)?;
    let extractor = config.required("feature_extractor", config.feature_extractor.as_ref())?;
    let extractor = extractor::from_config(extractor)?;
    let resizer = config.required("image_resizer", config.image_resizer.as_ref())?;
    let resizer = Resizer::from_config(resizer)?;
    let normalization = extractor.normalization();
    resizer.refuse_grayscale()?;
    let predictor = Predictor::from_config(config, num_classes, options)?;

    let architecture = config.feature_extractor.as_ref().map_or("", |e| e.r#type());
    let mut builder = Builder::new(architecture);
    let b = &mut builder;
    let input = b.scope("Preprocessor", |b| {
        network_input(b, options, &resizer, normalization)
    })?;
    let image_size = match b.shape(input.images).dims() {
        [_, Dim::Known(height), Dim::Known(width), _] => Some([*height, *width]),
        _ => None,
    };
    if let Some(size) = image_size {
        check_locations(size, &resizer, options)?;
    }
    let given_boxes = given_boxes(b, options);
    let features = b.scope("FeatureExtractor", |b| {
        extractor.build(b, &Path::new("_feature_extractor"), input.images)
    })?;
    let heads = predictor.heads();
    let maps = b.scope("Heads", |b| heads.build(b, &features))?;
    let frame = b.scope("Frame", |b| Frame::new(b, input.images, input.extent))?;

    match options.stage {
        Stage::Encodings => {
            for head in &heads.0 {
                b.output(&head.key, maps.get(&head.name)?);
            }
        }
        Stage::Boxes => b.scope("Postprocessor", |b| predictor.everywhere(b, &maps, &frame))?,
        Stage::Detections => b.scope("Postprocessor", |b| {
            predictor.detections(b, &maps, &frame, given_boxes, options)
        })?,
    }
    Ok(Model {
        graph: builder.finish(),
        idle: predictor
            .tasks
            .iter()
            .flat_map(|task| task.idle())
            .collect(),
        architecture: architecture.to_owned(),
        num_classes,
        image_size,
        no_ending: (options.stage == Stage::Detections).then_some(NoEnding::NoAnchors),
        facts: Facts {
            resizing: resizer.facts_of_pixels(normalization),
            normalization,
            keypoints: predictor
                .tasks
                .iter()
                .flat_map(|task| task.keypoints())
                .collect(),
            further_inputs: given_boxes_facts(options),
            stages: vec![predictor.facts(options)],
        },
    })
}

/// Refuses images, as the network sees them, of so many pixels that what is known of every location would fill the memory.
fn check_locations(
    [height, width]: [u64; 2],
    resizer: &Resizer,
    options: &GraphOptions,
) -> Result<(), ModelError> {
    let locations = |side: u64| side.div_ceil(STRIDE.into());
    let count = locations(height).checked_mul(locations(width));
    if count.is_some_and(|count| count <= MOST_LOCATIONS) {
        return Ok(());
    }
    let expected = format!(
        "a size for which the feature map has at most {MOST_LOCATIONS} locations, one for each {STRIDE}x{STRIDE} pixels that the network sees"
    );
    // Where the resizer makes one size of all images, no option changes it.
    let given = options
        .input_size
        .filter(|_| resizer.network_size().is_none());
    if let Some([height, width]) = given {
        let given = format!("{height}x{width}");
        return Err(invalid_option(GraphOption::InputSize, given, expected));
    }
    let given = format!("one that makes images of {height}x{width}");
    Err(invalid(resizer.path, given, expected))
}

/// What is predicted, and how it becomes detections.
struct Predictor {
    center: ObjectCenter,
    detection: Option<ObjectDetection>,
    tasks: Vec<Box<dyn Task>>,
    nms: Option<NonMaxSuppression>,
}

impl Predictor {
    fn from_config(
        config: Message<'_, protos::CenterNet>,
        num_classes: u64,
        options: &GraphOptions,
    ) -> Result<Self, ModelError> {
        let center = ObjectCenter::from_config(config, num_classes)?;
        let detection = ObjectDetection::from_config(config)?;
        let tasks = tasks::from_config(config, options)?;
        if detection.is_none() && tasks.is_empty() {
            return Err(missing(config.field("object_detection_task")));
        }
        Ok(Self {
            center,
            detection,
            tasks,
            nms: suppression::from_config(config, options)?,
        })
    }

    fn heads(&self) -> Heads {
        let mut heads = vec![self.center.head()];
        heads.extend(self.detection.iter().flat_map(ObjectDetection::heads));
        heads.extend(self.tasks.iter().flat_map(|task| task.heads()));
        Heads::new(heads)
    }

    /// The outputs at [`Stage::Boxes`].
    fn everywhere(&self, b: &mut Builder, maps: &Maps, frame: &Frame) -> Result<(), ModelError> {
        if self.detection.is_some() {
            let boxes = ObjectDetection::everywhere(b, maps, frame)?;
            b.output("raw_detection_boxes", boxes);
        }
        let scores = ObjectCenter::everywhere(b, maps)?;
        b.output("raw_detection_scores", scores);
        Ok(())
    }

    /// The outputs at [`Stage::Detections`].
    fn detections(
        &self,
        b: &mut Builder,
        maps: &Maps,
        frame: &Frame,
        given_boxes: Option<ValueId>,
        options: &GraphOptions,
    ) -> Result<(), ModelError> {
        let objects = self.center.find(b, maps, frame)?;
        let mut detected = detected(b, maps, frame, &objects, self.detection.is_some())?;
        detected.given_boxes = given_boxes;
        for task in &self.tasks {
            b.scope(task.name(), |b| task.detect(b, &mut detected))?;
        }
        let mut outputs = match self.nms {
            Some(nms) => suppression::suppress(b, nms, detected, options)?,
            None => detected.outputs,
        };
        for task in &self.tasks {
            b.scope(task.name(), |b| task.rescore(b, &mut outputs))?;
        }
        outputs.sort_by_key(|(key, _)| *key);
        for (key, value) in outputs {
            let value = match key {
                tasks::CLASSES => b.binary_scalar("classes_from_1", Binary::Add, value, 1.0)?,
                _ => value,
            };
            b.output(key, value);
        }
        Ok(())
    }

    /// What users need to know of detections.
    fn facts(&self, options: &GraphOptions) -> StageFacts {
        StageFacts {
            name: "detections",
            suppression: self.nms.map(|nms| nms.facts(&options.class_thresholds)),
            boxes: self.detection.as_ref().map(|_| BoxDecoding {
                coder: "object_detection_task",
                scales: vec![("stride", STRIDE.into())],
                description: boxes::DECODING,
                anchors: Vec::new(),
                anchors_description: "there are none",
            }),
            scores: Some(ScoreConversion {
                converter: SCORE_CONVERTER,
                logit_scale: 1.0,
                calibration: None,
                has_background: false,
            }),
        }
    }
}

/// What is known of each object before further tasks: all but boxes are there in any case.
fn detected<'a>(
    b: &mut Builder,
    maps: &'a Maps,
    frame: &'a Frame,
    objects: &'a Objects,
    has_boxes: bool,
) -> Result<Detected<'a>, ModelError> {
    let classes = b.cast("classes_as_float", objects.classes, DType::F32)?;
    let num_detections = b.cast("count_as_float", objects.num_detections, DType::F32)?;
    let mut outputs: Vec<(&'static str, ValueId)> = vec![
        (tasks::SCORES, objects.scores),
        (tasks::MULTICLASS_SCORES, objects.multiclass_scores),
        (tasks::CLASSES, classes),
        (tasks::COUNT, num_detections),
    ];
    let mut strided = None;
    if has_boxes {
        let boxes = ObjectDetection::boxes(b, maps, objects)?;
        outputs.push((tasks::BOXES, frame.normalized_boxes(b, boxes)?));
        outputs.push((tasks::STRIDED_BOXES, boxes));
        strided = Some(boxes);
    }
    Ok(Detected {
        maps,
        frame,
        objects,
        strided_boxes: strided,
        given_boxes: None,
        outputs,
    })
}
