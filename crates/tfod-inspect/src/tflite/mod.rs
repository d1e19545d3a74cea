//! TFLite models: FlatBuffers, read table by table; weights stay where they are.
//!
//! Specified by <https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs>. Everything in a file is found by offsets, which may point
//! anywhere, and several may point to one thing: each is checked against the file's end, and all that is read or kept together is held to a multiple of the
//! file's size.

mod flatbuffer;
mod layers;
mod metadata;
mod operators;
mod runtime;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde_json::{Value, json};
use tfod_checkpoint::DType;

use crate::error::{Damage, push};
use crate::graph::{Dim, Port};
use crate::tensors::{Elements, ElementsPlace, MAX_RANK, StoredTensor, num_bytes, num_elements};
pub use layers::{Layer, LayerKind, Quantity};
pub use metadata::{AttachedFile, TensorNotes, TfliteMetadata};
pub use runtime::TfliteRuntime;

use flatbuffer::{File, LEAST_SPENT, MOST_SPENT, Table};

/// How many bytes constants may have together for each byte of a file. Tensors may share their elements, as the levels of a detector do.
const MOST_SHARED: usize = 16;

/// What a TFLite model is made of.
#[derive(Clone, Debug, Default)]
pub struct TfliteFacts {
    /// The version of the file format.
    pub version: u64,
    /// A description for people.
    pub description: String,
    /// The names of signatures.
    pub signatures: Vec<String>,
    /// How many graphs there are; the first is what runs.
    pub subgraphs: u64,
    /// Operators in all graphs.
    pub nodes: u64,
    /// How many there are of each operator.
    pub ops: BTreeMap<String, u64>,
    /// How many operators only widen constants with fewer bits, which runtimes do once, when they load the model.
    pub widened: u64,
    /// The versions of each operator that a runtime has to know.
    pub versions: BTreeMap<String, BTreeSet<i64>>,
    /// What has to be given, by the keys of the first signature.
    pub inputs: Vec<Port>,
    /// What comes out, in the order of the file.
    pub outputs: Vec<Port>,
    /// Bytes of all weights and constants; those that tensors share count once.
    pub constant_bytes: u64,
    /// The names of what is stored beside the model, such as `TFLITE_METADATA`, which has labels.
    pub metadata: Vec<String>,
    /// What `TFLITE_METADATA` says.
    pub notes: Option<TfliteMetadata>,
    /// The oldest runtime that takes it.
    pub runtime: TfliteRuntime,
}

impl TfliteFacts {
    pub(crate) fn json(&self) -> Value {
        let ports = |ports: &[Port]| ports.iter().map(Port::json).collect::<Vec<_>>();
        json!({
            "version": self.version,
            "description": self.description,
            "signatures": self.signatures,
            "subgraphs": self.subgraphs,
            "nodes": self.nodes,
            "ops": self.ops,
            "widened": self.widened,
            "versions": self.versions,
            "inputs": ports(&self.inputs),
            "outputs": ports(&self.outputs),
            "constant_bytes": self.constant_bytes,
            "metadata": self.metadata,
            "notes": self.notes.as_ref().map(TfliteMetadata::json),
            "runtime": self.runtime.json(),
        })
    }
}

