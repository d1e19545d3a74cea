//! Nodes that compute from nothing but constants. OpenCV's importers cannot run them, and no other program should have to.

use std::collections::HashSet;

use tfod_proto::wire::{Field, Fields, all, last};
use tfod_proto::{GraphDef, NodeDef};

/// Operations of TensorFlow that have only constants as inputs in some graphs, because they have no other counterpart: how a value comes into a loop, an empty list, which no
/// constant can be, and a result that is a constant itself.
const NEEDED: [&str; 3] = ["Enter", "TensorListReserve", "Identity"];

fn of_nodes(nodes: &[NodeDef]) -> impl Iterator<Item = String> + '_ {
    let constants = nodes.iter().filter(|node| node.op == "Const");
    let constants: HashSet<&str> = constants.map(|node| node.name.as_str()).collect();
    let is_constant = move |input: &String| {
        let name = input.split(':').next().unwrap_or_default();
        constants.contains(name)
    };
    let found = nodes.iter().filter(move |node| {
        let mut inputs = node
            .input
            .iter()
            .filter(|input| !input.starts_with('^'))
            .peekable();
        inputs.peek().is_some() && inputs.all(&is_constant) && !NEEDED.contains(&node.op.as_str())
    });
    found.map(|node| format!("{} {}({})", node.name, node.op, node.input.join(", ")))
}

/// Of a graph and its functions.
pub(crate) fn of_graph(graph: &GraphDef) -> Vec<String> {
    let functions = graph.library.iter().flat_map(|library| &library.function);
    let functions = functions.flat_map(|function| of_nodes(&function.node_def));
    of_nodes(&graph.node).chain(functions).collect()
}

/// Of an ONNX model. A result that is a constant itself has to be copied: names inside and outside differ.
pub(crate) fn of_onnx(model: &[u8]) -> Vec<String> {
    const GRAPH: u32 = 7;
    let graph = last(model, GRAPH).and_then(Field::bytes).expect("a graph");
    let text = |field: Field<'_>| field.text().expect("text");
    let initializers = all(graph, 5).filter_map(Field::bytes);
    let initializers = initializers.filter_map(|tensor| last(tensor, 8)).map(text);
    let mut constants: HashSet<String> = initializers.collect();
    let mut found = Vec::new();
    for field in Fields::of(graph) {
        let Ok((1, Field::Bytes(node))) = field else {
            continue;
        };
        let inputs: Vec<String> = all(node, 1)
            .map(text)
            .filter(|name| !name.is_empty())
            .collect();
        let op = last(node, 4).map(text).unwrap_or_default();
        if inputs.is_empty() {
            constants.extend(all(node, 2).map(text));
        } else if op != "Identity" && inputs.iter().all(|input| constants.contains(input)) {
            let name = last(node, 3).map(text).unwrap_or_default();
            found.push(format!("{name} {op}({})", inputs.join(", ")));
        }
    }
    found
}

/// A table of a TFLite model, at a place in the file.
#[derive(Clone, Copy)]
struct Table<'a> {
    file: &'a [u8],
    at: usize,
}

impl<'a> Table<'a> {
    fn word(file: &[u8], at: usize) -> usize {
        let word = file[at..at + 4].try_into().expect("four bytes");
        u32::from_le_bytes(word) as usize
    }

    fn new(file: &'a [u8], reference: usize) -> Self {
        let at = reference + Self::word(file, reference);
        Self { file, at }
    }

    /// Where a field is, if it is there.
    fn field(self, slot: usize) -> Option<usize> {
        let short = |at: usize| usize::from(self.file[at]) | usize::from(self.file[at + 1]) << 8;
        // Tables may share what says where fields are, which may be on either side.
        let vtable = self.at.wrapping_sub(Self::word(self.file, self.at)) & 0xffff_ffff;
        let place = vtable + 4 + 2 * slot;
        let offset = if place < vtable + short(vtable) {
            short(place)
        } else {
            0
        };
        (offset > 0).then(|| self.at + offset)
    }

    fn byte(self, slot: usize) -> u8 {
        self.field(slot).map_or(0, |at| self.file[at])
    }

    fn number(self, slot: usize) -> usize {
        self.field(slot).map_or(0, |at| Self::word(self.file, at))
    }

    /// Where a vector's elements begin, and how many there are.
    fn vector(self, slot: usize) -> (usize, usize) {
        self.field(slot).map_or((0, 0), |field| {
            let at = Self::new(self.file, field).at;
            (at + 4, Self::word(self.file, at))
        })
    }

    fn text(self, slot: usize) -> String {
        let (at, count) = self.vector(slot);
        String::from_utf8_lossy(&self.file[at..at + count]).into_owned()
    }

    /// The places of a vector's words.
    fn places(self, slot: usize) -> impl Iterator<Item = usize> {
        let (at, count) = self.vector(slot);
        (at..at + 4 * count).step_by(4)
    }

    fn numbers(self, slot: usize) -> Vec<usize> {
        self.places(slot)
            .map(|at| Self::word(self.file, at))
            .collect()
    }

    fn tables(self, slot: usize) -> Vec<Self> {
        self.places(slot)
            .map(|at| Self::new(self.file, at))
            .collect()
    }
}

/// Of a TFLite model. Kernels of 16 bits have to be widened, which runtimes do once, and a result that is a constant itself has to be copied.
pub(crate) fn of_tflite(file: &[u8]) -> Vec<String> {
    const RESHAPE: usize = 22;
    const DEQUANTIZE: usize = 6;
    const HALF: u8 = 1;
    let model = Table::new(file, 0);
    let codes: Vec<usize> = model.tables(1).iter().map(|code| code.number(3)).collect();
    let buffers = model.tables(4);
    let mut found = Vec::new();
    for graph in model.tables(2) {
        let tensors = graph.tables(0);
        let is_stored = |tensor: &&Table<'_>| buffers[tensor.number(2)].vector(0).1 > 0;
        let stored = tensors.iter().enumerate().filter(|(_, t)| is_stored(t));
        let mut constants: HashSet<usize> = stored.map(|(number, _)| number).collect();
        let results = graph.numbers(2);
        for step in graph.tables(3) {
            let code = codes[step.number(0)];
            let (inputs, outputs) = (step.numbers(1), step.numbers(2));
            let is_copy = code == RESHAPE && outputs.iter().all(|output| results.contains(output));
            let widens = code == DEQUANTIZE && inputs.iter().all(|n| tensors[*n].byte(1) == HALF);
            if widens {
                constants.extend(outputs);
            } else if !is_copy && inputs.iter().all(|input| constants.contains(input)) {
                let names = outputs.iter().map(|output| tensors[*output].text(3));
                found.push(format!("operator {code}: {}", names.collect::<String>()));
            }
        }
    }
    found
}
