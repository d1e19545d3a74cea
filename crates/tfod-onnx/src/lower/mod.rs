//! Lowering: a graph's nodes as ONNX's.
//!
//! [`lower`] walks the graph once. Each value is [`Bound`] to where it is: a tensor of the model, or known elements of which an initialiser is made
//! in the form that its user needs. `ops` has the counterparts of most operations, `image` those of feature maps, `nms` those of non-max
//! suppression, and `map` turns a map over slices into operations on all slices at once.
//!
//! # Maps are vectorised
//!
//! The body of a map is lowered like the graph around it, except that values which depend on the slices are *batched*: their tensors have one more
//! dimension in front, that of the slices. So there is no loop in the model, whatever the batch, and non-max suppression of all images is
//! one operator.

mod crops;
mod image;
mod map;
mod nms;
mod ops;
mod resample;

use std::collections::HashMap;

use tfod_graph::{
    DType, Dim, Graph, Node, NodeId, Op, Output, Shape, ValidateError, ValueId, Weights,
};

use crate::Error;
use crate::emit::{Attr, Emitter, TensorId, Typed};
use crate::layout::{Layout, Plan, TO_FIRST, TO_LAST};
use crate::stored::Stored;
use nms::{Group, Table};

/// Where a value is.
#[derive(Clone, Debug)]
pub(crate) enum Bound<'a> {
    /// Its elements are known.
    Stored(Stored<'a>),
    /// It is computed.
    Tensor(FormedTensor),
}

/// A computed tensor and the form in which it holds a value of the graph.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FormedTensor {
    id: TensorId,
    form: Form,
}

/// The form in which a tensor holds a value of the graph.
#[derive(Clone, Copy, Debug)]
struct Form {
    layout: Layout,
    /// Whether there is one more dimension in front, for the slices of the map around.
    batched: bool,
}

impl Form {
    /// As in the graph.
    const PLAIN: Self = Self::batched(false);

    /// In the graph's order.
    const fn batched(batched: bool) -> Self {
        Self {
            layout: Layout::ChannelsLast,
            batched,
        }
    }

    /// In a layout, and not batched.
    const fn laid_out(layout: Layout) -> Self {
        Self {
            layout,
            batched: false,
        }
    }

    /// A tensor in this form.
    fn of(self, id: TensorId) -> FormedTensor {
        FormedTensor { id, form: self }
    }

    /// Where an axis of the graph's value is in the tensor.
    fn axis(self, axis: usize) -> usize {
        self.layout.axis(axis) + usize::from(self.batched)
    }
}

/// Writes a validated graph into `emitter`, its inputs and outputs included.
///
/// # Errors
/// When ONNX has no counterpart for what a node asks for.
pub(crate) fn lower<'a>(
    graph: &'a Graph,
    weights: &'a Weights<'a>,
    inputs: Layout,
    opset: u32,
    emitter: &mut Emitter<'a>,
) -> Result<(), Error> {
    let plan = Plan::new(graph, inputs);
    let mut lowering = Lowering::new(graph, weights, opset, plan, emitter);
    for &input in graph.inputs() {
        let value = graph.value(input);
        let layout = lowering.plan.of(input);
        let typed = (value.dtype, layout.shape(&value.shape));
        let id = lowering.emitter.input(graph.name_of(input), typed);
        let place = Form::laid_out(layout).of(id);
        lowering.bound.insert(input, Bound::Tensor(place));
    }
    lowering.run()?;
    let mut outputs: Vec<&Output> = graph.outputs().iter().collect();
    outputs.sort_by(|a, b| a.key.cmp(&b.key));
    for output in outputs {
        let id = lowering.operand(output.value, Layout::ChannelsLast)?;
        lowering.emitter.output(&output.key, id);
    }
    Ok(())
}

/// One graph, or body of a map, being lowered.
struct Lowering<'a, 'e> {
    graph: &'a Graph,
    weights: &'a Weights<'a>,
    opset: u32,
    plan: Plan,
    emitter: &'e mut Emitter<'a>,
    /// Put in front of all names: those of the maps around.
    scope: String,
    /// In the body of a map: the number of slices, and a batched tensor, whose first dimension that is.
    batch: Option<(Dim, TensorId)>,
    bound: HashMap<ValueId, Bound<'a>>,
    /// Copies in the other layout.
    transposed: HashMap<TensorId, TensorId>,
    /// 64-bit originals of 32-bit indices.
    wide: HashMap<TensorId, TensorId>,
    /// Bias additions that their convolutions do.
    fused: HashMap<NodeId, NodeId>,
    /// Suppressions that one operator does, by each of their nodes.
    groups: HashMap<NodeId, Group>,
    /// The results of the groups lowered so far, by the group's first node.
    tables: HashMap<NodeId, Table>,
}

