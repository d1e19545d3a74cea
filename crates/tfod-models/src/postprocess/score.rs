//! Score conversion: from class logits to scores.

use tfod_config::protos;
use tfod_config::protos::post_processing::ScoreConverter as Proto;
use tfod_graph::{Binary, Builder, Unary, ValueId};

use crate::error::ModelError;
use crate::facts::ScoreConversion;
use crate::fields::{invalid, unsupported};

/// The function from logits to scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreConverter {
    kind: Proto,
    logit_scale: f32,
}

impl ScoreConverter {
    /// Reads what `post_processing` says of scores.
    ///
    /// # Errors
    /// For a calibration, or a logit scale of 0.
    pub fn from_config(config: &protos::PostProcessing) -> Result<Self, ModelError> {
        if config.calibration_config.is_some() {
            let field = "model.ssd.post_processing.calibration_config";
            return Err(unsupported(field, "a calibration", "none"));
        }
        let logit_scale = config.logit_scale();
        if !logit_scale.is_finite() || logit_scale == 0.0 {
            let field = "model.ssd.post_processing.logit_scale";
            return Err(invalid(field, logit_scale, "a number other than 0"));
        }
        Ok(Self {
            kind: config.score_converter(),
            logit_scale,
        })
    }

    /// Converts `[batch, num_anchors, class_slots]`.
    ///
    /// # Errors
    /// When the graph refuses a node.
    #[expect(
        clippy::float_cmp,
        reason = "exactly 1 is the default, for which nothing is to be done"
    )]
    pub fn apply(self, b: &mut Builder, logits: ValueId) -> Result<ValueId, ModelError> {
        let logits = if self.logit_scale == 1.0 {
            logits
        } else {
            // The reference multiplies with the reciprocal, computed in double precision.
            #[expect(
                clippy::cast_possible_truncation,
                reason = "rounded to the tensor's type"
            )]
            let factor = (1.0 / f64::from(self.logit_scale)) as f32;
            b.binary_scalar("scale_logits", Binary::Mul, logits, factor)?
        };
        Ok(match self.kind {
            Proto::Identity => logits,
            Proto::Sigmoid => b.unary("scores", Unary::Sigmoid, logits)?,
            Proto::Softmax => b.softmax("scores", logits)?,
        })
    }

    /// What users of raw scores need to know.
    pub fn facts(self, has_background: bool) -> ScoreConversion {
        ScoreConversion {
            converter: self.kind.as_str_name(),
            logit_scale: self.logit_scale,
            has_background,
        }
    }
}
