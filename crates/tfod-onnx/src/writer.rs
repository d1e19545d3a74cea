//! The model's file: the message around the graph, and the weights, streamed.
//!
//! A model is one protobuf message. Only its small part is built in memory; initialisers, which are most of it, are written one after the other, each
//! reordered when its turn comes. Where all together exceed protobuf's limit, or on request, large ones go to a second file, `<name>.data`, from
//! which runtimes map them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use tfod_graph::{Graph, Weights, validate, validate_weights};

use crate::Error;
use crate::emit::{Emitter, Initializer, data_type};
use crate::layout::Layout;
use crate::lower::lower;
use crate::proto::tensor_proto::DataLocation;
use crate::proto::{
    GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
};
use crate::stored::Stored;

/// The version of the file format that each supported operator set came with.
const IR_VERSIONS: [(u32, i64); 16] = [
    (13, 7),
    (14, 7),
    (15, 8),
    (16, 8),
    (17, 8),
    (18, 8),
    (19, 9),
    (20, 9),
    (21, 10),
    (22, 10),
    (23, 11),
    (24, 12),
    (25, 13),
    (26, 13),
    (27, 13),
    (28, 14),
];

/// Protobuf's limit of one message.
const MESSAGE_LIMIT: u64 = (1 << 31) - 1;
/// Smaller tensors stay in the model: shape inference reads them, and a page of the disk is larger.
const EXTERNAL_FROM: u64 = 1024;
/// Tensors from this size on begin at a multiple of [`PAGE`], so that they can be mapped by themselves.
const MAPPED_FROM: u64 = 1 << 20;
/// The coarsest granularity at which systems map files, that of Windows.
const PAGE: u64 = 1 << 16;
/// Where smaller tensors begin.
const ALIGNMENT: u64 = 64;

/// Field numbers of the messages that are written piece by piece.
mod field {
    pub(super) const MODEL_GRAPH: u32 = 7;
    pub(super) const GRAPH_INITIALIZER: u32 = 5;
    pub(super) const TENSOR_RAW_DATA: u32 = 9;
}

/// Where weights are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExternalData {
    /// In the model, unless that exceeds protobuf's limit of 2 GiB.
    #[default]
    Auto,
    /// In a file of their own beside the model, but for tensors below 1 KiB.
    Always,
    /// In the model; one too large is an error.
    Never,
}

/// The order of dimensions in which the model is given images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InputLayout {
    /// `[batch, height, width, channels]`, as the graph has them.
    #[default]
    Nhwc,
    /// `[batch, channels, height, width]`. Concerns all inputs of four dimensions; outputs stay as they are.
    Nchw,
}

impl InputLayout {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nhwc => "NHWC",
            Self::Nchw => "NCHW",
        }
    }
}

/// Options of the ONNX model.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The operator set; see [`OPSETS`].
    pub opset: u32,
    /// Where weights are written.
    pub external_data: ExternalData,
    /// The order of dimensions of images.
    pub input_layout: InputLayout,
    /// Facts about the model for programs, by key.
    pub metadata: BTreeMap<String, String>,
    /// What wrote the model.
    pub producer_name: String,
    /// Its version.
    pub producer_version: String,
    /// A description for people; may be empty.
    pub doc: String,
}

impl Default for Options {
    /// Operator set 17, everything in one file, images channels-last, no metadata, and this crate as the producer.
    fn default() -> Self {
        Self {
            opset: 17,
            external_data: ExternalData::default(),
            input_layout: InputLayout::default(),
            metadata: BTreeMap::new(),
            producer_name: "tfod".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            doc: String::new(),
        }
    }
}

/// The operator sets that can be written, oldest and newest.
pub const OPSETS: std::ops::RangeInclusive<u32> =
    IR_VERSIONS[0].0..=IR_VERSIONS[IR_VERSIONS.len() - 1].0;

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Size of the model's file.
    pub onnx_bytes: u64,
    /// Size of the file of weights beside it; `None` when there is none.
    pub data_bytes: Option<u64>,
    /// Number of nodes.
    pub num_nodes: usize,
    /// Number of nodes that only change a layout.
    pub num_transposes: usize,
    /// Number of tensors that the model holds.
    pub num_initializers: usize,
    /// The operator set.
    pub opset: u32,
}

