//! TFLite models, as `inspect` and `verify` read them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| tfod_fuzz::look("model.tflite", bytes));
