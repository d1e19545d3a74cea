//! TFLite models, as `inspect` and `verify` read them: their layers and metadata, and the folded weights of a model beside those of another.
#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use tfod_fuzz::{look, scratch};
use tfod_inspect::inspect;
use tfod_verify::{Aspects, verify};

/// A model with a layer, whose other operators keep it from being compared tensor by tensor.
const OTHER: &[u8] = include_bytes!("../seeds/tflite/conv2d_float16");

fn other() -> &'static PathBuf {
    static OTHER_FILE: OnceLock<PathBuf> = OnceLock::new();
    OTHER_FILE.get_or_init(|| {
        let path = scratch().join("other.tflite");
        std::fs::write(&path, OTHER).expect("the folder can be written");
        path
    })
}

fuzz_target!(|bytes: &[u8]| {
    look("model.tflite", bytes);
    let path = scratch().join("model.tflite");
    let Ok(found) = inspect(&path) else {
        return;
    };
    for layer in found.layers().unwrap_or_default() {
        for quantity in layer.quantities() {
            let tensor = &found.tensors[quantity.tensor];
            if let Ok(elements) = found.elements(tensor) {
                let _ = quantity.values(tensor, &elements);
            }
        }
    }
    let _ = verify(&path, other(), &Aspects::default());
});
