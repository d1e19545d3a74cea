//! The object graph of a checkpoint: which Python object held which variable, under which names.
//!
//! A node is an object; its children are the objects it refers to by name, its attributes the values saved for it, each
//! with the key of a tensor. Node 0 is the `tf.train.Checkpoint` itself. Objects refer to each other freely, so there are
//! cycles, and most objects can be reached by several paths: a variable is stored once, under the shortest of them, and
//! is found by walking the graph, not by making up its key from a path. Specified by TensorFlow's
//! `trackable_object_graph.proto`.

use std::collections::{BTreeSet, HashSet, VecDeque};

use tfod_proto::TrackableObjectGraph;
use tfod_proto::prost::Message;
use tfod_proto::trackable_object_graph::TrackableObject;
use tfod_proto::trackable_object_graph::trackable_object::{ObjectReference, SerializedTensor};

use crate::Error;

/// The name of the attribute that holds a variable's value.
pub const VARIABLE_VALUE: &str = "VARIABLE_VALUE";

/// The local name of the counter that `tf.train.Checkpoint.save` keeps and expects to restore.
pub const SAVE_COUNTER: &str = "save_counter";

/// The largest message that is decoded, in bytes; those of the largest models have some millions. The smallest node has two bytes, and takes some hundred
/// in memory.
const MAX_SIZE: usize = 64 << 20;

/// An object graph whose references all lead to nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectGraph {
    /// Never empty.
    nodes: Vec<TrackableObject>,
}

/// A node of one object graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(usize);

impl NodeId {
    /// The node everything is reached from.
    pub const ROOT: Self = Self(0);

    /// Its number in the graph's message.
    pub fn index(self) -> usize {
        self.0
    }
}

/// A value saved for an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its name; [`VARIABLE_VALUE`] for that of a variable.
    pub name: &'a str,
    /// The variable's name in Python, such as `conv1/kernel`; may be empty, need not be unique.
    pub full_name: &'a str,
    /// The tensor that holds it.
    pub checkpoint_key: &'a str,
}

/// A variable that an optimizer keeps for another variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot<'a> {
    /// Such as `momentum`.
    pub name: &'a str,
    /// The variable it is for.
    pub original: NodeId,
    /// The node of the slot itself, which is nobody's child.
    pub slot: NodeId,
}

impl ObjectGraph {
    /// Decodes the graph's message. `place` is what errors call its source.
    ///
    /// # Errors
    ///
    /// [`Error::ObjectGraph`] if the bytes are no such message, a reference leads nowhere, or two children of an object have one name.
    pub fn decode(bytes: &[u8], place: &str) -> Result<Self, Error> {
        let fail = |problem| Error::ObjectGraph {
            place: place.to_owned(),
            problem,
        };
        if bytes.len() > MAX_SIZE {
            let size = bytes.len();
            return Err(fail(format!("it has {size} bytes, more than {MAX_SIZE}")));
        }
        let proto = TrackableObjectGraph::decode(bytes).map_err(|error| fail(error.to_string()))?;
        let count = proto.nodes.len();
        if count == 0 {
            return Err(fail("it has no nodes".to_owned()));
        }
        for (number, node) in proto.nodes.iter().enumerate() {
            let children = node.children.iter().map(|child| child.node_id);
            let slots = node.slot_variables.iter();
            let slots =
                slots.flat_map(|slot| [slot.original_variable_node_id, slot.slot_variable_node_id]);
            let is_bad = |id: &i32| usize::try_from(*id).map_or(true, |id| id >= count);
            if let Some(id) = children.chain(slots).find(is_bad) {
                return Err(fail(format!(
                    "node {number} refers to node {id}, but there are {count}"
                )));
            }
            let mut names = HashSet::new();
            let mut children = node.children.iter().map(|child| &child.local_name);
            if let Some(name) = children.find(|name| !names.insert(*name)) {
                return Err(fail(format!("node {number} has two children `{name}`")));
            }
        }
        Ok(Self { nodes: proto.nodes })
    }

