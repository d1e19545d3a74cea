//! Writes a small ONNX model in which every operation of the graph occurs, each with an output named after it.
//!
//! `toy_onnx FILE [OPSET] [external] [nchw] [fixed]`. The backend tests run the result in ONNX runtimes and compare each output with what NumPy gives. Weights
//! follow the formula of [`ramp`], which the tests repeat.

use std::error::Error;
use std::path::PathBuf;

use tfod_graph::{
    Binary, Builder, Built, Compare, ConvAttrs, DType, Dim, MapInput, NmsAttrs, Op, Padding,
    ParameterSpec, PixelGrid, PoolAttrs, Reduce, ResizeMethod, Shape, Tensor, TensorView, Unary,
    ValidateError, ValueId, Weights, passes,
};
use tfod_onnx::{ExternalData, InputLayout, OnnxWriter, Options};

/// Rows of the large constant.
const ANCHORS: u64 = 4100;

/// The values of a tensor: between -1 and 1, different for different seeds.
fn ramp(shape: &[u64], seed: u64) -> Vec<f32> {
    let value = |i: u64| {
        f32::from(u8::try_from((i * 37 + seed * 11) % 101).unwrap_or_default()) / 50.0 - 1.0
    };
    (0..shape.iter().product()).map(value).collect()
}

/// The leading dimension of a value.
fn batch_of(b: &Builder, value: ValueId) -> Dim {
    b.shape(value).dims()[0].clone()
}

fn ramp_tensor(shape: &[u64], seed: u64) -> Result<Tensor, &'static str> {
    Tensor::f32(shape, &ramp(shape, seed)).ok_or("a shape of other size than its values")
}

/// A trained tensor of this name and shape; the weights are made afterwards, seeded with the position.
fn parameter(b: &mut Builder, name: &str, shape: &[u64]) -> Built {
    let path = vec!["model".to_owned(), name.to_owned()];
    b.parameter(ParameterSpec {
        name,
        path,
        shape,
        trainable: true,
    })
}

