//! Writes a small ONNX model in which every operation of the graph occurs that ONNX can express.
//!
//! `toy_onnx FILE [OPSET] [external] [nchw] [fixed] [some]`; with `some`, of the cases that only some operator sets have. Prints the names of the cases written.

use std::error::Error;
use std::path::PathBuf;

use tfod_cases::{REFUSED_BY_ONNX, SOME_OF_ONNX, cases, toy, weights};
use tfod_graph::{Dim, passes};
use tfod_onnx::{ExternalData, InputLayout, OnnxWriter, Options};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let usage = "usage: toy_onnx FILE [OPSET] [external] [nchw] [fixed] [some]";
    let path: PathBuf = arguments.next().ok_or(usage)?.into();
    let mut options = Options::default();
    let mut batch = Dim::symbol("batch");
    let mut some = false;
    for argument in arguments {
        match argument.to_str().ok_or(usage)? {
            "external" => options.external_data = ExternalData::Always,
            "fixed" => batch = Dim::Known(3),
            "some" => some = true,
            "nchw" => options.input_layout = InputLayout::Nchw,
            opset => options.opset = opset.parse()?,
        }
    }
    options.metadata.insert("purpose".into(), "tests".into());

    let mut cases = cases();
    cases.retain(|case| {
        !REFUSED_BY_ONNX.contains(&case.name) && SOME_OF_ONNX.contains(&case.name) == some
    });
    let graph = passes::standard(&toy(&cases, batch)?)?;
    OnnxWriter::new(&graph, &weights(&graph), &options)?.write(&path)?;
    for case in cases {
        println!("{}", case.name);
    }
    Ok(())
}
