//! The counterpart of each operation, but for those of feature maps, arithmetic and non-max suppression.

use tfod_graph::{DType, Dim, Node, Op, ParamId, PixelGrid, Reduce, ResizeMethod, ValidateError};

use super::{Lowering, axis_number, decoding, size, unsupported};
use crate::Error;
use crate::emit::TensorId;
use crate::operator::{Grid, Operator, Plain, Reduction};
use crate::stored::Stored;

impl Lowering<'_, '_> {
    /// Writes one node; gives its results.
    pub(super) fn operation(&mut self, node: &Node) -> Result<Vec<TensorId>, Error> {
        let one = match &node.op {
            // Bound before.
            Op::Input => self.operand_of_input(node)?,
            Op::Constant(tensor) => {
                let stored = Stored::constant(tensor);
                self.emitter.constant(&node.name, stored)
            }
            Op::Parameter(id) => self.parameter(node, *id)?,
            Op::Conv2d(attrs) => self.conv2d(node, *attrs, false)?,
            Op::DepthwiseConv2d(attrs) => self.conv2d(node, *attrs, true)?,
            Op::ConvTranspose2d { stride } => self.conv_transpose2d(node, *stride)?,
            Op::MaxPool(attrs) => self.pool(node, *attrs, Operator::MaxPool)?,
            Op::AveragePool(attrs) => self.pool(node, *attrs, Operator::AveragePool)?,
            Op::GlobalAveragePool => self.global_average_pool(node)?,
            Op::BiasAdd => self.bias_add(node)?,
            Op::BatchNorm { epsilon } => self.batch_norm(node, *epsilon)?,
            Op::MatMul => {
                let operands = self.operands(node)?;
                self.result(node, Operator::BatchMatMul, &operands)?
            }
            Op::Unary(unary) => self.unary(node, *unary)?,
            Op::Binary(binary) => self.binary(node, *binary)?,
            Op::Compare(compare) => self.compare(node, *compare)?,
            Op::And => self.elementwise(node, Operator::Plain(Plain::And))?,
            Op::Select => self.elementwise(node, Operator::Plain(Plain::SelectV2))?,
            Op::Softmax => {
                let x = self.operand(node, 0)?;
                self.result(node, Operator::Softmax, &[x])?
            }
            Op::Cast(to) => self.converted(node, *to)?,
            Op::Pad(paddings) => self.pad(node, paddings)?,
            Op::PadEnd(_) => self.pad_end(node)?,
            Op::Resize { method, grid, .. } => self.resize(node, *method, *grid)?,
            Op::ShapeOf => {
                let sizes = self.typed(node.input(0)?)?.1;
                let sizes = sizes.iter().map(|n| size(&node.name, *n));
                let sizes = sizes.collect::<Result<Vec<i32>, _>>()?;
                self.integers(&sizes)
            }
            Op::Range(dim) => self.range(node, dim)?,
            Op::Reshape(_) => self.reshaped(node)?,
            Op::Concat { axis } => self.concat(node, *axis)?,
            Op::Slice(ranges) => self.slice(node, ranges)?,
            Op::Unstack { axis } => return self.unstack(node, *axis),
            Op::Stack { axis } => self.stack(node, *axis)?,
            Op::Gather { batch_dims } => {
                let operands = self.operands(node)?;
                let batch_dims = axis_number(*batch_dims);
                self.result(node, Operator::Gather { batch_dims }, &operands)?
            }
            Op::ArgMax { axis } => {
                let operands = [self.operand(node, 0)?, self.integer(axis_number(*axis))];
                self.result(node, Operator::ArgMax, &operands)?
            }
            Op::Transpose(order) => {
                let order: Vec<i32> = order.iter().map(|axis| axis_number(*axis)).collect();
                let operands = [self.operand(node, 0)?, self.integers(&order)];
                self.result(node, Operator::Plain(Plain::Transpose), &operands)?
            }
            Op::Reduce { kind, axes } => self.reduce(node, *kind, axes)?,
            Op::TopK { .. } => return self.top_k(node),
            Op::NonMaxSuppression(attrs) => return self.non_max_suppression(node, *attrs),
            Op::SoftNonMaxSuppression(_) => {
                return Err(unsupported(
                    &node.name,
                    "soft non-max suppression",
                    "a soft_nms_sigma of 0: TFLite's operator also drops boxes equal to a selected one",
                ));
            }
            Op::CropAndResize { .. } => {
                return Err(unsupported(
                    &node.name,
                    "the cropping of feature maps to boxes, which detectors of two stages do,",
                    "a detector of one stage: TFLite has no operator that crops to boxes",
                ));
            }
            Op::DecodeImage { .. } | Op::ExampleFeature { .. } => {
                return Err(decoding(node));
            }
            Op::Map { .. } => {
                return Err(unsupported(
                    &node.name,
                    "a loop",
                    "a smaller batch: every image of it has operators of its own",
                ));
            }
        };
        Ok(vec![one])
    }

