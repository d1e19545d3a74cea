//! Crops of feature maps, resized bilinearly.
//!
//! `RoiAlign` with one sample a bin is a bilinear interpolation at the bins' centres, so with boxes moved such that these are where TensorFlow samples,
//! it computes the same, but for one thing: beyond the outer pixels it repeats them for a while, where TensorFlow's kernel gives 0. Boxes are mostly
//! clipped to the image, and then it is rounding that decides on which side of the border the last sample falls. So positions are also computed here,
//! in the order of TensorFlow's arithmetic, and what is outside becomes 0.

// Numbers of rows and columns are far below the limits of `f32`, and TensorFlow computes with `f32` too.
#![allow(clippy::cast_precision_loss)]

use std::ops::RangeInclusive;

use tfod_graph::{DType, Dim, Node, Shape};

use super::{Form, FormedTensor, Lowering, axis_number, size};
use crate::Error;
use crate::emit::{Attr, TensorId};
use crate::layout::Layout;
use crate::stored::Stored;

/// The operator sets in which `RoiAlign` knows where the centre of a pixel is, and ONNX Runtime knows `RoiAlign`.
const ROI_ALIGN: RangeInclusive<u32> = 16..=21;
/// The most rows or columns of a crop; see [`Divisor`].
const LONGEST: u64 = 1 << 12;

/// The samples along one side of all boxes.
struct Samples {
    /// Where `RoiAlign` has to have the beginnings of the boxes, and the ends: `[n, 1]`.
    begin: TensorId,
    end: TensorId,
    /// 1 for samples within the image, 0 for others: `[n, samples]`.
    inside: TensorId,
}

/// What several samples along one side are spread by.
struct Spread {
    /// How many steps there are between them.
    steps: Divisor,
    /// How many samples there are.
    bins: TensorId,
    /// From 0, `[1, samples]`.
    numbers: TensorId,
}

/// A whole number below 2^12 to divide by.
struct Divisor {
    /// 1 divided by it, rounded.
    inverse: TensorId,
    /// Itself and [`SPLIT`], unless multiplying by the inverse is an exact division.
    correction: Option<[TensorId; 2]>,
}

/// 2^12 + 1, by which a number of 24 bits is split into two of 12 (Dekker 1971).
const SPLIT: f32 = 4097.0;

