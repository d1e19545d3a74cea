//! `tfod freeze`

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::StringValueParser;
use tfod::{
    Changed, Destination, Endpoint, Freeze, FreezeError, FreezeFileError, FreezeReport, InputShape,
    OutputError, bytes, count,
};

use tfod_text::Shown;

use super::output;
use super::progress::Progress;
use super::values::Trimmed;

/// Freeze a SavedModel into one GraphDef file
///
/// Takes any SavedModel of TensorFlow 2 (Keras, tf.Module, the official exporter, TensorFlow 1
/// style, tfod export) and writes one signature of it as one file with the weights inside, for
/// OpenVINO, OpenCV, TensorRT, TF.js, C++, Java, Go, Rust. The graph has the inputs, outputs and
/// results of TensorFlow's convert_variables_to_constants_v2, and no nodes that the outputs do
/// not need.
///
/// Prints which tensor each input and output is, with its type and shape.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(super) struct Args {
    /// The folder with saved_model.pb or saved_model.pbtxt, or that file
    #[arg(long = "saved_model_dir", value_name = "DIR")]
    saved_model_dir: PathBuf,

    /// The file to write, or - for standard output
    ///
    /// A file there is replaced when the new one is complete; pipes and character devices are written into. Its folder is made
    /// if it is not there. With -, the summary goes to standard error.
    #[arg(long = "output", value_name = "FILE", required_unless_present = "logdir", conflicts_with_all = ["logdir", "name"])]
    output: Option<PathBuf>,

    /// With --name: the output's folder, as in tf.io.write_graph
    #[arg(long = "logdir", value_name = "DIR", requires = "name")]
    logdir: Option<PathBuf>,

    /// With --logdir: the output's name
    #[arg(long = "name", value_name = "NAME", requires = "logdir")]
    name: Option<PathBuf>,

    /// Write protobuf text; also chosen by an output name that ends in .pbtxt
    #[arg(long = "as_text")]
    as_text: bool,

    /// The key of the signature
    #[arg(
        long = "signature",
        value_name = "KEY",
        default_value = "serving_default"
    )]
    signature: String,

    /// A function of the model instead of a signature, such as __call__, for models saved without signatures
    #[arg(long = "function", value_name = "NAME", conflicts_with = "signature")]
    function: Option<String>,

    /// Names of tensors that are the inputs, separated by commas, for graphs without signatures; --outputs are tensors then
    #[arg(long = "inputs", value_name = "TENSORS", value_delimiter = ',', requires = "outputs", conflicts_with_all = ["signature", "function"])]
    inputs: Vec<String>,

    /// Only these outputs, separated by commas, and only what they need
    #[arg(long = "outputs", value_name = "KEYS", value_delimiter = ',')]
    outputs: Vec<String>,

    /// The tags of the graph, separated by commas; '' for a graph without tags [default: serve, or the only graph]
    #[arg(long = "tags", value_name = "TAGS", value_delimiter = ',', value_parser = Trimmed(StringValueParser::new()))]
    tags: Option<Vec<String>>,

    /// The shape that an input has: its key and its sizes, ? for those that stay unknown; may be given for each input
    ///
    /// What the graph computes from sizes becomes constant where it follows from these, and the shapes of outputs are told as far as they follow.
    #[arg(long = "input_shape", value_name = "NAME=SIZES", value_parser = input_shape)]
    input_shapes: Vec<InputShape>,

    /// Name inputs and outputs by their keys in the signature: detection_boxes instead of Identity_1
    #[arg(long = "friendly_names")]
    friendly_names: bool,

    /// Drop assignments to variables: every call starts from the saved values
    ///
    /// For models that count calls, keep the state of a recurrent layer or of a random generator, or update statistics. What a call
    /// assigns and then reads itself is kept.
    #[arg(long = "drop_updates")]
    drop_updates: bool,

    /// Leave conditionals and loops as functions (If, While) instead of lowering them to TensorFlow 1's control flow (Switch, Merge)
    #[arg(long = "keep_control_flow")]
    keep_control_flow: bool,

    /// Fold batch normalisation into the convolution before it
    #[arg(long = "fold_batch_norm")]
    fold_batch_norm: bool,

    /// Store large constants as float16, each with a Cast to float32 behind it
    #[arg(long = "half")]
    half: bool,

    /// Also write the table of inputs and outputs, sizes and op counts to this file, or - for standard output
    #[arg(long = "json", value_name = "FILE")]
    json: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  Freeze an exported detector:
    tfod freeze --saved_model_dir exported/saved_model --output frozen.pb

  With names that say what they are, smaller, with few operations:
    tfod freeze --saved_model_dir exported/saved_model \\
        --output frozen.pb --friendly_names --fold_batch_norm --half

  As text, another signature:
    tfod freeze --saved_model_dir model --signature predict \\
        --output model.pbtxt

  Export and freeze in one go:
    tfod export --format saved_model,frozen ...

Exit status:
  0  frozen
  1  something prevented it; nothing was written
  2  the command line is wrong";