    fn operand_of_input(&self, node: &Node) -> Result<TensorId, Error> {
        self.find(node.output()?)
    }

    fn parameter(&mut self, node: &Node, id: ParamId) -> Result<TensorId, Error> {
        let missing = || ValidateError::Weights {
            name: node.name.clone(),
            expected: "a tensor".into(),
            found: "nothing".into(),
        };
        let view = self.weights.get(id).ok_or_else(missing)?;
        Ok(self.emitter.constant(&node.name, Stored::parameter(view)))
    }

    fn converted(&mut self, node: &Node, to: DType) -> Result<TensorId, Error> {
        let x = self.operand(node, 0)?;
        match self.emitter.dtype(x) {
            from if from == to => Ok(self.alias(x)),
            from => self.result(node, Operator::Cast(from, to), &[x]),
        }
    }

    fn pad(&mut self, node: &Node, paddings: &[(u64, u64)]) -> Result<TensorId, Error> {
        let x = self.operand(node, 0)?;
        if paddings.iter().all(|padding| *padding == (0, 0)) {
            return Ok(self.alias(x));
        }
        let numbers = paddings
            .iter()
            .flat_map(|(before, after)| [*before, *after]);
        let numbers = numbers.map(|n| size(&node.name, n));
        let numbers = numbers.collect::<Result<Vec<i32>, _>>()?;
        let stored = Stored::integers(&[paddings.len() as u64, 2], &numbers);
        let name = format!("{}/paddings", node.name);
        let paddings_id = self.emitter.constant(&name, stored);
        self.result(node, Operator::Pad(paddings.len()), &[x, paddings_id])
    }

    /// Paddings that follow from sizes, which are all known.
    fn pad_end(&mut self, node: &Node) -> Result<TensorId, Error> {
        let from = self.typed(node.input(0)?)?.1;
        let to = self.typed(node.output()?)?.1;
        let paddings = to.iter().zip(&from).map(|(to, from)| {
            let after = to.checked_sub(*from);
            after.map(|after| (0, after)).ok_or_else(|| {
                unsupported(
                    &node.name,
                    format!("a padding from {from} to {to}"),
                    "a result that is no smaller",
                )
            })
        });
        let paddings = paddings.collect::<Result<Vec<_>, _>>()?;
        self.pad(node, &paddings)
    }

    fn resize(
        &mut self,
        node: &Node,
        method: ResizeMethod,
        grid: PixelGrid,
    ) -> Result<TensorId, Error> {
        let x = self.operand(node, 0)?;
        let (dtype, to) = self.typed(node.output()?)?;
        let x = match method {
            ResizeMethod::Nearest => x,
            ResizeMethod::Bilinear | ResizeMethod::Bicubic | ResizeMethod::Area => {
                self.cast(&format!("{}/floats", node.name), x, DType::F32)
            }
        };
        // Every method on every grid gives the same image again.
        if to == self.emitter.shape(x) {
            return Ok(self.alias(x));
        }
        let options = Grid {
            align_corners: grid == PixelGrid::AlignedCorners,
            half_pixel_centers: grid == PixelGrid::Centers,
        };
        let operator = match method {
            ResizeMethod::Bilinear => Operator::ResizeBilinear(options),
            ResizeMethod::Nearest if matches!(dtype, DType::F32 | DType::U8) => {
                Operator::ResizeNearest(options)
            }
            ResizeMethod::Nearest => {
                return Err(unsupported(
                    &node.name,
                    format!("resizing of {} images", dtype.name()),
                    "images of float32 or uint8",
                ));
            }
            ResizeMethod::Bicubic | ResizeMethod::Area => {
                return Err(unsupported(
                    &node.name,
                    "bicubic or area resizing",
                    "an input of the network's own size, bilinear or nearest resizing: TFLite has no operator for others",
                ));
            }
        };
        let sides = to.get(1..3).unwrap_or_default().iter();
        let sides = sides.map(|n| size(&node.name, *n));
        let sides = sides.collect::<Result<Vec<i32>, _>>()?;
        let sides = self.integers(&sides);
        self.result(node, operator, &[x, sides])
    }

    fn range(&mut self, node: &Node, dim: &Dim) -> Result<TensorId, Error> {
        let count = dim.known().ok_or_else(|| Error::UnknownSize {
            node: node.name.clone(),
            size: dim.to_string(),
        })?;
        let numbers: Vec<i32> = (0..size(&node.name, count)?).collect();
        let stored = Stored::integers(&[count], &numbers);
        Ok(self.emitter.constant(&node.name, stored))
    }

    fn reshaped(&mut self, node: &Node) -> Result<TensorId, Error> {
        let x = self.operand(node, 0)?;
        let sizes = self.typed(node.output()?)?.1;
        if sizes == self.emitter.shape(x) {
            return Ok(self.alias(x));
        }
        self.reshape(&node.name, x, &sizes)
    }