/// Reads the model that `file` is; its constants are added to `tensors`.
pub(crate) fn scan(file: &[u8], tensors: &mut Vec<StoredTensor>) -> Result<TfliteFacts, Damage> {
    let left = Cell::new(file.len().saturating_mul(MOST_SPENT).max(LEAST_SPENT));
    let file = File {
        bytes: file,
        left: &left,
    };
    let model = file.table(file.follow(0)?)?;
    let mut facts = TfliteFacts {
        version: model.number(0)?,
        description: model.text(3)?,
        ..TfliteFacts::default()
    };
    let mut codes = Vec::new();
    for code in model.tables(1)? {
        push(&mut codes, Code::new(&code?)?, file.bytes)?;
    }
    let mut buffers = Vec::new();
    for buffer in model.tables(4)? {
        let range = buffer?.vector(0, 1)?.unwrap_or(0..0);
        push(&mut buffers, range, file.bytes)?;
    }
    let mut keys = Keys::default();
    for (index, signature) in model.tables(7)?.enumerate() {
        let signature = signature?;
        push(&mut facts.signatures, signature.text(2)?, file.bytes)?;
        if index == 0 && signature.number(4)? == 0 {
            keys = Keys {
                inputs: tensor_keys(&signature, 0)?,
                outputs: tensor_keys(&signature, 1)?,
            };
        }
    }
    let mut declared = None;
    for metadata in model.tables(6)? {
        let metadata = metadata?;
        let name = metadata.text(0)?;
        let buffer = usize::try_from(metadata.number(1)?).unwrap_or(usize::MAX);
        let range = buffers.get(buffer).cloned().unwrap_or(0..0);
        let bytes = file.bytes.get(range).unwrap_or_default();
        match name.as_str() {
            RUNTIME => declared = release(bytes),
            NOTES if facts.notes.is_none() => {
                facts.notes = TfliteMetadata::read(File { bytes, ..file })?;
            }
            _ => {}
        }
        push(&mut facts.metadata, name, file.bytes)?;
    }
    if let Some(notes) = &mut facts.notes {
        notes.files = metadata::attached(file);
    }
    let mut constants = Constants {
        tensors,
        buffers: &buffers,
        used: Vec::new(),
        left: file.bytes.len().saturating_mul(MOST_SHARED),
    };
    for graph in model.tables(2)? {
        facts.scan_graph(&graph?, &mut codes, &keys, &mut constants)?;
    }
    facts.constant_bytes = covered(constants.used);
    for code in codes {
        if code.uses > 0 {
            facts.nodes += code.uses;
            let versions = facts.versions.entry(code.name.clone()).or_default();
            versions.insert(code.version);
            *facts.ops.entry(code.name).or_default() += code.uses;
        }
    }
    facts.runtime = TfliteRuntime::new(&facts.versions, declared);
    Ok(facts)
}

/// The names of metadata that is understood here.
const RUNTIME: &str = "min_runtime_version";
const NOTES: &str = "TFLITE_METADATA";

/// The text of a release, behind which are zeros.
fn release(bytes: &[u8]) -> Option<String> {
    let text = bytes.split(|byte| *byte == 0).next()?;
    let is_release = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let fits = (1..=16).contains(&text.len()) && text.iter().all(is_release);
    fits.then(|| String::from_utf8_lossy(text).into_owned())
}

/// How many bytes of a file are in some range.
fn covered(mut ranges: Vec<Range<usize>>) -> u64 {
    ranges.sort_unstable_by_key(|range| range.start);
    let (mut sum, mut end) = (0, 0);
    for range in ranges {
        sum += range.end.saturating_sub(range.start.max(end)) as u64;
        end = end.max(range.end);
    }
    sum
}

/// Tensors whose elements are in the file.
struct Constants<'t> {
    tensors: &'t mut Vec<StoredTensor>,
    /// Where elements are, by the numbers of buffers.
    buffers: &'t [Range<usize>],
    /// Those that constants have.
    used: Vec<Range<usize>>,
    /// How many more bytes they may have.
    left: usize,
}

impl Constants<'_> {
    /// Adds a tensor, if it is one. All tensors are looked at, so that damage is found.
    fn look(&mut self, tensor: &Table<'_>) -> Result<(), Damage> {
        let file = tensor.file;
        let buffer = usize::try_from(tensor.number(2)?).unwrap_or(usize::MAX);
        let buffer = self.buffers.get(buffer);
        let range =
            buffer.ok_or_else(|| tensor.damage("a tensor has a buffer that there is not"))?;
        let sizes = sizes(tensor)?;
        let name = tensor.read(3, 1)?;
        if range.is_empty() {
            return Ok(());
        }
        let left = self.left.checked_sub(range.len());
        self.left = left.ok_or_else(|| tensor.damage("the same weights are used over and over"))?;
        file.spend(size_of::<StoredTensor>() + name.len(), tensor.at)?;
        let info = constant(tensor, name, sizes, range.clone())?;
        push(&mut self.used, range.clone(), file.bytes)?;
        push(self.tensors, info, file.bytes)
    }
}

