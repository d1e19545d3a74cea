//! The values of constants: where they are, and how large they will be in a message. They are read when they are written.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use tfod_checkpoint::{Bundle, DType, Entry, ShardState, TensorProblem, shard_path};

use crate::messages::tensor::{self, CONTENT, STRINGS};

use super::data_type::{BOOL, FLOAT, HALF, INT32, type_name};
use super::error::FreezeError;
use super::wire::{
    Malformed, attr, bytes_field_len, put_bytes, put_bytes_header, put_varint_field, value,
};

/// Data files of more bytes are not looked into for what they are.
const SMALL: u64 = 1 << 10;

/// A variable that a frozen graph has as a constant.
#[derive(Clone, Debug)]
pub(crate) struct Variable {
    /// Its name for people.
    pub(crate) name: String,
    /// The key of its value in the bundle.
    pub(crate) key: String,
    /// The part of that tensor that it is: offsets and lengths in each dimension.
    pub(crate) part: Option<Vec<(usize, usize)>>,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
}

impl Variable {
    pub(crate) fn data_type(&self) -> i32 {
        tfod_proto::DataType::from(self.dtype).into()
    }
}

/// The value of a constant.
#[derive(Clone, Debug)]
pub(crate) enum Content<'a> {
    /// An encoded `TensorProto`.
    Encoded(Cow<'a, [u8]>),
    /// The value of a variable, an index into the frozen graph's variables.
    Variable {
        /// Which.
        index: usize,
        /// Its element type, a number of `DataType`.
        data_type: i32,
    },
    /// A variable of 32-bit floats whose last dimensions are multiplied by factors, again and again in turn.
    Scaled {
        /// Which variable.
        index: usize,
        /// As many as the last dimension has, or the last two together.
        factors: Arc<[f32]>,
    },
    /// 32-bit floats, rounded to 16 bits.
    Half(Box<Content<'a>>),
}

impl Content<'_> {
    pub(crate) fn data_type(&self) -> i32 {
        match self {
            Content::Encoded(tensor) => tensor::data_type(tensor).unwrap_or(0),
            Content::Variable { data_type, .. } => *data_type,
            Content::Scaled { .. } => FLOAT,
            Content::Half(_) => HALF,
        }
    }

    /// How many dimensions it has, if that is known without its variable.
    pub(crate) fn rank(&self) -> Option<usize> {
        match self {
            Content::Encoded(tensor) => Some(tensor::shape(tensor).ok()??.len()),
            Content::Half(content) => content.rank(),
            Content::Variable { .. } | Content::Scaled { .. } => None,
        }
    }

    /// Checks that an encoded tensor is of the type declared and has no more elements than its shape says.
    pub(crate) fn validate(&self, declared: Option<i32>) -> Result<(), String> {
        let Content::Encoded(tensor) = self else {
            return Ok(());
        };
        let found = self.data_type();
        let Some(dtype) = DType::from_proto(found) else {
            return Err(format!(
                "the constant is of type {found}, which TensorFlow does not have"
            ));
        };
        if declared.is_some_and(|declared| declared != found) {
            return Err(format!(
                "the constant is declared {}, and is {dtype}",
                type_name(declared.unwrap_or(0))
            ));
        }
        let values =
            tensor::num_listed(tensor).ok_or("the constant's value is no tensor message")?;
        let shape = tensor::shape(tensor).map_err(Malformed::problem)?;
        let shape = shape.ok_or("the constant's shape is not known")?;
        let count = shape.iter().try_fold(1u64, |count, &size| {
            count.checked_mul(u64::try_from(size).ok()?)
        });
        let size = dtype.size().unwrap_or(1) as u64;
        let bytes = count
            .and_then(|count| count.checked_mul(size))
            .filter(|&bytes| bytes <= i64::MAX.cast_unsigned());
        let Some(bytes) = bytes else {
            return Err(format!(
                "the constant has the shape {shape:?}, which no tensor has"
            ));
        };
        let content = tensor::content(tensor).len() as u64;
        if content != 0 && content != bytes && dtype.size().is_some() {
            return Err(format!(
                "the constant has {content} bytes, and its shape {shape:?} needs {bytes}"
            ));
        }
        // Real and imaginary parts are separate values.
        let most = if matches!(dtype, DType::Complex64 | DType::Complex128) {
            2
        } else {
            1
        } * count.unwrap_or(0);
        if values > most {
            return Err(format!(
                "the constant has {values} values, and its shape {shape:?} only {most}"
            ));
        }
        Ok(())
    }

    /// A scalar `int32`.
    pub(crate) fn int32(number: i32) -> Self {
        const INT_VAL: u32 = 7;
        let mut tensor = header(INT32, &[]);
        put_varint_field(&mut tensor, INT_VAL, i64::from(number).cast_unsigned());
        Content::Encoded(tensor.into())
    }

    /// A scalar `bool`.
    pub(crate) fn bool(value: bool) -> Self {
        const BOOL_VAL: u32 = 11;
        let mut tensor = header(BOOL, &[]);
        put_varint_field(&mut tensor, BOOL_VAL, value.into());
        Content::Encoded(tensor.into())
    }

    /// A numeric tensor from its elements, little-endian.
    pub(crate) fn numeric(data_type: i32, shape: &[usize], bytes: &[u8]) -> Self {
        let mut tensor = header(data_type, shape);
        put_bytes(&mut tensor, CONTENT, bytes);
        Content::Encoded(tensor.into())
    }
}

