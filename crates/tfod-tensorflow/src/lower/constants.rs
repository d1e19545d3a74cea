//! Tensors as protobuf messages, for `Const` nodes.

use tfod_graph::{DType, Shape, Tensor};
use tfod_proto::{DataType, TensorProto, TensorShapeProto, tensor_shape_proto};

use super::attrs::{data_type, shape_proto};

/// A numeric tensor: the elements are kept as they are in memory, but a single one as a number, as TensorFlow does. Importers rely on that: OpenCV's reads
/// the axis of a concatenation from nowhere else.
pub(crate) fn numeric(dtype: DType, shape: &[u64], data: &[u8]) -> TensorProto {
    let mut tensor = TensorProto {
        dtype: data_type(dtype).into(),
        tensor_shape: Some(shape_proto(&Shape::known(shape))),
        ..TensorProto::default()
    };
    match (dtype, data) {
        (DType::F32, &[a, b, c, d]) => tensor.float_val = vec![f32::from_le_bytes([a, b, c, d])],
        (DType::I32, &[a, b, c, d]) => tensor.int_val = vec![i32::from_le_bytes([a, b, c, d])],
        (DType::U8, &[byte]) => tensor.int_val = vec![byte.into()],
        (DType::Bool, &[byte]) => tensor.bool_val = vec![byte != 0],
        (DType::I64, &[a, b, c, d, e, f, g, h]) => {
            tensor.int64_val = vec![i64::from_le_bytes([a, b, c, d, e, f, g, h])];
        }
        _ => tensor.tensor_content = data.to_vec(),
    }
    tensor
}

/// A tensor of the graph.
pub(crate) fn tensor(tensor: &Tensor) -> TensorProto {
    numeric(tensor.dtype(), tensor.shape(), tensor.data())
}

fn strings(shape: TensorShapeProto, string_val: Vec<Vec<u8>>) -> TensorProto {
    TensorProto {
        dtype: DataType::DtString.into(),
        tensor_shape: Some(shape),
        string_val,
        ..TensorProto::default()
    }
}

/// A scalar string.
pub(crate) fn string_scalar(value: Vec<u8>) -> TensorProto {
    strings(TensorShapeProto::default(), vec![value])
}

/// A vector of strings.
pub(crate) fn string_vector<'a>(values: impl IntoIterator<Item = &'a str>) -> TensorProto {
    let values: Vec<Vec<u8>> = values.into_iter().map(|s| s.as_bytes().to_vec()).collect();
    let dim = tensor_shape_proto::Dim {
        // The length of a list in memory is within the signed range.
        size: i64::try_from(values.len()).unwrap_or(i64::MAX),
        name: String::new(),
    };
    strings(
        TensorShapeProto {
            dim: vec![dim],
            unknown_rank: false,
        },
        values,
    )
}
