//! Writing a graph.
//!
//! A [`Builder`] appends nodes, names them within the current scope, infers their types, and refuses what does not fit, naming the node. It
//! has a method for each operation; results are handles that later nodes take.

use std::collections::HashMap;

use crate::dim::Dim;
use crate::graph::{Graph, Node, NodeId, Output, ParamId, Parameter, Value, ValueId};
use crate::infer::{Typed, infer};
use crate::op::{
    Binary, Compare, ConvAttrs, MapInput, NmsAttrs, Op, PixelGrid, PoolAttrs, Reduce, ResizeMethod,
    SoftNmsAttrs, Unary,
};
use crate::tensor::{DType, Shape, Tensor};
use crate::validate::ValidateError;

/// What building gives: a value or an error that names the node.
pub type Built<T = ValueId> = Result<T, ValidateError>;

/// How many nodes a graph may have, sub-graphs included: the largest detectors of the model zoo have some 4,000. A graph comes from a configuration,
/// which is untrusted input: it may ask for any number of layers.
pub(crate) const MAX_NODES: usize = 1 << 18;

/// Writes one [`Graph`].
#[derive(Debug, Default)]
pub struct Builder {
    graph: Graph,
    /// Nodes of sub-graphs, and of the graph that this one is a sub-graph of.
    other_nodes: usize,
    scope: Vec<String>,
    used: HashMap<String, u32>,
    shared: HashMap<Vec<String>, ValueId>,
}

impl Builder {
    /// An empty graph of this name.
    pub fn new(name: &str) -> Self {
        Self {
            graph: Graph {
                name: name.to_owned(),
                ..Graph::default()
            },
            ..Self::default()
        }
    }

    /// An empty graph that already has parameters, for passes.
    pub(crate) fn with_parameters(name: &str, parameters: Vec<Parameter>) -> Self {
        let mut builder = Self::new(name);
        builder.set_parameters(parameters);
        builder
    }

    /// Replaces the list of parameters; nodes that refer to it are written afterwards.
    pub(crate) fn set_parameters(&mut self, parameters: Vec<Parameter>) {
        self.graph.parameters = parameters;
    }

    /// Writes another graph's nodes into this one, under the current scope, with `arguments` in place of its inputs; gives its
    /// outputs. The other graph has no parameters of its own (those of sub-graphs are passed to them).
    pub(crate) fn inline(&mut self, other: &Graph, arguments: &[ValueId]) -> Built<Vec<ValueId>> {
        let undefined = |node: &str| ValidateError::Order {
            node: node.to_owned(),
        };
        let mut map: Vec<Option<ValueId>> = vec![None; other.values.len()];
        for (inner, argument) in other.inputs().iter().zip(arguments) {
            map[inner.index()] = Some(*argument);
        }
        let find = |map: &[Option<ValueId>], value: ValueId| {
            map[value.index()].ok_or_else(|| undefined(other.name_of(value)))
        };
        for (_, node) in other.nodes() {
            if matches!(node.op, Op::Input) {
                continue;
            }
            let inputs = node.inputs.iter().map(|v| find(&map, *v));
            let inputs = inputs.collect::<Built<Vec<_>>>()?;
            let results = self.add(&node.name, node.op.clone(), &inputs)?;
            for (old, new) in node.outputs.iter().zip(results) {
                map[old.index()] = Some(new);
            }
        }
        let outputs = other.outputs().iter();
        outputs.map(|o| find(&map, o.value)).collect()
    }

