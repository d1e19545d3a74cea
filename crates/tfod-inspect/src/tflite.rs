//! TFLite models: FlatBuffers, read table by table; weights stay where they are.
//!
//! Specified by <https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs>. Everything in a file is found by offsets, which may point
//! anywhere, and several may point to one thing: each is checked against the file's end, and all that is read together is held to a multiple of the file's size.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde_json::{Value, json};
use tfod_checkpoint::DType;

use crate::error::{Damage, push};
use crate::graph::{Dim, Port};
use crate::tensors::{Elements, Place, TensorInfo, num_bytes, num_elements};
use crate::tflite_operators as operators;

/// How often the bytes of a file may be read as texts and numbers: names may be shared.
const MOST_READS: usize = 4;
/// What even the smallest file may read.
const LEAST_READS: usize = 1 << 16;
/// Ranks above this nobody has.
const MAX_RANK: usize = 254;

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
    /// The versions of each operator that a runtime has to know.
    pub versions: BTreeMap<String, BTreeSet<i64>>,
    /// What has to be given, by the keys of the first signature.
    pub inputs: Vec<Port>,
    /// What comes out, in the order of the file.
    pub outputs: Vec<Port>,
    /// Bytes of all weights and constants.
    pub constant_bytes: u64,
    /// The names of what is stored beside the model, such as `TFLITE_METADATA`, which has labels.
    pub metadata: Vec<String>,
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
            "versions": self.versions,
            "inputs": ports(&self.inputs),
            "outputs": ports(&self.outputs),
            "constant_bytes": self.constant_bytes,
            "metadata": self.metadata,
        })
    }
}

