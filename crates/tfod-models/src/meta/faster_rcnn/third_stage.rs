//! The third stage (Mask R-CNN, He et al. 2017, <https://arxiv.org/abs/1703.06870>): detections are cropped out of the feature maps again, and a mask is predicted of each.

use tfod_config::protos;
use tfod_config::protos::box_predictor::BoxPredictorOneof;
use tfod_config::protos::detection_model::Model as Proto;
use tfod_graph::{Binary, Builder, DType, Dim, Tensor, Unary, ValueId};

use super::crops::flat_dim;
use super::first_stage::{self, Proposals};
use super::mask_head::MaskHead;
use super::second_stage::{Detections, Predicted, Regions, SecondStage};
use crate::error::ModelError;
use crate::fields::{FieldPath, Message, invalid};

/// The most masks of a batch, each of which has a number.
const MOST_MASKS: u64 = i32::MAX as u64;

/// Whether a configuration has a third stage.
pub(super) fn is_configured(config: &protos::DetectionModel) -> bool {
    matches!(&config.model, Some(Proto::FasterRcnn(rcnn)) if rcnn.number_of_stages() == 3)
}

/// The configuration of the third stage.
#[derive(Clone, Copy, Debug)]
pub(super) struct ThirdStage {
    head: MaskHead,
    /// `return_raw_detections_during_predict`
    tells_feature_maps: bool,
}

/// What the first stage sees and predicts.
#[derive(Clone, Copy, Debug)]
pub(super) struct First<'a> {
    /// The network's input.
    pub(super) images: ValueId,
    pub(super) predicted: &'a first_stage::Predicted,
}

/// What the stages before have predicted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before<'a> {
    pub(super) first: First<'a>,
    pub(super) proposals: Proposals,
    pub(super) predicted: Predicted,
}

/// Masks of detections.
#[derive(Clone, Copy, Debug)]
struct Masks {
    /// `[batch * max_total_detections, masks, height, width]`: logits.
    logits: ValueId,
    /// `[batch, max_total_detections, height, width]`: of each the mask of its class, 0 to 1.
    of_detections: ValueId,
}

impl ThirdStage {
    /// Reads the fields.
    ///
    /// # Errors
    /// Where no masks are configured, and for numbers that make no layers.
    pub(super) fn from_config(
        config: Message<'_, protos::FasterRcnn>,
        num_classes: u64,
    ) -> Result<Self, ModelError> {
        let predictor = config.second_stage_box_predictor.as_ref();
        let predictor = config.required("second_stage_box_predictor", predictor)?;
        let mask_rcnn = match &predictor.box_predictor_oneof {
            Some(BoxPredictorOneof::MaskRcnnBoxPredictor(mask_rcnn)) => Some(mask_rcnn),
            _ => None,
        };
        let mask_rcnn = predictor.required("mask_rcnn_box_predictor", mask_rcnn)?;
        let head = MaskHead::from_config(mask_rcnn, num_classes)?;
        Ok(Self {
            head,
            tells_feature_maps: config.return_raw_detections_during_predict(),
        })
    }

    /// Refuses more masks than can be counted, of so many detections of an image; `field` gives the number of classes.
    pub(super) fn check_masks(
        self,
        field: FieldPath,
        detections: u64,
        batch: &Dim,
    ) -> Result<(), ModelError> {
        let boxes = batch.known().unwrap_or(1).saturating_mul(detections);
        let most = MOST_MASKS / boxes.max(1);
        let masks = self.head.masks();
        if masks > most {
            let expected = format!("at most {most} with masks of {boxes} detections");
            return Err(invalid(field, masks, expected));
        }
        Ok(())
    }

    /// Writes the branch over any boxes, so that the graph knows its parameters although no output needs them.
    pub(super) fn mention(self, b: &mut Builder, features: ValueId) -> Result<(), ModelError> {
        self.head.build(b, features).map(|_| ())
    }

    /// The outputs of a detector of three stages that are not detections: masks, and all that the stages before have predicted, because the reference's exporter
    /// leaves away nothing.
    pub(super) fn outputs(
        self,
        b: &mut Builder,
        second: &SecondStage,
        regions: Regions<'_>,
        before: Before<'_>,
        detections: Detections,
    ) -> Result<(), ModelError> {
        let Before {
            first: First {
                images,
                predicted: first,
            },
            proposals,
            predicted,
        } = before;
        let masks = self.masks(b, second, regions, detections)?;
        let image_shape = b.scope("ImageShape", |b| {
            let shape = b.shape_of("shape", images)?;
            b.cast("image_shape", shape, DType::F32)
        })?;
        let anchors = first.anchors.value(b, "anchors")?;
        for (key, value) in [
            ("anchors", anchors),
            ("box_classifier_features", predicted.features),
            (
                "class_predictions_with_background",
                predicted.refined.class_scores,
            ),
            ("detection_masks", masks.of_detections),
            ("final_anchors", proposals.boxes),
            ("image_shape", image_shape),
            ("mask_predictions", masks.logits),
            ("num_proposals", proposals.count),
            ("proposal_boxes", predicted.proposals),
            ("proposal_boxes_normalized", proposals.boxes),
            ("refined_box_encodings", predicted.refined.encodings),
            ("rpn_box_encodings", first.predictions.box_encodings),
            (
                "rpn_objectness_predictions_with_background",
                first.predictions.class_scores,
            ),
        ] {
            b.output(key, value);
        }
        if self.tells_feature_maps {
            let indices = feature_map_indices(b, proposals, predicted)?;
            b.output("raw_detection_feature_map_indices", indices);
        }
        Ok(())
    }

