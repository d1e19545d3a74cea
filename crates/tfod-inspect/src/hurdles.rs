//! What makes a model hard for tools other than the framework it was made with: converters, compilers, runtimes on devices.
//!
//! A table of kinds of operations with the reason, applied to the operations that a model has; and what its inputs ask for.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tfod_checkpoint::DType;
use tfod_models::GraphOption;
use tfod_tensorflow::op_defs;

use crate::graph::{Dim, Port};

/// Something that other tools may not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hurdle {
    /// Its name: `loops`.
    pub kind: &'static str,
    /// What there is of it, in words.
    pub found: String,
    /// Why it matters.
    pub reason: &'static str,
    /// The options of an export that avoid it.
    pub avoided_by: &'static [GraphOption],
}

impl Hurdle {
    pub(crate) fn json(&self) -> Value {
        json!({ "kind": self.kind, "found": self.found, "reason": self.reason })
    }
}

/// A kind of operation: name, reason, operations; `*` at the end stands for any ending.
type OperationKind = (&'static str, &'static str, &'static [&'static str]);

const TENSORFLOW: [OperationKind; 12] = [
    (
        "loops",
        "few converters and compilers for devices take loops",
        &[
            "While",
            "StatelessWhile",
            "Enter",
            "RefEnter",
            "For",
            "MapDefun",
        ],
    ),
    (
        "conditionals",
        "both branches have to be converted, and chosen at run time",
        &[
            "If",
            "StatelessIf",
            "Case",
            "StatelessCase",
            "Switch",
            "RefSwitch",
        ],
    ),
    (
        "tensor lists",
        "lists of tensors whose number is known only at run time; most runtimes have no such type",
        &["TensorList*", "TensorArray*", "EmptyTensorList"],
    ),
    (
        "strings",
        "few runtimes outside TensorFlow have strings, or decode images",
        &[
            "String*",
            "Substr",
            "AsString",
            "Decode*",
            "Encode*",
            "Parse*",
            "ReadFile",
            "WriteFile",
            "Regex*",
            "StaticRegex*",
            "Unicode*",
            "ReduceJoin*",
            "PrintV2",
            "Print",
        ],
    ),
    (
        "tables",
        "tables have to be filled before the model runs",
        &[
            "HashTable*",
            "MutableHashTable*",
            "LookupTable*",
            "InitializeTable*",
            "AnonymousHashTable",
            "AnonymousMutable*",
        ],
    ),
    (
        "variables",
        "weights are outside of the graph; freeze it first",
        &[
            "VarHandleOp",
            "VariableV2",
            "Variable",
            "ReadVariableOp",
            "RestoreV2",
        ],
    ),
    (
        "function calls",
        "they have to be inlined first, as freezing does",
        &[
            "PartitionedCall",
            "StatefulPartitionedCall",
            "SymbolicGradient",
            "RemoteCall",
        ],
    ),
    (
        "Python code",
        "it runs only in the Python process that made the graph",
        &["PyFunc", "PyFuncStateless", "EagerPyFunc"],
    ),
    (
        "suppression",
        "how many boxes remain is known only at run time; runtimes differ in which forms of it they have",
        &["NonMaxSuppression*", "CombinedNonMaxSuppression"],
    ),
    (
        "shapes from data",
        "the size of the result depends on the values, which compilers for devices refuse",
        &[
            "Where",
            "Unique*",
            "DynamicPartition",
            "SparseToDense",
            "RaggedRange",
        ],
    ),
    (
        "random numbers",
        "results differ from run to run and from runtime to runtime",
        &[
            "Random*",
            "TruncatedNormal",
            "StatelessRandom*",
            "Multinomial",
        ],
    ),
    (
        "checks",
        "assertions that other runtimes lack",
        &["Assert", "CheckNumerics*"],
    ),
];

const ONNX: [OperationKind; 6] = [
    (
        "loops",
        "few compilers for devices take loops",
        &["Loop", "Scan", "SequenceMap"],
    ),
    (
        "conditionals",
        "both branches have to be compiled, and chosen at run time",
        &["If"],
    ),
    (
        "sequences",
        "lists of tensors whose number is known only at run time",
        &[
            "Sequence*",
            "SplitToSequence",
            "ConcatFromSequence",
            "Optional*",
        ],
    ),
    (
        "suppression",
        "how many boxes remain is known only at run time",
        &["NonMaxSuppression"],
    ),
    (
        "shapes from data",
        "the size of the result depends on the values, which compilers for devices refuse",
        &["NonZero", "Unique", "Compress"],
    ),
    (
        "strings",
        "few runtimes have strings",
        &[
            "String*",
            "RegexFullMatch",
            "TfIdfVectorizer",
            "ImageDecoder",
        ],
    ),
];

fn is_of(pattern: &str, op: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => op.starts_with(start),
        None => op == pattern,
    }
}

