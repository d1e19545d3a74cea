//! Runs a model on inputs from files, for tests: `run_onnx MODEL FOLDER`.
//!
//! The folder has `inputs.txt`, with a line for each input: the number of the run, its name, its file of bytes, its type (`uint8`, `float32`, `int32`,
//! `bool`) and its sizes (`1x320x320x3`), separated by tabs. `outputs.txt` is written alike.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use tfod_runtime::{Model, Tensor, Values};

type Failure = Box<dyn Error>;

/// An input and the run that it is of.
fn read(folder: &Path, line: &str) -> Result<(usize, String, Tensor), Failure> {
    let parts: Vec<&str> = line.split('\t').collect();
    let [run, name, file, kind, sizes] = parts[..] else {
        return Err(format!("`{line}` has not five parts").into());
    };
    let bytes = fs::read(folder.join(file))?;
    let sizes = sizes.split('x').filter(|size| !size.is_empty());
    let shape = sizes.map(str::parse).collect::<Result<_, _>>()?;
    let words = || bytes.as_chunks().0.iter().copied();
    let values = match kind {
        "uint8" => Values::U8(bytes),
        "bool" => Values::Bool(bytes.iter().map(|byte| *byte != 0).collect()),
        "int32" => Values::I32(words().map(i32::from_le_bytes).collect()),
        "float32" => Values::F32(words().map(f32::from_le_bytes).collect()),
        other => return Err(format!("a type {other}").into()),
    };
    Ok((run.parse()?, name.to_owned(), Tensor::new(shape, values)?))
}

fn bytes(values: &Values) -> Result<Vec<u8>, Failure> {
    Ok(match values {
        Values::F32(values) => values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
        Values::I32(values) => values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
        Values::I64(values) => values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
        Values::U8(values) => values.clone(),
        Values::Bool(values) => values.iter().map(|value| u8::from(*value)).collect(),
        other => return Err(format!("an output of {}", other.type_name()).into()),
    })
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, folder] = &arguments[..] else {
        return Err("usage: run_onnx MODEL FOLDER".into());
    };
    let (model, folder) = (Model::open(model.as_ref())?, Path::new(folder));
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
        for (index, (name, output)) in model.plan(&inputs)?.run(&inputs)?.iter().enumerate() {
            let file = format!("output_{run}_{index}");
            fs::write(folder.join(&file), bytes(output.values())?)?;
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
