//! `tfod export`

mod parse;
mod summary;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{
    BoolishValueParser, PossibleValuesParser, StringValueParser, TypedValueParser as _,
};
use tfod::{
    Batch, Export, ExportError, Format, GraphOptions, InputType, Layout, ModelError, SideInput,
    SignatureOptions, Stage,
};

use super::flags;
use super::format_flags::FormatFlags;
use super::output;
use super::progress::Progress;
use super::trained::{ConfigOverride, Trained};
use super::values::{self, Trimmed};
use parse::{ScoreThresholds, batch, fraction, input_size, signature};
use summary::summary;

/// Export a trained checkpoint as a SavedModel, frozen graph, ONNX or TFLite model
///
/// Takes the flags of the official exporter (exporter_main_v2.py) with their meaning, so that a
/// command line for it works unchanged: --flagfile and --undefok are obeyed, flags of logging and
/// of Python's debugger and profiler are ignored. Flags may be written with underscores or hyphens.
/// More options fit the model to the program that runs it. Options of the graph apply to every
/// format.
///
/// The output folder gets
///   checkpoint/      the model alone, without optimizer; training can start
///                    from it (fine_tune_checkpoint)
///   saved_model/     for TensorFlow, TensorFlow Serving and converters
///   pipeline.config  the configuration, with overrides merged in
///   manifest.json    how the model is to be used: inputs, outputs,
///                    preprocessing, thresholds
///
/// An earlier export there is replaced at the end, its files of other formats included; what is no
/// part of an export stays. When anything goes wrong, the folder is as it was. A config in that
/// folder from which the export is made is kept there as pipeline.config.original.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES, args_override_self = true)]
pub(super) struct Args {
    /// What the exported model is given
    ///
    ///   image_tensor                 one image:
    ///                                uint8 [1, height, width, 3], RGB
    ///   float_image_tensor           images of one size:
    ///                                float32 [batch, height, width, 3],
    ///                                RGB, 0 to 255
    ///   encoded_image_string_tensor  files of images of any sizes:
    ///                                string [batch], JPEG, PNG, GIF or BMP
    ///   tf_example                   tf.train.Example messages with such
    ///                                files in image/encoded: string [batch]
    ///   image_and_boxes_tensor       one image, as image_tensor, and boxes
    ///                                to make masks for: float32 [1, n, 4]
    ///                                (DeepMAC)
    #[arg(
        long = "input_type",
        value_name = "TYPE",
        default_value = "image_tensor",
        verbatim_doc_comment,
        value_parser = PossibleValuesParser::new(InputType::ALL.map(InputType::name)).try_map(|s| s.parse::<InputType>()),
    )]
    input_type: InputType,

    /// Several signatures over one set of variables, separated by commas: NAME=TYPE or NAME=TYPE:INPUT
    ///
    /// TYPE is an input type, INPUT the name of the input instead of input_tensor. What other formats have is the signature
    /// serving_default, or else the first.
    #[arg(
        long = "signatures",
        value_name = "SIGNATURES",
        value_delimiter = ',',
        value_parser = signature,
        conflicts_with = "input_type"
    )]
    signatures: Vec<SignatureOptions>,

    #[command(flatten)]
    trained: Trained,

    /// Where the export goes; made if it is not there
    #[arg(long = "output_directory", value_name = "DIR")]
    output_directory: PathBuf,

    #[arg(
        long = "format",
        value_name = "FORMATS",
        default_value = Format::SavedModel.name(),
        help = FORMATS,
        long_help = formats_help(),
        value_delimiter = ',',
        value_parser = Trimmed(PossibleValuesParser::new(Format::ALL.map(Format::name))).try_map(|name| Format::named(&name).ok_or(FORMATS)),
    )]
    formats: Vec<Format>,

    /// How the files are laid out
    ///
    ///   official   as the official exporter does
    ///   tfserving  DIR/VERSION/ is a SavedModel that TensorFlow Serving
    ///              finds (--model_base_path=DIR), with requests that warm
    ///              it up
    ///   triton     DIR is a model of a Triton repository:
    ///              DIR/config.pbtxt, and DIR/VERSION/ with the SavedModel
    ///              or, with --format onnx, the ONNX model
    #[arg(
        long = "layout",
        value_name = "LAYOUT",
        default_value = "official",
        verbatim_doc_comment,
        value_parser = PossibleValuesParser::new(Layout::NAMES),
    )]
    layout: String,

    /// The model's version number for a server; 1 by default. If that version exists already, the export is refused
    #[arg(
        long = "model_version",
        value_name = "N",
        value_parser = values::from_to(1, u32::MAX),
    )]
    model_version: Option<u32>,

    #[command(flatten)]
    config: ConfigOverride,

    /// How many images the model takes at once: a number, or dynamic
    ///
    /// Without it, 1 for image_tensor, dynamic for the others and with --no_preprocess.
    #[arg(long = "batch", value_name = "N|dynamic", value_parser = batch, help_heading = GRAPH)]
    batch: Option<Batch>,

    /// Height and width of the images that the model is given; without it, any
    #[arg(long = "input_size", value_name = "HxW", value_parser = input_size, help_heading = GRAPH)]
    input_size: Option<[u64; 2]>,

    /// Take pixels as float32, 0 to 255, instead of uint8
    #[arg(long = "float_input", help_heading = GRAPH)]
    float_input: bool,

    /// Take the network's own input: images already resized and normalised, as manifest.json says
    #[arg(long = "no_preprocess", help_heading = GRAPH)]
    no_preprocess: bool,

    /// End before non-max suppression: decoded boxes and scores of all anchors,
    /// or of all locations where there are no anchors
    #[arg(long = "no_nms", help_heading = GRAPH)]
    no_nms: bool,

    /// End at the network's own predictions: undecoded boxes and raw scores
    ///
    /// manifest.json has the anchors, the box coder's scales and the score converter.
    #[arg(long = "raw_encodings", help_heading = GRAPH)]
    raw_encodings: bool,

    /// Only these outputs, separated by commas
    #[arg(long = "outputs", value_name = "KEYS", value_delimiter = ',', value_parser = Trimmed(StringValueParser::new()), help_heading = GRAPH)]
    outputs: Option<Vec<String>>,

    /// Drop detections with lower scores than this, whatever the config says
    ///
    /// For single classes NAME=SCORE, by their names in --label_map or their ids, separated by commas: `person=0.6,3=0.4`. A score without a name, here or in the config, is that of
    /// all other classes. Boxes of a class with lower scores take no part in non-max suppression, and leave their places among the detections to others.
    /// `@FILE` reads them from a file: one a line, where names may have commas, or lists as above. Lines beginning with # are left out.
    #[arg(long = "score_threshold", value_name = "SCORE", value_parser = ScoreThresholds::parse, help_heading = GRAPH)]
    score_threshold: Option<ScoreThresholds>,

    /// Drop boxes that overlap better ones by more than this, whatever the config says
    #[arg(long = "iou_threshold", value_name = "IOU", value_parser = fraction, help_heading = GRAPH)]
    iou_threshold: Option<f32>,

    /// Return at most this many detections, whatever the config says
    #[arg(long = "max_detections", value_name = "N", value_parser = values::from_to(1, 1 << 20), help_heading = GRAPH)]
    max_detections: Option<u32>,

    /// For a detector of two stages: drop proposals of the first with lower scores than this, whatever the config says
    #[arg(long = "proposal_score", value_name = "SCORE", value_parser = fraction, help_heading = GRAPH)]
    proposal_score: Option<f32>,

    /// For a detector of two stages: drop proposals that overlap better ones by more than this, whatever the config says
    #[arg(long = "proposal_iou", value_name = "IOU", value_parser = fraction, help_heading = GRAPH)]
    proposal_iou: Option<f32>,

    /// For a detector of two stages: classify at most this many proposals, whatever the config says
    ///
    /// Most of the time goes into them, so fewer make the model faster.
    #[arg(long = "max_proposals", value_name = "N", value_parser = values::from_to(1, 1 << 20), help_heading = GRAPH)]
    max_proposals: Option<u32>,

    /// A label map, whose class names go into manifest.json, the SavedModel's assets and the metadata of ONNX and TFLite models
    #[arg(long = "label_map", value_name = "FILE", help_heading = GRAPH)]
    label_map: Option<PathBuf>,

    #[command(flatten)]
    of_formats: FormatFlags,

    /// Print a summary for scripts, as one JSON object
    #[arg(long)]
    json: bool,

    /// Also list what the checkpoint has beyond the model's variables
    #[arg(long, short)]
    verbose: bool,

    /// Only check the command line: no model is read, nothing is exported
    #[arg(long = "only_check_args", hide_short_help = true)]
    is_check: bool,

    /// Take more inputs than the image, which the next three flags describe: for Context R-CNN
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

    /// With --use_side_inputs, their shapes: sizes separated by commas, shapes by `/`; -1 for a size known only at run time. For Context R-CNN 1,2000,2057/1
    #[arg(
        long = "side_input_shapes",
        value_name = "SHAPES",
        hide_short_help = true
    )]
    side_input_shapes: Option<String>,

    /// With --use_side_inputs, their types, separated by commas. For Context R-CNN tf.float32,tf.int32
    #[arg(
        long = "side_input_types",
        value_name = "TYPES",
        hide_short_help = true
    )]
    side_input_types: Option<String>,

    /// With --use_side_inputs, their names, separated by commas. For Context R-CNN context_features,valid_context_size
    #[arg(
        long = "side_input_names",
        value_name = "NAMES",
        hide_short_help = true
    )]
    side_input_names: Option<String>,
}

