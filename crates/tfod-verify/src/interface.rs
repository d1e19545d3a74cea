//! What goes into two models and comes out of them.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use serde_json::{Value, json};

use tfod_inspect::{Dim, Facts, MetaGraph, Port};

use tfod_text::Shown;

use crate::Outcome;

/// The result of comparing interfaces.
#[derive(Clone, Debug)]
pub struct InterfaceResult {
    /// In short.
    pub outcome: Outcome,
    /// How inputs and outputs were matched, in words; why they were not compared.
    pub how: &'static str,
    /// What differs.
    pub differences: Vec<String>,
    /// Outputs of which one of the two knows more of the shape than the other, which is no difference.
    pub notes: Vec<String>,
}

impl InterfaceResult {
    pub(crate) fn json(&self) -> Value {
        json!({
            "outcome": self.outcome.name(),
            "matched": self.how,
            "differences": self.differences,
            "notes": self.notes,
        })
    }
}

/// Inputs and outputs by signature; the key is empty where the format has no signatures.
type Signatures<'a> = BTreeMap<String, (Vec<&'a Port>, Vec<&'a Port>)>;

/// The signature that is meant where none is named: `serving_default`, or the only one.
fn default_of<'a>(signatures: &Signatures<'a>) -> Option<(Vec<&'a Port>, Vec<&'a Port>)> {
    let only = signatures.values().next().filter(|_| signatures.len() == 1);
    signatures.get("serving_default").or(only).cloned()
}

fn of_meta(meta: &MetaGraph) -> Signatures<'_> {
    let signatures = meta.signatures.iter();
    signatures
        .filter(|(key, _)| !key.starts_with("__saved_model"))
        .map(|(key, of)| {
            (
                key.clone(),
                (of.inputs.iter().collect(), of.outputs.iter().collect()),
            )
        })
        .collect()
}

/// The interface of one model.
fn signatures(facts: &Facts) -> Signatures<'_> {
    match facts {
        Facts::SavedModel(model) => {
            let mut all = Signatures::new();
            for (index, meta) in model.graphs.iter().enumerate() {
                // The first graph is what is meant where no tags are given.
                let tags = format!("{}: ", meta.tags.join(","));
                let tags = if index == 0 { "" } else { &tags };
                let keyed = of_meta(meta).into_iter();
                all.extend(keyed.map(|(key, of)| (format!("{tags}{key}"), of)));
            }
            all
        }
        Facts::MetaGraph(meta) => of_meta(meta),
        Facts::Graph(graph) => {
            // `Identity`, `Identity_1`, …: in the order of the signature's keys.
            let mut outputs: Vec<&Port> = graph.outputs.iter().collect();
            outputs.sort_by_key(|port| numbered(&port.key));
            BTreeMap::from([(String::new(), (graph.inputs.iter().collect(), outputs))])
        }
        Facts::Onnx(onnx) => BTreeMap::from([(
            String::new(),
            (onnx.inputs.iter().collect(), onnx.outputs.iter().collect()),
        )]),
        Facts::Tflite(model) => BTreeMap::from([(
            String::new(),
            (
                model.inputs.iter().collect(),
                model.outputs.iter().collect(),
            ),
        )]),
        Facts::Checkpoint(_) | Facts::Config(_) | Facts::Export(_) => BTreeMap::new(),
    }
}

/// A name as its beginning and the number at its end.
fn numbered(name: &str) -> (&str, u64) {
    let parts = name.rsplit_once('_');
    let number = parts.and_then(|(start, number)| Some((start, number.parse().ok()?)));
    number.unwrap_or((name, 0))
}

/// The operations of a model.
pub(crate) fn ops(facts: &Facts) -> BTreeMap<String, u64> {
    match facts {
        Facts::SavedModel(model) => model.ops(),
        Facts::MetaGraph(meta) => meta.graph.ops.clone(),
        Facts::Graph(graph) => graph.ops.clone(),
        Facts::Onnx(onnx) => onnx.ops.clone(),
        Facts::Tflite(model) => model.ops.clone(),
        Facts::Checkpoint(_) | Facts::Config(_) | Facts::Export(_) => BTreeMap::new(),
    }
}

