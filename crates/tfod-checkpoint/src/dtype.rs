//! Element types of tensors: TensorFlow's `DataType` without its gaps, with the size an element has in a data shard.
//!
//! Sizes are those of TensorFlow's in-memory layout, which is what a bundle stores. The four-bit integers take a whole
//! byte each; strings, resources and variants have no fixed size.

use std::fmt;

use tfod_proto::DataType;

/// One row per type: variant, its name in the wire schema, TensorFlow's name for it, bytes per element.
macro_rules! dtypes {
    ($($variant:ident, $proto:ident, $name:literal, $size:expr;)*) => {
        /// The type of a tensor's elements.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum DType {
            $(
                #[doc = concat!("`", $name, "`")]
                $variant,
            )*
        }

        impl DType {
            /// Every type, in the order of their numbers in TensorFlow.
            pub const ALL: &[DType] = &[$(DType::$variant,)*];

            /// TensorFlow's name: `float32`, `bfloat16`, `string`…
            pub const fn name(self) -> &'static str {
                match self {
                    $(DType::$variant => $name,)*
                }
            }

            /// Bytes per element in a data shard, or `None` where elements differ in size.
            pub const fn size(self) -> Option<usize> {
                match self {
                    $(DType::$variant => $size,)*
                }
            }

            /// The type that a message's `DataType` field stands for; `None` for "invalid" and unknown numbers.
            pub fn from_proto(number: i32) -> Option<Self> {
                match DataType::try_from(number).ok()? {
                    $(DataType::$proto => Some(DType::$variant),)*
                    DataType::DtInvalid => None,
                }
            }
        }

        impl From<DType> for DataType {
            fn from(dtype: DType) -> Self {
                match dtype {
                    $(DType::$variant => DataType::$proto,)*
                }
            }
        }
    };
}

dtypes! {
    Float32, DtFloat, "float32", Some(4);
    Float64, DtDouble, "float64", Some(8);
    Int32, DtInt32, "int32", Some(4);
    UInt8, DtUint8, "uint8", Some(1);
    Int16, DtInt16, "int16", Some(2);
    Int8, DtInt8, "int8", Some(1);
    String, DtString, "string", None;
    Complex64, DtComplex64, "complex64", Some(8);
    Int64, DtInt64, "int64", Some(8);
    Bool, DtBool, "bool", Some(1);
    QInt8, DtQint8, "qint8", Some(1);
    QUInt8, DtQuint8, "quint8", Some(1);
    QInt32, DtQint32, "qint32", Some(4);
    BFloat16, DtBfloat16, "bfloat16", Some(2);
    QInt16, DtQint16, "qint16", Some(2);
    QUInt16, DtQuint16, "quint16", Some(2);
    UInt16, DtUint16, "uint16", Some(2);
    Complex128, DtComplex128, "complex128", Some(16);
    Float16, DtHalf, "float16", Some(2);
    Resource, DtResource, "resource", None;
    Variant, DtVariant, "variant", None;
    UInt32, DtUint32, "uint32", Some(4);
    UInt64, DtUint64, "uint64", Some(8);
    Float8E5M2, DtFloat8E5m2, "float8_e5m2", Some(1);
    Float8E4M3Fn, DtFloat8E4m3fn, "float8_e4m3fn", Some(1);
    Int4, DtInt4, "int4", Some(1);
    UInt4, DtUint4, "uint4", Some(1);
}

impl DType {
    /// Whether elements are real numbers with a fraction: what networks are trained in.
    pub const fn is_floating(self) -> bool {
        matches!(
            self,
            Self::Float32
                | Self::Float64
                | Self::Float16
                | Self::BFloat16
                | Self::Float8E5M2
                | Self::Float8E4M3Fn
        )
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_the_wire() {
        for &dtype in DType::ALL {
            assert_eq!(
                DType::from_proto(DataType::from(dtype).into()),
                Some(dtype),
                "{dtype}"
            );
        }
    }

    #[test]
    fn numbers_without_a_type_have_none() {
        for number in [-1, 0, 26, 99, 101, i32::MAX] {
            assert_eq!(DType::from_proto(number), None, "{number}");
        }
    }
}
