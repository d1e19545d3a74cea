//! Operations on feature maps, which ONNX has channels-first: convolutions, pooling, batch normalisation, resizing.
//!
//! SAME padding is written as explicit pads where these can be computed: where the size of a map is known, or the stride is 1, when they do not
//! depend on it. Else the runtime works them out. In a map over slices, the maps of all slices are one longer batch.

use std::collections::HashMap;

use tfod_graph::{
    ConvAttrs, DType, Dim, Graph, Node, NodeId, Op, Padding, PixelGrid, PoolAttrs, ResizeMethod,
    Shape, ValueId,
};

use super::resample::{self, Filter, Resampling, Sizes, Weights};
use super::{Bound, Form, FormedTensor, Lowering, all_slices, axis_number, size};
use crate::Error;
use crate::emit::{Attr, TensorId};
use crate::layout::{Layout, TO_FIRST, TO_LAST};
use crate::stored::Stored;

/// `[out, in, h, w]` from `[h, w, in, out]`.
const KERNEL_ORDER: [usize; 4] = [3, 2, 0, 1];
/// The operator set in which Resize can be told to leave batch and channels alone.
const RESIZE_HAS_AXES: u32 = 18;

/// Additions of a bias that the convolution before them can do: by the addition its convolution, and the other way round.
pub(super) fn fused_biases(graph: &Graph) -> HashMap<NodeId, NodeId> {
    let mut uses: HashMap<ValueId, usize> = HashMap::new();
    let used = graph
        .nodes()
        .flat_map(|(_, node)| node.inputs.iter().copied());
    for value in used.chain(graph.outputs().iter().map(|o| o.value)) {
        *uses.entry(value).or_default() += 1;
    }
    let mut fused = HashMap::new();
    for (id, node) in graph.nodes() {
        let (Op::BiasAdd, [x, bias]) = (&node.op, node.inputs.as_slice()) else {
            continue;
        };
        let (conv, bias) = (graph.value(*x).node, graph.value(*bias).node);
        let is_conv = matches!(
            graph.node(conv).op,
            Op::Conv2d(_) | Op::DepthwiseConv2d(_) | Op::ConvTranspose2d { .. }
        );
        let is_known = matches!(graph.node(bias).op, Op::Constant(_) | Op::Parameter(_));
        if is_conv && is_known && uses.get(x) == Some(&1) {
            fused.insert(id, conv);
            fused.insert(conv, id);
        }
    }
    fused
}

/// A feature map as ONNX's operators take it, and what it was made from.
struct Map {
    id: TensorId,
    /// The dimensions `[slices, n]` that were made one.
    folded: Option<[Dim; 2]>,
}

impl Lowering<'_, '_> {
    /// The feature map of a node, channels-first.
    fn map_operand(&mut self, node: &Node) -> Result<Map, Error> {
        let value = node.input(0)?;
        let id = self.operand(value, Layout::ChannelsFirst)?;
        if !self.is_batched(value) {
            return Ok(Map { id, folded: None });
        }
        let dims = self.emitter.dims(id).to_vec();
        let [slices, n, h, w, c] = <[Dim; 5]>::try_from(dims).map_err(|dims| {
            unsupported(
                node,
                format!("a feature map of {} dimensions", dims.len()),
                "four",
            )
        })?;
        let name = self.name(&node.name);
        let long = Shape(vec![all_slices(&name, &slices, &n)?, h, w, c]);
        let long = self.reshape(&format!("{name}/all_slices"), id, long)?;
        let id = self.permute(&format!("{name}/channels_first"), long, &TO_FIRST);
        Ok(Map {
            id,
            folded: Some([slices, n]),
        })
    }

