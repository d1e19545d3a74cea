//! What is written for small graphs: operators, refusals, and the same bytes every time.

mod suppression;

use std::path::Path;

use tfod_graph::{
    Binary, Builder, ConvAttrs, DType, Dim, Graph, NmsAttrs, Padding, ParameterSpec, ResizeMethod,
    Shape, TensorView, Unary, ValueId, Weights,
};

use crate::{Error, Options, TfliteWriter, WeightType};

fn image(b: &mut Builder, channels: u64) -> ValueId {
    b.input("image", DType::F32, Shape::known(&[1, 8, 8, channels]))
}

fn parameter(b: &mut Builder, name: &str, shape: &[u64]) -> ValueId {
    let spec = ParameterSpec {
        name,
        path: vec![name.to_owned()],
        shape,
        trainable: true,
    };
    b.parameter(spec).unwrap()
}

fn normal(b: &mut Builder, name: &str, x: ValueId, channels: u64) -> ValueId {
    let vectors = ["gamma", "beta", "mean", "variance"]
        .map(|vector| parameter(b, &format!("{name}/{vector}"), &[channels]));
    b.batch_norm(name, x, vectors, 0.001).unwrap()
}

/// Weights that are all one half in the first parameter, and more in each that follows.
fn halves(graph: &Graph) -> Weights<'static> {
    let values = (0..u8::MAX).map(|n| 0.5 + f32::from(n) / 16.0);
    let views = graph.parameters().zip(values);
    let views = views.map(|((_, parameter), value)| TensorView {
        dtype: parameter.dtype,
        shape: parameter.shape.clone(),
        data: [value]
            .repeat(usize::try_from(parameter.shape.iter().product::<u64>()).unwrap())
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect::<Vec<u8>>()
            .into(),
    });
    Weights(views.collect())
}

/// The operators of a model, and its bytes.
fn written(graph: &Graph) -> (Vec<(&'static str, usize)>, Vec<u8>) {
    written_as(graph, WeightType::Float32)
}

fn written_as(graph: &Graph, kernels: WeightType) -> (Vec<(&'static str, usize)>, Vec<u8>) {
    let weights = halves(graph);
    let options = Options {
        weights: kernels,
        ..Options::default()
    };
    let writer = TfliteWriter::new(graph, &weights, &options).unwrap();
    let mut bytes = Vec::new();
    let summary = writer.write_to(&mut bytes).unwrap();
    assert_eq!(summary.bytes, bytes.len() as u64);
    (summary.operators.clone().into_iter().collect(), bytes)
}

fn refused(graph: &Graph) -> String {
    let weights = halves(graph);
    let refused = TfliteWriter::new(graph, &weights, &Options::default());
    refused.unwrap_err().to_string()
}

/// A convolution with what usually follows it.
fn block(b: &mut Builder, name: &str, x: ValueId, kernel: ValueId) -> ValueId {
    let attrs = ConvAttrs::new(1, Padding::Same);
    let y = b.conv2d(name, x, kernel, attrs).unwrap();
    let y = normal(b, &format!("{name}/norm"), y, 16);
    b.unary(&format!("{name}/relu"), Unary::Relu6, y).unwrap()
}

#[test]
fn what_follows_a_convolution_becomes_part_of_it() {
    let mut b = Builder::new("g");
    let x = image(&mut b, 3);
    let kernel = parameter(&mut b, "kernel", &[3, 3, 3, 16]);
    let y = block(&mut b, "conv", x, kernel);
    b.output("y", y);
    assert_eq!(written(&b.finish()).0, [("CONV_2D", 1)]);
}

#[test]
fn a_result_that_others_need_stays_as_it_is() {
    let mut b = Builder::new("g");
    let x = image(&mut b, 3);
    let kernel = parameter(&mut b, "kernel", &[3, 3, 3, 16]);
    let attrs = ConvAttrs::new(1, Padding::Same);
    let linear = b.conv2d("conv", x, kernel, attrs).unwrap();
    let active = b.unary("relu", Unary::Relu, linear).unwrap();
    b.output("linear", linear);
    b.output("active", active);
    assert_eq!(written(&b.finish()).0, [("CONV_2D", 1), ("RELU", 1)]);
}

/// Two levels of a detector's head.
fn levels(channels: u64) -> Graph {
    let mut b = Builder::new("g");
    let x = image(&mut b, channels);
    let other = b.binary_scalar("other", Binary::Mul, x, 2.0).unwrap();
    let kernel = parameter(&mut b, "kernel", &[3, 3, channels, 16]);
    for (name, x) in [("first", x), ("second", other)] {
        let y = block(&mut b, name, x, kernel);
        b.output(name, y);
    }
    b.finish()
}

#[test]
fn large_shared_kernels_are_stored_once() {
    let (operators, bytes) = written(&levels(128));
    // The product is what makes the second level's input another.
    let expected = [("CONV_2D", 2), ("DEPTHWISE_CONV_2D", 1), ("MUL", 1)];
    assert_eq!(operators, expected);
    let kernel = 3 * 3 * 128 * 16 * 4;
    assert!((kernel..2 * kernel).contains(&bytes.len()));
    let (operators, bytes) = written(&levels(8));
    assert_eq!(operators, [("CONV_2D", 2), ("MUL", 1)]);
    assert!(bytes.len() > 2 * (3 * 3 * 8 * 16 * 4));
}

/// Some equal floats, as bytes.
fn floats(value: f32, count: usize) -> Vec<u8> {
    value.to_le_bytes().repeat(count)
}

#[test]
fn shared_kernels_have_the_scale_of_the_first_normalisation() {
    let (_, bytes) = written(&levels(128));
    // The kernel is 0.5; gammas and variances are those of `halves`, and the epsilon is 0.001.
    let first: f64 = 0.5625 / 0.751_f64.sqrt();
    let second: f64 = 0.8125 / 1.001_f64.sqrt();
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the element type has 32 bits"
    )]
    let [scale, relative] = [first, second / first].map(|value| value as f32);
    let kernel = floats(0.5 * scale, 3 * 3 * 128 * 16);
    for part in [kernel, floats(relative, 16)] {
        assert!(bytes.windows(part.len()).any(|window| window == part));
    }
}