    fn concat(&mut self, node: &Node, axis: usize) -> Result<TensorId, Error> {
        let operands = self.operands(node)?;
        if let [only] = operands.as_slice() {
            return Ok(self.alias(*only));
        }
        let axis = axis_number(axis);
        self.result(node, Operator::Concatenation { axis }, &operands)
    }

    fn slice(&mut self, node: &Node, ranges: &[Option<(u64, u64)>]) -> Result<TensorId, Error> {
        let x = self.operand(node, 0)?;
        let to = self.typed(node.output()?)?.1;
        if to == self.emitter.shape(x) {
            return Ok(self.alias(x));
        }
        let begin = ranges
            .iter()
            .map(|range| range.map_or(0, |(begin, _)| begin));
        let [begin, sizes] = [begin.collect(), to].map(|numbers: Vec<u64>| {
            let numbers = numbers.into_iter().map(|n| size(&node.name, n));
            numbers.collect::<Result<Vec<i32>, _>>()
        });
        let [begin, sizes] = [self.integers(&begin?), self.integers(&sizes?)];
        self.result(node, Operator::Slice(ranges.len()), &[x, begin, sizes])
    }

    fn unstack(&mut self, node: &Node, axis: usize) -> Result<Vec<TensorId>, Error> {
        let x = self.operand(node, 0)?;
        let results = node.outputs.iter().map(|value| self.typed(*value));
        let results = results.collect::<Result<Vec<_>, _>>()?;
        if let [(_, sizes)] = results.as_slice() {
            return Ok(vec![self.reshape(&node.name, x, sizes)?]);
        }
        let operator = Operator::Unpack {
            count: axis_number(results.len()),
            axis: axis_number(axis),
        };
        Ok(self
            .emitter
            .add_several(&node.name, operator, &[x], &results))
    }

    /// Joined along the axis and then told apart: unlike PACK, accelerators have CONCATENATION and RESHAPE.
    fn stack(&mut self, node: &Node, axis: usize) -> Result<TensorId, Error> {
        let mut operands = self.operands(node)?;
        let (dtype, sizes) = self.typed(node.output()?)?;
        let rank = sizes.len().saturating_sub(1);
        if let [only] = operands.as_slice() {
            return self.reshape(&node.name, *only, &sizes);
        }
        if rank == 0 || dtype != DType::F32 {
            let operator = Operator::Pack {
                count: axis_number(operands.len()),
                axis: axis_number(axis),
            };
            return self.result(node, operator, &operands);
        }
        let mut joined = sizes.clone();
        if axis == rank {
            let mut each = sizes.clone();
            each[axis] = 1;
            for (position, operand) in operands.iter_mut().enumerate() {
                let name = format!("{}/part_{position}", node.name);
                *operand = self.reshape(&name, *operand, &each)?;
            }
        } else {
            // A row of each in turn.
            let count = joined.remove(axis);
            joined[axis] *= count;
        }
        let name = if axis == rank {
            node.name.clone()
        } else {
            format!("{}/joined", node.name)
        };
        let operator = Operator::Concatenation {
            axis: axis_number(axis),
        };
        let id = self.emitter.add(&name, operator, &operands, dtype, &joined);
        if axis == rank {
            return Ok(id);
        }
        self.reshape(&node.name, id, &sizes)
    }

    fn reduce(&mut self, node: &Node, kind: Reduce, axes: &[usize]) -> Result<TensorId, Error> {
        let x = self.operand(node, 0)?;
        if axes.is_empty() {
            return Ok(self.alias(x));
        }
        let dtype = self.emitter.dtype(x);
        let kind = match kind {
            Reduce::Sum if dtype == DType::U8 => {
                return Err(unsupported(
                    &node.name,
                    "a sum of bytes",
                    "numbers of another type: TFLite takes bytes to be quantised",
                ));
            }
            Reduce::Sum => Reduction::Sum,
            Reduce::Max => Reduction::Max,
            Reduce::Min => Reduction::Min,
        };
        let axes: Vec<i32> = axes.iter().map(|axis| axis_number(*axis)).collect();
        let axes = self.integers(&axes);
        let operator = Operator::Reduction {
            kind,
            keep_dims: false,
        };
        self.result(node, operator, &[x, axes])
    }

    fn top_k(&mut self, node: &Node) -> Result<Vec<TensorId>, Error> {
        let x = self.operand(node, 0)?;
        let results = node.outputs.iter().map(|value| self.typed(*value));
        let results = results.collect::<Result<Vec<_>, _>>()?;
        let k = results.first().and_then(|(_, sizes)| sizes.last());
        let k = self.integer(size(&node.name, k.copied().unwrap_or(0))?);
        let operator = Operator::Plain(Plain::TopK);
        Ok(self
            .emitter
            .add_several(&node.name, operator, &[x, k], &results))
    }
}
