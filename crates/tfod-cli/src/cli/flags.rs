//! Errors of an export in terms of the command's flags: the library says "the batch", the command `--batch`.

use std::process::ExitCode;

use tfod::{ExportError, GraphOption, ModelError, OutputError, SavedModelError};

use super::{output, trained};

/// Says what prevented an export. A flag's value that will not do is an error of the command line.
pub(super) fn failure(error: &ExportError, has_signatures: bool) -> ExitCode {
    match error {
        ExportError::Options(ModelError::Option {
            option,
            given,
            expected,
        }) => {
            let flag = match flag(*option, has_signatures) {
                Flag::Switch(flag) => flag.to_owned(),
                Flag::Value(flag) => format!("{flag} {given}"),
                Flag::PartOf(flag) => format!("{flag}: {given}"),
            };
            output::usage(&format!("{flag}: expected {expected}"))
        }
        ExportError::UnknownClass { given, expected } => {
            output::usage(&format!("--score_threshold {given}: expected {expected}"))
        }
        ExportError::Formats { given, expected } => {
            output::usage(&format!("--format {given}: expected {expected}"))
        }
        ExportError::NothingToSuppress { suppression } => output::usage(&format!(
            "--tflite_nms {suppression}: has no effect with --no_nms and --raw_encodings, which end before suppression"
        )),
        ExportError::OtherSuppression { .. } => {
            output::failure(&with_flags(error, "--tflite_nms builtin"))
        }
        ExportError::SavedModel(problem) if has_signatures && is_of_name(problem) => {
            output::usage(&format!("--signatures: {error}"))
        }
        ExportError::VersionExists { .. } => output::failure(&format!("--model_version: {error}")),
        ExportError::WouldLose { .. }
        | ExportError::Output(OutputError::InTheWay { .. } | OutputError::Overwrites { .. }) => {
            output::failure(&format!("--output_directory: {error}"))
        }
        ExportError::Model { source, .. } if matches!(**source, ModelError::SizeUnknown { .. }) => {
            output::failure(&with_flags(error, "--input_size"))
        }
        ExportError::NoProposals { .. } => output::failure(&with_flags(
            error,
            "--score_threshold, --iou_threshold, --max_detections",
        )),
        ExportError::KeypointLabels { .. } => {
            output::failure(&with_flags(error, "--config_override"))
        }
        ExportError::Checkpoint(error) => output::failure(&trained::with_flag(error)),
        ExportError::Config(error) => output::failure(&trained::of_config(error)),
        _ => output::failure(error),
    }
}

/// An error whose last words are about what flags give.
fn with_flags(error: &ExportError, flags: &str) -> String {
    format!("{error} ({flags})")
}

/// Whether a name will not do.
fn is_of_name(problem: &SavedModelError) -> bool {
    matches!(
        problem,
        SavedModelError::Identifier { .. } | SavedModelError::Duplicate { .. }
    )
}

/// A flag, and how an error shows its value.
enum Flag {
    /// It has none.
    Switch(&'static str),
    /// Behind it.
    Value(&'static str),
    /// As a part of what stands behind it.
    PartOf(&'static str),
}

fn flag(option: GraphOption, has_signatures: bool) -> Flag {
    match (option, name(option)) {
        (GraphOption::InputType, _) if has_signatures => Flag::PartOf("--signatures"),
        (GraphOption::InputName, Some(flag)) => Flag::PartOf(flag),
        (
            GraphOption::FloatInput | GraphOption::NoPreprocess | GraphOption::UseSideInputs,
            Some(flag),
        ) => Flag::Switch(flag),
        (_, Some(flag)) => Flag::Value(flag),
        // Options that this command has no flag for keep the library's word.
        (_, None) => Flag::PartOf("the options of the graph"),
    }
}

/// The flag by which an option of the graph is given.
pub(super) fn name(option: GraphOption) -> Option<&'static str> {
    Some(match option {
        GraphOption::InputType => "--input_type",
        GraphOption::InputName => "--signatures",
        GraphOption::FloatInput => "--float_input",
        GraphOption::Batch => "--batch",
        GraphOption::InputSize => "--input_size",
        GraphOption::NoPreprocess => "--no_preprocess",
        GraphOption::Outputs => "--outputs",
        GraphOption::UseSideInputs => "--use_side_inputs",
        GraphOption::SideInputShapes => "--side_input_shapes",
        GraphOption::SideInputTypes => "--side_input_types",
        GraphOption::SideInputNames => "--side_input_names",
        GraphOption::ClassThresholds => "--score_threshold",
        _ => return None,
    })
}
