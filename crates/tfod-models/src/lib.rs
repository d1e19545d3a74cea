//! The architectures: from a configuration to a graph.
//!
//! [`build`] writes the inference network of a `pipeline.config` as a [`tfod_graph::Graph`]: image in, detections out, just as the TensorFlow 2 Object
//! Detection API computes them. It reads no weights and no file; parameters are named by their path in the reference's object tree,
//! under which a checkpoint keeps them.
//!
//! A detector is put together from parts, each a folder here:
//!
//! | folder | holds | paper |
//! | --- | --- | --- |
//! | [`backbone`] | image classifiers that give feature maps | each file names its own |
//! | [`neck`] | feature pyramids over a backbone | |
//! | [`head`] | predictors of box encodings and class scores that several meta-architectures have | |
//! | [`anchors`] | the boxes that encodings are relative to | |
//! | [`postprocess`] | box decoding, score conversion, non-max suppression | |
//! | [`meta`] | how the parts make a detector: a description of each meta-architecture | |
//!
//! Shared by all: [`layers`] (the Keras layers that the reference uses), [`hyperparams`] (how they are configured), [`input`] (what
//! the model is given), [`labels`] (what it takes from label maps), [`resizer`] (how large it becomes), [`options`] (what the graph takes in and gives out), [`facts`] (what users need to know beside
//! the graph), [`fit`] (why a checkpoint does not fit).
//!
//! Nothing here knows a file format, and no back end knows anything of this crate.

pub mod anchors;
pub mod backbone;
mod error;
pub mod facts;
mod fields;
pub mod fit;
pub mod head;
pub mod hyperparams;
pub mod input;
pub mod labels;
pub mod layers;
pub mod meta;
pub mod neck;
pub mod options;
pub mod postprocess;
pub mod resizer;
mod scalar;
mod side_inputs;

pub use error::ModelError;
pub use facts::Facts;
pub use fields::{FieldPath, Message};
pub use input::InputType;
pub use labels::KeypointLabels;
pub use meta::MetaArchitecture;
pub use options::{Batch, ClassThreshold, GraphOption, GraphOptions, Stage};
pub use postprocess::NoEnding;
pub use side_inputs::SideInput;

use std::collections::HashSet;

use tfod_config::protos;
use tfod_graph::{Graph, passes, validate};

/// A network, and what a user wants to know of it.
#[derive(Clone, Debug)]
pub struct Model {
    /// The network; already shared, pruned and validated.
    pub graph: Graph,
    /// Paths of variables that the trained model has and the graph does not need: a backbone's classifier, and what only outputs need that were not
    /// asked for.
    pub idle: Vec<Vec<String>>,
    /// The architecture, as the configuration calls it: `ssd_mobilenet_v2_fpn_keras`.
    pub architecture: String,
    /// How many classes it tells apart, the background left out.
    pub num_classes: u64,
    /// Height and width of the image that the network itself sees; `None` where they are known only at run time.
    pub image_size: Option<[u64; 2]>,
    /// Why the graph does not say that it ends with decoding and suppression as some formats have them, where it ends with detections.
    pub no_ending: Option<NoEnding>,
    /// What cannot be seen in the graph.
    pub facts: Facts,
}

/// Writes the network that a configuration describes.
///
/// # Errors
/// When the configuration lacks something, contradicts itself or the options, or asks for what is not supported; the error names the field.
pub fn build(config: &protos::DetectionModel, options: &GraphOptions) -> Result<Model, ModelError> {
    let model = written(config, options)?;
    let graph = passes::standard(&model.graph)?;
    validate(&graph)?;
    Ok(with_graph(model, graph))
}

/// The network as its architecture writes it: nothing is shared, dropped or checked yet.
pub(crate) fn written(
    config: &protos::DetectionModel,
    options: &GraphOptions,
) -> Result<Model, ModelError> {
    options.check()?;
    let Some(meta) = MetaArchitecture::of(config) else {
        return Err(fields::missing(FieldPath::MODEL));
    };
    let support = meta.supported()?;
    if options.input.has_boxes() && !support.takes_boxes(config) {
        let fields = meta::fields_of(|support| support.boxes.as_ref());
        let expected = format!("another type: only models with {fields} make masks of given boxes");
        return Err(fields::invalid_option(
            GraphOption::InputType,
            options.input,
            expected,
        ));
    }
    if options.input.has_boxes() && options.stage != Stage::Detections {
        let expected = "another type in a graph that ends before detections: it makes no masks of the boxes that it is given";
        return Err(fields::invalid_option(
            GraphOption::InputType,
            options.input,
            expected,
        ));
    }
    if options.side_inputs.is_some() && !support.takes_side_inputs(config) {
        let fields = meta::fields_of(|support| support.side_inputs.as_ref());
        let expected = format!("off: only models with {fields} take side inputs");
        return Err(fields::invalid_option(
            GraphOption::UseSideInputs,
            "on",
            expected,
        ));
    }
    let mut model = (support.build)(config, options)?;
    if model.facts.further_input(options.input_name()).is_some() {
        return Err(fields::invalid_option(
            GraphOption::InputName,
            options.input_name(),
            "another name: what is given beside images has this one",
        ));
    }
    if let Some(keys) = &options.outputs {
        keep_outputs(&mut model.graph, keys)?;
    }
    Ok(model)
}

/// The model with its graph after passes; parameters that these have dropped are idle.
fn with_graph(model: Model, graph: Graph) -> Model {
    let needed: HashSet<_> = graph.parameters().map(|(_, p)| &p.path).collect();
    let written = model.graph.parameters().map(|(_, p)| &p.path);
    let written = written.filter(|path| !needed.contains(path));
    let idle = model.idle.iter().chain(written).cloned().collect();
    Model {
        graph,
        idle,
        ..model
    }
}

/// Leaves only the outputs of these keys.
fn keep_outputs(graph: &mut Graph, keys: &[String]) -> Result<(), ModelError> {
    let known = || {
        let keys: Vec<&str> = graph.outputs().iter().map(|o| o.key.as_str()).collect();
        keys.join(", ")
    };
    if let Some(unknown) = keys
        .iter()
        .find(|key| !graph.outputs().iter().any(|o| o.key == **key))
    {
        return Err(fields::invalid_option(
            GraphOption::Outputs,
            unknown,
            known(),
        ));
    }
    if keys.is_empty() {
        return Err(fields::invalid_option(
            GraphOption::Outputs,
            "none",
            known(),
        ));
    }
    graph.retain_outputs(|output| keys.contains(&output.key));
    Ok(())
}
