//! Operations on the handles of variables: a frozen graph has the values instead.

use std::borrow::Cow;

use crate::op_defs;

use super::super::constants::Content;
use super::super::data_type::{INT32, type_name};
use super::super::error::NodePlace;
use super::super::graph::{Node, ScopeId, Tensor};
use super::super::variables::Handle;
use super::super::wire::{attr, value};
use super::{Done, Expander, Reference, Result, Value, Visit, Written};

impl<'a> Expander<'a, '_> {
    pub(super) fn variable(&mut self, visit: &Visit<'a, '_>, what: &str) -> Result<Done> {
        if visit.place.function.is_some() {
            return Err(self.refuse(
                &visit.place,
                format!("it makes a {what} inside of a function"),
            ));
        }
        if let Some(asset) = self.model.asset_of_variable(visit.def.name) {
            return Ok(Done {
                values: vec![Self::asset_path(&visit.place, asset)],
                ..Done::default()
            });
        }
        let index = self.variables.of(&Handle::of(visit.def), &visit.place)?;
        let variable = self.variables.get(index);
        let declared = visit.attr("dtype").and_then(attr::data_type);
        if declared.is_some_and(|declared| declared != variable.data_type()) {
            let (stored, declared) = (variable.dtype, type_name(declared.unwrap_or(0)));
            return Err(self.error(
                &visit.place,
                format!(
                    "the variable is {declared}, and its stored value `{}` is {stored}",
                    variable.key
                ),
            ));
        }
        Ok(Done {
            values: vec![Value::handle(index)],
            ..Done::default()
        })
    }

    /// A variable of TensorFlow 1, and its saved value.
    pub(super) fn reference_variable(&mut self, visit: &Visit<'a, '_>) -> Result<Done> {
        let mut done = self.variable(visit, "variable")?;
        for value in &mut done.values {
            let index = match value {
                Value::Variable { index, .. } => Some(*index),
                _ => None,
            };
            let tensor = self.read(&visit.place, value.clone(), visit.scope)?;
            *value = match index {
                Some(index) => Value::Reference(Reference {
                    index,
                    read: Some(tensor),
                    written: None,
                    is_routed: false,
                }),
                None => Value::Tensor(tensor),
            };
        }
        Ok(done)
    }

    /// The value of a variable in a scope.
    pub(crate) fn read(
        &mut self,
        place: &NodePlace,
        handle: Value,
        scope: ScopeId,
    ) -> Result<Tensor> {
        if let Value::Variable { index, .. } = handle {
            self.updates.note_read(index, place);
        }
        match handle {
            Value::Variable {
                read: Some(tensor), ..
            } => Ok(tensor),
            Value::Variable {
                index, read: None, ..
            } => {
                let constant = self.constant_of(index);
                Ok(self.graph.bring(constant, scope))
            }
            Value::Reference(_) => {
                let mut values = [handle];
                self.settle(place, &Written::default(), &mut values)?;
                let [value] = values;
                self.read_or_tensor(place, value)
            }
            Value::Tensor(_) => Err(self.refuse(
                place,
                "the resource it uses is not a variable that the SavedModel holds",
            )),
            Value::Refused(refusal) => Err(self.use_of(place, &refusal)),
        }
    }

    /// The constant of a variable, at the top level.
    fn constant_of(&mut self, index: usize) -> Tensor {
        let node = if let Some(&node) = self.reads.get(&index) {
            node
        } else {
            let variable = self.variables.get(index);
            let content = Content::Variable {
                index,
                data_type: variable.data_type(),
            };
            let node = self.graph.add(
                ScopeId::ROOT,
                Node::constant(variable.name.clone(), content),
            );
            self.reads.insert(index, node);
            node
        };
        Tensor::of(node)
    }

    /// `ResourceGather`: the axis is the first that is not a batch dimension.
    pub(super) fn gather(&mut self, visit: Visit<'a, '_>) -> Result<Done> {
        let [handle, indices] = self.inputs(&visit)?;
        let params = self.read(&visit.place, handle, visit.scope)?;
        let indices = self.tensor(&visit, &indices)?;
        let batch_dims = visit.attr("batch_dims").and_then(attr::int).unwrap_or(0);
        let axis = i32::try_from(batch_dims)
            .map_err(|_| self.error(&visit.place, "attribute `batch_dims` is out of range"))?;
        let axis = Node::constant(visit.part("axis"), Content::int32(axis));
        let axis = Tensor::of(self.graph.add(visit.scope, axis));
        let (params_type, indices_type) =
            (self.graph.data_type(params), self.graph.data_type(indices));
        let mut node = Node::new(
            visit.name,
            "GatherV2",
            vec![params, indices, axis],
            vec![params_type],
        )
        .with("Tparams", value::data_type(params_type))
        .with("Tindices", value::data_type(indices_type))
        .with("Taxis", value::data_type(INT32))
        .after(&visit.controls);
        if batch_dims != 0 {
            node = node.with("batch_dims", value::int(batch_dims));
        }
        Ok(self.single(visit.scope, node))
    }

    pub(super) fn gather_nd(&mut self, visit: Visit<'a, '_>) -> Result<Done> {
        let [handle, indices] = self.inputs(&visit)?;
        let params = self.read(&visit.place, handle, visit.scope)?;
        let indices = self.tensor(&visit, &indices)?;
        let (params_type, indices_type) =
            (self.graph.data_type(params), self.graph.data_type(indices));
        let node = Node::new(
            visit.name,
            "GatherNd",
            vec![params, indices],
            vec![params_type],
        )
        .with("Tparams", value::data_type(params_type))
        .with("Tindices", value::data_type(indices_type))
        .after(&visit.controls);
        Ok(self.single(visit.scope, node))
    }

    pub(super) fn variable_shape(&mut self, visit: Visit<'a, '_>) -> Result<Done> {
        let [handle] = self.inputs(&visit)?;
        let tensor = self.read(&visit.place, handle, visit.scope)?;
        let out_type = visit
            .attr("out_type")
            .and_then(attr::data_type)
            .unwrap_or(INT32);
        let data_type = self.graph.data_type(tensor);
        let mut node = Node::new(visit.name, "Shape", vec![tensor], vec![out_type])
            .typed(data_type)
            .after(&visit.controls);
        if out_type != INT32 {
            node = node.with("out_type", value::data_type(out_type));
        }
        Ok(self.single(visit.scope, node))
    }

    /// Control flow of the original graph on a variable's handle: it happens to the variable's value instead.
    pub(super) fn routed_handle(&mut self, visit: Visit<'a, '_>, op: &'a str) -> Result<Done> {
        let mut variable = None;
        let mut inputs = Vec::with_capacity(visit.inputs.len());
        for value in &visit.inputs {
            if let Value::Variable { index, .. } = value {
                if variable.is_some_and(|variable| variable != *index) {
                    return Err(self.refuse(
                        &visit.place,
                        "which variable it gives is decided while the graph runs",
                    ));
                }
                variable = Some(*index);
                inputs.push(self.read(&visit.place, value.clone(), visit.scope)?);
            } else {
                inputs.push(self.tensor(&visit, value)?);
            }
        }
        let data_type = variable.map_or(0, |index| self.variables.get(index).data_type());
        let mut node = Node::new(visit.name.clone(), Cow::Borrowed(op), inputs, Vec::new())
            .after(&visit.controls);
        let def = op_defs::find(op);
        node.attrs = self.kept_attrs(&visit, def)?;
        node.attrs.retain(|(name, _)| name != "T");
        node = node.typed(data_type);
        let outputs = def.map(|def| def.output_types(node.attrs.as_slice()));
        node.outputs = outputs
            .transpose()
            .map_err(|problem| self.error(&visit.place, problem))?;
        node.is_effect = true;
        let mut done = self.single(visit.scope, node);
        // The second output of a merge is a number.
        let handles = if op == "Switch" { 2 } else { 1 };
        for value in done.values.iter_mut().take(handles) {
            if let (Some(index), Value::Tensor(tensor)) = (variable, &*value) {
                *value = Value::Variable {
                    index,
                    read: Some(*tensor),
                    routed: Some(visit.written.routed(index)),
                };
            }
        }
        Ok(done)
    }
}
