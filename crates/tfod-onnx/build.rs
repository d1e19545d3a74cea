//! Compiles the schema under `proto/` with protox, a compiler in Rust, so that no `protoc` has to be installed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["onnx.proto"], ["proto"])?;
    prost_build::Config::new()
        .skip_source_info()
        .compile_fds(descriptors)?;
    Ok(())
}