    /// The result of a node from ONNX's, which is channels-first.
    fn map_result(
        &mut self,
        node: &Node,
        map: &Map,
        op: &'static str,
        inputs: &[TensorId],
        attrs: Vec<Attr>,
    ) -> Result<FormedTensor, Error> {
        let Some([slices, n]) = &map.folded else {
            return self.result(
                node,
                op,
                inputs,
                attrs,
                Form::laid_out(Layout::ChannelsFirst),
            );
        };
        let name = self.name(&node.name);
        let (dtype, shape) = self.typed(node.output()?, Form::laid_out(Layout::ChannelsFirst));
        let mut dims = shape.0.clone();
        dims[0] = all_slices(&name, slices, n)?;
        let all = format!("{name}/of_all_slices");
        let id = self
            .emitter
            .add(&all, op, inputs, attrs, (dtype, Shape(dims)));
        let id = self.permute(&format!("{name}/channels_last"), id, &TO_LAST);
        let (_, shape) = self.typed(node.output()?, Form::batched(true));
        let id = self.reshape(&name, id, shape)?;
        Ok(Form::batched(true).of(id))
    }

    pub(super) fn conv2d(
        &mut self,
        id: NodeId,
        node: &Node,
        attrs: ConvAttrs,
    ) -> Result<FormedTensor, Error> {
        let sizes = self.kernel_sizes(node)?;
        self.convolution(id, node, attrs, sizes, 1)
    }

    /// A convolution of as many groups as there are channels. The graph's order of output channels, `channel * multiplier + j`, is that of
    /// the groups.
    pub(super) fn depthwise_conv2d(
        &mut self,
        id: NodeId,
        node: &Node,
        attrs: ConvAttrs,
    ) -> Result<FormedTensor, Error> {
        let [h, w, channels, multiplier] = self.kernel_sizes(node)?;
        // Validation has found that the product fits.
        let out = channels.saturating_mul(multiplier);
        self.convolution(id, node, attrs, [h, w, 1, out], channels)
    }

    fn kernel_sizes(&self, node: &Node) -> Result<[u64; 4], Error> {
        let kernel = node.input(1)?;
        let sizes = self.graph.value(kernel).shape.sizes().unwrap_or_default();
        <[u64; 4]>::try_from(sizes)
            .map_err(|_| unsupported(node, "a kernel of unknown sizes".into(), "known ones"))
    }

    fn convolution(
        &mut self,
        id: NodeId,
        node: &Node,
        attrs: ConvAttrs,
        kernel: [u64; 4],
        groups: u64,
    ) -> Result<FormedTensor, Error> {
        let map = self.map_operand(node)?;
        let mut inputs = vec![map.id, self.kernel(node, kernel)?];
        if let Some(bias) = self.fused.get(&id) {
            let bias = self.graph.node(*bias).input(1)?;
            inputs.push(self.operand(bias, Layout::ChannelsLast)?);
        }
        let mut list = self.window(node, [kernel[0], kernel[1]], attrs)?;
        if groups != 1 {
            list.push(Attr::Int("group", size(&node.name, groups)?));
        }
        self.map_result(node, &map, "Conv", &inputs, list)
    }

    /// The padding of the convolution whose gradient it is, taken off the result: that of a map of a multiple of the stride.
    pub(super) fn conv_transpose2d(
        &mut self,
        id: NodeId,
        node: &Node,
        stride: u64,
    ) -> Result<FormedTensor, Error> {
        let sizes = self.kernel_sizes(node)?;
        let map = self.map_operand(node)?;
        let mut inputs = vec![map.id, self.kernel(node, sizes)?];
        if let Some(bias) = self.fused.get(&id) {
            let bias = self.graph.node(*bias).input(1)?;
            inputs.push(self.operand(bias, Layout::ChannelsLast)?);
        }
        let number = |n: u64| size(&node.name, n);
        let mut pads = [0; 4];
        let mut grown = [0; 2];
        for axis in 0..2 {
            let total = sizes[axis].saturating_sub(stride);
            pads[axis] = number(total / 2)?;
            pads[axis + 2] = number(total - total / 2)?;
            // Positions that no window reaches are zeros.
            grown[axis] = number(stride.saturating_sub(sizes[axis]))?;
        }
        let mut list = vec![
            Attr::Ints("kernel_shape", vec![number(sizes[0])?, number(sizes[1])?]),
            Attr::Ints("strides", vec![number(stride)?; 2]),
        ];
        if pads != [0; 4] {
            list.push(Attr::Ints("pads", pads.to_vec()));
        }
        if grown != [0; 2] {
            list.push(Attr::Ints("output_padding", grown.to_vec()));
        }
        self.map_result(node, &map, "ConvTranspose", &inputs, list)
    }

