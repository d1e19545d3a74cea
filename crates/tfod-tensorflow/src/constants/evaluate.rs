//! The walk over a graph that computes what it can.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use super::array::{Array, Data, Decoded};
use super::flat::{FlatGraph, FlatNode, Stored, Tensor};
use super::ops;
use super::{ComputedConstant, GraphConstants, StoredConstant};

/// How many elements are computed, in all: a few bytes may ask for any number.
const MAX_ELEMENTS: usize = 1 << 26;

/// What is known of a node.
enum Known {
    /// It is being visited.
    Open,
    /// It depends on what only a run knows, or is not computed here.
    No,
    /// A constant of the graph that nothing has asked for.
    Stored,
    /// A constant of the graph; `None` where it cannot be computed with.
    Loaded(Option<Rc<Array>>),
    /// Its outputs, computed.
    Computed(Vec<Rc<Array>>, Rc<BTreeSet<usize>>),
}

struct Walk<'g, 'a> {
    graph: &'g FlatGraph<'a>,
    known: HashMap<usize, Known>,
    /// How many more elements may be computed.
    left: usize,
}

/// What the graph's outputs need of constants.
pub(super) fn constants(graph: &FlatGraph<'_>, with_values: bool) -> GraphConstants {
    let mut walk = Walk {
        graph,
        known: HashMap::new(),
        left: MAX_ELEMENTS,
    };
    for output in &graph.outputs {
        walk.visit(output.node);
    }
    let mut found = GraphConstants::default();
    // What else than a computed tensor reads them.
    let mut read: BTreeSet<(usize, usize)> = BTreeSet::new();
    let is_constant = |node: usize| {
        let known = walk.known.get(&node);
        matches!(
            known,
            Some(Known::Stored | Known::Loaded(_) | Known::Computed(..))
        )
    };
    let mut note = |tensor: &Tensor| {
        if is_constant(tensor.node) {
            read.insert((tensor.node, tensor.port));
        }
    };
    for (&at, known) in &walk.known {
        if let (Known::No, Some(node)) = (known, graph.nodes.get(at)) {
            node.inputs.iter().for_each(&mut note);
            *found.running.entry(node.op.to_string()).or_default() += 1;
        }
    }
    graph.outputs.iter().for_each(&mut note);
    let mut origins = BTreeSet::new();
    for &(at, port) in &read {
        let Some(node) = graph.nodes.get(at) else {
            continue;
        };
        match walk.known.get(&at) {
            Some(Known::Stored | Known::Loaded(_)) => match node.value.and_then(Stored::variable) {
                Some(key) => {
                    found.variables.insert(key.to_owned());
                }
                None => found.stored.push(stored(node, true, with_values)),
            },
            Some(Known::Computed(arrays, from)) => {
                origins.extend(from.iter().copied());
                if let Some(array) = arrays.get(port) {
                    let floats = || from.iter().filter_map(|at| walk.floats(*at));
                    let name = match port {
                        0 => node.name.to_string(),
                        port => format!("{}:{port}", node.name),
                    };
                    found.computed.push(ComputedConstant {
                        name,
                        value: array.decoded(),
                        from: from.iter().filter_map(|at| origin(graph, *at)).collect(),
                        is_from_floats: floats().next().is_some(),
                        is_from_varied: floats().any(|numbers| {
                            numbers.windows(2).any(|pair| pair.first() != pair.last())
                        }),
                    });
                }
            }
            _ => {}
        }
    }
    let only_computed_from = origins.into_iter().filter(|at| !read.contains(&(*at, 0)));
    let nodes = only_computed_from.filter_map(|at| graph.nodes.get(at));
    let constants = nodes.filter(|node| node.value.and_then(Stored::variable).is_none());
    let constants = constants.map(|node| stored(node, false, with_values));
    found.stored.extend(constants);
    found
}

fn stored(node: &FlatNode<'_>, is_read: bool, with_value: bool) -> StoredConstant {
    StoredConstant {
        name: node.name.to_string(),
        is_read,
        value: with_value.then(|| decoded(node)).flatten(),
    }
}

/// What a constant is called: a variable's key, or the node's name.
fn origin(graph: &FlatGraph<'_>, at: usize) -> Option<String> {
    let node = graph.nodes.get(at)?;
    let variable = node.value.and_then(Stored::variable);
    Some(variable.unwrap_or(&node.name).to_owned())
}

fn decoded(node: &FlatNode<'_>) -> Option<Decoded> {
    Decoded::of(&node.value?.message()?)
}

impl Walk<'_, '_> {
    /// Visits a node and all that it needs, inputs first.
    fn visit(&mut self, root: usize) {
        let mut stack = vec![(root, false)];
        while let Some((at, is_ready)) = stack.pop() {
            let Some(node) = self.graph.nodes.get(at) else {
                continue;
            };
            if is_ready {
                let known = self.compute(node);
                self.known.insert(at, known);
                continue;
            }
            if self.known.contains_key(&at) {
                continue;
            }
            if node.value.is_some() {
                self.known.insert(at, Known::Stored);
                continue;
            }
            // Loops come back to it; such a node is not computed.
            self.known.insert(at, Known::Open);
            stack.push((at, true));
            stack.extend(node.inputs.iter().map(|input| (input.node, false)));
        }
    }

    fn compute(&mut self, node: &FlatNode<'_>) -> Known {
        if node.inputs.is_empty() || !ops::is_known(&node.op) {
            return Known::No;
        }
        let is_constant = |input: &Tensor| {
            let known = self.known.get(&input.node);
            matches!(
                known,
                Some(Known::Stored | Known::Loaded(_) | Known::Computed(..))
            )
        };
        if !node.inputs.iter().all(is_constant) {
            return Known::No;
        }
        let mut from = BTreeSet::new();
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for input in &node.inputs {
            let Some(array) = self.array(input) else {
                return Known::No;
            };
            inputs.push(array);
            match self.known.get(&input.node) {
                Some(Known::Computed(_, of)) => from.extend(of.iter().copied()),
                _ => {
                    from.insert(input.node);
                }
            }
        }
        let inputs: Vec<&Array> = inputs.iter().map(|array| &**array).collect();
        let Some(outputs) = ops::compute(node.operation(), &inputs, self.left) else {
            return Known::No;
        };
        let computed: usize = outputs.iter().map(|array| array.data.len()).sum();
        self.left = self.left.saturating_sub(computed);
        Known::Computed(outputs.into_iter().map(Rc::new).collect(), Rc::new(from))
    }

    /// The numbers of a stored constant that something has been computed from, if they are floats.
    fn floats(&self, node: usize) -> Option<&[f32]> {
        match self.known.get(&node)? {
            Known::Loaded(Some(array)) => match &array.data {
                Data::Float(numbers) => Some(numbers),
                _ => None,
            },
            _ => None,
        }
    }

    /// The value of an input that is constant.
    fn array(&mut self, input: &Tensor) -> Option<Rc<Array>> {
        match self.known.get(&input.node)? {
            Known::Computed(arrays, _) => arrays.get(input.port).cloned(),
            Known::Loaded(array) => array.clone(),
            Known::Stored => {
                let node = self.graph.nodes.get(input.node)?;
                let array = decoded(node).and_then(|value| Array::of(&value, self.left));
                if let Some(array) = &array {
                    self.left = self.left.saturating_sub(array.data.len());
                }
                let array = array.map(Rc::new);
                self.known.insert(input.node, Known::Loaded(array.clone()));
                array
            }
            Known::Open | Known::No => None,
        }
    }
}
