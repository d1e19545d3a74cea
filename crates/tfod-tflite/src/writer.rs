//! The file: the graph's tables, and the weights, streamed.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use tfod_graph::{Graph, Weights};

use crate::Error;
use crate::archive::archive;
use crate::emit::{Finished, FinishedStep, ModelTensor};
use crate::flatbuffer::{Builder, Field, LIMIT, Laid, NodeRef};
use crate::lower::lower;
use crate::metadata::Metadata;
use crate::operator::{Code, HALF, INT8, runtime, type_number};
use crate::stored::Stored;

/// The identifier of the format, of which there is one version.
const IDENTIFIER: [u8; 4] = *b"TFL3";
const VERSION: i32 = 3;

/// The signature that interpreters look for.
const SIGNATURE: &str = "serving_default";

/// The names of buffers: the text of the oldest runtime, and [`Metadata`].
const RUNTIME: &str = "min_runtime_version";
const METADATA: &str = "TFLITE_METADATA";

/// The bytes of the text of the oldest runtime.
const RUNTIME_BYTES: usize = 16;

/// How kernels of convolutions are stored. Everything else, biases and anchors among it, has 32 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WeightType {
    /// 32-bit floats.
    #[default]
    Float32,
    /// 16-bit floats, rounded to the nearest, which runtimes widen when they load the model; a kernel with a number that is too large keeps 32 bits.
    Float16,
    /// 8-bit integers, with a factor for each output channel, of the kernels of convolutions that are large enough ([`LEAST_QUANTIZED`](Self::LEAST_QUANTIZED)), as
    /// TensorFlow's dynamic range quantisation has them: runtimes compute with activations that they quantise while they run.
    DynamicInt8,
}

impl WeightType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Float32, Self::Float16, Self::DynamicInt8];

    /// Kernels of fewer elements keep 32 bits where others have 8, as in TensorFlow's converter.
    pub const LEAST_QUANTIZED: u64 = 1024;

    /// What users call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Float16 => "float16",
            Self::DynamicInt8 => "dynamic_int8",
        }
    }
}

/// By what detections are selected, where the graph says that it ends with decoding and suppression ([`tfod_graph::Ending`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Suppression {
    /// The graph's own nodes, as operators of the schema: the graph's results.
    #[default]
    Builtin,
    /// `TFLite_Detection_PostProcess`, class by class.
    Regular,
    /// `TFLite_Detection_PostProcess`, all classes together: the best class of each box is looked at.
    Fast,
}

impl Suppression {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Builtin, Self::Regular, Self::Fast];

    /// What users call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Builtin => "builtin",
            Self::Regular => "regular",
            Self::Fast => "fast",
        }
    }
}

/// Options of the TFLite model.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// A description for people; may be empty.
    pub description: String,
    /// How kernels are stored.
    pub weights: WeightType,
    /// By what detections are selected.
    pub suppression: Suppression,
    /// What is said of tensors, for programs that know the model by its task.
    pub metadata: Option<Metadata>,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Size of the file.
    pub bytes: u64,
    /// How often each operator is there, by name.
    pub operators: BTreeMap<&'static str, usize>,
    /// The oldest runtime that has all of them, as a version of TensorFlow.
    pub runtime: String,
}

impl Summary {
    /// The number of operators.
    pub fn num_operators(&self) -> usize {
        self.operators.values().sum()
    }
}

/// A graph in the form of a TFLite model.
#[derive(Debug)]
pub struct TfliteWriter<'a> {
    laid: Laid,
    /// The contents of the blobs.
    blobs: Vec<Stored<'a>>,
    /// What stands behind the tables and blobs.
    archive: Vec<u8>,
    summary: Summary,
    /// Is told the bytes of each weight when they have been written.
    used: fn(&[u8]),
}