    /// The graph written so far.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    fn num_nodes(&self) -> usize {
        self.graph.nodes.len() + self.other_nodes
    }

    /// The finished graph.
    pub fn finish(self) -> Graph {
        self.graph
    }

    /// Writes what `body` adds under a further part of the name.
    ///
    /// # Errors
    /// Those of `body`.
    pub fn scope<T, E>(
        &mut self,
        name: &str,
        body: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.scope.push(name.to_owned());
        let result = body(self);
        self.scope.pop();
        result
    }

    /// The shape of a value.
    pub fn shape(&self, value: ValueId) -> &Shape {
        &self.graph.value(value).shape
    }

    /// A name of the current scope that no node has yet.
    fn unique(&mut self, name: &str) -> String {
        let mut full = self.scope.join("/");
        if !full.is_empty() {
            full.push('/');
        }
        full.push_str(name);
        loop {
            let count = self.used.entry(full.clone()).or_insert(0);
            *count += 1;
            match *count {
                1 => return full,
                n => full = format!("{full}_{}", n - 1),
            }
        }
    }

    fn push(&mut self, name: String, op: Op, inputs: &[ValueId], typed: Vec<Typed>) -> NodeId {
        let id = NodeId::at(self.graph.nodes.len());
        let first = self.graph.values.len();
        let outputs = (first..first + typed.len()).map(ValueId::at).collect();
        for (output, (dtype, shape)) in typed.into_iter().enumerate() {
            self.graph.values.push(Value {
                dtype,
                shape,
                node: id,
                output,
            });
        }
        self.graph.nodes.push(Node {
            name,
            op,
            inputs: inputs.to_vec(),
            outputs,
        });
        id
    }

    /// Appends any operation and gives all its results.
    ///
    /// # Errors
    /// When the operation does not accept the inputs.
    pub fn add(&mut self, name: &str, op: Op, inputs: &[ValueId]) -> Built<Vec<ValueId>> {
        let values: Vec<&Value> = inputs.iter().map(|v| self.graph.value(*v)).collect();
        let parameter = match op {
            Op::Parameter(id) => self.graph.parameters.get(id.index()),
            _ => None,
        };
        let typed = infer(&op, &values, parameter);
        let name = self.unique(name);
        let typed = typed.map_err(|source| ValidateError::Shape {
            node: name.clone(),
            source,
        })?;
        self.check_room(&name)?;
        let node = self.push(name, op, inputs, typed);
        Ok(self.graph.nodes[node.index()].outputs.clone())
    }

    /// Refuses a node beyond the limit.
    fn check_room(&self, node: &str) -> Built<()> {
        if self.num_nodes() < MAX_NODES {
            return Ok(());
        }
        Err(ValidateError::TooLarge {
            node: node.to_owned(),
            limit: MAX_NODES,
        })
    }

    /// Appends an operation of one result.
    fn one(&mut self, name: &str, op: Op, inputs: &[ValueId]) -> Built {
        let outputs = self.add(name, op, inputs)?;
        debug_assert_eq!(outputs.len(), 1, "{name} has several results");
        Ok(outputs[0])
    }

    /// Declares a value that the caller supplies. Its name is not put into the current scope. One beyond the limit of nodes is refused by the next
    /// method that gives a result, and by [`validate`](crate::validate()).
    pub fn input(&mut self, name: &str, dtype: DType, shape: Shape) -> ValueId {
        let scope = std::mem::take(&mut self.scope);
        let name = self.unique(name);
        self.scope = scope;
        let node = self.push(name, Op::Input, &[], vec![(dtype, shape)]);
        let value = self.graph.nodes[node.index()].outputs[0];
        self.graph.inputs.push(value);
        value
    }

    /// Declares a result.
    pub fn output(&mut self, key: &str, value: ValueId) {
        self.graph.outputs.push(Output {
            key: key.to_owned(),
            value,
        });
    }

    /// A tensor held by the graph.
    ///
    /// # Errors
    /// When the graph has as many nodes as it may have.
    pub fn constant(&mut self, name: &str, tensor: Tensor) -> Built {
        self.one(name, Op::Constant(tensor), &[])
    }

    /// A trained tensor. Asking again for the variable of the same path gives the same value, so layers can be shared.
    ///
    /// # Errors
    /// When the graph has as many nodes as it may have.
    pub fn parameter(&mut self, spec: ParameterSpec<'_>) -> Built {
        if let Some(value) = self.shared.get(&spec.path) {
            return Ok(*value);
        }
        let name = self.unique(spec.name);
        self.check_room(&name)?;
        let id = ParamId::at(self.graph.parameters.len());
        let path = spec.path.clone();
        self.graph.parameters.push(Parameter {
            name: name.clone(),
            path: spec.path,
            dtype: DType::F32,
            shape: spec.shape.to_vec(),
            trainable: spec.trainable,
        });
        let typed = vec![(DType::F32, Shape::known(spec.shape))];
        let node = self.push(name, Op::Parameter(id), &[], typed);
        let value = self.graph.nodes[node.index()].outputs[0];
        self.shared.insert(path, value);
        Ok(value)
    }
}

