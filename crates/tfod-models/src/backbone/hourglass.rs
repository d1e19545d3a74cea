//! Stacked hourglasses (Newell et al. 2016, <https://arxiv.org/abs/1603.06937>) as the reference builds them for CenterNet: each hourglass halves the feature
//! map several times, doubles it again as often, and adds what it had at each size.

use tfod_graph::{Binary, Builder, ResizeMethod, Unary, ValueId};

use crate::error::ModelError;
use crate::hyperparams::BatchNorm;
use crate::layers::{ConvWindow, Path, batch_norm, channels, conv2d};
use crate::neck::double::double;

/// The reference asks for synchronised batch normalisation.
const NORM: BatchNorm = BatchNorm {
    center: true,
    scale: true,
    epsilon: 1e-5,
    synchronised: true,
};

/// How deep and wide the network is.
#[derive(Clone, Copy, Debug)]
pub struct Hourglass {
    /// Channels of the first convolution.
    pub stem: u64,
    /// Channels at each size of an hourglass, from fine to coarse; the first are also those of the results.
    pub channels: &'static [u64],
    /// Residual blocks at each size.
    pub blocks: &'static [u64],
    /// How many hourglasses follow each other.
    pub stacks: u64,
}

/// Hourglass-10 of the reference.
pub const HOURGLASS_10: Hourglass = Hourglass {
    stem: 32,
    channels: &[64, 64],
    blocks: &[1, 1],
    stacks: 1,
};
/// Hourglass-20 of the reference.
pub const HOURGLASS_20: Hourglass = Hourglass {
    stem: 48,
    channels: &[96, 96, 144],
    blocks: &[1, 2, 2],
    stacks: 1,
};
/// Hourglass-32 of the reference.
pub const HOURGLASS_32: Hourglass = Hourglass {
    stem: 48,
    channels: &[96, 96, 144, 144],
    blocks: &[2, 2, 2, 2],
    stacks: 1,
};
/// Hourglass-52 of the reference.
pub const HOURGLASS_52: Hourglass = Hourglass {
    stem: 64,
    channels: &[128, 128, 192, 192, 192, 256],
    blocks: &[2, 2, 2, 2, 2, 4],
    stacks: 1,
};
/// Hourglass-104, as the CenterNet paper uses it (Zhou et al. 2019, section 5).
pub const HOURGLASS_104: Hourglass = Hourglass {
    stem: 128,
    channels: &[256, 256, 384, 384, 384, 512],
    blocks: &[2, 2, 2, 2, 2, 4],
    stacks: 2,
};

/// A single hourglass over crops of feature maps, which makes masks: its first convolutions keep the size.
#[derive(Clone, Debug)]
pub struct MaskHourglass {
    /// Channels of the first convolution.
    pub stem: u64,
    /// As [`Hourglass::channels`].
    pub channels: Vec<u64>,
    /// As [`Hourglass::blocks`].
    pub blocks: &'static [u64],
    /// What it leaves out.
    pub shape: Shape,
}

/// Which parts of an hourglass a network has.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Whether it halves the map at each step and doubles it again.
    pub halves: bool,
    /// Whether what it had at each size is added.
    pub has_shortcuts: bool,
}

impl Shape {
    /// A whole hourglass, with all of them.
    pub const WHOLE: Self = Self {
        halves: true,
        has_shortcuts: true,
    };
}

/// What changes from one residual block to another.
#[derive(Clone, Copy)]
struct Residual {
    channels: u64,
    stride: u64,
    /// Whether the input is brought to the new shape by a convolution.
    projection: bool,
}

/// The blocks of one list: all but the last have `inner` channels, the first has the stride.
fn residuals(count: u64, inner: u64, outer: u64, stride: u64, projection: bool) -> Vec<Residual> {
    (1..=count)
        .map(|block| {
            let (is_first, is_last) = (block == 1, block == count);
            let stride = if is_first { stride } else { 1 };
            // A list of one block has a projection for its stride alone, whatever is asked for.
            let projection = match (is_last, count) {
                (true, 1) => stride > 1,
                (true, _) => inner != outer,
                (false, _) => stride > 1 || is_first && projection,
            };
            Residual {
                channels: if is_last { outer } else { inner },
                stride,
                projection,
            }
        })
        .collect()
}

