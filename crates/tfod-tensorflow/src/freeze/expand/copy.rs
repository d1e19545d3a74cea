//! Operations that are copied, once their inputs are tensors.

use std::borrow::Cow;

use tfod_proto::prost::Message;

use crate::op_defs;

use super::super::data_type::{RESOURCE, type_name};
use super::super::graph::{Node, Tensor};
use super::super::model::FunctionRef;
use super::super::table_ops::{makes_table, reads_table};
use super::super::wire::{Attr, attr, value};
use super::{Done, Expander, Result, Value, Visit, is_control_flow, strip_ref};

/// As many outputs as a node of an unknown operation is taken to have.
const UNKNOWN_OUTPUTS: u32 = 64;

/// As many outputs as an operation has that looks into a table.
const MOST_TABLE_OUTPUTS: usize = 2;

/// What `DataType` adds to a type for a reference to a variable of it.
const REFERENCE: i32 = 100;

impl<'a> Expander<'a, '_> {
    /// Any other operation: copied, once its inputs are tensors.
    pub(super) fn plain(&mut self, visit: Visit<'a, '_>) -> Result<Done> {
        let op = strip_ref(visit.def.op);
        if is_control_flow(op)
            && visit
                .inputs
                .iter()
                .any(|value| matches!(value, Value::Variable { .. }))
        {
            return self.routed_handle(visit, op);
        }
        if let ("Identity", [Value::Variable { .. } | Value::Refused(_)]) =
            (op, visit.inputs.as_slice())
        {
            return Ok(Done {
                values: visit.inputs,
                controls: visit.controls,
                ..Done::default()
            });
        }
        if op == "IdentityN"
            && visit
                .inputs
                .iter()
                .any(|value| !matches!(value, Value::Tensor(_)))
        {
            return Ok(Done {
                values: visit.inputs,
                controls: visit.controls,
                ..Done::default()
            });
        }
        match visit.inputs.first() {
            Some(Value::Tensor(_)) if reads_table(op) => self.copied(visit),
            Some(table @ Value::Refused(_)) if reads_table(op) => Ok(Done {
                values: vec![table.clone(); MOST_TABLE_OUTPUTS],
                ..Done::default()
            }),
            _ => match self.uninitialised(&visit, op)? {
                Some(refused) => Ok(refused),
                None => self.copied(visit),
            },
        }
    }

    /// A stateful operation that makes something which has to be filled first.
    fn uninitialised(&self, visit: &Visit<'a, '_>, op: &str) -> Result<Option<Done>> {
        let def = self.model.op_def(op);
        if def.is_some_and(|def| !def.is_stateful) {
            return Ok(None);
        }
        let outputs = match def.map(|def| def.output_types(visit.attrs.as_slice())) {
            Some(outputs) => Some(outputs.map_err(|problem| self.error(&visit.place, problem))?),
            None => None,
        };
        let reason = needs_initialisation(op, outputs.as_deref().unwrap_or_default());
        Ok(reason.map(|reason| Self::refused(visit, outputs.map_or(1, |o| o.len()), reason)))
    }

    /// An operation as it is, with its inputs in the new graph.
    pub(super) fn copied(&mut self, visit: Visit<'a, '_>) -> Result<Done> {
        let op = strip_ref(visit.def.op);
        let def = self.model.op_def(op);
        let outputs = match def.map(|def| def.output_types(visit.attrs.as_slice())) {
            Some(outputs) => Some(outputs.map_err(|problem| self.error(&visit.place, problem))?),
            None => None,
        };
        let is_stateful = def.is_none_or(|def| def.is_stateful);
        // What stands in the way of an input says more than what the operation does with it.
        let inputs = self.tensors(&visit)?;
        if def.is_some_and(|def| def.inputs.iter().any(|input| input.is_ref)) && op == visit.def.op
        {
            return Err(self.refuse(
                &visit.place,
                "it changes a reference variable of TensorFlow 1 behind control flow or an operation that is not known to hand it on; choose outputs that do not \
                 need it, or write the model again with resource variables",
            ));
        }
        self.check_inputs(&visit, def, &inputs)?;
        self.pay(&visit.place, outputs.as_ref().map_or(0, Vec::len))?;
        let mut node = Node::new(visit.name.clone(), Cow::Borrowed(op), inputs, Vec::new())
            .after(&visit.controls);
        // An operation that nobody knows could have any number of outputs; as many as can be referred to are given.
        node.outputs = outputs;
        let is_effect = is_stateful && !reads_table(op) && !makes_table(op);
        node.is_effect = is_effect || is_control_flow(op);
        node.attrs = self.kept_attrs(&visit, def)?;
        if node.outputs.is_none() {
            let node = self.graph.add(visit.scope, node);
            let values = (0..UNKNOWN_OUTPUTS)
                .map(|port| Value::Tensor(Tensor { node, port }))
                .collect();
            return Ok(Done {
                values,
                controls: vec![node],
                ..Done::default()
            });
        }
        Ok(self.single(visit.scope, node))
    }

    fn check_inputs(
        &self,
        visit: &Visit<'a, '_>,
        def: Option<&op_defs::OpDef<'_>>,
        inputs: &[Tensor],
    ) -> Result<()> {
        let Some(def) = def else { return Ok(()) };
        let expected = def
            .input_types(visit.attrs.as_slice())
            .map_err(|problem| self.error(&visit.place, problem))?;
        if expected.len() != inputs.len() {
            return Err(self.error(
                &visit.place,
                format!(
                    "it has {} inputs, and needs {}",
                    inputs.len(),
                    expected.len()
                ),
            ));
        }
        for (index, (&input, expected)) in inputs.iter().zip(expected).enumerate() {
            // A merge that waits for the next iteration refers to itself.
            if input.node.index() >= self.graph.nodes.len() {
                continue;
            }
            let found = self.graph.data_type(input);
            let expected = if expected > REFERENCE {
                expected - REFERENCE
            } else {
                expected
            };
            if found != 0 && found != expected {
                let (found, expected) = (type_name(found), type_name(expected));
                return Err(self.error(
                    &visit.place,
                    format!("its input {index} must be {expected}, and is {found}"),
                ));
            }
        }
        Ok(())
    }

    /// The attributes to be kept: no private ones, none at its default; functions renamed as they are in the new library.
    pub(super) fn kept_attrs(
        &mut self,
        visit: &Visit<'a, '_>,
        def: Option<&op_defs::OpDef<'_>>,
    ) -> Result<Vec<Attr<'a>>> {
        let mut kept = Vec::with_capacity(visit.attrs.len());
        for &(name, value) in &visit.attrs {
            if name.starts_with('_')
                || def
                    .and_then(|def| def.default(name))
                    .is_some_and(|default| is_same(value, default))
            {
                continue;
            }
            let value = match (
                attr::func(value),
                attr::list(value).and_then(|_| attr::funcs(value)),
            ) {
                (Some(_), _) => {
                    let function = visit.func(name).ok_or_else(|| {
                        self.error(&visit.place, format!("attribute `{name}` is damaged"))
                    })?;
                    let kept = self.kept_function(&visit.place, &function, None)?;
                    value::func(&kept)
                }
                (None, Some(functions)) if !functions.is_empty() => {
                    let mut names = Vec::with_capacity(functions.len());
                    for list in functions {
                        let function = FunctionRef::parse(list).ok_or_else(|| {
                            self.error(&visit.place, format!("attribute `{name}` is damaged"))
                        })?;
                        names.push(self.kept_function(&visit.place, &function, None)?);
                    }
                    value::funcs(names.iter().map(String::as_str))
                }
                _ if tfod_proto::AttrValue::decode(value).is_err() => {
                    return Err(self.error(&visit.place, format!("attribute `{name}` is damaged")));
                }
                _ => Cow::Borrowed(value),
            };
            kept.push((Cow::Borrowed(name), value));
        }
        Ok(kept)
    }
}

