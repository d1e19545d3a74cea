//! Evaluating object detectors: average precision as COCO defines it, annotations, and where two models differ.
//!
//! - [`coco`], [`voc`] and [`example`] read annotated images, as a [`Dataset`]: COCO's JSON, Pascal VOC's folders of XML, and the Object Detection API's
//!   TFRecords, whose records hold the images themselves.
//! - [`evaluate`] compares detections with them: the same figures as `pycocotools` gives, of boxes, masks and keypoints.
//! - [`compare`] compares the detections of two models with one another.
//!
//! What is read is untrusted: sizes are limited, checksums verified, and errors name the file and the place in it.
//!
//! ```
//! use tfod_evaluate::{Annotation, At, Category, Dataset, Detection, Image, Kind, evaluate};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let dataset = Dataset {
//!     images: vec![Image { id: 1, file_name: "a.jpg".into(), size: Some((100, 100)) }],
//!     categories: vec![Category { id: 1, name: "cat".into() }],
//!     annotations: vec![Annotation {
//!         id: 1, image: 1, category: 1, bbox: [10.0, 10.0, 40.0, 40.0], area: 1600.0,
//!         crowd: false, difficult: false, segmentation: None, keypoints: None,
//!     }],
//!     notes: vec![],
//! };
//! let detection = Detection {
//!     image: 1, category: 1, score: 0.9, bbox: Some([10.0, 10.0, 40.0, 32.0]), segmentation: None, keypoints: None,
//! };
//! let evaluation = evaluate(&dataset, &[detection], Kind::Boxes)?;
//! // An overlap of 0.8 is a match at seven of ten thresholds.
//! assert!((evaluation.figures()[0].value - 0.7).abs() < 1e-12);
//! assert!((evaluation.classes[0].precision(At::Half) - 1.0).abs() < 1e-12);
//! # Ok(())
//! # }
//! ```

pub mod coco;
mod compare;
mod dataset;
mod error;
pub mod example;
mod mask;
mod names;
mod numbers;
mod precision;
pub mod tfrecord;
pub mod voc;

pub use compare::{Comparing, Comparison, Difference, Found, compare};
pub use dataset::{
    Annotation, Category, Dataset, Detection, Image, Keypoints, Labels, Segmentation, UnknownClass,
};
pub use error::ReadError;
pub use mask::{MaskError, Rle};
pub use names::ImageNames;
pub use precision::{
    AreaRange, At, COCO_SIGMAS, ClassResult, EvaluateError, Evaluation, Figure, Kind, Measure,
    THRESHOLDS, evaluate, thresholds,
};
