//! A SavedModel as it is on disk: the message's parts found, none decoded before it is needed.
//!
//! Official exports have hundreds of functions of which a signature needs some; a function's body is read when it is first called.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};

use tfod_proto::prost::Message;
use tfod_proto::wire::{Field, all, last};
use tfod_proto::{SaverDef, SignatureDef, TensorInfo};

use crate::messages::{Node, Parts};
use crate::op_defs::{self, OpDef};

use super::wire::{Fields, Malformed, attr, map_entry};

/// The collections that name what runs before all else, in the order in which they are looked for.
const INITIALISER_COLLECTIONS: [&str; 3] =
    ["saved_model_main_op", "legacy_init_op", "table_initializer"];

/// A function is given no more attributes than this.
const MAX_ATTRS: usize = 1024;

/// One graph of a SavedModel with everything that belongs to it.
#[derive(Debug)]
pub(crate) struct MetaGraph<'a> {
    pub(crate) main: Body<'a>,
    pub(crate) functions: HashMap<&'a str, Function<'a>>,
    /// A function whose name another one has too.
    pub(crate) duplicate: Option<&'a str>,
    pub(crate) signatures: BTreeMap<String, SignatureDef>,
    pub(crate) saver: SaverDef,
    /// The graph's tags, where others were looked for and it was taken as the only one.
    pub(crate) other_tags: Option<String>,
    /// The operations that the file defines and TensorFlow does not have.
    pub(crate) custom_ops: HashMap<&'a str, OpDef<'a>>,
    /// The names of the nodes that the file's collections list, of those collections that tell what fills tables.
    collections: HashMap<&'a str, Vec<&'a str>>,
    /// The assets' files, and by the node that is fed their paths.
    assets: Vec<&'a str>,
    asset_nodes: HashMap<&'a str, usize>,
    asset_variables: OnceCell<HashMap<&'a str, usize>>,
    /// The encoded `SavedObjectGraph`.
    pub(crate) object_graph: Option<&'a [u8]>,
    /// The version of TensorFlow's graph format that the operations were written for.
    pub(crate) producer: i32,
    /// Of all that is read of it, functions included.
    parts: Parts,
}

/// A function of the library.
#[derive(Debug)]
pub(crate) struct Function<'a> {
    pub(crate) name: &'a str,
    message: &'a [u8],
    parts: Parts,
    parsed: OnceCell<Result<FunctionBody<'a>, Malformed>>,
}

/// The parts of a function.
#[derive(Debug)]
pub(crate) struct FunctionBody<'a> {
    pub(crate) inputs: Vec<Argument<'a>>,
    pub(crate) outputs: Vec<Argument<'a>>,
    pub(crate) body: Body<'a>,
    /// The tensor of each output, by the output's name.
    pub(crate) returns: HashMap<&'a str, &'a str>,
    /// The nodes that are to run whenever the function is called.
    pub(crate) control_returns: Vec<&'a str>,
    pub(crate) attrs: Vec<(&'a str, &'a [u8])>,
}

/// An argument or result of a function.
#[derive(Debug)]
pub(crate) struct Argument<'a> {
    pub(crate) name: &'a str,
    /// A number of `DataType`, 0 where an attribute of the call decides.
    pub(crate) data_type: i32,
    pub(crate) type_attr: &'a str,
    /// Whether it stands for a list of tensors.
    pub(crate) is_list: bool,
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
        for field in Fields::of(list) {
            match field.ok()? {
                (1, field) => function.name = field.borrowed_text()?,
                (2, field) if function.attrs.len() < MAX_ATTRS => {
                    function.attrs.push(map_entry(field.bytes()?).ok()?);
                }
                (2, _) => return None,
                _ => {}
            }
        }
        Some(function)
    }
}

/// Nodes that can refer to each other.
#[derive(Debug, Default)]
pub(crate) struct Body<'a> {
    pub(crate) nodes: Vec<NodeDef<'a>>,
    pub(crate) by_name: HashMap<&'a str, usize>,
    /// A node whose name another one has too.
    pub(crate) duplicate: Option<usize>,
}

/// A node as it is in the file, which is in memory.
pub(crate) type NodeDef<'a> = Node<'a, &'a str>;

impl<'a> Body<'a> {
    fn push(&mut self, message: &'a [u8], parts: &Parts) -> Result<(), Malformed> {
        parts.count(message)?;
        let node = NodeDef::parse(message)?;
        if self.by_name.insert(node.name, self.nodes.len()).is_some() {
            self.duplicate = Some(self.nodes.len());
        }
        self.nodes.push(node);
        Ok(())
    }
}

