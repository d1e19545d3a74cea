//! `variables/`: the bundle of the variables and of the object graph, streamed from where the tensors are.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tfod_checkpoint::{BundleWriter, DType, OBJECT_GRAPH_KEY};

use super::object_graph::key;
use crate::lower::Variable;

/// Writes `folder/variables.*`. The folder must exist.
pub(crate) fn write(
    folder: &Path,
    variables: &[Arc<Variable<'_>>],
    object_graph: &[u8],
) -> Result<(), tfod_checkpoint::Error> {
    // A bundle is written in the order of its keys; the object graph, which is no variable, has one too.
    let mut entries: BTreeMap<String, Option<&Variable<'_>>> =
        variables.iter().map(|v| (key(v), Some(&**v))).collect();
    entries.insert(OBJECT_GRAPH_KEY.to_owned(), None);
    let mut writer = BundleWriter::create(&folder.join("variables"))?;
    for (key, variable) in entries {
        match variable {
            Some(variable) => writer.add(
                &key,
                dtype(variable.dtype),
                &shape(variable.shape),
                variable.data,
            )?,
            None => writer.add_strings(&key, &[], &[object_graph])?,
        }
    }
    writer.finish_files()
}

/// A tensor in memory has sizes in the range of the machine; the writer checks them against the number of bytes.
fn shape(sizes: &[u64]) -> Vec<usize> {
    sizes
        .iter()
        .map(|n| usize::try_from(*n).unwrap_or(usize::MAX))
        .collect()
}

fn dtype(dtype: tfod_graph::DType) -> DType {
    match dtype {
        tfod_graph::DType::F32 => DType::Float32,
        tfod_graph::DType::I32 => DType::Int32,
        tfod_graph::DType::I64 => DType::Int64,
        tfod_graph::DType::U8 => DType::UInt8,
        tfod_graph::DType::Bool => DType::Bool,
        tfod_graph::DType::String => DType::String,
    }
}