/// The beginning of a `TensorProto`: its element type and shape.
pub(crate) fn header(data_type: i32, shape: &[usize]) -> Vec<u8> {
    let mut tensor = Vec::new();
    put_varint_field(&mut tensor, 1, i64::from(data_type).cast_unsigned());
    put_bytes(&mut tensor, 2, &encoded_shape(shape));
    tensor
}

/// A `TensorShapeProto` of known dimensions.
pub(crate) fn encoded_shape(shape: &[usize]) -> Vec<u8> {
    let mut out = Vec::new();
    for &size in shape {
        let mut dim = Vec::new();
        // Proto3 leaves zeros out.
        if size > 0 {
            put_varint_field(&mut dim, 1, size as u64);
        }
        put_bytes(&mut out, 2, &dim);
    }
    out
}

/// The attribute `value` of a `Const` node as content.
pub(crate) fn from_attr(attr_value: &[u8]) -> Option<Content<'_>> {
    Some(Content::Encoded(attr::tensor(attr_value)?.into()))
}

/// The attribute `dtype`.
pub(crate) fn dtype_attr(data_type: i32) -> Cow<'static, [u8]> {
    value::data_type(data_type)
}

/// Where the values of variables come from.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) variables: Vec<Variable>,
    pub(crate) bundle: Option<Bundle>,
}

/// What a chunk of a tensor's bytes is handed to.
pub(crate) type Sink<'s> = &'s mut dyn FnMut(&[u8]) -> io::Result<()>;

impl Store {
    fn source(&self, index: usize) -> Result<(&Variable, &Bundle, &Entry), FreezeError> {
        let variable = &self.variables[index];
        let bundle = self
            .bundle
            .as_ref()
            .ok_or_else(|| io::Error::other("variables without a bundle"))?;
        Ok((variable, bundle, bundle.entry(&variable.key)?))
    }

    /// The key of a variable's value in the bundle.
    pub(crate) fn key(&self, index: usize) -> Option<&str> {
        self.variables.get(index).map(|variable| &*variable.key)
    }

    /// The shape of a constant.
    pub(crate) fn shape(&self, content: &Content<'_>) -> Vec<usize> {
        match content {
            Content::Variable { index, .. } | Content::Scaled { index, .. } => {
                self.variables[*index].shape.clone()
            }
            Content::Encoded(tensor) => {
                let shape = encoded_tensor_shape(tensor);
                shape
                    .iter()
                    .map(|&size| usize::try_from(size).unwrap_or(0))
                    .collect()
            }
            Content::Half(of) => self.shape(of),
        }
    }

