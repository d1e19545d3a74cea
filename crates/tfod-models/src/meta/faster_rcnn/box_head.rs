//! The predictor of the second stage, `mask_rcnn_box_predictor`: over the features of each proposal, averaged, a dense layer for its box and one for its class.

use tfod_config::protos;
use tfod_graph::{Builder, ValueId};

use super::first_stage::BOX_CODER;
use crate::error::ModelError;
use crate::fields::{Message, invalid, size};
use crate::hyperparams::{BatchNorm, Hyperparams};
use crate::layers::{Path, batch_norm_of_rows, channels, dense};

/// The configuration of the predictor.
#[derive(Clone, Copy, Debug)]
pub(super) struct BoxPredictor {
    /// Whether there is a layer, which does nothing at inference, before the dense ones.
    dropout: bool,
    /// After the dense layers.
    batch_norm: Option<BatchNorm>,
    num_classes: u64,
    share_box_across_classes: bool,
}

/// What the second stage predicts of each proposal of all images.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refined {
    /// `[proposals, classes, 4]`, or `[proposals, 1, 4]` where classes share a box: relative to the proposals.
    pub(super) encodings: ValueId,
    /// `[proposals, classes + 1]`: logits, the background first.
    pub(super) class_scores: ValueId,
}

/// One of the dense layers.
struct Head {
    name: &'static str,
    path: Path,
    units: u64,
}

impl BoxPredictor {
    /// Reads the message.
    ///
    /// # Errors
    /// For another code size than that of the box coder, which the configuration has no say in.
    pub(super) fn from_config(
        config: Message<'_, protos::MaskRcnnBoxPredictor>,
        num_classes: u64,
    ) -> Result<Self, ModelError> {
        let field = config.field("box_code_size");
        let code_size = size(field, config.box_code_size(), 1)?;
        if code_size != BOX_CODER.code_size() {
            let expected = "4: the box coder of two-stage detectors is faster_rcnn_box_coder";
            return Err(invalid(field, code_size, expected));
        }
        let field = config.field("fc_hyperparams");
        let hyperparams = Hyperparams::from_config(field, config.fc_hyperparams.as_ref())?;
        Ok(Self {
            dropout: config.use_dropout(),
            batch_norm: hyperparams.batch_norm,
            num_classes,
            share_box_across_classes: config.share_box_across_classes(),
        })
    }

    /// Predicts over features `[proposals, h, w, channels]`.
    pub(super) fn build(self, b: &mut Builder, features: ValueId) -> Result<Refined, ModelError> {
        let predictor = Path::new("_mask_rcnn_box_predictor");
        let averages = b.global_average_pool("AvgPool", features)?;
        let proposals = b.shape(averages).dims().first().cloned();
        let proposals = proposals
            .ok_or_else(|| ModelError::Inconsistent("features without proposals".into()))?;
        let depth = channels(b, averages);
        let rows = b.reshape("flatten", averages, &[proposals.clone(), depth.into()])?;
        let boxes = if self.share_box_across_classes {
            1
        } else {
            self.num_classes
        };
        let box_head = Head {
            name: "BoxEncodingPredictor",
            path: predictor
                .child("_box_prediction_head")
                .child("_box_encoder_layers"),
            units: boxes * BOX_CODER.code_size(),
        };
        let class_head = Head {
            name: "ClassPredictor",
            path: predictor
                .child("_class_prediction_head")
                .child("_class_predictor_layers"),
            units: self.num_classes + 1,
        };
        let encodings = self.head(b, &box_head, rows)?;
        let dims = [proposals, boxes.into(), BOX_CODER.code_size().into()];
        Ok(Refined {
            encodings: b.reshape("box_encodings", encodings, &dims)?,
            class_scores: self.head(b, &class_head, rows)?,
        })
    }

    /// A head over rows `[proposals, channels]`. Flattening is the first layer of the list, and dropout, where there is one, the second.
    fn head(self, b: &mut Builder, head: &Head, rows: ValueId) -> Result<ValueId, ModelError> {
        let first = 1 + u64::from(self.dropout);
        let name = format!("{}_dense", head.name);
        let x = dense(b, &name, &head.path.child(first), rows, head.units)?;
        let Some(norm) = self.batch_norm else {
            return Ok(x);
        };
        let name = format!("{}_batchnorm", head.name);
        Ok(batch_norm_of_rows(
            b,
            &name,
            &head.path.child(first + 1),
            x,
            norm,
        )?)
    }
}
