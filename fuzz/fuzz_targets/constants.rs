//! What graphs compute from constants alone, and graphs read as networks: no panic, no endless computation; what is read is a valid network.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use tfod_fuzz::{Random, message, put_back};
use tfod_tensorflow::{constants_of_graph, graph_of_graph_def};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(found) = constants_of_graph(bytes) {
        for computed in &found.computed {
            assert!(!computed.from.is_empty(), "{}", computed.name);
        }
    }
    match graph_of_graph_def(bytes) {
        Ok(graph) => tfod_graph::validate(&graph).expect("a graph that was read is valid"),
        Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random(seed.into());
    match message::mutate(&data[..size], &mut random) {
        Some(changed) if random.below(16) != 0 => put_back(&changed, data, max_size),
        _ => fuzzer_mutate(data, size, max_size),
    }
});
