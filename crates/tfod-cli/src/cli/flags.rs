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
        ExportError::SavedModel(problem) if has_signatures && is_of_name(problem) => {
            output::usage(&format!("--signatures: {error}"))
        }
        ExportError::VersionExists { .. } => output::failure(&format!("--model_version: {error}")),
        ExportError::WouldLose { .. }
        | ExportError::Output(OutputError::InTheWay { .. } | OutputError::Overwrites { .. }) => {
            output::failure(&format!("--output_directory: {error}"))
        }
        ExportError::Checkpoint(error) => output::failure(&trained::with_flag(error)),
        ExportError::Config(error) => output::failure(&trained::of_config(error)),
        _ => output::failure(error),
    }
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
    match option {
        GraphOption::InputType if !has_signatures => Flag::Value("--input_type"),
        GraphOption::InputType | GraphOption::InputName => Flag::PartOf("--signatures"),
        GraphOption::FloatInput => Flag::Switch("--float_input"),
        GraphOption::Batch => Flag::Value("--batch"),
        GraphOption::InputSize => Flag::Value("--input_size"),
        GraphOption::NoPreprocess => Flag::Switch("--no_preprocess"),
        GraphOption::Outputs => Flag::Value("--outputs"),
        GraphOption::UseSideInputs => Flag::Switch("--use_side_inputs"),
        GraphOption::SideInputShapes => Flag::Value("--side_input_shapes"),
        GraphOption::SideInputTypes => Flag::Value("--side_input_types"),
        GraphOption::SideInputNames => Flag::Value("--side_input_names"),
        GraphOption::ClassThresholds => Flag::Value("--score_threshold"),
        // Options that this command has no flag for keep the library's word.
        _ => Flag::PartOf("the options of the graph"),
    }
}
