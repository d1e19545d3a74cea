//! Shortcuts over the configuration's post-processing: they are merged into it like an override, so the `pipeline.config` of the export tells them too.

use tfod_config::PipelineConfig;
use tfod_config::protos::detection_model::Model as MetaArchitecture;

use super::ExportError;

/// Numbers of non-max suppression that take the place of the configuration's.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
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
        let model = config.message().model.as_ref();
        // Where it is for other meta-architectures, building them says that they are not supported.
        let Some(MetaArchitecture::Ssd(ssd)) = model.and_then(|m| m.model.as_ref()) else {
            return Ok(());
        };
        let nms = ssd.post_processing.as_ref();
        let nms = nms.and_then(|p| p.batch_non_max_suppression.as_ref());
        let configured = nms.copied().unwrap_or_default();
        let mut fields = Vec::new();
        let mut set = |name: &str, value: String| fields.push(format!("{name}: {value}"));
        if let Some(score) = self.score {
            set("score_threshold", score.to_string());
        }
        if let Some(iou) = self.iou {
            set("iou_threshold", iou.to_string());
        }
        if let Some(max) = self.max_detections {
            let (per_class, total) = (
                configured.max_detections_per_class(),
                configured.max_total_detections(),
            );
            set("max_total_detections", max.to_string());
            // A class has no limit of its own where it may fill the whole, which then goes on.
            if per_class == total || i64::from(per_class) > i64::from(max) {
                set("max_detections_per_class", max.to_string());
            }
        }
        let text = format!(
            "model {{ ssd {{ post_processing {{ batch_non_max_suppression {{ {} }} }} }} }}",
            fields.join(" ")
        );
        Ok(config.merge_override(&text)?)
    }
}
