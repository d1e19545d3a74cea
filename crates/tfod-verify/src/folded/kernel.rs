//! Kernels of layers, whatever the order of their elements and however they were rounded, and by what one was multiplied to become another.

use tfod_inspect::LayerKind;

/// How far computed numbers may be apart, as a part of their magnitude: a few roundings of single precision.
pub(super) const ROUNDING: f64 = 4e-6;
/// How many channels of a kernel, and elements of each, tell whether it is another's.
pub(super) const SAMPLED: [usize; 2] = [8, 64];

/// How numbers were rounded when they were stored.
#[derive(Clone, Debug)]
pub(super) enum Rounding {
    /// As they were computed.
    Single,
    /// To 16 bits, and then multiplied by these.
    Half(Vec<f64>),
    /// To multiples of a step, for each output channel.
    Steps(Vec<f64>),
}

impl Rounding {
    /// How far a number of a channel may be from what it was before.
    pub(super) fn allowed(&self, channel: usize, value: f64) -> f64 {
        let of = |list: &[f64]| list.get(channel).or(list.first()).copied();
        let stored = match self {
            Self::Single => 0.0,
            Self::Half(factors) => {
                let factor = of(factors).unwrap_or(1.0).abs();
                // Half of the last place; the smallest numbers have fewer places.
                value.abs() * 2f64.powi(-11) + factor * 2f64.powi(-25)
            }
            Self::Steps(steps) => of(steps).unwrap_or(0.0).abs() * 0.5,
        };
        stored + ROUNDING * value.abs()
    }
}

/// Where a kernel's elements are: its sizes and the distances of neighbours, of the output channels, height, width and input channels.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub(super) sizes: [usize; 4],
    pub(super) steps: [usize; 4],
}

impl View {
    pub(super) fn new(sizes: [usize; 4], steps: [usize; 4]) -> Self {
        Self { sizes, steps }
    }

    /// Of a layer's kernel.
    pub(super) fn of_layer(kind: LayerKind, shape: &[u64]) -> Option<Self> {
        Some(match (kind, sizes(shape)?.as_slice()) {
            (LayerKind::Conv2d | LayerKind::TransposeConv, &[o, h, w, i]) => {
                Self::new([o, h, w, i], [h * w * i, w * i, i, 1])
            }
            (LayerKind::DepthwiseConv2d, &[1, h, w, o]) => {
                Self::new([o, h, w, 1], [1, w * o, o, 1])
            }
            (LayerKind::FullyConnected, &[o, i]) => Self::new([o, 1, 1, i], [i, i, i, 1]),
            _ => return None,
        })
    }

    /// Those that a tensor of another format may have, if it is of these sizes.
    pub(super) fn candidates(kind: LayerKind, shape: &[u64], wanted: [usize; 4]) -> Vec<Self> {
        let Some(shape) = sizes(shape) else {
            return Vec::new();
        };
        let all = match (kind, shape.as_slice()) {
            (LayerKind::Conv2d, &[a, b, c, d]) => vec![
                Self::new([d, a, b, c], [1, b * c * d, c * d, d]),
                Self::new([a, c, d, b], [b * c * d, d, 1, c * d]),
            ],
            (LayerKind::DepthwiseConv2d, &[a, b, c, d]) => vec![
                Self::new([c * d, a, b, 1], [1, b * c * d, c * d, 1]),
                Self::new([a * b, c, d, 1], [c * d, d, 1, 1]),
            ],
            (LayerKind::TransposeConv, &[a, b, c, d]) => vec![
                Self::new([c, a, b, d], [d, b * c * d, c * d, 1]),
                Self::new([b, c, d, a], [c * d, d, 1, b * c * d]),
            ],
            (LayerKind::FullyConnected, &[a, b]) => vec![
                Self::new([b, 1, 1, a], [1, b, b, b]),
                Self::new([a, 1, 1, b], [b, b, b, 1]),
            ],
            _ => Vec::new(),
        };
        all.into_iter()
            .filter(|view| view.sizes == wanted)
            .collect()
    }

    /// How many elements each output channel has.
    pub(super) fn per_channel(&self) -> usize {
        self.sizes.iter().skip(1).product()
    }

