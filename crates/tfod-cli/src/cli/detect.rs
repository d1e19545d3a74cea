//! `tfod detect`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::json;
use tfod_detect::{
    DetectError, Detection, Detector, DetectorOptions, Event, Found, Kind, Listing, Names, Results,
    Summary, run,
};
use tfod_inspect::counted;
use tfod_text::Shown;

use super::progress::Progress;
use super::{apart, output};

/// Detect objects in pictures, draw them, and write them to files
///
/// Takes a checkpoint (with its pipeline.config in its folder or the one above), the folder of an
/// export, a SavedModel, a frozen graph or an ONNX model, and files of pictures (JPEG, PNG, GIF, BMP)
/// or folders, of which all pictures are taken, in the order of their paths, those in folders below
/// included. A picture that cannot be read is named and passed over.
///
/// Without --output, what is found is printed. With it, the folder has:
///   drawn/             the pictures with boxes, names, scores, masks, keypoints
///   detections.jsonl   a line of JSON for each picture
///   coco_results.json  results as pycocotools reads them
///   detections.csv     a row for each detection
///   detect.json        what was done
/// Results of an earlier run in that folder are replaced, and nothing else. docs/detect.md explains
/// the files.
///
/// The model runs in a process of its own, with at most --max_memory; run only models that you trust
/// with your machine's time.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = EXAMPLES,
    override_usage = "tfod detect [OPTIONS] <MODEL> <PICTURE|FOLDER>..."
)]
pub(super) struct Args {
    /// A checkpoint, the folder of an export, a SavedModel, frozen graph or ONNX model
    #[arg(value_name = "MODEL")]
    model: PathBuf,

    /// Pictures, or folders of them
    #[arg(value_name = "PICTURE|FOLDER", required = true)]
    pictures: Vec<PathBuf>,

    /// The folder that results are written into
    #[arg(long = "output", value_name = "DIR")]
    output: Option<PathBuf>,

    /// Write only these
    #[arg(
        long = "write",
        value_name = "KIND,...",
        value_enum,
        value_delimiter = ',',
        requires = "output"
    )]
    write: Vec<Written>,

    /// Leave out detections with lower scores; for average precision, give 0: it needs the low ones, too
    #[arg(long = "score_threshold", value_name = "X", default_value_t = DetectorOptions::SCORE_THRESHOLD, value_parser = score)]
    score_threshold: f32,

    /// Only these classes, by name or number; comma-separated
    #[arg(long = "classes", value_name = "CLASS,...", value_delimiter = ',')]
    classes: Vec<String>,

    /// The names of classes; without it, those that the model's manifest or metadata has
    #[arg(long = "label_map", value_name = "FILE")]
    label_map: Option<PathBuf>,

    /// The config of a checkpoint, where it is not beside it
    #[arg(long = "pipeline_config_path", value_name = "FILE")]
    pipeline_config: Option<PathBuf>,

    /// Give the model up to so many pictures of one size at once, if it takes any number
    #[arg(long = "batch", value_name = "N", default_value_t = 1, value_parser = super::values::from_to(1, 64))]
    batch: u32,

    /// Compute with so many threads; without it, as many as there are cores
    #[arg(long = "threads", value_name = "N", value_parser = super::values::from_to(1, 1024))]
    threads: Option<u32>,

    /// The memory limit (RLIMIT_DATA) of the process that runs the model, in gigabytes; enforced on Linux only
    #[arg(long = "max_memory", value_name = "GB", default_value_t = 8.0, value_parser = apart::gigabytes)]
    max_memory: f64,

    /// Print JSON: a line for each picture, as in detections.jsonl, and a last one of what was done
    #[arg(long = "json")]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Written {
    /// Pictures with what was found in them
    Drawn,
    /// detections.jsonl
    Jsonl,
    /// coco_results.json
    Coco,
    /// detections.csv
    Csv,
}

