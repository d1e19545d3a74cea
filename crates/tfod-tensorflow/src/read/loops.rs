//! Loops over slices, as freezing lowers them: maps of the graph.
//!
//! ```text
//! 0 ─▶ Enter ─▶ Merge ─▶ Switch ─▶ + 1 ─▶ NextIteration                       the counter
//! list ─▶ Enter ─▶ Merge ─▶ Switch ─▶ TensorListSetItem ─▶ NextIteration
//!                             └─▶ Exit ─▶ TensorListStack ─▶ result           each result
//! operand ─▶ Enter (is_constant) ─▶ GatherV2 at the counter                   what is seen in slices
//! ```

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};

use tfod_graph::{Builder, MapInput, ValueId};

use super::{ReadError, Reader, Scope, numbered, refused};
use crate::constants::{FlatGraph, FlatNode, FlatTensor};

/// The operation that gives the result of a loop.
pub(super) const STACK: &str = "TensorListStack";

/// No detector has maps in maps in maps.
const MAX_DEPTH: usize = 8;
/// Nor as many loops as this would take.
const MAX_LOOKS: usize = 1024;

/// A value that changes from one iteration to the next.
#[derive(Clone, Copy, Debug)]
struct Changing {
    /// The node that chooses between the body and the end.
    switch: usize,
    /// What it is before the first iteration.
    initial: FlatTensor,
    /// What the body makes of it.
    next: FlatTensor,
}

/// The loops of a graph, by their `LoopCond` nodes.
#[derive(Debug, Default)]
pub(super) struct Loops {
    of_condition: HashMap<usize, Vec<Changing>>,
    /// How often loops may still be looked at: a few that contain each other take long.
    left: Cell<usize>,
}

/// A loop over slices.
#[derive(Debug)]
struct Slices {
    /// In front of the names of nodes in the body.
    name: String,
    /// How often it runs.
    iterations: FlatTensor,
    /// What the body sees, and as what: the tensor inside, the tensor outside.
    arguments: Vec<(FlatTensor, FlatTensor, MapInput)>,
    /// Each result: the node that stacks it, and one item.
    results: Vec<(usize, FlatTensor)>,
}

fn node<'g, 'a>(flat: &'g FlatGraph<'a>, at: usize) -> Option<&'g FlatNode<'a>> {
    flat.nodes.get(at)
}

/// The only input of a node of this operation.
fn through(flat: &FlatGraph<'_>, at: usize, op: &str) -> Option<FlatTensor> {
    let node = node(flat, at).filter(|node| node.op == op)?;
    node.inputs.first().copied()
}

/// What a tensor is, before copies of it.
fn original(flat: &FlatGraph<'_>, mut tensor: FlatTensor) -> FlatTensor {
    // A chain that comes back to its beginning ends, too.
    for _ in 0..flat.nodes.len() {
        match through(flat, tensor.node, "Identity") {
            Some(of) => tensor = of,
            None => break,
        }
    }
    tensor
}

/// The integer of a constant.
fn integer(flat: &FlatGraph<'_>, tensor: FlatTensor) -> Option<i32> {
    let stored = node(flat, tensor.node)?.value?;
    let decoded = crate::constants::Decoded::of(&stored.message()?)?;
    let is_one = crate::constants::num_elements(&decoded.shape) == Some(1);
    let bytes = decoded.bytes.as_slice().try_into().ok();
    bytes.filter(|_| is_one).map(i32::from_le_bytes)
}

impl Loops {
    pub(super) fn of(flat: &FlatGraph<'_>) -> Self {
        let mut of_condition: HashMap<usize, Vec<Changing>> = HashMap::new();
        for (switch, of) in flat.nodes.iter().enumerate() {
            let ("Switch", [value, condition]) = (&*of.op, of.inputs.as_slice()) else {
                continue;
            };
            let merge = node(flat, value.node).filter(|node| node.op == "Merge");
            let Some([initial, next]) = merge.map(|merge| merge.inputs.as_slice()) else {
                continue;
            };
            let initial = through(flat, initial.node, "Enter");
            let next = through(flat, next.node, "NextIteration");
            if let (Some(initial), Some(next)) = (initial, next) {
                let all = of_condition.entry(condition.node).or_default();
                all.push(Changing {
                    switch,
                    initial,
                    next,
                });
            }
        }
        Self {
            of_condition,
            left: Cell::new(MAX_LOOKS),
        }
    }

