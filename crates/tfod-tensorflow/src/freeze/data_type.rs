//! Numbers of `DataType` that freezing tells apart.

/// `DT_FLOAT`.
pub(crate) const FLOAT: i32 = 1;
/// `DT_INT32`.
pub(crate) const INT32: i32 = 3;
/// `DT_INT64`.
pub(crate) const INT64: i32 = 9;
/// `DT_BOOL`.
pub(crate) const BOOL: i32 = 10;
/// `DT_HALF`.
pub(crate) const HALF: i32 = 19;
/// `DT_RESOURCE`, the type of handles.
pub(crate) const RESOURCE: i32 = 20;

/// The name of an element type, for people.
pub(crate) fn type_name(data_type: i32) -> String {
    match tfod_checkpoint::DType::from_proto(data_type) {
        Some(dtype) => dtype.name().to_owned(),
        None => format!("element type {data_type}"),
    }
}
