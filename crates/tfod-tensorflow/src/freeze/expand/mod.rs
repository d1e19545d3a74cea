//! Expansion: a signature's graph and the functions it calls become one flat [`Graph`] without variables.
//!
//! This is partial evaluation. A body's nodes are visited from its results backwards; what a node gives is a [`Value`]: a tensor of the new
//! graph, or the handle of a variable, which exists only during expansion. Reading a handle gives the constant; passing it to a call passes it
//! on.
//!
//! | file | holds |
//! | --- | --- |
//! | `instance` | a body being expanded, and where its visit has come to |
//! | `values` | what nodes give to each other meanwhile |
//! | `handles` | operations on the handles of variables |
//! | `calls` | functions expanded in place |
//! | `references` | reference variables of TensorFlow 1 |
//! | `updates` | assignments to variables, and the order of reads after them |
//! | `new_values` | the values that assignments give |
//! | `tables` | lookup tables and what fills them |
//! | `copy` | all other operations |
//!
//! Conditionals and loops are in `control_flow`, and functions that stay functions in `functions`.

mod calls;
mod copy;
mod handles;
mod instance;
mod new_values;
mod references;
mod tables;
mod updates;
mod values;

use std::collections::HashMap;
use std::rc::Rc;

use crate::op_defs;

use super::budget::Budget;
use super::constants::{self, Content};
use super::error::{FreezeError, NodePlace};
use super::file::File;
use super::functions::Library;
use super::graph::{Graph, Node, NodeId, ScopeId, Tensor};
use super::model::{Body, FunctionRef, MetaGraph, NodeDef};
use super::table_ops::{changes_table, makes_table};
use super::variables::Variables;
use super::wire::attr;

pub(crate) use copy::UNMADE_RESOURCE;
pub(crate) use instance::{Entry, Instance};
pub(crate) use references::Reference;
pub(crate) use updates::{Mark, New, Unknown, Written};
pub(crate) use values::{Done, NodeInput, Routed, Value, Visit};

use instance::Slot;
use tables::Tables;
use updates::Updates;
use values::Refusal;

type Result<T> = std::result::Result<T, FreezeError>;

/// The state of an expansion.
pub(crate) struct Expander<'a, 'm> {
    pub(crate) file: &'a File,
    pub(crate) model: &'m MetaGraph<'a>,
    pub(crate) keep_control_flow: bool,
    pub(crate) graph: Graph<'a>,
    pub(crate) variables: Variables<'a, 'm>,
    pub(crate) library: Library<'a>,
    pub(crate) budget: Budget,
    /// The functions being expanded, outermost first.
    pub(crate) active: Vec<&'a str>,
    pub(crate) updates: Updates,
    pub(crate) tables: Tables<'a>,
    /// The node that needs the function being expanded, where that stays a function.
    pub(crate) keeper: Option<NodePlace>,
    /// The constant of each variable that was read.
    reads: HashMap<usize, NodeId>,
}

impl<'a, 'm> Expander<'a, 'm> {
    pub(crate) fn new(file: &'a File, model: &'m MetaGraph<'a>, keep_control_flow: bool) -> Self {
        Self {
            file,
            model,
            keep_control_flow,
            graph: Graph::new(),
            variables: Variables::new(file, model),
            library: Library::default(),
            budget: Budget::new(),
            active: Vec::new(),
            updates: Updates::default(),
            tables: Tables::default(),
            keeper: None,
            reads: HashMap::new(),
        }
    }

    pub(crate) fn error(&self, place: &NodePlace, problem: impl Into<String>) -> FreezeError {
        FreezeError::Graph {
            path: self.file.path.clone(),
            place: Box::new(place.clone()),
            problem: problem.into(),
        }
    }

    pub(crate) fn refuse(&self, place: &NodePlace, reason: impl Into<String>) -> FreezeError {
        FreezeError::Refused {
            path: self.file.path.clone(),
            place: Box::new(place.clone()),
            reason: reason.into(),
        }
    }

    pub(crate) fn limit(&self, place: &NodePlace, problem: impl Into<String>) -> FreezeError {
        FreezeError::Limit {
            path: self.file.path.clone(),
            place: Box::new(place.clone()),
            problem: problem.into(),
        }
    }