impl<'a> TfliteWriter<'a> {
    /// Works out the whole model but for its weights.
    ///
    /// # Errors
    ///
    /// [`Error::Graph`] if the graph breaks one of its invariants or the weights are not its own; [`Error::Unsupported`], [`Error::UnknownSize`],
    /// [`Error::TooLarge`], [`Error::NoEnding`] and [`Error::NoOutputs`] if TFLite has no form for the graph; [`Error::ModelTooLarge`].
    pub fn new(graph: &Graph, weights: &'a Weights<'a>, options: &Options) -> Result<Self, Error> {
        let graph = lower(graph, weights, options)?;
        let mut summary = Summary {
            bytes: 0,
            operators: BTreeMap::new(),
            runtime: runtime(
                graph
                    .steps
                    .iter()
                    .map(|s| s.operator.since())
                    .fold(5, u32::max),
            ),
        };
        for step in &graph.steps {
            *summary.operators.entry(step.operator.name()).or_default() += 1;
        }
        let (laid, blobs) = file(graph, options, &summary.runtime)?;
        let files = options.metadata.iter().flat_map(|notes| &notes.files);
        let files: Vec<_> = files
            .map(|(name, contents)| (name.as_str(), contents.as_slice()))
            .collect();
        let begin = u32::try_from(laid.length).unwrap_or(u32::MAX);
        let archive = if files.is_empty() {
            Vec::new()
        } else {
            archive(begin, files)
        };
        summary.bytes = laid.length + archive.len() as u64;
        if summary.bytes > LIMIT {
            return Err(too_large(summary.bytes));
        }
        Ok(Self {
            laid,
            blobs,
            archive,
            summary,
            used: |_| {},
        })
    }

    /// Calls `used` with the bytes of each weight, where they are, when they have been written: what was read of a mapped file may be released then.
    #[must_use]
    pub fn telling(mut self, used: fn(&[u8])) -> Self {
        self.used = used;
        self
    }

    /// What [`Self::write`] writes.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Writes the model to `path`.
    ///
    /// To replace a model safely, write to a new file beside it, wait until it is on the disk ([`File::sync_all`]), and rename that.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<&Summary, Error> {
        let run = || {
            let mut file = BufWriter::new(File::create(path)?);
            self.stream(&mut file)?;
            file.flush()
        };
        let failed = |problem| Error::Io {
            path: path.to_owned(),
            action: "write",
            problem,
        };
        run().map_err(failed)?;
        Ok(&self.summary)
    }

    /// Writes the model to any writer.
    ///
    /// # Errors
    ///
    /// [`Error::Writer`] if the writer fails.
    pub fn write_to(&self, mut model: impl Write) -> Result<&Summary, Error> {
        self.stream(&mut model)
            .and_then(|()| model.flush())
            .map_err(Error::Writer)?;
        Ok(&self.summary)
    }

    fn stream(&self, file: &mut dyn Write) -> io::Result<()> {
        let Laid {
            head,
            blobs,
            length,
        } = &self.laid;
        file.write_all(head)?;
        let mut end = head.len() as u64;
        for ((place, bytes), stored) in blobs.iter().zip(&self.blobs) {
            pad(file, place - end)?;
            // Blobs are in a file whose size fits 31 bits.
            file.write_all(&u32::try_from(*bytes).unwrap_or(u32::MAX).to_le_bytes())?;
            file.write_all(&stored.elements())?;
            (self.used)(stored.bytes());
            end = place + 4 + bytes;
        }
        pad(file, length - end)?;
        file.write_all(&self.archive)
    }
}

fn too_large(bytes: u64) -> Error {
    Error::ModelTooLarge {
        bytes,
        limit: LIMIT,
    }
}

fn pad(file: &mut dyn Write, bytes: u64) -> io::Result<()> {
    io::copy(&mut io::Read::take(io::repeat(0), bytes), file)?;
    Ok(())
}