/// A graph in the form of an ONNX model, ready to be written.
#[derive(Debug)]
pub struct OnnxWriter<'a> {
    /// Everything around the graph.
    frame: ModelProto,
    /// The graph without initialisers.
    graph: GraphProto,
    initializers: Vec<Initializer<'a>>,
    /// For each initialiser, where it begins in the file of weights, if it goes there.
    offsets: Vec<Option<u64>>,
    /// Size of that file.
    data_bytes: Option<u64>,
    opset: u32,
    /// Is told the bytes of each weight when they have been written.
    used: fn(&[u8]),
}

impl<'a> OnnxWriter<'a> {
    /// Works out everything but the weights' bytes, which stay where they are.
    ///
    /// Inputs keep their names and their order, outputs their keys.
    ///
    /// # Errors
    ///
    /// [`Error::Graph`] if the graph breaks one of its invariants or the weights are not its own; [`Error::Opset`]; [`Error::Unsupported`],
    /// [`Error::TooLarge`], [`Error::SharedName`] and [`Error::NoOutputs`] if ONNX has no form for the graph; [`Error::ModelTooLarge`] if its weights may
    /// not have a file of their own, but need one.
    pub fn new(
        graph: &'a Graph,
        weights: &'a Weights<'a>,
        options: &Options,
    ) -> Result<Self, Error> {
        validate(graph)?;
        validate_weights(graph, weights)?;
        let versions = IR_VERSIONS.iter();
        let known = versions.copied().find(|(opset, _)| *opset == options.opset);
        let (opset, ir_version) = known.ok_or(Error::Opset {
            given: options.opset,
            oldest: *OPSETS.start(),
            newest: *OPSETS.end(),
        })?;
        let mut emitter = Emitter::new(interface_names(graph)?);
        let layout = match options.input_layout {
            InputLayout::Nhwc => Layout::ChannelsLast,
            InputLayout::Nchw => Layout::ChannelsFirst,
        };
        lower(graph, weights, layout, opset, &mut emitter)?;
        let (graph, initializers) = emitter.finish(graph.name());
        let mut writer = Self {
            frame: frame(options, opset, ir_version),
            graph,
            offsets: vec![None; initializers.len()],
            initializers,
            data_bytes: None,
            opset,
            used: |_| {},
        };
        let bytes = writer.model_bytes();
        match options.external_data {
            ExternalData::Never | ExternalData::Auto if bytes <= MESSAGE_LIMIT => {}
            ExternalData::Auto | ExternalData::Always => writer.place_externally(),
            ExternalData::Never => {
                return Err(Error::ModelTooLarge {
                    bytes,
                    limit: MESSAGE_LIMIT,
                });
            }
        }
        Ok(writer)
    }

    /// Calls `used` with the bytes of each weight, where they are, when they have been written: what was read of a mapped file may be released then.
    #[must_use]
    pub fn telling(mut self, used: fn(&[u8])) -> Self {
        self.used = used;
        self
    }

    /// Gives every large initialiser its place in the file of weights.
    fn place_externally(&mut self) {
        let mut end = 0u64;
        for (initializer, offset) in self.initializers.iter().zip(&mut self.offsets) {
            let bytes = initializer.stored.len() as u64;
            if bytes < EXTERNAL_FROM {
                continue;
            }
            let alignment = if bytes >= MAPPED_FROM {
                PAGE
            } else {
                ALIGNMENT
            };
            let begin = end.next_multiple_of(alignment);
            *offset = Some(begin);
            end = begin + bytes;
        }
        self.data_bytes = (end > 0).then_some(end);
    }

    /// What [`Self::write`] will write, but for the length of the file's name, which a model with a file of weights contains.
    pub fn summary(&self) -> Summary {
        let transposes = self.graph.node.iter();
        let transposes = transposes.filter(|node| node.op_type() == "Transpose");
        Summary {
            onnx_bytes: self.model_bytes(),
            data_bytes: self.data_bytes,
            num_nodes: self.graph.node.len(),
            num_transposes: transposes.count(),
            num_initializers: self.initializers.len(),
            opset: self.opset,
        }
    }

