//! Writes a small SavedModel in which every operation of the graph occurs, each with an output named after it.
//!
//! `toy_saved_model FOLDER`; the folder must exist and be empty. `toy_saved_model FOLDER files` writes the operations on files of images, which TensorFlow
//! 2.2 has not, as two signatures of one model with an asset. The backend tests run the result in TensorFlow and compare each output with
//! what TensorFlow's own functions give. Weights follow the formula of [`ramp`], which the tests repeat.

use std::error::Error;
use std::path::{Path, PathBuf};

use tfod_graph::{
    Binary, Builder, Built, Compare, ConvAttrs, DType, Dim, Graph, MapInput, NmsAttrs, Op, Padding,
    ParameterSpec, PixelGrid, PoolAttrs, Reduce, ResizeMethod, Shape, SoftNmsAttrs, Tensor,
    TensorView, Unary, ValidateError, ValueId, Weights, passes,
};
use tfod_tensorflow::{Asset, NamedGraph, SavedModelWriter};

/// Rows of the large constant: enough that it is kept outside of the graph.
const ANCHORS: u64 = 4100;

/// The values of a tensor: between -1 and 1, different for different seeds.
fn ramp(shape: &[u64], seed: u64) -> Vec<f32> {
    let value = |i: u64| {
        f32::from(u8::try_from((i * 37 + seed * 11) % 101).unwrap_or_default()) / 50.0 - 1.0
    };
    (0..shape.iter().product()).map(value).collect()
}

fn ramp_tensor(shape: &[u64], seed: u64) -> Result<Tensor, &'static str> {
    Tensor::f32(shape, &ramp(shape, seed)).ok_or("a shape of other size than its values")
}

/// A trained tensor of this name and shape; the weights are made afterwards, seeded with the position.
fn parameter(b: &mut Builder, name: &str, shape: &[u64], trainable: bool) -> Built {
    let path = vec!["model".to_owned(), name.to_owned()];
    b.parameter(ParameterSpec {
        name,
        path,
        shape,
        trainable,
    })
}