/// Reads the model that `file` is; its constants are added to `tensors`.
pub(crate) fn scan(file: &[u8], tensors: &mut Vec<TensorInfo>) -> Result<TfliteFacts, Damage> {
    let left = Cell::new((file.len() * MOST_READS).max(LEAST_READS));
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
        push(&mut codes, operator(&code?)?, file.bytes)?;
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
    for metadata in model.tables(6)? {
        push(&mut facts.metadata, metadata?.text(0)?, file.bytes)?;
    }
    for graph in model.tables(2)? {
        facts.scan_graph(&graph?, &codes, &buffers, &keys, tensors)?;
    }
    Ok(facts)
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

/// The name of an operator, and its version.
fn operator(code: &Table<'_>) -> Result<(String, i64), Damage> {
    // Files before version 3a of the schema have a number of one byte.
    let short = code.field(0)?.map_or(Ok(0), |at| code.file.byte(at))?;
    let number = i64::from(short).max(code.int(3)?.unwrap_or(0).into());
    let name = match code.text(1)? {
        custom if number == operators::CUSTOM && !custom.is_empty() => custom,
        _ => operators::name(number),
    };
    Ok((name, code.int(2)?.unwrap_or(1).into()))
}

impl TfliteFacts {
    fn scan_graph(
        &mut self,
        graph: &Table<'_>,
        codes: &[(String, i64)],
        buffers: &[Range<usize>],
        keys: &Keys,
        tensors: &mut Vec<TensorInfo>,
    ) -> Result<(), Damage> {
        let file = graph.file.bytes;
        let is_main = self.subgraphs == 0;
        self.subgraphs += 1;
        let mut ports = Vec::new();
        for tensor in graph.tables(0)? {
            let tensor = tensor?;
            let port = port(&tensor)?;
            let buffer = usize::try_from(tensor.number(2)?).unwrap_or(usize::MAX);
            let range = buffers
                .get(buffer)
                .ok_or_else(|| tensor.damage("a tensor has a buffer that there is not"))?;
            if !range.is_empty() {
                let info = constant(&port, range.clone(), &tensor)?;
                self.constant_bytes = self.constant_bytes.saturating_add(info.bytes);
                push(tensors, info, file)?;
            }
            push(&mut ports, port, file)?;
        }
        for step in graph.tables(3)? {
            let step = step?;
            let code = usize::try_from(step.number(0)?).unwrap_or(usize::MAX);
            let (name, version) = codes
                .get(code)
                .ok_or_else(|| step.damage("an operator is of a kind that there is not"))?;
            self.nodes += 1;
            *self.ops.entry(name.clone()).or_default() += 1;
            self.versions
                .entry(name.clone())
                .or_default()
                .insert(*version);
        }
        if is_main {
            let named = |slot, keys: &BTreeMap<u64, String>| -> Result<Vec<Port>, Damage> {
                let ports = graph.ints(slot)?.into_iter().map(|number| {
                    let number = u64::try_from(number).unwrap_or(u64::MAX);
                    let index = usize::try_from(number).unwrap_or(usize::MAX);
                    let port = ports.get(index).ok_or_else(|| {
                        graph.damage("an input or output is a tensor that there is not")
                    })?;
                    let key = keys.get(&number).unwrap_or(&port.tensor);
                    graph.file.spend(key.len() + port.tensor.len(), graph.at)?;
                    Ok(Port {
                        key: key.clone(),
                        ..port.clone()
                    })
                });
                ports.collect()
            };
            self.inputs = named(1, &keys.inputs)?;
            self.outputs = named(2, &keys.outputs)?;
        }
        Ok(())
    }
}

fn port(tensor: &Table<'_>) -> Result<Port, Damage> {
    let sizes = tensor.ints(0)?;
    // Where sizes are known only at run time, there is one more vector that says which.
    let signature = tensor.ints(7)?;
    let dims = if signature.len() == sizes.len() {
        signature
    } else {
        sizes
    };
    if dims.len() > MAX_RANK {
        return Err(tensor.damage("a tensor has more than 254 dimensions"));
    }
    let dims = dims
        .into_iter()
        .map(|size| u64::try_from(size).map_or_else(|_| Dim::Unknown(String::new()), Dim::Known));
    let name = tensor.text(3)?;
    let number = tensor.field(1)?.map_or(Ok(0), |at| tensor.file.byte(at))?;
    Ok(Port {
        key: name.clone(),
        tensor: name,
        dtype: element_type(number),
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

fn constant(port: &Port, range: Range<usize>, tensor: &Table<'_>) -> Result<TensorInfo, Damage> {
    let dims = port.shape.iter().flatten();
    let shape = dims.map(|dim| match dim {
        Dim::Known(size) => Some(*size),
        Dim::Unknown(_) => None,
    });
    let shape = shape
        .collect::<Option<Vec<u64>>>()
        .ok_or_else(|| tensor.damage("a constant has sizes that are not known"))?;
    let bytes = range.len() as u64;
    let is_number = port.dtype.is_some_and(|dtype| dtype.size().is_some());
    if is_number && num_bytes(port.dtype, &shape) != Some(bytes) {
        return Err(tensor.damage("a constant has more or fewer bytes than its shape says"));
    }
    tensor.file.spend(port.tensor.len(), tensor.at)?;
    Ok(TensorInfo {
        name: port.tensor.clone(),
        dtype: port.dtype,
        shape,
        bytes,
        place: Place::Tflite(range),
    })
}

/// The elements of a constant, whose bytes are known to be as many as its shape has.
pub(crate) fn elements<'a>(tensor: &TensorInfo, bytes: &'a [u8]) -> Result<Elements<'a>, String> {
    let numbers = tensor.dtype.filter(|dtype| dtype.size().is_some());
    let dtype = numbers.ok_or_else(|| format!("elements of type {}", tensor.type_name()))?;
    let count = num_elements(&tensor.shape).unwrap_or(0);
    Elements::numbers(dtype, count, bytes.into()).map_err(str::to_owned)
}

/// A buffer of tables.
#[derive(Clone, Copy)]
struct File<'a> {
    bytes: &'a [u8],
    /// How many more bytes of texts and vectors may be read.
    left: &'a Cell<usize>,
}

impl<'a> File<'a> {
    fn damage(self, at: usize, problem: &'static str) -> Damage {
        Damage::new(self.bytes.get(at..).unwrap_or_default(), problem)
    }

    fn array<const N: usize>(self, at: usize) -> Result<[u8; N], Damage> {
        let rest = self.bytes.get(at..).and_then(|rest| rest.first_chunk());
        let outside = || {
            self.damage(
                self.bytes.len(),
                "an offset points behind the end of the file",
            )
        };
        rest.copied().ok_or_else(outside)
    }

    fn byte(self, at: usize) -> Result<u8, Damage> {
        Ok(self.array::<1>(at)?[0])
    }

    fn short(self, at: usize) -> Result<usize, Damage> {
        Ok(u16::from_le_bytes(self.array(at)?).into())
    }

    fn word(self, at: usize) -> Result<usize, Damage> {
        let word = u32::from_le_bytes(self.array(at)?);
        usize::try_from(word).map_err(|_| self.damage(at, "an offset is too large"))
    }

    /// Where a reference points.
    fn follow(self, at: usize) -> Result<usize, Damage> {
        let to = at.checked_add(self.word(at)?);
        to.filter(|to| *to < self.bytes.len())
            .ok_or_else(|| self.damage(at, "an offset points behind the end of the file"))
    }

    /// Counts bytes that are read.
    fn spend(self, bytes: usize, at: usize) -> Result<(), Damage> {
        let left = self.left.get().checked_sub(bytes);
        let left = left
            .ok_or_else(|| self.damage(at, "the same texts or numbers are used over and over"))?;
        self.left.set(left);
        Ok(())
    }

    /// The places of the elements of a vector, of `size` bytes each.
    fn vector(self, at: usize, size: usize) -> Result<Range<usize>, Damage> {
        let begin = at.saturating_add(4);
        let bytes = self.word(at)?.checked_mul(size);
        let end = bytes.and_then(|bytes| begin.checked_add(bytes));
        let end = end.filter(|end| *end <= self.bytes.len());
        let end =
            end.ok_or_else(|| self.damage(at, "a vector reaches behind the end of the file"))?;
        Ok(begin..end)
    }

    fn table(self, at: usize) -> Result<Table<'a>, Damage> {
        let back = i64::from(i32::from_le_bytes(self.array(at)?));
        let vtable = i64::try_from(at).ok().and_then(|at| at.checked_sub(back));
        let vtable = vtable.and_then(|vtable| usize::try_from(vtable).ok());
        let vtable = vtable
            .ok_or_else(|| self.damage(at, "a table says that its fields are before the file"))?;
        let length = self.short(vtable)?;
        Ok(Table {
            file: self,
            at,
            vtable,
            slots: (length / 2).saturating_sub(2),
        })
    }
}

