//! Writes a small TFLite model in which every operation of the graph occurs that TFLite can express.
//!
//! `toy_tflite FILE`. Prints the names of the cases written.

use std::error::Error;
use std::path::PathBuf;

use tfod_cases::{REFUSED_BY_TFLITE, cases, fixed, toy, weights};
use tfod_graph::{Dim, passes};
use tfod_tflite::{Options, TfliteWriter};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: toy_tflite FILE")?;
    let mut cases = cases();
    cases.retain(|case| !REFUSED_BY_TFLITE.contains(&case.name));
    let graph = fixed(&toy(&cases, Dim::symbol("batch"))?)?;
    let graph = passes::standard(&graph)?;
    let weights = weights(&graph);
    TfliteWriter::new(&graph, &weights, &Options::default())?.write(&PathBuf::from(path))?;
    for case in cases {
        println!("{}", case.name);
    }
    Ok(())
}
