//! Two-stage detectors (Faster R-CNN, Ren et al. 2015, <https://arxiv.org/abs/1506.01497>): a first network proposes boxes, a second looks at what is in them.
//!
//! | file | holds |
//! | --- | --- |
//! | [`extractor`] | networks from image to feature maps, and from crops to features |
//! | [`first_stage`] | anchors, proposals |
//! | [`crops`] | regions of interest |
//! | [`second_stage`], [`box_head`] | classification and refinement of proposals, detections |
//! | [`third_stage`], [`mask_head`] | masks of detections |
//! | [`context`] | features that attend to a memory bank |
//! | [`frame`] | pixels, and parts of an image |
//!
//! Outputs of two stages, all `f32`, as the reference's (`P` = `first_stage_max_proposals`, `M` = `max_total_detections`, `C` classes):
//!
//! | key | shape | |
//! | --- | --- | --- |
//! | `detection_boxes` | `[batch, M, 4]` | ymin, xmin, ymax, xmax in 0..1 of the image, without padding |
//! | `detection_scores` | `[batch, M]` | descending |
//! | `detection_classes` | `[batch, M]` | counted from 1; 1 in rows after the last detection |
//! | `detection_multiclass_scores` | `[batch, M, C + 1]` | the background first |
//! | `detection_anchor_indices` | `[batch, M]` | which of the `P` |
//! | `num_detections` | `[batch]` | |
//! | `raw_detection_boxes` | `[batch, P, 4]` | of each proposal the box of its best class, before suppression; in 0..1 of the image |
//! | `raw_detection_scores` | `[batch, P, C + 1]` | before suppression |
//! | `detection_features` | `[batch, M, h, w, channels]` | with `output_final_box_features`: what the detections' boxes are classified by |
//! | `cropped_rpn_box_features` | `[batch, M, h, w, channels]` | with `output_final_box_rpn_features`: what is cropped of the feature maps |
//! | `num_proposals` | `[batch]` | only at [`Stage::Boxes`] and [`Stage::Encodings`]: how many of the `P` there are |
//! | `raw_detection_boxes_by_class` | `[batch, P, C, 4]` | only at [`Stage::Boxes`], where classes have boxes of their own; in 0..1 of the image |
//! | `refined_box_encodings` | `[batch * P, C, 4]`, `[batch * P, 1, 4]` where classes share a box | only at [`Stage::Encodings`] |
//! | `class_predictions_with_background` | `[batch * P, C + 1]` | only at [`Stage::Encodings`] |
//! | `proposal_boxes` | `[batch, P, 4]` | only at [`Stage::Encodings`]: what encodings are relative to, in pixels of the network's input |
//!
//! With a third stage there are masks, and all that the stages before have predicted (`N` anchors, `K` masks each: one for each class, or one for all):
//!
//! | key | shape | |
//! | --- | --- | --- |
//! | `detection_masks` | `[batch, M, h, w]` | 0..1, of the detection's class, within its box |
//! | `mask_predictions` | `[batch * M, K, h, w]` | logits |
//! | `anchors` | `[N, 4]` | in pixels of the network's input |
//! | `box_classifier_features` | `[batch * P, h, w, channels]` | what proposals are classified by |
//! | `final_anchors`, `proposal_boxes_normalized` | `[batch, P, 4]` | proposals, in 0..1 of the network's input |
//! | `image_shape` | `[4]` | of the network's input |
//! | `num_proposals`, `proposal_boxes`, `refined_box_encodings`, `class_predictions_with_background`, `rpn_box_encodings`, `rpn_objectness_predictions_with_background` | | as at [`Stage::Encodings`] |
//! | `raw_detection_feature_map_indices` | `[batch, P, boxes]` | zeros; with `return_raw_detections_during_predict` |
//!
//! With `context_config` (Context R-CNN, [`context`]) a memory bank is given beside the image: `context_features` `[batch, size, length]`, and `valid_context_size` `[batch]` (`i32`).
//!
//! Outputs of one stage (`N` anchors); the reference's exporter cannot export it, because there are no classes:
//!
//! | key | shape | |
//! | --- | --- | --- |
//! | `detection_boxes` | `[batch, P, 4]` | proposals, in 0..1 of the network's input, padding included |
//! | `detection_scores` | `[batch, P]` | |
//! | `detection_multiclass_scores` | `[batch, P, 2]` | background and object; not with `use_combined_nms_in_first_stage` |
//! | `num_detections` | `[batch]` | |
//! | `raw_detection_boxes` | `[batch, N, 4]` | before suppression; in 0..1 of the network's input, not cut off |
//! | `raw_detection_scores` | `[batch, N, 2]` | before suppression |
//! | `rpn_box_encodings` | `[batch, N, 4]` | only at [`Stage::Encodings`] |
//! | `rpn_objectness_predictions_with_background` | `[batch, N, 2]` | only at [`Stage::Encodings`] |