impl<'a> Argument<'a> {
    fn parse(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut argument = Self {
            name: "",
            data_type: 0,
            type_attr: "",
            is_list: false,
        };
        for field in Fields::of(message) {
            let (number, field) = field?;
            let text = || field.borrowed_text().ok_or_else(|| Malformed::at(message));
            match number {
                1 => argument.name = text()?,
                3 => {
                    argument.data_type = field
                        .varint()
                        .and_then(|n| i32::try_from(n).ok())
                        .unwrap_or(0);
                }
                4 => argument.type_attr = text()?,
                5 | 6 => argument.is_list |= !text()?.is_empty(),
                _ => {}
            }
        }
        Ok(argument)
    }
}

impl<'a> Function<'a> {
    /// Finds the name only.
    fn locate(message: &'a [u8], parts: Parts) -> Result<Self, Malformed> {
        let mut name = "";
        for field in Fields::of(message) {
            let (number, field) = field?;
            if number != 1 {
                continue;
            }
            for field in Fields::of(field.bytes().ok_or_else(|| Malformed::at(message))?) {
                let (number, field) = field?;
                if number == 1 {
                    name = field
                        .borrowed_text()
                        .ok_or_else(|| Malformed::at(message))?;
                }
            }
        }
        Ok(Self {
            name,
            message,
            parts,
            parsed: OnceCell::new(),
        })
    }

    pub(crate) fn body(&self) -> Result<&FunctionBody<'a>, Malformed> {
        self.parsed
            .get_or_init(|| FunctionBody::parse(self.message, &self.parts))
            .as_ref()
            .map_err(|&malformed| malformed)
    }
}

impl<'a> FunctionBody<'a> {
    fn parse(message: &'a [u8], parts: &Parts) -> Result<Self, Malformed> {
        parts.count(message)?;
        let mut function = Self {
            inputs: Vec::new(),
            outputs: Vec::new(),
            body: Body::default(),
            returns: HashMap::new(),
            control_returns: Vec::new(),
            attrs: Vec::new(),
        };
        for field in Fields::of(message) {
            let (number, field) = field?;
            let bytes = || field.bytes().ok_or_else(|| Malformed::at(message));
            match number {
                1 => {
                    parts.count(bytes()?)?;
                    function.parse_signature(bytes()?)?;
                }
                3 => function.body.push(bytes()?, parts)?,
                4 => {
                    let (output, tensor) = text_entry(bytes()?)?;
                    function.returns.insert(output, tensor);
                }
                5 => function.attrs.push(map_entry(bytes()?)?),
                6 => function.control_returns.push(text_entry(bytes()?)?.1),
                _ => {}
            }
        }
        Ok(function)
    }

    fn parse_signature(&mut self, message: &'a [u8]) -> Result<(), Malformed> {
        for field in Fields::of(message) {
            let (number, field) = field?;
            let arguments = match number {
                2 => &mut self.inputs,
                3 => &mut self.outputs,
                _ => continue,
            };
            arguments.push(Argument::parse(
                field.bytes().ok_or_else(|| Malformed::at(message))?,
            )?);
        }
        Ok(())
    }

    /// Whether the author forbade inlining.
    pub(crate) fn is_noinline(&self) -> bool {
        self.attrs
            .iter()
            .any(|(name, value)| *name == "_noinline" && attr::bool(value) == Some(true))
    }
}

/// The entry of a map from strings to strings.
fn text_entry(entry: &[u8]) -> Result<(&str, &str), Malformed> {
    let (key, value) = map_entry(entry)?;
    let value = std::str::from_utf8(value).map_err(|_| Malformed::at(value))?;
    Ok((key, value))
}

/// Reads a `SignatureDef`, with an entry for each component of a sparse or ragged tensor.
fn signature(message: &[u8]) -> Result<SignatureDef, Malformed> {
    let mut def = SignatureDef::decode(message).map_err(|_| Malformed::at(message))?;
    for field in Fields::of(message) {
        let (number, field) = field?;
        let entries = match number {
            1 => &mut def.inputs,
            2 => &mut def.outputs,
            _ => continue,
        };
        let entry = field.bytes().ok_or_else(|| Malformed::at(message))?;
        let (key, info) = map_entry::<String>(entry)?;
        let components = components(info)?;
        if !components.is_empty() {
            entries.remove(&key);
        }
        for (name, info) in components {
            entries.insert(format!("{key}/{name}"), info);
        }
    }
    Ok(def)
}