    pub(crate) fn pay(&mut self, place: &NodePlace, amount: usize) -> Result<()> {
        self.budget
            .pay(amount)
            .map_err(|exhausted| self.limit(place, exhausted.to_string()))
    }

    /// Finds what an input of a node refers to.
    pub(crate) fn source(
        &self,
        instance: &Instance<'a, 'm>,
        at: &NodePlace,
        input: &str,
    ) -> Result<NodeInput> {
        let missing = |name: &str| {
            self.error(
                at,
                format!("its input `{input}` refers to `{name}`, which does not exist here"),
            )
        };
        if let Some(name) = input.strip_prefix('^') {
            return match instance.body.by_name.get(name) {
                Some(&node) => Ok(NodeInput::Control(node)),
                None if instance.arguments.contains_key(name) => Ok(NodeInput::Nothing),
                None => Err(missing(name)),
            };
        }
        let (name, rest) = input
            .split_once(':')
            .map_or((input, None), |(name, rest)| (name, Some(rest)));
        if instance.function.is_some()
            && let Some(&argument) = instance.arguments.get(name)
            && !instance.body.by_name.contains_key(name)
        {
            return Ok(NodeInput::Argument(argument));
        }
        let &node = instance
            .body
            .by_name
            .get(name)
            .ok_or_else(|| missing(name))?;
        let port = match (rest, instance.function) {
            (None, _) => 0,
            (Some(port), None) => port.parse().map_err(|_| missing(port))?,
            (Some(output), Some(_)) => self.port(instance, node, output, at)?,
        };
        Ok(NodeInput::Output(node, port))
    }

    /// The place among all outputs of a node of what a function body calls `output:index`.
    fn port(
        &self,
        instance: &Instance<'a, 'm>,
        node: usize,
        output: &str,
        at: &NodePlace,
    ) -> Result<usize> {
        let def = &instance.body.nodes[node];
        let (arg, index) = output.split_once(':').unwrap_or((output, "0"));
        let index: usize = index
            .parse()
            .map_err(|_| self.error(at, format!("`{output}` has no number of an output")))?;
        if let Some(op) = self.model.op_def(def.op) {
            let port = op.port(instance.attrs_of(def).as_slice(), arg, index);
            return port.map_err(|problem| self.error(&instance.place(def), problem));
        }
        if let Some(function) = self.model.functions.get(def.op) {
            let function = function
                .body()
                .map_err(|malformed| self.file.damaged(malformed, "reading a function"))?;
            let port = function
                .outputs
                .iter()
                .position(|output| output.name == arg);
            return port.ok_or_else(|| {
                self.error(at, format!("function `{}` has no output `{arg}`", def.op))
            });
        }
        // Without a definition, the outputs can only be told apart if there is one list of them.
        let prefix = format!("{}:", def.name);
        let mut used = instance
            .body
            .nodes
            .iter()
            .flat_map(|node| &node.inputs)
            .filter_map(|input| input.strip_prefix(&prefix));
        if used.all(|used| used.split_once(':').map_or(used, |(other, _)| other) == arg) {
            return Ok(index);
        }
        let problem = "TensorFlow has no such operation, and more than one of its outputs is used, so that their order is not known";
        Err(self.error(&instance.place(def), problem))
    }

    /// Visits nodes and whatever they need.
    pub(crate) fn visit(&mut self, instance: &mut Instance<'a, 'm>, roots: &[usize]) -> Result<()> {
        if let Some(node) = instance
            .body
            .duplicate
            .and_then(|index| instance.body.nodes.get(index))
        {
            return Err(self.error(&instance.place(node), "there are two nodes of this name"));
        }
        for &root in roots {
            self.visit_from(instance, root)?;
        }
        while let Some((merge, input, next)) = instance.waiting.pop() {
            self.visit_from(instance, next)?;
            let place = instance.place(&instance.body.nodes[merge]);
            let (Slot::Done(from), Slot::Done(into)) =
                (&instance.slots[next], &instance.slots[merge])
            else {
                return Err(
                    self.error(&place, "its value for the next iteration depends on itself")
                );
            };
            let (Some(&Value::Tensor(from)), Some(&Value::Tensor(into))) =
                (from.values.first(), into.values.first())
            else {
                return Err(self.refuse(
                    &place,
                    "the handle of a variable changes from one iteration of a loop to the next",
                ));
            };
            self.graph.node_mut(into.node).inputs[input] = from;
        }
        Ok(())
    }

