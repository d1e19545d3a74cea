//! The networks of an export: one for each signature, and one for each format that needs another than the main signature's.

use tfod_config::{LabelMap, PipelineConfig};
use tfod_formats::Format;
use tfod_graph::{Graph, Weights, passes};
use tfod_models::{GraphOption, GraphOptions, Model, ModelError, build};
use tfod_tensorflow::NamedGraph;

use super::format::exporter;
use super::signatures::{self, Signature};
use super::{Export, ExportError, Interface, SignatureOptions};
use crate::check::ConfigKind;
use crate::trained::TrainedModel;

/// The networks of formats that need other ones than the main signature's.
pub(super) type Fitted = Vec<(Format, Signature)>;

/// The network of a format.
pub(super) fn of_format<'s>(
    format: Format,
    main: &'s Signature,
    fitted: &'s Fitted,
) -> &'s Signature {
    let mut own = fitted.iter().filter(|(other, _)| *other == format);
    own.next().map_or(main, |(_, signature)| signature)
}

/// The networks of an export, with their weights.
pub(super) struct Networks<'s, 'a> {
    pub(super) main: &'s Signature,
    pub(super) fitted: &'s Fitted,
    /// Of all signatures, the main one first.
    pub(super) graphs: Vec<NamedGraph<'a>>,
    /// Of the formats in `fitted`.
    pub(super) own: Vec<(Format, NamedGraph<'a>)>,
}

/// A signature's network with its weights.
pub(super) fn named<'a>(
    (signature, (graph, weights)): (&'a Signature, &'a (Graph, Weights<'a>)),
) -> NamedGraph<'a> {
    NamedGraph {
        name: &signature.name,
        graph,
        weights,
    }
}

/// What each signature takes and gives, by name; the main one has the interface that is common to all formats.
pub(super) fn interfaces(
    main: &Signature,
    interface: &Interface,
    others: &[Signature],
) -> Vec<(String, Interface)> {
    let others = others.iter().map(|signature| {
        (
            signature.name.clone(),
            Interface::of(&signature.model.graph),
        )
    });
    std::iter::once((main.name.clone(), interface.clone()))
        .chain(others)
        .collect()
}

impl Export {
    /// The networks of all signatures, the main one first.
    pub(super) fn signatures(
        &self,
        config: &PipelineConfig,
        labels: Option<&LabelMap>,
        whole: &GraphOptions,
    ) -> Result<(Signature, Vec<Signature>), ExportError> {
        let mut common = self.graph.clone();
        common.keypoint_labels.clone_from(&whole.keypoint_labels);
        common
            .class_thresholds
            .extend(self.thresholds.classes(labels)?);
        let build = |asked: SignatureOptions| {
            let options = asked.graph(&common);
            Ok::<_, ExportError>(Signature {
                model: self.build(config, &options)?,
                name: asked.name,
                options,
            })
        };
        let (main, others) = signatures::main_and_others(&self.signatures, &self.graph);
        let mut formats = self.formats.iter().map(|format| format.descriptor());
        let without = formats.find(|format| !format.decodes_images);
        if let Some(format) = without.filter(|_| main.input.is_encoded()) {
            return Err(ExportError::Options(ModelError::Option {
                option: GraphOption::InputType,
                given: main.input.to_string(),
                expected: format!(
                    "image_tensor or float_image_tensor for {}, whose runtimes have no operator that decodes image files",
                    format.described
                ),
            }));
        }
        let others = others.into_iter().map(build).collect::<Result<_, _>>()?;
        Ok((build(main)?, others))
    }

    pub(super) fn build(
        &self,
        config: &PipelineConfig,
        options: &GraphOptions,
    ) -> Result<Model, ExportError> {
        let in_config = |source: ModelError| {
            if matches!(source, ModelError::Option { .. }) {
                return ExportError::Options(source);
            }
            let kind = config.message().model.as_ref().and_then(ConfigKind::of);
            ExportError::Model {
                config: self.pipeline_config.clone(),
                source: Box::new(source),
                family: kind.map(|kind| kind.family),
                advice: None,
            }
        };
        let message = config.message().model.as_ref();
        let missing = || {
            in_config(ModelError::Missing {
                field: "model".to_owned(),
            })
        };
        build(message.ok_or_else(missing)?, options).map_err(in_config)
    }

    /// Whether there is only one format, which others need not suit.
    pub(super) fn writes_one_format(&self) -> bool {
        self.formats_to_write().count() == 1
    }

    /// The main network, and those of formats that need other ones. Where all formats need another one, that is the main one.
    pub(super) fn fitted(
        &self,
        config: &PipelineConfig,
        main: Signature,
    ) -> Result<(Signature, Fitted), ExportError> {
        let mut fitted = Vec::new();
        for (format, _) in self.formats_to_write() {
            let exporter = exporter(format);
            if let Some(options) = exporter.fitted(&main.options, &main.model, self)? {
                let signature = Signature {
                    name: main.name.clone(),
                    model: self.build(config, &options)?,
                    options,
                };
                fitted.push((format, signature));
            }
        }
        match fitted.pop() {
            Some((_, signature)) if self.writes_one_format() => Ok((signature, fitted)),
            last => {
                fitted.extend(last);
                Ok((main, fitted))
            }
        }
    }

    /// A graph and its weights, not verified yet, where what depends on weights alone is computed, so that programs that run the model need not, or cannot.
    fn with_weights<'a>(
        &self,
        graph: &Graph,
        trained: &'a TrainedModel,
    ) -> Result<(Graph, Weights<'a>), ExportError> {
        let computed = passes::fold(graph, trained.unverified_weights(graph)?);
        computed.map_err(|error| ExportError::Model {
            config: self.pipeline_config.clone(),
            source: Box::new(error.into()),
            family: None,
            advice: None,
        })
    }

    /// The graph of each signature, with its weights.
    pub(super) fn all_with_weights<'a>(
        &self,
        signatures: &[&Signature],
        trained: &'a TrainedModel,
    ) -> Result<Vec<(Graph, Weights<'a>)>, ExportError> {
        signatures
            .iter()
            .map(|signature| self.with_weights(&signature.model.graph, trained))
            .collect()
    }

    /// What a graph takes and gives as all formats have it; where they differ, as the graph does.
    pub(super) fn common_interface(&self, main: &Signature, fitted: &Fitted) -> Interface {
        let formats = self.formats.iter();
        let mut all = formats.map(|format| self.interface(*format, main, fitted));
        let first = all.next();
        match first {
            Some(first) if all.all(|other| other == first) => first,
            _ => Interface::of(&main.model.graph),
        }
    }

    /// What a format takes and gives.
    pub(super) fn interface(&self, format: Format, main: &Signature, fitted: &Fitted) -> Interface {
        let graph = &of_format(format, main, fitted).model.graph;
        exporter(format).interface(Interface::of(graph), self)
    }
}
