//! Single-shot detectors (SSD, Liu et al. 2016, <https://arxiv.org/abs/1512.02325>; RetinaNet): one pass over the image predicts, for every anchor, class
//! scores and a box.
//!
//! Outputs, all `f32`, as the reference's (`N` anchors, `M` = `max_total_detections`, `C` classes, `C + 1` with background):
//!
//! | key | shape | |
//! | --- | --- | --- |
//! | `detection_boxes` | `[batch, M, 4]` | ymin, xmin, ymax, xmax in 0..1 of the image, without padding |
//! | `detection_scores` | `[batch, M]` | descending |
//! | `detection_classes` | `[batch, M]` | counted from 1; 1 in rows after the last detection |
//! | `detection_multiclass_scores` | `[batch, M, C + 1]` | not with `use_combined_nms` |
//! | `detection_anchor_indices` | `[batch, M]` | which of the `N`; not with `use_combined_nms` |
//! | `detection_keypoints` | `[batch, M, K, 2]` | y, x of `K` keypoints; only with `keypoint_box_coder`, not with `use_combined_nms` |
//! | `num_detections` | `[batch]` | |
//! | `raw_detection_boxes` | `[batch, N, 4]` | before suppression; in 0..1 of the network's input, padding included |
//! | `raw_detection_scores` | `[batch, N, C + 1]` | before suppression |
//! | `box_encodings` | `[batch, N, code_size]` | only at [`Stage::Encodings`] |
//! | `class_predictions_with_background` | `[batch, N, C + 1]` | only at [`Stage::Encodings`] |

use tfod_config::protos;
use tfod_config::protos::anchor_generator::AnchorGeneratorOneof;
use tfod_config::protos::detection_model::Model as Proto;
use tfod_config::protos::ssd_feature_extractor::FeaturePyramidOneof;
use tfod_graph::{Binary, Builder, Dim, Ending, Results, ValueId};

use super::{
    AnchorSource, Description, Family, Marks, MetaArchitecture, Support, SuppressionFields,
};
use crate::Model;
use crate::anchors::tiling::Cells;
use crate::anchors::{self, AnchorGenerator, Anchors, Image};
use crate::error::ModelError;
use crate::facts::{Facts, StageFacts};
use crate::fields::{FieldPath, Message, invalid, missing, size, unsupported};
use crate::head::Predictions;
use crate::input::network_input;
use crate::layers::Path;
use crate::options::{GraphOptions, Stage};
use crate::postprocess::NoEnding;
use crate::postprocess::box_coder::{BoxCoder, Decoded};
use crate::postprocess::nms::{Candidates, Classes, Detections, KEYPOINTS, NonMaxSuppression};
use crate::postprocess::score::ScoreConverter;
use crate::postprocess::window::ClipWindow;
use crate::resizer::Resizer;
use crate::scalar::spatial;
use predictor::BoxPredictor;

pub mod extractor;
mod fit;
pub mod predictor;

/// Where the message stands in the configuration.
const PATH: FieldPath = FieldPath::MODEL.child("ssd");

/// What there is to know of it.
pub(super) static SSD: MetaArchitecture = MetaArchitecture {
    field: "ssd",
    describe,
    marks: Marks {
        trained: &[
            ("_feature_extractor/_bifpn_stage/", Family::EfficientDet),
            (
                "_feature_extractor/_fpn_features_generator/",
                Family::SsdFpn,
            ),
            ("_feature_extractor/classification_backbone/", Family::Ssd),
            ("_box_predictor/", Family::Ssd),
        ],
        exported: &[
            ("_box_predictor/variables/", Family::Ssd),
            ("_box_predictor/trainable_variables/", Family::Ssd),
        ],
        tensorflow_1: &[
            ("WeightSharedConvolutionalBoxPredictor/", Family::SsdFpn),
            ("BoxPredictor_0/", Family::Ssd),
        ],
        // Its feature extractors are told apart by building them.
        backbones: &[],
        class_head: None,
    },
    support: Some(Support {
        build,
        boxes: None,
        side_inputs: None,
        described: |_, _| None,
        has_layers_after: |_| false,
        candidates: fit::candidates,
        alike: &fit::ALIKE,
        templates: fit::templates,
    }),
};

