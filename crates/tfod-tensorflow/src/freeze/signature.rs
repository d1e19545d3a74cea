//! A signature's inputs and outputs, and the expansion between them.
//!
//! TensorFlow 2 writes a signature as one call in the main graph. Then the interface is that of the called function: placeholders are named after its
//! arguments, and outputs after the nodes it returns, `Identity`, `Identity_1`… In other graphs, both keep the names they have.

use std::collections::HashMap;

use tfod_checkpoint::DType;
use tfod_proto::prost::Message;
use tfod_proto::{
    SavedObject, SavedObjectGraph, SignatureDef, TensorInfo, TensorShapeProto, TensorSpecProto,
    saved_object,
};

use crate::messages::tensor::check_rank;

use super::budget::MAX_DEPTH;
use super::error::{FreezeError, NodePlace};
use super::expand::{Done, Entry, Expander, Instance, NodeInput, UNMADE_RESOURCE, Value};
use super::frozen::{Interface, shape_of};
use super::graph::{Node, NodeId, ScopeId, Tensor};
use super::model::{Argument, FunctionBody, FunctionRef, MetaGraph, NodeDef};
use super::objects::{self, Concrete};
use super::wire::{attr, value};

type Result<T> = std::result::Result<T, FreezeError>;

/// An input or output in the main graph.
struct End<'s> {
    key: &'s str,
    info: &'s TensorInfo,
    node: usize,
    port: usize,
}

/// The call that a signature is.
struct Call<'a, 'm> {
    node: usize,
    function: FunctionRef<'a>,
    body: &'m FunctionBody<'a>,
    /// The nodes of the main graph that make its arguments.
    inputs: Vec<usize>,
}

/// Expands a signature, and gives its inputs and outputs.
pub(crate) fn expand(
    expander: &mut Expander<'_, '_>,
    signature: &str,
    def: &SignatureDef,
    wanted: &[String],
) -> Result<(Vec<Interface>, Vec<Interface>)> {
    let main = &expander.model.main;
    let path = expander.file.path.clone();
    let error = |what, key: &str, problem: String| FreezeError::SignatureTensor {
        path: path.clone(),
        signature: signature.to_owned(),
        what,
        key: key.to_owned(),
        problem,
    };
    let mut outputs = Vec::with_capacity(def.outputs.len());
    let keys: Vec<&str> = def.outputs.keys().map(String::as_str).collect();
    let chosen = chosen(&keys, wanted).map_err(|key| FreezeError::NoOutput {
        path: path.clone(),
        signature: signature.to_owned(),
        wanted: key.to_owned(),
        available: def.outputs.keys().cloned().collect(),
    })?;
    let ends = def.outputs.iter().zip(chosen);
    for ((key, info), _) in ends.filter(|(_, is_chosen)| *is_chosen) {
        outputs.push(
            End::find(expander.model, key, info)
                .map_err(|problem| error("output", key, problem))?,
        );
    }
    if outputs.is_empty() {
        return Err(error(
            "output",
            "",
            "the signature has no outputs".to_owned(),
        ));
    }
    let call = Call::of(expander.model, &outputs);

    let mut instance = Instance::main(main);
    let mut inputs = Vec::with_capacity(def.inputs.len());
    for (key, info) in &def.inputs {
        let end =
            End::find(expander.model, key, info).map_err(|problem| error("input", key, problem))?;
        if end.port != 0 {
            let problem = format!(
                "`{}` is not the first output of its node, and cannot be fed",
                info.name
            );
            return Err(error("input", key, problem));
        }
        if info.dtype == 0 {
            let op = main.nodes[end.node].op;
            let problem = format!(
                "nothing says which element type `{}` has, the output of operation `{op}`, so that no placeholder can stand for it; choose a tensor before or \
                 behind it",
                info.name
            );
            return Err(error("input", key, problem));
        }
        let argument = call.as_ref().and_then(|call| call.argument_of(end.node));
        let placeholder = placeholder(argument.unwrap_or(main.nodes[end.node].name), info);
        let tensor = Tensor::of(expander.graph.add(ScopeId::ROOT, placeholder));
        instance.replace(end.node, vec![Value::Tensor(tensor)]);
        inputs.push(interface(&end, tensor));
    }

    let results = if let Some(call) = &call {
        Some(call.expand(expander, &mut instance)?)
    } else {
        let roots: Vec<usize> = outputs.iter().map(|output| output.node).collect();
        expander.visit(&mut instance, &roots)?;
        None
    };
    let mut stand_ins = StandIns::default();
    let mut interfaces = Vec::with_capacity(outputs.len());
    for output in &outputs {
        let node = &main.nodes[output.node];
        let place = instance.place(node);
        let (value, name) = match (&call, &results) {
            (Some(call), Some(results)) => {
                let value = results.values.get(output.port).cloned();
                let missing = || {
                    error(
                        "output",
                        output.key,
                        format!("`{}`: the function has fewer results", output.info.name),
                    )
                };
                (value.ok_or_else(missing)?, call.result_name(output.port))
            }
            _ => (stand_ins.value(expander, &instance, output)?, node.name),
        };
        let tensor = match value {
            Value::Tensor(tensor) => tensor,
            other => expander.read(&place, other, ScopeId::ROOT)?,
        };
        interfaces.push(interface(output, called(expander, tensor, name)));
    }
    let results: Vec<Tensor> = interfaces.iter().map(|output| output.tensor).collect();
    expander.fill_tables(&mut instance, &results)?;
    Ok((inputs, interfaces))
}