fn convolutions(b: &mut Builder, image: ValueId) -> Built<()> {
    let kernel = parameter(b, "conv/kernel", &[3, 3, 3, 8], true)?;
    let strided = b.conv2d("conv2d", image, kernel, ConvAttrs::new(2, Padding::Same))?;
    let dilated = ConvAttrs {
        dilations: [2, 1],
        ..ConvAttrs::new(1, Padding::Valid)
    };
    let dilated = b.conv2d("conv2d_dilated", image, kernel, dilated)?;
    let kernel = parameter(b, "depthwise/kernel", &[3, 3, 3, 2], true)?;
    let depthwise = b.depthwise_conv2d(
        "depthwise_conv2d",
        image,
        kernel,
        ConvAttrs::new(1, Padding::Same),
    )?;
    // So that a padding with zeros would show.
    let negative = b.binary_scalar("negative", Binary::Sub, image, 20.0)?;
    let max_pool = b.max_pool("max_pool", negative, PoolAttrs::new(3, 2, Padding::Same))?;
    let uneven = PoolAttrs {
        window: [2, 3],
        strides: [1, 2],
        padding: Padding::Valid,
    };
    let uneven = b.max_pool("max_pool_uneven", image, uneven)?;
    let average = b.global_average_pool("global_average_pool", image)?;
    let bias = parameter(b, "conv/bias", &[8], true)?;
    let bias_add = b.bias_add("bias_add", strided, bias)?;
    let gamma = parameter(b, "bn/gamma", &[8], true)?;
    let beta = parameter(b, "bn/beta", &[8], true)?;
    let mean = parameter(b, "bn/moving_mean", &[8], false)?;
    let variance = parameter(b, "bn/moving_variance", &[8], false)?;
    let batch_norm = b.batch_norm("batch_norm", strided, [gamma, beta, mean, variance], 0.001)?;
    for (key, value) in [
        ("conv2d", strided),
        ("conv2d_dilated", dilated),
        ("depthwise_conv2d", depthwise),
        ("max_pool", max_pool),
        ("max_pool_uneven", uneven),
        ("global_average_pool", average),
        ("bias_add", bias_add),
        ("batch_norm", batch_norm),
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
    for (key, binary) in [
        ("add", Binary::Add),
        ("sub", Binary::Sub),
        ("mul", Binary::Mul),
        ("div", Binary::Div),
        ("floor_div", Binary::FloorDiv),
        ("maximum", Binary::Maximum),
        ("minimum", Binary::Minimum),
    ] {
        let value = b.binary(key, binary, image, divisor)?;
        b.output(key, value);
    }
    for (key, compare) in [
        ("less", Compare::Less),
        ("greater", Compare::Greater),
        ("greater_equal", Compare::GreaterEqual),
    ] {
        let value = b.compare(key, compare, image, divisor)?;
        b.output(key, value);
    }
    let low = b.constant("low", Tensor::scalar_f32(-0.2))?;
    let above = b.compare("above", Compare::Greater, image, low)?;
    let below = b.compare("below", Compare::Less, image, divisor)?;
    let and = b.and("and", above, below)?;
    b.output("and", and);
    let select = b.select("select", and, image, divisor)?;
    b.output("select", select);
    let softmax = b.softmax("softmax", image)?;
    b.output("softmax", softmax);
    let scaled = b.binary_scalar("scaled", Binary::Mul, image, 9.7)?;
    let integers = b.cast("cast_to_i32", scaled, DType::I32)?;
    b.output("cast_to_i32", integers);
    let four = b.constant("four", Tensor::scalar_i32(4))?;
    let floor_div = b.binary("floor_div_i32", Binary::FloorDiv, integers, four)?;
    b.output("floor_div_i32", floor_div);
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

fn shapes(b: &mut Builder, image: ValueId, pixels: ValueId) -> Built<()> {
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
        let value = b.resize(key, pixels, method, [4, 5], centers)?;
        b.output(key, value);
    }
    let batch = Dim::symbol("batch");
    let reshape = b.reshape("reshape", image, &[batch.clone(), 36.into(), 3.into()])?;
    b.output("reshape", reshape);
    // All sizes but one are taken from the input at run time, and the last is worked out.
    let height = Dim::symbol("height");
    let dynamic = b.reshape(
        "reshape_dynamic",
        pixels,
        &[height, batch, Dim::symbol("rest")],
    )?;
    b.output("reshape_dynamic", dynamic);
    let concat = b.concat("concat", 3, &[image, image])?;
    b.output("concat", concat);
    let single = b.concat("concat_single", 3, &[image])?;
    b.output("concat_single", single);
    let slice = b.add(
        "slice",
        Op::Slice(vec![None, Some((1, 3)), Some((2, 4)), None]),
        &[image],
    )?[0];
    b.output("slice", slice);
    let channels = b.unstack("unstack", image, 3)?;
    b.output("unstack", channels[1]);
    let stack = b.stack("stack", 1, &channels)?;
    b.output("stack", stack);
    let sum = b.reduce("reduce_sum", Reduce::Sum, image, &[1, 2])?;
    b.output("reduce_sum", sum);
    let max = b.reduce("reduce_max", Reduce::Max, image, &[3])?;
    b.output("reduce_max", max);
    Ok(())
}

/// Sizes that are known only at run time: read, computed with, and made.
fn sizes(b: &mut Builder, pixels: ValueId) -> Built<()> {
    let shape = b.shape_of("shape_of", pixels)?;
    b.output("shape_of", shape);
    let parts = b.unstack("parts", shape, 0)?;
    let range = b.range("range", parts[1], Dim::symbol("height"))?;
    b.output("range", range);
    let integer = |b: &mut Builder, n: i32| b.constant(&format!("int_{n}"), Tensor::scalar_i32(n));
    let [zero, three, four] = [integer(b, 0)?, integer(b, 3)?, integer(b, 4)?];
    let rows = b.binary("rows", Binary::Sub, parts[1], three)?;
    let columns = b.binary("columns", Binary::Sub, parts[2], four)?;
    let size = b.stack("size", 0, &[rows, columns])?;
    let unknown = [Dim::symbol("rows"), Dim::symbol("columns")];
    for (key, method) in [
        ("resize_bilinear", ResizeMethod::Bilinear),
        ("resize_nearest", ResizeMethod::Nearest),
        ("resize_bicubic", ResizeMethod::Bicubic),
        ("resize_area", ResizeMethod::Area),
    ] {
        let grid = PixelGrid::AlignedCorners;
        let to = [4.into(), 5.into()];
        let aligned = format!("{key}_aligned");
        let value = b.resize_on(&aligned, pixels, method, grid, to, None)?;
        b.output(&aligned, value);
        let (grid, to) = (PixelGrid::Corners, unknown.clone());
        let computed = format!("{key}_computed");
        let value = b.resize_on(&computed, pixels, method, grid, to, Some(size))?;
        b.output(&computed, value);
    }
    let batch = b.shape(pixels).dims()[0].clone();
    let by = b.stack("by", 0, &[zero, rows, columns, zero])?;
    let to = vec![
        batch.clone(),
        Dim::symbol("high"),
        Dim::symbol("wide"),
        3.into(),
    ];
    let pad = b.pad_end("pad_end", pixels, by, to)?;
    b.output("pad_end", pad);
    let ten = integer(b, 10)?;
    let below = b.binary("below", Binary::Sub, ten, parts[1])?;
    let right = b.binary("right", Binary::Sub, ten, parts[2])?;
    let by = b.stack("to_ten", 0, &[zero, below, right, zero])?;
    let to = vec![batch, 10.into(), 10.into(), 3.into()];
    let pad = b.pad_end("pad_end_known", pixels, by, to)?;
    b.output("pad_end_known", pad);
    let floats = b.cast("pixel_floats", pixels, DType::F32)?;
    let kernel = parameter(b, "unknown/kernel", &[3, 3, 3, 2], true)?;
    let attrs = ConvAttrs::new(2, Padding::Same);
    let strided = b.conv2d("conv2d_unknown", floats, kernel, attrs)?;
    b.output("conv2d_unknown", strided);
    let concat = b.concat("concat_unknown", 1, &[pixels, pixels])?;
    b.output("concat_unknown", concat);
    Ok(())
}

fn selection(b: &mut Builder, boxes: ValueId, scores: ValueId) -> Built<()> {
    let [values, indices] = b.top_k("top_k", scores, 5)?;
    b.output("top_k_values", values);
    b.output("top_k_indices", indices);
    let gather = b.gather("gather", boxes, indices)?;
    b.output("gather", gather);
    let best = b.reduce("best", Reduce::Max, scores, &[0])?;
    // More is asked for than there are boxes.
    let hard = NmsAttrs {
        max_output_size: 15,
        iou_threshold: 0.3,
        score_threshold: 0.2,
    };
    let [indices, count] = b.non_max_suppression("nms", boxes, best, hard)?;
    b.output("nms_indices", indices);
    b.output("nms_count", count);
    let soft = SoftNmsAttrs {
        max_output_size: 15,
        score_threshold: 0.2,
        sigma: 0.5,
    };
    let [indices, selected, count] = b.soft_non_max_suppression("soft_nms", boxes, best, soft)?;
    b.output("soft_nms_indices", indices);
    b.output("soft_nms_scores", selected);
    b.output("soft_nms_count", count);
    Ok(())
}

/// For each image: selection among the same boxes, rows of a large constant, and a map over the boxes inside.
fn maps(b: &mut Builder, boxes: ValueId, scores: ValueId) -> Result<(), Box<dyn Error>> {
    let anchors = b.constant("anchors", ramp_tensor(&[ANCHORS, 4], 100)?)?;
    let small = b.constant("small", ramp_tensor(&[4], 101)?)?;
    let inputs = [
        (scores, MapInput::Sliced),
        (boxes, MapInput::Whole),
        (anchors, MapInput::Whole),
        (small, MapInput::Whole),
    ];
    let results = b.map::<ValidateError>("per_image", &inputs, |b, args| {
        let [scores, boxes, anchors, small] = [args[0], args[1], args[2], args[3]];
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
        for (key, value) in [
            ("selected", selected),
            ("count", count),
            ("shifted", shifted),
            ("inner", inner[0]),
        ] {
            b.output(key, value);
        }
        Ok(())
    })?;
    for (key, value) in ["map_selected", "map_count", "map_shifted", "map_inner"]
        .into_iter()
        .zip(results)
    {
        b.output(key, value);
    }
    Ok(())
}

/// The weights of a graph's parameters, seeded with their positions.
fn weights(graph: &Graph) -> Weights<'static> {
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
    Weights(views.collect())
}

