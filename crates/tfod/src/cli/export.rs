//! `tfod export`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{BoolishValueParser, PossibleValuesParser, TypedValueParser as _};
use serde_json::json;
use tfod::{Export, ExportReport, Format, InputType, TensorInfo};

use super::output;

/// Export a trained checkpoint as a SavedModel
///
/// Takes the flags of the official exporter (exporter_main_v2.py) with their meaning, so that a
/// command line for it works unchanged. Flags may be written with underscores or hyphens.
///
/// The output folder gets
///   checkpoint/      the model alone, without optimizer; training can start from it
///                    (fine_tune_checkpoint)
///   saved_model/     for TensorFlow, TensorFlow Serving and converters
///   pipeline.config  the configuration, with overrides merged in
///
/// An earlier export there is replaced at the end; other files stay. When anything goes wrong,
/// the folder is as it was.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(super) struct Args {
    /// What the exported model is given
    ///
    ///   image_tensor        one image: uint8 [1, height, width, 3], RGB
    ///   float_image_tensor  images of one size: float32 [batch, height, width, 3], RGB, 0 to 255
    #[arg(
        long = "input_type",
        value_name = "TYPE",
        default_value = "image_tensor",
        verbatim_doc_comment,
        value_parser = PossibleValuesParser::new(InputType::ALL.map(InputType::name)).try_map(|s| s.parse::<InputType>()),
    )]
    input_type: InputType,

    /// The pipeline.config that the model was trained with
    #[arg(long = "pipeline_config_path", value_name = "FILE")]
    pipeline_config_path: PathBuf,

    /// The folder that training wrote to; or the prefix of one checkpoint, such as train/ckpt-12
    #[arg(long = "trained_checkpoint_dir", value_name = "DIR")]
    trained_checkpoint_dir: PathBuf,

    /// Which checkpoint of the folder: a number (12), a name (ckpt-12) or a prefix
    ///
    /// Without it, the one that the folder's `checkpoint` file names; in a folder without that file, the highest-numbered one.
    #[arg(long = "checkpoint", value_name = "CHECKPOINT")]
    checkpoint: Option<String>,

    /// Where the export goes; made if it is not there
    #[arg(long = "output_directory", value_name = "DIR")]
    output_directory: PathBuf,

    /// What to write, separated by commas
    ///
    ///   saved_model  saved_model/
    ///   frozen       frozen.pb: one GraphDef with the weights inside, as tfod freeze makes it
    ///   onnx         model.onnx: for ONNX Runtime, OpenVINO and TensorRT
    #[arg(
        long = "format",
        value_name = "FORMATS",
        default_value = "saved_model",
        verbatim_doc_comment,
        value_delimiter = ',',
        value_parser = PossibleValuesParser::new(Format::ALL.map(Format::name)).map(|name| format_of(&name)),
    )]
    formats: Vec<Format>,

    /// Text merged into the configuration: 'model { ssd { post_processing { … } } }'
    #[arg(
        long = "config_override",
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    config_override: String,

    /// Print a summary for scripts, as one JSON object
    #[arg(long)]
    json: bool,

    /// Also list what the checkpoint has beyond the model's variables
    #[arg(long, short)]
    verbose: bool,

    /// Only for Context R-CNN, which is not supported: must be false
    #[arg(
        long = "use_side_inputs",
        value_name = "BOOL",
        num_args = 0..=1,
        default_value = "false",
        default_missing_value = "true",
        value_parser = BoolishValueParser::new(),
        hide_short_help = true
    )]
    use_side_inputs: bool,

    /// The official exporter's way to say --use_side_inputs=false
    #[arg(long = "nouse_side_inputs", hide = true)]
    no_use_side_inputs: bool,

    /// Read only with --use_side_inputs
    #[arg(
        long = "side_input_shapes",
        value_name = "SHAPES",
        hide_short_help = true
    )]
    side_input_shapes: Option<String>,

    /// Read only with --use_side_inputs
    #[arg(
        long = "side_input_types",
        value_name = "TYPES",
        hide_short_help = true
    )]
    side_input_types: Option<String>,

    /// Read only with --use_side_inputs
    #[arg(
        long = "side_input_names",
        value_name = "NAMES",
        hide_short_help = true
    )]
    side_input_names: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  Export the latest checkpoint of a training:
    tfod export --pipeline_config_path train/pipeline.config --trained_checkpoint_dir train \\
        --output_directory exported

  Export checkpoint 12, for batches of float images, with fewer detections:
    tfod export --input_type float_image_tensor --checkpoint 12 \\
        --pipeline_config_path train/pipeline.config --trained_checkpoint_dir train \\
        --output_directory exported --config_override \\
        'model { ssd { post_processing { batch_non_max_suppression {
           max_detections_per_class: 20 max_total_detections: 20 } } } }'

  Use the result:
    python -c \"import tensorflow as tf; print(tf.saved_model.load('exported/saved_model')
        .signatures['serving_default'].structured_outputs)\"

Exit status:
  0  exported
  1  something prevented it; nothing was written
  2  the command line is wrong";

fn format_of(name: &str) -> Format {
    let named = Format::ALL.into_iter().find(|format| format.name() == name);
    named.unwrap_or(Format::SavedModel)
}

