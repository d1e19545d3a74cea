//! Shortcuts over the configuration's post-processing: they are merged into it like an override, so the `pipeline.config` of the export tells them too.

use tfod_config::{LabelMap, PipelineConfig};
use tfod_models::meta::SuppressionFields;
use tfod_models::{ClassThreshold, MetaArchitecture};

use tfod_text::Shown;

use super::ExportError;

/// Numbers of non-max suppression that take the place of the configuration's.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Thresholds {
    /// Detections with lower scores are dropped.
    pub score: Option<f32>,
    /// The same for single classes, each by its name in the label map or by its id: with these the others have the threshold for all.
    pub class_scores: Vec<(String, f32)>,
    /// Of two boxes that overlap by more, the one with the lower score is dropped.
    pub iou: Option<f32>,
    /// At most this many detections.
    pub max_detections: Option<u32>,
    /// Of the first stage of a detector of two: proposals with lower scores are dropped.
    pub proposal_score: Option<f32>,
    /// Of two proposals that overlap by more, the one with the lower score is dropped.
    pub proposal_iou: Option<f32>,
    /// At most this many proposals.
    pub max_proposals: Option<u32>,
}

impl Thresholds {
    /// The classes that have score thresholds of their own, by id.
    pub(super) fn classes(
        &self,
        labels: Option<&LabelMap>,
    ) -> Result<Vec<ClassThreshold>, ExportError> {
        let classes = self.class_scores.iter().map(|(class, score)| {
            let id = class_id(class, labels)?;
            Ok(ClassThreshold { id, score: *score })
        });
        classes.collect()
    }

    /// Merges those that a configuration has fields for.
    pub(super) fn apply(&self, config: &mut PipelineConfig) -> Result<(), ExportError> {
        if *self == Self::default() {
            return Ok(());
        }
        let model = config.message().model.clone().unwrap_or_default();
        // Where there is none, and where it cannot be built yet, building it says so.
        let Some(meta) = MetaArchitecture::of(&model).filter(|meta| meta.support.is_some()) else {
            return Ok(());
        };
        let description = (meta.describe)(&model);
        let limit = description.as_ref().and_then(|d| d.limit);
        let mut suppressions = description.map(|d| d.suppressions).unwrap_or_default();
        if [self.proposal_score, self.proposal_iou] != [None; 2] || self.max_proposals.is_some() {
            let [proposals, _, ..] = suppressions.as_slice() else {
                return Err(ExportError::NoProposals { model: meta.field });
            };
            let text = self.of_proposals(proposals);
            config.merge_override(&text)?;
        }
        // The last one gives the detections.
        let Some(nms) = suppressions.pop() else {
            let model = meta.field;
            return Err(ExportError::NoSuppression {
                model,
                limit: limit.map(Box::new),
            });
        };
        if [self.score, self.iou] == [None; 2] && self.max_detections.is_none() {
            return Ok(());
        }
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

impl Thresholds {
    /// The thresholds of proposals as text of a configuration.
    fn of_proposals(&self, fields: &SuppressionFields<'_>) -> String {
        let score = self.proposal_score.map(|value| value.to_string());
        let iou = self.proposal_iou.map(|value| value.to_string());
        let most = self.max_proposals.map(|value| value.to_string());
        let values = [
            (fields.score_threshold.field, score),
            (fields.iou_threshold.field, iou),
            (fields.max_total.field, most),
        ];
        let given = values
            .into_iter()
            .filter_map(|(field, value)| Some(format!("{field}: {}", value?)));
        let given: Vec<String> = given.collect();
        fields.message.enclose(&given.join(" "))
    }
}

/// The id of a class: that of its name, or else the number itself.
fn class_id(class: &str, labels: Option<&LabelMap>) -> Result<u64, ExportError> {
    let named = labels.map(|labels| labels.class_id(class));
    if let Some(Ok(id)) = named {
        return Ok(u64::from(id.unsigned_abs()));
    }
    if let Ok(id) = class.parse() {
        return Ok(id);
    }
    let expected = match named {
        Some(Err(nearest)) if nearest.is_empty() => {
            "the name of a class in the label map, or a class id".to_owned()
        }
        Some(Err(nearest)) => {
            let nearest: Vec<String> = nearest
                .iter()
                .map(|name| format!("`{}`", name.shown()))
                .collect();
            let nearest = nearest.join(" or ");
            format!("the name of a class in the label map (did you mean {nearest}?), or a class id")
        }
        _ => "a class id, or a label map that has the name".to_owned(),
    };
    Err(ExportError::UnknownClass {
        given: class.to_owned(),
        expected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_go_by_their_names_or_ids() {
        let text = "item { id: 1 name: '/m/0' display_name: 'circle' } item { id: 2 name: 'square' } item { id: 3 name: '7' }";
        let labels = LabelMap::parse("labels", text.as_bytes()).expect("a label map");
        let id = |class| class_id(class, Some(&labels)).map_err(|error| error.to_string());
        assert_eq!(id("circle"), Ok(1));
        assert_eq!(id("/m/0"), Ok(1));
        assert_eq!(id("2"), Ok(2));
        // A name counts before a number.
        assert_eq!(id("7"), Ok(3));
        assert_eq!(
            id("sqare"),
            Err(
                "a class with a score threshold is `sqare`; expected the name of a class in the label map (did you mean `square`?), or a class id"
                    .to_owned()
            )
        );
        let error = class_id("circle", None).map_err(|error| error.to_string());
        assert_eq!(
            error,
            Err(
                "a class with a score threshold is `circle`; expected a class id, or a label map that has the name"
                    .to_owned()
            )
        );
    }

    #[test]
    fn a_center_net_without_suppression_says_what_limits_its_objects() {
        let mut config = PipelineConfig::parse("test", b"model { center_net { } }")
            .expect("a config")
            .config;
        let thresholds = Thresholds {
            max_detections: Some(5),
            ..Thresholds::default()
        };
        let error = thresholds.apply(&mut config).map_err(|e| e.to_string());
        let text = "the config describes no non-max suppression in `model.center_net`, so there are no thresholds to set; how many objects there are, `model.center_net.object_center_params.max_box_predictions` says";
        assert_eq!(error, Err(text.to_owned()));
    }
}
