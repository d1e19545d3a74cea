//! Attributes of nodes.
//!
//! Releases up to 2.4 refuse a node that has an attribute they do not know, even at its default value, and attributes are added in most
//! releases. So an attribute that has a default is only ever written through the methods `*_unless`, which take that default.

use std::collections::BTreeMap;

use tfod_graph::{DType, Dim, Shape};
use tfod_proto::attr_value::{ListValue, Value};
use tfod_proto::{
    AttrValue, DataType, NameAttrList, TensorProto, TensorShapeProto, tensor_shape_proto,
};

/// The attributes of one node or function, by name.
#[derive(Debug, Default)]
pub(crate) struct Attrs(BTreeMap<String, AttrValue>);

impl Attrs {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The one attribute of most operations: `T`, the element type.
    pub(crate) fn typed(dtype: DType) -> Self {
        Self::new().dtype("T", data_type(dtype))
    }

    pub(crate) fn into_map(self) -> BTreeMap<String, AttrValue> {
        self.0
    }

    fn set(mut self, name: &str, value: Value) -> Self {
        self.0
            .insert(name.to_owned(), AttrValue { value: Some(value) });
        self
    }

    fn list(self, name: &str, list: ListValue) -> Self {
        self.set(name, Value::List(list))
    }

    pub(crate) fn dtype(self, name: &str, dtype: DataType) -> Self {
        self.set(name, Value::Type(dtype.into()))
    }

    pub(crate) fn dtypes(self, name: &str, dtypes: impl IntoIterator<Item = DataType>) -> Self {
        let r#type = dtypes.into_iter().map(i32::from).collect();
        self.list(
            name,
            ListValue {
                r#type,
                ..ListValue::default()
            },
        )
    }

    pub(crate) fn int(self, name: &str, value: i64) -> Self {
        self.set(name, Value::I(value))
    }

    pub(crate) fn int_unless(self, default: i64, name: &str, value: i64) -> Self {
        if value == default {
            self
        } else {
            self.int(name, value)
        }
    }

    pub(crate) fn ints(self, name: &str, values: &[i64]) -> Self {
        let i = values.to_vec();
        self.list(
            name,
            ListValue {
                i,
                ..ListValue::default()
            },
        )
    }

    pub(crate) fn ints_unless(self, default: &[i64], name: &str, values: &[i64]) -> Self {
        if values == default {
            self
        } else {
            self.ints(name, values)
        }
    }

    pub(crate) fn float_unless(self, default: f32, name: &str, value: f32) -> Self {
        if value.to_bits() == default.to_bits() {
            self
        } else {
            self.set(name, Value::F(value))
        }
    }

    pub(crate) fn bool_unless(self, default: bool, name: &str, value: bool) -> Self {
        if value == default {
            self
        } else {
            self.set(name, Value::B(value))
        }
    }

    /// A mark that is no attribute of the operation, and whose absence means false.
    pub(crate) fn flag(self, name: &str) -> Self {
        self.set(name, Value::B(true))
    }

    pub(crate) fn text(self, name: &str, value: &str) -> Self {
        self.set(name, Value::S(value.as_bytes().to_vec()))
    }

    pub(crate) fn texts(self, name: &str, values: &[&str]) -> Self {
        let s = values.iter().map(|text| text.as_bytes().to_vec()).collect();
        self.list(
            name,
            ListValue {
                s,
                ..ListValue::default()
            },
        )
    }

    pub(crate) fn shape(self, name: &str, shape: TensorShapeProto) -> Self {
        self.set(name, Value::Shape(shape))
    }

    pub(crate) fn shapes(self, name: &str, shape: Vec<TensorShapeProto>) -> Self {
        self.list(
            name,
            ListValue {
                shape,
                ..ListValue::default()
            },
        )
    }

    pub(crate) fn tensor(self, name: &str, tensor: TensorProto) -> Self {
        self.set(name, Value::Tensor(tensor))
    }

    pub(crate) fn function(self, name: &str, function: &str) -> Self {
        let function = NameAttrList {
            name: function.to_owned(),
            attr: BTreeMap::new(),
        };
        self.set(name, Value::Func(function))
    }
}

/// TensorFlow's number for an element type.
pub(crate) fn data_type(dtype: DType) -> DataType {
    match dtype {
        DType::F32 => DataType::DtFloat,
        DType::I32 => DataType::DtInt32,
        DType::I64 => DataType::DtInt64,
        DType::U8 => DataType::DtUint8,
        DType::Bool => DataType::DtBool,
        DType::String => DataType::DtString,
    }
}

/// A shape; dimensions known only at run time are -1, and so are those beyond the signed range, which no tensor has.
pub(crate) fn shape_proto(shape: &Shape) -> TensorShapeProto {
    let size = |dim: &Dim| {
        dim.known()
            .and_then(|n| i64::try_from(n).ok())
            .unwrap_or(-1)
    };
    let dim = |dim: &Dim| tensor_shape_proto::Dim {
        size: size(dim),
        name: String::new(),
    };
    TensorShapeProto {
        dim: shape.dims().iter().map(dim).collect(),
        unknown_rank: false,
    }
}

/// The shape of a scalar, which is also what resources and variants have.
pub(crate) fn scalar_shape() -> TensorShapeProto {
    TensorShapeProto::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_not_written() {
        let attrs = Attrs::new()
            .int_unless(0, "axis", 0)
            .ints_unless(&[1, 1], "dilations", &[1, 1])
            .float_unless(0.0001, "epsilon", 0.0001)
            .bool_unless(true, "is_training", true);
        assert!(attrs.into_map().is_empty());
    }

    #[test]
    fn other_values_are() {
        let attrs = Attrs::new()
            .int_unless(0, "axis", 1)
            .ints_unless(&[1, 1], "dilations", &[2, 1])
            .float_unless(0.0001, "epsilon", 0.001)
            .bool_unless(true, "is_training", false);
        let names: Vec<String> = attrs.into_map().into_keys().collect();
        assert_eq!(names, ["axis", "dilations", "epsilon", "is_training"]);
    }
}
