//! The configuration as a part of a network reads it: messages with their place, and fields with checks.
//!
//! A part (resizer, anchors, suppression…) may stand at several places of a configuration: an SSD has one box coder, a two-stage detector two. So parts are
//! handed a [`Message`], which knows where it stands, and name a field by [`Message::field`]; what is wrong with it is then told with its full path.

use std::fmt;
use std::ops::{Deref, RangeInclusive};

use crate::error::ModelError;
use crate::options::GraphOption;

/// No width, height, depth or count of a real model comes near this; more is a mistake, or an attempt to fill the memory.
const LARGEST_SIZE: u64 = 1 << 20;

/// The place of a field in `pipeline.config`: `model.faster_rcnn.keypoint_task[1].weight`. It is a list of names that is copied without allocation and
/// becomes text only in an error.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FieldPath {
    names: [&'static str; FieldPath::DEEPEST],
    /// For each name the position in a repeated field, or [`FieldPath::NOT_REPEATED`]. Small numbers, because paths are copied often.
    indices: [u16; FieldPath::DEEPEST],
    depth: u8,
}

impl FieldPath {
    /// The model in the configuration, which all parts of a network are in.
    pub const MODEL: Self = Self {
        names: [""; Self::DEEPEST],
        indices: [Self::NOT_REPEATED; Self::DEEPEST],
        depth: 0,
    }
    .child("model");

    /// Deeper fields, of which the schema has none that is read, go by the message that they are in.
    const DEEPEST: usize = 10;
    const NOT_REPEATED: u16 = u16::MAX;

    /// A field of the message at this place.
    #[must_use]
    pub const fn child(self, name: &'static str) -> Self {
        self.step(name, Self::NOT_REPEATED)
    }

    /// An item of a repeated field of the message at this place.
    #[must_use]
    pub const fn item(self, name: &'static str, index: usize) -> Self {
        /// Positions from here on are told as this one.
        const LARGEST: u16 = FieldPath::NOT_REPEATED - 1;
        #[expect(clippy::cast_possible_truncation, reason = "not above LARGEST")]
        let index = if index < LARGEST as usize {
            index as u16
        } else {
            LARGEST
        };
        self.step(name, index)
    }

    /// Fields, in text format, of the message at this place, as text of the whole configuration: `model { ssd { … } }`.
    #[must_use]
    pub fn enclose(self, fields: &str) -> String {
        let names = self.names.iter().take(self.depth.into()).rev();
        names.fold(fields.to_owned(), |inner, name| {
            format!("{name} {{ {inner} }}")
        })
    }

    const fn step(mut self, name: &'static str, index: u16) -> Self {
        let depth = self.depth as usize;
        if depth < Self::DEEPEST {
            self.names[depth] = name;
            self.indices[depth] = index;
            self.depth += 1;
        }
        self
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.names.iter().zip(self.indices);
        for (i, (name, index)) in steps.take(self.depth.into()).enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            f.write_str(name)?;
            if index != Self::NOT_REPEATED {
                write!(f, "[{index}]")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl From<FieldPath> for String {
    fn from(path: FieldPath) -> Self {
        path.to_string()
    }
}

/// A message of the configuration, and its place. Its fields are read as those of the message itself.
#[derive(Debug)]
pub struct Message<'a, T> {
    message: &'a T,
    path: FieldPath,
}

impl<T> Clone for Message<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Message<'_, T> {}

impl<T> Deref for Message<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.message
    }
}

impl<'a, T> Message<'a, T> {
    /// A message that stands at this place.
    pub fn new(path: FieldPath, message: &'a T) -> Self {
        Self { message, path }
    }

    /// For tests of one part, which stands nowhere in particular.
    #[cfg(test)]
    pub(crate) fn anywhere(message: &'a T) -> Self {
        Self::new(FieldPath::MODEL, message)
    }

    /// Where the message itself stands.
    pub fn path(&self) -> FieldPath {
        self.path
    }

    /// Where one of its fields stands.
    pub fn field(&self, name: &'static str) -> FieldPath {
        self.path.child(name)
    }

    /// The message that is the value of a field; it is one of this message's.
    pub fn at<'b, U>(&self, name: &'static str, message: &'b U) -> Message<'b, U> {
        Message::new(self.field(name), message)
    }

    /// The message of a field that must be present.
    ///
    /// # Errors
    /// When it is absent.
    pub fn required<'b, U>(
        &self,
        name: &'static str,
        message: Option<&'b U>,
    ) -> Result<Message<'b, U>, ModelError> {
        match message {
            Some(message) => Ok(self.at(name, message)),
            None => Err(missing(self.field(name))),
        }
    }
}

/// A message or field that must be present is absent.
pub(crate) fn missing(field: FieldPath) -> ModelError {
    ModelError::Missing {
        field: field.into(),
    }
}

/// A number that must be a size of at least `least`.
pub(crate) fn size(field: FieldPath, value: i32, least: u64) -> Result<u64, ModelError> {
    size_within(field, value, least..=LARGEST_SIZE)
}

/// A number that must be a size between two others.
pub(crate) fn size_within(
    field: FieldPath,
    value: i32,
    range: RangeInclusive<u64>,
) -> Result<u64, ModelError> {
    u64::try_from(value)
        .ok()
        .filter(|size| range.contains(size))
        .ok_or_else(|| {
            invalid(
                field,
                value,
                format!("{} to {}", range.start(), range.end()),
            )
        })
}

pub(crate) fn invalid(
    field: FieldPath,
    given: impl ToString,
    expected: impl Into<String>,
) -> ModelError {
    ModelError::Invalid {
        field: field.into(),
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
    field: FieldPath,
    given: impl ToString,
    supported: impl Into<String>,
) -> ModelError {
    ModelError::Unsupported {
        field: field.into(),
        given: given.to_string(),
        supported: supported.into(),
    }
}

/// Refuses a choice that needs a size of images that is known beforehand.
pub(crate) fn size_unknown(field: FieldPath, given: &str) -> ModelError {
    ModelError::SizeUnknown {
        field: field.into(),
        given: given.to_owned(),
    }
}

/// Refuses a flag that changes inference and is not supported when it is set.
pub(crate) fn refuse_flag(field: FieldPath, set: bool) -> Result<(), ModelError> {
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
pub(crate) fn multiplier(field: FieldPath, value: f32) -> Result<f32, ModelError> {
    if value.is_finite() && value > 0.0 && value <= 64.0 {
        Ok(value)
    } else {
        Err(invalid(field, value, "a number above 0, at most 64"))
    }
}
