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
//! | `detection_multiclass_scores` | `[batch, M, C + 1]` | |
//! | `detection_anchor_indices` | `[batch, M]` | which of the `N` |
//! | `num_detections` | `[batch]` | |
//! | `raw_detection_boxes` | `[batch, N, 4]` | before suppression; in 0..1 of the network's input, padding included |
//! | `raw_detection_scores` | `[batch, N, C + 1]` | before suppression |
//! | `box_encodings` | `[batch, N, 4]` | only at [`Stage::Encodings`] |
//! | `class_predictions_with_background` | `[batch, N, C + 1]` | only at [`Stage::Encodings`] |

use tfod_config::protos;
use tfod_graph::{Binary, Builder};

use crate::Model;
use crate::anchors::tiling::Cells;
use crate::anchors::{AnchorGenerator, Image};
use crate::error::ModelError;
use crate::facts::Facts;
use crate::fields::{message, size};
use crate::head::BoxPredictor;
use crate::input::network_input;
use crate::layers::Path;
use crate::options::{GraphOptions, Stage};
use crate::postprocess::box_coder::BoxCoder;
use crate::postprocess::nms::NonMaxSuppression;
use crate::postprocess::score::ScoreConverter;
use crate::postprocess::window::Window;
use crate::resizer::Resizer;
use crate::scalar::spatial;

pub mod extractor;

/// Writes an SSD.
///
/// # Errors
/// See [`crate::build`].
pub fn build(config: &protos::Ssd, options: &GraphOptions) -> Result<Model, ModelError> {
    let num_classes = size("model.ssd.num_classes", config.num_classes(), 1)?;
    let extractor = extractor::from_config(config.feature_extractor.as_ref())?;
    let resizer = Resizer::from_config(config.image_resizer.as_ref())?;
    let anchor_generator = AnchorGenerator::from_config(config.anchor_generator.as_ref())?;
    let class_slots = num_classes + u64::from(config.add_background_class());
    let predictor = BoxPredictor::from_config(
        config.box_predictor.as_ref(),
        class_slots,
        &anchor_generator.per_location(),
    )?;
    let box_coder = BoxCoder::from_config(config.box_coder.as_ref())?;
    let post = message("model.ssd.post_processing", config.post_processing.as_ref())?;
    let score_converter = ScoreConverter::from_config(post)?;
    let nms = NonMaxSuppression::from_config(post.batch_non_max_suppression.as_ref())?;
    let has_background = config.add_background_class() || config.explicit_background_class();

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
        let image = Image {
            size: spatial(b, "image", input.images)?,
            is_fixed: resizer.network_size().is_some(),
        };
        let maps = features.iter().enumerate();
        let maps = maps.map(|(level, map)| Cells::of(b, &format!("map_{level}"), *map));
        let maps = maps.collect::<Result<Vec<_>, _>>()?;
        anchor_generator.build(b, &maps, image)
    })?;
    let predictions = b.scope("BoxPredictor", |b| {
        predictor.build(b, &Path::new("_box_predictor"), &features)
    })?;

    if options.stage == Stage::Encodings {
        b.output("box_encodings", predictions.box_encodings);
        b.output(
            "class_predictions_with_background",
            predictions.class_scores,
        );
    } else {
        b.scope::<_, ModelError>("Postprocessor", |b| {
            let boxes = b.scope("decode", |b| {
                box_coder.decode(b, predictions.box_encodings, &anchors)
            })?;
            let all_scores = score_converter.apply(b, predictions.class_scores)?;
            b.output("raw_detection_boxes", boxes);
            b.output("raw_detection_scores", all_scores);
            if options.stage == Stage::Boxes {
                return Ok(());
            }
            let scores = if has_background {
                let foreground = class_slots.saturating_sub(1);
                b.slice_last("foreground_scores", all_scores, 1, foreground)?
            } else {
                all_scores
            };
            let window = input
                .extent
                .map(|extent| Window::new(b, extent))
                .transpose()?;
            let detections = b.scope("nms", |b| nms.build(b, boxes, scores, all_scores, window))?;
            let classes =
                b.binary_scalar("classes_from_1", Binary::Add, detections.classes, 1.0)?;
            b.output("detection_anchor_indices", detections.anchor_indices);
            b.output("detection_boxes", detections.boxes);
            b.output("detection_classes", classes);
            b.output("detection_multiclass_scores", detections.multiclass_scores);
            b.output("detection_scores", detections.scores);
            b.output("num_detections", detections.num_detections);
            Ok(())
        })?;
    }
    let image_size = extractor::spatial_size(b, input.images);
    Ok(Model {
        graph: builder.finish(),
        architecture: architecture.to_owned(),
        num_classes,
        image_size,
        facts: Facts {
            resizing: resizer.facts(),
            normalization: extractor.normalization(),
            suppression: nms.facts(),
            boxes: box_coder.facts(anchors.known()),
            scores: score_converter.facts(has_background),
        },
    })
}