impl<'a, 'e> Lowering<'a, 'e> {
    fn new(
        graph: &'a Graph,
        weights: &'a Weights<'a>,
        opset: u32,
        plan: Plan,
        emitter: &'e mut Emitter<'a>,
    ) -> Self {
        Self {
            graph,
            weights,
            opset,
            plan,
            emitter,
            scope: String::new(),
            batch: None,
            bound: HashMap::new(),
            transposed: HashMap::new(),
            wide: HashMap::new(),
            fused: image::fused_biases(graph),
            groups: nms::groups(graph),
            tables: HashMap::new(),
        }
    }

    fn run(&mut self) -> Result<(), Error> {
        // Known elements first: a convolution takes the bias of an addition that comes after it.
        for (_, node) in self.graph.nodes() {
            if let Some(stored) = self.stored(node)? {
                self.bind(&node.outputs, [Bound::Stored(stored)]);
            }
        }
        for (id, node) in self.graph.nodes() {
            if !matches!(node.op, Op::Input | Op::Constant(_) | Op::Parameter(_)) {
                let places = self.operation(id, node)?;
                self.bind(&node.outputs, places.into_iter().map(Bound::Tensor));
            }
        }
        Ok(())
    }

    fn bind(&mut self, values: &[ValueId], bound: impl IntoIterator<Item = Bound<'a>>) {
        self.bound.extend(values.iter().copied().zip(bound));
    }

    /// The elements of a constant or a parameter.
    fn stored(&self, node: &'a Node) -> Result<Option<Stored<'a>>, Error> {
        match &node.op {
            Op::Constant(tensor) => Ok(Some(Stored::new(
                tensor.dtype(),
                tensor.shape(),
                tensor.data().into(),
            ))),
            Op::Parameter(id) => {
                let missing = || ValidateError::Weights {
                    name: node.name.clone(),
                    expected: "a tensor".into(),
                    found: "nothing".into(),
                };
                let view = self.weights.get(*id).ok_or_else(missing)?;
                Ok(Some(Stored::new(
                    view.dtype,
                    &view.shape,
                    view.data.as_ref().into(),
                )))
            }
            _ => Ok(None),
        }
    }

    /// Where a value is. Validation makes sure that it is somewhere.
    fn find(&self, value: ValueId) -> Result<Bound<'a>, Error> {
        let missing = || ValidateError::Order {
            node: self.graph.name_of(value).to_owned(),
        };
        Ok(self.bound.get(&value).cloned().ok_or_else(missing)?)
    }

    fn name(&self, node: &str) -> String {
        format!("{}{node}", self.scope)
    }

    fn name_of(&self, value: ValueId) -> String {
        self.name(self.graph.name_of(value))
    }

    fn is_batched(&self, value: ValueId) -> bool {
        matches!(self.bound.get(&value), Some(Bound::Tensor(place)) if place.form.batched)
    }

    fn any_batched(&self, node: &Node) -> bool {
        node.inputs.iter().any(|v| self.is_batched(*v))
    }

    /// The tensor of a value in a layout, batched or not as it is.
    fn operand(&mut self, value: ValueId, layout: Layout) -> Result<TensorId, Error> {
        let name = self.name_of(value);
        let is_map = self.graph.value(value).shape.rank() == 4;
        match self.find(value)? {
            Bound::Stored(stored) if is_map && layout == Layout::ChannelsFirst => {
                Ok(self.emitter.initializer(&name, stored.permuted(&TO_FIRST)))
            }
            Bound::Stored(stored) => Ok(self.emitter.initializer(&name, stored)),
            Bound::Tensor(place)
                if !is_map || place.form.batched || place.form.layout == layout =>
            {
                Ok(place.id)
            }
            Bound::Tensor(place) => Ok(self.transpose(place.id, layout)),
        }
    }

    /// A copy of a feature map in the other layout, made once.
    fn transpose(&mut self, id: TensorId, to: Layout) -> TensorId {
        if let Some(&copy) = self.transposed.get(&id) {
            return copy;
        }
        let (order, suffix) = match to {
            Layout::ChannelsFirst => (TO_FIRST, "channels_first"),
            Layout::ChannelsLast => (TO_LAST, "channels_last"),
        };
        let name = format!("{}/{suffix}", self.emitter.name(id));
        let copy = self.permute(&name, id, &order);
        self.transposed.insert(id, copy);
        self.transposed.insert(copy, id);
        copy
    }