/// Which of the outputs are wanted: all if none is named. The key of a sparse or ragged tensor stands for those of its components.
///
/// # Errors
/// The key that none has.
fn chosen<'w>(keys: &[&str], wanted: &'w [String]) -> std::result::Result<Vec<bool>, &'w str> {
    let mut chosen = vec![wanted.is_empty(); keys.len()];
    for wanted in wanted {
        let is_component = |key: &str| {
            let rest = key.strip_prefix(wanted.as_str());
            rest.is_some_and(|rest| rest.starts_with('/'))
        };
        let is_whole = keys.contains(&wanted.as_str());
        let mut is_found = false;
        for (key, is_chosen) in keys.iter().zip(&mut chosen) {
            if key == wanted || (!is_whole && is_component(key)) {
                (*is_chosen, is_found) = (true, true);
            }
        }
        if !is_found {
            return Err(wanted);
        }
    }
    Ok(chosen)
}

/// That a declared shape can be that of a tensor.
fn check_shape(shape: Option<&TensorShapeProto>) -> std::result::Result<(), String> {
    shape.map_or(Ok(()), |shape| check_rank(shape.dim.len()))
}

impl<'s> End<'s> {
    fn find(
        model: &MetaGraph<'_>,
        key: &'s str,
        info: &'s TensorInfo,
    ) -> std::result::Result<Self, String> {
        if info.name.is_empty() {
            return Err(
                "it is a sparse or composite tensor, and a frozen graph has only plain ones"
                    .to_owned(),
            );
        }
        check_shape(info.tensor_shape.as_ref())?;
        let Some((name, port)) = info.name.split_once(':') else {
            return Err(format!("`{}` is an operation, not a tensor", info.name));
        };
        let port = port
            .parse()
            .map_err(|_| format!("`{}` is no name of a tensor", info.name))?;
        match model.main.by_name.get(name) {
            Some(&node) => Ok(Self {
                key,
                info,
                node,
                port,
            }),
            None => Err(format!("tensor `{}` is not in the graph", info.name)),
        }
    }
}

