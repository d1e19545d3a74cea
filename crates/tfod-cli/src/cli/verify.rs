//! `tfod verify`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use tfod_inspect::counted;
use tfod_verify::{
    Aspects, Matched, Outcome, OutputOptions, OutputPair, OutputsResult, Pair, Unmatched,
    Verification, WeightsResult, verify_with_progress,
};

use tfod_text::Shown;

use super::progress::Progress;
use super::{apart, output};

/// Say whether two models are the same
///
/// Takes a checkpoint (with its pipeline.config in its folder or the one above), a SavedModel, a
/// frozen graph, an ONNX or a TFLite model on either side, in any combination, and compares interfaces,
/// what they are made of, and weights: bit-equal, or the largest difference and where. Weights are
/// matched by name, then by content in every layout that a format is known to use, then by shape and
/// nearest values; those of TFLite models through the folding of batch normalisation and the rounding
/// to fewer bits. The output says how many each way, and what was not compared.
///
/// With --image, both are run as well, and all outputs compared: ONNX models as they are, a checkpoint
/// by exporting it as one, a SavedModel or frozen graph by reading it as one, where its operations are
/// those of tfod's exports. Each model runs in a process of its own, with at most --max_memory; run
/// only models that you trust with your machine's time.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = EXAMPLES,
    override_usage = "tfod verify [OPTIONS] <FIRST> <SECOND> [--image <FILE>...]"
)]
pub(super) struct Args {
    /// A checkpoint, SavedModel, frozen graph, ONNX or TFLite model
    #[arg(value_name = "FIRST")]
    first: PathBuf,

    /// Another
    #[arg(value_name = "SECOND")]
    second: PathBuf,

    /// Compare only these
    #[arg(
        long = "only",
        value_name = "ASPECT,...",
        value_enum,
        value_delimiter = ','
    )]
    only: Vec<Aspect>,

    /// Run both on these images, JPEG, PNG, GIF or BMP, and compare all outputs; comes after the models
    #[arg(long = "image", value_name = "FILE", num_args = 1..)]
    images: Vec<PathBuf>,

    /// The largest |a - b| / (1 + max(|a|, |b|)) that counts as the same output
    #[arg(long = "tolerance", value_name = "X", default_value_t = OutputOptions::TOLERANCE, value_parser = tolerance, requires = "images")]
    tolerance: f64,

    #[command(flatten)]
    running: apart::Running,

    /// Print JSON; docs/inspect.md explains its keys
    #[arg(long = "json")]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Aspect {
    /// Signature keys, types, shapes
    Interface,
    /// Operations; for checkpoints, the config
    Structure,
    /// Values
    Weights,
    /// The outputs for the images of --image
    Outputs,
}

const EXAMPLES: &str = "\
Examples:
  Is this export of that checkpoint?
    tfod verify train exported/saved_model

  Did the conversion keep all weights?
    tfod verify exported/saved_model model.onnx

  Is this TFLite model that checkpoint's, also with kernels of 8 bits?
    tfod verify train model.tflite

  Does the optimised model still compute what the trained one does?
    tfod verify train optimised.onnx --image street.jpg harbour.jpg

  Does the runtime of the server compute the same of two models?
    tfod verify train exported/model.onnx --image street.jpg \\
        --runtime onnxruntime --runtime_library ~/venv

  Same interface as the model in production?
    tfod verify --only interface production/saved_model \\
        exported/saved_model

Exit status:
  0  the same, as far as it was compared; the output says how far
  1  different, or not shown to be the same
  2  something prevented it: a file that cannot be read, or is no model or
     image";

/// How many of a kind are named.
const SHOWN: usize = 10;

impl Args {
    pub(super) fn run(self) -> ExitCode {
        let asks_for_outputs = self.only.is_empty() || self.only.contains(&Aspect::Outputs);
        if self.only.contains(&Aspect::Outputs) && self.images.is_empty() {
            let problem = "--only outputs needs images to run the models on; add --image FILE";
            return output::error(&problem);
        }
        if !asks_for_outputs && !self.images.is_empty() {
            let problem =
                "--image is for comparing outputs, which --only leaves out; add outputs to it";
            return output::error(&problem);
        }
        let has = |aspect| self.only.is_empty() || self.only.contains(&aspect);
        let outputs = if self.images.is_empty() {
            if !self.running.is_default() {
                let problem = "--runtime, --runtime_library and --max_memory are of running models on images; add --image FILE";
                return output::error(&problem);
            }
            None
        } else {
            let apart = match self.running.launch(None) {
                Ok(apart) => apart,
                Err(problem) => return output::error(&problem),
            };
            let mut options = OutputOptions::new(self.images);
            options.tolerance = self.tolerance;
            options.apart = Some(apart);
            Some(options)
        };
        let mut aspects = Aspects::NONE;
        aspects.interface = has(Aspect::Interface);
        aspects.structure = has(Aspect::Structure);
        aspects.weights = has(Aspect::Weights);
        aspects.outputs = outputs;
        let compared = Progress::during(|progress| {
            let tell = |step: &str| progress.tell(step);
            verify_with_progress(&self.first, &self.second, &aspects, &tell)
        });
        let found = match compared {
            Ok(found) => found,
            Err(error) => return output::error(&error),
        };
        let text = output::document(self.json, || found.json(), || text(&found));
        output::verdict(&text, found.outcome() == Outcome::Same)
    }
}

