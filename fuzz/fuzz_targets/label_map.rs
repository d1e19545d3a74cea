//! Label maps: no panic; what is read and printed reads the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tfod_config::LabelMap;

fuzz_target!(|bytes: &[u8]| {
    match LabelMap::parse("fuzz", bytes) {
        Ok(map) => {
            assert!(map.class_names().len() <= map.items().len());
            if let Err(error) = map.keypoint_ids() {
                assert!(!error.to_string().is_empty());
            }
            let printed = map.to_text();
            let again =
                LabelMap::parse("fuzz", printed.as_bytes()).expect("what was printed is read");
            assert_eq!(again.to_text(), printed);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
