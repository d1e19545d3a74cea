//! Meta-architectures: how backbone, neck, head, anchors and post-processing make a detector.

pub mod ssd;
