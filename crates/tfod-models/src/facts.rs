//! What people who use an exported model need to know of it and cannot see in the file: how pixels are prepared, what outputs mean, which
//! thresholds it has.

use crate::anchors::Corners;
use crate::options::{ClassThreshold, Stage};

/// How images are brought to the network's size.
#[derive(Clone, Debug, PartialEq)]
pub struct Resizing {
    /// The resizer's name in the configuration.
    pub resizer: &'static str,
    /// Height and width of the network's input, where they are fixed.
    pub size: Option<[u64; 2]>,
    /// Whether images of that size stay as they are.
    pub keeps_size: bool,
    /// The interpolation's name in the configuration, where images are resized.
    pub method: Option<&'static str>,
    /// What it does, in words.
    pub description: String,
    /// What is put below and on the right of the normalised image.
    pub padding: Option<ImagePadding>,
    /// Whether the network sees one channel: the luma of what is normalised and padded.
    pub grayscale: bool,
}

/// Padding of images.
#[derive(Clone, Debug, PartialEq)]
pub struct ImagePadding {
    /// For each channel.
    pub values: [f32; 3],
    /// Up to which size, in words.
    pub description: String,
}

/// How pixel values, red, green and blue from 0 to 255, become the network's input: `value * scale + shift`, for each channel; then the order of channels may be
/// reversed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalization {
    /// Factors.
    pub scale: [f32; 3],
    /// What is added then.
    pub shift: [f32; 3],
    /// Whether the network sees blue, green, red.
    pub reversed: bool,
    /// Whether images are padded first, so that padding is normalised too.
    pub padding_too: bool,
}

impl Normalization {
    /// The values that the network is given for a pixel `[red, green, blue]`, 0 to 255.
    pub fn seen(&self, pixel: [f32; 3]) -> [f32; 3] {
        let mut seen: [f32; 3] = std::array::from_fn(|channel| {
            pixel[channel] * self.scale[channel] + self.shift[channel]
        });
        if self.reversed {
            seen.reverse();
        }
        seen
    }

    /// The pixel of which the network sees this: red, green, blue.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the element type has 32 bits"
    )]
    pub fn pixel(&self, mut seen: [f32; 3]) -> [f32; 3] {
        if self.reversed {
            seen.reverse();
        }
        std::array::from_fn(|channel| {
            let [seen, scale, shift] =
                [seen, self.scale, self.shift].map(|values| f64::from(values[channel]));
            ((seen - shift) / scale) as f32
        })
    }
}

/// The limits of non-max suppression.
#[derive(Clone, Debug, PartialEq)]
pub struct Suppression {
    /// Detections with lower scores are dropped.
    pub score_threshold: f32,
    /// Classes for which that threshold is another one.
    pub class_thresholds: Vec<ClassThreshold>,
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
    /// How an encoding becomes a box, as a formula.
    pub description: &'static str,
    /// The boxes that encodings are relative to; empty where they are not constants.
    pub anchors: Vec<Corners>,
    /// What these are, in words.
    pub anchors_description: &'static str,
}

/// How class scores are made.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreConversion {
    /// The function's name in the configuration.
    pub converter: &'static str,
    /// What raw scores are divided by first.
    pub logit_scale: f32,
    /// The calibration's name in the configuration, and what it does, in words.
    pub calibration: Option<String>,
    /// Whether class 0 of the raw scores is the background.
    pub has_background: bool,
}

/// The name of a first stage, whose boxes (proposals) a second one classifies.
pub const PROPOSALS: &str = "proposals";

/// A stage of a detector: boxes and scores are made, and the best are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct StageFacts {
    /// What it is for: `proposals`, `detections`.
    pub name: &'static str,
    /// Of non-max suppression, where it has one.
    pub suppression: Option<Suppression>,
    /// Of boxes, where they are encoded relative to others.
    pub boxes: Option<BoxDecoding>,
    /// Of scores, where they are converted.
    pub scores: Option<ScoreConversion>,
}

/// The facts of one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// How images are brought to the network's size.
    pub resizing: Resizing,
    /// How pixels are normalised.
    pub normalization: Normalization,
    /// The stages, in the order in which boxes go through them. The last gives the detections.
    pub stages: Vec<StageFacts>,
    /// What the keypoints of a detection are called, in the order of outputs, where they have names.
    pub keypoints: Vec<String>,
    /// What is given beside images, by the name of the input.
    pub further_inputs: Vec<(&'static str, Meaning)>,
}

