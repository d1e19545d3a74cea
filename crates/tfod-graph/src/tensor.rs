//! Element types, shapes, and tensors that are held as bytes (dense, row-major, little-endian).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::dim::Dim;

/// The element types that detection graphs use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// 32-bit IEEE float.
    F32,
    /// 32-bit signed integer.
    I32,
    /// 64-bit signed integer.
    I64,
    /// 8-bit unsigned integer.
    U8,
    /// Boolean, one byte an element.
    Bool,
    /// A string of bytes, each of its own length. Only values at run time are of this type: no tensor in memory is.
    String,
}

impl DType {
    /// Its name in NumPy and TensorFlow.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::U8 => "uint8",
            Self::Bool => "bool",
            Self::String => "string",
        }
    }

    /// Bytes of one element; `None` for strings.
    pub fn size(self) -> Option<usize> {
        match self {
            Self::F32 | Self::I32 => Some(4),
            Self::I64 => Some(8),
            Self::U8 | Self::Bool => Some(1),
            Self::String => None,
        }
    }

    /// Whether arithmetic on it is floating-point.
    pub fn is_float(self) -> bool {
        self == Self::F32
    }

    /// Whether it is a number (everything but [`DType::Bool`] and [`DType::String`]).
    pub fn is_number(self) -> bool {
        !matches!(self, Self::Bool | Self::String)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::U8 => "u8",
            Self::Bool => "bool",
            Self::String => "string",
        })
    }
}

/// The dimensions of a tensor, outermost first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Shape(pub Vec<Dim>);

impl Shape {
    /// The shape of a scalar: no dimensions.
    pub fn scalar() -> Self {
        Self(Vec::new())
    }

    /// A shape of known sizes.
    pub fn known(dims: &[u64]) -> Self {
        Self(dims.iter().copied().map(Dim::Known).collect())
    }

    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The dimensions, outermost first.
    pub fn dims(&self) -> &[Dim] {
        &self.0
    }

    /// All sizes, if all are known.
    pub fn sizes(&self) -> Option<Vec<u64>> {
        self.0.iter().map(Dim::known).collect()
    }

    /// The number of elements, if all sizes are known and the product fits.
    pub fn elements(&self) -> Option<u64> {
        self.0
            .iter()
            .try_fold(1u64, |product, dim| product.checked_mul(dim.known()?))
    }

    /// The shape without its first dimension.
    #[must_use]
    pub fn without_leading(&self) -> Self {
        Self(self.0.iter().skip(1).cloned().collect())
    }

    /// The shape with one more dimension in front.
    #[must_use]
    pub fn with_leading(&self, dim: Dim) -> Self {
        Self(std::iter::once(dim).chain(self.0.iter().cloned()).collect())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, dim) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{dim}")?;
        }
        f.write_str("]")
    }
}

/// A tensor that the graph owns. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<u64>,
    data: Arc<[u8]>,
}

impl Tensor {
    /// A tensor of `f32`; `None` when the number of values is not the product of `shape`.
    pub fn f32(shape: &[u64], values: &[f32]) -> Option<Self> {
        let data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::from_bytes(DType::F32, shape, data)
    }

    /// A tensor of `i32`; `None` when the number of values is not the product of `shape`.
    pub fn i32(shape: &[u64], values: &[i32]) -> Option<Self> {
        let data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::from_bytes(DType::I32, shape, data)
    }

    /// A tensor from its bytes; `None` when their number does not fit `dtype` and `shape`.
    pub fn from_bytes(dtype: DType, shape: &[u64], data: Vec<u8>) -> Option<Self> {
        let elements = shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d))?;
        let bytes = elements.checked_mul(dtype.size()? as u64)?;
        (bytes == data.len() as u64).then(|| Self {
            dtype,
            shape: shape.to_vec(),
            data: data.into(),
        })
    }

    /// A scalar `f32`.
    pub fn scalar_f32(value: f32) -> Self {
        Self {
            dtype: DType::F32,
            shape: Vec::new(),
            data: Arc::from(value.to_le_bytes()),
        }
    }

    /// A scalar `i32`.
    pub fn scalar_i32(value: i32) -> Self {
        Self {
            dtype: DType::I32,
            shape: Vec::new(),
            data: Arc::from(value.to_le_bytes()),
        }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The sizes, outermost first.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// The elements, dense, row-major, little-endian.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The elements as `f32`, if that is what they are.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        (self.dtype == DType::F32).then(|| {
            self.data
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect()
        })
    }

    /// The elements as `i32`, if that is what they are.
    pub fn to_i32(&self) -> Option<Vec<i32>> {
        (self.dtype == DType::I32).then(|| {
            self.data
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| i32::from_le_bytes(*b))
                .collect()
        })
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Tensor({}{:?}, {} bytes)",
            self.dtype,
            self.shape,
            self.data.len()
        )
    }
}

/// The bytes of a parameter: borrowed from a mapped checkpoint, or computed.
#[derive(Clone, Debug)]
pub struct TensorView<'a> {
    /// The element type.
    pub dtype: DType,
    /// The sizes, outermost first.
    pub shape: Vec<u64>,
    /// The elements, dense, row-major, little-endian.
    pub data: Cow<'a, [u8]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_has_as_many_bytes_as_its_shape_says() {
        assert!(Tensor::f32(&[2, 3], &[0.0; 6]).is_some());
        assert!(Tensor::f32(&[2, 3], &[0.0; 5]).is_none());
        assert!(Tensor::from_bytes(DType::F32, &[u64::MAX, 2], vec![0; 8]).is_none());
        assert!(Tensor::from_bytes(DType::String, &[0], Vec::new()).is_none());
        assert_eq!(
            Tensor::i32(&[2], &[-1, 7]).and_then(|t| t.to_i32()),
            Some(vec![-1, 7])
        );
    }

    #[test]
    fn shapes_print_numbers_and_symbols() {
        let shape = Shape(vec![Dim::symbol("batch"), 3.into()]);
        assert_eq!(shape.to_string(), "[batch, 3]");
        assert_eq!(shape.elements(), None);
        assert_eq!(Shape::known(&[2, 3]).elements(), Some(6));
        assert_eq!(Shape::known(&[u64::MAX, 3]).elements(), None);
    }
}
