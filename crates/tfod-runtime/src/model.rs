//! Models, by tract.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tract_onnx::data_resolver::FopenDataResolver;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::{
    Framework as _, InferenceFact, InferenceModelExt as _, IntoRunnable as _,
};
use tract_onnx::prelude::{TValue, TractResult, TypedModel, TypedRunnableModel};

use crate::{Error, Tensor, adapt, guard, in_order};

/// A model that was read.
#[derive(Debug)]
pub struct Model {
    path: PathBuf,
    proto: ModelProto,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

/// A model made ready for inputs of certain types and shapes.
#[derive(Debug)]
pub struct Plan {
    path: PathBuf,
    inputs: Vec<String>,
    outputs: Vec<String>,
    runnable: Arc<TypedRunnableModel>,
}

/// What no protocol buffer is larger than.
const LARGEST: u64 = 1 << 31;

/// tract's reader: what a file says of shapes is left aside, and found anew from the inputs. Files are read, not mapped, so that one that shrinks is an
/// error.
fn reader() -> tract_onnx::Onnx {
    let mut reader = tract_onnx::onnx()
        .with_ignore_value_info(true)
        .with_ignore_output_shapes(true);
    reader.provider = Arc::new(FopenDataResolver);
    reader
}

impl Model {
    /// Reads a model.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or is no ONNX model.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let refused = |problem| Error::Model {
            path: path.to_owned(),
            what: "cannot be read",
            problem,
        };
        let size = path
            .metadata()
            .map_err(|error| refused(error.to_string()))?
            .len();
        if size > LARGEST {
            return Err(refused(format!(
                "it has {size} bytes; an ONNX model has 2 GB at most"
            )));
        }
        let bytes = fs::read(path).map_err(|error| refused(error.to_string()))?;
        let read = || reader().proto_model_for_read(&mut bytes.as_slice());
        let mut proto = guard::run(path, "cannot be read", read)?;
        let Some(graph) = &mut proto.graph else {
            return Err(refused("it has no graph".to_owned()));
        };
        adapt::adapt(graph).map_err(refused)?;
        let is_given = |name: &String| !graph.initializer.iter().any(|tensor| tensor.name == *name);
        let inputs = graph.input.iter().map(|input| input.name.clone());
        let inputs = inputs.filter(is_given).collect();
        let outputs = graph.output.iter().map(|output| output.name.clone());
        Ok(Self {
            path: path.to_owned(),
            inputs,
            outputs: outputs.collect(),
            proto,
        })
    }

    /// Names of what has to be given.
    pub fn inputs(&self) -> &[String] {
        &self.inputs
    }

    /// Names of what comes out.
    pub fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// Makes the model ready for inputs of the types and shapes of these, which replace what it declares.
    ///
    /// # Errors
    ///
    /// If these have not the names of the model's inputs, or it has an operator that cannot be run on them.
    pub fn plan(&self, like: &[(&str, &Tensor)]) -> Result<Plan, Error> {
        let like = in_order(&self.path, &self.inputs, like)?;
        let runnable = guard::run(&self.path, "cannot be run", || {
            let folder = self.path.parent().and_then(Path::to_str);
            let folder = folder.map(|folder| if folder.is_empty() { "." } else { folder });
            let mut model = reader().parse(&self.proto, folder)?.model;
            model.set_input_names(self.inputs.iter())?;
            for (index, tensor) in like.iter().enumerate() {
                let fact = InferenceFact::dt_shape(tensor.values().datum_type(), tensor.shape());
                model.set_input_fact(index, fact)?;
            }
            let model: TypedModel = model.into_optimized()?;
            model.into_runnable()
        })?;
        Ok(Plan {
            path: self.path.clone(),
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
            runnable,
        })
    }
}

impl Plan {
    /// Runs the model; the outputs are in the model's order.
    ///
    /// # Errors
    ///
    /// If the inputs are not those that the plan was made for, or an operator fails.
    pub fn run(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, Error> {
        let inputs = in_order(&self.path, &self.inputs, inputs)?;
        guard::run(&self.path, "failed when it was run", || {
            let inputs = inputs
                .iter()
                .map(|tensor| Ok(TValue::from(tensor.to_tract()?)));
            let found = self.runnable.run(inputs.collect::<TractResult<_>>()?)?;
            let outputs = self.outputs.iter().cloned().zip(&found);
            outputs
                .map(|(name, value)| Ok((name, Tensor::from_tract(value)?)))
                .collect::<TractResult<_>>()
        })
    }
}