/// A table: fields by slot.
#[derive(Clone, Copy)]
struct Table<'a> {
    file: File<'a>,
    at: usize,
    vtable: usize,
    slots: usize,
}

impl<'a> Table<'a> {
    fn damage(&self, problem: &'static str) -> Damage {
        self.file.damage(self.at, problem)
    }

    /// Where a field is, if it is not at its default.
    fn field(&self, slot: usize) -> Result<Option<usize>, Damage> {
        if slot >= self.slots {
            return Ok(None);
        }
        let offset = self.file.short(self.vtable.saturating_add(4 + 2 * slot))?;
        Ok((offset > 0).then(|| self.at.saturating_add(offset)))
    }

    fn int(&self, slot: usize) -> Result<Option<i32>, Damage> {
        let field = self.field(slot)?;
        field
            .map(|at| Ok(i32::from_le_bytes(self.file.array(at)?)))
            .transpose()
    }

    /// An unsigned number of 32 bits.
    fn number(&self, slot: usize) -> Result<u64, Damage> {
        let field = self.field(slot)?;
        Ok(field.map_or(Ok(0), |at| self.file.word(at))? as u64)
    }

    /// The places of a vector's elements.
    fn vector(&self, slot: usize, size: usize) -> Result<Option<Range<usize>>, Damage> {
        let field = self.field(slot)?;
        field
            .map(|at| self.file.vector(self.file.follow(at)?, size))
            .transpose()
    }

    fn read(&self, slot: usize, size: usize) -> Result<&'a [u8], Damage> {
        let range = self.vector(slot, size)?.unwrap_or(0..0);
        self.file.spend(range.len(), self.at)?;
        Ok(self.file.bytes.get(range).unwrap_or_default())
    }

    fn text(&self, slot: usize) -> Result<String, Damage> {
        Ok(String::from_utf8_lossy(self.read(slot, 1)?).into_owned())
    }

    fn ints(&self, slot: usize) -> Result<Vec<i32>, Damage> {
        let words = self.read(slot, 4)?.as_chunks::<4>().0.iter();
        Ok(words.map(|word| i32::from_le_bytes(*word)).collect())
    }

    /// The tables of a vector.
    fn tables(
        &self,
        slot: usize,
    ) -> Result<impl Iterator<Item = Result<Table<'a>, Damage>> + use<'a>, Damage> {
        let range = self.vector(slot, 4)?.unwrap_or(0..0);
        self.file.spend(range.len(), self.at)?;
        let file = self.file;
        Ok(range.step_by(4).map(move |at| file.table(file.follow(at)?)))
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
mod tests {
    use tfod_graph::{Binary, Builder, Shape, Tensor, Unary, Weights};
    use tfod_tflite::{Options, TfliteWriter};

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
        let Place::Tflite(range) = &factor.place else {
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

    /// Whatever a file says, it is read or called damaged, and soon.
    #[test]
    fn damaged_files_are_no_end_of_the_program() {
        let whole = model();
        for length in 0..whole.len() {
            let _ = scan(&whole[..length], &mut Vec::new());
        }
        let mut bytes = whole.clone();
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff, whole[at] ^ 4] {
                bytes[at] = value;
                let _ = scan(&bytes, &mut Vec::new());
            }
            bytes[at] = whole[at];
        }
        assert!(scan(&whole[..whole.len() / 2], &mut Vec::new()).is_err());
        assert!(scan(b"\x1c\0\0\0TFL3....", &mut Vec::new()).is_err());
    }
}
