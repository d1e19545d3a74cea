//! The result: a graph of constants, with the tensors that go in and come out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tfod_checkpoint::DType;
use tfod_proto::{TensorShapeProto, tensor_shape_proto};

use crate::messages::tensor::MAX_RANK;
use crate::op_defs;

use super::constants::Store;
use super::error::{FreezeError, NodePlace, Update};
use super::file::File;
use super::functions::{ARGUMENT, KeptFunction};
use super::graph::{Graph, Node, NodeId, Tensor};
use super::model::FunctionRef;
use super::names::Names;
use super::prune::{Cycle, prune};
use super::table_ops::fills_table;
use super::wire::attr;

/// A SavedModel's signature as one graph without variables, ready to be written.
///
/// Made by [`SavedModelReader::freeze`](super::SavedModelReader::freeze). It borrows the constants that are in `saved_model.pb`; those of
/// variables are read when it is written.
#[derive(Debug)]
pub struct Frozen<'a> {
    pub(crate) file: &'a File,
    pub(crate) graph: Graph<'a>,
    pub(crate) listing: Listing,
    pub(crate) functions: Vec<(KeptFunction<'a>, Listing)>,
    pub(crate) store: Store,
    pub(crate) producer: i32,
    pub(crate) dropped_updates: Vec<Update>,
    /// The node that fills all tables.
    pub(crate) initialiser: Option<NodeId>,
    /// The nodes that make tables.
    pub(crate) tables: Vec<NodeId>,
    pub(crate) other_tags: Option<String>,
    /// Whether it was asked to have large constants in half precision.
    pub(crate) is_halved: bool,
    pub(crate) inputs: Vec<Interface>,
    pub(crate) outputs: Vec<Interface>,
}

/// An input or output before names are given.
#[derive(Debug)]
pub(crate) struct Interface {
    pub(crate) key: String,
    pub(crate) tensor: Tensor,
    pub(crate) dtype: Option<DType>,
    pub(crate) shape: Option<Vec<Option<u64>>>,
}

/// The dimensions of a shape, `None` for those that are not known; `None` if not even their number is.
pub(crate) fn shape_of(shape: &TensorShapeProto) -> Option<Vec<Option<u64>>> {
    let size = |dim: &tensor_shape_proto::Dim| u64::try_from(dim.size).ok();
    let is_known = !shape.unknown_rank && shape.dim.len() <= MAX_RANK;
    is_known.then(|| shape.dim.iter().map(size).collect())
}

/// An input or output of a frozen graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The key in the signature, such as `detection_boxes`.
    pub key: String,
    /// The name of the tensor, such as `Identity_1:0`.
    pub tensor: String,
    /// The type of its elements; `None` where the file does not say.
    pub dtype: Option<DType>,
    /// Its dimensions, `None` for those known only at run time; `None` if not even their number is known.
    pub shape: Option<Vec<Option<u64>>>,
}

/// A lookup table of a frozen graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrozenTable {
    /// The node that makes it.
    pub node: String,
    /// The type of its keys.
    pub key_dtype: Option<DType>,
    /// The type of its values.
    pub value_dtype: Option<DType>,
    /// How many entries it is filled with, where constants fill it.
    pub entries: Option<u64>,
}

/// The nodes of a graph or function as they are written: their order and names.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) order: Vec<NodeId>,
    names: HashMap<NodeId, String>,
    /// Whether tensors are named by output argument, as in functions.
    is_function: bool,
}

impl Listing {
    /// Names nodes: first those of `fixed`, then the others in their order.
    pub(crate) fn new(
        graph: &Graph<'_>,
        order: Vec<NodeId>,
        fixed: &[NodeId],
        is_function: bool,
    ) -> Self {
        let mut given = Names::default();
        let mut names = HashMap::with_capacity(order.len());
        for &id in fixed.iter().chain(&order) {
            names
                .entry(id)
                .or_insert_with(|| given.unique(&graph.node(id).name));
        }
        let order = order
            .into_iter()
            .filter(|&id| graph.node(id).op != ARGUMENT)
            .collect();
        Self {
            order,
            names,
            is_function,
        }
    }

    pub(crate) fn name(&self, id: NodeId) -> &str {
        self.names.get(&id).map_or("", String::as_str)
    }