    /// The size of a constant's `TensorProto`.
    pub(crate) fn tensor_len(&self, content: &Content<'_>) -> Result<u64, FreezeError> {
        match content {
            Content::Encoded(tensor) => Ok(tensor.len() as u64),
            Content::Variable { index, .. } => {
                let (variable, bundle, _) = self.source(*index)?;
                let header = header(variable.data_type(), &variable.shape).len() as u64;
                if variable.dtype == DType::String {
                    let strings = strings(variable, bundle)?;
                    return Ok(header
                        + strings
                            .iter()
                            .map(|string| bytes_field_len(string.len() as u64))
                            .sum::<u64>());
                }
                Ok(header + bytes_field_len(num_bytes(variable)))
            }
            Content::Scaled { .. } | Content::Half(_) => {
                let shape = self.shape(content);
                let elements: u64 = shape.iter().map(|&size| size as u64).product();
                let header = header(content.data_type(), &shape).len() as u64;
                Ok(header + bytes_field_len(elements * element_size(content.data_type())))
            }
        }
    }

    /// Checks what can be checked of a constant before it is written: that its bytes are there.
    pub(crate) fn check(&self, content: &Content<'_>) -> Result<(), FreezeError> {
        let index = match content {
            Content::Variable { index, .. } | Content::Scaled { index, .. } => *index,
            Content::Half(of) => return self.check(of),
            Content::Encoded(_) => return Ok(()),
        };
        let (variable, bundle, entry) = self.source(index)?;
        if variable.dtype == DType::String || entry.is_partitioned() {
            return Ok(());
        }
        let (_, found) = open(bundle, entry)?;
        let path = shard_path(bundle.prefix(), entry.shard(), bundle.num_shards());
        if found <= SMALL && is_lfs_pointer(bundle, &path) {
            return Err(tfod_checkpoint::Error::LfsPointer { path }.into());
        }
        if entry.range().end as u64 > found {
            return Err(tensor_error(
                bundle,
                entry,
                TensorProblem::Outside(usize::try_from(found).unwrap_or(usize::MAX)),
            ));
        }
        Ok(())
    }

    /// Checks, when all has been written, that no file that was read in a map has lost bytes under way.
    pub(crate) fn check_lengths(&self) -> Result<(), FreezeError> {
        let bundle = self.bundle.as_ref();
        Ok(bundle.map_or(Ok(()), Bundle::check_lengths)?)
    }

    /// Writes a constant's `TensorProto`.
    pub(crate) fn write_tensor(
        &self,
        content: &Content<'_>,
        out: &mut impl Write,
    ) -> Result<(), FreezeError> {
        match content {
            Content::Encoded(tensor) => out.write_all(tensor)?,
            Content::Variable { index, .. } => {
                let (variable, bundle, _) = self.source(*index)?;
                let mut head = header(variable.data_type(), &variable.shape);
                if variable.dtype == DType::String {
                    for string in strings(variable, bundle)? {
                        put_bytes(&mut head, STRINGS, string);
                    }
                    out.write_all(&head)?;
                } else {
                    put_bytes_header(&mut head, CONTENT, num_bytes(variable));
                    out.write_all(&head)?;
                    self.stream_variable(*index, &mut |chunk| out.write_all(chunk))?;
                }
            }
            Content::Scaled { .. } | Content::Half(_) => {
                let shape = self.shape(content);
                let elements: u64 = shape.iter().map(|&size| size as u64).product();
                let mut head = header(content.data_type(), &shape);
                put_bytes_header(
                    &mut head,
                    CONTENT,
                    elements * element_size(content.data_type()),
                );
                out.write_all(&head)?;
                self.stream(content, &mut |chunk| out.write_all(chunk))?;
            }
        }
        Ok(())
    }

