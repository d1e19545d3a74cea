//! A SavedModel as it is on disk: the message's parts found, none decoded before it is needed.
//!
//! Official exports have hundreds of functions of which a signature needs some; a function's body is read when it is first called.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use tfod_proto::prost::Message;
use tfod_proto::wire::{Field, all, last};
use tfod_proto::{SaverDef, SignatureDef, TensorInfo};

use tfod_text::Shown;

use crate::messages::Node;
use crate::op_defs::{self, OpDef};

use super::error::FreezeError;
use super::wire::{Fields, LIMIT, Malformed, attr, map_entry};

/// The file in memory, and where it came from.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) folder: PathBuf,
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

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
    /// The encoded `SavedObjectGraph`.
    pub(crate) object_graph: Option<&'a [u8]>,
    /// The version of TensorFlow's graph format that the operations were written for.
    pub(crate) producer: i32,
}

/// A function of the library.
#[derive(Debug)]
pub(crate) struct Function<'a> {
    pub(crate) name: &'a str,
    message: &'a [u8],
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
                (2, field) => function.attrs.push(map_entry(field.bytes()?).ok()?),
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
    fn push(&mut self, node: NodeDef<'a>) {
        if self.by_name.insert(node.name, self.nodes.len()).is_some() {
            self.duplicate = Some(self.nodes.len());
        }
        self.nodes.push(node);
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
    fn locate(message: &'a [u8]) -> Result<Self, Malformed> {
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
            parsed: OnceCell::new(),
        })
    }

    pub(crate) fn body(&self) -> Result<&FunctionBody<'a>, Malformed> {
        self.parsed
            .get_or_init(|| FunctionBody::parse(self.message))
            .as_ref()
            .map_err(|&malformed| malformed)
    }
}

impl<'a> FunctionBody<'a> {
    fn parse(message: &'a [u8]) -> Result<Self, Malformed> {
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
                1 => function.parse_signature(bytes()?)?,
                3 => function.body.push(NodeDef::parse(bytes()?)?),
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

/// Reads a file whole, unless it is larger than a message of protobuf can be.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = fs::File::open(path)?;
    let size = file.metadata()?.len();
    if size > LIMIT {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{size} bytes are more than a protobuf message can have"),
        ));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    file.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl File {
    /// Reads a SavedModel, given as its folder or as the file in it.
    pub(crate) fn read(given: &Path) -> Result<Self, FreezeError> {
        let (folder, path) = if given.is_file() {
            (given.parent().unwrap_or(Path::new("")), given.to_owned())
        } else {
            (given, given.join("saved_model.pb"))
        };
        let start = start_of(&path).unwrap_or_default();
        if let Some(found) = other_kind(&start) {
            return Err(FreezeError::NotSavedModel { path, found });
        }
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err(_) if !path.exists() => {
                return Err(FreezeError::NoSavedModel {
                    folder: folder.to_owned(),
                    hint: hint(folder),
                });
            }
            Err(problem) => return Err(FreezeError::Read { path, problem }),
        };
        if given.is_file() && bytes.is_empty() {
            let found = "an empty file; give the folder with saved_model.pb";
            return Err(FreezeError::NotSavedModel { path, found });
        }
        if let Some(found) = other_message(&bytes) {
            return Err(FreezeError::NotSavedModel { path, found });
        }
        Ok(Self {
            folder: folder.to_owned(),
            path,
            bytes,
        })
    }

    /// Whether the folder is a module of TensorFlow Hub for TensorFlow 1, whose signatures are where SavedModels have none.
    pub(crate) fn is_hub_module(&self) -> bool {
        self.folder.join("tfhub_module.pb").exists()
    }

    pub(crate) fn damaged(&self, malformed: Malformed, what: &str) -> FreezeError {
        FreezeError::Damaged {
            path: self.path.clone(),
            offset: malformed.offset_in(&self.bytes),
            what: what.to_owned(),
        }
    }

    /// The graph whose tags are exactly `tags`, in any order. Without tags, the one tagged `serve`, or else the only one.
    pub(crate) fn meta_graph(&self, tags: Option<&[String]>) -> Result<MetaGraph<'_>, FreezeError> {
        let damaged = |malformed| self.damaged(malformed, "looking for its graphs");
        let mut wanted = tags.map_or_else(|| vec!["serve".to_owned()], <[String]>::to_vec);
        wanted.sort_unstable();
        let mut graphs = Vec::new();
        for field in Fields::of(&self.bytes) {
            let (number, field) = field.map_err(damaged)?;
            if number != 2 {
                continue;
            }
            let message = field
                .bytes()
                .ok_or_else(|| damaged(Malformed::at(&self.bytes)))?;
            let mut found = tags_of(message).map_err(damaged)?;
            found.sort_unstable();
            graphs.push((found, message));
        }
        let parse = |message, is_only| {
            let mut graph = MetaGraph::parse(message)
                .map_err(|malformed| self.damaged(malformed, "reading the graph"))?;
            graph.other_tags = is_only;
            Ok(graph)
        };
        if let Some((_, message)) = graphs.iter().find(|(found, _)| *found == wanted) {
            return parse(message, None);
        }
        match graphs.as_slice() {
            [] => Err(damaged(Malformed::at(&self.bytes))),
            [(found, message)] if tags.is_none() => parse(message, Some(found.join(","))),
            _ => Err(FreezeError::Tags {
                path: self.path.clone(),
                wanted,
                available: graphs.iter().map(|(found, _)| found.join(",")).collect(),
            }),
        }
    }
}