fn describe(config: &protos::DetectionModel) -> Option<Description<'_>> {
    let Some(Proto::Ssd(ssd)) = &config.model else {
        return None;
    };
    let extractor = ssd.feature_extractor.as_ref();
    let name = extractor.map_or("", |e| e.r#type());
    let family = match extractor.and_then(|e| e.feature_pyramid_oneof.as_ref()) {
        Some(FeaturePyramidOneof::Bifpn(_)) => Family::EfficientDet,
        _ if name.contains("bifpn") => Family::EfficientDet,
        _ if name.contains("_fpn") => Family::SsdFpn,
        _ => Family::Ssd,
    };
    let suppression = ssd.post_processing.as_ref().map(|post| {
        const STAGE: &str = "post_processing";
        SuppressionFields::of(PATH.child(STAGE), STAGE, post)
    });
    Some(Description {
        family,
        extractor: name,
        num_classes: Some(ssd.num_classes()),
        has_background: Some(ssd.add_background_class()),
        image_resizer: ssd.image_resizer.as_ref(),
        anchors: AnchorSource::Generator(ssd.anchor_generator.as_ref()),
        further: Vec::new(),
        limit: None,
        keypoint_labels: None,
        suppressions: suppression.into_iter().collect(),
    })
}

/// Writes an SSD.
///
/// # Errors
/// See [`crate::build`].
fn build(config: &protos::DetectionModel, options: &GraphOptions) -> Result<Model, ModelError> {
    let Some(Proto::Ssd(config)) = &config.model else {
        return Err(missing(PATH));
    };
    let config = Message::new(PATH, config);
    let num_classes = size(config.field("num_classes"), config.num_classes(), 1)?;
    let extractor = config.required("feature_extractor", config.feature_extractor.as_ref())?;
    let extractor = extractor::from_config(extractor)?;
    let resizer = config.required("image_resizer", config.image_resizer.as_ref())?;
    let resizer = Resizer::from_config(resizer)?;
    let anchor_generator = anchor_generator(config)?;
    let class_slots = num_classes + u64::from(config.add_background_class());
    let predictor = BoxPredictor::from_config(
        config.required("box_predictor", config.box_predictor.as_ref())?,
        class_slots,
        &anchor_generator.per_location(),
    )?;
    let box_coder = config.required("box_coder", config.box_coder.as_ref())?;
    let box_coder = BoxCoder::from_config(box_coder)?;
    let post = config.required("post_processing", config.post_processing.as_ref())?;
    let score_converter = ScoreConverter::from_config(post)?;
    let nms = suppression(post, box_coder)?;
    let has_background = has_background(config, num_classes)?;

    let architecture = config.feature_extractor.as_ref().map_or("", |e| e.r#type());
    let mut builder = Builder::new(architecture);
    let b = &mut builder;
    let input = b.scope("Preprocessor", |b| {
        network_input(b, options, &resizer, extractor.normalization())
    })?;
    let features = b.scope("FeatureExtractor", |b| {
        extractor.build(b, &Path::new("_feature_extractor"), input.images)
    })?;
    let anchors = b.scope("Anchors", |b| {
        let generator = (&anchor_generator, generator_place(config));
        let images = (input.images, resizer.network_size().is_some());
        anchors_over(b, generator, images, &features, options)
    })?;
    let predictions = b.scope("BoxPredictor", |b| {
        predictor.build(b, &Path::new("_box_predictor"), &features)
    })?;
    check_code_size(b, predictions, box_coder)?;

    let classes = Classes {
        field: PATH.child("num_classes"),
        thresholds: &options.class_thresholds,
    };
    let mut no_ending = None;
    if options.stage == Stage::Encodings {
        b.output("box_encodings", predictions.box_encodings);
        b.output(
            "class_predictions_with_background",
            predictions.class_scores,
        );
    } else {
        b.scope::<_, ModelError>("Postprocessor", |b| {
            let decoded = b.scope("decode", |b| {
                box_coder.decode(b, predictions.box_encodings, &anchors)
            })?;
            let all_scores = score_converter.apply(b, predictions.class_scores)?;
            b.output("raw_detection_boxes", decoded.boxes);
            b.output("raw_detection_scores", all_scores);
            if options.stage == Stage::Boxes {
                return Ok(());
            }
            let scores = foreground(b, all_scores, class_slots, has_background)?;
            let window = input.extent.map(|extent| ClipWindow::new(b, extent));
            let window = window.transpose()?;
            let detections = detections(b, nms, decoded, [scores, all_scores], window, classes)?;
            let plain = nms.check_plain(window, classes);
            let centered = plain.and_then(|()| box_coder.centered(&anchors));
            let from = [predictions.box_encodings, all_scores];
            no_ending = end(b, nms, (from, has_background), centered, &detections);
            for (key, value) in outputs(b, detections)? {
                b.output(key, value);
            }
            Ok(())
        })?;
    }
    let image_size = extractor::spatial_size(b, input.images);
    Ok(Model {
        graph: builder.finish(),
        idle: Vec::new(),
        architecture: architecture.to_owned(),
        num_classes,
        image_size,
        no_ending,
        facts: Facts {
            resizing: resizer.facts(),
            normalization: extractor.normalization(),
            keypoints: Vec::new(),
            further_inputs: Vec::new(),
            stages: vec![StageFacts {
                name: "detections",
                suppression: Some(nms.facts(&options.class_thresholds)),
                boxes: Some(box_coder.facts(anchors.known())),
                scores: Some(score_converter.facts(has_background)),
            }],
        },
    })
}

/// The anchors over the feature maps of images, which may all have one size. Where the options leave them out, there are none, if there can be some.
fn anchors_over(
    b: &mut Builder,
    (generator, place): (&AnchorGenerator, anchors::GeneratorPlace),
    (images, is_fixed): (ValueId, bool),
    features: &[ValueId],
    options: &GraphOptions,
) -> Result<Anchors, ModelError> {
    let size = spatial(b, "image", images)?;
    let cells = Cells::of_each(b, features)?;
    if options.without_anchors && options.stage == Stage::Encodings {
        generator.check(&cells, place)?;
        return Ok(Anchors::Known(Vec::new()));
    }
    generator.build(b, &cells, Image { size, is_fixed }, place)
}

/// Where the anchors' generator stands.
fn generator_place(config: Message<'_, protos::Ssd>) -> anchors::GeneratorPlace {
    anchors::GeneratorPlace {
        field: config.field("anchor_generator"),
        levels_note: " (ResNet extractors always have levels 3 to 7)",
    }
}

/// The anchors, but those that the reference cannot place in an SSD.
fn anchor_generator(config: Message<'_, protos::Ssd>) -> Result<AnchorGenerator, ModelError> {
    let generator = config.required("anchor_generator", config.anchor_generator.as_ref())?;
    if let Some(AnchorGeneratorOneof::GridAnchorGenerator(_)) = generator.anchor_generator_oneof {
        return Err(unsupported(
            generator.path(),
            "grid_anchor_generator in an SSD (the reference cannot run it either: this generator takes no image size)",
            anchors::OF_KNOWN_IMAGES,
        ));
    }
    AnchorGenerator::from_config(generator)
}

/// The suppression, but none that the boxes of the coder would not suit.
fn suppression(
    config: Message<'_, protos::PostProcessing>,
    box_coder: BoxCoder,
) -> Result<NonMaxSuppression, ModelError> {
    let nms = config.batch_non_max_suppression.as_ref();
    let nms = config.required("batch_non_max_suppression", nms)?;
    let nms = NonMaxSuppression::from_config(nms)?;
    check_corners(nms, box_coder)?;
    Ok(nms)
}

/// Whether class 0 of the scores is the background, which is no detection.
fn has_background(config: Message<'_, protos::Ssd>, num_classes: u64) -> Result<bool, ModelError> {
    let field = config.field("explicit_background_class");
    if !config.explicit_background_class() {
        return Ok(config.add_background_class());
    }
    if config.add_background_class() {
        let expected = "false where add_background_class is true, as it is by default";
        return Err(invalid(field, true, expected));
    }
    if num_classes < 2 {
        let expected = "false where num_classes, which then counts the background, is 1";
        return Err(invalid(field, true, expected));
    }
    Ok(true)
}

/// Scores without those of the background, which is the first class where there is one.
fn foreground(
    b: &mut Builder,
    scores: ValueId,
    classes: u64,
    has_background: bool,
) -> Result<ValueId, ModelError> {
    if !has_background {
        return Ok(scores);
    }
    Ok(b.slice_last("foreground_scores", scores, 1, classes.saturating_sub(1))?)
}

/// Suppresses decoded boxes by `scores`, which are `all_scores` but for the background.
fn detections(
    b: &mut Builder,
    nms: NonMaxSuppression,
    decoded: Decoded,
    [scores, all_scores]: [ValueId; 2],
    window: Option<ClipWindow>,
    classes: Classes<'_>,
) -> Result<Detections, ModelError> {
    let keypoints = decoded.keypoints.map(|keypoints| (KEYPOINTS, keypoints));
    let fields: Vec<(&str, ValueId)> = [("multiclass_scores", all_scores)]
        .into_iter()
        .chain(keypoints)
        .collect();
    b.scope("nms", |b| {
        let candidates = Candidates {
            boxes: decoded.boxes,
            scores,
            fields: &fields,
            window,
            count: None,
        };
        nms.build(b, candidates, classes)
    })
}

/// Says what some formats have as one operator: encodings and scores become detections, by centred anchors and their scales. Gives the reason where there are
/// none of those. Of the scores, the first column may be the background.
fn end(
    b: &mut Builder,
    nms: NonMaxSuppression,
    ([encodings, scores], has_background): ([ValueId; 2], bool),
    centered: Result<(Vec<[f32; 4]>, [f32; 4]), NoEnding>,
    detections: &Detections,
) -> Option<NoEnding> {
    let (anchors, scales) = match centered {
        Ok(centered) => centered,
        Err(reason) => return Some(reason),
    };
    let limits = nms.facts(&[]);
    b.end(Ending {
        encodings,
        scores,
        has_background,
        anchors: anchors.into(),
        scales,
        iou_threshold: limits.iou_threshold,
        score_threshold: limits.score_threshold,
        max_per_class: limits.max_detections_per_class,
        max_total: limits.max_total_detections,
        results: Results {
            boxes: Some(detections.boxes),
            classes: Some(detections.classes),
            scores: Some(detections.scores),
            count: Some(detections.num_detections),
        },
    });
    None
}

/// The outputs that detections are, in the order of their keys.
fn outputs(
    b: &mut Builder,
    detections: Detections,
) -> Result<Vec<(&'static str, ValueId)>, ModelError> {
    let classes = b.binary_scalar("classes_from_1", Binary::Add, detections.classes, 1.0)?;
    let mut outputs = vec![
        ("detection_boxes", detections.boxes),
        ("detection_classes", classes),
        ("detection_scores", detections.scores),
        ("num_detections", detections.num_detections),
    ];
    if let Some(origins) = detections.origins {
        outputs.push(("detection_anchor_indices", origins.anchor_indices));
        let keys = ["detection_multiclass_scores", "detection_keypoints"];
        outputs.extend(keys.into_iter().zip(origins.fields));
    }
    outputs.sort_by_key(|(key, _)| *key);
    Ok(outputs)
}

/// Refuses a box coder that can turn boxes inside out, where the reference's suppression then does what nobody wants.
fn check_corners(nms: NonMaxSuppression, box_coder: BoxCoder) -> Result<(), ModelError> {
    if !nms.needs_ordered_corners() || box_coder.orders_corners() {
        return Ok(());
    }
    Err(unsupported(
        box_coder.path,
        "mean_stddev_box_coder where use_static_shapes is true",
        "the other box coders: this one can turn boxes inside out, and the reference then goes by the first box",
    ))
}

/// Refuses predictions of another size than the box coder decodes.
fn check_code_size(
    b: &Builder,
    predictions: Predictions,
    box_coder: BoxCoder,
) -> Result<(), ModelError> {
    let predicted = b.shape(predictions.box_encodings).dims().last();
    match predicted.and_then(Dim::known) {
        Some(size) if size == box_coder.code_size() => Ok(()),
        size => Err(invalid(
            PATH.child("box_predictor"),
            format!("one of box_code_size {}", size.unwrap_or_default()),
            format!("{}, as `{}` has it", box_coder.code_size(), box_coder.path),
        )),
    }
}
