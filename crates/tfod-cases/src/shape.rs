//! Operations that move elements, to sizes known beforehand.

use tfod_graph::{Builder, Built, Dim, Op, PixelGrid, Reduce, ResizeMethod};

use crate::{Case, Inputs};

pub(crate) const CASES: &[Case] = &[
    Case::new("pad", pad),
    Case::new("resize", resize),
    Case::new("resize_smooth", resize_smooth),
    Case::new("resize_aligned", resize_aligned),
    Case::new("resize_aligned_smooth", resize_aligned_smooth),
    Case::new("reshape", reshape),
    Case::new("concat", concat),
    Case::new("slice", slice),
    Case::new("stack", stack),
    Case::new("reduce", reduce),
];

fn pad(b: &mut Builder, given: &Inputs) -> Built<()> {
    let value = b.pad("pad", given.image, &[(0, 0), (1, 2), (0, 3), (0, 0)])?;
    b.output("pad", value);
    Ok(())
}

/// Resizes to known sizes; the last item says whether samples are in the centres of pixels.
fn resize_by(b: &mut Builder, given: &Inputs, methods: &[(&str, ResizeMethod, bool)]) -> Built<()> {
    for (key, method, centers) in methods {
        for (suffix, size) in [("", [4, 5]), ("_up", [14, 11]), ("_same", [7, 9])] {
            let key = format!("{key}{suffix}");
            let value = b.resize(&key, given.pixels, *method, size, *centers)?;
            b.output(&key, value);
        }
    }
    Ok(())
}

fn resize_smooth(b: &mut Builder, given: &Inputs) -> Built<()> {
    let methods = [
        ("resize_bicubic", ResizeMethod::Bicubic, false),
        ("resize_bicubic_centers", ResizeMethod::Bicubic, true),
        ("resize_area", ResizeMethod::Area, false),
    ];
    resize_by(b, given, &methods)
}

fn resize(b: &mut Builder, given: &Inputs) -> Built<()> {
    let methods = [
        ("resize_bilinear", ResizeMethod::Bilinear, false),
        ("resize_bilinear_centers", ResizeMethod::Bilinear, true),
        ("resize_nearest", ResizeMethod::Nearest, false),
        ("resize_nearest_centers", ResizeMethod::Nearest, true),
    ];
    resize_by(b, given, &methods)?;
    for (suffix, grid) in [
        ("", PixelGrid::Corners),
        ("_centers", PixelGrid::Centers),
        ("_aligned", PixelGrid::AlignedCorners),
    ] {
        for (method, by) in [
            ("bilinear", ResizeMethod::Bilinear),
            ("nearest", ResizeMethod::Nearest),
        ] {
            let key = format!("resize_unknown_{method}{suffix}");
            let to = [5, 8].map(Dim::Known);
            let value = b.resize_on(&key, given.photo, by, grid, to, None)?;
            b.output(&key, value);
        }
    }
    // One row and one column.
    let (key, grid) = ("resize_unknown_single", PixelGrid::AlignedCorners);
    let to = [1, 1].map(Dim::Known);
    let value = b.resize_on(key, given.photo, ResizeMethod::Nearest, grid, to, None)?;
    b.output(key, value);
    Ok(())
}

fn resize_aligned(b: &mut Builder, given: &Inputs) -> Built<()> {
    let methods = [
        ("bilinear", ResizeMethod::Bilinear),
        ("nearest", ResizeMethod::Nearest),
    ];
    resize_aligned_by(b, given, methods)
}

fn resize_aligned_smooth(b: &mut Builder, given: &Inputs) -> Built<()> {
    let methods = [
        ("bicubic", ResizeMethod::Bicubic),
        ("area", ResizeMethod::Area),
    ];
    resize_aligned_by(b, given, methods)
}

fn resize_aligned_by(
    b: &mut Builder,
    given: &Inputs,
    methods: [(&str, ResizeMethod); 2],
) -> Built<()> {
    for (key, method) in methods {
        for (suffix, to) in [("", [4, 5]), ("_up", [14, 11]), ("_single", [1, 1])] {
            let key = format!("resize_{key}_aligned{suffix}");
            let (grid, to) = (PixelGrid::AlignedCorners, to.map(Dim::Known));
            let value = b.resize_on(&key, given.pixels, method, grid, to, None)?;
            b.output(&key, value);
        }
    }
    Ok(())
}

fn reshape(b: &mut Builder, given: &Inputs) -> Built<()> {
    let to = [given.batch.clone(), 36.into(), 3.into()];
    let value = b.reshape("reshape", given.image, &to)?;
    b.output("reshape", value);
    // All sizes but one are taken from the input at run time, and the last is worked out.
    let to = [
        Dim::symbol("height"),
        given.batch.clone(),
        Dim::symbol("rest"),
    ];
    let value = b.reshape("reshape_unknown", given.photo, &to)?;
    b.output("reshape_unknown", value);
    Ok(())
}

fn concat(b: &mut Builder, given: &Inputs) -> Built<()> {
    let value = b.concat("concat", 3, &[given.image, given.image])?;
    b.output("concat", value);
    let value = b.concat("concat_single", 3, &[given.image])?;
    b.output("concat_single", value);
    let value = b.concat("concat_unknown", 1, &[given.photo, given.photo])?;
    b.output("concat_unknown", value);
    Ok(())
}

fn slice(b: &mut Builder, given: &Inputs) -> Built<()> {
    let ranges = vec![None, Some((1, 3)), Some((2, 4)), None];
    let part = b.add("slice", Op::Slice(ranges), &[given.image])?[0];
    b.output("slice", part);
    let all = b.add("slice_all", Op::Slice(vec![None; 4]), &[given.image])?[0];
    b.output("slice_all", all);
    Ok(())
}

fn stack(b: &mut Builder, given: &Inputs) -> Built<()> {
    let channels = b.unstack("unstack", given.image, 3)?;
    b.output("unstack", channels[1]);
    let stack = b.stack("stack", 1, &channels)?;
    b.output("stack", stack);
    Ok(())
}

fn reduce(b: &mut Builder, given: &Inputs) -> Built<()> {
    let sum = b.reduce("reduce_sum", Reduce::Sum, given.image, &[1, 2])?;
    b.output("reduce_sum", sum);
    let max = b.reduce("reduce_max", Reduce::Max, given.image, &[3])?;
    b.output("reduce_max", max);
    let max = b.reduce("reduce_max_u8", Reduce::Max, given.pixels, &[1, 3])?;
    b.output("reduce_max_u8", max);
    Ok(())
}
