//! The inverse discrete cosine transform of blocks, in integers, as libjpeg defines it in two ways.
//!
//! The fast one is that of Arai, Agui and Nakajima, whose scaling is part of the quantisation table; 8 bits of each factor are kept, and products are cut off.
//! The accurate one is that of Loeffler, Ligtenberg and Moschytz with 13 bits of each factor, and rounds. Numbers have the widths that libjpeg-turbo's vector
//! instructions give them, which is what programs run: where coefficients are larger than those of any picture, 16 bits wrap around or are limited as there.

use super::scan::Block;

/// Which transform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// What TensorFlow decodes by.
    Fast,
    /// What Pillow and OpenCV decode by.
    Accurate,
}

/// Eight numbers that are computed at once.
type Lanes = [i16; 8];

/// A transform with a quantisation table.
pub(super) struct Transform {
    method: Method,
    factors: [i16; 64],
}

/// The samples of a block, row by row.
pub(super) type Samples = [[u8; 8]; 8];

impl Transform {
    pub(super) fn new(method: Method, quantisation: &[u16; 64]) -> Self {
        let mut factors = [0; 64];
        for (at, (factor, &step)) in factors.iter_mut().zip(quantisation).enumerate() {
            let scaled = match method {
                Method::Fast => (u32::from(step) * scale(at) + (1 << 11)) >> 12,
                Method::Accurate => u32::from(step),
            };
            *factor = scaled as i16;
        }
        Self { method, factors }
    }

    /// The samples that coefficients stand for.
    pub(super) fn inverse(&self, block: &Block) -> Samples {
        let mut rows: [Lanes; 8] = [[0; 8]; 8];
        let mut alternating = 0;
        for (row, lanes) in rows.iter_mut().enumerate() {
            for (column, lane) in lanes.iter_mut().enumerate() {
                let at = row * 8 + column;
                *lane = block[at].wrapping_mul(self.factors[at]);
                if at > 0 {
                    alternating |= block[at];
                }
            }
        }
        if alternating == 0 {
            return [[self.flat(rows[0][0]); 8]; 8];
        }
        match self.method {
            Method::Fast => {
                let rows = turned(fast(turned(fast(rows))));
                rows.map(|lanes| lanes.map(|lane| sample(lane >> 5)))
            }
            Method::Accurate => {
                let below = block[8..].iter().fold(0, |all, &one| all | one);
                let rows = if below == 0 {
                    [rows[0].map(|lane| lane << 2); 8]
                } else {
                    accurate::<11>(rows)
                };
                let rows = turned(accurate::<18>(turned(rows)));
                rows.map(|lanes| lanes.map(sample))
            }
        }
    }

    /// All samples of a block that has a direct coefficient alone.
    fn flat(&self, direct: i16) -> u8 {
        match self.method {
            Method::Fast => sample(direct >> 5),
            Method::Accurate => {
                let direct = i32::from(direct << 2) << 13;
                sample(narrow(direct.wrapping_add(1 << 17) >> 18))
            }
        }
    }
}

/// The scaling of the fast transform's coefficients, with 14 bits behind the point: cos(k pi / 16) * sqrt(2) across and down, and 1 for k = 0.
fn scale(at: usize) -> u32 {
    const SCALES: [f64; 8] = [
        1.0,
        1.387_039_845,
        1.306_562_965,
        1.175_875_602,
        1.0,
        0.785_694_958,
        0.541_196_100,
        0.275_899_379,
    ];
    (SCALES[at / 8] * SCALES[at % 8] * 16_384.0).round() as u32
}

/// A number around zero as a sample around 128, within limits.
#[inline]
fn sample(value: i16) -> u8 {
    (value.clamp(-128, 127) as i8 as u8) ^ 0x80
}

/// A number within the limits of 16 bits.
#[inline]
fn narrow(value: i32) -> i16 {
    value.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
}

#[inline]
fn turned(rows: [Lanes; 8]) -> [Lanes; 8] {
    let mut turned = [[0; 8]; 8];
    for (row, lanes) in rows.iter().enumerate() {
        for (column, &lane) in lanes.iter().enumerate() {
            turned[column][row] = lane;
        }
    }
    turned
}

#[inline]
fn each(a: Lanes, b: Lanes, compute: impl Fn(i16, i16) -> i16) -> Lanes {
    std::array::from_fn(|lane| compute(a[lane], b[lane]))
}

#[inline]
fn add(a: Lanes, b: Lanes) -> Lanes {
    each(a, b, i16::wrapping_add)
}

#[inline]
fn subtract(a: Lanes, b: Lanes) -> Lanes {
    each(a, b, i16::wrapping_sub)
}

/// Times a factor of 256ths, rounded down.
#[inline]
fn times<const FACTOR: i32>(a: Lanes) -> Lanes {
    a.map(|lane| (i32::from(lane << 2).wrapping_mul(FACTOR << 6) >> 16) as i16)
}

