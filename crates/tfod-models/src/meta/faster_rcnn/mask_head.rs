//! The mask branch of `mask_rcnn_box_predictor` (He et al. 2017, section 3, <https://arxiv.org/abs/1703.06870>): convolutions over the features of each box, which give a mask for
//! each class, or one for all.

use tfod_config::protos;
use tfod_graph::{Builder, Dim, PixelGrid, ResizeMethod, ValueId};

use crate::error::ModelError;
use crate::fields::{FieldPath, Message, invalid, missing, size};
use crate::hyperparams::Hyperparams;
use crate::layers::{ConvWindow, Path, channels, conv_block, conv2d};

/// Keras layers of a convolution: itself, normalisation, activation. Without a normalisation, there is one that does nothing.
pub(super) const LAYERS_EACH: u64 = 3;
/// Weights of the logarithms of channels and of classes, where these decide how deep the branch is.
const CHANNELS_WEIGHT: f64 = 2.0;
const CLASSES_WEIGHT: f64 = 3.0;
/// The most convolutions: each is a layer of the graph.
pub(super) const MOST_CONVOLUTIONS: u64 = 256;
/// Where the layers are in the reference's object tree.
pub(super) const PATH: &str =
    "_mask_rcnn_box_predictor/_third_stage_heads/mask_predictions/_mask_predictor_layers";

/// The configuration of the branch.
#[derive(Clone, Copy, Debug)]
pub(super) struct MaskHead {
    /// Height and width of masks.
    size: [u64; 2],
    /// The fields of that.
    size_fields: [FieldPath; 2],
    /// Convolutions, the last of which gives the masks.
    convolutions: u64,
    /// Channels of the others; 0 where classes and channels of the features decide.
    depth: u64,
    /// One mask for all classes.
    is_agnostic: bool,
    /// Enlarge maps to the size of masks after the convolutions instead of before them.
    convolves_first: bool,
    hyperparams: Hyperparams,
    num_classes: u64,
}

impl MaskHead {
    /// Reads the message.
    ///
    /// # Errors
    /// Where it has no masks, and for numbers that make no layers.
    pub(super) fn from_config(
        config: Message<'_, protos::MaskRcnnBoxPredictor>,
        num_classes: u64,
    ) -> Result<Self, ModelError> {
        if !config.predict_instance_masks() {
            let expected = "true for a third stage, which predicts masks; or number_of_stages: 2";
            let field = config.field("predict_instance_masks");
            return Err(invalid(field, false, expected));
        }
        let size_fields = ["mask_height", "mask_width"].map(|name| config.field(name));
        let field = config.field("mask_prediction_num_conv_layers");
        let convolutions = size(field, config.mask_prediction_num_conv_layers(), 1)?;
        if convolutions > MOST_CONVOLUTIONS {
            let expected = format!("1 to {MOST_CONVOLUTIONS}");
            return Err(invalid(field, convolutions, expected));
        }
        let hyperparams = config.field("conv_hyperparams");
        if config.conv_hyperparams.is_none() {
            return Err(missing(hyperparams));
        }
        Ok(Self {
            size: [
                size(size_fields[0], config.mask_height(), 1)?,
                size(size_fields[1], config.mask_width(), 1)?,
            ],
            size_fields,
            convolutions,
            depth: size(
                config.field("mask_prediction_conv_depth"),
                config.mask_prediction_conv_depth(),
                0,
            )?,
            is_agnostic: config.masks_are_class_agnostic(),
            convolves_first: config.convolve_then_upsample_masks(),
            hyperparams: Hyperparams::from_config(hyperparams, config.conv_hyperparams.as_ref())?,
            num_classes,
        })
    }

    /// How many masks a box has.
    pub(super) fn masks(self) -> u64 {
        if self.is_agnostic {
            1
        } else {
            self.num_classes
        }
    }

    /// Predicts over features `[boxes, h, w, channels]`: logits `[boxes, masks, height, width]`, where there is a mask for each class, or one for all.
    ///
    /// # Errors
    /// For masks that are smaller than the features that they are enlarged from.
    pub(super) fn build(self, b: &mut Builder, features: ValueId) -> Result<ValueId, ModelError> {
        let path = Path::new(PATH);
        let depth = match self.depth {
            0 => usual_depth(channels(b, features), self.num_classes),
            depth => depth,
        };
        let (window, hyperparams) = (ConvWindow::same(3), &self.hyperparams);
        let mut x = features;
        if !self.convolves_first {
            let (method, size) = (ResizeMethod::Bilinear, self.size.map(Dim::Known));
            x = b.resize_on("resized", x, method, PixelGrid::AlignedCorners, size, None)?;
        }
        let mut layer = 0;
        for number in 0..self.convolutions - 1 {
            let name = format!("MaskPredictor_{number}");
            x = conv_block(b, &name, (&path, layer), x, depth, window, hyperparams)?;
            layer += LAYERS_EACH;
        }
        if self.convolves_first {
            let size = self.enlarged(b, x)?;
            x = b.resize("upsampled", x, ResizeMethod::Nearest, size, false)?;
            // Enlarging is a layer of its own.
            layer += 1;
            let name = "MaskPredictor_upsample";
            x = conv_block(b, name, (&path, layer), x, depth, window, hyperparams)?;
            layer += LAYERS_EACH;
        }
        let last = path.child(layer);
        let x = conv2d(
            b,
            "MaskPredictor_last_conv2d",
            &last,
            x,
            self.masks(),
            window,
            true,
        )?;
        Ok(b.transpose("MaskPredictor", x, &[0, 3, 1, 2])?)
    }

    /// Height and width of maps whose pixels are repeated as often as fits the size of masks.
    fn enlarged(self, b: &Builder, maps: ValueId) -> Result<[u64; 2], ModelError> {
        let sides = b.shape(maps).dims().iter().skip(1).map(Dim::known);
        let mut sizes = [0; 2];
        for (axis, (size, side)) in sizes.iter_mut().zip(sides).enumerate() {
            let side = side.ok_or_else(|| {
                ModelError::Inconsistent("features of boxes of an unknown size".into())
            })?;
            *size = self.size[axis] / side.max(1) * side;
            if *size == 0 {
                let expected = format!(
                    "at least {side}, the size of features, which convolve_then_upsample_masks only enlarges"
                );
                return Err(invalid(self.size_fields[axis], self.size[axis], expected));
            }
        }
        Ok(sizes)
    }
}

/// The channels of convolutions where the configuration leaves them to the number of classes and the channels of the features: the weighted mean of both, as powers of two.
fn usual_depth(channels: u64, num_classes: u64) -> u64 {
    // Numbers of channels and classes are far below the limits of `f64`, and so is their mean.
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    let [channels, classes] = [channels, num_classes].map(|n| (n.max(1) as f64).log2());
    let sum = channels * CHANNELS_WEIGHT + classes * CLASSES_WEIGHT;
    let power = (sum / (CHANNELS_WEIGHT + CLASSES_WEIGHT)).round_ties_even();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "see above"
    )]
    let depth = power.exp2() as u64;
    depth
}

#[cfg(test)]
mod tests {
    use super::usual_depth;

    /// Computed by the reference.
    #[test]
    fn the_usual_depth_is_a_power_of_two_between_channels_and_classes() {
        for (channels, classes, depth) in [
            (1536, 90, 256),
            (2048, 1, 16),
            (1536, 3, 32),
            (2048, 600, 1024),
        ] {
            assert_eq!(
                usual_depth(channels, classes),
                depth,
                "{channels} {classes}"
            );
        }
    }
}