use tfod_config::protos;
use tfod_config::protos::box_predictor::BoxPredictorOneof;
use tfod_config::protos::detection_model::Model as Proto;
use tfod_graph::{Binary, Builder, Dim, ValueId};

use super::{
    AnchorSource, BackboneMark, Description, Family, Limit, Marks, MetaArchitecture, Support,
    SuppressionFields, Taken,
};
use crate::Model;
use crate::anchors::Corners;
use crate::error::ModelError;
use crate::facts::{BoxDecoding, Facts, PROPOSALS, ScoreConversion, StageFacts};
use crate::fields::{FieldPath, Message, invalid_option, missing, refuse_flag, size, unsupported};
use crate::input::network_input_in;
use crate::layers::Path;
use crate::options::{ClassThreshold, GraphOption, GraphOptions, Stage};
use crate::postprocess::NoEnding;
use crate::resizer::{Resizer, Unit};
use crate::scalar::spatial;
use context::Context;
use first_stage::{BOX_CODER, FirstStage, Proposals};
use frame::Frame;
use second_stage::{Regions, SecondStage};
use third_stage::{Before, First, ThirdStage};

mod box_head;
mod context;
mod crops;
mod extractor;
mod first_stage;
mod fit;
mod fit_context;
mod fit_masks;
mod frame;
mod mask_head;
mod second_stage;
mod third_stage;

const PATH: FieldPath = FieldPath::MODEL.child("faster_rcnn");

pub(super) static FASTER_RCNN: MetaArchitecture = MetaArchitecture {
    field: "faster_rcnn",
    describe,
    marks: Marks {
        trained: &[
            (
                "_mask_rcnn_box_predictor/_third_stage_heads/",
                Family::MaskRcnn,
            ),
            ("_context_feature_extract_fn/", Family::ContextRcnn),
            ("_rfcn_box_predictor/", Family::Rfcn),
            ("_first_stage_box_predictor/", Family::FasterRcnn),
        ],
        exported: &[("_first_stage_box_predictor/", Family::FasterRcnn)],
        tensorflow_1: &[
            ("SecondStageBoxPredictor/", Family::FasterRcnn),
            ("FirstStageFeatureExtractor/", Family::FasterRcnn),
        ],
        backbones: &[
            backbone(265, "ResNet-50"),
            backbone(520, "ResNet-101"),
            backbone(775, "ResNet-152"),
            backbone(896, "Inception-ResNet-v2"),
        ],
        class_head: Some(("_mask_rcnn_box_predictor/_class_prediction_head/", 1)),
    },
    support: Some(Support {
        build,
        boxes: None,
        side_inputs: Some(Taken {
            field: context::FIELD,
            is_configured: context::is_configured,
        }),
        described: fit_context::described,
        has_layers_after: third_stage::is_configured,
        candidates: fit::candidates,
        alike: &fit::ALIKE,
        templates: fit::templates,
    }),
};

const fn backbone(count: usize, name: &'static str) -> BackboneMark {
    BackboneMark {
        start: "_feature_extractor_for_",
        count: Some(count),
        name,
    }
}

