//! Which `tfod` the tests run: the one that cargo has built for them, or another one, as it is shipped.

use std::ffi::OsString;

/// The environment variable that names another binary to be tested.
pub(crate) const VARIABLE: &str = "TFOD_BIN";

/// The path of the binary under test.
pub(crate) fn binary() -> OsString {
    std::env::var_os(VARIABLE).unwrap_or_else(|| env!("CARGO_BIN_EXE_tfod").into())
}