impl Args {
    pub(super) fn run(self) -> ExitCode {
        let flag = match self.output {
            Some(_) => "--output",
            None => "--logdir",
        };
        let file = self.output.or_else(|| Some(self.logdir?.join(self.name?)));
        let Some(file) = file else {
            return ExitCode::from(2);
        };
        let is_text_name = file.extension().is_some_and(|e| e == "pbtxt");
        let as_text = self.as_text || is_text_name;
        let output = Destination::of_argument(file);
        let json = self.json.map(Destination::of_argument);
        if let Some(problem) = problem_of_destinations(flag, &output, json.as_ref(), as_text) {
            return output::usage(&problem);
        }
        let mut freeze = Freeze::new(self.saved_model_dir, output);
        freeze.as_text = as_text;
        freeze.options.signature = self.signature;
        freeze.options.function = self.function;
        freeze.options.inputs = self.inputs;
        freeze.options.outputs = self.outputs;
        let named = |tags: Vec<String>| tags.into_iter().filter(|tag| !tag.is_empty()).collect();
        freeze.options.tags = self.tags.map(named);
        freeze.options.drop_updates = self.drop_updates;
        freeze.options.keep_control_flow = self.keep_control_flow;
        freeze.options.friendly_names = self.friendly_names;
        freeze.input_shapes = self.input_shapes;
        freeze.fold_batch_norm = self.fold_batch_norm;
        freeze.half = self.half;
        if let Some(Err(error)) = json.as_ref().map(|json| freeze.spare_inputs(json)) {
            return output::failure(&format_args!("--json: {error}"));
        }
        let frozen = Progress::during(|p| freeze.run_with_progress(&|step| p.tell(step)));
        let report = match frozen {
            Ok(report) => report,
            Err(FreezeFileError::Output(
                error @ (OutputError::InTheWay { .. } | OutputError::Overwrites { .. }),
            )) => return output::failure(&format_args!("{flag}: {error}")),
            Err(error) => return output::failure(&with_flag(&error)),
        };
        for warning in &report.warnings {
            output::warn(warning);
        }
        let is_taken = report.output.is_standard_output();
        if let Some(json) = &json {
            // Before there was an output, names that differ in case only were not seen to be one file.
            if json.collides_with(&report.output) {
                return output::failure(&same_place(flag, json));
            }
            let text = format!("{:#}\n", report.json());
            if let Err(error) = json.write_text(&text) {
                return output::failure(&error);
            }
        }
        let text = summary(&report);
        if is_taken || json.is_some_and(|json| json.is_standard_output()) {
            output::print_aside(&text)
        } else {
            output::print(&text)
        }
    }
}

/// An input's name and its sizes: `input_tensor=1,320,320,3`.
fn input_shape(text: &str) -> Result<InputShape, String> {
    let expected = "expected NAME=SIZES, such as input_tensor=1,320,320,3";
    let (input, sizes) = text.rsplit_once('=').ok_or(expected)?;
    let input = input.trim().to_owned();
    if input.is_empty() {
        return Err(expected.to_owned());
    }
    let size = |size: &str| match size.trim() {
        "?" | "-1" => Ok(None),
        size => match size.parse::<u32>() {
            Ok(size) if size > 0 => Ok(Some(u64::from(size))),
            _ => Err(format!(
                "`{size}` is no size: expected 1 to 4294967295, or ?"
            )),
        },
    };
    // A scalar has no sizes.
    let sizes = sizes.trim().trim_start_matches('[').trim_end_matches(']');
    let sizes = if sizes.is_empty() { None } else { Some(sizes) };
    let shape = sizes.into_iter().flat_map(|sizes| sizes.split(','));
    Ok(InputShape {
        input,
        shape: shape.map(size).collect::<Result<_, _>>()?,
    })
}

/// The error, and the flag that helps.
fn with_flag(error: &FreezeFileError) -> String {
    let flag = match error {
        FreezeFileError::Freeze(FreezeError::Updates { .. }) => " (--drop_updates)",
        FreezeFileError::Freeze(FreezeError::Signature { functions, .. })
            if !functions.is_empty() =>
        {
            " (--function)"
        }
        FreezeFileError::Freeze(FreezeError::Signature { available, .. })
            if available.is_empty() =>
        {
            "; name the tensors that go in and come out (--inputs, --outputs)"
        }
        FreezeFileError::Freeze(FreezeError::TooLarge {
            is_halved: false, ..
        }) => " (--half)",
        FreezeFileError::Freeze(FreezeError::InputShape { .. }) => " (--input_shape)",
        _ => "",
    };
    format!("{error}{flag}")
}

/// What speaks against where the graph and the summary go.
fn problem_of_destinations(
    flag: &str,
    output: &Destination,
    json: Option<&Destination>,
    as_text: bool,
) -> Option<String> {
    if let Some(json) = json.filter(|json| json.collides_with(output)) {
        return Some(same_place(flag, json));
    }
    let is_terminal = output.is_standard_output() && std::io::stdout().is_terminal();
    (is_terminal && !as_text).then(|| {
        "--output: standard output is a terminal, and the graph is not text; send it to a file or a pipe, or add --as_text".to_owned()
    })
}

