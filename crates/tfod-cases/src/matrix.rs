//! Matrix products.

use tfod_graph::{Builder, Built, MapInput, ValidateError};

use crate::{Case, Inputs, ramp_constant};

pub(crate) const CASES: &[Case] = &[Case::new("mat_mul", mat_mul)];

/// Of two dimensions, of more that broadcast, and of each image with the same boxes.
fn mat_mul(b: &mut Builder, given: &Inputs) -> Built<()> {
    let product = b.mat_mul("mat_mul", given.scores, given.boxes)?;
    b.output("mat_mul", product);
    let by = ramp_constant(b, "by", &[4, 5])?;
    let product = b.mat_mul("mat_mul_broadcast", given.own_boxes, by)?;
    b.output("mat_mul_broadcast", product);
    let columns = b.transpose("columns", given.class_scores, &[0, 2, 1])?;
    let product = b.mat_mul("mat_mul_of_each", columns, given.own_boxes)?;
    b.output("mat_mul_of_each", product);
    let inputs = [
        (given.class_scores, MapInput::Sliced),
        (given.boxes, MapInput::Whole),
    ];
    let results = b.map::<ValidateError>("each_product", &inputs, |b, args| {
        let columns = b.transpose("columns", args[0], &[1, 0])?;
        let product = b.mat_mul("product", columns, args[1])?;
        b.output("product", product);
        Ok(())
    })?;
    b.output("mat_mul_in_map", results[0]);
    Ok(())
}
