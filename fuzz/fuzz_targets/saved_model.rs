//! SavedModels and freezing: no panic, no endless expansion; what is frozen has the size that was promised, in text too.
//!
//! The first byte chooses options. Variables are those of the seeds, so that some of the graphs have theirs.
#![no_main]

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use tfod_checkpoint::{BundleWriter, DType};
use tfod_fuzz::{Random, message, put_back, scratch};
use tfod_tensorflow::{FreezeOptions, SavedModelReader};

/// A SavedModel's folder with the variables that the seeds mention.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<()> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let variables = scratch().join("variables");
        fs::create_dir(&variables).expect("the folder can be written");
        let mut writer = BundleWriter::create(&variables.join("variables")).expect("a bundle");
        let values: Vec<u8> = [1f32, 2.0, 3.0]
            .into_iter()
            .flat_map(f32::to_le_bytes)
            .collect();
        for (name, size) in VARIABLES {
            let key = format!("{name}/.ATTRIBUTES/VARIABLE_VALUE");
            writer
                .add(&key, DType::Float32, &[size], &values[..4 * size])
                .expect("a tensor");
        }
        writer.finish_files().expect("a bundle");
    });
    scratch()
}

/// The names, in the order of their keys, and numbers of elements.
const VARIABLES: [(&str, usize); 4] = [
    ("embedding", 2),
    ("layer/kernel", 3),
    ("steps", 1),
    ("w", 1),
];

fuzz_target!(|bytes: &[u8]| {
    let Some((&choices, model)) = bytes.split_first() else {
        return;
    };
    let folder = folder();
    fs::write(folder.join("saved_model.pb"), model).expect("the folder can be written");
    let reader = SavedModelReader::open(folder).expect("the file is there");
    let mut options = FreezeOptions::default();
    options.keep_control_flow = choices & 1 == 1;
    options.friendly_names = choices & 2 == 2;
    let frozen = match reader.freeze(&options) {
        Ok(frozen) => frozen,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let _ = (frozen.inputs(), frozen.outputs(), frozen.op_counts());
    let _ = (frozen.constants(), frozen.constant_values());
    if let Ok(graph) = frozen.to_graph() {
        tfod_graph::validate(&graph).expect("a graph that was read is valid");
    }
    let mut binary = Vec::new();
    if frozen.write_binary(&mut binary).is_ok() {
        let promised = frozen.binary_len().expect("what was written has a size");
        assert_eq!(binary.len() as u64, promised);
    }
    let mut text = Vec::new();
    if frozen.write_text(&mut text).is_ok() {
        std::str::from_utf8(&text).expect("text is UTF-8");
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random(seed.into());
    let Some((&choices, model)) = data[..size].split_first() else {
        return fuzzer_mutate(data, size, max_size);
    };
    match message::mutate(model, &mut random) {
        Some(changed) if random.below(16) != 0 => {
            let choices = choices ^ u8::from(random.below(16) == 0);
            put_back(&[&[choices], &changed[..]].concat(), data, max_size)
        }
        _ => fuzzer_mutate(data, size, max_size),
    }
});
