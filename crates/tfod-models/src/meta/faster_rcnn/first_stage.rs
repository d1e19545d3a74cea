//! The first stage: a small network over the feature maps (the *region proposal network*, Ren et al. 2015, section 3.1, <https://arxiv.org/abs/1506.01497>) says of every
//! anchor how likely there is an object, and how the anchor is to be moved. The best boxes of an image are its proposals.

use tfod_config::protos;
use tfod_graph::{Builder, ConvAttrs, DType, Padding, Shape, Unary, ValueId};

use super::PATH;
use super::frame::Frame;
use crate::anchors::tiling::Cells;
use crate::anchors::{AnchorGenerator, Anchors, Corners, GeneratorPlace, Image};
use crate::error::ModelError;
use crate::fields::{Message, size, unsupported};
use crate::head::Predictions;
use crate::head::convolutional::Convolutional;
use crate::hyperparams::Hyperparams;
use crate::layers::{Path, batch_norm, bias, channels, variable};
use crate::postprocess::box_coder::{BoxCoder, Coding};
use crate::postprocess::nms::{Candidates, Classes, NonMaxSuppression, OneClass};
use crate::scalar::Int;

/// The box coder of both stages, which the configuration has no say in.
pub(super) const BOX_CODER: BoxCoder = BoxCoder {
    coding: Coding::FasterRcnn {
        scales: [10.0, 10.0, 5.0, 5.0],
    },
    path: PATH,
};
/// The field of the anchor generator.
const GENERATOR: &str = "first_stage_anchor_generator";
/// Where the anchor generator is configured.
const PLACE: GeneratorPlace = GeneratorPlace {
    field: PATH.child(GENERATOR),
    levels_note: "",
};
/// Background and object.
const CLASS_SLOTS: u64 = 2;

/// The configuration of the first stage.
#[derive(Clone, Debug)]
pub(super) struct FirstStage {
    anchor_generator: AnchorGenerator,
    atrous_rate: u64,
    kernel: u64,
    depth: u64,
    hyperparams: Hyperparams,
    predictor: Convolutional,
    pub(super) nms: NonMaxSuppression,
    /// Whether all sizes are known when the graph is written, as on accelerators.
    is_static: bool,
}

/// What the first stage predicts.
#[derive(Clone, Debug)]
pub(super) struct Predicted {
    /// Box encodings `[batch, num_anchors, 4]`, and logits `[batch, num_anchors, 2]` of background and object.
    pub(super) predictions: Predictions,
    /// In pixels, cut off at the border of the network's input.
    pub(super) anchors: Anchors,
}

/// The proposals of a batch of images, and what they were chosen from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proposals {
    /// `[batch, max_proposals, 4]`, best first, then zeros: in parts of the network's input.
    pub(super) boxes: ValueId,
    /// `[batch, max_proposals]`
    pub(super) scores: ValueId,
    /// `[batch, max_proposals, 2]`, of background and object; combined suppression does not give it.
    pub(super) multiclass_scores: Option<ValueId>,
    /// `[batch]`, floats: how many there are.
    pub(super) count: ValueId,
    /// `[batch, num_anchors, 4]`, in parts of the network's input.
    pub(super) raw_boxes: ValueId,
    /// `[batch, num_anchors, 2]`, of background and object.
    pub(super) raw_scores: ValueId,
}

