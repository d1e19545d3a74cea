//! Writes a small SavedModel in which every operation of the graph occurs.
//!
//! `toy_saved_model FOLDER [CASE…]`; the folder must exist and be empty, and cases named are left out. `toy_saved_model FOLDER files` writes the operations on
//! files of images, which TensorFlow 2.2 has not, as two signatures of one model with an asset. Prints the names of the cases written.

use std::error::Error;
use std::path::{Path, PathBuf};

use tfod_cases::{cases, files, toy, weights};
use tfod_graph::{Dim, passes};
use tfod_tensorflow::{Asset, NamedGraph, SavedModelWriter};

fn write_files(folder: &Path) -> Result<(), Box<dyn Error>> {
    let graphs = [
        passes::standard(&files::files()?)?,
        passes::standard(&files::examples()?)?,
    ];
    let weights = weights(&graphs[0]);
    let named = |name, graph| NamedGraph {
        name,
        graph,
        weights: &weights,
    };
    let assets = [Asset {
        name: "note".to_owned(),
        file_name: "note.txt".to_owned(),
        contents: b"hello".to_vec(),
    }];
    let graphs = [
        named("serving_default", &graphs[0]),
        named("of_examples", &graphs[1]),
    ];
    SavedModelWriter::new(&graphs, &assets)?.write(folder)?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let usage = "usage: toy_saved_model FOLDER [CASE...], or toy_saved_model FOLDER files";
    let folder: PathBuf = arguments.next().ok_or(usage)?.into();
    let left_out: Vec<_> = arguments.collect();
    if left_out.iter().any(|argument| argument == "files") {
        return write_files(&folder);
    }
    let mut cases = cases();
    cases.retain(|case| left_out.iter().all(|name| name != case.name));
    let graph = passes::standard(&toy(&cases, Dim::symbol("batch"))?)?;
    let weights = weights(&graph);
    SavedModelWriter::new(&[NamedGraph::serving(&graph, &weights)], &[])?.write(&folder)?;
    for case in cases {
        println!("{}", case.name);
    }
    Ok(())
}