fn describe(config: &protos::DetectionModel) -> Option<Description<'_>> {
    let Some(Proto::FasterRcnn(rcnn)) = &config.model else {
        return None;
    };
    let extractor = rcnn.feature_extractor.as_ref();
    let max_proposals = rcnn.first_stage_max_proposals();
    let proposals = SuppressionFields {
        stage: "first_stage",
        message: PATH,
        score_threshold: Limit {
            field: "first_stage_nms_score_threshold",
            value: rcnn.first_stage_nms_score_threshold(),
        },
        iou_threshold: Limit {
            field: "first_stage_nms_iou_threshold",
            value: rcnn.first_stage_nms_iou_threshold(),
        },
        max_total: Limit {
            field: "first_stage_max_proposals",
            value: max_proposals,
        },
        max_per_class: None,
        // Nothing else is configured of proposals; their two scores are made so.
        score_converter: "SOFTMAX",
        post_processing: None,
    };
    let post = rcnn.second_stage_post_processing.as_ref();
    let second = post.filter(|_| rcnn.number_of_stages() != 1).map(|post| {
        const STAGE: &str = "second_stage_post_processing";
        SuppressionFields::of(PATH.child(STAGE), STAGE, post)
    });
    Some(Description {
        family: family(rcnn),
        extractor: extractor.map_or("", |extractor| extractor.r#type()),
        num_classes: Some(rcnn.num_classes()),
        has_background: None,
        image_resizer: rcnn.image_resizer.as_ref(),
        anchors: AnchorSource::Generator(rcnn.first_stage_anchor_generator.as_ref()),
        further: Vec::new(),
        limit: None,
        keypoint_labels: None,
        suppressions: std::iter::once(proposals).chain(second).collect(),
    })
}

fn family(rcnn: &protos::FasterRcnn) -> Family {
    let predictor = rcnn.second_stage_box_predictor.as_ref();
    match predictor.and_then(|p| p.box_predictor_oneof.as_ref()) {
        Some(BoxPredictorOneof::RfcnBoxPredictor(_)) => Family::Rfcn,
        _ if rcnn.context_config.is_some() => Family::ContextRcnn,
        Some(BoxPredictorOneof::MaskRcnnBoxPredictor(predictor))
            if predictor.predict_instance_masks() =>
        {
            Family::MaskRcnn
        }
        _ => Family::FasterRcnn,
    }
}

