//! Image classifiers without their last layers. Each gives the feature maps that a detector builds on.

pub mod mobilenet_v2;
pub mod resnet_v1;