fn convolutions(b: &mut Builder, image: ValueId, photo: ValueId) -> Result<(), Box<dyn Error>> {
    let kernel = parameter(b, "conv/kernel", &[3, 3, 3, 8])?;
    let strided = b.conv2d("strided", image, kernel, ConvAttrs::new(2, Padding::Same))?;
    let dilated = ConvAttrs {
        dilations: [2, 1],
        ..ConvAttrs::new(1, Padding::Valid)
    };
    let dilated = b.conv2d("dilated", image, kernel, dilated)?;
    // A size that is not known, and an even kernel, whose padding is uneven.
    let even = parameter(b, "even/kernel", &[4, 2, 3, 5])?;
    let floats = b.cast("photo_floats", photo, DType::F32)?;
    let same = b.conv2d("same", floats, even, ConvAttrs::new(1, Padding::Same))?;
    let depthwise = parameter(b, "depthwise/kernel", &[3, 3, 3, 2])?;
    let attrs = ConvAttrs::new(1, Padding::Same);
    let depthwise = b.depthwise_conv2d("depthwise", image, depthwise, attrs)?;
    // So that a padding with zeros would show.
    let negative = b.binary_scalar("negative", Binary::Sub, image, 20.0)?;
    let max_pool = b.max_pool("max_pooled", negative, PoolAttrs::new(3, 2, Padding::Same))?;
    let uneven = PoolAttrs {
        window: [2, 3],
        strides: [1, 2],
        padding: Padding::Valid,
    };
    let uneven = b.max_pool("max_pooled_unevenly", image, uneven)?;
    let unknown = PoolAttrs::new(2, 1, Padding::Same);
    let unknown = b.max_pool("max_pooled_unknown", floats, unknown)?;
    let average = b.global_average_pool("average_pooled", image)?;
    let average_unknown = b.global_average_pool("average_pooled_unknown", floats)?;
    let bias = parameter(b, "conv/bias", &[8])?;
    // One bias that is added to a map used otherwise too, one that the convolution adds.
    let bias_add = b.bias_add("bias_add", strided, bias)?;
    let alone = b.conv2d("alone", image, kernel, ConvAttrs::new(3, Padding::Same))?;
    let biased = b.bias_add("biased", alone, bias)?;
    let vectors = [
        parameter(b, "bn/gamma", &[8])?,
        parameter(b, "bn/beta", &[8])?,
        parameter(b, "bn/moving_mean", &[8])?,
        parameter(b, "bn/moving_variance", &[8])?,
    ];
    let normal = b.batch_norm("normal", strided, vectors, 0.001)?;
    // In the middle of a chain of feature maps: everything that can stay channels-first.
    let by_column = b.constant("by_column", ramp_tensor(&[3, 8], 50)?)?;
    let scaled = b.binary("scaled", Binary::Mul, normal, by_column)?;
    let active = b.unary("active", Unary::Relu6, scaled)?;
    let joined = b.concat("joined", 3, &[active, bias_add])?;
    let padded = b.pad("padded", joined, &[(0, 0), (1, 0), (0, 2), (0, 1)])?;
    let part = vec![None, Some((1, 2)), None, Some((3, 9))];
    let part = b.add("part", Op::Slice(part), &[padded])?[0];
    let likely = b.softmax("likely", part)?;
    let large = b.constant("large", Tensor::scalar_f32(0.1))?;
    let large = b.compare("is_large", Compare::Greater, likely, large)?;
    let chosen = b.select("chosen", large, likely, part)?;
    let upsampled = b.resize("upsampled", chosen, ResizeMethod::Nearest, [4, 10], false)?;
    let pooled = b.reduce("pooled", Reduce::Max, upsampled, &[1, 2])?;
    let columns = b.reduce("column_sums", Reduce::Sum, upsampled, &[1])?;
    let channels = b.unstack("channel", upsampled, 3)?;
    let flat = [batch_of(b, image), 40.into(), 9.into()];
    let flat = b.reshape("flat", upsampled, &flat)?;
    // A kernel that is computed.
    let doubled = b.binary_scalar("doubled_kernel", Binary::Mul, kernel, 2.0)?;
    let computed = b.conv2d(
        "computed",
        image,
        doubled,
        ConvAttrs::new(2, Padding::Valid),
    )?;
    for (key, value) in [
        ("conv2d", strided),
        ("conv2d_dilated", dilated),
        ("conv2d_same_unknown", same),
        ("conv2d_computed_kernel", computed),
        ("depthwise_conv2d", depthwise),
        ("max_pool", max_pool),
        ("max_pool_uneven", uneven),
        ("max_pool_unknown", unknown),
        ("global_average_pool", average),
        ("global_average_pool_unknown", average_unknown),
        ("bias_add", bias_add),
        ("bias_add_fused", biased),
        ("batch_norm", normal),
        ("chain_pooled", pooled),
        ("chain_column_sums", columns),
        ("chain_channel", channels[2]),
        ("chain_flat", flat),
    ] {
        b.output(key, value);
    }
    Ok(())
}