impl Args {
    pub(super) fn run(self) -> ExitCode {
        if self.use_side_inputs && !self.no_use_side_inputs {
            eprintln!(
                "error: --use_side_inputs: side inputs are for Context R-CNN, which is not supported; leave the flag out"
            );
            return ExitCode::from(2);
        }
        let export = Export {
            input_type: self.input_type,
            pipeline_config: self.pipeline_config_path,
            checkpoint_dir: self.trained_checkpoint_dir,
            checkpoint: self.checkpoint,
            config_override: self.config_override,
            formats: self.formats,
            output: self.output_directory,
        };
        let report = match export.run() {
            Ok(report) => report,
            Err(error) => return output::failure(&error),
        };
        for warning in &report.warnings {
            eprintln!("warning: {warning}");
        }
        let text = if self.json {
            format!("{:#}\n", summary_json(&report))
        } else {
            summary(&report, self.verbose)
        };
        output::print(&text)
    }
}

fn summary(report: &ExportReport, verbose: bool) -> String {
    let mut lines = Vec::new();
    let size = report.image_size.map_or_else(
        || String::from("of any size"),
        |[height, width]| format!("{height}x{width}"),
    );
    let classes = match report.num_classes {
        1 => String::from("1 class"),
        n => format!("{n} classes"),
    };
    lines.push(format!(
        "Exported {} to {}",
        report.architecture,
        report.output.display()
    ));
    lines.push(format!("  model        {classes}, network input {size}"));
    lines.push(format!(
        "  checkpoint   {} ({})",
        report.checkpoint.display(),
        report.checkpoint_found
    ));
    lines.push(format!(
        "  variables    {} of {0} found and verified; {} more in the checkpoint not needed{}",
        report.variables,
        report.unused.total(),
        if verbose || report.unused.total() == 0 {
            ""
        } else {
            " (--verbose lists them)"
        }
    ));
    if let Some(saved) = &report.saved_model {
        lines.push(format!(
            "  saved_model  {} nodes in {}, {} variables in {}",
            saved.num_nodes,
            output::size(saved.pb_bytes),
            saved.num_variables,
            output::size(saved.variables_bytes)
        ));
    }
    if let Some(frozen) = &report.frozen {
        lines.push(format!(
            "  frozen       {} nodes in {}",
            frozen.op_counts.values().sum::<usize>(),
            output::size(frozen.bytes)
        ));
    }
    if let Some(onnx) = &report.onnx {
        let bytes = onnx.onnx_bytes + onnx.data_bytes.unwrap_or(0);
        lines.push(format!(
            "  onnx         {} nodes in {}, opset {}",
            onnx.num_nodes,
            output::size(bytes),
            onnx.opset
        ));
    }
    let width = report
        .interface
        .outputs
        .iter()
        .map(|o| o.key.len())
        .max()
        .unwrap_or_default();
    let tensor = |info: &TensorInfo| format!("{:width$}  {} {}", info.key, info.dtype, info.shape);
    for (title, tensors) in [
        ("input", &report.interface.inputs),
        ("output", &report.interface.outputs),
    ] {
        for (i, info) in tensors.iter().enumerate() {
            let title = if i == 0 { title } else { "" };
            lines.push(format!("  {title:<11}  {}", tensor(info)));
        }
    }
    lines.push(format!(
        "  time         {:.2} s",
        report.elapsed.as_secs_f64()
    ));
    if verbose {
        for (what, keys) in [
            ("of the model", &report.unused.model),
            ("of the optimizer", &report.unused.optimizer),
            ("other", &report.unused.other),
        ] {
            if !keys.is_empty() {
                lines.push(format!("Not needed, {what} ({}):", keys.len()));
                lines.extend(keys.iter().map(|key| format!("  {key}")));
            }
        }
    }
    lines.join("\n") + "\n"
}

fn summary_json(report: &ExportReport) -> serde_json::Value {
    let tensors = |list: &[TensorInfo]| -> Vec<serde_json::Value> {
        list.iter()
            .map(|info| {
                let shape: Vec<serde_json::Value> = info
                    .shape
                    .dims()
                    .iter()
                    .map(|dim| {
                        dim.known()
                            .map_or_else(|| json!(dim.to_string()), |n| json!(n))
                    })
                    .collect();
                json!({ "key": info.key, "dtype": info.dtype.to_string(), "shape": shape })
            })
            .collect()
    };
    json!({
        "architecture": report.architecture,
        "num_classes": report.num_classes,
        "image_size": report.image_size,
        "checkpoint": { "prefix": report.checkpoint, "found": report.checkpoint_found },
        "variables": report.variables,
        "unused": {
            "model": report.unused.model,
            "optimizer": report.unused.optimizer,
            "other": report.unused.other,
        },
        "warnings": report.warnings,
        "inputs": tensors(&report.interface.inputs),
        "outputs": tensors(&report.interface.outputs),
        "saved_model": report.saved_model.map(|saved| json!({
            "nodes": saved.num_nodes,
            "variables": saved.num_variables,
            "pb_bytes": saved.pb_bytes,
            "variables_bytes": saved.variables_bytes,
        })),
        "frozen": report.frozen.as_ref().map(|frozen| json!({
            "nodes": frozen.op_counts.values().sum::<usize>(),
            "bytes": frozen.bytes,
        })),
        "onnx": report.onnx.map(|onnx| json!({
            "nodes": onnx.num_nodes,
            "bytes": onnx.onnx_bytes,
            "data_bytes": onnx.data_bytes,
            "opset": onnx.opset,
        })),
        "output_directory": report.output,
        "seconds": report.elapsed.as_secs_f64(),
    })
}
