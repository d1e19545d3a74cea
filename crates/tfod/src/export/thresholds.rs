//! Shortcuts over the configuration's post-processing: they are merged into it like an override, so the `pipeline.config` of the export tells them too.

use tfod_config::PipelineConfig;
use tfod_models::MetaArchitecture;

use super::ExportError;

/// Numbers of non-max suppression that take the place of the configuration's.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Thresholds {
    /// Detections with lower scores are dropped.
    pub score: Option<f32>,
    /// Of two boxes that overlap by more, the one with the lower score is dropped.
    pub iou: Option<f32>,
    /// At most this many detections.
    pub max_detections: Option<u32>,
}

impl Thresholds {
    /// Merges them.
    pub(super) fn apply(self, config: &mut PipelineConfig) -> Result<(), ExportError> {
        if self == Self::default() {
            return Ok(());
        }
        let model = config.message().model.clone().unwrap_or_default();
        // Where there is none, and where it cannot be built yet, building it says so.
        let Some(meta) = MetaArchitecture::of(&model).filter(|meta| meta.support.is_some()) else {
            return Ok(());
        };
        let suppressions = (meta.describe)(&model).map(|description| description.suppressions);
        // The last one gives the detections.
        let Some(nms) = suppressions.and_then(|mut all| all.pop()) else {
            return Err(ExportError::NoSuppression { model: meta.field });
        };
        let mut fields = Vec::new();
        let mut set = |field: &str, value: String| fields.push(format!("{field}: {value}"));
        if let Some(score) = self.score {
            set(nms.score_threshold.field, score.to_string());
        }
        if let Some(iou) = self.iou {
            set(nms.iou_threshold.field, iou.to_string());
        }
        if let Some(max) = self.max_detections {
            set(nms.max_total.field, max.to_string());
            // A class has no limit of its own where it may fill the whole, which then goes on.
            if let Some(per_class) = nms.max_per_class
                && (per_class.value == nms.max_total.value
                    || i64::from(per_class.value) > i64::from(max))
            {
                set(per_class.field, max.to_string());
            }
        }
        let text = nms.message.enclose(&fields.join(" "));
        Ok(config.merge_override(&text)?)
    }
}
