//! What several tests of the command share.

use std::fs;
use std::path::Path;

/// Copies the shipped example, a config and a trained checkpoint, into a folder: `pipeline.config` and `checkpoint/`.
pub(crate) fn copy_example(to: &Path) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shapes");
    fs::create_dir(to.join("checkpoint")).unwrap();
    let files = [
        "pipeline.config",
        "checkpoint/checkpoint",
        "checkpoint/ckpt-3000.index",
        "checkpoint/ckpt-3000.data-00000-of-00001",
    ];
    for file in files {
        fs::copy(example.join(file), to.join(file)).unwrap();
    }
}
