//! What operations accept, and what comes out.

use super::*;
use crate::graph::NodeId;
use crate::op::{Binary, ConvAttrs, NmsAttrs, Padding, PoolAttrs, ResizeMethod, SoftNmsAttrs};
use proptest::prelude::*;

fn value(dtype: DType, shape: Shape) -> Value {
    Value {
        dtype,
        shape,
        node: NodeId::at(0),
        output: 0,
    }
}

fn shapes(op: &Op, inputs: &[Value]) -> Result<Vec<String>, ShapeError> {
    let inputs: Vec<&Value> = inputs.iter().collect();
    let typed = infer(op, &inputs, None)?;
    Ok(typed.iter().map(|(d, s)| format!("{d}{s}")).collect())
}

fn f32s(dims: &[u64]) -> Value {
    value(DType::F32, Shape::known(dims))
}

fn batched(rest: &[u64]) -> Value {
    value(
        DType::F32,
        Shape::known(rest).with_leading(Dim::symbol("batch")),
    )
}

#[test]
fn convolutions_follow_their_padding() {
    let same = Op::Conv2d(ConvAttrs::new(2, Padding::Same));
    let x = batched(&[5, 6, 3]);
    assert_eq!(
        shapes(&same, &[x.clone(), f32s(&[3, 3, 3, 8])]),
        Ok(vec!["f32[batch, 3, 3, 8]".into()])
    );
    let valid = Op::Conv2d(ConvAttrs::new(2, Padding::Valid));
    assert_eq!(
        shapes(&valid, &[x.clone(), f32s(&[3, 3, 3, 8])]),
        Ok(vec!["f32[batch, 2, 2, 8]".into()])
    );
    assert!(shapes(&valid, &[x.clone(), f32s(&[7, 7, 3, 8])]).is_err());
    let error = shapes(&same, &[x.clone(), f32s(&[3, 3, 4, 8])]).unwrap_err();
    assert!(error.to_string().contains("f32[3, 3, 4, 8]"), "{error}");
    let depthwise = Op::DepthwiseConv2d(ConvAttrs::new(1, Padding::Same));
    assert_eq!(
        shapes(&depthwise, &[x, f32s(&[3, 3, 3, 2])]),
        Ok(vec!["f32[batch, 5, 6, 6]".into()])
    );
}

#[test]
fn pooling_windows_move_as_kernels_do() {
    let pool = |window, padding| Op::MaxPool(PoolAttrs::new(window, 2, padding));
    let x = batched(&[5, 6, 3]);
    assert_eq!(
        shapes(&pool(3, Padding::Same), std::slice::from_ref(&x)),
        Ok(vec!["f32[batch, 3, 3, 3]".into()])
    );
    assert_eq!(
        shapes(&pool(3, Padding::Valid), std::slice::from_ref(&x)),
        Ok(vec!["f32[batch, 2, 2, 3]".into()])
    );
    assert!(shapes(&pool(6, Padding::Valid), std::slice::from_ref(&x)).is_err());
    assert!(shapes(&pool(0, Padding::Same), std::slice::from_ref(&x)).is_err());
    assert!(shapes(&pool(2, Padding::Same), &[f32s(&[5, 6, 3])]).is_err());
    let bytes = value(DType::U8, x.shape);
    assert!(shapes(&pool(2, Padding::Same), &[bytes]).is_err());
}

#[test]
fn crops_are_as_many_as_boxes() {
    let crop = |height, width| Op::CropAndResize { height, width };
    let images = batched(&[5, 6, 8]);
    let boxes = |n| f32s(&[n, 4]);
    let of = |n| value(DType::I32, Shape::known(&[n]));
    assert_eq!(
        shapes(&crop(7, 3), &[images.clone(), boxes(9), of(9)]),
        Ok(vec!["f32[9, 7, 3, 8]".into()])
    );
    for inputs in [
        [images.clone(), boxes(9), of(8)],
        [images.clone(), f32s(&[9, 5]), of(9)],
        [images.clone(), boxes(9), f32s(&[9])],
        [f32s(&[5, 6, 8]), boxes(9), of(9)],
    ] {
        assert!(shapes(&crop(7, 3), &inputs).is_err(), "{inputs:?}");
    }
    assert!(shapes(&crop(0, 3), &[images, boxes(9), of(9)]).is_err());
}

