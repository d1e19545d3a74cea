//! How convolutions are configured: activation, batch normalisation, bias.
//!
//! Follows the reference's `KerasLayerHyperparams`. Regularizers and initializers concern training only.

use tfod_config::protos;
use tfod_config::protos::hyperparams::{Activation as Proto, NormalizerOneof};
use tfod_graph::{Builder, Built, Unary, ValueId};

use crate::error::ModelError;
use crate::fields::{FieldPath, invalid, unsupported};

/// An element-wise function after a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `x * sigmoid(x)`
    Swish,
}

impl Activation {
    /// Applies it.
    ///
    /// # Errors
    /// None for floats.
    pub fn apply(self, b: &mut Builder, name: &str, x: ValueId) -> Built {
        match self {
            Self::None => Ok(x),
            Self::Relu => b.unary(name, Unary::Relu, x),
            Self::Relu6 => b.unary(name, Unary::Relu6, x),
            Self::Swish => {
                let gate = b.unary(&format!("{name}/sigmoid"), Unary::Sigmoid, x)?;
                b.binary(name, tfod_graph::Binary::Mul, x, gate)
            }
        }
    }
}

/// Batch normalisation with fixed statistics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Whether there is a beta to add.
    pub center: bool,
    /// Whether there is a gamma to multiply with.
    pub scale: bool,
    /// Added to the variance, as it is configured. TensorFlow 2.2 raises one below 1.001e-5 to that when it builds a graph; 2.15, the reference's, does not.
    pub epsilon: f32,
    /// Whether the config has it under `sync_batch_norm`, which some parts of the reference do not look at.
    pub synchronised: bool,
}

impl BatchNorm {
    /// What Keras applications use where the config has no say: all parts, epsilon 0.001.
    pub const KERAS: Self = Self {
        center: true,
        scale: true,
        epsilon: 1e-3,
        synchronised: false,
    };
}

/// The configuration of a group of convolutions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hyperparams {
    /// The function after each convolution.
    pub activation: Activation,
    /// The normalisation between convolution and activation, if there is one.
    pub batch_norm: Option<BatchNorm>,
    /// Whether convolutions keep a bias even where a normalisation makes it superfluous.
    pub force_use_bias: bool,
}

impl Hyperparams {
    /// Convolutions with a bias and nothing else.
    pub const PLAIN: Self = Self {
        activation: Activation::None,
        batch_norm: None,
        force_use_bias: false,
    };

    /// What MobileNet in Keras applications uses unless the config overrides it.
    pub const MOBILENET: Self = Self {
        activation: Activation::Relu6,
        batch_norm: Some(BatchNorm::KERAS),
        force_use_bias: false,
    };

    /// What ResNet has in the reference unless the config overrides it.
    pub const RESNET: Self = Self {
        activation: Activation::Relu,
        batch_norm: Some(BatchNorm {
            epsilon: 1e-5,
            ..BatchNorm::KERAS
        }),
        force_use_bias: false,
    };

    /// What EfficientNet uses; the config has no say.
    pub const EFFICIENTNET: Self = Self {
        activation: Activation::Swish,
        batch_norm: Some(BatchNorm::KERAS),
        force_use_bias: false,
    };

    /// Reads the message; an absent one has the schema's defaults. `field` is where it stands in the config.
    ///
    /// # Errors
    /// For an epsilon that is no number of at least 0, or an unknown activation.
    pub fn from_config(
        field: FieldPath,
        config: Option<&protos::Hyperparams>,
    ) -> Result<Self, ModelError> {
        let defaults = protos::Hyperparams::default();
        let config = config.unwrap_or(&defaults);
        let number = config.activation.unwrap_or(config.activation().into());
        let activation = match Proto::try_from(number) {
            Ok(Proto::None) => Activation::None,
            Ok(Proto::Relu) => Activation::Relu,
            Ok(Proto::Relu6) => Activation::Relu6,
            Ok(Proto::Swish) => Activation::Swish,
            Err(_) => {
                return Err(unsupported(
                    field,
                    format!("activation {number}"),
                    "NONE, RELU, RELU_6, SWISH",
                ));
            }
        };
        let batch_norm = match &config.normalizer_oneof {
            Some(NormalizerOneof::BatchNorm(norm)) => Some(batch_norm(field, norm, false)?),
            Some(NormalizerOneof::SyncBatchNorm(norm)) => Some(batch_norm(field, norm, true)?),
            // The reference's Keras layers do not look at group_norm.
            Some(NormalizerOneof::GroupNorm(_)) | None => None,
        };
        Ok(Self {
            activation,
            batch_norm,
            force_use_bias: config.force_use_bias(),
        })
    }

    /// Whether a convolution followed by this normalisation has a bias: where nothing else adds a constant.
    pub fn use_bias(&self) -> bool {
        self.force_use_bias || !self.batch_norm.is_some_and(|norm| norm.center)
    }
}

fn batch_norm(
    field: FieldPath,
    config: &protos::BatchNorm,
    synchronised: bool,
) -> Result<BatchNorm, ModelError> {
    let epsilon = config.epsilon();
    if !(epsilon.is_finite() && epsilon >= 0.0) {
        return Err(invalid(
            field,
            format!("epsilon {epsilon}"),
            "a number of at least 0",
        ));
    }
    Ok(BatchNorm {
        center: config.center(),
        scale: config.scale(),
        epsilon,
        synchronised,
    })
}
