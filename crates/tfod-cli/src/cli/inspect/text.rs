//! What `tfod inspect` prints for people.

use std::collections::BTreeMap;
use std::fmt::Display;

use tfod_checkpoint::ShardState;
use tfod_inspect::counted;
use tfod_inspect::{
    Amount, CheckpointFacts, ConfigFacts, ExportFacts, Facts, GraphFacts, Hurdle, Inspection,
    MetaGraph, OnnxFacts, Port, SavedModelFacts, StoredTensor, TfliteFacts, TfliteMetadata,
    TfliteRuntime,
};

use super::super::flags;
use tfod::bytes as size;
use tfod_text::Shown;

/// The text that is written: lines of a label and what there is to say.
struct Lines(Vec<String>);

impl Lines {
    /// A line, which names from the file cannot break.
    fn add(&mut self, label: &str, text: impl AsRef<str>) {
        self.add_paragraph(label, text.as_ref().shown());
    }

    /// What may have several lines: the messages of a config.
    fn add_paragraph(&mut self, label: &str, text: impl Display) {
        self.0.push(format!("  {:<12} {text}", label.shown()));
    }

    /// Lines under one label.
    fn list(&mut self, label: &str, texts: impl IntoIterator<Item = String>) {
        for (index, text) in texts.into_iter().enumerate() {
            self.add(if index == 0 { label } else { "" }, text);
        }
    }
}

/// Everything but the tensors.
pub(super) fn report(found: &Inspection) -> String {
    let path = found.path.shown();
    let mut lines = Lines(Vec::new());
    let title = match &found.facts {
        Facts::Checkpoint(facts) => {
            checkpoint(facts, &mut lines);
            "checkpoint"
        }
        Facts::Config(facts) => {
            config(facts, &mut lines);
            "pipeline.config"
        }
        Facts::SavedModel(facts) => {
            saved_model(facts, &mut lines);
            "SavedModel"
        }
        Facts::Graph(facts) => {
            ports("input", &facts.inputs, &mut lines);
            ports("output", &facts.outputs, &mut lines);
            graph(facts, &mut lines);
            "graph (GraphDef)"
        }
        Facts::MetaGraph(facts) => {
            meta_graph(facts, &mut lines);
            "graph with its signatures (MetaGraphDef)"
        }
        Facts::Onnx(facts) => {
            onnx(facts, &mut lines);
            "ONNX model"
        }
        Facts::Tflite(facts) => {
            tflite(facts, &mut lines);
            "TFLite model"
        }
        Facts::Export(facts) => {
            export(facts, &mut lines);
            "export"
        }
    };
    let is_graph = !matches!(
        found.facts,
        Facts::Checkpoint(_) | Facts::Config(_) | Facts::Export(_)
    );
    if is_graph {
        let constants = found.tensors.iter();
        let bytes = constants.fold(0u64, |sum, tensor| sum.saturating_add(tensor.bytes));
        lines.add(
            "tensors",
            format!(
                "{} in this file and beside it, {}",
                found.tensors.len(),
                size(bytes)
            ),
        );
    }
    let hurdles = found.hurdles();
    lines.list("hurdles", hurdles.iter().map(hurdle));
    format!("{path}: {title}\n{}\n", lines.0.join("\n"))
}

fn hurdle(hurdle: &Hurdle) -> String {
    let flags = hurdle.avoided_by.iter().copied().filter_map(flags::name);
    let flags: Vec<String> = flags.map(|flag| format!("`{flag}`")).collect();
    let avoided = if flags.is_empty() {
        String::new()
    } else {
        format!(" (`tfod export` with {})", flags.join(" and "))
    };
    format!(
        "{}: {}; {}{avoided}",
        hurdle.kind, hurdle.found, hurdle.reason
    )
}

/// A line a tensor.
pub(super) fn tensors(tensors: &[StoredTensor]) -> String {
    let width = tensors
        .iter()
        .map(|t| t.name.len())
        .max()
        .unwrap_or(0)
        .min(100);
    let line = |tensor: &StoredTensor| {
        format!(
            "  {:width$}  {:<8} {:?}  {} bytes\n",
            tensor.name.shown(),
            tensor.type_name(),
            tensor.shape,
            tensor.bytes
        )
    };
    tensors.iter().map(line).collect()
}

