//! Records of the Object Detection API, and TFRecords of them: no panic; a record that is framed is found by its name again, and what is read is evaluated.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use tfod_checkpoint::masked_crc;
use tfod_evaluate::tfrecord::Records;
use tfod_evaluate::{Labels, evaluate, example};
use tfod_fuzz::{Random, judge, message, put_back, scratch};

fuzz_target!(|bytes: &[u8]| {
    let path = scratch().join("a.record");
    let length = (bytes.len() as u64).to_le_bytes();
    let crc = |bytes: &[u8]| masked_crc(bytes).to_le_bytes();
    let record = [&length[..], &crc(&length), bytes, &crc(bytes)].concat();
    // A whole record, and what is none.
    let file = [&record[..], bytes].concat();
    std::fs::write(&path, file).expect("the folder can be written");
    let labels: Labels = [("cat".to_owned(), 1), ("dog".to_owned(), 2)].into();
    for labels in [None, Some(&labels)] {
        match example::read_dataset(&[&path], labels) {
            Ok(dataset) => judge(&dataset, |kind| evaluate(&dataset, &[], kind)),
            Err(error) => assert!(!error.problem.is_empty()),
        }
    }
    let names = example::read_names(&path).expect("a file");
    for (place, name) in names.filter_map(Result::ok) {
        assert!(!name.is_empty());
        let mut records = Records::open(&path).expect("a file");
        records.seek(&place).expect("a place in it");
        let (again, content) = records.next().expect("a record").expect("what was read");
        assert_eq!(again, place);
        let _ = example::read_image(&again, &content);
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random(seed.into());
    match message::mutate(&data[..size], &mut random) {
        Some(changed) if random.below(8) != 0 => put_back(&changed, data, max_size),
        _ => fuzzer_mutate(data, size, max_size),
    }
});
