//! `faster_rcnn_inception_resnet_v2_keras`: the modules of an Inception-ResNet-v2 (Szegedy et al. 2016, <https://arxiv.org/abs/1602.07261>) up to `block17_20` over the image, and the
//! rest over crops.

use tfod_config::protos;
use tfod_graph::{Builder, ValueId};

use super::{FeatureExtractor, check_stride};
use crate::backbone::inception_resnet_v2::InceptionResnetV2;
use crate::error::ModelError;
use crate::facts::Normalization;
use crate::fields::{FieldPath, Message, unsupported};
use crate::layers::Path;
use crate::meta::extractor_type::refuse_fields;

struct Extractor {
    network: InceptionResnetV2,
    stride: FieldPath,
}

pub(super) fn from_config(
    config: Message<'_, protos::FasterRcnnFeatureExtractor>,
) -> Result<Box<dyn FeatureExtractor>, ModelError> {
    check_stride(config, &[8, 16])?;
    let fields = [
        ("conv_hyperparams", config.conv_hyperparams.is_some()),
        ("fpn", config.fpn.is_some()),
    ];
    refuse_fields(&config, config.r#type(), &fields)?;
    Ok(Box::new(Extractor {
        network: InceptionResnetV2 {
            is_dilated: config.first_stage_features_stride() == 8,
        },
        stride: config.field("first_stage_features_stride"),
    }))
}

impl FeatureExtractor for Extractor {
    fn normalization(&self) -> Normalization {
        Normalization::SIGNED
    }

    fn maps(
        &self,
        b: &mut Builder,
        path: &Path,
        images: ValueId,
    ) -> Result<Vec<ValueId>, ModelError> {
        Ok(vec![self.network.first_part(b, path, images)?])
    }

    fn features(
        &self,
        b: &mut Builder,
        path: &Path,
        crops: ValueId,
    ) -> Result<ValueId, ModelError> {
        let sides = b.shape(crops).dims().iter().skip(1).take(2);
        let is_one_pixel = sides.clone().all(|side| side.is(1));
        if self.network.is_dilated && !is_one_pixel {
            let reason = "16: with 8, the reference's second stage joins maps of different sizes, which ends in an error";
            return Err(unsupported(self.stride, 8, reason));
        }
        self.network.second_part(b, path, crops)
    }
}