/// Whether two encoded `AttrValue`s mean the same.
fn is_same(value: &[u8], default: &[u8]) -> bool {
    const SMALL: usize = 256;
    if value == default {
        return true;
    }
    if value.len() > SMALL {
        return false;
    }
    let (value, default) = (
        tfod_proto::AttrValue::decode(value),
        tfod_proto::AttrValue::decode(default),
    );
    matches!((value, default), (Ok(value), Ok(default)) if value == default)
}

/// Why a resource cannot be in a frozen graph where nothing is known that makes it.
pub(crate) const UNMADE_RESOURCE: &str = "a resource, which has to be made and filled before the graph runs, and a GraphDef holds neither the \
     resource nor what fills it; keep the model as a SavedModel, or choose outputs that do not need it";

/// Why a stateful operation cannot be in a frozen graph, if it makes something that has to be filled first.
fn needs_initialisation(op: &str, outputs: &[i32]) -> Option<&'static str> {
    if op.contains("Table") || op.contains("MutableDenseHash") {
        return Some(
            "a table that has to be filled before the graph runs, in a way that a frozen graph does not know; keep the model as a SavedModel, or choose outputs that \
             do not need it",
        );
    }
    if op.contains("Iterator") {
        return Some(
            "an iterator, which has to be made before the graph runs; freeze a signature that takes what the iterator gives, or choose outputs that do not need it",
        );
    }
    // Arrays and stacks are made where they are used.
    let is_local = op.starts_with("TensorArray") || op.starts_with("Stack");
    let is_resource = outputs.contains(&RESOURCE) && !is_local;
    is_resource.then_some(UNMADE_RESOURCE)
}
