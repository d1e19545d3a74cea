//! The values that assignments give to variables, as functions of the old ones: for reads after them in the same call.

use crate::op_defs;

use super::super::constants::Content;
use super::super::data_type::{BOOL, INT32, INT64, type_name};
use super::super::graph::{Node, Tensor};
use super::super::wire::value;
use super::updates::{New, Unknown};
use super::{Expander, Result, Value, Visit};

/// How an operation changes the variable that its first input is the handle of, or a reference to.
#[derive(Clone, Copy)]
enum Change {
    /// The second input is the new value.
    Assign,
    /// The new value is what this operation gives for the old one and the second input.
    Combine(&'static str),
    /// The new value is what this operation gives for the old one, indices of elements or slices, and updates.
    Scatter(&'static str),
    /// The same, with indices of rows, and updates that may be one number for all.
    ScatterRows(&'static str),
    /// The new value is what this operation gives for the old one and the product of each row's updates.
    Scale(&'static str),
    /// A part of the new value is the fifth input.
    Slice,
    /// It gives the old value, to which it adds one.
    Count,
    /// It gives the old value, the state of a random generator, and moves that on.
    ReadAndSkip,
    /// The new value is not known.
    Unknown,
}

fn change(op: &str) -> Option<Change> {
    Some(match op {
        "AssignVariableOp" | "Assign" => Change::Assign,
        "AssignAddVariableOp" | "AssignAdd" => Change::Combine("AddV2"),
        "AssignSubVariableOp" | "AssignSub" => Change::Combine("Sub"),
        "ResourceScatterNdUpdate" | "ScatterNdUpdate" => Change::Scatter("TensorScatterUpdate"),
        "ResourceScatterNdAdd" | "ScatterNdAdd" => Change::Scatter("TensorScatterAdd"),
        "ResourceScatterNdSub" | "ScatterNdSub" => Change::Scatter("TensorScatterSub"),
        "ResourceScatterNdMax" | "ScatterNdMax" => Change::Scatter("TensorScatterMax"),
        "ResourceScatterNdMin" | "ScatterNdMin" => Change::Scatter("TensorScatterMin"),
        "ResourceScatterUpdate" | "ScatterUpdate" => Change::ScatterRows("TensorScatterUpdate"),
        "ResourceScatterAdd" | "ScatterAdd" => Change::ScatterRows("TensorScatterAdd"),
        "ResourceScatterSub" | "ScatterSub" => Change::ScatterRows("TensorScatterSub"),
        "ResourceScatterMax" | "ScatterMax" => Change::ScatterRows("TensorScatterMax"),
        "ResourceScatterMin" | "ScatterMin" => Change::ScatterRows("TensorScatterMin"),
        "ResourceScatterMul" | "ScatterMul" => Change::Scale("Mul"),
        "ResourceScatterDiv" | "ScatterDiv" => Change::Scale("Div"),
        "ResourceStridedSliceAssign" | "StridedSliceAssign" => Change::Slice,
        "ResourceCountUpTo" | "CountUpTo" => Change::Count,
        "RngReadAndSkip" => Change::ReadAndSkip,
        "RngSkip" | "AssignVariableXlaConcatND" => Change::Unknown,
        _ if op.starts_with("ResourceApply") || op.starts_with("ResourceSparseApply") => {
            Change::Unknown
        }
        _ if is_on_reference(op) && (op.starts_with("Apply") || op.starts_with("SparseApply")) => {
            Change::Unknown
        }
        _ => return None,
    })
}

fn is_on_reference(op: &str) -> bool {
    let first = op_defs::find(op).and_then(|def| def.inputs.first());
    first.is_some_and(|input| input.is_ref)
}

/// Whether an operation assigns to the variable that its first input is the handle of, or a reference to.
pub(super) fn is_update(op: &str) -> bool {
    change(op).is_some()
}

/// Whether an operation assigns to a reference variable and gives the reference.
pub(super) fn gives_reference(op: &str) -> bool {
    let first = op_defs::find(op).and_then(|def| def.outputs.first());
    is_update(op) && first.is_some_and(|output| output.is_ref)
}

/// The variable of an assignment, of which the new value is computed.
struct Updated<'v, 'a, 'i> {
    visit: &'v Visit<'a, 'i>,
    index: usize,
    data_type: i32,
    old: Tensor,
}

impl<'a> Expander<'a, '_> {
    /// The value of a variable after an assignment, as far as it is known, and what the assignment itself gives.
    pub(super) fn new_value(
        &mut self,
        visit: &Visit<'a, '_>,
        index: usize,
        handle: Value,
    ) -> Result<(New, Vec<Value>)> {
        let data_type = self.variables.get(index).data_type();
        let change = change(visit.def.op).unwrap_or(Change::Unknown);
        let inputs = visit.inputs.get(1..).unwrap_or_default();
        let inputs: Vec<Tensor> = inputs
            .iter()
            .map(|input| self.tensor(visit, input))
            .collect::<Result<_>>()?;
        let given = |at: usize| {
            let missing = || self.error(&visit.place, "it has too few inputs");
            inputs.get(at).copied().ok_or_else(missing)
        };
        let number = match change {
            Change::Assign | Change::Combine(_) => Some(0),
            Change::Scatter(_) | Change::ScatterRows(_) | Change::Scale(_) => Some(1),
            Change::Slice => Some(3),
            Change::Count | Change::ReadAndSkip | Change::Unknown => None,
        };
        if let Some(number) = number {
            let found = self.graph.data_type(given(number)?);
            if found != 0 && found != data_type {
                let (found, expected) = (type_name(found), type_name(data_type));
                let problem = format!("it assigns {found} to a variable of {expected}");
                return Err(self.error(&visit.place, problem));
            }
        }
        match change {
            Change::Assign => return Ok((given(0).map(Ok)?, Vec::new())),
            Change::Unknown => return Ok((Err(Unknown::Operation), Vec::new())),
            _ => {}
        }
        let gives_old = matches!(change, Change::Count | Change::ReadAndSkip);
        // The old value is not known where an assignment before it is not; then neither is the new one.
        if let Some(write) = visit.written.of(index)
            && let Err(unknown) = self.updates.value(write)
            && !gives_old
        {
            return Ok((Err(unknown), Vec::new()));
        }
        let mark = self.updates.mark();
        let old = self.latest(visit, handle)?;
        if !gives_old {
            self.updates.forget_reads(mark);
        }
        let on = Updated {
            visit,
            index,
            data_type,
            old,
        };
        let new = match change {
            Change::Combine(op) => self.combined(&on, op, vec![old, inputs[0]]),
            Change::Scatter(op) => self.scattered(&on, op, inputs[0], inputs[1]),
            Change::ScatterRows(op) => self.rows_scattered(&on, op, inputs[0], inputs[1]),
            Change::Scale(op) => self.rows_scaled(&on, op, inputs[0], inputs[1]),
            Change::Slice => self.slice_replaced(&on, &inputs)?,
            Change::Count => self.counted(&on),
            Change::ReadAndSkip => match self.skipped(&on, &inputs) {
                Some(new) => new,
                None => return Ok((Err(Unknown::Operation), vec![Value::Tensor(old)])),
            },
            Change::Assign | Change::Unknown => old,
        };
        let values = if gives_old {
            vec![Value::Tensor(old)]
        } else {
            Vec::new()
        };
        Ok((Ok(new), values))
    }

    /// The value that a variable has when the visited node runs.
    fn latest(&mut self, visit: &Visit<'a, '_>, mut handle: Value) -> Result<Tensor> {
        let handles = std::slice::from_mut(&mut handle);
        self.forward(&visit.place, &visit.written, handles)?;
        self.settle(&visit.place, &visit.written, handles)?;
        match handle {
            Value::Tensor(tensor) => Ok(tensor),
            handle => self.read(&visit.place, handle, visit.scope),
        }
    }

    /// A node that computes a part of a new value.
    fn part(&mut self, on: &Updated<'_, 'a, '_>, node: Node<'a>) -> Tensor {
        Tensor::of(self.graph.add(on.visit.scope, node))
    }

    fn part_int32(&mut self, on: &Updated<'_, 'a, '_>, name: &str, number: i32) -> Tensor {
        let name = on.visit.part(name);
        self.part(on, Node::constant(name, Content::int32(number)))
    }

    /// The node that gives the new value.
    fn result(
        &mut self,
        on: &Updated<'_, 'a, '_>,
        op: &'static str,
        inputs: Vec<Tensor>,
        attrs: impl FnOnce(Node<'a>) -> Node<'a>,
    ) -> Tensor {
        let node = Node::new(on.visit.name.clone(), op, inputs, vec![on.data_type]);
        let node = attrs(node.typed(on.data_type)).after(&on.visit.controls);
        self.part(on, node)
    }

    fn combined(
        &mut self,
        on: &Updated<'_, 'a, '_>,
        op: &'static str,
        inputs: Vec<Tensor>,
    ) -> Tensor {
        self.result(on, op, inputs, |node| node)
    }

    fn scattered(
        &mut self,
        on: &Updated<'_, 'a, '_>,
        op: &'static str,
        indices: Tensor,
        updates: Tensor,
    ) -> Tensor {
        let of = self.graph.data_type(indices);
        self.result(on, op, vec![on.old, indices, updates], |node| {
            node.with("Tindices", value::data_type(of))
        })
    }

    fn rows_scattered(
        &mut self,
        on: &Updated<'_, 'a, '_>,
        op: &'static str,
        indices: Tensor,
        updates: Tensor,
    ) -> Tensor {
        let updates = self.updates_of_rows(on, indices, updates);
        let of = self.graph.data_type(indices);
        let last = self.part_int32(on, "last", -1);
        let name = on.visit.part("indices");
        let node = Node::new(name, "ExpandDims", vec![indices, last], vec![of]).typed(of);
        let indices = self.part(on, node);
        self.scattered(on, op, indices, updates)
    }

    /// The updates of rows, one a row: a single number stands for all.
    fn updates_of_rows(
        &mut self,
        on: &Updated<'_, 'a, '_>,
        indices: Tensor,
        updates: Tensor,
    ) -> Tensor {
        let content = self.graph.node(updates.node).content.as_ref();
        if content.is_some_and(|content| content.rank().is_some_and(|rank| rank > 0)) {
            return updates;
        }
        let of = self.graph.data_type(indices);
        let first = self.part_int32(on, "axis", 0);
        let rows = self.gathered(on, "rows", (on.old, on.data_type), (indices, of), first);
        let shape = self.shape_of(on, "rows/shape", rows);
        let name = on.visit.part("updates");
        let node = Node::new(
            name,
            "BroadcastTo",
            vec![updates, shape],
            vec![on.data_type],
        );
        self.part(on, node.typed(on.data_type))
    }

    /// Slices of a tensor along an axis, at indices; both with their types.
    fn gathered(
        &mut self,
        on: &Updated<'_, 'a, '_>,
        part: &str,
        (tensor, data_type): (Tensor, i32),
        (indices, of): (Tensor, i32),
        axis: Tensor,
    ) -> Tensor {
        let inputs = vec![tensor, indices, axis];
        let node = Node::new(on.visit.part(part), "GatherV2", inputs, vec![data_type])
            .with("Tparams", value::data_type(data_type))
            .with("Tindices", value::data_type(of))
            .with("Taxis", value::data_type(INT32));
        self.part(on, node)
    }

    fn shape_of(&mut self, on: &Updated<'_, 'a, '_>, name: &str, tensor: Tensor) -> Tensor {
        let node = Node::new(on.visit.part(name), "Shape", vec![tensor], vec![INT32]);
        self.part(on, node.typed(on.data_type))
    }

    fn rows_scaled(
        &mut self,
        on: &Updated<'_, 'a, '_>,
        op: &'static str,
        indices: Tensor,
        updates: Tensor,
    ) -> Tensor {
        let updates = self.updates_of_rows(on, indices, updates);
        let shape = self.shape_of(on, "shape", on.old);
        let zero = self.part_int32(on, "first", 0);
        let count = self.gathered(on, "count", (shape, INT32), (zero, INT32), zero);
        let of = self.graph.data_type(indices);
        let name = on.visit.part("products");
        let inputs = vec![updates, indices, count];
        let node = Node::new(name, "UnsortedSegmentProd", inputs, vec![on.data_type])
            .typed(on.data_type)
            .with("Tindices", value::data_type(of));
        let products = self.part(on, node);
        self.combined(on, op, vec![on.old, products])
    }

    fn slice_replaced(&mut self, on: &Updated<'_, 'a, '_>, inputs: &[Tensor]) -> Result<Tensor> {
        let op = "TensorStridedSliceUpdate";
        let mut attrs = self.kept_attrs(on.visit, op_defs::find(op))?;
        attrs.retain(|(name, _)| name != "T");
        let inputs = std::iter::once(on.old).chain(inputs.iter().copied());
        Ok(self.result(on, op, inputs.collect(), |mut node| {
            node.attrs.extend(attrs);
            node
        }))
    }

    fn counted(&mut self, on: &Updated<'_, 'a, '_>) -> Tensor {
        let one: &[u8] = match on.data_type {
            INT64 => &1_i64.to_le_bytes(),
            _ => &1_i32.to_le_bytes(),
        };
        let content = Content::numeric(on.data_type, &[], one);
        let one = self.part(on, Node::constant(on.visit.part("one"), content));
        self.combined(on, "AddV2", vec![on.old, one])
    }

    /// The state of a generator after it has given so many numbers, if it counts as Philox does: the first two of its three numbers are one of 128 bits, low
    /// part first, and each number given takes 256 off the sequence.
    fn skipped(&mut self, on: &Updated<'_, 'a, '_>, inputs: &[Tensor]) -> Option<Tensor> {
        let &[_, delta] = inputs else { return None };
        let from = self.graph.data_type(delta);
        if on.data_type != INT64 || self.variables.get(on.index).shape != [3] {
            return None;
        }
        let int64s = |numbers: &[i64], shape: &[usize]| {
            let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
            Content::numeric(INT64, shape, &bytes)
        };
        let name = |part: &str| on.visit.part(part);
        let scale = Node::constant(name("scale"), int64s(&[256, 0, 0], &[3]));
        let scale = self.part(on, scale);
        let lowest = Node::constant(name("lowest"), int64s(&[i64::MIN], &[]));
        let lowest = self.part(on, lowest);
        let order: Vec<u8> = [1_i32, 0, 2].iter().flat_map(|n| n.to_le_bytes()).collect();
        let order = Content::numeric(INT32, &[3], &order);
        let order = self.part(on, Node::constant(name("order"), order));
        let axis = self.part_int32(on, "axis", 0);

        let delta = self.cast(on, "delta", delta, from);
        let step = self.int64(on, "step", "Mul", [delta, scale]);
        let moved = self.int64(on, "moved", "AddV2", [on.old, step]);
        // Numbers without a sign compare as those do that have one and are moved by half of the range.
        let one = self.int64(on, "moved/unsigned", "AddV2", [moved, lowest]);
        let other = self.int64(on, "old/unsigned", "AddV2", [on.old, lowest]);
        let less = Node::new(name("less"), "Less", vec![one, other], vec![BOOL]).typed(INT64);
        let less = self.part(on, less);
        let overflow = self.cast(on, "overflow", less, BOOL);
        let carry = self.gathered(on, "carry", (overflow, INT64), (order, INT32), axis);
        Some(self.combined(on, "AddV2", vec![moved, carry]))
    }

    fn int64(
        &mut self,
        on: &Updated<'_, 'a, '_>,
        name: &str,
        op: &'static str,
        inputs: [Tensor; 2],
    ) -> Tensor {
        let node = Node::new(on.visit.part(name), op, inputs.to_vec(), vec![INT64]);
        self.part(on, node.typed(INT64))
    }

    /// Another type as 64-bit integers.
    fn cast(&mut self, on: &Updated<'_, 'a, '_>, name: &str, tensor: Tensor, from: i32) -> Tensor {
        let node = Node::new(on.visit.part(name), "Cast", vec![tensor], vec![INT64])
            .with("SrcT", value::data_type(from))
            .with("DstT", value::data_type(INT64));
        self.part(on, node)
    }
}