    /// Writes the model to `path`, and its weights to `<path>.data` where they have a file of their own.
    ///
    /// To replace a model safely, write to a new folder beside it, wait until its files are on the disk ([`File::sync_all`]), and rename that.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if a file cannot be written, [`Error::FileName`] if the path does not end in a name.
    pub fn write(&self, path: &Path) -> Result<Summary, Error> {
        let named = || Error::FileName {
            path: path.to_owned(),
        };
        let name = path
            .file_name()
            .and_then(|n| n.to_str())
            .ok_or_else(named)?;
        let location = format!("{name}.data");
        let onnx_bytes = self.encoded_len(&location);
        write_file(path, |file| self.write_model(file, &location))?;
        if self.data_bytes.is_some() {
            let path: PathBuf = path.with_file_name(&location);
            write_file(&path, |file| self.write_data(file))?;
        }
        Ok(Summary {
            onnx_bytes,
            ..self.summary()
        })
    }

    /// Writes the model to any writer. Where its weights have a file of their own ([`Summary::data_bytes`] of [`Self::summary`]), they go to a second
    /// one, `data`, which comes with the name by which the model refers to that file.
    ///
    /// # Errors
    ///
    /// [`Error::Writer`] if a writer fails, [`Error::NoDataWriter`] if there are weights for a second one, and it is not given.
    pub fn write_to(
        &self,
        mut model: impl Write,
        data: Option<(&str, &mut dyn Write)>,
    ) -> Result<Summary, Error> {
        let (location, data) = match (data, self.data_bytes) {
            (None, Some(bytes)) => return Err(Error::NoDataWriter { bytes }),
            (Some((location, data)), _) => (location, Some(data)),
            (None, None) => ("", None),
        };
        self.write_model(&mut model, location)
            .and_then(|()| model.flush())
            .map_err(Error::Writer)?;
        if let (Some(data), true) = (data, self.data_bytes.is_some()) {
            self.write_data(data)
                .and_then(|()| data.flush())
                .map_err(Error::Writer)?;
        }
        Ok(Summary {
            onnx_bytes: self.encoded_len(location),
            ..self.summary()
        })
    }

    /// The size of the model's file, if it is called as usual.
    fn model_bytes(&self) -> u64 {
        self.encoded_len("model.onnx.data")
    }

    fn encoded_len(&self, location: &str) -> u64 {
        let graph = self.graph_len(location);
        self.frame.encoded_len() as u64 + delimited_len(field::MODEL_GRAPH, graph)
    }

    fn graph_len(&self, location: &str) -> u64 {
        let initializers = self.tensors(location).map(|(header, initializer, offset)| {
            let bytes = tensor_len(&header, initializer, offset);
            delimited_len(field::GRAPH_INITIALIZER, bytes)
        });
        self.graph.encoded_len() as u64 + initializers.sum::<u64>()
    }

    /// The initialisers, each with its message without elements.
    fn tensors<'s>(
        &'s self,
        location: &'s str,
    ) -> impl Iterator<Item = (TensorProto, &'s Initializer<'a>, Option<u64>)> {
        let placed = self.initializers.iter().zip(&self.offsets);
        placed.map(move |(initializer, offset)| {
            (header(initializer, *offset, location), initializer, *offset)
        })
    }

    fn write_model(&self, file: &mut dyn Write, location: &str) -> io::Result<()> {
        file.write_all(&self.frame.encode_to_vec())?;
        write_key(file, field::MODEL_GRAPH, self.graph_len(location))?;
        file.write_all(&self.graph.encode_to_vec())?;
        for (header, initializer, offset) in self.tensors(location) {
            let bytes = tensor_len(&header, initializer, offset);
            write_key(file, field::GRAPH_INITIALIZER, bytes)?;
            file.write_all(&header.encode_to_vec())?;
            if offset.is_none() {
                write_key(
                    file,
                    field::TENSOR_RAW_DATA,
                    initializer.stored.len() as u64,
                )?;
                self.write_elements(file, &initializer.stored)?;
            }
        }
        Ok(())
    }

    fn write_data(&self, file: &mut dyn Write) -> io::Result<()> {
        let mut end = 0;
        for (initializer, offset) in self.initializers.iter().zip(&self.offsets) {
            if let Some(begin) = *offset {
                io::copy(&mut io::Read::take(io::repeat(0), begin - end), file)?;
                self.write_elements(file, &initializer.stored)?;
                end = begin + initializer.stored.len() as u64;
            }
        }
        Ok(())
    }

    fn write_elements(&self, file: &mut dyn Write, stored: &Stored<'_>) -> io::Result<()> {
        file.write_all(&stored.elements())?;
        (self.used)(stored.source());
        Ok(())
    }

    /// The whole model as one message, for tests.
    #[cfg(test)]
    pub(crate) fn model(&self) -> ModelProto {
        let mut bytes = Vec::new();
        self.write_model(&mut bytes, "model.onnx.data").unwrap();
        assert_eq!(bytes.len() as u64, self.summary().onnx_bytes);
        ModelProto::decode(bytes.as_slice()).unwrap()
    }
}