/// Compares the interfaces of two models.
pub(crate) fn compare(a: &Facts, b: &Facts) -> InterfaceResult {
    let not = |how| InterfaceResult {
        outcome: Outcome::NotCompared,
        how,
        differences: Vec::new(),
        notes: Vec::new(),
    };
    if matches!(a, Facts::Checkpoint(_)) || matches!(b, Facts::Checkpoint(_)) {
        return not("a checkpoint has no interface");
    }
    let (mut first, mut second) = (signatures(a), signatures(b));
    // Where only one side has signatures, its default one is what the other side is.
    let (is_plain, is_other_plain) = (first.contains_key(""), second.contains_key(""));
    if is_plain != is_other_plain {
        let keyed = if is_plain { &mut second } else { &mut first };
        let Some(signature) = default_of(keyed) else {
            return not("one has no signature `serving_default`");
        };
        *keyed = BTreeMap::from([(String::new(), signature)]);
    }
    // One format may say what another leaves open; but what two of one format say is to be compared.
    let is_strict = a.kind() == b.kind() && !matches!(a, Facts::Graph(_));
    let is_fixed = |facts: &Facts| matches!(facts, Facts::Tflite(_));
    let is_fixed = is_fixed(a) != is_fixed(b);
    let (mut differences, mut notes) = (Vec::new(), Vec::new());
    let mut how = "by key";
    for key in first.keys().filter(|key| !second.contains_key(*key)) {
        differences.push(format!("signature `{}` is only in the first", key.shown()));
    }
    for key in second.keys().filter(|key| !first.contains_key(*key)) {
        differences.push(format!("signature `{}` is only in the second", key.shown()));
    }
    for (key, (inputs, outputs)) in &first {
        let Some((other_inputs, other_outputs)) = second.get(key) else {
            continue;
        };
        for (what, x, y) in [
            (INPUT, inputs, other_inputs),
            (OUTPUT, outputs, other_outputs),
        ] {
            let mut found = Found {
                what,
                is_strict,
                is_fixed,
                differences: &mut differences,
                notes: &mut notes,
            };
            if found.ports(x, y) == By::Position {
                how = "by key where keys agree, else by position: a graph without signature has its outputs in the order of their keys";
            }
        }
    }
    // A graph without signature does not say what its outputs are: those are taken for it that nothing reads.
    let is_guessed = matches!(a, Facts::Graph(_)) != matches!(b, Facts::Graph(_));
    let is_guess = |difference: &String| is_guessed && difference.contains(" is only in the ");
    InterfaceResult {
        outcome: if differences.is_empty() {
            Outcome::Same
        } else if differences.iter().all(is_guess) {
            Outcome::Undecided
        } else {
            Outcome::Different
        },
        how,
        differences,
        notes,
    }
}

#[derive(PartialEq)]
enum By {
    Key,
    Position,
}

const INPUT: &str = "input";
const OUTPUT: &str = "output";

/// What is found while inputs, or outputs, are compared.
struct Found<'f> {
    /// [`INPUT`] or [`OUTPUT`].
    what: &'static str,
    /// Whether what only one of the two says counts as a difference.
    is_strict: bool,
    /// Whether one of the two is of a format that takes one size where others may take any.
    is_fixed: bool,
    differences: &'f mut Vec<String>,
    notes: &'f mut Vec<String>,
}

impl Found<'_> {
    fn ports(&mut self, a: &[&Port], b: &[&Port]) -> By {
        let what = self.what;
        let keys: HashSet<&str> = b.iter().map(|port| &*port.key).collect();
        if !a.is_empty() && a.len() == b.len() && !a.iter().any(|port| keys.contains(&*port.key)) {
            for (x, y) in a.iter().zip(b) {
                self.port(x, y);
            }
            return By::Position;
        }
        // Where several have one key, which a damaged file may say, the first is the first's.
        let mut left: HashMap<&str, VecDeque<&Port>> = HashMap::new();
        for y in b {
            left.entry(&y.key).or_default().push_back(y);
        }
        for x in a {
            match left.get_mut(&*x.key).and_then(VecDeque::pop_front) {
                Some(y) => self.port(x, y),
                None => self
                    .differences
                    .push(format!("{what} `{}` is only in the first", x.key.shown())),
            }
        }
        for y in b {
            if let Some(y) = left.get_mut(&*y.key).and_then(VecDeque::pop_front) {
                self.differences
                    .push(format!("{what} `{}` is only in the second", y.key.shown()));
            }
        }
        By::Key
    }

    fn port(&mut self, a: &Port, b: &Port) {
        let what = self.what;
        let name = if a.key == b.key {
            format!("`{}`", a.key.shown())
        } else {
            format!("`{}` / `{}`", a.key.shown(), b.key.shown())
        };
        let is_apart = match (a.dtype, b.dtype) {
            (Some(x), Some(y)) => x != y,
            (None, None) => false,
            _ => self.is_strict,
        };
        if is_apart {
            let shown = |port: &Port| {
                let unknown = || "a type that is not known".to_owned();
                port.dtype.map_or_else(unknown, |dtype| dtype.to_string())
            };
            let (x, y) = (shown(a), shown(b));
            self.differences.push(format!("{what} {name}: {x} -> {y}"));
        }
        let (x, y) = (a.shape_text(), b.shape_text());
        match shapes(a, b, self.is_strict) {
            Shapes::Same => {}
            // An input that takes one size is not one that takes any.
            Shapes::Compatible if self.is_fixed && what == INPUT => self.notes.push(format!(
                "{what} {name}: {x} and {y}: a TFLite model takes one size"
            )),
            Shapes::Compatible if what == OUTPUT => self.notes.push(format!(
                "{what} {name}: {x} and {y} agree as far as both are known"
            )),
            Shapes::Compatible | Shapes::Different => {
                self.differences.push(format!("{what} {name}: {x} -> {y}"));
            }
        }
    }
}

/// How two shapes compare.
enum Shapes {
    Same,
    /// Where they differ, only one of the two has a number.
    Compatible,
    Different,
}

fn shapes(a: &Port, b: &Port, is_strict: bool) -> Shapes {
    let (x, y) = match (&a.shape, &b.shape) {
        (Some(x), Some(y)) if x.len() == y.len() => (x, y),
        (Some(_), Some(_)) => return Shapes::Different,
        (None, Some(_)) | (Some(_), None) if is_strict => return Shapes::Compatible,
        _ => return Shapes::Same,
    };
    let mut found = Shapes::Same;
    for dims in x.iter().zip(y) {
        match dims {
            (Dim::Known(x), Dim::Known(y)) if x != y => return Shapes::Different,
            (Dim::Known(_), Dim::Known(_)) | (Dim::Unknown(_), Dim::Unknown(_)) => {}
            _ => found = Shapes::Compatible,
        }
    }
    found
}
