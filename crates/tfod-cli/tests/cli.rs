//! The command line, as files: `cmd/NAME.toml` is a command, `NAME.stdout` and `NAME.stderr` what it prints. Run with `TRYCMD=overwrite` they are written
//! anew.

use std::path::Path;

#[path = "common/binary.rs"]
mod binary;

#[test]
fn commands_print_what_their_files_say() {
    let cases = trycmd::TestCases::new();
    cases.register_bin("tfod", Path::new(&binary::binary()));
    cases.case("tests/cmd/*.toml");
    // Another binary than that of this build says by a variable that it has the runtime of models.
    let runs_models = match std::env::var_os(binary::VARIABLE) {
        Some(_) => std::env::var_os("TFOD_BIN_RUNS_MODELS").is_some(),
        None => cfg!(feature = "run"),
    };
    if !runs_models {
        cases.skip("tests/cmd/verify_images.toml");
        cases.skip("tests/cmd/detect.toml");
    }
}
