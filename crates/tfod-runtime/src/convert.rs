//! Tensors to rten's and back.
//!
//! rten has no truth values and no numbers of 64 bits: they are 32-bit integers there. What a model declares of its outputs says what they are.

use rten::{Value, ValueView};
use rten_tensor::Tensor as RtenTensor;
use rten_tensor::prelude::*;

use crate::cut::Given;
use crate::onnx::{Problem, dtype};
use crate::{Tensor, Values};

/// A name of a type of elements, as NumPy has it.
fn name(number: u64) -> &'static str {
    match number {
        dtype::FLOAT => "float32",
        dtype::FLOAT16 => "float16",
        dtype::UINT8 => "uint8",
        dtype::INT8 => "int8",
        dtype::INT32 => "int32",
        dtype::INT64 => "int64",
        dtype::BOOL => "bool",
        _ => "another type",
    }
}

impl Given {
    /// Says how a tensor is not what is declared of an input.
    pub(crate) fn check(&self, tensor: &Tensor) -> Result<(), Problem> {
        let given = tensor.values().type_name();
        if self.dtype != 0 && name(self.dtype) != given {
            let (input, expected) = (&self.name, name(self.dtype));
            return Err(format!(
                "its input `{input}` is of {expected}; given was {given}"
            ));
        }
        let Some(shape) = &self.shape else {
            return Ok(());
        };
        let sizes = tensor.shape();
        let fits = |(expected, size): (&Option<u64>, &usize)| {
            expected.is_none_or(|expected| expected == *size as u64)
        };
        if shape.len() == sizes.len() && shape.iter().zip(sizes).all(fits) {
            return Ok(());
        }
        let shown = shape.iter();
        let shown = shown.map(|size| size.map_or("any".to_owned(), |size| size.to_string()));
        let shown: Vec<String> = shown.collect();
        Err(format!(
            "its input `{}` has the shape [{}]; given was {sizes:?}",
            self.name,
            shown.join(", ")
        ))
    }
}

impl Tensor {
    pub(crate) fn to_rten(&self) -> Result<Value, Problem> {
        let shape = self.shape();
        Ok(match self.values() {
            Values::F32(values) => RtenTensor::from_data(shape, values.clone()).into(),
            Values::U8(values) => RtenTensor::from_data(shape, values.clone()).into(),
            Values::I32(values) => RtenTensor::from_data(shape, values.clone()).into(),
            Values::I64(values) => {
                let values = values.iter().copied().map(i32::try_from);
                let values: Result<Vec<i32>, _> = values.collect();
                let values = values.map_err(|_| "an input has whole numbers beyond 32 bits")?;
                RtenTensor::from_data(shape, values).into()
            }
            Values::Bool(values) => {
                let values: Vec<i32> = values.iter().copied().map(i32::from).collect();
                RtenTensor::from_data(shape, values).into()
            }
            Values::F64(_) => {
                return Err("an input of float64, which is not computed with here".to_owned());
            }
        })
    }

    /// What a model gives as an output.
    pub(crate) fn from_rten(value: &Value, output: &Given) -> Result<Self, Problem> {
        let values = match (value.as_view(), output.dtype) {
            (ValueView::FloatTensor(found), 0 | dtype::FLOAT | dtype::FLOAT16) => {
                Values::F32(found.to_vec())
            }
            (ValueView::Int32Tensor(found), dtype::BOOL) => {
                Values::Bool(found.iter().map(|value| *value != 0).collect())
            }
            (ValueView::Int32Tensor(found), dtype::INT64) => {
                Values::I64(found.iter().copied().map(i64::from).collect())
            }
            (ValueView::Int32Tensor(found), 0 | dtype::INT32) => Values::I32(found.to_vec()),
            (ValueView::UInt8Tensor(found), 0 | dtype::UINT8) => Values::U8(found.to_vec()),
            (ValueView::Int8Tensor(found), 0 | dtype::INT8) => {
                Values::I64(found.iter().copied().map(i64::from).collect())
            }
            (found, _) => {
                let (name, declared, kind) = (&output.name, name(output.dtype), found.dtype());
                return Err(format!(
                    "its output `{name}` is declared to be of {declared}, and is of {kind}"
                ));
            }
        };
        Self::new(value.shape().to_vec(), values).map_err(|error| error.to_string())
    }
}
