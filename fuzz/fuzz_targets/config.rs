//! `pipeline.config`: no panic; what is read and printed reads the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tfod_config::PipelineConfig;

fuzz_target!(|bytes: &[u8]| {
    match PipelineConfig::parse("fuzz", bytes) {
        Ok(parsed) => {
            let warnings: Vec<String> = parsed.warnings.iter().map(ToString::to_string).collect();
            assert!(warnings.len() <= 100);
            let printed = parsed.config.to_text();
            let mut again = PipelineConfig::parse("fuzz", printed.as_bytes())
                .expect("what was printed is read")
                .config;
            assert_eq!(again.to_text(), printed);
            let text = std::str::from_utf8(bytes).expect("a config is UTF-8");
            // The same text once more: a config with damaged blocks is no override.
            assert_eq!(again.merge_override(text).is_ok(), warnings.is_empty());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
