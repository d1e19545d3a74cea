//! `tfod check`

use std::process::ExitCode;

use serde_json::json;
use tfod::{Cause, Check, CheckReport, CheckpointKind, ConfigKind, Step, Suggestion, Verdict};

use super::output;
use super::progress::Progress;
use super::trained::Trained;

/// Say whether a checkpoint fits a config, and if not, what differs
///
/// Compares the variables that the configured model needs with those that the checkpoint lists in
/// its index, by place and shape. Weights are not read: the .index file is enough, the .data
/// files need not be there (tfod export verifies the weights too); what stands in their place is
/// told.
///
/// When they do not fit, says in which fields the config differs from what the checkpoint was
/// trained with (classes, dropout, depth multiplier, layers, feature extractor…), and which
/// supported architecture the checkpoint is of. Architectures that cannot be exported yet,
/// backbones, TensorFlow 1 checkpoints, SavedModels' variables and strangers are named.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    trained: Trained,

    /// Text merged into the config
    #[arg(
        long = "config_override",
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    config_override: String,

    /// Print what was found for scripts, as one JSON object
    #[arg(long = "json")]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  Before an export:
    tfod check --pipeline_config_path train/pipeline.config --trained_checkpoint_dir train

  Would it fit with 90 classes?
    tfod check --pipeline_config_path train/pipeline.config --trained_checkpoint_dir train \\
        --config_override 'model { ssd { num_classes: 90 } }'

  In a script:
    tfod check --json ... | jq -r .verdict

Exit status:
  0  it fits; of weights that are left over it warns, as tfod export does
  1  it does not fit, is no detector's checkpoint, or the model is not supported
  2  it cannot be told: a file cannot be read, or the command line is wrong";

impl Args {
    pub(super) fn run(self) -> ExitCode {
        let check = Check {
            pipeline_config: self.trained.pipeline_config,
            config_override: self.config_override,
            checkpoint_dir: self.trained.checkpoint_dir,
            checkpoint: self.trained.checkpoint,
        };
        let checked = Progress::during(|progress| {
            progress.tell(Step::Fit);
            check.run()
        });
        let report = match checked {
            Ok(report) => report,
            Err(error) => return output::error(&error),
        };
        for warning in &report.warnings {
            eprintln!("warning: {warning}");
        }
        let text = if self.json {
            format!("{:#}\n", summary_json(&check, &report))
        } else {
            summary(&check, &report)
        };
        // What is left over does not prevent an export, which warns of it in the same words.
        let fits = matches!(report.verdict, Verdict::Fits | Verdict::LeftOver);
        output::verdict(&text, fits)
    }
}

fn summary(check: &Check, report: &CheckReport) -> String {
    let mut config = check.pipeline_config.display().to_string();
    if report.has_override {
        config.push_str(" with the override merged into it");
    }
    let prefix = report.prefix.display();
    let mut lines = vec![match report.verdict {
        Verdict::Fits => format!("{prefix} fits {config}"),
        Verdict::LeftOver => format!("{prefix} fits {config}, and has more than that"),
        Verdict::NotADetector => format!("{prefix} is not the checkpoint of a trained detector"),
        Verdict::Unsupported => format!("{config} describes no model that can be exported"),
        Verdict::Differs | Verdict::OtherArchitecture => {
            format!("{prefix} does not fit {config}")
        }
    }];
    let kind = |kind: &ConfigKind| kind.to_string();
    let described = report.config.as_ref();
    lines.push(format!(
        "  config      {}",
        described.map_or_else(|| "no model".to_owned(), kind)
    ));
    lines.push(format!(
        "  checkpoint  {} ({})",
        report.checkpoint, report.found
    ));
    if let Some(counts) = report.counts {
        let others = [
            (counts.mismatched, "of another shape"),
            (counts.missing, "missing"),
            (counts.unused, "left over in the checkpoint"),
        ];
        let others = others.iter().filter(|(count, _)| *count > 0);
        let others: Vec<String> = others
            .map(|(count, what)| format!(", {count} {what}"))
            .collect();
        let others = others.concat();
        lines.push(format!(
            "  variables   {} of {} match{others}",
            counts.matched, counts.total
        ));
    }
    if report.index_alone {
        lines.push("  seen        the index alone, without the object graph".to_owned());
    }
    let problem = report.data_problem.iter();
    lines.extend(problem.map(|problem| format!("  data        {problem}")));
    if let Some(reason) = &report.refused {
        lines.push(format!("  reason      {reason}"));
    }
    // What explains a part only may be a coincidence.
    let causes = report.explanation.causes.iter();
    let causes = causes.filter(|_| report.explanation.complete);
    lines.extend(causes.map(|cause| format!("  differs     {cause}")));
    lines.extend(advice(report).map(|advice| format!("  advice      {advice}")));
    lines.join("\n") + "\n"
}

