//! From a config to a graph: whatever a config says, the graph is built or refused, without panic, in bounded time and memory.
//!
//! The input is a `DetectionModel` in binary form, behind two bytes that choose options and what the label map of keypoints says; it can say all that a config's text can.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use prost::Message;
use tfod_config::protos::DetectionModel;
use tfod_config::protos::detection_model::Model;
use tfod_fuzz::{Random, message, put_back};
use tfod_models::{Batch, GraphOptions, InputType, KeypointLabels, Stage, build};

/// How many bytes of the input choose.
const CHOICES: usize = 2;

// Three bits choose the input.
const _: () = assert!(InputType::ALL.len() <= 8);

fn options([choices, labels]: [u8; CHOICES], config: &DetectionModel) -> GraphOptions {
    let mut options =
        GraphOptions::new(InputType::ALL[usize::from(choices & 7) % InputType::ALL.len()]);
    options.batch = match choices >> 3 & 3 {
        0 | 1 => None,
        2 => Some(Batch::Fixed(2)),
        _ => Some(Batch::Dynamic),
    };
    options.stage = match choices >> 5 & 3 {
        0 | 1 => Stage::Detections,
        2 => Stage::Boxes,
        _ => Stage::Encodings,
    };
    options.input_size = (choices & 128 != 0).then_some([320, 240]);
    options.keypoint_labels = keypoint_labels(labels, config);
    options
}

/// What the label map may say that a CenterNet names: a class for each keypoint task, mostly with ids that go together.
fn keypoint_labels(choices: u8, config: &DetectionModel) -> Option<KeypointLabels> {
    let Some(Model::CenterNet(net)) = &config.model else {
        return None;
    };
    if choices & 3 == 3 {
        return None;
    }
    let count = 1 + usize::from(choices >> 2 & 7);
    let tasks = net.keypoint_estimation_task.iter();
    let classes = tasks.map(|task| (task.keypoint_class_name(), count));
    let mut labels = KeypointLabels::counted(net.keypoint_label_map_path(), classes);
    if choices & 3 == 2 {
        let keypoints = labels
            .classes
            .iter_mut()
            .flat_map(|class| &mut class.keypoints);
        keypoints.for_each(|keypoint| keypoint.id = 0);
    }
    Some(labels)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((choices, model)) = bytes.split_first_chunk() else {
        return;
    };
    let Ok(config) = DetectionModel::decode(model) else {
        return;
    };
    match build(&config, &options(*choices, &config)) {
        Ok(model) => assert!(!model.graph.outputs().is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random(seed.into());
    let Some((&choices, model)) = data[..size].split_first_chunk::<CHOICES>() else {
        return fuzzer_mutate(data, size, max_size);
    };
    match message::mutate(model, &mut random) {
        Some(changed) if random.below(16) != 0 => {
            let choices = if random.below(8) == 0 {
                (random.bits() as u16).to_le_bytes()
            } else {
                choices
            };
            put_back(&[&choices, &changed[..]].concat(), data, max_size)
        }
        _ => fuzzer_mutate(data, size, max_size),
    }
});