/// A distance: 0 or more.
fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number >= 0.0 && f64::is_finite(number) => Ok(number),
        _ => Err("expected a number from 0 on, such as 1e-4".to_owned()),
    }
}

fn text(found: &Verification) -> String {
    let mut text = Vec::new();
    let mut section = |title: &str, outcome: Outcome, note: &str, lines: &[String]| {
        let note = if note.is_empty() {
            String::new()
        } else {
            format!(" ({note})")
        };
        text.push(format!("{title}: {}{note}", outcome.name()));
        let shown = lines.iter().take(SHOWN);
        text.extend(shown.map(|line| format!("  {}", line.shown())));
        if lines.len() > SHOWN {
            let more = lines.len() - SHOWN;
            text.push(format!("  … and {more} more; --json lists all"));
        }
    };
    if let Some(of) = &found.interface {
        let how = match of.outcome {
            Outcome::NotCompared => of.how.to_owned(),
            _ => format!("matched {}", of.how),
        };
        let lines: Vec<String> = of.differences.iter().chain(&of.notes).cloned().collect();
        section("interface", of.outcome, &how, &lines);
    }
    if let Some(of) = &found.structure {
        section("structure", of.outcome, of.reason, &of.differences);
    }
    if let Some(of) = &found.weights {
        section("weights", of.outcome, of.scope, &weights(of));
    }
    if let Some(of) = &found.outputs {
        let note = match of.outcome {
            Outcome::NotCompared | Outcome::Undecided => of.reason.clone(),
            _ => format!("images: {}; tolerance {}", of.images, of.tolerance),
        };
        section("outputs", of.outcome, &note, &outputs(of));
    }
    text.push(format!("all in all: {}", found.outcome().name()));
    text.join("\n") + "\n"
}

fn weights(of: &WeightsResult) -> Vec<String> {
    let ways = [
        Matched::Name,
        Matched::Content,
        Matched::Numbers,
        Matched::Value,
        Matched::Folded,
        Matched::Nearest,
    ];
    let ways = ways.map(|way| (of.matched(way), way.name()));
    let ways = ways.iter().filter(|(count, _)| *count > 0);
    let ways: Vec<String> = ways
        .map(|(count, name)| format!("{count} by {name}"))
        .collect();
    let mut lines = of.notes.clone();
    lines.push(format!(
        "{} ({}); {} bit-equal, {} not",
        counted(of.pairs.len(), "pair"),
        ways.join(", "),
        of.bit_equal(),
        of.pairs.len() - of.bit_equal()
    ));
    if let Some(pair) = of.largest() {
        lines.push(format!(
            "farthest apart: {} and {}: {}",
            pair.first, pair.second, pair.by
        ));
    }
    let differing: Vec<&Pair> = of.pairs.iter().filter(|pair| pair.differs()).collect();
    if differing.len() > 1 {
        let named = differing.iter().take(SHOWN).map(|pair| {
            let Pair {
                first, second, by, ..
            } = pair;
            format!(
                "{first} and {second} ({})",
                counted(by.differing, "element")
            )
        });
        let named: Vec<String> = named.collect();
        let more = if differing.len() > SHOWN { "; …" } else { "" };
        lines.push(format!("differing: {}{more}", named.join("; ")));
    }
    for (side, all) in [("first", &of.only_in_first), ("second", &of.only_in_second)] {
        if !all.is_empty() {
            lines.push(format!("only in the {side}: {}", unmatched(all)));
        }
    }
    let [first, second] = of.left_out;
    lines.push(format!(
        "not compared: {} of the first, {second} of the second",
        counted(first, "tensor")
    ));
    lines
}

fn outputs(of: &OutputsResult) -> Vec<String> {
    let mut lines = of.notes.clone();
    for (side, names) in [("first", &of.only_in_first), ("second", &of.only_in_second)] {
        if !names.is_empty() {
            lines.push(format!("only in the {side}: {}", names.join(", ")));
        }
    }
    if of.images == 0 {
        return lines;
    }
    // What matters most first: not all may be shown.
    let mut pairs: Vec<&OutputPair> = of.pairs.iter().collect();
    pairs.sort_by(|x, y| y.by.largest().total_cmp(&x.by.largest()));
    lines.extend(pairs.iter().map(|pair| {
        let is_one_name = pair.first == pair.second;
        let other = if is_one_name { "" } else { &pair.second };
        let slash = if is_one_name { "" } else { " / " };
        format!("{}{slash}{other}: {}", pair.first, pair.by)
    }));
    lines
}

fn unmatched(all: &[Unmatched]) -> String {
    let variables = all.iter().filter(|one| one.is_variable).count();
    let names: Vec<String> = all
        .iter()
        .take(SHOWN)
        .map(|one| format!("{} {:?}", one.name, one.shape))
        .collect();
    let more = if all.len() > SHOWN { ", …" } else { "" };
    format!(
        "{} and {}: {}{more}",
        counted(variables, "variable"),
        counted(all.len() - variables, "constant"),
        names.join(", ")
    )
}