/// What [`Builder::parameter`] needs to know; see [`Parameter`] for the meaning of the parts.
#[derive(Debug)]
pub struct ParameterSpec<'a> {
    /// Name within the current scope.
    pub name: &'a str,
    /// Path from the trained model object.
    pub path: Vec<String>,
    /// Sizes.
    pub shape: &'a [u64],
    /// Whether gradients change it.
    pub trainable: bool,
}

/// One method an operation; each names its node and fails when the operation does not accept the inputs.
#[allow(
    clippy::missing_errors_doc,
    reason = "the sentence above is the documentation of all of them"
)]
impl Builder {
    /// [`Op::Conv2d`]
    pub fn conv2d(&mut self, name: &str, x: ValueId, kernel: ValueId, attrs: ConvAttrs) -> Built {
        self.one(name, Op::Conv2d(attrs), &[x, kernel])
    }

    /// [`Op::DepthwiseConv2d`]
    pub fn depthwise_conv2d(
        &mut self,
        name: &str,
        x: ValueId,
        kernel: ValueId,
        attrs: ConvAttrs,
    ) -> Built {
        self.one(name, Op::DepthwiseConv2d(attrs), &[x, kernel])
    }

    /// [`Op::ConvTranspose2d`]
    pub fn conv_transpose2d(
        &mut self,
        name: &str,
        x: ValueId,
        kernel: ValueId,
        stride: u64,
    ) -> Built {
        self.one(name, Op::ConvTranspose2d { stride }, &[x, kernel])
    }

    /// [`Op::MaxPool`]
    pub fn max_pool(&mut self, name: &str, x: ValueId, attrs: PoolAttrs) -> Built {
        self.one(name, Op::MaxPool(attrs), &[x])
    }

    /// [`Op::AveragePool`]
    pub fn average_pool(&mut self, name: &str, x: ValueId, attrs: PoolAttrs) -> Built {
        self.one(name, Op::AveragePool(attrs), &[x])
    }

    /// [`Op::GlobalAveragePool`]
    pub fn global_average_pool(&mut self, name: &str, x: ValueId) -> Built {
        self.one(name, Op::GlobalAveragePool, &[x])
    }

    /// [`Op::BiasAdd`]
    pub fn bias_add(&mut self, name: &str, x: ValueId, bias: ValueId) -> Built {
        self.one(name, Op::BiasAdd, &[x, bias])
    }

    /// [`Op::BatchNorm`]; `vectors` are gamma, beta, mean and variance.
    pub fn batch_norm(
        &mut self,
        name: &str,
        x: ValueId,
        vectors: [ValueId; 4],
        epsilon: f32,
    ) -> Built {
        let [gamma, beta, mean, variance] = vectors;
        self.one(
            name,
            Op::BatchNorm { epsilon },
            &[x, gamma, beta, mean, variance],
        )
    }

    /// [`Op::MatMul`]
    pub fn mat_mul(&mut self, name: &str, a: ValueId, b: ValueId) -> Built {
        self.one(name, Op::MatMul, &[a, b])
    }

    /// [`Op::Unary`]
    pub fn unary(&mut self, name: &str, unary: Unary, x: ValueId) -> Built {
        self.one(name, Op::Unary(unary), &[x])
    }

    /// [`Op::Binary`]
    pub fn binary(&mut self, name: &str, binary: Binary, a: ValueId, b: ValueId) -> Built {
        self.one(name, Op::Binary(binary), &[a, b])
    }

    /// [`Op::Binary`] with a scalar constant on the right.
    pub fn binary_scalar(&mut self, name: &str, binary: Binary, a: ValueId, b: f32) -> Built {
        let b = self.constant(&format!("{name}/by"), Tensor::scalar_f32(b))?;
        self.binary(name, binary, a, b)
    }

    /// [`Op::Compare`]
    pub fn compare(&mut self, name: &str, compare: Compare, a: ValueId, b: ValueId) -> Built {
        self.one(name, Op::Compare(compare), &[a, b])
    }