const GRAPH: &str = "Options of the graph";

const FORMATS: &str = "What to write, separated by commas";

/// A line for each format.
fn formats_help() -> String {
    let formats =
        Format::ALL.map(|format| format!("\n  {:<11}  {}", format.name(), format.about()));
    format!("{FORMATS}\n{}", formats.concat())
}

/// The names of the formats that can have several signatures.
fn with_signatures() -> String {
    let mut formats = Format::ALL.to_vec();
    formats.retain(|format| format.descriptor().has_signatures);
    let names: Vec<&str> = formats.into_iter().map(Format::name).collect();
    names.join(" or ")
}

const EXAMPLES: &str = "\
Examples:
  Export the latest checkpoint of a training:
    tfod export --pipeline_config_path train/pipeline.config \\
        --trained_checkpoint_dir train --output_directory exported

  Checkpoint 12, for batches of float images, with fewer detections:
    tfod export --input_type float_image_tensor --checkpoint 12 \\
        --pipeline_config_path train/pipeline.config \\
        --trained_checkpoint_dir train --output_directory exported \\
        --config_override \\
        'model { ssd { post_processing { batch_non_max_suppression {
           max_detections_per_class: 20 max_total_detections: 20 } } } }'

  For ONNX Runtime or TensorRT: fixed sizes, only sure detections:
    tfod export --format onnx --batch 1 --input_size 480x640 \\
        --score_threshold 0.5 --outputs 'detection_boxes, detection_classes,
            detection_scores, num_detections' \\
        --pipeline_config_path train/pipeline.config \\
        --trained_checkpoint_dir train --output_directory exported

  For TensorFlow Serving: pixels by default, files as base64 with
  \"signature_name\": \"bytes\":
    tfod export --label_map label_map.pbtxt \\
        --signatures 'serving_default=image_tensor,
            bytes=encoded_image_string_tensor:image_bytes' \\
        --pipeline_config_path train/pipeline.config \\
        --trained_checkpoint_dir train --output_directory exported

  For a device that does its own preprocessing and suppression:
    tfod export --format onnx --no_preprocess --no_nms \\
        --input_layout nchw ...

  For a phone: a TFLite model of half the size:
    tfod export --format tflite --weights float16 \\
        --pipeline_config_path train/pipeline.config \\
        --trained_checkpoint_dir train --output_directory exported

  Use the result:
    python -c \"import tensorflow as tf
    model = tf.saved_model.load('exported/saved_model')
    print(model.signatures['serving_default'].structured_outputs)\"