impl Facts {
    /// How many anchors the first stage has, where these are constants.
    pub fn num_anchors(&self) -> Option<usize> {
        let anchors = self.stages.iter().find_map(|stage| stage.boxes.as_ref());
        let count = anchors?.anchors.len();
        (count > 0).then_some(count)
    }
}

/// What an input or output means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// In words.
    pub text: &'static str,
    /// What its numbers count or measure; empty where they have no unit.
    pub unit: &'static str,
}

/// The outputs that the reference's models have, by key: where the graph has to end at least, meaning and unit.
const OUTPUTS: [(&str, Stage, &str, &str); 43] = [
    (
        "anchors",
        Stage::Detections,
        "the anchors of the first stage, cut off at the border: ymin, xmin, ymax, xmax",
        "pixels of the network's input",
    ),
    (
        "box_classifier_features",
        Stage::Detections,
        "the features that proposals of all images are classified by",
        "",
    ),
    (
        "box_encodings",
        Stage::Encodings,
        "undecoded boxes of all anchors: see `box_decoding`",
        "",
    ),
    (
        "box_offset",
        Stage::Encodings,
        "how far the centre of an object is from each location of the feature map: y, x",
        "locations of the feature map",
    ),
    (
        "box_scale",
        Stage::Encodings,
        "height and width of an object at each location of the feature map",
        "locations of the feature map",
    ),
    (
        "class_predictions_with_background",
        Stage::Encodings,
        "unconverted class scores of all anchors: see `score_conversion`",
        "",
    ),
    (
        "cropped_rpn_box_features",
        Stage::Detections,
        "what is cropped of the feature maps where detections are",
        "",
    ),
    (
        "densepose_heatmap",
        Stage::Encodings,
        "heat maps of the parts of a surface, one for each part, unconverted",
        "",
    ),
    (
        "densepose_regression",
        Stage::Encodings,
        "where on each part of a surface a location of the feature map is",
        "fractions of the part, 0 to 1",
    ),
    (
        "detection_anchor_indices",
        Stage::Detections,
        "the anchor that each detection comes from, a row of raw_detection_boxes",
        "index, from 0",
    ),
    (
        "detection_boxes",
        Stage::Detections,
        "the detections' boxes: ymin, xmin, ymax, xmax, best score first",
        "fractions of the image's height and width, 0 to 1",
    ),
    (
        "detection_boxes_strided",
        Stage::Detections,
        "the detections' boxes: ymin, xmin, ymax, xmax",
        "locations of the feature map",
    ),
    (
        "detection_classes",
        Stage::Detections,
        "the detections' classes; 1 in rows after the last detection",
        "class id, from 1",
    ),
    (
        "detection_embeddings",
        Stage::Detections,
        "vectors of length 1 that are alike for one object in different images",
        "",
    ),
    (
        "detection_features",
        Stage::Detections,
        "the features that boxes are classified by, of crops where detections are",
        "",
    ),
    (
        "detection_keypoint_depths",
        Stage::Detections,
        "how far away the detections' keypoints are; 0 for keypoints that were not found in their heat map",
        "as in the training data",
    ),
    (
        "detection_keypoint_scores",
        Stage::Detections,
        "the scores of the detections' keypoints, in the order of `keypoints`",
        "score",
    ),
    (
        "detection_keypoints",
        Stage::Detections,
        "the detections' keypoints: y, x",
        "fractions of the image's height and width",
    ),
    (
        "detection_masks",
        Stage::Detections,
        "over each detection's box, or each box given, how likely a cell is the object's, or whether it is: 0 or 1; where there are detection_surface_coords, 0 or the number of the part of the surface, from 1",
        "0 to 1, or the number of a part",
    ),
    (
        "detection_multiclass_scores",
        Stage::Detections,
        "the detections' scores for every class, the background first where the model has one",
        "score",
    ),
    (
        "detection_scores",
        Stage::Detections,
        "the detections' scores, descending; 0 in rows after the last detection",
        "score",
    ),
    (
        "detection_surface_coords",
        Stage::Detections,
        "where on its part of the surface each pixel of detection_masks is: v, u",
        "fractions of the part, 0 to 1",
    ),
    (
        "detection_temporal_offsets",
        Stage::Detections,
        "how far the detections' centres have moved since the image before: y, x",
        "locations of the feature map, 4 pixels of the network's input each",
    ),
    (
        "final_anchors",
        Stage::Detections,
        "the proposals, which encodings are relative to: ymin, xmin, ymax, xmax, best first",
        "fractions of the height and width of the network's input, padding included",
    ),
    (
        "image_shape",
        Stage::Detections,
        "the sizes of the network's input: batch, height, width, channels",
        "count",
    ),
    (
        "instance_embedding",
        Stage::Encodings,
        "the embedding of the object at each location of the feature map",
        "",
    ),
    (
        "mask_predictions",
        Stage::Detections,
        "unconverted masks of the detections of all images, one for each class, or one for all classes",
        "",
    ),
    (
        "num_detections",
        Stage::Detections,
        "how many rows are detections; the rest is padding",
        "count",
    ),
    (
        "num_proposals",
        Stage::Encodings,
        "how many rows of each image are proposals; the rest is padding",
        "count",
    ),
    (
        "object_center",
        Stage::Encodings,
        "heat maps, one for each class, before the sigmoid",
        "",
    ),
    (
        "pixel_embedding",
        Stage::Encodings,
        "the embedding of each location of the feature map",
        "",
    ),
    (
        "proposal_boxes",
        Stage::Encodings,
        "the proposals, which encodings are relative to: ymin, xmin, ymax, xmax, best first",
        "pixels of the network's input",
    ),
    (
        "proposal_boxes_normalized",
        Stage::Detections,
        "the proposals, which encodings are relative to: ymin, xmin, ymax, xmax, best first",
        "fractions of the height and width of the network's input, padding included",
    ),
    (
        "raw_detection_boxes",
        Stage::Boxes,
        "decoded boxes of all anchors before non-max suppression: ymin, xmin, ymax, xmax, not clipped",
        "fractions of the height and width of the network's input, padding included",
    ),
    (
        "raw_detection_boxes_by_class",
        Stage::Boxes,
        "decoded boxes of all proposals, for each class one, before non-max suppression: ymin, xmin, ymax, xmax",
        "fractions of the image's height and width, 0 to 1",
    ),
    (
        "raw_detection_feature_map_indices",
        Stage::Detections,
        "the feature map that each box of each proposal is told to be from: the first",
        "index, from 0",
    ),
    (
        "raw_detection_scores",
        Stage::Boxes,
        "converted scores of all anchors before non-max suppression, the background first where the model has one",
        "score",
    ),
    (
        "refined_box_encodings",
        Stage::Encodings,
        "undecoded boxes of all proposals of all images: see `box_decoding`",
        "",
    ),
    (
        "rpn_box_encodings",
        Stage::Encodings,
        "undecoded boxes of all anchors: see `box_decoding`",
        "",
    ),
    (
        "rpn_objectness_predictions_with_background",
        Stage::Encodings,
        "unconverted scores of all anchors, background and object: see `score_conversion`",
        "",
    ),
    (
        "segmentation_heatmap",
        Stage::Encodings,
        "heat maps of masks, one for each class, before the sigmoid",
        "",
    ),
    (
        "track_offset",
        Stage::Encodings,
        "how far the object at each location of the feature map has moved since the image before: y, x",
        "locations of the feature map",
    ),
    (
        "track_reid",
        Stage::Encodings,
        "the embedding of the object at each location of the feature map, of any length",
        "",
    ),
];

