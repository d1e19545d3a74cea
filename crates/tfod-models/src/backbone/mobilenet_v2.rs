//! MobileNetV2 (Sandler et al. 2018, <https://arxiv.org/abs/1801.04381>), with the widths of the Keras application and the changes that the
//! reference makes to it: a minimal depth, a multiplier that also thins the last convolution, convolutions configured by the detector.

use tfod_graph::{Binary, Builder, ValueId};

use crate::backbone::functional::Functional;
use crate::error::ModelError;
use crate::fields::scaled;
use crate::hyperparams::Hyperparams;
use crate::layers::{Path, channels};

/// One group of inverted residual blocks: a row of table 2 of the paper.
struct Group {
    /// Factor by which a block widens its input inside (t).
    expansion: u64,
    /// Output channels before the multiplier (c).
    channels: u64,
    /// Blocks (n).
    blocks: u64,
    /// Stride of the first block (s).
    stride: u64,
}

const fn group(expansion: u64, channels: u64, blocks: u64, stride: u64) -> Group {
    Group {
        expansion,
        channels,
        blocks,
        stride,
    }
}

/// Table 2 of the paper.
const GROUPS: [Group; 7] = [
    group(1, 16, 1, 1),
    group(6, 24, 2, 2),
    group(6, 32, 3, 2),
    group(6, 64, 4, 2),
    group(6, 96, 3, 1),
    group(6, 160, 3, 2),
    group(6, 320, 1, 1),
];
/// Channels of the first convolution.
const STEM: u64 = 32;
/// Channels of the last convolution.
const LAST: u64 = 1280;
/// Blocks (counted from 0) after which strides 4, 8 and 16 are complete; the last convolution completes stride 32.
const FEATURE_BLOCKS: [u64; 3] = [2, 5, 12];
/// The last block of stride 16 that has 64 channels, before the network becomes wider.
const NARROW_BLOCK: u64 = 9;
/// The block whose widened input SSD builds on: the finest channels of stride 16 before stride 32 begins.
const EXPANDED_BLOCK: u64 = 13;

/// How wide the network is and how its layers are configured.
#[derive(Clone, Copy, Debug)]
pub struct MobilenetV2 {
    /// Multiplier of all widths (alpha).
    pub depth_multiplier: f32,
    /// No convolution but the widening ones has fewer channels.
    pub min_depth: u64,
    /// Padding written out; see [`ConvWindow`](crate::layers::ConvWindow).
    pub explicit_padding: bool,
    /// Activation and normalisation.
    pub hyperparams: Hyperparams,
}

/// The feature maps that detectors use.
#[derive(Clone, Copy, Debug)]
pub struct Features {
    /// Of strides 4, 8, 16 and 32.
    pub levels: [ValueId; 4],
    /// Of stride 16, before the network becomes wider (64 channels).
    pub narrow: ValueId,
    /// Of stride 16, widened for the block that begins stride 32 (6 times the channels of the level).
    pub expanded: ValueId,
}

/// The nearest multiple of 8, but not less than 90 % of the value (the paper's rule for channel counts).
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "widths are small and positive; the truncation is the rule's"
)]
pub(super) fn make_divisible(value: f64) -> u64 {
    let rounded = ((value + 4.0) as u64 / 8 * 8).max(8);
    if (rounded as f64) < 0.9 * value {
        rounded + 8
    } else {
        rounded
    }
}

impl MobilenetV2 {
    #[expect(clippy::cast_precision_loss, reason = "widths are small")]
    fn divisible(&self, channels: u64) -> u64 {
        make_divisible(channels as f64 * f64::from(self.depth_multiplier))
    }

    /// Channels of a block's output, before the minimal depth. The Keras application truncates before it rounds.
    #[expect(clippy::cast_precision_loss, reason = "widths are small")]
    fn block_channels(&self, channels: u64) -> u64 {
        make_divisible(scaled(channels, self.depth_multiplier) as f64)
    }

    fn last_channels(&self) -> u64 {
        if self.depth_multiplier < 1.0 {
            self.divisible(LAST)
        } else {
            LAST
        }
    }

