//! Between backbone and predictor: feature pyramids, and further coarse feature maps.

pub mod bifpn;
pub(crate) mod double;
pub mod fpn;
pub mod multi_resolution;
