//! SavedModels: a folder, with a message of that name in it.

use tfod_proto::wire::Field;

use crate::{Descriptor, Mark, first_fields, is_meta_graph};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "saved_model",
    about: "saved_model/",
    kind: "saved_model",
    described: "a SavedModel",
    file: "saved_model",
    folder_has: Some("saved_model.pb"),
    beside: &[],
    mark: Mark::Message(is_saved_model),
    text_fields: &["saved_model_schema_version", "meta_graphs"],
    has_signatures: true,
    decodes_images: true,
};

/// Whether it has meta graphs, and nothing but the version of the schema before them.
fn is_saved_model(message: &[u8]) -> bool {
    let mut begins_well = None;
    for field in first_fields(message) {
        let Some((number, field)) = field else {
            return false;
        };
        let of_it = matches!(
            (number, field),
            (1, Field::Varint(_)) | (2, Field::Bytes(_))
        );
        if !*begins_well.get_or_insert(of_it) {
            return false;
        }
        if let (2, Field::Bytes(meta_graph)) = (number, field)
            && is_meta_graph(meta_graph)
        {
            return true;
        }
    }
    false
}
