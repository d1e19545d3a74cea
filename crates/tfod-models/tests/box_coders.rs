//! Box coders: boxes encoded by the formulas of their papers and decoded by the graph are the same boxes. A small evaluator runs the graph.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::HashMap;

use proptest::prelude::*;
use tfod_config::protos::{self, box_coder::BoxCoderOneof};
use tfod_graph::{Binary, Builder, DType, Graph, Op, Shape, Unary, ValueId};
use tfod_models::anchors::Anchors;
use tfod_models::postprocess::box_coder::BoxCoder;
use tfod_models::{FieldPath, Message};

type Corners = [f64; 4];

/// An array in row-major order.
#[derive(Clone)]
struct Array {
    shape: Vec<usize>,
    values: Vec<f64>,
}

impl Array {
    /// The element at an index of a shape that this one broadcasts to.
    fn broadcast(&self, index: &[usize]) -> f64 {
        let own = &index[index.len() - self.shape.len()..];
        let flat = own.iter().zip(&self.shape).fold(0, |flat, (i, size)| {
            flat * size + if *size == 1 { 0 } else { *i }
        });
        self.values[flat]
    }

    /// An array of this shape, from a function of the index.
    fn new(shape: Vec<usize>, value: impl Fn(&[usize]) -> f64) -> Self {
        let count = shape.iter().product();
        let index = |mut flat: usize| {
            let mut index = vec![0; shape.len()];
            for (i, size) in shape.iter().enumerate().rev() {
                index[i] = flat % size;
                flat /= size;
            }
            index
        };
        let values = (0..count).map(|flat| value(&index(flat))).collect();
        Self { shape, values }
    }
}

fn evaluate(graph: &Graph, input: Array) -> HashMap<String, Array> {
    let mut arrays: HashMap<ValueId, Array> = HashMap::new();
    for (_, node) in graph.nodes() {
        let output = node.outputs[0];
        let dims = graph.value(output).shape.dims().iter();
        let shape: Vec<usize> = dims
            .map(|dim| usize::try_from(dim.known().unwrap()).unwrap())
            .collect();
        let operand = |i: usize| &arrays[&node.inputs[i]];
        let array = match &node.op {
            Op::Input => input.clone(),
            Op::Constant(tensor) => Array {
                shape,
                values: tensor
                    .to_f32()
                    .unwrap()
                    .into_iter()
                    .map(f64::from)
                    .collect(),
            },
            Op::Unary(Unary::Exp) => Array::new(shape, |i| operand(0).broadcast(i).exp()),
            Op::Binary(binary) => Array::new(shape, |i| {
                let (a, b) = (operand(0).broadcast(i), operand(1).broadcast(i));
                match binary {
                    Binary::Add => a + b,
                    Binary::Sub => a - b,
                    Binary::Mul => a * b,
                    Binary::Div => a / b,
                    other => panic!("{other:?}"),
                }
            }),
            Op::Reshape(_) => Array {
                shape,
                values: operand(0).values.clone(),
            },
            Op::Slice(ranges) => Array::new(shape, |i| {
                let begins = ranges
                    .iter()
                    .map(|range| range.map_or(0, |(begin, _)| begin));
                let begins = begins.map(|begin| usize::try_from(begin).unwrap());
                let index: Vec<usize> = begins.zip(i).map(|(begin, i)| begin + i).collect();
                operand(0).broadcast(&index)
            }),
            Op::Concat { axis } => Array::new(shape, |i| {
                let mut index = i.to_vec();
                for input in &node.inputs {
                    let part = &arrays[input];
                    if index[*axis] < part.shape[*axis] {
                        return part.broadcast(&index);
                    }
                    index[*axis] -= part.shape[*axis];
                }
                panic!("beyond the last part")
            }),
            other => panic!("{other:?}"),
        };
        arrays.insert(output, array);
    }
    let outputs = graph.outputs().iter();
    outputs
        .map(|output| (output.key.clone(), arrays[&output.value].clone()))
        .collect()
}

/// Decodes one encoding relative to one anchor, the second of two.
fn decode(coder: BoxCoderOneof, anchor: Corners, code: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let config = protos::BoxCoder {
        box_coder_oneof: Some(coder),
    };
    let coder = BoxCoder::from_config(Message::new(FieldPath::MODEL, &config)).unwrap();
    assert_eq!(coder.code_size(), code.len() as u64);
    #[expect(clippy::cast_possible_truncation, reason = "the graph's numbers")]
    let anchors = [[0.0, 0.0, 1.0, 1.0], anchor.map(|x| x as f32)];
    let mut b = Builder::new("coder");
    let shape = Shape::known(&[1, 2, coder.code_size()]);
    let codes = b.input("codes", DType::F32, shape);
    let decoded = coder
        .decode(&mut b, codes, &Anchors::Known(anchors.to_vec()))
        .unwrap();
    b.output("boxes", decoded.boxes);
    if let Some(keypoints) = decoded.keypoints {
        b.output("keypoints", keypoints);
    }
    let mut values = vec![0.0; code.len()];
    values.extend(code);
    let input = Array {
        shape: vec![1, 2, code.len()],
        values,
    };
    let mut outputs = evaluate(&b.finish(), input);
    // The other anchor is left out.
    let mut second = |key: &str| {
        let values = outputs.remove(key).map_or(vec![], |array| array.values);
        values[values.len() / 2..].to_vec()
    };
    (second("boxes"), second("keypoints"))
}