/// A convolution without bias, then normalisation. Kernels of more than one position are padded by half of them on each side, whatever the size of the image.
fn conv_norm(
    b: &mut Builder,
    name: &str,
    path: &Path,
    x: ValueId,
    filters: u64,
    kernel: u64,
    stride: u64,
) -> Result<ValueId, ModelError> {
    let window = ConvWindow {
        kernel,
        stride,
        explicit_padding: kernel > 1,
    };
    let y = conv2d(b, name, &path.child("conv"), x, filters, window, false)?;
    let norm = format!("{name}_norm");
    Ok(batch_norm(b, &norm, &path.child("norm"), y, NORM)?)
}

/// [`conv_norm`], then a rectifier.
fn conv_block(
    b: &mut Builder,
    name: &str,
    path: &Path,
    x: ValueId,
    filters: u64,
    kernel: u64,
    stride: u64,
) -> Result<ValueId, ModelError> {
    let y = conv_norm(b, name, path, x, filters, kernel, stride)?;
    Ok(b.unary(&format!("{name}_relu"), Unary::Relu, y)?)
}

fn residual_block(
    b: &mut Builder,
    path: &Path,
    x: ValueId,
    block: Residual,
) -> Result<ValueId, ModelError> {
    let Residual {
        channels: filters,
        stride,
        projection,
    } = block;
    let mut y = conv_block(b, "conv1", &path.child("conv_block"), x, filters, 3, stride)?;
    let same = ConvWindow::same(3);
    y = conv2d(b, "conv2", &path.child("conv"), y, filters, same, false)?;
    y = batch_norm(b, "conv2_norm", &path.child("norm"), y, NORM)?;
    let skip = if projection {
        conv_norm(b, "skip", &path.child("skip"), x, filters, 1, stride)?
    } else {
        x
    };
    y = b.binary("add", Binary::Add, y, skip)?;
    Ok(b.unary("relu", Unary::Relu, y)?)
}

fn residual_blocks(
    b: &mut Builder,
    name: &str,
    path: &Path,
    x: ValueId,
    blocks: &[Residual],
) -> Result<ValueId, ModelError> {
    let mut x = x;
    for (index, block) in blocks.iter().enumerate() {
        x = b.scope(&format!("{name}_{index}"), |b| {
            residual_block(b, &path.child(index), x, *block)
        })?;
    }
    Ok(x)
}

/// One size of an hourglass, with all coarser ones inside.
fn encoder_decoder(
    b: &mut Builder,
    path: &Path,
    x: ValueId,
    (channels, blocks): (&[u64], &[u64]),
    shape: Shape,
) -> Result<ValueId, ModelError> {
    let ([outer, inner, ..], [count, inner_count, ..]) = (channels, blocks) else {
        return Err(ModelError::Inconsistent(
            "an hourglass has two sizes or more".into(),
        ));
    };
    let (outer, inner) = (*outer, *inner);
    let list = |name: &str| path.child(name);
    let encoded = if shape.has_shortcuts {
        let same = residuals(*count, outer, outer, 1, false);
        Some(residual_blocks(
            b,
            "encode",
            &list("encoder_block1"),
            x,
            &same,
        )?)
    } else {
        None
    };
    let stride = if shape.halves { 2 } else { 1 };
    let down = residuals(*count, inner, inner, stride, outer != inner);
    let mut y = residual_blocks(b, "down", &list("encoder_block2"), x, &down)?;
    let inside = list("inner_block");
    if channels.len() > 2 {
        let path = inside.child(0);
        y = b.scope("inner", |b| {
            encoder_decoder(b, &path, y, (&channels[1..], &blocks[1..]), shape)
        })?;
    } else {
        let blocks = residuals(*inner_count, inner, inner, 1, false);
        y = residual_blocks(b, "inner", &inside, y, &blocks)?;
    }
    let up = residuals(*count, inner, outer, 1, false);
    y = residual_blocks(b, "decode", &list("decoder_block"), y, &up)?;
    if shape.halves {
        y = double(
            b,
            "upsample",
            y,
            encoded.unwrap_or(x),
            ResizeMethod::Nearest,
        )?;
    }
    match encoded {
        Some(encoded) => Ok(b.binary("merge", Binary::Add, encoded, y)?),
        None => Ok(y),
    }
}

