//! What the fuzz targets share.
//!
//! Bytes changed at random hardly ever get past a checksum or keep the lengths of nested messages right, so two helpers know a little of
//! the formats: [`message`] changes protocol buffers field by field, and [`table`] puts checksums right that a change made wrong.

pub mod message;
pub mod table;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tempfile::TempDir;
use tfod_evaluate::{Dataset, EvaluateError, Evaluation, Kind};
use tfod_inspect::{Statistics, inspect, listing};
use tfod_verify::{Aspects, Outcome, verify};

/// A folder of this process's own, in memory where the system has such a place.
pub fn scratch() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let memory = PathBuf::from("/dev/shm");
            let place = if memory.is_dir() {
                memory
            } else {
                std::env::temp_dir()
            };
            TempDir::with_prefix_in("tfod-fuzz-", place).expect("a temporary folder")
        })
        .path()
}

/// Does all that `inspect` and `verify` do with a file.
///
/// # Panics
///
/// If there is something wrong with what they say.
pub fn look(name: &str, bytes: &[u8]) {
    let path = scratch().join(name);
    std::fs::write(&path, bytes).expect("the folder can be written");
    let found = match inspect(&path) {
        Ok(found) => found,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let _ = found.json();
    for tensor in &found.tensors {
        if let Ok(elements) = found.elements(tensor) {
            let _ = Statistics::of(&elements);
            let _ = listing(&elements, &tensor.shape, 10);
        }
    }
    if let Ok(itself) = verify(&path, &path, &Aspects::default()) {
        assert_ne!(itself.outcome(), Outcome::Different, "{:#}", itself.json());
    }
}

/// Evaluates detections with annotations, unless there are masks of sizes that take time.
///
/// # Panics
///
/// If a figure is none.
pub fn judge(dataset: &Dataset, evaluate: impl Fn(Kind<'_>) -> Result<Evaluation, EvaluateError>) {
    const LARGEST: u32 = 1 << 10;
    let is_small = |image: &tfod_evaluate::Image| {
        image
            .size
            .is_some_and(|(width, height)| width.max(height) <= LARGEST)
    };
    let mut kinds = vec![Kind::Boxes];
    if dataset.images.iter().all(is_small) {
        kinds.push(Kind::Masks);
    }
    for kind in kinds {
        match evaluate(kind) {
            Ok(found) => {
                let figures = found.figures();
                assert!(figures.iter().all(|one| (-1.0..=1.0).contains(&one.value)));
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// Random numbers from a seed: SplitMix64.
pub struct Random(pub u64);

impl Random {
    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which must not be 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.bits() % limit as u64) as usize
    }
}

/// Copies what fits of `changed` back to the fuzzer's buffer, as a custom mutator must.
pub fn put_back(changed: &[u8], data: &mut [u8], most: usize) -> usize {
    let size = changed.len().min(most).min(data.len());
    data[..size].copy_from_slice(&changed[..size]);
    size
}
