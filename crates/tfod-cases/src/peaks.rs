//! What finds peaks of heat maps and takes what is predicted there: largest and smallest values and where they are, other orders of dimensions, rows of
//! each image's own; and maps made larger.

use tfod_graph::{
    Builder, Built, Compare, DType, Dim, MapInput, Reduce, Tensor, Unary, ValidateError, ValueId,
};

use crate::{Case, Inputs, parameter};

pub(crate) const CASES: &[Case] = &[
    Case::new("distance", distance),
    Case::new("arg_max", arg_max),
    Case::new("transpose", transpose),
    Case::new("gather_batched", gather_batched),
    Case::new("top_k_computed", top_k_computed),
    Case::new("map_of_channels", map_of_channels),
    Case::new("conv_transpose2d", conv_transpose2d),
];

/// Whole numbers, so that there are ties.
fn whole(b: &mut Builder, given: &Inputs) -> Built {
    b.cast("whole", given.image, DType::I32)
}

/// `f32[batch, 36, 3]`
fn by_location(b: &mut Builder, given: &Inputs) -> Built {
    let dims = [given.batch.clone(), 36.into(), 3.into()];
    b.reshape("locations", given.image, &dims)
}

/// `f32[batch, 3, 36]`
fn by_channel(b: &mut Builder, given: &Inputs) -> Built {
    let flat = by_location(b, given)?;
    b.transpose("by_channel", flat, &[0, 2, 1])
}

fn distance(b: &mut Builder, given: &Inputs) -> Built<()> {
    let abs = b.unary("abs", Unary::Abs, given.image)?;
    b.output("abs", abs);
    let sqrt = b.unary("sqrt", Unary::Sqrt, abs)?;
    b.output("sqrt", sqrt);
    let whole = whole(b, given)?;
    let one = b.constant("whole_one", Tensor::scalar_i32(1))?;
    let equal = b.compare("equal", Compare::Equal, whole, one)?;
    b.output("equal", equal);
    let min = b.reduce("reduce_min", Reduce::Min, given.image, &[3])?;
    b.output("reduce_min", min);
    Ok(())
}

fn arg_max(b: &mut Builder, given: &Inputs) -> Built<()> {
    let whole = whole(b, given)?;
    for (key, axis) in [("arg_max", 3), ("arg_max_rows", 1)] {
        let places = b.arg_max(key, whole, axis)?;
        b.output(key, places);
    }
    Ok(())
}

fn transpose(b: &mut Builder, given: &Inputs) -> Built<()> {
    let turned = b.transpose("turned", given.image, &[0, 3, 1, 2])?;
    b.output("transpose", turned);
    let by_channel = by_channel(b, given)?;
    b.output("transpose_by_channel", by_channel);
    Ok(())
}

fn gather_batched(b: &mut Builder, given: &Inputs) -> Built<()> {
    let flat = by_location(b, given)?;
    let [_, places] = b.top_k("places", given.scores, 5)?;
    let rows = b.gather_batched("rows_of_image", flat, places, 1)?;
    b.output("gather_of_image", rows);
    let by_channel = by_channel(b, given)?;
    let [_, places] = b.top_k("places_of_channel", by_channel, 4)?;
    let values = b.gather_batched("values_of_channel", by_channel, places, 2)?;
    b.output("gather_of_channel", values);
    Ok(())
}

/// As many as the photo has rows.
fn top_k_computed(b: &mut Builder, given: &Inputs) -> Built<()> {
    let shape = b.shape_of("counted_shape", given.photo)?;
    let count = b.unstack("counted_sizes", shape, 0)?[1];
    let all = [given.batch.clone(), 108.into()];
    let all = b.reshape("all_values", given.image, &all)?;
    let dim = Dim::symbol("count");
    let [values, indices] = b.top_k_of("best_of_all", all, dim, Some(count))?;
    b.output("top_k_computed_values", values);
    b.output("top_k_computed_indices", indices);
    Ok(())
}

fn map_of_channels(b: &mut Builder, given: &Inputs) -> Built<()> {
    let inputs = [(given.image, MapInput::Sliced)];
    let results = b.map::<ValidateError>("each_image", &inputs, |b, args| {
        let turned = b.transpose("turned", args[0], &[2, 0, 1])?;
        let places = b.arg_max("places", turned, 2)?;
        let best = b.gather_batched("best", turned, places, 2)?;
        b.output("turned", turned);
        b.output("places", places);
        b.output("best", best);
        Ok(())
    })?;
    let keys = ["map_turned", "map_arg_max", "map_best"];
    for (key, value) in keys.into_iter().zip(results) {
        b.output(key, value);
    }
    Ok(())
}

/// Of known and unknown size, with a stride longer than the kernel, and with a bias.
fn conv_transpose2d(b: &mut Builder, given: &Inputs) -> Built<()> {
    let photo = b.cast("enlarged_floats", given.photo, DType::F32)?;
    let kernel = parameter(b, "transposed/kernel", &[3, 3, 2, 3])?;
    let narrow = parameter(b, "narrow/kernel", &[2, 1, 2, 3])?;
    let cases: [(&str, ValueId, ValueId, u64); 3] = [
        ("conv_transpose2d", given.image, kernel, 2),
        ("conv_transpose2d_unknown", photo, kernel, 2),
        ("conv_transpose2d_gaps", given.image, narrow, 3),
    ];
    for (key, x, kernel, stride) in cases {
        let value = b.conv_transpose2d(key, x, kernel, stride)?;
        b.output(key, value);
    }
    let bias = parameter(b, "transposed/bias", &[2])?;
    let biased = b.conv_transpose2d("same_size", given.image, kernel, 1)?;
    let biased = b.bias_add("same_size_biased", biased, bias)?;
    b.output("conv_transpose2d_biased", biased);
    Ok(())
}
