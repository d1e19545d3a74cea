//! ONNX models, as they are read to be run: refused with a reason, or ready. They are not run, which would take any time.
//!
//! A panic of rten's is an error there by design, and none here; one of this project's ends the run.
#![no_main]

use std::path::Path;
use std::sync::Once;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use tfod_fuzz::{Random, message, put_back};
use tfod_runtime::Model;

/// Lets panics of rten's crates pass, which the runtime catches.
fn allow_panics_of_rten() {
    static ALLOW: Once = Once::new();
    ALLOW.call_once(|| {
        let end = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let file = info.location().map_or("", |location| location.file());
            if !file.contains("/tfod-") {
                return;
            }
            end(info);
        }));
    });
}

fuzz_target!(|bytes: &[u8]| {
    allow_panics_of_rten();
    match Model::from_bytes(Path::new("fuzz.onnx"), bytes) {
        Ok(model) => {
            let _ = (model.metadata(), model.inputs(), model.outputs());
        }
        Err(error) => assert!(error.to_string().starts_with("fuzz.onnx: ")),
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random(seed.into());
    match message::mutate(&data[..size], &mut random) {
        Some(changed) if random.below(16) != 0 => put_back(&changed, data, max_size),
        _ => fuzzer_mutate(data, size, max_size),
    }
});