    /// [`Op::And`]
    pub fn and(&mut self, name: &str, a: ValueId, b: ValueId) -> Built {
        self.one(name, Op::And, &[a, b])
    }

    /// [`Op::Select`]
    pub fn select(&mut self, name: &str, condition: ValueId, a: ValueId, b: ValueId) -> Built {
        self.one(name, Op::Select, &[condition, a, b])
    }

    /// [`Op::Softmax`]
    pub fn softmax(&mut self, name: &str, x: ValueId) -> Built {
        self.one(name, Op::Softmax, &[x])
    }

    /// [`Op::Cast`]; nothing is added when the value already has the type.
    pub fn cast(&mut self, name: &str, x: ValueId, to: DType) -> Built {
        if self.graph.value(x).dtype == to {
            return Ok(x);
        }
        self.one(name, Op::Cast(to), &[x])
    }

    /// [`Op::Pad`]
    pub fn pad(&mut self, name: &str, x: ValueId, paddings: &[(u64, u64)]) -> Built {
        self.one(name, Op::Pad(paddings.to_vec()), &[x])
    }

    /// [`Op::PadEnd`] by numbers that make `to`.
    pub fn pad_end(&mut self, name: &str, x: ValueId, by: ValueId, to: Vec<Dim>) -> Built {
        self.one(name, Op::PadEnd(to), &[x, by])
    }

    /// [`Op::Resize`] to a known size.
    pub fn resize(
        &mut self,
        name: &str,
        x: ValueId,
        method: ResizeMethod,
        size: [u64; 2],
        half_pixel_centers: bool,
    ) -> Built {
        let grid = if half_pixel_centers {
            PixelGrid::Centers
        } else {
            PixelGrid::Corners
        };
        self.resize_on(name, x, method, grid, size.map(Dim::Known), None)
    }

    /// [`Op::Resize`] to a size that is known, or else is `computed` at run time.
    pub fn resize_on(
        &mut self,
        name: &str,
        x: ValueId,
        method: ResizeMethod,
        grid: PixelGrid,
        size: [Dim; 2],
        computed: Option<ValueId>,
    ) -> Built {
        let inputs: Vec<ValueId> = std::iter::once(x).chain(computed).collect();
        let op = Op::Resize { method, size, grid };
        self.one(name, op, &inputs)
    }

    /// [`Op::CropAndResize`] to `[height, width]`; `images` says for each box which image it is of.
    pub fn crop_and_resize(
        &mut self,
        name: &str,
        x: ValueId,
        boxes: ValueId,
        images: ValueId,
        [height, width]: [u64; 2],
    ) -> Built {
        let op = Op::CropAndResize { height, width };
        self.one(name, op, &[x, boxes, images])
    }

    /// [`Op::ShapeOf`]
    pub fn shape_of(&mut self, name: &str, x: ValueId) -> Built {
        self.one(name, Op::ShapeOf, &[x])
    }

    /// [`Op::Range`] of `count` numbers, a vector of the size `dim`.
    pub fn range(&mut self, name: &str, count: ValueId, dim: Dim) -> Built {
        self.one(name, Op::Range(dim), &[count])
    }

    /// [`Op::Reshape`]; nothing is added when the value already has the shape.
    pub fn reshape(&mut self, name: &str, x: ValueId, shape: &[Dim]) -> Built {
        if self.shape(x).dims() == shape {
            return Ok(x);
        }
        self.one(name, Op::Reshape(shape.to_vec()), &[x])
    }

    /// [`Op::Transpose`]
    pub fn transpose(&mut self, name: &str, x: ValueId, order: &[usize]) -> Built {
        self.one(name, Op::Transpose(order.to_vec()), &[x])
    }

    /// [`Op::Concat`]
    pub fn concat(&mut self, name: &str, axis: usize, values: &[ValueId]) -> Built {
        self.one(name, Op::Concat { axis }, values)
    }

    /// [`Op::Slice`] of the last dimension.
    pub fn slice_last(&mut self, name: &str, x: ValueId, begin: u64, size: u64) -> Built {
        let mut ranges = vec![None; self.shape(x).rank()];
        if let Some(last) = ranges.last_mut() {
            *last = Some((begin, size));
        }
        self.one(name, Op::Slice(ranges), &[x])
    }

