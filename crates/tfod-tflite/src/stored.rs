//! Tensors whose elements are known when the model is written, and what is done to the elements while they are.
//!
//! A kernel of the graph is `[h, w, in, out]`, TFLite's is `[out, h, w, in]`, with the scale of batch normalisation in it. So that large weights are not
//! copied, a [`Stored`] keeps the bytes where they are; the elements in the new form exist only while they are written.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::sync::Arc;

use half::f16;
use tfod_graph::{DType, Tensor, TensorView};

/// Where bytes are.
#[derive(Clone, Debug)]
enum Data<'a> {
    /// In the mapped checkpoint.
    Borrowed(&'a [u8]),
    /// In a constant of the graph.
    Constant(Tensor),
    /// Computed by the lowering.
    Computed(Arc<[u8]>),
}

/// How floats are written; other elements are written as they are.
#[derive(Clone, Debug, Default)]
enum Form {
    #[default]
    Whole,
    /// With 16 bits.
    Half,
    /// As multiples, from -127 to 127, of a step for each place on the last axis in the order of the bytes.
    Bytes {
        steps: Arc<[f32]>,
        /// What one step stands for, which is positive.
        scales: Arc<[f32]>,
    },
}

/// A dense, row-major, little-endian tensor, seen in another form.
#[derive(Clone, Debug)]
pub(crate) struct Stored<'a> {
    dtype: DType,
    /// The sizes in the order of the bytes, without what is left out.
    sizes: Vec<u64>,
    data: Data<'a>,
    /// The first of each so many elements, in the order of the bytes, is left out.
    left_out: Option<NonZeroUsize>,
    /// The axis that comes first, before the others in their order.
    front: usize,
    /// Factors of elements, repeated along the bytes.
    scale: Option<Arc<[f32]>>,
    form: Form,
}

impl<'a> Stored<'a> {
    fn new(dtype: DType, sizes: &[u64], data: Data<'a>) -> Self {
        Self {
            dtype,
            sizes: sizes.to_vec(),
            data,
            left_out: None,
            front: 0,
            scale: None,
            form: Form::Whole,
        }
    }

    /// A constant of the graph.
    pub(crate) fn constant(tensor: &Tensor) -> Self {
        let data = Data::Constant(tensor.clone());
        Self::new(tensor.dtype(), tensor.shape(), data)
    }

    /// The bytes of a parameter.
    pub(crate) fn parameter(view: &TensorView<'a>) -> Self {
        let data = match &view.data {
            Cow::Borrowed(bytes) => Data::Borrowed(bytes),
            Cow::Owned(bytes) => Data::Computed(bytes.as_slice().into()),
        };
        Self::new(view.dtype, &view.shape, data)
    }

    pub(crate) fn integers(sizes: &[u64], values: &[i32]) -> Self {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::new(DType::I32, sizes, Data::Computed(bytes))
    }

    pub(crate) fn floats(sizes: &[u64], values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::new(DType::F32, sizes, Data::Computed(bytes))
    }

    pub(crate) fn bytes_of(contents: &[u8]) -> Self {
        let sizes = [contents.len() as u64];
        Self::new(DType::U8, &sizes, Data::Computed(contents.into()))
    }

    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    /// The sizes of the result.
    pub(crate) fn shape(&self) -> Vec<u64> {
        let mut sizes = self.sizes.clone();
        if let Some(part) = sizes.get_mut(..=self.front) {
            part.rotate_right(1);
        }
        sizes
    }

    /// The number of bytes written.
    pub(crate) fn len(&self) -> u64 {
        let bytes = self.bytes().len() as u64;
        let bytes = match self.left_out {
            Some(run) => bytes - bytes / run.get() as u64,
            None => bytes,
        };
        match self.form {
            Form::Whole => bytes,
            Form::Half => bytes / 2,
            Form::Bytes { .. } => bytes / 4,
        }
    }

    /// Whether floats are written with 16 bits.
    pub(crate) fn is_half(&self) -> bool {
        matches!(self.form, Form::Half)
    }

    /// Where floats are written with 8 bits: what one stands for, for each place on an axis, and that axis.
    pub(crate) fn scales(&self) -> Option<(&[f32], usize)> {
        let Form::Bytes { scales, .. } = &self.form else {
            return None;
        };
        let last = self.sizes.len().saturating_sub(1);
        // That in front is the last, or the last stays where it is.
        Some((scales, if self.front == last { 0 } else { last }))
    }