    /// ONNX pads what is pooled with values smaller than all others, or does not count padding, as the graph does.
    pub(super) fn pool(
        &mut self,
        node: &Node,
        op: &'static str,
        attrs: PoolAttrs,
    ) -> Result<FormedTensor, Error> {
        let mut map = self.map_operand(node)?;
        let from = self.graph.node(self.graph.value(node.input(0)?).node);
        if op == "MaxPool" && matches!(from.op, Op::Pad(_)) {
            // ONNX Runtime joins the two as if the padding were smaller than all values. This changes nothing, and stands between them.
            let lowest = self.float(f32::MIN);
            let name = format!("{}/padded", self.name(&node.name));
            let shape = Shape(self.emitter.dims(map.id).to_vec());
            let typed = (self.emitter.dtype(map.id), shape);
            let inputs = [map.id, lowest];
            map.id = self.emitter.add(&name, "Max", &inputs, vec![], typed);
        }
        let moved = ConvAttrs {
            strides: attrs.strides,
            padding: attrs.padding,
            dilations: [1; 2],
        };
        let list = self.window(node, attrs.window, moved)?;
        self.map_result(node, &map, op, &[map.id], list)
    }

    pub(super) fn global_average_pool(&mut self, node: &Node) -> Result<FormedTensor, Error> {
        let map = self.map_operand(node)?;
        self.map_result(node, &map, "GlobalAveragePool", &[map.id], vec![])
    }

    /// The attributes that say how a window moves over the feature map of a node.
    fn window(&self, node: &Node, window: [u64; 2], attrs: ConvAttrs) -> Result<Vec<Attr>, Error> {
        let (shape, result) = (
            &self.graph.value(node.input(0)?).shape,
            &self.graph.value(node.output()?).shape,
        );
        let mut pads = [0; 4];
        let is_known = |axis: usize| shape.0[axis].known().is_some();
        let by_runtime = attrs.padding == Padding::Same
            && attrs.strides != [1; 2]
            && !(is_known(1) && is_known(2));
        if attrs.padding == Padding::Same && !by_runtime {
            for axis in 0..2 {
                let sizes = (&shape.0[axis + 1], &result.0[axis + 1]);
                let effective = (window[axis] - 1) * attrs.dilations[axis] + 1;
                let total = same_padding(sizes, effective, attrs.strides[axis]);
                pads[axis] = total / 2;
                pads[axis + 2] = total - total / 2;
            }
        }
        let numbers = |values: &[u64]| -> Result<Vec<i64>, Error> {
            let numbers = values.iter().map(|n| size(&node.name, *n));
            numbers.collect()
        };
        let mut list = vec![
            Attr::Ints("kernel_shape", numbers(&window)?),
            Attr::Ints("strides", numbers(&attrs.strides)?),
        ];
        if by_runtime {
            list.push(Attr::Text("auto_pad", "SAME_UPPER"));
        }
        if pads != [0; 4] {
            list.push(Attr::Ints("pads", numbers(&pads)?));
        }
        if attrs.dilations != [1; 2] {
            list.push(Attr::Ints("dilations", numbers(&attrs.dilations)?));
        }
        Ok(list)
    }

