//! Where the values of variables are.
//!
//! A variable of the main graph is known by the name it shares; its value has a key in the bundle. Two parts of the file say which belongs to
//! which. The graph's own restore operation reads tensors by key and assigns them to variables: what C++ programs run, and all that files of
//! TensorFlow 1 have. The object graph names the variables that each function captures, and the paths to them, which make their keys: what
//! Python's loader goes by. The first is followed, and the second where the first says nothing.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use tfod_checkpoint::{Bundle, DType, NodeId, ObjectGraph};
use tfod_proto::SavedObjectGraph;
use tfod_proto::prost::Message;

use crate::messages::Parts;
use crate::messages::tensor::check_rank;

use super::constants::Variable;
use super::error::{FreezeError, NodePlace};
use super::file::File;
use super::model::{Body, FunctionBody, MetaGraph, NodeDef};
use super::table_ops::makes_table;
use super::wire::{Fields, Malformed, attr};

type Result<T> = std::result::Result<T, FreezeError>;

/// Calls nested deeper than this in a restore operation are not followed, nor are longer chains of identities.
const MAX_DEPTH: usize = 16;

/// Function bodies within a restore operation that are read: one a device, usually one in all.
const MAX_BODIES: usize = 256;

/// What makes two handles the same variable: the container and the name in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Handle<'a> {
    container: &'a str,
    shared_name: &'a str,
    name: &'a str,
}

impl<'a> Handle<'a> {
    /// The handle that a `VarHandleOp` or `VariableV2` of the main graph makes.
    pub(crate) fn of(node: &NodeDef<'a>) -> Self {
        let text = |name| node.attr(name).and_then(attr::text).unwrap_or_default();
        let shared_name = text("shared_name");
        // Without a shared name, the node's own is used; with one, the node's does not matter.
        let name = if shared_name.is_empty() {
            node.name
        } else {
            ""
        };
        Self {
            container: text("container"),
            shared_name,
            name,
        }
    }

    fn label(&self) -> &'a str {
        if self.shared_name.is_empty() {
            self.name
        } else {
            self.shared_name
        }
    }
}

/// A key of the bundle, and the slice of that tensor in the notation of `RestoreV2`, empty for all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stored {
    key: String,
    slice: String,
}

/// What the restore operation assigns to variables, and the keys and values that it puts into tables.
#[derive(Debug, Default)]
struct Restored<'a> {
    variables: HashMap<Handle<'a>, Stored>,
    tables: HashMap<Handle<'a>, [Stored; 2]>,
}

/// The variables of a graph, looked up when they are first needed.
pub(crate) struct Variables<'a, 'm> {
    file: &'a File,
    model: &'m MetaGraph<'a>,
    bundle: OnceCell<Bundle>,
    restored: OnceCell<Restored<'a>>,
    captured: OnceCell<HashMap<Handle<'a>, Stored>>,
    indices: HashMap<Handle<'a>, usize>,
    /// The keys of all variables of the object graph, by object.
    keys: OnceCell<HashMap<i32, String>>,
    objects: HashMap<i32, usize>,
    found: Vec<Variable>,
}

impl<'a, 'm> Variables<'a, 'm> {
    pub(crate) fn new(file: &'a File, model: &'m MetaGraph<'a>) -> Self {
        Self {
            file,
            model,
            bundle: OnceCell::new(),
            restored: OnceCell::new(),
            captured: OnceCell::new(),
            indices: HashMap::new(),
            keys: OnceCell::new(),
            objects: HashMap::new(),
            found: Vec::new(),
        }
    }

    pub(crate) fn get(&self, index: usize) -> &Variable {
        &self.found[index]
    }

    /// The variables found, and the bundle that has their values, if any was needed.
    pub(crate) fn into_parts(self) -> (Vec<Variable>, Option<Bundle>) {
        (self.found, self.bundle.into_inner())
    }

    fn bundle(&self) -> Result<&Bundle> {
        if let Some(bundle) = self.bundle.get() {
            return Ok(bundle);
        }
        let bundle = Bundle::open(self.file.folder.join("variables").join("variables"))?;
        Ok(self.bundle.get_or_init(|| bundle))
    }

    /// The index of the variable of a handle that the node at `place` makes.
    pub(crate) fn of(&mut self, handle: &Handle<'a>, place: &NodePlace) -> Result<usize> {
        if let Some(&index) = self.indices.get(handle) {
            return Ok(index);
        }
        let variable = self.locate(handle, place)?;
        let index = self.found.len();
        self.found.push(variable);
        self.indices.insert(handle.clone(), index);
        Ok(index)
    }