/// The tables of the file, and the contents of its blobs.
fn file<'a>(
    graph: Finished<'a>,
    options: &Options,
    runtime: &str,
) -> Result<(Laid, Vec<Stored<'a>>), Error> {
    let mut b = Builder::default();
    let notes = options.metadata.as_ref().map(|metadata| {
        let name = |number: &usize| graph.tensors[*number].name.as_str();
        let inputs: Vec<&str> = graph.inputs.iter().map(name).collect();
        let outputs: Vec<&str> = graph.outputs.iter().map(|(key, _)| key.as_str()).collect();
        metadata.buffer(&inputs, &outputs).map_err(too_large)
    });
    let notes = notes.transpose()?;
    let mut codes: Vec<Code> = graph.steps.iter().map(|s| s.operator.code()).collect();
    codes.sort_unstable();
    codes.dedup();
    let code_tables: Vec<NodeRef> = codes.iter().map(|code| code_table(&mut b, *code)).collect();
    // The first buffer is that of all tensors without contents.
    let mut buffers = vec![b.table(Vec::new())];
    let mut blobs = Vec::new();
    // Kernels that differ by what their elements stand for.
    let mut shared = HashMap::new();
    let mut tensors = Vec::new();
    for tensor in graph.tensors {
        let buffer = match &tensor.stored {
            Some(stored) if stored.len() > 0 => {
                let key = stored.bytes_key();
                let known = key.as_ref().and_then(|key| shared.get(key)).copied();
                known.unwrap_or_else(|| {
                    let blob = b.blob(stored.len());
                    blobs.push(stored.clone());
                    buffers.push(b.table(vec![(0, Field::Ref(blob))]));
                    let buffer = buffers.len() - 1;
                    shared.extend(key.map(|key| (key, buffer)));
                    buffer
                })
            }
            _ => 0,
        };
        tensors.push(tensor_table(&mut b, &tensor, buffer)?);
    }
    let steps = graph.steps.iter();
    let steps: Vec<NodeRef> = steps.map(|step| step_table(&mut b, step, &codes)).collect();
    let signature = signature_table(&mut b, &graph.inputs, &graph.outputs, &tensors);
    let output_numbers: Vec<usize> = graph.outputs.iter().map(|(_, n)| *n).collect();
    let tensors = tensors.into_iter().map(|(table, _)| table).collect();
    let fields = [
        b.refs(tensors),
        b.ints(&numbers(&graph.inputs)),
        b.ints(&numbers(&output_numbers)),
        b.refs(steps),
        b.text("main"),
    ];
    let subgraph = b.table(in_slots(&fields));
    let mut text = runtime.as_bytes().to_vec();
    text.resize(RUNTIME_BYTES, 0);
    let text = b.bytes(text);
    buffers.push(b.table(vec![(0, Field::Ref(text))]));
    let mut metadata = vec![metadata_table(&mut b, RUNTIME, buffers.len() - 1)];
    if let Some(notes) = notes {
        let stored = Stored::bytes_of(&notes);
        let blob = b.blob(stored.len());
        blobs.push(stored);
        buffers.push(b.table(vec![(0, Field::Ref(blob))]));
        metadata.push(metadata_table(&mut b, METADATA, buffers.len() - 1));
    }

    let code_tables = b.refs(code_tables);
    let subgraphs = b.refs(vec![subgraph]);
    let description = b.text(&options.description);
    let buffers = b.refs(buffers);
    let metadata = b.refs(metadata);
    let signatures = b.refs(vec![signature]);
    let root = b.table(vec![
        (0, Field::Int(VERSION)),
        (1, Field::Ref(code_tables)),
        (2, Field::Ref(subgraphs)),
        (3, Field::Ref(description)),
        (4, Field::Ref(buffers)),
        (6, Field::Ref(metadata)),
        (7, Field::Ref(signatures)),
    ]);
    let laid = b.lay_out(root, IDENTIFIER).map_err(too_large)?;
    Ok((laid, blobs))
}

/// What names a buffer.
fn metadata_table(b: &mut Builder, name: &str, buffer: usize) -> NodeRef {
    let name = b.text(name);
    let buffer = Field::Int(number(buffer));
    b.table(vec![(0, Field::Ref(name)), (1, buffer)])
}

/// Fields that are all there, in the order of their slots.
fn in_slots(nodes: &[NodeRef]) -> Vec<(usize, Field)> {
    let fields = nodes.iter().map(|node| Field::Ref(*node));
    fields.enumerate().collect()
}