impl<'a, 'm> Call<'a, 'm> {
    /// The call whose results are all outputs of the signature, if there is one.
    fn of(model: &'m MetaGraph<'a>, outputs: &[End<'_>]) -> Option<Self> {
        let first = outputs.first()?.node;
        let node = model.main.nodes.get(first)?;
        let is_call = matches!(node.op, "PartitionedCall" | "StatefulPartitionedCall");
        if !is_call || outputs.iter().any(|output| output.node != first) {
            return None;
        }
        let function = FunctionRef::parse(attr::func(node.attr("f")?)?)?;
        let body = model.functions.get(function.name)?.body().ok()?;
        if body.is_noinline() {
            return None;
        }
        let inputs = node.inputs.iter().filter(|input| !input.starts_with('^'));
        let inputs = inputs.map(|input| model.main.by_name.get(input.split(':').next()?).copied());
        Some(Self {
            node: first,
            function,
            body,
            inputs: inputs.collect::<Option<_>>()?,
        })
    }

    /// The name of the argument that a node of the main graph becomes.
    fn argument_of(&self, node: usize) -> Option<&'a str> {
        let index = self.inputs.iter().position(|&input| input == node)?;
        Some(self.body.inputs.get(index)?.name)
    }

    fn result_name(&self, index: usize) -> &'a str {
        result_name(self.body, index)
    }

    fn expand(&self, expander: &mut Expander<'a, 'm>, main: &mut Instance<'a, 'm>) -> Result<Done> {
        let node = &main.body.nodes[self.node];
        let place = main.place(node);
        expander.visit(main, &self.inputs)?;
        let mut values = Vec::with_capacity(self.inputs.len());
        for input in node.inputs.iter().filter(|input| !input.starts_with('^')) {
            let source = expander.source(main, &place, input)?;
            values.push(expander.value(main, &place, source)?);
        }
        expander.expand(
            &place,
            &self.function,
            String::new(),
            ScopeId::ROOT,
            values,
            Entry::default(),
        )
    }
}

/// The name of the node that makes a result of a function.
fn result_name<'a>(body: &FunctionBody<'a>, index: usize) -> &'a str {
    let tensor = body
        .outputs
        .get(index)
        .and_then(|output| body.returns.get(output.name).copied());
    let name = tensor.and_then(|tensor| tensor.split(':').next());
    // An argument that is returned as it came has no node.
    name.filter(|name| body.body.by_name.contains_key(name))
        .unwrap_or("Identity")
}

/// Expands a concrete function of the object graph, and gives its inputs and outputs.
pub(crate) fn expand_function(
    expander: &mut Expander<'_, '_>,
    saved: &SavedObjectGraph,
    concrete: &Concrete<'_>,
    wanted: &[String],
) -> Result<(Vec<Interface>, Vec<Interface>)> {
    let place = NodePlace {
        function: Some(concrete.name.to_owned()),
        ..NodePlace::default()
    };
    let Some((&name, _)) = expander.model.functions.get_key_value(concrete.name) else {
        return Err(expander.error(&place, "the file does not have the function"));
    };
    let body = expander.function(&place, name)?;
    let captured = &concrete.function.bound_inputs;
    let Some(given) = body.inputs.len().checked_sub(captured.len()) else {
        let problem = format!(
            "it captures {} values, and has {} arguments",
            captured.len(),
            body.inputs.len()
        );
        return Err(expander.error(&place, problem));
    };
    let own = body.inputs.get(..given).unwrap_or_default();
    let inputs = inputs_of(expander, &place, own, &concrete.arguments())?;
    let tensors = inputs.iter().map(|input| Value::Tensor(input.tensor));
    let mut values: Vec<Value> = tensors.collect();
    let mut captures = Captures {
        saved,
        main: Instance::main(&expander.model.main),
    };
    for (argument, &object) in body.inputs.iter().skip(given).zip(captured) {
        let place = NodePlace {
            node: argument.name.to_owned(),
            ..place.clone()
        };
        values.push(captures.value(expander, object, &place)?);
    }
    let function = FunctionRef {
        name,
        attrs: Vec::new(),
    };
    let done = expander.expand(
        &place,
        &function,
        String::new(),
        ScopeId::ROOT,
        values,
        Entry::default(),
    )?;
    let results = concrete.results(done.values.len());
    let keys: Vec<&str> = results.iter().map(|(key, _)| key.as_str()).collect();
    let chosen = chosen(&keys, wanted).map_err(|key| FreezeError::NoOutput {
        path: expander.file.path.clone(),
        signature: concrete.label(),
        wanted: key.to_owned(),
        available: results.iter().map(|(key, _)| key.clone()).collect(),
    })?;
    let mut outputs = Vec::with_capacity(results.len());
    for (index, ((key, spec), value)) in results.into_iter().zip(done.values).enumerate() {
        if !chosen[index] {
            continue;
        }
        let tensor = expander.read_or_tensor(&place, value)?;
        let (dtype, shape) = objects::spec_parts(spec);
        outputs.push(Interface {
            tensor: called(expander, tensor, result_name(body, index)),
            dtype: dtype.or_else(|| DType::from_proto(expander.graph.data_type(tensor))),
            shape: shape.and_then(shape_of),
            key,
        });
    }
    if outputs.is_empty() {
        return Err(expander.error(&place, "it gives no tensor"));
    }
    let results: Vec<Tensor> = outputs.iter().map(|output| output.tensor).collect();
    expander.fill_objects(&results, &mut |expander, table| {
        let filled = captures.expand_part(expander, table, "_initialize", &place);
        filled.map(|_| ())
    })?;
    Ok((inputs, outputs))
}

