//! Compiles the schema under `schema/` with protox, a compiler in Rust, so that no `protoc` has to be installed.
//! Two things come out: structs for code that reads a config, and the descriptors that the text format is read by.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=schema");
    let descriptors = protox::Compiler::new(["schema"])?
        .include_imports(true)
        .open_files(["pipeline.proto", "label_map.proto"])?
        .file_descriptor_set();
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    prost_build::Config::new()
        .btree_map(["."])
        .skip_source_info()
        .compile_fds(descriptors)?;
    Ok(())
}
