//! `tfod check`

use std::process::ExitCode;

use tfod::{Check, CheckError, CheckReport, ConfigKind, Step, Verdict};

use tfod_text::Shown;

use super::output;
use super::progress::Progress;
use super::trained::{self, ConfigOverride, Trained};

/// Say whether a checkpoint fits a config, and if not, what differs
///
/// Compares the variables that the configured model needs with those that the checkpoint lists in
/// its index, by path in the object graph and by shape. Weights are not read: the .index file is
/// enough, the .data files need not be there (tfod export verifies the weights too). Where a .data
/// file is something else, such as a Git LFS pointer, the output says so.
///
/// When they do not fit, says in which fields the config differs from what the checkpoint was
/// trained with (classes, dropout, depth multiplier, layers, feature extractor…), and which
/// supported architecture the checkpoint is of. Architectures that cannot be exported yet,
/// backbones, TensorFlow 1 checkpoints, the variables of SavedModels and checkpoints of other models
/// are named.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    trained: Trained,

    #[command(flatten)]
    config: ConfigOverride,

    /// Print what was found for scripts, as one JSON object
    #[arg(long = "json")]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  Before an export:
    tfod check --pipeline_config_path train/pipeline.config \\
        --trained_checkpoint_dir train

  Would it fit with 90 classes?
    tfod check --pipeline_config_path train/pipeline.config \\
        --trained_checkpoint_dir train \\
        --config_override 'model { ssd { num_classes: 90 } }'

  In a script:
    tfod check --json ... | jq -r .verdict

Exit status:
  0  it fits; of weights that are left over it warns, as tfod export does
  1  it does not fit, is no detector's checkpoint, or the model is not
     supported
  2  it cannot be told: a file cannot be read, or the command line is
     wrong";

impl Args {
    pub(super) fn run(self) -> ExitCode {
        let mut check = Check::new(self.trained.pipeline_config, self.trained.checkpoint_dir);
        check.checkpoint = self.trained.checkpoint;
        check.config_override = self.config.config_override;
        let checked = Progress::during(|progress| {
            progress.tell(Step::Fit);
            check.run()
        });
        let report = match checked {
            Ok(report) => report,
            Err(CheckError::Checkpoint(error)) => {
                return output::error(&trained::with_flag(&error));
            }
            Err(CheckError::Config(error)) => return output::error(&trained::of_config(&error)),
            Err(error) => return output::error(&error),
        };
        for warning in &report.warnings {
            output::warn(warning);
        }
        let text = output::document(
            self.json,
            || report.json(&check),
            || summary(&check, &report),
        );
        // What is left over does not prevent an export, which warns of it in the same words.
        let fits = matches!(report.verdict, Verdict::Fits | Verdict::LeftOver);
        output::verdict(&text, fits)
    }
}

fn summary(check: &Check, report: &CheckReport) -> String {
    let mut config = check.pipeline_config.shown().to_string();
    if report.has_override {
        config.push_str(" with the override merged into it");
    }
    let prefix = report.prefix.shown();
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
    lines.extend(
        report
            .advice()
            .map(|advice| format!("  advice      {advice}")),
    );
    lines.join("\n") + "\n"
}
