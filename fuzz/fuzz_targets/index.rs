//! The index of a checkpoint, alone: the table and its entries. Without the data, no tensor can be read, which is an error each.
//!
//! An odd first byte has the checksums put right.
#![no_main]

use std::fs;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use tfod_checkpoint::{Bundle, index_path};
use tfod_fuzz::{Random, put_back, scratch, table};

fuzz_target!(|bytes: &[u8]| {
    let Some((repair, index)) = bytes.split_first() else {
        return;
    };
    let mut index = index.to_vec();
    if repair & 1 == 1 {
        let _ = table::repair(&mut index);
    }
    let prefix = scratch().join("ckpt");
    fs::write(index_path(&prefix), &index).expect("the folder can be written");
    match Bundle::open(&prefix) {
        Ok(bundle) => {
            for entry in bundle.entries() {
                assert!(entry.shard() < bundle.num_shards());
                let _ = (entry.num_elements(), entry.range());
                if bundle.tensor(entry.key()).is_ok() {
                    assert_eq!(entry.num_elements(), 0, "there is no data");
                }
                bundle.strings(entry.key()).expect_err("there is no data");
            }
            bundle.object_graph().expect_err("there is no data");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random(seed.into());
    if random.below(2) == 0
        && let Some((&repair, index)) = data[..size].split_first()
    {
        let mut index = index.to_vec();
        let _ = table::repair(&mut index);
        if let Some(changed) = table::mutate(&index, &mut random) {
            return put_back(&[&[repair], &changed[..]].concat(), data, max_size);
        }
    }
    fuzzer_mutate(data, size, max_size)
});
