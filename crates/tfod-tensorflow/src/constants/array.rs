//! Arrays of numbers, and how TensorFlow's messages hold them.

use tfod_checkpoint::DType;

use crate::messages::tensor;

/// The elements of a tensor as a file has them.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The type of the elements, which has a size.
    pub dtype: DType,
    /// Its dimensions, outermost first.
    pub shape: Vec<usize>,
    /// The first elements, little-endian; all others are equal to the last of these.
    pub bytes: Vec<u8>,
}

impl Decoded {
    /// Decodes a `TensorProto`; `None` if it is damaged, or of a type without numbers.
    pub(crate) fn of(message: &[u8]) -> Option<Self> {
        let dtype = DType::from_proto(tensor::data_type(message)?)?;
        let size = dtype.size()?;
        let dims = tensor::shape(message).ok()??;
        let shape: Vec<usize> = dims
            .into_iter()
            .map(|size| usize::try_from(size).ok())
            .collect::<Option<_>>()?;
        let count = num_elements(&shape)?;
        let content = tensor::content(message);
        if !content.is_empty() {
            let is_whole = Some(content.len()) == count.checked_mul(size);
            return is_whole.then(|| Self {
                dtype,
                shape,
                bytes: content.to_vec(),
            });
        }
        let mut bytes = tensor::listed(message, dtype)?;
        if bytes.is_empty() && count > 0 {
            bytes = vec![0; size];
        }
        (bytes.len() / size <= count).then_some(Self {
            dtype,
            shape,
            bytes,
        })
    }
}

/// The number of elements of a shape; `None` if no computer has so many.
pub(crate) fn num_elements(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |n, dim| n.checked_mul(*dim))
}

/// The elements of an array, row-major.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Data {
    /// `float32`.
    Float(Vec<f32>),
    /// `int32`.
    Int32(Vec<i32>),
    /// `int64`.
    Int64(Vec<i64>),
    /// `bool`.
    Bool(Vec<bool>),
}

/// A dense array.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Data,
}

impl Data {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Float(all) => all.len(),
            Self::Int32(all) => all.len(),
            Self::Int64(all) => all.len(),
            Self::Bool(all) => all.len(),
        }
    }

    pub(crate) fn dtype(&self) -> DType {
        match self {
            Self::Float(_) => DType::Float32,
            Self::Int32(_) => DType::Int32,
            Self::Int64(_) => DType::Int64,
            Self::Bool(_) => DType::Bool,
        }
    }

    /// The elements at these places, in that order.
    pub(crate) fn take(&self, places: impl Iterator<Item = usize>) -> Option<Self> {
        fn of<T: Copy>(all: &[T], places: impl Iterator<Item = usize>) -> Option<Vec<T>> {
            places.map(|place| all.get(place).copied()).collect()
        }
        Some(match self {
            Self::Float(all) => Self::Float(of(all, places)?),
            Self::Int32(all) => Self::Int32(of(all, places)?),
            Self::Int64(all) => Self::Int64(of(all, places)?),
            Self::Bool(all) => Self::Bool(of(all, places)?),
        })
    }

    /// Its elements, then those of others of the same type.
    pub(crate) fn joined<'a>(mut self, others: impl Iterator<Item = &'a Self>) -> Option<Self> {
        for other in others {
            match (&mut self, other) {
                (Self::Float(all), Self::Float(more)) => all.extend(more),
                (Self::Int32(all), Self::Int32(more)) => all.extend(more),
                (Self::Int64(all), Self::Int64(more)) => all.extend(more),
                (Self::Bool(all), Self::Bool(more)) => all.extend(more),
                _ => return None,
            }
        }
        Some(self)
    }

    /// Integers of a type from integers of any size.
    pub(crate) fn integers(dtype: DType, numbers: impl Iterator<Item = i64>) -> Option<Self> {
        match dtype {
            DType::Int32 => {
                let numbers = numbers.map(|n| i32::try_from(n).ok());
                Some(Self::Int32(numbers.collect::<Option<_>>()?))
            }
            DType::Int64 => Some(Self::Int64(numbers.collect())),
            _ => None,
        }
    }
}

impl Array {
    /// An array, if the elements fill the shape, and it has no more dimensions than tensors have.
    pub(crate) fn new(shape: Vec<usize>, data: Data) -> Option<Self> {
        let fits = num_elements(&shape)? == data.len() && shape.len() <= tensor::MAX_RANK;
        fits.then_some(Self { shape, data })
    }

    /// What a file has, written out; `None` if it is of a type that is not computed with, or has more than `most` elements.
    pub(crate) fn of(decoded: &Decoded, most: usize) -> Option<Self> {
        let count = num_elements(&decoded.shape).filter(|count| *count <= most)?;
        macro_rules! numbers {
            ($type:ty) => {{
                let chunks = decoded.bytes.chunks_exact(size_of::<$type>());
                let numbers = chunks.map(|bytes| bytes.try_into().ok().map(<$type>::from_le_bytes));
                let mut numbers = numbers.collect::<Option<Vec<$type>>>()?;
                if let Some(last) = numbers.last().copied() {
                    numbers.resize(count, last);
                }
                numbers
            }};
        }
        let data = match decoded.dtype {
            DType::Float32 => Data::Float(numbers!(f32)),
            DType::Int32 => Data::Int32(numbers!(i32)),
            DType::Int64 => Data::Int64(numbers!(i64)),
            DType::Bool => Data::Bool(numbers!(u8).into_iter().map(|n| n != 0).collect()),
            _ => return None,
        };
        Self::new(decoded.shape.clone(), data)
    }

    pub(crate) fn decoded(&self) -> Decoded {
        let bytes = match &self.data {
            Data::Float(all) => all.iter().flat_map(|n| n.to_le_bytes()).collect(),
            Data::Int32(all) => all.iter().flat_map(|n| n.to_le_bytes()).collect(),
            Data::Int64(all) => all.iter().flat_map(|n| n.to_le_bytes()).collect(),
            Data::Bool(all) => all.iter().map(|b| u8::from(*b)).collect(),
        };
        Decoded {
            dtype: self.data.dtype(),
            shape: self.shape.clone(),
            bytes,
        }
    }

    /// Its elements, if they are integers.
    pub(crate) fn integers(&self) -> Option<Vec<i64>> {
        match &self.data {
            Data::Int32(all) => Some(all.iter().map(|n| i64::from(*n)).collect()),
            Data::Int64(all) => Some(all.clone()),
            Data::Float(_) | Data::Bool(_) => None,
        }
    }

    /// Its elements, if they are 32-bit floats.
    pub(crate) fn floats(&self) -> Option<&[f32]> {
        match &self.data {
            Data::Float(all) => Some(all),
            _ => None,
        }
    }

    /// Its elements as sizes of dimensions.
    pub(crate) fn sizes(&self) -> Option<Vec<usize>> {
        let sizes = self.integers()?.into_iter();
        sizes.map(|size| usize::try_from(size).ok()).collect()
    }

    /// Its only element, an integer.
    pub(crate) fn integer(&self) -> Option<i64> {
        match self.integers()?.as_slice() {
            [one] => Some(*one),
            _ => None,
        }
    }
}
