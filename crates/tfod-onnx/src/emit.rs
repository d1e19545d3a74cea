//! The ONNX graph while it is written: tensors with types, nodes, and initialisers.
//!
//! Lowering only ever adds. What nothing needs in the end (a transposed copy that was not used, the slices of a split whose whole was
//! taken) goes in [`Emitter::finish`], so lowering needs no foresight.

use std::collections::{HashMap, HashSet};

use tfod_graph::{DType, Dim, Shape};

use crate::proto::attribute_proto::AttributeType;
use crate::proto::tensor_proto::DataType;
use crate::proto::tensor_shape_proto::{Dimension, dimension};
use crate::proto::{
    AttributeProto, GraphProto, NodeProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};
use crate::stored::{Key, Stored};

/// An element type and a shape.
pub(crate) type Typed = (DType, Shape);

/// Names a tensor of the model being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TensorId(usize);

impl TensorId {
    /// What stands in the place of an optional input that is not given. ONNX writes it as an empty name.
    pub(crate) const ABSENT: Self = Self(0);
}

/// An attribute of a node.
#[derive(Clone, Debug)]
pub(crate) enum Attr {
    Int(&'static str, i64),
    Ints(&'static str, Vec<i64>),
    Float(&'static str, f32),
    Text(&'static str, &'static str),
}

#[derive(Debug)]
struct ModelTensor {
    name: String,
    typed: Typed,
}

#[derive(Debug)]
struct Node {
    name: String,
    op: &'static str,
    inputs: Vec<TensorId>,
    outputs: Vec<TensorId>,
    attrs: Vec<Attr>,
}

/// A tensor held by the model.
#[derive(Debug)]
pub(crate) struct Initializer<'a> {
    pub(crate) name: String,
    pub(crate) stored: Stored<'a>,
}

/// A graph being written; see the [module](self).
#[derive(Debug)]
pub(crate) struct Emitter<'a> {
    taken: HashSet<String>,
    tensors: Vec<ModelTensor>,
    nodes: Vec<Node>,
    inputs: Vec<TensorId>,
    outputs: Vec<TensorId>,
    /// In the order of their identifiers.
    initializers: Vec<(TensorId, Stored<'a>)>,
    shared: HashMap<Key, TensorId>,
}

impl<'a> Emitter<'a> {
    /// An empty graph in which no tensor gets one of the names in `reserved` by itself.
    pub(crate) fn new(reserved: impl IntoIterator<Item = String>) -> Self {
        let absent = ModelTensor {
            name: String::new(),
            typed: (DType::F32, Shape::scalar()),
        };
        Self {
            taken: reserved.into_iter().collect(),
            tensors: vec![absent],
            nodes: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            initializers: Vec::new(),
            shared: HashMap::new(),
        }
    }

    /// `stem`, or the first of `stem_1`, `stem_2`, … that is free.
    fn fresh(&mut self, stem: &str) -> String {
        let mut name = stem.to_owned();
        let mut count = 0u64;
        while !self.taken.insert(name.clone()) {
            count += 1;
            name = format!("{stem}_{count}");
        }
        name
    }

    fn tensor(&mut self, name: String, typed: Typed) -> TensorId {
        self.tensors.push(ModelTensor { name, typed });
        TensorId(self.tensors.len() - 1)
    }

    pub(crate) fn name(&self, id: TensorId) -> &str {
        &self.tensors[id.0].name
    }

    pub(crate) fn dtype(&self, id: TensorId) -> DType {
        self.tensors[id.0].typed.0
    }

    pub(crate) fn dims(&self, id: TensorId) -> &[Dim] {
        self.tensors[id.0].typed.1.dims()
    }

    /// A tensor that the caller supplies, under a reserved name.
    pub(crate) fn input(&mut self, name: &str, typed: Typed) -> TensorId {
        let id = self.tensor(name.to_owned(), typed);
        self.inputs.push(id);
        id
    }

    /// A tensor held by the model; tensors of equal contents are one, and keep the first one's name.
    pub(crate) fn initializer(&mut self, name: &str, stored: Stored<'a>) -> TensorId {
        let key = stored.key();
        if let Some(&id) = self.shared.get(&key) {
            return id;
        }
        let name = self.fresh(name);
        let typed = (stored.dtype(), Shape::known(&stored.shape()));
        let id = self.tensor(name, typed);
        self.initializers.push((id, stored));
        self.shared.insert(key, id);
        id
    }

    /// The elements of a tensor that the model holds; `None` for one that is known only at run time.
    pub(crate) fn held(&self, id: TensorId) -> Option<&Stored<'a>> {
        let place = self.initializers.binary_search_by_key(&id, |(id, _)| *id);
        let (_, stored) = self.initializers.get(place.ok()?)?;
        Some(stored)
    }

    /// A node of one result, which has the node's name.
    pub(crate) fn add(
        &mut self,
        name: &str,
        op: &'static str,
        inputs: &[TensorId],
        attrs: Vec<Attr>,
        typed: Typed,
    ) -> TensorId {
        let name = self.fresh(name);
        let output = self.tensor(name.clone(), typed);
        self.push(name, op, inputs, attrs, vec![output]);
        output
    }

    /// A node of two results, `name` and `name:1`.
    pub(crate) fn add_pair(
        &mut self,
        name: &str,
        op: &'static str,
        inputs: &[TensorId],
        attrs: Vec<Attr>,
        [first, second]: [Typed; 2],
    ) -> [TensorId; 2] {
        let name = self.fresh(name);
        let first = self.tensor(name.clone(), first);
        let second_name = self.fresh(&format!("{name}:1"));
        let second = self.tensor(second_name, second);
        self.push(name, op, inputs, attrs, vec![first, second]);
        [first, second]
    }

    fn push(
        &mut self,
        name: String,
        op: &'static str,
        inputs: &[TensorId],
        attrs: Vec<Attr>,
        outputs: Vec<TensorId>,
    ) {
        self.nodes.push(Node {
            name,
            op,
            inputs: inputs.to_vec(),
            outputs,
            attrs,
        });
    }

    /// Makes a tensor a result under a reserved name. A computed tensor takes the name; one that has a name outside already is copied.
    pub(crate) fn output(&mut self, key: &str, id: TensorId) {
        let is_computed = self.nodes.iter().any(|node| node.outputs.contains(&id));
        let id = if is_computed && !self.outputs.contains(&id) {
            id
        } else {
            let typed = self.tensors[id.0].typed.clone();
            self.add(key, "Identity", &[id], Vec::new(), typed)
        };
        key.clone_into(&mut self.tensors[id.0].name);
        self.outputs.push(id);
    }

    /// The finished graph without its initialisers, and these, in the order of their first use.
    pub(crate) fn finish(mut self, graph: &str) -> (GraphProto, Vec<Initializer<'a>>) {
        let mut needed: HashSet<TensorId> = self.outputs.iter().copied().collect();
        let mut kept = Vec::new();
        for node in std::mem::take(&mut self.nodes).into_iter().rev() {
            if node.outputs.iter().any(|id| needed.contains(id)) {
                needed.extend(&node.inputs);
                // Operators that give several tensors must give them all, but for optional ones, which none of these has.
                needed.extend(&node.outputs);
                kept.push(node);
            }
        }
        kept.reverse();
        let info = |ids: &[TensorId]| ids.iter().map(|id| self.value_info(*id)).collect();
        let between = kept.iter().flat_map(|node| &node.outputs);
        let between = between.filter(|id| needed.contains(id) && !self.outputs.contains(id));
        let graph = GraphProto {
            name: Some(graph.to_owned()),
            input: info(&self.inputs),
            output: info(&self.outputs),
            value_info: between.map(|id| self.value_info(*id)).collect(),
            node: kept.iter().map(|node| self.node(node)).collect(),
            initializer: Vec::new(),
        };
        let initializers = self.initializers.into_iter();
        let initializers = initializers.filter(|(id, _)| needed.contains(id));
        let tensors = &self.tensors;
        let initializers = initializers.map(|(id, stored)| Initializer {
            name: tensors[id.0].name.clone(),
            stored,
        });
        (graph, initializers.collect())
    }

    fn node(&self, node: &Node) -> NodeProto {
        let name = |id: &TensorId| self.tensors[id.0].name.clone();
        NodeProto {
            input: node.inputs.iter().map(&name).collect(),
            output: node.outputs.iter().map(name).collect(),
            name: Some(node.name.clone()),
            op_type: Some(node.op.to_owned()),
            attribute: node.attrs.iter().map(attribute).collect(),
        }
    }

    fn value_info(&self, id: TensorId) -> ValueInfoProto {
        let ModelTensor { name, typed } = &self.tensors[id.0];
        let (dtype, shape) = typed;
        let dim = |dim: &Dim| Dimension {
            value: Some(match dim {
                // Beyond the signed range no tensor exists; lowering has refused it.
                Dim::Known(n) => dimension::Value::DimValue(i64::try_from(*n).unwrap_or(i64::MAX)),
                Dim::Unknown(formula) => dimension::Value::DimParam(formula.to_string()),
            }),
        };
        let tensor = type_proto::Tensor {
            elem_type: Some(data_type(*dtype).into()),
            shape: Some(TensorShapeProto {
                dim: shape.dims().iter().map(dim).collect(),
            }),
        };
        ValueInfoProto {
            name: Some(name.clone()),
            r#type: Some(TypeProto {
                value: Some(type_proto::Value::TensorType(tensor)),
            }),
        }
    }
}

fn attribute(attr: &Attr) -> AttributeProto {
    let named = |name: &str, r#type: AttributeType| AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(r#type.into()),
        ..AttributeProto::default()
    };
    match attr {
        Attr::Int(name, value) => AttributeProto {
            i: Some(*value),
            ..named(name, AttributeType::Int)
        },
        Attr::Ints(name, values) => AttributeProto {
            ints: values.clone(),
            ..named(name, AttributeType::Ints)
        },
        Attr::Float(name, value) => AttributeProto {
            f: Some(*value),
            ..named(name, AttributeType::Float)
        },
        Attr::Text(name, value) => AttributeProto {
            s: Some(value.as_bytes().to_vec()),
            ..named(name, AttributeType::String)
        },
    }
}

/// ONNX's number for an element type.
pub(crate) fn data_type(dtype: DType) -> DataType {
    match dtype {
        DType::F32 => DataType::Float,
        DType::I32 => DataType::Int32,
        DType::I64 => DataType::Int64,
        DType::U8 => DataType::Uint8,
        DType::Bool => DataType::Bool,
        DType::String => DataType::String,
    }
}
