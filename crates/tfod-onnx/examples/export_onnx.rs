//! From a config and a checkpoint to an ONNX model: `export_onnx PIPELINE_CONFIG CHECKPOINT MODEL [OPTION…]`.
//!
//! GraphOptions: `float` (float32 images of any batch instead of one uint8 image), `nchw`, `external`, and a number for the operator set.

use std::borrow::Cow;
use std::error::Error;
use std::path::Path;

use tfod_checkpoint::{Bundle, NodeId, locate};
use tfod_config::PipelineConfig;
use tfod_graph::{DType, Graph, TensorView, Weights};
use tfod_models::{GraphOptions, InputType, build};
use tfod_onnx::{ExternalData, InputLayout, OnnxWriter, Options};

/// The graph's parameters, where the checkpoint's object graph has them.
fn weights<'a>(bundle: &'a Bundle, graph: &Graph) -> Result<Weights<'a>, Box<dyn Error>> {
    let objects = bundle.object_graph()?;
    let views = graph.parameters().map(|(_, parameter)| {
        let path = std::iter::once("model").chain(parameter.path.iter().map(String::as_str));
        let variable = path
            .into_iter()
            .try_fold(NodeId::ROOT, |node, name| objects.child(node, name))
            .and_then(|node| objects.variable(node))
            .ok_or_else(|| format!("the checkpoint has no {}", parameter.path.join("/")))?;
        let tensor = bundle.tensor(variable.checkpoint_key)?;
        Ok(TensorView {
            dtype: DType::F32,
            shape: tensor.shape.iter().map(|n| *n as u64).collect(),
            data: match tensor.bytes {
                Cow::Borrowed(bytes) => Cow::Borrowed(bytes),
                Cow::Owned(bytes) => Cow::Owned(bytes),
            },
        })
    });
    views.collect::<Result<_, _>>().map(Weights)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [config, checkpoint, model, rest @ ..] = arguments.as_slice() else {
        return Err(
            "usage: export_onnx PIPELINE_CONFIG CHECKPOINT MODEL [float] [nchw] [external] [OPSET]"
                .into(),
        );
    };
    let mut options = Options::default();
    let mut input_type = InputType::ImageTensor;
    for option in rest {
        match option.as_str() {
            "float" => input_type = InputType::FloatImageTensor,
            "nchw" => options.input_layout = InputLayout::Nchw,
            "external" => options.external_data = ExternalData::Always,
            opset => options.opset = opset.parse()?,
        }
    }
    let config = PipelineConfig::read(Path::new(config))?.config;
    let message = config
        .message()
        .model
        .as_ref()
        .ok_or("the config has no model")?;
    let graph = build(message, &GraphOptions::new(input_type))?.graph;
    let bundle = Bundle::open(locate(Path::new(checkpoint), None)?.prefix)?;
    let weights = weights(&bundle, &graph)?;
    let summary = OnnxWriter::new(&graph, &weights, &options)?.write(Path::new(model))?;
    println!("{summary:?}");
    Ok(())
}