    /// Whether a constant is numbers that come from elsewhere than the graph's own file.
    pub(crate) fn is_streamed(&self, content: &Content<'_>) -> bool {
        match content {
            Content::Encoded(_) => false,
            Content::Variable { index, .. } => self.variables[*index].dtype != DType::String,
            Content::Scaled { .. } | Content::Half(_) => true,
        }
    }

    /// Hands the elements of a numeric constant to `sink`, piece by piece.
    pub(crate) fn stream(&self, content: &Content<'_>, sink: Sink<'_>) -> Result<(), FreezeError> {
        match content {
            Content::Encoded(tensor) => {
                let floats = floats(tensor).ok_or_else(|| {
                    io::Error::other("a constant has fewer elements than its shape")
                })?;
                let bytes: Vec<u8> = floats
                    .iter()
                    .flat_map(|number| number.to_le_bytes())
                    .collect();
                Ok(sink(&bytes)?)
            }
            Content::Variable { index, .. } => self.stream_variable(*index, sink),
            Content::Scaled { index, factors } => {
                let mut turn = factors.iter().cycle();
                let mut scaled = Vec::new();
                self.stream_variable(*index, &mut |chunk| {
                    scaled.clear();
                    let numbers = chunk
                        .chunks_exact(4)
                        .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
                    for (number, factor) in numbers.zip(&mut turn) {
                        scaled.extend_from_slice(&(number * factor).to_le_bytes());
                    }
                    sink(&scaled)
                })
            }
            Content::Half(of) => {
                let mut halves = Vec::new();
                self.stream(of, &mut |chunk| {
                    halves.clear();
                    let numbers = chunk
                        .chunks_exact(4)
                        .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
                    numbers.for_each(|number| {
                        halves.extend_from_slice(&half::f16::from_f32(number).to_le_bytes());
                    });
                    sink(&halves)
                })
            }
        }
    }

    /// The elements of a constant of 32-bit floats.
    pub(crate) fn floats(&self, content: &Content<'_>) -> Result<Option<Vec<f32>>, FreezeError> {
        if content.data_type() != FLOAT {
            return Ok(None);
        }
        if let Content::Encoded(tensor) = content {
            return Ok(floats(tensor));
        }
        let mut numbers = Vec::new();
        self.stream(content, &mut |chunk| {
            numbers.extend(
                chunk
                    .chunks_exact(4)
                    .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
            );
            Ok(())
        })?;
        Ok(Some(numbers))
    }

    /// Hands the elements of a numeric variable to `sink`, in pieces of whole elements, and verifies their checksum on the way.
    fn stream_variable(&self, index: usize, sink: Sink<'_>) -> Result<(), FreezeError> {
        let (variable, bundle, _) = self.source(index)?;
        if let Some(part) = &variable.part {
            let tensor = bundle.tensor(&variable.key)?;
            return Ok(cut(&tensor.bytes, tensor.shape, part, sink)?);
        }
        bundle.stream(&variable.key, |piece| Ok(sink(piece)?))
    }
}

/// The elements of a string variable.
fn strings<'b>(variable: &Variable, bundle: &'b Bundle) -> Result<Vec<&'b [u8]>, FreezeError> {
    if variable.part.is_some() {
        let problem = io::Error::other(format!(
            "variable `{}` is a part of a tensor of strings, which is not supported",
            variable.name
        ));
        return Err(problem.into());
    }
    Ok(bundle.strings(&variable.key)?)
}

/// The bytes of a numeric variable. The product was checked when the bundle was opened.
fn num_bytes(variable: &Variable) -> u64 {
    let elements: u64 = variable.shape.iter().map(|&size| size as u64).product();
    elements * variable.dtype.size().unwrap_or(1) as u64
}

/// Whether a data file is what Git left in its place.
fn is_lfs_pointer(bundle: &Bundle, path: &Path) -> bool {
    let mut shards = bundle.shards().into_iter();
    shards.any(|shard| shard.path == path && matches!(shard.state, ShardState::LfsPointer(_)))
}