    fn visit_from(&mut self, instance: &mut Instance<'a, 'm>, root: usize) -> Result<()> {
        let mut stack = vec![(root, false)];
        while let Some((index, is_ready)) = stack.pop() {
            if is_ready {
                let done = self.rewrite(instance, index)?;
                instance.slots[index] = Slot::Done(done);
                continue;
            }
            if !matches!(instance.slots[index], Slot::New) {
                continue;
            }
            instance.slots[index] = Slot::Open;
            stack.push((index, true));
            let body = instance.body;
            let def = &body.nodes[index];
            let place = instance.place(def);
            self.pay(
                &place,
                8 + 2 * (def.inputs.len() + def.attrs.len())
                    + (instance.prefix.len() + def.name.len()) / 16,
            )?;
            // The first input is visited first.
            for input in def.inputs.iter().rev() {
                let (NodeInput::Output(node, _) | NodeInput::Control(node)) =
                    self.source(instance, &place, input)?
                else {
                    continue;
                };
                self.pay(&place, cost_of_reference(body, node))?;
                match instance.slots[node] {
                    Slot::New if !is_back_edge(def, &body.nodes[node]) => stack.push((node, false)),
                    Slot::Open if !is_back_edge(def, &body.nodes[node]) => {
                        return Err(self.error(
                            &place,
                            format!("its input `{input}` depends on the node itself"),
                        ));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// What a visited source gives.
    pub(crate) fn value(
        &self,
        instance: &Instance<'a, 'm>,
        at: &NodePlace,
        source: NodeInput,
    ) -> Result<Value> {
        let (values, index) = match source {
            NodeInput::Argument(index) => (&instance.values, index),
            NodeInput::Output(node, port) => match &instance.slots[node] {
                Slot::Done(done) => (&done.values, port),
                Slot::New | Slot::Open => {
                    return Err(self.error(at, "one of its inputs depends on the node itself"));
                }
            },
            NodeInput::Control(_) | NodeInput::Nothing => {
                return Err(self.error(at, "a control input stands where a tensor is needed"));
            }
        };
        values.get(index).cloned().ok_or_else(|| {
            let what = match source {
                NodeInput::Output(node, _) => format!("node `{}`", instance.body.nodes[node].name),
                _ => "the function".to_owned(),
            };
            let (found, kind) = (
                values.len(),
                if matches!(source, NodeInput::Argument(_)) {
                    "arguments"
                } else {
                    "outputs"
                },
            );
            self.error(
                at,
                format!("it needs number {index} of the {kind} of {what}, which has {found}"),
            )
        })
    }

    /// The nodes that stand for a visited node in control inputs.
    pub(crate) fn controls<'i>(instance: &'i Instance<'a, 'm>, node: usize) -> &'i [NodeId] {
        match &instance.slots[node] {
            Slot::Done(done) => &done.controls,
            Slot::New | Slot::Open => &[],
        }
    }

    fn rewrite(&mut self, instance: &mut Instance<'a, 'm>, index: usize) -> Result<Done> {
        let def = &instance.body.nodes[index];
        let place = instance.place(def);
        let (mut inputs, mut controls, mut is_entry) =
            (Vec::with_capacity(def.inputs.len()), Vec::new(), true);
        let mut written = instance.entry.written.clone();
        for input in &def.inputs {
            let source = self.source(instance, &place, input)?;
            if let NodeInput::Output(node, _) | NodeInput::Control(node) = source
                && let Slot::Done(before) = &instance.slots[node]
            {
                written = self.joined(&place, written, &before.written)?;
            }
            match source {
                NodeInput::Nothing => {}
                NodeInput::Control(node) => {
                    let before = Self::controls(instance, node);
                    self.budget
                        .pay(before.len())
                        .map_err(|exhausted| self.limit(&place, exhausted.to_string()))?;
                    controls.extend_from_slice(before);
                    is_entry = false;
                }
                NodeInput::Output(node, _)
                    if is_back_edge(def, &instance.body.nodes[node])
                        && !matches!(instance.slots[node], Slot::Done(_)) =>
                {
                    // The merge itself keeps the place until the loop's body is there.
                    instance.waiting.push((index, inputs.len(), node));
                    let merge = Tensor::of(NodeId::from_index(self.graph.nodes.len()));
                    inputs.push(Value::Tensor(merge));
                }
                source => {
                    is_entry &= matches!(source, NodeInput::Argument(_));
                    inputs.push(self.value(instance, &place, source)?);
                }
            }
        }
        if is_entry {
            controls.extend(instance.entry.control);
        }
        let reference = self.read_references(def.op, &place, &written, &mut inputs)?;
        if !new_values::is_update(def.op) {
            self.forward_to(def.op, &place, &written, &mut inputs)?;
        }
        let visit = Visit {
            def,
            name: instance.name(def),
            scope: instance.scope,
            attrs: instance.attrs_of(def),
            place,
            inputs,
            controls,
            written: written.clone(),
        };
        let place = visit.place.clone();
        let mut done = self.dispatch(visit)?;
        done.written = self.joined(&place, done.written, &written)?;
        Ok(match reference {
            Some(index) => Self::with_reference(def.op, index, done),
            None => done,
        })
    }

    fn dispatch(&mut self, visit: Visit<'a, '_>) -> Result<Done> {
        match visit.def.op {
            "VarHandleOp" => self.variable(&visit, "resource handle"),
            "VariableV2" | "Variable" => self.reference_variable(&visit),
            "ReadVariableOp" => {
                let [handle] = self.inputs(&visit)?;
                let value = match handle {
                    Value::Refused(refusal) if refusal.asset.is_some() => Value::Refused(refusal),
                    handle => Value::Tensor(self.read(&visit.place, handle, visit.scope)?),
                };
                Ok(Done {
                    values: vec![value],
                    controls: visit.controls,
                    ..Done::default()
                })
            }
            "ResourceGather" => self.gather(visit),
            "ResourceGatherNd" => self.gather_nd(visit),
            "VarIsInitializedOp" | "IsVariableInitialized" => {
                let constant = Node::constant(visit.name, Content::bool(true));
                Ok(self.single(visit.scope, constant))
            }
            "VariableShape" => self.variable_shape(visit),
            "DisableCopyOnRead" => Ok(Done {
                controls: visit.controls,
                ..Done::default()
            }),
            "Const" => self.constant(visit),
            "Placeholder" => {
                let reason = "a placeholder that is no input of the signature";
                Ok(Self::refused(&visit, 1, reason))
            }
            "PartitionedCall" | "StatefulPartitionedCall" => {
                let function = visit.func("f").ok_or_else(|| {
                    self.error(&visit.place, "attribute `f` must name the function to call")
                })?;
                self.call(visit, &function)
            }
            "If" | "StatelessIf" => self.conditional(&visit, &["then_branch", "else_branch"]),
            "Case" | "StatelessCase" => self.conditional(&visit, &[]),
            "While" | "StatelessWhile" => self.while_loop(&visit),
            op if updates::is_random(op)
                && matches!(visit.inputs.first(), Some(Value::Variable { .. })) =>
            {
                Err(self.random(&visit))
            }
            op if new_values::is_update(op) => self.update(visit),
            op if makes_table(op) => self.table(visit),
            op if changes_table(op) => self.table_change(visit),
            op if self.model.functions.contains_key(op) && op_defs::find(op).is_none() => {
                let function = FunctionRef {
                    name: visit.def.op,
                    attrs: visit.attrs.clone(),
                };
                self.call(visit, &function)
            }
            _ => self.plain(visit),
        }
    }

    /// The inputs of a node that has a fixed number of them.
    pub(crate) fn inputs<const N: usize>(&self, visit: &Visit<'a, '_>) -> Result<[Value; N]> {
        let found = visit.inputs.len();
        visit.inputs.clone().try_into().map_err(|_| {
            self.error(
                &visit.place,
                format!("it has {found} inputs, and needs {N}"),
            )
        })
    }

    /// A single new node, and what it gives.
    pub(crate) fn single(&mut self, scope: ScopeId, node: Node<'a>) -> Done {
        let outputs = node.outputs.as_ref().map_or(1, Vec::len);
        let node = self.graph.add(scope, node);
        let port = |port| Value::Tensor(Tensor { node, port });
        Done {
            values: (0..u32::try_from(outputs).unwrap_or(u32::MAX))
                .map(port)
                .collect(),
            controls: vec![node],
            ..Done::default()
        }
    }

    fn refused(visit: &Visit<'a, '_>, outputs: usize, reason: &str) -> Done {
        let refusal = Rc::new(Refusal {
            place: visit.place.clone(),
            reason: reason.to_owned(),
            asset: None,
        });
        Done {
            values: vec![Value::Refused(refusal); outputs],
            ..Done::default()
        }
    }

    /// What a function captures and a frozen graph cannot have.
    pub(crate) fn refused_capture(place: &NodePlace, reason: &str) -> Value {
        Value::Refused(Rc::new(Refusal {
            place: place.clone(),
            reason: reason.to_owned(),
            asset: None,
        }))
    }

    /// The path of an asset. Only what reads the file is known not to need it.
    pub(crate) fn asset_path(place: &NodePlace, asset: &str) -> Value {
        Value::Refused(Rc::new(Refusal {
            place: place.clone(),
            reason: format!("the path of the asset `{asset}`, which a frozen graph does not have"),
            asset: Some(asset.to_owned()),
        }))
    }

    fn use_of(&self, place: &NodePlace, refusal: &Refusal) -> FreezeError {
        self.refuse(
            place,
            format!("it uses {}, {}", refusal.place, refusal.reason),
        )
    }

    /// A value as a tensor of a scope; handles are refused.
    pub(crate) fn tensor(&self, visit: &Visit<'a, '_>, value: &Value) -> Result<Tensor> {
        match value {
            Value::Tensor(tensor) => Ok(*tensor),
            Value::Variable { index, .. } | Value::Reference(Reference { index, .. }) => {
                let name = &self.variables.get(*index).name;
                let reason =
                    format!("it uses the handle of the variable `{name}` itself, not its value");
                Err(self.refuse(&visit.place, reason))
            }
            Value::Refused(refusal) => Err(self.use_of(&visit.place, refusal)),
        }
    }

    pub(crate) fn tensors(&self, visit: &Visit<'a, '_>) -> Result<Vec<Tensor>> {
        visit
            .inputs
            .iter()
            .map(|value| self.tensor(visit, value))
            .collect()
    }

    fn constant(&mut self, visit: Visit<'a, '_>) -> Result<Done> {
        let value = visit.attr("value").and_then(constants::from_attr);
        let content = value.ok_or_else(|| {
            self.error(
                &visit.place,
                "a constant needs the attribute `value`, a tensor",
            )
        })?;
        content
            .validate(visit.attr("dtype").and_then(attr::data_type))
            .map_err(|problem| self.error(&visit.place, problem))?;
        let node = Node::constant(visit.name, content).after(&visit.controls);
        Ok(self.single(visit.scope, node))
    }
}

/// Operations of TensorFlow 1 on references do the same to constants under their plain name.
fn strip_ref(op: &str) -> &str {
    match op.strip_prefix("Ref") {
        Some(plain @ ("Identity" | "Switch" | "Merge" | "Enter" | "Exit" | "NextIteration")) => {
            plain
        }
        _ => op,
    }
}

/// TensorFlow's dataflow control operations.
pub(crate) fn is_control_flow(op: &str) -> bool {
    matches!(
        op,
        "Switch" | "_SwitchN" | "Merge" | "Enter" | "Exit" | "NextIteration" | "LoopCond"
    )
}

fn is_back_edge(node: &NodeDef<'_>, input: &NodeDef<'_>) -> bool {
    strip_ref(node.op) == "Merge" && strip_ref(input.op) == "NextIteration"
}

/// What it takes to find out which output of a node an input refers to: its lists of types are read, or without a definition the whole body.
fn cost_of_reference(body: &Body<'_>, node: usize) -> usize {
    let def = &body.nodes[node];
    match op_defs::find(def.op) {
        _ if def.op == "Const" => 0,
        Some(_) => {
            def.attrs
                .iter()
                .map(|(_, value)| value.len())
                .sum::<usize>()
                / 64
        }
        None => body.nodes.len() / 16,
    }
}
