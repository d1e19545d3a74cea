//! What goes into a model and comes out of it.

use std::io::{self, Read, Write};

use crate::Error;

/// Numbers of one type and their shape, in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    values: Values,
}

/// Numbers of one type.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Values {
    /// 32-bit floats. 16-bit floats come out as these.
    F32(Vec<f32>),
    /// 64-bit floats.
    F64(Vec<f64>),
    /// Unsigned bytes.
    U8(Vec<u8>),
    /// 64-bit integers. Smaller ones but bytes come out as these.
    I64(Vec<i64>),
    /// 32-bit integers.
    I32(Vec<i32>),
    /// Truth values.
    Bool(Vec<bool>),
}

impl Values {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::U8(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::I32(values) => values.len(),
            Self::Bool(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type's name, as NumPy has it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::F32(_) => "float32",
            Self::F64(_) => "float64",
            Self::U8(_) => "uint8",
            Self::I64(_) => "int64",
            Self::I32(_) => "int32",
            Self::Bool(_) => "bool",
        }
    }

    /// How many bytes one takes.
    pub fn element_bytes(&self) -> usize {
        match self {
            Self::U8(_) | Self::Bool(_) => 1,
            Self::F32(_) | Self::I32(_) => 4,
            Self::F64(_) | Self::I64(_) => 8,
        }
    }

    /// How many bytes all take.
    pub fn bytes(&self) -> usize {
        self.len() * self.element_bytes()
    }

    /// Writes all, little-endian; a truth value is a byte, 0 or 1.
    ///
    /// # Errors
    ///
    /// If they cannot be written.
    pub fn write_le(&self, to: &mut impl Write) -> io::Result<()> {
        match self {
            Self::F32(values) => write(to, values, f32::to_le_bytes),
            Self::F64(values) => write(to, values, f64::to_le_bytes),
            Self::U8(values) => to.write_all(values),
            Self::I64(values) => write(to, values, i64::to_le_bytes),
            Self::I32(values) => write(to, values, i32::to_le_bytes),
            Self::Bool(values) => write(to, values, |value| [u8::from(value)]),
        }
    }

    /// Reads so many of a type, named as by [`Self::type_name`], as [`Self::write_le`] writes them. Memory is taken as they come.
    ///
    /// # Errors
    ///
    /// If there is no such type, or there are not as many.
    pub fn read_le(type_name: &str, count: usize, from: &mut impl Read) -> io::Result<Self> {
        Ok(match type_name {
            "float32" => Self::F32(read(from, count, f32::from_le_bytes)?),
            "float64" => Self::F64(read(from, count, f64::from_le_bytes)?),
            "uint8" => Self::U8(read(from, count, |[byte]| byte)?),
            "int64" => Self::I64(read(from, count, i64::from_le_bytes)?),
            "int32" => Self::I32(read(from, count, i32::from_le_bytes)?),
            "bool" => Self::Bool(read(from, count, |[byte]| byte != 0)?),
            other => {
                let problem = format!("there are no values of type `{other}`");
                return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
            }
        })
    }

    /// A number as a float, which is exact but for integers beyond 2^53; true is 1.
    #[expect(
        clippy::cast_precision_loss,
        reason = "said above, and beside the point for detections"
    )]
    pub fn get(&self, index: usize) -> Option<f64> {
        match self {
            Self::F32(values) => values.get(index).copied().map(f64::from),
            Self::F64(values) => values.get(index).copied(),
            Self::U8(values) => values.get(index).copied().map(f64::from),
            Self::I64(values) => values.get(index).map(|value| *value as f64),
            Self::I32(values) => values.get(index).copied().map(f64::from),
            Self::Bool(values) => values.get(index).copied().map(f64::from),
        }
    }

    fn first(&self, count: usize) -> Self {
        fn of<T: Copy>(values: &[T], count: usize) -> Vec<T> {
            values.iter().take(count).copied().collect()
        }
        match self {
            Self::F32(values) => Self::F32(of(values, count)),
            Self::F64(values) => Self::F64(of(values, count)),
            Self::U8(values) => Self::U8(of(values, count)),
            Self::I64(values) => Self::I64(of(values, count)),
            Self::I32(values) => Self::I32(of(values, count)),
            Self::Bool(values) => Self::Bool(of(values, count)),
        }
    }
}

/// How many are converted at once.
const CHUNK: usize = 1 << 14;

fn write<T: Copy, const N: usize>(
    to: &mut impl Write,
    values: &[T],
    bytes: impl Fn(T) -> [u8; N],
) -> io::Result<()> {
    values.chunks(CHUNK).try_for_each(|chunk| {
        let chunk: Vec<u8> = chunk.iter().flat_map(|value| bytes(*value)).collect();
        to.write_all(&chunk)
    })
}

fn read<T, const N: usize>(
    from: &mut impl Read,
    count: usize,
    value: impl Fn([u8; N]) -> T,
) -> io::Result<Vec<T>> {
    let (mut values, mut buffer) = (Vec::new(), vec![[0; N]; count.min(CHUNK)]);
    while values.len() < count {
        buffer.truncate(count - values.len());
        from.read_exact(buffer.as_flattened_mut())?;
        values.extend(buffer.iter().map(|bytes| value(*bytes)));
    }
    Ok(values)
}

impl Tensor {
    /// Numbers with a shape.
    ///
    /// # Errors
    ///
    /// If there are not as many as the shape says.
    pub fn new(shape: Vec<usize>, values: Values) -> Result<Self, Error> {
        let wanted = shape
            .iter()
            .try_fold(1usize, |all, size| all.checked_mul(*size));
        if wanted == Some(values.len()) {
            return Ok(Self { shape, values });
        }
        Err(Error::Shape {
            shape,
            elements: values.len(),
        })
    }

    /// The size of each dimension.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The numbers.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// The first slice of the outermost dimension: of a batch, what belongs to the first image. `None` if there is none.
    #[must_use]
    pub fn first(&self) -> Option<Self> {
        let (count, rest) = self.shape.split_first()?;
        let each = self.values.len().checked_div(*count)?;
        Some(Self {
            shape: [&[1], rest].concat(),
            values: self.values.first(each),
        })
    }
}
