//! Graphs in binary form, as `inspect` and `verify` read them: GraphDef, MetaGraphDef, ONNX, or what else their content makes of them.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use tfod_fuzz::{Random, message, put_back};

fuzz_target!(|bytes: &[u8]| tfod_fuzz::look("graph.pb", bytes));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random(seed.into());
    match message::mutate(&data[..size], &mut random) {
        Some(changed) if random.below(16) != 0 => put_back(&changed, data, max_size),
        _ => fuzzer_mutate(data, size, max_size),
    }
});
