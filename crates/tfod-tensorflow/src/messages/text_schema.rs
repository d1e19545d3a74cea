//! The fields that readers of graphs and SavedModels need, by the names that they have in text.

/// What a field holds.
#[derive(Clone, Copy)]
pub(super) enum Type {
    Message(&'static [Row]),
    Bytes,
    /// Integers, booleans, element types.
    Varint,
    /// Integers whose sign is the last bit (`sint64`).
    Signed,
    /// An enum, by its names.
    Enum(&'static [(&'static str, u64)]),
    Float,
    Double,
    /// Numbers that are written as one field.
    Packed(&'static Type),
}

/// A field: its name, number and type.
pub(super) type Row = (&'static str, u32, Type);

use Type::{Bytes, Double, Enum, Float, Message, Packed, Signed, Varint};

/// What the type of an asset ends with where it is in an `Any`.
pub(super) const ANY_ASSET: &str = "/tensorflow.AssetFileDef";

pub(super) static GRAPH: [Row; 4] = [
    ("node", 1, Message(&NODE)),
    (
        "library",
        2,
        Message(&[("function", 1, Message(&FUNCTION))]),
    ),
    ("version", 3, Varint),
    ("versions", 4, Message(&VERSIONS)),
];
static VERSIONS: [Row; 2] = [("producer", 1, Varint), ("min_consumer", 2, Varint)];
static NODE: [Row; 5] = [
    ("name", 1, Bytes),
    ("op", 2, Bytes),
    ("input", 3, Bytes),
    ("device", 4, Bytes),
    ("attr", 5, Message(&ATTR)),
];
static ATTR: [Row; 2] = [("key", 1, Bytes), ("value", 2, Message(&VALUE))];
static VALUE: [Row; 10] = [
    ("list", 1, Message(&LIST)),
    ("s", 2, Bytes),
    ("i", 3, Varint),
    ("f", 4, Float),
    ("b", 5, Varint),
    ("type", 6, Varint),
    ("shape", 7, Message(&SHAPE)),
    ("tensor", 8, Message(&TENSOR)),
    ("placeholder", 9, Bytes),
    ("func", 10, Message(&NAME_ATTRS)),
];
static LIST: [Row; 8] = [
    ("s", 2, Bytes),
    ("i", 3, Packed(&Varint)),
    ("f", 4, Packed(&Float)),
    ("b", 5, Packed(&Varint)),
    ("type", 6, Packed(&Varint)),
    ("shape", 7, Message(&SHAPE)),
    ("tensor", 8, Message(&TENSOR)),
    ("func", 9, Message(&NAME_ATTRS)),
];
static NAME_ATTRS: [Row; 2] = [("name", 1, Bytes), ("attr", 2, Message(&ATTR))];
static SHAPE: [Row; 2] = [
    (
        "dim",
        2,
        Message(&[("size", 1, Varint), ("name", 2, Bytes)]),
    ),
    ("unknown_rank", 3, Varint),
];
static TENSOR: [Row; 14] = [
    ("dtype", 1, Varint),
    ("tensor_shape", 2, Message(&SHAPE)),
    ("tensor_content", 4, Bytes),
    ("float_val", 5, Packed(&Float)),
    ("double_val", 6, Packed(&Double)),
    ("int_val", 7, Packed(&Varint)),
    ("string_val", 8, Bytes),
    ("scomplex_val", 9, Packed(&Float)),
    ("int64_val", 10, Packed(&Varint)),
    ("bool_val", 11, Packed(&Varint)),
    ("dcomplex_val", 12, Packed(&Double)),
    ("half_val", 13, Packed(&Varint)),
    ("uint32_val", 16, Packed(&Varint)),
    ("uint64_val", 17, Packed(&Varint)),
];
static FUNCTION: [Row; 5] = [
    ("signature", 1, Message(&OPERATION)),
    ("node_def", 3, Message(&NODE)),
    ("ret", 4, Message(&TEXTS)),
    ("attr", 5, Message(&ATTR)),
    ("control_ret", 6, Message(&TEXTS)),
];
/// The entry of a map from strings to strings.
static TEXTS: [Row; 2] = [("key", 1, Bytes), ("value", 2, Bytes)];
static OPERATION: [Row; 6] = [
    ("name", 1, Bytes),
    ("input_arg", 2, Message(&ARGUMENT)),
    ("output_arg", 3, Message(&ARGUMENT)),
    (
        "attr",
        4,
        Message(&[
            ("name", 1, Bytes),
            ("type", 2, Bytes),
            ("default_value", 3, Message(&VALUE)),
        ]),
    ),
    ("is_stateful", 17, Varint),
    ("control_output", 20, Bytes),
];
static ARGUMENT: [Row; 6] = [
    ("name", 1, Bytes),
    ("type", 3, Varint),
    ("type_attr", 4, Bytes),
    ("number_attr", 5, Bytes),
    ("type_list_attr", 6, Bytes),
    ("is_ref", 16, Varint),
];

pub(super) static SAVED_MODEL: [Row; 2] = [
    ("saved_model_schema_version", 1, Varint),
    ("meta_graphs", 2, Message(&META_GRAPH)),
];
static META_GRAPH: [Row; 7] = [
    ("meta_info_def", 1, Message(&META_INFO)),
    ("graph_def", 2, Message(&GRAPH)),
    ("saver_def", 3, Message(&SAVER)),
    (
        "collection_def",
        4,
        Message(&[("key", 1, Bytes), ("value", 2, Message(&COLLECTION))]),
    ),
    (
        "signature_def",
        5,
        Message(&[("key", 1, Bytes), ("value", 2, Message(&SIGNATURE))]),
    ),
    ("asset_file_def", 6, Message(&ASSET)),
    ("object_graph_def", 7, Message(&OBJECTS)),
];
static META_INFO: [Row; 4] = [
    (
        "stripped_op_list",
        2,
        Message(&[("op", 1, Message(&OPERATION))]),
    ),
    ("tags", 4, Bytes),
    ("tensorflow_version", 5, Bytes),
    ("stripped_default_attrs", 7, Varint),
];
static SAVER: [Row; 4] = [
    ("filename_tensor_name", 1, Bytes),
    ("save_tensor_name", 2, Bytes),
    ("restore_op_name", 3, Bytes),
    ("sharded", 5, Varint),
];
static COLLECTION: [Row; 3] = [
    ("node_list", 1, Message(&[("value", 1, Bytes)])),
    ("bytes_list", 2, Message(&[("value", 1, Bytes)])),
    (
        "any_list",
        5,
        Message(&[(
            "value",
            1,
            Message(&[("type_url", 1, Bytes), ("value", 2, Bytes)]),
        )]),
    ),
];
static SIGNATURE: [Row; 3] = [
    (
        "inputs",
        1,
        Message(&[("key", 1, Bytes), ("value", 2, Message(&TENSOR_INFO))]),
    ),
    (
        "outputs",
        2,
        Message(&[("key", 1, Bytes), ("value", 2, Message(&TENSOR_INFO))]),
    ),
    ("method_name", 3, Bytes),
];
static TENSOR_INFO: [Row; 5] = [
    ("name", 1, Bytes),
    ("dtype", 2, Varint),
    ("tensor_shape", 3, Message(&SHAPE)),
    (
        "coo_sparse",
        4,
        Message(&[
            ("values_tensor_name", 1, Bytes),
            ("indices_tensor_name", 2, Bytes),
            ("dense_shape_tensor_name", 3, Bytes),
        ]),
    ),
    (
        "composite_tensor",
        5,
        Message(&[
            (
                "type_spec",
                1,
                Message(&[("type_spec_class", 1, Enum(SPEC_CLASSES))]),
            ),
            ("components", 2, Message(&TENSOR_INFO)),
        ]),
    ),
];
/// The kinds of composite tensors.
const SPEC_CLASSES: &[(&str, u64)] = &[
    ("SPARSE_TENSOR_SPEC", 1),
    ("INDEXED_SLICES_SPEC", 2),
    ("RAGGED_TENSOR_SPEC", 3),
    ("TENSOR_ARRAY_SPEC", 4),
    ("DATA_DATASET_SPEC", 5),
    ("DATA_ITERATOR_SPEC", 6),
    ("OPTIONAL_SPEC", 7),
    ("PER_REPLICA_SPEC", 8),
    ("VARIABLE_SPEC", 9),
    ("ROW_PARTITION_SPEC", 10),
    ("REGISTERED_TYPE_SPEC", 12),
    ("EXTENSION_TYPE_SPEC", 13),
];
pub(super) static ASSET: [Row; 2] = [
    ("tensor_info", 1, Message(&TENSOR_INFO)),
    ("filename", 2, Bytes),
];

static OBJECTS: [Row; 2] = [
    ("nodes", 1, Message(&OBJECT)),
    (
        "concrete_functions",
        2,
        Message(&[("key", 1, Bytes), ("value", 2, Message(&CONCRETE))]),
    ),
];
static OBJECT: [Row; 8] = [
    (
        "children",
        1,
        Message(&[("node_id", 1, Varint), ("local_name", 2, Bytes)]),
    ),
    ("user_object", 4, Message(&[("identifier", 1, Bytes)])),
    ("asset", 5, Message(&[("asset_file_def_index", 1, Varint)])),
    ("function", 6, Message(&[("concrete_functions", 1, Bytes)])),
    ("variable", 7, Message(&VARIABLE)),
    (
        "bare_concrete_function",
        8,
        Message(&[
            ("concrete_function_name", 1, Bytes),
            ("argument_keywords", 2, Bytes),
            ("allowed_positional_arguments", 3, Varint),
        ]),
    ),
    ("constant", 9, Message(&[("operation", 1, Bytes)])),
    ("resource", 10, Message(&[("device", 1, Bytes)])),
];
static VARIABLE: [Row; 4] = [
    ("dtype", 1, Varint),
    ("shape", 2, Message(&SHAPE)),
    ("trainable", 3, Varint),
    ("name", 6, Bytes),
];
static CONCRETE: [Row; 3] = [
    ("bound_inputs", 2, Packed(&Varint)),
    ("canonicalized_input_signature", 3, Message(&STRUCTURE)),
    ("output_signature", 4, Message(&STRUCTURE)),
];
static STRUCTURE: [Row; 13] = [
    ("none_value", 1, Message(&[])),
    ("float64_value", 11, Double),
    ("int64_value", 12, Signed),
    ("string_value", 13, Bytes),
    ("bool_value", 14, Varint),
    ("tensor_shape_value", 31, Message(&SHAPE)),
    ("tensor_dtype_value", 32, Varint),
    (
        "tensor_spec_value",
        33,
        Message(&[
            ("name", 1, Bytes),
            ("shape", 2, Message(&SHAPE)),
            ("dtype", 3, Varint),
        ]),
    ),
    (
        "type_spec_value",
        34,
        Message(&[
            ("type_spec_class", 1, Enum(SPEC_CLASSES)),
            ("num_flat_components", 4, Varint),
        ]),
    ),
    (
        "list_value",
        51,
        Message(&[("values", 1, Message(&STRUCTURE))]),
    ),
    (
        "tuple_value",
        52,
        Message(&[("values", 1, Message(&STRUCTURE))]),
    ),
    ("dict_value", 53, Message(&[("fields", 1, Message(&PAIR))])),
    (
        "named_tuple_value",
        54,
        Message(&[("name", 1, Bytes), ("values", 2, Message(&PAIR))]),
    ),
];
/// A named value: a pair of a named tuple, and the entry of a dictionary.
static PAIR: [Row; 2] = [("key", 1, Bytes), ("value", 2, Message(&STRUCTURE))];
