//! What the test files share: fixtures that TensorFlow wrote, and bundles in temporary folders.

#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tfod_checkpoint::{Bundle, BundleWriter, DType};

/// The prefix of a fixture, such as `training/ckpt-1`.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// A copy of a fixture that may be damaged, and its prefix.
pub(crate) fn copy_of(name: &str) -> (TempDir, PathBuf) {
    let source = fixture(name);
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(source.parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let prefix = folder.path().join(source.file_name().unwrap());
    (folder, prefix)
}

/// What TensorFlow read from a fixture: one row per tensor.
#[derive(Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) key: String,
    pub(crate) dtype: String,
    pub(crate) shape: Vec<usize>,
    /// The elements in hex; of strings, each followed by a comma.
    pub(crate) data: String,
}

pub(crate) fn rows_by_tensorflow(name: &str) -> Vec<Row> {
    let text = fs::read_to_string(fixture(name).with_extension("tsv")).unwrap();
    let row = |line: &str| {
        let [key, dtype, shape, data] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        Row {
            key: key.to_owned(),
            dtype: dtype.to_owned(),
            shape: shape
                .split(',')
                .filter(|text| !text.is_empty())
                .map(|text| text.parse().unwrap())
                .collect(),
            data: data.to_owned(),
        }
    };
    text.lines().map(row).collect()
}

/// The same table of a bundle, as this crate reads it.
pub(crate) fn rows(bundle: &Bundle) -> Vec<Row> {
    bundle
        .entries()
        .map(|entry| Row {
            key: entry.key().to_owned(),
            dtype: entry.dtype().name().to_owned(),
            shape: entry.shape().to_vec(),
            data: match entry.dtype() {
                DType::String => bundle
                    .strings(entry.key())
                    .unwrap()
                    .iter()
                    .map(|string| hex(string) + ",")
                    .collect(),
                _ => hex(&bundle.tensor(entry.key()).unwrap().bytes),
            },
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0xf])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// Copies all tensors of a bundle to a new one at `prefix`.
pub(crate) fn rewrite(bundle: &Bundle, prefix: &Path) {
    let mut writer = BundleWriter::create(prefix).unwrap();
    for entry in bundle.entries() {
        writer.copy(bundle, entry.key()).unwrap();
    }
    writer.finish_files().unwrap();
}