/// The heads of keypoint tasks, which the keys of outputs end in, behind the name of the task.
const OF_TASKS: [(&str, &str, &str); 4] = [
    (
        "_keypoint_depth",
        "how far away the keypoints are at each location of the feature map, one for each or one for all",
        "as in the training data",
    ),
    (
        "_keypoint_heatmap",
        "heat maps, one for each keypoint, before the sigmoid",
        "",
    ),
    (
        "_keypoint_offset",
        "how far a keypoint is from each location of the feature map: y, x, of each keypoint or of all",
        "locations of the feature map",
    ),
    (
        "_keypoint_regression",
        "how far the keypoints of an object are from its centre at each location of the feature map: y, x of each",
        "locations of the feature map",
    ),
];

/// Outputs that mean something else in detectors of two or three stages.
const OF_SEVERAL_STAGES: [(&str, &str, &str); 5] = [
    (
        "class_predictions_with_background",
        "unconverted class scores of all proposals of all images, the background first: see `score_conversion`",
        "",
    ),
    (
        "detection_anchor_indices",
        "the proposal that each detection comes from, a row of raw_detection_boxes",
        "index, from 0",
    ),
    (
        "detection_masks",
        "over each detection's box, how likely a cell is the object's",
        "probability, 0 to 1",
    ),
    (
        "raw_detection_boxes",
        "of each proposal the decoded box of its best class before non-max suppression: ymin, xmin, ymax, xmax",
        "fractions of the image's height and width, 0 to 1",
    ),
    (
        "raw_detection_scores",
        "converted scores of all proposals before non-max suppression, the background first",
        "score",
    ),
];

