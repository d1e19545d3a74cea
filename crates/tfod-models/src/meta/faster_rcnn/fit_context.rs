//! Why a checkpoint may not fit the attention of a configuration: whether there is any, its sizes and its place.

use tfod_config::protos;
use tfod_config::protos::AttentionPosition;
use tfod_config::protos::detection_model::Model as Proto;

use super::context::{FEATURES, LAYERS};
use super::fit::Candidates;
use crate::fit::Variables;
use crate::side_inputs::SideInput;

const CONTEXT: &str = "model.faster_rcnn.context_config";
const BOTTLENECK: &str = "model.faster_rcnn.context_config.attention_bottleneck_dimension";
const LENGTH: &str = "model.faster_rcnn.context_config.context_feature_length";
const POSITION: &str = "model.faster_rcnn.context_config.attention_position";

/// Length of the features of the bank, and of what they are projected to.
fn trained(variables: &dyn Variables) -> Option<[i32; 2]> {
    let path = [LAYERS, "_key_proj", "projection", "kernel"].map(str::to_owned);
    match variables.find(&path)?.shape {
        [length, bottleneck] => Some([
            i32::try_from(*length).ok()?,
            i32::try_from(*bottleneck).ok()?,
        ]),
        _ => None,
    }
}

/// Changes of one field each.
pub(super) fn candidates(all: &mut Candidates<'_>, variables: &dyn Variables) {
    let trained = trained(variables);
    let context = all.base.context_config.as_ref();
    let said = |is_there: bool| if is_there { "given" } else { "left out" };
    all.push(
        CONTEXT,
        said(context.is_some()),
        said(trained.is_some()),
        |config| {
            config.context_config = trained.map(|[length, bottleneck]| protos::Context {
                context_feature_length: Some(length),
                attention_bottleneck_dimension: Some(bottleneck),
                ..protos::Context::default()
            });
        },
    );
    let (Some(context), Some([length, bottleneck])) = (context, trained) else {
        return;
    };
    let change = |config: &mut protos::FasterRcnn, change: &dyn Fn(&mut protos::Context)| {
        change(config.context_config.get_or_insert_default());
    };
    all.push(LENGTH, context.context_feature_length(), length, |config| {
        change(config, &|c| c.context_feature_length = Some(length));
    });
    let configured = context.attention_bottleneck_dimension();
    all.push(BOTTLENECK, configured, bottleneck, |config| {
        change(config, &|c| {
            c.attention_bottleneck_dimension = Some(bottleneck);
        });
    });
    let configured = context.attention_position().as_str_name();
    for position in [
        AttentionPosition::PostBoxClassifier,
        AttentionPosition::PostRpn,
        AttentionPosition::AttentionDefault,
    ] {
        all.push(POSITION, configured, position.as_str_name(), |config| {
            change(config, &|c| c.set_attention_position(position));
        });
    }
}

/// The configuration with what the description of side inputs says in its place, and the field that it says.
pub(super) fn described(
    config: &protos::DetectionModel,
    inputs: &[SideInput],
) -> Option<(protos::DetectionModel, &'static str)> {
    let mut config = config.clone();
    let Some(Proto::FasterRcnn(rcnn)) = &mut config.model else {
        return None;
    };
    let features = inputs.iter().find(|input| input.name == FEATURES)?;
    let length = features.shape.last().copied().flatten()?;
    let length = i32::try_from(length).ok()?;
    rcnn.context_config.as_mut()?.context_feature_length = Some(length);
    Some((config, LENGTH))
}