    /// The graph's message.
    pub fn encode(&self) -> Vec<u8> {
        TrackableObjectGraph {
            nodes: self.nodes.clone(),
        }
        .encode_to_vec()
    }

    /// The number of nodes.
    pub fn num_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The objects that an object refers to, by their local names, in the order they were saved.
    pub fn children(&self, node: NodeId) -> impl Iterator<Item = (&str, NodeId)> {
        self.node(node)
            .into_iter()
            .flat_map(|node| &node.children)
            .map(|child| (child.local_name.as_str(), target(child)))
    }

    /// The object that an object refers to by a local name.
    pub fn child(&self, node: NodeId, local_name: &str) -> Option<NodeId> {
        self.children(node)
            .find(|(name, _)| *name == local_name)
            .map(|(_, child)| child)
    }

    /// The values saved for an object.
    pub fn attributes(&self, node: NodeId) -> impl Iterator<Item = Attribute<'_>> {
        self.node(node)
            .into_iter()
            .flat_map(|node| &node.attributes)
            .map(|attribute| Attribute {
                name: &attribute.name,
                full_name: &attribute.full_name,
                checkpoint_key: &attribute.checkpoint_key,
            })
    }

    /// The value of a variable, or `None` where the object is no variable.
    pub fn variable(&self, node: NodeId) -> Option<Attribute<'_>> {
        self.attributes(node)
            .find(|attribute| attribute.name == VARIABLE_VALUE)
    }

    /// The variables that an optimizer keeps for others.
    pub fn slots(&self, node: NodeId) -> impl Iterator<Item = Slot<'_>> {
        self.node(node)
            .into_iter()
            .flat_map(|node| &node.slot_variables)
            .map(|slot| Slot {
                name: &slot.slot_name,
                original: NodeId(checked_index(slot.original_variable_node_id)),
                slot: NodeId(checked_index(slot.slot_variable_node_id)),
            })
    }

    /// The object at the end of a path of local names (unescaped) from the root.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchObject`], which lists the names where the path breaks off.
    pub fn resolve(&self, path: &[impl AsRef<str>]) -> Result<NodeId, Error> {
        let mut node = NodeId::ROOT;
        for (depth, name) in path.iter().enumerate() {
            node = self
                .child(node, name.as_ref())
                .ok_or_else(|| Error::NoSuchObject {
                    parent: path[..depth]
                        .iter()
                        .map(|name| name.as_ref().to_owned())
                        .collect(),
                    missing: name.as_ref().to_owned(),
                    children: self
                        .children(node)
                        .map(|(name, _)| name.to_owned())
                        .collect(),
                })?;
        }
        Ok(node)
    }

    /// Every object that can be reached from the root by children, breadth first: TensorFlow's order.
    pub fn breadth_first(&self) -> BreadthFirst<'_> {
        BreadthFirst::new(self)
    }

    /// The keys of all tensors that the graph refers to, in the order a bundle has them.
    pub fn checkpoint_keys(&self) -> BTreeSet<&str> {
        self.nodes
            .iter()
            .flat_map(|node| &node.attributes)
            .map(|attribute| attribute.checkpoint_key.as_str())
            .collect()
    }

    /// The graph of a checkpoint that has only some of the root's children: `["model", "save_counter"]` makes that of a
    /// bare model from that of a training job. Names that the root does not have are passed over.
    ///
    /// What the kept children do not reach is left out, and so are all slots. Nodes are numbered breadth first, as
    /// TensorFlow numbers them. Keys stay as they are: [`Self::checkpoint_keys`] says which tensors the smaller
    /// checkpoint needs. (Tensors that custom Python savers wrote are not listed there: the graph does not name their keys.)
    #[must_use]
    pub fn subset(&self, keep: &[&str]) -> Self {
        let mut graph = self.clone();
        if let Some(root) = graph.nodes.first_mut() {
            root.children
                .retain(|child| keep.contains(&child.local_name.as_str()));
        }
        for node in &mut graph.nodes {
            node.slot_variables.clear();
        }
        graph.renumbered()
    }

    /// The graph without some of an object's children, by their local names; others that only they reached are left out with them. Like
    /// [`Self::subset`], it has no slots. Names that the object does not have are passed over.
    #[must_use]
    pub fn without(&self, node: NodeId, names: &[&str]) -> Self {
        let mut graph = self.clone();
        if let Some(node) = graph.nodes.get_mut(node.0) {
            node.children
                .retain(|child| !names.contains(&child.local_name.as_str()));
        }
        graph.renumbered()
    }

    /// Adds the variable `save_counter` (a scalar of 64-bit integers) to the root, which `tf.train.Checkpoint.save` would
    /// have added, unless there is one. Returns the key that its tensor has in either case. Slots are lost.
    pub fn add_save_counter(&mut self) -> String {
        let existing = self
            .child(NodeId::ROOT, SAVE_COUNTER)
            .and_then(|node| self.variable(node));
        if let Some(variable) = existing {
            return variable.checkpoint_key.to_owned();
        }
        let checkpoint_key = variable_key(&[SAVE_COUNTER]);
        let attribute = SerializedTensor {
            name: VARIABLE_VALUE.to_owned(),
            full_name: SAVE_COUNTER.to_owned(),
            checkpoint_key: checkpoint_key.clone(),
        };
        let node_id = i32::try_from(self.nodes.len()).unwrap_or(i32::MAX);
        if let Some(root) = self.nodes.first_mut() {
            root.children
                .retain(|child| child.local_name != SAVE_COUNTER);
            root.children.push(ObjectReference {
                node_id,
                local_name: SAVE_COUNTER.to_owned(),
            });
            let has_checkpoint_values = root.has_checkpoint_values;
            self.nodes.push(TrackableObject {
                attributes: vec![attribute],
                has_checkpoint_values,
                ..Default::default()
            });
        }
        *self = self.renumbered();
        checkpoint_key
    }

    /// The graph with only the nodes that children reach, numbered breadth first.
    fn renumbered(&self) -> Self {
        let walk = self.breadth_first();
        let mut numbers = vec![0; self.nodes.len()];
        for (number, &node) in walk.order.iter().enumerate() {
            // No more nodes than before, so the numbers stay in range.
            numbers[node.0] = i32::try_from(number).unwrap_or(i32::MAX);
        }
        let renumber = |&node: &NodeId| {
            let mut node = self.node(node).cloned().unwrap_or_default();
            for child in &mut node.children {
                child.node_id = numbers[checked_index(child.node_id)];
            }
            node.slot_variables.clear();
            node
        };
        Self {
            nodes: walk.order.iter().map(renumber).collect(),
        }
    }

    fn node(&self, node: NodeId) -> Option<&TrackableObject> {
        self.nodes.get(node.0)
    }
}

