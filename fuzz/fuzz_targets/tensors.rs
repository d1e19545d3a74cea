//! A whole checkpoint of one shard: every tensor read, strings, parts and the object graph included; and what is read, copied.
//!
//! The input: the size of the index (four bytes, little-endian), the index, the data. All checksums are put right.
#![no_main]

use std::fs;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use tfod_checkpoint::{Bundle, BundleWriter, index_path, shard_path};
use tfod_fuzz::{Random, put_back, scratch, table};

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (size, rest) = bytes.split_at_checked(4)?;
    let size = u32::from_le_bytes(size.try_into().ok()?);
    rest.split_at_checked(usize::try_from(size).ok()?)
}

fn joined(index: &[u8], data: &[u8]) -> Vec<u8> {
    let size = u32::try_from(index.len()).expect("a small index");
    [&size.to_le_bytes(), index, data].concat()
}

fuzz_target!(|bytes: &[u8]| {
    let Some((index, data)) = split(bytes) else {
        return;
    };
    let (mut index, mut data) = (index.to_vec(), data.to_vec());
    let _ = table::repair(&mut index);
    let index = table::sum_entries(&index, &mut data).unwrap_or(index);
    let prefix = scratch().join("ckpt");
    fs::write(index_path(&prefix), &index).expect("the folder can be written");
    fs::write(shard_path(&prefix, 0, 1), &data).expect("the folder can be written");
    let Ok(bundle) = Bundle::open(&prefix) else {
        return;
    };
    let copy = scratch().join("copy");
    let mut writer = BundleWriter::create(&copy).expect("the folder can be written");
    let mut copied = Vec::new();
    for entry in bundle.entries() {
        let key = entry.key();
        if let Ok(tensor) = bundle.tensor(key) {
            let size = tensor.dtype.size().expect("a numeric type");
            assert_eq!(tensor.bytes.len(), entry.num_elements() * size);
        }
        if let Ok(strings) = bundle.strings(key) {
            assert_eq!(strings.len(), entry.num_elements());
        }
        match writer.copy(&bundle, key) {
            Ok(()) => copied.push(key),
            // The writer is of no use after an error.
            Err(_) => return,
        }
    }
    let _ = bundle.object_graph();
    writer.finish_files().expect("the folder can be written");
    let again = Bundle::open(&copy).expect("what was written is read");
    for key in copied {
        if let Ok(tensor) = bundle.tensor(key) {
            assert_eq!(again.tensor(key).expect("a copy").bytes, tensor.bytes);
        }
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random(seed.into());
    if random.below(4) != 0
        && let Some((index, shard)) = split(&data[..size])
    {
        let mut index = index.to_vec();
        let _ = table::repair(&mut index);
        if let Some(changed) = table::mutate(&index, &mut random) {
            return put_back(&joined(&changed, shard), data, max_size);
        }
    }
    fuzzer_mutate(data, size, max_size)
});