impl Hourglass {
    /// Writes the network over images `[n, h, w, 3]`. `path` is the Keras model's place in the object tree. Gives the feature map, of stride 4, of each
    /// hourglass.
    ///
    /// # Errors
    /// For images whose size does not halve exactly as often as the hourglass halves it, and when the graph refuses a node.
    pub fn build(
        &self,
        b: &mut Builder,
        path: &Path,
        images: ValueId,
    ) -> Result<Vec<ValueId>, ModelError> {
        let width = self.channels.first().copied().unwrap_or_default();
        let stem = path.child("downsample_input");
        let first = stem.child("conv_block");
        let mut x = conv_block(b, "stem", &first, images, self.stem, 7, 2)?;
        let block = Residual {
            channels: width,
            stride: 2,
            projection: true,
        };
        x = b.scope("stem_residual", |b| {
            residual_block(b, &stem.child("residual_block"), x, block)
        })?;
        let mut outputs = Vec::new();
        for stack in 0..self.stacks {
            let nth = |list: &str| path.child(list).child(stack);
            let y = b.scope(&format!("hourglass_{stack}"), |b| {
                let sizes = (self.channels, self.blocks);
                let path = nth("hourglass_network");
                encoder_decoder(b, &path, x, sizes, Shape::WHOLE)
            })?;
            let name = format!("output_{stack}");
            let output = conv_block(b, &name, &nth("output_conv"), y, width, 3, 1)?;
            outputs.push(output);
            if stack + 1 == self.stacks {
                break;
            }
            x = b.scope::<_, ModelError>(&format!("between_{stack}"), |b| {
                let own = conv_norm(b, "own", &nth("intermediate_conv1"), x, width, 1, 1)?;
                let made = conv_norm(b, "made", &nth("intermediate_conv2"), output, width, 1, 1)?;
                let sum = b.binary("add", Binary::Add, own, made)?;
                let sum = b.unary("relu", Unary::Relu, sum)?;
                let block = Residual {
                    channels: width,
                    stride: 1,
                    projection: false,
                };
                residual_block(b, &nth("intermediate_residual"), sum, block)
            })?;
        }
        debug_assert!(outputs.iter().all(|map| channels(b, *map) == width));
        Ok(outputs)
    }

    /// The sides of images are multiples of this.
    pub fn stride(&self) -> u64 {
        4 << (self.channels.len() - 1)
    }
}

impl MaskHourglass {
    /// Writes the network over crops `[n, h, w, c]`. `path` is the Keras model's place in the object tree. Gives the feature map, as large as the crops.
    ///
    /// # Errors
    /// For crops whose size does not halve exactly as often as the hourglass halves it, and when the graph refuses a node.
    pub fn build(
        &self,
        b: &mut Builder,
        path: &Path,
        crops: ValueId,
    ) -> Result<ValueId, ModelError> {
        let width = self.channels.first().copied().unwrap_or_default();
        let stem = path.child("conv_input");
        let mut x = conv_block(b, "stem", &stem.child("conv_block"), crops, self.stem, 3, 1)?;
        let block = Residual {
            channels: width,
            stride: 1,
            projection: true,
        };
        x = b.scope("stem_residual", |b| {
            residual_block(b, &stem.child("residual_block"), x, block)
        })?;
        let first = |list: &str| path.child(list).child(0);
        let y = b.scope("hourglass", |b| {
            let sizes = (self.channels.as_slice(), self.blocks);
            encoder_decoder(b, &first("hourglass_network"), x, sizes, self.shape)
        })?;
        conv_block(b, "output", &first("output_conv"), y, width, 3, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Convolutions that an image goes through one after the other, as the paper counts them.
    fn depth(net: &Hourglass) -> u64 {
        let lists = net.blocks.len() - 1;
        let both_ways: u64 = net.blocks[..lists].iter().map(|n| 2 * 2 * n).sum();
        let inside = 2 * net.blocks[lists];
        let between = (net.stacks - 1) * 3;
        3 + net.stacks * (both_ways + inside + 1) + between
    }

    #[test]
    fn depths_are_those_of_the_names() {
        for (net, name) in [
            (HOURGLASS_10, 10),
            (HOURGLASS_20, 20),
            (HOURGLASS_32, 32),
            (HOURGLASS_52, 52),
            (HOURGLASS_104, 104),
        ] {
            assert_eq!(depth(&net), name);
            assert_eq!(net.channels.len(), net.blocks.len());
        }
    }
}