    /// [`Op::Unstack`]
    pub fn unstack(&mut self, name: &str, x: ValueId, axis: usize) -> Built<Vec<ValueId>> {
        self.add(name, Op::Unstack { axis }, &[x])
    }

    /// [`Op::Stack`]
    pub fn stack(&mut self, name: &str, axis: usize, values: &[ValueId]) -> Built {
        self.one(name, Op::Stack { axis }, values)
    }

    /// [`Op::Gather`] along the first dimension.
    pub fn gather(&mut self, name: &str, data: ValueId, indices: ValueId) -> Built {
        self.gather_batched(name, data, indices, 0)
    }

    /// [`Op::Gather`] where the leading `batch_dims` dimensions of data and indices are the same.
    pub fn gather_batched(
        &mut self,
        name: &str,
        data: ValueId,
        indices: ValueId,
        batch_dims: usize,
    ) -> Built {
        self.one(name, Op::Gather { batch_dims }, &[data, indices])
    }

    /// [`Op::Reduce`]
    pub fn reduce(&mut self, name: &str, kind: Reduce, x: ValueId, axes: &[usize]) -> Built {
        let axes = axes.to_vec();
        self.one(name, Op::Reduce { kind, axes }, &[x])
    }

    /// [`Op::ArgMax`]
    pub fn arg_max(&mut self, name: &str, x: ValueId, axis: usize) -> Built {
        self.one(name, Op::ArgMax { axis }, &[x])
    }

    /// [`Op::TopK`] of a known number: values and indices.
    pub fn top_k(&mut self, name: &str, x: ValueId, k: u64) -> Built<[ValueId; 2]> {
        self.top_k_of(name, x, Dim::Known(k), None)
    }

    /// [`Op::TopK`] of a number that is known, or else is `computed` at run time: values and indices.
    pub fn top_k_of(
        &mut self,
        name: &str,
        x: ValueId,
        k: Dim,
        computed: Option<ValueId>,
    ) -> Built<[ValueId; 2]> {
        let inputs: Vec<ValueId> = std::iter::once(x).chain(computed).collect();
        let outputs = self.add(name, Op::TopK { k }, &inputs)?;
        Ok([outputs[0], outputs[1]])
    }

    /// [`Op::NonMaxSuppression`]: indices, and how many are valid.
    pub fn non_max_suppression(
        &mut self,
        name: &str,
        boxes: ValueId,
        scores: ValueId,
        attrs: NmsAttrs,
    ) -> Built<[ValueId; 2]> {
        let outputs = self.add(name, Op::NonMaxSuppression(attrs), &[boxes, scores])?;
        Ok([outputs[0], outputs[1]])
    }

    /// [`Op::SoftNonMaxSuppression`]: indices, scores, and how many are valid.
    pub fn soft_non_max_suppression(
        &mut self,
        name: &str,
        boxes: ValueId,
        scores: ValueId,
        attrs: SoftNmsAttrs,
    ) -> Built<[ValueId; 3]> {
        let outputs = self.add(name, Op::SoftNonMaxSuppression(attrs), &[boxes, scores])?;
        Ok([outputs[0], outputs[1], outputs[2]])
    }

    /// [`Op::DecodeImage`]; `size` names height and width.
    pub fn decode_image(&mut self, name: &str, file: ValueId, size: [&str; 2]) -> Built {
        let size = size.map(Dim::symbol);
        self.one(name, Op::DecodeImage { size }, &[file])
    }

    /// [`Op::ExampleFeature`]
    pub fn example_feature(&mut self, name: &str, example: ValueId, key: &str) -> Built {
        let key = key.to_owned();
        self.one(name, Op::ExampleFeature { key }, &[example])
    }

