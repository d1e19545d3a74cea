//! The functions of a file's object graph: what Python calls by name, with or without a signature.
//!
//! A function of Python is several concrete ones, one for each set of specs that it was called with; a concrete function is one of the library, whose
//! last arguments are what it captures: variables, constants, tables.

use std::collections::{HashSet, VecDeque};

use tfod_checkpoint::DType;
use tfod_proto::structured_value::Kind as Structure;
use tfod_proto::{
    SavedConcreteFunction, SavedObjectGraph, StructuredValue, TensorShapeProto, TensorSpecProto,
    TypeSpecProto, saved_object::Kind,
};

use super::data_type::type_name;
use super::frozen::shape_of;
use super::model::component_name;

/// Longer lists of functions are cut.
const MAX_LISTED: usize = 24;

/// The key of a result, and its spec.
type Keyed<'s> = (String, Option<&'s TensorSpecProto>);

/// A concrete function, by the path to the function that it belongs to.
#[derive(Debug)]
pub(crate) struct Concrete<'s> {
    /// The path from the root: `__call__`, `encoder.embed`.
    pub(crate) path: String,
    /// The function of the library.
    pub(crate) name: &'s str,
    pub(crate) function: &'s SavedConcreteFunction,
}

impl Concrete<'_> {
    /// The path with the specs of its arguments: `__call__(x: float32 [?, 4])`.
    pub(crate) fn label(&self) -> String {
        let specs: Vec<String> = self.arguments().into_iter().map(spec_text).collect();
        format!("{}({})", self.path, specs.join(", "))
    }

    /// The specs of its arguments that are tensors, in their order.
    pub(crate) fn arguments(&self) -> Vec<&TensorSpecProto> {
        let mut specs = Vec::new();
        if let Some(signature) = &self.function.canonicalized_input_signature {
            leaves(signature, "", &mut |_, leaf| {
                if let Structure::TensorSpecValue(spec) = leaf {
                    specs.push(spec);
                }
            });
        }
        specs
    }

    /// The keys and specs of its results, in their order, if it has `count` of them. A single tensor is `output_0`, as in signatures; a sparse or ragged one
    /// is its components. Where the file tells of another number, only their places are known.
    pub(crate) fn results(&self, count: usize) -> Vec<Keyed<'_>> {
        let whole = self.leaves_of_results(|key, _, found| found.push((key, None)));
        if whole.len() == count {
            return whole;
        }
        let parts = self.leaves_of_results(|key, spec, found| {
            let class = u64::try_from(spec.type_spec_class).ok();
            let parts = usize::try_from(spec.num_flat_components).unwrap_or(0);
            // More than there are in all are not looked at.
            for index in 0..parts.min(count + 1) {
                found.push((format!("{key}/{}", component_name(class, index)), None));
            }
        });
        if parts.len() == count {
            return parts;
        }
        (0..count)
            .map(|index| (format!("output_{index}"), None))
            .collect()
    }

    fn leaves_of_results(
        &self,
        mut composite: impl FnMut(String, &TypeSpecProto, &mut Vec<Keyed<'_>>),
    ) -> Vec<Keyed<'_>> {
        let mut results = Vec::new();
        if let Some(signature) = &self.function.output_signature {
            leaves(signature, "", &mut |path, leaf| match leaf {
                Structure::NoneValue(_) => {}
                Structure::TensorSpecValue(spec) => results.push((key(path), Some(spec))),
                Structure::TypeSpecValue(spec) => composite(key(path), spec, &mut results),
                _ => results.push((key(path), None)),
            });
        }
        results
    }
}

fn key(path: &str) -> String {
    match path {
        "" => "output_0".to_owned(),
        path if path.bytes().all(|byte| byte.is_ascii_digit()) => format!("output_{path}"),
        path => path.to_owned(),
    }
}

fn spec_text(spec: &TensorSpecProto) -> String {
    let shape = match spec.shape.as_ref().and_then(shape_of) {
        None => "[...]".to_owned(),
        Some(dims) => {
            let dim = |dim: Option<u64>| dim.map_or_else(|| "?".to_owned(), |n| n.to_string());
            format!(
                "[{}]",
                dims.into_iter().map(dim).collect::<Vec<_>>().join(", ")
            )
        }
    };
    let text = format!("{} {shape}", type_name(spec.dtype));
    match spec.name.as_str() {
        "" => text,
        name => format!("{name}: {text}"),
    }
}

