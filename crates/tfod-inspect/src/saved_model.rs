//! SavedModels: signatures, the graphs behind them, the variables beside them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tfod_checkpoint::DType;
use tfod_proto::prost::Message as _;
use tfod_proto::wire::{Field, Fields, map_entry};
use tfod_proto::{AssetFileDef, SignatureDef, TensorInfo as TensorDef};

use crate::error::{Damage, push};
use crate::graph::{self, Dim, GraphFacts, Port};
use crate::tensors::StoredTensor;

/// No file that somebody uses has more.
const MAX_GRAPHS: usize = 64;

/// What a SavedModel is made of.
#[derive(Clone, Debug, Default)]
pub struct SavedModelFacts {
    /// Its graphs; nearly always one.
    pub graphs: Vec<MetaGraph>,
    /// How many variables there are beside it, and their bytes; `None` if their index is absent.
    pub variables: Option<crate::Amount>,
    /// Whether the data of all variables is there.
    pub has_data: bool,
}

/// A `MetaGraphDef`: a graph with its tags, signatures and assets.
#[derive(Clone, Debug, Default)]
pub struct MetaGraph {
    /// What it is for: `serve`.
    pub tags: Vec<String>,
    /// The release that wrote it, as it says.
    pub tensorflow_version: String,
    /// Whether it holds objects, as those of TensorFlow 2 do.
    pub has_objects: bool,
    /// By key.
    pub signatures: BTreeMap<String, Signature>,
    /// Files that it needs, in `assets`.
    pub assets: Vec<String>,
    /// The graph.
    pub graph: GraphFacts,
}

impl MetaGraph {
    pub(crate) fn json(&self) -> Value {
        let signatures = self.signatures.iter();
        let signatures: Map<String, Value> = signatures
            .map(|(key, signature)| (key.clone(), signature.json()))
            .collect();
        let mut members = self.graph.json();
        let mut add = |name: &str, value| members.insert(name.to_owned(), value);
        add("tags", json!(self.tags));
        add("tensorflow_version", json!(self.tensorflow_version));
        add("has_objects", json!(self.has_objects));
        add("signatures", json!(signatures));
        add("assets", json!(self.assets));
        Value::Object(members)
    }
}

/// Tensors with names, as a caller sees a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    /// `tensorflow/serving/predict`.
    pub method: String,
    /// By key.
    pub inputs: Vec<Port>,
    /// By key.
    pub outputs: Vec<Port>,
}

impl Signature {
    fn json(&self) -> Value {
        let ports = |ports: &[Port]| ports.iter().map(Port::json).collect::<Vec<_>>();
        json!({
            "method": self.method,
            "inputs": ports(&self.inputs),
            "outputs": ports(&self.outputs),
        })
    }
}

impl SavedModelFacts {
    pub(crate) fn json(&self) -> Value {
        let graphs = self.graphs.iter().map(MetaGraph::json);
        json!({
            "graphs": graphs.collect::<Vec<_>>(),
            "variables": self.variables.map(|all| json!({ "tensors": all.tensors, "bytes": all.bytes, "data_present": self.has_data })),
        })
    }

    /// The operations of all graphs.
    pub fn ops(&self) -> BTreeMap<String, u64> {
        let mut ops = BTreeMap::new();
        for (op, count) in self.graphs.iter().flat_map(|graph| &graph.graph.ops) {
            *ops.entry(op.clone()).or_default() += count;
        }
        ops
    }

    /// The inputs of all signatures.
    pub(crate) fn inputs(&self) -> Vec<&Port> {
        let signatures = self
            .graphs
            .iter()
            .flat_map(|graph| graph.signatures.values());
        signatures.flat_map(|signature| &signature.inputs).collect()
    }
}

/// Reads `saved_model.pb`; constants are added to `tensors`.
pub(crate) fn scan(
    file: &[u8],
    tensors: &mut Vec<StoredTensor>,
) -> Result<SavedModelFacts, Damage> {
    let mut facts = SavedModelFacts::default();
    for field in Fields::of(file) {
        if let (2, Field::Bytes(message)) = field? {
            if facts.graphs.len() == MAX_GRAPHS {
                return Err(Damage::new(message, "there are too many graphs"));
            }
            facts.graphs.push(meta_graph(file, message, tensors)?);
        }
    }
    Ok(facts)
}

/// Reads a `MetaGraphDef`, which a `.meta` file of TensorFlow 1 is, too.
pub(crate) fn meta_graph(
    file: &[u8],
    message: &[u8],
    tensors: &mut Vec<StoredTensor>,
) -> Result<MetaGraph, Damage> {
    let mut found = MetaGraph::default();
    let mut has_stripped_ops = false;
    for field in Fields::of(message) {
        if let (1, Field::Bytes(about)) = field? {
            for field in Fields::of(about) {
                let (number, field) = field?;
                let text = || field.text().unwrap_or_default();
                match number {
                    2 => has_stripped_ops = true,
                    4 => found.tags.push(text()),
                    5 => found.tensorflow_version = text(),
                    _ => {}
                }
            }
        }
    }
    for field in Fields::of(message) {
        match field? {
            (2, Field::Bytes(graph)) => {
                found.graph = graph::scan(file, graph, has_stripped_ops, tensors)?;
            }
            (5, Field::Bytes(entry)) => {
                let (key, value) = map_entry::<String>(entry)?;
                let problem = "a signature is no message of one";
                let def = SignatureDef::decode(value).map_err(|_| Damage::new(value, problem))?;
                found.signatures.insert(key, signature(def));
            }
            (6, Field::Bytes(asset)) => {
                let problem = "an asset is no message of one";
                let asset = AssetFileDef::decode(asset).map_err(|_| Damage::new(asset, problem))?;
                push(&mut found.assets, asset.filename, message)?;
            }
            (7, Field::Bytes(_)) => found.has_objects = true,
            _ => {}
        }
    }
    Ok(found)
}

fn signature(def: SignatureDef) -> Signature {
    let ports = |ports: BTreeMap<String, TensorDef>| ports.into_iter().map(port).collect();
    Signature {
        method: def.method_name,
        inputs: ports(def.inputs),
        outputs: ports(def.outputs),
    }
}

fn port((key, def): (String, TensorDef)) -> Port {
    let dims = |shape: tfod_proto::TensorShapeProto| -> Option<Vec<Dim>> {
        let dims = shape.dim.into_iter().map(|dim| graph::dim(dim.size));
        (!shape.unknown_rank).then(|| dims.collect())
    };
    Port {
        key,
        tensor: def.name,
        dtype: DType::from_proto(def.dtype),
        shape: def.tensor_shape.and_then(dims),
    }
}
