//! Element types, dimensions, shapes, and tensors that are held as bytes (dense, row-major, little-endian).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

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
    /// What users know it as: NumPy's and TensorFlow's name.
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

/// One dimension of a shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// A size known when the graph is written.
    Known(u64),
    /// A size known only at run time. Equal names are equal sizes throughout a graph and its sub-graphs. Sizes that are computed from others are
    /// called by their formulas, `ceil(height/4)+2`, in one spelling, so that those computed alike are equal.
    Symbol(Arc<str>),
}

impl Dim {
    /// A dimension known only at run time.
    pub fn symbol(name: &str) -> Self {
        Self::Symbol(Arc::from(name))
    }

    /// The number, if it is known.
    pub fn known(&self) -> Option<u64> {
        match self {
            Self::Known(n) => Some(*n),
            Self::Symbol(_) => None,
        }
    }

    /// Whether this is the known size `n`.
    pub fn is(&self, n: u64) -> bool {
        self.known() == Some(n)
    }

    /// The sum; `None` when it is too large.
    pub(crate) fn plus(&self, other: &Self) -> Option<Self> {
        let ((a, m), (b, n)) = (self.terms(), other.terms());
        Self::from_terms(a.into_iter().chain(b), m.checked_add(n)?)
    }

    /// The size with `n` more; `None` when it is too large.
    pub(crate) fn grown(&self, n: u64) -> Option<Self> {
        self.plus(&Self::Known(n))
    }

    /// The size with `n` less; `None` when nothing is left.
    pub(crate) fn shrunk(&self, n: u64) -> Option<Self> {
        let (terms, sum) = self.terms();
        Self::from_terms(terms.into_iter(), sum.checked_sub(n.into())?).filter(|dim| !dim.is(0))
    }

    /// The size divided by `n`, which is not 0, and rounded up.
    pub(crate) fn div_ceil(&self, n: u64) -> Self {
        match self {
            Self::Known(size) => Self::Known(size.div_ceil(n)),
            Self::Symbol(_) if n == 1 => self.clone(),
            Self::Symbol(name) => {
                // Rounding up twice is rounding up once.
                let inner = name
                    .strip_prefix("ceil(")
                    .and_then(|rest| rest.strip_suffix(')')?.rsplit_once('/'))
                    .and_then(|(size, by)| Some((size, by.parse::<u64>().ok()?.checked_mul(n)?)))
                    .filter(|(size, _)| is_balanced(size));
                match inner {
                    Some((size, by)) => Self::symbol(&format!("ceil({size}/{by})")),
                    None if name.contains(['+', '-']) => {
                        Self::symbol(&format!("ceil(({name})/{n})"))
                    }
                    None => Self::symbol(&format!("ceil({name}/{n})")),
                }
            }
        }
    }

    /// A sum: what is known only at run time, and a number.
    fn terms(&self) -> (Option<&str>, i128) {
        match self {
            Self::Known(n) => (None, (*n).into()),
            Self::Symbol(name) => name
                .rfind(['+', '-'])
                .and_then(|at| Some((name.get(..at)?, name.get(at..)?.parse().ok()?)))
                .map_or((Some(name), 0), |(terms, sum)| (Some(terms), sum)),
        }
    }

    fn from_terms<'a>(terms: impl Iterator<Item = &'a str>, sum: i128) -> Option<Self> {
        let terms: Vec<&str> = terms.collect();
        match (terms.join("+"), sum) {
            (none, sum) if none.is_empty() => u64::try_from(sum).ok().map(Self::Known),
            (terms, 0) => Some(Self::symbol(&terms)),
            (terms, sum) => Some(Self::symbol(&format!("{terms}{sum:+}"))),
        }
    }
}

/// Whether every bracket is closed, and none that was not opened.
fn is_balanced(text: &str) -> bool {
    let depth = text.chars().try_fold(0u32, |depth, c| match c {
        '(' => depth.checked_add(1),
        ')' => depth.checked_sub(1),
        _ => Some(depth),
    });
    depth == Some(0)
}

impl From<u64> for Dim {
    fn from(n: u64) -> Self {
        Self::Known(n)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(n) => write!(f, "{n}"),
            Self::Symbol(name) => f.write_str(name),
        }
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

    /// Sizes that the reference's layers make equal are spelled alike: padding that a window takes off again, and halving in one or two steps.
    #[test]
    fn equal_formulas_are_equal_dimensions() {
        let height = Dim::symbol("height");
        let padded = height.grown(2).unwrap();
        assert_eq!(padded.to_string(), "height+2");
        assert_eq!(padded.shrunk(2), Some(height.clone()));
        assert_eq!(height.shrunk(3).unwrap().to_string(), "height-3");
        assert_eq!(height.div_ceil(1), height);
        let quarter = height.div_ceil(2).div_ceil(2);
        assert_eq!(quarter, height.div_ceil(4));
        assert_eq!(quarter.to_string(), "ceil(height/4)");
        let sum = quarter.grown(1).unwrap().div_ceil(2);
        assert_eq!(sum.to_string(), "ceil((ceil(height/4)+1)/2)");
        assert_eq!(sum.div_ceil(2).to_string(), "ceil((ceil(height/4)+1)/4)");
        let joined = quarter.plus(&height).and_then(|d| d.grown(5)).unwrap();
        assert_eq!(joined.to_string(), "ceil(height/4)+height+5");
        assert_eq!(
            joined.div_ceil(3).to_string(),
            "ceil((ceil(height/4)+height+5)/3)"
        );
        assert_eq!(Dim::Known(4).shrunk(4), None);
        assert_eq!(Dim::Known(4).plus(&Dim::Known(3)), Some(Dim::Known(7)));
        assert_eq!(Dim::Known(u64::MAX).grown(1), None);
        assert_eq!(Dim::Known(5).div_ceil(2), Dim::Known(3));
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
