//! Tensors whose elements are known when the model is written, and the order in which they are written.
//!
//! A kernel of the graph is `[h, w, in, out]`, ONNX's is `[out, in, h, w]`. So that large weights are not copied, a [`Stored`] keeps the bytes
//! where they are, with the permutation of their axes; the bytes in the new order exist only while they are written.

use std::borrow::Cow;

use tfod_graph::DType;

/// A dense, row-major, little-endian tensor, seen with its axes in another order.
#[derive(Clone, Debug)]
pub(crate) struct Stored<'a> {
    dtype: DType,
    /// The sizes in the order of the bytes.
    sizes: Vec<u64>,
    /// For each axis of the result, which of the axes it is; `None` where the order stays.
    order: Option<Vec<usize>>,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Stored<'a> {
    /// Bytes whose number is that of the elements of `sizes`.
    pub(crate) fn new(dtype: DType, sizes: &[u64], bytes: Cow<'a, [u8]>) -> Self {
        Self {
            dtype,
            sizes: sizes.to_vec(),
            order: None,
            bytes,
        }
    }

    /// A vector of 64-bit integers, the form in which operators take sizes and axes.
    pub(crate) fn integers(values: &[i64]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::new(DType::I64, &[values.len() as u64], bytes.into())
    }

    /// A vector of floats.
    pub(crate) fn floats(values: &[f32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::new(DType::F32, &[values.len() as u64], bytes.into())
    }

    /// A 64-bit integer without dimensions.
    pub(crate) fn integer(value: i64) -> Self {
        Self::new(DType::I64, &[], value.to_le_bytes().to_vec().into())
    }

    /// A 32-bit integer without dimensions.
    pub(crate) fn narrow_integer(value: i32) -> Self {
        Self::new(DType::I32, &[], value.to_le_bytes().to_vec().into())
    }

    /// A float without dimensions.
    pub(crate) fn float(value: f32) -> Self {
        Self::new(DType::F32, &[], value.to_le_bytes().to_vec().into())
    }

    /// The bytes that the elements are made from.
    pub(crate) fn source(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    /// The sizes of the result.
    pub(crate) fn shape(&self) -> Vec<u64> {
        match &self.order {
            Some(order) => order.iter().map(|&axis| self.sizes[axis]).collect(),
            None => self.sizes.clone(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The same elements with other sizes, of the same product; to be called before [`Self::permuted`].
    pub(crate) fn reshaped(mut self, sizes: &[u64]) -> Self {
        debug_assert!(self.order.is_none(), "reshaped after it was permuted");
        self.sizes = sizes.to_vec();
        self
    }

    /// The tensor with its axes in another order.
    pub(crate) fn permuted(mut self, order: &[usize]) -> Self {
        debug_assert!(self.order.is_none(), "permuted twice");
        self.order = Some(order.to_vec());
        self
    }

    /// The same elements, in the order of [`Self::shape`], with other sizes of the same product.
    pub(crate) fn with_sizes(&self, sizes: &[u64]) -> Self {
        Self::new(self.dtype, sizes, self.in_order())
    }

    /// The same tensor with its axes in another order than it has now.
    pub(crate) fn transposed(&self, order: &[usize]) -> Self {
        Self::new(self.dtype, &self.shape(), self.in_order()).permuted(order)
    }

    /// The elements in the order of [`Self::shape`], where they are if that is their order.
    fn in_order(&self) -> Cow<'a, [u8]> {
        match (&self.order, &self.bytes) {
            (None, bytes) => bytes.clone(),
            (Some(_), _) => Cow::Owned(self.elements().into_owned()),
        }
    }

    /// The elements as another type, by the rules of ONNX's `Cast`: floats lose what is behind the point, integers their upper bits; what is not 0 is true. `None` for texts.
    pub(crate) fn cast(&self, to: DType) -> Option<Self> {
        let elements = self.elements();
        let bytes = match self.dtype {
            DType::F32 => converted(elements.as_chunks().0, f32::from_le_bytes, to),
            DType::I32 => converted(elements.as_chunks().0, i32::from_le_bytes, to),
            DType::I64 => converted(elements.as_chunks().0, i64::from_le_bytes, to),
            DType::U8 | DType::Bool => converted(elements.as_chunks().0, u8::from_le_bytes, to),
            DType::String => None,
        };
        Some(Self::new(to, &self.shape(), bytes?.into()))
    }

    /// What tells apart tensors that are written as one: the contents of those that were computed here, the places of the graph's own, equal
    /// ones of which are one already.
    pub(crate) fn key(&self) -> Key {
        let contents = match &self.bytes {
            Cow::Borrowed(bytes) => Contents::At(bytes.as_ptr() as usize),
            Cow::Owned(bytes) => Contents::Bytes(bytes.clone()),
        };
        Key {
            dtype: self.dtype,
            sizes: self.sizes.clone(),
            order: self.order.clone(),
            contents,
        }
    }

    /// The elements in the order of [`Self::shape`].
    pub(crate) fn elements(&self) -> Cow<'_, [u8]> {
        let Some(order) = &self.order else {
            return Cow::Borrowed(&self.bytes);
        };
        Cow::Owned(match self.dtype.size() {
            Some(1) => permute::<1>(&self.bytes, &self.sizes, order),
            Some(8) => permute::<8>(&self.bytes, &self.sizes, order),
            _ => permute::<4>(&self.bytes, &self.sizes, order),
        })
    }
}

/// A number that can be any other.
trait Number: Copy {
    fn to_f32(self) -> f32;
    fn to_i64(self) -> i64;
    fn is_true(self) -> bool;
}

macro_rules! number {
    ($($of:ty),*) => {$(
        impl Number for $of {
            #[allow(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_lossless,
                reason = "that is what conversion is"
            )]
            fn to_f32(self) -> f32 {
                self as f32
            }

            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_lossless,
                reason = "that is what conversion is"
            )]
            fn to_i64(self) -> i64 {
                self as i64
            }

            #[allow(clippy::float_cmp, reason = "only 0 itself is false")]
            fn is_true(self) -> bool {
                self != <$of>::default()
            }
        }
    )*};
}
number!(f32, i32, i64, u8);

