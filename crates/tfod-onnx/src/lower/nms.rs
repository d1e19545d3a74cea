//! Non-max suppression: all classes of all images in one operator.
//!
//! The graph has a suppression for each class, with padded results in the order of the scores. ONNX's operator does all classes and images at once,
//! and returns a list of `[image, class, box]` of no fixed length. So suppressions of one set of boxes, with equal thresholds, over all parts of one
//! unstacked value are recognised as a *group* and become one operator; then the list becomes a table:
//!
//! ```text
//! selected = NonMaxSuppression(boxes [b, n, 4], scores [b, c, n])      [any, 3]
//! kept     = scores where selected, -inf elsewhere                     [b, c, n]
//! best     = TopK(kept)                                                [b, c, m], with indices
//! ```
//!
//! Rebuilding the table from the scores makes it independent of the order of the list, which the standard leaves open, and `TopK` has the graph's
//! order: descending, of equals the lower index first. The thresholds of both are strict.

use std::collections::HashMap;

use tfod_graph::{DType, Dim, Graph, NmsAttrs, Node, NodeId, Op, Shape, ValidateError, ValueId};

use super::{Form, FormedTensor, Lowering, axis_number, size};
use crate::Error;
use crate::emit::{Attr, TensorId};
use crate::layout::Layout;

/// A suppression's place in its group.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// The node that stands for the group.
    first: NodeId,
    /// Which of the group's rows this suppression is.
    row: usize,
    /// The value whose parts are the rows' scores, and along which axis; `None` for a suppression by itself.
    unstacked: Option<(ValueId, usize)>,
}

/// The results of a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    /// Indices `[rows, m]` and counts `[rows]`.
    columns: [TensorId; 2],
    rows: usize,
    batched: bool,
}

/// Suppressions that differ in nothing but which part of one unstacked value their scores are.
type SuppressionKey = (ValueId, NodeId, [u32; 2], u64);

/// Finds the groups of a graph. A group has a suppression for every part, once.
pub(super) fn groups(graph: &Graph) -> HashMap<NodeId, Group> {
    let mut kinds: HashMap<SuppressionKey, Vec<(NodeId, usize)>> = HashMap::new();
    let mut groups = HashMap::new();
    for (id, node) in graph.nodes() {
        let (Op::NonMaxSuppression(attrs), [boxes, scores]) = (&node.op, node.inputs.as_slice())
        else {
            continue;
        };
        let alone = Group {
            first: id,
            row: 0,
            unstacked: None,
        };
        groups.insert(id, alone);
        let scores = graph.value(*scores);
        if matches!(graph.node(scores.node).op, Op::Unstack { .. }) {
            let settings = [attrs.iou_threshold, attrs.score_threshold];
            let settings = settings.map(f32::to_bits);
            let kind = (*boxes, scores.node, settings, attrs.max_output_size);
            kinds.entry(kind).or_default().push((id, scores.output));
        }
    }
    for ((_, unstack, ..), members) in kinds {
        let unstack = graph.node(unstack);
        let mut rows: Vec<usize> = members.iter().map(|(_, row)| *row).collect();
        rows.sort_unstable();
        let is_complete = rows.into_iter().eq(0..unstack.outputs.len());
        if let (true, Op::Unstack { axis }, [whole], Some((first, _))) = (
            is_complete,
            &unstack.op,
            unstack.inputs.as_slice(),
            members.first(),
        ) {
            for &(id, row) in &members {
                let group = Group {
                    first: *first,
                    row,
                    unstacked: Some((*whole, *axis)),
                };
                groups.insert(id, group);
            }
        }
    }
    groups
}