    /// Where the elements of the first output channel are.
    pub(super) fn places(&self) -> Vec<usize> {
        let [_, h, w, i] = self.sizes;
        let [_, of_row, of_column, of_input] = self.steps;
        let mut places = Vec::with_capacity(self.per_channel());
        for row in 0..h {
            for column in 0..w {
                let begin = row * of_row + column * of_column;
                places.extend((0..i).map(|input| begin + input * of_input));
            }
        }
        places
    }

    /// How far it is to the next output channel.
    pub(super) fn step(&self) -> usize {
        self.steps[0]
    }
}

/// Sizes whose products are in the range of numbers, whatever part of them is left out.
pub(super) fn sizes(shape: &[u64]) -> Option<Vec<usize>> {
    let sizes = shape.iter().map(|size| usize::try_from(*size).ok());
    let sizes: Vec<usize> = sizes.collect::<Option<_>>()?;
    let mut all = sizes.iter().map(|size| size.max(&1));
    let product = all.try_fold(1usize, |product, size| product.checked_mul(*size))?;
    (product <= usize::MAX >> 1).then_some(sizes)
}

/// A kernel as it is computed with, factors behind it included.
pub(super) struct Kernel {
    pub(super) name: String,
    /// Its tensors, by their places in the model.
    pub(super) tensors: Vec<usize>,
    pub(super) values: Vec<f32>,
    pub(super) rounding: Rounding,
    /// Where its elements may be.
    pub(super) views: Vec<View>,
    /// The bias that is known to be its own, and how that was rounded.
    pub(super) bias: Option<(Vec<f64>, Rounding)>,
    /// What it may be called.
    pub(super) names: Vec<String>,
}

impl Kernel {
    pub(super) fn value(&self, at: usize) -> f64 {
        self.values.get(at).copied().map_or(f64::NAN, f64::from)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "what is stored has 32 bits"
)]
pub(super) fn narrow(value: f64) -> f32 {
    value as f32
}

/// Some numbers below a limit, evenly spread.
pub(super) fn spread(limit: usize, count: usize) -> impl Iterator<Item = usize> + Clone {
    let step = limit.div_ceil(count.max(1)).max(1);
    (0..limit).step_by(step)
}

/// The mean of the squared cosines of some channels of two kernels; of channels of one number, of which all have one direction, how near these are.
pub(super) fn alike(kernel: &Kernel, other: &Kernel, view: View) -> f64 {
    let Some(own) = kernel.views.first() else {
        return 0.0;
    };
    let [channels, elements] = SAMPLED;
    let per_channel = own.per_channel();
    let (places, other_places) = (own.places(), view.places());
    let sampled: Vec<(usize, usize)> = spread(per_channel, elements)
        .filter_map(|at| Some((*places.get(at)?, *other_places.get(at)?)))
        .collect();
    let (mut sum, mut count) = (0.0, 0.0);
    for channel in spread(own.sizes[0], channels) {
        let (mut of_both, mut of_own, mut of_other) = (0.0, 0.0, 0.0);
        for (place, other_place) in &sampled {
            let x = kernel.value(channel * own.step() + place);
            let y = other.value(channel * view.step() + other_place);
            if per_channel == 1 {
                of_both -= (x - y) * (x - y) / 2.0;
            }
            of_both += x * y;
            of_own += x * x;
            of_other += y * y;
        }
        if of_own > 0.0 && of_other > 0.0 {
            sum += of_both.abs() * of_both.abs() / (of_own * of_other);
            count += 1.0;
        }
    }
    if count > 0.0 { sum / count } else { 1.0 }
}

/// By what each channel of a kernel was multiplied.
pub(super) struct Fit {
    /// The factors that fit best.
    pub(super) scale: Vec<f64>,
    /// How far from these factors are that fit.
    pub(super) error: Vec<f64>,
    /// Channels of which the factor is known: all elements have the same.
    pub(super) judged: Vec<usize>,
    /// How the elements of the other are found.
    pub(super) view: Option<View>,
}