    fn masks(
        self,
        b: &mut Builder,
        second: &SecondStage,
        regions: Regions<'_>,
        detections: Detections,
    ) -> Result<Masks, ModelError> {
        b.scope("ThirdStage", |b| {
            let crops = second.crop_detections(b, regions, detections.boxes)?;
            let features = SecondStage::features(b, regions, crops)?;
            let logits = self.head.build(b, features)?;
            let own = of_classes(b, logits, detections.classes)?;
            let masks = b.unary("masks", Unary::Sigmoid, own)?;
            let mut dims = b.shape(detections.classes).dims().to_vec();
            dims.extend(b.shape(masks).dims().iter().skip(1).cloned());
            let of_detections = b.reshape("detection_masks", masks, &dims)?;
            Ok(Masks {
                logits,
                of_detections,
            })
        })
    }
}

/// Of masks `[boxes, masks, height, width]` that of each box's class, `[boxes, height, width]`; or the only one.
fn of_classes(b: &mut Builder, masks: ValueId, classes: ValueId) -> Result<ValueId, ModelError> {
    let unknown = || ModelError::Inconsistent("masks of another shape".into());
    let [boxes, count, height, width] = b.shape(masks).dims() else {
        return Err(unknown());
    };
    let (boxes, height, width) = (boxes.clone(), height.clone(), width.clone());
    let count = count.known().ok_or_else(unknown)?;
    if count == 1 {
        return Ok(b.reshape("only", masks, &[boxes, height, width])?);
    }
    let all = flat_dim(&boxes, count)?;
    let rows = b.reshape("of_all_classes", masks, &[all, height, width])?;
    let classes = b.cast("classes", classes, DType::I32)?;
    let classes = b.reshape("class", classes, std::slice::from_ref(&boxes))?;
    let before = multiples(b, classes, &boxes, count)?;
    let places = b.binary("places", Binary::Add, before, classes)?;
    Ok(b.gather("own", rows, places)?)
}

/// 0, `step`, twice that and so on, as many as there are elements in a vector of the size `dim`.
fn multiples(
    b: &mut Builder,
    vector: ValueId,
    dim: &Dim,
    step: u64,
) -> Result<ValueId, ModelError> {
    let unknown = || ModelError::Inconsistent("masks without a number".into());
    let step = i32::try_from(step).map_err(|_| unknown())?;
    if let Some(count) = dim.known() {
        let count = i32::try_from(count).map_err(|_| unknown())?;
        let multiples = (0..count).map(|number| number.checked_mul(step));
        let multiples = multiples.collect::<Option<Vec<_>>>().ok_or_else(unknown)?;
        let size = multiples.len() as u64;
        let multiples = Tensor::i32(&[size], &multiples).ok_or_else(unknown)?;
        return Ok(b.constant("masks_before", multiples)?);
    }
    let shape = b.shape_of("count/shape", vector)?;
    let count = b.unstack("count", shape, 0)?;
    let count = count.first().copied().ok_or_else(unknown)?;
    let numbers = b.range("numbers", count, dim.clone())?;
    let step = b.constant("masks_each", Tensor::scalar_i32(step))?;
    Ok(b.binary("masks_before", Binary::Mul, numbers, step)?)
}

/// Which feature map each box of each proposal is from: `[batch, max_proposals, boxes]`. The reference says the first of all.
fn feature_map_indices(
    b: &mut Builder,
    proposals: Proposals,
    predicted: Predicted,
) -> Result<ValueId, ModelError> {
    let boxes = b
        .shape(predicted.refined.encodings)
        .dims()
        .get(1)
        .and_then(Dim::known);
    let boxes = boxes.unwrap_or(1);
    let unknown = || ModelError::Inconsistent("proposals without boxes".into());
    let zeros = vec![0.0; usize::try_from(boxes).map_err(|_| unknown())?];
    let zeros = Tensor::f32(&[boxes], &zeros).ok_or_else(unknown)?;
    b.scope("FeatureMapIndices", |b| {
        let mut dims = b.shape(proposals.scores).dims().to_vec();
        dims.push(1.into());
        let scores = b.reshape("scores", proposals.scores, &dims)?;
        let zero = b.binary_scalar("zero", Binary::Mul, scores, 0.0)?;
        let zeros = b.constant("zeros", zeros)?;
        Ok(b.binary("indices", Binary::Add, zero, zeros)?)
    })
}