fn amounts(amounts: &BTreeMap<String, Amount>) -> impl Iterator<Item = String> + '_ {
    let width = amounts.keys().map(String::len).max().unwrap_or(0);
    amounts.iter().map(move |(name, amount)| {
        format!(
            "{name:width$}  {:>13}, {}",
            counted(amount.tensors, "tensor"),
            size(amount.bytes)
        )
    })
}

fn checkpoint(facts: &CheckpointFacts, lines: &mut Lines) {
    lines.add(
        "prefix",
        format!("{} ({})", facts.prefix.shown(), facts.found),
    );
    lines.add(
        "format",
        match facts.kind {
            tfod_inspect::BundleKind::ObjectBased => "object-based (TensorFlow 2)",
            tfod_inspect::BundleKind::NameBased => {
                "name-based (TensorFlow 1, or the variables of a SavedModel of it)"
            }
        },
    );
    let counters = facts
        .counters
        .iter()
        .map(|(name, value)| format!("{name} {value}"));
    let counters: Vec<String> = counters.collect();
    if !counters.is_empty() {
        lines.add("counters", counters.join(", "));
    }
    lines.add(
        "all",
        format!(
            "{}, {}",
            counted(facts.total.tensors, "tensor"),
            size(facts.total.bytes)
        ),
    );
    lines.list("parts", amounts(&facts.parts));
    lines.list("types", amounts(&facts.dtypes));
    let shards = facts.shards.iter().map(|shard| {
        let path = shard.path.shown();
        match &shard.state {
            ShardState::Whole(bytes) => format!("{path}: {}", size(*bytes)),
            ShardState::Absent => format!("{path}: absent; values cannot be read"),
            _ => shard.to_string(),
        }
    });
    lines.list("data", shards);
}

fn config(facts: &ConfigFacts, lines: &mut Lines) {
    let mut add = |label: &str, text: &Option<String>| {
        if let Some(text) = text {
            lines.add(label, text);
        }
    };
    add("model", &Some(facts.meta_architecture.to_owned()));
    add("extractor", &facts.feature_extractor);
    add("classes", &facts.num_classes.map(|count| count.to_string()));
    let further = facts.further.join("; ");
    add("finds", &Some(further).filter(|text| !text.is_empty()));
    add("label map", &facts.label_map);
    add("resizes", &facts.resizer);
    add("anchors", &facts.anchors);
    add(
        "",
        &facts.num_anchors.map(|count| format!("{count} in all")),
    );
    for post in &facts.post_processing {
        add(
            "detections",
            &Some(format!("{} ({})", post.text, post.stage)),
        );
    }
    add("training", &facts.training);
    let export = match (&facts.refused, &facts.label_map) {
        (None, None) => "tfod export builds it".to_owned(),
        (None, Some(_)) => {
            "tfod export builds it, with the label map, which says how many keypoints there are"
                .to_owned()
        }
        (Some(reason), _) => format!("tfod export refuses it: {reason}"),
    };
    lines.add_paragraph("export", export);
    for warning in &facts.warnings {
        lines.add_paragraph("warning", warning);
    }
}

fn ports(label: &str, ports: &[Port], lines: &mut Lines) {
    let width = |len: fn(&Port) -> usize| ports.iter().map(len).max().unwrap_or(0);
    let (keys, tensors) = (width(|p| p.key.len()), width(|p| p.tensor.len()));
    let port = |port: &Port| {
        let (dtype, shape) = (port.type_name(), port.shape_text());
        // A name is enough where key and tensor are the same.
        if port.key == port.tensor {
            format!("{:keys$}  {dtype} {shape}", port.key)
        } else {
            format!(
                "{:keys$}  {:tensors$}  {dtype} {shape}",
                port.key, port.tensor
            )
        }
    };
    lines.list(label, ports.iter().map(port));
}

fn ops(ops: &BTreeMap<String, u64>) -> String {
    let mut ops: Vec<(&String, &u64)> = ops.iter().collect();
    ops.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
    let ops: Vec<String> = ops.into_iter().map(|(op, n)| format!("{n} {op}")).collect();
    ops.join(", ")
}