/// What to do about a misfit.
fn advice(report: &CheckReport) -> Option<String> {
    if report.is_overrides_fault {
        return Some(
            "leave out the override, or change it; without it, everything fits".to_owned(),
        );
    }
    match (report.verdict, &report.closest) {
        (Verdict::Fits, _) => None,
        (Verdict::Unsupported, None) => {
            let family = report.config.as_ref().map(|kind| kind.family);
            family.filter(|family| !family.is_supported()).map(|family| {
                format!(
                    "{} cannot be exported yet; export with the official exporter, and freeze the result with `tfod freeze`",
                    family.name()
                )
            })
        }
        (Verdict::NotADetector, _) => report.checkpoint.remedy().map(str::to_owned),
        (Verdict::Differs | Verdict::LeftOver, _) if report.explanation.complete => Some(
            if report.explanation.causes.iter().any(|cause| !cause.alternatives.is_empty()) {
                "use the pipeline.config that the checkpoint was trained with, or change these fields, of several joined by `or else` one; the checkpoint does not tell which"
            } else {
                "use the pipeline.config that the checkpoint was trained with, or change these fields; then everything fits"
            }
            .to_owned(),
        ),
        (_, Some(closest)) => Some(suggestion(closest, report.config.as_ref())),
        (Verdict::OtherArchitecture | Verdict::Differs | Verdict::LeftOver, None) => {
            Some("use the pipeline.config that the checkpoint was trained with".to_owned())
        }
    }
}

fn suggestion(closest: &Suggestion, config: Option<&ConfigKind>) -> String {
    let Suggestion {
        extractor,
        matched,
        total,
        ..
    } = closest;
    let background = closest.has_background;
    let classes = closest.num_classes.map_or_else(String::new, |n| {
        format!(" with num_classes: {n} and add_background_class: {background}")
    });
    let is_of_type = config.is_some_and(|config| config.extractor == *extractor);
    if closest.complete && is_of_type {
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

fn summary_json(check: &Check, report: &CheckReport) -> serde_json::Value {
    let config = report.config.as_ref().map(|kind| {
        json!({
            "family": kind.family.name(),
            "feature_extractor": kind.extractor,
            "num_classes": kind.num_classes,
        })
    });
    let (family, extractor, num_classes) = match &report.checkpoint {
        CheckpointKind::Detector {
            family,
            extractor,
            num_classes,
        } => (
            Some(family.name()),
            Some(extractor.as_str()).filter(|name| !name.is_empty()),
            *num_classes,
        ),
        CheckpointKind::SavedModelVariables(family) | CheckpointKind::TensorFlow1(family) => {
            (Some(family.name()), None, None)
        }
        _ => (None, None, None),
    };
    let causes: Vec<serde_json::Value> = report
        .explanation
        .causes
        .iter()
        .map(|cause| {
            let one = |cause: &Cause| json!({ "field": cause.field, "configured_by": cause.configured_by, "configured": cause.configured, "trained": cause.trained });
            let mut all = one(cause);
            if let (false, Some(members)) = (cause.alternatives.is_empty(), all.as_object_mut()) {
                let others: Vec<_> = cause.alternatives.iter().map(one).collect();
                members.insert("or_else".to_owned(), json!(others));
            }
            all
        })
        .collect();
    json!({
        "verdict": report.verdict.word(),
        "pipeline_config": check.pipeline_config,
        "config": config,
        "checkpoint": {
            "prefix": report.prefix,
            "found": report.found.to_string(),
            "kind": report.checkpoint.word(),
            "family": family,
            "feature_extractor": extractor,
            "num_classes": num_classes,
            "description": report.checkpoint.to_string(),
        },
        "index_alone": report.index_alone,
        "data_problem": report.data_problem,
        "override_is_the_cause": report.is_overrides_fault,
        "variables": report.counts.map(|counts| json!({
            "total": counts.total,
            "matched": counts.matched,
            "missing": counts.missing,
            "mismatched": counts.mismatched,
            "unused": counts.unused,
        })),
        "refused": report.refused,
        "differences": causes,
        "differences_explain_all": report.explanation.complete,
        "closest": report.closest.as_ref().map(|closest| json!({
            "feature_extractor": closest.extractor,
            "num_classes": closest.num_classes,
            "add_background_class": closest.has_background,
            "matched": closest.matched,
            "total": closest.total,
            "complete": closest.complete,
        })),
        "advice": advice(report),
        "warnings": report.warnings,
    })
}
