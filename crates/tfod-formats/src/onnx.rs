//! ONNX models: a `ModelProto`.

use std::collections::BTreeSet;

use tfod_proto::wire::Field;

use crate::{Descriptor, Mark, first_fields};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "onnx",
    about: "model.onnx: for ONNX Runtime, OpenVINO and TensorRT",
    kind: "onnx",
    described: "an ONNX model",
    file: "model.onnx",
    folder_has: None,
    beside: &["model.onnx.data"],
    mark: Mark::Message(is_model),
    text_fields: &[],
    has_signatures: false,
    decodes_images: false,
};

/// Whether it begins with the version of the format and has a graph, or, in whatever order, a graph and operator sets.
fn is_model(message: &[u8]) -> bool {
    const GRAPH: u32 = 7;
    const OPERATOR_SETS: u32 = 8;
    let mut begins_with_version = None;
    let mut numbers = BTreeSet::new();
    for field in first_fields(message) {
        let Some((number, field)) = field else {
            return false;
        };
        let begins =
            *begins_with_version.get_or_insert(matches!((number, field), (1, Field::Varint(_))));
        if begins && matches!((number, field), (GRAPH, Field::Bytes(_))) {
            return true;
        }
        numbers.insert(number);
    }
    numbers.contains(&GRAPH) && numbers.contains(&OPERATOR_SETS)
}