/// The tensors that a sparse or composite `TensorInfo` consists of, by the names of TensorFlow's attributes; none if it is a plain tensor.
fn components(info: &[u8]) -> Result<Vec<(String, TensorInfo)>, Malformed> {
    const COO_SPARSE: u32 = 4;
    const COMPOSITE: u32 = 5;
    const INT64: i32 = 9;
    let decoded = |message| TensorInfo::decode(message).map_err(|_| Malformed::at(message));
    if let Some(sparse) = last(info, COO_SPARSE).and_then(Field::bytes) {
        let dtype = decoded(info)?.dtype;
        let mut found = Vec::new();
        for (number, name, dtype) in [
            (2, "indices", INT64),
            (1, "values", dtype),
            (3, "dense_shape", INT64),
        ] {
            let tensor = last(sparse, number).and_then(Field::text);
            let info = TensorInfo {
                name: tensor.ok_or_else(|| Malformed::at(sparse))?,
                dtype,
                tensor_shape: None,
            };
            found.push((name.to_owned(), info));
        }
        return Ok(found);
    }
    let Some(composite) = last(info, COMPOSITE).and_then(Field::bytes) else {
        return Ok(Vec::new());
    };
    let class = last(composite, 1)
        .and_then(Field::bytes)
        .and_then(|spec| last(spec, 1)?.varint());
    let parts = all(composite, 2).filter_map(Field::bytes).enumerate();
    parts
        .map(|(index, part)| Ok((component_name(class, index), decoded(part)?)))
        .collect()
}

/// The name of a component of a tensor that is not plain: `class` is one of `TypeSpecProto`.
pub(super) fn component_name(class: Option<u64>, index: usize) -> String {
    const SPARSE: u64 = 1;
    const RAGGED: u64 = 3;
    match (class, index) {
        (Some(SPARSE), 0) => "indices".to_owned(),
        (Some(SPARSE), 1) | (Some(RAGGED), 0) => "values".to_owned(),
        (Some(SPARSE), 2) => "dense_shape".to_owned(),
        (Some(RAGGED), 1) => "row_splits".to_owned(),
        (Some(RAGGED), index) => format!("row_splits_{}", index - 1),
        (_, index) => format!("component_{index}"),
    }
}

pub(crate) fn tags_of<'a>(meta_graph: &'a [u8], parts: &Parts) -> Result<Vec<&'a str>, Malformed> {
    let mut tags = Vec::new();
    parts.count(meta_graph)?;
    for field in Fields::of(meta_graph) {
        let (1, field) = field? else { continue };
        let info = field.bytes().ok_or_else(|| Malformed::at(meta_graph))?;
        parts.count(info)?;
        for field in Fields::of(info) {
            let (4, field) = field? else { continue };
            tags.push(
                field
                    .borrowed_text()
                    .ok_or_else(|| Malformed::at(meta_graph))?,
            );
        }
    }
    Ok(tags)
}

impl<'a> MetaGraph<'a> {
    pub(crate) fn parse(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut graph = Self {
            main: Body::default(),
            functions: HashMap::new(),
            duplicate: None,
            signatures: BTreeMap::new(),
            saver: SaverDef::default(),
            other_tags: None,
            custom_ops: HashMap::new(),
            collections: HashMap::new(),
            assets: Vec::new(),
            asset_nodes: HashMap::new(),
            asset_variables: OnceCell::new(),
            object_graph: None,
            producer: 0,
            parts: Parts::default(),
        };
        for field in Fields::of(message) {
            let (number, field) = field?;
            let bytes = || field.bytes().ok_or_else(|| Malformed::at(message));
            match number {
                1 => graph.parse_info(bytes()?)?,
                2 => graph.parse_graph(bytes()?)?,
                3 => {
                    graph.saver = SaverDef::decode(bytes()?).map_err(|_| Malformed::at(message))?;
                }
                4 => graph.parse_collection(bytes()?)?,
                6 => graph.parse_asset(bytes()?)?,
                5 => {
                    graph.parts.count_all(bytes()?)?;
                    let (key, value) = map_entry::<String>(bytes()?)?;
                    let signature = signature(value)?;
                    graph.signatures.insert(key, signature);
                }
                7 => graph.object_graph = Some(bytes()?),
                _ => {}
            }
        }
        Ok(graph)
    }

    /// Of what the file tells of itself: the list of the operations it uses, with TensorFlow's own.
    fn parse_info(&mut self, message: &'a [u8]) -> Result<(), Malformed> {
        for field in Fields::of(message) {
            let (2, field) = field? else { continue };
            for field in Fields::of(field.bytes().ok_or_else(|| Malformed::at(message))?) {
                let (1, field) = field? else { continue };
                let message = field.bytes().ok_or_else(|| Malformed::at(message))?;
                self.parts.count_all(message)?;
                let (name, def) = OpDef::read(message)?;
                if op_defs::find(name).is_none() {
                    self.custom_ops.insert(name, def);
                }
            }
        }
        Ok(())
    }

