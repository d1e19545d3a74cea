//! The counterpart of each operation, but for those of feature maps and non-max suppression.
//!
//! Runtimes implement element-wise operators for floats and for 32- and 64-bit integers, so arithmetic on bytes is done in 32-bit integers,
//! and a choice between booleans in bytes.

use tfod_graph::{Binary, Compare, DType, Dim, Node, NodeId, Op, Reduce, Shape, Unary, ValueId};

use super::{Bound, Form, FormedTensor, Lowering, axis_number, size};
use crate::Error;
use crate::emit::{Attr, TensorId, Typed};
use crate::layout::{Layout, TO_FIRST};
use crate::stored::Stored;

/// The operator set in which axes of reductions other than the sum became an input.
const REDUCE_AXES_ARE_INPUT: u32 = 18;

impl<'a> Lowering<'a, '_> {
    /// Writes one node; gives its results.
    pub(super) fn operation(
        &mut self,
        id: NodeId,
        node: &'a Node,
    ) -> Result<Vec<FormedTensor>, Error> {
        let one = match &node.op {
            // Bound before.
            Op::Input | Op::Constant(_) | Op::Parameter(_) => return Ok(Vec::new()),
            Op::Conv2d(attrs) => self.conv2d(id, node, *attrs)?,
            Op::DepthwiseConv2d(attrs) => self.depthwise_conv2d(id, node, *attrs)?,
            Op::ConvTranspose2d { stride } => self.conv_transpose2d(id, node, *stride)?,
            Op::MaxPool(attrs) => self.pool(node, "MaxPool", *attrs)?,
            Op::AveragePool(attrs) => self.pool(node, "AveragePool", *attrs)?,
            Op::GlobalAveragePool => self.global_average_pool(node)?,
            Op::BatchNorm { epsilon } => self.batch_norm(node, *epsilon)?,
            Op::Resize { method, size, grid } => self.resize(node, *method, size, *grid)?,
            Op::CropAndResize { height, width } => self.crop_and_resize(node, [*height, *width])?,
            Op::MatMul => self.mat_mul(node)?,
            Op::BiasAdd if self.fused.contains_key(&id) => self.place(node.input(0)?)?,
            Op::BiasAdd => self.elementwise(node, "Add", None)?,
            Op::Unary(unary) => self.unary(node, *unary)?,
            Op::Binary(Binary::FloorDiv) => self.floor_div(node)?,
            Op::Binary(binary) => {
                let carrier = self.number_carrier(node.input(0)?);
                self.elementwise(node, binary_op(*binary), carrier)?
            }
            Op::Compare(compare) => {
                let carrier = self.number_carrier(node.input(0)?);
                self.elementwise(node, compare_op(*compare), carrier)?
            }
            Op::And => self.elementwise(node, "And", None)?,
            Op::Select => self.select(node)?,
            Op::Softmax => {
                let form = self.form(node)?;
                let last = self.rank(node.input(0)?).saturating_sub(1);
                self.follow(
                    node,
                    "Softmax",
                    vec![Attr::Int("axis", axis_number(form.axis(last)))],
                )?
            }
            Op::Cast(to) => {
                let number = i64::from(i32::from(crate::emit::data_type(*to)));
                self.follow(node, "Cast", vec![Attr::Int("to", number)])?
            }
            Op::Pad(paddings) => self.pad(node, paddings)?,
            Op::PadEnd(_) => self.pad_end(node)?,
            Op::ShapeOf => self.shape_of(node)?,
            Op::Range(_) => self.range(node)?,
            Op::Reshape(_) => {
                let x = self.operand(node.input(0)?, Layout::ChannelsLast)?;
                self.reshaped(node, x)?
            }
            Op::Transpose(order) => self.transposed(node, order)?,
            Op::Concat { axis } => self.concat(node, *axis)?,
            Op::Slice(ranges) => self.slice(node, ranges)?,
            Op::Unstack { axis } => return self.unstack(node, *axis),
            Op::Stack { axis } => self.stack(node, *axis)?,
            Op::Gather { batch_dims } => self.gather(node, *batch_dims)?,
            Op::Reduce { kind, axes } => self.reduce(node, *kind, axes)?,
            Op::ArgMax { axis } => self.arg_max(node, *axis)?,
            Op::TopK { k } => return self.top_k(node, k),
            Op::NonMaxSuppression(attrs) => return self.non_max_suppression(id, node, *attrs),
            Op::SoftNonMaxSuppression(_) => {
                return Err(Error::Unsupported {
                    node: node.name.clone(),
                    what: "soft non-max suppression".into(),
                    expected: "a soft_nms_sigma of 0, as ONNX has hard suppression only",
                });
            }
            Op::DecodeImage { .. } | Op::ExampleFeature { .. } => {
                return Err(Error::Unsupported {
                    node: self.name(&node.name),
                    what: "the decoding of files".to_owned(),
                    expected: "an input of pixels: runtimes have no operator that decodes images",
                });
            }
            Op::Map { body, inputs } => return self.map(node, body, inputs),
        };
        Ok(vec![one])
    }

    fn rank(&self, value: ValueId) -> usize {
        self.graph.value(value).shape.rank()
    }

    /// The form in which a node that works in any layout is computed.
    fn form(&self, node: &Node) -> Result<Form, Error> {
        let batched = self.any_batched(node);
        let layout = if batched {
            Layout::ChannelsLast
        } else {
            self.plan.of(node.output()?)
        };
        Ok(Form { layout, batched })
    }

    /// The form that a value already has, for nodes that take either.
    fn form_of(&self, value: ValueId) -> Form {
        match self.bound.get(&value) {
            Some(Bound::Tensor(place)) => place.form,
            _ => Form::PLAIN,
        }
    }

    /// A computed value as it is.
    pub(super) fn place(&mut self, value: ValueId) -> Result<FormedTensor, Error> {
        match self.find(value)? {
            Bound::Tensor(place) => Ok(place),
            Bound::Stored(_) => Ok(Form::PLAIN.of(self.operand(value, Layout::ChannelsLast)?)),
        }
    }

    /// An operator of one input, in the layout of the result.
    fn follow(
        &mut self,
        node: &Node,
        op: &'static str,
        attrs: Vec<Attr>,
    ) -> Result<FormedTensor, Error> {
        let form = self.form(node)?;
        let x = self.operand(node.input(0)?, form.layout)?;
        self.result(node, op, &[x], attrs, form)
    }

    fn unary(&mut self, node: &Node, unary: Unary) -> Result<FormedTensor, Error> {
        let op = match unary {
            Unary::Relu => "Relu",
            Unary::Sigmoid => "Sigmoid",
            Unary::Exp => "Exp",
            Unary::Log => "Log",
            Unary::Round => "Round",
            Unary::Sqrt => "Sqrt",
            Unary::Abs => "Abs",
            Unary::Relu6 => {
                let form = self.form(node)?;
                let x = self.operand(node.input(0)?, form.layout)?;
                let low = self.float(0.0);
                let high = self.float(6.0);
                let inputs = [x, low, high];
                return self.result(node, "Clip", &inputs, vec![], form);
            }
        };
        self.follow(node, op, Vec::new())
    }

    /// The type in which arithmetic on a value is done, where that is not its own.
    fn number_carrier(&self, value: ValueId) -> Option<DType> {
        (self.graph.value(value).dtype == DType::U8).then_some(DType::I32)
    }

    /// An element-wise operator with broadcasting. With a `carrier`, all inputs are taken in that type, and a result of the inputs' type is
    /// turned back.
    fn elementwise(
        &mut self,
        node: &Node,
        op: &'static str,
        carrier: Option<DType>,
    ) -> Result<FormedTensor, Error> {
        let form = self.form(node)?;
        let operands = self.aligned_operands(node, form)?;
        let Some(carrier) = carrier else {
            return self.result(node, op, &operands, vec![], form);
        };
        let own = self.graph.value(node.input(0)?).dtype;
        let operands: Vec<TensorId> = operands
            .into_iter()
            .map(|id| self.carried(id, own, carrier))
            .collect();
        let (dtype, shape) = self.typed(node.output()?, form);
        let is_own = dtype == own;
        let typed = (if is_own { carrier } else { dtype }, shape);
        let name = self.name(&node.name);
        let id = self.emitter.add(&name, op, &operands, vec![], typed);
        let id = self.cast(&format!("{name}/narrow"), id, dtype);
        Ok(form.of(id))
    }

    fn carried(&mut self, id: TensorId, own: DType, carrier: DType) -> TensorId {
        if self.emitter.dtype(id) == own {
            let name = format!("{}/carried", self.emitter.name(id));
            self.cast(&name, id, carrier)
        } else {
            id
        }
    }

    /// Floats: the quotient rounded down. Integers: ONNX's division rounds towards zero, but is exact once the remainder, which has the
    /// divisor's sign, is taken off.
    fn floor_div(&mut self, node: &Node) -> Result<FormedTensor, Error> {
        let form = self.form(node)?;
        let operands = self.aligned_operands(node, form)?;
        let own = self.graph.value(node.input(0)?).dtype;
        let (_, shape) = self.typed(node.output()?, form);
        let name = self.name(&node.name);
        if own.is_float() {
            let name = format!("{name}/quotient");
            let quotient = self
                .emitter
                .add(&name, "Div", &operands, vec![], (own, shape));
            return self.result(node, "Floor", &[quotient], vec![], form);
        }
        let carrier = if own == DType::U8 { DType::I32 } else { own };
        let operands: Vec<TensorId> = operands
            .into_iter()
            .map(|id| self.carried(id, own, carrier))
            .collect();
        let mut step = |part: &str, op: &'static str, inputs: &[TensorId]| {
            let name = format!("{name}{part}");
            self.emitter
                .add(&name, op, inputs, vec![], (carrier, shape.clone()))
        };
        let remainder = step("/remainder", "Mod", &operands);
        let multiple = step("/multiple", "Sub", &[operands[0], remainder]);
        let id = step("", "Div", &[multiple, operands[1]]);
        let id = self.cast(&format!("{name}/narrow"), id, own);
        Ok(form.of(id))
    }

    fn select(&mut self, node: &Node) -> Result<FormedTensor, Error> {
        if self.graph.value(node.output()?).dtype != DType::Bool {
            return self.elementwise(node, "Where", None);
        }
        let form = self.form(node)?;
        let mut operands = self.aligned_operands(node, form)?;
        for id in operands.iter_mut().skip(1) {
            *id = self.carried(*id, DType::Bool, DType::U8);
        }
        let (dtype, shape) = self.typed(node.output()?, form);
        let name = self.name(&node.name);
        let id = self
            .emitter
            .add(&name, "Where", &operands, vec![], (DType::U8, shape));
        Ok(form.of(self.cast(&format!("{name}/bool"), id, dtype)))
    }

    /// The inputs of a broadcasting node, such that ONNX, which aligns shapes at their ends, pairs the same dimensions as the graph.
    fn aligned_operands(&mut self, node: &Node, form: Form) -> Result<Vec<TensorId>, Error> {
        let rank = self.rank(node.output()?);
        node.inputs
            .iter()
            .map(|value| self.aligned(*value, rank, form))
            .collect()
    }

    fn aligned(&mut self, value: ValueId, rank: usize, form: Form) -> Result<TensorId, Error> {
        let own = self.rank(value);
        let name = self.name_of(value);
        let is_single = self.graph.value(value).shape.elements() == Some(1);
        if form.layout == Layout::ChannelsFirst && own < 4 && !is_single {
            let added: Vec<usize> = (0..4 - own).collect();
            return match self.find(value)? {
                Bound::Stored(stored) => {
                    let mut sizes = vec![1; 4 - own];
                    sizes.extend(stored.shape());
                    let stored = stored.reshaped(&sizes).permuted(&TO_FIRST);
                    Ok(self.emitter.initializer(&name, stored))
                }
                Bound::Tensor(place) => {
                    let map = self.unsqueeze(&format!("{name}/as_map"), place.id, &added);
                    Ok(self.transpose(map, Layout::ChannelsFirst))
                }
            };
        }
        let id = self.operand(value, form.layout)?;
        if self.is_batched(value) && own < rank {
            let added: Vec<usize> = (1..=rank - own).collect();
            return Ok(self.unsqueeze(&format!("{name}/aligned"), id, &added));
        }
        Ok(id)
    }

    fn pad(&mut self, node: &Node, paddings: &[(u64, u64)]) -> Result<FormedTensor, Error> {
        let form = self.form(node)?;
        let x = self.operand(node.input(0)?, form.layout)?;
        let name = self.name(&node.name);
        let mut paddings = form.layout.arrange(paddings);
        if form.batched {
            paddings.insert(0, (0, 0));
        }
        let before = paddings.iter().map(|(before, _)| *before);
        let after = paddings.iter().map(|(_, after)| *after);
        let sizes = before.chain(after).map(|n| size(&name, n));
        let sizes = sizes.collect::<Result<Vec<_>, _>>()?;
        let pads = self.integers(&sizes);
        self.result(node, "Pad", &[x, pads], vec![], form)
    }

    /// As many at the end of each dimension as the second input says, and none before.
    fn pad_end(&mut self, node: &Node) -> Result<FormedTensor, Error> {
        self.refuse_batched(node, "padding by computed numbers")?;
        let form = self.form(node)?;
        let x = self.operand(node.input(0)?, form.layout)?;
        let by = self.operand(node.input(1)?, Layout::ChannelsLast)?;
        let name = self.name(&node.name);
        let rank = self.rank(node.input(0)?);
        let mut after = self.cast(&format!("{name}/after"), by, DType::I64);
        if rank == 4 && form.layout == Layout::ChannelsFirst {
            let order = self.integers(&TO_FIRST.map(axis_number));
            after = self.taken(&format!("{name}/channels_first"), after, order);
        }
        let before = self.integers(&vec![0; rank]);
        let typed = (DType::I64, Shape::known(&[2 * rank as u64]));
        let attrs = vec![Attr::Int("axis", 0)];
        let pads = format!("{name}/pads");
        let pads = self
            .emitter
            .add(&pads, "Concat", &[before, after], attrs, typed);
        self.result(node, "Pad", &[x, pads], vec![], form)
    }

    /// The sizes are read in the layout that the value has, and put into the graph's order.
    fn shape_of(&mut self, node: &Node) -> Result<FormedTensor, Error> {
        let value = node.input(0)?;
        let place = self.place(value)?;
        let name = self.name(&node.name);
        let total = self.emitter.dims(place.id).len() as u64;
        let typed = (DType::I64, Shape::known(&[total]));
        let whole = format!("{name}/shape_of");
        let mut sizes = self
            .emitter
            .add(&whole, "Shape", &[place.id], vec![], typed);
        let axes: Vec<i64> = (0..self.rank(value))
            .map(|axis| axis_number(place.form.axis(axis)))
            .collect();
        if !axes
            .iter()
            .copied()
            .eq(0..axis_number(self.emitter.dims(place.id).len()))
        {
            let axes = self.integers(&axes);
            sizes = self.taken(&format!("{name}/in_order"), sizes, axes);
        }
        Ok(Form::PLAIN.of(self.narrow(&name, sizes)))
    }

    fn range(&mut self, node: &Node) -> Result<FormedTensor, Error> {
        self.refuse_batched(node, "a range of computed length")?;
        let count = self.operand(node.input(0)?, Layout::ChannelsLast)?;
        let [zero, one] = [0, 1].map(|n| {
            let stored = Stored::narrow_integer(n);
            self.emitter.initializer(&format!("int32/{n}"), stored)
        });
        self.result(node, "Range", &[zero, count, one], vec![], Form::PLAIN)
    }

    /// Refuses what cannot be done for all slices of a map at once, because each has a result of its own shape.
    pub(super) fn refuse_batched(&self, node: &Node, what: &str) -> Result<(), Error> {
        if self.any_batched(node) {
            return Err(Error::Unsupported {
                node: node.name.clone(),
                what: format!("{what} in a map"),
                expected: "it outside of the map",
            });
        }
        Ok(())
    }

    /// Elements of a vector.
    pub(super) fn taken(&mut self, name: &str, vector: TensorId, indices: TensorId) -> TensorId {
        let shape = Shape(self.emitter.dims(indices).to_vec());
        let typed = (self.emitter.dtype(vector), shape);
        let attrs = vec![Attr::Int("axis", 0)];
        self.emitter
            .add(name, "Gather", &[vector, indices], attrs, typed)
    }

    /// A node's result from a tensor of its elements in their order.
    fn reshaped(&mut self, node: &Node, x: TensorId) -> Result<FormedTensor, Error> {
        let batched = self.any_batched(node);
        let (_, shape) = self.typed(node.output()?, Form::batched(batched));
        let id = self.reshape(&self.name(&node.name), x, shape)?;
        Ok(Form::batched(batched).of(id))
    }

    /// Both have all leading dimensions, so that the slices of a map around are matched with each other.
    fn mat_mul(&mut self, node: &Node) -> Result<FormedTensor, Error> {
        let form = Form::batched(self.any_batched(node));
        let operands = self.aligned_operands(node, form)?;
        self.result(node, "MatMul", &operands, vec![], form)
    }

    fn concat(&mut self, node: &Node, axis: usize) -> Result<FormedTensor, Error> {
        let form = self.form(node)?;
        let operands = node.inputs.iter().map(|&value| {
            if form.batched {
                self.batched_operand(value)
            } else {
                self.operand(value, form.layout)
            }
        });
        let operands = operands.collect::<Result<Vec<_>, _>>()?;
        if let [only] = operands.as_slice() {
            return Ok(form.of(*only));
        }
        let attrs = vec![Attr::Int("axis", axis_number(form.axis(axis)))];
        self.result(node, "Concat", &operands, attrs, form)
    }

    fn slice(&mut self, node: &Node, ranges: &[Option<(u64, u64)>]) -> Result<FormedTensor, Error> {
        let form = self.form(node)?;
        let x = self.operand(node.input(0)?, form.layout)?;
        let name = self.name(&node.name);
        let [mut starts, mut ends, mut axes] = [const { Vec::new() }; 3];
        for (axis, range) in ranges.iter().enumerate() {
            if let Some((begin, length)) = range {
                starts.push(size(&name, *begin)?);
                ends.push(size(&name, begin.saturating_add(*length))?);
                axes.push(axis_number(form.axis(axis)));
            }
        }
        if axes.is_empty() {
            return Ok(form.of(x));
        }
        let starts = self.integers(&starts);
        let ends = self.integers(&ends);
        let axes = self.integers(&axes);
        let inputs = [x, starts, ends, axes];
        self.result(node, "Slice", &inputs, vec![], form)
    }

    /// One `Gather` with a scalar index for each part, which is one node where `Split` and `Squeeze` would be two.
    fn unstack(&mut self, node: &Node, axis: usize) -> Result<Vec<FormedTensor>, Error> {
        let x = node.input(0)?;
        let form = if axis == 3 && self.rank(x) == 4 {
            self.form_of(x)
        } else {
            Form::batched(self.is_batched(x))
        };
        let x = self.operand(x, form.layout)?;
        let name = self.name(&node.name);
        let axis = form.axis(axis);
        let parts = (0..node.outputs.len()).map(|position| {
            let name = match position {
                0 => name.clone(),
                n => format!("{name}:{n}"),
            };
            let part = self.pick(&name, x, axis, axis_number(position));
            Form::batched(form.batched).of(part)
        });
        Ok(parts.collect())
    }

    fn stack(&mut self, node: &Node, axis: usize) -> Result<FormedTensor, Error> {
        if let Some(whole) = self.stacked_table(node, axis) {
            return Ok(whole);
        }
        let batched = self.any_batched(node);
        let at = axis + usize::from(batched);
        let name = self.name(&node.name);
        let parts = node.inputs.iter().map(|&value| {
            let id = if batched {
                self.batched_operand(value)?
            } else {
                self.operand(value, Layout::ChannelsLast)?
            };
            Ok(self.unsqueeze(&format!("{name}/part"), id, &[at]))
        });
        let parts = parts.collect::<Result<Vec<_>, Error>>()?;
        if let [only] = parts.as_slice() {
            return Ok(Form::batched(batched).of(*only));
        }
        let attrs = vec![Attr::Int("axis", axis_number(at))];
        self.result(node, "Concat", &parts, attrs, Form::batched(batched))
    }

    /// Rows of the data. In a map, the rows of each slice are taken from all rows, or from those of the same slice.
    fn gather(&mut self, node: &Node, batch_dims: usize) -> Result<FormedTensor, Error> {
        let (data, indices) = (node.input(0)?, node.input(1)?);
        let (own_data, own_indices) = (self.is_batched(data), self.is_batched(indices));
        if batch_dims > 0 && own_data != own_indices {
            self.refuse_batched(node, "a gathering in which one side is the same for all")?;
        }
        let data = self.operand(data, Layout::ChannelsLast)?;
        let indices = self.operand(indices, Layout::ChannelsLast)?;
        if own_data && own_indices || batch_dims > 0 {
            let name = self.name(&node.name);
            let wide = self.wide(indices);
            let rank = self.emitter.dims(wide).len();
            let column = self.unsqueeze(&format!("{name}/indices"), wide, &[rank]);
            let shared = axis_number(batch_dims) + i64::from(own_data);
            let attrs = vec![Attr::Int("batch_dims", shared)];
            return self.result(
                node,
                "GatherND",
                &[data, column],
                attrs,
                Form::batched(own_data),
            );
        }
        let attrs = vec![Attr::Int("axis", i64::from(own_data))];
        let form = Form::batched(own_data || own_indices);
        self.result(node, "Gather", &[data, indices], attrs, form)
    }

    fn reduce(&mut self, node: &Node, kind: Reduce, axes: &[usize]) -> Result<FormedTensor, Error> {
        let value = node.input(0)?;
        // Whether the channels may be elsewhere has been planned: then they are so in the value.
        let keeps = |axis: usize| !axes.contains(&axis);
        let form = if self.rank(value) == 4 && keeps(3) && (keeps(1) || keeps(2)) {
            Form::batched(self.is_batched(value))
        } else {
            self.form_of(value)
        };
        let mut x = self.operand(value, form.layout)?;
        let name = self.name(&node.name);
        let (dtype, shape) = self.typed(node.output()?, Form::batched(form.batched));
        if dtype == DType::U8 {
            x = self.carried(x, DType::U8, DType::I32);
        }
        let mut numbers: Vec<i64> = axes
            .iter()
            .map(|&axis| axis_number(form.axis(axis)))
            .collect();
        numbers.sort_unstable();
        let op = match kind {
            Reduce::Sum => "ReduceSum",
            Reduce::Max => "ReduceMax",
            Reduce::Min => "ReduceMin",
        };
        let mut inputs = vec![x];
        let mut attrs = vec![Attr::Int("keepdims", 0)];
        // No axes would mean all of them.
        if numbers.is_empty() {
            let id = self.operand(value, Layout::ChannelsLast)?;
            return Ok(Form::batched(form.batched).of(id));
        }
        if kind == Reduce::Sum || self.opset >= REDUCE_AXES_ARE_INPUT {
            inputs.push(self.integers(&numbers));
        } else {
            attrs.push(Attr::Ints("axes", numbers));
        }
        let typed = (self.emitter.dtype(x), shape);
        let id = self.emitter.add(&name, op, &inputs, attrs, typed);
        let id = self.cast(&format!("{name}/narrow"), id, dtype);
        Ok(Form::batched(form.batched).of(id))
    }

    fn transposed(&mut self, node: &Node, order: &[usize]) -> Result<FormedTensor, Error> {
        let value = node.input(0)?;
        let batched = self.is_batched(value);
        let id = self.operand(value, Layout::ChannelsLast)?;
        let mut order = order.to_vec();
        if batched {
            order = order.into_iter().map(|axis| axis + 1).collect();
            order.insert(0, 0);
        }
        let id = self.permute(&self.name(&node.name), id, &order);
        Ok(Form::batched(batched).of(id))
    }

    /// ONNX promises the same as the graph: of equals, the first.
    fn arg_max(&mut self, node: &Node, axis: usize) -> Result<FormedTensor, Error> {
        let value = node.input(0)?;
        let form = Form::batched(self.is_batched(value));
        let x = self.operand(value, Layout::ChannelsLast)?;
        let x = self.carried(x, DType::U8, DType::I32);
        let name = self.name(&node.name);
        let (_, shape) = self.typed(node.output()?, form);
        let attrs = vec![
            Attr::Int("axis", axis_number(form.axis(axis))),
            Attr::Int("keepdims", 0),
        ];
        let wide = format!("{name}/wide");
        let id = self
            .emitter
            .add(&wide, "ArgMax", &[x], attrs, (DType::I64, shape));
        Ok(form.of(self.narrow(&name, id)))
    }

    /// ONNX promises the same order as the graph: of equals, the lower index first.
    fn top_k(&mut self, node: &Node, k: &Dim) -> Result<Vec<FormedTensor>, Error> {
        let value = node.input(0)?;
        let batched = self.is_batched(value);
        let name = self.name(&node.name);
        let x = self.operand(value, Layout::ChannelsLast)?;
        let own = self.emitter.dtype(x);
        let carried = self.carried(x, DType::U8, DType::I32);
        let [values, indices] = if let Some(k) = k.known() {
            self.best(&name, carried, k)?
        } else {
            self.refuse_batched(node, "a selection of a computed number")?;
            let count = self.operand(node.input(1)?, Layout::ChannelsLast)?;
            let count = self.wide(count);
            let count = self.reshape(&format!("{name}/count"), count, Shape::known(&[1]))?;
            self.largest(&name, carried, count, k.clone())
        };
        let values = self.cast(&format!("{name}/narrow"), values, own);
        let indices = self.narrow(&format!("{name}/indices"), indices);
        Ok(vec![
            Form::batched(batched).of(values),
            Form::batched(batched).of(indices),
        ])
    }

    /// The `k` largest along the last axis, and their 64-bit indices.
    pub(super) fn best(&mut self, name: &str, x: TensorId, k: u64) -> Result<[TensorId; 2], Error> {
        let count = self.integers(&[size(name, k)?]);
        Ok(self.largest(name, x, count, Dim::Known(k)))
    }

    /// As [`Self::best`], of a number that is a tensor `i64[1]`.
    fn largest(&mut self, name: &str, x: TensorId, count: TensorId, k: Dim) -> [TensorId; 2] {
        let mut dims = self.emitter.dims(x).to_vec();
        if let Some(last) = dims.last_mut() {
            *last = k;
        }
        let typed = |dtype: DType| -> Typed { (dtype, Shape(dims.clone())) };
        let results = [typed(self.emitter.dtype(x)), typed(DType::I64)];
        self.emitter
            .add_pair(name, "TopK", &[x, count], Vec::new(), results)
    }
}

fn binary_op(binary: Binary) -> &'static str {
    match binary {
        Binary::Add => "Add",
        Binary::Sub => "Sub",
        Binary::Mul => "Mul",
        Binary::Div | Binary::FloorDiv => "Div",
        Binary::Maximum => "Max",
        Binary::Minimum => "Min",
    }
}

fn compare_op(compare: Compare) -> &'static str {
    match compare {
        Compare::Less => "Less",
        Compare::Greater => "Greater",
        Compare::GreaterEqual => "GreaterOrEqual",
        Compare::Equal => "Equal",
    }
}
