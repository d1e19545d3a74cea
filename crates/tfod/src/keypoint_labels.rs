//! The label map that a configuration names because its network depends on it: how many keypoints a class has, and what they are called.

use std::path::Path;

use tfod_config::{ConfigError, LabelMap, PipelineConfig};
use tfod_models::meta::describe;
use tfod_models::{FieldPath, KeypointLabels};

/// The label map that a configuration names cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{message}.{field}`: {source}\nthe network has as many outputs as that label map has keypoints; name the one that the model was trained with by an override of the config: '{}'",
    message.enclose(&format!("{field}: \"FILE\""))
)]
pub struct KeypointLabelsError {
    /// The message that has the field.
    pub message: FieldPath,
    /// The field that names it.
    pub field: &'static str,
    /// Why.
    pub source: Box<ConfigError>,
}

/// What the label map says that a configuration names; `None` where its network depends on none, or it names none.
pub(crate) fn keypoint_labels(
    config: &PipelineConfig,
) -> Result<Option<KeypointLabels>, Box<KeypointLabelsError>> {
    let model = config.message().model.as_ref();
    let field = model.and_then(describe).and_then(|d| d.keypoint_labels);
    let Some(named) = field.filter(|named| !named.file.is_empty()) else {
        return Ok(None);
    };
    let labels = LabelMap::read(Path::new(named.file));
    let labels = labels.map_err(|source| {
        Box::new(KeypointLabelsError {
            message: named.message,
            field: named.field,
            source: Box::new(source),
        })
    })?;
    Ok(Some(KeypointLabels::of(named.file, &labels)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(center_net: &str) -> Result<Option<KeypointLabels>, Box<KeypointLabelsError>> {
        let text = format!("model {{ center_net {{ {center_net} }} }}");
        keypoint_labels(
            &PipelineConfig::parse("test", text.as_bytes())
                .unwrap()
                .config,
        )
    }

    #[test]
    fn only_keypoint_tasks_need_a_label_map() {
        let absent = "keypoint_label_map_path: 'absent/map.pbtxt' ";
        let task = "keypoint_estimation_task { } ";
        for text in [
            absent.to_owned(),
            task.to_owned(),
            absent.to_owned() + task + "deepmac_mask_estimation { }",
        ] {
            assert!(labels(&text).unwrap().is_none(), "{text}");
        }
        let error = labels(&(absent.to_owned() + task)).unwrap_err().to_string();
        for part in [
            "`model.center_net.keypoint_label_map_path`: absent/map.pbtxt: the label map cannot be read",
            "by an override of the config: 'model { center_net { keypoint_label_map_path: \"FILE\" } }'",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }
}
