//! Reports as JSON, for scripts: `json` of each report, in one place. Members may be added; none changes its meaning.

use serde_json::{Map, Value, json};
use tfod_graph::{Dim, Shape};
use tfod_models::fit::Cause;
use tfod_tensorflow::{Endpoint, FrozenTable};

use crate::{
    Check, CheckReport, CheckpointKind, ExportReport, Format, FreezeReport, Interface,
    InterfaceTensor, StoredType,
};

/// A number of things: `1 node`, `2 nodes`.
pub fn count(number: usize, thing: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{ending}")
}

/// A number of bytes, rounded for people.
pub fn bytes(bytes: u64) -> String {
    if bytes < 1000 {
        return format!("{bytes} bytes");
    }
    #[expect(clippy::cast_precision_loss, reason = "rounded for people")]
    let bytes = bytes as f64;
    if bytes < 1e6 {
        format!("{:.1} kB", bytes / 1e3)
    } else {
        format!("{:.1} MB", bytes / 1e6)
    }
}

/// A shape; sizes known only at run time are strings, the same for the same size.
pub(crate) fn shape(shape: &Shape) -> Value {
    let dim = |dim: &Dim| {
        dim.known()
            .map_or_else(|| json!(dim.to_string()), |n| json!(n))
    };
    shape.dims().iter().map(dim).collect()
}

fn ends(of: &Interface) -> Map<String, Value> {
    let tensor = |info: &InterfaceTensor| json!({ "key": info.key, "dtype": info.dtype.name(), "shape": shape(&info.shape) });
    let tensors = |infos: &[InterfaceTensor]| -> Value { infos.iter().map(tensor).collect() };
    Map::from_iter([
        ("inputs".to_owned(), tensors(&of.inputs)),
        ("outputs".to_owned(), tensors(&of.outputs)),
    ])
}

impl ExportReport {
    /// The report as JSON, for scripts.
    pub fn json(&self) -> Value {
        let signatures = self.signatures.iter();
        let signatures: Map<String, Value> = signatures
            .map(|(name, interface)| (name.clone(), ends(interface).into()))
            .collect();
        let mut report = json!({
            "architecture": self.architecture,
            "num_classes": self.num_classes,
            "image_size": self.image_size,
            "checkpoint": { "prefix": self.checkpoint, "found": self.checkpoint_found },
            "variables": self.variables,
            "unused": {
                "model": self.unused.model,
                "optimizer": self.unused.optimizer,
                "other": self.unused.other,
            },
            "warnings": self.warnings,
            "signatures": signatures,
            "removed": self.removed,
            "output_directory": self.output,
            "seconds": self.elapsed.as_secs_f64(),
        });
        if let Some(members) = report.as_object_mut() {
            members.extend(ends(&self.interface));
            for format in Format::ALL {
                let written = self.formats.iter().find(|report| report.format == format);
                let figures = written.map(|report| report.figures.clone());
                members.insert(format.name().to_owned(), figures.into());
            }
        }
        report
    }
}

impl FreezeReport {
    /// The report as JSON, for scripts.
    pub fn json(&self) -> Value {
        let end = |end: &Endpoint| {
            let sizes = end.shape.as_ref().map(|dims| {
                let sizes = dims.iter().map(|d| d.map_or(json!(-1), |n| json!(n)));
                sizes.collect::<Vec<_>>()
            });
            let dtype = end.dtype.map_or("unknown", StoredType::name);
            json!({ "key": end.key, "tensor": end.tensor, "dtype": dtype, "shape": sizes })
        };
        let ends = |ends: &[Endpoint]| -> Value { ends.iter().map(end).collect() };
        let largest = self.largest.iter();
        let largest: Value = largest
            .map(|(name, bytes)| json!({ "name": name, "bytes": bytes }))
            .collect();
        let dropped = self.dropped_updates.iter();
        let dropped: Value = dropped
            .map(|update| {
                let place = &update.place;
                json!({
                    (update.what.to_string()): update.name,
                    "node": place.node,
                    "op": place.op,
                    "function": place.function,
                })
            })
            .collect();
        let table = |table: &FrozenTable| {
            json!({
                "node": table.node,
                "key_dtype": table.key_dtype.map(StoredType::name),
                "value_dtype": table.value_dtype.map(StoredType::name),
                "entries": table.entries,
            })
        };
        let tables: Value = self.tables.iter().map(table).collect();
        json!({
            "inputs": ends(&self.inputs),
            "outputs": ends(&self.outputs),
            "output": self.output.name(),
            "bytes": self.bytes,
            "nodes": self.op_counts.values().sum::<usize>(),
            "ops": self.op_counts,
            "functions": self.functions,
            "fixed_sizes": self.fixed_sizes,
            "folded_batch_norms": self.folded,
            "halved_constants": self.halved,
            "dropped_updates": dropped,
            "initializer": self.initialiser,
            "tables": tables,
            "warnings": self.warnings,
            "constant_bytes": self.constant_bytes,
            "largest_constants": largest,
            "seconds": self.elapsed.as_secs_f64(),
        })
    }
}

impl CheckReport {
    /// What `check` gave, as JSON.
    pub fn json(&self, check: &Check) -> Value {
        let config = self.config.as_ref().map(|kind| {
            json!({
                "family": kind.family.name(),
                "feature_extractor": kind.extractor,
                "num_classes": kind.num_classes,
            })
        });
        let (family, extractor, num_classes) = match &self.checkpoint {
            CheckpointKind::Detector {
                family,
                extractor,
                num_classes,
            } => (
                Some(family.name()),
                Some(extractor.as_str()).filter(|name| !name.is_empty()),
                *num_classes,
            ),
            CheckpointKind::SavedModelVariables(Some(family))
            | CheckpointKind::TensorFlow1(family) => (Some(family.name()), None, None),
            _ => (None, None, None),
        };
        let causes: Vec<Value> = self
        .explanation
        .causes
        .iter()
        .map(|cause| {
            let one = |cause: &Cause| json!({ "field": cause.field, "configured_by": cause.configured_by, "configured": cause.configured, "trained": cause.trained });
            let mut all = one(cause);
            if let (false, Some(members)) = (cause.alternatives.is_empty(), all.as_object_mut()) {
                let others: Vec<_> = cause.alternatives.iter().map(one).collect();
                members.insert("or_else".to_owned(), json!(others));
            }
            all
        })
        .collect();
        json!({
            "verdict": self.verdict.word(),
            "pipeline_config": check.pipeline_config,
            "config": config,
            "checkpoint": {
                "prefix": self.prefix,
                "found": self.found.to_string(),
                "kind": self.checkpoint.word(),
                "family": family,
                "feature_extractor": extractor,
                "num_classes": num_classes,
                "description": self.checkpoint.to_string(),
            },
            "index_alone": self.index_alone,
        "data_problem": self.data_problem,
        "override_is_the_cause": self.is_overrides_fault,
            "variables": self.counts.map(|counts| json!({
                "total": counts.total,
                "matched": counts.matched,
                "missing": counts.missing,
                "mismatched": counts.mismatched,
                "unused": counts.unused,
            })),
            "refused": self.refused,
            "differences": causes,
            "differences_explain_all": self.explanation.complete,
            "closest": self.closest.as_ref().map(|closest| json!({
                "feature_extractor": closest.extractor,
                "num_classes": closest.num_classes,
                "add_background_class": closest.has_background,
                "matched": closest.matched,
                "total": closest.total,
                "complete": closest.complete,
            })),
            "advice": self.advice(),
            "warnings": self.warnings,
        })
    }
}
