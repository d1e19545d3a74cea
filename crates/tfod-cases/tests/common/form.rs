//! What graphs have in common that differ in names alone: of nodes, of sizes known only at run time, and in the order of nodes and of a map's inputs.

use std::collections::HashMap;
use std::fmt::Write as _;

use tfod_graph::{Binary, Dim, Graph, MapInput, Op, PixelGrid, ResizeMethod, ValueId, Weights};

/// A key in the order of the keys or, of those that freezing gives, of the numbers.
fn numbered(key: &str) -> (&str, u64) {
    let number = key
        .strip_prefix("Identity_")
        .and_then(|number| number.parse().ok());
    number.map_or((key, 0), |number| ("Identity", number))
}

/// A graph's outputs, in the order of their keys, as text: each node once, after those that it reads.
pub(crate) fn form(graph: &Graph, weights: &Weights<'_>) -> String {
    let mut outputs: Vec<_> = graph.outputs().iter().collect();
    outputs.sort_by_key(|output| numbered(&output.key));
    let outputs: Vec<ValueId> = outputs.iter().map(|output| output.value).collect();
    let mut form = Form::new(graph, weights);
    let places: Vec<String> = outputs.iter().map(|value| form.value(*value)).collect();
    let mut inputs: Vec<ValueId> = graph.inputs().to_vec();
    inputs.sort_by_key(|input| graph.name_of(*input));
    for input in inputs {
        let typed = form.typed(input);
        let _ = writeln!(form.text, "input {typed}");
    }
    format!("{}outputs {}\n", form.text, places.join(" "))
}

struct Form<'a> {
    graph: &'a Graph,
    weights: &'a Weights<'a>,
    places: HashMap<ValueId, String>,
    /// The inputs of the graph that are used, in the order of their first use.
    used: Vec<ValueId>,
    text: String,
    lines: HashMap<String, usize>,
}

fn sizes(dims: &[Dim]) -> String {
    let sizes = dims
        .iter()
        .map(|dim| dim.known().map_or("?".to_owned(), |n| n.to_string()));
    sizes.collect::<Vec<_>>().join("x")
}

/// An operation with its attributes, in which sizes known only at run time have no names.
fn anonymous(op: &Op) -> String {
    const UNKNOWN: &str = "Unknown(";
    let text = format!("{op:?}");
    let mut parts = text.split(UNKNOWN);
    let mut anonymous = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut open = 1;
        let end = part.find(|c| {
            open += i32::from(c == '(') - i32::from(c == ')');
            open == 0
        });
        anonymous.push('?');
        anonymous.push_str(&part[end.unwrap() + 1..]);
    }
    anonymous
}

impl<'a> Form<'a> {
    fn new(graph: &'a Graph, weights: &'a Weights<'a>) -> Self {
        Self {
            graph,
            weights,
            places: HashMap::new(),
            used: Vec::new(),
            text: String::new(),
            lines: HashMap::new(),
        }
    }

    fn typed(&self, value: ValueId) -> String {
        let value = self.graph.value(value);
        format!("{}[{}]", value.dtype, sizes(value.shape.dims()))
    }

    /// Where a value is, after what it needs was written.
    fn value(&mut self, value: ValueId) -> String {
        let mut open = vec![value];
        while let Some(&next) = open.last() {
            let node = self.graph.node(self.graph.value(next).node);
            let missing = node
                .inputs
                .iter()
                .find(|input| !self.places.contains_key(*input));
            match missing {
                _ if self.places.contains_key(&next) => {
                    open.pop();
                }
                // Of maps, the order of the inputs is found out by looking into them.
                Some(missing) if !matches!(node.op, Op::Map { .. }) => open.push(*missing),
                _ => {
                    let id = self.graph.value(next).node;
                    self.node(id);
                }
            }
        }
        self.places[&value].clone()
    }

    fn node(&mut self, id: tfod_graph::NodeId) {
        let node = self.graph.node(id);
        let tensor = |data: &[u8]| {
            let sum = data
                .iter()
                .fold(0u64, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte));
            format!("tensor of {} bytes, {sum:x}", data.len())
        };
        let mut inputs = node.inputs.clone();
        let op = match &node.op {
            Op::Input => {
                let value = node.outputs[0];
                self.used.push(value);
                let place = format!("arg{}", self.used.len());
                self.places.insert(value, place);
                return;
            }
            // Joining one is no operation of TensorFlow.
            Op::Concat { .. } if inputs.len() == 1 => {
                let place = self.value(inputs[0]);
                self.places.insert(node.outputs[0], place);
                return;
            }
            Op::Constant(constant) => tensor(constant.data()),
            Op::Parameter(id) => tensor(&self.weights.get(*id).unwrap().data),
            // Averages over areas know no centres.
            Op::Resize {
                method: ResizeMethod::Area,
                size,
                grid: PixelGrid::Centers,
            } => anonymous(&Op::Resize {
                method: ResizeMethod::Area,
                size: size.clone(),
                grid: PixelGrid::Corners,
            }),
            Op::Map {
                body,
                inputs: kinds,
            } => {
                let none = Weights::default();
                let mut form = Form::new(body, &none);
                let items = body.outputs().iter().map(|output| output.value);
                let items: Vec<String> = items.map(|value| form.value(value)).collect();
                let at = |used: &ValueId| {
                    body.inputs()
                        .iter()
                        .position(|input| input == used)
                        .unwrap()
                };
                let order: Vec<usize> = form.used.iter().map(at).collect();
                let kinds = order.iter().map(|at| match kinds[*at] {
                    MapInput::Sliced => "sliced",
                    MapInput::Whole => "whole",
                });
                let kinds: Vec<&str> = kinds.collect();
                inputs = order.iter().map(|at| node.inputs[*at]).collect();
                format!("map {kinds:?} {items:?} {{\n{}}}", form.text)
            }
            // Of vectors, it is a sum.
            Op::BiasAdd if self.graph.value(inputs[0]).shape.rank() < 2 => {
                format!("{:?}", Op::Binary(Binary::Add))
            }
            op => anonymous(op),
        };
        let inputs: Vec<String> = inputs.iter().map(|input| self.value(*input)).collect();
        let types: Vec<String> = node
            .outputs
            .iter()
            .map(|value| self.typed(*value))
            .collect();
        let line = format!("{} = {op}({})", types.join(", "), inputs.join(", "));
        // What is written alike is one node.
        let next = self.lines.len() + 1;
        let number = *self.lines.entry(line.clone()).or_insert(next);
        if number == next {
            let _ = writeln!(self.text, "%{number} {line}");
        }
        for (index, output) in node.outputs.iter().enumerate() {
            self.places.insert(*output, format!("%{number}.{index}"));
        }
    }
}