    /// Writes the network over images `[n, h, w, 3]`. `path` is the Keras model's place in the object tree.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub fn build(
        &self,
        b: &mut Builder,
        path: &Path,
        images: ValueId,
    ) -> Result<Features, ModelError> {
        let mut net = Functional::new(path, self.explicit_padding, self.hyperparams);
        let stem = self.divisible(STEM).max(self.min_depth);
        let mut x = net.conv(b, "Conv1", images, stem, 3, 2)?;
        x = net.norm(b, "bn_Conv1", x)?;
        x = net.activation(b, "Conv1_relu", x)?;
        let mut levels = Vec::with_capacity(4);
        let (mut narrow, mut expanded) = (x, x);
        let mut block = 0;
        for group in &GROUPS {
            for repeat in 0..group.blocks {
                let stride = if repeat == 0 { group.stride } else { 1 };
                let (inside, output) = self.block(b, &mut net, block, x, group, stride)?;
                x = output;
                if FEATURE_BLOCKS.contains(&block) {
                    levels.push(x);
                }
                if block == NARROW_BLOCK {
                    narrow = x;
                }
                if block == EXPANDED_BLOCK {
                    expanded = inside;
                }
                block += 1;
            }
        }
        let last = self.last_channels().max(self.min_depth);
        x = net.conv(b, "Conv_1", x, last, 1, 1)?;
        x = net.norm(b, "Conv_1_bn", x)?;
        levels.push(net.activation(b, "out_relu", x)?);
        let levels = <[ValueId; 4]>::try_from(levels).map_err(|found| {
            ModelError::Inconsistent(format!(
                "{} feature maps of MobileNetV2, not 4",
                found.len()
            ))
        })?;
        Ok(Features {
            levels,
            narrow,
            expanded,
        })
    }

    /// An inverted residual block: widen, filter each channel, project; added to its input where shapes allow. Gives what is widened, and the
    /// block's output.
    fn block(
        &self,
        b: &mut Builder,
        net: &mut Functional<'_>,
        index: u64,
        input: ValueId,
        group: &Group,
        stride: u64,
    ) -> Result<(ValueId, ValueId), ModelError> {
        let prefix = match index {
            0 => String::from("expanded_conv"),
            index => format!("block_{index}"),
        };
        let channels = channels(b, input);
        let mut x = input;
        if index > 0 {
            let filters = group.expansion * channels;
            x = net.conv(b, &format!("{prefix}_expand"), x, filters, 1, 1)?;
            x = net.norm(b, &format!("{prefix}_expand_BN"), x)?;
            x = net.activation(b, &format!("{prefix}_expand_relu"), x)?;
        }
        let inside = x;
        x = net.depthwise(b, &format!("{prefix}_depthwise"), x, 3, stride)?;
        x = net.norm(b, &format!("{prefix}_depthwise_BN"), x)?;
        x = net.activation(b, &format!("{prefix}_depthwise_relu"), x)?;
        let nominal = self.block_channels(group.channels);
        let filters = nominal.max(self.min_depth);
        x = net.conv(b, &format!("{prefix}_project"), x, filters, 1, 1)?;
        x = net.norm(b, &format!("{prefix}_project_BN"), x)?;
        // The application compares with the width before the minimal depth is applied, so a block widened by it is not residual.
        if stride == 1 && channels == nominal {
            x = b.binary(&format!("{prefix}_add"), Binary::Add, input, x)?;
        }
        Ok((inside, x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn channels_are_those_of_the_published_widths() {
        // Output channels of the seven groups for multipliers of the published checkpoints.
        let widths = |alpha: f32| {
            let net = MobilenetV2 {
                depth_multiplier: alpha,
                min_depth: 0,
                explicit_padding: false,
                hyperparams: Hyperparams::MOBILENET,
            };
            (
                net.divisible(STEM),
                GROUPS.each_ref().map(|g| net.block_channels(g.channels)),
                net.last_channels(),
            )
        };
        assert_eq!(widths(1.0), (32, [16, 24, 32, 64, 96, 160, 320], 1280));
        assert_eq!(widths(0.35), (16, [8, 8, 16, 24, 32, 56, 112], 448));
        assert_eq!(widths(1.4), (48, [24, 32, 48, 88, 136, 224, 448], 1280));
    }

    proptest! {
        #[test]
        fn divisible_means_by_eight_and_not_much_less(value in 1.0f64..5000.0) {
            let rounded = make_divisible(value);
            prop_assert_eq!(rounded % 8, 0);
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let rounded = rounded as f64;
            prop_assert!(rounded >= 0.9 * value && rounded <= (1.1 * value + 8.0).max(8.0));
        }
    }
}
