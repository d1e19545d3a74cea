//! TensorFlow Serving: a request for each signature, which it runs after it has loaded the model.

use tfod_graph::{DType, Dim};
use tfod_models::InputType;
use tfod_tensorflow::{Filled, WarmupInput, WarmupRequest, example, warmup_requests};

use super::super::signatures::Signature;
use super::super::{Interface, InterfaceTensor};

/// Where the server looks for it in a SavedModel.
pub(super) const WARMUP: &str = "assets.extra/tf_serving_warmup_requests";

/// The sides of a grey image where the network leaves them to the image.
const SIDE: u64 = 320;
/// A grey image of 8 x 8 pixels.
const IMAGE: &[u8] = include_bytes!("warmup.png");
const GREY: u8 = 128;

/// A request of one grey image, or as many as the signature insists on, for each signature.
pub(super) fn warmup_file(signatures: &[&Signature]) -> Vec<u8> {
    let image_example = example(&[("image/encoded", IMAGE), ("image/format", b"png")]);
    let interfaces: Vec<(&Signature, Interface)> = signatures
        .iter()
        .map(|signature| (*signature, Interface::of(&signature.model.graph)))
        .collect();
    let requests: Vec<WarmupRequest<'_>> = interfaces
        .iter()
        .map(|(signature, interface)| {
            let file = match signature.options.input {
                InputType::TfExample => image_example.as_slice(),
                _ => IMAGE,
            };
            let [height, width] = signature.model.image_size.unwrap_or([SIDE; 2]);
            let sizes = [1, height, width, 3];
            WarmupRequest {
                signature: &signature.name,
                inputs: interface
                    .inputs
                    .iter()
                    .map(
                        |info| match signature.model.facts.further_input(&info.key) {
                            Some(_) => zeros(info),
                            None => filled(info, sizes, file),
                        },
                    )
                    .collect(),
            }
        })
        .collect();
    warmup_requests(&requests)
}

/// What is given beside images, as small as it can be: one box, the upper left corner of the image; an empty memory bank.
fn zeros(info: &InterfaceTensor) -> WarmupInput<'_> {
    let dims = info.shape.dims().iter();
    WarmupInput {
        name: &info.key,
        shape: dims.map(|dim| Dim::known(dim).unwrap_or(1)).collect(),
        value: match info.dtype {
            DType::I32 => Filled::I32(0),
            _ => Filled::F32(0.0),
        },
    }
}

/// An input of grey images, where sizes that are not fixed are taken from `sizes`.
fn filled<'a>(info: &'a InterfaceTensor, sizes: [u64; 4], file: &'a [u8]) -> WarmupInput<'a> {
    let dims = info.shape.dims().iter().zip(sizes);
    WarmupInput {
        name: &info.key,
        shape: dims
            .map(|(dim, size)| Dim::known(dim).unwrap_or(size))
            .collect(),
        value: match info.dtype {
            DType::String => Filled::String(file),
            DType::U8 => Filled::U8(GREY),
            _ => Filled::F32(f32::from(GREY)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tfod_graph::Shape;

    #[test]
    fn what_is_given_beside_images_is_filled_in_its_own_type() {
        let info = |key: &str, dtype, dims: Vec<Dim>| InterfaceTensor {
            key: key.to_owned(),
            dtype,
            shape: Shape(dims),
            layout: None,
        };
        let batch = || Dim::symbol("batch");
        let count = info("valid_context_size", DType::I32, vec![batch()]);
        assert_eq!(zeros(&count).value, Filled::I32(0));
        assert_eq!(zeros(&count).shape, [1]);
        let boxes = vec![batch(), Dim::symbol("num_boxes"), 4.into()];
        let boxes = info("boxes", DType::F32, boxes);
        assert_eq!(zeros(&boxes).value, Filled::F32(0.0));
        assert_eq!(zeros(&boxes).shape, [1, 1, 4]);
    }
}