    /// The kernel, first seen as `sizes`, in ONNX's order.
    fn kernel(&mut self, node: &Node, sizes: [u64; 4]) -> Result<TensorId, Error> {
        let value = node.input(1)?;
        if self.is_batched(value) {
            let what = "a convolution with another kernel for each slice of a map".into();
            return Err(unsupported(node, what, "one kernel for all"));
        }
        let name = self.name_of(value);
        match self.find(value)? {
            Bound::Stored(stored) => {
                let stored = stored.reshaped(&sizes).permuted(&KERNEL_ORDER);
                Ok(self.emitter.initializer(&name, stored))
            }
            Bound::Tensor(_) => {
                let id = self.operand(value, Layout::ChannelsLast)?;
                let shaped = format!("{name}/grouped");
                let id = self.reshape(&shaped, id, Shape::known(&sizes))?;
                Ok(self.permute(&format!("{name}/kernel_order"), id, &KERNEL_ORDER))
            }
        }
    }

    /// Runtimes fold it into the convolution before it when they load the model; here it would make copies of kernels that several
    /// layers share.
    pub(super) fn batch_norm(&mut self, node: &Node, epsilon: f32) -> Result<FormedTensor, Error> {
        let map = self.map_operand(node)?;
        let mut inputs = vec![map.id];
        for &vector in node.inputs.iter().skip(1) {
            if self.is_batched(vector) {
                let what = "batch normalisation with other vectors for each slice of a map".into();
                return Err(unsupported(node, what, "the same for all"));
            }
            inputs.push(self.operand(vector, Layout::ChannelsLast)?);
        }
        let attrs = vec![Attr::Float("epsilon", epsilon)];
        self.map_result(node, &map, "BatchNormalization", &inputs, attrs)
    }

    pub(super) fn resize(
        &mut self,
        node: &Node,
        method: ResizeMethod,
        to: &[Dim; 2],
        grid: PixelGrid,
    ) -> Result<FormedTensor, Error> {
        let dims = self.graph.value(node.input(0)?).shape.dims();
        let from = [1, 2].map(|axis| dims.get(axis).and_then(Dim::known));
        let to_known = [to[0].known(), to[1].known()];
        let way = resample::choose(method, from, to_known, grid);
        let (dtype, _) = self.typed(node.output()?, Form::laid_out(Layout::ChannelsFirst));
        let name = self.name(&node.name);
        if way == Resampling::Nothing {
            let mut place = self.place(node.input(0)?)?;
            place.id = self.cast(&name, place.id, dtype);
            return Ok(place);
        }
        let map = self.map_operand(node)?;
        match way {
            Resampling::Operator {
                mode,
                coordinates,
                rounding,
            } => {
                let x = self.cast(&format!("{name}/as_float"), map.id, dtype);
                let mut attrs = vec![
                    Attr::Text("mode", mode),
                    Attr::Text("coordinate_transformation_mode", coordinates),
                ];
                attrs.extend(rounding.map(|rounding| Attr::Text("nearest_mode", rounding)));
                let absent = TensorId::ABSENT;
                let kept = self.emitter.dims(x).get(..2).unwrap_or_default().to_vec();
                let sizes = if self.opset >= RESIZE_HAS_AXES {
                    attrs.push(Attr::Ints("axes", vec![2, 3]));
                    self.resized(node, to)?
                } else if to_known.iter().all(Option::is_some) {
                    let dims = [kept.as_slice(), to].concat();
                    self.sizes(&name, &dims, &[x], None)?
                } else {
                    let kept = self.sizes(&format!("{name}/kept"), &kept, &[x], None)?;
                    let to = self.resized(node, to)?;
                    self.joined(&format!("{name}/sizes"), kept, to)
                };
                self.map_result(node, &map, "Resize", &[x, absent, absent, sizes], attrs)
            }
            Resampling::Indices(Sizes { from, to: known }) => {
                let indices = [("rows", 0), ("columns", 1)].map(|(side, axis)| {
                    let indices = resample::nearest(from[axis], known[axis], grid);
                    let stored = Stored::integers(&indices);
                    self.emitter.initializer(&format!("{name}/{side}"), stored)
                });
                self.rows_and_columns(node, &map, to, indices)
            }
            Resampling::ComputedIndices => {
                let indices = self.computed_indices(node, &map, to, grid)?;
                self.rows_and_columns(node, &map, to, indices)
            }
            Resampling::Weights(filter, Sizes { from, to }) => {
                let x = self.cast(&format!("{name}/as_float"), map.id, DType::F32);
                let [rows, columns] = [("rows", 0), ("columns", 1)].map(|(side, axis)| {
                    let (from, to) = (from[axis], to[axis]);
                    let weights = match filter {
                        Filter::Area => Weights::area(from, to, grid),
                        Filter::Bicubic => Weights::bicubic(from, to, grid),
                    };
                    let stored = weights.stored(axis == 1);
                    self.emitter.initializer(&format!("{name}/{side}"), stored)
                });
                let mut dims = self.emitter.dims(x).to_vec();
                dims[3] = Dim::Known(to[1]);
                let wide = self.emitter.add(
                    &format!("{name}/of_columns"),
                    "MatMul",
                    &[x, columns],
                    Vec::new(),
                    (DType::F32, Shape(dims)),
                );
                self.map_result(node, &map, "MatMul", &[rows, wide], Vec::new())
            }
            Resampling::TooLarge => Err(unsupported(
                node,
                format!("{method:?} resizing to {}x{}", to[0], to[1]).to_lowercase(),
                "sides of at most 8192",
            )),
            Resampling::Nothing | Resampling::SizeUnknown => Err(unsupported(
                node,
                format!(
                    "{method:?} resizing from or to a size that is known only when the model runs"
                )
                .to_lowercase(),
                "an input of known height and width, or bilinear or nearest-neighbour resizing",
            )),
        }
    }
}