/// The first bytes of a file.
fn start_of(path: &Path) -> io::Result<Vec<u8>> {
    const LENGTH: u64 = 64;
    let mut start = Vec::new();
    fs::File::open(path)?.take(LENGTH).read_to_end(&mut start)?;
    Ok(start)
}

/// What a file of a format that begins with bytes of its own is, and what to do with it.
fn other_kind(start: &[u8]) -> Option<&'static str> {
    const KINDS: [(usize, &[u8], &str); 5] = [
        (
            0,
            b"version https://git-lfs",
            "a pointer of Git LFS, not the file itself; fetch it with `git lfs pull`",
        ),
        (
            0,
            b"\x89HDF\r\n\x1a\n",
            "an HDF5 file, as Keras writes models and weights; load it in Keras and call `model.export(FOLDER)` (Keras 2: `model.save(FOLDER)`), which writes a SavedModel",
        ),
        (
            0,
            b"PK\x03\x04",
            "a ZIP archive, as .keras models are; load it in Keras and call `model.export(FOLDER)`, which writes a SavedModel",
        ),
        (
            4,
            b"TFL3",
            "a TensorFlow Lite model, which has no variables to freeze",
        ),
        (0, b"\x1f\x8b", "a gzip archive; unpack it first"),
    ];
    let has = |&&(at, magic, _): &&(usize, &[u8], &'static str)| {
        start.get(at..).is_some_and(|rest| rest.starts_with(magic))
    };
    KINDS.iter().find(has).map(|&(_, _, found)| found)
}

/// What a message of another kind is, and what to do with it. A SavedModel has a number, and graphs in field 2.
fn other_message(bytes: &[u8]) -> Option<&'static str> {
    const LOOKED_AT: usize = 64;
    let fields = Fields::of(bytes).take(LOOKED_AT).map_while(Result::ok);
    let mut seen = Vec::new();
    for (number, field) in fields {
        if let (1, Some(node)) = (number, field.bytes()) {
            let is_node = NodeDef::parse(node).is_ok_and(|node| !node.op.is_empty());
            return is_node.then_some(
                "a graph (GraphDef), which is frozen already or has its variables elsewhere; give the folder of a SavedModel",
            );
        }
        seen.push(number);
    }
    (seen.contains(&7) && seen.contains(&8)).then_some(
        "an ONNX model, which has no variables to freeze; `freeze` takes SavedModels and writes TensorFlow's graphs",
    )
}

/// What may have been meant by a folder without a SavedModel.
fn hint(folder: &Path) -> Option<String> {
    let inner = folder.join("saved_model");
    if inner.join("saved_model.pb").exists() {
        return Some(format!("it is in {}", inner.shown()));
    }
    folder
        .join("saved_model.pbtxt")
        .exists()
        .then(|| "saved_model.pbtxt, the text form, is not supported".to_owned())
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
    let name = |index: usize| match (class, index) {
        (Some(1), 0) => "indices".to_owned(),
        (Some(1), 1) | (Some(3), 0) => "values".to_owned(),
        (Some(1), 2) => "dense_shape".to_owned(),
        (Some(3), 1) => "row_splits".to_owned(),
        (Some(3), index) => format!("row_splits_{}", index - 1),
        (_, index) => format!("component_{index}"),
    };
    let parts = all(composite, 2).filter_map(Field::bytes).enumerate();
    parts
        .map(|(index, part)| Ok((name(index), decoded(part)?)))
        .collect()
}

fn tags_of(meta_graph: &[u8]) -> Result<Vec<&str>, Malformed> {
    let mut tags = Vec::new();
    for field in Fields::of(meta_graph) {
        let (1, field) = field? else { continue };
        for field in Fields::of(field.bytes().ok_or_else(|| Malformed::at(meta_graph))?) {
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
    fn parse(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut graph = Self {
            main: Body::default(),
            functions: HashMap::new(),
            duplicate: None,
            signatures: BTreeMap::new(),
            saver: SaverDef::default(),
            other_tags: None,
            custom_ops: HashMap::new(),
            object_graph: None,
            producer: 0,
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
                5 => {
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
                let (name, def) =
                    OpDef::read(field.bytes().ok_or_else(|| Malformed::at(message))?)?;
                if op_defs::find(name).is_none() {
                    self.custom_ops.insert(name, def);
                }
            }
        }
        Ok(())
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
                1 => self.main.push(NodeDef::parse(bytes()?)?),
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
            let function = Function::locate(field.bytes().ok_or_else(|| Malformed::at(message))?)?;
            let name = function.name;
            if self.functions.insert(name, function).is_some() {
                self.duplicate = Some(name);
            }
        }
        Ok(())
    }
}