impl FirstStage {
    /// Reads the fields.
    ///
    /// # Errors
    /// For numbers that make no layers, anchors or proposals.
    pub(super) fn from_config(config: Message<'_, protos::FasterRcnn>) -> Result<Self, ModelError> {
        let generator = config.first_stage_anchor_generator.as_ref();
        let generator = config.required(GENERATOR, generator)?;
        let anchor_generator = AnchorGenerator::from_config(generator)?;
        if let Some(field) = anchor_generator.normalized_by() {
            let expected = "false: anchors of a first stage are in pixels (the reference cannot run others either)";
            return Err(unsupported(field, true, expected));
        }
        let number = |name, value| size(config.field(name), value, 1);
        let per_location = anchor_generator.per_location();
        let is_static = config.use_static_shapes() && config.use_static_shapes_for_eval();
        Ok(Self {
            is_static,
            atrous_rate: number("first_stage_atrous_rate", config.first_stage_atrous_rate())?,
            kernel: number(
                "first_stage_box_predictor_kernel_size",
                config.first_stage_box_predictor_kernel_size(),
            )?,
            depth: number(
                "first_stage_box_predictor_depth",
                config.first_stage_box_predictor_depth(),
            )?,
            hyperparams: Hyperparams::from_config(
                config.field("first_stage_box_predictor_conv_hyperparams"),
                config.first_stage_box_predictor_conv_hyperparams.as_ref(),
            )?,
            predictor: Convolutional::bare(CLASS_SLOTS, BOX_CODER.code_size(), &per_location),
            nms: NonMaxSuppression::of_one_class(&OneClass {
                iou_threshold: (
                    config.field("first_stage_nms_iou_threshold"),
                    config.first_stage_nms_iou_threshold(),
                ),
                score_threshold: (
                    config.field("first_stage_nms_score_threshold"),
                    config.first_stage_nms_score_threshold(),
                ),
                max_total: (
                    config.field("first_stage_max_proposals"),
                    config.first_stage_max_proposals(),
                ),
                is_static,
                combined: config.use_combined_nms_in_first_stage(),
                partitioned: config.use_partitioned_nms_in_first_stage(),
                path: config.path(),
            })?,
            anchor_generator,
        })
    }

    /// Predicts over feature maps `[batch, h, w, channels]`. Where anchors are left out, other boxes stand for them.
    pub(super) fn predict(
        &self,
        b: &mut Builder,
        maps: &[ValueId],
        frame: Frame,
        without_anchors: bool,
    ) -> Result<Predicted, ModelError> {
        let stand_in = without_anchors.then(|| self.stand_in(b, maps));
        let anchors = match stand_in.transpose()?.flatten() {
            Some(anchors) => anchors,
            None => b.scope("Anchors", |b| self.anchors(b, maps, frame))?,
        };
        let predictions = b.scope("FirstStageBoxPredictor", |b| {
            let features = maps.iter().map(|map| self.convolution(b, *map));
            let features = features.collect::<Result<Vec<_>, ModelError>>()?;
            let path = Path::new("_first_stage_box_predictor");
            self.predictor.build(b, &path, &features)
        })?;
        Ok(Predicted {
            predictions,
            anchors,
        })
    }

    /// The anchors of the maps, in pixels, cut off at the border of the network's input.
    fn anchors(
        &self,
        b: &mut Builder,
        maps: &[ValueId],
        frame: Frame,
    ) -> Result<Anchors, ModelError> {
        let cells = Cells::of_each(b, maps)?;
        // The reference does not tell generators the size of the image, which for them is then 1 by 1.
        let image = Image {
            size: [Int::Known(1); 2],
            is_fixed: true,
        };
        let anchors = self.anchor_generator.build(b, &cells, image, PLACE)?;
        b.scope("clip", |b| clipped(b, anchors, frame, self.is_static))
    }

    /// An input in place of anchors, where it is known how many there would be: a network of which only the layers are looked at needs no numbers.
    fn stand_in(&self, b: &mut Builder, maps: &[ValueId]) -> Result<Option<Anchors>, ModelError> {
        let cells = Cells::of_each(b, maps)?;
        self.anchor_generator.check(&cells, PLACE)?;
        let maps = cells.iter().zip(self.anchor_generator.per_location());
        let count = maps.into_iter().try_fold(0, |sum, (cells, boxes)| {
            let [height, width] = &cells.dims;
            Some(sum + height.known()? * width.known()? * boxes)
        });
        Ok(count.map(|count| {
            let shape = Shape::known(&[count, 4]);
            Anchors::Computed(b.input("anchors", DType::F32, shape))
        }))
    }

