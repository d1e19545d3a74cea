//! EfficientNet (Tan & Le 2019, <https://arxiv.org/abs/1905.11946>): inverted residual blocks with squeeze-and-excitation, whose number and width are
//! scaled together from one base network. After the TensorFlow model garden's implementation, which the reference uses: the maps of strides 8 and
//! 16 come from a block of the base network's number even where a scaled stage goes on.

use tfod_graph::{Binary, Builder, Dim, Unary, ValueId};

use super::functional::Functional;
use super::mobilenet_v2::make_divisible;
use crate::error::ModelError;
use crate::hyperparams::Hyperparams;
use crate::layers::{Path, variable};

/// Depth and width relative to the base network B0 (compound scaling, section 3.3 of the paper).
#[derive(Clone, Copy, Debug)]
pub struct EfficientNet {
    /// Multiplier of all widths.
    pub width: f64,
    /// Multiplier of the number of blocks of each stage.
    pub depth: f64,
}

const fn scaled_by(width: f64, depth: f64) -> EfficientNet {
    EfficientNet { width, depth }
}

/// EfficientNet-B0 to EfficientNet-B7.
pub const SCALED: [EfficientNet; 8] = [
    scaled_by(1.0, 1.0),
    scaled_by(1.0, 1.1),
    scaled_by(1.1, 1.2),
    scaled_by(1.2, 1.4),
    scaled_by(1.4, 1.8),
    scaled_by(1.6, 2.2),
    scaled_by(1.8, 2.6),
    scaled_by(2.0, 3.1),
];

/// A stage of blocks: a row of table 1 of the paper.
struct Stage {
    /// Height and width of the depthwise kernels.
    kernel: u64,
    /// Factor by which a block widens its input inside.
    expansion: u64,
    /// Output channels of B0.
    channels: u64,
    /// Blocks of B0.
    blocks: u32,
    /// Stride of the first block.
    stride: u64,
}

const fn stage(kernel: u64, expansion: u64, channels: u64, blocks: u32, stride: u64) -> Stage {
    Stage {
        kernel,
        expansion,
        channels,
        blocks,
        stride,
    }
}

/// Table 1 of the paper, stages 2 to 8.
const STAGES: [Stage; 7] = [
    stage(3, 1, 16, 1, 1),
    stage(3, 6, 24, 2, 2),
    stage(5, 6, 40, 2, 2),
    stage(3, 6, 80, 3, 2),
    stage(5, 6, 112, 3, 1),
    stage(5, 6, 192, 4, 2),
    stage(3, 6, 320, 1, 1),
];
/// Channels of B0's first convolution.
const STEM: u64 = 32;
/// Channels of B0's last convolution.
const TOP: u64 = 1280;
/// Classes of the classifier that backbones are trained as.
const CLASSES: u64 = 1000;
/// The squeezed part of squeeze-and-excitation, as a fraction of a block's input: one in this many.
const SQUEEZE: u64 = 4;
/// Stage and block, counted from 0, that give the maps of levels 1 to 5 (strides 2 to 32).
const LEVELS: [(usize, u32); 5] = [(0, 0), (1, 1), (2, 1), (4, 2), (6, 0)];

impl EfficientNet {
    #[expect(clippy::cast_precision_loss, reason = "widths are small")]
    fn channels(self, base: u64) -> u64 {
        make_divisible(base as f64 * self.width)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few dozen blocks at most"
    )]
    fn blocks(self, base: u32) -> u32 {
        (f64::from(base) * self.depth).ceil() as u32
    }

    /// Writes the network over images `[n, h, w, 3]`. `path` is the feature extractor's place in the object tree. Gives the feature maps of levels
    /// 1 to 5, with strides 2 to 32.
    ///
    /// The classifier is written to its end: what the maps do not need is pruned from the graph, and known to be in checkpoints.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub fn build(
        self,
        b: &mut Builder,
        path: &Path,
        images: ValueId,
    ) -> Result<[ValueId; 5], ModelError> {
        // Two Keras models share the layers. Checkpoints have those up to the coarsest map under the smaller model.
        let smaller = path.child("_efficientnet");
        let whole = path.child("classification_backbone");
        let mut net = Functional::new(&smaller, false, Hyperparams::EFFICIENTNET);
        let mut x = conv_norm(&mut net, b, "stem", images, self.channels(STEM), [3, 2])?;
        x = net.activation(b, "stem_activation", x)?;
        let mut levels = Vec::with_capacity(LEVELS.len());
        for (index, stage) in STAGES.iter().enumerate() {
            let filters = self.channels(stage.channels);
            for repeat in 0..self.blocks(stage.blocks) {
                let name = format!("stack_{index}/block_{repeat}");
                let stride = if repeat == 0 { stage.stride } else { 1 };
                x = b.scope(&name, |b| block(&mut net, b, x, stage, filters, stride))?;
                if LEVELS.contains(&(index, repeat)) {
                    levels.push(x);
                }
                if levels.len() == LEVELS.len() {
                    net.continue_at(&whole);
                }
            }
        }
        let top = self.channels(TOP);
        conv_norm(&mut net, b, "top", x, top, [1, 1])?;
        let logits = net.next_layer();
        variable(b, &logits, "kernel", &[top, CLASSES], true)?;
        variable(b, &logits, "bias", &[CLASSES], true)?;
        <[ValueId; 5]>::try_from(levels).map_err(|found| {
            let text = format!("{} feature maps of EfficientNet, not 5", found.len());
            ModelError::Inconsistent(text)
        })
    }
}

