//! The second stage: proposals are cropped out of the feature maps and classified, and their boxes refined (Ren et al. 2015, <https://arxiv.org/abs/1506.01497>); what is left after
//! another suppression are the detections.

use tfod_config::protos;
use tfod_config::protos::box_predictor::BoxPredictorOneof;
use tfod_graph::{Builder, Compare, DType, Dim, Reduce, Tensor, ValueId};

use super::PATH;
use super::box_head::{BoxPredictor, Refined};
use super::context::{Memory, Position};
use super::crops::Crops;
use super::extractor::FeatureExtractor;
use super::first_stage::{BOX_CODER, Proposals};
use super::frame::Frame;
use crate::anchors::Anchors;
use crate::error::ModelError;
use crate::fields::{Message, unsupported};
use crate::layers::Path;
use crate::options::ClassThreshold;
use crate::postprocess::nms::{Candidates, Classes, NonMaxSuppression};
use crate::postprocess::score::ScoreConverter;
use crate::postprocess::window::clip;

/// The configuration of the second stage.
#[derive(Clone, Debug)]
pub(super) struct SecondStage {
    crops: Crops,
    predictor: BoxPredictor,
    pub(super) score_converter: ScoreConverter,
    pub(super) nms: NonMaxSuppression,
    num_classes: u64,
}

/// The feature maps of a batch of images, and what is made of crops of them.
#[derive(Clone, Copy)]
pub(super) struct Regions<'a> {
    pub(super) extractor: &'a dyn FeatureExtractor,
    /// From fine to coarse.
    pub(super) maps: &'a [ValueId],
    pub(super) frame: Frame,
    /// What features attend to.
    pub(super) memory: Option<Memory>,
}

/// What the second stage predicts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Predicted {
    /// What proposals are classified by, `[batch * max_proposals, h, w, channels]`.
    pub(super) features: ValueId,
    /// Of each proposal of all images.
    pub(super) refined: Refined,
    /// `[batch, max_proposals, 4]`, in pixels.
    pub(super) proposals: ValueId,
}

/// Boxes and scores of proposals.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decoded {
    /// `[batch, max_proposals, classes, 4]`, in pixels; one for all classes where they share a box.
    pub(super) boxes: ValueId,
    /// `[batch, max_proposals, classes + 1]`, the background first.
    pub(super) scores: ValueId,
    /// `[batch, max_proposals, 4]`: of each proposal the box of its best class, in parts of the image, cut off at its border.
    pub(super) best_boxes: ValueId,
}

/// The outputs of suppression: `[batch, max_total_detections, ...]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Detections {
    /// In parts of the image.
    pub(super) boxes: ValueId,
    pub(super) scores: ValueId,
    /// Floats, counted from 0.
    pub(super) classes: ValueId,
    /// `[batch, max_total_detections, classes + 1]`
    pub(super) multiclass_scores: ValueId,
    /// Floats: the proposal of each.
    pub(super) anchor_indices: ValueId,
    /// `[batch]`, floats.
    pub(super) count: ValueId,
}

impl SecondStage {
    /// Reads the fields.
    ///
    /// # Errors
    /// For a predictor that is not supported, and for numbers that make no layers or detections.
    pub(super) fn from_config(
        config: Message<'_, protos::FasterRcnn>,
        num_classes: u64,
    ) -> Result<Self, ModelError> {
        let predictor = config.second_stage_box_predictor.as_ref();
        let predictor = config.required("second_stage_box_predictor", predictor)?;
        let predictor = match &predictor.box_predictor_oneof {
            Some(BoxPredictorOneof::MaskRcnnBoxPredictor(mask_rcnn)) => {
                let mask_rcnn = predictor.at("mask_rcnn_box_predictor", mask_rcnn);
                BoxPredictor::from_config(mask_rcnn, num_classes)?
            }
            other => {
                let given = match other {
                    Some(BoxPredictorOneof::RfcnBoxPredictor(_)) => "rfcn_box_predictor",
                    Some(BoxPredictorOneof::ConvolutionalBoxPredictor(_)) => {
                        "convolutional_box_predictor"
                    }
                    Some(BoxPredictorOneof::WeightSharedConvolutionalBoxPredictor(_)) => {
                        "weight_shared_convolutional_box_predictor"
                    }
                    _ => "none",
                };
                let supported = "mask_rcnn_box_predictor";
                return Err(unsupported(predictor.path(), given, supported));
            }
        };
        let post = config.second_stage_post_processing.as_ref();
        let post = config.required("second_stage_post_processing", post)?;
        let nms = post.batch_non_max_suppression.as_ref();
        let nms = post.required("batch_non_max_suppression", nms)?;
        Ok(Self {
            crops: Crops::from_config(config)?,
            predictor,
            score_converter: ScoreConverter::from_config(post)?,
            nms: NonMaxSuppression::from_config(nms)?.relative_to_window()?,
            num_classes,
        })
    }

