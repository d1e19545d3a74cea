//! What of an expanded graph is needed, and in which order it is written.
//!
//! Control inputs of the original order reads, which are constants now, and calls, which are gone. One is kept only where the node it comes
//! from has an effect, or needs one that has: then its having run means something.

use std::collections::HashSet;

use super::graph::{Graph, NodeId, Tensor};

/// Nodes depend on each other in a circle, found at this one.
#[derive(Debug)]
pub(crate) struct Cycle(pub(crate) NodeId);

/// The nodes needed for `pinned` and `results`, in topological order, but for the edges by which loops go on. `Identity` nodes are removed, with
/// `results` rewritten as the inputs of nodes are; those in `pinned` stay.
pub(crate) fn prune(
    graph: &mut Graph<'_>,
    pinned: &[NodeId],
    results: &mut [Tensor],
) -> Result<Vec<NodeId>, Cycle> {
    drop_controls(graph);
    join_identities(graph);
    let roots = |results: &[Tensor]| {
        pinned
            .iter()
            .copied()
            .chain(results.iter().map(|tensor| tensor.node))
            .collect::<Vec<_>>()
    };
    let live = reachable(graph, &roots(results));
    elide_identities(graph, &live, &pinned.iter().copied().collect(), results);
    order(graph, &roots(results))
}

/// Which nodes some others need. Control inputs that mean nothing are dropped.
pub(crate) fn needed(graph: &mut Graph<'_>, of: &[NodeId]) -> Vec<bool> {
    drop_controls(graph);
    reachable(graph, of)
}

/// Lets the second of two `Identity` nodes in a row copy what the first one copies, with the control inputs of both.
fn join_identities(graph: &mut Graph<'_>) {
    /// Long chains with many control inputs are left as they are.
    const MAX_CONTROLS: usize = 16;
    // Inputs come before what uses them, but for the ends of loops, so chains are joined from their beginning.
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let ("Identity", [input]) = (&*node.op, node.inputs.as_slice()) else {
            continue;
        };
        let first = graph.node(input.node);
        let is_short = node.controls.len() + first.controls.len() <= MAX_CONTROLS;
        let is_tied = node.pivot.is_some() && first.pivot.is_some();
        let joins = first.op == "Identity" && input.node.index() < index && is_short && !is_tied;
        let (true, [source]) = (joins, first.inputs.as_slice()) else {
            continue;
        };
        let (source, pivot) = (*source, first.pivot);
        let controls: Vec<NodeId> = first
            .controls
            .iter()
            .copied()
            .filter(|control| !node.controls.contains(control))
            .collect();
        let node = &mut graph.nodes[index];
        node.inputs = vec![source];
        node.controls.extend(controls);
        node.pivot = node.pivot.or(pivot);
    }
}

/// Drops control inputs from nodes whose having run means nothing.
fn drop_controls(graph: &mut Graph<'_>) {
    let mut consumers: Vec<Vec<u32>> = vec![Vec::new(); graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        let before = node
            .inputs
            .iter()
            .map(|input| input.node)
            .chain(node.controls.iter().copied())
            .chain(node.pivot);
        before.for_each(|before| consumers[before.index()].push(index));
    }
    let mut matters: Vec<bool> = graph.nodes.iter().map(|node| node.is_effect).collect();
    let mut stack: Vec<u32> = (0..)
        .zip(&matters)
        .filter(|&(_, &matters)| matters)
        .map(|(index, _)| index)
        .collect();
    while let Some(index) = stack.pop() {
        for &consumer in &consumers[index as usize] {
            if !std::mem::replace(&mut matters[consumer as usize], true) {
                stack.push(consumer);
            }
        }
    }
    for node in &mut graph.nodes {
        let inputs: Vec<NodeId> = if node.controls.is_empty() {
            Vec::new()
        } else {
            node.inputs.iter().map(|input| input.node).collect()
        };
        let mut seen = HashSet::new();
        let pivot = node.pivot;
        node.controls.retain(|control| {
            matters[control.index()]
                && !inputs.contains(control)
                && Some(*control) != pivot
                && seen.insert(*control)
        });
    }
}