    /// The tensor with its floats as multiples of a step for each place on the last axis, in the order of the bytes; `None` where there are numbers that are not finite.
    ///
    /// Factors become part of what a step stands for: tensors that differ in them alone have the same bytes.
    pub(crate) fn quantized(mut self) -> Option<Self> {
        let values = self.to_f32()?;
        let places = usize::try_from(*self.sizes.last()?).ok()?.max(1);
        let mut largest = vec![0f32; places];
        for row in values.chunks(places) {
            for (largest, value) in largest.iter_mut().zip(row) {
                // The maximum of two would pass over what is no number.
                if value.is_nan() || value.abs() > *largest {
                    *largest = value.abs();
                }
            }
        }
        let factors = self.scale.take();
        let factors: Vec<f32> = match &factors {
            Some(factors) => factors.iter().copied().cycle().take(places).collect(),
            None => vec![1.0; places],
        };
        let (mut steps, mut scales) = (Vec::new(), Vec::new());
        for (largest, factor) in largest.into_iter().zip(factors) {
            let step = largest / MOST;
            let scale = step * factor.abs();
            if !scale.is_finite() {
                return None;
            }
            // Runtimes take no smaller ones: all of these are 0.
            let is_zero = !scale.is_normal() || !step.is_normal();
            steps.push(if is_zero {
                f32::INFINITY
            } else {
                step.copysign(factor)
            });
            scales.push(if is_zero { 1.0 } else { scale });
        }
        self.form = Form::Bytes {
            steps: steps.into(),
            scales: scales.into(),
        };
        Some(self)
    }

    /// The tensor with its floats in 16 bits, rounded to the nearest; `None` where one is too large for that.
    pub(crate) fn halved(mut self) -> Option<Self> {
        let mut values = self.products()?.into_iter();
        let fits = values.all(|value| !value.is_finite() || f16::from_f32(value).is_finite());
        self.form = Form::Half;
        fits.then_some(self)
    }

    /// The floats times their factors, in the order of the bytes.
    fn products(&self) -> Option<Vec<f32>> {
        let values = self.to_f32()?;
        Some(match &self.scale {
            Some(scale) => {
                let pairs = values.into_iter().zip(scale.iter().cycle());
                pairs.map(|(value, factor)| value * factor).collect()
            }
            None => values,
        })
    }

