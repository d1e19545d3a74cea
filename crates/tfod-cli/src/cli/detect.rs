//! `tfod detect`

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::json;
use tfod_detect::{
    ClassNames, Compared, Decoding, DetectError, Detection, Detector, DetectorOptions, DrawnSound,
    Event, Found, Frame, Kind, Listing, Names, Pixels, Results, Scores, Summary, Truth,
    VideoSummary, run,
};
use tfod_inspect::counted;
use tfod_text::Shown;

use super::progress::Progress;
use super::{apart, output};

/// Detect objects in pictures and videos, draw them, and write them to files
///
/// Takes a checkpoint (with its pipeline.config in its folder or the one above), the folder of an
/// export, a SavedModel, a frozen graph or an ONNX model, and files of pictures (JPEG, PNG, GIF, BMP),
/// videos, TFRecords of the Object Detection API, or folders, of which all pictures and videos are
/// taken, in the order of their paths, those in folders below included. A picture that cannot be read is named and passed over; so is a video,
/// of which the frames before the damage are kept.
///
/// Videos are read and written by FFmpeg, if it is installed (ffmpeg and ffprobe in PATH): all frames
/// at the video's average rate, turned as players show them; drawn ones are MP4s with the sound.
///
/// Without --output, what is found is printed. With it, the folder has:
///   drawn/             the pictures with boxes, names, scores, masks, keypoints
///   detections.jsonl   a line of JSON for each picture or frame
///   coco_results.json  results as pycocotools reads them
///   detections.csv     a row for each detection
///   detect.json        what was done
/// Results of an earlier run in that folder are replaced, and nothing else. docs/detect.md explains
/// the files.
///
/// With --annotations, average precision as COCO defines it is printed, the same as pycocotools gives
/// for coco_results.json; with --compare, where another model finds something else.
///
/// The model runs in a process of its own, with at most --max_memory; run only models that you trust
/// with your machine's time.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = EXAMPLES,
    override_usage = "tfod detect [OPTIONS] <MODEL> <PICTURE|VIDEO|RECORD|FOLDER>..."
)]
pub(super) struct Args {
    /// A checkpoint, the folder of an export, a SavedModel, frozen graph or ONNX model
    #[arg(value_name = "MODEL")]
    model: PathBuf,

    /// Pictures, videos, TFRecords with pictures, or folders of pictures and videos
    #[arg(value_name = "PICTURE|VIDEO|RECORD|FOLDER", required = true)]
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

