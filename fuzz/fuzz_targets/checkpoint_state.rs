//! The `checkpoint` state file: no panic; what is read and printed reads the same again.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use tfod_checkpoint::CheckpointState;

fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("checkpoint");
    match CheckpointState::parse(bytes, path) {
        Ok(state) => {
            let again = CheckpointState::parse(state.to_string().as_bytes(), path)
                .expect("what was printed is read");
            assert_eq!(again, state);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
