//! Score conversion: from class logits to scores, calibrated where the configuration says how.

use std::collections::BTreeMap;

use tfod_config::protos;
use tfod_config::protos::calibration_config::Calibrator;
use tfod_config::protos::post_processing::ScoreConverter as Proto;
use tfod_graph::{Binary, Builder, Unary, ValueId};

use crate::error::ModelError;
use crate::facts::ScoreConversion;
use crate::fields::{Message, invalid, unsupported};
use crate::postprocess::calibration::{Function, Functions};

/// The function from logits to scores.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreConverter {
    kind: Proto,
    logit_scale: f32,
    calibration: Option<Calibration>,
}

/// A calibration, and where it stands.
#[derive(Clone, Debug, PartialEq)]
enum Calibration {
    /// Before the conversion: logits are divided by this (Guo et al. 2017, <https://arxiv.org/abs/1706.04599>).
    Temperature(f32),
    /// After the conversion.
    Functions(Functions),
}

impl Calibration {
    fn from_config(config: Message<'_, protos::CalibrationConfig>) -> Result<Self, ModelError> {
        let unknown = |given: &str| {
            let supported = "function_approximation, class_id_function_approximations, \
                             temperature_scaling_calibration, as in the reference";
            unsupported(config.path(), given, supported)
        };
        match &config.calibrator {
            Some(Calibrator::FunctionApproximation(shared)) => {
                let field = config.field("function_approximation");
                let function = Function::from_config(field, shared.x_y_pairs.as_ref())?;
                Ok(Self::Functions(Functions::Shared(function)))
            }
            Some(Calibrator::ClassIdFunctionApproximations(classes)) => {
                let field = config.field("class_id_function_approximations");
                // Negative numbers are no class's, and other numbers that no class has do nothing either.
                let functions = classes
                    .class_id_xy_pairs_map
                    .iter()
                    .filter_map(|(id, pairs)| {
                        let class = u64::try_from(*id).ok()?;
                        Some(Function::from_config(field, Some(pairs)).map(|f| (class, f)))
                    });
                let functions = functions.collect::<Result<BTreeMap<_, _>, _>>()?;
                Ok(Self::Functions(Functions::PerClass(functions)))
            }
            Some(Calibrator::TemperatureScalingCalibration(temperature)) => {
                let scaler = temperature.scaler();
                if scaler.is_finite() && scaler > 0.0 {
                    Ok(Self::Temperature(scaler))
                } else {
                    let config = config.at("temperature_scaling_calibration", temperature);
                    Err(invalid(config.field("scaler"), scaler, "a number above 0"))
                }
            }
            Some(Calibrator::SigmoidCalibration(_)) => Err(unknown("sigmoid_calibration")),
            Some(Calibrator::ClassIdSigmoidCalibrations(_)) => {
                Err(unknown("class_id_sigmoid_calibrations"))
            }
            None => Err(unknown("an empty message")),
        }
    }
}

impl Calibration {
    fn description(&self) -> String {
        match self {
            Self::Temperature(scaler) => format!(
                "temperature_scaling_calibration: raw scores are divided by {scaler} before all else"
            ),
            Self::Functions(Functions::Shared(_)) => {
                "function_approximation: converted scores go through the function of the config's points".to_owned()
            }
            Self::Functions(Functions::PerClass(_)) => {
                "class_id_function_approximations: the converted scores of each class, counted from the background where there is one, \
                 go through the function of the config's points for it"
                    .to_owned()
            }
        }
    }
}

impl ScoreConverter {
    /// Reads what `post_processing` says of scores.
    ///
    /// # Errors
    /// For a calibration that the reference has not either or that has no meaning, or a logit scale of 0.
    pub fn from_config(config: Message<'_, protos::PostProcessing>) -> Result<Self, ModelError> {
        let logit_scale = config.logit_scale();
        if !logit_scale.is_finite() || logit_scale == 0.0 {
            let field = config.field("logit_scale");
            return Err(invalid(field, logit_scale, "a number other than 0"));
        }
        let calibration = config.calibration_config.as_ref();
        let calibration = calibration.map(|c| config.at("calibration_config", c));
        Ok(Self {
            kind: config.score_converter(),
            logit_scale,
            calibration: calibration.map(Calibration::from_config).transpose()?,
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
    pub fn apply(&self, b: &mut Builder, logits: ValueId) -> Result<ValueId, ModelError> {
        let mut logits = logits;
        if let Some(Calibration::Temperature(scaler)) = self.calibration {
            logits = b.binary_scalar("calibrate_logits", Binary::Div, logits, scaler)?;
        }
        if self.logit_scale != 1.0 {
            // The reference multiplies with the reciprocal, computed in double precision.
            #[expect(
                clippy::cast_possible_truncation,
                reason = "rounded to the tensor's type"
            )]
            let factor = (1.0 / f64::from(self.logit_scale)) as f32;
            logits = b.binary_scalar("scale_logits", Binary::Mul, logits, factor)?;
        }
        let scores = match self.kind {
            Proto::Identity => logits,
            Proto::Sigmoid => b.unary("scores", Unary::Sigmoid, logits)?,
            Proto::Softmax => b.softmax("scores", logits)?,
        };
        match &self.calibration {
            Some(Calibration::Functions(functions)) => {
                b.scope("calibrate_scores", |b| functions.apply(b, scores))
            }
            Some(Calibration::Temperature(_)) | None => Ok(scores),
        }
    }

    /// What the manifest says of raw scores, so that users can convert them.
    pub fn facts(&self, has_background: bool) -> ScoreConversion {
        ScoreConversion {
            converter: self.kind.as_str_name(),
            logit_scale: self.logit_scale,
            calibration: self.calibration.as_ref().map(Calibration::description),
            has_background,
        }
    }
}
