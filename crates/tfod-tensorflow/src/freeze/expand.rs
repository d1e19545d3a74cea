//! Expansion: a signature's graph and the functions it calls become one flat [`Graph`] without variables.
//!
//! This is partial evaluation. A body's nodes are visited from its results backwards; what a node gives is a [`Value`]: a tensor of the new
//! graph, or the handle of a variable, which exists only during expansion. Reading a handle gives the constant; passing it to a call passes it
//! on. Calls are expanded in place, conditionals and loops by `control_flow`; what stays a function is rewritten by `functions`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use tfod_proto::prost::Message;

use crate::op_defs;

use super::budget::{Budget, MAX_DEPTH};
use super::constants::{self, Content};
use super::error::{FreezeError, Place};
use super::functions::Library;
use super::graph::{Graph, Node, NodeId, ScopeId, Tensor};
use super::model::{Body, File, FunctionBody, MetaGraph, NodeDef};
use super::variables::{Handle, Variables};
use super::wire::{attr, value};

/// `DT_RESOURCE`, the type of handles.
pub(crate) const RESOURCE: i32 = 20;
/// `DT_INT32`.
pub(crate) const INT32: i32 = 3;
/// `DT_BOOL`.
pub(crate) const BOOL: i32 = 10;

type Result<T> = std::result::Result<T, FreezeError>;

/// What an output of a node is.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Tensor(Tensor),
    /// The handle of a variable.
    Variable {
        index: usize,
        /// The variable's value, where it has already been brought to: inside of a loop of the original graph, or the argument of a
        /// function that is kept.
        read: Option<Tensor>,
    },
    /// Something that a frozen graph cannot have. It is an error to use it, not to make it.
    Refused(Rc<Refusal>),
}

/// Why a value cannot be used.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) place: Place,
    pub(crate) reason: String,
}

/// What a node that was visited gives to others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    pub(crate) values: Vec<Value>,
    /// The nodes after which a node with a control input from this one may run.
    pub(crate) controls: Vec<NodeId>,
}

#[derive(Debug)]
enum Slot {
    New,
    Open,
    Done(Done),
}

/// A body being expanded: the main graph, or one call of a function.
pub(crate) struct Instance<'a, 'm> {
    pub(crate) body: &'m Body<'a>,
    /// The function and its name, unless this is the main graph.
    pub(crate) function: Option<(&'a str, &'m FunctionBody<'a>)>,
    /// What the names of its nodes begin with.
    pub(crate) prefix: String,
    pub(crate) scope: ScopeId,
    arguments: HashMap<&'a str, usize>,
    pub(crate) values: Vec<Value>,
    /// The attributes of the call, which stand for placeholders in the body's.
    pub(crate) attrs: Vec<(&'a str, &'a [u8])>,
    /// What runs before the call, and so before nodes that need nothing of the body.
    entry: Option<NodeId>,
    slots: Vec<Slot>,
    /// Merge nodes waiting for the value of the next iteration: merge, input, node.
    waiting: Vec<(usize, usize, usize)>,
}

/// An input of a node: which tensor, or a control input.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    Argument(usize),
    Output(usize, usize),
    Control(usize),
    /// A control input from an argument, which says nothing.
    Nothing,
}

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
    /// The constant of each variable that was read.
    reads: HashMap<usize, NodeId>,
}

impl<'a, 'm> Instance<'a, 'm> {
    pub(crate) fn main(body: &'m Body<'a>) -> Self {
        Self::new(body, None, String::new(), ScopeId::ROOT, Vec::new())
    }

