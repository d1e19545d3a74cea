//! A map, vectorised: its body lowered for all slices at once. See the [module above](super).
//!
//! A map inside the body of another is a map over the slices of all slices: both dimensions become one for its body, and two again after it.

use tfod_graph::{Dim, Graph, MapInput, Node, Shape, ValueId};

use super::{Bound, Form, FormedTensor, Lowering, all_slices};
use crate::Error;
use crate::emit::TensorId;
use crate::layout::{Layout, Plan};

impl<'a> Lowering<'a, '_> {
    pub(super) fn map(
        &mut self,
        node: &'a Node,
        body: &'a Graph,
        kinds: &[MapInput],
    ) -> Result<Vec<FormedTensor>, Error> {
        let name = self.name(&node.name);
        // Sizes that differ from slice to slice are no sizes of all slices at once.
        let unknown = body.outputs().iter().map(|o| body.value(o.value));
        if let Some(value) = unknown.into_iter().find(|v| v.shape.sizes().is_none()) {
            return Err(Error::Unsupported {
                node: name,
                what: format!(
                    "a map whose results have the shape {}, known only at run time,",
                    value.shape
                ),
                expected: "known sizes",
            });
        }
        let is_inner = self.any_batched(node);
        let sliced = kinds.iter().position(|kind| *kind == MapInput::Sliced);
        let sliced = node.input(sliced.unwrap_or(0))?;
        // Validation has found a leading dimension.
        let slices = self.graph.value(sliced).shape.dims().first().cloned();
        let slices = slices.unwrap_or(Dim::Known(1));
        let batch = match &self.batch {
            Some((outer, _)) if is_inner => all_slices(&name, outer, &slices)?,
            _ => slices.clone(),
        };

        let like = self.slices(node, sliced, is_inner, &batch)?;
        let mut arguments = Vec::with_capacity(kinds.len());
        for (&value, kind) in node.inputs.iter().zip(kinds) {
            arguments.push(match kind {
                MapInput::Sliced => {
                    let id = self.slices(node, value, is_inner, &batch)?;
                    Bound::Tensor(Form::batched(true).of(id))
                }
                MapInput::Whole if self.is_batched(value) => {
                    let id = self.operand(value, Layout::ChannelsLast)?;
                    let id = self.repeat(&name, id, &slices, &batch, sliced)?;
                    Bound::Tensor(Form::batched(true).of(id))
                }
                MapInput::Whole => self.find(value)?,
            });
        }

        let plan = Plan::new(body, Layout::ChannelsLast);
        let mut inner = Lowering::new(body, self.weights, self.opset, plan, self.emitter);
        inner.scope = format!("{name}/");
        inner.batch = Some((batch, like));
        inner.bind(body.inputs(), arguments);
        inner.run()?;
        let results = body.outputs().iter();
        let results = results
            .map(|output| inner.batched_operand(output.value))
            .collect::<Result<Vec<_>, _>>()?;

        let places = node.outputs.iter().zip(results).map(|(&value, id)| {
            let (_, shape) = self.typed(value, Form::batched(is_inner));
            let id = self.reshape(&format!("{name}/by_slice"), id, shape)?;
            Ok(Form::batched(is_inner).of(id))
        });
        places.collect()
    }

    /// All slices of a value, in one dimension `batch`.
    fn slices(
        &mut self,
        node: &Node,
        value: ValueId,
        is_inner: bool,
        batch: &Dim,
    ) -> Result<TensorId, Error> {
        if !is_inner {
            return self.operand(value, Layout::ChannelsLast);
        }
        let id = self.batched_operand(value)?;
        let rest = self.emitter.dims(id).iter().skip(2).cloned().collect();
        let shape = Shape(rest).with_leading(batch.clone());
        self.reshape(&format!("{}/all_slices", self.name(&node.name)), id, shape)
    }

    /// A batched value once for each slice of an inner map.
    fn repeat(
        &mut self,
        name: &str,
        id: TensorId,
        slices: &Dim,
        batch: &Dim,
        sliced: ValueId,
    ) -> Result<TensorId, Error> {
        let id = self.unsqueeze(&format!("{name}/whole"), id, &[1]);
        let mut dims = self.emitter.dims(id).to_vec();
        dims[1] = slices.clone();
        let like = self.batched_operand(sliced)?;
        let id = self.expand(
            &format!("{name}/for_each"),
            id,
            Shape(dims.clone()),
            &[like],
        )?;
        let rest = Shape(dims.split_off(2)).with_leading(batch.clone());
        self.reshape(&format!("{name}/all_slices"), id, rest)
    }
}
