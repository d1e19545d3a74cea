//! Writing a graph.
//!
//! A [`Builder`] appends nodes, names them within the current scope, infers their types, and refuses what does not fit, naming the node. It
//! has a method for each operation; results are handles that later nodes take.

mod ops;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use crate::ending::Ending;
use crate::graph::{Graph, Node, NodeId, Output, ParamId, Parameter, Value, ValueId};
use crate::infer::{Typed, infer};
use crate::op::Op;
use crate::tensor::{DType, Shape, Tensor};
use crate::validate::ValidateError;

/// The result of adding to a graph: a value, or an error that names the node.
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
    /// The names of the scopes that are open, each with a `/` behind it.
    scope: String,
    used: HashMap<String, u32>,
    /// Parameters by the hash of their path, which stands in the graph, with their values.
    shared: HashMap<u64, Vec<(ParamId, ValueId)>>,
    hashes: RandomState,
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
        let outer = self.scope.len();
        self.scope.push_str(name);
        self.scope.push('/');
        let result = body(self);
        self.scope.truncate(outer);
        result
    }

    /// The shape of a value.
    pub fn shape(&self, value: ValueId) -> &Shape {
        &self.graph.value(value).shape
    }

    /// A name of the current scope that no node has yet.
    fn unique(&mut self, name: &str) -> String {
        let mut full = [&self.scope, name].concat();
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

    /// Says what some formats have as one operator. Its values have to be there.
    pub fn end(&mut self, ending: Ending) {
        self.graph.ending = Some(ending);
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
        let hash = self.hashes.hash_one(&spec.path);
        let alike = self.shared.get(&hash).into_iter().flatten();
        let mut same = alike.filter(|(id, _)| self.graph.parameter(*id).path == spec.path);
        if let Some((_, value)) = same.next() {
            return Ok(*value);
        }
        let name = self.unique(spec.name);
        self.check_room(&name)?;
        let id = ParamId::at(self.graph.parameters.len());
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
        self.shared.entry(hash).or_default().push((id, value));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Binary, MapInput, Unary};
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