/// Visits what a structure is made of, with the path to each part. Messages of structures are not nested deeper than their decoder allows.
fn leaves<'s>(value: &'s StructuredValue, path: &str, visit: &mut dyn FnMut(&str, &'s Structure)) {
    let inner = |name: &str| match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    };
    let listed = |values: &'s [StructuredValue], visit: &mut dyn FnMut(&str, &'s Structure)| {
        for (index, value) in values.iter().enumerate() {
            leaves(value, &inner(&index.to_string()), visit);
        }
    };
    match &value.kind {
        Some(Structure::ListValue(list)) => listed(&list.values, visit),
        Some(Structure::TupleValue(tuple)) => listed(&tuple.values, visit),
        Some(Structure::DictValue(dict)) => {
            for (name, value) in &dict.fields {
                leaves(value, &inner(name), visit);
            }
        }
        Some(Structure::NamedTupleValue(tuple)) => {
            for pair in &tuple.values {
                if let Some(value) = &pair.value {
                    leaves(value, &inner(&pair.key), visit);
                }
            }
        }
        Some(leaf) => visit(path, leaf),
        // A kind that is not read here.
        None => visit(path, &Structure::BoolValue(false)),
    }
}

/// All concrete functions that a path leads to, but those of signatures.
pub(crate) fn functions(saved: &SavedObjectGraph) -> Vec<Concrete<'_>> {
    let mut found = Vec::new();
    let mut seen = HashSet::from([0]);
    let mut queue = VecDeque::from([(0, String::new())]);
    while let Some((id, path)) = queue.pop_front() {
        let object = usize::try_from(id).ok().and_then(|id| saved.nodes.get(id));
        let Some(object) = object else { continue };
        let names: &[String] = match &object.kind {
            Some(Kind::Function(function)) => &function.concrete_functions,
            Some(Kind::BareConcreteFunction(function)) => {
                std::slice::from_ref(&function.concrete_function_name)
            }
            _ => &[],
        };
        for name in names {
            if let Some((name, function)) = saved.concrete_functions.get_key_value(name) {
                let path = path.clone();
                found.push(Concrete {
                    path,
                    name,
                    function,
                });
            }
        }
        // A function's children are its concrete functions once more.
        if !names.is_empty() {
            continue;
        }
        for child in &object.children {
            let is_signature = path.is_empty() && child.local_name == "signatures";
            if !is_signature && seen.insert(child.node_id) {
                let path = match path.as_str() {
                    "" => child.local_name.clone(),
                    path => format!("{path}.{}", child.local_name),
                };
                queue.push_back((child.node_id, path));
            }
        }
    }
    found
}

/// The functions for people, those at the root first.
pub(crate) fn listed(saved: &SavedObjectGraph) -> Vec<String> {
    let mut functions = functions(saved);
    functions.retain(|function| !function.path.starts_with("keras_api."));
    let more = functions.len().saturating_sub(MAX_LISTED);
    functions.truncate(MAX_LISTED);
    let mut listed: Vec<String> = functions.iter().map(Concrete::label).collect();
    if more > 0 {
        listed.push(format!("{more} more"));
    }
    listed
}

/// The functions that a name means: a concrete function's own, a path, or a path with specs.
pub(crate) fn named<'s>(saved: &'s SavedObjectGraph, name: &str) -> Vec<Concrete<'s>> {
    let bare = |text: &str| text.split_whitespace().collect::<String>();
    let wanted = bare(name);
    let is_meant = |function: &Concrete<'_>| {
        function.name == name || function.path == name || bare(&function.label()) == wanted
    };
    functions(saved).into_iter().filter(is_meant).collect()
}