fn graph(facts: &GraphFacts, lines: &mut Lines) {
    lines.add(
        "nodes",
        format!(
            "{} in the graph, {} in {}",
            facts.nodes,
            facts.function_nodes,
            counted(facts.functions, "function")
        ),
    );
    lines.add("ops", ops(&facts.ops));
    lines.add(
        "versions",
        format!(
            "graph version {}, readers from {} on",
            facts.producer, facts.min_consumer
        ),
    );
    lines.add("TensorFlow", facts.oldest.to_string());
}

fn meta_graph(facts: &MetaGraph, lines: &mut Lines) {
    if !facts.tags.is_empty() {
        lines.add("tags", facts.tags.join(", "));
    }
    if !facts.tensorflow_version.is_empty() {
        lines.add(
            "written by",
            format!("TensorFlow {}, as it says", facts.tensorflow_version),
        );
    }
    // What has to run before all signatures is none for callers.
    let signatures = facts.signatures.iter();
    for (key, signature) in signatures.filter(|(key, _)| !key.starts_with("__saved_model")) {
        lines.add("signature", key);
        ports("  input", &signature.inputs, lines);
        ports("  output", &signature.outputs, lines);
    }
    lines.list("assets", facts.assets.iter().cloned());
    graph(&facts.graph, lines);
}

fn saved_model(facts: &SavedModelFacts, lines: &mut Lines) {
    for graph in &facts.graphs {
        meta_graph(graph, lines);
    }
    lines.add(
        "variables",
        match facts.variables {
            None => "none, or their index is absent".to_owned(),
            Some(all) => format!(
                "{}, {}{}",
                all.tensors,
                size(all.bytes),
                if facts.has_data {
                    ""
                } else {
                    "; their data is absent or cut short"
                }
            ),
        },
    );
}

fn onnx(facts: &OnnxFacts, lines: &mut Lines) {
    let opsets = facts
        .opsets
        .iter()
        .map(|(domain, version)| match domain.as_str() {
            "" => version.to_string(),
            domain => format!("{domain} {version}"),
        });
    let opsets: Vec<String> = opsets.collect();
    lines.add(
        "versions",
        format!(
            "IR {}, operator set {}",
            facts.ir_version,
            opsets.join(", ")
        ),
    );
    lines.add(
        "written by",
        format!("{} {}", facts.producer.0, facts.producer.1),
    );
    ports("input", &facts.inputs, lines);
    ports("output", &facts.outputs, lines);
    lines.add(
        "nodes",
        format!(
            "{} in the graph, {} inside of them",
            facts.nodes, facts.inner_nodes
        ),
    );
    lines.add("ops", ops(&facts.ops));
    lines.add(
        "initialisers",
        format!("{}, {}", facts.initializers, size(facts.initializer_bytes)),
    );
    let external = facts.external.iter();
    lines.list(
        "external",
        external.map(|(file, bytes)| format!("{file}: {}", size(*bytes))),
    );
    let short = facts.metadata.iter().map(|(key, value)| {
        const SHOWN: usize = 72;
        let start: String = value.chars().take(SHOWN).collect();
        let more = if start.len() < value.len() { "…" } else { "" };
        format!("{key}: {start}{more}")
    });
    lines.list("metadata", short);
}

fn tflite(facts: &TfliteFacts, lines: &mut Lines) {
    lines.add("version", facts.version.to_string());
    if !facts.description.is_empty() {
        lines.add("description", &facts.description);
    }
    if !facts.signatures.is_empty() {
        lines.add("signatures", facts.signatures.join(", "));
    }
    ports("input", &facts.inputs, lines);
    ports("output", &facts.outputs, lines);
    lines.add("operators", facts.nodes.to_string());
    lines.add("ops", ops(&facts.ops));
    let newer = facts.versions.iter().filter_map(|(name, versions)| {
        let version = versions.last().filter(|version| **version > 1)?;
        Some(format!("{name} {version}"))
    });
    let newer: Vec<String> = newer.collect();
    if !newer.is_empty() {
        lines.add("op versions", newer.join(", "));
    }
    lines.add("runtime", runtime(&facts.runtime));
    lines.add("constants", size(facts.constant_bytes));
    if !facts.metadata.is_empty() {
        lines.add("metadata", facts.metadata.join(", "));
    }
    if let Some(notes) = &facts.notes {
        tflite_notes(notes, lines);
    }
}

