//! From a config to a graph: whatever a config says, the graph is built or refused, without panic, in bounded time and memory.
//!
//! The input is a `DetectionModel` in binary form, behind a byte that chooses options; it can say all that a config's text can.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use prost::Message;
use tfod_config::protos::DetectionModel;
use tfod_fuzz::{Random, message, put_back};
use tfod_models::{Batch, GraphOptions, InputType, Stage, build};

fn options(choices: u8) -> GraphOptions {
    let mut options =
        GraphOptions::new(InputType::ALL[usize::from(choices & 3) % InputType::ALL.len()]);
    options.batch = match choices >> 2 & 3 {
        0 | 1 => None,
        2 => Some(Batch::Fixed(2)),
        _ => Some(Batch::Dynamic),
    };
    options.stage = match choices >> 4 & 3 {
        0 | 1 => Stage::Detections,
        2 => Stage::Boxes,
        _ => Stage::Encodings,
    };
    options.input_size = (choices & 64 != 0).then_some([320, 240]);
    options
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&choices, model)) = bytes.split_first() else {
        return;
    };
    let Ok(config) = DetectionModel::decode(model) else {
        return;
    };
    match build(&config, &options(choices)) {
        Ok(model) => assert!(!model.graph.outputs().is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random(seed.into());
    let Some((&choices, model)) = data[..size].split_first() else {
        return fuzzer_mutate(data, size, max_size);
    };
    match message::mutate(model, &mut random) {
        Some(changed) if random.below(16) != 0 => {
            let choices = if random.below(8) == 0 {
                random.bits() as u8
            } else {
                choices
            };
            put_back(&[&[choices], &changed[..]].concat(), data, max_size)
        }
        _ => fuzzer_mutate(data, size, max_size),
    }
});
