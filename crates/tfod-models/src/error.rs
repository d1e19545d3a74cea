//! Why a configuration does not become a network.

use tfod_graph::ValidateError;

use crate::options::GraphOption;

/// A configuration that cannot be built. Fields are named by their path in `pipeline.config`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A message or field that every model of the kind needs is absent.
    #[error("the config has no `{field}`")]
    Missing {
        /// The field.
        field: String,
    },
    /// A value outside what the field can mean.
    #[error("`{field}` is {given}; expected {expected}")]
    Invalid {
        /// The field.
        field: String,
        /// Its value.
        given: String,
        /// What would do.
        expected: String,
    },
    /// A choice that the reference has and this project has not, or not yet.
    #[error("`{field}`: {given} is not supported; supported: {supported}")]
    Unsupported {
        /// The field.
        field: String,
        /// Its value.
        given: String,
        /// What is supported.
        supported: String,
    },
    /// A choice that is supported only where the size of images is known beforehand.
    #[error(
        "`{field}`: {given} is not supported for images of a size known only at run time; supported: an `image_resizer` that gives one size, or a given size of the input"
    )]
    SizeUnknown {
        /// The field.
        field: String,
        /// Its value.
        given: String,
    },
    /// An option of the graph that is impossible, or contradicts the configuration.
    #[error("{option} {given}; expected {expected}", option = option.subject())]
    Option {
        /// The option.
        option: GraphOption,
        /// Its value; of one that is on or off, `on`.
        given: String,
        /// What would do.
        expected: String,
    },
    /// Parts that do not go together.
    #[error("{0}")]
    Inconsistent(String),
    /// A node that does not accept its inputs: the configuration describes an impossible network.
    #[error("the network cannot be built: {0}")]
    Graph(#[from] ValidateError),
}