    /// Evaluate with what is in the pictures: COCO's JSON, a folder of Pascal VOC's XML or a TFRecord; pictures are known by their names
    #[arg(
        long = "annotations",
        value_name = "FILE|FOLDER",
        conflicts_with = "classes"
    )]
    annotations: Option<PathBuf>,

    /// Say what another model finds in the pictures, and what only one of the two does
    #[arg(long = "compare", value_name = "MODEL", conflicts_with = "output")]
    compare: Option<PathBuf>,

    /// Leave out detections with lower scores [default: 0.5; with --annotations 0, since average precision needs the low ones, too]
    #[arg(long = "score_threshold", value_name = "X", value_parser = score)]
    score_threshold: Option<f32>,

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

    /// Whose pixels a JPEG has: programs round differently, which moves scores by some thousandths
    ///
    ///   tensorflow  those of TensorFlow's decode_image, which detectors are
    ///               trained and evaluated with
    ///   pillow      those of Pillow (and of OpenCV), for comparing with a
    ///               script that reads pictures by it
    #[arg(
        long = "pixels",
        value_name = "PROGRAM",
        verbatim_doc_comment,
        default_value = "tensorflow",
        hide_possible_values = true
    )]
    pixels: PixelsOf,

    /// Turn pictures as their Exif data say, which is how viewers show them. Without it they are looked at and drawn as they are stored, as TensorFlow does, which ignores orientation; where that happens the summary says so
    #[arg(long = "exif_orientation")]
    exif_orientation: bool,

    /// Compute with so many threads; without it, as many as there are cores
    #[arg(long = "threads", value_name = "N", value_parser = super::values::from_to(1, 1024))]
    threads: Option<u32>,

    #[command(flatten)]
    running: apart::Running,

    /// Print JSON: a line for each picture, as in detections.jsonl, and a last one of what was done
    #[arg(long = "json")]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PixelsOf {
    #[value(name = "tensorflow")]
    TensorFlow,
    Pillow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Written {
    /// Pictures and videos with what was found in them
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

  What does it see in a video? Drawn, with the sound, and a line for each
  frame in detections.jsonl
    tfod detect exported street.mp4 --output found

  Only people and dogs, and only when the model is sure
    tfod detect model.onnx holiday --classes person,dog \\
        --score_threshold 0.8 --output found

  All that the model gives, for pycocotools
    tfod detect model.onnx val2017 --score_threshold 0 --write coco \\
        --output results

  Photographs that a telephone has stored lying, as viewers show them
    tfod detect exported photographs --exif_orientation --output found

  Faster, by the ONNX Runtime of an environment of Python
    tfod detect exported holiday --output found --runtime onnxruntime \\
        --runtime_library ~/venv

  How good is it? As pycocotools says, for each class, too
    tfod detect exported val2017 --annotations instances_val2017.json

  The same of the TFRecord by which it was evaluated, pictures included
    tfod detect train val.record --annotations val.record \\
        --label_map labels.pbtxt

  Does the int8 model find the same as the checkpoint, and is it as good?
    tfod detect train pictures --compare int8.onnx --annotations VOC2012

Exit status:
  0  done
  1  something prevented it; the message says what, where, and what to do
  2  the command line is wrong
  3  done, but pictures, or videos from some frame on, were passed over; the
     messages name them";

/// The exit status where pictures were passed over.
const PASSED_OVER: u8 = 3;
/// Pictures that are named on the terminal where there is a folder of results.
const SHOWN: u64 = 20;

impl Args {
    pub(super) fn run(self) -> ExitCode {
        let apart = match self.running.launch(self.threads) {
            Ok(apart) => apart,
            Err(problem) => return output::failure(&problem),
        };
        let mut options = DetectorOptions::default();
        options.pipeline_config.clone_from(&self.pipeline_config);
        options.label_map.clone_from(&self.label_map);
        options.classes.clone_from(&self.classes);
        options.score_threshold = self.least_score();
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
        progress.tell("looking for pictures");
        let mut listing = Listing::of(&self.pictures, self.output.as_deref())?;
        listing.decoding = self.decoding();
        if self.is_judged() {
            let left_out = listing.leave_out_videos()?;
            if left_out > 0 {
                let videos = counted(left_out, "video");
                let note =
                    format!("{videos} left out: --annotations and --compare are of pictures");
                progress.aside(|| output::warn(&note));
            }
        }
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
        let mut truth = None;
        if let Some(path) = &self.annotations {
            progress.tell("reading annotations");
            let mut read = Truth::read(path, &classes)?;
            read.select(&mut listing)?;
            for note in &read.notes {
                progress.aside(|| output::warn(&format!("{}: {note}", path.shown())));
            }
            truth = Some(read);
        }
        let mut show = |found: &Found, number: u64| {
            if let Some(text) = self.line(found, names, number) {
                progress.aside(|| {
                    output::print(&text);
                });
            }
        };
        let look = Look {
            listing: &listing,
            progress,
            model: "",
            is_judged: self.is_judged(),
        };
        let (summary, mut collected) = look.run(&mut detector, results.as_mut(), &mut show)?;
        let mut judged = Judged::default();
        let mut is_whole = summary.passed_over.is_empty();
        if let Some(model) = &self.compare {
            let (mut other, was_whole) = Self::second(model, options, &listing, progress)?;
            is_whole &= was_whole;
            collected.keep_pictures_of(&other);
            other.keep_pictures_of(&collected);
            if let Some(truth) = &truth {
                judged.second = Some(truth.scores(&other.images(), &other.detections)?);
            }
            judged.found_by_second = other.detections;
        }
        if let Some(truth) = &truth {
            progress.tell("computing average precision");
            judged.first = Some(truth.scores(&collected.images(), &collected.detections)?);
        }
        if self.compare.is_some() {
            let found = std::mem::take(&mut judged.found_by_second);
            let threshold = self
                .score_threshold
                .unwrap_or(DetectorOptions::SCORE_THRESHOLD);
            let pictures = std::mem::take(&mut collected.pictures);
            judged.compared = Some(Compared::of(
                collected.detections,
                found,
                pictures,
                shortest(threshold),
            ));
        }
        let mut told = summary.json(&detector);
        judged.add_to(&mut told, self.compare.as_deref(), &classes);
        if let Some(results) = results {
            progress.tell("putting results in place");
            results.finish(told.clone())?;
        }
        let text = if self.json {
            format!("{}\n", json!({ "summary": told }))
        } else {
            let mut text = self.summary(&summary, &detector, &kinds);
            self.judgement(&mut text, &judged, &classes);
            text
        };
        Ok((text, is_whole))
    }

    /// How files become pixels.
    fn decoding(&self) -> Decoding {
        let pixels = match self.pixels {
            PixelsOf::TensorFlow => Pixels::TensorFlow,
            PixelsOf::Pillow => Pixels::Pillow,
        };
        Decoding {
            pixels,
            upright: self.exif_orientation,
        }
    }

    /// Whether more is done with detections than to show them.
    fn is_judged(&self) -> bool {
        self.annotations.is_some() || self.compare.is_some()
    }

    /// The least score of detections that the model is asked for. Where two models are compared, what one finds can be below the threshold in the other.
    fn least_score(&self) -> f32 {
        match self.score_threshold {
            _ if self.compare.is_some() => 0.0,
            Some(score) => score,
            None if self.annotations.is_some() => 0.0,
            None => DetectorOptions::SCORE_THRESHOLD,
        }
    }

    /// What another model finds in the same pictures, and whether it passed none over.
    fn second(
        model: &Path,
        options: &DetectorOptions,
        listing: &Listing,
        progress: &Progress,
    ) -> Result<(Collected, bool), DetectError> {
        progress.tell("making the second model ready");
        let mut options = options.clone();
        // It is the first one's.
        options.pipeline_config = None;
        let mut detector = Detector::open(model, &options)?;
        let look = Look {
            listing,
            progress,
            model: "second model: ",
            is_judged: true,
        };
        let (summary, collected) = look.run(&mut detector, None, &mut |_, _| {})?;
        Ok((collected, summary.passed_over.is_empty()))
    }

    /// Average precision and differences, in words.
    fn judgement(&self, text: &mut String, judged: &Judged, classes: &ClassNames) {
        if let Some(model) = &self.compare {
            let _ = writeln!(text, "first: {}", self.model.shown());
            let _ = writeln!(text, "second: {}", model.shown());
        }
        if let Some(first) = &judged.first {
            text.push_str(&first.table(judged.second.as_ref()));
        }
        if let Some(compared) = &judged.compared {
            text.push_str(&compared.text(classes));
        }
    }

    /// What is printed of a picture, if anything.
    fn line(&self, found: &Found, names: Names<'_>, number: u64) -> Option<String> {
        if self.json {
            return Some(format!("{}\n", found.json(names)));
        }
        if self.is_judged() {
            return None;
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
        let mut text = format!("{}: {what}\n", found.file.shown());
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
        let frames = usize(summary.frames);
        let mut text = match (summary.pictures, frames) {
            (0, 1..) => counted(frames, "frame"),
            (pictures, 0) => counted(usize(pictures), "picture"),
            (pictures, _) => {
                let frames = counted(frames, "frame");
                format!("{}, {frames}", counted(usize(pictures), "picture"))
            }
        };
        let found = counted(usize(summary.detections()), "detection");
        let _ = write!(
            text,
            ", {found} with scores from {} on",
            detector.score_threshold()
        );
        if !summary.by_class.is_empty() {
            let _ = write!(text, ": {}", classes(&summary.by_class, names));
        }
        let seconds = summary.time.as_secs_f64();
        let _ = writeln!(text, " ({seconds:.1} s)");
        for one in &summary.videos {
            text.push_str(&of_video(one));
        }
        if !summary.passed_over.is_empty() {
            let passed_over = summary.passed_over.len();
            let _ = writeln!(text, "passed over: {passed_over}");
        }
        if summary.unturned > 0 {
            let unturned = counted(usize(summary.unturned), "picture");
            let _ = writeln!(
                text,
                "not turned as Exif data say: {unturned}; with --exif_orientation they are"
            );
        }
        if let Some(folder) = &self.output {
            let files: Vec<&str> = kinds.iter().map(|kind| kind.file()).collect();
            let files = files.join(", ");
            let _ = writeln!(text, "written to {}: {files}", folder.shown());
        }
        text
    }
}

/// How a model is run on pictures.
struct Look<'a> {
    listing: &'a Listing,
    progress: &'a Progress,
    /// What steps begin with.
    model: &'a str,
    /// Whether more is done with detections than to show them.
    is_judged: bool,
}

impl Look<'_> {
    /// Runs a model on all pictures, warns of those that are passed over, and shows what is found in the others, which have numbers from 1.
    fn run(
        &self,
        detector: &mut Detector,
        results: Option<&mut Results>,
        show: &mut dyn FnMut(&Found, u64),
    ) -> Result<(Summary, Collected), DetectError> {
        let (total, mut done) = (self.listing.pictures.len(), 0u64);
        let mut pictures = 0u64;
        let mut collected = Collected::default();
        let mut problem = None;
        let mut tell = |event: Event<'_>| match event {
            Event::PassedOver(one) => {
                let warning = format!("{}; passed over", one.problem);
                self.progress.aside(|| output::warn(&warning));
            }
            Event::Found(found) => {
                done += 1;
                let model = self.model;
                self.progress.tell(match found.file.frame() {
                    None => {
                        pictures += 1;
                        let file = found.file.path.shown();
                        format!("{model}{pictures} of {total} pictures: {file}")
                    }
                    Some(frame) => step_of(frame),
                });
                if self.is_judged
                    && let Err(error) = collected.add(found)
                {
                    problem = problem.take().or(Some(error));
                }
                show(found, done);
            }
        };
        let summary = run(detector, self.listing, results, &mut tell)?;
        problem.map_or(Ok((summary, collected)), Err)
    }
}

