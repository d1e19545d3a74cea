//! Tensors to tract's and back.

use tract_onnx::prelude::{DatumType, Tensor as TractTensor, TractResult};
use tract_onnx::tract_core::internal::anyhow;

use crate::{Tensor, Values};

impl Values {
    pub(crate) fn datum_type(&self) -> DatumType {
        match self {
            Self::F32(_) => DatumType::F32,
            Self::F64(_) => DatumType::F64,
            Self::U8(_) => DatumType::U8,
            Self::I64(_) => DatumType::I64,
            Self::I32(_) => DatumType::I32,
            Self::Bool(_) => DatumType::Bool,
        }
    }
}

impl Tensor {
    pub(crate) fn to_tract(&self) -> TractResult<TractTensor> {
        match self.values() {
            Values::F32(values) => TractTensor::from_shape(self.shape(), values),
            Values::F64(values) => TractTensor::from_shape(self.shape(), values),
            Values::U8(values) => TractTensor::from_shape(self.shape(), values),
            Values::I64(values) => TractTensor::from_shape(self.shape(), values),
            Values::I32(values) => TractTensor::from_shape(self.shape(), values),
            Values::Bool(values) => TractTensor::from_shape(self.shape(), values),
        }
    }

    pub(crate) fn from_tract(tensor: &TractTensor) -> TractResult<Self> {
        macro_rules! numbers {
            ($tensor:expr, $type:ty) => {
                $tensor
                    .to_plain_array_view::<$type>()?
                    .iter()
                    .copied()
                    .collect()
            };
        }
        let values = match tensor.datum_type() {
            DatumType::F32 => Values::F32(numbers!(tensor, f32)),
            DatumType::F16 => Values::F32(numbers!(tensor.cast_to::<f32>()?, f32)),
            DatumType::F64 => Values::F64(numbers!(tensor, f64)),
            DatumType::U8 => Values::U8(numbers!(tensor, u8)),
            DatumType::I32 => Values::I32(numbers!(tensor, i32)),
            DatumType::Bool => Values::Bool(numbers!(tensor, bool)),
            DatumType::String => {
                return Err(anyhow!("an output of strings, which cannot be compared"));
            }
            _ => Values::I64(numbers!(tensor.cast_to::<i64>()?, i64)),
        };
        Self::new(tensor.shape().to_vec(), values).map_err(Into::into)
    }
}