    /// The index of the variable that is an object of the object graph.
    pub(crate) fn of_object(
        &mut self,
        object: i32,
        name: &str,
        place: &NodePlace,
    ) -> Result<usize> {
        if let Some(&index) = self.objects.get(&object) {
            return Ok(index);
        }
        if self.keys.get().is_none() {
            let saved = self.saved()?;
            let keys = keys_of(&saved, &self.bundle()?.object_graph()?);
            self.keys.get_or_init(|| keys);
        }
        let stored = self.keys.get().and_then(|keys| keys.get(&object));
        let stored = stored.map(|key| Stored {
            key: key.clone(),
            slice: String::new(),
        });
        let variable = self.stored(stored.as_ref(), name, place)?;
        let index = self.found.len();
        self.found.push(variable);
        self.objects.insert(object, index);
        Ok(index)
    }

    /// The object graph.
    pub(crate) fn saved(&self) -> Result<SavedObjectGraph> {
        let message = self.model.object_graph.unwrap_or_default();
        let counted = Parts::default().count_all(message);
        let decoded = counted
            .and_then(|()| SavedObjectGraph::decode(message).map_err(|_| Malformed::at(message)));
        decoded.map_err(|malformed| self.file.damaged(malformed, "reading the object graph"))
    }

    fn restored(&self) -> &Restored<'a> {
        self.restored.get_or_init(|| Restore::new(self.model).run())
    }

    /// The indices of the keys and values of a table, if the bundle has them.
    pub(crate) fn of_table(
        &mut self,
        handle: &Handle<'a>,
        place: &NodePlace,
    ) -> Result<Option<[usize; 2]>> {
        let Some([keys, values]) = self.restored().tables.get(handle).cloned() else {
            return Ok(None);
        };
        let mut indices = [0; 2];
        for (index, stored) in indices.iter_mut().zip([keys, values]) {
            let name = stored.key.clone();
            *index = self.found.len();
            let variable = self.stored(Some(&stored), &name, place)?;
            self.found.push(variable);
        }
        Ok(Some(indices))
    }

    fn locate(&self, handle: &Handle<'a>, place: &NodePlace) -> Result<Variable> {
        let restored = self.restored().variables.get(handle);
        let stored = if restored.is_some() {
            restored
        } else {
            self.captured()?.get(handle)
        };
        self.stored(stored, handle.label(), place)
    }

    /// A variable whose value is stored there.
    fn stored(&self, stored: Option<&Stored>, name: &str, place: &NodePlace) -> Result<Variable> {
        let path = || self.file.path.clone();
        let Some(stored) = stored else {
            let reason = "the file does not say where its value is saved; it has none before the model is loaded, as the path of an asset has none";
            return Err(FreezeError::Refused {
                path: path(),
                place: Box::new(place.clone()),
                reason: reason.to_owned(),
            });
        };
        let entry = self.bundle()?.entry(&stored.key)?;
        let problem = |problem| FreezeError::Graph {
            path: path(),
            place: Box::new(place.clone()),
            problem,
        };
        let (part, shape) = parse_slice(&stored.slice, entry.shape()).ok_or_else(|| {
            problem(format!(
                "its part `{}` of the stored tensor makes no sense",
                stored.slice
            ))
        })?;
        check_rank(shape.len()).map_err(problem)?;
        let dtype = entry.dtype();
        if matches!(dtype, DType::Resource | DType::Variant) {
            return Err(problem(format!(
                "its stored value is a {dtype}, which no constant can be"
            )));
        }
        Ok(Variable {
            name: name.to_owned(),
            key: stored.key.clone(),
            part,
            dtype,
            shape,
        })
    }

    fn captured(&self) -> Result<&HashMap<Handle<'a>, Stored>> {
        if let Some(captured) = self.captured.get() {
            return Ok(captured);
        }
        let captured = self.read_captured()?;
        Ok(self.captured.get_or_init(|| captured))
    }

    /// The keys of the variables that functions capture, by way of the calls of these functions in the main graph.
    fn read_captured(&self) -> Result<HashMap<Handle<'a>, Stored>> {
        let mut captured = HashMap::new();
        if self.model.object_graph.is_none() {
            return Ok(captured);
        }
        let saved = self.saved()?;
        let keys = keys_of(&saved, &self.bundle()?.object_graph()?);
        for node in &self.model.main.nodes {
            let Some(name) = called(node) else { continue };
            let Some(function) = saved.concrete_functions.get(name) else {
                continue;
            };
            let handles: Vec<&str> = node
                .inputs
                .iter()
                .copied()
                .filter(|input| !input.starts_with('^'))
                .collect();
            let Some(first) = handles.len().checked_sub(function.bound_inputs.len()) else {
                continue;
            };
            for (input, object) in handles.iter().skip(first).zip(&function.bound_inputs) {
                let made_by = self
                    .model
                    .main
                    .by_name
                    .get(base(input))
                    .and_then(|&node| self.model.main.nodes.get(node));
                if let (Some(made_by), Some(key)) = (made_by, keys.get(object)) {
                    captured.insert(
                        Handle::of(made_by),
                        Stored {
                            key: key.clone(),
                            slice: String::new(),
                        },
                    );
                }
            }
        }
        Ok(captured)
    }
}

