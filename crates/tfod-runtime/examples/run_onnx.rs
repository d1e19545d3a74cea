//! Runs a model on inputs from files, for tests: `run_onnx MODEL FOLDER`.
//!
//! The folder has `inputs.txt`, with a line for each run: pairs of a name and a file of bytes, then its type (`uint8`, `float32`) and sizes, all separated by
//! tabs. Every output is written beside it: `RUN.NAME.TYPE.SIZESxOFxSHAPE`.

use std::error::Error;
use std::fs;
use std::path::Path;

use tfod_runtime::{Model, Tensor, Values};

fn read(folder: &Path, line: &str) -> Result<(String, Tensor), Box<dyn Error>> {
    let mut parts = line.split('\t');
    let mut next = || parts.next().ok_or("a part of a line is missing");
    let (name, file, kind, sizes) = (next()?, next()?, next()?, next()?);
    let bytes = fs::read(folder.join(file))?;
    let shape = sizes.split('x').map(str::parse).collect::<Result<_, _>>()?;
    let values = match kind {
        "uint8" => Values::U8(bytes),
        "float32" => {
            let numbers = bytes.as_chunks().0.iter();
            Values::F32(numbers.map(|bytes| f32::from_le_bytes(*bytes)).collect())
        }
        other => return Err(format!("a type {other}").into()),
    };
    Ok((name.to_owned(), Tensor::new(shape, values)?))
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, folder] = &arguments[..] else {
        return Err("usage: run_onnx MODEL FOLDER".into());
    };
    let (model, folder) = (Model::open(model.as_ref())?, Path::new(folder));
    for (index, line) in fs::read_to_string(folder.join("inputs.txt"))?
        .lines()
        .enumerate()
    {
        let (name, tensor) = read(folder, line)?;
        let inputs = [(&*name, &tensor)];
        for (name, output) in model.plan(&inputs)?.run(&inputs)? {
            let sizes: Vec<String> = output.shape().iter().map(usize::to_string).collect();
            let bytes: Vec<u8> = match output.values() {
                Values::F32(values) => values
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect(),
                other => return Err(format!("an output of {}", other.type_name()).into()),
            };
            let file = format!(
                "{index}.{name}.{}.{}",
                output.values().type_name(),
                sizes.join("x")
            );
            fs::write(folder.join(file), bytes)?;
        }
    }
    Ok(())
}
