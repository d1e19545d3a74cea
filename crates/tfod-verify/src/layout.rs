//! The orders in which formats store the same weights.
//!
//! TensorFlow's convolution kernels are `[height, width, in, out]`, ONNX's `[out, in, height, width]`; depthwise ones are `[height, width, channels,
//! multiplier]` and `[channels * multiplier, 1, height, width]`; matrices may be transposed.

/// An order of dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// For people.
    pub(crate) name: &'static str,
    /// Which of the first tensor's dimensions each of the second's is; empty if elements are in the same order.
    permutation: &'static [usize],
}

/// The same elements in the same order, whatever the shape.
pub(crate) const SAME: Layout = Layout {
    name: "the same order",
    permutation: &[],
};

const KNOWN: [Layout; 4] = [
    Layout {
        name: "[h, w, in, out] -> [out, in, h, w]",
        permutation: &[3, 2, 0, 1],
    },
    // Its inverse for depthwise kernels is the same permutation.
    Layout {
        name: "[h, w, channels, multiplier] -> [channels, multiplier, h, w], or back",
        permutation: &[2, 3, 0, 1],
    },
    Layout {
        name: "[out, in, h, w] -> [h, w, in, out]",
        permutation: &[2, 3, 1, 0],
    },
    Layout {
        name: "transposed",
        permutation: &[1, 0],
    },
];

impl Layout {
    /// Those that two tensors of these shapes may have, the likeliest first.
    pub(crate) fn candidates(from: &[u64], to: &[u64]) -> impl Iterator<Item = Self> {
        let fits = move |layout: &Layout| {
            if layout.permutation.is_empty() {
                return without_ones(from).eq(without_ones(to));
            }
            let moved = layout.permutation.iter().filter_map(|&dim| from.get(dim));
            let moved: Vec<u64> = moved.copied().collect();
            let flat = |dims: &[u64]| match dims {
                [first, second, rest @ ..] => {
                    let first = first.saturating_mul(*second);
                    std::iter::once(first).chain(rest.iter().copied()).collect()
                }
                few => few.to_vec(),
            };
            from.len() == layout.permutation.len()
                && (without_ones(&moved).eq(without_ones(to))
                    // Channels and multiplier are one dimension in ONNX.
                    || flat(&moved) == flat(to))
        };
        let mut found: Vec<Self> = std::iter::once(SAME).chain(KNOWN).filter(fits).collect();
        // Equal content may have any shape.
        if !found.contains(&SAME) {
            found.push(SAME);
        }
        found.into_iter()
    }

    /// Whether elements are in the same order.
    pub(crate) fn keeps_order(self) -> bool {
        self.permutation.is_empty()
    }

    /// Where the elements of a tensor of shape `from` are, in the other.
    pub(crate) fn places(self, from: &[u64]) -> impl Fn(u64) -> u64 + use<> {
        // For each dimension of `from`, outermost first, its size and the distance of neighbours in the other tensor.
        let mut steps: Vec<(u64, u64)> = from.iter().map(|size| (*size, 0)).collect();
        let mut step = 1u64;
        for dim in self.permutation.iter().rev() {
            if let Some((size, distance)) = steps.get_mut(*dim) {
                *distance = step;
                step = step.saturating_mul((*size).max(1));
            }
        }
        let keeps_order = self.keeps_order();
        move |index| {
            if keeps_order {
                return index;
            }
            let (mut rest, mut place) = (index, 0u64);
            for (size, distance) in steps.iter().rev() {
                let size = (*size).max(1);
                place = place.saturating_add((rest % size).saturating_mul(*distance));
                rest /= size;
            }
            place
        }
    }
}

fn without_ones(shape: &[u64]) -> impl Iterator<Item = &u64> {
    shape.iter().filter(|size| **size != 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_found_where_onnx_has_them() {
        let (from, to) = ([3, 2, 4, 5], [5, 4, 3, 2]);
        let layout = Layout::candidates(&from, &to).next().expect("fits");
        assert_eq!(layout.permutation, [3, 2, 0, 1]);
        let place = layout.places(&from);
        // Element h=1, w=0, i=2, o=3.
        let index = (2 * 4 + 2) * 5 + 3;
        assert_eq!(place(index), ((3 * 4 + 2) * 3 + 1) * 2);
        let back = Layout::candidates(&to, &from).find(|l| l.permutation == [2, 3, 1, 0]);
        let back = back.expect("the inverse").places(&to);
        assert!((0..120).all(|index| back(place(index)) == index));
    }

    #[test]
    fn depthwise_kernels_are_one_dimension_less() {
        let (from, to) = ([3, 3, 8, 2], [16, 1, 3, 3]);
        let found: Vec<_> = Layout::candidates(&from, &to)
            .map(|l| l.permutation)
            .collect();
        assert!(found.contains(&&[2, 3, 0, 1][..]), "{found:?}");
    }
}
