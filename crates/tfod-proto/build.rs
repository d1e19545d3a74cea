//! Compiles the schema under `proto/` with protox, a compiler in Rust, so that no `protoc` has to be installed.

use std::error::Error;

const FILES: [&str; 5] = [
    "types.proto",
    "bundle.proto",
    "graph.proto",
    "saved_model.proto",
    "serving.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    prost_build::Config::new()
        .btree_map(["."])
        .skip_source_info()
        .compile_fds(descriptors)?;
    Ok(())
}
