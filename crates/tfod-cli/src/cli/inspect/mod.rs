//! `tfod inspect`

mod text;

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};
use tfod_inspect::{InspectError, Inspection, Statistics, StoredTensor, inspect, listing};

use super::output;
use super::progress::Progress;

/// Say what a file is and what is in it
///
/// Takes a checkpoint (folder, prefix or .index; the index alone will do), a pipeline.config, a
/// SavedModel (folder or saved_model.pb), a graph (frozen .pb, .pbtxt, .meta), an ONNX or TFLite
/// model, or the folder of an export. The format is recognised by the content. Weights are not
/// loaded, so a large file takes no longer than a small one.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// A file or folder, or a checkpoint's prefix
    #[arg(value_name = "PATH")]
    path: PathBuf,

    /// Also list all tensors: name, type, shape, bytes
    #[arg(long = "tensors", conflicts_with = "tensor")]
    tensors: bool,

    /// Print this tensor instead: statistics and first values; may be given more than once
    #[arg(long = "tensor", value_name = "KEY")]
    tensor: Vec<String>,

    /// How many values --tensor prints
    #[arg(
        long = "values",
        value_name = "N",
        default_value = "24",
        requires = "tensor"
    )]
    values: u64,

    /// Print JSON; docs/inspect.md explains its keys
    #[arg(long = "json")]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  What did I train, and how far?
    tfod inspect train

  What goes into this model, what comes out, what will give trouble?
    tfod inspect exported/saved_model
    tfod inspect model.onnx

  Which tensors are there, largest last?
    tfod inspect --tensors --json frozen.pb |
        jq -r '.tensors | sort_by(.bytes)[] | .name'

  Is this weight what I think it is? (NaNs, zeros, first values)
    tfod inspect train \\
        --tensor model/_box_predictor/_base_tower_layers_for_heads/x/kernel

Exit status:
  0  printed
  1  the format is unknown, or the file is damaged; the message says what
     was looked for
  2  the command line is wrong";

impl Args {
    pub(in crate::cli) fn run(self) -> ExitCode {
        let read = Progress::during(|progress| {
            progress.tell("reading");
            self.text()
        });
        match read {
            Ok(text) => output::print(&text),
            Err(error) => output::failure(&error),
        }
    }

    fn text(&self) -> Result<String, InspectError> {
        let found = inspect(&self.path)?;
        if !self.tensor.is_empty() {
            let tensors = self.tensor.iter().map(|name| {
                let tensor = found.tensor(name)?;
                if self.json {
                    tensor_json(&found, tensor, self.values)
                } else {
                    tensor_text(&found, tensor, self.values).map(Value::String)
                }
            });
            let tensors: Vec<Value> = tensors.collect::<Result<_, InspectError>>()?;
            found.check_lengths()?;
            return Ok(if self.json {
                format!(
                    "{:#}\n",
                    json!({ "path": self.path.display().to_string(), "tensors": tensors })
                )
            } else {
                let texts: Vec<&str> = tensors.iter().filter_map(Value::as_str).collect();
                texts.join("\n")
            });
        }
        if self.json {
            let mut json = found.json();
            if let (true, Some(members)) = (self.tensors, json.as_object_mut()) {
                let tensors = found.tensors.iter().map(StoredTensor::json);
                members.insert("tensors".to_owned(), tensors.collect());
            }
            return Ok(format!("{json:#}\n"));
        }
        let mut text = text::report(&found);
        if self.tensors {
            text += &text::tensors(&found.tensors);
        }
        Ok(text)
    }
}

fn tensor_json(
    found: &Inspection,
    tensor: &StoredTensor,
    values: u64,
) -> Result<Value, InspectError> {
    let elements = found.elements(tensor)?;
    let mut json = tensor.json();
    let statistics = Statistics::of(&elements).map(|s| {
        json!({
            "min": s.min, "max": s.max, "mean": s.mean, "std": s.std,
            "nan": s.nan, "inf": s.inf, "zeros": s.zeros,
        })
    });
    let values = (0..elements.count().min(values)).filter_map(|index| elements.get(index));
    if let Some(members) = json.as_object_mut() {
        members.insert("statistics".to_owned(), json!(statistics));
        let values: Vec<Value> = values.map(tfod_inspect::Element::json).collect();
        members.insert("values".to_owned(), json!(values));
    }
    Ok(json)
}

fn tensor_text(
    found: &Inspection,
    tensor: &StoredTensor,
    values: u64,
) -> Result<String, InspectError> {
    let elements = found.elements(tensor)?;
    let mut lines = vec![format!(
        "{}: {} {:?}, {} elements, {}",
        tensor.name,
        tensor.type_name(),
        tensor.shape,
        elements.count(),
        tfod::bytes(tensor.bytes)
    )];
    if let Some(s) = Statistics::of(&elements) {
        let number = |n: Option<f64>| n.map_or_else(|| "-".to_owned(), |n| format!("{n:.6}"));
        lines.push(format!(
            "  min {}, max {}, mean {}, std {}; {} NaN, {} infinite, {} zero",
            number(s.min),
            number(s.max),
            number(s.mean),
            number(s.std),
            s.nan,
            s.inf,
            s.zeros
        ));
    }
    let listing = listing(&elements, &tensor.shape, values);
    lines.extend(listing.lines().map(|line| format!("  {line}")));
    Ok(lines.join("\n") + "\n")
}
