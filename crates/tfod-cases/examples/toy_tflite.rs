//! Writes a small TFLite model in which every operation of the graph occurs that TFLite can express.
//!
//! `toy_tflite FILE [WEIGHTS]`, how kernels are stored: `float32` or `float16`. Prints the names of the cases written.

use std::error::Error;
use std::path::PathBuf;

use tfod_cases::{REFUSED_BY_TFLITE, cases, fixed, toy, weights};
use tfod_graph::{Dim, passes};
use tfod_tflite::{Options, TfliteWriter, WeightType};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let path = arguments.next().ok_or("usage: toy_tflite FILE [WEIGHTS]")?;
    let mut options = Options::default();
    if let Some(name) = arguments.next() {
        let mut all = WeightType::ALL.into_iter();
        let named = all.find(|kind| name == kind.name());
        options.weights = named.ok_or("WEIGHTS are float32 or float16")?;
    }
    let mut cases = cases();
    cases.retain(|case| !REFUSED_BY_TFLITE.contains(&case.name));
    let graph = fixed(&toy(&cases, Dim::symbol("batch"))?)?;
    let graph = passes::standard(&graph)?;
    let weights = weights(&graph);
    TfliteWriter::new(&graph, &weights, &options)?.write(&PathBuf::from(path))?;
    for case in cases {
        println!("{}", case.name);
    }
    Ok(())
}
