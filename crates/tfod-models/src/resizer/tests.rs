//! Sizes are the reference's, whatever the image.

use super::*;
use proptest::prelude::*;
use tfod_graph::{Builder, DType, Dim, Shape};

fn keep(min: u64, max: u64, padding: Option<[f32; 3]>) -> Resizer {
    Resizer {
        kind: ResizerKind::KeepAspectRatio {
            min,
            max,
            method: ResizeMethod::Bilinear,
            padding,
        },
        grayscale: false,
        path: FieldPath::MODEL,
    }
}

fn conditional(condition: Condition, threshold: u64) -> Resizer {
    Resizer {
        kind: ResizerKind::ConditionalShape {
            condition,
            threshold,
            method: ResizeMethod::Nearest,
        },
        grayscale: false,
        path: FieldPath::MODEL,
    }
}

/// Sizes after resizing and after padding.
fn sizes(resizer: Resizer, from: [u64; 2]) -> Option<[[u64; 2]; 2]> {
    let mut b = Builder::new("g");
    let shape = Shape::known(&[1, from[0], from[1], 3]);
    let images = b.input("images", DType::F32, shape);
    let resized = resizer.resize(&mut b, images).ok()?;
    let finished = resizer.finish(&mut b, resized, Unit::Part).ok()?;
    let size = |value| match b.shape(value).sizes()?.as_slice() {
        [_, height, width, _] => Some([*height, *width]),
        _ => None,
    };
    Some([size(resized.images)?, size(finished.images)?])
}

/// `a * b / c` and what is left.
fn quotient(a: u64, b: u64, c: u64) -> (u64, u64) {
    (a * b / c, a * b % c)
}

proptest! {
    /// In whole numbers: the side that decides becomes its limit, the other the nearest number to limit * other / side; where that is nearly a half, 32 bits
    /// may decide either way.
    #[test]
    fn the_aspect_ratio_is_kept(from in [1u64..2000, 1u64..2000], min in 1u64..1200, more in 0u64..800) {
        let max = min + more;
        let [short, long] = if from[0] < from[1] { from } else { [from[1], from[0]] };
        // The smaller scale of min / short and max / long.
        let (limit, side) = if min * long <= max * short { (min, short) } else { (max, long) };
        let Some([found, _]) = sizes(keep(min, max, None), from) else {
            // A side that vanishes.
            prop_assert!(2 * short * limit <= side + 1);
            return Ok(());
        };
        for axis in 0..2 {
            let (whole, rest) = quotient(from[axis], limit, side);
            let nearly_half = (2 * rest).abs_diff(side) * 4096 <= side;
            let exact = whole + u64::from(2 * rest > side);
            prop_assert!(
                found[axis] == exact || nearly_half && found[axis].abs_diff(exact) <= 1,
                "{from:?} within {min}, {max}: {found:?}, expected {exact}"
            );
            prop_assert!(found[axis] <= max);
        }
    }

    #[test]
    fn padding_makes_a_square(from in [1u64..2000, 1u64..2000], max in 64u64..800) {
        if let Some([found, padded]) = sizes(keep(64, max, Some([0.0; 3])), from) {
            prop_assert_eq!(padded, [max; 2]);
            prop_assert!(found[0] <= max && found[1] <= max);
        }
    }

    /// The deciding side becomes the threshold or stays; the other is cut off to a whole number, or to one less where 32 bits fall short of it.
    #[test]
    fn the_deciding_side_becomes_the_threshold(
        from in [8u64..2000, 8u64..2000], threshold in 300u64..1200, greater in any::<bool>(),
    ) {
        let [short, long] = if from[0] < from[1] { from } else { [from[1], from[0]] };
        let (condition, side, target) = if greater {
            (Condition::Greater, long, long.min(threshold))
        } else {
            (Condition::Smaller, short, short.max(threshold))
        };
        let [found, padded] = sizes(conditional(condition, threshold), from).unwrap();
        prop_assert_eq!(found, padded);
        for axis in 0..2 {
            let (whole, rest) = quotient(from[axis], target, side);
            let fits = found[axis] == whole
                || rest == 0 && found[axis] + 1 == whole
                || (side - rest) * 1024 < side && found[axis] == whole + 1;
            prop_assert!(fits, "{from:?} by {threshold}: {found:?}, expected {whole}");
            prop_assert!(target != side || found == from);
        }
    }

    #[test]
    fn multiples_are_the_next(from in [1u64..2000, 1u64..2000], multiple in 1u64..300) {
        let kind = ResizerKind::PadToMultiple { multiple };
        let [found, padded] = sizes(Resizer { kind, grayscale: true, path: FieldPath::MODEL }, from).unwrap();
        prop_assert_eq!(found, from);
        prop_assert_eq!(padded, from.map(|side| side.next_multiple_of(multiple)));
    }
}

/// Sizes that 32-bit arithmetic makes: the reference's, which exact arithmetic would not give.
#[test]
fn rounding_is_that_of_32_bits() {
    // 291 * (300 / 291) is 299.99997 in 32 bits.
    let exact = |side: f32, target: f32| side * (target / side);
    let cut: Vec<u64> = (8u16..300)
        .filter(|side| exact(f32::from(*side), 300.0) < 300.0)
        .map(u64::from)
        .collect();
    assert!(!cut.is_empty(), "the case must show something");
    for side in cut {
        let found = sizes(conditional(Condition::Smaller, 300), [side, side]);
        assert_eq!(found, Some([[299, 299]; 2]), "{side}");
    }
    // 3 * (5 / 2) is a half: rounded to the even 8, where 2.5 goes to 2.
    assert_eq!(sizes(keep(5, 8, None), [2, 3]), Some([[5, 8]; 2]));
    assert_eq!(sizes(keep(2, 9, None), [4, 5]), Some([[2, 2]; 2]));
}

#[test]
fn without_a_known_size_the_network_input_is_as_large_as_the_image_makes_it() {
    let mut b = Builder::new("g");
    let shape = Shape(vec![1.into(), Dim::symbol("h"), Dim::symbol("w"), 3.into()]);
    let images = b.input("images", DType::F32, shape);
    for (resizer, expected) in [
        (keep(64, 96, Some([1.0; 3])), "[1, 96, 96, 3]"),
        (keep(64, 96, None), "[1, resized_height, resized_width, 3]"),
        (
            Resizer {
                kind: ResizerKind::PadToMultiple { multiple: 8 },
                grayscale: true,
                path: FieldPath::MODEL,
            },
            "[1, ceil(h/8)*8, ceil(w/8)*8, 1]",
        ),
        (
            Resizer {
                kind: ResizerKind::Identity,
                grayscale: false,
                path: FieldPath::MODEL,
            },
            "[1, h, w, 3]",
        ),
    ] {
        let resized = resizer.resize(&mut b, images).unwrap();
        let finished = resizer.finish(&mut b, resized, Unit::Part).unwrap();
        assert_eq!(b.shape(finished.images).to_string(), expected);
    }
    tfod_graph::validate(b.graph()).unwrap();
}