fn elementwise(b: &mut Builder, image: ValueId, pixels: ValueId) -> Built<()> {
    for (key, unary) in [
        ("relu", Unary::Relu),
        ("relu6", Unary::Relu6),
        ("sigmoid", Unary::Sigmoid),
        ("exp", Unary::Exp),
    ] {
        let value = b.unary(key, unary, image)?;
        b.output(key, value);
    }
    let divisor = b.constant("divisor", Tensor::scalar_f32(0.3))?;
    let seven = Tensor::from_bytes(DType::U8, &[], vec![7]).unwrap_or(Tensor::scalar_i32(7));
    let seven = b.constant("seven", seven)?;
    let scaled = b.binary_scalar("scaled_image", Binary::Mul, image, 9.7)?;
    let integers = b.cast("cast_to_i32", scaled, DType::I32)?;
    b.output("cast_to_i32", integers);
    let four = b.constant("four", Tensor::scalar_i32(4))?;
    for (suffix, x, by) in [
        ("", image, divisor),
        ("_i32", integers, four),
        ("_u8", pixels, seven),
    ] {
        for (key, binary) in [
            ("add", Binary::Add),
            ("sub", Binary::Sub),
            ("mul", Binary::Mul),
            ("floor_div", Binary::FloorDiv),
            ("maximum", Binary::Maximum),
            ("minimum", Binary::Minimum),
        ] {
            let key = format!("{key}{suffix}");
            let value = b.binary(&key, binary, x, by)?;
            b.output(&key, value);
        }
        for (key, compare) in [
            ("less", Compare::Less),
            ("greater", Compare::Greater),
            ("greater_equal", Compare::GreaterEqual),
        ] {
            let key = format!("{key}{suffix}");
            let value = b.compare(&key, compare, x, by)?;
            b.output(&key, value);
        }
    }
    let div = b.binary("div", Binary::Div, image, divisor)?;
    b.output("div", div);
    let low = b.constant("low", Tensor::scalar_f32(-0.2))?;
    let above = b.compare("above", Compare::Greater, image, low)?;
    let below = b.compare("below", Compare::Less, image, divisor)?;
    let and = b.and("and", above, below)?;
    b.output("and", and);
    let select = b.select("select", and, image, divisor)?;
    b.output("select", select);
    let select = b.select("select_bool", and, below, above)?;
    b.output("select_bool", select);
    let softmax = b.softmax("softmax", image)?;
    b.output("softmax", softmax);
    let truths = b.cast("cast_to_bool", integers, DType::Bool)?;
    b.output("cast_to_bool", truths);
    let halves = b.cast("halves", integers, DType::F32)?;
    let halves = b.binary_scalar("halved", Binary::Mul, halves, 0.5)?;
    let round = b.unary("round", Unary::Round, halves)?;
    b.output("round", round);
    let floats = b.cast("cast_to_f32", pixels, DType::F32)?;
    b.output("cast_to_f32", floats);
    Ok(())
}

fn shapes(b: &mut Builder, image: ValueId, pixels: ValueId, photo: ValueId) -> Built<()> {
    let pad = b.pad("pad", image, &[(0, 0), (1, 2), (0, 3), (0, 0)])?;
    b.output("pad", pad);
    for (key, method, centers) in [
        ("resize_bilinear", ResizeMethod::Bilinear, false),
        ("resize_bilinear_centers", ResizeMethod::Bilinear, true),
        ("resize_nearest", ResizeMethod::Nearest, false),
        ("resize_nearest_centers", ResizeMethod::Nearest, true),
        ("resize_bicubic", ResizeMethod::Bicubic, false),
        ("resize_bicubic_centers", ResizeMethod::Bicubic, true),
        ("resize_area", ResizeMethod::Area, false),
    ] {
        for (suffix, size) in [("", [4, 5]), ("_up", [14, 11]), ("_same", [7, 9])] {
            let key = format!("{key}{suffix}");
            let value = b.resize(&key, pixels, method, size, centers)?;
            b.output(&key, value);
        }
    }
    for (key, centers) in [("photo_bilinear", false), ("photo_bilinear_centers", true)] {
        let value = b.resize(key, photo, ResizeMethod::Bilinear, [5, 8], centers)?;
        b.output(key, value);
    }
    let batch = batch_of(b, image);
    let reshape = b.reshape("reshape", image, &[batch.clone(), 36.into(), 3.into()])?;
    b.output("reshape", reshape);
    // All sizes but one are taken from the input at run time, and the last is worked out.
    let height = Dim::symbol("height");
    let dynamic = b.reshape(
        "reshape_dynamic",
        photo,
        &[height, batch, Dim::symbol("rest")],
    )?;
    b.output("reshape_dynamic", dynamic);
    let concat = b.concat("concat", 3, &[image, image])?;
    b.output("concat", concat);
    let single = b.concat("concat_single", 3, &[image])?;
    b.output("concat_single", single);
    let ranges = vec![None, Some((1, 3)), Some((2, 4)), None];
    let slice = b.add("slice", Op::Slice(ranges), &[image])?[0];
    b.output("slice", slice);
    let all = b.add("slice_all", Op::Slice(vec![None; 4]), &[image])?[0];
    b.output("slice_all", all);
    let channels = b.unstack("unstack", image, 3)?;
    b.output("unstack", channels[1]);
    let stack = b.stack("stack", 1, &channels)?;
    b.output("stack", stack);
    let sum = b.reduce("reduce_sum", Reduce::Sum, image, &[1, 2])?;
    b.output("reduce_sum", sum);
    let max = b.reduce("reduce_max", Reduce::Max, image, &[3])?;
    b.output("reduce_max", max);
    let max = b.reduce("reduce_max_u8", Reduce::Max, pixels, &[1, 3])?;
    b.output("reduce_max_u8", max);
    Ok(())
}