impl Written {
    fn kind(self) -> Kind {
        match self {
            Self::Drawn => Kind::Drawn,
            Self::Jsonl => Kind::Lines,
            Self::Coco => Kind::Coco,
            Self::Csv => Kind::Table,
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  What does the checkpoint that was just trained find?
    tfod detect train street.jpg --label_map labels.pbtxt

  Draw what an export finds in a folder of pictures
    tfod detect exported holiday --output found

  Only people and dogs, and only when the model is sure
    tfod detect model.onnx holiday --classes person,dog \\
        --score_threshold 0.8 --output found

  All that the model gives, for pycocotools
    tfod detect model.onnx val2017 --score_threshold 0 --write coco \\
        --output results

Exit status:
  0  done
  1  something prevented it; the message says what, where, and what to do
  2  the command line is wrong
  3  done, but pictures were passed over; the messages name them";

/// The exit status where pictures were passed over.
const PASSED_OVER: u8 = 3;
/// Pictures that are named on the terminal where there is a folder of results.
const SHOWN: u64 = 20;

impl Args {
    pub(super) fn run(self) -> ExitCode {
        let apart = match apart::launch(self.max_memory, self.threads) {
            Ok(apart) => apart,
            Err(problem) => return output::failure(&problem),
        };
        let mut options = DetectorOptions::default();
        options.pipeline_config.clone_from(&self.pipeline_config);
        options.label_map.clone_from(&self.label_map);
        options.classes.clone_from(&self.classes);
        options.score_threshold = self.score_threshold;
        options.batch = self.batch as usize;
        options.apart = Some(apart);
        let done = Progress::during(|progress| self.detect(&options, progress));
        match done {
            Err(DetectError::Classes(problem)) => output::usage(&format!("--classes {problem}")),
            Err(error) => output::failure(&error),
            Ok((text, is_whole)) => {
                let printed = output::print(&text);
                if is_whole || printed != ExitCode::SUCCESS {
                    printed
                } else {
                    ExitCode::from(PASSED_OVER)
                }
            }
        }
    }

    /// Does all; gives the last that is printed, and whether no picture was passed over.
    fn detect(
        &self,
        options: &DetectorOptions,
        progress: &Progress,
    ) -> Result<(String, bool), DetectError> {
        let listing = Listing::of(&self.pictures, self.output.as_deref())?;
        let kinds: Vec<Kind> = match &self.write[..] {
            [] => Kind::ALL.to_vec(),
            wanted => wanted.iter().map(|one| one.kind()).collect(),
        };
        let begin = |folder| Results::begin(folder, &kinds);
        let mut results = self.output.as_deref().map(begin).transpose()?;
        progress.tell("making the model ready");
        let mut detector = Detector::open(&self.model, options)?;
        let (classes, keypoints) = (detector.classes().clone(), detector.keypoints().clone());
        let names = Names {
            classes: &classes,
            keypoints: &keypoints,
        };
        let (total, mut done) = (listing.pictures.len(), 0u64);
        let mut tell = |event: Event<'_>| match event {
            Event::PassedOver(one) => {
                progress.aside(|| output::warn(&format!("{}; passed over", one.problem)));
            }
            Event::Found(found) => {
                done += 1;
                let file = found.file.path.shown();
                progress.tell(format!("{done} of {total} pictures: {file}"));
                if let Some(text) = self.line(found, names, done) {
                    progress.aside(|| {
                        output::print(&text);
                    });
                }
            }
        };
        let summary = run(&mut detector, &listing, results.as_mut(), &mut tell)?;
        if let Some(results) = results {
            progress.tell("putting results in place");
            results.finish(summary.json(&detector))?;
        }
        let text = if self.json {
            format!("{}\n", json!({ "summary": summary.json(&detector) }))
        } else {
            self.summary(&summary, &detector, &kinds)
        };
        Ok((text, summary.passed_over.is_empty()))
    }

    /// What is printed of a picture, if anything.
    fn line(&self, found: &Found, names: Names<'_>, number: u64) -> Option<String> {
        if self.json {
            return Some(format!("{}\n", found.json(names)));
        }
        let mut by_class: BTreeMap<u32, u64> = BTreeMap::new();
        for one in &found.detections {
            *by_class.entry(one.class_id).or_default() += 1;
        }
        let is_detailed = self.output.is_none();
        if !is_detailed && number > SHOWN {
            return (number == SHOWN + 1).then(|| "…\n".to_owned());
        }
        let what = if by_class.is_empty() {
            "nothing found".to_owned()
        } else {
            classes(&by_class, names)
        };
        let mut text = format!("{}: {what}\n", found.file.path.shown());
        if is_detailed {
            for one in &found.detections {
                text.push_str(&row(found, one, names));
            }
        }
        Some(text)
    }

    fn summary(&self, summary: &Summary, detector: &Detector, kinds: &[Kind]) -> String {
        let names = Names {
            classes: detector.classes(),
            keypoints: detector.keypoints(),
        };
        let mut text = counted(usize(summary.pictures), "picture");
        let found = counted(usize(summary.detections()), "detection");
        text.push_str(&format!(
            ", {found} with scores from {} on",
            detector.score_threshold()
        ));
        if !summary.by_class.is_empty() {
            text.push_str(&format!(": {}", classes(&summary.by_class, names)));
        }
        let seconds = summary.time.as_secs_f64();
        text.push_str(&format!(" ({seconds:.1} s)\n"));
        if !summary.passed_over.is_empty() {
            let passed_over = summary.passed_over.len();
            text.push_str(&format!("passed over: {passed_over}\n"));
        }
        if let Some(folder) = &self.output {
            let files: Vec<&str> = kinds.iter().map(|kind| kind.file()).collect();
            let files = files.join(", ");
            text.push_str(&format!("written to {}: {files}\n", folder.shown()));
        }
        text
    }
}

/// How many of each class.
fn classes(by_class: &BTreeMap<u32, u64>, names: Names<'_>) -> String {
    let mut by_count: Vec<(u32, u64)> = by_class.iter().map(|(id, n)| (*id, *n)).collect();
    by_count.sort_by_key(|(id, count)| (std::cmp::Reverse(*count), *id));
    let each = by_count
        .iter()
        .map(|(id, count)| format!("{count} {}", names.classes.name(*id).shown()));
    each.collect::<Vec<_>>().join(", ")
}

/// A detection in a line.
fn row(found: &Found, one: &Detection, names: Names<'_>) -> String {
    let sides = one.in_pixels(found.width, found.height);
    let name = names.classes.name(one.class_id);
    let more = match (&one.mask, one.keypoints.len()) {
        (None, 0) => String::new(),
        (Some(_), 0) => ", with a mask".to_owned(),
        (mask, count) => {
            let seen = one.keypoints.iter().filter(|point| point.was_found());
            let mask = if mask.is_some() { " and a mask" } else { "" };
            format!(", with {} of {count} keypoints{mask}", seen.count())
        }
    };
    format!(
        "  {:<16} {:.3}  x {:.1} to {:.1}, y {:.1} to {:.1}{more}\n",
        name.shown(),
        one.score,
        sides.xmin,
        sides.xmax,
        sides.ymin,
        sides.ymax
    )
}

fn usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// A score: 0 to 1.
fn score(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(number) if (0.0..=1.0).contains(&number) => Ok(number),
        _ => Err("expected a number from 0 to 1, such as 0.5".to_owned()),
    }
}