/// The data file of a tensor, and its length.
fn open(bundle: &Bundle, entry: &Entry) -> Result<(File, u64), FreezeError> {
    let path = shard_path(bundle.prefix(), entry.shard(), bundle.num_shards());
    let read = |problem| FreezeError::Read {
        path: path.clone(),
        problem,
    };
    match tfod_checkpoint::open_regular(&path) {
        Ok(file) => {
            let length = file.metadata().map_err(read)?.len();
            Ok((file, length))
        }
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => {
            Err(tfod_checkpoint::Error::MissingShard {
                path,
                key: entry.key().to_owned(),
            }
            .into())
        }
        Err(problem) => Err(read(problem)),
    }
}

fn tensor_error(bundle: &Bundle, entry: &Entry, problem: TensorProblem) -> FreezeError {
    let path = shard_path(bundle.prefix(), entry.shard(), bundle.num_shards());
    let (offset, size) = (entry.range().start as u64, entry.range().len() as u64);
    tfod_checkpoint::Error::Tensor {
        path,
        key: entry.key().to_owned(),
        offset,
        size,
        problem,
    }
    .into()
}

/// Hands the rows of a part of a tensor to `sink`. The part fits the shape.
fn cut(bytes: &[u8], shape: &[usize], part: &[(usize, usize)], sink: Sink<'_>) -> io::Result<()> {
    let (Some((&rows, inner)), Some((&(start, length), inner_part))) =
        (shape.split_first(), part.split_first())
    else {
        return sink(bytes);
    };
    if rows == 0 || inner_part.iter().any(|&(_, length)| length == 0) {
        return Ok(());
    }
    let is_whole = inner
        .iter()
        .zip(inner_part)
        .all(|(&size, &(_, length))| size == length);
    let row = bytes.len() / rows;
    let rows = &bytes[start * row..(start + length) * row];
    if is_whole {
        return sink(rows);
    }
    rows.chunks_exact(row)
        .try_for_each(|row| cut(row, inner, inner_part, sink))
}

/// The dimensions of an encoded `TensorProto`, whose shape was found to be known before it was kept.
pub(crate) fn encoded_tensor_shape(encoded: &[u8]) -> Vec<i64> {
    tensor::shape(encoded).ok().flatten().unwrap_or_default()
}

/// The elements of an encoded `TensorProto` of 32-bit floats; `None` if it is of another type, or damaged.
fn floats(tensor: &[u8]) -> Option<Vec<f32>> {
    /// A short list of values is continued by its last one, so a small message can stand for a tensor of any size.
    const MAX_CONTINUED: usize = 1 << 24;
    if tensor::data_type(tensor)? != FLOAT {
        return None;
    }
    let sizes = encoded_tensor_shape(tensor);
    let count = sizes.iter().try_fold(1usize, |count, &size| {
        count.checked_mul(usize::try_from(size).ok()?)
    })?;
    let content = tensor::content(tensor);
    let bytes = if content.is_empty() {
        Cow::Owned(tensor::listed(tensor, DType::Float32)?)
    } else {
        Cow::Borrowed(content)
    };
    let number = |bytes: &[u8]| Some(f32::from_le_bytes(bytes.try_into().ok()?));
    let mut numbers: Vec<f32> = bytes.chunks(4).map(number).collect::<Option<_>>()?;
    if !content.is_empty() {
        return (numbers.len() == count).then_some(numbers);
    }
    if numbers.len() > count || count > MAX_CONTINUED.max(numbers.len()) {
        return None;
    }
    numbers.resize(count, numbers.last().copied().unwrap_or(0.0));
    Some(numbers)
}

/// Bytes of an element of a numeric type.
fn element_size(data_type: i32) -> u64 {
    DType::from_proto(data_type)
        .and_then(DType::size)
        .unwrap_or(1) as u64
}