fn selection(b: &mut Builder, boxes: ValueId, scores: ValueId, many: [ValueId; 2]) -> Built<()> {
    let [values, indices] = b.top_k("top_k", scores, 5)?;
    b.output("top_k_values", values);
    b.output("top_k_indices", indices);
    let gather = b.gather("gather", boxes, indices)?;
    b.output("gather", gather);
    let best = b.reduce("best", Reduce::Max, scores, &[0])?;
    // More is asked for than there are boxes.
    let attrs = NmsAttrs {
        max_output_size: 15,
        iou_threshold: 0.3,
        score_threshold: 0.2,
    };
    for (key, boxes, scores) in [("nms", boxes, best), ("nms_unknown", many[0], many[1])] {
        let [indices, count] = b.non_max_suppression(key, boxes, scores, attrs)?;
        b.output(&format!("{key}_indices"), indices);
        b.output(&format!("{key}_count"), count);
    }
    Ok(())
}

/// Suppression of three classes that share boxes: one operator. `axis` is that of the classes.
fn classes(
    b: &mut Builder,
    boxes: ValueId,
    scores: ValueId,
    axis: usize,
) -> Result<[ValueId; 2], ValidateError> {
    let attrs = NmsAttrs {
        max_output_size: 4,
        iou_threshold: 0.5,
        score_threshold: 0.1,
    };
    let rows = b.unstack("by_class", scores, axis)?;
    let mut columns = [const { Vec::new() }; 2];
    for row in rows {
        let results = b.non_max_suppression("class", boxes, row, attrs)?;
        for (column, result) in columns.iter_mut().zip(results) {
            column.push(result);
        }
    }
    // The last in another order, so that the rows are needed one by one.
    columns[1].reverse();
    let [indices, counts] = columns;
    Ok([
        b.stack("indices", 0, &indices)?,
        b.stack("counts", 0, &counts)?,
    ])
}

