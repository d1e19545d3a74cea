//! Reads files and prints what was understood, for comparison with other readers: a line of JSON for each.
//!
//! ```text
//! reprint pipeline FILE...     {"ok": true, "text": "...", "warnings": ["..."]} or {"ok": false, "error": "..."}
//! reprint label-map FILE...    the same, without warnings
//! reprint schema               the schema as a serialised google.protobuf.FileDescriptorSet
//! ```
//!
//! Without a FILE, paths are read from standard input, one a line.

use std::error::Error;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::{Value, json};
use tfod_config::{ConfigError, LabelMap, PipelineConfig, protos};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let reprint: fn(&Path) -> Result<Value, ConfigError> = match arguments.next().as_deref() {
        Some("pipeline") => pipeline,
        Some("label-map") => label_map,
        Some("schema") => {
            io::stdout().write_all(protos::FILE_DESCRIPTOR_SET)?;
            return Ok(());
        }
        _ => return Err("expected `pipeline`, `label-map` or `schema`".into()),
    };
    let mut paths: Vec<String> = arguments.collect();
    if paths.is_empty() {
        paths = io::stdin().lines().collect::<Result<_, _>>()?;
    }
    let mut out = BufWriter::new(io::stdout().lock());
    for path in paths {
        let line = reprint(Path::new(&path))
            .unwrap_or_else(|error| json!({"ok": false, "error": error.to_string()}));
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    Ok(())
}

fn pipeline(path: &Path) -> Result<Value, ConfigError> {
    let parsed = PipelineConfig::read(path)?;
    let warnings: Vec<String> = parsed.warnings.iter().map(ToString::to_string).collect();
    Ok(json!({"ok": true, "text": parsed.config.to_text(), "warnings": warnings}))
}

fn label_map(path: &Path) -> Result<Value, ConfigError> {
    let map = LabelMap::read(path)?;
    Ok(json!({"ok": true, "text": map.to_text()}))
}
