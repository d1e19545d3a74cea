//! From raw predictions to detections.

pub mod box_coder;
pub mod calibration;
mod ending;
pub mod nms;
pub mod score;
pub mod window;

pub use ending::NoEnding;