fn same_place(flag: &str, json: &Destination) -> String {
    let name = json.name().shown();
    format!("{flag} and --json are both {name}; give one of them another file")
}

fn shape(endpoint: &Endpoint) -> String {
    let Some(dims) = &endpoint.shape else {
        return String::from("[...]");
    };
    let dim = |d: &Option<u64>| d.map_or_else(|| String::from("?"), |n| n.to_string());
    let dims: Vec<String> = dims.iter().map(dim).collect();
    format!("[{}]", dims.join(", "))
}

fn dtype(endpoint: &Endpoint) -> &'static str {
    endpoint.dtype.map_or("unknown", tfod::StoredType::name)
}

/// The tables, and what has to be run before they are used.
fn tables(report: &FreezeReport) -> Vec<String> {
    let dtype = |dtype: Option<tfod::StoredType>| dtype.map_or("unknown", tfod::StoredType::name);
    let mut lines = Vec::new();
    for (i, table) in report.tables.iter().enumerate() {
        let title = if i == 0 { "tables" } else { "" };
        let entries = table
            .entries
            .map(|entries| usize::try_from(entries).unwrap_or(usize::MAX));
        let entries = entries.map_or_else(String::new, |entries| match entries {
            1 => ", 1 entry".to_owned(),
            entries => format!(", {entries} entries"),
        });
        lines.push(format!(
            "  {title:<9}  {}: {} to {}{entries}",
            table.node.shown(),
            dtype(table.key_dtype),
            dtype(table.value_dtype)
        ));
    }
    if let Some(initialiser) = &report.initialiser {
        lines.push(format!(
            "  init       run `{}` once, before the first call: it fills the tables",
            initialiser.shown()
        ));
    }
    lines
}

fn summary(report: &FreezeReport) -> String {
    let mut lines = vec![format!(
        "Froze {} into {} ({})",
        count(report.op_counts.values().sum(), "node"),
        report.output.name().shown(),
        bytes(report.bytes)
    )];
    let ends = report.inputs.iter().chain(&report.outputs);
    let width = |len: fn(&Endpoint) -> usize| ends.clone().map(len).max().unwrap_or_default();
    let (keys, tensors) = (width(|e| e.key.len()), width(|e| e.tensor.len()));
    for (title, ends) in [("input", &report.inputs), ("output", &report.outputs)] {
        for (i, end) in ends.iter().enumerate() {
            let title = if i == 0 { title } else { "" };
            lines.push(format!(
                "  {title:<9}  {:keys$}  {:tensors$}  {} {}",
                end.key.shown(),
                end.tensor.shown(),
                dtype(end),
                shape(end)
            ));
        }
    }
    let largest: Vec<String> = report
        .largest
        .iter()
        .take(3)
        .map(|(name, size)| format!("{} {}", name.shown(), bytes(*size)))
        .collect();
    lines.push(format!(
        "  constants  {}; largest: {}",
        bytes(report.constant_bytes),
        largest.join(", ")
    ));
    let mut ops: Vec<(&String, &usize)> = report.op_counts.iter().collect();
    ops.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
    let ops: Vec<String> = ops
        .into_iter()
        .map(|(op, n)| format!("{n} {}", op.shown()))
        .collect();
    lines.push(format!("  ops        {}", ops.join(", ")));
    if let Some(fixed) = report.fixed_sizes {
        let fixed = count(fixed, "tensor");
        lines.push(format!(
            "  sizes      {fixed} that they decide made constant"
        ));
    }
    if let Some(folded) = report.folded {
        let folded = count(folded, "batch normalisation");
        lines.push(format!("  folded     {folded}"));
    }
    if let Some(halved) = report.halved {
        let halved = count(halved, "constant");
        lines.push(format!("  halved     {halved}"));
    }
    for (i, update) in report.dropped_updates.iter().enumerate() {
        let title = if i == 0 { "dropped" } else { "" };
        let what = match update.what {
            Changed::Variable => "",
            _ => "table ",
        };
        lines.push(format!(
            "  {title:<9}  {what}{} by {}",
            update.name.shown(),
            update.place
        ));
    }
    lines.extend(tables(report));
    if report.op_counts.contains_key("LoopCond") {
        lines.push(
            "  loops      lowered to TensorFlow 1's; for tf2onnx, freeze with --keep_control_flow"
                .to_owned(),
        );
    }
    if !report.functions.is_empty() {
        lines.push(format!(
            "  functions  {}",
            report.functions.join(", ").shown()
        ));
    }
    lines.push(format!(
        "  time       {:.2} s",
        report.elapsed.as_secs_f64()
    ));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_that_was_given_is_not_advised() {
        let advice = |is_halved| {
            let error = FreezeError::TooLarge {
                total: 3,
                limit: 2,
                largest: Vec::new(),
                is_halved,
            };
            with_flag(&FreezeFileError::Freeze(error))
        };
        assert!(advice(false).ends_with("half precision (--half)"));
        assert!(!advice(true).contains("--half"));
    }
}