/// Outputs that mean something else in the first stage alone.
const OF_PROPOSALS: [(&str, &str, &str); 2] = [
    (
        "detection_boxes",
        "the proposals: ymin, xmin, ymax, xmax, best score first",
        "fractions of the height and width of the network's input, padding included",
    ),
    (
        "detection_multiclass_scores",
        "the proposals' scores: background and object",
        "score",
    ),
];

impl Facts {
    /// What an input of this name means that is given beside images; `None` of the images.
    pub fn further_input(&self, name: &str) -> Option<Meaning> {
        let mut inputs = self.further_inputs.iter();
        inputs
            .find(|(known, _)| *known == name)
            .map(|(_, meaning)| *meaning)
    }

    /// What the output of a key means in this model.
    pub fn meaning(&self, key: &str) -> Option<Meaning> {
        let own: &[(&str, &str, &str)] = match self.stages.as_slice() {
            [_, _, ..] => &OF_SEVERAL_STAGES,
            [stage] if stage.name == PROPOSALS => &OF_PROPOSALS,
            _ => &[],
        };
        let own = own.iter().find(|(known, ..)| *known == key);
        if let Some((_, text, unit)) = own {
            return Some(Meaning { text, unit });
        }
        known(key).map(|(_, meaning)| meaning)
    }
}

/// Where a graph has to end at least that has an output of this key, and what it means in most models.
fn known(key: &str) -> Option<(Stage, Meaning)> {
    if let Some((_, stage, text, unit)) = OUTPUTS.iter().find(|(known, ..)| *known == key) {
        return Some((*stage, Meaning { text, unit }));
    }
    let (_, text, unit) = OF_TASKS.iter().find(|(end, ..)| key.ends_with(end))?;
    Some((Stage::Encodings, Meaning { text, unit }))
}

/// Where a graph ends that has outputs of these keys, and no others; `None` where a key is unknown.
pub fn stage_of<'a>(keys: impl IntoIterator<Item = &'a str>) -> Option<Stage> {
    let stage = |key: &str| known(key).map(|(stage, _)| stage);
    let stages: Option<Vec<Stage>> = keys.into_iter().map(stage).collect();
    let stages = stages?;
    // The network's own predictions are outputs of graphs that end there only, and so on.
    [Stage::Detections, Stage::Boxes, Stage::Encodings]
        .into_iter()
        .find(|stage| stages.contains(stage))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "all of these numbers are exact")]
    fn a_pixel_is_found_by_what_the_network_sees_of_it() {
        let normalization = Normalization {
            scale: [0.5, 1.0, 2.0],
            shift: [-1.0, -2.0, -3.0],
            reversed: true,
            padding_too: false,
        };
        let pixel = [10.0, 20.0, 30.0];
        assert_eq!(normalization.seen(pixel), [57.0, 18.0, 4.0]);
        assert_eq!(normalization.pixel([57.0, 18.0, 4.0]), pixel);
    }

    #[test]
    fn keys_are_there_once_and_in_order() {
        let keys = OUTPUTS.map(|(key, ..)| key);
        assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
    }

    #[test]
    fn outputs_tell_where_a_graph_ends() {
        let stage = |keys: &[&str]| stage_of(keys.iter().copied());
        assert_eq!(
            stage(&["raw_detection_boxes", "num_detections"]),
            Some(Stage::Detections)
        );
        assert_eq!(stage(&["raw_detection_boxes"]), Some(Stage::Boxes));
        assert_eq!(stage(&["box_encodings"]), Some(Stage::Encodings));
        assert_eq!(
            stage(&["object_center", "person_keypoint_offset"]),
            Some(Stage::Encodings)
        );
        // The outputs of a third stage are not left out of detections.
        assert_eq!(
            stage(&["detection_masks", "refined_box_encodings"]),
            Some(Stage::Detections)
        );
        assert_eq!(stage(&["box_encodings", "another"]), None);
        assert_eq!(stage(&[]), None);
    }
}
