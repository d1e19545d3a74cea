//! What to do when a checkpoint does not fit.

use crate::check::{CheckReport, ConfigKind, Suggestion, Verdict};

impl CheckReport {
    /// What to do about a misfit.
    pub fn advice(&self) -> Option<String> {
        if self.is_overrides_fault {
            return Some(
                "leave out the override, or change it; without it, everything fits".to_owned(),
            );
        }
        if self.verdict != Verdict::Fits
            && let Some(workaround) = self.checkpoint.workaround()
        {
            return Some(workaround);
        }
        match (self.verdict, &self.closest) {
            (Verdict::Fits, _) => None,
            (Verdict::Unsupported, None) => self.config.as_ref()?.family.workaround(),
            (Verdict::NotADetector, _) => self.checkpoint.remedy(&self.prefix),
            (Verdict::Differs | Verdict::LeftOver, _) if self.explanation.complete => {
                let causes = &self.explanation.causes;
                let what = if causes.iter().any(|cause| !cause.alternatives.is_empty()) {
                    "these fields, of several joined by `or else` one; the checkpoint does not tell which"
                } else {
                    "these fields; then everything fits"
                };
                Some(format!(
                    "use the pipeline.config that the checkpoint was trained with, or change {what}"
                ))
            }
            (verdict, Some(closest)) => Some(suggestion(verdict, closest, self.config.as_ref())),
            (Verdict::OtherArchitecture | Verdict::Differs | Verdict::LeftOver, None) => {
                Some("use the pipeline.config that the checkpoint was trained with".to_owned())
            }
        }
    }
}

fn suggestion(verdict: Verdict, closest: &Suggestion, config: Option<&ConfigKind>) -> String {
    let Suggestion {
        extractor,
        matched,
        total,
        ..
    } = closest;
    let background = closest.has_background;
    let classes = closest.num_classes.map_or_else(String::new, |n| {
        let background = background.map_or_else(String::new, |background| {
            format!(" and add_background_class: {background}")
        });
        format!(" with num_classes: {n}{background}")
    });
    let is_of_type = config.is_some_and(|config| config.extractor == *extractor);
    if closest.complete && is_of_type && verdict == Verdict::Unsupported {
        // No model could be built of the config: what prevents that is told beside this, and need not shape layers.
        format!(
            "the checkpoint is of the config's type, {extractor}{classes}; change that field, or use the pipeline.config that the checkpoint was trained with"
        )
    } else if closest.complete && is_of_type {
        format!(
            "the checkpoint is of the config's type, {extractor}{classes}, and another field differs that shapes layers (pyramid levels, aspect ratios, batch_norm, biases…); use the pipeline.config that it was trained with"
        )
    } else if closest.complete {
        format!(
            "the checkpoint is of type {extractor}{classes}; use the pipeline.config that it was trained with"
        )
    } else {
        format!(
            "of the supported types, {extractor} comes nearest: {matched} of its {total} variables match"
        )
    }
}