    /// The tensor of a value in the graph's own order, with the dimension of the slices in front in any case.
    fn batched_operand(&mut self, value: ValueId) -> Result<TensorId, Error> {
        let id = self.operand(value, Layout::ChannelsLast)?;
        match (&self.batch, self.is_batched(value)) {
            (Some((batch, like)), false) => {
                let (batch, like) = (batch.clone(), *like);
                let dims = Shape(self.emitter.dims(id).to_vec()).with_leading(batch);
                let name = format!("{}/for_each", self.name_of(value));
                self.expand(&name, id, dims, &[like])
            }
            _ => Ok(id),
        }
    }

    /// The element type and shape of the tensor of a value in a form.
    fn typed(&self, value: ValueId, form: Form) -> Typed {
        let value = self.graph.value(value);
        let shape = form.layout.shape(&value.shape);
        let shape = match &self.batch {
            Some((batch, _)) if form.batched => shape.with_leading(batch.clone()),
            _ => shape,
        };
        (value.dtype, shape)
    }

    /// A node whose only result is that of the graph's node.
    fn result(
        &mut self,
        node: &Node,
        op: &'static str,
        inputs: &[TensorId],
        attrs: Vec<Attr>,
        form: Form,
    ) -> Result<FormedTensor, Error> {
        let typed = self.typed(node.output()?, form);
        let name = self.name(&node.name);
        let id = self.emitter.add(&name, op, inputs, attrs, typed);
        Ok(form.of(id))
    }

    // Attributes of the graph that are inputs of ONNX's operators. Equal ones are one tensor, called by its contents.

    fn integers(&mut self, values: &[i64]) -> TensorId {
        let words: Vec<String> = values.iter().map(i64::to_string).collect();
        let name = format!("ints/{}", words.join("_"));
        self.emitter.initializer(&name, Stored::integers(values))
    }

    fn integer(&mut self, value: i64) -> TensorId {
        let name = format!("int/{value}");
        self.emitter.initializer(&name, Stored::integer(value))
    }

    fn float(&mut self, value: f32) -> TensorId {
        let name = format!("float/{value}");
        self.emitter.initializer(&name, Stored::float(value))
    }

    fn permute(&mut self, name: &str, id: TensorId, order: &[usize]) -> TensorId {
        let dims = self.emitter.dims(id);
        let shape = Shape(order.iter().map(|&axis| dims[axis].clone()).collect());
        let perm = order.iter().map(|&axis| axis_number(axis)).collect();
        if let Some(held) = self.emitter.held(id) {
            let stored = held.transposed(order);
            return self.emitter.initializer(name, stored);
        }
        let typed = (self.emitter.dtype(id), shape);
        let attrs = vec![Attr::Ints("perm", perm)];
        self.emitter.add(name, "Transpose", &[id], attrs, typed)
    }

    /// The same tensor with another element type.
    fn cast(&mut self, name: &str, id: TensorId, to: DType) -> TensorId {
        if self.emitter.dtype(id) == to {
            return id;
        }
        if let Some(stored) = self.emitter.held(id).and_then(|held| held.cast(to)) {
            return self.emitter.initializer(name, stored);
        }
        let shape = Shape(self.emitter.dims(id).to_vec());
        let number = i64::from(i32::from(crate::emit::data_type(to)));
        let attrs = vec![Attr::Int("to", number)];
        self.emitter.add(name, "Cast", &[id], attrs, (to, shape))
    }

    /// The same tensor with dimensions of 1 more; `axes` are ascending positions in the result.
    fn unsqueeze(&mut self, name: &str, id: TensorId, axes: &[usize]) -> TensorId {
        let mut dims = self.emitter.dims(id).to_vec();
        for &axis in axes {
            dims.insert(axis, Dim::Known(1));
        }
        if let Some(stored) = self.held_as(id, &dims) {
            return self.emitter.initializer(name, stored);
        }
        let numbers: Vec<i64> = axes.iter().map(|&axis| axis_number(axis)).collect();
        let axes = self.integers(&numbers);
        let typed = (self.emitter.dtype(id), Shape(dims));
        self.emitter
            .add(name, "Unsqueeze", &[id, axes], Vec::new(), typed)
    }

