//! The TensorFlow counterpart of each operation: its name, its attributes, and which of the graph's attributes are inputs there.
//!
//! The names of outputs (`y`, `activations`, `output`…) are those of TensorFlow's operation definitions, by which a function body refers to
//! them. Specified by TensorFlow's operation registry.

use tfod_graph::{
    Binary, Compare, ConvAttrs, DType, Dim, Graph, NmsAttrs, Node, Op, Padding, PixelGrid,
    PoolAttrs, Reduce, ResizeMethod, SoftNmsAttrs, Unary, ValueId,
};

use super::attrs::{Attrs, data_type, scalar_shape};
use super::constants::string_scalar;
use super::nodes::Port;
use super::{Lowering, size};
use crate::Error;

/// The most that two boxes can overlap: with it as threshold, nothing is suppressed.
const FULL_OVERLAP: f32 = 1.0;

/// What images are decoded to.
const RED_GREEN_BLUE: i64 = 3;

impl Lowering<'_, '_> {
    /// Writes a node of the graph; gives its outputs.
    #[expect(clippy::too_many_lines, reason = "a table: one arm for each operation")]
    pub(super) fn operation(&mut self, node: &Node) -> Result<Vec<Port>, Error> {
        let inputs = node
            .inputs
            .iter()
            .map(|v| self.port(*v))
            .collect::<Result<Vec<_>, _>>()?;
        let inputs = inputs.as_slice();
        let graph = self.graph;
        let value = |input: usize| graph.value(node.inputs[input]);
        let typed = || Attrs::typed(value(0).dtype);
        let one = match &node.op {
            Op::Input => self.port(node.outputs[0])?,
            Op::Constant(_) | Op::Parameter(_) => self.tensor(node)?,
            Op::Conv2d(attrs) => self.one(node, "Conv2D", "output", inputs, conv(node, *attrs)?),
            Op::DepthwiseConv2d(attrs) => {
                let attrs = depthwise(node, *attrs)?;
                self.one(node, "DepthwiseConv2dNative", "output", inputs, attrs)
            }
            Op::ConvTranspose2d { stride } => self.conv_transpose2d(node, inputs, *stride)?,
            Op::MaxPool(attrs) => self.one(node, "MaxPool", "output", inputs, pool(node, *attrs)?),
            Op::AveragePool(attrs) => {
                let dtype = data_type(value(0).dtype);
                let attrs = pool(node, *attrs)?.dtype("T", dtype);
                self.one(node, "AvgPool", "output", inputs, attrs)
            }
            Op::GlobalAveragePool => {
                let axes = self.vector(node, "axes", &[1, 2])?;
                let attrs = typed().bool_unless(false, "keep_dims", true);
                self.one(node, "Mean", "output", &[inputs[0].clone(), axes], attrs)
            }
            // BiasAdd wants two dimensions or more.
            Op::BiasAdd if value(0).shape.rank() < 2 => {
                self.one(node, "AddV2", "z", inputs, typed())
            }
            Op::BiasAdd => self.one(node, "BiasAdd", "output", inputs, typed()),
            Op::MatMul if inputs_are_matrices(graph, node) => {
                self.one(node, "MatMul", "product", inputs, typed())
            }
            Op::MatMul => self.one(node, "BatchMatMulV2", "output", inputs, typed()),
            Op::BatchNorm { epsilon } => {
                let attrs = typed()
                    .dtype("U", data_type(DType::F32))
                    .float_unless(0.0001, "epsilon", *epsilon)
                    .bool_unless(true, "is_training", false);
                self.one(node, "FusedBatchNormV3", "y", inputs, attrs)
            }
            Op::Unary(unary) => {
                let (op, output) = unary_op(*unary);
                self.one(node, op, output, inputs, typed())
            }
            Op::Binary(binary) => self.one(node, binary_op(*binary), "z", inputs, typed()),
            Op::Compare(compare) => self.one(node, compare_op(*compare), "z", inputs, typed()),
            Op::And => self.one(node, "LogicalAnd", "z", inputs, Attrs::new()),
            Op::Select => self.one(
                node,
                "SelectV2",
                "output",
                inputs,
                Attrs::typed(value(1).dtype),
            ),
            Op::Softmax => self.one(node, "Softmax", "softmax", inputs, typed()),
            Op::Cast(to) => {
                let attrs = Attrs::new()
                    .dtype("SrcT", data_type(value(0).dtype))
                    .dtype("DstT", data_type(*to));
                self.one(node, "Cast", "y", inputs, attrs)
            }
            Op::Pad(paddings) => {
                let sizes = paddings.iter().flat_map(|(before, after)| [before, after]);
                let sizes = sizes
                    .map(|n| size(node, *n))
                    .collect::<Result<Vec<_>, _>>()?;
                let paddings =
                    self.integers(node, "paddings", &[paddings.len() as u64, 2], &sizes)?;
                self.one(
                    node,
                    "Pad",
                    "output",
                    &[inputs[0].clone(), paddings],
                    typed(),
                )
            }
            Op::PadEnd(dims) => self.pad_end(node, inputs, dims)?,
            Op::Resize {
                method,
                size: to,
                grid,
            } => {
                let to = match (to, inputs) {
                    ([Dim::Known(height), Dim::Known(width)], _) => {
                        let sizes = [size(node, *height)?, size(node, *width)?];
                        self.vector(node, "size", &sizes)?
                    }
                    // Validation makes sure that it is there.
                    _ => inputs[1].clone(),
                };
                let (op, has_centers) = resize_op(*method);
                let centers = has_centers && *grid == PixelGrid::Centers;
                let attrs = typed()
                    .bool_unless(false, "align_corners", *grid == PixelGrid::AlignedCorners)
                    .bool_unless(false, "half_pixel_centers", centers);
                self.one(node, op, "resized_images", &[inputs[0].clone(), to], attrs)
            }
            Op::CropAndResize { height, width } => {
                let sizes = [size(node, *height)?, size(node, *width)?];
                let to = self.vector(node, "size", &sizes)?;
                self.one(
                    node,
                    "CropAndResize",
                    "crops",
                    &[inputs, &[to]].concat(),
                    typed(),
                )
            }
            Op::ShapeOf => self.one(node, "Shape", "output", inputs, typed()),
            Op::Range(_) => {
                let (zero, one) = (self.scalar(node, "start", 0), self.scalar(node, "delta", 1));
                let inputs = [zero, inputs[0].clone(), one];
                self.one(node, "Range", "output", &inputs, Attrs::new())
            }
            Op::Reshape(dims) => {
                let shape = self.target_shape(node, &inputs[0], dims)?;
                self.one(
                    node,
                    "Reshape",
                    "output",
                    &[inputs[0].clone(), shape],
                    typed(),
                )
            }
            Op::Transpose(order) => {
                let order = order.iter().map(|axis| size(node, *axis as u64));
                let order = order.collect::<Result<Vec<_>, _>>()?;
                let order = self.vector(node, "order", &order)?;
                let inputs = [inputs[0].clone(), order];
                self.one(node, "Transpose", "y", &inputs, typed())
            }
            // ConcatV2 wants two inputs or more.
            Op::Concat { .. } if inputs.len() == 1 => inputs[0].clone(),
            Op::Concat { axis } => {
                let axis = self.axis(node, *axis)?;
                let attrs = typed().int("N", count(inputs));
                self.one(
                    node,
                    "ConcatV2",
                    "output",
                    &[inputs, &[axis]].concat(),
                    attrs,
                )
            }
            Op::Slice(ranges) => self.slice(node, &inputs[0], ranges, typed())?,
            Op::Unstack { axis } => {
                let attrs = typed().int("num", count(&node.outputs)).int_unless(
                    0,
                    "axis",
                    size(node, *axis as u64)?.into(),
                );
                let unpack = self.list.add(&node.name, "Unpack", inputs, attrs);
                return Ok((0..node.outputs.len())
                    .map(|i| unpack.element("output", i))
                    .collect());
            }
            Op::Stack { axis } => {
                let attrs = typed().int("N", count(inputs)).int_unless(
                    0,
                    "axis",
                    size(node, *axis as u64)?.into(),
                );
                self.one(node, "Pack", "output", inputs, attrs)
            }
            Op::Gather { batch_dims } => {
                let axis = self.axis(node, *batch_dims)?;
                let shared = size(node, *batch_dims as u64)?.into();
                self.one(
                    node,
                    "GatherV2",
                    "output",
                    &[inputs, &[axis]].concat(),
                    gather(value(0).dtype).int_unless(0, "batch_dims", shared),
                )
            }
            Op::Reduce { kind, axes } => {
                let axes = axes
                    .iter()
                    .map(|a| size(node, *a as u64))
                    .collect::<Result<Vec<_>, _>>()?;
                let axes = self.vector(node, "axes", &axes)?;
                self.one(
                    node,
                    reduce_op(*kind),
                    "output",
                    &[inputs[0].clone(), axes],
                    typed(),
                )
            }
            Op::ArgMax { axis } => {
                let axis = self.axis(node, *axis)?;
                let attrs = typed().dtype("output_type", data_type(DType::I32));
                self.one(node, "ArgMax", "output", &[inputs[0].clone(), axis], attrs)
            }
            Op::TopK { k } => {
                let k = match (k.known(), inputs) {
                    (Some(k), _) => self.scalar(node, "k", size(node, k)?),
                    // Validation makes sure that it is there.
                    (None, inputs) => inputs[1].clone(),
                };
                let top = self
                    .list
                    .add(&node.name, "TopKV2", &[inputs[0].clone(), k], typed());
                return Ok(vec![top.output("values", 0), top.output("indices", 1)]);
            }
            Op::NonMaxSuppression(attrs) => return self.non_max_suppression(node, inputs, *attrs),
            Op::SoftNonMaxSuppression(attrs) => {
                return self.soft_non_max_suppression(node, inputs, *attrs);
            }
            Op::DecodeImage { .. } => {
                // Without animations the result has three dimensions whatever the format.
                let attrs = Attrs::new()
                    .int_unless(0, "channels", RED_GREEN_BLUE)
                    .bool_unless(true, "expand_animations", false);
                self.one(node, "DecodeImage", "image", inputs, attrs)
            }
            Op::ExampleFeature { key } => self.example_feature(node, &inputs[0], key),
            Op::Map {
                body,
                inputs: kinds,
            } => return self.map(node, body, kinds, inputs),
        };
        Ok(vec![one])
    }