/// An id that was found to be in range when the graph was decoded.
fn checked_index(id: i32) -> usize {
    usize::try_from(id).unwrap_or_default()
}

fn target(child: &ObjectReference) -> NodeId {
    NodeId(checked_index(child.node_id))
}

/// The tree of shortest paths from the root; among equally short ones, the first in the order of children.
#[derive(Clone, Debug)]
pub struct BreadthFirst<'a> {
    graph: &'a ObjectGraph,
    order: Vec<NodeId>,
    /// For each node that was reached, but the root: where from, and under which name.
    reached_from: Vec<Option<(NodeId, &'a str)>>,
}

impl<'a> BreadthFirst<'a> {
    fn new(graph: &'a ObjectGraph) -> Self {
        let mut reached_from = vec![None; graph.nodes.len()];
        let mut order = Vec::new();
        let mut queue = VecDeque::from([NodeId::ROOT]);
        while let Some(node) = queue.pop_front() {
            order.push(node);
            for (name, child) in graph.children(node) {
                let first = &mut reached_from[child.0];
                if child != NodeId::ROOT && first.is_none() {
                    *first = Some((node, name));
                    queue.push_back(child);
                }
            }
        }
        Self {
            graph,
            order,
            reached_from,
        }
    }

    /// The nodes that were reached, in order.
    pub fn nodes(&self) -> &[NodeId] {
        &self.order
    }

