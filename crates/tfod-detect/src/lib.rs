//! Runs a detector on pictures: what it finds, drawn, and as files that other programs read.
//!
//! ```text
//! model ─ Detector::open ─▶ Detector ─ detect ─▶ Vec<Detection> of each picture
//! files, videos, folders ─ Listing::of ─▶ Listing ─ run ─▶ Results: drawn/, detections.jsonl, coco_results.json, detections.csv
//! ```
//!
//! The model is any that [`tfod_runnable`] makes ready and that ends in detections, with the outputs of the Object Detection API. A [`Detection`] has its box
//! in fractions of the picture, as the model gives it; the files have pixels.
//!
//! ```no_run
//! use tfod_detect::{Detector, DetectorOptions};
//! use tfod_image::Picture;
//!
//! # fn main() -> Result<(), tfod_detect::DetectError> {
//! let mut detector = Detector::open("exported".as_ref(), &DetectorOptions::default())?;
//! let picture = Picture::open("street.jpg".as_ref())?;
//! for found in detector.detect(&[&picture])?.into_iter().flatten() {
//!     println!("{} {:.2} {:?}", detector.classes().name(found.class_id), found.score, found.bounds);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Pictures and models are hostile until they are read: see [`tfod_image`] and [`tfod_runtime`]. At most six pictures are in memory at once, and what the model
//! gives for one batch.

mod classes;
mod decode;
mod detection;
mod detector;
mod draw;
mod evaluate;
mod mask;
mod pictures;
mod results;
mod run;
mod video;

use std::io;
use std::path::PathBuf;

use tfod::OutputError;
use tfod_config::ConfigError;
use tfod_image::ImageError;
use tfod_runnable::RunnableError;
use tfod_text::Shown;

pub use classes::{ClassNames, KeypointNames};
pub use detection::{Detection, Keypoint, PixelBounds};
pub use detector::{Detector, DetectorOptions};
pub use draw::{Drawing, draw};
pub use evaluate::{Compared, Scores, Truth};
pub use mask::{Cells, Mask, Placed};
pub use pictures::{ENDINGS, Frame, Listing, PictureFile, Source};
pub use results::{Found, Kind, Names, Results};
pub use run::{Event, PassedOver, Summary, VideoSummary, run};
pub use tfod_image::{Decoding, Pixels};
pub use tfod_runnable::Launch;
pub use video::{DrawnSound, Sound, VIDEO_ENDINGS, Video};

/// From which likelihood on a cell of a mask is the object's.
const COVERED: f32 = 0.5;

/// Why there are no detections.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DetectError {
    /// The model cannot be run.
    #[error(transparent)]
    Runnable(#[from] RunnableError),
    /// The model failed on a picture.
    #[error(transparent)]
    Failed(RunnableError),
    /// A picture cannot be read, or not be given to the model.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The label map cannot be read.
    #[error(transparent)]
    Labels(#[from] ConfigError),
    /// Results cannot be written, or must not be.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A class that is wanted is none of the model's.
    #[error("{0}")]
    Classes(String),
    /// Annotations cannot be read, or not be used with these pictures or this model.
    #[error(transparent)]
    Annotations(#[from] tfod_evaluate::ReadError),
    /// Detections cannot be evaluated.
    #[error("cannot be evaluated: {0}")]
    Evaluate(#[from] tfod_evaluate::EvaluateError),
    /// A picture or folder is not there.
    #[error("{}: cannot be read: {problem}", path.shown())]
    Missing {
        /// The path.
        path: PathBuf,
        /// What the system says.
        problem: io::Error,
    },
    /// There are none.
    #[error(
        "there are no pictures; expected files whose names end in {}, or in those of videos ({}){}",
        ENDINGS.map(|ending| format!(".{ending}")).join(", "),
        VIDEO_ENDINGS.map(|ending| format!(".{ending}")).join(", "),
        pictures::other_files(*others)
    )]
    NoPictures {
        /// How many other files there are.
        others: u64,
    },
    /// There are too many.
    #[error("there are more than {limit} pictures; give them in parts")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// A video cannot be read at all, or a drawn one not be written.
    #[error("{}: {problem}", path.shown())]
    Video {
        /// The video.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// There is no runtime in this build.
    #[error("this build has no runtime: no model can be run (feature `run`)")]
    NoRuntime,
}

impl DetectError {
    /// Whether it is about a picture, so that others may do.
    fn is_of_picture(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Image(_))
    }

    /// The error, beginning with the picture.
    fn at_picture(&self, file: &PictureFile) -> String {
        match self {
            Self::Image(_) => self.to_string(),
            _ => format!("{}: {self}", file.shown()),
        }
    }
}