impl Fit {
    pub(super) fn new(kernel: &Kernel, other: &Kernel, view: View) -> Self {
        let mut fit = Self {
            scale: Vec::new(),
            error: Vec::new(),
            judged: Vec::new(),
            view: Some(view),
        };
        let Some(own) = kernel.views.first() else {
            return fit;
        };
        let places: Vec<(usize, usize)> = own.places().into_iter().zip(view.places()).collect();
        let mut pairs = Vec::with_capacity(places.len());
        for channel in 0..own.sizes[0] {
            let (mut of_both, mut squares, mut sum) = (0.0, 0.0, 0.0);
            pairs.clear();
            for (place, other_place) in &places {
                let x = kernel.value(channel * own.step() + place);
                let y = other.value(channel * view.step() + other_place);
                of_both += x * y;
                squares += y * y;
                sum += y.abs();
                pairs.push((x, y));
            }
            let is_known = squares > 0.0;
            let scale = if is_known { of_both / squares } else { 0.0 };
            let apart = |x: f64, y: f64| {
                kernel.rounding.allowed(channel, x)
                    + scale.abs() * other.rounding.allowed(channel, y)
            };
            let allowed = pairs.iter().map(|(x, y)| apart(*x, *y));
            let allowed = allowed.fold(0.0, f64::max);
            let error = if is_known {
                allowed * sum / squares + ROUNDING * scale.abs()
            } else {
                0.0
            };
            let is_straight = || {
                let mut pairs = pairs.iter();
                pairs.all(|(x, y)| (x - scale * y).abs() <= apart(*x, *y) + error * y.abs())
            };
            if is_known && is_straight() {
                fit.judged.push(channel);
            }
            fit.scale.push(scale);
            fit.error.push(error);
        }
        fit
    }

    /// Of what has no kernel.
    pub(super) fn of_factors(kernel: &Kernel) -> Self {
        let scale: Vec<f64> = kernel
            .values
            .iter()
            .map(|value| f64::from(*value))
            .collect();
        let error = scale.iter().enumerate();
        let error = error.map(|(at, scale)| kernel.rounding.allowed(at, *scale));
        Self {
            error: error.collect(),
            judged: (0..scale.len()).collect(),
            scale,
            view: kernel.views.first().copied(),
        }
    }

    pub(super) fn is_at(&self, channel: usize, scale: f64) -> bool {
        let of = |list: &[f64]| list.get(channel).copied().unwrap_or(f64::NAN);
        (of(&self.scale) - scale).abs() <= of(&self.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_finds_elements_where_a_format_has_them() {
        let wanted = [5, 3, 2, 4];
        let [tensorflow, onnx] = [[3, 2, 4, 5], [5, 4, 3, 2]].map(|shape| {
            let views = View::candidates(LayerKind::Conv2d, &shape, wanted);
            *views.first().expect("one view")
        });
        // Element o=1, h=2, w=1, i=3.
        let element = (2 * 2 + 1) * 4 + 3;
        let place = |view: View| view.step() + view.places()[element];
        assert_eq!(place(tensorflow), ((2 * 2 + 1) * 4 + 3) * 5 + 1);
        assert_eq!(place(onnx), ((4 + 3) * 3 + 2) * 2 + 1);
        let lite = View::of_layer(LayerKind::Conv2d, &[5, 3, 2, 4]).expect("a kernel");
        assert_eq!(place(lite), 3 * 2 * 4 + element);
    }

    #[test]
    fn sizes_that_no_file_has_are_no_kernel() {
        let huge = i32::MAX.cast_unsigned().into();
        for shape in [[huge; 4], [0, huge, huge, huge]] {
            assert!(View::of_layer(LayerKind::Conv2d, &shape).is_none());
            assert!(View::candidates(LayerKind::Conv2d, &shape, [1; 4]).is_empty());
        }
    }

    #[test]
    fn rounding_explains_half_of_a_step() {
        let steps = Rounding::Steps(vec![0.5, 2.0]);
        assert!((steps.allowed(1, 0.0) - 1.0).abs() < 1e-12);
        let half = Rounding::Half(vec![1.0]);
        // The numbers next to 1 are 2^-10 above, and half of that below.
        assert!(half.allowed(0, 1.0) >= 2f64.powi(-11));
        assert!(half.allowed(0, 1.0) < 2f64.powi(-10));
        assert!(Rounding::Single.allowed(0, 1.0) < 1e-5);
    }
}