/// Everything around the graph.
fn frame(options: &Options, opset: u32, ir_version: i64) -> ModelProto {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let entry = |(key, value): (&String, &String)| entry(key, value.clone());
    ModelProto {
        ir_version: Some(ir_version),
        producer_name: some(&options.producer_name),
        producer_version: some(&options.producer_version),
        doc_string: some(&options.doc),
        graph: None,
        opset_import: vec![OperatorSetIdProto {
            domain: Some(String::new()),
            version: Some(opset.into()),
        }],
        metadata_props: options.metadata.iter().map(entry).collect(),
    }
}

fn entry(key: &str, value: String) -> StringStringEntryProto {
    StringStringEntryProto {
        key: Some(key.to_owned()),
        value: Some(value),
    }
}

/// The names of the graph's inputs and outputs.
fn interface_names(graph: &Graph) -> Result<Vec<String>, Error> {
    if graph.outputs().is_empty() {
        return Err(Error::NoOutputs {
            graph: graph.name().to_owned(),
        });
    }
    let mut names: Vec<String> = graph
        .inputs()
        .iter()
        .map(|v| graph.name_of(*v).to_owned())
        .collect();
    for output in graph.outputs() {
        if names.contains(&output.key) {
            return Err(Error::SharedName {
                name: output.key.clone(),
            });
        }
        names.push(output.key.clone());
    }
    Ok(names)
}

/// A tensor's message without its elements.
fn header(initializer: &Initializer<'_>, offset: Option<u64>, location: &str) -> TensorProto {
    let stored = &initializer.stored;
    // Sizes of tensors in memory are in the signed range.
    let dims = stored.shape().into_iter();
    let mut header = TensorProto {
        dims: dims.map(|n| i64::try_from(n).unwrap_or(i64::MAX)).collect(),
        data_type: Some(data_type(stored.dtype()).into()),
        name: Some(initializer.name.clone()),
        ..TensorProto::default()
    };
    if let Some(offset) = offset {
        header.data_location = Some(DataLocation::External.into());
        header.external_data = vec![
            entry("location", location.to_owned()),
            entry("offset", offset.to_string()),
            entry("length", stored.len().to_string()),
        ];
    }
    header
}

fn tensor_len(header: &TensorProto, initializer: &Initializer<'_>, offset: Option<u64>) -> u64 {
    let elements = match offset {
        Some(_) => 0,
        None => delimited_len(field::TENSOR_RAW_DATA, initializer.stored.len() as u64),
    };
    header.encoded_len() as u64 + elements
}

/// The size of a field of `bytes` with its key and length.
fn delimited_len(field: u32, bytes: u64) -> u64 {
    prost::encoding::key_len(field) as u64 + encoded_len_varint(bytes) as u64 + bytes
}

fn write_key(file: &mut dyn Write, field: u32, bytes: u64) -> io::Result<()> {
    let mut key = Vec::new();
    encode_key(field, WireType::LengthDelimited, &mut key);
    encode_varint(bytes, &mut key);
    file.write_all(&key)
}

fn write_file(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Error> {
    let run = || {
        let mut file = BufWriter::new(File::create(path)?);
        write(&mut file)?;
        file.flush()
    };
    run().map_err(|problem| Error::Io {
        path: path.to_owned(),
        action: "write",
        problem,
    })
}
