//! Triton: `config.pbtxt`, which tells the server what the model takes and gives. Specified by `model_config.proto` of Triton's common repository and its model configuration
//! guide.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use tempfile::TempPath;
use tfod_graph::{DType, Dim};
use tfod_tensorflow::SERVING_DEFAULT;

use tfod_text::Shown;

use super::super::format::exporter;
use super::super::{ExportError, Format, Interface, InterfaceTensor};
use crate::output::{Scratch, failed, hold, holds};

pub(super) const FILE: &str = "config.pbtxt";
/// The largest batch that the server puts together from single requests, where the model takes any.
const MAX_BATCH: u32 = 8;

/// Writes the configuration beside the versions, if none is there. The model's name is left out, so it is the folder's.
pub(super) fn write_config(
    output: &Path,
    format: Format,
    signature: &str,
    interface: &Interface,
) -> Result<Option<String>, ExportError> {
    let path = output.join(FILE);
    let text = config(format, signature, interface);
    if path.symlink_metadata().is_ok() {
        return Ok((!holds(&path, text.as_bytes())).then(|| {
            format!(
                "{} is there and stays as it is: see that it fits this version, or remove it to have it written",
                path.shown()
            )
        }));
    }
    let scratch = Scratch::new_in(output).map_err(failed(output, "write into the folder"))?;
    let new = scratch.content().join(FILE);
    fs::write(&new, text).map_err(failed(&path, "write"))?;
    let _held = hold();
    let put = TempPath::try_from_path(new).map_err(failed(&path, "write"))?;
    put.persist_noclobber(&path)
        .map_err(|error| failed(&path, "put in place")(error.error))?;
    Ok(None)
}

/// The configuration. Where all inputs and outputs are of one number of images, which is not fixed, the server may put requests together.
fn config(format: Format, signature: &str, interface: &Interface) -> String {
    let batched = is_batched(interface);
    let mut text = String::new();
    let triton = exporter(format).for_triton();
    if let Some(triton) = &triton {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{}", triton.runs_on);
    }
    let most = if batched { MAX_BATCH } else { 0 };
    let _ = writeln!(text, "max_batch_size: {most}");
    for (kind, list) in [("input", &interface.inputs), ("output", &interface.outputs)] {
        for info in list {
            let _ = writeln!(text, "{kind} {{\n{}}}", tensor(info, batched));
        }
    }
    if batched {
        text.push_str("dynamic_batching {\n}\n");
    }
    let parameter = triton.and_then(|triton| triton.signature_parameter);
    if let Some(parameter) = parameter.filter(|_| signature != SERVING_DEFAULT) {
        let _ = writeln!(
            text,
            "parameters {{\n  key: \"{parameter}\"\n  value {{ string_value: \"{signature}\" }}\n}}"
        );
    }
    text
}

fn is_batched(interface: &Interface) -> bool {
    let leading = |info: &InterfaceTensor| info.shape.dims().first().cloned();
    let Some(batch) = interface.inputs.first().and_then(leading) else {
        return false;
    };
    let mut all = interface.inputs.iter().chain(&interface.outputs);
    batch.known().is_none() && all.all(|info| leading(info).as_ref() == Some(&batch))
}

/// The members of an input or output. The server does not know tensors without dimensions: they are given one.
fn tensor(info: &InterfaceTensor, batched: bool) -> String {
    let dims = info.shape.dims().iter().skip(usize::from(batched));
    let dims: Vec<String> = dims
        .map(|dim| Dim::known(dim).map_or("-1".to_owned(), |size| size.to_string()))
        .collect();
    let dtype = match info.dtype {
        DType::F32 => "TYPE_FP32",
        DType::I32 => "TYPE_INT32",
        DType::I64 => "TYPE_INT64",
        DType::U8 => "TYPE_UINT8",
        DType::Bool => "TYPE_BOOL",
        DType::String => "TYPE_STRING",
    };
    let mut text = format!("  name: \"{}\"\n  data_type: {dtype}\n", info.key);
    if dims.is_empty() {
        text.push_str("  dims: [ 1 ]\n  reshape { shape: [ ] }\n");
    } else {
        let _ = writeln!(text, "  dims: [ {} ]", dims.join(", "));
    }
    text
}
