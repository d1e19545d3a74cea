//! Image classifiers without their last layers. Each gives the feature maps that a detector builds on.

pub mod efficientnet;
pub(crate) mod functional;
pub mod hourglass;
pub mod inception_resnet_v2;
pub mod mobilenet_v1;
pub mod mobilenet_v2;
pub mod resnet_preact;
pub mod resnet_v1;
