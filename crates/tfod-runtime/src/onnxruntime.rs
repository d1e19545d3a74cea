//! Models, by an ONNX Runtime that the user has: a shared library, which is loaded when a model is opened.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use ort::LoadDynamicError;
use ort::session::Session;
use ort::session::SessionInputValue;
use ort::value::{DynValue, PrimitiveTensorElementType, TensorElementType, TensorRef};
use tfod_text::Shown;

use crate::onnx::Problem;
use crate::{Error, Tensor, Values, guard};

/// A model that was read and made ready.
#[derive(Debug)]
pub(crate) struct OnnxRuntime {
    path: PathBuf,
    session: Session,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

fn said(error: impl Display) -> Problem {
    format!("ONNX Runtime: {error}")
}

/// Loads the library, unless it was loaded before.
fn load(library: &Path) -> Result<ort::environment::Environment, Problem> {
    let refused = |problem: String| format!("{}: {problem}", library.shown());
    let builder = ort::init_from(library).map_err(|error| {
        refused(match error {
            LoadDynamicError::Dlopen { error, .. } => {
                format!("cannot be loaded as the library of ONNX Runtime: {error}")
            }
            LoadDynamicError::MissingApi { .. } => {
                "is no library of ONNX Runtime: it has no `OrtGetApiBase`".to_owned()
            }
            LoadDynamicError::BadVersion { version_str, .. } => format!(
                "is ONNX Runtime {}, expected 1.{} or a later one",
                version_str.shown(),
                ort::MINOR_VERSION
            ),
            error @ LoadDynamicError::InvalidVersionString => error.to_string(),
        })
    })?;
    builder
        .with_name("tfod")
        .with_telemetry(false)
        .build()
        .map_err(|error| refused(error.to_string()))
}

impl OnnxRuntime {
    /// Reads a model, to give these of its outputs alone; all, if none are named. What it does not give is left out. As many threads compute as there are cores, if it is
    /// not said how many.
    pub(crate) fn open(
        library: &Path,
        path: &Path,
        outputs: &[String],
        threads: Option<usize>,
    ) -> Result<Self, Error> {
        let session = guard::run(path, "cannot be read", || {
            let environment = load(library)?;
            let mut builder = Session::builder(&environment).map_err(said)?;
            if let Some(threads) = threads {
                builder = builder.with_intra_threads(threads).map_err(said)?;
            }
            builder.commit_from_file(path).map_err(said)
        })?;
        let inputs = session.inputs().iter();
        let inputs = inputs.map(|input| input.name().to_owned()).collect();
        let given = session.outputs().iter().map(ort::value::Outlet::name);
        let is_wanted = |name: &&str| outputs.is_empty() || outputs.iter().any(|one| one == name);
        let outputs = given.filter(is_wanted).map(str::to_owned).collect();
        Ok(Self {
            path: path.to_owned(),
            session,
            inputs,
            outputs,
        })
    }

    pub(crate) fn inputs(&self) -> &[String] {
        &self.inputs
    }

    pub(crate) fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// Runs the model on inputs of these names.
    pub(crate) fn run(
        &mut self,
        inputs: &[(&str, &Tensor)],
    ) -> Result<Vec<(String, Tensor)>, Error> {
        let (session, outputs) = (&mut self.session, &self.outputs);
        guard::run(&self.path, "failed when it was run", || {
            let inputs = inputs
                .iter()
                .map(|(name, tensor)| Ok((*name, given(tensor)?)));
            let inputs = inputs.collect::<Result<Vec<_>, Problem>>()?;
            let found = session.run(inputs).map_err(said)?;
            let outputs = outputs.iter().map(|name| {
                let value = found.get(name);
                let value = value.ok_or_else(|| format!("nothing gave `{name}`"))?;
                let tensor =
                    taken(value).map_err(|problem| format!("output `{name}`: {problem}"))?;
                Ok((name.clone(), tensor))
            });
            outputs.collect::<Result<_, Problem>>()
        })
    }
}

/// A tensor that ONNX Runtime reads where it is.
fn given(tensor: &Tensor) -> Result<SessionInputValue<'_>, Problem> {
    fn of<'a, T: PrimitiveTensorElementType + Clone + std::fmt::Debug + 'static>(
        shape: &[usize],
        values: &'a [T],
    ) -> Result<SessionInputValue<'a>, Problem> {
        let view = TensorRef::from_array_view((shape.to_vec(), values)).map_err(said)?;
        Ok(view.into())
    }
    let shape = tensor.shape();
    match tensor.values() {
        Values::F32(values) => of(shape, values),
        Values::F64(values) => of(shape, values),
        Values::U8(values) => of(shape, values),
        Values::I64(values) => of(shape, values),
        Values::I32(values) => of(shape, values),
        Values::Bool(values) => of(shape, values),
    }
}

/// What ONNX Runtime gives, copied.
fn taken(value: &DynValue) -> Result<Tensor, Problem> {
    fn of<T: PrimitiveTensorElementType + Copy, U>(
        value: &DynValue,
        values: impl Fn(Vec<U>) -> Values,
        convert: impl Fn(T) -> U,
    ) -> Result<Tensor, Problem> {
        let (shape, found) = value.try_extract_tensor::<T>().map_err(said)?;
        let shape = shape.iter().map(|size| usize::try_from(*size));
        let shape = shape.collect::<Result<Vec<_>, _>>().map_err(said)?;
        let found = found.iter().map(|value| convert(*value)).collect();
        Tensor::new(shape, values(found)).map_err(|error| error.to_string())
    }
    fn same<T>(value: T) -> T {
        value
    }
    let kind = value.dtype().tensor_type();
    match kind.ok_or("it is no tensor")? {
        TensorElementType::Float32 => of(value, Values::F32, same),
        TensorElementType::Float64 => of(value, Values::F64, same),
        TensorElementType::Uint8 => of(value, Values::U8, same),
        TensorElementType::Int64 => of(value, Values::I64, same),
        TensorElementType::Int32 => of(value, Values::I32, same),
        TensorElementType::Bool => of(value, Values::Bool, same),
        TensorElementType::Int8 => of(value, Values::I64, |value: i8| value.into()),
        TensorElementType::Int16 => of(value, Values::I64, |value: i16| value.into()),
        TensorElementType::Uint16 => of(value, Values::I64, |value: u16| value.into()),
        TensorElementType::Uint32 => of(value, Values::I64, |value: u32| value.into()),
        other => Err(format!("values of type {other} are not read here")),
    }
}