/// A convolution and its normalisation.
fn conv_norm(
    net: &mut Functional<'_>,
    b: &mut Builder,
    name: &str,
    x: ValueId,
    filters: u64,
    [kernel, stride]: [u64; 2],
) -> Result<ValueId, ModelError> {
    let conv = format!("{name}_conv2d");
    let x = net.conv(b, &conv, x, filters, kernel, stride)?;
    net.norm(b, &format!("{name}_bn"), x)
}

/// An inverted residual block: widen, filter each channel, weigh the channels, project; added to its input where shapes allow.
fn block(
    net: &mut Functional<'_>,
    b: &mut Builder,
    input: ValueId,
    stage: &Stage,
    filters: u64,
    stride: u64,
) -> Result<ValueId, ModelError> {
    let outside = b.shape(input).dims().last().and_then(Dim::known);
    let outside = outside.unwrap_or_default();
    let inside = outside * stage.expansion;
    let mut x = input;
    if stage.expansion != 1 {
        x = conv_norm(net, b, "expand", x, inside, [1, 1])?;
        x = net.activation(b, "expand_activation", x)?;
    }
    x = net.depthwise(b, "depthwise_conv2d", x, stage.kernel, stride)?;
    x = net.norm(b, "depthwise_bn", x)?;
    x = net.activation(b, "depthwise_activation", x)?;
    x = squeeze_and_excite(net, b, x, (outside / SQUEEZE).max(1), inside)?;
    x = conv_norm(net, b, "project", x, filters, [1, 1])?;
    if stride == 1 && outside == filters {
        x = b.binary("add", Binary::Add, x, input)?;
    }
    Ok(x)
}

/// Weighs channels by a gate computed from their averages (Hu et al. 2018, <https://arxiv.org/abs/1709.01507>).
fn squeeze_and_excite(
    net: &mut Functional<'_>,
    b: &mut Builder,
    x: ValueId,
    squeezed: u64,
    channels: u64,
) -> Result<ValueId, ModelError> {
    let mut gate = b.global_average_pool("se_squeeze", x)?;
    gate = net.dense(b, "se_reduce_conv2d", gate, squeezed)?;
    gate = net.activation(b, "se_reduce_activation", gate)?;
    gate = net.dense(b, "se_expand_conv2d", gate, channels)?;
    gate = b.unary("se_expand_activation", Unary::Sigmoid, gate)?;
    Ok(b.binary("se_excite", Binary::Mul, x, gate)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaled_sizes_are_those_of_the_published_networks() {
        let sizes = |net: EfficientNet| {
            (
                net.channels(STEM),
                STAGES
                    .each_ref()
                    .map(|s| (net.channels(s.channels), net.blocks(s.blocks))),
                net.channels(TOP),
            )
        };
        let [b0, .., b3, b4, _, _, b7] = SCALED;
        assert_eq!(
            sizes(b0).1.map(|(channels, _)| channels),
            [16, 24, 40, 80, 112, 192, 320]
        );
        // From the shapes of the published checkpoints.
        assert_eq!(
            sizes(b3),
            (
                40,
                [
                    (24, 2),
                    (32, 3),
                    (48, 3),
                    (96, 5),
                    (136, 5),
                    (232, 6),
                    (384, 2)
                ],
                1536
            )
        );
        assert_eq!((b4.channels(STEM), b4.channels(320)), (48, 448));
        assert_eq!(
            sizes(b7).1.map(|(_, blocks)| blocks).iter().sum::<u32>(),
            55
        );
        assert_eq!(b7.channels(TOP), 2560);
    }
}
