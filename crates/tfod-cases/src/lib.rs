//! Every operation of the graph as small cases, which the tests of all back ends share.
//!
//! A [`Case`] writes nodes that use one operation and declares their results as outputs. [`toy`] joins cases to one graph, which the examples of this
//! crate write in each format. `tests/backend/operations.py` has what each case gives, by the same name, computed by TensorFlow's own functions and NumPy; the
//! tests beside it run the written models and compare. `tests/every_operation.rs` fails where an operation has no case.
//!
//! What a back end cannot express it refuses: [`REFUSED_BY_ONNX`] and [`REFUSED_BY_TFLITE`], and the same test holds it to that. [`SOME_OF_ONNX`] are cases that only some of ONNX's operator
//! sets have; [`SIZES`] fix those that are known only at run time, for formats in which all are.

mod convolution;
mod crop;
mod elementwise;
pub mod files;
mod map;
mod matrix;
mod peaks;
mod selection;
mod shape;
mod size;

use tfod_graph::{
    Builder, Built, DType, Dim, Graph, ParameterSpec, Shape, Tensor, TensorView, ValidateError,
    ValueId, Weights, passes,
};

/// Some nodes that use one operation, and what they give.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The name, by which `tests/backend/operations.py` knows it too.
    pub name: &'static str,
    build: fn(&mut Builder, &Inputs) -> Built<()>,
}

impl Case {
    const fn new(name: &'static str, build: fn(&mut Builder, &Inputs) -> Built<()>) -> Self {
        Self { name, build }
    }
}

/// The inputs of the graph that all cases share; not in the order of their names, which matters to signatures.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The size of the batch.
    batch: Dim,
    /// `f32 [batch, 6, 6, 3]`
    image: ValueId,
    /// `f32 [12, 4]`: corners between 0 and 1.1.
    boxes: ValueId,
    /// `f32 [batch, 12]`
    scores: ValueId,
    /// `f32 [batch, 12, 3]`
    class_scores: ValueId,
    /// `f32 [batch, 12, 4]`
    own_boxes: ValueId,
    /// `u8 [batch, 7, 9, 3]`
    pixels: ValueId,
    /// `u8 [batch, height, width, 3]`; the tests give it 8x11 pixels.
    photo: ValueId,
    /// `f32 [many, 4]`
    many_boxes: ValueId,
    /// `f32 [many]`
    many_scores: ValueId,
    /// `f32 [crops, 4]`: inside the image, on its edges, across and outside of them, of no size, reversed.
    crop_boxes: ValueId,
    /// `i32 [crops]`: which image each box is of.
    crop_images: ValueId,
    /// `f32 [13, 4]`: without area, reversed in one direction or in both, overlapping by just one half.
    edge_boxes: ValueId,
    /// `f32 [13]`: the last is 0.25.
    edge_scores: ValueId,
}

impl Inputs {
    fn declare(b: &mut Builder, batch: Dim) -> Self {
        let sized = |sizes: &[u64]| Shape::known(sizes).with_leading(batch.clone());
        let [height, width] = ["height", "width"].map(Dim::symbol);
        let unknown = Shape(vec![batch.clone(), height, width, 3.into()]);
        let many = Dim::symbol("many");
        let crops = Dim::symbol("crops");
        Self {
            image: b.input("image", DType::F32, sized(&[6, 6, 3])),
            boxes: b.input("boxes", DType::F32, Shape::known(&[12, 4])),
            scores: b.input("scores", DType::F32, sized(&[12])),
            class_scores: b.input("class_scores", DType::F32, sized(&[12, 3])),
            own_boxes: b.input("own_boxes", DType::F32, sized(&[12, 4])),
            pixels: b.input("pixels", DType::U8, sized(&[7, 9, 3])),
            photo: b.input("photo", DType::U8, unknown),
            many_boxes: b.input(
                "many_boxes",
                DType::F32,
                Shape(vec![many.clone(), 4.into()]),
            ),
            many_scores: b.input("many_scores", DType::F32, Shape(vec![many])),
            crop_boxes: b.input(
                "crop_boxes",
                DType::F32,
                Shape(vec![crops.clone(), 4.into()]),
            ),
            crop_images: b.input("crop_images", DType::I32, Shape(vec![crops])),
            edge_boxes: b.input("edge_boxes", DType::F32, Shape::known(&[13, 4])),
            edge_scores: b.input("edge_scores", DType::F32, Shape::known(&[13])),
            batch,
        }
    }
}