/// Centre and size.
fn center_and_size([y0, x0, y1, x1]: Corners) -> ([f64; 2], [f64; 2]) {
    (
        [f64::midpoint(y0, y1), f64::midpoint(x0, x1)],
        [y1 - y0, x1 - x0],
    )
}

fn close(found: &[f64], expected: &[f64]) -> bool {
    let pairs = || found.iter().zip(expected);
    found.len() == expected.len() && pairs().all(|(a, b)| (a - b).abs() < 1e-4)
}

fn any_box() -> impl Strategy<Value = Corners> {
    [-0.5..1.0, -0.5..1.0, 0.02..1.0, 0.02..1.0].prop_map(|[y, x, h, w]| [y, x, y + h, x + w])
}

proptest! {
    #[test]
    fn faster_rcnn(anchor in any_box(), corners in any_box(), scales in [0.5f32..12.0, 0.5f32..12.0, 0.5f32..12.0, 0.5f32..12.0]) {
        let [sy, sx, sh, sw] = scales.map(f64::from);
        let ([ya, xa], [ha, wa]) = center_and_size(anchor);
        let ([y, x], [h, w]) = center_and_size(corners);
        let code = [sy * (y - ya) / ha, sx * (x - xa) / wa, sh * (h / ha).ln(), sw * (w / wa).ln()];
        let coder = BoxCoderOneof::FasterRcnnBoxCoder(protos::FasterRcnnBoxCoder {
            y_scale: Some(scales[0]),
            x_scale: Some(scales[1]),
            height_scale: Some(scales[2]),
            width_scale: Some(scales[3]),
        });
        let (boxes, keypoints) = decode(coder, anchor, &code);
        prop_assert!(close(&boxes, &corners) && keypoints.is_empty(), "{boxes:?}");
    }

    #[test]
    fn keypoints(anchor in any_box(), corners in any_box(), points in prop::collection::vec(-1.0..2.0, 6), sy in 0.5f32..12.0, sh in 0.5f32..12.0) {
        let coder = BoxCoderOneof::KeypointBoxCoder(protos::KeypointBoxCoder {
            num_keypoints: Some(3),
            y_scale: Some(sy),
            height_scale: Some(sh),
            ..Default::default()
        });
        // The other scales are 10 and 5.
        let (sy, sh) = (f64::from(sy), f64::from(sh));
        let ([ya, xa], [ha, wa]) = center_and_size(anchor);
        let ([y, x], [h, w]) = center_and_size(corners);
        let mut code = vec![sy * (y - ya) / ha, 10.0 * (x - xa) / wa, sh * (h / ha).ln(), 5.0 * (w / wa).ln()];
        code.extend(points.chunks(2).flat_map(|point| [sy * (point[0] - ya) / ha, 10.0 * (point[1] - xa) / wa]));
        let (boxes, keypoints) = decode(coder, anchor, &code);
        prop_assert!(close(&boxes, &corners) && close(&keypoints, &points), "{boxes:?} {keypoints:?}");
    }

    #[test]
    fn square(anchor in any_box(), y in -0.5..1.0, x in -0.5..1.0, side in 0.02f64..1.0) {
        let coder = BoxCoderOneof::SquareBoxCoder(protos::SquareBoxCoder {
            y_scale: Some(3.0),
            x_scale: Some(4.0),
            length_scale: Some(2.0),
        });
        let ([ya, xa], [ha, wa]) = center_and_size(anchor);
        let la = (ha * wa).sqrt();
        let code = [3.0 * (y - ya) / la, 4.0 * (x - xa) / la, 2.0 * (side / la).ln()];
        let (boxes, _) = decode(coder, anchor, &code);
        let half = side / 2.0;
        prop_assert!(close(&boxes, &[y - half, x - half, y + half, x + half]), "{boxes:?}");
    }

    #[test]
    fn mean_stddev(anchor in any_box(), corners in any_box(), stddev in 0.005f32..1.0) {
        let coder = BoxCoderOneof::MeanStddevBoxCoder(protos::MeanStddevBoxCoder { stddev: Some(stddev) });
        let code: Vec<f64> = corners.iter().zip(anchor).map(|(x, mean)| (x - mean) / f64::from(stddev)).collect();
        let (boxes, _) = decode(coder, anchor, &code);
        prop_assert!(close(&boxes, &corners), "{boxes:?}");
    }
}