#[test]
fn a_scale_that_divides_no_other_stays_out_of_a_shared_kernel() {
    let graph = levels(128);
    let mut weights = halves(&graph);
    // A channel that training has switched off on the first level, but not on the second.
    let gamma = [vec![0; 4], floats(1.0, 15)].concat();
    weights.0[1].data = gamma.into();
    let options = Options::default();
    let writer = TfliteWriter::new(&graph, &weights, &options).unwrap();
    let mut bytes = Vec::new();
    let operators = writer.write_to(&mut bytes).unwrap().operators.clone();
    assert_eq!(operators["DEPTHWISE_CONV_2D"], 2);
    let kernel = floats(0.5, 3 * 3 * 128 * 16);
    assert!(bytes.windows(kernel.len()).any(|window| window == kernel));
    assert!(bytes.len() < 2 * kernel.len());
}

#[test]
fn kernels_of_half_the_bits_are_widened_first() {
    let graph = levels(128);
    let weights = halves(&graph);
    let mut options = Options::default();
    let size = |options: &Options| {
        let writer = TfliteWriter::new(&graph, &weights, options).unwrap();
        writer.summary().clone()
    };
    let whole = size(&options);
    options.weights = WeightType::Float16;
    let half = size(&options);
    assert_eq!(half.operators["DEQUANTIZE"], 1);
    let kernel = 3 * 3 * 128 * 16 * 4;
    assert!((kernel / 2 - 1024..=kernel / 2).contains(&(whole.bytes - half.bytes)));
}

#[test]
fn kernels_of_transposed_convolutions_are_halved_too() {
    let mut b = Builder::new("g");
    let x = image(&mut b, 3);
    let kernel = parameter(&mut b, "kernel", &[3, 3, 16, 3]);
    let y = b.conv_transpose2d("larger", x, kernel, 2).unwrap();
    b.output("y", y);
    let graph = b.finish();
    let weights = halves(&graph);
    let options = Options {
        weights: WeightType::Float16,
        ..Options::default()
    };
    let writer = TfliteWriter::new(&graph, &weights, &options).unwrap();
    let mut bytes = Vec::new();
    let summary = writer.write_to(&mut bytes).unwrap();
    assert_eq!(summary.operators["DEQUANTIZE"], 1);
    let half = half::f16::from_f32(0.5)
        .to_le_bytes()
        .repeat(3 * 3 * 16 * 3);
    assert!(bytes.windows(half.len()).any(|part| part == half));
}