    /// The convolution that all maps share.
    fn convolution(&self, b: &mut Builder, map: ValueId) -> Result<ValueId, ModelError> {
        let path = Path::new("_first_stage_box_predictor_first_conv");
        let layer = |index: u64| path.child(format!("layer_with_weights-{index}"));
        let mut x = b.scope::<_, ModelError>("RPNConv", |b| {
            let shape = [self.kernel, self.kernel, channels(b, map), self.depth];
            let kernel = variable(b, &layer(0), "kernel", &shape, true)?;
            let attrs = ConvAttrs {
                dilations: [self.atrous_rate; 2],
                ..ConvAttrs::new(1, Padding::Same)
            };
            let x = b.conv2d("conv2d", map, kernel, attrs)?;
            Ok(bias(b, &layer(0), x, self.hyperparams.use_bias())?)
        })?;
        if let Some(norm) = self.hyperparams.batch_norm {
            x = batch_norm(b, "RPNBatchNorm", &layer(1), x, norm)?;
        }
        // Whatever activation is configured.
        Ok(b.unary("RPNActivation", Unary::Relu6, x)?)
    }

    /// Chooses the proposals.
    pub(super) fn propose(
        &self,
        b: &mut Builder,
        predicted: &Predicted,
        frame: Frame,
    ) -> Result<Proposals, ModelError> {
        let Predictions {
            box_encodings,
            class_scores,
        } = predicted.predictions;
        let raw = b.scope("decode", |b| {
            BOX_CODER.decode(b, box_encodings, &predicted.anchors)
        })?;
        let raw_scores = b.softmax("scores", class_scores)?;
        let scores = b.slice_last("object_scores", raw_scores, 1, 1)?;
        let fields = [("multiclass_scores", raw_scores)];
        let candidates = Candidates {
            boxes: raw.boxes,
            scores,
            fields: &fields,
            window: Some(frame.window),
            count: None,
        };
        let classes = Classes {
            field: PATH.child("num_classes"),
            thresholds: &[],
        };
        let chosen = b.scope("nms", |b| self.nms.build(b, candidates, classes))?;
        let boxes = b.scope("proposals", |b| frame.normalized(b, chosen.boxes))?;
        let raw_boxes = b.scope("raw", |b| frame.normalized(b, raw.boxes))?;
        let multiclass_scores = chosen.origins.and_then(|mut origins| origins.fields.pop());
        Ok(Proposals {
            boxes,
            scores: chosen.scores,
            multiclass_scores,
            count: chosen.num_detections,
            raw_boxes,
            raw_scores,
        })
    }
}

/// Anchors cut off at the border of the network's input. Those that have no area then are refused, unless they are to be kept.
fn clipped(
    b: &mut Builder,
    anchors: Anchors,
    frame: Frame,
    keeps_empty: bool,
) -> Result<Anchors, ModelError> {
    let corners = match (anchors, frame.network) {
        (Anchors::Known(anchors), [Int::Known(height), Int::Known(width)]) => {
            let size = [height, width];
            let clipped: Vec<Corners> = anchors.iter().map(|a| clip_known(*a, size)).collect();
            if !keeps_empty {
                check_areas(&anchors, &clipped, size)?;
            }
            return Ok(Anchors::Known(clipped));
        }
        (anchors, _) => anchors.value(b, "anchors")?,
    };
    Ok(Anchors::Computed(frame.clipped_to_network(b, corners)?))
}

/// An anchor in pixels, cut off at the border.
fn clip_known([y0, x0, y1, x1]: Corners, size: [i32; 2]) -> Corners {
    #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^24")]
    let [height, width] = size.map(|side| side as f32);
    let within = |side: f32, limit: f32| side.min(limit).max(0.0);
    [
        within(y0, height),
        within(x0, width),
        within(y1, height),
        within(x1, width),
    ]
}

/// Refuses anchors beside the image: the reference drops them, and then has fewer than predictions.
fn check_areas(
    anchors: &[Corners],
    clipped: &[Corners],
    [height, width]: [i32; 2],
) -> Result<(), ModelError> {
    let has_area = |[y0, x0, y1, x1]: &Corners| (y1 - y0) * (x1 - x0) > 0.0;
    let beside = anchors.iter().zip(clipped).find(|(_, c)| !has_area(c));
    beside.map_or(Ok(()), |(anchor, _)| {
        Err(ModelError::Inconsistent(format!(
            "`{}` places an anchor, {anchor:?}, beside an image of {height}x{width}, which the reference does not run; \
             change the offsets, the strides or the sizes of anchors",
            PATH.child(GENERATOR)
        )))
    })
}