/// Writes a two-stage detector.
///
/// # Errors
/// See [`crate::build`].
fn build(config: &protos::DetectionModel, options: &GraphOptions) -> Result<Model, ModelError> {
    let Some(Proto::FasterRcnn(config)) = &config.model else {
        return Err(missing(PATH));
    };
    let config = Message::new(PATH, config);
    let num_classes = size(config.field("num_classes"), config.num_classes(), 1)?;
    refuse_unsupported(config)?;
    let extractor = config.required("feature_extractor", config.feature_extractor.as_ref())?;
    let extractor = extractor::from_config(extractor)?;
    let resizer = config.required("image_resizer", config.image_resizer.as_ref())?;
    let resizer = Resizer::from_config(resizer)?;
    resizer.refuse_grayscale()?;
    let first = FirstStage::from_config(config)?;
    let context = Context::from_config(config)?;
    let stages_wanted = config.number_of_stages();
    let second = (stages_wanted != 1).then(|| SecondStage::from_config(config, num_classes));
    let second = second.transpose()?;
    if second.is_none() {
        refuse_class_thresholds(options)?;
    }
    let third = (stages_wanted == 3).then(|| ThirdStage::from_config(config, num_classes));
    let third = third.transpose()?;

    let architecture = config.feature_extractor.as_ref().map_or("", |e| e.r#type());
    let mut builder = Builder::new(architecture);
    let b = &mut builder;
    // The reference normalises what it has padded.
    let normalization = extractor.normalization().with_padding();
    let input = b.scope("Preprocessor", |b| {
        network_input_in(b, options, &resizer, normalization, Unit::Pixel)
    })?;
    let batch = options.batch_dim();
    check_sizes(config, &batch, second.as_ref(), third.as_ref())?;
    let memory = context
        .map(|context| context.inputs(b, options))
        .transpose()?;
    let frame = b.scope::<_, ModelError>("ImageSize", |b| {
        let network = spatial(b, "image", input.images)?;
        Frame::new(b, network, input.extent)
    })?;
    let maps = b.scope("FirstStageFeatureExtractor", |b| {
        let path = Path::new("_feature_extractor_for_proposal_features");
        extractor.maps(b, &path, input.images)
    })?;
    let predicted = first.predict(b, &maps, frame, options.without_anchors)?;
    if second.is_none() && options.stage == Stage::Encodings {
        let predictions = predicted.predictions;
        b.output("rpn_box_encodings", predictions.box_encodings);
        let key = "rpn_objectness_predictions_with_background";
        b.output(key, predictions.class_scores);
    } else {
        let proposals = b.scope("FirstStagePostprocessor", |b| {
            first.propose(b, &predicted, frame)
        })?;
        match &second {
            None => proposal_outputs(b, proposals, options.stage),
            Some(second) => {
                let regions = Regions {
                    extractor: extractor.as_ref(),
                    maps: &maps,
                    frame,
                    memory,
                };
                let more = match &third {
                    // The reference gives features of detections only where there is no third stage.
                    Some(stage) => More::Masks(
                        stage,
                        First {
                            images: input.images,
                            predicted: &predicted,
                        },
                    ),
                    None => More::Features {
                        of_boxes: config.output_final_box_features(),
                        of_maps: config.output_final_box_rpn_features(),
                    },
                };
                detection_outputs(b, second, regions, proposals, more, options)?;
            }
        }
    }
    let image_size = network_size(b, input.images);
    Ok(Model {
        graph: builder.finish(),
        idle: Vec::new(),
        architecture: architecture.to_owned(),
        num_classes,
        image_size,
        no_ending: (options.stage == Stage::Detections).then_some(NoEnding::Stages),
        facts: Facts {
            resizing: resizer.facts_of_pixels(normalization),
            normalization,
            keypoints: Vec::new(),
            further_inputs: context.map_or_else(Vec::new, |_| context::INPUTS.to_vec()),
            stages: stages(
                &first,
                predicted.anchors.known(),
                second.as_ref(),
                &options.class_thresholds,
            ),
        },
    })
}

/// What users need to know of the stages: of the second where there is one.
fn stages(
    first: &FirstStage,
    anchors: Vec<Corners>,
    second: Option<&SecondStage>,
    class_thresholds: &[ClassThreshold],
) -> Vec<StageFacts> {
    let proposals = StageFacts {
        name: PROPOSALS,
        suppression: Some(first.nms.facts(&[])),
        boxes: Some(BoxDecoding {
            anchors_description: "ymin, xmin, ymax, xmax of each row of rpn_box_encodings, in pixels of the network's input",
            ..BOX_CODER.facts(anchors)
        }),
        scores: Some(ScoreConversion {
            converter: "SOFTMAX",
            logit_scale: 1.0,
            calibration: None,
            has_background: true,
        }),
    };
    let detections = second.map(|second| StageFacts {
        name: "detections",
        suppression: Some(second.nms.facts(class_thresholds)),
        boxes: Some(BoxDecoding {
            anchors_description: "the rows of proposal_boxes, in pixels of the network's input: decoded boxes are in pixels, too",
            ..BOX_CODER.facts(Vec::new())
        }),
        scores: Some(second.score_converter.facts(true)),
    });
    std::iter::once(proposals).chain(detections).collect()
}

/// Height and width of the network's input, where they are known.
fn network_size(b: &Builder, images: ValueId) -> Option<[u64; 2]> {
    match b.shape(images).dims() {
        [_, Dim::Known(height), Dim::Known(width), _] => Some([*height, *width]),
        _ => None,
    }
}

/// Refuses what the reference refuses, and what is not supported.
fn refuse_unsupported(config: Message<'_, protos::FasterRcnn>) -> Result<(), ModelError> {
    refuse_flag(
        config.field("inplace_batchnorm_update"),
        config.inplace_batchnorm_update(),
    )?;
    match config.number_of_stages() {
        1..=3 => Ok(()),
        stages => Err(unsupported(
            config.field("number_of_stages"),
            stages,
            "1, 2, 3",
        )),
    }
}

/// Refuses more boxes and masks than the graph can count.
fn check_sizes(
    config: Message<'_, protos::FasterRcnn>,
    batch: &Dim,
    second: Option<&SecondStage>,
    third: Option<&ThirdStage>,
) -> Result<(), ModelError> {
    let Some(second) = second else {
        return Ok(());
    };
    let field = config.field("first_stage_max_proposals");
    let proposals = size(field, config.first_stage_max_proposals(), 1)?;
    crops::check_boxes(field, proposals, batch)?;
    let is_cropped_again = third.is_some()
        || config.output_final_box_features()
        || config.output_final_box_rpn_features();
    let (nms, detections) = second.nms.max_total();
    if is_cropped_again {
        crops::check_boxes(nms.child("max_total_detections"), detections, batch)?;
    }
    match third {
        Some(third) => third.check_masks(config.field("num_classes"), detections, batch),
        None => Ok(()),
    }
}

/// Refuses thresholds of classes, which proposals have none of.
fn refuse_class_thresholds(options: &GraphOptions) -> Result<(), ModelError> {
    match options.class_thresholds.first() {
        Some(threshold) => Err(invalid_option(
            GraphOption::ClassThresholds,
            threshold.id,
            "none where number_of_stages is 1: proposals have no classes",
        )),
        None => Ok(()),
    }
}

/// The outputs of a detector of one stage.
fn proposal_outputs(b: &mut Builder, proposals: Proposals, stage: Stage) {
    if stage == Stage::Detections {
        b.output("detection_boxes", proposals.boxes);
        if let Some(scores) = proposals.multiclass_scores {
            b.output("detection_multiclass_scores", scores);
        }
        b.output("detection_scores", proposals.scores);
        b.output("num_detections", proposals.count);
    }
    b.output("raw_detection_boxes", proposals.raw_boxes);
    b.output("raw_detection_scores", proposals.raw_scores);
}

/// What is said of detections beside boxes and classes.
#[derive(Clone, Copy, Debug)]
enum More<'a> {
    Features {
        /// `output_final_box_features`
        of_boxes: bool,
        /// `output_final_box_rpn_features`
        of_maps: bool,
    },
    Masks(&'a ThirdStage, First<'a>),
}

