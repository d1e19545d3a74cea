//! Image classifiers without their last layers. Each gives the feature maps that a detector builds on.

pub mod efficientnet;
pub mod mobilenet_v2;