    /// What a node that stacks the results of a loop needs from outside of it.
    pub(super) fn reads(
        &self,
        flat: &FlatGraph<'_>,
        at: usize,
    ) -> Result<Vec<FlatTensor>, ReadError> {
        let found = self.slices(flat, at, 0)?;
        let arguments = found.arguments.iter().map(|(_, outside, _)| *outside);
        Ok(arguments.chain([found.iterations]).collect())
    }

    /// The loop whose results a node stacks.
    fn slices(&self, flat: &FlatGraph<'_>, at: usize, depth: usize) -> Result<Slices, ReadError> {
        let Some(stack) = node(flat, at) else {
            return Ok(Slices::none());
        };
        let error = |problem: &str| refused(stack, problem.to_owned());
        let left = self.left.get().checked_sub(1);
        let (Some(left), false) = (left, depth > MAX_DEPTH) else {
            return Err(error("is in too many loops in loops"));
        };
        self.left.set(left);
        let is_none = "is not the result of a loop over slices";
        let condition = stack
            .inputs
            .first()
            .and_then(|list| through(flat, list.node, "Exit"))
            .and_then(|switch| node(flat, switch.node)?.inputs.get(1).copied())
            .ok_or_else(|| error(is_none))?;
        let changing = self.of_condition.get(&condition.node);
        let changing = changing.ok_or_else(|| error(is_none))?;
        let (counter, iterations) = counted(flat, condition.node, changing)
            .ok_or_else(|| error("is the result of a loop that does not count"))?;
        let inside = |of: &Changing| FlatTensor {
            node: of.switch,
            port: 1,
        };
        let is_counter = |tensor: FlatTensor| original(flat, tensor) == inside(&counter);

        // The items that the body puts into the lists.
        let mut items: BTreeMap<usize, FlatTensor> = BTreeMap::new();
        for of in changing.iter().filter(|of| of.switch != counter.switch) {
            let set = node(flat, original(flat, of.next).node);
            let set = set.filter(|set| set.op == "TensorListSetItem");
            let Some([list, index, item]) = set.map(|set| set.inputs.as_slice()) else {
                return Err(error("is the result of a loop that passes on a value"));
            };
            let is_fresh = node(flat, of.initial.node)
                .is_some_and(|reserve| reserve.op == "TensorListReserve");
            if original(flat, *list) != inside(of) || !is_counter(*index) || !is_fresh {
                return Err(error(
                    "is the result of a loop that fills a list out of order",
                ));
            }
            items.insert(of.switch, *item);
        }
        let mut results = Vec::new();
        for (other, node) in flat.nodes.iter().enumerate() {
            if node.op != STACK {
                continue;
            }
            let exit = node.inputs.first();
            let switch = exit.and_then(|list| through(flat, list.node, "Exit"));
            if let Some(item) = switch.and_then(|switch| items.get(&switch.node)) {
                results.push((other, *item));
            }
        }
        let name = |at: usize| node(flat, at).map_or("", |node| &*node.name);
        results.sort_by_key(|(at, _)| numbered(name(*at)));

        let wanted: Vec<FlatTensor> = results.iter().map(|(_, item)| *item).collect();
        let mut arguments = self.arguments(flat, &wanted, &is_counter, depth)?;
        arguments.sort_by_key(|(_, outside, _)| numbered(name(outside.node)));
        let name = name(condition.node);
        Ok(Slices {
            name: name.strip_suffix("/LoopCond").unwrap_or(name).to_owned(),
            iterations,
            arguments,
            results,
        })
    }

    /// What a body needs of what is outside of it.
    fn arguments(
        &self,
        flat: &FlatGraph<'_>,
        wanted: &[FlatTensor],
        is_counter: &dyn Fn(FlatTensor) -> bool,
        depth: usize,
    ) -> Result<Vec<(FlatTensor, FlatTensor, MapInput)>, ReadError> {
        let mut arguments = Vec::new();
        let mut is_seen = vec![false; flat.nodes.len()];
        let mut left = wanted.to_vec();
        while let Some(tensor) = left.pop() {
            let (Some(of), Some(seen @ false)) =
                (node(flat, tensor.node), is_seen.get_mut(tensor.node))
            else {
                continue;
            };
            *seen = true;
            match (&*of.op, of.inputs.as_slice()) {
                ("Enter", [outside]) => arguments.push((tensor, *outside, MapInput::Whole)),
                ("GatherV2", [data, index, axis])
                    if is_counter(*index) && integer(flat, *axis) == Some(0) =>
                {
                    let outside = through(flat, original(flat, *data).node, "Enter");
                    let outside = outside.ok_or_else(|| {
                        refused(of, "takes a slice of a value of its own loop".to_owned())
                    })?;
                    arguments.push((tensor, outside, MapInput::Sliced));
                }
                (STACK, _) => {
                    let inner = self.slices(flat, tensor.node, depth + 1)?;
                    left.extend(inner.arguments.iter().map(|(_, outside, _)| *outside));
                    left.push(inner.iterations);
                    for (other, _) in inner.results {
                        if let Some(seen) = is_seen.get_mut(other) {
                            *seen = true;
                        }
                    }
                }
                ("Switch" | "Merge" | "Exit", _) => {
                    return Err(refused(
                        of,
                        "is in a loop that is not over slices".to_owned(),
                    ));
                }
                _ => left.extend(&of.inputs),
            }
        }
        Ok(arguments)
    }
}