/// The type and shape of a spec.
pub(crate) fn spec_parts(
    spec: Option<&TensorSpecProto>,
) -> (Option<DType>, Option<&TensorShapeProto>) {
    let dtype = spec.and_then(|spec| DType::from_proto(spec.dtype));
    (dtype, spec.and_then(|spec| spec.shape.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tfod_proto::{
        DictValue, NoneValue, SavedFunction, SavedObject, TupleValue,
        saved_object::ObjectReference, tensor_shape_proto::Dim,
    };

    fn structure(kind: Structure) -> StructuredValue {
        StructuredValue { kind: Some(kind) }
    }

    fn spec(name: &str, sizes: &[i64]) -> StructuredValue {
        let dim = |&size: &i64| Dim {
            size,
            name: String::new(),
        };
        structure(Structure::TensorSpecValue(TensorSpecProto {
            name: name.to_owned(),
            shape: Some(TensorShapeProto {
                dim: sizes.iter().map(dim).collect(),
                unknown_rank: false,
            }),
            dtype: 1,
        }))
    }

    fn object(children: &[(&str, i32)], functions: &[&str]) -> SavedObject {
        let child = |&(name, node_id): &(&str, i32)| ObjectReference {
            node_id,
            local_name: name.to_owned(),
        };
        let function = SavedFunction {
            concrete_functions: functions.iter().map(|&name| name.to_owned()).collect(),
            function_spec: None,
        };
        SavedObject {
            children: children.iter().map(child).collect(),
            kind: (!functions.is_empty()).then_some(Kind::Function(function)),
        }
    }

    /// A root with `embed` of two concrete functions, a module with another function that leads back to the root, and signatures.
    fn saved() -> SavedObjectGraph {
        let concrete = |sizes: &[i64]| {
            let arguments = TupleValue {
                values: vec![spec("x", sizes)],
            };
            let results = [
                (
                    "b".to_owned(),
                    structure(Structure::NoneValue(NoneValue::default())),
                ),
                ("a".to_owned(), spec("", sizes)),
            ];
            SavedConcreteFunction {
                bound_inputs: Vec::new(),
                canonicalized_input_signature: Some(structure(Structure::TupleValue(arguments))),
                output_signature: Some(structure(Structure::DictValue(DictValue {
                    fields: results.into(),
                }))),
            }
        };
        let named = [
            ("f_1".to_owned(), concrete(&[-1, 4])),
            ("f_2".to_owned(), concrete(&[2, 4])),
            ("g_1".to_owned(), concrete(&[3])),
        ];
        SavedObjectGraph {
            nodes: vec![
                object(&[("encoder", 1), ("embed", 2), ("signatures", 3)], &[]),
                object(&[("run", 4), ("parent", 0), ("lost", 99)], &[]),
                object(&[], &["f_1", "f_2", "missing"]),
                object(&[("serving_default", 2)], &[]),
                object(&[], &["g_1"]),
            ],
            concrete_functions: named.into(),
        }
    }

    #[test]
    fn functions_are_listed_by_their_paths_those_at_the_root_first() {
        let listed = listed(&saved());
        assert_eq!(
            listed,
            [
                "embed(x: float32 [?, 4])",
                "embed(x: float32 [2, 4])",
                "encoder.run(x: float32 [3])"
            ]
        );
    }

    #[test]
    fn a_name_is_a_path_a_path_with_specs_or_a_function_of_the_library() {
        let saved = saved();
        let found = |name: &str| -> Vec<String> {
            let found = named(&saved, name).into_iter();
            found.map(|function| function.name.to_owned()).collect()
        };
        assert_eq!(found("embed"), ["f_1", "f_2"]);
        assert_eq!(found("embed(x:float32[2,4])"), ["f_2"]);
        assert_eq!(found("g_1"), ["g_1"]);
        assert!(found("signatures.serving_default").is_empty());
    }

    #[test]
    fn results_are_leaves_without_those_that_are_none() {
        let saved = saved();
        let found = named(&saved, "encoder.run");
        let keys: Vec<String> = found[0]
            .results(1)
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        assert_eq!(keys, ["a"]);
        assert_eq!(
            (key(""), key("1"), key("x.0")),
            ("output_0".into(), "output_1".into(), "x.0".into())
        );
    }

    #[test]
    fn ragged_and_sparse_results_are_their_components() {
        let composite = |type_spec_class, num_flat_components| {
            structure(Structure::TypeSpecValue(TypeSpecProto {
                type_spec_class,
                num_flat_components,
            }))
        };
        let fields = [
            ("dense".to_owned(), spec("", &[3])),
            ("rows".to_owned(), composite(3, 3)),
            ("sparse".to_owned(), composite(1, 3)),
        ];
        let function = SavedConcreteFunction {
            bound_inputs: Vec::new(),
            canonicalized_input_signature: None,
            output_signature: Some(structure(Structure::DictValue(DictValue {
                fields: fields.into(),
            }))),
        };
        let concrete = Concrete {
            path: String::new(),
            name: "",
            function: &function,
        };
        let keys = |count| -> Vec<String> {
            let results = concrete.results(count).into_iter();
            results.map(|(key, _)| key).collect()
        };
        let expected = [
            "dense",
            "rows/values",
            "rows/row_splits",
            "rows/row_splits_1",
            "sparse/indices",
            "sparse/values",
            "sparse/dense_shape",
        ];
        assert_eq!(keys(7), expected);
        assert!(concrete.results(7)[0].1.is_some());
        // What is one tensor after all keeps its key.
        assert_eq!(keys(3), ["dense", "rows", "sparse"]);
        assert_eq!(keys(2), ["output_0", "output_1"]);
    }
}
