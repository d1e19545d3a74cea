//! Whether a detector ends as the operators do that some formats have for decoding and suppression ([`tfod_graph::Ending`]).

use std::fmt;

/// Why a detector ends otherwise: the first reason found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoEnding {
    /// It goes through several stages, or is the first of them.
    Stages,
    /// Its boxes are not relative to anchors.
    NoAnchors,
    /// Its boxes are encoded in another way: the box coder's name in the configuration.
    BoxCoder(&'static str),
    /// Its anchors are computed from the size of the image.
    ComputedAnchors,
    /// `use_static_shapes`
    StaticShapes,
    /// `use_combined_nms`
    Combined,
    /// Overlapping boxes lose score instead of being dropped.
    Soft,
    /// A part of what the network sees is padding.
    Padding,
    /// Classes have score thresholds of their own.
    ClassThresholds,
}

impl NoEnding {
    /// Whether images of another size may have another reason, or none.
    pub fn depends_on_size(self) -> bool {
        matches!(self, Self::ComputedAnchors | Self::Padding)
    }
}

impl fmt::Display for NoEnding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stages => "detectors of several stages, or the first of them",
            Self::NoAnchors => "boxes without anchors",
            Self::BoxCoder(name) => return write!(f, "boxes of {name}"),
            Self::ComputedAnchors => "anchors that depend on the size of the image",
            Self::StaticShapes => "use_static_shapes",
            Self::Combined => "use_combined_nms",
            Self::Soft => "soft suppression (soft_nms_sigma)",
            Self::Padding => "images that the model pads",
            Self::ClassThresholds => "score thresholds of single classes",
        })
    }
}
