//! Writing the parts of an export beside their place.

use std::thread;

use serde_json::{Map, Value};
use tfod_config::{LabelMap, PipelineConfig};
use tfod_formats::Format;
use tfod_tensorflow::Asset;

use super::checkpoint::write_checkpoint;
use super::format::{FormatInput, Writer, exporter};
use super::networks::{Fitted, Networks, of_format};
use super::signatures::Signature;
use super::staging::Staging;
use super::{Export, ExportError, FormatReport, Interface, manifest};
use crate::progress::Step;
use crate::trained::TrainedModel;

/// What is written besides the formats, or told of them.
pub(super) struct Parts<'a> {
    pub(super) config: &'a PipelineConfig,
    /// The main one first.
    pub(super) signatures: &'a [&'a Signature],
    /// The networks of formats that need other ones.
    pub(super) fitted: &'a Fitted,
    /// What the formats have in common.
    pub(super) interface: &'a Interface,
    pub(super) facts: Map<String, Value>,
}

/// A format to be written.
pub(super) struct Prepared<'a> {
    pub(super) format: Format,
    pub(super) writer: Box<dyn Writer + 'a>,
    /// Whether it was asked for, and is not there for another's sake alone.
    pub(super) is_wanted: bool,
}

impl Export {
    /// Works out every format. What one cannot express is found here.
    pub(super) fn prepare<'a>(
        &self,
        networks: &Networks<'_, 'a>,
        signatures: &[&Signature],
        assets: &'a [Asset],
        labels: Option<&LabelMap>,
        facts: &Map<String, Value>,
    ) -> Result<Vec<Prepared<'a>>, ExportError> {
        let Networks {
            main,
            fitted,
            graphs,
            own,
        } = networks;
        let prepare = |(format, is_wanted): (Format, bool)| {
            let interface = self.interface(format, main, fitted);
            let network = of_format(format, main, fitted);
            let facts = || {
                let mut facts = facts.clone();
                let (options, of_model) = (&network.options, &network.model.facts);
                facts.extend(manifest::ends(&interface, options, of_model));
                facts
            };
            let own = own.iter().find(|(other, _)| *other == format);
            let own = own.map(|(_, graph)| std::slice::from_ref(graph));
            let writer = exporter(format).prepare(&FormatInput {
                export: self,
                graphs: own.unwrap_or(graphs),
                signatures,
                assets,
                labels,
                network,
                facts: &facts,
            })?;
            Ok(Prepared {
                format,
                writer,
                is_wanted,
            })
        };
        self.formats_to_write().map(prepare).collect()
    }

    /// The formats in the order in which they are written, those that others are made from included, and whether each was asked for.
    pub(super) fn formats_to_write(&self) -> impl Iterator<Item = (Format, bool)> + '_ {
        let is_wanted = |format| self.formats.contains(&format);
        let sources: Vec<Format> = self
            .formats
            .iter()
            .filter_map(|format| exporter(*format).made_from())
            .collect();
        let all = Format::ALL.into_iter();
        all.map(move |format| (format, is_wanted(format)))
            .filter(move |(format, is_wanted)| *is_wanted || sources.contains(format))
    }

    /// Writes the checkpoint beside its place, or where the layout has none verifies the variables of the networks that others are parts of, while `make` makes the rest. All
    /// weights are verified when this returns without an error, and what is wrong with the checkpoint is told first.
    pub(super) fn beside_checkpoint<T>(
        &self,
        staging: &Staging,
        trained: &TrainedModel,
        networks: &[&Signature],
        tell: &dyn Fn(Step),
        make: impl FnOnce() -> Result<T, ExportError>,
    ) -> Result<T, ExportError> {
        let folder = match self.layout.places().checkpoint {
            Some(name) => {
                tell(Step::Write("the checkpoint"));
                Some(staging.folder(name)?)
            }
            None => None,
        };
        thread::scope(|scope| {
            let checkpoint = scope.spawn(move || match folder {
                Some(folder) => write_checkpoint(&folder, trained),
                None => networks
                    .iter()
                    .try_for_each(|network| trained.verify(&network.model.graph)),
            });
            let made = make();
            match checkpoint.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(result) => result.and(made),
            }
        })
    }

    /// Writes everything but the checkpoint beside its place.
    pub(super) fn write(
        &self,
        staging: &Staging,
        parts: Parts<'_>,
        prepared: Vec<Prepared<'_>>,
        tell: &dyn Fn(Step),
    ) -> Result<Vec<FormatReport>, ExportError> {
        let places = self.layout.places();
        let written = self.write_formats(prepared, staging, tell)?;
        staging.file(places.config, parts.config.to_text().as_bytes())?;
        let mut files = Map::new();
        for report in &written {
            let mut file = report.particulars.clone();
            file.insert("format".to_owned(), report.format.name().into());
            if let Some(main) = parts.signatures.first() {
                let interface = self.interface(report.format, main, parts.fitted);
                if interface != *parts.interface {
                    let network = of_format(report.format, main, parts.fitted);
                    let (options, facts) = (&network.options, &network.model.facts);
                    file.extend(manifest::ends(&interface, options, facts));
                }
            }
            // The folder that the manifest is about may be the SavedModel.
            let name = match self.layout.item(report.format) {
                "" => ".",
                name => name,
            };
            files.insert(name.to_owned(), file.into());
        }
        let manifest = manifest::text(parts.facts, files);
        staging.file(places.manifest, manifest.as_bytes())?;
        self.layout.stage(staging, parts.signatures)?;
        Ok(written)
    }

    /// Writes the formats, and gives the reports of those asked for.
    pub(super) fn write_formats(
        &self,
        prepared: Vec<Prepared<'_>>,
        staging: &Staging,
        tell: &dyn Fn(Step),
    ) -> Result<Vec<FormatReport>, ExportError> {
        let place = |format| staging.path(self.layout.item(format));
        let mut written = Vec::new();
        let mut unwanted = Vec::new();
        for Prepared {
            format,
            writer,
            is_wanted,
        } in prepared
        {
            if format.is_folder() {
                staging.folder(self.layout.item(format))?;
            }
            let report = writer.write(&place, tell)?;
            if is_wanted {
                written.push(report);
            } else {
                unwanted.push(format);
            }
        }
        for format in unwanted {
            staging.discard(self.layout.item(format))?;
        }
        Ok(written)
    }
}
