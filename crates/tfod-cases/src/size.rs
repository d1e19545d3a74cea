//! Sizes that are known only at run time: read, computed with, and made.

use tfod_graph::{
    Binary, Builder, Built, ConvAttrs, DType, Dim, Padding, PixelGrid, ResizeMethod, ValueId,
};

use crate::{Case, Inputs, integer, parameter};

pub(crate) const CASES: &[Case] = &[
    Case::new("shape_of", shape_of),
    Case::new("resize_computed", resize_computed),
    Case::new("resize_computed_smooth", resize_computed_smooth),
    Case::new("pad_end", pad_end),
];

/// A map that a back end may keep channels-first: `[batch, 4, 6, 2]` in the tests.
fn strided(b: &mut Builder, given: &Inputs) -> Built {
    let floats = b.cast("sized_floats", given.photo, DType::F32)?;
    let kernel = parameter(b, "unknown/kernel", &[3, 3, 3, 2])?;
    let attrs = ConvAttrs::new(2, Padding::Same);
    b.conv2d("strided_unknown", floats, kernel, attrs)
}

fn shape_of(b: &mut Builder, given: &Inputs) -> Built<()> {
    let strided = strided(b, given)?;
    let shape = b.shape_of("shape_of", strided)?;
    b.output("shape_of", shape);
    let photo = b.shape_of("shape_of_photo", given.photo)?;
    b.output("shape_of_photo", photo);
    let parts = b.unstack("parts", shape, 0)?;
    let columns = b.shape(strided).dims()[2].clone();
    let range = b.range("range", parts[2], columns)?;
    b.output("range", range);
    Ok(())
}

/// Computed rows and columns: 16 and 4 in the tests.
fn computed(b: &mut Builder, given: &Inputs) -> Built<[ValueId; 2]> {
    let strided = strided(b, given)?;
    let shape = b.shape_of("shape", strided)?;
    let parts = b.unstack("parts", shape, 0)?;
    let [two, four] = [integer(b, 2)?, integer(b, 4)?];
    Ok([
        b.binary("rows", Binary::Mul, parts[1], four)?,
        b.binary("columns", Binary::Sub, parts[2], two)?,
    ])
}

fn resize_to_computed(
    b: &mut Builder,
    given: &Inputs,
    methods: [(&str, ResizeMethod); 2],
) -> Built<()> {
    let size = computed(b, given)?;
    let size = b.stack("size", 0, &size)?;
    for (grid, suffix) in [
        (PixelGrid::Corners, ""),
        (PixelGrid::Centers, "_centers"),
        (PixelGrid::AlignedCorners, "_aligned"),
    ] {
        for (key, method) in methods {
            let key = format!("resize_{key}_computed{suffix}");
            let to = ["rows", "columns"].map(Dim::symbol);
            let value = b.resize_on(&key, given.photo, method, grid, to, Some(size))?;
            b.output(&key, value);
        }
    }
    Ok(())
}

fn resize_computed(b: &mut Builder, given: &Inputs) -> Built<()> {
    let methods = [
        ("bilinear", ResizeMethod::Bilinear),
        ("nearest", ResizeMethod::Nearest),
    ];
    resize_to_computed(b, given, methods)
}

fn resize_computed_smooth(b: &mut Builder, given: &Inputs) -> Built<()> {
    let methods = [
        ("bicubic", ResizeMethod::Bicubic),
        ("area", ResizeMethod::Area),
    ];
    resize_to_computed(b, given, methods)
}

fn pad_end(b: &mut Builder, given: &Inputs) -> Built<()> {
    let (strided, zero) = (strided(b, given)?, integer(b, 0)?);
    let [rows, columns] = computed(b, given)?;
    let by = b.stack("by", 0, &[zero, rows, columns, zero])?;
    for (key, x, channels) in [("pad_end", given.photo, 3), ("pad_end_strided", strided, 2)] {
        let [high, wide] = ["high", "wide"].map(|side| Dim::symbol(&format!("{key}/{side}")));
        let to = vec![given.batch.clone(), high, wide, channels.into()];
        let pad = b.pad_end(key, x, by, to)?;
        let doubled = b.binary(&format!("{key}_doubled"), Binary::Add, pad, pad)?;
        b.output(key, doubled);
    }
    // To a known size from an unknown one.
    let shape = b.shape_of("photo_shape", given.photo)?;
    let parts = b.unstack("photo_parts", shape, 0)?;
    let twenty = integer(b, 20)?;
    let below = b.binary("below", Binary::Sub, twenty, parts[1])?;
    let right = b.binary("right", Binary::Sub, twenty, parts[2])?;
    let by = b.stack("to_twenty", 0, &[zero, below, right, zero])?;
    let to = vec![given.batch.clone(), 20.into(), 20.into(), 3.into()];
    let pad = b.pad_end("pad_end_known", given.photo, by, to)?;
    b.output("pad_end_known", pad);
    Ok(())
}