/// What is being done with a frame.
fn step_of(frame: &Frame) -> String {
    let (file, number) = (frame.video.path.shown(), frame.number + 1);
    match frame.video.frames() {
        Some(total) if total >= number => format!("{file}: frame {number} of {total}"),
        _ => format!("{file}: frame {number}"),
    }
}

/// A video in a line.
fn of_video(one: &VideoSummary) -> String {
    let video = &one.video;
    let frames = counted(usize(one.frames), "frame");
    let (file, rate) = (video.path.shown(), video.frames_a_second());
    let sound = match &one.sound {
        None => String::new(),
        Some(DrawnSound::None) => "; it has no sound".to_owned(),
        Some(DrawnSound::Copied) => "; drawn with its sound".to_owned(),
        Some(DrawnSound::Encoded) => "; drawn with its sound, encoded anew as AAC".to_owned(),
        Some(DrawnSound::Left(problem)) => {
            format!("; drawn without its sound, which cannot be taken over: {problem}")
        }
    };
    format!("{file}: {frames}, {rate:.2} a second{sound}\n")
}

/// What a model found in pictures.
#[derive(Default)]
struct Collected {
    detections: Vec<tfod_evaluate::Detection>,
    /// The pictures, by their numbers.
    pictures: HashMap<i64, PathBuf>,
}

