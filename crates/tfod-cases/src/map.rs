//! Computing for each image of a batch.

use tfod_graph::{
    Binary, Builder, Built, ConvAttrs, MapInput, NmsAttrs, Padding, Reduce, Tensor, ValidateError,
    ValueId,
};

use crate::selection::classes;
use crate::{Case, Inputs, parameter, ramp_constant};

pub(crate) const CASES: &[Case] = &[Case::new("map", map)];

/// Rows of the large constant: enough that a back end keeps it outside of the graph, where it does that.
const ANCHORS: u64 = 4100;

/// The results of the map.
const KEYS: [&str; 14] = [
    "selected",
    "count",
    "shifted",
    "inner",
    "class_indices",
    "class_counts",
    "own_selected",
    "conv",
    "beside",
    "behind",
    "values",
    "places",
    "third",
    "same",
];

/// For each image: selection among the same boxes and among its own, by class and alone, rows of a large constant, feature maps, and a map over
/// the boxes inside.
fn map(b: &mut Builder, given: &Inputs) -> Built<()> {
    let anchors = ramp_constant(b, "anchors", &[ANCHORS, 4])?;
    let small = ramp_constant(b, "small", &[4])?;
    let kernel = parameter(b, "map/kernel", &[2, 2, 3, 2])?;
    let one = [given.batch.clone(), 1.into(), 6.into(), 6.into(), 3.into()];
    let one = b.reshape("one_image", given.image, &one)?;
    let inputs = [
        (given.scores, MapInput::Sliced),
        (given.boxes, MapInput::Whole),
        (anchors, MapInput::Whole),
        (small, MapInput::Whole),
        (given.class_scores, MapInput::Sliced),
        (one, MapInput::Sliced),
        (kernel, MapInput::Whole),
        (given.own_boxes, MapInput::Sliced),
    ];
    let results = b.map::<ValidateError>("per_image", &inputs, body)?;
    for (key, value) in KEYS.into_iter().zip(results) {
        b.output(&format!("map_{key}"), value);
    }
    Ok(())
}

fn body(b: &mut Builder, arguments: &[ValueId]) -> Built<()> {
    let &[
        scores,
        boxes,
        anchors,
        small,
        class_scores,
        image,
        kernel,
        own_boxes,
    ] = arguments
    else {
        return Ok(());
    };
    let attrs = NmsAttrs {
        max_output_size: 4,
        iou_threshold: 0.5,
        score_threshold: 0.0,
    };
    let [indices, count] = b.non_max_suppression("nms", boxes, scores, attrs)?;
    let selected = b.gather("selected", boxes, indices)?;
    let picked = b.gather("picked", anchors, indices)?;
    let total = b.reduce("total", Reduce::Sum, picked, &[0])?;
    let shifted = b.bias_add("shifted", total, small)?;
    let best = b.reduce("best", Reduce::Max, scores, &[0])?;
    let [class_indices, class_counts] =
        b.scope("shared", |b| classes(b, boxes, class_scores, 1))?;
    let own = b.scope("own", |b| classes(b, own_boxes, class_scores, 1))?;
    let own_selected = b.gather("own_selected", own_boxes, own[0])?;
    let conv = b.conv2d("conv", image, kernel, ConvAttrs::new(2, Padding::Same))?;
    // A value of each slice beside one of all, along old and new axes.
    let beside = b.stack("beside", 0, &[total, small])?;
    let behind = b.concat("behind", 0, &[small, total])?;
    let [values, places] = b.top_k("places", total, 2)?;
    let third = Tensor::i32(&[2], &[2, 0]).unwrap_or(Tensor::scalar_i32(0));
    let third = b.constant("third", third)?;
    let third = b.gather("third", total, third)?;
    let inner = [
        (boxes, MapInput::Sliced),
        (scores, MapInput::Sliced),
        (best, MapInput::Whole),
    ];
    let inner = b.map::<ValidateError>("per_box", &inner, |b, args| {
        let sum = b.reduce("sum", Reduce::Sum, args[0], &[0])?;
        let weighted = b.binary("weighted", Binary::Mul, sum, args[1])?;
        let relative = b.binary("relative", Binary::Add, weighted, args[2])?;
        b.output("relative", relative);
        Ok(())
    })?;
    let values = [
        selected,
        count,
        shifted,
        inner[0],
        class_indices,
        class_counts,
        own_selected,
        conv,
        beside,
        behind,
        values,
        places,
        third,
        small,
    ];
    for (key, value) in KEYS.into_iter().zip(values) {
        b.output(key, value);
    }
    Ok(())
}