/// The keys of tensors in the first signature, by their numbers.
#[derive(Default)]
struct Keys {
    inputs: BTreeMap<u64, String>,
    outputs: BTreeMap<u64, String>,
}

fn tensor_keys(signature: &Table<'_>, slot: usize) -> Result<BTreeMap<u64, String>, Damage> {
    let keys = signature.tables(slot)?.map(|entry| {
        let entry = entry?;
        Ok((entry.number(1)?, entry.text(0)?))
    });
    keys.collect()
}

/// A kind of operator.
struct Code {
    number: i64,
    name: String,
    version: i64,
    /// How many there are of it.
    uses: u64,
}

impl Code {
    /// The number of the operator.
    fn number(code: &Table<'_>) -> Result<i64, Damage> {
        // Files before version 3a of the schema have a number of one byte.
        let short = code.field(0)?.map_or(Ok(0), |at| code.file.byte(at))?;
        Ok(i64::from(short).max(code.int(3)?.unwrap_or(0).into()))
    }

    fn new(code: &Table<'_>) -> Result<Self, Damage> {
        let number = Self::number(code)?;
        let name = match code.text(1)? {
            custom if number == operators::CUSTOM && !custom.is_empty() => custom,
            _ => operators::name(number),
        };
        Ok(Self {
            number,
            name,
            version: code.int(2)?.unwrap_or(1).into(),
            uses: 0,
        })
    }
}

impl TfliteFacts {
    fn scan_graph(
        &mut self,
        graph: &Table<'_>,
        codes: &mut [Code],
        keys: &Keys,
        constants: &mut Constants<'_>,
    ) -> Result<(), Damage> {
        let file = graph.file;
        let is_main = self.subgraphs == 0;
        self.subgraphs += 1;
        let mut is_constant = Vec::new();
        for tensor in graph.tables(0)? {
            let before = constants.tensors.len();
            constants.look(&tensor?)?;
            push(
                &mut is_constant,
                constants.tensors.len() > before,
                file.bytes,
            )?;
        }
        for step in graph.tables(3)? {
            let step = step?;
            let code = usize::try_from(step.number(0)?).unwrap_or(usize::MAX);
            let code = codes.get_mut(code);
            let code =
                code.ok_or_else(|| step.damage("an operator is of a kind that there is not"))?;
            code.uses += 1;
            if code.number == operators::DEQUANTIZE {
                let input = step.ints(1)?.first().copied().unwrap_or(-1);
                let input = usize::try_from(input).unwrap_or(usize::MAX);
                self.widened += u64::from(is_constant.get(input) == Some(&true));
            }
        }
        if is_main {
            let named = |slot, keys: &BTreeMap<u64, String>| -> Result<Vec<Port>, Damage> {
                let ports = graph.ints(slot)?.into_iter().map(|number| {
                    let number = u64::try_from(number).unwrap_or(u64::MAX);
                    let tensor = graph.table(0, number)?.ok_or_else(|| {
                        graph.damage("an input or output is a tensor that there is not")
                    })?;
                    let port = port(&tensor, keys.get(&number))?;
                    let dims = port.shape.as_ref().map_or(0, Vec::len);
                    let bytes = size_of::<Port>() + dims * size_of::<Dim>() + port.key.len();
                    file.spend(bytes, tensor.at)?;
                    Ok(port)
                });
                ports.collect()
            };
            self.inputs = named(1, &keys.inputs)?;
            self.outputs = named(2, &keys.outputs)?;
        }
        Ok(())
    }
}

/// A tensor's dimensions; -1 for sizes that are known only at run time.
fn sizes(tensor: &Table<'_>) -> Result<Vec<i32>, Damage> {
    let sizes = tensor.ints(0)?;
    // Where sizes are known only at run time, there is one more vector that says which.
    let signature = tensor.ints(7)?;
    let sizes = if signature.len() == sizes.len() {
        signature
    } else {
        sizes
    };
    if sizes.len() > MAX_RANK {
        return Err(tensor.damage("a tensor has more than 254 dimensions"));
    }
    Ok(sizes)
}

fn dtype(tensor: &Table<'_>) -> Result<Option<DType>, Damage> {
    let number = tensor.field(1)?.map_or(Ok(0), |at| tensor.file.byte(at))?;
    Ok(element_type(number))
}

