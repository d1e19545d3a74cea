//! The main graph, which the V1 loader and the C library run: placeholders, variables, the call, saving and restoring.
//!
//! Saving and restoring are plain nodes. TensorFlow's own exports wrap them in functions, whose operations old releases do not have.

use std::collections::BTreeMap;
use std::slice;
use std::sync::Arc;

use tfod_graph::Shape;
use tfod_proto::saver_def::CheckpointFormatVersion;
use tfod_proto::{
    AssetFileDef, DataType, NodeDef, SaverDef, SignatureDef, TensorInfo, TensorShapeProto,
};

use super::Asset;
use super::object_graph::key;
use super::signature::{CALL, Signature};
use crate::lower::attrs::{Attrs, data_type, scalar_shape, shape_proto};
use crate::lower::constants::{string_scalar, string_vector};
use crate::lower::names::Names;
use crate::lower::{Dialect, NodeList, Port, Variable};
use tfod_checkpoint::OBJECT_GRAPH_KEY;

const INIT: &str = "NoOp";
const FILENAME: &str = "saver_filename";
const SAVED: &str = "save/control_dependency";
const RESTORED: &str = "restore/all";

/// The names that are taken before any signature is named.
pub(crate) fn names() -> Names {
    Names::reserving([INIT, FILENAME, SAVED, RESTORED])
}