impl Lowering<'_, '_> {
    /// The rows and columns that nearest-neighbour resizing of a map of unknown size takes.
    fn computed_indices(
        &mut self,
        node: &Node,
        map: &Map,
        to: &[Dim; 2],
        grid: PixelGrid,
    ) -> Result<[TensorId; 2], Error> {
        let mut along = |side: &str, axis: usize| -> Result<TensorId, Error> {
            let name = format!("{}/{side}", self.name(&node.name));
            let count = if let Some(size) = to[axis].known() {
                Count::Known(size)
            } else {
                let sizes = self.resized(node, to)?;
                let picked = self.pick(&format!("{name}/to"), sizes, 0, axis_number(axis));
                Count::Computed(picked, &to[axis])
            };
            let from_size = self.size_along(&name, map.id, axis + 2);
            let from_size = self.pick(&format!("{name}/from"), from_size, 0, 0);
            Ok(self.nearest_indices(&name, from_size, count, grid))
        };
        Ok([along("rows", 0)?, along("columns", 1)?])
    }

    /// The height and width that a node resizes to, a vector of two.
    fn resized(&mut self, node: &Node, to: &[Dim; 2]) -> Result<TensorId, Error> {
        if to.iter().all(|dim| dim.known().is_some()) {
            return self.sizes(&node.name, to, &[], None);
        }
        let sizes = node.input(1)?;
        if self.is_batched(sizes) {
            let what = "resizing to another size for each slice of a map".into();
            return Err(unsupported(node, what, "one size for all"));
        }
        let id = self.operand(sizes, Layout::ChannelsLast)?;
        Ok(self.wide(id))
    }

    fn joined(&mut self, name: &str, a: TensorId, b: TensorId) -> TensorId {
        let count = |id| self.emitter.dims(id).first().and_then(Dim::known);
        let total = count(a).unwrap_or(0) + count(b).unwrap_or(0);
        let typed = (DType::I64, Shape::known(&[total]));
        let attrs = vec![Attr::Int("axis", 0)];
        self.emitter.add(name, "Concat", &[a, b], attrs, typed)
    }

