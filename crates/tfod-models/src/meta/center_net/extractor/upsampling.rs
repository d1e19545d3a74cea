//! From the coarse feature maps of a backbone to one of stride 4: by transposed convolutions, or by a pyramid whose levels become narrower. The layers are those of a
//! Keras model that begins with the backbone, its layer 0.

use tfod_graph::{Binary, Builder, ResizeMethod, ValueId};

use crate::backbone::functional::Functional;
use crate::error::ModelError;
use crate::hyperparams::{Activation, BatchNorm, Hyperparams};
use crate::layers::{ConvWindow, Path};
use crate::neck::double::double;

/// Of the layers after the backbone.
const LAYERS: Hyperparams = Hyperparams {
    activation: Activation::Relu,
    batch_norm: Some(BatchNorm::KERAS),
    force_use_bias: true,
};

/// Channels of the transposed convolutions.
const TRANSPOSED: [u64; 3] = [256, 128, 64];

/// The layers after the backbone, of the Keras model at this place.
fn layers(path: &Path) -> Functional<'_> {
    let mut layers = Functional::new(path, false, LAYERS);
    // The backbone.
    layers.next_layer();
    layers
}

/// Eight times as large, in three steps, each a convolution with this kernel and a transposed one.
///
/// # Errors
/// When the graph refuses a node.
pub(super) fn transposed(
    b: &mut Builder,
    path: &Path,
    coarse: ValueId,
    kernel: u64,
) -> Result<ValueId, ModelError> {
    let mut layers = layers(path);
    let mut x = coarse;
    for (step, filters) in TRANSPOSED.into_iter().enumerate() {
        let named = |part: &str| format!("up_{step}_{part}");
        x = layers.biased_conv(b, &named("conv"), x, filters, ConvWindow::same(kernel))?;
        x = layers.norm(b, &named("conv_bn"), x)?;
        x = layers.activation(b, &named("conv_relu"), x)?;
        x = layers.doubling_conv(b, &named("transposed"), x, filters)?;
        x = layers.norm(b, &named("transposed_bn"), x)?;
        x = layers.activation(b, &named("transposed_relu"), x)?;
    }
    Ok(x)
}

/// A pyramid whose finest level is the result.
pub(super) struct TopDown {
    /// Channels of each level when it is added to the next finer one, from coarse to fine.
    pub added: [u64; 3],
    /// Channels of the coarsest level.
    pub top: u64,
    /// Channels of the result.
    pub last: u64,
    /// Whether convolutions of three by three are separable.
    pub separable: bool,
    /// How levels are made larger.
    pub method: ResizeMethod,
}

impl TopDown {
    /// Writes the pyramid over feature maps of strides 4, 8, 16 and 32.
    ///
    /// # Errors
    /// For images whose feature maps do not halve exactly, and when the graph refuses a node.
    pub(super) fn build(
        &self,
        b: &mut Builder,
        path: &Path,
        features: [ValueId; 4],
    ) -> Result<ValueId, ModelError> {
        let mut layers = layers(path);
        let [fine @ .., top] = features;
        let across = ConvWindow::same(1);
        let mut x = layers.biased_conv(b, "top", top, self.top, across)?;
        for (step, feature) in fine.into_iter().rev().enumerate() {
            let named = |part: &str| format!("down_{step}_{part}");
            let added = self.added[step];
            let next = self.added.get(step + 1).copied().unwrap_or(self.last);
            let own = layers.biased_conv(b, &named("residual"), feature, added, across)?;
            let larger = double(b, &named("upsample"), x, own, self.method)?;
            x = b.binary(&named("add"), Binary::Add, larger, own)?;
            let window = ConvWindow::same(3);
            x = if self.separable {
                layers.separable_conv(b, &named("conv"), x, next, window)?
            } else {
                layers.biased_conv(b, &named("conv"), x, next, window)?
            };
            x = layers.norm(b, &named("bn"), x)?;
            x = layers.activation(b, &named("relu"), x)?;
        }
        Ok(x)
    }
}