/// A number divided and rounded as IEEE 754 asks for. OpenVINO multiplies by the inverse instead, which often gives a neighbour; so that is done here in any
/// case, and corrected by the remainder, which is computed exactly from the halves of the quotient. Where multiplications are contracted with
/// additions, that is as exact.
fn quotient(
    x: TensorId,
    divisor: &Divisor,
    mut add: impl FnMut(&str, &'static str, &[TensorId]) -> TensorId,
) -> TensorId {
    let Divisor {
        inverse,
        correction,
    } = *divisor;
    let near = add("near", "Mul", &[x, inverse]);
    let Some([by, split]) = correction else {
        return near;
    };
    let spread = add("spread", "Mul", &[near, split]);
    let rest = add("rest", "Sub", &[spread, near]);
    let high = add("upper_bits", "Sub", &[spread, rest]);
    let low = add("lower_bits", "Sub", &[near, high]);
    let high = add("upper_product", "Mul", &[high, by]);
    let low = add("lower_product", "Mul", &[low, by]);
    let left = add("left", "Sub", &[x, high]);
    let left = add("remainder", "Sub", &[left, low]);
    let missing = add("missing", "Mul", &[left, inverse]);
    add("step", "Add", &[near, missing])
}

impl Lowering<'_, '_> {
    pub(super) fn crop_and_resize(
        &mut self,
        node: &Node,
        [height, width]: [u64; 2],
    ) -> Result<FormedTensor, Error> {
        self.refuse_batched(node, "cropping")?;
        let unsupported = |what: String, expected| Error::Unsupported {
            node: node.name.clone(),
            what,
            expected,
        };
        if !ROI_ALIGN.contains(&self.opset) {
            let what = format!("cropping in operator set {}", self.opset);
            return Err(unsupported(what, "operator set 16 to 21"));
        }
        if height > LONGEST || width > LONGEST {
            let what = format!("a crop of {height}x{width}");
            return Err(unsupported(what, "sides of at most 4096"));
        }
        let name = self.name(&node.name);
        let x = self.operand(node.input(0)?, Layout::ChannelsFirst)?;
        let boxes = self.operand(node.input(1)?, Layout::ChannelsLast)?;
        let images = self.operand(node.input(2)?, Layout::ChannelsLast)?;
        let images = self.wide(images);
        let rows = self.samples(&format!("{name}/rows"), x, boxes, 0, height);
        let columns = self.samples(&format!("{name}/columns"), x, boxes, 1, width);

        let count = self.emitter.dims(boxes)[0].clone();
        let moved = [columns.begin, rows.begin, columns.end, rows.end];
        let typed = (DType::F32, Shape(vec![count.clone(), 4.into()]));
        let attrs = vec![Attr::Int("axis", 1)];
        let moved = self
            .emitter
            .add(&format!("{name}/moved"), "Concat", &moved, attrs, typed);
        let channels = self.emitter.dims(x)[1].clone();
        let shape = Shape(vec![count.clone(), channels, height.into(), width.into()]);
        // The place of the centre of the first pixel, and the average of one sample, are the defaults.
        let attrs = vec![
            Attr::Int("output_height", size(&name, height)?),
            Attr::Int("output_width", size(&name, width)?),
            Attr::Int("sampling_ratio", 1),
        ];
        let inputs = [x, moved, images];
        let aligned = format!("{name}/aligned");
        let aligned = self
            .emitter
            .add(&aligned, "RoiAlign", &inputs, attrs, (DType::F32, shape));

        let by_row = self.unsqueeze(&format!("{name}/by_row"), rows.inside, &[1, 3]);
        let by_column = self.unsqueeze(&format!("{name}/by_column"), columns.inside, &[1, 2]);
        let typed = (
            DType::F32,
            Shape(vec![count, 1.into(), height.into(), width.into()]),
        );
        let inside = [by_row, by_column];
        let inside = self
            .emitter
            .add(&format!("{name}/inside"), "Mul", &inside, vec![], typed);
        let form = Form::laid_out(Layout::ChannelsFirst);
        self.result(node, "Mul", &[aligned, inside], vec![], form)
    }

    /// The samples along an axis (0: rows, 1: columns) of the boxes in images `x`, channels-first.
    fn samples(
        &mut self,
        name: &str,
        x: TensorId,
        boxes: TensorId,
        axis: usize,
        count: u64,
    ) -> Samples {
        let number = self.emitter.dims(boxes)[0].clone();
        let column = Shape(vec![number.clone(), 1.into()]);
        let all = Shape(vec![number, count.into()]);
        let last = self.last_pixel(name, x, axis + 2);
        let [low, high] = [("low", axis), ("high", axis + 2)].map(|(part, at)| {
            let at = self.integers(&[axis_number(at)]);
            let attrs = vec![Attr::Int("axis", 1)];
            let typed = (DType::F32, column.clone());
            let name = format!("{name}/{part}");
            self.emitter
                .add(&name, "Gather", &[boxes, at], attrs, typed)
        });
        let half = self.float(0.5);
        let zero = self.float(0.0);
        // A single sample is in the middle of the box.
        let spread = (count > 1).then(|| self.spread(count));
        let mut add = |part: &str, op, inputs: &[TensorId], dtype, shape: &Shape| {
            let name = format!("{name}/{part}");
            self.emitter
                .add(&name, op, inputs, vec![], (dtype, shape.clone()))
        };
        let float = DType::F32;
        let (begin, end, at) = if let Some(Spread {
            steps,
            bins,
            numbers,
        }) = spread
        {
            let first = add("first", "Mul", &[low, last], float, &column);
            let length = add("length", "Sub", &[high, low], float, &column);
            let length = add("pixels", "Mul", &[length, last], float, &column);
            let step = quotient(length, &steps, |part, op, inputs| {
                add(part, op, inputs, float, &column)
            });
            let offsets = add("offsets", "Mul", &[numbers, step], float, &all);
            let at = add("positions", "Add", &[first, offsets], float, &all);
            // The first bin, one step long, begins half a step before its centre.
            let before = add("half_step", "Mul", &[step, half], float, &column);
            let begin = add("centre", "Add", &[first, half], float, &column);
            let begin = add("begin", "Sub", &[begin, before], float, &column);
            let length = add("bins", "Mul", &[step, bins], float, &column);
            let end = add("end", "Add", &[begin, length], float, &column);
            (begin, end, at)
        } else {
            let sum = add("sum", "Add", &[low, high], float, &column);
            let middle = add("middle", "Mul", &[sum, half], float, &column);
            let at = add("positions", "Mul", &[middle, last], float, &column);
            let begin = add("begin", "Add", &[at, half], float, &column);
            (begin, begin, at)
        };
        let after = add("after", "GreaterOrEqual", &[at, zero], DType::Bool, &all);
        let before = add("before", "LessOrEqual", &[at, last], DType::Bool, &all);
        let inside = add("within", "And", &[after, before], DType::Bool, &all);
        let inside = self.cast(&format!("{name}/inside"), inside, DType::F32);
        Samples { begin, end, inside }
    }

    /// What several samples are spread by.
    fn spread(&mut self, count: u64) -> Spread {
        let steps = self.divisor(count.saturating_sub(1) as f32);
        let bins = self.float(count as f32);
        let numbers: Vec<u8> = (0..count).flat_map(|i| (i as f32).to_le_bytes()).collect();
        let numbers = Stored::new(DType::F32, &[1, count], numbers.into());
        let numbers = self
            .emitter
            .initializer(&format!("numbers/{count}"), numbers);
        Spread {
            steps,
            bins,
            numbers,
        }
    }

    fn divisor(&mut self, by: f32) -> Divisor {
        Divisor {
            inverse: self.float(1.0 / by),
            correction: (by.log2().fract() != 0.0).then(|| [by, SPLIT].map(|n| self.float(n))),
        }
    }

    /// The position of the last row or column of feature maps, a scalar.
    fn last_pixel(&mut self, name: &str, x: TensorId, axis: usize) -> TensorId {
        let known = self.emitter.dims(x).get(axis).and_then(Dim::known);
        if let Some(n) = known {
            return self.float(n.saturating_sub(1) as f32);
        }
        let size = self.size_along(name, x, axis);
        let size = self.pick(&format!("{name}/size"), size, 0, 0);
        let size = self.cast(&format!("{name}/float_size"), size, DType::F32);
        let one = self.float(1.0);
        let typed = (DType::F32, Shape::scalar());
        self.emitter
            .add(&format!("{name}/last"), "Sub", &[size, one], vec![], typed)
    }
}