/// The outputs of a detector of two or three stages.
fn detection_outputs(
    b: &mut Builder,
    second: &SecondStage,
    regions: Regions<'_>,
    proposals: Proposals,
    more: More<'_>,
    options: &GraphOptions,
) -> Result<(), ModelError> {
    let predicted = second.predict(b, regions, proposals)?;
    if let (More::Masks(third, _), Stage::Boxes | Stage::Encodings) = (more, options.stage) {
        third.mention(b, predicted.features)?;
    }
    if options.stage == Stage::Encodings {
        let key = "class_predictions_with_background";
        b.output(key, predicted.refined.class_scores);
        b.output("num_proposals", proposals.count);
        b.output("proposal_boxes", predicted.proposals);
        b.output("refined_box_encodings", predicted.refined.encodings);
        return Ok(());
    }
    let detections = b.scope::<_, ModelError>("SecondStagePostprocessor", |b| {
        let decoded = second.decode(b, predicted, regions.frame)?;
        b.output("raw_detection_boxes", decoded.best_boxes);
        b.output("raw_detection_scores", decoded.scores);
        if options.stage == Stage::Boxes {
            b.output("num_proposals", proposals.count);
            if let Some(boxes) = SecondStage::boxes_by_class(b, decoded, regions.frame)? {
                b.output("raw_detection_boxes_by_class", boxes);
            }
            return Ok(None);
        }
        let thresholds = &options.class_thresholds;
        let detections = second.detect(b, decoded, proposals.count, regions.frame, thresholds)?;
        let classes = b.binary_scalar("classes_from_1", Binary::Add, detections.classes, 1.0)?;
        b.output("detection_anchor_indices", detections.anchor_indices);
        b.output("detection_boxes", detections.boxes);
        b.output("detection_classes", classes);
        b.output("detection_multiclass_scores", detections.multiclass_scores);
        b.output("detection_scores", detections.scores);
        b.output("num_detections", detections.count);
        Ok(Some(detections))
    })?;
    let Some(detections) = detections else {
        return Ok(());
    };
    let (of_boxes, of_maps) = match more {
        More::Features { of_boxes, of_maps } => (of_boxes, of_maps),
        More::Masks(third, first) => {
            let before = Before {
                first,
                proposals,
                predicted,
            };
            return third.outputs(b, second, regions, before, detections);
        }
    };
    if !of_boxes && !of_maps {
        return Ok(());
    }
    b.scope("DetectionFeatures", |b| {
        let crops = second.crop_detections(b, regions, detections.boxes)?;
        if of_maps {
            let crops = SecondStage::by_detection(b, detections.boxes, crops)?;
            b.output("cropped_rpn_box_features", crops);
        }
        if of_boxes {
            let values = SecondStage::features(b, regions, crops)?;
            let values = SecondStage::by_detection(b, detections.boxes, values)?;
            b.output("detection_features", values);
        }
        Ok(())
    })
}
