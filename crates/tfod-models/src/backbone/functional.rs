//! A Keras functional model being written: its layers that have variables are numbered in order, and so the checkpoint names them
//! (`layer_with_weights-0`, …).

use tfod_graph::{Builder, ValueId};

use crate::error::ModelError;
use crate::hyperparams::Hyperparams;
use crate::layers::{
    ConvWindow, Path, batch_norm, conv2d, conv2d_transpose, depthwise_conv2d, separable_conv2d,
};

/// The model's place, how its layers are configured, and how many there are so far.
pub(crate) struct Functional<'a> {
    path: &'a Path,
    explicit_padding: bool,
    hyperparams: Hyperparams,
    weighted_layers: usize,
}

impl<'a> Functional<'a> {
    /// A model without layers. `explicit_padding` is that of [`ConvWindow`].
    pub(crate) fn new(path: &'a Path, explicit_padding: bool, hyperparams: Hyperparams) -> Self {
        Self {
            path,
            explicit_padding,
            hyperparams,
            weighted_layers: 0,
        }
    }

    /// Further layers are those of a larger model at another place, which begins with the layers so far.
    pub(crate) fn continue_at(&mut self, path: &'a Path) {
        self.path = path;
    }

    /// The place of the next layer.
    pub(crate) fn next_layer(&mut self) -> Path {
        let layer = format!("layer_with_weights-{}", self.weighted_layers);
        self.weighted_layers += 1;
        self.path.child(layer)
    }

    fn window(&self, kernel: u64, stride: u64) -> ConvWindow {
        ConvWindow {
            kernel,
            stride,
            explicit_padding: self.explicit_padding && kernel > 1,
        }
    }

    /// A convolution with a square kernel, without bias.
    pub(crate) fn conv(
        &mut self,
        b: &mut Builder,
        name: &str,
        x: ValueId,
        filters: u64,
        kernel: u64,
        stride: u64,
    ) -> Result<ValueId, ModelError> {
        let window = self.window(kernel, stride);
        self.conv_by(b, name, x, filters, window)
    }

    /// A convolution with a window of its own, without bias.
    pub(crate) fn conv_by(
        &mut self,
        b: &mut Builder,
        name: &str,
        x: ValueId,
        filters: u64,
        window: ConvWindow,
    ) -> Result<ValueId, ModelError> {
        let path = self.next_layer();
        Ok(conv2d(b, name, &path, x, filters, window, false)?)
    }

    /// A convolution with a window of its own and a bias.
    pub(crate) fn biased_conv(
        &mut self,
        b: &mut Builder,
        name: &str,
        x: ValueId,
        filters: u64,
        window: ConvWindow,
    ) -> Result<ValueId, ModelError> {
        let path = self.next_layer();
        Ok(conv2d(b, name, &path, x, filters, window, true)?)
    }

    /// A convolution with bias that doubles the size, with a kernel of three by three.
    pub(crate) fn doubling_conv(
        &mut self,
        b: &mut Builder,
        name: &str,
        x: ValueId,
        filters: u64,
    ) -> Result<ValueId, ModelError> {
        let path = self.next_layer();
        Ok(conv2d_transpose(b, name, &path, x, filters, 3, 2)?)
    }

    /// A separable convolution with bias and a square kernel.
    pub(crate) fn separable_conv(
        &mut self,
        b: &mut Builder,
        name: &str,
        x: ValueId,
        filters: u64,
        window: ConvWindow,
    ) -> Result<ValueId, ModelError> {
        let path = self.next_layer();
        Ok(separable_conv2d(b, name, &path, x, filters, window, true)?)
    }

    /// A convolution across channels only, with a bias.
    pub(crate) fn dense(
        &mut self,
        b: &mut Builder,
        name: &str,
        x: ValueId,
        filters: u64,
    ) -> Result<ValueId, ModelError> {
        let path = self.next_layer();
        Ok(conv2d(
            b,
            name,
            &path,
            x,
            filters,
            ConvWindow::same(1),
            true,
        )?)
    }

    /// A convolution of each channel by itself with a square kernel.
    pub(crate) fn depthwise(
        &mut self,
        b: &mut Builder,
        name: &str,
        x: ValueId,
        kernel: u64,
        stride: u64,
    ) -> Result<ValueId, ModelError> {
        let path = self.next_layer();
        let window = self.window(kernel, stride);
        Ok(depthwise_conv2d(b, name, &path, x, window)?)
    }

    /// Batch normalisation, where the configuration has one.
    pub(crate) fn norm(
        &mut self,
        b: &mut Builder,
        name: &str,
        x: ValueId,
    ) -> Result<ValueId, ModelError> {
        let Some(norm) = self.hyperparams.batch_norm else {
            return Ok(x);
        };
        let path = self.next_layer();
        Ok(batch_norm(b, name, &path, x, norm)?)
    }

    /// The configured activation.
    pub(crate) fn activation(
        &self,
        b: &mut Builder,
        name: &str,
        x: ValueId,
    ) -> Result<ValueId, ModelError> {
        Ok(self.hyperparams.activation.apply(b, name, x)?)
    }
}