    /// What of collections tells how tables are filled: lists of nodes, and the assets of TensorFlow 1.
    fn parse_collection(&mut self, message: &'a [u8]) -> Result<(), Malformed> {
        const NODES: u32 = 1;
        const MESSAGES: u32 = 5;
        let (key, collection) = map_entry::<&str>(message)?;
        for field in Fields::of(collection) {
            let (number, field) = field?;
            let is_list = number == NODES && INITIALISER_COLLECTIONS.contains(&key);
            let is_assets = number == MESSAGES && key == "saved_model_assets";
            let Some(list) = field.bytes().filter(|_| is_list || is_assets) else {
                continue;
            };
            self.parts.count(list)?;
            for field in Fields::of(list) {
                let (1, field) = field? else { continue };
                let text = || field.borrowed_text().ok_or_else(|| Malformed::at(list));
                if is_list {
                    self.collections.entry(key).or_default().push(text()?);
                } else if let Some(message) = field.bytes().and_then(|any| last(any, 2)?.bytes()) {
                    self.parse_asset(message)?;
                }
            }
        }
        Ok(())
    }

    /// An `AssetFileDef`.
    fn parse_asset(&mut self, message: &'a [u8]) -> Result<(), Malformed> {
        let (mut node, mut file) = (None, None);
        self.parts.count(message)?;
        for field in Fields::of(message) {
            match field? {
                (1, info) => node = info.bytes().and_then(|info| last(info, 1)?.borrowed_text()),
                (2, name) => file = name.borrowed_text(),
                _ => {}
            }
        }
        if let (Some(tensor), Some(file)) = (node, file) {
            let node = tensor.split(':').next().unwrap_or(tensor);
            self.asset_nodes.insert(node, self.assets.len());
            self.assets.push(file);
        }
        Ok(())
    }

    /// The file of an asset, by its number.
    pub(crate) fn asset(&self, index: i32) -> Option<&'a str> {
        self.assets.get(usize::try_from(index).ok()?).copied()
    }

    /// The file whose path a node of the main graph is fed.
    pub(crate) fn asset_of(&self, node: &str) -> Option<&'a str> {
        self.assets.get(*self.asset_nodes.get(node)?).copied()
    }

    /// The file whose path a variable of the main graph is assigned when the model is loaded.
    pub(crate) fn asset_of_variable(&self, node: &str) -> Option<&'a str> {
        let assigned = || {
            let assignment = |node: &NodeDef<'a>| match (node.op, node.inputs.as_slice()) {
                ("AssignVariableOp", [variable, path, ..]) => {
                    Some((*variable, *self.asset_nodes.get(path)?))
                }
                _ => None,
            };
            let nodes = self.main.nodes.iter().filter(|_| !self.assets.is_empty());
            nodes.filter_map(assignment).collect()
        };
        let index = self.asset_variables.get_or_init(assigned).get(node)?;
        self.assets.get(*index).copied()
    }

    /// The nodes that loaders run before all others: the first of the places where the file may say so.
    pub(crate) fn initialisers(&self) -> Vec<&str> {
        let signature = self.signatures.get(super::INIT_SIGNATURE);
        let signature = signature.and_then(|def| def.outputs.get(super::INIT_SIGNATURE));
        if let Some(info) = signature {
            return vec![info.name.split(':').next().unwrap_or(&info.name)];
        }
        let mut collections = INITIALISER_COLLECTIONS.iter();
        let nodes = collections.find_map(|key| self.collections.get(key));
        let nodes = nodes.into_iter().flatten();
        nodes
            .map(|node| node.split(':').next().unwrap_or(node))
            .collect()
    }

    /// The definition of an operation: TensorFlow's, or the file's own.
    pub(crate) fn op_def(&self, op: &str) -> Option<&OpDef<'a>> {
        op_defs::find(op).or_else(|| self.custom_ops.get(op))
    }

    fn parse_graph(&mut self, message: &'a [u8]) -> Result<(), Malformed> {
        for field in Fields::of(message) {
            let (number, field) = field?;
            let bytes = || field.bytes().ok_or_else(|| Malformed::at(message));
            match number {
                1 => self.main.push(bytes()?, &self.parts)?,
                2 => self.parse_library(bytes()?)?,
                4 => {
                    for field in Fields::of(bytes()?) {
                        let (number, field) = field?;
                        if let (1, Some(producer)) = (number, field.varint()) {
                            self.producer = i32::try_from(producer).unwrap_or(0);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn parse_library(&mut self, message: &'a [u8]) -> Result<(), Malformed> {
        for field in Fields::of(message) {
            let (1, field) = field? else { continue };
            let function = field.bytes().ok_or_else(|| Malformed::at(message))?;
            self.parts.count(function)?;
            let function = Function::locate(function, self.parts.clone())?;
            let name = function.name;
            if self.functions.insert(name, function).is_some() {
                self.duplicate = Some(name);
            }
        }
        Ok(())
    }
}
