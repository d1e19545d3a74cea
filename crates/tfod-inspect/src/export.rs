//! The folder of an export: which pieces are there, and what the manifest says.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use tfod_text::Shown;

use crate::{Facts, InspectError, inspect};

/// Larger files are no manifest.
const MAX_MANIFEST: u64 = 64 << 20;

/// What the manifest of an export says; `None` where there is none, or it is no JSON or too large.
pub fn manifest(path: &Path) -> Option<Value> {
    // Opening a pipe would wait for its other end.
    let is_file = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    let file = is_file.then(|| File::open(path).ok()).flatten()?;
    let mut bytes = Vec::new();
    file.take(MAX_MANIFEST + 1).read_to_end(&mut bytes).ok()?;
    let is_small = bytes.len() as u64 <= MAX_MANIFEST;
    is_small.then(|| serde_json::from_slice(&bytes).ok())?
}

/// What an export consists of.
#[derive(Clone, Debug)]
pub struct ExportFacts {
    /// In the order in which they are made.
    pub pieces: Vec<Piece>,
    /// What `manifest.json` says, if it is there and JSON.
    pub manifest: Option<Value>,
}

/// A file or folder of an export.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Where it is.
    pub path: PathBuf,
    /// What it is, and the bytes of its tensors; or what is wrong with it.
    pub found: Result<(Facts, u64), String>,
}

impl ExportFacts {
    pub(crate) fn of(paths: &[PathBuf]) -> Self {
        let is_manifest = |path: &&PathBuf| path.ends_with("manifest.json");
        let manifest = paths.iter().find(is_manifest);
        let manifest = manifest.and_then(|path| self::manifest(path));
        let pieces = paths.iter().filter(|path| !is_manifest(path));
        let pieces = pieces.map(|path| Piece {
            path: path.clone(),
            found: inspect(path)
                .map(|found| {
                    let bytes = found.tensors.iter();
                    let bytes = bytes.fold(0u64, |sum, tensor| sum.saturating_add(tensor.bytes));
                    (found.facts, bytes)
                })
                .map_err(|error: InspectError| error.to_string()),
        });
        Self {
            pieces: pieces.collect(),
            manifest,
        }
    }

    pub(crate) fn json(&self) -> Value {
        let shown = |piece: &Piece| piece.path.shown().to_string();
        let pieces = self.pieces.iter().map(|piece| match &piece.found {
            Ok((facts, bytes)) => {
                json!({ "path": shown(piece), "kind": facts.kind(), "tensor_bytes": bytes })
            }
            Err(error) => json!({ "path": shown(piece), "error": error }),
        });
        json!({ "pieces": pieces.collect::<Vec<_>>(), "manifest": self.manifest })
    }
}