    /// A tensor, as an input names it.
    pub(crate) fn tensor(&self, graph: &Graph<'_>, tensor: Tensor) -> Result<String, FreezeError> {
        let name = self.name(tensor.node);
        let node = graph.node(tensor.node);
        if !self.is_function {
            return Ok(if tensor.port == 0 {
                name.to_owned()
            } else {
                format!("{name}:{}", tensor.port)
            });
        }
        if node.op == ARGUMENT {
            return Ok(name.to_owned());
        }
        let problem = |problem: String| {
            std::io::Error::other(format!("node `{name}` ({}): {problem}", node.op))
        };
        let def = op_defs::find(&node.op).ok_or_else(|| {
            problem("TensorFlow has no such operation, so a function cannot name its outputs; let control flow be lowered".to_owned())
        })?;
        let (arg, index) = def
            .output_at(node.attrs.as_slice(), tensor.port as usize)
            .map_err(problem)?;
        Ok(format!("{name}:{arg}:{index}"))
    }

    /// The inputs of a node, control inputs last.
    pub(crate) fn inputs(&self, graph: &Graph<'_>, id: NodeId) -> Result<Vec<String>, FreezeError> {
        let node = graph.node(id);
        let mut inputs = Vec::with_capacity(node.inputs.len() + node.controls.len());
        for &input in &node.inputs {
            inputs.push(self.tensor(graph, input)?);
        }
        inputs.extend(
            node.controls
                .iter()
                .chain(&node.pivot)
                .map(|&control| format!("^{}", self.name(control))),
        );
        Ok(inputs)
    }

    /// The nodes that run whenever a function is called.
    pub(crate) fn controls(&self, function: &KeptFunction<'_>) -> Vec<&str> {
        function
            .controls
            .iter()
            .map(|&control| self.name(control))
            .collect()
    }
}

/// Prunes and names the nodes between the inputs and outputs.
pub(crate) fn list(
    file: &File,
    graph: &mut Graph<'_>,
    inputs: &[Interface],
    outputs: &[Interface],
    initialiser: Option<NodeId>,
) -> Result<Listing, FreezeError> {
    let ends = inputs.iter().chain(outputs).map(|end| end.tensor.node);
    let pinned: Vec<NodeId> = ends.chain(initialiser).collect();
    let order = prune(graph, &pinned, &mut []).map_err(|found| cycle(file, graph, &found))?;
    Ok(Listing::new(graph, order, &pinned, false))
}

/// Gives up on nodes that depend on each other.
fn cycle(file: &File, graph: &Graph<'_>, Cycle(node): &Cycle) -> FreezeError {
    let node = graph.node(*node);
    let place = Box::new(NodePlace {
        function: None,
        node: node.name.clone(),
        op: node.op.to_string(),
    });
    FreezeError::Graph {
        path: file.path.clone(),
        place,
        problem: "it depends on itself".to_owned(),
    }
}

/// Prunes and names a kept function.
pub(crate) fn list_function(
    file: &File,
    function: &mut KeptFunction<'_>,
) -> Result<Listing, FreezeError> {
    // Of the nodes that are to run at each call, only those with effects matter.
    let graph = &function.graph;
    function.controls.retain(|&node| graph.node(node).is_effect);
    function.controls.sort_unstable();
    function.controls.dedup();
    let mut results: Vec<Tensor> = function
        .outputs
        .iter()
        .map(|(_, _, tensor)| *tensor)
        .collect();
    let order = prune(&mut function.graph, &function.controls, &mut results)
        .map_err(|found| cycle(file, &function.graph, &found))?;
    for (output, tensor) in function.outputs.iter_mut().zip(results) {
        output.2 = tensor;
    }
    let arguments: Vec<NodeId> = function.inputs.iter().map(|(_, node)| *node).collect();
    Ok(Listing::new(&function.graph, order, &arguments, true))
}

