//! `faster_rcnn_resnet50_keras` and its siblings: the stages conv1 to conv4 of a ResNet (He et al. 2015, <https://arxiv.org/abs/1512.03385>) over the image, and conv5 over
//! crops, as that paper has it (appendix A).

use tfod_config::protos;
use tfod_graph::{Builder, ValueId};

use super::{FeatureExtractor, check_stride};
use crate::backbone::resnet_v1::ResnetV1;
use crate::error::ModelError;
use crate::facts::Normalization;
use crate::fields::Message;
use crate::hyperparams::Hyperparams;
use crate::layers::Path;
use crate::meta::extractor_type::refuse_fields;

/// No convolution of the reference's ResNet has fewer channels.
pub(super) const MIN_DEPTH: u64 = 8;
/// The stages over the image: the last has a stride of 16.
const STAGES: usize = 3;

struct Resnet(ResnetV1);

/// `blocks` are those of the ResNet's stages.
pub(super) fn from_config(
    config: Message<'_, protos::FasterRcnnFeatureExtractor>,
    blocks: [u64; 4],
) -> Result<Box<dyn FeatureExtractor>, ModelError> {
    check_stride(config, &[16])?;
    let fields = [
        ("conv_hyperparams", config.conv_hyperparams.is_some()),
        ("fpn", config.fpn.is_some()),
    ];
    refuse_fields(&config, config.r#type(), &fields)?;
    Ok(Box::new(Resnet(ResnetV1 {
        blocks,
        depth_multiplier: 1.0,
        min_depth: MIN_DEPTH,
        hyperparams: Hyperparams::RESNET,
        is_application: false,
    })))
}

impl FeatureExtractor for Resnet {
    fn normalization(&self) -> Normalization {
        Normalization::CHANNEL_MEANS
    }

    fn maps(
        &self,
        b: &mut Builder,
        path: &Path,
        images: ValueId,
    ) -> Result<Vec<ValueId>, ModelError> {
        let mut maps = self.0.first_stages(b, path, images, STAGES)?;
        Ok(maps.pop().into_iter().collect())
    }

    fn features(
        &self,
        b: &mut Builder,
        path: &Path,
        crops: ValueId,
    ) -> Result<ValueId, ModelError> {
        self.0.last_stage(b, path, crops)
    }
}
