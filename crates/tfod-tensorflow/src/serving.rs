//! Requests that TensorFlow Serving runs when it has loaded a model, before it takes any from outside, so that the first users do not wait for what is done only once.
//!
//! The file `assets.extra/tf_serving_warmup_requests` of a SavedModel holds `PredictionLog` messages in TensorFlow's record format: for each the length, its checksum, the
//! message, its checksum. See <https://www.tensorflow.org/tfx/serving/saved_model_warmup>.

use std::collections::BTreeMap;

use tfod_checkpoint::masked_crc;
use tfod_proto::prost::Message;
use tfod_proto::tensor_shape_proto::Dim;
use tfod_proto::{
    BytesList, DataType, Example, Feature, Features, ModelSpec, PredictLog, PredictRequest,
    PredictionLog, TensorProto, TensorShapeProto,
};

/// The value of all elements of a tensor, and their type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Filled<'a> {
    /// Bytes.
    U8(u8),
    /// 32-bit floats.
    F32(f32),
    /// 32-bit integers.
    I32(i32),
    /// Strings.
    String(&'a [u8]),
}

/// One input of a warm-up request.
#[derive(Clone, Debug, PartialEq)]
pub struct WarmupInput<'a> {
    /// Its key in the signature.
    pub name: &'a str,
    /// Its sizes.
    pub shape: Vec<u64>,
    /// What it is filled with.
    pub value: Filled<'a>,
}

/// One warm-up request of TensorFlow Serving.
#[derive(Clone, Debug, PartialEq)]
pub struct WarmupRequest<'a> {
    /// The key of the signature.
    pub signature: &'a str,
    /// All inputs of the signature.
    pub inputs: Vec<WarmupInput<'a>>,
}

impl WarmupInput<'_> {
    /// The tensor, with one value: readers repeat the last one.
    fn proto(&self) -> TensorProto {
        let dim = |size: &u64| Dim {
            size: i64::try_from(*size).unwrap_or(i64::MAX),
            ..Dim::default()
        };
        let mut tensor = TensorProto {
            tensor_shape: Some(TensorShapeProto {
                dim: self.shape.iter().map(dim).collect(),
                ..TensorShapeProto::default()
            }),
            ..TensorProto::default()
        };
        let dtype = match self.value {
            Filled::U8(value) => {
                tensor.int_val = vec![value.into()];
                DataType::DtUint8
            }
            Filled::F32(value) => {
                tensor.float_val = vec![value];
                DataType::DtFloat
            }
            Filled::I32(value) => {
                tensor.int_val = vec![value];
                DataType::DtInt32
            }
            // Strings are not repeated.
            Filled::String(value) => {
                let count = self.shape.iter().product();
                tensor.string_val = (0..count).map(|_: u64| value.to_vec()).collect();
                DataType::DtString
            }
        };
        tensor.set_dtype(dtype);
        tensor
    }
}

/// The contents of TensorFlow Serving's file of warm-up requests, `tf_serving_warmup_requests`.
pub fn warmup_requests(requests: &[WarmupRequest<'_>]) -> Vec<u8> {
    let mut file = Vec::new();
    for request in requests {
        let inputs: BTreeMap<String, TensorProto> = request
            .inputs
            .iter()
            .map(|input| (input.name.to_owned(), input.proto()))
            .collect();
        let log = PredictionLog {
            predict_log: Some(PredictLog {
                request: Some(PredictRequest {
                    model_spec: Some(ModelSpec {
                        signature_name: request.signature.to_owned(),
                    }),
                    inputs,
                }),
            }),
        };
        add_record(&mut file, &log.encode_to_vec());
    }
    file
}

fn add_record(file: &mut Vec<u8>, record: &[u8]) {
    let length = (record.len() as u64).to_le_bytes();
    for part in [&length[..], record] {
        file.extend_from_slice(part);
        file.extend_from_slice(&masked_crc(part).to_le_bytes());
    }
}

/// A serialised `tf.train.Example` with one string of bytes for each feature.
pub fn example(features: &[(&str, &[u8])]) -> Vec<u8> {
    let feature = |(name, value): &(&str, &[u8])| {
        let list = BytesList {
            value: vec![value.to_vec()],
        };
        let feature = Feature {
            bytes_list: Some(list),
        };
        ((*name).to_owned(), feature)
    };
    let features = Features {
        feature: features.iter().map(feature).collect(),
    };
    Example {
        features: Some(features),
    }
    .encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_carry_their_length_and_both_checksums() {
        let request = WarmupRequest {
            signature: "s",
            inputs: vec![WarmupInput {
                name: "x",
                shape: vec![2],
                value: Filled::String(b"ab"),
            }],
        };
        let file = warmup_requests(&[request.clone(), request]);
        let half = file.len() / 2;
        assert_eq!(file[..half], file[half..]);
        let length = u64::from_le_bytes(file[..8].try_into().expect("8 bytes"));
        assert_eq!(length, half as u64 - 16);
        assert_eq!(file[8..12], masked_crc(&file[..8]).to_le_bytes());
        assert_eq!(
            file[half - 4..half],
            masked_crc(&file[12..half - 4]).to_le_bytes()
        );
        let log = PredictionLog::decode(&file[12..half - 4]).expect("a message");
        let request = log.predict_log.and_then(|log| log.request).expect("one");
        assert_eq!(request.inputs["x"].string_val, [b"ab", b"ab"]);
    }
}