#[test]
fn the_same_graph_has_the_same_bytes() {
    assert_eq!(written(&levels(8)).1, written(&levels(8)).1);
}

#[test]
fn a_path_stays_on_its_line() {
    let graph = levels(8);
    let weights = halves(&graph);
    let writer = TfliteWriter::new(&graph, &weights, &Options::default()).unwrap();
    let refused = writer.write(Path::new("no\nsuch/model.tflite"));
    let said = refused.unwrap_err().to_string();
    assert!(said.starts_with("no\\u000asuch/model.tflite: "), "{said}");
}

#[test]
fn weights_are_aligned() {
    let mut b = Builder::new("g");
    let x = image(&mut b, 3);
    let factor = parameter(&mut b, "factor", &[8, 8, 3]);
    let y = b.binary("y", Binary::Mul, x, factor).unwrap();
    b.output("y", y);
    let (_, bytes) = written(&b.finish());
    let half = 0.5f32.to_le_bytes().repeat(8 * 8 * 3);
    let places = bytes.windows(half.len());
    let place = places.into_iter().position(|part| part == half).unwrap();
    assert_eq!(place % 16, 0);
}

#[test]
fn what_cannot_be_expressed_is_refused_by_name() {
    let mut b = Builder::new("g");
    let shape = Shape(vec![Dim::symbol("batch"), 8.into(), 8.into(), 3.into()]);
    let x = b.input("image", DType::F32, shape);
    let y = b.unary("y", Unary::Exp, x).unwrap();
    b.output("y", y);
    let said = refused(&b.finish());
    assert!(said.contains("`image`: the size `batch`"), "{said}");

    let mut b = Builder::new("g");
    let x = image(&mut b, 3);
    let method = ResizeMethod::Bicubic;
    let y = b.resize("larger", x, method, [9, 9], false).unwrap();
    b.output("y", y);
    let said = refused(&b.finish());
    assert!(said.contains("`larger`: bicubic"), "{said}");

    let mut b = Builder::new("g");
    let boxes = b.input("boxes", DType::F32, Shape::known(&[5, 4]));
    let scores = b.input("scores", DType::F32, Shape::known(&[5]));
    let attrs = NmsAttrs {
        max_output_size: 3,
        iou_threshold: 1.0,
        score_threshold: 0.0,
    };
    let [y, _] = b.non_max_suppression("nms", boxes, scores, attrs).unwrap();
    b.output("y", y);
    let said = refused(&b.finish());
    assert!(said.contains("an iou_threshold below 1"), "{said}");

    let mut b = Builder::new("g");
    image(&mut b, 3);
    let graph = b.finish();
    let written = TfliteWriter::new(&graph, &Weights(Vec::new()), &Options::default()).map(|_| ());
    assert!(matches!(written, Err(Error::NoOutputs { .. })));
}

#[test]
fn kernels_of_8_bits_are_stored_once_whatever_follows_them() {
    let (operators, bytes) = written_as(&levels(128), WeightType::DynamicInt8);
    // Without the normalisation that is an operator where kernels are floats.
    assert_eq!(operators, [("CONV_2D", 2), ("MUL", 1)]);
    let kernel = 3 * 3 * 128 * 16;
    assert!((kernel..2 * kernel).contains(&bytes.len()));
}

#[test]
fn small_kernels_keep_their_bits() {
    let mut b = Builder::new("g");
    let x = image(&mut b, 3);
    let kernel = parameter(&mut b, "kernel", &[3, 3, 3, 16]);
    let y = block(&mut b, "conv", x, kernel);
    b.output("y", y);
    let graph = b.finish();
    assert_eq!(written_as(&graph, WeightType::DynamicInt8), written(&graph));
}