/// The function that a node calls.
fn called<'a>(node: &NodeDef<'a>) -> Option<&'a str> {
    if !matches!(node.op, "PartitionedCall" | "StatefulPartitionedCall") {
        return None;
    }
    Some(super::model::FunctionRef::parse(attr::func(node.attr("f")?)?)?.name)
}

/// The node that an input of the main graph refers to.
fn base(input: &str) -> &str {
    let input = input.strip_prefix('^').unwrap_or(input);
    input.split(':').next().unwrap_or(input)
}

/// The bundle's key of each variable of the object graph: both graphs are walked side by side.
fn keys_of(saved: &SavedObjectGraph, stored: &ObjectGraph) -> HashMap<i32, String> {
    let mut keys = HashMap::new();
    let mut seen = HashSet::from([0]);
    let Ok(root) = stored.resolve(&[] as &[&str]) else {
        return keys;
    };
    let mut stack: Vec<(i32, NodeId)> = vec![(0, root)];
    while let Some((object, node)) = stack.pop() {
        if let Some(variable) = stored.variable(node) {
            keys.insert(object, variable.checkpoint_key.to_owned());
        }
        let Some(object) = usize::try_from(object)
            .ok()
            .and_then(|index| saved.nodes.get(index))
        else {
            continue;
        };
        for child in &object.children {
            if let Some(node) = stored.child(node, &child.local_name)
                && seen.insert(child.node_id)
            {
                stack.push((child.node_id, node));
            }
        }
    }
    keys
}

/// A slice as `RestoreV2` writes it, `4 6 0,2:-`: the shape of the whole, then for each dimension its beginning and length, or `-` for all of
/// it. Gives the part, `None` for the whole, and the part's shape; `None` if it does not fit the shape.
#[expect(
    clippy::type_complexity,
    reason = "two lists, of which the first may be absent"
)]
fn parse_slice(slice: &str, shape: &[usize]) -> Option<(Option<Vec<(usize, usize)>>, Vec<usize>)> {
    if slice.is_empty() {
        return Some((None, shape.to_vec()));
    }
    let (whole, extents) = slice.rsplit_once(' ')?;
    let whole: Vec<usize> = whole
        .split(' ')
        .map(|size| size.parse().ok())
        .collect::<Option<_>>()?;
    let extents: Vec<&str> = extents.split(':').collect();
    if whole != shape || extents.len() != shape.len() {
        return None;
    }
    let extent = |(extent, &size): (&&str, &usize)| {
        if *extent == "-" {
            return Some((0, size));
        }
        let (start, length) = extent.split_once(',')?;
        let (start, length): (usize, usize) = (start.parse().ok()?, length.parse().ok()?);
        start
            .checked_add(length)
            .filter(|&end| end <= size)
            .map(|_| (start, length))
    };
    let part: Vec<(usize, usize)> = extents
        .iter()
        .zip(shape)
        .map(extent)
        .collect::<Option<_>>()?;
    let shape = part.iter().map(|&(_, length)| length).collect();
    Some((Some(part), shape))
}

/// What the restore operation does, followed without running it.
struct Restore<'a, 'm> {
    model: &'m MetaGraph<'a>,
    found: Restored<'a>,
    /// The constant strings that restore operations read, by the address of the constant.
    strings: HashMap<usize, Vec<&'a str>>,
    /// Bodies entered so far, against files in which functions call each other without end.
    entered: usize,
}

/// A body within the restore operation.
#[derive(Clone, Copy)]
struct Level<'a, 'l> {
    body: &'l Body<'a>,
    function: Option<&'l FunctionBody<'a>>,
    arguments: &'l [Traced<'a>],
}

impl<'a, 'l> Level<'a, 'l> {
    fn node(self, name: &str) -> Option<&'l NodeDef<'a>> {
        self.body
            .by_name
            .get(name)
            .and_then(|&index| self.body.nodes.get(index))
    }
}

/// What is known of a tensor there.
#[derive(Clone, Debug)]
enum Traced<'a> {
    Unknown,
    Handle(Handle<'a>),
    Restored(Stored),
}

impl<'a, 'm> Restore<'a, 'm> {
    fn new(model: &'m MetaGraph<'a>) -> Self {
        Self {
            model,
            found: Restored::default(),
            strings: HashMap::new(),
            entered: 0,
        }
    }