    pub(crate) fn new(
        body: &'m Body<'a>,
        function: Option<(&'a str, &'m FunctionBody<'a>)>,
        prefix: String,
        scope: ScopeId,
        values: Vec<Value>,
    ) -> Self {
        let inputs = function
            .iter()
            .flat_map(|(_, function)| function.inputs.iter().map(|input| input.name));
        Self {
            body,
            function,
            prefix,
            scope,
            arguments: inputs
                .enumerate()
                .map(|(index, name)| (name, index))
                .collect(),
            values,
            attrs: Vec::new(),
            entry: None,
            slots: body.nodes.iter().map(|_| Slot::New).collect(),
            waiting: Vec::new(),
        }
    }

    /// Says what a node gives instead of visiting it.
    pub(crate) fn replace(&mut self, node: usize, values: Vec<Value>) {
        self.slots[node] = Slot::Done(Done {
            values,
            controls: Vec::new(),
        });
    }

    pub(crate) fn place(&self, node: &NodeDef<'_>) -> Place {
        Place {
            function: self.function.map(|(name, _)| name.to_owned()),
            node: node.name.to_owned(),
            op: node.op.to_owned(),
        }
    }

    pub(crate) fn name(&self, node: &NodeDef<'_>) -> String {
        format!("{}{}", self.prefix, node.name)
    }

    /// The attributes of a node, with those of the call in place of placeholders.
    pub(crate) fn attrs_of(&self, node: &NodeDef<'a>) -> Vec<(&'a str, &'a [u8])> {
        let resolve = |&(name, value): &(&'a str, &'a [u8])| {
            let given =
                attr::placeholder(value).and_then(|placeholder| self.attrs.find_attr(placeholder));
            (name, given.unwrap_or(value))
        };
        node.attrs.iter().map(resolve).collect()
    }
}

/// Like `arity::Attrs`, for attributes that outlive the list.
trait FindAttr<'a> {
    fn find_attr(&self, name: &str) -> Option<&'a [u8]>;
}

impl<'a> FindAttr<'a> for [(&'a str, &'a [u8])] {
    fn find_attr(&self, name: &str) -> Option<&'a [u8]> {
        self.iter()
            .find(|(found, _)| *found == name)
            .map(|(_, value)| *value)
    }
}

/// A node about to be rewritten, with everything that is known about it.
pub(crate) struct Visit<'a, 'i> {
    pub(crate) def: &'i NodeDef<'a>,
    pub(crate) place: Place,
    pub(crate) name: String,
    pub(crate) scope: ScopeId,
    pub(crate) attrs: Vec<(&'a str, &'a [u8])>,
    pub(crate) inputs: Vec<Value>,
    /// What has to run before.
    pub(crate) controls: Vec<NodeId>,
}

impl<'a> Visit<'a, '_> {
    pub(crate) fn attr(&self, name: &str) -> Option<&'a [u8]> {
        self.attrs.find_attr(name)
    }

    pub(crate) fn func(&self, name: &str) -> Option<FunctionRef<'a>> {
        FunctionRef::parse(attr::func(self.attr(name)?)?)
    }

    /// The name of a node that stands for a part of this one.
    pub(crate) fn part(&self, part: &str) -> String {
        format!("{}/{part}", self.name)
    }
}

/// A function as an attribute names it.
#[derive(Clone, Debug)]
pub(crate) struct FunctionRef<'a> {
    pub(crate) name: &'a str,
    pub(crate) attrs: Vec<(&'a str, &'a [u8])>,
}