    /// The part of a tensor at one position along an axis, which disappears.
    fn pick(&mut self, name: &str, id: TensorId, axis: usize, position: i64) -> TensorId {
        let mut dims = self.emitter.dims(id).to_vec();
        dims.remove(axis);
        let index = self.integer(position);
        let typed = (self.emitter.dtype(id), Shape(dims));
        let attrs = vec![Attr::Int("axis", axis_number(axis))];
        self.emitter.add(name, "Gather", &[id, index], attrs, typed)
    }

    /// The tensor repeated along its dimensions of 1, and along new ones in front.
    fn expand(
        &mut self,
        name: &str,
        id: TensorId,
        shape: Shape,
        like: &[TensorId],
    ) -> Result<TensorId, Error> {
        if self.emitter.dims(id) == shape.dims() {
            return Ok(id);
        }
        let mut sizes = self.sizes(name, shape.dims(), like, None)?;
        if self.emitter.held(id).is_some() && self.emitter.held(sizes).is_some() {
            sizes = self.sizes_of(name, shape.dims(), like).unwrap_or(sizes);
        }
        let typed = (self.emitter.dtype(id), shape);
        Ok(self
            .emitter
            .add(name, "Expand", &[id, sizes], Vec::new(), typed))
    }

    /// The same elements in another shape. ONNX works one dimension out by itself, and copies those that stay where they are; where
    /// that is not enough, the sizes are read from the tensor when the model runs.
    fn reshape(&mut self, name: &str, id: TensorId, shape: Shape) -> Result<TensorId, Error> {
        let from = self.emitter.dims(id).to_vec();
        if from == shape.dims() {
            return Ok(id);
        }
        if let Some(stored) = self.held_as(id, shape.dims()) {
            return Ok(self.emitter.initializer(name, stored));
        }
        if shape.dims().iter().any(|dim| dim.is(0)) {
            return Err(Error::Unsupported {
                node: name.to_owned(),
                what: format!("a reshape to {shape}"),
                expected: "a tensor that is not empty",
            });
        }
        let copied = |axis: usize, dim: &Dim| dim.known().is_none() && from.get(axis) == Some(dim);
        let dims = shape.dims().iter().enumerate();
        let left = dims
            .clone()
            .filter(|(axis, dim)| dim.known().is_none() && !copied(*axis, dim))
            .count();
        let sizes = if left <= 1 {
            let sizes = dims.map(|(axis, dim)| match dim.known() {
                Some(n) => size(name, n),
                None if copied(axis, dim) => Ok(0),
                None => Ok(-1),
            });
            let sizes = sizes.collect::<Result<Vec<_>, _>>()?;
            self.integers(&sizes)
        } else {
            self.sizes(name, shape.dims(), &[id], Some(-1))?
        };
        let typed = (self.emitter.dtype(id), shape);
        Ok(self
            .emitter
            .add(name, "Reshape", &[id, sizes], Vec::new(), typed))
    }

    /// A vector of sizes. Those known only at run time are read from a tensor of `like` that has them; `missing` stands for one
    /// that none has.
    fn sizes(
        &mut self,
        name: &str,
        dims: &[Dim],
        like: &[TensorId],
        missing: Option<i64>,
    ) -> Result<TensorId, Error> {
        let mut parts: Vec<TensorId> = Vec::new();
        let mut run: Vec<i64> = Vec::new();
        for dim in dims {
            let found = like.iter().find_map(|&id| {
                let axis = self.emitter.dims(id).iter().position(|d| d == dim)?;
                Some((id, axis))
            });
            match (dim.known(), found) {
                (Some(n), _) => run.push(size(name, n)?),
                (None, Some((id, axis))) => {
                    self.flush(&mut parts, &mut run);
                    parts.push(self.size_along(name, id, axis));
                }
                (None, None) => run.push(missing.ok_or_else(|| Error::Unsupported {
                    node: name.to_owned(),
                    what: format!("the size `{dim}`, which no input has,"),
                    expected: "sizes that are known or those of an input",
                })?),
            }
        }
        if parts.is_empty() {
            return Ok(self.integers(&run));
        }
        self.flush(&mut parts, &mut run);
        if let [only] = parts.as_slice() {
            return Ok(*only);
        }
        let typed = (DType::I64, Shape::known(&[dims.len() as u64]));
        let attrs = vec![Attr::Int("axis", 0)];
        let name = format!("{name}/sizes");
        Ok(self.emitter.add(&name, "Concat", &parts, attrs, typed))
    }

