//! Tensors of any file as numbers: what is stored, decoded when it is asked for.
//!
//! TensorFlow's constants may hold fewer values than their shape has elements; the last one repeats. They are kept that way, so that a few bytes that
//! claim a shape of 10^12 elements take the time and memory of a few bytes.

use std::borrow::Cow;
use std::fmt;

use half::{bf16, f16};
use tfod_checkpoint::DType;
/// In files of other formats too, tensors have no more dimensions than TensorFlow's.
pub(crate) use tfod_tensorflow::messages::tensor::MAX_RANK;

/// A tensor that a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTensor {
    /// Its key in a checkpoint, its node's name in a graph (behind the function's, if it is in one), its own name in ONNX.
    pub name: String,
    /// The type of its elements; `None` for one that TensorFlow does not have.
    pub dtype: Option<DType>,
    /// Its dimensions, outermost first.
    pub shape: Vec<u64>,
    /// The size of its elements in memory; for strings, in the file.
    pub bytes: u64,
    pub(crate) place: ElementsPlace,
}

/// Where a tensor's elements are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ElementsPlace {
    /// In the bundle, under the tensor's name.
    Bundle,
    /// TensorFlow's `TensorProto`, at these bytes of the file.
    TensorFlow(std::ops::Range<usize>),
    /// ONNX's `TensorProto`, at these bytes of the file.
    Onnx(std::ops::Range<usize>),
    /// The elements themselves, at these bytes of a TFLite model.
    Tflite(std::ops::Range<usize>),
    /// Computed, and kept with what was found out of the file.
    Held(usize),
}

/// The elements of a tensor, in row-major order.
#[derive(Clone, Debug)]
pub enum Elements<'a> {
    /// Numbers.
    Numbers {
        /// Their type, which has a size.
        dtype: DType,
        /// How many there are.
        count: u64,
        /// The first ones, little-endian; all others are equal to the last of these. Empty only if `count` is 0.
        stored: Cow<'a, [u8]>,
    },
    /// Strings, of which the last repeats, too.
    Strings {
        /// How many there are.
        count: u64,
        /// The first ones.
        stored: Vec<Cow<'a, [u8]>>,
    },
}

/// The number of elements of a shape; `None` if no computer has so many.
pub fn num_elements(shape: &[u64]) -> Option<u64> {
    if shape.contains(&0) {
        return Some(0);
    }
    let product = shape.iter().try_fold(1u64, |n, dim| n.checked_mul(*dim));
    product.filter(|n| *n <= i64::MAX.cast_unsigned())
}

/// The bytes that the elements of a shape take in memory; 0 where they have no size of their own.
pub(crate) fn num_bytes(dtype: Option<DType>, shape: &[u64]) -> Option<u64> {
    let each = dtype.and_then(DType::size).unwrap_or(0) as u64;
    num_elements(shape)?.checked_mul(each)
}