impl Frozen<'_> {
    /// Lists the nodes anew, after some were changed.
    pub(crate) fn list_again(&mut self) -> Result<(), FreezeError> {
        self.listing = list(
            self.file,
            &mut self.graph,
            &self.inputs,
            &self.outputs,
            self.initialiser,
        )?;
        Ok(())
    }

    fn endpoint(&self, interface: &Interface) -> Endpoint {
        let Interface {
            key,
            tensor,
            dtype,
            shape,
        } = interface;
        let tensor = format!("{}:{}", self.listing.name(tensor.node), tensor.port);
        Endpoint {
            key: key.clone(),
            tensor,
            dtype: *dtype,
            shape: shape.clone(),
        }
    }

    /// The inputs, in the bytewise order of their keys.
    pub fn inputs(&self) -> Vec<Endpoint> {
        self.inputs
            .iter()
            .map(|input| self.endpoint(input))
            .collect()
    }

    /// The outputs, in the bytewise order of their keys.
    pub fn outputs(&self) -> Vec<Endpoint> {
        self.outputs
            .iter()
            .map(|output| self.endpoint(output))
            .collect()
    }

    /// The assignments to variables that were dropped.
    pub fn dropped_updates(&self) -> &[Update] {
        &self.dropped_updates
    }

    /// The operation that fills the graph's tables, to be run once before the first call; `None` where there are no tables.
    pub fn initialiser(&self) -> Option<&str> {
        self.initialiser.map(|node| self.listing.name(node))
    }

    /// The graph's lookup tables.
    pub fn tables(&self) -> Vec<FrozenTable> {
        let table = |&id: &NodeId| {
            let node = self.graph.node(id);
            let dtype = |name| node.data_type_attr(name).and_then(DType::from_proto);
            let fills = self.listing.order.iter().map(|&node| self.graph.node(node));
            let mut fills = fills.filter(|node| fills_table(&node.op));
            let fill = fills.find(|fill| fill.inputs.first() == Some(&Tensor::of(id)));
            let keys = fill.and_then(|fill| Some(self.graph.node(fill.inputs.get(1)?.node)));
            // A table that is stored with its empty places does not tell how many entries it has.
            let keys = keys.and_then(|keys| keys.content.as_ref());
            FrozenTable {
                node: self.listing.name(id).to_owned(),
                key_dtype: dtype("key_dtype"),
                value_dtype: dtype("value_dtype"),
                entries: keys.and_then(|keys| Some(*self.store.shape(keys).first()? as u64)),
            }
        };
        self.tables.iter().map(table).collect()
    }

    /// The tags of the graph, where none were asked for, none is tagged `serve`, and it was taken as the only one.
    pub fn other_tags(&self) -> Option<&str> {
        self.other_tags.as_deref()
    }

    /// The operations of the graph, functions included, that no release of TensorFlow has: a library must be loaded to run it.
    pub fn custom_operations(&self) -> BTreeSet<&str> {
        self.operations()
            .filter(|op| op_defs::find(op).is_none() && *op != "_SwitchN")
            .collect()
    }

    /// The operations of the graph, functions included, that call a Python function, which is in no file.
    pub fn python_operations(&self) -> BTreeSet<&str> {
        self.operations()
            .filter(|op| matches!(*op, "PyFunc" | "PyFuncStateless" | "EagerPyFunc"))
            .collect()
    }

    /// The functions that are called by nodes, because the model forbids to inline them.
    pub fn called_functions(&self) -> BTreeSet<&str> {
        let calls = self
            .nodes()
            .filter(|node| node.op.ends_with("PartitionedCall"));
        let function = |node| attr::func(Node::attr(node, "f")?);
        let functions = calls.filter_map(function).filter_map(FunctionRef::parse);
        functions.map(|function| function.name).collect()
    }

    fn operations(&self) -> impl Iterator<Item = &str> {
        self.nodes().map(|node| &*node.op)
    }

    /// The nodes of the graph and of its functions.
    fn nodes(&self) -> impl Iterator<Item = &Node<'_>> {
        let main = (&self.graph, &self.listing);
        let functions = self.functions.iter();
        let all = functions.map(|(function, listing)| (&function.graph, listing));
        let all = std::iter::once(main).chain(all);
        all.flat_map(|(graph, listing)| listing.order.iter().map(|&node| graph.node(node)))
    }

    /// How many nodes there are, without those of functions.
    pub fn num_nodes(&self) -> usize {
        self.listing.order.len()
    }

    /// The names of the functions that stayed functions.
    pub fn functions(&self) -> impl ExactSizeIterator<Item = &str> {
        self.functions
            .iter()
            .map(|(function, _)| function.name.as_str())
    }

    /// How many nodes there are of each operation, without those of functions.
    pub fn op_counts(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for &node in &self.listing.order {
            *counts.entry(&*self.graph.node(node).op).or_default() += 1;
        }
        counts
    }

    /// Name and size in bytes of each constant, in the order of the nodes.
    ///
    /// # Errors
    ///
    /// [`FreezeError::Variables`] if a string variable is damaged.
    pub fn constants(&self) -> Result<Vec<(&str, u64)>, FreezeError> {
        let mut constants = Vec::new();
        for &id in &self.listing.order {
            if let Some(content) = &self.graph.node(id).content {
                constants.push((self.listing.name(id), self.store.tensor_len(content)?));
            }
        }
        Ok(constants)
    }
}