#[test]
fn matrix_products_need_equal_inner_sizes() {
    let of = |a: &Value, b: &[u64]| shapes(&Op::MatMul, &[a.clone(), f32s(b)]);
    assert_eq!(
        of(&batched(&[5]), &[5, 2]),
        Ok(vec!["f32[batch, 2]".into()])
    );
    assert_eq!(
        of(&batched(&[4, 5]), &[1, 5, 2]),
        Ok(vec!["f32[batch, 4, 2]".into()])
    );
    assert!(of(&batched(&[4]), &[5, 2]).is_err());
    assert!(of(&f32s(&[5]), &[5, 2]).is_err());
    assert!(of(&f32s(&[3, 4, 5]), &[2, 5, 2]).is_err());
}

#[test]
fn a_transpose_names_each_dimension_once() {
    let x = batched(&[5, 6]);
    let of = |order: &[usize]| shapes(&Op::Transpose(order.to_vec()), std::slice::from_ref(&x));
    assert_eq!(of(&[2, 0, 1]), Ok(vec!["f32[6, batch, 5]".into()]));
    for order in [[0, 1, 1].as_slice(), &[0, 1], &[1, 2, 3]] {
        assert!(of(order).is_err(), "{order:?}");
    }
}

#[test]
fn global_pooling_leaves_one_position() {
    let x = batched(&[5, 6, 3]);
    assert_eq!(
        shapes(&Op::GlobalAveragePool, std::slice::from_ref(&x)),
        Ok(vec!["f32[batch, 1, 1, 3]".into()])
    );
    assert!(shapes(&Op::GlobalAveragePool, &[f32s(&[5, 6, 3])]).is_err());
    assert!(shapes(&Op::GlobalAveragePool, &[value(DType::U8, x.shape)]).is_err());
}

#[test]
fn broadcasting_needs_equal_or_one() {
    let add = Op::Binary(Binary::Add);
    let a = batched(&[1, 4]);
    assert_eq!(
        shapes(&add, &[a.clone(), f32s(&[3, 1])]),
        Ok(vec!["f32[batch, 3, 4]".into()])
    );
    assert!(shapes(&add, &[f32s(&[3]), f32s(&[4])]).is_err());
    let other = value(
        DType::F32,
        Shape(vec![Dim::symbol("height"), 1.into(), 4.into()]),
    );
    assert!(shapes(&add, &[a, other]).is_err());
}

#[test]
fn reshape_keeps_the_elements() {
    let x = batched(&[4, 6]);
    let to = |dims: Vec<Dim>| shapes(&Op::Reshape(dims), std::slice::from_ref(&x));
    assert!(to(vec![Dim::symbol("batch"), 24.into()]).is_ok());
    assert!(to(vec![Dim::symbol("rows"), 6.into()]).is_ok());
    assert!(to(vec![Dim::symbol("batch"), 25.into()]).is_err());
    assert!(to(vec![24.into()]).is_err());
}

