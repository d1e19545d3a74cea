//! What a graph computes from constants alone.
//!
//! Programs that write graphs differ in what they store and what they have computed at run time: anchors, normalised weights, factors. To compare two graphs,
//! what each of them computes from nothing but constants is computed here, by TensorFlow's rules, and told in place of what it is computed from.
//! Only tensors that something else than such a computation reads are told, so a graph that stores a value and one that computes it tell the same.

mod array;
mod evaluate;
mod flat;
mod ops;

use std::collections::{BTreeMap, BTreeSet};

use tfod_proto::wire::Malformed;

use crate::freeze::Frozen;

pub use array::Decoded;
pub(crate) use array::{Array, Data, num_elements};
pub(crate) use flat::{FlatGraph, FlatNode, Stored, Tensor as FlatTensor};
pub(crate) use ops::{Operation, compute, place};

/// The constants of a graph, as what runs at run time reads them.
#[derive(Clone, Debug, Default)]
pub struct GraphConstants {
    /// Constants that are stored in the graph, and read as they are or computed from.
    pub stored: Vec<StoredConstant>,
    /// What is computed from constants.
    pub computed: Vec<ComputedConstant>,
    /// The keys of variables that are read as they are. Of a `GraphDef`, which has none, this is empty.
    pub variables: BTreeSet<String>,
    /// How many nodes of each operation run, which those do not that nothing needs or that depend on constants alone.
    pub running: BTreeMap<String, u64>,
}

/// A constant of the graph.
#[derive(Clone, Debug)]
pub struct StoredConstant {
    /// The node's name.
    pub name: String,
    /// Whether something reads it as it is; else it is only computed from.
    pub is_read: bool,
    /// Its value; `None` where it is of a type without numbers, or damaged, or where the caller has it.
    pub value: Option<Decoded>,
}

/// A tensor that is computed from constants.
#[derive(Clone, Debug)]
pub struct ComputedConstant {
    /// The name of the node that computes it.
    pub name: String,
    /// Its value.
    pub value: Decoded,
    /// The stored constants that it is computed from: nodes' names, and keys of variables.
    pub from: BTreeSet<String>,
    /// Whether any of these is of floats. What is computed from integers alone is sizes, places and such.
    pub is_from_floats: bool,
    /// Whether any of these is of floats that are not all one number.
    pub is_from_varied: bool,
}

impl Frozen<'_> {
    /// What it computes from constants, and which constants it reads as they are.
    pub fn constant_values(&self) -> GraphConstants {
        evaluate::constants(&FlatGraph::of_frozen(self).graph, true)
    }
}

/// What a graph without variables computes from constants, and the names of those that it reads as they are; their values are left to the caller.
///
/// # Errors
///
/// If it is no encoded `GraphDef`.
pub fn constants_of_graph(graph_def: &[u8]) -> Result<GraphConstants, Malformed> {
    let graph = FlatGraph::of_graph_def(graph_def)?;
    Ok(evaluate::constants(&graph, false))
}
