//! Feature extractors by their type in the configuration: what all meta-architectures refuse alike.

use crate::error::ModelError;
use crate::fields::{FieldPath, Message, unsupported};

/// The types of feature extractors of a meta-architecture, each with what reads its configuration.
#[derive(Debug)]
pub(super) struct ExtractorTypes<T: 'static> {
    /// Those that are supported.
    pub(super) supported: &'static [(&'static str, T)],
    /// Those that only TensorFlow 1's Object Detection API has.
    pub(super) tensorflow_1: &'static [&'static str],
}

impl<T> ExtractorTypes<T> {
    /// The names of all that are supported.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> + use<T> {
        self.supported.iter().map(|(name, _)| *name)
    }

    /// What reads the configuration of a type; `field` is where it is named.
    ///
    /// # Errors
    /// For a type that is not supported.
    pub(super) fn find(&self, field: FieldPath, name: &str) -> Result<&'static T, ModelError> {
        let found = self.supported.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value).ok_or_else(|| {
            let supported = self.names().collect::<Vec<_>>().join(", ");
            unsupported(field, self.unsupported_type(name), supported)
        })
    }

    /// What a type is called that is not supported.
    fn unsupported_type(&self, name: &str) -> String {
        if name.is_empty() {
            return "none".to_owned();
        }
        if !self.tensorflow_1.contains(&name) {
            return name.to_owned();
        }
        let keras = self
            .names()
            .find(|known| known.strip_suffix("_keras") == Some(name));
        let keras = keras
            .map(|keras| format!(", which is {keras} in TensorFlow 2 and has other checkpoints"));
        format!(
            "{name}, a type of the TensorFlow 1 Object Detection API{},",
            keras.unwrap_or_default()
        )
    }
}

/// Refuses fields that the reference's class of a type does not take, given as (name, whether it is set).
///
/// # Errors
/// For the first that is set.
pub(super) fn refuse_fields<C>(
    config: &Message<'_, C>,
    extractor_type: &str,
    fields: &[(&'static str, bool)],
) -> Result<(), ModelError> {
    match fields.iter().find(|(_, is_set)| *is_set) {
        Some((field, _)) => Err(unsupported(
            config.field(field),
            "a value",
            format!("leaving it out for type {extractor_type}"),
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPES: ExtractorTypes<u8> = ExtractorTypes {
        supported: &[("one_keras", 1), ("two_keras", 2)],
        tensorflow_1: &["one", "old"],
    };

    #[test]
    fn types_of_tensorflow_1_are_told_from_unknown_ones() {
        let field = FieldPath::MODEL.child("type");
        assert_eq!(TYPES.find(field, "two_keras").unwrap(), &2);
        for (name, said) in [
            ("", "none is"),
            ("other", "other is"),
            (
                "one",
                "one, a type of the TensorFlow 1 Object Detection API, which is one_keras in TensorFlow 2 and has other checkpoints, is",
            ),
            (
                "old",
                "old, a type of the TensorFlow 1 Object Detection API, is",
            ),
        ] {
            let error = TYPES.find(field, name).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("`model.type`: {said} not supported; supported: one_keras, two_keras")
            );
        }
    }
}
