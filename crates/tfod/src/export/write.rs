//! Writing the parts of an export beside their place.

use std::thread;

use serde_json::{Map, Value};
use tfod_config::{LabelMap, PipelineConfig};
use tfod_formats::Format;
use tfod_tensorflow::Asset;

use super::checkpoint::write_checkpoint;
use super::format::{FormatInput, Writer, exporter};
use super::networks::{Fitted, Networks, named, of_format};
use super::signatures::Signature;
use super::staging::Staging;
use super::{Export, ExportError, FormatReport, Interface, manifest};
use crate::progress::Step;
use crate::trained::TrainedModel;

/// What an export is made of.
pub(super) struct Parts<'a> {
    pub(super) config: &'a PipelineConfig,
    pub(super) trained: &'a TrainedModel,
    pub(super) main: &'a Signature,
    /// The main one first.
    pub(super) signatures: &'a [&'a Signature],
    /// The networks of formats that need other ones.
    pub(super) fitted: &'a Fitted,
    pub(super) assets: &'a [Asset],
    pub(super) labels: Option<&'a LabelMap>,
    /// What the formats have in common.
    pub(super) interface: &'a Interface,
    /// Works out the facts of the manifest, which takes a while for thousands of anchors.
    pub(super) facts: &'a dyn Fn() -> Result<Map<String, Value>, ExportError>,
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
        parts: &Parts<'a>,
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
                signatures: parts.signatures,
                assets: parts.assets,
                labels: parts.labels,
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

    /// Writes everything beside its place. All weights are verified when this returns without an error, by the thread that copies them into the checkpoint or, where the layout has
    /// none, reads them; what is wrong with the checkpoint is told first.
    pub(super) fn write(
        &self,
        staging: &Staging,
        parts: &Parts<'_>,
        tell: &dyn Fn(Step),
    ) -> Result<Vec<FormatReport>, ExportError> {
        let folder = match self.layout.places().checkpoint {
            Some(name) => {
                tell(Step::Write("the checkpoint"));
                Some(staging.folder(name)?)
            }
            None => None,
        };
        let own = parts.fitted.iter().map(|(_, signature)| signature);
        let networks: Vec<&Signature> = parts.signatures.iter().copied().chain(own).collect();
        let trained = parts.trained;
        thread::scope(|scope| {
            let checkpoint = scope.spawn(|| match folder {
                Some(folder) => write_checkpoint(&folder, trained),
                None => networks
                    .iter()
                    .try_for_each(|network| trained.verify(&network.model.graph)),
            });
            // Meanwhile; most of the time goes into copying bytes.
            let written = self.write_beside_checkpoint(staging, parts, &networks, tell);
            match checkpoint.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(result) => result.and(written),
            }
        })
    }

    /// Writes everything but the checkpoint, with weights that another thread verifies.
    fn write_beside_checkpoint(
        &self,
        staging: &Staging,
        parts: &Parts<'_>,
        networks: &[&Signature],
        tell: &dyn Fn(Step),
    ) -> Result<Vec<FormatReport>, ExportError> {
        let places = self.layout.places();
        let facts = (parts.facts)()?;
        let weighted = self.all_with_weights(networks, parts.trained)?;
        let (computed, own_computed) = weighted.split_at(parts.signatures.len());
        let graphs = parts.signatures.iter().copied().zip(computed).map(named);
        let own = parts.fitted.iter().zip(own_computed);
        let own =
            own.map(|((format, signature), computed)| (*format, named((signature, computed))));
        let networks = Networks {
            main: parts.main,
            fitted: parts.fitted,
            graphs: graphs.collect(),
            own: own.collect(),
        };
        let prepared = self.prepare(&networks, parts, &facts)?;
        let written = self.write_formats(prepared, staging, tell)?;
        staging.file(places.config, parts.config.to_text().as_bytes())?;
        let mut files = Map::new();
        for report in &written {
            let mut file = report.particulars.clone();
            file.insert("format".to_owned(), report.format.name().into());
            let interface = self.interface(report.format, parts.main, parts.fitted);
            if interface != *parts.interface {
                let network = of_format(report.format, parts.main, parts.fitted);
                let (options, facts) = (&network.options, &network.model.facts);
                file.extend(manifest::ends(&interface, options, facts));
            }
            // The folder that the manifest is about may be the SavedModel.
            let name = match self.layout.item(report.format) {
                "" => ".",
                name => name,
            };
            files.insert(name.to_owned(), file.into());
        }
        let manifest = manifest::text(facts, files);
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