    /// [`Op::Map`]. `write` writes the body: it is given the body's inputs (slices of the sliced ones) and declares its outputs.
    pub fn map<E: From<ValidateError>>(
        &mut self,
        name: &str,
        inputs: &[(ValueId, MapInput)],
        write: impl FnOnce(&mut Self, &[ValueId]) -> Result<(), E>,
    ) -> Result<Vec<ValueId>, E> {
        let mut body = Self::new(name);
        body.other_nodes = self.num_nodes();
        let inner: Vec<ValueId> = inputs
            .iter()
            .enumerate()
            .map(|(i, (value, kind))| {
                let value = self.graph.value(*value);
                let shape = match kind {
                    MapInput::Whole => value.shape.clone(),
                    MapInput::Sliced => value.shape.without_leading(),
                };
                body.input(&format!("arg_{i}"), value.dtype, shape)
            })
            .collect();
        write(&mut body, &inner)?;
        self.other_nodes = body.num_nodes() - self.graph.nodes.len();
        let op = Op::Map {
            body: Box::new(body.finish()),
            inputs: inputs.iter().map(|(_, kind)| *kind).collect(),
        };
        let values: Vec<ValueId> = inputs.iter().map(|(value, _)| *value).collect();
        Ok(self.add(name, op, &values)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::validate;

    #[test]
    fn names_are_scoped_and_unique() {
        let mut b = Builder::new("g");
        let x = b.input("x", DType::F32, Shape::known(&[1, 2, 2, 3]));
        let y: Built = b.scope("block", |b| {
            let y = b.unary("relu", Unary::Relu, x)?;
            b.unary("relu", Unary::Relu, y)
        });
        b.output("y", y.unwrap());
        let names: Vec<&str> = b.graph().nodes().map(|(_, n)| n.name.as_str()).collect();
        assert_eq!(names, ["x", "block/relu", "block/relu_1"]);
        validate(b.graph()).unwrap();
    }

    fn parameter(b: &mut Builder, name: &str) -> Built {
        b.parameter(ParameterSpec {
            name,
            path: vec!["layer".into(), name.into()],
            shape: &[3],
            trainable: true,
        })
    }

    #[test]
    fn graphs_have_an_end() {
        let mut b = Builder::new("g");
        let x = b.input("x", DType::F32, Shape::known(&[2]));
        let all: Result<Vec<ValueId>, ValidateError> =
            b.map("body", &[(x, MapInput::Sliced)], |b, inner| {
                for _ in 0..MAX_NODES / 2 {
                    b.unary("relu", Unary::Relu, inner[0])?;
                }
                let y = b.unary("relu", Unary::Relu, inner[0])?;
                b.output("y", y);
                Ok(())
            });
        all.unwrap();
        let written = b.num_nodes();
        let rest: Result<Vec<ValueId>, ValidateError> = (0..MAX_NODES)
            .map(|_| b.unary("relu", Unary::Relu, x))
            .collect();
        assert!(
            rest.unwrap_err()
                .to_string()
                .contains("limit of 262144 nodes")
        );
        assert_eq!(b.num_nodes(), MAX_NODES);
        let error = parameter(&mut b, "kernel").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("node `kernel` is beyond the limit")
        );
        assert_eq!(
            (b.num_nodes(), b.graph().parameters().len()),
            (MAX_NODES, 0)
        );
        assert!(written > MAX_NODES / 2 && b.graph().nodes().count() < MAX_NODES / 2);
    }

    #[test]
    fn an_error_names_the_node() {
        let mut b = Builder::new("g");
        let x = b.input("x", DType::F32, Shape::known(&[2]));
        let y = b.input("y", DType::F32, Shape::known(&[3]));
        let error = b
            .scope("head", |b| b.binary("sum", Binary::Add, x, y))
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("`head/sum`") && text.contains("f32[2], f32[3]"),
            "{text}"
        );
    }

    #[test]
    fn a_parameter_of_one_path_is_one_value() {
        let mut b = Builder::new("g");
        let first = parameter(&mut b, "kernel");
        assert_eq!(first, parameter(&mut b, "kernel"));
        assert_eq!(b.graph().parameters().len(), 1);
    }

    #[test]
    fn inputs_are_nodes_and_have_an_end_too() {
        let mut b = Builder::new("g");
        for _ in 0..MAX_NODES {
            b.input("x", DType::F32, Shape::known(&[2]));
        }
        validate(b.graph()).unwrap();
        let x = b.input("one_more", DType::F32, Shape::known(&[2]));
        for error in [
            b.unary("relu", Unary::Relu, x).unwrap_err(),
            validate(b.graph()).unwrap_err(),
        ] {
            assert!(
                error
                    .to_string()
                    .contains("beyond the limit of 262144 nodes"),
                "{error}"
            );
        }
    }
}