/// The nodes, for the given variables, where those of the signatures have their names; `object_graph` is what the bundle has under its own key, so that a session can save it again.
pub(crate) fn nodes(
    variables: &[Arc<Variable<'_>>],
    signatures: &[Signature],
    assets: &[Asset],
    object_graph: &[u8],
    names: Names,
) -> Vec<NodeDef> {
    let mut list = NodeList::new(Dialect::Graph, names, "");
    let mut placeholders: Vec<Vec<Port>> = Vec::with_capacity(signatures.len());
    for signature in signatures {
        let inputs = signature.keyword.iter().zip(&signature.placeholders);
        let inputs =
            inputs.map(|(spec, name)| placeholder(&mut list, name, spec.dtype, spec.shape.clone()));
        placeholders.push(inputs.collect());
    }
    for asset in assets {
        list.strings(
            &asset_node(asset),
            string_scalar(asset.file_name.clone().into_bytes()),
        );
    }
    let handles: Vec<Port> = variables.iter().map(|v| handle(&mut list, v)).collect();
    for (signature, mut operands) in signatures.iter().zip(placeholders) {
        let own = signature.slots.iter().filter_map(|slot| handles.get(*slot));
        operands.extend(own.cloned());
        list.add(&signature.call_node, CALL, &operands, signature.main_call());
    }
    list.add(INIT, "NoOp", &[], Attrs::new());
    let filename = placeholder(&mut list, FILENAME, DataType::DtString, scalar_shape());
    save(&mut list, variables, &handles, &filename, object_graph);
    restore(&mut list, variables, &handles, &filename);
    list.into_nodes()
}

/// The node that stands for the path of an asset: a loader feeds it where something reads it.
fn asset_node(asset: &Asset) -> String {
    format!("asset/{}", asset.name)
}

/// How the V1 loader finds an asset.
pub(crate) fn asset_file(asset: &Asset) -> AssetFileDef {
    AssetFileDef {
        tensor_info: Some(TensorInfo {
            name: format!("{}:0", asset_node(asset)),
            ..TensorInfo::default()
        }),
        filename: asset.file_name.clone(),
    }
}

fn placeholder(list: &mut NodeList, name: &str, dtype: DataType, shape: TensorShapeProto) -> Port {
    let attrs = Attrs::new().dtype("dtype", dtype).shape("shape", shape);
    list.add(name, "Placeholder", &[], attrs)
        .output("output", 0)
}

fn handle(list: &mut NodeList, variable: &Variable<'_>) -> Port {
    let name = list.fresh(&variable.name);
    let attrs = Attrs::new()
        .dtype("dtype", data_type(variable.dtype))
        .shape("shape", shape_proto(&Shape::known(variable.shape)))
        // Variables of one shared name are one variable, and so would be those of none.
        .text("shared_name", &name);
    list.add(&name, "VarHandleOp", &[], attrs)
        .output("resource", 0)
}

fn save(
    list: &mut NodeList,
    variables: &[Arc<Variable<'_>>],
    handles: &[Port],
    filename: &Port,
    object_graph: &[u8],
) {
    let object_graph = list.strings("save/object_graph", string_scalar(object_graph.to_vec()));
    let mut keys: Vec<String> = variables.iter().map(|v| key(v)).collect();
    keys.push(OBJECT_GRAPH_KEY.to_owned());
    let mut operands = vec![
        filename.clone(),
        list.strings(
            "save/tensor_names",
            string_vector(keys.iter().map(String::as_str)),
        ),
        list.strings(
            "save/shape_and_slices",
            string_vector(keys.iter().map(|_| "")),
        ),
    ];
    for (variable, handle) in variables.iter().zip(handles) {
        let attrs = Attrs::new().dtype("dtype", data_type(variable.dtype));
        let name = list.fresh(&format!("save/read_{}", variable.local_name));
        operands.push(
            list.add(&name, "ReadVariableOp", slice::from_ref(handle), attrs)
                .output("value", 0),
        );
    }
    operands.push(object_graph);
    let dtypes = variables
        .iter()
        .map(|v| data_type(v.dtype))
        .chain([DataType::DtString]);
    let name = list.fresh("save/SaveV2");
    let save = list.add(
        &name,
        "SaveV2",
        &operands,
        Attrs::new().dtypes("dtypes", dtypes),
    );
    let attrs = Attrs::new().dtype("T", DataType::DtString);
    list.add(
        SAVED,
        "Identity",
        &[filename.clone(), save.control()],
        attrs,
    );
}

fn restore(
    list: &mut NodeList,
    variables: &[Arc<Variable<'_>>],
    handles: &[Port],
    filename: &Port,
) {
    let mut assigned = Vec::with_capacity(variables.len());
    // RestoreV2 wants at least one tensor.
    if !variables.is_empty() {
        let keys: Vec<String> = variables.iter().map(|v| key(v)).collect();
        let operands = [
            filename.clone(),
            list.strings(
                "restore/tensor_names",
                string_vector(keys.iter().map(String::as_str)),
            ),
            list.strings(
                "restore/shape_and_slices",
                string_vector(keys.iter().map(|_| "")),
            ),
        ];
        let attrs = Attrs::new().dtypes("dtypes", variables.iter().map(|v| data_type(v.dtype)));
        let name = list.fresh("restore/RestoreV2");
        let restored = list.add(&name, "RestoreV2", &operands, attrs);
        for (index, (variable, handle)) in variables.iter().zip(handles).enumerate() {
            let attrs = Attrs::new().dtype("dtype", data_type(variable.dtype));
            let name = list.fresh(&format!("restore/assign_{}", variable.local_name));
            let operands = [handle.clone(), restored.element("tensors", index)];
            assigned.push(
                list.add(&name, "AssignVariableOp", &operands, attrs)
                    .control(),
            );
        }
    }
    list.add(RESTORED, "NoOp", &assigned, Attrs::new());
}

/// How a session saves and restores.
pub(crate) fn saver() -> SaverDef {
    SaverDef {
        filename_tensor_name: format!("{FILENAME}:0"),
        save_tensor_name: format!("{SAVED}:0"),
        restore_op_name: RESTORED.to_owned(),
        version: CheckpointFormatVersion::V2.into(),
        ..SaverDef::default()
    }
}

/// The signature by which the V1 loader finds what to run after restoring: nothing.
pub(crate) fn init_signature() -> (String, SignatureDef) {
    let name = "__saved_model_init_op".to_owned();
    let operation = TensorInfo {
        name: INIT.to_owned(),
        tensor_shape: Some(TensorShapeProto {
            unknown_rank: true,
            ..TensorShapeProto::default()
        }),
        ..TensorInfo::default()
    };
    let outputs = BTreeMap::from([(name.clone(), operation)]);
    (
        name,
        SignatureDef {
            outputs,
            ..SignatureDef::default()
        },
    )
}
