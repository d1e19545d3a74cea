//! COCO's JSON: annotations, and after a line break of their own (`\n\n`) results of a detector. What is read of both is evaluated.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tfod_evaluate::{coco, evaluate};
use tfod_fuzz::{judge, scratch};

fuzz_target!(|bytes: &[u8]| {
    let at = bytes.windows(2).position(|two| two == b"\n\n");
    let (annotations, results) = bytes.split_at(at.unwrap_or(bytes.len()));
    let [dataset, detections] = ["dataset.json", "results.json"].map(|name| scratch().join(name));
    std::fs::write(&dataset, annotations).expect("the folder can be written");
    std::fs::write(&detections, results).expect("the folder can be written");
    let dataset = coco::read_dataset(&dataset);
    let detections = coco::read_results(&detections);
    for problem in [dataset.as_ref().err(), detections.as_ref().err()] {
        if let Some(problem) = problem {
            assert!(!problem.problem.is_empty());
        }
    }
    if let (Ok(dataset), Ok(detections)) = (&dataset, &detections) {
        judge(dataset, |kind| evaluate(dataset, detections, kind));
    }
});