/// One direction of the fast transform, of all columns at once.
#[inline]
fn fast(v: [Lanes; 8]) -> [Lanes; 8] {
    let sum = add(v[0], v[4]);
    let difference = subtract(v[0], v[4]);
    let inner = add(v[2], v[6]);
    let outer = subtract(times::<362>(subtract(v[2], v[6])), inner);
    let even = [
        add(sum, inner),
        add(difference, outer),
        subtract(difference, outer),
        subtract(sum, inner),
    ];

    let z13 = add(v[5], v[3]);
    let z10 = subtract(v[5], v[3]);
    let z11 = add(v[1], v[7]);
    let z12 = subtract(v[1], v[7]);
    let odd0 = add(z11, z13);
    let z5 = times::<473>(add(z10, z12));
    // 2.613 is 1.613 and 1, so that it fits.
    let twelve = add(subtract(times::<-413>(z10), z10), z5);
    let odd1 = subtract(twelve, odd0);
    let odd2 = subtract(times::<362>(subtract(z11, z13)), odd1);
    let odd3 = add(subtract(times::<277>(z12), z5), odd2);
    [
        add(even[0], odd0),
        add(even[1], odd1),
        add(even[2], odd2),
        subtract(even[3], odd3),
        add(even[3], odd3),
        subtract(even[2], odd2),
        subtract(even[1], odd1),
        subtract(even[0], odd0),
    ]
}

/// One direction of the accurate transform, of all columns at once, without the lowest bits.
#[inline]
fn accurate<const DROPPED: u32>(v: [Lanes; 8]) -> [Lanes; 8] {
    let mut result = [[0; 8]; 8];
    for lane in 0..8 {
        let at = |row: usize| v[row][lane];
        let wide = |row: usize| i32::from(v[row][lane]);
        // Sums of two products, as vector instructions have them.
        let pair = |a: i32, by_a: i32, b: i32, by_b: i32| {
            a.wrapping_mul(by_a).wrapping_add(b.wrapping_mul(by_b))
        };
        let even2 = pair(wide(2), 4_433, wide(6), 4_433 - 15_137);
        let even3 = pair(wide(2), 4_433 + 6_270, wide(6), 4_433);
        let even0 = i32::from(at(0).wrapping_add(at(4))) << 13;
        let even1 = i32::from(at(0).wrapping_sub(at(4))) << 13;
        let even = [
            even0.wrapping_add(even3),
            even1.wrapping_add(even2),
            even1.wrapping_sub(even2),
            even0.wrapping_sub(even3),
        ];

        let z3 = i32::from(at(7).wrapping_add(at(3)));
        let z4 = i32::from(at(5).wrapping_add(at(1)));
        let sum3 = pair(z3, 9_633 - 16_069, z4, 9_633);
        let sum4 = pair(z3, 9_633, z4, 9_633 - 3_196);
        let odd = [
            pair(wide(1), 12_299 - 7_373, wide(7), -7_373).wrapping_add(sum4),
            pair(wide(3), 25_172 - 20_995, wide(5), -20_995).wrapping_add(sum3),
            pair(wide(5), 16_819 - 20_995, wide(3), -20_995).wrapping_add(sum4),
            pair(wide(7), 2_446 - 7_373, wide(1), -7_373).wrapping_add(sum3),
        ];
        for row in 0..4 {
            let round = |value: i32| narrow(value.wrapping_add(1 << (DROPPED - 1)) >> DROPPED);
            result[row][lane] = round(even[row].wrapping_add(odd[row]));
            result[7 - row][lane] = round(even[row].wrapping_sub(odd[row]));
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The transform by its definition.
    fn exact(block: &Block, quantisation: &[u16; 64]) -> [[f64; 8]; 8] {
        let norm = |k: usize| if k == 0 { 0.5_f64.sqrt() } else { 1.0 };
        let wave = |x: usize, k: usize| {
            let steps = f64::from(((2 * x + 1) * k) as u32);
            (steps * std::f64::consts::PI / 16.0).cos() * norm(k) / 2.0
        };
        std::array::from_fn(|y| {
            std::array::from_fn(|x| {
                let terms = (0..64).map(|at| {
                    let value = f64::from(block[at]) * f64::from(quantisation[at]);
                    value * wave(y, at / 8) * wave(x, at % 8)
                });
                (terms.sum::<f64>() + 128.0).clamp(0.0, 255.0)
            })
        })
    }

    #[test]
    fn transforms_are_near_the_definition() {
        let quantisation: [u16; 64] = std::array::from_fn(|at| 1 + (at as u16) / 4);
        let mut state = 1_u32;
        let mut random = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % below
        };
        let (mut differ, mut worst) = (0, [0.0_f64; 2]);
        for _ in 0..500 {
            let mut block = [0; 64];
            for _ in 0..random(12) {
                let at = random(64) as usize;
                block[at] = (random(41) as i16) - 20;
            }
            let expected = exact(&block, &quantisation);
            let transforms = [Method::Fast, Method::Accurate]
                .map(|method| Transform::new(method, &quantisation));
            let found = transforms.map(|transform| transform.inverse(&block));
            differ += usize::from(found[0] != found[1]);
            for (worst, found) in worst.iter_mut().zip(found) {
                for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
                    *worst = worst.max((f64::from(*found) - expected).abs());
                }
            }
        }
        assert!(worst[0] < 6.0 && worst[1] < 1.1, "{worst:?}");
        assert!(differ > 300, "{differ}");
    }

    #[test]
    fn blocks_of_one_brightness_are_what_the_whole_transform_gives() {
        for method in [Method::Fast, Method::Accurate] {
            let transform = Transform::new(method, &[16; 64]);
            for direct in -200..200 {
                let mut block = [0; 64];
                block[0] = direct;
                let flat = transform.inverse(&block);
                // A coefficient that the table makes nothing of.
                let mut quantisation = [16; 64];
                quantisation[63] = 0;
                block[63] = 1;
                let whole = Transform::new(method, &quantisation).inverse(&block);
                assert_eq!(flat, whole, "{direct}");
            }
        }
    }
}