impl<'a> Elements<'a> {
    /// Numbers of which all are stored, or fewer.
    pub(crate) fn numbers(
        dtype: DType,
        count: u64,
        stored: Cow<'a, [u8]>,
    ) -> Result<Self, &'static str> {
        let size = dtype.size().ok_or("its type has no numbers")?;
        let found = (stored.len() / size) as u64;
        if !stored.len().is_multiple_of(size) || found > count {
            return Err("it has more bytes than elements of its shape");
        }
        if found == 0 && count > 0 {
            return Ok(Self::Numbers {
                dtype,
                count,
                stored: Cow::Owned(vec![0; size]),
            });
        }
        Ok(Self::Numbers {
            dtype,
            count,
            stored,
        })
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        match self {
            Self::Numbers { count, .. } | Self::Strings { count, .. } => *count,
        }
    }

    /// How many are stored; the others repeat the last.
    pub fn num_stored(&self) -> u64 {
        match self {
            Self::Numbers { dtype, stored, .. } => {
                (stored.len() / dtype.size().unwrap_or(1).max(1)) as u64
            }
            Self::Strings { stored, .. } => stored.len() as u64,
        }
    }

    /// The bytes of the `index`-th element.
    pub fn raw(&self, index: u64) -> Option<&[u8]> {
        if index >= self.count() {
            return None;
        }
        let index = usize::try_from(index.min(self.num_stored().checked_sub(1)?)).ok()?;
        match self {
            Self::Numbers { dtype, stored, .. } => {
                let size = dtype.size()?;
                stored.get(index * size..(index + 1) * size)
            }
            Self::Strings { stored, .. } => stored.get(index).map(AsRef::as_ref),
        }
    }

    /// The `index`-th element.
    pub fn get(&self, index: u64) -> Option<Element<'_>> {
        let bytes = self.raw(index)?;
        Some(match self {
            Self::Numbers { dtype, .. } => Element::number(*dtype, bytes),
            Self::Strings { .. } => Element::Text(bytes),
        })
    }

    /// The stored numbers as 64-bit floats, and how often the last one repeats; `None` for types that are not real numbers.
    pub fn reals(&self) -> Option<(impl Iterator<Item = f64> + Clone + '_, u64)> {
        let Self::Numbers { dtype, count, .. } = self else {
            return None;
        };
        if !is_real(*dtype) {
            return None;
        }
        let number = |index| self.get(index).and_then(Element::real).unwrap_or(f64::NAN);
        let stored = self.num_stored();
        Some(((0..stored).map(number), count - stored))
    }
}

/// Whether elements of a type are real numbers that are understood here.
fn is_real(dtype: DType) -> bool {
    let zeros = [0; 16];
    let zero = dtype.size().and_then(|size| zeros.get(..size));
    zero.is_some_and(|zero| Element::number(dtype, zero).real().is_some())
}

/// One element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Element<'a> {
    /// `float32` and smaller floats.
    Float(f32),
    /// `float64`.
    Double(f64),
    /// Integers of all sizes.
    Integer(i128),
    /// `bool`.
    Bool(bool),
    /// `complex64` and `complex128`.
    Complex(f64, f64),
    /// `string`.
    Text(&'a [u8]),
    /// Of a type that is not understood: its bytes.
    Opaque(&'a [u8]),
}

impl<'a> Element<'a> {
    fn number(dtype: DType, bytes: &'a [u8]) -> Self {
        macro_rules! le {
            ($type:ty) => {
                bytes.try_into().ok().map(<$type>::from_le_bytes)
            };
        }
        let found = match dtype {
            DType::Float32 => le!(f32).map(Self::Float),
            DType::Float16 => le!(f16).map(|n| Self::Float(n.to_f32())),
            DType::BFloat16 => le!(bf16).map(|n| Self::Float(n.to_f32())),
            DType::Float64 => le!(f64).map(Self::Double),
            DType::Int8 | DType::QInt8 => le!(i8).map(|n| Self::Integer(n.into())),
            DType::UInt8 | DType::QUInt8 => le!(u8).map(|n| Self::Integer(n.into())),
            DType::Int16 | DType::QInt16 => le!(i16).map(|n| Self::Integer(n.into())),
            DType::UInt16 | DType::QUInt16 => le!(u16).map(|n| Self::Integer(n.into())),
            DType::Int32 | DType::QInt32 => le!(i32).map(|n| Self::Integer(n.into())),
            DType::UInt32 => le!(u32).map(|n| Self::Integer(n.into())),
            DType::Int64 => le!(i64).map(|n| Self::Integer(n.into())),
            DType::UInt64 => le!(u64).map(|n| Self::Integer(n.into())),
            DType::Bool => le!(u8).map(|n| Self::Bool(n != 0)),
            DType::Complex64 => bytes.split_at_checked(4).and_then(|(re, im)| {
                let part = |b: &[u8]| b.try_into().ok().map(f32::from_le_bytes);
                Some(Self::Complex(part(re)?.into(), part(im)?.into()))
            }),
            DType::Complex128 => bytes.split_at_checked(8).and_then(|(re, im)| {
                let part = |b: &[u8]| b.try_into().ok().map(f64::from_le_bytes);
                Some(Self::Complex(part(re)?, part(im)?))
            }),
            _ => None,
        };
        found.unwrap_or(Self::Opaque(bytes))
    }

    /// It as a 64-bit float, if it is a real number.
    #[expect(
        clippy::cast_precision_loss,
        reason = "for statistics, as in every other tool"
    )]
    pub fn real(self) -> Option<f64> {
        match self {
            Self::Float(n) => Some(n.into()),
            Self::Double(n) => Some(n),
            Self::Integer(n) => Some(n as f64),
            Self::Bool(b) => Some(f64::from(u8::from(b))),
            Self::Complex(..) | Self::Text(_) | Self::Opaque(_) => None,
        }
    }

    /// It as JSON: a number, a string where JSON has no such number.
    pub fn json(self) -> serde_json::Value {
        use serde_json::json;
        match self {
            Self::Bool(b) => json!(b),
            Self::Integer(n) => match (i64::try_from(n), u64::try_from(n)) {
                (Ok(n), _) => json!(n),
                (_, Ok(n)) => json!(n),
                _ => json!(n.to_string()),
            },
            Self::Double(n) if n.is_finite() => json!(n),
            // The shortest decimal that is the same float, not the float's neighbours in 64 bits.
            Self::Float(n) if n.is_finite() => {
                n.to_string().parse::<f64>().map_or(json!(n), |n| json!(n))
            }
            other => json!(other.to_string()),
        }
    }
}