    fn one(
        &mut self,
        node: &Node,
        op: &str,
        output: &'static str,
        inputs: &[Port],
        attrs: Attrs,
    ) -> Port {
        self.list
            .add(&node.name, op, inputs, attrs)
            .output(output, 0)
    }

    fn axis(&mut self, node: &Node, axis: usize) -> Result<Port, Error> {
        Ok(self.scalar(node, "axis", size(node, axis as u64)?))
    }

    fn slice(
        &mut self,
        node: &Node,
        x: &Port,
        ranges: &[Option<(u64, u64)>],
        attrs: Attrs,
    ) -> Result<Port, Error> {
        let mut begins = Vec::with_capacity(ranges.len());
        let mut sizes = Vec::with_capacity(ranges.len());
        for range in ranges {
            let (begin, length) = match range {
                Some((begin, length)) => (size(node, *begin)?, size(node, *length)?),
                // -1: all that there is.
                None => (0, -1),
            };
            begins.push(begin);
            sizes.push(length);
        }
        let begins = self.vector(node, "begin", &begins)?;
        let sizes = self.vector(node, "size", &sizes)?;
        let attrs = attrs.dtype("Index", data_type(DType::I32));
        Ok(self.one(node, "Slice", "output", &[x.clone(), begins, sizes], attrs))
    }

