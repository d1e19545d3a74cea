//! Image classifiers without their last layers. Each gives the feature maps that a detector builds on.

mod functional;
pub mod mobilenet_v1;
pub mod mobilenet_v2;