    /// The bytes that the elements are made from.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::Borrowed(bytes) => bytes,
            Data::Constant(tensor) => tensor.data(),
            Data::Computed(bytes) => bytes,
        }
    }

    /// [`Self::bytes`] without those of elements that are left out.
    fn kept(&self) -> Cow<'_, [u8]> {
        let Some(run) = self.left_out else {
            return Cow::Borrowed(self.bytes());
        };
        let element = self.dtype.size().unwrap_or(4);
        let runs = self.bytes().chunks_exact(run.get() * element);
        Cow::Owned(
            runs.flat_map(|run| run.iter().skip(element))
                .copied()
                .collect(),
        )
    }

    /// The same elements with other sizes, of the same product; to be called before [`Self::with_front`].
    pub(crate) fn reshaped(mut self, sizes: &[u64]) -> Self {
        debug_assert!(self.front == 0, "reshaped after it was permuted");
        self.sizes = sizes.to_vec();
        self
    }

    /// The tensor without the first of each `run` elements of its last axis, whose size is a multiple of that; to be called before all other changes.
    pub(crate) fn without_first(mut self, run: NonZeroUsize) -> Self {
        debug_assert!(self.left_out.is_none() && self.scale.is_none() && self.front == 0);
        let count = run.get() as u64;
        if let Some(last) = self.sizes.last_mut()
            && last.is_multiple_of(count)
        {
            *last -= *last / count;
            self.left_out = Some(run);
        }
        self
    }

    /// The tensor with an axis first.
    pub(crate) fn with_front(mut self, axis: usize) -> Self {
        debug_assert!(self.front == 0, "permuted twice");
        self.front = axis;
        self
    }

    /// The product with factors, of the last axis or of the last axes together.
    pub(crate) fn scaled(mut self, factors: Vec<f32>) -> Self {
        debug_assert!(self.scale.is_none(), "scaled twice");
        self.scale = Some(factors.into());
        self
    }

    /// The elements as `f32`, if that is what they are, in the order of the bytes.
    pub(crate) fn to_f32(&self) -> Option<Vec<f32>> {
        let bytes = self.kept();
        let elements = bytes.as_chunks::<4>().0.iter();
        (self.dtype == DType::F32).then(|| elements.map(|b| f32::from_le_bytes(*b)).collect())
    }

    /// The elements as bytes, if they are unsigned numbers of 8 bits.
    pub(crate) fn to_bytes(&self) -> Option<Vec<u8>> {
        (self.dtype == DType::U8).then(|| self.kept().into_owned())
    }

    /// What tells apart tensors that are written as one: the contents of small ones, the places of others, equal ones of which are one already.
    pub(crate) fn key(&self) -> Key {
        let contents = match &self.data {
            Data::Borrowed(bytes) => Contents::At(bytes.as_ptr() as usize),
            Data::Constant(tensor) => Contents::Constant(tensor.clone()),
            Data::Computed(bytes) => Contents::Bytes(Arc::clone(bytes)),
        };
        let factors = self.scale.iter().flat_map(|scale| scale.iter());
        Key {
            dtype: self.dtype,
            shape: self.shape(),
            left_out: self.left_out,
            front: self.front,
            form: match &self.form {
                Form::Whole => FormKey::Whole,
                Form::Half => FormKey::Half,
                Form::Bytes { steps, scales } => FormKey::Bytes {
                    steps: steps.iter().map(|step| step.to_bits()).collect(),
                    scales: scales.iter().map(|scale| scale.to_bits()).collect(),
                },
            },
            scale: factors.map(|factor| factor.to_bits()).collect(),
            contents,
        }
    }

    /// What tells apart the bytes of those that are written with 8 bits, whatever these stand for.
    pub(crate) fn bytes_key(&self) -> Option<Key> {
        let mut key = self.key();
        let FormKey::Bytes { scales, .. } = &mut key.form else {
            return None;
        };
        scales.clear();
        Some(key)
    }

    /// The elements in the order of [`Self::shape`].
    pub(crate) fn elements(&self) -> Cow<'_, [u8]> {
        let scaled: Cow<'_, [u8]> = match &self.form {
            Form::Whole if self.scale.is_none() => self.kept(),
            form => match self.products() {
                Some(values) => match form {
                    Form::Whole => values.into_iter().flat_map(f32::to_le_bytes).collect(),
                    Form::Half => {
                        let halves = values.into_iter().map(f16::from_f32);
                        halves.flat_map(f16::to_le_bytes).collect()
                    }
                    Form::Bytes { steps, .. } => {
                        let pairs = values.into_iter().zip(steps.iter().cycle());
                        pairs.map(|(value, step)| multiple(value, *step)).collect()
                    }
                },
                None => self.kept(),
            },
        };
        let Some((axis, behind)) = self.sizes.get(self.front..).and_then(<[u64]>::split_first)
        else {
            return scaled;
        };
        if self.front == 0 {
            return scaled;
        }
        // Sizes of bytes in memory, and their products, are in the range of `usize`.
        let element = match self.dtype.size() {
            _ if self.is_half() => 2,
            _ if self.scales().is_some() => 1,
            size => size.unwrap_or(4) as u64,
        };
        let row = behind.iter().product::<u64>() * element;
        let [axis, row] = [*axis, row].map(|n| usize::try_from(n).unwrap_or(1).max(1));
        Cow::Owned(with_front(&scaled, axis, row))
    }
}

/// The largest multiple of a step.
const MOST: f32 = 127.0;

/// How often a step is in a number, as a signed byte.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is held to the range of a signed byte, which is kept in an unsigned one"
)]
fn multiple(value: f32, step: f32) -> u8 {
    (value / step).round().clamp(-MOST, MOST) as i8 as u8
}

/// Puts an axis of some size first, behind each place of which are so many bytes.
fn with_front(bytes: &[u8], size: usize, row: usize) -> Vec<u8> {
    let mut result = Vec::with_capacity(bytes.len());
    for position in 0..size {
        for part in bytes.chunks_exact(row).skip(position).step_by(size) {
            result.extend_from_slice(part);
        }
    }
    result
}