/// A tensor that goes in or comes out, by its name where it has no key.
fn port(tensor: &Table<'_>, key: Option<&String>) -> Result<Port, Damage> {
    let dims = sizes(tensor)?.into_iter();
    let dims = dims
        .map(|size| u64::try_from(size).map_or_else(|_| Dim::Unknown(String::new()), Dim::Known));
    let name = tensor.text(3)?;
    Ok(Port {
        key: key.unwrap_or(&name).clone(),
        tensor: name,
        dtype: dtype(tensor)?,
        shape: Some(dims.collect()),
    })
}

fn element_type(number: u8) -> Option<DType> {
    Some(match number {
        0 => DType::Float32,
        1 => DType::Float16,
        2 => DType::Int32,
        3 => DType::UInt8,
        4 => DType::Int64,
        5 => DType::String,
        6 => DType::Bool,
        7 => DType::Int16,
        9 => DType::Int8,
        10 => DType::Float64,
        12 => DType::UInt64,
        15 => DType::UInt32,
        16 => DType::UInt16,
        _ => return None,
    })
}

fn constant(
    tensor: &Table<'_>,
    name: &[u8],
    sizes: Vec<i32>,
    range: Range<usize>,
) -> Result<StoredTensor, Damage> {
    let shape = sizes.into_iter().map(u64::try_from);
    let shape = shape
        .collect::<Result<Vec<u64>, _>>()
        .map_err(|_| tensor.damage("a constant has sizes that are not known"))?;
    let dtype = dtype(tensor)?;
    let bytes = range.len() as u64;
    let is_number = dtype.is_some_and(|dtype| dtype.size().is_some());
    if is_number && num_bytes(dtype, &shape) != Some(bytes) {
        return Err(tensor.damage("a constant has more or fewer bytes than its shape says"));
    }
    Ok(StoredTensor {
        name: text(name),
        dtype,
        shape,
        bytes,
        place: ElementsPlace::Tflite(range),
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The elements of a constant, whose bytes are known to be as many as its shape has.
pub(crate) fn elements<'a>(tensor: &StoredTensor, bytes: &'a [u8]) -> Result<Elements<'a>, String> {
    let numbers = tensor.dtype.filter(|dtype| dtype.size().is_some());
    let dtype = numbers.ok_or_else(|| format!("elements of type {}", tensor.type_name()))?;
    let count = num_elements(&tensor.shape).unwrap_or(0);
    Elements::numbers(dtype, count, bytes.into()).map_err(str::to_owned)
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]
mod tests {
    use tfod_graph::{Binary, Builder, ConvAttrs, Padding, Shape, Tensor, Unary, Weights};
    use tfod_tflite::{
        Labels, Metadata, Options, PixelNormalization, TensorNotes, TfliteWriter, WeightType,
    };

    use super::*;

    /// A model with two operators and a constant.
    fn model() -> Vec<u8> {
        let mut b = Builder::new("g");
        let x = b.input("x", tfod_graph::DType::F32, Shape::known(&[1, 3]));
        let factor = Tensor::f32(&[3], &[1.0, 2.0, -0.5]).unwrap();
        let factor = b.constant("factor", factor).unwrap();
        let scaled = b.binary("scaled", Binary::Mul, x, factor).unwrap();
        let y = b.unary("y", Unary::Exp, scaled).unwrap();
        b.output("result", y);
        let graph = b.finish();
        let weights = Weights::default();
        let mut bytes = Vec::new();
        let writer = TfliteWriter::new(&graph, &weights, &Options::default()).unwrap();
        writer.write_to(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = model();
        let mut tensors = Vec::new();
        let facts = scan(&bytes, &mut tensors).unwrap();
        assert_eq!((facts.version, facts.nodes, facts.subgraphs), (3, 2, 1));
        assert_eq!(facts.signatures, ["serving_default"]);
        assert_eq!(facts.metadata, ["min_runtime_version"]);
        let names = |ports: &[Port]| ports.iter().map(|p| p.key.clone()).collect::<Vec<_>>();
        assert_eq!(names(&facts.inputs), ["x"]);
        assert_eq!(names(&facts.outputs), ["result"]);
        assert_eq!(facts.inputs[0].shape_text(), "[1, 3]");
        assert_eq!(facts.ops["MUL"], 1);
        assert_eq!(facts.versions["EXP"], BTreeSet::from([1]));
        let [factor] = tensors.as_slice() else {
            panic!("one constant")
        };
        let ElementsPlace::Tflite(range) = &factor.place else {
            panic!("a place in the file")
        };
        let Elements::Numbers { stored, count, .. } =
            elements(factor, &bytes[range.clone()]).unwrap()
        else {
            panic!("numbers")
        };
        assert_eq!(count, 3);
        assert_eq!(stored[4..8], 2.0f32.to_le_bytes());
    }

    /// Two convolutions, one with its normalisation in the kernel, and one kernel that two share, large enough to stay as it is; with metadata and a file of names.
    fn layered(weights: WeightType) -> Vec<u8> {
        let mut b = Builder::new("g");
        let x = b.input("x", tfod_graph::DType::F32, Shape::known(&[1, 2, 2, 4]));
        let numbers = |count: usize| -> Vec<f32> {
            let at = |at: usize| f32::from(u16::try_from(at * 37 % 101).unwrap()) - 50.0;
            (0..count).map(at).collect()
        };
        let attrs = ConvAttrs::new(1, Padding::Same);
        let vector = |b: &mut Builder, name: &str, number: f32| {
            b.constant(name, Tensor::f32(&[4], &[number; 4]).unwrap())
                .unwrap()
        };
        let vectors = [
            ("gamma", 2.0),
            ("beta", 1.0),
            ("mean", 3.0),
            ("variance", 3.999),
        ];
        let vectors = vectors.map(|(name, number)| vector(&mut b, name, number));
        let small = Tensor::f32(&[1, 1, 4, 4], &numbers(16)).unwrap();
        let small = b.constant("small", small).unwrap();
        let first = b.conv2d("first", x, small, attrs).unwrap();
        let first = b.batch_norm("first/norm", first, vectors, 1e-3).unwrap();
        let large = Tensor::f32(&[16, 16, 4, 4], &numbers(4096)).unwrap();
        let large = b.constant("large", large).unwrap();
        for name in ["second", "third"] {
            let conv = b.conv2d(name, first, large, attrs).unwrap();
            let norm = b.batch_norm(&format!("{name}/norm"), conv, vectors, 1e-3);
            b.output(name, norm.unwrap());
        }
        let graph = b.finish();
        let mut metadata = Metadata::default();
        metadata.name = "A detector".to_owned();
        let mut notes = TensorNotes::new("image", "pixels");
        notes.content = tfod_tflite::Content::Rgb;
        notes.normalization = Some(PixelNormalization::new([127.5; 3], [127.5; 3]));
        metadata.inputs.insert("x".to_owned(), notes);
        let mut notes = TensorNotes::new("category", "");
        notes.labels = Some(Labels::OfValues("labels.txt".to_owned()));
        metadata.outputs.insert("second".to_owned(), notes);
        let names = b"???\nperson\ncar".to_vec();
        metadata.files.insert("labels.txt".to_owned(), names);
        let mut options = Options::default();
        options.weights = weights;
        options.metadata = Some(metadata);
        let weights = Weights::default();
        let mut bytes = Vec::new();
        let writer = TfliteWriter::new(&graph, &weights, &options).unwrap();
        writer.write_to(&mut bytes).unwrap();
        bytes
    }

    /// The numbers that a quantity of a file stands for.
    fn values(bytes: &[u8], tensors: &[StoredTensor], of: Option<&Quantity>) -> Vec<f32> {
        let of = of.unwrap();
        let tensor = &tensors[of.tensor];
        let ElementsPlace::Tflite(range) = &tensor.place else {
            panic!("a place in the file")
        };
        let elements = elements(tensor, &bytes[range.clone()]).unwrap();
        of.values(tensor, &elements).unwrap()
    }

    #[test]
    fn layers_are_read_with_what_follows_them() {
        for weights in WeightType::ALL {
            let bytes = layered(weights);
            let mut tensors = Vec::new();
            scan(&bytes, &mut tensors).unwrap();
            let found = layers::layers(&bytes).unwrap();
            let names: Vec<&str> = found.iter().map(|layer| &*layer.name).collect();
            assert_eq!(names, ["first/norm", "second", "third"]);
            assert!(found.iter().all(|layer| layer.kind == LayerKind::Conv2d));
            let of = |quantity: &Option<Quantity>| values(&bytes, &tensors, quantity.as_ref());
            // gamma / sqrt(variance + epsilon) is 1.
            assert_eq!(of(&found[0].kernel)[..3], [-50.0, -3.0, 44.0]);
            assert_eq!(of(&found[0].bias), [-2.0; 4]);
            let [_, second, third] = found.as_slice() else {
                panic!("three layers")
            };
            let is_int = weights == WeightType::DynamicInt8;
            // With 32 bits, a kernel has the factor of the first layer that it is in.
            let is_whole = weights == WeightType::Float32;
            assert_eq!(second.factor.is_none(), is_int || is_whole);
            assert_eq!(third.factor.is_none(), is_int);
            let kernel = of(&second.kernel);
            let step = 50.0 / 127.0 * (1.0 + 1e-6);
            let expected = [-50.0f32, -3.0, 44.0];
            // The first channel, of which neighbours are four numbers apart.
            for (value, number) in kernel.iter().zip(expected) {
                let allowed = if is_int { step / 2.0 } else { 0.0 };
                assert!(
                    (value - number).abs() <= allowed,
                    "{weights:?}: {value}, {number}"
                );
            }
            if second.factor.is_some() {
                assert_eq!(of(&second.factor), [1.0; 4]);
                assert_eq!(of(&second.term), [-2.0; 4]);
            } else {
                assert_eq!(of(&second.bias), [-2.0; 4]);
            }
            if !is_int {
                assert_eq!(of(&third.factor), [1.0; 4]);
                assert_eq!(of(&third.term), [-2.0; 4]);
            }
        }
    }

    #[test]
    fn metadata_and_the_files_behind_the_model_are_read() {
        let bytes = layered(WeightType::DynamicInt8);
        let facts = scan(&bytes, &mut Vec::new()).unwrap();
        let notes = facts.notes.unwrap();
        assert_eq!(
            (&*notes.name, &*notes.min_parser_version),
            ("A detector", "1.0.0")
        );
        let [image] = notes.inputs.as_slice() else {
            panic!("one input")
        };
        assert_eq!(
            (&*image.name, image.content),
            ("image", "pixels: red, green, blue")
        );
        assert_eq!(image.normalization, Some((vec![127.5], vec![127.5])));
        let [category, third] = notes.outputs.as_slice() else {
            panic!("two outputs")
        };
        assert_eq!((&*category.name, &*third.name), ("category", "third"));
        assert_eq!(
            category.files,
            [("labels.txt".to_owned(), "labels of values")]
        );
        let [labels] = notes.files.as_slice() else {
            panic!("one file")
        };
        assert_eq!(
            (&*labels.name, labels.bytes, labels.lines),
            ("labels.txt", 14, Some(3))
        );
        assert_eq!(labels.first, ["???", "person", "car"]);
        let runtime = facts.runtime;
        assert_eq!(runtime.declared.as_deref(), Some("2.4.0"));
        assert_eq!(runtime.needed, runtime.declared);
        assert_eq!(runtime.because, ["CONV_2D 5"]);
    }

    /// A file made by hand, in which several things may be at one place.
    #[derive(Default)]
    struct Made(Vec<u8>);

    impl Made {
        fn words(&mut self, words: impl IntoIterator<Item = u32>) -> u32 {
            let at = self.0.len() as u32;
            self.0.extend(words.into_iter().flat_map(u32::to_le_bytes));
            at
        }

        /// A vector of equal words.
        fn vector(&mut self, count: u32, word: u32) -> u32 {
            let words = std::iter::once(count).chain((0..count).map(|_| word));
            self.words(words)
        }

        fn text(&mut self, text: &str) -> u32 {
            let at = self.words([text.len() as u32]);
            self.0.extend_from_slice(text.as_bytes());
            self.0.resize(self.0.len().next_multiple_of(4), 0);
            at
        }

        /// A table with these slots, which have four bytes each.
        fn table<const N: usize>(&mut self, slots: [usize; N]) -> (u32, [usize; N]) {
            let count = slots.iter().map(|slot| slot + 1).max().unwrap_or(0);
            let vtable = self.0.len();
            let mut shorts = vec![0u16; (2 + count).next_multiple_of(2)];
            shorts[0] = (4 + 2 * count) as u16;
            for (place, slot) in slots.iter().enumerate() {
                shorts[2 + slot] = (4 + 4 * place) as u16;
            }
            self.0.extend(shorts.into_iter().flat_map(u16::to_le_bytes));
            let at = self.0.len();
            self.words([(at - vtable) as u32]);
            self.words([0; N]);
            (at as u32, std::array::from_fn(|place| at + 4 + 4 * place))
        }

        fn set(&mut self, field: usize, word: u32) {
            self.0[field..field + 4].copy_from_slice(&word.to_le_bytes());
        }

        /// Has a field point to something behind it.
        fn point(&mut self, field: usize, to: u32) {
            self.set(field, to - field as u32);
        }

        /// A vector of references to one table.
        fn point_often(&mut self, field: usize, count: u32) -> usize {
            let vector = self.vector(count, 0);
            self.point(field, vector);
            vector as usize + 4
        }

        fn meet(&mut self, references: usize, count: u32, table: u32) {
            for reference in (0..count as usize).map(|n| references + 4 * n) {
                self.point(reference, table);
            }
        }

        /// A model of one graph, with its fields: kinds of operators, tensors, inputs, operators, buffers.
        fn model() -> (Self, [usize; 5]) {
            let mut made = Self::default();
            let root = made.words([0, 0]) as usize;
            let (model, [codes, graphs, buffers]) = made.table([1, 2, 4]);
            made.point(root, model);
            let reference = made.point_often(graphs, 1);
            let (graph, [tensors, inputs, steps]) = made.table([0, 1, 3]);
            made.meet(reference, 1, graph);
            (made, [codes, tensors, inputs, steps, buffers])
        }

        /// What is found in the file, or wrong with it; it has to be found soon.
        fn scanned(&self) -> Result<TfliteFacts, &'static str> {
            let start = std::time::Instant::now();
            let found = scan(&self.0, &mut Vec::new());
            assert!(start.elapsed() < std::time::Duration::from_secs(10));
            found.map_err(|damage| damage.problem)
        }
    }

    #[test]
    fn an_operator_with_a_long_name_may_be_there_often() {
        let (mut made, [codes, tensors, inputs, steps, buffers]) = Made::model();
        for field in [tensors, inputs, buffers] {
            made.point_often(field, 0);
        }
        let reference = made.point_often(codes, 1);
        let (code, [name, number]) = made.table([1, 3]);
        made.meet(reference, 1, code);
        made.set(number, 32);
        let long = "n".repeat(1 << 20);
        let text = made.text(&long);
        made.point(name, text);
        let references = made.point_often(steps, 100_000);
        let (step, _) = made.table([]);
        made.meet(references, 100_000, step);
        let facts = made.scanned().unwrap();
        assert_eq!(facts.nodes, 100_000);
        assert_eq!(facts.ops, BTreeMap::from([(long, 100_000)]));
    }

    /// A model of a number of equal tensors of this many dimensions of one element, whose buffer has so many bytes, and as many inputs.
    fn equal_tensors(count: u32, dimensions: u32, bytes: usize, inputs: u32) -> Made {
        let (mut made, [codes, tensors, ins, steps, buffers]) = Made::model();
        for field in [codes, steps] {
            made.point_often(field, 0);
        }
        let reference = made.point_often(buffers, 1);
        let (buffer, [data]) = made.table([0]);
        made.meet(reference, 1, buffer);
        let text = made.text(&"b".repeat(bytes));
        made.point(data, text);
        let references = made.point_often(tensors, count);
        let (tensor, [shape, dtype]) = made.table([0, 1]);
        made.meet(references, count, tensor);
        // Strings, whose number of bytes follows from no shape.
        made.set(dtype, 5);
        let sizes = made.vector(dimensions, 1);
        made.point(shape, sizes);
        let vector = made.vector(inputs, 0);
        made.point(ins, vector);
        made
    }

    #[test]
    fn elements_that_tensors_share_count_once() {
        let facts = equal_tensors(3, 1, 1000, 0).scanned().unwrap();
        assert_eq!(facts.constant_bytes, 1000);
    }

    #[test]
    fn what_is_at_one_place_is_not_multiplied() {
        let weights = equal_tensors(100_000, 1, 1 << 20, 0).scanned();
        assert_eq!(
            weights.unwrap_err(),
            "the same weights are used over and over"
        );
        let shapes = equal_tensors(100_000, 254, 1, 0).scanned();
        assert_eq!(shapes.unwrap_err(), "the same parts are used over and over");
        let inputs = equal_tensors(1, 254, 0, 100_000).scanned();
        assert_eq!(inputs.unwrap_err(), "the same parts are used over and over");
    }

    /// Looks at all that there is in a file.
    fn look(bytes: &[u8]) {
        let mut tensors = Vec::new();
        let Ok(facts) = scan(bytes, &mut tensors) else {
            return;
        };
        let _ = facts.json();
        for layer in layers::layers(bytes).unwrap_or_default() {
            for quantity in layer.quantities() {
                let tensor = &tensors[quantity.tensor];
                let ElementsPlace::Tflite(range) = &tensor.place else {
                    panic!("a place in the file")
                };
                if let Ok(elements) = elements(tensor, &bytes[range.clone()]) {
                    let _ = quantity.values(tensor, &elements);
                }
            }
        }
    }

    /// Tables that are each other's parts are read once for each time that the format has such a part.
    #[test]
    fn tables_that_refer_to_themselves_have_an_end() {
        let (mut made, [codes, tensors, inputs, steps, buffers]) = Made::model();
        // A table whose fields are references to itself.
        let (table, fields) = made.table([0, 1, 2, 3, 4, 5, 6, 7]);
        for field in fields {
            made.set(field, table.wrapping_sub(u32::try_from(field).unwrap()));
        }
        for field in [codes, tensors, inputs, steps, buffers] {
            made.point(field, table);
        }
        look(&made.0);
        // Vectors of references to the beginning of the file, as far as these go: not at all, for they are unsigned.
        for field in [codes, tensors, steps, buffers] {
            let references = made.point_often(field, 1000);
            for reference in (0..1000).map(|n| references + 4 * n) {
                made.set(reference, u32::MAX - u32::try_from(reference).unwrap());
            }
        }
        assert!(made.scanned().is_err());
    }

    /// Vectors that claim all that 32 bits can say.
    #[test]
    fn huge_vectors_ask_for_no_memory() {
        let whole = layered(WeightType::DynamicInt8);
        let mut bytes = whole.clone();
        // Weights are at the end, and say nothing of sizes.
        for at in (0..4096.min(whole.len() - 4)).step_by(4) {
            for count in [u32::MAX, 1 << 28] {
                bytes[at..at + 4].copy_from_slice(&count.to_le_bytes());
                look(&bytes);
            }
            bytes[at..at + 4].copy_from_slice(&whole[at..at + 4]);
        }
    }

    /// Whatever a file says, it is read or called damaged, and soon.
    #[test]
    fn damaged_files_are_no_end_of_the_program() {
        let whole = model();
        for length in 0..whole.len() {
            look(&whole[..length]);
        }
        let mut bytes = whole.clone();
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff, whole[at] ^ 4] {
                bytes[at] = value;
                look(&bytes);
            }
            bytes[at] = whole[at];
        }
        let layered = layered(WeightType::Float16);
        for length in (0..layered.len()).step_by(7) {
            look(&layered[..length]);
        }
        let mut bytes = layered.clone();
        let end = layered.len() - 1000;
        for at in (0..4096.min(end)).chain(end..layered.len()) {
            bytes[at] ^= [0x01, 0x80, 0xff][at % 3];
            look(&bytes);
            bytes[at] = layered[at];
        }
        assert!(scan(&whole[..whole.len() / 2], &mut Vec::new()).is_err());
        assert!(scan(b"\x1c\0\0\0TFL3....", &mut Vec::new()).is_err());
    }
}
