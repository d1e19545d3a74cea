//! The objects that the V2 loader makes: a root with the variables, `__call__`, `signatures`, and the assets by name.
//!
//! The same tree is written twice: into `saved_model.pb`, with what each object is, and into the bundle of the variables, with the key of
//! each variable. The loader walks both by the local names.

use std::ops::Range;
use std::sync::Arc;

use tfod_checkpoint::{VARIABLE_VALUE, variable_key};
use tfod_graph::Shape;
use tfod_proto::saved_object::{Kind, ObjectReference};
use tfod_proto::trackable_object_graph::TrackableObject;
use tfod_proto::trackable_object_graph::trackable_object::{self, SerializedTensor};
use tfod_proto::{
    SavedAsset, SavedBareConcreteFunction, SavedConcreteFunction, SavedFunction, SavedObject,
    SavedObjectGraph, SavedUserObject, SavedVariable, StructuredValue, TrackableObjectGraph,
    VersionDef,
};

use super::Asset;
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

/// The numbers of the objects: the root is 0, the variables follow, then `__call__`, `signatures`, each signature, and each asset.
struct Ids {
    variables: i32,
    signatures: i32,
    assets: i32,
}

impl Ids {
    fn new(contents: &Contents<'_, '_>) -> Self {
        // Each of these has a node in the graph, and a message of 2^31 bytes, which is too large, could not hold a quarter of 2^31 nodes.
        let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX / 4);
        Self {
            variables: count(contents.variables.len()),
            signatures: count(contents.signatures.len()),
            assets: count(contents.assets.len()),
        }
    }

    /// The variable in this slot.
    fn variable(slot: usize) -> i32 {
        i32::try_from(slot).unwrap_or(i32::MAX / 4) + 1
    }

    fn call(&self) -> i32 {
        self.variables + 1
    }

    fn signature_map(&self) -> i32 {
        self.variables + 2
    }

    fn signatures(&self) -> Range<i32> {
        let first = self.signature_map() + 1;
        first..first + self.signatures
    }

    fn assets(&self) -> Range<i32> {
        let first = self.signatures().end;
        first..first + self.assets
    }
}

/// What the objects are made for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contents<'c, 'a> {
    pub(crate) variables: &'c [Arc<Variable<'a>>],
    /// `__call__` is the first one's function.
    pub(crate) signatures: &'c [Signature],
    pub(crate) assets: &'c [Asset],
}

impl Contents<'_, '_> {
    fn children_of_root(&self) -> Children {
        let ids = Ids::new(self);
        let variables = self.variables.iter();
        let variables = variables.map(|v| (Ids::variable(v.slot), v.local_name.clone()));
        let others = [
            (ids.call(), "__call__".to_owned()),
            (ids.signature_map(), "signatures".to_owned()),
        ];
        let assets = ids.assets().zip(self.assets);
        let assets = assets.map(|(id, asset)| (id, asset.name.clone()));
        variables.chain(others).chain(assets).collect()
    }

    fn children_of_signatures(&self) -> Children {
        let signatures = Ids::new(self).signatures().zip(self.signatures);
        signatures
            .map(|(id, signature)| (id, signature.name.clone()))
            .collect()
    }

    /// For `saved_model.pb`.
    pub(crate) fn saved(&self) -> SavedObjectGraph {
        let mut nodes = vec![object(
            self.children_of_root(),
            user_object("_generic_user_object"),
        )];
        let variables = self.variables.iter();
        nodes.extend(variables.map(|v| object(Vec::new(), variable(v))));
        // There is a first one.
        nodes.extend(self.signatures.first().map(|s| object(Vec::new(), call(s))));
        nodes.push(object(
            self.children_of_signatures(),
            user_object("signature_map"),
        ));
        let signatures = self.signatures.iter();
        nodes.extend(signatures.map(|s| object(Vec::new(), bare_function(s))));
        let assets = (0..).zip(self.assets);
        nodes.extend(assets.map(|(index, _)| {
            object(
                Vec::new(),
                Kind::Asset(SavedAsset {
                    asset_file_def_index: index,
                }),
            )
        }));

        let wrappers = self.signatures.iter().map(|signature| {
            let canonical = tuple(vec![tensors([]), dict(&signature.keyword)]);
            (signature.wrapper.clone(), concrete(signature, canonical))
        });
        let call = self.signatures.first().map(|signature| {
            let canonical = tuple(vec![tensors(&signature.positional), dict([])]);
            (signature.call.clone(), concrete(signature, canonical))
        });
        SavedObjectGraph {
            nodes,
            concrete_functions: wrappers.chain(call).collect(),
        }
    }

    /// For the bundle.
    pub(crate) fn trackable(&self) -> TrackableObjectGraph {
        let mut nodes = vec![trackable_object(self.children_of_root(), Vec::new())];
        nodes.extend(self.variables.iter().map(|v| {
            let value = SerializedTensor {
                name: VARIABLE_VALUE.to_owned(),
                full_name: v.name.clone(),
                checkpoint_key: key(v),
            };
            trackable_object(Vec::new(), vec![value])
        }));
        // Functions and assets have no values; the V2 loader of 1.15 wants to see them all the same.
        nodes.push(TrackableObject::default());
        nodes.push(trackable_object(self.children_of_signatures(), Vec::new()));
        let others = self.signatures.len() + self.assets.len();
        nodes.extend(std::iter::repeat_n(TrackableObject::default(), others));
        TrackableObjectGraph { nodes }
    }
}

fn concrete(signature: &Signature, canonical: StructuredValue) -> SavedConcreteFunction {
    let slots = signature.slots.iter();
    SavedConcreteFunction {
        bound_inputs: slots.map(|slot| Ids::variable(*slot)).collect(),
        canonicalized_input_signature: Some(canonical),
        output_signature: Some(dict(&signature.outputs)),
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
