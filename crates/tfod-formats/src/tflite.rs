//! TFLite models: FlatBuffers, whose identifier follows the offset of the root.

use crate::{Descriptor, Mark};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "tflite",
    about: "model.tflite: for LiteRT (TensorFlow Lite), fixed sizes",
    kind: "tflite",
    described: "a TFLite model",
    file: "model.tflite",
    folder_has: None,
    beside: &[],
    mark: Mark::Identifier {
        at: 4,
        bytes: b"TFL3",
    },
    text_fields: &[],
    has_signatures: false,
    decodes_images: false,
};
