//! From raw predictions to detections.

pub mod box_coder;
pub mod nms;
pub mod score;
pub mod window;