    /// A Pad, which takes a row of two numbers for each dimension. TensorFlow does not see which shape these make, so a Reshape that changes
    /// nothing tells it, as far as that is known.
    fn pad_end(&mut self, node: &Node, inputs: &[Port], dims: &[Dim]) -> Result<Port, Error> {
        let nothing = vec![0; dims.len()];
        let before = self.vector(node, "before", &nothing)?;
        let name = self.list.fresh(&format!("{}/paddings", node.name));
        let attrs = Attrs::typed(DType::I32).int("N", 2).int("axis", 1);
        let paddings = self
            .list
            .add(&name, "Pack", &[before, inputs[1].clone()], attrs)
            .output("output", 0);
        let dtype = self.graph.value(node.inputs[0]).dtype;
        let operands = [inputs[0].clone(), paddings];
        let name = self.list.fresh(&format!("{}/padded", node.name));
        let padded = self
            .list
            .add(&name, "Pad", &operands, Attrs::typed(dtype))
            .output("output", 0);
        let attrs = Attrs::typed(dtype);
        let known = dims.iter().map(|dim| dim.known().map(|n| size(node, n)));
        if let Some(known) = known.collect::<Option<Result<Vec<_>, _>>>() {
            let shape = self.vector(node, "shape", &known?)?;
            return Ok(self.one(node, "Reshape", "output", &[padded, shape], attrs));
        }
        let whole = self.shape_of(node, &padded, dtype);
        let mut sizes = Vec::with_capacity(dims.len());
        for (axis, dim) in dims.iter().enumerate() {
            sizes.push(match dim.known() {
                Some(n) => self.scalar(node, "size", size(node, n)?),
                None => self.size_along(node, &whole, axis)?,
            });
        }
        let name = self.list.fresh(&format!("{}/shape", node.name));
        let packed = Attrs::typed(DType::I32).int("N", count(&sizes));
        let shape = self
            .list
            .add(&name, "Pack", &sizes, packed)
            .output("output", 0);
        Ok(self.one(node, "Reshape", "output", &[padded, shape], attrs))
    }