/// See [`Stored::key`].
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    dtype: DType,
    shape: Vec<u64>,
    left_out: Option<NonZeroUsize>,
    front: usize,
    form: FormKey,
    scale: Vec<u32>,
    contents: Contents,
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum FormKey {
    Whole,
    Half,
    Bytes { steps: Vec<u32>, scales: Vec<u32> },
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Contents {
    At(usize),
    Constant(Tensor),
    Bytes(Arc<[u8]>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_scaled_and_permuted_while_they_are_written() {
        let values: Vec<f32> = (0..12u8).map(f32::from).collect();
        let stored = Stored::floats(&[1, 2, 2, 3], &values)
            .scaled(vec![1.0, 10.0, 100.0])
            .with_front(3);
        assert_eq!(stored.shape(), [3, 1, 2, 2]);
        let expected = [
            0.0f32, 3.0, 6.0, 9.0, 10.0, 40.0, 70.0, 100.0, 200.0, 500.0, 800.0, 1100.0,
        ];
        let expected: Vec<u8> = expected.iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(stored.elements(), expected);
        assert_eq!(stored.len(), 48);
        let inner = Stored::floats(&[2, 3, 2], &values).with_front(1);
        assert_eq!(inner.shape(), [3, 2, 2]);
        let expected = [
            0.0f32, 1.0, 6.0, 7.0, 2.0, 3.0, 8.0, 9.0, 4.0, 5.0, 10.0, 11.0,
        ];
        let expected: Vec<u8> = expected.iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(inner.elements(), expected);
    }

    #[test]
    fn floats_are_halved_if_all_of_them_can_be() {
        let stored = Stored::floats(&[2, 2], &[1.0, 2.0, 3.0, 0.1])
            .scaled(vec![1.0, 2.0])
            .with_front(1);
        let stored = stored.halved().unwrap();
        assert_eq!((stored.len(), stored.shape()), (8, vec![2, 2]));
        let expected = [1.0, 3.0, 4.0, 0.2].map(f16::from_f32);
        let expected: Vec<u8> = expected.into_iter().flat_map(f16::to_le_bytes).collect();
        assert_eq!(stored.elements(), expected);
        let large = Stored::floats(&[1], &[700.0]).scaled(vec![100.0]);
        assert!(large.halved().is_none());
    }

    #[test]
    fn floats_are_multiples_of_a_step_for_each_channel() {
        let values = [127.0f32, 1.0, -63.6, 0.25, 0.0, 0.0];
        let kernel = |factors: Vec<f32>| Stored::floats(&[1, 1, 3, 2], &values).scaled(factors);
        let one = kernel(vec![2.0, -4.0]).with_front(3).quantized().unwrap();
        assert_eq!((one.len(), one.shape()), (6, vec![2, 1, 1, 3]));
        let signed = |stored: &Stored<'_>| -> Vec<i8> {
            stored
                .elements()
                .iter()
                .map(|byte| byte.cast_signed())
                .collect()
        };
        assert_eq!(signed(&one), [127, -64, 0, -127, -32, 0]);
        let (scales, axis) = one.scales().unwrap();
        assert_eq!((scales, axis), (&[2.0, 4.0 / 127.0][..], 0));
        // Kernels that differ by what follows them have the same bytes.
        let other = kernel(vec![0.5, -1.0]).with_front(3).quantized().unwrap();
        assert_eq!(one.bytes_key(), other.bytes_key());
        assert_ne!(one.key(), other.key());
        let turned = kernel(vec![0.5, 1.0]).with_front(3).quantized().unwrap();
        assert_ne!(one.bytes_key(), turned.bytes_key());
        // Channels that are 0.
        let none = kernel(vec![0.0, 1.0]).quantized().unwrap();
        assert_eq!(signed(&none), [0, 127, 0, 32, 0, 0]);
        assert_eq!(none.scales().unwrap(), (&[1.0, 1.0 / 127.0][..], 3));
        for value in [f32::NAN, f32::INFINITY] {
            assert!(Stored::floats(&[2], &[value, 1.0]).quantized().is_none());
        }
    }

    #[test]
    fn the_first_of_each_run_can_be_left_out() {
        let values: Vec<f32> = (0..12u8).map(f32::from).collect();
        let run = NonZeroUsize::new(3).unwrap();
        let whole = Stored::floats(&[1, 1, 2, 6], &values);
        let part = whole.clone().without_first(run);
        assert_ne!(whole.key(), part.key());
        assert_eq!((part.shape(), part.len()), (vec![1, 1, 2, 4], 32));
        let expected = [1.0f32, 2.0, 4.0, 5.0, 7.0, 8.0, 10.0, 11.0];
        assert_eq!(part.to_f32().unwrap(), expected);
        let bytes = |values: &[f32]| -> Vec<u8> {
            values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect()
        };
        assert_eq!(part.elements(), bytes(&expected));
        let part = part.scaled(vec![1.0, 10.0, 100.0, 1000.0]).with_front(3);
        assert_eq!((part.shape(), part.len()), (vec![4, 1, 1, 2], 32));
        let expected = [1.0, 7.0, 20.0, 80.0, 400.0, 1000.0, 5000.0, 11000.0];
        assert_eq!(part.elements(), bytes(&expected));
        let quantized = part.clone().quantized().unwrap();
        assert_eq!(quantized.len(), 8);
        assert_eq!(quantized.elements().len(), 8);
        assert_eq!(part.halved().unwrap().elements().len(), 16);
    }

    #[test]
    fn only_what_is_written_alike_has_one_key() {
        let one = Stored::floats(&[2], &[1.0, 2.0]);
        assert_eq!(one.key(), Stored::floats(&[2], &[1.0, 2.0]).key());
        assert_ne!(one.key(), one.clone().reshaped(&[2, 1]).key());
        assert_ne!(one.key(), one.clone().scaled(vec![2.0, 2.0]).key());
        assert_ne!(one.key(), Stored::floats(&[2], &[1.0, 3.0]).key());
    }
}