/// Pixels of files, decoded one by one and multiplied by trained factors, with their sizes and bytes; the files may be in examples.
fn files(are_examples: bool) -> Result<Graph, ValidateError> {
    let mut b = Builder::new("files");
    let name = if are_examples { "examples" } else { "files" };
    let given = b.input(name, DType::String, Shape(vec![Dim::symbol("batch")]));
    let factor = parameter(&mut b, "factor", &[2, 3], true)?;
    let inputs = [(given, MapInput::Sliced), (factor, MapInput::Whole)];
    let results = b.map::<ValidateError>("each_file", &inputs, |b, args| {
        let file = if are_examples {
            b.example_feature("example_feature", args[0], "some/image")?
        } else {
            args[0]
        };
        let image = b.decode_image("decode_image", file, ["height", "width"])?;
        let pixels = b.cast("pixels", image, DType::F32)?;
        let factor = b.reduce("factor", Reduce::Sum, args[1], &[0])?;
        let scaled = b.binary("scaled", Binary::Mul, pixels, factor)?;
        let size = b.shape_of("size", image)?;
        b.output("scaled", scaled);
        b.output("size", size);
        b.output("file", file);
        Ok(())
    })?;
    for (key, value) in ["decoded", "size", "file"].into_iter().zip(results) {
        b.output(key, value);
    }
    passes::standard(&b.finish())
}

