//! A data file that is cut short while it is mapped: zeros are read, the process lives, and the next check of its length is an error. In a file of
//! its own, because the handler is the whole process's.

#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs::OpenOptions;

use tfod_checkpoint::{Bundle, BundleWriter, DType, Error, guard_maps, shard_path};

/// Elements of the tensor: several pages of memory on any system.
const SIZE: usize = 1 << 20;

#[test]
fn a_file_cut_short_under_its_map_is_an_error_and_no_signal() {
    guard_maps();
    guard_maps();
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().join("ckpt");
    let mut writer = BundleWriter::create(&prefix).unwrap();
    writer
        .add("t", DType::UInt8, &[SIZE], &vec![7; SIZE])
        .unwrap();
    writer.finish_files().unwrap();

    let left = SIZE / 2 + 1;
    let bundle = Bundle::open(&prefix).unwrap();
    let tensor = bundle.tensor("t").unwrap();
    bundle.check_lengths().unwrap();
    let shard = OpenOptions::new()
        .write(true)
        .open(shard_path(&prefix, 0, 1))
        .unwrap();
    shard.set_len(left as u64).unwrap();
    assert!(tensor.bytes[..left].iter().all(|byte| *byte == 7));
    assert!(tensor.bytes[left..].iter().all(|byte| *byte == 0));
    match bundle.check_lengths() {
        Err(Error::Shrunk { mapped, now, .. }) => {
            assert_eq!((mapped, now), (SIZE as u64, left as u64));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(bundle.tensor("t"), Err(Error::Shrunk { .. })));
    assert!(matches!(
        Bundle::open(&prefix).unwrap().tensor("t"),
        Err(Error::Tensor { .. })
    ));
}
