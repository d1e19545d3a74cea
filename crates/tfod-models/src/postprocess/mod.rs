//! From raw predictions to detections.

pub mod box_coder;
pub mod calibration;
pub mod nms;
pub mod score;
pub mod window;
