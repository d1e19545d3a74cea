//! SavedModels, of any number of signatures.

use std::path::PathBuf;

use serde_json::{Map, Value, json};
use tfod_tensorflow::SavedModelWriter;

use super::{Exporter, Format, FormatInput, FormatReport, Triton, Writer, members};
use crate::export::{ExportError, manifest};
use crate::progress::Step;
use crate::report::{bytes, count};

pub(super) struct SavedModel;

impl Exporter for SavedModel {
    fn for_tf_serving(&self) -> Option<&'static str> {
        Some("")
    }

    fn for_triton(&self) -> Option<Triton> {
        Some(Triton {
            item: "model.savedmodel",
            runs_on: "platform: \"tensorflow_savedmodel\"",
            signature_parameter: Some("TF_SIGNATURE_DEF"),
        })
    }

    fn prepare<'a>(
        &self,
        model: &FormatInput<'_, 'a>,
    ) -> Result<Box<dyn Writer + 'a>, ExportError> {
        let path = |file_name: &str| json!(format!("assets/{file_name}"));
        let assets = model.assets.iter();
        let assets: Map<String, Value> = assets
            .map(|asset| (asset.name.clone(), path(&asset.file_name)))
            .collect();
        Ok(Box::new(Prepared {
            writer: SavedModelWriter::new(model.graphs, model.assets)?,
            particulars: members(json!({
                "signature": model.main()?.name,
                "signatures": manifest::signatures(model.signatures),
                "assets": assets,
            })),
        }))
    }
}

struct Prepared<'a> {
    writer: SavedModelWriter<'a>,
    particulars: Map<String, Value>,
}

impl Writer for Prepared<'_> {
    fn write(
        self: Box<Self>,
        place: &dyn Fn(Format) -> PathBuf,
        tell: &dyn Fn(Step),
    ) -> Result<FormatReport, ExportError> {
        tell(Step::Write("the SavedModel"));
        let saved = self.writer.write(&place(Format::SavedModel))?;
        Ok(FormatReport {
            format: Format::SavedModel,
            summary: format!(
                "{} in {}, {} in {}",
                count(saved.num_nodes, "node"),
                bytes(saved.pb_bytes),
                count(saved.num_variables, "variable"),
                bytes(saved.variables_bytes)
            ),
            figures: json!({
                "nodes": saved.num_nodes,
                "variables": saved.num_variables,
                "pb_bytes": saved.pb_bytes,
                "variables_bytes": saved.variables_bytes,
            }),
            beside: Vec::new(),
            particulars: self.particulars,
        })
    }
}
