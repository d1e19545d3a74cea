//! MobileNetV1 (Howard et al. 2017, <https://arxiv.org/abs/1704.04861>): a chain of depthwise convolutions, each followed by one across channels,
//! with the changes that the reference makes to the Keras application: a minimal depth, convolutions configured by the detector, and a
//! width multiplier that is applied twice.

use tfod_graph::{Builder, ValueId};

use crate::backbone::functional::Functional;
use crate::error::ModelError;
use crate::fields::{FieldPath, invalid, scaled};
use crate::hyperparams::Hyperparams;
use crate::layers::Path;

/// Channels of the first convolution.
const STEM: u64 = 32;
/// Output channels and stride of each block, counted from 1: table 1 of the paper.
const BLOCKS: [(u64, u64); 13] = [
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
];
/// Blocks after which strides 4, 8, 16 and 32 are complete.
const FEATURE_BLOCKS: [usize; 4] = [3, 5, 11, 13];
/// The narrower last blocks of the reference's depthwise pyramids: (block, output channels).
const THIN_TOP: [(usize, u64); 2] = [(12, 512), (13, 256)];

/// How wide the network is and how its layers are configured.
#[derive(Clone, Copy, Debug)]
pub struct MobilenetV1 {
    /// Multiplier of all widths (alpha).
    pub depth_multiplier: f32,
    /// Where the configuration has it.
    pub multiplier_field: FieldPath,
    /// No convolution across channels has fewer of them.
    pub min_depth: u64,
    /// Padding written out; see [`ConvWindow`](crate::layers::ConvWindow).
    pub explicit_padding: bool,
    /// Whether the last two blocks have 512 and 256 channels instead of 1024.
    pub thin_top: bool,
    /// Activation and normalisation.
    pub hyperparams: Hyperparams,
}

impl MobilenetV1 {
    /// The channels of a convolution. The Keras application multiplies and the reference multiplies its result again, so that a multiplier of 0.5
    /// makes a network of a quarter of the width.
    fn channels(&self, nominal: u64) -> u64 {
        self.widened(scaled(nominal, self.depth_multiplier))
    }

    fn widened(&self, channels: u64) -> u64 {
        scaled(channels, self.depth_multiplier).max(self.min_depth)
    }

    fn block_channels(&self, block: usize, nominal: u64) -> u64 {
        let thin = THIN_TOP.iter().find(|(thin, _)| *thin == block);
        match thin.filter(|_| self.thin_top) {
            Some((_, channels)) => self.widened(*channels),
            None => self.channels(nominal),
        }
    }

    /// Writes the network over images `[n, h, w, 3]`. `path` is the Keras model's place in the object tree. Gives the feature maps of strides 4, 8,
    /// 16 and 32.
    ///
    /// # Errors
    /// When a multiplier leaves a layer without channels.
    pub fn build(
        &self,
        b: &mut Builder,
        path: &Path,
        images: ValueId,
    ) -> Result<[ValueId; 4], ModelError> {
        if self.channels(STEM) == 0 {
            return Err(invalid(
                self.multiplier_field,
                self.depth_multiplier,
                "a multiplier that leaves every layer a channel, or min_depth above 0",
            ));
        }
        let mut net = Functional::new(path, self.explicit_padding, self.hyperparams);
        let mut x = net.conv(b, "conv1", images, self.channels(STEM), 3, 2)?;
        x = net.norm(b, "conv1_bn", x)?;
        x = net.activation(b, "conv1_relu", x)?;
        let mut features = Vec::with_capacity(FEATURE_BLOCKS.len());
        for (block, (nominal, stride)) in (1..).zip(BLOCKS) {
            x = net.depthwise(b, &format!("conv_dw_{block}"), x, 3, stride)?;
            x = net.norm(b, &format!("conv_dw_{block}_bn"), x)?;
            x = net.activation(b, &format!("conv_dw_{block}_relu"), x)?;
            let filters = self.block_channels(block, nominal);
            x = net.conv(b, &format!("conv_pw_{block}"), x, filters, 1, 1)?;
            x = net.norm(b, &format!("conv_pw_{block}_bn"), x)?;
            x = net.activation(b, &format!("conv_pw_{block}_relu"), x)?;
            if FEATURE_BLOCKS.contains(&block) {
                features.push(x);
            }
        }
        <[ValueId; 4]>::try_from(features).map_err(|found| {
            ModelError::Inconsistent(format!(
                "{} feature maps of MobileNetV1, not 4",
                found.len()
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_multiplied_twice_and_the_thin_top_once() {
        let widths = |depth_multiplier, min_depth, thin_top| {
            let net = MobilenetV1 {
                depth_multiplier,
                multiplier_field: FieldPath::MODEL,
                min_depth,
                explicit_padding: false,
                thin_top,
                hyperparams: Hyperparams::MOBILENET,
            };
            let blocks = (1..).zip(BLOCKS);
            let blocks = blocks.map(|(block, (nominal, _))| net.block_channels(block, nominal));
            let blocks: Vec<u64> = blocks.collect();
            (
                net.channels(STEM),
                blocks[0],
                blocks[10],
                blocks[11],
                blocks[12],
            )
        };
        assert_eq!(widths(1.0, 16, false), (32, 64, 512, 1024, 1024));
        assert_eq!(widths(1.0, 16, true), (32, 64, 512, 512, 256));
        assert_eq!(widths(0.5, 16, false), (16, 16, 128, 256, 256));
        assert_eq!(widths(0.5, 0, true), (8, 16, 128, 256, 128));
    }
}
