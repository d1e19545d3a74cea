//! Structured values: how a SavedModel writes the Python side of a function's signature. Specified by TensorFlow's `struct.proto`.
//!
//! Readers insist on every part of these, so empty lists and absent values are written as such.

use tfod_proto::structured_value::Kind;
use tfod_proto::{
    DictValue, FunctionSpec, ListValue, NamedTupleValue, NoneValue, PairValue, StructuredValue,
    TensorSpecProto, TupleValue,
};

use super::signature::TensorSpec;

fn value(kind: Kind) -> StructuredValue {
    StructuredValue { kind: Some(kind) }
}

pub(crate) fn none() -> StructuredValue {
    value(Kind::NoneValue(NoneValue {}))
}

fn list(values: Vec<StructuredValue>) -> StructuredValue {
    value(Kind::ListValue(ListValue { values }))
}

fn names<'a>(names: impl IntoIterator<Item = &'a TensorSpec>) -> StructuredValue {
    let text = |spec: &TensorSpec| value(Kind::StringValue(spec.name.clone()));
    list(names.into_iter().map(text).collect())
}

pub(crate) fn tuple(values: Vec<StructuredValue>) -> StructuredValue {
    value(Kind::TupleValue(TupleValue { values }))
}

/// A dictionary of tensors by their names.
pub(crate) fn dict<'a>(specs: impl IntoIterator<Item = &'a TensorSpec>) -> StructuredValue {
    let fields = specs
        .into_iter()
        .map(|spec| (spec.name.clone(), tensor(spec)));
    value(Kind::DictValue(DictValue {
        fields: fields.collect(),
    }))
}

/// A tuple of tensors.
pub(crate) fn tensors<'a>(specs: impl IntoIterator<Item = &'a TensorSpec>) -> StructuredValue {
    tuple(specs.into_iter().map(tensor).collect())
}

fn tensor(spec: &TensorSpec) -> StructuredValue {
    value(Kind::TensorSpecValue(TensorSpecProto {
        name: spec.name.clone(),
        shape: Some(spec.shape.clone()),
        dtype: spec.dtype.into(),
    }))
}

/// A Python function's arguments: positional ones, and ones given by keyword only.
pub(crate) fn function_spec(
    positional: &[TensorSpec],
    keyword: &[TensorSpec],
    input_signature: StructuredValue,
) -> FunctionSpec {
    let fields = [
        ("args", names(positional)),
        ("varargs", none()),
        ("varkw", none()),
        ("defaults", none()),
        ("kwonlyargs", names(keyword)),
        ("kwonlydefaults", none()),
        ("annotations", dict([])),
    ];
    let pair = |(key, value): (&str, StructuredValue)| PairValue {
        key: key.to_owned(),
        value: Some(value),
    };
    let full_arg_spec = NamedTupleValue {
        name: "FullArgSpec".to_owned(),
        values: fields.map(pair).into(),
    };
    FunctionSpec {
        fullargspec: Some(value(Kind::NamedTupleValue(full_arg_spec))),
        is_method: false,
        input_signature: Some(input_signature),
    }
}