    /// The shape that a Reshape is given. TensorFlow works out one dimension by itself; where more are known only at run time, the
    /// others are taken from the input, which has them all (the graph's rules allow no more than one that it has not).
    fn target_shape(&mut self, node: &Node, x: &Port, dims: &[Dim]) -> Result<Port, Error> {
        let unknown = dims.iter().filter(|dim| dim.known().is_none()).count();
        // A dimension is not worked out from no elements.
        let is_empty = dims.iter().any(|dim| dim.is(0));
        if unknown == 0 || unknown == 1 && !is_empty {
            let sizes = dims
                .iter()
                .map(|dim| dim.known().map_or(Ok(-1), |n| size(node, n)));
            let sizes = sizes.collect::<Result<Vec<_>, _>>()?;
            return self.vector(node, "shape", &sizes);
        }
        let from = self.graph.value(node.inputs[0]);
        let shape = self.shape_of(node, x, from.dtype);
        let mut sizes = Vec::with_capacity(dims.len());
        for dim in dims {
            let axis = from.shape.dims().iter().position(|d| d == dim);
            sizes.push(match (dim.known(), axis) {
                (Some(n), _) => self.scalar(node, "size", size(node, n)?),
                (None, Some(axis)) => self.size_along(node, &shape, axis)?,
                (None, None) => self.scalar(node, "size", -1),
            });
        }
        let name = self.list.fresh(&format!("{}/shape", node.name));
        let attrs = Attrs::typed(DType::I32).int("N", count(&sizes));
        Ok(self
            .list
            .add(&name, "Pack", &sizes, attrs)
            .output("output", 0))
    }

