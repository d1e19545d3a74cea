//! What a model takes and gives.

use tfod_graph::{DType, Graph, Shape, ValueId};
use tfod_onnx::InputLayout;

/// What a signature takes and gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// What the model is given.
    pub inputs: Vec<InterfaceTensor>,
    /// What it returns, by key in ascending order.
    pub outputs: Vec<InterfaceTensor>,
}

/// One input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceTensor {
    /// Its key.
    pub key: String,
    /// Its element type.
    pub dtype: DType,
    /// Its shape; names stand for sizes known only at run time.
    pub shape: Shape,
    /// Of an input of images, the order of its dimensions.
    pub layout: Option<InputLayout>,
}

impl Interface {
    pub(super) fn of(graph: &Graph) -> Self {
        let info = |key: &str, value: ValueId| {
            let value = graph.value(value);
            InterfaceTensor {
                key: key.to_owned(),
                dtype: value.dtype,
                shape: value.shape.clone(),
                layout: None,
            }
        };
        let input = |value: &ValueId| {
            let info = info(graph.name_of(*value), *value);
            let is_images = info.shape.dims().len() == 4;
            InterfaceTensor {
                layout: is_images.then_some(InputLayout::Nhwc),
                ..info
            }
        };
        let inputs = graph.inputs().iter();
        let outputs = graph.outputs().iter();
        let mut outputs: Vec<InterfaceTensor> = outputs.map(|o| info(&o.key, o.value)).collect();
        outputs.sort_by(|a, b| a.key.cmp(&b.key));
        Self {
            inputs: inputs.map(input).collect(),
            outputs,
        }
    }
}
