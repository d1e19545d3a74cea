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