fn inputs(node: &super::graph::Node<'_>) -> impl Iterator<Item = NodeId> {
    node.inputs
        .iter()
        .map(|input| input.node)
        .chain(node.controls.iter().copied())
        .chain(node.pivot)
}

fn reachable(graph: &Graph<'_>, roots: &[NodeId]) -> Vec<bool> {
    let mut live = vec![false; graph.nodes.len()];
    let mut stack = roots.to_vec();
    while let Some(node) = stack.pop() {
        if !std::mem::replace(&mut live[node.index()], true) {
            stack.extend(inputs(graph.node(node)));
        }
    }
    live
}

/// Connects what uses an `Identity` to what the `Identity` copies, except where the node itself is needed: as a control input, or as one that has
/// control inputs.
fn elide_identities(
    graph: &mut Graph<'_>,
    live: &[bool],
    pinned: &HashSet<NodeId>,
    results: &mut [Tensor],
) {
    let mut is_control = vec![false; graph.nodes.len()];
    for (node, _) in graph.nodes.iter().zip(live).filter(|&(_, &live)| live) {
        node.controls
            .iter()
            .chain(&node.pivot)
            .for_each(|control| is_control[control.index()] = true);
    }
    let copied = |id: NodeId| {
        let node = graph.node(id);
        let is_copy = node.op == "Identity" && node.controls.is_empty() && node.pivot.is_none();
        match node.inputs.as_slice() {
            [of] if is_copy && !is_control[id.index()] && !pinned.contains(&id) => Some(*of),
            _ => None,
        }
    };
    let mut source: Vec<Option<Tensor>> = (0..graph.nodes.len())
        .map(|index| copied(NodeId::from_index(index)))
        .collect();
    let resolve = |tensor: Tensor, source: &mut Vec<Option<Tensor>>| {
        let (mut end, mut steps) = (tensor, 0);
        while let Some(of) = source[end.node.index()].filter(|_| steps <= graph.nodes.len()) {
            end = of;
            steps += 1;
        }
        // Long chains are walked once.
        let mut at = tensor;
        while let Some(of) = source[at.node.index()].filter(|_| at.node != end.node) {
            if of == end {
                break;
            }
            source[at.node.index()] = Some(end);
            at = of;
        }
        end
    };
    let mut rewired: Vec<(usize, usize, Tensor)> = Vec::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        for (input, &tensor) in node.inputs.iter().enumerate() {
            let end = resolve(tensor, &mut source);
            if end != tensor {
                rewired.push((index, input, end));
            }
        }
    }
    for tensor in results {
        *tensor = resolve(*tensor, &mut source);
    }
    for (node, input, tensor) in rewired {
        graph.nodes[node].inputs[input] = tensor;
    }
}

fn order(graph: &Graph<'_>, roots: &[NodeId]) -> Result<Vec<NodeId>, Cycle> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let mut state = vec![State::New; graph.nodes.len()];
    let mut order = Vec::new();
    // Roots are taken from the end: first what was asked for first, then the loops' ends as they are met.
    let mut pending: Vec<NodeId> = roots.iter().rev().copied().collect();
    while let Some(root) = pending.pop() {
        let mut stack = vec![(root, false)];
        while let Some((id, is_ready)) = stack.pop() {
            if is_ready {
                state[id.index()] = State::Done;
                order.push(id);
                continue;
            }
            if state[id.index()] != State::New {
                continue;
            }
            state[id.index()] = State::Open;
            stack.push((id, true));
            let node = graph.node(id);
            let before: Vec<NodeId> = inputs(node).collect();
            for &input in before.iter().rev() {
                if node.op == "Merge" && graph.node(input).op == "NextIteration" {
                    pending.push(input);
                    continue;
                }
                match state[input.index()] {
                    State::New => stack.push((input, false)),
                    State::Open => return Err(Cycle(id)),
                    State::Done => {}
                }
            }
        }
    }
    Ok(order)
}