fn of_kinds(kinds: &[OperationKind], ops: &BTreeMap<String, u64>) -> Vec<Hurdle> {
    let hurdle = |(kind, reason, patterns): &OperationKind| {
        let found = ops
            .iter()
            .filter(|(op, _)| patterns.iter().any(|p| is_of(p, op)));
        let found: Vec<String> = found.map(|(op, count)| format!("{count} {op}")).collect();
        (!found.is_empty()).then(|| Hurdle {
            kind,
            found: found.join(", "),
            reason,
            avoided_by: &[],
        })
    };
    kinds.iter().filter_map(hurdle).collect()
}

/// How many inputs are named.
const SHOWN: usize = 8;

fn of_inputs(inputs: &[&Port]) -> Vec<Hurdle> {
    let of = |kind, reason, avoided_by, is: &dyn Fn(&Port) -> bool| {
        let found = || inputs.iter().filter(|input| is(input));
        let named: Vec<String> = found()
            .take(SHOWN)
            .map(|input| format!("{} {} {}", input.key, input.type_name(), input.shape_text()))
            .collect();
        let more = if found().nth(SHOWN).is_some() {
            ", …"
        } else {
            ""
        };
        (!named.is_empty()).then(|| Hurdle {
            kind,
            found: named.join(", ") + more,
            reason,
            avoided_by,
        })
    };
    let is_dynamic = |input: &Port| {
        let dims = input.shape.as_ref();
        dims.is_none_or(|dims| dims.iter().any(|dim| matches!(dim, Dim::Unknown(_))))
    };
    let hurdles = [
        of(
            "dynamic shapes",
            "sizes are known only at run time; compilers for devices want numbers",
            &[GraphOption::Batch, GraphOption::InputSize],
            &is_dynamic,
        ),
        of(
            "bytes as input",
            "some runtimes take only floats",
            &[GraphOption::FloatInput],
            &|input| input.dtype == Some(DType::UInt8),
        ),
        of(
            "strings as input",
            "few runtimes outside TensorFlow have strings",
            &[],
            &|input| input.dtype == Some(DType::String),
        ),
    ];
    hurdles.into_iter().flatten().collect()
}

/// Those of a TensorFlow graph that is given `inputs`.
pub(crate) fn of_tensorflow(ops: &BTreeMap<String, u64>, inputs: &[&Port]) -> Vec<Hurdle> {
    let mut hurdles = of_kinds(&TENSORFLOW, ops);
    let custom = ops.iter().filter(|(op, _)| op_defs::find(op).is_none());
    let custom: Vec<String> = custom.map(|(op, count)| format!("{count} {op}")).collect();
    if !custom.is_empty() {
        hurdles.push(Hurdle {
            kind: "custom operations",
            found: custom.join(", "),
            reason: "no release of TensorFlow has them; the library that they came with has to be loaded",
            avoided_by: &[],
        });
    }
    hurdles.extend(of_inputs(inputs));
    hurdles
}

/// Those of an ONNX model.
pub(crate) fn of_onnx(ops: &BTreeMap<String, u64>, inputs: &[Port], external: bool) -> Vec<Hurdle> {
    let mut hurdles = of_kinds(&ONNX, ops);
    let other = ops.iter().filter(|(op, _)| op.contains("::"));
    let other: Vec<String> = other.map(|(op, count)| format!("{count} {op}")).collect();
    if !other.is_empty() {
        hurdles.push(Hurdle {
            kind: "other domains",
            found: other.join(", "),
            reason: "these operators are not of the standard",
            avoided_by: &[],
        });
    }
    if external {
        hurdles.push(Hurdle {
            kind: "external data",
            found: "weights in files of their own".to_owned(),
            reason: "the files have to stay beside the model",
            avoided_by: &[],
        });
    }
    hurdles.extend(of_inputs(&inputs.iter().collect::<Vec<_>>()));
    hurdles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_of_the_table_exist() {
        for (kind, _, patterns) in TENSORFLOW {
            for pattern in patterns.iter().filter(|p| !p.ends_with('*')) {
                assert!(op_defs::find(pattern).is_some(), "{kind}: {pattern}");
            }
        }
    }

    #[test]
    fn reasons_name_no_command() {
        for (kind, reason, _) in TENSORFLOW.iter().chain(&ONNX) {
            assert!(!reason.contains("tfod"), "{kind}: {reason}");
        }
    }

    #[test]
    fn kinds_are_found() {
        let ops = [
            ("While", 2),
            ("TensorListReserve", 4),
            ("Add", 9),
            ("MyOp", 1),
        ];
        let ops = ops.map(|(op, count)| (op.to_owned(), count)).into();
        let kinds: Vec<_> = of_tensorflow(&ops, &[])
            .into_iter()
            .map(|h| h.kind)
            .collect();
        assert_eq!(kinds, ["loops", "tensor lists", "custom operations"]);
    }
}