/// Numbers of tensors and buffers, of which there are as many as a graph in memory has.
fn number(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn numbers(values: &[usize]) -> Vec<i32> {
    values.iter().copied().map(number).collect()
}

fn code_table(b: &mut Builder, code: Code) -> NodeRef {
    // Runtimes before 2.4 read the first, later ones the larger of both.
    let mut fields = vec![
        (0, Field::Byte(code.number)),
        (3, Field::Int(code.number.into())),
    ];
    fields.retain(|_| code.number != 0);
    if code.version != 1 {
        fields.push((2, Field::Int(code.version)));
    }
    if let Some(name) = code.custom {
        fields.push((1, Field::Ref(b.text(name))));
    }
    b.table(fields)
}

/// A tensor's table, and its name.
fn tensor_table(
    b: &mut Builder,
    tensor: &ModelTensor<'_>,
    buffer: usize,
) -> Result<(NodeRef, NodeRef), Error> {
    let sizes = tensor.shape.iter().map(|&value| {
        i32::try_from(value).map_err(|_| Error::TooLarge {
            node: tensor.name.clone(),
            value,
        })
    });
    let sizes = sizes.collect::<Result<Vec<i32>, _>>()?;
    let shape = b.ints(&sizes);
    let name = b.text(&tensor.name);
    let mut fields = vec![(0, Field::Ref(shape)), (3, Field::Ref(name))];
    let stored = tensor.stored.as_ref();
    let scales = stored.and_then(Stored::scales);
    let dtype = if stored.is_some_and(Stored::is_half) {
        HALF
    } else if scales.is_some() {
        INT8
    } else {
        type_number(tensor.dtype)
    };
    if let Some((scales, axis)) = scales {
        let zeros = b.longs(vec![0; scales.len()]);
        let mut of_channels = vec![(2, Field::Ref(b.floats(scales))), (3, Field::Ref(zeros))];
        if axis != 0 {
            of_channels.push((6, Field::Int(number(axis))));
        }
        fields.push((4, Field::Ref(b.table(of_channels))));
    }
    if dtype != 0 {
        fields.push((1, Field::Byte(dtype)));
    }
    if buffer != 0 {
        fields.push((2, Field::Int(number(buffer))));
    }
    // The rank is known.
    fields.push((8, Field::Byte(1)));
    Ok((b.table(fields), name))
}

fn step_table(b: &mut Builder, step: &FinishedStep, codes: &[Code]) -> NodeRef {
    let code = codes.binary_search(&step.operator.code()).unwrap_or(0);
    let inputs = b.ints(&numbers(&step.inputs));
    let outputs = b.ints(&numbers(&step.outputs));
    let mut fields = vec![(1, Field::Ref(inputs)), (2, Field::Ref(outputs))];
    if code != 0 {
        fields.push((0, Field::Int(number(code))));
    }
    if let Some((kind, options)) = step.operator.options(b) {
        fields.push((3, Field::Byte(kind)));
        fields.push((4, Field::Ref(options)));
    }
    if let Some(options) = step.operator.custom_options() {
        fields.push((5, Field::Ref(b.bytes(options))));
    }
    b.table(fields)
}

/// The names by which callers know inputs and outputs.
fn signature_table(
    b: &mut Builder,
    inputs: &[usize],
    outputs: &[(String, usize)],
    tensors: &[(NodeRef, NodeRef)],
) -> NodeRef {
    let mut map = |entries: &mut dyn Iterator<Item = (Option<&str>, usize)>| {
        let tables = entries.map(|(key, tensor)| {
            let name = match key {
                Some(key) => b.text(key),
                None => tensors[tensor].1,
            };
            let mut fields = vec![(0, Field::Ref(name))];
            if tensor != 0 {
                fields.push((1, Field::Int(number(tensor))));
            }
            b.table(fields)
        });
        let tables = tables.collect();
        b.refs(tables)
    };
    let inputs = map(&mut inputs.iter().map(|tensor| (None, *tensor)));
    let outputs = map(&mut outputs
        .iter()
        .map(|(key, tensor)| (Some(key.as_str()), *tensor)));
    let key = b.text(SIGNATURE);
    b.table(vec![
        (0, Field::Ref(inputs)),
        (1, Field::Ref(outputs)),
        (2, Field::Ref(key)),
    ])
}