impl fmt::Display for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Float(n) => write!(f, "{n:?}"),
            Self::Double(n) => write!(f, "{n:?}"),
            Self::Integer(n) => write!(f, "{n}"),
            Self::Bool(b) => write!(f, "{b}"),
            Self::Complex(re, im) => write!(f, "{re:?}{im:+?}j"),
            Self::Text(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Self::Opaque(bytes) => bytes.iter().try_for_each(|b| write!(f, "{b:02x}")),
        }
    }
}

/// Statistics of a tensor's numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics {
    /// The smallest finite number; `None` without any.
    pub min: Option<f64>,
    /// The largest finite number.
    pub max: Option<f64>,
    /// Of the finite numbers.
    pub mean: Option<f64>,
    /// The population's standard deviation (divided by the count), of the finite numbers.
    pub std: Option<f64>,
    /// How many are no number.
    pub nan: u64,
    /// How many are infinite.
    pub inf: u64,
    /// How many are zero, of either sign.
    pub zeros: u64,
}

impl Statistics {
    /// The statistics of real numbers; `None` for other types.
    pub fn of(elements: &Elements<'_>) -> Option<Self> {
        let (stored, repeats) = elements.reals()?;
        let last = elements
            .num_stored()
            .checked_sub(1)
            .and_then(|last| elements.get(last)?.real());
        // Each number with its multiplicity.
        let tail = last.filter(|_| repeats > 0).map(|n| (n, repeats));
        let all = stored.map(|n| (n, 1)).chain(tail);
        let (mut nan, mut inf, mut zeros, mut finite) = (0, 0, 0, 0u64);
        let (mut min, mut max, mut sum) = (f64::INFINITY, f64::NEG_INFINITY, 0.0);
        for (n, times) in all.clone() {
            if n.is_nan() {
                nan += times;
            } else if n.is_infinite() {
                inf += times;
            } else {
                zeros += if n == 0.0 { times } else { 0 };
                finite += times;
                min = min.min(n);
                max = max.max(n);
                sum += n * float(times);
            }
        }
        let none = Self {
            min: None,
            max: None,
            mean: None,
            std: None,
            nan,
            inf,
            zeros,
        };
        if finite == 0 {
            return Some(none);
        }
        let mean = sum / float(finite);
        let squares: f64 = all
            .filter(|(n, _)| n.is_finite())
            .map(|(n, times)| (n - mean).powi(2) * float(times))
            .sum();
        Some(Self {
            min: Some(min),
            max: Some(max),
            mean: Some(mean),
            std: Some((squares / float(finite)).sqrt()),
            ..none
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts, for means")]
fn float(count: u64) -> f64 {
    count as f64
}

/// The first `limit` elements as nested lists, as NumPy prints them.
pub fn listing(elements: &Elements<'_>, shape: &[u64], limit: u64) -> String {
    let count = elements.count();
    let mut out = String::new();
    if shape.is_empty() {
        return elements.get(0).map(|e| e.to_string()).unwrap_or_default();
    }
    if count == 0 {
        return "[]".to_owned();
    }
    // How many elements a list of each depth has, innermost first.
    let lists: Vec<u64> = shape
        .iter()
        .rev()
        .scan(1u64, |n, dim| {
            *n = n.saturating_mul(*dim);
            Some(*n)
        })
        .collect();
    for index in 0..count.min(limit) {
        let opened = lists.iter().filter(|n| index.is_multiple_of(**n)).count();
        if index > 0 && opened > 0 {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', lists.len() - opened));
        } else if index > 0 {
            out.push(' ');
        }
        out.extend(std::iter::repeat_n('[', opened));
        if let Some(element) = elements.get(index) {
            out += &element.to_string();
        }
        let closed = lists.iter().filter(|n| (index + 1).is_multiple_of(**n));
        out.extend(std::iter::repeat_n(']', closed.count()));
    }
    if count > limit {
        out += " ...";
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(count: u64, numbers: &[f32]) -> Elements<'static> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        Elements::numbers(DType::Float32, count, Cow::Owned(bytes)).expect("fits")
    }

    #[test]
    fn statistics_leave_out_what_is_not_finite() {
        let elements = floats(6, &[1.0, -3.0, f32::NAN, f32::INFINITY, 0.0, -0.0]);
        let found = Statistics::of(&elements).expect("real");
        assert_eq!((found.nan, found.inf, found.zeros), (1, 1, 2));
        assert_eq!((found.min, found.max), (Some(-3.0), Some(1.0)));
        assert_eq!(found.mean, Some(-0.5));
        assert!((found.std.expect("finite") - 1.5).abs() < 1e-12);
    }

    #[test]
    fn values_that_repeat_are_counted_not_written_out() {
        let elements = floats(1 << 60, &[2.0, 0.0]);
        let found = Statistics::of(&elements).expect("real");
        assert_eq!(found.zeros, (1 << 60) - 1);
        assert_eq!(elements.get(1 << 59), Some(Element::Float(0.0)));
        assert_eq!(elements.get(1 << 60), None);
        assert_eq!(
            listing(&elements, &[1 << 30, 1 << 30], 3),
            "[[2.0 0.0 0.0 ..."
        );
    }

    #[test]
    fn lists_are_nested_as_the_shape_says() {
        let elements = floats(8, &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.5]);
        assert_eq!(
            listing(&elements, &[2, 2, 2], 99),
            "[[[0.0 1.0]\n  [2.0 3.0]]\n [[4.0 5.0]\n  [6.0 7.5]]]"
        );
        assert_eq!(listing(&floats(1, &[0.1]), &[], 9), "0.1");
        assert_eq!(listing(&floats(0, &[]), &[2, 0], 9), "[]");
    }

    #[test]
    fn more_values_than_elements_are_refused() {
        assert!(Elements::numbers(DType::Int16, 1, Cow::Borrowed(&[0; 4])).is_err());
        assert!(Elements::numbers(DType::Int16, 1, Cow::Borrowed(&[0; 3])).is_err());
        assert!(Elements::numbers(DType::Variant, 1, Cow::Borrowed(&[])).is_err());
    }

    #[test]
    fn elements_of_every_type() {
        let show = |dtype, bytes: &[u8]| Element::number(dtype, bytes).to_string();
        assert_eq!(show(DType::Float16, &[0, 0x3c]), "1.0");
        assert_eq!(show(DType::BFloat16, &[0x80, 0x3f]), "1.0");
        assert_eq!(show(DType::Float64, &0.1f64.to_le_bytes()), "0.1");
        assert_eq!(show(DType::UInt64, &[255; 8]), u64::MAX.to_string());
        assert_eq!(show(DType::Int8, &[255]), "-1");
        assert_eq!(show(DType::Bool, &[1]), "true");
        assert_eq!(
            show(DType::Complex64, &[0, 0, 128, 63, 0, 0, 0, 192]),
            "1.0-2.0j"
        );
        assert_eq!(show(DType::Float8E5M2, &[0x3c]), "3c");
    }
}
