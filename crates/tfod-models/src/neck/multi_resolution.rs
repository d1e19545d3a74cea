//! Further feature maps of an SSD (Liu et al. 2016, section 2.1, <https://arxiv.org/abs/1512.02325>): each is half the size of the one before, made by a
//! convolution across channels and one of 3x3 pixels and stride 2. The reference's `KerasMultiResolutionFeatureMaps`.

use tfod_graph::{Builder, ValueId};

use crate::error::ModelError;
use crate::fields::{FieldPath, invalid, scaled};
use crate::hyperparams::Hyperparams;
use crate::layers::{ConvWindow, Path, conv_block, depthwise_block};

/// How the layers are configured.
#[derive(Clone, Debug)]
pub struct MultiResolution {
    /// Channels of each further map, before the multiplier.
    pub depths: &'static [u64],
    /// Multiplier of channels.
    pub depth_multiplier: f32,
    /// Where the configuration has it.
    pub multiplier_field: FieldPath,
    /// No convolution has fewer channels.
    pub min_depth: u64,
    /// Whether the convolutions of stride 2 are of each channel by itself, with another across channels after them.
    pub use_depthwise: bool,
    /// Padding written out; see [`ConvWindow`].
    pub explicit_padding: bool,
    /// Activation, normalisation and bias.
    pub hyperparams: Hyperparams,
}

impl MultiResolution {
    fn channels(&self, nominal: u64) -> Result<u64, ModelError> {
        match scaled(nominal, self.depth_multiplier).max(self.min_depth) {
            0 => Err(invalid(
                self.multiplier_field,
                self.depth_multiplier,
                "a multiplier that leaves every layer a channel, or min_depth above 0",
            )),
            channels => Ok(channels),
        }
    }

    /// Writes the further maps over the coarsest of the backbone, `[n, h, w, c]`. `path` is the list of the layers' lists, one for each feature map: the
    /// backbone's own, of which there are `own_maps`, have empty ones.
    ///
    /// # Errors
    /// When a multiplier leaves a layer without channels.
    pub fn build(
        &self,
        b: &mut Builder,
        path: &Path,
        coarsest: ValueId,
        own_maps: usize,
    ) -> Result<Vec<ValueId>, ModelError> {
        let mut x = coarsest;
        (own_maps..)
            .zip(self.depths)
            .map(|(index, depth)| {
                x = self.halve(b, index, &path.child(index), x, *depth)?;
                Ok(x)
            })
            .collect()
    }

    fn halve(
        &self,
        b: &mut Builder,
        index: usize,
        path: &Path,
        x: ValueId,
        depth: u64,
    ) -> Result<ValueId, ModelError> {
        let h = &self.hyperparams;
        let squeezed = self.channels(depth / 2)?;
        let channels = self.channels(depth)?;
        let window = ConvWindow {
            kernel: 3,
            stride: 2,
            explicit_padding: self.explicit_padding,
        };
        let name = format!("1_Conv2d_{index}_1x1_{squeezed}");
        let x = conv_block(b, &name, (path, 0), x, squeezed, ConvWindow::same(1), h)?;
        // Explicit padding is a layer of the list too.
        let next = 3 + u64::from(self.explicit_padding);
        let name = format!("2_Conv2d_{index}_3x3_s2_{channels}");
        if !self.use_depthwise {
            return Ok(conv_block(b, &name, (path, next), x, channels, window, h)?);
        }
        let x = depthwise_block(b, &format!("{name}_depthwise"), (path, next), x, window, h)?;
        let last = (path, next + 3);
        Ok(conv_block(
            b,
            &name,
            last,
            x,
            channels,
            ConvWindow::same(1),
            h,
        )?)
    }
}