    /// The local names (unescaped) on the way from the root to a node; `None` if no children lead there, as with slots.
    pub fn path(&self, node: NodeId) -> Option<Vec<&'a str>> {
        let mut names = Vec::new();
        let mut node = node;
        while node != NodeId::ROOT {
            let (parent, name) = (*self.reached_from.get(node.0)?)?;
            names.push(name);
            node = parent;
        }
        names.reverse();
        Some(names)
    }

    /// All variables that were reached, in order, each with its path.
    pub fn variables(&self) -> impl Iterator<Item = (Vec<&'a str>, Attribute<'a>)> {
        self.order
            .iter()
            .filter_map(|&node| Some((self.path(node)?, self.graph.variable(node)?)))
    }
}

/// The key that TensorFlow gives to the variable at a path of local names, if that is its shortest path.
///
/// ```
/// assert_eq!(tfod_checkpoint::variable_key(&["model", "a.b", "c/d"]), "model/a..b/c.Sd/.ATTRIBUTES/VARIABLE_VALUE");
/// ```
pub fn variable_key(path: &[impl AsRef<str>]) -> String {
    let mut key = String::new();
    for name in path {
        push_escaped(&mut key, name.as_ref());
        key.push('/');
    }
    key + ".ATTRIBUTES/" + VARIABLE_VALUE
}

/// A local name as it stands in a key: `.` becomes `..`, `/` becomes `.S`.
pub fn escape(local_name: &str) -> String {
    let mut escaped = String::new();
    push_escaped(&mut escaped, local_name);
    escaped
}

fn push_escaped(key: &mut String, local_name: &str) {
    for part in local_name.split_inclusive(['.', '/']) {
        match part.strip_suffix('/') {
            Some(before) => key.extend([before, ".S"]),
            None if part.ends_with('.') => key.extend([part, "."]),
            None => key.push_str(part),
        }
    }
}