/// The inputs that a function's own arguments become, with the shapes of the specs where there are as many.
fn inputs_of(
    expander: &mut Expander<'_, '_>,
    place: &NodePlace,
    arguments: &[Argument<'_>],
    specs: &[&TensorSpecProto],
) -> Result<Vec<Interface>> {
    let mut inputs = Vec::with_capacity(arguments.len());
    for (index, argument) in arguments.iter().enumerate() {
        let spec = specs.get(index).filter(|_| specs.len() == arguments.len());
        let info = TensorInfo {
            dtype: argument.data_type,
            tensor_shape: spec.and_then(|spec| spec.shape.clone()),
            ..TensorInfo::default()
        };
        check_shape(info.tensor_shape.as_ref()).map_err(|problem| {
            let place = NodePlace {
                node: argument.name.to_owned(),
                ..place.clone()
            };
            expander.error(&place, problem)
        })?;
        let node = placeholder(argument.name, &info);
        inputs.push(Interface {
            key: argument.name.to_owned(),
            tensor: Tensor::of(expander.graph.add(ScopeId::ROOT, node)),
            dtype: DType::from_proto(info.dtype),
            shape: info.tensor_shape.as_ref().and_then(shape_of),
        });
    }
    Ok(inputs)
}

/// What functions of the object graph capture.
struct Captures<'a, 'm, 's> {
    saved: &'s SavedObjectGraph,
    /// The main graph, in which constants are.
    main: Instance<'a, 'm>,
}