impl<'a> FunctionRef<'a> {
    /// Reads a `NameAttrList`.
    pub(crate) fn parse(list: &'a [u8]) -> Option<Self> {
        let mut function = Self {
            name: "",
            attrs: Vec::new(),
        };
        for field in super::wire::Fields::of(list) {
            match field.ok()? {
                (1, field) => function.name = field.text()?,
                (2, field) => function
                    .attrs
                    .push(super::wire::map_entry(field.bytes()?).ok()?),
                _ => {}
            }
        }
        Some(function)
    }
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
            reads: HashMap::new(),
        }
    }

    pub(crate) fn error(&self, place: &Place, problem: impl Into<String>) -> FreezeError {
        FreezeError::Graph {
            path: self.file.path.clone(),
            place: Box::new(place.clone()),
            problem: problem.into(),
        }
    }

    pub(crate) fn refuse(&self, place: &Place, reason: impl Into<String>) -> FreezeError {
        FreezeError::Refused {
            path: self.file.path.clone(),
            place: Box::new(place.clone()),
            reason: reason.into(),
        }
    }

    pub(crate) fn limit(&self, place: &Place, problem: impl Into<String>) -> FreezeError {
        FreezeError::Limit {
            path: self.file.path.clone(),
            place: Box::new(place.clone()),
            problem: problem.into(),
        }
    }

    pub(crate) fn pay(&mut self, place: &Place, amount: usize) -> Result<()> {
        self.budget
            .pay(amount)
            .map_err(|exhausted| self.limit(place, exhausted.to_string()))
    }

    /// Finds what an input of a node refers to.
    pub(crate) fn source(
        &self,
        instance: &Instance<'a, 'm>,
        at: &Place,
        input: &str,
    ) -> Result<Source> {
        let missing = |name: &str| {
            self.error(
                at,
                format!("its input `{input}` refers to `{name}`, which does not exist here"),
            )
        };
        if let Some(name) = input.strip_prefix('^') {
            return match instance.body.by_name.get(name) {
                Some(&node) => Ok(Source::Control(node)),
                None if instance.arguments.contains_key(name) => Ok(Source::Nothing),
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
            return Ok(Source::Argument(argument));
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
        Ok(Source::Output(node, port))
    }

    /// The place among all outputs of a node of what a function body calls `output:index`.
    fn port(
        &self,
        instance: &Instance<'a, 'm>,
        node: usize,
        output: &str,
        at: &Place,
    ) -> Result<usize> {
        let def = &instance.body.nodes[node];
        let (arg, index) = output.split_once(':').unwrap_or((output, "0"));
        let index: usize = index
            .parse()
            .map_err(|_| self.error(at, format!("`{output}` has no number of an output")))?;
        if let Some(op) = op_defs::find(def.op) {
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
                let (Source::Output(node, _) | Source::Control(node)) =
                    self.source(instance, &place, input)?
                else {
                    continue;
                };
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
        at: &Place,
        source: Source,
    ) -> Result<Value> {
        let (values, index) = match source {
            Source::Argument(index) => (&instance.values, index),
            Source::Output(node, port) => match &instance.slots[node] {
                Slot::Done(done) => (&done.values, port),
                Slot::New | Slot::Open => {
                    return Err(self.error(at, "one of its inputs depends on the node itself"));
                }
            },
            Source::Control(_) | Source::Nothing => {
                return Err(self.error(at, "a control input stands where a tensor is needed"));
            }
        };
        values.get(index).cloned().ok_or_else(|| {
            let what = match source {
                Source::Output(node, _) => format!("node `{}`", instance.body.nodes[node].name),
                _ => "the function".to_owned(),
            };
            let (found, kind) = (
                values.len(),
                if matches!(source, Source::Argument(_)) {
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
        for input in &def.inputs {
            match self.source(instance, &place, input)? {
                Source::Nothing => {}
                Source::Control(node) => {
                    let before = Self::controls(instance, node);
                    self.budget
                        .pay(before.len())
                        .map_err(|exhausted| self.limit(&place, exhausted.to_string()))?;
                    controls.extend_from_slice(before);
                    is_entry = false;
                }
                Source::Output(node, _)
                    if is_back_edge(def, &instance.body.nodes[node])
                        && !matches!(instance.slots[node], Slot::Done(_)) =>
                {
                    // The merge itself keeps the place until the loop's body is there.
                    instance.waiting.push((index, inputs.len(), node));
                    let merge = Tensor::of(NodeId::from_index(self.graph.nodes.len()));
                    inputs.push(Value::Tensor(merge));
                }
                source => {
                    is_entry &= matches!(source, Source::Argument(_));
                    inputs.push(self.value(instance, &place, source)?);
                }
            }
        }
        if is_entry {
            controls.extend(instance.entry);
        }
        let visit = Visit {
            def,
            name: instance.name(def),
            scope: instance.scope,
            attrs: instance.attrs_of(def),
            place,
            inputs,
            controls,
        };
        self.dispatch(visit)
    }

    fn dispatch(&mut self, visit: Visit<'a, '_>) -> Result<Done> {
        match visit.def.op {
            "VarHandleOp" => self.variable(&visit, "resource handle"),
            "VariableV2" | "Variable" => {
                let done = self.variable(&visit, "variable")?;
                let values = done.values.into_iter().map(|value| {
                    self.read(&visit.place, value, visit.scope)
                        .map(Value::Tensor)
                });
                Ok(Done {
                    values: values.collect::<Result<_>>()?,
                    controls: Vec::new(),
                })
            }
            "ReadVariableOp" => {
                let [handle] = self.inputs(&visit)?;
                let tensor = self.read(&visit.place, handle, visit.scope)?;
                Ok(Done {
                    values: vec![Value::Tensor(tensor)],
                    controls: visit.controls,
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
                values: Vec::new(),
                controls: visit.controls,
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
        }
    }

    fn refused(visit: &Visit<'a, '_>, outputs: usize, reason: &str) -> Done {
        let refusal = Rc::new(Refusal {
            place: visit.place.clone(),
            reason: reason.to_owned(),
        });
        Done {
            values: vec![Value::Refused(refusal); outputs],
            controls: Vec::new(),
        }
    }

    fn variable(&mut self, visit: &Visit<'a, '_>, what: &str) -> Result<Done> {
        if visit.place.function.is_some() {
            return Err(self.refuse(
                &visit.place,
                format!("it makes a {what} inside of a function"),
            ));
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
            values: vec![Value::Variable { index, read: None }],
            controls: Vec::new(),
        })
    }

    /// The value of a variable in a scope.
    pub(crate) fn read(&mut self, place: &Place, handle: Value, scope: ScopeId) -> Result<Tensor> {
        match handle {
            Value::Variable {
                read: Some(tensor), ..
            } => Ok(tensor),
            Value::Variable { index, read: None } => {
                let constant = self.constant_of(index);
                Ok(self.graph.bring(constant, scope))
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

    fn use_of(&self, place: &Place, refusal: &Refusal) -> FreezeError {
        self.refuse(
            place,
            format!("it uses {}, {}", refusal.place, refusal.reason),
        )
    }

    /// A value as a tensor of a scope; handles are refused.
    pub(crate) fn tensor(&self, visit: &Visit<'a, '_>, value: &Value) -> Result<Tensor> {
        match value {
            Value::Tensor(tensor) => Ok(*tensor),
            Value::Variable { index, .. } => {
                let name = &self.variables.get(*index).name;
                let op = visit.def.op;
                let reason = if op.starts_with("Assign")
                    || op.contains("Scatter")
                    || op.contains("Apply")
                {
                    format!(
                        "it changes the variable `{name}`, and a frozen graph has only constants"
                    )
                } else {
                    format!("it uses the handle of the variable `{name}` itself, not its value")
                };
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

    /// `ResourceGather`: the axis is the first that is not a batch dimension.
    fn gather(&mut self, visit: Visit<'a, '_>) -> Result<Done> {
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

    fn gather_nd(&mut self, visit: Visit<'a, '_>) -> Result<Done> {
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

    fn variable_shape(&mut self, visit: Visit<'a, '_>) -> Result<Done> {
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

    /// A call of a function.
    fn call(&mut self, visit: Visit<'a, '_>, function: &FunctionRef<'a>) -> Result<Done> {
        let body = self.function(&visit.place, function.name)?;
        if body.is_noinline() {
            return self.kept_call(&visit, function);
        }
        let entry = self.hub(&visit, &visit.controls, "input_control_node");
        let prefix = format!("{}/", visit.name);
        let done = self.expand(
            &visit.place,
            function,
            prefix,
            visit.scope,
            visit.inputs.clone(),
            entry,
        )?;
        let controls = self
            .hub(&visit, &done.controls, "output_control_node")
            .into_iter()
            .collect();
        Ok(Done {
            values: done.values,
            controls,
        })
    }

    /// One node that stands for several in control inputs.
    pub(crate) fn hub(
        &mut self,
        visit: &Visit<'a, '_>,
        controls: &[NodeId],
        part: &str,
    ) -> Option<NodeId> {
        match controls {
            [] => None,
            [one] => Some(*one),
            several => {
                let node =
                    Node::new(visit.part(part), "NoOp", Vec::new(), Vec::new()).after(several);
                Some(self.graph.add(visit.scope, node))
            }
        }
    }

    pub(crate) fn function(&self, at: &Place, name: &str) -> Result<&'m FunctionBody<'a>> {
        let function = self
            .model
            .functions
            .get(name)
            .ok_or_else(|| self.error(at, format!("function `{name}` is not in the file")))?;
        function
            .body()
            .map_err(|malformed| self.file.damaged(malformed, "reading a function"))
    }

    /// Enters a function: checks that it is not being expanded already.
    pub(crate) fn enter(&mut self, at: &Place, name: &'a str) -> Result<()> {
        if self.active.contains(&name) {
            let path: Vec<&str> = self
                .active
                .iter()
                .copied()
                .skip_while(|&active| active != name)
                .chain([name])
                .collect();
            return Err(self.limit(
                at,
                format!("function `{name}` calls itself: {}", path.join(" -> ")),
            ));
        }
        if self.active.len() >= MAX_DEPTH {
            return Err(self.limit(at, format!("calls are nested deeper than {MAX_DEPTH}")));
        }
        self.active.push(name);
        Ok(())
    }

    /// Expands a function in place.
    pub(crate) fn expand(
        &mut self,
        at: &Place,
        function: &FunctionRef<'a>,
        prefix: String,
        scope: ScopeId,
        values: Vec<Value>,
        entry: Option<NodeId>,
    ) -> Result<Done> {
        let (name, body) = (function.name, self.function(at, function.name)?);
        self.check_arguments(at, name, body, &values)?;
        self.pay(
            at,
            body.inputs.len() + body.outputs.len() + body.body.nodes.len() / 4,
        )?;
        self.enter(at, name)?;
        let mut instance = Instance::new(&body.body, Some((name, body)), prefix, scope, values);
        instance.attrs.clone_from(&function.attrs);
        instance.entry = entry;
        let done = self.results(at, &mut instance, body)?;
        self.active.pop();
        Ok(done)
    }

    pub(crate) fn check_arguments(
        &self,
        at: &Place,
        name: &str,
        body: &FunctionBody<'a>,
        values: &[Value],
    ) -> Result<()> {
        if body
            .inputs
            .iter()
            .chain(&body.outputs)
            .any(|argument| argument.is_list)
        {
            return Err(self.refuse(
                at,
                format!("function `{name}` takes or gives lists of tensors"),
            ));
        }
        if values.len() != body.inputs.len() {
            return Err(self.error(
                at,
                format!(
                    "it passes {} arguments to function `{name}`, which has {}",
                    values.len(),
                    body.inputs.len()
                ),
            ));
        }
        for (argument, value) in body.inputs.iter().zip(values) {
            let found = match value {
                Value::Tensor(tensor) => self.graph.data_type(*tensor),
                Value::Variable { .. } => RESOURCE,
                Value::Refused(_) => 0,
            };
            if found != 0 && argument.data_type != 0 && found != argument.data_type {
                let (found, expected) = (type_name(found), type_name(argument.data_type));
                return Err(self.error(
                    at,
                    format!(
                        "argument `{}` of function `{name}` is {expected}, and gets {found}",
                        argument.name
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Visits what a function returns.
    pub(crate) fn results(
        &mut self,
        at: &Place,
        instance: &mut Instance<'a, 'm>,
        body: &'m FunctionBody<'a>,
    ) -> Result<Done> {
        let mut sources = Vec::with_capacity(body.outputs.len());
        let function = instance.function.map(|(name, _)| name.to_owned());
        let end = |node: &str| Place {
            function: function.clone(),
            node: node.to_owned(),
            op: String::new(),
        };
        for output in &body.outputs {
            let tensor = body.returns.get(output.name);
            let tensor = tensor.ok_or_else(|| {
                self.error(
                    at,
                    format!(
                        "the called function does not say what its output `{}` is",
                        output.name
                    ),
                )
            })?;
            sources.push((
                end(output.name),
                self.source(instance, &end(output.name), tensor)?,
            ));
        }
        let node = |(_, source): &(Place, Source)| match source {
            Source::Output(node, _) => Some(*node),
            _ => None,
        };
        let roots: Vec<usize> = sources.iter().filter_map(node).collect();
        self.visit(instance, &roots)?;
        let values = sources
            .iter()
            .map(|(place, source)| self.value(instance, place, *source))
            .collect::<Result<Vec<_>>>()?;
        for (output, value) in body.outputs.iter().zip(&values) {
            if let Value::Tensor(tensor) = value {
                let found = self.graph.data_type(*tensor);
                if found != 0 && output.data_type != 0 && found != output.data_type {
                    let (found, expected) = (type_name(found), type_name(output.data_type));
                    return Err(self.error(
                        &end(output.name),
                        format!("the output is declared {expected}, and is {found}"),
                    ));
                }
            }
        }
        // Functions of TensorFlow 1 do not declare what has to run; there, all that the results need counts.
        let control_roots: Vec<usize> = match body.control_returns.as_slice() {
            [] => roots,
            declared => declared
                .iter()
                .filter_map(|name| instance.body.by_name.get(name).copied())
                .collect(),
        };
        self.visit(instance, &control_roots)?;
        let mut controls = Vec::new();
        for node in control_roots {
            let before = Self::controls(instance, node);
            self.pay(at, before.len())?;
            controls.extend_from_slice(before);
        }
        Ok(Done { values, controls })
    }

    /// Any other operation: copied, once its inputs are tensors.
    fn plain(&mut self, visit: Visit<'a, '_>) -> Result<Done> {
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
            });
        }
        let def = op_defs::find(op);
        let outputs = match def.map(|def| def.output_types(visit.attrs.as_slice())) {
            Some(outputs) => Some(outputs.map_err(|problem| self.error(&visit.place, problem))?),
            None => None,
        };
        let is_stateful = def.is_none_or(|def| def.is_stateful);
        if is_stateful
            && let Some(reason) = needs_initialisation(op, outputs.as_deref().unwrap_or_default())
        {
            return Ok(Self::refused(
                &visit,
                outputs.map_or(1, |outputs| outputs.len()),
                reason,
            ));
        }
        if def.is_some_and(|def| def.inputs.iter().any(|input| input.is_ref)) && op == visit.def.op
        {
            return Err(self.refuse(
                &visit.place,
                "it changes a variable, and a frozen graph has only constants",
            ));
        }
        let inputs = self.tensors(&visit)?;
        self.check_inputs(&visit, def, &inputs)?;
        self.pay(&visit.place, outputs.as_ref().map_or(0, Vec::len))?;
        let mut node = Node::new(visit.name.clone(), Cow::Borrowed(op), inputs, Vec::new())
            .after(&visit.controls);
        // An operation that nobody knows could have any number of outputs; as many as can be referred to are given.
        node.outputs = outputs;
        node.is_effect = is_stateful || is_control_flow(op);
        node.attrs = self.kept_attrs(&visit, def)?;
        if node.outputs.is_none() {
            let node = self.graph.add(visit.scope, node);
            let values = (0..UNKNOWN_OUTPUTS)
                .map(|port| Value::Tensor(Tensor { node, port }))
                .collect();
            return Ok(Done {
                values,
                controls: vec![node],
            });
        }
        Ok(self.single(visit.scope, node))
    }

    fn check_inputs(
        &self,
        visit: &Visit<'a, '_>,
        def: Option<&op_defs::OpDef>,
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
    pub(crate) fn kept_attrs(
        &mut self,
        visit: &Visit<'a, '_>,
        def: Option<&op_defs::OpDef>,
    ) -> Result<Vec<super::wire::Attr<'a>>> {
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

    /// Control flow of the original graph on a variable's handle: it happens to the variable's value instead.
    fn routed_handle(&mut self, visit: Visit<'a, '_>, op: &'a str) -> Result<Done> {
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
        if let (Some(index), Some(first)) = (variable, done.values.first_mut())
            && let Value::Tensor(tensor) = *first
        {
            *first = Value::Variable {
                index,
                read: Some(tensor),
            };
        }
        if op == "Switch"
            && let (Some(index), Some(Value::Tensor(tensor))) =
                (variable, done.values.get(1).cloned())
        {
            done.values[1] = Value::Variable {
                index,
                read: Some(tensor),
            };
        }
        Ok(done)
    }
}

/// As many outputs as a node of an unknown operation is taken to have.
const UNKNOWN_OUTPUTS: u32 = 64;

/// What `DataType` adds to a type for a reference to a variable of it.
const REFERENCE: i32 = 100;

/// The name of an element type, for people.
pub(crate) fn type_name(data_type: i32) -> String {
    match tfod_checkpoint::DType::from_proto(data_type) {
        Some(dtype) => dtype.name().to_owned(),
        None => format!("element type {data_type}"),
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

/// Why a stateful operation cannot be in a frozen graph, if it makes something that has to be filled first.
fn needs_initialisation(op: &str, outputs: &[i32]) -> Option<&'static str> {
    if op.contains("Table") || op.contains("MutableDenseHash") {
        return Some(
            "a table, which has to be filled before the graph runs; a frozen graph has neither tables nor assets",
        );
    }
    if op.contains("Iterator") {
        return Some("an iterator, which has to be made before the graph runs");
    }
    // Arrays and stacks are made where they are used.
    let is_local = op.starts_with("TensorArray") || op.starts_with("Stack");
    let is_resource = outputs.contains(&RESOURCE) && !is_local;
    is_resource.then_some("a resource, which has to be made and filled before the graph runs")
}