    /// Crops boxes `[batch, n, 4]`, in parts of the network's input, out of the maps: `[batch * n, h, w, channels]`.
    fn crop(
        &self,
        b: &mut Builder,
        regions: Regions<'_>,
        boxes: ValueId,
    ) -> Result<ValueId, ModelError> {
        b.scope("CropAndResize", |b| {
            self.crops
                .build(b, regions.maps, boxes, regions.frame.network)
        })
    }

    /// Crops detections out of the maps again: `[batch * max_total_detections, h, w, channels]`. Their boxes are taken as parts of the network's input, as the reference
    /// takes them, although they are parts of the image.
    pub(super) fn crop_detections(
        &self,
        b: &mut Builder,
        regions: Regions<'_>,
        boxes: ValueId,
    ) -> Result<ValueId, ModelError> {
        self.crop(b, regions, boxes)
    }

    /// The features that boxes are classified by, from their crops.
    pub(super) fn features(
        b: &mut Builder,
        regions: Regions<'_>,
        crops: ValueId,
    ) -> Result<ValueId, ModelError> {
        let path = Path::new("_feature_extractor_for_box_classifier_features");
        b.scope("SecondStageFeatureExtractor", |b| {
            regions.extractor.features(b, &path, crops)
        })
    }

    /// Predicts over proposals.
    pub(super) fn predict(
        &self,
        b: &mut Builder,
        regions: Regions<'_>,
        proposals: Proposals,
    ) -> Result<Predicted, ModelError> {
        let Proposals { boxes, count, .. } = proposals;
        let mut crops = self.crop(b, regions, boxes)?;
        if let Some(memory) = regions.memory {
            crops = memory.attended(b, Position::Crops, crops, boxes, count)?;
        }
        let mut features = Self::features(b, regions, crops)?;
        if let Some(memory) = regions.memory {
            features = memory.attended(b, Position::Features, features, boxes, count)?;
        }
        let refined = b.scope("SecondStageBoxPredictor", |b| {
            self.predictor.build(b, features)
        })?;
        let proposals = b.scope("Proposals", |b| regions.frame.absolute(b, proposals.boxes))?;
        Ok(Predicted {
            features,
            refined,
            proposals,
        })
    }

    /// Decodes boxes and converts scores.
    pub(super) fn decode(
        &self,
        b: &mut Builder,
        predicted: Predicted,
        frame: Frame,
    ) -> Result<Decoded, ModelError> {
        let [batch, proposals, four] = b.shape(predicted.proposals).dims() else {
            let text = "proposals of another shape";
            return Err(ModelError::Inconsistent(text.to_owned()));
        };
        let (batch, proposals, four) = (batch.clone(), proposals.clone(), four.clone());
        let shared = b.shape(predicted.refined.encodings).dims().get(1).cloned();
        let boxes_each = shared.unwrap_or(Dim::Known(1));
        let dims = [
            batch.clone(),
            proposals.clone(),
            boxes_each.clone(),
            four.clone(),
        ];
        let encodings = b.reshape("box_encodings", predicted.refined.encodings, &dims)?;
        let slots = Dim::Known(self.num_classes + 1);
        let dims = [batch.clone(), proposals.clone(), slots];
        let logits = b.reshape("class_logits", predicted.refined.class_scores, &dims)?;
        let boxes = b.scope::<_, ModelError>("decode", |b| {
            let dims = [batch.clone(), proposals.clone(), 1.into(), four.clone()];
            let anchors = b.reshape("proposals", predicted.proposals, &dims)?;
            Ok(BOX_CODER
                .decode(b, encodings, &Anchors::Computed(anchors))?
                .boxes)
        })?;
        let best_boxes = b.scope::<_, ModelError>("raw", |b| {
            let best = if boxes_each.is(1) {
                b.reshape("boxes", boxes, &[batch, proposals, four])?
            } else {
                self.boxes_of_best_classes(b, boxes, logits)?
            };
            let window = frame.window.for_batch(b, 3)?;
            let best = window.relative(b, best)?;
            clip(b, best, None)
        })?;
        Ok(Decoded {
            boxes,
            scores: self.score_converter.apply(b, logits)?,
            best_boxes,
        })
    }

