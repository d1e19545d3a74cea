//! How large an image becomes, in the reference's 32-bit arithmetic.

use tfod_graph::{Binary, Builder};

use super::{Condition, Resizer, ResizerKind};
use crate::error::ModelError;
use crate::scalar::{Float, Int};

impl Resizer {
    /// The size that an image of the size `from` is resized to.
    pub(super) fn target(self, b: &mut Builder, from: [Int; 2]) -> Result<[Int; 2], ModelError> {
        match self.kind {
            ResizerKind::FixedShape { size, .. } => Ok(size.map(known)),
            ResizerKind::KeepAspectRatio { min, max, .. } => {
                let [height, width] = from;
                let is_wide = height.less(b, "is_wide", width)?;
                let limits = [
                    is_wide.select(b, "height_limit", known(min), known(max))?,
                    is_wide.select(b, "width_limit", known(max), known(min))?,
                ];
                fit(b, from, limits)
            }
            ResizerKind::ConditionalShape {
                condition,
                threshold,
                ..
            } => scale_side(b, from, condition, threshold),
            ResizerKind::Identity | ResizerKind::PadToMultiple { .. } => Ok(from),
        }
    }
}

/// Sizes of the configuration are checked to be far below the limit.
pub(super) fn known(size: u64) -> Int {
    Int::Known(i32::try_from(size).unwrap_or(i32::MAX))
}

/// The largest size of the same aspect ratio within limits: `round(scale * side)`, where the scale is the smaller quotient of limit and side.
pub(super) fn fit(
    b: &mut Builder,
    from: [Int; 2],
    limits: [Int; 2],
) -> Result<[Int; 2], ModelError> {
    let mut sides = [Float::Known(0.0); 2];
    let mut scales = [Float::Known(0.0); 2];
    for (axis, name) in ["height", "width"].into_iter().enumerate() {
        sides[axis] = from[axis].to_float(b, &format!("{name}_float"))?;
        let limit = limits[axis].to_float(b, &format!("{name}_limit_float"))?;
        scales[axis] = limit.binary(b, &format!("{name}_scale"), Binary::Div, sides[axis])?;
    }
    let scale = scales[0].binary(b, "scale", Binary::Minimum, scales[1])?;
    let height = scale.binary(b, "scaled_height", Binary::Mul, sides[0])?;
    let width = scale.binary(b, "scaled_width", Binary::Mul, sides[1])?;
    Ok([
        height.rounded(b, "new_height")?,
        width.rounded(b, "new_width")?,
    ])
}

/// The size of the same aspect ratio whose longer side is at most, or whose shorter side is at least, the threshold: `int(side * scale)`.
pub(super) fn scale_side(
    b: &mut Builder,
    [height, width]: [Int; 2],
    condition: Condition,
    threshold: u64,
) -> Result<[Int; 2], ModelError> {
    let (deciding, limiting) = match condition {
        Condition::Greater => (Binary::Maximum, Binary::Minimum),
        Condition::Smaller => (Binary::Minimum, Binary::Maximum),
    };
    let side = height.binary(b, "deciding_side", deciding, width)?;
    let target = side.binary(b, "target_side", limiting, known(threshold))?;
    let side = side.to_float(b, "deciding_side_float")?;
    let target = target.to_float(b, "target_side_float")?;
    let scale = target.binary(b, "scale", Binary::Div, side)?;
    let mut scaled = |name: &str, side: Int| {
        let side = side.to_float(b, &format!("{name}_float"))?;
        let side = side.binary(b, &format!("scaled_{name}"), Binary::Mul, scale)?;
        side.truncated(b, &format!("new_{name}"))
    };
    Ok([scaled("height", height)?, scaled("width", width)?])
}
