//! `resnet_v1_50_fpn` and its siblings: a ResNet and a pyramid; `resnet_v2_50` and its sibling: a ResNet and transposed convolutions.

use tfod_graph::{Builder, ResizeMethod, ValueId};

use super::upsampling::{TopDown, transposed};
use super::{FeatureExtractor, Further, Pixels};
use crate::backbone::resnet_preact::ResnetPreact;
use crate::backbone::resnet_v1::ResnetV1;
use crate::error::ModelError;
use crate::facts::Normalization;
use crate::hyperparams::Hyperparams;
use crate::layers::Path;

/// The pyramid over a ResNet.
const PYRAMID: TopDown = TopDown {
    added: [256, 128, 64],
    top: 256,
    last: 64,
    separable: false,
    method: ResizeMethod::Nearest,
};

enum Network {
    /// With a pyramid.
    V1(ResnetV1),
    /// With a pyramid.
    Basic(ResnetPreact),
    /// With transposed convolutions.
    V2(ResnetPreact),
}

struct Resnet {
    pixels: Pixels,
    network: Network,
}

fn of(pixels: &Pixels, network: Network) -> Box<dyn FeatureExtractor> {
    let pixels = *pixels;
    Box::new(Resnet { pixels, network })
}

pub(super) fn v1(pixels: &Pixels, blocks: [u64; 4]) -> Box<dyn FeatureExtractor> {
    let network = ResnetV1 {
        blocks,
        depth_multiplier: 1.0,
        min_depth: 0,
        hyperparams: Hyperparams::RESNET,
        is_application: true,
    };
    of(pixels, Network::V1(network))
}

pub(super) fn basic(pixels: &Pixels, network: ResnetPreact) -> Box<dyn FeatureExtractor> {
    of(pixels, Network::Basic(network))
}

pub(super) fn v2(pixels: &Pixels, network: ResnetPreact) -> Box<dyn FeatureExtractor> {
    of(pixels, Network::V2(network))
}

impl FeatureExtractor for Resnet {
    fn normalization(&self) -> Normalization {
        self.pixels.normalization(match self.network {
            Network::V1(_) | Network::Basic(_) => Further::Caffe,
            Network::V2(_) => Further::Signed,
        })
    }

    fn build(
        &self,
        b: &mut Builder,
        path: &Path,
        images: ValueId,
    ) -> Result<Vec<ValueId>, ModelError> {
        let base = path.child("_base_model");
        let features = b.scope("Resnet", |b| match &self.network {
            Network::V1(network) => network.build(b, &base, images),
            Network::Basic(network) | Network::V2(network) => network.build(b, &base, images),
        })?;
        let path = path.child("_feature_extractor_model");
        let map = match self.network {
            Network::V1(_) | Network::Basic(_) => PYRAMID.build(b, &path, features)?,
            Network::V2(_) => transposed(b, &path, features[3], 3)?,
        };
        Ok(vec![map])
    }
}