/// The lower bytes of an integer.
fn lower<const M: usize>(number: i64) -> [u8; M] {
    let bytes = number.to_le_bytes();
    std::array::from_fn(|at| bytes[at])
}

/// Elements of `N` bytes as another type, little-endian.
fn converted<const N: usize, T: Number>(
    elements: &[[u8; N]],
    number: fn([u8; N]) -> T,
    to: DType,
) -> Option<Vec<u8>> {
    let numbers = elements.iter().map(|bytes| number(*bytes));
    Some(match to {
        DType::F32 => numbers.flat_map(|n| n.to_f32().to_le_bytes()).collect(),
        DType::I32 => numbers.flat_map(|n| lower::<4>(n.to_i64())).collect(),
        DType::I64 => numbers.flat_map(|n| lower::<8>(n.to_i64())).collect(),
        DType::U8 => numbers.flat_map(|n| lower::<1>(n.to_i64())).collect(),
        DType::Bool => numbers.map(|n| u8::from(n.is_true())).collect(),
        DType::String => return None,
    })
}

/// See [`Stored::key`].
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    dtype: DType,
    sizes: Vec<u64>,
    order: Option<Vec<usize>>,
    contents: Contents,
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Contents {
    Bytes(Vec<u8>),
    At(usize),
}

/// Reorders the axes of a tensor with elements of `N` bytes. The elements of the last new axis are taken with one stride; the other axes are
/// counted like an odometer.
fn permute<const N: usize>(bytes: &[u8], sizes: &[u64], order: &[usize]) -> Vec<u8> {
    // The sizes are those of bytes in memory, so they and their products are in the range of `usize`.
    let sizes: Vec<usize> = sizes
        .iter()
        .map(|&n| usize::try_from(n).unwrap_or(0))
        .collect();
    let mut strides = vec![1; sizes.len()];
    for axis in (1..sizes.len()).rev() {
        strides[axis - 1] = strides[axis] * sizes[axis];
    }
    let axes: Vec<(usize, usize)> = order.iter().map(|&a| (sizes[a], strides[a])).collect();
    let elements = bytes.as_chunks::<N>().0;
    let mut result = Vec::with_capacity(bytes.len());
    let Some((&(last, stride), outer)) = axes.split_last() else {
        return bytes.to_vec();
    };
    let mut counter = vec![0; outer.len()];
    let mut start = 0;
    while result.len() < bytes.len() {
        for i in 0..last {
            result.extend_from_slice(&elements[start + i * stride]);
        }
        for (count, &(size, stride)) in counter.iter_mut().zip(outer).rev() {
            *count += 1;
            start += stride;
            if *count < size {
                break;
            }
            start -= size * stride;
            *count = 0;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_kernel_becomes_out_in_height_width() {
        let bytes: Vec<u8> = (0..24).collect();
        // [h, w, in, out] = [2, 1, 3, 4]
        let kernel = Stored::new(DType::U8, &[2, 1, 3, 4], bytes.into()).permuted(&[3, 2, 0, 1]);
        assert_eq!(kernel.shape(), [4, 3, 2, 1]);
        let elements = kernel.elements();
        // out 1, in 2, row 1 is element (1, 0, 2, 1).
        assert_eq!(elements[6 + 2 * 2 + 1], 12 + 2 * 4 + 1);
    }

    #[test]
    fn conversions_are_those_of_the_operator() {
        let floats = [1.75f32, -2.5, 0.0, 300.0].map(f32::to_le_bytes).concat();
        let floats = Stored::new(DType::F32, &[2, 2], floats.into());
        let as_integers = |of: &Stored<'_>| -> Vec<i64> {
            let wide = of.cast(DType::I64).unwrap();
            let numbers = wide.elements();
            numbers
                .as_chunks()
                .0
                .iter()
                .map(|n| i64::from_le_bytes(*n))
                .collect()
        };
        assert_eq!(as_integers(&floats), [1, -2, 0, 300]);
        assert_eq!(
            as_integers(&floats.cast(DType::I32).unwrap()),
            [1, -2, 0, 300]
        );
        assert_eq!(
            as_integers(&floats.cast(DType::Bool).unwrap()),
            [1, 1, 0, 1]
        );
        let turned = floats.transposed(&[1, 0]);
        assert_eq!(as_integers(&turned), [1, 0, -2, 300]);
        assert_eq!(as_integers(&turned.with_sizes(&[4])), [1, 0, -2, 300]);
        assert_eq!(as_integers(&turned.transposed(&[1, 0])), [1, -2, 0, 300]);
        let back = floats.cast(DType::I32).unwrap().cast(DType::F32).unwrap();
        let expected = [1.0f32, -2.0, 0.0, 300.0].map(f32::to_le_bytes).concat();
        assert_eq!(back.elements().as_ref(), expected);
    }

    #[test]
    fn computed_tensors_of_equal_contents_are_one() {
        let a = Stored::integers(&[1, 2]);
        assert_eq!(a.key(), Stored::integers(&[1, 2]).key());
        assert_ne!(a.key(), Stored::integers(&[2, 1]).key());
        assert_ne!(a.key(), a.clone().reshaped(&[2, 1]).key());
    }

    proptest! {
        /// Every element is where the definition of a permutation puts it.
        #[test]
        fn permutations_follow_their_definition(
            sizes in proptest::collection::vec(1u64..5, 1..5),
            seed in any::<u64>(),
        ) {
            let rank = sizes.len();
            let mut order: Vec<usize> = (0..rank).collect();
            order.sort_by_key(|&axis| (seed >> (axis * 8)) & 0xff);
            let count = sizes.iter().product::<u64>();
            let values: Vec<i64> = (0..i64::try_from(count).unwrap()).collect();
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            let stored = Stored::new(DType::I64, &sizes, bytes.into()).permuted(&order);
            let shape = stored.shape();
            let elements = stored.elements();
            for (position, element) in elements.as_chunks::<8>().0.iter().enumerate() {
                let mut rest = position as u64;
                let mut index = vec![0; rank];
                for axis in (0..rank).rev() {
                    index[order[axis]] = rest % shape[axis];
                    rest /= shape[axis];
                }
                let source = index.iter().zip(&sizes).fold(0, |at, (i, n)| at * n + i);
                prop_assert_eq!(i64::from_le_bytes(*element), i64::try_from(source).unwrap());
            }
        }
    }
}