Exit status:
  0  exported
  1  something prevented it; nothing was written
  2  the command line is wrong";

impl Args {
    /// Exports. `flag_files` are those that flags were read from.
    pub(super) fn run(self, flag_files: BTreeSet<PathBuf>) -> ExitCode {
        let side_inputs = match self.side_inputs() {
            Ok(inputs) => inputs,
            Err(error) => return flags::failure(&ExportError::Options(error), false),
        };
        if side_inputs.is_none() {
            let given = [
                (&self.side_input_shapes, "--side_input_shapes"),
                (&self.side_input_types, "--side_input_types"),
                (&self.side_input_names, "--side_input_names"),
            ];
            let is_given =
                |list: &Option<String>| list.as_deref().is_some_and(|list| !list.is_empty());
            for (_, flag) in given.iter().filter(|(list, _)| is_given(list)) {
                output::warn(&format_args!(
                    "{flag} is not looked at without --use_side_inputs"
                ));
            }
        }
        if let Err(stray) = self.of_formats.check(&self.formats) {
            return output::usage(&stray);
        }
        if self.model_version.is_some() && self.layout == "official" {
            return output::usage(&format_args!(
                "--model_version is for servers: add --layout tfserving or triton, or leave the flag out"
            ));
        }
        let mut descriptors = self.formats.iter().map(|format| format.descriptor());
        if !self.signatures.is_empty() && !descriptors.any(|format| format.has_signatures) {
            return output::usage(&format_args!(
                "--signatures is for formats that can have several: add {} to --format, or give --input_type instead",
                with_signatures()
            ));
        }
        let mut graph = GraphOptions::new(self.input_type);
        graph.float_input = self.float_input;
        graph.batch = self.batch;
        graph.input_size = self.input_size;
        graph.no_preprocess = self.no_preprocess;
        graph.stage = match (self.raw_encodings, self.no_nms) {
            (true, _) => Stage::Encodings,
            (false, true) => Stage::Boxes,
            (false, false) => Stage::Detections,
        };
        graph.outputs = self.outputs;
        graph.side_inputs = side_inputs;
        let trained = self.trained;
        let mut export = Export::new(
            trained.pipeline_config,
            trained.checkpoint_dir,
            self.output_directory,
        );
        export.graph = graph;
        export.signatures = self.signatures;
        export.checkpoint = trained.checkpoint;
        export.config_override = self.config.config_override;
        let scores = self.score_threshold.unwrap_or_default();
        export.thresholds.score = scores.all;
        export.thresholds.class_scores = scores.classes;
        export.option_files = flag_files.into_iter().chain(scores.file).collect();
        export.thresholds.iou = self.iou_threshold;
        export.thresholds.max_detections = self.max_detections;
        export.thresholds.proposal_score = self.proposal_score;
        export.thresholds.proposal_iou = self.proposal_iou;
        export.thresholds.max_proposals = self.max_proposals;
        export.label_map = self.label_map;
        export.formats = self.formats;
        if let Err(wrong) = self.of_formats.apply(&mut export) {
            return output::usage(&wrong);
        }
        let version = self.model_version.unwrap_or(1);
        export.layout = Layout::named(&self.layout, version).unwrap_or_default();
        if self.is_check {
            return match export.check_options() {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => flags::failure(&error, !export.signatures.is_empty()),
            };
        }
        let exported = Progress::during(|p| export.run_with_progress(&|step| p.tell(step)));
        let report = match exported {
            Ok(report) => report,
            Err(error) => return flags::failure(&error, !export.signatures.is_empty()),
        };
        for warning in &report.warnings {
            output::warn(warning);
        }
        let text = output::document(
            self.json,
            || report.json(),
            || summary(&report, self.verbose),
        );
        output::print(&text)
    }
}

impl Args {
    /// What the model is given beside images.
    fn side_inputs(&self) -> Result<Option<Vec<SideInput>>, ModelError> {
        if !self.use_side_inputs || self.no_use_side_inputs {
            return Ok(None);
        }
        let text = |list: &Option<String>| list.clone().unwrap_or_default();
        let inputs = SideInput::parse(
            &text(&self.side_input_shapes),
            &text(&self.side_input_types),
            &text(&self.side_input_names),
        );
        inputs.map(Some)
    }
}
