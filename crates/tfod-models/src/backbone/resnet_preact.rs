//! ResNets that normalise and activate before they convolve (He et al. 2016, <https://arxiv.org/abs/1603.05027>), as Keras applications build them (ResNetV2),
//! and the reference's ResNet-18 and ResNet-34, which are made of the same parts in spite of their name there.
//!
//! The last block of a stage has the stride, and the first one the projection.

use tfod_graph::{Binary, Builder, Padding, PoolAttrs, ValueId};

use crate::backbone::functional::Functional;
use crate::error::ModelError;
use crate::hyperparams::Hyperparams;
use crate::layers::{ConvWindow, Path};

/// Channels of the first convolution.
const STEM: u64 = 64;
/// Channels inside a block of the stages conv2 to conv5.
const CHANNELS: [u64; 4] = [64, 128, 256, 512];
/// Factor by which the output of a block that narrows is wider than its inside.
const EXPANSION: u64 = 4;

/// How deep the network is, and what its blocks are.
#[derive(Clone, Copy, Debug)]
pub struct ResnetPreact {
    /// Blocks of the stages conv2 to conv5.
    pub blocks: [u64; 4],
    /// Strides of these stages.
    pub strides: [u64; 4],
    /// Whether blocks narrow, filter and widen; else they filter twice.
    pub bottleneck: bool,
}

/// ResNet50V2 of Keras applications.
pub const RESNET_50_V2: ResnetPreact = ResnetPreact {
    blocks: [3, 4, 6, 3],
    strides: [2, 2, 2, 1],
    bottleneck: true,
};
/// ResNet101V2 of Keras applications.
pub const RESNET_101_V2: ResnetPreact = ResnetPreact {
    blocks: [3, 4, 23, 3],
    ..RESNET_50_V2
};
/// `resnet_v1_18` of the reference.
pub const RESNET_18: ResnetPreact = ResnetPreact {
    blocks: [2, 2, 2, 2],
    strides: [1, 2, 2, 2],
    bottleneck: false,
};
/// `resnet_v1_34` of the reference.
pub const RESNET_34: ResnetPreact = ResnetPreact {
    blocks: [3, 4, 6, 3],
    ..RESNET_18
};

impl ResnetPreact {
    /// Writes the network over images `[n, h, w, 3]`. `path` is the Keras model's place in the object tree. Gives the results of conv2 to conv5.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub fn build(
        &self,
        b: &mut Builder,
        path: &Path,
        images: ValueId,
    ) -> Result<[ValueId; 4], ModelError> {
        let mut layers = Functional::new(path, false, Hyperparams::RESNET);
        let window = ConvWindow {
            kernel: 7,
            stride: 2,
            explicit_padding: true,
        };
        let mut x = layers.biased_conv(b, "conv1_conv", images, STEM, window)?;
        // With zeros, which may be larger than what is pooled.
        x = b.pad("pool1_pad", x, &[(0, 0), (1, 1), (1, 1), (0, 0)])?;
        x = b.max_pool("pool1_pool", x, PoolAttrs::new(3, 2, Padding::Valid))?;
        let mut features = [x; 4];
        for (stage, feature) in features.iter_mut().enumerate() {
            let blocks = self.blocks[stage];
            for block in 1..=blocks {
                let prefix = format!("conv{}_block{block}", stage + 2);
                let stride = if block == blocks {
                    self.strides[stage]
                } else {
                    1
                };
                let channels = CHANNELS[stage];
                x = self.block(b, &mut layers, &prefix, x, (channels, stride, block == 1))?;
            }
            *feature = x;
        }
        // The application ends with these, which detectors do not use; their variables are there.
        let end = layers.norm(b, "post_bn", x)?;
        layers.activation(b, "post_relu", end)?;
        Ok(features)
    }

    /// A block of so many channels inside, with a stride, whose input is projected where its width changes. Of layers equally far from the output, the
    /// projection is numbered first.
    fn block(
        &self,
        b: &mut Builder,
        layers: &mut Functional<'_>,
        prefix: &str,
        input: ValueId,
        (channels, stride, project): (u64, u64, bool),
    ) -> Result<ValueId, ModelError> {
        let named = |part: &str| format!("{prefix}_{part}");
        let strided = ConvWindow {
            kernel: 3,
            stride,
            explicit_padding: true,
        };
        let filter = ConvWindow {
            stride: 1,
            ..strided
        };
        let active = layers.norm(b, &named("preact_bn"), input)?;
        let active = layers.activation(b, &named("preact_relu"), active)?;
        let first = if self.bottleneck {
            ConvWindow::same(1)
        } else {
            filter
        };
        let mut x = layers.conv_by(b, &named("1_conv"), active, channels, first)?;
        x = layers.norm(b, &named("1_bn"), x)?;
        x = layers.activation(b, &named("1_relu"), x)?;
        x = layers.conv_by(b, &named("2_conv"), x, channels, strided)?;
        x = layers.norm(b, &named("2_bn"), x)?;
        x = layers.activation(b, &named("2_relu"), x)?;
        let outside = if self.bottleneck {
            EXPANSION * channels
        } else {
            channels
        };
        let shortcut = if project {
            layers.biased_conv(b, &named("0_conv"), active, outside, ConvWindow::same(1))?
        } else if stride > 1 {
            let every_second = PoolAttrs::new(1, stride, Padding::Valid);
            b.max_pool(&named("0_pool"), input, every_second)?
        } else {
            input
        };
        if self.bottleneck {
            x = layers.biased_conv(b, &named("3_conv"), x, outside, ConvWindow::same(1))?;
        }
        Ok(b.binary(&named("out"), Binary::Add, shortcut, x)?)
    }
}

/// Blocks that filter twice, over crops `[n, h, w, c]`, whose size they keep: for each stage how many, and their channels. `path` is the Keras model's place in the
/// object tree.
///
/// # Errors
/// When the graph refuses a node.
pub fn masks(
    b: &mut Builder,
    path: &Path,
    crops: ValueId,
    stages: &[(u64, u64)],
) -> Result<ValueId, ModelError> {
    let mut layers = Functional::new(path, false, Hyperparams::RESNET);
    let mut x = crops;
    for (stage, (blocks, channels)) in stages.iter().enumerate() {
        for block in 1..=*blocks {
            let prefix = format!("stage{stage}_block{block}");
            x = RESNET_18.block(b, &mut layers, &prefix, x, (*channels, 1, block == 1))?;
        }
    }
    Ok(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The papers count convolutions and the final classifier.
    #[test]
    fn depths_are_those_of_the_names() {
        for (net, depth) in [
            (RESNET_18, 18),
            (RESNET_34, 34),
            (RESNET_50_V2, 50),
            (RESNET_101_V2, 101),
        ] {
            let inside = if net.bottleneck { 3 } else { 2 };
            assert_eq!(inside * net.blocks.iter().sum::<u64>() + 2, depth);
        }
    }
}
