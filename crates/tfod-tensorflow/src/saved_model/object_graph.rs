//! The objects that the V2 loader makes: a root with the variables, `__call__` and `signatures`.
//!
//! The same tree is written twice: into `saved_model.pb`, with what each object is, and into the bundle of the variables, with the key of
//! each variable. The loader walks both by the local names.

use std::collections::BTreeMap;

use tfod_checkpoint::{VARIABLE_VALUE, variable_key};
use tfod_graph::Shape;
use tfod_proto::saved_object::{Kind, ObjectReference};
use tfod_proto::trackable_object_graph::TrackableObject;
use tfod_proto::trackable_object_graph::trackable_object::{self, SerializedTensor};
use tfod_proto::{
    SavedBareConcreteFunction, SavedConcreteFunction, SavedFunction, SavedObject, SavedObjectGraph,
    SavedUserObject, SavedVariable, TrackableObjectGraph, VersionDef,
};

use super::signature::Signature;
use super::structured::{dict, function_spec, none, tensors, tuple};
use crate::lower::Variable;
use crate::lower::attrs::{data_type, shape_proto};

/// The key of a variable in the bundle.
pub(crate) fn key(variable: &Variable<'_>) -> String {
    variable_key(&[&variable.local_name])
}

/// An object's children: node id and local name.
type Children = Vec<(i32, String)>;

/// The numbers of the objects: the root is 0, the variables follow, then the others.
struct Ids {
    variables: i32,
}

impl Ids {
    fn new(variables: &[Variable<'_>]) -> Self {
        // Each variable has a node in the graph, and a graph has fewer than 2^32 nodes; a message of 2^31 would be too large.
        Self {
            variables: i32::try_from(variables.len()).unwrap_or(i32::MAX - 3),
        }
    }

    fn variables(&self) -> std::ops::RangeInclusive<i32> {
        1..=self.variables
    }

    fn call(&self) -> i32 {
        self.variables + 1
    }

    fn signatures(&self) -> i32 {
        self.variables + 2
    }

    fn signature(&self) -> i32 {
        self.variables + 3
    }
}

fn children_of_root(ids: &Ids, variables: &[Variable<'_>]) -> Children {
    let variables = ids
        .variables()
        .zip(variables)
        .map(|(id, v)| (id, v.local_name.clone()));
    let others = [
        (ids.call(), "__call__".to_owned()),
        (ids.signatures(), "signatures".to_owned()),
    ];
    variables.chain(others).collect()
}

fn children_of_signatures(ids: &Ids, signature: &Signature) -> Children {
    vec![(ids.signature(), signature.name.clone())]
}

/// For `saved_model.pb`.
pub(crate) fn saved(variables: &[Variable<'_>], signature: &Signature) -> SavedObjectGraph {
    let ids = Ids::new(variables);
    let mut nodes = vec![object(
        children_of_root(&ids, variables),
        user_object("_generic_user_object"),
    )];
    nodes.extend(variables.iter().map(|v| object(Vec::new(), variable(v))));
    nodes.push(object(Vec::new(), call(signature)));
    nodes.push(object(
        children_of_signatures(&ids, signature),
        user_object("signature_map"),
    ));
    nodes.push(object(Vec::new(), bare_function(signature)));

    let concrete = |canonical| SavedConcreteFunction {
        bound_inputs: ids.variables().collect(),
        canonicalized_input_signature: Some(canonical),
        output_signature: Some(dict(&signature.outputs)),
    };
    let positional = concrete(tuple(vec![tensors(&signature.positional), dict([])]));
    let keyword = concrete(tuple(vec![tensors([]), dict(&signature.keyword)]));
    SavedObjectGraph {
        nodes,
        concrete_functions: BTreeMap::from([
            (signature.call.clone(), positional),
            (signature.wrapper.clone(), keyword),
        ]),
    }
}

fn object(children: Children, kind: Kind) -> SavedObject {
    let reference = |(node_id, local_name)| ObjectReference {
        node_id,
        local_name,
    };
    SavedObject {
        children: children.into_iter().map(reference).collect(),
        kind: Some(kind),
    }
}

fn user_object(identifier: &str) -> Kind {
    Kind::UserObject(SavedUserObject {
        identifier: identifier.to_owned(),
        version: Some(VersionDef {
            producer: 1,
            min_consumer: 1,
            bad_consumers: Vec::new(),
        }),
    })
}

fn variable(variable: &Variable<'_>) -> Kind {
    Kind::Variable(SavedVariable {
        dtype: data_type(variable.dtype).into(),
        shape: Some(shape_proto(&Shape::known(variable.shape))),
        trainable: variable.trainable,
        name: variable.name.clone(),
    })
}

fn call(signature: &Signature) -> Kind {
    let inputs = &signature.positional;
    Kind::Function(SavedFunction {
        concrete_functions: vec![signature.call.clone()],
        function_spec: Some(function_spec(inputs, &[], tensors(inputs))),
    })
}

fn bare_function(signature: &Signature) -> Kind {
    let inputs = &signature.keyword;
    Kind::BareConcreteFunction(SavedBareConcreteFunction {
        concrete_function_name: signature.wrapper.clone(),
        argument_keywords: inputs.iter().map(|i| i.name.clone()).collect(),
        // One input can be given without its name, as there is no doubt which one is meant.
        allowed_positional_arguments: i64::from(inputs.len() == 1),
        function_spec: Some(function_spec(&[], inputs, none())),
    })
}

/// For the bundle.
pub(crate) fn trackable(variables: &[Variable<'_>], signature: &Signature) -> TrackableObjectGraph {
    let ids = Ids::new(variables);
    let mut nodes = vec![trackable_object(
        children_of_root(&ids, variables),
        Vec::new(),
    )];
    nodes.extend(variables.iter().map(|v| {
        let value = SerializedTensor {
            name: VARIABLE_VALUE.to_owned(),
            full_name: v.name.clone(),
            checkpoint_key: key(v),
        };
        trackable_object(Vec::new(), vec![value])
    }));
    // Functions have no values; the V2 loader of 1.15 wants to see them all the same.
    nodes.push(TrackableObject::default());
    nodes.push(trackable_object(
        children_of_signatures(&ids, signature),
        Vec::new(),
    ));
    nodes.push(TrackableObject::default());
    TrackableObjectGraph { nodes }
}

fn trackable_object(children: Children, attributes: Vec<SerializedTensor>) -> TrackableObject {
    let reference = |(node_id, local_name)| trackable_object::ObjectReference {
        node_id,
        local_name,
    };
    TrackableObject {
        children: children.into_iter().map(reference).collect(),
        attributes,
        ..TrackableObject::default()
    }
}