    /// A vector of known sizes, of which one is read from a tensor that has it, so that no node has only constants as inputs; `None` if none of these has any of them. What is repeated
    /// itself would take as much space in the file.
    fn sizes_of(&mut self, name: &str, dims: &[Dim], like: &[TensorId]) -> Option<TensorId> {
        let (at, id, axis) = dims.iter().enumerate().find_map(|(at, dim)| {
            like.iter().find_map(|&id| {
                let is_held = self.emitter.held(id).is_some();
                let axis = self.emitter.dims(id).iter().position(|d| d == dim);
                Some((at, id, axis.filter(|_| !is_held)?))
            })
        })?;
        let numbers: Option<Vec<i64>> = dims
            .iter()
            .map(|dim| i64::try_from(dim.known()?).ok())
            .collect();
        let numbers = numbers?;
        let (before, after) = (numbers.get(..at)?, numbers.get(at + 1..)?);
        let mut parts = Vec::new();
        self.flush(&mut parts, &mut before.to_vec());
        parts.push(self.size_along(name, id, axis));
        self.flush(&mut parts, &mut after.to_vec());
        if let [only] = parts.as_slice() {
            return Some(*only);
        }
        let typed = (DType::I64, Shape::known(&[dims.len() as u64]));
        let attrs = vec![Attr::Int("axis", 0)];
        let name = format!("{name}/sizes");
        Some(self.emitter.add(&name, "Concat", &parts, attrs, typed))
    }

    /// A tensor that the model holds, with other sizes of the same product.
    fn held_as(&self, id: TensorId, dims: &[Dim]) -> Option<Stored<'a>> {
        let held = self.emitter.held(id)?;
        let sizes: Option<Vec<u64>> = dims.iter().map(Dim::known).collect();
        let sizes = sizes
            .filter(|sizes| sizes.iter().product::<u64>() == held.shape().iter().product::<u64>());
        Some(held.with_sizes(&sizes?))
    }

    /// Ends a run of known sizes.
    fn flush(&mut self, parts: &mut Vec<TensorId>, run: &mut Vec<i64>) {
        if !run.is_empty() {
            parts.push(self.integers(&std::mem::take(run)));
        }
    }

    /// The size of a tensor along an axis at run time, a vector of one.
    fn size_along(&mut self, name: &str, id: TensorId, axis: usize) -> TensorId {
        let rank = self.emitter.dims(id).len() as u64;
        let typed = (DType::I64, Shape::known(&[rank]));
        let shape = self.emitter.add(
            &format!("{name}/shape_of"),
            "Shape",
            &[id],
            Vec::new(),
            typed,
        );
        let index = self.integers(&[axis_number(axis)]);
        let typed = (DType::I64, Shape::known(&[1]));
        let attrs = vec![Attr::Int("axis", 0)];
        let name = format!("{name}/size_of");
        self.emitter
            .add(&name, "Gather", &[shape, index], attrs, typed)
    }

    /// Indices as 64-bit integers, from before they were made 32-bit ones where that is known.
    fn wide(&mut self, id: TensorId) -> TensorId {
        if let Some(&wide) = self.wide.get(&id) {
            return wide;
        }
        let name = format!("{}/wide", self.emitter.name(id));
        let wide = self.cast(&name, id, DType::I64);
        self.wide.insert(id, wide);
        wide
    }

    /// 64-bit indices as the graph's 32-bit ones.
    fn narrow(&mut self, name: &str, wide: TensorId) -> TensorId {
        let id = self.cast(name, wide, DType::I32);
        self.wide.insert(id, wide);
        id
    }
}

/// A size as ONNX keeps it.
fn size(node: &str, value: u64) -> Result<i64, Error> {
    i64::try_from(value).map_err(|_| Error::TooLarge {
        node: node.to_owned(),
        value,
    })
}

/// Axes are below the number of dimensions of a tensor, which is small.
fn axis_number(axis: usize) -> i64 {
    i64::try_from(axis).unwrap_or(i64::MAX)
}

/// The number of all slices of all slices.
fn all_slices(node: &str, outer: &Dim, inner: &Dim) -> Result<Dim, Error> {
    outer.times(inner).ok_or_else(|| Error::Unsupported {
        node: node.to_owned(),
        what: format!("{inner} slices of each of {outer} slices"),
        expected: "fewer of them",
    })
}
