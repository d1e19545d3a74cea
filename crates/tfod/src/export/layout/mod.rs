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

use std::fs;
use std::path::{Path, PathBuf};

use super::format::exporter;
use super::signatures::Signature;
use super::staging::{Item, Staging};
use super::{ExportError, Format, Interface};

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

    /// Where a format's file or folder is, if the layout has a place for it.
    fn place(self, format: Format) -> Option<&'static str> {
        match self {
            Self::Official => Some(format.file()),
            Self::TfServing { .. } => exporter(format).for_tf_serving(),
            Self::Triton { .. } => exporter(format).for_triton().map(|triton| triton.item),
        }
    }

    /// Where a format's file or folder is.
    pub(super) fn item(self, format: Format) -> &'static str {
        // Formats without a place have been refused.
        self.place(format).unwrap_or(format.file())
    }

    /// Refuses formats that the server does not read.
    pub(super) fn check(self, formats: &[Format]) -> Result<(), ExportError> {
        let server = match self {
            Self::Official => return Ok(()),
            Self::TfServing { .. } => "TensorFlow Serving",
            Self::Triton { .. } => "Triton",
        };
        if matches!(formats, [one] if self.place(*one).is_some()) {
            return Ok(());
        }
        let names = |formats: &mut dyn Iterator<Item = Format>, between| {
            let names: Vec<&str> = formats.map(Format::name).collect();
            names.join(between)
        };
        let mut read = Format::ALL
            .into_iter()
            .filter(|format| self.place(*format).is_some());
        Err(ExportError::Formats {
            given: names(&mut formats.iter().copied(), ","),
            expected: format!(
                "one format that {server} reads: {}",
                names(&mut read, " or ")
            ),
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

    /// All that exports of these formats write. The item without a name, the folder itself, is not among them.
    pub(super) fn items(self, formats: &[Format]) -> Vec<Item> {
        let folder = |name| Item {
            name,
            is_folder: true,
        };
        let file = |name| Item {
            name,
            is_folder: false,
        };
        let places = self.places();
        let formats = formats.iter().flat_map(|format| {
            let of_format = self.place(*format).map(|name| Item {
                name,
                is_folder: format.is_folder(),
            });
            let beside = format.descriptor().beside.iter().copied().map(file);
            of_format.into_iter().chain(beside)
        });
        let items = places.checkpoint.map(folder).into_iter();
        let items = items
            .chain(formats)
            .chain([file(places.config), file(places.manifest)]);
        items.filter(|item| !item.name.is_empty()).collect()
    }

    /// The parts of an earlier export that a new one takes the place of; `None` where an earlier one is never changed.
    pub(super) fn replaceable(self) -> Option<Vec<Item>> {
        match self {
            Self::Official => Some(self.items(&Format::ALL)),
            Self::TfServing { .. } | Self::Triton { .. } => None,
        }
    }

    /// Parts of exports of other layouts in the output folder, as people see them. They are never changed.
    pub(super) fn of_others(self, output: &Path) -> Vec<String> {
        match self {
            Self::Official => versions(output),
            Self::TfServing { .. } | Self::Triton { .. } => official(output),
        }
    }

    pub(super) fn places(self) -> Places {
        match self {
            Self::Official => Places {
                checkpoint: Some("checkpoint"),
                config: "pipeline.config",
                manifest: "manifest.json",
            },
            Self::TfServing { .. } => Places {
                checkpoint: None,
                config: "assets.extra/pipeline.config",
                manifest: "assets.extra/manifest.json",
            },
            Self::Triton { .. } => Places {
                checkpoint: None,
                config: "pipeline.config",
                manifest: "manifest.json",
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

/// The parts of an export of the official layout in a folder; none where it has no model.
fn official(output: &Path) -> Vec<String> {
    let in_output = |item: &Item| item.is_in(output);
    let items = Layout::Official.items(&Format::ALL);
    let models = Format::ALL.map(|format| Layout::Official.item(format));
    let has_model = items
        .iter()
        .any(|item| models.contains(&item.name) && in_output(item));
    let items = items
        .into_iter()
        .filter(|item| has_model && in_output(item));
    items.map(Item::shown).collect()
}

/// The versions of a served model in a folder, and the server's configuration beside them.
fn versions(output: &Path) -> Vec<String> {
    let entries = fs::read_dir(output).into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.parse::<u32>().ok().filter(|n| n.to_string() == name)
    });
    let mut numbers: Vec<u32> = numbers
        .filter(|version| {
            let folder = output.join(version.to_string());
            let layouts = [
                Layout::TfServing { version: *version },
                Layout::Triton { version: *version },
            ];
            layouts
                .iter()
                .any(|layout| folder.join(layout.places().manifest).is_file())
        })
        .collect();
    numbers.sort_unstable();
    let mut shown: Vec<String> = numbers.iter().map(|n| format!("{n}/")).collect();
    if !shown.is_empty() && output.join(triton::FILE).is_file() {
        shown.push(triton::FILE.to_owned());
    }
    shown
}
