//! Freezes a SavedModel: `freeze --saved_model_dir=FOLDER --output=FILE [--signature=KEY] [--tags=A,B] [--as_text] [--keep_control_flow]
//! [--friendly_names] [--fold_batch_norm] [--half] [--json=FILE]`.

use std::error::Error;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use tfod_tensorflow::{Endpoint, FreezeOptions, SavedModelReader};

fn json(ends: &[Endpoint]) -> String {
    let mut text = String::new();
    for end in ends {
        let shape = end.shape.as_ref().map_or("null".to_owned(), |shape| {
            let sizes: Vec<String> = shape
                .iter()
                .map(|size| size.map_or("-1".to_owned(), |size| size.to_string()))
                .collect();
            format!("[{}]", sizes.join(","))
        });
        let comma = if text.is_empty() { "" } else { "," };
        let dtype = end.dtype.map_or("", |dtype| dtype.name());
        let _ = write!(
            text,
            "{comma}{{\"key\":{:?},\"tensor\":{:?},\"dtype\":{dtype:?},\"shape\":{shape}}}",
            end.key, end.tensor
        );
    }
    text
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|found| found == flag);
    let value = |flag: &str| {
        arguments
            .iter()
            .find_map(|found| found.strip_prefix(flag)?.strip_prefix('='))
    };
    let (Some(folder), Some(output)) = (value("--saved_model_dir"), value("--output")) else {
        return Err("--saved_model_dir=FOLDER and --output=FILE are needed".into());
    };
    let mut options = FreezeOptions {
        keep_control_flow: has("--keep_control_flow"),
        friendly_names: has("--friendly_names"),
        ..FreezeOptions::default()
    };
    if let Some(key) = value("--signature") {
        key.clone_into(&mut options.signature);
    }
    if let Some(tags) = value("--tags") {
        options.tags = tags.split(',').map(str::to_owned).collect();
    }
    let reader = SavedModelReader::open(Path::new(folder))?;
    let mut frozen = reader.freeze(&options)?;
    if has("--fold_batch_norm") {
        frozen.fold_batch_norm()?;
    }
    if has("--half") {
        frozen.halve_constants()?;
    }
    let part = format!("{output}.part");
    let mut out = BufWriter::new(File::create(&part)?);
    let written = if has("--as_text")
        || Path::new(output)
            .extension()
            .is_some_and(|found| found == "pbtxt")
    {
        frozen.write_text(&mut out)
    } else {
        frozen.write_binary(&mut out)
    };
    out.flush()?;
    if let Err(error) = written {
        fs::remove_file(&part)?;
        return Err(error.into());
    }
    fs::rename(&part, output)?;
    for end in frozen.inputs().iter().chain(&frozen.outputs()) {
        println!("{} {} {:?} {:?}", end.key, end.tensor, end.dtype, end.shape);
    }
    if let Some(path) = value("--json") {
        fs::write(
            path,
            format!(
                "{{\"inputs\":[{}],\"outputs\":[{}]}}",
                json(&frozen.inputs()),
                json(&frozen.outputs())
            ),
        )?;
    }
    println!(
        "{} nodes, {} functions, {} bytes",
        frozen.num_nodes(),
        frozen.functions().len(),
        frozen.binary_len()?
    );
    Ok(())
}

fn main() {
    if let Err(error) = run() {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}