/// All cases on tensors. Operations on files of images are in [`files`].
pub fn cases() -> Vec<Case> {
    [
        convolution::CASES,
        elementwise::CASES,
        shape::CASES,
        size::CASES,
        selection::CASES,
        map::CASES,
        peaks::CASES,
        matrix::CASES,
        crop::CASES,
    ]
    .concat()
}

/// Cases of what ONNX has no operators for: its back end must refuse them.
pub const REFUSED_BY_ONNX: &[&str] = &["resize_computed_smooth", "soft_non_max_suppression"];

/// Cases of what ONNX has operators for in some operator sets only, the default among them, which not all runtimes have: a model of their own.
pub const SOME_OF_ONNX: &[&str] = &["crop_and_resize"];

/// Cases of what TFLite has no operators for: its back end must refuse them.
pub const REFUSED_BY_TFLITE: &[&str] = &[
    "resize_smooth",
    "resize_aligned_smooth",
    "resize_computed_smooth",
    "soft_non_max_suppression",
    "crop_and_resize",
];

/// The numbers that sizes known only at run time have in the tests, for formats in which all are fixed.
pub const SIZES: &[(&str, u64)] = &[
    ("batch", 3),
    ("height", 8),
    ("width", 11),
    ("many", 12),
    ("crops", 289),
    ("count", 8),
    ("rest", 33),
    ("rows", 16),
    ("columns", 4),
    ("pad_end/high", 24),
    ("pad_end/wide", 15),
    ("pad_end_strided/high", 20),
    ("pad_end_strided/wide", 10),
];

/// A graph of cases in which all sizes are fixed.
///
/// # Errors
/// Where a case is not accepted; the error names the node.
pub fn fixed(graph: &Graph) -> Result<Graph, ValidateError> {
    passes::with_sizes(graph, &|name| {
        let mut sizes = SIZES.iter();
        sizes.find(|(other, _)| *other == name).map(|(_, n)| *n)
    })
}

/// One graph of the cases, as it is built: no pass has been run.
///
/// # Errors
/// Where a case is not accepted; the error names the node.
pub fn toy(cases: &[Case], batch: Dim) -> Result<Graph, ValidateError> {
    let mut b = Builder::new("toy");
    let inputs = Inputs::declare(&mut b, batch);
    for case in cases {
        (case.build)(&mut b, &inputs)?;
    }
    Ok(b.finish())
}

/// The weights of a graph's parameters: [`ramp`]s; variances are positive.
pub fn weights(graph: &Graph) -> Weights<'static> {
    let views = graph.parameters().map(|(_, parameter)| {
        let name = parameter.path.last().map_or("", String::as_str);
        let mut values = ramp(name, &parameter.shape);
        if name.ends_with("variance") {
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

/// Values between -1 and 1, which differ from name to name. The tests in Python repeat the formula.
fn ramp(name: &str, shape: &[u64]) -> Vec<f32> {
    let seed: u64 = name.bytes().map(u64::from).sum();
    let value = |i: u64| {
        f32::from(u8::try_from((i * 37 + seed * 11) % 101).unwrap_or_default()) / 50.0 - 1.0
    };
    (0..shape.iter().product()).map(value).collect()
}

/// A constant that is a [`ramp`].
fn ramp_constant(b: &mut Builder, name: &str, shape: &[u64]) -> Built {
    let values = ramp(name, shape);
    // A ramp has as many values as its shape says, so there is a tensor.
    let tensor = Tensor::f32(shape, &values).unwrap_or_else(|| Tensor::scalar_f32(f32::NAN));
    b.constant(name, tensor)
}

/// A trained tensor.
fn parameter(b: &mut Builder, name: &str, shape: &[u64]) -> Built {
    b.parameter(ParameterSpec {
        name,
        path: vec!["model".to_owned(), name.to_owned()],
        shape,
        trainable: !name.contains("moving"),
    })
}

fn integer(b: &mut Builder, n: i32) -> Built {
    b.constant(&format!("int_{n}"), Tensor::scalar_i32(n))
}
