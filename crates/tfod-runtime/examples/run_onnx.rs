//! Runs a model on inputs from files, for tests: `run_onnx MODEL FOLDER`.
//!
//! The folder has `inputs.txt`, with a line for each input: the number of the run, its name, its file of bytes, its type (`uint8`, `float32`, `int32`,
//! `bool`) and its sizes (`1x320x320x3`), separated by tabs. `outputs.txt` is written alike.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use tfod_runtime::{Session, Tensor, Values};

type Failure = Box<dyn Error>;

/// An input and the run that it is of.
fn read(folder: &Path, line: &str) -> Result<(usize, String, Tensor), Failure> {
    let parts: Vec<&str> = line.split('\t').collect();
    let [run, name, file, kind, sizes] = parts[..] else {
        return Err(format!("`{line}` has not five parts").into());
    };
    let mut file = fs::File::open(folder.join(file))?;
    let sizes = sizes.split('x').filter(|size| !size.is_empty());
    let shape: Vec<usize> = sizes.map(str::parse).collect::<Result<_, _>>()?;
    let values = Values::read_le(kind, shape.iter().product(), &mut file)?;
    Ok((run.parse()?, name.to_owned(), Tensor::new(shape, values)?))
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, folder] = &arguments[..] else {
        return Err("usage: run_onnx MODEL FOLDER".into());
    };
    let (mut session, folder) = (Session::open(model.as_ref(), None)?, Path::new(folder));
    let mut runs: BTreeMap<usize, Vec<(String, Tensor)>> = BTreeMap::new();
    for line in fs::read_to_string(folder.join("inputs.txt"))?.lines() {
        let (run, name, tensor) = read(folder, line)?;
        runs.entry(run).or_default().push((name, tensor));
    }
    let mut lines = Vec::new();
    for (run, inputs) in &runs {
        let inputs: Vec<(&str, &Tensor)> = inputs
            .iter()
            .map(|(name, tensor)| (&**name, tensor))
            .collect();
        for (index, (name, output)) in session.run(&inputs)?.iter().enumerate() {
            let file = format!("output_{run}_{index}");
            let mut written = fs::File::create(folder.join(&file))?;
            output.values().write_le(&mut written)?;
            let sizes: Vec<String> = output.shape().iter().map(usize::to_string).collect();
            let kind = output.values().type_name();
            lines.push(format!(
                "{run}\t{name}\t{file}\t{kind}\t{}\n",
                sizes.join("x")
            ));
        }
    }
    fs::write(folder.join("outputs.txt"), lines.concat())?;
    Ok(())
}
