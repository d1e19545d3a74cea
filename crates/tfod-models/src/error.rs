//! Why a configuration does not become a network.

use tfod_graph::ValidateError;

/// A configuration that cannot be built. Fields are named by their path in `pipeline.config`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ModelError {
    /// A message or field that every model of the kind needs is absent.
    #[error("the config has no `{field}`")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A value outside what the field can mean.
    #[error("`{field}` is {given}; expected {expected}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// Its value.
        given: String,
        /// What would do.
        expected: String,
    },
    /// A choice that the reference has and this project has not, or not yet.
    #[error("`{field}`: {given} is not supported; supported: {supported}")]
    Unsupported {
        /// The field.
        field: &'static str,
        /// Its value.
        given: String,
        /// What is supported.
        supported: String,
    },
    /// Parts that do not go together.
    #[error("{0}")]
    Inconsistent(String),
    /// A node that does not accept its inputs: the configuration describes an impossible network.
    #[error("the network cannot be built: {0}")]
    Graph(#[from] ValidateError),
}

impl ModelError {
    /// Whether it is an option of the command that is wrong, not the configuration.
    pub fn is_about_options(&self) -> bool {
        matches!(self, Self::Invalid { field, .. } | Self::Unsupported { field, .. } if field.starts_with("--"))
    }
}