    fn run(mut self) -> Restored<'a> {
        let main = &self.model.main;
        let level = Level {
            body: main,
            function: None,
            arguments: &[],
        };
        // Only what the restore operation needs: a graph can have other savers.
        let mut stack = vec![base(&self.model.saver.restore_op_name)];
        let mut seen = HashSet::new();
        while let Some(name) = stack.pop() {
            let Some(&index) = main.by_name.get(name) else {
                continue;
            };
            if seen.insert(index) {
                self.follow(level, &main.nodes[index], 0);
                stack.extend(main.nodes[index].inputs.iter().map(|input| base(input)));
            }
        }
        self.found
    }

    fn follow(&mut self, level: Level<'a, '_>, node: &NodeDef<'a>, depth: usize) {
        if matches!(node.op, "AssignVariableOp" | "Assign") {
            if let [handle, value, ..] = node.inputs.as_slice()
                && let (Traced::Handle(handle), Traced::Restored(stored)) =
                    (self.trace(level, handle), self.trace(level, value))
            {
                self.found.variables.insert(handle, stored);
            }
            return;
        }
        if node.op == "LookupTableImportV2" {
            if let [handle, keys, values, ..] = node.inputs.as_slice()
                && let (Traced::Handle(handle), Traced::Restored(keys), Traced::Restored(values)) = (
                    self.trace(level, handle),
                    self.trace(level, keys),
                    self.trace(level, values),
                )
            {
                self.found.tables.insert(handle, [keys, values]);
            }
            return;
        }
        let Some(function) = called(node).and_then(|name| self.model.functions.get(name)) else {
            return;
        };
        let Ok(body) = function.body() else { return };
        self.entered += 1;
        if depth >= MAX_DEPTH || self.entered > MAX_BODIES {
            return;
        }
        let data = node.inputs.iter().filter(|input| !input.starts_with('^'));
        let arguments: Vec<Traced<'a>> = data.map(|input| self.trace(level, input)).collect();
        let inner = Level {
            body: &body.body,
            function: Some(body),
            arguments: &arguments,
        };
        for node in &body.body.nodes {
            self.follow(inner, node, depth + 1);
        }
    }

    /// Follows a tensor back through identities to where it comes from.
    fn trace(&mut self, level: Level<'a, '_>, input: &str) -> Traced<'a> {
        let mut input = input;
        for _ in 0..MAX_DEPTH {
            let name = base(input);
            let Some(node) = level.node(name) else {
                let argument = level.function.and_then(|function| {
                    function
                        .inputs
                        .iter()
                        .position(|argument| argument.name == name)
                });
                return argument
                    .and_then(|index| level.arguments.get(index))
                    .cloned()
                    .unwrap_or(Traced::Unknown);
            };
            match (node.op, node.inputs.as_slice()) {
                ("Identity", [of, ..]) => input = of,
                ("VarHandleOp" | "VariableV2" | "Variable", _) => {
                    return Traced::Handle(Handle::of(node));
                }
                (op, _) if makes_table(op) => return Traced::Handle(Handle::of(node)),
                ("RestoreV2", [_, keys, slices, ..]) => {
                    let port = input
                        .rsplit_once(':')
                        .and_then(|(_, port)| port.parse().ok())
                        .unwrap_or(0);
                    let (key, slice) = (
                        self.string(level, keys, port),
                        self.string(level, slices, port),
                    );
                    let stored = key.zip(slice).map(|(key, slice)| Stored {
                        key: key.to_owned(),
                        slice: slice.to_owned(),
                    });
                    return stored.map_or(Traced::Unknown, Traced::Restored);
                }
                _ => return Traced::Unknown,
            }
        }
        Traced::Unknown
    }

    /// Element `index` of a constant vector of strings.
    fn string(&mut self, level: Level<'a, '_>, input: &str, index: usize) -> Option<&'a str> {
        const STRING_VAL: u32 = 8;
        let tensor = attr::tensor(level.node(base(input))?.attr("value")?)?;
        let strings = self
            .strings
            .entry(tensor.as_ptr() as usize)
            .or_insert_with(|| {
                let fields = Fields::of(tensor).map_while(std::result::Result::ok);
                fields
                    .filter(|(number, _)| *number == STRING_VAL)
                    .map_while(|(_, field)| field.borrowed_text())
                    .collect()
            });
        // A short list is continued by its last element.
        strings.get(index).or(strings.last()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_parsed_and_checked() {
        assert_eq!(parse_slice("", &[4, 6]), Some((None, vec![4, 6])));
        assert_eq!(
            parse_slice("4 6 1,2:-", &[4, 6]),
            Some((Some(vec![(1, 2), (0, 6)]), vec![2, 6]))
        );
        for wrong in ["4 6 3,2:-", "4 5 1,2:-", "4 6 1,2", "4 6 x:-", "4 6"] {
            assert_eq!(parse_slice(wrong, &[4, 6]), None, "{wrong}");
        }
    }
}
