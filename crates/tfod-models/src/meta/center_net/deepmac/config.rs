//! What the configuration says of `DeepMAC`.

use tfod_config::protos::center_net::DeepMacMaskEstimation;

use super::super::masks::mask_side;
use super::network::Network;
use crate::error::ModelError;
use crate::fields::{Message, invalid, refuse_flag, size, unsupported};

/// `DeepMAC`.
#[derive(Clone, Debug)]
pub(crate) struct DeepMac {
    /// The length of the embeddings of objects.
    pub dim: u64,
    /// The length of the embeddings of pixels.
    pub pixel_dim: u64,
    /// Height and width of what the network sees and gives, where it sees crops.
    pub mask_size: u64,
    /// Whether the network is told where in the box a pixel is.
    pub uses_xy: bool,
    /// The network.
    pub network: Network,
    /// Whether the network sees the whole map.
    pub full_resolution: bool,
    /// Height and width of masks that are cut to their boxes in the end.
    pub crop_size: u64,
}

impl DeepMac {
    /// From its message, where `has_boxes` is whether boxes are predicted.
    pub(crate) fn from_config(
        config: Message<'_, DeepMacMaskEstimation>,
        has_boxes: bool,
    ) -> Result<Self, ModelError> {
        if !has_boxes {
            return Err(unsupported(
                config.path(),
                "this without object_detection_task, whose boxes masks are of (the reference cannot run it either)",
                "both",
            ));
        }
        let dim = size(config.field("dim"), config.dim(), 1)?;
        let pixel_dim = size(
            config.field("pixel_embedding_dim"),
            config.pixel_embedding_dim(),
            1,
        )?;
        let uses_xy = config.use_xy();
        let full_resolution = config.predict_full_resolution_masks();
        if full_resolution && config.max_roi_jitter_ratio() > 0.0 {
            let field = config.field("max_roi_jitter_ratio");
            let expected = "0 where predict_full_resolution_masks is true";
            return Err(invalid(field, config.max_roi_jitter_ratio(), expected));
        }
        if config.mask_num_subsamples() > 0 {
            return Err(unsupported(
                config.field("mask_num_subsamples"),
                config.mask_num_subsamples(),
                "-1 (the reference refuses others too)",
            ));
        }
        let network = Network::from_config(config, [dim, pixel_dim + 2 * u64::from(uses_xy)])?;
        if matches!(network, Network::Projection) {
            refuse_flag(config.field("use_xy"), uses_xy)?;
            if dim != pixel_dim {
                let field = config.field("dim");
                let expected =
                    format!("{pixel_dim}, which pixel_embedding_dim is, with embedding_projection");
                return Err(invalid(field, dim, expected));
            }
        }
        Ok(Self {
            dim,
            pixel_dim,
            mask_size: mask_side(config.field("mask_size"), config.mask_size())?,
            uses_xy,
            network,
            full_resolution,
            crop_size: mask_side(
                config.field("postprocess_crop_size"),
                config.postprocess_crop_size(),
            )?,
        })
    }
}