/// The results of the map.
const MAP_KEYS: [&str; 14] = [
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
fn maps(b: &mut Builder, given: Given) -> Result<(), Box<dyn Error>> {
    let anchors = b.constant("anchors", ramp_tensor(&[ANCHORS, 4], 100)?)?;
    let small = b.constant("small", ramp_tensor(&[4], 101)?)?;
    let kernel = parameter(b, "map/kernel", &[2, 2, 3, 2])?;
    let batch = batch_of(b, given.image);
    let one = b.reshape(
        "one_image",
        given.image,
        &[batch.clone(), 1.into(), 6.into(), 6.into(), 3.into()],
    )?;
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
    let results = b.map::<ValidateError>("per_image", &inputs, |b, args| {
        let [scores, boxes, anchors, small] = [args[0], args[1], args[2], args[3]];
        let [class_scores, image, kernel, own_boxes] = [args[4], args[5], args[6], args[7]];
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
        let own_boxes = b.gather("own_selected", own_boxes, own[0])?;
        let maps = b.conv2d("conv", image, kernel, ConvAttrs::new(2, Padding::Same))?;
        // A value of each slice beside one of all, along old and new axes.
        let beside = b.stack("beside", 0, &[total, small])?;
        let behind = b.concat("behind", 0, &[small, total])?;
        let [values, places] = b.top_k("places", total, 2)?;
        let third = b.constant(
            "third",
            Tensor::i32(&[2], &[2, 0]).unwrap_or(Tensor::scalar_i32(0)),
        )?;
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
            own_boxes,
            maps,
            beside,
            behind,
            values,
            places,
            third,
            small,
        ];
        for (key, value) in MAP_KEYS.into_iter().zip(values) {
            b.output(key, value);
        }
        Ok(())
    })?;
    for (key, value) in MAP_KEYS.into_iter().zip(results) {
        b.output(&format!("map_{key}"), value);
    }
    Ok(())
}