impl Slices {
    fn none() -> Self {
        let nowhere = FlatTensor {
            node: usize::MAX,
            port: 0,
        };
        Self {
            name: String::new(),
            iterations: nowhere,
            arguments: Vec::new(),
            results: Vec::new(),
        }
    }
}

/// The counter of a loop from 0 on, and how often it runs.
fn counted(
    flat: &FlatGraph<'_>,
    condition: usize,
    changing: &[Changing],
) -> Option<(Changing, FlatTensor)> {
    let less = original(flat, through(flat, condition, "LoopCond")?);
    let less = node(flat, less.node).filter(|less| less.op == "Less")?;
    let [merge, limit] = less.inputs.as_slice() else {
        return None;
    };
    let counter = changing.iter().find(|of| {
        let merged = node(flat, of.switch).and_then(|switch| switch.inputs.first());
        merged.is_some_and(|merged| merged.node == merge.node)
    })?;
    let add = node(flat, original(flat, counter.next).node);
    let add = add.filter(|add| matches!(&*add.op, "AddV2" | "Add"))?;
    let [before, one] = add.inputs.as_slice() else {
        return None;
    };
    let is_next = original(flat, *before).node == counter.switch
        && integer(flat, *one) == Some(1)
        && integer(flat, counter.initial) == Some(0);
    let iterations = through(flat, limit.node, "Enter").unwrap_or(*limit);
    is_next.then_some((*counter, iterations))
}

impl Reader<'_, '_> {
    /// Writes the loop whose result a node stacks, and gives that.
    pub(super) fn map(
        &mut self,
        b: &mut Builder,
        scope: &mut Scope,
        at: usize,
        stack: &FlatNode<'_>,
    ) -> Result<ValueId, ReadError> {
        let found = self.loops.slices(self.flat, at, scope.depth)?;
        let mut inputs = Vec::with_capacity(found.arguments.len());
        for (_, outside, kind) in &found.arguments {
            inputs.push((self.value(scope, outside)?, *kind));
        }
        let sliced = inputs.iter().find(|(_, kind)| *kind == MapInput::Sliced);
        let leading = sliced.and_then(|(value, _)| b.shape(*value).dims().first().cloned());
        let iterations = self.value(scope, &found.iterations)?;
        let iterations = self.sizes.dims(b, iterations);
        if leading.is_none() || iterations != leading.map(|dim| vec![dim]) {
            let problem = "is the result of a loop over something else than all slices";
            return Err(refused(stack, problem.to_owned()));
        }
        let name = super::legal(scope.own(&found.name));
        let results = b.map(&name, &inputs, |b, arguments| {
            let mut inner = Scope {
                prefix: "/body/".to_owned(),
                depth: scope.depth + 1,
                ..Scope::default()
            };
            let mut whole = Vec::new();
            for ((inside, _, kind), (argument, (outside, _))) in
                found.arguments.iter().zip(arguments.iter().zip(&inputs))
            {
                inner.values.insert(*inside, *argument);
                if *kind == MapInput::Whole {
                    whole.push((*outside, *argument));
                }
            }
            self.sizes.enter(&whole);
            let items: Vec<FlatTensor> = found.results.iter().map(|(_, item)| *item).collect();
            let read = self.read_into(b, &mut inner, &items);
            self.sizes.leave();
            read?;
            for (index, item) in items.iter().enumerate() {
                let value = self.value(&inner, item)?;
                b.output(&format!("result_{index}"), value);
            }
            Ok::<_, ReadError>(())
        })?;
        let mut result = None;
        for ((other, _), value) in found.results.iter().zip(results) {
            let tensor = FlatTensor {
                node: *other,
                port: 0,
            };
            scope.values.insert(tensor, value);
            if *other == at {
                result = Some(value);
            }
        }
        result.ok_or_else(|| refused(stack, "is not the result of a loop over slices".to_owned()))
    }
}