fn runtime(of: &TfliteRuntime) -> String {
    let mut parts = Vec::new();
    if let Some(needed) = &of.needed {
        parts.push(format!(
            "TensorFlow Lite {needed} or newer, for {}",
            of.because.join(", ")
        ));
    }
    if let Some(declared) = &of.declared
        && of.needed.as_ref() != Some(declared)
    {
        parts.push(format!("the file says {declared}"));
    }
    if !of.unknown.is_empty() {
        parts.push(format!("not known: {}", of.unknown.join(", ")));
    }
    parts.join("; ")
}

fn tflite_notes(notes: &TfliteMetadata, lines: &mut Lines) {
    if !notes.name.is_empty() {
        lines.add("called", &notes.name);
    }
    for (what, all) in [("input is", &notes.inputs), ("output is", &notes.outputs)] {
        let told = all.iter().map(|tensor| {
            let mut parts = vec![tensor.name.clone()];
            parts.extend((!tensor.content.is_empty()).then(|| tensor.content.to_owned()));
            if let Some((mean, std)) = &tensor.normalization {
                let numbers = |all: &[f32]| {
                    let all: Vec<String> = all.iter().map(f32::to_string).collect();
                    all.join(" ")
                };
                parts.push(format!("mean {}, std {}", numbers(mean), numbers(std)));
            }
            let files = tensor.files.iter();
            parts.extend(files.map(|(name, what)| {
                let is_there = notes.files.iter().any(|file| file.name == *name);
                let missing = if is_there { "" } else { " (not there)" };
                format!("{what} in {name}{missing}")
            }));
            parts.join("; ")
        });
        lines.list(what, told);
    }
    if !notes.custom.is_empty() {
        lines.add("custom", notes.custom.join(", "));
    }
    lines.list(
        "files",
        notes.files.iter().map(|file| {
            let first = file.first.join(", ");
            match file.lines {
                None => format!("{}: {}", file.name, size(file.bytes)),
                Some(count) => {
                    let more = if count > file.first.len() as u64 {
                        ", …"
                    } else {
                        ""
                    };
                    let lines = counted(count, "line");
                    format!("{}: {lines}: {first}{more}", file.name)
                }
            }
        }),
    );
}

fn export(facts: &ExportFacts, lines: &mut Lines) {
    for piece in &facts.pieces {
        let name = piece.path.file_name().unwrap_or_default().to_string_lossy();
        let text = match &piece.found {
            Err(error) => format!("cannot be read: {error}"),
            Ok((found, bytes)) => match found {
                Facts::Config(config) => format!(
                    "{} {}, {}",
                    config.meta_architecture,
                    config
                        .feature_extractor
                        .as_deref()
                        .unwrap_or("without extractor"),
                    counted(config.num_classes.unwrap_or(0), "class")
                ),
                other => format!("{}, {} of tensors", other.kind(), size(*bytes)),
            },
        };
        lines.add(&name, text);
    }
    if let Some(manifest) = &facts.manifest {
        let text = |key: &str| {
            manifest.get(key).map(|value| match value.as_str() {
                Some(text) => text.to_owned(),
                None => value.to_string(),
            })
        };
        let facts = ["architecture", "num_classes", "producer"];
        let facts: Vec<String> = facts
            .into_iter()
            .filter_map(|key| Some(format!("{key} {}", text(key)?)))
            .collect();
        lines.add("manifest.json", facts.join(", "));
    }
    lines
        .0
        .push("  Each piece can be inspected by itself.".to_owned());
}

#[cfg(test)]
mod tests {
    use tfod::GraphOption;

    use super::*;

    #[test]
    fn what_avoids_a_hurdle_is_told_as_flags() {
        let mut of = Hurdle {
            kind: "dynamic shapes",
            found: "x".to_owned(),
            reason: "why",
            avoided_by: &[GraphOption::Batch, GraphOption::InputSize],
        };
        assert_eq!(
            hurdle(&of),
            "dynamic shapes: x; why (`tfod export` with `--batch` and `--input_size`)"
        );
        of.avoided_by = &[];
        assert_eq!(hurdle(&of), "dynamic shapes: x; why");
    }
}
