//! ResNet with bottleneck blocks (He et al. 2015, <https://arxiv.org/abs/1512.03385>), as the Keras application builds it, and as the reference changes it for
//! most detectors: convolutions without bias, widths with a multiplier and a minimum, a padding of the pooling that depends on the size.
//!
//! The first convolution of a stage's first block has the stride, as in the paper; later versions of the network give it to the second.

use tfod_graph::{Binary, Builder, Padding, PoolAttrs, ValueId};

use crate::backbone::functional::Functional;
use crate::error::ModelError;
use crate::fields::scaled;
use crate::hyperparams::Hyperparams;
use crate::layers::{ConvWindow, Path};

/// Blocks of ResNet-50 in the stages conv2 to conv5: table 1 of the paper.
pub const RESNET_50: [u64; 4] = [3, 4, 6, 3];
/// Blocks of ResNet-101.
pub const RESNET_101: [u64; 4] = [3, 4, 23, 3];
/// Blocks of ResNet-152.
pub const RESNET_152: [u64; 4] = [3, 8, 36, 3];

/// Channels of the first convolution.
const STEM: u64 = 64;
/// Channels inside a block, and stride of the first block, of the stages conv2 to conv5.
const STAGES: [(u64, u64); 4] = [(64, 1), (128, 2), (256, 2), (512, 2)];
/// Factor by which a block's output is wider than its inside.
const EXPANSION: u64 = 4;

/// How deep and wide the network is and how its layers are configured.
#[derive(Clone, Copy, Debug)]
pub struct ResnetV1 {
    /// Blocks of the stages conv2 to conv5.
    pub blocks: [u64; 4],
    /// Multiplier of all widths.
    pub depth_multiplier: f32,
    /// No convolution has fewer channels.
    pub min_depth: u64,
    /// Activation and normalisation. Whether convolutions have a bias does not depend on these.
    pub hyperparams: Hyperparams,
    /// Whether it is as the Keras application has it: convolutions have biases, and the pooling is padded by one on each side.
    pub is_application: bool,
}

impl ResnetV1 {
    fn width(&self, channels: u64) -> u64 {
        scaled(channels, self.depth_multiplier).max(self.min_depth)
    }

    /// Writes the network over images `[n, h, w, 3]`. `path` is the Keras model's place in the object tree. Gives the feature maps of strides 4, 8,
    /// 16 and 32: the results of conv2 to conv5.
    ///
    /// # Errors
    /// For a multiplier that leaves no channels, or when the graph refuses a node.
    pub fn build(
        &self,
        b: &mut Builder,
        path: &Path,
        images: ValueId,
    ) -> Result<[ValueId; 4], ModelError> {
        let features = self.first_stages(b, path, images, STAGES.len())?;
        <[ValueId; 4]>::try_from(features)
            .map_err(|_| ModelError::Inconsistent("ResNet has four stages".into()))
    }

    /// Writes the network up to some of its four stages; gives their feature maps.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn first_stages(
        &self,
        b: &mut Builder,
        path: &Path,
        images: ValueId,
        stages: usize,
    ) -> Result<Vec<ValueId>, ModelError> {
        if self.width(STEM) == 0 {
            return Err(ModelError::Inconsistent(format!(
                "with a depth multiplier of {} and no minimal depth, ResNet has no channels",
                self.depth_multiplier
            )));
        }
        let mut net = Net {
            config: self,
            layers: Functional::new(path, false, self.hyperparams),
        };
        // Padded by half the kernel on each side, whatever the size of the image.
        let window = ConvWindow {
            kernel: 7,
            stride: 2,
            explicit_padding: true,
        };
        let mut x = net.conv(b, "conv1_conv", images, STEM, window)?;
        x = net.layers.norm(b, "conv1_bn", x)?;
        x = net.layers.activation(b, "conv1_relu", x)?;
        x = if self.is_application {
            let padded = b.pad("pool1_pad", x, &[(0, 0), (1, 1), (1, 1), (0, 0)])?;
            b.max_pool("pool1_pool", padded, PoolAttrs::new(3, 2, Padding::Valid))?
        } else {
            b.max_pool("pool1_pool", x, PoolAttrs::new(3, 2, Padding::Same))?
        };
        let stages = 0..stages.min(STAGES.len());
        stages
            .map(|stage| {
                x = net.stage(b, stage, x)?;
                Ok(x)
            })
            .collect()
    }

    /// Writes the last stage, conv5, as a Keras model of its own, over feature maps of the one before it.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub fn last_stage(
        &self,
        b: &mut Builder,
        path: &Path,
        features: ValueId,
    ) -> Result<ValueId, ModelError> {
        let mut net = Net {
            config: self,
            layers: Functional::new(path, false, self.hyperparams),
        };
        net.stage(b, STAGES.len() - 1, features)
    }
}

