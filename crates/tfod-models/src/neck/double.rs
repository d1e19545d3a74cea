//! Feature maps made as large as finer ones.

use tfod_graph::{Binary, Builder, Dim, PixelGrid, ResizeMethod, ValueId};

use crate::error::ModelError;
use crate::scalar::{Int, spatial, vector};

/// A map twice as large in both directions, to be added to a finer one, which must have that size. Sizes known only at run time are compared when the two are
/// added.
///
/// # Errors
/// Where the sizes are known and do not agree.
pub(crate) fn double(
    b: &mut Builder,
    name: &str,
    x: ValueId,
    finer: ValueId,
    method: ResizeMethod,
) -> Result<ValueId, ModelError> {
    let dims = |b: &Builder, value: ValueId| -> Option<[Dim; 2]> {
        b.shape(value).dims().get(1..3)?.to_vec().try_into().ok()
    };
    let (Some(own), Some(target)) = (dims(b, x), dims(b, finer)) else {
        return Err(ModelError::Inconsistent(
            "a feature map has four dimensions".into(),
        ));
    };
    let known = |[h, w]: &[Dim; 2]| Some([h.known()?, w.known()?]);
    if let (Some([h, w]), Some([fine_h, fine_w])) = (known(&own), known(&target)) {
        let size = [h * 2, w * 2];
        if size != [fine_h, fine_w] {
            return Err(ModelError::Inconsistent(format!(
                "a feature map of {h}x{w}, doubled, is added to one of {fine_h}x{fine_w}: with this image size feature maps do not halve exactly; \
                 height and width must be multiples of the coarsest stride"
            )));
        }
        return Ok(b.resize_on(name, x, method, grid(method), target, None)?);
    }
    let size = spatial(b, name, x)?;
    let twice = |b: &mut Builder, side: Int, what: &str| {
        side.binary(b, &format!("{name}/{what}"), Binary::Mul, Int::Known(2))
    };
    let size = [twice(b, size[0], "height")?, twice(b, size[1], "width")?];
    let size = vector(b, &format!("{name}/size"), &size)?;
    Ok(b.resize_on(name, x, method, grid(method), target, Some(size))?)
}

/// As Keras samples; doubling repeats the nearest pixel on either grid.
fn grid(method: ResizeMethod) -> PixelGrid {
    match method {
        ResizeMethod::Nearest => PixelGrid::Corners,
        _ => PixelGrid::Centers,
    }
}
