//! Reading fields with checks: messages that must be there, numbers that must be sizes.

use crate::error::ModelError;
use crate::options::GraphOption;

/// No width, height, depth or count of a real model comes near this; more is a mistake, or an attempt to fill the memory.
const LARGEST_SIZE: u64 = 1 << 20;

/// The message of a field that must be present.
pub(crate) fn message<'a, T>(
    field: &'static str,
    message: Option<&'a T>,
) -> Result<&'a T, ModelError> {
    message.ok_or(ModelError::Missing { field })
}

/// A number that must be a size of at least `least`.
pub(crate) fn size(field: &'static str, value: i32, least: u64) -> Result<u64, ModelError> {
    u64::try_from(value)
        .ok()
        .filter(|size| (least..=LARGEST_SIZE).contains(size))
        .ok_or_else(|| invalid(field, value, format!("{least} to {LARGEST_SIZE}")))
}

pub(crate) fn invalid(
    field: &'static str,
    given: impl ToString,
    expected: impl Into<String>,
) -> ModelError {
    ModelError::Invalid {
        field,
        given: given.to_string(),
        expected: expected.into(),
    }
}

/// An option of the graph that will not do.
pub(crate) fn invalid_option(
    option: GraphOption,
    given: impl ToString,
    expected: impl Into<String>,
) -> ModelError {
    ModelError::Option {
        option,
        given: given.to_string(),
        expected: expected.into(),
    }
}

/// Refuses a choice that is not supported.
pub(crate) fn unsupported(
    field: &'static str,
    given: impl ToString,
    supported: impl Into<String>,
) -> ModelError {
    ModelError::Unsupported {
        field,
        given: given.to_string(),
        supported: supported.into(),
    }
}

/// Refuses a flag that changes inference and is not supported when it is set.
pub(crate) fn refuse_flag(field: &'static str, set: bool) -> Result<(), ModelError> {
    if set {
        Err(unsupported(field, "true", "false"))
    } else {
        Ok(())
    }
}

/// `int(value * multiplier)`, as Python computes it on a multiplier that the config holds as a 32-bit float.
pub(crate) fn scaled(value: u64, multiplier: f32) -> u64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "widths are small and multipliers checked to be positive; truncation is what int() does"
    )]
    let scaled = (value as f64 * f64::from(multiplier)) as u64;
    scaled
}

/// A multiplier of widths.
pub(crate) fn multiplier(field: &'static str, value: f32) -> Result<f32, ModelError> {
    if value.is_finite() && value > 0.0 && value <= 64.0 {
        Ok(value)
    } else {
        Err(invalid(field, value, "a number above 0, at most 64"))
    }
}