/// The network as it is written. Of layers equally far from the output, the shortcut's are numbered first.
struct Net<'a> {
    config: &'a ResnetV1,
    layers: Functional<'a>,
}

impl Net<'_> {
    fn conv(
        &mut self,
        b: &mut Builder,
        name: &str,
        x: ValueId,
        channels: u64,
        window: ConvWindow,
    ) -> Result<ValueId, ModelError> {
        let filters = self.config.width(channels);
        if self.config.is_application {
            self.layers.biased_conv(b, name, x, filters, window)
        } else {
            self.layers.conv_by(b, name, x, filters, window)
        }
    }

    /// The blocks of one of [`STAGES`].
    fn stage(&mut self, b: &mut Builder, stage: usize, x: ValueId) -> Result<ValueId, ModelError> {
        let (channels, stride) = STAGES[stage];
        let mut x = x;
        for block in 1..=self.config.blocks[stage] {
            let prefix = format!("conv{}_block{block}", stage + 2);
            let shortcut = (block == 1).then_some(stride);
            x = self.block(b, &prefix, x, channels, shortcut)?;
        }
        Ok(x)
    }

    /// A bottleneck block: narrow, filter, widen; added to its input. In the first block of a stage, where width and size change by the stride
    /// `projection`, the input is brought to the new shape by a convolution.
    fn block(
        &mut self,
        b: &mut Builder,
        prefix: &str,
        input: ValueId,
        channels: u64,
        projection: Option<u64>,
    ) -> Result<ValueId, ModelError> {
        let strided = ConvWindow {
            stride: projection.unwrap_or(1),
            ..ConvWindow::same(1)
        };
        let named = |part: &str| format!("{prefix}_{part}");
        let mut x = self.conv(b, &named("1_conv"), input, channels, strided)?;
        x = self.layers.norm(b, &named("1_bn"), x)?;
        x = self.layers.activation(b, &named("1_relu"), x)?;
        x = self.conv(b, &named("2_conv"), x, channels, ConvWindow::same(3))?;
        x = self.layers.norm(b, &named("2_bn"), x)?;
        x = self.layers.activation(b, &named("2_relu"), x)?;
        let wide = EXPANSION * channels;
        let mut shortcut = input;
        if projection.is_some() {
            shortcut = self.conv(b, &named("0_conv"), input, wide, strided)?;
        }
        x = self.conv(b, &named("3_conv"), x, wide, ConvWindow::same(1))?;
        if projection.is_some() {
            shortcut = self.layers.norm(b, &named("0_bn"), shortcut)?;
        }
        x = self.layers.norm(b, &named("3_bn"), x)?;
        x = b.binary(&named("add"), Binary::Add, shortcut, x)?;
        self.layers.activation(b, &named("out"), x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paper counts convolutions and the final classifier.
    #[test]
    fn depths_are_those_of_the_names() {
        for (blocks, depth) in [(RESNET_50, 50), (RESNET_101, 101), (RESNET_152, 152)] {
            assert_eq!(3 * blocks.iter().sum::<u64>() + 2, depth);
        }
    }
}
