//! ONNX models, of the main signature.

use std::path::PathBuf;

use serde_json::json;
use tfod_checkpoint::release_pages;
use tfod_graph::Shape;
use tfod_onnx::{ExternalData, InputLayout, OPSETS, OnnxWriter, Options};

use super::option::{FormatOption, OptionValue};
use super::{Exporter, Format, FormatInput, FormatReport, Triton, Writer, members};
use crate::export::{Export, ExportError, Interface, manifest};
use crate::progress::Step;
use crate::report::{bytes, count};

/// Options that only ONNX has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OnnxOptions {
    /// The operator set.
    pub opset: u32,
    /// The order of the dimensions of images.
    pub input_layout: InputLayout,
    /// Where weights are written.
    pub external_data: ExternalData,
}

impl Default for OnnxOptions {
    fn default() -> Self {
        let of_writer = Options::default();
        Self {
            opset: of_writer.opset,
            input_layout: of_writer.input_layout,
            external_data: of_writer.external_data,
        }
    }
}

pub(super) struct Onnx;

const HEADING: &str = "Options of the ONNX model";

const OPTIONS: &[FormatOption] = &[
    FormatOption {
        name: "opset",
        heading: HEADING,
        about: "The operator set of the ONNX model; 17 without it",
        details: None,
        value_name: "N",
        value: OptionValue::Number(OPSETS),
        set: |export, value| {
            let opset = value.parse().ok();
            export.onnx.opset = opset.filter(|opset| OPSETS.contains(opset))?;
            Some(())
        },
    },
    FormatOption {
        name: "input_layout",
        heading: HEADING,
        about: "The order of an image's dimensions in the ONNX model; nhwc without it",
        details: None,
        value_name: "LAYOUT",
        value: OptionValue::Name(|| LAYOUTS.map(|(name, _)| name).to_vec()),
        set: |export, value| {
            let (_, layout) = LAYOUTS.into_iter().find(|(name, _)| *name == value)?;
            export.onnx.input_layout = layout;
            Some(())
        },
    },
    FormatOption {
        name: "external_data",
        heading: HEADING,
        about: "Keep the ONNX model's weights in a file beside it, as is done anyway beyond 2 GB",
        details: None,
        value_name: "",
        value: OptionValue::None,
        set: |export, _| {
            export.onnx.external_data = ExternalData::Always;
            Some(())
        },
    },
];

const LAYOUTS: [(&str, InputLayout); 2] =
    [("nhwc", InputLayout::Nhwc), ("nchw", InputLayout::Nchw)];

impl Exporter for Onnx {
    fn options(&self) -> &'static [FormatOption] {
        OPTIONS
    }

    fn for_triton(&self) -> Option<Triton> {
        Some(Triton {
            item: "model.onnx",
            runs_on: "backend: \"onnxruntime\"",
            signature_parameter: None,
        })
    }

    fn interface(&self, mut graph: Interface, export: &Export) -> Interface {
        for input in &mut graph.inputs {
            if input.layout.is_none() || export.onnx.input_layout == InputLayout::Nhwc {
                continue;
            }
            if let [batch, height, width, channels] = input.shape.dims() {
                let dims = [batch, channels, height, width].map(Clone::clone);
                input.shape = Shape(dims.to_vec());
                input.layout = Some(export.onnx.input_layout);
            }
        }
        graph
    }

    fn prepare<'a>(
        &self,
        model: &FormatInput<'_, 'a>,
    ) -> Result<Box<dyn Writer + 'a>, ExportError> {
        let OnnxOptions {
            opset,
            input_layout,
            external_data,
        } = model.export.onnx;
        let mut options = Options::default();
        options.opset = opset;
        options.input_layout = input_layout;
        options.external_data = external_data;
        options.metadata = manifest::metadata(&(model.facts)());
        let main = model.main()?;
        Ok(Box::new(Prepared {
            writer: OnnxWriter::new(main.graph, main.weights, &options)?.telling(release_pages),
            input_layout,
        }))
    }
}

struct Prepared<'a> {
    writer: OnnxWriter<'a>,
    input_layout: InputLayout,
}

impl Writer for Prepared<'_> {
    fn write(
        self: Box<Self>,
        place: &dyn Fn(Format) -> PathBuf,
        tell: &dyn Fn(Step),
    ) -> Result<FormatReport, ExportError> {
        tell(Step::Write("the ONNX model"));
        let onnx = self.writer.write(&place(Format::Onnx))?;
        let all = onnx.onnx_bytes + onnx.data_bytes.unwrap_or(0);
        // The weights, where they have a file of their own.
        let beside = Format::Onnx.descriptor().beside.first().copied();
        let data = beside.filter(|_| onnx.data_bytes.is_some());
        Ok(FormatReport {
            format: Format::Onnx,
            summary: format!(
                "{} in {}, opset {}",
                count(onnx.num_nodes, "node"),
                bytes(all),
                onnx.opset
            ),
            figures: json!({
                "nodes": onnx.num_nodes,
                "bytes": onnx.onnx_bytes,
                "data_bytes": onnx.data_bytes,
                "opset": onnx.opset,
            }),
            beside: data.into_iter().collect(),
            particulars: members(json!({
                "opset": onnx.opset,
                "input_layout": self.input_layout.name(),
                "external_data": data,
            })),
        })
    }
}