fn write_files(folder: &Path) -> Result<(), Box<dyn Error>> {
    let graphs = [files(false)?, files(true)?];
    let weights = weights(&graphs[0]);
    let named = |name, graph| NamedGraph {
        name,
        graph,
        weights: &weights,
    };
    let assets = [Asset {
        name: "note".to_owned(),
        file_name: "note.txt".to_owned(),
        contents: b"hello".to_vec(),
    }];
    let graphs = [
        named("serving_default", &graphs[0]),
        named("of_examples", &graphs[1]),
    ];
    let summary = SavedModelWriter::new(&graphs, &assets)?.write(folder)?;
    println!("{summary:?}");
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let usage = "usage: toy_saved_model FOLDER [files]";
    let folder: PathBuf = arguments.next().ok_or(usage)?.into();
    if arguments.next().is_some() {
        return write_files(&folder);
    }
    let mut b = Builder::new("toy");
    let batch = Dim::symbol("batch");
    // The inputs are not in the order of their names, which matters to signatures.
    let image_shape = Shape(vec![batch.clone(), 6.into(), 6.into(), 3.into()]);
    let image = b.input("image", DType::F32, image_shape);
    let boxes = b.input("boxes", DType::F32, Shape::known(&[12, 4]));
    let scores = b.input("scores", DType::F32, Shape(vec![batch.clone(), 12.into()]));
    let pixels_shape = Shape(vec![
        batch,
        Dim::symbol("height"),
        Dim::symbol("width"),
        3.into(),
    ]);
    let pixels = b.input("pixels", DType::U8, pixels_shape);
    convolutions(&mut b, image)?;
    elementwise(&mut b, image, pixels)?;
    shapes(&mut b, image, pixels)?;
    sizes(&mut b, pixels)?;
    selection(&mut b, boxes, scores)?;
    maps(&mut b, boxes, scores)?;
    let graph = passes::standard(&b.finish())?;

    let weights = weights(&graph);
    let summary =
        SavedModelWriter::new(&[NamedGraph::serving(&graph, &weights)], &[])?.write(&folder)?;
    println!("{summary:?}");
    Ok(())
}
