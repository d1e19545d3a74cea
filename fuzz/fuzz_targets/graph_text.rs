//! GraphDef text, as `inspect` and `verify` read it: a result or an error, whatever it says; what is read does not differ from itself.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| tfod_fuzz::look("graph.pbtxt", bytes));