    /// Of each proposal the box of the class with the largest logit, `[batch, max_proposals, 4]`: from `[batch, max_proposals, classes, 4]`.
    fn boxes_of_best_classes(
        &self,
        b: &mut Builder,
        boxes: ValueId,
        logits: ValueId,
    ) -> Result<ValueId, ModelError> {
        let logits = b.slice_last("object_logits", logits, 1, self.num_classes)?;
        let [_, class] = b.top_k("best_class", logits, 1)?;
        let numbers: Vec<i32> = (0..)
            .take(usize::try_from(self.num_classes).unwrap_or_default())
            .collect();
        let numbers = Tensor::i32(&[self.num_classes], &numbers)
            .ok_or_else(|| ModelError::Inconsistent("classes without a number".into()))?;
        let numbers = b.constant("class_numbers", numbers)?;
        let is_best = b.compare("is_best", Compare::Equal, numbers, class)?;
        let mut column = b.shape(is_best).dims().to_vec();
        column.push(1.into());
        let is_best = b.reshape("is_best_column", is_best, &column)?;
        let zero = b.constant("zero", Tensor::scalar_f32(0.0))?;
        let best = b.select("best_boxes", is_best, boxes, zero)?;
        Ok(b.reduce("boxes", Reduce::Sum, best, &[2])?)
    }

    /// The boxes of each class, `[batch, max_proposals, classes, 4]`, in parts of the image, cut off at its border; `None` where classes share a box.
    pub(super) fn boxes_by_class(
        b: &mut Builder,
        decoded: Decoded,
        frame: Frame,
    ) -> Result<Option<ValueId>, ModelError> {
        let boxes = decoded.boxes;
        if b.shape(boxes).dims().get(2).is_none_or(|dim| dim.is(1)) {
            return Ok(None);
        }
        b.scope("by_class", |b| {
            let window = frame.window.for_batch(b, 4)?;
            let boxes = window.relative(b, boxes)?;
            clip(b, boxes, None).map(Some)
        })
    }

    /// Suppresses the boxes of proposals, of which there are `count` in each image, `[batch]`.
    pub(super) fn detect(
        &self,
        b: &mut Builder,
        decoded: Decoded,
        count: ValueId,
        frame: Frame,
        thresholds: &[ClassThreshold],
    ) -> Result<Detections, ModelError> {
        let scores = b.slice_last("object_scores", decoded.scores, 1, self.num_classes)?;
        let mut boxes = decoded.boxes;
        if let [batch, proposals, shared, four] = b.shape(boxes).dims()
            && shared.is(1)
        {
            let dims = [batch.clone(), proposals.clone(), four.clone()];
            boxes = b.reshape("shared_boxes", boxes, &dims)?;
        }
        let fields = [("multiclass_scores", decoded.scores)];
        let candidates = Candidates {
            boxes,
            scores,
            fields: &fields,
            window: Some(frame.window),
            count: Some(b.cast("num_proposals", count, DType::I32)?),
        };
        let classes = Classes {
            field: PATH.child("num_classes"),
            thresholds,
        };
        let detections = b.scope("nms", |b| self.nms.build(b, candidates, classes))?;
        let missing = || ModelError::Inconsistent("detections without an origin".into());
        let mut origins = detections.origins.ok_or_else(missing)?;
        Ok(Detections {
            boxes: detections.boxes,
            scores: detections.scores,
            classes: detections.classes,
            multiclass_scores: origins.fields.pop().ok_or_else(missing)?,
            anchor_indices: origins.anchor_indices,
            count: detections.num_detections,
        })
    }

    /// What all detections have, `[batch * max_total_detections, ...]`, by image: `[batch, max_total_detections, ...]`. `boxes` are those of the detections.
    pub(super) fn by_detection(
        b: &mut Builder,
        boxes: ValueId,
        values: ValueId,
    ) -> Result<ValueId, ModelError> {
        let mut dims = b.shape(boxes).dims().to_vec();
        dims.truncate(2);
        dims.extend(b.shape(values).dims().iter().skip(1).cloned());
        Ok(b.reshape("by_detection", values, &dims)?)
    }
}