/// Sizes that are known only at run time: read, computed with, and made; of a map that is kept channels-first too.
fn sizes(b: &mut Builder, pixels: ValueId, photo: ValueId) -> Built<()> {
    let floats = b.cast("sized_floats", photo, DType::F32)?;
    let kernel = parameter(b, "unknown/kernel", &[3, 3, 3, 2])?;
    let attrs = ConvAttrs::new(2, Padding::Same);
    let strided = b.conv2d("strided_unknown", floats, kernel, attrs)?;
    b.output("conv2d_unknown", strided);
    let shape = b.shape_of("shape_of", strided)?;
    b.output("shape_of", shape);
    let parts = b.unstack("parts", shape, 0)?;
    let columns = b.shape(strided).dims()[2].clone();
    let range = b.range("range", parts[2], columns)?;
    b.output("range", range);
    let integer = |b: &mut Builder, n: i32| b.constant(&format!("int_{n}"), Tensor::scalar_i32(n));
    let [zero, two, four] = [integer(b, 0)?, integer(b, 2)?, integer(b, 4)?];
    let rows = b.binary("rows", Binary::Mul, parts[1], four)?;
    let columns = b.binary("columns", Binary::Sub, parts[2], two)?;
    let size = b.stack("size", 0, &[rows, columns])?;
    let unknown = [Dim::symbol("rows"), Dim::symbol("columns")];
    let batch = b.shape(photo).dims()[0].clone();
    for (grid, suffix) in [
        (PixelGrid::Corners, ""),
        (PixelGrid::Centers, "_centers"),
        (PixelGrid::AlignedCorners, "_aligned"),
    ] {
        for (key, method) in [
            ("bilinear", ResizeMethod::Bilinear),
            ("nearest", ResizeMethod::Nearest),
        ] {
            let key = format!("computed_{key}{suffix}");
            let to = unknown.clone();
            let value = b.resize_on(&key, photo, method, grid, to, Some(size))?;
            b.output(&key, value);
        }
    }
    for (key, method) in [
        ("bilinear", ResizeMethod::Bilinear),
        ("nearest", ResizeMethod::Nearest),
        ("bicubic", ResizeMethod::Bicubic),
        ("area", ResizeMethod::Area),
    ] {
        for (suffix, to) in [("", [4, 5]), ("_up", [14, 11]), ("_single", [1, 1])] {
            let key = format!("aligned_{key}{suffix}");
            let (grid, to) = (PixelGrid::AlignedCorners, to.map(Dim::Known));
            let value = b.resize_on(&key, pixels, method, grid, to, None)?;
            b.output(&key, value);
        }
    }
    let by = b.stack("by", 0, &[zero, rows, columns, zero])?;
    for (key, x, channels) in [("pad_end", photo, 3), ("pad_end_strided", strided, 2)] {
        let [high, wide] = ["high", "wide"].map(|side| Dim::symbol(&format!("{key}/{side}")));
        let to = vec![batch.clone(), high, wide, channels.into()];
        let pad = b.pad_end(key, x, by, to)?;
        let doubled = b.binary(&format!("{key}_doubled"), Binary::Add, pad, pad)?;
        b.output(key, doubled);
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Given {
    image: ValueId,
    boxes: ValueId,
    scores: ValueId,
    class_scores: ValueId,
    own_boxes: ValueId,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let usage = "usage: toy_onnx FILE [OPSET] [external] [nchw] [fixed]";
    let path: PathBuf = arguments.next().ok_or(usage)?.into();
    let mut options = Options::default();
    let mut batch = Dim::symbol("batch");
    for argument in arguments {
        match argument.to_str().ok_or(usage)? {
            "external" => options.external_data = ExternalData::Always,
            "fixed" => batch = Dim::Known(3),
            "nchw" => options.input_layout = InputLayout::Nchw,
            opset => options.opset = opset.parse()?,
        }
    }
    options.metadata.insert("purpose".into(), "tests".into());

    let mut b = Builder::new("toy");
    let sized = |sizes: &[u64]| Shape::known(sizes).with_leading(batch.clone());
    let given = Given {
        image: b.input("image", DType::F32, sized(&[6, 6, 3])),
        boxes: b.input("boxes", DType::F32, Shape::known(&[12, 4])),
        scores: b.input("scores", DType::F32, sized(&[12])),
        class_scores: b.input("class_scores", DType::F32, sized(&[12, 3])),
        own_boxes: b.input("own_boxes", DType::F32, sized(&[12, 4])),
    };
    let pixels = b.input("pixels", DType::U8, sized(&[7, 9, 3]));
    let unknown = [
        batch.clone(),
        Dim::symbol("height"),
        Dim::symbol("width"),
        3.into(),
    ];
    let photo = b.input("photo", DType::U8, Shape(unknown.to_vec()));
    convolutions(&mut b, given.image, photo)?;
    elementwise(&mut b, given.image, pixels)?;
    shapes(&mut b, given.image, pixels, photo)?;
    // Of unknown number.
    let many = Dim::symbol("many");
    let many = [
        b.input(
            "many_boxes",
            DType::F32,
            Shape(vec![many.clone(), 4.into()]),
        ),
        b.input("many_scores", DType::F32, Shape(vec![many])),
    ];
    selection(&mut b, given.boxes, given.scores, many)?;
    let largest = b.reduce("largest", Reduce::Max, given.class_scores, &[0])?;
    let rows = b.unstack("rows", largest, 1)?;
    let by_class = b.stack("by_class", 0, &rows)?;
    let alone = b.scope("alone", |b| classes(b, given.boxes, by_class, 0))?;
    for (key, value) in ["alone_indices", "alone_counts"].into_iter().zip(alone) {
        b.output(key, value);
    }
    maps(&mut b, given)?;
    sizes(&mut b, pixels, photo)?;
    b.output("boxes_again", given.boxes);
    let graph = passes::standard(&b.finish())?;

    let views = graph.parameters().zip(0..).map(|((_, parameter), seed)| {
        let mut values = ramp(&parameter.shape, seed);
        if parameter.name.ends_with("variance") {
            for value in &mut values {
                *value = value.abs() + 0.5;
            }
        }
        let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        TensorView {
            dtype: parameter.dtype,
            shape: parameter.shape.clone(),
            data: data.into(),
        }
    });
    let weights = Weights(views.collect());
    let summary = OnnxWriter::new(&graph, &weights, &options)?.write(&path)?;
    println!("{summary:?}");
    for (id, parameter) in graph.parameters() {
        println!("parameter {} {}", id.index(), parameter.name);
    }
    Ok(())
}
