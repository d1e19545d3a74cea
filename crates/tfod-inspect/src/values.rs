//! How far the values of two tensors are apart.

use crate::{Element, Elements};

/// The difference between two tensors of as many elements.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ValueDifference {
    /// How many elements there are.
    pub elements: u64,
    /// How many are not the same, bit for bit.
    pub differing: u64,
    /// The largest distance of two finite numbers.
    pub max: f64,
    /// The mean distance of all finite pairs, equal ones included.
    pub mean: f64,
    /// How many pairs differ that are not both finite numbers.
    pub not_finite: u64,
}

/// Compares element by element; `to_other` says which element of `b` an element of `a` belongs to. `None` if they have not as many elements.
pub fn difference(
    a: &Elements<'_>,
    b: &Elements<'_>,
    to_other: impl Fn(u64) -> u64,
    keeps_order: bool,
) -> Option<ValueDifference> {
    let elements = a.count();
    if b.count() != elements {
        return None;
    }
    let mut found = ValueDifference {
        elements,
        ..ValueDifference::default()
    };
    // Behind what is stored, the last elements repeat: one pair stands for all of them. Only in the same order are they pairs of each other.
    let stored = a.num_stored().max(b.num_stored());
    let compared = if keeps_order { stored } else { elements };
    let (mut sum, mut finite) = (0.0, 0u64);
    for index in 0..compared {
        let times = if keeps_order && index + 1 == compared {
            elements - index
        } else {
            1
        };
        let other = to_other(index);
        let is_same = a.raw(index) == b.raw(other);
        found.differing += if is_same { 0 } else { times };
        let real = |elements: &Elements<'_>, index| elements.get(index).and_then(Element::real);
        match (real(a, index), real(b, other)) {
            (Some(x), Some(y)) if x.is_finite() && y.is_finite() => {
                let distance = (x - y).abs();
                found.max = found.max.max(distance);
                sum += distance * float(times);
                finite += times;
            }
            _ if is_same => {}
            _ => found.not_finite += times,
        }
    }
    found.mean = if finite > 0 { sum / float(finite) } else { 0.0 };
    Some(found)
}

/// Compares in the same order; quickly where both are the same bytes.
pub fn in_order(a: &Elements<'_>, b: &Elements<'_>) -> Option<ValueDifference> {
    if let (
        Elements::Numbers {
            count,
            stored,
            dtype,
        },
        Elements::Numbers {
            count: other_count,
            stored: other,
            dtype: other_dtype,
        },
    ) = (a, b)
        && (count, dtype) == (other_count, other_dtype)
        && stored == other
    {
        return Some(ValueDifference {
            elements: *count,
            ..ValueDifference::default()
        });
    }
    difference(a, b, |index| index, true)
}

#[expect(clippy::cast_precision_loss, reason = "counts, for means")]
fn float(count: u64) -> f64 {
    count as f64
}

impl ValueDifference {
    /// Whether all elements are the same, bit for bit.
    pub fn is_none(&self) -> bool {
        self.differing == 0
    }

    /// It as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "elements": self.elements,
            "differing": self.differing,
            "max": self.max,
            "mean": self.mean,
            "not_finite": self.not_finite,
        })
    }
}

impl std::fmt::Display for ValueDifference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} elements differ", self.differing, self.elements)?;
        // Strings have no distance.
        if self.differing > self.not_finite {
            write!(
                f,
                ", by at most {:.3e}, {:.3e} in the mean",
                self.max, self.mean
            )?;
            if self.not_finite > 0 {
                write!(f, "; {} are not finite on both sides", self.not_finite)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use tfod_checkpoint::DType as StoredType;

    fn floats(count: u64, numbers: &[f32]) -> Elements<'static> {
        Elements::Numbers {
            dtype: StoredType::Float32,
            count,
            stored: Cow::Owned(numbers.iter().flat_map(|n| n.to_le_bytes()).collect()),
        }
    }

    #[test]
    fn distances_are_of_finite_pairs() {
        let (a, b) = (
            floats(5, &[1.0, 2.0, f32::NAN, f32::NAN, 0.0]),
            floats(5, &[1.0, 2.5, f32::NAN, 1.0, -0.0]),
        );
        let found = in_order(&a, &b).expect("as many");
        assert_eq!(
            (found.elements, found.differing, found.not_finite),
            (5, 3, 1)
        );
        assert!((found.max - 0.5).abs() < 1e-12 && (found.mean - 0.5 / 3.0).abs() < 1e-12);
        assert_eq!(in_order(&a, &floats(4, &[0.0])), None);
    }

    #[test]
    fn repeated_values_take_no_time() {
        let found = in_order(&floats(1 << 50, &[1.0]), &floats(1 << 50, &[1.0, 3.0]));
        let found = found.expect("as many");
        assert_eq!(found.differing, (1 << 50) - 1);
        assert!((found.max - 2.0).abs() < 1e-12);
    }
}