/// The local name that stands in a key as `escaped`, or `None` if no name does.
pub fn unescape(escaped: &str) -> Option<String> {
    let mut name = String::with_capacity(escaped.len());
    let mut rest = escaped.chars();
    while let Some(character) = rest.next() {
        name.push(match character {
            '.' => match rest.next()? {
                '.' => '.',
                'S' => '/',
                _ => return None,
            },
            '/' => return None,
            other => other,
        });
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A graph from each node's children; nodes whose number is odd are variables.
    fn graph(children: &[&[(&str, i32)]]) -> ObjectGraph {
        let node = |(number, children): (usize, &&[(&str, i32)])| TrackableObject {
            children: children
                .iter()
                .map(|&(name, node_id)| ObjectReference {
                    node_id,
                    local_name: name.to_owned(),
                })
                .collect(),
            attributes: (number % 2 == 1)
                .then(|| SerializedTensor {
                    name: VARIABLE_VALUE.to_owned(),
                    full_name: format!("v{number}"),
                    checkpoint_key: format!("key{number}"),
                })
                .into_iter()
                .collect(),
            ..Default::default()
        };
        ObjectGraph {
            nodes: children.iter().enumerate().map(node).collect(),
        }
    }

    #[test]
    fn walks_cycles_by_the_shortest_path() {
        let graph = graph(&[
            &[("model", 2), ("step", 1)],
            &[],
            &[("head", 4), ("self", 2)],
            &[],
            &[("kernel", 3), ("up", 0)],
        ]);
        let walk = graph.breadth_first();
        let numbers: Vec<usize> = walk.nodes().iter().map(|node| node.index()).collect();
        assert_eq!(numbers, [0, 2, 1, 4, 3]);
        let variables: Vec<_> = walk
            .variables()
            .map(|(path, variable)| (path.join("/"), variable.checkpoint_key))
            .collect();
        assert_eq!(
            variables,
            [
                ("step".to_owned(), "key1"),
                ("model/head/kernel".to_owned(), "key3")
            ]
        );
        let long_way = ["model", "self", "head", "up", "model", "head", "kernel"];
        assert_eq!(graph.resolve(&long_way).unwrap(), NodeId(3));
    }

    #[test]
    fn a_path_that_breaks_off_says_where() {
        let graph = graph(&[&[("model", 2)], &[], &[("a", 1), ("b", 1)]]);
        let error = graph.resolve(&["model", "c", "d"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the object graph has no `model/c`; it has a, b"
        );
    }

    #[test]
    fn a_subset_is_numbered_breadth_first() {
        let full = graph(&[
            &[("optimizer", 4), ("model", 2)],
            &[],
            &[("kernel", 5)],
            &[],
            &[("lr", 3)],
            &[],
        ]);
        let subset = full.subset(&["model", "save_counter"]);
        assert_eq!(subset.num_nodes(), 3);
        assert_eq!(
            subset.checkpoint_keys().into_iter().collect::<Vec<_>>(),
            ["key5"]
        );
        assert_eq!(subset.resolve(&["model", "kernel"]).unwrap(), NodeId(2));
    }

    #[test]
    fn what_hangs_on_an_object_can_be_left_out() {
        // `model` refers to the step counter, which is the root's too.
        let full = graph(&[
            &[("model", 2), ("step", 1)],
            &[],
            &[("kernel", 3), ("_training_step", 1), ("own", 5)],
            &[],
            &[],
            &[],
        ]);
        let model = full.child(NodeId::ROOT, "model").unwrap();
        let without = full.without(model, &["_training_step", "own", "absent"]);
        let keys = |graph: &ObjectGraph| {
            let keys = graph.checkpoint_keys().into_iter();
            keys.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(keys(&without), ["key1", "key3"]);
        assert_eq!(keys(&without.subset(&["model"])), ["key3"]);
        assert_eq!(keys(&full.subset(&["model"])), ["key1", "key3", "key5"]);
    }

    #[test]
    fn a_save_counter_is_added_once() {
        let mut graph = graph(&[&[("model", 2)], &[], &[("kernel", 1)]]);
        let key = graph.add_save_counter();
        assert_eq!(key, "save_counter/.ATTRIBUTES/VARIABLE_VALUE");
        // A child of the root: numbered before those of `model`.
        assert_eq!(graph.resolve(&["save_counter"]).unwrap(), NodeId(2));
        let once = graph.clone();
        assert_eq!(graph.add_save_counter(), key);
        assert_eq!(graph, once);
    }

    #[test]
    fn references_that_lead_nowhere_are_refused() {
        for id in [-1, 1, i32::MAX] {
            let bytes = graph(&[&[("model", id)]]).encode();
            assert!(
                matches!(
                    ObjectGraph::decode(&bytes, "test"),
                    Err(Error::ObjectGraph { .. })
                ),
                "{id}"
            );
        }
        assert!(ObjectGraph::decode(b"", "test").is_err());
    }

    #[test]
    fn an_enormous_graph_is_refused() {
        let bytes = vec![0; MAX_SIZE + 1];
        let error = ObjectGraph::decode(&bytes, "test").unwrap_err().to_string();
        assert!(error.contains("more than"), "{error}");
    }

    /// The path to the second one would lead to the first.
    #[test]
    fn children_of_one_name_are_refused() {
        let bytes = graph(&[&[("a", 1), ("b", 1), ("a", 2)], &[], &[]]).encode();
        let error = ObjectGraph::decode(&bytes, "test").unwrap_err().to_string();
        assert!(error.contains("node 0 has two children `a`"), "{error}");
    }

    proptest! {
        #[test]
        fn escaping_round_trips(name in "[ab./S]{0,12}") {
            prop_assert!(!escape(&name).contains('/'));
            prop_assert_eq!(unescape(&escape(&name)), Some(name));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            if let Ok(graph) = ObjectGraph::decode(&bytes, "test") {
                graph.subset(&["model"]).add_save_counter();
            }
        }
    }
}