impl<'a, 'm, 's> Captures<'a, 'm, 's> {
    fn object(&self, id: i32) -> Option<&'s SavedObject> {
        self.saved.nodes.get(usize::try_from(id).ok()?)
    }

    /// What a function captures: a variable's handle, the constant that a node of the main graph is, the path of an asset, or a table.
    fn value(
        &mut self,
        expander: &mut Expander<'a, 'm>,
        object: i32,
        place: &NodePlace,
    ) -> Result<Value> {
        expander.pay(place, 1)?;
        match self.object(object).and_then(|found| found.kind.as_ref()) {
            Some(saved_object::Kind::Variable(variable)) => {
                let index = expander
                    .variables
                    .of_object(object, &variable.name, place)?;
                Ok(Value::handle(index))
            }
            Some(saved_object::Kind::Constant(constant)) => {
                let by_name = &self.main.body.by_name;
                let Some(&node) = by_name.get(constant.operation.as_str()) else {
                    let problem = format!(
                        "it captures node `{}`, which is not in the graph",
                        constant.operation
                    );
                    return Err(expander.error(place, problem));
                };
                expander.visit(&mut self.main, &[node])?;
                expander.value(&self.main, place, NodeInput::Output(node, 0))
            }
            Some(saved_object::Kind::Asset(asset)) => {
                let file = expander.model.asset(asset.asset_file_def_index);
                Ok(Expander::asset_path(place, file.unwrap_or_default()))
            }
            Some(saved_object::Kind::Resource(_)) => self.resource(expander, object, place),
            _ => Ok(Expander::refused_capture(place, UNMADE_RESOURCE)),
        }
    }

    /// A resource, made by its own function the first time.
    fn resource(
        &mut self,
        expander: &mut Expander<'a, 'm>,
        object: i32,
        place: &NodePlace,
    ) -> Result<Value> {
        if let Some(table) = expander.tables.objects.get(&object) {
            return Ok(table.clone());
        }
        let making = &expander.tables.making;
        if making.contains(&object) {
            let problem = format!(
                "the function that makes the resource it captures, object {object}, needs this resource itself"
            );
            return Err(expander.error(place, problem));
        }
        if making.len() >= MAX_DEPTH {
            let problem = format!(
                "resources that are needed to make others are nested deeper than {MAX_DEPTH}"
            );
            return Err(expander.limit(place, problem));
        }
        expander.tables.making.push(object);
        let made = self.expand_part(expander, object, "_create_resource", place)?;
        expander.tables.making.pop();
        let made = made.and_then(|values| values.into_iter().next());
        let made = made.unwrap_or_else(|| Expander::refused_capture(place, UNMADE_RESOURCE));
        expander.tables.objects.insert(object, made.clone());
        Ok(made)
    }

    /// Expands a function that belongs to an object, such as the one that makes or fills a table; gives its results, if the object has the function.
    fn expand_part(
        &mut self,
        expander: &mut Expander<'a, 'm>,
        object: i32,
        part: &str,
        place: &NodePlace,
    ) -> Result<Option<Vec<Value>>> {
        let children = self.object(object).map(|found| found.children.as_slice());
        let mut children = children.unwrap_or_default().iter();
        let function = children.find(|child| child.local_name == part);
        let function = function.and_then(|child| self.object(child.node_id)?.kind.as_ref());
        let Some(saved_object::Kind::Function(function)) = function else {
            return Ok(None);
        };
        let concrete = function.concrete_functions.first();
        let concrete = concrete.and_then(|name| self.saved.concrete_functions.get_key_value(name));
        let Some((name, concrete)) = concrete else {
            return Ok(None);
        };
        let Some((&name, _)) = expander.model.functions.get_key_value(name.as_str()) else {
            return Ok(None);
        };
        let mut values = Vec::with_capacity(concrete.bound_inputs.len());
        for &captured in &concrete.bound_inputs {
            values.push(self.value(expander, captured, place)?);
        }
        let function = FunctionRef {
            name,
            attrs: Vec::new(),
        };
        let prefix = String::new();
        let done = expander.expand(
            place,
            &function,
            prefix,
            ScopeId::ROOT,
            values,
            Entry::default(),
        )?;
        Ok(Some(done.values))
    }
}

/// A signature of tensors by their names, for graphs that have none.
pub(crate) fn of_tensors(
    model: &MetaGraph<'_>,
    inputs: &[String],
    outputs: &[String],
) -> SignatureDef {
    let named = |names: &[String]| {
        let entry = |name: &String| {
            let full = if name.contains(':') {
                name.clone()
            } else {
                format!("{name}:0")
            };
            let node = full
                .split(':')
                .next()
                .and_then(|node| model.main.by_name.get(node));
            let node = node.and_then(|&node| model.main.nodes.get(node));
            let (dtype, tensor_shape) = node.map_or((0, None), |node| declared(model, node, &full));
            let info = TensorInfo {
                name: full,
                dtype,
                tensor_shape,
            };
            (name.clone(), info)
        };
        names.iter().map(entry).collect()
    };
    SignatureDef {
        inputs: named(inputs),
        outputs: named(outputs),
        method_name: String::new(),
    }
}

/// The type of a tensor as its node declares it, and a placeholder's shape.
fn declared(
    model: &MetaGraph<'_>,
    node: &NodeDef<'_>,
    tensor: &str,
) -> (i32, Option<TensorShapeProto>) {
    let port = tensor
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok());
    let def = model.op_def(node.op);
    let types = def.and_then(|def| def.output_types(node.attrs.as_slice()).ok());
    let dtype = types.and_then(|types| types.get(port.unwrap_or(0_usize)).copied());
    let shape = node.attr("shape").and_then(attr::shape);
    let shape = shape.filter(|_| node.op.starts_with("Placeholder"));
    (
        dtype.unwrap_or(0),
        shape.and_then(|shape| TensorShapeProto::decode(shape).ok()),
    )
}