    /// TensorFlow is told the size of the result.
    fn conv_transpose2d(
        &mut self,
        node: &Node,
        inputs: &[Port],
        stride: u64,
    ) -> Result<Port, Error> {
        let result = self.graph.value(node.outputs[0]).shape.clone();
        let size = if let Some(sizes) = result.sizes() {
            let sizes = sizes.iter().map(|n| size(node, *n));
            let sizes = sizes.collect::<Result<Vec<_>, _>>()?;
            self.vector(node, "size", &sizes)?
        } else {
            let shape = self.shape_of(node, &inputs[0], DType::F32);
            let by = self.scalar(node, "stride", size(node, stride)?);
            let mut sizes = Vec::with_capacity(4);
            for (axis, dim) in result.dims().iter().enumerate() {
                sizes.push(match (dim.known(), axis) {
                    (Some(n), _) => self.scalar(node, "size", size(node, n)?),
                    (None, 1 | 2) => {
                        let own = self.size_along(node, &shape, axis)?;
                        let name = self.list.fresh(&format!("{}/times", node.name));
                        let inputs = [own, by.clone()];
                        let larger = self
                            .list
                            .add(&name, "Mul", &inputs, Attrs::typed(DType::I32));
                        larger.output("z", 0)
                    }
                    (None, _) => self.size_along(node, &shape, axis)?,
                });
            }
            let name = self.list.fresh(&format!("{}/size", node.name));
            let attrs = Attrs::typed(DType::I32).int("N", count(&sizes));
            let size = self.list.add(&name, "Pack", &sizes, attrs);
            size.output("output", 0)
        };
        let attrs = conv(node, ConvAttrs::new(stride, Padding::Same))?;
        let inputs = [size, inputs[1].clone(), inputs[0].clone()];
        Ok(self.one(node, "Conv2DBackpropInput", "output", &inputs, attrs))
    }

    fn example_feature(&mut self, node: &Node, example: &Port, key: &str) -> Port {
        let missing = string_scalar(Vec::new());
        let missing = self
            .list
            .strings(&format!("{}/default", node.name), missing);
        let attrs = Attrs::new()
            .int("num_sparse", 0)
            .texts("sparse_keys", &[])
            .texts("dense_keys", &[key])
            .dtypes("sparse_types", [])
            .dtypes("Tdense", [data_type(DType::String)])
            .shapes("dense_shapes", vec![scalar_shape()]);
        let inputs = [example.clone(), missing];
        self.one(node, "ParseSingleExample", "dense_values", &inputs, attrs)
    }

    fn non_max_suppression(
        &mut self,
        node: &Node,
        inputs: &[Port],
        attrs: NmsAttrs,
    ) -> Result<Vec<Port>, Error> {
        let settings = [
            self.scalar(node, "max_output_size", size(node, attrs.max_output_size)?),
            self.scalar_f32(node, "iou_threshold", attrs.iou_threshold),
            self.scalar_f32(node, "score_threshold", attrs.score_threshold),
        ];
        // Version 5 would give the scores too, but TensorFlow.js neither pads its results nor counts them.
        let nms = self.list.add(
            &node.name,
            "NonMaxSuppressionV4",
            &[inputs, &settings].concat(),
            padded(),
        );
        Ok(vec![
            nms.output("selected_indices", 0),
            nms.output("valid_outputs", 1),
        ])
    }

    fn soft_non_max_suppression(
        &mut self,
        node: &Node,
        inputs: &[Port],
        attrs: SoftNmsAttrs,
    ) -> Result<Vec<Port>, Error> {
        let settings = [
            self.scalar(node, "max_output_size", size(node, attrs.max_output_size)?),
            // New releases do not look at it, and old ones still do.
            self.scalar_f32(node, "iou_threshold", FULL_OVERLAP),
            self.scalar_f32(node, "score_threshold", attrs.score_threshold),
            self.scalar_f32(node, "soft_nms_sigma", attrs.sigma),
        ];
        let nms = self.list.add(
            &node.name,
            "NonMaxSuppressionV5",
            &[inputs, &settings].concat(),
            padded(),
        );
        Ok(vec![
            nms.output("selected_indices", 0),
            nms.output("selected_scores", 1),
            nms.output("valid_outputs", 2),
        ])
    }
}

/// The attributes of suppression with results of a fixed length. The element type, f32, is the default.
fn padded() -> Attrs {
    Attrs::new().bool_unless(false, "pad_to_max_output_size", true)
}