impl<'a> Lowering<'a, '_> {
    pub(super) fn non_max_suppression(
        &mut self,
        id: NodeId,
        node: &'a Node,
        attrs: NmsAttrs,
    ) -> Result<Vec<FormedTensor>, Error> {
        let missing = || ValidateError::Order {
            node: node.name.clone(),
        };
        let group = self.groups.get(&id).cloned().ok_or_else(missing)?;
        let table = if let Some(table) = self.tables.get(&group.first) {
            *table
        } else {
            let table = self.suppress(node, &group, attrs)?;
            self.tables.insert(group.first, table);
            table
        };
        let name = self.name(&node.name);
        let axis = usize::from(table.batched);
        let parts = ["indices", "count"];
        let results = parts.into_iter().zip(table.columns).map(|(part, column)| {
            let name = format!("{name}/{part}");
            let id = self.pick(&name, column, axis, axis_number(group.row));
            Form::batched(table.batched).of(id)
        });
        Ok(results.collect())
    }

    /// The whole column of a group's table, where a node stacks just that together again.
    pub(super) fn stacked_table(&self, node: &Node, axis: usize) -> Option<FormedTensor> {
        let first = self.graph.value(*node.inputs.first()?);
        let group = self.groups.get(&first.node)?;
        let table = self.tables.get(&group.first)?;
        let in_order = node.inputs.iter().enumerate().all(|(row, value)| {
            let value = self.graph.value(*value);
            value.output == first.output
                && self
                    .groups
                    .get(&value.node)
                    .is_some_and(|other| (other.first, other.row) == (group.first, row))
        });
        let column = table.columns.get(first.output)?;
        (axis == 0 && in_order && node.inputs.len() == table.rows)
            .then(|| Form::batched(table.batched).of(*column))
    }

    /// The scores of a group as `[rows, n]`, batched or not as they are.
    fn rows_of_scores(&mut self, node: &Node, group: &Group) -> Result<(TensorId, bool), Error> {
        let name = self.name(&node.name);
        let Some((whole, axis)) = group.unstacked else {
            let scores = node.input(1)?;
            let batched = self.is_batched(scores);
            let id = self.operand(scores, Layout::ChannelsLast)?;
            let id = self.unsqueeze(&format!("{name}/score_row"), id, &[usize::from(batched)]);
            return Ok((id, batched));
        };
        let batched = self.is_batched(whole);
        let id = self.operand(whole, Layout::ChannelsLast)?;
        if axis == 0 {
            return Ok((id, batched));
        }
        let order: &[usize] = if batched { &[0, 2, 1] } else { &[1, 0] };
        let name = format!("{}/by_row", self.name_of(whole));
        Ok((self.permute(&name, id, order), batched))
    }

    /// Writes the operator for a group, and the table of its results.
    fn suppress(&mut self, node: &Node, group: &Group, attrs: NmsAttrs) -> Result<Table, Error> {
        let stem = self.name(&node.name);
        let value = node.input(0)?;
        let (scores, own_scores) = self.rows_of_scores(node, group)?;
        let own_boxes = self.is_batched(value);
        let batched = own_scores || own_boxes;
        let boxes = self.operand(value, Layout::ChannelsLast)?;
        let boxes = self.with_images(&format!("{stem}/boxes"), boxes, own_boxes, batched)?;
        let name = format!("{stem}/all_scores");
        let scores = self.with_images(&name, scores, own_scores, batched)?;

        let selected = Dim::symbol(&format!("{stem}/num_selected"));
        let inputs = [
            boxes,
            scores,
            self.integer(size(&stem, attrs.max_output_size)?),
            self.float(attrs.iou_threshold),
            self.float(attrs.score_threshold),
        ];
        let name = format!("{stem}/selected");
        let typed = (DType::I64, Shape(vec![selected.clone(), 3.into()]));
        let list = self
            .emitter
            .add(&name, "NonMaxSuppression", &inputs, vec![], typed);
        let name = format!("{stem}/selected_scores");
        let typed = (DType::F32, Shape(vec![selected]));
        let picked = self
            .emitter
            .add(&name, "GatherND", &[scores, list], vec![], typed);
        let blank = self.blank(node, scores, attrs.max_output_size)?;
        let name = format!("{stem}/kept");
        let typed = (DType::F32, Shape(self.emitter.dims(blank).to_vec()));
        let kept = self
            .emitter
            .add(&name, "ScatterND", &[blank, list, picked], vec![], typed);
        let mut columns = self.columns(&stem, kept, attrs.max_output_size)?;
        if !batched {
            let parts = ["indices", "counts"];
            for (column, part) in columns.iter_mut().zip(parts) {
                *column = self.pick(&format!("{stem}/{part}"), *column, 0, 0);
            }
        }
        columns[0] = self.narrow(&format!("{stem}/all_indices"), columns[0]);
        let rows = self.emitter.dims(scores).get(1).and_then(Dim::known);
        Ok(Table {
            columns,
            rows: rows.and_then(|n| usize::try_from(n).ok()).unwrap_or(0),
            batched,
        })
    }

    /// For each row of scores that are not minus infinity, the `m` best: 64-bit indices, and how many there are.
    fn columns(&mut self, stem: &str, kept: TensorId, m: u64) -> Result<[TensorId; 2], Error> {
        let [best, places] = self.best(&format!("{stem}/best"), kept, m)?;
        let nothing = self.float(f32::NEG_INFINITY);
        let no_index = self.integer(0);
        let shape = Shape(self.emitter.dims(best).to_vec());
        let mut add = |part: &str, op, inputs: &[TensorId], dtype| {
            let name = format!("{stem}/{part}");
            self.emitter
                .add(&name, op, inputs, vec![], (dtype, shape.clone()))
        };
        let filled = add("filled", "Greater", &[best, nothing], DType::Bool);
        let indices = add(
            "wide_indices",
            "Where",
            &[filled, places, no_index],
            DType::I64,
        );
        let ones = self.cast(&format!("{stem}/ones"), filled, DType::I32);
        let axes = self.integers(&[2]);
        let counts = self.emitter.add(
            &format!("{stem}/counts"),
            "ReduceSum",
            &[ones, axes],
            vec![Attr::Int("keepdims", 0)],
            (
                DType::I32,
                Shape(shape.dims().iter().take(2).cloned().collect()),
            ),
        );
        Ok([indices, counts])
    }

    /// A tensor with the dimension of the images in front.
    fn with_images(
        &mut self,
        name: &str,
        id: TensorId,
        own: bool,
        batched: bool,
    ) -> Result<TensorId, Error> {
        match &self.batch {
            _ if own => Ok(id),
            Some((batch, like)) if batched => {
                let (shape, like) = (Shape(self.emitter.dims(id).to_vec()), *like);
                let shape = shape.with_leading(batch.clone());
                self.expand(name, id, shape, &[like])
            }
            _ => Ok(self.unsqueeze(name, id, &[0])),
        }
    }

    /// A table without scores, in the shape of `scores`, but with at least `m` columns: `m` more where their number is not known.
    fn blank(&mut self, node: &Node, scores: TensorId, m: u64) -> Result<TensorId, Error> {
        let stem = self.name(&node.name);
        let name = format!("{stem}/blank");
        let nothing = self.float(f32::NEG_INFINITY);
        let [images, rows, n] =
            <[Dim; 3]>::try_from(self.emitter.dims(scores).to_vec()).map_err(|dims| {
                Error::Unsupported {
                    node: node.name.clone(),
                    what: format!("scores of {} dimensions", dims.len()),
                    expected: "one row of scores for each class",
                }
            })?;
        if let Dim::Known(n) = n {
            let shape = Shape(vec![images, rows, m.max(n).into()]);
            return self.expand(&name, nothing, shape, &[scores]);
        }
        let too_large = || Error::TooLarge {
            node: node.name.clone(),
            value: m,
        };
        let n = n.grown(m).ok_or_else(too_large)?;
        let dims = self.emitter.dims(scores).to_vec();
        let sizes = self.sizes(&name, &dims, &[scores], None)?;
        let more = [0, 0, size(&stem, m)?];
        let more = self.integers(&more);
        let typed = (DType::I64, Shape::known(&[3]));
        let sum = format!("{name}/wider");
        let sizes = self.emitter.add(&sum, "Add", &[sizes, more], vec![], typed);
        let typed = (DType::F32, Shape(vec![images, rows, n]));
        Ok(self
            .emitter
            .add(&name, "Expand", &[nothing, sizes], vec![], typed))
    }
}
