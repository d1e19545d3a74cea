//! Frozen graphs, made from the SavedModel that has just been written, which the system still has in memory.

use std::path::PathBuf;

use serde_json::{Map, Value, json};
use tfod_tensorflow::Endpoint;

use super::{Exporter, Format, FormatInput, FormatReport, Writer, members};
use crate::export::ExportError;
use crate::freeze::Freeze;
use crate::output::Destination;
use crate::progress::Step;
use crate::report::{bytes, count};

pub(super) struct Frozen;

impl Exporter for Frozen {
    fn made_from(&self) -> Option<Format> {
        Some(Format::SavedModel)
    }

    fn prepare<'a>(
        &self,
        model: &FormatInput<'_, 'a>,
    ) -> Result<Box<dyn Writer + 'a>, ExportError> {
        Ok(Box::new(Prepared {
            signature: model.main()?.name.to_owned(),
        }))
    }
}

struct Prepared {
    signature: String,
}

impl Writer for Prepared {
    fn write(
        self: Box<Self>,
        place: &dyn Fn(Format) -> PathBuf,
        tell: &dyn Fn(Step),
    ) -> Result<FormatReport, ExportError> {
        // What it is given as its output is not used.
        let mut freeze = Freeze::new(place(Format::SavedModel), Destination::StandardOutput);
        freeze.options.signature.clone_from(&self.signature);
        let frozen = freeze.run_into_new_file(&place(Format::Frozen), tell)?;
        let nodes = frozen.op_counts.values().sum::<usize>();
        Ok(FormatReport {
            format: Format::Frozen,
            summary: format!("{} in {}", count(nodes, "node"), bytes(frozen.bytes)),
            figures: json!({ "nodes": nodes, "bytes": frozen.bytes }),
            beside: Vec::new(),
            particulars: members(json!({
                "signature": self.signature,
                "inputs": tensors(&frozen.inputs),
                "outputs": tensors(&frozen.outputs),
            })),
        })
    }
}

/// The tensor of each key.
fn tensors(endpoints: &[Endpoint]) -> Map<String, Value> {
    let tensors = endpoints.iter();
    tensors.map(|e| (e.key.clone(), json!(e.tensor))).collect()
}