    /// The result of a node that consists of rows and columns of a feature map.
    fn rows_and_columns(
        &mut self,
        node: &Node,
        map: &Map,
        to: &[Dim; 2],
        [rows, columns]: [TensorId; 2],
    ) -> Result<FormedTensor, Error> {
        let mut dims = self.emitter.dims(map.id).to_vec();
        dims[2] = to[0].clone();
        let typed = (self.emitter.dtype(map.id), Shape(dims));
        let attrs = vec![Attr::Int("axis", 2)];
        let name = format!("{}/of_rows", self.name(&node.name));
        let high = self
            .emitter
            .add(&name, "Gather", &[map.id, rows], attrs, typed);
        let attrs = vec![Attr::Int("axis", 3)];
        self.map_result(node, map, "Gather", &[high, columns], attrs)
    }

    /// [`resample::nearest`] for a source whose size is a scalar of the model: a vector of as many positions as the result has.
    fn nearest_indices(
        &mut self,
        name: &str,
        from: TensorId,
        to: Count<'_>,
        grid: PixelGrid,
    ) -> TensorId {
        let one = self.integer(1);
        let single = self.float(1.0);
        let vector = to.shape();
        let scalar = Shape::scalar();
        let (f32, i64) = (DType::F32, DType::I64);
        let positions = self.positions(name, to, grid);
        let aligned = grid == PixelGrid::AlignedCorners;
        let mut add = |part: &str, op, inputs: &[TensorId], attrs, dtype, shape: &Shape| {
            let name = format!("{name}/{part}");
            let typed = (dtype, shape.clone());
            self.emitter.add(&name, op, inputs, attrs, typed)
        };
        let last = add("last", "Sub", &[from, one], vec![], i64, &scalar);
        let a = add("from_float", "Cast", &[from], to_type(f32), f32, &scalar);
        let Positions {
            floats,
            count,
            steps,
            several,
        } = positions;
        let aligned_scale = steps.filter(|_| aligned).map(|steps| {
            let a = add("from_steps", "Sub", &[a, single], vec![], f32, &scalar);
            add("aligned_scale", "Div", &[a, steps], vec![], f32, &scalar)
        });
        let scale = match (aligned_scale, several) {
            (Some(aligned), None) => aligned,
            (Some(aligned), Some(several)) => {
                let scale = add("scale", "Div", &[a, count], vec![], f32, &scalar);
                let inputs = [several, aligned, scale];
                add("chosen_scale", "Where", &inputs, vec![], f32, &scalar)
            }
            (None, _) => add("scale", "Div", &[a, count], vec![], f32, &scalar),
        };
        let mut at = add("sources", "Mul", &[floats, scale], vec![], f32, &vector);
        if aligned {
            let half = self.float(0.5);
            let name = format!("{name}/half_on");
            let typed = (f32, vector.clone());
            at = self.emitter.add(&name, "Add", &[at, half], vec![], typed);
        }
        let mut add = |part: &str, op, inputs: &[TensorId], attrs, dtype| {
            let name = format!("{name}/{part}");
            self.emitter
                .add(&name, op, inputs, attrs, (dtype, vector.clone()))
        };
        at = add("lower", "Floor", &[at], vec![], f32);
        at = add("indices", "Cast", &[at], to_type(i64), i64);
        add("clamped", "Min", &[at, last], vec![], i64)
    }

    /// Constants, where the size that is resized to is known.
    fn known_positions(&mut self, name: &str, size: u64, grid: PixelGrid) -> Positions {
        let (positions, count) = resample::positions(size, grid);
        let stored = Stored::floats(&positions);
        Positions {
            floats: self.emitter.initializer(&format!("{name}/floats"), stored),
            count: self.float(count),
            steps: (size > 1).then(|| self.float(count - 1.0)),
            several: None,
        }
    }