fn placeholder<'a>(name: &str, info: &TensorInfo) -> Node<'a> {
    let node = Node::new(name.to_owned(), "Placeholder", Vec::new(), vec![info.dtype])
        .with("dtype", value::data_type(info.dtype));
    match &info.tensor_shape {
        Some(shape) if !shape.unknown_rank => {
            node.with("shape", value::shape(&shape.encode_to_vec()))
        }
        _ => node,
    }
}

/// The tensor under the name that it has to have: of its own node, or of a copy.
fn called(expander: &mut Expander<'_, '_>, tensor: Tensor, name: &str) -> Tensor {
    if expander.graph.node(tensor.node).name == name {
        tensor
    } else {
        expander.graph.copy(tensor, name)
    }
}

/// Nodes that stand for calls of the main graph whose results are outputs one by one.
#[derive(Default)]
struct StandIns(HashMap<usize, NodeId>);

impl StandIns {
    /// An output of the main graph. A result of a call that is not its first is named after the call and its place; so a node with as many
    /// outputs takes the place of the call.
    fn value<'a>(
        &mut self,
        expander: &mut Expander<'a, '_>,
        main: &Instance<'a, '_>,
        output: &End<'_>,
    ) -> Result<Value> {
        let node = &main.body.nodes[output.node];
        let place = main.place(node);
        let result = |expander: &Expander<'a, '_>, port| {
            expander.value(main, &place, NodeInput::Output(output.node, port))
        };
        let found = result(expander, output.port)?;
        let is_itself = |tensor: &Tensor| expander.graph.node(tensor.node).name == node.name;
        if output.port == 0 || matches!(&found, Value::Tensor(tensor) if is_itself(tensor)) {
            return Ok(found);
        }
        let port = u32::try_from(output.port).unwrap_or(u32::MAX);
        if let Some(&node) = self.0.get(&output.node) {
            return Ok(Value::Tensor(Tensor { node, port }));
        }
        let mut inputs = Vec::new();
        while let Ok(value) = result(expander, inputs.len()) {
            inputs.push(expander.read_or_tensor(&place, value)?);
        }
        let types: Vec<i32> = inputs
            .iter()
            .map(|&input| expander.graph.data_type(input))
            .collect();
        let stand_in = Node::new(node.name.to_owned(), "IdentityN", inputs, types.clone())
            .with("T", value::types(&types));
        let node = expander.graph.add(ScopeId::ROOT, stand_in);
        self.0.insert(output.node, node);
        Ok(Value::Tensor(Tensor { node, port }))
    }
}

fn interface(end: &End<'_>, tensor: Tensor) -> Interface {
    Interface {
        key: end.key.to_owned(),
        tensor,
        dtype: DType::from_proto(end.info.dtype),
        shape: end.info.tensor_shape.as_ref().and_then(shape_of),
    }
}

#[cfg(test)]
mod tests {
    use super::chosen;

    #[test]
    fn a_key_stands_for_its_components_unless_an_output_has_it() {
        let keys = ["dense", "words/row_splits", "words/values", "x", "x/y"];
        let found = |wanted: &[&str]| {
            let wanted: Vec<String> = wanted.iter().map(|&key| key.to_owned()).collect();
            let chosen = chosen(&keys, &wanted).map_err(str::to_owned)?;
            let pairs = keys.into_iter().zip(chosen);
            Ok(pairs.filter_map(|(key, is)| is.then_some(key)).collect())
        };
        let all = |keys: &[&'static str]| -> Result<Vec<&str>, String> { Ok(keys.to_vec()) };
        assert_eq!(found(&[]), all(&keys));
        assert_eq!(
            found(&["words"]),
            all(&["words/row_splits", "words/values"])
        );
        assert_eq!(found(&["words/values", "x"]), all(&["words/values", "x"]));
        assert_eq!(found(&["dense", "word"]), Err("word".to_owned()));
    }
}
