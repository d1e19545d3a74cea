//! What people who use an exported model need to know of it and cannot see in the file: how pixels are prepared, what outputs mean, which
//! thresholds it has.

use crate::anchors::Corners;
use crate::resizer::Resizer;

/// How pixel values, red, green and blue from 0 to 255, become the network's input: `value * scale + shift`, for each channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalization {
    /// Factors.
    pub scale: [f32; 3],
    /// What is added then.
    pub shift: [f32; 3],
}

/// The limits of non-max suppression.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suppression {
    /// Detections with lower scores are dropped.
    pub score_threshold: f32,
    /// Of two boxes that overlap by more, the one with the lower score is dropped.
    pub iou_threshold: f32,
    /// At most this many detections of one class; `None` where boxes of different classes suppress each other.
    pub max_detections_per_class: Option<u64>,
    /// At most this many detections.
    pub max_total_detections: u64,
    /// Above 0, scores of overlapping boxes decay instead (soft-NMS).
    pub soft_nms_sigma: f32,
}

/// How boxes are decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct BoxDecoding {
    /// The box coder's name in the configuration.
    pub coder: &'static str,
    /// Its numbers, by their names in the configuration.
    pub scales: Vec<(&'static str, f32)>,
    /// The boxes that encodings are relative to; empty where they are not constants.
    pub anchors: Vec<Corners>,
}

/// How class scores are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreConversion {
    /// The function's name in the configuration.
    pub converter: &'static str,
    /// What raw scores are divided by first.
    pub logit_scale: f32,
    /// Whether class 0 of the raw scores is the background.
    pub has_background: bool,
}

/// The facts of one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// How images are brought to the network's size.
    pub resizer: Resizer,
    /// How pixels are normalised.
    pub normalization: Normalization,
    /// Of non-max suppression.
    pub suppression: Suppression,
    /// Of boxes.
    pub boxes: BoxDecoding,
    /// Of scores.
    pub scores: ScoreConversion,
}