    /// The positions along a side that is resized to: constants where its size is known.
    fn positions(&mut self, name: &str, to: Count<'_>, grid: PixelGrid) -> Positions {
        let vector = to.shape();
        let to = match to {
            Count::Computed(to, _) => to,
            Count::Known(size) => return self.known_positions(name, size, grid),
        };
        let (zero, one) = (self.integer(0), self.integer(1));
        let (half, single) = (self.float(0.5), self.float(1.0));
        let scalar = Shape::scalar();
        let (f32, i64) = (DType::F32, DType::I64);
        let mut add = |part: &str, op, inputs: &[TensorId], attrs, dtype, shape: &Shape| {
            let name = format!("{name}/{part}");
            let typed = (dtype, shape.clone());
            self.emitter.add(&name, op, inputs, attrs, typed)
        };
        let count = add("to_float", "Cast", &[to], to_type(f32), f32, &scalar);
        let (mut steps, mut several) = (None, None);
        if grid == PixelGrid::AlignedCorners {
            let inputs = [count, single];
            steps = Some(add("to_steps", "Sub", &inputs, vec![], f32, &scalar));
            let (inputs, dtype) = ([to, one], DType::Bool);
            several = Some(add("several", "Greater", &inputs, vec![], dtype, &scalar));
        }
        let at = add("positions", "Range", &[zero, to, one], vec![], i64, &vector);
        let mut floats = add("floats", "Cast", &[at], to_type(f32), f32, &vector);
        if grid == PixelGrid::Centers {
            floats = add("centers", "Add", &[floats, half], vec![], f32, &vector);
        }
        Positions {
            floats,
            count,
            steps,
            several,
        }
    }
}

/// How many positions there are along a side of the result of nearest-neighbour resizing.
#[derive(Clone, Copy)]
enum Count<'d> {
    Known(u64),
    /// A scalar of the model, and how the graph calls it.
    Computed(TensorId, &'d Dim),
}

impl Count<'_> {
    /// That of a vector with an element for each position.
    fn shape(self) -> Shape {
        match self {
            Self::Known(size) => Shape::known(&[size]),
            Self::Computed(_, dim) => Shape(vec![dim.clone()]),
        }
    }
}

/// The positions along a side of the result of nearest-neighbour resizing.
struct Positions {
    /// Those of the samples, a vector.
    floats: TensorId,
    /// How many there are, a float.
    count: TensorId,
    /// One less than `count`, which may be 0 only where `several` says so.
    steps: Option<TensorId>,
    /// Whether there is more than one; `None` where that is known.
    several: Option<TensorId>,
}

/// The attribute of a `Cast`.
fn to_type(dtype: DType) -> Vec<Attr> {
    let number = i64::from(i32::from(crate::emit::data_type(dtype)));
    vec![Attr::Int("to", number)]
}

/// How many rows or columns SAME padding adds in all.
fn same_padding((from, to): (&Dim, &Dim), effective: u64, stride: u64) -> u64 {
    match (from.known(), to.known()) {
        (Some(from), Some(to)) => to
            .saturating_sub(1)
            .saturating_mul(stride)
            .saturating_add(effective)
            .saturating_sub(from),
        // Only for a stride of 1.
        _ => effective - 1,
    }
}

fn unsupported(node: &Node, what: String, expected: &'static str) -> Error {
    Error::Unsupported {
        node: node.name.clone(),
        what,
        expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_fills_up_to_whole_strides() {
        let padding = |from: u64, kernel, stride| {
            let to = from.div_ceil(stride);
            same_padding((&from.into(), &to.into()), kernel, stride)
        };
        assert_eq!(padding(320, 3, 2), 1);
        assert_eq!(padding(5, 3, 2), 2);
        assert_eq!(padding(5, 1, 2), 0);
        assert_eq!(padding(6, 7, 2), 5);
        let size = Dim::symbol("height");
        assert_eq!(same_padding((&size, &size), 5, 1), 4);
    }
}