impl Collected {
    fn add(&mut self, found: &Found) -> Result<(), DetectError> {
        self.detections.extend(found.to_evaluate()?);
        let image = found.file.image_id.cast_signed();
        self.pictures.insert(image, found.file.path.clone());
        Ok(())
    }

    fn images(&self) -> HashSet<i64> {
        self.pictures.keys().copied().collect()
    }

    /// Leaves out pictures that another model passed over.
    fn keep_pictures_of(&mut self, other: &Self) {
        self.pictures
            .retain(|image, _| other.pictures.contains_key(image));
        let pictures = &self.pictures;
        self.detections
            .retain(|one| pictures.contains_key(&one.image));
    }
}

/// What is said of detections.
#[derive(Default)]
struct Judged {
    first: Option<Scores>,
    second: Option<Scores>,
    compared: Option<Compared>,
    found_by_second: Vec<tfod_evaluate::Detection>,
}

impl Judged {
    fn add_to(&self, told: &mut serde_json::Value, second: Option<&Path>, classes: &ClassNames) {
        let Some(told) = told.as_object_mut() else {
            return;
        };
        if let Some(scores) = &self.first {
            told.insert("evaluation".to_owned(), scores.json());
        }
        if let (Some(compared), Some(second)) = (&self.compared, second) {
            let mut comparison = compared.json(classes);
            if let Some(comparison) = comparison.as_object_mut() {
                comparison.insert("model".to_owned(), json!(second.to_string_lossy()));
                if let Some(scores) = &self.second {
                    comparison.insert("evaluation".to_owned(), scores.json());
                }
            }
            told.insert("comparison".to_owned(), comparison);
        }
    }
}

/// The shortest decimal that is the same 32-bit float.
fn shortest(value: f32) -> f64 {
    value
        .to_string()
        .parse()
        .unwrap_or_else(|_| f64::from(value))
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
