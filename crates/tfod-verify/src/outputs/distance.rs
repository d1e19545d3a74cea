//! How far two outputs are apart.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tfod_runtime::{Tensor, Values};

use tfod_text::Shown;

/// How far an output of one model is from that of another, over all images.
#[derive(Clone, Debug, Default)]
pub struct Distance {
    /// How many numbers were compared.
    pub elements: u64,
    /// How many are not equal.
    pub differing: u64,
    /// The pair that is farthest apart; `None` while all are equal.
    pub farthest: Option<Farthest>,
    /// Types and shapes where they are not the same, of the first such image.
    pub kinds: Option<[String; 2]>,
}

/// Two numbers that are apart.
#[derive(Clone, Debug)]
pub struct Farthest {
    /// `|a - b| / (1 + max(|a|, |b|))` of floats, infinite where one is no finite number; `|a - b|` of integers.
    pub distance: f64,
    /// The two numbers.
    pub values: [f64; 2],
    /// Where they are in the output.
    pub index: Vec<usize>,
    /// The image.
    pub image: PathBuf,
}

impl Distance {
    /// Compares the outputs for one more image.
    pub(super) fn add(&mut self, a: &Tensor, b: &Tensor, image: &Path) {
        let kind = |of: &Tensor| format!("{} {:?}", of.values().type_name(), of.shape());
        if kind(a) != kind(b) {
            self.kinds.get_or_insert_with(|| [kind(a), kind(b)]);
            return;
        }
        let mut farthest: Option<(f64, [f64; 2], usize)> = None;
        for index in 0..a.values().len() {
            let (Some(x), Some(y)) = (a.values().get(index), b.values().get(index)) else {
                continue;
            };
            self.elements += 1;
            let distance = match a.values() {
                Values::F32(_) | Values::F64(_) => distance(x, y),
                _ => (x - y).abs(),
            };
            if distance > 0.0 {
                self.differing += 1;
                if farthest.is_none_or(|(most, ..)| distance > most) {
                    farthest = Some((distance, [x, y], index));
                }
            }
        }
        let so_far = self.farthest.as_ref().map_or(0.0, |found| found.distance);
        if let Some((distance, values, index)) = farthest
            && distance > so_far
        {
            self.farthest = Some(Farthest {
                distance,
                values,
                index: place(index, a.shape()),
                image: image.to_owned(),
            });
        }
    }

    /// Whether nothing is farther apart than that, and types and shapes are the same.
    pub fn is_within(&self, tolerance: f64) -> bool {
        self.largest() <= tolerance
    }

    /// The largest distance; infinite where types or shapes are not the same.
    pub fn largest(&self) -> f64 {
        let largest = self.farthest.as_ref().map_or(0.0, |found| found.distance);
        if self.kinds.is_some() {
            f64::INFINITY
        } else {
            largest
        }
    }

    pub(super) fn json(&self) -> Value {
        let farthest = self.farthest.as_ref().map(|found| {
            json!({
                // JSON has no infinity.
                "distance": found.distance.is_finite().then_some(found.distance),
                "values": found.values.map(|value| value.to_string()),
                "index": found.index,
                "image": found.image.display().to_string(),
            })
        });
        json!({
            "elements": self.elements,
            "differing": self.differing,
            "farthest": farthest,
            "kinds": self.kinds,
        })
    }
}

impl std::fmt::Display for Distance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some([first, second]) = &self.kinds {
            return write!(f, "{first} and {second}");
        }
        match &self.farthest {
            None if self.elements == 0 => f.write_str("nothing to compare"),
            None => write!(f, "all {} numbers are equal", self.elements),
            Some(found) => {
                let [x, y] = found.values;
                write!(
                    f,
                    "{} of {} numbers differ, the most {x} and {y} at {:?} of {} (by {:.1e})",
                    self.differing,
                    self.elements,
                    found.index,
                    found.image.shown(),
                    found.distance
                )
            }
        }
    }
}

/// Relative for large numbers, absolute for small ones. What is no number is equal to itself alone.
fn distance(x: f64, y: f64) -> f64 {
    #[expect(clippy::float_cmp, reason = "infinities are equal to themselves")]
    if x == y || x.is_nan() && y.is_nan() {
        return 0.0;
    }
    let distance = (x - y).abs() / (1.0 + x.abs().max(y.abs()));
    if distance.is_nan() {
        f64::INFINITY
    } else {
        distance
    }
}

/// The indices of an element.
fn place(mut index: usize, shape: &[usize]) -> Vec<usize> {
    let mut place: Vec<usize> = shape
        .iter()
        .rev()
        .map(|size| {
            let of = index % size;
            index /= size;
            of
        })
        .collect();
    place.reverse();
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::new(shape.to_vec(), Values::F32(values.to_vec())).unwrap()
    }

    #[test]
    fn the_farthest_pair_of_all_images_is_told_with_its_place() {
        let mut distance = Distance::default();
        let zeros = tensor(&[2, 3], &[0.0; 6]);
        let (near, far) = (
            [0.0, 0.0, 0.0, 0.0, 1e-5, 0.0],
            [0.0, 0.0, 1.0, 0.0, 0.0, 0.0],
        );
        for (values, image) in [(near, "near"), (far, "far"), ([0.0; 6], "equal")] {
            distance.add(&zeros, &tensor(&[2, 3], &values), image.as_ref());
        }
        let farthest = distance.farthest.clone().unwrap();
        assert_eq!((distance.elements, distance.differing), (18, 2));
        assert_eq!(farthest.index, [0, 2]);
        assert_eq!(farthest.image, Path::new("far"));
        assert!((farthest.distance - 0.5).abs() < 1e-12);
        assert!(distance.is_within(0.5) && !distance.is_within(0.49));
    }

    #[test]
    fn what_is_no_number_is_equal_to_itself_alone() {
        let special = tensor(&[3], &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY]);
        let mut distance = Distance::default();
        distance.add(&special, &special, "same".as_ref());
        assert!(distance.is_within(0.0));
        for other in [[0.0, f32::INFINITY, f32::NEG_INFINITY], [f32::NAN; 3]] {
            let mut distance = Distance::default();
            distance.add(&special, &tensor(&[3], &other), "other".as_ref());
            assert!(!distance.is_within(f64::MAX), "{other:?}");
        }
    }

    #[test]
    fn neighbouring_integers_are_not_near() {
        let integers = |of| Tensor::new(vec![1], Values::I64(vec![of])).unwrap();
        let mut distance = Distance::default();
        distance.add(&integers(20_000), &integers(20_001), "x".as_ref());
        assert!(!distance.is_within(0.5) && distance.is_within(1.0));
    }

    #[test]
    fn shapes_and_types_count() {
        let mut distance = Distance::default();
        distance.add(
            &tensor(&[2, 1], &[0.0; 2]),
            &tensor(&[1, 2], &[0.0; 2]),
            "x".as_ref(),
        );
        assert!(!distance.is_within(f64::MAX));
        assert_eq!(distance.to_string(), "float32 [2, 1] and float32 [1, 2]");
    }
}