/// What two-stage detectors do: the proposals of all images are one batch, and are those of each image again.
#[test]
fn reshape_joins_and_splits_sizes_known_only_at_run_time() {
    let [batch, proposals] = ["batch", "proposals"].map(Dim::symbol);
    let joined = batch.times(&proposals).unwrap();
    let reshaped = |from: &[&Dim], to: &[&Dim]| {
        let dims = |dims: &[&Dim]| dims.iter().copied().cloned().collect::<Vec<Dim>>();
        let from = value(DType::F32, Shape(dims(from)));
        shapes(&Op::Reshape(dims(to)), &[from])
    };
    let (seven, fourteen) = (Dim::Known(7), Dim::Known(14));
    assert_eq!(
        reshaped(&[&batch, &proposals, &seven], &[&joined, &seven]),
        Ok(vec!["f32[batch*proposals, 7]".into()])
    );
    assert!(reshaped(&[&joined, &seven], &[&batch, &proposals, &seven]).is_ok());
    assert!(reshaped(&[&joined, &seven], &[&proposals, &batch, &seven]).is_ok());
    assert!(reshaped(&[&joined, &fourteen], &[&batch, &proposals, &seven]).is_err());
    let more = joined.grown(1).unwrap();
    assert!(reshaped(&[&batch, &proposals, &seven], &[&more, &seven]).is_err());
    let three_hundred = Dim::Known(300);
    let joined = batch.times(&three_hundred).unwrap();
    assert!(reshaped(&[&batch, &three_hundred, &seven], &[&joined, &seven]).is_ok());
    assert!(reshaped(&[&joined, &seven], &[&batch, &three_hundred, &seven]).is_ok());
    assert!(reshaped(&[&joined, &seven], &[&batch, &seven]).is_err());
}

#[test]
fn sizes_known_only_at_run_time_are_formulas() {
    let map = value(
        DType::F32,
        Shape(vec![1.into(), Dim::symbol("h"), Dim::symbol("w"), 3.into()]),
    );
    let of = |op: &Op, others: &[Value]| {
        shapes(op, &[std::slice::from_ref(&map), others].concat()).map(|s| s.join(", "))
    };
    let conv = |padding| Op::Conv2d(ConvAttrs::new(2, padding));
    let kernel = f32s(&[3, 3, 3, 8]);
    assert_eq!(
        of(&conv(Padding::Same), std::slice::from_ref(&kernel)),
        Ok("f32[1, ceil(h/2), ceil(w/2), 8]".into())
    );
    assert_eq!(
        of(&conv(Padding::Valid), &[kernel]),
        Ok("f32[1, ceil((h-2)/2), ceil((w-2)/2), 8]".into())
    );
    let pad = Op::Pad(vec![(0, 0), (1, 1), (0, 0), (0, 0)]);
    assert_eq!(of(&pad, &[]), Ok("f32[1, h+2, w, 3]".into()));
    let concat = Op::Concat { axis: 1 };
    assert_eq!(
        of(&concat, std::slice::from_ref(&map)),
        Ok("f32[1, h+h, w, 3]".into())
    );
    assert_eq!(of(&Op::ShapeOf, &[]), Ok("i32[4]".into()));
}

#[test]
fn computed_sizes_are_inputs() {
    let sizes = |n| value(DType::I32, Shape::known(&[n]));
    let resize = |size| Op::Resize {
        method: ResizeMethod::Nearest,
        size,
        grid: crate::op::PixelGrid::Corners,
    };
    let free = resize([Dim::symbol("rows"), 4.into()]);
    let x = f32s(&[1, 2, 3, 3]);
    assert_eq!(
        shapes(&free, &[x.clone(), sizes(2)]),
        Ok(vec!["f32[1, rows, 4, 3]".into()])
    );
    assert!(shapes(&free, std::slice::from_ref(&x)).is_err());
    assert!(shapes(&free, &[x.clone(), sizes(3)]).is_err());
    assert!(shapes(&resize([5.into(), 4.into()]), &[x.clone(), sizes(2)]).is_err());
    let pad = |dims: [u64; 4]| Op::PadEnd(dims.map(Dim::Known).to_vec());
    assert_eq!(
        shapes(&pad([1, 8, 8, 3]), &[x.clone(), sizes(4)]),
        Ok(vec!["f32[1, 8, 8, 3]".into()])
    );
    assert!(shapes(&pad([1, 1, 8, 3]), &[x.clone(), sizes(4)]).is_err());
    assert!(shapes(&pad([1, 8, 8, 3]), &[x, sizes(3)]).is_err());
    let range = Op::Range(Dim::symbol("n"));
    let scalar = value(DType::I32, Shape::scalar());
    assert_eq!(shapes(&range, &[scalar]), Ok(vec!["i32[n]".into()]));
    assert!(shapes(&range, &[sizes(1)]).is_err());
}