/// The attributes of a GatherV2 along the first dimension with 32-bit indices.
pub(super) fn gather(data: DType) -> Attrs {
    let index = data_type(DType::I32);
    Attrs::new()
        .dtype("Tparams", data_type(data))
        .dtype("Tindices", index)
        .dtype("Taxis", index)
}

fn count<T>(list: &[T]) -> i64 {
    // The length of a list in memory is within the signed range.
    i64::try_from(list.len()).unwrap_or(i64::MAX)
}

/// Steps for `[n, h, w, c]`.
fn steps(node: &Node, [height, width]: [u64; 2]) -> Result<[i64; 4], Error> {
    Ok([1, size(node, height)?.into(), size(node, width)?.into(), 1])
}

fn padding(padding: Padding) -> &'static str {
    match padding {
        Padding::Same => "SAME",
        Padding::Valid => "VALID",
    }
}

fn conv(node: &Node, attrs: ConvAttrs) -> Result<Attrs, Error> {
    Ok(Attrs::typed(DType::F32)
        .ints("strides", &steps(node, attrs.strides)?)
        .text("padding", padding(attrs.padding))
        .ints_unless(&[1; 4], "dilations", &steps(node, attrs.dilations)?))
}

fn inputs_are_matrices(graph: &Graph, node: &Node) -> bool {
    let is_matrix = |input: &ValueId| graph.value(*input).shape.rank() == 2;
    node.inputs.iter().all(is_matrix)
}

/// The element type is not written: its default is that of feature maps.
fn pool(node: &Node, attrs: PoolAttrs) -> Result<Attrs, Error> {
    Ok(Attrs::new()
        .ints("ksize", &steps(node, attrs.window)?)
        .ints("strides", &steps(node, attrs.strides)?)
        .text("padding", padding(attrs.padding)))
}

/// The attribute for dilations is there, but kernels ignore it in old releases and refuse it in some new ones.
fn depthwise(node: &Node, attrs: ConvAttrs) -> Result<Attrs, Error> {
    if attrs.dilations != [1; 2] {
        return Err(Error::Unsupported {
            node: node.name.clone(),
            what: format!(
                "a depthwise convolution with dilations {:?}",
                attrs.dilations
            ),
            expected: "dilations of 1",
        });
    }
    conv(node, attrs)
}

fn unary_op(unary: Unary) -> (&'static str, &'static str) {
    match unary {
        Unary::Relu => ("Relu", "activations"),
        Unary::Relu6 => ("Relu6", "activations"),
        Unary::Sigmoid => ("Sigmoid", "y"),
        Unary::Exp => ("Exp", "y"),
        Unary::Log => ("Log", "y"),
        Unary::Round => ("Round", "y"),
        Unary::Sqrt => ("Sqrt", "y"),
        Unary::Abs => ("Abs", "y"),
    }
}

fn binary_op(binary: Binary) -> &'static str {
    match binary {
        Binary::Add => "AddV2",
        Binary::Sub => "Sub",
        Binary::Mul => "Mul",
        Binary::Div => "RealDiv",
        Binary::FloorDiv => "FloorDiv",
        Binary::Maximum => "Maximum",
        Binary::Minimum => "Minimum",
    }
}

fn compare_op(compare: Compare) -> &'static str {
    match compare {
        Compare::Less => "Less",
        Compare::Greater => "Greater",
        Compare::GreaterEqual => "GreaterEqual",
        Compare::Equal => "Equal",
    }
}

fn reduce_op(kind: Reduce) -> &'static str {
    match kind {
        Reduce::Sum => "Sum",
        Reduce::Max => "Max",
        Reduce::Min => "Min",
    }
}

/// The operation, and whether it knows half-pixel centres.
fn resize_op(method: ResizeMethod) -> (&'static str, bool) {
    match method {
        ResizeMethod::Bilinear => ("ResizeBilinear", true),
        ResizeMethod::Nearest => ("ResizeNearestNeighbor", true),
        ResizeMethod::Bicubic => ("ResizeBicubic", true),
        ResizeMethod::Area => ("ResizeArea", false),
    }
}
