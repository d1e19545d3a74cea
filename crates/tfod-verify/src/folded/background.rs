//! Kernels that have no channels for the background, where the other model's have: TFLite models leave them out where nothing reads the background's scores.

use tfod_inspect::{InspectError, LayerKind};

use super::kernel::{Kernel, Rounding, View};
use super::model::{MAX_CHANNELS, Model, Vector};
use super::{Budget, Partners};

/// Kernels of the other model that have as many channels as those of some layers, once the first of each `run` is left out of one of the two.
pub(super) struct Narrower {
    /// One anchor has so many channels, of which the first is the background's.
    run: usize,
    /// Whether the layers' kernels are the ones that have them.
    is_own: bool,
    candidates: Vec<Kernel>,
    vectors: Vec<Vector>,
}

/// What is compared with a layer: its kernel where that is narrower than before, the other's, where its elements are, and vectors of as many channels.
pub(super) struct Partner<'n> {
    pub(super) own: Option<Kernel>,
    pub(super) candidate: &'n Kernel,
    pub(super) view: View,
    pub(super) vectors: &'n [Vector],
}

impl Narrower {
    /// All of them for kernels of some sizes.
    pub(super) fn all(
        other: &Model<'_>,
        kind: LayerKind,
        sizes: [usize; 4],
        budget: &Budget,
    ) -> Result<Vec<Self>, InspectError> {
        let mut found = Vec::new();
        let channels = sizes[0];
        if kind != LayerKind::Conv2d || channels as u64 > MAX_CHANNELS {
            return Ok(found);
        }
        for count in (1..=channels).filter(|count| channels.is_multiple_of(*count)) {
            let run = channels / count;
            let sides = [
                (true, channels - count, run),
                (false, channels + count, run + 1),
            ];
            for (is_own, wanted, run) in sides {
                if wanted == 0 || run < 2 {
                    continue;
                }
                if !Budget::take(&budget.attempts, other.places.len()) {
                    return Ok(found);
                }
                let mut candidates =
                    other.kernels(kind, [wanted, sizes[1], sizes[2], sizes[3]], budget)?;
                let elements = candidates.iter().map(|kernel| kernel.values.len()).sum();
                if !Budget::take(&budget.elements, elements) {
                    return Ok(found);
                }
                if candidates.is_empty() {
                    continue;
                }
                let mut vectors = if other.layers.is_empty() {
                    other.vectors(wanted)?
                } else {
                    Vec::new()
                };
                if !is_own {
                    candidates = candidates
                        .iter()
                        .flat_map(|kernel| {
                            let views = kernel.views.iter();
                            views.map(|view| kernel.without_first(run, *view))
                        })
                        .collect();
                    for vector in &mut vectors {
                        leave_out(&mut vector.values, run);
                    }
                }
                found.push(Self {
                    run,
                    is_own,
                    candidates,
                    vectors,
                });
            }
        }
        Ok(found)
    }

    /// The one of them that a kernel is.
    pub(super) fn find<'n>(
        all: &'n [Self],
        kernel: &Kernel,
        budget: &Budget,
    ) -> Option<Partner<'n>> {
        all.iter().find_map(|narrower| {
            let own = match (narrower.is_own, kernel.views.first()) {
                (true, Some(view)) => {
                    let is_left = Budget::take(&budget.elements, kernel.values.len());
                    is_left.then(|| kernel.without_first(narrower.run, *view))
                }
                _ => None,
            };
            if narrower.is_own && own.is_none() {
                return None;
            }
            let mut partners = Partners::new(&narrower.candidates);
            let (candidate, view) = partners.find(own.as_ref().unwrap_or(kernel), budget)?;
            Some(Partner {
                own,
                candidate: narrower.candidates.get(candidate)?,
                view,
                vectors: &narrower.vectors,
            })
        })
    }
}

/// Leaves out the first of each `run` elements.
fn leave_out<T>(list: &mut Vec<T>, run: usize) {
    let mut place = 0..;
    list.retain(|_| {
        place
            .next()
            .is_some_and(|place: usize| !place.is_multiple_of(run))
    });
}

impl Kernel {
    /// The kernel without the first of each `run` output channels, as it is when its elements are where a view says.
    fn without_first(&self, run: usize, view: View) -> Self {
        let [channels, height, width, inputs] = view.sizes;
        let places = view.places();
        let kept = (0..channels).filter(|channel| !channel.is_multiple_of(run));
        let mut values = Vec::new();
        for channel in kept.clone() {
            let begin = channel * view.step();
            let elements = places.iter().map(|place| self.values.get(begin + place));
            values.extend(elements.map(|value| value.copied().unwrap_or(f32::NAN)));
        }
        let narrow = |list: &[f64]| {
            let mut list = list.to_vec();
            if list.len() == channels {
                leave_out(&mut list, run);
            }
            list
        };
        let rounding = |rounding: &Rounding| match rounding {
            Rounding::Single => Rounding::Single,
            Rounding::Half(factors) => Rounding::Half(narrow(factors)),
            Rounding::Steps(steps) => Rounding::Steps(narrow(steps)),
        };
        let bias = self.bias.as_ref();
        Self {
            name: self.name.clone(),
            tensors: self.tensors.clone(),
            values,
            rounding: rounding(&self.rounding),
            views: vec![View::new(
                [kept.count(), height, width, inputs],
                [height * width * inputs, width * inputs, inputs, 1],
            )],
            bias: bias.map(|(bias, of)| (narrow(bias), rounding(of))),
            names: self.names.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_channels_of_the_background_are_left_out_wherever_they_are() {
        // Two anchors with a background and two classes each; two input channels.
        let kernel = |shape: &[u64]| Kernel {
            name: "kernel".to_owned(),
            tensors: vec![3],
            values: (0..12u8).map(f32::from).collect(),
            rounding: Rounding::Steps((0..6u8).map(f64::from).collect()),
            views: View::candidates(LayerKind::Conv2d, shape, [6, 1, 1, 2]),
            bias: Some(((0..6u8).map(f64::from).collect(), Rounding::Half(vec![1.0]))),
            names: vec!["kernel".to_owned()],
        };
        for (shape, expected) in [
            ([1, 1, 2, 6], [1.0, 7.0, 2.0, 8.0, 4.0, 10.0, 5.0, 11.0]),
            ([6, 2, 1, 1], [2.0, 3.0, 4.0, 5.0, 8.0, 9.0, 10.0, 11.0]),
        ] {
            let whole = kernel(&shape);
            let view = *whole.views.first().expect("one view");
            let part = whole.without_first(3, view);
            assert_eq!(part.values, expected);
            let [view] = part.views[..] else {
                panic!("one view")
            };
            assert_eq!((view.sizes, view.places()), ([4, 1, 1, 2], vec![0, 1]));
            let (bias, of_bias) = part.bias.expect("a bias");
            assert_eq!(bias, [1.0, 2.0, 4.0, 5.0]);
            assert!(matches!(of_bias, Rounding::Half(factors) if factors == [1.0]));
            assert!(
                matches!(part.rounding, Rounding::Steps(steps) if steps == [1.0, 2.0, 4.0, 5.0])
            );
        }
    }
}