#[test]
fn selection_results_have_the_declared_length() {
    let attrs = NmsAttrs {
        max_output_size: 7,
        iou_threshold: 0.5,
        score_threshold: 0.0,
    };
    let soft = SoftNmsAttrs {
        max_output_size: 7,
        score_threshold: 0.0,
        sigma: 0.5,
    };
    let (nms, soft) = (
        Op::NonMaxSuppression(attrs),
        Op::SoftNonMaxSuppression(soft),
    );
    let boxes = [f32s(&[9, 4]), f32s(&[9])];
    assert_eq!(
        shapes(&nms, &boxes),
        Ok(vec!["i32[7]".into(), "i32[]".into()])
    );
    assert_eq!(
        shapes(&soft, &boxes),
        Ok(vec!["i32[7]".into(), "f32[7]".into(), "i32[]".into()])
    );
    for op in [&nms, &soft] {
        assert!(shapes(op, &[f32s(&[9, 4]), f32s(&[8])]).is_err());
    }
    assert!(shapes(&Op::TopK { k: 10.into() }, &[f32s(&[9])]).is_err());
}

#[test]
fn strings_are_decoded_one_at_a_time_and_are_no_numbers() {
    let decode = |height| Op::DecodeImage {
        size: [height, Dim::symbol("w")],
    };
    let file = value(DType::String, Shape::scalar());
    let example = Op::ExampleFeature { key: "a/b".into() };
    let free = decode(Dim::symbol("h"));
    assert_eq!(
        shapes(&free, std::slice::from_ref(&file)),
        Ok(vec!["u8[h, w, 3]".into()])
    );
    assert_eq!(
        shapes(&example, std::slice::from_ref(&file)),
        Ok(vec!["string[]".into()])
    );
    let several = value(DType::String, Shape(vec![Dim::symbol("batch")]));
    let byte = value(DType::U8, Shape::scalar());
    for op in [&free, &example] {
        assert!(shapes(op, std::slice::from_ref(&several)).is_err());
        assert!(shapes(op, std::slice::from_ref(&byte)).is_err());
    }
    assert!(shapes(&decode(5.into()), std::slice::from_ref(&file)).is_err());
    let add = Op::Binary(Binary::Add);
    assert!(shapes(&add, &[file.clone(), file.clone()]).is_err());
    assert!(shapes(&Op::Cast(DType::F32), std::slice::from_ref(&file)).is_err());
    assert!(shapes(&Op::Cast(DType::String), &[byte]).is_err());
}

proptest! {
    /// A window with SAME padding has one position for each stride begun; checked against counting them.
    #[test]
    fn same_windows_are_counted(size in 1u64..200, kernel in 1u64..8, stride in 1u64..6) {
        let op = Op::Conv2d(ConvAttrs::new(stride, Padding::Same));
        let found = shapes(&op, &[f32s(&[1, size, size, 1]), f32s(&[kernel, kernel, 1, 1])]);
        let count = (0..size).step_by(usize::try_from(stride).unwrap()).count();
        prop_assert_eq!(found, Ok(vec![format!("f32[1, {count}, {count}, 1]")]));
    }

    #[test]
    fn valid_windows_are_counted(size in 1u64..100, kernel in 1u64..8, stride in 1u64..6, dilation in 1u64..4) {
        let attrs = ConvAttrs { dilations: [dilation; 2], ..ConvAttrs::new(stride, Padding::Valid) };
        let found = shapes(&Op::Conv2d(attrs), &[f32s(&[1, size, size, 1]), f32s(&[kernel, kernel, 1, 1])]);
        let reach = (kernel - 1) * dilation;
        let count = (0..size).step_by(usize::try_from(stride).unwrap()).filter(|at| at + reach < size).count();
        prop_assert_eq!(found.is_ok(), count > 0);
        if let Ok(found) = found {
            prop_assert_eq!(found, vec![format!("f32[1, {count}, {count}, 1]")]);
        }
    }
}
