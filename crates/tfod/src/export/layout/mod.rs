//! Where the files of an export go: as the official exporter lays them out, or ready for a server.
//!
//! ```text
//! official             tfserving                       triton
//! output/              output/                         output/
//!   checkpoint/          1/                              config.pbtxt
//!   saved_model/           saved_model.pb, variables/    1/
//!   pipeline.config        assets.extra/                   model.savedmodel/, or model.onnx
//!   manifest.json            tf_serving_warmup_requests    pipeline.config
//!   …                        pipeline.config               manifest.json
//!                            manifest.json
//! ```
//!
//! Servers look for new versions all the time, so a version's folder appears in one step, and one that is there is never changed.

mod serving;
mod triton;

use std::path::{Path, PathBuf};

use super::signatures::Signature;
use super::staging::{Item, Staging};
use super::{ExportError, Format, Interface, ONNX_DATA};

/// How the files of an export are laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// As the official exporter does.
    #[default]
    Official,
    /// For TensorFlow Serving: the output folder is the model's base path, the export a version in it.
    TfServing {
        /// The version's number.
        version: u32,
    },
    /// For Triton: the output folder is the model's in the repository, the export a version in it.
    Triton {
        /// The version's number.
        version: u32,
    },
}

/// Where items are in the folder that is put in place. An empty path is the folder itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    pub(super) checkpoint: Option<&'static str>,
    pub(super) config: &'static str,
    pub(super) manifest: &'static str,
    pub(super) saved_model: &'static str,
}

impl Places {
    /// Where a format's file or folder is.
    pub(super) fn item(self, format: Format) -> &'static str {
        match format {
            Format::SavedModel => self.saved_model,
            Format::Frozen => "frozen.pb",
            Format::Onnx => "model.onnx",
        }
    }

    /// All that exports of whatever formats write. The item without a name, the folder itself, is not among them.
    fn items(self) -> Vec<Item> {
        let folder = |name| Item {
            name,
            is_folder: true,
        };
        let file = |name| Item {
            name,
            is_folder: false,
        };
        let formats = Format::ALL.map(|format| match format {
            Format::SavedModel => folder(self.saved_model),
            Format::Frozen | Format::Onnx => file(self.item(format)),
        });
        let others = [file(self.config), file(self.manifest), file(ONNX_DATA)];
        let items = self.checkpoint.map(folder).into_iter();
        let items = items.chain(formats).chain(others);
        items.filter(|item| !item.name.is_empty()).collect()
    }
}

impl Layout {
    /// What users call them.
    pub const NAMES: [&'static str; 3] = ["official", "tfserving", "triton"];

    /// The layout of a name.
    pub fn named(name: &str, version: u32) -> Option<Self> {
        match name {
            "official" => Some(Self::Official),
            "tfserving" => Some(Self::TfServing { version }),
            "triton" => Some(Self::Triton { version }),
            _ => None,
        }
    }

    /// Refuses formats that the server does not read.
    pub(super) fn check(self, formats: &[Format]) -> Result<(), ExportError> {
        let expected = match (self, formats) {
            (Self::Official, _)
            | (Self::TfServing { .. }, [Format::SavedModel])
            | (Self::Triton { .. }, [Format::SavedModel | Format::Onnx]) => return Ok(()),
            (Self::TfServing { .. }, _) => {
                "saved_model, the only one that TensorFlow Serving reads"
            }
            (Self::Triton { .. }, _) => "saved_model or onnx, one of them, for Triton",
        };
        let names: Vec<&str> = formats.iter().map(|format| format.name()).collect();
        Err(ExportError::Formats {
            given: names.join(","),
            expected,
        })
    }

    /// The folder that is put in place. A version must not be there yet.
    pub(super) fn target(self, output: &Path) -> Result<PathBuf, ExportError> {
        let version = match self {
            Self::Official => return Ok(output.to_owned()),
            Self::TfServing { version } | Self::Triton { version } => version,
        };
        let path = output.join(version.to_string());
        if path.symlink_metadata().is_ok() {
            return Err(ExportError::VersionExists { path, version });
        }
        Ok(path)
    }

    /// The parts of an earlier export that a new one takes the place of; `None` where an earlier one is never changed.
    pub(super) fn replaceable(self) -> Option<Vec<Item>> {
        match self {
            Self::Official => Some(self.places().items()),
            Self::TfServing { .. } | Self::Triton { .. } => None,
        }
    }

    pub(super) fn places(self) -> Places {
        match self {
            Self::Official => Places {
                checkpoint: Some("checkpoint"),
                config: "pipeline.config",
                manifest: "manifest.json",
                saved_model: "saved_model",
            },
            Self::TfServing { .. } => Places {
                checkpoint: None,
                config: "assets.extra/pipeline.config",
                manifest: "assets.extra/manifest.json",
                saved_model: "",
            },
            Self::Triton { .. } => Places {
                checkpoint: None,
                config: "pipeline.config",
                manifest: "manifest.json",
                saved_model: "model.savedmodel",
            },
        }
    }

    /// Writes what the server wants in the version's folder.
    pub(super) fn stage(
        self,
        staging: &Staging,
        signatures: &[&Signature],
    ) -> Result<(), ExportError> {
        match self {
            Self::TfServing { .. } => {
                staging.file(serving::WARMUP, &serving::warmup_file(signatures))?;
            }
            Self::Official | Self::Triton { .. } => {}
        }
        Ok(())
    }

    /// Writes what the server wants beside the versions; returns what the user should know.
    pub(super) fn finish(
        self,
        output: &Path,
        format: Format,
        signature: &str,
        interface: &Interface,
    ) -> Result<Option<String>, ExportError> {
        match self {
            Self::Triton { .. } => triton::write_config(output, format, signature, interface),
            Self::Official | Self::TfServing { .. } => Ok(None),
        }
    }
}
