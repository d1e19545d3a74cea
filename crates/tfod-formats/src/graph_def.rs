//! TensorFlow's graphs: a `GraphDef`, which a frozen graph is.

use tfod_proto::wire::{Field, Fields};

use crate::{Descriptor, Mark, first_fields};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "frozen",
    about: "frozen.pb: one GraphDef with the weights inside",
    kind: "graph",
    described: "a TensorFlow graph",
    file: "frozen.pb",
    folder_has: None,
    beside: &[],
    mark: Mark::Message(is_graph),
    text_fields: &["node", "library", "versions"],
    has_signatures: false,
    decodes_images: true,
};

/// Whether it has a node, or begins with functions or versions alone.
fn is_graph(message: &[u8]) -> bool {
    let mut begins_without_nodes = None;
    for field in first_fields(message) {
        let Some((number, field)) = field else {
            return false;
        };
        let without_nodes = matches!((number, field), (2 | 4, Field::Bytes(_)));
        let begins_without_nodes = *begins_without_nodes.get_or_insert(without_nodes);
        match (number, field) {
            (1, Field::Bytes(node)) if is_node(node) => return true,
            (4, Field::Bytes(_)) if begins_without_nodes => return true,
            _ => {}
        }
    }
    false
}

/// Whether it looks like a `NodeDef`: a name and an operation, both text.
fn is_node(message: &[u8]) -> bool {
    let (mut name, mut op) = (false, false);
    for field in Fields::of(message) {
        match field {
            Ok((1, field)) => name = field.text().is_some_and(|text| !text.is_empty()),
            Ok((2, field)) => {
                let is_op = |text: String| {
                    let mut bytes = text.bytes();
                    bytes
                        .next()
                        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
                        && bytes.all(|b| b.is_ascii_alphanumeric() || b"_>:./-".contains(&b))
                };
                op = field.text().is_some_and(is_op);
            }
            Ok((3, Field::Bytes(_)) | (4..=7, _)) => {}
            _ => return false,
        }
    }
    name && op
}

/// Whether a message looks like a `MetaGraphDef`: information with tags or a version, and a graph. SavedModels consist of them, and TensorFlow 1 writes one beside checkpoints.
pub fn is_meta_graph(message: &[u8]) -> bool {
    let mut has_graph = false;
    for field in Fields::of(message) {
        match field {
            Ok((2, Field::Bytes(graph))) => {
                let first = Fields::of(graph).next();
                has_graph = match first {
                    Some(Ok((1, Field::Bytes(node)))) => is_node(node),
                    None | Some(Ok((2 | 4, Field::Bytes(_)) | (3, Field::Varint(_)))) => true,
                    _ => false,
                };
            }
            Ok((1 | 3..=7, Field::Bytes(_))) => {}
            _ => return false,
        }
    }
    has_graph
}
