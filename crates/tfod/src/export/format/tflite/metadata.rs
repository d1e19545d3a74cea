//! What a TFLite model with class names says of its tensors, in the words by which Task Library and MediaPipe know them.

use tfod_models::anchors;
use tfod_models::facts::{BoxDecoding, Facts, ScoreConversion};
use tfod_models::{Model, Stage};
use tfod_tflite::{Content, Decoding, Labels, Metadata, PixelNormalization, TensorNotes};

use crate::export::labels::{self, First};
use crate::export::signatures::Signature;

/// The file of class names.
const FILE: &str = "labels.txt";

/// What the outputs of detectors are called there: keys, names, contents.
const DETECTIONS: [(&str, &str, Content); 4] = [
    ("detection_boxes", "location", Content::Boxes),
    ("detection_classes", "category", Content::Features),
    ("detection_scores", "score", Content::Features),
    ("num_detections", "number of detections", Content::Features),
];
/// The outputs that are one detection, row by row.
const ROWS: [&str; 3] = ["location", "category", "score"];
/// What they are together.
const GROUP: &str = "detection_result";

/// The outputs of a network whose boxes the program decodes.
const ENCODINGS: [(&str, &str, Content); 2] = [
    ("box_encodings", "location", Content::Boxes),
    (
        "class_predictions_with_background",
        "score",
        Content::Features,
    ),
];

/// What to say of the tensors of a network.
pub(super) fn metadata(network: &Signature, labels: &labels::ClassNames<'_>) -> Metadata {
    let Model { graph, facts, .. } = &network.model;
    let decoding = decoding(network);
    let names: &[(&str, &str, Content)] = match network.options.stage {
        Stage::Detections => &DETECTIONS,
        Stage::Encodings if decoding.is_some() => &ENCODINGS,
        Stage::Boxes | Stage::Encodings => &[],
    };
    let mut metadata = Metadata::default();
    metadata.name.clone_from(&network.model.architecture);
    concat!(
        "An object detector, exported by tfod ",
        env!("CARGO_PKG_VERSION")
    )
    .clone_into(&mut metadata.description);
    for (index, input) in graph.inputs().iter().enumerate() {
        let name = graph.name_of(*input);
        let further = facts.further_input(name).map_or("", |meaning| meaning.text);
        let mut notes = TensorNotes::new(name, further);
        if index == 0 {
            let channels = graph.value(*input).shape.sizes();
            let is_rgb = channels.is_some_and(|sizes| sizes.get(3) == Some(&3));
            describe_images(&mut notes, network, is_rgb);
        }
        metadata.inputs.insert(name.to_owned(), notes);
    }
    for output in graph.outputs() {
        let key = output.key.as_str();
        let meaning = facts.meaning(key).map_or("", |meaning| meaning.text);
        let mut notes = TensorNotes::new(key, meaning);
        if let Some((_, name, content)) = names.iter().find(|(known, ..)| *known == key) {
            notes = TensorNotes::new(*name, meaning);
            notes.content = *content;
        }
        if let Some((by, first)) = names_of(key, facts) {
            let lines = labels.lines(first).into_bytes();
            metadata.files.insert(FILE.to_owned(), lines);
            notes.labels = Some(by);
        }
        metadata.outputs.insert(key.to_owned(), notes);
    }
    let has = |name: &&str| metadata.outputs.values().any(|notes| notes.name == **name);
    if network.options.stage == Stage::Detections && ROWS.iter().all(has) {
        let rows = ROWS.map(str::to_owned).to_vec();
        metadata.groups = vec![(GROUP.to_owned(), rows)];
    }
    metadata.decoding = decoding;
    metadata
}

/// Which of the outputs has class names, and what its first value or place is. There is one in each model.
fn names_of(key: &str, facts: &Facts) -> Option<(Labels, First)> {
    let file = || FILE.to_owned();
    match key {
        // Classes count from 1.
        "detection_classes" => Some((Labels::OfValues(file()), First::Nothing)),
        "raw_detection_scores" | "class_predictions_with_background" => {
            let [stage] = facts.stages.as_slice() else {
                return None;
            };
            let first = if stage.scores.as_ref()?.has_background {
                First::Background
            } else {
                First::Class
            };
            Some((Labels::OfPlaces(file()), first))
        }
        _ => None,
    }
}

fn describe_images(notes: &mut TensorNotes, network: &Signature, is_rgb: bool) {
    let normalization = &network.model.facts.normalization;
    notes.content = Content::Rgb;
    let (mean, std) = if network.options.no_preprocess {
        if normalization.reversed || !is_rgb {
            notes.content = Content::OtherImage;
        }
        // Of the colours of pixels; the network's channels are these or the reverse.
        let [mut mean, mut std] = [[0.0; 3], [1.0; 3]];
        for channel in 0..3 {
            let scale = f64::from(normalization.scale[channel]);
            mean[channel] = narrow(-f64::from(normalization.shift[channel]) / scale);
            std[channel] = narrow(1.0 / scale);
        }
        (mean, std)
    } else {
        ([0.0; 3], [1.0; 3])
    };
    // Without 0 of two signs.
    let mean = mean.map(|value| value + 0.0);
    notes.normalization = Some(PixelNormalization::new(mean, std));
    "Pixels: red, green, blue.".clone_into(&mut notes.description);
    if notes.content != Content::Rgb {
        "What the network sees of an image.".clone_into(&mut notes.description);
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the element type has 32 bits"
)]
fn narrow(value: f64) -> f32 {
    value as f32
}

/// How the program decodes boxes, where the network ends before and that is what programs can do.
fn decoding(network: &Signature) -> Option<Decoding> {
    let Model { graph, facts, .. } = &network.model;
    let [stage] = facts.stages.as_slice() else {
        return None;
    };
    let (Some(boxes), Some(scores)) = (&stage.boxes, &stage.scores) else {
        return None;
    };
    if network.options.stage != Stage::Encodings || graph.outputs().len() != ENCODINGS.len() {
        return None;
    }
    let outputs = ENCODINGS.map(|(key, ..)| graph.outputs().iter().find(|o| o.key == key));
    let [Some(_), Some(of_scores)] = outputs else {
        return None;
    };
    let sizes = graph.value(of_scores.value).shape.sizes()?;
    let &[1, rows, classes] = sizes.as_slice() else {
        return None;
    };
    let scales = scales(boxes).filter(|_| rows == boxes.anchors.len() as u64)?;
    let classes = u32::try_from(classes).ok()?;
    let anchors = boxes.anchors.iter().map(anchors::centered).collect();
    Some(Decoding::new(anchors, classes, scales, is_logit(scores)?))
}

/// Of y, x, height and width, where encodings are of that kind.
fn scales(boxes: &BoxDecoding) -> Option<[f32; 4]> {
    if boxes.coder != "faster_rcnn_box_coder" {
        return None;
    }
    let scales: Vec<f32> = boxes.scales.iter().map(|(_, scale)| *scale).collect();
    scales.try_into().ok()
}

/// Whether scores are logits, or scores as they are; `None` where they become scores in another way.
fn is_logit(scores: &ScoreConversion) -> Option<bool> {
    match scores.converter {
        _ if scores.calibration.is_some() => None,
        "IDENTITY" | "SIGMOID" if scores.logit_scale.to_bits() != 1f32.to_bits() => None,
        "IDENTITY" => Some(false),
        "SIGMOID" => Some(true),
        _ => None,
    }
}
