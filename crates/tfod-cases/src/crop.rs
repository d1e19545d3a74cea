//! Crops of images, resized.

use tfod_graph::{Binary, Builder, Built, ConvAttrs, DType, Padding, PoolAttrs};

use crate::{Case, Inputs, parameter};

pub(crate) const CASES: &[Case] = &[Case::new("crop_and_resize", crop_and_resize)];

/// Of images of known and of unknown size, and of a map that a back end may keep channels-first.
fn crop_and_resize(b: &mut Builder, given: &Inputs) -> Built<()> {
    let photo = b.cast("cropped_floats", given.photo, DType::F32)?;
    for (key, of, size) in [
        ("crop_and_resize", given.image, [4, 5]),
        ("crop_and_resize_single", given.image, [1, 1]),
        ("crop_and_resize_row", given.image, [1, 14]),
        ("crop_and_resize_unknown", photo, [14, 7]),
    ] {
        let crops = b.crop_and_resize(key, of, given.crop_boxes, given.crop_images, size)?;
        b.output(key, crops);
    }
    let kernel = parameter(b, "unknown/kernel", &[3, 3, 3, 2])?;
    // Of the size that feature maps have.
    let small = b.binary_scalar("small_floats", Binary::Div, photo, 256.0)?;
    let map = b.conv2d("cropped", small, kernel, ConvAttrs::new(1, Padding::Same))?;
    let crops = b.crop_and_resize("of_map", map, given.crop_boxes, given.crop_images, [6, 6])?;
    let attrs = PoolAttrs::new(2, 2, Padding::Same);
    let pooled = b.max_pool("crops_pooled", crops, attrs)?;
    b.output("crop_and_resize_pooled", pooled);
    Ok(())
}
